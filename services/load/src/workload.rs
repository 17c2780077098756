//! The canonical workload: a week of contact centres' events, in the order of arrival.
//!
//! Its distributions are those of the reference generator: 50 tenants by zipf 1.1 (the first has 26 %), five channels, 40
//! teams, 2,000 agents, 400 topics; 9.4 events a conversation; first responses lognormal by channel, 20 s (voice) to 2 h
//! (email) in the median; 96 % answered, 91.5 % of those resolved, 8 % of those reopened; 2 % of the events are late (median
//! 5 min, at most 2 h) and 1 % of the rows second deliveries. The numbers drawn are our own, so that the same seed gives
//! other events than there.

use crate::random::{Random, Weights, mixed, whole};
use crate::row::{Channel, Kind, Row, WEEK_MS, WEEK_START_MS};

pub(crate) const TENANTS: u16 = 50;
const TEAMS: u16 = 40;
const AGENTS_A_TEAM: u16 = 50;
const TOPICS: u16 = 400;
const MINUTES: u32 = 7 * 1_440;
const SECOND_MS: f64 = 1_000.0;

/// The median of the first response, and its sigma.
fn first_response(channel: Channel) -> (f64, f64) {
    match channel {
        Channel::Chat => (45.0 * SECOND_MS, 0.9),
        Channel::Email => (7_200.0 * SECOND_MS, 1.1),
        Channel::Voice => (20.0 * SECOND_MS, 0.8),
        Channel::Social => (900.0 * SECOND_MS, 1.2),
        Channel::Sms => (180.0 * SECOND_MS, 1.0),
    }
}

/// What all events of a conversation share.
#[derive(Debug, Clone, Copy)]
struct Conversation {
    tenant: u16,
    team: u16,
    agent: u16,
    topic: u16,
    channel: Channel,
    priority: u8,
}

/// A delivery: 20 bytes, so that 10 million take 200 MB. Times are counted from the week's start.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    received_ms: u32,
    time_ms: u32,
    conversation: u32,
    /// The event's number; that of a second delivery is the first's.
    event: u32,
    value: u16,
    kind: Kind,
    by_agent: bool,
}

/// The events of a week: made by [`generate`], read with [`Workload::rows`].
#[derive(Debug)]
pub struct Workload {
    seed: u64,
    conversations: Vec<Conversation>,
    deliveries: Vec<Delivery>,
    second: u32,
}

impl Workload {
    /// How many rows are second deliveries.
    #[must_use]
    pub fn second_deliveries(&self) -> u32 {
        self.second
    }

    /// How many conversations there are.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Every delivery in the order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.deliveries.iter().filter_map(|delivery| {
            let conversation = self.conversations.get(delivery.conversation as usize)?;
            let mut event_id = [0; 16];
            let (high, low) = event_id.split_at_mut(8);
            let place = mixed(!self.seed).wrapping_add(2 * u64::from(delivery.event));
            high.copy_from_slice(&mixed(mixed(place)).to_le_bytes());
            low.copy_from_slice(&mixed(mixed(place + 1)).to_le_bytes());
            Some(Row {
                event_id,
                conversation: mixed(u64::from(delivery.conversation).wrapping_add(self.seed << 40)) >> 1,
                time_ms: WEEK_START_MS + i64::from(delivery.time_ms),
                received_ms: WEEK_START_MS + i64::from(delivery.received_ms),
                value: i32::from(delivery.value),
                tenant: conversation.tenant,
                team: conversation.team,
                agent: if delivery.by_agent { conversation.agent } else { 0 },
                topic: conversation.topic,
                kind: delivery.kind,
                channel: conversation.channel,
                priority: conversation.priority,
            })
        })
    }
}

