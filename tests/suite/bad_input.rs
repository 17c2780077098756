//! What is refused, with which code and details; and that what stands beside it is not.

use std::task::{Context, Poll};

use deskpulse_proto::v1::aggregation_service_client::AggregationServiceClient;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, Basis, BatchOutcome, Clock, CollectPart, CollectRequest, ConversationAssigned,
    ConversationOpened, ConversationStatus, ConversationStatusChanged, ConversationUpdated, Dimensions, Event,
    EventExceptionKind, EventRetracted, GetTenantRequest, IngestEventsRequest, ListCalendarsRequest,
    ListConversationsRequest, ListSlaPoliciesRequest, MessageCreated, MessageSentimentScored, MetricSelection,
    QueryMetricsRequest, ReadRequest, Reduction, ReportAppliedRequest, Sentiment, SetCalendarRequest,
    SetSlaPolicyRequest, SetTenantRequest, StreamEventsRequest, Subject, WatchAlertsRequest, WatchMetricsRequest,
    WatchRequest, subject,
};
use deskpulse_proto::v1::{
    AgentEmploymentChanged, AgentScheduleSet, AgentStateChanged, CostRecorded, CustomerLifecycle, LegStateChanged,
    ReviewPosted, SelfserviceEnded, SurveyAnswered, SurveySent, TaskStatusChanged,
};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Client, Question, Suite, ask, assert_refused, group, run, timestamp};

const AT: &str = "2026-06-01T09:00:00Z";

// Events, each good but for what a case changes.

fn event(payload: Payload) -> Event {
    Event {
        id: "case".to_owned(),
        source: "test".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(timestamp(AT)),
        payload: Some(payload),
        ..Default::default()
    }
}

fn opened(change: impl FnOnce(&mut ConversationOpened)) -> Event {
    let mut opened = ConversationOpened { conversation: "case".to_owned(), ..Default::default() };
    change(&mut opened);
    event(Payload::ConversationOpened(opened))
}

/// Any event, for what is common to all.
fn any(change: impl FnOnce(&mut Event)) -> Event {
    let mut event = opened(|_| ());
    change(&mut event);
    event
}

fn status(change: impl FnOnce(&mut ConversationStatusChanged)) -> Event {
    let mut changed = ConversationStatusChanged {
        conversation: "case".to_owned(),
        status: ConversationStatus::Open.into(),
        ..Default::default()
    };
    change(&mut changed);
    event(Payload::ConversationStatusChanged(changed))
}

fn merged(into: &str) -> Event {
    status(|it| {
        it.status = ConversationStatus::Merged.into();
        into.clone_into(&mut it.merged_into);
    })
}

fn assigned(change: impl FnOnce(&mut ConversationAssigned)) -> Event {
    let mut assigned = ConversationAssigned {
        conversation: "case".to_owned(),
        to: AssigneeKind::Agent.into(),
        assignee: "ana".to_owned(),
        ..Default::default()
    };
    change(&mut assigned);
    event(Payload::ConversationAssigned(assigned))
}

fn updated(change: impl FnOnce(&mut ConversationUpdated)) -> Event {
    let mut updated = ConversationUpdated { conversation: "case".to_owned(), ..Default::default() };
    change(&mut updated);
    event(Payload::ConversationUpdated(updated))
}

fn message(change: impl FnOnce(&mut MessageCreated)) -> Event {
    let mut message = MessageCreated {
        conversation: "case".to_owned(),
        actor: Some(Actor { kind: ActorKind::Customer.into(), id: String::new() }),
        ..Default::default()
    };
    change(&mut message);
    event(Payload::MessageCreated(message))
}

fn scored(change: impl FnOnce(&mut MessageSentimentScored)) -> Event {
    let mut scored = MessageSentimentScored {
        conversation: "case".to_owned(),
        message_event_id: "message".to_owned(),
        sentiment: Sentiment::Positive.into(),
    };
    change(&mut scored);
    event(Payload::MessageSentimentScored(scored))
}

fn retracted(change: impl FnOnce(&mut EventRetracted)) -> Event {
    let mut retracted = EventRetracted {
        subject: Some(Subject { kind: Some(subject::Kind::Conversation("case".to_owned())) }),
        retracted_source: "test".to_owned(),
        retracted_id: "gone".to_owned(),
    };
    change(&mut retracted);
    event(Payload::EventRetracted(retracted))
}

fn dimensioned(change: impl FnOnce(&mut Dimensions)) -> Event {
    let mut dimensions = Dimensions::default();
    change(&mut dimensions);
    opened(|it| it.dimensions = Some(dimensions))
}

fn letters(count: usize) -> String {
    "x".repeat(count)
}

