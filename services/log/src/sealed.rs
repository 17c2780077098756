//! A finished segment, compressed: `N.sealed`. All layouts are little endian.
//!
//! Header, 64 bytes: magic (8), format version (u32), partitions (u32), log id (u64), segment number (u64), 28 zero bytes, CRC32C
//! of all before it (u32).
//!
//! Then chunks, each of blocks of one partition that follow each other, so that a reader of that partition reads nothing
//! else and can begin anywhere. Chunk header, 40 bytes: magic (u32), partition (u32), position of the first block (u64), blocks
//! (u32), bytes unpacked (u32), bytes packed (u32), CRC32C of the packed bytes (u32), blocks lost before a repair (u32), CRC32C of all
//! before it (u32), both salted with log id and segment number. The packed bytes follow: a zstd frame of the blocks, each its
//! length (u32) and its payload. Of a lost block only the length is there, and says `u32::MAX`: it reads as empty.
//!
//! Then the footer: the summary of [`crate::index`], the number of chunks (u32), and each chunk's header with where it begins (u64)
//! before it. The last 32 bytes: where the footer begins (u64), its bytes (u32), its salted CRC32C (u32), magic (8), 4 zero bytes, salted CRC32C of the 28
//! bytes before it (u32).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Access, DiskFile, Gradual};

use crate::folder::{Fields, Folder, Kind};
use crate::index::Summary;
use crate::segment::{FORMAT_VERSION, Identity, Salt, u32_at};
use crate::{LogError, PartitionId, Position};

const MAGIC: [u8; 8] = *b"DESKPSLD";
const END_MAGIC: &[u8; 8] = b"DESKPEND";
const CHUNK_MAGIC: u32 = 0x2B_50_6B_D7;
const HEADER_BYTES: u64 = 64;
const CHUNK_HEADER: usize = 40;
const TRAILER: usize = 32;

/// A chunk is full once its blocks have this many bytes, so it is larger by at most one block.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// No chunk has more blocks.
const CHUNK_BLOCKS: u32 = 1 << 16;

/// The length that stands for a block that was lost.
const LOST: u32 = u32::MAX;

/// Blocks of one partition, packed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) partition: PartitionId,
    pub(crate) first: Position,
    pub(crate) blocks: u32,
    unpacked_bytes: u32,
    packed_bytes: u32,
    crc: u32,
    pub(crate) lost: u32,
    /// Where its header begins.
    pub(crate) at: u64,
}

impl Chunk {
    pub(crate) fn next(&self) -> Position {
        Position(self.first.0 + u64::from(self.blocks))
    }

    /// Header and packed bytes together.
    pub(crate) fn bytes(&self) -> u64 {
        CHUNK_HEADER as u64 + u64::from(self.packed_bytes)
    }

    fn encode(&self, salt: Salt) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHUNK_HEADER);
        bytes.extend_from_slice(&CHUNK_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&self.partition.0.to_le_bytes());
        bytes.extend_from_slice(&self.first.0.to_le_bytes());
        for field in [self.blocks, self.unpacked_bytes, self.packed_bytes, self.crc, self.lost] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let crc = salt.crc(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], at: u64, salt: Salt) -> Option<Self> {
        let (body, crc) = bytes.get(..CHUNK_HEADER)?.split_last_chunk::<4>()?;
        if *crc != salt.crc(body).to_le_bytes() {
            return None;
        }
        let mut fields = Fields(body);
        let own = fields.u32()? == CHUNK_MAGIC;
        let chunk = Self {
            partition: PartitionId(fields.u32()?),
            first: Position(fields.u64()?),
            blocks: fields.u32()?,
            unpacked_bytes: fields.u32()?,
            packed_bytes: fields.u32()?,
            crc: fields.u32()?,
            lost: fields.u32()?,
            at,
        };
        own.then_some(chunk)
    }
}

/// Every sound chunk header in the bytes of a file whose footer is not, in one pass.
pub(crate) fn chunks_in(bytes: &[u8], salt: Salt) -> Vec<Chunk> {
    let magic = CHUNK_MAGIC.to_le_bytes();
    let candidates = bytes.windows(4).enumerate().filter(|(_, window)| *window == magic);
    candidates.filter_map(|(at, _)| Chunk::decode(bytes.get(at..)?, at as u64, salt)).collect()
}