/// Makes exactly `rows` deliveries, 1 % of them second ones. The same seed and number give the same rows.
///
/// Conversations are whole, but for those that run into the end of the week, and the last.
#[must_use]
pub fn generate(rows: u32, seed: u64) -> Workload {
    let second = (rows + 50) / 100;
    let events = rows - second;
    let mut conversations = Vec::new();
    let mut deliveries = Vec::with_capacity(rows as usize);
    let chances = Chances::new();
    let mut story = Vec::with_capacity(64);
    let mut number = 0;
    while number < events {
        let index = u32::try_from(conversations.len()).expect("as many as rows at most");
        let mut random = Random::new(seed, u64::from(index) + 1);
        conversations.push(chances.conversation(&mut random, &mut story));
        for (time_ms, kind, value, by_agent) in story.iter().copied().take((events - number) as usize) {
            let late = if random.chance(0.02) { random.lognormal(300e3, 1.0).min(7.2e6) } else { 0.0 };
            let received_ms = time_ms + 5 + short(random.exponential(120.0)) + short(late);
            deliveries.push(Delivery {
                received_ms,
                time_ms,
                conversation: index,
                event: number,
                value,
                kind,
                by_agent,
            });
            number += 1;
        }
    }
    let mut random = Random::new(seed, 0);
    let mut wanted = second;
    for event in 0..events {
        // As many as wanted of all, each as likely.
        let left = events - event;
        if wanted > 0 && random.unit() * f64::from(left) < f64::from(wanted) {
            wanted -= 1;
            let after = if random.chance(0.8) { random.between(1, 60_000) } else { random.between(60_000, 3_600_000) };
            if let Some(mut again) = deliveries.get(event as usize).copied() {
                again.received_ms += u32::try_from(after).expect("within the hour");
                deliveries.push(again);
            }
        }
    }
    deliveries.sort_unstable_by_key(|delivery| (delivery.received_ms, delivery.event));
    Workload { seed, conversations, deliveries, second }
}

/// Milliseconds that are few.
fn short(milliseconds: f64) -> u32 {
    u32::try_from(whole(milliseconds)).unwrap_or(u32::MAX / 4)
}

/// When, what, its value, and whether an agent did it.
type Happening = (u32, Kind, u16, bool);

/// The weights all conversations are drawn by.
struct Chances {
    tenants: Weights,
    channels: Weights,
    teams: Weights,
    topics: Weights,
    priorities: Weights,
    minutes: Weights,
    scores: Weights,
}

impl Chances {
    fn new() -> Self {
        let busy = |minute: u32| {
            let day = minute / 1_440;
            let wave = ((f64::from(minute) / 1_440.0 + 0.25) * std::f64::consts::TAU).sin();
            0.25 + wave.max(0.0) * if day >= 5 { 0.5 } else { 1.0 }
        };
        Self {
            tenants: Weights::zipf(TENANTS, 1.1),
            channels: Weights::new([0.35, 0.25, 0.20, 0.15, 0.05]),
            teams: Weights::zipf(TEAMS, 0.5),
            topics: Weights::zipf(TOPICS, 0.9),
            priorities: Weights::new([0.1, 0.2, 0.5, 0.2]),
            minutes: Weights::new((0..MINUTES).map(busy)),
            scores: Weights::new([0.08, 0.07, 0.15, 0.3, 0.4]),
        }
    }

    /// A conversation, and what happens in it before the end of the week, in the order of time.
    fn conversation(&self, random: &mut Random, story: &mut Vec<Happening>) -> Conversation {
        let number = |index: usize| u16::try_from(index).expect("weights are few");
        let tenant = number(self.tenants.pick(random)) + 1;
        let channel = Channel::ALL.get(self.channels.pick(random)).copied().unwrap_or(Channel::Chat);
        let team = number(self.teams.pick(random));
        let agent = team * AGENTS_A_TEAM + number(short(random.unit() * f64::from(AGENTS_A_TEAM)) as usize) + 1;
        let topic = number(self.topics.pick(random)) + 1;
        let priority = u8::try_from(self.priorities.pick(random) + 1).expect("there are four");
        self.tell(channel, random, story);
        Conversation { tenant, team: team + 1, agent, topic, channel, priority }
    }