fn attributes(count: usize, name: usize, value: usize) -> Event {
    let named = |number: usize| (format!("{number:0name$}"), letters(value));
    any(|it| it.attributes = (0..count).map(named).collect())
}

fn attribute(name: &str, value: &str) -> Event {
    any(|it| it.attributes = [(name.to_owned(), value.to_owned())].into())
}

fn in_minutes(minutes: i64) -> prost_types::Timestamp {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
    prost_types::Timestamp { seconds: then.as_second(), nanos: then.subsec_nanosecond() }
}

fn instant(seconds: i64, nanos: i32) -> Event {
    any(|it| it.time = Some(prost_types::Timestamp { seconds, nanos }))
}

const YEAR_1: i64 = -62_135_596_800;
const YEAR_10000: i64 = 253_402_300_800;

/// What is refused, the field named and the reason given.
type Case = (&'static str, Event, &'static str, &'static str);

/// Sends each case between two good neighbours: it alone is refused, they are counted.
fn check_events(cases: Vec<Case>) {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let count = cases.len() as u64;
        for (number, (what, bad, field, reason)) in cases.into_iter().enumerate() {
            let neighbour = |side: &str| {
                let mut neighbour = opened(|it| it.conversation = format!("{number}-{side}"));
                neighbour.id = format!("{number}-{side}");
                neighbour
            };
            let outcome = client.send(vec![neighbour("left"), bad, neighbour("right")]).await;
            assert_eq!((outcome.accepted, outcome.duplicates, outcome.rejected), (2, 0, 1), "{what}: {outcome:?}");
            let [exception] = outcome.exceptions.as_slice() else { panic!("{what}: {outcome:?}") };
            assert_eq!((exception.index, exception.kind()), (1, EventExceptionKind::Rejected), "{what}");
            assert_eq!((exception.field.as_str(), exception.reason.as_str()), (field, reason), "{what}: {exception:?}");
            assert!(!exception.message.is_empty(), "{what} is refused without a word");
        }
        assert_eq!(client.figure(ask("acme", "conversations_opened")).await.count, 2 * count);
    });
}

