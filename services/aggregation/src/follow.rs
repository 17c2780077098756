//! Following the log: one thread a partition, which owns that partition's state.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use deskpulse_core::archive::Unreadable;
use deskpulse_core::grid::Reader;
use deskpulse_core::partition::{Block, Letter, Partition, Place};
use deskpulse_core::series::Names;
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::{DescribeLogRequest, DescribeLogResponse, ReadRequest, ReadResponse, ReportAppliedRequest};
use tokio::sync::{SetOnce, watch};
use tokio::task::yield_now;
use tonic::{Code, Response, Status};
use tracing::{info, warn};

use crate::config::{self, ConfigShelf};
use crate::decode::{self, DecodedBlock};
use crate::keep::{Failure, KeepError, Keeper, Opened};
use crate::keeping::Keeping;
use crate::post::Post;
use crate::report::Reports;
use crate::retention::Retention;

/// How often a block that cannot be applied is read before that is taken for what the log holds.
const READS: u32 = 6;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// The longest sleep until a timer: the clock on the wall may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// For how long nothing else runs on a partition's thread.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// The partitions of a log and how far each has been applied.
#[derive(Debug, Clone)]
pub struct Aggregation {
    pub(crate) names: Arc<Names>,
    pub(crate) log: Log,
    pub(crate) drain: Drain,
    /// Empty until the log has been reached.
    pub(crate) followed: Arc<SetOnce<FollowedLog>>,
    failure: Failure,
}

/// Says how far the log of this process reaches.
pub type Describe = dyn Fn() -> Result<DescribeLogResponse, Status> + Send + Sync;

/// The log to follow.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) calls: LogServiceClient<Upstream>,
    here: Option<Arc<Describe>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("is_here", &self.here.is_some()).finish_non_exhaustive()
    }
}

impl Log {
    /// How far it reaches.
    pub(crate) async fn describe(&self) -> Result<DescribeLogResponse, Status> {
        match &self.here {
            Some(describe) => describe(),
            None => self.calls.clone().describe_log(DescribeLogRequest {}).await.map(Response::into_inner),
        }
    }
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
    /// The partition must not be used any more.
    #[error(transparent)]
    Unusable(#[from] KeepError),
}

impl Aggregation {
    /// Begins to follow a log from where the store ends. A log that cannot be reached is tried again until it can be. One of this process may
    /// say how far it reaches without a call, which every question waits for.
    ///
    /// Call within a tokio runtime.
    #[must_use]
    pub fn follow(log: Upstream, here: Option<Arc<Describe>>, drain: Drain, store: Opened) -> Self {
        let Opened { keeper, names } = store;
        let log = Log { calls: LogServiceClient::new(log).max_decoding_message_size(2 * MAX_MESSAGE), here };
        let failure = Arc::clone(&keeper.failure);
        let aggregation = Self { names, log, drain, followed: Arc::new(SetOnce::new()), failure };
        tokio::spawn(aggregation.clone().start(keeper));
        aggregation
    }

    /// Resolves when aggregation cannot go on: the process should end. Never resolves otherwise.
    pub async fn failed(&self) -> KeepError {
        self.failure.wait().await.clone()
    }

    async fn start(self, keeper: Keeper) {
        let mut pause = RETRY_FIRST;
        let DescribeLogResponse { heads, log_id } = loop {
            match self.log.describe().await {
                Ok(described) => break described,
                Err(status) => warn!(%status, "the log cannot be reached yet"),
            }
            if self.pause(&mut pause).await {
                return;
            }
        };
        let opening = {
            let (aggregation, keeper) = (self.clone(), keeper.clone());
            tokio::task::spawn_blocking(move || aggregation.open(&heads, log_id, &keeper)).await
        };
        match opening {
            Ok(Ok(followed)) => drop(self.followed.set(followed)),
            Ok(Err(error)) => drop(keeper.failure.set(error)),
            Err(error) => drop(keeper.failure.set(Unreadable(error.to_string()).into())),
        }
    }

