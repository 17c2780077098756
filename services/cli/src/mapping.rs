//! Mapping files: how the rows of a CSV or TSV file become events.
//!
//! A mapping is a TOML file. Unknown keys are refused, and every error names the key it is about.
//!
//! ```toml
//! tenant = "acme"                  # `import --tenant` overrides it
//! source = "servicenow"            # `import --source` overrides it
//! mode = "last_row_per_key"        # `each_row` (default), `last_row_per_key`, `changes`
//! key = ["number"]
//! order_by = ["sys_mod_count"]     # which row is last, or what order changes have; by default the file's
//! when = [{ column = "number", is_set = true }]   # leave other rows out
//!
//! [input]
//! format = "csv"                   # or `tsv`; by default as the file's name says
//! delimiter = ","                  # overrides the format's
//! quote = "\""                     # "" when quotes are ordinary characters
//! columns = ["number", "state"]    # only for files without a header
//! nulls = ["?", ""]                # what stands for no value; an empty field always does
//! trim = true                      # take spaces off both ends of every field; by default false
//!
//! [columns.resolved_at]
//! nulls = ["0:00:00"]              # in this column instead of those above
//!
//! [time]
//! formats = ["%d/%m/%Y %H:%M", "unix_s", "unix_ms", "rfc3339"]   # the first that fits; by default rfc3339
//! zone = "America/Sao_Paulo"       # of times that carry no offset; by default UTC
//!
//! [translate.state]                # used as {incident_state|state}
//! "New" = "open"
//! "-100" = ""                      # null
//! "*" = "open"                     # any other; "*" leaves it as it is; without this entry the row is refused
//!
//! [[event]]
//! name = "resolved"
//! type = "conversation_status_changed"            # a payload of deskpulse.v1.Event
//! time = { first_of = ["{resolved_at}", "{closed_at}"] }
//! id = "{number}-resolved"         # by default name:key, with mode `changes` name:key:order_by
//! sequence = "{sys_mod_count}"     # absent by default
//! when = [{ any = [{ column = "resolved_at", is_set = true }, { column = "closed_at", is_set = true }] }]
//!
//! [event.fields]                   # fields of the payload by their path in the contract
//! conversation = "{number}"
//! status = "resolved"              # constants by their short name
//! "actor.kind" = "agent"
//! "actor.id" = "{resolved_by}"
//!
//! [event.attributes]               # custom dimensions
//! site = "{location}"
//! ```
//!
//! **Values** are templates: `{column}`, `{column|translation}` and fixed text; `{{` and `}}` are braces. A template
//! with a null column is null. `{ first_of = [...] }` takes the first template that is not null. A null field stays
//! unset; a null `time` or `id` makes the row a bad one. Lists take an array of templates. Numbers, booleans,
//! constants and timestamps are read from the text.
//!
//! **Conditions** are a `column` with one of `equals`, `not_equals`, `in`, `not_in`, `is_set = true`,
//! `changed = true` (mode `changes` only), or `any = [conditions]`. All conditions of a list must hold. Null equals
//! nothing.
//!
//! **Modes.** `each_row` takes every row by itself. `last_row_per_key` takes the last row of each key, in the order in
//! which the keys appear; it holds one row a key. `changes` compares each row with the one before it of the same key;
//! the first row of a key counts as changed from nothing. It holds one row a key, and with `order_by` all rows, which
//! it sorts. At most ten million rows are held. `order_by` compares whole and decimal numbers as numbers, and other
//! text, after them, as text; of equal rows the later in the file comes last. Several files of one import are one input.
//!
//! **Bad rows.** A row is used as a whole or not at all: when one of its events cannot be made, none is.
//!
//! With `changes`, the row after a bad one is compared with the one before it.
//!
//! The **event id** must not depend on anything but the row, so that importing twice adds nothing. In a default id a
//! backslash or colon of a value stands behind a backslash: keys `x:y`, `z` and `x`, `y:z` are two.

mod assignment;
mod clock;
mod columns;
mod condition;
mod event;
mod rows;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use csv::StringRecord;
use deskpulse_proto::v1;
use serde::Deserialize;

use crate::failure::Failure;
use crate::input::Dialect;
use clock::Clock;
pub use columns::BadRow;
use columns::Columns;
use condition::{Condition, ConditionEntry};
pub(crate) use event::EVENT;
use event::{EventEntry, EventRule};
pub(crate) use rows::{Mapper, Place};
use text::{Lookup, Translations};

/// A checked mapping file.
#[derive(Debug)]
pub struct Mapping {
    tenant: Option<String>,
    source: Option<String>,
    mode: Mode,
    key: Vec<usize>,
    order_by: Vec<usize>,
    when: Vec<Condition>,
    input: InputEntry,
    clock: Clock,
    columns: Columns,
    translations: Translations,
    events: Vec<EventRule>,
}

