//! Two years of a tenant's life in little memory: the same answers as with all the memory there is.
//!
//! `DESKPULSE_CONVERSATIONS` sets how many conversations there are, `DESKPULSE_MEMORY_BUDGET_MIB` the budget,
//! `DESKPULSE_PROGRAM` another program to start.

use std::collections::BinaryHeap;
use std::time::Instant;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, ConversationAssigned, ConversationOpened, ConversationStatus,
    ConversationStatusChanged, Dimensions, Event, MessageCreated,
};

use crate::against_reference::setting;
use crate::harness::{Client, Process, Question, Random, ask, run, timestamp};

const BATCH: usize = 1_000;
const DAY: i64 = 86_400;
const MONTHS: i64 = 24;

/// A number of seconds, or days, below a bound.
fn seconds(random: &mut Random, bound: usize) -> i64 {
    i64::try_from(random.below(bound)).expect("few")
}

/// What happens in a conversation, and after how many seconds.
fn story(random: &mut Random, number: u64) -> Vec<(i64, Payload)> {
    let conversation = format!("{number:08}-{:016x}", random.next());
    let mut name = |kind: &str, bound: usize| format!("{kind} {}", random.below(bound));
    let (channel, team, topic, agent) = (name("channel", 4), name("team", 6), name("topic", 25), name("agent", 40));
    let by = |kind: ActorKind, id: &str| Some(Actor { kind: kind.into(), id: id.to_owned() });
    let message = |actor| {
        Payload::MessageCreated(MessageCreated { conversation: conversation.clone(), actor, ..Default::default() })
    };
    let status = |status: ConversationStatus| {
        Payload::ConversationStatusChanged(ConversationStatusChanged {
            conversation: conversation.clone(),
            status: status.into(),
            actor: by(ActorKind::Agent, &agent),
            ..Default::default()
        })
    };
    let opened = Payload::ConversationOpened(ConversationOpened {
        conversation: conversation.clone(),
        customer: format!("customer {}", number / 3),
        dimensions: Some(Dimensions { channel, topic, ..Default::default() }),
        ..Default::default()
    });
    let assigned = Payload::ConversationAssigned(ConversationAssigned {
        conversation: conversation.clone(),
        to: AssigneeKind::Agent.into(),
        assignee: agent.clone(),
        team,
        ..Default::default()
    });
    let mut events = vec![(0, opened), (30, assigned)];
    let mut at = 40;
    for _ in 0..2 + random.below(3) {
        at += 20 + seconds(random, 7_200);
        events.push((at, message(by(ActorKind::Agent, &agent))));
        at += 20 + seconds(random, 20_000);
        events.push((at, message(by(ActorKind::Customer, ""))));
    }
    at += 600;
    events.push((at, status(ConversationStatus::Resolved)));
    // One in ten comes back months later.
    if random.below(10) == 0 {
        at += (30 + seconds(random, 360)) * DAY;
        events.push((at, message(by(ActorKind::Customer, ""))));
        events.push((at, status(ConversationStatus::Open)));
        events.push((at + 3_000, message(by(ActorKind::Agent, &agent))));
        events.push((at + 4_000, status(ConversationStatus::Resolved)));
    }
    events
}

