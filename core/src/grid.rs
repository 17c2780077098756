//! The lock-free store of facts: one writer, any number of readers, nobody waits for anybody.
//!
//! Facts that share instant, series and subject are one row. Rows are kept in append-only columns, one for each tenant, day and
//! [form](form), which says for which facts a row stands. A row is a few atomic words that its only writer stores once; a column's
//! length is published with a release store. Nothing ever moves, so readers
//! never meet freed memory. A column is cut into chunks that know the instants they span, so that a short range skips most of a
//! day; most tenants have few facts a day in most columns, and then a column is small.
//!
//! Each fact knows the *epoch* (the block of the log) that brought it. A [`View`] reads at one epoch and skips what came
//! later, so every question is answered as of a block boundary, however fast the writer goes on.
//!
//! Facts that were put away (see [`crate::archive`]) may be given up here: a day is then what stands in the archive together with what
//! has come since, and a reader sees each fact once. Which it is, a view learns with its epoch, in one atomic load; what it has
//! begun to read stays until it is dropped.

pub mod cells;
mod chunk;
mod column;
#[cfg(test)]
mod column_tests;
mod form;
#[cfg(test)]
mod interleavings;
mod read_back;

/// What a column is made of, where its writer and its readers meet.
mod sync {
    pub(super) use std::sync::OnceLock;
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// The bytes of a stretch of a column's piece.
    pub(super) const STRETCH: usize = 1 << 9;
}

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::fast::RandomState;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Change, Key, Kind, Parts, Unreadable, decode, encode};
use crate::event::Id;
use crate::fact::{Anchor, Clock, Fact, Measure, Weight};
use crate::series::{SeriesId, Symbol};
use crate::time::Timestamp;

use cells::{Advice, Cell, Extent, Extents, Lens, QUARTER_HOUR_MS, Room, Shelf, Values};
use chunk::{ChunkRef, Facts};
use column::{Columns, Stretch, Writer};
use form::{Draft, Forms, Member};
use read_back::ReadBack;

pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// So many chunks of about one size are made into one.
const MERGE: usize = 8;
/// What part of the room for facts cells may take.
const CELLS_SHARE: usize = 8;
/// The most facts in a chunk as it is first written; a merged one holds a few times as many, about ten bytes each.
const CHUNK_FACTS: usize = 1 << 19;

/// The number of a subject within its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectNumber(pub(crate) u32);

/// A subject among those of all partitions of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalSubject {
    grid: usize,
    number: SubjectNumber,
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

/// What facts measure.
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

/// A day of a tenant: what stands in the archive, and what is here.
#[derive(Debug)]
struct Day {
    /// Days since 1970.
    number: i64,
    /// Chunks of facts, none of which is in `columns`.
    put_away: Arc<[ChunkRef]>,
    columns: Arc<Columns>,
    /// The epoch of the newest fact, which may not be published yet.
    last_epoch: Arc<AtomicU64>,
    /// What readers have summed up.
    cells: Shelf,
    /// What they have read of the chunks.
    read_back: Arc<ReadBack>,
}

impl Day {
    fn begin_ms(&self) -> i64 {
        self.number * DAY_MS
    }

    /// How much there is of a measure; what was put away never changes.
    fn extent(&self, key: usize) -> Extent {
        let mut extent = Extent { columns: 0, bytes: 0, is_more_put_away: !self.put_away.is_empty() };
        for (column, _) in self.columns.with(key) {
            extent.columns += 1;
            extent.bytes += column.bytes();
        }
        extent
    }
}

/// What readers see: replaced as a whole.
#[derive(Debug)]
struct Visible {
    epoch: u64,
    /// Each tenant's days, ascending.
    tenants: Arc<TenantsDays>,
}

type TenantsDays = HashMap<Symbol, Arc<[Arc<Day>]>, RandomState>;

#[derive(Debug)]
struct Grid {
    partition: u32,
    archive: Arc<dyn Archive>,
    visible: ArcSwap<Visible>,
    /// The ids of subjects that cannot be looked up in the archive yet.
    subjects: DashMap<u32, Id>,
    /// For cells.
    room: Arc<Room>,
}

/// A new grid, or what was put away of one: the one who writes it and the first who reads it.
pub fn grid(partition: u32, archive: Arc<dyn Archive>) -> Result<(Recorder, Reader), Unreadable> {
    let mut days = Days::default();
    let mut damage = Ok(());
    let mut next_chunk = 0;
    let mut see = |key: &[u8], value: &[u8]| -> Result<(), Unreadable> {
        let mut parts = Parts::of(key);
        let (tenant, number) = (Symbol::from_number(parts.u32()?)?, parts.i64()?);
        let chunk = ChunkRef { number: parts.u32()?, facts: decode(value)? };
        next_chunk = next_chunk.max(chunk.number + 1);
        days.of(tenant, number).put_away.push(chunk);
        Ok(())
    };
    let sizes = Key::new(partition, Kind::ChunkSize).done();
    archive.scan(&sizes, &mut |key, value| {
        if damage.is_ok() {
            damage = see(key, value);
        }
    })?;
    damage?;
    // Nobody reads what was left over from before the start.
    let mut leftovers = Vec::new();
    archive.scan(&Key::new(partition, Kind::Leftover).done(), &mut |key, _| {
        leftovers.push(Parts::of(key).rest().to_vec());
    })?;
    let leftovers = leftovers.into_iter().map(|key| Leftover { key, readers: Vec::new() }).collect();

    let visible = Visible { epoch: 0, tenants: Arc::default() };
    let (visible, room) = (ArcSwap::from_pointee(visible), Arc::new(Room::new()));
    let grid = Arc::new(Grid { partition, archive, visible, subjects: DashMap::new(), room });
    let changed = days.tenants.keys().copied().collect();
    let mut recorder = Recorder {
        grid: Arc::clone(&grid),
        days,
        changed,
        unsaved: Vec::new(),
        epoch: 1,
        next_chunk,
        next_subject: 0,
        bytes: 0,
        leftovers,
        subjects: Vec::new(),
        fragmented: HashSet::new(),
        nothing: Arc::new(Columns::new()),
        forms: Forms::default(),
    };
    recorder.publish();
    Ok((recorder, Reader { grid }))
}

