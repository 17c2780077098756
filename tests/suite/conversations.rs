//! The conversations behind a figure.

use std::collections::HashSet;

use deskpulse_cli::generate::Week;
use deskpulse_core::kpi::{CATALOGUE, Metric};
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    ActorKind, Basis, Clock, ConversationFigure, ConversationOpened, ConversationUpdated, Event,
    ListConversationsRequest, ListConversationsResponse, MessageCreated, MetricSelection, MetricValue,
    SetSlaPolicyRequest, SlaPolicy, SlaTarget, SlaTargetKind, SurveyAnswered, SurveyKind, SurveySent, Unit,
};
use tonic::{Code, Status};

use crate::harness::{Client, Question, Suite, ask, assert_refused, run, timestamp};

const WEEK: Week = Week { seed: 12, start: jiff::Timestamp::constant(1_767_571_200, 0), conversations: 500 };

fn selection(name: &str) -> MetricSelection {
    let within = (name == "response_rate").then_some(prost_types::Duration { seconds: 600, nanos: 0 });
    MetricSelection { name: name.to_owned(), within, ..Default::default() }
}

/// Everybody of the week.
fn wanted(name: &str) -> ListConversationsRequest {
    ListConversationsRequest {
        tenant: "demo".to_owned(),
        metric: Some(selection(name)),
        start_time: Some(timestamp(&WEEK.start.to_string())),
        end_time: Some(timestamp(&WEEK.end().to_string())),
        page_size: 1_000,
        ..Default::default()
    }
}

async fn list(client: &Client, request: &ListConversationsRequest) -> Result<ListConversationsResponse, Status> {
    Ok(client.query.clone().list_conversations(request.clone()).await?.into_inner())
}

