//! What the events of a conversation mean.
//!
//! [`Conversation::step`] is the one implementation of meaning: used live, in replay and in tests. Definitions are those
//! of the catalogue ([`crate::kpi`]).

mod legs;
mod promises;
mod resolution;
mod response;

use std::collections::BTreeMap;
use std::num::NonZeroI64;
use std::sync::Arc;

use crate::dimension::Dimension;
use crate::event::{Actor, Assignee, Event, EventId, Id, Initiator, PackedId, Payload, Sentiment, Status, Visibility};
use crate::fact::{Anchor, Fact, Facts, Lasted, Measure};
use crate::rules::TargetKind;
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::subject::number_of;
use crate::time::Timestamp;

use legs::Leg;
use promises::Promise;

/// How long after a resolution a reopening or another contact undoes first contact resolution: 7 days.
pub const FIRST_CONTACT_WINDOW_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// A number for a customer, the same in every process; never 0.
#[must_use]
pub fn customer_number(customer: &str) -> i64 {
    number_of(&[customer])
}

/// A number for a customer and a topic, the same in every process; never 0.
#[must_use]
pub fn contact_number(customer: &str, topic: &str) -> i64 {
    number_of(&[customer, topic])
}

impl Status {
    /// Whether a conversation in this status is left out of every figure.
    fn excludes(self) -> bool {
        matches!(self, Self::Merged | Self::Deleted | Self::Spam)
    }
}

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Pending,
    OnHold,
    Resolved,
}

/// An unanswered customer.
#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Timestamp,
    /// The dimension values when it began.
    series_at_start: SeriesId,
    /// The dimension values its level is counted under now.
    series: SeriesId,
    /// Stated as long as the wait is open.
    open: Fact,
}

/// A resolution that a reopening would undo.
#[derive(Debug, Clone)]
struct Resolution {
    at: Timestamp,
    series: SeriesId,
    agent: Option<Symbol>,
    taken_back_by_reopening: Vec<Fact>,
}

/// A public message of the customer, as it was counted.
#[derive(Debug, Clone)]
struct CustomerMessage {
    id: EventId,
    at: Timestamp,
    series: SeriesId,
    sentiment: Option<Sentiment>,
}

/// What a conversation has come to after some of its events.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that have happened or not, no state machine")]
pub struct Conversation {
    /// The event that reported the opening; it counts from the beginning on.
    opening: Option<EventId>,
    opened_at: Timestamp,
    series_at_opening: SeriesId,
    /// `None` as long as neither an opening nor a public message tells.
    initiator: Option<Initiator>,
    /// As the table of series has them.
    values: Arc<DimensionValues>,
    series: SeriesId,
    /// Deleted, spam or merged away.
    excluded: bool,
    /// The dimension values the backlog counts it under now.
    backlog_series: SeriesId,

    progress: Progress,
    /// What the running episode has been in, and since when.
    spans: Vec<(Timestamp, Progress)>,
    episode_start: Timestamp,
    resolved_before: bool,
    resolution: Option<Resolution>,

    wait: Option<Wait>,
    wait_answered_before: bool,
    first_customer_message: Option<Timestamp>,
    first_response_given: bool,
    waiting_for_bot_since: Option<Timestamp>,
    replies: i64,

    waited_before: bool,

    bot_since: Option<Timestamp>,
    /// The resolution that is stated as a bot's, and the dimension values it counts under.
    contained: Option<(Timestamp, SeriesId)>,

    customer: Option<Id>,
    customer_number: Option<NonZeroI64>,
    /// The contact it is stated to be: the customer and the topic it has come to be about.
    contact: Option<NonZeroI64>,
    transferred: bool,
    /// Reopened within [`FIRST_CONTACT_WINDOW_MS`] of a resolution.
    reopened_soon: bool,

    owned_by_bot: bool,
    first_handoff: Option<Timestamp>,
    /// The first one of the running episode.
    episode_handoff: Option<Timestamp>,
    last_handoff: Option<Timestamp>,
    reached_human: bool,
    last_agent: Option<Symbol>,
    assigned_to_agent_before: bool,
    /// The agent assigned last and not replied yet.
    to_reply: Option<(Symbol, Timestamp)>,

