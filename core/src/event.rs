//! What platforms reported, parsed and interned.

mod packed_id;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::series::{DimensionValues, Symbol};
use crate::subject::{SubjectRef, number_of};
use crate::time::Timestamp;

pub use packed_id::PackedId;
pub(crate) use packed_id::{Form, Packed};

/// An id as platforms give them: up to 23 bytes are kept in place, a longer one is shared when it is cloned.
pub type Id = SmolStr;

/// The identity of an event within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// The system that reported it.
    pub source: Symbol,
    /// Its id there.
    pub id: PackedId,
}

/// One event of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// When it happened.
    pub time: Timestamp,
    /// The source's own order, where it has one.
    pub sequence: Option<u64>,
    /// Custom attributes set (or cleared, with `None`), sorted by name.
    pub attributes: Box<[(Symbol, Option<Symbol>)]>,
    /// What happened.
    pub payload: Payload,
}

/// What happened to a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A conversation began.
    Opened(Box<Opened>),
    /// A conversation entered a status.
    StatusChanged {
        /// The status entered.
        status: Status,
        /// For merged: the conversation it was merged into.
        merged_into: Option<Box<str>>,
        /// Who changed it.
        actor: Actor,
    },
    /// A conversation was given to somebody.
    Assigned {
        /// To whom.
        to: Assignee,
        /// Why.
        reason: AssignmentReason,
    },
    /// Dimensions of a conversation were set or cleared.
    Updated(Box<DimensionChanges>),
    /// A message was written.
    MessageCreated {
        /// Who wrote it.
        actor: Actor,
        /// Who may read it.
        visibility: Visibility,
        /// The quick reply used.
        quick_reply: Option<Symbol>,
        /// Its sentiment, when known at once.
        sentiment: Option<Sentiment>,
    },
    /// A message of the same source was given a sentiment later.
    SentimentScored {
        /// The id of the message's event.
        message: PackedId,
        /// The score.
        sentiment: Sentiment,
    },
    /// A call or routed chat entered a state.
    LegChanged(Box<LegChange>),
    /// A cost was recorded, in millionths of the currency's unit.
    Cost {
        /// The currency.
        currency: Symbol,
        /// How much.
        micros: i64,
    },
    /// An agent entered a state.
    AgentStateChanged {
        /// The agent's team; `None` keeps the last one named.
        team: Option<Symbol>,
        /// The state.
        state: AgentState,
        /// How many contacts at once; `None` keeps the last number.
        slots: Option<u32>,
    },
    /// An agent was scheduled.
    Scheduled(Schedule),
    /// An agent was hired (`true`) or left.
    Employed(bool),
    /// A survey was sent.
    SurveySent(Box<SurveyContext>),
    /// A survey was answered.
    SurveyAnswered {
        /// What the event says beside the answer.
        context: Box<SurveyContext>,
        /// The score.
        score: i32,
        /// The number of the revision.
        revision: u32,
    },
    /// A review was posted or revised.
    ReviewPosted {
        /// Where.
        platform: Option<Symbol>,
        /// The rating.
        rating: i32,
        /// Its scale.
        scale: Scale,
        /// The conversation it is about.
        about: Option<CreditKey>,
        /// The number of the revision.
        revision: u32,
    },
    /// A task entered a status.
    TaskChanged {
        /// Whom it is for; `None` keeps the last one named.
        assignee: Option<Symbol>,
        /// The status.
        status: TaskStatus,
    },
    /// Something happened with a customer.
    Lifecycle {
        /// What.
        kind: LifecycleKind,
        /// The order, contract, offer or feature. A text, as only features are names: those are kept for good, and there are orders without end.
        reference: Option<Box<str>>,
        /// The conversation it came from.
        about: Option<CreditKey>,
    },
    /// Self-service ended.
    SessionEnded {
        /// The customer.
        customer: Option<Box<str>>,
        /// How it ended.
        outcome: SessionOutcome,
    },
    /// An event of the same subject is taken back.
    Retracted(Box<EventId>),
}

impl Payload {
    /// The event that this one takes back.
    #[must_use]
    pub fn takes_back(&self) -> Option<&EventId> {
        match self {
            Self::Retracted(target) => Some(target.as_ref()),
            _ => None,
        }
    }
}

/// Stands for an event of another subject that names a conversation: what the event counts for is credited to the
/// conversation's dimension values at that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreditKey(std::num::NonZeroI64);

impl CreditKey {
    /// The key of a subject's event that names a conversation: 64 bits, alike in every process.
    #[must_use]
    pub fn new(subject: SubjectRef, source: &str, id: &str, time: Timestamp, conversation: &str) -> Self {
        // The instant too: a refused event of the same id must not lend the accepted one its own.
        let time = time.millis().to_string();
        let number = number_of(&[subject.kind.prefix(), subject.id, source, id, &time, conversation]);
        Self(std::num::NonZeroI64::new(number).expect("a number of texts is never 0"))
    }

    /// The key as a number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0.get()
    }
}

/// The beginning of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The customer, when known.
    pub customer: Option<Box<str>>,
    /// Who opened it.
    pub initiator: Initiator,
    /// The dimension values in force from the opening on.
    pub dimensions: DimensionValues,
}

/// Which side opened a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Initiator {
    /// The customer, so that the opening counts as a message.
    Customer,
    /// A human agent.
    Agent,
    /// A bot.
    Bot,
}

