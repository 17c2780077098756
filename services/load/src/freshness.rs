//! How long after its acknowledgement an event is in an answer.

use std::time::{Duration, Instant, SystemTime};

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    ConversationOpened, Dimensions, Event, MetricSelection, QueryMetricsRequest, QueryMetricsResponse,
    StreamEventsRequest,
};
use prost::Message as _;
use prost::bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use crate::LoadError;
use crate::encode::SOURCE;
use crate::latency::{Latencies, LatencySummary};
use crate::row::WEEK_START_MS;
use crate::wire::{self, Stream};

/// The tenant of the events sent here.
pub(crate) const TENANT: &str = "load-probe";

/// From the end of a probe to the next one.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an acknowledged event may stay invisible before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the probes saw.
#[derive(Debug, Clone, Serialize)]
pub struct FreshnessReport {
    /// Events sent and seen.
    pub probes: u64,
    /// How many of these were not in the first answer.
    pub not_in_first_answer: u64,
    /// Events that were not acknowledged, or not seen in 30 seconds.
    pub errors: u64,
    /// Why the first of those was.
    pub first_error: Option<String>,
    /// From the acknowledgement to the first answer with the event in it, which includes the time of asking.
    pub ack_to_visible: LatencySummary,
}

/// Sends an event, waits until it is acknowledged, asks until it is counted, again and again until the load is over.
///
/// Each run marks its conversations with a topic of its own, so that earlier ones do not count; and another one after an
/// error, as nobody knows then which events were kept.
pub(crate) async fn probe(
    channel: Channel,
    client: QueryServiceClient<Channel>,
    mut over: watch::Receiver<bool>,
) -> FreshnessReport {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut latencies = Latencies::new();
    let ack_to_visible = latencies.summary();
    let mut report =
        FreshnessReport { probes: 0, not_in_first_answer: 0, errors: 0, first_error: None, ack_to_visible };
    let mut probe = Probe { channel, client, stream: None, sequence: 0, topic: format!("{now:x}"), seen: 0 };
    loop {
        match probe.once().await {
            Ok((visible, queries)) => {
                report.probes += 1;
                report.not_in_first_answer += u64::from(queries > 1);
                latencies.record(visible);
            }
            Err(status) => {
                report.errors += 1;
                report.first_error.get_or_insert_with(|| LoadError::described(&status));
                (probe.stream, probe.seen) = (None, 0);
                probe.topic = format!("{now:x}-{}", report.errors);
            }
        }
        if tokio::time::timeout(PAUSE, over.wait_for(|over| *over)).await.is_ok() {
            report.ack_to_visible = latencies.summary();
            return report;
        }
    }
}

struct Probe {
    channel: Channel,
    client: QueryServiceClient<Channel>,
    stream: Option<Stream>,
    sequence: u64,
    topic: String,
    /// Events of the topic that were in an answer.
    seen: u64,
}

impl Probe {
    /// One event: how long it took to be seen, and how many questions.
    async fn once(&mut self) -> Result<(Duration, u32), Status> {
        self.sequence += 1;
        let request = StreamEventsRequest { sequence: self.sequence, events: vec![self.event()] };
        let (batches, answers) = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(wire::open(self.channel.clone(), 1).await?),
        };
        // A closed channel means a broken stream, of which the answers tell.
        let _ = batches.send(Bytes::from(request.encode_to_vec())).await;
        let answer = answers.message().await?.ok_or_else(|| Status::unavailable("the server ended the stream"))?;
        let acknowledged = Instant::now();
        if let Some(outcome) = answer.outcome.filter(|outcome| outcome.accepted != 1) {
            return Err(Status::internal(format!("the probe was not accepted: {outcome:?}")));
        }
        let question = self.question();
        for queries in 1.. {
            let answer = self.client.query_metrics(question.clone()).await;
            let (visible, late) = (acknowledged.elapsed(), acknowledged.elapsed() > PATIENCE);
            match answer {
                Ok(answer) if counted(answer.get_ref()) > self.seen => {
                    self.seen += 1;
                    return Ok((visible, queries));
                }
                Err(status) if late => return Err(status),
                Ok(_) if late => break,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Err(Status::deadline_exceeded("an acknowledged event is in no answer"))
    }

    fn event(&self) -> Event {
        let id = format!("{}-{}", self.topic, self.sequence);
        let dimensions = Dimensions { topic: self.topic.clone(), ..Dimensions::default() };
        let opened = ConversationOpened {
            conversation: id.clone(),
            dimensions: Some(dimensions),
            ..ConversationOpened::default()
        };
        Event {
            id,
            source: SOURCE.to_owned(),
            tenant: TENANT.to_owned(),
            // Long ago, so that no difference between two clocks puts it beyond a question's end.
            time: Some(prost_types::Timestamp { seconds: WEEK_START_MS / 1_000, nanos: 0 }),
            payload: Some(Payload::ConversationOpened(opened)),
            ..Event::default()
        }
    }

    fn question(&self) -> QueryMetricsRequest {
        let name = "conversations_opened".to_owned();
        QueryMetricsRequest {
            tenant: TENANT.to_owned(),
            metrics: vec![MetricSelection { name, ..MetricSelection::default() }],
            filter: format!("topic = \"{}\"", self.topic),
            ..QueryMetricsRequest::default()
        }
    }
}

fn counted(answer: &QueryMetricsResponse) -> u64 {
    answer.rows.iter().flat_map(|row| &row.values).map(|value| value.count).sum()
}
