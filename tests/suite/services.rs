//! The services as processes: together and apart, coming and going.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use deskpulse_cli::generate::Week;
use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    Actor, ActorKind, Basis, ConversationUpdated, CostRecorded, Event, IngestEventsRequest, ListMetricsRequest,
    MessageCreated, MetricSelection, Money, QueryMetricsResponse, StreamEventsRequest, StreamEventsResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Body as _, Service as _, http};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::harness::{Client, Process, Question, Suite, ask, assert_refused, run, timestamp};

/// The three services as three processes.
struct Apart {
    folder: tempfile::TempDir,
    ingest: Process,
    aggregation: Process,
    query: Process,
}

impl Apart {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ingest = ingest(&folder, "127.0.0.1:0");
        let aggregation = aggregation(&folder, "127.0.0.1:0", &ingest.url);
        let query = query(&aggregation.url);
        Self { folder, ingest, aggregation, query }
    }

    fn client(&self) -> Client {
        Client::apart(&self.ingest.url, &self.query.url)
    }
}

fn ingest(folder: &tempfile::TempDir, listen: &str) -> Process {
    let data = folder.path().to_string_lossy();
    Process::serve(&["--role", "ingest", "--listen", listen, "--data-dir", &data, "--partitions", "3"])
}

/// Aggregation keeps what it makes of the log beside it.
fn aggregation(folder: &tempfile::TempDir, listen: &str, ingest: &str) -> Process {
    let data = folder.path().to_string_lossy();
    Process::serve(&[
        "--role",
        "aggregation",
        "--listen",
        listen,
        "--ingest",
        ingest,
        "--data-dir",
        &data,
        "--checkpoint-every",
        "0.2",
    ])
}

fn query(aggregation: &str) -> Process {
    Process::serve(&["--role", "query", "--listen", "127.0.0.1:0", "--aggregation", aggregation])
}

/// The whole answer. When refused with a time to come back, asks again then, as a good client does; so this waits, but
/// only as long as it is told to.
async fn answer(client: &Client, question: &Question) -> QueryMetricsResponse {
    let patience = Instant::now() + Duration::from_mins(1);
    loop {
        let status = match client.query.clone().query_metrics(question.0.clone()).await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => status,
        };
        let retry = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        let retry = retry.unwrap_or_else(|| panic!("refused for good: {status:?}"));
        assert!(Instant::now() < patience, "refused for a minute: {status:?}");
        tokio::time::sleep(retry).await;
    }
}

/// Messages of customers, `count` of them from number `first` on, in one conversation out of fifty each.
fn messages(first: u32, count: u32) -> Vec<Event> {
    let message = |number: u32| Event {
        id: format!("m{number}"),
        source: "test".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(timestamp("2026-06-01T09:00:00Z")),
        payload: Some(Payload::MessageCreated(MessageCreated {
            conversation: format!("c{}", number % 50),
            actor: Some(Actor { kind: ActorKind::Customer.into(), id: String::new() }),
            ..Default::default()
        })),
        ..Default::default()
    };
    (first..first + count).map(message).collect()
}

async fn received(client: &Client) -> u64 {
    answer(client, &ask("acme", "messages_received")).await.rows[0].values[0].count
}

/// Batches 1 to `batches` of ten messages each.
fn batches(batches: u32) -> impl Iterator<Item = StreamEventsRequest> + Send + use<> {
    let batch = |number: u32| StreamEventsRequest { sequence: number.into(), events: messages(number * 10 - 10, 10) };
    (1..=batches).map(batch)
}

/// What is acknowledged until the stream ends, and how it ends.
async fn acknowledgements(mut stream: Streaming<StreamEventsResponse>) -> (Vec<StreamEventsResponse>, Status) {
    let mut acknowledged = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(answer)) => acknowledged.push(answer),
            Ok(None) => return (acknowledged, Status::ok("")),
            Err(status) => return (acknowledged, status),
        }
    }
}