/// The only writer of a grid: it cannot be cloned.
#[derive(Debug)]
pub struct Recorder {
    grid: Arc<Grid>,
    days: Days,
    /// Tenants whose list of days readers have to be shown anew.
    changed: HashSet<Symbol>,
    /// Days with facts that have not been put away.
    unsaved: Vec<(Symbol, i64)>,
    epoch: u64,
    next_chunk: u32,
    next_subject: u32,
    /// Memory taken by days, about.
    bytes: usize,
    leftovers: Vec<Leftover>,
    /// Subjects that are new since the last checkpoint began.
    subjects: Vec<u32>,
    /// Days that may have chunks to merge.
    fragmented: HashSet<(Symbol, i64)>,
    /// What a day has here when all of it was put away.
    nothing: Arc<Columns>,
    forms: Forms,
}

/// The days of all tenants.
#[derive(Debug, Default)]
struct Days {
    list: Vec<DayWriter>,
    /// Where a tenant's days are in the list.
    tenants: HashMap<Symbol, HashMap<i64, usize, RandomState>, RandomState>,
    /// The day that was asked for last: facts that follow each other are mostly of one.
    last: usize,
}

impl Days {
    fn get(&mut self, tenant: Symbol, number: i64) -> Option<&mut DayWriter> {
        self.list.get_mut(*self.tenants.get(&tenant)?.get(&number)?)
    }

    /// A tenant's day, which may be new.
    fn of(&mut self, tenant: Symbol, number: i64) -> &mut DayWriter {
        let is_it = |day: &DayWriter| day.tenant == tenant && day.number == number;
        if !self.list.get(self.last).is_some_and(is_it) {
            self.last = *self.tenants.entry(tenant).or_default().entry(number).or_insert_with(|| {
                self.list.push(DayWriter::new(tenant, number));
                self.list.len() - 1
            });
        }
        &mut self.list[self.last]
    }

    fn of_tenant(&self, tenant: Symbol) -> Vec<usize> {
        self.tenants.get(&tenant).map(|days| days.values().copied().collect()).unwrap_or_default()
    }
}

/// A day as its writer sees it.
#[derive(Debug)]
struct DayWriter {
    tenant: Symbol,
    /// Days since 1970.
    number: i64,
    put_away: Vec<ChunkRef>,
    /// Chunks in the archive whose facts are still here, too.
    in_both: Vec<ChunkRef>,
    columns: Option<Writer>,
    /// The memory of `columns`.
    bytes: usize,
    is_unsaved: bool,
    /// How many facts have come since the last checkpoint.
    fresh: usize,
    /// The epoch of the newest fact.
    last_epoch: Arc<AtomicU64>,
    /// As readers see it; `None` when that has to be made anew.
    visible: Option<Arc<Day>>,
    /// All that readers may still have.
    versions: Vec<Weak<Day>>,
}

impl DayWriter {
    fn new(tenant: Symbol, number: i64) -> Self {
        Self {
            tenant,
            number,
            put_away: Vec::new(),
            in_both: Vec::new(),
            columns: None,
            bytes: 0,
            is_unsaved: false,
            fresh: 0,
            last_epoch: Arc::default(),
            visible: None,
            versions: Vec::new(),
        }
    }

    fn visible(&mut self, nothing: &Arc<Columns>) -> Arc<Day> {
        if let Some(visible) = &self.visible {
            return Arc::clone(visible);
        }
        let columns = Arc::clone(self.columns.as_ref().map_or(nothing, Writer::columns));
        let put_away: Arc<[ChunkRef]> = self.put_away.as_slice().into();
        let last_epoch = Arc::clone(&self.last_epoch);
        let before = self.versions.last().and_then(Weak::upgrade).filter(|before| before.put_away == put_away);
        let read_back = before.map(|before| Arc::clone(&before.read_back)).unwrap_or_default();
        let cells = Shelf::new();
        let visible = Arc::new(Day { number: self.number, put_away, columns, last_epoch, cells, read_back });
        self.versions.retain(|version| version.strong_count() > 0);
        self.versions.push(Arc::downgrade(&visible));
        self.visible = Some(Arc::clone(&visible));
        visible
    }
}

/// A chunk that others have taken the place of: to be removed once nobody reads it any more.
#[derive(Debug)]
struct Leftover {
    key: Vec<u8>,
    readers: Vec<Weak<Day>>,
}

/// A day's facts that are to be written down.
#[derive(Debug)]
pub(crate) struct Unwritten {
    partition: u32,
    tenant: Symbol,
    number: i64,
    columns: Arc<Columns>,
    /// That of the last facts.
    epoch: u64,
    first_chunk: u32,
}

/// A day's facts that have been written down.
#[derive(Debug)]
pub(crate) struct Written {
    tenant: Symbol,
    day: i64,
    chunks: Vec<ChunkRef>,
}

