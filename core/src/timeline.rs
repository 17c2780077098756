//! The events of one subject, in order, each once.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;

use foldhash::fast::{FixedState, RandomState};

use crate::event::{Event, EventId, Payload};
use crate::series::Names;
use crate::time::Timestamp;

/// From how many events on a timeline keeps an index of its ids.
const INDEX_FROM: usize = 64;

/// From how many events on a timeline is put away in weeks.
const WEEKS_FROM: usize = 64;
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// The number of a week and its events.
type Week<'a> = (i64, &'a [Event]);

fn week_of(event: &Event) -> i64 {
    event.time.millis().div_euclid(WEEK_MS)
}

/// What adding an event to a timeline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The event is new and comes after all others.
    Last,
    /// The event is new and comes before others, or changes what others mean.
    Within,
    /// The event was known, with the same content. Nothing changed.
    Duplicate,
    /// Another event has this id. The first one stays; nothing changed.
    Conflict,
}

/// The events of one subject: a set, kept by time.
///
/// This is the deduplication: an id is kept once, for ever.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    events: Vec<Event>,
    /// A bit for each id here, by its hash; ids may share one. An id whose bit is not set is new.
    seen: u64,
    /// What most timelines do without.
    large: Option<Box<Large>>,
}

/// What a timeline of many events or with retractions has beside them.
#[derive(Debug, Clone, Default)]
struct Large {
    /// What has been taken back; the events may be here, not yet here or never come.
    retracted: HashSet<EventId, RandomState>,
    /// The ids here and their instants, once there are many.
    index: HashMap<EventId, Timestamp, RandomState>,
    /// Whether it has been put away in weeks.
    in_weeks: bool,
    /// The weeks that have changed since.
    changed_weeks: Vec<i64>,
}

impl Timeline {
    /// Adds an event.
    pub fn add(&mut self, event: Event, names: &Names) -> Added {
        if let Some(known) = self.find(&event.id) {
            return if *known == event { Added::Duplicate } else { Added::Conflict };
        }
        if self.events.len() >= INDEX_FROM {
            let index = &mut self.large.get_or_insert_default().index;
            if index.is_empty() {
                index.extend(self.events.iter().map(|event| (event.id.clone(), event.time)));
            }
            index.insert(event.id.clone(), event.time);
        }
        if let Some(large) = self.large.as_mut().filter(|large| large.in_weeks)
            && !large.changed_weeks.contains(&week_of(&event))
        {
            large.changed_weeks.push(week_of(&event));
        }
        self.seen |= bit(&event.id);
        let changes_others = if let Payload::Retracted(id) = &event.payload {
            self.large.get_or_insert_default().retracted.insert((**id).clone());
            true
        } else {
            self.is_retracted(&event.id)
        };
        let last = self.insert(event, names);
        if last && !changes_others { Added::Last } else { Added::Within }
    }

    fn find(&self, id: &EventId) -> Option<&Event> {
        if self.seen & bit(id) == 0 {
            return None;
        }
        let mut among = self.events.as_slice();
        if let Some(index) = self.large.as_ref().map(|large| &large.index).filter(|index| !index.is_empty()) {
            let time = *index.get(id)?;
            let from = among.partition_point(|event| event.time < time);
            among = &among[from..];
        }
        among.iter().find(|event| event.id == *id)
    }

    fn is_retracted(&self, id: &EventId) -> bool {
        self.large.as_ref().is_some_and(|large| large.retracted.contains(id))
    }

    /// Puts a new event behind those of its time or earlier; true when it comes after all others in order, too.
    fn insert(&mut self, event: Event, names: &Names) -> bool {
        if self.events.last().is_none_or(|last| last.time < event.time) {
            self.events.push(event);
            return true;
        }
        let place = self.events.partition_point(|other| other.time <= event.time);
        let same_time = self.events[..place].iter().rev().take_while(|other| other.time == event.time);
        let after_those = |other: &Event| {
            other.sequence.is_some() == event.sequence.is_some() && compare(other, &event, names).is_lt()
        };
        let last = place == self.events.len() && same_time.into_iter().all(after_those);
        self.events.insert(place, event);
        last
    }

