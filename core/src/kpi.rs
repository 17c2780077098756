//! The catalogue of metrics: each a formula over partial figures.
//!
//! An entry holds name, unit, formula and source together; `ListMetrics`, the README's table and the tests read it here.

mod resolution;
mod response;
mod volume;

use std::fmt::Write as _;
use std::sync::Arc;

use crate::conversation::FIRST_CONTACT_WINDOW_MS;
use crate::fact::Measure;
use crate::histogram::Percentile;
use crate::snapshot::{Part, Partial, Reduction};

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
}

impl Unit {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Milliseconds => "ms",
            Self::Ratio => "ratio",
        }
    }
}

/// One side of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// The number of facts.
    Count(Measure),
    /// The sum of their values.
    Sum(Measure),
    /// How many values are exactly this one.
    Exactly(Measure, i64),
    /// The number of distinct conversations.
    Distinct(Measure),
    /// The number of facts that no later contact undoes.
    FirstContact(Measure),
}

/// How a metric is computed from facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formula {
    /// The number of facts.
    Count(Measure),
    /// The distribution of the values of all these measures together.
    Distribution(&'static [Measure]),
    /// The number of distinct conversations with any of these facts.
    Distinct(&'static [Measure]),
    /// What a level grew by, from after the start of the interval up to its end.
    Change(Measure),
    /// One term over another.
    Ratio(Term, Term),
    /// Answered waits over started ones; the last measure, where given, is the waits still open.
    Answered {
        /// The lengths of answered waits.
        answered: Measure,
        /// The waits started.
        started: Measure,
        /// The waits still open, by their start.
        open: Option<Measure>,
    },
    /// The level at the end of the interval.
    Level(Measure),
    /// The ages of what makes up the level.
    Ages(Measure),
    /// The greatest of these ages, and whose it is.
    Oldest(Measure),
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
    Family { name: "Volume and content", metrics: volume::METRICS },
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
        }
        text.push('\n');
    }
    text
}

/// What to say of a metric beside its value.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Percentiles wanted.
    pub percentiles: Vec<Percentile>,
    /// Bounds for which the share of values at or below is wanted.
    pub at_most: Vec<i64>,
    /// For answered waits: only those answered within this time count.
    pub within_ms: Option<i64>,
    /// The instant of the question: waits younger than `within_ms` then are pending.
    pub now_ms: i64,
}

/// A figure: what a metric came to in one group and interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// The number of samples; for a ratio its denominator, for a count the count.
    pub count: u64,
    /// The value; `None` when there are no samples.
    pub value: Option<f64>,
    /// For ratios: numerator and denominator.
    pub fraction: Option<(i64, i64)>,
    /// For distributions: sum, least and greatest value.
    pub extent: Option<(i128, i64, i64)>,
    /// The percentiles asked for.
    pub percentiles: Vec<i64>,
    /// For each bound asked for, how many values are at or below.
    pub at_most: Vec<u64>,
    /// Waits that may yet be answered in time.
    pub pending: Option<u64>,
    /// Whose the greatest age is.
    pub conversation: Option<Arc<str>>,
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

    /// Whether it has percentiles and shares.
    #[must_use]
    pub fn has_distribution(&self) -> bool {
        self.bases.iter().any(|(_, formula)| matches!(formula, Formula::Distribution(_) | Formula::Ages(_)))
    }

    /// Whether it knows `within`.
    #[must_use]
    pub fn has_within(&self) -> bool {
        self.bases.iter().any(|(_, formula)| matches!(formula, Formula::Answered { .. }))
    }
}

impl Formula {
    /// How long after its instant a figure may still change because of what the customer does next.
    #[must_use]
    pub fn provisional_for_ms(self) -> Option<i64> {
        matches!(self, Self::Ratio(Term::FirstContact(_), _)).then_some(FIRST_CONTACT_WINDOW_MS)
    }
}

fn part(measures: &[Measure], reduction: Reduction, at_most: &[i64]) -> Part {
    Part { measures: measures.to_vec(), reduction, at_most: at_most.to_vec() }
}

impl Term {
    fn part(self) -> Part {
        match self {
            Self::Count(measure) => part(&[measure], Reduction::Count, &[]),
            Self::Sum(measure) => part(&[measure], Reduction::Distribution, &[]),
            Self::Exactly(measure, value) => part(&[measure], Reduction::Distribution, &[value - 1, value]),
            Self::Distinct(measure) => part(&[measure], Reduction::Distinct, &[]),
            Self::FirstContact(measure) => part(&[measure], Reduction::FirstContact, &[]),
        }
    }

