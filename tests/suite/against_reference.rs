//! The suite against the reference model: thousands of random scenarios, over real gRPC.
//!
//! `DESKPULSE_SCENARIOS` sets how many are tried, `DESKPULSE_SEED` with which seed they begin.

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::query_outcome::Outcome;
use deskpulse_proto::v1::{
    BatchQueryMetricsRequest, ConfigChange, Event, MetricRow, MetricValue, QueryMetricsRequest, SetCalendarRequest,
    SetSlaPolicyRequest, SetTenantRequest,
};
use jiff::Timestamp;
use tonic::Status;
use tonic::transport::Channel;

use crate::harness::{Client, Question, Random, Suite, run};
use crate::reference::{Model, Scenario, compare, scenario};

/// How many scenarios share a server.
const TOGETHER: u64 = 50;

/// A number set in the environment.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn any_scenario_answers_as_the_reference_model_does() {
    let (count, first) = (setting("DESKPULSE_SCENARIOS", 1_000), setting("DESKPULSE_SEED", 1));
    let seeds: Vec<u64> = (first..first + count).collect();
    let mut failures = Vec::new();
    let mut questions = 0;
    for together in seeds.chunks(usize::try_from(TOGETHER).expect("few")) {
        // Every other server is killed in the middle of it.
        let mut suite = Suite::start();
        let half = together.len() / 2;
        let (before, after) = together.split_at(half);
        let (asked, wrong) = run(play_all(&suite, before, Act::Send));
        assert_eq!((asked, wrong.len()), (0, 0));
        suite.kill_and_restart();
        for (seeds, act) in [(before, Act::Ask), (after, Act::Both)] {
            let (asked, wrong) = run(play_all(&suite, seeds, act));
            questions += asked;
            failures.extend(wrong);
        }
        assert!(failures.len() < 20, "{} of {questions} answers differ:\n{}", failures.len(), failures.join("\n"));
    }
    assert!(failures.is_empty(), "{} of {questions} answers differ:\n{}", failures.len(), failures.join("\n"));
    println!("{count} scenarios, {questions} questions, all answers as the reference model's");
}

/// What to do with a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Send,
    Ask,
    Both,
}

/// Plays scenarios, some at a time; returns how many questions were asked and which answers differ.
async fn play_all(suite: &Suite, seeds: &[u64], act: Act) -> (usize, Vec<String>) {
    let client = suite.client();
    client.settle().await;
    let config = ConfigServiceClient::new(deskpulse_edge::upstream::channel(suite.url()).expect("an address"));
    let (mut asked, mut failures) = (0, Vec::new());
    for some in seeds.chunks(4) {
        let tasks: Vec<_> =
            some.iter().map(|seed| tokio::spawn(play(client.clone(), config.clone(), *seed, act))).collect();
        for task in tasks {
            let (count, wrong) = task.await.expect("no panic");
            asked += count;
            failures.extend(wrong);
        }
    }
    (asked, failures)
}

async fn play(
    client: Client,
    mut config: ConfigServiceClient<Channel>,
    seed: u64,
    act: Act,
) -> (usize, Option<String>) {
    let mut random = Random(seed);
    let scenario = scenario(&mut random).for_tenant(&format!("t{seed}"));
    if act != Act::Ask {
        tell(&client, &mut config, &scenario, &mut random).await;
    }
    if act == Act::Send {
        return (0, None);
    }
    for number in 0..scenario.questions.len() {
        if let Some(difference) = in_full(&client, &scenario, number).await {
            return (number, Some(format!("seed {seed}, question {number} in full: {difference}")));
        }
        if let Some(difference) = difference(&client, &scenario, number).await {
            let least = least(&client, &mut config, &scenario, number, seed).await;
            return (number, Some(format!("seed {seed}, question {number}: {difference}\n{least}")));
        }
    }
    (scenario.questions.len(), None)
}

