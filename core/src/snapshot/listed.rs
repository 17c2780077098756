//! The facts behind a figure, one by one, the first of them in some order.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::{
    Allowance, Collector, Found, Gathered, MAX_DISTINCT, NotCollected, Part, Partials, Plan, Reduction, TooManyRows,
    gathered::{followed_by, is_credited},
    groups::Groups,
};
use crate::event::Id;
use crate::fact::{Anchor, Clock, Measure, ValueKind, Weight};
use crate::grid::{ColumnKey, Range, StoredFact, SubjectNumber, View};
use crate::series::{DimensionValues, Names, SeriesId, Symbol};
use crate::time::Timestamp;

/// What to list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Whose facts, as for figures; it groups by nothing.
    pub plan: Plan,
    /// Whether the instant comes first in the order, not the value.
    pub by_time: bool,
    /// Whether the greatest come first.
    pub descending: bool,
    /// What comes at or before this place was listed already.
    pub after: Option<Place>,
    /// The most to list.
    pub most: usize,
}

/// Where a fact stands in a list: what it is sorted by, ascending, then whose it is, then what tells it from others of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The value or instant, or what makes its descending order ascending.
    pub first: i64,
    /// The other one of the two.
    pub second: i64,
    /// The partition.
    pub partition: u32,
    /// The subject's number in that partition.
    pub subject: u32,
    /// The number of its dimension values.
    pub series: u32,
    /// How many facts that are the same in all this come before it.
    pub nth: u32,
}

/// A fact of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands.
    pub place: Place,
    /// What it measures.
    pub measure: Measure,
    /// Whom it is about.
    pub subject: Id,
    /// The conversation it is about; `None` where it is about none.
    pub conversation: Option<Id>,
    /// The instant it counts at, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its value; for what is open its age, for what is at risk the time that is left. `None` where the fact is all there is to say.
    pub value: Option<i64>,
    /// When what it measures began, where that is known.
    pub start_ms: Option<i64>,
    /// When it is due, where it is.
    pub deadline_ms: Option<i64>,
    /// The dimension values it carries, by name.
    pub dimensions: Vec<(String, String)>,
    /// The tags it carries.
    pub tags: Vec<String>,
}

/// What a partition lists, and how many facts there are in all.
#[derive(Debug, Default)]
pub struct List {
    /// The first in the order.
    pub facts: Vec<Listed>,
    /// How many there are, listed or not.
    pub total: u64,
}

/// The first of the facts a plan counts in one partition.
pub fn list(
    view: &View,
    views: &[View],
    names: &Names,
    tenant: Symbol,
    listing: &Listing,
    gathered: &Gathered,
) -> Result<List, NotCollected> {
    let plan = &listing.plan;
    let mut groups = Groups::new(names, plan, gathered);
    let (mut rows, left) = (Found::default(), Allowance::default());
    let has_business_hours = super::has_business_hours(view, tenant)?;
    let mut first = First { listing, partition: view.partition(), facts: BTreeMap::new(), as_after: 0, total: 0 };
    for (index, part) in plan.parts.iter().enumerate() {
        let partials = Partials::new((&mut rows, &left), plan, index, view.effort());
        let clock = if has_business_hours { part.clock } else { Clock::Calendar };
        let table = groups.table(&part.filter, is_credited(part));
        let mut collector = Collector { view, tenant, plan, part, clock, groups: &mut groups, table, partials };
        match part.reduction {
            Reduction::Level | Reduction::LevelAge | Reduction::LevelNext => open(&mut collector, &mut first)?,
            Reduction::NotFollowed => {
                let by = followed_by(part);
                collector.each_measure(|measure, fact| {
                    if !gathered.followed(by, fact, view.global(fact.subject)) {
                        first.see(measure, fact);
                    }
                })?;
            }
            Reduction::Distinct | Reduction::Repeated => once(&mut collector, &mut first)?,
            Reduction::Count | Reduction::Distribution | Reduction::DistinctValues => {
                collector.each_measure(|measure, fact| {
                    if is_within(part, fact.value) {
                        first.see(measure, fact);
                    }
                })?;
            }
            // These add up time and steps, not facts of somebody's.
            Reduction::LevelChange | Reduction::LevelAtStart | Reduction::Time => {}
        }
        view.check()?;
    }
    let First { facts, total, .. } = first;
    let conversations = credited_to(views, names, tenant, facts.values().map(|fact| fact.series))?;
    let mut listed = Vec::with_capacity(facts.len());
    for (place, fact) in facts {
        let Some(subject) = view.subject(fact.subject)? else { continue };
        let conversation = match names.values(fact.series).and_then(DimensionValues::credit) {
            Some(key) if fact.measure.is_credited() => conversations.get(&key.get()).cloned(),
            _ => (!fact.measure.is_credited()).then(|| subject.clone()),
        };
        let values = groups.values(fact.series);
        let text = |symbol: Symbol| names.text(symbol).to_owned();
        listed.push(Listed {
            place,
            measure: fact.measure,
            subject,
            conversation,
            at_ms: fact.at_ms,
            value: fact.value,
            start_ms: fact.start_ms,
            deadline_ms: fact.deadline_ms,
            dimensions: values.as_ref().map(|values| values.named(names)).unwrap_or_default(),
            tags: values.map(|values| values.tags().iter().copied().map(text).collect()).unwrap_or_default(),
        });
    }
    Ok(List { facts: listed, total })
}

