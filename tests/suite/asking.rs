//! Questions in full: totals, top and others, earlier periods, pages, gaps, orders, histograms, all tenants.

#[path = "asking/batches.rs"]
mod batches;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deskpulse_core::kpi::CATALOGUE;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, ConversationOpened, ConversationUpdated, Dimensions, Event, MessageCreated, MetricRow,
    MetricSelection, MetricValue, QueryMetricsRequest, QueryMetricsResponse,
};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use tonic::Code;

use crate::harness::{Client, Question, Random, Suite, ask, assert_refused, group, run, timestamp};

const DAY_S: i64 = 86_400;
const TEAMS: [&str; 6] = ["amber", "blue", "coral", "dun", "ecru", "fawn"];
const TAGS: [&str; 5] = ["vip", "bug", "slow", "new", "odd"];

/// A conversation of a made-up fortnight.
struct Made {
    tenant: &'static str,
    opened_s: i64,
    team: &'static str,
    tags: Vec<&'static str>,
    /// The first reply's delay, in milliseconds.
    reply_ms: Option<i64>,
}

impl Made {
    fn replied_before(&self, instant_s: i64) -> bool {
        self.reply_ms.is_some_and(|reply_ms| self.opened_s * 1_000 + reply_ms < instant_s * 1_000)
    }
}

fn first_instant() -> i64 {
    timestamp("2026-06-01T00:00:00Z").seconds
}

/// Conversations of two tenants over two weeks, with hours in which nothing happens.
fn conversations(random: &mut Random, count: usize) -> Vec<Made> {
    let mut conversation = || {
        // The first teams have more.
        let team = TEAMS[random.below(6).min(random.below(6))];
        let tags = TAGS.iter().copied().filter(|_| random.below(4) == 0).collect();
        let opened_s = first_instant() + i64::try_from(random.below(14 * 86_400)).expect("small") / 7_200 * 7_200;
        let reply_ms = (random.below(5) > 0).then(|| 1 + i64::try_from(random.below(3_000_000)).expect("small"));
        Made { tenant: if random.below(4) == 0 { "other" } else { "acme" }, opened_s, team, tags, reply_ms }
    };
    (0..count).map(|_| conversation()).collect()
}