/// A sealed segment being written, under a name that does not count yet.
#[derive(Debug)]
pub(crate) struct SealedWriter {
    folder: Folder,
    salt: Salt,
    summary: Summary,
    file: Arc<dyn DiskFile>,
    temporary: PathBuf,
    at: u64,
    chunks: Vec<Chunk>,
    level: i32,
    /// The blocks of the chunk in hand.
    unpacked: Vec<u8>,
    hand: Option<Chunk>,
}

impl SealedWriter {
    pub(crate) fn create(folder: &Folder, identity: Identity, summary: Summary, level: i32) -> Result<Self, LogError> {
        let temporary = folder.temporary(&folder.file(Kind::Sealed, summary.number))?;
        let file = Arc::new(Gradual::new(folder.open(&temporary, Access::Create)?));
        let header = header(identity, summary.number);
        file.write_all_at(&header, 0).map_err(LogError::io("write", &temporary))?;
        Ok(Self {
            folder: folder.clone(),
            salt: Salt::new(identity.log_id, summary.number),
            summary,
            file,
            temporary,
            at: HEADER_BYTES,
            chunks: Vec::new(),
            level,
            unpacked: Vec::new(),
            hand: None,
        })
    }

    /// Adds a block, or what stands for one that is lost. Blocks of a partition come in order and together. True when a chunk
    /// was written.
    pub(crate) fn add(
        &mut self,
        partition: PartitionId,
        position: Position,
        payload: Option<&[u8]>,
    ) -> Result<bool, LogError> {
        let bytes = payload.map_or(0, <[u8]>::len);
        let full = self.hand.is_some_and(|hand| {
            let large = !self.unpacked.is_empty() && self.unpacked.len() + bytes > CHUNK_BYTES;
            hand.partition != partition || hand.next() != position || large || hand.blocks == CHUNK_BLOCKS
        });
        if full {
            self.pack()?;
        }
        let hand = self.hand.get_or_insert(Chunk {
            partition,
            first: position,
            blocks: 0,
            unpacked_bytes: 0,
            packed_bytes: 0,
            crc: 0,
            lost: 0,
            at: self.at,
        });
        hand.blocks += 1;
        hand.lost += u32::from(payload.is_none());
        let length = payload.map_or(LOST, |payload| u32::try_from(payload.len()).expect("a frame said so in a u32"));
        self.unpacked.extend_from_slice(&length.to_le_bytes());
        self.unpacked.extend_from_slice(payload.unwrap_or_default());
        Ok(full)
    }

    fn pack(&mut self) -> Result<(), LogError> {
        let Some(mut chunk) = self.hand.take() else { return Ok(()) };
        let failed = LogError::io("compress for", &self.temporary);
        let packed = zstd::bulk::compress(&self.unpacked, self.level).map_err(failed)?;
        // What takes the place of the only copy has been seen to unpack.
        let failed = LogError::io("unpack for", &self.temporary);
        let again = zstd::bulk::decompress(&packed, self.unpacked.len()).map_err(failed)?;
        if again != self.unpacked {
            let error = std::io::Error::other("what was compressed does not unpack to itself");
            return Err(LogError::io("compress for", &self.temporary)(error));
        }
        let fits = "the blocks of a chunk have at most 4 GiB";
        chunk.unpacked_bytes = u32::try_from(self.unpacked.len()).expect(fits);
        chunk.packed_bytes = u32::try_from(packed.len()).expect(fits);
        chunk.crc = self.salt.crc(&packed);
        let header = chunk.encode(self.salt);
        let failed = || LogError::io("write", &self.temporary);
        self.file.write_all_at(&header, chunk.at).map_err(failed())?;
        self.file.write_all_at(&packed, chunk.at + CHUNK_HEADER as u64).map_err(failed())?;
        self.at += chunk.bytes();
        self.chunks.push(chunk);
        self.unpacked.clear();
        self.unpacked.shrink_to(2 * CHUNK_BYTES);
        Ok(())
    }

