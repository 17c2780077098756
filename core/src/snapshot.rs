//! What queries read: mergeable partial figures, collected from the grid.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::conversation::FIRST_CONTACT_WINDOW_MS;
use crate::dimension::Dimension;
use crate::fact::Measure;
use crate::filter::Filter;
use crate::grid::{Range, StoredFact, SubjectNumber, View};
use crate::histogram::Distribution;
use crate::interval::Cut;
use crate::series::{DimensionValues, Names, SeriesId, Symbol};

/// The most groups × buckets an answer may have.
pub const MAX_ROWS: usize = 100_000;
/// The most ages a partition works out for one question: what is open times the intervals.
const MAX_AGES: usize = 100_000_000;

/// How the facts of a part are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The number of facts that stand.
    Count,
    /// The distribution of their values.
    Distribution,
    /// The number of distinct subjects they are about.
    Distinct,
    /// The number of facts whose value, a contact, is not that of a later conversation within
    /// [`FIRST_CONTACT_WINDOW_MS`].
    FirstContact,
    /// The level at the end of each interval.
    Level,
    /// The distribution of a level's steps of +1 and -1 after the start of each interval, up to its end.
    LevelChange,
    /// The level and the ages (end of the interval less value) of what makes it up.
    LevelAge,
}

/// Measures and how to sum them up, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The measures.
    pub measures: Vec<Measure>,
    /// How to sum them up.
    pub reduction: Reduction,
    /// Bounds, inclusive, for which the values at or below are counted, exactly.
    pub at_most: Vec<i64>,
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
    /// The intervals.
    pub cut: Cut,
}

/// A partial figure of one group in one bucket. Merges exactly with those of other partitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partial {
    /// The number of facts or distinct subjects, or the level.
    pub count: i64,
    /// The distribution of the values (or ages), where asked for.
    pub distribution: Distribution,
    /// How many values (or ages) are at or below each bound.
    pub at_most: Vec<u64>,
    /// For ages: the subject of the greatest.
    pub oldest: Option<Arc<str>>,
}

impl Partial {
    /// Adds another partition's figure.
    pub fn merge(&mut self, other: &Self) {
        let theirs_is_older = (other.distribution.max(), &self.oldest) > (self.distribution.max(), &other.oldest);
        if other.oldest.is_some() && (self.oldest.is_none() || theirs_is_older) {
            self.oldest.clone_from(&other.oldest);
        }
        self.count += other.count;
        self.distribution.merge(&other.distribution);
        if self.at_most.is_empty() {
            self.at_most.clone_from(&other.at_most);
        } else {
            self.at_most.iter_mut().zip(&other.at_most).for_each(|(ours, theirs)| *ours += theirs);
        }
    }

    fn record(&mut self, value: i64, bounds: &[i64]) {
        self.distribution.record(value);
        self.at_most.resize(bounds.len(), 0);
        for (count, bound) in self.at_most.iter_mut().zip(bounds) {
            *count += u64::from(value <= *bound);
        }
    }
}

/// A group's values, one for each dimension grouped by; `None` where it is not set.
pub type Group = Vec<Option<String>>;

/// The answer has more rows, or takes more work, than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer has more than {MAX_ROWS} rows, or more than {MAX_AGES} ages to work out: ask for fewer groups, longer \
     intervals or a shorter range"
)]
pub struct TooManyRows;

/// The figures of every group and bucket with anything in it: one [`Partial`] for each part of the plan.
pub type Rows = HashMap<(Group, u32), Vec<Partial>>;

