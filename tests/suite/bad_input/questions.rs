//! Questions.

use deskpulse_proto::v1::{Basis, Clock, MetricSelection, QueryMetricsRequest};
use tonic::Code;

use super::{YEAR_1, YEAR_10000, letters};
use crate::harness::{Question, Suite, ask, assert_refused, run};

/// What is asked, the question, the code, the reason and the field.
type Asked = (&'static str, Question, Code, &'static str, &'static str);

fn question() -> Question {
    ask("acme", "first_response_time")
}

fn changed(change: impl FnOnce(&mut QueryMetricsRequest)) -> Question {
    let mut question = question();
    change(&mut question.0);
    question
}

fn selected(name: &str, change: impl FnOnce(&mut MetricSelection)) -> Question {
    let mut question = ask("acme", name);
    change(&mut question.0.metrics[0]);
    question
}

/// Asks each of these and checks the refusal, and that a good question is answered after it.
fn check_questions(cases: Vec<Asked>) {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        for (what, bad, code, reason, field) in cases {
            let status = client.ask(bad).await.err().unwrap_or_else(|| panic!("{what} is answered"));
            assert_refused(&status, code, reason, field, what);
        }
        assert_eq!(client.rows(question()).await.len(), 1);
    });
}

const INVALID: Code = Code::InvalidArgument;

#[test]
fn a_question_about_no_possible_metric_names_the_field_at_fault() {
    let percentiles = |given: &[f64]| selected("first_response_time", |it| it.percentiles = given.to_vec());
    let duration = |seconds: i64, nanos: i32| prost_types::Duration { seconds, nanos };
    let at_most = |seconds: i64, nanos: i32| selected("reply_time", |it| it.at_most = vec![duration(seconds, nanos)]);
    let within = |seconds: i64, nanos: i32| selected("response_rate", |it| it.within = Some(duration(seconds, nanos)));
    let metrics = |count: usize| {
        changed(|it| {
            let metric = it.metrics[0].clone();
            it.metrics = vec![metric; count];
        })
    };
    let mut second = metrics(2);
    second.0.metrics[1].name = "first_response".to_owned();
    let fields = ["metrics[0].name", "metrics[1].name", "metrics[0].percentiles", "metrics[0].at_most"];
    let [name, second_name, percentile, bound] = fields;
    check_questions(vec![
        ("no tenant", ask("", "reopens"), INVALID, "FIELD_REQUIRED", "tenant"),
        ("a tenant of 65 bytes", ask(&letters(65), "reopens"), INVALID, "FIELD_TOO_LONG", "tenant"),
        ("no metrics", metrics(0), INVALID, "FIELD_REQUIRED", "metrics"),
        ("21 metrics", metrics(21), INVALID, "FIELD_TOO_LONG", "metrics"),
        ("a metric without a name", ask("acme", ""), INVALID, "UNKNOWN_METRIC", name),
        ("an unknown metric", ask("acme", "first_response"), INVALID, "UNKNOWN_METRIC", name),
        ("a metric in capitals", ask("acme", "FIRST_RESPONSE_TIME"), INVALID, "UNKNOWN_METRIC", name),
        ("an unknown second metric", second, INVALID, "UNKNOWN_METRIC", second_name),
        ("percentile 100.1", percentiles(&[50.0, 100.1]), INVALID, "FIELD_INVALID", percentile),
        ("percentile -0.1", percentiles(&[-0.1]), INVALID, "FIELD_INVALID", percentile),
        ("percentile NaN", percentiles(&[f64::NAN]), INVALID, "FIELD_INVALID", percentile),
        ("percentile infinity", percentiles(&[f64::INFINITY]), INVALID, "FIELD_INVALID", percentile),
        ("101 percentiles", percentiles(&[50.0; 101]), INVALID, "FIELD_TOO_LONG", percentile),
        ("percentiles of a count", ask("acme", "reopens").percentiles(&[50.0]), INVALID, "NOT_APPLICABLE", percentile),
        (
            "percentiles of a ratio",
            ask("acme", "reopen_rate").percentiles(&[50.0]),
            INVALID,
            "NOT_APPLICABLE",
            percentile,
        ),
        ("shares of a count", ask("acme", "reopens").at_most(60), INVALID, "NOT_APPLICABLE", bound),
        ("at most -1 s", at_most(-1, 0), INVALID, "FIELD_INVALID", bound),
        ("at most -1 ms", at_most(0, -1_000_000), INVALID, "FIELD_INVALID", bound),
        ("at most -1 ns", at_most(0, -1), INVALID, "FIELD_INVALID", bound),
        ("at most 1 s and -1 ns", at_most(1, -1), INVALID, "FIELD_INVALID", bound),
        ("at most a second of nanos", at_most(0, 1_000_000_000), INVALID, "FIELD_INVALID", bound),
        ("at most all seconds there are", at_most(i64::MAX, 0), INVALID, "FIELD_INVALID", bound),
        (
            "101 shares",
            selected("reply_time", |it| it.at_most = vec![duration(1, 0); 101]),
            INVALID,
            "FIELD_TOO_LONG",
            bound,
        ),
        ("within -1 s", within(-1, 0), INVALID, "FIELD_INVALID", "metrics[0].within"),
        (
            "within on another metric",
            selected("reopen_rate", |it| it.within = Some(duration(60, 0))),
            INVALID,
            "NOT_APPLICABLE",
            "metrics[0].within",
        ),
        ("a count of resolutions as of", ask("acme", "reopens").basis(Basis::AsOf), INVALID, "NOT_APPLICABLE", "basis"),
        ("a backlog by event", ask("acme", "backlog").basis(Basis::Event), INVALID, "NOT_APPLICABLE", "basis"),
        ("basis 4", changed(|it| it.basis = 4), INVALID, "FIELD_INVALID", "basis"),
        ("basis -1", changed(|it| it.basis = -1), INVALID, "FIELD_INVALID", "basis"),
        ("clock 3", changed(|it| it.clock = 3), INVALID, "FIELD_INVALID", "clock"),
        (
            "a count in business hours",
            changed(|it| {
                it.metrics[0].name = "reopens".to_owned();
                it.clock = Clock::Business.into();
            }),
            INVALID,
            "NOT_APPLICABLE",
            "clock",
        ),
    ]);
}

