//! From the wire to the core: events as ingest accepted them.

use deskpulse_core::dimension::{AttributeName, Dimension};
use deskpulse_core::event::{
    Actor, Assignee, AssignmentReason, DimensionChanges, Event, EventId, Initiator, Opened, Payload, Sentiment, Status,
    Visibility,
};
use deskpulse_core::partition::Arrival;
use deskpulse_core::series::{DimensionValues, Names, Symbol};
use deskpulse_core::time::Timestamp;
use deskpulse_proto::v1::{self, event, subject};

/// Decodes an event. `None` for a type this version has no meaning for: ingest refuses those, but the log may have been
/// written by a newer version.
pub(crate) fn decode(event: v1::Event, names: &Names) -> Option<Arrival> {
    let id = EventId { source: names.symbol(&event.source), id: event.id.into() };
    let time = event.time.as_ref().map_or(0, millis);
    let mut attributes: Vec<(Symbol, Option<Symbol>)> = event
        .attributes
        .iter()
        .filter(|(name, _)| AttributeName::parse(name).is_some())
        .map(|(name, value)| (names.symbol(name), names.symbol_if_set(value)))
        .collect();
    attributes.sort_unstable();
    let (conversation, payload) = payload(event.payload?, id.source, names)?;
    Some(Arrival {
        tenant: names.symbol(&event.tenant),
        conversation: conversation.into(),
        event: Event {
            id,
            time: Timestamp::clamped(time),
            sequence: event.sequence,
            attributes: attributes.into(),
            payload,
        },
    })
}

/// Milliseconds since 1970; finer digits are cut off.
fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

fn payload(payload: event::Payload, source: Symbol, names: &Names) -> Option<(String, Payload)> {
    use event::Payload as Wire;
    let decoded = match payload {
        Wire::ConversationOpened(opened) => {
            let decoded = Payload::Opened(Box::new(self::opened(&opened, names)));
            (opened.conversation, decoded)
        }
        Wire::ConversationStatusChanged(changed) => {
            let decoded = Payload::StatusChanged {
                status: status(changed.status())?,
                merged_into: (!changed.merged_into.is_empty()).then(|| changed.merged_into.as_str().into()),
                actor: actor(changed.actor.as_ref(), names),
            };
            (changed.conversation, decoded)
        }
        Wire::ConversationAssigned(assigned) => {
            let decoded = Payload::Assigned { to: assignee(&assigned, names)?, reason: reason(assigned.reason()) };
            (assigned.conversation, decoded)
        }
        Wire::ConversationUpdated(updated) => {
            let decoded = Payload::Updated(Box::new(changes(&updated, names)));
            (updated.conversation, decoded)
        }
        Wire::MessageCreated(message) => {
            let decoded = Payload::MessageCreated {
                actor: actor(message.actor.as_ref(), names),
                visibility: match message.visibility() {
                    v1::Visibility::Unspecified | v1::Visibility::Public => Visibility::Public,
                    v1::Visibility::Private => Visibility::Private,
                },
                quick_reply: names.symbol_if_set(&message.quick_reply),
                sentiment: sentiment(message.sentiment()),
            };
            (message.conversation, decoded)
        }
        Wire::MessageSentimentScored(scored) => {
            let sentiment = sentiment(scored.sentiment())?;
            (scored.conversation, Payload::SentimentScored { message: scored.message_event_id.into(), sentiment })
        }
        Wire::EventRetracted(retracted) => {
            let subject::Kind::Conversation(conversation) = retracted.subject?.kind? else { return None };
            let same = retracted.retracted_source.as_str() == names.text(source);
            let source = if same { source } else { names.symbol(&retracted.retracted_source) };
            (conversation, Payload::Retracted(EventId { source, id: retracted.retracted_id.into() }))
        }
        Wire::LegStateChanged(_)
        | Wire::AgentStateChanged(_)
        | Wire::AgentScheduleSet(_)
        | Wire::AgentEmploymentChanged(_)
        | Wire::SurveySent(_)
        | Wire::SurveyAnswered(_)
        | Wire::ReviewPosted(_)
        | Wire::TaskStatusChanged(_)
        | Wire::CustomerLifecycle(_)
        | Wire::SelfserviceEnded(_)
        | Wire::CostRecorded(_) => return None,
    };
    Some(decoded)
}

fn opened(opened: &v1::ConversationOpened, names: &Names) -> Opened {
    let mut values = DimensionValues::default();
    for (dimension, value) in set_dimensions(opened.dimensions.as_ref(), names) {
        values.set(&dimension, Some(value));
    }
    let direction = match opened.direction() {
        v1::Direction::Unspecified => None,
        v1::Direction::Inbound => Some(names.symbol("inbound")),
        v1::Direction::Outbound => Some(names.symbol("outbound")),
    };
    values.set(&Dimension::Direction, direction);
    let initiator = match opened.initiator() {
        v1::ActorKind::Agent => Initiator::Agent,
        v1::ActorKind::Bot => Initiator::Bot,
        v1::ActorKind::Unspecified if opened.direction() == v1::Direction::Outbound => Initiator::Agent,
        v1::ActorKind::Unspecified
        | v1::ActorKind::Customer
        | v1::ActorKind::Automation
        | v1::ActorKind::Campaign
        | v1::ActorKind::System => Initiator::Customer,
    };
    let customer = (!opened.customer.is_empty()).then(|| opened.customer.as_str().into());
    Opened { customer, initiator, dimensions: values }
}

