//! The story of one conversation.

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, AssignmentReason, ConversationAssigned, ConversationOpened, ConversationStatus,
    ConversationStatusChanged, ConversationUpdated, Dimensions, Direction, Event, MessageCreated,
    MessageSentimentScored, Sentiment, Visibility,
};

use super::event;
use super::random::{Random, milliseconds};

pub(crate) const TENANT: &str = "demo";
pub(crate) const SOURCE: &str = "demo";

const SECOND: f64 = 1_000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

const AGENTS_PER_TEAM: u64 = 15;
const REOPEN_SHARE: f64 = 0.08;

/// How a channel behaves: medians in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Channel {
    name: &'static str,
    first_response: f64,
    agent_reply: f64,
    customer_reply: f64,
    /// Mean number of further exchanges.
    exchanges: f64,
    /// Whether waiting for the customer is a status of its own.
    pends: bool,
}

const CHANNELS: [(Channel, f64); 5] = [
    (channel("email", 2.0 * HOUR, 1.5 * HOUR, 3.0 * HOUR, 1.0, true), 0.34),
    (channel("chat", 45.0 * SECOND, 30.0 * SECOND, 40.0 * SECOND, 3.0, false), 0.26),
    (channel("voice", 20.0 * SECOND, 15.0 * SECOND, 20.0 * SECOND, 4.0, false), 0.20),
    (channel("sms", 3.0 * MINUTE, 3.0 * MINUTE, 6.0 * MINUTE, 1.5, false), 0.12),
    (channel("social", 15.0 * MINUTE, 20.0 * MINUTE, 40.0 * MINUTE, 1.0, true), 0.08),
];

const fn channel(
    name: &'static str,
    first_response: f64,
    agent_reply: f64,
    customer_reply: f64,
    exchanges: f64,
    pends: bool,
) -> Channel {
    Channel { name, first_response, agent_reply, customer_reply, exchanges, pends }
}

