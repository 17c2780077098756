//! One segment file as it is written: a header, then frames. All layouts are little endian.
//!
//! Segment header, 64 bytes: magic (8), format version (u32), what the file held before (u32: 0 zeros, 1 another segment), log id
//! (u64), segment number (u64), partitions (u32), 24 zero bytes, CRC32C of all before it (u32).
//!
//! Frame header, 44 bytes: magic (u32), payload length (u32), partition (u32), CRC32C of the payload
//! (u32), position (u64), sequence (u64), durable up to (u64), CRC32C of all before it (u32), salted with
//! log id and segment number. The payload follows. The header's own checksum lets a reader skip other
//! partitions' payloads, and lets recovery search damaged bytes for headers in one pass; because it
//! covers the payload's checksum, the salt holds for the payload too, whose checksum needs no
//! segment number and is computed by the appending task instead of the one writer.
//!
//! A file has its full size, and was written over once, before its first frame: a frame then waits for its bytes alone and
//! not for the file system's journal. The frames end where no sound frame follows.
//!
//! In version 1 a file held zeros, no number of partitions, and ended with its last frame.

use std::path::PathBuf;
use std::sync::Arc;

use deskpulse_disk::{Access, DiskFile, Gradual};

use crate::folder::{Folder, Kind};
use crate::{LogError, PartitionId, Position};

/// The version of every file of the log.
pub(crate) const FORMAT_VERSION: u32 = 2;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// Where the first frame of every segment begins.
pub(crate) const SEGMENT_HEADER: u64 = SEGMENT_HEADER_BYTES as u64;
pub(crate) const FRAME_HEADER: usize = 44;

const SEGMENT_MAGIC: &[u8; 8] = b"DESKPSEG";
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xD5, b'k', b'P', 0x1F];

/// How much is written at once where there is much to write.
const STRETCH: usize = 1 << 20;

/// A byte of the log: which segment, and how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Place {
    /// Where the first frame of a segment begins.
    pub(crate) const fn start_of(segment: u64) -> Self {
        Self { segment, offset: SEGMENT_HEADER }
    }
}

/// What a frame's checksum starts from, so that a frame counts only in its own segment of its own log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn new(log_id: u64, segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), &segment.to_le_bytes()))
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) partition: PartitionId,
    pub(crate) payload_crc: u32,
    pub(crate) position: Position,
    /// Number of the frame in the whole log; the first is 1.
    pub(crate) sequence: u64,
    /// The highest sequence that was already synced when this frame was written.
    pub(crate) durable_upto: u64,
}

impl FrameHeader {
    pub(crate) fn write_to(&self, salt: Salt, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.partition.0.to_le_bytes());
        out.extend_from_slice(&self.payload_crc.to_le_bytes());
        out.extend_from_slice(&self.position.0.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.durable_upto.to_le_bytes());
        let crc = salt.crc(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of `bytes`; `None` when there is none of this log and segment.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        if !bytes.starts_with(&FRAME_MAGIC) {
            return None;
        }
        let (body, crc) = bytes.get(..FRAME_HEADER)?.split_at(FRAME_HEADER - 4);
        if crc != salt.crc(body).to_le_bytes() {
            return None;
        }
        Some(Self {
            length: u32_at(body, 4)?,
            partition: PartitionId(u32_at(body, 8)?),
            payload_crc: u32_at(body, 12)?,
            position: Position(u64_at(body, 16)?),
            sequence: u64_at(body, 24)?,
            durable_upto: u64_at(body, 32)?,
        })
    }

    /// Header and payload together, in bytes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.length)
    }

    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32c::crc32c(payload) == self.payload_crc
    }
}

/// The frame at the start of `bytes`, header and payload sound.
pub(crate) fn frame_at(bytes: &[u8], salt: Salt) -> Result<FrameHeader, &'static str> {
    let header = FrameHeader::decode(bytes, salt).ok_or("the frame header is bad")?;
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + header.length as usize).ok_or("the frame is cut short")?;
    if header.matches(payload) { Ok(header) } else { Err("the payload does not match its checksum") }
}

/// Every sound frame header after the first byte, whatever its payload, with where it begins. One pass.
pub(crate) fn headers_in(bytes: &[u8], salt: Salt) -> impl Iterator<Item = (usize, FrameHeader)> {
    let [first, ..] = FRAME_MAGIC;
    let candidates = bytes.iter().enumerate().skip(1).filter(move |(_, byte)| **byte == first);
    candidates.filter_map(move |(at, _)| Some((at, FrameHeader::decode(bytes.get(at..)?, salt)?)))
}

/// What the first bytes of a segment file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// It is this segment of this log.
    Sound {
        /// The format version.
        version: u32,
        /// Whether the file held another segment before.
        recycled: bool,
    },
    /// A newer program wrote it.
    Newer(u32),
    /// Torn or damaged.
    Bad,
}

impl SegmentHeader {
    pub(crate) fn check(bytes: &[u8], log_id: u64, number: u64) -> Self {
        let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else { return Self::Bad };
        let Some(version) = u32_at(header, 8).filter(|_| header.starts_with(SEGMENT_MAGIC)) else { return Self::Bad };
        if version > FORMAT_VERSION {
            return Self::Newer(version);
        }
        let (body, crc) = header.split_at(SEGMENT_HEADER_BYTES - 4);
        let own = u64_at(header, 16) == Some(log_id) && u64_at(header, 24) == Some(number);
        if !own || crc != crc32c::crc32c(body).to_le_bytes() {
            return Self::Bad;
        }
        Self::Sound { version, recycled: u32_at(header, 12) == Some(1) }
    }

