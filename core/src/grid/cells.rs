//! Dense facts: what a measure of a day comes to, summed up.
//!
//! Most columns are sparse: about one fact for each series and quarter hour, so that a sum of each would take as much room and as much
//! time to read as the facts. Where many facts share a series and a quarter hour, or a day, a reader sums them up and leaves the result
//! with the day, for the readers after it: *cells*, each a count and a distribution. Nothing is taken from what a writer does, and
//! the facts stay: who asks for subjects, for minutes or for exact bounds reads those.
//!
//! Of most series there are few facts, but a question looks at some of their dimensions only: through that [`Lens`] series that agree there
//! are one, and the cells of a day are few. Such cells are kept for the questions that look at the same dimensions, whatever values they
//! ask for.
//!
//! Cells are made of all that stands of a day once a question has seen it twice without a change, and hold as long as nothing is added
//! to it. They are swapped in as a whole. Where intervals begin or end within a day, as the days of most time zones do, cells of its
//! longer stretches are made when they are asked for.

#[cfg(test)]
mod tests;

use std::ops;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;

use super::{DAY_MS, Range, Seen, StoredFact, SubjectNumber};
use crate::dimension::Dimension;
use crate::fact::Weight;
use crate::histogram::{Bucket, bucket_of};
use crate::series::SeriesId;

/// The length of a short cell: every time zone's days and hours begin and end with one.
pub const QUARTER_HOUR_MS: i64 = 15 * 60 * 1_000;

/// From how many facts on a day is worth cells, where it is in memory, and up to how many are summed up at once.
const BUSY: usize = 16;
const MOST: usize = 1 << 22;
/// A fact alone takes at least so many bytes.
const LEAST_BYTES: usize = 5;
/// How many facts a cell must stand for, on average: drawn by measurement, see `benches/core/cells.rs`.
pub(super) const DENSE: usize = 8;
/// The same through a lens, which saves looking up each fact's series, too.
const DENSE_THROUGH_LENS: usize = 2;
/// The most measures and lenses a day keeps anything of.
const LEFT: usize = 64;
/// From how many quarter hours on a stretch of a day has cells of its own.
const LONG: u8 = 8;
/// The most stretches a day keeps cells of: as many as it has long ones.
const STRETCHES: usize = 96 / LONG as usize;

/// Which dimensions a question looks at, and for each series one that stands for all that agree with it in these.
pub struct Lens<'a> {
    /// The dimensions, in order, each once.
    pub dimensions: &'a Arc<[Dimension]>,
    /// Whom a series is counted with.
    pub stand_in: &'a mut dyn FnMut(SeriesId) -> SeriesId,
}

impl std::fmt::Debug for Lens<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lens").field("dimensions", self.dimensions).finish_non_exhaustive()
    }
}

/// A count and a distribution of the values of one series, in a quarter hour or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// Where the quarter hour or the day begins, in milliseconds since 1970.
    pub at_ms: i64,
    /// The dimension values.
    pub series: SeriesId,
    /// How many facts stand.
    pub count: u64,
    /// The sum of their values.
    pub sum: i128,
    /// The least value.
    pub min: i64,
    /// The greatest.
    pub max: i64,
    /// The filled buckets of their distribution.
    pub buckets: &'a [Bucket],
}

/// What tells whether anything was added to the facts of a measure in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) columns: usize,
    pub(super) bytes: usize,
    /// Whether there are facts in the archive, too.
    pub(super) is_more_put_away: bool,
}

impl Extent {
    fn may_be_busy(self) -> bool {
        self.is_more_put_away || self.bytes >= BUSY * LEAST_BYTES
    }
}

/// A cell without its buckets, which stand in a list of all: up to where.
#[derive(Debug)]
struct Kept {
    slot: u8,
    series: SeriesId,
    count: u64,
    sum: i128,
    min: i64,
    max: i64,
    upto: u32,
}

/// The value of a fact that stands, and where it belongs: in eight bits its slot, then its series, then its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    place: u64,
    value: i64,
}

impl Value {
    const SERIES: u32 = 24;
    const SLOT: u32 = 56;

