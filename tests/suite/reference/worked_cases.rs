//! The worked cases of METRICS.md, by the model alone.

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, AssignmentReason, Basis, Calendar, Clock, ConfigChange, ConversationAssigned,
    ConversationOpened, ConversationStatus, ConversationStatusChanged, Event, LegEndReason, LegState, LegStateChanged,
    MessageCreated, MetricSelection, OpenBlock, QueryMetricsRequest, SlaPolicy, SlaTarget, SlaTargetKind,
    SurveyAnswered, SurveyKind, SurveySent, Tenant, Visibility,
};
use jiff::civil::DateTime;

use super::figures::Figure;
use super::{Model, compare, milliseconds, scenario};
use crate::harness::Random;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn berlin(time: &str) -> prost_types::Timestamp {
    let local: DateTime = time.parse().expect("a time");
    let instant = local.in_tz("Europe/Berlin").expect("a local time").timestamp();
    prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 }
}

/// Events with the ids 0, 1, 2...
fn events(story: Vec<(&str, Payload)>) -> Vec<Event> {
    let numbered = story.into_iter().enumerate();
    numbered
        .map(|(number, (time, payload))| Event {
            id: format!("{number:03}"),
            source: "worked".to_owned(),
            tenant: "t".to_owned(),
            time: Some(berlin(time)),
            payload: Some(payload),
            ..Default::default()
        })
        .collect()
}

fn message(kind: ActorKind, id: &str, visibility: Visibility, quick_reply: &str) -> Payload {
    Payload::MessageCreated(MessageCreated {
        conversation: "c1".to_owned(),
        actor: Some(Actor { kind: kind.into(), id: id.to_owned() }),
        visibility: visibility.into(),
        quick_reply: quick_reply.to_owned(),
        ..Default::default()
    })
}

fn customer() -> Payload {
    message(ActorKind::Customer, "", Visibility::Public, "")
}

fn reply(agent: &str, quick_reply: &str) -> Payload {
    message(ActorKind::Agent, agent, Visibility::Public, quick_reply)
}

fn assigned(to: AssigneeKind, assignee: &str, reason: AssignmentReason) -> Payload {
    Payload::ConversationAssigned(ConversationAssigned {
        conversation: "c1".to_owned(),
        to: to.into(),
        assignee: assignee.to_owned(),
        reason: reason.into(),
        ..Default::default()
    })
}

fn status(status: ConversationStatus, agent: &str) -> Payload {
    let actor = Actor { kind: ActorKind::Agent.into(), id: agent.to_owned() };
    Payload::ConversationStatusChanged(ConversationStatusChanged {
        conversation: "c1".to_owned(),
        status: status.into(),
        actor: (!agent.is_empty()).then_some(actor),
        ..Default::default()
    })
}

fn survey_answered(score: i32, revision: u32) -> Payload {
    Payload::SurveyAnswered(SurveyAnswered {
        survey: "s1".to_owned(),
        kind: SurveyKind::Csat.into(),
        score: Some(score),
        revision,
        ..Default::default()
    })
}

