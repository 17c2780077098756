//! Methods as JSON: the Connect protocol's unary calls, by POST, and by GET where nothing is changed; server streams as events.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::upstream::Upstream;
use http::{Method, Request, Response, StatusCode, header};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use prost_types::Any;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::call::{self, call};
use crate::{events, header_text, text};

const JSON: &str = "application/json";
const PROTO: &str = "application/proto";
/// The header that says how long the caller waits.
const TIMEOUT: &str = "connect-timeout-ms";

/// What the names of methods begin with that change nothing.
const READING: [&str; 5] = ["Query", "BatchQuery", "List", "Get", "Watch"];

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Json,
    Proto,
}

/// Answers a call of a method as JSON.
pub(crate) async fn answer(request: Request<Body>, grpc: Upstream) -> Response<Body> {
    match answered(request, grpc).await {
        Ok(response) => response,
        Err(status) => refusal(&status),
    }
}

async fn answered(request: Request<Body>, grpc: Upstream) -> Result<Response<Body>, Status> {
    let Some(method) = call::method(request.uri().path()) else {
        let message = format!(
            "there is nothing at {}: methods are at /SERVICE/METHOD, as /deskpulse.v1.QueryService/QueryMetrics",
            request.uri().path()
        );
        return Err(Fault::new(Reason::UnknownMethod, message).into());
    };
    if method.is_client_streaming() {
        let message = format!("{} takes a stream: call it by gRPC", method.name());
        return Err(Fault::new(Reason::UnknownMethod, message).into());
    }
    let patience = patience(&request)?;
    let last_event = header_text(request.headers(), "last-event-id").to_owned();
    let (bytes, codec) = body(request, &method).await?;
    let mut message = match codec {
        Codec::Json => call::parse(method.input(), &bytes)?,
        Codec::Proto => DynamicMessage::decode(method.input(), bytes).map_err(|error| {
            let message = format!("the body is no {}: {error}", method.input().full_name());
            Status::from(Fault::new(Reason::MessageMalformed, message))
        })?,
    };
    if method.is_server_streaming() {
        events::resume(&mut message, &last_event);
        return events::stream(&method, &message, grpc).await;
    }
    let called = async {
        let mut answer = call(&method, &message, grpc).await?;
        let first = answer.next().await?;
        answer.next().await?;
        first.ok_or_else(|| Status::from(Fault::new(Reason::Internal, "the method ended without an answer")))
    };
    let answer = match patience {
        None => called.await?,
        Some(patience) => tokio::time::timeout(patience, called).await.map_err(|_| overdue(patience))??,
    };
    Ok(match codec {
        Codec::Json => text(StatusCode::OK, JSON, call::to_json(&answer)?.to_string()),
        Codec::Proto => text(StatusCode::OK, PROTO, answer.encode_to_vec()),
    })
}

/// The caller has waited so long.
pub(crate) fn overdue(patience: Duration) -> Status {
    let message = format!("the {} ms of the call are over: give it longer, or ask for less", patience.as_millis());
    Fault::in_field(Reason::DeadlineExceeded, TIMEOUT, message).into()
}

/// How long the caller waits.
pub(crate) fn patience(request: &Request<Body>) -> Result<Option<Duration>, Status> {
    match header_text(request.headers(), TIMEOUT) {
        "" => Ok(None),
        given => given.parse().map(|ms| Some(Duration::from_millis(ms))).map_err(|_| {
            let message = format!("{given:?} is no number of milliseconds: send 5000 for five seconds");
            Fault::in_field(Reason::FieldInvalid, TIMEOUT, message).into()
        }),
    }
}

/// A request's message, and how it is written.
async fn body(request: Request<Body>, method: &MethodDescriptor) -> Result<(bytes::Bytes, Codec), Status> {
    match *request.method() {
        Method::POST => {
            let content_type = header_text(request.headers(), header::CONTENT_TYPE);
            let codec = match content_type.split(';').next().map(str::trim) {
                Some(JSON) => Some(Codec::Json),
                Some(PROTO) => Some(Codec::Proto),
                _ => None,
            };
            let Some(codec) = codec else {
                let message = format!(
                    "the content type is {content_type:?}: send {JSON}, {PROTO}, application/grpc or application/grpc-web"
                );
                return Err(Fault::new(Reason::ContentType, message).into());
            };
            let encoding = header_text(request.headers(), header::CONTENT_ENCODING);
            if !matches!(encoding, "" | "identity") {
                let message = format!("the content encoding is {encoding:?}: send JSON as it is");
                return Err(Fault::new(Reason::ContentType, message).into());
            }
            Ok((call::whole(request.into_body()).await?, codec))
        }
        // What only reads may be asked so, by a browser's EventSource for one.
        Method::GET if READING.iter().any(|verb| method.name().starts_with(verb)) => {
            in_query(request.uri().query().unwrap_or_default())
        }
        _ => {
            let message = format!("{} cannot be called by {}: use POST", method.name(), request.method());
            Err(Fault::new(Reason::UnknownMethod, message).into())
        }
    }
}

