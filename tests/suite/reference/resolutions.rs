//! Resolution: episodes, reopenings, first contact, transfers, backlog.

use std::collections::BTreeMap;

use deskpulse_proto::v1::{ActorKind, ConversationStatus};

use super::conversations::Conversation;
use super::legs::{self, legs};
use super::{FOLLOW_UP, Model, Sample, Span};

/// From the opening or a reopening to the resolution.
pub(crate) struct Episode {
    pub(crate) first: usize,
    pub(crate) resolved: Option<usize>,
}

pub(crate) fn episodes(conversation: &Conversation) -> Vec<Episode> {
    let last = conversation.steps.len();
    let starts = (0..last).filter(|&step| step == 0 || conversation.reopens(step));
    starts
        .map(|first| Episode { first, resolved: (first + 1..last).find(|&step| conversation.resolves(step)) })
        .collect()
}

impl Episode {
    /// The stretches of the episode in which the status was one of these, none of them before its start.
    pub(crate) fn stretches(
        &self,
        conversation: &Conversation,
        statuses: &[ConversationStatus],
    ) -> Vec<(i64, Option<i64>)> {
        let start = conversation.steps[self.first].at;
        let last = self.resolved.unwrap_or(conversation.steps.len());
        (self.first..last)
            .filter(|&step| statuses.contains(&conversation.steps[step].status))
            .map(|step| {
                let end = conversation.steps.get(step + 1).map(|next| next.at.max(start));
                (conversation.steps[step].at.max(start), end)
            })
            .collect()
    }
}

/// Each passing on to another agent: the step and the agent before. Agents own by assignment or by talking.
pub(crate) fn transfers(conversation: &Conversation) -> Vec<(usize, String)> {
    let legs = legs(conversation);
    let mut owner = conversation.steps[0].after.get("agent").unwrap_or_default().to_owned();
    let mut transfers = Vec::new();
    for (number, step) in conversation.events() {
        let connected = legs.iter().find(|leg| leg.connected == Some(number)).map(|leg| leg.agent(conversation));
        let next = step.assigned_agent().map(str::to_owned).or(connected).unwrap_or_default();
        if next.is_empty() || next == owner {
            continue;
        }
        if !owner.is_empty() {
            transfers.push((number, owner));
        }
        owner = next;
    }
    transfers
}

/// Whether a human had to do with the conversation up to a step.
fn reached_human(conversation: &Conversation, up_to: usize) -> bool {
    conversation.initiator == ActorKind::Agent
        || conversation.steps[0].after.get("agent").is_some()
        || legs(conversation).iter().any(|leg| leg.connected.is_some_and(|connected| connected <= up_to))
        || (1..=up_to).any(|number| {
            let step = &conversation.steps[number];
            let by_agent = step.status_changed().and_then(|change| change.actor.as_ref());
            let by_agent = by_agent.is_some_and(|actor| actor.kind() == ActorKind::Agent);
            step.assigned_agent().is_some()
                || step.is_reply()
                || conversation.hands_off(number)
                || conversation.resolves(number) && by_agent
        })
}

