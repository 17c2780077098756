//! Conditions that make a command fail: `p90 first_response_time > 1h`.

use std::fmt;

use deskpulse_proto::v1::{MetricRow, MetricSelection, MetricValue, QueryMetricsRequest, QueryMetricsResponse, Unit};
use deskpulse_text::ask::duration;

use super::figures::in_unit;
use crate::failure::Failure;

/// A figure of a metric compared with a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    text: String,
    figure: Figure,
    metric: String,
    comparison: Comparison,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Value,
    Count,
    Sum,
    Min,
    Max,
    Percentile(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Greater,
    AtLeast,
    Less,
    AtMost,
    Equal,
    Unequal,
}

/// A number as it was written: what unit it has to have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Number(f64),
    /// A share; 1 is all.
    Share(f64),
    Milliseconds(f64),
}

/// The longer ones first, as they begin with the shorter ones.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Unequal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
    ("=", Comparison::Equal),
];

impl Condition {
    /// Reads `[FIGURE] METRIC COMPARISON NUMBER`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let refused = || {
            let hint = "write a figure (p90, count, min, max, sum, or none for the value), a metric, one of > >= < <= = !=, and a \
                        number, a share such as 95% or a time such as 1h30m: --fail-if 'p90 first_response_time > 1h'";
            Failure::new(format!("\"{text}\" is no condition"), hint)
        };
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (left, right) = text.split_once(sign)?;
            Some((left, *comparison, right))
        });
        let (left, comparison, right) = found.ok_or_else(refused)?;
        let words: Vec<&str> = left.split_whitespace().collect();
        let (figure, metric) = match words.as_slice() {
            [metric] => (Figure::Value, *metric),
            [figure, metric] => (Figure::parse(figure).ok_or_else(refused)?, *metric),
            _ => return Err(refused()),
        };
        let bound = Bound::parse(right.trim()).ok_or_else(refused)?;
        Ok(Self { text: text.trim().to_owned(), figure, metric: metric.to_owned(), comparison, bound })
    }

    /// Asks for what the condition is about, where that is not asked for already.
    pub(super) fn ask(&self, request: &mut QueryMetricsRequest) {
        let index = request.metrics.iter().position(|asked| asked.name == self.metric).unwrap_or_else(|| {
            request.metrics.push(MetricSelection { name: self.metric.clone(), ..MetricSelection::default() });
            request.metrics.len() - 1
        });
        if let (Figure::Percentile(percentile), Some(asked)) = (self.figure, request.metrics.get_mut(index))
            && !asked.percentiles.contains(&percentile)
        {
            asked.percentiles.push(percentile);
        }
    }

    /// The rows in which it holds, in words; a figure without samples is neither more nor less than anything.
    pub(super) fn held(&self, answer: &QueryMetricsResponse, group_by: &[String]) -> Result<Vec<String>, Failure> {
        let mut held = Vec::new();
        for row in &answer.rows {
            let Some(value) = row.values.iter().find(|value| value.metric == self.metric) else { continue };
            let Some(number) = self.figure.of(value) else { continue };
            let bound = self.bound.in_unit_of(value, self.figure).ok_or_else(|| {
                let unit = if self.figure == Figure::Count { "a number" } else { unit_of(value) };
                let hint = "write times as 90s or 1h30m, shares as 95% or 0.95, and everything else as a number";
                Failure::new(format!("\"{}\": {} is {unit}", self.text, self.metric), hint)
            })?;
            if self.comparison.holds(number, bound) {
                let shown = match self.figure {
                    Figure::Count => number.to_string(),
                    _ => in_unit(value.unit(), number),
                };
                held.push(format!("{}: {shown}{}", self.text, place(row, group_by)));
            }
        }
        Ok(held)
    }
}