    fn tell(&self, channel: Channel, random: &mut Random, story: &mut Vec<Happening>) {
        story.clear();
        let mut add = |at: i64, kind, value: i64, by_agent| {
            if at < WEEK_MS {
                let value = u16::try_from(value).expect("lengths and scores are small");
                story.push((u32::try_from(at).expect("within the week"), kind, value, by_agent));
            }
        };
        let (median, sigma) = first_response(channel);
        let minute = i64::try_from(self.minutes.pick(random)).expect("a week has few");
        let created = minute * 60_000 + random.between(0, 60_000);
        let response = random.lognormal(median, sigma).max(500.0);
        let response_ms = whole(response);
        add(created, Kind::Created, 0, false);
        add(created + random.between(200, 3_000), Kind::CustomerMessage, random.between(5, 600), false);
        add(created + whole(response * random.real(0.05, 0.6)), Kind::Assigned, 0, true);
        if random.chance(0.96) {
            let mut last = created + response_ms;
            add(last, Kind::AgentMessage, random.between(20, 900), true);
            for _ in 0..random.geometric(1.0 / 3.2) {
                let asked = random.lognormal(60e3, 1.0);
                let replied = random.lognormal(median * 0.6, 0.9);
                last += whole(asked + replied) + 400;
                add(last - whole(replied) - 1, Kind::CustomerMessage, random.between(5, 600), false);
                add(last, Kind::AgentMessage, random.between(20, 900), true);
            }
            if random.chance(0.915) {
                let resolved = last + whole(random.lognormal(120e3, 1.0)) + 500;
                add(resolved, Kind::Resolved, 0, true);
                if random.chance(0.08) {
                    let reopened = resolved + whole(random.lognormal(3.0 * 3_600e3, 1.0));
                    add(reopened, Kind::Reopened, 0, false);
                    add(reopened + response_ms / 2 + 300, Kind::AgentMessage, random.between(20, 900), true);
                    add(reopened + response_ms + 60_000, Kind::Resolved, 0, true);
                }
                if random.chance(0.25) {
                    let score = i64::try_from(self.scores.pick(random)).expect("there are five") + 1;
                    add(resolved + random.between(5_000, 3_600_000), Kind::SurveyAnswered, score, false);
                }
            }
        }
        story.sort_by_key(|(at, ..)| *at);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;

    /// What the reference generator made of a million events with seed 42: shares by kind, by channel and by tenant.
    const KINDS: [f64; 7] = [0.1064, 0.3283, 0.3299, 0.1061, 0.0994, 0.00705, 0.0229];
    const CHANNELS: [f64; 5] = [0.3547, 0.2440, 0.2014, 0.1503, 0.0496];
    const TENANT_SHARES: [(u16, f64); 4] = [(1, 0.2607), (2, 0.1206), (3, 0.0767), (10, 0.0205)];

    fn near(what: &str, have: f64, want: f64, tolerance: f64) {
        assert!((have - want).abs() <= want * tolerance, "{what} is {have}, not {want} within {tolerance}");
    }

    /// Rows without second deliveries, in the order of arrival.
    fn first_deliveries(workload: &Workload) -> Vec<Row> {
        let mut seen = HashSet::new();
        workload.rows().filter(|row| seen.insert(row.event_id)).collect()
    }

    #[test]
    fn a_seed_repeats_the_rows_and_another_does_not() {
        let rows = |seed| generate(5_000, seed).rows().collect::<Vec<_>>();
        assert_eq!(rows(1), rows(1));
        assert!(rows(1).iter().zip(&rows(2)).all(|(a, b)| a.event_id != b.event_id));
    }

    #[test]
    fn there_are_as_many_rows_as_asked_for_and_one_in_a_hundred_is_a_second_delivery() {
        for (rows, second) in [(1, 0), (49, 0), (50, 1), (100, 1), (20_000, 200)] {
            let workload = generate(rows, 3);
            assert_eq!(workload.rows().count(), rows as usize);
            assert_eq!(workload.second_deliveries(), second);
            assert_eq!(first_deliveries(&workload).len(), (rows - second) as usize);
        }
    }

    #[test]
    fn second_deliveries_are_the_same_event_within_the_hour_and_rows_come_in_the_order_of_arrival() {
        let workload = generate(50_000, 4);
        let mut first: HashMap<[u8; 16], Row> = HashMap::new();
        let (mut before, mut soon, mut second) = (0, 0, 0);
        for row in workload.rows() {
            assert!(row.received_ms >= before && row.received_ms >= row.time_ms + 5);
            assert!((WEEK_START_MS..WEEK_START_MS + WEEK_MS).contains(&row.time_ms));
            before = row.received_ms;
            let Some(earlier) = first.get(&row.event_id) else {
                first.insert(row.event_id, row);
                continue;
            };
            assert_eq!(Row { received_ms: earlier.received_ms, ..row }, *earlier);
            let after = row.received_ms - earlier.received_ms;
            assert!((1..3_600_000).contains(&after), "{after}");
            (second, soon) = (second + 1, soon + i32::from(after < 60_000));
        }
        near("second deliveries within a minute", f64::from(soon) / f64::from(second), 0.8, 0.06);
    }

    #[test]
    fn the_distributions_are_those_of_the_reference() {
        let workload = generate(400_000, 42);
        let rows = first_deliveries(&workload);
        let total = rows.len() as f64;
        near("events a conversation", total / workload.conversations() as f64, 9.4, 0.01);
        let share = |of: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| of(row)).count() as f64 / total;
        for (kind, want) in Kind::ALL.into_iter().zip(KINDS) {
            near(&format!("{kind:?}"), share(&|row| row.kind == kind), want, 0.05);
        }
        for (channel, want) in Channel::ALL.into_iter().zip(CHANNELS) {
            near(channel.name(), share(&|row| row.channel == channel), want, 0.03);
        }
        for (tenant, want) in TENANT_SHARES {
            near(&format!("tenant {tenant}"), share(&|row| row.tenant == tenant), want, 0.08);
        }
        let late = rows.iter().filter(|row| row.received_ms - row.time_ms > 5_000).count() as f64;
        near("late", late / total, 0.02, 0.05);
        assert!(rows.iter().all(|row| row.received_ms - row.time_ms < 7_300_000));
        let numbers = |of: &dyn Fn(&Row) -> u16| {
            let numbers: HashSet<u16> = rows.iter().map(of).collect();
            (numbers.len(), numbers.iter().min().copied(), numbers.iter().max().copied())
        };
        assert_eq!(numbers(&|row| row.team), (40, Some(1), Some(40)));
        assert_eq!(numbers(&|row| row.agent), (2_001, Some(0), Some(2_000)));
        assert_eq!(numbers(&|row| row.topic), (400, Some(1), Some(400)));
        assert_eq!(numbers(&|row| row.priority.into()), (4, Some(1), Some(4)));
        assert!(rows.iter().all(|row| row.agent == 0 || (row.agent - 1) / 50 + 1 == row.team));

        let scores: Vec<i32> = rows.iter().filter(|it| it.kind == Kind::SurveyAnswered).map(|it| it.value).collect();
        for (score, want) in [(1, 0.08), (2, 0.07), (3, 0.15), (4, 0.3), (5, 0.4)] {
            let have = scores.iter().filter(|it| **it == score).count() as f64 / scores.len() as f64;
            near(&format!("score {score}"), have, want, 0.1);
        }
    }

