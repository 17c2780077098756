//! Questions asked while events are sent.

use std::time::Instant;

use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{MetricSelection, QueryMetricsRequest};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use crate::LoadError;
use crate::encode;
use crate::latency::{Latencies, LatencySummary};
use crate::row::{WEEK_MS, WEEK_START_MS};

/// Questions not yet answered, at most; the others wait, and their latency with them.
const OUTSTANDING: usize = 256;

/// What became of the questions.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionsReport {
    /// Answered.
    pub answered: u64,
    /// Refused or failed.
    pub errors: u64,
    /// Why the first of those was.
    pub first_error: Option<String>,
    /// From the instant a question was due to its answer.
    pub latency: LatencySummary,
}

/// A client for questions.
pub(crate) fn client(channel: Channel) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(channel).max_decoding_message_size(4 * MAX_MESSAGE)
}

/// Median and ninetieth percentile of the first response by channel: the largest tenant's week.
fn question() -> QueryMetricsRequest {
    let at = |milliseconds: i64| Some(prost_types::Timestamp { seconds: milliseconds / 1_000, nanos: 0 });
    let metric = MetricSelection {
        name: "first_response_time".to_owned(),
        percentiles: vec![50.0, 90.0],
        ..MetricSelection::default()
    };
    QueryMetricsRequest {
        tenant: encode::tenant(1),
        metrics: vec![metric],
        group_by: vec!["channel".to_owned()],
        start_time: at(WEEK_START_MS),
        end_time: at(WEEK_START_MS + WEEK_MS),
        ..QueryMetricsRequest::default()
    }
}

/// Asks at each tick until the load is over, then waits for the answers still due.
pub(crate) async fn ask(
    client: QueryServiceClient<Channel>,
    mut ticks: mpsc::Receiver<Instant>,
    mut over: watch::Receiver<bool>,
) -> QuestionsReport {
    let question = question();
    let mut asked: JoinSet<(Instant, Result<(), Status>)> = JoinSet::new();
    let mut latencies = Latencies::new();
    let mut report = QuestionsReport { answered: 0, errors: 0, first_error: None, latency: latencies.summary() };
    let mut going_on = true;
    while going_on || !asked.is_empty() {
        tokio::select! {
            Some(answered) = asked.join_next() => match answered {
                Ok((since, Ok(()))) => {
                    report.answered += 1;
                    latencies.record(since.elapsed());
                }
                Ok((_, Err(status))) => {
                    report.errors += 1;
                    report.first_error.get_or_insert_with(|| LoadError::described(&status));
                }
                Err(_) => report.errors += 1,
            },
            _ = over.wait_for(|over| *over), if going_on => going_on = false,
            Some(intended) = ticks.recv(), if going_on && asked.len() < OUTSTANDING => {
                let (mut client, question) = (client.clone(), question.clone());
                asked.spawn(async move { (intended, client.query_metrics(question).await.map(drop)) });
            }
        }
    }
    report.latency = latencies.summary();
    report
}
