//! An export imported elsewhere gives the same answers.

use std::path::Path;
use std::process::Command;

use deskpulse_core::kpi::CATALOGUE;
use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::{ConfigChange, MetricRow, MetricSelection};
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::assert_code;
use super::folder::{Folder, MESSAGES, assert_says, lines, text};
use crate::against_reference::{configure, difference};
use crate::harness::{Client, PROGRAM, Process, Random, ask, output, run, shared};
use crate::reference::scenario;

const SCENARIOS: u64 = 60;

/// Gives what was packed.
type Unpack = fn(&[u8]) -> Vec<u8>;

/// Imports a file; returns the summary.
fn import(file: &Path, process: &Process, more: &[&str]) -> serde_json::Value {
    let mut command = Command::new(PROGRAM);
    command.arg("import").arg(file).args(["--server", &process.url, "--output", "json"]).args(more);
    let output = output(command.current_dir(file.parent().expect("a folder")));
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The changes of configuration in a file of lines.
fn changes(file: &Path) -> Vec<ConfigChange> {
    let pool = DescriptorPool::decode(deskpulse_proto::FILE_DESCRIPTOR_SET).expect("the contract's descriptors");
    let descriptor = pool.get_message_by_name("deskpulse.v1.ConfigChange").expect("it is in the contract");
    let lines = std::fs::read_to_string(file).expect("readable");
    let parse = |line: &str| {
        let mut json = serde_json::Deserializer::from_str(line);
        let message = DynamicMessage::deserialize(descriptor.clone(), &mut json).expect("a change");
        message.transcode_to().expect("a change")
    };
    lines.lines().map(parse).collect()
}

fn config_of(process: &Process) -> ConfigServiceClient<tonic::transport::Channel> {
    ConfigServiceClient::new(channel(&process.url).expect("an address"))
}

#[test]
fn what_was_sent_twice_retracted_or_in_conflict_answers_the_same_after_an_export() {
    let scenarios: Vec<_> =
        (1..=SCENARIOS).map(|seed| scenario(&mut Random(seed)).for_tenant(&format!("t{seed}"))).collect();
    let folder = Folder::empty();
    let mut process = folder.serve();
    let (mut events, mut settings) = (0, 0);
    run(async {
        let client = Client::connect(&process.url);
        let mut config = config_of(&process);
        for scenario in &scenarios {
            for batch in scenario.events.chunks(7) {
                client.send(batch.to_vec()).await;
                events += batch.len();
            }
            for change in &scenario.config {
                configure(&mut config, change.clone()).await.expect("it is taken");
                settings += 1;
            }
        }
    });
    assert_eq!(process.terminate("-TERM"), Some(0));

    let target = tempfile::tempdir().expect("a folder");
    let (file, config) = (target.path().join("events.jsonl.zst"), target.path().join("config.jsonl"));
    let names = [file.to_str().expect("UTF-8"), "--config", config.to_str().expect("UTF-8")];
    let output = folder.deskpulse("export", &names);
    assert_code(&output, 0, "export");
    let changes = changes(&config);
    assert_eq!(changes.len(), settings);

    let elsewhere = Folder::empty();
    let process = elsewhere.serve();
    let summary = import(&file, &process, &[]);
    assert_eq!(summary["rows"], events, "all that was acknowledged, however often: {summary}");
    run(async {
        let client = Client::connect(&process.url);
        let mut config = config_of(&process);
        for change in changes {
            configure(&mut config, change).await.expect("it is taken");
        }
        for scenario in &scenarios {
            for question in 0..scenario.questions.len() {
                let difference = difference(&client, scenario, question).await;
                assert_eq!(difference, None, "{:?}", scenario.questions[question]);
            }
        }
    });
}

#[test]
fn an_export_is_packed_as_its_name_says_and_holds_the_tenant_asked_for() {
    let folder = Folder::written();
    let target = tempfile::tempdir().expect("a folder");
    let plain = folder.deskpulse("export", &[]);
    assert_code(&plain, 0, "export");
    assert_says(&plain, &["exported 14,000 events"]);
    assert_eq!(lines(&plain), MESSAGES);
    let unpack: [(&str, Unpack); 3] = [
        ("events.jsonl", <[u8]>::to_vec),
        ("events.jsonl.gz", |bytes| {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut text).expect("gzip");
            text
        }),
        ("events.jsonl.zst", |bytes| zstd::decode_all(bytes).expect("zstd")),
    ];
    for (name, unpack) in unpack {
        let path = target.path().join(name);
        assert_code(&folder.deskpulse("export", &[path.to_str().expect("UTF-8")]), 0, name);
        assert!(unpack(&std::fs::read(&path).expect("written")) == plain.stdout, "{name} differs");
    }
    assert_eq!(folder.deskpulse("export", &["--tenant", "acme"]).stdout.len(), plain.stdout.len());
    let output = folder.deskpulse("export", &["--tenant", "nobody"]);
    assert_code(&output, 0, "no such tenant");
    assert!(output.stdout.is_empty());
    assert_code(&folder.deskpulse("export", &["events.csv"]), 2, "a name that says nothing");

    // Of a damaged log nothing is exported as if it were all.
    folder.flip(&folder.sealed(), |bytes| bytes / 2);
    let path = target.path().join("damaged.jsonl");
    let output = folder.deskpulse("export", &[path.to_str().expect("UTF-8")]);
    assert_code(&output, 1, "a damaged log");
    assert_says(&output, &[".sealed is damaged at byte", "deskpulse check --repair"]);
    assert_eq!(std::fs::read_dir(target.path()).expect("a folder").count(), 3, "no half of a file is left");
    assert_code(&folder.deskpulse("check", &["--repair"]), 0, "repair");
    let output = folder.deskpulse("export", &[path.to_str().expect("UTF-8")]);
    assert_code(&output, 0, "a repaired log");
    assert_says(&output, &["warning: ", "were lost before an earlier repair"]);
}

