//! Queue and voice: each pass of a call or routed chat.

use std::collections::BTreeMap;

use deskpulse_proto::v1::{LegEndReason, LegState, LegStateChanged};

use super::conversations::{Conversation, Step};
use super::{Dimensions, Model, Sample, Span};

/// A leg: its steps in the conversation, and the first of each kind that matters.
pub(crate) struct Leg {
    steps: Vec<usize>,
    queued: Option<usize>,
    pub(crate) connected: Option<usize>,
    ended: Option<usize>,
}

pub(crate) fn legs(conversation: &Conversation) -> Vec<Leg> {
    let mut by_id: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, step) in conversation.events() {
        if let Some(leg) = step.leg() {
            by_id.entry(&leg.leg).or_default().push(number);
        }
    }
    by_id
        .into_values()
        .map(|steps| {
            let first = |state: LegState| steps.iter().copied().find(|&n| event(conversation, n).state() == state);
            let (queued, connected) = (first(LegState::Queued), first(LegState::Connected));
            let ended = first(LegState::Ended);
            Leg { steps, queued, connected, ended }
        })
        .collect()
}

fn event(conversation: &Conversation, step: usize) -> &LegStateChanged {
    conversation.steps[step].leg().expect("a leg's step")
}

impl Leg {
    /// The agent who talked: the one of the connection, else the latest named before; empty for nobody.
    pub(crate) fn agent(&self, conversation: &Conversation) -> String {
        let connected = self.connected.expect("it is connected");
        let named = self.steps.iter().rev().filter(|step| **step <= connected).map(|&step| event(conversation, step));
        named.map(|event| event.agent.clone()).find(|agent| !agent.is_empty()).unwrap_or_default()
    }

    /// The queue as of a step: the one it was queued in, else the latest named; empty for none.
    fn queue(&self, conversation: &Conversation, step: usize) -> String {
        let queued = self.queued.map(|queued| event(conversation, queued).queue.clone()).unwrap_or_default();
        if !queued.is_empty() {
            return queued;
        }
        let so_far = self.steps.iter().rev().filter(|number| **number <= step).map(|&n| event(conversation, n));
        so_far.map(|event| event.queue.clone()).find(|queue| !queue.is_empty()).unwrap_or_default()
    }

    /// The conversation's dimensions with the leg's queue as the team.
    fn dimensions(&self, conversation: &Conversation, step: usize) -> Dimensions {
        conversation.steps[step].after.with_any("team", &self.queue(conversation, step))
    }
}

/// The dimensions of a leg's fact at this step of it, the agent apart.
pub(crate) fn dimensions(conversation: &Conversation, step: usize) -> Dimensions {
    let legs = legs(conversation);
    let leg = legs.iter().find(|leg| leg.steps.contains(&step)).expect("a leg's step");
    leg.dimensions(conversation, step)
}

pub(crate) fn read(conversation: &Conversation, model: &mut Model) {
    for leg in legs(conversation) {
        read_queue(conversation, &leg, model);
        read_talk(conversation, &leg, model);
        read_non_responses(conversation, &leg, model);
        let Some(ended) = leg.ended else { continue };
        let part = match event(conversation, ended).end_reason() {
            LegEndReason::Callback => "callbacks",
            LegEndReason::Voicemail => "voicemails",
            LegEndReason::Overflow => "overflows",
            _ => continue,
        };
        let dimensions = leg.dimensions(conversation, ended);
        let dimensions =
            if leg.connected.is_some() { dimensions.with("agent", &leg.agent(conversation)) } else { dimensions };
        model.sample(Sample::new(part, conversation.steps[ended].at, &dimensions, &conversation.id));
    }
}

fn read_queue(conversation: &Conversation, leg: &Leg, model: &mut Model) {
    let Some(queued) = leg.queued else { return };
    let step = |number: usize| -> &Step { &conversation.steps[number] };
    let at_start = leg.dimensions(conversation, queued);
    model.sample(Sample::new("offered", step(queued).at, &at_start, &conversation.id));
    let end = leg.connected.or(leg.ended);
    for number in queued..end.unwrap_or(conversation.steps.len()) {
        let to = conversation.steps.get(number + 1).map(|next| next.at);
        let dimensions = leg.dimensions(conversation, number);
        model.span(Span::new("contacts_in_queue", step(number).at, to, &dimensions, &conversation.id));
    }
    let Some(end) = end else { return };
    let (part, outcome) = match leg.connected {
        Some(_) => ("answered", "answered"),
        None => match event(conversation, end).end_reason() {
            LegEndReason::Abandoned => ("abandoned", "abandoned"),
            other => ("left_otherwise", outcome(other)),
        },
    };
    let mut dimensions = leg.dimensions(conversation, end).with("outcome", outcome);
    if leg.connected.is_some() {
        dimensions.set("agent", &leg.agent(conversation));
    }
    let wait = (step(end).at - step(queued).at).max(0);
    let at_start = at_start.with("outcome", outcome);
    let sample = |part| {
        Sample::new(part, step(end).at, &dimensions, &conversation.id).value(wait).cohort(step(queued).at, &at_start)
    };
    model.sample(sample(part));
    if step(end).at < step(queued).at {
        model.sample(Sample::new("skewed_events", step(end).at, &dimensions, &conversation.id));
    }
}

