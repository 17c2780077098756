//! A question over a million facts of a week: count, sum, p50, p90 and p99 in 40 groups.

use std::sync::Arc;

use std::collections::{BTreeMap, HashMap};

use criterion::{Criterion, Throughput};
use deskpulse_core::archive::EmptyArchive;
use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::{Anchor, Clock, Fact, Measure};
use deskpulse_core::filter::Filter;
use deskpulse_core::grid::{Reader, grid};
use deskpulse_core::histogram::{Distribution, Percentile, RELATIVE_ERROR};
use deskpulse_core::interval::Cut;
use deskpulse_core::series::{Names, SeriesId, Symbol};
use deskpulse_core::snapshot::{self, Gathered, Group, Part, Plan, Reduction, Rows};
use deskpulse_core::time::Timestamp;
use hdrhistogram::Histogram;

use crate::canonical::{DAY_MS, facts};
use crate::workload::sized;

const DAYS: u32 = 7;
const GROUPS: usize = 40;
const PERCENTS: [f64; 3] = [50.0, 90.0, 99.0];

/// The figures of a group.
#[derive(Debug, PartialEq)]
struct Figures {
    count: u64,
    sum: i64,
    percentiles: Vec<i64>,
}

type Answer = BTreeMap<Group, Figures>;

pub(crate) fn collect(criterion: &mut Criterion) {
    let names = Names::default();
    let tenant = names.symbol("t");
    let facts = facts(&names, sized(1_000_000, 5_000), DAYS, GROUPS);
    let reader = recorded(tenant, &facts, 0);
    let values: Vec<i64> = facts.iter().map(|fact| fact.value).collect();
    let by_group = plan(vec![0, i64::from(DAYS) * DAY_MS], &[Dimension::Channel, Dimension::Team]);
    let quarter_hours = (0..=i64::from(DAYS) * 96).map(|slot| slot * DAY_MS / 96).collect();
    let by_quarter_hour = plan(quarter_hours, &[Dimension::Channel]);
    // One in 50 is stated, taken back and stated again, so that the answer stays the same.
    let corrected = recorded(tenant, &facts, 50);

    let ours = |reader: &Reader| answer(reader, &names, tenant, &by_group);
    all_answer_alike(&ours(&reader), &facts, &names, &values);
    assert_eq!(ours(&corrected), ours(&reader));
    let rows = rows(&reader, &names, tenant, &by_quarter_hour);
    let counted = rows.values().flatten().map(|partial| partial.distribution.count()).sum::<u64>();
    assert_eq!(counted, facts.len() as u64);

    let mut group = criterion.benchmark_group("collect a snapshot");
    group.throughput(Throughput::Elements(facts.len() as u64));
    group.bench_function("floor: add up a vector", |bencher| {
        bencher.iter(|| std::hint::black_box(&values).iter().sum::<i64>());
    });
    group.bench_function("ours", |bencher| bencher.iter(|| ours(&reader)));
    group.bench_function("ours, 2 % taken back and stated again", |bencher| bencher.iter(|| ours(&corrected)));
    group.bench_function("ours, by channel and quarter hour", |bencher| {
        bencher.iter(|| answer(&reader, &names, tenant, &by_quarter_hour));
    });
    group.bench_function("peer: one hdrhistogram a group, over a vector", |bencher| {
        bencher.iter(|| with_hdr(&facts, &names));
    });
    group.bench_function("control: sort each group, over a vector", |bencher| {
        bencher.iter(|| by_sorting(&facts, &names));
    });
    group.finish();
}

/// A grid with these facts, where every `corrected_each`-th is stated, taken back and stated again; 0: none.
pub(crate) fn recorded(tenant: Symbol, facts: &[Fact], corrected_each: usize) -> Reader {
    let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
    let subjects: Vec<_> = (0..1_000).map(|n| recorder.add_subject(format!("c{n}").into())).collect();
    for (number, fact) in (1..).zip(facts) {
        let subject = subjects[number % subjects.len()];
        recorder.record(tenant, subject, std::slice::from_ref(fact));
        if corrected_each > 0 && number % corrected_each == 0 {
            recorder.record(tenant, subject, &[fact.inverse()]);
            recorder.record(tenant, subject, std::slice::from_ref(fact));
        }
        if number % 1_000 == 0 {
            recorder.publish();
        }
    }
    recorder.publish();
    reader
}

