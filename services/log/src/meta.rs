//! `log.meta`: what a log is, written once, before the first block; `log.first`: where it begins, once segments were removed.
//!
//! `log.meta`: magic (8 bytes), format version (u32), partitions (u32), log id (u64), CRC32C of all before it (u32).
//! `log.first`: magic (8), format version (u32), partitions (u32), log id (u64), number of the first segment (u64), its first
//! sequence (u64), the next position of each partition where it begins (u64 each), CRC32C of all before it (u32).
//! Little endian. Magic and version stay where they are in every later version.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::folder::{Fields, Folder, Kind};
use crate::segment::{FORMAT_VERSION, Identity, SEGMENT_HEADER_BYTES, Segment, u32_at};
use crate::{LogError, Position};

const MAGIC: [u8; 8] = *b"DESKPLOG";
const FIRST_MAGIC: [u8; 8] = *b"DESKPFST";

/// Reads the folder's `log.meta`; `None` when there is none.
pub(crate) fn load(folder: &Folder) -> Result<Option<Identity>, LogError> {
    let path = path(folder);
    folder.read(&path)?.map(|bytes| decode(&path, &bytes)).transpose()
}

/// Reads the folder's `log.meta`, or founds a new log when the folder holds none.
///
/// The first segment comes before `log.meta`: so a folder with a `log.meta` and no segment has
/// lost one, and a folder without a `log.meta` never acknowledged anything.
pub(crate) fn load_or_create(folder: &Folder, partitions: u32, capacity: u64) -> Result<Identity, LogError> {
    if let Some(identity) = load(folder)? {
        return if identity.partitions == partitions {
            Ok(identity)
        } else {
            Err(LogError::PartitionsChanged { stored: identity.partitions, asked: partitions })
        };
    }
    let path = path(folder);
    let leftovers = folder.list()?;
    if !leftovers.sealed.is_empty() {
        return Err(LogError::corrupt(&path, 0, "it is missing, segments exist"));
    }
    let leftovers: Vec<_> = leftovers.raw.into_iter().map(|number| folder.file(Kind::Raw, number)).collect();
    for file in &leftovers {
        let bytes = folder.read(file)?.unwrap_or_default();
        let frames = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
        if frames.iter().any(|byte| *byte != 0) {
            return Err(LogError::corrupt(&path, 0, "it is missing, segments exist"));
        }
    }
    leftovers.iter().try_for_each(|file| folder.remove_if_there(file))?;
    // The standard hasher's keys are the randomness the standard library gives.
    let identity = Identity { log_id: RandomState::new().hash_one(std::process::id()), partitions };
    Segment::create(folder, identity, 1, capacity)?;
    folder.replace(&path, &encode(identity))?;
    Ok(identity)
}

/// Refuses a folder that holds another log than this, or none. One that lost its `log.meta` may hold it: that is for others to say.
pub(crate) fn require(folder: &Folder, meant: u64) -> Result<(), LogError> {
    let found = load(folder)?.map(|identity| identity.log_id);
    let is_lost = || folder.list().map(|listing| !listing.raw.is_empty() || !listing.sealed.is_empty());
    if found == Some(meant) || (found.is_none() && is_lost()?) {
        return Ok(());
    }
    Err(LogError::OtherLog { path: folder.path.clone(), found, meant })
}

pub(crate) fn path(folder: &Folder) -> PathBuf {
    folder.path.join("log.meta")
}

pub(crate) fn encode(identity: Identity) -> Vec<u8> {
    with_crc(start(MAGIC, identity))
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Identity, LogError> {
    let mut fields = checked(path, bytes, MAGIC)?;
    let damaged = || LogError::corrupt(path, 0, "its checksum does not match");
    let partitions = fields.u32().ok_or_else(damaged)?;
    Ok(Identity { partitions, log_id: fields.u64().ok_or_else(damaged)? })
}

/// Where a log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) segment: u64,
    pub(crate) sequence: u64,
    pub(crate) starts: Box<[Position]>,
}

impl First {
    /// A log of which nothing was removed.
    pub(crate) fn whole(partitions: u32) -> Self {
        Self { segment: 1, sequence: 1, starts: vec![Position::START.next(); partitions as usize].into() }
    }

    pub(crate) fn path(folder: &Folder) -> PathBuf {
        folder.path.join("log.first")
    }

    pub(crate) fn load(folder: &Folder, identity: Identity) -> Result<Self, LogError> {
        let path = Self::path(folder);
        let Some(bytes) = folder.read(&path)? else { return Ok(Self::whole(identity.partitions)) };
        let mut fields = checked(&path, &bytes, FIRST_MAGIC)?;
        let mut decode = || {
            let own = fields.u32()? == identity.partitions && fields.u64()? == identity.log_id;
            let (segment, sequence) = (fields.u64()?, fields.u64()?);
            let starts = (0..identity.partitions).map(|_| fields.u64().map(Position)).collect::<Option<_>>()?;
            own.then_some(Self { segment, sequence, starts })
        };
        decode().ok_or_else(|| LogError::corrupt(&path, 0, "it belongs to another log"))
    }

    pub(crate) fn store(&self, folder: &Folder, identity: Identity) -> Result<(), LogError> {
        let mut bytes = start(FIRST_MAGIC, identity);
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend(self.starts.iter().flat_map(|start| start.0.to_le_bytes()));
        folder.replace(&Self::path(folder), &with_crc(bytes))
    }
}

/// The beginning that all small files share: magic, version, partitions, log id.
pub(crate) fn start(magic: [u8; 8], identity: Identity) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&identity.partitions.to_le_bytes());
    bytes.extend_from_slice(&identity.log_id.to_le_bytes());
    bytes
}

pub(crate) fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What follows the version in a small file whose checksum is right.
pub(crate) fn checked<'a>(path: &Path, bytes: &'a [u8], magic: [u8; 8]) -> Result<Fields<'a>, LogError> {
    if !bytes.starts_with(&magic) {
        return Err(LogError::NotALog { file: path.into() });
    }
    let damaged = || LogError::corrupt(path, 0, "its checksum does not match");
    let version = u32_at(bytes, 8).ok_or_else(damaged)?;
    if version > FORMAT_VERSION {
        return Err(LogError::NewerVersion { file: path.into(), found: version, known: FORMAT_VERSION });
    }
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if *crc != crc32c::crc32c(body).to_le_bytes() {
        return Err(damaged());
    }
    Ok(Fields(body.get(12..).ok_or_else(damaged)?))
}
