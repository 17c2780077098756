//! Response: waits, first and further replies, assignments.

use std::collections::BTreeSet;

use deskpulse_proto::v1::{ActorKind, ConversationStatus};

use super::conversations::Conversation;
use super::{Model, Sample, Span};

/// From a customer's message that nobody has answered to what ends the waiting.
pub(crate) struct Wait {
    pub(crate) start: usize,
    pub(crate) end: WaitEnd,
}

/// By which step a wait ended.
#[derive(Clone, Copy)]
pub(crate) enum WaitEnd {
    Answered(usize),
    Cancelled(usize),
    Open,
}

pub(crate) fn waits(conversation: &Conversation) -> Vec<Wait> {
    let mut waits = Vec::new();
    let mut waiting = (conversation.initiator == ActorKind::Customer).then_some(0);
    for (number, step) in conversation.events() {
        let leaves = step
            .status_changed()
            .is_some_and(|change| matches!(change.status(), ConversationStatus::Merged | ConversationStatus::Deleted));
        match waiting {
            None if step.is_from_customer() => waiting = Some(number),
            Some(start) if step.is_reply() => {
                waits.push(Wait { start, end: WaitEnd::Answered(number) });
                waiting = None;
            }
            Some(start) if conversation.resolves(number) || leaves => {
                waits.push(Wait { start, end: WaitEnd::Cancelled(number) });
                waiting = None;
            }
            _ => {}
        }
    }
    waits.extend(waiting.map(|start| Wait { start, end: WaitEnd::Open }));
    waits
}

pub(crate) fn read(conversation: &Conversation, model: &mut Model) {
    // Steps that give a negative duration.
    let mut skewed = BTreeSet::new();
    let steps = &conversation.steps;
    let opening = &steps[0].after;
    model.sample(
        Sample::new("conversations_opened", conversation.opened, opening, &conversation.id)
            .customer(&conversation.customer),
    );
    read_waits(conversation, model, &mut skewed);
    read_first_response(conversation, model, &mut skewed);
    read_bot_responses(conversation, model, &mut skewed);
    read_assignments(conversation, model, &mut skewed);
    for (number, step) in conversation.events() {
        if conversation.resolves(number) && step.at < conversation.opened {
            skewed.insert(number);
        }
    }
    for number in skewed {
        let step = &steps[number];
        model.sample(Sample::new("skewed_events", step.at, &step.after, &conversation.id));
    }
}

fn read_waits(conversation: &Conversation, model: &mut Model, skewed: &mut BTreeSet<usize>) {
    let mut answered = 0;
    for wait in waits(conversation) {
        let start = &conversation.steps[wait.start];
        let is_open = if matches!(wait.end, WaitEnd::Open) { "open" } else { "" };
        model.sample(Sample::new("waits_started", start.at, &start.after, &conversation.id).reference(is_open));
        let end = match wait.end {
            WaitEnd::Answered(end) | WaitEnd::Cancelled(end) => Some(end),
            WaitEnd::Open => None,
        };
        for (from, to, dimensions) in conversation.pieces(wait.start, end, conversation.opened) {
            let span = Span::new("unanswered", from, to, dimensions, &conversation.id);
            model.span(Span { since: start.at, ..span });
        }
        let WaitEnd::Answered(end) = wait.end else { continue };
        answered += 1;
        let step = &conversation.steps[end];
        let credited = step.after.with("agent", &step.replier());
        let sample = |part| {
            Sample::new(part, step.at, &credited, &conversation.id)
                .lasting(&model.config, &[(start.at, step.at)], &[])
                .cohort(start.at, &start.after)
        };
        let (waits_answered, next_reply) = (sample("waits_answered"), sample("next_reply_time"));
        model.sample(waits_answered);
        if answered > 1 {
            model.sample(next_reply);
        }
        if step.at < start.at {
            skewed.insert(end);
        }
    }
}

