//! What queries read: mergeable partial figures, collected from the grid.

mod gathered;
mod groups;
mod listed;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use crate::archive::Unreadable;
use crate::dimension::Dimension;
use crate::event::Id;
use crate::fact::{Anchor, Clock, Measure, Weight};
use crate::filter::Filter;
use crate::grid::cells::{Cell, Lens};
use crate::grid::{ColumnKey, Effort, Range, Seen, StoredFact, SubjectNumber, View};
use crate::histogram::Distribution;
use crate::interval::Cut;
use crate::series::{Names, Symbol};
use crate::time::Timestamp;

pub use gathered::Gathered;
use gathered::{followed_by, is_credited};
use groups::{Groups, TableNumber};
pub use listed::{List, Listed, Listing, Place, list};

/// The most groups × buckets an answer may have.
pub const MAX_ROWS: usize = 100_000;
/// What an age of a level counts as, in bytes that are read: a question has at most some 30 million, what is open times the intervals.
const AN_AGE: usize = 512;
/// What a byte counts as that is held for an answer: a question holds at most 1 GiB of the ages of levels, and of whose they are.
const HELD: usize = 16;
/// The most subjects named for a level.
pub const MAX_NEXT: usize = 100;
/// The most distinct values of one answer, over all groups and intervals.
pub const MAX_DISTINCT: usize = 2_000_000;

/// How the facts of a part are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The number of facts that stand.
    Count,
    /// The distribution of their values.
    Distribution,
    /// The number of distinct subjects they are about.
    Distinct,
    /// The distinct values.
    DistinctValues,
    /// The number of subjects with two facts or more.
    Repeated,
    /// The number of facts whose value, a customer or a contact, does not begin a conversation within
    /// [`FIRST_CONTACT_WINDOW_MS`](crate::conversation::FIRST_CONTACT_WINDOW_MS).
    NotFollowed,
    /// The level at the end of each interval.
    Level,
    /// The level just before the start of each interval.
    LevelAtStart,
    /// The distribution of a level's steps of +1 and -1 after the start of each interval, up to its end.
    LevelChange,
    /// The level and the ages (end of the interval less value) of what makes it up.
    LevelAge,
    /// The level and those of its subjects that have the least values.
    LevelNext,
    /// The area under a level within each interval, up to now: each fact's value times how long it lasts, as the sum.
    Time,
}

/// Measures and how to sum them up, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The measures.
    pub measures: Vec<Measure>,
    /// At which end of what is measured.
    pub anchor: Anchor,
    /// On which clock. Where the tenant has no business hours, both are the same.
    pub clock: Clock,
    /// How to sum them up.
    pub reduction: Reduction,
    /// Bounds, inclusive, for which the values at or below are counted, exactly.
    pub at_most: Vec<i64>,
    /// Which facts count, beside the plan's filter.
    pub filter: Filter,
}

/// What to collect.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The figures.
    pub parts: Vec<Part>,
    /// Which facts count.
    pub filter: Filter,
    /// What to group by.
    pub group_by: Vec<Dimension>,
    /// Which groups are told apart; `None` for all.
    pub only: Option<Only>,
    /// The intervals.
    pub cut: Cut,
    /// The instant of the question.
    pub now: Timestamp,
    /// How many rows a group comes to at least: one, or one for each bucket where gaps are to be filled.
    pub rows_a_group: usize,
}

impl Plan {
    /// The plan for parts of its time, up to so many, that have no rows in common; `held` is where there are facts. `None` where an interval says
    /// something of what came before it, or [parts](Cut::in_parts) would be short.
    #[must_use]
    pub fn in_parts(&self, count: usize, held: impl FnOnce() -> Option<Range>) -> Option<Vec<Self>> {
        let Self { parts, filter, group_by, only, cut, now, rows_a_group } = self;
        if !parts.iter().all(|part| part.reduction.is_of_each_interval()) {
            return None;
        }
        let of_cut = |cut| Self {
            parts: parts.clone(),
            filter: filter.clone(),
            group_by: group_by.clone(),
            only: only.clone(),
            cut,
            now: *now,
            rows_a_group: *rows_a_group,
        };
        Some(cut.in_parts(count, held)?.into_iter().map(of_cut).collect())
    }
}

impl Reduction {
    /// Whether what there is before an interval says nothing about it.
    fn is_of_each_interval(self) -> bool {
        match self {
            Self::Count
            | Self::Distribution
            | Self::Distinct
            | Self::DistinctValues
            | Self::Repeated
            | Self::NotFollowed => true,
            Self::Level | Self::LevelAtStart | Self::LevelChange | Self::LevelAge | Self::LevelNext | Self::Time => {
                false
            }
        }
    }
}

/// How much may still be made of a plan, by all who collect parts of it that have no rows in common.
#[derive(Debug)]
pub struct Allowance {
    rows: AtomicUsize,
    /// About: what is over is noticed when all are merged.
    distinct: AtomicUsize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { rows: AtomicUsize::new(MAX_ROWS), distinct: AtomicUsize::new(MAX_DISTINCT) }
    }
}

impl Allowance {
    /// How many rows there are so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        MAX_ROWS - self.rows.load(Relaxed)
    }

    /// Takes so many; false where there are not as many left.
    fn take(left: &AtomicUsize, count: usize) -> bool {
        left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(count)).is_ok()
    }
}

/// What to collect of a tenant, every plan of the same moment.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The tenant, or [`ALL_TENANTS`](crate::subject::ALL_TENANTS).
    pub tenant: String,
    /// The plans.
    pub plans: Vec<Plan>,
    /// From how many rows of a plan on the moment is kept for later calls; `None`: it is not needed any more.
    pub pin_from_rows: Option<u32>,
}

/// What collections came to, all of one moment: `P` says how far a partition was counted, `T` is what was made of some rows of a plan, no
/// two of which have a row in common, `E` why a collection came to nothing.
#[derive(Debug)]
pub struct Collected<P, T, E> {
    /// How far each partition was counted.
    pub positions: Vec<P>,
    /// For each collection what was made of all rows of each plan, of all partitions.
    pub made: Vec<Result<Vec<Vec<T>>, E>>,
    /// The number of the moment; 0 where it is not kept.
    pub moment: u64,
    /// Everything acknowledged before is counted.
    pub asked_at: Timestamp,
}

/// A partial figure of one group in one bucket. Merges exactly with those of other partitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partial {
    /// The number of facts or distinct subjects, or the level.
    pub count: i64,
    /// The distribution of the values (or ages), where asked for.
    pub distribution: Distribution,
    /// What most have nothing of, apart: an answer has many.
    pub more: Option<Box<More>>,
}

