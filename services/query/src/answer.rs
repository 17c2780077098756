//! From partial figures to an answer.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::thread;

use deskpulse_core::fact::Clock;
use deskpulse_core::histogram::{Distribution, RELATIVE_ERROR};
use deskpulse_core::interval::Bucket;
use deskpulse_core::kpi::{Extent, Figure, Unit};
use deskpulse_core::snapshot::{Group, MAX_DISTINCT, MAX_ROWS, Only, Partial, Rows, distinct};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::raw::QueryMetricsResponse;
use deskpulse_proto::v1::{
    self, EarlierFigures, Freshness, GroupValue, MetricRow, MetricValue, PartitionPosition, PercentileValue,
    RunningTarget, ShareValue,
};
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use prost::Message as _;
use prost::bytes::{Bytes, BytesMut};

use crate::query_service::basis_on_the_wire;
use crate::question::{After, Asked, GroupBy, OrderKey, Question, Sheet, Sheets, What};

/// How many rows are worth a thread.
const ROWS_A_THREAD: usize = 500;
/// About how many bytes a row takes, and for how many there is room at once.
const ROW_BYTES: usize = 160;
const ROWS_AT_ONCE: usize = 400;

/// A row before it is put on the wire.
struct Row {
    key: Vec<Key>,
    is_others: bool,
    bucket: u32,
    figures: Vec<Figure>,
    /// The bucket of the earlier period and its figures.
    earlier: Option<(u32, Vec<Figure>)>,
}

