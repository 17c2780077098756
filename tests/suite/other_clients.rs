//! Clients that others made: Python's `grpcio` and `buf`, installed from `PyPI` into an environment of their own.
//!
//! Where Python or `PyPI` cannot be had these tests are skipped, and say so; with
//! `DESKPULSE_REQUIRE_FOREIGN_CLIENTS=1` they fail.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::harness::{Suite, output, try_output};

const REQUIRE: &str = "DESKPULSE_REQUIRE_FOREIGN_CLIENTS";

/// A folder of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of the clients' programs; `None` when they cannot be had and need not.
fn programs(test: &str) -> Option<PathBuf> {
    static PROGRAMS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAMS.get_or_init(install) {
        Ok(programs) => Some(programs.clone()),
        Err(error) if std::env::var_os(REQUIRE).is_some() => panic!("{error}\n{REQUIRE} is set"),
        Err(error) => {
            // Not `eprintln`, which is shown of tests that fail only.
            let why = error.lines().last().unwrap_or_default();
            let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
            None
        }
    }
}

/// Makes the environment unless it is there already, with the same versions.
fn install() -> Result<PathBuf, String> {
    let requirements = project("tests/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|error| error.to_string())?;
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (environment, mark) = (tmp.join("foreign-clients"), tmp.join("foreign-clients/requirements.txt"));
    // Another test run may be at it.
    let lock = fs::File::create(tmp.join("foreign-clients.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
        return Ok(environment.join("bin"));
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    let mut fill = Command::new(environment.join("bin/python"));
    fill.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    for mut step in [make, fill] {
        let output = try_output(&mut step).map_err(|error| format!("{step:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{step:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    // Last, so that what was left half-way is made again.
    fs::write(mark, wanted).map_err(|error| error.to_string())?;
    Ok(environment.join("bin"))
}

/// What a program prints, which must succeed.
fn printed(command: &mut Command) -> String {
    let output = output(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

const SERVICES: [&str; 6] = [
    "deskpulse.v1.AggregationService",
    "deskpulse.v1.ConfigService",
    "deskpulse.v1.IngestService",
    "deskpulse.v1.LogService",
    "deskpulse.v1.QueryService",
    "grpc.health.v1.Health",
];

#[test]
fn a_python_client_that_knows_only_reflection_sends_a_batch_and_reads_a_percentile() {
    let Some(programs) = programs("a_python_client_that_knows_only_reflection_sends_a_batch_and_reads_a_percentile")
    else {
        return;
    };
    let suite = Suite::start();
    let address = suite.url().trim_start_matches("http://");
    for again in [false, true] {
        let mut python = Command::new(programs.join("python"));
        let text = printed(python.arg(project("tests/python/reflect.py")).arg(address));
        let lines: Vec<&str> = text.lines().collect();
        for service in SERVICES {
            assert!(lines.contains(&format!("service {service}").as_str()), "no {service} in {text}");
        }
        let sent = |word: &str| {
            let number = lines.iter().find_map(|line| line.strip_prefix(word)?.trim().parse::<u32>().ok());
            number.unwrap_or_else(|| panic!("no {word} in {text}"))
        };
        let (accepted, duplicates, unverified) = (sent("accepted"), sent("duplicates"), sent("unverified"));
        assert_eq!(accepted + duplicates, 6, "{text}");
        // A batch is answered before aggregation reports when that takes long.
        assert_eq!(accepted, if again { unverified } else { 6 }, "{text}");
        let figure = lines.iter().find_map(|line| line.strip_prefix("first_response_time count 3 p50 "));
        let p50 = figure.and_then(|figure| figure.strip_suffix(" ms")?.parse::<f64>().ok());
        assert!(p50.is_some_and(|p50| (p50 - 45_000.0).abs() <= 450.0), "45 s is the middle of 30, 45 and 60: {text}");
    }
}

/// `buf curl` to a method, or to the server itself.
fn curl(programs: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut buf = Command::new(programs.join("buf"));
    buf.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]).args(arguments).arg(url);
    buf
}

fn call(programs: &Path, suite: &Suite, method: &str, request: &Value) -> Output {
    let url = format!("{}/deskpulse.v1.{method}", suite.url());
    output(&mut curl(programs, &url, &["--data", &request.to_string()]))
}

fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{output:?}"))
}

#[test]
fn buf_curl_sends_events_as_json_and_asks_a_metric_through_reflection() {
    let Some(programs) = programs("buf_curl_sends_events_as_json_and_asks_a_metric_through_reflection") else { return };
    let suite = Suite::start();
    for version in ["grpc-v1", "grpc-v1alpha"] {
        let list = printed(&mut curl(&programs, suite.url(), &["--list-services", "--reflect-protocol", version]));
        for service in SERVICES {
            assert!(list.lines().any(|line| line.trim() == service), "{version}: no {service} in {list}");
        }
    }
    let event = |id: &str, time: &str| json!({"id": id, "source": "buf", "tenant": "acme", "time": time});
    let mut opened = event("1", "2026-06-01T10:00:00Z");
    opened["conversationOpened"] = json!({"conversation": "c1", "dimensions": {"channel": "chat"}});
    let mut reply = event("2", "2026-06-01T10:00:30Z");
    reply["messageCreated"] = json!({"conversation": "c1", "actor": {"kind": "ACTOR_KIND_AGENT", "id": "ada"}});
    let mut timeless = event("3", "2026-06-01T10:00:30Z");
    timeless["time"] = Value::Null;
    let batch = json!({"events": [opened, reply, timeless]});
    let outcome = &answer(&call(&programs, &suite, "IngestService/IngestEvents", &batch))["outcome"];
    assert_eq!((&outcome["accepted"], &outcome["rejected"]), (&json!(2), &json!(1)), "{outcome}");
    let exception = &outcome["exceptions"][0];
    assert_eq!((&exception["index"], &exception["field"]), (&json!(2), &json!("time")), "{outcome}");

    let mut question = json!({
        "tenant": "acme",
        "metrics": [{"name": "first_response_time", "percentiles": [50, 99]}],
        "groupBy": ["channel"],
    });
    let rows = answer(&call(&programs, &suite, "QueryService/QueryMetrics", &question));
    let (row, figure) = (&rows["rows"][0], &rows["rows"][0]["values"][0]);
    assert_eq!(row["group"], json!([{"value": "chat"}]), "{rows}");
    assert_eq!((&figure["count"], &figure["sum"]), (&json!("1"), &json!("30000")), "{rows}");
    assert_eq!(figure["percentiles"].as_array().map(Vec::len), Some(2), "{rows}");

    // What is refused says why, with details that buf hands on.
    question["metrics"][0]["name"] = json!("first_response");
    let refused = call(&programs, &suite, "QueryService/QueryMetrics", &question);
    assert!(!refused.status.success());
    let said: Value = serde_json::from_slice(&refused.stderr).unwrap_or_else(|error| panic!("{error}: {refused:?}"));
    assert_eq!(said["code"], json!("invalid_argument"), "{said}");
    let types: Vec<&Value> = said["details"].as_array().into_iter().flatten().map(|detail| &detail["type"]).collect();
    assert_eq!(types, ["google.rpc.ErrorInfo", "google.rpc.BadRequest"], "{said}");
}

#[test]
fn buf_curl_asks_by_connect_and_by_grpc_web_as_by_grpc() {
    let Some(programs) = programs("buf_curl_asks_by_connect_and_by_grpc_web_as_by_grpc") else { return };
    let suite = Suite::start();
    let event = json!({"id": "1", "source": "buf", "tenant": "acme", "time": "2026-06-01T10:00:00Z",
        "conversationOpened": {"conversation": "c1"}});
    let by = |protocol: &str, method: &str, request: &Value| {
        let url = format!("{}/deskpulse.v1.{method}", suite.url());
        let mut buf = Command::new(programs.join("buf"));
        let schema = project("proto");
        buf.args(["curl", "--protocol", protocol, "--data", &request.to_string(), "--schema"]).arg(schema).arg(url);
        if protocol == "grpc" {
            buf.arg("--http2-prior-knowledge");
        }
        output(&mut buf)
    };
    let question =
        json!({"tenant": "acme", "metrics": [{"name": "conversations_opened"}], "endTime": "2026-06-02T00:00:00Z"});
    for (number, protocol) in ["connect", "grpcweb", "grpc"].into_iter().enumerate() {
        let sent = answer(&by(protocol, "IngestService/IngestEvents", &json!({"events": [event]})));
        let known = if number == 0 { "accepted" } else { "duplicates" };
        let outcome = &sent["outcome"];
        assert!(outcome[known] == 1 || outcome["unverified"] == 1, "{protocol}: {sent}");
        let answered = answer(&by(protocol, "QueryService/QueryMetrics", &question));
        assert_eq!(answered["rows"][0]["values"][0]["count"], "1", "{protocol}: {answered}");
        // A refusal arrives with its code and details in each of the three.
        let refused = by(protocol, "QueryService/QueryMetrics", &json!({"tenant": "acme"}));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{protocol}");
        // The ErrorInfo of FIELD_REQUIRED in deskpulse, as it travels.
        let info = "Cg5GSUVMRF9SRVFVSVJFRBIJZGVza3B1bHNl";
        for word in ["invalid_argument", "metrics is required", "google.rpc.ErrorInfo", info, "google.rpc.BadRequest"] {
            assert!(told.contains(word), "{protocol}: {word} is missing in {told}");
        }
    }
}

#[test]
fn buf_lint_finds_nothing_in_the_contract() {
    let Some(programs) = programs("buf_lint_finds_nothing_in_the_contract") else { return };
    let rules = fs::read_to_string(project("proto/buf.yaml")).expect("the rules are readable");
    assert!(rules.contains("- STANDARD\n") && rules.contains("- COMMENTS\n"), "{rules}");
    let mut lint = Command::new(programs.join("buf"));
    assert_eq!(printed(lint.arg("lint").current_dir(project("proto"))), "");
}
