//! A whole node on a disk that loses power, fails or is full, at any step.
//!
//! The services are the real ones, over real gRPC; only the disk is simulated. After each fault the node starts again on what
//! the disk kept, and everything that was acknowledged is sent once more: an event taken as new then had been lost. At last the rest is
//! sent, and every answer is compared with the reference model's.
//!
//! `DESKPULSE_FAULTS` sets how often power is lost.

use std::ops::Range;
use std::time::Duration;

use deskpulse_disk::{Fault, SimulatedDisk};
use deskpulse_proto::v1::Event;

use crate::against_reference::{configure, difference, setting};
use crate::harness::{Random, run};
use crate::node::{Node, PATIENCE, Setup};
use crate::reference::scenario;

const ROOM: u64 = 1 << 30;
const SETUP: Setup = Setup {
    checkpoint_every: Duration::from_millis(5),
    snapshot_every: Duration::from_millis(40),
    log_retention: Some(Duration::from_millis(10)),
    ..Setup::DEFAULT
};

/// What became of a node that met a fault.
#[derive(Debug, Default)]
struct Fate {
    /// Batches acknowledged before and, of their events, those that were taken as new afterwards.
    acknowledged: usize,
    lost: usize,
    /// Batches that were under way or refused when it happened, and whose fate was settled by sending them again.
    in_doubt: usize,
    starts: usize,
    questions: usize,
    wrong: Vec<String>,
}

/// A node lives through a scenario with a fault in it.
async fn ordeal(seed: u64, at: Range<u64>, fault: Fault) -> Fate {
    let mut random = Random(seed);
    let scenario = scenario(&mut random);
    let disk = SimulatedDisk::new(seed, ROOM);
    let mut fate = Fate::default();
    let mut batches: Vec<Vec<Event>> = Vec::new();
    let mut rest = scenario.events.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((1 + random.below(5)).min(rest.len()));
        batches.push(batch.to_vec());
        rest = after;
    }

    disk.fail(at, fault);
    let mut acknowledged: Vec<&[Event]> = Vec::new();
    let mut in_doubt: Vec<&[Event]> = Vec::new();
    fate.starts += 1;
    match Node::start(&disk, &SETUP).await {
        Ok(mut node) => {
            for (number, batch) in batches.iter().enumerate() {
                // As the program does, it ends when the log or the store has failed.
                if node.has_failed().await {
                    in_doubt.extend(batches[number..].iter().map(Vec::as_slice));
                    break;
                }
                let answer = tokio::time::timeout(PATIENCE, node.client.try_send(batch.clone())).await;
                match answer.expect("a batch is answered") {
                    Ok(outcome) => {
                        assert_eq!(outcome.rejected, 0, "{:?}", outcome.exceptions);
                        acknowledged.push(batch);
                    }
                    Err(_) => in_doubt.push(batch),
                }
                // Time passes, so that checkpoints and snapshots come between.
                if random.below(4) == 0 {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            for change in &scenario.config {
                if node.has_failed().await || configure(&mut node.config, change.clone()).await.is_err() {
                    break;
                }
            }
            if fault == Fault::Crash {
                disk.crash();
            }
            node.end().await;
        }
        Err(_) => in_doubt.extend(batches.iter().map(Vec::as_slice)),
    }
    (fate.acknowledged, fate.in_doubt) = (acknowledged.len(), in_doubt.len());

    // The machine starts again, and now and then loses power in doing so.
    let mut node = loop {
        if fault == Fault::Crash {
            disk.crash();
            disk.restart();
            if fate.starts == 1 && random.below(2) == 0 {
                let now = disk.operations();
                let at = now + random.below(60) as u64;
                disk.fail(at..at + 1, Fault::Crash);
            }
        } else {
            disk.end_process();
        }
        fate.starts += 1;
        match Node::start(&disk, &SETUP).await {
            Ok(node) if fate.starts > 2 || fault != Fault::Crash => break node,
            Ok(node) => {
                disk.crash();
                node.end().await;
            }
            Err(said) if fate.starts > 2 || fault != Fault::Crash => {
                fate.wrong.push(format!("seed {seed}: it does not start: {said}"));
                return fate;
            }
            Err(_) => {}
        }
    };

    node.client.settle().await;
    for batch in acknowledged {
        let outcome = node.client.send(batch.to_vec()).await;
        assert_eq!((outcome.unverified, outcome.rejected), (0, 0), "seed {seed}: {:?}", outcome.exceptions);
        fate.lost += outcome.accepted as usize;
    }
    for batch in in_doubt {
        node.client.send(batch.to_vec()).await;
    }
    for change in &scenario.config {
        configure(&mut node.config, change.clone()).await.expect("it is taken");
    }
    for number in 0..scenario.questions.len() {
        fate.questions += 1;
        if let Some(difference) = difference(&node.client, &scenario, number).await {
            fate.wrong.push(format!("seed {seed}, question {number}: {difference}"));
        }
    }
    node.end().await;
    fate
}

/// Ordeals, some at a time; prints what became of them all.
fn ordeals(what: &str, seeds: Range<u64>, fault: impl Fn(u64) -> (Range<u64>, Fault)) {
    let mut all = Fate::default();
    let count = seeds.end - seeds.start;
    run(async {
        let seeds: Vec<u64> = seeds.collect();
        for some in seeds.chunks(12) {
            let tasks = some.iter().map(|seed| {
                let (at, fault) = fault(*seed);
                tokio::spawn(ordeal(*seed, at, fault))
            });
            for task in tasks.collect::<Vec<_>>() {
                let fate = task.await.expect("no panic");
                all.acknowledged += fate.acknowledged;
                all.lost += fate.lost;
                all.in_doubt += fate.in_doubt;
                all.starts += fate.starts;
                all.questions += fate.questions;
                all.wrong.extend(fate.wrong);
            }
            assert!(all.wrong.len() < 10, "{what}:\n{}", all.wrong.join("\n"));
        }
    });
    let Fate { acknowledged, lost, in_doubt, starts, questions, wrong } = all;
    println!(
        "{count} × {what}: {acknowledged} batches acknowledged, {in_doubt} in doubt, {starts} starts: {lost} events lost, \
         {} of {questions} answers wrong",
        wrong.len()
    );
    assert_eq!((lost, wrong), (0, Vec::new()), "{what}");
    assert!(acknowledged > in_doubt / 4, "{what}: {in_doubt} of {acknowledged} came through");
}

#[test]
fn losses_of_power_lose_nothing_acknowledged_and_count_nothing_twice() {
    ordeals("power lost", 0..setting("DESKPULSE_FAULTS", 250), |seed| {
        let at = Random(seed ^ 0x5eed).below(1_500) as u64;
        (at..at + 1, Fault::Crash)
    });
}

#[test]
fn a_failing_device_ends_the_node_and_loses_nothing_acknowledged() {
    ordeals("EIO", 2_000..2_060, |seed| {
        let at = Random(seed ^ 0xe10).below(1_500) as u64;
        (at..at + 1, Fault::Device)
    });
}

#[test]
fn a_full_disk_refuses_or_ends_the_node_and_loses_nothing_acknowledged() {
    ordeals("ENOSPC", 3_000..3_060, |seed| {
        let mut random = Random(seed ^ 0xe205);
        let at = random.below(1_500) as u64;
        (at..at + 1 + random.below(20) as u64, Fault::Full)
    });
}
