//! What a row of facts holds.
//!
//! One event mostly states several facts at one instant, about one subject, under the same dimension values, and of the same value: a
//! customer's message is received, begins a wait and raises a level. They are written as one row; which facts it stands for is its
//! *form*, and each form has columns of its own.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{StoredFact, SubjectNumber};
use crate::fact::Weight;
use crate::series::SeriesId;

/// The most facts in a row, and the most different values.
pub(super) const MOST_FACTS: usize = 16;
pub(super) const MOST_VALUES: usize = 4;

/// How many forms of several facts a partition has at most: the facts of further ones stand in rows of their own.
const MOST_FORMS: usize = 512;

/// A fact of a row: what it measures (the number of its [`super::ColumnKey`]), its weight, and which of the row's values is its.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Member(u16);

impl Member {
    const VALUE: u32 = 1;
    const KEY: u32 = 4;

    /// `value` counts from 1; 0 for a fact whose value is 0.
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^12 keys and 2^3 values")]
    fn new(key: usize, weight: Weight, value: usize) -> Self {
        Self((key << Self::KEY | value << Self::VALUE | usize::from(weight == Weight::Minus)) as u16)
    }

    pub(super) fn key(self) -> usize {
        usize::from(self.0 >> Self::KEY)
    }

    pub(super) fn weight(self) -> Weight {
        if self.0 & 1 == 0 { Weight::Plus } else { Weight::Minus }
    }

    /// Counts from 1; 0 for a fact whose value is 0.
    fn value(self) -> usize {
        usize::from(self.0 >> Self::VALUE & 7)
    }
}

/// Facts that share all but what they measure; which facts these are, says their [`Form`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The instant they count at, in milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) series: SeriesId,
    pub(super) subject: SubjectNumber,
    /// Their values, as many as the form has; the others are 0.
    pub(super) values: [i64; MOST_VALUES],
}

/// The facts that a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    members: Arc<[Member]>,
    /// A bit for each of their keys, by its remainder: most forms have none of a key.
    keys: u64,
    /// How many values a row has.
    pub(super) values: usize,
}

impl Form {
    fn new(members: Arc<[Member]>) -> Self {
        let values = members.iter().map(|member| member.value()).max().unwrap_or(0);
        let keys = members.iter().fold(0, |keys, member| keys | key_bit(member.key()));
        Self { members, keys, values }
    }

    /// Which facts a row stands for.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Those of them with a key.
    pub(super) fn with(&self, key: usize) -> impl Iterator<Item = Member> {
        let members = if self.keys & key_bit(key) == 0 { &[] } else { self.members() };
        members.iter().copied().filter(move |member| member.key() == key)
    }
}

fn key_bit(key: usize) -> u64 {
    1 << (key % 64)
}

impl Row {
    /// The fact of a row that a member of its form stands for.
    pub(super) fn fact(&self, member: Member) -> StoredFact {
        let Self { at_ms, series, subject, values } = *self;
        let value = member.value().checked_sub(1).and_then(|place| values.get(place)).copied().unwrap_or(0);
        StoredFact { at_ms, series, subject, value, weight: member.weight() }
    }
}

/// A row as it is put together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) row: Row,
    values: usize,
    members: [Member; MOST_FACTS],
    len: usize,
}

impl Draft {
    pub(super) fn new(at_ms: i64, series: SeriesId, subject: SubjectNumber) -> Self {
        let row = Row { at_ms, series, subject, values: [0; MOST_VALUES] };
        Self { row, values: 0, members: [Member(0); MOST_FACTS], len: 0 }
    }

    /// Adds a fact; false where there is no room for it.
    #[inline]
    pub(super) fn add(&mut self, key: usize, weight: Weight, value: i64) -> bool {
        let Some(member) = self.members.get_mut(self.len) else { return false };
        // Facts of one value mostly follow each other; one that comes again after another stands twice.
        let is_known = value == 0 || (self.values > 0 && self.row.values[self.values - 1] == value);
        if !is_known {
            let Some(place) = self.row.values.get_mut(self.values) else { return false };
            *place = value;
            self.values += 1;
        }
        *member = Member::new(key, weight, if value == 0 { 0 } else { self.values });
        self.len += 1;
        true
    }