fn events(made: &[Made], prefix: &str) -> Vec<Event> {
    let at = |ms: i64| {
        let nanos = i32::try_from(ms.rem_euclid(1_000)).expect("small") * 1_000_000;
        Some(prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos })
    };
    let mut events = Vec::new();
    for (number, it) in made.iter().enumerate() {
        let conversation = format!("{prefix}{number}");
        let event = |what: &str, ms: i64, payload| Event {
            id: format!("{conversation}-{what}"),
            source: "asking".to_owned(),
            tenant: it.tenant.to_owned(),
            time: at(ms),
            payload: Some(payload),
            ..Default::default()
        };
        let opened_ms = it.opened_s * 1_000;
        let opened = ConversationOpened {
            conversation: conversation.clone(),
            customer: format!("customer-{}", number % 40),
            dimensions: Some(Dimensions { team: it.team.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let tagged = ConversationUpdated {
            conversation: conversation.clone(),
            add_tags: it.tags.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        events.push(event("opened", opened_ms, Payload::ConversationOpened(opened)));
        if !it.tags.is_empty() {
            events.push(event("tagged", opened_ms, Payload::ConversationUpdated(tagged)));
        }
        if let Some(reply_ms) = it.reply_ms {
            let reply = MessageCreated {
                conversation: conversation.clone(),
                actor: Some(Actor { kind: ActorKind::Agent.into(), id: format!("agent-{}", number % 7) }),
                ..Default::default()
            };
            events.push(event("reply", opened_ms + reply_ms, Payload::MessageCreated(reply)));
        }
    }
    events
}

/// A suite and a fortnight for it.
fn fortnight(seed: u64) -> (Suite, Vec<Made>) {
    (Suite::start(), conversations(&mut Random(seed), 1_500))
}

/// A client of a suite that holds all that.
async fn filled(suite: &Suite, made: &[Made]) -> Client {
    let client = suite.client();
    for batch in events(made, "c").chunks(1_000) {
        assert_eq!(client.send(batch.to_vec()).await.rejected, 0);
    }
    client
}

fn selection(name: &str) -> MetricSelection {
    MetricSelection { name: name.to_owned(), ..Default::default() }
}

/// The first week, by team and day, of some metrics.
fn week(metrics: &[&str]) -> QueryMetricsRequest {
    let question = ask("acme", metrics[0]).from("2026-06-01T00:00:00Z").to("2026-06-08T00:00:00Z");
    let question = question.every("1d", "UTC").group_by(&["team"]);
    QueryMetricsRequest { metrics: metrics.iter().map(|name| selection(name)).collect(), ..question.0 }
}

async fn whole(client: &Client, request: &QueryMetricsRequest) -> QueryMetricsResponse {
    client.query.clone().query_metrics(request.clone()).await.expect("the question is answered").into_inner()
}

/// Rows without what differs where the same is asked otherwise.
fn plain(rows: &[MetricRow]) -> Vec<MetricRow> {
    rows.iter().map(|row| MetricRow { earlier: None, ..row.clone() }).collect()
}

#[test]
fn totals_are_what_a_question_without_groups_or_intervals_gets() {
    let (suite, made) = fortnight(1);
    run(async {
        let client = filled(&suite, &made).await;
        for metrics in CATALOGUE.iter().flat_map(|family| family.metrics).collect::<Vec<_>>().chunks(20) {
            let names: Vec<&str> = metrics.iter().map(|it| it.name).filter(|name| !name.starts_with("cost_")).collect();
            let asked = [&["team"][..], &["tag"], &["tag", "team"]].into_iter().filter(|_| !names.is_empty());
            for group_by in asked {
                let group_by: Vec<String> = group_by.iter().map(ToString::to_string).collect();
                let request = QueryMetricsRequest { totals: true, group_by, ..week(&names) };
                let all = whole(&client, &request).await;
                let no_totals = QueryMetricsRequest { totals: false, ..request.clone() };
                let by_group =
                    whole(&client, &QueryMetricsRequest { interval: String::new(), ..no_totals.clone() }).await;
                let ungrouped =
                    QueryMetricsRequest { interval: String::new(), group_by: Vec::new(), ..no_totals.clone() };
                assert_eq!(all.rows, whole(&client, &no_totals).await.rows);
                assert_eq!(all.group_totals, by_group.rows, "{names:?}");
                let total = all.total.expect("asked for");
                let expected = whole(&client, &ungrouped).await.rows.remove(0);
                assert_eq!(total.values, expected.values, "{names:?}");
                assert_eq!((all.time_zone.as_str(), by_group.time_zone.as_str()), ("UTC", ""));
            }
        }
    });
}

#[test]
fn many_intervals_over_many_days_are_what_some_days_of_them_come_to() {
    const DAYS: i64 = 14;
    const AT_ONCE: i64 = 3;
    let (suite, made) = fortnight(27);
    let at = |day: i64| Some(prost_types::Timestamp { seconds: first_instant() + day * DAY_S, nanos: 0 });
    run(async {
        let client = filled(&suite, &made).await;
        let mut filled = 0;
        for metric in CATALOGUE.iter().flat_map(|family| family.metrics).filter(|it| !it.name.starts_with("cost_")) {
            let by_half_hour = QueryMetricsRequest {
                interval: "30m".to_owned(),
                time_zone: "Asia/Kolkata".to_owned(),
                end_time: at(DAYS),
                totals: true,
                ..week(&[metric.name])
            };
            let key = |row: &MetricRow| (row.interval_start.map(|start| start.seconds), group(row));
            let by_key =
                |rows: Vec<MetricRow>| rows.into_iter().map(|row| (key(&row), row)).collect::<BTreeMap<_, _>>();
            let all = whole(&client, &by_half_hour).await;
            let mut some_days = BTreeMap::new();
            for from in (0..DAYS).filter(|day| day % AT_ONCE == 0) {
                let (start_time, end_time) = (at(from), at(DAYS.min(from + AT_ONCE)));
                let question = QueryMetricsRequest { start_time, end_time, totals: false, ..by_half_hour.clone() };
                some_days.extend(by_key(whole(&client, &question).await.rows));
            }
            filled += usize::from(!all.rows.is_empty());
            assert_eq!(by_key(all.rows), some_days, "{}", metric.name);
            let as_one = QueryMetricsRequest { interval: String::new(), totals: false, ..by_half_hour };
            assert_eq!(all.group_totals, whole(&client, &as_one).await.rows, "{}", metric.name);
        }
        assert!(filled >= 20, "{filled} metrics have rows");
    });
}

#[test]
fn very_many_rows_are_each_there_once_in_order_whole_or_in_pages() {
    // More than are worked out before all are there.
    const COUNT: usize = 14 * 1_440;
    const PAGE: i32 = 7_000;
    let (suite, mut random) = (Suite::start(), Random(31));
    let mut conversation = |minute: usize| Made {
        tenant: "acme",
        opened_s: first_instant() + i64::try_from(minute).expect("small") * 60,
        team: TEAMS[random.below(6)],
        tags: Vec::new(),
        reply_ms: None,
    };
    let made: Vec<Made> = (0..COUNT).map(&mut conversation).collect();
    let mut expected: Vec<(String, i64)> = made.iter().map(|it| (it.team.to_owned(), it.opened_s)).collect();
    expected.sort_unstable();
    run(async {
        let client = filled(&suite, &made).await;
        let by_minute = QueryMetricsRequest {
            interval: "1m".to_owned(),
            group_by: vec!["team".to_owned()],
            end_time: Some(prost_types::Timestamp { seconds: first_instant() + 14 * DAY_S, nanos: 0 }),
            ..week(&["conversations_opened"])
        };
        let key = |row: &MetricRow| (group(row)[0].clone(), row.interval_start.expect("it is cut").seconds);
        let all = whole(&client, &by_minute).await;
        assert!(all.rows.iter().all(|row| row.values[0].count == 1));
        assert_eq!(all.rows.iter().map(key).collect::<Vec<_>>(), expected);
        let mut paged = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = QueryMetricsRequest { page_size: PAGE, page_token, ..by_minute.clone() };
            let page = whole(&client, &page).await;
            paged.extend(page.rows);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all.rows);
        let latest_first = QueryMetricsRequest { order_by: "time desc".to_owned(), ..by_minute };
        expected.sort_unstable_by_key(|(_, opened_s)| -opened_s);
        let rows = whole(&client, &latest_first).await.rows;
        assert_eq!(rows.iter().map(key).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn the_groups_of_an_answer_add_up_to_its_total_while_more_comes_in() {
    let suite = Suite::start();
    let made = conversations(&mut Random(2), 3_000);
    run(async {
        let client = suite.client();
        let sender = client.clone();
        let sending = tokio::spawn(async move {
            for batch in events(&made, "c").chunks(40) {
                sender.send(batch.to_vec()).await;
            }
        });
        let names = ["conversations_opened", "first_response_time", "backlog", "response_rate"];
        let request = QueryMetricsRequest {
            totals: true,
            top: 2,
            others: true,
            order_by: "-count".to_owned(),
            end_time: Some(timestamp("2026-06-20T00:00:00Z")),
            ..week(&names)
        };
        let mut before = 0;
        let mut seen_growing = 0;
        while !sending.is_finished() {
            let answer = whole(&client, &request).await;
            let total = answer.total.expect("asked for");
            let sum = |rows: &[MetricRow], metric: usize| rows.iter().map(|row| row.values[metric].count).sum::<u64>();
            // A backlog is a level: its days do not add up, its groups do.
            for (metric, name) in names.iter().enumerate().filter(|(_, name)| **name != "backlog") {
                assert_eq!(sum(&answer.rows, metric), total.values[metric].count, "{name}");
            }
            for (metric, name) in names.iter().enumerate() {
                assert_eq!(sum(&answer.group_totals, metric), total.values[metric].count, "{name}");
            }
            assert!(total.values[0].count >= before, "what was counted is gone");
            seen_growing += u32::from(total.values[0].count > before);
            before = total.values[0].count;
        }
        sending.await.expect("no panic");
        assert!(seen_growing > 1, "the questions came too late");
    });
}

#[test]
fn many_who_ask_for_the_top_at_once_do_not_push_each_other_out() {
    let (suite, made) = fortnight(31);
    run(async {
        let client = filled(&suite, &made).await;
        let request = QueryMetricsRequest { top: 2, order_by: "-value".to_owned(), ..week(&["conversations_opened"]) };
        let alone = whole(&client, &request).await;
        // More than there once was room for.
        let asking: Vec<_> = (0..300)
            .map(|_| {
                let (client, request) = (client.clone(), request.clone());
                tokio::spawn(async move { whole(&client, &request).await.rows })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.expect("answered"), alone.rows);
        }
        // Nor do first pages.
        let mut tokens = Vec::new();
        for _ in 0..100 {
            let page = QueryMetricsRequest { page_size: 1, ..request.clone() };
            tokens.push(whole(&client, &page).await.next_page_token);
        }
        for page_token in tokens {
            let page = QueryMetricsRequest { page_size: 1, page_token, ..request.clone() };
            assert_eq!(whole(&client, &page).await.rows, alone.rows[1..2]);
        }
    });
}

#[test]
fn the_top_groups_are_told_apart_and_the_others_counted_as_one() {
    let (suite, made) = fortnight(3);
    // First replies of the first week, under the tags of their conversations.
    let first_week = |it: &&Made| it.tenant == "acme" && it.replied_before(first_instant() + 7 * DAY_S);
    // What each set of tags stands for: conversations with two tags belong to two groups.
    let of_tag = |tag: Option<&str>| {
        let has = |it: &&Made| tag.map_or(it.tags.is_empty(), |tag| it.tags.contains(&tag));
        made.iter().filter(first_week).filter(has).count() as u64
    };
    let mut ranked: Vec<(u64, Option<&str>)> =
        TAGS.iter().map(|tag| Some(*tag)).chain([None]).map(|tag| (of_tag(tag), tag)).collect();
    ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    run(async {
        let client = filled(&suite, &made).await;
        for top in [1, 3, 5, 6, 7] {
            let request = QueryMetricsRequest {
                top: u32::try_from(top).expect("small"),
                others: true,
                order_by: "first_response_time.count desc".to_owned(),
                group_by: vec!["tag".to_owned()],
                interval: String::new(),
                totals: true,
                ..week(&["first_response_time"])
            };
            let answer = whole(&client, &request).await;
            let (rest, told): (Vec<_>, Vec<_>) = answer.rows.iter().partition(|row| row.others);
            let told: Vec<(u64, String)> = told.iter().map(|row| (row.values[0].count, group(row).concat())).collect();
            let name = |tag: Option<&str>| tag.unwrap_or("-").to_owned();
            let expected: Vec<(u64, String)> =
                ranked.iter().take(top).map(|(count, tag)| (*count, name(*tag))).collect();
            assert_eq!(told, expected, "top {top}");
            // Once each, though they may have several of the other tags.
            let others: BTreeSet<Option<&str>> = ranked.iter().skip(top).map(|(_, tag)| *tag).collect();
            let is_other = |it: &&Made| match it.tags.as_slice() {
                [] => others.contains(&None),
                tags => tags.iter().any(|tag| others.contains(&Some(*tag))),
            };
            let expected = made.iter().filter(first_week).filter(is_other).count() as u64;
            let counted: Vec<u64> = rest.iter().map(|row| row.values[0].count).collect();
            assert_eq!(counted, if expected > 0 { vec![expected] } else { Vec::new() }, "others beside top {top}");
            assert!(rest.iter().all(|row| group(row) == ["-"]));

            // Without the others, whole and cut short.
            let alone = QueryMetricsRequest { others: false, ..request.clone() };
            for limit in [0, 1, 2, 9] {
                let few = if limit == 0 { told.len() } else { told.len().min(limit as usize) };
                let answer = whole(&client, &QueryMetricsRequest { limit, ..alone.clone() }).await;
                let rows: Vec<(u64, String)> =
                    answer.rows.iter().map(|row| (row.values[0].count, group(row).concat())).collect();
                assert_eq!(rows, told[..few], "top {top}, limit {limit}");
                assert_eq!(answer.total_rows as usize, told.len());
                assert!(answer.total.is_some(), "of everything, not of the top");
                let mut page = QueryMetricsRequest { limit, page_size: 2, ..alone.clone() };
                let mut paged = Vec::new();
                for _ in 0..=told.len() {
                    let answer = whole(&client, &page).await;
                    paged.extend(answer.rows);
                    page.page_token = answer.next_page_token;
                    if page.page_token.is_empty() {
                        break;
                    }
                }
                assert_eq!(paged, answer.rows, "top {top}, limit {limit}, in pages");
            }

            let daily = QueryMetricsRequest { interval: "1d".to_owned(), ..request.clone() };
            let daily = whole(&client, &daily).await;
            let mut sums: BTreeMap<(bool, String), u64> = BTreeMap::new();
            for row in &daily.rows {
                *sums.entry((row.others, group(row).concat())).or_default() += row.values[0].count;
            }
            let all: BTreeMap<_, _> =
                answer.rows.iter().map(|row| ((row.others, group(row).concat()), row.values[0].count)).collect();
            assert_eq!(sums, all, "day by day");
            assert_eq!(daily.group_totals.len(), answer.rows.len());

            let without = QueryMetricsRequest { others: false, ..request };
            let without = whole(&client, &without).await;
            let kept: Vec<MetricRow> = answer.rows.iter().filter(|row| !row.others).cloned().collect();
            assert_eq!((without.rows, without.total), (kept, answer.total));
        }
    });
}

/// Whether figures say that anything happened.
fn are_something(values: &[MetricValue]) -> bool {
    values.iter().any(|value| value.count > 0 || value.value.is_some_and(|value| value != 0.0))
}

#[test]
fn an_earlier_period_stands_beside_each_row() {
    let (suite, made) = fortnight(4);
    run(async {
        let client = filled(&suite, &made).await;
        let second_week = QueryMetricsRequest {
            start_time: Some(timestamp("2026-06-08T00:00:00Z")),
            end_time: Some(timestamp("2026-06-15T00:00:00Z")),
            totals: true,
            ..week(&["first_response_time", "unanswered_conversations", "customers_served"])
        };
        let first = whole(
            &client,
            &QueryMetricsRequest {
                totals: true,
                ..week(&["first_response_time", "unanswered_conversations", "customers_served"])
            },
        )
        .await;
        let second = whole(&client, &second_week).await;
        for shift in ["previous", "1w"] {
            let compared = QueryMetricsRequest { compare_to: shift.to_owned(), ..second_week.clone() };
            let compared = whole(&client, &compared).await;
            let with_samples = |rows: &[MetricRow]| -> Vec<MetricRow> {
                plain(rows).into_iter().filter(|row| row.values.iter().any(|value| value.count > 0)).collect()
            };
            assert_eq!(with_samples(&compared.rows), with_samples(&second.rows));
            assert_eq!(plain(&compared.group_totals), second.group_totals);
            let earlier = |rows: &[MetricRow]| -> HashMap<(Vec<String>, i64), Vec<MetricValue>> {
                let of = |row: &MetricRow| {
                    let earlier = row.earlier.clone()?;
                    let start = earlier.interval_start.expect("an interval");
                    // A week apart, to the second.
                    let here = row.interval_start.expect("an interval");
                    assert_eq!(here.seconds - start.seconds, 7 * DAY_S);
                    Some(((group(row), start.seconds), earlier.values)).filter(|(_, values)| are_something(values))
                };
                rows.iter().filter_map(of).collect()
            };
            let expected = |rows: &[MetricRow]| -> HashMap<(Vec<String>, i64), Vec<MetricValue>> {
                let start = |row: &MetricRow| row.interval_start.expect("an interval").seconds;
                let rows = rows.iter().filter(|row| are_something(&row.values));
                rows.map(|row| ((group(row), start(row)), row.values.clone())).collect()
            };
            assert!(compared.rows.iter().all(|row| row.earlier.is_some()), "nothing then is said, too");
            assert_eq!(earlier(&compared.rows), expected(&first.rows), "{shift}");
            assert_eq!(earlier(&compared.group_totals), expected(&first.group_totals));
            assert_eq!(
                compared.total.expect("asked for").earlier.expect("asked for").values,
                first.total.clone().expect("asked for").values
            );
        }
        // June has 30 days, May 31: its last one stands in the totals only.
        let june = QueryMetricsRequest {
            start_time: Some(timestamp("2026-07-01T00:00:00Z")),
            end_time: Some(timestamp("2026-08-01T00:00:00Z")),
            compare_to: "1mo".to_owned(),
            fill_gaps: true,
            group_by: Vec::new(),
            totals: true,
            ..week(&["conversations_opened"])
        };
        let answer = whole(&client, &june).await;
        assert_eq!(answer.rows.len(), 31);
        assert_eq!(answer.rows.iter().filter(|row| row.earlier.is_some()).count(), 30, "June has 30 days");
        let earlier: u64 = answer.rows.iter().filter_map(|row| Some(row.earlier.as_ref()?.values[0].count)).sum();
        let total = answer.total.expect("asked for");
        assert_eq!((total.values[0].count, total.earlier.expect("asked for").values[0].count), (0, earlier));
        assert!(earlier > 0);
    });
}

#[test]
fn pages_are_of_one_moment_whatever_comes_in_between() {
    let (suite, made) = fortnight(5);
    run(async {
        let client = filled(&suite, &made).await;
        let request = QueryMetricsRequest {
            order_by: "first_response_time.p90 desc, count".to_owned(),
            metrics: vec![MetricSelection { percentiles: vec![50.0, 90.0], ..selection("first_response_time") }],
            totals: true,
            ..week(&["first_response_time"])
        };
        let all = whole(&client, &request).await;
        assert!(all.rows.len() > 30 && all.next_page_token.is_empty());
        let mut more = Random(6);
        let mut pages = Vec::new();
        let mut page = QueryMetricsRequest { page_size: 7, ..request.clone() };
        loop {
            let answer = whole(&client, &page).await;
            assert_eq!(answer.total_rows, all.total_rows);
            assert_eq!(answer.total.is_some(), pages.is_empty(), "totals on the first page only");
            pages.extend(answer.rows);
            client.send(events(&conversations(&mut more, 20), &format!("more{}-", pages.len()))).await;
            if answer.next_page_token.is_empty() {
                break;
            }
            page.page_token = answer.next_page_token;
            page.page_size += 1;
        }
        assert_eq!(pages, all.rows);
        assert_ne!(whole(&client, &request).await.rows, all.rows, "more has come in");

        // A page that is all there is has no next one, and a limit ends the last one.
        let limited = QueryMetricsRequest { limit: 9, page_size: 9, ..request.clone() };
        let limited = whole(&client, &limited).await;
        assert_eq!((limited.rows.len(), limited.next_page_token.as_str()), (9, ""));

        let first = whole(&client, &QueryMetricsRequest { page_size: 5, ..request.clone() }).await;
        let token = first.next_page_token;
        let other =
            QueryMetricsRequest { page_token: token.clone(), filter: "team = \"blue\"".to_owned(), ..request.clone() };
        for (what, bad) in [
            ("another question's token", other),
            ("half a token", QueryMetricsRequest { page_token: token[..20].to_owned(), ..request.clone() }),
            ("a token of letters", QueryMetricsRequest { page_token: "é".repeat(40), ..request.clone() }),
        ] {
            let status = client.query.clone().query_metrics(bad).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, "FIELD_INVALID", "page_token", what);
        }
        let mut suite = suite;
        suite.kill_and_restart();
        let late = QueryMetricsRequest { page_size: 5, page_token: token, ..request };
        let client = suite.client();
        client.settle().await;
        let status = client.query.clone().query_metrics(late).await.expect_err("a page after a restart");
        assert_refused(&status, Code::FailedPrecondition, "PAGE_EXPIRED", "", "a page after a restart");
    });
}

#[test]
fn gaps_are_filled_for_every_group_or_left() {
    let (suite, made) = fortnight(7);
    run(async {
        let client = filled(&suite, &made).await;
        let hours =
            QueryMetricsRequest { interval: "1h".to_owned(), ..week(&["conversations_opened", "first_response_time"]) };
        let left = whole(&client, &hours).await;
        let filled = whole(&client, &QueryMetricsRequest { fill_gaps: true, ..hours.clone() }).await;
        let teams: BTreeSet<&str> = made.iter().map(|it| it.team).collect();
        assert_eq!(filled.rows.len(), teams.len() * 7 * 24);
        assert!(left.rows.len() < filled.rows.len() / 2);
        let (some, none): (Vec<_>, Vec<_>) =
            filled.rows.into_iter().partition(|row| row.values.iter().any(|value| value.count > 0));
        assert_eq!(some, left.rows);
        assert!(none.iter().all(|row| row.values.iter().all(|value| value.value.is_none())));
        // Nobody at all still has every interval, when no groups are asked for.
        let nobody =
            QueryMetricsRequest { tenant: "nobody".to_owned(), group_by: Vec::new(), fill_gaps: true, ..hours };
        assert_eq!(whole(&client, &nobody).await.rows.len(), 7 * 24);
    });
}

#[test]
fn rows_come_in_the_order_asked_for() {
    let (suite, made) = fortnight(8);
    run(async {
        let client = filled(&suite, &made).await;
        let metrics = vec![
            selection("conversations_opened"),
            MetricSelection { percentiles: vec![50.0, 99.9], ..selection("first_response_time") },
        ];
        let base = QueryMetricsRequest { metrics, ..week(&["conversations_opened"]) };
        let ordered = async |order: &str| {
            whole(&client, &QueryMetricsRequest { order_by: order.to_owned(), ..base.clone() }).await.rows
        };
        let start = |row: &MetricRow| row.interval_start.expect("an interval").seconds;
        let p999 = |row: &MetricRow| row.values[1].percentiles.get(1).map(|percentile| percentile.value);
        let number = |row: &MetricRow, of: &str| match of {
            "value" | "conversations_opened" => row.values[0].value,
            "count" => Some(row.values[0].count as f64),
            "first_response_time.sum" => row.values[1].sum.map(|sum| sum as f64),
            "first_response_time.min" => row.values[1].min.map(|min| min as f64),
            "first_response_time.max" => row.values[1].max.map(|max| max as f64),
            "first_response_time.p99.9" => p999(row),
            other => panic!("{other}"),
        };
        let known = ordered("").await;
        for key in [
            "value",
            "count",
            "conversations_opened",
            "first_response_time.sum",
            "first_response_time.min",
            "first_response_time.max",
            "first_response_time.p99.9",
        ] {
            for (descending, order) in
                [(false, key.to_owned()), (true, format!("{key} desc")), (true, format!("-{key}"))]
            {
                let mut expected = known.clone();
                expected.sort_by(|a, b| match (number(a, key), number(b, key)) {
                    (Some(a), Some(b)) if descending => b.total_cmp(&a),
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                });
                assert_eq!(ordered(&order).await, expected, "{order}");
            }
        }
        let mut expected = known.clone();
        expected.sort_by(|a, b| start(b).cmp(&start(a)).then_with(|| group(b).cmp(&group(a))));
        assert_eq!(ordered("time desc, group desc").await, expected);
        for bad in
            ["speed", "value down", "first_response_time.p90", "first_response_time.", "value,,count", "-", "- value"]
        {
            let refused = QueryMetricsRequest { order_by: bad.to_owned(), ..base.clone() };
            let status = client.query.clone().query_metrics(refused).await.expect_err(bad);
            assert_refused(&status, Code::InvalidArgument, "FIELD_INVALID", "order_by", bad);
        }
    });
}

#[test]
fn a_histogram_can_be_merged_by_any_hdrhistogram_library() {
    let (suite, made) = fortnight(9);
    run(async {
        let client = filled(&suite, &made).await;
        let metrics = vec![MetricSelection {
            histogram: true,
            percentiles: vec![50.0, 90.0, 99.0],
            ..selection("first_response_time")
        }];
        let by_team =
            QueryMetricsRequest { metrics, interval: String::new(), totals: true, ..week(&["first_response_time"]) };
        let answer = whole(&client, &by_team).await;
        let read = |value: &MetricValue| -> Histogram<u64> {
            Deserializer::new().deserialize(&mut value.histogram.as_slice()).expect("V2 bytes")
        };
        let mut merged = Histogram::<u64>::new_with_bounds(1, 1 << 50, 2).expect("bounds");
        for row in &answer.rows {
            merged.add(read(&row.values[0])).expect("the same precision");
        }
        let in_range = |it: &&Made| it.tenant == "acme" && it.replied_before(first_instant() + 7 * DAY_S);
        let mut exact: Vec<i64> = made.iter().filter(in_range).filter_map(|it| it.reply_ms).collect();
        exact.sort_unstable();
        assert_eq!(merged.len(), exact.len() as u64);
        let total = &answer.total.expect("asked for").values[0];
        for (percent, percentile) in [50.0, 90.0, 99.0].into_iter().zip(&total.percentiles) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank below 2,000")]
            let rank = (percent / 100.0 * exact.len() as f64).ceil() as usize;
            let exact = exact[rank - 1] as f64;
            assert!((percentile.value - exact).abs() <= exact * 0.01, "p{percent}: {} and {exact}", percentile.value);
            let theirs = merged.value_at_quantile(percent / 100.0) as f64;
            assert!((theirs - exact).abs() <= exact * 0.01, "p{percent}: theirs {theirs}, exactly {exact}");
        }
        let refused = Question(QueryMetricsRequest {
            metrics: vec![MetricSelection { histogram: true, ..selection("reopens") }],
            ..week(&["reopens"])
        });
        let status = client.ask(refused).await.expect_err("a count has none");
        assert_refused(&status, Code::InvalidArgument, "NOT_APPLICABLE", "metrics[0].histogram", "a count's histogram");
    });
}

#[test]
fn all_tenants_are_asked_at_once() {
    let (suite, made) = fortnight(10);
    run(async {
        let client = filled(&suite, &made).await;
        let names =
            ["conversations_opened", "first_response_time", "backlog", "customers_served", "conversations_handled"];
        let of = async |tenant: &str| {
            let request = QueryMetricsRequest { tenant: tenant.to_owned(), ..week(&names) };
            let answer = whole(&client, &request).await;
            let freshness = answer.freshness.expect("always");
            assert!(freshness.complete_until.is_some() && freshness.positions.len() == 3);
            let key = |row: &MetricRow| (group(row), row.interval_start.expect("an interval").seconds);
            answer.rows.iter().map(|row| (key(row), row.values.clone())).collect::<BTreeMap<_, _>>()
        };
        let (all, acme, other) = (of("-").await, of("acme").await, of("other").await);
        let keys: BTreeSet<_> = acme.keys().chain(other.keys()).collect();
        assert_eq!(all.keys().collect::<BTreeSet<_>>(), keys);
        for (key, values) in &all {
            for (metric, value) in values.iter().enumerate() {
                let of = |tenant: &BTreeMap<_, Vec<MetricValue>>| tenant.get(key).map(|values| values[metric].clone());
                let both = [of(&acme), of(&other)].into_iter().flatten();
                // Two tenants' customers of one name are two customers.
                assert_eq!(value.count, both.clone().map(|it| it.count).sum::<u64>(), "{key:?} {}", value.metric);
                assert_eq!(value.max, both.filter_map(|it| it.max).max(), "{key:?} {}", value.metric);
            }
        }
    });
}

#[test]
fn an_answer_is_the_same_however_often_and_after_whatever_else_it_is_asked() {
    let suite = Suite::start();
    let mut random = Random(11);
    // Two busy days, so that readers sum them up.
    let mut made = conversations(&mut random, 4_000);
    for it in &mut made {
        it.opened_s = first_instant() + (it.opened_s - first_instant()) / 7;
    }
    run(async {
        let client = suite.client();
        let metrics = ["conversations_opened", "first_response_time", "resolutions", "messages_sent"];
        let mut questions = Vec::new();
        for group_by in [&[][..], &["team"], &["agent"], &["tag"], &["team", "tag"]] {
            for filter in ["", "team = \"blue\"", "NOT team:*", "tag = vip OR agent IN (\"agent-1\", \"agent-2\")"] {
                for interval in ["", "1d", "15m", "1m"] {
                    if interval == "1m" && !filter.is_empty() {
                        continue;
                    }
                    let mut question = week(&metrics);
                    question.group_by = group_by.iter().map(ToString::to_string).collect();
                    filter.clone_into(&mut question.filter);
                    interval.clone_into(&mut question.interval);
                    question.metrics[1].percentiles = vec![0.0, 50.0, 95.0, 100.0];
                    questions.push(question);
                }
            }
        }
        let all = events(&made, "c");
        // In two parts: what was summed up of the first has to be forgotten.
        let (first, second) = all.split_at(all.len() / 2);
        for part in [first, second] {
            for batch in part.chunks(1_000) {
                client.send(batch.to_vec()).await;
            }
            let mut answers: Vec<Vec<MetricRow>> = Vec::new();
            for question in &questions {
                let rows = whole(&client, question).await.rows;
                // Shares are counted fact by fact.
                let mut exactly = question.clone();
                exactly.metrics = vec![question.metrics[1].clone()];
                exactly.metrics[0].at_most = vec![prost_types::Duration { seconds: 60, nanos: 0 }];
                let exactly = whole(&client, &exactly).await.rows;
                let figures = |rows: &[MetricRow], metric: usize| -> Vec<(Vec<String>, Option<i64>, MetricValue)> {
                    let of = |row: &MetricRow| {
                        let value = MetricValue { shares: Vec::new(), ..row.values[metric].clone() };
                        (group(row), row.interval_start.map(|start| start.seconds), value)
                    };
                    rows.iter().map(of).filter(|(_, _, value)| value.count > 0).collect()
                };
                assert!(figures(&rows, 1) == figures(&exactly, 0), "{question:?}");
                answers.push(rows);
            }
            for _ in 0..3 {
                for (question, known) in questions.iter().zip(&answers) {
                    assert!(whole(&client, question).await.rows == *known, "{question:?}");
                }
            }
        }
    });
}
