//! Watches: of a question's answers, of deadlines, of rules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::threshold_rule::Bound;
use deskpulse_proto::v1::{
    AlertKind, ConversationOpened, Dimensions, Event, MetricSelection, QueryMetricsRequest, SetSlaPolicyRequest,
    SlaPolicy, SlaTarget, SlaTargetKind, ThresholdRule, WatchAlertsRequest, WatchAlertsResponse, WatchMetricsRequest,
    WatchMetricsResponse,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::harness::{Client, Suite, ask, assert_refused, run, timestamp};
use crate::timers::{AT_MOST_MS, instant, now_ms, promise};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn duration(ms: i64) -> prost_types::Duration {
    let nanos = i32::try_from(ms % 1_000).expect("small") * 1_000_000;
    prost_types::Duration { seconds: ms / 1_000, nanos }
}

fn opened(id: &str, team: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "watching".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(timestamp("2026-06-01T09:00:00Z")),
        payload: Some(Payload::ConversationOpened(ConversationOpened {
            conversation: id.to_owned(),
            dimensions: Some(Dimensions { team: team.to_owned(), ..Default::default() }),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Openings of all time, by team.
fn question() -> WatchMetricsRequest {
    let query = ask("acme", "conversations_opened").group_by(&["team"]).to("2026-06-02T00:00:00Z").0;
    WatchMetricsRequest { query: Some(query), min_interval: Some(duration(100)), resume_token: String::new() }
}

async fn watch(client: &Client, request: &WatchMetricsRequest) -> Result<Streaming<WatchMetricsResponse>, Status> {
    Ok(client.query.clone().watch_metrics(request.clone()).await?.into_inner())
}

async fn next(stream: &mut Streaming<WatchMetricsResponse>) -> WatchMetricsResponse {
    timeout(PATIENCE, stream.message()).await.expect("in time").expect("no refusal").expect("it goes on")
}

fn counted(answer: &WatchMetricsResponse) -> u64 {
    answer.answer.as_ref().expect("an answer").rows.iter().map(|row| row.values[0].count).sum()
}

#[test]
fn an_answer_comes_at_once_and_again_when_it_has_changed() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let mut first = watch(&client, &question()).await.expect("a watch");
        assert_eq!(counted(&next(&mut first).await), 0);
        client.send(vec![opened("c1", "blue")]).await;
        let seen = next(&mut first).await;
        assert_eq!(counted(&seen), 1);

        // What has not changed is not told again: not to who goes on, and not because of others' events.
        let resumed = WatchMetricsRequest { resume_token: seen.resume_token.clone(), ..question() };
        let mut resumed = watch(&client, &resumed).await.expect("a watch");
        client.send(vec![Event { tenant: "other".to_owned(), ..opened("c1", "blue") }]).await;
        let quiet = Duration::from_millis(500);
        assert!(timeout(quiet, resumed.message()).await.is_err() && timeout(quiet, first.message()).await.is_err());
        client.send(vec![opened("c2", "red"), opened("c2", "red")]).await;
        for stream in [&mut first, &mut resumed] {
            assert_eq!(counted(&next(stream).await), 2);
        }
        // Who comes with an old token gets the latest at once.
        let late = WatchMetricsRequest { resume_token: seen.resume_token, ..question() };
        assert_eq!(counted(&next(&mut watch(&client, &late).await.expect("a watch")).await), 2);
    });
}

#[test]
fn who_comes_later_gets_all_that_was_acknowledged_before() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        // None is told twice within the hour.
        let request = WatchMetricsRequest { min_interval: Some(duration(3_600_000)), ..question() };
        let mut first = watch(&client, &request).await.expect("a watch");
        assert_eq!(counted(&next(&mut first).await), 0);
        let mut late = Vec::new();
        for number in 1..4 {
            client.send(vec![opened(&format!("c{number}"), "blue")]).await;
            let mut stream = watch(&suite.client(), &request).await.expect("a watch");
            assert_eq!(counted(&next(&mut stream).await), number);
            late.push(stream);
        }
        let quiet = Duration::from_millis(500);
        for stream in late.iter_mut().chain([&mut first]) {
            assert!(timeout(quiet, stream.message()).await.is_err(), "told again before the hour is over");
        }
    });
}

