//! One kind of event a mapping makes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context as _, bail};
use csv::StringRecord;
use deskpulse_proto::v1;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::Deserialize;

use super::assignment::{Assignment, whole};
use super::clock::Clock;
use super::columns::{BadRow, Columns};
use super::condition::{Condition, ConditionEntry};
use super::text::{Lookup, Text, Translations};

/// An event as the mapping file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventEntry {
    pub(crate) name: String,
    #[serde(rename = "type")]
    payload: String,
    time: toml::Value,
    id: Option<toml::Value>,
    sequence: Option<toml::Value>,
    #[serde(default)]
    when: Vec<ConditionEntry>,
    #[serde(default)]
    fields: toml::Table,
    #[serde(default)]
    attributes: BTreeMap<String, toml::Value>,
}

/// How to make an event of a row.
#[derive(Debug)]
pub(crate) struct EventRule {
    payload: FieldDescriptor,
    message: MessageDescriptor,
    time: Text,
    id: Text,
    sequence: Option<Text>,
    when: Vec<Condition>,
    fields: Vec<Assignment>,
    attributes: Vec<(String, Text)>,
}

impl EventRule {
    /// Checks an entry. Where it has no `id`, the columns of `default_id` make one, if there are any.
    pub(crate) fn parse(
        entry: EventEntry,
        default_id: &[usize],
        columns: &mut Columns,
        translations: &Translations,
        clock: &Clock,
        knows_changes: bool,
    ) -> anyhow::Result<Self> {
        let (payload, message) = payload(&entry.payload).context("type")?;
        let mut text =
            |key: &str, value: &toml::Value| Text::parse(value, columns, translations).with_context(|| key.to_owned());
        let time = text("time", &entry.time)?;
        for constant in time.constants(translations) {
            clock.read(constant).map_err(anyhow::Error::msg).context("time")?;
        }
        let id = match entry.id {
            Some(id) => text("id", &id)?,
            None if default_id.is_empty() => bail!(
                "id: must be given, as in \"{{number}}-{{version}}\": nothing else tells this event's rows apart \
                 (each_row needs a `key` for a default, changes an `order_by`)"
            ),
            None => Text::joined(&entry.name, default_id),
        };
        let sequence = entry.sequence.as_ref().map(|value| text("sequence", value)).transpose()?;
        let attributes = entry
            .attributes
            .iter()
            .map(|(name, value)| Ok((name.clone(), text(&format!("attributes.{name}"), value)?)))
            .collect::<anyhow::Result<_>>()?;
        let when = Condition::parse_all(entry.when, columns, knows_changes)?;
        let mut fields = Vec::new();
        for (path, value) in flatten(&entry.fields) {
            let assignment = Assignment::parse(&path, value, &message, columns, translations, clock);
            fields.push(assignment.with_context(|| format!("fields.{path}"))?);
        }
        Ok(Self { payload, message, time, id, sequence, when, fields, attributes })
    }

    /// Whether a row makes this event.
    pub(crate) fn applies(&self, row: &StringRecord, before: Option<&StringRecord>) -> bool {
        self.when.iter().all(|condition| condition.holds(row, before))
    }

    /// Makes the event, without tenant and source.
    pub(crate) fn build(&self, row: &StringRecord, lookup: Lookup<'_>, clock: &Clock) -> Result<v1::Event, BadRow> {
        let bad = |text: &Text, reason: String| BadRow { column: text.columns(lookup.columns), reason };
        let required = |text: &Text, what: &str| {
            text.evaluate(row, lookup)?.ok_or_else(|| bad(text, format!("no value for the event's {what}")))
        };
        let id = required(&self.id, "id")?;
        let time = clock.read(&required(&self.time, "time")?).map_err(|reason| bad(&self.time, reason))?;
        let mut sequence = None;
        if let Some(text) = &self.sequence
            && let Some(value) = text.evaluate(row, lookup)?
        {
            let number = whole(&value).ok_or_else(|| bad(text, format!("\"{value}\" is not a sequence number")))?;
            sequence = Some(number);
        }
        let mut message = DynamicMessage::new(self.message.clone());
        for field in &self.fields {
            field.apply(&mut message, row, lookup, clock)?;
        }
        let mut dynamic = DynamicMessage::new(EVENT.clone());
        dynamic.set_field(&self.payload, Value::Message(message));
        let mut event: v1::Event = dynamic
            .transcode_to()
            .map_err(|error| BadRow { column: String::new(), reason: format!("cannot be encoded: {error}") })?;
        for (name, text) in &self.attributes {
            if let Some(value) = text.evaluate(row, lookup)? {
                event.attributes.insert(name.clone(), value);
            }
        }
        Ok(v1::Event { id, sequence, time: Some(deskpulse_text::ask::wire_time(time)), ..event })
    }
}

/// The descriptor of `deskpulse.v1.Event`.
pub(crate) static EVENT: LazyLock<MessageDescriptor> =
    LazyLock::new(|| deskpulse_text::json::message("deskpulse.v1.Event"));

fn payload(name: &str) -> anyhow::Result<(FieldDescriptor, MessageDescriptor)> {
    let in_payload = |field: &FieldDescriptor| field.containing_oneof().is_some_and(|oneof| oneof.name() == "payload");
    let known = || EVENT.fields().filter(in_payload);
    let found = known().find(|field| field.name() == name).and_then(|field| match field.kind() {
        Kind::Message(message) => Some((field, message)),
        _ => None,
    });
    found.with_context(|| {
        let known = known().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ");
        format!("\"{name}\" is none of {known}")
    })
}

/// The fields of nested tables by their dotted path; `{ first_of = ... }` is a value.
fn flatten(table: &toml::Table) -> Vec<(String, &toml::Value)> {
    let mut fields = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) if !inner.contains_key("first_of") => {
                fields.extend(flatten(inner).into_iter().map(|(path, value)| (format!("{name}.{path}"), value)));
            }
            value => fields.push((name.clone(), value)),
        }
    }
    fields
}