    /// The events that count, in no order: neither retracted nor retractions.
    pub fn active(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.payload.takes_back().is_none() && !self.is_retracted(&event.id))
    }

    /// The events that counted before the event `new` was added, in no order.
    pub fn active_before<'a>(&'a self, new: &EventId) -> impl Iterator<Item = &'a Event> {
        let newly_retracted = self.find(new).and_then(|event| event.payload.takes_back()).filter(|target| {
            let takes_it_back = |event: &Event| event.payload.takes_back() == Some(target);
            !self.events.iter().any(|event| event.id != *new && takes_it_back(event))
        });
        let new = new.clone();
        self.events.iter().filter(move |event| {
            let active = newly_retracted == Some(&event.id) || !self.is_retracted(&event.id);
            event.payload.takes_back().is_none() && event.id != new && active
        })
    }

    /// A timeline of these events, all of which were put away, in weeks or not.
    pub(crate) fn restored(mut events: Vec<Event>, in_weeks: bool) -> Self {
        events.sort_by_key(|event| event.time);
        let seen = events.iter().fold(0, |seen, event| seen | bit(&event.id));
        let retracted: HashSet<EventId, RandomState> =
            events.iter().filter_map(|event| event.payload.takes_back()).cloned().collect();
        let is_large = in_weeks || !retracted.is_empty();
        let large = is_large.then(|| Box::new(Large { retracted, in_weeks, ..Large::default() }));
        Self { events, seen, large }
    }

    /// What has to be written to put it away: all events of a short one, else the weeks that have changed.
    pub(crate) fn unsaved(&self) -> (Option<&[Event]>, Vec<Week<'_>>) {
        let in_weeks = self.large.as_ref().filter(|large| large.in_weeks);
        if self.events.len() < WEEKS_FROM && in_weeks.is_none() {
            return (Some(&self.events), Vec::new());
        }
        let weeks = self.events.chunk_by(|a, b| week_of(a) == week_of(b)).filter_map(|events| {
            let week = week_of(events.first()?);
            in_weeks.is_none_or(|large| large.changed_weeks.contains(&week)).then_some((week, events))
        });
        (None, weeks.collect())
    }

    /// What [`Self::unsaved`] gave has been written.
    pub(crate) fn saved(&mut self) {
        if self.events.len() >= WEEKS_FROM {
            self.large.get_or_insert_default().in_weeks = true;
        }
        if let Some(large) = &mut self.large {
            large.changed_weeks.clear();
        }
    }

    /// About how much memory the events take.
    pub(crate) fn bytes(&self) -> usize {
        const EVENT_HEAP: usize = 24;
        let large = |large: &Large| {
            size_of::<Large>()
                + large.retracted.capacity() * size_of::<EventId>()
                + large.index.capacity() * size_of::<(EventId, Timestamp)>()
        };
        self.events.capacity() * size_of::<Event>()
            + self.events.len() * EVENT_HEAP
            + self.large.as_ref().map_or(0, |it| large(it))
    }

    /// The last event, retracted or not.
    #[must_use]
    pub fn last(&self) -> Option<&Event> {
        self.events.last()
    }

    /// How many events there are, retracted ones and retractions included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The bit of an id in [`Timeline::seen`].
fn bit(id: &EventId) -> u64 {
    1 << (FixedState::default().hash_one(id) >> 58)
}