impl Unwritten {
    /// Writes them down.
    pub(crate) fn write(&self, changes: &mut Vec<Change>) -> Written {
        let Self { partition, tenant, number, columns, epoch, first_chunk } = self;
        let mut written = Written { tenant: *tenant, day: *number, chunks: Vec::new() };
        let mut facts = Facts::default();
        let mut finish = |facts: &mut Facts| {
            let chunk_number = first_chunk + u32::try_from(written.chunks.len()).expect("fewer than 2^32 chunks");
            let chunk = ChunkRef { number: chunk_number, facts: u32::try_from(facts.len()).expect("a bounded number") };
            let key = |kind| day_key(*partition, kind, *tenant, *number).u32(chunk.number).done();
            changes.push(Change { key: key(Kind::Chunk), value: Some(facts.encode()) });
            changes.push(Change { key: key(Kind::ChunkSize), value: Some(encode(&chunk.facts)) });
            written.chunks.push(chunk);
            *facts = Facts::default();
        };
        let day_ms = number * DAY_MS;
        for (_, column) in columns.iter() {
            let mut count = 0;
            for (_, row) in column.fresh(day_ms, *epoch) {
                for member in column.form().members() {
                    let place = u16::try_from(member.key()).expect("below 2^16");
                    facts.push(place, day_ms, &row.fact(*member));
                    if facts.len() >= CHUNK_FACTS {
                        finish(&mut facts);
                    }
                }
                count += 1;
            }
            column.are_put_away(count);
        }
        if facts.len() > 0 {
            finish(&mut facts);
        }
        written
    }
}

/// Subjects whose ids readers cannot look up in the archive yet.
#[derive(Debug)]
pub(crate) struct NewSubjects {
    grid: Arc<Grid>,
    numbers: Vec<u32>,
}

impl NewSubjects {
    /// They can be looked up in the archive now.
    pub(crate) fn forget(self) {
        for number in self.numbers {
            self.grid.subjects.remove(&number);
        }
    }
}

/// Chunks of a day to be made into one.
#[derive(Debug)]
pub struct Merge {
    partition: u32,
    tenant: Symbol,
    day: i64,
    from: Vec<ChunkRef>,
    to: u32,
}

/// A [`Merge`] that was worked out.
#[derive(Debug)]
pub struct Merged {
    merge: Merge,
    facts: u32,
}

impl Merge {
    /// Reads the chunks and works out what has to be written: the new one in the place of the old ones, all or nothing.
    pub fn work_out(self, archive: &dyn Archive) -> Result<(Vec<Change>, Merged), Unreadable> {
        let key = |kind, number| day_key(self.partition, kind, self.tenant, self.day).u32(number).done();
        let mut chunks = Vec::with_capacity(self.from.len());
        for chunk in &self.from {
            let missing = || Unreadable(format!("chunk {} of day {} is missing", chunk.number, self.day));
            chunks.push(archive.get(&key(Kind::Chunk, chunk.number))?.ok_or_else(missing)?);
        }
        let (bytes, facts) = chunk::merge(&chunks)?;
        let mut changes = vec![
            Change { key: key(Kind::Chunk, self.to), value: Some(bytes) },
            Change { key: key(Kind::ChunkSize, self.to), value: Some(encode(&facts)) },
        ];
        for chunk in &self.from {
            changes.push(Change { key: key(Kind::ChunkSize, chunk.number), value: None });
            let old = key(Kind::Chunk, chunk.number);
            let leftover = Key::new(self.partition, Kind::Leftover).bytes(&old).done();
            changes.push(Change { key: leftover, value: Some(Vec::new()) });
        }
        Ok((changes, Merged { merge: self, facts }))
    }
}

fn day_key(partition: u32, kind: Kind, tenant: Symbol, day: i64) -> Key {
    Key::new(partition, kind).u32(tenant.number()).i64(day)
}

impl Recorder {
    /// Gives a subject its number.
    ///
    /// # Panics
    /// After 2^32 - 1 subjects in one partition.
    pub fn add_subject(&mut self, id: Id) -> SubjectNumber {
        let number = self.next_subject;
        self.next_subject = number.checked_add(1).expect("fewer than 2^32 subjects in a partition");
        self.grid.subjects.insert(number, id);
        self.subjects.push(number);
        SubjectNumber(number)
    }

    /// The number the next subject gets.
    pub(crate) fn next_subject(&self) -> u32 {
        self.next_subject
    }

    /// The number the next chunk of facts gets.
    pub(crate) fn next_chunk(&self) -> u32 {
        self.next_chunk
    }

    /// Goes on numbering subjects and chunks from here.
    pub(crate) fn go_on_from(&mut self, next_subject: u32, next_chunk: u32) {
        self.next_subject = next_subject;
        self.next_chunk = self.next_chunk.max(next_chunk);
    }

    /// Records facts about a subject. Readers see them after [`Self::publish`].
    pub fn record(&mut self, tenant: Symbol, subject: SubjectNumber, facts: &[Fact]) {
        for facts in facts.chunks(u64::BITS as usize) {
            // Those that are not in a row yet, a bit each.
            let mut left = u64::MAX >> (u64::BITS as usize - facts.len());
            while let Some(first) = facts.get(left.trailing_zeros() as usize) {
                let mut draft = Draft::new(first.at.millis(), first.series, subject);
                let mut looked_at = left;
                while let Some(fact) = facts.get(looked_at.trailing_zeros() as usize) {
                    let place = looked_at & looked_at.wrapping_neg();
                    looked_at &= !place;
                    let &Fact { measure, anchor, clock, at, series, value, weight } = fact;
                    if series == first.series
                        && at == first.at
                        && draft.add(ColumnKey { measure, anchor, clock }.number(), weight, value)
                    {
                        left &= !place;
                    }
                }
                self.write(tenant, &draft);
            }
        }
    }

