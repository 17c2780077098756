//! Rows in columns, as they are read again.

use proptest::prelude::*;

use super::column::Writer;
use super::form::{Draft, Forms, MOST_VALUES, Row};
use super::sync::STRETCH;
use super::{DAY_MS, Range, SubjectNumber};
use crate::fact::Weight;
use crate::series::SeriesId;

type Values = [i64; MOST_VALUES];

fn rows() -> impl Strategy<Value = Vec<(u64, Row)>> {
    let small = -40_000_000_000..40_000_000_000i64;
    let value = prop_oneof![Just(0), small, 1_700_000_000_000..1_800_000_000_000i64, any::<i64>()];
    let values: [_; MOST_VALUES] = std::array::from_fn(|_| value.clone());
    let instant = prop_oneof![0..DAY_MS, Just(0), Just(DAY_MS - 1)];
    let row = (instant, any::<u32>(), any::<u32>(), values, 0..3u64);
    let rows = proptest::collection::vec(row, 0..2_000);
    (rows, any::<bool>()).prop_map(|(mut rows, are_in_order)| {
        if are_in_order {
            // As mostly: stretches of a short time each, many of which a range passes over.
            rows.sort_by_key(|(at, ..)| *at);
        }
        let mut epoch = 0;
        let of = |(at, series, subject, values, later): (i64, u32, u32, Values, u64)| {
            epoch += later * later * 20;
            let (series, subject) = (SeriesId(series), SubjectNumber(subject));
            (epoch, Row { at_ms: 20_000 * DAY_MS + at, series, subject, values })
        };
        rows.into_iter().map(of).collect()
    })
}

proptest! {
    #[test]
    fn rows_are_read_as_they_were_written(
        rows in rows(), until in 0..60_000u64, from in 0..DAY_MS, length in 0..DAY_MS
    ) {
        let (mut writer, mut forms, day_ms) = (Writer::new(), Forms::default(), 20_000 * DAY_MS);
        // Forms of no value, of one, and so on.
        let numbers: Vec<u32> = (0..=MOST_VALUES)
            .map(|values| {
                let mut draft = Draft::new(0, SeriesId(0), SubjectNumber(0));
                (0..=i64::try_from(values).expect("few")).for_each(|value| assert!(draft.add(0, Weight::Plus, value)));
                forms.number(&draft).expect("there is room")
            })
            .collect();
        for (epoch, row) in &rows {
            for number in &numbers {
                writer.push(*number, row, &forms, day_ms, *epoch);
            }
        }
        let expected: Vec<_> = rows.iter().copied().filter(|(epoch, _)| *epoch <= until).collect();
        let columns: Vec<_> = writer.columns().iter().collect();
        prop_assert_eq!(columns.len(), if rows.is_empty() { 0 } else { numbers.len() });
        for (values, (number, column)) in columns.into_iter().enumerate() {
            prop_assert_eq!(*number, numbers[values]);
            let with_values = |(epoch, row): &(u64, Row)| {
                let mut row = *row;
                row.values[values..].fill(0);
                (*epoch, row)
            };
            let read: Vec<_> = column.rows(day_ms, until, Range::ALL).collect();
            prop_assert_eq!(read, expected.iter().map(with_values).collect::<Vec<_>>());
            let range = Range { from_inclusive: day_ms + from, to_exclusive: day_ms + from + length };
            let in_range = |(_, row): &(u64, Row)| range.contains(row.at_ms);
            let read: Vec<_> = column.rows(day_ms, until, range).filter(in_range).collect();
            prop_assert_eq!(read, expected.iter().map(with_values).filter(in_range).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_short_range_of_a_long_column_reads_two_stretches_at_most() {
    let (mut writer, mut forms, day_ms) = (Writer::new(), Forms::default(), 20_000 * DAY_MS);
    let mut draft = Draft::new(0, SeriesId(0), SubjectNumber(0));
    assert!(draft.add(0, Weight::Plus, 1));
    let number = forms.number(&draft).expect("there is room");
    for at in (0..DAY_MS).step_by(1_000) {
        let (series, subject) = (SeriesId(70_000), SubjectNumber(9_000_000));
        let row = Row { at_ms: day_ms + at, series, subject, values: [at, 0, 0, 0] };
        writer.push(number, &row, &forms, day_ms, 1);
    }
    let (_, column) = writer.columns().iter().next().expect("there is one");
    assert!(column.bytes() > 500 * STRETCH, "{} bytes", column.bytes());
    let bytes_in = |range| {
        let mut bytes = 0;
        column.stretches(day_ms, range, |stretch| bytes += stretch.bytes());
        bytes
    };
    assert_eq!(bytes_in(Range::ALL), column.bytes());
    for at in (0..DAY_MS).step_by(987_000) {
        let range = Range { from_inclusive: day_ms + at, to_exclusive: day_ms + at + 10_000 };
        assert!((1..=2 * STRETCH + 64).contains(&bytes_in(range)), "at {at}");
        let read: Vec<i64> = column.rows(day_ms, 1, range).map(|(_, row)| row.at_ms).collect();
        let expected = (day_ms..day_ms + DAY_MS).step_by(1_000).filter(|at| range.contains(*at));
        assert_eq!(
            read.iter().copied().filter(|at| range.contains(*at)).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
    }
}
