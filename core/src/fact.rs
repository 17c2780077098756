//! What events mean: signed, countable facts.

mod measure;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rules::Rules;
use crate::series::{DimensionValues, Names, SeriesId, Symbol};
use crate::time::Timestamp;

pub use measure::{Measure, ValueKind};

/// At which end of what is measured a fact counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Anchor {
    /// When it completed.
    Completion,
    /// When it started: the conversation, wait, offer or assignment.
    Start,
}

/// How a duration is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Clock {
    /// Elapsed time.
    Calendar,
    /// Time inside business hours.
    Business,
}

/// A duration on both clocks, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasted {
    /// Elapsed time.
    pub calendar_ms: i64,
    /// Time inside business hours.
    pub business_ms: i64,
}

/// Whether a fact is stated or taken back. For levels: up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Weight {
    /// Counts -1.
    Minus,
    /// Counts +1.
    Plus,
}

impl Weight {
    /// +1 or -1.
    #[must_use]
    pub const fn sign(self) -> i64 {
        match self {
            Self::Plus => 1,
            Self::Minus => -1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }
}

/// One thing to count. Facts form a group: each can be taken back exactly, and their order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// What it measures.
    pub measure: Measure,
    /// At which end of it.
    pub anchor: Anchor,
    /// On which clock.
    pub clock: Clock,
    /// The instant it counts at.
    pub at: Timestamp,
    /// The dimension values it carries.
    pub series: SeriesId,
    /// What was measured; 0 where only the number counts.
    pub value: i64,
    /// Stated or taken back.
    pub weight: Weight,
}

impl Fact {
    /// The fact that takes this one back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { weight: self.weight.inverse(), ..self }
    }
}

/// Facts as they are found, the tables to intern their dimension values with and the rules in force.
#[derive(Debug)]
pub struct Facts<'a> {
    names: &'a Names,
    rules: &'a Rules,
    list: Vec<Fact>,
}

impl<'a> Facts<'a> {
    /// No facts yet.
    #[must_use]
    pub fn new(names: &'a Names, rules: &'a Rules) -> Self {
        Self { names, rules, list: Vec::new() }
    }

    /// No facts yet, in the place of a list that is no longer needed: one list serves a whole block.
    #[must_use]
    pub fn reusing(mut list: Vec<Fact>, names: &'a Names, rules: &'a Rules) -> Self {
        list.clear();
        Self { names, rules, list }
    }

    /// The tables that dimension values are interned with.
    #[must_use]
    pub fn names(&self) -> &'a Names {
        self.names
    }

    /// The tenant's calendars, policies and scales.
    #[must_use]
    pub fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// None of these facts, but the same tables and rules.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self::new(self.names, self.rules)
    }

    /// The series of some dimension values.
    #[must_use]
    pub fn series(&self, values: &DimensionValues) -> SeriesId {
        self.names.series(values)
    }

    /// The series of some dimension values, and these as the table of series has them.
    #[must_use]
    pub fn interned(&self, values: &DimensionValues) -> (SeriesId, Arc<DimensionValues>) {
        self.names.interned(values)
    }

    /// The text of a symbol.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &'a str {
        self.names.text(symbol)
    }

    /// States a fact and gives it back, so that it can be taken back.
    pub fn state(&mut self, measure: Measure, at: Timestamp, series: SeriesId, value: i64) -> Fact {
        let (anchor, clock) = (Anchor::Completion, Clock::Calendar);
        self.add(Fact { measure, anchor, clock, at, series, value, weight: Weight::Plus })
    }

    /// States a fact that counts at the start of what it measures.
    pub fn state_at_start(&mut self, measure: Measure, at: Timestamp, series: SeriesId, value: i64) -> Fact {
        debug_assert!(measure.has_start(), "{measure:?} is not asked for at its start");
        let (anchor, clock) = (Anchor::Start, Clock::Calendar);
        self.add(Fact { measure, anchor, clock, at, series, value, weight: Weight::Plus })
    }

    /// States a duration at one end, on both clocks where there are business hours.
    pub fn lasted(&mut self, measure: Measure, anchor: Anchor, at: Timestamp, series: SeriesId, lasted: Lasted) {
        debug_assert!(measure.has_clocks(), "{measure:?} is not asked for on the business clock");
        let weight = Weight::Plus;
        self.add(Fact { measure, anchor, clock: Clock::Calendar, at, series, value: lasted.calendar_ms, weight });
        if self.rules.has_calendars() {
            self.add(Fact { measure, anchor, clock: Clock::Business, at, series, value: lasted.business_ms, weight });
        }
    }

    /// States a level that lasts from one instant to another, or on; nothing when it would not last.
    pub fn span(&mut self, measure: Measure, from: Timestamp, to: Option<Timestamp>, series: SeriesId, value: i64) {
        if to.is_some_and(|to| to <= from) {
            return;
        }
        self.state(measure, from, series, value);
        if let Some(to) = to {
            self.lower(measure, to, series, value);
        }
    }

    fn add(&mut self, fact: Fact) -> Fact {
        self.list.push(fact);
        fact
    }

    /// States what leads from some facts to others.
    pub fn change(&mut self, from: &Self, to: &Self) {
        self.list.extend(difference(&from.list, &to.list));
    }

    /// Takes a fact back.
    pub fn take_back(&mut self, fact: Fact) {
        self.list.push(fact.inverse());
    }

    /// States a fact of weight -1: a level goes down.
    pub fn lower(&mut self, measure: Measure, at: Timestamp, series: SeriesId, value: i64) {
        let (anchor, clock) = (Anchor::Completion, Clock::Calendar);
        self.add(Fact { measure, anchor, clock, at, series, value, weight: Weight::Minus });
    }

    /// How many there are: a place to look from with [`Self::since`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The facts found after a place.
    #[must_use]
    pub fn since(&self, place: usize) -> &[Fact] {
        self.list.get(place..).unwrap_or_default()
    }

    /// The facts.
    #[must_use]
    pub fn into_list(self) -> Vec<Fact> {
        self.list
    }
}