#[test]
fn an_event_without_what_every_event_has_is_refused_alone() {
    check_events(vec![
        ("no id", any(|it| it.id.clear()), "id", "FIELD_REQUIRED"),
        ("an id of 129 bytes", any(|it| it.id = letters(129)), "id", "FIELD_TOO_LONG"),
        ("no source", any(|it| it.source.clear()), "source", "FIELD_REQUIRED"),
        ("a source of 129 bytes", any(|it| it.source = letters(129)), "source", "FIELD_TOO_LONG"),
        ("no tenant", any(|it| it.tenant.clear()), "tenant", "FIELD_REQUIRED"),
        ("a tenant of 65 bytes", any(|it| it.tenant = letters(65)), "tenant", "FIELD_TOO_LONG"),
        ("a tenant of 33 letters and 66 bytes", any(|it| it.tenant = "é".repeat(33)), "tenant", "FIELD_TOO_LONG"),
        ("no payload", any(|it| it.payload = None), "payload", "FIELD_REQUIRED"),
        ("nothing at all", Event::default(), "id", "FIELD_REQUIRED"),
        ("nine attributes", attributes(9, 2, 1), "attributes", "FIELD_TOO_LONG"),
        ("an attribute without a name", attribute("", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's name of 65 bytes", attributes(1, 65, 1), "attributes", "FIELD_INVALID"),
        ("an attribute's name in capitals", attribute("Plan", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's name with a hyphen", attribute("my-plan", "gold"), "attributes", "FIELD_INVALID"),
        ("an attribute's value of 129 bytes", attribute("plan", &letters(129)), "attributes.plan", "FIELD_TOO_LONG"),
    ]);
}

#[test]
fn an_event_at_no_possible_time_is_refused_alone() {
    check_events(vec![
        ("no time", any(|it| it.time = None), "time", "FIELD_REQUIRED"),
        ("negative nanos", instant(0, -1), "time", "FIELD_INVALID"),
        ("nanos of a second", instant(0, 1_000_000_000), "time", "FIELD_INVALID"),
        ("year 0", instant(YEAR_1 - 1, 999_999_999), "time", "FIELD_INVALID"),
        ("year 10000", instant(YEAR_10000, 0), "time", "FIELD_INVALID"),
        ("the first second there is", instant(i64::MIN, 0), "time", "FIELD_INVALID"),
        ("the last second there is", instant(i64::MAX, 999_999_999), "time", "FIELD_INVALID"),
        ("an hour in the future", any(|it| it.time = Some(in_minutes(60))), "time", "TIME_IN_FUTURE"),
        ("eleven minutes in the future", any(|it| it.time = Some(in_minutes(11))), "time", "TIME_IN_FUTURE"),
        ("milliseconds for seconds", instant(1_780_304_400_000, 0), "time", "FIELD_INVALID"),
        ("the year 9000", instant(221_845_392_000, 0), "time", "TIME_IN_FUTURE"),
    ]);
}

#[test]
fn an_opening_that_cannot_be_is_refused_alone() {
    const NAME: [&str; 9] =
        ["channel", "team", "agent", "priority", "topic", "subtopic", "language", "country", "customer_segment"];
    let mut cases = vec![
        ("no conversation", opened(|it| it.conversation.clear()), "conversation_opened.conversation", "FIELD_REQUIRED"),
        (
            "a conversation of 129 bytes",
            opened(|it| it.conversation = letters(129)),
            "conversation_opened.conversation",
            "FIELD_TOO_LONG",
        ),
        (
            "a customer of 129 bytes",
            opened(|it| it.customer = letters(129)),
            "conversation_opened.customer",
            "FIELD_TOO_LONG",
        ),
        ("direction 3", opened(|it| it.direction = 3), "conversation_opened.direction", "FIELD_INVALID"),
        ("direction -1", opened(|it| it.direction = -1), "conversation_opened.direction", "FIELD_INVALID"),
        ("initiator 99", opened(|it| it.initiator = 99), "conversation_opened.initiator", "FIELD_INVALID"),
    ];
    for kind in [ActorKind::Automation, ActorKind::Campaign, ActorKind::System] {
        let event = opened(|it| it.initiator = kind.into());
        cases.push((kind.as_str_name(), event, "conversation_opened.initiator", "FIELD_INVALID"));
    }
    let fields: [fn(&mut Dimensions) -> &mut String; 9] = [
        |it| &mut it.channel,
        |it| &mut it.team,
        |it| &mut it.agent,
        |it| &mut it.priority,
        |it| &mut it.topic,
        |it| &mut it.subtopic,
        |it| &mut it.language,
        |it| &mut it.country,
        |it| &mut it.customer_segment,
    ];
    let paths: Vec<String> = NAME.iter().map(|name| format!("conversation_opened.dimensions.{name}")).collect();
    for (path, field) in paths.iter().zip(fields) {
        let event = dimensioned(|it| *field(it) = letters(129));
        cases.push(("a dimension of 129 bytes", event, String::leak(path.clone()), "FIELD_TOO_LONG"));
    }
    check_events(cases);
}

#[test]
fn a_status_that_cannot_be_is_refused_alone() {
    const INTO: &str = "conversation_status_changed.merged_into";
    let closed = ConversationStatus::Closed;
    check_events(vec![
        (
            "no conversation",
            status(|it| it.conversation.clear()),
            "conversation_status_changed.conversation",
            "FIELD_REQUIRED",
        ),
        ("no status", status(|it| it.status = 0), "conversation_status_changed.status", "FIELD_REQUIRED"),
        ("status 9", status(|it| it.status = 9), "conversation_status_changed.status", "FIELD_INVALID"),
        ("status -1", status(|it| it.status = -1), "conversation_status_changed.status", "FIELD_INVALID"),
        ("merged into nothing", merged(""), INTO, "FIELD_REQUIRED"),
        ("merged into itself", merged("case"), INTO, "FIELD_INVALID"),
        ("merged into 129 bytes", merged(&letters(129)), INTO, "FIELD_TOO_LONG"),
        (
            "closed into another",
            status(|it| {
                it.status = closed.into();
                it.merged_into = "other".to_owned();
            }),
            INTO,
            "FIELD_INVALID",
        ),
        (
            "an actor of kind 99",
            status(|it| it.actor = Some(Actor { kind: 99, id: String::new() })),
            "conversation_status_changed.actor.kind",
            "FIELD_INVALID",
        ),
        (
            "an actor of 129 bytes",
            status(|it| it.actor = Some(Actor { kind: ActorKind::Agent.into(), id: letters(129) })),
            "conversation_status_changed.actor.id",
            "FIELD_TOO_LONG",
        ),
    ]);
}

#[test]
fn an_assignment_that_cannot_be_is_refused_alone() {
    const ASSIGNEE: &str = "conversation_assigned.assignee";
    let nobody = AssigneeKind::Nobody;
    let to = |kind: AssigneeKind| {
        assigned(|it| {
            it.to = kind.into();
            it.assignee.clear();
        })
    };
    check_events(vec![
        (
            "no conversation",
            assigned(|it| it.conversation.clear()),
            "conversation_assigned.conversation",
            "FIELD_REQUIRED",
        ),
        ("to nothing said", assigned(|it| it.to = 0), "conversation_assigned.to", "FIELD_REQUIRED"),
        ("to 5", assigned(|it| it.to = 5), "conversation_assigned.to", "FIELD_INVALID"),
        ("to nobody called ana", assigned(|it| it.to = nobody.into()), ASSIGNEE, "FIELD_INVALID"),
        ("to an agent without a name", to(AssigneeKind::Agent), ASSIGNEE, "FIELD_REQUIRED"),
        ("to a team without a name", to(AssigneeKind::Team), ASSIGNEE, "FIELD_REQUIRED"),
        ("to a bot without a name", to(AssigneeKind::Bot), ASSIGNEE, "FIELD_REQUIRED"),
        ("to 129 bytes", assigned(|it| it.assignee = letters(129)), ASSIGNEE, "FIELD_TOO_LONG"),
        ("a team of 129 bytes", assigned(|it| it.team = letters(129)), "conversation_assigned.team", "FIELD_TOO_LONG"),
        ("reason 6", assigned(|it| it.reason = 6), "conversation_assigned.reason", "FIELD_INVALID"),
    ]);
}

#[test]
fn an_update_that_cannot_be_is_refused_alone() {
    let clear = |names: &[&str]| updated(|it| it.clear = names.iter().map(ToString::to_string).collect());
    let tags = |count: usize, bytes: usize| vec![letters(bytes); count];
    check_events(vec![
        (
            "no conversation",
            updated(|it| it.conversation.clear()),
            "conversation_updated.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a topic of 129 bytes",
            updated(|it| it.set = Some(Dimensions { topic: letters(129), ..Default::default() })),
            "conversation_updated.set.topic",
            "FIELD_TOO_LONG",
        ),
        ("clearing tags", clear(&["tag"]), "conversation_updated.clear", "FIELD_INVALID"),
        ("clearing nothing said", clear(&[""]), "conversation_updated.clear", "FIELD_INVALID"),
        ("clearing eleven", clear(&["team"; 11]), "conversation_updated.clear", "FIELD_TOO_LONG"),
        ("33 tags", updated(|it| it.add_tags = tags(33, 1)), "conversation_updated.add_tags", "FIELD_TOO_LONG"),
        (
            "33 tags fewer",
            updated(|it| it.remove_tags = tags(33, 1)),
            "conversation_updated.remove_tags",
            "FIELD_TOO_LONG",
        ),
        ("an empty tag", updated(|it| it.add_tags = tags(1, 0)), "conversation_updated.add_tags", "FIELD_REQUIRED"),
        (
            "an empty tag less",
            updated(|it| it.remove_tags = tags(1, 0)),
            "conversation_updated.remove_tags",
            "FIELD_REQUIRED",
        ),
        (
            "a tag of 129 bytes",
            updated(|it| it.add_tags = tags(1, 129)),
            "conversation_updated.add_tags",
            "FIELD_TOO_LONG",
        ),
    ]);
}

#[test]
fn a_message_or_score_that_cannot_be_is_refused_alone() {
    let by = |kind: i32, id: String| message(|it| it.actor = Some(Actor { kind, id }));
    check_events(vec![
        ("no conversation", message(|it| it.conversation.clear()), "message_created.conversation", "FIELD_REQUIRED"),
        ("no actor", message(|it| it.actor = None), "message_created.actor", "FIELD_REQUIRED"),
        ("an actor of no kind", by(0, "ana".to_owned()), "message_created.actor.kind", "FIELD_REQUIRED"),
        ("an actor of kind 7", by(7, "ana".to_owned()), "message_created.actor.kind", "FIELD_INVALID"),
        ("an actor of 129 bytes", by(2, letters(129)), "message_created.actor.id", "FIELD_TOO_LONG"),
        ("visibility 3", message(|it| it.visibility = 3), "message_created.visibility", "FIELD_INVALID"),
        ("sentiment 4", message(|it| it.sentiment = 4), "message_created.sentiment", "FIELD_INVALID"),
        (
            "a quick reply of 129 bytes",
            message(|it| it.quick_reply = letters(129)),
            "message_created.quick_reply",
            "FIELD_TOO_LONG",
        ),
        (
            "a score of no conversation",
            scored(|it| it.conversation.clear()),
            "message_sentiment_scored.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a score of no message",
            scored(|it| it.message_event_id.clear()),
            "message_sentiment_scored.message_event_id",
            "FIELD_REQUIRED",
        ),
        (
            "a message's id of 129 bytes",
            scored(|it| it.message_event_id = letters(129)),
            "message_sentiment_scored.message_event_id",
            "FIELD_TOO_LONG",
        ),
        ("no score", scored(|it| it.sentiment = 0), "message_sentiment_scored.sentiment", "FIELD_REQUIRED"),
        ("score 4", scored(|it| it.sentiment = 4), "message_sentiment_scored.sentiment", "FIELD_INVALID"),
    ]);
}

#[test]
fn a_retraction_of_nothing_in_particular_is_refused_alone() {
    const SUBJECT: &str = "event_retracted.subject";
    let of = |kind: subject::Kind| retracted(|it| it.subject = Some(Subject { kind: Some(kind) }));
    check_events(vec![
        ("no subject", retracted(|it| it.subject = None), SUBJECT, "FIELD_REQUIRED"),
        ("a subject of no kind", retracted(|it| it.subject = Some(Subject { kind: None })), SUBJECT, "FIELD_REQUIRED"),
        ("an agent", of(subject::Kind::Agent("ana".to_owned())), SUBJECT, "EVENT_TYPE_UNSUPPORTED"),
        (
            "a conversation without id",
            of(subject::Kind::Conversation(String::new())),
            "event_retracted.subject.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a conversation of 129 bytes",
            of(subject::Kind::Conversation(letters(129))),
            "event_retracted.subject.conversation",
            "FIELD_TOO_LONG",
        ),
        (
            "no source",
            retracted(|it| it.retracted_source.clear()),
            "event_retracted.retracted_source",
            "FIELD_REQUIRED",
        ),
        (
            "a source of 129 bytes",
            retracted(|it| it.retracted_source = letters(129)),
            "event_retracted.retracted_source",
            "FIELD_TOO_LONG",
        ),
        ("no id", retracted(|it| it.retracted_id.clear()), "event_retracted.retracted_id", "FIELD_REQUIRED"),
        (
            "an id of 129 bytes",
            retracted(|it| it.retracted_id = letters(129)),
            "event_retracted.retracted_id",
            "FIELD_TOO_LONG",
        ),
    ]);
}

#[test]
fn events_of_types_that_have_no_meaning_yet_are_refused_alone() {
    let payloads = [
        Payload::LegStateChanged(LegStateChanged { conversation: "case".to_owned(), ..Default::default() }),
        Payload::AgentStateChanged(AgentStateChanged { agent: "ana".to_owned(), ..Default::default() }),
        Payload::AgentScheduleSet(AgentScheduleSet { agent: "ana".to_owned(), ..Default::default() }),
        Payload::AgentEmploymentChanged(AgentEmploymentChanged::default()),
        Payload::SurveySent(SurveySent::default()),
        Payload::SurveyAnswered(SurveyAnswered::default()),
        Payload::ReviewPosted(ReviewPosted::default()),
        Payload::TaskStatusChanged(TaskStatusChanged { task: "t1".to_owned(), ..Default::default() }),
        Payload::CustomerLifecycle(CustomerLifecycle::default()),
        Payload::SelfserviceEnded(SelfserviceEnded::default()),
        Payload::CostRecorded(CostRecorded::default()),
    ];
    let cases = payloads.map(|payload| ("a type without meaning", event(payload), "payload", "EVENT_TYPE_UNSUPPORTED"));
    check_events(cases.into());
}

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

#[test]
fn a_batch_that_is_too_small_or_too_large_is_refused_whole() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let refused = |events: Vec<Event>| {
            let client = client.clone();
            async move { client.try_send(events).await.expect_err("refused") }
        };
        let status = refused(Vec::new()).await;
        assert_refused(&status, Code::InvalidArgument, "BATCH_EMPTY", "events", "an empty batch");
        let numbered = |count: u32| {
            let numbered = |number: u32| opened(|it| it.conversation = number.to_string());
            (0..count).map(numbered).collect::<Vec<_>>()
        };
        let status = refused(numbered(10_001)).await;
        assert_refused(&status, Code::InvalidArgument, "BATCH_TOO_LARGE", "events", "10,001 events");
        assert!(status.message().contains("10000"), "{status:?}");
        let status = refused(vec![any(|it| it.id = letters(16 << 20))]).await;
        assert_refused(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "", "a message of more than 16 MiB");
        assert_eq!(client.figure(ask("acme", "conversations_opened")).await.count, 0, "nothing of them is kept");

        let mut zipped = client.ingest.clone().send_compressed(CompressionEncoding::Gzip);
        let request = IngestEventsRequest { events: vec![any(|it| it.id = letters(64 << 20))] };
        let status = zipped.ingest_events(request).await.expect_err("refused");
        assert_refused(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "", "64 MiB in a small parcel");

        let mut question = ask("acme", "conversations_opened");
        question.0.filter = letters(17 << 20);
        let status = client.ask(question).await.expect_err("refused");
        assert_refused(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "", "a question of 17 MiB");

        let outcome = client.send(numbered(10_000)).await;
        assert_eq!((outcome.accepted, outcome.exceptions.len()), (10_000, 0));
        assert_eq!(client.figure(ask("acme", "conversations_opened")).await.count, 10_000);
    });
}

#[test]
fn a_message_just_below_16_mib_is_accepted_even_when_all_of_it_goes_to_one_partition() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let here: Vec<String> = (0..30_000)
            .map(|number| format!("{number:0128}"))
            .filter(|conversation| deskpulse_core::partition::route("acme", conversation, 3) == 0)
            .take(9_600)
            .collect();
        let long = |conversation: &String| {
            updated(|it| {
                it.conversation.clone_from(conversation);
                it.add_tags = (0..12).map(|tag| format!("{tag:0127}")).collect();
            })
        };
        let request = IngestEventsRequest { events: here.iter().map(long).collect() };
        let size = prost::Message::encoded_len(&request);
        assert!((15 << 20..16 << 20).contains(&size), "{size} bytes");
        let outcome = client.send(request.events).await;
        assert_eq!((outcome.accepted, outcome.exceptions.len()), (9_600, 0));
        let mut received = message(|it| it.conversation.clone_from(&here[0]));
        received.id = "message".to_owned();
        assert_eq!(client.send(vec![received]).await.accepted, 1);
        let rows = client.rows(ask("acme", "messages_received").group_by(&["tag"])).await;
        assert_eq!(rows.len(), 12, "{rows:?}");
    });
}

