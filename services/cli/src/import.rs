//! `deskpulse import`: files through gRPC ingest.

mod rejects;
pub mod source;
mod stream;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use comfy_table::CellAlignment;
use deskpulse_proto::v1::{BatchOutcome, Event, EventExceptionKind};
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::mapping::Mapping;
use crate::output::{self, OutputFormat};
use rejects::{Reject, Rejects};
use source::{Entry, Origin, Sources};
use stream::Batch;

/// Batches read ahead of what is in flight.
const READ_AHEAD: usize = 4;

/// A batch is closed before it grows beyond this, in encoded bytes. Servers take messages of 16 MiB; all that is in
/// flight is held in memory, and sent again when a connection breaks.
const BATCH_BYTES_LIMIT: usize = 2 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  deskpulse import events.jsonl.zst --tenant acme
  deskpulse import tickets.csv.gz --mapping tickets.toml
  some-exporter | deskpulse import -

A line of JSON is an Event of the contract (proto/deskpulse/v1/event.proto), without line breaks:
  {\"id\":\"1\",\"source\":\"shop\",\"tenant\":\"acme\",\"time\":\"2026-01-05T10:00:00Z\",\"conversationOpened\":{\"conversation\":\"c1\"}}

A mapping, for rows such as `T-1,2026-01-05 10:00,Email,2026-01-05 12:30,ana`:
  tenant = \"acme\"
  source = \"tickets\"
  key = [\"number\"]
  [time]
  formats = [\"%Y-%m-%d %H:%M\"]
  zone = \"Europe/Lisbon\"
  [translate.channel]
  Email = \"email\"
  \"*\" = \"*\"
  [[event]]
  name = \"opened\"
  type = \"conversation_opened\"
  time = \"{created}\"
  [event.fields]
  conversation = \"{number}\"
  dimensions.channel = \"{channel|channel}\"
  [[event]]
  name = \"resolved\"
  type = \"conversation_status_changed\"
  time = \"{resolved}\"
  when = [{ column = \"resolved\", is_set = true }]
  [event.fields]
  conversation = \"{number}\"
  status = \"resolved\"
  actor.kind = \"agent\"
  actor.id = \"{agent}\"

Importing the same file twice adds nothing. Exit code 0 also when rows were rejected: see the rejects file.";

/// Imports events from files: JSON lines, or CSV and TSV through a mapping.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Files: .jsonl, or anything else with a mapping; plain, gzip or zstd; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How the rows of CSV and TSV files become events (TOML)
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// The server
    #[arg(long, value_name = "URL", env = "DESKPULSE_SERVER", default_value = "http://127.0.0.1:7400")]
    pub server: String,
    /// The tenant of all events, instead of the one in the file or mapping
    #[arg(long)]
    pub tenant: Option<String>,
    /// The source of all events, instead of the one in the file or mapping
    #[arg(long)]
    pub source: Option<String>,
    /// Where rejected rows go, with the reason [default: FILE.rejects.csv in the current directory]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Events a batch
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Batches sent and not yet acknowledged
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub in_flight: u32,
    /// How to print the summary
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ImportSummary {
    /// Rows or lines read, headers left out.
    pub rows: u64,
    /// Events made of them and sent.
    pub events: u64,
    /// Events on stable storage that were not known before.
    pub accepted: u64,
    /// Events that were known already. After a broken connection this counts what the server had kept before.
    pub duplicate: u64,
    /// Rows that could not be used and events the server refused: the lines of the rejects file.
    pub rejected: u64,
    /// How many of the accepted may yet turn out to be duplicates.
    pub unverified: u64,
    /// How long it took.
    pub seconds: f64,
    /// Events sent a second.
    pub events_per_second: f64,
    /// Where the rejects are; none when there are none.
    pub rejects_file: Option<PathBuf>,
}

/// Imports files and prints the summary on standard output.
///
/// Rows that cannot be used and events the server refuses go to the rejects file; the rest is imported. Fails when a
/// file or the mapping cannot be read, or when the server stays away for 30 seconds.
pub async fn import(args: ImportArgs) -> anyhow::Result<ImportSummary> {
    let begun = Instant::now();
    let mapping = args.mapping.as_deref().map(Mapping::load).transpose()?;
    let bytes = total_bytes(&args.files)?;
    let rejects_path = args.rejects.clone().unwrap_or_else(|| default_rejects(args.files.first()));
    let rejects = Arc::new(Mutex::new(Rejects::new(rejects_path)));
    let bar = progress_bar(bytes);
    let sources = Sources { files: args.files, mapping, tenant: args.tenant, source: args.source };
    let (batches, received) = mpsc::channel(READ_AHEAD);
    let reading = tokio::task::spawn_blocking({
        let (bar, rejects, batch) = (bar.clone(), Arc::clone(&rejects), args.batch as usize);
        move || read(sources, &bar, &rejects, batch, &batches)
    });
    let mut summary = ImportSummary::default();
    let sent = stream::stream(&args.server, args.in_flight as usize, received, |batch, outcome| {
        summary.add(batch, outcome);
        let rate = summary.events as f64 / begun.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!(
            "{} events, {}/s",
            output::number(summary.events as f64),
            output::number(rate.round())
        ));
        record_refused(&rejects, batch, outcome)
    })
    .await;
    // When sending failed, reading stops by itself at its next batch; it may be waiting for standard input.
    let read = match &sent {
        Ok(()) => reading.await.context("reading the files was interrupted")?,
        Err(_) => Ok(0),
    };
    bar.finish_and_clear();
    let (rejected, rejects_file) = {
        let mut rejects = rejects.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, path) = rejects.finish()?;
        (count, path.map(Path::to_path_buf))
    };
    if let Some(path) = &rejects_file {
        eprintln!("{} rejected: see {}", output::number(rejected as f64), path.display());
    }
    sent?;
    summary.rows = read?;
    summary.rejected = rejected;
    summary.rejects_file = rejects_file;
    summary.finish(begun.elapsed());
    print!("{}", summary.render(args.output)?);
    Ok(summary)
}

/// Sends events that come from elsewhere than files, as `import` does: batched, bounded in flight, across broken
/// connections. Events the server refuses are only counted.
pub async fn send(
    server: &str,
    events: impl Iterator<Item = Event> + Send + 'static,
    batch: usize,
    in_flight: usize,
) -> anyhow::Result<ImportSummary> {
    let begun = Instant::now();
    let (batches, received) = mpsc::channel(READ_AHEAD);
    let making = tokio::task::spawn_blocking(move || {
        let mut batching = Batching { limit: batch.max(1), bytes: 0, batch: Batch::default(), batches: &batches };
        for event in events {
            batching.push(event, None)?;
        }
        batching.flush()
    });
    let mut summary = ImportSummary::default();
    let sent = stream::stream(server, in_flight, received, |batch, outcome| {
        summary.add(batch, outcome);
        summary.rejected += u64::from(outcome.rejected);
        Ok(())
    })
    .await;
    sent?;
    making.await.context("making the events was interrupted")??;
    summary.finish(begun.elapsed());
    Ok(summary)
}

impl ImportSummary {
    fn add(&mut self, batch: &Batch, outcome: &BatchOutcome) {
        self.events += batch.events.len() as u64;
        self.accepted += u64::from(outcome.accepted);
        self.duplicate += u64::from(outcome.duplicates);
        self.unverified += u64::from(outcome.unverified);
    }

    fn finish(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.events_per_second = self.events as f64 / self.seconds.max(0.001);
    }

    /// The summary for standard output, with its final line break.
    pub fn render(&self, format: OutputFormat) -> anyhow::Result<String> {
        let counts = [
            ("rows", self.rows),
            ("events", self.events),
            ("accepted", self.accepted),
            ("duplicate", self.duplicate),
            ("rejected", self.rejected),
            ("unverified", self.unverified),
        ];
        Ok(match format {
            OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(self)?),
            OutputFormat::Csv => {
                let names = counts.map(|(name, _)| name).join(",");
                let values = counts.map(|(_, count)| count.to_string()).join(",");
                let (seconds, rate) = (self.seconds, self.events_per_second);
                format!("{names},seconds,events_per_second\n{values},{seconds:.3},{rate:.0}\n")
            }
            OutputFormat::Table => {
                let mut table = output::table();
                table.set_header(counts.map(|(name, _)| name).into_iter().chain(["seconds", "events/s"]));
                let numbers = counts.map(|(_, count)| output::number(count as f64)).into_iter();
                let rate = output::number(self.events_per_second.round());
                table.add_row(numbers.chain([format!("{:.1}", self.seconds), rate]));
                table.column_iter_mut().for_each(|column| {
                    column.set_cell_alignment(CellAlignment::Right);
                });
                format!("{table}\n")
            }
        })
    }
}

/// Reads everything into batches. Returns the number of rows.
fn read(
    sources: Sources,
    bar: &ProgressBar,
    rejects: &Mutex<Rejects>,
    limit: usize,
    batches: &mpsc::Sender<Batch>,
) -> anyhow::Result<u64> {
    let mut batching = Batching { limit, bytes: 0, batch: Batch::default(), batches };
    let rows = sources.read_with(bar, &mut |entry| match entry {
        Entry::Event { event, origin } => batching.push(*event, Some(origin)),
        Entry::Bad { file, line, bad, text } => {
            let reject = Reject { file: &file, line, column: &bad.column, reason: &bad.reason, row: &text };
            rejects.lock().unwrap_or_else(PoisonError::into_inner).write(&reject)
        }
    });
    // What was read before a file turned out to be broken is imported all the same.
    batching.flush()?;
    rows
}

struct Batching<'a> {
    limit: usize,
    bytes: usize,
    batch: Batch,
    batches: &'a mpsc::Sender<Batch>,
}

impl Batching<'_> {
    fn push(&mut self, event: Event, origin: Option<Origin>) -> anyhow::Result<()> {
        let bytes = event.encoded_len() + 8;
        if self.batch.events.len() >= self.limit || self.bytes + bytes > BATCH_BYTES_LIMIT {
            self.flush()?;
        }
        self.bytes += bytes;
        self.batch.events.push(event);
        self.batch.origins.extend(origin);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.events.is_empty() {
            return Ok(());
        }
        self.batches.blocking_send(batch).map_err(|_| anyhow::anyhow!("sending stopped"))
    }
}

