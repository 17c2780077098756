use std::path::PathBuf;
use std::sync::Arc;

use deskpulse_disk::{Access, DiskFile};
use tokio::sync::watch;

use crate::catalog::{Entry, Form};
use crate::folder::Kind;
use crate::recovery::MARK_BYTES;
use crate::sealed::{Blocks, Sealed};
use crate::segment::{FRAME_HEADER, FrameHeader, Place, SEGMENT_HEADER, Salt};
use crate::writer::{Shared, State, Tail};
use crate::{Block, BlockReader, LogError, PartitionId, Position};

/// How much is read from a segment at once.
const READ_BUFFER: u64 = 256 << 10;

/// A reader of an [`EmbeddedLog`](crate::EmbeddedLog): reads the segment files up to the partition's
/// durable end and verifies every block it returns, whether its segment is compressed or not.
///
/// Reads are blocking calls inside the future. Whoever follows the log finds its newest bytes in the page
/// cache, where a read costs about as much as handing it to another thread; a reader far behind waits
/// for the disk, so long replays belong on a thread of their own.
///
/// After [`LogError::Corrupt`] or [`LogError::Io`] the next call tries the same block again. A block that a repair
/// gave up as lost is returned empty, so that positions have no gap.
#[derive(Debug)]
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    tail: watch::Receiver<Tail>,
    partition: PartitionId,
    /// The block to return next.
    next: Position,
    open: Option<Source>,
}

/// The segment being read. Holding its entry keeps its file from being written again.
#[derive(Debug)]
enum Source {
    Raw {
        entry: Arc<Entry>,
        window: Window,
        /// A frame boundary at or before the next block.
        offset: u64,
    },
    Sealed {
        sealed: Sealed,
        /// The chunk in hand, unpacked.
        blocks: Option<Blocks>,
    },
}

impl EmbeddedReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tail: watch::Receiver<Tail>,
        partition: PartitionId,
        next: Position,
    ) -> Self {
        Self { shared, tail, partition, next, open: None }
    }

    /// Finds the next block, which is durable and ends at or before `end`.
    fn find(&mut self, end: Place) -> Result<Block, LogError> {
        // Two segments at most: the one in hand, and the one that has the block.
        let mut exhausted = 0;
        loop {
            let mut source = match self.open.take() {
                Some(source) => source,
                None => self.enter(exhausted)?,
            };
            let found = source.find(self.partition, self.next, end);
            if let Ok(None) = found {
                exhausted = source.number();
                continue;
            }
            self.open = Some(source);
            let payload = found.map(|found| found.expect("there is one"))?;
            let block = Block { position: self.next, payload };
            self.next = self.next.next();
            return Ok(block);
        }
    }

    /// Opens the segment that has the next block.
    fn enter(&self, exhausted: u64) -> Result<Source, LogError> {
        let shared = &self.shared;
        let find = || {
            shared.catalog.with(self.partition, self.next).ok_or_else(|| LogError::Removed {
                partition: self.partition,
                asked: self.next,
                first: shared.catalog.first().starts.get(self.partition.index()).copied().unwrap_or_default(),
            })
        };
        let entry = find()?;
        if entry.number <= exhausted {
            let reason = format!("block {} of partition {} is missing", self.next, self.partition);
            let kind = if entry.form == Form::Raw { Kind::Raw } else { Kind::Sealed };
            return Err(LogError::corrupt(&shared.folder.file(kind, entry.number), 0, reason));
        }
        match Source::open(shared, entry, self.partition, self.next) {
            // It was compressed or removed just now.
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Source::open(shared, find()?, self.partition, self.next)
            }
            opened => opened,
        }
    }
}

impl Source {
    fn open(shared: &Shared, entry: Arc<Entry>, partition: PartitionId, next: Position) -> Result<Self, LogError> {
        match entry.form {
            Form::Raw => {
                let window = Window::open(shared, &entry)?;
                let offset = entry.mark(partition, next).unwrap_or(SEGMENT_HEADER);
                Ok(Self::Raw { entry, window, offset })
            }
            Form::Sealed => {
                let sealed = Sealed::open(&shared.folder, shared.identity, entry.number)?;
                Ok(Self::Sealed { sealed, blocks: None })
            }
        }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Raw { entry, .. } => entry.number,
            Self::Sealed { sealed, .. } => sealed.summary.number,
        }
    }

    /// The block at `next`; `None` when it is in a later segment.
    fn find(&mut self, partition: PartitionId, next: Position, end: Place) -> Result<Option<Arc<[u8]>>, LogError> {
        match self {
            Self::Raw { entry, window, offset } => {
                let is_last = entry.number == end.segment;
                let limit = if is_last { end.offset.min(entry.end()) } else { entry.end() };
                if limit.saturating_sub(*offset) > MARK_BYTES
                    && let Some(mark) = entry.mark(partition, next)
                {
                    *offset = mark.max(*offset);
                }
                window.find(partition, next, offset, limit)
            }
            Self::Sealed { sealed, blocks } => find_sealed(sealed, blocks, partition, next),
        }
    }
}