    #[test]
    fn first_responses_resolutions_and_reopenings_are_those_of_the_reference() {
        let workload = generate(400_000, 43);
        let mut conversations: HashMap<u64, Vec<Row>> = HashMap::new();
        for row in first_deliveries(&workload) {
            conversations.entry(row.conversation).or_default().push(row);
        }
        let mut responses: BTreeMap<Channel, Vec<i64>> = BTreeMap::new();
        let (mut old, mut answered, mut resolved, mut reopened) = (0, 0, 0, 0);
        for rows in conversations.values() {
            let first = |kind| rows.iter().filter(|row| row.kind == kind).map(|row| row.time_ms).min();
            let created = first(Kind::Created).expect("each is opened");
            // Those of the last two days may run into the end of the week.
            if created > WEEK_START_MS + 5 * 86_400_000 {
                continue;
            }
            old += 1;
            let Some(reply) = first(Kind::AgentMessage) else { continue };
            answered += 1;
            responses.entry(rows[0].channel).or_default().push(reply - created);
            resolved += i32::from(first(Kind::Resolved).is_some());
            reopened += i32::from(first(Kind::Reopened).is_some());
        }
        near("answered", f64::from(answered) / f64::from(old), 0.96, 0.01);
        near("resolved of those", f64::from(resolved) / f64::from(answered), 0.915, 0.01);
        near("reopened of those", f64::from(reopened) / f64::from(resolved), 0.08, 0.08);
        for (channel, times) in &mut responses {
            times.sort_unstable();
            near(channel.name(), times[times.len() / 2] as f64, first_response(*channel).0, 0.06);
        }
        assert_eq!(responses.len(), 5);
    }
}