    /// Takes all partitions from the store, and starts their threads.
    fn open(&self, heads: &[u64], log_id: u64, keeper: &Keeper) -> Result<FollowedLog, KeepError> {
        keeper.identify(log_id, heads.len())?;
        let of = u32::try_from(heads.len()).unwrap_or(u32::MAX);
        let archive = keeper.archive();
        let mut partitions = Vec::with_capacity(heads.len());
        for number in 0..of {
            partitions.push(Partition::open(Arc::clone(&self.names), Place { number, of }, Arc::clone(&archive))?);
        }
        let taken: Vec<u64> = partitions.iter().map(Partition::letters_taken).collect();
        let post = Arc::new(Post::new(Arc::clone(&self.names), &taken));
        let config = Arc::new(ConfigShelf::default());
        let mut followed = Vec::with_capacity(heads.len());
        let mut followers = Vec::with_capacity(heads.len());
        for ((number, mut partition), head) in (0..).zip(partitions).zip(heads) {
            for change in config::kept(&*archive, number)? {
                if number == 0 {
                    config.put(change.clone());
                }
                if let Some((tenant, change)) = decode::change(change, &self.names) {
                    partition.recall(tenant, change);
                }
            }
            let letters = Letter::of(&*archive, number)?;
            let sent = letters.iter().map(|(receiver, number, _)| (*receiver, *number)).collect();
            post.put_back(letters);

            let applied = partition.position();
            info!(partition = number, head, applied, "following");
            keeper.is_at(number, applied);
            let (progress, applied) = watch::channel(applied);
            // What was waiting when it was put away may be due already.
            let (due, next_due) = watch::channel(partition.next_due().unwrap_or(Timestamp::MAX));
            followed.push(Followed { reader: partition.reader(), applied, next_due });
            let budget = keeper.options.partition_bytes(heads.len());
            let retention = Retention::open(&*archive, number, keeper.options.log_retention)?;
            let letters = (sent, partition.letters_taken());
            let keeping = Keeping::new(keeper.clone(), (number, retention), budget, letters);
            followers.push(Follower {
                aggregation: self.clone(),
                number,
                head: *head,
                log_id,
                post: Arc::clone(&post),
                config: Arc::clone(&config),
                partition,
                progress,
                due,
                keeping,
            });
        }
        followers.into_iter().try_for_each(spawn)?;
        Ok(FollowedLog { log_id, post, config, partitions: followed })
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
}

/// Starts the thread that owns a partition.
fn spawn(follower: Follower) -> Result<(), KeepError> {
    let partition = follower.number;
    let not_running =
        move |what| move |error: std::io::Error| KeepError::NotRunning { partition, what, source: Arc::new(error) };
    let run = move || {
        let _guard = EndsTheProcess;
        let failure = Arc::clone(&follower.aggregation.failure);
        // A runtime of its own: nothing but the partition's reports runs beside it on its thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.map_err(not_running("runtime")).and_then(|runtime| runtime.block_on(follower.run()));
        if let Err(error) = ended {
            let _ = failure.set(error);
        }
    };
    let spawned = std::thread::Builder::new().name(format!("partition-{partition}")).spawn(run);
    spawned.map(drop).map_err(not_running("thread"))
}

/// A partition whose thread panicked would stand still for ever, while events go on being acknowledged.
pub(crate) struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a thread of aggregation panicked: the process ends");
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
    keeping: Keeping,
}

impl Follower {
    /// Follows until it is time to go, or it cannot go on.
    async fn run(mut self) -> Result<(), KeepError> {
        let mut pause = RETRY_FIRST;
        let mut reads = 0;
        loop {
            let before = *self.progress.borrow();
            let drain = self.aggregation.drain.clone();
            let interruption = tokio::select! {
                interruption = self.follow() => interruption,
                () = drain.streams_end() => return Ok(()),
            };
            let status = match interruption {
                Interruption::Unusable(error) => return Err(error),
                Interruption::Unreadable(status) if status.code() == Code::OutOfRange => {
                    let needed = *self.progress.borrow() + 1;
                    let reason = status.message().to_owned();
                    return Err(KeepError::LogCut { partition: self.number, needed, reason });
                }
                Interruption::Unreadable(status) if status.code() == Code::DataLoss => {
                    return Err(KeepError::LogDamaged { reason: status.message().to_owned() });
                }
                other => other,
            };
            if *self.progress.borrow() > before {
                (pause, reads) = (RETRY_FIRST, 0);
            }
            reads += u32::from(!matches!(status, Interruption::Unreadable(_)));
            if reads >= READS {
                let position = *self.progress.borrow() + 1;
                let reason = reason(&status);
                return Err(KeepError::Senseless { partition: self.number, position, reads, reason });
            }
            warn!(partition = self.number, interruption = reason(&status), "reading the log again");
            if self.aggregation.pause(&mut pause).await {
                return Ok(());
            }
            self.tend()?;
        }
    }

