//! Reading files into events.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use deskpulse_proto::v1;
use indicatif::ProgressBar;
use prost_reflect::DynamicMessage;

use crate::failure::Failure;
use crate::input::{self, Record, Records};
use crate::mapping::{EVENT, Mapper, Mapping, Place};

pub use crate::mapping::BadRow;

/// Longer lines are not kept for the rejects file once their events are under way, so that memory stays bounded.
const KEPT_TEXT_LIMIT: usize = 4096;

/// Files to read events from.
#[derive(Debug)]
pub struct Sources {
    /// The files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// What to do with the rows of files that are not JSON lines.
    pub mapping: Option<Mapping>,
    /// Overrides the tenant of every event.
    pub tenant: Option<String>,
    /// Overrides the source of every event.
    pub source: Option<String>,
}

/// Something read from a file.
#[derive(Debug)]
pub enum Entry {
    /// An event.
    Event {
        /// The event.
        event: Box<v1::Event>,
        /// Where it comes from.
        origin: Origin,
    },
    /// A row that cannot be used.
    Bad {
        /// The name of the file.
        file: Arc<str>,
        /// The line, from 1.
        line: u64,
        /// Why.
        bad: BadRow,
        /// The row itself; empty where it is not kept.
        text: String,
    },
}

/// Where an event comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name of the file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u64,
    /// The row itself; absent where it is not kept.
    pub text: Option<Arc<str>>,
}

impl Sources {
    /// Reads all files in their order and hands over what is in them. Returns the number of rows, headers left out.
    ///
    /// Blocks. Memory is bounded, but for the rows a mapping holds by its mode. Fails when a file cannot be opened or
    /// read to its end, when a header lacks a column of the mapping, and when the sink does.
    pub fn read(self, sink: &mut dyn FnMut(Entry) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        self.read_with(&ProgressBar::hidden(), sink)
    }

    pub(crate) fn read_with(
        self,
        bar: &ProgressBar,
        sink: &mut dyn FnMut(Entry) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let Self { files, mapping, tenant, source } = self;
        if let (None, Some(path)) =
            (&mapping, files.iter().find(|path| !is_json_lines(path) && *path != Path::new("-")))
        {
            let message = format!("{} needs a mapping: it is not called .jsonl, .ndjson or .json", path.display());
            return Err(Failure::new(message, "say with --mapping FILE how its rows become events").into());
        }
        let mapping = mapping.map(|mapping| mapping.with_overrides(tenant.as_deref(), source.as_deref()));
        let mut reading = Reading {
            names: files.iter().map(|path| path.to_string_lossy().into()).collect(),
            mapper: mapping.transpose()?.map(Mapper::new),
            tenant,
            source,
            rows: 0,
            sink,
        };
        for (index, path) in files.iter().enumerate() {
            let reader = input::open(path, bar).map_err(|error| unreadable(path, &error))?;
            reading.file(index, path, reader)?;
        }
        reading.finish()
    }
}

/// Whether a file holds JSON lines, by its name without compression.
pub(crate) fn is_json_lines(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    [".jsonl", ".ndjson", ".json"].iter().any(|ending| name.ends_with(ending))
}

struct Reading<'a> {
    names: Vec<Arc<str>>,
    mapper: Option<Mapper>,
    tenant: Option<String>,
    source: Option<String>,
    rows: u64,
    sink: &'a mut dyn FnMut(Entry) -> anyhow::Result<()>,
}

