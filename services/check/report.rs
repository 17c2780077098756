//! What a check found, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{CellAlignment, Table};
use deskpulse_cli::output::{ABSENT, number, table};
use deskpulse_log::{Repair, SegmentForm};
use deskpulse_store::StoreState;
use serde_json::{Value, json};

use super::{Damage, Findings, Log, Store};

/// Damage is printed up to here; JSON has all.
const DAMAGE_PRINTED: usize = 50;

/// How many files of a kind, and how large.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    files: u64,
    bytes: u64,
    /// The events in them, where they can be told.
    events: Option<u64>,
}

impl Size {
    fn bytes_an_event(self) -> Option<f64> {
        self.events.filter(|events| *events > 0).map(|events| self.bytes as f64 / events as f64)
    }
}

fn sizes(findings: &Findings) -> Vec<(String, Size)> {
    let mut sizes = Vec::new();
    if let Some(log) = &findings.log {
        let of = |form: SegmentForm| {
            let segments = log.report.segments.iter().filter(|segment| segment.form == form);
            segments.fold(Size::default(), |size, segment| Size {
                files: size.files + 1,
                bytes: size.bytes + segment.file_bytes,
                events: None,
            })
        };
        let payload = log.report.segments.iter().map(|segment| segment.payload_bytes).sum();
        let files = log.report.segments.len() as u64;
        // Raw segments have their full size before anything is in them.
        sizes.push(("log, raw segments".to_owned(), of(SegmentForm::Raw)));
        let sealed = Size { events: Some(log.sealed_events), ..of(SegmentForm::Sealed) };
        sizes.push(("log, compressed segments".to_owned(), sealed));
        sizes.push(("log, blocks as appended".to_owned(), Size { files, bytes: payload, events: Some(log.events()) }));
    }
    for store in &findings.stores {
        let report = &store.found.report;
        let name = name(store);
        if let StoreState::Sound(figures) = &report.store {
            sizes.push((format!("store {name}"), Size { files: 1, bytes: figures.file_bytes, events: None }));
        }
        let sound = report.snapshots.iter().filter_map(|(_, found)| found.as_ref().ok());
        let snapshots = sound.fold(Size::default(), |size, snapshot| Size {
            files: size.files + 1,
            bytes: size.bytes + snapshot.file_bytes,
            events: None,
        });
        sizes.push((format!("snapshots {name}"), snapshots));
    }
    sizes
}

fn name(store: &Store) -> String {
    store.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn state(store: &Store) -> &'static str {
    match &store.found.report.store {
        StoreState::Missing => "missing",
        StoreState::Sound(_) => "sound",
        StoreState::Unsound(_) => "damaged",
    }
}

fn positions(store: &Store) -> Option<&[u64]> {
    store.found.follows.as_ref().and_then(|follows| follows.as_ref().ok()).map(|follows| follows.positions.as_slice())
}

/// Everything in tables, with a final line break.
pub(super) fn tables(findings: &Findings, repaired: Option<&Repair>) -> String {
    let mut text = String::new();
    if let Some(repair) = repaired {
        text.push_str(&repair_text(repair));
    }
    if let Some(log) = &findings.log {
        let _ = write!(
            text,
            "Log {}, number {:016x}\n{}\n\n",
            log.folder.display(),
            log.report.identity,
            partitions(findings, log)
        );
    }
    for store in &findings.stores {
        let whose = if store.current { "this version's store" } else { "the store of another version" };
        let _ = writeln!(text, "{}: {whose}, {}", store.folder.display(), state(store));
    }
    let mut table = right_aligned(&["what", "files", "bytes", "bytes an event"], 1);
    for (what, size) in sizes(findings) {
        let an_event = size.bytes_an_event().map_or_else(|| ABSENT.to_owned(), |bytes| format!("{bytes:.1}"));
        table.add_row([what, number(size.files as f64), number(size.bytes as f64), an_event]);
    }
    let _ = write!(text, "\nSizes\n{table}\n");
    if let Some(log) = &findings.log {
        let mut table = right_aligned(&["tenant", "settings", "calendars", "SLA policies"], 1);
        for (tenant, changes) in &log.config {
            let counts = [changes.settings, changes.calendars, changes.policies].map(|count| number(count as f64));
            table.add_row(std::iter::once(tenant.clone()).chain(counts));
        }
        if log.config.is_empty() {
            text.push_str("\nNo changes of configuration\n");
        } else {
            let _ = write!(text, "\nChanges of configuration\n{table}\n");
        }
    }
    for note in &findings.notes {
        let _ = write!(text, "\nnote: {note}");
    }
    if !findings.notes.is_empty() {
        text.push('\n');
    }
    text.push_str(&damage_text(&findings.damage));
    text
}

fn partitions(findings: &Findings, log: &Log) -> Table {
    let current = findings.stores.iter().find(|store| store.current).and_then(positions);
    let mut table = right_aligned(&["partition", "first", "head", "store at", "blocks", "lost", "events"], 0);
    for (index, (partition, counted)) in log.report.partitions.iter().zip(&log.partitions).enumerate() {
        let at = current.and_then(|positions| positions.get(index));
        table.add_row([
            index.to_string(),
            partition.first.to_string(),
            partition.head.to_string(),
            at.map_or_else(|| ABSENT.to_owned(), ToString::to_string),
            number(counted.blocks as f64),
            number(partition.lost as f64),
            number(counted.events as f64),
        ]);
    }
    table
}

