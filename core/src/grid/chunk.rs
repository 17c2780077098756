//! Facts put away: a stretch of one tenant's day, column by column.
//!
//! A chunk is a directory (for each column: how many facts and how many bytes), then the columns' facts.
//! All numbers have variable length, so that a fact takes about ten bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StoredFact, SubjectNumber};
use crate::archive::{Unreadable, decode, encode};
use crate::fact::Weight;
use crate::series::SeriesId;

/// A chunk in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkRef {
    /// Its number within the partition.
    pub(crate) number: u32,
    /// How many facts it holds.
    pub(crate) facts: u32,
}

/// A column's number.
pub(super) type Place = u16;

/// For each column, how many facts and how many bytes.
type Directory = Vec<(Place, u32, u32)>;

/// A fact's instant within the day, with its weight in the last bit; series, subject and value.
type Packed = (u32, u32, u32, i64);

/// The facts of some columns as they are being gathered.
#[derive(Debug, Default)]
pub(super) struct Facts {
    columns: BTreeMap<Place, Vec<Packed>>,
    count: usize,
}

impl Facts {
    pub(super) fn push(&mut self, place: Place, day_ms: i64, fact: &StoredFact) {
        let offset = u32::try_from(fact.at_ms - day_ms).expect("within a day");
        let minus = u32::from(fact.weight == Weight::Minus);
        let packed = (offset << 1 | minus, fact.series.0, fact.subject.0, fact.value);
        self.columns.entry(place).or_default().push(packed);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut directory: Directory = Vec::with_capacity(self.columns.len());
        let mut body = Vec::with_capacity(self.len() * 10);
        for (place, facts) in &self.columns {
            let begin = body.len();
            for fact in facts {
                body = postcard::to_extend(fact, body).expect("writing to memory cannot fail");
            }
            let number = |count: usize| u32::try_from(count).expect("a chunk is far smaller than 4 GiB");
            directory.push((*place, number(facts.len()), number(body.len() - begin)));
        }
        let directory = encode(&directory);
        let mut bytes = encode(&directory.len());
        bytes.extend_from_slice(&directory);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Adds the facts of a chunk.
    fn extend(&mut self, chunk: &[u8]) -> Result<(), Unreadable> {
        let (directory, mut body) = open(chunk)?;
        for (place, count, bytes) in directory {
            let (mut section, rest) = section(body, bytes)?;
            body = rest;
            let facts = self.columns.entry(place).or_default();
            for _ in 0..count {
                facts.push(packed(&mut section)?);
            }
            self.count += count as usize;
        }
        Ok(())
    }

    /// Removes facts together with their inverses.
    fn cancel(&mut self) {
        for facts in self.columns.values_mut() {
            // Only the last bit of the first number tells a fact from its inverse.
            let key = |fact: &Packed| (fact.0 >> 1, fact.1, fact.2, fact.3);
            facts.sort_unstable_by_key(|fact| (key(fact), fact.0 & 1));
            let mut kept = Vec::with_capacity(facts.len());
            for same in facts.chunk_by(|a, b| key(a) == key(b)) {
                let plus = same.iter().take_while(|fact| fact.0 & 1 == 0).count();
                let (plus, minus) = same.split_at(plus);
                kept.extend_from_slice(&plus[minus.len().min(plus.len())..]);
                kept.extend_from_slice(&minus[plus.len().min(minus.len())..]);
            }
            *facts = kept;
        }
        self.columns.retain(|_, facts| !facts.is_empty());
        self.count = self.columns.values().map(Vec::len).sum();
    }
}

/// One chunk in the place of several, without what takes each other back; and how many facts that leaves.
pub(super) fn merge(chunks: &[Vec<u8>]) -> Result<(Vec<u8>, u32), Unreadable> {
    let mut facts = Facts::default();
    for chunk in chunks {
        facts.extend(chunk)?;
    }
    facts.cancel();
    Ok((facts.encode(), u32::try_from(facts.len()).expect("fewer than 2^32 facts a day")))
}

/// Calls `see` with the facts of a column; `day_ms` is where the day begins.
pub(super) fn facts(chunk: &[u8], column: u16, day_ms: i64, mut see: impl FnMut(StoredFact)) -> Result<(), Unreadable> {
    let (directory, mut body) = open(chunk)?;
    for (number, count, bytes) in directory {
        let (mut section, rest) = section(body, bytes)?;
        body = rest;
        if number != column {
            continue;
        }
        for _ in 0..count {
            let (when, series, subject, value) = packed(&mut section)?;
            let fact = StoredFact {
                at_ms: day_ms + i64::from(when >> 1),
                series: SeriesId(series),
                subject: SubjectNumber(subject),
                value,
                weight: if when & 1 == 0 { Weight::Plus } else { Weight::Minus },
            };
            see(fact);
        }
    }
    Ok(())
}

fn open(chunk: &[u8]) -> Result<(Directory, &[u8]), Unreadable> {
    let (length, rest): (usize, &[u8]) = postcard::take_from_bytes(chunk).map_err(|error| damaged(&error))?;
    let (directory, body) =
        rest.split_at_checked(length).ok_or_else(|| Unreadable("a chunk is too short".to_owned()))?;
    Ok((decode(directory)?, body))
}

fn section(body: &[u8], bytes: u32) -> Result<(&[u8], &[u8]), Unreadable> {
    body.split_at_checked(bytes as usize).ok_or_else(|| Unreadable("a chunk's column is too short".to_owned()))
}

fn packed(section: &mut &[u8]) -> Result<Packed, Unreadable> {
    let (fact, rest) = postcard::take_from_bytes(section).map_err(|error| damaged(&error))?;
    *section = rest;
    Ok(fact)
}

fn damaged(error: &postcard::Error) -> Unreadable {
    Unreadable(format!("a chunk of facts: {error}"))
}
