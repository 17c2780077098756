//! An event into a partition: deduplicated, put in order, understood, counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use deskpulse_core::dimension::Dimension;
use deskpulse_core::event::{
    Actor, Assignee, AssignmentReason, Event, EventId, Initiator, Opened, Payload, Status, Visibility,
};
use deskpulse_core::fact::{Anchor, Clock, Fact, Facts, Measure, difference};
use deskpulse_core::grid::{ColumnKey, Range};
use deskpulse_core::partition::{Arrival, Block, Partition, Place};
use deskpulse_core::rules::Rules;
use deskpulse_core::series::{DimensionValues, Names, SeriesId, Symbol};
use deskpulse_core::state::Subject;
use deskpulse_core::subject::SubjectKind;
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;

use crate::workload::{Random, sized};

const MINUTE_MS: i64 = 60_000;
const EACH: usize = 1_000;

/// The event of a conversation, in the order of arrival.
type Arrivals = Vec<(Arc<str>, Event)>;
/// What stands in the end: measure, anchor and clock, instant, series and value, and how often.
type Standing = BTreeMap<((Measure, Anchor, Clock), i64, SeriesId, i64), i64>;

pub(crate) fn apply(criterion: &mut Criterion) {
    let names = Arc::new(Names::default());
    let tenant = names.symbol("t");
    let (in_order, late) = arrivals(&names, sized(5_000, 50));
    the_order_of_arrival_changes_nothing(&names, tenant, &in_order, &late);

    let mut group = criterion.benchmark_group("apply an event");
    group.throughput(Throughput::Elements(in_order.len() as u64));
    group.bench_function("floor: move it into a vector", |bencher| {
        let setup = || (in_order.clone(), Vec::with_capacity(in_order.len()));
        bencher.iter_batched(
            setup,
            |(arrivals, mut kept)| {
                kept.extend(arrivals);
                kept
            },
            BatchSize::PerIteration,
        );
    });
    for (name, arrivals) in [("ours, in order", &in_order), ("ours, 2 % late", &late)] {
        group.bench_function(name, |bencher| {
            let setup = || (partition(&names), arrivals.clone());
            bencher.iter_batched(
                setup,
                |(mut partition, arrivals)| {
                    apply_all(&mut partition, tenant, arrivals);
                    partition
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("peer: keep each once by its id, count nothing", |bencher| {
        bencher.iter_batched(|| in_order.clone(), keep_each_once, BatchSize::PerIteration);
    });
    group.bench_function("control: fold the whole conversation again", |bencher| {
        bencher.iter_batched(|| in_order.clone(), |arrivals| fold_each_time(arrivals, &names), BatchSize::PerIteration);
    });
    group.finish();
}

/// The only partition there is.
fn partition(names: &Arc<Names>) -> Partition {
    Partition::new(Arc::clone(names), Place { number: 0, of: 1 })
}

/// Returns how many events were new but not the last of their conversation.
fn apply_all(partition: &mut Partition, tenant: Symbol, arrivals: Arrivals) -> usize {
    let mut arrivals = arrivals.into_iter().map(|(conversation, event)| Arrival {
        tenant,
        kind: SubjectKind::Conversation,
        subject: conversation.as_ref().into(),
        event,
    });
    let mut within = 0;
    loop {
        let block = Block { arrivals: arrivals.by_ref().take(EACH).collect(), ..Block::default() };
        let Some(last) = block.arrivals.last() else { return within };
        let now = last.event.time;
        let (all_added, letters) = partition.apply(block, now).expect("nothing is put away");
        assert!(letters.is_empty(), "no conversation is merged");
        for added in all_added {
            match added {
                Added::Last => {}
                Added::Within => within += 1,
                Added::Duplicate | Added::Conflict => unreachable!("every id is there once"),
            }
        }
    }
}

fn keep_each_once(arrivals: Arrivals) -> HashMap<Arc<str>, Vec<Event>> {
    let mut known = HashSet::new();
    let mut conversations: HashMap<Arc<str>, Vec<Event>> = HashMap::new();
    for (conversation, event) in arrivals {
        if known.insert(event.id.clone()) {
            conversations.entry(conversation).or_default().push(event);
        }
    }
    conversations
}

/// What a service would do that keeps events and works out the figures from them: facts by conversation.
fn fold_each_time(arrivals: Arrivals, names: &Names) -> HashMap<Arc<str>, (Vec<Event>, Vec<Fact>)> {
    let rules = Rules::default();
    let mut conversations: HashMap<Arc<str>, (Vec<Event>, Vec<Fact>)> = HashMap::new();
    for (conversation, event) in arrivals {
        let (events, old) = conversations.entry(Arc::clone(&conversation)).or_default();
        events.push(event);
        let mut subject = Subject::new(SubjectKind::Conversation, conversation.as_ref().into());
        let mut facts = Facts::new(names, &rules);
        for event in &*events {
            subject.add(event, &mut facts);
        }
        let mut new = facts.into_list();
        new.extend(subject.settle(names, &rules));
        std::hint::black_box(difference(old, &new));
        *old = new;
    }
    conversations
}

fn the_order_of_arrival_changes_nothing(names: &Arc<Names>, tenant: Symbol, in_order: &Arrivals, late: &Arrivals) {
    let ours = |arrivals: &Arrivals| {
        let mut partition = partition(names);
        let within = apply_all(&mut partition, tenant, arrivals.clone());
        let (reader, mut standing) = (partition.reader(), Standing::new());
        let all = Range { from_inclusive: 0, to_exclusive: i64::MAX };
        for key in columns() {
            let column = (key.measure, key.anchor, key.clock);
            reader
                .view()
                .facts(tenant, key, all, |fact| {
                    *standing.entry((column, fact.at_ms, fact.series, fact.value)).or_default() += fact.weight.sign();
                })
                .expect("readable");
        }
        standing.retain(|_, count| *count != 0);
        (within, standing)
    };
    let (none, expected) = ours(in_order);
    let (some, found) = ours(late);
    assert_eq!(none, 0);
    assert!((1..=3).contains(&(some * 100 / late.len())), "{some} of {} are late", late.len());
    assert_eq!(found, expected);

    let folded = fold_each_time(in_order.clone(), names);
    let mut found = Standing::new();
    for fact in folded.values().flat_map(|(_, facts)| facts) {
        let column = (fact.measure, fact.anchor, fact.clock);
        *found.entry((column, fact.at.millis(), fact.series, fact.value)).or_default() += fact.weight.sign();
    }
    found.retain(|_, count| *count != 0);
    assert_eq!(found, expected);

    let kept = keep_each_once(in_order.clone());
    let openings = expected.iter().filter(|(((measure, ..), ..), _)| *measure == Measure::Opened);
    assert_eq!(openings.map(|(_, count)| *count).sum::<i64>(), i64::try_from(kept.len()).expect("few"));
    assert_eq!(kept.values().map(Vec::len).sum::<usize>(), in_order.len());
}

/// Every column there can be.
fn columns() -> impl Iterator<Item = ColumnKey> {
    let ends = [Anchor::Completion, Anchor::Start].into_iter();
    let kinds = ends.flat_map(|anchor| [Clock::Calendar, Clock::Business].map(|clock| (anchor, clock)));
    kinds.flat_map(|(anchor, clock)| {
        Measure::ALL.iter().map(move |measure| ColumnKey { measure: *measure, anchor, clock })
    })
}

/// A day's conversations of eight events; the second time, 2 % of the events arrive four hours later.
fn arrivals(names: &Names, conversations: u32) -> (Arrivals, Arrivals) {
    let mut random = Random::new();
    let mut arrivals: Vec<(i64, Arc<str>, Event)> = Vec::new();
    for number in 0..conversations {
        let conversation: Arc<str> = format!("c-{number:07}").into();
        let mut at_ms = i64::from(random.below(1_440)) * MINUTE_MS;
        for payload in story(names, &mut random) {
            let id = EventId { source: names.symbol("s"), id: format!("e-{:09}", arrivals.len()).into() };
            let time = Timestamp::clamped(at_ms);
            let event = Event { id, time, sequence: None, attributes: Box::default(), payload };
            arrivals.push((at_ms, Arc::clone(&conversation), event));
            at_ms += i64::from(1 + random.below(40)) * MINUTE_MS;
        }
    }
    let by_arrival = |arrivals: &mut Vec<(i64, Arc<str>, Event)>| -> Arrivals {
        arrivals.sort_by_key(|(arrival_ms, ..)| *arrival_ms);
        arrivals.iter().map(|(_, conversation, event)| (Arc::clone(conversation), event.clone())).collect()
    };
    let in_order = by_arrival(&mut arrivals);
    for (arrival_ms, ..) in &mut arrivals {
        if random.below(1_000) < 23 {
            // More than 2 %, because the last event of a conversation is never late.
            *arrival_ms += 240 * MINUTE_MS;
        }
    }
    (in_order, by_arrival(&mut arrivals))
}

fn story(names: &Names, random: &mut Random) -> [Payload; 8] {
    let mut name = |kind: &str, bound: u32| names.symbol(&format!("{kind}-{}", random.below(bound)));
    let (channel, team, topic, agent) = (name("channel", 5), name("team", 8), name("topic", 20), name("agent", 60));
    let mut dimensions = DimensionValues::default();
    dimensions.set(&Dimension::Channel, Some(channel));
    dimensions.set(&Dimension::Topic, Some(topic));
    let message =
        |actor| Payload::MessageCreated { actor, visibility: Visibility::Public, quick_reply: None, sentiment: None };
    let (customer, reply) = (message(Actor::Customer), message(Actor::Agent(Some(agent))));
    [
        Payload::Opened(Box::new(Opened { customer: None, initiator: Initiator::Customer, dimensions })),
        Payload::Assigned { to: Assignee::Agent { agent, team: Some(team) }, reason: AssignmentReason::Route },
        reply.clone(),
        customer.clone(),
        reply.clone(),
        customer,
        reply,
        Payload::StatusChanged { status: Status::Resolved, merged_into: None, actor: Actor::Agent(Some(agent)) },
    ]
}