/// All pages, of so many each.
async fn pages(client: &Client, request: &ListConversationsRequest, size: i32) -> Vec<ConversationFigure> {
    let mut request = ListConversationsRequest { page_size: size, ..request.clone() };
    let mut all = Vec::new();
    loop {
        let page = list(client, &request).await.expect("a page");
        assert!(page.conversations.len() <= usize::try_from(size).expect("positive"));
        all.extend(page.conversations);
        if page.next_page_token.is_empty() {
            assert_eq!(page.total_size, all.len() as u64);
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

async fn policy(suite: &Suite, tenant: &str) {
    let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
    let hour = |hours: i64| Some(prost_types::Duration { seconds: hours * 3_600, nanos: 0 });
    let target = |kind: SlaTargetKind, hours: i64| SlaTarget {
        kind: kind.into(),
        at_most: hour(hours),
        warning_lead: hour(1),
        ..Default::default()
    };
    let policy = SlaPolicy {
        policy: "gold".to_owned(),
        effective_from: Some(timestamp("2026-01-01T00:00:00Z")),
        targets: vec![target(SlaTargetKind::FirstResponse, 2), target(SlaTargetKind::Resolution, 48)],
        ..Default::default()
    };
    let request = SetSlaPolicyRequest { tenant: tenant.to_owned(), policy: Some(policy) };
    ConfigServiceClient::new(channel).set_sla_policy(request).await.expect("the policy is kept");
}

async fn with_week(suite: &Suite) -> Client {
    let client = suite.client();
    policy(suite, "demo").await;
    for batch in WEEK.events().collect::<Vec<_>>().chunks(1_000) {
        assert_eq!(client.send(batch.to_vec()).await.rejected, 0);
    }
    client
}

fn metrics() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().flat_map(|family| family.metrics)
}

/// The same figure, asked as a figure.
async fn figure(client: &Client, request: &ListConversationsRequest, basis: Basis) -> MetricValue {
    let mut question: Question = ask("demo", "").basis(basis);
    question.0.metrics = vec![request.metric.clone().expect("a metric")];
    question.0.start_time = request.start_time;
    question.0.end_time = request.end_time;
    question.0.filter.clone_from(&request.filter);
    client.figure(question).await
}

#[test]
fn as_many_conversations_are_listed_as_were_counted() {
    let suite = Suite::start();
    run(async {
        let client = with_week(&suite).await;
        let (mut listed, mut refused) = (Vec::new(), Vec::new());
        for metric in metrics() {
            for (basis, _) in metric.bases {
                let basis = match basis {
                    deskpulse_core::kpi::Basis::Event => Basis::Event,
                    deskpulse_core::kpi::Basis::Cohort => Basis::Cohort,
                    deskpulse_core::kpi::Basis::AsOf => Basis::AsOf,
                };
                for filter in ["", "channel = \"email\" AND NOT team = \"billing\""] {
                    let mut request = ListConversationsRequest {
                        basis: basis.into(),
                        filter: filter.to_owned(),
                        ..wanted(metric.name)
                    };
                    if metric.has_currency() {
                        request.metric.as_mut().expect("a metric").currency = "EUR".to_owned();
                    }
                    let answer = match list(&client, &request).await {
                        Ok(answer) => answer,
                        Err(status) => {
                            assert_refused(
                                &status,
                                Code::InvalidArgument,
                                "NOT_APPLICABLE",
                                "metric.name",
                                metric.name,
                            );
                            refused.push(metric.name);
                            continue;
                        }
                    };
                    listed.push(metric.name);
                    let figure = figure(&client, &request, basis).await;
                    let counted = match figure.numerator {
                        // These have a number of replies, or of points, above the line.
                        Some(_) if ["replies_per_resolution", "nps", "enps"].contains(&metric.name) => figure.count,
                        Some(numerator) => numerator.unsigned_abs(),
                        None => figure.count,
                    };
                    // These count customers, and a list their conversations; the week has no surveys and reviews.
                    if !["customers_served", "throughput"].contains(&metric.name) {
                        assert_eq!(answer.total_size, counted, "{} {basis:?} {filter:?}", metric.name);
                    }
                    assert!(answer.conversations.iter().all(|it| it.time.is_some()));
                }
            }
        }
        refused.dedup();
        let known: HashSet<&str> = listed.into_iter().collect();
        for name in ["first_response_time", "sla_breaches", "backlog", "csat_mean", "first_contact_resolution_rate"] {
            assert!(known.contains(name), "{name}");
        }
        for name in ["online_time", "occupancy", "tasks_assigned", "cost_total", "net_flow", "conflicting_ids"] {
            assert!(refused.contains(&name), "{name}: {refused:?}");
        }
    });
}

#[test]
fn the_slowest_come_first_page_by_page() {
    let suite = Suite::start();
    run(async {
        let client = with_week(&suite).await;
        let request = wanted("reply_time");
        let all = pages(&client, &request, 1_000).await;
        assert!(all.len() > 300, "{}", all.len());
        let values: Vec<i64> = all.iter().filter_map(|it| it.value).collect();
        assert!(values.is_sorted_by(|a, b| a >= b) && values.len() == all.len());
        let figure = figure(&client, &request, Basis::Event).await;
        assert_eq!((values.first().copied(), values.last().copied()), (figure.max, figure.min));
        assert_eq!(Some(values.iter().sum()), figure.sum);
        for it in &all {
            let length = |from: &prost_types::Timestamp, to: &prost_types::Timestamp| {
                (to.seconds - from.seconds) * 1_000 + i64::from(to.nanos - from.nanos) / 1_000_000
            };
            let (start, end) = (it.start_time.as_ref().expect("a start"), it.time.as_ref().expect("a time"));
            assert_eq!(Some(length(start, end)), it.value);
            assert!(it.subject.is_empty() && it.dimensions.contains_key("channel"), "{it:?}");
        }
        // The same list in small pages, though more comes in meanwhile.
        let small = pages(&client, &request, 37).await;
        assert_eq!(small, all);
        let by_time = ListConversationsRequest { order_by: "time".to_owned(), ..request.clone() };
        let by_time = pages(&client, &by_time, 50).await;
        assert!(by_time.is_sorted_by_key(|it| it.time.as_ref().map(|time| (time.seconds, time.nanos))));
        assert_eq!(by_time.len(), all.len());
        let fastest = ListConversationsRequest { order_by: "value asc".to_owned(), ..request.clone() };
        let status = list(&client, &fastest).await.expect_err("refused");
        assert_refused(&status, Code::InvalidArgument, "FIELD_INVALID", "order_by", "another order");
        let fastest = ListConversationsRequest { order_by: "value".to_owned(), page_size: 1, ..request.clone() };
        let fastest = list(&client, &fastest).await.expect("a page");
        assert_eq!((fastest.conversations[0].value, fastest.total_size), (figure.min, all.len() as u64));
        assert_eq!(
            (fastest.unit(), fastest.basis(), fastest.clock()),
            (Unit::Milliseconds, Basis::Event, Clock::Calendar)
        );
        assert!(fastest.freshness.expect("always").complete_until.is_some());
        // A level counts conversations; what is said of each is how long it has lasted.
        for (name, unit) in [
            ("backlog", Unit::Milliseconds),
            ("unanswered_conversations", Unit::Milliseconds),
            ("longest_wait", Unit::Milliseconds),
            ("conversations_opened", Unit::Count),
        ] {
            let metric = Some(MetricSelection { name: name.to_owned(), ..Default::default() });
            let listed = ListConversationsRequest { metric, page_size: 1, basis: 0, clock: 0, ..request.clone() };
            assert_eq!(list(&client, &listed).await.expect("a page").unit(), unit, "{name}");
        }
        // Between two pages, with what arrives in between left out of the later ones.
        let first = ListConversationsRequest { page_size: 10, ..wanted("conversations_opened") };
        let first_page = list(&client, &first).await.expect("a page");
        let opened = |number: u32| Event {
            id: format!("late{number}"),
            source: "test".to_owned(),
            tenant: "demo".to_owned(),
            time: Some(timestamp(&WEEK.start.to_string())),
            payload: Some(Payload::ConversationOpened(ConversationOpened {
                conversation: format!("late{number}"),
                ..Default::default()
            })),
            ..Default::default()
        };
        client.send((0..20).map(opened).collect()).await;
        let next =
            ListConversationsRequest { page_token: first_page.next_page_token, page_size: 1_000, ..first.clone() };
        let next = list(&client, &next).await.expect("a page");
        assert_eq!((next.total_size, next.conversations.len()), (first_page.total_size, 490));
        assert!(next.conversations.iter().all(|it| !it.conversation.starts_with("late")));
        assert_eq!(list(&client, &first).await.expect("a page").total_size, first_page.total_size + 20);
    });
}

#[test]
fn what_is_open_breached_or_at_risk_is_listed_as_of_an_instant() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        policy(&suite, "acme").await;
        let event = |id: &str, time: &str, payload: Payload| Event {
            id: id.to_owned(),
            source: "test".to_owned(),
            tenant: "acme".to_owned(),
            time: Some(timestamp(time)),
            payload: Some(payload),
            ..Default::default()
        };
        let opened = |conversation: &str, time: &str| {
            let opened = ConversationOpened { conversation: conversation.to_owned(), ..Default::default() };
            event(conversation, time, Payload::ConversationOpened(opened))
        };
        client.send(vec![opened("old", "2026-06-01T08:00:00Z"), opened("new", "2026-06-01T09:30:00Z")]).await;
        let at = |metric: &str, time: &str| ListConversationsRequest {
            tenant: "acme".to_owned(),
            metric: Some(MetricSelection { name: metric.to_owned(), ..Default::default() }),
            end_time: Some(timestamp(time)),
            ..Default::default()
        };
        let seen = async |metric: &str, time: &str| -> Vec<(String, Option<i64>)> {
            let answer = list(&client, &at(metric, time)).await.expect("a list");
            answer.conversations.into_iter().map(|it| (it.conversation, it.value.map(|ms| ms / 60_000))).collect()
        };
        let minutes = |list: &[(&str, i64)]| -> Vec<(String, Option<i64>)> {
            list.iter().map(|(conversation, minutes)| ((*conversation).to_owned(), Some(*minutes))).collect()
        };
        assert_eq!(seen("backlog_age", "2026-06-01T08:30:00Z").await, minutes(&[("old", 30)]));
        assert_eq!(seen("backlog_age", "2026-06-01T09:45:00Z").await, minutes(&[("old", 105), ("new", 15)]));
        assert_eq!(
            seen("unanswered_conversations", "2026-06-01T09:45:00Z").await,
            minutes(&[("old", 105), ("new", 15)])
        );
        // The target of two hours is at risk in its last hour.
        assert_eq!(seen("sla_at_risk", "2026-06-01T09:45:00Z").await, minutes(&[("old", 15)]));
        assert_eq!(seen("sla_at_risk", "2026-06-01T11:00:00Z").await, minutes(&[("new", 30)]));
        let risk = list(&client, &at("sla_at_risk", "2026-06-01T11:00:00Z")).await.expect("a list");
        assert_eq!(risk.conversations[0].deadline, Some(timestamp("2026-06-01T11:30:00Z")));
        let breached = list(&client, &at("sla_breaches", "2026-06-01T12:00:00Z")).await.expect("a list");
        let told: Vec<(&str, Option<prost_types::Timestamp>)> =
            breached.conversations.iter().map(|it| (it.conversation.as_str(), it.time)).collect();
        let instant = |text: &str| Some(timestamp(text));
        assert_eq!(told, [("new", instant("2026-06-01T11:30:00Z")), ("old", instant("2026-06-01T10:00:00Z"))]);
        let policies =
            |it: &ConversationFigure| (it.dimensions["sla_policy"].clone(), it.dimensions["sla_target"].clone());
        assert!(breached.conversations.iter().all(|it| policies(it) == ("gold".into(), "first_response".into())));
    });
}

