//! What a table shows of a metric: figures as people read them.

use deskpulse_proto::v1::{Clock, MetricValue, Unit};
use jiff::{Timestamp, tz::TimeZone};

use deskpulse_text::sheet::{milliseconds, percentile_name, timestamp};

use crate::output::{self, ABSENT};

/// A figure of a metric for people: its name and its text.
pub(super) type Figure = (String, String);

/// What the value of a metric is, as far as its figures tell.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A number of things.
    Count,
    /// A share.
    Ratio,
    /// So many for each of something.
    Rate,
    /// A score that is no mean.
    Score,
    /// A mean of a number of samples.
    Mean,
    /// Time added up.
    Time,
    /// Amounts added up.
    Amount,
    /// The greatest of a number of ages.
    Longest,
}

impl Shape {
    /// The shape of a metric, from its figures in all rows: where there are no samples, they do not tell it.
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a MetricValue>) -> Self {
        let Some(value) = values.max_by_key(|value| value.value.is_some()) else { return Self::Count };
        let is_quotient = value.denominator.is_some();
        match value.unit() {
            Unit::Ratio => Self::Ratio,
            Unit::Count | Unit::Unspecified if is_quotient => Self::Rate,
            Unit::Count | Unit::Unspecified => Self::Count,
            Unit::Score if is_quotient => Self::Score,
            Unit::Micros if !is_quotient => Self::Amount,
            Unit::Milliseconds if is_quotient || value.value.is_none() || value.min.is_some() => Self::Mean,
            Unit::Milliseconds if value.conversation.is_empty() => Self::Time,
            Unit::Milliseconds => Self::Longest,
            Unit::Score | Unit::Micros => Self::Mean,
        }
    }

    /// What stands over the value.
    fn title(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Rate => "rate",
            Self::Score => "score",
            Self::Mean => "mean",
            Self::Time | Self::Amount => "total",
            Self::Longest => "longest",
        }
    }

    /// Whether the number of samples stands before the value.
    fn shows_samples(self) -> bool {
        match self {
            Self::Score | Self::Mean | Self::Amount | Self::Longest => true,
            Self::Count | Self::Ratio | Self::Rate | Self::Time => false,
        }
    }
}

/// A number in a unit.
pub(crate) fn in_unit(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Milliseconds => output::duration(number),
        Unit::Ratio => output::percent(number),
        Unit::Micros => amount(number),
        Unit::Count | Unit::Score | Unit::Unspecified => output::number(number),
    }
}

/// What a table shows of a metric in the earlier period: its value, and by how much it has changed since.
pub(super) fn before(value: &MetricValue, earlier: Option<&MetricValue>) -> Figure {
    let earlier = earlier.and_then(|earlier| earlier.value);
    let text = earlier.map(|earlier| {
        let change = value.value.filter(|_| earlier > 0.0).map(|now| (now - earlier) / earlier * 100.0);
        in_unit(value.unit(), earlier) + &change.map(|percent| format!(" ({percent:+.0} %)")).unwrap_or_default()
    });
    ("before".to_owned(), text.unwrap_or_else(|| ABSENT.to_owned()))
}

/// What a table shows of a metric.
pub(super) fn figures(value: &MetricValue, shape: Shape, zone: &TimeZone) -> Vec<Figure> {
    let in_unit = |number: f64| in_unit(value.unit(), number);
    let mut figures = Vec::new();
    let mut show = |name: &str, text: Option<String>| {
        figures.push((name.to_owned(), text.unwrap_or_else(|| ABSENT.to_owned())));
    };
    if shape.shows_samples() {
        show("count", Some(output::number(value.count as f64)));
    }
    show(
        shape.title(),
        value.value.map(|number| {
            let parts = value.numerator.zip(value.denominator).filter(|_| value.unit() == Unit::Ratio);
            let parts = parts
                .map(|(above, below)| format!(" ({}/{})", output::number(above as f64), output::number(below as f64)));
            let mark = if value.provisional { PROVISIONAL } else { "" };
            in_unit(number) + &parts.unwrap_or_default() + mark
        }),
    );
    for percentile in &value.percentiles {
        show(&percentile_name(percentile.percentile), Some(in_unit(percentile.value)));
    }
    for share in &value.shares {
        let text = format!("{} ({})", output::percent(share.share), output::number(share.count as f64));
        show(&format!("<= {}", output::duration(milliseconds(share) as f64)), Some(text));
    }
    if let Some(pending) = value.pending {
        show("pending", Some(output::number(pending as f64)));
    }
    if let Some(deadline) = value.deadline.as_ref().and_then(timestamp) {
        show("deadline", Some(local(deadline, zone, "%Y-%m-%d %H:%M:%S")));
    }
    if !value.conversation.is_empty() {
        show("conversation", Some(value.conversation.clone()));
    }
    figures
}

