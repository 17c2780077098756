//! One connection: batches out, acknowledgements in, across broken streams.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use deskpulse_edge::upstream;
use deskpulse_proto::v1::{BatchOutcome, EventException, EventExceptionKind, StreamEventsResponse};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::batches::Batch;
use crate::latency::Latencies;
use crate::{LoadError, wire};

/// How long to go on without any acknowledgement once a stream broke.
const PATIENCE: Duration = Duration::from_secs(30);
/// When to try again where the server does not say.
const DELAY: Duration = Duration::from_millis(200);
/// How many refusals are kept to be shown.
const SHOWN: usize = 5;

/// What became of what a connection sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: u64,
    pub(crate) unverified: u64,
    /// How often a stream broke and was opened again.
    pub(crate) reconnects: u64,
    /// Batches sent again then.
    pub(crate) resent: u64,
    pub(crate) latencies: Latencies,
    /// Why the first refused events were refused.
    pub(crate) reasons: Vec<String>,
    /// When the last acknowledgement came.
    pub(crate) last: Option<Instant>,
}

impl Sent {
    pub(crate) fn new() -> Self {
        Self {
            batches: 0,
            events: 0,
            bytes: 0,
            accepted: 0,
            duplicates: 0,
            rejected: 0,
            unverified: 0,
            reconnects: 0,
            resent: 0,
            latencies: Latencies::new(),
            reasons: Vec::new(),
            last: None,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.events += other.events;
        self.bytes += other.bytes;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.unverified += other.unverified;
        self.reconnects += other.reconnects;
        self.resent += other.resent;
        self.latencies.add(&other.latencies);
        self.reasons.extend(other.reasons);
        self.reasons.truncate(SHOWN);
        self.last = self.last.max(other.last);
    }
}

/// What connections have in common.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) target: String,
    /// Batches sent and not yet acknowledged, at most.
    pub(crate) in_flight: usize,
    /// When to take no more batches.
    pub(crate) until: Option<Instant>,
    pub(crate) bar: ProgressBar,
}

/// A channel that is connected.
pub(crate) async fn connect(target: &str) -> Result<Channel, LoadError> {
    let address = |source| LoadError::Address { target: target.to_owned(), source };
    let endpoint = upstream::endpoint(target).map_err(address)?;
    let unreachable = |source| LoadError::Unreachable { target: target.to_owned(), source };
    upstream::connected(endpoint).await.map_err(unreachable)
}

/// Sends batches until there are no more, or until the terms end, and waits for what is in flight.
///
/// A stream that breaks, or that the server ends saying when to come back, is opened again for up to 30 seconds without an
/// acknowledgement; what was not acknowledged is sent again and keeps the instant it was meant to be sent at.
pub(crate) async fn send(terms: Terms, channel: Channel, batches: mpsc::Receiver<Batch>) -> Result<Sent, LoadError> {
    let mut sending = Sending { terms, batches, more: true, unsettled: VecDeque::new(), sent: Sent::new() };
    let mut channel = Some(channel);
    let mut trouble: Option<Instant> = None;
    loop {
        let events = sending.sent.events;
        let target = sending.terms.target.clone();
        let connected = match channel.take() {
            Some(channel) => Ok(channel),
            None => connect(&target).await,
        };
        let (reason, delay) = match connected {
            Ok(channel) => match sending.stream(channel).await {
                Ok(()) => return Ok(sending.sent),
                Err(status) => {
                    let delay = retry_after(&status).ok_or_else(|| LoadError::refused(&target, &status))?;
                    (LoadError::described(&status), delay)
                }
            },
            Err(error) => (with_causes(&error), DELAY),
        };
        let since = *trouble.insert(match trouble {
            Some(since) if sending.sent.events == events => since,
            _ => Instant::now(),
        });
        if since.elapsed() + delay > PATIENCE {
            return Err(LoadError::GaveUp { target, seconds: PATIENCE.as_secs(), reason });
        }
        sending.sent.reconnects += 1;
        tokio::time::sleep(delay).await;
    }
}

