//! From a question to its rows.

use std::collections::{BTreeMap, BTreeSet};

use deskpulse_proto::v1::{Basis, Clock, MetricSelection, QueryMetricsRequest};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

use super::figures::Figure;
use super::{Dimensions, Model, Sample, Span, filter, milliseconds};

/// Whether ratios on the cohort basis take the dimensions in force at the start on both sides, so that both are about the
/// same items; otherwise the numerator takes those of its own instant.
const COHORT_RATIOS_BY_DIMENSIONS_AT_START: bool = true;

/// What a row is about: the values grouped by, and the start of its interval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowKey {
    pub(crate) group: Vec<Option<String>>,
    pub(crate) start_ms: Option<i64>,
}

/// Everything that belongs to one row.
#[derive(Default)]
pub(super) struct Cell<'a> {
    pub(super) start: Option<i64>,
    pub(super) end: i64,
    pub(super) now: i64,
    pub(super) business: bool,
    pub(super) cohort: bool,
    /// What happened in the interval.
    pub(super) samples: Vec<&'a Sample>,
    /// What held as of its end, as of its start, just before its start.
    pub(super) at_end: Vec<&'a Span>,
    pub(super) at_start: Vec<&'a Span>,
    pub(super) before_start: Vec<&'a Span>,
    /// What held within, and how long of it.
    pub(super) within: Vec<(&'a Span, i64)>,
    /// Customers who ever used a feature, with its reference.
    pub(super) ever_used: BTreeSet<(&'a str, &'a str)>,
}

type Cells<'a> = BTreeMap<RowKey, Cell<'a>>;

impl Model {
    /// Answers a question. Rows with nothing in them may be there or be missing.
    pub(crate) fn answer(&self, request: &QueryMetricsRequest) -> BTreeMap<RowKey, Vec<Figure>> {
        let intervals = self.intervals(request);
        let mut rows: BTreeMap<RowKey, Vec<Figure>> = BTreeMap::new();
        let cells: Vec<Cells<'_>> =
            request.metrics.iter().map(|selection| self.cells(request, selection, &intervals)).collect();
        let mut keys: BTreeSet<RowKey> = cells.iter().flat_map(BTreeMap::keys).cloned().collect();
        if request.group_by.is_empty() && request.interval.is_empty() {
            keys.insert(RowKey { group: Vec::new(), start_ms: intervals[0].0 });
        }
        for key in keys {
            let interval = intervals.iter().find(|(start, _)| *start == key.start_ms).expect("an interval");
            let figures = request.metrics.iter().zip(&cells).map(|(selection, cells)| {
                let nothing = self.cell(request, *interval);
                cells.get(&key).unwrap_or(&nothing).figure(selection)
            });
            let figures: Vec<Figure> = figures.collect();
            rows.insert(key, figures);
        }
        rows
    }

    fn zone(&self, request: &QueryMetricsRequest) -> TimeZone {
        let names = [request.time_zone.as_str(), self.config.settings.time_zone.as_str(), "UTC"];
        let name = names.into_iter().find(|name| !name.is_empty()).expect("UTC");
        TimeZone::get(name).expect("a time zone")
    }

    /// The intervals, each with its start (none: the beginning of all time) and end.
    fn intervals(&self, request: &QueryMetricsRequest) -> Vec<(Option<i64>, i64)> {
        let start = request.start_time.as_ref().map(|time| milliseconds(Some(time)));
        let end = request.end_time.as_ref().map_or(self.now, |time| milliseconds(Some(time)));
        if request.interval.is_empty() {
            return vec![(start, end)];
        }
        let zone = self.zone(request);
        let mut from = start.expect("a range cut into intervals has a start");
        let mut intervals = Vec::new();
        while from < end {
            let to = interval_end(from, &request.interval, &zone).min(end);
            intervals.push((Some(from), to));
            from = to;
        }
        intervals
    }