/// What stands behind a value that may still change.
const PROVISIONAL: &str = " *";

/// An amount of money with up to six decimals, from millionths: `1,234.50`.
fn amount(micros: f64) -> String {
    let micros = micros.round();
    let whole = (micros / 1e6).trunc();
    let text = format!("{:06}", (micros - whole * 1e6).abs());
    let decimals = text.trim_end_matches('0');
    let sign = if micros < 0.0 { "-" } else { "" };
    match decimals.len() {
        0 => output::number(whole),
        _ => format!("{sign}{}.{decimals:0<2}", output::number(whole.abs())),
    }
}

/// A metric's name, and what was asked of it that changes every figure.
pub(super) fn title(value: &MetricValue) -> String {
    let business = (value.clock() == Clock::Business).then_some("business");
    let variant = Some(value.variant.as_str()).filter(|variant| !variant.is_empty());
    let asked: Vec<&str> = variant.into_iter().chain(business).collect();
    if asked.is_empty() { value.metric.clone() } else { format!("{} ({})", value.metric, asked.join(", ")) }
}

pub(crate) fn local(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metric: &str, unit: Unit) -> MetricValue {
        MetricValue { metric: metric.to_owned(), unit: unit.into(), ..Default::default() }
    }

    #[test]
    fn scores_amounts_totals_and_quotients_are_each_called_what_they_are() {
        let some = |count: u64, number: f64, value: MetricValue| MetricValue { count, value: Some(number), ..value };
        let quotient = |above: i64, below: i64, value: MetricValue| MetricValue {
            numerator: Some(above),
            denominator: Some(below),
            ..value
        };
        let range = |value: MetricValue| MetricValue { sum: Some(13), min: Some(1), max: Some(5), ..value };
        let handled = some(4, 90_000.0, quotient(360_000, 4, value("handle_time", Unit::Milliseconds)));
        let oldest = MetricValue { conversation: "c1".to_owned(), ..value("longest_wait", Unit::Milliseconds) };
        let cases = [
            (range(some(3, 13.0 / 3.0, value("csat_mean", Unit::Score))), "count mean", "3 4.33"),
            (some(8, -12.5, quotient(-1, 8, value("nps", Unit::Score))), "count score", "8 -12.50"),
            (range(some(2, 1_234_500_000.0, value("cost_total", Unit::Micros))), "count total", "2 1,234.50"),
            (some(3, 333_333.3, quotient(1, 3, value("cost", Unit::Micros))), "count mean", "3 0.333333"),
            (some(3, 5_400_000.0, value("online_time", Unit::Milliseconds)), "total", "1h 30m"),
            (some(3, 2.5, quotient(9, 12_960_000, value("throughput", Unit::Count))), "rate", "2.50"),
            (handled, "count mean", "4 1m 30s"),
            (some(2, 60_000.0, oldest), "count longest conversation", "2 1m 00s c1"),
            (value("first_response_time", Unit::Milliseconds), "count mean", "0 –"),
        ];
        for (value, titles, shown) in cases {
            let figures = figures(&value, Shape::of([&value].into_iter()), &TimeZone::UTC);
            let (names, texts): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
            assert_eq!((&*names.join(" "), &*texts.join(" ")), (titles, shown), "{}", value.metric);
        }
    }

    #[test]
    fn an_earlier_value_stands_with_the_change_since() {
        let of =
            |number: Option<f64>| MetricValue { value: number, ..value("first_response_time", Unit::Milliseconds) };
        let shown = |now: Option<f64>, earlier: Option<f64>| before(&of(now), Some(&of(earlier))).1;
        assert_eq!(shown(Some(45_000.0), Some(60_000.0)), "1m 00s (-25 %)");
        assert_eq!(shown(Some(45_000.0), Some(0.0)), "0ms");
        assert_eq!([shown(None, Some(60_000.0)), shown(Some(1.0), None)], ["1m 00s", ABSENT]);
        assert_eq!(before(&of(Some(1.0)), None).1, ABSENT);
    }

    #[test]
    fn amounts_have_two_to_six_decimals_or_none() {
        for (micros, text) in [
            (0.0, "0"),
            (12_000_000.0, "12"),
            (12_500_000.0, "12.50"),
            (1_234_567_000_001.0, "1,234,567.000001"),
            (-500_000.0, "-0.50"),
            (-3_000_000.0, "-3"),
            (999_999.7, "1"),
            (0.2, "0"),
            (-0.2, "0"),
        ] {
            assert_eq!(amount(micros), text, "{micros}");
        }
    }
}