#[test]
fn answers_are_no_closer_than_asked_and_the_last_one_always_comes() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let request = WatchMetricsRequest { min_interval: Some(duration(400)), ..question() };
        let mut stream = watch(&client, &request).await.expect("a watch");
        let begun = Instant::now();
        let sender = client.clone();
        let sending = tokio::spawn(async move {
            for number in 0..300 {
                sender.send(vec![opened(&format!("c{number}"), "blue")]).await;
            }
        });
        let (mut answers, mut last) = (0, 0);
        while last < 300 {
            let counted = counted(&next(&mut stream).await);
            assert!(counted > last || answers == 0, "{counted} after {last}");
            (answers, last) = (answers + 1, counted);
        }
        sending.await.expect("no panic");
        let at_most = 2 + begun.elapsed().as_millis() / 400;
        assert!(answers <= at_most, "{answers} answers in {:?}", begun.elapsed());
    });
}

#[test]
fn who_reads_slowly_holds_up_nobody_and_gets_the_latest() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        // Answers of about a megabyte each, of which a stream takes a few.
        let many: Vec<Event> = (0..9_000).map(|n| opened(&format!("c{n}"), &format!("{n:060}"))).collect();
        for batch in many.chunks(3_000) {
            client.send(batch.to_vec()).await;
        }
        let mut slow = watch(&suite.client(), &question()).await.expect("a watch");
        let mut fast = watch(&client, &question()).await.expect("a watch");
        let mut seen = counted(&next(&mut fast).await);
        for number in 0..40 {
            client.send(vec![opened(&format!("more{number}"), "blue")]).await;
            while seen < 9_001 + number {
                seen = counted(&next(&mut fast).await);
            }
        }
        let mut late = Vec::new();
        while late.last() != Some(&9_040) {
            late.push(counted(&next(&mut slow).await));
        }
        assert!(late.len() < 40 && late.is_sorted(), "{late:?}");
    });
}

#[test]
fn a_question_up_to_now_is_answered_again_as_time_passes() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let now = Event { time: Some(instant(now_ms())), ..opened("c1", "blue") };
        client.send(vec![now]).await;
        let mut request = question();
        let query = request.query.as_mut().expect("a question");
        (query.end_time, query.last) = (None, Some(duration(3_000)));
        query.group_by.clear();
        let mut stream = watch(&client, &request).await.expect("a watch");
        assert_eq!(counted(&next(&mut stream).await), 1);
        while counted(&next(&mut stream).await) > 0 {}
        // That the range has moved on is no news.
        let quiet = Duration::from_millis(2_500);
        assert!(timeout(quiet, stream.message()).await.is_err(), "an answer that says nothing new");
        // The age of what is open grows; nobody has to send anything.
        request.query = Some(ask("acme", "backlog_age").0);
        let mut stream = watch(&client, &request).await.expect("a watch");
        let age = |answer: WatchMetricsResponse| answer.answer.expect("an answer").rows[0].values[0].max;
        let first = age(next(&mut stream).await);
        assert!(age(next(&mut stream).await) > first);
        // So does what somebody has been, though the range ends later.
        let end = instant(now_ms() + 3_600_000);
        request.query = Some(QueryMetricsRequest { end_time: Some(end), ..ask("acme", "backlog_age").0 });
        let mut stream = watch(&client, &request).await.expect("a watch");
        let first = age(next(&mut stream).await);
        assert!(age(next(&mut stream).await) > first);
    });
}

async fn alerts(client: &Client, request: &WatchAlertsRequest) -> Result<Streaming<WatchAlertsResponse>, Status> {
    Ok(client.query.clone().watch_alerts(request.clone()).await?.into_inner())
}

async fn next_alert(stream: &mut Streaming<WatchAlertsResponse>) -> WatchAlertsResponse {
    timeout(PATIENCE, stream.message()).await.expect("in time").expect("no refusal").expect("it goes on")
}

/// The next one of a rule.
async fn next_of_a_rule(stream: &mut Streaming<WatchAlertsResponse>) -> WatchAlertsResponse {
    loop {
        let alert = next_alert(stream).await;
        if alert.kind() == AlertKind::Threshold {
            return alert;
        }
    }
}

fn all_of_acme() -> WatchAlertsRequest {
    WatchAlertsRequest { tenant: "acme".to_owned(), ..Default::default() }
}