fn set_dimensions<'a>(
    dimensions: Option<&'a v1::Dimensions>,
    names: &'a Names,
) -> impl Iterator<Item = (Dimension, Symbol)> + 'a {
    dimensions
        .map(|dimensions| {
            [
                (Dimension::Channel, &dimensions.channel),
                (Dimension::Team, &dimensions.team),
                (Dimension::Agent, &dimensions.agent),
                (Dimension::Priority, &dimensions.priority),
                (Dimension::Topic, &dimensions.topic),
                (Dimension::Subtopic, &dimensions.subtopic),
                (Dimension::Language, &dimensions.language),
                (Dimension::Country, &dimensions.country),
                (Dimension::CustomerSegment, &dimensions.customer_segment),
            ]
        })
        .into_iter()
        .flatten()
        .filter_map(|(dimension, value)| Some((dimension, names.symbol_if_set(value)?)))
}

fn changes(updated: &v1::ConversationUpdated, names: &Names) -> DimensionChanges {
    let cleared = updated.clear.iter().filter_map(|name| Some((Dimension::parse(name)?, None)));
    let set = set_dimensions(updated.set.as_ref(), names).map(|(dimension, value)| (dimension, Some(value)));
    let tags = |tags: &[String]| tags.iter().map(|tag| names.symbol(tag)).collect();
    DimensionChanges {
        set: cleared.chain(set).collect(),
        add_tags: tags(&updated.add_tags),
        remove_tags: tags(&updated.remove_tags),
    }
}

fn status(status: v1::ConversationStatus) -> Option<Status> {
    match status {
        v1::ConversationStatus::Unspecified => None,
        v1::ConversationStatus::Open => Some(Status::Open),
        v1::ConversationStatus::Pending => Some(Status::Pending),
        v1::ConversationStatus::OnHold => Some(Status::OnHold),
        v1::ConversationStatus::Resolved => Some(Status::Resolved),
        v1::ConversationStatus::Closed => Some(Status::Closed),
        v1::ConversationStatus::Merged => Some(Status::Merged),
        v1::ConversationStatus::Deleted => Some(Status::Deleted),
        v1::ConversationStatus::Spam => Some(Status::Spam),
    }
}

fn actor(actor: Option<&v1::Actor>, names: &Names) -> Actor {
    let Some(actor) = actor else { return Actor::Unnamed };
    let id = names.symbol_if_set(&actor.id);
    match actor.kind() {
        v1::ActorKind::Unspecified => Actor::Unnamed,
        v1::ActorKind::Customer => Actor::Customer,
        v1::ActorKind::Agent => Actor::Agent(id),
        v1::ActorKind::Bot => Actor::Bot(id),
        v1::ActorKind::Automation => Actor::Automation,
        v1::ActorKind::Campaign => Actor::Campaign,
        v1::ActorKind::System => Actor::System,
    }
}

fn assignee(assigned: &v1::ConversationAssigned, names: &Names) -> Option<Assignee> {
    let name = || names.symbol(&assigned.assignee);
    match assigned.to() {
        v1::AssigneeKind::Unspecified => None,
        v1::AssigneeKind::Nobody => Some(Assignee::Nobody),
        v1::AssigneeKind::Bot => Some(Assignee::Bot(name())),
        v1::AssigneeKind::Team => Some(Assignee::Team(name())),
        v1::AssigneeKind::Agent => Some(Assignee::Agent { agent: name(), team: names.symbol_if_set(&assigned.team) }),
    }
}

fn reason(reason: v1::AssignmentReason) -> AssignmentReason {
    match reason {
        v1::AssignmentReason::Unspecified => AssignmentReason::Unsaid,
        v1::AssignmentReason::Route => AssignmentReason::Route,
        v1::AssignmentReason::Manual => AssignmentReason::Manual,
        v1::AssignmentReason::Transfer => AssignmentReason::Transfer,
        v1::AssignmentReason::Return => AssignmentReason::Return,
        v1::AssignmentReason::Handoff => AssignmentReason::Handoff,
    }
}

fn sentiment(sentiment: v1::Sentiment) -> Option<Sentiment> {
    match sentiment {
        v1::Sentiment::Unspecified => None,
        v1::Sentiment::Positive => Some(Sentiment::Positive),
        v1::Sentiment::Neutral => Some(Sentiment::Neutral),
        v1::Sentiment::Negative => Some(Sentiment::Negative),
    }
}
