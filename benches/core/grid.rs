//! A fact into the grid, published each 1,000.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use criterion::{BatchSize, Criterion, Throughput};
use dashmap::DashMap;
use deskpulse_core::archive::EmptyArchive;
use deskpulse_core::fact::{Fact, Measure};
use deskpulse_core::grid::{ColumnKey, Range, Reader, Recorder, grid};
use deskpulse_core::series::{Names, SeriesId, Symbol};
use hdrhistogram::Histogram;

use crate::canonical::facts;
use crate::workload::sized;

const SLOT_MS: i64 = 900_000;
const EACH: usize = 1_000;

/// What is known of a series in a quarter hour: how many values, and their sum.
type Cells = HashMap<(SeriesId, i64), (u64, i64)>;

pub(crate) fn record(criterion: &mut Criterion) {
    let names = Names::default();
    let tenant = names.symbol("t");
    let facts = facts(&names, sized(100_000, 2_000), 1, 40);
    let vectors: DashMap<(SeriesId, i64), Vec<i64>> = DashMap::new();
    let histograms: DashMap<(SeriesId, i64), Mutex<Histogram<u32>>> = DashMap::new();
    all_hold_the_same(tenant, &facts, &vectors, &histograms);

    let mut group = criterion.benchmark_group("record a fact");
    group.throughput(Throughput::Elements(facts.len() as u64));
    group.bench_function("floor: three atomic stores in a row", |bencher| {
        let cells: Vec<[AtomicU64; 3]> = facts.iter().map(|_| <[AtomicU64; 3]>::default()).collect();
        bencher.iter(|| {
            for (cell, fact) in cells.iter().zip(&facts) {
                cell[0].store(fact.at.millis().cast_unsigned(), Ordering::Relaxed);
                cell[1].store(fact.value.cast_unsigned(), Ordering::Relaxed);
                cell[2].store(fact.measure as u64, Ordering::Relaxed);
            }
        });
    });
    group.bench_function("ours", |bencher| {
        bencher.iter_batched(
            || grid(0, Arc::new(EmptyArchive)).expect("nothing to read"),
            |(mut recorder, reader)| {
                record_all(&mut recorder, tenant, &facts);
                (recorder, reader)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("ours, while a reader scans without a pause", |bencher| {
        bencher.iter_batched(
            || {
                let (recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
                (recorder, Scanner::start(reader, tenant))
            },
            |(mut recorder, scanner)| {
                record_all(&mut recorder, tenant, &facts);
                (recorder, scanner)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("peer: DashMap of vectors", |bencher| {
        bencher.iter_batched(
            DashMap::new,
            |vectors| {
                for fact in &facts {
                    push(&vectors, fact);
                }
                vectors
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("control: DashMap of mutexed hdrhistograms, all made before", |bencher| {
        bencher.iter(|| facts.iter().for_each(|fact| add(&histograms, fact)));
    });
    group.finish();
}

fn record_all(recorder: &mut Recorder, tenant: Symbol, facts: &[Fact]) {
    let subject = recorder.add_subject("c1".into());
    for block in facts.chunks(EACH) {
        for fact in block {
            recorder.record(tenant, subject, std::slice::from_ref(fact));
        }
        recorder.publish();
    }
}

fn key(fact: &Fact) -> (SeriesId, i64) {
    (fact.series, fact.at.millis() / SLOT_MS)
}

fn push(vectors: &DashMap<(SeriesId, i64), Vec<i64>>, fact: &Fact) {
    vectors.entry(key(fact)).or_default().push(fact.value);
}

fn add(histograms: &DashMap<(SeriesId, i64), Mutex<Histogram<u32>>>, fact: &Fact) {
    let new = || Mutex::new(Histogram::new_with_bounds(1, 1 << 49, 2).expect("these bounds are allowed"));
    let histogram = histograms.entry(key(fact)).or_insert_with(new);
    let mut histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
    histogram.record(fact.value.cast_unsigned()).expect("within the bounds");
}

/// Fills the two maps, and compares them and a grid with a plain count.
fn all_hold_the_same(
    tenant: Symbol,
    facts: &[Fact],
    vectors: &DashMap<(SeriesId, i64), Vec<i64>>,
    histograms: &DashMap<(SeriesId, i64), Mutex<Histogram<u32>>>,
) {
    let mut plain = Cells::new();
    for fact in facts {
        let cell = plain.entry(key(fact)).or_default();
        *cell = (cell.0 + 1, cell.1 + fact.value);
        push(vectors, fact);
        add(histograms, fact);
    }
    let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
    record_all(&mut recorder, tenant, facts);
    let mut ours = Cells::new();
    scan(&reader, tenant, |at_ms, series, value| {
        let cell = ours.entry((series, at_ms / SLOT_MS)).or_default();
        *cell = (cell.0 + 1, cell.1 + value);
    });
    assert_eq!(ours, plain);
    let vectors = vectors.iter().map(|entry| (*entry.key(), (entry.len() as u64, entry.iter().sum())));
    assert_eq!(vectors.collect::<Cells>(), plain);
    for entry in histograms {
        let count = entry.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(count, plain[entry.key()].0);
    }
}

fn scan(reader: &Reader, tenant: Symbol, mut see: impl FnMut(i64, SeriesId, i64)) {
    let all = Range { from_inclusive: 0, to_exclusive: i64::MAX };
    let key = ColumnKey::of(Measure::FirstResponse);
    reader.view().facts(tenant, key, all, |fact| see(fact.at_ms, fact.series, fact.value)).expect("readable");
}

/// A thread that reads a grid from one end to the other, again and again, until it is dropped.
struct Scanner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<i64>>,
}

impl Scanner {
    fn start(reader: Reader, tenant: Symbol) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sum = 0_i64;
            while !stopped.load(Ordering::Relaxed) {
                scan(&reader, tenant, |_, _, value| sum = sum.wrapping_add(value));
            }
            sum
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("scanning does not panic");
        }
    }
}