/// A channel whose requests are changed on their way, as no client of ours would write them.
#[derive(Clone)]
struct Changed {
    channel: Channel,
    path: Option<&'static str>,
    message: Option<&'static str>,
    encoding: Option<&'static str>,
    packed: bool,
}

impl Changed {
    fn new(suite: &Suite) -> Self {
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        Self { channel, path: None, message: None, encoding: None, packed: false }
    }
}

impl Service<http::Request<Body>> for Changed {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(path) = self.path {
            let uri = request.uri().to_string().replace("/deskpulse.v1.IngestService/IngestEvents", path);
            *request.uri_mut() = uri.parse().expect("a URI");
        }
        if let Some(message) = self.message {
            // Whether compressed, then four bytes of length: short texts only, so that all of it is ASCII.
            let length = char::from(u8::try_from(message.len()).expect("short"));
            let packed = char::from(u8::from(self.packed));
            *request.body_mut() = Body::new(format!("{packed}\0\0\0{length}{message}"));
        }
        if let Some(encoding) = self.encoding {
            request.headers_mut().insert("grpc-encoding", http::HeaderValue::from_static(encoding));
        }
        Box::pin(self.channel.call(request))
    }
}

#[test]
fn bytes_that_are_no_message_are_refused_on_every_kind_of_call() {
    let suite = Suite::start();
    run(async {
        for (what, message) in [
            ("a length beyond the end", "\n\x7f"),
            ("field number 0", "\0"),
            ("a wire type that does not exist", "\x0f"),
            ("a group that is never closed", "\x0b"),
            ("a fixed number cut off", "\x79abc"),
        ] {
            let changed = Changed { message: Some(message), ..Changed::new(&suite) };
            let ingest = IngestServiceClient::new(changed.clone()).ingest_events(IngestEventsRequest::default()).await;
            let query = QueryServiceClient::new(changed.clone()).query_metrics(QueryMetricsRequest::default()).await;
            // A stream begins before its first message is read.
            let requests = tokio_stream::iter([StreamEventsRequest::default()]);
            let stream = IngestServiceClient::new(changed).stream_events(requests).await.expect("a stream begins");
            let stream = stream.into_inner().message().await;
            for status in [ingest.expect_err(what), query.expect_err(what), stream.expect_err(what)] {
                assert_refused(&status, Code::InvalidArgument, "MESSAGE_MALFORMED", "", what);
            }
        }
        for (what, message) in [("an event cut off", "\n\x05\n\x10abc"), ("a number for an event", "\x08\x01")] {
            let changed = Changed { message: Some(message), ..Changed::new(&suite) };
            let answer = IngestServiceClient::new(changed).ingest_events(IngestEventsRequest::default()).await;
            let status = answer.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, "MESSAGE_MALFORMED", "", what);
        }
        let changed = Changed { message: Some(""), ..Changed::new(&suite) };
        let status = IngestServiceClient::new(changed).ingest_events(IngestEventsRequest::default()).await;
        let status = status.expect_err("an empty message is an empty batch");
        assert_refused(&status, Code::InvalidArgument, "BATCH_EMPTY", "events", "no bytes");
    });
}