    /// Writes what is left and gives the file its name; durable when this returns.
    pub(crate) fn finish(mut self) -> Result<u64, LogError> {
        self.pack()?;
        let mut footer = Vec::new();
        self.summary.encode_to(&mut footer);
        footer.extend_from_slice(&u32::try_from(self.chunks.len()).expect("at most one a block").to_le_bytes());
        for chunk in &self.chunks {
            footer.extend_from_slice(&chunk.at.to_le_bytes());
            footer.extend_from_slice(&chunk.encode(self.salt));
        }
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(&self.at.to_le_bytes());
        trailer.extend_from_slice(&u32::try_from(footer.len()).expect("a few bytes a chunk").to_le_bytes());
        trailer.extend_from_slice(&self.salt.crc(&footer).to_le_bytes());
        trailer.extend_from_slice(END_MAGIC);
        trailer.extend_from_slice(&[0; 4]);
        let crc = self.salt.crc(&trailer);
        trailer.extend_from_slice(&crc.to_le_bytes());
        footer.append(&mut trailer);
        self.file.write_all_at(&footer, self.at).map_err(LogError::io("write", &self.temporary))?;
        self.file.sync().map_err(LogError::io("sync", &self.temporary))?;
        self.folder.rename(&self.temporary, &self.folder.file(Kind::Sealed, self.summary.number))?;
        self.folder.sync()?;
        Ok(self.at + footer.len() as u64)
    }
}

fn header(identity: Identity, number: u64) -> Vec<u8> {
    let mut header = crate::meta::start(MAGIC, identity);
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&[0; 28]);
    crate::meta::with_crc(header)
}

/// A sealed segment, open to be read.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    pub(crate) summary: Summary,
    /// In the order of the file: by partition, then by position.
    pub(crate) chunks: Vec<Chunk>,
    file: Arc<dyn DiskFile>,
    salt: Salt,
}

impl Sealed {
    /// Opens a sealed segment and reads its footer; the chunks are read when they are asked for.
    pub(crate) fn open(folder: &Folder, identity: Identity, number: u64) -> Result<Self, LogError> {
        let path = folder.file(Kind::Sealed, number);
        let file = folder.open(&path, Access::Read)?;
        let length = file.len().map_err(LogError::io("inspect", &path))?;
        let salt = Salt::new(identity.log_id, number);
        let read = |at: u64, bytes: u64| read(&file, &path, at, bytes);
        if length < HEADER_BYTES + TRAILER as u64 {
            return Err(LogError::corrupt(&path, 0, "the file is cut short"));
        }
        check_header(&path, &read(0, HEADER_BYTES)?, identity, number)?;
        let trailer_at = length - TRAILER as u64;
        let trailer = read(trailer_at, TRAILER as u64)?;
        let bad_trailer = || LogError::corrupt(&path, trailer_at, "the end of the file is bad");
        let (body, crc) = trailer.split_last_chunk::<4>().ok_or_else(bad_trailer)?;
        if *crc != salt.crc(body).to_le_bytes() {
            return Err(bad_trailer());
        }
        let mut fields = Fields(body);
        let mut field = || fields.u64().ok_or_else(bad_trailer);
        let footer_at = field()?;
        let footer_bytes = fields.u32().ok_or_else(bad_trailer)?;
        let footer_crc = fields.u32().ok_or_else(bad_trailer)?;
        if footer_at.checked_add(footer_bytes.into()) != Some(trailer_at) {
            return Err(bad_trailer());
        }
        let footer = read(footer_at, footer_bytes.into())?;
        let bad_footer = || LogError::corrupt(&path, footer_at, "the footer does not match its checksum");
        if salt.crc(&footer) != footer_crc {
            return Err(bad_footer());
        }
        let mut fields = Fields(&footer);
        let summary = Summary::decode(&mut fields, identity.partitions).ok_or_else(bad_footer)?;
        let count = fields.u32().ok_or_else(bad_footer)?;
        let mut chunks = Vec::new();
        for _ in 0..count {
            let at = fields.u64().ok_or_else(bad_footer)?;
            chunks.push(Chunk::decode(fields.0, at, salt).ok_or_else(bad_footer)?);
            fields = Fields(fields.0.get(CHUNK_HEADER..).unwrap_or_default());
        }
        Ok(Self { path, summary, chunks, file, salt })
    }

