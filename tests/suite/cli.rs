//! The command line, as a user sees it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{PROGRAM, Suite, output};

fn deskpulse(folder: &Path, arguments: &[&str]) -> Output {
    output(Command::new(PROGRAM).args(arguments).current_dir(folder))
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&stdout(output)).expect("JSON")
}

/// The counts of an import's summary: accepted, duplicate, unverified, rejected.
fn counts(summary: &serde_json::Value) -> [u64; 4] {
    ["accepted", "duplicate", "unverified", "rejected"]
        .map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}")))
}

/// Checks the summary of a first import, of which nothing was refused.
pub(crate) fn assert_all_new(summary: &serde_json::Value, events: u64) {
    let [accepted, duplicate, _, rejected] = counts(summary);
    assert_eq!([accepted, duplicate, rejected], [events, 0, 0], "{summary}");
}

/// Checks the summary of an import of what had been imported. On a busy machine aggregation may not report in time: such
/// events are accepted, unverified, and add nothing.
pub(crate) fn assert_nothing_new(summary: &serde_json::Value, events: u64) {
    let [accepted, duplicate, unverified, rejected] = counts(summary);
    assert_eq!([duplicate + unverified, accepted, rejected], [events, unverified, 0], "{summary}");
}

const EVENTS: &str = r#"{"id":"1","source":"s","tenant":"acme","time":"2026-06-01T09:00:00Z","conversationOpened":{"conversation":"c1","dimensions":{"channel":"chat"}}}
{"id":"2","source":"s","tenant":"acme","time":"2026-06-01T09:00:45Z","messageCreated":{"conversation":"c1","actor":{"kind":"ACTOR_KIND_AGENT","id":"ada"}}}
"#;

#[test]
fn the_demo_prints_a_weeks_metrics_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = deskpulse(folder.path(), &["demo", "--once", "--conversations", "300"]);
    let text = stdout(&output);
    for word in ["accepted and durable", "first_response_time", "p99", "first_resolution_time", "backlog", "voice"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_demos_metrics_can_be_read_by_a_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = ["demo", "--once", "--conversations", "300", "--output"];
    let answers = json(&deskpulse(folder.path(), &[&demo[..], &["json"]].concat()));
    let answers = answers.as_array().expect("a list");
    assert_eq!(answers.len(), 3);
    let first = |answer: &serde_json::Value| answer["rows"][0]["values"][0]["metric"].clone();
    let firsts: Vec<_> = answers.iter().map(first).collect();
    assert_eq!(firsts, ["first_response_time", "first_resolution_time", "conversations_opened"]);

    let text = stdout(&deskpulse(folder.path(), &[&demo[..], &["csv"]].concat()));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let place = |name: &str| header.iter().position(|title| title == name).expect(name);
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row as wide as the header")).collect();
    for (metric, figure) in [("first_response_time", "p99"), ("resolutions", "count"), ("messages_sent", "value")] {
        let row = rows.iter().find(|row| row[place("metric")] == *metric && row[place("channel")] == *"voice");
        let number = row.map(|row| row[place(figure)].parse::<f64>());
        assert!(matches!(number, Some(Ok(_))), "{figure} of {metric} in\n{text}");
    }
}

#[test]
fn a_file_is_imported_once_however_often_and_however_it_is_compressed() {
    let suite = Suite::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("events.jsonl"), EVENTS).expect("written");
    let mut gz = flate2::write::GzEncoder::new(
        std::fs::File::create(path("events.jsonl.gz")).expect("created"),
        flate2::Compression::default(),
    );
    gz.write_all(EVENTS.as_bytes()).expect("written");
    gz.finish().expect("finished");
    let zst = zstd::encode_all(EVENTS.as_bytes(), 0).expect("compressed");
    std::fs::write(path("events.jsonl.zst"), zst).expect("written");
    let import = |name| json(&deskpulse(folder.path(), &["import", name, "--server", suite.url(), "--output", "json"]));
    assert_all_new(&import("events.jsonl"), 2);
    for name in ["events.jsonl.gz", "events.jsonl.zst", "events.jsonl"] {
        assert_nothing_new(&import(name), 2);
    }
    let question = ["query", "first_response_time:p50,<=1m", "--tenant", "acme", "--server", suite.url()];
    let answer = json(&deskpulse(folder.path(), &[&question[..], &["--output", "json"]].concat()));
    let value = &answer["rows"][0]["values"][0];
    assert_eq!(value["sum"], "45000");
    assert_eq!(value["shares"][0]["count"], "1");
    let table = stdout(&deskpulse(folder.path(), &[&question[..], &["--group-by", "channel"]].concat()));
    assert!(table.contains("chat") && table.contains("45s"), "{table}");
    let csv = stdout(&deskpulse(folder.path(), &[&question[..], &["--output", "csv"]].concat()));
    assert_eq!(csv.lines().count(), 2, "{csv}");
}

