//! Checking one event, field by field.

use std::time::Duration;

use deskpulse_core::dimension::AttributeName;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, AssignmentReason, ConversationAssigned, ConversationOpened,
    ConversationStatusChanged, ConversationUpdated, Dimensions, Direction, Event, EventRetracted, MessageCreated,
    MessageSentimentScored, Sentiment, Visibility, subject,
};

/// The longest tenant id, in bytes.
const TENANT: usize = 64;
/// The longest of every other id, name and value, in bytes.
const TEXT: usize = 128;
const ATTRIBUTES: usize = 8;
const TAGS: usize = 32;

type Checked = Result<(), Fault>;

/// Checks an event; `now` is when it arrived. Returns the conversation it is about.
pub(crate) fn check(event: &Event, now: Timestamp, future: Duration) -> Result<&str, Fault> {
    required("id", &event.id, TEXT)?;
    required("source", &event.source, TEXT)?;
    required("tenant", &event.tenant, TENANT)?;
    time(event, now, future)?;
    attributes(event)?;
    let Some(payload) = &event.payload else {
        return Err(Fault::in_field(Reason::FieldRequired, "payload", "payload is required: say what happened"));
    };
    let (name, conversation) = match payload {
        Payload::ConversationOpened(opened) => ("conversation_opened", check_opened(opened)?),
        Payload::ConversationStatusChanged(changed) => ("conversation_status_changed", check_status(changed)?),
        Payload::ConversationAssigned(assigned) => ("conversation_assigned", check_assigned(assigned)?),
        Payload::ConversationUpdated(updated) => ("conversation_updated", check_updated(updated)?),
        Payload::MessageCreated(message) => ("message_created", check_message(message)?),
        Payload::MessageSentimentScored(scored) => ("message_sentiment_scored", check_scored(scored)?),
        Payload::EventRetracted(retracted) => return check_retracted(retracted),
        Payload::LegStateChanged(_)
        | Payload::AgentStateChanged(_)
        | Payload::AgentScheduleSet(_)
        | Payload::AgentEmploymentChanged(_)
        | Payload::SurveySent(_)
        | Payload::SurveyAnswered(_)
        | Payload::ReviewPosted(_)
        | Payload::TaskStatusChanged(_)
        | Payload::CustomerLifecycle(_)
        | Payload::SelfserviceEnded(_)
        | Payload::CostRecorded(_) => {
            return Err(Fault::in_field(
                Reason::EventTypeUnsupported,
                "payload",
                "this version takes conversation, message and retraction events only; keep this one and send it again \
                 after an upgrade",
            ));
        }
    };
    required(&format!("{name}.conversation"), conversation, TEXT)?;
    Ok(conversation)
}

fn required(field: &str, value: &str, limit: usize) -> Checked {
    if value.is_empty() {
        return Err(Fault::in_field(Reason::FieldRequired, field, format!("{field} is required")));
    }
    optional(field, value, limit)
}

fn optional(field: &str, value: &str, limit: usize) -> Checked {
    if value.len() <= limit {
        return Ok(());
    }
    let message = format!("{field} has {} bytes, the limit is {limit}: shorten it", value.len());
    Err(Fault::in_field(Reason::FieldTooLong, field, message))
}

fn entries(field: &str, count: usize, limit: usize) -> Checked {
    if count <= limit {
        return Ok(());
    }
    let message = format!("{field} has {count} entries, the limit is {limit}: send fewer");
    Err(Fault::in_field(Reason::FieldTooLong, field, message))
}

fn invalid(field: &str, message: String) -> Checked {
    Err(Fault::in_field(Reason::FieldInvalid, field, message))
}

/// An enum's number must be one this version knows; `zero` says whether unspecified will do.
fn known<T: TryFrom<i32> + Into<i32>>(field: &str, number: i32, zero: bool) -> Checked {
    match (T::try_from(number), number) {
        (_, 0) if !zero => Err(Fault::in_field(
            Reason::FieldRequired,
            field,
            format!("{field} is required and may not be unspecified"),
        )),
        (Ok(_), _) => Ok(()),
        (Err(_), _) => invalid(field, format!("{field} has the value {number}, which this version does not know")),
    }
}

fn time(event: &Event, now: Timestamp, future: Duration) -> Checked {
    let Some(time) = &event.time else {
        return Err(Fault::in_field(Reason::FieldRequired, "time", "time is required: when did it happen"));
    };
    let Some(at) = instant(time) else {
        return invalid(
            "time",
            "time is no instant of the years 1 to 9999 with nanos from 0 to 999,999,999".to_owned(),
        );
    };
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

/// The instant, in whole milliseconds.
fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        return None;
    }
    let ms = time.seconds.checked_mul(1_000)?.checked_add(i64::from(time.nanos) / 1_000_000)?;
    Timestamp::from_millis(ms)
}

fn attributes(event: &Event) -> Checked {
    entries("attributes", event.attributes.len(), ATTRIBUTES)?;
    for (name, value) in &event.attributes {
        if AttributeName::parse(name).is_none() {
            return invalid("attributes", "an attribute's name must be 1 to 64 of a-z, 0-9 and _".to_owned());
        }
        optional(&format!("attributes.{name}"), value, TEXT)?;
    }
    Ok(())
}

fn dimensions(prefix: &str, dimensions: Option<&Dimensions>) -> Checked {
    let Some(dimensions) = dimensions else { return Ok(()) };
    for (name, value) in [
        ("channel", &dimensions.channel),
        ("team", &dimensions.team),
        ("agent", &dimensions.agent),
        ("priority", &dimensions.priority),
        ("topic", &dimensions.topic),
        ("subtopic", &dimensions.subtopic),
        ("language", &dimensions.language),
        ("country", &dimensions.country),
        ("customer_segment", &dimensions.customer_segment),
    ] {
        optional(&format!("{prefix}.{name}"), value, TEXT)?;
    }
    Ok(())
}

