//! What a durable event costs: appends to the embedded log, synced before they are answered; reading them back; and their room on
//! the disk.
//!
//! The disk is that of the temporary folder: set `TMPDIR` to measure another. A folder in memory measures nothing.

mod workload;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Bencher, Criterion, Throughput};
use deskpulse_log::{BlockReader, EmbeddedLog, EventLog, LogOptions, PartitionId, Position, SegmentForm, inspect};
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, ConversationAssigned, ConversationOpened, ConversationStatus,
    ConversationStatusChanged, Dimensions, Event, EventBlock, MessageCreated, Visibility,
};
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use workload::{Random, sized};

const EVENTS_A_BLOCK: u64 = 1_000;
/// 1,000 events of 108.9 bytes, the size of the canonical workload's blocks.
const BLOCK_BYTES: usize = 108_918;
const EVENT_BYTES: usize = BLOCK_BYTES / 1_000;
/// How many producers append at once, each waiting for its block.
const PRODUCERS: u64 = 16;
/// After how many appends old segments are let go, as a checkpoint does.
const KEPT_BLOCKS: u64 = 512;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    append(&mut criterion);
    replay(&mut criterion);
    at_rest();
    criterion.final_summary();
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let block = payload(BLOCK_BYTES);
    runtime.block_on(what_was_appended_is_read_back(&block));

    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(EVENTS_A_BLOCK));
    // Bytes that are on the disk already need no journal commit, only the data's way to the device.
    let written = Ring::new(sized(1_024, 16));
    group.bench_function("floor: std overwrites a written file", |bencher| {
        written.append_and_sync(bencher, &block, 1);
    });
    group.bench_function("floor: the same, 16 blocks a sync", |bencher| {
        written.append_and_sync(bencher, &block, PRODUCERS);
    });
    drop(written);
    group.bench_function("peer: std grows a file", |bencher| Ring::new(0).append_and_sync(bencher, &block, 1));
    group.bench_function("peer: the same, 16 blocks a sync", |bencher| {
        Ring::new(0).append_and_sync(bencher, &block, PRODUCERS);
    });
    // A log in its stride: its segments have their full size and are written again.
    let log = Log::open();
    runtime.block_on(log.append_from(PRODUCERS, &block, sized(4_000, 16)));
    group.bench_function("ours, 1 producer", |bencher| {
        bencher.iter_custom(|appends| runtime.block_on(log.append_from(1, &block, appends)));
    });
    group.bench_function("ours, 16 producers", |bencher| {
        bencher.iter_custom(|appends| runtime.block_on(log.append_from(PRODUCERS, &block, appends)));
    });
    drop(log);
    group.throughput(Throughput::Elements(1));
    group.bench_function("control: one event an append", |bencher| {
        let log = Log::open();
        let event = payload(EVENT_BYTES);
        bencher.iter_batched(|| event.clone(), |event| runtime.block_on(log.append(event)), BatchSize::PerIteration);
    });
    group.finish();
}

/// Reads a log of finished, compressed segments from its begin, as a start without a checkpoint does.
fn replay(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = Log::open();
    let blocks = blocks_as_ingest_writes_them(sized(1_000_000, 2_000), 1);
    let events = sized(1_000_000, 2_000);
    let bytes: usize = blocks.iter().map(|(_, payload)| payload.len()).sum();
    let count = blocks.len();
    runtime.block_on(async {
        for (partition, payload) in blocks {
            log.log.append(vec![(partition, payload)]).await.expect("the append is durable");
        }
        log.is_compressed().await;
    });
    let mut group = criterion.benchmark_group("replay the log alone");
    group.throughput(Throughput::Elements(events));
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let read = runtime.block_on(async {
                let mut reader = log.log.read(PARTITION, Position::START).expect("it can be read");
                let mut read = 0;
                for _ in 0..count {
                    read += reader.next().await.expect("it is sound").expect("it is there").payload.len();
                }
                read
            });
            assert_eq!(read, bytes);
        });
    });
    group.finish();
}