#[test]
fn an_export_says_which_blocks_retention_removed() {
    let folder = Folder::written();
    let first = folder.sealed();
    folder.go_on_until(&["--log-retention", "0.1"], |_| !first.exists());
    let output = folder.deskpulse("export", &[]);
    assert_code(&output, 0, "a log that was cut");
    assert_says(&output, &["warning: partition 1 begins at block ", "retention removed the "]);
    assert!(lines(&output) > 0, "what is left is exported");
    let output = folder.deskpulse("check", &[]);
    assert_code(&output, 0, "a log that was cut is sound");
    assert_says(&output, &["note: partition 1 begins at block "]);

    // What neither the log nor a snapshot has, no start can make good.
    std::fs::remove_dir_all(folder.store()).expect("removed");
    std::fs::create_dir(folder.store()).expect("made");
    let output = folder.deskpulse("check", &["--repair"]);
    assert_code(&output, 1, "a cut log without its store");
    assert_says(&output, &["no snapshot reaches so far", "put the log's older segments back"]);
}

/// The answers to every metric there is, over all time, by channel.
fn answers(process: &Process) -> Vec<(String, Vec<MetricRow>)> {
    run(async {
        let client = Client::connect(&process.url);
        let mut answers = Vec::new();
        for metric in CATALOGUE.iter().flat_map(|family| family.metrics) {
            for percentiles in [vec![50.0, 90.0], Vec::new()] {
                let mut question = ask("acme", metric.name).to("2026-01-01T00:00:00Z").group_by(&["channel"]);
                question.0.metrics =
                    vec![MetricSelection { name: metric.name.to_owned(), percentiles, ..Default::default() }];
                // Not every metric has percentiles.
                let answer = client.ask(question).await;
                let said = answer.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
                answers.push((format!("{}: {said}", metric.name), answer.unwrap_or_default()));
            }
        }
        answers
    })
}

#[test]
fn real_records_answer_the_same_after_an_export() {
    let test = "real_records_answer_the_same_after_an_export";
    for (data, mapping) in [
        ("servicenow_incidents.csv.gz", "servicenow_incidents.toml"),
        ("twitter_support_5000.csv.gz", "twitter_support_5000.toml"),
        ("bank_calls_1999_02.tsv.gz", "bank_calls_1999_02.toml"),
        ("airport_nps_2017.csv.gz", "airport_nps_2017.toml"),
    ] {
        let Some(path) = shared(test, data) else { continue };
        let folder = Folder::empty();
        let mut process = folder.serve();
        let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings").join(mapping);
        let rejects = folder.path("rejects.csv");
        let options = ["--mapping", mapping.to_str().expect("UTF-8"), "--rejects", rejects.to_str().expect("UTF-8")];
        let first = import(&path, &process, &[&options[..], &["--tenant", "acme"]].concat());
        let before = answers(&process);
        assert_eq!(process.terminate("-TERM"), Some(0));
        let figures = before.iter().flat_map(|(_, rows)| rows).count();
        assert!(figures > 0, "{data}: {before:?}");

        let file = folder.path("events.jsonl.gz");
        assert_code(&folder.deskpulse("export", &[file.to_str().expect("UTF-8")]), 0, data);
        let elsewhere = Folder::empty();
        let process = elsewhere.serve();
        let second = import(&file, &process, &[]);
        assert_eq!(second["accepted"], first["accepted"], "{data}");
        assert_eq!(second["rejected"], 0, "{data}");
        for (have, want) in answers(&process).iter().zip(&before) {
            assert_eq!(have, want, "{data}");
        }
    }
}
