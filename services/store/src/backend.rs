//! redb's storage on our disk, so that the same code runs on the simulated one; and over a file that must not change.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use deskpulse_disk::DiskFile;
use redb::StorageBackend;

/// A file. The store's lock file keeps others away, so redb's own locks are not offered.
#[derive(Debug)]
pub(crate) struct OnDisk(pub(crate) Arc<dyn DiskFile>);

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = PAGE as u64;
/// 256 MiB; opening and checking writes a few.
const OVERLAY_PAGES_MAX: usize = 64 << 10;

/// A file as it would be after writes that are kept in memory alone.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: Arc<dyn DiskFile>,
    state: Mutex<OverlayState>,
}

#[derive(Debug)]
struct OverlayState {
    length: u64,
    /// The file's own bytes count up to here: where it was cut and lengthened again, zeros follow.
    original: u64,
    /// Changed pages by number.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Overlay {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, state: Mutex::new(OverlayState { length, original: length, pages: BTreeMap::new() }) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, OverlayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out`, which lies within page `number`, from the file, and with zeros behind its end.
    fn read_original(&self, original: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(original.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (from_file, behind) = out.split_at_mut(there);
        behind.fill(0);
        if from_file.is_empty() { Ok(()) } else { self.file.read_exact_at(from_file, offset) }
    }
}

/// The parts of a range that lie in one page each: the page's number, where the part begins in it, and how long it is.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    (offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(move |page| {
        let start = offset.max(page * PAGE_BYTES);
        let stop = end.min((page + 1) * PAGE_BYTES);
        let within = |at: u64| usize::try_from(at - page * PAGE_BYTES).expect("a page is short");
        (page, within(start), within(stop) - within(start))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (page, start, length) in parts(offset, rest.len()) {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(length);
            rest = behind;
            match state.pages.get(&page) {
                Some(changed) => part.copy_from_slice(&changed[start..start + length]),
                None => self.read_original(state.original, page * PAGE_BYTES + start as u64, part)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.original = state.original.min(len);
        state.pages.split_off(&len.div_ceil(PAGE_BYTES));
        if let Some((_, start, _)) = parts(len, 1).next()
            && let Some(last) = state.pages.get_mut(&(len / PAGE_BYTES))
        {
            last[start..].fill(0);
        }
        state.length = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut rest = data;
        for (page, start, length) in parts(offset, data.len()) {
            if state.pages.len() >= OVERLAY_PAGES_MAX {
                return Err(io::Error::other("checking would change too much of the file"));
            }
            let (part, behind) = rest.split_at(length);
            rest = behind;
            if !state.pages.contains_key(&page) {
                let mut original = Box::new([0; PAGE]);
                self.read_original(state.original, page * PAGE_BYTES, original.as_mut_slice())?;
                state.pages.insert(page, original);
            }
            let changed = state.pages.get_mut(&page).expect("put in just now");
            changed[start..start + length].copy_from_slice(part);
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }
}
