//! What is just good enough, and what is good but said before in another way.

use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, BatchOutcome, Dimensions, Event, EventExceptionKind, LegEndReason, LegState,
    LifecycleKind, Money, Scale, Subject, SurveyKind, subject,
};

use super::{
    YEAR_1, agent_state, answered, any, assigned, attribute, attributes, cost, dimensioned, employed, in_minutes,
    instant, leg, letters, lifecycle, merged, message, opened, retracted, review, schedule, scored, sent, session,
    status, task, updated,
};
use crate::harness::{Suite, ask, group, run, timestamp};

#[test]
fn what_is_just_within_every_limit_is_accepted_and_kept() {
    let all_dimensions = dimensioned(|it| {
        *it = Dimensions {
            channel: letters(128),
            team: letters(128),
            agent: letters(128),
            priority: letters(128),
            topic: letters(128),
            subtopic: letters(128),
            language: letters(128),
            country: letters(128),
            customer_segment: letters(128),
        }
    });
    let actor = |kind: ActorKind, id: String| Some(Actor { kind: kind.into(), id });
    let cases = vec![
        any(|it| it.id = letters(128)),
        any(|it| it.source = letters(128)),
        any(|it| it.tenant = letters(64)),
        any(|it| it.tenant = "é".repeat(32)),
        any(|it| it.time = Some(in_minutes(9))),
        any(|it| it.sequence = Some(u64::MAX)),
        instant(YEAR_1, 0),
        instant(0, 999_999_999),
        instant(-1, 1),
        attributes(8, 64, 128),
        attribute("plan_2", ""),
        all_dimensions,
        opened(|it| it.conversation = letters(128)),
        opened(|it| it.customer = letters(128)),
        opened(|it| it.initiator = ActorKind::Bot.into()),
        merged(&letters(128)),
        status(|it| it.actor = actor(ActorKind::Unspecified, letters(128))),
        assigned(|it| it.assignee = letters(128)),
        assigned(|it| it.team = letters(128)),
        assigned(|it| {
            it.to = AssigneeKind::Nobody.into();
            it.assignee.clear();
        }),
        updated(|_| ()),
        updated(|it| it.add_tags = vec![letters(128); 32]),
        updated(|it| it.remove_tags = vec![letters(128); 32]),
        updated(|it| it.clear = vec!["direction".to_owned(); 10]),
        message(|it| it.actor = actor(ActorKind::System, letters(128))),
        message(|it| it.quick_reply = letters(128)),
        scored(|it| it.message_event_id = letters(128)),
        retracted(|it| {
            it.retracted_source = letters(128);
            it.retracted_id = letters(128);
        }),
    ];
    let cases: Vec<Event> = cases.into_iter().chain(of_calls_and_agents()).chain(of_other_subjects()).collect();
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        for (number, mut event) in cases.into_iter().enumerate() {
            // A tenant of its own, so that no case meets another.
            if event.tenant == "acme" {
                event.tenant = format!("acme-{number}");
            }
            let outcome = client.send(vec![event.clone()]).await;
            assert_eq!((outcome.accepted, outcome.exceptions.len()), (1, 0), "{event:?}: {outcome:?}");
            let again = client.send(vec![event.clone()]).await;
            assert_eq!((again.accepted, again.duplicates), (0, 1), "{event:?} is not there: {again:?}");
        }
        // And the longest come back as they went in.
        let opened = |tenant: &str| ask(tenant, "conversations_opened");
        assert_eq!(client.figure(opened(&letters(64))).await.count, 1);
        assert_eq!(client.figure(opened(&"é".repeat(32))).await.count, 1);
        assert_eq!(client.figure(opened("acme-4")).await.count, 0, "not before its time");
        let mut later = opened("acme-4");
        later.0.end_time = Some(in_minutes(30));
        assert_eq!(client.figure(later).await.count, 1, "nine minutes from now");
        let name = format!("attributes.{:064}", 7);
        let rows = client.rows(opened("acme-9").group_by(&[&name])).await;
        assert_eq!(rows.iter().map(group).collect::<Vec<_>>(), [[letters(128)]]);
        let rows = client.rows(opened("acme-11").group_by(&["customer_segment", "channel"])).await;
        assert_eq!(rows.iter().map(group).collect::<Vec<_>>(), [[letters(128), letters(128)]]);
    });
}

/// Events of calls and agents, each at a limit.
fn of_calls_and_agents() -> Vec<Event> {
    const LEAP_YEAR: i64 = 366 * 86_400;
    let time = |seconds: i64, nanos: i32| Some(prost_types::Timestamp { seconds, nanos });
    let ended_so = |state: LegState, reason: LegEndReason| {
        leg(|it| {
            it.state = state.into();
            it.end_reason = reason.into();
        })
    };
    let scheduled = |from, to| {
        schedule(|it| {
            it.from = from;
            it.to = to;
        })
    };
    vec![
        leg(|it| {
            it.leg = letters(128);
            it.queue = letters(128);
            it.agent = letters(128);
        }),
        ended_so(LegState::Queued, LegEndReason::Declined),
        ended_so(LegState::Queued, LegEndReason::Expired),
        ended_so(LegState::Alerting, LegEndReason::Declined),
        ended_so(LegState::Alerting, LegEndReason::Expired),
        ended_so(LegState::Alerting, LegEndReason::Unspecified),
        ended_so(LegState::Ended, LegEndReason::Unspecified),
        ended_so(LegState::Ended, LegEndReason::Abandoned),
        ended_so(LegState::Ended, LegEndReason::Closed),
        ended_so(LegState::Ivr, LegEndReason::Unspecified),
        agent_state(|it| {
            it.agent = letters(128);
            it.team = letters(128);
            it.slots = Some(1_000);
        }),
        agent_state(|it| it.slots = Some(0)),
        scheduled(time(0, 999_999), time(0, 1_000_000)),
        scheduled(time(0, 5_000_000), time(LEAP_YEAR, 5_999_999)),
        schedule(|it| it.agent = letters(128)),
        employed(|it| it.agent = letters(128)),
    ]
}

