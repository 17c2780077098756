//! Statuses, episodes and owners.

use super::{Conversation, FIRST_CONTACT_WINDOW_MS, Progress, Resolution, Spent};
use crate::dimension::Dimension;
use crate::event::{Actor, Assignee, AssignmentReason, Status};
use crate::fact::{Facts, Measure};
use crate::series::{DimensionValues, Symbol};
use crate::time::Timestamp;

impl Conversation {
    /// The conversation entered a status.
    pub(super) fn enter(&mut self, status: Status, actor: Actor, at: Timestamp, facts: &mut Facts) {
        let to = match status {
            Status::Open => Progress::Open,
            Status::Pending => Progress::Pending,
            Status::OnHold => Progress::OnHold,
            Status::Resolved | Status::Closed => Progress::Resolved,
            Status::Merged | Status::Deleted | Status::Spam => {
                self.excluded = true;
                return;
            }
        };
        match (self.progress, to) {
            (Progress::Resolved, Progress::Resolved) => {}
            (_, Progress::Resolved) => self.resolve(actor, at, facts),
            (Progress::Resolved, _) => {
                self.excluded = false;
                self.reopen(to, at, facts);
            }
            (_, _) => {
                self.excluded = false;
                self.spend_until(at);
                self.progress = to;
            }
        }
    }

    /// Adds the time since the last change to the episode's account.
    fn spend_until(&mut self, at: Timestamp) {
        let ms = at.millis_since(self.progress_since).max(0);
        match self.progress {
            Progress::Open => self.spent.open += ms,
            Progress::Pending => self.spent.pending += ms,
            Progress::OnHold => self.spent.on_hold += ms,
            Progress::Resolved => {}
        }
        self.progress_since = self.progress_since.max(at);
    }

    fn resolve(&mut self, actor: Actor, at: Timestamp, facts: &mut Facts) {
        let agent = match actor {
            Actor::Agent(Some(agent)) => Some(agent),
            Actor::Agent(None) | Actor::Unnamed => self.values.get(&Dimension::Agent),
            Actor::Customer | Actor::Bot(_) | Actor::Automation | Actor::Campaign | Actor::System => None,
        };
        let series = self.credited_to(agent, facts);
        let opened_at = self.opened_at;
        self.spend_until(at);
        let mut both = |measure, measure_at_start, ms| {
            [facts.state(measure, at, series, ms), facts.state(measure_at_start, opened_at, series, ms)]
        };

        let since_opening_ms = self.elapsed(opened_at, at);
        let episode_ms = self.elapsed(self.episode_start, at);
        let paused_ms = self.spent.pending + self.spent.on_hold;
        both(Measure::Resolution, Measure::ResolutionAtStart, episode_ms);
        both(Measure::NetResolution, Measure::NetResolutionAtStart, (episode_ms - paused_ms).max(0));
        both(Measure::RequesterWait, Measure::RequesterWaitAtStart, self.spent.open + self.spent.on_hold);
        self.reached_human |= matches!(actor, Actor::Agent(_));
        if self.reached_human {
            let from = self.first_handoff.unwrap_or(opened_at).max(self.episode_start);
            let human_ms = self.elapsed(from, at);
            both(Measure::HumanResolution, Measure::HumanResolutionAtStart, human_ms);
        }
        if !self.resolved_before {
            both(Measure::FirstResolution, Measure::FirstResolutionAtStart, since_opening_ms);
        }
        let mut taken_back_by_reopening =
            Vec::from(both(Measure::FullResolution, Measure::FullResolutionAtStart, since_opening_ms));
        taken_back_by_reopening.push(facts.state(Measure::ResolvedReplies, at, series, self.replies));
        taken_back_by_reopening.push(facts.state(Measure::ResolvedAtStart, opened_at, self.series_at_opening, 0));

        if self.replies <= 1 && !self.transferred && !self.reopened_soon {
            let contact = self.contact(facts).unwrap_or(0);
            taken_back_by_reopening.push(facts.state(Measure::FirstContact, at, series, contact));
        }

        facts.lower(Measure::Backlog, self.level_at(at), self.backlog_series, opened_at.millis());
        self.end_wait(at, facts);
        self.waiting_for_bot_since = None;
        self.progress = Progress::Resolved;
        self.resolved_before = true;
        self.resolution = Some(Resolution { at, series, agent, taken_back_by_reopening });
    }

    fn reopen(&mut self, to: Progress, at: Timestamp, facts: &mut Facts) {
        if let Some(resolution) = self.resolution.take() {
            self.reopened_soon |= at.millis_since(resolution.at) <= FIRST_CONTACT_WINDOW_MS;
            for fact in resolution.taken_back_by_reopening {
                facts.take_back(fact);
            }
            facts.state(Measure::ResolutionUndone, resolution.at, resolution.series, 0);
            facts.state(Measure::Reopened, at, self.credited_to(resolution.agent, facts), 0);
        }
        facts.state(Measure::Backlog, self.level_at(at), self.series, self.opened_at.millis());
        self.backlog_series = self.series;
        self.episode_start = at;
        self.progress = to;
        self.progress_since = at;
        self.spent = Spent::default();
    }

    /// The conversation was given to somebody; `before` are the dimension values until then.
    pub(super) fn assign(
        &mut self,
        to: Assignee,
        reason: AssignmentReason,
        before: &DimensionValues,
        at: Timestamp,
        facts: &mut Facts,
    ) {
        let to_humans = matches!(to, Assignee::Team(_) | Assignee::Agent { .. });
        if to_humans && (self.owned_by_bot || reason == AssignmentReason::Handoff) {
            self.first_handoff.get_or_insert(at);
            self.last_handoff = Some(at);
            self.reached_human = true;
        }
        self.owned_by_bot = matches!(to, Assignee::Bot(_));
        match to {
            Assignee::Agent { agent, .. } => self.assign_agent(agent, before, at, facts),
            Assignee::Nobody | Assignee::Bot(_) | Assignee::Team(_) => self.to_reply = None,
        }
    }

    fn assign_agent(&mut self, agent: Symbol, before: &DimensionValues, at: Timestamp, facts: &mut Facts) {
        self.reached_human = true;
        if !self.assigned_to_agent_before {
            self.assigned_to_agent_before = true;
            let assignment_ms = self.elapsed(self.opened_at, at);
            facts.state(Measure::Assignment, at, self.series, assignment_ms);
            facts.state(Measure::AssignmentAtStart, self.opened_at, self.series, assignment_ms);
        }
        // The owner changes from agent to agent, whatever queues lie between: one transfer, however often it is routed.
        if let Some(from) = self.last_agent.filter(|from| *from != agent) {
            let series = facts.series(&before.with(&Dimension::Agent, Some(from)));
            facts.state(Measure::Transferred, at, series, 0);
            self.transferred = true;
        }
        self.last_agent = Some(agent);
        self.to_reply = Some((agent, at));
    }
}
