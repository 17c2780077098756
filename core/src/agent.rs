//! What the events of an agent mean: states, schedules, employment.
//!
//! Time is kept as levels: +1 where a stretch begins and -1 where it ends, so that what is still running counts up to the
//! instant a question asks about.

use crate::conversation::set_attributes;
use crate::dimension::Dimension;
use crate::event::{AgentState, Event, Payload, Schedule};
use crate::fact::{Facts, Holding, Measure};
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::time::Timestamp;

/// What an agent has come to.
#[derive(Debug)]
pub struct Agent {
    values: DimensionValues,
    first_seen: Timestamp,
    /// Since when the present stretch lasts: the same state with the same dimension values.
    since: Timestamp,
    /// The state; `None`, which counts as offline, as long as none was told.
    state: Option<AgentState>,
    slots: u32,
    /// The whole schedule, as all events together make it: stretches that do not overlap, ascending.
    schedule: Vec<Schedule>,
    employed: Option<bool>,
    /// What the present stretch states as long as it lasts.
    running: Holding,
    /// A stretch has begun that nothing is stated of yet.
    is_moving: bool,
}

impl AgentState {
    /// The value of the dimension `state`.
    fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Wrapup => "wrapup",
            Self::Break => "break",
            Self::Meal => "meal",
            Self::Training => "training",
            Self::Meeting => "meeting",
        }
    }

    fn measure(self) -> Measure {
        match self {
            Self::Offline => Measure::AgentOffline,
            Self::Available => Measure::AgentAvailable,
            Self::Busy | Self::Wrapup => Measure::AgentHandling,
            Self::Break | Self::Meal | Self::Training | Self::Meeting => Measure::AgentAway,
        }
    }

    fn is_working(self) -> bool {
        matches!(self, Self::Available | Self::Busy | Self::Wrapup)
    }

    /// Whether somebody in this state does what the other one stands for: all work is of one kind.
    fn is_of_the_kind_of(self, scheduled: Self) -> bool {
        self == scheduled || self.is_working() && scheduled.is_working()
    }
}

impl Agent {
    /// An agent before the first event.
    pub(crate) fn begin(agent: Symbol, events: &[&Event]) -> Self {
        let mut values = DimensionValues::default();
        values.set(&Dimension::Agent, Some(agent));
        let mut schedule = Vec::new();
        for event in events {
            if let Payload::Scheduled(stretch) = &event.payload {
                schedule = put_over(&schedule, *stretch);
            }
        }
        let first_seen = events.first().map_or(Timestamp::MIN, |event| event.time);
        Self {
            values,
            first_seen,
            since: Timestamp::MIN,
            state: None,
            slots: 1,
            schedule,
            employed: None,
            running: Holding::default(),
            is_moving: true,
        }
    }

    /// Whether an event, even as the last, changes what the events before it mean: a schedule may cover the past.
    pub(crate) fn must_fold_again_for(event: &Event) -> bool {
        matches!(event.payload, Payload::Scheduled(_))
    }

    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        let mut values = self.values.clone();
        set_attributes(&mut values, event);
        if let Payload::AgentStateChanged { team: Some(team), .. } = &event.payload {
            values.set(&Dimension::Team, Some(*team));
        }
        let (mut state, mut own_slots) = (self.state, self.slots);
        if let Payload::AgentStateChanged { state: entered, slots, .. } = &event.payload {
            state = Some(*entered);
            own_slots = slots.unwrap_or(own_slots);
        }
        if values != self.values || state != self.state || own_slots != self.slots {
            self.end(event.time, facts);
            (self.values, self.since, self.state, self.slots) = (values, event.time, state, own_slots);
            self.is_moving = true;
        }
        if let Payload::Employed(hired) = &event.payload {
            self.employ(*hired, event.time, facts);
        }
    }

    /// The present stretch ends.
    fn end(&mut self, at: Timestamp, facts: &mut Facts) {
        let mut now = facts.fresh();
        self.state_stretch(Some(at), &mut now);
        self.running.become_now(now, facts);
        self.running.settle();
    }

    /// Whether a stretch has begun that nothing is stated of yet.
    pub(crate) fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// After the last event for now: the present stretch lasts until further notice.
    ///
    /// Not after each event: with a schedule of many stretches ahead, most of it would be taken back by the next.
    pub(crate) fn rest(&mut self, facts: &mut Facts) {
        if !std::mem::take(&mut self.is_moving) {
            return;
        }
        let mut now = facts.fresh();
        self.state_stretch(None, &mut now);
        self.running.become_now(now, facts);
    }

    /// The present stretch, by itself and where it meets the schedule.
    fn state_stretch(&self, until: Option<Timestamp>, facts: &mut Facts) {
        let series = facts.series(&self.values);
        if let Some(state) = self.state {
            let name = facts.names().symbol(state.name());
            let in_state = facts.series(&self.values.with(&Dimension::State, Some(name)));
            facts.span(state.measure(), self.since, until, in_state, 1);
            if state != AgentState::Offline {
                facts.span(Measure::AgentSlots, self.since, until, series, i64::from(self.slots));
            }
        }
        let state = self.state.unwrap_or(AgentState::Offline);
        let first = self.schedule.partition_point(|stretch| stretch.to <= self.since);
        let met = self.schedule[first..].iter().take_while(|stretch| until.is_none_or(|until| stretch.from < until));
        for stretch in met {
            let from = stretch.from.max(self.since);
            let to = until.map_or(stretch.to, |until| until.min(stretch.to));
            for (measure, holds) in [
                (Measure::Scheduled, true),
                (Measure::Adherent, state.is_of_the_kind_of(stretch.activity)),
                (Measure::Paid, stretch.paid),
                (Measure::PaidWorking, stretch.paid && state.is_working()),
                (Measure::Productive, stretch.productive && state != AgentState::Offline),
            ] {
                if holds {
                    facts.span(measure, from, Some(to), series, 1);
                }
            }
        }
    }

    fn employ(&mut self, hired: bool, at: Timestamp, facts: &mut Facts) {
        let series = facts.series(&self.values);
        match (self.employed, hired) {
            (Some(true), true) | (Some(false), false) => {}
            (Some(false) | None, true) => {
                facts.state(Measure::Headcount, at, series, 1);
            }
            (Some(true), false) => leave(at, series, facts),
            (None, false) => {
                facts.state(Measure::Headcount, self.first_seen, series, 1);
                leave(at, series, facts);
            }
        }
        self.employed = Some(hired);
    }
}

fn leave(at: Timestamp, series: SeriesId, facts: &mut Facts) {
    facts.lower(Measure::Headcount, at, series, 1);
    facts.state(Measure::Left, at, series, 0);
}

/// A schedule with a new stretch over those there are.
fn put_over(schedule: &[Schedule], new: Schedule) -> Vec<Schedule> {
    let mut stretches: Vec<Schedule> = Vec::with_capacity(schedule.len() + 2);
    for old in schedule {
        stretches.extend((old.from < new.from).then_some(Schedule { to: old.to.min(new.from), ..*old }));
        stretches.extend((old.to > new.to).then_some(Schedule { from: old.from.max(new.to), ..*old }));
    }
    stretches.push(new);
    stretches.sort_by_key(|stretch| stretch.from);
    stretches
}
