//! What the events of a conversation mean.
//!
//! [`Conversation::step`] is the one implementation of meaning: used live, in replay and in tests. Definitions are those
//! of the catalogue ([`crate::kpi`]).

mod resolution;
mod response;

use std::collections::HashMap;

use crate::dimension::Dimension;
use crate::event::{Actor, Assignee, Event, EventId, Initiator, Payload, Sentiment, Status, Visibility};
use crate::fact::{Fact, Facts, Measure, difference};
use crate::partition::fnv1a;
use crate::series::{DimensionValues, Names, SeriesId, Symbol};
use crate::time::Timestamp;
use crate::timeline::{Added, Timeline};

/// A conversation's timeline and what it has come to.
#[derive(Debug, Default)]
pub struct Subject {
    timeline: Timeline,
    state: Option<Conversation>,
    /// What had been stated before the first event that needs a new fold; see [`Self::settle`].
    stated: Option<Vec<Fact>>,
}

impl Subject {
    /// Adds an event. In order, its facts are stated at once; otherwise the conversation is unsettled from now on.
    pub fn add(&mut self, event: Event, facts: &mut Facts) -> Added {
        let names = facts.names();
        let id = event.id.clone();
        let time = event.time;
        let refolds = self.state.as_ref().is_none_or(|state| state.must_fold_again_for(&event));
        let added = self.timeline.add(event, names);
        match (added, &mut self.state) {
            (Added::Conflict, _) => {
                let series = facts.series(&DimensionValues::default());
                facts.state(Measure::ConflictingId, time, series, 0);
            }
            (Added::Last, Some(state)) if self.stated.is_none() && !refolds => {
                if let Some(event) = self.timeline.last() {
                    state.step(event, facts);
                }
            }
            (Added::Last | Added::Within, _) if self.stated.is_none() => {
                self.stated = Some(fold(&self.timeline.active_before(&id, names), names).1);
            }
            (Added::Last | Added::Within | Added::Duplicate, _) => {}
        }
        added
    }

    /// Whether events were added whose facts are not stated yet.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.stated.is_some()
    }

    /// The facts that lead from what had been stated to what the events mean now. However many events were late, the
    /// timeline is folded only twice.
    pub fn settle(&mut self, names: &Names) -> Vec<Fact> {
        let Some(stated) = self.stated.take() else { return Vec::new() };
        let (state, now) = fold(&self.timeline.active(names), names);
        self.state = state;
        difference(&stated, &now)
    }
}

/// How long after a resolution a reopening or another contact undoes first contact resolution: 7 days.
pub const FIRST_CONTACT_WINDOW_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// A number for a customer and a topic, the same in every process; never 0.
///
/// 64 bits of FNV-1a: two contacts share a number by accident once in about 10^19 pairs.
#[must_use]
pub fn contact(customer: &str, topic: &str) -> i64 {
    let hash = fnv1a(customer.bytes().chain([0]).chain(topic.bytes())).cast_signed();
    if hash == 0 { 1 } else { hash }
}

/// Walks the events of a conversation, in order: what it has come to and every fact. No event: no conversation.
///
/// A conversation that is deleted, spam or merged away has no facts.
pub fn fold(events: &[&Event], names: &Names) -> (Option<Conversation>, Vec<Fact>) {
    let Some(first) = events.first() else { return (None, Vec::new()) };
    let mut facts = Facts::new(names);
    let mut state = Conversation::begin(first, events, &mut facts);
    for event in events {
        state.step(event, &mut facts);
    }
    let facts = if state.excluded { Vec::new() } else { facts.into_list() };
    (Some(state), facts)
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
#[derive(Debug)]
struct Resolution {
    at: Timestamp,
    series: SeriesId,
    agent: Option<Symbol>,
    taken_back_by_reopening: Vec<Fact>,
}

/// Milliseconds of the running episode in each state, up to the last change.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    open: i64,
    pending: i64,
    on_hold: i64,
}

/// What a conversation has come to after some of its events.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that have happened or not, no state machine")]
pub struct Conversation {
    opened_at: Timestamp,
    series_at_opening: SeriesId,
    /// `None` as long as neither an opening nor a public message tells.
    initiator: Option<Initiator>,
    values: DimensionValues,
    series: SeriesId,
    /// Deleted, spam or merged away.
    excluded: bool,
    /// The dimension values the backlog counts it under now.
    backlog_series: SeriesId,

    progress: Progress,
    progress_since: Timestamp,
    episode_start: Timestamp,
    spent: Spent,
    resolved_before: bool,
    resolution: Option<Resolution>,

    wait: Option<Wait>,
    wait_answered_before: bool,
    first_customer_message: Option<Timestamp>,
    first_response_given: bool,
    waiting_for_bot_since: Option<Timestamp>,
    replies: i64,

    customer: Option<Box<str>>,
    transferred: bool,
    /// Reopened within [`FIRST_CONTACT_WINDOW_MS`] of a resolution.
    reopened_soon: bool,

    owned_by_bot: bool,
    first_handoff: Option<Timestamp>,
    last_handoff: Option<Timestamp>,
    reached_human: bool,
    last_agent: Option<Symbol>,
    assigned_to_agent_before: bool,
    /// The agent assigned last and not replied yet.
    to_reply: Option<(Symbol, Timestamp)>,

    /// Sentiments scored after their messages.
    scores: HashMap<EventId, Sentiment>,
    /// Whether the event being walked over gave a negative duration.
    skewed: bool,
}

