//! Random scenarios: a few conversations, agents and customers, and everything that can go wrong with their events.

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    ConfigChange, ConversationStatus, Event, EventRetracted, Money, QueryMetricsRequest, Subject, subject,
};

use super::timelines::subject_of;
use super::{DAY, HOUR, Model, inquiry, milliseconds, people, settings};
use crate::harness::Random;

pub(super) const TENANT: &str = "t";
/// A Friday before each change of clocks, the nights of the changes, and a Monday in summer.
const BASES: [&str; 5] = [
    "2026-03-27T14:00:00Z",
    "2026-03-28T22:30:00Z",
    "2026-06-01T07:00:00Z",
    "2026-10-23T13:30:00Z",
    "2026-10-24T23:15:00Z",
];
pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const AGENTS: [&str; 3] = ["A", "B", "C"];
pub(super) const CONVERSATIONS: [&str; 5] = ["c1", "c2", "c3", "c4", "c5"];
pub(super) const CUSTOMERS: [&str; 3] = ["ann", "bob", "cid"];
pub(super) const TEAMS: [&str; 3] = ["t1", "t2", "t3"];

/// What happened, what is set, and what is asked.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) events: Vec<Event>,
    pub(crate) config: Vec<ConfigChange>,
    pub(crate) questions: Vec<QueryMetricsRequest>,
}

impl Scenario {
    /// The same for another tenant.
    pub(crate) fn for_tenant(mut self, tenant: &str) -> Self {
        let names = self.events.iter_mut().map(|event| &mut event.tenant);
        let names = names.chain(self.questions.iter_mut().map(|question| &mut question.tenant));
        for name in names {
            tenant.clone_into(name);
        }
        for change in &mut self.config {
            tenant.clone_into(&mut change.tenant);
            if let Some(Change::Settings(settings)) = &mut change.change {
                tenant.clone_into(&mut settings.tenant);
            }
        }
        self
    }
}

/// Makes up a scenario; the same numbers give the same one.
pub(crate) fn scenario(random: &mut Random) -> Scenario {
    let base: jiff::Timestamp = pick(random, &BASES).parse().expect("an instant");
    let with_sequences = random.below(3) == 0;
    let mut script = Script {
        random,
        base: base.as_millisecond(),
        with_sequences,
        bots_only: false,
        events: Vec::new(),
        firsts: Vec::new(),
    };
    let conversations = 1 + script.pick(&[0, 1, 1, 2, 2, 3, 4]);
    for conversation in &CONVERSATIONS[..conversations] {
        script.conversation(conversation);
    }
    script.merges(conversations);
    people::write(&mut script);
    script.retractions();
    script.duplicates();
    let (base, mut events) = (script.base, script.events);
    if random.below(2) == 0 {
        random.shuffle(&mut events);
    }
    let config = settings::config(random, base);
    let model = Model::new(&events, &config, base + 21 * DAY);
    let questions = (0..14).map(|_| inquiry::question(random, base, &events, &model)).collect();
    Scenario { events, config, questions }
}

pub(super) fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

pub(super) fn timestamp(at: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.rem_euclid(1_000)).expect("below a thousand") * 1_000_000;
    prost_types::Timestamp { seconds: at.div_euclid(1_000), nanos }
}

/// The end of October 2026: nothing happens after it.
pub(super) fn latest() -> i64 {
    let latest: jiff::Timestamp = "2026-10-31T20:00:00Z".parse().expect("an instant");
    latest.as_millisecond()
}

/// A scenario in the making.
pub(super) struct Script<'a> {
    pub(super) random: &'a mut Random,
    pub(super) base: i64,
    with_sequences: bool,
    /// Whether the conversation at hand never reaches a human.
    pub(super) bots_only: bool,
    pub(super) events: Vec<Event>,
    /// The conversations so far, each with its earliest instant.
    pub(super) firsts: Vec<(&'static str, i64)>,
}

