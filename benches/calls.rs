//! Many small questions: what a call costs beside one that does nothing.
//!
//! Client and servers share the machine; servers are processes of their own. Every answer is compared with a count of the events.

mod echo;
mod server;
mod workload;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use deskpulse_cli::generate::Week;
use deskpulse_cli::import;
use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::query_outcome::Outcome;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    BatchQueryMetricsRequest, Event, MetricSelection, QueryMetricsRequest, QueryMetricsResponse, QueryOutcome,
    StreamQueryMetricsRequest,
};
use prost::Message;
use server::Server;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use workload::{Random, SEED, sized};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WEEK_START: jiff::Timestamp = jiff::Timestamp::constant(1_767_571_200, 0);
const DAY_SECONDS: i64 = 86_400;
/// Connections, and calls in flight on each.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 16;
/// Questions in a batch.
const BATCH: usize = 10;
/// Set where this process is to serve the echo: the folder of the answer, and its file there.
const ECHO: &str = "DESKPULSE_BENCH_ECHO";
const ANSWER: &str = "answer";

/// What is asked, and what the answers must be.
struct Questions {
    /// The day of the week that each question is about.
    days: Vec<usize>,
    /// How many conversations were opened on each day, by channel.
    counted: Vec<BTreeMap<String, u64>>,
}

fn main() {
    if let Some(folder) = std::env::var_os(ECHO) {
        let answer = std::fs::read(Path::new(&folder).join(ANSWER)).expect("it was put there");
        echo::serve(QueryMetricsResponse::decode(answer.as_slice()).expect("an answer"));
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let conversations = sized(20_000, 200);
    let events: Vec<Event> = Week { seed: SEED, start: WEEK_START, conversations }.events().collect();
    let mut random = Random::new();
    let days = (0..sized(20_000, 80)).map(|_| random.below(7) as usize).collect();
    let questions = Arc::new(Questions { days, counted: counted(&events) });
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let ours = Server::deskpulse();
    let sent = runtime.block_on(import::send(&ours.url, events.into_iter(), 1_000, 16)).expect("every batch is taken");
    assert_eq!(sent.rejected, 0);
    let answer = runtime.block_on(client(&ours).query_metrics(day(0))).expect("an answer").into_inner();
    // The echo says the same, always.
    let echo = Server::itself(ECHO, &[(ANSWER, &answer.encode_to_vec())]);
    // Until what was sent has been put away.
    std::thread::sleep(sized(Duration::from_secs(10), Duration::ZERO));

    let mut group = criterion.benchmark_group("ask many small questions");
    group.throughput(Throughput::Elements(questions.days.len() as u64));
    let mut bench = |name: &str, server: &Server, how: How| {
        let mut cpu = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let once = || {
                    let before = server.cpu_seconds();
                    let took = runtime.block_on(ask(server, how, &questions));
                    cpu.extend(server.cpu_seconds().zip(before).map(|(after, before)| after - before));
                    took
                };
                std::iter::repeat_with(once).zip(0..times).map(|(took, _)| took).sum()
            });
        });
        cpu.sort_by(f64::total_cmp);
        if let Some(median) = cpu.get(cpu.len() / 2).filter(|_| sized(true, false)) {
            println!("server: {:.1} CPU microseconds a question", median * 1e6 / questions.days.len() as f64);
        }
    };
    bench("floor: a bare tonic echo, a call each", &echo, How::Echoed);
    bench("ours: a call each", &ours, How::Calls);
    bench("ours: a call for ten", &ours, How::Batches);
    bench("ours: a stream, a message each", &ours, How::Stream(1));
    bench("ours: a stream, a message for ten", &ours, How::Stream(BATCH));
    bench("floor: a bare tonic echo, once more", &echo, How::Echoed);
    group.finish();
    criterion.final_summary();
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// A call each, and any answer will do.
    Echoed,
    Calls,
    Batches,
    /// So many questions a message.
    Stream(usize),
}

fn client(server: &Server) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(channel(&server.url).expect("an address"))
}

