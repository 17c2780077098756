//! The lock-free store of facts: one writer, any number of readers, nobody waits for anybody.
//!
//! Facts are kept in append-only columns, one for each tenant, quarter hour, [`Measure`], anchor and clock. A fact is three atomic words
//! that its only writer stores once; a column's length is published with a release store. Nothing ever moves, so readers
//! never meet freed memory.
//!
//! Each fact knows the *epoch* (the block of the log) that brought it. A [`View`] reads at one epoch and skips what came
//! later, so every question is answered as of a block boundary, however fast the writer goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;

use crate::fact::{Anchor, Clock, Fact, Measure, Weight};
use crate::series::{AppendList, SeriesId, Symbol};
use crate::time::Timestamp;

/// A quarter hour: every time zone's day boundary is a multiple of it. Facts keep their exact instant within it.
const SLOT_MS: i64 = 15 * 60 * 1_000;
const SLOTS_A_DAY: usize = 96;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The facts of a column's first chunk; each further chunk holds as many as all before it.
const FIRST_CHUNK: usize = 4;
/// How the word `when` is cut: 20 bits for the instant within the slot, one for the weight, the rest for the epoch.
const OFFSET_BITS: u32 = 20;
const MINUS_BIT: u64 = 1 << OFFSET_BITS;

/// The number of a subject within its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectNumber(pub(crate) u32);

/// A subject among those of all partitions of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalSubject {
    grid: usize,
    number: SubjectNumber,
}

#[derive(Debug, Default)]
struct Cell {
    series_and_subject: AtomicU64,
    when: AtomicU64,
    value: AtomicI64,
}

#[derive(Debug)]
struct Chunk {
    cells: Box<[Cell]>,
    next: OnceLock<Box<Self>>,
}

impl Chunk {
    fn new(capacity: usize) -> Self {
        Self { cells: (0..capacity).map(|_| Cell::default()).collect(), next: OnceLock::new() }
    }
}

#[derive(Debug)]
struct Column {
    first: Chunk,
    len: AtomicUsize,
    /// How many facts have weight -1.
    minus: AtomicUsize,
}

impl Column {
    fn new() -> Self {
        Self { first: Chunk::new(FIRST_CHUNK), len: AtomicUsize::new(0), minus: AtomicUsize::new(0) }
    }

    fn push(&self, fact: &Fact, offset_ms: u64, subject: SubjectNumber, epoch: u64) {
        let len = self.len.load(Ordering::Relaxed);
        let mut within = len;
        let mut chunk = &self.first;
        while within >= chunk.cells.len() {
            within -= chunk.cells.len();
            let capacity = (len - within).max(FIRST_CHUNK);
            chunk = chunk.next.get_or_init(|| Box::new(Chunk::new(capacity)));
        }
        let minus = if fact.weight == Weight::Minus { MINUS_BIT } else { 0 };
        let cell = &chunk.cells[within];
        cell.series_and_subject.store(u64::from(fact.series.0) << 32 | u64::from(subject.0), Ordering::Relaxed);
        cell.when.store(offset_ms | minus | epoch << (OFFSET_BITS + 1), Ordering::Relaxed);
        cell.value.store(fact.value, Ordering::Relaxed);
        if minus != 0 {
            self.minus.store(self.minus.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.len.store(len + 1, Ordering::Release);
    }

    /// The facts up to an epoch, in the order they came; `slot_ms` is where the column begins.
    fn facts(&self, slot_ms: i64, epoch: u64) -> impl Iterator<Item = StoredFact> {
        let len = self.len.load(Ordering::Acquire);
        let chunks = std::iter::successors(Some(&self.first), |chunk| chunk.next.get().map(Box::as_ref));
        chunks.flat_map(|chunk| &chunk.cells).take(len).map_while(move |cell| {
            let when = cell.when.load(Ordering::Relaxed);
            if when >> (OFFSET_BITS + 1) > epoch {
                return None;
            }
            let series_and_subject = cell.series_and_subject.load(Ordering::Relaxed);
            let offset_ms = (when & (MINUS_BIT - 1)).cast_signed();
            #[expect(clippy::cast_possible_truncation, reason = "two numbers of 32 bits are packed in one of 64")]
            let (series, subject) = ((series_and_subject >> 32) as u32, series_and_subject as u32);
            Some(StoredFact {
                at_ms: slot_ms + offset_ms,
                series: SeriesId(series),
                subject: SubjectNumber(subject),
                value: cell.value.load(Ordering::Relaxed),
                weight: if when & MINUS_BIT == 0 { Weight::Plus } else { Weight::Minus },
            })
        })
    }
}

/// A fact as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredFact {
    /// The instant it counts at, in milliseconds since 1970.
    pub at_ms: i64,
    /// The dimension values it carries.
    pub series: SeriesId,
    /// Whom it is about.
    pub subject: SubjectNumber,
    /// What was measured.
    pub value: i64,
    /// Stated or taken back; for levels, up or down.
    pub weight: Weight,
}

/// What the facts of a column measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnKey {
    /// The measure.
    pub measure: Measure,
    /// At which end of it.
    pub anchor: Anchor,
    /// On which clock.
    pub clock: Clock,
}

