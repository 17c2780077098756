//! The law everything rests on: the answer is a function of the set of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use deskpulse_core::conversation::fold;
use deskpulse_core::dimension::Dimension;
use deskpulse_core::event::{
    Actor, Assignee, AssignmentReason, DimensionChanges, Event, EventId, Initiator, Opened, Payload, Sentiment, Status,
    Visibility,
};
use deskpulse_core::fact::{Fact, Measure, cancel};
use deskpulse_core::filter::Filter;
use deskpulse_core::grid::{Range, StoredFact};
use deskpulse_core::interval::{Interval, cut};
use deskpulse_core::partition::{Arrival, Partition};
use deskpulse_core::series::{DimensionValues, Names};
use deskpulse_core::snapshot::{Contacts, Part, Plan, Reduction, Rows, collect};
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::{Added, Timeline};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::Random;

const CONVERSATIONS: usize = 3;
/// Few instants, so that many events share one; some lie days apart.
const INSTANTS: [i64; 9] = [0, 1, 1_000, 1_000, 60_000, 900_000, 901_000, 86_400_000, 90_000_000];

/// An event before its names are interned: what `names` gives symbols for differs from run to run.
#[derive(Debug, Clone)]
struct Sketch {
    conversation: usize,
    instant: usize,
    sequence: Option<u64>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Opened { initiator: usize, team: usize, customer: Option<usize> },
    Status { status: usize, agent: Option<usize> },
    Assigned { to: usize, handoff: bool },
    Updated { team: Option<usize>, tag: usize, remove: bool },
    Message { actor: usize, private: bool, quick: bool, mood: usize },
    Scored { message: Index, mood: usize },
    Retracted { event: Index },
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        1 => (0..3usize, 0..3usize, prop::option::of(0..2usize))
            .prop_map(|(initiator, team, customer)| What::Opened { initiator, team, customer }),
        4 => (0..10usize, prop::option::of(0..3usize)).prop_map(|(status, agent)| What::Status { status, agent }),
        3 => (0..6usize, any::<bool>()).prop_map(|(to, handoff)| What::Assigned { to, handoff }),
        2 => (prop::option::of(0..3usize), 0..3usize, any::<bool>())
            .prop_map(|(team, tag, remove)| What::Updated { team, tag, remove }),
        8 => (0..6usize, any::<bool>(), any::<bool>(), 0..4usize)
            .prop_map(|(actor, private, quick, mood)| What::Message { actor, private, quick, mood }),
        1 => (any::<Index>(), 0..3usize).prop_map(|(message, mood)| What::Scored { message, mood }),
        2 => any::<Index>().prop_map(|event| What::Retracted { event }),
    ]
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let sketch = (0..CONVERSATIONS, 0..INSTANTS.len(), prop::option::weighted(0.3, 0..4u64), what())
        .prop_map(|(conversation, instant, sequence, what)| Sketch { conversation, instant, sequence, what });
    prop::collection::vec(sketch, 1..24)
}

const MOODS: [Option<Sentiment>; 4] =
    [Some(Sentiment::Negative), Some(Sentiment::Neutral), Some(Sentiment::Positive), None];