fn actor(prefix: &str, actor: Option<&Actor>, is_required: bool) -> Checked {
    match actor {
        None if is_required => {
            Err(Fault::in_field(Reason::FieldRequired, prefix, format!("{prefix} is required: who did it")))
        }
        None => Ok(()),
        Some(actor) => {
            known::<ActorKind>(&format!("{prefix}.kind"), actor.kind, !is_required)?;
            optional(&format!("{prefix}.id"), &actor.id, TEXT)
        }
    }
}

fn check_opened(opened: &ConversationOpened) -> Result<&str, Fault> {
    optional("conversation_opened.customer", &opened.customer, TEXT)?;
    known::<Direction>("conversation_opened.direction", opened.direction, true)?;
    known::<ActorKind>("conversation_opened.initiator", opened.initiator, true)?;
    let initiator = ActorKind::try_from(opened.initiator);
    if !matches!(initiator, Ok(ActorKind::Unspecified | ActorKind::Customer | ActorKind::Agent | ActorKind::Bot)) {
        let message = "conversation_opened.initiator must be customer, agent or bot";
        invalid("conversation_opened.initiator", message.to_owned())?;
    }
    dimensions("conversation_opened.dimensions", opened.dimensions.as_ref())?;
    Ok(&opened.conversation)
}

fn check_status(changed: &ConversationStatusChanged) -> Result<&str, Fault> {
    use deskpulse_proto::v1::ConversationStatus as Status;
    const FIELD: &str = "conversation_status_changed.merged_into";
    known::<Status>("conversation_status_changed.status", changed.status, false)?;
    if changed.status == i32::from(Status::Merged) {
        required(FIELD, &changed.merged_into, TEXT)?;
        if changed.merged_into == changed.conversation {
            invalid(FIELD, format!("{FIELD} names the conversation itself"))?;
        }
    } else if !changed.merged_into.is_empty() {
        invalid(FIELD, format!("{FIELD} goes with the status merged only"))?;
    }
    actor("conversation_status_changed.actor", changed.actor.as_ref(), false)?;
    Ok(&changed.conversation)
}

fn check_assigned(assigned: &ConversationAssigned) -> Result<&str, Fault> {
    const FIELD: &str = "conversation_assigned.assignee";
    known::<AssigneeKind>("conversation_assigned.to", assigned.to, false)?;
    known::<AssignmentReason>("conversation_assigned.reason", assigned.reason, true)?;
    if assigned.to == i32::from(AssigneeKind::Nobody) {
        if !assigned.assignee.is_empty() {
            invalid(FIELD, format!("{FIELD} must be empty when assigned to nobody"))?;
        }
    } else {
        required(FIELD, &assigned.assignee, TEXT)?;
    }
    optional("conversation_assigned.team", &assigned.team, TEXT)?;
    Ok(&assigned.conversation)
}

/// The names `conversation_updated.clear` may hold.
const CLEARABLE: [&str; 10] = [
    "channel",
    "direction",
    "team",
    "agent",
    "priority",
    "topic",
    "subtopic",
    "language",
    "country",
    "customer_segment",
];

fn check_updated(updated: &ConversationUpdated) -> Result<&str, Fault> {
    dimensions("conversation_updated.set", updated.set.as_ref())?;
    entries("conversation_updated.clear", updated.clear.len(), CLEARABLE.len())?;
    for name in &updated.clear {
        if !CLEARABLE.contains(&name.as_str()) {
            let message = format!("conversation_updated.clear may hold {}", CLEARABLE.join(", "));
            invalid("conversation_updated.clear", message)?;
        }
    }
    for (field, tags) in [
        ("conversation_updated.add_tags", &updated.add_tags),
        ("conversation_updated.remove_tags", &updated.remove_tags),
    ] {
        entries(field, tags.len(), TAGS)?;
        for tag in tags {
            required(field, tag, TEXT)?;
        }
    }
    Ok(&updated.conversation)
}

fn check_message(message: &MessageCreated) -> Result<&str, Fault> {
    actor("message_created.actor", message.actor.as_ref(), true)?;
    known::<Visibility>("message_created.visibility", message.visibility, true)?;
    optional("message_created.quick_reply", &message.quick_reply, TEXT)?;
    known::<Sentiment>("message_created.sentiment", message.sentiment, true)?;
    Ok(&message.conversation)
}

fn check_scored(scored: &MessageSentimentScored) -> Result<&str, Fault> {
    required("message_sentiment_scored.message_event_id", &scored.message_event_id, TEXT)?;
    known::<Sentiment>("message_sentiment_scored.sentiment", scored.sentiment, false)?;
    Ok(&scored.conversation)
}

fn check_retracted(retracted: &EventRetracted) -> Result<&str, Fault> {
    required("event_retracted.retracted_source", &retracted.retracted_source, TEXT)?;
    required("event_retracted.retracted_id", &retracted.retracted_id, TEXT)?;
    match retracted.subject.as_ref().and_then(|subject| subject.kind.as_ref()) {
        Some(subject::Kind::Conversation(conversation)) => {
            required("event_retracted.subject.conversation", conversation, TEXT)?;
            Ok(conversation)
        }
        Some(_) => Err(Fault::in_field(
            Reason::EventTypeUnsupported,
            "event_retracted.subject",
            "this version takes events of conversations only",
        )),
        None => Err(Fault::in_field(
            Reason::FieldRequired,
            "event_retracted.subject",
            "event_retracted.subject is required: whose event is taken back",
        )),
    }
}
