//! Following the log: one thread a partition, which owns that partition's state.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deskpulse_core::grid::Reader;
use deskpulse_core::partition::Partition;
use deskpulse_core::series::Names;
use deskpulse_core::timeline::Added;
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::{
    DescribeLogRequest, DescribeLogResponse, EventBlock, ReadRequest, ReadResponse, ReportAppliedRequest,
};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

/// Reports to ingest that may wait to be sent.
const REPORTS: usize = 64;
/// How long a report may wait to be taken.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// The partitions of a log and how far each has been applied.
#[derive(Debug, Clone)]
pub struct Aggregation {
    pub(crate) names: Arc<Names>,
    pub(crate) log: LogServiceClient<Upstream>,
    pub(crate) drain: Drain,
    /// Empty until the log has been reached.
    pub(crate) followed: Arc<OnceLock<FollowedLog>>,
}

/// The log that is followed, and no other.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    pub(crate) log_id: u64,
    pub(crate) partitions: Vec<Followed>,
}

/// A partition that is being followed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) reader: Reader,
    /// The position up to which the reader sees everything.
    pub(crate) applied: watch::Receiver<u64>,
}

/// Why following stopped for the moment.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("the log cannot be read")]
    Unreadable(#[from] Status),
    #[error("the log sent position {got} after {applied}")]
    Gap { applied: u64, got: u64 },
    #[error("block {position} cannot be decoded")]
    Undecodable {
        position: u64,
        #[source]
        source: prost::DecodeError,
    },
}

impl Aggregation {
    /// Begins to follow a log, from its first block on. A log that cannot be reached is tried again until it can be.
    ///
    /// Call within a tokio runtime.
    #[must_use]
    pub fn follow(log: Upstream, drain: Drain) -> Self {
        let log = LogServiceClient::new(log).max_decoding_message_size(2 * MAX_MESSAGE);
        let aggregation = Self { names: Arc::new(Names::default()), log, drain, followed: Arc::new(OnceLock::new()) };
        tokio::spawn(aggregation.clone().start());
        aggregation
    }

    async fn start(mut self) {
        let mut pause = RETRY_FIRST;
        let DescribeLogResponse { heads, log_id } = loop {
            match self.log.describe_log(DescribeLogRequest {}).await {
                Ok(response) => break response.into_inner(),
                Err(status) => warn!(%status, "the log cannot be reached yet"),
            }
            if self.pause(&mut pause).await {
                return;
            }
        };
        let partitions = (0..).zip(&heads).map(|(number, head)| self.spawn(number, *head, log_id)).collect();
        let _ = self.followed.set(FollowedLog { log_id, partitions });
    }

    /// Waits before the next try, longer each time; true when it is time to go instead.
    async fn pause(&self, pause: &mut Duration) -> bool {
        let over = tokio::select! {
            () = tokio::time::sleep(*pause) => false,
            () = self.drain.streams_end() => true,
        };
        *pause = (*pause * 2).min(RETRY_LAST);
        over
    }

    /// Starts the thread that owns a partition.
    fn spawn(&self, number: u32, head: u64, log_id: u64) -> Followed {
        info!(partition = number, head, "following");
        let partition = Partition::new(Arc::clone(&self.names));
        let reader = partition.reader();
        let (progress, applied) = watch::channel(0);
        let follower = Follower { aggregation: self.clone(), number, log_id, partition, progress };
        std::thread::Builder::new()
            .name(format!("partition-{number}"))
            .spawn(move || {
                let _guard = EndsTheProcess;
                // A runtime of its own: nothing else ever runs on a partition's thread.
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(follower.run()),
                    Err(error) => tracing::error!(%error, "a partition has no runtime"),
                }
            })
            .map_or_else(|error| tracing::error!(%error, "a partition has no thread"), drop);
        Followed { reader, applied }
    }
}