pub(crate) fn plan(bounds: Vec<i64>, group_by: &[Dimension]) -> Plan {
    let buckets = (0..).take(bounds.len() - 1).collect();
    Plan {
        parts: vec![Part {
            measures: vec![Measure::FirstResponse],
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            reduction: Reduction::Distribution,
            at_most: Vec::new(),
            filter: Filter::Everything,
        }],
        filter: Filter::Everything,
        group_by: group_by.to_vec(),
        only: None,
        cut: Cut::new(bounds, buckets).expect("the bounds ascend"),
        now: Timestamp::clamped(i64::from(DAYS) * DAY_MS),
        rows_a_group: 1,
    }
}

fn answer(reader: &Reader, names: &Names, tenant: Symbol, plan: &Plan) -> Answer {
    let figures = |distribution: &Distribution| Figures {
        count: distribution.count(),
        sum: i64::try_from(distribution.sum()).expect("a week's sum is small"),
        percentiles: percentiles().filter_map(|percentile| distribution.percentile(percentile)).collect(),
    };
    let rows = rows(reader, names, tenant, plan).into_iter();
    rows.map(|((group, _), partials)| (group, figures(&partials[0].distribution))).collect()
}

pub(crate) fn rows(reader: &Reader, names: &Names, tenant: Symbol, plan: &Plan) -> Rows {
    let view = reader.view();
    let gathered = Gathered::gather([&view].into_iter(), tenant, plan).expect("readable");
    snapshot::collect(&view, names, tenant, plan, &gathered).expect("few rows")
}

fn with_hdr(facts: &[Fact], names: &Names) -> Answer {
    let mut groups: HashMap<SeriesId, (i64, i64, Histogram<u64>)> = HashMap::new();
    for fact in facts {
        let new = || (0, 0, Histogram::new_with_bounds(1, 1 << 40, 2).expect("these bounds are allowed"));
        let (sum, greatest, histogram) = groups.entry(fact.series).or_insert_with(new);
        *sum += fact.value;
        *greatest = fact.value.max(*greatest);
        histogram.record(fact.value.cast_unsigned()).expect("within the bounds");
    }
    let figures = |(sum, greatest, histogram): &(i64, i64, Histogram<u64>)| {
        let percentile = |percent| histogram.value_at_percentile(percent).cast_signed().min(*greatest);
        Figures { count: histogram.len(), sum: *sum, percentiles: PERCENTS.map(percentile).to_vec() }
    };
    groups.iter().map(|(series, group)| (group_of(*series, names), figures(group))).collect()
}

/// The exact answer.
fn by_sorting(facts: &[Fact], names: &Names) -> Answer {
    let mut groups: HashMap<SeriesId, Vec<i64>> = HashMap::new();
    for fact in facts {
        groups.entry(fact.series).or_default().push(fact.value);
    }
    let figures = |mut values: Vec<i64>| {
        values.sort_unstable();
        let count = values.len() as u64;
        let ranks = percentiles().filter_map(|percentile| percentile.rank(count));
        let percentiles = ranks.map(|rank| values[usize::try_from(rank).expect("small") - 1]).collect();
        Figures { count, sum: values.iter().sum(), percentiles }
    };
    groups.into_iter().map(|(series, values)| (group_of(series, names), figures(values))).collect()
}

fn all_answer_alike(ours: &Answer, facts: &[Fact], names: &Names, values: &[i64]) {
    assert_eq!(ours.len(), GROUPS);
    assert_eq!(ours.values().map(|figures| figures.sum).sum::<i64>(), values.iter().sum::<i64>());
    assert_eq!(*ours, with_hdr(facts, names));
    for (group, exact) in by_sorting(facts, names) {
        let found = &ours[&group];
        assert_eq!((found.count, found.sum), (exact.count, exact.sum), "{group:?}");
        for (found, exact) in found.percentiles.iter().zip(&exact.percentiles) {
            let error = (found - exact) as f64;
            assert!((0.0..=*exact as f64 * RELATIVE_ERROR).contains(&error), "{group:?}: {found}, exactly {exact}");
        }
    }
}

pub(crate) fn percentiles() -> impl Iterator<Item = Percentile> {
    PERCENTS.into_iter().filter_map(Percentile::new)
}

fn group_of(series: SeriesId, names: &Names) -> Group {
    let values = names.values(series).expect("the series is known");
    let text = |dimension| values.get(&dimension).map(|symbol| names.text(symbol).into());
    [text(Dimension::Channel), text(Dimension::Team)].into()
}
