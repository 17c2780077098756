use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use deskpulse_disk::{Disk, RealDisk};
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{Catalog, Entry, Form};
use crate::folder::Folder;
use crate::index::Summary;
use crate::keeper::{ERRANDS, Errand, Keeper, Truncation};
use crate::meta;
use crate::preparer::{self, Spares};
use crate::reader::EmbeddedReader;
use crate::recovery::{self, Recovered};
use crate::segment::FRAME_HEADER;
use crate::writer::{Answer, Counters, Message, NewBlock, Next, Request, Shared, State, Tail, Warn, Writer};
use crate::{Appended, EventLog, LogError, PartitionId, Position};

/// How many appends may wait for the writer before the next one waits for room.
const QUEUE_REQUESTS: usize = 256;

/// How an [`EmbeddedLog`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// How many partitions the log has, at least 1. A log keeps the number it was made with.
    pub partitions: u32,
    /// The size of a segment file. The first segments of a log are smaller, one that must hold a larger append is larger.
    /// Default 64 MiB.
    pub segment_bytes: u64,
    /// The largest payload of one block. Default 16 MiB.
    pub max_block_bytes: u32,
    /// Room on the disk that new segments leave free: where less would be left, appends are refused. Default 256 MiB.
    pub reserve_bytes: u64,
    /// Whether finished segments are compressed in the background. Default true.
    pub compress: bool,
    /// The pause between two finished segments when they are checked in the background, one after the other; `None` for no
    /// such checks. Default one minute.
    pub scrub_pause: Option<Duration>,
}

impl LogOptions {
    /// The defaults, for this many partitions.
    #[must_use]
    pub const fn new(partitions: u32) -> Self {
        Self {
            partitions,
            segment_bytes: 64 << 20,
            max_block_bytes: 16 << 20,
            reserve_bytes: 256 << 20,
            compress: true,
            scrub_pause: Some(Duration::from_mins(1)),
        }
    }
}

/// What a log is opened on and with, beside its options.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the files are. Default the file system of the machine.
    pub disk: Arc<dyn Disk>,
    /// The number of the log that must be there; [`LogError::OtherLog`] when it is another or none. Default any, and a new one.
    pub identity: Option<u64>,
    /// Positions known to be durable, of partition 0 on: a log that ends before one of them is damaged. Default none.
    pub durable: Vec<Position>,
    /// Is told, on a thread of the log, of damage and failures that do not stop the log. Default nobody.
    pub warn: Arc<dyn Fn(&LogError) + Send + Sync>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), identity: None, durable: Vec::new(), warn: Arc::new(|_| {}) }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("disk", &self.disk)
            .field("identity", &self.identity)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// What the log did since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Appends that are durable.
    pub appends: u64,
    /// Blocks that are durable.
    pub blocks: u64,
    /// Bytes written to segments for them, headers included.
    pub bytes: u64,
    /// Syncs these took; fewer than the appends when several came together.
    pub syncs: u64,
    /// Bytes of torn tail, never acknowledged, that were cut when the log was opened; at least, where older bytes lay beneath.
    pub cut_bytes: u64,
    /// Appends refused because the disk is full.
    pub refused: u64,
    /// Segments there are, now.
    pub segments: u64,
    /// Segments there are in compressed form, now.
    pub sealed: u64,
    /// Finished segments checked in the background.
    pub scrubbed: u64,
    /// Finished segments that were found damaged, each once.
    pub damaged: u64,
}

/// The log on a local disk: segment files in one folder, one writer thread, group commit.
///
/// An acknowledged block survives the end of the process and of the machine, on a disk that keeps what it
/// synced. It does not survive the loss of that disk. Damage to what had been durable is found when the
/// log is opened or read, or by the background check, and refused by name; only damage inside the last group of
/// appends cannot be told from a torn write, and is cut ([`Stats::cut_bytes`]).
///
/// A second thread makes the next segment's file ready, a third compresses, removes and checks finished segments.
///
/// Clones are the same log. When the last one is dropped without [`close`](Self::close), the drop
/// waits until the writer has written what was queued.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

/// The fields are dropped in this order: the queue closes, then the threads are waited for.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    max_block_bytes: u32,
    queue: mpsc::Sender<Message>,
    threads: Threads,
}

/// The writer first: the others end when it has.
#[derive(Debug)]
struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    fn join(&self) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic of the writer was published as the log's failure by itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.join();
    }
}

