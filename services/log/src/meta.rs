//! `log.meta`: what a log is, written once, before the first block.
//!
//! Magic (8 bytes), format version (u32), partitions (u32), log id (u64), CRC32C of all before it (u32).
//! Little endian. Magic and version stay where they are in every later version.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::LogError;
use crate::segment::{self, FORMAT_VERSION, SEGMENT_HEADER, Segment, sync_folder, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"DESKPLOG";
const BYTES: usize = 28;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    /// Salts every checksum, so that bytes of another log never pass for this one's.
    pub(crate) log_id: u64,
    pub(crate) partitions: u32,
}

impl Meta {
    /// Reads the folder's `log.meta`, or founds a new log when the folder holds none.
    pub(crate) fn load_or_create(dir: &Path, partitions: u32) -> Result<Self, LogError> {
        let path = dir.join("log.meta");
        let meta = match fs::read(&path) {
            Ok(bytes) => Self::decode(&path, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Self::create(dir, &path, partitions);
            }
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        if meta.partitions == partitions {
            Ok(meta)
        } else {
            Err(LogError::PartitionsChanged { stored: meta.partitions, asked: partitions })
        }
    }

    /// The first segment comes before `log.meta`: so a folder with a `log.meta` and no segment has
    /// lost one, and a folder without a `log.meta` never acknowledged anything.
    fn create(dir: &Path, path: &Path, partitions: u32) -> Result<Self, LogError> {
        let leftovers = segment::list(dir)?;
        for &number in &leftovers {
            let file = segment::path(dir, number);
            let bytes = fs::metadata(&file).map_err(LogError::io("inspect", &file))?.len();
            if bytes > SEGMENT_HEADER {
                return Err(LogError::corrupt(path, 0, "it is missing, segments exist"));
            }
        }
        for &number in &leftovers {
            let file = segment::path(dir, number);
            fs::remove_file(&file).map_err(LogError::io("remove", &file))?;
        }
        let meta = Self {
            // The standard hasher's keys are the randomness the standard library gives.
            log_id: RandomState::new().hash_one(std::process::id()),
            partitions,
        };
        Segment::create(dir, meta.log_id, 1)?;
        let temporary = path.with_extension("meta.tmp");
        File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(&meta.encode())?;
                file.sync_all()
            })
            .map_err(LogError::io("write", &temporary))?;
        fs::rename(&temporary, path).map_err(LogError::io("create", path))?;
        sync_folder(dir)?;
        Ok(meta)
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.partitions.to_le_bytes());
        bytes.extend_from_slice(&self.log_id.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, LogError> {
        if !bytes.starts_with(MAGIC) {
            return Err(LogError::NotALog { file: path.into() });
        }
        let damaged = || LogError::corrupt(path, 0, "its checksum does not match");
        let version = u32_at(bytes, 8).ok_or_else(damaged)?;
        if version > FORMAT_VERSION {
            return Err(LogError::NewerVersion { file: path.into(), found: version, known: FORMAT_VERSION });
        }
        let (body, crc) = bytes.split_at_checked(BYTES - 4).ok_or_else(damaged)?;
        if crc != crc32c::crc32c(body).to_le_bytes() {
            return Err(damaged());
        }
        Ok(Self { partitions: u32_at(bytes, 12).ok_or_else(damaged)?, log_id: u64_at(bytes, 16).ok_or_else(damaged)? })
    }
}

/// Makes the folder and every folder above it that is missing, durably.
pub(crate) fn create_folder(dir: &Path) -> Result<(), LogError> {
    let dir: PathBuf = std::path::absolute(dir).map_err(LogError::io("find", dir))?;
    let missing = dir.ancestors().take_while(|folder| !folder.exists()).count();
    fs::create_dir_all(&dir).map_err(LogError::io("create", &dir))?;
    for parent in dir.ancestors().skip(1).take(missing) {
        sync_folder(parent)?;
    }
    Ok(())
}