/// Events of other things, each at a limit.
fn of_other_subjects() -> Vec<Event> {
    const MOST: i64 = 1_000_000_000_000_000;
    let scale = |lowest: i32, highest: i32| Some(Scale { lowest, highest });
    let money = |amount_micros: i64| Some(Money { currency: "XXX".to_owned(), amount_micros });
    let scored = |kind: SurveyKind, on: Option<Scale>, score: i32| {
        answered(|it| {
            it.kind = kind.into();
            it.scale = on;
            it.score = Some(score);
            it.revision = u32::MAX;
        })
    };
    let rated = |on: Option<Scale>, rating: i32| {
        review(|it| {
            it.scale = on;
            it.rating = Some(rating);
        })
    };
    let costing = |micros: i64| cost(|it| it.amount = money(micros));
    let of = |kind: subject::Kind| retracted(|it| it.subject = Some(Subject { kind: Some(kind) }));
    vec![
        sent(|it| {
            it.survey = letters(128);
            it.conversation = letters(128);
            it.agent = letters(128);
            it.scale = scale(-1_000, 1_000);
        }),
        scored(SurveyKind::Csat, None, 1_000),
        scored(SurveyKind::Ces, None, -1_000),
        scored(SurveyKind::Engagement, scale(0, 1), 0),
        scored(SurveyKind::Nps, None, 0),
        scored(SurveyKind::Nps, scale(0, 10), 10),
        rated(None, 1),
        rated(scale(-1_000, 1_000), -1_000),
        review(|it| {
            it.review = letters(128);
            it.platform = letters(128);
            it.customer = letters(128);
            it.conversation = letters(128);
        }),
        task(|it| {
            it.task = letters(128);
            it.assignee = letters(128);
        }),
        lifecycle(|it| {
            it.kind = LifecycleKind::FeatureUsed.into();
            it.reference = letters(128);
            it.conversation = letters(128);
            it.amount = money(i64::MIN);
        }),
        lifecycle(|it| it.customer = letters(128)),
        session(|it| {
            it.session = letters(128);
            it.customer = letters(128);
        }),
        costing(MOST),
        costing(-MOST),
        costing(0),
        cost(|it| {
            it.conversation.clear();
            it.team = letters(128);
        }),
        of(subject::Kind::Agent(letters(128))),
        of(subject::Kind::Customer(letters(128))),
        of(subject::Kind::Survey(letters(128))),
        of(subject::Kind::Review(letters(128))),
        of(subject::Kind::Task(letters(128))),
        of(subject::Kind::SelfserviceSession(letters(128))),
        of(subject::Kind::Team(letters(128))),
    ]
}

#[test]
fn an_id_with_other_content_is_a_conflict_and_the_first_stays() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let first = dimensioned(|it| it.channel = "email".to_owned());
        let mut other = first.clone();
        other.time = Some(timestamp("2026-06-01T10:00:00Z"));
        let same_time = dimensioned(|it| it.channel = "chat".to_owned());
        let other_type = message(|_| ());
        let mut neighbour = opened(|it| it.conversation = "other".to_owned());
        neighbour.id = "other".to_owned();

        // Within one batch, and against an earlier one.
        let outcome = client.send(vec![first.clone(), other.clone(), first.clone(), neighbour]).await;
        assert_conflicts(&outcome, (2, 1, 1), &[1]);
        let outcome = client.send(vec![same_time, first.clone(), other, other_type]).await;
        assert_conflicts(&outcome, (0, 1, 3), &[0, 2, 3]);
        // Another source has ids of its own, and so has another tenant.
        let mut elsewhere = first.clone();
        elsewhere.source = "elsewhere".to_owned();
        let mut abroad = first.clone();
        abroad.tenant = "abroad".to_owned();
        let outcome = client.send(vec![elsewhere, abroad]).await;
        assert_conflicts(&outcome, (2, 0, 0), &[]);

        let to = ask("acme", "conversations_opened").from("2026-06-01T09:00:00Z").to("2026-06-01T09:00:01Z");
        assert_eq!(client.figure(to.clone()).await.count, 2);
        let rows = client.rows(to.group_by(&["channel"])).await;
        assert_eq!(rows.iter().map(group).collect::<Vec<_>>(), [["-"], ["email"]]);
        assert_eq!(client.figure(ask("acme", "messages_received")).await.count, 0);
    });
}

fn assert_conflicts(outcome: &BatchOutcome, counts: (u32, u32, u32), conflicts: &[u32]) {
    assert_eq!((outcome.accepted, outcome.duplicates, outcome.rejected), counts, "{outcome:?}");
    assert!(outcome.exceptions.is_sorted_by_key(|exception| exception.index), "{outcome:?}");
    let mut found = Vec::new();
    for exception in &outcome.exceptions {
        match exception.kind() {
            EventExceptionKind::Conflict => {
                assert_eq!((exception.field.as_str(), exception.reason.as_str()), ("id", "CONFLICTING_ID"));
                assert!(!exception.message.is_empty());
                found.push(exception.index);
            }
            EventExceptionKind::Duplicate => assert_eq!((&*exception.field, &*exception.reason), ("", "")),
            kind => panic!("{kind:?} in {outcome:?}"),
        }
    }
    assert_eq!(found, conflicts);
}
