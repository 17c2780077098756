//! Listeners to answers while events are sent.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{MetricSelection, QueryMetricsRequest, WatchMetricsRequest};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::LoadError;
use crate::connection::connect;
use crate::encode;
use crate::latency::{Latencies, LatencySummary};
use crate::questions::client;
use crate::row::{WEEK_MS, WEEK_START_MS};
use crate::workload::TENANTS;

/// Listeners on one connection: a server lets a connection have so many calls at least.
const A_CONNECTION: u32 = 100;
/// The least time between two answers to one listener, in milliseconds.
const INTERVAL_MS: i32 = 500;
/// What they group by, each tenant's in turn.
const GROUPINGS: [&str; 4] = ["channel", "team", "priority", "topic"];

/// What listeners were told.
#[derive(Debug, Clone, Serialize)]
pub struct WatchersReport {
    /// Listeners whose first answer came.
    pub watchers: u64,
    /// Answers to all of them after their first ones, while events were sent.
    pub updates: u64,
    /// Streams that ended early or were refused.
    pub errors: u64,
    /// Why the first of those was.
    pub first_error: Option<String>,
    /// From an answer to the next one of the same listener, and from the last one to the end where that is longer than half a
    /// second.
    pub between_answers: LatencySummary,
}

/// Listeners that have had their first answers.
pub(crate) struct Watchers {
    listening: JoinSet<Heard>,
    report: WatchersReport,
}

/// What one listener heard.
struct Heard {
    updates: u64,
    between: Latencies,
    error: Option<String>,
}

/// Opens so many streams, a hundred on each connection, and waits for the first answer to each.
pub(crate) async fn open(
    target: &str,
    count: u32,
    begun: &Arc<OnceLock<Instant>>,
    over: &watch::Receiver<bool>,
) -> Result<Watchers, LoadError> {
    let between_answers = Latencies::new().summary();
    let mut report = WatchersReport { watchers: 0, updates: 0, errors: 0, first_error: None, between_answers };
    let mut listening = JoinSet::new();
    for connection in 0..count.div_ceil(A_CONNECTION) {
        let channel = connect(target).await?;
        for number in connection * A_CONNECTION..count.min((connection + 1) * A_CONNECTION) {
            let mut client: QueryServiceClient<Channel> = client(channel.clone());
            let opened = async {
                let mut answers = client.watch_metrics(request(number)).await?.into_inner();
                answers.message().await.map(|first| first.map(|_| answers))
            };
            match opened.await {
                Ok(Some(answers)) => {
                    report.watchers += 1;
                    listening.spawn(listen(answers, Arc::clone(begun), over.clone()));
                }
                Ok(None) => report.errors += 1,
                Err(status) => {
                    report.errors += 1;
                    report.first_error.get_or_insert_with(|| LoadError::described(&status));
                }
            }
        }
    }
    Ok(Watchers { listening, report })
}

impl Watchers {
    /// What all of them heard until the load was over.
    pub(crate) async fn report(mut self) -> WatchersReport {
        let mut between = Latencies::new();
        while let Some(heard) = self.listening.join_next().await {
            let Ok(heard) = heard else {
                self.report.errors += 1;
                continue;
            };
            self.report.updates += heard.updates;
            self.report.errors += u64::from(heard.error.is_some());
            between.add(&heard.between);
            self.report.first_error = self.report.first_error.take().or(heard.error);
        }
        self.report.between_answers = between.summary();
        self.report
    }
}

async fn listen<T>(
    mut answers: tonic::Streaming<T>,
    begun: Arc<OnceLock<Instant>>,
    mut over: watch::Receiver<bool>,
) -> Heard {
    let mut heard = Heard { updates: 0, between: Latencies::new(), error: None };
    let mut last = Instant::now();
    loop {
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(_)) => {
                    // Nothing changes, and nothing counts, before events are sent.
                    if let Some(begun) = begun.get() {
                        heard.updates += 1;
                        heard.between.record(last.max(*begun).elapsed());
                    }
                    last = Instant::now();
                }
                Ok(None) => {
                    heard.error = Some("the server ended the stream".to_owned());
                    return heard;
                }
                Err(status) => {
                    heard.error = Some(LoadError::described(&status));
                    return heard;
                }
            },
            _ = over.wait_for(|over| *over) => {
                if last.elapsed().as_millis() > u128::from(INTERVAL_MS.unsigned_abs()) {
                    heard.between.record(last.elapsed());
                }
                return heard;
            }
        }
    }
}

/// The openings and first responses of a tenant's week, by one dimension.
fn request(number: u32) -> WatchMetricsRequest {
    let at = |milliseconds: i64| Some(prost_types::Timestamp { seconds: milliseconds / 1_000, nanos: 0 });
    let tenant = u16::try_from(number % u32::from(TENANTS)).expect("below the number of tenants");
    let grouping = GROUPINGS[(number / u32::from(TENANTS)) as usize % GROUPINGS.len()];
    let metric = |name: &str, percentiles: &[f64]| MetricSelection {
        name: name.to_owned(),
        percentiles: percentiles.to_vec(),
        ..MetricSelection::default()
    };
    let query = QueryMetricsRequest {
        tenant: encode::tenant(tenant + 1),
        metrics: vec![metric("conversations_opened", &[]), metric("first_response_time", &[50.0, 90.0])],
        group_by: vec![grouping.to_owned()],
        start_time: at(WEEK_START_MS),
        end_time: at(WEEK_START_MS + WEEK_MS),
        ..QueryMetricsRequest::default()
    };
    let min_interval = Some(prost_types::Duration { seconds: 0, nanos: INTERVAL_MS * 1_000_000 });
    WatchMetricsRequest { query: Some(query), min_interval, resume_token: String::new() }
}