/// Which rows make events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    EachRow,
    LastRowPerKey,
    Changes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingEntry {
    tenant: Option<String>,
    source: Option<String>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    order_by: Vec<String>,
    #[serde(default)]
    when: Vec<ConditionEntry>,
    #[serde(default)]
    input: InputEntry,
    #[serde(default)]
    time: TimeEntry,
    #[serde(default)]
    columns: BTreeMap<String, ColumnEntry>,
    #[serde(default)]
    translate: Translations,
    event: Vec<EventEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputEntry {
    format: Option<FormatEntry>,
    delimiter: Option<char>,
    quote: Option<String>,
    columns: Option<Vec<String>>,
    #[serde(default)]
    nulls: Vec<String>,
    #[serde(default)]
    trim: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormatEntry {
    Csv,
    Tsv,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeEntry {
    #[serde(default = "rfc3339")]
    formats: Vec<String>,
    #[serde(default = "utc")]
    zone: String,
}

impl Default for TimeEntry {
    fn default() -> Self {
        Self { formats: rfc3339(), zone: utc() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnEntry {
    nulls: Vec<String>,
}

fn rfc3339() -> Vec<String> {
    vec!["rfc3339".to_owned()]
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Mapping {
    /// Reads and checks a mapping file.
    ///
    /// Columns can only be checked against a file's header, when one is read.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::parse(&std::fs::read_to_string(path)?);
        read().map_err(|cause| {
            let message = format!("mapping {}: {cause:#}", path.display());
            Failure::new(message, "correct the key named above; `deskpulse import --help` shows a whole mapping").into()
        })
    }

    /// Checks the text of a mapping file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let entry: MappingEntry = toml::from_str(text)?;
        let clock = Clock::new(entry.time.formats, &entry.time.zone)?;
        let nulls_by_column = entry.columns.into_iter().map(|(name, column)| (name, column.nulls)).collect();
        let mut columns = Columns::new(entry.input.nulls.clone(), nulls_by_column, entry.input.trim);
        let key: Vec<usize> = entry.key.iter().map(|name| columns.slot(name)).collect();
        let order_by: Vec<usize> = entry.order_by.iter().map(|name| columns.slot(name)).collect();
        let when = Condition::parse_all(entry.when, &mut columns, false)?;
        if key.is_empty() && entry.mode != Mode::EachRow {
            bail!("key: mode last_row_per_key and mode changes need one");
        }
        if !order_by.is_empty() && entry.mode == Mode::EachRow {
            bail!("order_by: mode each_row has no use for it");
        }
        entry.input.dialect(Path::new("-"))?;
        if entry.event.is_empty() {
            bail!("event: at least one is needed");
        }
        let mut names = BTreeSet::new();
        let mut events = Vec::new();
        for entry_of_event in entry.event {
            let name = entry_of_event.name.clone();
            if !names.insert(name.clone()) {
                bail!("event.{name}: there are two of this name");
            }
            let default_id = match entry.mode {
                Mode::EachRow | Mode::LastRowPerKey => key.clone(),
                Mode::Changes if order_by.is_empty() => Vec::new(),
                Mode::Changes => [key.clone(), order_by.clone()].concat(),
            };
            let knows_changes = entry.mode == Mode::Changes;
            let rule =
                EventRule::parse(entry_of_event, &default_id, &mut columns, &entry.translate, &clock, knows_changes);
            events.push(rule.with_context(|| format!("event.{name}"))?);
        }
        Ok(Self {
            tenant: entry.tenant,
            source: entry.source,
            mode: entry.mode,
            key,
            order_by,
            when,
            input: entry.input,
            clock,
            columns,
            translations: entry.translate,
            events,
        })
    }

    /// Takes another tenant and source where they are given, and makes sure that there are some.
    pub(crate) fn with_overrides(mut self, tenant: Option<&str>, source: Option<&str>) -> anyhow::Result<Self> {
        self.tenant = tenant.map(str::to_owned).or(self.tenant);
        self.source = source.map(str::to_owned).or(self.source);
        for (key, value) in [("tenant", &self.tenant), ("source", &self.source)] {
            if value.as_deref().unwrap_or_default().is_empty() {
                let hint = format!("set `{key} = \"…\"` in the mapping file or pass --{key}");
                return Err(Failure::new(format!("the mapping names no {key}"), hint).into());
            }
        }
        Ok(self)
    }

    /// How the records of a file are written.
    pub(crate) fn dialect(&self, path: &Path) -> anyhow::Result<Dialect> {
        self.input.dialect(path)
    }

    /// The names of the columns of a file without a header.
    pub(crate) fn fixed_header(&self) -> Option<StringRecord> {
        self.input.columns.as_ref().map(|names| names.iter().collect())
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup { columns: &self.columns, translations: &self.translations }
    }

    /// The events of a row, or why there are none.
    fn events(&self, row: &StringRecord, before: Option<&StringRecord>) -> Result<Vec<v1::Event>, BadRow> {
        let applicable = self.events.iter().filter(|rule| rule.applies(row, before));
        applicable
            .map(|rule| {
                let mut event = rule.build(row, self.lookup(), &self.clock)?;
                event.tenant = self.tenant.clone().unwrap_or_default();
                event.source = self.source.clone().unwrap_or_default();
                Ok(event)
            })
            .collect()
    }
}

impl InputEntry {
    fn dialect(&self, path: &Path) -> anyhow::Result<Dialect> {
        let ascii = |key: &str, letter: char| {
            u8::try_from(letter).ok().filter(u8::is_ascii).with_context(|| format!("input.{key}: must be ASCII"))
        };
        let tabs = match self.format {
            Some(format) => format == FormatEntry::Tsv,
            None => path.to_string_lossy().contains(".tsv"),
        };
        let delimiter = ascii("delimiter", self.delimiter.unwrap_or(if tabs { '\t' } else { ',' }))?;
        let mut quotes = self.quote.as_deref().unwrap_or("\"").chars();
        let quote = quotes.next().map(|quote| ascii("quote", quote)).transpose()?;
        if quotes.next().is_some() {
            bail!("input.quote: must be one character, or empty");
        }
        Ok(Dialect { delimiter, quote })
    }
}

#[cfg(test)]
mod tests;
