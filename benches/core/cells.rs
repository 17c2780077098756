//! A day's facts of which many share a series and a quarter hour, or none do: cells where that pays, facts elsewhere.

use criterion::{BenchmarkId, Criterion, Throughput};
use deskpulse_aggregation::encode;
use deskpulse_core::dimension::Dimension;
use deskpulse_core::grid::Reader;
use deskpulse_core::histogram::{Distribution, RELATIVE_ERROR};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::snapshot::{Group, Partial, Plan, Rows};
use deskpulse_proto::v1;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use prost::Message as _;

use crate::canonical::{DAY_MS, facts, response_times};
use crate::snapshot::{plan, recorded, rows};
use crate::workload::sized;

const QUARTER_HOURS: i64 = 96;

/// How many facts a cell of a quarter hour stands for; the line is drawn at eight.
const SHARING: [usize; 5] = [1, 4, 8, 32, 1_000];

pub(crate) fn sum_up(criterion: &mut Criterion) {
    let count = sized(200_000, 20_000);
    let quarter_hours: Vec<i64> = (0..=QUARTER_HOURS).map(|slot| slot * DAY_MS / QUARTER_HOURS).collect();
    for (of, bounds) in [("quarter hour", quarter_hours), ("day", vec![0, DAY_MS])] {
        let mut group = criterion.benchmark_group(format!("sum up a day by {of}"));
        group.throughput(Throughput::Elements(count as u64));
        let by_channel = plan(bounds, &[Dimension::Channel]);
        // What asks for an exact bound reads the facts.
        let mut exactly = by_channel.clone();
        exactly.parts[0].at_most = vec![i64::MAX];
        for sharing in SHARING {
            let names = Names::default();
            let tenant = names.symbol("t");
            let series = (count / (sharing * 96)).max(1);
            let reader = recorded(tenant, &facts(&names, count, 1, series), 0);
            let ask = |plan: &Plan| answer(&reader, &names, tenant, plan);
            // The third reader finds what the second has summed up.
            let (first, _, third) = (ask(&by_channel), ask(&by_channel), ask(&by_channel));
            assert!(first == third && third == ask(&exactly), "cells are the facts they stand for");
            let id = |name| BenchmarkId::new(name, format!("{sharing} facts a cell"));
            group.bench_function(id("ours"), |bencher| bencher.iter(|| ask(&by_channel)));
            group.bench_function(id("control: each fact"), |bencher| bencher.iter(|| ask(&exactly)));
        }
        group.finish();
    }
    merge(criterion);
}

fn answer(reader: &Reader, names: &Names, tenant: Symbol, plan: &Plan) -> Vec<((String, u32), Distribution)> {
    let rows: Rows = rows(reader, names, tenant, plan);
    let text = |group: Group| group.iter().flatten().map(|value| &**value).collect::<String>();
    let mut answer: Vec<_> = rows
        .into_iter()
        .map(|((group, bucket), partials)| ((text(group), bucket), partials[0].distribution.clone()))
        .collect();
    answer.sort_by(|(a, _), (b, _)| a.cmp(b));
    answer
}

/// Distributions into one, its percentiles, and what travels of it.
fn merge(criterion: &mut Criterion) {
    let times = response_times(sized(1_000_000, 100_000));
    for count in [10, 1_000] {
        let parts: Vec<Distribution> = times[..count * 100].chunks(count).map(distribution).collect();
        let hdr: Vec<Histogram<u64>> = parts.iter().map(Distribution::to_hdrhistogram).collect();
        let ours = || {
            let mut merged = Distribution::default();
            for part in &parts {
                merged.merge(part);
            }
            merged
        };
        let theirs = || {
            let mut merged = empty();
            for part in &hdr {
                merged.add(part).expect("the same bounds");
            }
            merged
        };
        assert_eq!(ours(), distribution(&times[..count * 100]));
        let mut group = criterion.benchmark_group(format!("merge distributions of {count} values"));
        group.throughput(Throughput::Elements(parts.len() as u64));
        group.bench_function("floor: add up their sums", |bencher| {
            bencher.iter(|| std::hint::black_box(&parts).iter().map(Distribution::sum).sum::<i128>());
        });
        group.bench_function("ours", |bencher| bencher.iter(ours));
        group.bench_function("peer: hdrhistogram, 2 digits", |bencher| bencher.iter(theirs));
        group.bench_function("control: record all values again", |bencher| {
            bencher.iter(|| distribution(&times[..count * 100]));
        });
        group.finish();
    }
    for count in [10, 1_000, times.len()] {
        let (ours, values) = (distribution(&times[..count]), &times[..count]);
        let theirs = ours.to_hdrhistogram();
        println!(
            "{count} values: {} bytes, hdrhistogram {}",
            ours.bytes(),
            theirs.distinct_values() * size_of::<u64>()
        );
        percentiles(criterion, &ours, &theirs, values);
        wire(criterion, ours, &theirs, count);
    }
    let bytes = [1, 10].map(|count| distribution(&times[..count]).bytes());
    println!("one value: {} bytes", bytes[0]);
    assert!(bytes[1] <= 160, "ten values take {} bytes", bytes[1]);
}

