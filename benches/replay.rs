//! The log into memory: what a node does when it starts with nothing but its log.
//!
//! Two partitions on two threads, from the bytes of blocks as the log holds them to figures that can be asked for. The CPU
//! seconds a million events, printed after each, repeat better than the time. `DESKPULSE_CONVERSATIONS` sets how many there are.

mod blocks;
#[expect(dead_code, reason = "its random numbers are for the benches that make up their own events")]
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use deskpulse_aggregation::decode;
use deskpulse_core::fact::Measure;
use deskpulse_core::grid::{ColumnKey, Range};
use deskpulse_core::partition::{Checkpoint, Partition, Place};
use deskpulse_core::series::Names;
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Actor, ActorKind, Event, EventBlock, MessageCreated};
use prost::Message;

use blocks::{Log, PARTITIONS, conversation, cpu_seconds, log, week};
use workload::sized;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let events = week(sized(50_000, 200));
    let log = log(&events);
    let count = events.len();
    let bytes: usize = log.iter().flatten().map(Vec::len).sum();
    println!("{count} events of {} bytes each", bytes / count);
    let before = resident_bytes();
    let partitions = replay(&log);
    let counted_bytes: usize = partitions.iter().map(|(_, partition)| partition.bytes()).sum();
    let taken = resident_bytes().saturating_sub(before);
    println!("{} bytes of memory an event, {} by our own count", taken / count, counted_bytes / count);
    assert_eq!(shown(&partitions), counted(&events));
    drop(partitions);
    open_conversations(&events);
    drop(events);
    decoding(&mut criterion, &log, count);
    replaying(&mut criterion, &log, count);
    checkpoint(&mut criterion, &log);
    criterion.final_summary();
}

/// Prints the memory of a conversation that is open and has had ten events.
fn open_conversations(week: &[Event]) {
    /// Makes ids that share nothing.
    const MIXED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let opened: Vec<&Event> =
        week.iter().filter(|event| matches!(event.payload, Some(Payload::ConversationOpened(_)))).collect();
    let mut events = Vec::new();
    for (round, seconds) in (0..10).zip((0..).step_by(600)) {
        for (number, opening) in opened.iter().enumerate() {
            let mut event = (*opening).clone();
            if round > 0 {
                let kind = if round % 2 == 1 { ActorKind::Agent } else { ActorKind::Customer };
                let actor = Actor { kind: kind.into(), id: format!("{}-{}", kind.as_str_name(), number % 500) };
                event.id = format!("{:032x}", MIXED.wrapping_mul((number * 10 + round) as u128));
                event.time.as_mut().expect("a time").seconds += seconds;
                let conversation = conversation(opening).to_owned();
                let message = MessageCreated { conversation, actor: Some(actor), ..MessageCreated::default() };
                event.payload = Some(Payload::MessageCreated(message));
            }
            events.push(event);
        }
    }
    let partitions = replay(&log(&events));
    assert_eq!(shown(&partitions), counted(&events));
    let sum = |bytes: fn(&Partition) -> usize| partitions.iter().map(|(_, partition)| bytes(partition)).sum::<usize>();
    let (all, facts) = (sum(Partition::bytes), sum(Partition::fact_bytes));
    println!(
        "{} bytes an open conversation of ten events by our own count, and its facts {}",
        (all - facts) / opened.len(),
        facts / opened.len()
    );
}

fn decoding(criterion: &mut Criterion, log: &Log, count: usize) {
    let mut group = criterion.benchmark_group("decode an event");
    group.throughput(Throughput::Elements(count as u64));
    let mut cpu = Cpu::default();
    let one_by_one = || log.iter().flatten();
    group.bench_function("floor: read the bytes and checksum them", |bencher| {
        bencher.iter_custom(|times| {
            cpu.time(times, || one_by_one().fold(0, |sum, block| crc32c::crc32c_append(sum, block)))
        });
    });
    cpu.print(count);
    group.bench_function("ours: to arrivals", |bencher| {
        let names = Names::default();
        bencher.iter_custom(|times| {
            cpu.time(times, || {
                for block in one_by_one() {
                    std::hint::black_box(decode::block(block, &names).expect("it was encoded here"));
                }
            })
        });
    });
    cpu.print(count);
    group.bench_function("peer: prost, to messages", |bencher| {
        bencher.iter_custom(|times| {
            cpu.time(times, || {
                for block in one_by_one() {
                    std::hint::black_box(EventBlock::decode(block.as_slice()).expect("it was encoded here"));
                }
            })
        });
    });
    cpu.print(count);
    group.finish();
}

fn replaying(criterion: &mut Criterion, log: &Log, count: usize) {
    let mut group = criterion.benchmark_group("replay an event");
    group.throughput(Throughput::Elements(count as u64));
    let mut cpu = Cpu::default();
    group.bench_function("floor: read the bytes and checksum them", |bencher| {
        bencher.iter_custom(|times| cpu.time(times, || on_two_threads(log, |_, blocks| checksum(blocks))));
    });
    cpu.print(count);
    group.bench_function("ours", |bencher| {
        bencher.iter_custom(|times| cpu.time(times, || replay(log)));
    });
    cpu.print(count);
    group.bench_function("control: one partition after the other", |bencher| {
        bencher.iter_custom(|times| {
            cpu.time(times, || {
                let names = Arc::new(Names::default());
                (0..).zip(log).map(|(number, blocks)| follow(&names, number, blocks)).collect::<Vec<_>>()
            })
        });
    });
    cpu.print(count);
    group.finish();
}

