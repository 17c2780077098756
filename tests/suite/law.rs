//! The law everything rests on: the answer is a function of the set of events.

#[path = "law/archive.rs"]
mod archive;
#[path = "law/sketch.rs"]
mod sketch;
#[path = "law/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use deskpulse_core::fact::{Anchor, Clock, Measure};
use deskpulse_core::snapshot::{Group, Reduction};
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::Random;
use sketch::{INSTANTS, START_MS, sketches};
use world::{World, is_level};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_order_duplication_batching_and_partitioning_gives_what_folding_the_set_once_gives(
        sketches in sketches(), seed in any::<u64>(), repeats in prop::collection::vec(any::<Index>(), 0..12),
        partitions in 1..4u32, configured in 0..3usize, now in 0..INSTANTS.len()
    ) {
        let in_order: Vec<usize> = (0..sketches.len()).collect();
        let mut order: Vec<usize> = in_order.clone();
        order.extend(repeats.iter().map(|index| index.index(sketches.len())));
        Random(seed).shuffle(&mut order);
        let now = Timestamp::clamped(START_MS + INSTANTS[now] + 500);

        // Everything in one block: each timeline is folded once.
        let mut once = World::new(1, now);
        once.configure();
        once.apply_batch(&sketches, &in_order);
        // Bit by bit, with the configuration before, in the middle or after, and an older clock at first.
        let mut shuffled = World::new(partitions, Timestamp::clamped(START_MS));
        let (first, second) = order.split_at(order.len() * configured / 2);
        shuffled.apply(&sketches, first, 6, seed);
        shuffled.configure();
        shuffled.apply(&sketches, second, 6, seed);
        shuffled.now = now;
        shuffled.partitions.iter_mut().for_each(|partition| partition.fire(now));

        let duplicates = shuffled.added.iter().filter(|added| **added == Added::Duplicate).count();
        prop_assert_eq!(duplicates, order.len() - sketches.len());
        prop_assert!(!shuffled.added.contains(&Added::Conflict));
        prop_assert_eq!(shuffled.standing(), once.standing());
        prop_assert_eq!(shuffled.everything(), once.everything());
    }

    #[test]
    fn levels_are_never_negative_and_end_where_the_flows_lead(sketches in sketches()) {
        let order: Vec<usize> = (0..sketches.len()).collect();
        let mut world = World::new(1, Timestamp::MAX);
        world.configure();
        world.apply(&sketches, &order, 3, 1);
        let mut counts: BTreeMap<Measure, i64> = BTreeMap::new();
        let mut changes: BTreeMap<Measure, BTreeMap<i64, i64>> = BTreeMap::new();
        world.facts(|key, fact| {
            if (key.anchor, key.clock) == (Anchor::Completion, Clock::Calendar) {
                *counts.entry(key.measure).or_default() += fact.weight.sign();
            }
            if is_level(key.measure) {
                *changes.entry(key.measure).or_default().entry(fact.at_ms).or_default() += fact.weight.sign();
            }
        });
        let count = |measure| counts.get(&measure).copied().unwrap_or(0);
        let flow = count(Measure::Opened) + count(Measure::Reopened) - count(Measure::Resolution);
        prop_assert_eq!(count(Measure::Backlog), flow);
        prop_assert_eq!(count(Measure::Unanswered), count(Measure::WaitOpen));
        // As everything scheduled is over, every stretch has its end.
        for ended in [Measure::Scheduled, Measure::Adherent, Measure::Paid, Measure::PaidWorking, Measure::Productive] {
            prop_assert_eq!(count(ended), 0);
        }
        for (measure, changes) in changes {
            let mut level = 0;
            for change in changes.values() {
                level += change;
                prop_assert!(level >= 0, "{} falls to {level}", measure.name());
            }
        }
        // What is counted by now: stated and not taken back, never less than nothing.
        for (fact, count) in world.standing() {
            let level = Measure::ALL.iter().any(|measure| is_level(*measure) && fact.starts_with(measure.name()));
            prop_assert!(count > 0 || level, "{count} × {fact}");
        }
    }

    #[test]
    fn net_flow_equals_the_difference_of_two_backlogs(sketches in sketches()) {
        let order: Vec<usize> = (0..sketches.len()).collect();
        let mut world = World::new(2, Timestamp::MAX);
        world.apply(&sketches, &order, 3, 1);
        // Interval by interval, the first from before anything happened.
        let flows = world.levels(Measure::Backlog, Reduction::LevelChange);
        let levels = world.levels(Measure::Backlog, Reduction::Level);
        let groups: BTreeSet<&Group> = flows.keys().chain(levels.keys()).map(|(_, group)| group).collect();
        for group in groups {
            let mut grown = 0;
            for bucket in 0..7 {
                let key = (bucket, group.clone());
                grown += flows.get(&key).map_or(0, |flow| flow.distribution.sum());
                let backlog = levels.get(&key).map_or(0, |level| level.count);
                prop_assert_eq!(i128::from(backlog), grown);
            }
        }
    }
}

proptest! {
    // Each with a dozen starts: fewer of them.
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn putting_away_giving_up_and_starting_again_changes_nothing(
        sketches in sketches(), seed in any::<u64>(), partitions in 1..4u32, configured in 0..3usize,
        now in 0..INSTANTS.len()
    ) {
        let mut order: Vec<usize> = (0..sketches.len()).collect();
        Random(seed).shuffle(&mut order);
        let now = Timestamp::clamped(START_MS + INSTANTS[now] + 500);
        let (first, second) = order.split_at(order.len() * configured / 2);
        let mut straight = World::new(1, now);
        straight.apply_batch(&sketches, first);
        straight.configure();
        straight.apply_batch(&sketches, second);

        let mut interrupted = World::new(partitions, Timestamp::clamped(START_MS));
        interrupted.apply_with_interruptions(&sketches, first, 6, seed);
        interrupted.configure();
        interrupted.apply_with_interruptions(&sketches, second, 6, seed);
        interrupted.now = now;
        interrupted.partitions.iter_mut().for_each(|partition| partition.fire(now));
        prop_assert!(!interrupted.added.iter().any(|added| matches!(added, Added::Conflict | Added::Duplicate)));
        prop_assert_eq!(interrupted.standing(), straight.standing());
        prop_assert_eq!(interrupted.everything(), straight.everything());

        (0..interrupted.partitions.len()).for_each(|number| interrupted.put_away(number));
        (0..interrupted.partitions.len()).for_each(|number| interrupted.put_away(number));
        prop_assert_eq!(interrupted.standing(), straight.standing());
        prop_assert_eq!(interrupted.everything(), straight.everything());
    }
}
