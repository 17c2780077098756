use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};

use crate::meta::{self, Meta};
use crate::reader::EmbeddedReader;
use crate::recovery::{self, Recovered};
use crate::writer::{Counters, Message, NewBlock, Request, Shared, State, Tail, Writer};
use crate::{Appended, EventLog, LogError, PartitionId, Position};

/// How many appends may wait for the writer before the next one waits for room.
const QUEUE_REQUESTS: usize = 256;

/// How an [`EmbeddedLog`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// How many partitions the log has, at least 1. A log keeps the number it was made with.
    pub partitions: u32,
    /// A segment that has reached this many bytes is followed by a new one, so a file is larger by at
    /// most one group of appends. Default 64 MiB.
    pub segment_bytes: u64,
    /// The largest payload of one block. Default 16 MiB.
    pub max_block_bytes: u32,
}

impl LogOptions {
    /// The defaults, for this many partitions.
    #[must_use]
    pub const fn new(partitions: u32) -> Self {
        Self { partitions, segment_bytes: 64 << 20, max_block_bytes: 16 << 20 }
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
    /// Bytes of torn tail, never acknowledged, that were cut when the log was opened.
    pub cut_bytes: u64,
}

/// The log on a local disk: segment files in one folder, one writer thread, group commit.
///
/// An acknowledged block survives the end of the process and of the machine, on a disk that keeps what it
/// synced. It does not survive the loss of that disk. Damage to what had been durable is found when the
/// log is opened or read, and refused by name; only damage inside the last group of
/// appends cannot be told from a torn write, and is cut ([`Stats::cut_bytes`]).
///
/// Clones are the same log. When the last one is dropped without [`close`](Self::close), the drop
/// waits until the writer has written what was queued.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

/// The fields are dropped in this order: the queue closes, then the thread is waited for.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    max_block_bytes: u32,
    queue: mpsc::Sender<Message>,
    thread: WriterThread,
}

#[derive(Debug)]
struct WriterThread(Mutex<Option<JoinHandle<()>>>);

impl WriterThread {
    fn join(&self) {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic was published as the log's failure by the writer itself.
            let _ = thread.join();
        }
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.join();
    }
}

impl EmbeddedLog {
    /// Opens the log in a folder, or makes both.
    ///
    /// Every segment is read and checked. A torn tail, which was never acknowledged, is cut; any other
    /// damage is [`LogError::Corrupt`], and then nothing was changed. When this returns, everything in
    /// the log is durable. Blocking: call it before serving, or on a thread of its own.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, LogError> {
        if options.partitions == 0 {
            return Err(LogError::InvalidOptions { reason: "at least one partition is needed" });
        }
        meta::create_folder(dir)?;
        let lock = lock(dir)?;
        let meta = Meta::load_or_create(dir, options.partitions)?;
        let Recovered { heads, marks, segment, cut_bytes } = recovery::recover(dir, meta)?;

        let tail = |head| Tail { head, open: true };
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            log_id: meta.log_id,
            segment_bytes: options.segment_bytes,
            tails: heads.partitions.iter().map(|head| watch::Sender::new(tail(*head))).collect(),
            marks: RwLock::new(marks),
            state: watch::Sender::new(State::Open),
            counters: Counters { cut_bytes: cut_bytes.into(), ..Counters::default() },
        });
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS);
        let writer = Writer::new(Arc::clone(&shared), requests, segment, heads, lock);
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(LogError::io("start the writer of", dir))?;
        Ok(Self {
            owner: Arc::new(Owner {
                shared,
                max_block_bytes: options.max_block_bytes,
                queue,
                thread: WriterThread(Mutex::new(Some(thread))),
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
        self.owner.thread.join();
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
        Stats {
            appends: counters.appends.load(Ordering::Relaxed),
            blocks: counters.blocks.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            cut_bytes: counters.cut_bytes.load(Ordering::Relaxed),
        }
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
        self.owner.shared.log_id
    }

    async fn queue(&self, blocks: Vec<(PartitionId, Vec<u8>)>) -> Result<Appended, LogError> {
        if blocks.is_empty() {
            return Ok(Appended::new(async { Ok(Vec::new()) }));
        }
        let blocks = blocks
            .into_iter()
            .enumerate()
            .map(|(index, (partition, payload))| self.check(index, partition, payload))
            .collect::<Result<_, _>>()?;
        let (answer, answered) = oneshot::channel();
        self.owner
            .queue
            .send(Message::Append(Request { blocks, answer }))
            .await
            .map_err(|_| self.owner.shared.ended())?;
        let shared = Arc::clone(&self.owner.shared);
        Ok(Appended::new(async move { answered.await.map_err(|_| shared.ended()) }))
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
        Ok(EmbeddedReader::new(
            Arc::clone(&self.owner.shared),
            tail.subscribe(),
            partition,
            from_inclusive.max(Position::START.next()),
        ))
    }
}

fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join("log.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(LogError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { path: dir.into() }),
        Err(TryLockError::Error(error)) => Err(LogError::io("lock", &path)(error)),
    }
}