    fn members(&self) -> &[Member] {
        &self.members[..self.len]
    }

    /// How many facts there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The row's facts, each in a row of its own.
    pub(super) fn apart(&self) -> impl Iterator<Item = Self> {
        let row = self.row;
        self.members().iter().map(move |member| {
            let mut alone = Self::new(row.at_ms, row.series, row.subject);
            alone.add(member.key(), member.weight(), row.fact(*member).value);
            alone
        })
    }
}

/// More than there are forms.
const NONE: u32 = u32::MAX;

/// The forms of a partition's rows, with numbers.
#[derive(Debug, Default)]
pub(super) struct Forms {
    list: Vec<Form>,
    /// Those of one fact, by that fact; [`NONE`] where there is none.
    alone: Vec<u32>,
    /// The others.
    numbers: HashMap<Box<[Member]>, u32, RandomState>,
}

impl Forms {
    /// The number of a row's form. `None` where there are too many forms: its facts have to stand [apart](Draft::apart).
    pub(super) fn number(&mut self, draft: &Draft) -> Option<u32> {
        let members = draft.members();
        let known = match members {
            [only] => self.alone.get(usize::from(only.0)).copied().filter(|number| *number != NONE),
            several => self.numbers.get(several).copied(),
        };
        known.or_else(|| self.add(members))
    }

    #[cold]
    fn add(&mut self, members: &[Member]) -> Option<u32> {
        let number = u32::try_from(self.list.len()).expect("few forms of one fact, and a bounded number of others");
        if let [only] = members {
            let place = usize::from(only.0);
            self.alone.resize(self.alone.len().max(place + 1), NONE);
            self.alone[place] = number;
        } else if self.numbers.len() == MOST_FORMS {
            return None;
        } else {
            self.numbers.insert(members.into(), number);
        }
        self.list.push(Form::new(members.into()));
        Some(number)
    }

    /// The form with a number that [`Self::number`] gave.
    pub(super) fn form(&self, number: u32) -> Form {
        self.list[number as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stands_for_its_facts_and_too_many_forms_are_taken_apart() {
        let mut forms = Forms::default();
        let mut rows = Vec::new();
        let draft_of = |facts: &[(usize, i64)]| {
            let mut draft = Draft::new(5, SeriesId(7), SubjectNumber(9));
            assert!(facts.iter().all(|(key, value)| draft.add(*key, Weight::Plus, *value)));
            draft
        };
        // Every pair of 40 keys: 780 forms of two facts each.
        for one in 0..40 {
            for other in 0..one {
                let value = i64::try_from(one).expect("small");
                let draft = draft_of(&[(one, value), (other, 0), (other, 100)]);
                let drafts = match forms.number(&draft) {
                    Some(_) => vec![draft],
                    None => draft.apart().collect(),
                };
                let mut facts = Vec::new();
                for draft in &drafts {
                    let number = forms.number(draft).expect("there is room");
                    let form = forms.form(number);
                    let of_row = form.members().iter().map(|member| (member.key(), draft.row.fact(*member).value));
                    facts.extend(of_row);
                }
                assert_eq!(facts, [(one, value), (other, 0), (other, 100)]);
                rows.push(drafts.len());
            }
        }
        assert_eq!((rows.iter().position(|rows| *rows == 3), rows.last()), (Some(MOST_FORMS), Some(&3)));
        assert_eq!(forms.form(0).values, 2);
    }

    #[test]
    fn there_is_no_room_for_a_fifth_value_or_a_seventeenth_fact() {
        let mut draft = Draft::new(0, SeriesId(0), SubjectNumber(0));
        assert!((1..=4).all(|value| draft.add(1, Weight::Plus, value)));
        assert!(!draft.add(1, Weight::Minus, 5));
        assert!((0..12).all(|_| draft.add(1, Weight::Minus, 4)));
        assert!(!draft.add(1, Weight::Minus, 4));
    }
}
