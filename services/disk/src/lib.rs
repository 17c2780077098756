//! Files and folders as the log and the store use them, on a real disk or a simulated one.
//!
//! **What survives a loss of power.** Bytes of a file: those written before a [`DiskFile::sync`] that returned. A file's name, its
//! removal and a rename: those done before a [`Disk::sync_folder`] that returned. Of everything else all, some or nothing.

mod gradual;
mod real;
#[cfg(feature = "simulation")]
mod simulated;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use gradual::Gradual;
pub use real::RealDisk;
#[cfg(feature = "simulation")]
pub use simulated::{Fault, SimulatedDisk};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read a file that exists.
    Read,
    /// To read and write a file that exists.
    Write,
    /// To read and write a file that must not exist yet.
    Create,
}

/// Where files are kept.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder and every folder above it that is missing, durably. A folder that exists is fine.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names of the files in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// How many bytes there is room for.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    /// Locks a file, made if need be, against every other process and every other holder in this one; `None` when another
    /// holds it. The lock ends when what is returned is dropped, or the process ends.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file. Reads and writes say where, so that threads can share it.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts it, or lengthens it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Fills `buffer` with what stands at `offset`; an error when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written, and the file's length, durable. After an error nobody knows what is: do not try again.
    fn sync(&self) -> io::Result<()>;
}
