//! redb's storage on our disk, so that the same code runs on the simulated one, with a checksum of every page: redb itself does not
//! check a page when it reads it, takes what stands there for keys and values, and may panic over it.
//!
//! The file is groups of 4 MiB: a page of 4 KiB that holds the checksums, then the 1,020 pages they are of. A checksum page begins
//! with 16 bytes, in the first group the file's header: magic (8), format version (u32), CRC32C of both (u32); then follows the
//! CRC32C of each page, of its number (u64) and its bytes, with 1 in place of 0; 0 says that the page was never written. redb's first
//! page has none: redb writes it in place and checks it itself. All numbers are little endian.
//!
//! Checksums are written with the next sync. redb never writes a page that the last durable commit uses, so the checksums of such
//! pages are the same before and after, however a loss of power tears their page; those of other pages may then be wrong, and nobody
//! reads them before they are written again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use deskpulse_disk::DiskFile;
use redb::StorageBackend;

use crate::StoreError;

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = PAGE as u64;
const HEADER: usize = 16;
const SUM: usize = 4;
/// Pages in a group, that of the checksums apart.
const GROUP: u64 = ((PAGE - HEADER) / SUM) as u64;

const MAGIC: [u8; 8] = *b"DESKPSTR";
const FORMAT_VERSION: u32 = 1;

/// Where a page of redb's lies in the file.
const fn place(page: u64) -> u64 {
    (page / GROUP * (GROUP + 1) + 1 + page % GROUP) * PAGE_BYTES
}

/// How long the file is when redb's storage has so many pages.
const fn file_length(pages: u64) -> u64 {
    if pages == 0 { 0 } else { place(pages - 1) + PAGE_BYTES }
}

/// How many pages of redb's a file of this length has.
const fn pages_of(file_length: u64) -> u64 {
    let pages = file_length / PAGE_BYTES;
    pages / (GROUP + 1) * GROUP + (pages % (GROUP + 1)).saturating_sub(1)
}

fn sum_of(page: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&page.to_le_bytes()), bytes).max(1)
}

fn index(page: u64) -> usize {
    usize::try_from(page).expect("a checksum a page fits into memory")
}

/// The first page found to be damaged: where it lies in the file.
pub(crate) type FirstDamage = Arc<OnceLock<u64>>;

/// A file whose every page is checked when it is read.
#[derive(Debug)]
pub(crate) struct CheckedFile {
    file: Arc<dyn DiskFile>,
    sums: RwLock<Sums>,
    damage: FirstDamage,
}

/// Four bytes a page: a thousandth of the file is kept in memory.
#[derive(Debug, Default)]
struct Sums {
    of_page: Vec<u32>,
    /// Groups whose checksums changed since they were written.
    changed: BTreeSet<u64>,
}

impl CheckedFile {
    /// For a file that is empty.
    pub(crate) fn create(file: Arc<dyn DiskFile>) -> Self {
        Self { file, sums: RwLock::default(), damage: FirstDamage::default() }
    }

    /// For a file that must be a store of this version.
    pub(crate) fn open(path: &Path, file: Arc<dyn DiskFile>) -> Result<Self, StoreError> {
        let at = |error| StoreError::disk(path, error);
        let pages = pages_of(file.len().map_err(at)?);
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(at)?;
        check_header(path, &header)?;
        if pages == 0 {
            return Err(StoreError::damaged(path, 0, "nothing but its beginning is there"));
        }
        let mut of_page = Vec::with_capacity(index(pages));
        let mut sums = [0; PAGE];
        for group in 0..pages.div_ceil(GROUP) {
            file.read_exact_at(&mut sums, place(group * GROUP) - PAGE_BYTES).map_err(at)?;
            let in_group = index(GROUP.min(pages - group * GROUP));
            let (_, sums) = sums.split_at(HEADER);
            of_page.extend(sums.as_chunks::<SUM>().0.iter().take(in_group).map(|sum| u32::from_le_bytes(*sum)));
        }
        let sums = RwLock::new(Sums { of_page, changed: BTreeSet::new() });
        Ok(Self { file, sums, damage: FirstDamage::default() })
    }

