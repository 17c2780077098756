//! Everything that can go wrong at the edge: one list of reasons, one way to make a status of it.

use std::collections::HashMap;
use std::time::Duration;

use deskpulse_proto::v1::QueryError;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "deskpulse";

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $code:ident;)+) => {
        /// Why something was refused: a constant that clients may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason { $($(#[doc = $doc])* $name),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The constant, as `ErrorInfo.reason` carries it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The gRPC code it comes with.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code),+ }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*)),+ }
            }
        }
    };
}

reasons! {
    /// A required field is missing.
    FieldRequired = "FIELD_REQUIRED", InvalidArgument;
    /// A field is longer, or has more entries, than its limit.
    FieldTooLong = "FIELD_TOO_LONG", InvalidArgument;
    /// A field's value is not one of those allowed.
    FieldInvalid = "FIELD_INVALID", InvalidArgument;
    /// An event's time is too far in the future.
    TimeInFuture = "TIME_IN_FUTURE", InvalidArgument;
    /// The event's id was used before with other content; the first event stays.
    ConflictingId = "CONFLICTING_ID", AlreadyExists;
    /// The batch holds no events.
    BatchEmpty = "BATCH_EMPTY", InvalidArgument;
    /// The batch holds more events than the limit.
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument;
    /// A stream's sequence numbers do not ascend.
    SequenceNotAscending = "SEQUENCE_NOT_ASCENDING", InvalidArgument;
    /// The message is larger than the limit.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// The message is not the protobuf message it should be.
    MessageMalformed = "MESSAGE_MALFORMED", InvalidArgument;
    /// There is no such service or method.
    UnknownMethod = "UNKNOWN_METHOD", Unimplemented;
    /// The body is of a type, or compressed in a way, that is not taken.
    ContentType = "CONTENT_TYPE", InvalidArgument;
    /// The catalogue has no such metric.
    UnknownMetric = "UNKNOWN_METRIC", InvalidArgument;
    /// There is no such dimension to group by or filter on.
    UnknownDimension = "UNKNOWN_DIMENSION", InvalidArgument;
    /// The filter cannot be read.
    MalformedFilter = "MALFORMED_FILTER", InvalidArgument;
    /// There is no such IANA time zone.
    UnknownTimeZone = "UNKNOWN_TIME_ZONE", InvalidArgument;
    /// The range is empty or does not fit the interval.
    InvalidRange = "INVALID_RANGE", InvalidArgument;
    /// The metric cannot be asked so: not on this basis, not with percentiles.
    NotApplicable = "NOT_APPLICABLE", InvalidArgument;
    /// The answer would have too many rows.
    TooManyRows = "TOO_MANY_ROWS", ResourceExhausted;
    /// The question reads more than one question may.
    TooMuchToRead = "TOO_MUCH_TO_READ", ResourceExhausted;
    /// The caller ended the call before it was answered.
    CalledOff = "CALLED_OFF", Cancelled;
    /// The time the caller gave is over.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// What the page token stands for is not kept any more: ask again from the first page.
    PageExpired = "PAGE_EXPIRED", FailedPrecondition;
    /// This version cannot do that yet.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented;
    /// The log has no such partition or position.
    NoSuchPosition = "NO_SUCH_POSITION", OutOfRange;
    /// Aggregation holds the figures of another log than the one it reads now: start it again.
    OtherLog = "OTHER_LOG", FailedPrecondition;
    /// More is being written than can be taken; come back later.
    Overloaded = "OVERLOADED", ResourceExhausted;
    /// The disk is full: nothing was written; come back when there is room.
    DiskFull = "DISK_FULL", ResourceExhausted;
    /// The service is shutting down; another may be up.
    Draining = "DRAINING", Unavailable;
    /// The log failed, and the service stops; nothing unacknowledged may be taken for written.
    LogFailed = "LOG_FAILED", Unavailable;
    /// Something in the log that had been durable is damaged; the message names file and offset, and `deskpulse check --repair`
    /// gives up no more than that.
    LogDamaged = "LOG_DAMAGED", DataLoss;
    /// Aggregation has not caught up with the log in time.
    AggregationBehind = "AGGREGATION_BEHIND", Unavailable;
    /// Another service cannot be reached.
    UpstreamUnreachable = "UPSTREAM_UNREACHABLE", Unavailable;
    /// A mistake in the service itself.
    Internal = "INTERNAL", Internal;
}

