//! The web on the same port: JSON, events, CSV, what Prometheus reads.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{ConversationOpened, Dimensions, Event};
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{Client, Suite, ask, run, timestamp};

/// An answer by HTTP/1.1.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn connect(suite: &Suite, request: &str) -> BufReader<TcpStream> {
    let address = suite.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("written");
    BufReader::new(stream)
}

/// Status and headers.
fn head(from: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(from.read_line(&mut head).expect("a line") > 0, "{head}");
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase())
}

fn call(suite: &Suite, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let request = format!("{method} {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{headers}{length}\r\n{body}");
    let mut from = connect(suite, &request);
    let (status, head) = head(&mut from);
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a body");
    let body = String::from_utf8(bytes).expect("text");
    let body = if head.contains("transfer-encoding: chunked") { unchunked(&body) } else { body };
    Answer { status, head, body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        body.push_str(&after[..length]);
        rest = &after[length + 2..];
        if length == 0 {
            break;
        }
    }
    body
}

fn get(suite: &Suite, path: &str) -> Answer {
    call(suite, "GET", path, "", "")
}

const JSON: &str = "content-type: application/json\r\n";
const QUERY: &str = "/deskpulse.v1.QueryService/QueryMetrics";
const WATCH: &str = "/deskpulse.v1.QueryService/WatchMetrics";
const TYPE: &str = "content-type: application/connect+json\r\n";

fn post(suite: &Suite, path: &str, body: &Value) -> Answer {
    call(suite, "POST", path, JSON, &body.to_string())
}