impl ColumnKey {
    /// What a measure counts at its completion, by the calendar.
    #[must_use]
    pub fn of(measure: Measure) -> Self {
        Self { measure, anchor: Anchor::Completion, clock: Clock::Calendar }
    }

    fn number(self) -> usize {
        (self.measure as usize * 2 + self.anchor as usize) * 2 + self.clock as usize
    }
}

const COLUMNS: usize = Measure::ALL.len() * 4;
/// Columns come in groups, so that a slot with facts of few measures stays small.
const GROUP: usize = 16;

#[derive(Debug)]
struct Slot {
    groups: [OnceLock<Box<ColumnGroup>>; COLUMNS.div_ceil(GROUP)],
}

type ColumnGroup = [OnceLock<Box<Column>>; GROUP];

impl Slot {
    fn new() -> Self {
        Self { groups: [const { OnceLock::new() }; COLUMNS.div_ceil(GROUP)] }
    }

    fn column(&self, key: ColumnKey) -> Option<&Column> {
        let number = key.number();
        self.groups[number / GROUP].get()?[number % GROUP].get().map(Box::as_ref)
    }

    fn column_to_write(&self, key: ColumnKey) -> &Column {
        let number = key.number();
        let group = self.groups[number / GROUP].get_or_init(|| Box::new([const { OnceLock::new() }; GROUP]));
        group[number % GROUP].get_or_init(|| Box::new(Column::new()))
    }
}

#[derive(Debug)]
struct Day {
    /// Days since 1970.
    number: i64,
    slots: [OnceLock<Box<Slot>>; SLOTS_A_DAY],
}

#[derive(Debug)]
struct TenantGrid {
    /// In the order they were first written to.
    days: AppendList<Box<Day>>,
    day_count: AtomicUsize,
}

#[derive(Debug)]
struct Grid {
    tenants: DashMap<Symbol, Arc<TenantGrid>>,
    subjects: AppendList<Arc<str>>,
    visible_epoch: AtomicU64,
}

/// A new grid: the one who writes it and the first who reads it.
#[must_use]
pub fn grid() -> (Recorder, Reader) {
    let grid =
        Arc::new(Grid { tenants: DashMap::new(), subjects: AppendList::new(), visible_epoch: AtomicU64::new(0) });
    let recorder = Recorder { grid: Arc::clone(&grid), days: HashMap::new(), subject_count: 0, epoch: 1 };
    (recorder, Reader { grid })
}

/// The only writer of a grid: it cannot be cloned.
#[derive(Debug)]
pub struct Recorder {
    grid: Arc<Grid>,
    /// Where each tenant's days are.
    days: HashMap<Symbol, TenantDays>,
    subject_count: u32,
    epoch: u64,
}

#[derive(Debug)]
struct TenantDays {
    tenant: Arc<TenantGrid>,
    places: HashMap<i64, u32>,
}

impl Recorder {
    /// Gives a subject its number.
    ///
    /// # Panics
    /// After 2^32 - 1 subjects in one partition.
    pub fn add_subject(&mut self, id: Arc<str>) -> SubjectNumber {
        let number = self.subject_count;
        self.subject_count = number.checked_add(1).expect("fewer than 2^32 subjects in a partition");
        self.grid.subjects.set(number, id);
        SubjectNumber(number)
    }

    /// Records a fact. Readers see it after [`Self::publish`].
    pub fn record(&mut self, tenant: Symbol, subject: SubjectNumber, fact: &Fact) {
        let grid = &self.grid;
        let days = self.days.entry(tenant).or_insert_with(|| {
            let fresh = Arc::new(TenantGrid { days: AppendList::new(), day_count: AtomicUsize::new(0) });
            grid.tenants.insert(tenant, Arc::clone(&fresh));
            TenantDays { tenant: fresh, places: HashMap::new() }
        });
        let at_ms = fact.at.millis();
        let number = at_ms.div_euclid(DAY_MS);
        let place = days.place_of(number);
        let Some(day) = days.tenant.days.get(place) else { return };
        let in_day = at_ms.rem_euclid(DAY_MS);
        let slot = day.slots[usize::try_from(in_day / SLOT_MS).expect("0 to 95")].get_or_init(|| Box::new(Slot::new()));
        let column = slot.column_to_write(ColumnKey { measure: fact.measure, anchor: fact.anchor, clock: fact.clock });
        let offset_ms = (in_day % SLOT_MS).cast_unsigned();
        column.push(fact, offset_ms, subject, self.epoch);
    }