/// What only some figures are made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct More {
    /// How many values (or ages) are at or below each bound.
    pub at_most: Vec<u64>,
    /// For ages: the subject of the greatest.
    pub oldest: Option<Id>,
    /// The distinct values, where asked for.
    pub distinct: HashSet<i64>,
    /// The least values and whose they are, where asked for; at most [`MAX_NEXT`], sorted.
    pub next: Vec<(i64, Id)>,
}

impl Partial {
    /// Adds another partition's figure.
    pub fn merge(&mut self, other: &Self) {
        if let Some(theirs) = &other.more {
            let (their_max, our_max) = (other.distribution.max(), self.distribution.max());
            let ours = self.more_mut();
            let theirs_is_older = (their_max, &ours.oldest) > (our_max, &theirs.oldest);
            if theirs.oldest.is_some() && (ours.oldest.is_none() || theirs_is_older) {
                ours.oldest.clone_from(&theirs.oldest);
            }
            if ours.at_most.is_empty() {
                ours.at_most.clone_from(&theirs.at_most);
            } else {
                ours.at_most.iter_mut().zip(&theirs.at_most).for_each(|(ours, theirs)| *ours += theirs);
            }
            ours.distinct.extend(&theirs.distinct);
            ours.next.extend(theirs.next.iter().cloned());
            ours.keep_next();
        }
        self.count += other.count;
        self.distribution.merge(&other.distribution);
    }

    /// What only some figures are made of; empty where there is nothing of it.
    #[must_use]
    pub fn more(&self) -> &More {
        static NOTHING: LazyLock<More> = LazyLock::new(More::default);
        self.more.as_deref().unwrap_or(&NOTHING)
    }

    /// The same, to be changed.
    pub fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn record(&mut self, value: i64, bounds: &[i64]) {
        self.distribution.record(value);
        if bounds.is_empty() {
            return;
        }
        let at_most = &mut self.more_mut().at_most;
        at_most.resize(bounds.len(), 0);
        for (count, bound) in at_most.iter_mut().zip(bounds) {
            *count += u64::from(value <= *bound);
        }
    }
}

impl More {
    fn keep_next(&mut self) {
        self.next.sort_unstable();
        self.next.truncate(MAX_NEXT);
    }
}

/// A group's values, one for each dimension grouped by; `None` where it is not set. No values at all where something is grouped by
/// are those of the others of [`Only`].
pub type Group = Arc<[Option<Arc<str>>]>;

/// Some groups, and what becomes of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// The groups.
    pub groups: HashSet<Group>,
    /// Whether all others make one group; otherwise they are left out.
    pub others: bool,
}

/// The answer has more rows, or takes more work, than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer has more than {MAX_ROWS} rows, or more than {MAX_DISTINCT} distinct values to work out: \
     ask for fewer groups, longer intervals or a shorter range, or leave gaps as they are"
)]
pub struct TooManyRows;

/// The most bytes of facts read for one question: more than a minute's work of a core.
pub const MAX_READ: u64 = 16 << 30;

/// Why nothing was collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCollected {
    /// The question has read as much as it may.
    #[error(
        "the question reads more than {} GiB of facts, or as much work of ages: ask for a shorter range, for longer intervals, or for \
         fewer metrics at once",
        MAX_READ >> 30
    )]
    TooMuchToRead,
    /// Nobody waits for the answer any more.
    #[error("the question was called off")]
    CalledOff,
    /// The question is too large.
    #[error(transparent)]
    TooManyRows(#[from] TooManyRows),
    /// What was put away cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The figures of a group in a bucket: one [`Partial`] for each part of the plan.
pub type Row = ((Group, u32), Vec<Partial>);

/// The figures of every group and bucket with anything in it.
pub type Rows = HashMap<(Group, u32), Vec<Partial>, RandomState>;

/// How many distinct values there are in all.
pub fn distinct<'a>(rows: impl IntoIterator<Item = &'a Vec<Partial>>) -> usize {
    rows.into_iter().flatten().map(|partial| partial.more().distinct.len()).sum()
}

/// Adds the figures of others to some: of other partitions, or of other tenants.
pub fn merge(rows: &mut Rows, others: impl IntoIterator<Item = Row>) {
    for (key, partials) in others {
        match rows.entry(key) {
            Entry::Occupied(mut known) => {
                known.get_mut().iter_mut().zip(&partials).for_each(|(ours, theirs)| ours.merge(theirs));
            }
            Entry::Vacant(place) => drop(place.insert(partials)),
        }
    }
}

/// Collects what a plan asks for from one partition.
pub fn collect(
    view: &View,
    names: &Names,
    tenant: Symbol,
    plan: &Plan,
    gathered: &Gathered,
) -> Result<Rows, NotCollected> {
    let mut groups = Groups::new(names, plan, gathered);
    let (mut rows, left) = (Found::default(), Allowance::default());
    collect_into((&mut rows, &left), &mut groups, view, tenant, plan, gathered)?;
    Ok(rows.take(&mut groups).into_iter().collect())
}

/// Collects what a plan asks for from some partitions, for several tenants together: what was gathered for each stands beside it.
pub fn collect_all<'a>(
    views: &[View],
    names: &Names,
    tenants: impl Iterator<Item = (Symbol, &'a Gathered)>,
    plan: &Plan,
    left: &Allowance,
) -> Result<Vec<Row>, NotCollected> {
    let mut collecting = Collecting::new(names, plan);
    collecting.add(views, tenants, plan, left)?;
    Ok(collecting.take())
}

/// Collects some parts of a plan's time, one after the other.
#[derive(Debug)]
pub struct Collecting<'a> {
    names: &'a Names,
    /// Whom a fact is credited to is a tenant's own: whether no tenant needs that.
    is_shared: bool,
    groups: Groups<'a>,
    found: Found,
    rows: Rows,
}

impl<'a> Collecting<'a> {
    /// Of a plan, of which nothing has been collected.
    #[must_use]
    pub fn new(names: &'a Names, plan: &'a Plan) -> Self {
        static NOTHING: LazyLock<Gathered> = LazyLock::new(Gathered::default);
        let (is_shared, groups) = (!Gathered::is_needed(plan), Groups::new(names, plan, &NOTHING));
        Self { names, is_shared, groups, found: Found::default(), rows: Rows::default() }
    }