#[test]
fn what_happens_to_a_conversation_several_times_at_once_is_listed_each_time() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let time = Some(timestamp("2026-01-06T10:00:00Z"));
        let event = |id: &str, payload: Payload| Event {
            id: id.to_owned(),
            source: "test".to_owned(),
            tenant: "demo".to_owned(),
            time,
            payload: Some(payload),
            ..Default::default()
        };
        let message = |id: &str| {
            let actor = Some(deskpulse_proto::v1::Actor { kind: ActorKind::Customer.into(), id: String::new() });
            let message = MessageCreated { conversation: "c1".to_owned(), actor, ..Default::default() };
            event(id, Payload::MessageCreated(message))
        };
        let tags = ["bug", "odd", "vip"].map(str::to_owned).to_vec();
        let tagged = ConversationUpdated { conversation: "c1".to_owned(), add_tags: tags, ..Default::default() };
        let mut events = vec![event("tagged", Payload::ConversationUpdated(tagged))];
        events.extend((0..5).map(|number| message(&format!("m{number}"))));
        client.send(events).await;
        // Some tell them apart by their tag, some nothing tells apart; pages end between them.
        for (metric, times) in [("tags_added", 3), ("messages_received", 5)] {
            for size in [1, 2, 1_000] {
                let all = pages(&client, &wanted(metric), size).await;
                assert_eq!(all.len(), times, "{metric} in pages of {size}");
            }
        }
        let tags: HashSet<Vec<String>> =
            pages(&client, &wanted("tags_added"), 1).await.into_iter().map(|it| it.tags).collect();
        assert_eq!(tags.len(), 3);
    });
}

