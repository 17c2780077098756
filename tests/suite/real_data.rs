//! Real records of real help desks, imported by mapping files, against figures that two other programs computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use deskpulse_cli::import::source::{Entry, Sources};
use deskpulse_cli::mapping::Mapping;
use deskpulse_proto::v1::{Basis, Event, MetricValue, StreamEventsRequest};
use serde_json::Value;

use crate::cli::{assert_all_new, assert_nothing_new};
use crate::harness::{Client, PROGRAM, Question, Random, Suite, ask, group, run, shared};

const TENANT: &str = "acme";
const PERCENTILES: [(f64, &str); 6] =
    [(50.0, "p50"), (75.0, "p75"), (90.0, "p90"), (95.0, "p95"), (99.0, "p99"), (99.9, "p99.9")];

fn mapping(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings").join(name)
}

fn truth(path: &Path, part: &str) -> Value {
    let text = std::fs::read_to_string(path).expect("the truth is readable");
    let all: Value = serde_json::from_str(&text).expect("the truth is JSON");
    all["deskpulse"][part].clone()
}

/// The number of each key of an object, such as `{"Email": 59}`.
fn counts(truth: &Value) -> BTreeMap<String, u64> {
    let object = truth.as_object().expect("an object");
    object.iter().map(|(key, count)| (key.clone(), count.as_u64().expect("a count"))).collect()
}

/// The counts of an answer by its only group.
async fn by_group(client: &Client, question: Question) -> BTreeMap<String, u64> {
    client.rows(question).await.iter().map(|row| (group(row).join(" "), row.values[0].count)).collect()
}

/// The counts of an answer by the local day (or month) of each interval.
async fn by_interval(client: &Client, question: Question, format: &str) -> BTreeMap<String, u64> {
    let zone = jiff::tz::TimeZone::get(&question.0.time_zone).expect("a zone");
    let rows = client.rows(question).await;
    rows.iter()
        .map(|row| {
            let start = row.interval_start.expect("an interval starts");
            let start = jiff::Timestamp::from_second(start.seconds).expect("an instant").to_zoned(zone.clone());
            (start.strftime(format).to_string(), row.values[0].count)
        })
        .collect()
}

/// Counts, sums, least and greatest exactly; percentiles within 1 % of the exact nearest rank.
fn assert_distribution(figure: &MetricValue, truth: &Value, what: &str) {
    let seconds = |key: &str| truth[key].as_f64().expect("a number");
    assert_eq!(Some(figure.count), truth["count"].as_u64(), "count of {what}");
    for (name, have, key) in [("sum", figure.sum, "sum"), ("least", figure.min, "min"), ("greatest", figure.max, "max")]
    {
        assert_eq!(have.map(|ms| ms as f64), Some(seconds(key) * 1_000.0), "{name} of {what}");
    }
    let mean = figure.value.expect("a mean");
    assert!((mean - seconds("mean") * 1_000.0).abs() < 1e-3, "mean of {what}: {mean}");
    assert_eq!(figure.percentiles.len(), PERCENTILES.len());
    for (have, (percent, key)) in figure.percentiles.iter().zip(PERCENTILES) {
        let exact = seconds(key) * 1_000.0;
        let error = (have.value - exact).abs();
        assert!(error <= exact * 0.01, "p{percent} of {what} is {}, not {exact}", have.value);
    }
}