    fn write(&mut self, tenant: Symbol, draft: &Draft) {
        let Some(form) = self.forms.number(draft) else {
            draft.apart().for_each(|alone| self.write(tenant, &alone));
            return;
        };
        let number = draft.row.at_ms.div_euclid(DAY_MS);
        let day = self.days.of(tenant, number);
        if !day.is_unsaved {
            day.is_unsaved = true;
            self.unsaved.push((tenant, number));
        }
        day.last_epoch.store(self.epoch, Ordering::Relaxed);
        day.fresh += draft.len();
        let mut grown = 0;
        let columns = day.columns.get_or_insert_with(|| {
            day.visible = None;
            grown += Writer::MEMORY;
            self.changed.insert(tenant);
            Writer::new()
        });
        grown += columns.push(form, &draft.row, &self.forms, number * DAY_MS, self.epoch);
        day.bytes += grown;
        self.bytes += grown;
    }

    /// Shows readers everything recorded so far, at once.
    pub fn publish(&mut self) {
        let mut tenants = Arc::clone(&self.grid.visible.load().tenants);
        if !self.changed.is_empty() {
            let mut fresh = HashMap::clone(&tenants);
            for tenant in self.changed.drain() {
                let days = self.days.of_tenant(tenant);
                let mut days: Vec<Arc<Day>> =
                    days.into_iter().map(|day| self.days.list[day].visible(&self.nothing)).collect();
                days.sort_unstable_by_key(|day| day.number);
                fresh.insert(tenant, days.into());
            }
            tenants = Arc::new(fresh);
        }
        self.grid.visible.store(Arc::new(Visible { epoch: self.epoch, tenants }));
        self.epoch += 1;
    }

    /// Whether there are facts that have not been put away.
    pub(crate) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// About how many bytes of memory the facts take, and what readers summed up of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.grid.room.taken()
    }

    /// Every fact published so far that has not been put away, to be written down at leisure, by any thread; and what is left
    /// over is removed. Until [`Self::written`] has been told of it, there must be no other.
    pub(crate) fn put_away(&mut self, changes: &mut Vec<Change>) -> Vec<Unwritten> {
        let partition = self.grid.partition;
        let mut unwritten = Vec::new();
        for (tenant, number) in std::mem::take(&mut self.unsaved) {
            let Some(day) = self.days.get(tenant, number) else {
                continue;
            };
            day.is_unsaved = false;
            let chunks = std::mem::take(&mut day.fresh).div_ceil(CHUNK_FACTS).max(1);
            let Some(columns) = day.columns.as_ref().map(|writer| Arc::clone(writer.columns())) else { continue };
            let first_chunk = self.next_chunk;
            self.next_chunk += u32::try_from(chunks).expect("fewer than 2^32 chunks");
            unwritten.push(Unwritten { partition, tenant, number, columns, epoch: self.epoch - 1, first_chunk });
        }
        self.leftovers.retain(|leftover| {
            let is_read = leftover.readers.iter().any(|day| day.strong_count() > 0);
            if !is_read {
                changes.push(Change { key: leftover.key.clone(), value: None });
                let mark = Key::new(partition, Kind::Leftover).bytes(&leftover.key).done();
                changes.push(Change { key: mark, value: None });
            }
            is_read
        });
        unwritten
    }

    /// Facts have been put away.
    pub(crate) fn written(&mut self, written: &Written) {
        let Written { tenant, day: number, chunks } = written;
        let Some(day) = self.days.get(*tenant, *number) else { return };
        day.in_both.extend(chunks);
        if day.in_both.len() + day.put_away.len() >= MERGE {
            self.fragmented.insert((*tenant, *number));
        }
    }

    /// The subjects that are new since the last call.
    pub(crate) fn new_subjects(&mut self) -> NewSubjects {
        NewSubjects { grid: Arc::clone(&self.grid), numbers: std::mem::take(&mut self.subjects) }
    }

    /// Chunks to be made into one, at most so many times. All of them have to be in the archive, and none be merged already.
    pub(crate) fn merges(&mut self, at_most: usize) -> Vec<Merge> {
        let mut merges = Vec::new();
        for (tenant, number) in std::mem::take(&mut self.fragmented) {
            if merges.len() >= at_most {
                self.fragmented.insert((tenant, number));
                continue;
            }
            let Some(day) = self.days.get(tenant, number) else { continue };
            // Only chunks of one list: those whose facts are here, or those whose facts are not.
            let from = [&day.in_both, &day.put_away].into_iter().find_map(|list| of_one_size(list));
            if let Some(from) = from {
                let partition = self.grid.partition;
                merges.push(Merge { partition, tenant, day: number, from, to: self.next_chunk });
                self.next_chunk += 1;
            }
        }
        merges
    }

    /// Chunks have been made into one, in the archive.
    pub(crate) fn merged(&mut self, Merged { merge, facts }: Merged) {
        let Merge { partition, tenant, day: number, from, to } = merge;
        let Some(day) = self.days.get(tenant, number) else { return };
        for list in [&mut day.in_both, &mut day.put_away] {
            if from.iter().all(|chunk| list.contains(chunk)) {
                list.retain(|chunk| !from.contains(chunk));
                list.push(ChunkRef { number: to, facts });
            }
        }
        day.visible = None;
        self.changed.insert(tenant);
        self.fragmented.insert((tenant, number));
        self.leftovers.extend(from.iter().map(|chunk| Leftover {
            key: day_key(partition, Kind::Chunk, tenant, number).u32(chunk.number).done(),
            readers: day.versions.clone(),
        }));
    }

    /// Leaves cells a share of so many bytes, and gives them all up where they and the facts take more than that.
    pub(crate) fn limit_cells(&mut self, to_bytes: usize) {
        self.grid.room.set(to_bytes / CELLS_SHARE);
        if self.bytes() > to_bytes {
            // Whoever asks again makes them again.
            for day in self.days.list.iter().filter_map(|day| day.visible.as_ref()) {
                day.cells.clear();
                day.read_back.clear();
            }
        }
    }

    /// Gives up facts that are in the archive, those of the longest untouched days first, until they take at most so many
    /// bytes. Everything put away must be in the archive.
    pub(crate) fn shrink(&mut self, to_bytes: usize) {
        self.limit_cells(to_bytes);
        if self.bytes <= to_bytes {
            return;
        }
        let mut days: Vec<&mut DayWriter> = self.days.list.iter_mut().filter(|day| !day.in_both.is_empty()).collect();
        days.sort_unstable_by_key(|day| day.last_epoch.load(Ordering::Relaxed));
        for day in days {
            if self.bytes <= to_bytes {
                return;
            }
            let Some(old) = day.columns.take() else { continue };
            self.bytes -= day.bytes;
            day.bytes = 0;
            if day.is_unsaved {
                let mut columns = Writer::new();
                day.bytes = Writer::MEMORY;
                for (form, column) in old.columns().iter() {
                    for (epoch, row) in column.fresh(day.number * DAY_MS, u64::MAX) {
                        day.bytes += columns.push(*form, &row, &self.forms, day.number * DAY_MS, epoch);
                    }
                }
                day.columns = Some(columns);
                self.bytes += day.bytes;
            }
            day.put_away.append(&mut day.in_both);
            day.visible = None;
            self.changed.insert(day.tenant);
        }
    }
}

