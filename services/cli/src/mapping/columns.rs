//! The columns a mapping uses, and rows cut down to them.

use std::collections::BTreeMap;

use anyhow::bail;
use csv::StringRecord;

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The columns at fault, separated by commas; empty when it is the row as a whole.
    pub column: String,
    /// Why, in words.
    pub reason: String,
}

/// The columns a mapping uses, in the order in which it names them first: a column's index here is its *slot*.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    names: Vec<String>,
    nulls: Vec<String>,
    nulls_by_column: BTreeMap<String, Vec<String>>,
    trim: bool,
}

impl Columns {
    pub(crate) fn new(nulls: Vec<String>, nulls_by_column: BTreeMap<String, Vec<String>>, trim: bool) -> Self {
        Self { names: Vec::new(), nulls, nulls_by_column, trim }
    }

    /// The slot of a column, given on first use.
    pub(crate) fn slot(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    pub(crate) fn name(&self, slot: usize) -> &str {
        self.names.get(slot).map_or("", String::as_str)
    }

    /// Finds the columns in a file's header.
    pub(crate) fn bind(&self, header: &StringRecord) -> anyhow::Result<Header> {
        let mut positions = Vec::with_capacity(self.names.len());
        for name in self.names.iter().chain(self.nulls_by_column.keys()) {
            let mut found = header.iter().enumerate().filter(|(_, title)| title.trim() == name).map(|(index, _)| index);
            match (found.next(), found.next()) {
                (Some(position), None) => positions.push(position),
                (Some(_), Some(_)) => bail!("column `{name}` is in the header twice"),
                (None, _) => {
                    let known = header.iter().map(str::trim).collect::<Vec<_>>().join("`, `");
                    bail!("column `{name}` is not in the header, which has `{known}`");
                }
            }
        }
        positions.truncate(self.names.len());
        Ok(Header { width: header.len(), positions })
    }

    /// Cuts a row down to the columns used, slot by slot; null is an empty field.
    pub(crate) fn project(&self, header: &Header, row: &StringRecord) -> Result<StringRecord, BadRow> {
        if row.len() != header.width {
            let reason = format!("{} columns where the header has {}", row.len(), header.width);
            return Err(BadRow { column: String::new(), reason });
        }
        let mut projected = StringRecord::with_capacity(128, self.names.len());
        for (name, &position) in self.names.iter().zip(&header.positions) {
            let field = row.get(position).unwrap_or_default();
            let field = if self.trim { field.trim() } else { field };
            let nulls_here = self.nulls_by_column.get(name).unwrap_or(&self.nulls);
            projected.push_field(if nulls_here.iter().any(|null| null == field) { "" } else { field });
        }
        Ok(projected)
    }
}

/// Where a file has the columns.
#[derive(Debug)]
pub(crate) struct Header {
    width: usize,
    positions: Vec<usize>,
}

/// A field of a projected row; `None` when it is null.
pub(crate) fn field(row: &StringRecord, slot: usize) -> Option<&str> {
    row.get(slot).filter(|field| !field.is_empty())
}
