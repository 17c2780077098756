//! The log on a simulated disk that loses power, fails and runs full at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use deskpulse_disk::{Fault, SimulatedDisk};
use deskpulse_log::{BlockReader, EmbeddedLog, EventLog, LogError, LogOptions, PartitionId, Position, Surroundings};

const PARTITIONS: u32 = 3;
const TASKS: u64 = 4;
const APPENDS: u64 = 12;
const CAPACITY: u64 = 1 << 20;

/// Small segments, so that every life of the log finishes, compresses, removes and recycles some.
const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 2_048, reserve_bytes: 0, scrub_pause: None, ..LogOptions::new(PARTITIONS) };

/// What a producer knows, over all lives of a log.
#[derive(Debug, Default)]
struct Known {
    acknowledged: BTreeMap<(u32, u64), Vec<u8>>,
    /// Nobody knows what became of these.
    unanswered: BTreeSet<(u32, Vec<u8>)>,
    refused: BTreeSet<(u32, Vec<u8>)>,
    /// Below these positions nothing was needed any more.
    needed: BTreeMap<u32, u64>,
}

type Shared = Arc<Mutex<Known>>;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn open(disk: &SimulatedDisk, known: &Shared) -> Result<EmbeddedLog, LogError> {
    let mut durable = vec![Position::START; PARTITIONS as usize];
    for (partition, position) in known.lock().expect("nobody panicked").acknowledged.keys() {
        durable[*partition as usize] = Position(*position);
    }
    let surroundings = Surroundings { disk: Arc::new(disk.clone()), durable, ..Surroundings::default() };
    EmbeddedLog::open_on(Path::new("/log"), OPTIONS, surroundings)
}

/// Appends from several tasks and removes what is old, until all is done or the log has failed.
async fn live(log: &EmbeddedLog, known: &Shared, seed: u64) {
    let tasks: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(produce(log.clone(), Arc::clone(known), seed, task))).collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    compressed(log).await;
}

/// Waits until what is finished is compressed, or the log cannot: the thread that compresses one segment answers this between two.
async fn compressed(log: &EmbeddedLog) {
    for _ in 0..log.stats().segments {
        let stats = log.stats();
        if stats.sealed + 1 >= stats.segments || log.truncate_below(Vec::new()).await.is_err() {
            return;
        }
    }
}

async fn produce(log: EmbeddedLog, known: Shared, seed: u64, task: u64) {
    let mut random = Random(seed * TASKS + task);
    for number in 0..APPENDS {
        let blocks: Vec<_> = (0..=random.below(2))
            .map(|block| {
                let partition = u32::try_from(random.below(u64::from(PARTITIONS))).expect("is small");
                let mut payload = format!("{seed}/{task}/{number}/{block} ").into_bytes();
                payload.resize(payload.len() + usize::try_from(random.below(500)).expect("is small"), 7);
                (partition, payload)
            })
            .collect();
        known.lock().expect("nobody panicked").unanswered.extend(blocks.iter().cloned());
        let append = blocks.iter().map(|(partition, payload)| (PartitionId(*partition), payload.clone()));
        let answer = log.append(append.collect()).await;
        {
            let mut known = known.lock().expect("nobody panicked");
            match answer {
                Ok(positions) => {
                    for (block, position) in blocks.into_iter().zip(positions) {
                        known.unanswered.remove(&block);
                        let before = known.acknowledged.insert((block.0, position.0), block.1);
                        assert_eq!(before, None, "a position is given once");
                    }
                }
                Err(LogError::DiskFull { .. }) => {
                    for block in blocks {
                        known.unanswered.remove(&block);
                        known.refused.insert(block);
                    }
                }
                Err(_) => return,
            }
        }
        if task == 0 && number % 5 == 4 {
            compressed(&log).await;
            let mut needed = Vec::new();
            for partition in 0..PARTITIONS {
                let head = log.head(PartitionId(partition)).expect("exists").0;
                let position = head.saturating_sub(random.below(12));
                let mut known = known.lock().expect("nobody panicked");
                let before = known.needed.entry(partition).or_default();
                *before = position.max(*before);
                needed.push((PartitionId(partition), Position(*before)));
            }
            if log.truncate_below(needed).await.is_err() {
                return;
            }
        }
    }
}

