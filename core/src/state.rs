//! A subject: its timeline and what it has come to, in one mechanism for every kind.
//!
//! Two kinds of things reach a conversation from outside its timeline. A *mention* says that an event of another subject
//! (a survey, a review, an order) names it: the conversation then states, as a credit, which dimension values it had at
//! that instant. *Moved messages* come from conversations merged into it.

mod saved;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::conversation::Conversation;
use crate::customer::Customer;
use crate::event::{CreditKey, Event, EventId, Id, Payload};
use crate::fact::{Fact, Facts, Measure, difference};
use crate::feedback::{Review, Survey};
use crate::rules::Rules;
use crate::series::{DimensionValues, Names, SeriesId};
use crate::subject::SubjectKind;
use crate::task::{Session, Task, Team};
use crate::time::Timestamp;
use crate::timeline::{Added, Timeline, in_order};

pub(crate) use saved::id_in;

/// What the events of a subject have come to.
#[derive(Debug)]
enum State {
    Conversation(Box<Conversation>),
    Agent(Box<Agent>),
    Customer(Box<Customer>),
    Survey(Box<Survey>),
    Review(Box<Review>),
    Task(Box<Task>),
    Session(Box<Session>),
    Team(Box<Team>),
}

impl State {
    fn begin(kind: SubjectKind, id: &str, events: &[&Event], facts: &mut Facts) -> Option<Self> {
        let first = events.first()?;
        Some(match kind {
            SubjectKind::Conversation => Self::Conversation(Box::new(Conversation::begin(first, events, facts))),
            SubjectKind::Agent => Self::Agent(Box::new(Agent::begin(facts.names().symbol(id), events))),
            SubjectKind::Customer => Self::Customer(Box::default()),
            SubjectKind::Survey => Self::Survey(Box::default()),
            SubjectKind::Review => Self::Review(Box::default()),
            SubjectKind::Task => Self::Task(Box::default()),
            SubjectKind::Session => Self::Session(Box::default()),
            SubjectKind::Team => Self::Team(Box::new(Team::begin(facts.names().symbol(id)))),
        })
    }

    /// Whether an event, even as the last, changes what the events before it mean.
    fn must_fold_again_for(&self, event: &Event) -> bool {
        match self {
            Self::Conversation(conversation) => conversation.must_fold_again_for(event),
            Self::Agent(_) => Agent::must_fold_again_for(event),
            Self::Customer(_)
            | Self::Survey(_)
            | Self::Review(_)
            | Self::Task(_)
            | Self::Session(_)
            | Self::Team(_) => false,
        }
    }

    fn step(&mut self, event: &Event, facts: &mut Facts) {
        match self {
            Self::Conversation(conversation) => conversation.step(event, facts),
            Self::Agent(agent) => agent.step(event, facts),
            Self::Customer(customer) => customer.step(event, facts),
            Self::Survey(survey) => survey.step(event, facts),
            Self::Review(review) => review.step(event, facts),
            Self::Task(task) => task.step(event, facts),
            Self::Session(session) => session.step(event, facts),
            Self::Team(team) => team.step(event, facts),
        }
    }

    /// Whether it has something to state once there are no more events for now.
    fn is_moving(&self) -> bool {
        match self {
            Self::Agent(agent) => agent.is_moving(),
            _ => false,
        }
    }

    /// States what holds from the last event on.
    fn rest(&mut self, facts: &mut Facts) {
        if let Self::Agent(agent) = self {
            agent.rest(facts);
        }
    }

    /// The memory it takes, about, without what it points to.
    fn bytes(&self) -> usize {
        match self {
            Self::Conversation(_) => size_of::<Conversation>(),
            Self::Agent(_) => size_of::<Agent>(),
            Self::Customer(_) => size_of::<Customer>(),
            Self::Survey(_) => size_of::<Survey>(),
            Self::Review(_) => size_of::<Review>(),
            Self::Task(_) => size_of::<Task>(),
            Self::Session(_) => size_of::<Session>(),
            Self::Team(_) => size_of::<Team>(),
        }
    }

    fn conversation(&self) -> Option<&Conversation> {
        match self {
            Self::Conversation(conversation) => Some(conversation),
            _ => None,
        }
    }
}

/// An event of another subject names a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mention {
    /// When it happened.
    pub at: Timestamp,
    /// What stands for it.
    pub key: CreditKey,
}

