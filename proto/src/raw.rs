//! `IngestService` for a server that leaves the events of a batch as they lie in the message.

use prost::bytes::Bytes;

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

/// As for the whole contract: `UPDATE_GENERATED=1 cargo test -p deskpulse-proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod generated {
    include!("generated/raw.rs");
}

pub use generated::ingest_service_server;
