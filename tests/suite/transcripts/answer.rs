//! What is expected of an answer.
//!
//! Figures are pairs of words: `count`, `sum`, `min`, `max`, `numerator`, `denominator`, `value` (also called `mean`) and
//! `pending` are exact, a number or a length of time (`21m40s`) each, and `value 83.02%` is a share to two digits; `p95` is
//! within the error the answer states; `<=20s` is how many values are at or below; `conversation`, `deadline` and
//! `provisional yes` are themselves; `absent` says that there are no samples.

use deskpulse_proto::v1::{MetricRow, MetricValue};

use super::script::{Local, duration};
use crate::harness::{Client, Question, group};

/// A question, and what is expected of its answer.
pub(super) struct Expectation {
    line: String,
    question: Question,
    /// Of an answer that has one row.
    figures: Figures,
    /// Of an answer that has a row for each group and interval.
    rows: Vec<(Vec<String>, Figures)>,
    local: Local,
}

/// Pairs of words such as `count 3`.
#[derive(Clone)]
pub(super) struct Figures(Vec<(String, String)>);

impl Figures {
    pub(super) fn read(words: &[&str], local: &Local) -> Self {
        let pairs = words.chunks(2).map(|pair| {
            let (what, want) = (pair[0].to_owned(), (*pair.get(1).unwrap_or(&"")).to_owned());
            let want = if what == "deadline" { format!("{:?}", Some(local.time(&want))) } else { want };
            (what, want)
        });
        Self(pairs.collect())
    }

    fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |(what, _)| what.strip_prefix(prefix))
    }

    fn assert(&self, have: &MetricValue, line: &str) {
        for (what, want) in &self.0 {
            assert_figure(have, what, want, line);
        }
    }
}

impl Expectation {
    pub(super) fn new(line: &str, mut question: Question, figures: Figures, local: &Local) -> Self {
        let by_local_time = |name: &String| matches!(name.as_str(), "weekday" | "hour");
        if question.0.time_zone == "tenant" {
            question.0.time_zone.clear();
        } else if !question.0.interval.is_empty() || question.0.group_by.iter().any(by_local_time) {
            local.zone.iana_name().expect("a zone with a name").clone_into(&mut question.0.time_zone);
        }
        let line = line.to_owned();
        let mut expectation =
            Self { line, question, figures: Figures(Vec::new()), rows: Vec::new(), local: local.clone() };
        expectation.ask_for(&figures);
        expectation.figures = figures;
        expectation
    }

    /// Reads a row: the values of the group, the start of the interval, the figures.
    pub(super) fn add_row(&mut self, words: &[&str], local: &Local) {
        let (key, figures) = words.split_at(self.question.0.group_by.len() + usize::from(self.has_intervals()));
        let figures = Figures::read(figures, local);
        self.ask_for(&figures);
        self.rows.push((key.iter().map(ToString::to_string).collect(), figures));
    }

    fn has_intervals(&self) -> bool {
        !self.question.0.interval.is_empty()
    }

    /// Asks for what the figures need beside the value.
    fn ask_for(&mut self, figures: &Figures) {
        let selection = &mut self.question.0.metrics[0];
        for percent in figures.with_prefix("p").filter_map(|text| text.parse().ok()) {
            if !selection.percentiles.contains(&percent) {
                selection.percentiles.push(percent);
            }
        }
        for bound in figures.with_prefix("<=").map(duration) {
            if !selection.at_most.contains(&bound) {
                selection.at_most.push(bound);
            }
        }
    }

