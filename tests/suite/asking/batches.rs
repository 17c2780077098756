//! Several questions at once: in one request, and on a stream.

use deskpulse_edge::fault;
use deskpulse_proto::v1::query_outcome::Outcome;
use deskpulse_proto::v1::{
    BatchQueryMetricsRequest, MetricSelection, QueryMetricsRequest, QueryMetricsResponse, QueryOutcome,
    StreamQueryMetricsRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{conversations, events, filled, fortnight, selection, week, whole};
use crate::harness::{Client, Random, Suite, assert_refused, run, timestamp};

async fn batch(client: &Client, queries: Vec<QueryMetricsRequest>) -> Result<Vec<QueryOutcome>, Status> {
    let answered = client.query.clone().batch_query_metrics(BatchQueryMetricsRequest { queries }).await?;
    Ok(answered.into_inner().outcomes)
}

fn answer(outcome: QueryOutcome) -> Result<QueryMetricsResponse, Status> {
    match outcome.outcome.expect("one of the two") {
        Outcome::Answer(answer) => Ok(answer),
        Outcome::Error(error) => Err(fault::status(&error)),
    }
}

/// Questions of every kind: rows, totals, the top and others, pages, an earlier period, another tenant, all tenants.
fn kinds() -> Vec<QueryMetricsRequest> {
    let week = week(&["first_response_time", "conversations_opened"]);
    let end_time = Some(timestamp("2026-06-20T00:00:00Z"));
    let first_weeks = QueryMetricsRequest { end_time, interval: String::new(), ..week.clone() };
    vec![
        week.clone(),
        QueryMetricsRequest { totals: true, fill_gaps: true, ..week.clone() },
        QueryMetricsRequest { top: 2, others: true, order_by: "-count".to_owned(), ..week.clone() },
        QueryMetricsRequest { top: 1, order_by: "count".to_owned(), ..first_weeks.clone() },
        QueryMetricsRequest { compare_to: "1w".to_owned(), ..week.clone() },
        QueryMetricsRequest { tenant: "other".to_owned(), ..week.clone() },
        QueryMetricsRequest { tenant: "-".to_owned(), ..first_weeks },
        QueryMetricsRequest { tenant: "nobody".to_owned(), ..week },
    ]
}

#[test]
fn an_answer_too_long_for_a_message_is_refused_and_says_what_to_do() {
    let (suite, made) = fortnight(23);
    run(async {
        let client = filled(&suite, &made).await;
        let percentiles = (0..100).map(f64::from).collect();
        let at_most = (1..=100).map(|seconds| prost_types::Duration { seconds, nanos: 0 }).collect();
        let metric = MetricSelection { percentiles, at_most, histogram: true, ..selection("first_response_time") };
        // Some 70 KB a row.
        let long = QueryMetricsRequest {
            tenant: "-".to_owned(),
            end_time: Some(timestamp("2026-06-20T00:00:00Z")),
            metrics: vec![metric; 20],
            interval: "1h".to_owned(),
            group_by: vec!["team".to_owned(), "tag".to_owned()],
            ..week(&["first_response_time"])
        };
        let sorted = QueryMetricsRequest { order_by: "count".to_owned(), fill_gaps: true, ..long.clone() };
        for question in [&long, &sorted] {
            let answered = client.query.clone().query_metrics(question.clone()).await;
            let refused = answered.map(|answer| answer.get_ref().rows.len()).expect_err("too long");
            assert_refused(&refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "", "an answer too long");
            assert!(refused.message().contains("ask for fewer rows"), "{}", refused.message());
        }
        let paged = QueryMetricsRequest { page_size: 10, ..long };
        assert_eq!(whole(&client, &paged).await.rows.len(), 10);
    });
}

#[test]
fn each_question_of_a_batch_is_answered_as_if_it_came_alone_and_a_bad_one_keeps_none_from_its_answer() {
    let (suite, made) = fortnight(21);
    run(async {
        let client = filled(&suite, &made).await;
        let good = kinds();
        let mut queries = good.clone();
        let unknown = QueryMetricsRequest { metrics: vec![selection("happiness")], ..good[0].clone() };
        let bottomless = QueryMetricsRequest { top: 3, order_by: "group".to_owned(), ..good[0].clone() };
        queries.insert(2, unknown.clone());
        queries.push(bottomless.clone());
        let mut outcomes = batch(&client, queries).await.expect("answered").into_iter().map(answer);
        for (number, question) in good.iter().enumerate() {
            if number == 2 {
                let status = outcomes.next().expect("one each").expect_err("there is no such metric");
                assert_refused(&status, Code::InvalidArgument, "UNKNOWN_METRIC", "metrics[0].name", "in a batch");
                let alone = client.query.clone().query_metrics(unknown.clone()).await.expect_err("refused");
                assert_eq!(status.details(), alone.details());
            }
            let mut together = outcomes.next().expect("one each").expect("answered");
            let mut alone = whole(&client, question).await;
            let has_rows = question.tenant != "nobody";
            assert_eq!(!together.rows.is_empty(), has_rows, "question {number}");
            let freshness = [&mut together, &mut alone].map(|answer| answer.freshness.take().expect("always"));
            assert_eq!(freshness[0].positions, freshness[1].positions);
            assert_eq!(together, alone, "question {number}");
        }
        let status = outcomes.next().expect("one each").expect_err("no top without figures");
        assert_refused(&status, Code::InvalidArgument, "NOT_APPLICABLE", "top", "in a batch");
        assert!(outcomes.next().is_none());

        // Only bad ones, and none at all, and too many.
        let outcomes = batch(&client, vec![unknown, bottomless]).await.expect("answered");
        assert_eq!(outcomes.into_iter().map(answer).filter(Result::is_err).count(), 2);
        let status = batch(&client, Vec::new()).await.expect_err("nothing to answer");
        assert_refused(&status, Code::InvalidArgument, "FIELD_REQUIRED", "queries", "no questions");
        let status = batch(&client, vec![good[0].clone(); 101]).await.expect_err("too many");
        assert_refused(&status, Code::InvalidArgument, "FIELD_TOO_LONG", "queries", "101 questions");
        assert_eq!(batch(&client, vec![good[0].clone(); 100]).await.expect("answered").len(), 100);
    });
}

#[test]
fn pages_go_on_in_a_batch_each_of_its_own_moment() {
    let (suite, made) = fortnight(22);
    run(async {
        let client = filled(&suite, &made).await;
        let question = week(&["first_response_time"]);
        let all = whole(&client, &question).await.rows;
        let page = |token: String| QueryMetricsRequest { page_size: 10, page_token: token, ..question.clone() };
        let ranked = QueryMetricsRequest { top: 2, order_by: "-count".to_owned(), ..question.clone() };
        // The first page beside a question that is asked in two steps, which keeps a moment, too.
        let mut outcomes = batch(&client, vec![page(String::new()), ranked]).await.expect("answered").into_iter();
        let first = answer(outcomes.next().expect("two")).expect("answered");
        assert!(answer(outcomes.next().expect("two")).is_ok());
        client.send(events(&conversations(&mut Random(23), 200), "more")).await;
        let now = whole(&client, &question).await.rows;
        let (mut rows, mut token) = (first.rows, first.next_page_token);
        while !token.is_empty() {
            let outcomes = batch(&client, vec![question.clone(), page(token)]).await.expect("answered");
            let [present, next]: [QueryOutcome; 2] = outcomes.try_into().expect("two");
            assert_eq!(answer(present).expect("answered").rows, now);
            let next = answer(next).expect("the moment is kept");
            rows.extend(next.rows);
            token = next.next_page_token;
        }
        assert_eq!(rows, all);
        assert_ne!(now, all, "more has come in");
    });
}

#[test]
fn what_is_asked_together_agrees_while_more_comes_in() {
    let suite = Suite::start();
    let made = conversations(&mut Random(24), 3_000);
    run(async {
        let client = suite.client();
        let sender = client.clone();
        let sending = tokio::spawn(async move {
            for batch in events(&made, "c").chunks(40) {
                sender.send(batch.to_vec()).await;
            }
        });
        // A card, a table and a curve.
        let table = QueryMetricsRequest { interval: String::new(), ..week(&["conversations_opened"]) };
        let card = QueryMetricsRequest { group_by: Vec::new(), ..table.clone() };
        let curve = QueryMetricsRequest { group_by: Vec::new(), ..week(&["conversations_opened"]) };
        let mut seen = Vec::new();
        while !sending.is_finished() {
            let outcomes = batch(&client, vec![card.clone(), table.clone(), curve.clone()]).await.expect("answered");
            let answers = outcomes.into_iter().map(|outcome| answer(outcome).expect("answered"));
            let counted = answers.map(|answer| answer.rows.iter().map(|row| row.values[0].count).sum::<u64>());
            let counted: Vec<u64> = counted.collect();
            assert!(counted.iter().all(|count| *count == counted[0]), "{counted:?}");
            assert!(seen.last().is_none_or(|before| *before <= counted[0]), "what was counted is gone");
            seen.push(counted[0]);
        }
        sending.await.expect("no panic");
        seen.dedup();
        assert!(seen.len() > 2, "the questions came too late");
    });
}

#[test]
fn a_stream_answers_every_batch_under_its_number() {
    let (mut suite, made) = fortnight(25);
    run(async {
        let client = filled(&suite, &made).await;
        let kinds = kinds();
        let mut alone = Vec::new();
        for question in &kinds {
            alone.push(whole(&client, question).await.rows);
        }
        let (sender, requests) = mpsc::channel(1_000);
        let answered = client.query.clone().stream_query_metrics(ReceiverStream::new(requests)).await;
        let mut answers = answered.expect("a stream").into_inner();
        let batches: Vec<Vec<usize>> = {
            let mut random = Random(26);
            (0..400).map(|_| (0..=random.below(4)).map(|_| random.below(kinds.len())).collect()).collect()
        };
        for (sequence, batch) in (7..).zip(&batches) {
            let queries = batch.iter().map(|kind| kinds[*kind].clone()).collect();
            sender.send(StreamQueryMetricsRequest { sequence, queries }).await.expect("it listens");
        }
        let mut open: Vec<bool> = vec![true; batches.len()];
        for _ in &batches {
            let message = answers.message().await.expect("no error").expect("one for each");
            let number = usize::try_from(message.sequence - 7).expect("small");
            assert!(std::mem::take(&mut open[number]), "{number} is answered twice");
            let rows = message.outcomes.into_iter().map(|outcome| answer(outcome).expect("answered").rows);
            let expected = batches[number].iter().map(|kind| &alone[*kind]);
            assert!(rows.eq(expected.cloned()), "batch {number}");
        }

        // A question that cannot be answered ends nothing, a batch of none does.
        let unknown = QueryMetricsRequest { metrics: vec![selection("happiness")], ..kinds[0].clone() };
        let queries = vec![unknown, kinds[5].clone()];
        sender.send(StreamQueryMetricsRequest { sequence: 1, queries }).await.expect("it listens");
        let message = answers.message().await.expect("no error").expect("an answer");
        let outcomes: Vec<bool> = message.outcomes.into_iter().map(|outcome| answer(outcome).is_ok()).collect();
        assert_eq!(outcomes, [false, true]);
        sender.send(StreamQueryMetricsRequest { sequence: 2, queries: Vec::new() }).await.expect("it listens");
        let status = answers.message().await.expect_err("nothing to answer");
        assert_refused(&status, Code::InvalidArgument, "FIELD_REQUIRED", "queries", "no questions");

        // Who closes its side gets what it is owed and an end; when the service goes down, an end that says so.
        let request = StreamQueryMetricsRequest { sequence: 3, queries: vec![kinds[0].clone()] };
        let once = client.query.clone().stream_query_metrics(tokio_stream::once(request)).await;
        let mut answers = once.expect("a stream").into_inner();
        assert_eq!(answers.message().await.expect("no error").expect("an answer").sequence, 3);
        assert!(answers.message().await.expect("no error").is_none());
        let (_sender, requests) = mpsc::channel(1);
        let kept = client.query.clone().stream_query_metrics(ReceiverStream::new(requests)).await;
        let mut answers = kept.expect("a stream").into_inner();
        suite.process().terminate("-TERM");
        let status = answers.message().await.expect_err("it goes down");
        assert_refused(&status, Code::Unavailable, "DRAINING", "", "a stream when the service goes down");
    });
}

#[test]
fn who_is_too_much_for_a_batch_leaves_room_for_those_after_it() {
    let (suite, made) = fortnight(27);
    run(async {
        let client = filled(&suite, &made).await;
        // A level has a row for every minute: 60,480 of them, of which one is returned.
        let minutes = QueryMetricsRequest {
            interval: "1m".to_owned(),
            end_time: Some(timestamp("2026-07-13T00:00:00Z")),
            limit: 1,
            group_by: Vec::new(),
            ..week(&["backlog"])
        };
        let small = QueryMetricsRequest { interval: String::new(), ..week(&["conversations_opened"]) };
        let alone = whole(&client, &minutes).await;
        assert_eq!((alone.total_rows, alone.rows.len()), (60_480, 1));
        let outcomes =
            batch(&client, vec![small.clone(), minutes.clone(), minutes, small.clone()]).await.expect("answered");
        let [first, second, third, fourth]: [QueryOutcome; 4] = outcomes.try_into().expect("four");
        assert!(answer(first).is_ok());
        assert_eq!(answer(second).expect("answered").rows, alone.rows);
        let status = answer(third).expect_err("the second of many rows");
        assert_refused(&status, Code::ResourceExhausted, "TOO_MANY_ROWS", "", "the second of many rows");
        assert_eq!(answer(fourth).expect("there is room").rows, whole(&client, &small).await.rows);
    });
}

#[test]
fn questions_of_a_batch_up_to_now_mean_the_same_now() {
    let (suite, made) = fortnight(28);
    run(async {
        let client = filled(&suite, &made).await;
        let open = QueryMetricsRequest { end_time: None, time_zone: String::new(), ..week(&["conversations_opened"]) };
        // The second and third have to look their tenants' time zones up.
        let card = QueryMetricsRequest { interval: String::new(), group_by: Vec::new(), ..open.clone() };
        let other = QueryMetricsRequest { tenant: "other".to_owned(), ..open.clone() };
        let outcomes = batch(&client, vec![card.clone(), open, other, card]).await.expect("answered");
        let answers: Vec<_> = outcomes.into_iter().map(|outcome| answer(outcome).expect("answered")).collect();
        let nows: Vec<_> =
            answers.iter().map(|answer| answer.freshness.as_ref().expect("always").answer_time).collect();
        assert!(nows[0].is_some() && nows.iter().all(|now| *now == nows[0]), "{nows:?}");
        let end = |answer: &QueryMetricsResponse| {
            answer.rows.iter().map(|row| row.interval_end).max_by_key(|end| end.map(|end| (end.seconds, end.nanos)))
        };
        assert_eq!(end(&answers[0]), end(&answers[3]));
    });
}

#[test]
fn pages_with_gaps_filled_or_beside_an_earlier_period_are_of_one_moment() {
    let (suite, made) = fortnight(29);
    run(async {
        let client = filled(&suite, &made).await;
        // Few rows are collected, more are answered.
        let filter = "team = \"fawn\"".to_owned();
        let gaps = QueryMetricsRequest {
            fill_gaps: true,
            interval: "1h".to_owned(),
            filter,
            ..week(&["conversations_opened"])
        };
        let compared = QueryMetricsRequest { compare_to: "1w".to_owned(), ..week(&["conversations_opened"]) };
        for (number, question) in [gaps, compared].into_iter().enumerate() {
            let all = whole(&client, &question).await.rows;
            let mut page = QueryMetricsRequest { page_size: 40, ..question };
            let mut pages = Vec::new();
            loop {
                let answer = whole(&client, &page).await;
                pages.extend(answer.rows);
                let more = conversations(&mut Random(30), 300);
                client.send(events(&more, &format!("more{number}-{}-", pages.len()))).await;
                if answer.next_page_token.is_empty() {
                    break;
                }
                page.page_token = answer.next_page_token;
            }
            assert!(pages.len() > 40 || number == 1, "{} rows are one page", pages.len());
            assert_eq!(pages, all);
        }
    });
}
