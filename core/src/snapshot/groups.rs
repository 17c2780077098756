//! Which groups facts belong to.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Gathered, Group, Plan};
use crate::dimension::Dimension;
use crate::filter::Filter;
use crate::series::{DimensionValues, Names, SeriesId, Symbol};

/// Which groups each series belongs to: none when a filter leaves it out, several when grouped by tag.
pub(super) struct Groups<'a> {
    names: &'a Names,
    gathered: &'a Gathered,
    filter: &'a Filter,
    group_by: &'a [Dimension],
    of_series: HashMap<SeriesId, Rc<[u32]>>,
    /// The same for parts with a filter of their own.
    of_filtered: HashMap<(SeriesId, &'a Filter), Rc<[u32]>>,
    numbers: HashMap<Box<[Option<Symbol>]>, u32>,
    keys: Vec<Box<[Option<Symbol>]>>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(names: &'a Names, plan: &'a Plan, gathered: &'a Gathered) -> Self {
        Self {
            names,
            gathered,
            filter: &plan.filter,
            group_by: &plan.group_by,
            of_series: HashMap::new(),
            of_filtered: HashMap::new(),
            numbers: HashMap::new(),
            keys: Vec::new(),
        }
    }

    pub(super) fn of(&mut self, series: SeriesId, filter: &'a Filter) -> Rc<[u32]> {
        let known = match filter {
            Filter::Everything => self.of_series.get(&series),
            filter => self.of_filtered.get(&(series, filter)),
        };
        if let Some(groups) = known {
            return Rc::clone(groups);
        }
        let passing = self
            .values(series)
            .filter(|values| values.pass(self.filter, self.names) && values.pass(filter, self.names));
        let groups: Rc<[u32]> = passing.map(|values| self.number(&values)).unwrap_or_default().into();
        match filter {
            Filter::Everything => self.of_series.insert(series, Rc::clone(&groups)),
            filter => self.of_filtered.insert((series, filter), Rc::clone(&groups)),
        };
        groups
    }

    /// The dimension values a series means: its own, over those of the conversation it is credited to.
    fn values(&self, series: SeriesId) -> Option<DimensionValues> {
        let own = self.names.values(series)?;
        let credited = own.credit().and_then(|key| self.gathered.credits.get(&key.get()));
        Some(match credited.and_then(|series| self.names.values(*series)) {
            Some(beneath) => own.over(beneath),
            None => own.clone(),
        })
    }

    fn number(&mut self, values: &DimensionValues) -> Vec<u32> {
        let mut keys: Vec<Vec<Option<Symbol>>> = vec![Vec::new()];
        for dimension in self.group_by {
            let choices = match dimension {
                Dimension::Tag if values.tags().is_empty() => vec![None],
                Dimension::Tag => values.tags().iter().copied().map(Some).collect(),
                single => vec![values.value(single, self.names)],
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

    pub(super) fn named(&self, group: u32) -> Group {
        let key = self.keys.get(group as usize).map(Box::as_ref).unwrap_or_default();
        key.iter().map(|value| value.map(|symbol| self.names.text(symbol).to_owned())).collect()
    }
}