fn ticket() -> Vec<Event> {
    let opened = ConversationOpened { conversation: "c1".to_owned(), ..Default::default() };
    let sent = SurveySent {
        survey: "s1".to_owned(),
        kind: SurveyKind::Csat.into(),
        conversation: "c1".to_owned(),
        ..Default::default()
    };
    let (pending, open) = (ConversationStatus::Pending, ConversationStatus::Open);
    let resolved = ConversationStatus::Resolved;
    events(vec![
        ("2026-03-27T16:30", Payload::ConversationOpened(opened)),
        ("2026-03-27T16:30", customer()),
        ("2026-03-27T16:30:05", message(ActorKind::Bot, "bot", Visibility::Public, "")),
        ("2026-03-27T16:32", assigned(AssigneeKind::Team, "first", AssignmentReason::Handoff)),
        ("2026-03-27T16:40", assigned(AssigneeKind::Agent, "A", AssignmentReason::Route)),
        ("2026-03-27T16:45", message(ActorKind::Agent, "A", Visibility::Private, "")),
        ("2026-03-30T09:30", reply("A", "")),
        ("2026-03-30T09:40", customer()),
        ("2026-03-30T09:50", customer()),
        ("2026-03-30T10:00", reply("A", "")),
        ("2026-03-30T10:05", status(pending, "")),
        ("2026-03-30T11:05", customer()),
        ("2026-03-30T11:05", status(open, "")),
        ("2026-03-30T11:15", assigned(AssigneeKind::Agent, "B", AssignmentReason::Transfer)),
        ("2026-03-30T11:20", reply("B", "QR1")),
        ("2026-03-30T11:25", status(resolved, "B")),
        ("2026-03-30T11:30", Payload::SurveySent(sent)),
        ("2026-03-30T12:00", survey_answered(2, 0)),
        ("2026-03-30T12:10", survey_answered(5, 1)),
        ("2026-03-30T13:00", customer()),
        ("2026-03-30T13:00", status(open, "")),
        ("2026-03-30T13:30", reply("B", "")),
        ("2026-03-30T14:00", status(resolved, "B")),
    ])
}

/// Mondays to Fridays from nine to five, and a first response within an hour of that.
fn config() -> Vec<ConfigChange> {
    let blocks = (1..=5).map(|weekday| OpenBlock { weekday, from_minute: 540, to_minute: 1_020 }).collect();
    let calendar = Calendar {
        calendar: "office".to_owned(),
        effective_from: Some(berlin("2026-01-01T00:00")),
        time_zone: "Europe/Berlin".to_owned(),
        blocks,
        ..Default::default()
    };
    let tenant = Tenant { tenant: "t".to_owned(), calendar: "office".to_owned(), ..Default::default() };
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let target = SlaTarget {
        kind: SlaTargetKind::FirstResponse.into(),
        at_most: Some(hour),
        clock: Clock::Business.into(),
        warning_lead: None,
    };
    let policy = SlaPolicy {
        policy: "hour".to_owned(),
        effective_from: Some(berlin("2026-01-01T00:00")),
        targets: vec![target],
        ..Default::default()
    };
    [Change::Calendar(calendar), Change::Settings(tenant), Change::SlaPolicy(policy)]
        .map(|change| ConfigChange { tenant: "t".to_owned(), change: Some(change) })
        .to_vec()
}

fn question(metric: &str) -> QueryMetricsRequest {
    let selection = MetricSelection {
        name: metric.to_owned(),
        percentiles: vec![50.0, 95.0],
        currency: "EUR".to_owned(),
        ..Default::default()
    };
    QueryMetricsRequest {
        tenant: "t".to_owned(),
        metrics: vec![selection],
        end_time: Some(berlin("2026-06-15T00:00")),
        time_zone: "Europe/Berlin".to_owned(),
        ..Default::default()
    }
}

fn answer(model: &Model, request: &QueryMetricsRequest) -> Figure {
    let rows = model.answer(request);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_values().next().expect("a row").remove(0)
}

fn now() -> i64 {
    milliseconds(Some(&berlin("2026-07-01T00:00")))
}