    /// The public message of the customer that was written last, or scored since: the one that is mostly scored.
    customer_message: Option<CustomerMessage>,
    /// Whether the event being walked over gave a negative duration.
    skewed: bool,
    /// `None` as long as it has nothing of that.
    seldom: Option<Box<Seldom>>,
}

/// What most conversations have nothing of.
#[derive(Debug, Clone)]
struct Seldom {
    /// The conversation it is merged into.
    merged_into: Option<Box<str>>,
    legs: BTreeMap<Box<str>, Leg>,
    connected_legs: usize,
    /// SLA targets not fulfilled yet.
    promises: Vec<Promise>,
    /// Sentiments scored after their messages.
    scores: BTreeMap<EventId, Sentiment>,
    /// How many of the events still to be walked over gave one of these scores.
    scores_ahead: usize,
}

impl Seldom {
    const NOTHING: Self = Self {
        merged_into: None,
        legs: BTreeMap::new(),
        connected_legs: 0,
        promises: Vec::new(),
        scores: BTreeMap::new(),
        scores_ahead: 0,
    };
}

impl Conversation {
    fn seldom(&self) -> &Seldom {
        static NOTHING: Seldom = Seldom::NOTHING;
        self.seldom.as_deref().unwrap_or(&NOTHING)
    }

    fn seldom_mut(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_with(|| Box::new(Seldom::NOTHING))
    }

    /// The conversation at its opening: the first `opened` event, else, as long as none is known, the first event.
    pub(crate) fn begin(first: &Event, events: &[&Event], facts: &mut Facts) -> Self {
        let reported = events.iter().find_map(|event| match &event.payload {
            Payload::Opened(opened) => Some((event, opened)),
            _ => None,
        });
        let mut values = DimensionValues::default();
        let opened_at = if let Some((event, opened)) = reported {
            values.clone_from(&opened.dimensions);
            set_attributes(&mut values, event);
            event.time
        } else {
            set_attributes(&mut values, first);
            change_values(&mut values, &first.payload);
            first.time
        };
        let (series, values) = facts.interned(&values);
        let initiator = match reported {
            Some((_, opened)) => Some(opened.initiator),
            None => events.iter().find_map(|event| public_author(event)).map(initiator_of),
        };
        let last_agent = values.get(&Dimension::Agent);
        let customer = reported.and_then(|(_, opened)| opened.customer.as_deref());
        let mut state = Self {
            opening: reported.map(|(event, _)| event.id.clone()),
            opened_at,
            series_at_opening: series,
            initiator,
            values,
            series,
            excluded: false,
            backlog_series: series,
            progress: Progress::Open,
            spans: vec![(opened_at, Progress::Open)],
            episode_start: opened_at,
            resolved_before: false,
            resolution: None,
            wait: None,
            wait_answered_before: false,
            first_customer_message: None,
            first_response_given: false,
            waiting_for_bot_since: None,
            replies: 0,
            waited_before: false,
            bot_since: None,
            contained: None,
            customer: customer.map(Into::into),
            customer_number: customer.and_then(|customer| NonZeroI64::new(customer_number(customer))),
            contact: None,
            transferred: false,
            reopened_soon: false,
            owned_by_bot: false,
            first_handoff: None,
            episode_handoff: None,
            last_handoff: None,
            reached_human: last_agent.is_some() || initiator == Some(Initiator::Agent),
            last_agent,
            assigned_to_agent_before: false,
            to_reply: None,
            customer_message: None,
            skewed: false,
            seldom: None,
        };
        for event in events {
            if let Payload::SentimentScored { message, sentiment } = &event.payload {
                let seldom = state.seldom_mut();
                seldom.scores_ahead += 1;
                seldom.scores.insert(EventId { source: event.id.source, id: message.clone() }, *sentiment);
            }
        }
        facts.state(Measure::Opened, opened_at, series, 0);
        facts.state(Measure::Backlog, opened_at, series, opened_at.millis());
        state.make_contact(facts);
        if let Some(customer) = state.customer_number {
            facts.state(Measure::CustomerContact, opened_at, series, customer.get());
        }
        state.promise(TargetKind::Resolution, opened_at, facts);
        if initiator == Some(Initiator::Customer) {
            state.customer_waits(opened_at, facts);
        }
        state
    }