    /// Adds what one of the [parts](Plan::in_parts) of the plan, or all of it, asks for. `left` is shared with those who collect others.
    pub fn add<'g>(
        &mut self,
        views: &[View],
        tenants: impl Iterator<Item = (Symbol, &'g Gathered)>,
        part: &'a Plan,
        left: &Allowance,
    ) -> Result<(), NotCollected> {
        for (tenant, gathered) in tenants {
            for view in views {
                if self.is_shared {
                    collect_into((&mut self.found, left), &mut self.groups, view, tenant, part, gathered)?;
                    continue;
                }
                let before = (self.rows.len(), distinct(self.rows.values()));
                merge(&mut self.rows, collect(view, self.names, tenant, part, gathered)?);
                let are_left = Allowance::take(&left.rows, self.rows.len() - before.0)
                    && Allowance::take(&left.distinct, distinct(self.rows.values()) - before.1);
                if !are_left {
                    view.effort().call_off();
                    return Err(TooManyRows.into());
                }
            }
        }
        Ok(())
    }

    /// What came together since the last time: no two rows of the same group and bucket, where nothing was gathered by the alphabet of their
    /// groups' names, what is not set first, then by bucket.
    pub fn take(&mut self) -> Vec<Row> {
        if self.is_shared {
            self.found.take(&mut self.groups)
        } else {
            std::mem::take(&mut self.rows).into_iter().collect()
        }
    }
}

fn collect_into<'a>(
    (rows, left): (&mut Found, &Allowance),
    groups: &mut Groups<'a>,
    view: &View,
    tenant: Symbol,
    plan: &'a Plan,
    gathered: &Gathered,
) -> Result<(), NotCollected> {
    let has_business_hours = has_business_hours(view, tenant)?;
    for (index, part) in plan.parts.iter().enumerate() {
        let partials = Partials::new((&mut *rows, left), plan, index, view.effort());
        let clock = if has_business_hours { part.clock } else { Clock::Calendar };
        let table = groups.table(&part.filter, is_credited(part));
        let mut collector = Collector { view, tenant, plan, part, clock, groups, table, partials };
        match part.reduction {
            Reduction::Count => collector.summed(
                |partial, _| partial.count += 1,
                |partial, cell| {
                    partial.count += cell.count.cast_signed();
                },
            ),
            Reduction::Distribution if part.at_most.is_empty() => collector.summed(
                |partial, fact| {
                    partial.count += 1;
                    partial.distribution.record(fact.value);
                },
                |partial, cell| {
                    partial.count += cell.count.cast_signed();
                    partial.distribution.merge_summed(cell.count, cell.sum, Some((cell.min, cell.max)), cell.buckets);
                },
            ),
            Reduction::Distribution => collector.standing(|partial, fact| {
                partial.count += 1;
                partial.record(fact.value, &part.at_most);
            }),
            Reduction::NotFollowed => {
                let by = followed_by(part);
                collector.standing(|partial, fact| {
                    let is_followed = gathered.followed(by, fact, view.global(fact.subject));
                    partial.count += i64::from(!is_followed);
                })
            }
            Reduction::Distinct => collector.subjects(1),
            Reduction::Repeated => collector.subjects(2),
            Reduction::DistinctValues => collector.distinct_values(),
            Reduction::LevelChange => collector.level_change(),
            Reduction::Level | Reduction::LevelAge | Reduction::LevelNext => collector.levels(plan.cut.ends()),
            Reduction::LevelAtStart => {
                collector.levels(plan.cut.starts().map(|(start_ms, bucket)| (start_ms - 1, bucket)))
            }
            Reduction::Time => collector.time(),
        }?;
        if collector.partials.too_many {
            return Err(TooManyRows.into());
        }
        view.check()?;
    }
    Ok(())
}

impl View {
    /// Whether all that was asked for has been read.
    fn check(&self) -> Result<(), NotCollected> {
        match self.effort() {
            effort if effort.is_called_off() => Err(NotCollected::CalledOff),
            effort if effort.is_spent() => Err(NotCollected::TooMuchToRead),
            _ => Ok(()),
        }
    }
}

fn has_business_hours(view: &View, tenant: Symbol) -> Result<bool, Unreadable> {
    let mut count = 0;
    let at = Range::up_to_inclusive(Timestamp::MIN.millis());
    view.standing(tenant, ColumnKey::of(Measure::BusinessHours), at, |_| count += 1)?;
    Ok(count > 0)
}

/// Collects one part.
struct Collector<'a, 'b, 'g> {
    view: &'a View,
    tenant: Symbol,
    plan: &'a Plan,
    part: &'a Part,
    clock: Clock,
    groups: &'b mut Groups<'g>,
    table: TableNumber,
    partials: Partials<'b>,
}

