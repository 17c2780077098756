//! `deskpulse export`: the events of a log as the lines that `import` reads.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use deskpulse_cli::export::{Lines, lines_file, reader_has_gone};
use deskpulse_cli::failure::Failure;
use deskpulse_cli::output::number;
use deskpulse_disk::RealDisk;
use deskpulse_log::{Report, Seen, walk_on};
use deskpulse_proto::v1::EventBlock;
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;

use crate::check;

/// What to export, and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse export --data-dir ./data events.jsonl.zst
  deskpulse export --data-dir ./data --tenant acme | jq .conversationOpened.conversation
  deskpulse export --data-dir ./data events.jsonl.gz --config config.jsonl

`deskpulse import events.jsonl.zst --server ...` takes the events in elsewhere, with the same answers. What was sent twice, and conflicts, are
in the log and so in the file.

Configuration is no event: with --config, each change of it is a line of JSON, in order, a ConfigChange of proto/deskpulse/v1/log.proto.
Its `settings`, `calendar` or `slaPolicy` is what ConfigService takes elsewhere:
  buf curl --protocol grpc --http2-prior-knowledge http://HOST:7400/deskpulse.v1.ConfigService/SetTenant -d \"{\\\"tenant\\\": SETTINGS}\"
  .../SetCalendar  -d \"{\\\"tenant\\\": \\\"acme\\\", \\\"calendar\\\": CALENDAR}\"
  .../SetSlaPolicy -d \"{\\\"tenant\\\": \\\"acme\\\", \\\"policy\\\": SLA_POLICY}\"")]
pub(crate) struct ExportArgs {
    /// The data folder of a server that does not run.
    #[arg(long, default_value = "deskpulse-data", env = "DESKPULSE_DATA_DIR")]
    data_dir: PathBuf,
    /// Where to; packed as its name says: .jsonl, .jsonl.gz or .jsonl.zst [default: standard output].
    #[arg(value_name = "FILE", value_parser = lines_file)]
    file: Option<PathBuf>,
    /// Only the events of this tenant, and its configuration.
    #[arg(long)]
    tenant: Option<String>,
    /// Where to write the changes of configuration, packed likewise.
    #[arg(long, value_name = "FILE", value_parser = lines_file)]
    config: Option<PathBuf>,
}

/// The partition whose changes of configuration are written: all have the same.
const CONFIG_PARTITION: u32 = 0;

/// Writes every event of the log.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    if args.config.is_some() && args.config == args.file {
        bail!(Failure::new("events and configuration go into one file", "name two"));
    }
    let folder = args.data_dir.join("log");
    if !check::holds_files(&folder)? {
        let message = format!("there is no log in {}", folder.display());
        return Err(Failure::new(message, "name the data folder of an ingest with --data-dir").into());
    }
    let mut export = Export {
        events: Lines::create(args.file.as_deref())?,
        config: args.config.as_deref().map(|path| Lines::create(Some(path))).transpose()?,
        tenant: args.tenant.as_deref(),
        bar: spinner(),
        failed: None,
    };
    let walked = walk_on(Arc::new(RealDisk), &folder, &mut |seen| match export.block(seen) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            export.failed = Some(error);
            ControlFlow::Break(())
        }
    });
    let walked = walked.map_err(check::log_failure)?;
    export.bar.finish_and_clear();
    let Export { events, config, failed, .. } = export;
    match failed {
        Some(error) if args.file.is_none() && reader_has_gone(&error) => return Ok(()),
        Some(error) => return Err(error),
        None => {}
    }
    let report = walked.context("the log was not read to its end")?;
    if let Some(damage) = report.damage.first() {
        let (file, offset, reason) = (damage.file.display(), damage.offset, &damage.reason);
        let message = format!("{file} is damaged at byte {offset}: {reason}; what was exported is not all there is");
        let hint = "`deskpulse check --repair` puts the log in order and lists what is lost; then export again";
        return Err(Failure::new(message, hint).into());
    }
    say_what_is_missing(&report);
    let counts = [Some(events.count()), config.as_ref().map(Lines::count)].map(|count| count.map(|n| number(n as f64)));
    events.finish()?;
    config.map_or(Ok(()), Lines::finish)?;
    if let [Some(events), config] = counts {
        let config = config.map(|changes| format!(", {changes} changes of configuration")).unwrap_or_default();
        eprintln!("exported {events} events{config}");
    }
    Ok(())
}

/// An export under way.
struct Export<'a> {
    events: Lines,
    config: Option<Lines>,
    tenant: Option<&'a str>,
    bar: ProgressBar,
    failed: Option<anyhow::Error>,
}

impl Export<'_> {
    fn block(&mut self, seen: Seen<'_>) -> anyhow::Result<()> {
        let Seen { partition, position, payload, file, .. } = seen;
        let what = || format!("block {position} of partition {partition}, in {}", file.display());
        let block = EventBlock::decode(payload).with_context(|| format!("{} cannot be decoded", what()))?;
        let wanted = |tenant: &str| self.tenant.is_none_or(|wanted| wanted == tenant);
        // Mentions are copies of events that stand in their own partition's blocks.
        for event in block.events.iter().filter(|event| wanted(&event.tenant)) {
            if event.payload.is_none() {
                let message = format!("{} has an event of a type this version does not know", what());
                return Err(Failure::new(message, "export with the version of deskpulse that wrote it").into());
            }
            self.events.event(event)?;
        }
        if let Some(config) = &mut self.config
            && partition.0 == CONFIG_PARTITION
            && let Some(change) = block.config.filter(|change| wanted(&change.tenant))
        {
            config.config(&change)?;
        }
        self.bar.inc(block.events.len() as u64);
        Ok(())
    }
}

/// Says on standard error what no export of this log can have.
fn say_what_is_missing(report: &Report) {
    for (number, partition) in report.partitions.iter().enumerate() {
        if partition.first.0 > 1 {
            let (first, removed) = (partition.first, partition.first.0 - 1);
            eprintln!("warning: partition {number} begins at block {first}: retention removed the {removed} before it");
        }
        if partition.lost > 0 {
            eprintln!("warning: {} blocks of partition {number} were lost before an earlier repair", partition.lost);
        }
    }
}

/// Counts events on standard error, hidden unless that is a terminal.
fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
