//! Business: what customers do beyond asking for help, and what it costs.

use super::{Basis, CONTRACT, Formula, Metric, Term, Unit, ratio};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "churn_rate",
        unit: Unit::Ratio,
        description: "Customers who left over the customers there were just before the interval.",
        formula: "churned / customers at the start",
        bases: &[(Basis::Event, ratio!(Term::Count(&[Measure::Churned]), Term::LevelAtStart(Measure::Customers)))],
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "renewal_rate",
        unit: Unit::Ratio,
        description: "Of the contracts due in the interval, the share renewed by now, before or after the due date.",
        formula: "renewed / due, at the due date",
        bases: &[(Basis::Cohort, ratio!(Term::Count(&[Measure::Renewed]), Term::Count(&[Measure::RenewalDue])))],
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "adoption_rate",
        unit: Unit::Ratio,
        description: "Distinct customers who used the feature (any, unless `feature` names one) over the customers \
                      there are at the end of the interval; on cohort basis, of those activated in the interval, the \
                      share who have used it by now.",
        formula: "customers who used the feature / customers activated",
        bases: &[
            (Basis::Event, ratio!(Term::DistinctOfFeature(Measure::FeatureUsed), Term::Level(Measure::Customers))),
            (
                Basis::Cohort,
                ratio!(Term::DistinctOfFeature(Measure::FeatureUsed), Term::Distinct(&[Measure::Activated])),
            ),
        ],
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "repeat_purchase_rate",
        unit: Unit::Ratio,
        description: "Of the customers who ordered in the interval, the share who did so at least twice.",
        formula: "customers with ≥ 2 orders / with ≥ 1",
        bases: &[(Basis::Event, ratio!(Term::Repeated(Measure::Ordered), Term::Distinct(&[Measure::Ordered])))],
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "cross_sell_rate",
        unit: Unit::Ratio,
        description: "Cross-selling offers accepted over offers made.",
        formula: "accepted / offered",
        bases: &[(
            Basis::Event,
            ratio!(Term::Count(&[Measure::CrossSellAccepted]), Term::Count(&[Measure::CrossSellOffered])),
        )],
        credited_to: "owner of the conversation",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "up_sell_rate",
        unit: Unit::Ratio,
        description: "Up-selling offers accepted over offers made.",
        formula: "accepted / offered",
        bases: &[(
            Basis::Event,
            ratio!(Term::Count(&[Measure::UpSellAccepted]), Term::Count(&[Measure::UpSellOffered])),
        )],
        credited_to: "owner of the conversation",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "cost_total",
        unit: Unit::Micros,
        description: "Costs of one currency. Name it with `currency`, or group by it.",
        formula: "sum of costs",
        bases: &[(Basis::Event, Formula::SumInCurrency(Measure::Cost))],
        credited_to: "owner of the conversation",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "cost_per_conversation",
        unit: Unit::Micros,
        description: "Costs of the currency named over the conversations handled.",
        formula: "cost / conversations_handled",
        bases: &[(
            Basis::Event,
            ratio!(Term::SumInCurrency(Measure::Cost), Term::Distinct(&[Measure::MessageSent, Measure::LegConnected])),
        )],
        credited_to: "owner of the conversation",
        source: CONTRACT,
        variants: &[],
    },
];
