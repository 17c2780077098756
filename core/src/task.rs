//! What the events of tasks, sessions of self-service and teams mean.

use crate::conversation::{customer_number, set_attributes};
use crate::dimension::Dimension;
use crate::event::{Event, Payload, SessionOutcome, TaskStatus};
use crate::fact::{Facts, Holding, Measure};
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::time::Timestamp;

/// What a task has come to.
#[derive(Debug, Default)]
pub struct Task {
    values: DimensionValues,
    assigned: Option<(Timestamp, SeriesId)>,
    completed: Option<(Timestamp, SeriesId)>,
    holding: Holding,
}

/// What a session of self-service has come to.
#[derive(Debug, Default)]
pub struct Session {
    values: DimensionValues,
    holding: Holding,
}

/// A team, for its costs.
#[derive(Debug)]
pub struct Team {
    values: DimensionValues,
}

impl Task {
    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        set_attributes(&mut self.values, event);
        let Payload::TaskChanged { assignee, status } = &event.payload else { return };
        if assignee.is_some() {
            self.values.set(&Dimension::Agent, *assignee);
        }
        let here = (event.time, facts.series(&self.values));
        match status {
            TaskStatus::Assigned => {
                self.assigned.get_or_insert(here);
                self.completed = None;
            }
            TaskStatus::Completed => self.completed = self.completed.or(Some(here)),
            TaskStatus::Cancelled => self.completed = None,
        }
        let mut now = facts.fresh();
        if let Some((at, series)) = self.assigned {
            now.state(Measure::TaskAssigned, at, series, 0);
        }
        if let Some((at, series)) = self.completed {
            now.state(Measure::TaskCompleted, at, series, 0);
        }
        if let (Some((at, series)), Some(_)) = (self.assigned, self.completed) {
            now.state_at_start(Measure::TaskCompleted, at, series, 0);
        }
        self.holding.become_now(now, facts);
    }
}

impl Session {
    /// Walks over the next event: the last end of a session counts.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        set_attributes(&mut self.values, event);
        let Payload::SessionEnded { customer, outcome } = &event.payload else { return };
        let series = facts.series(&self.values);
        let mut now = facts.fresh();
        if *outcome != SessionOutcome::Unknown {
            now.state(Measure::SessionKnown, event.time, series, 0);
        }
        if *outcome == SessionOutcome::Resolved {
            let customer = customer.as_deref().map_or(0, customer_number);
            now.state(Measure::SessionResolved, event.time, series, customer);
        }
        self.holding.become_now(now, facts);
    }
}

impl Team {
    /// A team before the first event.
    pub(crate) fn begin(team: Symbol) -> Self {
        let mut values = DimensionValues::default();
        values.set(&Dimension::Team, Some(team));
        Self { values }
    }

    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        set_attributes(&mut self.values, event);
        if let Payload::Cost { currency, micros } = &event.payload {
            let values = self.values.with(&Dimension::Currency, Some(*currency));
            facts.state(Measure::Cost, event.time, facts.series(&values), *micros);
        }
    }
}