fn sequences(acknowledged: &[StreamEventsResponse]) -> Vec<u64> {
    acknowledged.iter().map(|answer| answer.acknowledged_sequence).collect()
}

#[test]
fn three_processes_answer_as_one_does() {
    let week = Week { seed: 11, start: "2026-01-05T00:00:00Z".parse().expect("an instant"), conversations: 400 };
    let (from, to) = (week.start.to_string(), week.end().to_string());
    let about = |metric: &str| ask("demo", metric).from(&from).to(&to);
    let mut several = about("first_response_time").percentiles(&[0.0, 50.0, 90.0, 99.9, 100.0]).at_most(60);
    for name in ["resolutions", "reopen_rate", "conversations_active", "net_flow", "messages_sent", "transfer_rate"] {
        several.0.metrics.push(MetricSelection { name: name.to_owned(), ..Default::default() });
    }
    let mut within = about("response_rate").group_by(&["team"]);
    within.0.metrics[0].within = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    let questions = [
        several.clone(),
        several.clone().group_by(&["channel"]).every("1d", "Europe/Berlin"),
        several.group_by(&["agent", "weekday", "hour"]).filter("channel IN (email, chat) AND NOT team = \"a*\""),
        about("resolution_time").percentiles(&[50.0]).basis(Basis::Cohort).every("1h", "Asia/Kathmandu"),
        about("backlog").group_by(&["channel", "priority"]).every("1d", ""),
        about("backlog_age").percentiles(&[50.0, 90.0]).group_by(&["team"]),
        about("longest_wait").group_by(&["channel"]),
        within,
        about("reply_time").group_by(&["agent"]).top("-value", 5),
        about("conversations_opened").group_by(&["topic", "subtopic", "language"]).top("-count", 10),
        ask("nobody", "backlog").to(&to),
    ];
    let (together, apart) = (Suite::start(), Apart::start());
    run(async {
        let clients = [together.client(), apart.client()];
        let events: Vec<Event> = week.events().collect();
        assert!(events.len() > 3_000, "{}", events.len());
        for batch in events.chunks(500) {
            let count = u32::try_from(batch.len()).expect("500 at most");
            for client in &clients {
                assert_eq!(client.send(batch.to_vec()).await.accepted, count);
            }
        }
        for question in questions {
            let mut answers = Vec::new();
            for client in &clients {
                let mut answer = answer(client, &question).await;
                assert_ne!(answer.total_rows, 0, "{:?}", question.0);
                let freshness = answer.freshness.as_mut().expect("freshness");
                assert_eq!(freshness.positions.len(), 3);
                assert!(freshness.answer_time.take().is_some() && freshness.complete_until.take().is_some());
                answers.push(prost::Message::encode_to_vec(&answer));
            }
            assert!(answers[0] == answers[1], "{:?}", question.0);
        }
    });
}

#[test]
fn ingest_goes_on_while_aggregation_is_away_and_nothing_is_missing_afterwards() {
    let mut suite = Apart::start();
    run(async {
        let client = suite.client();
        client.send(messages(0, 100)).await;
        assert_eq!(received(&client).await, 100);

        let address = suite.aggregation.address();
        suite.aggregation.kill();
        let outcome = client.send(messages(100, 100)).await;
        assert_eq!((outcome.accepted, outcome.unverified, outcome.exceptions.len()), (100, 100, 0));
        // Nobody can tell yet that these are known.
        let outcome = client.send(messages(0, 50)).await;
        assert_eq!((outcome.accepted, outcome.unverified, outcome.duplicates), (50, 50, 0));
        let status = client.ask(ask("acme", "messages_received")).await.expect_err("nobody can count");
        assert_refused(&status, Code::Unavailable, "UPSTREAM_UNREACHABLE", "", "aggregation is away");

        suite.aggregation = aggregation(&suite.folder, &address, &suite.ingest.url);
        assert_eq!(received(&client).await, 200);
        client.settle().await;
        let outcome = client.send(messages(150, 100)).await;
        assert_eq!((outcome.accepted, outcome.duplicates, outcome.unverified), (50, 50, 0));
        assert_eq!(received(&client).await, 250);
    });
}

