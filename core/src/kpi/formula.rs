//! How figures are computed from partial ones.

use crate::event::Id;

use super::Basis;
use crate::conversation::FIRST_CONTACT_WINDOW_MS;
use crate::dimension::Dimension;
use crate::fact::{Anchor, Clock, Measure};
use crate::filter::Filter;
use crate::histogram::{Distribution, Percentile};
use crate::snapshot::{Part, Partial, Reduction};

/// A number taken from facts: what ratios are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// The number of facts.
    Count(&'static [Measure]),
    /// The sum of their values.
    Sum(Measure),
    /// The sum of the values in the currency asked for.
    SumInCurrency(Measure),
    /// How many values are exactly this one.
    Exactly(&'static [Measure], i64),
    /// How many values are at most the bound asked for.
    Within(Measure),
    /// How many values are below the bound of short abandons.
    Short(Measure),
    /// The number of distinct subjects.
    Distinct(&'static [Measure]),
    /// The number of distinct subjects that used the feature asked for.
    DistinctOfFeature(Measure),
    /// The number of subjects with two facts or more.
    Repeated(Measure),
    /// The number of facts that no new conversation of the customer follows within a week.
    NotFollowed(Measure),
    /// The level at the end of the interval.
    Level(Measure),
    /// The level just before the start of the interval.
    LevelAtStart(Measure),
    /// Milliseconds that levels lasted within the interval, up to now, times their values.
    Time(&'static [Measure]),
    /// The same, of facts with an agent only.
    TimeOfAgents(&'static [Measure]),
}

/// Terms added up, each with its sign.
pub type Sum = &'static [(i64, Term)];

/// How a metric is computed from facts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Formula {
    /// The number of facts.
    Count(&'static [Measure]),
    /// The number of facts with a value below the bound of short abandons.
    CountShort(Measure),
    /// The distribution of the values of all these measures together.
    Distribution(&'static [Measure]),
    /// The mean of the values.
    Mean(Measure),
    /// The sum of the values in the currency asked for.
    SumInCurrency(Measure),
    /// The number of distinct subjects with any of these facts.
    Distinct(&'static [Measure]),
    /// The number of distinct values, over all partitions.
    DistinctValues(Measure),
    /// What a level grew by, from after the start of the interval up to its end.
    Change(Measure),
    /// One sum over another, times a constant.
    Ratio {
        /// Above the line.
        above: Sum,
        /// Below the line.
        below: Sum,
        /// What the quotient is multiplied with.
        times: f64,
    },
    /// Facts over the mean of a level in the interval.
    PerMeanLevel {
        /// The facts.
        count: Measure,
        /// The level.
        level: Measure,
    },
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
    Level(&'static [Measure]),
    /// The ages of what makes up the level.
    Ages(Measure),
    /// The greatest of these ages, and whose it is.
    Oldest(Measure),
    /// The level, the earliest of its values and whose it is.
    Next(Measure),
    /// Milliseconds that levels lasted within the interval, up to now.
    Time(&'static [Measure]),
}

/// What to say of a metric beside its value.
#[derive(Debug, Clone)]
pub struct Options {
    /// The basis.
    pub basis: Basis,
    /// The clock of durations.
    pub clock: Clock,
    /// Percentiles wanted.
    pub percentiles: Vec<Percentile>,
    /// Bounds for which the share of values at or below is wanted.
    pub at_most: Vec<i64>,
    /// Whether the distribution itself is wanted.
    pub histogram: bool,
    /// Waits up to here count as in time; for answered waits `None` means any.
    pub within_ms: Option<i64>,
    /// Abandoned waits below this are short.
    pub short_ms: i64,
    /// The currency of costs.
    pub currency: Option<Box<str>>,
    /// The feature used.
    pub feature: Option<Box<str>>,
    /// The instant of the question: waits younger than `within_ms` then are pending, and what runs has run until then.
    pub now_ms: i64,
}

/// The usual bound of a service level: 20 seconds.
pub const SERVICE_LEVEL_MS: i64 = 20_000;
/// The usual bound of short abandons: 5 seconds.
pub const SHORT_ABANDON_MS: i64 = 5_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            basis: Basis::Event,
            clock: Clock::Calendar,
            percentiles: Vec::new(),
            at_most: Vec::new(),
            histogram: false,
            within_ms: None,
            short_ms: SHORT_ABANDON_MS,
            currency: None,
            feature: None,
            now_ms: 0,
        }
    }
}

/// The interval a figure is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its start.
    pub start_ms: i64,
    /// Its end.
    pub end_ms: i64,
}

/// A figure: what a metric came to in one group and interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// The number of samples; for a ratio its denominator, for a count the count.
    pub count: u64,
    /// The value; `None` when there are no samples.
    pub value: Option<f64>,
    /// For ratios: numerator and denominator.
    pub fraction: Option<(i128, i128)>,
    /// For distributions: sum, least and greatest value.
    pub extent: Option<(i128, i64, i64)>,
    /// The percentiles asked for.
    pub percentiles: Vec<i64>,
    /// For each bound asked for, how many values are at or below.
    pub at_most: Vec<u64>,
    /// The distribution, where it is asked for.
    pub distribution: Option<Box<Distribution>>,
    /// Waits that may yet be answered in time.
    pub pending: Option<u64>,
    /// Whose the greatest age is.
    pub conversation: Option<Id>,
    /// The next deadlines and whose they are.
    pub next: Vec<(i64, Id)>,
}

fn part(options: &Options, measures: &[Measure], reduction: Reduction) -> Part {
    let has_start = measures.first().is_some_and(|measure| measure.has_start());
    let has_clocks = measures.first().is_some_and(|measure| measure.has_clocks());
    Part {
        measures: measures.to_vec(),
        anchor: if options.basis == Basis::Cohort && has_start { Anchor::Start } else { Anchor::Completion },
        clock: if has_clocks { options.clock } else { Clock::Calendar },
        reduction,
        at_most: Vec::new(),
        filter: Filter::Everything,
    }
}

/// Only facts with this value of a dimension, where one is asked for.
fn only(part: Part, dimension: Dimension, value: Option<&str>) -> Part {
    match value {
        Some(value) => Part { filter: Filter::Equals { dimension, value: value.into() }, ..part },
        None => part,
    }
}

impl Term {
    fn part(self, options: &Options) -> Part {
        let one = |measure: Measure, reduction| part(options, &[measure], reduction);
        let bounded = |measure, bound| Part { at_most: vec![bound], ..one(measure, Reduction::Distribution) };
        match self {
            Self::Count(measures) => part(options, measures, Reduction::Count),
            Self::Sum(measure) => one(measure, Reduction::Distribution),
            Self::SumInCurrency(measure) => {
                only(one(measure, Reduction::Distribution), Dimension::Currency, options.currency.as_deref())
            }
            Self::Exactly(measures, value) => {
                Part { at_most: vec![value - 1, value], ..part(options, measures, Reduction::Distribution) }
            }
            Self::Within(measure) => bounded(measure, options.within_ms.unwrap_or(SERVICE_LEVEL_MS)),
            Self::Short(measure) => bounded(measure, options.short_ms - 1),
            Self::Distinct(measures) => part(options, measures, Reduction::Distinct),
            Self::DistinctOfFeature(measure) => {
                only(one(measure, Reduction::Distinct), Dimension::Feature, options.feature.as_deref())
            }
            Self::Repeated(measure) => one(measure, Reduction::Repeated),
            Self::NotFollowed(measure) => one(measure, Reduction::NotFollowed),
            Self::Level(measure) => one(measure, Reduction::Level),
            Self::LevelAtStart(measure) => one(measure, Reduction::LevelAtStart),
            Self::Time(measures) => part(options, measures, Reduction::Time),
            Self::TimeOfAgents(measures) => {
                Part { filter: Filter::IsSet(Dimension::Agent), ..part(options, measures, Reduction::Time) }
            }
        }
    }

    fn evaluate(self, partial: &Partial) -> i128 {
        let at_most = |index: usize| i128::from(partial.more().at_most.get(index).copied().unwrap_or(0));
        match self {
            Self::Count(_)
            | Self::Distinct(_)
            | Self::DistinctOfFeature(_)
            | Self::Repeated(_)
            | Self::NotFollowed(_)
            | Self::Level(_)
            | Self::LevelAtStart(_) => partial.count.into(),
            Self::Sum(_) | Self::SumInCurrency(_) | Self::Time(_) | Self::TimeOfAgents(_) => partial.distribution.sum(),
            Self::Exactly(..) => at_most(1) - at_most(0),
            Self::Within(_) | Self::Short(_) => at_most(0),
        }
    }
}

fn add_up<'a>(sum: Sum, partials: impl Iterator<Item = &'a Partial>) -> i128 {
    sum.iter().zip(partials).map(|((sign, term), partial)| i128::from(*sign) * term.evaluate(partial)).sum()
}

impl Formula {
    /// How long after its instant a figure may still change because of what the customer does next.
    #[must_use]
    pub fn provisional_for_ms(self) -> Option<i64> {
        self.has_term(|term| matches!(term, Term::NotFollowed(_))).then_some(FIRST_CONTACT_WINDOW_MS)
    }

    /// Whether it is about an interval as a whole, so that intervals cannot be folded by weekday or hour.
    #[must_use]
    pub fn needs_whole_intervals(self) -> bool {
        let about_bounds = |term| matches!(term, Term::Level(_) | Term::LevelAtStart(_));
        matches!(self, Self::Level(_) | Self::Ages(_) | Self::Oldest(_) | Self::Next(_) | Self::PerMeanLevel { .. })
            || self.has_term(about_bounds)
    }

    /// Whether it has no meaning without a start.
    #[must_use]
    pub fn needs_start(self) -> bool {
        matches!(self, Self::PerMeanLevel { .. })
    }

    pub(super) fn has_term(self, test: impl Fn(Term) -> bool) -> bool {
        match self {
            Self::Ratio { above, below, .. } => above.iter().chain(below).any(|(_, term)| test(*term)),
            _ => false,
        }
    }

    /// What has to be collected for it.
    #[must_use]
    pub fn parts(self, options: &Options) -> Vec<Part> {
        let of = |measures: &[Measure], reduction| part(options, measures, reduction);
        let bounded = |measure: Measure, bound| Part {
            at_most: vec![bound],
            ..part(options, &[measure], Reduction::Distribution)
        };
        match self {
            Self::Count(measures) => vec![of(measures, Reduction::Count)],
            Self::CountShort(measure) => vec![Term::Short(measure).part(options)],
            Self::Distribution(measures) => {
                vec![Part { at_most: options.at_most.clone(), ..of(measures, Reduction::Distribution) }]
            }
            Self::Mean(measure) => vec![of(&[measure], Reduction::Distribution)],
            Self::SumInCurrency(measure) => vec![Term::SumInCurrency(measure).part(options)],
            Self::Distinct(measures) => vec![of(measures, Reduction::Distinct)],
            Self::DistinctValues(measure) => vec![of(&[measure], Reduction::DistinctValues)],
            Self::Change(measure) => vec![of(&[measure], Reduction::LevelChange)],
            Self::Ratio { above, below, .. } => above.iter().chain(below).map(|(_, term)| term.part(options)).collect(),
            Self::PerMeanLevel { count, level } => {
                vec![of(&[count], Reduction::Count), of(&[level], Reduction::Time)]
            }
            Self::Answered { answered, started, open } => {
                let mut parts = vec![of(&[started], Reduction::Count)];
                match (options.within_ms, open) {
                    (Some(within_ms), Some(open)) => {
                        parts.push(bounded(answered, within_ms));
                        // Waits that began before this are too old to be answered in time.
                        parts.push(bounded(open, options.now_ms - within_ms - 1));
                    }
                    (Some(within_ms), None) => parts.push(bounded(answered, within_ms)),
                    (None, _) => parts.push(of(&[answered], Reduction::Count)),
                }
                parts
            }
            Self::Level(measures) => vec![of(measures, Reduction::Level)],
            Self::Next(measure) => vec![of(&[measure], Reduction::LevelNext)],
            Self::Ages(measure) | Self::Oldest(measure) => {
                vec![Part { at_most: options.at_most.clone(), ..of(&[measure], Reduction::LevelAge) }]
            }
            Self::Time(measures) => vec![of(measures, Reduction::Time)],
        }
    }

    /// The facts behind it: of a ratio those above the line. None where it adds up time or steps, which are nobody's in particular.
    #[must_use]
    pub fn behind(self, options: &Options) -> Vec<Part> {
        let counted = |part: &Part| {
            let adds_up = matches!(part.reduction, Reduction::Time | Reduction::LevelChange | Reduction::LevelAtStart);
            !adds_up
        };
        let without_bounds = |part| Part { at_most: Vec::new(), ..part };
        let mut parts: Vec<Part> = match self {
            Self::Ratio { above, .. } => {
                above.iter().filter(|(sign, _)| *sign > 0).map(|(_, term)| term.part(options)).collect()
            }
            Self::Answered { .. } => self.parts(options).into_iter().skip(1).take(1).collect(),
            Self::PerMeanLevel { .. } => self.parts(options).into_iter().take(1).collect(),
            Self::Distribution(_) | Self::Ages(_) | Self::Oldest(_) => {
                self.parts(options).into_iter().map(without_bounds).collect()
            }
            Self::Count(_)
            | Self::CountShort(_)
            | Self::Mean(_)
            | Self::SumInCurrency(_)
            | Self::Distinct(_)
            | Self::DistinctValues(_)
            | Self::Change(_)
            | Self::Level(_)
            | Self::Next(_)
            | Self::Time(_) => self.parts(options),
        };
        parts.retain(counted);
        parts
    }

    /// The figure, from the partial figures of its parts.
    #[must_use]
    pub fn evaluate(self, options: &Options, partials: &[Partial], extent: Extent) -> Figure {
        let nothing = Partial::default();
        let partial = |index: usize| partials.get(index).unwrap_or(&nothing);
        match self {
            Self::Count(_) | Self::Distinct(_) | Self::Level(_) => counted(partial(0).count),
            Self::CountShort(measure) => {
                counted(i64::try_from(Term::Short(measure).evaluate(partial(0))).unwrap_or(i64::MAX))
            }
            Self::DistinctValues(_) => counted(i64::try_from(partial(0).more().distinct.len()).unwrap_or(i64::MAX)),
            Self::Change(_) => {
                let steps = &partial(0).distribution;
                let value = (steps.count() > 0).then(|| steps.sum() as f64);
                Figure { count: steps.count(), value, ..Figure::default() }
            }
            Self::Distribution(_) | Self::Ages(_) | Self::Mean(_) => distributed(partial(0), options),
            Self::SumInCurrency(_) => {
                let distributed = distributed(partial(0), options);
                Figure { value: distributed.extent.map(|(sum, _, _)| sum as f64), ..distributed }
            }
            Self::Oldest(_) => {
                let ages = &partial(0).distribution;
                let value = ages.max().map(|age_ms| age_ms as f64);
                let conversation = partial(0).more().oldest.clone();
                Figure { count: ages.count(), value, conversation, ..Figure::default() }
            }
            Self::Next(_) => {
                let next = partial(0).more().next.clone();
                Figure { next, ..counted(partial(0).count) }
            }
            Self::Time(_) => {
                let time = partial(0);
                let value = (time.count > 0).then(|| time.distribution.sum() as f64);
                Figure { count: time.count.max(0).unsigned_abs(), value, ..Figure::default() }
            }
            Self::Ratio { above, below, times } => {
                let numerator = add_up(above, (0..above.len()).map(partial));
                let denominator = add_up(below, (above.len()..above.len() + below.len()).map(partial));
                let figure = fraction(numerator, denominator);
                Figure { value: figure.value.map(|value| value * times), ..figure }
            }
            Self::PerMeanLevel { .. } => {
                let length_ms = extent.end_ms.min(options.now_ms) - extent.start_ms;
                fraction(i128::from(partial(0).count) * i128::from(length_ms.max(0)), partial(1).distribution.sum())
            }
            Self::Answered { open, .. } => {
                let in_time = |partial: &Partial| partial.more().at_most.first().copied().unwrap_or(0);
                let started = partial(0).count.into();
                if options.within_ms.is_none() {
                    return fraction(partial(1).count.into(), started);
                }
                let still_open = |_| partial(2).count.unsigned_abs() - in_time(partial(2));
                Figure { pending: open.map(still_open), ..fraction(in_time(partial(1)).into(), started) }
            }
        }
    }
}

fn counted(count: i64) -> Figure {
    let value = (count > 0).then_some(count as f64);
    Figure { count: count.max(0).unsigned_abs(), value, ..Figure::default() }
}

fn fraction(above: i128, below: i128) -> Figure {
    Figure {
        count: u64::try_from(below.max(0)).unwrap_or(u64::MAX),
        value: (below > 0).then(|| above as f64 / below as f64),
        fraction: Some((above, below)),
        ..Figure::default()
    }
}

fn distributed(partial: &Partial, options: &Options) -> Figure {
    let distribution = &partial.distribution;
    let Some((min, max)) = distribution.min().zip(distribution.max()) else { return Figure::default() };
    let percentiles = match options.percentiles.as_slice() {
        [] => Vec::new(),
        wanted => {
            let mut ranked = distribution.ranked();
            wanted.iter().filter_map(|percentile| ranked.percentile(*percentile)).collect()
        }
    };
    Figure {
        count: distribution.count(),
        value: distribution.mean(),
        extent: Some((distribution.sum(), min, max)),
        percentiles,
        at_most: partial.more().at_most.clone(),
        distribution: options.histogram.then(|| Box::new(distribution.clone())),
        ..Figure::default()
    }
}
