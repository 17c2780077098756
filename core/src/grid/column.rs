//! Facts in memory: the columns of one tenant's day.
//!
//! A column is written in pieces that never move, each a stretch of facts one after the other, about ten bytes each. Its only
//! writer stores whole words and then publishes how many bytes of them hold facts; readers read up to there. A piece can be
//! read without those before it, and knows the instants it spans, so that a short range skips most of a day.
//!
//! A fact is a head of two bytes, then its instant, series and subject in as many bytes as they need, then its value. Of instants and
//! subjects the difference to the fact before is written.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Range, StoredFact, SubjectNumber};
use crate::fact::{Measure, Weight};
use crate::series::SeriesId;

/// The bytes of a column's first piece; each further one has twice as many, up to the most.
const FIRST_PIECE: usize = 48;
const MOST_IN_PIECE: usize = 1 << 14;

/// The most bytes a fact takes: its head, three numbers of four bytes, its value and its epoch.
const MOST_IN_FACT: usize = 2 + 3 * 4 + 8 + 8;
/// The same in whole words, as far as they may be written in any of their bytes.
const WORDS: usize = MOST_IN_FACT / WORD + 2;
const WORD: usize = size_of::<u64>();
const BYTES: u64 = WORD as u64;

/// The head of a fact, from the lowest bit: its weight; of its instant, series and subject how many bytes they take, less one;
/// how its value is written; by how much its epoch is above that of the fact before.
const MINUS: u64 = 1;
const INSTANT: u32 = 1;
const SERIES: u32 = 3;
const SUBJECT: u32 = 5;
const VALUE: u32 = 7;
const EPOCH: u32 = 11;
/// A value that is none takes no bytes; a small one up to five, and so does the time from a value to the fact's instant, as many
/// values are instants themselves; any other takes eight.
const SINCE_VALUE: u64 = 5;
const ANY_VALUE: u64 = 11;
/// Numbers below this take five bytes.
const SMALL: u64 = 1 << 40;
/// The epoch stands at the end.
const ANY_EPOCH: u64 = 31;

/// The fact before, as far as the next one is written by its difference to it.
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
    words: Arc<[AtomicU64]>,
    next: OnceLock<Arc<Piece>>,
}

impl Piece {
    fn new(capacity: usize) -> Self {
        let words = (0..capacity / WORD).map(|_| AtomicU64::new(0)).collect();
        let (first_ms, last_ms, used) = (AtomicU32::new(u32::MAX), AtomicU32::new(0), AtomicU32::new(0));
        Self { first_ms, last_ms, used, words, next: OnceLock::new() }
    }

    /// The memory of one.
    fn memory(capacity: usize) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of::<Self>() + capacity
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
}

/// A fact as it is to be written.
struct Packed {
    bytes: [u8; WORDS * WORD],
    count: usize,
}

impl Packed {
    const fn new() -> Self {
        Self { bytes: [0; WORDS * WORD], count: 2 }
    }

    #[inline]
    fn write(&mut self, fact: &StoredFact, instant: u32, epoch: u64, last: Last) {
        let mut head = u64::from(fact.weight == Weight::Minus) * MINUS;
        let subject = fact.subject.0.wrapping_sub(last.subject).cast_signed();
        head |= self.number(zigzag(instant.wrapping_sub(last.instant).cast_signed())) << INSTANT;
        head |= self.number(fact.series.0) << SERIES;
        head |= self.number(zigzag(subject)) << SUBJECT;
        let (value, since) = (zigzag_long(fact.value), zigzag_long(fact.at_ms.wrapping_sub(fact.value)));
        head |= if value < SMALL {
            self.value(value, 0) << VALUE
        } else if since < SMALL {
            // The time to a value is never written in no bytes: that says that there is none.
            (SINCE_VALUE + self.value(since, 1)) << VALUE
        } else {
            self.long(fact.value.cast_unsigned());
            ANY_VALUE << VALUE
        };
        let above = epoch.wrapping_sub(last.epoch);
        if above < ANY_EPOCH {
            head |= above << EPOCH;
        } else {
            head |= ANY_EPOCH << EPOCH;
            self.long(epoch);
        }
        let [low, high, ..] = head.to_le_bytes();
        (self.bytes[0], self.bytes[1]) = (low, high);
    }

    /// Writes a number; how many bytes it takes, less one.
    #[inline]
    fn number(&mut self, number: u32) -> u64 {
        self.bytes[self.count..self.count + 4].copy_from_slice(&number.to_le_bytes());
        let less_one = (number | 1).ilog2() / 8;
        self.count += less_one as usize + 1;
        less_one.into()
    }

    /// Writes a small value; how many bytes it takes.
    #[inline]
    fn value(&mut self, value: u64, at_least: u32) -> u64 {
        self.bytes[self.count..self.count + 8].copy_from_slice(&value.to_le_bytes());
        let bytes = (u64::BITS - value.leading_zeros()).div_ceil(8).max(at_least);
        self.count += bytes as usize;
        bytes.into()
    }

    fn long(&mut self, number: u64) {
        self.bytes[self.count..self.count + 8].copy_from_slice(&number.to_le_bytes());
        self.count += 8;
    }
}

