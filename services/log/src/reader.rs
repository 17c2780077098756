use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use crate::recovery::MARK_BYTES;
use crate::segment::{self, FRAME_HEADER, FrameHeader, Place, Salt};
use crate::writer::{Shared, State, Tail};
use crate::{Block, BlockReader, LogError, PartitionId, Position};

/// How much is read from a segment at once.
const READ_BUFFER: u64 = 256 << 10;

/// A reader of an [`EmbeddedLog`](crate::EmbeddedLog): reads the segment files up to the partition's
/// durable end and verifies every block it returns.
///
/// Reads are blocking calls inside the future. Whoever follows the log finds its newest bytes in the page
/// cache, where a read costs about as much as handing it to another thread; a reader far behind waits
/// for the disk, so long replays belong on a thread of their own.
///
/// After [`LogError::Corrupt`] or [`LogError::Io`] the next call tries the same block again.
#[derive(Debug)]
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    tail: watch::Receiver<Tail>,
    partition: PartitionId,
    /// The block to return next.
    next: Position,
    /// A frame boundary at or before that block.
    place: Place,
    open: Option<Window>,
}

impl EmbeddedReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tail: watch::Receiver<Tail>,
        partition: PartitionId,
        next: Position,
    ) -> Self {
        Self { shared, tail, partition, next, place: Place::start_of(1), open: None }
    }

    /// Finds the next block, which is durable and ends at or before `end`.
    fn find(&mut self, end: Place) -> Result<Block, LogError> {
        self.jump(end);
        loop {
            let place = self.place;
            let window = match self.open.take() {
                Some(window) if window.number == place.segment => self.open.insert(window),
                _ => self.open.insert(Window::open(&self.shared, place.segment)?),
            };
            let limit = if place.segment == end.segment { end.offset } else { window.file_bytes()? };
            if place.offset >= limit && place.segment < end.segment {
                self.place = Place::start_of(place.segment + 1);
                continue;
            }
            let salt = window.salt;
            let header = window
                .bytes(place.offset, FRAME_HEADER, limit)?
                .and_then(|bytes| FrameHeader::decode(bytes, salt))
                .ok_or_else(|| window.corrupt(place.offset, "the frame header is bad"))?;
            let after = Place { segment: place.segment, offset: place.offset + header.frame_bytes() };
            if header.partition != self.partition || header.position < self.next {
                self.place = after;
                continue;
            }
            if header.position > self.next {
                let reason = format!(
                    "block {} of partition {} is missing, block {} follows",
                    self.next, self.partition, header.position
                );
                return Err(window.corrupt(place.offset, reason));
            }
            let payload = window
                .bytes(place.offset + FRAME_HEADER as u64, header.length as usize, limit)?
                .filter(|payload| header.matches(payload))
                .map(Arc::<[u8]>::from);
            let payload =
                payload.ok_or_else(|| window.corrupt(place.offset, "the payload does not match its checksum"))?;
            window.forget_if_large();
            self.place = after;
            self.next = header.position.next();
            return Ok(Block { position: header.position, payload });
        }
    }

    /// Moves on by the index when the block may be far from here: the partition was idle while others
    /// wrote, or this is the first read.
    fn jump(&mut self, end: Place) {
        if self.place.segment == end.segment && end.offset <= self.place.offset + MARK_BYTES {
            return;
        }
        let marks = self.shared.marks.read().unwrap_or_else(PoisonError::into_inner);
        let index = self.partition.index();
        let at_or_before = marks.partition_point(|mark| mark.next.get(index).is_some_and(|next| *next <= self.next));
        if let Some(mark) = at_or_before.checked_sub(1).and_then(|last| marks.get(last)) {
            self.place = self.place.max(mark.place);
        }
    }
}

impl BlockReader for EmbeddedReader {
    async fn next(&mut self) -> Result<Option<Block>, LogError> {
        loop {
            let tail = *self.tail.borrow_and_update();
            if self.next <= tail.head.position {
                return self.find(tail.head.end).map(Some);
            }
            if !tail.open {
                return match &*self.shared.state.borrow() {
                    State::Failed(source) => Err(LogError::Failed { source: Arc::clone(source) }),
                    State::Open | State::Closed => Ok(None),
                };
            }
            if self.tail.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

/// An open segment and the stretch of it that was read last.
#[derive(Debug)]
struct Window {
    number: u64,
    salt: Salt,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
}

impl Window {
    fn open(shared: &Shared, number: u64) -> Result<Self, LogError> {
        let path = segment::path(&shared.dir, number);
        Ok(Self {
            number,
            salt: Salt::new(shared.log_id, number),
            file: File::open(&path).map_err(LogError::io("open", &path))?,
            path,
            buffer: Vec::new(),
            buffer_at: 0,
        })
    }

    fn file_bytes(&self) -> Result<u64, LogError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(LogError::io("inspect", &self.path))?.len())
    }

    /// `count` bytes at `at`; `None` when they do not lie before `limit`. Nothing from `limit` on is
    /// read, not even ahead: it may still be changing.
    fn bytes(&mut self, at: u64, count: usize, limit: u64) -> Result<Option<&[u8]>, LogError> {
        if at.saturating_add(count as u64) > limit {
            return Ok(None);
        }
        let buffer_end = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at + count as u64 > buffer_end {
            let ahead = READ_BUFFER.min(limit - at);
            let ahead = usize::try_from(ahead).expect("at most the read buffer");
            self.buffer.resize(count.max(ahead), 0);
            self.buffer_at = at;
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(LogError::io("read", &self.path)(error));
            }
        }
        let start = usize::try_from(at - self.buffer_at).expect("inside the buffer");
        Ok(self.buffer.get(start..start + count))
    }

    /// Gives back the memory that an unusually large block took.
    fn forget_if_large(&mut self) {
        if self.buffer.len() as u64 > READ_BUFFER {
            self.buffer = Vec::new();
            self.buffer_at = 0;
        }
    }

    fn corrupt(&self, offset: u64, reason: impl Into<String>) -> LogError {
        LogError::corrupt(&self.path, offset, reason)
    }
}