    /// Whether an event, even as the last, changes what the events before it mean.
    pub(crate) fn must_fold_again_for(&self, event: &Event) -> bool {
        let tells_initiator = self.initiator.is_none() && public_author(event).is_some();
        let corrects = match &event.payload {
            Payload::Opened(_) => true,
            Payload::SentimentScored { message, .. } => !self.knows_message(event.id.source, message),
            Payload::StatusChanged { status, .. } => status.excludes(),
            _ => false,
        };
        self.excluded || tells_initiator || corrects
    }

    /// Whether a message can be scored with nothing folded again.
    pub(crate) fn knows_message(&self, source: Symbol, id: &PackedId) -> bool {
        self.customer_message.as_ref().is_some_and(|known| known.id.source == source && known.id.id == *id)
    }

    /// Makes a public message of the customer known again; the conversation's events are these, in order.
    pub(crate) fn recall_message(&mut self, source: Symbol, id: &PackedId, events: &[&Event], facts: &Facts) {
        let place = events.iter().position(|event| event.id.source == source && event.id.id == *id);
        let (Some(place), Some(first)) = (place, events.first()) else { return };
        let mut facts = facts.fresh();
        let mut then = Self::begin(first, events, &mut facts);
        for event in &events[..=place] {
            then.step(event, &mut facts);
        }
        if then.knows_message(source, id) {
            self.customer_message = then.customer_message;
        }
    }

    /// Whether an event changes what events before it mean, or whether they count.
    pub(crate) fn tells_of_others(event: &Event) -> bool {
        match &event.payload {
            Payload::Opened(_) | Payload::SentimentScored { .. } | Payload::Retracted(_) => true,
            Payload::StatusChanged { status, .. } => status.excludes(),
            _ => false,
        }
    }