/// Facts still to be read.
struct Written<'a> {
    words: &'a [AtomicU64],
    /// The next byte.
    at: usize,
}

impl Written<'_> {
    /// The next number, of so many bytes.
    #[inline]
    fn number(&mut self, bytes: u64) -> u64 {
        let bytes = usize::try_from(bytes).expect("at most eight");
        let (first, shift) = (self.at / WORD, self.at % WORD * 8);
        self.at += bytes;
        let word = |number: usize| self.words.get(number).map_or(0, |word| word.load(Ordering::Relaxed));
        let all = word(first) >> shift | word(first + 1) << 1 << (u64::BITS as usize - 1 - shift);
        if bytes == WORD { all } else { all & ((1 << (bytes * 8)) - 1) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most four bytes are read")]
    fn short(&mut self, head: u64, place: u32) -> u32 {
        self.number((head >> place & 3) + 1) as u32
    }

    #[inline]
    fn fact(&mut self, last: &mut Last, day_ms: i64) -> (u64, StoredFact) {
        let head = self.number(2);
        last.instant = last.instant.wrapping_add_signed(unzigzag(self.short(head, INSTANT)));
        let series = SeriesId(self.short(head, SERIES));
        last.subject = last.subject.wrapping_add_signed(unzigzag(self.short(head, SUBJECT)));
        let at_ms = day_ms + i64::from(last.instant);
        let kind = head >> VALUE & 15;
        let value = if kind <= SINCE_VALUE {
            unzigzag_long(self.number(kind))
        } else if kind < ANY_VALUE {
            at_ms.wrapping_sub(unzigzag_long(self.number(kind - SINCE_VALUE)))
        } else {
            self.number(BYTES).cast_signed()
        };
        match head >> EPOCH {
            ANY_EPOCH => last.epoch = self.number(BYTES),
            above => last.epoch += above,
        }
        let weight = if head & MINUS == 0 { Weight::Plus } else { Weight::Minus };
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

/// The facts of one measure at one end on one clock, as readers see them.
#[derive(Debug)]
pub(super) struct Column {
    first: OnceLock<Arc<Piece>>,
    /// Whether any fact has weight -1.
    has_minus: AtomicBool,
    /// How many facts have been put away. Only one thread at a time looks at it.
    put_away: AtomicUsize,
}

impl Column {
    const fn new() -> Self {
        Self { first: OnceLock::new(), has_minus: AtomicBool::new(false), put_away: AtomicUsize::new(0) }
    }

    /// The facts up to an epoch with their epochs, in the order they came, without pieces that lie outside of a range; `day_ms` is
    /// where the day begins.
    pub(super) fn facts(&self, day_ms: i64, epoch: u64, range: Range) -> impl Iterator<Item = (u64, StoredFact)> {
        // What came up to the epoch was written before the epoch was published, so its pieces and their spans are there.
        let pieces = std::iter::successors(self.first.get(), |piece| piece.next.get());
        let pieces = pieces.filter(move |piece| piece.is_in(day_ms, range));
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
        self.has_minus.load(Ordering::Relaxed)
    }
}

impl Drop for Column {
    /// Piece by piece: one that drops the next would need a stack as deep as the column is long.
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut piece) = next.and_then(Arc::into_inner) {
            next = piece.next.take();
        }
    }
}

const COLUMNS: usize = Measure::ALL.len() * 4;
/// Columns come in groups, so that a day with facts of few measures stays small.
const GROUP: usize = 16;

type Group = [Column; GROUP];

/// The columns of a day, as readers see them.
#[derive(Debug)]
pub(super) struct Columns([OnceLock<Box<Group>>; COLUMNS.div_ceil(GROUP)]);

impl Columns {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; COLUMNS.div_ceil(GROUP)])
    }

    pub(super) fn get(&self, number: usize) -> Option<&Column> {
        self.0[number / GROUP].get().map(|group| &group[number % GROUP])
    }

    /// Every column there may be facts in, with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Column)> {
        let groups = (0..).step_by(GROUP).zip(&self.0).filter_map(|(first, group)| Some((first, group.get()?)));
        groups.flat_map(|(first, group)| (first..).zip(group.iter()))
    }

    fn column(&self, number: usize, grown: &mut usize) -> &Column {
        let group = self.0[number / GROUP].get_or_init(|| {
            *grown += size_of::<Group>();
            Box::new([const { Column::new() }; GROUP])
        });
        &group[number % GROUP]
    }
}

/// The only writer of a day's columns. What it has to know of a column lies together: most facts are of another column than
/// the one before, and each look at memory that is far away costs more than writing the fact.
#[derive(Debug)]
pub(super) struct Writer {
    columns: Arc<Columns>,
    /// For each column, which of the ends is its; [`NONE`] where there is no fact.
    places: Box<[u16; COLUMNS]>,
    ends: Vec<End>,
}

/// More than there are columns.
const NONE: u16 = u16::MAX;