fn read_first_response(conversation: &Conversation, model: &mut Model, skewed: &mut BTreeSet<usize>) {
    let opening = &conversation.steps[0];
    let reply_after =
        |start: usize| conversation.events().find(|(number, step)| *number > start && step.is_reply()).map(|(n, _)| n);
    // From the opening by the customer, else from the first message of the customer.
    let start = if conversation.initiator == ActorKind::Customer {
        Some(0)
    } else {
        conversation.events().find(|(_, step)| step.is_from_customer()).map(|(number, _)| number)
    };
    if let Some(start) = start
        && let Some(reply) = reply_after(start)
    {
        let (start, step) = (&conversation.steps[start], &conversation.steps[reply]);
        let credited = step.after.with("agent", &step.replier());
        let sample = Sample::new("first_response_time", step.at, &credited, &conversation.id)
            .lasting(&model.config, &[(start.at, step.at)], &[])
            .cohort(opening.at, &opening.after);
        model.sample(sample);
        if step.at < start.at {
            skewed.insert(reply);
        }
    }
    // The first reply at all, whether or not anybody waited.
    let Some(reply) = reply_after(0) else { return };
    if let Some(handoff) = (1..reply).rfind(|step| conversation.hands_off(*step)) {
        let step = &conversation.steps[reply];
        let credited = step.after.with("agent", &step.replier());
        let sample = Sample::new("handoff_response_time", step.at, &credited, &conversation.id)
            .lasting(&model.config, &[(conversation.steps[handoff].at, step.at)], &[])
            .cohort(opening.at, &opening.after);
        model.sample(sample);
    }
}

/// The bot as the one who answers; a human answer ends the wait for it as well.
fn read_bot_responses(conversation: &Conversation, model: &mut Model, skewed: &mut BTreeSet<usize>) {
    let mut waiting = (conversation.initiator == ActorKind::Customer).then_some(0);
    for (number, step) in conversation.events() {
        let leaves = step
            .status_changed()
            .is_some_and(|change| matches!(change.status(), ConversationStatus::Merged | ConversationStatus::Deleted));
        if step.is_from_customer() {
            waiting = waiting.or(Some(number));
        } else if step.is_reply() || conversation.resolves(number) || leaves {
            waiting = None;
        } else if step.is_from_bot()
            && let Some(start) = waiting.take()
        {
            let start = &conversation.steps[start];
            let sample = Sample::new("bot_response_time", step.at, &step.after, &conversation.id)
                .lasting(&model.config, &[(start.at, step.at)], &[])
                .cohort(start.at, &start.after);
            model.sample(sample);
            if step.at < start.at {
                skewed.insert(number);
            }
        }
    }
}

fn read_assignments(conversation: &Conversation, model: &mut Model, skewed: &mut BTreeSet<usize>) {
    let opening = &conversation.steps[0];
    let first = conversation.events().find(|(_, step)| step.assigned_agent().is_some());
    if let Some((number, step)) = first {
        let sample = Sample::new("time_to_assignment", step.at, &step.after, &conversation.id)
            .lasting(&model.config, &[(opening.at, step.at)], &[])
            .cohort(opening.at, &opening.after);
        model.sample(sample);
        if step.at < opening.at {
            skewed.insert(number);
        }
    }
    for (number, assignment) in conversation.events() {
        let Some(agent) = assignment.assigned_agent() else { continue };
        // Up to the next assignment.
        let chance = conversation.steps[number + 1..].iter().take_while(|step| step.assigned().is_none());
        let Some(step) = chance.into_iter().find(|step| step.is_reply() && step.replier() == agent) else { continue };
        let sample =
            Sample::new("agent_first_response_time", step.at, &step.after.with("agent", agent), &conversation.id)
                .lasting(&model.config, &[(assignment.at, step.at)], &[])
                .cohort(opening.at, &opening.after);
        model.sample(sample);
    }
}