/// A message of a conversation that was merged into another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The conversation it was written in.
    pub origin: Id,
    /// The message, with its last sentiment and without custom attributes.
    pub message: Event,
}

/// The most events of a subject of which a late one may be given a walk of its own.
const SHORT: u8 = 64;
/// Within so many events there is only one such walk.
const SOON: u8 = 3;

/// What a state points to, about.
const STATE_HEAP: usize = 400;

/// A subject's timeline and what it has come to.
#[derive(Debug)]
pub struct Subject {
    kind: SubjectKind,
    id: Id,
    timeline: Timeline,
    state: Option<State>,
    /// What had been stated before the first change that needs a new fold; see [`Self::settle`].
    stated: Option<Vec<Fact>>,
    /// How many events there were when one was last given a walk of its own; see [`Self::may_walk`].
    walked_at: u8,
    /// `None` as long as there is nothing of that.
    outside: Option<Box<Outside>>,
}

/// What a conversation has to do with other subjects; most have nothing to do with any.
#[derive(Debug, Default)]
struct Outside {
    /// Sorted.
    mentions: Vec<Mention>,
    /// By the conversation that was merged into this one.
    moved: BTreeMap<Id, Vec<Moved>>,
    /// Where this conversation's messages were moved last, and which.
    sent: Option<(Box<str>, Vec<Moved>)>,
}

impl Outside {
    const NOTHING: Self = Self { mentions: Vec::new(), moved: BTreeMap::new(), sent: None };

    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        const MOVED: usize = 200;
        size_of::<Self>()
            + self.mentions.capacity() * size_of::<Mention>()
            + self.moved.values().map(Vec::len).sum::<usize>() * MOVED
            + self.sent.as_ref().map_or(0, |(_, messages)| messages.len() * MOVED)
    }
}

impl Subject {
    /// A subject of which nothing is known.
    #[must_use]
    pub fn new(kind: SubjectKind, id: Id) -> Self {
        Self { kind, id, timeline: Timeline::default(), state: None, stated: None, walked_at: 0, outside: None }
    }

    fn outside(&self) -> &Outside {
        static NOTHING: Outside = Outside::NOTHING;
        self.outside.as_deref().unwrap_or(&NOTHING)
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.id.len()
            + self.timeline.bytes()
            + self.outside.as_ref().map_or(0, |outside| outside.bytes())
            + self.state.as_ref().map_or(0, |state| state.bytes() + STATE_HEAP)
    }

    /// Adds an event. In order, and for a late one that comes alone, its facts are stated at once; otherwise the subject is unsettled from
    /// now on.
    pub fn add(&mut self, event: &Event, facts: &mut Facts) -> Added {
        let (names, rules) = (facts.names(), facts.rules());
        self.recall_message(event, facts);
        let must_fold_again = self.state.as_ref().is_none_or(|state| state.must_fold_again_for(event))
            || self.last_from_outside().is_some_and(|last| last >= event.time)
            // A message that was moved here may have the same id as one of this conversation.
            || (!self.outside().moved.is_empty() && matches!(event.payload, Payload::SentimentScored { .. }));
        let added = self.timeline.add(event, names);
        let begins = added == Added::Last && self.begins_with(event);
        match (added, &mut self.state) {
            (Added::Conflict, _) => {
                let series = facts.series(&DimensionValues::default());
                facts.state(Measure::ConflictingId, event.time, series, 0);
            }
            (Added::Last, Some(state)) if self.stated.is_none() && !must_fold_again => state.step(event, facts),
            (Added::Last, None) if self.stated.is_none() && begins => {
                self.state = State::begin(self.kind, &self.id, &[event], facts);
                if let Some(state) = &mut self.state {
                    state.step(event, facts);
                }
            }
            (Added::Last | Added::Within, _) if self.stated.is_none() => {
                if added == Added::Within && self.take_in_late(event, facts) {
                    return added;
                }
                if let Some(state) = &mut self.state {
                    state.rest(facts);
                }
                let before = self.timeline.active_before(event);
                self.stated = Some(self.fold(&self.with_moved(&before, names), names, rules).1);
            }
            (Added::Last | Added::Within | Added::Duplicate, _) => {}
        }
        added
    }