/// A group's value, in the order rows are sorted: what is not set comes first, times by number, the rest by alphabet.
#[derive(PartialEq, Eq)]
enum Key {
    /// `None` in totals.
    Time(Option<u8>),
    Text(Option<Arc<str>>),
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Mostly the same, and then it is one text.
            (Self::Text(Some(ours)), Self::Text(Some(theirs))) if Arc::ptr_eq(ours, theirs) => Ordering::Equal,
            (Self::Text(ours), Self::Text(theirs)) => ours.cmp(theirs),
            (Self::Time(ours), Self::Time(theirs)) => ours.cmp(theirs),
            (Self::Time(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Time(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a row is made of: what there is in a bucket, and in the one of the earlier period that it is compared with.
struct Together {
    key: (Group, u32),
    ours: Vec<Partial>,
    theirs: Option<(u32, Vec<Partial>)>,
}

/// What was collected for a sheet.
struct Filled<'a> {
    sheet: &'a Sheet,
    rows: Rows,
}

/// The moment of the data that answers are of.
#[derive(Debug)]
pub(crate) struct Moment {
    /// 0 where it is not kept.
    pub(crate) number: u64,
    pub(crate) positions: Vec<PartitionPosition>,
    /// Everything acknowledged before is counted.
    pub(crate) asked_at: Timestamp,
}

/// Evaluates the formulas over the rows of each of a question's plans.
pub(crate) fn answer(question: &Question, rows: Vec<Rows>, moment: &Moment) -> Result<QueryMetricsResponse, Fault> {
    let mut plans = rows.into_iter();
    let mut of = |sheet| Filled { sheet, rows: plans.next().unwrap_or_default() };
    let [ours, theirs] = [Some(&question.sheets), question.earlier.as_ref()].map(|sheets| {
        sheets.map(|sheets| {
            let Sheets { rows, group_totals, total } = sheets;
            (of(rows), group_totals.as_ref().map(&mut of), total.as_ref().map(&mut of))
        })
    });
    let (rows, group_totals, total) = ours.expect("a question has sheets");
    let (earlier_rows, earlier_group_totals, earlier_total) = match theirs {
        Some((rows, group_totals, total)) => (Some(rows), group_totals, total),
        None => (None, None, None),
    };
    let mut rows = figures(question, rows, earlier_rows, question.fill_gaps)?;
    let total_rows = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    rows.truncate(question.limit.unwrap_or(MAX_ROWS));

    let from = question.page.from();
    let upto = from.saturating_add(question.page.size.unwrap_or(MAX_ROWS)).min(rows.len());
    let is_last = upto == rows.len();
    let rows: Vec<Row> = rows.into_iter().take(upto).skip(from).collect();
    let is_first = from == 0;
    let totals = |sheet: Option<Filled>, earlier| {
        sheet.filter(|_| is_first).map_or_else(|| Ok(Vec::new()), |sheet| figures(question, sheet, earlier, false))
    };
    let mut group_totals = totals(group_totals, earlier_group_totals)?;
    group_totals.sort_by(by_group);
    let total = totals(total, earlier_total)?;

    let sheets = &question.sheets;
    let earlier = question.earlier.as_ref();
    let after = After { moment: moment.number, now: question.now, rows: upto, time_zone: question.time_zone.clone() };
    let may_be_behind = moment.positions.iter().any(|position| position.may_be_behind);
    Ok(QueryMetricsResponse {
        rows: {
            let (ours, theirs) = (buckets(Some(&sheets.rows)), buckets(earlier.map(|earlier| &earlier.rows)));
            on_threads(rows, |rows| encoded(rows.into_iter().map(|row| encode(question, row, ours, theirs))))
        },
        group_totals: {
            let earlier = earlier.and_then(|earlier| earlier.group_totals.as_ref());
            let (ours, theirs) = (buckets(sheets.group_totals.as_ref()), buckets(earlier));
            group_totals.into_iter().map(|row| encode(question, row, ours, theirs)).collect()
        },
        total: {
            let earlier = earlier.and_then(|earlier| earlier.total.as_ref());
            let (ours, theirs) = (buckets(sheets.total.as_ref()), buckets(earlier));
            total.into_iter().map(|row| encode(question, row, ours, theirs)).next_back()
        },
        freshness: Some(Freshness {
            positions: moment.positions.clone(),
            answer_time: Some(timestamp(question.now.millis())),
            complete_until: (!may_be_behind).then(|| timestamp(moment.asked_at.millis())),
        }),
        total_rows,
        next_page_token: if is_last { String::new() } else { question.page.token(&after) },
        time_zone: question.time_zone.clone(),
    })
}

/// The groups that come first, of what was collected for the ranking.
pub(crate) fn top(question: &Question, ranking: &Sheet, rows: Rows) -> Result<Only, Fault> {
    let rows = figures(question, Filled { sheet: ranking, rows }, None, false)?;
    let value = |key: Key| match key {
        Key::Text(value) => Some(value),
        Key::Time(_) => None,
    };
    let group = |row: Row| row.key.into_iter().filter_map(value).collect();
    Ok(Only { groups: rows.into_iter().take(question.top).map(group).collect(), others: question.others })
}

fn buckets(sheet: Option<&Sheet>) -> &[Bucket] {
    sheet.map_or(&[], |sheet| &sheet.buckets)
}

/// The rows of a sheet, in the order of the question, each with what there is of it in the earlier period.
fn figures(
    question: &Question,
    Filled { sheet, rows: mut ours }: Filled,
    earlier: Option<Filled>,
    fill_gaps: bool,
) -> Result<Vec<Row>, Fault> {
    let mut theirs: HashMap<(Group, u32), (u32, Vec<Partial>)> = HashMap::new();
    let other_buckets = buckets(earlier.as_ref().map(|earlier| earlier.sheet));
    if let Some(Filled { sheet: other, rows }) = earlier {
        check_distinct(&rows)?;
        let same = same_numbers(&other.buckets, &sheet.buckets);
        for ((group, bucket), partials) in rows {
            if let Some(Some(ours)) = same.get(bucket as usize) {
                theirs.insert((group, *ours), (bucket, partials));
            }
        }
    }
    for key in theirs.keys() {
        ours.entry(key.clone()).or_default();
    }
    if sheet.is_one_row {
        ours.entry((Group::default(), 0)).or_default();
    }
    if fill_gaps {
        fill(&mut ours, sheet, question)?;
    }
    check_distinct(&ours)?;
    if ours.len() > MAX_ROWS {
        let message = format!(
            "the answer has {} rows, the limit is {MAX_ROWS}: ask for fewer groups, longer intervals or a shorter range",
            ours.len()
        );
        return Err(Fault::new(Reason::TooManyRows, message));
    }
    let parts: Vec<usize> = question.metrics.iter().map(|asked| asked.formula.parts(&asked.options).len()).collect();
    let dimensions = question.group_by.iter().filter(|grouping| grouping.dimension().is_some()).count();
    let row = |Together { key: (group, bucket), ours, theirs }: Together| {
        let earlier = theirs.map(|(bucket, partials)| {
            (bucket, evaluate(question, &parts, other_buckets.get(bucket as usize), &partials))
        });
        let figures = evaluate(question, &parts, sheet.buckets.get(bucket as usize), &ours);
        let is_others = sheet.has_groups && dimensions > 0 && group.is_empty();
        Row { key: row_key(question, sheet, &group, bucket), is_others, bucket, figures, earlier }
    };
    let together = ours.into_iter().map(|(key, ours)| {
        let theirs = if theirs.is_empty() { None } else { theirs.remove(&key) };
        Together { key, ours, theirs }
    });
    let in_order = |rows: Vec<Together>| {
        let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
        rows.sort_by(|a, b| by_order(question, a, b));
        rows
    };
    let mut rows = on_threads(together.collect(), in_order);
    // Parts that are in order are merged.
    rows.sort_by(|a, b| by_order(question, a, b));
    Ok(rows)
}

/// What becomes of a list, of which threads work on a part each where it is long. They are those that no other answer has just then: all
/// together there are as many as processors, but for those that ask.
fn on_threads<T: Send, R: Send>(list: Vec<T>, work: impl Fn(Vec<T>) -> Vec<R> + Sync) -> Vec<R> {
    static FREE: LazyLock<AtomicUsize> =
        LazyLock::new(|| AtomicUsize::new(thread::available_parallelism().map_or(0, |cores| cores.get() - 1)));
    let wanted = (list.len() / ROWS_A_THREAD).saturating_sub(1);
    let take = |free: usize| (wanted > 0).then(|| free - free.min(wanted));
    let others = FREE.fetch_update(Relaxed, Relaxed, take).map_or(0, |free| free.min(wanted));
    let _given_back = Taken(&FREE, others);
    in_parts(list, others + 1, &work)
}

/// Threads that others may have again when this is dropped.
struct Taken<'a>(&'a AtomicUsize, usize);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(self.1, Relaxed);
    }
}

