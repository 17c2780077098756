//! Transcripts: what happened, line by line, and what the figures must be.
//!
//! A line is a local time, a conversation and what happened; a line that begins with `=` is a metric and its figures;
//! `zone`, `filter`, `group`, `from`, `to` and `basis` hold for the lines after them. Every transcript is sent in order,
//! reversed and with every event twice; the figures must not change.

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AssigneeKind, AssignmentReason, Basis, ConversationAssigned, ConversationOpened,
    ConversationStatus, ConversationStatusChanged, ConversationUpdated, Dimensions, Direction, Event, EventRetracted,
    MessageCreated, MessageSentimentScored, MetricValue, Sentiment, Subject, Visibility, subject,
};
use jiff::tz::TimeZone;

use crate::harness::{Client, Question, Suite, ask, run};

/// Sends a transcript in several orders and checks its figures after each.
fn check(transcript: &str) {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        for (tenant, arrange) in [
            ("in-order", (|events| events) as fn(Vec<Event>) -> Vec<Event>),
            ("reversed", |mut events| {
                events.reverse();
                events
            }),
            ("twice", |events| events.iter().chain(&events).cloned().collect()),
        ] {
            check_as(&client, tenant, transcript, arrange).await;
        }
    });
}

async fn check_as(client: &Client, tenant: &str, transcript: &str, arrange: fn(Vec<Event>) -> Vec<Event>) {
    let mut script = Script::new(tenant);
    let mut figures = Vec::new();
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(figure) = line.strip_prefix('=') {
            figures.push((line, script.question(figure)));
        } else {
            script.read(line);
        }
    }
    // One event a batch, so that "reversed" really arrives in that order.
    for event in arrange(script.events) {
        client.send(vec![event]).await;
    }
    for (line, (question, expected)) in figures {
        let figure = client.figure(question).await;
        for (what, want) in expected {
            assert_figure(&figure, &what, &want, &format!("{tenant}: {line}"));
        }
    }
}

/// A transcript being read.
struct Script {
    tenant: String,
    zone: TimeZone,
    events: Vec<Event>,
    context: Question,
}

impl Script {
    fn new(tenant: &str) -> Self {
        let context = ask(tenant, "");
        Self { tenant: tenant.to_owned(), zone: TimeZone::UTC, events: Vec::new(), context }
    }

    fn time(&self, text: &str) -> String {
        let local: jiff::civil::DateTime = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        local.to_zoned(self.zone.clone()).expect("a local time").timestamp().to_string()
    }

    fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |from: usize| words[from..].join(" ");
        match words[0] {
            "zone" => self.zone = TimeZone::get(words[1]).expect("a zone"),
            "filter" => self.context.0.filter = rest(1),
            "from" => self.context = self.context.clone().from(&self.time(words[1])),
            "to" => self.context = self.context.clone().to(&self.time(words[1])),
            "basis" => {
                self.context.0.basis =
                    Basis::from_str_name(&format!("BASIS_{}", words[1].to_uppercase())).expect("a basis").into();
            }
            _ => self.event(&words),
        }
    }

    fn event(&mut self, words: &[&str]) {
        let (time, conversation, what) = (words[0], words[1].to_owned(), words[2]);
        let mut arguments: Vec<&str> = words[3..].to_vec();
        let id = arguments.iter().position(|word| word.starts_with('#')).map(|at| arguments.remove(at)[1..].to_owned());
        let id = id.unwrap_or_else(|| format!("e{:03}", self.events.len()));
        let argument = |index: usize| (*arguments.get(index).unwrap_or(&"")).to_owned();
        let named = |key: &str| {
            arguments.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or("").to_owned()
        };
        let message = |kind: ActorKind, id: String| MessageCreated {
            conversation: conversation.clone(),
            actor: Some(Actor { kind: kind.into(), id }),
            visibility: Visibility::Public.into(),
            quick_reply: named("quick"),
            sentiment: sentiment(&named("mood")).into(),
        };
        let payload = match what {
            "opened" => Payload::ConversationOpened(ConversationOpened {
                conversation,
                customer: named("customer"),
                direction: Direction::Unspecified.into(),
                initiator: match named("by").as_str() {
                    "agent" => ActorKind::Agent,
                    "bot" => ActorKind::Bot,
                    _ => ActorKind::Customer,
                }
                .into(),
                dimensions: Some(dimensions(&arguments)),
            }),
            "customer" => Payload::MessageCreated(message(ActorKind::Customer, String::new())),
            "bot" => Payload::MessageCreated(message(ActorKind::Bot, "bot".to_owned())),
            "automation" => Payload::MessageCreated(message(ActorKind::Automation, String::new())),
            "reply" => Payload::MessageCreated(message(ActorKind::Agent, argument(0))),
            "note" => Payload::MessageCreated(MessageCreated {
                visibility: Visibility::Private.into(),
                ..message(ActorKind::Agent, argument(0))
            }),
            "assigned" | "handoff" | "transferred" => {
                let to = argument(0);
                let (kind, name) = match to.split_once(':') {
                    Some(("team", team)) => (AssigneeKind::Team, team.to_owned()),
                    Some(("bot", bot)) => (AssigneeKind::Bot, bot.to_owned()),
                    _ if to == "nobody" => (AssigneeKind::Nobody, String::new()),
                    _ => (AssigneeKind::Agent, to.clone()),
                };
                let reason = match what {
                    "handoff" => AssignmentReason::Handoff,
                    "transferred" => AssignmentReason::Transfer,
                    _ => AssignmentReason::Unspecified,
                };
                Payload::ConversationAssigned(ConversationAssigned {
                    conversation,
                    to: kind.into(),
                    assignee: name,
                    team: named("team"),
                    reason: reason.into(),
                })
            }
            "status" => {
                let name = format!("CONVERSATION_STATUS_{}", argument(0).to_uppercase());
                let agent = named("by");
                Payload::ConversationStatusChanged(ConversationStatusChanged {
                    conversation,
                    status: ConversationStatus::from_str_name(&name).expect("a status").into(),
                    merged_into: named("into"),
                    actor: (!agent.is_empty()).then(|| Actor { kind: ActorKind::Agent.into(), id: agent }),
                })
            }
            "updated" => {
                let with =
                    |sign: char| arguments.iter().filter_map(|a| a.strip_prefix(sign)).map(str::to_owned).collect();
                Payload::ConversationUpdated(ConversationUpdated {
                    conversation,
                    set: Some(dimensions(&arguments)),
                    clear: with('!'),
                    add_tags: with('+'),
                    remove_tags: with('-'),
                })
            }
            "scored" => Payload::MessageSentimentScored(MessageSentimentScored {
                conversation,
                message_event_id: argument(0),
                sentiment: sentiment(&argument(1)).into(),
            }),
            "retracted" => Payload::EventRetracted(EventRetracted {
                subject: Some(Subject { kind: Some(subject::Kind::Conversation(conversation)) }),
                retracted_source: "transcript".to_owned(),
                retracted_id: argument(0),
            }),
            other => panic!("{other} is nothing a transcript knows"),
        };
        self.events.push(Event {
            id,
            source: "transcript".to_owned(),
            tenant: self.tenant.clone(),
            time: Some(crate::harness::timestamp(&self.time(time))),
            payload: Some(payload),
            ..Default::default()
        });
    }

    /// A question such as `reply_time count 4 p50 20m` and what is expected of its answer.
    fn question(&self, line: &str) -> (Question, Vec<(String, String)>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut question = self.context.clone();
        words[0].clone_into(&mut question.0.metrics[0].name);
        let expected: Vec<(String, String)> =
            words[1..].chunks(2).map(|pair| (pair[0].to_owned(), pair.get(1).unwrap_or(&"").to_string())).collect();
        let percentiles: Vec<f64> =
            expected.iter().filter_map(|(what, _)| what.strip_prefix('p')?.parse().ok()).collect();
        (question.percentiles(&percentiles), expected)
    }
}

fn dimensions(arguments: &[&str]) -> Dimensions {
    let named = |key: &str| {
        arguments.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or("").to_owned()
    };
    Dimensions {
        channel: named("channel"),
        team: named("team"),
        agent: named("agent"),
        priority: named("priority"),
        topic: named("topic"),
        ..Default::default()
    }
}