fn percentiles(criterion: &mut Criterion, ours: &Distribution, theirs: &Histogram<u64>, values: &[i64]) {
    let all = || crate::snapshot::percentiles();
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    for percentile in all() {
        let rank = percentile.rank(ours.count()).expect("not empty");
        let exact = sorted[usize::try_from(rank).expect("small") - 1];
        let answer = ours.percentile(percentile).expect("not empty");
        assert!(answer >= exact && (answer - exact) as f64 <= exact as f64 * RELATIVE_ERROR, "{answer} for {exact}");
    }
    let mut group = criterion.benchmark_group(format!("three percentiles of {} values", values.len()));
    group.bench_function("floor: three elements of a sorted list", |bencher| {
        bencher
            .iter(|| all().filter_map(|it| sorted.get(usize::try_from(it.rank(ours.count())?).ok()? - 1)).sum::<i64>());
    });
    group.bench_function("ours", |bencher| {
        bencher.iter(|| all().filter_map(|percentile| ours.percentile(percentile)).sum::<i64>());
    });
    group.bench_function("peer: hdrhistogram, 2 digits", |bencher| {
        bencher.iter(|| all().map(|percentile| theirs.value_at_percentile(percentile.percent())).sum::<u64>());
    });
    if values.len() <= 1_000 {
        group.bench_function("control: sort the values", |bencher| {
            bencher.iter(|| {
                let mut sorted = values.to_vec();
                sorted.sort_unstable();
                sorted
            });
        });
    }
    group.finish();
}

/// A partial figure as it travels between services.
fn wire(criterion: &mut Criterion, distribution: Distribution, theirs: &Histogram<u64>, count: usize) {
    let partial = Partial { count: i64::try_from(count).expect("small"), distribution, ..Partial::default() };
    let ours = || encode(&partial).encode_to_vec();
    let v2 = || {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(theirs, &mut bytes).expect("it has counts of 64 bits");
        bytes
    };
    let sent = v1::Partial::decode(ours().as_slice()).expect("it was encoded here");
    let mut bytes = sent.histogram.as_slice();
    let mut next = || prost::encoding::decode_varint(&mut bytes).ok();
    let counts = std::iter::from_fn(|| next().and_then(|_| next()));
    assert_eq!(counts.sum::<u64>(), count as u64);
    println!("{count} values travel in {} bytes, HdrHistogram's V2 takes {}", ours().len(), v2().len());
    let mut group = criterion.benchmark_group(format!("a partial figure of {count} values to the wire"));
    group.bench_function("floor: copy its bytes", |bencher| {
        let bytes = ours();
        bencher.iter(|| std::hint::black_box(&bytes).clone());
    });
    group.bench_function("ours", |bencher| bencher.iter(ours));
    group.bench_function("peer: HdrHistogram V2", |bencher| bencher.iter(v2));
    group.bench_function("control: as text", |bencher| bencher.iter(|| format!("{:?}", encode(&partial))));
    group.finish();
}

fn distribution(values: &[i64]) -> Distribution {
    let mut distribution = Distribution::default();
    for value in values {
        distribution.record(*value);
    }
    distribution
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 49, 2).expect("these bounds are allowed")
}