    /// Where damage is noted.
    pub(crate) fn damage(&self) -> FirstDamage {
        Arc::clone(&self.damage)
    }

    /// redb's first page, which says which commit counts, agrees with itself in what redb does not check.
    pub(crate) fn check_first_page(&self, path: &Path) -> Result<(), StoreError> {
        /// The byte with flags, among them which of two roots counts, and whether the file was not closed.
        const FLAGS: usize = 9;
        const SECOND_COUNTS: u8 = 1;
        const NOT_CLOSED: u8 = 2;
        /// Where the numbers of the commits stand that the roots are of.
        const COMMITS: [usize; 2] = [64 + 104, 192 + 104];
        let mut page = [0; 320];
        self.read(0, &mut page).map_err(|error| StoreError::disk(path, error))?;
        let commit = |at: usize| page.get(at..at + 8).and_then(|it| it.try_into().ok()).map(u64::from_le_bytes);
        let [first, second] = COMMITS.map(commit);
        let (counts, other) = if page[FLAGS] & SECOND_COUNTS == 0 { (first, second) } else { (second, first) };
        // A commit under way has a number above the last whole one's; where the file was closed, none is.
        if page[FLAGS] & NOT_CLOSED == 0 && counts < other {
            return Err(StoreError::damaged(path, place(0), "it names a commit that is not the last"));
        }
        Ok(())
    }