    pub(super) async fn check(self, client: &Client, tenant: &str) {
        let line = format!("{tenant}: {}", self.line);
        let has_rows = self.has_intervals() || !self.question.0.group_by.is_empty();
        let answer = client.ask(self.question.clone()).await;
        let have = answer.unwrap_or_else(|status| panic!("{line}\n{status:?}"));
        if !has_rows {
            assert!(have.len() == 1 && !self.figures.0.is_empty(), "{line}\n{have:?}");
            return self.figures.assert(&have[0].values[0], &line);
        }
        assert!(self.figures.0.is_empty(), "{line}: figures of many rows stand behind a |");
        let keys: Vec<Vec<String>> = have.iter().map(|row| self.key(row)).collect();
        assert_eq!(keys.len(), self.rows.len(), "rows of {line}\n{keys:?}");
        for ((want, figures), (row, key)) in self.rows.iter().zip(have.iter().zip(&keys)) {
            // A start may be written as a date, a time, or both.
            let fits = |(want, have): (&String, &String)| want == have || have.split('T').any(|part| part == want);
            assert!(want.iter().zip(key).all(fits), "{line}: {key:?} stands where {want:?} should, in {keys:?}");
            figures.assert(&row.values[0], &format!("{line} | {}", key.join(" ")));
        }
    }

    fn key(&self, row: &MetricRow) -> Vec<String> {
        let mut key = group(row);
        if self.has_intervals() {
            let start = row.interval_start.expect("an interval starts");
            let start = jiff::Timestamp::from_second(start.seconds).expect("an instant");
            key.push(start.to_zoned(self.local.zone.clone()).strftime("%Y-%m-%dT%H:%M").to_string());
        }
        key
    }
}

fn assert_figure(figure: &MetricValue, what: &str, want: &str, line: &str) {
    let number = |text: &str| -> f64 {
        match text.parse::<jiff::SignedDuration>() {
            Ok(length) => length.as_secs_f64() * 1_000.0,
            Err(_) => text.replace('_', "").parse().unwrap_or_else(|error| panic!("{line}: {text}: {error}")),
        }
    };
    let exact = |have: Option<f64>| {
        let want = number(want);
        let have = have.unwrap_or_else(|| panic!("no {what} in {line}\n{figure:?}"));
        assert!((have - want).abs() <= want.abs() * 1e-9, "{what} is {have}, not {want}, in {line}\n{figure:?}");
    };
    let whole = |have: Option<i64>| exact(have.map(|have| have as f64));
    match what {
        "absent" => assert_eq!((figure.count, figure.value), (0, None), "{line}\n{figure:?}"),
        "count" => exact(Some(figure.count as f64)),
        "value" | "mean" if want.ends_with('%') => {
            let have = figure.value.unwrap_or_else(|| panic!("no {what} in {line}\n{figure:?}")) * 100.0;
            assert_eq!(format!("{have:.2}%"), want, "{line}\n{figure:?}");
        }
        "value" | "mean" => exact(figure.value),
        "sum" => whole(figure.sum),
        "min" => whole(figure.min),
        "max" => whole(figure.max),
        "numerator" => whole(figure.numerator),
        "denominator" => whole(figure.denominator),
        "pending" => exact(figure.pending.map(|pending| pending as f64)),
        "conversation" => assert_eq!(figure.conversation, want, "{line}"),
        "deadline" => assert_eq!(format!("{:?}", figure.deadline), want, "{line}"),
        "provisional" => assert_eq!(figure.provisional, want == "yes", "{line}"),
        share if share.starts_with("<=") => {
            let bound = duration(&share[2..]);
            let have = figure.shares.iter().find(|have| have.at_most == Some(bound));
            exact(have.map(|have| have.count as f64));
        }
        percentile => {
            let percent: f64 = percentile[1..].parse().unwrap_or_else(|_| panic!("{line}: {what} is no figure"));
            let have = figure.percentiles.iter().find(|have| (have.percentile - percent).abs() < 1e-9);
            let have = have.unwrap_or_else(|| panic!("no {percentile} in {line}\n{figure:?}")).value;
            let (want, error) = (number(want), figure.percentile_relative_error);
            assert!(error <= 0.01 && (have - want).abs() <= want * error, "{what} is {have}, not {want}, in {line}");
        }
    }
}
