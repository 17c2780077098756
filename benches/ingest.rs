//! An event from the bytes it came in to its acknowledgement and into the figures: its check alone, and the whole path without a
//! transport: checked, routed, written and synced, applied, and found to be new.
//!
//! The disk is that of the temporary folder: set `TMPDIR` to measure another.

#[expect(dead_code, reason = "its blocks are for the benches that read a log")]
mod blocks;
#[expect(dead_code, reason = "its random numbers are for the benches that make up their own events")]
mod workload;

use std::collections::VecDeque;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, Throughput};
use deskpulse_aggregation::{Aggregation, AggregationApi, KeepOptions, Opened};
use deskpulse_core::time::Timestamp;
use deskpulse_disk::RealDisk;
use deskpulse_edge::fault::Fault;
use deskpulse_edge::server::Drain;
use deskpulse_edge::upstream::{self, Upstream};
use deskpulse_ingest::{Intake, Limits, LogApi, check};
use deskpulse_log::{EmbeddedLog, LogOptions};
use deskpulse_proto::lent;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{BatchOutcome, Event, MetricSelection, QueryMetricsRequest};
use deskpulse_query::QueryApi;
use prost::Message as _;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use blocks::{BATCH, PARTITIONS, conversation, cpu_seconds, week};
use workload::sized;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let events = week(sized(20_000, 200));
    let encoded: Vec<Bytes> = events.iter().map(|event| event.encode_to_vec().into()).collect();
    checking(&mut criterion, &events, &encoded);
    whole_path(&mut criterion, &events, &encoded);
    criterion.final_summary();
}

fn checking(criterion: &mut Criterion, events: &[Event], encoded: &[Bytes]) {
    let (now, future) = (now(), Limits::default().future);
    for (event, bytes) in events.iter().zip(encoded) {
        let lent = lent::Event::decode(bytes).expect("it was encoded here");
        assert_eq!(check(&lent, now, future).expect("it is good").subject.id, conversation(event));
    }
    let mut group = criterion.benchmark_group("decode and validate an event");
    group.throughput(Throughput::Elements(encoded.len() as u64));
    group.bench_function("floor: read the bytes and checksum them", |bencher| {
        bencher.iter(|| encoded.iter().fold(0, |sum, bytes| crc32c::crc32c_append(sum, bytes)));
    });
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            for bytes in encoded {
                let event = lent::Event::decode(bytes).expect("it was encoded here");
                black_box(check(&event, now, future).expect("it is good"));
            }
        });
    });
    group.bench_function("peer: prost, not validated", |bencher| {
        bencher.iter(|| {
            for bytes in encoded {
                black_box(Event::decode(bytes.as_ref()).expect("it was encoded here"));
            }
        });
    });
    group.bench_function("control: prost, and encoded again for the log", |bencher| {
        bencher.iter(|| {
            for bytes in encoded {
                black_box(Event::decode(bytes.as_ref()).expect("it was encoded here").encode_to_vec());
            }
        });
    });
    group.finish();
}

fn whole_path(criterion: &mut Criterion, events: &[Event], encoded: &[Bytes]) {
    let runtime = Runtime::new().expect("a runtime");
    let batches: Vec<Vec<Bytes>> = encoded.chunks(BATCH).map(<[Bytes]>::to_vec).collect();
    let mut group = criterion.benchmark_group("ingest an event without transport");
    group.throughput(Throughput::Elements(encoded.len() as u64));
    let folder = tempfile::tempdir().expect("a folder");
    group.bench_function("floor: write and sync each 1,000", |bencher| {
        bencher.iter(|| write_and_sync(folder.path(), encoded));
    });
    let mut cases = vec![("ours, 16 batches at once", None, 16), ("control: one batch at a time", None, 1)];
    // What syncing costs: a folder in memory.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        cases.insert(1, ("ours, 16 batches at once, a folder in memory", Some(memory), 16));
    }
    for (name, place, at_once) in cases {
        let mut cpu = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let node = runtime.block_on(Node::start(place));
                        let (elapsed, seconds) = runtime.block_on(node.take(&batches, at_once));
                        cpu.push(seconds * 1e6 / encoded.len() as f64);
                        runtime.block_on(node.counts(events));
                        elapsed
                    })
                    .sum()
            });
        });
        cpu.sort_by(f64::total_cmp);
        println!("{:.2} CPU seconds a million events, client included", cpu[cpu.len() / 2]);
    }
    group.finish();
}

