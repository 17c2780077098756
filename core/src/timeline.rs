//! The events of one subject, each once.
//!
//! They are kept as they are put away: written one after the other, in about a third of the memory they would take unpacked. An
//! event that comes in order is never read again unless its subject has to be folded.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher as _;

use foldhash::fast::{FixedState, RandomState};
use serde::{Deserialize, Serialize};

use crate::archive::{Unreadable, decode, encode};
use crate::event::{Event, EventId, Form, Packed as Id, PackedId, Payload};
use crate::series::{Names, Symbol};
use crate::time::Timestamp;

/// From how many events on a timeline is kept in weeks, with an index of its ids.
const WEEKS_FROM: u32 = 64;
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

fn week_of(time: Timestamp) -> i64 {
    time.millis().div_euclid(WEEK_MS)
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

/// What tells two events of one instant apart.
#[derive(Debug, Clone, Copy)]
struct Order<'a> {
    source: Symbol,
    id: Id<'a>,
    sequence: Option<u64>,
}

fn order(event: &Event) -> Order<'_> {
    Order { source: event.id.source, id: event.id.id.packed(), sequence: event.sequence }
}

/// Events, each after its length.
#[derive(Debug, Clone, Default)]
struct Packed(Vec<u8>);

/// An event as it is written: first, so that they can be read alone, its time in eight bytes and its id after its length or form; then
/// the rest, which begins with what [`order_of`] reads.
#[derive(Serialize, Deserialize)]
struct Rest<'a> {
    source: Symbol,
    sequence: Option<u64>,
    attributes: Cow<'a, [(Symbol, Option<Symbol>)]>,
    payload: Cow<'a, Payload>,
}

/// The most bytes before an id: the time, the form and, of a long text, its length in two.
const BEFORE_ID: usize = 8 + 1 + 2;
/// In the place of a text's length: what else stands there.
const DIGITS: u8 = 255;
const UUID: u8 = 254;
const LONG_TEXT: u8 = 253;

/// Room is made for so many bytes at least: two or three events.
const FEW: usize = 96;

/// The most bytes of a short event, its length included.
const SHORT: usize = 255;
/// In the place of the length of an event that is longer: four bytes follow with its length.
const LONG: u8 = u8::MAX;

impl Packed {
    fn push(&mut self, event: &Event) {
        let Event { id: EventId { source, id }, time, sequence, attributes, payload } = event;
        let id = id.packed();
        let rest = Rest {
            source: *source,
            sequence: *sequence,
            attributes: Cow::Borrowed(attributes),
            payload: Cow::Borrowed(payload),
        };
        let (head, used) = head(*time, id);
        let head = &head[..used];
        // In one piece, behind its length.
        let mut bytes = [0; SHORT];
        let (ids, before) = (1 + head.len(), 1 + head.len() + id.bytes.len());
        if before < SHORT {
            bytes[1..ids].copy_from_slice(head);
            bytes[ids..before].copy_from_slice(id.bytes);
            if let Ok(written) = postcard::to_slice(&rest, &mut bytes[before..]) {
                let end = before + written.len();
                bytes[0] = u8::try_from(end - 1).expect("below 255");
                if self.0.capacity() - self.0.len() < end {
                    // By half: most of a node's memory is timelines, and twice as much would leave a quarter of that empty.
                    self.0.reserve_exact(end.max(self.0.len() / 2).max(FEW));
                }
                self.0.extend_from_slice(&bytes[..end]);
                return;
            }
        }
        let rest = encode(&rest);
        self.0.push(LONG);
        let length = u32::try_from(head.len() + id.bytes.len() + rest.len());
        self.0.extend_from_slice(&length.expect("an event is far smaller than 4 GiB").to_le_bytes());
        for part in [head, id.bytes, &rest] {
            self.0.extend_from_slice(part);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (event, after) = split(rest)?;
            rest = after;
            Some(event)
        })
    }
}

