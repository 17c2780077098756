//! Agents, their schedules and tasks.

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{AgentScheduleSet, AgentState, Employment, Event, TaskStatus, TaskStatusChanged};

use super::timelines::Timelines;
use super::{Dimensions, Model, Sample, Span, milliseconds};

pub(crate) fn read(timelines: &Timelines, model: &mut Model) {
    for (agent, timeline) in timelines.of("agent") {
        let states = states(agent, timeline);
        read_states(agent, &states, model);
        read_schedules(agent, timeline, &states, model);
        read_employment(agent, timeline, model);
    }
    for (task, timeline) in timelines.of("task") {
        read_task(task, timeline, model);
    }
}

/// A state an agent was in.
struct Stay {
    from: i64,
    to: Option<i64>,
    state: AgentState,
    slots: u32,
    dimensions: Dimensions,
}

fn states(agent: &str, timeline: &[Event]) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut dimensions = Dimensions::default().with("agent", agent);
    let mut slots = 1;
    for event in timeline {
        dimensions.set_attributes(event);
        let Some(Payload::AgentStateChanged(change)) = &event.payload else { continue };
        let at = milliseconds(event.time.as_ref());
        dimensions = dimensions.with_any("team", &change.team).with("state", name(change.state()));
        slots = change.slots.unwrap_or(slots);
        if let Some(last) = stays.last_mut() {
            last.to = Some(at);
        }
        stays.push(Stay { from: at, to: None, state: change.state(), slots, dimensions: dimensions.clone() });
    }
    stays
}

fn name(state: AgentState) -> &'static str {
    match state {
        AgentState::Unspecified => unreachable!("refused"),
        AgentState::Offline => "offline",
        AgentState::Available => "available",
        AgentState::Busy => "busy",
        AgentState::Wrapup => "wrapup",
        AgentState::Break => "break",
        AgentState::Meal => "meal",
        AgentState::Training => "training",
        AgentState::Meeting => "meeting",
    }
}

/// Working: ready for contacts, with one, or finishing one.
fn works(state: AgentState) -> bool {
    matches!(state, AgentState::Available | AgentState::Busy | AgentState::Wrapup)
}

fn read_states(agent: &str, stays: &[Stay], model: &mut Model) {
    for stay in stays {
        let span = |part| Span::new(part, stay.from, stay.to, &stay.dimensions, agent);
        model.span(span("agents"));
        if stay.state == AgentState::Offline {
            continue;
        }
        model.span(span("online_time"));
        model.span(Span { weight: stay.slots.into(), ..span("slot_time") });
        if stay.state == AgentState::Available {
            model.span(span("available_time"));
        }
        if matches!(stay.state, AgentState::Busy | AgentState::Wrapup) {
            model.span(span("handling_time"));
        }
    }
}

/// What was scheduled against what was, piece by piece between all instants at which either changes.
fn read_schedules(agent: &str, timeline: &[Event], stays: &[Stay], model: &mut Model) {
    let schedules: Vec<&AgentScheduleSet> = timeline
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::AgentScheduleSet(schedule)) => Some(schedule),
            _ => None,
        })
        .collect();
    let bounds =
        |schedule: &AgentScheduleSet| (milliseconds(schedule.from.as_ref()), milliseconds(schedule.to.as_ref()));
    let mut instants: Vec<i64> = schedules.iter().flat_map(|schedule| <[i64; 2]>::from(bounds(schedule))).collect();
    instants.extend(stays.iter().map(|stay| stay.from));
    instants.sort_unstable();
    for pair in instants.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let holds = |schedule: &&&AgentScheduleSet| {
            let (starts, ends) = bounds(schedule);
            starts <= from && from < ends
        };
        // The one set last holds.
        let Some(schedule) = schedules.iter().rfind(holds) else { continue };
        let stay = stays.iter().rfind(|stay| stay.from <= from);
        let state = stay.map_or(AgentState::Offline, |stay| stay.state);
        let dimensions =
            stay.map_or_else(|| Dimensions::default().with("agent", agent), |stay| stay.dimensions.clone());
        let mut add = |part| model.span(Span::new(part, from, Some(to), &dimensions, agent));
        let planned = schedule.activity();
        add("scheduled_time");
        if state == planned || works(state) && works(planned) {
            add("adherent_time");
        }
        if schedule.productive && state != AgentState::Offline {
            add("productive_time");
        }
        if schedule.paid {
            add("paid_time");
            if works(state) {
                add("paid_working_time");
            }
        }
    }
}

fn read_employment(agent: &str, timeline: &[Event], model: &mut Model) {
    let dimensions = Dimensions::default().with("agent", agent);
    let first = milliseconds(timeline[0].time.as_ref());
    let changes: Vec<(i64, Employment)> = timeline
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::AgentEmploymentChanged(change)) => {
                Some((milliseconds(event.time.as_ref()), change.employment()))
            }
            _ => None,
        })
        .collect();
    // Who leaves without having been hired was here from the beginning.
    let left_first = changes.first().is_some_and(|(_, change)| *change == Employment::Left);
    let mut employed = left_first.then_some(first);
    for (at, change) in changes {
        match (change, employed) {
            (Employment::Hired, None) => employed = Some(at),
            (Employment::Left, Some(since)) => {
                model.span(Span::new("headcount", since, Some(at), &dimensions, agent));
                model.sample(Sample::new("left", at, &dimensions, agent));
                employed = None;
            }
            _ => {}
        }
    }
    if let Some(since) = employed {
        model.span(Span::new("headcount", since, None, &dimensions, agent));
    }
}

fn read_task(task: &str, timeline: &[Event], model: &mut Model) {
    let status = |number: usize| -> &TaskStatusChanged {
        match &timeline[number].payload {
            Some(Payload::TaskStatusChanged(change)) => change,
            _ => unreachable!("tasks only change their status"),
        }
    };
    let all = 0..timeline.len();
    let sample = |part, number: usize| {
        let mut dimensions = Dimensions::default();
        timeline[..=number].iter().for_each(|event| dimensions.set_attributes(event));
        let assignee = all.clone().take(number + 1).rev().map(|n| &status(n).assignee).find(|who| !who.is_empty());
        dimensions = dimensions.with_any("agent", assignee.map_or("", String::as_str));
        Sample::new(part, milliseconds(timeline[number].time.as_ref()), &dimensions, task)
    };
    let assigned = all.clone().find(|&n| status(n).status() == TaskStatus::Assigned);
    // The first completion since it was last anything else, if it still is.
    let other = all.clone().rfind(|&n| status(n).status() != TaskStatus::Completed);
    let completed = all.clone().find(|n| other.is_none_or(|other| *n > other));
    if let Some(assigned) = assigned {
        let sample = sample("tasks_assigned", assigned);
        if completed.is_some() {
            model.sample(Sample { part: "assigned_tasks_completed", ..sample.clone() });
        }
        model.sample(sample);
    }
    if let Some(completed) = completed {
        let sample = sample("tasks_completed", completed);
        model.sample(sample);
    }
}