    /// Shows readers everything recorded so far, at once.
    pub fn publish(&mut self) {
        self.grid.visible_epoch.store(self.epoch, Ordering::Release);
        self.epoch += 1;
    }
}

impl TenantDays {
    fn place_of(&mut self, number: i64) -> u32 {
        if let Some(place) = self.places.get(&number) {
            return *place;
        }
        let place = u32::try_from(self.places.len()).expect("fewer than 2^32 days in 10,000 years");
        self.tenant.days.set(place, Box::new(Day { number, slots: [const { OnceLock::new() }; SLOTS_A_DAY] }));
        self.tenant.day_count.store(self.places.len() + 1, Ordering::Release);
        self.places.insert(number, place);
        place
    }
}

/// A reader of a grid; clone it for each thread.
#[derive(Debug, Clone)]
pub struct Reader {
    grid: Arc<Grid>,
}

impl Reader {
    /// The grid as it is now, at a block boundary.
    #[must_use]
    pub fn view(&self) -> View {
        View { grid: Arc::clone(&self.grid), epoch: self.grid.visible_epoch.load(Ordering::Acquire) }
    }
}

/// A grid at one instant of its life: what is published later is not seen.
#[derive(Debug, Clone)]
pub struct View {
    grid: Arc<Grid>,
    epoch: u64,
}

impl View {
    /// The subject with this number.
    #[must_use]
    pub fn subject(&self, number: SubjectNumber) -> Option<Arc<str>> {
        self.grid.subjects.get(number.0).cloned()
    }

    /// Tells a subject of this grid from those of all others, for as long as the view is kept.
    #[must_use]
    pub fn global(&self, number: SubjectNumber) -> GlobalSubject {
        GlobalSubject { grid: Arc::as_ptr(&self.grid).addr(), number }
    }

    /// Calls `see` with every fact of a column, plus and minus, from one instant to before another, slot by slot in the
    /// order of time and, within a slot, in no useful order.
    pub fn facts(&self, tenant: Symbol, key: ColumnKey, range: Range, mut see: impl FnMut(StoredFact)) {
        self.columns(tenant, key, range, |column, slot_ms| {
            column.facts(slot_ms, self.epoch).filter(|fact| range.contains(fact.at_ms)).for_each(&mut see);
        });
    }

    /// Calls `see` with every fact of a column that stands: stated and not taken back.
    pub fn standing(&self, tenant: Symbol, key: ColumnKey, range: Range, mut see: impl FnMut(StoredFact)) {
        self.netted(tenant, key, range, |fact| {
            if fact.weight == Weight::Plus {
                see(fact);
            }
        });
    }

    /// Calls `see` with every fact of a column, plus and minus, pairs of a fact and its inverse left out.
    pub fn netted(&self, tenant: Symbol, key: ColumnKey, range: Range, mut see: impl FnMut(StoredFact)) {
        self.columns(tenant, key, range, |column, slot_ms| {
            let facts = column.facts(slot_ms, self.epoch).filter(|fact| range.contains(fact.at_ms));
            // Read after the length: a minus that is not counted here is not among the facts either.
            if column.minus.load(Ordering::Relaxed) == 0 {
                facts.for_each(&mut see);
                return;
            }
            let mut net: HashMap<StoredFact, i64> = HashMap::new();
            for fact in facts {
                *net.entry(StoredFact { weight: Weight::Plus, ..fact }).or_default() += fact.weight.sign();
            }
            for (fact, count) in net {
                let weight = if count < 0 { Weight::Minus } else { Weight::Plus };
                (0..count.unsigned_abs()).for_each(|_| see(StoredFact { weight, ..fact }));
            }
        });
    }

