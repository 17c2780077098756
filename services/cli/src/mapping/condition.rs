//! Conditions on a row, and on what changed since the row before it.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use csv::StringRecord;
use serde::Deserialize;

use super::columns::{Columns, field};

const SHAPE: &str = "a condition is a `column` with exactly one of `equals`, `not_equals`, `in`, `not_in`, `is_set`, \
                     `changed`, or else `any` alone";

/// A condition as the mapping file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConditionEntry {
    column: Option<String>,
    equals: Option<String>,
    not_equals: Option<String>,
    #[serde(rename = "in")]
    one_of: Option<Vec<String>>,
    not_in: Option<Vec<String>>,
    is_set: Option<bool>,
    changed: Option<bool>,
    any: Option<Vec<ConditionEntry>>,
}

/// A condition on a row.
#[derive(Debug)]
pub(crate) enum Condition {
    OneOf { slot: usize, values: BTreeSet<String>, expected: bool },
    IsSet { slot: usize, expected: bool },
    Changed { slot: usize, expected: bool },
    Any(Vec<Condition>),
}

impl Condition {
    /// Checks a list of entries, all of which must hold.
    pub(crate) fn parse_all(
        entries: Vec<ConditionEntry>,
        columns: &mut Columns,
        knows_changes: bool,
    ) -> anyhow::Result<Vec<Self>> {
        entries
            .into_iter()
            .enumerate()
            .map(|(index, entry)| Self::parse(entry, columns, knows_changes).with_context(|| format!("when[{index}]")))
            .collect()
    }

    fn parse(entry: ConditionEntry, columns: &mut Columns, knows_changes: bool) -> anyhow::Result<Self> {
        let ConditionEntry { column, equals, not_equals, one_of, not_in, is_set, changed, any } = entry;
        let values = |value: String| BTreeSet::from([value]);
        let tests = [
            equals.map(|value| (values(value), true)),
            not_equals.map(|value| (values(value), false)),
            one_of.map(|values| (values.into_iter().collect(), true)),
            not_in.map(|values| (values.into_iter().collect(), false)),
        ];
        let tests: Vec<(BTreeSet<String>, bool)> = tests.into_iter().flatten().collect();
        if changed.is_some() && !knows_changes {
            bail!("`changed` needs mode = \"changes\"");
        }
        let slot = column.map(|column| columns.slot(&column));
        let mut tests = tests.into_iter();
        let parsed = match (slot, tests.next(), is_set, changed, any) {
            (Some(slot), Some((values, expected)), None, None, None) => Self::OneOf { slot, values, expected },
            (Some(slot), None, Some(expected), None, None) => Self::IsSet { slot, expected },
            (Some(slot), None, None, Some(expected), None) => Self::Changed { slot, expected },
            (None, None, None, None, Some(any)) => Self::Any(Self::parse_all(any, columns, knows_changes)?),
            _ => bail!("{SHAPE}"),
        };
        if tests.next().is_some() {
            bail!("{SHAPE}");
        }
        Ok(parsed)
    }

    /// Whether it holds. `before` is the row before this one of the same key; against none, every set column changed.
    pub(crate) fn holds(&self, row: &StringRecord, before: Option<&StringRecord>) -> bool {
        match self {
            Self::OneOf { slot, values, expected } => {
                field(row, *slot).is_some_and(|value| values.contains(value)) == *expected
            }
            Self::IsSet { slot, expected } => field(row, *slot).is_some() == *expected,
            Self::Changed { slot, expected } => {
                (field(row, *slot) != before.and_then(|before| field(before, *slot))) == *expected
            }
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(row, before)),
        }
    }
}
