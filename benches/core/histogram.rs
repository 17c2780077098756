//! A value into a distribution that has seen many, from one thread and from two, and ten into one that is new.

use std::hint::black_box;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use deskpulse_core::histogram::{Distribution, GREATEST, Percentile};
use hdrhistogram::Histogram;
use histogram::AtomicHistogram;
use metrics::Recorder as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::canonical::response_times;
use crate::workload::sized;

const BUCKETS: usize = 5_632;

pub(crate) fn record(criterion: &mut Criterion) {
    let values = response_times(sized(10_000, 500));
    let buckets: Vec<usize> = values.iter().map(|value| bucket_of(*value)).collect();
    all_answer_alike(&values, &buckets);

    let mut group = criterion.benchmark_group("record a value");
    for threads in [1, 2] {
        group.throughput(Throughput::Elements((threads * values.len()) as u64));
        let mut bench = |name: &str, run: &dyn Fn(u64) -> Duration| {
            group.bench_function(BenchmarkId::new(name, threads), |bencher| bencher.iter_custom(run));
        };
        bench("floor: add to a vector's element", &|times| {
            let record = || {
                let mut counts = vec![0_u64; BUCKETS];
                move |bucket: &usize| counts[*bucket] += 1
            };
            on_threads(threads, &buckets, times, record)
        });
        bench("ours: one for each thread", &|times| {
            let record = || {
                let mut ours = Distribution::default();
                move |value: &i64| ours.record(*value)
            };
            on_threads(threads, &values, times, record)
        });
        bench("peer: hdrhistogram, 2 digits, one for each thread", &|times| {
            let record = || {
                let mut theirs = hdr(2);
                move |value: &i64| add(&mut theirs, *value)
            };
            on_threads(threads, &values, times, record)
        });
        bench("peer: SyncHistogram, a recorder for each thread", &|times| {
            let theirs = hdr(2).into_sync();
            on_threads(threads, &values, times, || {
                let mut recorder = theirs.recorder();
                move |value: &i64| recorder.record(value.cast_unsigned()).expect("within the bounds")
            })
        });
        bench("peer: AtomicHistogram, shared", &|times| {
            let theirs = atomic();
            on_threads(threads, &values, times, || |value: &i64| increment(&theirs, *value))
        });
        bench("control: hdrhistogram in a mutex", &|times| {
            let theirs = Mutex::new(hdr(2));
            on_threads(threads, &values, times, || {
                |value: &i64| add(&mut theirs.lock().unwrap_or_else(PoisonError::into_inner), *value)
            })
        });
        bench("control: prometheus, 24 buckets, shared", &|times| {
            let theirs = prometheus_histogram();
            on_threads(threads, &values, times, || |value: &i64| theirs.observe(*value as f64))
        });
        bench("control: metrics with its Prometheus exporter, by handle", &|times| {
            let (_, theirs) = exported();
            on_threads(threads, &values, times, || |value: &i64| theirs.record(*value as f64))
        });
    }
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

/// How long so many threads take to record all values a number of times, each thread with what `record` gives it.
fn on_threads<V: Sync, F: FnMut(&V)>(
    threads: usize,
    values: &[V],
    times: u64,
    record: impl Fn() -> F + Sync,
) -> Duration {
    let together = Barrier::new(threads);
    let one = || {
        let mut record = record();
        together.wait();
        let begun = Instant::now();
        (0..times).for_each(|_| values.iter().for_each(|value| record(black_box(value))));
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut longest = one();
        for other in others {
            longest = longest.max(other.join().expect("no panic"));
        }
        longest
    })
}

fn atomic() -> AtomicHistogram {
    // As exact as ours: 2^7 buckets an octave, up to 2^49.
    AtomicHistogram::new(7, 49).expect("these parameters are allowed")
}

fn increment(histogram: &AtomicHistogram, value: i64) {
    histogram.increment(value.cast_unsigned()).expect("within the bounds");
}

fn prometheus_histogram() -> prometheus::Histogram {
    let buckets = prometheus::exponential_buckets(10.0, 2.0, 24).expect("a scale");
    let options = prometheus::HistogramOpts::new("first_response_ms", "In milliseconds.").buckets(buckets);
    prometheus::Histogram::with_opts(options).expect("these options are allowed")
}

fn exported() -> (PrometheusHandle, metrics::Histogram) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metadata = metrics::Metadata::new("bench", metrics::Level::INFO, None);
    let labels = vec![metrics::Label::new("team", "billing"), metrics::Label::new("channel", "email")];
    let histogram = recorder.register_histogram(&metrics::Key::from_parts("first_response_ms", labels), &metadata);
    (recorder.handle(), histogram)
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
    let (atomic, prometheus, (rendered, exported)) = (atomic(), prometheus_histogram(), exported());
    let mut synced = hdr(2).into_sync();
    let mut recorder = synced.recorder();
    for value in values {
        increment(&atomic, *value);
        prometheus.observe(*value as f64);
        exported.record(*value as f64);
        recorder.record(value.cast_unsigned()).expect("within the bounds");
    }
    drop(recorder);
    synced.refresh();
    let count = values.len() as u64;
    assert_eq!((&*synced, prometheus.get_sample_count()), (&theirs, count));
    assert_eq!(atomic.load().into_iter().map(|bucket| bucket.count()).sum::<u64>(), count);
    rendered.run_upkeep();
    assert!(rendered.render().lines().any(|line| line.contains("_count") && line.ends_with(&format!(" {count}"))));
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