/// A partition whose thread panicked would stand still for ever, while events go on being acknowledged.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a partition's thread panicked: the process ends");
            std::process::abort();
        }
    }
}

/// The writer of one partition.
struct Follower {
    aggregation: Aggregation,
    number: u32,
    log_id: u64,
    partition: Partition,
    progress: watch::Sender<u64>,
}

impl Follower {
    async fn run(mut self) {
        let mut pause = RETRY_FIRST;
        loop {
            let before = *self.progress.borrow();
            let drain = self.aggregation.drain.clone();
            let interruption = tokio::select! {
                interruption = self.follow() => interruption,
                () = drain.streams_end() => return,
            };
            warn!(partition = self.number, %interruption, "reading the log again");
            if *self.progress.borrow() > before {
                pause = RETRY_FIRST;
            }
            if self.aggregation.pause(&mut pause).await {
                return;
            }
        }
    }

    /// Applies blocks as they come, until something interrupts.
    async fn follow(&mut self) -> Interruption {
        match self.follow_until_interrupted().await {
            Ok(()) => Interruption::Unreadable(Status::unavailable("the log's stream ended")),
            Err(interruption) => interruption,
        }
    }

    async fn follow_until_interrupted(&mut self) -> Result<(), Interruption> {
        let applied = *self.progress.borrow();
        let request = ReadRequest { partition: self.number, from_position_inclusive: applied + 1, log_id: self.log_id };
        let mut blocks = self.aggregation.log.read(request).await?.into_inner();
        let (reports, outgoing) = mpsc::channel(REPORTS);
        let mut log = self.aggregation.log.clone();
        // Reports are a courtesy to those waiting for an answer: losing them loses no event, so nobody waits for them long.
        let reporting = tokio::spawn(async move { log.report_applied(ReceiverStream::new(outgoing)).await });
        let first = ReportAppliedRequest { partition: self.number, position: applied, ..Default::default() };
        let mut reports = Some(reports);
        report(&mut reports, first).await;
        let ended = loop {
            match blocks.message().await {
                Ok(Some(block)) => match self.apply(&block) {
                    Ok(applied) => report(&mut reports, applied).await,
                    Err(interruption) => break Err(interruption),
                },
                Ok(None) => break Ok(()),
                Err(status) => break Err(status.into()),
            }
        };
        reporting.abort();
        ended
    }

    /// Applies one block, all of it or nothing.
    fn apply(&mut self, block: &ReadResponse) -> Result<ReportAppliedRequest, Interruption> {
        let applied = *self.progress.borrow();
        let position = block.position;
        if position != applied + 1 {
            return Err(Interruption::Gap { applied, got: position });
        }
        let events = EventBlock::decode(block.block.as_slice())
            .map_err(|source| Interruption::Undecodable { position, source })?
            .events;
        let mut report = ReportAppliedRequest { partition: self.number, position, ..Default::default() };
        let (mut indices, mut arrivals) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (index, event) in (0..).zip(events) {
            let Some(arrival) = crate::decode::decode(event, &self.aggregation.names) else {
                warn!(partition = self.number, position, index, "an event of a type this version does not know");
                continue;
            };
            indices.push(index);
            arrivals.push(arrival);
        }
        for (index, added) in indices.into_iter().zip(self.partition.apply(arrivals)) {
            match added {
                Added::Last | Added::Within => {}
                Added::Duplicate => report.duplicates.push(index),
                Added::Conflict => report.conflicts.push(index),
            }
        }
        self.progress.send_replace(position);
        Ok(report)
    }
}

/// Sends a report; a receiver that does not take it in time gets no more, and counts the reader as absent.
async fn report(reports: &mut Option<mpsc::Sender<ReportAppliedRequest>>, report: ReportAppliedRequest) {
    let sent = match reports {
        Some(open) => timeout(REPORT_PATIENCE, open.send(report)).await,
        None => return,
    };
    if !matches!(sent, Ok(Ok(()))) {
        *reports = None;
    }
}