/// What a conversation's status can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Being worked on.
    Open,
    /// Waiting for the customer.
    Pending,
    /// Waiting for someone else.
    OnHold,
    /// Solved.
    Resolved,
    /// Closed; resolves an unresolved conversation.
    Closed,
    /// Merged into another conversation.
    Merged,
    /// Deleted.
    Deleted,
    /// Spam.
    Spam,
}

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// Nobody is named.
    Unnamed,
    /// The customer.
    Customer,
    /// A human agent, where known which.
    Agent(Option<Symbol>),
    /// A bot, where known which.
    Bot(Option<Symbol>),
    /// An automation.
    Automation,
    /// A campaign.
    Campaign,
    /// The platform.
    System,
}

/// To whom a conversation is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignee {
    /// Nobody.
    Nobody,
    /// A bot.
    Bot(Symbol),
    /// A team, no agent.
    Team(Symbol),
    /// A human agent.
    Agent {
        /// The agent.
        agent: Symbol,
        /// The agent's team; `None` keeps the conversation's.
        team: Option<Symbol>,
    },
}

/// Why a conversation was given to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentReason {
    /// Not said.
    Unsaid,
    /// By routing.
    Route,
    /// By hand.
    Manual,
    /// Passed on.
    Transfer,
    /// Given back.
    Return,
    /// From a bot to humans.
    Handoff,
}

/// Changes of a conversation's dimensions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimensionChanges {
    /// Dimensions set (or cleared, with `None`).
    pub set: Vec<(crate::dimension::Dimension, Option<Symbol>)>,
    /// Tags added.
    pub add_tags: Vec<Symbol>,
    /// Tags removed, after adding.
    pub remove_tags: Vec<Symbol>,
}

/// Who may read a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// The customer too.
    Public,
    /// An internal note.
    Private,
}

/// The mood of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sentiment {
    /// Negative.
    Negative,
    /// Neutral.
    Neutral,
    /// Positive.
    Positive,
}

/// What a leg's event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegChange {
    /// The leg's id within its conversation.
    pub leg: Box<str>,
    /// The queue.
    pub queue: Option<Symbol>,
    /// The agent.
    pub agent: Option<Symbol>,
    /// The state entered.
    pub state: LegState,
    /// How the leg, or an alert, ended.
    pub reason: Option<LegEnd>,
}

/// The states of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegState {
    /// In the menu.
    Ivr,
    /// Waiting in a queue.
    Queued,
    /// Ringing at an agent.
    Alerting,
    /// Talking to an agent.
    Connected,
    /// On hold.
    Held,
    /// The agent finishes the work.
    Wrapup,
    /// Over.
    Ended,
}

/// How a leg or an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegEnd {
    /// Normally.
    Completed,
    /// The customer left.
    Abandoned,
    /// Passed on.
    Transferred,
    /// To be called back.
    Callback,
    /// Sent to voicemail.
    Voicemail,
    /// Moved to another queue.
    Overflow,
    /// The alerted agent declined.
    Declined,
    /// The alert expired.
    Expired,
    /// The queue was closed.
    Closed,
}

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentState {
    /// Signed off.
    Offline,
    /// Ready.
    Available,
    /// Handling contacts.
    Busy,
    /// Finishing a contact.
    Wrapup,
    /// On a break.
    Break,
    /// At a meal.
    Meal,
    /// In a training.
    Training,
    /// In a meeting.
    Meeting,
}

/// A stretch of an agent's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Where it starts.
    pub from: Timestamp,
    /// Where it ends, exclusive.
    pub to: Timestamp,
    /// What the agent is to do.
    pub activity: AgentState,
    /// Whether the time counts as productive.
    pub productive: bool,
    /// Whether the time is paid.
    pub paid: bool,
}

/// What a survey asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SurveyKind {
    /// Customer satisfaction.
    Csat,
    /// Likelihood to recommend.
    Nps,
    /// Customer effort.
    Ces,
    /// Employee engagement.
    Engagement,
}

/// A scale of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The lowest score.
    pub lowest: i32,
    /// The highest score.
    pub highest: i32,
}

/// What an event says of its survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyContext {
    /// What it asks.
    pub kind: SurveyKind,
    /// Its scale.
    pub scale: Option<Scale>,
    /// The conversation it is about.
    pub about: Option<CreditKey>,
    /// The agent it is about.
    pub agent: Option<Symbol>,
}

/// The status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// Given to somebody.
    Assigned,
    /// Done.
    Completed,
    /// Not to be done.
    Cancelled,
}

/// What happens with customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifecycleKind {
    /// Ordered.
    Order,
    /// Was offered another product.
    CrossSellOffered,
    /// Took another product.
    CrossSellAccepted,
    /// Was offered a better product.
    UpSellOffered,
    /// Took a better product.
    UpSellAccepted,
    /// A contract is due for renewal.
    RenewalDue,
    /// Renewed.
    Renewed,
    /// Left.
    Churned,
    /// Became a customer.
    Activated,
    /// Used a feature.
    FeatureUsed,
}

/// How self-service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOutcome {
    /// The customer was helped.
    Resolved,
    /// Passed to a human.
    Escalated,
    /// The customer left.
    Abandoned,
    /// Not known.
    Unknown,
}
