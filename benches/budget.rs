//! What each step takes of the CPU time of an event, from the message it came in to figures that can be asked for: a table.
//!
//! Each step is done for a whole week, with what the step before gave, on one thread, but for the log, which has its own; the medians of some rounds are shown, beside
//! the least a machine could do. The parts need not add up to the whole: apart, each has the caches for itself.

mod blocks;
#[expect(dead_code, reason = "its random numbers are for the benches that make up their own events")]
mod workload;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use comfy_table::CellAlignment;
use deskpulse_aggregation::decode;
use deskpulse_cli::output::table;
use deskpulse_core::archive::EmptyArchive;
use deskpulse_core::event::Id;
use deskpulse_core::fact::{Fact, Facts, Measure};
use deskpulse_core::grid::{ColumnKey, Range, Reader, Recorder, SubjectNumber, grid};
use deskpulse_core::partition::{Arrival, Block, Partition, Place};
use deskpulse_core::rules::Rules;
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::state::Subject;
use deskpulse_core::subject::{SubjectKind, route};
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Timeline;
use deskpulse_ingest::{Limits, check};
use deskpulse_log::{EmbeddedLog, EventLog as _, LogOptions, PartitionId};
use deskpulse_proto::lent;
use prost::Message;
use tokio::runtime::Runtime;

use blocks::{Log, PARTITIONS, cpu_seconds, log, week};
use workload::sized;

/// Who an event is about.
type Whose = (Symbol, SubjectKind, Id);

/// The facts of a block: tenant, number of the subject, and how many of the list.
type Stated = Vec<(Symbol, u32, usize)>;

/// How often each measure stands.
type Figures = BTreeMap<&'static str, i64>;

fn main() {
    let events = week(sized(50_000, 200));
    let (log, count) = (log(&events), events.len());
    let encoded: Vec<Vec<u8>> = events.iter().map(Message::encode_to_vec).collect();
    assert_eq!(checked(&encoded), encoded.len());
    drop(events);
    let rounds = sized(5, 1);
    let median_ns = |work: &mut dyn FnMut() -> f64| {
        let mut seconds: Vec<f64> = (0..rounds).map(|_| work()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2] * 1e9 / count as f64
    };
    let names = Arc::new(Names::default());
    let blocks = decoded(&log, &names);
    let (stated, facts) = meaning(&blocks, &names);
    let tenant = names.find_symbol("demo").expect("it has events");
    let in_parts = stated.iter().zip(&facts).map(|(stated, facts)| recorded(grid_for(stated), stated, facts));
    let at_once = decoded(&log, &names).into_iter().zip(0..).map(|(blocks, number)| applied(blocks, number, &names));
    let in_parts = figures(in_parts.map(|(_, reader)| reader), tenant);
    assert_eq!(in_parts, figures(at_once.map(|partition| partition.reader()), tenant));

    let mut steps = table();
    steps.set_header(["CPU ns an event", "floor", "ours", "what the floor is"]);
    for column in steps.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut row = |step: &str, floor: f64, ours: f64, what: &str| {
        steps.add_row([step.to_owned(), format!("{floor:.0}"), format!("{ours:.0}"), what.to_owned()]);
    };
    let each = median_ns(&mut || timed(|| encoded.iter().fold(0, |sum, event| crc32c::crc32c_append(sum, event))));
    let checking = median_ns(&mut || timed(|| checked(&encoded)));
    row("check and route", each, checking, "read the bytes and checksum them");
    let runtime = Runtime::new().expect("a runtime");
    let writing = median_ns(&mut || timed(|| written(&log)));
    let logging = median_ns(&mut || timed(|| runtime.block_on(logged(&log))));
    row("write to the log, compressed in the end", writing, logging, "write the bytes, and sync every 16 MB");
    let checksums =
        median_ns(&mut || timed(|| log.iter().flatten().fold(0, |sum, block| crc32c::crc32c_append(sum, block))));
    let decoding = median_ns(&mut || {
        timed(|| log.iter().flatten().for_each(|block| drop(black_box(decode::block(block, &names)))))
    });
    row("decode", checksums, decoding, "read the bytes and checksum them");
    let copying = median_ns(&mut || timed(|| log.iter().map(|blocks| blocks.concat()).collect::<Vec<_>>()));
    let keeping = median_ns(&mut || timed(|| kept(&blocks, &names)));
    row("find the subject, keep the event once", copying, keeping, "copy the bytes");
    let finding = median_ns(&mut || timed(|| found(&blocks)));
    let meaning_too = median_ns(&mut || timed(|| meaning(&blocks, &names)));
    row("find, keep, and see what it means", finding, meaning_too, "count the events of each subject");
    let storing = median_ns(&mut || timed(|| stored(&facts)));
    let recording = median_ns(&mut || {
        let all = stated.iter().map(|stated| grid_for(stated)).zip(&stated).zip(&facts);
        all.map(|((grid, stated), facts)| timed(|| recorded(grid, stated, facts))).sum()
    });
    let a_fact = format!(
        "three stores a fact, {:.1} facts an event",
        facts.iter().map(Vec::len).sum::<usize>() as f64 / count as f64
    );
    row("record the facts", storing, recording, &a_fact);
    let whole = median_ns(&mut || {
        let partitions = decoded(&log, &names).into_iter().zip(0..);
        partitions.map(|(blocks, number)| timed(|| applied(blocks, number, &names))).sum()
    });
    row("all but decoding, as a partition does it", finding + storing, whole, "both of these");
    println!("{count} events, {PARTITIONS} partitions one after the other, medians of {rounds}\n{steps}");
}

