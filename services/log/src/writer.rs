//! The one thread that writes: group commit.
//!
//! While one sync runs, the next requests gather in the bounded queue; the thread then takes them all,
//! writes them with one call, syncs once, publishes the new heads and only then answers. A failed write or sync is
//! never retried, because after one nobody knows what is on the disk.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::recovery::{Head, Heads, Mark};
use crate::segment::{FrameHeader, Place, Segment};
use crate::{LogError, PartitionId, Position};

/// A group takes no further request once it has this many bytes.
const GROUP_BYTES: usize = 8 << 20;
/// The largest buffer that is kept from one group to the next.
const KEPT_BUFFER_BYTES: usize = 2 * GROUP_BYTES;

/// What the writer publishes and readers see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) log_id: u64,
    pub(crate) segment_bytes: u64,
    /// One for each partition, so that a block wakes only the readers of its own.
    pub(crate) tails: Vec<watch::Sender<Tail>>,
    /// The sparse index, ordered by place; only of frames that are durable.
    pub(crate) marks: RwLock<Vec<Mark>>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) counters: Counters,
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

/// Written by the writer thread only.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) cut_bytes: AtomicU64,
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
    /// Take nothing more, finish what is in the queue, end.
    Close,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) blocks: Vec<NewBlock>,
    pub(crate) answer: oneshot::Sender<Vec<Position>>,
}

#[derive(Debug)]
pub(crate) struct NewBlock {
    pub(crate) partition: PartitionId,
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    segment: Segment,
    /// What is written; equal to what is durable except between a write and its sync.
    heads: Heads,
    /// The requests of the group in hand. A field, so that they are dropped, and their callers told,
    /// only after the state says why.
    group: Vec<Request>,
    buffer: Vec<u8>,
    /// Locks the folder for as long as anything may be written to it.
    _lock: File,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Message>,
        segment: Segment,
        heads: Heads,
        lock: File,
    ) -> Self {
        Self { shared, queue, segment, heads, group: Vec::new(), buffer: Vec::new(), _lock: lock }
    }

    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            self.gather(first);
            if self.group.is_empty() {
                continue;
            }
            if let Err(error) = self.commit() {
                self.shared.state.send_replace(State::Failed(Arc::new(error)));
                return;
            }
        }
    }

    fn gather(&mut self, first: Message) {
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(next) = message {
            match next {
                Message::Append(request) => {
                    let payloads = request.blocks.iter().map(|block| block.payload.len());
                    bytes += payloads.sum::<usize>();
                    self.group.push(request);
                }
                Message::Close => self.queue.close(),
            }
            if bytes >= GROUP_BYTES {
                return;
            }
            message = self.queue.try_recv().ok();
        }
    }

    fn commit(&mut self) -> Result<(), LogError> {
        let mut marks = Vec::new();
        if self.segment.end >= self.shared.segment_bytes {
            // The old segment is synced: every group ends with a sync.
            let number = self.segment.number + 1;
            self.segment = Segment::create(&self.shared.dir, self.shared.log_id, number)?;
        }

        let durable_upto = self.heads.sequence;
        let mut answers = Vec::with_capacity(self.group.len());
        let mut touched = Vec::new();
        self.buffer.clear();
        for request in &self.group {
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
                touched.push(block.partition);
            }
            answers.push(positions);
        }
        self.segment.append(&self.buffer)?;

        self.shared.marks.write().unwrap_or_else(PoisonError::into_inner).append(&mut marks);
        self.count(touched.len() as u64);
        touched.sort_unstable();
        touched.dedup();
        for partition in touched {
            let index = partition.index();
            if let (Some(tail), Some(head)) = (self.shared.tails.get(index), self.heads.partitions.get(index)) {
                tail.send_modify(|tail| tail.head = *head);
            }
        }
        for (request, positions) in self.group.drain(..).zip(answers) {
            // Whoever dropped the future does not want the answer; the blocks are durable all the same.
            let _ = request.answer.send(positions);
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    fn count(&self, blocks: u64) {
        let counters = &self.shared.counters;
        let appends = self.group.len() as u64;
        counters.appends.fetch_add(appends, Ordering::Relaxed);
        counters.blocks.fetch_add(blocks, Ordering::Relaxed);
        counters.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        counters.syncs.fetch_add(1, Ordering::Relaxed);
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
                        path: self.shared.dir.clone(),
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
    }
}
