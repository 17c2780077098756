//! A name to its symbol, and a combination of names to its series: twice or thrice an event.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Bencher, Criterion, Throughput};
use dashmap::DashMap;
use deskpulse_core::dimension::Dimension;
use deskpulse_core::series::{DimensionValues, Names, SeriesId, Symbol};

use crate::workload::{Random, sized};

pub(crate) fn intern(criterion: &mut Criterion) {
    let agents: Vec<String> = (0..sized(10_000, 100)).map(|n| format!("agent-{n:05}@example.com")).collect();
    // Asked for in no order: neighbours do not help each other.
    let mut random = Random::new();
    let count = u32::try_from(agents.len()).expect("few");
    let asked: Vec<usize> = agents.iter().map(|_| random.below(count) as usize).collect();
    symbols(criterion, &agents, &asked);
    series(criterion, &agents, &asked);
}

fn symbols(criterion: &mut Criterion, agents: &[String], asked: &[usize]) {
    let names = Names::default();
    let symbols: Vec<Symbol> = agents.iter().map(|agent| names.symbol(agent)).collect();
    let peer: HashMap<&str, Symbol> = agents.iter().map(String::as_str).zip(symbols.iter().copied()).collect();
    let control: DashMap<String, Symbol> = agents.iter().cloned().zip(symbols.iter().copied()).collect();
    for (agent, symbol) in agents.iter().zip(&symbols) {
        assert_eq!(names.text(*symbol), agent);
        assert_eq!((names.symbol(agent), peer[agent.as_str()]), (*symbol, *symbol));
        assert_eq!(control.get(agent).as_deref(), Some(symbol));
    }

    let mut group = criterion.benchmark_group("look up a symbol");
    group.throughput(Throughput::Elements(asked.len() as u64));
    group.bench_function("floor: a vector's element", |bencher| {
        each(bencher, asked, |n| symbols[n]);
    });
    group.bench_function("ours, known names", |bencher| {
        each(bencher, asked, |n| names.symbol(&agents[n]));
    });
    group.bench_function("peer: HashMap of one thread", |bencher| {
        each(bencher, asked, |n| peer.get(agents[n].as_str()));
    });
    group.bench_function("control: DashMap entry with an owned key", |bencher| {
        let unknown = symbols[0];
        each(bencher, asked, |n| *control.entry(agents[n].clone()).or_insert(unknown));
    });
    group.bench_function("ours, new names", |bencher| {
        bencher.iter(|| {
            let names = Names::default();
            for agent in agents {
                black_box(names.symbol(agent));
            }
            names
        });
    });
    group.finish();
}

fn series(criterion: &mut Criterion, agents: &[String], asked: &[usize]) {
    let names = Names::default();
    let values: Vec<DimensionValues> = agents.iter().map(|agent| values(&names, agent)).collect();
    let series: Vec<SeriesId> = values.iter().map(|values| names.series(values)).collect();
    let peer: HashMap<&DimensionValues, SeriesId> = values.iter().zip(series.iter().copied()).collect();
    let control: HashMap<String, SeriesId> =
        agents.iter().map(|agent| joined(agent)).zip(series.iter().copied()).collect();
    assert_eq!((names.series_count(), peer.len(), control.len()), (agents.len(), agents.len(), agents.len()));
    for ((agent, values), series) in agents.iter().zip(&values).zip(&series) {
        assert_eq!(names.values(*series), Some(values));
        assert_eq!((names.series(values), peer[values], control[&joined(agent)]), (*series, *series, *series));
    }

    let mut group = criterion.benchmark_group("look up a series");
    group.throughput(Throughput::Elements(asked.len() as u64));
    group.bench_function("floor: a vector's element", |bencher| {
        each(bencher, asked, |n| series[n]);
    });
    group.bench_function("ours", |bencher| {
        each(bencher, asked, |n| names.series(&values[n]));
    });
    group.bench_function("peer: HashMap of one thread", |bencher| {
        each(bencher, asked, |n| peer.get(&values[n]));
    });
    group.bench_function("control: HashMap of joined strings", |bencher| {
        each(bencher, asked, |n| control.get(&joined(&agents[n])));
    });
    group.finish();
}

fn each<T>(bencher: &mut Bencher, asked: &[usize], look_up: impl Fn(usize) -> T) {
    bencher.iter(|| {
        for n in asked {
            black_box(look_up(*n));
        }
    });
}

fn values(names: &Names, agent: &str) -> DimensionValues {
    let mut values = DimensionValues::default();
    values.set(&Dimension::Channel, Some(names.symbol("email")));
    values.set(&Dimension::Team, Some(names.symbol("logistics")));
    values.set(&Dimension::Agent, Some(names.symbol(agent)));
    values
}

/// The key that string-keyed metrics would have.
fn joined(agent: &str) -> String {
    format!("channel=email,team=logistics,agent={agent}")
}
