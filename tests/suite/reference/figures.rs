//! A metric's figures in one row, as the wire has them.

use deskpulse_proto::v1::MetricSelection;

/// The figures of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figure {
    /// None where the contract does not say what is counted.
    pub(crate) count: Option<u64>,
    pub(crate) value: Option<f64>,
    /// Whether a value of zero and none are the same: for net flows and times.
    pub(crate) zero_is_absent: bool,
    pub(crate) numerator: Option<i64>,
    pub(crate) denominator: Option<i64>,
    pub(crate) sum: Option<i64>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    /// Exact, nearest rank; one for each asked for, none without samples.
    pub(crate) percentiles: Vec<i64>,
    /// How many values are at or below each bound asked for; none without samples.
    pub(crate) at_most: Vec<u64>,
    pub(crate) pending: Option<u64>,
    /// For the longest wait: all conversations that wait so long.
    pub(crate) conversations: Vec<String>,
}

impl Figure {
    pub(crate) fn count(count: usize) -> Self {
        Self { count: Some(count as u64), value: (count > 0).then_some(count as f64), ..Self::default() }
    }

    pub(crate) fn ratio(numerator: i64, denominator: i64) -> Self {
        Self {
            count: Some(denominator.unsigned_abs()),
            value: (denominator > 0).then(|| numerator as f64 / denominator as f64),
            numerator: Some(numerator),
            denominator: Some(denominator),
            ..Self::default()
        }
    }

    /// A ratio told in hundredths.
    pub(crate) fn percent(numerator: i64, denominator: i64) -> Self {
        let ratio = Self::ratio(numerator, denominator);
        Self { value: (denominator > 0).then(|| 100.0 * numerator as f64 / denominator as f64), ..ratio }
    }

    /// Something added up, be it how many parts.
    pub(crate) fn total(value: f64) -> Self {
        Self { value: (value != 0.0).then_some(value), zero_is_absent: true, ..Self::default() }
    }

    pub(crate) fn distribution(mut values: Vec<i64>, selection: &MetricSelection) -> Self {
        values.sort_unstable();
        let count = values.len();
        let Some((&min, &max)) = values.first().zip(values.last()) else { return Self::count(0) };
        let sum: i64 = values.iter().sum();
        let bound = |of: &prost_types::Duration| of.seconds * 1_000 + i64::from(of.nanos / 1_000_000);
        let below = |bound: i64| values.iter().filter(|value| **value <= bound).count() as u64;
        Self {
            value: Some(sum as f64 / count as f64),
            sum: Some(sum),
            min: Some(min),
            max: Some(max),
            percentiles: selection.percentiles.iter().map(|percentile| nearest_rank(&values, *percentile)).collect(),
            at_most: selection.at_most.iter().map(|of| below(bound(of))).collect(),
            ..Self::count(count)
        }
    }

    /// Whether there is nothing in it, so that its row need not exist.
    pub(crate) fn is_empty(&self) -> bool {
        let none = |number: Option<i64>| number.unwrap_or(0) == 0;
        self.count.unwrap_or(0) == 0
            && self.value.unwrap_or(0.0) == 0.0
            && none(self.numerator)
            && none(self.denominator)
            && self.pending.unwrap_or(0) == 0
    }
}

/// The least value that at least so many percent of the values do not exceed.
fn nearest_rank(ascending: &[i64], percentile: f64) -> i64 {
    let enough = |count: usize| 100.0 * count as f64 >= percentile * ascending.len() as f64;
    let rank = (1..=ascending.len()).find(|count| enough(*count)).expect("all values are enough");
    ascending[rank - 1]
}
