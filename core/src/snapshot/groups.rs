//! Which groups facts belong to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Gathered, Group, Plan};
use crate::dimension::Dimension;
use crate::filter::Filter;
use crate::series::{DimensionValues, FirstMet, Names, SeriesId, Symbol};

/// A group's values, one for each dimension grouped by.
type Key = [Option<Symbol>];

/// Which groups each series belongs to: none when a filter leaves it out, several when grouped by tag.
///
/// A question sees far more facts than series, and far more series than groups: what a fact costs is two looks into a list.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    pub(super) names: &'a Names,
    gathered: &'a Gathered,
    filter: &'a Filter,
    group_by: &'a [Dimension],
    /// One for each filter that parts have beside the plan's, and whether their facts may be credited to other values than their own.
    tables: Vec<(&'a Filter, bool, Table)>,
    numbers: HashMap<Box<Key>, u32, RandomState>,
    keys: Vec<Box<Key>>,
    named: Vec<Option<Group>>,
    /// Whether groups that have no number yet are others; then whether those count.
    others: Option<bool>,
    /// Groups that a series may belong to at once: the first set is that of none.
    sets: Vec<Box<[u32]>>,
    set_numbers: HashMap<Box<[u32]>, u32, RandomState>,
    /// For each group the set of it alone, or that of none as long as there is no such set.
    alone: Vec<u32>,
}

/// A table of [`Groups`], for one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableNumber(usize);

/// For each series, by its number, which set of groups it belongs to; only those pages that are needed, and none where there are few.
#[derive(Debug, Default)]
struct Table {
    /// Who stands for a series that only its own values say anything about: few look up what is far away.
    stand_ins: Option<Arc<FirstMet>>,
    few: Vec<(SeriesId, u32)>,
    pages: Vec<Option<Box<[u32; PAGE]>>>,
}

/// The most dimensions grouped by whose values are put together without a list.
const MOST_AT_ONCE: usize = 8;
/// Up to how many series a table is a list.
const FEW: usize = 16;
const PAGE: usize = 1 << 10;
/// More than there are sets.
const UNKNOWN: u32 = u32::MAX;

impl Table {
    #[inline]
    fn get(&self, series: SeriesId) -> Option<u32> {
        if self.pages.is_empty() {
            return self.few.iter().find(|(known, _)| *known == series).map(|(_, set)| *set);
        }
        let place = series.0 as usize;
        let set = *self.pages.get(place / PAGE)?.as_ref()?.get(place % PAGE)?;
        (set != UNKNOWN).then_some(set)
    }

    fn set(&mut self, series: SeriesId, set: u32) {
        if self.pages.is_empty() && self.few.len() < FEW {
            self.few.push((series, set));
            return;
        }
        for (known, set) in std::mem::take(&mut self.few) {
            self.set_in_page(known, set);
        }
        self.set_in_page(series, set);
    }

    fn set_in_page(&mut self, SeriesId(series): SeriesId, set: u32) {
        let place = series as usize;
        if self.pages.len() <= place / PAGE {
            self.pages.resize_with(place / PAGE + 1, || None);
        }
        self.pages[place / PAGE].get_or_insert_with(|| Box::new([UNKNOWN; PAGE]))[place % PAGE] = set;
    }
}

impl<'a> Groups<'a> {
    pub(super) fn new(names: &'a Names, plan: &'a Plan, gathered: &'a Gathered) -> Self {
        let mut groups = Self {
            names,
            gathered,
            filter: &plan.filter,
            group_by: &plan.group_by,
            tables: Vec::new(),
            numbers: HashMap::default(),
            keys: Vec::new(),
            named: Vec::new(),
            others: None,
            sets: vec![Box::default()],
            set_numbers: HashMap::default(),
            alone: Vec::new(),
        };
        if let Some(only) = &plan.only {
            // A value without a symbol is in no series.
            let symbol = |value: &Option<Arc<str>>| match value {
                Some(text) => names.find_symbol(text).map(Some),
                None => Some(None),
            };
            for group in &only.groups {
                let key: Option<Vec<Option<Symbol>>> = group.iter().map(symbol).collect();
                key.map(|key| groups.number_of(&key));
            }
            groups.others = Some(only.others);
        }
        groups
    }

    /// The table for a filter beside the plan's, of facts that may be credited to other values than their own, or not.
    pub(super) fn table(&mut self, filter: &'a Filter, is_credited: bool) -> TableNumber {
        let is_it = |(known, credited, _): &(&Filter, bool, Table)| *known == filter && *credited == is_credited;
        TableNumber(self.tables.iter().position(is_it).unwrap_or_else(|| {
            let stand_ins = (!is_credited).then(|| self.first_met(filter));
            self.tables.push((filter, is_credited, Table { stand_ins, ..Table::default() }));
            self.tables.len() - 1
        }))
    }

    /// The stand-ins for those dimensions that the plan and a filter beside its own look at.
    fn first_met(&self, filter: &Filter) -> Arc<FirstMet> {
        let mut dimensions = self.group_by.to_vec();
        self.filter.dimensions(&mut |dimension| dimensions.push(dimension.clone()));
        filter.dimensions(&mut |dimension| dimensions.push(dimension.clone()));
        dimensions.sort_unstable();
        dimensions.dedup();
        self.names.first_met(&dimensions)
    }

    /// Who stands for the series of a table; `None` where they may be credited to other values than their own.
    pub(super) fn stand_ins(&self, table: TableNumber) -> Option<Arc<FirstMet>> {
        self.tables[table.0].2.stand_ins.clone()
    }

