//! From partial figures to an answer.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use deskpulse_core::fact::Clock;
use deskpulse_core::histogram::{Distribution, RELATIVE_ERROR};
use deskpulse_core::interval::Bucket;
use deskpulse_core::kpi::{Extent, Figure, Unit};
use deskpulse_core::snapshot::{self, Group, MAX_DISTINCT, MAX_ROWS, Only, Partial, distinct};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::raw::{BesideRows, QueryMetricsResponse, put_row};
use deskpulse_proto::v1::{
    self, EarlierFigures, Freshness, GroupValue, MetricRow, MetricValue, PartitionPosition, PercentileValue,
    RunningTarget, ShareValue,
};
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use prost::Message as _;
use prost::bytes::Bytes;

use crate::query_service::{MAX_ANSWER, basis_on_the_wire, too_long};
use crate::question::{After, Asked, GroupBy, OrderKey, Question, RowsWanted, Sheet, Sheets, What};

/// About how many bytes a row takes.
const ROW_BYTES: usize = 160;

/// A row before it is put on the wire.
#[derive(Debug)]
struct Row {
    group: Group,
    is_others: bool,
    bucket: u32,
    /// None where the row was put on the wire and is not sorted by them.
    figures: Vec<Figure>,
    earlier: Option<Box<Earlier>>,
}

/// A bucket of the earlier period, and the figures in it.
type Earlier = (u32, Vec<Figure>);

/// Some rows of a sheet, worked out by who collected them, in the order of the question.
#[derive(Debug, Default)]
pub struct Piece {
    rows: Vec<Row>,
    /// They, where they are going to be answered as they are.
    on_the_wire: Option<Encoded>,
    /// How many there are, worked out or too many for that.
    count: usize,
    /// How many distinct values these are made of.
    distinct: usize,
}