#[test]
fn a_survey_is_listed_with_its_conversation() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let event = |id: String, minute: u32, payload: Payload| Event {
            id,
            source: "test".to_owned(),
            tenant: "demo".to_owned(),
            time: Some(timestamp(&format!("2026-01-06T10:{minute:02}:00Z"))),
            payload: Some(payload),
            ..Default::default()
        };
        let mut events = Vec::new();
        for number in 0..40 {
            // Every fifth names no conversation.
            let conversation = if number % 5 == 0 { String::new() } else { format!("c{number}") };
            let survey = format!("s{number}");
            let team = ["billing", "sales"][number % 2].to_owned();
            if !conversation.is_empty() {
                let dimensions = Some(deskpulse_proto::v1::Dimensions { team, ..Default::default() });
                let opened =
                    ConversationOpened { conversation: conversation.clone(), dimensions, ..Default::default() };
                events.push(event(format!("{survey}-opened"), 0, Payload::ConversationOpened(opened)));
            }
            let kind = SurveyKind::Csat.into();
            let sent = SurveySent { survey: survey.clone(), kind, conversation, ..Default::default() };
            events.push(event(format!("{survey}-sent"), 10, Payload::SurveySent(sent)));
            let score = i32::try_from(number % 5 + 1).ok();
            let answered = SurveyAnswered { survey: survey.clone(), kind, score, ..Default::default() };
            events.push(event(format!("{survey}-answered"), 20, Payload::SurveyAnswered(answered)));
        }
        client.send(events).await;
        let request = ListConversationsRequest { order_by: "value".to_owned(), ..wanted("csat_mean") };
        let all = pages(&client, &request, 7).await;
        assert_eq!(all.len(), 40);
        assert!(all.is_sorted_by_key(|it| it.value));
        for it in &all {
            let number: usize = it.subject.trim_start_matches('s').parse().expect("a survey's number");
            assert_eq!(it.value, i64::try_from(number % 5 + 1).ok(), "{it:?}");
            let named = !number.is_multiple_of(5);
            assert_eq!(it.conversation, if named { format!("c{number}") } else { String::new() });
            let team = named.then(|| ["billing", "sales"][number % 2].to_owned());
            assert_eq!(it.dimensions.get("team"), team.as_ref(), "{it:?}");
        }
        let bad = ListConversationsRequest { filter: "team = sales".to_owned(), ..wanted("csat_score") };
        let bad = list(&client, &bad).await.expect("a list");
        assert_eq!((bad.total_size, bad.unit()), (16, Unit::Ratio));
        assert_eq!(bad.conversations.iter().filter(|it| it.value == Some(1)).count(), 8);
    });
}

