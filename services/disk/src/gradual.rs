//! Files that much is written to while others wait for the same disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::DiskFile;

/// A file that is written in bulk by someone nobody waits for, beside files whose every sync is waited for.
///
/// A disk takes what is to be synced in the order it comes, so a sync of a hundred megabytes makes that of a few bytes in another
/// file wait for all of them. This file syncs itself every [`STRIDE`](Self::STRIDE) bytes, so that nobody ever waits for more.
///
/// After a sync that failed nobody knows what is durable, and the next one might succeed: every write and sync after it fails too,
/// whether or not the caller saw that one fail.
#[derive(Debug)]
pub struct Gradual {
    file: Arc<dyn DiskFile>,
    /// Bytes written since the last sync, about.
    unsynced: AtomicU64,
    /// Whether a sync has failed.
    has_failed: AtomicBool,
}

impl Gradual {
    /// How much is written between two syncs, at most, in bytes.
    pub const STRIDE: usize = 1 << 20;

    /// Writes to `file`.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, unsynced: AtomicU64::new(0), has_failed: AtomicBool::new(false) }
    }

    fn check(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("a sync of this file failed before: what is durable of it is not known"));
        }
        Ok(())
    }
}

impl DiskFile for Gradual {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        for (part, at) in bytes.chunks(Self::STRIDE).zip((offset..).step_by(Self::STRIDE)) {
            let written = part.len() as u64;
            if self.unsynced.load(Ordering::Relaxed) + written > Self::STRIDE as u64 {
                self.sync()?;
            }
            self.file.write_all_at(part, at)?;
            self.unsynced.fetch_add(written, Ordering::Relaxed);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync().inspect_err(|_| self.has_failed.store(true, Ordering::Release))
    }
}