#[test]
fn a_filter_that_cannot_be_read_says_where() {
    let suite = Suite::start();
    let long = format!("channel = {}", letters(4_991));
    let deep = format!("{}channel = a{}", "(".repeat(33), ")".repeat(33));
    let negated = format!("{}channel = a", "NOT ".repeat(5_000 / 5));
    let unclosed = "(".repeat(4_000);
    let terms = vec!["topic=a"; 300].join(" OR ");
    let values = format!("topic IN ({})", vec!["a"; 1_001].join(","));
    run(async {
        let client = suite.client();
        for (filter, reason, says) in [
            ("channel = ", "MALFORMED_FILTER", "position 10"),
            ("channel = email AND", "MALFORMED_FILTER", "position 19"),
            ("(channel = email", "MALFORMED_FILTER", "position 16"),
            ("channel = email)", "MALFORMED_FILTER", "position 15"),
            ("channel = \"email", "MALFORMED_FILTER", "position 10"),
            ("channel > email", "MALFORMED_FILTER", "\"email\" at position 10 is not"),
            ("channel = email and topic = a", "MALFORMED_FILTER", "position 16"),
            ("channel IN ()", "MALFORMED_FILTER", "position 12"),
            ("éclair = a", "UNKNOWN_DIMENSION", "position 0"),
            ("channel = é AND colour = red", "UNKNOWN_DIMENSION", "position 17"),
            ("attributes.Plan = gold", "UNKNOWN_DIMENSION", "position 0"),
            ("weekday = 1", "UNKNOWN_DIMENSION", "position 0"),
            (&long, "MALFORMED_FILTER", "5001 bytes"),
            (&deep, "MALFORMED_FILTER", "position 32"),
            (&negated, "MALFORMED_FILTER", "nest deeper than 32"),
            (&unclosed, "MALFORMED_FILTER", "nest deeper than 32"),
            (&terms, "MALFORMED_FILTER", "more than 256 comparisons"),
            (&values, "MALFORMED_FILTER", "more than 1000 values"),
        ] {
            let status = client.ask(question().filter(filter)).await.expect_err(filter);
            assert_refused(&status, Code::InvalidArgument, reason, "filter", filter);
            assert!(status.message().contains(says), "{filter}: {status:?}");
        }
        assert_eq!(client.rows(question().filter("channel = é AND NOT topic:*")).await.len(), 1);
    });
}

