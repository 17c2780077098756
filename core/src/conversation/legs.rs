//! Legs: the passes of a call or routed chat.
//!
//! A leg's instants may come in any order, so its facts follow from all that is known of it and are stated anew with each
//! of its events.

use std::num::NonZeroI64;

use super::{Conversation, Seldom};
use crate::dimension::Dimension;
use crate::event::{LegChange, LegEnd, LegState};
use crate::fact::{Fact, Facts, Holding, Measure};
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::time::Timestamp;

/// What is known of a leg.
#[derive(Debug, Clone, Default)]
pub(super) struct Leg {
    queued: Option<Instant>,
    /// The queue named by the queued event.
    queue: Option<Symbol>,
    /// The queue named last by any event.
    queue_named_last: Option<Symbol>,
    connected: Option<Instant>,
    /// The agent of the connection.
    agent: Option<Symbol>,
    agent_named_last: Option<Symbol>,
    alerted: Option<Symbol>,
    /// Connected, held and wrap-up, in order.
    handled: Vec<(Timestamp, LegState)>,
    /// The conversation's dimension values since the leg's first event, each from its instant on, until it ended.
    values: Vec<Instant>,
    ended: Option<(Instant, Option<LegEnd>)>,
    /// Alerts not taken, by whom, and what was stated of them.
    refused: Vec<(Instant, Option<Symbol>, Fact)>,
    holding: Holding,
}

/// An instant and the dimension values then: the conversation's, but the leg's queue.
#[derive(Debug, Clone)]
struct Instant {
    at: Timestamp,
    values: DimensionValues,
}

/// How long a leg was in each state of its handling, in milliseconds.
#[derive(Debug, Default)]
struct Handled {
    talk: i64,
    hold: Option<i64>,
    wrapup: Option<i64>,
}

/// To whom a fact of a leg is credited.
#[derive(Debug, Clone, Copy)]
enum Credited {
    /// The conversation's agent.
    Conversation,
    /// The agent of the leg, where one is known.
    Leg(Option<Symbol>),
}

impl Leg {
    /// Takes in an event; true when it is the one that connects the leg.
    fn learn(&mut self, change: &LegChange, at: Timestamp, values: &DimensionValues, facts: &mut Facts) -> bool {
        if change.state == LegState::Queued && self.queued.is_none() {
            self.queue = change.queue;
            self.refuse_again(facts);
        }
        self.queue_named_last = change.queue.or(self.queue_named_last);
        let instant = self.instant(at, values);
        self.note(&instant);
        let agent = change.agent.or(self.agent_named_last);
        self.agent_named_last = agent;
        if matches!(change.reason, Some(LegEnd::Declined | LegEnd::Expired)) {
            let agent = change.agent.or(self.alerted);
            let series = self.series(&instant, Credited::Leg(agent), None, facts);
            let fact = facts.state(Measure::NonResponse, at, series, 0);
            self.refused.push((instant.clone(), agent, fact));
        }
        match change.state {
            LegState::Ivr => {}
            LegState::Queued => {
                if self.queued.is_none() {
                    self.queued = Some(instant.clone());
                }
            }
            LegState::Alerting => {
                if change.reason.is_none() {
                    self.alerted = change.agent.or(self.alerted);
                }
            }
            LegState::Connected | LegState::Held | LegState::Wrapup => {
                if self.ended.is_none() {
                    self.handled.push((at, change.state));
                }
                if change.state == LegState::Connected && self.connected.is_none() {
                    self.connected = Some(instant);
                    self.agent = agent;
                    return true;
                }
            }
            LegState::Ended => {
                if self.ended.is_none() {
                    self.ended = Some((instant, change.reason));
                }
            }
        }
        false
    }

    /// Alerts that were not taken count for the queue that the queued event names, which may come last.
    fn refuse_again(&mut self, facts: &mut Facts) {
        let mut refused = std::mem::take(&mut self.refused);
        for (instant, agent, fact) in &mut refused {
            facts.take_back(*fact);
            let series = self.series(instant, Credited::Leg(*agent), None, facts);
            *fact = facts.state(Measure::NonResponse, instant.at, series, 0);
        }
        self.refused = refused;
    }

    /// Keeps the dimension values of an instant while the leg runs, where they are new.
    fn note(&mut self, instant: &Instant) {
        if self.ended.is_none() && self.values.last().is_none_or(|last| last.values != instant.values) {
            self.values.push(instant.clone());
        }
    }

