//! What aggregation does when the log, the way to it or the disk is not as it should be, and how it lets go of the log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deskpulse_core::subject::{SubjectKind, SubjectRef, route};
use deskpulse_disk::{Disk, SimulatedDisk};
use deskpulse_log::{EventLog as _, PartitionId};
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Actor, ActorKind, Event, MessageCreated};

use crate::harness::{PROGRAM, ask, output, run, timestamp};
use crate::node::{Node, PARTITIONS, PATIENCE, Setup, Spoiling, Trouble, said};

const ROOM: u64 = 1 << 30;
/// So long that it never comes in a test.
const NEVER: Duration = Duration::from_hours(1);

/// A customer's message in a conversation of a partition.
fn message(partition: u32, number: u64) -> Event {
    let lives_there = |id: &String| {
        let subject = SubjectRef { kind: SubjectKind::Conversation, id };
        route("acme", subject, PARTITIONS) == partition
    };
    let conversation =
        (0..1_000).map(|number| format!("conversation-{number}")).find(lives_there).expect("there is one");
    let mut time = timestamp("2026-05-04T00:00:00Z");
    time.seconds += i64::try_from(number).expect("few");
    Event {
        id: format!("{partition}-{number}-{:0100}", 0),
        source: "test".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(time),
        payload: Some(Payload::MessageCreated(MessageCreated {
            conversation,
            actor: Some(Actor { kind: ActorKind::Customer.into(), id: "customer".to_owned() }),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Looks again and again until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < patience, "it does not happen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Node {
    fn first(&self, partition: u32) -> u64 {
        self.log.first(PartitionId(partition)).expect("a partition").0
    }

    fn head(&self, partition: u32) -> u64 {
        self.log.head(PartitionId(partition)).expect("a partition").0
    }

    /// Sends events that must be taken.
    async fn take(&self, events: Vec<Event>) {
        let outcome = self.client.send(events).await;
        assert_eq!(outcome.rejected, 0, "{:?}", outcome.exceptions);
    }

    async fn counted(&self) -> u64 {
        self.client.figure(ask("acme", "messages_received")).await.count
    }
}

/// The numbers of the snapshots there are.
fn snapshots(disk: &SimulatedDisk) -> Vec<u64> {
    let folder = deskpulse_aggregation::folder_of(Path::new("/data/aggregation"));
    let names = disk.list(&folder).unwrap_or_default();
    names.iter().filter_map(|name| name.strip_prefix("snapshot-")?.parse().ok()).collect()
}

#[test]
fn verdicts_come_back_by_themselves_after_ingest_took_no_reports_for_a_while() {
    run(async {
        let trouble = Arc::new(Trouble { deaf: PARTITIONS.into(), ..Trouble::default() });
        let setup = Setup { trouble: Some(Arc::clone(&trouble)), ..Setup::DEFAULT };
        let node = Node::start(&SimulatedDisk::new(1, ROOM), &setup).await.expect("it starts");
        let mut slowest = Duration::ZERO;
        // All are known already but the first, so each has a verdict: more of them than may wait.
        for number in 0..200 {
            node.take(vec![message(0, 0), message(1, 0)]).await;
            let before = Instant::now();
            assert_eq!(node.counted().await, 2, "after batch {number}");
            slowest = slowest.max(before.elapsed());
        }
        until("duplicates are noticed", async || {
            let outcome = node.client.send(vec![message(0, 0), message(1, 0)]).await;
            (outcome.duplicates, outcome.unverified) == (2, 0)
        })
        .await;
        let streams = trouble.streams.load(Ordering::Relaxed);
        println!("{streams} streams of reports; no answer took longer than {slowest:?} while none was taken");
        assert_eq!(streams, 2 * PARTITIONS, "the first of each was given up, the second lasts");
        assert!(slowest < Duration::from_millis(900), "{slowest:?}: a partition waited for ingest");
        node.end().await;
    });
}

#[test]
fn a_block_that_makes_no_sense_however_often_it_is_read_ends_the_node_by_name() {
    for (spoiling, reason) in
        [(Spoiling::Garbled, "block 2 cannot be decoded: "), (Spoiling::LeftOut, "the log sent position 3 after 1")]
    {
        run(async {
            let trouble =
                Trouble { position: 2, spoiling: Some(spoiling), times: u32::MAX.into(), ..Trouble::default() };
            let setup = Setup { trouble: Some(Arc::new(trouble)), ..Setup::DEFAULT };
            let node = Node::start(&SimulatedDisk::new(2, ROOM), &setup).await.expect("it starts");
            for number in 0..3 {
                node.take(vec![message(0, number)]).await;
            }
            let failure = tokio::time::timeout(PATIENCE, node.aggregation.failed()).await.expect("it ends");
            let said = said(&failure);
            println!("{said}");
            for words in ["block 2 of partition 0 cannot be applied", reason, "6 times", "deskpulse check"] {
                assert!(said.contains(words), "{words} is missing in {said}");
            }
            node.end().await;
        });
    }
}

#[test]
fn a_block_that_makes_sense_when_read_again_is_applied_and_nothing_ends() {
    for spoiling in [Spoiling::Garbled, Spoiling::LeftOut] {
        run(async {
            let trouble =
                Arc::new(Trouble { position: 2, spoiling: Some(spoiling), times: 5.into(), ..Trouble::default() });
            let setup = Setup { trouble: Some(Arc::clone(&trouble)), ..Setup::DEFAULT };
            let node = Node::start(&SimulatedDisk::new(3, ROOM), &setup).await.expect("it starts");
            for number in 0..3 {
                node.take(vec![message(0, number)]).await;
            }
            assert_eq!(node.counted().await, 3, "{spoiling:?}");
            assert_eq!(trouble.times.load(Ordering::Relaxed), 0, "it was spoiled five times");
            assert!(!node.has_failed().await, "{spoiling:?}");
            node.end().await;
        });
    }
}

#[test]
fn the_log_is_let_go_of_while_a_full_disk_stops_checkpoints() {
    run(async {
        let disk = SimulatedDisk::new(4, ROOM);
        // The keeper leaves 64 MiB, the log here much less, so that blocks go on while checkpoints wait.
        let setup = Setup { log_retention: Some(Duration::from_secs(6)), log_reserve: 1 << 20, ..Setup::DEFAULT };
        let node = Node::start(&disk, &setup).await.expect("it starts");
        let mut numbers = 0..;
        let mut send = async || {
            let number = numbers.next().expect("there is always one");
            node.take(vec![message(0, number), message(1, number)]).await;
        };
        // Two snapshots are to hold what these blocks, some segments of them, came to.
        for _ in 0..100 {
            send().await;
        }
        let held = snapshots(&disk).last().copied().unwrap_or(0) + 3;
        until("snapshots are written", async || {
            send().await;
            snapshots(&disk).last().is_some_and(|newest| *newest >= held)
        })
        .await;
        let used = ROOM - disk.free_bytes(Path::new("/")).expect("a number");
        disk.set_capacity(used + (32 << 20));
        let newest = snapshots(&disk);
        for _ in 0..20 {
            send().await;
        }
        let first = [0, 1].map(|partition| node.first(partition));
        assert_eq!(first, [1, 1], "its time is not over yet");
        until("segments are removed", async || node.first(0) > 1 && node.first(1) > 1).await;
        println!(
            "the disk full, with snapshots {newest:?} and then {:?}: the log of {} and {} blocks begins at {} and {}",
            snapshots(&disk),
            node.head(0),
            node.head(1),
            node.first(0),
            node.first(1),
        );
        assert!(snapshots(&disk).last() <= newest.last().map(|newest| newest + 1).as_ref(), "the keeper had room");
        disk.set_capacity(ROOM);
        node.end().await;
    });
}

#[test]
fn snapshots_of_earlier_starts_let_go_of_the_log() {
    run(async {
        let disk = SimulatedDisk::new(5, ROOM);
        let setup = Setup { log_retention: Some(NEVER), ..Setup::DEFAULT };
        let node = Node::start(&disk, &setup).await.expect("it starts");
        let mut number = 0;
        until("snapshots are written", async || {
            number += 1;
            node.take(vec![message(0, number), message(1, number)]).await;
            number > 100 && snapshots(&disk).last().is_some_and(|newest| *newest > 3)
        })
        .await;
        let heads = [node.head(0), node.head(1)];
        node.end().await;
        disk.end_process();

        // Now each start is too short for a snapshot of its own.
        let before = snapshots(&disk);
        let setup = Setup { log_retention: Some(Duration::from_millis(10)), snapshot_every: NEVER, ..Setup::DEFAULT };
        let node = Node::start(&disk, &setup).await.expect("it starts");
        until("segments are removed", async || node.first(0) > 1 && node.first(1) > 1).await;
        println!("of {heads:?} blocks the log begins at {} and {}", node.first(0), node.first(1));
        assert_eq!(snapshots(&disk), before);
        assert_eq!(node.counted().await, 2 * number);
        node.end().await;

        // A newest snapshot that is not sound does not count: the next one replaces the sound one.
        disk.end_process();
        let name = format!("snapshot-{:020}", before.last().expect("there are two"));
        let folder = deskpulse_aggregation::folder_of(Path::new("/data/aggregation"));
        disk.flip(&folder.join(name), 30, 1).expect("it is there");
        let node = Node::start(&disk, &setup).await.expect("it starts");
        let first = node.first(0);
        for more in 0..100 {
            node.take(vec![message(0, number + 1 + more), message(1, number + 1 + more)]).await;
        }
        assert_eq!((node.first(0), node.counted().await), (first, 2 * number + 200));
        node.end().await;
    });
}

#[test]
fn snapshots_are_written_however_short_each_start_is() {
    run(async {
        let disk = SimulatedDisk::new(8, ROOM);
        let setup = Setup { snapshot_every: Duration::from_secs(2), ..Setup::DEFAULT };
        let mut starts = 0;
        while snapshots(&disk).last().is_none_or(|newest| *newest < 2) {
            assert!(starts < 40, "there are still only {:?}", snapshots(&disk));
            let node = Node::start(&disk, &setup).await.expect("it starts");
            let begun = Instant::now();
            for number in 0.. {
                node.take(vec![message(0, starts * 1_000 + number)]).await;
                if begun.elapsed() > Duration::from_millis(300) {
                    break;
                }
            }
            node.end().await;
            disk.end_process();
            starts += 1;
        }
        println!("snapshots {:?} after {starts} starts, each much shorter than the time between two", snapshots(&disk));
    });
}

#[test]
fn a_partition_that_went_quiet_keeps_nothing_of_the_log() {
    run(async {
        let disk = SimulatedDisk::new(6, ROOM);
        let retention = Duration::from_secs(10);
        let node =
            Node::start(&disk, &Setup { log_retention: Some(retention), ..Setup::DEFAULT }).await.expect("it starts");
        // A record is made, and soon after it, too soon for another, comes the last block of this partition.
        node.take(vec![message(0, 0)]).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        node.take(vec![message(0, 1)]).await;
        let quiet = Instant::now();
        let mut number = 0;
        until("its last segment is removed", async || {
            number += 1;
            node.take(vec![message(1, number)]).await;
            node.first(0) == node.head(0) + 1
        })
        .await;
        println!("the {} blocks of a quiet partition were removed after {:?}", node.head(0), quiet.elapsed());
        assert_eq!(node.head(0), 2);
        assert_eq!(node.counted().await, 2 + number);
        node.end().await;
    });
}

#[test]
fn all_of_a_log_nobody_writes_to_any_more_is_let_go_of() {
    run(async {
        let disk = SimulatedDisk::new(7, ROOM);
        let setup = Setup { log_retention: Some(Duration::from_secs(1)), ..Setup::DEFAULT };
        let node = Node::start(&disk, &setup).await.expect("it starts");
        for number in 0..100 {
            node.take(vec![message(0, number), message(1, number)]).await;
        }
        // All but the segment being written.
        until("segments are removed", async || node.log.stats().segments == 1).await;
        let newest = snapshots(&disk);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(snapshots(&disk), newest, "where nothing happens, no snapshot is written");
        node.end().await;
    });
}

#[test]
fn a_partition_that_the_system_gives_no_runtime_ends_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    // Enough open files for all but the partitions.
    let serve = "ulimit -n 100; exec \"$0\" serve --listen 127.0.0.1:0 --partitions 200 --data-dir \"$1\"";
    let output = output(std::process::Command::new("sh").args(["-c", serve, PROGRAM]).arg(folder.path()));
    let said = String::from_utf8_lossy(&output.stderr);
    println!(
        "{}",
        said.lines()
            .filter(|line| line.starts_with("error: ") || line.starts_with("cause: "))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["aggregation cannot go on", " has no runtime: see to the limits", "Too many open files"] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
}