/// Whether a value is within the bounds of a part: at most one, or more than one and at most the other.
fn is_within(part: &Part, value: i64) -> bool {
    match part.at_most.as_slice() {
        [] => true,
        [most] => value <= *most,
        [least, .., most] => *least < value && value <= *most,
    }
}

/// Every subject once, with that of its facts which comes first.
fn once(collector: &mut Collector, first: &mut First) -> Result<(), NotCollected> {
    let mut best: HashMap<SubjectNumber, (Place, Measure, StoredFact), RandomState> = HashMap::default();
    let mut too_many = false;
    collector.each_measure(|measure, fact| {
        let place = first.place(measure, fact);
        too_many |= best.len() >= MAX_DISTINCT;
        if !too_many {
            let known = best.entry(fact.subject).or_insert((place, measure, *fact));
            if place < known.0 {
                *known = (place, measure, *fact);
            }
        }
    })?;
    if too_many {
        return Err(TooManyRows.into());
    }
    for (_, measure, fact) in best.into_values() {
        first.see(measure, &fact);
    }
    Ok(())
}

/// What is open at the end of the range.
fn open(collector: &mut Collector, first: &mut First) -> Result<(), NotCollected> {
    let until_ms = collector.plan.cut.range().to_exclusive;
    for measure in &collector.part.measures {
        let key = ColumnKey { measure: *measure, anchor: collector.part.anchor, clock: collector.clock };
        // How often each stands; what begins and ends is let go of with the day.
        let mut standing: HashMap<(SubjectNumber, i64, SeriesId), i64, RandomState> = HashMap::default();
        let (groups, table) = (&mut *collector.groups, collector.table);
        collector.view.netted(collector.tenant, key, Range::up_to_inclusive(until_ms), |fact| {
            if groups.of(table, fact.series).is_empty() {
                return;
            }
            let key = (fact.subject, fact.value, fact.series);
            let count = standing.entry(key).or_default();
            *count += fact.weight.sign();
            if *count == 0 {
                standing.remove(&key);
            }
        })?;
        for ((subject, value, series), count) in standing {
            let fact = StoredFact { at_ms: until_ms, series, subject, value, weight: Weight::Plus };
            (0..count).for_each(|_| first.see(*measure, &fact));
        }
    }
    Ok(())
}