/// Reads everything and compares; what was unanswered and is there counts as acknowledged from now on. Gives up when a fault
/// comes in its way.
async fn check(log: &EmbeddedLog, known: &Shared) -> Result<(), LogError> {
    let mut found = BTreeMap::new();
    let mut firsts = Vec::new();
    for partition in 0..PARTITIONS {
        let id = PartitionId(partition);
        let first = log.first(id).expect("exists").0;
        let head = log.head(id).expect("exists").0;
        if first > 1 {
            let removed = log.read(id, Position(first - 1)).expect_err("it was removed");
            assert!(matches!(removed, LogError::Removed { first: named, .. } if named.0 == first));
        }
        let mut reader = log.read(id, Position(first)).expect("readable");
        for position in first..=head {
            let block = match reader.next().await {
                Err(error @ LogError::Io { .. }) => return Err(error),
                block => block.expect("sound").expect("below the head"),
            };
            assert_eq!(block.position.0, position);
            found.insert((partition, position), block.payload.to_vec());
        }
        firsts.push((partition, first));
    }
    let mut known = known.lock().expect("nobody panicked");
    for (partition, first) in firsts {
        let needed = known.needed.get(&partition).copied().unwrap_or_default();
        assert!(first <= needed.max(1), "partition {partition} begins at {first}, yet {needed} is needed");
        for (position, payload) in known.acknowledged.range((partition, first)..=(partition, u64::MAX)) {
            assert_eq!(found.get(position), Some(payload), "an acknowledged block is lost");
        }
    }
    let payloads: BTreeSet<_> = found.values().collect();
    assert_eq!(payloads.len(), found.len(), "no block is there twice");
    for ((partition, position), payload) in found {
        if !known.acknowledged.contains_key(&(partition, position)) {
            let block = (partition, payload);
            assert!(!known.refused.contains(&block), "a refused block is there");
            assert!(known.unanswered.remove(&block), "a block is there that nobody appended");
            known.acknowledged.insert((partition, position), block.1);
        }
    }
    // A producer without an answer would send them again; here they are given up.
    known.unanswered.clear();
    Ok(())
}

#[derive(Debug, Default)]
struct Count {
    faults: u64,
    acknowledged: usize,
    sealed: u64,
    removed: u64,
    refused: usize,
}

/// Several lives of one log, each ended by a fault or by its end; then everything must be there.
async fn lives(seed: u64, faults: &[(u64, u64, Fault)], count: &mut Count) {
    let disk = SimulatedDisk::new(seed, CAPACITY);
    let known = Shared::default();
    for (life, (at, length, fault)) in (0..).zip(faults) {
        let begin = disk.operations();
        disk.fail(begin + at..begin + at + length, *fault);
        if let Ok(log) = open(&disk, &known) {
            if check(&log, &known).await.is_ok() {
                live(&log, &known, seed * 16 + life).await;
            }
            // An error is the failure that ended this life.
            let _ = log.close().await;
            count.sealed += log.stats().sealed;
        }
        count.faults += u64::from(disk.operations() > begin + at);
        // Sometimes only the process ends, so that what the next one reads is not what the disk has.
        if *fault != Fault::Crash && seed.is_multiple_of(2) {
            disk.end_process();
        } else {
            disk.restart();
        }
    }
    // What an opened log shows must survive, even if its bytes were only in memory before.
    for _ in 0..2 {
        let opened = open(&disk, &known);
        assert!(opened.is_ok(), "seed {seed}, {faults:?}: {opened:?}");
        let log = opened.expect("just asserted");
        check(&log, &known).await.expect("no fault is left");
        disk.crash();
        drop(log);
        disk.restart();
    }
    let log = open(&disk, &known).expect("opens");
    check(&log, &known).await.expect("no fault is left");
    count.removed += u64::from(log.first(PartitionId(0)).expect("exists") > Position(1));
    log.close().await.expect("closes");
    let known = known.lock().expect("nobody panicked");
    count.acknowledged += known.acknowledged.len();
    count.refused += known.refused.len();
}

