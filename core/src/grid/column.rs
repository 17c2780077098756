//! Facts in memory: the columns of one tenant's day.
//!
//! A column holds rows of one [form](super::form). It is written in pieces that never move, each a stretch of rows one after the other. Its only
//! writer stores whole words and then publishes how many bytes of them hold rows; readers read up to there. A piece is made of
//! stretches that can be read without those before them, and says which instants each spans, so that a short range skips most of a day.
//!
//! A row is a head of two bytes, then its instant, series and subject in as many bytes as they need, then its values. Of instants and
//! subjects the difference to the row before is written.

use std::ops;
use std::sync::Arc;

use super::form::{Form, Forms, MOST_VALUES, Member, Row};
use super::sync::{AtomicU32, AtomicU64, AtomicUsize, OnceLock, Ordering, STRETCH};
use super::{Range, SubjectNumber};
use crate::series::{AppendList, SeriesId};

/// The bytes of a column's first piece; each further one has twice as many, up to the most: 16 KiB with the counts of an `Arc` and what an
/// allocator may add to align it, as a little more would take a fifth more memory.
const FIRST_PIECE: usize = 56;
const MOST_IN_PIECE: usize = (1 << 14) - 2 * WORD - WORD;

/// The most bytes a row takes: its head, three numbers of four bytes, its values, each but the first with a byte of its own, and its
/// epoch.
const MOST_IN_ROW: usize = 2 + 3 * 4 + MOST_VALUES * 9 - 1 + 8;
/// The same in whole words, as far as they may be written in any of their bytes.
const WORDS: usize = MOST_IN_ROW / WORD + 2;
const WORD: usize = size_of::<u64>();
const BYTES: u64 = WORD as u64;

/// The head of a row, from the lowest bit: of its instant, series and subject how many bytes they take, less one; how its first value is
/// written; by how much its epoch is above that of the row before.
const INSTANT: u32 = 0;
const SERIES: u32 = 2;
const SUBJECT: u32 = 4;
const VALUE: u32 = 6;
const EPOCH: u32 = 10;
/// A value that is none takes no bytes; a small one up to five, and so does the time from a value to the row's instant, as many
/// values are instants themselves; any other takes eight.
const SINCE_VALUE: u64 = 5;
const ANY_VALUE: u64 = 11;
/// Numbers below this take five bytes.
const SMALL: u64 = 1 << 40;
/// The epoch stands at the end.
const ANY_EPOCH: u64 = 63;

/// The row before, as far as the next one is written by its difference to it.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    epoch: u64,
    instant: u32,
    subject: u32,
}

/// What a piece says of its rows, and of those that begin in one of its stretches, in a word: the first and the last instant within the day, and
/// where the first row begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    first_ms: u32,
    last_ms: u32,
    /// In bytes after the stretch's begin.
    from: usize,
}

impl Mark {
    /// Instants within a day are below 2^27.
    const INSTANT: u32 = 27;

    /// Of no rows yet.
    fn new(from: usize) -> Self {
        Self { first_ms: u32::MAX, last_ms: 0, from }
    }

    /// Of one row more.
    fn with(self, instant: u32) -> Self {
        Self { first_ms: self.first_ms.min(instant), last_ms: self.last_ms.max(instant), ..self }
    }

    fn is_in(self, day_ms: i64, range: Range) -> bool {
        day_ms + i64::from(self.first_ms) < range.to_exclusive
            && day_ms + i64::from(self.last_ms) >= range.from_inclusive
    }

    fn word(self) -> u64 {
        debug_assert!(self.from + 1 < 1 << (u64::BITS - 2 * Self::INSTANT), "within a row's or the marks' length");
        let from = self.from as u64 + 1;
        (from << Self::INSTANT | u64::from(self.last_ms)) << Self::INSTANT | u64::from(self.first_ms)
    }

    /// `None` where there is no row yet.
    #[expect(clippy::cast_possible_truncation, reason = "these are its parts")]
    fn of(word: u64) -> Option<Self> {
        let instant = |place: u32| (word >> place) as u32 & ((1 << Self::INSTANT) - 1);
        let from = (word >> (2 * Self::INSTANT)) as usize;
        Some(Self { first_ms: instant(0), last_ms: instant(Self::INSTANT), from: from.checked_sub(1)? })
    }
}

#[derive(Debug)]
struct Piece {
    /// The mark of all its rows.
    span: AtomicU64,
    /// Up to which of its bytes there are whole rows.
    used: AtomicU32,
    /// A mark for each stretch, then rows.
    words: Arc<[AtomicU64]>,
    next: OnceLock<Arc<Piece>>,
}

