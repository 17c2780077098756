//! An answer of the suite against the model's.

use std::collections::BTreeMap;

use deskpulse_proto::v1::{MetricRow, MetricValue, QueryMetricsRequest};

use super::answer::RowKey;
use super::figures::Figure;
use super::milliseconds;

/// Compares the rows of the suite with those of the model; says what differs first. Rows with nothing in them may be there
/// or be missing.
pub(crate) fn compare(
    request: &QueryMetricsRequest,
    expected: &BTreeMap<RowKey, Vec<Figure>>,
    rows: &[MetricRow],
) -> Result<(), String> {
    let mut left: BTreeMap<&RowKey, &Vec<Figure>> = expected.iter().collect();
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let key = RowKey {
            group: row.group.iter().map(|value| value.value.clone()).collect(),
            start_ms: row.interval_start.as_ref().map(|start| milliseconds(Some(start))),
        };
        if !seen.insert(key.clone()) {
            return Err(format!("{key:?} comes twice"));
        }
        if row.values.len() != request.metrics.len() {
            return Err(format!("{key:?} has {} figures", row.values.len()));
        }
        let nothing = vec![Figure::default(); row.values.len()];
        let figures = left.remove(&key).unwrap_or(&nothing);
        for (figure, value) in figures.iter().zip(&row.values) {
            if let Some(what) = difference(figure, value) {
                return Err(format!("{} in {key:?}: {what}\nexpected {figure:?}\nhave {value:?}", value.metric));
            }
        }
    }
    match left.into_iter().find(|(_, figures)| figures.iter().any(|figure| !figure.is_empty())) {
        Some((key, figures)) => Err(format!("{key:?} is missing\nexpected {figures:?}")),
        None => Ok(()),
    }
}

fn difference(figure: &Figure, have: &MetricValue) -> Option<String> {
    if *figure == Figure::default() {
        // The model has no such row.
        let nothing = have.count == 0 && have.value.unwrap_or(0.0) == 0.0 && have.numerator.unwrap_or(0) == 0;
        return (!nothing).then(|| "nothing expected".to_owned());
    }
    if figure.count.is_some_and(|count| count != have.count) {
        return Some("count".to_owned());
    }
    let absent = |value: Option<f64>| value.filter(|value| !figure.zero_is_absent || *value != 0.0);
    let same_value = match (absent(figure.value), absent(have.value)) {
        (None, None) => true,
        (Some(want), Some(have)) => (want - have).abs() <= 1e-9 * want.abs().max(1.0),
        _ => false,
    };
    if !same_value {
        return Some("value".to_owned());
    }
    // Absent and zero are the same for both sides of a ratio that has nothing below the line.
    for (what, want, have) in
        [("numerator", figure.numerator, have.numerator), ("denominator", figure.denominator, have.denominator)]
    {
        if want.is_some_and(|want| want != have.unwrap_or(0)) {
            return Some(what.to_owned());
        }
    }
    for (what, want, have) in
        [("sum", figure.sum, have.sum), ("min", figure.min, have.min), ("max", figure.max, have.max)]
    {
        // Scores are means: the wire may leave these out for them.
        if want.zip(have).is_some_and(|(want, have)| want != have) {
            return Some(what.to_owned());
        }
    }
    let percentiles: Vec<f64> = have.percentiles.iter().map(|percentile| percentile.value).collect();
    let near = |(want, have): (&i64, &f64)| (*want as f64 - have).abs() <= 0.01 * *want as f64;
    if figure.percentiles.len() != percentiles.len() || !figure.percentiles.iter().zip(&percentiles).all(near) {
        return Some("percentiles".to_owned());
    }
    let shares: Vec<u64> = have.shares.iter().map(|share| share.count).collect();
    if figure.at_most != shares {
        return Some("shares".to_owned());
    }
    if figure.pending.is_some() && figure.pending != have.pending {
        return Some("pending".to_owned());
    }
    let named = figure.conversations.is_empty() || figure.conversations.contains(&have.conversation);
    (!named).then(|| "conversation".to_owned())
}

#[test]
fn an_answer_that_differs_is_noticed_and_an_empty_row_is_none() {
    let request =
        QueryMetricsRequest { metrics: vec![deskpulse_proto::v1::MetricSelection::default()], ..Default::default() };
    let key = |start_ms| RowKey { group: Vec::new(), start_ms };
    let expected = BTreeMap::from([(key(None), vec![Figure::ratio(1, 3)]), (key(Some(0)), vec![Figure::ratio(0, 0)])]);
    let value = MetricValue {
        count: 3,
        value: Some(1.0 / 3.0),
        numerator: Some(1),
        denominator: Some(3),
        ..Default::default()
    };
    let row = |values| MetricRow { values, ..Default::default() };
    assert_eq!(compare(&request, &expected, &[row(vec![value.clone()])]), Ok(()));
    assert!(compare(&request, &expected, &[]).is_err(), "a row is missing");
    let other = MetricValue { denominator: Some(4), ..value };
    assert!(compare(&request, &expected, &[row(vec![other])]).is_err(), "a denominator differs");
}
