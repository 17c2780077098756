//! What platforms reported, parsed and interned.

use crate::series::{DimensionValues, Symbol};
use crate::time::Timestamp;

/// The identity of an event within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The system that reported it.
    pub source: Symbol,
    /// Its id there.
    pub id: Box<str>,
}

/// One event of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
        message: Box<str>,
        /// The score.
        sentiment: Sentiment,
    },
    /// An event of the same subject is taken back.
    Retracted(EventId),
}

/// The beginning of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The customer, when known.
    pub customer: Option<Box<str>>,
    /// Who opened it.
    pub initiator: Initiator,
    /// The dimension values in force from the opening on.
    pub dimensions: DimensionValues,
}

/// Which side opened a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The customer, so that the opening counts as a message.
    Customer,
    /// A human agent.
    Agent,
    /// A bot.
    Bot,
}

/// What a conversation's status can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DimensionChanges {
    /// Dimensions set (or cleared, with `None`).
    pub set: Vec<(crate::dimension::Dimension, Option<Symbol>)>,
    /// Tags added.
    pub add_tags: Vec<Symbol>,
    /// Tags removed, after adding.
    pub remove_tags: Vec<Symbol>,
}

/// Who may read a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// The customer too.
    Public,
    /// An internal note.
    Private,
}

/// The mood of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentiment {
    /// Negative.
    Negative,
    /// Neutral.
    Neutral,
    /// Positive.
    Positive,
}