/// What stands before an id, and how many bytes that takes.
fn head(time: Timestamp, id: Id) -> ([u8; BEFORE_ID], usize) {
    let mut head = [0; BEFORE_ID];
    head[..8].copy_from_slice(&time.millis().to_le_bytes());
    let length = u16::try_from(id.bytes.len()).expect("ids are shorter than 64 KiB");
    match (id.form, u8::try_from(length)) {
        (Form::Digits, _) => head[8] = DIGITS,
        (Form::Uuid, _) => head[8] = UUID,
        (Form::Text, Ok(length)) if length < LONG_TEXT => head[8] = length,
        (Form::Text, _) => {
            head[8] = LONG_TEXT;
            head[9..].copy_from_slice(&length.to_le_bytes());
            return (head, BEFORE_ID);
        }
    }
    (head, BEFORE_ID - 2)
}

/// The first event, without its length, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [LONG, a, b, c, d, rest @ ..] => rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [] => None,
    }
}

/// Time, id and the rest of an event as it is written.
fn parts(bytes: &[u8]) -> Option<(i64, Id<'_>, &[u8])> {
    let (time, bytes) = bytes.split_first_chunk()?;
    let (form, length, bytes) = match bytes {
        [DIGITS, bytes @ ..] => (Form::Digits, 16, bytes),
        [UUID, bytes @ ..] => (Form::Uuid, 16, bytes),
        [LONG_TEXT, a, b, bytes @ ..] => (Form::Text, u16::from_le_bytes([*a, *b]).into(), bytes),
        [length, bytes @ ..] => (Form::Text, usize::from(*length), bytes),
        [] => return None,
    };
    let (bytes, rest) = bytes.split_at_checked(length)?;
    Some((i64::from_le_bytes(*time), Id { form, bytes }, rest))
}

fn read(bytes: &[u8]) -> Result<Event, Unreadable> {
    let damaged = || Unreadable("an event is damaged".to_owned());
    let (time, id, rest) = parts(bytes).ok_or_else(damaged)?;
    let id = PackedId::unpacked(id).ok_or_else(damaged)?;
    let Rest { source, sequence, attributes, payload } = decode(rest)?;
    Ok(Event {
        id: EventId { source, id },
        time: Timestamp::from_millis(time).ok_or_else(damaged)?,
        sequence,
        attributes: attributes.into_owned().into(),
        payload: payload.into_owned(),
    })
}

/// What tells an event as it is written apart from others of its instant; its payload is not read.
fn order_of(bytes: &[u8]) -> Result<Order<'_>, Unreadable> {
    let (_, id, rest) = parts(bytes).ok_or_else(|| Unreadable("an event is damaged".to_owned()))?;
    let (source, sequence) = decode(rest)?;
    Ok(Order { source, id, sequence })
}

/// An event as it is written. What is in memory was written here or checked when it was read.
fn event(bytes: &[u8]) -> Event {
    read(bytes).expect("it was written here")
}

/// The events of one subject: a set.
///
/// This is the deduplication: an id is kept once, for ever.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// In the order they came, as long as there are few.
    few: Packed,
    count: u32,
    /// A bit for each id here, by its hash; ids may share one. An id whose bit is not set is new.
    seen: u64,
    /// The time of the last event.
    last: Option<Timestamp>,
    /// What most timelines do without.
    large: Option<Box<Large>>,
}

