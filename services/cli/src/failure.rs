//! Errors a user can act on: what went wrong, why, and what to do about it.

use std::fmt::Write as _;

use deskpulse_edge::upstream;
pub use deskpulse_text::Failure;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An error as `error:`, `cause:` and `hint:` lines, without a final line break.
///
/// One `cause:` line for each error below the outermost, and the first hint found among them.
#[must_use]
pub fn report(error: &anyhow::Error) -> String {
    let mut lines = vec![format!("error: {error}")];
    lines.extend(error.chain().skip(1).map(|cause| format!("cause: {cause}")));
    if let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) {
        lines.push(format!("hint: {}", failure.hint()));
    }
    lines.join("\n")
}

/// A refusal by the server, with the fields at fault and its reason.
pub(crate) fn refused(server: &str, status: &Status) -> anyhow::Error {
    let mut message = format!("{server} answered {}: {}", code_name(status.code()), status.message());
    let details = status.get_error_details();
    for violation in details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default() {
        let _ = write!(message, "\n  {}: {}", violation.field, violation.description);
    }
    if let Some(info) = details.error_info().filter(|info| !info.reason.is_empty()) {
        let _ = write!(message, "\n  reason: {}", info.reason);
    }
    let hint = match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
            "correct what is named above; `--help` shows examples and `deskpulse metrics` lists the metrics".to_owned()
        }
        Code::Unimplemented => "this server does not offer that; `deskpulse metrics` lists what it knows".to_owned(),
        Code::ResourceExhausted => "ask for less at once: a smaller range, fewer groups, smaller batches".to_owned(),
        Code::Unauthenticated | Code::PermissionDenied => "ask the operator of the server for access".to_owned(),
        _ => format!("check that `deskpulse serve` runs and is healthy at {server}"),
    };
    Failure::new(message, hint).into()
}

/// How to reach a server.
pub(crate) fn endpoint(server: &str) -> anyhow::Result<Endpoint> {
    upstream::endpoint(server).map_err(|error| {
        let message = format!("\"{server}\" is no server's address: {error}");
        Failure::new(message, "write it as http://127.0.0.1:7400").into()
    })
}

/// A server that cannot be reached.
pub(crate) fn unreachable(server: &str, error: &tonic::transport::Error) -> anyhow::Error {
    let mut message = format!("cannot reach {server}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(message, ": {cause}");
        source = cause.source();
    }
    Failure::new(message, "start it with `deskpulse serve`, or name another with --server or DESKPULSE_SERVER").into()
}

fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_report_names_the_error_its_causes_and_what_to_do() {
        let error = anyhow::Error::new(Failure::new("no such file", "check the name")).context("cannot import a.csv");
        assert_eq!(report(&error), "error: cannot import a.csv\ncause: no such file\nhint: check the name");
    }

    #[test]
    fn a_refusal_shows_every_field_at_fault() {
        let details = ErrorDetails::with_bad_request_violation("metrics[0].name", "no metric is called x");
        let status = Status::with_error_details(Code::InvalidArgument, "the question is not valid", details);
        let text = report(&refused("http://here", &status));
        assert!(
            text.starts_with("error: http://here answered INVALID_ARGUMENT: the question is not valid\n"),
            "{text}"
        );
        assert!(text.contains("\n  metrics[0].name: no metric is called x\n"), "{text}");
        assert!(text.contains("\nhint: correct"), "{text}");
    }
}
