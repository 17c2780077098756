//! What a durable event costs: appends to the embedded log, synced before they are answered.
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
use deskpulse_log::{BlockReader, EmbeddedLog, EventLog, LogOptions, PartitionId, Position};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use workload::{Random, sized};

const EVENTS_A_BLOCK: u64 = 1_000;
/// 1,000 events of 108.9 bytes, the size of the canonical workload's blocks.
const BLOCK_BYTES: usize = 108_918;
const EVENT_BYTES: usize = BLOCK_BYTES / 1_000;
const IN_FLIGHT: u64 = 8;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    append(&mut criterion);
    criterion.final_summary();
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let block = payload(BLOCK_BYTES);
    runtime.block_on(what_was_appended_is_read_back(&block));

    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(EVENTS_A_BLOCK));
    group.bench_function("floor: std overwrites a written file", |bencher| {
        // Bytes that are on the disk already need no journal commit, only the data's way to the device.
        let file = Ring::new(sized(64, 2));
        file.append_and_sync(bencher, &block);
    });
    group.bench_function("peer: std grows a file", |bencher| {
        let file = Ring::new(0);
        file.append_and_sync(bencher, &block);
    });
    group.bench_function("ours, 1 in flight", |bencher| {
        let log = Log::open();
        bencher.iter_batched(|| block.clone(), |block| runtime.block_on(log.append(block)), BatchSize::PerIteration);
    });
    group.bench_function("ours, 8 in flight", |bencher| {
        let log = Log::open();
        bencher.iter_custom(|appends| runtime.block_on(log.append_in_flight(&block, appends)));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("control: one event an append", |bencher| {
        let log = Log::open();
        let event = payload(EVENT_BYTES);
        bencher.iter_batched(|| event.clone(), |event| runtime.block_on(log.append(event)), BatchSize::PerIteration);
    });
    group.finish();
}

/// Appends one after the other and at once, and reads everything back, also after opening the log again.
async fn what_was_appended_is_read_back(block: &[u8]) {
    let log = Log::open();
    for expected in 1..=3 {
        assert_eq!(log.append(block.to_vec()).await, Position(expected));
    }
    log.append_in_flight(block, 16).await;
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
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(folder.path(), LogOptions::new(1)).expect("a new log opens");
        Self { log, folder }
    }

    async fn append(&self, block: Vec<u8>) -> Position {
        let positions = self.log.append(vec![(PARTITION, block)]).await.expect("the append is durable");
        positions[0]
    }

    /// Tasks that each append the next block as soon as their last is durable.
    async fn append_in_flight(&self, block: &[u8], appends: u64) -> Duration {
        let left = Arc::new(AtomicU64::new(appends));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (log, left, block) = (self.log.clone(), Arc::clone(&left), block.to_vec());
                tokio::spawn(async move {
                    while left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        log.append(vec![(PARTITION, block.clone())]).await.expect("the append is durable");
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

    fn append_and_sync(&self, bencher: &mut Bencher, block: &[u8]) {
        let mut next = 0;
        bencher.iter(|| {
            self.file.write_all_at(block, next * block.len() as u64).expect("the disk has room");
            self.file.sync_data().expect("the disk works");
            next += 1;
            if next == self.blocks {
                next = 0;
            }
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