fn sentiment(word: &str) -> Sentiment {
    match word {
        "positive" => Sentiment::Positive,
        "neutral" => Sentiment::Neutral,
        "negative" => Sentiment::Negative,
        _ => Sentiment::Unspecified,
    }
}

fn assert_figure(figure: &MetricValue, what: &str, want: &str, line: &str) {
    let number = |text: &str| -> f64 {
        match text.parse::<jiff::SignedDuration>() {
            Ok(duration) => duration.as_secs_f64() * 1_000.0,
            Err(_) => text.parse().unwrap_or_else(|error| panic!("{line}: {text}: {error}")),
        }
    };
    let exact = |have: Option<f64>| assert_eq!(have, Some(number(want)), "{what} in {line}\n{figure:?}");
    match what {
        "absent" => assert_eq!((figure.count, figure.value), (0, None), "{line}\n{figure:?}"),
        "count" => exact(Some(figure.count as f64)),
        "value" | "mean" => exact(figure.value),
        "sum" => exact(figure.sum.map(|sum| sum as f64)),
        "min" => exact(figure.min.map(|min| min as f64)),
        "max" => exact(figure.max.map(|max| max as f64)),
        "numerator" => exact(figure.numerator.map(|numerator| numerator as f64)),
        "denominator" => exact(figure.denominator.map(|denominator| denominator as f64)),
        "conversation" => assert_eq!(figure.conversation, want, "{line}"),
        percentile => {
            let percent: f64 = percentile[1..].parse().expect("p and a number");
            let have = figure.percentiles.iter().find(|have| (have.percentile - percent).abs() < 1e-9);
            let have = have.unwrap_or_else(|| panic!("no {percentile} in {line}\n{figure:?}")).value;
            let want = number(want);
            assert!((have - want).abs() <= want * 0.01, "{percentile} is {have}, not {want}, in {line}");
        }
    }
}

#[test]
fn worked_case_a_a_ticket_over_a_weekend_with_a_clock_change() {
    check(
        "
        zone Europe/Berlin
        2026-03-27T16:30 c1 opened channel=email
        2026-03-27T16:30 c1 customer
        2026-03-27T16:30:05 c1 bot
        2026-03-27T16:32 c1 handoff team:first
        2026-03-27T16:40 c1 assigned A
        2026-03-27T16:45 c1 note A
        2026-03-30T09:30 c1 reply A
        2026-03-30T09:40 c1 customer
        2026-03-30T09:50 c1 customer
        2026-03-30T10:00 c1 reply A
        2026-03-30T10:05 c1 status pending
        2026-03-30T11:05 c1 customer
        2026-03-30T11:05 c1 status open
        2026-03-30T11:15 c1 transferred B
        2026-03-30T11:20 c1 reply B quick=QR1
        2026-03-30T11:25 c1 status resolved by=B
        2026-03-30T13:00 c1 customer
        2026-03-30T13:00 c1 status open
        2026-03-30T13:30 c1 reply B
        2026-03-30T14:00 c1 status resolved by=B

        = first_response_time count 1 min 64h max 64h p50 64h
        = handoff_response_time count 1 sum 63h58m
        = agent_first_response_time count 2 min 5m max 63h50m
        = time_to_assignment count 1 sum 10m
        = bot_response_time count 1 sum 5s
        = next_reply_time count 3 mean 21m40s p50 20m min 15m max 30m
        = reply_time count 4 max 64h min 15m
        = first_resolution_time count 1 sum 65h55m
        = full_resolution_time count 1 sum 68h30m
        = resolution_time count 2 max 65h55m min 1h
        = net_resolution_time count 2 max 64h55m min 1h
        = requester_wait_time count 2 max 64h55m min 1h
        = human_resolution_time count 2 max 65h53m min 1h
        = conversations_resolved count 1
        = resolutions count 2
        = reopens count 1
        = reopen_rate numerator 1 denominator 2
        = transfers count 1
        = conversations_handled count 1
        = transfer_rate numerator 1 denominator 1
        = one_touch_rate numerator 0 denominator 1
        = first_contact_resolution_rate numerator 0 denominator 1
        = replies_per_resolution numerator 4 denominator 1
        = resolution_rate numerator 1 denominator 1
        = response_rate numerator 4 denominator 4
        = messages_received count 5
        = messages_sent count 4
        = bot_messages count 1
        = private_notes count 1
        = backlog absent
        = unanswered_conversations absent
        = skewed_events absent
        filter agent=B
        = messages_sent count 2
        = resolutions count 2
        = transfers absent
        filter agent=A
        = first_response_time count 1
        = transfers count 1
        filter quick_reply=QR1
        = messages_sent count 1
        filter channel=email
        = backlog absent
        to 2026-03-27T16:45
        = backlog count 1
        = backlog_age max 15m
        = longest_wait value 15m conversation c1
        to 2026-03-30T12:00
        = backlog absent
        to 2026-03-30T13:10
        = backlog count 1
        = backlog_age max 67h40m
        = unanswered_conversations count 1
        ",
    );
}

