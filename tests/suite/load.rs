//! `deskpulse load` against a real server: what it sends is what is counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use deskpulse_load::row::{Kind, Row, WEEK_START_MS};
use deskpulse_load::tenant;
use deskpulse_load::workload::generate;
use serde_json::Value;

use crate::harness::{PROGRAM, Suite, ask, group, output, output_of, run};

const EVENTS: u32 = 20_000;
const SECOND: u64 = 200;

fn load(arguments: &[&str]) -> Output {
    output(Command::new(PROGRAM).arg("load").args(arguments).env_remove("DESKPULSE_SERVER"))
}

/// The report of a load that succeeded.
fn report(arguments: &[&str]) -> Value {
    let output = load(&[arguments, &["--output", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// Metrics and how many of what is counted the rows hold, by tenant and channel.
const COUNTED: [(&str, Kind); 6] = [
    ("conversations_opened", Kind::Created),
    ("messages_received", Kind::CustomerMessage),
    ("messages_sent", Kind::AgentMessage),
    ("resolutions", Kind::Resolved),
    ("reopens", Kind::Reopened),
    ("csat_mean", Kind::SurveyAnswered),
];

type Figures = BTreeMap<(String, String, &'static str), u64>;

/// What is to be counted; the sum too of first responses and of survey scores.
fn expected(rows: impl Iterator<Item = Row>) -> Figures {
    let mut seen = HashSet::new();
    let mut figures = Figures::new();
    let mut begun: HashMap<u64, (i64, Option<i64>, Row)> = HashMap::new();
    let mut add = |row: &Row, name, count: i64| {
        let place = (tenant(row.tenant), row.channel.name().to_owned(), name);
        *figures.entry(place).or_default() += u64::try_from(count).expect("none is negative");
    };
    for row in rows.filter(|row| seen.insert(row.event_id)) {
        let (name, _) = COUNTED.into_iter().find(|(_, kind)| *kind == row.kind).unwrap_or(("assigned", Kind::Assigned));
        if row.kind != Kind::Assigned {
            add(&row, name, 1);
        }
        if row.kind == Kind::SurveyAnswered {
            add(&row, "scores", row.value.into());
        }
        let (created, replied, _) = begun.entry(row.conversation).or_insert((i64::MAX, None, row));
        match row.kind {
            Kind::Created => *created = row.time_ms,
            Kind::AgentMessage => *replied = Some(replied.unwrap_or(i64::MAX).min(row.time_ms)),
            Kind::CustomerMessage | Kind::Assigned | Kind::Resolved | Kind::Reopened | Kind::SurveyAnswered => {}
        }
    }
    for (created, replied, row) in begun.into_values() {
        if let Some(replied) = replied {
            add(&row, "first_response_time", 1);
            add(&row, "waited", replied - created);
        }
    }
    figures
}

/// What is counted.
async fn answered(suite: &Suite) -> Figures {
    let client = suite.client();
    let mut figures = Figures::new();
    for tenant in (1..=50).map(tenant) {
        for name in COUNTED.map(|(name, _)| name).into_iter().chain(["first_response_time"]) {
            for row in client.rows(ask(&tenant, name).group_by(&["channel"])).await {
                let value = &row.values[0];
                let mut add = |name, count| {
                    if count > 0 {
                        figures.insert((tenant.clone(), group(&row).concat(), name), count);
                    }
                };
                let sum = value.sum.or(value.numerator).map_or(0, |sum| u64::try_from(sum).expect("none is negative"));
                add(name, value.count);
                match name {
                    "first_response_time" => add("waited", sum),
                    "csat_mean" => add("scores", sum),
                    _ => {}
                }
            }
        }
    }
    figures
}

/// Rows as a file has them.
fn bytes(rows: impl Iterator<Item = Row>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend(row.event_id);
        bytes.extend(row.conversation.to_le_bytes());
        bytes.extend(row.time_ms.to_le_bytes());
        bytes.extend(row.received_ms.to_le_bytes());
        bytes.extend(row.value.to_le_bytes());
        for number in [row.tenant, row.team, row.agent, row.topic] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([row.kind as u8, row.channel as u8, row.priority, 0]);
    }
    bytes
}

#[test]
fn what_a_load_sends_is_counted_once_and_a_file_of_the_same_adds_nothing() {
    let mut suite = Suite::start();
    let (pid, url) = (suite.process().id().to_string(), suite.url().to_owned());
    run(async { suite.client().settle().await });
    let target = ["--target", &url, "--seed", "7", "--events", "20000", "--batch", "250"];
    let beside = ["--connections", "3", "--queries", "20", "--freshness", "--server-pid", &pid];
    let report_of_first = report(&[&target[..], &beside].concat());
    let count = |report: &Value, name: &str| number(&report[name]);
    let first = |name| count(&report_of_first, name);
    assert_eq!((first("events"), first("rejected"), first("reconnects")), (EVENTS.into(), 0, 0), "{report_of_first}");
    assert_eq!(first("accepted") + first("duplicates"), u64::from(EVENTS), "{report_of_first}");
    // On a busy machine aggregation may not report in time.
    assert!((SECOND - SECOND.min(first("unverified"))..=SECOND).contains(&first("duplicates")), "{report_of_first}");
    assert_eq!(first("batches"), number(&report_of_first["latency"]["count"]));
    let bytes_per_event = report_of_first["bytes_per_event"].as_f64().expect("a number");
    assert!((105.0..115.0).contains(&bytes_per_event), "{bytes_per_event}");
    assert!(report_of_first["server"]["cpu_seconds"].as_f64() > Some(0.0), "{report_of_first}");
    assert!(report_of_first["counted_after_ms"].is_number(), "{report_of_first}");
    assert!(count(&report_of_first["queries"], "answered") > 0, "{report_of_first}");
    assert_eq!(count(&report_of_first["queries"], "errors"), 0, "{report_of_first}");
    assert!(count(&report_of_first["freshness"], "probes") > 0, "{report_of_first}");
    assert_eq!(count(&report_of_first["freshness"], "not_in_first_answer"), 0, "{report_of_first}");

    let workload = generate(EVENTS, 7);
    let want = expected(workload.rows());
    assert_eq!(run(answered(&suite)), want);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.bin");
    std::fs::write(&file, bytes(workload.rows())).expect("written");
    let again = report(&["--target", &url, "--bin", &file.to_string_lossy(), "--in-flight", "2"]);
    assert_eq!(count(&again, "events"), u64::from(EVENTS), "{again}");
    assert_eq!(count(&again, "duplicates") + count(&again, "unverified"), u64::from(EVENTS), "{again}");
    let few = report(&["--target", &url, "--bin", &file.to_string_lossy(), "--events", "1500", "--rate", "100000"]);
    assert_eq!((count(&few, "events"), count(&few, "batches"), count(&few, "rejected")), (1_500, 2, 0), "{few}");
    assert_eq!(run(answered(&suite)), want);
}

#[test]
fn a_load_goes_on_when_the_server_was_killed_and_comes_back() {
    let mut suite = Suite::start();
    let sent = ["--seed", "11", "--events", "20000", "--rate", "8000", "--batch", "100", "--output", "json"];
    let child = Command::new(PROGRAM)
        .args([&["load", "--target", suite.url()], &sent[..]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    run(async {
        let client = suite.client();
        while client.figure(ask("tenant-1", "conversations_opened")).await.count == 0 {}
    });
    suite.kill_and_restart();
    let output = output_of(child);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(number(&report["reconnects"]) > 0, "{report}");
    assert_eq!(number(&report["accepted"]) + number(&report["duplicates"]), u64::from(EVENTS), "{report}");
    assert_eq!(run(answered(&suite)), expected(generate(EVENTS, 11).rows()));
}

#[test]
fn a_rate_bounds_a_load_and_so_does_its_duration() {
    let suite = Suite::start();
    let rate = ["--rate", "5000", "--batch", "50", "--duration", "0.5", "--connections", "2"];
    let report = report(&[&["--target", suite.url()], &rate[..]].concat());
    let events = number(&report["events"]);
    // One batch every 10 ms, for half a second; a busy machine may be behind.
    assert!((50..=2_600).contains(&events), "{report}");
    assert_eq!(report["load"]["in_flight"], Value::Null);
}

#[test]
fn a_load_says_what_was_rejected_and_fails() {
    let suite = Suite::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.bin");
    let mut rows: Vec<Row> = generate(10, 1).rows().collect();
    rows[3].time_ms = WEEK_START_MS + 100 * 366 * 86_400_000;
    std::fs::write(&file, bytes(rows.into_iter())).expect("written");
    let output = load(&["--target", suite.url(), "--bin", &file.to_string_lossy()]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stdout.contains("events acknowledged") && stdout.contains("p99.9"), "{stdout}");
    assert!(stderr.contains("error: 1 of 10 events were rejected"), "{stderr}");
    assert!(stderr.contains("cause: event 3 of batch 1: time: TIME_IN_FUTURE"), "{stderr}");
}

#[test]
fn a_load_that_cannot_be_made_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("short.bin");
    std::fs::write(&short, [0; 57]).expect("written");
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (short, absent) = (path(&short), path(&folder.path().join("absent.bin")));
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--connections", "0"], 2, "--connections"),
        (&["--events", "0"], 2, "--events"),
        (&["--batch", "10001"], 2, "--batch"),
        (&["--duration", "0"], 2, "a number of seconds above 0"),
        (&["--rate", "100", "--in-flight", "2"], 2, "cannot be used with"),
        (&["--bin", &absent], 1, "absent.bin: No such file"),
        (&["--bin", &short], 1, "short.bin has 57 bytes"),
        (&["--target", "http://127.0.0.1:1", "--server-pid", "4194305"], 1, "process 4194305"),
        (&["--target", "http://127.0.0.1:1"], 1, "cannot reach http://127.0.0.1:1"),
    ];
    for (arguments, code, part) in cases {
        let output = load(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(part), "{arguments:?}: {stderr}");
        assert!(code == 2 || stderr.contains("\nhint: "), "{arguments:?}: {stderr}");
    }
}