#[test]
fn answers_say_that_they_may_be_behind_while_ingest_is_away() {
    let mut suite = Apart::start();
    run(async {
        let client = suite.client();
        client.send(messages(0, 100)).await;
        let question = ask("acme", "messages_received");
        let behind = |answer: QueryMetricsResponse| -> Vec<bool> {
            let positions = answer.freshness.expect("freshness").positions;
            positions.iter().map(|position| position.may_be_behind).collect()
        };
        assert_eq!(behind(answer(&client, &question).await), [false; 3]);

        let address = suite.ingest.address();
        suite.ingest.kill();
        assert_eq!(behind(answer(&client, &question).await), [true; 3]);
        assert_eq!(received(&client).await, 100);

        suite.ingest = ingest(&suite.folder, &address);
        let client = suite.client();
        client.send(messages(100, 100)).await;
        assert_eq!(behind(answer(&client, &question).await), [false; 3]);
        assert_eq!(received(&client).await, 200);
    });
}

#[test]
fn an_aggregation_that_comes_before_ingest_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut early = ingest(&folder, "127.0.0.1:0");
    run(async {
        Client::connect(&early.url).send(messages(0, 100)).await;
        let (address, url) = (early.address(), early.url.clone());
        early.kill();
        let aggregation = aggregation(&folder, "127.0.0.1:0", &url);
        let query = query(&aggregation.url);
        let client = Client::apart(&url, &query.url);
        let status = client.ask(ask("acme", "messages_received")).await.expect_err("there is no log yet");
        assert_refused(&status, Code::Unavailable, "UPSTREAM_UNREACHABLE", "", "no ingest yet");

        let _ingest = ingest(&folder, &address);
        assert_eq!(received(&client).await, 100);
    });
}

#[test]
fn a_query_without_aggregation_says_when_to_come_back() {
    // Nothing listens on port 1.
    let query = query("http://127.0.0.1:1");
    run(async {
        let client = Client::connect(&query.url);
        let status = client.ask(ask("acme", "backlog")).await.expect_err("nobody can count");
        assert_refused(&status, Code::Unavailable, "UPSTREAM_UNREACHABLE", "", "no aggregation");
        let status = client.ask(ask("acme", "front_log")).await.expect_err("unknown");
        assert_refused(
            &status,
            Code::InvalidArgument,
            "UNKNOWN_METRIC",
            "metrics[0].name",
            "what is wrong stays wrong",
        );
        let catalogue =
            client.query.clone().list_metrics(ListMetricsRequest {}).await.expect("needs nobody").into_inner();
        assert!(catalogue.metrics.iter().any(|metric| metric.name == "first_response_time"));
        let status = client.try_send(messages(0, 1)).await.expect_err("not served here");
        assert_refused(&status, Code::Unimplemented, "UNKNOWN_METHOD", "", "ingest at query's door");
    });
}

#[test]
fn pipelined_batches_are_acknowledged_in_order_and_all_count() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        for (round, news) in [("first", 500), ("again", 0)] {
            let requests = tokio_stream::iter(batches(50));
            let stream = client.ingest.clone().stream_events(requests).await.expect("a stream begins").into_inner();
            let (acknowledged, status) = acknowledgements(stream).await;
            assert_eq!(status.code(), Code::Ok, "{round}: {status:?}");
            assert_eq!(sequences(&acknowledged), (1..=50).collect::<Vec<_>>(), "{round}");
            let outcomes: Vec<_> = acknowledged.iter().filter_map(|answer| answer.outcome.as_ref()).collect();
            assert!(outcomes.iter().all(|it| it.accepted + it.duplicates == 10), "{round}: {outcomes:?}");
            // Batches that overtake aggregation are not checked for duplicates, and say so.
            let accepted = outcomes.iter().map(|it| it.accepted).sum::<u32>();
            let unverified = outcomes.iter().map(|it| it.unverified).sum::<u32>();
            assert!((news..=news + unverified).contains(&accepted), "{round}: {outcomes:?}");
            assert_eq!(received(&client).await, 500, "{round}");
        }
    });
}