    fn new(slot: u8, series: SeriesId, value: i64) -> Self {
        let bucket = u64::from(bucket_of(value));
        Self { place: u64::from(slot) << Self::SLOT | u64::from(series.0) << Self::SERIES | bucket, value }
    }

    fn seen_as(self, stand_in: &mut dyn FnMut(SeriesId) -> SeriesId) -> Self {
        let (slot, series) = self.cell();
        let bucket = u64::from(self.bucket());
        let SeriesId(series) = stand_in(series);
        Self { place: u64::from(slot) << Self::SLOT | u64::from(series) << Self::SERIES | bucket, ..self }
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are its parts")]
    fn cell(self) -> (u8, SeriesId) {
        ((self.place >> Self::SLOT) as u8, SeriesId((self.place >> Self::SERIES) as u32))
    }

    /// As a fact at the begin of its quarter hour, of no subject in particular.
    fn fact(self, day_ms: i64) -> StoredFact {
        let (slot, series) = self.cell();
        let at_ms = day_ms + i64::from(slot) * QUARTER_HOUR_MS;
        StoredFact { at_ms, series, subject: SubjectNumber(0), value: self.value, weight: Weight::Plus }
    }

    fn drop_slot(&mut self) {
        self.place &= (1 << Self::SLOT) - 1;
    }

    fn bucket(self) -> u16 {
        u16::try_from(self.place & ((1 << Self::SERIES) - 1)).expect("it was made of one")
    }
}

/// The facts of a measure in a day that stand, to be summed up.
#[derive(Debug)]
pub(super) struct Values {
    day_ms: i64,
    /// `None` where there were too many.
    list: Option<Vec<Value>>,
}

impl Values {
    pub(super) fn new(day_ms: i64) -> Self {
        Self { day_ms, list: Some(Vec::new()) }
    }

    pub(super) fn push(&mut self, fact: &StoredFact) {
        let Some(list) = &mut self.list else { return };
        let slot = u8::try_from((fact.at_ms - self.day_ms) / QUARTER_HOUR_MS).expect("a day has 96 quarter hours");
        list.push(Value::new(slot, fact.series, fact.value));
        if list.len() > MOST {
            self.list = None;
        }
    }

    /// Cells, where there are enough facts for them, and room.
    fn made(&self, worth: Worth, epoch: u64, room: &Arc<Room>) -> Found {
        let Some(mut values) = self.list.clone().filter(|values| values.len() >= worth.least) else {
            return Found::Sparse;
        };
        values.sort_unstable();
        let quarters = Sums::of(&values, worth.quarter_hours, self.day_ms, QUARTER_HOUR_MS);
        let list: Option<Box<[Value]>> = (worth.keeps_values && quarters.is_none()).then(|| values.as_slice().into());
        values.iter_mut().for_each(Value::drop_slot);
        values.sort_unstable();
        let day = Sums::of(&values, worth.days, self.day_ms, DAY_MS);
        let bytes: usize = [&quarters, &day].into_iter().flatten().map(Sums::bytes).sum();
        let bytes = bytes + list.as_deref().map_or(0, size_of_val::<[Value]>) + size_of::<Cells>() + size_of::<Left>();
        if quarters.is_none() && day.is_none() {
            return Found::Sparse;
        }
        let Some(taken) = room.take(bytes) else {
            room.refuse(bytes);
            return Found::NoRoom(bytes);
        };
        let (stretches, is_used) = (ArcSwap::default(), AtomicBool::new(true));
        Found::Dense(Arc::new(Cells { day_ms: self.day_ms, quarters, list, day, stretches, epoch, is_used, taken }))
    }
}

/// When cells are worth their room: how many facts there must be in all, and in each on average.
#[derive(Debug, Clone, Copy)]
struct Worth {
    least: usize,
    quarter_hours: usize,
    days: usize,
    /// Whether values are worth keeping where there are no cells of quarter hours.
    keeps_values: bool,
}

/// Cells, ordered by their begin.
#[derive(Debug)]
pub(super) struct Sums {
    begin_ms: i64,
    slot_ms: i64,
    cells: Box<[Kept]>,
    buckets: Box<[Bucket]>,
}

impl Sums {
    /// Sorted values; `None` where they are not dense.
    fn of(values: &[Value], dense: usize, begin_ms: i64, slot_ms: i64) -> Option<Self> {
        let is_same_cell = |a: &Value, b: &Value| a.cell() == b.cell();
        let count = values.chunk_by(is_same_cell).count();
        if count * dense > values.len() {
            return None;
        }
        let (mut cells, mut buckets) = (Vec::with_capacity(count), Vec::new());
        for cell in values.chunk_by(is_same_cell) {
            for same in cell.chunk_by(|a, b| a.place == b.place) {
                buckets.extend(Bucket::many(same[0].bucket(), same.len() as u64));
            }
            let (slot, series) = cell[0].cell();
            let values = cell.iter().map(|value| value.value);
            cells.push(Kept {
                slot,
                series,
                count: cell.len() as u64,
                sum: values.clone().map(i128::from).sum(),
                min: values.clone().min()?,
                max: values.max()?,
                upto: u32::try_from(buckets.len()).ok()?,
            });
        }
        Some(Self { begin_ms, slot_ms, cells: cells.into(), buckets: buckets.into() })
    }

