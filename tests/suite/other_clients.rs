//! Clients that others made, installed into folders of their own: Python's `grpcio` and `buf` from `PyPI`, Connect and `EventSource` for
//! JavaScript from npm, Debian's `promtool`, and the curl that is there.
//!
//! Where one cannot be had its tests are skipped, and say so; with
//! `DESKPULSE_REQUIRE_FOREIGN_CLIENTS=1` they fail.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::harness::{Suite, output, run, try_output};

const REQUIRE: &str = "DESKPULSE_REQUIRE_FOREIGN_CLIENTS";

/// A folder of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder of clients that others made.
type Installed = OnceLock<Result<PathBuf, String>>;

/// The folder of some clients; `None` when they cannot be had and need not.
fn clients(test: &str, installed: &Installed, install: fn() -> Result<PathBuf, String>) -> Option<PathBuf> {
    match installed.get_or_init(install) {
        Ok(folder) => Some(folder.clone()),
        Err(error) if std::env::var_os(REQUIRE).is_some() => panic!("{error}\n{REQUIRE} is set"),
        Err(error) => {
            // Not `eprintln`, which is shown of tests that fail only.
            let why = error.lines().last().unwrap_or_default();
            let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
            None
        }
    }
}

/// Python's programs.
fn programs(test: &str) -> Option<PathBuf> {
    static PROGRAMS: Installed = OnceLock::new();
    clients(test, &PROGRAMS, || {
        let requirements = project("tests/python/requirements.txt");
        let environment = folder_of("foreign-clients", &requirements, |environment| {
            let mut make = Command::new("python3");
            make.args(["-m", "venv", "--clear"]).arg(environment);
            let mut fill = Command::new(environment.join("bin/python"));
            fill.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            fill.arg(&requirements);
            vec![make, fill]
        })?;
        Ok(environment.join("bin"))
    })
}

/// A folder with Node's packages.
fn packages(test: &str) -> Option<PathBuf> {
    static PACKAGES: Installed = OnceLock::new();
    clients(test, &PACKAGES, || {
        let package = project("tests/node/package.json");
        folder_of("foreign-node", &package, |folder| {
            let mut install = Command::new("npm");
            install.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--silent", "--prefix"]);
            install.arg(folder);
            vec![copy(&package, folder), install]
        })
    })
}