/// A message in a request's `message`, which `encoding` is of, in base64 where `base64` is 1.
fn in_query(query: &str) -> Result<(bytes::Bytes, Codec), Status> {
    let parameter = |wanted: &str| {
        let mut all = form_urlencoded::parse(query.as_bytes());
        all.find(|(name, _)| name == wanted).map(|(_, text)| text.into_owned())
    };
    let invalid = |field: &str, message: String| Status::from(Fault::in_field(Reason::FieldInvalid, field, message));
    let codec = match parameter("encoding").as_deref() {
        None | Some("json") => Codec::Json,
        Some("proto") => Codec::Proto,
        Some(other) => return Err(invalid("encoding", format!("encoding is {other:?}: send json or proto"))),
    };
    if let Some(other) = parameter("compression").filter(|it| !matches!(it.as_str(), "" | "identity")) {
        return Err(invalid("compression", format!("compression is {other:?}: send the message as it is")));
    }
    let message = parameter("message");
    let bytes = match (message, parameter("base64").as_deref()) {
        (None, _) if codec == Codec::Json => b"{}".to_vec(),
        (None, _) => Vec::new(),
        (Some(message), None | Some("0")) => message.into_bytes(),
        (Some(message), Some(_)) => URL_SAFE_NO_PAD
            .decode(message.trim_end_matches('='))
            .map_err(|error| invalid("message", format!("message is no base64 for URLs: {error}")))?,
    };
    Ok((bytes.into(), codec))
}

/// A refusal as Connect has it.
pub(crate) fn refusal(status: &Status) -> Response<Body> {
    text(http_status(status), JSON, error(status).to_string())
}

/// Code, message and details.
pub(crate) fn error(status: &Status) -> Value {
    let mut error = json!({ "code": code(status.code()), "message": status.message() });
    let details: Vec<Value> = details(status).iter().map(detail).collect();
    if !details.is_empty() {
        error["details"] = details.into();
    }
    error
}

fn details(status: &Status) -> Vec<Any> {
    tonic_types::pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default()
}

fn detail(detail: &Any) -> Value {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    let mut shown = json!({ "type": name, "value": STANDARD_NO_PAD.encode(&detail.value) });
    if let Some(debug) = readable(name, &detail.value) {
        shown["debug"] = debug;
    }
    shown
}

/// The same in words, for those who look.
fn readable(name: &str, bytes: &[u8]) -> Option<Value> {
    match name {
        "google.rpc.ErrorInfo" => {
            let info = tonic_types::pb::ErrorInfo::decode(bytes).ok()?;
            Some(json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata }))
        }
        "google.rpc.BadRequest" => {
            let bad = tonic_types::pb::BadRequest::decode(bytes).ok()?;
            let field = |it: tonic_types::pb::bad_request::FieldViolation| json!({ "field": it.field, "description": it.description });
            Some(json!({ "fieldViolations": bad.field_violations.into_iter().map(field).collect::<Vec<_>>() }))
        }
        "google.rpc.RetryInfo" => {
            let retry = tonic_types::pb::RetryInfo::decode(bytes).ok()?.retry_delay?;
            Some(json!({ "retryDelay": format!("{}.{:03}s", retry.seconds, retry.nanos / 1_000_000) }))
        }
        _ => None,
    }
}

fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The status that the Connect protocol gives a code; but for what is not there or not read at all.
fn http_status(status: &Status) -> StatusCode {
    use tonic_types::StatusExt as _;
    let reason = status.get_error_details().error_info().and_then(|info| Reason::named(&info.reason));
    match (reason, status.code()) {
        (Some(Reason::UnknownMethod), _) | (_, Code::NotFound) => StatusCode::NOT_FOUND,
        (Some(Reason::ContentType), _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Some(Reason::MessageTooLarge), _) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Code::Cancelled) => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        (_, Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange) => StatusCode::BAD_REQUEST,
        (_, Code::DeadlineExceeded) => StatusCode::GATEWAY_TIMEOUT,
        (_, Code::AlreadyExists | Code::Aborted) => StatusCode::CONFLICT,
        (_, Code::PermissionDenied) => StatusCode::FORBIDDEN,
        (_, Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        (_, Code::ResourceExhausted) => StatusCode::TOO_MANY_REQUESTS,
        (_, Code::Unimplemented) => StatusCode::NOT_IMPLEMENTED,
        (_, Code::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
