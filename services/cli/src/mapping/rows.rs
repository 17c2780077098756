//! Rows in, events out: every row, the last row of a key, or the changes from row to row.

use std::cmp::Ordering;
use std::collections::HashMap;

use anyhow::Context as _;
use csv::StringRecord;
use deskpulse_proto::v1;

use super::columns::{BadRow, Header, field};
use super::text::push_escaped;
use super::{Mapping, Mode};
use crate::failure::Failure;

/// The most rows held in memory.
const HELD_ROWS_LIMIT: usize = 10_000_000;

/// Where a row was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The index of the file.
    pub(crate) file: usize,
    /// The line, from 1.
    pub(crate) line: u64,
}

/// The events of a row, or why it cannot be used.
pub(crate) type RowOutcome = Result<Vec<v1::Event>, BadRow>;

/// Turns rows into events.
#[derive(Debug)]
pub(crate) struct Mapper {
    mapping: Mapping,
    header: Option<Header>,
    /// The keys seen, each with its number.
    keys: HashMap<String, usize>,
    /// For `last_row_per_key` the last row of each key, for `changes` the one before; by the key's number.
    latest: Vec<Held>,
    /// For `changes` with an order, all rows.
    unsorted: Vec<(usize, Held)>,
}

#[derive(Debug)]
struct Held {
    place: Place,
    order: Vec<OrderValue>,
    row: StringRecord,
}

impl Held {
    /// The row's position among those of its key.
    fn rank(&self) -> (&[OrderValue], Place) {
        (&self.order, self.place)
    }
}

impl Mapper {
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self { mapping, header: None, keys: HashMap::new(), latest: Vec::new(), unsorted: Vec::new() }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Begins a file with its header.
    pub(crate) fn begin(&mut self, header: &StringRecord) -> anyhow::Result<()> {
        self.header = Some(self.mapping.columns.bind(header)?);
        Ok(())
    }

    /// Takes a row: its events, none when they come later, or why it is a bad one.
    pub(crate) fn push(&mut self, place: Place, row: &StringRecord) -> anyhow::Result<RowOutcome> {
        let header = self.header.as_ref().context("rows come after their header")?;
        let row = match self.mapping.columns.project(header, row) {
            Ok(row) => row,
            Err(bad) => return Ok(Err(bad)),
        };
        if !self.mapping.when.iter().all(|condition| condition.holds(&row, None)) {
            return Ok(Ok(Vec::new()));
        }
        if self.mapping.mode == Mode::EachRow {
            return Ok(self.mapping.events(&row, None));
        }
        let key = match self.key(&row) {
            Ok(key) => key,
            Err(bad) => return Ok(Err(bad)),
        };
        let order = self.mapping.order_by.iter().map(|&slot| OrderValue::new(field(&row, slot))).collect();
        let held = Held { place, order, row };
        let sorted_later = self.mapping.mode == Mode::Changes && !self.mapping.order_by.is_empty();
        let mut outcome = Ok(Vec::new());
        if self.mapping.mode == Mode::Changes && !sorted_later {
            let before = self.keys.get(&key).and_then(|&number| self.latest.get(number)).map(|before| &before.row);
            outcome = self.mapping.events(&held.row, before);
            if outcome.is_err() {
                // Not used at all: what it changed is still to be told, by the next row of its key.
                return Ok(outcome);
            }
        }
        let known = self.keys.len();
        let number = *self.keys.entry(key).or_insert(known);
        if sorted_later {
            self.unsorted.push((number, held));
        } else if let Some(latest) = self.latest.get_mut(number) {
            if held.rank() >= latest.rank() {
                *latest = held;
            }
        } else {
            self.latest.push(held);
        }
        if self.latest.len().max(self.unsorted.len()) > HELD_ROWS_LIMIT {
            let message = "the mapping's mode would hold more than ten million rows in memory";
            let hint = "split the input by key, or sort it and leave `order_by` out";
            return Err(Failure::new(message, hint).into());
        }
        Ok(outcome)
    }

    /// Hands over what was held back.
    pub(crate) fn finish(
        mut self,
        mut sink: impl FnMut(Place, RowOutcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.mapping.mode == Mode::LastRowPerKey {
            return self.latest.iter().try_for_each(|held| sink(held.place, self.mapping.events(&held.row, None)));
        }
        self.unsorted.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.rank().cmp(&right.rank())));
        let mut before: Option<&(usize, Held)> = None;
        for current in &self.unsorted {
            let same_key = before.filter(|before| before.0 == current.0).map(|before| &before.1.row);
            let outcome = self.mapping.events(&current.1.row, same_key);
            if outcome.is_ok() {
                before = Some(current);
            }
            sink(current.1.place, outcome)?;
        }
        Ok(())
    }

    fn key(&self, row: &StringRecord) -> Result<String, BadRow> {
        let mut key = String::new();
        for &slot in &self.mapping.key {
            let part = field(row, slot).ok_or_else(|| BadRow {
                column: self.mapping.columns.name(slot).to_owned(),
                reason: "no value for the key".to_owned(),
            })?;
            push_escaped(&mut key, part);
            key.push(':');
        }
        Ok(key)
    }
}

/// A value to order rows by: nothing, then numbers, then text.
#[derive(Debug, PartialEq)]
enum OrderValue {
    Null,
    /// The whole part, rounded down, and the rest.
    Number(i128, f64),
    Text(String),
}

impl OrderValue {
    fn new(field: Option<&str>) -> Self {
        field.map_or(Self::Null, |text| Self::number(text.trim()).unwrap_or_else(|| Self::Text(text.to_owned())))
    }

    fn number(text: &str) -> Option<Self> {
        let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole: i128 = digits.parse().ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let fraction: f64 = format!("0.{fraction}").parse().ok()?;
        let below_zero = text.starts_with('-') && fraction > 0.0;
        Some(if below_zero { Self::Number(whole - 1, 1.0 - fraction) } else { Self::Number(whole, fraction) })
    }
}

impl Eq for OrderValue {}

impl PartialOrd for OrderValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Number(whole, part), Self::Number(other_whole, other_part)) => {
                whole.cmp(other_whole).then(part.total_cmp(other_part))
            }
            (Self::Text(text), Self::Text(other)) => text.cmp(other),
            (Self::Null, _) | (Self::Number(..), Self::Text(_)) => Ordering::Less,
            (_, Self::Null) | (Self::Text(_), Self::Number(..)) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers_before_text() {
        let texts = [
            None,
            Some("-1.5"),
            Some("-1"),
            Some("2"),
            Some("10"),
            Some("10.25"),
            Some("1112345678901234567"),
            Some("x"),
        ];
        let ordered: Vec<OrderValue> = texts.into_iter().map(OrderValue::new).collect();
        assert!(ordered.is_sorted());
        assert!(ordered.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