fn write_and_sync(folder: &Path, encoded: &[Bytes]) {
    let mut file = File::create(folder.join("file")).expect("created");
    for batch in encoded.chunks(BATCH) {
        file.write_all(&batch.concat()).expect("written");
        file.sync_data().expect("synced");
    }
}

/// All services in this process, without a transport between them.
struct Node {
    intake: Arc<Intake<EmbeddedLog>>,
    query: QueryServiceClient<Upstream>,
    _folder: TempDir,
}

impl Node {
    async fn start(place: Option<&Path>) -> Self {
        let folder = place.map_or_else(tempfile::tempdir, tempfile::tempdir_in).expect("a folder");
        let drain = Drain::default();
        let log = EmbeddedLog::open(&folder.path().join("log"), LogOptions::new(PARTITIONS)).expect("a new log opens");
        let intake = Intake::new(log, Limits::default(), drain.clone());
        let keep = KeepOptions {
            disk: Arc::new(RealDisk),
            folder: folder.path().join("aggregation"),
            memory_bytes: 8 << 30,
            checkpoint_every: Duration::from_secs(30),
            snapshot_every: Duration::from_hours(1),
            log_retention: None,
        };
        let store = Opened::open(keep).expect("a new store opens");
        let aggregation =
            Aggregation::follow(upstream::local(LogApi::server(Arc::clone(&intake))), None, drain.clone(), store);
        let query = QueryApi::server(upstream::local(AggregationApi::new(aggregation).server()), None, drain);
        let node = Self { intake, query: QueryServiceClient::new(upstream::local(query)), _folder: folder };
        // Until aggregation reports, it cannot be told which events are new.
        while node.ask("nobody").await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        node
    }

    /// Takes all batches in order, as a stream does, so many at once; how long that took, and how many CPU seconds.
    async fn take(&self, batches: &[Vec<Bytes>], at_once: usize) -> (Duration, f64) {
        let (begun, before) = (Instant::now(), cpu_seconds());
        let intake = Arc::clone(&self.intake);
        let mut under_way = VecDeque::new();
        for batch in batches {
            if under_way.len() == at_once {
                done(under_way.pop_front()).await;
            }
            let room = intake.room(batch.len()).await.expect("there is room");
            let submitted = intake.submit(batch.clone(), room).await.expect("it is taken");
            let intake = Arc::clone(&intake);
            under_way.push_back((batch.len(), tokio::spawn(async move { intake.outcome(submitted).await })));
        }
        while !under_way.is_empty() {
            done(under_way.pop_front()).await;
        }
        (begun.elapsed(), cpu_seconds() - before)
    }

    async fn ask(&self, tenant: &str) -> Option<u64> {
        let metrics = vec![MetricSelection { name: "conversations_opened".to_owned(), ..MetricSelection::default() }];
        let question = QueryMetricsRequest { tenant: tenant.to_owned(), metrics, ..QueryMetricsRequest::default() };
        let answer = self.query.clone().query_metrics(question).await.ok()?;
        Some(answer.get_ref().rows.iter().flat_map(|row| &row.values).map(|value| value.count).sum())
    }

    async fn counts(&self, events: &[Event]) {
        use deskpulse_proto::v1::event::Payload;
        let is_opening = |event: &&Event| matches!(event.payload, Some(Payload::ConversationOpened(_)));
        assert_eq!(self.ask("demo").await, Some(events.iter().filter(is_opening).count() as u64));
    }
}

/// Waits for the outcome of a batch, all of whose events were good.
async fn done(batch: Option<(usize, JoinHandle<Result<BatchOutcome, Fault>>)>) {
    let Some((count, outcome)) = batch else { return };
    let outcome = outcome.await.expect("no panic").expect("it is durable");
    assert_eq!((outcome.accepted as usize, outcome.rejected), (count, 0));
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