fn opened(number: u32, channel: &str) -> Event {
    Event {
        id: format!("e{number}"),
        source: "web".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(timestamp("2026-06-01T09:00:00Z")),
        payload: Some(Payload::ConversationOpened(ConversationOpened {
            conversation: format!("c{number}"),
            dimensions: Some(Dimensions { channel: channel.to_owned(), ..Default::default() }),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Three conversations by chat, one by `"e,mail"`, which CSV has to quote.
async fn fill(client: &Client) {
    client.send(vec![opened(1, "chat"), opened(2, "chat"), opened(3, "chat"), opened(4, "e,mail")]).await;
}

#[test]
fn a_method_is_called_as_json_and_answers_what_grpc_answers() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let event = json!({"id": "1", "source": "web", "tenant": "acme", "time": "2026-06-01T09:00:00Z",
            "conversationOpened": {"conversation": "c0", "dimensions": {"channel": "chat"}}});
        let sent = post(&suite, "/deskpulse.v1.IngestService/IngestEvents", &json!({"events": [event, {"id": "2"}]}));
        assert_eq!(sent.status, 200, "{}", sent.body);
        let outcome = &sent.json()["outcome"];
        assert_eq!((&outcome["accepted"], &outcome["rejected"]), (&json!(1), &json!(1)));
        fill(&client).await;
        let question = json!({"tenant": "acme", "metrics": [{"name": "conversations_opened"}], "groupBy": ["channel"],
            "endTime": "2026-06-02T00:00:00Z"});
        let answer = post(&suite, QUERY, &question);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let rows = client.rows(ask("acme", "conversations_opened").group_by(&["channel"])).await;
        let counts: Vec<u64> = rows.iter().map(|row| row.values[0].count).collect();
        let web: Vec<u64> = answer.json()["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["values"][0]["count"].as_str().expect("64 bits as text").parse().expect("a number"))
            .collect();
        assert_eq!(web, counts);
        // What only reads can be asked by GET, with the message in the address.
        let message: String = form_urlencoded::byte_serialize(question.to_string().as_bytes()).collect();
        let asked = get(&suite, &format!("{QUERY}?encoding=json&message={message}"));
        assert_eq!(asked.json()["rows"], answer.json()["rows"]);
        // As Connect's clients write it: in base64, as protobuf, too.
        let in_base64 = |encoding: &str, bytes: &[u8]| {
            let message = URL_SAFE.encode(bytes);
            get(&suite, &format!("{QUERY}?connect=v1&encoding={encoding}&base64=1&message={message}"))
        };
        let asked = in_base64("json", question.to_string().as_bytes());
        assert_eq!(asked.json()["rows"], answer.json()["rows"]);
        let refused = in_base64("proto", &ask("acme", "speed").0.encode_to_vec());
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("UNKNOWN_METRIC"), "{}", refused.body);
        let batch = json!({ "queries": [question, question] }).to_string();
        let batch: String = form_urlencoded::byte_serialize(batch.as_bytes()).collect();
        let asked = get(&suite, &format!("/deskpulse.v1.QueryService/BatchQueryMetrics?message={batch}")).json();
        for number in [0, 1] {
            assert_eq!(asked["outcomes"][number]["answer"]["rows"], answer.json()["rows"], "{asked}");
        }
    });
}

#[test]
fn a_refusal_says_the_same_in_both_worlds() {
    let suite = Suite::start();
    let refused = |answer: &Answer, status: u16, code: &str, reason: &str, field: &str| {
        let error = answer.json();
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{error}");
        let detail = |name: &str| {
            let details = error["details"].as_array().expect("details");
            details.iter().find(|it| it["type"] == name).map(|it| it["debug"].clone()).unwrap_or_default()
        };
        assert_eq!(detail("google.rpc.ErrorInfo")["reason"], reason, "{error}");
        assert_eq!(detail("google.rpc.ErrorInfo")["domain"], "deskpulse");
        if !field.is_empty() {
            assert_eq!(detail("google.rpc.BadRequest")["fieldViolations"][0]["field"], field, "{error}");
        }
    };
    let bad = json!({"tenant": "acme", "metrics": [{"name": "speed"}]});
    refused(&post(&suite, QUERY, &bad), 400, "invalid_argument", "UNKNOWN_METRIC", "metrics[0].name");
    let unknown = json!({"tenant": "acme", "metric": "reopens"});
    refused(&post(&suite, QUERY, &unknown), 400, "invalid_argument", "MESSAGE_MALFORMED", "");
    refused(&call(&suite, "POST", QUERY, JSON, "{"), 400, "invalid_argument", "MESSAGE_MALFORMED", "");
    refused(&call(&suite, "POST", QUERY, JSON, "{} {}"), 400, "invalid_argument", "MESSAGE_MALFORMED", "");
    refused(
        &call(&suite, "POST", QUERY, "content-type: text/plain\r\n", "{}"),
        415,
        "invalid_argument",
        "CONTENT_TYPE",
        "",
    );
    let zipped = format!("{JSON}content-encoding: gzip\r\n");
    refused(&call(&suite, "POST", QUERY, &zipped, "{}"), 415, "invalid_argument", "CONTENT_TYPE", "");
    refused(&call(&suite, "DELETE", QUERY, "", ""), 404, "unimplemented", "UNKNOWN_METHOD", "");
    refused(&get(&suite, "/deskpulse.v1.IngestService/IngestEvents"), 404, "unimplemented", "UNKNOWN_METHOD", "");
    refused(
        &post(&suite, "/deskpulse.v1.IngestService/StreamEvents", &json!({})),
        404,
        "unimplemented",
        "UNKNOWN_METHOD",
        "",
    );
    refused(&get(&suite, "/favicon.ico"), 404, "unimplemented", "UNKNOWN_METHOD", "");
    refused(
        &post(&suite, "/deskpulse.v1.QueryService/Nothing", &json!({})),
        404,
        "unimplemented",
        "UNKNOWN_METHOD",
        "",
    );
    let watch = json!({"query": {"tenant": "acme", "metrics": [{"name": "speed"}]}});
    refused(
        &post(&suite, "/deskpulse.v1.QueryService/WatchMetrics", &watch),
        400,
        "invalid_argument",
        "UNKNOWN_METRIC",
        "metrics[0].name",
    );
    for (path, reason, field) in [
        ("/api/v1/query", "FIELD_REQUIRED", "tenant"),
        ("/api/v1/query?tenant=acme&metric=reopens&speed=1", "FIELD_INVALID", "speed"),
        ("/api/v1/query?tenant=acme&metric=reopens:x", "FIELD_INVALID", "metric"),
        ("/api/v1/query?tenant=acme&metric=reopens&from=soon", "FIELD_INVALID", "from"),
        ("/api/v1/query?tenant=acme&metric=reopens&limit=many", "FIELD_INVALID", "limit"),
        ("/api/v1/query?tenant=acme&metric=reopens&limit=-1", "FIELD_INVALID", "limit"),
        ("/api/v1/query?tenant=acme&metric=reopens&every=1s", "FIELD_INVALID", "every"),
        ("/api/v1/watch?tenant=acme&metric=reopens&format=csv", "FIELD_INVALID", "format"),
        ("/deskpulse.v1.QueryService/QueryMetrics?encoding=xml", "FIELD_INVALID", "encoding"),
        ("/deskpulse.v1.QueryService/QueryMetrics?compression=gzip&message=x", "FIELD_INVALID", "compression"),
        ("/deskpulse.v1.QueryService/QueryMetrics?base64=1&message=%22", "FIELD_INVALID", "message"),
        ("/api/v1/query?tenant=acme&metric=reopens&zone=Mars", "FIELD_INVALID", "zone"),
        ("/api/v1/query?tenant=acme&metric=reopens&format=xml", "FIELD_INVALID", "format"),
        ("/api/v1/query?tenant=acme&metric=reopens&filter=team", "MALFORMED_FILTER", "filter"),
        ("/api/v1/watch?tenant=acme&metric=reopens&every=1ms", "FIELD_INVALID", "min_interval"),
    ] {
        refused(&get(&suite, path), 400, "invalid_argument", reason, field);
    }
}

#[test]
fn a_spreadsheet_reads_json_or_csv_of_the_same_figures() {
    let suite = Suite::start();
    run(async {
        fill(&suite.client()).await;
        let path = "/api/v1/query?tenant=acme&metric=conversations_opened&group_by=channel&from=2026-06-01&to=2026-06-02&order_by=-value&totals=1";
        let answer = get(&suite, path).json();
        let rows = answer["rows"].as_array().expect("rows");
        let row = |at: usize| (rows[at]["channel"].as_str(), rows[at]["value"].as_f64(), rows[at]["row"].as_str());
        assert_eq!(row(0), (Some("chat"), Some(3.0), Some("row")));
        assert_eq!(row(1), (Some("e,mail"), Some(1.0), Some("row")));
        assert_eq!(row(2), (None, Some(4.0), Some("total")));
        assert_eq!((rows.len(), answer["totalRows"].as_u64()), (3, Some(2)));
        assert!(answer["completeUntil"].as_str().is_some_and(|time| time.ends_with('Z')));
        let csv = get(&suite, &format!("{path}&format=csv"));
        assert!(csv.status == 200 && csv.head.contains("content-type: text/csv"), "{}", csv.head);
        let accepted = call(&suite, "GET", path, "accept: text/csv\r\n", "");
        assert_eq!(accepted.body, csv.body);
        let mut reader = csv::Reader::from_reader(csv.body.as_bytes());
        let header = reader.headers().expect("a header").clone();
        let place = |name: &str| header.iter().position(|title| title == name).expect(name);
        let lines: Vec<_> = reader.records().map(|line| line.expect("a line")).collect();
        for (line, row) in lines.iter().zip(rows) {
            assert_eq!(line[place("value")].parse::<f64>().ok(), row["value"].as_f64());
            assert_eq!(&line[place("channel")], row["channel"].as_str().unwrap_or_default());
        }
        // A histogram's bytes are those of the contract's JSON.
        let question = json!({"tenant": "acme", "metrics": [{"name": "backlog_age", "histogram": true}], "endTime": "2026-06-02T00:00:00Z"});
        let said = post(&suite, QUERY, &question).json()["rows"][0]["values"][0]["histogram"].clone();
        assert!(said.as_str().is_some_and(|text| text.len() > 40), "{said}");
        let flat = get(&suite, "/api/v1/query?tenant=acme&metric=backlog_age:histogram&to=2026-06-02").json();
        assert_eq!(flat["rows"][0]["histogram"], said);
    });
}

#[test]
fn a_browser_gets_an_event_for_each_answer_and_goes_on_where_it_was() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        fill(&client).await;
        let path = "/api/v1/watch?tenant=acme&metric=conversations_opened&every=200ms&to=2026-06-02";
        let open = |headers: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\naccept: text/event-stream\r\n{headers}\r\n");
            let mut from = connect(&suite, &request);
            let (status, head) = head(&mut from);
            assert!(status == 200 && head.contains("content-type: text/event-stream"), "{head}");
            from
        };
        // The id and the count of the next event.
        let event = |from: &mut BufReader<TcpStream>| {
            let mut id = String::new();
            loop {
                let mut line = String::new();
                assert!(from.read_line(&mut line).expect("a line in time") > 0, "it ended");
                if let Some(given) = line.strip_prefix("id: ") {
                    given.trim().clone_into(&mut id);
                }
                if let Some(data) = line.strip_prefix("data: ") {
                    let message: Value = serde_json::from_str(data).expect("JSON");
                    let count = message["answer"]["rows"][0]["values"][0]["count"].as_str().map(ToOwned::to_owned);
                    return (id, count.expect("a count"));
                }
            }
        };
        let mut from = open("");
        let (id, count) = event(&mut from);
        assert_eq!(count, "4");
        let mut resumed = open(&format!("last-event-id: {id}\r\n"));
        client.send(vec![opened(5, "chat")]).await;
        assert_eq!(event(&mut from).1, "5");
        assert_eq!(event(&mut resumed).1, "5", "not the one that was seen");
        // By the method's own name, too, and alerts as well.
        let message = json!({"tenant": "acme"}).to_string();
        let message: String = form_urlencoded::byte_serialize(message.as_bytes()).collect();
        let request =
            format!("GET /deskpulse.v1.QueryService/WatchAlerts?message={message} HTTP/1.1\r\nhost: here\r\n\r\n");
        let mut alerts = connect(&suite, &request);
        assert_eq!(head(&mut alerts).0, 200);
        let mut lines = String::new();
        while !lines.contains("data: ") {
            assert!(alerts.read_line(&mut lines).expect("a line in time") > 0, "{lines}");
        }
        assert!(lines.contains("id: "), "{lines}");
    });
}