/// What a timeline of many events or with retractions has beside them.
#[derive(Debug, Clone, Default)]
struct Large {
    /// What has been taken back; the events may be here, not yet here or never come.
    retracted: HashSet<EventId, RandomState>,
    /// Once there are many: the ids here with their weeks and places there, and the events, week by week.
    index: HashMap<EventId, (i64, usize), RandomState>,
    weeks: BTreeMap<i64, Week>,
    /// What the weeks take, about.
    week_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Week {
    events: Packed,
    /// Whether it has changed since it was put away.
    is_unsaved: bool,
}

impl Week {
    /// What one takes beside its events, about.
    const BESIDE: usize = 100;
}

impl Large {
    fn push(&mut self, event: &Event) {
        let number = week_of(event.time);
        let week = self.weeks.entry(number).or_insert_with(|| {
            self.week_bytes += Week::BESIDE;
            Week::default()
        });
        let (place, before) = (week.events.0.len(), week.events.0.capacity());
        week.events.push(event);
        week.is_unsaved = true;
        self.week_bytes += week.events.0.capacity() - before;
        self.index.insert(event.id.clone(), (number, place));
    }
}

impl Timeline {
    /// Adds an event.
    pub fn add(&mut self, event: &Event, names: &Names) -> Added {
        let bit = bit(&event.id);
        if let Some(known) = (self.seen & bit != 0).then(|| self.find(&event.id)).flatten() {
            return if known == *event { Added::Duplicate } else { Added::Conflict };
        }
        let is_last = self.last.is_none_or(|last| last < event.time) || self.is_last_of_its_instant(event, names);
        self.last = self.last.max(Some(event.time));
        self.seen |= bit;
        self.push(event);
        let changes_others = if let Payload::Retracted(id) = &event.payload {
            self.large.get_or_insert_default().retracted.insert((**id).clone());
            true
        } else {
            self.is_retracted(&event.id)
        };
        if is_last && !changes_others { Added::Last } else { Added::Within }
    }

    fn push(&mut self, event: &Event) {
        self.count += 1;
        if self.count < WEEKS_FROM {
            self.few.push(event);
            return;
        }
        let large = self.large.get_or_insert_default();
        for bytes in std::mem::take(&mut self.few).iter() {
            large.push(&self::event(bytes));
        }
        large.push(event);
    }

    /// Every event as it is written, in no useful order.
    fn written(&self) -> impl Iterator<Item = &[u8]> {
        let weeks = self.large.iter().flat_map(|large| large.weeks.values());
        self.few.iter().chain(weeks.flat_map(|week| week.events.iter()))
    }

    /// Those of them that are of the week of an instant, and maybe others.
    fn written_around(&self, time: Timestamp) -> impl Iterator<Item = &[u8]> {
        let week = self.large.as_ref().and_then(|large| large.weeks.get(&week_of(time)));
        self.few.iter().chain(week.into_iter().flat_map(|week| week.events.iter()))
    }

    fn find(&self, id: &EventId) -> Option<Event> {
        if let Some(large) = self.large.as_ref().filter(|large| !large.weeks.is_empty()) {
            let (week, place) = large.index.get(id)?;
            return Some(event(split(large.weeks.get(week)?.events.0.get(*place..)?)?.0));
        }
        let has_id = |bytes: &&[u8]| parts(bytes).is_some_and(|(_, known, _)| known == id.id.packed());
        self.few.iter().filter(has_id).map(event).find(|event| event.id == *id)
    }

    fn is_retracted(&self, id: &EventId) -> bool {
        self.large.as_ref().is_some_and(|large| large.retracted.contains(id))
    }

    /// Whether a new event comes after all others in order, though not in time.
    fn is_last_of_its_instant(&self, event: &Event, names: &Names) -> bool {
        let is_then = |bytes: &&[u8]| parts(bytes).is_some_and(|(time, ..)| time == event.time.millis());
        let is_before = |other: &[u8]| {
            let other = order_of(other).expect("it was written here");
            other.sequence.is_some() == event.sequence.is_some() && compare(other, order(event), names).is_lt()
        };
        self.last == Some(event.time) && self.written_around(event.time).filter(is_then).all(is_before)
    }

    /// The events that count, in no order: neither retracted nor retractions.
    #[must_use]
    pub fn active(&self) -> Vec<Event> {
        let mut events = self.all();
        events.retain(|event| event.payload.takes_back().is_none() && !self.is_retracted(&event.id));
        events
    }

