//! Facts in memory: the columns of one tenant's day.
//!
//! A column is bytes in pieces that never move, each a stretch of facts written one after the other in about ten bytes each. Its
//! only writer stores byte after byte and then publishes how many hold whole facts; readers read up to there. A piece can be
//! read without those before it, and knows the instants it spans, so that a short range skips most of a day.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::{Range, StoredFact, SubjectNumber};
use crate::fact::{Measure, Weight};
use crate::series::{AppendList, SeriesId};

/// The bytes of a column's first piece; each further one has twice as many, up to the most.
const FIRST_PIECE: usize = 48;
const MOST_IN_PIECE: usize = 1 << 14;
/// How many pieces a column has place for by itself: most days have few facts.
const NEAR: usize = 4;

/// The most bytes a fact takes: its head, and five numbers of at most 6, 4, 5, 5 and 8 bytes.
const MOST_IN_FACT: usize = 1 + 6 + 4 + 5 + 5 + 8;

/// What the first byte of a fact says: its weight, whether its epoch is another than that of the fact before, and how its
/// value is written.
const MINUS: u8 = 1;
const OTHER_EPOCH: u8 = 2;
const VALUE: u8 = 3 << 2;
const NO_VALUE: u8 = 0;
/// As the value itself.
const SMALL_VALUE: u8 = 1 << 2;
/// As the time from it to the fact's instant: many values are instants themselves.
const SINCE_VALUE: u8 = 2 << 2;
/// In eight bytes.
const ANY_VALUE: u8 = 3 << 2;
/// Numbers below this, plus or minus, are small: at most five bytes.
const SMALL: u64 = 1 << 34;

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
    bytes: Box<[AtomicU8]>,
}

impl Piece {
    fn new(capacity: usize) -> Self {
        let bytes = (0..capacity).map(|_| AtomicU8::new(0)).collect();
        Self { first_ms: AtomicU32::new(u32::MAX), last_ms: AtomicU32::new(0), used: AtomicU32::new(0), bytes }
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
        let mut bytes = Bytes(self.bytes.get(..used).unwrap_or_default());
        let mut last = Last::default();
        std::iter::from_fn(move || (!bytes.0.is_empty()).then(|| bytes.fact(&mut last, day_ms)))
    }
}

/// A fact being written.
struct Written {
    bytes: [u8; MOST_IN_FACT],
    len: usize,
}

impl Written {
    fn new(fact: &StoredFact, instant: u32, epoch: u64, last: Last) -> Self {
        let mut written = Self { bytes: [0; MOST_IN_FACT], len: 1 };
        let mut head = if fact.weight == Weight::Minus { MINUS } else { 0 };
        if epoch != last.epoch {
            head |= OTHER_EPOCH;
            written.number(epoch.wrapping_sub(last.epoch));
        }
        written.number(zigzag(i64::from(instant) - i64::from(last.instant)));
        written.number(u64::from(fact.series.0));
        written.number(zigzag(i64::from(fact.subject.0) - i64::from(last.subject)));
        let since = fact.at_ms.wrapping_sub(fact.value);
        if fact.value == 0 {
            head |= NO_VALUE;
        } else if zigzag(fact.value) < SMALL {
            head |= SMALL_VALUE;
            written.number(zigzag(fact.value));
        } else if zigzag(since) < SMALL {
            head |= SINCE_VALUE;
            written.number(zigzag(since));
        } else {
            head |= ANY_VALUE;
            for byte in fact.value.to_le_bytes() {
                written.byte(byte);
            }
        }
        written.bytes[0] = head;
        written
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.byte(number.to_le_bytes()[0]);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Bytes of facts still to be read.
struct Bytes<'a>(&'a [AtomicU8]);

impl Bytes<'_> {
    #[inline]
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first.load(Ordering::Relaxed)
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    #[inline]
    fn u32_after(&mut self, last: u32) -> u32 {
        u32::try_from(i64::from(last) + unzigzag(self.number())).expect("it was written here")
    }

    fn fact(&mut self, last: &mut Last, day_ms: i64) -> (u64, StoredFact) {
        let head = self.byte();
        if head & OTHER_EPOCH != 0 {
            last.epoch = last.epoch.wrapping_add(self.number());
        }
        last.instant = self.u32_after(last.instant);
        let series = SeriesId(u32::try_from(self.number()).expect("it was written here"));
        last.subject = self.u32_after(last.subject);
        let at_ms = day_ms + i64::from(last.instant);
        let value = match head & VALUE {
            NO_VALUE => 0,
            SMALL_VALUE => unzigzag(self.number()),
            SINCE_VALUE => at_ms.wrapping_sub(unzigzag(self.number())),
            _ => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        };
        let weight = if head & MINUS == 0 { Weight::Plus } else { Weight::Minus };
        (last.epoch, StoredFact { at_ms, series, subject: SubjectNumber(last.subject), value, weight })
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
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
        let mut written = Written::new(fact, instant, epoch, last);
        let has_room = |piece: &&Piece| piece.bytes.len() - piece.used.load(Ordering::Relaxed) as usize >= written.len;
        let known = self.piece(number);
        let piece = match known.filter(has_room) {
            Some(piece) => piece,
            None => {
                // A piece can be read without the one before it.
                written = Written::new(fact, instant, epoch, Last::default());
                let next = if known.is_some() { number + 1 } else { number };
                let Some(piece) = self.add_piece(next, &mut grown) else { return grown };
                piece
            }
        };
        let used = piece.used.load(Ordering::Relaxed);
        for (place, byte) in piece.bytes[used as usize..].iter().zip(written.as_slice()) {
            place.store(*byte, Ordering::Relaxed);
        }
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
        let len = u32::try_from(written.len).expect("a few bytes");
        piece.used.store(used + len, Ordering::Release);
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
