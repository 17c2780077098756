//! Events of conversations and their messages.

use std::fmt::Display;

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_edge::fault::Fault;
use deskpulse_proto::lent::{
    Actor, ConversationAssigned, ConversationOpened, ConversationStatusChanged, ConversationUpdated, Dimensions,
    MessageCreated, MessageSentimentScored,
};
use deskpulse_proto::v1::{
    ActorKind, AssigneeKind, AssignmentReason, ConversationStatus, Direction, Sentiment, Visibility,
};

use super::field::{TEXT, entries, invalid, known, missing, optional, required, specified, subject};

/// The most tags an update adds, and the most it removes.
const TAGS: usize = 32;

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

pub(super) fn opened<'a>(opened: &ConversationOpened<'a>) -> Result<SubjectRef<'a>, Fault> {
    const INITIATOR: &str = "conversation_opened.initiator";
    optional("conversation_opened.customer", opened.customer, TEXT)?;
    known::<Direction>("conversation_opened.direction", opened.direction)?;
    match known(INITIATOR, opened.initiator)? {
        ActorKind::Unspecified | ActorKind::Customer | ActorKind::Agent | ActorKind::Bot => (),
        ActorKind::Automation | ActorKind::Campaign | ActorKind::System => {
            invalid(INITIATOR, format!("{INITIATOR} must be customer, agent or bot"))?;
        }
    }
    dimensions("conversation_opened.dimensions", opened.dimensions.as_ref())?;
    subject("conversation_opened.conversation", SubjectKind::Conversation, opened.conversation)
}

pub(super) fn status<'a>(changed: &ConversationStatusChanged<'a>) -> Result<SubjectRef<'a>, Fault> {
    const INTO: &str = "conversation_status_changed.merged_into";
    let status: ConversationStatus = specified("conversation_status_changed.status", changed.status)?;
    if status == ConversationStatus::Merged {
        required(INTO, changed.merged_into, TEXT)?;
        if changed.merged_into == changed.conversation {
            invalid(INTO, format!("{INTO} names the conversation itself"))?;
        }
    } else if !changed.merged_into.is_empty() {
        invalid(INTO, format!("{INTO} goes with the status merged only"))?;
    }
    if let Some(named) = &changed.actor {
        known::<ActorKind>("conversation_status_changed.actor.kind", named.kind)?;
        optional("conversation_status_changed.actor.id", named.id, TEXT)?;
    }
    subject("conversation_status_changed.conversation", SubjectKind::Conversation, changed.conversation)
}

pub(super) fn assigned<'a>(assigned: &ConversationAssigned<'a>) -> Result<SubjectRef<'a>, Fault> {
    const ASSIGNEE: &str = "conversation_assigned.assignee";
    match specified("conversation_assigned.to", assigned.to)? {
        AssigneeKind::Nobody | AssigneeKind::Unspecified => {
            if !assigned.assignee.is_empty() {
                invalid(ASSIGNEE, format!("{ASSIGNEE} must be empty when assigned to nobody"))?;
            }
        }
        AssigneeKind::Bot | AssigneeKind::Team | AssigneeKind::Agent => required(ASSIGNEE, assigned.assignee, TEXT)?,
    }
    known::<AssignmentReason>("conversation_assigned.reason", assigned.reason)?;
    optional("conversation_assigned.team", assigned.team, TEXT)?;
    subject("conversation_assigned.conversation", SubjectKind::Conversation, assigned.conversation)
}

pub(super) fn updated<'a>(updated: &ConversationUpdated<'a>) -> Result<SubjectRef<'a>, Fault> {
    dimensions("conversation_updated.set", updated.set.as_ref())?;
    entries("conversation_updated.clear", updated.clear.len(), CLEARABLE.len())?;
    for name in &updated.clear {
        if !CLEARABLE.contains(name) {
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
    subject("conversation_updated.conversation", SubjectKind::Conversation, updated.conversation)
}

pub(super) fn message<'a>(message: &MessageCreated<'a>) -> Result<SubjectRef<'a>, Fault> {
    let Some(Actor { kind, id }) = &message.actor else {
        return Err(missing("message_created.actor", "who wrote it"));
    };
    specified::<ActorKind>("message_created.actor.kind", *kind)?;
    optional("message_created.actor.id", id, TEXT)?;
    known::<Visibility>("message_created.visibility", message.visibility)?;
    optional("message_created.quick_reply", message.quick_reply, TEXT)?;
    known::<Sentiment>("message_created.sentiment", message.sentiment)?;
    subject("message_created.conversation", SubjectKind::Conversation, message.conversation)
}

pub(super) fn scored<'a>(scored: &MessageSentimentScored<'a>) -> Result<SubjectRef<'a>, Fault> {
    required("message_sentiment_scored.message_event_id", scored.message_event_id, TEXT)?;
    specified::<Sentiment>("message_sentiment_scored.sentiment", scored.sentiment)?;
    subject("message_sentiment_scored.conversation", SubjectKind::Conversation, scored.conversation)
}

fn dimensions(prefix: impl Display, dimensions: Option<&Dimensions>) -> Result<(), Fault> {
    let Some(dimensions) = dimensions else { return Ok(()) };
    for (name, value) in [
        ("channel", dimensions.channel),
        ("team", dimensions.team),
        ("agent", dimensions.agent),
        ("priority", dimensions.priority),
        ("topic", dimensions.topic),
        ("subtopic", dimensions.subtopic),
        ("language", dimensions.language),
        ("country", dimensions.country),
        ("customer_segment", dimensions.customer_segment),
    ] {
        optional(format_args!("{prefix}.{name}"), value, TEXT)?;
    }
    Ok(())
}