#[test]
fn an_unknown_method_is_refused_with_a_hint_at_reflection() {
    let suite = Suite::start();
    run(async {
        for path in [
            "/deskpulse.v1.IngestService/Ingest",
            "/deskpulse.v1.QueryService/IngestEvents",
            "/deskpulse.v2.IngestService/IngestEvents",
            "/IngestEvents",
            "/",
        ] {
            let changed = Changed { path: Some(path), ..Changed::new(&suite) };
            let answer = IngestServiceClient::new(changed).ingest_events(IngestEventsRequest::default()).await;
            let status = answer.expect_err("refused");
            assert_refused(&status, Code::Unimplemented, "UNKNOWN_METHOD", "", path);
            assert!(status.message().contains("reflection"), "{status:?}");
        }
    });
}

#[test]
fn a_compression_nobody_knows_is_refused_with_those_that_are_known() {
    let suite = Suite::start();
    run(async {
        let changed = Changed { encoding: Some("snappy"), ..Changed::new(&suite) };
        let answer = IngestServiceClient::new(changed).ingest_events(IngestEventsRequest::default()).await;
        let status = answer.expect_err("refused");
        assert_refused(&status, Code::Unimplemented, "NOT_IMPLEMENTED", "", "snappy");
        let known = status.metadata().get("grpc-accept-encoding").expect("those that are known");
        assert_eq!(known, "gzip,zstd,identity");

        // What says it is compressed and is not.
        let changed =
            Changed { message: Some("not gzip"), encoding: Some("gzip"), packed: true, ..Changed::new(&suite) };
        let answer = IngestServiceClient::new(changed).ingest_events(IngestEventsRequest::default()).await;
        assert_refused(&answer.expect_err("refused"), Code::InvalidArgument, "MESSAGE_MALFORMED", "", "not gzip");
    });
}

