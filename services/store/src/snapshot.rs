//! Snapshot files: all pairs of one state of a store, in a format of our own, so that a store that does not open is built again
//! without the engine that wrote it.
//!
//! All layouts are little endian.
//!
//! Header: magic (8), format version (u32), length of the caller's bytes (u32), number (u64), the caller's bytes, CRC32C of all
//! before it (u32). The number is also in the file's name.
//!
//! Chunk: `CHNK` (4), packed length (u32), plain length (u32), CRC32C (u32) of the snapshot's number, the chunk's number from 0
//! (u64), both lengths and the packed bytes; then the packed bytes, one zstd frame. Plain, they are pairs in ascending order of the
//! keys: key length (u32), value length (u32), key, value. A chunk ends with the first pair that brings it to 1 MiB.
//!
//! Footer: `DONE` (4), chunks (u64), pairs (u64), plain bytes (u64), CRC32C (u32) of the snapshot's number and of all before it in
//! the footer. The file ends there.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, DiskFile, Gradual};

use crate::{Change, KEY_BYTES_MAX, Store, StoreError, VALUE_BYTES_MAX};

const MAGIC: [u8; 8] = *b"DESKPSNP";
const FORMAT_VERSION: u32 = 1;
const HEADER: usize = 24;
const CHUNK_TAG: [u8; 4] = *b"CHNK";
const CHUNK_HEADER: usize = 16;
const FOOTER_TAG: [u8; 4] = *b"DONE";
const FOOTER: usize = 32;
const CHECKSUM: usize = 4;
const PAIR_HEADER: usize = 8;

/// How long the caller's bytes may be.
pub const HEADER_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + PAIR_HEADER + KEY_BYTES_MAX + VALUE_BYTES_MAX;
/// Packs a third less than the higher levels, in a fraction of their time.
const ZSTD_LEVEL: i32 = 1;

const PREFIX: &str = "snapshot-";
const UNFINISHED: &str = "snapshot.unfinished";
/// How many snapshots stay: the newest, and the one before in case the newest turns out to be damaged.
pub const KEPT: usize = 2;
/// How much of a snapshot goes into one commit when it is loaded.
const LOAD_BYTES: usize = 16 << 20;

/// A snapshot file, as its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Counts up from 1.
    pub number: u64,
    /// In its folder.
    pub name: String,
}

impl SnapshotFile {
    fn new(number: u64) -> Self {
        Self { number, name: format!("{PREFIX}{number:020}") }
    }

    /// `None` when a file of that name is no snapshot.
    fn named(name: &str) -> Option<Self> {
        let number = name.strip_prefix(PREFIX)?.parse().ok()?;
        Some(Self::new(number)).filter(|file| file.name == name)
    }
}

/// What a whole, sound snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Which file it is.
    pub file: SnapshotFile,
    /// The caller's bytes.
    pub header: Vec<u8>,
    /// How many keys.
    pub pairs: u64,
    /// Keys, values and eight bytes a pair.
    pub plain_bytes: u64,
    /// The file's length.
    pub file_bytes: u64,
}

/// What [`newest_sound`] found.
#[derive(Debug)]
pub struct Newest {
    /// The newest snapshot that is whole and sound.
    pub sound: Option<SnapshotInfo>,
    /// Why those newer than it, or all when there is none, are not used, newest first.
    pub refused: Vec<StoreError>,
}

/// The snapshots of a folder by their names, newest first.
pub fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<SnapshotFile>, StoreError> {
    let names = disk.list(folder).map_err(|error| StoreError::disk(folder, error))?;
    let mut files: Vec<SnapshotFile> = names.iter().filter_map(|name| SnapshotFile::named(name)).collect();
    files.sort_unstable_by_key(|file| std::cmp::Reverse(file.number));
    Ok(files)
}