/// The conversations that events named under these series' credit keys.
fn credited_to(
    views: &[View],
    names: &Names,
    tenant: Symbol,
    series: impl Iterator<Item = SeriesId>,
) -> Result<HashMap<i64, Id>, NotCollected> {
    let credit = |series| Some((names.values(series)?.credit()?.get(), None));
    let mut wanted: HashMap<i64, Option<(usize, SubjectNumber)>> = series.filter_map(credit).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    for (number, view) in views.iter().enumerate() {
        let all = Range::up_to_inclusive(Timestamp::MAX.millis());
        view.standing(tenant, ColumnKey::of(Measure::Credit), all, |fact| {
            if let Some(found) = wanted.get_mut(&fact.value) {
                *found = Some((number, fact.subject));
            }
        })?;
    }
    let mut conversations = HashMap::with_capacity(wanted.len());
    for (key, found) in wanted {
        if let Some((view, subject)) = found
            && let Some(id) = views.get(view).map(|view| view.subject(subject)).transpose()?.flatten()
        {
            conversations.insert(key, id);
        }
    }
    Ok(conversations)
}

/// A fact that may be among the first.
struct Candidate {
    measure: Measure,
    subject: SubjectNumber,
    series: SeriesId,
    at_ms: i64,
    value: Option<i64>,
    start_ms: Option<i64>,
    deadline_ms: Option<i64>,
}

/// The first facts so far.
struct First<'a> {
    listing: &'a Listing,
    partition: u32,
    facts: BTreeMap<Place, Candidate>,
    /// How many facts were the same as that at `after`.
    as_after: u32,
    total: u64,
}

impl First<'_> {
    /// Value, begin and deadline, as far as the fact tells them.
    fn times(&self, measure: Measure, fact: &StoredFact) -> (Option<i64>, Option<i64>, Option<i64>) {
        let &StoredFact { at_ms, value, .. } = fact;
        // What is open has been open until now, however far ahead the question looks.
        let until_ms = at_ms.min(self.listing.plan.now.millis());
        match measure.value_kind() {
            ValueKind::Nothing => (None, None, None),
            ValueKind::Number => (Some(value), None, None),
            ValueKind::Duration => (Some(value), self.start_of(at_ms, value), None),
            ValueKind::Start => (Some(until_ms - value), Some(value), None),
            ValueKind::Deadline => (Some(value - until_ms), None, Some(value)),
        }
    }

    fn place(&self, measure: Measure, fact: &StoredFact) -> Place {
        let ordered = |number: i64| if self.listing.descending { !number } else { number };
        let (value, ..) = self.times(measure, fact);
        let (by_value, by_time) = (ordered(value.unwrap_or(0)), ordered(fact.at_ms));
        let (first, second) = if self.listing.by_time { (by_time, by_value) } else { (by_value, by_time) };
        let (subject, series) = (fact.subject.0, fact.series.0);
        Place { first, second, partition: self.partition, subject, series, nth: 0 }
    }

    fn see(&mut self, measure: Measure, fact: &StoredFact) {
        self.total += 1;
        let mut place = self.place(measure, fact);
        if self.listing.after.is_some_and(|after| place == Place { nth: 0, ..after }) {
            place.nth = self.as_after;
            self.as_after += 1;
        }
        while self.facts.contains_key(&place) {
            place.nth += 1;
        }
        let is_full = self.facts.len() >= self.listing.most;
        let is_too_late = is_full && self.facts.last_key_value().is_some_and(|(last, _)| place >= *last);
        if is_too_late || self.listing.after.is_some_and(|after| place <= after) {
            return;
        }
        let (value, start_ms, deadline_ms) = self.times(measure, fact);
        let &StoredFact { at_ms, series, subject, .. } = fact;
        self.facts.insert(place, Candidate { measure, subject, series, at_ms, value, start_ms, deadline_ms });
        if self.facts.len() > self.listing.most {
            self.facts.pop_last();
        }
    }

    /// When a duration began; business hours do not tell.
    fn start_of(&self, at_ms: i64, value: i64) -> Option<i64> {
        let is_elapsed = self.listing.plan.parts.iter().all(|part| part.clock == Clock::Calendar);
        let is_at_its_end = self.listing.plan.parts.iter().all(|part| part.anchor == Anchor::Completion);
        match (is_at_its_end, is_elapsed) {
            (true, true) => Some(at_ms - value),
            (true, false) => None,
            (false, _) => Some(at_ms),
        }
    }
}