#[test]
fn a_list_that_cannot_be_made_names_the_field_at_fault() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let of = |change: fn(&mut ListConversationsRequest)| {
            let mut request = wanted("first_response_time");
            change(&mut request);
            request
        };
        let metric = |change: fn(&mut MetricSelection)| {
            let mut request = wanted("first_response_time");
            change(request.metric.as_mut().expect("a metric"));
            request
        };
        for (what, request, reason, field) in [
            ("nothing", ListConversationsRequest::default(), "FIELD_REQUIRED", "tenant"),
            ("all tenants", of(|it| "-".clone_into(&mut it.tenant)), "NOT_APPLICABLE", "tenant"),
            ("no metric", of(|it| it.metric = None), "FIELD_REQUIRED", "metric"),
            ("an unknown metric", metric(|it| "speed".clone_into(&mut it.name)), "UNKNOWN_METRIC", "metric.name"),
            ("percentiles", metric(|it| it.percentiles = vec![50.0]), "NOT_APPLICABLE", "metric.percentiles"),
            ("a histogram", metric(|it| it.histogram = true), "NOT_APPLICABLE", "metric.histogram"),
            (
                "shares",
                metric(|it| it.at_most.push(prost_types::Duration::default())),
                "NOT_APPLICABLE",
                "metric.at_most",
            ),
            ("a filter", of(|it| "team =".clone_into(&mut it.filter)), "MALFORMED_FILTER", "filter"),
            ("a dimension", of(|it| "colour = red".clone_into(&mut it.filter)), "UNKNOWN_DIMENSION", "filter"),
            ("an empty range", of(|it| it.start_time = it.end_time), "INVALID_RANGE", "end_time"),
            ("a page of -1", of(|it| it.page_size = -1), "FIELD_INVALID", "page_size"),
            ("a token", of(|it| "next".clone_into(&mut it.page_token)), "FIELD_INVALID", "page_token"),
            ("an order", of(|it| "team".clone_into(&mut it.order_by)), "FIELD_INVALID", "order_by"),
            ("a basis", of(|it| it.basis = Basis::AsOf.into()), "NOT_APPLICABLE", "basis"),
            ("clock 9", of(|it| it.clock = 9), "FIELD_INVALID", "clock"),
        ] {
            let status = list(&client, &request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        let nobody = list(&client, &wanted("first_response_time")).await.expect("a list");
        assert_eq!((nobody.conversations.len(), nobody.total_size, nobody.next_page_token.as_str()), (0, 0, ""));
    });
}