#[test]
fn case_a_on_the_calendar_clock() {
    let model = Model::new(&ticket(), &config(), now());
    let ask = |metric| answer(&model, &question(metric));
    let whole = |metric, count, sum, max| {
        let figure = ask(metric);
        assert_eq!((figure.count, figure.sum, figure.max), (Some(count), Some(sum), Some(max)), "{metric}: {figure:?}");
    };
    whole("first_response_time", 1, 64 * HOUR, 64 * HOUR);
    whole("handoff_response_time", 1, 64 * HOUR - 2 * MINUTE, 64 * HOUR - 2 * MINUTE);
    whole("next_reply_time", 3, 65 * MINUTE, 30 * MINUTE);
    whole("time_to_assignment", 1, 10 * MINUTE, 10 * MINUTE);
    whole("bot_response_time", 1, 5_000, 5_000);
    whole("first_resolution_time", 1, 65 * HOUR + 55 * MINUTE, 65 * HOUR + 55 * MINUTE);
    whole("full_resolution_time", 1, 68 * HOUR + 30 * MINUTE, 68 * HOUR + 30 * MINUTE);
    whole("resolution_time", 2, 66 * HOUR + 55 * MINUTE, 65 * HOUR + 55 * MINUTE);
    whole("net_resolution_time", 2, 65 * HOUR + 55 * MINUTE, 64 * HOUR + 55 * MINUTE);
    whole("human_resolution_time", 2, 66 * HOUR + 53 * MINUTE, 65 * HOUR + 53 * MINUTE);
    let next_reply = ask("next_reply_time");
    assert_eq!((next_reply.value, next_reply.percentiles[0]), (Some(1_300_000.0), 20 * MINUTE));
    for (metric, count) in [
        ("resolutions", 2),
        ("reopens", 1),
        ("transfers", 1),
        ("conversations_resolved", 1),
        ("messages_received", 5),
        ("messages_sent", 4),
        ("bot_messages", 1),
        ("private_notes", 1),
        ("backlog", 0),
        ("skewed_events", 0),
        ("sla_breaches", 0),
    ] {
        assert_eq!(ask(metric).count, Some(count), "{metric}");
    }
    for (metric, numerator, denominator) in [
        ("replies_per_resolution", 4, 1),
        ("first_contact_resolution_rate", 0, 1),
        ("sla_compliance", 1, 1),
        ("csat_score", 1, 1),
        ("survey_response_rate", 1, 1),
        ("handoff_rate", 1, 1),
        ("bot_containment_rate", 0, 1),
    ] {
        let figure = ask(metric);
        assert_eq!((figure.numerator, figure.denominator), (Some(numerator), Some(denominator)), "{metric}");
    }
    let of_b = QueryMetricsRequest { filter: "agent = \"B\"".to_owned(), ..question("csat_score") };
    assert_eq!(answer(&model, &of_b).count, Some(1));
}

#[test]
fn case_a_on_the_business_clock() {
    let model = Model::new(&ticket(), &config(), now());
    let ask = |metric, filter: &str| {
        let filter = filter.to_owned();
        answer(&model, &QueryMetricsRequest { clock: Clock::Business.into(), filter, ..question(metric) })
    };
    let sum = |metric, filter| ask(metric, filter).sum;
    assert_eq!(sum("first_response_time", ""), Some(60 * MINUTE));
    assert_eq!(sum("handoff_response_time", ""), Some(58 * MINUTE));
    assert_eq!(sum("agent_first_response_time", "agent = \"A\""), Some(50 * MINUTE));
    assert_eq!(sum("first_resolution_time", ""), Some(175 * MINUTE));
    assert_eq!(sum("full_resolution_time", ""), Some(330 * MINUTE));
    assert_eq!(sum("resolution_time", ""), Some(235 * MINUTE));
    let replies = ask("reply_time", "");
    assert_eq!((replies.count, replies.value), (Some(4), Some(1_875_000.0)));
    assert_eq!(replies.percentiles, [20 * MINUTE, 60 * MINUTE]);
}

#[test]
fn case_a_as_it_was_seen_on_the_way() {
    for (seen, resolved) in [("2026-03-30T12:30", 1), ("2026-03-30T13:10", 0), ("2026-03-30T14:01", 1)] {
        let seen = milliseconds(Some(&berlin(seen)));
        let mut known = ticket();
        known.retain(|event| milliseconds(event.time.as_ref()) <= seen);
        let model = Model::new(&known, &config(), now());
        assert_eq!(answer(&model, &question("conversations_resolved")).count, Some(resolved), "{seen}");
    }
}