impl Conversation {
    /// The conversation at its opening: the first `opened` event, else, as long as none is known, the first event.
    fn begin(first: &Event, events: &[&Event], facts: &mut Facts) -> Self {
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
        let series = facts.series(&values);
        let mut scores = HashMap::new();
        for event in events {
            if let Payload::SentimentScored { message, sentiment } = &event.payload {
                scores.insert(EventId { source: event.id.source, id: message.clone() }, *sentiment);
            }
        }
        let initiator = match reported {
            Some((_, opened)) => Some(opened.initiator),
            None => events.iter().find_map(|event| public_author(event)).map(initiator_of),
        };
        let last_agent = values.get(&Dimension::Agent);
        let mut state = Self {
            opened_at,
            series_at_opening: series,
            initiator,
            values,
            series,
            excluded: false,
            backlog_series: series,
            progress: Progress::Open,
            progress_since: opened_at,
            episode_start: opened_at,
            spent: Spent::default(),
            resolved_before: false,
            resolution: None,
            wait: None,
            wait_answered_before: false,
            first_customer_message: None,
            first_response_given: false,
            waiting_for_bot_since: None,
            replies: 0,
            customer: reported.and_then(|(_, opened)| opened.customer.clone()),
            transferred: false,
            reopened_soon: false,
            owned_by_bot: false,
            first_handoff: None,
            last_handoff: None,
            reached_human: last_agent.is_some() || initiator == Some(Initiator::Agent),
            last_agent,
            assigned_to_agent_before: false,
            to_reply: None,
            scores,
            skewed: false,
        };
        facts.state(Measure::Opened, opened_at, series, 0);
        facts.state(Measure::Backlog, opened_at, series, opened_at.millis());
        if let Some(contact) = state.contact(facts) {
            facts.state(Measure::Contact, opened_at, series, contact);
        }
        if initiator == Some(Initiator::Customer) {
            state.customer_waits(opened_at, facts);
        }
        state
    }

    /// Whether an event, even as the last, changes what the events before it mean.
    fn must_fold_again_for(&self, event: &Event) -> bool {
        let excludes = matches!(&event.payload, Payload::StatusChanged { status, .. } if status.excludes());
        let tells_initiator = self.initiator.is_none() && public_author(event).is_some();
        self.excluded || excludes || tells_initiator
    }

    /// Walks over the next event.
    pub fn step(&mut self, event: &Event, facts: &mut Facts) {
        let at = event.time;
        let before = self.values.clone();
        if !matches!(event.payload, Payload::Opened(_)) {
            set_attributes(&mut self.values, event);
            change_values(&mut self.values, &event.payload);
        }
        if self.values != before {
            self.series = facts.series(&self.values);
            self.move_levels(at, facts);
        }
        match &event.payload {
            // The opening counts from the beginning, and a second one not at all.
            Payload::Opened(_) | Payload::Updated(_) | Payload::SentimentScored { .. } | Payload::Retracted(_) => {}
            Payload::StatusChanged { status, actor, .. } => self.enter(*status, *actor, at, facts),
            Payload::Assigned { to, reason } => self.assign(*to, *reason, &before, at, facts),
            Payload::MessageCreated { actor, visibility, quick_reply, sentiment } => {
                let sentiment = self.scores.get(&event.id).copied().or(*sentiment);
                self.message(*actor, *visibility, *quick_reply, sentiment, at, facts);
            }
        }
        if std::mem::take(&mut self.skewed) {
            facts.state(Measure::Skewed, at, self.series, 0);
        }
    }

    /// Milliseconds from `from` to `to`. A negative duration comes from skewed clocks and counts as 0.
    fn elapsed(&mut self, from: Timestamp, to: Timestamp) -> i64 {
        let ms = to.millis_since(from);
        self.skewed |= ms < 0;
        ms.max(0)
    }

    /// The series of the present values, credited to `agent`.
    fn credited_to(&self, agent: Option<Symbol>, facts: &Facts) -> SeriesId {
        if agent == self.values.get(&Dimension::Agent) {
            return self.series;
        }
        facts.series(&self.values.with(&Dimension::Agent, agent))
    }

    /// Which contact this is now, where the customer is known.
    fn contact(&self, facts: &Facts) -> Option<i64> {
        let topic = self.values.get(&Dimension::Topic).map_or("", |topic| facts.text(topic));
        self.customer.as_deref().map(|customer| contact(customer, topic))
    }

    /// Levels never move before the conversation was opened, however skewed the clocks.
    fn level_at(&self, at: Timestamp) -> Timestamp {
        at.max(self.opened_at)
    }

    /// Counts what is open under the present dimension values from now on.
    fn move_levels(&mut self, at: Timestamp, facts: &mut Facts) {
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
        Payload::MessageCreated { visibility: Visibility::Private, .. }
        | Payload::Opened(_)
        | Payload::StatusChanged { .. }
        | Payload::Assigned { .. }
        | Payload::Updated(_)
        | Payload::SentimentScored { .. }
        | Payload::Retracted(_) => None,
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
fn set_attributes(values: &mut DimensionValues, event: &Event) {
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
        Payload::Opened(_)
        | Payload::StatusChanged { .. }
        | Payload::MessageCreated { .. }
        | Payload::SentimentScored { .. }
        | Payload::Retracted(_) => {}
    }
}
