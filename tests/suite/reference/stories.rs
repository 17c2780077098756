//! Volume and content, bots, and the costs of a conversation.

use deskpulse_proto::v1::{ActorKind, AssigneeKind, Sentiment, Visibility};

use super::conversations::{Conversation, author};
use super::legs::legs;
use super::{Model, Sample};

pub(crate) fn read(conversation: &Conversation, model: &mut Model) {
    for (_, step) in conversation.events() {
        if let Some(cost) = step.cost() {
            let amount = cost.amount.as_ref().expect("an amount");
            let dimensions = step.after.with("currency", &amount.currency);
            model.sample(Sample::new("cost", step.at, &dimensions, &conversation.id).value(amount.amount_micros));
        }
        let Some(message) = step.message() else { continue };
        let (by, actor) = (author(message), message.actor.clone().unwrap_or_default());
        let of_agent = |agent: &str| step.after.with_any("agent", agent);
        let (part, dimensions) = if message.visibility() == Visibility::Private {
            ("private_notes", of_agent(if by == ActorKind::Agent { &actor.id } else { "" }))
        } else {
            match by {
                ActorKind::Customer => ("messages_received", step.after.clone()),
                ActorKind::Agent => ("messages_sent", of_agent(&actor.id)),
                ActorKind::Bot => ("bot_messages", step.after.clone()),
                _ => ("automated_messages", step.after.clone()),
            }
        };
        let sample = |part| {
            let dimensions = dimensions.with_any("quick_reply", &message.quick_reply);
            Sample::new(part, step.at, &dimensions, &conversation.id).customer(&conversation.customer)
        };
        model.sample(sample(part));
        let scored = match message.sentiment() {
            Sentiment::Positive => "sentiment_positive",
            Sentiment::Neutral => "sentiment_neutral",
            Sentiment::Negative => "sentiment_negative",
            Sentiment::Unspecified => continue,
        };
        if part == "messages_received" {
            model.sample(sample(scored));
        }
    }
    read_bots(conversation, model);
}

fn read_bots(conversation: &Conversation, model: &mut Model) {
    let opening = &conversation.steps[0];
    let sample = |part, number: usize| {
        let step = &conversation.steps[number];
        Sample::new(part, step.at, &step.after, &conversation.id).cohort(opening.at, &opening.after)
    };
    let took_part = conversation.events().find(|(_, step)| {
        step.is_from_bot() || step.assigned().is_some_and(|assigned| assigned.to() == AssigneeKind::Bot)
    });
    let Some((took_part, _)) = took_part else { return };
    model.sample(sample("bot_took_part", took_part));
    let last = conversation.steps.len();
    let handoff = (1..last).find(|&step| conversation.hands_off(step));
    if let Some(handoff) = handoff {
        model.sample(sample("handed_over", handoff.max(took_part)));
    }
    let human = conversation.events().any(|(_, step)| step.is_reply())
        || legs(conversation).iter().any(|leg| leg.connected.is_some());
    let resolved = (1..last).rfind(|&step| conversation.resolves(step));
    if let Some(resolved) = resolved
        && conversation.steps[last - 1].resolved
        && handoff.is_none()
        && !human
    {
        let contained = sample("contained", resolved);
        let credited = contained.dimensions.with("agent", &conversation.resolver(resolved));
        model.sample(Sample { dimensions: credited, ..contained });
    }
}