fn leg(id: &str, queue: &str, agent: &str, state: LegState, end_reason: LegEndReason) -> Payload {
    Payload::LegStateChanged(LegStateChanged {
        conversation: "c1".to_owned(),
        leg: id.to_owned(),
        queue: queue.to_owned(),
        agent: agent.to_owned(),
        state: state.into(),
        end_reason: end_reason.into(),
    })
}

fn call() -> Vec<Event> {
    use LegEndReason::{Completed, Expired, Transferred, Unspecified};
    use LegState::{Alerting, Connected, Ended, Held, Queued, Wrapup};
    events(vec![
        ("2026-06-01T10:00:00", leg("1", "Q1", "", Queued, Unspecified)),
        ("2026-06-01T10:00:15", leg("1", "Q1", "A", Alerting, Unspecified)),
        ("2026-06-01T10:00:35", leg("1", "Q1", "A", Queued, Expired)),
        ("2026-06-01T10:00:40", leg("1", "Q1", "B", Alerting, Unspecified)),
        ("2026-06-01T10:00:50", leg("1", "Q1", "B", Connected, Unspecified)),
        ("2026-06-01T10:05:00", leg("1", "Q1", "B", Held, Unspecified)),
        ("2026-06-01T10:06:00", leg("1", "Q1", "B", Connected, Unspecified)),
        ("2026-06-01T10:08:00", leg("1", "Q1", "B", Wrapup, Unspecified)),
        ("2026-06-01T10:08:00", leg("2", "Q2", "", Queued, Unspecified)),
        ("2026-06-01T10:08:30", leg("2", "Q2", "C", Connected, Unspecified)),
        ("2026-06-01T10:09:30", leg("1", "Q1", "B", Ended, Transferred)),
        ("2026-06-01T10:20:00", leg("2", "Q2", "C", Wrapup, Unspecified)),
        ("2026-06-01T10:22:00", leg("2", "Q2", "C", Ended, Completed)),
    ])
}

#[test]
fn case_b_a_call() {
    let model = Model::new(&call(), &[], now());
    let ask = |metric: &str, filter: &str| {
        let request = QueryMetricsRequest { filter: filter.to_owned(), ..question(metric) };
        answer(&model, &request)
    };
    assert_eq!(ask("offered", "team = \"Q1\"").count, Some(1));
    assert_eq!(ask("offered", "team = \"Q2\"").count, Some(1));
    assert_eq!(ask("conversations_opened", "").count, Some(1));
    let asa = ask("asa", "");
    assert_eq!((asa.min, asa.max, asa.value), (Some(30_000), Some(50_000), Some(40_000.0)));
    assert_eq!(ask("non_responses", "").count, Some(1));
    assert_eq!(ask("non_responses", "agent = \"A\"").count, Some(1));
    let seconds = |metric: &str, agent: &str| ask(metric, &format!("agent = \"{agent}\"")).sum.map(|sum| sum / 1_000);
    assert_eq!(seconds("handle_time", "B"), Some(520));
    assert_eq!(seconds("talk_time", "B"), Some(370));
    assert_eq!(seconds("hold_time", "B"), Some(60));
    assert_eq!(seconds("wrapup_time", "B"), Some(90));
    assert_eq!(seconds("handle_time", "C"), Some(810));
    assert_eq!(seconds("talk_time", "C"), Some(690));
    assert_eq!(seconds("wrapup_time", "C"), Some(120));
    assert_eq!(ask("handle_time", "").value, Some(665_000.0));
    assert_eq!(ask("transfers", "agent = \"B\"").count, Some(1));
    let mut request = question("handle_time");
    request.metrics[0].variant = "per_conversation".to_owned();
    assert_eq!(answer(&model, &request).value, Some(1_330_000.0));
    request.metrics[0].variant.clear();
    "service_level".clone_into(&mut request.metrics[0].name);
    for (within, met) in [(20, 0), (60, 2)] {
        request.metrics[0].within = Some(prost_types::Duration { seconds: within, nanos: 0 });
        let figure = answer(&model, &request);
        assert_eq!((figure.numerator, figure.denominator), (Some(met), Some(2)));
    }
    let apportioned = QueryMetricsRequest {
        start_time: Some(berlin("2026-06-01T10:00")),
        end_time: Some(berlin("2026-06-01T10:30")),
        interval: "15m".to_owned(),
        ..question("handle_time_apportioned")
    };
    let minutes: Vec<Option<f64>> = model.answer(&apportioned).values().map(|row| row[0].value).collect();
    assert_eq!(minutes, [Some(910_000.0), Some(420_000.0)]);
}

