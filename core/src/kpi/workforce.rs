//! Agents and workforce: time, schedules, tasks, engagement.
//!
//! Times are apportioned: each interval has the part it really covers, what still runs up to now.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit, Variant, both, ratio, ratio_of};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "agents",
        unit: Unit::Count,
        description: "Agents whose state is known at the end of the interval; group or filter by `state`.",
        formula: "agents in a state at T",
        bases: &[(
            Basis::AsOf,
            Formula::Level(&[
                Measure::AgentAvailable,
                Measure::AgentHandling,
                Measure::AgentAway,
                Measure::AgentOffline,
            ]),
        )],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "online_time",
        unit: Unit::Milliseconds,
        description: "Time in any state but offline; summed up.",
        formula: "time online",
        bases: &[(Basis::Event, Formula::Time(&[Measure::AgentAvailable, Measure::AgentHandling, Measure::AgentAway]))],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "available_time",
        unit: Unit::Milliseconds,
        description: "Time ready for work; summed up.",
        formula: "time available",
        bases: &[(Basis::Event, Formula::Time(&[Measure::AgentAvailable]))],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "handling_time",
        unit: Unit::Milliseconds,
        description: "Time busy or in wrap-up; summed up.",
        formula: "time in busy and wrapup",
        bases: &[(Basis::Event, Formula::Time(&[Measure::AgentHandling]))],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "occupancy",
        unit: Unit::Ratio,
        description: "Share of the working time spent handling, by the clock on the wall.",
        formula: "handling / (handling + available)",
        bases: &[(
            Basis::Event,
            ratio!(
                Term::Time(&[Measure::AgentHandling]),
                Term::Time(&[Measure::AgentHandling, Measure::AgentAvailable])
            ),
        )],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[Variant {
            name: "concurrency_weighted",
            formula: "contact time / (slots × online time)",
            computed: ratio!(Term::TimeOfAgents(&[Measure::Handling]), Term::Time(&[Measure::AgentSlots])),
        }],
    },
    Metric {
        name: "utilization",
        unit: Unit::Ratio,
        description: "Share of the online time that is scheduled as productive.",
        formula: "online in productive schedule / online",
        bases: &[(
            Basis::Event,
            ratio!(
                Term::Time(&[Measure::Productive]),
                Term::Time(&[Measure::AgentAvailable, Measure::AgentHandling, Measure::AgentAway])
            ),
        )],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "throughput",
        unit: Unit::Count,
        description: "Conversations handled for each hour online. The denominator is given in milliseconds.",
        formula: "conversations_handled / online hours",
        bases: &[(
            Basis::Event,
            Formula::Ratio {
                above: &[(1, Term::Distinct(&[Measure::MessageSent, Measure::LegConnected]))],
                below: &[(1, Term::Time(&[Measure::AgentAvailable, Measure::AgentHandling, Measure::AgentAway]))],
                times: 3_600_000.0,
            },
        )],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "adherence",
        unit: Unit::Ratio,
        description: "Share of the scheduled time, up to now, spent in the scheduled kind of state; available, busy \
                      and wrap-up are one kind.",
        formula: "time in the scheduled kind of state / scheduled time",
        bases: &[(Basis::Event, ratio!(Term::Time(&[Measure::Adherent]), Term::Time(&[Measure::Scheduled])))],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "shrinkage",
        unit: Unit::Ratio,
        description: "Share of the paid scheduled time, up to now, spent neither available nor handling.",
        formula: "(paid − available or handling) / paid",
        bases: &[(
            Basis::Event,
            ratio_of(
                &[(1, Term::Time(&[Measure::Paid])), (-1, Term::Time(&[Measure::PaidWorking]))],
                &[(1, Term::Time(&[Measure::Paid]))],
            ),
        )],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "tasks_assigned",
        unit: Unit::Count,
        description: "Tasks assigned for the first time.",
        formula: "tasks assigned",
        bases: &[(Basis::Event, Formula::Count(&[Measure::TaskAssigned]))],
        credited_to: "first assignee",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "tasks_completed",
        unit: Unit::Count,
        description: "Tasks completed, and not assigned anew or cancelled since.",
        formula: "tasks completed",
        bases: both!(Formula::Count(&[Measure::TaskCompleted])),
        credited_to: "assignee",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "task_completion_rate",
        unit: Unit::Ratio,
        description: "Of the tasks assigned in the interval, the share completed by now.",
        formula: "completed / assigned",
        bases: &[(
            Basis::Cohort,
            ratio!(Term::Count(&[Measure::TaskCompleted]), Term::Count(&[Measure::TaskAssigned])),
        )],
        credited_to: "first assignee",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "engagement_mean",
        unit: Unit::Score,
        description: "Mean score of the engagement answers, on the scales they were asked on.",
        formula: "sum of scores / answers",
        bases: &[(Basis::Event, Formula::Mean(Measure::EngagementScore))],
        credited_to: "agent asked",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "enps",
        unit: Unit::Score,
        description: "Net promoter score of the engagement surveys on a scale of 0 to 10.",
        formula: "100 × (promoters − detractors) / answers",
        bases: &[(
            Basis::Event,
            Formula::Ratio {
                above: &[(1, Term::Sum(Measure::EnpsRating))],
                below: &[(1, Term::Count(&[Measure::EnpsRating]))],
                times: 100.0,
            },
        )],
        credited_to: "agent asked",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "attrition_rate",
        unit: Unit::Ratio,
        description: "Agents who left over the mean headcount of the interval, up to now. Numerator and denominator \
                      are multiplied with its length in milliseconds.",
        formula: "left / mean headcount",
        bases: &[(Basis::Event, Formula::PerMeanLevel { count: Measure::Left, level: Measure::Headcount })],
        credited_to: "agent",
        source: CONTRACT,
        variants: &[],
    },
];