/// Prints how much of the disk an event takes once its segment is compressed.
fn at_rest() {
    let events = sized(1_000_000, 2_000);
    let runtime = Runtime::new().expect("a runtime");
    for partitions in [1, 8] {
        let log = Log::with(LogOptions { segment_bytes: sized(64 << 20, 64 << 10), ..LogOptions::new(partitions) });
        let blocks = blocks_as_ingest_writes_them(events, partitions);
        let written: usize = blocks.iter().map(|(_, payload)| payload.len()).sum();
        runtime.block_on(async {
            for (partition, payload) in blocks {
                log.log.append(vec![(partition, payload)]).await.expect("the append is durable");
            }
            log.is_compressed().await;
            log.log.close().await.expect("nothing failed");
        });
        let report = inspect(log.folder.path()).expect("it is sound");
        assert_eq!(report.damage, []);
        let sealed = report.segments.iter().filter(|segment| segment.form == SegmentForm::Sealed);
        let (at_rest, payload) = sealed.fold((0, 0), |(at_rest, payload), segment| {
            (at_rest + segment.file_bytes, payload + segment.payload_bytes)
        });
        let an_event = written as f64 / events as f64;
        let ratio = at_rest as f64 / payload.max(1) as f64;
        println!(
            "at rest, {partitions} partitions: {an_event:.1} bytes an event as written, {:.1} compressed",
            an_event * ratio
        );
    }
}

/// The canonical load in miniature, 1,000 events a batch, in blocks of each partition: random 16-byte ids in hexadecimal,
/// conversations of nine events from 50 tenants over a week, interleaved in the order of time.
fn blocks_as_ingest_writes_them(events: u64, partitions: u32) -> Vec<(PartitionId, Vec<u8>)> {
    let mut random = Random::new();
    let mut week = Vec::new();
    for _ in 0..events.div_ceil(9) {
        let conversation = random.next() >> 1;
        // Some tenants are much larger than others.
        let tenant = 1 + random.below(50) * random.below(50) / 50;
        let (channel, team, topic) = (random.below(5), random.below(40), random.below(20) * random.below(20));
        let agent = team * 50 + random.below(50);
        let mut at = u64::from(random.below(7 * 86_400_000));
        for step in 0..9 {
            week.push((at, conversation, tenant, step, channel, team, topic, agent));
            // From a second to over an hour.
            let magnitude = random.below(22);
            at += 200 + u64::from(random.below(1 << magnitude));
        }
    }
    week.sort_unstable();
    week.truncate(usize::try_from(events).expect("is small"));
    let mut blocks = Vec::new();
    for batch in week.chunks(1_000) {
        let mut shares = vec![EventBlock::default(); partitions as usize];
        for &(at, conversation, tenant, step, channel, team, topic, agent) in batch {
            let conversation_id = format!("{conversation:016x}");
            let agent = format!("agent-{agent}");
            let actor = |kind: ActorKind, id: &str| Some(Actor { kind: kind.into(), id: id.to_owned() });
            let message = |actor| {
                Payload::MessageCreated(MessageCreated {
                    conversation: conversation_id.clone(),
                    actor,
                    visibility: Visibility::Public.into(),
                    ..MessageCreated::default()
                })
            };
            let payload = match step {
                0 => Payload::ConversationOpened(ConversationOpened {
                    conversation: conversation_id.clone(),
                    customer: format!("customer-{:x}", conversation >> 40),
                    dimensions: Some(Dimensions {
                        channel: ["chat", "email", "voice", "social", "sms"][channel as usize].to_owned(),
                        team: format!("team-{team}"),
                        topic: format!("topic-{topic}"),
                        ..Dimensions::default()
                    }),
                    ..ConversationOpened::default()
                }),
                2 => Payload::ConversationAssigned(ConversationAssigned {
                    conversation: conversation_id.clone(),
                    to: AssigneeKind::Agent.into(),
                    assignee: agent.clone(),
                    team: format!("team-{team}"),
                    ..ConversationAssigned::default()
                }),
                8 => Payload::ConversationStatusChanged(ConversationStatusChanged {
                    conversation: conversation_id.clone(),
                    status: ConversationStatus::Resolved.into(),
                    actor: actor(ActorKind::Agent, &agent),
                    ..ConversationStatusChanged::default()
                }),
                odd if odd % 2 == 1 => message(actor(ActorKind::Customer, "")),
                _ => message(actor(ActorKind::Agent, &agent)),
            };
            let seconds = i64::try_from(at / 1_000).expect("within a week");
            let nanos = i32::try_from(at % 1_000).expect("below a thousand") * 1_000_000;
            let share = usize::try_from(conversation % u64::from(partitions)).expect("is small");
            shares[share].events.push(Event {
                id: format!("{:016x}{:016x}", random.next(), random.next()),
                source: "helpdesk".to_owned(),
                tenant: format!("tenant-{tenant}"),
                time: Some(prost_types::Timestamp { seconds: 1_780_315_200 + seconds, nanos }),
                payload: Some(payload),
                ..Event::default()
            });
        }
        let filled = (0..).map(PartitionId).zip(shares).filter(|(_, share)| !share.events.is_empty());
        blocks.extend(filled.map(|(partition, share)| (partition, share.encode_to_vec())));
    }
    blocks
}