    fn encode(log_id: u64, number: u64, partitions: u32, recycled: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::from(recycled).to_le_bytes());
        bytes.extend_from_slice(&log_id.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&partitions.to_le_bytes());
        bytes.extend_from_slice(&[0; 24]);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Which log a segment belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Salts every checksum, so that bytes of another log never pass for this one's.
    pub(crate) log_id: u64,
    pub(crate) partitions: u32,
}

/// The segment being written, or the one that will be next.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) salt: Salt,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// How many bytes of the file are there to be overwritten.
    pub(crate) capacity: u64,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl Segment {
    /// Makes the file, of this many bytes; when this returns, the file, its header and its name are durable.
    pub(crate) fn create(folder: &Folder, identity: Identity, number: u64, capacity: u64) -> Result<Self, LogError> {
        let path = folder.file(Kind::Raw, number);
        let temporary = folder.temporary(&path)?;
        let file = folder.open(&temporary, Access::Create)?;
        let header = SegmentHeader::encode(identity.log_id, number, identity.partitions, false);
        file.write_all_at(&header, 0).map_err(LogError::io("write", &temporary))?;
        let mut segment = Self {
            number,
            salt: Salt::new(identity.log_id, number),
            end: SEGMENT_HEADER,
            capacity: SEGMENT_HEADER,
            file,
            path: temporary,
        };
        segment.enlarge(capacity.max(SEGMENT_HEADER))?;
        segment.take_name(folder, path)?;
        Ok(segment)
    }

    /// Takes an old segment file for a new segment, as durably.
    pub(crate) fn recycle(folder: &Folder, identity: Identity, number: u64, spare: u64) -> Result<Self, LogError> {
        let spare = folder.file(Kind::Spare, spare);
        let file = folder.open(&spare, Access::Write)?;
        let capacity = file.len().map_err(LogError::io("inspect", &spare))?;
        let header = SegmentHeader::encode(identity.log_id, number, identity.partitions, true);
        file.write_all_at(&header, 0).map_err(LogError::io("write", &spare))?;
        file.sync().map_err(LogError::io("sync", &spare))?;
        let salt = Salt::new(identity.log_id, number);
        let mut segment = Self { number, salt, end: SEGMENT_HEADER, capacity, file, path: spare };
        segment.take_name(folder, folder.file(Kind::Raw, number))?;
        Ok(segment)
    }

    fn take_name(&mut self, folder: &Folder, path: PathBuf) -> Result<(), LogError> {
        folder.rename(&self.path, &path)?;
        folder.sync()?;
        self.path = path;
        Ok(())
    }

    /// Opens a segment to go on after `end`.
    ///
    /// `suspect` are the bytes before `end` that no later frame proves durable. They are written
    /// again before the sync: after a failed write-back the system keeps such pages in memory and calls them
    /// clean, so a sync alone would vouch for bytes that are not on the disk. The `torn` bytes after `end` are
    /// made zeros, so that no frame among them can ever follow a new one.
    pub(crate) fn resume(
        folder: &Folder,
        identity: Identity,
        number: u64,
        end: u64,
        suspect: &[u8],
        torn: u64,
    ) -> Result<Self, LogError> {
        let path = folder.file(Kind::Raw, number);
        let file = folder.open(&path, Access::Write)?;
        let capacity = file.len().map_err(LogError::io("inspect", &path))?;
        let segment = Self { number, salt: Salt::new(identity.log_id, number), end, capacity, file, path };
        segment.file.write_all_at(suspect, end - suspect.len() as u64).map_err(LogError::io("write", &segment.path))?;
        segment.zero(end, torn)?;
        segment.file.sync().map_err(LogError::io("sync", &segment.path))?;
        Ok(segment)
    }

    /// Cuts off what follows the frames: for a file that grows no more.
    pub(crate) fn cut(&mut self) -> Result<(), LogError> {
        self.file.set_len(self.end).map_err(LogError::io("cut", &self.path))?;
        self.file.sync().map_err(LogError::io("sync", &self.path))?;
        self.capacity = self.end;
        Ok(())
    }

    /// Makes the file at least this large, of bytes that are written and durable. After [`LogError::DiskFull`] the segment is as
    /// it was; after another error it must not be used again.
    pub(crate) fn enlarge(&mut self, capacity: u64) -> Result<(), LogError> {
        if capacity <= self.capacity {
            return Ok(());
        }
        self.zero(self.capacity, capacity - self.capacity)?;
        self.file.sync().map_err(LogError::io("sync", &self.path))?;
        self.capacity = capacity;
        Ok(())
    }

    fn zero(&self, from: u64, bytes: u64) -> Result<(), LogError> {
        let zeros = vec![0; STRETCH.min(usize::try_from(bytes).unwrap_or(STRETCH))];
        let file = Gradual::new(Arc::clone(&self.file));
        let mut done = 0;
        while done < bytes {
            let stretch = (bytes - done).min(zeros.len() as u64);
            let zeros = usize::try_from(stretch).ok().and_then(|stretch| zeros.get(..stretch)).unwrap_or(&zeros);
            file.write_all_at(zeros, from + done).map_err(LogError::io("write", &self.path))?;
            done += stretch;
        }
        Ok(())
    }

    /// Writes frames after the last and syncs them. After an error the segment must not be used again.
    pub(crate) fn append(&mut self, frames: &[u8]) -> Result<(), LogError> {
        self.file.write_all_at(frames, self.end).map_err(LogError::io("write", &self.path))?;
        self.file.sync().map_err(LogError::io("sync", &self.path))?;
        self.end += frames.len() as u64;
        Ok(())
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(field))
}