/// Writes all pairs of the store, as they are when the call begins, into a new file of a folder that exists, durable when it
/// returns. Commits go on meanwhile. Then removes all but the newest [`KEPT`].
///
/// `header` is the caller's; it was there before the pairs, so that they may be newer than what it says. One caller at a time.
pub fn write(
    store: &dyn Store,
    disk: &Arc<dyn Disk>,
    folder: &Path,
    header: &[u8],
) -> Result<SnapshotInfo, StoreError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "a header", bytes: header.len(), limit: HEADER_BYTES_MAX });
    }
    let older = list(disk.as_ref(), folder)?;
    let file = SnapshotFile::new(older.first().map_or(1, |newest| newest.number + 1));
    let unfinished = folder.join(UNFINISHED);
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| StoreError::disk(&path, error)
    };
    match disk.remove(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::disk(&unfinished, error)),
    }
    let to = disk.open(&unfinished, Access::Create).map_err(at(&unfinished))?;
    let written =
        Writer::start(Arc::new(Gradual::new(to)), unfinished.clone(), file.number, header).and_then(|mut writer| {
            let mut failed = None;
            store.scan_all(&mut |key, value| match writer.put(key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            failed.map_or_else(|| writer.finish(), Err)
        });
    let (pairs, plain_bytes, file_bytes) = written.inspect_err(|_| {
        // Makes room on a full disk. The next snapshot tries again.
        let _ = disk.remove(&unfinished);
    })?;
    let path = folder.join(&file.name);
    disk.rename(&unfinished, &path).map_err(at(&path))?;
    disk.sync_folder(folder).map_err(at(folder))?;
    for old in older.iter().skip(KEPT - 1) {
        let path = folder.join(&old.name);
        disk.remove(&path).map_err(at(&path))?;
    }
    Ok(SnapshotInfo { file, header: header.to_vec(), pairs, plain_bytes, file_bytes })
}

/// Reads snapshots from the newest on until one is sound from the first byte to the last. A failing disk is an error, damage is
/// not.
pub fn newest_sound(disk: &dyn Disk, folder: &Path) -> Result<Newest, StoreError> {
    let mut refused = Vec::new();
    for file in list(disk, folder)? {
        match verify(disk, folder, &file) {
            Ok(info) => return Ok(Newest { sound: Some(info), refused }),
            Err(error @ (StoreError::Damaged { .. } | StoreError::Newer { .. })) => refused.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(Newest { sound: None, refused })
}

/// Reads and checks a whole snapshot.
pub fn verify(disk: &dyn Disk, folder: &Path, file: &SnapshotFile) -> Result<SnapshotInfo, StoreError> {
    read(disk, folder, file, &mut |_, _| Ok(()))
}

/// The caller's bytes of a snapshot, from its first and last bytes alone: what lies between is not read, and may be damaged.
pub fn header(disk: &dyn Disk, folder: &Path, file: &SnapshotFile) -> Result<Vec<u8>, StoreError> {
    let mut reader = Reader::open(disk, folder, file)?;
    let header = read_header(&mut reader, file)?;
    let end = reader.length.saturating_sub(FOOTER as u64).max(reader.offset);
    reader.offset = end;
    let footer = reader.take(end, FOOTER)?;
    let (what, sum) = footer.split_at(FOOTER - CHECKSUM);
    if !what.starts_with(&FOOTER_TAG) || u32_at(sum, 0) != checksum(file.number, &[what]) {
        return Err(StoreError::damaged(&reader.path, end, "its end is not what was written"));
    }
    Ok(header)
}

/// Puts all pairs of a snapshot into a store, in several commits: a caller must be able to tell a store half loaded.
pub fn load_into(
    disk: &dyn Disk,
    folder: &Path,
    file: &SnapshotFile,
    store: &dyn Store,
) -> Result<SnapshotInfo, StoreError> {
    let mut changes = Vec::new();
    let mut bytes = 0;
    let info = read(disk, folder, file, &mut |key, value| {
        changes.push(Change { key: key.to_vec(), value: Some(value.to_vec()) });
        // What a change takes in memory beside its bytes.
        bytes += key.len() + value.len() + 64;
        if bytes < LOAD_BYTES {
            return Ok(());
        }
        bytes = 0;
        store.commit(std::mem::take(&mut changes))
    })?;
    store.commit(changes)?;
    Ok(info)
}

/// A checksum that starts from the snapshot's number, so that parts of another snapshot never pass for this one's.
fn checksum(number: u64, parts: &[&[u8]]) -> u32 {
    parts.iter().fold(crc32c::crc32c(&number.to_le_bytes()), |sum, part| crc32c::crc32c_append(sum, part))
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("bounds keep every length below 4 GiB").to_le_bytes()
}

/// Writes one snapshot.
struct Writer {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    packer: zstd::bulk::Compressor<'static>,
    /// The chunk begun.
    plain: Vec<u8>,
    chunks: u64,
    pairs: u64,
    plain_bytes: u64,
    offset: u64,
}

impl Writer {
    fn start(file: Arc<dyn DiskFile>, path: PathBuf, number: u64, header: &[u8]) -> Result<Self, StoreError> {
        let packer = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|error| StoreError::disk(&path, error))?;
        let plain = Vec::with_capacity(CHUNK_BYTES);
        let mut writer = Self { file, path, number, packer, plain, chunks: 0, pairs: 0, plain_bytes: 0, offset: 0 };
        let mut bytes = Vec::with_capacity(HEADER + header.len() + CHECKSUM);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&length(header.len()));
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        writer.append(&bytes)?;
        Ok(writer)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, self.offset).map_err(|error| StoreError::disk(&self.path, error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.plain.extend_from_slice(&length(key.len()));
        self.plain.extend_from_slice(&length(value.len()));
        self.plain.extend_from_slice(key);
        self.plain.extend_from_slice(value);
        self.pairs += 1;
        if self.plain.len() < CHUNK_BYTES { Ok(()) } else { self.end_chunk() }
    }

    fn end_chunk(&mut self) -> Result<(), StoreError> {
        let packed = self.packer.compress(&self.plain).map_err(|error| StoreError::disk(&self.path, error))?;
        let lengths = [length(packed.len()), length(self.plain.len())].concat();
        let sum = checksum(self.number, &[&self.chunks.to_le_bytes(), &lengths, &packed]);
        let header = [CHUNK_TAG.as_slice(), &lengths, &sum.to_le_bytes()].concat();
        self.append(&[header, packed].concat())?;
        self.chunks += 1;
        self.plain_bytes += self.plain.len() as u64;
        self.plain.clear();
        // After one very large pair.
        self.plain.shrink_to(2 * CHUNK_BYTES);
        Ok(())
    }

    /// Makes the whole durable. Pairs, their plain bytes, and the file's bytes.
    fn finish(mut self) -> Result<(u64, u64, u64), StoreError> {
        if !self.plain.is_empty() {
            self.end_chunk()?;
        }
        let counts = [self.chunks, self.pairs, self.plain_bytes].map(u64::to_le_bytes).concat();
        let footer = [FOOTER_TAG.as_slice(), &counts].concat();
        let sum = checksum(self.number, &[&footer]);
        self.append(&[footer.as_slice(), &sum.to_le_bytes()].concat())?;
        self.file.sync().map_err(|error| StoreError::disk(&self.path, error))?;
        Ok((self.pairs, self.plain_bytes, self.offset))
    }
}

/// What is called for every pair of a snapshot.
type SeePair<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Reads a file from its start on.
struct Reader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    length: u64,
}

impl Reader {
    fn open(disk: &dyn Disk, folder: &Path, file: &SnapshotFile) -> Result<Self, StoreError> {
        let path = folder.join(&file.name);
        let open = disk.open(&path, Access::Read).map_err(|error| StoreError::disk(&path, error))?;
        let length = open.len().map_err(|error| StoreError::disk(&path, error))?;
        Ok(Self { file: open, path, offset: 0, length })
    }

    /// The next bytes, of what begins at `start`.
    fn take(&mut self, start: u64, bytes: usize) -> Result<Vec<u8>, StoreError> {
        if self.length - self.offset < bytes as u64 {
            let what = format!("what begins there goes on behind the file's end at byte {}", self.length);
            return Err(StoreError::damaged(&self.path, start, what));
        }
        let mut taken = vec![0; bytes];
        self.file.read_exact_at(&mut taken, self.offset).map_err(|error| StoreError::disk(&self.path, error))?;
        self.offset += bytes as u64;
        Ok(taken)
    }
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).expect("layouts are shorter than what is taken")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number_at(bytes, at))
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX)
}