/// Rows as they lie in an answer, one after the other.
#[derive(Debug, Default)]
struct Encoded {
    bytes: Bytes,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Encoded {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn of(&self, rows: Range<usize>) -> Bytes {
        let end = |rows: usize| rows.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.bytes.slice(end(rows.start)..end(rows.end))
    }
}

/// Rows of a piece, by its number, that nothing of others comes between.
#[derive(Debug, PartialEq, Eq)]
struct Stretch {
    piece: usize,
    rows: Range<usize>,
}

impl Piece {
    /// How many rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether they have been put on the wire, as they are going to be answered.
    pub(crate) fn is_on_the_wire(&self) -> bool {
        self.on_the_wire.is_some()
    }
}

/// All that was worked out of a sheet.
struct Filled<'a> {
    sheet: &'a Sheet,
    pieces: Vec<Piece>,
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

/// Evaluates the formulas over some rows of one of a question's sheets, which nobody else has, and puts them on the wire where they are to be
/// answered as they are.
pub(crate) fn work_out(question: &Question, sheet: &Sheet, wanted: RowsWanted, collected: Vec<snapshot::Row>) -> Piece {
    let (count, distinct) = (collected.len(), distinct(collected.iter().map(|(_, partials)| partials)));
    if count > MAX_ROWS || distinct > MAX_DISTINCT {
        return Piece { count, distinct, ..Piece::default() };
    }
    let evaluate = Evaluate::of(question, sheet);
    let mut rows: Vec<Row> =
        collected.into_iter().map(|((group, bucket), partials)| evaluate.row(group, bucket, &partials)).collect();
    if let RowsWanted::First(first) = wanted
        && first < count
    {
        rows.select_nth_unstable_by(first, |a, b| by_order(question, sheet, a, b));
        rows.truncate(first);
    }
    rows.sort_by(|a, b| by_order(question, sheet, a, b));
    let on_the_wire = (wanted == RowsWanted::AsTheyAre).then(|| {
        let mut wire = Wire::new(question, sheet, None, count);
        for row in &mut rows {
            wire.put(row);
            if wire.is_too_long() {
                break;
            }
            if !question.order.has_figures() {
                row.figures = Vec::new();
            }
        }
        wire.encoded()
    });
    Piece { rows, on_the_wire, count, distinct }
}

/// Makes an answer of what was worked out of each of a question's sheets; and how many rows it has, those of groups' totals included.
pub(crate) fn answer(
    question: &Question,
    pieces: Vec<Vec<Piece>>,
    moment: &Moment,
) -> Result<(QueryMetricsResponse, usize), Fault> {
    let mut pieces = pieces.into_iter();
    let mut of = |sheet| Filled { sheet, pieces: pieces.next().unwrap_or_default() };
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
    let pieces = together(question, rows, earlier_rows, question.fill_gaps)?;
    let total_rows = count(&pieces).min(question.most.unwrap_or(MAX_ROWS));
    let limit = question.limit.unwrap_or(MAX_ROWS).min(total_rows);

    let from = question.page.from().min(limit);
    let upto = from.saturating_add(question.page.size.unwrap_or(MAX_ROWS)).min(limit);
    let is_last = upto == limit;
    let is_first = from == 0;
    let totals = |sheet: Option<Filled>, earlier| {
        let Some(sheet) = sheet.filter(|_| is_first) else { return Ok(Vec::new()) };
        let pieces = together(question, sheet, earlier, false)?;
        Ok::<Vec<Row>, Fault>(pieces.into_iter().flat_map(|piece| piece.rows).collect())
    };
    let mut group_totals = totals(group_totals, earlier_group_totals)?;
    let total = totals(total, earlier_total)?;

    let sheets = &question.sheets;
    let earlier = question.earlier.as_ref();
    if let Some(sheet) = &sheets.group_totals {
        group_totals.sort_by(|a, b| by_group(question, sheet, a, b));
    }
    let after = After { moment: moment.number, now: question.now, rows: upto, time_zone: question.time_zone.clone() };
    let may_be_behind = moment.positions.iter().any(|position| position.may_be_behind);
    let order = in_order(&pieces, |a, b| by_order(question, &sheets.rows, a, b));
    let page = within(&order, from..upto);
    let left = page.iter().filter(|stretch| !pieces[stretch.piece].is_on_the_wire());
    let count = left.clone().map(|stretch| stretch.rows.len()).sum();
    let mut wire = Wire::new(question, &sheets.rows, earlier.map(|earlier| &earlier.rows), count);
    for row in rows_of(&pieces, left) {
        wire.put(row);
        if wire.is_too_long() {
            break;
        }
    }
    let (left, mut next) = (wire.encoded(), 0);
    let bytes =
        pieces.iter().filter_map(|piece| piece.on_the_wire.as_ref()).map(Encoded::len).sum::<usize>() + left.len();
    if bytes > MAX_ANSWER {
        return Err(too_long(bytes));
    }
    let rows = page.iter().map(|Stretch { piece, rows }| {
        if let Some(encoded) = &pieces[*piece].on_the_wire {
            return encoded.of(rows.clone());
        }
        next += rows.len();
        left.of(next - rows.len()..next)
    });
    let rows = rows.collect();
    let messages = |rows: &[Row], sheet: fn(&Sheets) -> Option<&Sheet>| {
        let Some(ours) = sheet(sheets) else { return Vec::new() };
        let mut wire = Wire::new(question, ours, earlier.and_then(sheet), 0);
        rows.iter().map(|row| wire.message(row).clone()).collect()
    };
    let count = upto - from + group_totals.len();
    let rest = BesideRows {
        group_totals: messages(&group_totals, |sheets| sheets.group_totals.as_ref()),
        total: messages(&total, |sheets| sheets.total.as_ref()).pop(),
        freshness: Some(Freshness {
            positions: moment.positions.clone(),
            answer_time: Some(timestamp(question.now.millis())),
            complete_until: (!may_be_behind).then(|| timestamp(moment.asked_at.millis())),
        }),
        total_rows: u32::try_from(total_rows).unwrap_or(u32::MAX),
        next_page_token: if is_last { String::new() } else { question.page.token(&after) },
        time_zone: question.time_zone.clone(),
    };
    Ok((QueryMetricsResponse { rows, rest }, count))
}

/// The groups that come first, of what was collected for the ranking.
pub(crate) fn top(question: &Question, ranking: &Sheet, pieces: Vec<Piece>) -> Result<Only, Fault> {
    let pieces = together(question, Filled { sheet: ranking, pieces }, None, false)?;
    let order = in_order(&pieces, |a, b| by_order(question, ranking, a, b));
    let groups = rows_of(&pieces, &order).take(question.top).map(|row| Arc::clone(&row.group)).collect();
    Ok(Only { groups, others: question.others })
}

/// The rows of a sheet, each with what there is of it in the earlier period, in pieces that are in the order of the question.
fn together(
    question: &Question,
    Filled { sheet, mut pieces }: Filled,
    earlier: Option<Filled>,
    fill_gaps: bool,
) -> Result<Vec<Piece>, Fault> {
    check_pieces(&pieces)?;
    let mut more: Vec<Row> = Vec::new();
    let evaluate = Evaluate::of(question, sheet);
    let missing = |group, bucket| evaluate.row(group, bucket, &[]);
    let mut before = None;
    if let Some(Filled { sheet: other, pieces: others }) = earlier {
        let same = same_numbers(&other.buckets, &sheet.buckets);
        let mut theirs: HashMap<(Group, u32), Box<Earlier>> = HashMap::new();
        check_pieces(&others)?;
        for Row { group, bucket, figures, .. } in others.into_iter().flat_map(|piece| piece.rows) {
            if let Some(Some(ours)) = same.get(bucket as usize) {
                theirs.insert((group, *ours), Box::new((bucket, figures)));
            }
        }
        for row in pieces.iter_mut().flat_map(|piece| &mut piece.rows) {
            row.earlier = theirs.remove(&(Arc::clone(&row.group), row.bucket));
        }
        let only_theirs = theirs.into_iter();
        more.extend(
            only_theirs.map(|((group, bucket), earlier)| Row { earlier: Some(earlier), ..missing(group, bucket) }),
        );
        let mut there: HashMap<u32, u32> = HashMap::new();
        there.extend((0..).zip(&same).filter_map(|(theirs, ours)| Some(((*ours)?, theirs))));
        before = Some((Evaluate::of(question, other), there));
    }
    if sheet.is_one_row && count(&pieces) + more.len() == 0 {
        more.push(missing(Group::default(), 0));
    }
    if fill_gaps {
        let rows = pieces.iter().flat_map(|piece| &piece.rows).chain(&more);
        let gaps = gaps(rows, sheet, question)?;
        more.extend(gaps.into_iter().map(|(group, bucket)| missing(group, bucket)));
    }
    if let Some((evaluate, there)) = before {
        // Where nothing happened then, that is what there is of it.
        let rows = pieces.iter_mut().flat_map(|piece| &mut piece.rows).chain(&mut more);
        for row in rows.filter(|row| row.earlier.is_none()) {
            let nothing = |bucket: &u32| (*bucket, evaluate.row(Arc::clone(&row.group), *bucket, &[]).figures);
            row.earlier = there.get(&row.bucket).map(nothing).map(Box::new);
        }
    }
    more.sort_by(|a, b| by_order(question, sheet, a, b));
    pieces.push(Piece { count: more.len(), rows: more, ..Piece::default() });
    check_count(count(&pieces))?;
    Ok(pieces)
}

/// How many rows pieces have.
fn count(pieces: &[Piece]) -> usize {
    pieces.iter().map(Piece::count).sum()
}

/// The rows of pieces, each of which is in order, in the order of all.
fn in_order(pieces: &[Piece], by: impl Fn(&Row, &Row) -> Ordering) -> Vec<Stretch> {
    let filled = pieces.iter().enumerate().filter(|(_, piece)| !piece.rows.is_empty());
    let mut lists: Vec<Vec<Stretch>> =
        filled.map(|(number, piece)| vec![Stretch { piece: number, rows: 0..piece.rows.len() }]).collect();
    while lists.len() > 1 {
        let mut pairs = lists.into_iter();
        lists = std::iter::from_fn(|| {
            let one = pairs.next()?;
            Some(match pairs.next() {
                Some(other) => merged(pieces, one, other, &by),
                None => one,
            })
        })
        .collect();
    }
    lists.pop().unwrap_or_default()
}

/// The rows of two lists, each of which is in order, in one.
fn merged(
    pieces: &[Piece],
    one: Vec<Stretch>,
    other: Vec<Stretch>,
    by: impl Fn(&Row, &Row) -> Ordering,
) -> Vec<Stretch> {
    let mut merged = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    // Now one goes on, up to where the other one does, now the other.
    while let Some((Stretch { piece, rows }, next)) = one.peek_mut().zip(other.peek()) {
        let next = &pieces[next.piece].rows[next.rows.start];
        let before = leading(&pieces[*piece].rows[rows.clone()], |row| by(row, next).is_le());
        let upto = rows.start + before;
        if before > 0 {
            merged.push(Stretch { piece: *piece, rows: rows.start..upto });
        }
        rows.start = upto;
        if rows.start == rows.end {
            one.next();
        } else {
            std::mem::swap(&mut one, &mut other);
        }
    }
    merged.extend(one.chain(other));
    merged
}

/// How many of some rows, the first ones, are such: mostly few, or all.
fn leading(rows: &[Row], is_such: impl Fn(&Row) -> bool) -> usize {
    let mut beyond = 1;
    while rows.get(beyond - 1).is_some_and(&is_such) {
        beyond *= 2;
    }
    let known = beyond / 2;
    known + rows[known..rows.len().min(beyond)].partition_point(is_such)
}

/// Some of all rows, by their numbers in that order.
fn within(order: &[Stretch], numbers: Range<usize>) -> Vec<Stretch> {
    let mut next = 0;
    let part = |Stretch { piece, rows }: &Stretch| {
        let first = next;
        next += rows.len();
        let place = |number: usize| rows.start + number.clamp(first, next) - first;
        Stretch { piece: *piece, rows: place(numbers.start)..place(numbers.end) }
    };
    order.iter().map(part).filter(|stretch| !stretch.rows.is_empty()).collect()
}

/// The rows of stretches.
fn rows_of<'a>(pieces: &'a [Piece], stretches: impl IntoIterator<Item = &'a Stretch>) -> impl Iterator<Item = &'a Row> {
    stretches.into_iter().flat_map(|Stretch { piece, rows }| &pieces[*piece].rows[rows.clone()])
}

/// Checks that pieces have not too much.
fn check_pieces(pieces: &[Piece]) -> Result<(), Fault> {
    let distinct: usize = pieces.iter().map(|piece| piece.distinct).sum();
    if distinct > MAX_DISTINCT {
        let message =
            format!("there are {distinct} distinct values to count, the limit is {MAX_DISTINCT}: ask for less");
        return Err(Fault::new(Reason::TooManyRows, message));
    }
    check_count(count(pieces))
}

fn check_count(count: usize) -> Result<(), Fault> {
    if count <= MAX_ROWS {
        return Ok(());
    }
    let message = format!(
        "the answer has {count} rows, the limit is {MAX_ROWS}: ask for fewer groups, longer intervals or a shorter range"
    );
    Err(Fault::new(Reason::TooManyRows, message))
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

/// The buckets in which groups have no row.
fn gaps<'a>(
    rows: impl Iterator<Item = &'a Row>,
    sheet: &Sheet,
    question: &Question,
) -> Result<Vec<(Group, u32)>, Fault> {
    let known: HashSet<(Group, u32)> = rows.map(|row| (Arc::clone(&row.group), row.bucket)).collect();
    let mut groups: HashSet<Group> = known.iter().map(|(group, _)| Arc::clone(group)).collect();
    if question.group_by.iter().all(|grouping| grouping.dimension().is_none()) {
        groups.insert(Group::default());
    }
    let buckets = sheet.buckets.len();
    let count = groups.len().saturating_mul(buckets);
    if count > MAX_ROWS {
        let message = format!(
            "the answer has {count} rows with its gaps filled, the limit is {MAX_ROWS}: ask for fewer groups, longer intervals or a \
             shorter range, or leave the gaps"
        );
        return Err(Fault::in_field(Reason::TooManyRows, "fill_gaps", message));
    }
    let of_group = move |group: Group| (0..).take(buckets).map(move |bucket| (Arc::clone(&group), bucket));
    Ok(groups.into_iter().flat_map(of_group).filter(|row| !known.contains(row)).collect())
}

/// Evaluates the formulas of all metrics over the rows of a sheet.
struct Evaluate<'a> {
    question: &'a Question,
    sheet: &'a Sheet,
    /// Of how many partial figures each metric is made.
    parts: Vec<usize>,
    has_dimensions: bool,
}