impl Figure {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "value" | "mean" => Some(Self::Value),
            "count" => Some(Self::Count),
            "sum" => Some(Self::Sum),
            "min" => Some(Self::Min),
            "max" => Some(Self::Max),
            _ => {
                let percentile = text.strip_prefix('p')?.parse().ok()?;
                Some(Self::Percentile(percentile)).filter(|_| (0.0..=100.0).contains(&percentile))
            }
        }
    }

    fn of(self, value: &MetricValue) -> Option<f64> {
        let whole = |number: i64| number as f64;
        match self {
            // A count of nothing is 0.
            Self::Value if value.unit() == Unit::Count && value.denominator.is_none() => {
                Some(value.value.unwrap_or(0.0))
            }
            Self::Value => value.value,
            Self::Count => Some(value.count as f64),
            Self::Sum => value.sum.map(whole),
            Self::Min => value.min.map(whole),
            Self::Max => value.max.map(whole),
            Self::Percentile(wanted) => {
                let known = value.percentiles.iter().find(|known| known.percentile.total_cmp(&wanted).is_eq());
                known.map(|known| known.value)
            }
        }
    }
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent.trim().parse().ok().map(|percent: f64| Self::Share(percent / 100.0));
        }
        if let Ok(number) = text.parse::<f64>() {
            return Some(Self::Number(number)).filter(|_| number.is_finite());
        }
        let length = duration(text)?;
        Some(Self::Milliseconds(length.seconds as f64 * 1_000.0 + f64::from(length.nanos) / 1e6))
    }

    /// The bound in the unit of a metric's figure; `None` where it has another.
    fn in_unit_of(self, value: &MetricValue, figure: Figure) -> Option<f64> {
        let unit = if figure == Figure::Count { Unit::Count } else { value.unit() };
        match (self, unit) {
            (Self::Milliseconds(bound), Unit::Milliseconds)
            | (Self::Share(bound), Unit::Ratio)
            | (Self::Number(bound), Unit::Ratio | Unit::Count | Unit::Score | Unit::Unspecified) => Some(bound),
            // Amounts are kept in millionths.
            (Self::Number(bound), Unit::Micros) => Some(bound * 1e6),
            (Self::Milliseconds(_) | Self::Share(_), _) | (Self::Number(_), Unit::Milliseconds) => None,
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        let ordering = number.total_cmp(&bound);
        match self {
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::Unequal => ordering.is_ne(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unit_of(value: &MetricValue) -> &'static str {
    match value.unit() {
        Unit::Milliseconds => "a time",
        Unit::Ratio => "a share",
        Unit::Count | Unit::Score | Unit::Micros | Unit::Unspecified => "a number",
    }
}

/// Where a row is, in words.
fn place(row: &MetricRow, group_by: &[String]) -> String {
    let value = |value: &deskpulse_proto::v1::GroupValue| value.value.clone().unwrap_or_else(|| "not set".to_owned());
    let groups = group_by.iter().zip(&row.group).map(|(name, group)| format!("{name} {}", value(group)));
    let start = row.interval_start.as_ref().and_then(deskpulse_text::sheet::timestamp);
    let places: Vec<String> = groups.chain(start.map(|start| format!("from {start}"))).collect();
    if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) }
}

#[cfg(test)]
mod tests {
    use deskpulse_proto::v1::PercentileValue;

    use super::*;

    fn answer(value: MetricValue) -> QueryMetricsResponse {
        let row = MetricRow { values: vec![value], ..MetricRow::default() };
        QueryMetricsResponse { rows: vec![row], ..QueryMetricsResponse::default() }
    }

    fn holds(text: &str, value: &MetricValue) -> bool {
        !Condition::parse(text).unwrap().held(&answer(value.clone()), &[]).unwrap().is_empty()
    }

    #[test]
    fn a_condition_compares_a_figure_in_its_unit() {
        let time = MetricValue {
            metric: "wait".to_owned(),
            unit: Unit::Milliseconds.into(),
            count: 3,
            value: Some(60_000.0),
            max: Some(3_600_001),
            percentiles: vec![PercentileValue { percentile: 99.9, value: 90_000.0 }],
            ..MetricValue::default()
        };
        for (text, expected) in [
            ("wait > 59s", true),
            ("wait > 1m", false),
            ("wait >= 1m", true),
            ("wait<=60000ms", true),
            ("max wait > 1h", true),
            ("count wait < 4", true),
            ("p99.9 wait != 90s", false),
            ("p99.9 wait = 1m30s", true),
            ("p50 wait < 1000h", false),
            ("other > 0s", false),
        ] {
            assert_eq!(holds(text, &time), expected, "{text}");
        }
        let share = MetricValue { unit: Unit::Ratio.into(), value: Some(0.94), ..time.clone() };
        assert!(holds("wait < 95%", &share) && holds("wait < 0.95", &share) && !holds("wait < 94 %", &share));
        let nothing = MetricValue { value: None, count: 0, ..share };
        assert!(!holds("wait < 95%", &nothing) && holds("count wait = 0", &nothing));
        let none = MetricValue { unit: Unit::Count.into(), ..nothing };
        assert!(holds("wait < 1", &none));
        for text in ["wait > 10", "wait > 5%"] {
            assert!(Condition::parse(text).unwrap().held(&answer(time.clone()), &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "wait",
            "wait >",
            "> 5",
            "p101 wait > 5s",
            "fast wait > 5s",
            "a b wait > 5s",
            "wait > soon",
            "wait > NaN",
        ] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