#[test]
fn gzip_and_zstd_are_accepted_on_every_kind_of_call() {
    let suite = Suite::start();
    run(async {
        let mut sent = 0;
        for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
            let channel = channel(suite.url()).expect("an address");
            let mut ingest =
                IngestServiceClient::new(channel.clone()).send_compressed(encoding).accept_compressed(encoding);
            let request = IngestEventsRequest { events: messages(sent, 1_000) };
            let outcome = ingest.ingest_events(request).await.expect("accepted").into_inner().outcome;
            assert_eq!(outcome.expect("an outcome").accepted, 1_000);
            let request = StreamEventsRequest { sequence: 1, events: messages(sent + 1_000, 1_000) };
            let stream = ingest.stream_events(tokio_stream::iter([request])).await.expect("a stream begins");
            let (acknowledged, status) = acknowledgements(stream.into_inner()).await;
            assert_eq!((sequences(&acknowledged), status.code()), (vec![1], Code::Ok), "{status:?}");
            sent += 2_000;

            let mut query = QueryServiceClient::new(channel).send_compressed(encoding).accept_compressed(encoding);
            let answer = query.query_metrics(ask("acme", "messages_received").0).await.expect("answered").into_inner();
            assert_eq!(answer.rows[0].values[0].count, u64::from(sent));

            let mut health =
                HealthClient::new(self::channel(suite.url()).expect("an address")).send_compressed(encoding);
            let status = health.check(HealthCheckRequest::default()).await.expect("answered").into_inner().status();
            assert_eq!(status, ServingStatus::Serving);
        }
    });
}

const SERVICES: [&str; 5] = [
    "deskpulse.v1.IngestService",
    "deskpulse.v1.LogService",
    "deskpulse.v1.AggregationService",
    "deskpulse.v1.QueryService",
    "deskpulse.v1.ConfigService",
];

#[test]
fn health_speaks_of_the_whole_and_of_every_service_that_is_there() {
    let (suite, alone) = (Suite::start(), query("http://127.0.0.1:1"));
    run(async {
        let check = async |url: &str, service: &str| {
            let mut health = HealthClient::new(channel(url).expect("an address"));
            let request = HealthCheckRequest { service: service.to_owned() };
            health.check(request).await.map(|answer| answer.into_inner().status())
        };
        for service in SERVICES.into_iter().chain([""]) {
            assert_eq!(check(suite.url(), service).await.expect(service), ServingStatus::Serving, "{service}");
        }
        for service in ["deskpulse.v1.Nothing", "IngestService"] {
            assert_eq!(check(suite.url(), service).await.expect_err(service).code(), Code::NotFound, "{service}");
        }
        for (service, there) in SERVICES.into_iter().zip([false, false, false, true, true]) {
            assert_eq!(check(&alone.url, service).await.is_ok(), there, "{service}");
        }
        assert_eq!(check(&alone.url, "").await.expect("the whole"), ServingStatus::Serving);
    });
}

