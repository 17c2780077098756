//! Printing an answer: a table for people, JSON and CSV with exact numbers.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use deskpulse_proto::v1::{GroupValue, MetricRow, MetricValue, QueryMetricsResponse};
use deskpulse_text::sheet::{RowKind, timestamp, union};
use jiff::tz::TimeZone;

use super::figures::{Figure, Shape, before, figures, local, title};
use crate::output::{self, ABSENT};

/// What a table needs to know of the question.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle<'a> {
    /// The names of the dimensions grouped by.
    pub group_by: &'a [String],
    /// The zone in which instants are shown.
    pub zone: &'a TimeZone,
    /// Whether to show when each interval starts.
    pub intervals: bool,
}

/// An answer as a table for people, with its final line break.
///
/// A line a metric when the answer has neither groups nor intervals, else a line for each group and interval. Where
/// there is no value stands `–`, and `*` behind one that may still change. Durations, shares and means are rounded.
#[must_use]
pub fn render_table(answer: &QueryMetricsResponse, style: TableStyle<'_>) -> String {
    let mut table = output::table();
    let width = answer.rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    let column = |index: usize| answer.rows.iter().filter_map(move |row| row.values.get(index));
    let shapes: Vec<Shape> = (0..width).map(|index| Shape::of(column(index))).collect();
    let is_compared = answer.rows.iter().any(|row| row.earlier.is_some());
    let figures_of = |row: &MetricRow| {
        let earlier = |index: usize| row.earlier.as_ref().and_then(|earlier| earlier.values.get(index));
        let values = row.values.iter().zip(&shapes).enumerate();
        let shown = values.map(|(index, (value, shape))| {
            let mut shown = figures(value, *shape, style.zone);
            shown.extend(is_compared.then(|| before(value, earlier(index))));
            shown
        });
        shown.collect::<Vec<_>>()
    };
    match answer.rows.as_slice() {
        [] => return "nothing to show\n".to_owned(),
        [row] if style.group_by.is_empty() && !style.intervals => {
            let metrics = figures_of(row);
            let names = union(metrics.iter().map(|figures| names(figures)));
            table.set_header(std::iter::once("metric").chain(names.iter().map(String::as_str)));
            for (value, figures) in row.values.iter().zip(&metrics) {
                let shown = names.iter().map(|name| text_of(figures, name));
                table.add_row(std::iter::once(title(value)).chain(shown));
            }
        }
        rows => {
            let metrics = rows.iter().map(figures_of).collect::<Vec<_>>();
            // The figures shown of each metric are those that any row has.
            let columns: Vec<Vec<String>> = (0..width)
                .map(|index| union(metrics.iter().filter_map(|row| row.get(index)).map(|figures| names(figures))))
                .collect();
            let dates_only =
                rows.iter().filter_map(|row| row.interval_start.as_ref()).all(|start| midnight(start, style.zone));
            let mut header: Vec<String> = style.group_by.to_vec();
            header.extend(style.intervals.then(|| "from".to_owned()));
            for (index, names) in columns.iter().enumerate() {
                let metric = column(index).next().map(title).unwrap_or_default();
                // The metric's name stands over its first figure only.
                let titles = std::iter::once(metric.as_str()).chain(std::iter::repeat(""));
                header.extend(titles.zip(names).map(|(title, name)| format!("{title}\n{name}")));
            }
            table.set_header(header);
            let rows = rows.iter().map(|row| (row, RowKind::of(row)));
            let group_totals = answer.group_totals.iter().map(|row| (row, RowKind::GroupTotal));
            let totals = answer.total.iter().map(|row| (row, RowKind::Total));
            for (row, kind) in rows.chain(group_totals).chain(totals) {
                let figures = figures_of(row);
                let named = match kind {
                    _ if row.others => Some("others"),
                    RowKind::Total => Some("total"),
                    RowKind::Row | RowKind::Others | RowKind::GroupTotal => None,
                };
                let mut cells: Vec<String> = row.group.iter().map(group_text).collect();
                if let (Some(name), Some(first)) = (named, cells.first_mut()) {
                    name.clone_into(first);
                }
                cells.extend(style.intervals.then(|| match kind {
                    RowKind::Row | RowKind::Others => start_text(row, style.zone, dates_only),
                    RowKind::GroupTotal | RowKind::Total => "total".to_owned(),
                }));
                for (index, names) in columns.iter().enumerate() {
                    let shown = figures.get(index).map(Vec::as_slice).unwrap_or_default();
                    cells.extend(names.iter().map(|name| text_of(shown, name)));
                }
                table.add_row(cells);
            }
        }
    }
    let texts = if style.group_by.is_empty() && !style.intervals {
        1
    } else {
        style.group_by.len() + usize::from(style.intervals)
    };
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let shown = answer.rows.len();
    let more = usize::try_from(answer.total_rows).unwrap_or(usize::MAX).saturating_sub(shown);
    let behind =
        answer.freshness.as_ref().is_some_and(|freshness| freshness.positions.iter().any(|at| at.may_be_behind));
    let provisional = |value: &MetricValue| value.provisional && value.value.is_some();
    let mut text = format!("{table}\n");
    if answer.rows.iter().flat_map(|row| &row.values).any(provisional) {
        text.push_str("* may still change: it depends on what customers do in the week after\n");
    }
    if more > 0 {
        let _ = writeln!(text, "{} more rows", output::number(more as f64));
    }
    if behind {
        text.push_str("acknowledged events may be missing: the log could not be asked how far it goes\n");
    }
    text
}