    /// The events that counted before the event `new` was added, in no order.
    #[must_use]
    pub fn active_before(&self, new: &Event) -> Vec<Event> {
        let mut events = self.all();
        events.retain(|event| event.id != new.id);
        let newly_retracted = new.payload.takes_back().filter(|target| {
            let takes_it_back = |event: &Event| event.payload.takes_back() == Some(target);
            !events.iter().any(takes_it_back)
        });
        events.retain(|event| {
            let active = newly_retracted == Some(&event.id) || !self.is_retracted(&event.id);
            event.payload.takes_back().is_none() && active
        });
        events
    }

    fn all(&self) -> Vec<Event> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(self.written().map(event));
        all
    }

    /// A timeline that was put away, whole or in weeks.
    pub(crate) fn restored(few: &[u8], weeks: Vec<(i64, Vec<u8>)>) -> Result<Self, Unreadable> {
        let mut timeline = Self { few: Packed(few.to_vec()), ..Self::default() };
        if !weeks.is_empty() {
            let as_kept = |(number, events)| (number, Week { events: Packed(events), is_unsaved: false });
            let weeks: BTreeMap<i64, Week> = weeks.into_iter().map(as_kept).collect();
            let week_bytes = weeks.values().map(|week| week.events.0.capacity() + Week::BESIDE).sum();
            timeline.large = Some(Box::new(Large { weeks, week_bytes, ..Large::default() }));
        }
        let (mut count, mut seen, mut last) = (0, 0, None);
        let (mut retracted, mut index) = (HashSet::default(), HashMap::default());
        for part in timeline.parts() {
            let mut rest = part;
            while !rest.is_empty() {
                let place = part.len() - rest.len();
                let (bytes, after) = split(rest).ok_or_else(|| Unreadable("an event is cut off".to_owned()))?;
                rest = after;
                let event = read(bytes)?;
                count += 1;
                seen |= bit(&event.id);
                last = last.max(Some(event.time));
                if let Some(target) = event.payload.takes_back() {
                    retracted.insert(target.clone());
                }
                if timeline.large.is_some() {
                    index.insert(event.id, (week_of(event.time), place));
                }
            }
        }
        (timeline.count, timeline.seen, timeline.last) = (count, seen, last);
        if timeline.large.is_some() || !retracted.is_empty() {
            let large = timeline.large.get_or_insert_default();
            (large.retracted, large.index) = (retracted, index);
        }
        Ok(timeline)
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let weeks = self.large.iter().flat_map(|large| large.weeks.values());
        std::iter::once(self.few.0.as_slice()).chain(weeks.map(|week| week.events.0.as_slice()))
    }

    /// What has to be written to put it away: the events of a short one, and the weeks that have changed.
    pub(crate) fn unsaved(&self) -> (&[u8], impl Iterator<Item = (i64, &[u8])>) {
        let weeks = self.large.iter().flat_map(|large| &large.weeks).filter(|(_, week)| week.is_unsaved);
        (&self.few.0, weeks.map(|(number, week)| (*number, week.events.0.as_slice())))
    }

    /// What [`Self::unsaved`] gave has been written.
    pub(crate) fn saved(&mut self) {
        for week in self.large.iter_mut().flat_map(|large| large.weeks.values_mut()) {
            week.is_unsaved = false;
        }
    }

    /// About how much memory the events take.
    pub(crate) fn bytes(&self) -> usize {
        let large = |large: &Large| {
            size_of::<Large>()
                + large.retracted.capacity() * size_of::<EventId>()
                + large.index.capacity() * size_of::<(EventId, (i64, usize))>()
                + large.week_bytes
        };
        self.few.0.capacity() + self.large.as_ref().map_or(0, |it| large(it))
    }