/// Asks reflection for its list of services, byte by byte: no generated client stands between.
async fn reflected(url: &str, version: &str) -> String {
    // Field 7, `list_services`, holds "*".
    let body = Body::new("\0\0\0\0\x03:\x01*".to_owned());
    let request = http::Request::post(format!("{url}/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request");
    let mut channel = channel(url).expect("an address");
    poll_fn(|context| channel.poll_ready(context)).await.expect("it listens");
    let mut body = channel.call(request).await.expect("it answers").into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.expect("a frame").into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn both_versions_of_reflection_list_every_service() {
    let suite = Suite::start();
    run(async {
        for version in ["v1", "v1alpha"] {
            let list = reflected(suite.url(), version).await;
            for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
                assert!(list.contains(service), "{version} does not list {service}: {list:?}");
            }
        }
    });
}

#[test]
fn asked_to_go_a_process_acknowledges_what_it_took_then_goes_and_keeps_it() {
    for signal in ["-TERM", "-INT"] {
        let mut suite = Suite::start();
        run(async {
            let client = suite.client();
            let mut health = HealthClient::new(channel(suite.url()).expect("an address"));
            let mut watched = health.watch(HealthCheckRequest::default()).await.expect("watched").into_inner();
            let mut serving = async || watched.message().await.map(|it| it.map(|it| it.status()));
            assert_eq!(serving().await.expect("a status"), Some(ServingStatus::Serving));

            // A stream that stays open: its sender neither ends nor leaves.
            let (sender, receiver) = mpsc::channel(32);
            for batch in batches(20) {
                sender.send(batch).await.expect("room for all");
            }
            let stream = client.ingest.clone().stream_events(ReceiverStream::new(receiver)).await.expect("begins");
            let mut stream = stream.into_inner();
            let first = stream.message().await.expect("good").expect("an acknowledgement");
            assert_eq!(first.acknowledged_sequence, 1);
            let rest = tokio::spawn(acknowledgements(stream));

            let asked = Instant::now();
            assert_eq!(suite.process().terminate(signal), Some(0), "{signal}");
            assert!(asked.elapsed() < Duration::from_secs(5), "{signal}: took {:?}", asked.elapsed());
            let (acknowledged, status) = rest.await.expect("read to the end");
            assert_eq!(sequences(&acknowledged), (2..=20).collect::<Vec<_>>(), "{signal}: {status:?}");
            assert_refused(&status, Code::Unavailable, "DRAINING", "", signal);
            assert_eq!(serving().await.expect("a status"), Some(ServingStatus::NotServing), "{signal}");
            drop(sender);

            suite.kill_and_restart();
            assert_eq!(received(&suite.client()).await, 200, "{signal}");
        });
    }
}

#[test]
fn separate_processes_go_when_asked_though_the_others_hold_on_to_them() {
    let mut suite = Apart::start();
    run(async {
        let client = suite.client();
        client.send(messages(0, 100)).await;
        assert_eq!(received(&client).await, 100);
        // In the order of the data, so that each goes while the next still calls it.
        for process in [&mut suite.ingest, &mut suite.aggregation, &mut suite.query] {
            let asked = Instant::now();
            assert_eq!(process.terminate("-TERM"), Some(0), "{}", process.url);
            assert!(asked.elapsed() < Duration::from_secs(5), "{} took {:?}", process.url, asked.elapsed());
        }
    });
}

#[test]
fn a_start_that_cannot_work_is_refused_in_words() {
    let suite = Apart::start();
    let (data, taken) = (suite.folder.path().to_string_lossy(), suite.ingest.address());
    let fresh = tempfile::tempdir().expect("a folder");
    let fresh = fresh.path().to_string_lossy();
    for (arguments, code, says) in [
        (vec!["--listen", "127.0.0.1:0", "--data-dir", &data], 1, "in use by another process"),
        (vec!["--role", "ingest", "--listen", "127.0.0.1:0", "--data-dir", &data], 1, "in use by another process"),
        (vec!["--listen", &taken, "--data-dir", &fresh], 1, "cannot listen on"),
        (vec!["--listen", "127.0.0.1:0", "--data-dir", "/dev/null/data"], 1, "/dev/null/data/aggregation"),
        (vec!["--listen", "127.0.0.1:0", "--role", "query", "--aggregation", "not a url"], 1, "is no address such as"),
        (vec!["--listen", "127.0.0.1:0", "--role", "query"], 2, "--aggregation <URL>"),
        (vec!["--listen", "127.0.0.1:0", "--role", "aggregation"], 2, "--ingest <URL>"),
        (vec!["--listen", "127.0.0.1:0", "--data-dir", &fresh, "--partitions", "0"], 2, "0 is not in 1..=1024"),
    ] {
        let (exit, said) = Process::refused(&arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says) && said.contains("error: "), "{arguments:?}: {said}");
    }
}