    /// Takes in letters and fires timers that are due.
    fn tend(&mut self) -> Result<(), KeepError> {
        let (letters, posted) = self.post.empty(self.number);
        if !letters.is_empty() {
            let answers = self.partition.receive(letters, self.clock())?;
            self.send(answers);
        }
        self.post.taken_in(self.number, posted);
        self.keeping.letters_taken = posted;
        self.partition.fire(self.clock());
        self.announce_next_due();
        Ok(())
    }

    /// Whether what is applied had been in the log when following began.
    fn is_replaying(&self) -> bool {
        *self.progress.borrow() < self.head
    }

    /// Up to when timers fire between blocks: while replaying, only blocks say how late it is.
    fn clock(&self) -> Timestamp {
        if self.is_replaying() { Timestamp::MIN } else { now() }
    }

    fn send(&mut self, letters: Vec<Letter>) {
        self.post.send(letters, |sent, letter| self.keeping.sent(sent, letter));
    }

    fn announce_next_due(&self) {
        let next = self.partition.next_due().unwrap_or(Timestamp::MAX);
        self.due.send_if_modified(|due| std::mem::replace(due, next) != next);
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
        let mut blocks = self.aggregation.log.calls.read(request).await?.into_inner();
        let reports =
            Reports::begin(self.aggregation.log.calls.clone(), (self.number, applied), self.keeping.unneeded());
        let mut turn = Instant::now();
        loop {
            // Reports run on this thread too, and there may always be something to do.
            if turn.elapsed() >= LONGEST_TURN {
                yield_now().await;
                turn = Instant::now();
            }
            let due = if self.is_replaying() { Timestamp::MAX } else { *self.due.borrow() };
            let message = tokio::select! {
                message = blocks.message() => message?,
                () = wanted(&self.post, self.number, due) => {
                    self.tend()?;
                    continue;
                }
                next = self.keeping.wanted() => {
                    let position = *self.progress.borrow();
                    self.keeping.go_on(next, &mut self.partition, (position, &self.post));
                    continue;
                }
            };
            let Some(block) = message else { return Ok(()) };
            reports.applied(self.apply(&block)?).await;
            let position = *self.progress.borrow();
            self.keeping.after_a_block(&mut self.partition, (position, &self.post), position < self.head).await;
        }
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
        // A kind of change this version does not know must not take the place of one it does.
        if let Some(config) = config.filter(|config| config.change.is_some()) {
            self.keeping.beside(config::keep(self.number, &config));
            // Every partition reads the same changes; one of them is enough to show them.
            if self.number == 0 {
                self.config.put(config);
            }
        }
        // While replaying, the clock stands where the events are: what they said of their future stays with the timers, as it
        // did then, until the replay is over.
        let latest = arrivals.iter().map(|arrival| arrival.event.time).max().unwrap_or(Timestamp::MIN);
        let clock = if position < self.head { latest.min(now()) } else { now() };
        let applied = self.partition.apply(Block { change, arrivals, mentions }, clock);
        let (added, letters) = applied.map_err(|error| Interruption::Unusable(error.into()))?;
        for (index, added) in indices.into_iter().zip(added) {
            match added {
                Added::Last | Added::Within => {}
                Added::Duplicate => report.duplicates.push(index),
                Added::Conflict => report.conflicts.push(index),
            }
        }
        // Letters are on their way before anybody is told that the block is applied.
        self.send(letters);
        self.announce_next_due();
        self.progress.send_replace(position);
        Ok(report)
    }
}

/// Resolves when a letter has come to a partition or its next timer is due.
async fn wanted(post: &Post, number: u32, due: Timestamp) {
    let until_due = u64::try_from(due.millis_since(now())).unwrap_or(0);
    tokio::select! {
        () = post.rings(number) => {}
        () = tokio::time::sleep(Duration::from_millis(until_due).min(LONGEST_SLEEP)) => {}
    }
}

/// An interruption with its cause.
fn reason(interruption: &Interruption) -> String {
    let causes = std::iter::successors(Some(interruption as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The instant it is now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
