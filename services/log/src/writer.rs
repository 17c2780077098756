//! The one thread that writes: group commit.
//!
//! While one sync runs, the next requests gather in the bounded queue; the thread then takes them all,
//! writes them with one call, syncs once, publishes the new heads and only then answers. A failed write or sync is
//! never retried, because after one nobody knows what is on the disk. Where there is no room for another segment,
//! requests are refused before anything is written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, PoisonError};
use std::{fmt, io};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::{Catalog, Entry};
use crate::folder::Folder;
use crate::keeper::Errand;
use crate::preparer::{Spares, full};
use crate::recovery::{Head, Heads};
use crate::segment::{FrameHeader, Identity, Place, SEGMENT_HEADER, Segment};
use crate::{LogError, LogOptions, PartitionId, Position};

/// A group takes no further request once it has this many bytes.
const GROUP_BYTES: u64 = 8 << 20;
/// The largest buffer that is kept from one group to the next.
const KEPT_BUFFER_BYTES: usize = 2 * (8 << 20);

/// What all parts of an open log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: Folder,
    pub(crate) identity: Identity,
    pub(crate) options: LogOptions,
    /// One for each partition, so that a block wakes only the readers of its own.
    pub(crate) tails: Vec<watch::Sender<Tail>>,
    pub(crate) catalog: Catalog,
    pub(crate) spares: Spares,
    pub(crate) state: watch::Sender<State>,
    pub(crate) counters: Counters,
    pub(crate) warn: Warn,
}

/// Whom damage is told that does not stop the log.
#[derive(Clone)]
pub(crate) struct Warn(pub(crate) Arc<dyn Fn(&LogError) + Send + Sync>);

impl fmt::Debug for Warn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warn")
    }
}

/// The durable end of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    pub(crate) head: Head,
    /// False once no block will follow.
    pub(crate) open: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Open,
    Closed,
    Failed(Arc<LogError>),
}

/// Each written by one thread only.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cut_bytes: AtomicU64,
    pub(crate) scrubbed: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

impl Shared {
    /// Why the log takes nothing more.
    pub(crate) fn ended(&self) -> LogError {
        match &*self.state.borrow() {
            State::Failed(source) => LogError::Failed { source: Arc::clone(source) },
            State::Open | State::Closed => LogError::Closed,
        }
    }
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Message {
    Append(Request),
    /// For the keeper.
    Errand(Errand),
    /// Take nothing more, finish what is in the queue, end.
    Close,
}

pub(crate) type Answer = Result<Vec<Position>, LogError>;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) blocks: Vec<NewBlock>,
    /// Headers and payloads together.
    pub(crate) bytes: u64,
    pub(crate) answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(crate) struct NewBlock {
    pub(crate) partition: PartitionId,
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) payload: Vec<u8>,
}

/// The way to the thread that makes segments ready.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) ask: SyncSender<u64>,
    pub(crate) answers: Receiver<Result<Segment, LogError>>,
    pub(crate) asked: bool,
    /// The next segment, when it is here already.
    pub(crate) ready: Option<Segment>,
}

impl Next {
    fn ask(&mut self, number: u64) {
        if self.ready.is_none() && !self.asked {
            // Fails only when the thread has ended, which `take` finds.
            self.asked = self.ask.send(number).is_ok();
        }
    }

    fn wait(&mut self) -> Result<Segment, LogError> {
        self.asked = false;
        self.answers.recv().map_err(|_| LogError::Closed)?
    }

