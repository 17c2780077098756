//! Messages, waits and who answered them.

use super::{Conversation, CustomerMessage, Wait};
use crate::dimension::Dimension;
use crate::event::{Actor, EventId, Initiator, Sentiment, Visibility};
use crate::fact::{Anchor, Facts, Measure};
use crate::rules::TargetKind;
use crate::series::Symbol;
use crate::time::Timestamp;

impl Sentiment {
    /// The value of a scored message.
    fn score(self) -> i64 {
        match self {
            Self::Negative => -1,
            Self::Neutral => 0,
            Self::Positive => 1,
        }
    }
}

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
                    facts.state(Measure::SentimentScored, at, self.series, sentiment.score());
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

    /// A message was scored: the customer's public message that is known was given another score, if it is that one.
    pub(super) fn score_known(&mut self, message: EventId, sentiment: Sentiment, facts: &mut Facts) {
        let changes = |known: &&mut CustomerMessage| known.id == message && known.sentiment != Some(sentiment);
        if let Some(known) = self.customer_message.as_mut().filter(changes) {
            if let Some(before) = known.sentiment.replace(sentiment) {
                facts.lower(Measure::SentimentScored, known.at, known.series, before.score());
            }
            facts.state(Measure::SentimentScored, known.at, known.series, sentiment.score());
        }
        self.seldom_mut().scores.insert(message, sentiment);
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
            facts.state(Measure::CustomerServed, at, series, customer.get());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{Event, Payload};
    use crate::fact::Fact;
    use crate::rules::Rules;
    use crate::series::Names;
    use crate::state::Subject;
    use crate::subject::SubjectKind;

    #[test]
    fn scores_in_order_come_to_what_all_events_at_once_come_to() {
        let (names, rules) = (Names::default(), Rules::default());
        let (source, customer) = (names.symbol("s"), Actor::Customer);
        let message = |actor, sentiment| Payload::MessageCreated {
            actor,
            visibility: Visibility::Public,
            quick_reply: None,
            sentiment,
        };
        let score = |message: &str, sentiment| Payload::SentimentScored { message: message.into(), sentiment };
        let payloads = [
            message(customer, None),
            score("e0", Sentiment::Positive),
            score("e0", Sentiment::Negative),
            message(customer, Some(Sentiment::Neutral)),
            score("e3", Sentiment::Positive),
            score("e0", Sentiment::Neutral),
            message(Actor::Agent(None), None),
            score("e6", Sentiment::Negative),
            score("e3", Sentiment::Negative),
            score("e11", Sentiment::Positive),
            message(customer, Some(Sentiment::Negative)),
            message(customer, None),
        ];
        let events: Vec<Event> = (0..)
            .zip(payloads)
            .map(|(number, payload)| Event {
                id: EventId { source, id: format!("e{number}").into() },
                time: Timestamp::clamped(number),
                sequence: None,
                attributes: Box::default(),
                payload,
            })
            .collect();
        for known in 1..=events.len() {
            let standing = |settled_each_time: bool| {
                let mut subject = Subject::new(SubjectKind::Conversation, "c".into());
                let mut standing: BTreeMap<Fact, i64> = BTreeMap::new();
                let mut count = |facts: &[Fact]| {
                    for fact in facts {
                        let plus = Fact { weight: crate::fact::Weight::Plus, ..*fact };
                        *standing.entry(plus).or_default() += fact.weight.sign();
                    }
                };
                for (left, event) in (0..known).rev().zip(&events) {
                    let mut facts = Facts::new(&names, &rules);
                    subject.add(event, &mut facts);
                    count(&facts.into_list());
                    if settled_each_time || left == 0 {
                        count(&subject.settle(&names, &rules));
                    }
                }
                standing.retain(|_, count| *count != 0);
                standing
            };
            let (live, at_once) = (standing(true), standing(false));
            assert_eq!(live, at_once, "after {known} events");
            let of_messages = live.keys().filter(|fact| fact.measure == Measure::SentimentScored);
            let scores: Vec<(i64, i64)> = of_messages.map(|fact| (fact.at.millis(), fact.value)).collect();
            assert!(known < 12 || scores == [(0, 0), (3, -1), (10, -1), (11, 1)], "{scores:?}");
        }
    }
}