/// Every figure of the help desk's year.
async fn assert_servicenow(client: &Client, truth: &Value) {
    let all_months = |metric: &str| ask(TENANT, metric).from("2016-01-01T00:00:00Z").to("2017-06-01T00:00:00Z");
    let opened = client.figure(ask(TENANT, "conversations_opened")).await;
    assert_eq!(Some(opened.count), truth["conversations_opened"].as_u64());
    let skewed = client.figure(ask(TENANT, "skewed_events")).await;
    assert_eq!(Some(skewed.count), truth["skewed"].as_u64());

    let by_month = by_interval(client, all_months("conversations_opened").every("1mo", "UTC"), "%Y-%m").await;
    assert_eq!(by_month, counts(&truth["opened_by_month_utc"]));
    let zone = "America/Sao_Paulo";
    let by_day = by_interval(client, all_months("conversations_opened").every("1d", zone), "%Y-%m-%d").await;
    let first_ten: BTreeMap<_, _> = by_day.into_iter().take(10).collect();
    assert_eq!(first_ten, counts(&truth["opened_by_day_sao_paulo_first10"]));
    let by_channel = by_group(client, ask(TENANT, "conversations_opened").group_by(&["channel"])).await;
    assert_eq!(by_channel, counts(&truth["opened_by_channel"]));
    let topics = ask(TENANT, "conversations_opened").group_by(&["topic"]).top("-value", 10);
    assert_eq!(by_group(client, topics).await, counts(&truth["opened_by_topic_top10"]));

    let by_month = by_interval(client, all_months("resolutions").every("1mo", "UTC"), "%Y-%m").await;
    assert_eq!(by_month, counts(&truth["resolutions_by_month_utc"]));
    let agents = ask(TENANT, "resolutions").filter("agent:*").group_by(&["agent"]).top("-count", 10);
    assert_eq!(by_group(client, agents).await, counts(&truth["resolutions_by_agent_top10"]));

    let percentiles = PERCENTILES.map(|(percent, _)| percent);
    let times = ask(TENANT, "first_resolution_time").percentiles(&percentiles).at_most(24 * 3_600);
    let overall = client.figure(times.clone()).await;
    assert_distribution(&overall, &truth["first_resolution_time_s"], "first_resolution_time");
    let within = &truth["resolved_within_24h"];
    assert_eq!(Some(overall.shares[0].count), within["numerator"].as_u64());
    assert_eq!(Some(overall.count), within["denominator"].as_u64());
    let rows = client.rows(times.group_by(&["priority"])).await;
    let priorities = truth["first_resolution_time_s_by_priority"].as_object().expect("an object");
    assert_eq!(rows.len(), priorities.len());
    for row in rows {
        let priority = group(&row).join("");
        assert_distribution(&row.values[0], &priorities[&priority], &priority);
    }

    for (day, count) in counts(&truth["backlog_at_utc"]) {
        let backlog = client.figure(ask(TENANT, "backlog").to(&format!("{day}T00:00:00Z"))).await;
        assert_eq!(backlog.count, count, "backlog at {day}");
    }
    let april = |metric| ask(TENANT, metric).from("2016-04-01T00:00:00Z").to("2016-05-01T00:00:00Z");
    let cohort = client.figure(april("resolution_rate").basis(Basis::Cohort)).await;
    assert_eq!(cohort.denominator, truth["cohort_2016_04"]["opened"].as_i64());
    assert_eq!(cohort.numerator, truth["cohort_2016_04"]["resolved"].as_i64());
}

/// Every figure of the brands' support on Twitter.
async fn assert_twitter(client: &Client, truth: &Value) {
    for (metric, key) in [
        ("conversations_opened", "conversations"),
        ("conversations_active", "conversations"),
        ("messages_received", "messages_received"),
        ("messages_sent", "messages_sent"),
        ("waits_started", "waits_started"),
        ("waits_answered", "waits_answered"),
    ] {
        let figure = client.figure(ask(TENANT, metric)).await;
        assert_eq!(Some(figure.count), truth[key].as_u64(), "{metric}");
    }
    for basis in [Basis::Event, Basis::Cohort] {
        let rate = client.figure(ask(TENANT, "response_rate").basis(basis)).await;
        assert_eq!(rate.numerator, truth["waits_answered"].as_i64());
        assert_eq!(rate.denominator, truth["waits_started"].as_i64());
    }
    let percentiles = PERCENTILES.map(|(percent, _)| percent);
    for (metric, key) in [
        ("first_response_time", "first_response_time_s"),
        ("next_reply_time", "next_reply_time_s"),
        ("reply_time", "reply_time_s"),
    ] {
        for basis in [Basis::Event, Basis::Cohort] {
            let figure = client.figure(ask(TENANT, metric).percentiles(&percentiles).basis(basis)).await;
            assert_distribution(&figure, &truth[key], metric);
        }
    }
    let by_agent = truth["first_response_time_s_by_agent_top5"].as_object().expect("an object");
    let question = ask(TENANT, "first_response_time").percentiles(&percentiles);
    for grouping in ["agent", "team"] {
        let rows = client.rows(question.clone().group_by(&[grouping]).top("-count", 5)).await;
        assert_eq!(rows.len(), by_agent.len());
        for row in rows {
            let brand = group(&row).join("");
            assert_distribution(&row.values[0], &by_agent[&brand], &format!("{grouping} {brand}"));
        }
    }
}

/// Runs `deskpulse import` and gives its summary.
fn import(suite: &Suite, file: &Path, mapping_name: &str) -> Value {
    let rejects = tempfile::tempdir().expect("a folder");
    let output = Command::new(PROGRAM)
        .arg("import")
        .arg(file)
        .args(["--server", suite.url(), "--output", "json", "--mapping"])
        .arg(mapping(mapping_name))
        .arg("--rejects")
        .arg(rejects.path().join("rejects.csv"))
        .output()
        .expect("import runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the summary is JSON")
}

/// Imports a file; its summary must say that all of it was new.
fn import_first(suite: &Suite, file: &Path, mapping_name: &str, rows: u64, events: u64) {
    let summary = import(suite, file, mapping_name);
    assert_eq!(summary["rows"].as_u64(), Some(rows), "{summary}");
    assert_all_new(&summary, events);
}

/// Imports it again; its summary must say that it added nothing.
fn import_again(suite: &Suite, file: &Path, mapping_name: &str, rows: u64, events: u64) {
    let summary = import(suite, file, mapping_name);
    assert_eq!(summary["rows"].as_u64(), Some(rows), "{summary}");
    assert_nothing_new(&summary, events);
}

