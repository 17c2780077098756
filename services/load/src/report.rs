//! What a load did.

use std::path::PathBuf;

use serde::Serialize;

use crate::freshness::FreshnessReport;
use crate::latency::LatencySummary;
use crate::questions::QuestionsReport;
use crate::watchers::WatchersReport;

/// What a load did, as JSON has it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was sent.
    pub load: LoadReport,
    /// Events acknowledged, and so durable.
    pub events: u64,
    /// Of these, new ones.
    pub accepted: u64,
    /// Of these, known before: second deliveries, and after a broken stream what the server had kept.
    pub duplicates: u64,
    /// Of these, refused.
    pub rejected: u64,
    /// How many of `accepted` may yet turn out to be duplicates.
    pub unverified: u64,
    /// Why the first refused events were refused.
    pub rejections: Vec<String>,
    /// Batches acknowledged.
    pub batches: u64,
    /// What an event took on the wire, its share of a batch.
    pub bytes_per_event: f64,
    /// From the start to the last acknowledgement.
    pub seconds: f64,
    /// Events acknowledged a second.
    pub events_per_second: f64,
    /// From the instant a batch was to be sent to its acknowledgement.
    pub latency: LatencySummary,
    /// Streams opened again after they broke.
    pub reconnects: u64,
    /// Batches sent again then.
    pub resent_batches: u64,
    /// From the last acknowledgement to an answer that counts all; none where the questions' server answers none.
    pub counted_after_ms: Option<f64>,
    /// What this process used.
    pub client: Option<UsageReport>,
    /// What the server used, where its process was named.
    pub server: Option<UsageReport>,
    /// What became of the questions, where there were any.
    pub queries: Option<QuestionsReport>,
    /// What the probes saw, where there were any.
    pub freshness: Option<FreshnessReport>,
    /// What listeners were told, where there were any.
    pub watchers: Option<WatchersReport>,
}

/// What was sent, and how.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Where to.
    pub target: String,
    /// The seed of the canonical workload.
    pub seed: Option<u64>,
    /// The file instead of it.
    pub file: Option<PathBuf>,
    /// Events a batch.
    pub batch: u32,
    /// Connections.
    pub connections: u32,
    /// Batches in flight a connection, where these are what bounds the load.
    pub in_flight: Option<u32>,
    /// Events a second, where a rate is given.
    pub rate: Option<u64>,
}

/// What a process used from the start until all events were counted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct UsageReport {
    /// User and system time of all threads.
    pub cpu_seconds: f64,
    /// That for a million events.
    pub cpu_seconds_per_million: f64,
    /// The most memory it had since it began.
    pub peak_bytes: u64,
}
