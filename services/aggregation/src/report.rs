//! What a partition tells ingest: how far it is, which events it knew already, what of the log it does not need any more.
//!
//! A courtesy to those who wait for an answer: losing reports loses no event, so the partition never waits until one is taken. What ingest does
//! not take in time is given up with its stream; the next stream begins where the partition is then, and verdicts of blocks before are not given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::ReportAppliedRequest;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use crate::keeping::Unneeded;

/// Verdicts on blocks that may wait to be sent.
const VERDICTS: usize = 64;
/// Reports in a stream that ingest has not looked at yet.
const STREAM: usize = 16;
/// How long a report may wait to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long after a stream of reports ended the next begins.
const PAUSE: Duration = Duration::from_secs(1);

/// The partition's side. Reports end when it is dropped.
#[derive(Debug)]
pub(crate) struct Reports {
    outbox: Arc<Outbox>,
    _sending: JoinSet<()>,
}

impl Reports {
    /// Begins to report for a partition that has applied everything up to a position.
    pub(crate) fn begin(
        log: LogServiceClient<Upstream>,
        (partition, position): (u32, u64),
        unneeded: Unneeded,
    ) -> Self {
        let waiting = Waiting { told: position, queue: VecDeque::new(), is_overflown: false };
        let outbox = Arc::new(Outbox { partition, waiting: Mutex::new(waiting), bell: Notify::new() });
        let mut sending = JoinSet::new();
        sending.spawn(Arc::clone(&outbox).send(log, unneeded));
        Self { outbox, _sending: sending }
    }

    /// A block was applied; positions ascend.
    pub(crate) async fn applied(&self, report: ReportAppliedRequest) {
        let waiting = self.outbox.waiting().put(report);
        self.outbox.bell.notify_one();
        if waiting > VERDICTS / 2 {
            // The task that sends runs on this thread.
            yield_now().await;
        }
    }
}

/// Reports on their way to the task that sends them.
#[derive(Debug)]
struct Outbox {
    partition: u32,
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Debug)]
struct Waiting {
    /// Up to where reports were taken out, or given up.
    told: u64,
    /// At most [`VERDICTS`].
    queue: VecDeque<ReportAppliedRequest>,
    /// Whether some were given up that the stream has not had.
    is_overflown: bool,
}

impl Waiting {
    /// How many wait then.
    fn put(&mut self, report: ReportAppliedRequest) -> usize {
        // For ingest, blocks that are passed over have nothing but new events.
        if let Some(last) = self.queue.back_mut().filter(|last| is_all_new(last)) {
            *last = report;
        } else if self.queue.len() < VERDICTS {
            self.queue.push_back(report);
        } else {
            self.queue.clear();
            (self.told, self.is_overflown) = (report.position, true);
        }
        self.queue.len()
    }

    /// The next for a stream that has had all before it.
    fn take(&mut self) -> Option<ReportAppliedRequest> {
        if self.is_overflown {
            return None;
        }
        let report = self.queue.pop_front()?;
        self.told = report.position;
        Some(report)
    }
}

fn is_all_new(report: &ReportAppliedRequest) -> bool {
    report.duplicates.is_empty() && report.conflicts.is_empty()
}

/// Why a stream is given up.
struct NotTaken;

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends reports for ever, one stream after the other.
    async fn send(self: Arc<Self>, mut log: LogServiceClient<Upstream>, unneeded: Unneeded) {
        loop {
            let (sender, outgoing) = mpsc::channel(STREAM);
            tokio::select! {
                // First it takes what it can, then it is seen whether that was too little.
                biased;
                ended = log.report_applied(ReceiverStream::new(outgoing)) => {
                    debug!(partition = self.partition, ?ended, "ingest ended the stream of reports");
                }
                NotTaken = self.fill(&sender, &unneeded) => {
                    warn!(partition = self.partition, "ingest does not take reports: duplicates go unnoticed for a moment");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Fills one stream until it is not taken any more.
    async fn fill(&self, stream: &mpsc::Sender<ReportAppliedRequest>, unneeded: &Unneeded) -> NotTaken {
        let told = {
            let mut waiting = self.waiting();
            waiting.is_overflown = false;
            waiting.told
        };
        let at = |position| ReportAppliedRequest { partition: self.partition, position, ..Default::default() };
        let taken = async |report| matches!(timeout(PATIENCE, stream.send(report)).await, Ok(Ok(())));
        if !taken(at(told)).await {
            return NotTaken;
        }
        let mut look_at = Instant::now();
        loop {
            let next = self.waiting().take();
            if let Some(report) = next {
                if !taken(report).await {
                    return NotTaken;
                }
                continue;
            }
            if self.waiting().is_overflown {
                return NotTaken;
            }
            let looking = async {
                match unneeded.look_every() {
                    Some(pause) => {
                        sleep_until(look_at).await;
                        pause
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.bell.notified() => {}
                pause = looking => {
                    look_at = Instant::now() + pause;
                    let unneeded_up_to = unneeded.up_to();
                    // Told each time, in case ingest could not remove it then.
                    let news = ReportAppliedRequest { unneeded_up_to, ..at(self.waiting().told) };
                    if unneeded_up_to > 0 && !taken(news).await {
                        return NotTaken;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(position: u64, duplicates: &[u32]) -> ReportAppliedRequest {
        ReportAppliedRequest { position, duplicates: duplicates.to_vec(), ..Default::default() }
    }

    fn taken(waiting: &mut Waiting) -> Vec<u64> {
        std::iter::from_fn(|| waiting.take()).map(|report| report.position).collect()
    }

    #[test]
    fn what_waits_is_bounded_and_no_verdict_is_ever_passed_over_within_a_stream() {
        let mut waiting = Waiting { told: 0, queue: VecDeque::new(), is_overflown: false };
        // All new, and passed over: the last says it for all.
        for position in 1..=1_000 {
            assert_eq!(waiting.put(report(position, &[])), 1);
        }
        waiting.put(report(1_001, &[3]));
        waiting.put(report(1_002, &[]));
        assert_eq!((taken(&mut waiting), waiting.told), (vec![1_001, 1_002], 1_002));

        for position in 1_003..2_000 {
            assert!(waiting.put(report(position, &[0])) <= VERDICTS);
        }
        assert!(waiting.is_overflown && taken(&mut waiting).is_empty(), "the stream has not had them: it ends");
        let before = (waiting.told, waiting.queue.len() as u64);
        assert_eq!(
            before.0 + before.1,
            1_999,
            "the next stream begins behind what was given up, and gets all after it"
        );
        waiting.is_overflown = false;
        assert_eq!(taken(&mut waiting), (before.0 + 1..=1_999).collect::<Vec<_>>());
    }
}