fn find_sealed(
    sealed: &Sealed,
    blocks: &mut Option<Blocks>,
    partition: PartitionId,
    next: Position,
) -> Result<Option<Arc<[u8]>>, LogError> {
    let chunks = sealed.of(partition);
    let Some(chunk) = chunks.get(chunks.partition_point(|chunk| chunk.next() <= next)) else { return Ok(None) };
    let bad = |reason| LogError::corrupt(&sealed.path, chunk.at, reason);
    if chunk.first > next {
        return Err(bad(format!("block {next} of partition {partition} is missing, block {} follows", chunk.first)));
    }
    let in_hand = blocks.take().filter(|blocks| chunk.first <= blocks.position() && blocks.position() <= next);
    let mut unpacked = match in_hand {
        Some(blocks) => blocks,
        None => sealed.unpack(chunk)?,
    };
    loop {
        let position = unpacked.position();
        let payload = unpacked.next().map_err(|()| bad("the chunk ends before its last block".to_owned()))?;
        if position == next {
            let payload = Arc::from(payload.unwrap_or_default());
            // The last block's chunk is not needed any more, however long the reader waits now.
            *blocks = Some(unpacked).filter(|blocks| blocks.position() < chunk.next());
            return Ok(Some(payload));
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
pub(crate) struct Window {
    pub(crate) salt: Salt,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
}

impl Window {
    pub(crate) fn open(shared: &Shared, entry: &Entry) -> Result<Self, LogError> {
        let path = shared.folder.file(Kind::Raw, entry.number);
        Ok(Self {
            salt: Salt::new(shared.identity.log_id, entry.number),
            file: shared.folder.open(&path, Access::Read)?,
            path,
            buffer: Vec::new(),
            buffer_at: 0,
        })
    }

    /// The block at `next` among the frames from `offset` to `limit`; `None` when it is not among them. Moves `offset` past the
    /// frames it has seen.
    fn find(
        &mut self,
        partition: PartitionId,
        next: Position,
        offset: &mut u64,
        limit: u64,
    ) -> Result<Option<Arc<[u8]>>, LogError> {
        while *offset < limit {
            let at = *offset;
            let salt = self.salt;
            let header = self.bytes(at, FRAME_HEADER, limit)?.and_then(|bytes| FrameHeader::decode(bytes, salt));
            let header = header.ok_or_else(|| self.corrupt(at, "the frame header is bad"))?;
            if header.partition != partition || header.position < next {
                *offset = at + header.frame_bytes();
                continue;
            }
            if header.position > next {
                let follows = header.position;
                let reason = format!("block {next} of partition {partition} is missing, block {follows} follows");
                return Err(self.corrupt(at, reason));
            }
            let payload = self
                .bytes(at + FRAME_HEADER as u64, header.length as usize, limit)?
                .filter(|payload| header.matches(payload))
                .map(Arc::<[u8]>::from);
            let payload = payload.ok_or_else(|| self.corrupt(at, "the payload does not match its checksum"))?;
            self.forget_if_large();
            *offset = at + header.frame_bytes();
            return Ok(Some(payload));
        }
        Ok(None)
    }

    /// `count` bytes at `at`; `None` when they do not lie before `limit`. Nothing from `limit` on is
    /// read, not even ahead: it may still be changing.
    pub(crate) fn bytes(&mut self, at: u64, count: usize, limit: u64) -> Result<Option<&[u8]>, LogError> {
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

    /// `count` bytes at `at`, past the buffer.
    pub(crate) fn read(&self, at: u64, count: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, at).map_err(LogError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Gives back the memory that an unusually large block took.
    fn forget_if_large(&mut self) {
        if self.buffer.len() as u64 > READ_BUFFER {
            self.buffer = Vec::new();
            self.buffer_at = 0;
        }
    }

    pub(crate) fn corrupt(&self, offset: u64, reason: impl Into<String>) -> LogError {
        LogError::corrupt(&self.path, offset, reason)
    }
}
