//! Response: how long customers wait for an answer.

use super::{Basis, CONTRACT, Formula, Metric, Unit};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "first_response_time",
        unit: Unit::Milliseconds,
        description: "Time from a conversation's opening to its first public reply by a human agent. One sample a \
                      conversation; those without a reply are left out, not counted as zero.",
        formula: "t(first reply) − t(opened); agent-opened: from the first customer message to the next reply",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::FirstResponse])),
            (Basis::Cohort, Formula::Distribution(&[Measure::FirstResponseAtStart])),
        ],
        credited_to: "replying agent",
        source: CONTRACT,
    },
    Metric {
        name: "handoff_response_time",
        unit: Unit::Milliseconds,
        description: "Time from the last handoff by a bot to the first reply. Only conversations handed over before it.",
        formula: "t(first reply) − t(last bot→human handoff before it)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::HandoffResponse])),
            (Basis::Cohort, Formula::Distribution(&[Measure::HandoffResponseAtStart])),
        ],
        credited_to: "replying agent",
        source: CONTRACT,
    },
    Metric {
        name: "agent_first_response_time",
        unit: Unit::Milliseconds,
        description: "Time from an agent's assignment to that agent's first reply. None when another assignment comes \
                      first.",
        formula: "t(agent's first reply after being assigned) − t(that assignment)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::AgentFirstResponse])),
            (Basis::Cohort, Formula::Distribution(&[Measure::AgentFirstResponseAtStart])),
        ],
        credited_to: "that agent",
        source: CONTRACT,
    },
    Metric {
        name: "next_reply_time",
        unit: Unit::Milliseconds,
        description: "Length of every answered wait except the conversation's first answered one.",
        formula: "t(reply) − t(oldest unanswered customer message)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::NextReply])),
            (Basis::Cohort, Formula::Distribution(&[Measure::NextReplyAtStart])),
        ],
        credited_to: "replying agent",
        source: CONTRACT,
    },
    Metric {
        name: "reply_time",
        unit: Unit::Milliseconds,
        description: "The samples of first_response_time and next_reply_time together.",
        formula: "first_response_time ∪ next_reply_time",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::FirstResponse, Measure::NextReply])),
            (Basis::Cohort, Formula::Distribution(&[Measure::FirstResponseAtStart, Measure::NextReplyAtStart])),
        ],
        credited_to: "replying agent",
        source: CONTRACT,
    },
    Metric {
        name: "response_rate",
        unit: Unit::Ratio,
        description: "Share of waits that were answered; with `within`, answered within that time. Waits still open and \
                      younger than that are pending.",
        formula: "waits answered / waits started",
        bases: &[
            (
                Basis::Event,
                Formula::Answered { answered: Measure::WaitAnswered, started: Measure::WaitStarted, open: None },
            ),
            (
                Basis::Cohort,
                Formula::Answered {
                    answered: Measure::WaitAnsweredAtStart,
                    started: Measure::WaitStarted,
                    open: Some(Measure::WaitOpen),
                },
            ),
        ],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "waits_started",
        unit: Unit::Count,
        description: "Waits that began: the denominator of response_rate.",
        formula: "waits started",
        bases: &[
            (Basis::Event, Formula::Count(Measure::WaitStarted)),
            (Basis::Cohort, Formula::Count(Measure::WaitStarted)),
        ],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "waits_answered",
        unit: Unit::Count,
        description: "Waits that were answered: the numerator of response_rate. On cohort basis by the dimensions at the \
                      wait's start, credited to nobody.",
        formula: "waits answered",
        bases: &[
            (Basis::Event, Formula::Count(Measure::WaitAnswered)),
            (Basis::Cohort, Formula::Count(Measure::WaitAnsweredAtStart)),
        ],
        credited_to: "replying agent",
        source: CONTRACT,
    },
    Metric {
        name: "unanswered_conversations",
        unit: Unit::Count,
        description: "Conversations with an open wait at the end of the interval.",
        formula: "open waits at T",
        bases: &[(Basis::AsOf, Formula::Level(Measure::Unanswered))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "longest_wait",
        unit: Unit::Milliseconds,
        description: "Age of the oldest open wait at the end of the interval, with its conversation.",
        formula: "T − start of the oldest open wait",
        bases: &[(Basis::AsOf, Formula::Oldest(Measure::Unanswered))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "time_to_assignment",
        unit: Unit::Milliseconds,
        description: "Time from a conversation's opening to its first assignment to a human agent.",
        formula: "t(first assignment to a human) − t(opened)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::Assignment])),
            (Basis::Cohort, Formula::Distribution(&[Measure::AssignmentAtStart])),
        ],
        credited_to: "that agent",
        source: CONTRACT,
    },
    Metric {
        name: "bot_response_time",
        unit: Unit::Milliseconds,
        description: "Length of every wait that a bot answered before a human did. No dimension names the bot.",
        formula: "t(bot's reply) − t(oldest customer message not answered by anyone)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::BotResponse])),
            (Basis::Cohort, Formula::Distribution(&[Measure::BotResponseAtStart])),
        ],
        credited_to: "",
        source: CONTRACT,
    },
];