/// Appends one after the other and at once, and reads everything back, also after opening the log again.
async fn what_was_appended_is_read_back(block: &[u8]) {
    let log = Log::open();
    for expected in 1..=3 {
        assert_eq!(log.append(block.to_vec()).await, Position(expected));
    }
    log.append_from(PRODUCERS, block, 16).await;
    log.log.close().await.expect("nothing failed");
    let Log { log, folder } = log;
    drop(log);
    let log = EmbeddedLog::open(folder.path(), LogOptions::new(1)).expect("the log opens again");
    let mut reader = log.read(PARTITION, Position::START).expect("it can be read");
    for expected in 1..=19 {
        let read = reader.next().await.expect("it is sound").expect("it is there");
        assert_eq!(read.position, Position(expected));
        assert!(*read.payload == *block, "block {expected} is not what was appended");
    }
    assert_eq!(log.head(PARTITION).expect("there is one"), Position(19));
}

const PARTITION: PartitionId = PartitionId(0);

struct Log {
    log: EmbeddedLog,
    folder: TempDir,
}

impl Log {
    fn open() -> Self {
        Self::with(LogOptions::new(1))
    }

    fn with(options: LogOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(folder.path(), options).expect("a new log opens");
        Self { log, folder }
    }

    /// Waits until all segments but the one being written are compressed.
    async fn is_compressed(&self) {
        loop {
            let stats = self.log.stats();
            if stats.sealed + 1 >= stats.segments {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn append(&self, block: Vec<u8>) -> Position {
        let positions = self.log.append(vec![(PARTITION, block)]).await.expect("the append is durable");
        positions[0]
    }

    /// Tasks that each append the next block as soon as their last is durable. Old segments are let go meanwhile.
    async fn append_from(&self, producers: u64, block: &[u8], appends: u64) -> Duration {
        let left = Arc::new(AtomicU64::new(appends));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..producers)
            .map(|_| {
                let (log, left, block) = (self.log.clone(), Arc::clone(&left), block.to_vec());
                tokio::spawn(async move {
                    while left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        let append = log.append(vec![(PARTITION, block.clone())]).await;
                        let position = append.expect("the append is durable")[0];
                        if position.0.is_multiple_of(KEPT_BLOCKS) {
                            let needed = Position(position.0 - KEPT_BLOCKS);
                            tokio::spawn({
                                let log = log.clone();
                                async move { log.truncate_below(vec![(PARTITION, needed)]).await }
                            });
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no append failed");
        }
        begun.elapsed()
    }
}

/// A file that is written from its start again once its blocks are used up; with no blocks it grows.
struct Ring {
    file: File,
    blocks: u64,
    _folder: TempDir,
}

impl Ring {
    fn new(blocks: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = create(&folder.path().join("file"));
        let zeros = vec![0; BLOCK_BYTES];
        for number in 0..blocks {
            file.write_all_at(&zeros, number * BLOCK_BYTES as u64).expect("the disk has room");
        }
        file.sync_all().expect("the disk works");
        Self { file, blocks, _folder: folder }
    }

    /// Measures a block each, of so many that are written and synced together.
    fn append_and_sync(&self, bencher: &mut Bencher, block: &[u8], together: u64) {
        let group = block.repeat(usize::try_from(together).expect("is small"));
        let mut next = 0;
        bencher.iter_custom(|blocks| {
            let begun = Instant::now();
            for _ in 0..blocks.div_ceil(together) {
                self.file.write_all_at(&group, next * block.len() as u64).expect("the disk has room");
                self.file.sync_data().expect("the disk works");
                next += together;
                if next == self.blocks {
                    next = 0;
                }
            }
            begun.elapsed().mul_f64(blocks as f64 / blocks.next_multiple_of(together) as f64)
        });
        let mut written = vec![0; block.len()];
        self.file.read_exact_at(&mut written, 0).expect("the block is there");
        assert!(written == block, "the file does not hold what was written");
    }
}

fn create(path: &Path) -> File {
    File::options().create_new(true).read(true).write(true).open(path).expect("a new file")
}

fn payload(bytes: usize) -> Vec<u8> {
    let mut random = Random::new();
    (0..bytes).map(|_| u8::try_from(random.below(256)).expect("below 256")).collect()
}
