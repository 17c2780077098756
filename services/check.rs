//! `deskpulse check`: what a data folder holds and whether it is sound, offline.

mod report;

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use deskpulse_aggregation::{AtRest, Follows, folder_of, has_meaning, look_at, positions_in};
use deskpulse_cli::failure::Failure;
use deskpulse_disk::{Disk, RealDisk};
use deskpulse_log::{LogError, Position, Repair, Report, Seen, SegmentForm, repair_on, walk_on};
use deskpulse_proto::v1::EventBlock;
use deskpulse_proto::v1::config_change::Change;
use deskpulse_store::{SET_ASIDE_MAX, StoreError, StoreState};
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;

/// What to check, and what to do about damage.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse check --data-dir ./data
  deskpulse check --data-dir ./data --output json | jq .damage
  deskpulse check --data-dir ./data --repair

Reads all of the log, the store, its snapshots and the configuration, and changes nothing without --repair. With it, each damaged file of the
log is copied to log/quarantine/ first and never deleted; then every sound block is kept, and empty ones stand for those that are lost. A
damaged store needs no repair: the next start sets it aside and builds it again from a snapshot and the log.

Exit code 0: sound, or made so; 1: there is damage, or the folder cannot be checked; 2: wrong usage.")]
pub(crate) struct CheckArgs {
    /// The data folder of a server that does not run.
    #[arg(long, default_value = "deskpulse-data", env = "DESKPULSE_DATA_DIR")]
    data_dir: PathBuf,
    /// Put a damaged log in order.
    #[arg(long)]
    repair: bool,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How to print what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Tables for people.
    #[default]
    Table,
    /// JSON with exact numbers.
    Json,
}

/// Blocks that make no sense are listed up to here; the rest is counted.
const BLOCKS_LISTED: usize = 100;

/// Who can do something about damage.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remedy {
    /// This command with `--repair`, and what that would do.
    Repair(String),
    /// The next start by itself, and what it does.
    NextStart(String),
    /// Somebody has to decide, and about what.
    People(String),
}

impl Remedy {
    /// A sentence for people.
    fn text(&self) -> String {
        match self {
            Self::Repair(what) => format!("--repair {what}"),
            Self::NextStart(what) => format!("the next start {what}"),
            Self::People(what) => what.clone(),
        }
    }
}

/// Something that is not as it was written, or does not fit the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Damage {
    file: PathBuf,
    /// Where it begins and how long it is, where that is known.
    at: Option<(u64, u64)>,
    reason: String,
    remedy: Remedy,
}

/// What was counted in a partition of the log.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    blocks: u64,
    events: u64,
}

/// How many changes of a tenant's configuration there are, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    settings: u64,
    calendars: u64,
    policies: u64,
}

/// A log that was read.
#[derive(Debug)]
struct Log {
    folder: PathBuf,
    report: Report,
    partitions: Vec<Counted>,
    /// Events in compressed segments, of all.
    sealed_events: u64,
    /// By tenant.
    config: BTreeMap<String, Changes>,
    unknown_events: u64,
}

impl Log {
    fn events(&self) -> u64 {
        self.partitions.iter().map(|counted| counted.events).sum()
    }
}

/// One version's store.
#[derive(Debug)]
struct Store {
    folder: PathBuf,
    /// Whether it is this version's.
    current: bool,
    found: AtRest,
}

/// A data folder that was read.
#[derive(Debug)]
struct Findings {
    log: Option<Log>,
    stores: Vec<Store>,
    damage: Vec<Damage>,
    /// What is worth knowing and no damage.
    notes: Vec<String>,
}