impl Collector<'_, '_, '_> {
    fn keys(&self) -> impl Iterator<Item = ColumnKey> {
        let (anchor, clock) = (self.part.anchor, self.clock);
        self.part.measures.iter().map(move |measure| ColumnKey { measure: *measure, anchor, clock })
    }

    /// Sees every fact that stands, once for each of its groups.
    fn each(&mut self, mut see: impl FnMut(&mut Partials, u32, u32, &StoredFact)) -> Result<(), Unreadable> {
        let mut cut = self.plan.cut.finder();
        let keys: Vec<ColumnKey> = self.keys().collect();
        for key in keys {
            self.view.standing(self.tenant, key, self.plan.cut.range(), |fact| {
                let Some(bucket) = cut.bucket_of(fact.at_ms).filter(|_| !self.partials.too_many) else { return };
                for group in self.groups.of(self.table, fact.series) {
                    see(&mut self.partials, *group, bucket, &fact);
                }
            })?;
        }
        Ok(())
    }

    /// Sees every fact that passes the filters and stands, once, with what it measures.
    fn each_measure(&mut self, mut see: impl FnMut(Measure, &StoredFact)) -> Result<(), Unreadable> {
        let keys: Vec<ColumnKey> = self.keys().collect();
        for key in keys {
            self.view.standing(self.tenant, key, self.plan.cut.range(), |fact| {
                if !self.groups.of(self.table, fact.series).is_empty() {
                    see(key.measure, &fact);
                }
            })?;
        }
        Ok(())
    }

    fn standing(&mut self, add: impl Fn(&mut Partial, &StoredFact)) -> Result<(), Unreadable> {
        self.each(|partials, group, bucket, fact| {
            if let Some(partial) = partials.get(group, bucket) {
                add(partial, fact);
            }
        })
    }

    /// Adds every fact that stands, or many at once.
    fn summed(
        &mut self,
        add_fact: impl Fn(&mut Partial, &StoredFact),
        add_cell: impl Fn(&mut Partial, &Cell),
    ) -> Result<(), Unreadable> {
        let mut cut = self.plan.cut.finder();
        let keys: Vec<ColumnKey> = self.keys().collect();
        // Whom a fact is credited to is known to a question, not to a day.
        let stand_ins = self.groups.stand_ins(self.table);
        let names = self.groups.names;
        for key in keys {
            let mut stand_in = |series| stand_ins.as_ref().map_or(series, |known| known.stand_in(series, names));
            let lens = stand_ins.as_ref();
            let lens = lens.map(|known| Lens { dimensions: &known.dimensions, stand_in: &mut stand_in });
            self.view.summed(self.tenant, key, self.plan.cut.bounds(), lens, |seen| {
                let (at_ms, series) = match &seen {
                    Seen::Fact(fact) => (fact.at_ms, fact.series),
                    Seen::Cell(cell) => (cell.at_ms, cell.series),
                };
                let Some(bucket) = cut.bucket_of(at_ms).filter(|_| !self.partials.too_many) else { return };
                for group in self.groups.of(self.table, series) {
                    if let Some(partial) = self.partials.get(*group, bucket) {
                        match &seen {
                            Seen::Fact(fact) => add_fact(partial, fact),
                            Seen::Cell(cell) => add_cell(partial, cell),
                        }
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The number of subjects with at least so many facts.
    fn subjects(&mut self, at_least: u32) -> Result<(), Unreadable> {
        let mut seen: HashMap<(u32, u32, SubjectNumber), u32> = HashMap::new();
        self.each(|partials, group, bucket, fact| {
            let count = seen.entry((group, bucket, fact.subject)).or_default();
            *count += 1;
            if *count == at_least
                && let Some(partial) = partials.get(group, bucket)
            {
                partial.count += 1;
            }
        })
    }

    fn distinct_values(&mut self) -> Result<(), Unreadable> {
        // Those who share a plan need not know of each one.
        const AT_ONCE: usize = 1_000;
        // Two tenants' customers of one number are two. An odd number, so that different values stay different.
        const SPREAD: i64 = 0x9E37_79B9_7F4A_7C15_u64.cast_signed();
        let apart = i64::from(self.tenant.number()).wrapping_mul(SPREAD);
        let mut count = 0;
        self.each(|partials, group, bucket, fact| {
            let Some(partial) = partials.get(group, bucket) else { return };
            count += usize::from(partial.more_mut().distinct.insert(fact.value.wrapping_add(apart)));
            if count == AT_ONCE {
                count = 0;
                if !Allowance::take(&partials.left.distinct, AT_ONCE) {
                    partials.give_up();
                }
            }
        })
    }

    /// Sees the steps of levels within a range, pairs of a step and its inverse left out.
    fn steps(&mut self, range: Range, mut see: impl FnMut(&mut Partials, u32, &StoredFact)) -> Result<(), Unreadable> {
        let keys: Vec<ColumnKey> = self.keys().collect();
        for key in keys {
            self.view.netted(self.tenant, key, range, |fact| {
                for group in self.groups.of(self.table, fact.series) {
                    see(&mut self.partials, *group, &fact);
                }
            })?;
        }
        Ok(())
    }

    fn level_change(&mut self) -> Result<(), Unreadable> {
        // As of an instant includes that instant, so that a step at a boundary belongs to the interval before it.
        let cut = &self.plan.cut;
        let Range { from_inclusive, to_exclusive } = cut.range();
        let shifted = Range { from_inclusive: from_inclusive + 1, to_exclusive: to_exclusive.saturating_add(1) };
        self.steps(shifted, |partials, group, fact| {
            if let Some(bucket) = cut.bucket_of(fact.at_ms - 1)
                && let Some(partial) = partials.get(group, bucket)
            {
                partial.record(fact.weight.sign(), &[]);
            }
        })
    }

    /// The steps after an instant and up to another, by time, those of one instant in no order. Those up to the first are handed
    /// to `before` as they come, so that the past of a long life does not have to be held in memory.
    fn steps_between(
        &mut self,
        from_exclusive: i64,
        to_inclusive: i64,
        mut before: impl FnMut(&Step),
    ) -> Result<Vec<Step>, Unreadable> {
        let mut steps = Vec::new();
        self.steps(Range::up_to_inclusive(to_inclusive), |_, group, fact| {
            let StoredFact { at_ms, value, weight, .. } = *fact;
            let step = Step { at_ms, value, group, weight };
            if at_ms <= from_exclusive {
                before(&step);
            } else {
                steps.push(step);
            }
        })?;
        steps.sort_unstable_by_key(|step| step.at_ms);
        Ok(steps)
    }

    /// The level as of some instants, ascending, each with its bucket; an instant itself counts.
    fn levels(&mut self, instants: impl Iterator<Item = (i64, u32)>) -> Result<(), Unreadable> {
        let instants: Vec<(i64, u32)> = instants.collect();
        if instants.is_empty() {
            return Ok(());
        }
        let to_ms = self.plan.cut.range().to_exclusive;
        let with_next = self.part.reduction == Reduction::LevelNext;
        if self.part.reduction != Reduction::LevelAge && !with_next {
            return self.counts(&instants, to_ms);
        }
        let mut changes = Changes::default();
        self.steps(Range::up_to_inclusive(to_ms), |_, group, fact| {
            let seen_from = instants.partition_point(|(at_ms, _)| *at_ms < fact.at_ms);
            changes.add((seen_from, group, fact.subject, fact.value), fact.weight.sign());
        })?;
        let changes = changes.by_instant();
        // What stands is looked at again at each instant from then on.
        let looks_from = |from: usize| i64::try_from(instants.len() - from).expect("a bounded number");
        let looks: i64 = changes.iter().map(|((from, ..), change)| change * looks_from(*from)).sum();
        if !self.view.effort().take(usize::try_from(looks).unwrap_or(0).saturating_mul(AN_AGE)) {
            return Ok(());
        }
        let mut changes = changes.into_iter().peekable();
        let mut level = Level::default();
        for (number, (at_ms, bucket)) in instants.into_iter().enumerate() {
            while let Some(((_, group, subject, value), count)) = changes.next_if(|((from, ..), _)| *from <= number) {
                level.step((group, subject, value), count);
            }
            for (group, count) in level.counts.iter().filter(|(_, count)| **count != 0) {
                let Some(partial) = self.partials.get(*group, bucket) else { return Ok(()) };
                partial.count += count;
            }
            // Between two instants nothing else says that nobody waits any more.
            if self.view.effort().is_over() {
                return Ok(());
            }
            if with_next {
                self.name_next(&level, bucket)?;
            } else {
                self.record_ages(&level, at_ms, bucket)?;
            }
        }
        Ok(())
    }

    /// How high levels are: only what changes from one instant to the next has to be kept.
    fn counts(&mut self, instants: &[(i64, u32)], to_ms: i64) -> Result<(), Unreadable> {
        let mut changes: HashMap<u32, BTreeMap<usize, i64>> = HashMap::new();
        self.steps(Range::up_to_inclusive(to_ms), |_, group, fact| {
            let seen_from = instants.partition_point(|(at_ms, _)| *at_ms < fact.at_ms);
            *changes.entry(group).or_default().entry(seen_from).or_default() += fact.weight.sign();
        })?;
        for (group, changes) in changes {
            let mut level = 0;
            for (number, (_, bucket)) in instants.iter().enumerate() {
                level += changes.get(&number).copied().unwrap_or(0);
                if level != 0 {
                    let Some(partial) = self.partials.get(group, *bucket) else { return Ok(()) };
                    partial.count += level;
                }
            }
        }
        Ok(())
    }

    /// The ages of what makes up a level, and whose the greatest is.
    fn record_ages(&mut self, level: &Level, at_ms: i64, bucket: u32) -> Result<(), Unreadable> {
        // What is open has been open until now, however far ahead the question looks.
        let until_ms = at_ms.min(self.plan.now.millis());
        // For each group the greatest age, whether it is greater than any before this instant, and whose it is.
        let mut oldest: HashMap<u32, (i64, bool, Vec<SubjectNumber>)> = HashMap::new();
        for (group, subject, value) in level.net.keys() {
            let Some(partial) = self.partials.get(*group, bucket) else { return Ok(()) };
            let age_ms = until_ms - value;
            // Several instants may share a bucket.
            let so_far = || partial.distribution.max().unwrap_or(i64::MIN);
            let (greatest, is_older, whose) = oldest.entry(*group).or_insert_with(|| (so_far(), false, Vec::new()));
            partial.record(age_ms, &self.part.at_most);
            if age_ms > *greatest {
                (*greatest, *is_older) = (age_ms, true);
                whose.clear();
            }
            if age_ms == *greatest {
                whose.push(*subject);
            }
        }
        let mut held = 0;
        for (group, (_, is_older, whose)) in oldest {
            // Of equally old ones, the first in the alphabet, so that the answer does not depend on the arrival.
            let names: Vec<Option<Id>> =
                whose.into_iter().map(|subject| self.view.subject(subject)).collect::<Result<_, _>>()?;
            if let Some(partial) = self.partials.get(group, bucket)
                && let Some(first) = names.into_iter().flatten().min()
            {
                let known = partial.more_mut().oldest.take().filter(|_| !is_older);
                partial.more_mut().oldest = Some(known.map_or_else(|| first.clone(), |known| known.min(first.clone())));
                held += partial.distribution.bytes();
            }
        }
        self.view.effort().take(held * HELD);
        Ok(())
    }

    /// The least values of what makes up a level, and whose they are.
    fn name_next(&mut self, level: &Level, bucket: u32) -> Result<(), Unreadable> {
        let mut by_group: HashMap<u32, Vec<(i64, SubjectNumber, i64)>> = HashMap::new();
        for ((group, subject, value), count) in &level.net {
            by_group.entry(*group).or_default().push((*value, *subject, *count));
        }
        for (group, mut all) in by_group {
            let Some(partial) = self.partials.get(group, bucket) else { return Ok(()) };
            all.sort_unstable();
            // Those as near as the last one that is named may come before it in the alphabet.
            let last = all.get(MAX_NEXT - 1).map_or(i64::MAX, |(value, ..)| *value);
            for (value, subject, count) in all.into_iter().take_while(|(value, ..)| *value <= last) {
                if let Some(subject) = self.view.subject(subject)? {
                    // A conversation has a target for each policy.
                    partial
                        .more_mut()
                        .next
                        .extend(std::iter::repeat_n((value, subject), usize::try_from(count).unwrap_or(0)));
                }
            }
            partial.more_mut().keep_next();
            self.view.effort().take(partial.more().next.len() * size_of::<(i64, Id)>() * HELD);
        }
        Ok(())
    }

    /// The area under levels, interval by interval, up to now.
    fn time(&mut self) -> Result<(), Unreadable> {
        let Range { from_inclusive, to_exclusive } = self.plan.cut.range();
        let now_ms = self.plan.now.millis();
        // For each group, what the levels add up to and how many stretches are open.
        let mut running: HashMap<u32, (i64, i64)> = HashMap::new();
        let run = |running: &mut HashMap<u32, (i64, i64)>, step: &Step| {
            let (level, open) = running.entry(step.group).or_default();
            *level += step.weight.sign() * step.value;
            *open += step.weight.sign();
        };
        let to_ms = to_exclusive.min(now_ms);
        let steps = self.steps_between(from_inclusive, to_ms, |step| run(&mut running, step))?;
        let mut steps = steps.into_iter().peekable();
        let intervals: Vec<(i64, i64, u32)> = self
            .plan
            .cut
            .starts()
            .zip(self.plan.cut.ends())
            .map(|((from, bucket), (to, _))| (from, to, bucket))
            .collect();
        for (start_ms, end_ms, bucket) in intervals {
            let end_ms = end_ms.min(now_ms);
            if end_ms <= start_ms {
                return Ok(());
            }
            let mut within: Vec<Step> = Vec::new();
            while let Some(step) = steps.next_if(|step| step.at_ms < end_ms) {
                if step.at_ms > start_ms {
                    within.push(step);
                    continue;
                }
                run(&mut running, &step);
            }
            for (group, (level, open)) in running.iter().filter(|(_, (level, open))| (*level, *open) != (0, 0)) {
                let Some(partial) = self.partials.get(*group, bucket) else { return Ok(()) };
                partial.count += open;
                partial.distribution.add_to_sum(i128::from(*level) * i128::from(end_ms - start_ms));
            }
            for step in within {
                let Some(partial) = self.partials.get(step.group, bucket) else { return Ok(()) };
                let weight = step.weight.sign() * step.value;
                partial.count += i64::from(step.weight.sign() > 0);
                partial.distribution.add_to_sum(i128::from(weight) * i128::from(end_ms - step.at_ms));
                run(&mut running, &step);
            }
        }
        Ok(())
    }
}

/// A level of a group goes up or down.
#[derive(Debug, Clone, Copy)]
struct Step {
    at_ms: i64,
    value: i64,
    group: u32,
    weight: Weight,
}

/// How levels change: from which instant on that is seen, in which group, for whom and with which value; and by how much.
type Change = ((usize, u32, SubjectNumber, i64), i64);

/// Changes of levels. What begins and ends between two instants is not held: most of what there ever was.
#[derive(Debug, Default)]
struct Changes {
    list: Vec<Change>,
    /// At how many they are netted.
    most: usize,
}

impl Changes {
    const AT_FIRST: usize = 1 << 14;

    fn add(&mut self, key: (usize, u32, SubjectNumber, i64), change: i64) {
        self.list.push((key, change));
        if self.list.len() >= self.most.max(Self::AT_FIRST) {
            self.net();
            self.most = self.list.len() * 2;
        }
    }

    fn net(&mut self) {
        self.list.sort_unstable();
        self.list.dedup_by(|(key, change), (known, sum)| {
            let is_same = key == known;
            if is_same {
                *sum += *change;
            }
            is_same
        });
        self.list.retain(|(_, change)| *change != 0);
    }

    fn by_instant(mut self) -> Vec<Change> {
        self.net();
        self.list
    }
}

/// What makes up a level.
#[derive(Debug, Default)]
struct Level {
    counts: HashMap<u32, i64>,
    /// How often each subject stands with each value in each group.
    net: HashMap<(u32, SubjectNumber, i64), i64>,
}

impl Level {
    fn step(&mut self, key: (u32, SubjectNumber, i64), change: i64) {
        *self.counts.entry(key.0).or_default() += change;
        let count = self.net.entry(key).or_default();
        *count += change;
        if *count == 0 {
            self.net.remove(&key);
        }
    }
}

/// The rows of an answer so far, each with its group and bucket, and where they are in the list.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<(u32, u32)>,
    /// As many for each row as the plan has parts.
    partials: Vec<Partial>,
    places: HashMap<(u32, u32), u32, RandomState>,
    /// For each group the bucket it was looked up for last, and its place: facts that follow each other are mostly of one bucket.
    last: Vec<Option<(u32, u32)>>,
    /// How many groups there are.
    groups: usize,
}

impl Found {
    /// All rows, by the alphabet of their groups' names, then by bucket.
    fn take(&mut self, groups: &mut Groups) -> Vec<Row> {
        let Self { rows, mut partials, .. } = std::mem::take(self);
        let parts = partials.len().checked_div(rows.len()).unwrap_or(0);
        let mut ranks: Vec<Option<usize>> = vec![None; groups.count()];
        for (group, _) in &rows {
            ranks[*group as usize] = Some(0);
        }
        let present = ranks.iter().enumerate().filter_map(|(group, rank)| rank.map(|_| (groups.named(group), group)));
        let mut names: Vec<(Group, usize)> = present.collect();
        names.sort_unstable();
        for (rank, (_, group)) in names.iter().enumerate() {
            ranks[*group] = Some(rank);
        }
        let key = |(place, (group, bucket)): (usize, (u32, u32))| Some((ranks[group as usize]?, bucket, place));
        let mut order: Vec<(usize, u32, usize)> = rows.into_iter().enumerate().filter_map(key).collect();
        order.sort_unstable();
        let row = |(rank, bucket, place): (usize, u32, usize)| {
            let partials = &mut partials[place * parts..(place + 1) * parts];
            ((Arc::clone(&names[rank].0), bucket), partials.iter_mut().map(std::mem::take).collect())
        };
        order.into_iter().map(row).collect()
    }
}

/// The partial figures of one part.
struct Partials<'a> {
    rows: &'a mut Found,
    left: &'a Allowance,
    part: usize,
    parts: usize,
    most_groups: usize,
    effort: &'a Effort,
    too_many: bool,
}

impl<'a> Partials<'a> {
    /// Of one part of so many; there is no need to read on for any of them once there are too many rows.
    fn new((rows, left): (&'a mut Found, &'a Allowance), plan: &Plan, part: usize, effort: &'a Effort) -> Self {
        let (parts, most_groups) = (plan.parts.len(), MAX_ROWS / plan.rows_a_group.max(1));
        Self { rows, left, part, parts, most_groups, effort, too_many: false }
    }

    /// There are too many: what is left of the question is not read, here and in other partitions.
    fn give_up(&mut self) {
        self.too_many = true;
        self.effort.call_off();
    }

    #[inline]
    fn get(&mut self, group: u32, bucket: u32) -> Option<&mut Partial> {
        let place = match self.rows.last.get(group as usize) {
            Some(Some((last, place))) if *last == bucket => *place,
            _ => self.place(group, bucket)?,
        };
        self.rows.partials.get_mut(place as usize * self.parts + self.part)
    }

    /// Finds a row or, as long as there are not too many, makes it.
    fn place(&mut self, group: u32, bucket: u32) -> Option<u32> {
        let known = self.rows.places.get(&(group, bucket)).copied();
        if known.is_none() && !self.too_many && !Allowance::take(&self.left.rows, 1) {
            self.give_up();
        }
        if self.too_many {
            return None;
        }
        let Found { rows, partials, places, last, groups } = &mut *self.rows;
        let place = known.unwrap_or_else(|| {
            let place = u32::try_from(rows.len()).expect("a bounded number");
            rows.push((group, bucket));
            partials.resize_with(partials.len() + self.parts, Partial::default);
            places.insert((group, bucket), place);
            place
        });
        if last.len() <= group as usize {
            last.resize(group as usize + 1, None);
        }
        *groups += usize::from(last[group as usize].replace((bucket, place)).is_none());
        if *groups > self.most_groups {
            self.give_up();
            return None;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::EmptyArchive;
    use crate::fact::Fact;
    use crate::grid::{DAY_MS, grid};
    use crate::series::{DimensionValues, SeriesId};

    fn opening(minute: u32, series: SeriesId) -> Fact {
        const MINUTE_MS: i64 = 60_000;
        Fact {
            measure: Measure::Opened,
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            at: Timestamp::clamped(i64::from(minute) * MINUTE_MS),
            series,
            value: 0,
            weight: Weight::Plus,
        }
    }

    /// Openings counted, by so many minutes and by a list of dimensions.
    fn openings(minutes: u32, every: usize, group_by: Vec<Dimension>) -> Plan {
        let bounds: Vec<i64> =
            (0..=minutes).step_by(every).map(|minute| opening(minute, SeriesId(0)).at.millis()).collect();
        let buckets = (0..).take(bounds.len() - 1).collect();
        Plan {
            parts: vec![Part {
                measures: vec![Measure::Opened],
                anchor: Anchor::Completion,
                clock: Clock::Calendar,
                reduction: Reduction::Count,
                at_most: Vec::new(),
                filter: Filter::Everything,
            }],
            filter: Filter::Everything,
            group_by,
            only: None,
            cut: Cut::new(bounds, buckets).expect("the bounds ascend"),
            now: Timestamp::MAX,
            rows_a_group: 1,
        }
    }

    /// An opening in each of so many minutes, with the minute as its value.
    fn each_minute(minutes: u32, names: &Names) -> (Symbol, View) {
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let (tenant, series) = (names.symbol("t"), names.series(&DimensionValues::default()));
        let subject = recorder.add_subject("c".into());
        for minute in 0..minutes {
            recorder.record(tenant, subject, &[Fact { value: minute.into(), ..opening(minute, series) }]);
        }
        recorder.publish();
        (tenant, reader.view())
    }

    /// They, counted by the minute, and whether that was called off.
    fn by_minute(minutes: u32) -> (Result<Rows, NotCollected>, bool) {
        let names = Names::default();
        let (tenant, view) = each_minute(minutes, &names);
        let rows = collect(&view, &names, tenant, &openings(minutes, 1, Vec::new()), &Gathered::default());
        (rows, view.effort().is_called_off())
    }

    #[test]
    fn series_are_grouped_alike_whether_there_is_room_to_remember_them_or_not() {
        const MINUTES: u32 = 7 * 500;
        for pages in [1_000, 1, 0] {
            let names = Names::with_pages(pages);
            let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
            let tenant = names.symbol("t");
            let subject = recorder.add_subject("c".into());
            for minute in 0..MINUTES {
                let mut values = DimensionValues::default();
                values.set(&Dimension::Team, Some(names.symbol(&format!("team {}", minute % 7))));
                values.set(&Dimension::Agent, Some(names.symbol(&format!("agent {minute}"))));
                recorder.record(tenant, subject, &[opening(minute, names.series(&values))]);
            }
            recorder.publish();
            // Facts, facts that are summed up, and cells; intervals of 70 minutes are never of cells.
            for every in [MINUTES as usize, 70].repeat(3) {
                let plan = openings(MINUTES, every, vec![Dimension::Team]);
                let rows = collect(&reader.view(), &names, tenant, &plan, &Gathered::default()).expect("readable");
                assert_eq!(rows.len(), 7 * MINUTES as usize / every);
                assert!(rows.values().all(|row| row[0].count == i64::try_from(every / 7).expect("small")));
            }
        }
    }

    #[test]
    fn parts_of_a_plan_have_no_rows_in_common_and_make_up_the_whole() {
        const DAYS: u32 = 40;
        const MINUTES: u32 = DAYS * 24 * 60;
        let names = Names::default();
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let tenant = names.symbol("t");
        let subjects: Vec<SubjectNumber> = ["a", "b"].iter().map(|id| recorder.add_subject((*id).into())).collect();
        for minute in (0..MINUTES).step_by(7) {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Team, Some(names.symbol(&format!("team {}", minute % 2))));
            values.add_tag(names.symbol(&format!("tag {}", minute % 3)));
            values.add_tag(names.symbol("all"));
            let fact = opening(minute, names.series(&values));
            let of = |measure, value: u32| Fact { measure, value: value.into(), ..fact };
            let facts = [
                of(Measure::Opened, minute % 11),
                of(Measure::FirstContact, minute),
                // Two days after the one of that number, or of nobody else.
                of(Measure::Contact, if minute % 3 == 0 { minute.saturating_sub(7 * 400) } else { minute }),
            ];
            recorder.record(tenant, subjects[minute as usize / 2 % 2], &facts);
        }
        // Since ever: not a day there is anything of.
        recorder.record(tenant, subjects[0], &[Fact { at: Timestamp::MIN, ..opening(0, SeriesId(0)) }]);
        recorder.publish();
        let held = reader.view().held(tenant).expect("there are facts");
        assert_eq!((held.from_inclusive, held.to_exclusive), (0, i64::from(DAYS) * DAY_MS));
        let collect_in = |plan: &Plan, gathered: &Gathered| {
            let tenants = std::iter::once((tenant, gathered));
            let rows = collect_all(&[reader.view()], &names, tenants, plan, &Allowance::default()).expect("few rows");
            let count = rows.len();
            let rows: Rows = rows.into_iter().collect();
            assert_eq!(rows.len(), count, "each once");
            rows
        };
        let only = Only { groups: HashSet::from([Group::from([Some("team 1".into())])]), others: true };
        let mut totals = Vec::new();
        for (reduction, group_by, only) in [
            (Reduction::Count, Dimension::Team, None),
            (Reduction::Count, Dimension::Tag, None),
            (Reduction::Distribution, Dimension::Team, Some(only)),
            (Reduction::Distinct, Dimension::Tag, None),
            (Reduction::DistinctValues, Dimension::Team, None),
            (Reduction::Repeated, Dimension::Team, None),
            (Reduction::NotFollowed, Dimension::Team, None),
        ] {
            let mut plan = openings(MINUTES, 90, vec![group_by]);
            plan.parts.push(plan.parts[0].clone());
            plan.parts[0].reduction = reduction;
            if reduction == Reduction::NotFollowed {
                plan.parts[0].measures = vec![Measure::FirstContact];
            }
            plan.only = only;
            let gathered = Gathered::gather(std::iter::once(&reader.view()), tenant, &plan).expect("readable");
            let whole = collect_in(&plan, &gathered);
            totals.push(whole.values().map(|row| row[0].count).sum::<i64>());
            assert!(whole.len() > 600);
            let late = Range { from_inclusive: 30 * DAY_MS, to_exclusive: i64::MAX };
            for (count, held) in [(1, held), (2, held), (3, held), (20, held), (2, late)] {
                let parts = plan.in_parts(count, || Some(held)).expect("there are days enough");
                assert_eq!(parts.len(), count);
                let mut rows = Rows::default();
                for part in &parts {
                    let part = collect_in(part, &gathered);
                    assert!(part.keys().all(|key| !rows.contains_key(key)), "{reduction:?} in {count} parts");
                    merge(&mut rows, part);
                }
                assert_eq!(rows, whole, "{reduction:?} in {count} parts");
                assert!(parts[1..].iter().all(|part| part.cut.range().from_inclusive % DAY_MS == 0));
            }
            let of_late = plan.in_parts(2, || Some(late)).expect("ten days");
            assert_eq!(of_late[1].cut.range().from_inclusive, 35 * DAY_MS);
        }
        let (all, not_followed) = (totals[0], totals[6]);
        assert!(0 < not_followed && not_followed < all, "{not_followed} of {all} are not followed");
    }

    #[test]
    fn only_many_intervals_over_days_that_stand_alone_are_parted() {
        const DAY: u32 = 24 * 60;
        let of = |days: i64| move || Some(Range { from_inclusive: 0, to_exclusive: days * i64::from(DAY) * 60_000 });
        let plan = openings(10 * DAY, 90, Vec::new());
        assert!(plan.in_parts(2, of(10)).is_some() && plan.in_parts(2, of(2)).is_some());
        assert!(plan.in_parts(2, of(1)).is_none(), "each day would be read for both");
        assert!(plan.in_parts(2, || None).is_none(), "there is nothing");
        assert!(openings(10 * DAY, DAY as usize, Vec::new()).in_parts(2, of(10)).is_none(), "ten intervals are few");
        let with = |reduction| {
            let mut plan = plan.clone();
            plan.parts[0].reduction = reduction;
            plan.in_parts(2, of(10))
        };
        for reduction in [Reduction::Level, Reduction::LevelChange, Reduction::LevelAge, Reduction::Time] {
            assert!(with(reduction).is_none(), "{reduction:?} is made of what there was before");
        }
        let mut by_hour = plan.clone();
        let hours = (0..24u32).cycle().take(plan.cut.buckets().len()).collect();
        by_hour.cut = Cut::new(plan.cut.bounds().to_vec(), hours).expect("the bounds ascend");
        assert!(by_hour.in_parts(2, of(10)).is_none(), "several days add to an hour");
    }

    #[test]
    fn ages_are_work_and_what_is_held_of_them_is_bounded() {
        const MINUTES: u32 = 600;
        let names = Names::default();
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let (tenant, series) = (names.symbol("t"), names.series(&DimensionValues::default()));
        for minute in 0..MINUTES {
            let subject = recorder.add_subject(format!("c{minute}").as_str().into());
            let at = opening(minute, series).at;
            let open = Fact { measure: Measure::Backlog, value: at.millis(), ..opening(minute, series) };
            recorder.record(tenant, subject, &[open]);
        }
        recorder.publish();
        let mut plan = openings(MINUTES, 1, Vec::new());
        plan.parts[0] =
            Part { measures: vec![Measure::Backlog], reduction: Reduction::LevelAge, ..plan.parts[0].clone() };
        let collected = |bytes: usize| {
            let view = reader.view().within(&Arc::new(Effort::of(bytes as u64)));
            collect(&view, &names, tenant, &plan, &Gathered::default())
        };
        let rows = collected(usize::MAX).expect("few rows");
        let ages: u64 = rows.values().map(|row| row[0].distribution.count()).sum();
        let ages = usize::try_from(ages).expect("few");
        assert!(ages > MINUTES as usize * MINUTES as usize / 2);
        let held: usize = rows.values().map(|row| row[0].distribution.bytes()).sum();
        // How much a list that grows has room for depends on the order of what comes.
        assert!(collected(ages * AN_AGE + 4 * held * HELD + (1 << 20)).is_ok());
        for too_little in [ages * AN_AGE, ages * AN_AGE / 2, 1 << 20] {
            assert_eq!(collected(too_little), Err(NotCollected::TooMuchToRead));
        }
    }

    #[test]
    fn one_row_too_many_is_noticed_by_those_who_share_a_plan() {
        let most = u32::try_from(MAX_ROWS).expect("small");
        for (minutes, is_too_many) in [(most, false), (most + 1, true)] {
            let names = Names::default();
            let (tenant, view) = each_minute(minutes, &names);
            let parts = openings(minutes, 1, Vec::new()).in_parts(2, || view.held(tenant));
            let (left, none) = (Allowance::default(), Gathered::default());
            let collected: Vec<Result<usize, NotCollected>> = parts
                .expect("many intervals")
                .iter()
                .map(|part| {
                    let rows = collect_all(
                        std::slice::from_ref(&view),
                        &names,
                        std::iter::once((tenant, &none)),
                        part,
                        &left,
                    )?;
                    assert!(rows.len() < MAX_ROWS * 6 / 10);
                    Ok(rows.len())
                })
                .collect();
            assert!(collected[0].is_ok());
            assert_eq!(collected[1] == Err(NotCollected::TooManyRows(TooManyRows)), is_too_many);
            assert_eq!(view.effort().is_called_off(), is_too_many);
        }
    }

    #[test]
    fn distinct_values_are_counted_together_by_those_who_share_a_plan() {
        const MINUTES: u32 = 20_000;
        let names = Names::default();
        let (tenant, view) = each_minute(MINUTES, &names);
        let mut plan = openings(MINUTES, 100, Vec::new());
        plan.parts[0].reduction = Reduction::DistinctValues;
        for (most, is_too_much) in [(MINUTES as usize, false), (MINUTES as usize - 3_000, true)] {
            for with_gathered in [false, true] {
                let (mut plan, view) = (plan.clone(), view.within(&Arc::default()));
                if with_gathered {
                    plan.parts.push(Part { reduction: Reduction::NotFollowed, ..plan.parts[0].clone() });
                }
                let parts = plan.in_parts(2, || view.held(tenant)).expect("days enough");
                let left = Allowance { distinct: AtomicUsize::new(most), ..Allowance::default() };
                let none = Gathered::default();
                let collected: Vec<Result<usize, NotCollected>> = parts
                    .iter()
                    .map(|part| {
                        let (view, tenants) = (std::slice::from_ref(&view), std::iter::once((tenant, &none)));
                        let rows = collect_all(view, &names, tenants, part, &left)?;
                        Ok(distinct(rows.iter().map(|(_, partials)| partials)))
                    })
                    .collect();
                assert!(collected[0].is_ok());
                assert_eq!(collected[1] == Err(NotCollected::TooManyRows(TooManyRows)), is_too_much);
                if !is_too_much {
                    assert_eq!(collected.into_iter().flatten().sum::<usize>(), MINUTES as usize);
                }
            }
        }
    }

    #[test]
    fn a_group_too_many_is_noticed_where_each_has_a_row_for_every_gap() {
        let names = Names::default();
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let tenant = names.symbol("t");
        let subject = recorder.add_subject("c".into());
        for team in 0..3 {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Team, Some(names.symbol(&format!("team {team}"))));
            recorder.record(
                tenant,
                subject,
                &[opening(team, names.series(&values)), opening(team + 10, names.series(&values))],
            );
        }
        recorder.publish();
        for (rows_a_group, is_too_many) in [(1, false), (MAX_ROWS / 3, false), (MAX_ROWS / 3 + 1, true)] {
            let plan = Plan { rows_a_group, ..openings(20, 1, vec![Dimension::Team]) };
            let rows = collect(&reader.view(), &names, tenant, &plan, &Gathered::default());
            let rows = rows.map(|rows| rows.len());
            assert_eq!(rows, if is_too_many { Err(TooManyRows.into()) } else { Ok(6) });
        }
    }

    #[test]
    fn one_row_too_many_is_refused_and_nothing_is_read_after_it() {
        let most = u32::try_from(MAX_ROWS).expect("small");
        let (rows, is_called_off) = by_minute(most);
        assert!(rows.is_ok_and(|rows| rows.len() == MAX_ROWS && rows.values().all(|row| row[0].count == 1)));
        assert!(!is_called_off);
        let (rows, is_called_off) = by_minute(most + 1);
        assert_eq!(rows, Err(NotCollected::TooManyRows(TooManyRows)));
        assert!(is_called_off);
    }
}