#[test]
fn prometheus_reads_how_the_service_does() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let now = jiff::Timestamp::now().to_string();
        client.send(vec![Event { time: Some(timestamp(&now)), ..opened(1, "chat") }]).await;
        client.rows(ask("acme", "backlog")).await;
        let answer = get(&suite, "/metrics");
        assert!(answer.status == 200 && answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
        for line in [
            "deskpulse_answers 1",
            "deskpulse_kpi{figure=\"value\",metric=\"conversations_opened\"} 1",
            "deskpulse_kpi{figure=\"value\",metric=\"sla_breaches\"} 0",
            "deskpulse_rpc_responses_total{code=\"Ok\",method=\"QueryMetrics\",service=\"deskpulse.v1.QueryService\"} ",
            "deskpulse_rpc_response_seconds_count{method=\"QueryMetrics\",service=\"deskpulse.v1.QueryService\"} ",
            "deskpulse_applied_position{partition=\"2\"} ",
        ] {
            assert!(answer.body.lines().any(|known| known.starts_with(line)), "{line} is missing in\n{}", answer.body);
        }
        // Each family says what it is.
        for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(answer.body.contains(&format!("# HELP {family} ")), "{line}");
        }
        let probes = ["/livez", "/readyz"].map(|path| (get(&suite, path).status, get(&suite, path).body));
        assert_eq!(probes, [(200, "ok\n".to_owned()), (200, "ready\n".to_owned())]);
    });
}

