//! Setting a field of an event, addressed by its path in the contract.

use anyhow::{Context as _, bail};
use csv::StringRecord;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::clock::Clock;
use super::columns::{BadRow, Columns};
use super::text::{Lookup, Text, Translations};

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// A field of a payload and what to set it to.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The messages to pass through.
    parents: Vec<FieldDescriptor>,
    field: FieldDescriptor,
    texts: Vec<Text>,
}

impl Assignment {
    /// Checks the path against the contract and constant values against the field's type.
    pub(crate) fn parse(
        path: &str,
        value: &toml::Value,
        payload: &MessageDescriptor,
        columns: &mut Columns,
        translations: &Translations,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let (parents, field) = resolve(path, payload)?;
        let mut text = |value: &toml::Value| match value {
            toml::Value::Boolean(value) => Ok(Text::fixed(&value.to_string())),
            toml::Value::Integer(value) => Ok(Text::fixed(&value.to_string())),
            toml::Value::Float(value) => Ok(Text::fixed(&value.to_string())),
            other => Text::parse(other, columns, translations),
        };
        let texts = match value {
            toml::Value::Array(values) if field.is_list() => values.iter().map(text).collect::<anyhow::Result<_>>()?,
            other => vec![text(other)?],
        };
        let assignment = Self { parents, field, texts };
        for constant in assignment.texts.iter().flat_map(|text| text.constants(translations)) {
            convert(&assignment.field, constant, clock).map_err(anyhow::Error::msg)?;
        }
        Ok(assignment)
    }

    /// Sets the field, or leaves it alone where its value is null.
    pub(crate) fn apply(
        &self,
        message: &mut DynamicMessage,
        row: &StringRecord,
        lookup: Lookup<'_>,
        clock: &Clock,
    ) -> Result<(), BadRow> {
        let mut values = Vec::with_capacity(self.texts.len());
        for text in &self.texts {
            if let Some(value) = text.evaluate(row, lookup)? {
                let converted = convert(&self.field, &value, clock);
                values.push(converted.map_err(|reason| BadRow { column: text.columns(lookup.columns), reason })?);
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        let mut target = message;
        for parent in &self.parents {
            match target.get_field_mut(parent) {
                Value::Message(message) => target = message,
                _ => return Ok(()),
            }
        }
        match values.pop() {
            Some(value) if !self.field.is_list() => target.set_field(&self.field, value),
            last => {
                values.extend(last);
                target.set_field(&self.field, Value::List(values));
            }
        }
        Ok(())
    }
}

fn resolve(path: &str, payload: &MessageDescriptor) -> anyhow::Result<(Vec<FieldDescriptor>, FieldDescriptor)> {
    let mut message = payload.clone();
    let mut parents = Vec::new();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let field = message.get_field_by_name(name).with_context(|| {
            let known = message.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>().join("`, `");
            format!("{} has no field `{name}`; it has `{known}`", message.name())
        })?;
        if names.peek().is_none() {
            if field.is_map() || matches!(field.kind(), Kind::Message(kind) if kind.full_name() != TIMESTAMP) {
                bail!("`{name}` is a message; name one of its fields, as in `{path}.…`");
            }
            return Ok((parents, field));
        }
        match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() => message = inner,
            _ => bail!("`{name}` has no fields of its own"),
        }
        parents.push(field);
    }
    bail!("the path is empty")
}

fn convert(field: &FieldDescriptor, text: &str, clock: &Clock) -> Result<Value, String> {
    let wrong = |what: &str| format!("\"{text}\" is not {what}");
    match field.kind() {
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong("true or false")),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            whole(text).map(Value::I32).ok_or_else(|| wrong("a whole number of 32 bits"))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            whole(text).map(Value::I64).ok_or_else(|| wrong("a whole number of 64 bits"))
        }
        Kind::Uint32 | Kind::Fixed32 => {
            whole(text).map(Value::U32).ok_or_else(|| wrong("a whole number of 32 bits, at least 0"))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            whole(text).map(Value::U64).ok_or_else(|| wrong("a whole number of 64 bits, at least 0"))
        }
        Kind::Float => text.trim().parse().map(Value::F32).map_err(|_| wrong("a number")),
        Kind::Double => text.trim().parse().map(Value::F64).map_err(|_| wrong("a number")),
        Kind::Enum(values) => constant(&values, text),
        Kind::Message(kind) if kind.full_name() == TIMESTAMP => {
            let mut message = DynamicMessage::new(kind);
            message
                .transcode_from(&deskpulse_text::ask::wire_time(clock.read(text)?))
                .map_err(|error| format!("cannot be kept as a timestamp: {error}"))?;
            Ok(Value::Message(message))
        }
        Kind::Bytes | Kind::Message(_) => Err("this field cannot be set from text".to_owned()),
    }
}

/// A whole number, also where a spreadsheet wrote it as `3.0`.
pub(crate) fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim();
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|byte| byte == b'0') => digits,
        _ => text,
    };
    digits.parse().ok()
}

/// The constant with this name, short (`on_hold`, `On hold`) or in full (`CONVERSATION_STATUS_ON_HOLD`).
fn constant(values: &EnumDescriptor, text: &str) -> Result<Value, String> {
    let unspecified = values.default_value();
    let prefix = unspecified.name().trim_end_matches("UNSPECIFIED");
    let name = text.trim().to_ascii_uppercase().replace([' ', '-'], "_");
    let found = values
        .values()
        .find(|value| value.name() == name || value.name().strip_prefix(prefix).is_some_and(|short| short == name));
    found.map(|value| Value::EnumNumber(value.number())).ok_or_else(|| {
        let known = values.values().filter(|value| value.number() != 0);
        let known = known.map(|value| value.name().trim_start_matches(prefix).to_ascii_lowercase()).collect::<Vec<_>>();
        format!("\"{text}\" is none of {}", known.join(", "))
    })
}