/// A stream of batches, given as sequence number and number of events; what is acknowledged and how it ends.
async fn stream(client: &Client, name: &str, batches: &[(u64, u32)]) -> (Vec<u64>, Status) {
    let batch = |&(sequence, count): &(u64, u32)| {
        let event = |number: u32| Event { id: format!("{name}-{sequence}-{number}"), ..opened(|_| ()) };
        StreamEventsRequest { sequence, events: (0..count).map(event).collect() }
    };
    let requests: Vec<_> = batches.iter().map(batch).collect();
    let answers = client.ingest.clone().stream_events(tokio_stream::iter(requests)).await.expect("a stream begins");
    let mut answers = answers.into_inner();
    let mut acknowledged = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => acknowledged.push(answer.acknowledged_sequence),
            Ok(None) => return (acknowledged, Status::ok("")),
            Err(status) => return (acknowledged, status),
        }
    }
}

#[test]
fn a_batch_that_fails_ends_its_stream_after_the_good_ones_are_acknowledged() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        for (name, batches, code, reason, field) in [
            ("twice", &[(1, 1), (2, 1), (2, 1), (3, 1)], Code::InvalidArgument, "SEQUENCE_NOT_ASCENDING", "sequence"),
            ("back", &[(7, 1), (9, 1), (8, 1), (10, 1)], Code::InvalidArgument, "SEQUENCE_NOT_ASCENDING", "sequence"),
            ("empty", &[(0, 3), (1, 2), (2, 0), (3, 1)], Code::InvalidArgument, "BATCH_EMPTY", "events"),
            ("large", &[(0, 3), (9, 2), (12, 10_001), (13, 1)], Code::InvalidArgument, "BATCH_TOO_LARGE", "events"),
        ] {
            let (acknowledged, status) = stream(&client, name, batches).await;
            assert_eq!(acknowledged, [batches[0].0, batches[1].0], "{name}");
            assert_refused(&status, code, reason, field, name);
        }
        let (acknowledged, status) = stream(&client, "first", &[(1, 0)]).await;
        assert_eq!(acknowledged, [0; 0]);
        assert_refused(&status, Code::InvalidArgument, "BATCH_EMPTY", "events", "first");
        let last = u64::MAX;
        let (acknowledged, status) = stream(&client, "gaps", &[(0, 1), (5, 1), (last, 1)]).await;
        assert_eq!((acknowledged, status.code()), (vec![0, 5, last], Code::Ok), "gaps are allowed");
        let (acknowledged, status) = stream(&client, "nothing", &[]).await;
        assert_eq!((acknowledged, status.code()), (vec![], Code::Ok));
    });
}