/// Enough chunks of about one size to be made into one: the oldest, and no more than that, so that a merge stays small.
fn of_one_size(chunks: &[ChunkRef]) -> Option<Vec<ChunkRef>> {
    let mut by_size: BTreeMap<u32, Vec<ChunkRef>> = BTreeMap::new();
    for chunk in chunks.iter().filter(|chunk| (chunk.facts as usize) < CHUNK_FACTS / 2) {
        by_size.entry(chunk.facts.max(1).ilog2() / 3).or_default().push(*chunk);
    }
    let mut enough = by_size.into_values().find(|chunks| chunks.len() >= MERGE)?;
    enough.sort_unstable_by_key(|chunk| chunk.number);
    enough.truncate(MERGE);
    Some(enough)
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
        View { grid: Arc::clone(&self.grid), visible: self.grid.visible.load_full(), effort: Arc::default() }
    }
}

/// What looking for a measure in a day counts as, in bytes, and what a fact that was read back.
const A_LOOK: usize = 64;
const A_FACT: usize = 8;
/// Up to how much of a day is worth having read all of it.
const SHORT_MS: i64 = DAY_MS / 4;

/// What a question may still read, over all its views and threads; it can be called off.
#[derive(Debug)]
pub struct Effort {
    /// In bytes of columns and chunks, and for cells of as many as take as long to read.
    left: AtomicU64,
    is_called_off: AtomicBool,
    /// Whether what was put away may be read, which takes a disk's time.
    reads_put_away: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self::of(u64::MAX)
    }
}

impl Effort {
    /// So many bytes.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes), is_called_off: AtomicBool::new(false), reads_put_away: true }
    }

    /// So many bytes, all in memory: it is spent where something was put away.
    #[must_use]
    pub fn in_memory(bytes: u64) -> Self {
        Self { reads_put_away: false, ..Self::of(bytes) }
    }

    /// Ends all reading, about a day later: nobody waits for the answer any more.
    pub fn call_off(&self) {
        self.is_called_off.store(true, Ordering::Relaxed);
    }

    /// Whether it was called off.
    #[must_use]
    pub fn is_called_off(&self) -> bool {
        self.is_called_off.load(Ordering::Relaxed)
    }

    /// Whether more was to be read than there was left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Takes so many bytes; false when they are not to be read.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_spent() || self.is_called_off()
    }
}

/// A grid at one instant of its life: what is published later is not seen.
#[derive(Debug, Clone)]
pub struct View {
    grid: Arc<Grid>,
    visible: Arc<Visible>,
    effort: Arc<Effort>,
}

impl View {
    /// The same view for a question that may read no more than `effort` has left. Where that is spent, or called off, what is read ends
    /// early: the result is then to be thrown away.
    #[must_use]
    pub fn within(&self, effort: &Arc<Effort>) -> Self {
        Self { effort: Arc::clone(effort), ..self.clone() }
    }

    /// What may still be read.
    #[must_use]
    pub fn effort(&self) -> &Effort {
        &self.effort
    }