fn record_refused(rejects: &Mutex<Rejects>, batch: &Batch, outcome: &BatchOutcome) -> anyhow::Result<()> {
    let refused = [EventExceptionKind::Rejected, EventExceptionKind::Conflict];
    for exception in outcome.exceptions.iter().filter(|exception| refused.contains(&exception.kind())) {
        let Some(origin) = batch.origins.get(exception.index as usize) else { continue };
        let reject = Reject {
            file: &origin.file,
            line: origin.line,
            column: &exception.field,
            reason: &format!("{}: {}", exception.reason, exception.message),
            row: origin.text.as_deref().unwrap_or_default(),
        };
        rejects.lock().unwrap_or_else(PoisonError::into_inner).write(&reject)?;
    }
    Ok(())
}

/// The size of all files together; 0 when one of them is standard input.
fn total_bytes(files: &[PathBuf]) -> anyhow::Result<u64> {
    let mut total = Some(0);
    for path in files {
        if path == Path::new("-") {
            total = None;
            continue;
        }
        let size = std::fs::File::open(path).and_then(|file| file.metadata()).map_err(|error| {
            let message = format!("cannot open {}: {error}", path.display());
            Failure::new(message, "check its name and rights; nothing was imported")
        })?;
        total = total.map(|total| total + size.len());
    }
    Ok(total.unwrap_or(0))
}

fn default_rejects(first: Option<&PathBuf>) -> PathBuf {
    let name = first.filter(|path| *path != Path::new("-")).and_then(|path| path.file_name());
    let mut name = name.map_or_else(|| "stdin".into(), std::ffi::OsStr::to_os_string);
    name.push(".rejects.csv");
    name.into()
}

/// A bar on standard error, hidden unless that is a terminal.
fn progress_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = if bytes > 0 {
        (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes} {msg} {eta}")
    } else {
        (ProgressBar::no_length(), "{spinner} {bytes} {msg}")
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