impl<'a> Evaluate<'a> {
    fn of(question: &'a Question, sheet: &'a Sheet) -> Self {
        Self {
            question,
            sheet,
            parts: question.metrics.iter().map(|asked| asked.formula.parts(&asked.options).len()).collect(),
            has_dimensions: question.group_by.iter().any(|grouping| grouping.dimension().is_some()),
        }
    }

    fn row(&self, group: Group, bucket: u32, partials: &[Partial]) -> Row {
        let extent = self.sheet.buckets.get(bucket as usize);
        let extent =
            extent.map(|bucket| Extent { start_ms: bucket.start_ms, end_ms: bucket.end_ms }).unwrap_or_default();
        let mut from = 0;
        let of_metric = self.question.metrics.iter().zip(&self.parts).map(|(asked, parts)| {
            let of_metric = partials.get(from..from + parts).unwrap_or_default();
            from += parts;
            asked.formula.evaluate(&asked.options, of_metric, extent)
        });
        let figures = of_metric.collect();
        let is_others = self.sheet.has_groups && self.has_dimensions && group.is_empty();
        Row { group, is_others, bucket, figures, earlier: None }
    }
}

/// The parts of the time of a row.
fn parts<'a>(sheet: &'a Sheet, row: &Row) -> &'a [u8] {
    sheet.buckets.get(row.bucket as usize).map_or(&[], |bucket| &bucket.parts)
}

