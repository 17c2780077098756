//! Service levels agreed on: targets that hang on waits and episodes.

use deskpulse_proto::v1::{Clock, ConversationStatus, SlaTarget, SlaTargetKind};

use super::calendar::{Measure, after, length};
use super::conversations::Conversation;
use super::resolutions::episodes;
use super::responses::{WaitEnd, waits};
use super::{Dimensions, Model, Sample, Span, filter};

/// A target that started to run.
struct Running<'a> {
    /// The step it started at.
    start: usize,
    /// When it ran, ascending: all the time, or outside of pending.
    ran: Vec<(i64, Option<i64>)>,
    end: End<'a>,
}

enum End<'a> {
    /// At this step, by this agent.
    Fulfilled(usize, &'a str),
    Cancelled,
    Open,
}

pub(crate) fn read(conversation: &Conversation, model: &mut Model) {
    let at = |step: usize| conversation.steps[step].at;
    for (number, wait) in waits(conversation).into_iter().enumerate() {
        let kind = if number == 0 { SlaTargetKind::FirstResponse } else { SlaTargetKind::NextResponse };
        let (to, replier) = match wait.end {
            WaitEnd::Answered(end) => (Some(at(end)), conversation.steps[end].replier()),
            WaitEnd::Cancelled(end) => (Some(at(end)), String::new()),
            WaitEnd::Open => (None, String::new()),
        };
        let end = match wait.end {
            WaitEnd::Answered(end) => End::Fulfilled(end, &replier),
            WaitEnd::Cancelled(_) => End::Cancelled,
            WaitEnd::Open => End::Open,
        };
        // Clocks may run backwards.
        let to = to.map(|to| to.max(at(wait.start)));
        let running = Running { start: wait.start, ran: vec![(at(wait.start), to)], end };
        read_targets(conversation, kind, &running, model);
    }
    for episode in episodes(conversation) {
        let ran = episode.stretches(conversation, &[ConversationStatus::Open, ConversationStatus::OnHold]);
        let resolver = episode.resolved.map(|step| conversation.resolver(step)).unwrap_or_default();
        let end = match episode.resolved {
            Some(step) => End::Fulfilled(step, &resolver),
            None => End::Open,
        };
        read_targets(conversation, SlaTargetKind::Resolution, &Running { start: episode.first, ran, end }, model);
    }
}

/// Each target of that kind, of each policy in force and fit at the start.
fn read_targets(conversation: &Conversation, kind: SlaTargetKind, running: &Running<'_>, model: &mut Model) {
    let start = &conversation.steps[running.start];
    let mut targets: Vec<(String, SlaTarget)> = Vec::new();
    for (id, versions) in &model.config.policies {
        let Some((_, policy)) = versions.range(..=start.at).next_back() else { continue };
        if filter::matches(&policy.filter, &start.after) {
            let fit = policy.targets.iter().filter(|target| target.kind() == kind);
            targets.extend(fit.map(|target| (id.clone(), *target)));
        }
    }
    let business = model.config.business(start.after.get("team")).map(<[_]>::to_vec);
    let name = match kind {
        SlaTargetKind::FirstResponse => "first_response",
        SlaTargetKind::NextResponse => "next_response",
        SlaTargetKind::Resolution => "resolution",
        SlaTargetKind::Unspecified => unreachable!("refused"),
    };
    for (policy, target) in targets {
        let measure = if target.clock() == Clock::Business { business.as_deref() } else { None };
        let named = |dimensions: &Dimensions| dimensions.with("sla_policy", &policy).with("sla_target", name);
        read_target(conversation, &target, running, measure, &named, model);
    }
}

fn read_target(
    conversation: &Conversation,
    target: &SlaTarget,
    running: &Running<'_>,
    measure: Measure<'_>,
    named: &dyn Fn(&Dimensions) -> Dimensions,
    model: &mut Model,
) {
    let duration = |of: &prost_types::Duration| of.seconds * 1_000 + i64::from(of.nanos / 1_000_000);
    let at_most = duration(target.at_most.as_ref().expect("a target"));
    let deadline = last_in_time(&running.ran, measure, at_most);
    let breached = match running.end {
        End::Fulfilled(step, agent) => {
            let value: i64 = running.ran.iter().map(|&(from, to)| length(measure, from, to.expect("it ended"))).sum();
            let step = &conversation.steps[step];
            let credited = named(&step.after.with("agent", agent));
            if value <= at_most {
                model.sample(Sample::new("sla_met", step.at, &credited, &conversation.id));
            } else {
                let sample = Sample::new("sla_overrun_time", step.at, &credited, &conversation.id);
                model.sample(sample.value(value - at_most));
            }
            value > at_most
        }
        End::Cancelled | End::Open => deadline.is_some_and(|deadline| deadline < model.now),
    };
    if breached {
        let deadline = deadline.expect("it was missed");
        let dimensions = named(conversation.dimensions_at(deadline));
        model.sample(Sample::new("sla_breaches", deadline, &dimensions, &conversation.id));
    }
    let Some(lead) = target.warning_lead.as_ref().map(duration).filter(|lead| *lead > 0) else { return };
    let Some(warned) = reached(&running.ran, measure, at_most - lead) else { return };
    for &(from, to) in &running.ran {
        let (from, to) = (from.max(warned), [to, deadline].into_iter().flatten().min());
        // Cut by the dimensions in force.
        for (starts, ends, dimensions) in conversation.pieces(0, None, i64::MIN) {
            let starts = starts.max(from);
            let ends = [ends, to].into_iter().flatten().min();
            model.span(Span::new("sla_at_risk", starts, ends, &named(dimensions), &conversation.id));
        }
    }
}

/// The last instant at which no more than so much time was used up.
fn last_in_time(ran: &[(i64, Option<i64>)], measure: Measure<'_>, amount: i64) -> Option<i64> {
    let mut left = amount;
    for &(from, to) in ran {
        let too_late = after(measure, from, left + 1);
        let Some(to) = to else { return too_late.map(|instant| instant - 1) };
        if let Some(instant) = too_late.filter(|instant| *instant <= to) {
            return Some(instant - 1);
        }
        left -= length(measure, from, to);
    }
    None
}

/// The instant at which so much time was used up; one that falls on the start of a pause waits for its end.
fn reached(ran: &[(i64, Option<i64>)], measure: Measure<'_>, amount: i64) -> Option<i64> {
    let mut left = amount;
    for &(from, to) in ran {
        let instant = after(measure, from, left);
        let Some(to) = to else { return instant };
        if let Some(instant) = instant.filter(|instant| *instant < to) {
            return Some(instant);
        }
        left -= length(measure, from, to);
    }
    None
}