    /// Whether an event may be given a walk over the others of its own. One of a long subject, and one that comes soon after another such
    /// event, share a fold with all that come in their block.
    fn may_walk(&mut self) -> bool {
        let len = u8::try_from(self.timeline.len()).unwrap_or(u8::MAX);
        let may = self.stated.is_none() && len <= SHORT && len > self.walked_at + SOON;
        if may {
            self.walked_at = len;
        }
        may
    }

    /// Before a message other than the last one is scored: makes it known to the conversation again, so that nothing has to be folded twice.
    fn recall_message(&mut self, event: &Event, facts: &Facts) {
        let Payload::SentimentScored { message, .. } = &event.payload else { return };
        let source = event.id.source;
        let knows = |conversation: &Conversation| conversation.knows_message(source, message);
        if self.state.as_ref().and_then(State::conversation).is_none_or(knows) || !self.may_walk() {
            return;
        }
        let active = self.timeline.active();
        if let Some(State::Conversation(conversation)) = &mut self.state {
            conversation.recall_message(source, message, &in_order(active.iter(), facts.names()), facts);
        }
    }

    /// States what a late event of a short conversation changes; false where it has to be folded again for that.
    fn take_in_late(&mut self, event: &Event, facts: &mut Facts) -> bool {
        let conversation = self.state.as_ref().and_then(State::conversation);
        let is_more = self.has_mentions_or_moved() || Conversation::tells_of_others(event);
        if is_more || conversation.is_none_or(Conversation::is_excluded) || !self.may_walk() {
            return false;
        }
        let active = self.timeline.active();
        let events = in_order(active.iter(), facts.names());
        let place = events.iter().position(|known| known.id == event.id);
        let Some(with) = place.and_then(|place| Conversation::with_late(&events, place, facts)) else { return false };
        self.state = Some(State::Conversation(Box::new(with)));
        true
    }

    /// Whether nothing but this event is known, and it leaves the subject counted where it is.
    fn begins_with(&self, event: &Event) -> bool {
        self.timeline.len() == 1
            && !self.has_mentions_or_moved()
            && !matches!(event.payload, Payload::StatusChanged { .. })
    }

    fn has_mentions_or_moved(&self) -> bool {
        self.outside.as_ref().is_some_and(|outside| !outside.mentions.is_empty() || !outside.moved.is_empty())
    }

    /// Its id.
    pub(crate) fn id(&self) -> &Id {
        &self.id
    }

    /// Takes in that another subject's event names this conversation.
    pub fn mention(&mut self, mention: Mention, facts: &mut Facts) {
        let Err(place) = self.outside().mentions.binary_search(&mention) else { return };
        let last_event = self.timeline.last().max(self.last_moved());
        if let Some(conversation) = self.state.as_ref().and_then(State::conversation)
            && self.stated.is_none()
            && last_event.is_some_and(|last| mention.at >= last)
        {
            state_credit(mention, conversation.series(), facts);
        } else {
            self.unsettle(facts.names(), facts.rules());
        }
        self.outside.get_or_insert_default().mentions.insert(place, mention);
    }

    /// Replaces the messages that came from one conversation; an empty list for one that is no longer merged into this.
    pub fn receive(&mut self, from: Id, messages: Vec<Moved>, names: &Names, rules: &Rules) {
        if self.outside().moved.get(&from).map_or(&[][..], Vec::as_slice) == messages {
            return;
        }
        self.unsettle(names, rules);
        let moved = &mut self.outside.get_or_insert_default().moved;
        if messages.is_empty() {
            moved.remove(&from);
        } else {
            moved.insert(from, messages);
        }
    }

    /// From now on other rules hold; these are the ones so far.
    pub fn unsettle(&mut self, names: &Names, rules: &Rules) {
        if self.stated.is_none() {
            self.stated = Some(self.fold_all(names, rules).1);
        }
    }