/// Reads and checks a whole snapshot, and calls `see` for every pair as soon as its chunk is checked: what `see` was called for
/// counts only when all of it returned well.
fn read(
    disk: &dyn Disk,
    folder: &Path,
    file: &SnapshotFile,
    see: &mut SeePair<'_>,
) -> Result<SnapshotInfo, StoreError> {
    let mut reader = Reader::open(disk, folder, file)?;
    let header = read_header(&mut reader, file)?;
    let mut unpacker = zstd::bulk::Decompressor::new().map_err(|error| StoreError::disk(&reader.path, error))?;
    let (mut chunks, mut pairs, mut plain_bytes) = (0_u64, 0_u64, 0_u64);
    let mut previous = None;
    // Every round takes some of the file.
    loop {
        let start = reader.offset;
        let tag = reader.take(start, CHUNK_TAG.len())?;
        if tag == FOOTER_TAG {
            let rest = reader.take(start, FOOTER - FOOTER_TAG.len())?;
            let (counts, sum) = rest.split_at(rest.len() - CHECKSUM);
            let expected = checksum(file.number, &[&FOOTER_TAG, counts]);
            let counted = [chunks, pairs, plain_bytes] == [0, 8, 16].map(|at| u64_at(counts, at));
            if u32_at(sum, 0) != expected || !counted {
                return Err(StoreError::damaged(&reader.path, start, "its end does not fit to the rest"));
            }
            if reader.offset != reader.length {
                return Err(StoreError::damaged(&reader.path, reader.offset, "it goes on behind its end"));
            }
            return Ok(SnapshotInfo { file: file.clone(), header, pairs, plain_bytes, file_bytes: reader.length });
        }
        let plain = read_chunk(&mut reader, &mut unpacker, start, &tag, file.number, chunks)?;
        pairs += see_pairs(&reader.path, start, &plain, &mut previous, see)?;
        plain_bytes += plain.len() as u64;
        chunks += 1;
    }
}