/// Facts that hold until something changes: then they are taken back and others hold.
#[derive(Debug, Clone, Default)]
pub struct Holding(Vec<Fact>);

impl Holding {
    /// States `now` in the place of what held; only what differs is stated.
    pub fn become_now(&mut self, now: Facts, facts: &mut Facts) {
        let now = now.into_list();
        if self.0 == now {
            return;
        }
        facts.list.extend(difference(&self.0, &now));
        self.0 = now;
    }

    /// These facts, stated already, hold from now on too.
    pub fn add(&mut self, facts: &[Fact]) {
        self.0.extend(facts);
    }

    /// Nothing is held any more: what was stated stays for good.
    pub fn settle(&mut self) {
        self.0.clear();
    }
}

/// What leads from the facts `old` to the facts `new`: nothing of what they share, sorted, pairs cancelled.
#[must_use]
pub fn difference(old: &[Fact], new: &[Fact]) -> Vec<Fact> {
    // What was folded from the same events up to a late one begins alike.
    let alike = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[alike..], &new[alike..]);
    if let ([], [_]) = (old, new) {
        return new.to_vec();
    }
    let mut all: Vec<Fact> = new.iter().copied().chain(old.iter().map(|fact| fact.inverse())).collect();
    cancel(&mut all);
    all
}

/// Removes facts together with their inverses; leaves the rest sorted.
pub fn cancel(facts: &mut Vec<Fact>) {
    facts.sort_unstable();
    let key = |fact: &Fact| Fact { weight: Weight::Plus, ..*fact };
    let mut kept = 0;
    let mut from = 0;
    while from < facts.len() {
        let run = facts[from..].iter().take_while(|fact| key(fact) == key(&facts[from])).count();
        let net: i64 = facts[from..from + run].iter().map(|fact| fact.weight.sign()).sum();
        let weight = if net < 0 { Weight::Minus } else { Weight::Plus };
        let fact = Fact { weight, ..facts[from] };
        for _ in 0..net.unsigned_abs() {
            facts[kept] = fact;
            kept += 1;
        }
        from += run;
    }
    facts.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_of_equal_lists_is_nothing_and_of_others_leads_from_one_to_the_other() {
        let names = Names::default();
        let series = names.series(&DimensionValues::default());
        let fact = |ms: i64| Fact {
            measure: Measure::Opened,
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            at: Timestamp::clamped(ms),
            series,
            value: ms,
            weight: Weight::Plus,
        };
        assert!(difference(&[fact(1), fact(2), fact(2)], &[fact(2), fact(1), fact(2)]).is_empty());
        assert_eq!(difference(&[fact(1), fact(2)], &[fact(2), fact(3)]), [fact(1).inverse(), fact(3)]);
        assert_eq!(difference(&[], &[fact(2), fact(1).inverse(), fact(1)]), [fact(2)]);
        assert_eq!(difference(&[fact(2)], &[fact(2), fact(2), fact(2)]), [fact(2), fact(2)]);
    }
}