/// Collects what a plan asks for from one partition.
pub fn collect(
    view: &View,
    names: &Names,
    tenant: Symbol,
    plan: &Plan,
    contacts: &Contacts,
) -> Result<Rows, TooManyRows> {
    let mut groups = Groups::new(names, plan);
    let mut rows: HashMap<(u32, u32), Vec<Partial>> = HashMap::new();
    let range = plan.cut.range();
    for (index, part) in plan.parts.iter().enumerate() {
        let mut partials = Partials { rows: &mut rows, part: index, parts: plan.parts.len(), too_many: false };
        match part.reduction {
            Reduction::Count | Reduction::Distribution => {
                let distribution = part.reduction == Reduction::Distribution;
                each_standing(view, tenant, part, range, |fact| {
                    let Some(bucket) = plan.cut.bucket_of(fact.at_ms) else { return };
                    for group in groups.of(fact.series).iter() {
                        let Some(partial) = partials.get(*group, bucket) else { return };
                        partial.count += 1;
                        if distribution {
                            partial.record(fact.value, &part.at_most);
                        }
                    }
                });
            }
            Reduction::Distinct => {
                let mut seen: HashSet<(u32, u32, SubjectNumber)> = HashSet::new();
                each_standing(view, tenant, part, range, |fact| {
                    let Some(bucket) = plan.cut.bucket_of(fact.at_ms) else { return };
                    for group in groups.of(fact.series).iter() {
                        if seen.insert((*group, bucket, fact.subject)) {
                            let Some(partial) = partials.get(*group, bucket) else { return };
                            partial.count += 1;
                        }
                    }
                });
            }
            Reduction::LevelChange => {
                // As of an instant includes that instant, so that a step at a boundary belongs to the interval before it.
                let Range { from_inclusive, to_exclusive } = range;
                let shifted =
                    Range { from_inclusive: from_inclusive + 1, to_exclusive: to_exclusive.saturating_add(1) };
                for measure in &part.measures {
                    view.netted(tenant, *measure, shifted, |fact| {
                        let Some(bucket) = plan.cut.bucket_of(fact.at_ms - 1) else { return };
                        for group in groups.of(fact.series).iter() {
                            let Some(partial) = partials.get(*group, bucket) else { return };
                            partial.record(fact.weight.sign(), &[]);
                        }
                    });
                }
            }
            Reduction::FirstContact => each_standing(view, tenant, part, range, |fact| {
                let Some(bucket) = plan.cut.bucket_of(fact.at_ms) else { return };
                if contacts.again(fact.value, fact.at_ms) {
                    return;
                }
                for group in groups.of(fact.series).iter() {
                    let Some(partial) = partials.get(*group, bucket) else { return };
                    partial.count += 1;
                }
            }),
            Reduction::Level | Reduction::LevelAge => levels(view, tenant, part, plan, &mut groups, &mut partials),
        }
        if partials.too_many {
            return Err(TooManyRows);
        }
    }
    Ok(rows.into_iter().map(|((group, bucket), partials)| ((groups.named(group), bucket), partials)).collect())
}

/// When customers made contact, over all partitions: a conversation and the customer's next one may live apart.
///
/// Gathered from every partition before any of them is collected, so that each collects against all.
#[derive(Debug, Default)]
pub struct Contacts {
    /// The instants of each contact, sorted.
    instants: HashMap<i64, Vec<i64>>,
}

impl Contacts {
    /// The contacts that could undo a first contact resolution the plan asks for; none when it asks for none.
    #[must_use]
    pub fn gather<'a>(views: impl Iterator<Item = &'a View>, tenant: Symbol, plan: &Plan) -> Self {
        let mut contacts = Self::default();
        if plan.parts.iter().all(|part| part.reduction != Reduction::FirstContact) {
            return contacts;
        }
        let Range { from_inclusive, to_exclusive } = plan.cut.range();
        let to_exclusive = to_exclusive.saturating_add(FIRST_CONTACT_WINDOW_MS);
        for view in views {
            view.standing(tenant, Measure::Contact, Range { from_inclusive, to_exclusive }, |fact| {
                contacts.instants.entry(fact.value).or_default().push(fact.at_ms);
            });
        }
        for instants in contacts.instants.values_mut() {
            instants.sort_unstable();
        }
        contacts
    }

    /// Whether this contact was made again after an instant, within the window.
    fn again(&self, contact: i64, after_ms: i64) -> bool {
        let Some(instants) = self.instants.get(&contact) else { return false };
        let next = instants.partition_point(|at_ms| *at_ms <= after_ms);
        instants.get(next).is_some_and(|at_ms| at_ms - after_ms <= FIRST_CONTACT_WINDOW_MS)
    }
}

fn each_standing(view: &View, tenant: Symbol, part: &Part, range: Range, mut see: impl FnMut(StoredFact)) {
    for measure in &part.measures {
        view.standing(tenant, *measure, range, &mut see);
    }
}