#[test]
fn a_log_keeps_its_number_of_partitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_string_lossy();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", &data];
    let with = |partitions: &'static str| [&arguments[..], &["--partitions", partitions]].concat();
    let mut first = Process::serve(&with("5"));
    run(async {
        Client::connect(&first.url).send(messages(0, 100)).await;
    });
    assert_eq!(first.terminate("-TERM"), Some(0));

    let (exit, said) = Process::refused(&with("4"));
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("the log has 5 partitions, not 4"), "{said}");

    for arguments in [arguments.to_vec(), with("5")] {
        let mut again = Process::serve(&arguments);
        run(async {
            let answer = answer(&Client::connect(&again.url), &ask("acme", "messages_received")).await;
            assert_eq!(answer.freshness.expect("freshness").positions.len(), 5);
            assert_eq!(answer.rows[0].values[0].count, 100);
        });
        again.kill();
    }
}

#[test]
fn killed_while_batches_stream_in_it_counts_each_event_once_when_all_are_sent_again() {
    const BATCHES: u32 = 300;
    let mut suite = Suite::start();
    run(async {
        let mut safe = 0;
        // Killed at the third acknowledgement, then at later ones; each time everything is sent again.
        for acknowledgement in [3, 40, 150] {
            let requests = tokio_stream::iter(batches(BATCHES));
            let stream = suite.client().ingest.stream_events(requests).await.expect("a stream begins");
            let mut stream = stream.into_inner();
            let mut last = 0;
            while last < acknowledgement {
                last = stream.message().await.expect("good").expect("not the end").acknowledged_sequence;
            }
            suite.process().kill();
            // What had been on its way is acknowledged as well.
            let (acknowledged, status) = acknowledgements(stream).await;
            assert_ne!(status.code(), Code::Ok, "it was killed in the middle");
            safe = safe.max(sequences(&acknowledged).last().copied().unwrap_or(last));
            suite.kill_and_restart();
            let count = received(&suite.client()).await;
            assert!((safe * 10..=u64::from(BATCHES) * 10).contains(&count), "{count} of {safe} batches");
        }
        let requests = tokio_stream::iter(batches(BATCHES));
        let stream = suite.client().ingest.stream_events(requests).await.expect("a stream begins");
        let (acknowledged, status) = acknowledgements(stream.into_inner()).await;
        assert_eq!((acknowledged.len(), status.code()), (300, Code::Ok), "{status:?}");
        assert_eq!(received(&suite.client()).await, u64::from(BATCHES) * 10);
    });
}

#[test]
fn of_two_batches_on_a_stream_the_first_accepted_stays() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        for round in 0..5 {
            let first = round * 10_000;
            let with = |number: u32, mut events: Vec<Event>| {
                let mut event = messages(first, 1).remove(0);
                event.time = Some(timestamp(&format!("2026-06-01T10:00:0{number}Z")));
                event.id = format!("same-{round}");
                events.push(event);
                StreamEventsRequest { sequence: number.into(), events }
            };
            // The first batch takes longer to check and to encode than the second.
            let batches = [with(1, messages(first, 4_000)), with(2, Vec::new())];
            let stream =
                client.ingest.clone().stream_events(tokio_stream::iter(batches)).await.expect("a stream begins");
            let (acknowledged, _) = acknowledgements(stream.into_inner()).await;
            let outcomes: Vec<_> = acknowledged.into_iter().map(|answer| answer.outcome.expect("an outcome")).collect();
            assert_eq!(outcomes[0].rejected, 0, "{:?}", outcomes[0].exceptions);
            if outcomes[1].unverified == 0 {
                assert_eq!(outcomes[1].exceptions[0].reason, "CONFLICTING_ID");
            }
        }
        let late = ask("acme", "messages_received").from("2026-06-01T10:00:01Z").to("2026-06-01T10:00:02Z");
        assert_eq!(client.figure(late).await.count, 5);
        assert_eq!(client.figure(ask("acme", "conflicting_ids")).await.count, 5);
    });
}

