//! One segment file: a header, then frames. All layouts are little endian.
//!
//! Segment header, 64 bytes: magic (8), format version (u32), 4 zero bytes, log id (u64), segment
//! number (u64), 28 zero bytes, CRC32C of all before it (u32).
//!
//! Frame header, 44 bytes: magic (u32), payload length (u32), partition (u32), CRC32C of the payload
//! (u32), position (u64), sequence (u64), durable up to (u64), CRC32C of all before it (u32), salted with
//! log id and segment number. The payload follows. The header's own checksum lets a reader skip other
//! partitions' payloads, and lets recovery search damaged bytes for headers in one pass; because it
//! covers the payload's checksum, the salt holds for the payload too, whose checksum needs no
//! segment number and is computed by the appending task instead of the one writer.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{LogError, PartitionId, Position};

/// The version of every file of the log.
pub(crate) const FORMAT_VERSION: u32 = 1;
const SEGMENT_HEADER_BYTES: usize = 64;
/// Where the first frame of every segment begins.
pub(crate) const SEGMENT_HEADER: u64 = SEGMENT_HEADER_BYTES as u64;
pub(crate) const FRAME_HEADER: usize = 44;

const SEGMENT_MAGIC: &[u8; 8] = b"DESKPSEG";
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xD5, b'k', b'P', 0x1F];

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
        let crc = crc32c::crc32c_append(salt.0, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of `bytes`; `None` when there is none of this log and segment.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        if !bytes.starts_with(&FRAME_MAGIC) {
            return None;
        }
        let (body, crc) = bytes.get(..FRAME_HEADER)?.split_at(FRAME_HEADER - 4);
        if crc != crc32c::crc32c_append(salt.0, body).to_le_bytes() {
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

/// What the first bytes of a segment file say.
pub(crate) enum SegmentHeader {
    /// It is this segment of this log.
    Sound,
    /// A newer program wrote it.
    Newer(u32),
    /// Torn or damaged.
    Bad,
}

impl SegmentHeader {
    pub(crate) fn check(bytes: &[u8], log_id: u64, number: u64) -> Self {
        match u32_at(bytes, 8) {
            Some(version) if bytes.starts_with(SEGMENT_MAGIC) && version > FORMAT_VERSION => Self::Newer(version),
            _ if bytes.starts_with(&Self::encode(log_id, number)) => Self::Sound,
            _ => Self::Bad,
        }
    }

    /// The frames of a segment whose header is sound.
    pub(crate) fn strip(bytes: &[u8]) -> &[u8] {
        bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default()
    }

    fn encode(log_id: u64, number: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&log_id.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&[0; 28]);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// The segment being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) salt: Salt,
    /// Where the next frame goes.
    pub(crate) end: u64,
    file: File,
    path: PathBuf,
}

impl Segment {
    /// Makes the file; when this returns, the file, its header and its name are durable.
    pub(crate) fn create(dir: &Path, log_id: u64, number: u64) -> Result<Self, LogError> {
        let path = path(dir, number);
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(LogError::io("create", &path))?;
        file.write_all_at(&SegmentHeader::encode(log_id, number), 0).map_err(LogError::io("write", &path))?;
        file.sync_all().map_err(LogError::io("sync", &path))?;
        sync_folder(dir)?;
        Ok(Self { number, salt: Salt::new(log_id, number), end: SEGMENT_HEADER, file, path })
    }

    /// Opens the last segment to go on after `end`, and cuts what follows.
    ///
    /// `suspect` are the bytes before `end` that no later frame proves durable. They are written
    /// again before the sync: after a failed write-back the system keeps such pages in memory and calls them
    /// clean, so a sync alone would vouch for bytes that are not on the disk.
    pub(crate) fn resume(dir: &Path, log_id: u64, number: u64, end: u64, suspect: &[u8]) -> Result<Self, LogError> {
        let path = path(dir, number);
        let file = OpenOptions::new().write(true).open(&path).map_err(LogError::io("open", &path))?;
        file.set_len(end).map_err(LogError::io("cut", &path))?;
        file.write_all_at(suspect, end - suspect.len() as u64).map_err(LogError::io("write", &path))?;
        file.sync_all().map_err(LogError::io("sync", &path))?;
        sync_folder(dir)?;
        Ok(Self { number, salt: Salt::new(log_id, number), end, file, path })
    }

    /// Writes frames after the last and syncs them. After an error the segment must not be used again.
    pub(crate) fn append(&mut self, frames: &[u8]) -> Result<(), LogError> {
        self.file.write_all_at(frames, self.end).map_err(LogError::io("write", &self.path))?;
        self.file.sync_data().map_err(LogError::io("sync", &self.path))?;
        self.end += frames.len() as u64;
        Ok(())
    }
}

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// The numbers of the segments in the folder, in order. Other files are left alone.
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let name = entry.map_err(LogError::io("list", dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(LogError::io("sync", dir))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(field))
}
