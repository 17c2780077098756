//! Writing messages as JSON lines, compressed or not, in bounded memory: what [`crate::import`] reads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use deskpulse_proto::v1::{ConfigChange, Event};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::failure::Failure;
use deskpulse_text::json::message;

use crate::mapping::EVENT;

const BUFFER: usize = 256 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// How a file of JSON lines is packed, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        [(".jsonl", Self::None), (".jsonl.gz", Self::Gzip), (".jsonl.zst", Self::Zstd)]
            .into_iter()
            .find_map(|(ending, packing)| name.ends_with(ending).then_some(packing))
    }
}

/// A file to write lines to, as an argument: its name says how it is packed.
pub fn lines_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match Packing::of(&path) {
        Some(_) => Ok(path),
        None => Err("name it .jsonl, .jsonl.gz or .jsonl.zst".to_owned()),
    }
}

/// Where the bytes go.
enum Sink {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(GzEncoder<BufWriter<Box<dyn Write>>>),
    Zstd(ZstdEncoder<'static, BufWriter<Box<dyn Write>>>),
}

impl Sink {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(writer) => writer,
            Self::Gzip(writer) => writer,
            Self::Zstd(writer) => writer,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut writer) => writer.flush(),
            Self::Gzip(writer) => writer.finish()?.flush(),
            Self::Zstd(writer) => writer.finish()?.flush(),
        }
    }
}

/// The file under its name until it is whole, and the one that it becomes.
struct Unfinished {
    temporary: PathBuf,
    path: PathBuf,
    file: File,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already where it was finished.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// JSON lines being written, to standard output or to a file.
///
/// A file has its name once it is whole and synced: until then it stands beside it as `FILE.unfinished`, and is removed when the writing is
/// given up. A file of that name is replaced.
pub struct Lines {
    sink: Sink,
    name: String,
    unfinished: Option<Unfinished>,
    line: Vec<u8>,
    count: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).field("count", &self.count).finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines on standard output, or in a file that [`lines_file`] takes.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let (raw, name, packing, unfinished): (Box<dyn Write>, _, _, _) = match path {
            None => (Box::new(io::stdout()), "standard output".to_owned(), Packing::None, None),
            Some(path) => {
                let mut temporary = path.as_os_str().to_owned();
                temporary.push(".unfinished");
                let temporary = PathBuf::from(temporary);
                let packing = Packing::of(path).unwrap_or(Packing::None);
                let file = File::create(&temporary).and_then(|file| Ok((file.try_clone()?, file)));
                let (raw, file) = file.map_err(|error| {
                    let message = format!("cannot write {}: {error}", temporary.display());
                    Failure::new(message, "name a file in a folder that exists and may be written")
                })?;
                let unfinished = Unfinished { temporary, path: path.to_path_buf(), file };
                (Box::new(raw), path.display().to_string(), packing, Some(unfinished))
            }
        };
        let raw = BufWriter::with_capacity(BUFFER, raw);
        let sink = match packing {
            Packing::None => Sink::Plain(raw),
            Packing::Gzip => Sink::Gzip(GzEncoder::new(raw, Compression::default())),
            Packing::Zstd => {
                let mut encoder = ZstdEncoder::new(raw, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Sink::Zstd(encoder)
            }
        };
        Ok(Self { sink, name, unfinished, line: Vec::new(), count: 0 })
    }

    /// Writes an event.
    pub fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        self.put(&EVENT, event)
    }

    /// Writes a change of configuration.
    pub fn config(&mut self, change: &ConfigChange) -> anyhow::Result<()> {
        self.put(&message("deskpulse.v1.ConfigChange"), change)
    }

    fn put(&mut self, descriptor: &MessageDescriptor, message: &impl Message) -> anyhow::Result<()> {
        let mut dynamic = DynamicMessage::new(descriptor.clone());
        dynamic.transcode_from(message).context("a message of the contract is not as its descriptor says")?;
        self.line.clear();
        serde_json::to_writer(&mut self.line, &dynamic)
            .with_context(|| format!("no JSON for {}", descriptor.name()))?;
        self.line.push(b'\n');
        self.sink.writer().write_all(&self.line).with_context(|| format!("cannot write {}", self.name))?;
        self.count += 1;
        Ok(())
    }

    /// How many lines were written.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Makes the file whole, durable and known by its name.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { sink, name, unfinished, .. } = self;
        let written = sink.finish().and_then(|()| match &unfinished {
            Some(Unfinished { temporary, path, file }) => {
                file.sync_all()?;
                std::fs::rename(temporary, path)
            }
            None => Ok(()),
        });
        written.with_context(|| format!("cannot write {name}"))
    }
}

/// Whether writing ended because whoever read standard output has gone.
#[must_use]
pub fn reader_has_gone(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use deskpulse_proto::v1::{Actor, ActorKind, MessageCreated, Tenant, config_change, event};
    use indicatif::ProgressBar;

    use super::*;
    use crate::import::source::parse;
    use crate::input;

    fn an_event() -> Event {
        Event {
            id: "1:é\n\"".to_owned(),
            source: "desk".to_owned(),
            tenant: "acme".to_owned(),
            time: Some(prost_types::Timestamp { seconds: -1, nanos: 123_456_789 }),
            sequence: Some(u64::MAX),
            attributes: [("site".to_owned(), String::new())].into(),
            payload: Some(event::Payload::MessageCreated(MessageCreated {
                conversation: "c".to_owned(),
                actor: Some(Actor { kind: ActorKind::Agent.into(), id: "ada".to_owned() }),
                ..MessageCreated::default()
            })),
        }
    }

    #[test]
    fn what_is_written_is_what_import_reads_however_it_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "A.JSONL.ZST"] {
            let path = folder.path().join(name);
            let mut lines = Lines::create(Some(&path)).unwrap();
            lines.event(&an_event()).unwrap();
            lines.event(&Event::default()).unwrap();
            assert!(!path.exists(), "{name} is not whole yet");
            assert_eq!(lines.count(), 2);
            lines.finish().unwrap();
            let mut text = String::new();
            input::open(&path, &ProgressBar::hidden()).unwrap().read_to_string(&mut text).unwrap();
            let events: Vec<_> = text.lines().map(|line| parse(line).unwrap()).collect();
            assert_eq!(events, [an_event(), Event::default()], "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing unfinished is left");
    }

    #[test]
    fn a_file_that_is_given_up_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "before").unwrap();
        let mut lines = Lines::create(Some(&path)).unwrap();
        lines.event(&an_event()).unwrap();
        drop(lines);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_change_of_configuration_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.jsonl");
        let settings = Tenant { tenant: "acme".to_owned(), calendar: "office".to_owned(), ..Tenant::default() };
        let change =
            ConfigChange { tenant: "acme".to_owned(), change: Some(config_change::Change::Settings(settings)) };
        let mut lines = Lines::create(Some(&path)).unwrap();
        lines.config(&change).unwrap();
        lines.finish().unwrap();
        let line = "{\"tenant\":\"acme\",\"settings\":{\"tenant\":\"acme\",\"calendar\":\"office\"}}\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
    }

    #[test]
    fn a_file_whose_name_does_not_say_how_it_is_packed_is_refused() {
        assert!(["a.jsonl", "dir/a.jsonl.gz", "a.JSONL.zst"].iter().all(|name| lines_file(name).is_ok()));
        assert!(["a.json", "a.jsonl.bz2", "a", ""].iter().all(|name| lines_file(name).is_err()));
    }
}
