//! Keys: which partition, what kind of thing, which one. Numbers are big endian, so that keys sort by them.

use super::Unreadable;

/// What stands under a key. The letters are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// What the partition is as a whole.
    Head = b'h',
    /// A subject's number, by tenant, kind and id.
    SubjectNumber = b's',
    /// A subject, by number; the weeks of a long timeline stand behind it.
    Subject = b'n',
    /// A fact whose instant has not come, by that instant.
    Timer = b't',
    /// A chunk of a day's facts, by tenant, day and number.
    Chunk = b'd',
    /// How large a chunk is: without its facts, so that all can be listed at the start.
    ChunkSize = b'i',
    /// A chunk that another one has taken the place of, to be removed.
    Leftover = b'g',
    /// Texts that have numbers, by the number of the first.
    Symbols = b'y',
    /// Dimension values that have numbers, by the number of the first.
    Series = b'v',
    /// What the partition's owner keeps beside it.
    Beside = b'b',
    /// A letter whose receiver may not have kept it yet.
    Letter = b'l',
}

/// A key as it is being written.
#[derive(Debug, Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(partition: u32, kind: Kind) -> Self {
        let mut key = Vec::with_capacity(32);
        key.extend_from_slice(&partition.to_be_bytes());
        key.push(kind as u8);
        Self(key)
    }

    pub(crate) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A signed number, so that negative ones sort first.
    pub(crate) fn i64(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&(number.cast_unsigned() ^ 1 << 63).to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A key as it is being read, after its partition and kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn of(key: &'a [u8]) -> Self {
        Self(key.get(5..).unwrap_or_default())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| Unreadable("a key is too short".to_owned()))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Unreadable> {
        Ok((u64::from_be_bytes(self.take()?) ^ 1 << 63).cast_signed())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