#[test]
fn aggregation_refuses_to_mix_two_logs() {
    let mut suite = Apart::start();
    run(async {
        suite.client().send(messages(0, 30)).await;
        assert_eq!(received(&suite.client()).await, 30);
        let address = suite.ingest.address();
        suite.ingest.kill();
        std::fs::remove_dir_all(suite.folder.path().join("log")).expect("the log is removed");
        suite.ingest = ingest(&suite.folder, &address);
        let client = suite.client();
        client.send(messages(100, 5)).await;
        let status = client.ask(ask("acme", "messages_received")).await.expect_err("it is another log");
        assert_refused(&status, Code::FailedPrecondition, "OTHER_LOG", "", "another log");

        let address = suite.aggregation.address();
        suite.aggregation.kill();
        let (ingest, data) = (suite.ingest.url.clone(), suite.folder.path().to_string_lossy().into_owned());
        let aggregation_again =
            ["--role", "aggregation", "--listen", &address, "--ingest", &ingest, "--data-dir", &data];
        let (exit, said) = Process::ended(&aggregation_again);
        assert_eq!(exit, Some(1), "{said}");
        assert!(said.contains("follows another log than the one there is now"), "{said}");
        std::fs::remove_dir_all(suite.folder.path().join("aggregation")).expect("the store is removed");
        suite.aggregation = aggregation(&suite.folder, &address, &suite.ingest.url);
        assert_eq!(received(&suite.client()).await, 5);
    });
}

#[test]
fn a_conversation_has_no_more_than_64_tags_and_8_attributes_however_many_are_sent() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let update = |number: u32| Event {
            id: format!("u{number:03}"),
            source: "test".to_owned(),
            tenant: "acme".to_owned(),
            time: Some(timestamp("2026-06-01T09:00:00Z")),
            attributes: (0..8).map(|n| (format!("a{:03}", number * 8 + n), "set".to_owned())).collect(),
            payload: Some(Payload::ConversationUpdated(ConversationUpdated {
                conversation: "c1".to_owned(),
                add_tags: (0..32).map(|n| format!("t{:05}", number * 32 + n)).collect(),
                ..Default::default()
            })),
            ..Default::default()
        };
        client.send((0..500).map(update).collect()).await;
        let tags = client.rows(ask("acme", "backlog").group_by(&["tag"])).await;
        assert_eq!(tags.len(), 64);
        assert_eq!(client.figure(ask("acme", "backlog").filter("attributes.a007:*")).await.count, 1);
        assert_eq!(client.figure(ask("acme", "backlog").filter("attributes.a008:*")).await.count, 0);
    });
}

#[test]
fn a_sum_beyond_64_bits_is_left_out_and_the_value_is_right() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let cost = |event: Event| Event {
            payload: Some(Payload::CostRecorded(CostRecorded {
                amount: Some(Money { currency: "EUR".to_owned(), amount_micros: 1_000_000_000_000_000 }),
                team: "first".to_owned(),
                ..Default::default()
            })),
            ..event
        };
        client.send(messages(0, 10_000).into_iter().map(cost).collect()).await;
        let mut question = ask("acme", "cost_total");
        question.0.metrics[0].currency = "EUR".to_owned();
        let total = client.figure(question).await;
        assert_eq!((total.count, total.sum, total.value), (10_000, None, Some(1e19)));
        // A conversation handled, so that there is something to divide by.
        let mut reply = messages(20_000, 1);
        if let Some(Payload::MessageCreated(message)) = &mut reply[0].payload {
            message.actor = Some(Actor { kind: ActorKind::Agent.into(), id: "ada".to_owned() });
        }
        client.send(reply).await;
        let mut question = ask("acme", "cost_per_conversation");
        question.0.metrics[0].currency = "EUR".to_owned();
        let each = client.figure(question).await;
        assert_eq!((each.numerator, each.denominator, each.value), (None, Some(1), Some(1e19)));
    });
}