/// Events in their order: by time, among those of one instant by sequence where both have one, else by id.
///
/// That rule alone is no total order (an event without a sequence can stand both before and after a pair of others).
/// Merging those with and those without a sequence by id follows it wherever it is one, and is a function of the set of
/// events that count everywhere.
pub fn in_order<'a>(events: impl Iterator<Item = &'a Event>, names: &Names) -> Vec<&'a Event> {
    let mut events: Vec<&Event> = events.collect();
    events.sort_by_key(|event| event.time);
    let mut ordered = Vec::with_capacity(events.len());
    for instant in events.chunk_by(|a, b| a.time == b.time) {
        if let [only] = instant {
            ordered.push(*only);
            continue;
        }
        let (mut numbered, mut others): (Vec<&Event>, Vec<&Event>) =
            instant.iter().partition(|event| event.sequence.is_some());
        numbered.sort_by(|a, b| compare(a, b, names));
        others.sort_by(|a, b| compare(a, b, names));
        let mut others = others.into_iter().peekable();
        for event in numbered {
            while let Some(other) = others.next_if(|other| compare(other, event, names).is_lt()) {
                ordered.push(other);
            }
            ordered.push(event);
        }
        ordered.extend(others);
    }
    ordered
}

/// Two events of one instant: by sequence where both have one, then by id, then by source.
fn compare(a: &Event, b: &Event, names: &Names) -> Ordering {
    let sequences = a.sequence.zip(b.sequence).map_or(Ordering::Equal, |(a, b)| a.cmp(&b));
    let source = |event: &Event| event.id.source;
    sequences.then_with(|| a.id.id.cmp(&b.id.id)).then_with(|| names.text(source(a)).cmp(names.text(source(b))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Visibility};

    fn message(names: &Names, id: &str, ms: i64, sequence: Option<u64>) -> Event {
        Event {
            id: EventId { source: names.symbol("s"), id: id.into() },
            time: Timestamp::clamped(ms),
            sequence,
            attributes: Box::default(),
            payload: Payload::MessageCreated {
                actor: Actor::Customer,
                visibility: Visibility::Public,
                quick_reply: None,
                sentiment: None,
            },
        }
    }

    fn ids(timeline: &Timeline, names: &Names) -> String {
        in_order(timeline.active(), names).iter().map(|event| &*event.id.id).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_id_is_kept_once_and_other_content_is_a_conflict() {
        let names = Names::default();
        let mut timeline = Timeline::default();
        for n in 0..200 {
            assert_eq!(timeline.add(message(&names, &n.to_string(), n, None), &names), Added::Last);
        }
        for n in 0..200 {
            assert_eq!(timeline.add(message(&names, &n.to_string(), n, None), &names), Added::Duplicate);
            assert_eq!(timeline.add(message(&names, &n.to_string(), n + 1, None), &names), Added::Conflict);
        }
        assert_eq!(timeline.len(), 200);
    }

    #[test]
    fn equal_times_are_ordered_by_sequence_then_by_id_whatever_the_arrival() {
        let names = Names::default();
        let events = [("z", Some(1)), ("a", Some(2)), ("m", None), ("b", None), ("q", Some(2))];
        let mut orders = std::collections::BTreeSet::new();
        for first in 0..events.len() {
            for second in 0..events.len() {
                let mut timeline = Timeline::default();
                let mut list = events.to_vec();
                list.swap(0, first);
                list.swap(1, second);
                for (id, sequence) in list {
                    timeline.add(message(&names, id, 5, sequence), &names);
                }
                orders.insert(ids(&timeline, &names));
            }
        }
        assert_eq!(orders.into_iter().collect::<Vec<_>>(), ["b m z a q"]);
    }

    #[test]
    fn a_retraction_works_before_and_after_the_event_it_takes_back() {
        let names = Names::default();
        let retraction = Event {
            payload: Payload::Retracted(Box::new(EventId { source: names.symbol("s"), id: "b".into() })),
            ..message(&names, "r", 9, None)
        };
        let events = [message(&names, "a", 1, None), message(&names, "b", 2, None), message(&names, "c", 3, None)];
        let mut after = Timeline::default();
        let mut before = Timeline::default();
        before.add(retraction.clone(), &names);
        for event in events {
            after.add(event.clone(), &names);
            before.add(event, &names);
        }
        after.add(retraction, &names);
        assert_eq!(ids(&after, &names), "a c");
        assert_eq!(ids(&before, &names), "a c");
    }
}