    /// The epoch it is of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.visible.epoch
    }

    /// The epoch of the newest fact of a tenant: at most one beyond this view's, where that is not published yet.
    #[must_use]
    pub fn last_change(&self, tenant: Symbol) -> u64 {
        let days = self.visible.tenants.get(&tenant).map(|days| &days[..]).unwrap_or_default();
        days.iter().map(|day| day.last_epoch.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// From the first day with any facts of a tenant to the last; nothing where there are none. What has held since ever has no day.
    #[must_use]
    pub fn held(&self, tenant: Symbol) -> Option<Range> {
        let mut begins = self.visible.tenants.get(&tenant)?.iter().map(|day| day.begin_ms());
        let first = begins.find(|begin_ms| *begin_ms > Timestamp::MIN.millis())?;
        Some(Range { from_inclusive: first, to_exclusive: begins.next_back().unwrap_or(first) + DAY_MS })
    }

    /// Whether much of what questions would have left for others found no room, and [`Self::sweep`] could make some.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        self.grid.room.is_short()
    }

    /// Gives up what questions left for others and nobody has read since the last sweep. Looks at every day of every tenant.
    pub fn sweep(&self) {
        self.grid.room.begin_sweep();
        for day in self.visible.tenants.values().flat_map(|days| days.iter()) {
            day.cells.sweep();
            day.read_back.sweep();
        }
    }

    /// The number of the partition.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.grid.partition
    }

    /// Every tenant with any facts, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = Symbol> {
        self.visible.tenants.keys().copied()
    }

    /// The id of the subject with this number.
    pub fn subject(&self, number: SubjectNumber) -> Result<Option<Id>, Unreadable> {
        if let Some(id) = self.grid.subjects.get(&number.0) {
            return Ok(Some(id.clone()));
        }
        if !self.effort.reads_put_away {
            self.effort.left.store(0, Ordering::Relaxed);
            return Ok(None);
        }
        crate::state::id_in(&*self.grid.archive, self.grid.partition, number)
    }

    /// Tells a subject of this grid from those of all others, for as long as the view is kept.
    #[must_use]
    pub fn global(&self, number: SubjectNumber) -> GlobalSubject {
        GlobalSubject { grid: Arc::as_ptr(&self.grid).addr(), number }
    }

    /// Calls `see` with every fact of a key, plus and minus, from one instant to before another, day by day in the order of
    /// time and, within a day, in no useful order. Some that take each other back may be left out.
    pub fn facts(
        &self,
        tenant: Symbol,
        key: ColumnKey,
        range: Range,
        mut see: impl FnMut(StoredFact),
    ) -> Result<(), Unreadable> {
        self.days(tenant, key, range, |day| {
            day.facts(Weight::Plus, self.visible.epoch, &mut see);
            day.facts(Weight::Minus, self.visible.epoch, &mut see);
        })
    }

    /// Calls `see` with every fact of a key that stands: stated and not taken back.
    pub fn standing(
        &self,
        tenant: Symbol,
        key: ColumnKey,
        range: Range,
        mut see: impl FnMut(StoredFact),
    ) -> Result<(), Unreadable> {
        self.days(tenant, key, range, |day| day.standing(self.visible.epoch, &mut see))
    }

    /// Calls `see` with every fact of a key, plus and minus, pairs of a fact and its inverse left out.
    pub fn netted(
        &self,
        tenant: Symbol,
        key: ColumnKey,
        range: Range,
        mut see: impl FnMut(StoredFact),
    ) -> Result<(), Unreadable> {
        self.days(tenant, key, range, |day| day.netted(self.visible.epoch, &mut see))
    }

    fn days(
        &self,
        tenant: Symbol,
        key: ColumnKey,
        range: Range,
        mut see: impl FnMut(DayColumn),
    ) -> Result<(), Unreadable> {
        let Some(days) = self.visible.tenants.get(&tenant) else { return Ok(()) };
        let number = key.number();
        let first = days.partition_point(|day| day.begin_ms() + DAY_MS <= range.from_inclusive);
        for day in days[first..].iter().take_while(|day| day.begin_ms() < range.to_exclusive) {
            if !self.effort.take(A_LOOK) {
                return Ok(());
            }
            let column = self.column(tenant, day, number, range)?;
            if !self.effort.take(column.bytes()) {
                return Ok(());
            }
            if !column.is_empty() {
                see(column);
            }
        }
        Ok(())
    }

    /// What a day holds of a measure in a range.
    fn column<'a>(
        &self,
        tenant: Symbol,
        day: &'a Day,
        number: usize,
        range: Range,
    ) -> Result<DayColumn<'a>, Unreadable> {
        let (put_away, day_ms) = (self.put_away(tenant, day, number, range)?, day.begin_ms());
        let mut here = Vec::new();
        for (column, member) in day.columns.with(number) {
            column.stretches(day_ms, range, |stretch| here.push((member, stretch)));
        }
        Ok(DayColumn { day_ms, range, put_away, here })
    }

    /// Calls `see` with every fact of a key that stands, or with [cells](cells) in the place of many of them, where the intervals that
    /// a day lies in can be told apart by its quarter hours: `bounds` are those of the intervals, ascending. With a lens a cell may be of all series
    /// that agree in its dimensions, under the name of one of them.
    pub fn summed(
        &self,
        tenant: Symbol,
        key: ColumnKey,
        bounds: &[i64],
        mut lens: Option<Lens<'_>>,
        mut see: impl FnMut(Seen<'_>),
    ) -> Result<(), Unreadable> {
        let (Some(from_inclusive), Some(to_exclusive)) = (bounds.first().copied(), bounds.last().copied()) else {
            return Ok(());
        };
        let range = Range { from_inclusive, to_exclusive };
        let Some(days) = self.visible.tenants.get(&tenant) else { return Ok(()) };
        let (number, epoch) = (key.number(), self.visible.epoch);
        let first = days.partition_point(|day| day.begin_ms() + DAY_MS <= from_inclusive);
        for day in days[first..].iter().take_while(|day| day.begin_ms() < to_exclusive) {
            if !self.effort.take(A_LOOK) {
                return Ok(());
            }
            let (begin_ms, end_ms) = (day.begin_ms(), day.begin_ms() + DAY_MS);
            let before = bounds.partition_point(|bound| *bound <= begin_ms);
            let within = bounds[before..].partition_point(|bound| *bound < end_ms);
            let cutting = &bounds[before..before + within];
            // Of the day, between its begin and its end where these are asked for.
            let begin = (before > 0).then_some(begin_ms);
            let end = (before + within < bounds.len()).then_some(end_ms);
            let is_quartered = cutting.iter().all(|bound| bound.rem_euclid(QUARTER_HOUR_MS) == 0);
            // What came up to the view's epoch had set the day's before that was published.
            let newest = Some(day.last_epoch.load(Ordering::Relaxed)).filter(|newest| *newest <= epoch);
            let is_asked = self.effort.reads_put_away;
            let extents = Extents { newest, extent: &|| day.extent(number), is_asked };
            let advice = if is_quartered {
                day.cells.advise(number, lens.as_ref(), &extents, (epoch, cutting.is_empty()), &self.grid.room)
            } else {
                Advice::Facts
            };
            if let Advice::Cells(cells) = &advice {
                let of_day: Vec<i64> = begin.into_iter().chain(cutting.iter().copied()).chain(end).collect();
                if cells.each(&of_day, |bytes| self.effort.take(bytes), &mut see) {
                    continue;
                }
            }
            let to_sum_up = matches!(advice, Advice::SumUp).then(|| day.extent(number));
            let column = self.column(tenant, day, number, to_sum_up.map_or(range, |_| Range::ALL))?;
            // What was put away may not have been read to its end.
            if !self.effort.take(column.bytes()) {
                return Ok(());
            }
            let to_sum_up = to_sum_up.filter(|_| column.is_all(epoch));
            let mut values = to_sum_up.map(|_| Values::new(begin_ms));
            column.standing(epoch, |fact| {
                if let Some(values) = &mut values {
                    values.push(&fact);
                }
                if range.contains(fact.at_ms) {
                    see(Seen::Fact(fact));
                }
            });
            let Some((extent, values)) = to_sum_up.zip(values) else { continue };
            day.cells.sum_up(number, &mut lens, (extent, epoch), values, &self.grid.room);
        }
        Ok(())
    }

    /// The facts of a column of a day that are not here, those of a range or more.
    fn put_away(&self, tenant: Symbol, day: &Day, number: usize, range: Range) -> Result<read_back::Facts, Unreadable> {
        let mut facts = Vec::new();
        if day.put_away.is_empty() {
            return Ok(read_back::Facts::Read(facts));
        }
        if let Some(kept) = day.read_back.get(number, range) {
            let is_left = self.effort.take(kept.as_slice().len() * A_FACT);
            return Ok(if is_left { kept } else { read_back::Facts::Read(facts) });
        }
        if !self.effort.reads_put_away {
            self.effort.left.store(0, Ordering::Relaxed);
            return Ok(read_back::Facts::Read(facts));
        }
        let column = u16::try_from(number).expect("below 2^16");
        for chunk in &*day.put_away {
            let key = day_key(self.grid.partition, Kind::Chunk, tenant, day.number).u32(chunk.number).done();
            let missing = || Unreadable(format!("chunk {} of day {} is missing", chunk.number, day.number));
            let bytes = self.grid.archive.get(&key)?.ok_or_else(missing)?;
            if !self.effort.take(bytes.len()) {
                return Ok(read_back::Facts::Read(facts));
            }
            chunk::facts(&bytes, column, day.begin_ms(), |fact| facts.push(fact))?;
        }
        // Who asks for more of a day mostly gets cells from the third time on, which take less room.
        let (begin_ms, end_ms) = (day.begin_ms(), day.begin_ms() + DAY_MS);
        let is_short = range.to_exclusive.min(end_ms) - range.from_inclusive.max(begin_ms) <= SHORT_MS;
        let room = &self.grid.room;
        Ok(if is_short { day.read_back.leave(number, facts, range, room) } else { read_back::Facts::Read(facts) })
    }
}

