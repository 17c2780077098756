//! From the wire to the core: blocks as ingest wrote them.

mod config;
mod conversation;
mod others;

use deskpulse_core::dimension::AttributeName;
use deskpulse_core::event::{CreditKey, Event, EventId, Payload};
use deskpulse_core::partition::{Arrival, Block};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::state::Mention;
use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_core::time::Timestamp;
use deskpulse_proto::v1::{self, event, subject};
use prost::Message;

use config::change;

/// A block of the log.
#[derive(Debug)]
pub struct DecodedBlock {
    /// What it holds for its partition.
    pub block: Block,
    /// For each of its arrivals, the event's index among the events of the block. The others are of types this version has
    /// no meaning for: ingest refuses those, but the log may have been written by a newer version.
    pub indices: Vec<u32>,
    /// How many events it holds, those without meaning included.
    pub events: u32,
    /// The change of configuration in it, as it was written.
    pub config: Option<v1::ConfigChange>,
}

/// Decodes the bytes of an `EventBlock`.
pub fn block(bytes: &[u8], names: &Names) -> Result<DecodedBlock, prost::DecodeError> {
    let v1::EventBlock { events, mentions, config } = v1::EventBlock::decode(bytes)?;
    let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
    let (mut indices, mut arrivals) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    for (index, event) in (0..).zip(events) {
        if let Some(arrival) = arrival(event, names) {
            indices.push(index);
            arrivals.push(arrival);
        }
    }
    let mentions = mentions.iter().filter_map(|event| mention(event, names)).collect();
    let change = config.clone().and_then(|config| change(config, names));
    Ok(DecodedBlock { block: Block { change, arrivals, mentions }, indices, events: count, config })
}

/// Which event is decoded.
#[derive(Debug, Clone, Copy)]
struct Identity<'a> {
    id: &'a EventId,
    time: Timestamp,
}

/// What an event is about.
type Decoded = (SubjectKind, String, Payload);

/// Decodes an event. `None` for a type this version has no meaning for: ingest refuses those, but the log may have been
/// written by a newer version.
fn arrival(event: v1::Event, names: &Names) -> Option<Arrival> {
    let id = EventId { source: names.symbol(&event.source), id: event.id.into() };
    let time = event.time.as_ref().map_or(Timestamp::MIN, instant);
    let mut attributes: Vec<(Symbol, Option<Symbol>)> = event
        .attributes
        .iter()
        .filter(|(name, _)| AttributeName::parse(name).is_some())
        .map(|(name, value)| (names.symbol(name), names.symbol_if_set(value)))
        .collect();
    attributes.sort_unstable();
    let (kind, subject, payload) = payload(event.payload?, Identity { id: &id, time }, names)?;
    Some(Arrival {
        tenant: names.symbol(&event.tenant),
        kind,
        subject: subject.into(),
        event: Event { id, time, sequence: event.sequence, attributes: attributes.into(), payload },
    })
}

/// Decodes what an event of another subject says to the conversation it names: tenant, conversation, mention.
fn mention(event: &v1::Event, names: &Names) -> Option<(Symbol, Box<str>, Mention)> {
    use event::Payload as Wire;
    let (kind, id, conversation) = match event.payload.as_ref()? {
        Wire::SurveySent(sent) => (SubjectKind::Survey, &sent.survey, &sent.conversation),
        Wire::SurveyAnswered(answered) => (SubjectKind::Survey, &answered.survey, &answered.conversation),
        Wire::ReviewPosted(review) => (SubjectKind::Review, &review.review, &review.conversation),
        Wire::CustomerLifecycle(lifecycle) => (SubjectKind::Customer, &lifecycle.customer, &lifecycle.conversation),
        _ => return None,
    };
    let at = event.time.as_ref().map_or(Timestamp::MIN, instant);
    let key = CreditKey::new(SubjectRef { kind, id }, &event.source, &event.id, at, conversation);
    Some((names.symbol(&event.tenant), conversation.as_str().into(), Mention { at, key }))
}

/// Milliseconds since 1970; finer digits are cut off.
fn instant(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::clamped(time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000))
}

fn payload(payload: event::Payload, event: Identity, names: &Names) -> Option<Decoded> {
    use event::Payload as Wire;
    let of_conversation = |(conversation, payload)| (SubjectKind::Conversation, conversation, payload);
    Some(match payload {
        Wire::ConversationOpened(opened) => of_conversation(conversation::opened(opened, names)),
        Wire::ConversationStatusChanged(changed) => of_conversation(conversation::status_changed(changed, names)?),
        Wire::ConversationAssigned(assigned) => of_conversation(conversation::assigned(assigned, names)?),
        Wire::ConversationUpdated(updated) => of_conversation(conversation::updated(updated, names)),
        Wire::MessageCreated(message) => of_conversation(conversation::message(message, names)),
        Wire::MessageSentimentScored(scored) => of_conversation(conversation::scored(scored)?),
        Wire::LegStateChanged(changed) => of_conversation(conversation::leg(changed, names)?),
        Wire::AgentStateChanged(changed) => others::agent_state_changed(changed, names)?,
        Wire::AgentScheduleSet(set) => others::schedule_set(set)?,
        Wire::AgentEmploymentChanged(changed) => others::employment_changed(changed)?,
        Wire::SurveySent(sent) => others::survey_sent(sent, event, names)?,
        Wire::SurveyAnswered(answered) => others::survey_answered(answered, event, names)?,
        Wire::ReviewPosted(review) => others::review_posted(review, event, names)?,
        Wire::TaskStatusChanged(changed) => others::task_changed(changed, names)?,
        Wire::CustomerLifecycle(lifecycle) => others::lifecycle(lifecycle, event, names)?,
        Wire::SelfserviceEnded(ended) => others::session_ended(ended),
        Wire::CostRecorded(recorded) => others::cost(recorded, names)?,
        Wire::EventRetracted(retracted) => {
            let same = retracted.retracted_source.as_str() == names.text(event.id.source);
            let source = if same { event.id.source } else { names.symbol(&retracted.retracted_source) };
            let (kind, subject) = subject_of(retracted.subject?.kind?);
            (kind, subject, Payload::Retracted(EventId { source, id: retracted.retracted_id.into() }))
        }
    })
}

fn subject_of(kind: subject::Kind) -> (SubjectKind, String) {
    match kind {
        subject::Kind::Conversation(id) => (SubjectKind::Conversation, id),
        subject::Kind::Agent(id) => (SubjectKind::Agent, id),
        subject::Kind::Customer(id) => (SubjectKind::Customer, id),
        subject::Kind::Survey(id) => (SubjectKind::Survey, id),
        subject::Kind::Review(id) => (SubjectKind::Review, id),
        subject::Kind::Task(id) => (SubjectKind::Task, id),
        subject::Kind::SelfserviceSession(id) => (SubjectKind::Session, id),
        subject::Kind::Team(id) => (SubjectKind::Team, id),
    }
}
