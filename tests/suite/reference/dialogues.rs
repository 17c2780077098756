//! The part of a random scenario that is about conversations: what is said, and who has them.

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, AssignmentReason, ConversationAssigned, ConversationOpened, ConversationStatus,
    ConversationStatusChanged, ConversationUpdated, CostRecorded, Dimensions, Direction, Event, LegEndReason, LegState,
    LegStateChanged, MessageCreated, MessageSentimentScored, Sentiment, Visibility,
};

use super::HOUR;
use super::scenario::{AGENTS, CUSTOMERS, MINUTE, SECOND, Script, TEAMS};

impl Script<'_> {
    pub(super) fn conversation(&mut self, conversation: &'static str) {
        let start = self.base + if self.one_in(2) { 0 } else { self.gap() };
        self.firsts.push((conversation, start));
        self.bots_only = self.one_in(6);
        // Most openings come first in time, some later, some never.
        match self.random.below(8) {
            0 => {}
            1 => {
                let late = start + self.gap();
                self.opened(conversation, late);
            }
            _ => self.opened(conversation, start),
        }
        let mut at = start;
        for _ in 0..3 + self.random.below(10) {
            at += self.gap();
            self.step(conversation, at);
        }
        if self.one_in(3) {
            let resolved = self.status(conversation, ConversationStatus::Resolved);
            self.push(at, resolved);
        }
        if self.one_in(12) {
            let (payload, later) = (self.opening(conversation), start + self.gap());
            self.push(later, payload);
        }
        for leg in ["l1", "l2"] {
            if self.one_in(2) && !self.bots_only {
                let start = start + self.gap();
                self.leg(conversation, leg, start);
            }
        }
    }

    fn opened(&mut self, conversation: &str, at: i64) {
        let payload = self.opening(conversation);
        self.push(at, payload);
        self.attributes();
    }

    fn opening(&mut self, conversation: &str) -> Payload {
        let dimensions = self.dimensions(true);
        Payload::ConversationOpened(ConversationOpened {
            conversation: conversation.to_owned(),
            customer: self.name(&CUSTOMERS[..2]),
            direction: self.pick(&[Direction::Unspecified, Direction::Inbound, Direction::Outbound]).into(),
            initiator: self
                .pick(&[
                    ActorKind::Unspecified,
                    ActorKind::Customer,
                    ActorKind::Customer,
                    ActorKind::Agent,
                    ActorKind::Bot,
                ])
                .into(),
            dimensions: Some(dimensions),
        })
    }

    /// Few values, so that they collide.
    fn dimensions(&mut self, with_agent: bool) -> Dimensions {
        Dimensions {
            channel: self.name(&["email", "voice"]),
            team: self.name(&TEAMS[..2]),
            agent: if with_agent && self.one_in(3) { self.name(&AGENTS) } else { String::new() },
            priority: self.name(&["high", "low"]),
            topic: self.name(&["bill", "move"]),
            language: self.name(&["de"]),
            ..Default::default()
        }
    }

    /// Sets or clears a custom dimension with the last event, at times.
    fn attributes(&mut self) {
        if self.one_in(8) {
            let value = self.pick(&["gold", "9", "12.50", ""]).to_owned();
            self.events.last_mut().expect("an event").attributes.insert("plan".to_owned(), value);
        }
    }

    fn step(&mut self, conversation: &str, at: i64) {
        use ConversationStatus::{Closed, Deleted, OnHold, Open, Pending, Resolved, Spam};
        let payload = match self.random.below(27) {
            0..=12 => self.message(conversation),
            13 => self.assigned(conversation),
            14 => {
                let status = self.pick(&[Resolved, Resolved, Closed]);
                self.status(conversation, status)
            }
            16 => {
                let status = self.pick(&[Open, Pending, OnHold]);
                self.status(conversation, status)
            }
            17 => {
                let status = self.pick(&[Resolved, Open, Pending, OnHold]);
                self.status(conversation, status)
            }
            18 if self.one_in(4) => {
                let status = self.pick(&[Deleted, Spam]);
                let payload = self.status(conversation, status);
                self.push(at, payload);
                if self.one_in(2) {
                    return;
                }
                let (later, status) = (at + self.gap(), self.pick(&[Open, Pending]));
                let back = self.status(conversation, status);
                return self.push(later, back);
            }
            15 if self.one_in(2) => self.assigned(conversation),
            15 | 18 | 19 => self.updated(conversation),
            20 | 21 => self.scored(conversation),
            22 => {
                let amount = Some(self.money());
                let conversation = conversation.to_owned();
                Payload::CostRecorded(CostRecorded { amount, conversation, team: String::new() })
            }
            23..=25 => return self.exchange(conversation, at),
            _ => {
                // A customer who writes when all is done, and a reopening at the same instant.
                let resolved = self.status(conversation, Resolved);
                self.push(at, resolved);
                let later = at + self.gap();
                let message = self.message_by(conversation, ActorKind::Customer);
                self.push(later, message);
                self.status(conversation, Open)
            }
        };
        self.push(at, payload);
        self.attributes();
    }

    /// A bot at times, an assignment at times, a question and its answer.
    fn exchange(&mut self, conversation: &str, start: i64) {
        let assigned = |to: AssigneeKind, assignee: &str| {
            Payload::ConversationAssigned(ConversationAssigned {
                conversation: conversation.to_owned(),
                to: to.into(),
                assignee: assignee.to_owned(),
                ..Default::default()
            })
        };
        let (mut at, agent) = (start, self.pick(&AGENTS));
        if self.one_in(3) {
            self.push(at, assigned(AssigneeKind::Bot, "bot"));
            at += self.gap();
        }
        if self.one_in(2) && !self.bots_only {
            self.push(at, assigned(AssigneeKind::Agent, agent));
            at += self.gap();
        }
        for kind in [ActorKind::Customer, ActorKind::Agent] {
            let mut payload = self.message_by(conversation, kind);
            if let Payload::MessageCreated(MessageCreated { actor: Some(actor), .. }) = &mut payload
                && actor.kind() == ActorKind::Agent
            {
                agent.clone_into(&mut actor.id);
            }
            self.push(at, payload);
            at += self.gap();
        }
    }

    fn message(&mut self, conversation: &str) -> Payload {
        use ActorKind::{Agent, Automation, Bot, Campaign, Customer, System};
        let kind = self.pick(&[
            Customer, Customer, Customer, Customer, Agent, Agent, Agent, Agent, Bot, Bot, Automation, Campaign, System,
        ]);
        self.message_by(conversation, kind)
    }

    fn message_by(&mut self, conversation: &str, kind: ActorKind) -> Payload {
        let kind = if self.bots_only && kind == ActorKind::Agent { ActorKind::Bot } else { kind };
        let id = match kind {
            ActorKind::Agent => self.name(&AGENTS),
            ActorKind::Bot => "bot".to_owned(),
            _ => String::new(),
        };
        let visibility =
            self.pick(&[Visibility::Unspecified, Visibility::Public, Visibility::Public, Visibility::Public]);
        Payload::MessageCreated(MessageCreated {
            conversation: conversation.to_owned(),
            actor: Some(Actor { kind: kind.into(), id }),
            visibility: if self.one_in(10) { Visibility::Private } else { visibility }.into(),
            quick_reply: if self.one_in(4) { "QR1" } else { "" }.to_owned(),
            sentiment: self
                .pick(&[Sentiment::Unspecified, Sentiment::Unspecified, Sentiment::Positive, Sentiment::Negative])
                .into(),
        })
    }

    fn scored(&mut self, conversation: &str) -> Payload {
        let is_message = |event: &&Event| matches!(&event.payload, Some(Payload::MessageCreated(message)) if message.conversation == conversation);
        let ids: Vec<String> = self.events.iter().filter(is_message).map(|event| event.id.clone()).collect();
        let id = if ids.is_empty() { "never".to_owned() } else { ids[self.random.below(ids.len())].clone() };
        Payload::MessageSentimentScored(MessageSentimentScored {
            conversation: conversation.to_owned(),
            message_event_id: id,
            sentiment: self.pick(&[Sentiment::Positive, Sentiment::Neutral, Sentiment::Negative]).into(),
        })
    }

    fn assigned(&mut self, conversation: &str) -> Payload {
        use AssigneeKind::{Agent, Bot, Nobody, Team};
        let to = self.pick(&[Bot, Bot, Nobody, Team, Agent, Agent, Agent]);
        let to = if self.bots_only { Bot } else { to };
        let assignee = match to {
            Agent => self.pick(&AGENTS),
            Team => self.pick(&TEAMS),
            Bot => "bot",
            _ => "",
        };
        let to_humans = matches!(to, Agent | Team);
        let reason = if to_humans && self.one_in(4) { AssignmentReason::Handoff } else { AssignmentReason::Manual };
        Payload::ConversationAssigned(ConversationAssigned {
            conversation: conversation.to_owned(),
            to: to.into(),
            assignee: assignee.to_owned(),
            team: if to == Agent && self.one_in(2) { self.name(&TEAMS) } else { String::new() },
            reason: reason.into(),
        })
    }

    fn updated(&mut self, conversation: &str) -> Payload {
        let set = if self.one_in(2) { Some(self.dimensions(false)) } else { None };
        let clear = if set.is_some() {
            Vec::new()
        } else {
            vec![self.pick(&["topic", "team", "agent", "direction"]).to_owned()]
        };
        let (add, remove) = (self.name(&["x", "y"]), self.name(&["x", "y"]));
        let tags = |tag: &str| if tag.is_empty() { Vec::new() } else { vec![tag.to_owned()] };
        let add_tags = if add == remove { Vec::new() } else { tags(&add) };
        Payload::ConversationUpdated(ConversationUpdated {
            conversation: conversation.to_owned(),
            set,
            clear,
            add_tags,
            remove_tags: tags(&remove),
        })
    }

    pub(super) fn status(&mut self, conversation: &str, status: ConversationStatus) -> Payload {
        let kinds = [ActorKind::Agent, ActorKind::Agent, ActorKind::Bot, ActorKind::Automation, ActorKind::Unspecified];
        let (kind, id) = (self.pick(&kinds), self.name(&AGENTS));
        let id = if kind == ActorKind::Agent { id } else { String::new() };
        let actor = if self.one_in(3) { None } else { Some(Actor { kind: kind.into(), id }) };
        Payload::ConversationStatusChanged(ConversationStatusChanged {
            conversation: conversation.to_owned(),
            status: status.into(),
            merged_into: String::new(),
            actor,
        })
    }

    /// Through menu, queue, alerts and talk to an end, with steps missing and clocks that run backwards.
    fn leg(&mut self, conversation: &str, leg: &str, start: i64) {
        use LegEndReason as Reason;
        use LegState::{Alerting, Connected, Ended, Held, Ivr, Queued, Wrapup};
        let queue = self.name(&TEAMS[1..]);
        let mut states: Vec<(LegState, Reason)> = Vec::new();
        if self.one_in(4) {
            states.push((Ivr, Reason::Unspecified));
        }
        if !self.one_in(6) {
            states.push((Queued, Reason::Unspecified));
        }
        if self.one_in(3) {
            states.push((Alerting, Reason::Unspecified));
            let missed = self.pick(&[Reason::Declined, Reason::Expired]);
            let state = self.pick(&[Alerting, Queued]);
            states.push((state, missed));
        }
        if self.one_in(2) {
            let other = [Reason::Callback, Reason::Voicemail, Reason::Overflow, Reason::Expired, Reason::Unspecified];
            let other = self.pick(&other);
            let reason = self.pick(&[Reason::Abandoned, other]);
            states.push((Ended, reason));
        } else {
            states.push((Connected, Reason::Unspecified));
            for state in [Held, Connected, Held, Wrapup, Wrapup] {
                if self.one_in(3) {
                    states.push((state, Reason::Unspecified));
                }
            }
            if !self.one_in(5) {
                let reason = self.pick(&[Reason::Completed, Reason::Transferred, Reason::Unspecified]);
                states.push((Ended, reason));
            }
        }
        let mut at = start;
        let agent = self.name(&AGENTS);
        for (state, end_reason) in states {
            at += self.pick(&[0, SECOND, 4_999, 5 * SECOND, 20 * SECOND, 30 * SECOND, 5 * MINUTE, HOUR]);
            let skew = if self.one_in(12) { 10 * MINUTE } else { 0 };
            let named = matches!(state, Alerting | Connected) && !self.one_in(4);
            let payload = Payload::LegStateChanged(LegStateChanged {
                conversation: conversation.to_owned(),
                leg: leg.to_owned(),
                queue: if self.one_in(5) { String::new() } else { queue.clone() },
                agent: if named { agent.clone() } else { String::new() },
                state: state.into(),
                end_reason: end_reason.into(),
            });
            self.push((at - skew).max(start), payload);
        }
    }
}