impl EmbeddedLog {
    /// Opens the log in a folder of the file system, or makes both, as [`open_on`](Self::open_on) does.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, LogError> {
        Self::open_on(dir, options, Surroundings::default())
    }

    /// Opens the log in a folder, or makes both.
    ///
    /// What was written after the last finished segment is read and checked; of finished segments, that they follow each other.
    /// A torn tail, which was never acknowledged, is cut; any other
    /// damage is [`LogError::Corrupt`], and then nothing was changed. When this returns, everything in
    /// the log is durable. Blocking: call it before serving, or on a thread of its own.
    pub fn open_on(dir: &Path, options: LogOptions, surroundings: Surroundings) -> Result<Self, LogError> {
        if options.partitions == 0 {
            return Err(LogError::InvalidOptions { reason: "at least one partition is needed" });
        }
        let Surroundings { disk, identity: meant, durable, warn } = surroundings;
        disk.create_folder(dir).map_err(LogError::io("create", dir))?;
        let folder = Folder { disk, path: dir.to_owned() };
        let lock: Arc<dyn Send + Sync> = lock(&folder)?;
        if let Some(meant) = meant {
            meta::require(&folder, meant)?;
        }
        let identity = meta::load_or_create(&folder, options.partitions, preparer::capacity(1, &options))
            .map_err(|error| preparer::full(&folder, error))?;
        let Recovered { heads, entries, segment, prepared, spares, cut_bytes } =
            recovery::recover(&folder, identity, &options, &durable)?;

        let tail = |head| Tail { head, open: true };
        let backlog = backlog(&entries);
        let entry = entries.back().cloned().expect("a log has a segment to write to");
        let shared = Arc::new(Shared {
            folder,
            identity,
            options,
            tails: heads.partitions.iter().map(|head| watch::Sender::new(tail(*head))).collect(),
            catalog: Catalog::new(entries),
            spares: Spares::new(spares),
            state: watch::Sender::new(State::Open),
            counters: Counters { cut_bytes: cut_bytes.into(), ..Counters::default() },
            warn: Warn(warn),
        });
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS);
        let (ask, asked) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let (errand, errands) = sync_channel(ERRANDS);
        let next = Next { ask, answers, asked: false, ready: prepared };
        let writer = Writer::new(Arc::clone(&shared), requests, segment, entry, next, errand, heads, Arc::clone(&lock));
        let keeper = Keeper::new(Arc::clone(&shared), errands, backlog, Arc::clone(&lock));
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.into()).spawn(run);
            thread.map_err(LogError::io("start a thread for", dir))
        };
        let preparing = Arc::clone(&shared);
        let threads = vec![
            spawn("log-writer", Box::new(move || writer.run()))?,
            spawn("log-preparer", Box::new(move || preparer::run(&preparing, &asked, &answer, lock)))?,
            spawn("log-keeper", Box::new(move || keeper.run()))?,
        ];
        Ok(Self {
            owner: Arc::new(Owner {
                shared,
                max_block_bytes: options.max_block_bytes,
                queue,
                threads: Threads(Mutex::new(threads)),
            }),
        })
    }

    /// Takes no further append, writes and answers those that are queued, ends the writer and unlocks
    /// the folder.
    ///
    /// Readers return what is left and then `None`. Closing a closed log is fine. An error is the
    /// failure that had stopped the log before.
    pub async fn close(&self) -> Result<(), LogError> {
        // Refused only when the writer has ended or is ending already.
        let _ = self.owner.queue.send(Message::Close).await;
        let mut state = self.owner.shared.state.subscribe();
        let ended = state.wait_for(|state| !matches!(state, State::Open));
        let failed = matches!(ended.await.as_deref(), Ok(State::Failed(_)));
        // Blocks for the moment in which the thread, having published its end, returns.
        self.owner.threads.join();
        if failed {
            return Err(self.owner.shared.ended());
        }
        Ok(())
    }

    /// Resolves when a write or a sync has failed, with [`LogError::Failed`]: the process should end and
    /// be started again. Never resolves otherwise, also not when the log is closed.
    pub fn failed(&self) -> impl Future<Output = LogError> + Send + use<> {
        let shared = Arc::clone(&self.owner.shared);
        async move {
            let mut state = shared.state.subscribe();
            let failed = state.wait_for(|state| matches!(state, State::Failed(_)));
            if failed.await.is_err() {
                std::future::pending::<()>().await;
            }
            shared.ended()
        }
    }

    /// What the log did since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.owner.shared.counters;
        let (segments, sealed) = self.owner.shared.catalog.count();
        Stats {
            appends: counters.appends.load(Ordering::Relaxed),
            blocks: counters.blocks.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            cut_bytes: counters.cut_bytes.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            segments,
            sealed,
            scrubbed: counters.scrubbed.load(Ordering::Relaxed),
            damaged: counters.damaged.load(Ordering::Relaxed),
        }
    }

    async fn send(&self, message: Message) -> Result<(), LogError> {
        self.owner.queue.send(message).await.map_err(|_| self.owner.shared.ended())
    }

    fn tail(&self, partition: PartitionId) -> Result<&watch::Sender<Tail>, LogError> {
        let tails = &self.owner.shared.tails;
        tails.get(partition.index()).ok_or(LogError::NoSuchPartition { partition, partitions: self.partitions() })
    }

    fn check(&self, index: usize, partition: PartitionId, payload: Vec<u8>) -> Result<NewBlock, LogError> {
        self.tail(partition)?;
        let limit = self.owner.max_block_bytes;
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|&length| length <= limit)
            .ok_or(LogError::BlockTooLarge { index, bytes: payload.len(), limit })?;
        Ok(NewBlock {
            partition,
            length,
            // Here and not in the writer, so that appending tasks share the work.
            crc: crc32c::crc32c(&payload),
            payload,
        })
    }
}