impl Piece {
    fn new(capacity: usize) -> Self {
        let words: Arc<[AtomicU64]> = (0..capacity / WORD).map(|_| AtomicU64::new(0)).collect();
        let marks = Self::marks(&words) * WORD;
        debug_assert!(marks < STRETCH, "rows begin in the first stretch");
        let used = u32::try_from(marks).expect("a piece is small");
        Self { span: AtomicU64::new(0), used: AtomicU32::new(used), words, next: OnceLock::new() }
    }

    /// How many words at the begin are marks.
    fn marks(words: &[AtomicU64]) -> usize {
        (words.len() * WORD).div_ceil(STRETCH)
    }

    /// How many bytes hold rows.
    fn bytes(&self) -> usize {
        self.used.load(Ordering::Acquire) as usize - Self::marks(&self.words) * WORD
    }

    /// The memory of one.
    fn memory(capacity: usize) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of::<Self>() + capacity
    }

    /// Calls `see` with where the stretches lie that have rows in a range, and maybe others.
    #[inline]
    fn stretches(&self, day_ms: i64, range: Range, mut see: impl FnMut(ops::Range<usize>)) {
        // A mark is set before the first row it stands for is published, and spans what is published.
        let used = self.used.load(Ordering::Acquire) as usize;
        let is_in = |mark: &Mark| mark.is_in(day_ms, range);
        if !Mark::of(self.span.load(Ordering::Relaxed)).is_some_and(|span| is_in(&span)) {
            return;
        }
        // No row is so long that none begins in a stretch.
        let mut before: Option<(usize, Mark)> = None;
        for (number, word) in self.words[..Self::marks(&self.words)].iter().enumerate() {
            let Some(mark) = Mark::of(word.load(Ordering::Relaxed)) else { break };
            let from = number * STRETCH + mark.from;
            if from >= used {
                break;
            }
            if let Some((start, _)) = before.replace((from, mark)).filter(|(_, mark)| is_in(mark)) {
                see(start..from);
            }
        }
        if let Some((start, _)) = before.filter(|(_, mark)| is_in(mark)) {
            see(start..used);
        }
    }
}

/// Rows of a piece that can be read without those before them.
#[derive(Debug, Clone)]
pub(super) struct Stretch<'a> {
    words: &'a [AtomicU64],
    bytes: ops::Range<usize>,
    /// How many values each has.
    values: usize,
}

impl<'a> Stretch<'a> {
    /// How many bytes have to be read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The rows with their epochs, in the order they came; `day_ms` is where the day begins.
    #[inline]
    pub(super) fn rows(&self, day_ms: i64) -> impl Iterator<Item = (u64, Row)> + use<'a> {
        let Self { words, bytes: ops::Range { start, end }, values } = self.clone();
        let (mut written, mut last) = (Written { words, at: start }, Last::default());
        std::iter::from_fn(move || (written.at < end).then(|| written.row(values, &mut last, day_ms)))
    }
}

/// A row as it is to be written.
struct Packed {
    bytes: [u8; WORDS * WORD],
    count: usize,
}

impl Packed {
    const fn new() -> Self {
        Self { bytes: [0; WORDS * WORD], count: 2 }
    }

