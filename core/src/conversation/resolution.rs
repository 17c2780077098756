//! Statuses, episodes and owners.

use super::{Conversation, FIRST_CONTACT_WINDOW_MS, Progress, Resolution};
use std::num::NonZeroI64;

use crate::dimension::Dimension;
use crate::event::{Actor, Assignee, AssignmentReason, Status};
use crate::fact::{Anchor, Facts, Lasted, Measure};
use crate::rules::TargetKind;
use crate::series::{DimensionValues, Symbol};
use crate::time::Timestamp;

impl Conversation {
    /// The conversation entered a status.
    pub(super) fn enter(
        &mut self,
        status: Status,
        merged_into: Option<&str>,
        actor: Actor,
        at: Timestamp,
        facts: &mut Facts,
    ) {
        let to = match status {
            Status::Open => Progress::Open,
            Status::Pending => Progress::Pending,
            Status::OnHold => Progress::OnHold,
            Status::Resolved | Status::Closed => Progress::Resolved,
            Status::Merged | Status::Deleted | Status::Spam => {
                self.excluded = true;
                if let Some(target) = merged_into.filter(|_| status == Status::Merged) {
                    self.seldom_mut().merged_into = Some(target.into());
                } else {
                    self.is_merged_no_more();
                }
                if status != Status::Spam {
                    self.cancel_wait(at, facts);
                }
                return;
            }
        };
        match (self.progress, to) {
            (Progress::Resolved, Progress::Resolved) => {}
            (_, Progress::Resolved) => self.resolve(actor, at, facts),
            (Progress::Resolved, _) => {
                self.restore();
                self.reopen(to, at, facts);
            }
            (_, _) => {
                self.restore();
                let since = self.spans.last().map_or(at, |(since, _)| at.max(*since));
                self.spans.push((since, to));
                self.progress = to;
                self.pause_promises(at, facts);
            }
        }
    }

    /// The customer waits no longer, though nobody answered.
    fn cancel_wait(&mut self, at: Timestamp, facts: &mut Facts) {
        self.end_wait(at, facts);
        self.cancel_promises_of_waits(at, facts);
        self.waiting_for_bot_since = None;
    }

    fn restore(&mut self) {
        self.excluded = false;
        self.is_merged_no_more();
    }

    fn is_merged_no_more(&mut self) {
        if let Some(seldom) = &mut self.seldom {
            seldom.merged_into = None;
        }
    }

    /// How long the running episode has been in any of some states.
    fn spent_in(&self, states: &[Progress], until: Timestamp, facts: &Facts) -> Lasted {
        let ends = self.spans.iter().skip(1).map(|(since, _)| *since).chain([until]);
        let mut spent = Lasted { calendar_ms: 0, business_ms: 0 };
        for ((since, state), end) in self.spans.iter().zip(ends) {
            if states.contains(state) {
                let lasted = facts.rules().lasted(*since, end, self.values.get(&Dimension::Team));
                spent.calendar_ms += lasted.calendar_ms;
                spent.business_ms += lasted.business_ms;
            }
        }
        spent
    }

