//! Facts in memory: the columns of one tenant's day.
//!
//! A column is written in pieces that never move, each a stretch of facts one after the other, about ten bytes each. Its only
//! writer stores whole words and then publishes how many bytes of them hold facts; readers read up to there. A piece can be
//! read without those before it, and knows the instants it spans, so that a short range skips most of a day.
//!
//! A fact is a head of two bytes, then its instant, series and subject in as many bytes as they need, then its value. Of instants and
//! subjects the difference to the fact before is written.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::{Range, StoredFact, SubjectNumber};
use crate::fact::{Measure, Weight};
use crate::series::{AppendList, SeriesId};

/// The bytes of a column's first piece; each further one has twice as many, up to the most.
const FIRST_PIECE: usize = 48;
const MOST_IN_PIECE: usize = 1 << 14;
/// How many pieces a column has place for by itself: most days have few facts.
const NEAR: usize = 4;

/// The most bytes a fact takes: its head, three numbers of four bytes, its value and its epoch.
const MOST_IN_FACT: usize = 2 + 3 * 4 + 8 + 8;
/// The same in whole words, as far as they may be written in any of their bytes.
const WORDS: usize = MOST_IN_FACT / WORD + 2;
const WORD: usize = size_of::<u64>();

/// The head of a fact, from the lowest bit: its weight; of its instant, series and subject how many bytes they take, less one;
/// how its value is written; by how much its epoch is above that of the fact before.
const MINUS: u16 = 1;
const INSTANT: u32 = 1;
const SERIES: u32 = 3;
const SUBJECT: u32 = 5;
const VALUE: u32 = 7;
const EPOCH: u32 = 11;
/// A value that is none takes no bytes; a small one up to five, and so does the time from a value to the fact's instant, as many
/// values are instants themselves; any other takes eight.
const SINCE_VALUE: u16 = 5;
const ANY_VALUE: u16 = 11;
/// Numbers below this take five bytes.
const SMALL: u64 = 1 << 40;
/// The epoch stands at the end.
const ANY_EPOCH: u16 = 31;

/// What the next fact of a column is told apart from.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    epoch: u64,
    instant: u32,
    subject: u32,
}

#[derive(Debug)]
struct Piece {
    /// The first and the last instant within the day of its facts.
    first_ms: AtomicU32,
    last_ms: AtomicU32,
    /// How many bytes hold whole facts.
    used: AtomicU32,
    words: Box<[AtomicU64]>,
}

impl Piece {
    fn new(capacity: usize) -> Self {
        let words = (0..capacity / WORD).map(|_| AtomicU64::new(0)).collect();
        Self { first_ms: AtomicU32::new(u32::MAX), last_ms: AtomicU32::new(0), used: AtomicU32::new(0), words }
    }

    /// The memory of one.
    fn memory(capacity: usize) -> usize {
        size_of::<Self>() + capacity
    }

    fn is_in(&self, day_ms: i64, range: Range) -> bool {
        let first_ms = day_ms + i64::from(self.first_ms.load(Ordering::Relaxed));
        let last_ms = day_ms + i64::from(self.last_ms.load(Ordering::Relaxed));
        first_ms < range.to_exclusive && last_ms >= range.from_inclusive
    }

    /// Its facts with their epochs.
    fn facts(&self, day_ms: i64) -> impl Iterator<Item = (u64, StoredFact)> {
        let used = self.used.load(Ordering::Acquire) as usize;
        let mut written = Written { words: &self.words, at: 0 };
        let mut last = Last::default();
        std::iter::from_fn(move || (written.at < used).then(|| written.fact(&mut last, day_ms)))
    }

    /// Writes bytes behind the last fact, where there is room; all that follow in `bytes` are 0.
    fn append(&self, bytes: &[u8; WORDS * WORD], count: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed) as usize;
        let (first, shift) = (used / WORD, used % WORD * 8);
        let last = (used + count).div_ceil(WORD);
        let Some(words) = self.words.get(first..last) else { return false };
        // The bytes before these in the first word.
        let mut before = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
        for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
            let bytes = u64::from_le_bytes(*bytes);
            word.store(before | bytes << shift, Ordering::Relaxed);
            // In two steps: a shift by all bits of a word is none.
            before = bytes >> 1 >> (u64::BITS as usize - 1 - shift);
        }
        true
    }
}

/// A fact as it is to be written.
struct Packed {
    bytes: [u8; WORDS * WORD],
    count: usize,
}

