//! What facts can be filtered and grouped by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A dimension facts can be filtered and grouped by.
///
/// Every dimension has at most one value at a time, except [`Dimension::Tag`], which has any number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dimension {
    /// The medium: chat, email, voice.
    Channel,
    /// Who started it: inbound or outbound.
    Direction,
    /// The team, or queue, in charge. Also read as `queue`.
    Team,
    /// The agent in charge.
    Agent,
    /// The urgency the platform assigned.
    Priority,
    /// What the conversation is about.
    Topic,
    /// A finer division of the topic.
    Subtopic,
    /// The customer's language.
    Language,
    /// The customer's country.
    Country,
    /// The customer's segment. Also read as `segment`.
    CustomerSegment,
    /// The quick reply, or macro, an agent used.
    QuickReply,
    /// The bot that wrote.
    Bot,
    /// How a wait in a queue ended: `answered`, `abandoned` and so on.
    Outcome,
    /// The state of an agent.
    State,
    /// The SLA policy a target belongs to.
    SlaPolicy,
    /// What an SLA target measures: `first_response`, `next_response` or `resolution`.
    SlaTarget,
    /// The currency of a cost.
    Currency,
    /// The feature a customer used.
    Feature,
    /// Where a review was posted.
    Platform,
    /// The labels put on the conversation; the only dimension with several values.
    Tag,
    /// An attribute the tenant defined, spelled `attributes.NAME`.
    Custom(AttributeName),
}

impl Dimension {
    /// Every dimension but the custom ones, in the order they are listed to users.
    pub const STANDARD: [Self; 20] = [
        Self::Channel,
        Self::Direction,
        Self::Team,
        Self::Agent,
        Self::Priority,
        Self::Topic,
        Self::Subtopic,
        Self::Language,
        Self::Country,
        Self::CustomerSegment,
        Self::QuickReply,
        Self::Bot,
        Self::Outcome,
        Self::State,
        Self::SlaPolicy,
        Self::SlaTarget,
        Self::Currency,
        Self::Feature,
        Self::Platform,
        Self::Tag,
    ];

    /// The name as users spell it, such as `customer_segment` or `attributes.plan`.
    ///
    /// [`Dimension::parse`] reads it back.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Channel => "channel",
            Self::Direction => "direction",
            Self::Team => "team",
            Self::Agent => "agent",
            Self::Priority => "priority",
            Self::Topic => "topic",
            Self::Subtopic => "subtopic",
            Self::Language => "language",
            Self::Country => "country",
            Self::CustomerSegment => "customer_segment",
            Self::QuickReply => "quick_reply",
            Self::Bot => "bot",
            Self::Outcome => "outcome",
            Self::State => "state",
            Self::SlaPolicy => "sla_policy",
            Self::SlaTarget => "sla_target",
            Self::Currency => "currency",
            Self::Feature => "feature",
            Self::Platform => "platform",
            Self::Tag => "tag",
            Self::Custom(attribute) => &attribute.spelled,
        }
    }

    /// Reads a name as users spell it, the aliases `queue` and `segment` included.
    ///
    /// `None` when no dimension has that name, or what follows `attributes.` is not an
    /// [`AttributeName`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "queue" => Some(Self::Team),
            "segment" => Some(Self::CustomerSegment),
            name => match name.strip_prefix(AttributeName::PREFIX) {
                Some(key) => AttributeName::parse(key).map(Self::Custom),
                None => Self::STANDARD.into_iter().find(|it| it.name() == name),
            },
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a custom attribute: 1 to 64 characters out of `a-z`, `0-9` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttributeName {
    // Kept with its prefix, so that `Dimension::name` can lend it.
    spelled: Box<str>,
}

impl AttributeName {
    const PREFIX: &str = "attributes.";
    const MAX_LENGTH: usize = 64;

    /// Reads the key of an attribute, such as `plan`, without the `attributes.` in front.
    ///
    /// `None` when it is empty, too long or holds any other character.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        Self::is_valid(key).then(|| Self { spelled: format!("{}{key}", Self::PREFIX).into() })
    }

    /// Whether [`Self::parse`] would read this key.
    #[must_use]
    pub fn is_valid(key: &str) -> bool {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        (1..=Self::MAX_LENGTH).contains(&key.len()) && key.bytes().all(allowed)
    }

    /// The key alone, such as `plan`, as it appears in an event's attributes.
    #[must_use]
    pub fn key(&self) -> &str {
        self.spelled.strip_prefix(Self::PREFIX).unwrap_or(&self.spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        let custom = AttributeName::parse("plan_2").map(Dimension::Custom);
        for dimension in Dimension::STANDARD.into_iter().chain(custom) {
            assert_eq!(Dimension::parse(dimension.name()), Some(dimension.clone()));
            assert_eq!(dimension.to_string(), dimension.name());
        }
    }

    #[test]
    fn aliases_are_read_and_never_written() {
        assert_eq!(Dimension::parse("queue"), Some(Dimension::Team));
        assert_eq!(Dimension::parse("segment"), Some(Dimension::CustomerSegment));
    }

    #[test]
    fn a_custom_name_is_told_apart_from_a_standard_one() {
        let custom = Dimension::parse("attributes.channel");
        assert_ne!(custom, Some(Dimension::Channel));
        assert_eq!(custom, AttributeName::parse("channel").map(Dimension::Custom));
        assert_eq!(AttributeName::parse("channel").as_ref().map(AttributeName::key), Some("channel"));
    }

    #[test]
    fn other_names_are_refused() {
        let long = format!("attributes.{}", "a".repeat(65));
        for name in ["", "Channel", "plan", "attributes", "attributes.", &long] {
            assert_eq!(Dimension::parse(name), None, "{name}");
        }
        for key in ["Plan", "a-b", "a.b", "é", "a b"] {
            assert_eq!(AttributeName::parse(key), None, "{key}");
        }
        assert!(AttributeName::parse(&"a".repeat(64)).is_some());
    }
}