#[test]
fn every_warning_and_breach_is_told_once_within_a_second_whoever_goes_down_in_between() {
    let mut suite = Suite::start();
    run(async {
        let mut client = suite.client();
        client.settle().await;
        let mut stream = alerts(&client, &all_of_acme()).await.expect("a watch");
        let stands = next_alert(&mut stream).await;
        assert_eq!(stands.kind(), AlertKind::Unspecified);
        let opened_ms = promise(&suite, &client).await;
        let mut told = BTreeSet::new();
        let mut token = stands.resume_token;
        let mut seen = 0;
        while told.len() < 60 {
            // Now and then the connection goes, once between alerts of one instant, once everything is killed.
            seen += 1;
            if [10, 25, 40].contains(&seen) {
                drop(stream);
                if seen == 25 {
                    suite.kill_and_restart();
                    client = suite.client();
                    client.settle().await;
                }
                let request = WatchAlertsRequest { resume_token: token.clone(), ..all_of_acme() };
                stream = alerts(&client, &request).await.expect("a watch");
            }
            let alert = next_alert(&mut stream).await;
            token.clone_from(&alert.resume_token);
            let (due_ms, what) = match alert.kind() {
                AlertKind::SlaWarning => (opened_ms + AT_MOST_MS - 2_000, "warning"),
                AlertKind::SlaBreach => (opened_ms + AT_MOST_MS, "breach"),
                AlertKind::Unspecified => continue,
                AlertKind::Threshold => panic!("{alert:?}"),
            };
            assert_eq!(alert.time, Some(instant(due_ms)), "{alert:?}");
            assert_eq!((alert.rule.as_str(), alert.sla_target.as_str()), ("gold", "first_response"));
            if what == "warning" {
                assert_eq!(alert.deadline, Some(instant(opened_ms + AT_MOST_MS)));
            }
            let late_ms = now_ms() - due_ms;
            // Not while it was started again.
            assert!(late_ms < 1_000 || told.len() > 20, "{late_ms} ms late: {alert:?}");
            assert!(told.insert((what, alert.conversation.clone())), "told twice: {alert:?}");
        }
        assert!(timeout(Duration::from_millis(1_500), stream.message()).await.is_err(), "something is told again");
    });
}

#[test]
fn a_breach_that_becomes_known_late_is_told_with_its_true_time() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let opened_ms = promise(&suite, &client).await;
        while now_ms() < opened_ms + AT_MOST_MS + 500 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut stream = alerts(&client, &all_of_acme()).await.expect("a watch");
        assert_eq!(next_alert(&mut stream).await.kind(), AlertKind::Unspecified, "what was before is no news");
        let late = Event { time: Some(instant(opened_ms - 60_000)), ..opened("late", "blue") };
        client.send(vec![late]).await;
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let alert = next_alert(&mut stream).await;
            assert_eq!((alert.conversation.as_str(), alert.dimensions["team"].as_str()), ("late", "blue"));
            kinds.push((alert.kind(), alert.time));
        }
        let due_ms = opened_ms - 60_000 + AT_MOST_MS;
        let expected =
            [(AlertKind::SlaWarning, Some(instant(due_ms - 2_000))), (AlertKind::SlaBreach, Some(instant(due_ms)))];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn two_targets_missed_at_one_instant_are_two_breaches() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let mut stream = alerts(&client, &all_of_acme()).await.expect("a watch");
        next_alert(&mut stream).await;
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        let target = |kind: SlaTargetKind| SlaTarget {
            kind: kind.into(),
            at_most: Some(duration(60_000)),
            ..Default::default()
        };
        let policy = SlaPolicy {
            policy: "gold".to_owned(),
            effective_from: Some(timestamp("2026-01-01T00:00:00Z")),
            targets: vec![target(SlaTargetKind::FirstResponse), target(SlaTargetKind::Resolution)],
            ..Default::default()
        };
        let request = SetSlaPolicyRequest { tenant: "acme".to_owned(), policy: Some(policy) };
        ConfigServiceClient::new(channel).set_sla_policy(request).await.expect("the policy is kept");
        client.send(vec![Event { time: Some(instant(now_ms() - 120_000)), ..opened("c1", "blue") }]).await;
        let mut missed = BTreeSet::new();
        while missed.len() < 2 {
            let alert = next_alert(&mut stream).await;
            if alert.kind() == AlertKind::SlaBreach {
                missed.insert(alert.sla_target);
            }
        }
        assert_eq!(missed, BTreeSet::from(["first_response".to_owned(), "resolution".to_owned()]));
    });
}

