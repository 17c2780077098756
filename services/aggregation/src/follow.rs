//! Following the log: one thread a partition, which owns that partition's state.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deskpulse_core::grid::Reader;
use deskpulse_core::partition::{Block, Partition, Place};
use deskpulse_core::series::Names;
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::{DescribeLogRequest, DescribeLogResponse, ReadRequest, ReadResponse, ReportAppliedRequest};
use tokio::sync::{SetOnce, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

use crate::config::ConfigShelf;
use crate::decode::{self, DecodedBlock};
use crate::post::Post;

/// Reports to ingest that may wait to be sent.
const REPORTS: usize = 64;
/// How long a report may wait to be taken.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// The longest sleep until a timer: the clock on the wall may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// The partitions of a log and how far each has been applied.
#[derive(Debug, Clone)]
pub struct Aggregation {
    pub(crate) names: Arc<Names>,
    pub(crate) log: LogServiceClient<Upstream>,
    pub(crate) drain: Drain,
    /// Empty until the log has been reached.
    pub(crate) followed: Arc<SetOnce<FollowedLog>>,
}

/// The log that is followed, and no other.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    pub(crate) log_id: u64,
    pub(crate) post: Arc<Post>,
    pub(crate) config: Arc<ConfigShelf>,
    pub(crate) partitions: Vec<Followed>,
}

/// A partition that is being followed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) reader: Reader,
    /// The position up to which the reader sees everything.
    pub(crate) applied: watch::Receiver<u64>,
    /// The instant of its next timer.
    pub(crate) next_due: watch::Receiver<Timestamp>,
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
        source: decode::Malformed,
    },
}

impl Aggregation {
    /// Begins to follow a log, from its first block on. A log that cannot be reached is tried again until it can be.
    ///
    /// Call within a tokio runtime.
    #[must_use]
    pub fn follow(log: Upstream, drain: Drain) -> Self {
        let log = LogServiceClient::new(log).max_decoding_message_size(2 * MAX_MESSAGE);
        let aggregation = Self { names: Arc::new(Names::default()), log, drain, followed: Arc::new(SetOnce::new()) };
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
        let post = Arc::new(Post::new(Arc::clone(&self.names), heads.len()));
        let config = Arc::new(ConfigShelf::default());
        let of = u32::try_from(heads.len()).unwrap_or(u32::MAX);
        let partitions = (0..)
            .zip(&heads)
            .map(|(number, head)| {
                info!(partition = number, head, "following");
                self.spawn(Place { number, of }, *head, log_id, Arc::clone(&post), Arc::clone(&config))
            })
            .collect();
        let _ = self.followed.set(FollowedLog { log_id, post, config, partitions });
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
    fn spawn(&self, place: Place, head: u64, log_id: u64, post: Arc<Post>, config: Arc<ConfigShelf>) -> Followed {
        let partition = Partition::new(Arc::clone(&self.names), place);
        let reader = partition.reader();
        let (progress, applied) = watch::channel(0);
        let (due, next_due) = watch::channel(Timestamp::MAX);
        let aggregation = self.clone();
        let number = place.number;
        let follower = Follower { aggregation, number, head, log_id, post, config, partition, progress, due };
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
        Followed { reader, applied, next_due }
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
    /// How far the log reached when following began: what comes before is a replay.
    head: u64,
    log_id: u64,
    post: Arc<Post>,
    config: Arc<ConfigShelf>,
    partition: Partition,
    progress: watch::Sender<u64>,
    due: watch::Sender<Timestamp>,
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
            self.tend();
        }
    }

    /// Takes in letters and fires timers that are due.
    fn tend(&mut self) {
        let (letters, posted) = self.post.empty(self.number);
        if !letters.is_empty() {
            let answers = self.partition.receive(letters, now());
            self.post.send(answers);
        }
        self.post.taken_in(self.number, posted);
        self.partition.fire(now());
        self.announce_next_due();
    }

    fn announce_next_due(&self) {
        let next = self.partition.next_due().unwrap_or(Timestamp::MAX);
        self.due.send_if_modified(|due| std::mem::replace(due, next) != next);
    }

    /// Resolves when a letter has come or a timer is due.
    async fn wanted(&self) {
        let until_due = u64::try_from(self.due.borrow().millis_since(now())).unwrap_or(0);
        tokio::select! {
            () = self.post.rings(self.number) => {}
            () = tokio::time::sleep(Duration::from_millis(until_due).min(LONGEST_SLEEP)) => {}
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
            let message = tokio::select! {
                message = blocks.message() => message,
                () = self.wanted() => {
                    self.tend();
                    continue;
                }
            };
            match message {
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
        let DecodedBlock { block: Block { change, arrivals, mentions }, indices, events, config } =
            decode::block(&block.block, &self.aggregation.names)
                .map_err(|source| Interruption::Undecodable { position, source })?;
        let mut report = ReportAppliedRequest { partition: self.number, position, ..Default::default() };
        let unknown = events as usize - arrivals.len();
        if unknown > 0 {
            warn!(partition = self.number, position, unknown, "events of types this version does not know");
        }
        // Every partition reads the same changes; one of them is enough to keep them.
        if let Some(config) = config.filter(|_| self.number == 0) {
            self.config.put(config);
        }
        // While replaying, the clock stands where the events are: what they said of their future stays with the timers, as it
        // did then, until the replay is over.
        let latest = arrivals.iter().map(|arrival| arrival.event.time).max().unwrap_or(Timestamp::MIN);
        let clock = if position < self.head { latest.min(now()) } else { now() };
        let (added, letters) = self.partition.apply(Block { change, arrivals, mentions }, clock);
        for (index, added) in indices.into_iter().zip(added) {
            match added {
                Added::Last | Added::Within => {}
                Added::Duplicate => report.duplicates.push(index),
                Added::Conflict => report.conflicts.push(index),
            }
        }
        // Letters are on their way before anybody is told that the block is applied.
        self.post.send(letters);
        self.announce_next_due();
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

/// The instant it is now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