    fn sums(&self) -> std::sync::RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads whole pages.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        for (page, part) in runs(first, out.len()) {
            let part = out.get_mut(part).expect("a part of it");
            self.file.read_exact_at(part, place(page))?;
            let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
            for (page, bytes) in (page..).zip(part.chunks_exact(PAGE)) {
                let sound = match sums.of_page.get(index(page)) {
                    _ if page == 0 => true,
                    Some(0) => bytes.iter().all(|byte| *byte == 0),
                    Some(sum) => *sum == sum_of(page, bytes),
                    None => false,
                };
                if !sound {
                    let at = self.damage.get_or_init(|| place(page));
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the page at byte {at} is damaged"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Runs of pages that lie one behind the other in the file: the number of the first, and which bytes of all they are.
fn runs(first: u64, bytes: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = first + bytes as u64 / PAGE_BYTES;
    (first / GROUP..end.div_ceil(GROUP)).map(move |group| {
        let start = first.max(group * GROUP);
        let stop = end.min((group + 1) * GROUP);
        (start, index(start - first) * PAGE..index(stop - first) * PAGE)
    })
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (what, sum) = header.split_at_mut(HEADER - SUM);
    let (magic, version) = what.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    version.copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    sum.copy_from_slice(&crc32c::crc32c(what).to_le_bytes());
    header
}

fn check_header(path: &Path, found: &[u8; HEADER]) -> Result<(), StoreError> {
    let expected = header();
    if *found == expected {
        return Ok(());
    }
    let (what, sum) = found.split_at(HEADER - SUM);
    let (magic, version) = what.split_at(MAGIC.len());
    if magic == MAGIC && sum == crc32c::crc32c(what).to_le_bytes() {
        let version = version.try_into().map(u32::from_le_bytes).expect("four bytes are left");
        return Err(StoreError::Newer { file: path.to_path_buf(), version, known: FORMAT_VERSION });
    }
    let right = found.iter().zip(&expected).filter(|(found, expected)| found == expected).count();
    Err(if right > HEADER / 2 || found.iter().all(|byte| *byte == 0) {
        StoreError::damaged(path, 0, "its first bytes are not those of a store")
    } else {
        StoreError::NotOurs { file: path.to_path_buf() }
    })
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
        Ok(sums.of_page.len() as u64 * PAGE_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > StorageBackend::len(self)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (first, behind) = (offset / PAGE_BYTES, end.div_ceil(PAGE_BYTES));
        if offset.is_multiple_of(PAGE_BYTES) && end.is_multiple_of(PAGE_BYTES) {
            return self.read_pages(first, out);
        }
        let mut pages = vec![0; index(behind - first) * PAGE];
        self.read_pages(first, &mut pages)?;
        let start = index(offset - first * PAGE_BYTES);
        out.copy_from_slice(pages.get(start..start + out.len()).expect("the pages reach so far"));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let pages = len.div_ceil(PAGE_BYTES);
        let mut sums = self.sums();
        let before = sums.of_page.len() as u64;
        self.file.set_len(file_length(pages))?;
        sums.of_page.resize(index(pages), 0);
        sums.changed.retain(|group| *group < pages.div_ceil(GROUP));
        sums.changed.extend(before.min(pages) / GROUP..pages.div_ceil(GROUP));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        {
            let mut sums = self.sums();
            for group in std::mem::take(&mut sums.changed) {
                let mut page = Vec::with_capacity(PAGE);
                page.extend_from_slice(&if group == 0 { header() } else { [0; HEADER] });
                let of_group = sums.of_page.iter().skip(index(group * GROUP)).take(index(GROUP));
                page.extend(of_group.flat_map(|sum| sum.to_le_bytes()));
                page.resize(PAGE, 0);
                self.file.write_all_at(&page, place(group * GROUP) - PAGE_BYTES)?;
            }
        }
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > StorageBackend::len(self)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if end <= PAGE_BYTES {
            return self.file.write_all_at(data, place(0) + offset);
        }
        if !offset.is_multiple_of(PAGE_BYTES) || !end.is_multiple_of(PAGE_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "redb writes whole pages"));
        }
        for (page, part) in runs(offset / PAGE_BYTES, data.len()) {
            let part = data.get(part).expect("a part of it");
            self.file.write_all_at(part, place(page))?;
            let mut sums = self.sums();
            sums.changed.insert(page / GROUP);
            for (page, bytes) in (page..).zip(part.chunks_exact(PAGE)) {
                if let Some(sum) = sums.of_page.get_mut(index(page)) {
                    *sum = sum_of(page, bytes);
                }
            }
        }
        Ok(())
    }
}

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

    fn state(&self) -> MutexGuard<'_, OverlayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` from the file, and with zeros behind its end.
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
        (page, index(start - page * PAGE_BYTES), index(stop - start))
    })
}

impl DiskFile for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.original = state.original.min(bytes);
        state.pages.split_off(&bytes.div_ceil(PAGE_BYTES));
        if let Some(last) = state.pages.get_mut(&(bytes / PAGE_BYTES)) {
            last.iter_mut().skip(index(bytes % PAGE_BYTES)).for_each(|byte| *byte = 0);
        }
        state.length = bytes;
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        if offset + buffer.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_original(state.original, offset, buffer)?;
        let mut rest = buffer;
        for (page, start, length) in parts(offset, rest.len()) {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(length);
            rest = behind;
            if let Some(changed) = state.pages.get(&page).and_then(|page| page.get(start..start + length)) {
                part.copy_from_slice(changed);
            }
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let mut rest = bytes;
        for (page, start, length) in parts(offset, bytes.len()) {
            if state.pages.len() >= OVERLAY_PAGES_MAX {
                return Err(io::Error::other("a check would change too much of the file"));
            }
            let (part, behind) = rest.split_at(length);
            rest = behind;
            if !state.pages.contains_key(&page) {
                let mut original = Box::new([0; PAGE]);
                self.read_original(state.original, page * PAGE_BYTES, original.as_mut_slice())?;
                state.pages.insert(page, original);
            }
            let changed = state.pages.get_mut(&page).and_then(|page| page.get_mut(start..start + length));
            changed.expect("a part of a page put in before").copy_from_slice(part);
        }
        state.length = state.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