pub(crate) fn read(conversation: &Conversation, all: &BTreeMap<String, Conversation>, model: &mut Model) {
    let opening = &conversation.steps[0];
    let opened = conversation.opened;
    for (number, episode) in episodes(conversation).iter().enumerate() {
        read_backlog(conversation, episode, model);
        if number > 0 {
            read_reopening(conversation, episode.first, model);
        }
        let Some(resolved) = episode.resolved else { continue };
        let step = &conversation.steps[resolved];
        let (start, end) = (conversation.steps[episode.first].at, step.at);
        let credited = step.after.with("agent", &conversation.resolver(resolved));
        let sample = |part, added: &[(i64, i64)], taken: &[(i64, i64)]| {
            Sample::new(part, end, &credited, &conversation.id)
                .lasting(&model.config, added, taken)
                .cohort(opened, &opening.after)
        };
        let in_status = |statuses: &[ConversationStatus]| -> Vec<(i64, i64)> {
            let stretches = episode.stretches(conversation, statuses);
            stretches.into_iter().map(|(from, to)| (from, to.expect("it ends at the resolution"))).collect()
        };
        let paused = in_status(&[ConversationStatus::Pending, ConversationStatus::OnHold]);
        let waited = in_status(&[ConversationStatus::Open, ConversationStatus::OnHold]);
        let mut samples = vec![
            sample("resolutions", &[(opened, end)], &[]),
            sample("resolution_time", &[(start, end)], &[]),
            sample("net_resolution_time", &[(start, end)], &paused),
            Sample::new("requester_wait_time", end, &step.after, &conversation.id)
                .lasting(&model.config, &waited, &[])
                .cohort(opened, &opening.after),
        ];
        if number == 0 {
            samples.push(sample("first_resolution_time", &[(start, end)], &[]));
        }
        if reached_human(conversation, resolved) {
            let handoff = (episode.first + 1..=resolved).find(|&step| conversation.hands_off(step));
            let reached = handoff.map_or(start, |step| conversation.steps[step].at).max(start);
            samples.push(sample("human_resolution_time", &[(reached, end)], &[]));
        }
        if (resolved..conversation.steps.len()).all(|step| !conversation.reopens(step)) {
            samples.push(sample("full_resolution_time", &[(opened, end)], &[]));
            samples.push(sample("conversations_resolved", &[(opened, end)], &[]));
            let replies = conversation.steps[..=resolved].iter().filter(|step| step.is_reply()).count();
            samples.push(sample("replies_at_resolution", &[], &[]).value(i64::try_from(replies).expect("few")));
            if replies == 1 {
                samples.push(sample("one_touch", &[], &[]));
            }
            if replies <= 1 && is_first_contact(conversation, resolved, all) {
                samples.push(sample("first_contact", &[], &[]));
            }
        } else {
            samples.push(sample("reopened_resolutions", &[], &[]));
        }
        model.samples.extend(samples);
    }
    for (number, from) in transfers(conversation) {
        let step = &conversation.steps[number];
        let dimensions = match step.leg() {
            Some(_) => legs::dimensions(conversation, number),
            None => step.before.clone(),
        };
        model.sample(Sample::new("transfers", step.at, &dimensions.with("agent", &from), &conversation.id));
    }
}

fn read_backlog(conversation: &Conversation, episode: &Episode, model: &mut Model) {
    for (from, to, dimensions) in conversation.pieces(episode.first, episode.resolved, conversation.opened) {
        let span = Span::new("backlog", from, to, dimensions, &conversation.id);
        model.span(Span { since: conversation.opened, ..span });
    }
}

/// Counted when it happened, and credited to the agent whose resolution it undoes.
fn read_reopening(conversation: &Conversation, reopened: usize, model: &mut Model) {
    let undone = (1..reopened).rfind(|&step| conversation.resolves(step)).expect("a resolution before a reopening");
    let step = &conversation.steps[reopened];
    let credited = step.after.with("agent", &conversation.resolver(undone));
    model.sample(Sample::new("reopens", step.at, &credited, &conversation.id));
}

/// Whether the customer was helped at once and did not come back, the number of replies apart.
fn is_first_contact(conversation: &Conversation, resolved: usize, all: &BTreeMap<String, Conversation>) -> bool {
    let steps = &conversation.steps;
    let talks = legs(conversation).iter().filter(|leg| leg.connected.is_some_and(|step| step <= resolved)).count();
    let transferred = transfers(conversation).iter().any(|(step, _)| *step <= resolved);
    let came_back = (1..resolved).filter(|&step| conversation.reopens(step)).any(|reopened| {
        let undone = (1..reopened).rfind(|&step| conversation.resolves(step)).expect("a resolution before");
        steps[reopened].at - steps[undone].at <= FOLLOW_UP
    });
    let (end, topic) = (steps[resolved].at, steps[resolved].after.get("topic"));
    let wrote_again = all.values().any(|other| {
        other.id != conversation.id
            && !other.excluded
            && !other.customer.is_empty()
            && other.customer == conversation.customer
            && other.steps.last().is_some_and(|last| last.after.get("topic") == topic)
            && other.opened > end
            && other.opened <= end + FOLLOW_UP
    });
    talks <= 1 && !transferred && !came_back && !wrote_again
}