    /// The chunks of one partition.
    pub(crate) fn of(&self, partition: PartitionId) -> &[Chunk] {
        let from = self.chunks.partition_point(|chunk| chunk.partition < partition);
        let to = self.chunks.partition_point(|chunk| chunk.partition <= partition);
        self.chunks.get(from..to).unwrap_or_default()
    }

    /// Reads a chunk's packed bytes and checks them.
    fn packed(&self, chunk: &Chunk) -> Result<Vec<u8>, LogError> {
        let bytes = read(&self.file, &self.path, chunk.at, chunk.bytes())?;
        let (header, packed) = bytes.split_at_checked(CHUNK_HEADER).unwrap_or_default();
        if Chunk::decode(header, chunk.at, self.salt).as_ref() != Some(chunk) {
            return Err(LogError::corrupt(&self.path, chunk.at, "the chunk header is bad"));
        }
        if self.salt.crc(packed) != chunk.crc {
            return Err(LogError::corrupt(&self.path, chunk.at, "the chunk does not match its checksum"));
        }
        Ok(bytes)
    }

    /// Checks a chunk without unpacking it.
    pub(crate) fn verify(&self, chunk: &Chunk) -> Result<(), LogError> {
        self.packed(chunk).map(drop)
    }

    /// The blocks of a chunk.
    pub(crate) fn unpack(&self, chunk: &Chunk) -> Result<Blocks, LogError> {
        let packed = self.packed(chunk)?;
        let bad = |_| LogError::corrupt(&self.path, chunk.at, "the chunk does not unpack");
        let unpacked =
            zstd::bulk::decompress(packed.get(CHUNK_HEADER..).unwrap_or_default(), chunk.unpacked_bytes as usize)
                .map_err(bad)?;
        Ok(Blocks { unpacked, at: 0, next: chunk.first, end: chunk.next() })
    }
}

/// Unpacks a chunk out of the bytes of a file; `None` when it is damaged.
pub(crate) fn unpack_from(bytes: &[u8], chunk: &Chunk, salt: Salt) -> Option<Blocks> {
    let at = usize::try_from(chunk.at).ok()?;
    if Chunk::decode(bytes.get(at..)?, chunk.at, salt)? != *chunk {
        return None;
    }
    let at = at + CHUNK_HEADER;
    let packed = bytes.get(at..at.checked_add(chunk.packed_bytes as usize)?)?;
    if salt.crc(packed) != chunk.crc {
        return None;
    }
    let unpacked = zstd::bulk::decompress(packed, chunk.unpacked_bytes as usize).ok()?;
    Some(Blocks { unpacked, at: 0, next: chunk.first, end: chunk.next() })
}

fn read(file: &Arc<dyn DiskFile>, path: &Path, at: u64, bytes: u64) -> Result<Vec<u8>, LogError> {
    let mut buffer = vec![0; usize::try_from(bytes).expect("fits into memory")];
    file.read_exact_at(&mut buffer, at).map_err(LogError::io("read", path))?;
    Ok(buffer)
}

fn check_header(path: &Path, bytes: &[u8], identity: Identity, number: u64) -> Result<(), LogError> {
    match u32_at(bytes, 8) {
        Some(found) if bytes.starts_with(&MAGIC) && found > FORMAT_VERSION => {
            Err(LogError::NewerVersion { file: path.into(), found, known: FORMAT_VERSION })
        }
        _ if bytes == header(identity, number) => Ok(()),
        _ => Err(LogError::corrupt(path, 0, "the segment header is bad")),
    }
}

/// The blocks of an unpacked chunk, one after the other.
#[derive(Debug)]
pub(crate) struct Blocks {
    unpacked: Vec<u8>,
    at: usize,
    next: Position,
    end: Position,
}

impl Blocks {
    pub(crate) fn position(&self) -> Position {
        self.next
    }

    /// The next block; `Ok(None)` when it is lost, `Err` when there is none left or the chunk makes no sense.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, ()> {
        if self.next >= self.end {
            return Err(());
        }
        let length = u32_at(&self.unpacked, self.at).ok_or(())?;
        let from = self.at + 4;
        let to = if length == LOST { from } else { from + length as usize };
        let payload = self.unpacked.get(from..to).ok_or(())?;
        self.at = to;
        self.next = self.next.next();
        Ok((length != LOST).then_some(payload))
    }
}