/// Sums a level up to the end of each interval; the instant of the end counts, so that it is "as of" then.
fn levels(view: &View, tenant: Symbol, part: &Part, plan: &Plan, groups: &mut Groups, partials: &mut Partials) {
    let mut facts: Vec<StoredFact> = Vec::new();
    let until = Range::up_to_inclusive(plan.cut.range().to_exclusive);
    for measure in &part.measures {
        view.facts(tenant, *measure, until, |fact| facts.push(fact));
    }
    facts.sort_by_key(|fact| fact.at_ms);
    let mut facts = facts.into_iter().peekable();
    // What makes up the level: how often each subject stands with each value in each group; and how many there are.
    let mut net: HashMap<(u32, SubjectNumber, i64), i64> = HashMap::new();
    let mut counts: HashMap<u32, i64> = HashMap::new();
    let mut aged = 0;
    for (end_ms, bucket) in plan.cut.ends() {
        while let Some(fact) = facts.next_if(|fact| fact.at_ms <= end_ms) {
            for group in groups.of(fact.series).iter() {
                let key = (*group, fact.subject, fact.value);
                let level = net.entry(key).or_default();
                *level += fact.weight.sign();
                if *level == 0 {
                    net.remove(&key);
                }
                *counts.entry(*group).or_default() += fact.weight.sign();
            }
        }
        for (group, count) in counts.iter().filter(|(_, count)| **count != 0) {
            let Some(partial) = partials.get(*group, bucket) else { return };
            partial.count += count;
        }
        if part.reduction == Reduction::Level {
            continue;
        }
        aged += net.len();
        if aged > MAX_AGES {
            partials.too_many = true;
            return;
        }
        for (group, subject, value) in net.keys() {
            let Some(partial) = partials.get(*group, bucket) else { return };
            let age_ms = end_ms - value;
            let oldest = partial.distribution.max();
            partial.record(age_ms, &part.at_most);
            let subject = || view.subject(*subject);
            if oldest.is_none_or(|oldest| age_ms > oldest) {
                partial.oldest = subject();
            } else if oldest == Some(age_ms) {
                // Of equally old ones, the first in the alphabet, so that the answer does not depend on the arrival.
                partial.oldest = partial.oldest.take().min(subject());
            }
        }
    }
}

/// The partial figures of one part.
struct Partials<'a> {
    rows: &'a mut HashMap<(u32, u32), Vec<Partial>>,
    part: usize,
    parts: usize,
    too_many: bool,
}

impl Partials<'_> {
    fn get(&mut self, group: u32, bucket: u32) -> Option<&mut Partial> {
        let full = self.rows.len() >= MAX_ROWS;
        if full && !self.rows.contains_key(&(group, bucket)) {
            self.too_many = true;
            return None;
        }
        let row = self.rows.entry((group, bucket)).or_insert_with(|| vec![Partial::default(); self.parts]);
        row.get_mut(self.part)
    }
}

/// Which groups each series belongs to: none when the filter leaves it out, several when grouped by tag.
struct Groups<'a> {
    names: &'a Names,
    filter: &'a Filter,
    group_by: &'a [Dimension],
    of_series: HashMap<SeriesId, Rc<[u32]>>,
    numbers: HashMap<Box<[Option<Symbol>]>, u32>,
    keys: Vec<Box<[Option<Symbol>]>>,
}

impl<'a> Groups<'a> {
    fn new(names: &'a Names, plan: &'a Plan) -> Self {
        Self {
            names,
            filter: &plan.filter,
            group_by: &plan.group_by,
            of_series: HashMap::new(),
            numbers: HashMap::new(),
            keys: Vec::new(),
        }
    }

    fn of(&mut self, series: SeriesId) -> Rc<[u32]> {
        if let Some(groups) = self.of_series.get(&series) {
            return Rc::clone(groups);
        }
        let groups: Rc<[u32]> = match self.names.values(series) {
            Some(values) if passes(self.filter, values, self.names) => self.number(values).into(),
            Some(_) | None => Rc::default(),
        };
        self.of_series.insert(series, Rc::clone(&groups));
        groups
    }

    fn number(&mut self, values: &DimensionValues) -> Vec<u32> {
        let mut keys: Vec<Vec<Option<Symbol>>> = vec![Vec::new()];
        for dimension in self.group_by {
            let choices = match dimension {
                Dimension::Tag if values.tags().is_empty() => vec![None],
                Dimension::Tag => values.tags().iter().copied().map(Some).collect(),
                single => vec![value_of(values, single, self.names)],
            };
            keys = keys
                .into_iter()
                .flat_map(|key| choices.iter().map(move |choice| [key.as_slice(), &[*choice]].concat()))
                .collect();
        }
        keys.into_iter()
            .map(|key| {
                let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                *self.numbers.entry(key.into()).or_insert_with_key(|key| {
                    self.keys.push(key.clone());
                    next
                })
            })
            .collect()
    }

    fn named(&self, group: u32) -> Group {
        let key = self.keys.get(group as usize).map(Box::as_ref).unwrap_or_default();
        key.iter().map(|value| value.map(|symbol| self.names.text(symbol).to_owned())).collect()
    }
}

/// The value of a single-valued dimension.
fn value_of(values: &DimensionValues, dimension: &Dimension, names: &Names) -> Option<Symbol> {
    match dimension {
        Dimension::Custom(attribute) => values.custom(names.find_symbol(attribute.key())?),
        standard => values.get(standard),
    }
}

fn passes(filter: &Filter, values: &DimensionValues, names: &Names) -> bool {
    filter.matches(&|dimension: &Dimension, test: &dyn Fn(&str) -> bool| match dimension {
        Dimension::Tag => values.tags().iter().any(|tag| test(names.text(*tag))),
        single => value_of(values, single, names).is_some_and(|value| test(names.text(value))),
    })
}