/// Asks all questions over all connections; how long that took.
async fn ask(server: &Server, how: How, questions: &Arc<Questions>) -> Duration {
    let mut tasks = JoinSet::new();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| client(server)).collect();
    for client in &clients {
        client.clone().query_metrics(day(0)).await.expect("an answer");
    }
    let begun = Instant::now();
    let share = questions.days.len() / CONNECTIONS;
    for (number, client) in clients.into_iter().enumerate() {
        let from = number * share;
        if let How::Stream(size) = how {
            tasks.spawn(stream(client, Arc::clone(questions), from..from + share, size));
            continue;
        }
        let share = share / IN_FLIGHT;
        for task in 0..IN_FLIGHT {
            let from = from + task * share;
            tasks.spawn(calls(client.clone(), Arc::clone(questions), from..from + share, how));
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every answer is right");
    }
    begun.elapsed()
}

/// Asks some questions, one call after the other.
async fn calls(mut client: QueryServiceClient<Channel>, questions: Arc<Questions>, range: Range<usize>, how: How) {
    if matches!(how, How::Batches) {
        for first in range.step_by(BATCH) {
            let queries = questions.from(first, BATCH);
            let outcomes = client.batch_query_metrics(BatchQueryMetricsRequest { queries }).await.expect("answered");
            questions.check_all(first, outcomes.into_inner().outcomes);
        }
        return;
    }
    for number in range {
        let answer = client.query_metrics(day(questions.days[number])).await.expect("answered").into_inner();
        if !matches!(how, How::Echoed) {
            questions.check(number, &answer);
        }
    }
}

/// Asks some questions on one stream.
async fn stream(mut client: QueryServiceClient<Channel>, questions: Arc<Questions>, range: Range<usize>, size: usize) {
    let (sender, requests) = mpsc::channel(64);
    let messages = range.clone().step_by(size).count();
    let asked = Arc::clone(&questions);
    let sending = tokio::spawn(async move {
        for first in range.step_by(size) {
            let queries = asked.from(first, size);
            sender.send(StreamQueryMetricsRequest { sequence: first as u64, queries }).await.expect("it listens");
        }
    });
    let mut answers = client.stream_query_metrics(ReceiverStream::new(requests)).await.expect("a stream").into_inner();
    let mut answered = 0;
    while let Some(message) = answers.message().await.expect("no error") {
        questions.check_all(usize::try_from(message.sequence).expect("small"), message.outcomes);
        answered += 1;
    }
    assert_eq!(answered, messages);
    sending.await.expect("all was sent");
}

impl Questions {
    /// So many from a number on, as far as there are any.
    fn from(&self, first: usize, count: usize) -> Vec<QueryMetricsRequest> {
        self.days[first..].iter().take(count).map(|number| day(*number)).collect()
    }

    fn check_all(&self, first: usize, outcomes: Vec<QueryOutcome>) {
        for (number, outcome) in (first..).zip(outcomes) {
            let answer = match outcome.outcome {
                Some(Outcome::Answer(answer)) => Some(answer),
                _ => None,
            };
            self.check(number, &answer.expect("answered"));
        }
    }

    fn check(&self, number: usize, answer: &QueryMetricsResponse) {
        let expected = &self.counted[self.days[number]];
        assert_eq!(answer.rows.len(), expected.len());
        for row in &answer.rows {
            let channel = row.group[0].value.as_deref().unwrap_or_default();
            assert_eq!(Some(&row.values[0].count), expected.get(channel));
        }
    }
}

/// The openings of one day of the week, by channel.
fn day(number: usize) -> QueryMetricsRequest {
    let midnight = |number: usize| {
        let seconds = WEEK_START.as_second() + i64::try_from(number).expect("small") * DAY_SECONDS;
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    };
    QueryMetricsRequest {
        tenant: "demo".to_owned(),
        metrics: vec![MetricSelection { name: "conversations_opened".to_owned(), ..MetricSelection::default() }],
        group_by: vec!["channel".to_owned()],
        start_time: midnight(number),
        end_time: midnight(number + 1),
        ..QueryMetricsRequest::default()
    }
}

fn counted(events: &[Event]) -> Vec<BTreeMap<String, u64>> {
    let mut counted = vec![BTreeMap::<String, u64>::new(); 7];
    for event in events {
        if let Some(Payload::ConversationOpened(opened)) = &event.payload {
            let seconds = event.time.as_ref().map_or(0, |time| time.seconds) - WEEK_START.as_second();
            let channel = opened.dimensions.as_ref().map(|dimensions| dimensions.channel.clone()).unwrap_or_default();
            if let Some(day) = usize::try_from(seconds / DAY_SECONDS).ok().and_then(|day| counted.get_mut(day)) {
                *day.entry(channel).or_default() += 1;
            }
        }
    }
    counted
}