/// What a day holds of a measure in a range: what was put away of it, and where there are rows of it here.
struct DayColumn<'a> {
    day_ms: i64,
    range: Range,
    put_away: read_back::Facts,
    here: Vec<(Member, Stretch<'a>)>,
}

/// A fact that stands, or what many of them come to; among [cells](cells) facts may be of no subject, and stand at the begin of their quarter
/// hour.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// One.
    Fact(StoredFact),
    /// Many of one series, in one interval.
    Cell(Cell<'a>),
}

impl DayColumn<'_> {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.put_away.as_slice().is_empty()
    }

    /// How many bytes have to be read, beside what was put away.
    fn bytes(&self) -> usize {
        self.here.iter().map(|(_, stretch)| stretch.bytes()).sum()
    }

    /// Whether no facts have come after an epoch.
    fn is_all(&self, epoch: u64) -> bool {
        self.here.iter().all(|(_, stretch)| stretch.rows(self.day_ms).all(|(came, _)| came <= epoch))
    }

    fn standing(&self, epoch: u64, mut see: impl FnMut(StoredFact)) {
        self.netted(epoch, |fact| {
            if fact.weight == Weight::Plus {
                see(fact);
            }
        });
    }

    fn netted(&self, epoch: u64, mut see: impl FnMut(StoredFact)) {
        // Far fewer than are stated: mostly a bit for their instants says that a fact is not among them.
        let mut taken_back: HashMap<StoredFact, u64, RandomState> = HashMap::default();
        let mut instants = 0;
        self.facts(Weight::Minus, epoch, |fact| {
            instants |= instant_bit(fact.at_ms);
            *taken_back.entry(StoredFact { weight: Weight::Plus, ..fact }).or_default() += 1;
        });
        self.facts(Weight::Plus, epoch, |fact| {
            let may_be_taken_back = instants & instant_bit(fact.at_ms) != 0;
            let times = if may_be_taken_back { taken_back.get_mut(&fact) } else { None };
            match times.filter(|times| **times > 0) {
                Some(times) => *times -= 1,
                None => see(fact),
            }
        });
        for (fact, count) in taken_back {
            (0..count).for_each(|_| see(StoredFact { weight: Weight::Minus, ..fact }));
        }
    }

    /// Calls `see` with those of one weight up to an epoch.
    #[inline]
    fn facts(&self, weight: Weight, epoch: u64, mut see: impl FnMut(StoredFact)) {
        let is_in = |at_ms: i64| self.range.contains(at_ms);
        let put_away = self.put_away.as_slice().iter();
        put_away.filter(|fact| fact.weight == weight && is_in(fact.at_ms)).for_each(|fact| see(*fact));
        for (member, stretch) in self.here.iter().filter(|(member, _)| member.weight() == weight) {
            let rows = stretch.rows(self.day_ms).take_while(|(came, _)| *came <= epoch);
            rows.filter(|(_, row)| is_in(row.at_ms)).for_each(|(_, row)| see(row.fact(*member)));
        }
    }
}

