//! Latencies in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer ones count as this long.
const LONGEST_US: u64 = 3_600_000_000;

/// Latencies being recorded, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds and digits a histogram can have"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn summary(&self) -> LatencySummary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        LatencySummary {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.0.max(),
        }
    }
}

/// What a histogram says of latencies. All are 0 where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// Nine of ten take no longer.
    pub p90_us: u64,
    /// 99 of 100 take no longer.
    pub p99_us: u64,
    /// 999 of 1,000 take no longer.
    pub p99_9_us: u64,
    /// The longest.
    pub max_us: u64,
}