/// Every reference to a schema.
fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            fields.values().for_each(|value| references(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[test]
fn the_contract_is_there_as_openapi_and_as_a_page() {
    let suite = Suite::start();
    let document = get(&suite, "/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let page = get(&suite, "/docs");
    assert_eq!(page.status, 200);
    let paths = document["paths"].as_object().expect("paths");
    for path in
        [QUERY, "/deskpulse.v1.IngestService/IngestEvents", "/deskpulse.v1.QueryService/WatchMetrics", "/metrics"]
    {
        assert!(paths.contains_key(path), "no {path}");
    }
    for (path, operations) in paths {
        let (verb, operation) = operations.as_object().and_then(|it| it.iter().next()).expect("an operation");
        assert!(page.body.contains(&format!("{} {path}</code>", verb.to_uppercase())), "{path} is not on the page");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() > 10), "{path}: {operation}");
    }
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 100, "{} references", all.len());
    for reference in all {
        let schema =
            reference.strip_prefix("#/components/schemas/").map(|name| &document["components"]["schemas"][name]);
        assert!(schema.is_some_and(|schema| schema["properties"].is_object()), "{reference} leads nowhere");
    }

    // Every parameter it names is known, and no other.
    let named = document["paths"]["/api/v1/query"]["get"]["parameters"].as_array().expect("parameters");
    let named: Vec<&str> = named.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
    let refused = get(&suite, "/api/v1/query?tenants=acme").json();
    assert_eq!(refused["message"], format!("there is no parameter \"tenants\": give {}", named.join(", ")));
    for name in named {
        let said = get(&suite, &format!("/api/v1/query?{name}=%22"));
        assert!(!said.body.contains("there is no parameter"), "{name}: {}", said.body);
    }
}

