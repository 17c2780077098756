//! SLA: what was promised, and whether it was kept.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit, ratio};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "sla_compliance",
        unit: Unit::Ratio,
        description: "Share of the SLA targets met among those met or breached. Targets still running and cancelled \
                      ones are left out. Group or filter by `sla_target` and `sla_policy`.",
        formula: "met / (met + breached)",
        bases: &[(
            Basis::Event,
            ratio!(Term::Count(&[Measure::SlaMet]), Term::Count(&[Measure::SlaMet, Measure::SlaBreached])),
        )],
        credited_to: "replying or resolving agent; of breaches, owner at the deadline",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "sla_breaches",
        unit: Unit::Count,
        description: "SLA targets breached, at the instant of their deadline.",
        formula: "deadlines passed unfulfilled",
        bases: &[(Basis::Event, Formula::Count(&[Measure::SlaBreached]))],
        credited_to: "owner at the deadline",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "sla_overrun_time",
        unit: Unit::Milliseconds,
        description: "By how much breached targets were missed, on the clock of the target; counted at fulfilment.",
        formula: "value − target of breached targets",
        bases: &[(Basis::Event, Formula::Distribution(&[Measure::SlaOverrun]))],
        credited_to: "replying or resolving agent",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "sla_at_risk",
        unit: Unit::Count,
        description: "Targets running at the end of the interval with less than their warning lead left, with the \
                      next deadline and its conversation.",
        formula: "running targets with less than the lead left at T",
        bases: &[(Basis::AsOf, Formula::Next(Measure::SlaAtRisk))],
        credited_to: "owner at T",
        source: CONTRACT,
        variants: &[],
    },
];
