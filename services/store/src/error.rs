//! What can go wrong, by what a caller would do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the store or a snapshot could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process, or another holder in this one, has it open. Nothing was changed.
    #[error("{file}: in use by another process")]
    InUse {
        /// The file that is locked.
        file: PathBuf,
    },
    /// A later version of the program wrote it. Nothing was changed.
    #[error("{file}: has format version {version}, this program knows versions up to {known}")]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version it has.
        version: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// Nothing this program wrote. Nothing was changed.
    #[error("{file}: not a store of this program")]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// Bytes are not as they were written, or missing.
    #[error("{file}: damaged{}: {what}", .offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damaged part begins, where that is known.
        offset: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// The process may not write, or not read, there: the rights are missing or the file system is mounted read-only.
    #[error("{file}: may not be written or read, check the rights and the mount")]
    ReadOnly {
        /// The file or folder.
        file: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The disk failed, or is full.
    #[error("{file}: the disk failed")]
    Disk {
        /// The file or folder.
        file: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// A commit failed before; nobody knows what it left on the disk, so no other is taken.
    #[error("{file}: an earlier commit failed")]
    Failed {
        /// The store's file.
        file: PathBuf,
    },
    /// A key, a value or a header is longer than allowed. Nothing was changed.
    #[error("{what} of {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The store is damaged again, and so often that somebody should look at the disk before it is rebuilt once more.
    #[error(
        "{folder}: {kept} damaged stores are set aside already; check the disk, then move `store.damaged-*` elsewhere"
    )]
    TooManySetAside {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        kept: usize,
    },
}

impl StoreError {
    /// What a failed operation on a file or folder means.
    pub(crate) fn disk(file: &Path, source: io::Error) -> Self {
        let file = file.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { file, source },
            io::ErrorKind::UnexpectedEof => Self::Damaged { file, offset: None, what: "it ends too early".to_owned() },
            _ => Self::Disk { file, source },
        }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_path_buf(), offset: Some(offset), what: what.into() }
    }

    pub(crate) fn damaged_somewhere(file: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_path_buf(), offset: None, what: what.into() }
    }
}
