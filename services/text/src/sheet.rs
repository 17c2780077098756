//! An answer as lines of text: CSV with exact numbers, and the pieces tables share with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deskpulse_proto::v1::{Clock, MetricRow, MetricValue, QueryMetricsResponse, ShareValue};
use jiff::Timestamp;

/// An answer as CSV: a line for each group, interval and metric, with exact numbers; empty where there is no value.
pub fn csv(answer: &QueryMetricsResponse, group_by: &[String]) -> Result<String, csv::Error> {
    let (percentiles, shares) = percentiles_and_shares(answer.rows.iter().flat_map(|row| &row.values));
    let earlier = answer.rows.iter().filter_map(|row| row.earlier.as_ref()).flat_map(|earlier| &earlier.values);
    let (earlier_percentiles, earlier_shares) = percentiles_and_shares(earlier);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fixed = [
        "interval_start",
        "interval_end",
        "metric",
        "basis",
        "unit",
        "count",
        "value",
        "numerator",
        "denominator",
        "sum",
        "min",
        "max",
        "pending",
        "conversation",
    ];
    let mut header: Vec<&str> = group_by.iter().map(String::as_str).collect();
    header.extend(fixed);
    header.extend(percentiles.iter().chain(&shares).map(String::as_str));
    header.extend(["clock", "variant", "provisional", "deadline"]);
    header.extend(["row", "earlier_start", "earlier_end", "earlier_count", "earlier_value"]);
    let further: Vec<String> =
        earlier_percentiles.iter().chain(&earlier_shares).map(|name| format!("earlier_{name}")).collect();
    header.extend(further.iter().map(String::as_str));
    let has_histograms = answer.rows.iter().flat_map(|row| &row.values).any(|value| !value.histogram.is_empty());
    header.extend(has_histograms.then_some("histogram"));
    writer.write_record(&header)?;
    let rows = answer.rows.iter().map(|row| (row, RowKind::of(row)));
    let group_totals = answer.group_totals.iter().map(|row| (row, RowKind::GroupTotal));
    let totals = answer.total.iter().map(|row| (row, RowKind::Total));
    for (row, kind) in rows.chain(group_totals).chain(totals) {
        for (index, value) in row.values.iter().enumerate() {
            let mut cells: Vec<String> =
                row.group.iter().map(|group| group.value.clone().unwrap_or_default()).collect();
            let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
            let basis = word(value.basis().as_str_name(), "BASIS_");
            let unit = word(value.unit().as_str_name(), "UNIT_");
            let clock = Some(value.clock()).filter(|clock| *clock != Clock::Unspecified);
            cells.extend([instant(row.interval_start.as_ref()), instant(row.interval_end.as_ref())]);
            cells.extend([value.metric.clone(), basis, unit, value.count.to_string(), exact(value.value)]);
            cells.extend([exact(value.numerator), exact(value.denominator), exact(value.sum)]);
            cells.extend([exact(value.min), exact(value.max), exact(value.pending), value.conversation.clone()]);
            cells.extend(percentiles.iter().map(|name| percentile(value, name)));
            cells.extend(shares.iter().map(|name| share(value, name)));
            cells.extend([exact(clock.map(|clock| word(clock.as_str_name(), "CLOCK_"))), value.variant.clone()]);
            cells.extend([value.provisional.to_string(), instant(value.deadline.as_ref())]);
            let earlier = row.earlier.as_ref();
            let figure = earlier.and_then(|earlier| earlier.values.get(index));
            cells.push(kind.name().to_owned());
            cells.push(instant(earlier.and_then(|earlier| earlier.interval_start.as_ref())));
            cells.push(instant(earlier.and_then(|earlier| earlier.interval_end.as_ref())));
            cells.push(exact(figure.map(|figure| figure.count)));
            cells.push(exact(figure.and_then(|figure| figure.value)));
            let of_earlier = |said: fn(&MetricValue, &str) -> String| {
                move |name: &String| figure.map(|figure| said(figure, name)).unwrap_or_default()
            };
            cells.extend(earlier_percentiles.iter().map(of_earlier(percentile)));
            cells.extend(earlier_shares.iter().map(of_earlier(share)));
            cells.extend(has_histograms.then(|| STANDARD.encode(&value.histogram)));
            writer.write_record(&cells)?;
        }
    }
    text(writer)
}

/// The names of all percentiles and shares that figures have.
fn percentiles_and_shares<'a>(values: impl Iterator<Item = &'a MetricValue> + Clone) -> (Vec<String>, Vec<String>) {
    let percentiles =
        values.clone().map(|value| value.percentiles.iter().map(|p| percentile_name(p.percentile)).collect());
    let shares = values.map(|value| value.shares.iter().map(share_name).collect());
    (union(percentiles), union(shares))
}

/// A percentile of a figure, by its name; empty where there is none.
fn percentile(value: &MetricValue, name: &str) -> String {
    exact(value.percentiles.iter().find(|p| percentile_name(p.percentile) == name).map(|p| p.value))
}

/// The share of a figure's values at or below a bound, by its name.
fn share(value: &MetricValue, name: &str) -> String {
    exact(value.shares.iter().find(|share| share_name(share) == name).map(|share| share.share))
}

/// What was written.
fn text(writer: csv::Writer<Vec<u8>>) -> Result<String, csv::Error> {
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A group in an interval.
    Row,
    /// All other groups in an interval.
    Others,
    /// A group over all intervals.
    GroupTotal,
    /// Everything.
    Total,
}

impl RowKind {
    /// What a row of an answer stands for.
    #[must_use]
    pub fn of(row: &MetricRow) -> Self {
        if row.others { Self::Others } else { Self::Row }
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Others => "others",
            Self::GroupTotal => "group_total",
            Self::Total => "total",
        }
    }
}

/// Every name once, in the order of first appearance.
#[must_use]
pub fn union(lists: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in lists.flatten() {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn share_name(share: &deskpulse_proto::v1::ShareValue) -> String {
    format!("share<={}ms", milliseconds(share))
}

/// What a percentile is called: `p99.9`.
#[must_use]
pub fn percentile_name(percentile: f64) -> String {
    format!("p{percentile}")
}

/// The bound of a share, in milliseconds.
#[must_use]
pub fn milliseconds(share: &ShareValue) -> i64 {
    share.at_most.as_ref().map_or(0, |bound| bound.seconds * 1_000 + i64::from(bound.nanos) / 1_000_000)
}

/// An instant, where it is one.
#[must_use]
pub fn timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// An instant as RFC 3339 has it; empty where there is none.
#[must_use]
pub fn instant(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(timestamp).map(|time| time.to_string()).unwrap_or_default()
}

/// A number in full; empty where there is none.
#[must_use]
pub fn exact<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
