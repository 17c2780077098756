//! The catalogue against the contract, and against the transcripts.

use std::collections::BTreeSet;
use std::path::Path;

use deskpulse_proto::v1::{Basis, Clock, ListMetricsRequest, Metric};

use crate::harness::{Client, Suite, ask, run};

/// Metrics the contract does not name in its section 3, each with the reason why it is there.
const BESIDE_THE_CONTRACT: [(&str, &str); 9] = [
    ("waits_started", "the denominator of response_rate"),
    ("waits_answered", "the numerator of response_rate"),
    ("conflicting_ids", "section 2: events refused because their id was known with other content"),
    ("skewed_events", "section 1: durations that clock skew made negative"),
    ("handle_time_apportioned", "worked case B: handle time in the intervals it covers"),
    ("contacts_in_queue", "open items: the waits that queue_wait does not show yet"),
    ("customers_served", "the customers behind conversations_handled"),
    ("tags_added", "the top list of tags: an opening carries none"),
    ("agents", "the states behind the time metrics, as of an instant"),
];

/// Words the contract's section 3 sets like metrics that are none.
const NO_METRICS: [(&str, &str); 18] = [
    ("within", "what to ask of response_rate"),
    ("pending", "a figure of response_rate"),
    ("first_response", "a target of a policy"),
    ("next_response", "a target of a policy"),
    ("resolution", "a target of a policy"),
    ("top", "a count, grouped, ordered and limited"),
    ("topic", "a dimension"),
    ("subtopic", "a dimension"),
    ("tag", "a dimension"),
    ("quick_reply", "a dimension"),
    ("excluding_short", "a variant of abandonment_rate"),
    ("answered_of_answered", "a variant of service_level"),
    ("with_abandons_met", "a variant of service_level"),
    ("without_early_abandons", "a variant of service_level"),
    ("without_short_abandons", "a variant of service_level"),
    ("of_offered", "a variant of service_level"),
    ("per_conversation", "a variant of handle_time"),
    ("t", "the instant of something"),
];

async fn list(client: &Client) -> Vec<Metric> {
    let response = client.query.clone().list_metrics(ListMetricsRequest {}).await;
    response.expect("the catalogue is listed").into_inner().metrics
}

fn names(metrics: &[Metric]) -> BTreeSet<String> {
    metrics.iter().map(|metric| metric.name.clone()).collect()
}

/// The metrics the transcripts ask for.
fn asked() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/transcripts");
    let files = std::fs::read_dir(folder).expect("the transcripts are there");
    let mut names = BTreeSet::new();
    for file in files.map(|file| file.expect("a file").path()) {
        let text = std::fs::read_to_string(file).expect("a text");
        // Questions also stand behind what a string inserts or breaks at.
        let text = text.replace("\\n=", "\n=").replace("}=", "}\n=");
        let in_lines = text.lines().filter_map(|line| line.trim().strip_prefix("= "));
        let in_code = text.split("ask(\"t\", \"").skip(1);
        for question in in_lines.chain(in_code) {
            let is_name = |letter: &char| letter.is_ascii_lowercase() || *letter == '_';
            names.insert(question.chars().take_while(is_name).collect());
        }
    }
    names
}

/// The names in section 3 of the contract: the first cells of its tables, and what is set as code.
fn in_the_contract(text: &str) -> BTreeSet<String> {
    let section = text.split("\n## ").find(|section| section.starts_with("3.")).expect("a section 3");
    let mut names = BTreeSet::new();
    for line in section.lines() {
        let first_cell = line.strip_prefix("| ").and_then(|row| row.split(" | ").next()).unwrap_or_default();
        let listed = first_cell.split(", ").map(|name| name.split([' ', '(']).next().unwrap_or_default());
        let set_as_code = line.split('`').skip(1).step_by(2).flat_map(|code| code.split(", "));
        let set_as_code = set_as_code.map(|code| code.split('(').next().unwrap_or_default());
        let is_name = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        names.extend(listed.chain(set_as_code).filter(is_name).map(str::to_owned));
    }
    names.remove("metric");
    names
}

#[test]
fn every_metric_has_a_transcript() {
    let suite = Suite::start();
    let listed = run(async { names(&list(&suite.client()).await) });
    let asked = asked();
    let without: Vec<&String> = listed.difference(&asked).collect();
    assert!(without.is_empty(), "no transcript asks for {without:?}");
    let unknown: Vec<&String> = asked.difference(&listed).collect();
    assert!(unknown.is_empty(), "transcripts ask for {unknown:?}, which the catalogue lacks");
}

#[test]
fn the_catalogue_is_the_contracts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/METRICS.md");
    let Ok(contract) = std::fs::read_to_string(path) else {
        eprintln!("skipped: the_catalogue_is_the_contracts: ../shared/METRICS.md is absent");
        return;
    };
    let mut expected = in_the_contract(&contract);
    for (name, reason) in NO_METRICS {
        assert!(expected.remove(name), "{name}, {reason}, is not in the contract");
    }
    for (name, reason) in BESIDE_THE_CONTRACT {
        assert!(expected.insert(name.to_owned()), "{name}, {reason}, is in the contract");
    }
    let suite = Suite::start();
    let listed = run(async { names(&list(&suite.client()).await) });
    assert_eq!(listed, expected);
}

#[test]
fn nothing_gives_no_figure_on_any_basis_clock_or_variant() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        for metric in list(&client).await {
            let clocks: &[Clock] =
                if metric.has_business_clock { &[Clock::Calendar, Clock::Business] } else { &[Clock::Unspecified] };
            let variants = metric.variants.iter().map(|variant| variant.name.as_str()).chain([""]);
            for (variant, basis) in variants.flat_map(|variant| metric.bases().map(move |basis| (variant, basis))) {
                for clock in clocks {
                    let question = ask("empty", &metric.name).basis(basis);
                    let mut question = question.from("2026-06-01T00:00:00Z").to("2026-06-02T00:00:00Z");
                    question.0.clock = (*clock).into();
                    variant.clone_into(&mut question.0.metrics[0].variant);
                    if metric.name.starts_with("cost_") {
                        question.0.metrics[0].currency = "EUR".to_owned();
                    }
                    let what = format!("{} {variant} {basis:?} {clock:?}", metric.name);
                    let rows = client.ask(question).await.unwrap_or_else(|status| panic!("{what}: {status:?}"));
                    assert_eq!((rows[0].values[0].count, rows[0].values[0].value), (0, None), "{what}");
                    assert_eq!(rows[0].values[0].basis(), basis, "{what}");
                    assert_ne!(basis, Basis::Unspecified, "{what}");
                }
            }
        }
    });
}

#[test]
#[should_panic(expected = "count is 2, not 3")]
fn a_transcript_with_a_wrong_figure_fails() {
    super::check("09:00 c1 opened\n09:00 c2 opened\n= conversations_opened count 3");
}