#[test]
fn a_stream_takes_no_message_of_more_than_16_mib() {
    let suite = Suite::start();
    run(async {
        let batches = [vec![opened(|_| ())], vec![any(|it| it.id = letters(16 << 20))]];
        let requests: Vec<_> =
            (1..).zip(batches).map(|(sequence, events)| StreamEventsRequest { sequence, events }).collect();
        let client = suite.client();
        let mut answers =
            client.ingest.clone().stream_events(tokio_stream::iter(requests)).await.expect("begins").into_inner();
        assert_eq!(answers.message().await.expect("good").expect("an answer").acknowledged_sequence, 1);
        let status = answers.message().await.expect_err("refused");
        assert_refused(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "", "a large batch");
    });
}

// Questions.

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
            "business hours",
            changed(|it| it.clock = Clock::Business.into()),
            Code::Unimplemented,
            "NOT_IMPLEMENTED",
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
            ("channel > email", "MALFORMED_FILTER", "position 8"),
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
            ("a long order", question().top(text, 1), INVALID, "FIELD_INVALID", "order_by"),
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

#[test]
fn what_this_version_cannot_do_yet_says_so() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        let mut query = client.query.clone();
        let mut config = ConfigServiceClient::new(channel.clone());
        let mut aggregation = AggregationServiceClient::new(channel);
        let tenant = "acme".to_owned();
        let refusals = [
            ("WatchMetrics", query.watch_metrics(WatchMetricsRequest::default()).await.map(drop)),
            ("ListConversations", query.list_conversations(ListConversationsRequest::default()).await.map(drop)),
            ("WatchAlerts", query.watch_alerts(WatchAlertsRequest::default()).await.map(drop)),
            ("SetTenant", config.set_tenant(SetTenantRequest::default()).await.map(drop)),
            ("GetTenant", config.get_tenant(GetTenantRequest { tenant }).await.map(drop)),
            ("SetCalendar", config.set_calendar(SetCalendarRequest::default()).await.map(drop)),
            ("ListCalendars", config.list_calendars(ListCalendarsRequest::default()).await.map(drop)),
            ("SetSlaPolicy", config.set_sla_policy(SetSlaPolicyRequest::default()).await.map(drop)),
            ("ListSlaPolicies", config.list_sla_policies(ListSlaPoliciesRequest::default()).await.map(drop)),
            ("Watch", aggregation.watch(WatchRequest::default()).await.map(drop)),
        ];
        for (what, answer) in refusals {
            let status = answer.err().unwrap_or_else(|| panic!("{what} is answered"));
            assert_refused(&status, Code::Unimplemented, "NOT_IMPLEMENTED", "", what);
        }
    });
}