#[test]
fn a_spreadsheet_reads_all_of_an_earlier_period() {
    let suite = Suite::start();
    run(async {
        fill(&suite.client()).await;
        let of = |days: &str| {
            let path = format!("/api/v1/query?tenant=acme&metric=backlog_age:p50,%3C%3D20h&{days}");
            get(&suite, &path).json()["rows"][0].clone()
        };
        let before = of("from=2026-06-01&to=2026-06-02");
        let compared = of("from=2026-06-02&to=2026-06-03&compare_to=previous");
        let share = format!("share<={}ms", 20 * 60 * 60 * 1_000);
        for name in ["count", "value", "p50", &share] {
            assert!(before[name].is_number(), "{before}");
            assert_eq!(compared[format!("earlier_{name}")], before[name], "{name}: {compared}");
        }
        assert_ne!(compared["p50"], compared["earlier_p50"]);
        assert!(before.get("earlier_p50").is_none());
    });
}

#[test]
fn local_times_are_those_of_the_tenant_as_intervals_are() {
    let suite = Suite::start();
    run(async {
        fill(&suite.client()).await;
        let set = r#"{"tenant":{"tenant":"acme","timeZone":"Asia/Kathmandu"}}"#;
        let kept =
            call(&suite, "POST", "/deskpulse.v1.ConfigService/SetTenant", "content-type: application/json\r\n", set);
        assert_eq!(kept.status, 200, "{}", kept.body);
        let path = "/api/v1/query?tenant=acme&metric=conversations_opened&interval=1d&fill_gaps=1&from=2026-06-01&to=2026-06-03";
        let begins = |path: &str| -> Vec<String> {
            let rows = get(&suite, path).json()["rows"].as_array().expect("rows").clone();
            rows.iter().map(|row| row["interval_start"].as_str().expect("a time").to_owned()).collect()
        };
        assert_eq!(begins(path), ["2026-05-31T18:15:00Z", "2026-06-01T18:15:00Z"]);
        let in_utc = begins(&format!("{path}&zone=UTC"));
        assert_eq!(in_utc, ["2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"]);
        // Other tenants have no zone of their own.
        assert_eq!(begins(&path.replace("acme", "nobody")), in_utc);
    });
}