/// The first `lines` lines of case A's second half decide whether the conversation counts as resolved.
#[test]
fn a_reopening_takes_the_resolution_back_and_the_next_one_adds_it_again() {
    let until_resolved = "
        zone Europe/Berlin
        2026-03-30T09:00 c1 opened
        2026-03-30T11:20 c1 reply B
        2026-03-30T11:25 c1 status resolved by=B
        ";
    let reopened = "2026-03-30T13:00 c1 customer
        2026-03-30T13:00 c1 status open
        ";
    let resolved_again = "2026-03-30T13:30 c1 reply B
        2026-03-30T14:00 c1 status resolved by=B
        ";
    check(&format!("{until_resolved}= conversations_resolved count 1\n= full_resolution_time sum 2h25m"));
    check(&format!(
        "{until_resolved}{reopened}= conversations_resolved absent\n= full_resolution_time absent
        = first_resolution_time sum 2h25m\n= resolution_rate numerator 0 denominator 1"
    ));
    check(&format!(
        "{until_resolved}{reopened}{resolved_again}= conversations_resolved count 1\n= full_resolution_time sum 5h
        from 2026-03-30T11:00\nto 2026-03-30T12:00\n= conversations_resolved absent\n= resolutions count 1
        = one_touch_rate absent"
    ));
}

#[test]
fn a_wait_is_cancelled_by_a_resolution_and_not_counted_as_answered() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:10 c1 status resolved
        2026-06-01T10:00 c1 customer
        2026-06-01T10:20 c1 reply A
        = response_rate numerator 1 denominator 2
        = first_response_time count 1 sum 1h20m
        = next_reply_time absent
        = reopens absent
        basis cohort
        = response_rate numerator 1 denominator 2
        to 2026-06-01T10:00
        = response_rate numerator 0 denominator 1
        ",
    );
}

#[test]
fn a_conversation_without_an_opening_opens_at_its_earliest_event_by_its_first_author() {
    check(
        "
        2026-06-01T09:00 by-customer customer
        2026-06-01T09:30 by-customer reply A
        2026-06-01T09:00 by-agent reply A
        2026-06-01T09:10 by-agent customer
        2026-06-01T09:15 by-agent reply B
        2026-06-01T09:20 by-agent customer
        2026-06-01T09:50 by-agent reply B
        = conversations_opened count 2
        = first_response_time count 2 min 5m max 30m
        = next_reply_time count 1 sum 30m
        = waits_started count 3
        = waits_answered count 3
        ",
    );
}

#[test]
fn an_opening_that_comes_late_corrects_everything_before_it() {
    check(
        "
        2026-06-01T09:30 c1 reply A
        2026-06-01T10:00 c1 status resolved by=A
        2026-06-01T09:00 c1 opened channel=chat priority=high
        = first_response_time count 1 sum 30m
        = first_resolution_time count 1 sum 1h
        filter channel=chat AND priority=high
        = conversations_opened count 1
        = first_resolution_time count 1
        filter NOT channel:*
        = conversations_opened absent
        = first_response_time absent
        ",
    );
}