    #[inline]
    fn write(&mut self, row: &Row, values: usize, instant: u32, epoch: u64, last: Last) {
        let subject = row.subject.0.wrapping_sub(last.subject).cast_signed();
        let mut head = self.number(zigzag(instant.wrapping_sub(last.instant).cast_signed())) << INSTANT;
        head |= self.number(row.series.0) << SERIES;
        head |= self.number(zigzag(subject)) << SUBJECT;
        let mut values = row.values.iter().take(values);
        if let Some(value) = values.next() {
            head |= self.value(*value, row.at_ms) << VALUE;
        }
        for value in values {
            let place = self.count;
            self.count += 1;
            let [kind, ..] = self.value(*value, row.at_ms).to_le_bytes();
            self.bytes[place] = kind;
        }
        let above = epoch.wrapping_sub(last.epoch);
        head |= above.min(ANY_EPOCH) << EPOCH;
        if above >= ANY_EPOCH {
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

    /// Writes a value; how it is written.
    #[inline]
    fn value(&mut self, value: i64, at_ms: i64) -> u64 {
        let (small, since) = (zigzag_long(value), zigzag_long(at_ms.wrapping_sub(value)));
        if small < SMALL {
            self.small(small, 0)
        } else if since < SMALL {
            // The time to a value is never written in no bytes: that says that there is none.
            SINCE_VALUE + self.small(since, 1)
        } else {
            self.long(value.cast_unsigned());
            ANY_VALUE
        }
    }

    /// Writes a small number; how many bytes it takes.
    #[inline]
    fn small(&mut self, number: u64, at_least: u32) -> u64 {
        self.bytes[self.count..self.count + 8].copy_from_slice(&number.to_le_bytes());
        let bytes = (u64::BITS - number.leading_zeros()).div_ceil(8).max(at_least);
        self.count += bytes as usize;
        bytes.into()
    }

    fn long(&mut self, number: u64) {
        self.bytes[self.count..self.count + 8].copy_from_slice(&number.to_le_bytes());
        self.count += 8;
    }
}

/// Rows still to be read.
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

    /// The head of a row and its three numbers, which are at most as long as two words.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most four bytes are read")]
    fn begin(&mut self) -> (u64, [u32; 3]) {
        let (first, shift) = (self.at / WORD, self.at % WORD * 8);
        let word = |number: usize| self.words.get(number).map_or(0, |word| u128::from(word.load(Ordering::Relaxed)));
        let [low, high, after] = [word(first), word(first + 1), word(first + 2)];
        // In two steps: a shift by all bits is none.
        let all = (high << u64::BITS | low) >> shift | after << 1 << (u128::BITS as usize - 1 - shift);
        let (head, mut rest, mut bytes) = ((all & 0xFFFF) as u64, all >> 16, 2);
        let numbers = [INSTANT, SERIES, SUBJECT].map(|place| {
            let more_bytes = (head >> place & 3) as usize;
            let number = rest as u32 & u32::MAX >> ((3 - more_bytes) * 8);
            rest >>= (more_bytes + 1) * 8;
            bytes += more_bytes + 1;
            number
        });
        self.at += bytes;
        (head, numbers)
    }

    #[inline]
    fn value(&mut self, kind: u64, at_ms: i64) -> i64 {
        if kind <= SINCE_VALUE {
            unzigzag_long(self.number(kind))
        } else if kind < ANY_VALUE {
            at_ms.wrapping_sub(unzigzag_long(self.number(kind - SINCE_VALUE)))
        } else {
            self.number(BYTES).cast_signed()
        }
    }

    #[inline]
    fn row(&mut self, values: usize, last: &mut Last, day_ms: i64) -> (u64, Row) {
        let (head, [instant, series, subject]) = self.begin();
        last.instant = last.instant.wrapping_add_signed(unzigzag(instant));
        last.subject = last.subject.wrapping_add_signed(unzigzag(subject));
        let at_ms = day_ms + i64::from(last.instant);
        let (series, subject) = (SeriesId(series), SubjectNumber(last.subject));
        let mut row = Row { at_ms, series, subject, values: [0; MOST_VALUES] };
        let mut places = row.values.iter_mut().take(values);
        if let Some(first) = places.next() {
            *first = self.value(head >> VALUE & 15, at_ms);
        }
        for value in places {
            let kind = self.number(1);
            *value = self.value(kind, at_ms);
        }
        match head >> EPOCH {
            ANY_EPOCH => last.epoch = self.number(BYTES),
            above => last.epoch += above,
        }
        (last.epoch, row)
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

/// The rows of one form, as readers see them.
#[derive(Debug)]
pub(super) struct Column {
    form: Form,
    first: Option<Arc<Piece>>,
    /// How many rows have been put away. Only one thread at a time looks at it.
    put_away: AtomicUsize,
}

impl Column {
    /// What its rows stand for.
    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// The rows up to an epoch with their epochs, in the order they came, without stretches that lie outside of a range; `day_ms` is
    /// where the day begins.
    pub(super) fn rows(&self, day_ms: i64, epoch: u64, range: Range) -> impl Iterator<Item = (u64, Row)> {
        // What came up to the epoch was written before the epoch was published, so its pieces are there.
        let mut stretches = Vec::new();
        self.stretches(day_ms, range, |stretch| stretches.push(stretch));
        let rows = stretches.into_iter().flat_map(move |stretch| stretch.rows(day_ms));
        rows.take_while(move |(came, _)| *came <= epoch)
    }

    /// Calls `see` with the stretches that have rows in a range, and maybe others, in the order they came.
    #[inline]
    pub(super) fn stretches<'a>(&'a self, day_ms: i64, range: Range, mut see: impl FnMut(Stretch<'a>)) {
        let values = self.form.values;
        for piece in self.pieces() {
            piece.stretches(day_ms, range, |bytes| see(Stretch { words: &piece.words, bytes, values }));
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        std::iter::successors(self.first.as_deref(), |piece| piece.next.get().map(AsRef::as_ref))
    }

    /// How many bytes hold rows.
    pub(super) fn bytes(&self) -> usize {
        self.pieces().map(Piece::bytes).sum()
    }

    /// The rows up to an epoch that have not been put away yet, with their epochs.
    pub(super) fn fresh(&self, day_ms: i64, epoch: u64) -> impl Iterator<Item = (u64, Row)> {
        self.rows(day_ms, epoch, Range::ALL).skip(self.put_away.load(Ordering::Relaxed))
    }

    /// So many more rows have been put away.
    pub(super) fn are_put_away(&self, count: usize) {
        self.put_away.store(self.put_away.load(Ordering::Relaxed) + count, Ordering::Relaxed);
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

/// The columns of a day, as readers see them, each with the number of its form; in the order they began.
#[derive(Debug)]
pub(super) struct Columns(AppendList<(u32, Column)>);

impl Columns {
    pub(super) const fn new() -> Self {
        Self(AppendList::new())
    }

    /// Every column there may be rows in, with the number of its form.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(u32, Column)> {
        (0..).map_while(|place| self.0.get(place))
    }

    /// The columns with facts of a key, with what stands for those facts.
    pub(super) fn with(&self, key: usize) -> impl Iterator<Item = (&Column, Member)> {
        self.iter().flat_map(move |(_, column)| column.form.with(key).map(move |member| (column, member)))
    }
}

/// The only writer of a day's columns. What it has to know of a column lies together: most rows are of another column than
/// the one before, and each look at memory that is far away costs more than writing the row.
#[derive(Debug)]
pub(super) struct Writer {
    columns: Arc<Columns>,
    /// For each form, which of the ends is its; [`NONE`] where there is no row.
    places: Vec<u16>,
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
    span: Mark,
    /// The stretch that the last row began in, and what the piece says of it.
    stretch: usize,
    mark: Mark,
    /// The word that is written to next, as far as it is written.
    word: u64,
    last: Last,
    /// How many values a row has.
    values: usize,
}

impl End {
    fn new(piece: Arc<Piece>, values: usize) -> Self {
        let (used, words) = (piece.used.load(Ordering::Relaxed), Arc::clone(&piece.words));
        let (span, mark) = (Mark::new(0), Mark::new(0));
        Self { piece, words, used, span, stretch: usize::MAX, mark, word: 0, last: Last::default(), values }
    }

    /// Writes a row where there is room.
    fn push(&mut self, row: &Row, instant: u32, epoch: u64) -> bool {
        let mut packed = Packed::new();
        let used = self.used as usize;
        let stretch = used / STRETCH;
        let (mark, last) =
            if stretch == self.stretch { (self.mark, self.last) } else { (Mark::new(used % STRETCH), Last::default()) };
        packed.write(row, self.values, instant, epoch, last);
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
        let (span, mark) = (self.span.with(instant), mark.with(instant));
        if span != self.span {
            self.piece.span.store(span.word(), Ordering::Relaxed);
            self.span = span;
        }
        if (stretch, mark) != (self.stretch, self.mark) {
            self.words[stretch].store(mark.word(), Ordering::Relaxed);
            (self.stretch, self.mark) = (stretch, mark);
        }
        self.used = u32::try_from(end).expect("a piece is small");
        self.last = Last { epoch, instant, subject: row.subject.0 };
        true
    }
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { columns: Arc::new(Columns::new()), places: Vec::new(), ends: Vec::new() }
    }

    /// The memory of one without rows.
    pub(super) const MEMORY: usize = size_of::<Columns>();

    /// What readers see.
    pub(super) fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    /// Adds a row to the column of its form; returns how many bytes of memory that took anew.
    pub(super) fn push(&mut self, number: u32, row: &Row, forms: &Forms, day_ms: i64, epoch: u64) -> usize {
        let mut grown = 0;
        let instant = u32::try_from(row.at_ms - day_ms).expect("within a day");
        let place = match self.places.get(number as usize) {
            Some(place) if *place != NONE => usize::from(*place),
            _ => self.begin(number, forms, &mut grown),
        };
        let end = &mut self.ends[place];
        while !end.push(row, instant, epoch) {
            // Twice as long as the one before, and it can be read without that.
            let capacity = (end.words.len() * WORD * 2).min(MOST_IN_PIECE);
            grown += Piece::memory(capacity);
            let next = Arc::new(Piece::new(capacity));
            let _ = end.piece.next.set(Arc::clone(&next));
            *end = End::new(next, end.values);
        }
        end.piece.used.store(end.used, Ordering::Release);
        grown
    }

    #[cold]
    fn begin(&mut self, number: u32, forms: &Forms, grown: &mut usize) -> usize {
        let (piece, form) = (Arc::new(Piece::new(FIRST_PIECE)), forms.form(number));
        *grown += Piece::memory(FIRST_PIECE) + size_of::<End>() + 2 * size_of::<(u32, Column)>();
        let place = u16::try_from(self.ends.len()).expect("fewer forms than 2^16");
        self.ends.push(End::new(Arc::clone(&piece), form.values));
        let column = Column { form, first: Some(piece), put_away: AtomicUsize::new(0) };
        self.columns.0.set(place.into(), (number, column));
        let needed = number as usize + 1;
        if self.places.len() < needed {
            *grown += (needed - self.places.len()) * size_of::<u16>();
            self.places.resize(needed, NONE);
        }
        self.places[number as usize] = place;
        place.into()
    }
}