    fn columns(&self, tenant: Symbol, key: ColumnKey, range: Range, mut see: impl FnMut(&Column, i64)) {
        // The lock on the tenant's shard is given back before anything is scanned.
        let Some(tenant) = self.grid.tenants.get(&tenant).map(|tenant| Arc::clone(&tenant)) else { return };
        let count = tenant.day_count.load(Ordering::Acquire);
        let mut days: Vec<&Day> = (0..count)
            .filter_map(|place| tenant.days.get(u32::try_from(place).ok()?))
            .map(Box::as_ref)
            .filter(|day| range.overlaps(day.number * DAY_MS, DAY_MS))
            .collect();
        days.sort_unstable_by_key(|day| day.number);
        for day in days {
            let slots = (day.number * DAY_MS..).step_by(900_000).zip(&day.slots);
            for (slot_ms, slot) in slots.filter(|(slot_ms, _)| range.overlaps(*slot_ms, SLOT_MS)) {
                if let Some(column) = slot.get().and_then(|slot| slot.column(key)) {
                    see(column, slot_ms);
                }
            }
        }
    }
}

/// A span of time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first instant in it.
    pub from_inclusive: i64,
    /// The first instant after it.
    pub to_exclusive: i64,
}

impl Range {
    /// Everything up to an instant.
    #[must_use]
    pub fn up_to_inclusive(at_ms: i64) -> Self {
        Self { from_inclusive: Timestamp::MIN.millis(), to_exclusive: at_ms.saturating_add(1) }
    }

    fn contains(self, at_ms: i64) -> bool {
        (self.from_inclusive..self.to_exclusive).contains(&at_ms)
    }

    fn overlaps(self, start_ms: i64, length_ms: i64) -> bool {
        start_ms < self.to_exclusive && start_ms + length_ms > self.from_inclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{DimensionValues, Names};

    const ALL: Range = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };

    fn fact(names: &Names, at_ms: i64, value: i64) -> Fact {
        Fact {
            measure: Measure::FirstResponse,
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            at: Timestamp::clamped(at_ms),
            series: names.series(&DimensionValues::default()),
            value,
            weight: Weight::Plus,
        }
    }

    fn values(view: &View, tenant: Symbol, range: Range) -> Vec<i64> {
        let mut values = Vec::new();
        view.standing(tenant, ColumnKey::of(Measure::FirstResponse), range, |fact| values.push(fact.value));
        values.sort_unstable();
        values
    }

    #[test]
    fn a_view_sees_what_was_published_before_it_and_nothing_later() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid();
        let subject = recorder.add_subject("c1".into());
        recorder.record(tenant, subject, &fact(&names, 5, 10));
        assert_eq!(values(&reader.view(), tenant, ALL), []);
        recorder.publish();
        let early = reader.view();
        recorder.record(tenant, subject, &fact(&names, 5, 10).inverse());
        recorder.record(tenant, subject, &fact(&names, 5, 20));
        recorder.publish();
        assert_eq!(values(&early, tenant, ALL), [10]);
        assert_eq!(values(&reader.view(), tenant, ALL), [20]);
        assert_eq!(reader.view().subject(subject).as_deref(), Some("c1"));
    }

    #[test]
    fn a_range_is_cut_to_the_millisecond_across_slots_days_and_before_1970() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid();
        let subject = recorder.add_subject("c1".into());
        let instants = [-DAY_MS - 1, -1, 0, SLOT_MS - 1, SLOT_MS, DAY_MS - 1, DAY_MS, 400 * DAY_MS];
        for (at_ms, value) in instants.into_iter().zip(0i64..).collect::<Vec<_>>().into_iter().rev() {
            recorder.record(tenant, subject, &fact(&names, at_ms, value));
        }
        recorder.publish();
        for (from, to) in [(0, 8), (1, 4), (2, 3), (4, 7), (5, 5)] {
            let end = instants.get(to).copied().unwrap_or(i64::MAX / 2);
            let range = Range { from_inclusive: instants[from], to_exclusive: end };
            assert_eq!(values(&reader.view(), tenant, range), (0..8).take(to).skip(from).collect::<Vec<_>>());
        }
        assert_eq!(values(&reader.view(), names.symbol("other"), ALL), []);
    }

    #[test]
    fn readers_on_other_threads_always_see_whole_blocks() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid();
        let subject = recorder.add_subject("c1".into());
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let reader = reader.clone();
                    scope.spawn(move || {
                        let mut last = 0;
                        while last < 20_000 {
                            let seen = values(&reader.view(), tenant, ALL).len();
                            assert!(seen >= last && seen.is_multiple_of(10), "{seen} after {last}");
                            last = seen;
                        }
                    })
                })
                .collect();
            for block in 0..2_000 {
                (0..10).for_each(|n| recorder.record(tenant, subject, &fact(&names, block % 7, n)));
                recorder.publish();
            }
            for reader in readers {
                reader.join().expect("no panic");
            }
        });
    }
}
