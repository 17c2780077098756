use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{PartitionId, Position};

/// Why the log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process, or another part of this one, has the folder open. Nothing was changed.
    #[error("the log in {} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The log was made with another number of partitions. Nothing was changed.
    #[error("the log has {stored} partitions, not {asked}: start with {stored} partitions")]
    PartitionsChanged {
        /// How many it has.
        stored: u32,
        /// How many the options named.
        asked: u32,
    },
    /// It is not the log that was meant, or there is none. Nothing was changed.
    #[error("{} holds {}, not log {meant:016x}", path.display(), found.map_or_else(|| "no log".to_owned(), |found| format!("log {found:016x}")))]
    OtherLog {
        /// The folder.
        path: PathBuf,
        /// The number of the log that is there; `None` when there is none.
        found: Option<u64>,
        /// The number of the log that was meant.
        meant: u64,
    },
    /// A newer Deskpulse wrote this file. Nothing was changed.
    #[error("{} has format version {found}, this program reads up to {known}: start with a newer program", file.display())]
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// The version it states.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// The file is not what its name says. Nothing was changed.
    #[error("{} does not belong to a deskpulse log", file.display())]
    NotALog {
        /// The file.
        file: PathBuf,
    },
    /// Something that had been durable is damaged or missing. Nothing was changed.
    #[error(
        "{} is damaged at byte {offset}: {reason}; the file was not changed; `deskpulse check --repair` would copy it to quarantine/, \
         keep every sound block and list those that are lost",
        file.display()
    )]
    Corrupt {
        /// The damaged or missing file.
        file: PathBuf,
        /// Where the damage begins, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// An option has a value that no log can have.
    #[error("invalid log options: {reason}")]
    InvalidOptions {
        /// What is wrong.
        reason: &'static str,
    },
    /// The log has no such partition.
    #[error("there is no partition {partition}, the log has {partitions}, numbered from 0")]
    NoSuchPartition {
        /// The partition asked for.
        partition: PartitionId,
        /// How many there are.
        partitions: u32,
    },
    /// A block is over the limit. Nothing of the append was written.
    #[error("block {index} of the append has {bytes} bytes, the limit is {limit}")]
    BlockTooLarge {
        /// Which block of the append, from 0.
        index: usize,
        /// Its size.
        bytes: usize,
        /// The limit, [`LogOptions::max_block_bytes`](crate::LogOptions::max_block_bytes).
        limit: u32,
    },
    /// A reader wants to begin after blocks this log does not have: they were lost, or belong to
    /// another log.
    #[error("partition {partition} ends at position {head}, so it cannot be read from {asked}")]
    PastHead {
        /// The partition.
        partition: PartitionId,
        /// Where the reader wanted to begin.
        asked: Position,
        /// The highest durable position.
        head: Position,
    },
    /// What a reader asks for was removed, because nobody was to need it any more.
    #[error(
        "partition {partition} begins at position {first}, so it cannot be read from {asked}: earlier blocks were removed"
    )]
    Removed {
        /// The partition.
        partition: PartitionId,
        /// What the reader wanted.
        asked: Position,
        /// The first position that is still there, or will be.
        first: Position,
    },
    /// There is no room for another segment without touching the reserve. Nothing of the append was written; the log goes
    /// on as soon as there is room again.
    #[error(
        "the disk of {} is full: {free_bytes} bytes are free, the next segment and the reserve need {needed_bytes}",
        path.display()
    )]
    DiskFull {
        /// The folder of the log.
        path: PathBuf,
        /// How much was free.
        free_bytes: u64,
        /// How much would have had to be; 0 when the disk itself said that it is full.
        needed_bytes: u64,
    },
    /// The file system refused. Whether the log still works is what the failed call says.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A write or a sync failed earlier. It is never retried; the log takes nothing more until it is
    /// opened again. What was waiting then may or may not be durable.
    #[error("the log stopped after a failure")]
    Failed {
        /// The failure.
        #[source]
        source: Arc<LogError>,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, reason: reason.into() }
    }
}
