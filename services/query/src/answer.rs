//! From partial figures to an answer.

use std::cmp::Ordering;
use std::collections::HashMap;

use deskpulse_core::fact::Clock;
use deskpulse_core::histogram::RELATIVE_ERROR;
use deskpulse_core::interval::Bucket;
use deskpulse_core::kpi::{Extent, Figure, Unit};
use deskpulse_core::snapshot::{Group, MAX_DISTINCT, MAX_ROWS, Partial};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::{
    self, CollectResponse, Freshness, GroupValue, MetricRow, MetricValue, PercentileValue, QueryMetricsResponse,
    RunningTarget, ShareValue,
};

use crate::query_service::basis_on_the_wire;
use crate::question::{Asked, GroupBy, Order, Question};

/// A row before it is put on the wire.
struct Row {
    key: Vec<Key>,
    bucket: u32,
    figures: Vec<Figure>,
}

/// A group's value, in the order rows are sorted: what is not set comes first, times by number, the rest by alphabet.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Time(u8),
    Text(Option<String>),
}

/// Merges what aggregation collected and evaluates the formulas.
pub(crate) fn answer(
    question: &Question,
    collected: CollectResponse,
    now: Timestamp,
) -> Result<QueryMetricsResponse, Fault> {
    let mut merged: HashMap<(Group, u32), Vec<Partial>> = HashMap::new();
    for row in collected.rows {
        let group: Group = row.group.into_iter().map(|value| value.value).collect();
        let partials: Vec<Partial> = row.partials.into_iter().map(decode).collect();
        merged
            .entry((group, row.bucket))
            .and_modify(|known| known.iter_mut().zip(&partials).for_each(|(ours, theirs)| ours.merge(theirs)))
            .or_insert(partials);
    }
    if merged.is_empty() && question.group_by.is_empty() && !question.has_intervals {
        merged.insert((Group::new(), 0), Vec::new());
    }
    let distinct: usize = merged.values().flatten().map(|partial| partial.distinct.len()).sum();
    if distinct > MAX_DISTINCT {
        let message =
            format!("there are {distinct} distinct values to count, the limit is {MAX_DISTINCT}: ask for less");
        return Err(Fault::new(Reason::TooManyRows, message));
    }
    let mut rows: Vec<Row> = merged
        .into_iter()
        .map(|((group, bucket), partials)| Row {
            key: key(question, group, bucket),
            bucket,
            figures: evaluate(question, bucket, &partials),
        })
        .collect();
    if rows.len() > MAX_ROWS {
        let message = format!("the answer has {} rows, the limit is {MAX_ROWS}: narrow the question", rows.len());
        return Err(Fault::new(Reason::TooManyRows, message));
    }
    rows.sort_by(|a, b| {
        by_figure(question.order, a, b).then_with(|| a.key.cmp(&b.key)).then_with(|| a.bucket.cmp(&b.bucket))
    });
    let total_rows = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    rows.truncate(question.limit.unwrap_or(MAX_ROWS));
    Ok(QueryMetricsResponse {
        rows: rows.into_iter().map(|row| encode(question, row)).collect(),
        freshness: Some(Freshness { positions: collected.positions, answer_time: Some(timestamp(now.millis())) }),
        total_rows,
    })
}

fn decode(partial: v1::Partial) -> Partial {
    let mut decoded = Partial {
        count: partial.count,
        at_most: partial.at_most,
        oldest: (!partial.oldest.is_empty()).then(|| partial.oldest.into()),
        distinct: partial.distinct.into_iter().collect(),
        next: partial.next.into_iter().map(|next| (next.value, next.subject.into())).collect(),
        ..Partial::default()
    };
    let values = partial.histogram_counts.iter().sum();
    let buckets = partial.histogram_index_deltas.iter().scan(0u32, |bucket, delta| {
        *bucket = bucket.saturating_add(*delta);
        Some(*bucket)
    });
    let range = partial.min.zip(partial.max);
    let sum = (i128::from(partial.sum_high) << 62) + i128::from(partial.sum);
    decoded.distribution.merge_parts(values, sum, range, buckets.zip(partial.histogram_counts));
    decoded
}

fn evaluate(question: &Question, bucket: u32, partials: &[Partial]) -> Vec<Figure> {
    let bucket = question.buckets.get(bucket as usize);
    let extent = bucket.map(|bucket| Extent { start_ms: bucket.start_ms, end_ms: bucket.end_ms }).unwrap_or_default();
    let mut from = 0;
    question
        .metrics
        .iter()
        .map(|asked| {
            let parts = asked.formula.parts(&asked.options).len();
            let of_metric = partials.get(from..from + parts).unwrap_or_default();
            from += parts;
            asked.formula.evaluate(&asked.options, of_metric, extent)
        })
        .collect()
}