    /// Whether there were changes whose facts are not all stated yet.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.stated.is_some() || self.state.as_ref().is_some_and(State::is_moving)
    }

    /// The facts that lead from what had been stated to what the events mean now. However many changes there were since the first
    /// that unsettled it, the timeline is folded only twice.
    pub fn settle(&mut self, names: &Names, rules: &Rules) -> Vec<Fact> {
        let Some(stated) = self.stated.take() else {
            let mut facts = Facts::new(names, rules);
            if let Some(state) = &mut self.state {
                state.rest(&mut facts);
            }
            return facts.into_list();
        };
        let (state, now) = self.fold_all(names, rules);
        self.state = state;
        difference(&stated, &now)
    }

    /// What has to be moved elsewhere since the last call: conversations and the messages they are to have from this one.
    /// Only settling changes it.
    pub fn outgoing(&mut self, names: &Names) -> Vec<(Box<str>, Vec<Moved>)> {
        let now = self.messages_to_move(names);
        if now == self.outside().sent {
            return Vec::new();
        }
        let mut letters = Vec::new();
        let sent = &mut self.outside.get_or_insert_default().sent;
        if let Some((old_target, _)) = sent.take()
            && now.as_ref().is_none_or(|(target, _)| *target != old_target)
        {
            letters.push((old_target, Vec::new()));
        }
        letters.extend(now.clone());
        *sent = now;
        letters
    }

    /// While merged: the other conversation and all messages of this one, but those that came from there.
    fn messages_to_move(&self, names: &Names) -> Option<(Box<str>, Vec<Moved>)> {
        let conversation = self.state.as_ref()?.conversation()?;
        let target = conversation.merged_into()?;
        let active = self.timeline.active();
        let own = in_order(active.iter(), names).into_iter().filter_map(|event| {
            let Payload::MessageCreated { sentiment, .. } = &event.payload else { return None };
            let last = conversation.score(&event.id).or(*sentiment);
            let mut message = Event { attributes: Box::default(), ..event.clone() };
            if let Payload::MessageCreated { sentiment, .. } = &mut message.payload {
                *sentiment = last;
            }
            Some(Moved { origin: self.id.clone(), message })
        });
        let passed_on = self.moved_in().into_iter().filter(|moved| &*moved.origin != target).cloned();
        Some((target.into(), own.chain(passed_on).collect()))
    }

    /// The messages moved here, each once and by the conversation it was written in: where conversations are merged in a
    /// circle, a message can come in more than one way.
    fn moved_in(&self) -> Vec<&Moved> {
        let mut by_origin: BTreeMap<&Id, Vec<&Moved>> = BTreeMap::new();
        let mut known: HashSet<(&Id, &EventId)> = HashSet::new();
        for moved in self.outside().moved.values().flatten() {
            if moved.origin != self.id && known.insert((&moved.origin, &moved.message.id)) {
                by_origin.entry(&moved.origin).or_default().push(moved);
            }
        }
        by_origin.into_values().flatten().collect()
    }

    fn last_moved(&self) -> Option<Timestamp> {
        self.outside().moved.values().flatten().map(|moved| moved.message.time).max()
    }

    /// The last instant at which something from outside the timeline has its place.
    fn last_from_outside(&self) -> Option<Timestamp> {
        self.outside().mentions.last().map(|mention| mention.at).max(self.last_moved())
    }

    /// Events of the timeline and moved messages, in order.
    fn with_moved<'a>(&'a self, events: &'a [Event], names: &Names) -> Vec<&'a Event> {
        in_order(events.iter().chain(self.moved_in().into_iter().map(|moved| &moved.message)), names)
    }

    /// Walks over all that counts now.
    fn fold_all(&self, names: &Names, rules: &Rules) -> (Option<State>, Vec<Fact>) {
        self.fold(&self.with_moved(&self.timeline.active(), names), names, rules)
    }

    /// Walks events in order: what the subject has come to and every fact. No event: no state, no fact.
    fn fold(&self, events: &[&Event], names: &Names, rules: &Rules) -> (Option<State>, Vec<Fact>) {
        let mut facts = Facts::new(names, rules);
        let mut credits = facts.fresh();
        let Some(mut state) = State::begin(self.kind, &self.id, events, &mut facts) else { return (None, Vec::new()) };
        let mut mentions = self.outside().mentions.iter().peekable();
        for event in events {
            while let Some(mention) = mentions.next_if(|mention| mention.at < event.time) {
                credit(&state, *mention, &mut credits);
            }
            state.step(event, &mut facts);
        }
        for mention in mentions {
            credit(&state, *mention, &mut credits);
        }
        state.rest(&mut facts);
        // A conversation that is deleted, spam or merged away has no facts, but it did have dimension values.
        let excluded = state.conversation().is_some_and(Conversation::is_excluded);
        let mut all = if excluded { Vec::new() } else { facts.into_list() };
        all.extend(credits.into_list());
        (Some(state), all)
    }
}

