//! The real process under load, killed at random instants, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Actor, ActorKind, Event, MessageCreated};

use crate::harness::{Client, Random, Suite, ask, run, timestamp};

const KILLS: u64 = 50;
const SENDERS: u64 = 4;
const BATCH: u64 = 200;
/// So many batches go to the same conversations, one message each.
const ROUNDS: u64 = 10;

/// A sender's batch: a message in each of some conversations.
fn batch(sender: u64, number: u64) -> Vec<Event> {
    let (group, round) = (number / ROUNDS, number % ROUNDS);
    let mut time = timestamp("2026-05-04T00:00:00Z");
    time.seconds += i64::try_from(number * 60).expect("few");
    let event = |place: u64| Event {
        id: format!("{sender}-{number}-{place}"),
        source: "load".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(time),
        payload: Some(Payload::MessageCreated(MessageCreated {
            conversation: format!("c-{sender}-{group}-{place}"),
            actor: Some(Actor { kind: ActorKind::Customer.into(), id: String::new() }),
            ..Default::default()
        })),
        ..Default::default()
    };
    debug_assert!(round < ROUNDS);
    (0..BATCH).map(event).collect()
}

#[test]
fn fifty_kills_under_load_lose_nothing_acknowledged_and_count_nothing_twice() {
    let mut suite = Suite::start();
    let url = suite.url().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let unanswered = Arc::new(AtomicU64::new(0));
    let acknowledged = run(async {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (client, stop, unanswered) = (Client::connect(&url), Arc::clone(&stop), Arc::clone(&unanswered));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // What is not acknowledged is sent again, until it is.
                        while client.try_send(batch(sender, number)).await.is_err() {
                            unanswered.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        number += 1;
                    }
                    number
                })
            })
            .collect();
        let killing = tokio::task::spawn_blocking(move || {
            let mut random = Random(4);
            for _ in 0..KILLS {
                std::thread::sleep(Duration::from_millis(20 + random.below(300) as u64));
                suite.kill_and_restart();
            }
            suite
        });
        let suite = killing.await.expect("no panic");
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for sender in senders {
            acknowledged.push(sender.await.expect("no panic"));
        }
        (suite, acknowledged)
    });
    let (suite, acknowledged) = acknowledged;
    let events: u64 = acknowledged.iter().map(|batches| batches * BATCH).sum();
    let unanswered = unanswered.load(Ordering::Relaxed);
    run(async {
        let client = suite.client();
        client.settle().await;
        let counted = client.figure(ask("acme", "messages_received")).await.count;
        let (lost, twice) = (events.saturating_sub(counted), counted.saturating_sub(events));
        println!(
            "{KILLS} kills, {events} events acknowledged, {unanswered} tries without an answer: {lost} lost, {twice} counted twice"
        );
        assert_eq!((lost, twice), (0, 0), "{counted} of {events}");
        assert!(unanswered >= KILLS, "the kills were hardly noticed: {unanswered}");
        // One by one: what was acknowledged is known.
        for (sender, batches) in (0..).zip(acknowledged) {
            for number in 0..batches {
                let outcome = client.send(batch(sender, number)).await;
                assert_eq!((outcome.accepted, outcome.unverified), (0, 0), "batch {number} of sender {sender}");
            }
        }
    });
}