impl Reason {
    /// The reason so called.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// When it is worth trying again.
    fn retry_after(self) -> Option<Duration> {
        match self.code() {
            Code::Unavailable => Some(Duration::from_millis(500)),
            Code::ResourceExhausted if self == Self::Overloaded => Some(Duration::from_millis(100)),
            Code::ResourceExhausted if self == Self::DiskFull => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// Something refused: why, which field, and what to do in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// The field at fault, as a path; empty when none is.
    pub field: String,
    /// The same in words, with the limit and what to do.
    pub message: String,
}

impl Fault {
    /// A fault of no field in particular.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: String::new(), message: message.into() }
    }

    /// A fault of a field.
    pub fn in_field(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

/// The longest message of a status, in bytes. It travels in headers, twice more within the details, and clients take 8 KiB
/// of headers: more costs them the connection.
const MESSAGE: usize = 512;

/// A message that may repeat what a caller sent, with its middle left out when it is too long.
fn shortened(message: String) -> String {
    if message.len() <= MESSAGE {
        return message;
    }
    let (head, tail) =
        (message.floor_char_boundary(MESSAGE / 2 - 2), message.ceil_char_boundary(message.len() - MESSAGE / 2 + 2));
    format!("{} … {}", message.get(..head).unwrap_or_default(), message.get(tail..).unwrap_or_default())
}

/// A status with `ErrorInfo` always, `BadRequest` for a field, `RetryInfo` where trying again can help.
impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let fault = Fault { message: shortened(fault.message), ..fault };
        let mut metadata = HashMap::new();
        if !fault.field.is_empty() {
            metadata.insert("field".to_owned(), fault.field.clone());
        }
        let mut details = ErrorDetails::with_error_info(fault.reason.name(), DOMAIN, metadata);
        if !fault.field.is_empty() {
            details.set_bad_request(vec![FieldViolation::new(fault.field.clone(), fault.message.clone())]);
        }
        if let Some(delay) = fault.reason.retry_after() {
            details.set_retry_info(Some(delay));
        }
        Self::with_error_details(fault.reason.code(), fault.message, details)
    }
}

/// A status among answers: its own message, as google.rpc.Status has it.
#[must_use]
pub fn in_band(status: &Status) -> QueryError {
    let full = QueryError::decode(status.details()).ok().filter(|error| !error.details.is_empty());
    full.unwrap_or_else(|| QueryError {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// The status that stood among answers.
#[must_use]
pub fn status(error: &QueryError) -> Status {
    let (code, message) = (Code::from(error.code), error.message.clone());
    let details = if error.details.is_empty() { Vec::new() } else { error.encode_to_vec() };
    Status::with_details(code, message, details.into())
}

/// Gives statuses that the transport made itself the code and details that ours have.
#[must_use]
pub fn explained(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message();
    let reason = match status.code() {
        Code::OutOfRange => Reason::MessageTooLarge,
        Code::ResourceExhausted if message.contains("decompress") => Reason::MessageTooLarge,
        Code::Internal if message.contains("decode") || message.contains("decompress") => Reason::MessageMalformed,
        Code::Unimplemented if message.is_empty() => {
            return Fault::new(Reason::UnknownMethod, "there is no such method; server reflection lists them").into();
        }
        Code::Unimplemented => Reason::NotImplemented,
        _ => return status,
    };
    let mut explained = Status::from(Fault::new(reason, message));
    // The transport says there which compressions it knows.
    *explained.metadata_mut() = status.metadata().clone();
    explained
}
