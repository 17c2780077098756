//! Calls as no client of ours would make them, doors that are not there, and the doors between services.

use std::task::{Context, Poll};

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_proto::v1::aggregation_service_client::AggregationServiceClient;
use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    AppendConfigRequest, CollectPart, CollectPlan, CollectRequest, Collection, ConfigChange, Event, EventBlock,
    GroupKey, GroupSelection, GroupValue, IngestEventsRequest, QueryMetricsRequest, ReadRequest, Reduction,
    ReportAppliedRequest, StreamEventsRequest, Tenant,
};
use prost::Message as _;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Channel;

use super::{answered, cost, lifecycle, review, sent};
use crate::harness::{Suite, assert_refused, run};

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
        let nothing = ConfigChange { tenant: "acme".to_owned(), change: None };
        let nobody = ConfigChange { tenant: String::new(), change: Some(Change::Settings(Tenant::default())) };
        for (what, change, field) in [
            ("no change", None, "change"),
            ("a change of nothing", Some(nothing), "change"),
            ("a change of nobody", Some(nobody), "change.tenant"),
        ] {
            let status = log.append_config(AppendConfigRequest { change }).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, "FIELD_REQUIRED", field, what);
        }

        let mut aggregation = AggregationServiceClient::new(channel);
        let part = |measure: &str, reduction: Reduction| CollectPart {
            measures: vec![measure.to_owned()],
            reduction: reduction.into(),
            ..Default::default()
        };
        let good = CollectPlan { bounds_ms: vec![0, 1], buckets: vec![0], ..Default::default() };
        let collection =
            |plans: Vec<CollectPlan>| Collection { tenant: "acme".to_owned(), plans, ..Default::default() };
        let collect = |plans: Vec<CollectPlan>| CollectRequest { moment: 0, collections: vec![collection(plans)] };
        let team =
            || GroupSelection { groups: vec![GroupKey { values: vec![GroupValue { value: None }] }], others: true };
        for (what, plan, reason, field) in [
            (
                "no reduction",
                CollectPlan { parts: vec![part("opened", Reduction::Unspecified)], ..good.clone() },
                "FIELD_REQUIRED",
                "parts.reduction",
            ),
            (
                "an unknown measure",
                CollectPlan { parts: vec![part("nothing", Reduction::Count)], ..good.clone() },
                "UNKNOWN_METRIC",
                "parts.measures",
            ),
            ("a filter", CollectPlan { filter: "(".to_owned(), ..good.clone() }, "MALFORMED_FILTER", "filter"),
            (
                "a dimension",
                CollectPlan { group_by: vec!["hour".to_owned()], ..good.clone() },
                "UNKNOWN_DIMENSION",
                "group_by",
            ),
            ("no bounds", CollectPlan { bounds_ms: vec![], ..good.clone() }, "INVALID_RANGE", "bounds_ms"),
            ("bounds that fall", CollectPlan { bounds_ms: vec![1, 0], ..good.clone() }, "INVALID_RANGE", "bounds_ms"),
            ("groups of nothing", CollectPlan { only: Some(team()), ..good.clone() }, "FIELD_INVALID", "only"),
        ] {
            let status = aggregation.collect(collect(vec![plan])).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        for (what, plans) in [("no plans", 0), ("17 plans", 17)] {
            let status = aggregation.collect(collect(vec![good.clone(); plans])).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, "FIELD_INVALID", "plans", what);
        }
        for (what, collections) in [("no collections", 0), ("101 collections", 101)] {
            let request = CollectRequest { moment: 0, collections: vec![collection(vec![good.clone()]); collections] };
            let status = aggregation.collect(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, "FIELD_INVALID", "collections", what);
        }
        let gone = CollectRequest { moment: 1, ..collect(vec![good.clone()]) };
        let status = aggregation.collect(gone).await.expect_err("refused");
        assert_refused(&status, Code::FailedPrecondition, "PAGE_EXPIRED", "", "a moment nobody pinned");
        aggregation.collect(collect(vec![good])).await.expect("a good one is answered");
    });
}

#[test]
fn an_event_lives_where_its_subject_does_and_a_copy_where_the_conversation_it_mentions_does() {
    let suite = Suite::start();
    run(async {
        let home = |kind: SubjectKind, id: &str| deskpulse_core::subject::route("acme", SubjectRef { kind, id }, 3);
        let named = |number: usize, payload: Event| Event { id: format!("event-{number}"), ..payload };
        let mut events = Vec::new();
        for number in 0..30 {
            let conversation = format!("c{}", number % 5);
            events.push(match number % 6 {
                0 => sent(|it| it.conversation = conversation),
                1 => answered(|it| it.conversation = conversation),
                2 => review(|it| it.conversation = conversation),
                3 => lifecycle(|it| it.conversation = conversation),
                4 => sent(|it| it.conversation.clear()),
                _ => cost(|it| it.conversation = conversation),
            });
        }
        let events: Vec<Event> = events.into_iter().enumerate().map(|(number, event)| named(number, event)).collect();
        let outcome = suite.client().send(events.clone()).await;
        assert_eq!((outcome.accepted, outcome.exceptions.len()), (30, 0));

        let (mut own, mut mentions) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        for event in events {
            let (kind, id, mentioned) = match event.payload.as_ref().expect("a payload") {
                Payload::SurveySent(it) => (SubjectKind::Survey, &it.survey, &it.conversation),
                Payload::SurveyAnswered(it) => (SubjectKind::Survey, &it.survey, &it.conversation),
                Payload::ReviewPosted(it) => (SubjectKind::Review, &it.review, &it.conversation),
                Payload::CustomerLifecycle(it) => (SubjectKind::Customer, &it.customer, &it.conversation),
                Payload::CostRecorded(it) => (SubjectKind::Conversation, &it.conversation, &it.team),
                other => panic!("{other:?}"),
            };
            if !mentioned.is_empty() {
                mentions[home(SubjectKind::Conversation, mentioned) as usize].push(event.clone());
            }
            own[home(kind, id) as usize].push(event);
        }
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        let mut log = LogServiceClient::new(channel);
        for partition in 0..3 {
            let request = ReadRequest { partition, from_position_inclusive: 1, log_id: 0 };
            let mut blocks = log.read(request).await.expect("a reader").into_inner();
            let block = blocks.message().await.expect("a block").expect("one a partition");
            let block = EventBlock::decode(block.block.as_slice()).expect("a block");
            assert_eq!(block.events, own[partition as usize], "partition {partition}");
            assert_eq!(block.mentions, mentions[partition as usize], "partition {partition}");
        }
    });
}