/// The caller's bytes.
fn read_header(reader: &mut Reader, file: &SnapshotFile) -> Result<Vec<u8>, StoreError> {
    let fixed = reader.take(0, HEADER)?;
    let at_start = |what: &str| StoreError::damaged(&reader.path, 0, what);
    if !fixed.starts_with(&MAGIC) {
        return Err(at_start("its first bytes are not those of a snapshot"));
    }
    let version = u32_at(&fixed, 8);
    if version > FORMAT_VERSION {
        return Err(StoreError::Newer { file: reader.path.clone(), version, known: FORMAT_VERSION });
    }
    let header_bytes = usize_at(&fixed, 12);
    if version < FORMAT_VERSION || header_bytes > HEADER_BYTES_MAX {
        return Err(at_start("its header makes no sense"));
    }
    let number = u64_at(&fixed, 16);
    let mut header = reader.take(0, header_bytes + CHECKSUM)?;
    let sum = u32_at(&header, header_bytes);
    header.truncate(header_bytes);
    if sum != crc32c::crc32c_append(crc32c::crc32c(&fixed), &header) {
        return Err(StoreError::damaged(&reader.path, 0, "its header is not what was written"));
    }
    if number != file.number {
        return Err(StoreError::damaged(&reader.path, 16, format!("it is snapshot {number} under another's name")));
    }
    Ok(header)
}

/// The pairs of a chunk that begins at `start`.
fn read_chunk(
    reader: &mut Reader,
    unpacker: &mut zstd::bulk::Decompressor<'static>,
    start: u64,
    tag: &[u8],
    number: u64,
    chunk: u64,
) -> Result<Vec<u8>, StoreError> {
    let rest = reader.take(start, CHUNK_HEADER - CHUNK_TAG.len())?;
    let (lengths, sum) = rest.split_at(8);
    let (packed_bytes, plain_bytes) = (usize_at(lengths, 0), usize_at(lengths, 4));
    if tag != CHUNK_TAG || packed_bytes > 2 * CHUNK_BYTES_MAX || plain_bytes > CHUNK_BYTES_MAX {
        return Err(StoreError::damaged(&reader.path, start, "neither a chunk nor the end begins there"));
    }
    let packed = reader.take(start, packed_bytes)?;
    if u32_at(sum, 0) != checksum(number, &[&chunk.to_le_bytes(), lengths, &packed]) {
        return Err(StoreError::damaged(&reader.path, start, "this chunk is not what was written"));
    }
    let plain = unpacker.decompress(&packed, plain_bytes).ok().filter(|plain| plain.len() == plain_bytes);
    plain.ok_or_else(|| StoreError::damaged(&reader.path, start, "this chunk does not unpack"))
}

/// How many pairs a chunk holds.
fn see_pairs(
    path: &Path,
    start: u64,
    plain: &[u8],
    previous: &mut Option<Vec<u8>>,
    see: &mut SeePair<'_>,
) -> Result<u64, StoreError> {
    let mut pairs = 0;
    let mut rest = plain;
    while !rest.is_empty() {
        let pair = rest.split_at_checked(PAIR_HEADER).and_then(|(lengths, rest)| {
            let (key, rest) = rest.split_at_checked(usize_at(lengths, 0))?;
            let (value, rest) = rest.split_at_checked(usize_at(lengths, 4))?;
            Some((key, value, rest))
        });
        let Some((key, value, behind)) = pair else {
            return Err(StoreError::damaged(path, start, "a pair of this chunk is longer than the chunk"));
        };
        if previous.as_deref().is_some_and(|previous| previous >= key) {
            return Err(StoreError::damaged(path, start, "the keys of this chunk are not in order"));
        }
        see(key, value)?;
        let previous = previous.get_or_insert_default();
        previous.clear();
        previous.extend_from_slice(key);
        pairs += 1;
        rest = behind;
    }
    Ok(pairs)
}
