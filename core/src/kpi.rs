//! The catalogue of metrics: each a formula over partial figures.
//!
//! An entry holds name, unit, formula and source together; `ListMetrics`, the README's table and the tests read it here.

mod bots;
mod business;
mod formula;
mod quality;
mod queue;
mod resolution;
mod response;
mod sla;
mod volume;
mod workforce;

use std::fmt::Write as _;

pub use formula::{Extent, Figure, Formula, Options, SERVICE_LEVEL_MS, SHORT_ABANDON_MS, Sum, Term};

/// At which instant a figure is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// When the measured thing completed.
    Event,
    /// When the conversation (or wait) began.
    Cohort,
    /// As of the end of the interval.
    AsOf,
}

impl Basis {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Cohort => "cohort",
            Self::AsOf => "as of",
        }
    }
}

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// A share; 1 is all.
    Ratio,
    /// A score on the scale of its survey, or from -100 to 100.
    Score,
    /// Millionths of a currency's unit.
    Micros,
}

impl Unit {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Milliseconds => "ms",
            Self::Ratio => "ratio",
            Self::Score => "score",
            Self::Micros => "micros",
        }
    }
}

/// One sum over another.
const fn ratio_of(above: Sum, below: Sum) -> Formula {
    Formula::Ratio { above, below, times: 1.0 }
}

/// Counts over counts: the most frequent ratio.
macro_rules! ratio {
    ($above:expr, $below:expr) => {
        $crate::kpi::ratio_of(&[(1, $above)], &[(1, $below)])
    };
}
use ratio;

/// A formula asked on the event and on the cohort basis.
macro_rules! both {
    ($formula:expr) => {
        &[($crate::kpi::Basis::Event, $formula), ($crate::kpi::Basis::Cohort, $formula)]
    };
}
use both;

/// A variant of a metric, for those who count otherwise.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// The formula in words.
    pub formula: &'static str,
    /// How it is computed on every basis the metric has.
    pub computed: Formula,
}

/// An entry of the catalogue.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// What it says and what it leaves out.
    pub description: &'static str,
    /// The formula; `t(x)` is the instant of x.
    pub formula: &'static str,
    /// The bases it can be asked on and how it is computed there; the first is its own.
    pub bases: &'static [(Basis, Formula)],
    /// To whom it is credited; empty when to nobody in particular.
    pub credited_to: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// Other ways to count it.
    pub variants: &'static [Variant],
}

/// A family of metrics.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its metrics.
    pub metrics: &'static [Metric],
}

/// Every metric, by family.
pub const CATALOGUE: &[Family] = &[
    Family { name: "Response", metrics: response::METRICS },
    Family { name: "Resolution", metrics: resolution::METRICS },
    Family { name: "SLA", metrics: sla::METRICS },
    Family { name: "Volume and content", metrics: volume::METRICS },
    Family { name: "Quality", metrics: quality::METRICS },
    Family { name: "Bots and self-service", metrics: bots::METRICS },
    Family { name: "Queue and voice", metrics: queue::METRICS },
    Family { name: "Agents and workforce", metrics: workforce::METRICS },
    Family { name: "Business", metrics: business::METRICS },
];

/// Where most definitions come from: the project's own contract, which follows the field's usage.
pub(crate) const CONTRACT: &str = "Deskpulse metrics contract, section 3";

/// The metric with this name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().flat_map(|family| family.metrics).find(|metric| metric.name == name)
}

/// The catalogue as a Markdown table a family, as the README shows it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for family in CATALOGUE {
        let _ = writeln!(text, "### {}\n\n| metric | unit | formula | basis | credited to |", family.name);
        text.push_str("|---|---|---|---|---|\n");
        for metric in family.metrics {
            let bases: Vec<&str> = metric.bases.iter().map(|(basis, _)| basis.name()).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                metric.name,
                metric.unit.name(),
                metric.formula,
                bases.join(", "),
                metric.credited_to
            );
            for variant in metric.variants {
                let _ = writeln!(
                    text,
                    "| `{}`, variant `{}` | {} | {} | | |",
                    metric.name,
                    variant.name,
                    metric.unit.name(),
                    variant.formula
                );
            }
        }
        text.push('\n');
    }
    text
}

impl Metric {
    /// How it is computed on a basis (its own when none is named); `None` when it cannot be asked on that.
    #[must_use]
    pub fn on(&self, basis: Option<Basis>) -> Option<(Basis, Formula)> {
        match basis {
            None => self.bases.first().copied(),
            Some(basis) => self.bases.iter().find(|(known, _)| *known == basis).copied(),
        }
    }

    /// The variant with this name.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    fn any(&self, test: impl Fn(Formula) -> bool) -> bool {
        let variants = self.variants.iter().map(|variant| variant.computed);
        self.bases.iter().map(|(_, formula)| *formula).chain(variants).any(test)
    }

    /// Whether it has percentiles and shares.
    #[must_use]
    pub fn has_distribution(&self) -> bool {
        self.any(|formula| matches!(formula, Formula::Distribution(_) | Formula::Ages(_)))
    }

    /// Whether it knows `within`.
    #[must_use]
    pub fn has_within(&self) -> bool {
        self.any(|formula| {
            matches!(formula, Formula::Answered { .. }) || formula.has_term(|term| matches!(term, Term::Within(_)))
        })
    }

    /// Whether it tells short abandons from others.
    #[must_use]
    pub fn has_short(&self) -> bool {
        self.any(|formula| {
            matches!(formula, Formula::CountShort(_)) || formula.has_term(|term| matches!(term, Term::Short(_)))
        })
    }

    /// Whether it adds amounts of one currency up.
    #[must_use]
    pub fn has_currency(&self) -> bool {
        self.any(|formula| {
            matches!(formula, Formula::SumInCurrency(_))
                || formula.has_term(|term| matches!(term, Term::SumInCurrency(_)))
        })
    }

    /// Whether it is about a feature.
    #[must_use]
    pub fn has_feature(&self) -> bool {
        self.any(|formula| formula.has_term(|term| matches!(term, Term::DistinctOfFeature(_))))
    }

    /// Whether it can be asked on the business clock.
    #[must_use]
    pub fn has_business_clock(&self) -> bool {
        let is_duration = |formula: Formula| match formula {
            Formula::Distribution(measures) => measures.iter().all(|measure| measure.has_clocks()),
            _ => false,
        };
        self.bases.iter().all(|(_, formula)| is_duration(*formula))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_and_named_once() {
        let mut names = std::collections::BTreeSet::new();
        for metric in CATALOGUE.iter().flat_map(|family| family.metrics) {
            assert!(names.insert(metric.name), "{} stands twice", metric.name);
            assert!(!metric.description.is_empty() && !metric.formula.is_empty() && !metric.source.is_empty());
            assert!(!metric.bases.is_empty(), "{}", metric.name);
        }
        assert!(metric("first_response_time").is_some_and(Metric::has_distribution));
        assert!(metric("nonsense").is_none());
    }

    #[test]
    fn no_samples_give_no_value() {
        for metric in CATALOGUE.iter().flat_map(|family| family.metrics) {
            for (_, formula) in metric.bases {
                let figure = formula.evaluate(&Options::default(), &[], Extent::default());
                assert_eq!((figure.count, figure.value), (0, None), "{}", metric.name);
            }
        }
    }
}