    /// What a conversation of these events, in order, has come to, when the facts stated so far are those without the event at `place`; and
    /// states the difference. The events before it are walked over once.
    ///
    /// `None`, and nothing stated, where that event may change what the ones before it mean; one that [tells of
    /// others](Self::tells_of_others) always may, and is not to be asked about.
    pub(crate) fn with_late(events: &[&Event], place: usize, facts: &mut Facts) -> Option<Self> {
        let (before, [late, after @ ..]) = events.split_at_checked(place)? else { return None };
        // Among events of its instant it may change their order.
        let is_alone = before.last().is_none_or(|event| event.time < late.time)
            && after.first().is_none_or(|event| late.time < event.time);
        // A conversation whose opening was reported begins alike with the event and without it.
        let has_opening = events.iter().any(|event| matches!(event.payload, Payload::Opened(_)));
        if !is_alone || !has_opening {
            return None;
        }
        let mut shared = facts.fresh();
        let mut with = Self::begin(before.first()?, events, &mut shared);
        for event in before {
            with.step(event, &mut shared);
        }
        let (mut without, mut old, mut new) = (with.clone(), facts.fresh(), facts.fresh());
        for event in after {
            without.step(event, &mut old);
        }
        for event in &events[place..] {
            with.step(event, &mut new);
        }
        // What is left out has no facts at all.
        if without.excluded || with.excluded {
            return None;
        }
        facts.change(&old, &new);
        Some(with)
    }

    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        let at = event.time;
        let sets_attributes = !event.attributes.is_empty() && self.opening.as_ref() != Some(&event.id);
        let changes_values = matches!(event.payload, Payload::Updated(_) | Payload::Assigned { .. });
        let mut before = None;
        if sets_attributes || changes_values {
            let mut values = DimensionValues::clone(&self.values);
            if sets_attributes {
                set_attributes(&mut values, event);
                before = Some(Arc::new(values.clone()));
            }
            change_values(&mut values, &event.payload);
            if values != *self.values {
                let topic = self.values.get(&Dimension::Topic);
                let (series, values) = facts.interned(&values);
                self.series = series;
                let until_now = std::mem::replace(&mut self.values, values);
                before.get_or_insert(until_now);
                if self.values.get(&Dimension::Topic) != topic {
                    self.make_contact(facts);
                }
                self.move_levels(at, facts);
            }
        }
        // The values until now, but for what the event itself says of custom attributes.
        let before = |this: &Self| before.unwrap_or_else(|| Arc::clone(&this.values));
        match &event.payload {
            Payload::StatusChanged { status, merged_into, actor } => {
                self.enter(*status, merged_into.as_deref(), *actor, at, facts);
            }
            Payload::Assigned { to, reason } => {
                let before = before(self);
                self.assign(*to, *reason, &before, at, facts);
            }
            Payload::MessageCreated { actor, visibility, quick_reply, sentiment } => {
                let sentiment = self.score(&event.id).or(*sentiment);
                self.message(*actor, *visibility, *quick_reply, sentiment, at, facts);
                if let (Actor::Customer, Visibility::Public) = (actor, visibility) {
                    let (id, series) = (event.id.clone(), self.series);
                    self.customer_message = Some(CustomerMessage { id, at, series, sentiment });
                }
            }
            Payload::SentimentScored { message, sentiment } => {
                // Scores known from the beginning on counted with their messages.
                let ahead = self.seldom.as_mut().map(|seldom| &mut seldom.scores_ahead).filter(|ahead| **ahead > 0);
                if let Some(ahead) = ahead {
                    *ahead -= 1;
                } else {
                    self.score_known(EventId { source: event.id.source, id: message.clone() }, *sentiment, facts);
                }
            }
            Payload::LegChanged(change) => self.leg(change, at, facts),
            Payload::Cost { currency, micros } => {
                let values = self.values.with(&Dimension::Currency, Some(*currency));
                facts.state(Measure::Cost, at, facts.series(&values), *micros);
            }
            Payload::Updated(_) => {
                let known = before(self);
                for tag in self.values.tags().iter().filter(|tag| !known.tags().contains(tag)) {
                    facts.state(Measure::Tagged, at, facts.series(&self.values.with_only_tag(*tag)), 0);
                }
            }
            // The opening counts from the beginning, and a second one only for its custom attributes; the others say nothing of a conversation
            // beyond what is done with them above.
            _ => {}
        }
        self.contain(facts);
        if std::mem::take(&mut self.skewed) {
            facts.state(Measure::Skewed, at, self.series, 0);
        }
    }

    /// Whether it is left out of every figure.
    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded
    }

    /// The dimension values in force now.
    pub(crate) fn series(&self) -> SeriesId {
        self.series
    }

    /// The conversation it is merged into now.
    pub(crate) fn merged_into(&self) -> Option<&str> {
        self.seldom().merged_into.as_deref()
    }

    /// The last score of a message, given after it was written.
    pub(crate) fn score(&self, message: &EventId) -> Option<Sentiment> {
        self.seldom().scores.get(message).copied()
    }

    /// How long it took from one instant to another, on both clocks. A negative duration comes from skewed clocks and
    /// counts as 0.
    fn lasted(&mut self, from: Timestamp, to: Timestamp, facts: &Facts) -> Lasted {
        self.skewed |= to < from;
        facts.rules().lasted(from, to, self.values.get(&Dimension::Team))
    }

    /// States a duration that ends now, at its end and at the start of what it belongs to.
    fn duration(
        &mut self,
        measure: Measure,
        (from, at): (Timestamp, Timestamp),
        start: Timestamp,
        series: SeriesId,
        facts: &mut Facts,
    ) {
        let lasted = self.lasted(from, at, facts);
        facts.lasted(measure, Anchor::Completion, at, series, lasted);
        facts.lasted(measure, Anchor::Start, start, series, lasted);
    }

    /// The series of the present values, credited to `agent`.
    fn credited_to(&self, agent: Option<Symbol>, facts: &Facts) -> SeriesId {
        if agent == self.values.get(&Dimension::Agent) {
            return self.series;
        }
        facts.series(&self.values.with(&Dimension::Agent, agent))
    }

    /// States that the customer began this conversation, about what it is about now: platforms learn the topic late.
    fn make_contact(&mut self, facts: &mut Facts) {
        let now = self.contact(facts);
        if self.contact == now {
            return;
        }
        let (at, series) = (self.opened_at, self.series_at_opening);
        if let Some(until_now) = std::mem::replace(&mut self.contact, now) {
            facts.lower(Measure::Contact, at, series, until_now.get());
        }
        if let Some(now) = now {
            facts.state(Measure::Contact, at, series, now.get());
        }
    }

    /// Which contact this is now, where the customer is known.
    fn contact(&self, facts: &Facts) -> Option<NonZeroI64> {
        let topic = self.values.get(&Dimension::Topic).map_or("", |topic| facts.text(topic));
        self.customer.as_deref().and_then(|customer| NonZeroI64::new(contact_number(customer, topic)))
    }

    /// Levels never move before the conversation was opened, however skewed the clocks.
    fn level_at(&self, at: Timestamp) -> Timestamp {
        at.max(self.opened_at)
    }

    /// Counts what is open under the present dimension values from now on.
    fn move_levels(&mut self, at: Timestamp, facts: &mut Facts) {
        self.move_legs(at, facts);
        self.move_promises(at, facts);
        let at = self.level_at(at);
        if self.progress != Progress::Resolved && self.backlog_series != self.series {
            facts.lower(Measure::Backlog, at, self.backlog_series, self.opened_at.millis());
            facts.state(Measure::Backlog, at, self.series, self.opened_at.millis());
            self.backlog_series = self.series;
        }
        if let Some(wait) = self.wait.as_mut().filter(|wait| wait.series != self.series) {
            let at = at.max(wait.since);
            facts.lower(Measure::Unanswered, at, wait.series, wait.since.millis());
            facts.state(Measure::Unanswered, at, self.series, wait.since.millis());
            wait.series = self.series;
        }
    }
}