#[test]
fn a_bad_row_goes_to_the_rejects_and_the_rest_is_imported() {
    let suite = Suite::start();
    let folder = tempfile::tempdir().expect("a folder");
    let no_such_field = r#"{"id":"3","source":"s","tenant":"acme","when":"2026-06-01T09:00:00Z"}"#;
    let refused = EVENTS.lines().next().expect("a line").replace("\"1\"", "\"4\"").replace("2026", "2126");
    let text = format!("not json\n{EVENTS}{no_such_field}\n{refused}\n");
    std::fs::write(folder.path().join("events.jsonl"), text).expect("written");
    let output = deskpulse(folder.path(), &["import", "events.jsonl", "--server", suite.url(), "--output", "json"]);
    let summary = json(&output);
    assert_eq!((summary["accepted"].as_u64(), summary["rejected"].as_u64()), (Some(2), Some(3)), "{summary}");
    let rejects = std::fs::read_to_string(folder.path().join("events.jsonl.rejects.csv")).expect("there are rejects");
    let mut reader = csv::Reader::from_reader(rejects.as_bytes());
    let header = reader.headers().expect("a header").clone();
    assert_eq!(header.iter().take(4).collect::<Vec<_>>(), ["file", "line", "column", "reason"]);
    let mut rows: Vec<(String, String, String)> = reader
        .records()
        .map(|row| row.expect("a row"))
        .map(|row| (row[1].to_owned(), row[2].to_owned(), row[3].to_owned()))
        .collect();
    rows.sort();
    assert_eq!(rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["1", "4", "5"]);
    assert!(rows[1].2.contains("when"), "{rows:?}");
    assert!(rows[2].1 == "time" && rows[2].2.contains("future"), "{rows:?}");
}

#[test]
fn snapshots_of_tickets_become_the_changes_between_them() {
    let suite = Suite::start();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("tickets.csv"),
        "ticket,updated,version,state,group\n\
         T1,2026-06-01 09:00,1,New,first\n\
         T1,2026-06-01 09:30,2,New,second\n\
         T2,2026-06-01 09:00,1,New,first\n\
         T1,2026-06-01 11:00,4,Closed,second\n\
         T1,2026-06-01 11:00,3,Resolved,second\n",
    )
    .expect("written");
    std::fs::write(
        folder.path().join("tickets.toml"),
        r#"
        tenant = "acme"
        source = "desk"
        mode = "changes"
        key = ["ticket"]
        order_by = ["version"]

        [input]
        format = "csv"

        [time]
        formats = ["%Y-%m-%d %H:%M"]
        zone = "Europe/Berlin"

        [translate.state]
        New = "open"
        Resolved = "resolved"
        Closed = "closed"

        [[event]]
        name = "state"
        type = "conversation_status_changed"
        time = "{updated}"
        when = [{ column = "state", changed = true }]
        id = "{ticket}-state-{version}"
        [event.fields]
        conversation = "{ticket}"
        status = "{state|state}"

        [[event]]
        name = "group"
        type = "conversation_assigned"
        time = "{updated}"
        when = [{ column = "group", changed = true }]
        id = "{ticket}-group-{version}"
        [event.fields]
        conversation = "{ticket}"
        to = "team"
        assignee = "{group}"
        "#,
    )
    .expect("written");
    let import = ["import", "tickets.csv", "--mapping", "tickets.toml", "--server", suite.url(), "--output", "json"];
    let summary = json(&deskpulse(folder.path(), &import));
    assert_all_new(&summary, 7);
    assert_nothing_new(&json(&deskpulse(folder.path(), &import)), 7);
    let metrics = ["query", "first_resolution_time", "resolutions", "backlog", "--tenant", "acme", "--output", "json"];
    let answer = json(&deskpulse(folder.path(), &[&metrics[..], &["--server", suite.url()]].concat()));
    let values = &answer["rows"][0]["values"];
    assert_eq!(values[0]["sum"], "7200000", "{answer}");
    assert_eq!((&values[1]["count"], &values[2]["count"]), (&"1".into(), &"1".into()));
}

