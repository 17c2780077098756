//! A value into a distribution that has seen many, and ten into one that is new.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use criterion::{Criterion, Throughput};
use deskpulse_core::histogram::{Distribution, GREATEST, Percentile};
use hdrhistogram::Histogram;

use crate::canonical::response_times;
use crate::workload::sized;

const BUCKETS: usize = 5_632;

pub(crate) fn record(criterion: &mut Criterion) {
    let values = response_times(sized(10_000, 500));
    let buckets: Vec<usize> = values.iter().map(|value| bucket_of(*value)).collect();
    all_answer_alike(&values, &buckets);

    let mut group = criterion.benchmark_group("record a value");
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("floor: add to a vector's element", |bencher| {
        let mut counts = vec![0_u64; BUCKETS];
        bencher.iter(|| buckets.iter().for_each(|bucket| counts[*black_box(bucket)] += 1));
    });
    group.bench_function("ours", |bencher| {
        let mut ours = Distribution::default();
        bencher.iter(|| values.iter().for_each(|value| ours.record(*black_box(value))));
    });
    group.bench_function("peer: hdrhistogram, 2 digits", |bencher| {
        let mut theirs = hdr(2);
        bencher.iter(|| values.iter().for_each(|value| add(&mut theirs, *black_box(value))));
    });
    group.bench_function("control: hdrhistogram in a mutex", |bencher| {
        let theirs = Mutex::new(hdr(2));
        bencher.iter(|| {
            for value in &values {
                add(&mut theirs.lock().unwrap_or_else(PoisonError::into_inner), *black_box(value));
            }
        });
    });
    group.finish();

    let ten = &values[..10];
    let mut group = criterion.benchmark_group("record ten values into a new distribution");
    group.throughput(Throughput::Elements(10));
    group.bench_function("floor: collect a vector", |bencher| {
        bencher.iter(|| black_box(ten).to_vec());
    });
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let mut ours = Distribution::default();
            for value in black_box(ten) {
                ours.record(*value);
            }
            ours
        });
    });
    for (name, digits) in [("peer: hdrhistogram, 2 digits", 2), ("control: hdrhistogram, 3 digits", 3)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut theirs = hdr(digits);
                for value in black_box(ten) {
                    add(&mut theirs, *value);
                }
                theirs
            });
        });
    }
    group.finish();
}

fn all_answer_alike(values: &[i64], buckets: &[usize]) {
    let (mut ours, mut theirs, mut counts) = (Distribution::default(), hdr(2), vec![0_u64; BUCKETS]);
    for (value, bucket) in values.iter().zip(buckets) {
        ours.record(*value);
        add(&mut theirs, *value);
        counts[*bucket] += 1;
    }
    let filled = (0..).zip(counts).filter(|(_, count)| *count > 0);
    assert!(ours.filled_buckets().eq(filled));
    assert_eq!(ours.count(), theirs.len());
    // Not 99.9: they take 99.9 % of 10,000 for a little more than 9,990 and answer rank 9,991.
    for percent in [50.0, 90.0, 99.0] {
        let answer = ours.percentile(Percentile::new(percent).expect("below 100"));
        // Theirs is the end of a bucket, also of that of the greatest value.
        let theirs = ours.max().map(|greatest| theirs.value_at_percentile(percent).cast_signed().min(greatest));
        assert_eq!(answer, theirs, "p{percent}");
    }
}

fn bucket_of(value: i64) -> usize {
    let mut one = Distribution::default();
    one.record(value);
    let (bucket, _) = one.filled_buckets().next().expect("there is one value");
    bucket as usize
}

fn hdr(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, GREATEST.cast_unsigned(), digits).expect("these bounds are allowed")
}

fn add(histogram: &mut Histogram<u64>, value: i64) {
    histogram.record(value.cast_unsigned()).expect("within the bounds");
}
