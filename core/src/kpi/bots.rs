//! Bots and self-service: what never needed a human.

use super::{Basis, CONTRACT, Metric, Term, Unit, both, ratio};
use crate::fact::Measure;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "bot_containment_rate",
        unit: Unit::Ratio,
        description: "Of the conversations a bot took part in, the share resolved now without handoff, human reply or \
                      connected leg. On event basis each side is counted when it happened.",
        formula: "resolved by bots alone / bot took part",
        bases: both!(ratio!(Term::Count(&[Measure::Contained]), Term::Count(&[Measure::BotTookPart]))),
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "handoff_rate",
        unit: Unit::Ratio,
        description: "Of the conversations a bot took part in, the share handed over to humans.",
        formula: "handed over / bot took part",
        bases: both!(ratio!(Term::Count(&[Measure::HandedOver]), Term::Count(&[Measure::BotTookPart]))),
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
    Metric {
        name: "deflection_rate",
        unit: Unit::Ratio,
        description: "Of the self-service sessions with a known outcome, the share that ended resolved with no \
                      conversation opened by that customer within 7 days. Figures less than 7 days old are \
                      provisional.",
        formula: "resolved and not followed by a conversation / known outcome",
        bases: &[(
            Basis::Event,
            ratio!(Term::NotFollowed(Measure::SessionResolved), Term::Count(&[Measure::SessionKnown])),
        )],
        credited_to: "",
        source: CONTRACT,
        variants: &[],
    },
];