/// How many operations a life takes.
async fn operations() -> u64 {
    let disk = SimulatedDisk::new(0, CAPACITY);
    let known = Shared::default();
    let log = open(&disk, &known).expect("opens");
    live(&log, &known, 0).await;
    log.close().await.expect("closes");
    disk.operations()
}

#[tokio::test]
async fn no_acknowledged_block_is_lost_or_doubled_at_any_of_a_thousand_crashes() {
    let operations = operations().await;
    let mut count = Count::default();
    let mut random = Random(1);
    for seed in 1..=450 {
        let crash = |at| (at, 1, Fault::Crash);
        let crashes = [crash(seed % operations), crash(random.below(operations)), crash(random.below(operations))];
        lives(seed, &crashes, &mut count).await;
    }
    println!("crashes, {operations} operations a life: {count:?}");
    assert!(count.faults >= 1_000, "{count:?}");
    assert!(count.sealed > 1_000 && count.removed > 20, "{count:?}");
}

#[tokio::test]
async fn no_acknowledged_block_is_lost_when_any_operation_fails_once() {
    let operations = operations().await;
    let mut count = Count::default();
    for seed in 0..operations {
        lives(seed, &[(seed, 1, Fault::Device), (seed / 2, 1, Fault::Device)], &mut count).await;
    }
    println!("device errors, {operations} operations a life: {count:?}");
    assert!(count.faults > operations, "{count:?}");
}

#[tokio::test]
async fn a_disk_that_is_full_at_any_operation_or_from_there_on_loses_nothing() {
    let operations = operations().await;
    let mut count = Count::default();
    for seed in 0..operations {
        lives(seed, &[(seed, 1, Fault::Full), (seed, u64::from(u32::MAX), Fault::Full)], &mut count).await;
    }
    println!("full disks, {operations} operations a life: {count:?}");
    assert!(count.faults > operations && count.refused > 0, "{count:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room_and_then_goes_on() {
    let disk = SimulatedDisk::new(1, 20_000);
    let surroundings = || Surroundings { disk: Arc::new(disk.clone()), ..Surroundings::default() };
    let options = LogOptions { reserve_bytes: 4_000, compress: false, ..OPTIONS };
    let log = EmbeddedLog::open_on(Path::new("/log"), options, surroundings()).expect("opens");
    let mut expected = Vec::new();
    let refused = loop {
        let payload = vec![u8::try_from(expected.len()).expect("is full before"); 300];
        match log.append(vec![(PartitionId(0), payload.clone())]).await {
            Ok(_) => expected.push(payload),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::DiskFull { free_bytes, .. } if free_bytes >= 4_000), "{refused:?}");
    assert!(expected.len() > 20);
    let again = log.append(vec![(PartitionId(0), vec![9; 300])]).await;
    assert!(matches!(again, Err(LogError::DiskFull { .. })));
    assert_eq!(log.stats().refused, 2);
    disk.set_capacity(40_000);
    let position = log.append(vec![(PartitionId(0), b"there is room".to_vec())]).await.expect("goes on");
    assert_eq!(position, [Position(expected.len() as u64 + 1)]);
    log.close().await.expect("nothing failed");
    let log = EmbeddedLog::open_on(Path::new("/log"), options, surroundings()).expect("opens");
    expected.push(b"there is room".to_vec());
    assert_eq!(crate::blocks(&log, PartitionId(0), 1).await, expected);
}