/// Sends a scenario: the configuration before the events, after them or between.
async fn tell(client: &Client, config: &mut ConfigServiceClient<Channel>, scenario: &Scenario, random: &mut Random) {
    let mut events = scenario.events.clone();
    let late = events.split_off([0, events.len() / 2, events.len()][random.below(3)]);
    for batch in events.chunks(1 + random.below(9)) {
        send(client, batch).await;
    }
    for change in &scenario.config {
        configure(config, change.clone()).await.expect("it is taken");
    }
    for batch in late.chunks(1 + random.below(9)) {
        send(client, batch).await;
    }
}

/// In what the answer to a question differs from the reference model's.
pub(crate) async fn difference(client: &Client, scenario: &Scenario, question: usize) -> Option<String> {
    let model = Model::new(&scenario.events, &scenario.config, Timestamp::now().as_millisecond());
    let request = &scenario.questions[question];
    match client.ask(Question(request.clone())).await {
        Ok(rows) => compare(request, &model.answer(request), &rows).err(),
        Err(status) => Some(format!("{status:?}")),
    }
}

/// In what the answer differs from the reference model's when the question is asked in full: in a batch with totals and an earlier period
/// beside it, and page by page.
async fn in_full(client: &Client, scenario: &Scenario, question: usize) -> Option<String> {
    let model = Model::new(&scenario.events, &scenario.config, Timestamp::now().as_millisecond());
    let request = &scenario.questions[question];
    let has_time_parts = request.group_by.iter().any(|name| matches!(name.as_str(), "weekday" | "hour"));
    let groups = QueryMetricsRequest { interval: String::new(), ..request.clone() };
    let everything = QueryMetricsRequest { group_by: Vec::new(), ..groups.clone() };
    let with_totals = QueryMetricsRequest { totals: true, ..request.clone() };
    // The period just before, where all of it is one interval.
    let earlier = request.start_time.zip(request.end_time).filter(|_| request.interval.is_empty() && !has_time_parts);
    let earlier = earlier.map(|(start, end)| QueryMetricsRequest {
        start_time: Some(before(start, end)),
        end_time: Some(start),
        ..request.clone()
    });
    let compared = QueryMetricsRequest { compare_to: "previous".to_owned(), ..request.clone() };
    let mut queries = vec![with_totals];
    queries.extend(earlier.is_some().then_some(compared));
    let batch = client.query.clone().batch_query_metrics(BatchQueryMetricsRequest { queries }).await;
    let mut outcomes = match batch {
        Ok(batch) => batch.into_inner().outcomes.into_iter(),
        Err(status) => return Some(format!("{status:?}")),
    };
    let mut next = || match outcomes.next().and_then(|outcome| outcome.outcome) {
        Some(Outcome::Answer(answer)) => Ok(answer),
        other => Err(format!("{other:?}")),
    };
    let found = (|| {
        let answer = next()?;
        compare(request, &model.answer(request), &answer.rows).map_err(|what| format!("rows: {what}"))?;
        let total = answer.total.clone().ok_or("no total")?;
        if total.group.iter().any(|value| value.value.is_some()) {
            return Err(format!("the total of everything has a group: {:?}", total.group));
        }
        let total = MetricRow { group: Vec::new(), ..total };
        compare(&everything, &model.answer(&everything), &[total]).map_err(|what| format!("total: {what}"))?;
        if !request.interval.is_empty() && !request.group_by.is_empty() {
            compare(&groups, &model.answer(&groups), &answer.group_totals)
                .map_err(|what| format!("group totals: {what}"))?;
        }
        if let Some(earlier) = &earlier {
            let rows = next()?.rows;
            compare(request, &model.answer(request), &rows).map_err(|what| format!("compared: {what}"))?;
            let then = rows.into_iter().filter_map(|mut row| {
                let earlier = row.earlier.take()?;
                // Where nothing happened then, the row of it is one of nothing.
                let is_nothing = |value: &MetricValue| {
                    let counts = [Some(value.count), value.pending].into_iter().flatten();
                    let numbers = [value.numerator, value.denominator].into_iter().flatten();
                    counts.sum::<u64>() == 0
                        && numbers.sum::<i64>() == 0
                        && value.value.is_none_or(|value| value == 0.0)
                };
                let has_rows = !request.group_by.is_empty();
                if has_rows && earlier.values.iter().all(is_nothing) {
                    return None;
                }
                Some(MetricRow { interval_start: earlier.interval_start, values: earlier.values, ..row })
            });
            let then: Vec<MetricRow> = then.collect();
            compare(earlier, &model.answer(earlier), &then).map_err(|what| format!("earlier: {what}"))?;
        }
        Ok::<_, String>(answer.rows)
    })();
    let rows = match found {
        Ok(rows) => rows,
        Err(what) => return Some(what),
    };
    let mut pages = Vec::new();
    let mut page =
        QueryMetricsRequest { page_size: 1 + i32::try_from(question % 4).expect("small"), ..request.clone() };
    loop {
        match client.query.clone().query_metrics(page.clone()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                pages.extend(answer.rows);
                page.page_token = answer.next_page_token;
            }
            Err(status) => return Some(format!("{status:?}")),
        }
        if page.page_token.is_empty() {
            break;
        }
    }
    // What was running at the time of an answer may have gone on until the next one.
    let said = |rows: &[MetricRow]| rows.iter().map(|row| row.group.clone()).collect::<Vec<_>>();
    (said(&pages) != said(&rows)).then(|| format!("{} rows in pages, {} in one piece", pages.len(), rows.len()))
}