    /// The groups that a series belongs to.
    #[inline]
    pub(super) fn of(&mut self, table: TableNumber, series: SeriesId) -> &[u32] {
        let known = &self.tables[table.0].2;
        let stand_in = known.stand_ins.as_ref().and_then(|stand_ins| stand_ins.remembered(series));
        let set = known.get(stand_in.unwrap_or(series)).unwrap_or_else(|| self.meet(table, series));
        &self.sets[set as usize]
    }

    /// The set of a series that is met for the first time.
    #[cold]
    fn meet(&mut self, table: TableNumber, series: SeriesId) -> u32 {
        let known = &self.tables[table.0].2;
        let Some(stand_ins) = known.stand_ins.clone() else { return self.find(table, series) };
        let stand_in = stand_ins.stand_in(series, self.names);
        let set = known.get(stand_in).unwrap_or_else(|| self.find(table, stand_in));
        if stand_ins.remembered(series).is_none() {
            // There was no room for it: it is known to this question only.
            self.tables[table.0].2.set(series, set);
        }
        set
    }

    fn find(&mut self, TableNumber(table): TableNumber, series: SeriesId) -> u32 {
        let (names, filter) = (self.names, self.tables[table].0);
        let passing =
            self.values(series).filter(|values| values.pass(self.filter, names) && values.pass(filter, names));
        let set = passing.map_or(0, |values| self.set(&values));
        self.tables[table].2.set(series, set);
        set
    }

    /// The set of groups that dimension values belong to.
    fn set(&mut self, values: &DimensionValues) -> u32 {
        if self.group_by.contains(&Dimension::Tag) || self.group_by.len() > MOST_AT_ONCE {
            let groups = self.number(values);
            return match groups.as_slice() {
                [] => 0,
                [one] => self.set_alone(*one),
                _ => self.set_of(groups),
            };
        }
        let mut key = [None; MOST_AT_ONCE];
        for (value, dimension) in key.iter_mut().zip(self.group_by) {
            *value = values.value(dimension, self.names);
        }
        self.number_of(&key[..self.group_by.len()]).map_or(0, |group| self.set_alone(group))
    }

    fn set_alone(&mut self, group: u32) -> u32 {
        let place = group as usize;
        if self.alone.len() <= place {
            self.alone.resize(place + 1, 0);
        }
        if self.alone[place] == 0 {
            self.alone[place] = self.add_set(Box::new([group]));
        }
        self.alone[place]
    }

    fn set_of(&mut self, groups: Vec<u32>) -> u32 {
        self.set_numbers.get(groups.as_slice()).copied().unwrap_or_else(|| {
            let set = self.add_set(groups.as_slice().into());
            self.set_numbers.insert(groups.into(), set);
            set
        })
    }

    fn add_set(&mut self, groups: Box<[u32]>) -> u32 {
        self.sets.push(groups);
        u32::try_from(self.sets.len() - 1).expect("no more sets than series")
    }

    /// The dimension values a series means: its own, over those of the conversation it is credited to.
    pub(super) fn values(&self, series: SeriesId) -> Option<Cow<'a, DimensionValues>> {
        let own = self.names.values(series)?;
        let credited = own.credit().and_then(|key| self.gathered.credits.get(&key.get()));
        Some(match credited.and_then(|series| self.names.values(*series)) {
            Some(beneath) => Cow::Owned(own.over(beneath)),
            None => Cow::Borrowed(own),
        })
    }

    fn number(&mut self, values: &DimensionValues) -> Vec<u32> {
        let mut keys: Vec<Vec<Option<Symbol>>> = vec![Vec::with_capacity(self.group_by.len())];
        for dimension in self.group_by {
            match dimension {
                Dimension::Tag if !values.tags().is_empty() => {
                    let with = |key: &Vec<_>, tag: &Symbol| [key.as_slice(), &[Some(*tag)]].concat();
                    keys = keys.iter().flat_map(|key| values.tags().iter().map(move |tag| with(key, tag))).collect();
                }
                Dimension::Tag => keys.iter_mut().for_each(|key| key.push(None)),
                single => {
                    let value = values.value(single, self.names);
                    for key in &mut keys {
                        key.push(value);
                    }
                }
            }
        }
        let mut numbers: Vec<u32> = keys.into_iter().filter_map(|key| self.number_of(&key)).collect();
        if self.others == Some(true) {
            // Two others are one group.
            numbers.sort_unstable();
            numbers.dedup();
        }
        numbers
    }

    fn number_of(&mut self, key: &Key) -> Option<u32> {
        // What all others have in common is that they have no values.
        let key = match self.others {
            None => key,
            Some(_) if self.numbers.contains_key(key) => key,
            Some(true) => &[],
            Some(false) => return None,
        };
        Some(self.numbers.get(key).copied().unwrap_or_else(|| self.add(key)))
    }

    fn add(&mut self, key: &Key) -> u32 {
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push(key.into());
        self.numbers.insert(key.into(), number);
        number
    }

    /// The values of a group: each time the same ones in memory.
    pub(super) fn named(&mut self, group: usize) -> Group {
        self.named.resize(self.keys.len(), None);
        let (key, names) = (&self.keys[group], self.names);
        let new = || key.iter().map(|value| value.map(|symbol| names.shared_text(symbol))).collect();
        Arc::clone(self.named[group].get_or_insert_with(new))
    }

    /// How many groups have a number.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }
}
