//! The events of one subject, in order, each once.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::event::{Event, EventId, Payload};
use crate::series::{Names, Symbol};

/// From how many events on a timeline keeps an index of its ids.
const INDEX_FROM: usize = 64;

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

/// The events of one subject: a set, kept in order of time, then of `sequence` among those that have one, then of id.
///
/// This is the deduplication: an id is kept once, for ever.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    events: Vec<Event>,
    /// What has been taken back; the events may be here, not yet here or never come.
    retracted: HashSet<EventId>,
    /// The ids here, once there are many.
    index: HashSet<EventId>,
}

impl Timeline {
    /// Adds an event.
    pub fn add(&mut self, event: Event, names: &Names) -> Added {
        if let Some(known) = self.find(&event.id) {
            return if *known == event { Added::Duplicate } else { Added::Conflict };
        }
        if self.events.len() >= INDEX_FROM {
            if self.index.is_empty() {
                self.index = self.events.iter().map(|event| event.id.clone()).collect();
            }
            self.index.insert(event.id.clone());
        }
        let changes_others = match &event.payload {
            Payload::Retracted(id) => {
                self.retracted.insert(id.clone());
                true
            }
            Payload::SentimentScored { .. } => true,
            Payload::Opened(_) => !self.events.is_empty(),
            Payload::StatusChanged { .. }
            | Payload::Assigned { .. }
            | Payload::Updated(_)
            | Payload::MessageCreated { .. } => self.retracted.contains(&event.id),
        };
        let last = self.insert(event, names);
        if last && !changes_others { Added::Last } else { Added::Within }
    }

    fn find(&self, id: &EventId) -> Option<&Event> {
        if !self.index.is_empty() && !self.index.contains(id) {
            return None;
        }
        self.events.iter().find(|event| event.id == *id)
    }

    /// Puts a new event in its place; true when that is the last.
    fn insert(&mut self, event: Event, names: &Names) -> bool {
        let from = self.events.partition_point(|other| other.time < event.time);
        let equals = self.events[from..].partition_point(|other| other.time == event.time);
        if equals == 0 {
            self.events.insert(from, event);
            return from + 1 == self.events.len();
        }
        let id = event.id.clone();
        let mut group: Vec<Event> = self.events.drain(from..from + equals).collect();
        let before: Vec<EventId> = group.iter().map(|event| event.id.clone()).collect();
        group.push(event);
        let group = in_order(group, names);
        let same_before = group.iter().map(|event| &event.id).take(before.len()).eq(&before);
        let at_end = same_before && group.last().is_some_and(|last| last.id == id);
        self.events.splice(from..from, group);
        at_end && from + equals + 1 == self.events.len()
    }

    /// The events that count, in order: neither retracted nor retractions.
    pub fn active(&self) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(|event| !matches!(event.payload, Payload::Retracted(_)) && !self.retracted.contains(&event.id))
    }

    /// The events that counted, in order, before the event `new` was added.
    pub fn active_before<'a>(&'a self, new: &'a EventId) -> impl Iterator<Item = &'a Event> {
        let taken_back_by = |event: &'a Event| match &event.payload {
            Payload::Retracted(target) => Some(target),
            _ => None,
        };
        let newly_retracted = self
            .find(new)
            .and_then(taken_back_by)
            .filter(|target| !self.events.iter().any(|e| e.id != *new && taken_back_by(e) == Some(target)));
        self.events.iter().filter(move |event| {
            event.id != *new
                && !matches!(event.payload, Payload::Retracted(_))
                && (newly_retracted == Some(&event.id) || !self.retracted.contains(&event.id))
        })
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

/// Events of one instant in their order: by sequence where both have one, else by id.
///
/// That rule alone is no total order (an event without a sequence can stand both before and after a pair of others).
/// Merging the two sorted halves by id follows it wherever it is one, and is a function of the set everywhere.
fn in_order(group: Vec<Event>, names: &Names) -> Vec<Event> {
    let by_id = |a: &Event, b: &Event| compare_ids(&a.id, &b.id, names);
    let (mut numbered, mut others): (Vec<Event>, Vec<Event>) =
        group.into_iter().partition(|event| event.sequence.is_some());
    numbered.sort_by(|a, b| a.sequence.cmp(&b.sequence).then_with(|| by_id(a, b)));
    others.sort_by(by_id);
    let mut merged = Vec::with_capacity(numbered.len() + others.len());
    let (mut numbered, mut others) = (numbered.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let next = match (numbered.peek(), others.peek()) {
            (Some(a), Some(b)) if by_id(a, b).is_gt() => others.next(),
            (Some(_), _) => numbered.next(),
            (None, _) => others.next(),
        };
        match next {
            Some(event) => merged.push(event),
            None => return merged,
        }
    }
}

fn compare_ids(a: &EventId, b: &EventId, names: &Names) -> Ordering {
    let source = |symbol: Symbol| names.text(symbol);
    a.id.cmp(&b.id).then_with(|| source(a.source).cmp(source(b.source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Visibility};
    use crate::time::Timestamp;

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

    fn ids(timeline: &Timeline) -> String {
        timeline.active().map(|event| &*event.id.id).collect::<Vec<_>>().join(" ")
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
                orders.insert(ids(&timeline));
            }
        }
        assert_eq!(orders.into_iter().collect::<Vec<_>>(), ["b m z a q"]);
    }

    #[test]
    fn a_retraction_works_before_and_after_the_event_it_takes_back() {
        let names = Names::default();
        let retraction = Event {
            payload: Payload::Retracted(EventId { source: names.symbol("s"), id: "b".into() }),
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
        assert_eq!(ids(&after), "a c");
        assert_eq!(ids(&before), "a c");
    }
}