    fn evaluate(self, partial: &Partial) -> i64 {
        match self {
            Self::Count(_) | Self::Distinct(_) | Self::FirstContact(_) => partial.count,
            Self::Sum(_) => i64::try_from(partial.distribution.sum()).unwrap_or(i64::MAX),
            Self::Exactly(..) => {
                let at_most = |index: usize| partial.at_most.get(index).copied().unwrap_or(0).cast_signed();
                at_most(1) - at_most(0)
            }
        }
    }
}

impl Formula {
    /// What has to be collected for it.
    #[must_use]
    pub fn parts(self, options: &Options) -> Vec<Part> {
        match self {
            Self::Count(measure) => vec![part(&[measure], Reduction::Count, &[])],
            Self::Distribution(measures) => vec![part(measures, Reduction::Distribution, &options.at_most)],
            Self::Distinct(measures) => vec![part(measures, Reduction::Distinct, &[])],
            Self::Change(measure) => vec![part(&[measure], Reduction::LevelChange, &[])],
            Self::Ratio(above, below) => vec![above.part(), below.part()],
            Self::Answered { answered, started, open } => {
                let mut parts = vec![part(&[started], Reduction::Count, &[])];
                match (options.within_ms, open) {
                    (Some(within_ms), Some(open)) => {
                        parts.push(part(&[answered], Reduction::Distribution, &[within_ms]));
                        // Waits that began before this are too old to be answered in time.
                        parts.push(part(&[open], Reduction::Distribution, &[options.now_ms - within_ms - 1]));
                    }
                    (Some(within_ms), None) => parts.push(part(&[answered], Reduction::Distribution, &[within_ms])),
                    (None, _) => parts.push(part(&[answered], Reduction::Count, &[])),
                }
                parts
            }
            Self::Level(measure) => vec![part(&[measure], Reduction::Level, &[])],
            Self::Ages(measure) | Self::Oldest(measure) => {
                vec![part(&[measure], Reduction::LevelAge, &options.at_most)]
            }
        }
    }

    /// The figure, from the partial figures of its parts.
    #[must_use]
    pub fn evaluate(self, options: &Options, partials: &[Partial]) -> Figure {
        let nothing = Partial::default();
        let partial = |index: usize| partials.get(index).unwrap_or(&nothing);
        match self {
            Self::Count(_) | Self::Distinct(_) | Self::Level(_) => counted(partial(0).count),
            Self::Change(_) => {
                let steps = &partial(0).distribution;
                let value = (steps.count() > 0).then(|| steps.sum() as f64);
                Figure { count: steps.count(), value, ..Figure::default() }
            }
            Self::Distribution(_) | Self::Ages(_) => distributed(partial(0), options),
            Self::Oldest(_) => {
                let ages = &partial(0).distribution;
                let value = ages.max().map(|age_ms| age_ms as f64);
                let conversation = partial(0).oldest.clone();
                Figure { count: ages.count(), value, conversation, ..Figure::default() }
            }
            Self::Ratio(above, below) => ratio(above.evaluate(partial(0)), below.evaluate(partial(1))),
            Self::Answered { .. } => {
                let in_time = |partial: &Partial| partial.at_most.first().copied().unwrap_or(0);
                let started = partial(0).count;
                if options.within_ms.is_none() {
                    return ratio(partial(1).count, started);
                }
                let pending = partials.get(2).map(|open| open.count.unsigned_abs() - in_time(open));
                Figure { pending, ..ratio(in_time(partial(1)).cast_signed(), started) }
            }
        }
    }
}

fn counted(count: i64) -> Figure {
    let value = (count > 0).then_some(count as f64);
    Figure { count: count.max(0).unsigned_abs(), value, ..Figure::default() }
}

fn ratio(above: i64, below: i64) -> Figure {
    Figure {
        count: below.max(0).unsigned_abs(),
        value: (below > 0).then(|| above as f64 / below as f64),
        fraction: Some((above, below)),
        ..Figure::default()
    }
}

fn distributed(partial: &Partial, options: &Options) -> Figure {
    let distribution = &partial.distribution;
    let Some((min, max)) = distribution.min().zip(distribution.max()) else { return Figure::default() };
    Figure {
        count: distribution.count(),
        value: distribution.mean(),
        extent: Some((distribution.sum(), min, max)),
        percentiles: options.percentiles.iter().filter_map(|wanted| distribution.percentile(*wanted)).collect(),
        at_most: partial.at_most.clone(),
        ..Figure::default()
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
                let figure = formula.evaluate(&Options::default(), &[]);
                assert_eq!((figure.count, figure.value), (0, None), "{}", metric.name);
            }
        }
    }
}