/// By what the question groups by: what is not set comes first, times by number, the rest by alphabet.
fn by_keys(question: &Question, sheet: &Sheet, a: &Row, b: &Row) -> Ordering {
    let (mut values, mut times) = (a.group.iter().zip(&*b.group), parts(sheet, a).iter().zip(parts(sheet, b)));
    let each = question.group_by.iter().map(|grouping| match grouping {
        GroupBy::Dimension(_) => values.next().map_or(Ordering::Equal, |(a, b)| match (a, b) {
            // Mostly the same, and then it is one text.
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
            (a, b) => a.cmp(b),
        }),
        GroupBy::Time(_) => times.next().map_or(Ordering::Equal, |(a, b)| a.cmp(b)),
    });
    each.fold(Ordering::Equal, Ordering::then)
}

/// By the keys of the question, then by group and time. The others come last.
fn by_order(question: &Question, sheet: &Sheet, a: &Row, b: &Row) -> Ordering {
    let figure = |row: &Row, metric: usize, what: What| row.figures.get(metric).and_then(|figure| what.of(figure));
    let keys = question.order.keys().iter().map(|(key, descending)| {
        let directed = |ordering: Ordering| if *descending { ordering.reverse() } else { ordering };
        match *key {
            OrderKey::Group => directed(by_keys(question, sheet, a, b)),
            OrderKey::Time => directed(a.bucket.cmp(&b.bucket)),
            OrderKey::Figure(metric, what) => match (figure(a, metric, what), figure(b, metric, what)) {
                (Some(a), Some(b)) => directed(a.total_cmp(&b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        }
    });
    let first = keys.fold(a.is_others.cmp(&b.is_others), Ordering::then);
    first.then_with(|| by_group(question, sheet, a, b))
}

fn by_group(question: &Question, sheet: &Sheet, a: &Row, b: &Row) -> Ordering {
    let first = a.is_others.cmp(&b.is_others).then_with(|| by_keys(question, sheet, a, b));
    first.then_with(|| a.bucket.cmp(&b.bucket))
}

/// An answer with its rows decoded.
pub(crate) fn decoded(answer: &[u8]) -> v1::QueryMetricsResponse {
    v1::QueryMetricsResponse::decode(answer).expect("it was encoded here")
}

/// Puts the rows of a sheet on the wire, all in one piece of memory, through one message that is filled again and again.
struct Wire<'a> {
    question: &'a Question,
    sheet: &'a Sheet,
    earlier: Option<&'a Sheet>,
    row: MetricRow,
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl<'a> Wire<'a> {
    /// Of a sheet, and that of the earlier period, with room for about so many rows.
    fn new(question: &'a Question, sheet: &'a Sheet, earlier: Option<&'a Sheet>, rows: usize) -> Self {
        let (bytes, ends) = (vec![0; rows * ROW_BYTES], Vec::with_capacity(rows));
        Self { question, sheet, earlier, row: MetricRow::default(), bytes, ends }
    }

    /// Puts a row behind those before it.
    fn put(&mut self, row: &Row) {
        self.message(row);
        let Self { row, bytes, ends, .. } = self;
        put_row(row, |len| {
            let from = ends.last().copied().unwrap_or(0);
            let end = from + len;
            if bytes.len() < end {
                bytes.resize(2 * end, 0);
            }
            ends.push(end);
            &mut bytes[from..end]
        });
    }

    /// Whether there is no use in putting more.
    fn is_too_long(&self) -> bool {
        self.ends.last().is_some_and(|end| *end > MAX_ANSWER)
    }

    /// What was put.
    fn encoded(self) -> Encoded {
        Encoded { bytes: self.bytes.into(), ends: self.ends }
    }

    fn message(&mut self, row: &Row) -> &MetricRow {
        let Self { question, sheet, .. } = *self;
        // Every field, so that nothing of the row before is left.
        let MetricRow { group, interval_start, interval_end, values, others, earlier } = &mut self.row;
        let bucket = sheet.buckets.get(row.bucket as usize);
        group.resize_with(question.group_by.len(), GroupValue::default);
        let (mut texts, mut times) = (row.group.iter(), parts(sheet, row).iter());
        for (place, grouping) in group.iter_mut().zip(&question.group_by) {
            match grouping {
                GroupBy::Time(_) => place.value = times.next().map(u8::to_string),
                GroupBy::Dimension(_) => match texts.next().and_then(Option::as_deref) {
                    None => place.value = None,
                    Some(text) => text.clone_into(place.value.get_or_insert_default()),
                },
            }
        }
        *interval_start = bucket.filter(|_| question.has_start).map(|bucket| timestamp(bucket.start_ms));
        *interval_end = bucket.map(|bucket| timestamp(bucket.end_ms));
        fill(question, values, &row.figures, bucket);
        *others = row.is_others;
        *earlier = row.earlier.as_deref().map(|(bucket, figures)| {
            let bucket = self.earlier.and_then(|sheet| sheet.buckets.get(*bucket as usize));
            let mut values = Vec::new();
            fill(question, &mut values, figures, bucket);
            EarlierFigures {
                interval_start: bucket.map(|bucket| timestamp(bucket.start_ms)),
                interval_end: bucket.map(|bucket| timestamp(bucket.end_ms)),
                values,
            }
        });
        &self.row
    }
}

/// Puts the figures of all metrics where those of another row were.
fn fill(question: &Question, values: &mut Vec<MetricValue>, figures: &[Figure], bucket: Option<&Bucket>) {
    if values.is_empty() {
        values.extend(question.metrics.iter().map(blank));
    }
    values
        .iter_mut()
        .zip(&question.metrics)
        .zip(figures)
        .for_each(|((value, asked), figure)| put(value, asked, figure, bucket));
}

/// What the values of a metric have in common.
fn blank(asked: &Asked) -> MetricValue {
    MetricValue {
        metric: asked.metric.name.to_owned(),
        basis: basis_on_the_wire(asked.basis).into(),
        unit: unit(asked.metric.unit).into(),
        clock: clock(asked).into(),
        variant: asked.variant.clone(),
        ..MetricValue::default()
    }
}

fn put(place: &mut MetricValue, asked: &Asked, figure: &Figure, bucket: Option<&Bucket>) {
    // Every field but those of `blank`, so that nothing of the row before is left.
    let MetricValue {
        metric: _,
        basis: _,
        unit: _,
        clock: _,
        variant: _,
        count,
        value,
        numerator,
        denominator,
        sum,
        min,
        max,
        percentile_relative_error,
        percentiles,
        shares,
        pending,
        provisional,
        conversation,
        deadline,
        running_targets,
        histogram,
    } = place;
    *count = figure.count;
    *value = figure.value;
    *numerator = figure.fraction.and_then(|(numerator, _)| i64::try_from(numerator).ok());
    *denominator = figure.fraction.and_then(|(_, denominator)| i64::try_from(denominator).ok());
    *sum = figure.extent.and_then(|(sum, _, _)| i64::try_from(sum).ok());
    *min = figure.extent.map(|(_, min, _)| min);
    *max = figure.extent.map(|(_, _, max)| max);
    let is_of_buckets = !figure.percentiles.is_empty() || figure.distribution.is_some();
    *percentile_relative_error = if is_of_buckets { RELATIVE_ERROR } else { 0.0 };
    percentiles.clear();
    let of_wanted = asked.options.percentiles.iter().zip(&figure.percentiles);
    percentiles.extend(
        of_wanted.map(|(wanted, value)| PercentileValue { percentile: wanted.percent(), value: *value as f64 }),
    );
    shares.clear();
    let of_bounds = asked.options.at_most.iter().zip(&figure.at_most).filter(|_| figure.count > 0);
    shares.extend(of_bounds.map(|(bound, count)| ShareValue {
        at_most: Some(duration(*bound)),
        count: *count,
        share: *count as f64 / figure.count as f64,
    }));
    *pending = figure.pending;
    let window_ms = asked.formula.provisional_for_ms();
    *provisional =
        window_ms.zip(bucket).is_some_and(|(window_ms, bucket)| bucket.end_ms + window_ms > asked.options.now_ms);
    let next = figure.next.first();
    let whose = figure.conversation.as_ref().or(next.map(|(_, conversation)| conversation));
    *conversation = whose.map(ToString::to_string).unwrap_or_default();
    *deadline = next.map(|(deadline_ms, _)| timestamp(*deadline_ms));
    running_targets.clear();
    running_targets.extend(figure.next.iter().map(|(deadline_ms, conversation)| RunningTarget {
        conversation: conversation.to_string(),
        deadline: Some(timestamp(*deadline_ms)),
    }));
    *histogram = figure.distribution.as_deref().map(self::histogram).unwrap_or_default();
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
    use proptest::prelude::*;

    use super::*;

    fn piece(mut buckets: Vec<u32>) -> Piece {
        buckets.sort_unstable();
        let row =
            |bucket| Row { group: Group::default(), is_others: false, bucket, figures: Vec::new(), earlier: None };
        Piece { count: buckets.len(), rows: buckets.into_iter().map(row).collect(), ..Piece::default() }
    }

    proptest! {
        #[test]
        fn pieces_that_are_in_order_come_together_in_order(
            // Of what is alike, of stretches that nothing comes between, and of much that does.
            buckets in (1u32..200).prop_flat_map(|most| prop::collection::vec(prop::collection::vec(0..most, 0..60), 0..8)),
            from in 0usize..300,
            count in 0usize..300,
        ) {
            let pieces: Vec<Piece> = buckets.iter().cloned().map(piece).collect();
            let mut all: Vec<u32> = buckets.into_iter().flatten().collect();
            all.sort_unstable();
            let order = in_order(&pieces, |a, b| a.bucket.cmp(&b.bucket));
            let found: Vec<u32> = rows_of(&pieces, &order).map(|row| row.bucket).collect();
            prop_assert_eq!(&found, &all);
            let upto = (from + count).min(all.len());
            let from = from.min(upto);
            let page = within(&order, from..upto);
            let found: Vec<u32> = rows_of(&pieces, &page).map(|row| row.bucket).collect();
            prop_assert_eq!(&found, &all[from..upto]);
        }
    }

    #[test]
    fn what_nothing_comes_between_is_one_stretch() {
        let pieces =
            [piece((0..100).filter(|bucket| *bucket != 50).collect()), piece((100..300).collect()), piece(vec![50])];
        let order = in_order(&pieces, |a, b| a.bucket.cmp(&b.bucket));
        let of = |piece, rows| Stretch { piece, rows };
        assert_eq!(order, [of(0, 0..50), of(2, 0..1), of(0, 50..99), of(1, 0..200)]);
    }
}