/// The start of a period as long as this one, and just before.
fn before(start: prost_types::Timestamp, end: prost_types::Timestamp) -> prost_types::Timestamp {
    let ms = |at: prost_types::Timestamp| at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000;
    let before_ms = 2 * ms(start) - ms(end);
    let nanos = i32::try_from(before_ms.rem_euclid(1_000) * 1_000_000).expect("below a second");
    prost_types::Timestamp { seconds: before_ms.div_euclid(1_000), nanos }
}

/// The fewest events, in the order they are sent, with which the answer still differs.
async fn least(
    client: &Client,
    config: &mut ConfigServiceClient<Channel>,
    scenario: &Scenario,
    question: usize,
    seed: u64,
) -> String {
    let mut least = scenario.clone();
    let mut attempt = 0;
    let mut size = least.events.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < least.events.len() {
            let mut fewer = least.clone();
            fewer.events.drain(from..(from + size).min(least.events.len()));
            attempt += 1;
            let fewer = fewer.for_tenant(&format!("t{seed}-{attempt}"));
            tell(client, config, &fewer, &mut Random(seed)).await;
            if difference(client, &fewer, question).await.is_some() {
                least = fewer;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    let differs = difference(client, &least, question).await.unwrap_or_default();
    let line = |event: &Event| format!("{} {:?} {:?}", event.time.expect("set"), event.attributes, event.payload);
    let events: Vec<String> = least.events.iter().map(line).collect();
    format!("at least: {differs}\n{:?}\n{}", least.questions[question], events.join("\n"))
}

async fn send(client: &Client, batch: &[Event]) {
    let outcome = client.send(batch.to_vec()).await;
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.exceptions);
}

/// Asks for a change of configuration.
pub(crate) async fn configure(config: &mut ConfigServiceClient<Channel>, change: ConfigChange) -> Result<(), Status> {
    let tenant = change.tenant;
    match change.change.expect("a change") {
        Change::Settings(settings) => {
            let request = SetTenantRequest { tenant: Some(settings) };
            config.set_tenant(request).await.map(drop)
        }
        Change::Calendar(calendar) => {
            let request = SetCalendarRequest { tenant, calendar: Some(calendar) };
            config.set_calendar(request).await.map(drop)
        }
        Change::SlaPolicy(policy) => {
            let request = SetSlaPolicyRequest { tenant, policy: Some(policy) };
            config.set_sla_policy(request).await.map(drop)
        }
    }
}
