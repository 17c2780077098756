//! Resolution: how long it takes to solve, and how well it lasts.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "first_resolution_time",
        unit: Unit::Milliseconds,
        description: "Time from a conversation's opening to its first resolution. Reopening does not change it.",
        formula: "t(first resolved) − t(opened)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::FirstResolution])),
            (Basis::Cohort, Formula::Distribution(&[Measure::FirstResolutionAtStart])),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "full_resolution_time",
        unit: Unit::Milliseconds,
        description: "Time from the opening to the last resolution, of conversations resolved now. A reopening takes the \
                      sample back, the next resolution adds the new one.",
        formula: "t(last resolved) − t(opened)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::FullResolution])),
            (Basis::Cohort, Formula::Distribution(&[Measure::FullResolutionAtStart])),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "resolution_time",
        unit: Unit::Milliseconds,
        description: "Time from the start of an episode (opened or reopened) to its resolution: MTTR. Every episode is a \
                      sample.",
        formula: "t(resolved k) − t(start of episode k)",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::Resolution])),
            (Basis::Cohort, Formula::Distribution(&[Measure::ResolutionAtStart])),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "net_resolution_time",
        unit: Unit::Milliseconds,
        description: "resolution_time less the time in pending and on hold.",
        formula: "resolution_time − time in pending and on_hold",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::NetResolution])),
            (Basis::Cohort, Formula::Distribution(&[Measure::NetResolutionAtStart])),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "human_resolution_time",
        unit: Unit::Milliseconds,
        description: "resolution_time less the time before the handoff by a bot. Only conversations that reached a human.",
        formula: "t(resolved k) − max(t(handoff), t(start of episode k))",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::HumanResolution])),
            (Basis::Cohort, Formula::Distribution(&[Measure::HumanResolutionAtStart])),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "requester_wait_time",
        unit: Unit::Milliseconds,
        description: "Time an episode spent in open or on hold; counted when it is resolved.",
        formula: "time in open and on_hold",
        bases: &[
            (Basis::Event, Formula::Distribution(&[Measure::RequesterWait])),
            (Basis::Cohort, Formula::Distribution(&[Measure::RequesterWaitAtStart])),
        ],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "resolutions",
        unit: Unit::Count,
        description: "Transitions to resolved. A conversation resolved twice counts twice.",
        formula: "resolve transitions",
        bases: &[
            (Basis::Event, Formula::Count(Measure::Resolution)),
            (Basis::Cohort, Formula::Count(Measure::ResolutionAtStart)),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "conversations_resolved",
        unit: Unit::Count,
        description: "Conversations resolved in the interval and not reopened since.",
        formula: "conversations whose last resolution was not undone",
        bases: &[
            (Basis::Event, Formula::Count(Measure::FullResolution)),
            (Basis::Cohort, Formula::Count(Measure::FullResolutionAtStart)),
        ],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "resolution_rate",
        unit: Unit::Ratio,
        description: "Of the conversations opened in the interval, the share resolved as of now; by their dimensions at the \
                      opening.",
        formula: "resolved as of now / opened",
        bases: &[(Basis::Cohort, Formula::Ratio(Term::Count(Measure::ResolvedAtStart), Term::Count(Measure::Opened)))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "resolution_ratio",
        unit: Unit::Ratio,
        description: "Resolutions over openings of the interval: a flow, which may exceed 1.",
        formula: "resolutions / opened",
        bases: &[(Basis::Event, Formula::Ratio(Term::Count(Measure::Resolution), Term::Count(Measure::Opened)))],
        credited_to: "",
        source: CONTRACT,
    },
    Metric {
        name: "reopens",
        unit: Unit::Count,
        description: "Transitions from resolved back to an unresolved status, when they happened.",
        formula: "resolved→open transitions",
        bases: &[(Basis::Event, Formula::Count(Measure::Reopened))],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "reopen_rate",
        unit: Unit::Ratio,
        description: "Share of resolutions that were undone, each counted at the resolution it undid.",
        formula: "reopens / resolutions",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Count(Measure::ResolutionUndone), Term::Count(Measure::Resolution)),
        )],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "first_contact_resolution_rate",
        unit: Unit::Ratio,
        description: "Share of the conversations resolved (net) that took at most one reply and no transfer, were not \
                      reopened within 7 days of a resolution, and were not followed by another conversation of the same \
                      customer on the same topic within 7 days. Figures less than 7 days old are provisional.",
        formula: "resolved at first contact / resolved",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::FirstContact(Measure::FirstContact), Term::Count(Measure::ResolvedReplies)),
        )],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "one_touch_rate",
        unit: Unit::Ratio,
        description: "Share of the conversations resolved (net) that took exactly one reply.",
        formula: "resolved with exactly one reply / resolved",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Exactly(Measure::ResolvedReplies, 1), Term::Count(Measure::ResolvedReplies)),
        )],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "replies_per_resolution",
        unit: Unit::Ratio,
        description: "Replies that the conversations resolved (net) took, over these conversations.",
        formula: "replies / resolved",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Sum(Measure::ResolvedReplies), Term::Count(Measure::ResolvedReplies)),
        )],
        credited_to: "resolving agent",
        source: CONTRACT,
    },
    Metric {
        name: "conversations_handled",
        unit: Unit::Count,
        description: "Distinct conversations in which an agent sent a reply in the interval. Grouped by agent, each agent \
                      who replied is credited.",
        formula: "distinct conversations with a reply",
        bases: &[(Basis::Event, Formula::Distinct(&[Measure::MessageSent]))],
        credited_to: "each such agent",
        source: CONTRACT,
    },
    Metric {
        name: "transfers",
        unit: Unit::Count,
        description: "Changes of the owning agent after the first; a stay in a queue between two agents is one transfer.",
        formula: "changes of owner after the first",
        bases: &[(Basis::Event, Formula::Count(Measure::Transferred))],
        credited_to: "from",
        source: CONTRACT,
    },
    Metric {
        name: "transfer_rate",
        unit: Unit::Ratio,
        description: "Transfers over conversations handled.",
        formula: "transfers / conversations_handled",
        bases: &[(
            Basis::Event,
            Formula::Ratio(Term::Count(Measure::Transferred), Term::Distinct(Measure::MessageSent)),
        )],
        credited_to: "from",
        source: CONTRACT,
    },
    Metric {
        name: "backlog",
        unit: Unit::Count,
        description: "Conversations opened and not resolved at the end of the interval, by their dimensions then.",
        formula: "conversations not resolved at T",
        bases: &[(Basis::AsOf, Formula::Level(Measure::Backlog))],
        credited_to: "owner at T",
        source: CONTRACT,
    },
    Metric {
        name: "backlog_age",
        unit: Unit::Milliseconds,
        description: "Ages of the conversations in the backlog at the end of the interval.",
        formula: "T − t(opened)",
        bases: &[(Basis::AsOf, Formula::Ages(Measure::Backlog))],
        credited_to: "owner at T",
        source: CONTRACT,
    },
    Metric {
        name: "net_flow",
        unit: Unit::Count,
        description: "What the backlog grew by: the backlog as of the interval's end less that as of its start. By a dimension, \
                      conversations moved from value to value count too. `count` is the number of steps up and down.",
        formula: "opened + reopens − resolutions = backlog(end) − backlog(start)",
        bases: &[(Basis::Event, Formula::Change(Measure::Backlog))],
        credited_to: "",
        source: CONTRACT,
    },
];