impl Packed {
    fn new(fact: &StoredFact, instant: u32, epoch: u64, last: Last) -> Self {
        let mut packed = Self { bytes: [0; WORDS * WORD], count: 2 };
        let mut head = if fact.weight == Weight::Minus { MINUS } else { 0 };
        let subject = fact.subject.0.wrapping_sub(last.subject).cast_signed();
        head |= packed.number(zigzag(instant.wrapping_sub(last.instant).cast_signed())) << INSTANT;
        head |= packed.number(fact.series.0) << SERIES;
        head |= packed.number(zigzag(subject)) << SUBJECT;
        let (value, since) = (zigzag_long(fact.value), zigzag_long(fact.at_ms.wrapping_sub(fact.value)));
        head |= VALUE_MASK
            & if value < SMALL {
                packed.value(value, 0)
            } else if since < SMALL {
                packed.value(since, SINCE_VALUE)
            } else {
                packed.long(fact.value.cast_unsigned());
                ANY_VALUE << VALUE
            };
        match u16::try_from(epoch.wrapping_sub(last.epoch)) {
            Ok(above) if above < ANY_EPOCH => head |= above << EPOCH,
            _ => {
                head |= ANY_EPOCH << EPOCH;
                packed.long(epoch);
            }
        }
        packed.bytes[..2].copy_from_slice(&head.to_le_bytes());
        packed
    }

    /// Writes a number; how many bytes it takes, less one.
    #[inline]
    fn number(&mut self, number: u32) -> u16 {
        self.bytes[self.count..self.count + 4].copy_from_slice(&number.to_le_bytes());
        let less_one = (u32::BITS - 1 - (number | 1).leading_zeros()) / 8;
        self.count += less_one as usize + 1;
        u16::try_from(less_one).unwrap_or_default()
    }

    /// Writes a value in as many bytes as it needs, none for 0; its part of the head.
    #[inline]
    fn value(&mut self, value: u64, kind: u16) -> u16 {
        self.bytes[self.count..self.count + 8].copy_from_slice(&value.to_le_bytes());
        let bytes = u16::try_from((u64::BITS - value.leading_zeros()).div_ceil(8)).unwrap_or_default();
        // The time to a value is never written in no bytes: that says that there is none.
        let bytes = if kind == SINCE_VALUE { bytes.max(1) } else { bytes };
        self.count += usize::from(bytes);
        (kind + bytes) << VALUE
    }

    fn long(&mut self, number: u64) {
        self.bytes[self.count..self.count + 8].copy_from_slice(&number.to_le_bytes());
        self.count += 8;
    }
}

const VALUE_MASK: u16 = 15 << VALUE;

/// Facts still to be read.
struct Written<'a> {
    words: &'a [AtomicU64],
    /// The next byte.
    at: usize,
}

