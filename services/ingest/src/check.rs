//! Checking one event, field by field.

mod agent;
mod business;
mod conversation;
mod field;
mod leg;
mod quality;
mod retraction;

use std::collections::BTreeMap;
use std::time::Duration;

use deskpulse_core::dimension::AttributeName;
use deskpulse_core::subject::{ALL_TENANTS, SubjectRef};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::lent::{Event, Payload};

use field::{TEXT, entries, instant, invalid, missing, optional, required};

/// The longest tenant id, in bytes.
const TENANT: usize = 64;
/// The most custom attributes of an event.
const ATTRIBUTES: usize = 8;

/// What a good event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked<'a> {
    /// Whose timeline it belongs to.
    pub subject: SubjectRef<'a>,
    /// The conversation it names beside its subject; `None` when it names none.
    pub mentions: Option<&'a str>,
}

impl<'a> Checked<'a> {
    /// An event that names no conversation beside its subject.
    fn alone(subject: SubjectRef<'a>) -> Self {
        Self { subject, mentions: None }
    }

    /// An event that may name a conversation; empty when it does not.
    fn mentioning(subject: SubjectRef<'a>, conversation: &'a str) -> Self {
        Self { subject, mentions: (!conversation.is_empty()).then_some(conversation) }
    }
}

/// Checks an event; `now` is when it arrived, `future` how far after that its time may lie. A fault names the field, what is wrong with it
/// and what to do.
pub fn check<'a>(event: &Event<'a>, now: Timestamp, future: Duration) -> Result<Checked<'a>, Fault> {
    required("id", event.id, TEXT)?;
    required("source", event.source, TEXT)?;
    required("tenant", event.tenant, TENANT)?;
    if event.tenant == ALL_TENANTS {
        return field::invalid("tenant", "tenant is -, which stands for all tenants in questions: choose another id");
    }
    time(event, now, future)?;
    attributes(event)?;
    let Some(payload) = &event.payload else {
        return Err(missing("payload", "say what happened"));
    };
    let subject = match payload {
        Payload::ConversationOpened(opened) => conversation::opened(opened)?,
        Payload::ConversationStatusChanged(changed) => conversation::status(changed)?,
        Payload::ConversationAssigned(assigned) => conversation::assigned(assigned)?,
        Payload::ConversationUpdated(updated) => conversation::updated(updated)?,
        Payload::MessageCreated(message) => conversation::message(message)?,
        Payload::MessageSentimentScored(scored) => conversation::scored(scored)?,
        Payload::LegStateChanged(changed) => leg::state(changed)?,
        Payload::AgentStateChanged(changed) => agent::state(changed)?,
        Payload::AgentScheduleSet(set) => agent::schedule(set)?,
        Payload::AgentEmploymentChanged(changed) => agent::employment(changed)?,
        Payload::SurveySent(sent) => return quality::sent(sent),
        Payload::SurveyAnswered(answered) => return quality::answered(answered),
        Payload::ReviewPosted(posted) => return quality::review(posted),
        Payload::TaskStatusChanged(changed) => business::task(changed)?,
        Payload::CustomerLifecycle(lifecycle) => return business::lifecycle(lifecycle),
        Payload::SelfserviceEnded(ended) => business::selfservice(ended)?,
        Payload::CostRecorded(recorded) => business::cost(recorded)?,
        Payload::EventRetracted(retracted) => retraction::retracted(retracted)?,
    };
    Ok(Checked::alone(subject))
}

fn time(event: &Event, now: Timestamp, future: Duration) -> Result<(), Fault> {
    let at = instant("time", event.time.as_ref(), "when did it happen")?;
    let limit_ms = i64::try_from(future.as_millis()).unwrap_or(i64::MAX);
    if at.millis_since(now) > limit_ms {
        let message = format!(
            "time is {} s in the future, the limit is {} s: check the sender's clock and unit",
            at.millis_since(now) / 1_000,
            limit_ms / 1_000
        );
        return Err(Fault::in_field(Reason::TimeInFuture, "time", message));
    }
    Ok(())
}