fn key(question: &Question, group: Group, bucket: u32) -> Vec<Key> {
    let mut values = group.into_iter();
    let mut parts = question.buckets.get(bucket as usize).map(|bucket| bucket.parts.iter().copied());
    question
        .group_by
        .iter()
        .map(|grouping| match grouping {
            GroupBy::Dimension(_) => Key::Text(values.next().flatten()),
            GroupBy::Time(_) => Key::Time(parts.as_mut().and_then(Iterator::next).unwrap_or_default()),
        })
        .collect()
}

/// Rows by a figure of the first metric; those without a value come last either way.
fn by_figure(order: Order, a: &Row, b: &Row) -> Ordering {
    let first = |row: &Row| row.figures.first().cloned().unwrap_or_default();
    let directed = |ordering: Ordering, descending| if descending { ordering.reverse() } else { ordering };
    match order {
        Order::GroupThenTime => Ordering::Equal,
        Order::Count { descending } => directed(first(a).count.cmp(&first(b).count), descending),
        Order::Value { descending } => match (first(a).value, first(b).value) {
            (Some(a), Some(b)) => directed(a.total_cmp(&b), descending),
            (a, b) => b.is_some().cmp(&a.is_some()),
        },
    }
}

fn encode(question: &Question, row: Row) -> MetricRow {
    let bucket = question.buckets.get(row.bucket as usize);
    let start = bucket.filter(|_| question.has_start).map(|bucket| timestamp(bucket.start_ms));
    MetricRow {
        group: row
            .key
            .into_iter()
            .map(|key| match key {
                Key::Time(number) => GroupValue { value: Some(number.to_string()) },
                Key::Text(value) => GroupValue { value },
            })
            .collect(),
        interval_start: start,
        interval_end: bucket.map(|bucket| timestamp(bucket.end_ms)),
        values: question.metrics.iter().zip(&row.figures).map(|(asked, figure)| value(asked, figure, bucket)).collect(),
    }
}

fn value(asked: &Asked, figure: &Figure, bucket: Option<&Bucket>) -> MetricValue {
    let window_ms = asked.formula.provisional_for_ms();
    let provisional =
        window_ms.zip(bucket).is_some_and(|(window_ms, bucket)| bucket.end_ms + window_ms > asked.options.now_ms);
    let percentiles = asked.options.percentiles.iter().zip(&figure.percentiles);
    let shares = asked.options.at_most.iter().zip(&figure.at_most);
    let has_samples = figure.count > 0;
    let conversation = figure.conversation.as_ref().or(figure.next.first().map(|(_, conversation)| conversation));
    MetricValue {
        metric: asked.metric.name.to_owned(),
        basis: basis_on_the_wire(asked.basis).into(),
        unit: unit(asked.metric.unit).into(),
        count: figure.count,
        value: figure.value,
        numerator: figure.fraction.and_then(|(numerator, _)| i64::try_from(numerator).ok()),
        denominator: figure.fraction.and_then(|(_, denominator)| i64::try_from(denominator).ok()),
        sum: figure.extent.and_then(|(sum, _, _)| i64::try_from(sum).ok()),
        min: figure.extent.map(|(_, min, _)| min),
        max: figure.extent.map(|(_, _, max)| max),
        percentile_relative_error: if figure.percentiles.is_empty() { 0.0 } else { RELATIVE_ERROR },
        percentiles: percentiles
            .map(|(wanted, value)| PercentileValue { percentile: wanted.percent(), value: *value as f64 })
            .collect(),
        shares: shares
            .filter(|_| has_samples)
            .map(|(bound, count)| ShareValue {
                at_most: Some(duration(*bound)),
                count: *count,
                share: *count as f64 / figure.count as f64,
            })
            .collect(),
        pending: figure.pending,
        provisional,
        conversation: conversation.map(ToString::to_string).unwrap_or_default(),
        clock: clock(asked).into(),
        variant: asked.variant.clone(),
        deadline: figure.next.first().map(|(deadline_ms, _)| timestamp(*deadline_ms)),
        running_targets: figure
            .next
            .iter()
            .map(|(deadline_ms, conversation)| RunningTarget {
                conversation: conversation.to_string(),
                deadline: Some(timestamp(*deadline_ms)),
            })
            .collect(),
    }
}

fn clock(asked: &Asked) -> v1::Clock {
    match asked.options.clock {
        _ if !asked.metric.has_business_clock() => v1::Clock::Unspecified,
        Clock::Calendar => v1::Clock::Calendar,
        Clock::Business => v1::Clock::Business,
    }
}

/// The wire's word for a unit.
pub(crate) fn unit(unit: Unit) -> v1::Unit {
    match unit {
        Unit::Count => v1::Unit::Count,
        Unit::Milliseconds => v1::Unit::Milliseconds,
        Unit::Ratio => v1::Unit::Ratio,
        Unit::Score => v1::Unit::Score,
        Unit::Micros => v1::Unit::Micros,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than 1,000 milliseconds are less than 10^9 nanoseconds")]
fn timestamp(ms: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos: ms.rem_euclid(1_000) as i32 * 1_000_000 }
}

fn duration(ms: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 }
}