/// The same in another conversation.
fn in_call(number: usize, payload: Payload) -> Payload {
    match payload {
        Payload::LegStateChanged(leg) => {
            Payload::LegStateChanged(LegStateChanged { conversation: format!("call {number}"), ..leg })
        }
        other => other,
    }
}

#[test]
fn case_c_the_service_levels() {
    use LegEndReason::{Abandoned, Unspecified};
    use LegState::{Connected, Ended, Queued};
    let instant = |milliseconds: i64| {
        let start = berlin("2026-06-01T10:00").seconds * 1_000 + milliseconds;
        prost_types::Timestamp {
            seconds: start / 1_000,
            nanos: i32::try_from(start % 1_000).expect("below a second") * 1_000_000,
        }
    };
    let waits = (0..1_000).map(|n| (Connected, Unspecified, if n < 860 { 20_000 } else { 20_001 }));
    let gone = (0..60).map(|n| {
        (
            Ended,
            Abandoned,
            if n < 10 {
                4_999
            } else if n < 20 {
                20_000
            } else {
                30_000
            },
        )
    });
    let mut calls = Vec::new();
    for (number, (state, reason, wait)) in waits.chain(gone).enumerate() {
        for (at, state, reason) in [(0, Queued, Unspecified), (wait, state, reason)] {
            calls.push(Event {
                id: format!("{}", calls.len()),
                source: "worked".to_owned(),
                tenant: "t".to_owned(),
                time: Some(instant(at)),
                payload: Some(in_call(number, leg("1", "Q1", "", state, reason))),
                ..Default::default()
            });
        }
    }
    let model = Model::new(&calls, &[], now());
    let mut request = question("service_level");
    for (variant, percent) in [
        ("answered_of_answered", 86.00),
        ("with_abandons_met", 83.02),
        ("without_early_abandons", 82.69),
        ("without_short_abandons", 81.90),
        ("of_offered", 81.13),
        ("", 81.13),
    ] {
        variant.clone_into(&mut request.metrics[0].variant);
        let value = answer(&model, &request).value.expect("a service level");
        assert!((value * 100.0 - percent).abs() < 0.005, "{variant}: {value}");
    }
    let abandoned = QueryMetricsRequest { basis: Basis::Cohort.into(), ..question("abandonment_rate") };
    assert_eq!(answer(&model, &abandoned).numerator, Some(60));
}

/// The model answers every question of random scenarios, the same whatever the order of arrival, and mostly with
/// something in it.
#[test]
fn random_scenarios_are_answered_the_same_in_any_order() {
    let (mut asked, mut empty) = (0, 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        let made_up = scenario(&mut random);
        let model = Model::new(&made_up.events, &made_up.config, now() + 150 * 24 * HOUR);
        let mut shuffled = made_up.clone().for_tenant("other").events;
        random.shuffle(&mut shuffled);
        let again = Model::new(&shuffled, &made_up.config, now() + 150 * 24 * HOUR);
        for question in &made_up.questions {
            let rows = model.answer(question);
            assert_eq!(rows, again.answer(question), "seed {seed}: {question:?}");
            let is_empty = rows.values().flatten().all(Figure::is_empty);
            assert_eq!(compare(question, &rows, &[]).is_ok(), is_empty, "seed {seed}: {question:?}");
            asked += 1;
            empty += usize::from(is_empty);
        }
    }
    assert!(empty * 5 < asked, "{empty} of {asked} answers are empty");
}