    fn resolve(&mut self, actor: Actor, at: Timestamp, facts: &mut Facts) {
        let agent = match actor {
            Actor::Agent(Some(agent)) => Some(agent),
            Actor::Agent(None) | Actor::Unnamed => self.values.get(&Dimension::Agent),
            Actor::Customer | Actor::Bot(_) | Actor::Automation | Actor::Campaign | Actor::System => None,
        };
        let series = self.credited_to(agent, facts);
        let (opened_at, episode_start) = (self.opened_at, self.episode_start);
        let episode = self.lasted(episode_start, at, facts);
        let paused = self.spent_in(&[Progress::Pending, Progress::OnHold], at, facts);
        let net = Lasted {
            calendar_ms: (episode.calendar_ms - paused.calendar_ms).max(0),
            business_ms: (episode.business_ms - paused.business_ms).max(0),
        };
        let waiting = self.spent_in(&[Progress::Open, Progress::OnHold], at, facts);
        // How long the customer had to wait is credited to nobody in particular.
        for (measure, lasted, series) in [
            (Measure::Resolution, episode, series),
            (Measure::NetResolution, net, series),
            (Measure::RequesterWait, waiting, self.series),
        ] {
            facts.lasted(measure, Anchor::Completion, at, series, lasted);
            facts.lasted(measure, Anchor::Start, opened_at, series, lasted);
        }
        self.reached_human |= matches!(actor, Actor::Agent(_));
        if self.reached_human {
            let from = self.episode_handoff.unwrap_or(episode_start).max(episode_start);
            self.duration(Measure::HumanResolution, (from, at), opened_at, series, facts);
        }
        if !self.resolved_before {
            self.duration(Measure::FirstResolution, (opened_at, at), opened_at, series, facts);
        }
        let taken_back_from = facts.len();
        self.duration(Measure::FullResolution, (opened_at, at), opened_at, series, facts);
        facts.state(Measure::ResolvedReplies, at, series, self.replies);
        facts.state_at_start(Measure::ResolvedNow, opened_at, self.series_at_opening, 0);
        if self.replies <= 1 && self.seldom().connected_legs <= 1 && !self.transferred && !self.reopened_soon {
            facts.state(Measure::FirstContact, at, series, self.contact(facts).map_or(0, NonZeroI64::get));
        }
        let taken_back_by_reopening = facts.since(taken_back_from).to_vec();

        facts.lower(Measure::Backlog, self.level_at(at), self.backlog_series, opened_at.millis());
        self.cancel_wait(at, facts);
        self.fulfil_promises(TargetKind::Resolution, agent, at, facts);
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
        self.episode_handoff = None;
        self.progress = to;
        self.spans = vec![(at, to)];
        self.promise(TargetKind::Resolution, at, facts);
        self.pause_promises(at, facts);
    }

    /// A bot has written or was given the conversation.
    pub(super) fn bot_takes_part(&mut self, at: Timestamp, facts: &mut Facts) {
        if self.bot_since.is_some() {
            return;
        }
        self.bot_since = Some(at);
        facts.state(Measure::BotTookPart, at, self.series, 0);
        facts.state_at_start(Measure::BotTookPart, self.opened_at, self.series_at_opening, 0);
        if self.first_handoff.is_some() {
            self.hand_over(at, facts);
        }
    }

    fn hand_over(&mut self, at: Timestamp, facts: &mut Facts) {
        facts.state(Measure::HandedOver, at, self.series, 0);
        facts.state_at_start(Measure::HandedOver, self.opened_at, self.series_at_opening, 0);
    }

    /// Counts the conversation as solved by a bot as long as it is.
    pub(super) fn contain(&mut self, facts: &mut Facts) {
        if self.bot_since.is_none() {
            return;
        }
        let without_human = self.first_handoff.is_none() && self.replies == 0 && self.seldom().connected_legs == 0;
        let resolution = self.resolution.as_ref().filter(|_| without_human);
        let now = resolution.map(|resolution| (resolution.at, resolution.series));
        if self.contained == now {
            return;
        }
        let state = |(at, series), facts: &mut Facts| {
            let at_end = facts.state(Measure::Contained, at, series, 0);
            [at_end, facts.state_at_start(Measure::Contained, self.opened_at, self.series_at_opening, 0)]
        };
        if let Some(until_now) = self.contained {
            for fact in state(until_now, &mut facts.fresh()) {
                facts.take_back(fact);
            }
        }
        if let Some(now) = now {
            state(now, facts);
        }
        self.contained = now;
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
            if self.first_handoff.is_none() {
                self.first_handoff = Some(at);
                if self.bot_since.is_some() {
                    self.hand_over(at, facts);
                }
            }
            self.last_handoff = Some(at);
            if self.progress != Progress::Resolved {
                self.episode_handoff.get_or_insert(at);
            }
            self.reached_human = true;
        }
        if matches!(to, Assignee::Bot(_)) {
            self.bot_takes_part(at, facts);
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
            let opened_at = self.opened_at;
            self.duration(Measure::Assignment, (opened_at, at), opened_at, self.series, facts);
        }
        self.own(agent, before, at, facts);
        self.to_reply = Some((agent, at));
    }

    /// An agent has the conversation now; `before` are the dimension values until then.
    pub(super) fn own(&mut self, agent: Symbol, before: &DimensionValues, at: Timestamp, facts: &mut Facts) {
        // The owner changes from agent to agent, whatever queues lie between: one transfer, however often it is routed.
        if let Some(from) = self.last_agent.filter(|from| *from != agent) {
            let series = facts.series(&before.with(&Dimension::Agent, Some(from)));
            facts.state(Measure::Transferred, at, series, 0);
            self.transferred = true;
        }
        self.last_agent = Some(agent);
    }
}
