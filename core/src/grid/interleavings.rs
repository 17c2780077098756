//! A column's writer and its readers in every order their steps can have: the same code, with the atomics of `loom`, which tries
//! them all, and lets each relaxed load see whatever it may.

// The file once more, under other atomics.
#[expect(clippy::duplicate_mod, reason = "the same code, made of other parts")]
#[expect(dead_code, reason = "what a grid needs beyond writing and reading rows")]
#[path = "column.rs"]
mod column;

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};

use super::form::{self, Draft, Forms, Row};
use super::{DAY_MS, Range, SubjectNumber};
use crate::fact::Weight;
use crate::series::SeriesId;
use column::Writer;

/// What a column is made of, as `loom` has it.
mod sync {
    use std::sync::OnceLock as Once;

    use loom::sync::atomic::AtomicBool;
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// So few that a second piece has several.
    pub(super) const STRETCH: usize = 40;

    /// A value that is set once, and is seen by those who have seen that it is.
    #[derive(Debug)]
    pub(super) struct OnceLock<T> {
        value: Once<T>,
        is_set: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(super) fn new() -> Self {
            Self { value: Once::new(), is_set: AtomicBool::new(false) }
        }

        pub(super) fn get(&self) -> Option<&T> {
            self.value.get().filter(|_| self.is_set.load(Ordering::Acquire))
        }

        pub(super) fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        pub(super) fn take(&mut self) -> Option<T> {
            self.value.take()
        }
    }
}

const DAY: i64 = 20_000 * DAY_MS;

/// Row `number` of the epoch. A first piece has no room for four of them.
fn row(epoch: u64, number: i64) -> Row {
    let (series, subject) = (SeriesId(70_000), SubjectNumber(9_000_000));
    let values = [i64::try_from(epoch).expect("small") * 1_000_000_000 + number, 0, 0, 0];
    Row { at_ms: DAY + 3_600_000 * number, series, subject, values }
}

/// Checks each order of what a writer does for two epochs and a reader for the newest it finds; gives how many there were.
fn orders_of(rows: [i64; 2], range: Range) -> usize {
    let orders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    loom::model(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let mut forms = Forms::default();
        let mut draft = Draft::new(0, SeriesId(0), SubjectNumber(0));
        assert!(draft.add(0, Weight::Plus, 1));
        let number = forms.number(&draft).expect("there is room");
        let mut writer = Writer::new();
        let columns = Arc::clone(writer.columns());
        let published = Arc::new(AtomicU64::new(0));
        let write = move |writer: &mut Writer, forms: &Forms, epoch: u64, rows: i64| {
            for place in 0..rows {
                writer.push(number, &row(epoch, place), forms, DAY, epoch);
            }
        };
        write(&mut writer, &forms, 1, rows[0]);
        let writing = loom::thread::spawn({
            let published = Arc::clone(&published);
            move || {
                published.store(1, Ordering::Release);
                write(&mut writer, &forms, 2, rows[1]);
                published.store(2, Ordering::Release);
                writer
            }
        });
        let epoch = published.load(Ordering::Acquire);
        let mut expected = Vec::new();
        for epoch in 1..=epoch {
            let rows = rows[usize::try_from(epoch).expect("small") - 1];
            expected
                .extend((0..rows).map(|place| (epoch, row(epoch, place))).filter(|(_, row)| range.contains(row.at_ms)));
        }
        let mut read = Vec::new();
        for (_, column) in columns.iter() {
            read.extend(column.rows(DAY, epoch, range).filter(|(_, row)| range.contains(row.at_ms)));
        }
        assert_eq!(read, expected);
        drop(writing.join().expect("no panic"));
    });
    orders.load(Ordering::Relaxed)
}

#[test]
fn a_reader_sees_every_row_of_its_epoch_and_none_of_a_later_one_in_each_order_of_steps() {
    let orders = orders_of([1, 2], Range::ALL);
    assert!(orders > 100, "{orders} orders");
}

#[test]
fn a_reader_sees_pieces_that_are_added_while_it_reads_or_does_without_them() {
    let orders = orders_of([2, 2], Range { from_inclusive: DAY + 3_600_000, to_exclusive: DAY + DAY_MS });
    assert!(orders > 100, "{orders} orders");
}

#[test]
fn a_reader_sees_nothing_of_a_stretch_that_begins_while_it_reads() {
    let orders = orders_of([5, 2], Range::ALL);
    assert!(orders > 100, "{orders} orders");
}
