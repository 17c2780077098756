//! The door for events: checks each, routes it to its partition, acknowledges it once it is durable; and the log's own
//! door, through which aggregation reads.
//!
//! Knows nothing of what events mean.

mod batch;
mod check;
mod config;
mod ingest_service;
mod log_service;

use std::time::Duration;

pub use batch::{Intake, Room, Submitted};
pub use check::{Checked, check};
pub use ingest_service::IngestApi;
pub use log_service::LogApi;

/// What ingest accepts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most events in a batch.
    pub batch_events: usize,
    /// The most events between their arrival and their acknowledgement.
    pub events_in_flight: usize,
    /// How far in the future an event's time may lie.
    pub future: Duration,
    /// How long an acknowledgement may wait for aggregation to say which events are duplicates, and, before that, a batch to be written for
    /// aggregation to catch up.
    pub verdict_wait: Duration,
    /// Whether blocks of the log are removed once aggregation says that nothing needs them any more. Default false.
    pub removes_unneeded: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_events: 10_000,
            events_in_flight: 1_000_000,
            future: Duration::from_mins(10),
            verdict_wait: Duration::from_millis(250),
            removes_unneeded: false,
        }
    }
}