#[test]
fn negative_durations_count_as_zero_and_are_counted_as_skewed() {
    check(
        "
        2026-06-01T09:00 c1 reply A
        2026-06-01T08:59 c1 status resolved by=A
        2026-06-01T09:05 c1 opened
        = first_response_time count 1 sum 0s
        = first_resolution_time count 1 sum 0s
        = skewed_events count 2
        to 2026-06-01T09:02
        = backlog absent
        ",
    );
}

#[test]
fn moving_a_ticket_does_not_rewrite_the_past_and_moves_the_backlog_with_it() {
    check(
        "
        2026-06-01T09:00 c1 opened team=first channel=email
        2026-06-01T09:30 c1 reply A
        2026-06-01T10:00 c1 updated team=second
        2026-06-01T11:00 c1 customer
        2026-06-01T12:00 c1 assigned team:third
        filter team=first
        = first_response_time count 1
        = conversations_opened count 1
        = messages_received absent
        to 2026-06-01T09:59
        = backlog count 1
        to 2026-06-01T10:00
        = backlog absent
        to 2026-06-01T13:00
        filter team=second
        = messages_received count 1
        = unanswered_conversations absent
        to 2026-06-01T11:30
        = backlog count 1
        = unanswered_conversations count 1
        to 2026-06-01T13:00
        filter team=third
        = backlog count 1
        = unanswered_conversations count 1
        = longest_wait value 2h
        ",
    );
}

#[test]
fn deleted_spam_and_merged_conversations_are_left_out_and_can_come_back() {
    check(
        "
        2026-06-01T09:00 kept opened
        2026-06-01T09:00 deleted opened
        2026-06-01T09:01 deleted reply A
        2026-06-01T09:10 deleted status deleted
        2026-06-01T09:00 spam opened
        2026-06-01T09:10 spam status spam
        2026-06-01T09:11 spam status closed
        2026-06-01T09:00 merged opened
        2026-06-01T09:10 merged status merged into=kept
        2026-06-01T09:00 restored opened
        2026-06-01T09:10 restored status spam
        2026-06-01T09:20 restored status open
        = conversations_opened count 2
        = messages_sent absent
        = backlog count 2
        ",
    );
}

#[test]
fn a_retracted_event_leaves_no_trace() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:05 c1 reply A #wrong
        2026-06-01T09:10 c1 reply A
        2026-06-01T09:20 c1 status resolved #too-early
        2026-06-01T09:30 c1 retracted wrong
        2026-06-01T09:30 c1 retracted too-early
        2026-06-01T09:30 c1 retracted never-sent
        = first_response_time count 1 sum 10m
        = messages_sent count 1
        = resolutions absent
        = backlog count 1
        ",
    );
}

#[test]
fn sentiment_is_that_of_the_latest_score() {
    check(
        "
        2026-06-01T09:00 c1 customer mood=negative #m1
        2026-06-01T09:01 c1 customer #m2
        2026-06-01T09:02 c1 customer mood=neutral #m3
        2026-06-01T09:03 c1 customer #m4
        2026-06-01T09:04 c1 reply A mood=negative
        2026-06-01T10:00 c1 scored m1 neutral
        2026-06-01T10:01 c1 scored m1 positive
        2026-06-01T10:02 c1 scored m2 negative
        = sentiment_positive_rate numerator 1 denominator 3
        = sentiment_negative_rate numerator 1 denominator 3
        ",
    );
}

#[test]
fn bots_automations_and_notes_never_end_a_wait() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:01 c1 bot
        2026-06-01T09:02 c1 automation
        2026-06-01T09:03 c1 note A
        = first_response_time absent
        = bot_response_time count 1 sum 1m
        = unanswered_conversations count 1
        = response_rate numerator 0 denominator 1
        = conversations_active count 1
        = conversations_handled absent
        = automated_messages count 1
        ",
    );
}

#[test]
fn the_second_assignment_ends_the_chance_of_the_first() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:10 c1 assigned A
        2026-06-01T09:20 c1 assigned team:second
        2026-06-01T09:30 c1 assigned B
        2026-06-01T09:35 c1 reply A
        2026-06-01T09:40 c1 reply B
        = agent_first_response_time count 1 sum 10m
        = time_to_assignment count 1 sum 10m
        = transfers count 1
        filter agent=A
        = transfers count 1
        = time_to_assignment count 1
        ",
    );
}