impl Script<'_> {
    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.random.below(many) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        pick(self.random, from)
    }

    /// A name, or none in one of three cases.
    pub(super) fn name(&mut self, from: &[&str]) -> String {
        if self.one_in(3) { String::new() } else { self.pick(from).to_owned() }
    }

    pub(super) fn gap(&mut self) -> i64 {
        const GAPS: [i64; 15] = [
            0,
            0,
            1,
            SECOND,
            5 * SECOND,
            20 * SECOND,
            MINUTE,
            MINUTE,
            5 * MINUTE,
            30 * MINUTE,
            30 * MINUTE,
            HOUR,
            HOUR,
            4 * HOUR,
            20 * HOUR,
        ];
        if self.one_in(20) {
            return self.pick(&[2 * DAY, 7 * DAY]);
        }
        self.pick(&GAPS)
    }

    /// Some instant after the scenario's beginning.
    pub(super) fn instant(&mut self) -> i64 {
        self.base + self.gap() + self.gap()
    }

    /// A conversation to name (none in one of four cases) and an instant at which it is there already.
    pub(super) fn mention(&mut self) -> (String, i64) {
        let (conversation, first) = self.pick(&self.firsts.clone());
        let at = first.max(self.base) + self.gap() + self.gap();
        (if self.one_in(4) { String::new() } else { conversation.to_owned() }, at)
    }

    pub(super) fn push(&mut self, at: i64, payload: Payload) {
        // Ids in another order than time.
        let id = format!("e{:03}", (self.events.len() * 71 + 13) % 499);
        let sequence = self.with_sequences.then(|| self.random.next() % 3);
        let mut time = timestamp(at.min(self.base + 20 * DAY).min(latest()));
        if self.one_in(20) {
            // Finer than a millisecond: cut off.
            time.nanos += 999_999;
        }
        let event = Event {
            id,
            source: "made-up".to_owned(),
            tenant: TENANT.to_owned(),
            time: Some(time),
            sequence,
            payload: Some(payload),
            ..Default::default()
        };
        self.events.push(event);
    }

    pub(super) fn money(&mut self) -> Money {
        let (currency, amount_micros) = (self.pick(&["EUR", "USD"]).to_owned(), self.pick(&[1, 250_000, 3_000_000]));
        Money { currency, amount_micros }
    }

    /// Merges into each other, into one that has nothing else, in chains and circles; some are taken apart again.
    fn merges(&mut self, conversations: usize) {
        let count = if self.one_in(3) { 1 + self.random.below(3) } else { 0 };
        for _ in 0..count {
            let (from, first) = self.pick(&self.firsts.clone()[..conversations]);
            let into = self.pick(&CONVERSATIONS);
            if from == into {
                continue;
            }
            let at = first + self.gap() + self.gap();
            let mut payload = self.status(from, ConversationStatus::Merged);
            if let Payload::ConversationStatusChanged(change) = &mut payload {
                into.clone_into(&mut change.merged_into);
            }
            self.push(at, payload);
            if self.one_in(4) {
                let (later, back) = (at + self.gap(), self.status(from, ConversationStatus::Open));
                self.push(later, back);
            }
        }
    }

    fn retractions(&mut self) {
        for number in 0..self.events.len() {
            if !self.one_in(16) {
                continue;
            }
            let event = self.events[number].clone();
            let id = if self.one_in(8) { "never".to_owned() } else { event.id.clone() };
            let subject = subject_kind(subject_of(&event));
            let (retracted_source, retracted_id) = (event.source, id);
            let at = milliseconds(event.time.as_ref()) + self.gap();
            self.push(
                at,
                Payload::EventRetracted(EventRetracted { subject: Some(subject), retracted_source, retracted_id }),
            );
        }
    }

    fn duplicates(&mut self) {
        for number in 0..self.events.len() {
            if self.one_in(10) {
                self.events.push(self.events[number].clone());
            }
        }
    }
}

fn subject_kind((kind, id): (&str, String)) -> Subject {
    let kind = match kind {
        "conversation" => subject::Kind::Conversation(id),
        "agent" => subject::Kind::Agent(id),
        "customer" => subject::Kind::Customer(id),
        "survey" => subject::Kind::Survey(id),
        "review" => subject::Kind::Review(id),
        "task" => subject::Kind::Task(id),
        "session" => subject::Kind::SelfserviceSession(id),
        _ => subject::Kind::Team(id),
    };
    Subject { kind: Some(kind) }
}
