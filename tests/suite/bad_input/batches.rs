//! Batches and streams.

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    AssigneeKind, ConversationAssigned, Event, IngestEventsRequest, StreamEventsRequest, SurveyAnswered, SurveyKind,
    SurveySent,
};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use super::{any, event, letters, message, opened, updated};
use crate::harness::{Client, Suite, ask, assert_refused, group, run, timestamp};

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
            .filter(|conversation| home(SubjectKind::Conversation, conversation) == 0)
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

#[test]
fn a_message_just_below_16_mib_is_accepted_even_when_all_its_events_mention_a_conversation_of_their_partition() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let about = (0..99).map(|number| format!("{number:0128}")).find(|it| home(SubjectKind::Conversation, it) == 0);
        let about = about.expect("one of three");
        let here: Vec<String> = (0..90_000)
            .map(|number| format!("{number:0128}"))
            .filter(|survey| home(SubjectKind::Survey, survey) == 0)
            .take(9_000)
            .collect();
        let long = |survey: &String| Event {
            id: survey.clone(),
            source: letters(128),
            attributes: (0..8).map(|name| (format!("{name:064}"), letters(70))).collect(),
            ..event(Payload::SurveySent(SurveySent {
                survey: survey.clone(),
                kind: SurveyKind::Csat.into(),
                conversation: about.clone(),
                agent: letters(128),
                ..Default::default()
            }))
        };
        let request = IngestEventsRequest { events: here.iter().map(long).collect() };
        let size = prost::Message::encoded_len(&request);
        assert!((15 << 20..16 << 20).contains(&size), "{size} bytes");
        let outcome = client.send(request.events.clone()).await;
        assert_eq!((outcome.accepted, outcome.exceptions.len()), (9_000, 0));
        // Once more: each is a duplicate, whether the verdict came in time the first time or not.
        let known = client.send(request.events.into_iter().take(100).collect()).await;
        assert_eq!((known.accepted, known.duplicates + known.unverified), (known.unverified, 100), "{known:?}");
    });
}

#[test]
fn a_refused_event_lends_the_accepted_one_nothing() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        client.settle().await;
        let at = |minute: u32, id: &str, payload: Payload| Event {
            id: id.to_owned(),
            time: Some(timestamp(&format!("2026-06-01T09:{minute:02}:00Z"))),
            ..event(payload)
        };
        let assigned = |agent: &str| {
            Payload::ConversationAssigned(ConversationAssigned {
                conversation: "c1".to_owned(),
                to: AssigneeKind::Agent.into(),
                assignee: agent.to_owned(),
                ..Default::default()
            })
        };
        let sent = || {
            Payload::SurveySent(SurveySent {
                survey: "s1".to_owned(),
                kind: SurveyKind::Csat.into(),
                conversation: "c1".to_owned(),
                ..Default::default()
            })
        };
        let answered = Payload::SurveyAnswered(SurveyAnswered {
            survey: "s1".to_owned(),
            kind: SurveyKind::Csat.into(),
            score: Some(5),
            ..Default::default()
        });
        client.send(vec![at(0, "1", assigned("ada")), at(30, "2", assigned("bob"))]).await;
        assert_eq!(client.send(vec![at(10, "sent", sent())]).await.accepted, 1);
        // The same id at another time: refused, whatever the conversation had become by then.
        let outcome = client.send(vec![at(40, "sent", sent())]).await;
        assert_eq!((outcome.rejected, outcome.exceptions[0].reason.as_str()), (1, "CONFLICTING_ID"), "{outcome:?}");
        client.send(vec![at(50, "3", answered)]).await;
        let rows = client.rows(ask("acme", "csat_score").group_by(&["agent"])).await;
        assert_eq!(rows.iter().map(group).collect::<Vec<_>>(), [["ada"]]);
    });
}

/// The partition of three that an id of the tenant `acme` belongs to.
fn home(kind: SubjectKind, id: &str) -> u32 {
    deskpulse_core::subject::route("acme", SubjectRef { kind, id }, 3)
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