    /// What cells that begin from one instant of the day on, before another, come to as one for each series.
    fn of_cells(cells: &mut [Cell], begin_ms: i64) -> Option<Self> {
        cells.sort_unstable_by_key(|cell| cell.series);
        let (mut kept, mut buckets) = (Vec::new(), Vec::<Bucket>::new());
        let mut of_one = Vec::new();
        for same in cells.chunk_by(|a, b| a.series == b.series) {
            of_one.extend(same.iter().flat_map(|cell| cell.buckets).copied());
            of_one.sort_unstable_by_key(|bucket| bucket.number);
            for same in of_one.chunk_by(|a, b| a.number == b.number) {
                let count = same.iter().map(|bucket| u64::from(bucket.count)).sum();
                buckets.extend(Bucket::many(same[0].number, count));
            }
            of_one.clear();
            kept.push(Kept {
                slot: 0,
                series: same[0].series,
                count: same.iter().map(|cell| cell.count).sum(),
                sum: same.iter().map(|cell| cell.sum).sum(),
                min: same.iter().map(|cell| cell.min).min()?,
                max: same.iter().map(|cell| cell.max).max()?,
                upto: u32::try_from(buckets.len()).ok()?,
            });
        }
        Some(Self { begin_ms, slot_ms: 0, cells: kept.into(), buckets: buckets.into() })
    }

    fn all(&self) -> ops::Range<usize> {
        0..self.cells.len()
    }

    /// Which of them begin in a range.
    fn places(&self, range: Range) -> ops::Range<usize> {
        let place = |at_ms: i64| self.cells.partition_point(|cell| self.begin_ms(cell) < at_ms);
        place(range.from_inclusive)..place(range.to_exclusive)
    }

    fn begin_ms(&self, cell: &Kept) -> i64 {
        self.begin_ms + i64::from(cell.slot) * self.slot_ms
    }

    /// Where the buckets of a cell begin.
    fn buckets_from(&self, cell: usize) -> usize {
        cell.checked_sub(1).map_or(0, |before| self.cells[before].upto as usize)
    }

    fn between(&self, places: ops::Range<usize>) -> impl Iterator<Item = Cell<'_>> {
        let mut from = self.buckets_from(places.start);
        self.cells[places].iter().map(move |cell| {
            let &Kept { series, count, sum, min, max, upto, .. } = cell;
            let buckets = &self.buckets[from..upto as usize];
            from = upto as usize;
            Cell { at_ms: self.begin_ms(cell), series, count, sum, min, max, buckets }
        })
    }

    /// How many bytes of facts take about as long to read as some of the cells.
    fn toll(&self, places: &ops::Range<usize>) -> usize {
        const CELL: usize = 8;
        const FURTHER_BUCKET: usize = 4;
        let buckets = self.buckets_from(places.end) - self.buckets_from(places.start);
        places.len() * CELL + (buckets - places.len()) * FURTHER_BUCKET
    }