#[test]
fn the_doors_between_services_refuse_as_the_public_ones_do() {
    let suite = Suite::start();
    run(async {
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        let mut log = LogServiceClient::new(channel.clone());
        let read = |partition, from_position_inclusive| ReadRequest { partition, from_position_inclusive, log_id: 0 };
        for (what, request) in [("partition 3 of 3", read(3, 1)), ("a position beyond the head", read(0, 9))] {
            let status = log.read(request).await.expect_err(what);
            assert_refused(&status, Code::OutOfRange, "NO_SUCH_POSITION", "", what);
        }
        let report = ReportAppliedRequest { partition: 3, ..Default::default() };
        let status = log.report_applied(tokio_stream::iter([report])).await.expect_err("refused");
        assert_refused(&status, Code::OutOfRange, "NO_SUCH_POSITION", "partition", "a report on partition 3 of 3");

        let mut aggregation = AggregationServiceClient::new(channel);
        let part = |measure: &str, reduction: Reduction| CollectPart {
            measures: vec![measure.to_owned()],
            reduction: reduction.into(),
            at_most: Vec::new(),
        };
        let good = CollectRequest {
            tenant: "acme".to_owned(),
            parts: Vec::new(),
            bounds_ms: vec![0, 1],
            buckets: vec![0],
            ..Default::default()
        };
        for (what, request, reason, field) in [
            (
                "no reduction",
                CollectRequest { parts: vec![part("opened", Reduction::Unspecified)], ..good.clone() },
                "FIELD_REQUIRED",
                "parts.reduction",
            ),
            (
                "an unknown measure",
                CollectRequest { parts: vec![part("nothing", Reduction::Count)], ..good.clone() },
                "UNKNOWN_METRIC",
                "parts.measures",
            ),
            ("a filter", CollectRequest { filter: "(".to_owned(), ..good.clone() }, "MALFORMED_FILTER", "filter"),
            (
                "a dimension",
                CollectRequest { group_by: vec!["hour".to_owned()], ..good.clone() },
                "UNKNOWN_DIMENSION",
                "group_by",
            ),
            ("no bounds", CollectRequest { bounds_ms: vec![], ..good.clone() }, "INVALID_RANGE", "bounds_ms"),
            (
                "bounds that fall",
                CollectRequest { bounds_ms: vec![1, 0], ..good.clone() },
                "INVALID_RANGE",
                "bounds_ms",
            ),
        ] {
            let status = aggregation.collect(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        aggregation.collect(good).await.expect("a good one is answered");
    });
}
