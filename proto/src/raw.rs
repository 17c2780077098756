//! Servers that leave parts of their messages encoded: `IngestService` the events of a batch as they lie in its message, `QueryService` an
//! answer that many listen to.

use prost::Message as _;
use prost::bytes::Bytes;

use crate::v1::QueryMetricsResponse;

/// An `IngestEventsRequest` whose events have not been looked into.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IngestEventsRequest {
    /// Each an [`Event`](crate::v1::Event).
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
}

/// A `StreamEventsRequest` whose events have not been looked into.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamEventsRequest {
    /// The client's number of the batch.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Each an [`Event`](crate::v1::Event).
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub events: Vec<Bytes>,
}

/// A `WatchMetricsResponse` whose answer was encoded once for all who listen to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchMetricsResponse {
    /// A [`QueryMetricsResponse`].
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub answer: Option<Bytes>,
    /// Where to go on after a reconnect.
    #[prost(string, tag = "2")]
    pub resume_token: String,
}

impl WatchMetricsResponse {
    /// An answer, as it is to be sent however often.
    #[must_use]
    pub fn encoded(answer: &QueryMetricsResponse) -> Bytes {
        answer.encode_to_vec().into()
    }
}

/// As for the whole contract: `UPDATE_GENERATED=1 cargo test -p deskpulse-proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod generated {
    include!("generated/raw.rs");
}

pub use generated::{ingest_service_server, query_service_server};