/// The same on so many threads, of which this is one.
fn in_parts<T: Send, R: Send>(mut list: Vec<T>, threads: usize, work: &(impl Fn(Vec<T>) -> Vec<R> + Sync)) -> Vec<R> {
    let each = list.len().div_ceil(threads);
    thread::scope(|scope| {
        let from = |part: usize| (each * part).min(list.len());
        let froms: Vec<usize> = (1..threads).map(from).collect();
        let mut parts: Vec<Vec<T>> = froms.into_iter().rev().map(|from| list.split_off(from)).collect();
        parts.reverse();
        let others: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || work(part))).collect();
        let mut done = work(list);
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    })
}

/// For each of some buckets the other one with the same time parts in the interval of the same number.
fn same_numbers(buckets: &[Bucket], others: &[Bucket]) -> Vec<Option<u32>> {
    let numbered = |buckets: &[Bucket]| {
        let (mut number, mut start_ms) = (0, None);
        let number = |bucket: &Bucket| {
            number += u32::from(start_ms.replace(bucket.start_ms).is_some_and(|before| before != bucket.start_ms));
            (number, bucket.parts.clone())
        };
        buckets.iter().map(number).collect::<Vec<_>>()
    };
    let others: HashMap<_, u32> = numbered(others).into_iter().zip(0..).collect();
    numbered(buckets).iter().map(|number| others.get(number).copied()).collect()
}

/// Gives every group a row in every bucket.
fn fill(rows: &mut Rows, sheet: &Sheet, question: &Question) -> Result<(), Fault> {
    let mut groups: HashSet<Group> = rows.keys().map(|(group, _)| group.clone()).collect();
    if question.group_by.iter().all(|grouping| grouping.dimension().is_none()) {
        groups.insert(Group::default());
    }
    let count = groups.len().saturating_mul(sheet.buckets.len());
    if count > MAX_ROWS {
        let message = format!(
            "the answer has {count} rows with its gaps filled, the limit is {MAX_ROWS}: ask for fewer groups, longer intervals or a \
             shorter range, or leave the gaps"
        );
        return Err(Fault::in_field(Reason::TooManyRows, "fill_gaps", message));
    }
    for group in groups {
        for bucket in (0..).take(sheet.buckets.len()) {
            rows.entry((group.clone(), bucket)).or_default();
        }
    }
    Ok(())
}

fn check_distinct(rows: &Rows) -> Result<(), Fault> {
    let distinct = distinct(rows);
    if distinct <= MAX_DISTINCT {
        return Ok(());
    }
    let message = format!("there are {distinct} distinct values to count, the limit is {MAX_DISTINCT}: ask for less");
    Err(Fault::new(Reason::TooManyRows, message))
}

/// The figures of all metrics; `parts` says of how many partial figures each is made.
fn evaluate(question: &Question, parts: &[usize], bucket: Option<&Bucket>, partials: &[Partial]) -> Vec<Figure> {
    let extent = bucket.map(|bucket| Extent { start_ms: bucket.start_ms, end_ms: bucket.end_ms }).unwrap_or_default();
    let mut from = 0;
    let of_metric = question.metrics.iter().zip(parts).map(|(asked, parts)| {
        let of_metric = partials.get(from..from + parts).unwrap_or_default();
        from += parts;
        asked.formula.evaluate(&asked.options, of_metric, extent)
    });
    of_metric.collect()
}

fn row_key(question: &Question, sheet: &Sheet, group: &Group, bucket: u32) -> Vec<Key> {
    let mut values = group.iter().cloned();
    let mut parts = sheet.buckets.get(bucket as usize).map(|bucket| bucket.parts.iter().copied());
    let key = |grouping: &GroupBy| match grouping {
        GroupBy::Dimension(_) => Key::Text(values.next().flatten()),
        GroupBy::Time(_) => Key::Time(parts.as_mut().and_then(Iterator::next)),
    };
    question.group_by.iter().map(key).collect()
}

