//! Volume and content: how much there is, and what it is about.
//!
//! A top list is a count grouped by `topic`, `subtopic`, `tag` or `quick_reply`, in descending order; the heat map is
//! `conversations_opened` grouped by `weekday` and `hour`.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "conversations_opened",
        unit: Unit::Count,
        description: "Conversations opened, by their dimensions at the opening.",
        formula: "openings",
        bases: &[(Basis::Event, Formula::Count(Measure::Opened)), (Basis::Cohort, Formula::Count(Measure::Opened))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "conversations_active",
        unit: Unit::Count,
        description: "Distinct conversations with at least one public message in the interval.",
        formula: "distinct conversations with a public message",
        bases: &[(
            Basis::Event,
            Formula::Distinct(&[
                Measure::MessageReceived,
                Measure::MessageSent,
                Measure::BotMessage,
                Measure::AutomatedMessage,
            ]),
        )],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "messages_received",
        unit: Unit::Count,
        description: "Public messages of customers.",
        formula: "public customer messages",
        bases: &[(Basis::Event, Formula::Count(Measure::MessageReceived))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "messages_sent",
        unit: Unit::Count,
        description: "Public messages of human agents: replies. Group by `quick_reply` for the quick replies used.",
        formula: "public human messages",
        bases: &[(Basis::Event, Formula::Count(Measure::MessageSent))],
        credited_to: "sender",
        source: CONTRACT,
    },
    Metric {
        name: "bot_messages",
        unit: Unit::Count,
        description: "Public messages of bots.",
        formula: "public bot messages",
        bases: &[(Basis::Event, Formula::Count(Measure::BotMessage))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "automated_messages",
        unit: Unit::Count,
        description: "Public messages of automations, campaigns and the platform.",
        formula: "public automation, campaign and system messages",
        bases: &[(Basis::Event, Formula::Count(Measure::AutomatedMessage))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "private_notes",
        unit: Unit::Count,
        description: "Private messages of anyone.",
        formula: "private messages",
        bases: &[(Basis::Event, Formula::Count(Measure::PrivateNote))],
        credited_to: "author",
        source: CONTRACT,
    },
    Metric {
        name: "sentiment_positive_rate",
        unit: Unit::Ratio,
        description: "Share of the scored customer messages that are positive; the latest score of a message counts.",
        formula: "positive / scored customer messages",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Exactly(Measure::SentimentScored, 1), Term::Count(Measure::SentimentScored)),
        )],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "sentiment_negative_rate",
        unit: Unit::Ratio,
        description: "Share of the scored customer messages that are negative; the latest score of a message counts.",
        formula: "negative / scored customer messages",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Exactly(Measure::SentimentScored, -1), Term::Count(Measure::SentimentScored)),
        )],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "conflicting_ids",
        unit: Unit::Count,
        description: "Events refused because another event of their source and id had come before with other content, at \
                      the instant they claim. A refused event sent again counts again.",
        formula: "events refused as conflicts",
        bases: &[(Basis::Event, Formula::Count(Measure::ConflictingId))],
        credited_to: "",
        source: "Deskpulse metrics contract, section 2",
    },
    Metric {
        name: "skewed_events",
        unit: Unit::Count,
        description: "Events that gave a negative duration because clocks disagree; it was counted as 0.",
        formula: "events with a negative duration",
        bases: &[(Basis::Event, Formula::Count(Measure::Skewed))],
        credited_to: "",
        source: "Deskpulse metrics contract, section 1",
    },
];
