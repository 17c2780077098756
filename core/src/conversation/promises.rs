//! SLA targets while they run.

use super::{Conversation, Progress};
use crate::calendar::Calendar;
use crate::dimension::Dimension;
use crate::fact::{Clock, Facts, Holding, Measure};
use crate::rules::{Target, TargetKind};
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::time::Timestamp;

/// A target that has started and is not fulfilled.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    policy: Symbol,
    target: Target,
    /// Whose calendar it is measured with: the team at the start.
    team: Option<Symbol>,
    /// What it took before the present run began.
    used_ms: i64,
    /// When the present run began; `None` while paused.
    running_since: Option<Timestamp>,
    /// The dimension values since the start of the present run, each from its instant on.
    series: Vec<(Timestamp, SeriesId)>,
    /// The deadline went by.
    is_breached: bool,
    /// What the present run states: a breach to come and being at risk.
    holding: Holding,
}

impl Promise {
    fn calendar<'a>(&self, facts: &Facts<'a>) -> Option<&'a Calendar> {
        match self.target.clock {
            Clock::Calendar => None,
            Clock::Business => facts.rules().calendar(self.team),
        }
    }

    /// The last instant at which fulfilling it would still meet the target; `None` while paused and where that never ends.
    fn deadline(&self, facts: &Facts) -> Option<Timestamp> {
        let too_late = self.reaches(self.target.at_most_ms + 1, facts)?;
        Some(Timestamp::clamped(too_late.millis() - 1))
    }

    /// The instant at which the running target has taken so long.
    fn reaches(&self, ms: i64, facts: &Facts) -> Option<Timestamp> {
        let since = self.running_since?;
        let left_ms = (ms - self.used_ms).max(0);
        match self.calendar(facts) {
            Some(calendar) => calendar.after(since, left_ms),
            None => Timestamp::from_millis(since.millis().checked_add(left_ms)?),
        }
    }

    /// The instant from which on it is at risk; `None` while paused, without a lead, and where that never comes.
    fn warning(&self, facts: &Facts) -> Option<Timestamp> {
        self.reaches(self.target.at_most_ms - self.target.lead_ms?, facts)
    }

    /// States what follows from the present run if nothing happens after `ended`, or nothing at all.
    fn expect(&mut self, ended: Option<Timestamp>, facts: &mut Facts) {
        let mut now = facts.fresh();
        let deadline = self.deadline(facts);
        if let (Some(deadline), None) = (deadline, ended) {
            now.state(Measure::SlaBreached, deadline, self.series_at(deadline), 0);
        }
        if let Some(warning) = self.warning(facts) {
            let last = ended.or(deadline);
            let ends = self.series.iter().skip(1).map(|(since, _)| Some(*since)).chain([None]);
            for ((since, series), end) in self.series.iter().zip(ends) {
                let until = [end, last].into_iter().flatten().min();
                let deadline = deadline.unwrap_or(Timestamp::MAX);
                now.span(Measure::SlaAtRisk, warning.max(*since), until, *series, deadline.millis());
            }
        }
        self.holding.become_now(now, facts);
    }

    fn series_at(&self, at: Timestamp) -> SeriesId {
        let after = self.series.partition_point(|(since, _)| *since <= at);
        self.series[after.saturating_sub(1)].1
    }

    /// Ends the present run.
    fn stop(&mut self, at: Timestamp, facts: &mut Facts) {
        let Some(since) = self.running_since else { return };
        if self.deadline(facts).is_some_and(|deadline| deadline < at) {
            self.is_breached = true;
        } else {
            self.expect(Some(at), facts);
        }
        self.holding.settle();
        self.used_ms += match self.calendar(facts) {
            Some(calendar) => calendar.between(since, at),
            None => at.millis_since(since).max(0),
        };
        self.running_since = None;
    }

    fn begin(&mut self, at: Timestamp, series: SeriesId, facts: &mut Facts) {
        self.running_since = Some(at);
        self.series = vec![(at, series)];
        if !self.is_breached {
            self.expect(None, facts);
        }
    }
}

