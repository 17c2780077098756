//! Messages, waits and who answered them.

use super::{Conversation, Wait};
use crate::dimension::Dimension;
use crate::event::{Actor, Initiator, Sentiment, Visibility};
use crate::fact::{Anchor, Facts, Measure};
use crate::rules::TargetKind;
use crate::series::Symbol;
use crate::time::Timestamp;

impl Conversation {
    /// A message was written.
    pub(super) fn message(
        &mut self,
        actor: Actor,
        visibility: Visibility,
        quick_reply: Option<Symbol>,
        sentiment: Option<Sentiment>,
        at: Timestamp,
        facts: &mut Facts,
    ) {
        if visibility == Visibility::Private {
            let author = match actor {
                Actor::Agent(Some(agent)) => Some(agent),
                _ => self.values.get(&Dimension::Agent),
            };
            facts.state(Measure::PrivateNote, at, self.credited_to(author, facts), 0);
            return;
        }
        match actor {
            Actor::Customer => {
                facts.state(Measure::MessageReceived, at, self.series, 0);
                if let Some(sentiment) = sentiment {
                    let score = match sentiment {
                        Sentiment::Negative => -1,
                        Sentiment::Neutral => 0,
                        Sentiment::Positive => 1,
                    };
                    facts.state(Measure::SentimentScored, at, self.series, score);
                }
                self.first_customer_message.get_or_insert(at);
                self.customer_waits(at, facts);
            }
            Actor::Agent(agent) => self.reply(agent, quick_reply, at, facts),
            Actor::Bot(bot) => {
                let series = match bot {
                    Some(_) => facts.series(&self.values.with(&Dimension::Bot, bot)),
                    None => self.series,
                };
                facts.state(Measure::BotMessage, at, series, 0);
                self.bot_takes_part(at, facts);
                if let Some(since) = self.waiting_for_bot_since.take() {
                    self.duration(Measure::BotResponse, (since, at), since, series, facts);
                }
            }
            Actor::Unnamed | Actor::Automation | Actor::Campaign | Actor::System => {
                facts.state(Measure::AutomatedMessage, at, self.series, 0);
            }
        }
    }

    /// The customer has written (or opened the conversation) and waits, unless waiting already.
    pub(super) fn customer_waits(&mut self, at: Timestamp, facts: &mut Facts) {
        self.waiting_for_bot_since.get_or_insert(at);
        if self.wait.is_some() {
            return;
        }
        facts.state(Measure::WaitStarted, at, self.series, 0);
        facts.state(Measure::Unanswered, self.level_at(at), self.series, at.millis());
        let open = facts.state(Measure::WaitOpen, at, self.series, at.millis());
        self.wait = Some(Wait { since: at, series_at_start: self.series, series: self.series, open });
        let kind = if self.waited_before { TargetKind::NextResponse } else { TargetKind::FirstResponse };
        self.waited_before = true;
        self.promise(kind, at, facts);
    }

    /// The open wait, if there is one, is over.
    pub(super) fn end_wait(&mut self, at: Timestamp, facts: &mut Facts) -> Option<Wait> {
        let wait = self.wait.take()?;
        facts.take_back(wait.open);
        facts.lower(Measure::Unanswered, self.level_at(at).max(wait.since), wait.series, wait.since.millis());
        Some(wait)
    }

    /// A human agent has written to the customer.
    fn reply(&mut self, agent: Option<Symbol>, quick_reply: Option<Symbol>, at: Timestamp, facts: &mut Facts) {
        let agent = agent.or(self.values.get(&Dimension::Agent));
        let series = self.credited_to(agent, facts);
        let series_of_message = if quick_reply.is_some() {
            let values = self.values.with(&Dimension::Agent, agent).with(&Dimension::QuickReply, quick_reply);
            facts.series(&values)
        } else {
            series
        };
        facts.state(Measure::MessageSent, at, series_of_message, 0);
        if let Some(customer) = self.customer_number {
            facts.state(Measure::CustomerServed, at, series, customer);
        }
        self.replies += 1;
        self.reached_human = true;
        self.waiting_for_bot_since = None;

        let answered = self.end_wait(at, facts);
        if let Some(wait) = answered {
            let lasted = self.lasted(wait.since, at, facts);
            facts.lasted(Measure::WaitAnswered, Anchor::Completion, at, series, lasted);
            facts.lasted(Measure::WaitAnswered, Anchor::Start, wait.since, wait.series_at_start, lasted);
            if self.wait_answered_before {
                facts.lasted(Measure::NextReply, Anchor::Completion, at, series, lasted);
                facts.lasted(Measure::NextReply, Anchor::Start, wait.since, series, lasted);
            }
            self.fulfil_promises(TargetKind::FirstResponse, agent, at, facts);
            self.fulfil_promises(TargetKind::NextResponse, agent, at, facts);
        }
        self.wait_answered_before |= answered.is_some();
        let first_response_from = match self.initiator {
            Some(Initiator::Customer) => Some(self.opened_at),
            Some(Initiator::Agent | Initiator::Bot) | None => self.first_customer_message,
        };
        if let Some(from) = first_response_from.filter(|_| !self.first_response_given) {
            self.first_response_given = true;
            self.duration(Measure::FirstResponse, (from, at), self.opened_at, series, facts);
        }
        if let Some(handoff) = self.last_handoff.filter(|_| self.replies == 1) {
            self.duration(Measure::HandoffResponse, (handoff, at), self.opened_at, series, facts);
        }
        if let Some((assigned, since)) = self.to_reply.filter(|(assigned, _)| Some(*assigned) == agent) {
            self.to_reply = None;
            let series = self.credited_to(Some(assigned), facts);
            self.duration(Measure::AgentFirstResponse, (since, at), self.opened_at, series, facts);
        }
    }
}