fn attributes(event: &Event) -> Result<(), Fault> {
    // Of one name the last holds.
    let attributes: BTreeMap<&str, &str> =
        event.attributes.0.iter().map(|attribute| (attribute.name, attribute.value)).collect();
    entries("attributes", attributes.len(), ATTRIBUTES)?;
    for (name, value) in attributes {
        if !AttributeName::is_valid(name) {
            return invalid("attributes", "an attribute's name must be 1 to 64 of a-z, 0-9 and _");
        }
        optional(format_args!("attributes.{name}"), value, TEXT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use deskpulse_core::subject::SubjectKind;
    use deskpulse_proto::v1::event::Payload;
    use deskpulse_proto::v1::{
        AgentEmploymentChanged, AgentScheduleSet, AgentStateChanged, ConversationUpdated, CostRecorded,
        CustomerLifecycle, Event, EventRetracted, LegStateChanged, LifecycleKind, Money, ReviewPosted,
        SelfserviceEnded, Subject, SurveyAnswered, SurveyKind, SurveySent, TaskStatusChanged, subject,
    };

    use prost::Message;

    use super::{Checked, Duration, SubjectRef, Timestamp, check};
    use deskpulse_proto::lent;

    fn event(payload: Payload) -> Event {
        Event {
            id: "e1".to_owned(),
            source: "test".to_owned(),
            tenant: "acme".to_owned(),
            time: Some(prost_types::Timestamp::default()),
            payload: Some(payload),
            ..Default::default()
        }
    }

    fn cost(conversation: &str, team: &str) -> Payload {
        Payload::CostRecorded(CostRecorded {
            amount: Some(Money { currency: "EUR".to_owned(), amount_micros: -1 }),
            conversation: conversation.to_owned(),
            team: team.to_owned(),
        })
    }

    fn retraction(of: impl FnOnce(String) -> subject::Kind) -> Payload {
        Payload::EventRetracted(EventRetracted {
            subject: Some(Subject { kind: Some(of("x".to_owned())) }),
            retracted_source: "test".to_owned(),
            retracted_id: "e0".to_owned(),
        })
    }

    #[test]
    fn every_event_is_about_its_subject_and_mentions_the_conversation_it_names() {
        let (x, c) = (|| "x".to_owned(), || "c".to_owned());
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let csat = SurveyKind::Csat.into();
        let schedule = AgentScheduleSet { agent: x(), from: time(0), to: time(1), activity: 2, ..Default::default() };
        let sent = SurveySent { survey: x(), kind: csat, ..Default::default() };
        let answered = SurveyAnswered { survey: x(), kind: csat, score: Some(-1_000), ..Default::default() };
        let review = ReviewPosted { review: x(), rating: Some(5), ..Default::default() };
        let churned = CustomerLifecycle { customer: x(), kind: LifecycleKind::Churned.into(), ..Default::default() };
        let cases = [
            (
                Payload::ConversationUpdated(ConversationUpdated { conversation: x(), ..Default::default() }),
                SubjectKind::Conversation,
                false,
            ),
            (
                Payload::LegStateChanged(LegStateChanged {
                    conversation: x(),
                    leg: c(),
                    state: 2,
                    ..Default::default()
                }),
                SubjectKind::Conversation,
                false,
            ),
            (
                Payload::AgentStateChanged(AgentStateChanged { agent: x(), state: 1, ..Default::default() }),
                SubjectKind::Agent,
                false,
            ),
            (Payload::AgentScheduleSet(schedule), SubjectKind::Agent, false),
            (
                Payload::AgentEmploymentChanged(AgentEmploymentChanged { agent: x(), employment: 1 }),
                SubjectKind::Agent,
                false,
            ),
            (Payload::SurveySent(sent.clone()), SubjectKind::Survey, false),
            (Payload::SurveySent(SurveySent { conversation: c(), ..sent }), SubjectKind::Survey, true),
            (Payload::SurveyAnswered(answered.clone()), SubjectKind::Survey, false),
            (Payload::SurveyAnswered(SurveyAnswered { conversation: c(), ..answered }), SubjectKind::Survey, true),
            (Payload::ReviewPosted(review.clone()), SubjectKind::Review, false),
            (Payload::ReviewPosted(ReviewPosted { conversation: c(), ..review }), SubjectKind::Review, true),
            (
                Payload::TaskStatusChanged(TaskStatusChanged { task: x(), status: 1, ..Default::default() }),
                SubjectKind::Task,
                false,
            ),
            (Payload::CustomerLifecycle(churned.clone()), SubjectKind::Customer, false),
            (
                Payload::CustomerLifecycle(CustomerLifecycle { conversation: c(), ..churned }),
                SubjectKind::Customer,
                true,
            ),
            (
                Payload::SelfserviceEnded(SelfserviceEnded { session: x(), customer: c(), ..Default::default() }),
                SubjectKind::Session,
                false,
            ),
            (cost("x", ""), SubjectKind::Conversation, false),
            (cost("", "x"), SubjectKind::Team, false),
            (retraction(subject::Kind::Conversation), SubjectKind::Conversation, false),
            (retraction(subject::Kind::Agent), SubjectKind::Agent, false),
            (retraction(subject::Kind::Customer), SubjectKind::Customer, false),
            (retraction(subject::Kind::Survey), SubjectKind::Survey, false),
            (retraction(subject::Kind::Review), SubjectKind::Review, false),
            (retraction(subject::Kind::Task), SubjectKind::Task, false),
            (retraction(subject::Kind::SelfserviceSession), SubjectKind::Session, false),
            (retraction(subject::Kind::Team), SubjectKind::Team, false),
        ];
        for (payload, kind, mentions) in cases {
            let bytes = event(payload).encode_to_vec();
            let event = lent::Event::decode(&bytes).expect("it was encoded here");
            let checked = check(&event, Timestamp::clamped(0), Duration::ZERO);
            let expected = Checked { subject: SubjectRef { kind, id: "x" }, mentions: mentions.then_some("c") };
            assert_eq!(checked, Ok(expected), "{event:?}");
        }
    }
}
