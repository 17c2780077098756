//! Messages, waits and who answered them.

use super::{Conversation, Wait};
use crate::dimension::Dimension;
use crate::event::{Actor, Initiator, Sentiment, Visibility};
use crate::fact::{Facts, Measure};
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
            Actor::Bot(_) => {
                facts.state(Measure::BotMessage, at, self.series, 0);
                if let Some(since) = self.waiting_for_bot_since.take() {
                    let wait_ms = self.elapsed(since, at);
                    facts.state(Measure::BotResponse, at, self.series, wait_ms);
                    facts.state(Measure::BotResponseAtStart, since, self.series, wait_ms);
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
        facts.state(Measure::Unanswered, at, self.series, at.millis());
        let open = facts.state(Measure::WaitOpen, at, self.series, at.millis());
        self.wait = Some(Wait { since: at, series_at_start: self.series, series: self.series, open });
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
        self.replies += 1;
        self.reached_human = true;
        self.waiting_for_bot_since = None;

        let answered = self.end_wait(at, facts);
        if let Some(wait) = answered {
            let wait_ms = self.elapsed(wait.since, at);
            facts.state(Measure::WaitAnswered, at, series, wait_ms);
            facts.state(Measure::WaitAnsweredAtStart, wait.since, wait.series_at_start, wait_ms);
            if self.wait_answered_before {
                facts.state(Measure::NextReply, at, series, wait_ms);
                facts.state(Measure::NextReplyAtStart, wait.since, series, wait_ms);
            }
        }
        self.wait_answered_before |= answered.is_some();
        let first_response_from = match self.initiator {
            Some(Initiator::Customer) => Some(self.opened_at),
            Some(Initiator::Agent | Initiator::Bot) | None => self.first_customer_message,
        };
        if let Some(from) = first_response_from.filter(|_| !self.first_response_given) {
            self.first_response_given = true;
            let response_ms = self.elapsed(from, at);
            facts.state(Measure::FirstResponse, at, series, response_ms);
            facts.state(Measure::FirstResponseAtStart, self.opened_at, series, response_ms);
        }
        if let Some(handoff) = self.last_handoff.filter(|_| self.replies == 1) {
            let response_ms = self.elapsed(handoff, at);
            facts.state(Measure::HandoffResponse, at, series, response_ms);
            facts.state(Measure::HandoffResponseAtStart, self.opened_at, series, response_ms);
        }
        if let Some((assigned, since)) = self.to_reply.filter(|(assigned, _)| Some(*assigned) == agent) {
            self.to_reply = None;
            let response_ms = self.elapsed(since, at);
            let series = self.credited_to(Some(assigned), facts);
            facts.state(Measure::AgentFirstResponse, at, series, response_ms);
            facts.state(Measure::AgentFirstResponseAtStart, self.opened_at, series, response_ms);
        }
    }
}