impl Reading<'_> {
    fn file(&mut self, index: usize, path: &Path, reader: impl std::io::Read) -> anyhow::Result<()> {
        match &self.mapper {
            Some(mapper) if !is_json_lines(path) => {
                let dialect = mapper.mapping().dialect(path)?;
                self.table(index, path, Records::new(reader, Some(dialect)), dialect)
            }
            _ => self.json_lines(index, path, Records::new(reader, None)),
        }
    }

    fn json_lines(
        &mut self,
        index: usize,
        path: &Path,
        mut records: Records<impl std::io::Read>,
    ) -> anyhow::Result<()> {
        while let Some(record) = records.next().map_err(|error| unreadable(path, &error))? {
            self.rows += 1;
            let place = Place { file: index, line: record.line };
            let Some(text) = self.readable(place, record)? else { continue };
            match parse(&text) {
                Ok(mut event) => {
                    if let Some(tenant) = &self.tenant {
                        event.tenant.clone_from(tenant);
                    }
                    if let Some(source) = &self.source {
                        event.source.clone_from(source);
                    }
                    self.deliver(place, vec![event], Some(text))?;
                }
                Err(reason) => self.bad(place, BadRow { column: String::new(), reason }, text)?,
            }
        }
        Ok(())
    }

    fn table(
        &mut self,
        index: usize,
        path: &Path,
        mut records: Records<impl std::io::Read>,
        dialect: input::Dialect,
    ) -> anyhow::Result<()> {
        let fixed = self.mapper.as_ref().and_then(|mapper| mapper.mapping().fixed_header());
        let header = match fixed {
            Some(header) => Some(header),
            None => match records.next().map_err(|error| unreadable(path, &error))? {
                Some(Record { text: Ok(text), .. }) => Some(dialect.split(&text)),
                Some(Record { text: Err(unreadable), .. }) => anyhow::bail!("its header is {}", unreadable.reason),
                None => None,
            },
        };
        let (Some(header), Some(mapper)) = (header, &mut self.mapper) else { return Ok(()) };
        mapper.begin(&header).map_err(|error| {
            let message = format!("{} does not fit the mapping: {error}", path.display());
            Failure::new(message, "correct the mapping file, or its delimiter")
        })?;
        while let Some(record) = records.next().map_err(|error| unreadable(path, &error))? {
            self.rows += 1;
            let place = Place { file: index, line: record.line };
            let Some(text) = self.readable(place, record)? else { continue };
            let mapper = self.mapper.as_mut().context("tables are read with a mapping")?;
            match mapper.push(place, &dialect.split(&text))? {
                Ok(events) => self.deliver(place, events, Some(text))?,
                Err(bad) => self.bad(place, bad, text)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<u64> {
        if let Some(mapper) = self.mapper.take() {
            mapper.finish(|place, outcome| match outcome {
                Ok(events) => self.deliver(place, events, None),
                Err(bad) => self.bad(place, bad, String::new()),
            })?;
        }
        Ok(self.rows)
    }

    fn readable(&mut self, place: Place, record: Record) -> anyhow::Result<Option<String>> {
        match record.text {
            Ok(text) => Ok(Some(text)),
            Err(unreadable) => {
                let bad = BadRow { column: String::new(), reason: unreadable.reason };
                self.bad(place, bad, unreadable.rest).map(|()| None)
            }
        }
    }

    fn deliver(&mut self, place: Place, events: Vec<v1::Event>, text: Option<String>) -> anyhow::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let text: Option<Arc<str>> = text.filter(|text| text.len() <= KEPT_TEXT_LIMIT).map(Into::into);
        let origin = Origin { file: self.name(place), line: place.line, text };
        let mut entries =
            events.into_iter().map(|event| Entry::Event { event: Box::new(event), origin: origin.clone() });
        entries.try_for_each(&mut self.sink)
    }

    fn bad(&mut self, place: Place, bad: BadRow, text: String) -> anyhow::Result<()> {
        let file = self.name(place);
        (self.sink)(Entry::Bad { file, line: place.line, bad, text })
    }

    fn name(&self, place: Place) -> Arc<str> {
        self.names.get(place.file).cloned().unwrap_or_default()
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let hint = "check the file's name, rights and compression; what was read before is imported, and importing again adds \
                nothing twice";
    Failure::new(format!("cannot read {}: {error}", path.display()), hint)
}

/// Reads an event from its proto3 JSON form. Unknown fields are refused.
pub(crate) fn parse(line: &str) -> Result<v1::Event, String> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let message = DynamicMessage::deserialize(EVENT.clone(), &mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_are_read_in_both_spellings_and_mistakes_are_named() {
        let event = parse(
            r#"{"id":"1","time":"2026-01-05T10:00:00Z","sequence":"7",
                "messageCreated":{"conversation":"c","actor":{"kind":"ACTOR_KIND_AGENT"}}}"#,
        )
        .unwrap();
        assert_eq!((event.id.as_str(), event.sequence), ("1", Some(7)));
        assert!(parse(r#"{"id":"1","message_created":{"conversation":"c"}}"#).unwrap().payload.is_some());
        assert!(parse(r#"{"id":"1","colour":"red"}"#).unwrap_err().contains("colour"));
        assert!(parse(r#"{"id":"1"} x"#).is_err());
        assert!(parse("not JSON").is_err());
    }

    #[test]
    fn json_lines_are_known_by_the_name_under_the_compression() {
        assert!(["a.jsonl", "A.JSONL.GZ", "b.ndjson.zst"].iter().all(|name| is_json_lines(Path::new(name))));
        assert!(!["a.csv", "a.tsv.gz", "-"].iter().any(|name| is_json_lines(Path::new(name))));
    }
}