/// Batches in the order of arrival: that of time, but for one event in a hundred, which arrives up to a year late.
fn batches(conversations: u64) -> impl Iterator<Item = Vec<Event>> {
    let start = timestamp("2023-01-01T00:00:00Z").seconds;
    let end = start + MONTHS * 30 * DAY;
    let mut random = Random(24);
    let mut waiting: BinaryHeap<(std::cmp::Reverse<i64>, u64, usize)> = BinaryHeap::new();
    let mut bodies: Vec<Option<Event>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut begun, mut count) = (0, 0);
    std::iter::from_fn(move || {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let begins =
                start + i64::try_from(begun).expect("few") * (end - start) / i64::try_from(conversations).expect("few");
            if begun < conversations && waiting.peek().is_none_or(|(next, ..)| next.0 >= begins) {
                for (after, payload) in story(&mut random, begun) {
                    count += 1;
                    let at = begins + after;
                    let arrives = if random.below(100) == 0 { at + seconds(&mut random, 365) * DAY } else { at };
                    let event = Event {
                        id: format!("{count:010}"),
                        source: "desk".to_owned(),
                        tenant: "acme".to_owned(),
                        time: Some(prost_types::Timestamp { seconds: at, nanos: 0 }),
                        payload: Some(payload),
                        ..Default::default()
                    };
                    let place = free.pop().unwrap_or_else(|| {
                        bodies.push(None);
                        bodies.len() - 1
                    });
                    bodies[place] = Some(event);
                    waiting.push((std::cmp::Reverse(arrives), count, place));
                }
                begun += 1;
                continue;
            }
            let Some((_, _, place)) = waiting.pop() else { break };
            batch.extend(bodies[place].take());
            free.push(place);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Questions about all of it, month by month and by what there is.
fn questions() -> Vec<Question> {
    let (from, to) = ("2023-01-01T00:00:00Z", "2026-06-01T00:00:00Z");
    let every = |metric: &str, interval: &str| ask("acme", metric).from(from).to(to).every(interval, "Europe/Berlin");
    vec![
        every("conversations_opened", "1mo").group_by(&["channel"]),
        every("first_response_time", "1mo").percentiles(&[50.0, 90.0, 99.0]).group_by(&["team"]),
        every("resolution_time", "1mo").percentiles(&[50.0]),
        every("first_contact_resolution_rate", "1mo"),
        every("backlog", "1mo").group_by(&["team"]),
        every("backlog_age", "1mo"),
        every("reopens", "1mo"),
        every("net_flow", "1d"),
        ask("acme", "messages_sent").from(from).to(to).group_by(&["agent"]),
        ask("acme", "longest_wait").to("2024-06-01T00:00:00Z"),
        ask("acme", "conversations_handled").from(from).to(to),
    ]
}

/// The most memory a process has had resident, in MiB.
fn peak_mib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1_024
}

/// The most memory a process has had at its start, with all events and after the questions, in MiB.
struct Peaks {
    before: u64,
    ingested: u64,
    peak: u64,
}

/// A node that has taken in everything, and what it answers.
fn life(conversations: u64, budget_mib: u64) -> (Peaks, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, budget) = (folder.path().to_string_lossy(), format!("{budget_mib}MiB"));
    let process = Process::serve(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--partitions",
        "2",
        "--memory-budget",
        &budget,
        "--checkpoint-every",
        "1",
    ]);
    run(async {
        let client = Client::connect(&process.url);
        client.settle().await;
        let started = Instant::now();
        let before = peak_mib(&process);
        let mut events = 0;
        for batch in batches(conversations) {
            events += batch.len();
            let outcome = client.send(batch).await;
            assert_eq!(outcome.rejected, 0, "{:?}", outcome.exceptions);
        }
        let taken = started.elapsed();
        let ingested = peak_mib(&process);
        let mut answers = Vec::new();
        for question in questions() {
            let asked = Instant::now();
            let rows = client.rows(question.clone()).await;
            assert!(!rows.is_empty(), "{:?} has no answer", question.0);
            println!("  {} in {:.2?}, {} MiB at most", question.0.metrics[0].name, asked.elapsed(), peak_mib(&process));
            answers.push(format!("{:?}: {rows:?}", question.0));
        }
        let peak = peak_mib(&process);
        println!(
            "{events} events in {taken:.1?}, budget {budget_mib} MiB: {before} MiB at the start, {ingested} MiB with all events, {peak} MiB at most"
        );
        (Peaks { before, ingested, peak }, answers)
    })
}

#[test]
fn two_years_in_little_memory_answer_as_in_all_there_is() {
    let conversations = setting("DESKPULSE_CONVERSATIONS", 350_000);
    let budget_mib = setting("DESKPULSE_MEMORY_BUDGET_MIB", 128);
    let (bounded, answers) = life(conversations, budget_mib);
    let (unbounded, expected) = life(conversations, 1 << 16);
    for (answer, expected) in answers.iter().zip(&expected) {
        assert_eq!(answer, expected);
    }
    let state = unbounded.ingested - unbounded.before;
    println!(
        "all of it takes {state} MiB; with a budget of {budget_mib} MiB the process took {} MiB",
        bounded.ingested
    );
    assert!(state >= 10 * budget_mib, "{state} MiB is no load for {budget_mib} MiB");
    assert!(bounded.ingested <= budget_mib, "{} MiB", bounded.ingested);
    // What answers about all of it need comes on top, for a moment.
    assert!(bounded.peak <= budget_mib * 3 / 2, "{} MiB", bounded.peak);
}