/// Topic, team and subtopics.
type Topic = (&'static str, &'static str, [&'static str; 3]);

const TOPICS: [(Topic, f64); 6] = [
    (("delivery", "logistics", ["late", "lost", "damaged"]), 0.28),
    (("billing", "billing", ["invoice", "refund", "payment_failed"]), 0.22),
    (("account", "support", ["login", "change_address", "close_account"]), 0.18),
    (("product", "support", ["how_to", "defect", "feature_request"]), 0.17),
    (("returns", "logistics", ["label", "exchange", "status"]), 0.09),
    (("cancellation", "retention", ["price", "competitor", "moving"]), 0.06),
];

const TEAMS: [&str; 4] = ["logistics", "billing", "support", "retention"];
const PRIORITIES: [(&str, f64); 4] = [("low", 0.18), ("normal", 0.60), ("high", 0.17), ("urgent", 0.05)];
const LANGUAGES: [((&str, &str), f64); 6] = [
    (("en", "GB"), 0.34),
    (("en", "US"), 0.22),
    (("de", "DE"), 0.18),
    (("fr", "FR"), 0.12),
    (("es", "ES"), 0.09),
    (("pt", "PT"), 0.05),
];
const SEGMENTS: [(&str, f64); 3] = [("consumer", 0.78), ("business", 0.17), ("vip", 0.05)];
const TAGS: [&str; 8] =
    ["first_contact", "vip_care", "bug", "goodwill", "escalation", "courier", "promotion", "follow_up"];
const QUICK_REPLIES: [&str; 6] =
    ["greeting", "ask_order_number", "refund_steps", "reset_password", "shipping_status", "goodbye"];
const MOODS: [(Sentiment, f64); 3] =
    [(Sentiment::Positive, 0.25), (Sentiment::Neutral, 0.50), (Sentiment::Negative, 0.25)];
const FIRST_NAMES: [&str; 12] =
    ["ana", "ben", "chloe", "daniel", "elif", "femi", "greta", "hugo", "ines", "jonas", "kira", "liam"];
const LAST_NAMES: [&str; 5] = ["silva", "okafor", "meyer", "novak", "rossi"];

/// Everything that happens in a conversation, by time in milliseconds since 1970; not in order.
pub(crate) fn tell(seed: u64, number: u32, opened_ms: i64) -> Vec<(i64, Event)> {
    let mut random = Random::new(seed, u64::from(number) + 1);
    let channel = random.weighted(&CHANNELS).unwrap_or(CHANNELS[0].0);
    let topic = random.weighted(&TOPICS).unwrap_or(TOPICS[0].0);
    let priority = random.weighted(&PRIORITIES).unwrap_or("normal");
    let mut story = Story {
        id: format!("demo-{:07}", number + 1),
        now: opened_ms,
        slowness: slowness(opened_ms, priority),
        channel,
        team: topic.1,
        agent: String::new(),
        random,
        events: Vec::new(),
    };
    story.run(topic, priority);
    story.events
}

/// How much longer everything takes than the channel's median.
fn slowness(opened_ms: i64, priority: &str) -> f64 {
    let hour = opened_ms.div_euclid(3_600_000).rem_euclid(24);
    let by_hour = if (7..21).contains(&hour) { 0.95 } else { 1.6 };
    let by_priority = match priority {
        "urgent" => 0.5,
        "high" => 0.75,
        "low" => 1.3,
        _ => 1.0,
    };
    by_hour * by_priority
}

/// The name of an agent of a team.
fn agent(team: &str, number: u64) -> String {
    let team = TEAMS.iter().position(|known| *known == team).unwrap_or(0) as u64;
    let index = usize::try_from(team * AGENTS_PER_TEAM + number % AGENTS_PER_TEAM).unwrap_or(0);
    let first = FIRST_NAMES.get(index % FIRST_NAMES.len()).unwrap_or(&"ana");
    let last = LAST_NAMES.get(index / FIRST_NAMES.len()).unwrap_or(&"silva");
    format!("{first}.{last}")
}

struct Story {
    id: String,
    now: i64,
    slowness: f64,
    channel: Channel,
    team: &'static str,
    /// Who owns the conversation; empty before a human does.
    agent: String,
    random: Random,
    events: Vec<(i64, Event)>,
}

impl Story {
    fn run(&mut self, topic: Topic, priority: &str) {
        let outbound = self.random.chance(0.03);
        self.open(topic, priority, outbound);
        if outbound {
            self.own(AssignmentReason::Manual);
            self.reply();
            self.wait(self.channel.customer_reply * 4.0, 1.0);
            self.customer_message();
        } else {
            self.customer_message();
            if self.channel.name == "chat" && self.random.chance(0.7) && self.bot() {
                return;
            }
        }
        if self.random.chance(0.03) {
            // Nobody ever answers; after two days the platform closes it.
            self.wait(2.0 * DAY, 0.1);
            self.status(ConversationStatus::Closed, ActorKind::Automation, "close-stale");
            return;
        }
        self.first_response();
        self.work();
        self.resolve();
        if self.random.chance(REOPEN_SHARE) {
            self.wait(6.0 * HOUR, 1.0);
            self.customer_message();
            self.status(ConversationStatus::Open, ActorKind::Customer, "");
            self.wait(self.channel.agent_reply * self.slowness * 2.0, 0.9);
            self.reply();
            self.resolve();
        }
        self.wait(3.0 * DAY, 0.05);
        self.status(ConversationStatus::Closed, ActorKind::Automation, "close-resolved");
    }

    fn open(&mut self, topic: Topic, priority: &str, outbound: bool) {
        let (topic, team, subtopics) = topic;
        let (language, country) = self.random.weighted(&LANGUAGES).unwrap_or(("en", "GB"));
        let dimensions = Dimensions {
            channel: self.channel.name.to_owned(),
            team: team.to_owned(),
            agent: String::new(),
            priority: priority.to_owned(),
            topic: topic.to_owned(),
            subtopic: self.random.pick(&subtopics).unwrap_or_default().to_owned(),
            language: language.to_owned(),
            country: country.to_owned(),
            customer_segment: self.random.weighted(&SEGMENTS).unwrap_or("consumer").to_owned(),
        };
        let (direction, initiator) =
            if outbound { (Direction::Outbound, ActorKind::Agent) } else { (Direction::Inbound, ActorKind::Customer) };
        let opened = ConversationOpened {
            conversation: self.id.clone(),
            customer: format!("customer-{:05}", self.random.below(12_000)),
            direction: direction.into(),
            initiator: initiator.into(),
            dimensions: Some(dimensions),
        };
        self.happen(Payload::ConversationOpened(opened));
    }

    /// The bot greets and tries; true when that was all.
    fn bot(&mut self) -> bool {
        self.wait(SECOND, 0.3);
        self.assign(AssigneeKind::Bot, "demo-bot", AssignmentReason::Route);
        self.wait(SECOND, 0.3);
        self.message(ActorKind::Bot, "demo-bot");
        self.wait(25.0 * SECOND, 0.7);
        self.customer_message();
        self.wait(2.0 * SECOND, 0.3);
        self.message(ActorKind::Bot, "demo-bot");
        if self.random.chance(0.35) {
            self.wait(MINUTE, 0.6);
            self.status(ConversationStatus::Resolved, ActorKind::Bot, "demo-bot");
            return true;
        }
        self.wait(12.0 * SECOND, 0.6);
        self.assign(AssigneeKind::Team, self.team, AssignmentReason::Handoff);
        false
    }

    fn first_response(&mut self) {
        let wait = milliseconds(self.random.lognormal(self.channel.first_response * self.slowness, 0.9)).max(500);
        let answered = self.now + wait;
        if self.agent.is_empty() {
            self.now += wait * 2 / 5;
            self.own(AssignmentReason::Route);
        }
        self.now = answered;
        self.reply();
    }

    /// What lies between the first reply and the solution.
    fn work(&mut self) {
        if self.random.chance(0.3) {
            let tag = self.random.pick(&TAGS).unwrap_or_default().to_owned();
            let update =
                ConversationUpdated { conversation: self.id.clone(), add_tags: vec![tag], ..Default::default() };
            self.happen(Payload::ConversationUpdated(update));
        }
        if self.random.chance(0.15) {
            self.wait(20.0 * SECOND, 0.5);
            let note =
                MessageCreated { visibility: Visibility::Private.into(), ..self.new_message(ActorKind::Agent, "") };
            self.happen(Payload::MessageCreated(note));
        }
        if self.random.chance(0.1) {
            self.wait(2.0 * MINUTE, 0.6);
            self.team = self.random.pick(&TEAMS).unwrap_or(self.team);
            self.own(AssignmentReason::Transfer);
        }
        let on_hold = if self.channel.pends { 0.1 } else { 0.0 };
        let more = self.channel.exchanges / (1.0 + self.channel.exchanges);
        while self.random.chance(more) {
            if self.channel.pends {
                self.status(ConversationStatus::Pending, ActorKind::Agent, "");
            }
            self.wait(self.channel.customer_reply, 0.9);
            self.customer_message();
            if self.channel.pends {
                self.status(ConversationStatus::Open, ActorKind::Customer, "");
            }
            if self.random.chance(on_hold) {
                self.wait(20.0 * MINUTE, 0.5);
                self.status(ConversationStatus::OnHold, ActorKind::Agent, "");
                self.wait(5.0 * HOUR, 0.6);
                self.status(ConversationStatus::Open, ActorKind::Agent, "");
            }
            self.wait(self.channel.agent_reply * self.slowness, 0.8);
            self.reply();
        }
    }

    fn resolve(&mut self) {
        self.wait(self.channel.agent_reply, 0.7);
        self.status(ConversationStatus::Resolved, ActorKind::Agent, "");
    }

    fn reply(&mut self) {
        let mut message = self.new_message(ActorKind::Agent, "");
        if self.random.chance(0.25) {
            self.random.pick(&QUICK_REPLIES).unwrap_or_default().clone_into(&mut message.quick_reply);
        }
        self.happen(Payload::MessageCreated(message));
    }

    /// A customer's message; its mood is known at once, later, or never.
    fn customer_message(&mut self) {
        let mood = self.random.weighted(&MOODS).unwrap_or(Sentiment::Neutral);
        let mut message = self.new_message(ActorKind::Customer, "");
        let known_at_once = self.random.chance(0.4);
        if known_at_once {
            message.sentiment = mood.into();
        }
        let message_event_id = self.happen(Payload::MessageCreated(message));
        if !known_at_once && self.random.chance(0.5) {
            let score =
                MessageSentimentScored { conversation: self.id.clone(), message_event_id, sentiment: mood.into() };
            let now = self.now;
            self.wait(30.0 * SECOND, 0.5);
            self.happen(Payload::MessageSentimentScored(score));
            self.now = now;
        }
    }

    fn message(&mut self, kind: ActorKind, id: &str) {
        let message = self.new_message(kind, id);
        self.happen(Payload::MessageCreated(message));
    }

    fn new_message(&self, kind: ActorKind, id: &str) -> MessageCreated {
        MessageCreated {
            conversation: self.id.clone(),
            actor: Some(self.actor(kind, id)),
            visibility: Visibility::Public.into(),
            ..Default::default()
        }
    }

    fn status(&mut self, status: ConversationStatus, kind: ActorKind, id: &str) {
        let changed = ConversationStatusChanged {
            conversation: self.id.clone(),
            status: status.into(),
            merged_into: String::new(),
            actor: Some(self.actor(kind, id)),
        };
        self.happen(Payload::ConversationStatusChanged(changed));
    }

    /// An agent of the team takes the conversation.
    fn own(&mut self, reason: AssignmentReason) {
        let number = self.random.below(AGENTS_PER_TEAM);
        self.agent = agent(self.team, number);
        let agent = self.agent.clone();
        self.assign(AssigneeKind::Agent, &agent, reason);
    }

    fn assign(&mut self, to: AssigneeKind, assignee: &str, reason: AssignmentReason) {
        let team = if to == AssigneeKind::Agent { self.team } else { "" };
        let payload = ConversationAssigned {
            conversation: self.id.clone(),
            to: to.into(),
            assignee: assignee.to_owned(),
            team: team.to_owned(),
            reason: reason.into(),
        };
        self.happen(Payload::ConversationAssigned(payload));
    }

    fn actor(&self, kind: ActorKind, id: &str) -> Actor {
        let id = if kind == ActorKind::Agent { self.agent.as_str() } else { id };
        Actor { kind: kind.into(), id: id.to_owned() }
    }

    /// Lets time pass: lognormal, at least a tenth of a second.
    fn wait(&mut self, median: f64, sigma: f64) {
        self.now += milliseconds(self.random.lognormal(median, sigma)).max(100);
    }

    /// Records what happens now. Returns the event's id.
    fn happen(&mut self, payload: Payload) -> String {
        let sequence = self.events.len() as u64 + 1;
        let id = format!("{}-{sequence:03}", self.id);
        self.events.push((self.now, event(id.clone(), self.now, sequence, payload)));
        id
    }
}