/// Where a column ends.
#[derive(Debug)]
struct End {
    piece: Arc<Piece>,
    /// The piece's.
    words: Arc<[AtomicU64]>,
    /// As in the piece.
    used: u32,
    first_ms: u32,
    last_ms: u32,
    /// The word that is written to next, as far as it is written.
    word: u64,
    last: Last,
    has_minus: bool,
}

impl End {
    fn new(piece: Arc<Piece>, has_minus: bool) -> Self {
        let (first_ms, last_ms, words) = (u32::MAX, 0, Arc::clone(&piece.words));
        Self { piece, words, used: 0, first_ms, last_ms, word: 0, last: Last::default(), has_minus }
    }

    /// Writes a fact where there is room.
    fn push(&mut self, fact: &StoredFact, instant: u32, epoch: u64) -> bool {
        let mut packed = Packed::new();
        packed.write(fact, instant, epoch, self.last);
        let used = self.used as usize;
        let (first, shift) = (used / WORD, used % WORD * 8);
        let end = used + packed.count;
        let Some(words) = self.words.get(first..end.div_ceil(WORD)) else { return false };
        let mut begun = self.word;
        for (word, bytes) in words.iter().zip(packed.bytes.as_chunks().0) {
            let bytes = u64::from_le_bytes(*bytes);
            self.word = begun | bytes << shift;
            word.store(self.word, Ordering::Relaxed);
            // In two steps: a shift by all bits of a word is none.
            begun = bytes >> 1 >> (u64::BITS as usize - 1 - shift);
        }
        if end.is_multiple_of(WORD) {
            self.word = 0;
        }
        if instant < self.first_ms {
            self.first_ms = instant;
            self.piece.first_ms.store(instant, Ordering::Relaxed);
        }
        if instant > self.last_ms {
            self.last_ms = instant;
            self.piece.last_ms.store(instant, Ordering::Relaxed);
        }
        self.used = u32::try_from(end).expect("a piece is small");
        self.last = Last { epoch, instant, subject: fact.subject.0 };
        true
    }
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { columns: Arc::new(Columns::new()), places: Box::new([NONE; COLUMNS]), ends: Vec::new() }
    }

    /// The memory of one without facts.
    pub(super) const MEMORY: usize = size_of::<Columns>() + size_of::<[u16; COLUMNS]>();

    /// What readers see.
    pub(super) fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    /// Adds a fact to a column; returns how many bytes of memory that took anew.
    pub(super) fn push(&mut self, number: usize, fact: &StoredFact, day_ms: i64, epoch: u64) -> usize {
        let mut grown = 0;
        let instant = u32::try_from(fact.at_ms - day_ms).expect("within a day");
        let place = match usize::from(self.places[number]) {
            place if place < self.ends.len() => place,
            _ => self.begin(number, &mut grown),
        };
        let end = &mut self.ends[place];
        let is_minus = fact.weight == Weight::Minus;
        if is_minus && !end.has_minus {
            end.has_minus = true;
            self.columns.column(number, &mut grown).has_minus.store(true, Ordering::Relaxed);
        }
        if !end.push(fact, instant, epoch) {
            // Twice as long as the one before, and it can be read without that.
            let capacity = (end.words.len() * WORD * 2).min(MOST_IN_PIECE);
            grown += Piece::memory(capacity);
            let next = Arc::new(Piece::new(capacity));
            let _ = end.piece.next.set(Arc::clone(&next));
            *end = End::new(next, end.has_minus);
            end.push(fact, instant, epoch);
        }
        end.piece.used.store(end.used, Ordering::Release);
        grown
    }

    #[cold]
    fn begin(&mut self, number: usize, grown: &mut usize) -> usize {
        let piece = Arc::new(Piece::new(FIRST_PIECE));
        *grown += Piece::memory(FIRST_PIECE) + size_of::<End>();
        let _ = self.columns.column(number, grown).first.set(Arc::clone(&piece));
        self.ends.push(End::new(piece, false));
        let place = self.ends.len() - 1;
        self.places[number] = u16::try_from(place).expect("fewer columns than 2^16");
        place
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
            let (mut writer, day_ms) = (Writer::new(), 20_000 * DAY_MS);
            for (epoch, fact) in &facts {
                // Two columns, one of them with every other fact.
                writer.push(5, fact, day_ms, *epoch);
                if epoch % 2 == 0 {
                    writer.push(COLUMNS - 1, fact, day_ms, *epoch);
                }
            }
            let columns = Arc::clone(writer.columns());
            let read = |number| -> Vec<_> {
                columns.get(number).map(|column| column.facts(day_ms, until, Range::ALL).collect()).unwrap_or_default()
            };
            let even: Vec<_> = facts.iter().copied().filter(|(epoch, _)| *epoch <= until && epoch % 2 == 0).collect();
            prop_assert_eq!(read(COLUMNS - 1), even);
            let read = read(5);
            let expected: Vec<_> = facts.iter().copied().filter(|(epoch, _)| *epoch <= until).collect();
            prop_assert_eq!(read, expected);
            let none = facts.iter().all(|(_, fact)| fact.weight == Weight::Plus);
            prop_assert_eq!(columns.get(5).is_some_and(Column::has_minus), !none);
        }
    }
}