/// The events a mapping makes of a file.
fn events(file: &Path, mapping_name: &str) -> Vec<Event> {
    let mapping = Mapping::load(&mapping(mapping_name)).expect("the mapping is valid");
    let sources = Sources { files: vec![file.to_owned()], mapping: Some(mapping), tenant: None, source: None };
    let mut events = Vec::new();
    sources
        .read(&mut |entry| {
            match entry {
                Entry::Event { event, .. } => events.push(*event),
                Entry::Bad { line, bad, .. } => panic!("line {line}: {bad:?}"),
            }
            Ok(())
        })
        .expect("the file is readable");
    events
}

/// Kills a suite that has batches of these events in flight, and starts it again.
///
/// The batches follow one another without an end, so that some are on their way whenever the kill comes.
fn kill_in_flight(suite: &mut Suite, events: &[Event]) {
    let batches: Vec<Vec<Event>> = events.chunks(1_000).map(<[Event]>::to_vec).collect();
    let requests = (1..).zip(batches.into_iter().cycle());
    let requests = requests.map(|(sequence, events)| StreamEventsRequest { sequence, events });
    run(async {
        let stream = suite.client().ingest.stream_events(tokio_stream::iter(requests)).await;
        let mut answers = stream.expect("the stream is taken").into_inner();
        assert!(answers.message().await.expect("the first batch is taken").is_some());
        suite.kill_and_restart();
        while let Ok(answer) = answers.message().await {
            assert!(answer.is_some(), "the stream ended before the kill");
        }
    });
}

/// Sends every event twice, shuffled, in batches of odd sizes, with a SIGKILL in the midst of a batch and a restart.
fn send_the_hard_way(suite: &mut Suite, mut events: Vec<Event>) {
    let mut random = Random(7);
    let kill_after = events.len();
    events.extend_from_within(..);
    random.shuffle(&mut events);
    let (mut sent, mut accepted, mut duplicates) = (0, 0, 0);
    let mut killed = false;
    while !events.is_empty() {
        let size = 1 + random.below(2_500);
        let batch = events.split_off(events.len().saturating_sub(size));
        if sent >= kill_after && !killed {
            killed = true;
            kill_in_flight(suite, &[events.as_slice(), &batch].concat());
        }
        sent += batch.len();
        let outcome = run(async { suite.client().send(batch).await });
        assert_eq!(outcome.rejected, 0, "{outcome:?}");
        accepted += outcome.accepted - outcome.unverified;
        duplicates += outcome.duplicates;
    }
    assert!(killed && accepted > 0 && duplicates > 0);
}

#[test]
fn a_help_desks_year_imported_twice_gives_the_true_figures() {
    let name = "a_help_desks_year_imported_twice_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "servicenow_incidents.csv.gz"), shared(name, "truth.json"))
    else {
        return;
    };
    let truth = truth(&truth_file, "servicenow_incidents");
    let suite = Suite::start();
    import_first(&suite, &file, "servicenow_incidents.toml", 141_712, 2 * 24_918);
    run(async { assert_servicenow(&suite.client(), &truth).await });
    import_again(&suite, &file, "servicenow_incidents.toml", 141_712, 2 * 24_918);
    run(async { assert_servicenow(&suite.client(), &truth).await });
}

#[test]
fn a_help_desks_year_shuffled_doubled_and_killed_gives_the_true_figures() {
    let name = "a_help_desks_year_shuffled_doubled_and_killed_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "servicenow_incidents.csv.gz"), shared(name, "truth.json"))
    else {
        return;
    };
    let truth = truth(&truth_file, "servicenow_incidents");
    let mut suite = Suite::start();
    send_the_hard_way(&mut suite, events(&file, "servicenow_incidents.toml"));
    run(async { assert_servicenow(&suite.client(), &truth).await });
    suite.kill_and_restart();
    run(async { assert_servicenow(&suite.client(), &truth).await });
}

#[test]
fn brands_support_on_twitter_gives_the_true_figures() {
    let name = "brands_support_on_twitter_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "twitter_support_5000.csv.gz"), shared(name, "truth.json"))
    else {
        return;
    };
    let truth = truth(&truth_file, "twitter_support_5000");
    let suite = Suite::start();
    import_first(&suite, &file, "twitter_support_5000.toml", 5_000, 7_222);
    run(async { assert_twitter(&suite.client(), &truth).await });
    import_again(&suite, &file, "twitter_support_5000.toml", 5_000, 7_222);
}

#[test]
fn brands_support_on_twitter_shuffled_doubled_and_killed_gives_the_true_figures() {
    let name = "brands_support_on_twitter_shuffled_doubled_and_killed_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "twitter_support_5000.csv.gz"), shared(name, "truth.json"))
    else {
        return;
    };
    let truth = truth(&truth_file, "twitter_support_5000");
    let mut suite = Suite::start();
    send_the_hard_way(&mut suite, events(&file, "twitter_support_5000.toml"));
    run(async { assert_twitter(&suite.client(), &truth).await });
}
