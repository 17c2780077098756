//! A row of the canonical workload: one delivery of one event.

/// 1 June 2026, 12:00 UTC, a Monday: where the canonical week begins, in milliseconds.
pub const WEEK_START_MS: i64 = 1_780_315_200_000;
/// How long it is.
pub const WEEK_MS: i64 = 7 * 86_400_000;

/// What happened in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// It was opened.
    Created,
    /// The customer wrote.
    CustomerMessage,
    /// The agent wrote.
    AgentMessage,
    /// It was given to the agent.
    Assigned,
    /// The agent resolved it.
    Resolved,
    /// It was opened again.
    Reopened,
    /// The customer answered a survey about it.
    SurveyAnswered,
}

impl Kind {
    /// All, by their number in a file.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::CustomerMessage,
        Self::AgentMessage,
        Self::Assigned,
        Self::Resolved,
        Self::Reopened,
        Self::SurveyAnswered,
    ];
}

/// How customer and company talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Chat.
    Chat,
    /// Email.
    Email,
    /// Telephone.
    Voice,
    /// Social media.
    Social,
    /// Text messages.
    Sms,
}

impl Channel {
    /// All, by their number in a file.
    pub const ALL: [Self; 5] = [Self::Chat, Self::Email, Self::Voice, Self::Social, Self::Sms];

    /// Its name in events and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Email => "email",
            Self::Voice => "voice",
            Self::Social => "social",
            Self::Sms => "sms",
        }
    }
}

/// One delivery of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The event's id: the same in a second delivery.
    pub event_id: [u8; 16],
    /// The conversation.
    pub conversation: u64,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// When it arrives.
    pub received_ms: i64,
    /// A survey's score, a message's length, else 0.
    pub value: i32,
    /// The tenant, from 1.
    pub tenant: u16,
    /// The conversation's team, from 1.
    pub team: u16,
    /// The agent, from 1; 0 for none.
    pub agent: u16,
    /// The conversation's topic, from 1.
    pub topic: u16,
    /// What happened.
    pub kind: Kind,
    /// The conversation's channel.
    pub channel: Channel,
    /// The conversation's priority, from 1.
    pub priority: u8,
}