#[test]
fn a_rule_is_told_when_it_begins_to_hold_and_when_it_ceases_to() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let rule = |name: &str, bound, hold| ThresholdRule {
            name: name.to_owned(),
            metric: Some(MetricSelection { name: "conversations_opened".to_owned(), ..Default::default() }),
            last: Some(duration(4_000)),
            bound: Some(bound),
            hold,
            ..Default::default()
        };
        let rules = vec![
            rule("busy", Bound::Over(2.0), None),
            rule("busy for long", Bound::Over(2.0), Some(duration(60_000))),
            rule("quiet", Bound::Under(1.0), Some(duration(1_000))),
        ];
        let request = WatchAlertsRequest { rules, ..all_of_acme() };
        let mut stream = alerts(&client, &request).await.expect("a watch");
        let begun_ms = now_ms();
        let told = async |stream: &mut Streaming<WatchAlertsResponse>| {
            let alert = next_of_a_rule(stream).await;
            (alert.rule.clone(), alert.ended, alert)
        };
        let (name, ended, alert) = told(&mut stream).await;
        assert_eq!((name.as_str(), ended, alert.value), ("quiet", false, Some(0.0)));
        assert!(now_ms() >= begun_ms + 1_000, "it has to hold for a second");
        client
            .send((0..5).map(|n| Event { time: Some(instant(now_ms())), ..opened(&format!("c{n}"), "blue") }).collect())
            .await;
        let mut both = BTreeSet::new();
        let mut token = String::new();
        for _ in 0..2 {
            let (name, ended, alert) = told(&mut stream).await;
            assert_eq!(alert.value, Some(5.0));
            both.insert((name, ended));
            token = alert.resume_token;
        }
        assert_eq!(both, BTreeSet::from([("busy".to_owned(), false), ("quiet".to_owned(), true)]));
        // Who goes on is not told again that it is busy, but that it no longer is.
        drop(stream);
        let resumed = WatchAlertsRequest { resume_token: token, ..request };
        let mut stream = alerts(&client, &resumed).await.expect("a watch");
        let (name, ended, alert) = told(&mut stream).await;
        assert_eq!((name.as_str(), ended), ("busy", true), "{alert:?}");
    });
}

#[test]
fn a_rule_that_has_held_for_some_time_goes_on_from_the_token_of_another() {
    const HOLD_MS: i64 = 4_000;
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let rule = |name: &str, hold_ms| ThresholdRule {
            name: name.to_owned(),
            metric: Some(MetricSelection { name: "conversations_opened".to_owned(), ..Default::default() }),
            last: Some(duration(1_000)),
            bound: Some(Bound::Under(1.0)),
            hold: Some(duration(hold_ms)),
            ..Default::default()
        };
        let request = WatchAlertsRequest { rules: vec![rule("at once", 0), rule("late", HOLD_MS)], ..all_of_acme() };
        let mut stream = alerts(&client, &request).await.expect("a watch");
        let first = next_of_a_rule(&mut stream).await;
        let told_ms = now_ms();
        assert_eq!(first.rule, "at once");
        drop(stream);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let resumed = WatchAlertsRequest { resume_token: first.resume_token, ..request };
        let mut stream = alerts(&client, &resumed).await.expect("a watch");
        let late = next_of_a_rule(&mut stream).await;
        let at = late.time.expect("a time");
        let at_ms = at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000;
        assert_eq!((late.rule.as_str(), late.ended), ("late", false));
        assert!(at_ms <= told_ms + HOLD_MS, "it has held since before the first was told, {at_ms} after {told_ms}");
    });
}