#[test]
fn a_question_about_no_possible_groups_or_times_names_the_field_at_fault() {
    const FROM: &str = "2026-01-01T00:00:00Z";
    let year = question().from(FROM).to("2027-01-01T00:00:00Z");
    let start =
        |seconds: i64, nanos: i32| changed(|it| it.start_time = Some(prost_types::Timestamp { seconds, nanos }));
    let (backlog, too_many) = (ask("acme", "backlog"), Code::ResourceExhausted);
    check_questions(vec![
        ("an unknown dimension", question().group_by(&["colour"]), INVALID, "UNKNOWN_DIMENSION", "group_by"),
        ("an empty dimension", question().group_by(&[""]), INVALID, "UNKNOWN_DIMENSION", "group_by"),
        ("a nameless attribute", question().group_by(&["attributes."]), INVALID, "UNKNOWN_DIMENSION", "group_by"),
        ("nine groups", question().group_by(&["topic"; 9]), INVALID, "FIELD_TOO_LONG", "group_by"),
        ("a group twice", question().group_by(&["topic", "team", "topic"]), INVALID, "FIELD_INVALID", "group_by"),
        ("a group by two names", question().group_by(&["team", "queue"]), INVALID, "FIELD_INVALID", "group_by"),
        ("hours without a start", question().group_by(&["hour"]), INVALID, "FIELD_REQUIRED", "start_time"),
        ("a backlog by hour", backlog.from(FROM).group_by(&["hour"]), INVALID, "NOT_APPLICABLE", "group_by"),
        ("an unknown zone", year.clone().every("1d", "Europe/Atlantis"), INVALID, "UNKNOWN_TIME_ZONE", "time_zone"),
        ("a zone by its offset", year.clone().every("1d", "+02:00"), INVALID, "UNKNOWN_TIME_ZONE", "time_zone"),
        ("a zone as a path", year.clone().every("1d", "../etc/passwd"), INVALID, "UNKNOWN_TIME_ZONE", "time_zone"),
        ("a zone without intervals", question().every("", "Nowhere"), INVALID, "UNKNOWN_TIME_ZONE", "time_zone"),
        ("an unknown interval", year.clone().every("2d", ""), INVALID, "FIELD_INVALID", "interval"),
        ("an interval in words", year.clone().every("day", ""), INVALID, "FIELD_INVALID", "interval"),
        ("an interval without a start", question().every("1d", ""), INVALID, "FIELD_REQUIRED", "start_time"),
        ("a year of minutes", year.clone().every("1m", ""), too_many, "TOO_MANY_ROWS", "interval"),
        ("2026 years of hours", start(YEAR_1, 0).every("1h", "Asia/Kathmandu"), too_many, "TOO_MANY_ROWS", "interval"),
        ("an end before the start", year.clone().to("2025-01-01T00:00:00Z"), INVALID, "INVALID_RANGE", "end_time"),
        ("an end at the start", year.clone().to(FROM), INVALID, "INVALID_RANGE", "end_time"),
        ("a start in the year 0", start(YEAR_1 - 1, 0), INVALID, "FIELD_INVALID", "start_time"),
        ("a start in the year 10000", start(YEAR_10000, 0), INVALID, "FIELD_INVALID", "start_time"),
        ("a start with negative nanos", start(0, -1), INVALID, "FIELD_INVALID", "start_time"),
        ("a start with a second of nanos", start(0, 1_000_000_000), INVALID, "FIELD_INVALID", "start_time"),
        (
            "an end after all time",
            changed(|it| it.end_time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })),
            INVALID,
            "FIELD_INVALID",
            "end_time",
        ),
        ("an order by name", question().top("name", 3), INVALID, "FIELD_INVALID", "order_by"),
        ("an order with a plus", question().top("+value", 3), INVALID, "FIELD_INVALID", "order_by"),
    ]);
}