/// How long the thread that applies blocks stops for a checkpoint of a partition of which everything has changed: once to begin
/// it, then between blocks to write some subjects down.
fn checkpoint(criterion: &mut Criterion, log: &Log) {
    let mut group = criterion.benchmark_group("stop for a checkpoint");
    let names = Arc::new(Names::default());
    let stops = |what: fn(&mut Partition) -> Duration| {
        let mut partition = follow(&names, 0, &log[0]);
        what(&mut partition)
    };
    group.bench_function("begin it", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| stops(begin)).sum());
    });
    group.bench_function("the longest of the steps after that", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| stops(|partition| go_on(partition).1)).sum());
    });
    group.bench_function("be told that it is kept", |bencher| {
        let kept = |partition: &mut Partition| {
            let (_, worked_out) = go_on(partition).0.work_out();
            let kept = worked_out.durable();
            let begun = Instant::now();
            partition.kept(&kept);
            begun.elapsed()
        };
        bencher.iter_custom(|times| (0..times).map(|_| stops(kept)).sum());
    });
    group.finish();
}

/// A whole checkpoint, and how long the longest step took after the first.
fn go_on(partition: &mut Partition) -> (Checkpoint, Duration) {
    const SUBJECTS_AT_ONCE: usize = 500;
    begin(partition);
    let mut longest = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let checkpoint = partition.go_on_with_checkpoint(SUBJECTS_AT_ONCE);
        longest = longest.max(begun.elapsed());
        if let Some(checkpoint) = checkpoint {
            return (checkpoint, longest);
        }
    }
}

fn begin(partition: &mut Partition) -> Duration {
    let begun = Instant::now();
    partition.begin_checkpoint(1, 0);
    begun.elapsed()
}

fn checksum(blocks: &[Vec<u8>]) -> u32 {
    blocks.iter().fold(0, |sum, block| crc32c::crc32c_append(sum, block))
}

fn replay(log: &Log) -> Vec<(Arc<Names>, Partition)> {
    let names = Arc::new(Names::default());
    let partitions = on_two_threads(log, |number, blocks| follow(&names, number, blocks));
    partitions.into_iter().map(|partition| (Arc::clone(&names), partition)).collect()
}

/// Applies a partition's blocks, as the service does while it replays.
fn follow(names: &Arc<Names>, number: u32, blocks: &[Vec<u8>]) -> Partition {
    let mut partition = Partition::new(Arc::clone(names), Place { number, of: PARTITIONS });
    for bytes in blocks {
        let decoded = decode::block(bytes, names).expect("it was encoded here");
        let latest = decoded.block.arrivals.iter().map(|arrival| arrival.event.time).max();
        let (added, letters) =
            partition.apply(decoded.block, latest.unwrap_or(Timestamp::MIN)).expect("nothing is put away");
        assert!(letters.is_empty() && added.iter().all(|added| matches!(added, Added::Last | Added::Within)));
    }
    partition
}

fn on_two_threads<T: Send>(log: &Log, work: impl Fn(u32, &[Vec<u8>]) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..).zip(log).map(|(number, blocks)| scope.spawn(move || work(number, blocks))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Openings and public messages, by day.
type Counts = BTreeMap<(Measure, i64), u64>;

fn shown(partitions: &[(Arc<Names>, Partition)]) -> Counts {
    let mut counts = Counts::new();
    for (names, partition) in partitions {
        let tenant = names.find_symbol("demo").expect("it has events");
        let view = partition.reader().view();
        let all = Range { from_inclusive: 0, to_exclusive: i64::MAX };
        for measure in [
            Measure::Opened,
            Measure::MessageReceived,
            Measure::MessageSent,
            Measure::BotMessage,
            Measure::AutomatedMessage,
        ] {
            view.standing(tenant, ColumnKey::of(measure), all, |fact| {
                let measure = if measure == Measure::Opened { measure } else { Measure::MessageReceived };
                *counts.entry((measure, day(fact.at_ms))).or_default() += 1;
            })
            .expect("readable");
        }
    }
    counts
}

fn counted(events: &[Event]) -> Counts {
    let mut counts = Counts::new();
    for event in events {
        let measure = match &event.payload {
            Some(Payload::ConversationOpened(_)) => Measure::Opened,
            Some(Payload::MessageCreated(message))
                if message.visibility() != deskpulse_proto::v1::Visibility::Private =>
            {
                Measure::MessageReceived
            }
            _ => continue,
        };
        let time = event.time.as_ref().expect("a time");
        *counts.entry((measure, day(time.seconds * 1_000))).or_default() += 1;
    }
    counts
}

fn day(ms: i64) -> i64 {
    ms.div_euclid(24 * 60 * 60 * 1_000)
}

/// The CPU seconds that each run of a bench took.
#[derive(Default)]
struct Cpu(Vec<f64>);

impl Cpu {
    /// Does something a number of times; what it gives is dropped off the clock.
    fn time<T>(&mut self, times: u64, mut work: impl FnMut() -> T) -> Duration {
        let mut elapsed = Duration::ZERO;
        for _ in 0..times {
            let (begun, before) = (Instant::now(), cpu_seconds());
            let result = std::hint::black_box(work());
            elapsed += begun.elapsed();
            self.0.push(cpu_seconds() - before);
            drop(result);
        }
        elapsed
    }

    /// Prints the CPU seconds a million events, and begins anew.
    fn print(&mut self, count: usize) {
        let mut seconds = std::mem::take(&mut self.0);
        seconds.sort_by(f64::total_cmp);
        if let (Some(least), Some(median)) = (seconds.first(), seconds.get(seconds.len() / 2)) {
            let a_million = |seconds: &f64| seconds * 1e6 / count as f64;
            println!("{:.2} CPU seconds a million events, at best {:.2}", a_million(median), a_million(least));
        }
    }
}

/// The memory this process has; 0 where there is no `/proc`.
fn resident_bytes() -> usize {
    const PAGE: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).map_or(0, |pages| pages * PAGE)
}
