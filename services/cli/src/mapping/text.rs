//! Templates such as `"{number}-resolved"`, and the first of several that is not null.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use csv::StringRecord;
use toml::Value;

use super::columns::{BadRow, Columns, field};

/// A table of translations. A value that is not listed takes the one of `*`; without `*` the row is refused; where the
/// one of `*` is `*` it stays as it is.
pub(crate) type Translation = BTreeMap<String, String>;

/// The translations of a mapping, by name.
pub(crate) type Translations = BTreeMap<String, Translation>;

#[derive(Debug)]
enum Part {
    Fixed(String),
    Column {
        slot: usize,
        translation: Option<String>,
    },
    /// A column behind a colon, told apart from others that are joined to it.
    Joined {
        slot: usize,
    },
}

/// Text made from columns. Null when any of its columns is.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads `text {column} text {column|translation}`; `{{` and `}}` stand for braces.
    fn parse(text: &str, columns: &mut Columns, translations: &Translations) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        let mut fixed = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            fixed.push_str(before);
            if let Some(tail) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                fixed.extend(after.chars().next());
                rest = tail;
                continue;
            }
            let Some((inside, tail)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) else {
                bail!("a brace in \"{text}\" has no partner; a brace itself is written twice");
            };
            let (column, translation) = match inside.split_once('|') {
                Some((column, name)) => {
                    if !translations.contains_key(name.trim()) {
                        bail!("there is no [translate.{}]", name.trim());
                    }
                    (column.trim(), Some(name.trim().to_owned()))
                }
                None => (inside.trim(), None),
            };
            if column.is_empty() {
                bail!("\"{text}\" has braces without a column");
            }
            if !fixed.is_empty() {
                parts.push(Part::Fixed(std::mem::take(&mut fixed)));
            }
            parts.push(Part::Column { slot: columns.slot(column), translation });
            rest = tail;
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            parts.push(Part::Fixed(fixed));
        }
        Ok(Self { parts })
    }

    fn evaluate(&self, row: &StringRecord, mapping: Lookup<'_>) -> Result<Option<String>, BadRow> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Fixed(fixed) => text.push_str(fixed),
                Part::Column { slot, translation } => {
                    let Some(value) = field(row, *slot) else { return Ok(None) };
                    let value = match translation {
                        Some(name) => mapping.translate(*slot, name, value)?,
                        None => value,
                    };
                    if value.is_empty() {
                        return Ok(None);
                    }
                    text.push_str(value);
                }
                Part::Joined { slot } => {
                    let Some(value) = field(row, *slot) else { return Ok(None) };
                    text.push(':');
                    push_escaped(&mut text, value);
                }
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

/// What evaluating needs to know of the mapping.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) columns: &'a Columns,
    pub(crate) translations: &'a Translations,
}

impl<'a> Lookup<'a> {
    fn translate(self, slot: usize, name: &str, value: &'a str) -> Result<&'a str, BadRow> {
        let table = self.translations.get(name);
        match table.and_then(|table| table.get(value).or_else(|| table.get("*"))).map(String::as_str) {
            Some("*") => Ok(value),
            Some(translated) => Ok(translated),
            None => Err(BadRow {
                column: self.columns.name(slot).to_owned(),
                reason: format!("[translate.{name}] has no entry for \"{value}\""),
            }),
        }
    }
}

/// The first of several templates that is not null.
#[derive(Debug)]
pub(crate) struct Text {
    alternatives: Vec<Template>,
}

impl Text {
    /// Reads `"template"` or `{ first_of = ["template", "template"] }`.
    pub(crate) fn parse(value: &Value, columns: &mut Columns, translations: &Translations) -> anyhow::Result<Self> {
        let templates = match value {
            Value::String(template) => vec![template.as_str()],
            Value::Table(table) => {
                let first_of = table.get("first_of").filter(|_| table.len() == 1).and_then(Value::as_array);
                first_of
                    .and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
                    .filter(|list| !list.is_empty())
                    .context("a table here must be { first_of = [\"template\", ...] }")?
            }
            _ => bail!("must be a template such as \"{{column}}\" or {{ first_of = [...] }}"),
        };
        let alternatives = templates
            .into_iter()
            .map(|template| Template::parse(template, columns, translations))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { alternatives })
    }

    /// A text that is the same in every row.
    pub(crate) fn fixed(text: &str) -> Self {
        Self { alternatives: vec![Template { parts: vec![Part::Fixed(text.to_owned())] }] }
    }

    /// Columns joined by colons behind a fixed word. Other values never give the same text: a backslash or colon
    /// within one stands behind a backslash.
    pub(crate) fn joined(word: &str, slots: &[usize]) -> Self {
        let mut fixed = String::new();
        push_escaped(&mut fixed, word);
        let mut parts = vec![Part::Fixed(fixed)];
        parts.extend(slots.iter().map(|&slot| Part::Joined { slot }));
        Self { alternatives: vec![Template { parts }] }
    }

    /// The text of a row; `None` when it is null.
    pub(crate) fn evaluate(&self, row: &StringRecord, mapping: Lookup<'_>) -> Result<Option<String>, BadRow> {
        for template in &self.alternatives {
            let text = template.evaluate(row, mapping)?;
            if text.is_some() {
                return Ok(text);
            }
        }
        Ok(None)
    }

    /// Every value this can take whatever the row says: fixed texts, and translations that stand alone.
    pub(crate) fn constants<'a>(&'a self, translations: &'a Translations) -> Vec<&'a str> {
        let mut constants = Vec::new();
        for template in &self.alternatives {
            match template.parts.as_slice() {
                [Part::Fixed(fixed)] => constants.push(fixed.as_str()),
                [Part::Column { translation: Some(name), .. }] => {
                    let table = translations.get(name).into_iter().flatten();
                    constants.extend(table.map(|(_, value)| value.as_str()).filter(|value| !["", "*"].contains(value)));
                }
                _ => {}
            }
        }
        constants
    }

    /// The names of its columns, for messages.
    pub(crate) fn columns(&self, columns: &Columns) -> String {
        let parts = self.alternatives.iter().flat_map(|template| &template.parts);
        let names = parts.filter_map(|part| match part {
            Part::Column { slot, .. } | Part::Joined { slot } => Some(columns.name(*slot)),
            Part::Fixed(_) => None,
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Adds a value in which no colon stands alone, so that a colon may follow it.
pub(crate) fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        if matches!(character, '\\' | ':') {
            text.push('\\');
        }
        text.push(character);
    }
}