fn outcome(reason: LegEndReason) -> &'static str {
    match reason {
        LegEndReason::Unspecified => "other",
        LegEndReason::Completed => "completed",
        LegEndReason::Abandoned => "abandoned",
        LegEndReason::Transferred => "transferred",
        LegEndReason::Callback => "callback",
        LegEndReason::Voicemail => "voicemail",
        LegEndReason::Overflow => "overflow",
        LegEndReason::Declined => "declined",
        LegEndReason::Expired => "expired",
        LegEndReason::Closed => "closed",
    }
}

fn read_talk(conversation: &Conversation, leg: &Leg, model: &mut Model) {
    let Some(connected) = leg.connected else { return };
    let step = |number: usize| -> &Step { &conversation.steps[number] };
    let agent = leg.agent(conversation);
    let sample = |part, number: usize| {
        let dimensions = leg.dimensions(conversation, number).with("agent", &agent);
        Sample::new(part, step(number).at, &dimensions, &conversation.id)
    };
    model.sample(sample("leg_connected", connected).customer(&conversation.customer));
    for number in connected..leg.ended.unwrap_or(conversation.steps.len()) {
        let to = conversation.steps.get(number + 1).map(|next| next.at);
        let dimensions = leg.dimensions(conversation, number).with("agent", &agent);
        model.span(Span::new("contact_time", step(number).at, to, &dimensions, &conversation.id));
    }
    let Some(ended) = leg.ended else { return };
    // What it was in from the connection to the end; each state lasts to the next of these.
    let tells = |state: LegState| matches!(state, LegState::Connected | LegState::Held | LegState::Wrapup);
    let mut states: Vec<(LegState, i64)> = leg
        .steps
        .iter()
        .filter(|number| (connected..ended).contains(*number))
        .map(|&number| (event(conversation, number).state(), step(number).at))
        .filter(|(state, _)| tells(*state))
        .collect();
    states.push((LegState::Ended, step(ended).at));
    let time_in = |state: LegState| -> Option<i64> {
        let stretches = states.windows(2).filter(|pair| pair[0].0 == state);
        stretches.map(|pair| pair[1].1 - pair[0].1).reduce(|a, b| a + b)
    };
    let (talk, hold, wrapup) = (time_in(LegState::Connected), time_in(LegState::Held), time_in(LegState::Wrapup));
    let handle = [talk, hold, wrapup].into_iter().flatten().sum();
    model.sample(sample("talk_time", ended).value(talk.unwrap_or(0)));
    model.sample(sample("handle_time", ended).value(handle));
    if let Some(hold) = hold {
        model.sample(sample("hold_time", ended).value(hold));
    }
    if let Some(wrapup) = wrapup {
        model.sample(sample("wrapup_time", ended).value(wrapup));
    }
    if step(ended).at < step(connected).at {
        model.sample(sample("skewed_events", ended));
    }
}

/// Alerts not taken, each credited to the agent named, else to the one alerted last.
fn read_non_responses(conversation: &Conversation, leg: &Leg, model: &mut Model) {
    for &number in &leg.steps {
        let this = event(conversation, number);
        if !matches!(this.end_reason(), LegEndReason::Declined | LegEndReason::Expired) {
            continue;
        }
        let alerts = leg.steps.iter().rev().filter(|before| **before < number).map(|&n| event(conversation, n));
        let alerted = alerts.into_iter().find(|e| e.state() == LegState::Alerting && !e.agent.is_empty());
        let agent = if this.agent.is_empty() { alerted.map_or("", |event| &event.agent) } else { &this.agent };
        let dimensions = leg.dimensions(conversation, number).with("agent", agent);
        model.sample(Sample::new("non_responses", conversation.steps[number].at, &dimensions, &conversation.id));
    }
}
