//! Events of conversations, each with the conversation it is about.

use deskpulse_core::dimension::Dimension;
use deskpulse_core::event::{
    Actor, Assignee, AssignmentReason, DimensionChanges, Initiator, LegChange, LegEnd, LegState, Opened, Payload,
    Sentiment, Status, Visibility,
};
use deskpulse_core::series::{DimensionValues, Names, Symbol};
use deskpulse_proto::v1;

use super::{known, lent};

pub(super) fn opened<'a>(opened: &lent::ConversationOpened<'a>, names: &Names) -> (&'a str, Payload) {
    let mut values = DimensionValues::default();
    for (dimension, value) in set_dimensions(opened.dimensions.as_ref(), names) {
        values.set(&dimension, Some(value));
    }
    let direction = match known(opened.direction) {
        v1::Direction::Unspecified => None,
        v1::Direction::Inbound => Some(names.symbol("inbound")),
        v1::Direction::Outbound => Some(names.symbol("outbound")),
    };
    values.set(&Dimension::Direction, direction);
    let initiator = match known(opened.initiator) {
        v1::ActorKind::Agent => Initiator::Agent,
        v1::ActorKind::Bot => Initiator::Bot,
        v1::ActorKind::Unspecified if known::<v1::Direction>(opened.direction) == v1::Direction::Outbound => {
            Initiator::Agent
        }
        v1::ActorKind::Unspecified
        | v1::ActorKind::Customer
        | v1::ActorKind::Automation
        | v1::ActorKind::Campaign
        | v1::ActorKind::System => Initiator::Customer,
    };
    let customer = (!opened.customer.is_empty()).then(|| opened.customer.into());
    (opened.conversation, Payload::Opened(Box::new(Opened { customer, initiator, dimensions: values })))
}

pub(super) fn status_changed<'a>(
    changed: &lent::ConversationStatusChanged<'a>,
    names: &Names,
) -> Option<(&'a str, Payload)> {
    let payload = Payload::StatusChanged {
        status: status(known(changed.status))?,
        merged_into: (!changed.merged_into.is_empty()).then(|| changed.merged_into.into()),
        actor: actor(changed.actor.as_ref(), names),
    };
    Some((changed.conversation, payload))
}

pub(super) fn assigned<'a>(assigned: &lent::ConversationAssigned<'a>, names: &Names) -> Option<(&'a str, Payload)> {
    let payload = Payload::Assigned { to: assignee(assigned, names)?, reason: reason(known(assigned.reason)) };
    Some((assigned.conversation, payload))
}

pub(super) fn updated<'a>(updated: &lent::ConversationUpdated<'a>, names: &Names) -> (&'a str, Payload) {
    let payload = Payload::Updated(Box::new(changes(updated, names)));
    (updated.conversation, payload)
}

pub(super) fn message<'a>(message: &lent::MessageCreated<'a>, names: &Names) -> (&'a str, Payload) {
    let payload = Payload::MessageCreated {
        actor: actor(message.actor.as_ref(), names),
        visibility: match known(message.visibility) {
            v1::Visibility::Unspecified | v1::Visibility::Public => Visibility::Public,
            v1::Visibility::Private => Visibility::Private,
        },
        quick_reply: names.symbol_if_set(message.quick_reply),
        sentiment: sentiment(known(message.sentiment)),
    };
    (message.conversation, payload)
}

pub(super) fn scored<'a>(scored: &lent::MessageSentimentScored<'a>) -> Option<(&'a str, Payload)> {
    let sentiment = sentiment(known(scored.sentiment))?;
    Some((scored.conversation, Payload::SentimentScored { message: scored.message_event_id.into(), sentiment }))
}

