//! A realistic contact centre, made of a seed: for demonstrations, tests and benchmarks.
//!
//! The same seed gives the same events. Nothing here is anybody's data.

mod random;
mod story;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use deskpulse_proto::v1::Event;
use jiff::{SignedDuration, Timestamp};

use deskpulse_text::ask::wire_time;
use random::Random;
use story::{SOURCE, TENANT, tell};

const HOUR_MS: i64 = 3_600_000;
const WEEK_HOURS: i64 = 7 * 24;

/// A contact centre's week: conversations by email, chat, voice, social media and text message, of tenant and source
/// `demo`, more by day than by night and on weekdays than on weekends.
///
/// First responses have a median of 20 s by voice, 45 s in chat (without the bot's part), 3 min by text message, 15 min
/// in social media and 2 h by email.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Week {
    /// What all chance comes from.
    pub seed: u64,
    /// The week's first instant. Hours and weekdays are those of UTC.
    pub start: Timestamp,
    /// How many conversations begin in the week.
    pub conversations: u32,
}

impl Week {
    /// The week's end, exclusive.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start.saturating_add(SignedDuration::from_hours(WEEK_HOURS)).unwrap_or(Timestamp::MAX)
    }

    /// The events before the week's end, in the order of time. What is unfinished then, stays unfinished.
    pub fn events(&self) -> impl Iterator<Item = Event> + Send + use<> {
        let end = self.end().as_millisecond();
        let mut arrivals = self.arrivals().into_iter().zip(0..).peekable();
        let mut pending = Pending::default();
        let seed = self.seed;
        std::iter::from_fn(move || {
            while let Some((arrival, number)) =
                arrivals.next_if(|(arrival, _)| pending.next_time().is_none_or(|next| *arrival <= next))
            {
                pending.add(tell(seed, number, arrival));
            }
            pending.pop(end)
        })
    }

    /// When conversations begin, in order.
    fn arrivals(&self) -> Vec<i64> {
        let begin = self.start.as_millisecond();
        let mut total = 0.0;
        let hours: Vec<f64> = (0..WEEK_HOURS)
            .map(|hour| {
                total += busyness(begin + hour * HOUR_MS);
                total
            })
            .collect();
        let mut random = Random::new(self.seed, 0);
        let mut arrivals: Vec<i64> = (0..self.conversations)
            .map(|_| {
                let wanted = random.unit() * total;
                let hour = hours.partition_point(|sum| *sum <= wanted).min(hours.len() - 1);
                begin + HOUR_MS * i64::try_from(hour).unwrap_or(0) + random.below(HOUR_MS.unsigned_abs()).cast_signed()
            })
            .collect();
        arrivals.sort_unstable();
        arrivals
    }
}

/// How many contacts an hour brings, against the busiest.
fn busyness(time_ms: i64) -> f64 {
    const BY_HOUR: [f64; 24] = [
        0.06, 0.04, 0.03, 0.03, 0.04, 0.08, 0.18, 0.38, 0.68, 0.90, 1.00, 0.98, 0.85, 0.82, 0.90, 0.93, 0.88, 0.76,
        0.62, 0.52, 0.42, 0.30, 0.19, 0.11,
    ];
    // 1 January 1970 was a Thursday; Monday is 0.
    let day = (time_ms.div_euclid(24 * HOUR_MS) + 3).rem_euclid(7);
    let hour = usize::try_from(time_ms.div_euclid(HOUR_MS).rem_euclid(24)).unwrap_or(0);
    let weekday = match day {
        0 => 1.15,
        5 => 0.45,
        6 => 0.32,
        _ => 1.0,
    };
    BY_HOUR.get(hour).copied().unwrap_or(1.0) * weekday
}

