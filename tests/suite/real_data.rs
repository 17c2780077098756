//! Real records of real help desks, imported by mapping files, against figures that two other programs computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use deskpulse_cli::import::source::{Entry, Sources};
use deskpulse_cli::mapping::Mapping;
use deskpulse_proto::v1::{Basis, Event, MetricValue, StreamEventsRequest};
use serde_json::Value;

use crate::cli::{assert_all_new, assert_nothing_new};
use crate::harness::{Client, PROGRAM, Question, Random, Suite, ask, group, output, run, shared};

const TENANT: &str = "acme";
const PERCENTILES: [(f64, &str); 6] =
    [(50.0, "p50"), (75.0, "p75"), (90.0, "p90"), (95.0, "p95"), (99.0, "p99"), (99.9, "p99.9")];

/// The greatest error an answer may state of its percentiles.
const PERCENTILE_ERROR: f64 = 1.0 / 128.0;

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

/// Counts, sums, least and greatest exactly; percentiles within the stated error of the exact nearest rank.
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
    assert!(figure.percentile_relative_error <= PERCENTILE_ERROR, "stated error of {what}");
    for (have, (percent, key)) in figure.percentiles.iter().zip(PERCENTILES) {
        let exact = seconds(key) * 1_000.0;
        let error = (have.value - exact).abs();
        assert!(error <= exact * PERCENTILE_ERROR, "p{percent} of {what} is {}, not {exact}", have.value);
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

/// Every figure of the bank's call centre.
async fn assert_bank(client: &Client, truth: &Value) {
    for (metric, key) in [
        ("offered", "offered"),
        ("answered", "answered"),
        ("abandoned", "abandoned"),
        ("short_abandons", "short_abandons_lt_5s"),
    ] {
        for basis in [Basis::Event, Basis::Cohort] {
            let figure = client.figure(ask(TENANT, metric).basis(basis)).await;
            assert_eq!(Some(figure.count), truth[key].as_u64(), "{metric}");
        }
    }
    let calls = client.figure(ask(TENANT, "conversations_opened")).await.count;
    let in_menu = truth["abandoned_in_menu"].as_u64().expect("a count");
    assert_eq!(Some(calls - in_menu), truth["offered"].as_u64());
    assert_eq!(client.figure(ask(TENANT, "contacts_in_queue")).await.count, 0);
    let skewed = client.figure(ask(TENANT, "skewed_events")).await;
    assert_eq!(skewed.count, counts(&truth["skewed"]).values().sum::<u64>());

    let percentiles = PERCENTILES.map(|(percent, _)| percent);
    for basis in [Basis::Event, Basis::Cohort] {
        let waits = ask(TENANT, "queue_wait").percentiles(&percentiles).group_by(&["outcome"]).basis(basis);
        let rows = client.rows(waits).await;
        let outcomes: Vec<String> = rows.iter().map(|row| group(row).join(" ")).collect();
        assert_eq!(outcomes, ["abandoned", "answered"]);
        for (row, outcome) in rows.iter().zip(outcomes) {
            assert_distribution(&row.values[0], &truth[format!("queue_wait_{outcome}_s")], &outcome);
        }
    }
    let answered = &truth["queue_wait_answered_s"];
    assert_distribution(&client.figure(ask(TENANT, "asa").percentiles(&percentiles)).await, answered, "asa");
    for metric in ["talk_time", "handle_time"] {
        let figure = client.figure(ask(TENANT, metric).percentiles(&percentiles)).await;
        assert_distribution(&figure, &truth["talk_time_s"], metric);
    }

    let levels = truth["service_level_20s"].as_object().expect("an object");
    assert_eq!(levels.len(), 5);
    for (variant, level) in levels {
        let mut question = ask(TENANT, "service_level");
        question.0.metrics[0].variant.clone_from(variant);
        question.0.metrics[0].within = Some(prost_types::Duration { seconds: 20, nanos: 0 });
        let figure = client.figure(question).await;
        assert_eq!((figure.numerator, figure.denominator), (level[0].as_i64(), level[1].as_i64()), "{variant}");
    }
    let by_team = by_group(client, ask(TENANT, "offered").group_by(&["team"])).await;
    assert_eq!(by_team, counts(&truth["offered_by_team"]));
    let february = ask(TENANT, "offered").from("1999-01-31T22:00:00Z").to("1999-02-28T22:00:00Z");
    let by_hour = by_group(client, february.group_by(&["hour"]).every("", "Asia/Jerusalem")).await;
    assert_eq!(by_hour, counts(&truth["offered_by_local_hour"]));
    let agents = ask(TENANT, "answered").filter("agent:*").group_by(&["agent"]).top("-count", 10);
    assert_eq!(by_group(client, agents).await, counts(&truth["answered_by_agent_top10"]));
}

/// Every figure of the airport's survey.
async fn assert_airport(client: &Client, truth: &Value) {
    let count = |key: &str| truth[key].as_i64().expect("a count");
    let nps = client.figure(ask(TENANT, "nps")).await;
    assert_eq!(nps.numerator, Some(count("promoters") - count("detractors")));
    assert_eq!(nps.denominator, Some(count("answers")));
    let value = nps.value.expect("a score");
    assert!((value - truth["nps"].as_f64().expect("a number")).abs() < 1e-9, "{value}");
    let by_airline = client.rows(ask(TENANT, "nps").group_by(&["attributes.airline"])).await;
    let sum = |part: fn(&MetricValue) -> Option<i64>| by_airline.iter().filter_map(|row| part(&row.values[0])).sum();
    assert_eq!((nps.numerator, nps.denominator), (Some(sum(|row| row.numerator)), Some(sum(|row| row.denominator))));
    assert!(by_airline.len() > 20, "{by_airline:?}");
    assert_eq!(client.figure(ask(TENANT, "csat_score")).await.count, 0);
}

/// Runs `deskpulse import` and gives its summary.
fn import(suite: &Suite, file: &Path, mapping_name: &str) -> Value {
    let rejects = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(PROGRAM);
    command
        .arg("import")
        .arg(file)
        .args(["--server", suite.url(), "--output", "json", "--mapping"])
        .arg(mapping(mapping_name))
        .arg("--rejects")
        .arg(rejects.path().join("rejects.csv"));
    let output = output(&mut command);
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

#[test]
fn a_banks_call_centre_imported_twice_gives_the_true_figures() {
    let name = "a_banks_call_centre_imported_twice_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "bank_calls_1999_02.tsv.gz"), shared(name, "truth.json")) else {
        return;
    };
    let truth = truth(&truth_file, "bank_calls_1999_02");
    let suite = Suite::start();
    import_first(&suite, &file, "bank_calls_1999_02.toml", 33_344, 157_485);
    run(async { assert_bank(&suite.client(), &truth).await });
    import_again(&suite, &file, "bank_calls_1999_02.toml", 33_344, 157_485);
    run(async { assert_bank(&suite.client(), &truth).await });
}

#[test]
fn a_banks_call_centre_shuffled_doubled_and_killed_gives_the_true_figures() {
    let name = "a_banks_call_centre_shuffled_doubled_and_killed_gives_the_true_figures";
    let (Some(file), Some(truth_file)) = (shared(name, "bank_calls_1999_02.tsv.gz"), shared(name, "truth.json")) else {
        return;
    };
    let truth = truth(&truth_file, "bank_calls_1999_02");
    let mut suite = Suite::start();
    send_the_hard_way(&mut suite, events(&file, "bank_calls_1999_02.toml"));
    run(async { assert_bank(&suite.client(), &truth).await });
}

#[test]
fn an_airports_survey_gives_the_true_score() {
    let name = "an_airports_survey_gives_the_true_score";
    let (Some(file), Some(truth_file)) = (shared(name, "airport_nps_2017.csv.gz"), shared(name, "truth.json")) else {
        return;
    };
    let truth = truth(&truth_file, "airport_nps_2017");
    let suite = Suite::start();
    import_first(&suite, &file, "airport_nps_2017.toml", 2_831, 2_746);
    run(async { assert_airport(&suite.client(), &truth).await });
    import_again(&suite, &file, "airport_nps_2017.toml", 2_831, 2_746);
    run(async { assert_airport(&suite.client(), &truth).await });
}

#[test]
fn an_airports_survey_shuffled_and_doubled_gives_the_true_score() {
    let name = "an_airports_survey_shuffled_and_doubled_gives_the_true_score";
    let (Some(file), Some(truth_file)) = (shared(name, "airport_nps_2017.csv.gz"), shared(name, "truth.json")) else {
        return;
    };
    let truth = truth(&truth_file, "airport_nps_2017");
    let suite = Suite::start();
    let mut events = events(&file, "airport_nps_2017.toml");
    events.extend_from_within(..);
    Random(7).shuffle(&mut events);
    run(async {
        let client = suite.client();
        for batch in events.chunks(500) {
            assert_eq!(client.send(batch.to_vec()).await.rejected, 0);
        }
        assert_airport(&client, &truth).await;
    });
}