#[test]
fn errors_say_what_to_do_and_have_their_exit_codes() {
    let suite = Suite::start();
    let folder = tempfile::tempdir().expect("a folder");
    let fails = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = deskpulse(folder.path(), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    };
    let server = ["--tenant", "acme", "--server", suite.url()];
    let query = |more: &[&'static str]| [&["query"][..], more, &server].concat();
    fails(&query(&["nonsense"]), 1, &["error:", "metrics[0].name", "UNKNOWN_METRIC", "hint:"]);
    fails(&query(&["backlog", "--filter", "team = "]), 1, &["filter", "MALFORMED_FILTER"]);
    fails(&query(&["backlog", "--zone", "Mars/Base"]), 1, &["Mars/Base"]);
    fails(&["import", "absent.jsonl", "--server", suite.url()], 1, &["error:", "absent.jsonl"]);
    fails(&["query", "backlog", "--tenant", "t", "--server", "http://127.0.0.1:1"], 1, &["error:", "hint:"]);
    fails(&["serve", "--role", "query"], 2, &["--aggregation"]);
    fails(&["check", "--data-dir", "absent"], 1, &["error:", "absent", "hint:"]);
    fails(&["check", "--output", "csv"], 2, &["table", "json"]);
    fails(&["export", "events.csv"], 2, &[".jsonl.zst"]);
    fails(&["nonsense"], 2, &["Usage"]);
    fails(&[], 2, &["Usage", "Examples"]);
}

#[test]
fn every_command_has_help_with_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in ["serve", "demo", "import", "query", "metrics", "check", "export"] {
        let help = stdout(&deskpulse(folder.path(), &[command, "--help"]));
        assert!(help.contains("Examples:") && help.contains(&format!("deskpulse {command}")), "{help}");
    }
    let metrics = json(&deskpulse(folder.path(), &["metrics", "--output", "json"]));
    let known: usize = deskpulse_core::kpi::CATALOGUE.iter().map(|family| family.metrics.len()).sum();
    assert_eq!(metrics.as_array().map(Vec::len), Some(known));
}

/// A suite that holds two conversations, one answered after 45 seconds.
fn with_two_conversations(folder: &Path) -> Suite {
    let suite = Suite::start();
    let more = r#"{"id":"3","source":"s","tenant":"acme","time":"2026-06-01T10:00:00Z","conversationOpened":{"conversation":"c2","dimensions":{"channel":"email"}}}"#;
    std::fs::write(folder.join("events.jsonl"), format!("{EVENTS}{more}\n")).expect("written");
    let output = deskpulse(folder, &["import", "events.jsonl", "--server", suite.url(), "--output", "json"]);
    assert_all_new(&json(&output), 3);
    suite
}