/// By the keys of the question, then by group and time. The others come last.
fn by_order(question: &Question, a: &Row, b: &Row) -> Ordering {
    let figure = |row: &Row, metric: usize, what: What| row.figures.get(metric).and_then(|figure| what.of(figure));
    let keys = question.order.keys().iter().map(|(key, descending)| {
        let directed = |ordering: Ordering| if *descending { ordering.reverse() } else { ordering };
        match *key {
            OrderKey::Group => directed(a.key.cmp(&b.key)),
            OrderKey::Time => directed(a.bucket.cmp(&b.bucket)),
            OrderKey::Figure(metric, what) => match (figure(a, metric, what), figure(b, metric, what)) {
                (Some(a), Some(b)) => directed(a.total_cmp(&b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        }
    });
    let first = keys.fold(a.is_others.cmp(&b.is_others), Ordering::then);
    first.then_with(|| by_group(a, b))
}

fn by_group(a: &Row, b: &Row) -> Ordering {
    a.is_others.cmp(&b.is_others).then_with(|| a.key.cmp(&b.key)).then_with(|| a.bucket.cmp(&b.bucket))
}

/// Rows as they lie in the message around them, many in one piece of memory.
fn encoded(rows: impl ExactSizeIterator<Item = MetricRow>) -> Vec<Bytes> {
    let mut bytes = BytesMut::with_capacity(rows.len().min(ROWS_AT_ONCE) * ROW_BYTES);
    let encoded = rows.map(|row| {
        row.encode(&mut bytes).expect("it grows");
        bytes.split().freeze()
    });
    encoded.collect()
}

/// A row as it was before it was encoded.
pub(crate) fn row_of(encoded: &[u8]) -> MetricRow {
    MetricRow::decode(encoded).expect("it was encoded here")
}

/// An answer with its rows decoded.
pub(crate) fn decoded(answer: &[u8]) -> v1::QueryMetricsResponse {
    v1::QueryMetricsResponse::decode(answer).expect("it was encoded here")
}

fn encode(question: &Question, row: Row, buckets: &[Bucket], earlier_buckets: &[Bucket]) -> MetricRow {
    let values = |figures: &[Figure], bucket: Option<&Bucket>| {
        question.metrics.iter().zip(figures).map(|(asked, figure)| value(asked, figure, bucket)).collect()
    };
    let bucket = buckets.get(row.bucket as usize);
    let start = bucket.filter(|_| question.has_start).map(|bucket| timestamp(bucket.start_ms));
    MetricRow {
        group: row
            .key
            .into_iter()
            .map(|key| match key {
                Key::Time(number) => GroupValue { value: number.map(|number| number.to_string()) },
                Key::Text(value) => GroupValue { value: value.as_deref().map(str::to_owned) },
            })
            .collect(),
        interval_start: start,
        interval_end: bucket.map(|bucket| timestamp(bucket.end_ms)),
        values: values(&row.figures, bucket),
        others: row.is_others,
        earlier: row.earlier.map(|(bucket, figures)| {
            let bucket = earlier_buckets.get(bucket as usize);
            EarlierFigures {
                interval_start: bucket.map(|bucket| timestamp(bucket.start_ms)),
                interval_end: bucket.map(|bucket| timestamp(bucket.end_ms)),
                values: values(&figures, bucket),
            }
        }),
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
        histogram: figure.distribution.as_deref().map(histogram).unwrap_or_default(),
    }
}

/// In the V2 encoding of all `HdrHistogram` libraries.
fn histogram(distribution: &Distribution) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = V2Serializer::new().serialize(&distribution.to_hdrhistogram(), &mut bytes);
    written.expect("memory takes it, and counts of facts are below 2^63");
    bytes
}

/// The clock an answer is on.
pub(crate) fn clock(asked: &Asked) -> v1::Clock {
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
pub(crate) fn timestamp(ms: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos: ms.rem_euclid(1_000) as i32 * 1_000_000 }
}

fn duration(ms: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: ms / 1_000, nanos: (ms % 1_000) as i32 * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_make_of_a_list_is_in_its_order() {
        let twice = |part: Vec<usize>| part.into_iter().map(|number| 2 * number).collect();
        for length in [0, 1, 2, 5, 7, 1_000, 50 * ROWS_A_THREAD + 7] {
            let expected: Vec<usize> = (0..length).map(|number| 2 * number).collect();
            for threads in [1, 2, 3, 7] {
                assert_eq!(in_parts((0..length).collect(), threads, &twice), expected, "on {threads} threads");
            }
            // Many at once, of which few get a thread.
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(on_threads((0..length).collect(), twice), expected));
                }
            });
        }
    }
}
