//! What each step of the core costs, against the cheapest thing a machine could do instead.
//!
//! One file for each file of `core/src` that is measured. Whatever is timed has first given the same answer as its peer.

#[path = "core/calendar.rs"]
mod calendar;
#[path = "core/canonical.rs"]
mod canonical;
#[path = "core/cells.rs"]
mod cells;
#[path = "core/grid.rs"]
mod grid;
#[path = "core/histogram.rs"]
mod histogram;
#[path = "core/partition.rs"]
mod partition;
#[path = "core/series.rs"]
mod series;
#[path = "core/snapshot.rs"]
mod snapshot;
mod workload;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    histogram::record(&mut criterion);
    series::intern(&mut criterion);
    grid::record(&mut criterion);
    partition::apply(&mut criterion);
    snapshot::collect(&mut criterion);
    cells::sum_up(&mut criterion);
    calendar::between(&mut criterion);
    criterion.final_summary();
}