impl EventLog for EmbeddedLog {
    type Reader = EmbeddedReader;

    fn partitions(&self) -> u32 {
        u32::try_from(self.owner.shared.tails.len()).expect("made from a u32")
    }

    fn identity(&self) -> u64 {
        self.owner.shared.identity.log_id
    }

    async fn queue(&self, blocks: Vec<(PartitionId, Vec<u8>)>) -> Result<Appended, LogError> {
        if blocks.is_empty() {
            return Ok(Appended::new(async { Ok(Vec::new()) }));
        }
        let blocks = blocks
            .into_iter()
            .enumerate()
            .map(|(index, (partition, payload))| self.check(index, partition, payload))
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = blocks.iter().map(|block| FRAME_HEADER as u64 + u64::from(block.length)).sum();
        let (answer, answered) = oneshot::channel::<Answer>();
        self.send(Message::Append(Request { blocks, bytes, answer })).await?;
        let shared = Arc::clone(&self.owner.shared);
        Ok(Appended::new(async move { answered.await.map_err(|_| shared.ended())? }))
    }

    fn first(&self, partition: PartitionId) -> Result<Position, LogError> {
        self.tail(partition)?;
        let first = self.owner.shared.catalog.first();
        Ok(first.starts.get(partition.index()).copied().unwrap_or_default())
    }

    async fn truncate_below(&self, needed: Vec<(PartitionId, Position)>) -> Result<(), LogError> {
        let mut all = vec![Position::START; self.owner.shared.tails.len()];
        for (partition, position) in needed {
            self.tail(partition)?;
            if let Some(needed) = all.get_mut(partition.index()) {
                *needed = position;
            }
        }
        let (answer, answered) = oneshot::channel();
        self.send(Message::Errand(Errand::Truncate(Truncation { needed: all, answer }))).await?;
        answered.await.map_err(|_| self.owner.shared.ended())?
    }

    fn head(&self, partition: PartitionId) -> Result<Position, LogError> {
        Ok(self.tail(partition)?.borrow().head.position)
    }

    fn read(&self, partition: PartitionId, from_inclusive: Position) -> Result<EmbeddedReader, LogError> {
        let tail = self.tail(partition)?;
        let head = tail.borrow().head.position;
        if from_inclusive > head.next() {
            return Err(LogError::PastHead { partition, asked: from_inclusive, head });
        }
        let next = from_inclusive.max(Position::START.next());
        let first = self.first(partition)?;
        if next < first {
            return Err(LogError::Removed { partition, asked: from_inclusive, first });
        }
        Ok(EmbeddedReader::new(Arc::clone(&self.owner.shared), tail.subscribe(), partition, next))
    }
}

/// Locks the folder against every other process.
pub(crate) fn lock(folder: &Folder) -> Result<Arc<dyn Send + Sync>, LogError> {
    let path = folder.path.join("log.lock");
    let lock = folder.disk.try_lock(&path).map_err(LogError::io("lock", &path))?;
    lock.map(Arc::from).ok_or_else(|| LogError::InUse { path: folder.path.clone() })
}

/// The finished segments that are not compressed.
fn backlog(entries: &VecDeque<Arc<Entry>>) -> VecDeque<Summary> {
    let pairs = entries.iter().zip(entries.iter().skip(1));
    let raw = pairs.filter(|(entry, _)| entry.form == Form::Raw);
    raw.map(|(entry, next)| Summary {
        number: entry.number,
        first_sequence: entry.first_sequence,
        next_sequence: next.first_sequence,
        end: entry.end(),
        starts: entry.starts.clone(),
        ends: next.starts.clone(),
    })
    .collect()
}