#[test]
fn whoever_resolves_as_an_agent_is_a_human_reached() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:30 c1 status resolved by=A
        2026-06-01T09:00 c2 opened
        2026-06-01T09:30 c2 status resolved
        = human_resolution_time count 1 sum 30m
        = resolutions count 2
        ",
    );
}

#[test]
fn waits_that_may_yet_be_answered_in_time_are_pending_and_late_figures_provisional() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let now = jiff::Timestamp::now();
        let ago =
            |minutes: i64| (now - jiff::SignedDuration::from_mins(minutes)).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let mut script = Script::new("t");
        script.read(&format!("{} in-time opened", ago(180)));
        script.read(&format!("{} in-time reply A", ago(150)));
        script.read(&format!("{} in-time status resolved by=A", ago(149)));
        script.read(&format!("{} too-late opened", ago(180)));
        script.read(&format!("{} too-late reply A", ago(60)));
        script.read(&format!("{} open-long opened", ago(180)));
        script.read(&format!("{} open-now opened", ago(10)));
        client.send(script.events).await;
        let mut question = ask("t", "response_rate").basis(Basis::Cohort);
        question.0.metrics[0].within = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let rate = client.figure(question).await;
        assert_eq!((rate.numerator, rate.denominator, rate.pending), (Some(1), Some(4), Some(1)), "{rate:?}");
        let rate = client.figure(ask("t", "response_rate").basis(Basis::Cohort)).await;
        assert_eq!((rate.numerator, rate.pending), (Some(2), None), "{rate:?}");
        let first_contact = ask("t", "first_contact_resolution_rate");
        assert!(client.figure(first_contact.clone()).await.provisional);
        assert!(!client.figure(first_contact.to("2026-06-01T00:00:00Z")).await.provisional);
    });
}

#[test]
fn the_heat_map_counts_openings_by_local_weekday_and_hour() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let mut script = Script::new("t");
        // Three Mondays, the last in winter time; 23:30 UTC on a Sunday is Monday in Berlin.
        for (number, time) in
            ["2026-10-19T07:15", "2026-10-18T23:30", "2026-10-19T07:59", "2026-10-26T08:15"].iter().enumerate()
        {
            script.read(&format!("{time} c{number} opened"));
        }
        client.send(script.events).await;
        let map = ask("t", "conversations_opened").group_by(&["weekday", "hour"]).every("", "Europe/Berlin");
        let rows = client.rows(map.from("2026-10-01T00:00:00Z").to("2026-11-01T00:00:00Z")).await;
        let cells: Vec<(String, u64)> =
            rows.iter().map(|row| (crate::harness::group(row).join(" "), row.values[0].count)).collect();
        assert_eq!(cells, [("1 1".to_owned(), 1), ("1 9".to_owned(), 3)]);
    });
}

#[test]
fn the_first_response_is_to_the_first_customer_message_whoever_opened() {
    check(
        "
        2026-06-01T08:00 c1 opened by=agent
        2026-06-01T08:01 c1 reply A
        2026-06-01T09:00 c1 customer
        2026-06-01T09:10 c1 status resolved by=A
        2026-06-01T10:00 c1 customer
        2026-06-01T10:20 c1 reply A
        = first_response_time count 1 sum 1h20m
        = next_reply_time absent
        ",
    );
}

#[test]
fn a_handoff_is_answered_by_the_first_reply_even_if_nobody_waited() {
    check(
        "
        2026-06-01T09:00 c1 opened by=bot
        2026-06-01T09:10 c1 handoff team:first
        2026-06-01T09:12 c1 reply A
        2026-06-01T09:30 c1 customer
        2026-06-01T09:40 c1 reply A
        = handoff_response_time count 1 sum 2m
        = first_response_time count 1 sum 10m
        ",
    );
}

#[test]
fn a_missing_opening_by_the_customer_counts_like_a_reported_one() {
    let story = "
        2026-06-01T09:30 c1 updated topic=b
        2026-06-01T09:40 c1 status resolved
        2026-06-01T10:00 c1 customer
        2026-06-01T10:20 c1 reply A
        = response_rate numerator 1 denominator 2
        filter topic=a
        = waits_started count 1
        to 2026-06-01T09:15
        = unanswered_conversations count 1
        ";
    check(&format!("2026-06-01T09:00 c1 opened topic=a{story}"));
    check(&format!("2026-06-01T09:00 c1 updated topic=a{story}"));
}