/// The author of a public message.
fn public_author(event: &Event) -> Option<Actor> {
    match event.payload {
        Payload::MessageCreated { actor, visibility: Visibility::Public, .. } => Some(actor),
        _ => None,
    }
}

/// Where no opening was reported, the author of the first public message opened the conversation.
fn initiator_of(author: Actor) -> Initiator {
    match author {
        Actor::Customer => Initiator::Customer,
        Actor::Agent(_) => Initiator::Agent,
        Actor::Bot(_) | Actor::Unnamed | Actor::Automation | Actor::Campaign | Actor::System => Initiator::Bot,
    }
}

/// Custom attributes an event carries are in force from it on.
pub(crate) fn set_attributes(values: &mut DimensionValues, event: &Event) {
    for (attribute, value) in &event.attributes {
        values.set_custom(*attribute, *value);
    }
}

/// What an event other than the opening does to the dimension values.
fn change_values(values: &mut DimensionValues, payload: &Payload) {
    match payload {
        Payload::Updated(changes) => {
            for (dimension, value) in &changes.set {
                values.set(dimension, *value);
            }
            for tag in &changes.add_tags {
                values.add_tag(*tag);
            }
            for tag in &changes.remove_tags {
                values.remove_tag(*tag);
            }
        }
        Payload::Assigned { to, .. } => {
            let (agent, team) = match to {
                Assignee::Nobody | Assignee::Bot(_) => (None, None),
                Assignee::Team(team) => (None, Some(*team)),
                Assignee::Agent { agent, team } => (Some(*agent), *team),
            };
            values.set(&Dimension::Agent, agent);
            if team.is_some() {
                values.set(&Dimension::Team, team);
            }
        }
        _ => {}
    }
}
