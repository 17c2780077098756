//! What can go wrong, and what to do about it.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::file::ROW_BYTES;

/// Why a load was not made, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// That is no address.
    #[error("\"{target}\" is no server's address")]
    Address {
        /// What was given.
        target: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// Nobody answers there.
    #[error("cannot reach {target}")]
    Unreachable {
        /// The address.
        target: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The server refused the stream in a way that trying again cannot help.
    #[error("{target} answered {described}")]
    Refused {
        /// The address.
        target: String,
        /// Code, message and reason.
        described: String,
    },
    /// The stream broke and stayed so.
    #[error("{target} acknowledged nothing for {seconds} seconds, the last time because of {reason}")]
    GaveUp {
        /// The address.
        target: String,
        /// How long it was tried.
        seconds: u64,
        /// What was said last.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not consist of rows.
    #[error("{path} has {bytes} bytes, which is no number of rows of {ROW_BYTES} bytes", path = path.display())]
    NotRows {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A row is none.
    #[error("row {number} of {path} has kind {kind} and channel {channel}: there are 0 to 6 and 0 to 4", path = path.display())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        number: u64,
        /// What stands there for a kind.
        kind: u8,
        /// What stands there for a channel.
        channel: u8,
    },
    /// There is no such process, or nothing can be read of it.
    #[error("nothing can be read of process {pid}")]
    NoProcess {
        /// Its number.
        pid: u32,
    },
    /// A task of the load ended before its time.
    #[error("the load was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => "write it as http://127.0.0.1:7400",
            Self::Unreachable { .. } => {
                "start it with `deskpulse serve`, or name another with --target or --query-target"
            }
            Self::Refused { .. } => {
                "check that the target is a Deskpulse ingest service; fewer events a --batch make smaller messages"
            }
            Self::GaveUp { .. } => {
                "check that `deskpulse serve` runs and has room on its disk; what was acknowledged is kept"
            }
            Self::Unreadable { .. } => "check the name and the permissions of the file given with --bin",
            Self::NotRows { .. } | Self::BadRow { .. } => {
                "make the file with the canonical generator, `--formats bin`; it may be cut short"
            }
            Self::NoProcess { .. } => {
                "name the server's process on this machine with --server-pid, on Linux, or leave it out"
            }
            Self::Interrupted(_) => "look for a panic above, and report it",
        }
    }

    pub(crate) fn refused(target: &str, status: &Status) -> Self {
        Self::Refused { target: target.to_owned(), described: Self::described(status) }
    }

    /// A status in one line.
    pub(crate) fn described(status: &Status) -> String {
        let mut text = format!("{:?}: {}", status.code(), status.message());
        if let Some(info) = status.get_error_details().error_info() {
            let _ = write!(text, " ({})", info.reason);
        }
        text
    }
}