impl Sketch {
    fn event(&self, number: usize, all: &[Self], names: &Names) -> Event {
        let source = names.symbol("law");
        let id = |number: usize| EventId { source, id: format!("e{}", number * 7 % 31).into() };
        let agent = |n: usize| names.symbol(["A", "B", "C"][n % 3]);
        let team = |n: usize| names.symbol(["first", "second", "third"][n % 3]);
        // An event of the same conversation, itself included; a message where there is one.
        let of_conversation = |index: &Index, messages: bool| {
            let of_same = |other: &(usize, &Self)| other.1.conversation == self.conversation;
            let numbers: Vec<usize> = all
                .iter()
                .enumerate()
                .filter(of_same)
                .filter(|(_, other)| !messages || matches!(other.what, What::Message { .. }))
                .map(|(number, _)| number)
                .collect();
            if numbers.is_empty() { number } else { *index.get(&numbers) }
        };
        let payload = match &self.what {
            What::Opened { initiator, team: t, customer } => {
                let mut dimensions = DimensionValues::default();
                dimensions.set(&Dimension::Team, Some(team(*t)));
                let customer = customer.map(|customer| ["ann", "bob"][customer].into());
                let initiator = [Initiator::Customer, Initiator::Agent, Initiator::Bot][*initiator];
                Payload::Opened(Box::new(Opened { customer, initiator, dimensions }))
            }
            What::Status { status, agent: by } => Payload::StatusChanged {
                status: [
                    Status::Open,
                    Status::Pending,
                    Status::OnHold,
                    Status::Resolved,
                    Status::Resolved,
                    Status::Closed,
                    Status::Spam,
                    Status::Open,
                    Status::Deleted,
                    Status::Merged,
                ][*status],
                merged_into: None,
                actor: by.map_or(Actor::Unnamed, |by| Actor::Agent(Some(agent(by)))),
            },
            What::Assigned { to, handoff } => Payload::Assigned {
                to: match to {
                    0 => Assignee::Nobody,
                    1 => Assignee::Bot(names.symbol("bot")),
                    2 => Assignee::Team(team(1)),
                    n => Assignee::Agent { agent: agent(*n), team: (*n == 4).then(|| team(2)) },
                },
                reason: if *handoff { AssignmentReason::Handoff } else { AssignmentReason::Unsaid },
            },
            What::Updated { team: t, tag, remove } => {
                let tag = vec![names.symbol(["x", "y", "z"][*tag])];
                let (add_tags, remove_tags) = if *remove { (Vec::new(), tag) } else { (tag, Vec::new()) };
                let set = vec![(Dimension::Team, t.map(team))];
                Payload::Updated(Box::new(DimensionChanges { set, add_tags, remove_tags }))
            }
            What::Message { actor, private, quick, mood } => Payload::MessageCreated {
                actor: match actor {
                    0 | 1 => Actor::Customer,
                    2 => Actor::Agent(Some(agent(0))),
                    3 => Actor::Agent(None),
                    4 => Actor::Bot(None),
                    _ => Actor::System,
                },
                visibility: if *private && *actor > 1 { Visibility::Private } else { Visibility::Public },
                quick_reply: quick.then(|| names.symbol("QR")),
                sentiment: MOODS[*mood],
            },
            What::Scored { message, mood } => Payload::SentimentScored {
                message: id(of_conversation(message, true)).id,
                sentiment: MOODS[*mood].expect("the first three are set"),
            },
            What::Retracted { event } => Payload::Retracted(id(of_conversation(event, false))),
        };
        // Every fifth event sets a custom attribute or clears it.
        let attribute = (names.symbol("plan"), number.is_multiple_of(10).then(|| names.symbol("gold")));
        let attributes = if number.is_multiple_of(5) { vec![attribute] } else { Vec::new() };
        Event {
            id: id(number),
            time: Timestamp::clamped(1_780_315_200_000 + INSTANTS[self.instant]),
            sequence: self.sequence,
            attributes: attributes.into(),
            payload,
        }
    }
}

/// A partition after these sketches in this order, in blocks of random sizes up to `most`, and what each event did.
fn apply(sketches: &[Sketch], order: &[usize], most: usize, seed: u64) -> (Partition, Arc<Names>, Vec<Added>) {
    let names = Arc::new(Names::default());
    let mut partition = Partition::new(Arc::clone(&names));
    let tenant = names.symbol("t");
    let mut random = Random(seed);
    let mut rest = order;
    let mut added = Vec::new();
    while !rest.is_empty() {
        let (block, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
        let arrivals = block.iter().map(|number| Arrival {
            tenant,
            conversation: format!("c{}", sketches[*number].conversation).into(),
            event: sketches[*number].event(*number, sketches, &names),
        });
        added.extend(partition.apply(arrivals.collect()));
        rest = after;
    }
    (partition, names, added)
}

/// Everything a partition has to say: every measure, every reduction, by team, agent and tag, hour by hour.
fn everything(partition: &Partition, names: &Names) -> Rows {
    let start = Timestamp::clamped(1_780_315_200_000 - 3_600_000);
    let end = Timestamp::clamped(1_780_315_200_000 + 100_000_000);
    let (cut, _) = cut(start, end, Some(Interval::Minutes(60)), &[], &jiff::tz::TimeZone::UTC).expect("cuts");
    let part = |measure: &Measure, reduction| Part { measures: vec![*measure], reduction, at_most: vec![0, 60_000] };
    let mut parts: Vec<Part> = Measure::ALL
        .iter()
        .filter(|measure| !matches!(measure, Measure::Backlog | Measure::Unanswered))
        .flat_map(|measure| [part(measure, Reduction::Distribution), part(measure, Reduction::Distinct)])
        .collect();
    let levels = [Measure::Backlog, Measure::Unanswered];
    parts.extend(levels.map(|measure| part(&measure, Reduction::LevelAge)));
    parts.extend(levels.map(|measure| part(&measure, Reduction::LevelChange)));
    let group_by = vec![Dimension::Team, Dimension::Agent, Dimension::Tag];
    let plan = Plan { parts, filter: Filter::Everything, group_by, cut };
    let rows =
        collect(&partition.reader().view(), names, names.symbol("t"), &plan, &Contacts::default()).expect("few rows");
    rows.into_iter().filter(|(_, partials)| partials.iter().any(|partial| partial.count != 0)).collect()
}

/// The facts that stand in a partition, by readable names.
fn standing(partition: &Partition, names: &Names) -> BTreeMap<String, i64> {
    let reader = partition.reader();
    let view = reader.view();
    let mut facts = BTreeMap::new();
    for measure in Measure::ALL {
        let all = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };
        view.facts(names.symbol("t"), *measure, all, |fact: StoredFact| {
            let key = readable(*measure, fact.at_ms, names.values(fact.series), fact.value, names);
            *facts.entry(key).or_insert(0) += fact.weight.sign();
        });
    }
    facts.retain(|_, count| *count != 0);
    facts
}