#[test]
fn a_watch_that_cannot_be_kept_names_the_field_at_fault() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let of = |change: fn(&mut WatchMetricsRequest)| {
            let mut request = question();
            change(&mut request);
            request
        };
        let query = |change: fn(&mut QueryMetricsRequest)| {
            let mut request = question();
            change(request.query.as_mut().expect("a question"));
            request
        };
        for (what, request, reason, field) in [
            ("no question", of(|it| it.query = None), "FIELD_REQUIRED", "query"),
            ("no tenant", query(|it| it.tenant.clear()), "FIELD_REQUIRED", "tenant"),
            (
                "an unknown metric",
                query(|it| "speed".clone_into(&mut it.metrics[0].name)),
                "UNKNOWN_METRIC",
                "metrics[0].name",
            ),
            ("pages", query(|it| it.page_size = 10), "NOT_APPLICABLE", "query.page_size"),
            ("99 ms", of(|it| it.min_interval = Some(duration(99))), "FIELD_INVALID", "min_interval"),
            ("an hour and more", of(|it| it.min_interval = Some(duration(3_600_001))), "FIELD_INVALID", "min_interval"),
            ("another token", of(|it| it.resume_token = "0".repeat(32)), "FIELD_INVALID", "resume_token"),
            ("no token of ours", of(|it| "next".clone_into(&mut it.resume_token)), "FIELD_INVALID", "resume_token"),
            ("the last 11 years", query(|it| it.last = Some(duration(11 * 366 * 86_400_000))), "FIELD_INVALID", "last"),
            (
                "two starts",
                query(|it| (it.last, it.start_time) = (Some(duration(1)), it.end_time)),
                "NOT_APPLICABLE",
                "last",
            ),
        ] {
            let status = watch(&client, &request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        let rule = |change: fn(&mut ThresholdRule)| {
            let metric = MetricSelection { name: "first_response_time".to_owned(), ..Default::default() };
            let mut rule = ThresholdRule {
                name: "slow".to_owned(),
                metric: Some(metric),
                bound: Some(Bound::Over(1.0)),
                ..Default::default()
            };
            change(&mut rule);
            WatchAlertsRequest { rules: vec![rule], ..all_of_acme() }
        };
        let twice = WatchAlertsRequest { rules: vec![rule(|_| ()).rules[0].clone(); 2], ..all_of_acme() };
        let many = WatchAlertsRequest { rules: vec![rule(|_| ()).rules[0].clone(); 21], ..all_of_acme() };
        for (what, request, reason, field) in [
            ("nobody", WatchAlertsRequest::default(), "FIELD_REQUIRED", "tenant"),
            (
                "everybody",
                WatchAlertsRequest { tenant: "-".to_owned(), ..Default::default() },
                "NOT_APPLICABLE",
                "tenant",
            ),
            ("a filter", WatchAlertsRequest { filter: "(".to_owned(), ..all_of_acme() }, "MALFORMED_FILTER", "filter"),
            (
                "a token",
                WatchAlertsRequest { resume_token: "x".to_owned(), ..all_of_acme() },
                "FIELD_INVALID",
                "resume_token",
            ),
            ("21 rules", many, "FIELD_TOO_LONG", "rules"),
            ("two of a name", twice, "FIELD_INVALID", "rules[1].name"),
            ("no name", rule(|it| it.name.clear()), "FIELD_REQUIRED", "rules[0].name"),
            ("a long name", rule(|it| it.name = "n".repeat(65)), "FIELD_TOO_LONG", "rules[0].name"),
            ("no metric", rule(|it| it.metric = None), "FIELD_REQUIRED", "rules[0].metric"),
            (
                "an unknown metric",
                rule(|it| it.metric = Some(MetricSelection::default())),
                "UNKNOWN_METRIC",
                "rules[0].metric.name",
            ),
            ("a rule's filter", rule(|it| "team".clone_into(&mut it.filter)), "MALFORMED_FILTER", "rules[0].filter"),
            ("no bound", rule(|it| it.bound = None), "FIELD_REQUIRED", "rules[0].over"),
            ("no number", rule(|it| it.bound = Some(Bound::Under(f64::NAN))), "FIELD_INVALID", "rules[0].over"),
            ("the last nothing", rule(|it| it.last = Some(duration(0))), "FIELD_INVALID", "rules[0].last"),
            ("two days", rule(|it| it.hold = Some(duration(2 * 86_400_000))), "FIELD_INVALID", "rules[0].hold"),
            (
                "two figures",
                rule(|it| it.metric.as_mut().expect("a metric").percentiles = vec![50.0, 90.0]),
                "NOT_APPLICABLE",
                "rules[0].metric",
            ),
        ] {
            let status = alerts(&client, &request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
    });
}

#[test]
fn watches_end_with_the_service_and_say_so() {
    let mut suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let mut answers = watch(&client, &question()).await.expect("a watch");
        let mut stream = alerts(&client, &all_of_acme()).await.expect("a watch");
        next(&mut answers).await;
        next_alert(&mut stream).await;
        let begun = Instant::now();
        assert_eq!(suite.process().terminate("-TERM"), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(8), "the watches held it up: {:?}", begun.elapsed());
        let ends = [answers.message().await.map(drop), stream.message().await.map(drop)];
        for end in ends {
            assert_refused(&end.expect_err("it ends"), Code::Unavailable, "DRAINING", "", "a watch");
        }
    });
}