#[test]
fn net_flow_is_the_difference_of_two_backlogs_at_any_boundary() {
    check(
        "
        2026-06-01T09:00 c1 opened team=x
        2026-06-01T10:00 c2 opened team=x
        2026-06-01T10:30 c1 updated team=y
        2026-06-01T11:00 c1 status resolved
        2026-06-01T12:00 c1 status open
        2026-06-01T08:00 skewed status resolved
        2026-06-01T09:45 skewed opened
        from 2026-06-01T09:30
        to 2026-06-01T10:00
        = net_flow value 1
        = backlog value 2
        to 2026-06-01T11:00
        = net_flow value 0
        = backlog value 1
        = resolution_ratio numerator 0 denominator 2
        filter team=x
        = net_flow value 0
        filter team=y
        = net_flow value 0 count 2
        from 2026-06-01T11:00
        to 2026-06-01T12:00
        = net_flow value 1
        from 2026-06-01T12:00
        to 2026-06-01T13:00
        = net_flow absent
        ",
    );
}

#[test]
fn an_id_used_again_for_something_else_is_refused_and_counted() {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let mut script = Script::new("t");
        script.read("2026-06-01T09:00 c1 opened #e");
        script.read("2026-06-01T09:30 c1 reply A #e");
        for event in script.events {
            client.send(vec![event]).await;
        }
        assert_eq!(client.figure(ask("t", "conflicting_ids")).await.count, 1);
        assert_eq!(client.figure(ask("t", "messages_sent")).await.count, 0);
    });
}

#[test]
fn a_conversation_counts_once_however_many_messages_and_agents_it_has() {
    check(
        "
        2026-06-01T09:00 c1 customer
        2026-06-01T09:01 c1 customer
        2026-06-01T09:02 c1 reply A
        2026-06-01T09:03 c1 reply B
        2026-06-01T09:04 c1 reply A
        2026-06-01T09:00 c2 customer
        2026-06-01T09:05 c2 reply A
        = conversations_active count 2
        = conversations_handled count 2
        filter agent=A
        = conversations_handled count 2
        filter agent=B
        = conversations_handled count 1
        ",
    );
}

#[test]
fn first_contact_needs_one_reply_no_transfer_no_reopening_and_no_new_contact_within_seven_days() {
    check(
        "
        2026-06-01T09:00 good opened customer=ann topic=bill
        2026-06-01T09:10 good reply A
        2026-06-01T09:20 good status resolved by=A
        2026-06-01T09:00 other-topic opened customer=ann topic=move
        2026-06-01T09:20 other-topic status resolved by=A
        2026-06-01T09:00 unknown opened topic=bill
        2026-06-01T09:20 unknown status resolved by=A
        2026-06-01T09:00 two-replies opened customer=bob
        2026-06-01T09:10 two-replies reply A
        2026-06-01T09:11 two-replies reply A
        2026-06-01T09:20 two-replies status resolved by=A
        2026-06-01T09:00 transferred opened customer=cat
        2026-06-01T09:01 transferred assigned A
        2026-06-01T09:02 transferred transferred B
        2026-06-01T09:20 transferred status resolved by=B
        2026-06-01T09:00 reopened opened customer=dan
        2026-06-01T09:20 reopened status resolved by=A
        2026-06-02T09:20 reopened status open
        2026-06-02T09:30 reopened status resolved by=A
        2026-06-01T09:00 again opened customer=eve topic=bill
        2026-06-01T09:20 again status resolved by=A
        2026-06-08T09:20 eve-later opened customer=eve topic=bill
        2026-06-09T09:20 eve-later status resolved by=A
        2026-06-16T09:21 eve-much-later opened customer=eve topic=bill
        = conversations_resolved count 8
        = first_contact_resolution_rate numerator 4 denominator 8
        to 2026-06-02T00:00
        = first_contact_resolution_rate numerator 3 denominator 6
        ",
    );
}