fn repair_text(repair: &Repair) -> String {
    let mut text = String::new();
    for path in &repair.quarantined {
        let _ = writeln!(text, "quarantined: {}", path.display());
    }
    for lost in &repair.lost {
        let _ = writeln!(text, "lost: partition {}, blocks {} to {}", lost.partition, lost.first, lost.last);
    }
    if repair.quarantined.is_empty() && repair.lost.is_empty() {
        text.push_str("repaired: nothing, no file of the log was damaged\n");
    }
    text.push('\n');
    text
}

fn damage_text(damage: &[Damage]) -> String {
    if damage.is_empty() {
        return "\nsound: every byte is as it was written\n".to_owned();
    }
    let mut text = String::from("\nDamage\n");
    for damage in damage.iter().take(DAMAGE_PRINTED) {
        let at = match damage.at {
            Some((offset, 0)) => format!(" at byte {offset}"),
            Some((offset, bytes)) => format!(" at byte {offset}, {bytes} bytes"),
            None => String::new(),
        };
        let _ = writeln!(text, "{}{at}: {}\n  {}", damage.file.display(), damage.reason, damage.remedy.text());
    }
    if let Some(more) = damage.len().checked_sub(DAMAGE_PRINTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more: --output json has all");
    }
    text
}

fn right_aligned(header: &[&str], from: usize) -> Table {
    let mut table = table();
    table.set_header(header);
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Everything for programs. Log numbers are hexadecimal, as no JSON number holds them.
pub(super) fn json(findings: &Findings, repaired: Option<&Repair>) -> Value {
    json!({
        "sound": findings.damage.is_empty(),
        "log": findings.log.as_ref().map(|log| log_json(findings, log)),
        "stores": findings.stores.iter().map(store_json).collect::<Vec<_>>(),
        "damage": findings.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "notes": findings.notes,
        "repair": repaired.map(repair_json),
    })
}

fn log_json(findings: &Findings, log: &Log) -> Value {
    let current = findings.stores.iter().find(|store| store.current).and_then(positions);
    let partitions = log.report.partitions.iter().zip(&log.partitions).enumerate();
    let partitions = partitions.map(|(index, (partition, counted))| {
        json!({
            "partition": index,
            "first": partition.first.0,
            "head": partition.head.0,
            "store_at": current.and_then(|positions| positions.get(index)),
            "blocks": counted.blocks,
            "lost": partition.lost,
            "events": counted.events,
        })
    });
    let segments = log.report.segments.iter().map(|segment| {
        json!({
            "file": text(&segment.file),
            "form": match segment.form {
                SegmentForm::Raw => "raw",
                SegmentForm::Sealed => "compressed",
            },
            "file_bytes": segment.file_bytes,
            "blocks": segment.blocks,
            "payload_bytes": segment.payload_bytes,
        })
    });
    let config = log.config.iter().map(|(tenant, changes)| {
        json!({
            "tenant": tenant,
            "settings": changes.settings,
            "calendars": changes.calendars,
            "sla_policies": changes.policies,
        })
    });
    json!({
        "folder": text(&log.folder),
        "number": format!("{:016x}", log.report.identity),
        "events": log.events(),
        "compressed_events": log.sealed_events,
        "unknown_events": log.unknown_events,
        "partitions": partitions.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
        "configuration": config.collect::<Vec<_>>(),
    })
}

fn store_json(store: &Store) -> Value {
    let report = &store.found.report;
    let figures = match &report.store {
        StoreState::Sound(figures) => json!({
            "file_bytes": figures.file_bytes,
            "keys": figures.keys,
            "key_bytes": figures.key_bytes,
            "value_bytes": figures.value_bytes,
        }),
        StoreState::Missing | StoreState::Unsound(_) => Value::Null,
    };
    let snapshots = report.snapshots.iter().map(|(file, found)| {
        let found = found.as_ref().ok();
        json!({
            "file": text(&store.folder.join(&file.name)),
            "sound": found.is_some(),
            "pairs": found.map(|found| found.pairs),
            "file_bytes": found.map(|found| found.file_bytes),
        })
    });
    json!({
        "folder": text(&store.folder),
        "this_version": store.current,
        "state": state(store),
        "positions": positions(store),
        "figures": figures,
        "snapshots": snapshots.collect::<Vec<_>>(),
        "set_aside": report.set_aside.iter().map(|(name, _)| text(&store.folder.join(name))).collect::<Vec<_>>(),
    })
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "file": text(&damage.file),
        "offset": damage.at.map(|(offset, _)| offset),
        "bytes": damage.at.map(|(_, bytes)| bytes),
        "reason": damage.reason,
        "remedy": damage.remedy.text(),
    })
}

fn repair_json(repair: &Repair) -> Value {
    let lost = repair
        .lost
        .iter()
        .map(|lost| json!({ "partition": lost.partition.0, "first": lost.first.0, "last": lost.last.0 }));
    json!({ "quarantined": repair.quarantined.iter().map(|path| text(path)).collect::<Vec<_>>(), "lost": lost.collect::<Vec<_>>() })
}

/// A path as JSON can hold it.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