pub(super) fn leg<'a>(changed: &lent::LegStateChanged<'a>, names: &Names) -> Option<(&'a str, Payload)> {
    let state = match known(changed.state) {
        v1::LegState::Unspecified => return None,
        v1::LegState::Ivr => LegState::Ivr,
        v1::LegState::Queued => LegState::Queued,
        v1::LegState::Alerting => LegState::Alerting,
        v1::LegState::Connected => LegState::Connected,
        v1::LegState::Held => LegState::Held,
        v1::LegState::Wrapup => LegState::Wrapup,
        v1::LegState::Ended => LegState::Ended,
    };
    let reason = match known(changed.end_reason) {
        v1::LegEndReason::Unspecified => None,
        v1::LegEndReason::Completed => Some(LegEnd::Completed),
        v1::LegEndReason::Abandoned => Some(LegEnd::Abandoned),
        v1::LegEndReason::Transferred => Some(LegEnd::Transferred),
        v1::LegEndReason::Callback => Some(LegEnd::Callback),
        v1::LegEndReason::Voicemail => Some(LegEnd::Voicemail),
        v1::LegEndReason::Overflow => Some(LegEnd::Overflow),
        v1::LegEndReason::Declined => Some(LegEnd::Declined),
        v1::LegEndReason::Expired => Some(LegEnd::Expired),
        v1::LegEndReason::Closed => Some(LegEnd::Closed),
    };
    let change = LegChange {
        leg: changed.leg.into(),
        queue: names.symbol_if_set(changed.queue),
        agent: names.symbol_if_set(changed.agent),
        state,
        reason,
    };
    Some((changed.conversation, Payload::LegChanged(Box::new(change))))
}

fn set_dimensions<'a>(
    dimensions: Option<&'a lent::Dimensions<'a>>,
    names: &'a Names,
) -> impl Iterator<Item = (Dimension, Symbol)> + 'a {
    dimensions
        .map(|dimensions| {
            [
                (Dimension::Channel, dimensions.channel),
                (Dimension::Team, dimensions.team),
                (Dimension::Agent, dimensions.agent),
                (Dimension::Priority, dimensions.priority),
                (Dimension::Topic, dimensions.topic),
                (Dimension::Subtopic, dimensions.subtopic),
                (Dimension::Language, dimensions.language),
                (Dimension::Country, dimensions.country),
                (Dimension::CustomerSegment, dimensions.customer_segment),
            ]
        })
        .into_iter()
        .flatten()
        .filter_map(|(dimension, value)| Some((dimension, names.symbol_if_set(value)?)))
}

fn changes(updated: &lent::ConversationUpdated, names: &Names) -> DimensionChanges {
    let cleared = updated.clear.iter().filter_map(|name| Some((Dimension::parse(name)?, None)));
    let set = set_dimensions(updated.set.as_ref(), names).map(|(dimension, value)| (dimension, Some(value)));
    let tags = |tags: &[&str]| tags.iter().map(|tag| names.symbol(tag)).collect();
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

fn actor(actor: Option<&lent::Actor>, names: &Names) -> Actor {
    let Some(actor) = actor else { return Actor::Unnamed };
    // Names are kept for good: of customers, who are many, there are none.
    let id = || names.symbol_if_set(actor.id);
    match known(actor.kind) {
        v1::ActorKind::Unspecified => Actor::Unnamed,
        v1::ActorKind::Customer => Actor::Customer,
        v1::ActorKind::Agent => Actor::Agent(id()),
        v1::ActorKind::Bot => Actor::Bot(id()),
        v1::ActorKind::Automation => Actor::Automation,
        v1::ActorKind::Campaign => Actor::Campaign,
        v1::ActorKind::System => Actor::System,
    }
}

fn assignee(assigned: &lent::ConversationAssigned, names: &Names) -> Option<Assignee> {
    let name = || names.symbol(assigned.assignee);
    match known(assigned.to) {
        v1::AssigneeKind::Unspecified => None,
        v1::AssigneeKind::Nobody => Some(Assignee::Nobody),
        v1::AssigneeKind::Bot => Some(Assignee::Bot(name())),
        v1::AssigneeKind::Team => Some(Assignee::Team(name())),
        v1::AssigneeKind::Agent => Some(Assignee::Agent { agent: name(), team: names.symbol_if_set(assigned.team) }),
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
