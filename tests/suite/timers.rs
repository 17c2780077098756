//! Deadlines that pass while nothing else happens.

use std::time::{Duration, Instant};

use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    ConversationOpened, Event, MetricValue, SetSlaPolicyRequest, SlaPolicy, SlaTarget, SlaTargetKind,
};

use crate::harness::{Client, Suite, ask, run, timestamp};

/// How long the target allows, in milliseconds.
pub(crate) const AT_MOST_MS: i64 = 3_000;

pub(crate) fn instant(ms: i64) -> prost_types::Timestamp {
    let at = jiff::Timestamp::from_millisecond(ms).expect("an instant");
    timestamp(&at.to_string())
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A policy with one target and conversations opened now; returns when.
pub(crate) async fn promise(suite: &Suite, client: &Client) -> i64 {
    let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
    let duration = |ms: i64| prost_types::Duration { seconds: ms / 1_000, nanos: 0 };
    let policy = SlaPolicy {
        policy: "gold".to_owned(),
        effective_from: Some(timestamp("2026-01-01T00:00:00Z")),
        targets: vec![SlaTarget {
            kind: SlaTargetKind::FirstResponse.into(),
            at_most: Some(duration(AT_MOST_MS)),
            warning_lead: Some(duration(2_000)),
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = SetSlaPolicyRequest { tenant: "acme".to_owned(), policy: Some(policy) };
    ConfigServiceClient::new(channel).set_sla_policy(request).await.expect("the policy is kept");
    let opened_ms = now_ms();
    // In all three partitions.
    let opened = |number: i32| Event {
        id: number.to_string(),
        source: "timers".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(instant(opened_ms)),
        payload: Some(Payload::ConversationOpened(ConversationOpened {
            conversation: format!("c{number}"),
            ..Default::default()
        })),
        ..Default::default()
    };
    client.send((0..30).map(opened).collect()).await;
    opened_ms
}

async fn figure(client: &Client, metric: &str) -> MetricValue {
    client.figure(ask("acme", metric)).await
}

/// The breaches at the deadline's very instant, and all there are.
async fn breaches(client: &Client, opened_ms: i64) -> (u64, u64) {
    let deadline_ms = opened_ms + AT_MOST_MS;
    let mut at_the_instant = ask("acme", "sla_breaches");
    at_the_instant.0.start_time = Some(instant(deadline_ms));
    at_the_instant.0.end_time = Some(instant(deadline_ms + 1));
    (client.figure(at_the_instant).await.count, figure(client, "sla_breaches").await.count)
}

#[test]
fn a_breach_counts_from_its_deadline_on_without_any_event() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let opened_ms = promise(&suite, &client).await;
        let patience = Instant::now() + Duration::from_mins(1);
        let mut seen_at_risk = false;
        loop {
            let asked_ms = now_ms();
            let count = figure(&client, "sla_breaches").await.count;
            let answered_ms = now_ms();
            // Neither early nor late: what the clock says before the question and after the answer leaves no other way.
            if answered_ms < opened_ms + AT_MOST_MS {
                assert_eq!(count, 0, "{answered_ms} is before the deadline");
                let at_risk = figure(&client, "sla_at_risk").await;
                let deadline = Some(instant(opened_ms + AT_MOST_MS));
                assert!(at_risk.running_targets.iter().all(|target| target.deadline == deadline), "{at_risk:?}");
                assert_eq!(at_risk.running_targets.len() as u64, at_risk.count);
                seen_at_risk |= at_risk.count == 30;
            }
            if asked_ms > opened_ms + AT_MOST_MS {
                assert_eq!(count, 30, "{asked_ms} is after the deadline");
                break;
            }
            assert!(Instant::now() < patience, "the deadline never comes");
        }
        assert!(seen_at_risk, "a second before the deadline all are at risk");
        assert_eq!(breaches(&client, opened_ms).await, (30, 30));
        assert_eq!(figure(&client, "sla_at_risk").await.count, 0);
    });
}

#[test]
fn a_deadline_that_passes_while_nothing_runs_counts_once_at_its_instant_after_the_start() {
    let mut suite = Suite::start();
    let opened_ms = run(async { promise(&suite, &suite.client()).await });
    assert!(now_ms() < opened_ms + AT_MOST_MS, "the machine is too slow for this test");
    suite.process().kill();
    while now_ms() <= opened_ms + AT_MOST_MS {
        std::thread::yield_now();
    }
    suite.kill_and_restart();
    run(async { assert_eq!(breaches(&suite.client(), opened_ms).await, (30, 30)) });
    // And not again after the next start.
    suite.kill_and_restart();
    run(async { assert_eq!(breaches(&suite.client(), opened_ms).await, (30, 30)) });
}

#[test]
fn a_deadline_put_away_with_all_events_counts_at_its_instant_after_a_start_that_replays_nothing() {
    let mut suite = Suite::start();
    let opened_ms = run(async { promise(&suite, &suite.client()).await });
    // Several checkpoints: the last block is in one.
    while now_ms() < opened_ms + 1_500 {
        std::thread::yield_now();
    }
    suite.process().kill();
    while now_ms() <= opened_ms + AT_MOST_MS {
        std::thread::yield_now();
    }
    suite.kill_and_restart();
    run(async { assert_eq!(breaches(&suite.client(), opened_ms).await, (30, 30)) });
}

#[test]
fn what_is_open_has_been_open_until_now_however_far_ahead_the_question_looks() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let opened_ms = promise(&suite, &client).await;
        for metric in ["longest_wait", "backlog_age"] {
            let mut question = ask("acme", metric);
            question.0.end_time = Some(instant(opened_ms + 86_400_000));
            let asked_ms = now_ms();
            let figure = client.figure(question).await;
            let oldest = figure.max.map_or(figure.value, |max| Some(max as f64)).expect("thirty are open");
            let possible = (asked_ms - opened_ms) as f64..=(now_ms() - opened_ms) as f64;
            assert!(possible.contains(&oldest), "{metric}: {oldest} ms, possible {possible:?}");
        }
    });
}