/// A bit for an instant; others may have the same.
fn instant_bit(at_ms: i64) -> u64 {
    // Instants are often whole seconds: those of an odd multiple differ in their highest bits.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    1 << (at_ms.cast_unsigned().wrapping_mul(SPREAD) >> 58)
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

    /// All of time.
    const ALL: Self = Self { from_inclusive: i64::MIN, to_exclusive: i64::MAX };

    pub(crate) fn contains(self, at_ms: i64) -> bool {
        (self.from_inclusive..self.to_exclusive).contains(&at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::EmptyArchive;
    use crate::series::{DimensionValues, Names};

    const ALL: Range = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };
    const HOUR_MS: i64 = 60 * 60 * 1_000;

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
        let column = ColumnKey::of(Measure::FirstResponse);
        view.standing(tenant, column, range, |fact| values.push(fact.value)).expect("readable");
        values.sort_unstable();
        values
    }

    #[test]
    fn a_view_sees_what_was_published_before_it_and_nothing_later() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let subject = recorder.add_subject("c1".into());
        recorder.record(tenant, subject, &[fact(&names, 5, 10)]);
        assert_eq!(values(&reader.view(), tenant, ALL), []);
        recorder.publish();
        let early = reader.view();
        recorder.record(tenant, subject, &[fact(&names, 5, 10).inverse(), fact(&names, 5, 20)]);
        recorder.publish();
        assert_eq!(values(&early, tenant, ALL), [10]);
        assert_eq!(values(&reader.view(), tenant, ALL), [20]);
        assert_eq!(reader.view().subject(subject).expect("readable").as_deref(), Some("c1"));
    }

    #[test]
    fn a_range_is_cut_to_the_millisecond_across_days_and_before_1970() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let subject = recorder.add_subject("c1".into());
        let instants = [-DAY_MS - 1, -1, 0, HOUR_MS - 1, HOUR_MS, DAY_MS - 1, DAY_MS, 400 * DAY_MS];
        for (at_ms, value) in instants.into_iter().zip(0i64..).collect::<Vec<_>>().into_iter().rev() {
            recorder.record(tenant, subject, &[fact(&names, at_ms, value)]);
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
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
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
                let facts: Vec<Fact> = (0..10).map(|n| fact(&names, block % 7, n)).collect();
                recorder.record(tenant, subject, &facts);
                recorder.publish();
            }
            for reader in readers {
                reader.join().expect("no panic");
            }
        });
    }

    #[test]
    fn a_column_keeps_every_fact_in_chunks_of_all_sizes() {
        let names = Names::default();
        let tenant = names.symbol("t");
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let subject = recorder.add_subject("c1".into());
        let mut grown = recorder.bytes();
        for n in 0..10_000 {
            recorder.record(tenant, subject, &[fact(&names, n * 8_000, n)]);
            assert!(recorder.bytes() >= grown);
            grown = recorder.bytes();
        }
        recorder.publish();
        assert_eq!(values(&reader.view(), tenant, ALL), (0..10_000).collect::<Vec<_>>());
        for (from, to) in [(0, 1), (59, 61), (60, 64), (1_019, 1_021), (1_500, 9_999), (9_990, 10_000)] {
            let range = Range { from_inclusive: from * 8_000, to_exclusive: to * 8_000 };
            assert_eq!(values(&reader.view(), tenant, range), (from..to).collect::<Vec<_>>());
        }
        assert!((60_000..120_000).contains(&grown), "{grown} bytes for 10,000 facts");
    }
}