#[test]
fn a_question_in_full_names_the_field_at_fault() {
    let by_team = |change: fn(&mut QueryMetricsRequest)| {
        let mut it = question().group_by(&["team"]).from("2026-01-01T00:00:00Z").to("2027-01-01T00:00:00Z");
        change(&mut it.0);
        it
    };
    let too_many = Code::ResourceExhausted;
    check_questions(vec![
        ("top of no groups", changed(|it| it.top = 3), INVALID, "NOT_APPLICABLE", "top"),
        ("top in no order", by_team(|it| it.top = 3), INVALID, "NOT_APPLICABLE", "top"),
        (
            "top by name",
            by_team(|it| {
                it.top = 3;
                "group desc".clone_into(&mut it.order_by);
            }),
            INVALID,
            "NOT_APPLICABLE",
            "top",
        ),
        (
            "top of hours",
            by_team(|it| {
                it.top = 3;
                it.group_by = vec!["hour".to_owned()];
                "-value".clone_into(&mut it.order_by);
            }),
            INVALID,
            "NOT_APPLICABLE",
            "top",
        ),
        ("top 1,001", by_team(|it| it.top = 1_001), INVALID, "FIELD_INVALID", "top"),
        ("others without a top", by_team(|it| it.others = true), INVALID, "NOT_APPLICABLE", "others"),
        ("an earlier hour", by_team(|it| "1h".clone_into(&mut it.compare_to)), INVALID, "FIELD_INVALID", "compare_to"),
        (
            "an earlier period of 64 KiB",
            by_team(|it| it.compare_to = letters(1 << 16)),
            INVALID,
            "FIELD_INVALID",
            "compare_to",
        ),
        ("nothing earlier", changed(|it| "1d".clone_into(&mut it.compare_to)), INVALID, "FIELD_REQUIRED", "start_time"),
        (
            "what is earlier than all time",
            changed(|it| {
                it.start_time = Some(prost_types::Timestamp { seconds: YEAR_1, nanos: 0 });
                "previous".clone_into(&mut it.compare_to);
            }),
            INVALID,
            "INVALID_RANGE",
            "compare_to",
        ),
        ("a page of -1 rows", changed(|it| it.page_size = -1), INVALID, "FIELD_INVALID", "page_size"),
        ("a page of 100,001 rows", changed(|it| it.page_size = 100_001), INVALID, "FIELD_INVALID", "page_size"),
        (
            "a token of ours no more",
            changed(|it| it.page_token = "0".repeat(64)),
            INVALID,
            "FIELD_INVALID",
            "page_token",
        ),
        ("a token of 1 MiB", changed(|it| it.page_token = letters(1 << 20)), INVALID, "FIELD_INVALID", "page_token"),
        ("nine keys", question().top(&["value"; 9].join(","), 0), INVALID, "FIELD_INVALID", "order_by"),
        (
            "every minute of a quarter, filled",
            changed(|it| {
                it.start_time = Some(crate::harness::timestamp("2026-01-01T00:00:00Z"));
                "1m".clone_into(&mut it.interval);
                it.fill_gaps = true;
                it.end_time = Some(crate::harness::timestamp("2026-04-01T00:00:00Z"));
            }),
            too_many,
            "TOO_MANY_ROWS",
            "interval",
        ),
    ]);
}

#[test]
fn a_refusal_of_something_very_long_still_arrives() {
    // What is refused is repeated in headers, and clients take no more than a few kilobytes of those.
    let long = letters(1 << 20);
    let wide = "\u{1}".repeat(300_000);
    let cases = [long.as_str(), wide.as_str()].into_iter().flat_map(|text| {
        [
            ("a long metric", ask("acme", text), INVALID, "UNKNOWN_METRIC", "metrics[0].name"),
            ("a long dimension", question().group_by(&[text]), INVALID, "UNKNOWN_DIMENSION", "group_by"),
            ("a long interval", question().every(text, ""), INVALID, "FIELD_INVALID", "interval"),
            ("a long zone", question().every("", text), INVALID, "UNKNOWN_TIME_ZONE", "time_zone"),
            ("a long order", question().top(text, 1), INVALID, "FIELD_TOO_LONG", "order_by"),
            ("a long filter", question().filter(text), INVALID, "MALFORMED_FILTER", "filter"),
        ]
    });
    let mut cases: Vec<Asked> = cases.collect();
    let name = format!("{} = a", letters(4_090));
    cases.push(("a long name in a filter", question().filter(&name), INVALID, "UNKNOWN_DIMENSION", "filter"));
    let name = format!("{} = a", "é".repeat(2_045));
    cases.push(("a wide name in a filter", question().filter(&name), INVALID, "UNKNOWN_DIMENSION", "filter"));
    check_questions(cases);
}