/// An error and what it comes from, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// When to try again; `None` where that cannot help.
fn retry_after(status: &Status) -> Option<Duration> {
    let said = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    let codes = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::Aborted];
    let broken = codes.contains(&status.code());
    // A status of the transport itself has no details.
    said.or((broken && status.details().is_empty()).then_some(DELAY))
}

struct Sending {
    terms: Terms,
    batches: mpsc::Receiver<Batch>,
    /// Whether there may be more batches to take.
    more: bool,
    /// Sent, or to be sent again, with the instant latency counts from.
    unsettled: VecDeque<(Batch, Instant)>,
    sent: Sent,
}

impl Sending {
    async fn stream(&mut self, channel: Channel) -> Result<(), Status> {
        // Never full: what is unsettled is at most what may be in flight.
        let (outgoing, mut answers) = wire::open(channel, self.terms.in_flight).await?;
        self.sent.resent += self.unsettled.len() as u64;
        for (batch, _) in &self.unsettled {
            let _ = outgoing.try_send(batch.bytes.clone());
        }
        let until = self.terms.until;
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        while self.more || !self.unsettled.is_empty() {
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => self.settle(&answer),
                    None => return Err(Status::unavailable("the server ended the stream")),
                },
                batch = self.batches.recv(), if self.more && self.unsettled.len() < self.terms.in_flight => {
                    match batch {
                        Some(batch) => {
                            let since = batch.intended.unwrap_or_else(Instant::now);
                            // A closed channel means a broken stream, of which the answers tell.
                            let _ = outgoing.try_send(batch.bytes.clone());
                            self.unsettled.push_back((batch, since));
                        }
                        None => self.more = false,
                    }
                }
                () = &mut over, if self.more => self.more = false,
            }
        }
        // Everything is acknowledged: what the server says to the end of the stream changes nothing.
        drop(outgoing);
        let _ = tokio::time::timeout(Duration::from_secs(1), answers.message()).await;
        Ok(())
    }

    fn settle(&mut self, answer: &StreamEventsResponse) {
        let (now, acknowledged) = (Instant::now(), answer.acknowledged_sequence);
        while let Some((batch, since)) = self.unsettled.pop_front_if(|(batch, _)| batch.sequence <= acknowledged) {
            let sent = &mut self.sent;
            sent.batches += 1;
            sent.events += u64::from(batch.events);
            sent.bytes += batch.bytes.len() as u64;
            sent.latencies.record(now.saturating_duration_since(since));
            sent.last = Some(now);
            self.terms.bar.inc(batch.events.into());
            match &answer.outcome {
                Some(outcome) if batch.sequence == acknowledged => sent.count(&batch, outcome),
                // Durable, but nothing was said of its events.
                _ => {
                    sent.accepted += u64::from(batch.events);
                    sent.unverified += u64::from(batch.events);
                }
            }
        }
    }
}

impl Sent {
    fn count(&mut self, batch: &Batch, outcome: &BatchOutcome) {
        self.accepted += u64::from(outcome.accepted);
        self.duplicates += u64::from(outcome.duplicates);
        self.rejected += u64::from(outcome.rejected);
        self.unverified += u64::from(outcome.unverified);
        if outcome.rejected > 0 {
            let refused = outcome.exceptions.iter().filter(|it| it.kind() != EventExceptionKind::Duplicate);
            let room = SHOWN.saturating_sub(self.reasons.len());
            self.reasons.extend(refused.take(room).map(|exception| reason(batch.sequence, exception)));
        }
    }
}

fn reason(sequence: u64, exception: &EventException) -> String {
    let EventException { index, field, reason, message, .. } = exception;
    format!("event {index} of batch {sequence}: {field}: {reason}: {message}")
}