#[test]
fn a_condition_that_holds_ends_a_query_with_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let suite = with_two_conversations(folder.path());
    let ask = |more: &[&str]| {
        let query = ["query", "first_response_time", "--tenant", "acme", "--zone", "UTC", "--server", suite.url()];
        deskpulse(folder.path(), &[&query[..], more].concat())
    };
    let holds = ask(&["--fail-if", "p90 first_response_time > 30s", "--group-by", "channel"]);
    assert_eq!(holds.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&holds.stderr), "p90 first_response_time > 30s: 45s (channel chat)\n");
    let text = String::from_utf8_lossy(&holds.stdout).into_owned();
    assert!(text.contains("p90") && text.contains("45s"), "the answer is printed all the same:\n{text}");
    // What is not asked for is asked, too; several conditions count one by one.
    let holds =
        ask(&["--fail-if", "backlog > 1", "--fail-if", "response_rate < 40%", "--fail-if", "conversations_opened = 2"]);
    assert_eq!(holds.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&holds.stderr), "backlog > 1: 2\nconversations_opened = 2: 2\n");
    assert!(String::from_utf8_lossy(&holds.stdout).contains("response_rate"));
    let fine = ask(&["--fail-if", "first_response_time > 1m", "--fail-if", "resolution_time > 0s"]);
    assert_eq!((fine.status.code(), fine.stderr.len()), (Some(0), 0));
    for (condition, code) in [("first_response_time > 5", 1), ("first_response_time", 1), ("fast_response < 1", 1)] {
        let output = ask(&["--fail-if", condition]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{condition}: {text}");
        assert!(text.starts_with("error: ") && text.contains("\nhint: "), "{text}");
    }
}

#[test]
fn conversations_are_listed_as_a_table_as_json_and_as_csv() {
    let folder = tempfile::tempdir().expect("a folder");
    let suite = with_two_conversations(folder.path());
    let list = |metric: &str, more: &[&str]| {
        let conversations = ["conversations", metric, "--tenant", "acme", "--zone", "UTC", "--server", suite.url()];
        deskpulse(folder.path(), &[&conversations[..], more].concat())
    };
    let table = stdout(&list("first_response_time", &[]));
    for word in ["conversation", "c1", "45s", "2026-06-01 09:00:45", "chat"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    assert!(!table.contains("c2"), "{table}");
    let open = json(&list("backlog", &["--to", "2026-06-01T11:00:00Z", "--output", "json"]));
    let listed = |at: usize, name: &str| open["conversations"][at][name].clone();
    assert_eq!((listed(0, "conversation"), listed(1, "conversation")), ("c1".into(), "c2".into()));
    assert_eq!((listed(0, "value"), &open["totalSize"]), ("7200000".into(), &"2".into()));
    let csv = stdout(&list("conversations_opened", &["--order-by", "time", "--output", "csv"]));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "conversation,value,time,start_time,deadline,subject,channel,tags");
    assert_eq!(lines[1], "c1,,2026-06-01T09:00:00Z,,,,chat,");
    assert_eq!(lines.len(), 3);
    assert!(stdout(&list("conversations_opened", &["--limit", "1"])).contains("1 more"));
    assert_eq!(stdout(&list("reopens", &[])), "no conversations\n");
    let refused = list("online_time", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("reason: NOT_APPLICABLE"));
}

#[test]
fn a_watch_prints_what_changes_and_outlives_its_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut suite = with_two_conversations(folder.path());
    let watch = ["watch", "conversations_opened", "--tenant", "acme", "--zone", "UTC", "--server", suite.url()];
    let one = stdout(&deskpulse(folder.path(), &[&watch[..], &["--count", "1"]].concat()));
    assert!(one.contains("conversations_opened") && !one.contains('\u{1b}'), "{one}");
    let url = suite.url().to_owned();
    let two = Command::new(PROGRAM)
        .args(watch)
        .args(["--count", "2", "--every", "0.1", "--output", "json"])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut two = two;
    let mut lines = std::io::BufReader::new(two.stdout.take().expect("piped"));
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).expect("readable");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("JSON on a line");
        answer["rows"][0]["values"][0]["count"].clone()
    };
    assert_eq!(line(), "2");
    suite.kill_and_restart();
    let third = r#"{"id":"4","source":"s","tenant":"acme","time":"2026-06-01T10:00:00Z","conversationOpened":{"conversation":"c3"}}"#;
    std::fs::write(folder.path().join("third.jsonl"), third).expect("written");
    stdout(&deskpulse(folder.path(), &["import", "third.jsonl", "--server", &url]));
    // Not the same again after the restart.
    assert_eq!(line(), "3");
    assert!(two.wait().expect("it ends").success());
    let refused = deskpulse(folder.path(), &["watch", "speed", "--tenant", "acme", "--zone", "UTC", "--server", &url]);
    assert_eq!(refused.status.code(), Some(1));
}