    /// The queue it counts for, as far as is known: the one it was queued in, else the one named last.
    fn queue(&self) -> Option<Symbol> {
        self.queue.or(self.queue_named_last)
    }

    /// An instant with the conversation's values, but the leg's queue.
    fn instant(&self, at: Timestamp, values: &DimensionValues) -> Instant {
        let values = match self.queue() {
            Some(queue) => values.with(&Dimension::Team, Some(queue)),
            None => values.clone(),
        };
        Instant { at, values }
    }

    /// The series of an instant and who is credited. The queue of the queued event holds for all of the leg.
    fn series(&self, instant: &Instant, credited: Credited, outcome: Option<&str>, facts: &Facts) -> SeriesId {
        let mut values = instant.values.clone();
        if self.queue.is_some() {
            values.set(&Dimension::Team, self.queue);
        }
        if let Credited::Leg(agent) = credited {
            values.set(&Dimension::Agent, agent);
        }
        values.set(&Dimension::Outcome, outcome.map(|outcome| facts.names().symbol(outcome)));
        facts.series(&values)
    }

    /// Everything that follows from what is known.
    fn state(&self, customer: Option<i64>, facts: &mut Facts) {
        if let Some(queued) = &self.queued {
            let series = self.series(queued, Credited::Conversation, None, facts);
            facts.state(Measure::Offered, queued.at, series, 0);
            let left = self.connected.as_ref().or(self.ended.as_ref().map(|(instant, _)| instant));
            let left = left.map(|left| left.at);
            self.last(Measure::InQueue, (queued.at, left), Credited::Conversation, queued.at.millis(), facts);
            self.state_wait(queued, facts);
        }
        if let Some(connected) = &self.connected {
            let agent = Credited::Leg(self.agent);
            let series = self.series(connected, agent, None, facts);
            facts.state(Measure::LegConnected, connected.at, series, 0);
            let ended = self.ended.as_ref().map(|(ended, _)| ended.at);
            self.last(Measure::Handling, (connected.at, ended), agent, 1, facts);
            if let Some(customer) = customer {
                facts.state(Measure::CustomerServed, connected.at, series, customer);
            }
        }
        if let Some((ended, reason)) = &self.ended {
            self.state_end(ended, *reason, facts);
        }
    }

    /// States a level that lasts from one instant to another, or on, under the values that hold in each part of it.
    fn last(
        &self,
        measure: Measure,
        (from, to): (Timestamp, Option<Timestamp>),
        credited: Credited,
        value: i64,
        facts: &mut Facts,
    ) {
        let ends = self.values.iter().skip(1).map(|next| Some(next.at)).chain([None]);
        for (index, (since, end)) in self.values.iter().zip(ends).enumerate() {
            let from = if index == 0 { from } else { from.max(since.at) };
            let to = [end, to].into_iter().flatten().min();
            facts.span(measure, from, to, self.series(since, credited, None, facts), value);
        }
    }

    /// At the end of a wait it counts under the values then, at its start under those of the start.
    fn state_wait(&self, queued: &Instant, facts: &mut Facts) {
        let queue = Credited::Conversation;
        let (measure, until, credited, outcome) = match (&self.connected, &self.ended) {
            (Some(connected), _) => (Measure::AnsweredWait, connected, Credited::Leg(self.agent), "answered"),
            (None, Some((ended, Some(LegEnd::Abandoned)))) => (Measure::AbandonedWait, ended, queue, "abandoned"),
            (None, Some((ended, reason))) => (Measure::OtherWait, ended, queue, outcome(*reason)),
            (None, None) => return,
        };
        let series = self.series(until, credited, Some(outcome), facts);
        let series_at_start = self.series(queued, queue, Some(outcome), facts);
        let wait_ms = until.at.millis_since(queued.at);
        facts.state(measure, until.at, series, wait_ms.max(0));
        facts.state_at_start(measure, queued.at, series_at_start, wait_ms.max(0));
        if wait_ms < 0 {
            facts.state(Measure::Skewed, until.at, series, 0);
        }
    }