/// How many events are good, each with the partition it goes to.
fn checked(encoded: &[Vec<u8>]) -> usize {
    let (now, future) = (Timestamp::MAX, Limits::default().future);
    let is_good = |bytes: &&Vec<u8>| {
        let event = lent::Event::decode(bytes).expect("it was encoded here");
        let checked = check(&event, now, future);
        checked.is_ok_and(|checked| black_box(route(event.tenant, checked.subject, PARTITIONS)) < PARTITIONS)
    };
    encoded.iter().filter(is_good).count()
}

/// Writes blocks into a file, and syncs it as often as the log's segments are full.
fn written(log: &Log) {
    let mut file = tempfile::tempfile().expect("a file");
    for (number, block) in log.iter().flatten().enumerate() {
        file.write_all(block).expect("written");
        if number % 256 == 255 {
            file.sync_data().expect("synced");
        }
    }
}

/// Appends the blocks of a batch together, sixteen batches at once, and waits until all are durable.
async fn logged(blocks: &Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(folder.path(), LogOptions::new(PARTITIONS)).expect("a new log opens");
    let mut under_way = VecDeque::new();
    for (one, other) in blocks[0].iter().zip(&blocks[1]) {
        let batch = vec![(PartitionId(0), one.clone()), (PartitionId(1), other.clone())];
        under_way.push_back(log.queue(batch).await.expect("it is taken"));
        if under_way.len() == 16 {
            under_way.pop_front().expect("sixteen are").durable().await.expect("it is durable");
        }
    }
    for appended in under_way {
        appended.durable().await.expect("it is durable");
    }
}

/// The CPU seconds that something takes; what it gives is dropped off the clock.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let before = cpu_seconds();
    let result = black_box(work());
    let taken = cpu_seconds() - before;
    drop(result);
    taken
}

fn decoded(log: &Log, names: &Names) -> [Vec<Block>; PARTITIONS as usize] {
    let of = |blocks: &Vec<Vec<u8>>| {
        blocks.iter().map(|block| decode::block(block, names).expect("it was encoded here").block).collect()
    };
    [of(&log[0]), of(&log[1])]
}

fn whose(arrival: &Arrival) -> Whose {
    (arrival.tenant, arrival.kind, arrival.subject.clone())
}

fn found(blocks: &[Vec<Block>; 2]) -> Vec<HashMap<Whose, u64, foldhash::fast::RandomState>> {
    let count = |blocks: &Vec<Block>| {
        let mut counts: HashMap<Whose, u64, foldhash::fast::RandomState> = HashMap::default();
        for arrival in blocks.iter().flat_map(|block| &block.arrivals) {
            *counts.entry(whose(arrival)).or_default() += 1;
        }
        counts
    };
    blocks.iter().map(count).collect()
}