fn readable(measure: Measure, at_ms: i64, values: Option<&DimensionValues>, value: i64, names: &Names) -> String {
    let values = values.expect("a series has values");
    let dimensions: Vec<String> = Dimension::STANDARD
        .iter()
        .filter_map(|dimension| Some(format!("{dimension}={}", names.text(values.get(dimension)?))))
        .collect();
    let mut tags: Vec<&str> = values.tags().iter().map(|tag| names.text(*tag)).collect();
    tags.sort_unstable();
    tags.extend(values.custom(names.symbol("plan")).map(|plan| names.text(plan)));
    format!("{} at {at_ms} {} {} = {value}", measure.name(), dimensions.join(" "), tags.join("+"))
}

/// The facts of folding each conversation's set of events once.
fn folded_once(sketches: &[Sketch]) -> BTreeMap<String, i64> {
    let names = Names::default();
    let mut timelines: Vec<Timeline> = (0..CONVERSATIONS).map(|_| Timeline::default()).collect();
    for (number, sketch) in sketches.iter().enumerate() {
        timelines[sketch.conversation].add(sketch.event(number, sketches, &names), &names);
    }
    let mut all: Vec<Fact> = Vec::new();
    for timeline in &timelines {
        all.extend(fold(&timeline.active(&names), &names).1);
    }
    cancel(&mut all);
    let mut facts = BTreeMap::new();
    for fact in all {
        let key = readable(fact.measure, fact.at.millis(), names.values(fact.series), fact.value, &names);
        *facts.entry(key).or_insert(0) += fact.weight.sign();
    }
    facts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_order_duplication_and_retraction_gives_the_snapshot_of_folding_the_set_once(
        sketches in sketches(), seed in any::<u64>(), repeats in prop::collection::vec(any::<Index>(), 0..12)
    ) {
        let in_order: Vec<usize> = (0..sketches.len()).collect();
        let mut order: Vec<usize> = in_order.clone();
        order.extend(repeats.iter().map(|index| index.index(sketches.len())));
        Random(seed).shuffle(&mut order);

        let (straight, straight_names, _) = apply(&sketches, &in_order, 1, seed);
        let (shuffled, shuffled_names, added) = apply(&sketches, &order, 6, seed);

        let duplicates = added.iter().filter(|added| **added == Added::Duplicate).count();
        prop_assert_eq!(duplicates, order.len() - sketches.len());
        prop_assert!(!added.contains(&Added::Conflict));
        let facts = standing(&shuffled, &shuffled_names);
        prop_assert_eq!(&facts, &standing(&straight, &straight_names));
        prop_assert_eq!(&facts, &folded_once(&sketches));
        prop_assert_eq!(everything(&shuffled, &shuffled_names), everything(&straight, &straight_names));
    }

    #[test]
    fn levels_are_never_negative_and_end_where_the_flows_lead(sketches in sketches()) {
        let order: Vec<usize> = (0..sketches.len()).collect();
        let (partition, names, _) = apply(&sketches, &order, 3, 1);
        let reader = partition.reader();
        let count = |measure| {
            let mut count = 0;
            let all = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };
            reader.view().facts(names.symbol("t"), measure, all, |fact| count += fact.weight.sign());
            count
        };
        let flow = count(Measure::Opened) + count(Measure::Reopened) - count(Measure::Resolution);
        prop_assert_eq!(count(Measure::Backlog), flow);
        prop_assert_eq!(count(Measure::Unanswered), count(Measure::WaitOpen));
        for measure in [Measure::Backlog, Measure::Unanswered] {
            let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
            let all = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };
            reader.view().facts(names.symbol("t"), measure, all, |fact| {
                *changes.entry(fact.at_ms).or_default() += fact.weight.sign();
            });
            let mut level = 0;
            for change in changes.values() {
                level += change;
                prop_assert!(level >= 0, "{} falls to {level}", measure.name());
            }
        }
        // What is counted by now: stated and not taken back, never less than nothing.
        for (fact, count) in standing(&partition, &names) {
            prop_assert!(count > 0 || fact.starts_with("backlog") || fact.starts_with("unanswered"), "{count} × {fact}");
        }
    }
}
