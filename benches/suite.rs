//! The whole path: events over gRPC into a real server, durable, deduplicated and counted, and questions back.
//!
//! The server is the program itself, as a process of its own, on the disk of the temporary folder. Client and server
//! share the machine, so the server's CPU seconds a million events, printed as it ends, repeat better than the time.

mod ordinary;
mod server;
mod workload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use deskpulse_cli::generate::Week;
use deskpulse_cli::import::{self, ImportSummary};
use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    Event, EventBlock, IngestEventsRequest, ListMetricsRequest, MetricRow, MetricSelection, QueryMetricsRequest,
};
use prost::Message;
use server::Server;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use workload::{Random, SEED, sized};

/// As in the program itself, for the ordinary service, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WEEK_START: jiff::Timestamp = jiff::Timestamp::constant(1_767_571_200, 0);
const DAY_SECONDS: i64 = 86_400;
const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 16;
/// How many events the control sends, one a call.
const ONE_BY_ONE: usize = 200;

/// The folder of the ordinary service, where this process is to be one.
const ORDINARY: &str = "DESKPULSE_BENCH_ORDINARY";

fn main() {
    if let Some(folder) = std::env::var_os(ORDINARY) {
        ordinary::serve(folder.as_ref());
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let conversations = sized(20_000, 200);
    let events: Vec<Event> = Week { seed: SEED, start: WEEK_START, conversations }.events().collect();
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    ingest(&mut criterion, &runtime, &events);
    query(&mut criterion, &runtime, &events);
    criterion.final_summary();
}

fn ingest(criterion: &mut Criterion, runtime: &Runtime, events: &[Event]) {
    let responses = [Suite::start(), Suite::ordinary()].map(|suite| {
        runtime.block_on(suite.answers_as_counted(events));
        runtime.block_on(suite.first_responses())
    });
    let [ours, ordinary] = &responses;
    assert!(alike(ours, ordinary), "{ours:?} and {ordinary:?}");

    let mut group = criterion.benchmark_group("ingest an event");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("floor: encode, write and sync each 1,000", |bencher| bencher.iter(|| write(events)));
    let mut stream = |name: &str, start: fn() -> Suite| {
        let mut server_seconds = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let once = || {
                    let suite = start();
                    let before = suite.0.cpu_seconds();
                    let summary = runtime.block_on(suite.send(events));
                    // An answer counts all of them: whatever was left to do is done then.
                    runtime.block_on(rows(&suite.query(), openings(0, 1)));
                    server_seconds.extend(suite.0.cpu_seconds().zip(before).map(|(after, before)| after - before));
                    Duration::from_secs_f64(summary.seconds)
                };
                std::iter::repeat_with(once).zip(0..times).map(|(elapsed, _)| elapsed).sum()
            });
        });
        server_seconds.sort_by(f64::total_cmp);
        if let Some(median) = server_seconds.get(server_seconds.len() / 2).filter(|_| sized(true, false)) {
            let a_million = median * 1e6 / events.len() as f64;
            println!("server: {a_million:.2} CPU seconds a million events, median of {} runs", server_seconds.len());
        }
    };
    stream("ours: a stream of batches of 1,000, 16 in flight", Suite::start);
    stream("control: the ordinary service, the same stream", Suite::ordinary);
    let few = &events[..ONE_BY_ONE];
    group.throughput(Throughput::Elements(few.len() as u64));
    group.bench_function("control: one event a call", |bencher| {
        bencher.iter_custom(|times| {
            let once = || {
                let suite = Suite::start();
                runtime.block_on(suite.send_one_by_one(few))
            };
            std::iter::repeat_with(once).zip(0..times).map(|(elapsed, _)| elapsed).sum()
        });
    });
    group.finish();
}

fn query(criterion: &mut Criterion, runtime: &Runtime, events: &[Event]) {
    let suite = Suite::start();
    runtime.block_on(suite.send(events));
    let client = suite.query();
    runtime.block_on(a_week_is_its_days(&client));

    let mut random = Random::new();
    let mut group = criterion.benchmark_group("ask a question");
    group.bench_function("floor: ListMetrics", |bencher| {
        bencher.iter(|| runtime.block_on(client.clone().list_metrics(ListMetricsRequest {})).expect("an answer"));
    });
    group.bench_function("ours: a day's openings by channel", |bencher| {
        bencher.iter(|| {
            let day = i64::from(random.below(7));
            runtime.block_on(rows(&client, openings(day, day + 1)))
        });
    });
    for (name, interval) in [
        ("ours: a week's first responses by channel, p50, p90 and p99", ""),
        ("ours: the same by channel and quarter hour", "15m"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(rows(&client, percentiles(interval))));
        });
    }
    group.bench_function("ours: a week's openings by channel and day", |bencher| {
        bencher.iter(|| runtime.block_on(rows(&client, by_day())));
    });
    group.bench_function("control: the same, a call for each day", |bencher| {
        bencher.iter(|| (0..7).for_each(|day| drop(runtime.block_on(rows(&client, openings(day, day + 1))))));
    });
    group.finish();
}