    fn show(&self, places: ops::Range<usize>, take: &mut impl FnMut(usize) -> bool, see: &mut impl FnMut(Seen<'_>)) {
        if take(self.toll(&places)) {
            for cell in self.between(places) {
                see(Seen::Cell(cell));
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes_of(&self.all())
    }

    fn bytes_of(&self, places: &ops::Range<usize>) -> usize {
        let buckets = self.buckets_from(places.end) - self.buckets_from(places.start);
        places.len() * size_of::<Kept>() + buckets * size_of::<Bucket>()
    }
}

/// What the facts of a measure in a day come to.
#[derive(Debug)]
pub(super) struct Cells {
    day_ms: i64,
    /// `None` where so many facts share none.
    quarters: Option<Sums>,
    /// In the place of these the facts' values, by quarter hour, each with its stand-in: looking it up is what takes longest of reading a fact.
    list: Option<Box<[Value]>>,
    day: Option<Sums>,
    /// The stretches of the day that were made last.
    stretches: ArcSwap<Vec<Arc<Stretch>>>,
    /// The epoch up to which facts are summed up, which are all there are.
    pub(super) epoch: u64,
    /// Whether anybody was advised to read it since the last sweep.
    is_used: AtomicBool,
    taken: Taken,
}

/// What the facts of a stretch of a day come to.
#[derive(Debug)]
struct Stretch {
    range: Range,
    sums: Sums,
    _taken: Taken,
}

impl Cells {
    /// Whether [`Self::each`] has anything to show.
    fn serves(&self, whole_day: bool) -> bool {
        self.quarters.is_some() || if whole_day { self.day.is_some() } else { self.list.is_some() }
    }

    /// Calls `see` with the cells of the day, or of its stretches and quarter hours, between `bounds`: where the intervals begin and end that
    /// it lies in, with its own begin and end in the place of what is before and after. In the place of cells of quarter hours there may be
    /// values under the begin of theirs. False where there is nothing of this. `take` says whether so many bytes are to be read.
    pub(super) fn each(
        &self,
        bounds: &[i64],
        mut take: impl FnMut(usize) -> bool,
        mut see: impl FnMut(Seen<'_>),
    ) -> bool {
        match (&self.day, bounds) {
            (Some(day), [begin_ms, end_ms]) if end_ms - begin_ms == DAY_MS => {
                day.show(day.all(), &mut take, &mut see);
                return true;
            }
            _ if !self.serves(false) => return false,
            _ => {}
        }
        let Some(mut from_inclusive) = bounds.first().copied() else { return true };
        for stretch in bounds.windows(2) {
            let range = Range { from_inclusive: stretch[0], to_exclusive: stretch[1] };
            if range.to_exclusive - range.from_inclusive < i64::from(LONG) * QUARTER_HOUR_MS {
                continue;
            }
            let Some(stretch) = self.stretch(range, &mut take) else { continue };
            let short = Range { from_inclusive, to_exclusive: range.from_inclusive };
            self.quarters(short, &mut take, &mut see);
            stretch.sums.show(stretch.sums.all(), &mut take, &mut see);
            from_inclusive = range.to_exclusive;
        }
        let rest = Range { from_inclusive, to_exclusive: *bounds.last().unwrap_or(&from_inclusive) };
        self.quarters(rest, &mut take, &mut see);
        true
    }

    /// The cells of the quarter hours in a range, or their values.
    fn quarters(&self, range: Range, take: &mut impl FnMut(usize) -> bool, see: &mut impl FnMut(Seen<'_>)) {
        if range.from_inclusive == range.to_exclusive {
            return;
        }
        if let Some(sums) = &self.quarters {
            sums.show(sums.places(range), take, see);
        }
        let values = self.values(range);
        if take(size_of_val(values)) {
            for value in values {
                see(Seen::Fact(value.fact(self.day_ms)));
            }
        }
    }

    /// The values of the quarter hours in a range, where there are no cells of these.
    fn values(&self, range: Range) -> &[Value] {
        let list = self.list.as_deref().unwrap_or_default();
        let slot_of = |at_ms: i64| {
            u64::try_from(at_ms.saturating_sub(self.day_ms).div_euclid(QUARTER_HOUR_MS)).unwrap_or(0).min(96)
        };
        let place_of = |at_ms: i64| {
            let slot = slot_of(at_ms);
            list.partition_point(|value| value.place >> Value::SLOT < slot)
        };
        list.get(place_of(range.from_inclusive)..place_of(range.to_exclusive)).unwrap_or_default()
    }

    /// The cells of a stretch; made now where nobody asked for it lately and there is room, for as many as there are quarter hours or values.
    fn stretch(&self, range: Range, take: &mut impl FnMut(usize) -> bool) -> Option<Arc<Stretch>> {
        if let Some(known) = self.stretches.load().iter().find(|known| known.range == range) {
            return Some(Arc::clone(known));
        }
        let (of_quarters, values) = (self.quarters.as_ref().map(|sums| (sums, sums.places(range))), self.values(range));
        let (toll, most) = match &of_quarters {
            Some((sums, places)) => (sums.toll(places), sums.bytes_of(places)),
            None => (size_of_val(values), values.len() * (size_of::<Kept>() + size_of::<Bucket>())),
        };
        if !take(toll) {
            return None;
        }
        // It has no cell or bucket that the day does not have.
        let most = most.min(self.day.as_ref().map_or(usize::MAX, Sums::bytes)) + size_of::<Stretch>();
        let mut taken = self.taken.room.take(most)?;
        let sums = if let Some((sums, places)) = of_quarters {
            Sums::of_cells(&mut sums.between(places).collect::<Vec<_>>(), range.from_inclusive)?
        } else {
            let mut values = values.to_vec();
            values.iter_mut().for_each(Value::drop_slot);
            values.sort_unstable();
            Sums::of(&values, 0, range.from_inclusive, DAY_MS)?
        };
        taken.leave(sums.bytes() + size_of::<Stretch>());
        let new = Arc::new(Stretch { range, sums, _taken: taken });
        self.stretches.rcu(|known| {
            let others = known.iter().filter(|known| known.range != range);
            let too_many = (others.clone().count() + 1).saturating_sub(STRETCHES);
            others.skip(too_many).chain([&new]).cloned().collect::<Vec<_>>()
        });
        Some(new)
    }
}

/// How much memory the cells of a grid, and what was [read back](super::read_back), take and may take.
///
/// Who finds no room says so, again each time it is asked for, and tries again when there is. Once much was refused it is time to *sweep*: to
/// give up the cells that nobody has read since the last sweep. Who has a clock sees to it that this was a while ago.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: AtomicUsize,
    /// Bytes there was no room for since the last sweep.
    refused: AtomicUsize,
}

/// What cells may take before anybody says.
const ROOM: usize = 64 << 20;
/// The part of the room that has to be refused before a sweep, and at least how much.
const REFUSED: usize = 8;
const LEAST_REFUSED: usize = 1 << 16;

impl Room {
    pub(super) fn new() -> Self {
        Self { taken: AtomicUsize::new(0), most: AtomicUsize::new(ROOM), refused: AtomicUsize::new(0) }
    }

    /// Whether much was refused since the last sweep, and a sweep could make room.
    pub(super) fn is_short(&self) -> bool {
        let enough = (self.most.load(Relaxed) / REFUSED).max(LEAST_REFUSED);
        self.refused.load(Relaxed) >= enough && self.taken() > 0
    }

    /// Every day is about to be [swept](Shelf::sweep).
    pub(super) fn begin_sweep(&self) {
        self.refused.store(0, Relaxed);
    }

    /// What has no room now, and is not too large for all of it.
    pub(super) fn refuse(&self, bytes: usize) {
        if bytes <= self.most.load(Relaxed) {
            self.refused.fetch_add(bytes, Relaxed);
        }
    }

    fn has(&self, bytes: usize) -> bool {
        self.taken().saturating_add(bytes) <= self.most.load(Relaxed)
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    pub(super) fn set(&self, most: usize) {
        self.most.store(most.min(ROOM), Relaxed);
    }

    /// Takes room where there is any.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let most = self.most.load(Relaxed);
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.taken.fetch_update(Relaxed, Relaxed, grown).ok()?;
        Some(Taken { bytes, room: Arc::clone(self) })
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    bytes: usize,
    room: Arc<Room>,
}

impl Taken {
    /// Takes no more than so many bytes from now on.
    fn leave(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.room.taken.fetch_sub(more, Relaxed);
        self.bytes -= more;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Relaxed);
    }
}

/// What a reader left of a measure.
#[derive(Debug)]
enum Found {
    /// It was asked for once.
    Asked,
    /// It is not worth cells.
    Sparse,
    /// There was no room for cells of so many bytes.
    NoRoom(usize),
    Dense(Arc<Cells>),
}

impl Found {
    /// Whether there is no use in making cells.
    fn has_none(&self, room: &Room) -> bool {
        match self {
            Self::Sparse => true,
            Self::NoRoom(bytes) => !room.has(*bytes),
            Self::Asked | Self::Dense(_) => false,
        }
    }
}

/// What readers left of a measure, seen through a lens or not, when it was of an extent.
#[derive(Debug)]
struct Left {
    key: usize,
    lens: Option<Arc<[Dimension]>>,
    extent: Extent,
    /// The epoch of the day's newest fact when somebody last saw that the extent is still the same; [`NEVER`] before.
    same_at: AtomicU64,
    found: Found,
}

impl Left {
    fn is_of(&self, key: usize, lens: Option<&Arc<[Dimension]>>, extent: Extent) -> bool {
        self.key == key && self.lens.as_ref() == lens && self.extent == extent
    }
}

/// No fact is so new.
const NEVER: u64 = u64::MAX;

/// The cells of a day.
#[derive(Debug)]
pub(super) struct Shelf(ArcSwap<Vec<Arc<Left>>>);

/// How much there is of a measure in a day, which takes a walk over its columns.
pub(super) struct Extents<'a> {
    /// The epoch of the day's newest fact, where a reader may see all of that epoch: as long as that is the same, so is every extent.
    pub(super) newest: Option<u64>,
    pub(super) extent: &'a dyn Fn() -> Extent,
    /// Whether this counts as asking; who only tries asks again.
    pub(super) is_asked: bool,
}

/// What to do for a measure.
pub(super) enum Advice {
    /// Read its cells.
    Cells(Arc<Cells>),
    /// Read the facts.
    Facts,
    /// Read the facts, and sum them up for the next reader.
    SumUp,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }

    /// For a reader at an epoch, who asks for the day as a whole or for quarter hours of it.
    pub(super) fn advise(
        &self,
        key: usize,
        lens: Option<&Lens>,
        extents: &Extents,
        (epoch, whole_day): (u64, bool),
        room: &Room,
    ) -> Advice {
        let read = |cells: &Arc<Cells>| {
            // Mostly it is set.
            if !cells.is_used.load(Relaxed) {
                cells.is_used.store(true, Relaxed);
            }
            Advice::Cells(Arc::clone(cells))
        };
        let lens = lens.map(|lens| lens.dimensions);
        let known = self.0.load();
        let left =
            |lens: Option<&Arc<[Dimension]>>| known.iter().find(|left| left.key == key && left.lens.as_ref() == lens);
        let same_as_before = |left: &Left| extents.newest.is_some_and(|newest| left.same_at.load(Relaxed) == newest);
        // Where the newest fact is the same as when the cells were last found to be good, nobody needs to look.
        for left in [left(None), left(lens)].into_iter().flatten().filter(|left| same_as_before(left)) {
            if let Found::Dense(cells) = &left.found
                && cells.epoch <= epoch
                && cells.serves(whole_day)
            {
                return read(cells);
            }
        }
        let extent = (extents.extent)();
        if !extent.may_be_busy() {
            return Advice::Facts;
        }
        let found = |lens| {
            let left = left(lens).filter(|left| left.extent == extent)?;
            if let Some(newest) = extents.newest {
                left.same_at.store(newest, Relaxed);
            }
            Some(&left.found)
        };
        // Cells of every series will do for everybody.
        let found = match found(None) {
            Some(dense @ Found::Dense(cells)) if cells.serves(whole_day) => Some(dense),
            _ => found(lens),
        };
        match found {
            Some(Found::Asked) => Advice::SumUp,
            Some(Found::Dense(cells)) if cells.epoch <= epoch => read(cells),
            Some(Found::NoRoom(bytes)) if room.has(*bytes) => Advice::SumUp,
            Some(Found::NoRoom(bytes)) => {
                room.refuse(*bytes);
                Advice::Facts
            }
            Some(Found::Dense(_) | Found::Sparse) => Advice::Facts,
            None => {
                if extents.is_asked {
                    self.leave(key, lens, extent, Found::Asked);
                }
                Advice::Facts
            }
        }
    }

    /// Leaves for the next readers what a measure comes to: all its facts of this extent, and up to an epoch, that stand.
    pub(super) fn sum_up(
        &self,
        key: usize,
        lens: &mut Option<Lens<'_>>,
        (extent, epoch): (Extent, u64),
        mut values: Values,
        room: &Arc<Room>,
    ) {
        let least = if extent.is_more_put_away { 0 } else { BUSY };
        let has_none = |left: &Arc<Left>| left.is_of(key, None, extent) && left.found.has_none(room);
        if !self.0.load().iter().any(has_none) {
            let worth = Worth { least, quarter_hours: DENSE, days: DENSE, keeps_values: false };
            let made = values.made(worth, epoch, room);
            // Those of days alone do not serve everybody.
            let serves_all = matches!(&made, Found::Dense(cells) if cells.serves(false));
            self.leave(key, None, extent, made);
            if serves_all {
                return;
            }
        }
        if let Some(Lens { dimensions, stand_in }) = lens {
            for value in values.list.iter_mut().flatten() {
                *value = value.seen_as(*stand_in);
            }
            // However few facts a day has of each cell, their series need not be looked up again, nor be read what was put away.
            let worth = Worth { least, quarter_hours: DENSE_THROUGH_LENS, days: 0, keeps_values: true };
            let made = values.made(worth, epoch, room);
            self.leave(key, Some(dimensions), extent, made);
        }
    }

    /// Gives up what nobody was advised to read since the last time.
    pub(super) fn sweep(&self) {
        let known = self.0.load();
        let is_unused =
            |left: &&Arc<Left>| matches!(&left.found, Found::Dense(cells) if !cells.is_used.swap(false, Relaxed));
        let unused: Vec<&Arc<Left>> = known.iter().filter(is_unused).collect();
        if !unused.is_empty() {
            let is_kept = |left: &&Arc<Left>| !unused.iter().any(|unused| Arc::ptr_eq(left, unused));
            self.0.rcu(|known| known.iter().filter(is_kept).cloned().collect::<Vec<_>>());
        }
    }

    fn leave(&self, key: usize, lens: Option<&Arc<[Dimension]>>, extent: Extent, found: Found) {
        let new = Arc::new(Left { key, lens: lens.cloned(), extent, same_at: AtomicU64::new(NEVER), found });
        self.0.rcu(|known| {
            // Two may have summed up at once, where there was room for one.
            let is_dense = |left: &Left| matches!(left.found, Found::Dense(_));
            if !is_dense(&new) && known.iter().any(|left| left.is_of(key, lens, extent) && is_dense(left)) {
                return known.to_vec();
            }
            // What was of another extent is of no use any more.
            let is_other = |left: &&Arc<Left>| left.key != key || (left.extent == extent && left.lens.as_ref() != lens);
            let others: Vec<Arc<Left>> = known.iter().filter(is_other).cloned().collect();
            let longest_ago = (others.len() + 1).saturating_sub(LEFT);
            others.into_iter().skip(longest_ago).chain([Arc::clone(&new)]).collect::<Vec<_>>()
        });
    }

    /// Gives all up.
    pub(super) fn clear(&self) {
        self.0.store(Arc::default());
    }
}