    fn cell(&self, request: &QueryMetricsRequest, (start, end): (Option<i64>, i64)) -> Cell<'_> {
        let used = self.samples.iter().filter(|sample| sample.part == "feature_used");
        let ever_used = used.map(|sample| (sample.subject.as_str(), sample.reference.as_str())).collect();
        let business = request.clock() == Clock::Business;
        Cell { start, end, now: self.now, business, ever_used, ..Cell::default() }
    }

    fn cells(
        &self,
        request: &QueryMetricsRequest,
        selection: &MetricSelection,
        intervals: &[(Option<i64>, i64)],
    ) -> Cells<'_> {
        let zone = self.zone(request);
        let own_cohort = matches!(selection.name.as_str(), "resolution_rate" | "task_completion_rate");
        let cohort = request.basis() == Basis::Cohort || request.basis() == Basis::Unspecified && own_cohort;
        let ratio = selection.name.contains("rate")
            || matches!(
                selection.name.as_str(),
                "service_level" | "waits_answered" | "queue_wait" | "asa" | "answered" | "abandoned" | "short_abandons"
            );
        let mut cells = Cells::new();
        for sample in &self.samples {
            let at = if cohort { sample.cohort } else { sample.at };
            let at_start = cohort && ratio && COHORT_RATIOS_BY_DIMENSIONS_AT_START;
            let dimensions = if at_start { &sample.cohort_dimensions } else { &sample.dimensions };
            let inside = |(start, end): &(Option<i64>, i64)| start.is_none_or(|start| start <= at) && at < *end;
            let Some(&interval) = intervals.iter().find(|interval| inside(interval)) else { continue };
            if !filter::matches(&request.filter, dimensions) {
                continue;
            }
            for group in groups(&request.group_by, dimensions, Some(at), &zone) {
                let key = RowKey { group, start_ms: interval.0 };
                let cell = cells.entry(key).or_insert_with(|| self.cell(request, interval));
                cell.cohort = cohort;
                cell.samples.push(sample);
            }
        }
        for span in &self.spans {
            if !filter::matches(&request.filter, &span.dimensions) {
                continue;
            }
            let groups = groups(&request.group_by, &span.dimensions, None, &zone);
            let holds_at = |instant: i64| span.from <= instant && span.to.is_none_or(|to| instant < to);
            for &interval in intervals {
                let (start, end) = interval;
                let at_end = holds_at(end);
                let at_start = start.is_some_and(holds_at);
                let before = start.is_some_and(|start| span.from < start && span.to.is_none_or(|to| start <= to));
                let time =
                    span.to.unwrap_or(self.now).min(end).min(self.now) - span.from.max(start.unwrap_or(i64::MIN));
                if !at_end && !at_start && !before && time <= 0 {
                    continue;
                }
                for group in &groups {
                    let key = RowKey { group: group.clone(), start_ms: start };
                    let cell = cells.entry(key).or_insert_with(|| self.cell(request, interval));
                    cell.cohort = cohort;
                    if at_end {
                        cell.at_end.push(span);
                    }
                    if at_start {
                        cell.at_start.push(span);
                    }
                    if before {
                        cell.before_start.push(span);
                    }
                    if time > 0 {
                        cell.within.push((span, time));
                    }
                }
            }
        }
        cells
    }
}

/// Where the interval that holds an instant ends, on the wall clock of a zone.
fn interval_end(instant: i64, interval: &str, zone: &TimeZone) -> i64 {
    let local: Zoned = Timestamp::from_millisecond(instant).expect("in range").to_zoned(zone.clone());
    let date = local.date();
    let first_of_month = date.first_of_month();
    let minutes = |minutes: i64| {
        let step = minutes * 60_000;
        let offset = i64::from(local.offset().seconds()) * 1_000;
        instant - (instant + offset).rem_euclid(step) + step
    };
    let next = match interval {
        "1m" => return minutes(1),
        "5m" => return minutes(5),
        "15m" => return minutes(15),
        "30m" => return minutes(30),
        "1h" => return minutes(60),
        "1d" => date + 1.day(),
        "1w" => date + (7 - i64::from(date.weekday().to_monday_zero_offset())).days(),
        "1mo" => first_of_month + 1.month(),
        "1q" => first_of_month + (3 - (i64::from(date.month()) - 1) % 3).months(),
        "1y" => date.first_of_year() + 1.year(),
        other => panic!("{other} is no interval"),
    };
    next.to_zoned(zone.clone()).expect("a day").start_of_day().expect("a midnight").timestamp().as_millisecond()
}

/// The groups something belongs to: several where it has several tags.
fn groups(group_by: &[String], dimensions: &Dimensions, at: Option<i64>, zone: &TimeZone) -> Vec<Vec<Option<String>>> {
    let local = at.map(|at| Timestamp::from_millisecond(at).expect("in range").to_zoned(zone.clone()));
    let mut groups = vec![Vec::new()];
    for name in group_by {
        let values: Vec<Option<String>> = match name.as_str() {
            "tag" if dimensions.tags.is_empty() => vec![None],
            "tag" => dimensions.tags.iter().cloned().map(Some).collect(),
            "weekday" => vec![local.as_ref().map(|local| local.weekday().to_monday_one_offset().to_string())],
            "hour" => vec![local.as_ref().map(|local| local.hour().to_string())],
            name => vec![dimensions.get(name).map(str::to_owned)],
        };
        let extended = groups.iter().flat_map(|group: &Vec<Option<String>>| {
            values.iter().map(|value| group.iter().cloned().chain([value.clone()]).collect())
        });
        groups = extended.collect();
    }
    groups
}