    /// The time of the last event, retracted or not.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// How many events there are, retracted ones and retractions included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
        numbered.sort_by(|a, b| compare(order(a), order(b), names));
        others.sort_by(|a, b| compare(order(a), order(b), names));
        let mut others = others.into_iter().peekable();
        for event in numbered {
            while let Some(other) = others.next_if(|other| compare(order(other), order(event), names).is_lt()) {
                ordered.push(other);
            }
            ordered.push(event);
        }
        ordered.extend(others);
    }
    ordered
}

/// Two events of one instant: by sequence where both have one, then by id, then by source.
fn compare(a: Order, b: Order, names: &Names) -> Ordering {
    let sequences = a.sequence.zip(b.sequence).map_or(Ordering::Equal, |(a, b)| a.cmp(&b));
    sequences.then_with(|| a.id.cmp(&b.id)).then_with(|| names.text(a.source).cmp(names.text(b.source)))
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
        in_order(timeline.active().iter(), names)
            .iter()
            .map(|event| event.id.id.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn an_id_is_kept_once_and_other_content_is_a_conflict() {
        let names = Names::default();
        let mut timeline = Timeline::default();
        for n in 0..200 {
            assert_eq!(timeline.add(&message(&names, &n.to_string(), n, None), &names), Added::Last);
        }
        for n in 0..200 {
            assert_eq!(timeline.add(&message(&names, &n.to_string(), n, None), &names), Added::Duplicate);
            assert_eq!(timeline.add(&message(&names, &n.to_string(), n + 1, None), &names), Added::Conflict);
        }
        assert_eq!(timeline.len(), 200);
    }

    #[test]
    fn what_is_put_away_comes_back_short_long_and_in_weeks() {
        let names = Names::default();
        for count in [0, 1, 5, 63, 64, 300] {
            let mut timeline = Timeline::default();
            for n in 0..count {
                // Numbers, texts, and texts so long that they, or their events, are written another way.
                let id = match n % 5 {
                    0 => format!("{n:032x}"),
                    1 => format!("{n:08x}-0000-4000-8000-00ab00cd00ef"),
                    2 => format!("{n}{}", "x".repeat(225 + usize::try_from(n).expect("small") % 40)),
                    3 => format!("{n}{}", "x".repeat(300)),
                    _ => n.to_string(),
                };
                let mut event = message(&names, &id, n * WEEK_MS / 50, (n % 2 == 0).then_some(n.unsigned_abs()));
                if n % 7 == 0 {
                    event.attributes = [(names.symbol("plan"), Some(names.symbol("gold")))].into();
                }
                timeline.add(&event, &names);
            }
            let (few, weeks) = timeline.unsaved();
            let weeks = weeks.map(|(number, events)| (number, events.to_vec())).collect();
            let again = Timeline::restored(few, weeks).expect("it was just written");
            assert_eq!(in_order(again.active().iter(), &names), in_order(timeline.active().iter(), &names));
            assert_eq!((again.len(), again.last(), again.seen), (timeline.len(), timeline.last(), timeline.seen));
            let mut again = again;
            for mut known in timeline.active() {
                assert_eq!(timeline.add(&known, &names), Added::Duplicate);
                assert_eq!(again.add(&known, &names), Added::Duplicate);
                known.sequence = Some(1_000);
                assert_eq!(again.add(&known, &names), Added::Conflict);
            }
        }
        let event = message(&names, "cut off", 1, None);
        let mut timeline = Timeline::default();
        timeline.add(&event, &names);
        let (written, _) = timeline.unsaved();
        for length in 1..written.len() {
            assert!(Timeline::restored(&written[..length], Vec::new()).is_err(), "{length} bytes of an event");
        }
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
                    timeline.add(&message(&names, id, 5, sequence), &names);
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
        before.add(&retraction, &names);
        for event in events {
            after.add(&event, &names);
            before.add(&event, &names);
        }
        after.add(&retraction, &names);
        assert_eq!(ids(&after, &names), "a c");
        assert_eq!(ids(&before, &names), "a c");
    }
}