fn credit(state: &State, mention: Mention, facts: &mut Facts) {
    if let Some(conversation) = state.conversation() {
        state_credit(mention, conversation.series(), facts);
    }
}

fn state_credit(mention: Mention, series: SeriesId, facts: &mut Facts) {
    facts.state(Measure::Credit, mention.at, series, mention.key.get());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::dimension::Dimension;
    use crate::event::{
        Actor, Assignee, AssignmentReason, DimensionChanges, Initiator, Opened, Sentiment, Status, Visibility,
    };
    use crate::fact::Weight;

    /// An event of a conversation, by numbers: what, about which other event, and how far from its place in time.
    fn event(names: &Names, number: usize, (what, which, off): (u8, u8, u8)) -> Event {
        let symbol = |kind: &str| names.symbol(&format!("{kind} {}", which % 3));
        let message = |actor, visibility| Payload::MessageCreated {
            actor,
            visibility,
            quick_reply: None,
            sentiment: (which % 4 == 0).then_some(Sentiment::Neutral),
        };
        let status = |status| Payload::StatusChanged { status, merged_into: None, actor: Actor::Unnamed };
        let assigned = |to| Payload::Assigned { to, reason: AssignmentReason::Unsaid };
        let payload = match what {
            0..=3 => message(Actor::Customer, Visibility::Public),
            4..=6 => message(Actor::Agent(Some(symbol("agent"))), Visibility::Public),
            7 => message(Actor::Bot(None), Visibility::Public),
            8 => message(Actor::Agent(None), Visibility::Private),
            9..=12 => Payload::SentimentScored {
                message: which.to_string().into(),
                sentiment: if what == 9 { Sentiment::Positive } else { Sentiment::Negative },
            },
            13 => status(Status::Pending),
            14 => status(Status::Open),
            15 | 16 => status(Status::Resolved),
            17 => status(if which % 8 == 0 { Status::Spam } else { Status::OnHold }),
            18 => assigned(Assignee::Agent { agent: symbol("agent"), team: Some(symbol("team")) }),
            19 => assigned(if which % 2 == 0 { Assignee::Bot(symbol("bot")) } else { Assignee::Nobody }),
            20 => Payload::Updated(Box::new(DimensionChanges {
                set: vec![(Dimension::Topic, Some(symbol("topic")))],
                add_tags: vec![symbol("tag")],
                ..DimensionChanges::default()
            })),
            _ => Payload::Opened(Box::new(Opened {
                customer: Some("ada".into()),
                initiator: Initiator::Customer,
                dimensions: DimensionValues::default(),
            })),
        };
        let attribute = (what == 20 || which % 7 == 0).then(|| (names.symbol("vip"), Some(symbol("level"))));
        Event {
            id: EventId { source: names.symbol("s"), id: number.to_string().into() },
            time: Timestamp::clamped(i64::try_from(number * 3 + usize::from(off)).expect("small") * 60_000),
            sequence: (which % 3 == 0).then_some(which.into()),
            attributes: attribute.into_iter().collect(),
            payload,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// Each event by itself, whatever its instant, against one fold of all of them.
        #[test]
        fn late_events_and_scores_come_to_what_one_fold_comes_to(
            drawn in proptest::collection::vec((0..21u8, 0..24u8, prop_oneof![3 => Just(40), 1 => 0..80u8]), 1..24),
            opening in 0..24usize,
        ) {
            let (names, rules) = (Names::default(), Rules::default());
            let mut events: Vec<Event> = drawn.iter().enumerate().map(|(n, drawn)| event(&names, n, *drawn)).collect();
            events.insert(opening.min(events.len()), event(&names, 99, (21, 1, 0)));
            let mut net: BTreeMap<Fact, i64> = BTreeMap::new();
            let mut count = |facts: Vec<Fact>, sign: i64| {
                for fact in facts {
                    *net.entry(Fact { weight: Weight::Plus, ..fact }).or_default() += sign * fact.weight.sign();
                }
            };
            let mut subject = Subject::new(SubjectKind::Conversation, "c".into());
            for event in &events {
                let mut facts = Facts::new(&names, &rules);
                subject.add(event, &mut facts);
                count(facts.into_list(), 1);
                count(subject.settle(&names, &rules), 1);
            }
            count(subject.fold_all(&names, &rules).1, -1);
            net.retain(|_, count| *count != 0);
            prop_assert!(net.is_empty(), "{net:?}");
        }
    }
}