fn kept(blocks: &[Vec<Block>; 2], names: &Names) -> Vec<HashMap<Whose, Timeline, foldhash::fast::RandomState>> {
    let keep = |blocks: &Vec<Block>| {
        let mut timelines: HashMap<Whose, Timeline, foldhash::fast::RandomState> = HashMap::default();
        for arrival in blocks.iter().flat_map(|block| &block.arrivals) {
            timelines.entry(whose(arrival)).or_default().add(&arrival.event, names);
        }
        timelines
    };
    blocks.iter().map(keep).collect()
}

/// What each partition's blocks mean, with the facts one after the other.
fn meaning(blocks: &[Vec<Block>; 2], names: &Names) -> (Vec<Vec<Stated>>, Vec<Vec<Fact>>) {
    let rules = Rules::default();
    let of = |blocks: &Vec<Block>| {
        let mut subjects: HashMap<Whose, (u32, Subject), foldhash::fast::RandomState> = HashMap::default();
        let (mut all, mut facts) = (Vec::with_capacity(blocks.len()), Vec::new());
        let mut list = Vec::new();
        for block in blocks {
            let mut stated = Vec::with_capacity(block.arrivals.len());
            let mut unsettled = Vec::new();
            for arrival in &block.arrivals {
                let next = u32::try_from(subjects.len()).expect("few");
                let new = || (next, Subject::new(arrival.kind, arrival.subject.clone()));
                let (number, subject) = subjects.entry(whose(arrival)).or_insert_with(new);
                let mut found = Facts::reusing(std::mem::take(&mut list), names, &rules);
                subject.add(&arrival.event, &mut found);
                list = found.into_list();
                stated.push((arrival.tenant, *number, list.len()));
                facts.extend_from_slice(&list);
                if subject.is_unsettled() {
                    unsettled.push(whose(arrival));
                }
            }
            for whose in unsettled {
                if let Some((number, subject)) = subjects.get_mut(&whose) {
                    let more = subject.settle(names, &rules);
                    stated.push((whose.0, *number, more.len()));
                    facts.extend(more);
                }
            }
            all.push(stated);
        }
        (all, facts)
    };
    blocks.iter().map(of).unzip()
}

/// The least that recording is: three stores a fact.
fn stored(facts: &[Vec<Fact>]) -> Vec<[AtomicU64; 3]> {
    let store = |fact: &Fact| {
        [fact.at.millis().cast_unsigned(), fact.value.cast_unsigned(), fact.measure as u64].map(AtomicU64::new)
    };
    facts.iter().flatten().map(store).collect()
}

/// A grid that knows the subjects that facts are about.
fn grid_for(stated: &[Stated]) -> (Recorder, Reader, Vec<SubjectNumber>) {
    let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
    let last = stated.iter().flatten().map(|(_, subject, _)| *subject).max().unwrap_or(0);
    let subjects = (0..=last).map(|_| recorder.add_subject(Id::default())).collect();
    (recorder, reader, subjects)
}

fn recorded(
    (mut recorder, reader, subjects): (Recorder, Reader, Vec<SubjectNumber>),
    stated: &[Stated],
    mut facts: &[Fact],
) -> (Recorder, Reader) {
    for block in stated {
        for (tenant, subject, count) in block {
            let (now, later) = facts.split_at(*count);
            recorder.record(*tenant, subjects[*subject as usize], now);
            facts = later;
        }
        recorder.publish();
    }
    (recorder, reader)
}

fn applied(blocks: Vec<Block>, number: u32, names: &Arc<Names>) -> Partition {
    let mut partition = Partition::new(Arc::clone(names), Place { number, of: PARTITIONS });
    for block in blocks {
        let latest = block.arrivals.iter().map(|arrival| arrival.event.time).max();
        partition.apply(block, latest.unwrap_or(Timestamp::MIN)).expect("nothing is put away");
    }
    partition
}

fn figures(readers: impl Iterator<Item = Reader>, tenant: Symbol) -> Figures {
    let all = Range { from_inclusive: 0, to_exclusive: i64::MAX };
    let mut figures = Figures::new();
    for reader in readers {
        for measure in Measure::ALL {
            let net = figures.entry(measure.name()).or_default();
            let count = |fact: deskpulse_core::grid::StoredFact| *net += fact.weight.sign();
            reader.view().netted(tenant, ColumnKey::of(*measure), all, count).expect("readable");
        }
    }
    figures
}
