//! Sending batches on a stream, bounded in flight, across broken connections.

use std::collections::VecDeque;
use std::time::Duration;

use deskpulse_edge::upstream::connected;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::{BatchOutcome, Event, StreamEventsRequest};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::source::Origin;
use crate::failure::{self, Failure};

/// How long to go on trying without any acknowledgement once a connection broke.
const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Events that travel together, and where each comes from (for generated events: nowhere).
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) origins: Vec<Origin>,
}

/// Why a stream ended before its time.
enum End {
    /// The same batches may be taken on another connection.
    Broken(String),
    /// Trying again cannot help.
    Refused(anyhow::Error),
}

/// Sends every batch, and hands each over with its outcome once it is acknowledged, in order.
///
/// A connection that breaks is opened again for up to 30 seconds without an acknowledgement, and what was not
/// acknowledged is sent again: the server counts what it had already kept as duplicates. The first connection is tried
/// once only.
pub(crate) async fn stream(
    server: &str,
    in_flight: usize,
    batches: mpsc::Receiver<Batch>,
    settled: impl FnMut(&Batch, &BatchOutcome) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let endpoint = failure::endpoint(server)?;
    let mut state = Sending { in_flight: in_flight.max(1), batches, unsettled: VecDeque::new(), last: 0, settled };
    let mut patience: Option<Patience> = None;
    while !state.unsettled.is_empty() || state.next_batch().await {
        let end = match (connected(endpoint.clone()).await, &mut patience) {
            (Err(error), None) => return Err(failure::unreachable(server, &error)),
            (Err(error), Some(_)) => End::Broken(error.to_string()),
            (Ok(channel), patience) => {
                let patience = patience.get_or_insert_with(Patience::new);
                match state.connection(server, channel, patience).await {
                    Ok(()) => return Ok(()),
                    Err(end) => end,
                }
            }
        };
        match (end, &mut patience) {
            (End::Refused(error), _) => return Err(error),
            (End::Broken(reason), Some(patience)) => patience.wait(server, &reason).await?,
            (End::Broken(_), None) => {}
        }
    }
    Ok(())
}

struct Sending<F> {
    in_flight: usize,
    batches: mpsc::Receiver<Batch>,
    /// Sent or to be sent again, by number.
    unsettled: VecDeque<(u64, Batch)>,
    /// The last number given.
    last: u64,
    settled: F,
}

impl<F: FnMut(&Batch, &BatchOutcome) -> anyhow::Result<()>> Sending<F> {
    /// Waits for another batch; false at the end.
    async fn next_batch(&mut self) -> bool {
        let batch = self.batches.recv().await;
        if let Some(batch) = batch {
            self.last += 1;
            self.unsettled.push_back((self.last, batch));
            return true;
        }
        false
    }

    async fn connection(&mut self, server: &str, channel: Channel, patience: &mut Patience) -> Result<(), End> {
        let mut client = IngestServiceClient::new(channel);
        // Never full: what is unsettled is at most what may be in flight.
        let (outgoing, requests) = mpsc::channel(self.in_flight);
        for (sequence, batch) in &self.unsettled {
            let _ = outgoing.try_send(request(*sequence, batch));
        }
        let ended = |status: Status| end(server, &status);
        let mut answers = client.stream_events(ReceiverStream::new(requests)).await.map_err(ended)?.into_inner();
        let mut more = true;
        while more || !self.unsettled.is_empty() {
            tokio::select! {
                answer = answers.message() => {
                    let Some(answer) = answer.map_err(ended)? else {
                        return Err(End::Broken("the server ended the stream".to_owned()));
                    };
                    let outcome = answer.outcome.unwrap_or_default();
                    self.settle(answer.acknowledged_sequence, &outcome).map_err(End::Refused)?;
                    patience.reset();
                }
                another = self.next_batch(), if more && self.unsettled.len() < self.in_flight => {
                    more = another;
                    if let Some((sequence, batch)) = self.unsettled.back().filter(|_| another) {
                        // A closed channel means a broken stream, of which the answers tell.
                        let _ = outgoing.try_send(request(*sequence, batch));
                    }
                }
            }
        }
        // Everything is acknowledged: what the server says to the end of the stream changes nothing.
        drop(outgoing);
        let _ = tokio::time::timeout(Duration::from_secs(1), answers.message()).await;
        Ok(())
    }

    fn settle(&mut self, acknowledged: u64, outcome: &BatchOutcome) -> anyhow::Result<()> {
        while let Some((sequence, batch)) = self.unsettled.pop_front_if(|(sequence, _)| *sequence <= acknowledged) {
            if sequence == acknowledged {
                (self.settled)(&batch, outcome)?;
            } else {
                // Durable, but nothing was said of its events.
                let events = u32::try_from(batch.events.len())?;
                let unknown = BatchOutcome { accepted: events, unverified: events, ..BatchOutcome::default() };
                (self.settled)(&batch, &unknown)?;
            }
        }
        Ok(())
    }
}

fn request(sequence: u64, batch: &Batch) -> StreamEventsRequest {
    StreamEventsRequest { sequence, events: batch.events.clone() }
}

fn end(server: &str, status: &Status) -> End {
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::Aborted
        | Code::DeadlineExceeded
        | Code::ResourceExhausted => End::Broken(format!("{:?}: {}", status.code(), status.message())),
        _ => End::Refused(failure::refused(server, status)),
    }
}

/// How often and how long to try again.
struct Patience {
    /// When the trouble began; none since the last acknowledgement.
    since: Option<Instant>,
    delay: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { since: None, delay: FIRST_DELAY }
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    async fn wait(&mut self, server: &str, reason: &str) -> anyhow::Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.delay > PATIENCE {
            let message = format!("{server} acknowledged nothing for 30 seconds, the last time because of {reason}");
            let hint = "start the server again and repeat the import: what was kept already adds nothing";
            return Err(Failure::new(message, hint).into());
        }
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        Ok(())
    }
}