impl Conversation {
    /// A wait or an episode has started, and with it the targets of every policy that matches now.
    pub(super) fn promise(&mut self, kind: TargetKind, at: Timestamp, facts: &mut Facts) {
        if !facts.rules().has_policies() {
            return;
        }
        let targets: Vec<_> = facts.rules().targets(kind, at, &self.values, facts.names()).collect();
        for (policy, target) in targets {
            let mut promise = Promise {
                policy,
                target,
                team: self.values.get(&Dimension::Team),
                used_ms: 0,
                running_since: None,
                series: Vec::new(),
                is_breached: false,
                holding: Holding::default(),
            };
            promise.begin(at, promised(&self.values, &promise, facts), facts);
            self.seldom_mut().promises.push(promise);
        }
    }

    /// Dimension values have changed: what is running counts under the new ones from now on.
    pub(super) fn move_promises(&mut self, at: Timestamp, facts: &mut Facts) {
        let Some(seldom) = &mut self.seldom else { return };
        for promise in &mut seldom.promises {
            let series = promised(&self.values, promise, facts);
            let Some(since) = promise.running_since else { continue };
            if promise.is_breached || promise.deadline(facts).is_some_and(|deadline| deadline < at) {
                continue;
            }
            let from = at.max(since);
            let warned = promise.warning(facts).is_some_and(|warning| warning < from);
            if warned {
                promise.series.push((from, series));
            } else {
                // What it counted under before the warning does not matter.
                promise.series = vec![(since, series)];
            }
            promise.expect(None, facts);
        }
    }

    /// The status has changed: resolution pauses while pending.
    pub(super) fn pause_promises(&mut self, at: Timestamp, facts: &mut Facts) {
        let Some(seldom) = &mut self.seldom else { return };
        for promise in seldom.promises.iter_mut().filter(|promise| promise.target.kind == TargetKind::Resolution) {
            match (self.progress, promise.running_since) {
                (Progress::Pending, Some(_)) => promise.stop(at, facts),
                (Progress::Open | Progress::OnHold, None) => {
                    let series = promised(&self.values, promise, facts);
                    promise.begin(at, series, facts);
                }
                _ => {}
            }
        }
    }

    /// What was promised has happened, credited to an agent.
    pub(super) fn fulfil_promises(
        &mut self,
        kind: TargetKind,
        agent: Option<Symbol>,
        at: Timestamp,
        facts: &mut Facts,
    ) {
        let Some(seldom) = self.seldom.as_mut().filter(|seldom| !seldom.promises.is_empty()) else { return };
        let fulfilled: Vec<Promise> = seldom.promises.extract_if(.., |promise| promise.target.kind == kind).collect();
        let values = self.values.with(&Dimension::Agent, agent);
        for mut promise in fulfilled {
            promise.stop(at, facts);
            let series = promised(&values, &promise, facts);
            let over_ms = promise.used_ms - promise.target.at_most_ms;
            if promise.is_breached {
                facts.state(Measure::SlaOverrun, at, series, over_ms);
            } else {
                facts.state(Measure::SlaMet, at, series, 0);
            }
        }
    }

    /// The customer waits no longer, though nobody answered.
    pub(super) fn cancel_promises_of_waits(&mut self, at: Timestamp, facts: &mut Facts) {
        let Some(seldom) = &mut self.seldom else { return };
        for mut promise in seldom.promises.extract_if(.., |promise| promise.target.kind != TargetKind::Resolution) {
            promise.stop(at, facts);
        }
    }
}

/// The series of a target's facts: the conversation's values, the policy and the kind of target.
fn promised(values: &DimensionValues, promise: &Promise, facts: &Facts) -> SeriesId {
    let kind = facts.names().symbol(promise.target.kind.name());
    let values = values.with(&Dimension::SlaPolicy, Some(promise.policy)).with(&Dimension::SlaTarget, Some(kind));
    facts.series(&values)
}