fn names(figures: &[Figure]) -> Vec<String> {
    figures.iter().map(|(name, _)| name.clone()).collect()
}

fn text_of(figures: &[Figure], name: &str) -> String {
    figures.iter().find(|(known, _)| known == name).map_or_else(|| ABSENT.to_owned(), |(_, text)| text.clone())
}

fn group_text(group: &GroupValue) -> String {
    group.value.clone().unwrap_or_else(|| ABSENT.to_owned())
}

fn midnight(time: &prost_types::Timestamp, zone: &TimeZone) -> bool {
    let local = timestamp(time).map(|time| zone.to_datetime(time).time());
    local.is_some_and(|time| time == jiff::civil::Time::midnight())
}

fn start_text(row: &MetricRow, zone: &TimeZone, date_only: bool) -> String {
    let format = if date_only { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" };
    let start = row.interval_start.as_ref().and_then(timestamp);
    start.map_or_else(|| ABSENT.to_owned(), |start| local(start, zone, format))
}

#[cfg(test)]
mod tests {
    use deskpulse_proto::v1::{Basis, Clock, PercentileValue, ShareValue, Unit};

    use super::*;
    use crate::query::{render_csv, render_json};

    fn value(metric: &str, unit: Unit) -> MetricValue {
        MetricValue { metric: metric.to_owned(), basis: Basis::Event.into(), unit: unit.into(), ..Default::default() }
    }

    fn answer() -> QueryMetricsResponse {
        let percentile = |percentile: f64, value: f64| PercentileValue { percentile, value };
        let day = prost_types::Duration { seconds: 86_400, nanos: 0 };
        let waits = MetricValue {
            count: 3,
            value: Some(20_000.0),
            sum: Some(60_000),
            min: Some(20_000),
            max: Some(3_900_000),
            percentiles: vec![percentile(50.0, 20_000.0), percentile(99.9, 3_900_000.0)],
            shares: vec![ShareValue { at_most: Some(day), count: 2, share: 2.0 / 3.0 }],
            ..value("first_response_time", Unit::Milliseconds)
        };
        let rate = MetricValue {
            count: 24_918,
            value: Some(12_083.0 / 24_918.0),
            numerator: Some(12_083),
            denominator: Some(24_918),
            ..value("resolution_rate", Unit::Ratio)
        };
        let row = |channel: Option<&str>, seconds: i64, values: Vec<MetricValue>| MetricRow {
            group: vec![GroupValue { value: channel.map(str::to_owned) }],
            interval_start: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            interval_end: Some(prost_types::Timestamp { seconds: seconds + 86_400, nanos: 0 }),
            values,
            ..Default::default()
        };
        let empty = vec![value("first_response_time", Unit::Milliseconds), value("resolution_rate", Unit::Ratio)];
        QueryMetricsResponse {
            rows: vec![row(Some("email"), 1_456_801_200, vec![waits, rate]), row(None, 1_456_887_600, empty)],
            total_rows: 5,
            ..Default::default()
        }
    }

    #[test]
    fn a_table_shows_durations_and_shares_as_people_read_them() {
        let zone = TimeZone::get("America/Sao_Paulo").unwrap();
        let group_by = ["channel".to_owned()];
        let text = render_table(&answer(), TableStyle { group_by: &group_by, zone: &zone, intervals: true });
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines.iter().any(|line| line == "channel from first_response_time resolution_rate"), "{text}");
        assert!(lines.iter().any(|line| line == "count mean p50 p99.9 <= 1d 00h ratio"), "{text}");
        assert!(
            lines.iter().any(|line| line == "email 2016-03-01 3 20s 20s 1h 05m 66.7 % (2) 48.5 % (12,083/24,918)"),
            "{text}"
        );
        assert!(lines.iter().any(|line| line == "– 2016-03-02 0 – – – – –"), "{text}");
        assert!(text.ends_with("3 more rows\n"), "{text}");
    }

    #[test]
    fn a_single_answer_is_a_line_a_metric() {
        let mut answer = answer();
        answer.rows.truncate(1);
        answer.rows[0].group.clear();
        answer.rows[0].values.push(MetricValue { count: 7, value: Some(7.0), ..value("resolutions", Unit::Count) });
        let text = render_table(&answer, TableStyle { group_by: &[], zone: &TimeZone::UTC, intervals: false });
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(lines.iter().any(|line| line == "metric count mean p50 p99.9 <= 1d 00h ratio"), "{text}");
        assert!(lines.iter().any(|line| line == "resolutions 7 – – – – –"), "{text}");
        assert!(lines.iter().any(|line| line == "resolution_rate – – – – – 48.5 % (12,083/24,918)"), "{text}");
    }

    /// Lines of the table of one row, without the alignment.
    fn lines(values: Vec<MetricValue>, zone: &TimeZone) -> Vec<String> {
        let rows = vec![MetricRow { values, ..MetricRow::default() }];
        let answer = QueryMetricsResponse { rows, ..QueryMetricsResponse::default() };
        let text = render_table(&answer, TableStyle { group_by: &[], zone, intervals: false });
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_was_asked_otherwise_and_what_may_still_change_is_said() {
        let level = MetricValue {
            count: 8,
            value: Some(0.5),
            variant: "of_offered".to_owned(),
            provisional: true,
            ..value("service_level", Unit::Ratio)
        };
        let business = MetricValue { clock: Clock::Business.into(), ..value("reply_time", Unit::Milliseconds) };
        let deadline = Some(prost_types::Timestamp { seconds: 1_456_801_260, nanos: 0 });
        let at_risk = MetricValue { count: 1, value: Some(1.0), deadline, ..value("sla_at_risk", Unit::Count) };
        let zone = TimeZone::get("America/Sao_Paulo").unwrap();
        let lines = lines(vec![level, business, at_risk], &zone);
        assert_eq!(lines[0], "metric ratio count mean deadline");
        assert_eq!(lines[2], "service_level (of_offered) 50.0 % * – – –");
        assert_eq!(lines[3], "reply_time (business) – 0 – –");
        assert_eq!(lines[4], "sla_at_risk – 1 – 2016-03-01 00:01:00");
        assert!(lines[5].starts_with("* may still change"), "{lines:?}");
    }

    #[test]
    fn csv_and_json_hold_exact_numbers_and_nothing_for_nothing() {
        let mut answer = answer();
        answer.rows[0].values[0].clock = Clock::Business.into();
        answer.rows[0].values[1].variant = "of_offered".to_owned();
        answer.rows[0].values[1].provisional = true;
        answer.rows[0].values[1].deadline = Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 });
        let text = render_csv(&answer, &["channel".to_owned()]).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let cell =
            |row: usize, name: &str| rows[row][header.iter().position(|title| title == name).unwrap()].to_owned();
        assert_eq!(rows.len(), 4);
        assert_eq!(
            (cell(0, "channel"), cell(0, "sum"), cell(0, "p99.9")),
            ("email".into(), "60000".into(), "3900000".into())
        );
        assert_eq!(
            (cell(0, "interval_start"), cell(0, "unit")),
            ("2016-03-01T03:00:00Z".into(), "milliseconds".into())
        );
        assert_eq!(cell(0, "share<=86400000ms"), (2.0_f64 / 3.0).to_string());
        assert_eq!((cell(1, "numerator"), cell(1, "denominator")), ("12083".into(), "24918".into()));
        assert_eq!((cell(2, "count"), cell(2, "value"), cell(2, "p50")), ("0".into(), String::new(), String::new()));

        let of_last_columns = |row: usize| rows[row].iter().skip(header.len() - 9).collect::<Vec<_>>();
        assert_eq!(of_last_columns(0), ["business", "", "false", "", "row", "", "", "", ""]);
        assert_eq!(of_last_columns(1), ["", "of_offered", "true", "1970-01-01T00:00:00.5Z", "row", "", "", "", ""]);

        let json: serde_json::Value = serde_json::from_str(&render_json(&answer).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["values"][0]["clock"], "CLOCK_BUSINESS");
        assert_eq!(json["rows"][0]["values"][1]["variant"], "of_offered");
        assert_eq!(json["rows"][0]["values"][0]["sum"], "60000");
        assert_eq!(json["rows"][1]["values"][0]["count"], "0");
        assert!(json["rows"][1]["values"][0].get("value").is_none());
    }
}
