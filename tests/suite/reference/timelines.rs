//! Events by what they are about: each id once, without those retracted, in order.

use std::collections::{BTreeMap, BTreeSet};

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Event, Subject, subject};

use super::milliseconds;

/// The kind of a subject and its id.
type SubjectKey = (&'static str, String);

#[derive(Debug)]
pub(crate) struct Timelines(BTreeMap<SubjectKey, Vec<Event>>);

impl Timelines {
    pub(crate) fn new(events: &[Event]) -> Self {
        let mut seen = BTreeSet::new();
        let mut retracted = BTreeSet::new();
        let mut kept: BTreeMap<SubjectKey, Vec<Event>> = BTreeMap::new();
        for event in events {
            assert_eq!(event.tenant, events[0].tenant, "a model is of one tenant");
            let subject = subject_of(event);
            if !seen.insert((subject.clone(), event.source.clone(), event.id.clone())) {
                continue;
            }
            if let Some(Payload::EventRetracted(of)) = &event.payload {
                retracted.insert((subject, of.retracted_source.clone(), of.retracted_id.clone()));
            } else {
                kept.entry(subject).or_default().push(event.clone());
            }
        }
        for (subject, timeline) in &mut kept {
            timeline.retain(|event| !retracted.contains(&(subject.clone(), event.source.clone(), event.id.clone())));
            timeline.sort_by_key(order);
        }
        kept.retain(|_, timeline| !timeline.is_empty());
        Self(kept)
    }

    /// The timelines of one kind of subject, by id.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = (&str, &[Event])> {
        self.0.iter().filter(move |((of, _), _)| *of == kind).map(|((_, id), events)| (id.as_str(), events.as_slice()))
    }
}

/// By time, then by sequence, then by id. A scenario gives a sequence to all of its events or to none.
pub(crate) fn order(event: &Event) -> (i64, Option<u64>, String, String) {
    (milliseconds(event.time.as_ref()), event.sequence, event.id.clone(), event.source.clone())
}

pub(crate) fn subject_of(event: &Event) -> SubjectKey {
    let (kind, id) = match event.payload.as_ref().expect("a payload") {
        Payload::ConversationOpened(of) => ("conversation", &of.conversation),
        Payload::ConversationStatusChanged(of) => ("conversation", &of.conversation),
        Payload::ConversationAssigned(of) => ("conversation", &of.conversation),
        Payload::ConversationUpdated(of) => ("conversation", &of.conversation),
        Payload::MessageCreated(of) => ("conversation", &of.conversation),
        Payload::MessageSentimentScored(of) => ("conversation", &of.conversation),
        Payload::LegStateChanged(of) => ("conversation", &of.conversation),
        Payload::AgentStateChanged(of) => ("agent", &of.agent),
        Payload::AgentScheduleSet(of) => ("agent", &of.agent),
        Payload::AgentEmploymentChanged(of) => ("agent", &of.agent),
        Payload::SurveySent(of) => ("survey", &of.survey),
        Payload::SurveyAnswered(of) => ("survey", &of.survey),
        Payload::ReviewPosted(of) => ("review", &of.review),
        Payload::TaskStatusChanged(of) => ("task", &of.task),
        Payload::CustomerLifecycle(of) => ("customer", &of.customer),
        Payload::SelfserviceEnded(of) => ("session", &of.session),
        Payload::CostRecorded(of) if of.team.is_empty() => ("conversation", &of.conversation),
        Payload::CostRecorded(of) => ("team", &of.team),
        Payload::EventRetracted(of) => named(of.subject.as_ref().expect("a subject")),
    };
    (kind, id.clone())
}

fn named(subject: &Subject) -> (&'static str, &String) {
    match subject.kind.as_ref().expect("a kind") {
        subject::Kind::Conversation(id) => ("conversation", id),
        subject::Kind::Agent(id) => ("agent", id),
        subject::Kind::Customer(id) => ("customer", id),
        subject::Kind::Survey(id) => ("survey", id),
        subject::Kind::Review(id) => ("review", id),
        subject::Kind::Task(id) => ("task", id),
        subject::Kind::SelfserviceSession(id) => ("session", id),
        subject::Kind::Team(id) => ("team", id),
    }
}