impl Written<'_> {
    /// The next number, of so many bytes.
    #[inline]
    fn number(&mut self, bytes: usize) -> u64 {
        let (first, shift) = (self.at / WORD, self.at % WORD * 8);
        self.at += bytes;
        let word = |number: usize| self.words.get(number).map_or(0, |word| word.load(Ordering::Relaxed));
        let all = word(first) >> shift | word(first + 1) << 1 << (u64::BITS as usize - 1 - shift);
        if bytes == WORD { all } else { all & ((1 << (bytes * 8)) - 1) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most four bytes are read")]
    fn short(&mut self, head: u64, place: u32) -> u32 {
        self.number((head >> place & 3) as usize + 1) as u32
    }

    #[inline]
    fn fact(&mut self, last: &mut Last, day_ms: i64) -> (u64, StoredFact) {
        let head = self.number(2);
        last.instant = last.instant.wrapping_add_signed(unzigzag(self.short(head, INSTANT)));
        let series = SeriesId(self.short(head, SERIES));
        last.subject = last.subject.wrapping_add_signed(unzigzag(self.short(head, SUBJECT)));
        let at_ms = day_ms + i64::from(last.instant);
        let kind = (head >> VALUE & 15) as usize;
        let value = if kind <= SINCE_VALUE.into() {
            unzigzag_long(self.number(kind))
        } else if kind < ANY_VALUE.into() {
            at_ms.wrapping_sub(unzigzag_long(self.number(kind - usize::from(SINCE_VALUE))))
        } else {
            self.number(WORD).cast_signed()
        };
        match head >> EPOCH {
            any if any == ANY_EPOCH.into() => last.epoch = self.number(WORD),
            above => last.epoch += above,
        }
        let weight = if head & u64::from(MINUS) == 0 { Weight::Plus } else { Weight::Minus };
        (last.epoch, StoredFact { at_ms, series, subject: SubjectNumber(last.subject), value, weight })
    }
}

fn zigzag(number: i32) -> u32 {
    (number << 1 ^ number >> 31).cast_unsigned()
}

fn unzigzag(number: u32) -> i32 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn zigzag_long(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag_long(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The facts of one measure at one end on one clock. Only its writer changes any of this.
#[derive(Debug)]
pub(super) struct Column {
    near: [OnceLock<Box<Piece>>; NEAR],
    far: OnceLock<Box<AppendList<Piece>>>,
    /// The piece that is written to.
    piece: AtomicU32,
    /// The fact before the next one in it.
    last_instant: AtomicU32,
    last_subject: AtomicU32,
    last_epoch: AtomicU64,
    /// How many facts have weight -1.
    minus: AtomicUsize,
    /// How many facts have been put away. Only one thread at a time looks at it.
    put_away: AtomicUsize,
}

impl Column {
    fn new() -> Self {
        Self {
            near: [const { OnceLock::new() }; NEAR],
            far: OnceLock::new(),
            piece: AtomicU32::new(0),
            last_instant: AtomicU32::new(0),
            last_subject: AtomicU32::new(0),
            last_epoch: AtomicU64::new(0),
            minus: AtomicUsize::new(0),
            put_away: AtomicUsize::new(0),
        }
    }

    fn piece(&self, number: u32) -> Option<&Piece> {
        match self.near.get(number as usize) {
            Some(piece) => piece.get().map(Box::as_ref),
            None => self.far.get()?.get(number - NEAR as u32),
        }
    }

    /// A piece that was not there before; adds to `grown` what memory that took.
    fn add_piece(&self, number: u32, grown: &mut usize) -> Option<&Piece> {
        let capacity = (FIRST_PIECE << number.min(16)).min(MOST_IN_PIECE);
        *grown += Piece::memory(capacity);
        match self.near.get(number as usize) {
            Some(piece) => drop(piece.set(Box::new(Piece::new(capacity)))),
            None => {
                let far = self.far.get_or_init(|| {
                    *grown += size_of::<AppendList<Piece>>();
                    Box::new(AppendList::new())
                });
                far.set(number - NEAR as u32, Piece::new(capacity));
            }
        }
        self.piece.store(number, Ordering::Relaxed);
        self.piece(number)
    }

    /// Adds a fact; returns how many bytes of memory that took anew.
    fn push(&self, fact: &StoredFact, day_ms: i64, epoch: u64) -> usize {
        let mut grown = 0;
        let instant = u32::try_from(fact.at_ms - day_ms).expect("within a day");
        let number = self.piece.load(Ordering::Relaxed);
        let last = Last {
            epoch: self.last_epoch.load(Ordering::Relaxed),
            instant: self.last_instant.load(Ordering::Relaxed),
            subject: self.last_subject.load(Ordering::Relaxed),
        };
        let mut packed = Packed::new(fact, instant, epoch, last);
        let known = self.piece(number);
        let piece = match known.filter(|piece| piece.append(&packed.bytes, packed.count)) {
            Some(piece) => piece,
            None => {
                // A piece can be read without the one before it.
                packed = Packed::new(fact, instant, epoch, Last::default());
                let next = if known.is_some() { number + 1 } else { number };
                let Some(piece) = self.add_piece(next, &mut grown) else { return grown };
                piece.append(&packed.bytes, packed.count);
                piece
            }
        };
        self.last_epoch.store(epoch, Ordering::Relaxed);
        self.last_instant.store(instant, Ordering::Relaxed);
        self.last_subject.store(fact.subject.0, Ordering::Relaxed);
        if instant < piece.first_ms.load(Ordering::Relaxed) {
            piece.first_ms.store(instant, Ordering::Relaxed);
        }
        if instant > piece.last_ms.load(Ordering::Relaxed) {
            piece.last_ms.store(instant, Ordering::Relaxed);
        }
        if fact.weight == Weight::Minus {
            self.minus.store(self.minus.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        let used = piece.used.load(Ordering::Relaxed) + u32::try_from(packed.count).expect("a few bytes");
        piece.used.store(used, Ordering::Release);
        grown
    }

    /// The facts up to an epoch with their epochs, in the order they came, without pieces that lie outside of a range; `day_ms` is
    /// where the day begins.
    pub(super) fn facts(&self, day_ms: i64, epoch: u64, range: Range) -> impl Iterator<Item = (u64, StoredFact)> {
        // What came up to the epoch was written before the epoch was published, so its pieces and their spans are there.
        let pieces = (0..).map_while(|number| self.piece(number)).filter(move |piece| piece.is_in(day_ms, range));
        pieces.flat_map(move |piece| piece.facts(day_ms)).take_while(move |(came, _)| *came <= epoch)
    }

    /// The facts up to an epoch that have not been put away yet.
    pub(super) fn fresh(&self, day_ms: i64, epoch: u64) -> impl Iterator<Item = (u64, StoredFact)> {
        self.facts(day_ms, epoch, Range::ALL).skip(self.put_away.load(Ordering::Relaxed))
    }

    /// So many more facts have been put away.
    pub(super) fn are_put_away(&self, count: usize) {
        self.put_away.store(self.put_away.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Whether any fact up to an epoch that was published may be taken back.
    pub(super) fn has_minus(&self) -> bool {
        self.minus.load(Ordering::Relaxed) > 0
    }
}

const COLUMNS: usize = Measure::ALL.len() * 4;
/// Columns come in groups, so that a day with facts of few measures stays small.
const GROUP: usize = 16;

type Group = [OnceLock<Box<Column>>; GROUP];

/// The columns of a day.
#[derive(Debug)]
pub(super) struct Columns([OnceLock<Box<Group>>; COLUMNS.div_ceil(GROUP)]);

impl Columns {
    pub(super) fn new() -> Self {
        Self([const { OnceLock::new() }; COLUMNS.div_ceil(GROUP)])
    }

    pub(super) fn get(&self, number: usize) -> Option<&Column> {
        self.0[number / GROUP].get()?[number % GROUP].get().map(Box::as_ref)
    }

    /// Every column there is, with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Column)> {
        let groups = (0..).step_by(GROUP).zip(&self.0).filter_map(|(first, group)| Some((first, group.get()?)));
        let columns = groups.flat_map(|(first, group)| (first..).zip(group.iter()));
        columns.filter_map(|(number, column)| Some((number, column.get()?.as_ref())))
    }

    /// Adds a fact to a column; returns how many bytes of memory that took anew.
    pub(super) fn push(&self, number: usize, fact: &StoredFact, day_ms: i64, epoch: u64) -> usize {
        let mut grown = 0;
        let group = self.0[number / GROUP].get_or_init(|| {
            grown += size_of::<Group>();
            Box::new([const { OnceLock::new() }; GROUP])
        });
        let column = group[number % GROUP].get_or_init(|| {
            grown += size_of::<Column>();
            Box::new(Column::new())
        });
        grown + column.push(fact, day_ms, epoch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::DAY_MS;
    use super::*;

    fn facts() -> impl Strategy<Value = Vec<(u64, StoredFact)>> {
        let small = -40_000_000_000..40_000_000_000i64;
        let value = prop_oneof![Just(0), small, 1_700_000_000_000..1_800_000_000_000i64, any::<i64>()];
        let instant = prop_oneof![0..DAY_MS, Just(0), Just(DAY_MS - 1)];
        let fact = (instant, any::<u32>(), any::<u32>(), value, any::<bool>(), 0..3u64);
        proptest::collection::vec(fact, 0..2_000).prop_map(|facts| {
            let mut epoch = 0;
            let stored = |(at, series, subject, value, plus, later)| {
                epoch += later;
                let weight = if plus { Weight::Plus } else { Weight::Minus };
                let (series, subject) = (SeriesId(series), SubjectNumber(subject));
                (epoch, StoredFact { at_ms: 20_000 * DAY_MS + at, series, subject, value, weight })
            };
            facts.into_iter().map(stored).collect()
        })
    }

    proptest! {
        #[test]
        fn facts_are_read_as_they_were_written(facts in facts(), until in 0..3_000u64) {
            let (column, day_ms) = (Column::new(), 20_000 * DAY_MS);
            for (epoch, fact) in &facts {
                column.push(fact, day_ms, *epoch);
            }
            let read: Vec<_> = column.facts(day_ms, until, Range::ALL).collect();
            let expected: Vec<_> = facts.iter().copied().filter(|(epoch, _)| *epoch <= until).collect();
            prop_assert_eq!(read, expected);
            let none = facts.iter().all(|(_, fact)| fact.weight == Weight::Plus);
            prop_assert_eq!(column.has_minus(), !none);
        }
    }
}