/// What a machine must do at least: the same bytes to the disk, synced as often as there are batches.
fn write(events: &[Event]) -> u64 {
    let mut file: File = tempfile::tempfile().expect("a file");
    let mut written = 0;
    for batch in events.chunks(BATCH) {
        let bytes = EventBlock { events: batch.to_vec(), ..EventBlock::default() }.encode_to_vec();
        file.write_all(&bytes).expect("the disk has room");
        file.sync_data().expect("the disk works");
        written += bytes.len() as u64;
    }
    written
}

/// Openings by channel, from one day of the week to before another.
fn openings(from_day: i64, to_day: i64) -> QueryMetricsRequest {
    let day = |day: i64| Some(prost_types::Timestamp { seconds: WEEK_START.as_second() + day * DAY_SECONDS, nanos: 0 });
    QueryMetricsRequest {
        tenant: "demo".to_owned(),
        metrics: vec![MetricSelection { name: "conversations_opened".to_owned(), ..MetricSelection::default() }],
        group_by: vec!["channel".to_owned()],
        start_time: day(from_day),
        end_time: day(to_day),
        ..QueryMetricsRequest::default()
    }
}

fn by_day() -> QueryMetricsRequest {
    QueryMetricsRequest { interval: "1d".to_owned(), ..openings(0, 7) }
}

async fn a_week_is_its_days(client: &QueryServiceClient<Channel>) {
    let mut week = rows(client, by_day()).await;
    week.sort_by_key(|row| row.interval_start.map(|time| time.seconds));
    let mut days = Vec::new();
    for day in 0..7 {
        days.extend(rows(client, openings(day, day + 1)).await);
    }
    assert_eq!(week, days);
}

async fn rows(client: &QueryServiceClient<Channel>, question: QueryMetricsRequest) -> Vec<MetricRow> {
    client.clone().query_metrics(question).await.expect("an answer").into_inner().rows
}

/// First responses: how many, and their percentiles in milliseconds.
type Response = (u64, Vec<f64>);
/// Those of each channel.
type Responses = BTreeMap<String, Response>;

/// Whether two answers are the same, percentiles within the buckets of two digits of both.
fn alike(a: &Responses, b: &Responses) -> bool {
    const BOUND: f64 = 0.016;
    let within = |(a, b): (&f64, &f64)| (a - b).abs() <= BOUND * a.max(*b);
    let same =
        |(a, b): (&Response, &Response)| a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(within);
    !a.is_empty() && a.keys().eq(b.keys()) && a.values().zip(b.values()).all(same)
}

/// A week's first responses by channel.
fn percentiles(interval: &str) -> QueryMetricsRequest {
    QueryMetricsRequest {
        metrics: vec![MetricSelection {
            name: "first_response_time".to_owned(),
            percentiles: vec![50.0, 90.0, 99.0],
            ..MetricSelection::default()
        }],
        interval: interval.to_owned(),
        ..openings(0, 7)
    }
}

/// A server under load.
struct Suite(Server);

impl Suite {
    fn start() -> Self {
        Self(Server::deskpulse())
    }

    /// The ordinary service in the place of ours.
    fn ordinary() -> Self {
        Self(Server::itself(ORDINARY, &[]))
    }

    /// Sends events and returns once each is durable and known to be new.
    async fn send(&self, events: &[Event]) -> ImportSummary {
        let sent: Vec<Event> = events.to_vec();
        let summary =
            import::send(&self.0.url, sent.into_iter(), BATCH, IN_FLIGHT).await.expect("every batch is taken");
        assert_eq!((summary.events, summary.rejected), (events.len() as u64, 0));
        summary
    }

    async fn send_one_by_one(&self, events: &[Event]) -> Duration {
        let mut client = IngestServiceClient::new(channel(&self.0.url).expect("an address"));
        let begun = Instant::now();
        for event in events {
            let request = IngestEventsRequest { events: vec![event.clone()] };
            let outcome = client.ingest_events(request).await.expect("it is taken").into_inner().outcome;
            assert_eq!(outcome.map(|outcome| outcome.accepted), Some(1));
        }
        begun.elapsed()
    }

    /// Sends everything twice, and compares the answers with a count of the events themselves.
    async fn answers_as_counted(&self, events: &[Event]) {
        let count = events.len() as u64;
        let first = self.send(events).await;
        assert_eq!((first.accepted, first.duplicate), (count, 0));
        let again = self.send(events).await;
        assert_eq!(again.duplicate + again.unverified, count);

        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for event in events {
            if let Some(Payload::ConversationOpened(opened)) = &event.payload {
                let channel = opened.dimensions.as_ref().map(|dimensions| dimensions.channel.clone());
                *expected.entry(channel.unwrap_or_default()).or_default() += 1;
            }
        }
        let counted = rows(&self.query(), openings(0, 7)).await.into_iter().map(|row| {
            let channel = row.group.first().and_then(|group| group.value.clone());
            (channel.unwrap_or_default(), row.values.first().map_or(0, |figure| figure.count))
        });
        assert_eq!(counted.collect::<BTreeMap<_, _>>(), expected);
    }

    async fn first_responses(&self) -> Responses {
        let by_channel = rows(&self.query(), percentiles("")).await.into_iter().filter_map(|row| {
            let (channel, value) = (row.group.first()?.value.clone()?, row.values.first()?);
            Some((channel, (value.count, value.percentiles.iter().map(|percentile| percentile.value).collect())))
        });
        by_channel.collect()
    }

    fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(channel(&self.0.url).expect("an address")).max_decoding_message_size(64 << 20)
    }
}