/// `promtool`, of Debian's package.
fn promtool(test: &str) -> Option<PathBuf> {
    static PROMTOOL: Installed = OnceLock::new();
    clients(test, &PROMTOOL, || {
        let folder = folder_of("foreign-promtool", &project("tests/suite/other_clients.rs"), |folder| {
            let inside = |script: &str| {
                let mut shell = command("sh", &["-euc", script]);
                shell.current_dir(folder);
                shell
            };
            // Where there are no lists of packages yet, they are fetched first.
            let download = "apt-get --quiet download prometheus || { apt-get --quiet update && apt-get --quiet download prometheus; }";
            vec![inside(download), inside("dpkg-deb --extract prometheus_*.deb .")]
        })?;
        Ok(folder.join("usr/bin/promtool"))
    })
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn copy(file: &Path, folder: &Path) -> Command {
    let mut copy = Command::new("cp");
    copy.arg(file).arg(folder);
    copy
}

/// Fills a folder by some steps, unless that was done already with the same file of versions.
fn folder_of(name: &str, versions: &Path, steps: impl FnOnce(&Path) -> Vec<Command>) -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(versions).map_err(|error| error.to_string())?;
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, mark) = (tmp.join(name), tmp.join(name).join("versions"));
    // Another test run may be at it.
    let lock = fs::File::create(tmp.join(format!("{name}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for mut step in steps(&folder) {
        let output = try_output(&mut step).map_err(|error| format!("{step:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{step:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    // Last, so that what was left half-way is made again.
    fs::write(mark, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
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

const OPENED: &str = r#"{"id": "1", "source": "js", "tenant": "acme", "time": "2026-06-01T10:00:00Z",
    "conversationOpened": {"conversation": "c1", "dimensions": {"channel": "chat"}}}"#;
const REPLY: &str = r#"{"id": "2", "source": "js", "tenant": "acme", "time": "2026-06-01T10:00:30Z",
    "messageCreated": {"conversation": "c1", "actor": {"kind": "ACTOR_KIND_AGENT", "id": "ada"}}}"#;

/// Posts a conversation and its first reply after 30 seconds, with curl; `None` where there is none.
fn filled_by_curl(test: &str, suite: &Suite) -> Option<()> {
    static CURL: Installed = OnceLock::new();
    clients(test, &CURL, || {
        try_output(&mut command("curl", &["--version"])).map_err(|error| format!("curl: {error}"))?;
        Ok(PathBuf::new())
    })?;
    let body = format!("{{\"events\": [{OPENED}, {REPLY}]}}");
    let url = format!("{}/deskpulse.v1.IngestService/IngestEvents", suite.url());
    let post = ["-sS", "--fail", "--json", &body, &url];
    let sent: Value = serde_json::from_str(&printed(&mut command("curl", &post))).expect("JSON");
    assert_eq!(sent["outcome"]["accepted"], 2, "{sent}");
    Some(())
}

#[test]
fn javascript_asks_and_watches_by_each_protocol_of_connect_and_by_events() {
    const TEST: &str = "javascript_asks_and_watches_by_each_protocol_of_connect_and_by_events";
    let Some(packages) = packages(TEST) else { return };
    let suite = Suite::start();
    let Some(()) = filled_by_curl(TEST, &suite) else { return };
    printed(&mut copy(&project("tests/node/client.js"), &packages));
    let mut node = Command::new("node");
    node.arg(packages.join("client.js")).arg(suite.url()).arg(project("proto/src/generated/deskpulse.v1.bin"));
    let text = printed(&mut node);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["connect json", "connect proto", "grpc-web", "grpc", "EventSource"], "{text}");
    let (events, protocols) = lines.split_last().expect("five");
    let rows = json!([["chat", 1, 30_000]]);
    for said in protocols {
        assert_eq!((&said["rows"], &said["watched"]), (&rows, &json!([rows])), "{said}");
        assert_eq!(said["batch"], json!(["answer", "error"]), "{said}");
        assert_eq!(said["inBand"], "metrics is required: name at least one", "{said}");
        let refused = json!({
            "code": 3, "message": "metrics is required: name at least one",
            "details": ["google.rpc.ErrorInfo", "google.rpc.BadRequest"],
        });
        assert_eq!(said["refused"], refused, "{said}");
        // Cancelled by the client itself.
        assert_eq!(said["ended"], 1, "{said}");
        assert_eq!(said["refusedWatch"], "query is required: what to answer", "{said}");
    }
    assert_eq!((&events["id"], &events["count"]), (&json!(true), &json!("1")), "{events}");
}

#[test]
fn curl_reads_json_csv_and_events() {
    const TEST: &str = "curl_reads_json_csv_and_events";
    let suite = Suite::start();
    let Some(()) = filled_by_curl(TEST, &suite) else { return };
    let question = "tenant=acme&metric=first_response_time:p50&group_by=channel&to=2026-09-01";
    let url = |path: &str| format!("{}/api/v1/{path}?{question}", suite.url());
    let rows: Value =
        serde_json::from_str(&printed(&mut command("curl", &["-sS", "--fail", &url("query")]))).expect("JSON");
    assert_eq!((&rows["rows"][0]["channel"], &rows["rows"][0]["p50"]), (&json!("chat"), &json!(30_000)), "{rows}");
    let csv = printed(&mut command("curl", &["-sS", "--fail", "-H", "Accept: text/csv", &url("query")]));
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("chat,") && line.contains(",30000")), "{csv}");
    // It ends by its own patience; what it has printed until then counts.
    let watched = output(&mut command("curl", &["-sSN", "--max-time", "3", &url("watch")]));
    let watched = String::from_utf8_lossy(&watched.stdout).into_owned();
    let data = watched.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{watched}"));
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(data["answer"]["rows"][0]["values"][0]["count"], "1", "{data}");
    assert!(watched.lines().any(|line| line.starts_with("id: ")), "{watched}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    const TEST: &str = "promtool_finds_nothing_wrong_with_the_metrics";
    let Some(promtool) = promtool(TEST) else { return };
    let suite = Suite::start();
    let Some(()) = filled_by_curl(TEST, &suite) else { return };
    // A call by gRPC, which is counted.
    run(async { suite.client().settle().await });
    let metrics = printed(&mut command("curl", &["-sS", "--fail", &format!("{}/metrics", suite.url())]));
    for name in [
        "deskpulse_kpi{",
        "deskpulse_applied_position{",
        "deskpulse_rpc_responses_total{",
        "deskpulse_rpc_response_seconds_bucket{",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    fs::write(&file, &metrics).expect("written");
    let mut check = command("sh", &["-c", "exec \"$0\" check metrics < \"$1\""]);
    let checked = output(check.arg(promtool).arg(&file));
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}\n{metrics}", String::from_utf8_lossy(&said));
}
