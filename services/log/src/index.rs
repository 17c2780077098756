//! What a finished segment holds in all, so that it need not be read to know.
//!
//! `N.index`: magic (8), format version (u32), partitions (u32), log id (u64), then the summary: segment number (u64), first
//! sequence (u64), sequence after the last (u64), where the frames end (u64), and for each partition its next position where
//! the segment begins and where it ends (u64 each); CRC32C of all before it (u32). A missing or damaged index is made again
//! from its segment.

use crate::folder::{Fields, Folder, Kind};
use crate::meta::{checked, start, with_crc};
use crate::segment::Identity;
use crate::{LogError, Position};

const MAGIC: [u8; 8] = *b"DESKPIDX";

/// What a segment holds in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) number: u64,
    pub(crate) first_sequence: u64,
    pub(crate) next_sequence: u64,
    /// Where the frames end in the segment as it was written.
    pub(crate) end: u64,
    /// Each partition's next position where the segment begins.
    pub(crate) starts: Box<[Position]>,
    /// Each partition's next position where it ends.
    pub(crate) ends: Box<[Position]>,
}

impl Summary {
    pub(crate) fn encode_to(&self, bytes: &mut Vec<u8>) {
        for field in [self.number, self.first_sequence, self.next_sequence, self.end] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let positions = self.starts.iter().zip(&self.ends).flat_map(|(start, end)| [start, end]);
        bytes.extend(positions.flat_map(|position| position.0.to_le_bytes()));
    }

    pub(crate) fn decode(fields: &mut Fields<'_>, partitions: u32) -> Option<Self> {
        let (number, first_sequence, next_sequence, end) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        let pairs = (0..partitions).map(|_| Some((Position(fields.u64()?), Position(fields.u64()?))));
        let (starts, ends): (Vec<_>, Vec<_>) = pairs.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some(Self { number, first_sequence, next_sequence, end, starts: starts.into(), ends: ends.into() })
    }

    /// The summary that stands in `N.index`; `None` when there is none that can be relied on.
    pub(crate) fn load(folder: &Folder, identity: Identity, number: u64) -> Result<Option<Self>, LogError> {
        let path = folder.file(Kind::Index, number);
        let Some(bytes) = folder.read(&path)? else { return Ok(None) };
        let mut fields = match checked(&path, &bytes, MAGIC) {
            Ok(fields) => fields,
            Err(error @ LogError::NewerVersion { .. }) => return Err(error),
            Err(_) => return Ok(None),
        };
        if fields.u32() != Some(identity.partitions) || fields.u64() != Some(identity.log_id) {
            return Ok(None);
        }
        Ok(Self::decode(&mut fields, identity.partitions).filter(|summary| summary.number == number))
    }

    pub(crate) fn store(&self, folder: &Folder, identity: Identity) -> Result<(), LogError> {
        let mut bytes = start(MAGIC, identity);
        self.encode_to(&mut bytes);
        folder.replace(&folder.file(Kind::Index, self.number), &with_crc(bytes))
    }
}