    /// Waits for the next segment. An answer from before, that the disk was full, is not relied on.
    fn take(&mut self, number: u64) -> Result<Segment, LogError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        if self.asked {
            match self.wait() {
                Err(LogError::DiskFull { .. }) => {}
                answer => return answer,
            }
        }
        self.ask(number);
        self.wait()
    }
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    segment: Segment,
    entry: Arc<Entry>,
    next: Next,
    keeper: SyncSender<Errand>,
    /// What is written; equal to what is durable except between a write and its sync.
    heads: Heads,
    /// Requests that are not yet written. Fields, so that they are dropped, and their callers told,
    /// only after the state says why.
    waiting: VecDeque<Request>,
    /// The requests of the group in hand, with their answers.
    group: Vec<(Request, Vec<Position>)>,
    buffer: Vec<u8>,
    /// Keeps the folder locked for as long as anything may be written to it.
    _lock: Arc<dyn Send + Sync>,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the writer")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Message>,
        segment: Segment,
        entry: Arc<Entry>,
        next: Next,
        keeper: SyncSender<Errand>,
        heads: Heads,
        lock: Arc<dyn Send + Sync>,
    ) -> Self {
        let (waiting, group, buffer) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { shared, queue, segment, entry, next, keeper, heads, waiting, group, buffer, _lock: lock }
    }

    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            self.gather(first);
            while !self.waiting.is_empty() {
                if let Err(error) = self.commit() {
                    self.shared.state.send_replace(State::Failed(Arc::new(error)));
                    return;
                }
            }
        }
    }

    fn gather(&mut self, first: Message) {
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(next) = message {
            match next {
                Message::Append(request) => {
                    bytes += request.bytes;
                    self.waiting.push_back(request);
                }
                Message::Errand(errand) => {
                    // Whoever asked finds the answer's sender gone.
                    let _ = self.keeper.try_send(errand);
                }
                Message::Close => self.queue.close(),
            }
            if bytes >= GROUP_BYTES {
                return;
            }
            message = self.queue.try_recv().ok();
        }
    }

    /// Writes, syncs and answers as many of the waiting requests as the segment has room for; at least one, or all are
    /// refused.
    fn commit(&mut self) -> Result<(), LogError> {
        if let Some(first) = self.waiting.front()
            && self.room() < first.bytes
        {
            match self.make_room(first.bytes) {
                Ok(()) => {}
                Err(LogError::DiskFull { path, free_bytes, needed_bytes }) => {
                    self.shared.counters.refused.fetch_add(self.waiting.len() as u64, Ordering::Relaxed);
                    for request in self.waiting.drain(..) {
                        let full = LogError::DiskFull { path: path.clone(), free_bytes, needed_bytes };
                        let _ = request.answer.send(Err(full));
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.fill();
        self.segment.append(&self.buffer)?;
        self.publish();
        if self.segment.end >= self.segment.capacity / 4 {
            self.next.ask(self.segment.number + 1);
        }
        Ok(())
    }

    fn room(&self) -> u64 {
        self.segment.capacity.saturating_sub(self.segment.end + self.buffer.len() as u64)
    }

    /// Goes on to the next segment, or enlarges one that is empty.
    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let folder = &self.shared.folder;
        if self.segment.end == SEGMENT_HEADER {
            return self.segment.enlarge(SEGMENT_HEADER + bytes).map_err(|error| full(folder, error));
        }
        let number = self.segment.number + 1;
        let mut next = self.next.take(number)?;
        if let Err(error) = next.enlarge(SEGMENT_HEADER + bytes) {
            self.next.ready = Some(next);
            return Err(full(folder, error));
        }
        // The old segment is synced: every group ends with a sync.
        let end = self.segment.end;
        let summary = self.heads.summary(self.entry.number, self.entry.first_sequence, &self.entry.starts, end);
        self.entry.finish(end);
        self.segment = next;
        self.entry = Entry::open(number, self.heads.sequence + 1, self.heads.next());
        self.shared.catalog.push(Arc::clone(&self.entry));
        // Without the keeper segments stay as they are; a start finds them.
        let _ = self.keeper.try_send(Errand::Keep(summary));
        Ok(())
    }

    /// Takes the requests that fit into the segment, and puts their frames into the buffer.
    fn fill(&mut self) {
        let durable_upto = self.heads.sequence;
        let mut marks = Vec::new();
        self.buffer.clear();
        while let Some(request) = self.waiting.front() {
            if self.room() < request.bytes {
                break;
            }
            let mut positions = Vec::with_capacity(request.blocks.len());
            for block in &request.blocks {
                let place = Place { segment: self.segment.number, offset: self.segment.end + self.buffer.len() as u64 };
                marks.extend(self.heads.mark_due(place));
                self.heads.sequence += 1;
                let head =
                    self.heads.partitions.get_mut(block.partition.index()).expect("append checked the partition");
                head.position = head.position.next();
                let header = FrameHeader {
                    length: block.length,
                    partition: block.partition,
                    payload_crc: block.crc,
                    position: head.position,
                    sequence: self.heads.sequence,
                    durable_upto,
                };
                header.write_to(self.segment.salt, &mut self.buffer);
                self.buffer.extend_from_slice(&block.payload);
                head.end = Place { segment: place.segment, offset: place.offset + header.frame_bytes() };
                positions.push(head.position);
            }
            let request = self.waiting.pop_front().expect("it was at the front");
            self.group.push((request, positions));
        }
        // A reader that goes by a mark stops at the durable end all the same.
        self.entry.marks.write().unwrap_or_else(PoisonError::into_inner).append(&mut marks);
    }

    fn publish(&mut self) {
        let blocks = self.group.iter().flat_map(|(request, _)| &request.blocks);
        let mut touched: Vec<_> = blocks.map(|block| block.partition).collect();
        let counters = &self.shared.counters;
        counters.appends.fetch_add(self.group.len() as u64, Ordering::Relaxed);
        counters.blocks.fetch_add(touched.len() as u64, Ordering::Relaxed);
        counters.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        touched.sort_unstable();
        touched.dedup();
        for partition in touched {
            let index = partition.index();
            if let (Some(tail), Some(head)) = (self.shared.tails.get(index), self.heads.partitions.get(index)) {
                tail.send_modify(|tail| tail.head = *head);
            }
        }
        for (request, positions) in self.group.drain(..) {
            // Whoever dropped the future does not want the answer; the blocks are durable all the same.
            let _ = request.answer.send(Ok(positions));
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
    }
}

impl Drop for Writer {
    /// However the thread ends, everyone who waits is told; their requests are dropped after this.
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.shared.state.send_modify(|state| {
            if let State::Open = state {
                *state = if panicked {
                    State::Failed(Arc::new(LogError::Io {
                        action: "go on writing to",
                        path: self.shared.folder.path.clone(),
                        source: io::Error::other("the writer thread panicked"),
                    }))
                } else {
                    State::Closed
                };
            }
        });
        for tail in &self.shared.tails {
            tail.send_modify(|tail| tail.open = false);
        }
        // A message that is being sent just now would stay in the queue unanswered: it is waited for, a few instructions.
        self.queue.close();
        while !matches!(self.queue.try_recv(), Err(TryRecvError::Disconnected)) {
            std::thread::yield_now();
        }
    }
}