/// Checks a data folder, and repairs it when asked to.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::of(&args.data_dir)?;
    let mut repaired = None;
    if args.repair
        && let Some(log) = &findings.log
    {
        let folder = log.folder.clone();
        let repair = repair_on(Arc::new(RealDisk), &folder, &findings.durable());
        repaired = Some(repair.map_err(log_failure)?);
        findings = Findings::of(&args.data_dir)?;
    }
    match args.output {
        Output::Table => print!("{}", report::tables(&findings, repaired.as_ref())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report::json(&findings, repaired.as_ref()))?),
    }
    Ok(if findings.is_fine(repaired.as_ref()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Findings {
    /// Reads all of a data folder, without changing a byte.
    fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut findings = Self { log: None, stores: Vec::new(), damage: Vec::new(), notes: Vec::new() };
        let folder = data_dir.join("log");
        if holds_files(&folder)? {
            findings.read_log(folder)?;
        }
        findings.read_stores(&disk, &data_dir.join("aggregation"))?;
        if findings.log.is_none() && findings.stores.is_empty() {
            let message =
                format!("{} is no data folder of deskpulse: it has neither log nor aggregation", data_dir.display());
            return Err(Failure::new(message, "name the folder that `deskpulse serve` was given as --data-dir").into());
        }
        if findings.log.is_none() {
            findings.notes.push("there is no log here: aggregation follows that of an ingest elsewhere".to_owned());
        }
        findings.compare();
        Ok(findings)
    }

    fn read_log(&mut self, folder: PathBuf) -> anyhow::Result<()> {
        let bar = spinner();
        let mut log = Reading::default();
        let walked = walk_on(Arc::new(RealDisk), &folder, &mut |seen| {
            bar.inc(1);
            log.block(seen);
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        let report = walked.map_err(log_failure)?.context("the log was not read to its end")?;
        let Reading { mut partitions, sealed_events, config, unknown_events, senseless, more } = log;
        partitions.resize(report.partitions.len(), Counted::default());
        let of_report = report.damage.iter().map(|damage| Damage {
            file: damage.file.clone(),
            at: Some((damage.offset, damage.bytes)),
            reason: damage.reason.clone(),
            remedy: Remedy::Repair(what_repair_does(damage)),
        });
        self.damage.extend(of_report.chain(senseless));
        if more > 0 {
            self.notes.push(format!("{more} more blocks make no sense"));
        }
        if unknown_events > 0 {
            self.notes
                .push(format!("{unknown_events} events are of types this version does not know; it passes them over"));
        }
        for (number, partition) in report.partitions.iter().enumerate() {
            if partition.first.0 > 1 {
                let first = partition.first;
                self.notes
                    .push(format!("partition {number} begins at block {first}: retention removed those before it"));
            }
            if partition.lost > 0 {
                let lost = partition.lost;
                self.notes.push(format!("{lost} blocks of partition {number} are lost: readers get them empty"));
            }
        }
        self.log = Some(Log { folder, report, partitions, sealed_events, config, unknown_events });
        Ok(())
    }

    fn read_stores(&mut self, disk: &Arc<dyn Disk>, folder: &Path) -> anyhow::Result<()> {
        let cannot = || format!("cannot read {}", folder.display());
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(cannot),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.with_context(cannot)?;
            if entry.file_name().to_string_lossy().starts_with("meaning-") {
                folders.push(entry.path());
            }
        }
        folders.sort_unstable();
        for path in folders {
            let bar = spinner();
            bar.set_message(path.display().to_string());
            let found = look_at(disk, &path).map_err(store_failure);
            bar.finish_and_clear();
            let store = Store { current: path == folder_of(folder), folder: path, found: found? };
            self.judge(&store);
            self.stores.push(store);
        }
        Ok(())
    }

    /// What is wrong with a store in itself.
    fn judge(&mut self, store: &Store) {
        let report = &store.found.report;
        let newest = report.snapshots.iter().find_map(|(file, found)| found.is_ok().then_some(&file.name));
        let from = newest.map_or_else(|| "the log alone".to_owned(), |name| format!("{name} and the log"));
        match &report.store {
            StoreState::Sound(_) => {}
            StoreState::Missing if report.snapshots.is_empty() => {
                self.notes.push(format!("{} has no store yet", store.folder.display()));
            }
            StoreState::Missing => self.notes.push(format!(
                "{} has no store: the next start of its version builds it from {from}",
                store.folder.display()
            )),
            StoreState::Unsound(error @ StoreError::Damaged { .. }) if report.set_aside.len() < SET_ASIDE_MAX => {
                let remedy = format!("sets it aside and builds it again from {from}");
                self.damage.push(of_store(error, &store.folder, Remedy::NextStart(remedy)));
            }
            StoreState::Unsound(error @ StoreError::Damaged { .. }) => {
                let remedy = "check the disk, then move `store.damaged-*` elsewhere: too many stand there for another"
                    .to_owned();
                self.damage.push(of_store(error, &store.folder, Remedy::People(remedy)));
            }
            StoreState::Unsound(error) => {
                self.damage.push(of_store(error, &store.folder, Remedy::People(what_people_do(error).to_owned())));
            }
        }
        for (_, found) in &report.snapshots {
            if let Err(error) = found {
                let remedy = match error {
                    StoreError::Damaged { .. } => {
                        Remedy::NextStart("does without it; later snapshots take its place".to_owned())
                    }
                    other => Remedy::People(what_people_do(other).to_owned()),
                };
                self.damage.push(of_store(error, &store.folder, remedy));
            }
        }
        if let Some(Err(error)) = &store.found.follows {
            let remedy = "move the folder elsewhere: the next start makes a new store from the log".to_owned();
            self.damage.push(Damage {
                file: store.folder.clone(),
                at: None,
                reason: error.to_string(),
                remedy: Remedy::People(remedy),
            });
        }
        for (name, bytes) in &report.set_aside {
            self.notes.push(format!("{}: a damaged store set aside, {bytes} bytes", store.folder.join(name).display()));
        }
        if report.unfinished {
            self.notes.push(format!(
                "{}: a start was interrupted while it built the store; the next one does it again",
                store.folder.display()
            ));
        }
    }

    /// What does not fit together: this version's store and the log.
    fn compare(&mut self) {
        let (Some(log), Some(store)) = (&self.log, self.stores.iter().find(|store| store.current)) else { return };
        let file = store.folder.clone();
        let mut damage = Vec::new();
        let mut add = |reason: String, remedy| damage.push(Damage { file: file.clone(), at: None, reason, remedy });
        let partitions = &log.report.partitions;
        let restore = "put the log's older segments back, from a copy of this folder";
        match &store.found.follows {
            Some(Ok(follows))
                if follows.log_id != log.report.identity || follows.positions.len() != partitions.len() =>
            {
                let (its, own) = (follows.log_id, log.report.identity);
                add(
                    format!("the store follows log {its:016x}, and here is log {own:016x}"),
                    Remedy::People(
                        "give this log its own store, or move the folder elsewhere and have a new one made".to_owned(),
                    ),
                );
            }
            Some(Ok(follows)) => {
                for (number, (at, partition)) in follows.positions.iter().zip(partitions).enumerate() {
                    if *at > partition.head.0 {
                        let head = partition.head;
                        add(
                            format!("the log of partition {number} ends at block {head}, the store has applied {at}"),
                            Remedy::Repair("has empty blocks stand for those that are lost".to_owned()),
                        );
                    } else if at + 1 < partition.first.0 {
                        let first = partition.first;
                        add(
                            format!(
                                "the log of partition {number} begins at block {first}, the store has applied {at}"
                            ),
                            Remedy::People(restore.to_owned()),
                        );
                    }
                }
            }
            Some(Err(_)) => {}
            // What a new store would be built from.
            None => {
                let newest = store.found.report.snapshots.iter().find_map(|(_, found)| found.as_ref().ok());
                let held = newest.map(positions_in).unwrap_or_default();
                for (number, partition) in partitions.iter().enumerate() {
                    let at = held.get(number).copied().unwrap_or(0);
                    if at + 1 < partition.first.0 {
                        let first = partition.first;
                        add(
                            format!(
                                "the log of partition {number} begins at block {first}, and no snapshot reaches so far"
                            ),
                            Remedy::People(restore.to_owned()),
                        );
                    }
                }
            }
        }
        self.damage.extend(damage);
    }

    /// The positions this version's store says had been durable, by partition.
    fn durable(&self) -> Vec<Position> {
        let follows = self.stores.iter().find(|store| store.current).and_then(|store| store.found.follows.as_ref());
        let of_this_log =
            |follows: &&Follows| self.log.as_ref().is_some_and(|log| log.report.identity == follows.log_id);
        let follows = follows.and_then(|follows| follows.as_ref().ok()).filter(of_this_log);
        follows.map(|follows| follows.positions.iter().copied().map(Position).collect()).unwrap_or_default()
    }

    /// Whether a start works: nothing is damaged, or after a repair nothing but what the start itself makes good.
    fn is_fine(&self, repaired: Option<&Repair>) -> bool {
        self.damage.iter().all(|damage| match damage.remedy {
            Remedy::NextStart(_) => repaired.is_some(),
            Remedy::Repair(_) | Remedy::People(_) => false,
        })
    }
}

/// What is counted while a log is read.
#[derive(Debug, Default)]
struct Reading {
    partitions: Vec<Counted>,
    sealed_events: u64,
    config: BTreeMap<String, Changes>,
    unknown_events: u64,
    /// Blocks whose checksums are right and whose content is not.
    senseless: Vec<Damage>,
    /// How many more of them there are.
    more: u64,
}

impl Reading {
    fn block(&mut self, seen: Seen<'_>) {
        let index = seen.partition.0 as usize;
        if self.partitions.len() <= index {
            self.partitions.resize(index + 1, Counted::default());
        }
        let block = EventBlock::decode(seen.payload);
        let (events, change) = match &block {
            Ok(block) => (block.events.as_slice(), block.config.as_ref()),
            Err(error) => {
                self.senseless(seen, &error.to_string());
                (&[][..], None)
            }
        };
        let count = events.len() as u64;
        if let Some(counted) = self.partitions.get_mut(index) {
            counted.blocks += 1;
            counted.events += count;
        }
        match seen.form {
            SegmentForm::Raw => {}
            SegmentForm::Sealed => self.sealed_events += count,
        }
        self.unknown_events += events.iter().filter(|event| event.payload.is_none()).count() as u64;
        let Some(change) = change else { return };
        if !has_meaning(change) {
            self.senseless(seen, &format!("a change of configuration of tenant {:?} that is not valid", change.tenant));
        }
        // All partitions have the same changes.
        if index == 0 {
            let changes = self.config.entry(change.tenant.clone()).or_default();
            match change.change {
                Some(Change::Settings(_)) => changes.settings += 1,
                Some(Change::Calendar(_)) => changes.calendars += 1,
                Some(Change::SlaPolicy(_)) => changes.policies += 1,
                None => {}
            }
        }
    }

    fn senseless(&mut self, seen: Seen<'_>, why: &str) {
        if self.senseless.len() >= BLOCKS_LISTED {
            self.more += 1;
            return;
        }
        self.senseless.push(Damage {
            file: seen.file.to_path_buf(),
            at: None,
            reason: format!("block {} of partition {}: {why}", seen.position, seen.partition),
            remedy: Remedy::People("check with the version of deskpulse that wrote it".to_owned()),
        });
    }
}

fn what_repair_does(damage: &deskpulse_log::Damage) -> String {
    if damage.file.extension().is_some_and(|ending| ending == "meta" || ending == "first") {
        "copies it to quarantine/ and writes it anew, from the segments".to_owned()
    } else if damage.file.exists() {
        "copies it to quarantine/ and keeps every sound block; empty ones stand for those that are lost".to_owned()
    } else {
        "has empty blocks stand for those that are lost".to_owned()
    }
}

/// What a store or a snapshot that cannot be read is.
fn of_store(error: &StoreError, folder: &Path, remedy: Remedy) -> Damage {
    let said = |error: &dyn std::error::Error| {
        let causes = std::iter::successors(error.source(), |error| error.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    };
    match error {
        StoreError::Damaged { file, offset, what } => {
            Damage { file: file.clone(), at: offset.map(|offset| (offset, 0)), reason: what.clone(), remedy }
        }
        other => Damage { file: folder.to_path_buf(), at: None, reason: said(other), remedy },
    }
}

fn what_people_do(error: &StoreError) -> &'static str {
    match error {
        StoreError::Newer { .. } => "start with a newer version of deskpulse",
        StoreError::NotOurs { .. } => "move it elsewhere, or put back what stood there",
        StoreError::ReadOnly { .. } => "give the program the right to read it",
        StoreError::InUse { .. } => "stop the server first",
        StoreError::Damaged { .. }
        | StoreError::Disk { .. }
        | StoreError::Failed { .. }
        | StoreError::TooLarge { .. }
        | StoreError::TooManySetAside { .. } => "check the disk",
    }
}

const IN_USE: &str = "stop the server that has it open, or work on a copy of its folder";

/// Why a log cannot be looked at.
pub(crate) fn log_failure(error: LogError) -> anyhow::Error {
    let hint = match &error {
        LogError::InUse { .. } => IN_USE,
        LogError::NewerVersion { .. } => "nothing was changed",
        LogError::NotALog { .. } => "nothing was changed; name the data folder, or put its log.meta back from a copy",
        _ => "nothing is known to be wrong with what could not be read: check the rights and the disk",
    };
    cannot(error, hint)
}

fn store_failure(error: StoreError) -> anyhow::Error {
    let hint = if matches!(error, StoreError::InUse { .. }) { IN_USE } else { what_people_do(&error) };
    cannot(error, hint)
}

/// The error with its causes, and what to do.
fn cannot(error: impl Into<anyhow::Error>, hint: &str) -> anyhow::Error {
    let error: anyhow::Error = error.into();
    Failure::new(format!("{error:#}"), hint).into()
}

/// Whether a folder is there and has anything in it.
pub(crate) fn holds_files(folder: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let message = format!("cannot read {}: {error}", folder.display());
            Err(Failure::new(message, "name a data folder that may be read").into())
        }
    }
}

/// Counts blocks on standard error, hidden unless that is a terminal.
fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} blocks {msg}");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