/// An envelope of a Connect stream.
fn enveloped(flags: u8, body: &str) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[flags][..], &length, body.as_bytes()].concat()
}

/// Headers and body of what a Connect stream answers until it ends.
fn streamed(suite: &Suite, path: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let length = body.len();
    let mut from = connect(
        suite,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{TYPE}{headers}content-length: {length}\r\n\r\n"
        ),
    );
    from.get_mut().write_all(body).expect("written");
    let (status, head) = head(&mut from);
    assert_eq!(status, 200, "{head}");
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a body");
    (head, bytes)
}

#[test]
fn a_stream_of_connect_ends_when_the_callers_time_is_over() {
    let suite = Suite::start();
    run(async { fill(&suite.client()).await });
    let question = json!({"query": {"tenant": "acme", "metrics": [{"name": "conversations_opened"}],
        "startTime": "2026-06-01T00:00:00Z", "endTime": "2026-06-02T00:00:00Z"}});
    let body = enveloped(0, &question.to_string());
    let answered = |milliseconds: &str| {
        let (_, bytes) = streamed(&suite, WATCH, &format!("connect-timeout-ms: {milliseconds}\r\n"), &body);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let until_then = answered("4000");
    assert!(until_then.contains("\"count\":\"4\""), "an answer comes first: {until_then}");
    assert!(until_then.contains("\"code\":\"deadline_exceeded\""), "{until_then}");
    assert!(until_then.contains("the 4000 ms of the call are over"), "{until_then}");
    assert!(until_then.contains("\"reason\":\"DEADLINE_EXCEEDED\""), "{until_then}");
    let refused = answered("soon");
    assert!(refused.contains("\"code\":\"invalid_argument\"") && refused.contains("connect-timeout-ms"), "{refused}");
}

#[test]
fn a_stream_of_connect_that_cannot_begin_ends_with_the_reason() {
    let suite = Suite::start();
    for (what, path, body, code) in [
        ("no envelope", WATCH, b"{}".to_vec(), "invalid_argument"),
        ("half an envelope", WATCH, enveloped(0, "{\"a\":1}")[..8].to_owned(), "invalid_argument"),
        ("a compressed envelope", WATCH, enveloped(1, "{}"), "invalid_argument"),
        ("no JSON", WATCH, enveloped(0, "{"), "invalid_argument"),
        ("no question", WATCH, enveloped(0, "{}"), "invalid_argument"),
        ("one answer only", QUERY, enveloped(0, "{}"), "unimplemented"),
        ("nothing there", "/deskpulse.v1.QueryService/Guess", enveloped(0, "{}"), "unimplemented"),
    ] {
        let (head, bytes) = streamed(&suite, path, "", &body);
        assert!(head.contains("content-type: application/connect+json"), "{what}: {head}");
        // One chunk, in it one envelope: flags, length and JSON.
        let begin = bytes.iter().position(|byte| *byte == b'{').expect("JSON");
        assert_eq!(bytes[begin - 5], 2, "{what}: it is the end");
        let mut said = serde_json::Deserializer::from_slice(&bytes[begin..]).into_iter::<Value>();
        let said = said.next().expect("JSON").expect("JSON");
        assert_eq!(said["error"]["code"], code, "{what}: {said}");
        assert_eq!(said["error"]["details"][0]["type"], "google.rpc.ErrorInfo", "{what}: {said}");
    }
}