    fn state_end(&self, ended: &Instant, reason: Option<LegEnd>, facts: &mut Facts) {
        let owner = self.agent.map_or(Credited::Conversation, |agent| Credited::Leg(Some(agent)));
        let series = self.series(ended, owner, None, facts);
        match reason {
            Some(LegEnd::Callback) => {
                facts.state(Measure::Callback, ended.at, series, 0);
            }
            Some(LegEnd::Voicemail) => {
                facts.state(Measure::Voicemail, ended.at, series, 0);
            }
            Some(LegEnd::Overflow) => {
                facts.state(Measure::Overflow, ended.at, series, 0);
            }
            _ => {}
        }
        let Some(connected) = &self.connected else { return };
        let series = self.series(ended, Credited::Leg(self.agent), None, facts);
        let handled = self.handled_until(ended.at);
        facts.state(Measure::Talk, ended.at, series, handled.talk);
        for (measure, ms) in [(Measure::Hold, handled.hold), (Measure::Wrapup, handled.wrapup)] {
            if let Some(ms) = ms {
                facts.state(measure, ended.at, series, ms);
            }
        }
        let all_ms = handled.talk + handled.hold.unwrap_or(0) + handled.wrapup.unwrap_or(0);
        facts.state(Measure::Handle, ended.at, series, all_ms);
        if ended.at < connected.at {
            facts.state(Measure::Skewed, ended.at, series, 0);
        }
    }

    /// How long each state lasted, from the first connection on: up to the next of them or the end.
    fn handled_until(&self, ended_at: Timestamp) -> Handled {
        let mut handled = Handled::default();
        let from_connection = self.handled.iter().skip_while(|(_, state)| *state != LegState::Connected);
        let states: Vec<&(Timestamp, LegState)> = from_connection.collect();
        for (index, (since, state)) in states.iter().enumerate() {
            let until = states.get(index + 1).map_or(ended_at, |(next, _)| ended_at.min(*next));
            let ms = until.millis_since(*since).max(0);
            match state {
                LegState::Held => *handled.hold.get_or_insert(0) += ms,
                LegState::Wrapup => *handled.wrapup.get_or_insert(0) += ms,
                _ => handled.talk += ms,
            }
        }
        handled
    }
}

/// The value of the dimension `outcome`.
fn outcome(reason: Option<LegEnd>) -> &'static str {
    match reason {
        Some(LegEnd::Completed) => "completed",
        Some(LegEnd::Abandoned) => "abandoned",
        Some(LegEnd::Transferred) => "transferred",
        Some(LegEnd::Callback) => "callback",
        Some(LegEnd::Voicemail) => "voicemail",
        Some(LegEnd::Overflow) => "overflow",
        Some(LegEnd::Declined) => "declined",
        Some(LegEnd::Expired) => "expired",
        Some(LegEnd::Closed) => "closed",
        None => "other",
    }
}

impl Conversation {
    /// A leg entered a state.
    pub(super) fn leg(&mut self, change: &LegChange, at: Timestamp, facts: &mut Facts) {
        let customer = self.customer_number.map(NonZeroI64::get);
        let seldom = self.seldom.get_or_insert_with(|| Box::new(Seldom::NOTHING));
        let leg = seldom.legs.entry(change.leg.clone()).or_default();
        let connects = leg.learn(change, at, &self.values, facts);
        let mut now = facts.fresh();
        leg.state(customer, &mut now);
        leg.holding.become_now(now, facts);
        if !connects {
            return;
        }
        seldom.connected_legs += 1;
        self.reached_human = true;
        if let Some(agent) = leg.agent {
            let before = leg.instant(at, &self.values).values;
            self.own(agent, &before, at, facts);
        }
    }

    /// Dimension values have changed: legs in a queue or in conversation count under the new ones from now on.
    pub(super) fn move_legs(&mut self, at: Timestamp, facts: &mut Facts) {
        let Some(seldom) = &mut self.seldom else { return };
        for leg in seldom.legs.values_mut().filter(|leg| leg.ended.is_none()) {
            let Some(before) = leg.values.last().cloned() else { continue };
            let instant = leg.instant(at, &self.values);
            leg.note(&instant);
            // Only what runs on is moved: what came before stands.
            let (measure, credited, value) = match (&leg.queued, &leg.connected) {
                (_, Some(_)) => (Measure::Handling, Credited::Leg(leg.agent), 1),
                (Some(queued), None) => (Measure::InQueue, Credited::Conversation, queued.at.millis()),
                (None, None) => continue,
            };
            let from = leg.series(&before, credited, None, facts);
            let to = leg.series(&instant, credited, None, facts);
            let place = facts.len();
            facts.lower(measure, at, from, value);
            facts.state(measure, at, to, value);
            leg.holding.add(facts.since(place));
        }
    }
}