/// Events that are still to happen, by time.
#[derive(Debug, Default)]
struct Pending {
    /// Time, number of the event among all, place in `events`.
    order: BinaryHeap<Reverse<(i64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    added: u64,
}

impl Pending {
    fn add(&mut self, events: Vec<(i64, Event)>) {
        for (time, event) in events {
            let place = self.free.pop().unwrap_or_else(|| {
                self.events.push(None);
                self.events.len() - 1
            });
            if let Some(slot) = self.events.get_mut(place) {
                *slot = Some(event);
            }
            self.order.push(Reverse((time, self.added, place)));
            self.added += 1;
        }
    }

    fn next_time(&self) -> Option<i64> {
        self.order.peek().map(|Reverse((time, _, _))| *time)
    }

    /// The next event before an instant.
    fn pop(&mut self, before: i64) -> Option<Event> {
        if self.next_time()? >= before {
            return None;
        }
        let Reverse((_, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.events.get_mut(place)?.take()
    }
}

/// What goes on after a week, without end.
#[derive(Debug)]
pub struct Live {
    seed: u64,
    /// Mean time between two beginnings of conversations, in milliseconds.
    gap_ms: f64,
    next_arrival: i64,
    next_number: u32,
    random: Random,
    pending: Pending,
}

/// Goes on from the end of a week: its unfinished conversations, and new ones at a steady rate by day and by night.
///
/// Deterministic: how often one asks for what is due changes nothing.
#[must_use]
pub fn live(week: &Week, conversations_per_minute: f64) -> Live {
    let end = week.end().as_millisecond();
    let mut pending = Pending::default();
    for (arrival, number) in week.arrivals().into_iter().zip(0..) {
        pending.add(tell(week.seed, number, arrival).into_iter().filter(|(time, _)| *time >= end).collect());
    }
    let mut live = Live {
        seed: week.seed,
        gap_ms: 60_000.0 / conversations_per_minute.max(0.001),
        next_arrival: end,
        next_number: week.conversations,
        random: Random::new(week.seed, u64::MAX),
        pending,
    };
    live.schedule();
    live
}

impl Live {
    /// The events up to an instant, exclusive, that were not handed over before, in the order of time.
    pub fn due(&mut self, until: Timestamp) -> Vec<Event> {
        let until = until.as_millisecond();
        while self.next_arrival < until {
            self.pending.add(tell(self.seed, self.next_number, self.next_arrival));
            self.next_number = self.next_number.wrapping_add(1);
            self.schedule();
        }
        std::iter::from_fn(|| self.pending.pop(until)).collect()
    }

    fn schedule(&mut self) {
        self.next_arrival += random::milliseconds(self.random.exponential(self.gap_ms)).max(1);
    }
}

/// An event of the demo's tenant at a time in milliseconds since 1970.
fn event(id: String, time_ms: i64, sequence: u64, payload: deskpulse_proto::v1::event::Payload) -> Event {
    Event {
        id,
        source: SOURCE.to_owned(),
        tenant: TENANT.to_owned(),
        time: Timestamp::from_millisecond(time_ms).ok().map(wire_time),
        sequence: Some(sequence),
        attributes: std::collections::HashMap::new(),
        payload: Some(payload),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use deskpulse_proto::v1::{ActorKind, ConversationStatus, event::Payload};

    use super::*;

    const WEEK: Week = Week { seed: 7, start: Timestamp::constant(1_767_571_200, 0), conversations: 4_000 };

    fn time(event: &Event) -> i64 {
        let time = event.time.as_ref().unwrap();
        time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
    }

    #[test]
    fn a_seed_gives_the_same_week_in_the_order_of_time_with_ids_of_their_own() {
        let events: Vec<Event> = WEEK.events().collect();
        assert_eq!(events, WEEK.events().collect::<Vec<_>>());
        assert_ne!(events, Week { seed: 8, ..WEEK }.events().collect::<Vec<_>>());
        assert!(events.is_sorted_by_key(time));
        assert_eq!(events.iter().map(|event| &event.id).collect::<BTreeSet<_>>().len(), events.len());
        let (first, last) = (time(&events[0]), time(events.last().unwrap()));
        assert!(first >= WEEK.start.as_millisecond() && last < WEEK.end().as_millisecond());
        let opened = events.iter().filter(|event| matches!(event.payload, Some(Payload::ConversationOpened(_))));
        assert_eq!(opened.count(), 4_000);
    }

    #[test]
    fn first_responses_are_about_as_fast_as_their_channel_is() {
        let mut opened = BTreeMap::new();
        let mut waits: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for event in (Week { conversations: 20_000, ..WEEK }).events() {
            match event.payload.as_ref().unwrap() {
                Payload::ConversationOpened(payload) if payload.initiator() == ActorKind::Customer => {
                    let channel = payload.dimensions.as_ref().unwrap().channel.clone();
                    opened.insert(payload.conversation.clone(), (time(&event), channel));
                }
                Payload::ConversationAssigned(assigned) if assigned.reason() == v1_reason() => {
                    if let Some(entry) = opened.get_mut(&assigned.conversation) {
                        entry.0 = time(&event);
                    }
                }
                Payload::MessageCreated(message) if message.actor.as_ref().unwrap().kind() == ActorKind::Agent => {
                    if let Some((begin, channel)) = opened.remove(&message.conversation) {
                        waits.entry(channel).or_default().push(time(&event) - begin);
                    }
                }
                _ => {}
            }
        }
        for (channel, seconds) in [("voice", 20), ("chat", 45), ("sms", 180), ("social", 900), ("email", 7_200)] {
            let waits = waits.get_mut(channel).unwrap();
            waits.sort_unstable();
            let median = waits[waits.len() / 2] / 1_000;
            assert!((seconds * 2 / 3..=seconds * 3 / 2).contains(&median), "{channel}: {median} s");
        }
    }

    fn v1_reason() -> deskpulse_proto::v1::AssignmentReason {
        deskpulse_proto::v1::AssignmentReason::Handoff
    }

    #[test]
    fn weekends_are_quiet_and_one_in_twelve_resolutions_is_undone() {
        let events: Vec<Event> = (Week { conversations: 20_000, ..WEEK }).events().collect();
        let mut by_day = [0; 7];
        let mut statuses = BTreeMap::new();
        let mut reopened = 0;
        for event in &events {
            match event.payload.as_ref().unwrap() {
                Payload::ConversationOpened(_) => {
                    let day = (time(event) - WEEK.start.as_millisecond()) / (24 * HOUR_MS);
                    by_day[usize::try_from(day).unwrap()] += 1;
                }
                Payload::ConversationStatusChanged(changed) => {
                    let before = statuses.insert(changed.conversation.clone(), changed.status());
                    let open = changed.status() == ConversationStatus::Open;
                    reopened += usize::from(open && before == Some(ConversationStatus::Resolved));
                }
                _ => {}
            }
        }
        // The week begins on a Monday.
        assert!(by_day[6] * 2 < by_day[1], "{by_day:?}");
        let share = reopened as f64 / 20_000.0;
        assert!((0.04..0.10).contains(&share), "{share}");
    }

    #[test]
    fn the_live_stream_goes_on_where_the_week_ends_however_often_it_is_asked() {
        let end = WEEK.end();
        let minutes = |count: i64| end.saturating_add(SignedDuration::from_mins(count)).unwrap();
        let mut at_once = live(&WEEK, 20.0);
        let all = at_once.due(minutes(60));
        let mut bit_by_bit = live(&WEEK, 20.0);
        let bits: Vec<Event> = (1..=60).flat_map(|minute| bit_by_bit.due(minutes(minute))).collect();
        assert_eq!(all, bits);
        assert!(all.is_sorted_by_key(time));
        assert!(all.iter().all(|event| time(event) >= end.as_millisecond()));
        let opened = all.iter().filter(|event| matches!(event.payload, Some(Payload::ConversationOpened(_)))).count();
        assert!((900..1_500).contains(&opened), "{opened}");
        let known: BTreeSet<String> = WEEK.events().map(|event| event.id).collect();
        assert!(all.iter().all(|event| !known.contains(&event.id)));
    }
}
