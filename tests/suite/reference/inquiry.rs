//! Random questions, each one that its metrics can answer.

use deskpulse_proto::v1::{Basis, Clock, Event, MetricSelection, QueryMetricsRequest};

use super::scenario::{TENANT, latest, pick, timestamp};
use super::timelines::subject_of;
use super::{DAY, HOUR, Model, milliseconds};
use crate::harness::Random;

/// Metrics that can be asked in the same ways.
struct Family {
    metrics: &'static [&'static str],
    /// What they can be grouped by and filtered on.
    dimensions: &'static [&'static str],
    bases: &'static [Basis],
    /// Whether percentiles and shares can be asked for.
    distribution: bool,
    business_clock: bool,
}

const EVENT: &[Basis] = &[Basis::Unspecified, Basis::Event];
const COHORT: &[Basis] = &[Basis::Unspecified, Basis::Event, Basis::Cohort, Basis::Cohort];
const COHORT_ONLY: &[Basis] = &[Basis::Unspecified, Basis::Cohort];
const AS_OF: &[Basis] = &[Basis::Unspecified, Basis::AsOf];
const OWN: &[Basis] = &[Basis::Unspecified];
const CONVERSATION: &[&str] = &[
    "channel",
    "team",
    "agent",
    "priority",
    "topic",
    "language",
    "direction",
    "tag",
    "attributes.plan",
    "weekday",
    "hour",
];
const STOCK: &[&str] = &["channel", "team", "agent", "priority", "topic", "direction", "tag", "attributes.plan"];
const BOT: &[&str] = &["channel", "team", "priority", "topic", "tag", "attributes.plan", "weekday"];
const QUEUE: &[&str] = &["team", "agent", "channel", "tag", "hour"];
const SLA: &[&str] = &["sla_policy", "sla_target", "team", "agent", "channel", "weekday"];

const fn family(
    metrics: &'static [&'static str],
    dimensions: &'static [&'static str],
    bases: &'static [Basis],
) -> Family {
    Family { metrics, dimensions, bases, distribution: false, business_clock: false }
}

const fn durations(
    metrics: &'static [&'static str],
    dimensions: &'static [&'static str],
    bases: &'static [Basis],
    business_clock: bool,
) -> Family {
    Family { metrics, dimensions, bases, distribution: true, business_clock }
}

/// Those named first are the most intricate; each family is as likely as any other.
const FAMILIES: &[Family] = &[
    durations(
        &["first_response_time", "next_reply_time", "reply_time", "agent_first_response_time", "handoff_response_time"],
        CONVERSATION,
        COHORT,
        true,
    ),
    durations(&["time_to_assignment", "bot_response_time"], CONVERSATION, COHORT, true),
    durations(
        &["first_resolution_time", "full_resolution_time", "resolution_time", "net_resolution_time"],
        CONVERSATION,
        COHORT,
        true,
    ),
    durations(&["human_resolution_time", "requester_wait_time"], CONVERSATION, COHORT, true),
    family(&["response_rate", "waits_started", "waits_answered"], CONVERSATION, COHORT),
    family(&["conversations_opened", "resolutions", "conversations_resolved"], CONVERSATION, COHORT),
    family(&["resolution_rate"], CONVERSATION, COHORT_ONLY),
    family(
        &["resolution_ratio", "reopens", "reopen_rate", "first_contact_resolution_rate", "one_touch_rate"],
        CONVERSATION,
        EVENT,
    ),
    family(
        &["replies_per_resolution", "first_contact_resolution_rate", "transfers", "transfer_rate"],
        CONVERSATION,
        EVENT,
    ),
    family(&["conversations_handled", "conversations_active", "customers_served"], CONVERSATION, EVENT),
    family(
        &["messages_received", "messages_sent", "bot_messages", "automated_messages", "private_notes"],
        CONVERSATION,
        EVENT,
    ),
    family(&["sentiment_positive_rate", "sentiment_negative_rate"], CONVERSATION, EVENT),
    family(&["messages_sent"], &["quick_reply"], EVENT),
    family(&["net_flow"], STOCK, EVENT),
    family(&["backlog", "unanswered_conversations"], STOCK, AS_OF),
    family(&["contacts_in_queue", "longest_wait"], STOCK, AS_OF),
    durations(&["backlog_age"], STOCK, AS_OF, false),
    family(&["sla_compliance", "sla_breaches"], SLA, EVENT),
    durations(&["sla_overrun_time"], SLA, EVENT, false),
    family(&["sla_at_risk"], &["sla_policy", "sla_target", "team", "channel"], AS_OF),
    family(&["offered", "answered", "abandoned", "short_abandons"], QUEUE, COHORT),
    family(&["abandonment_rate", "service_level"], QUEUE, COHORT),
    durations(&["asa", "queue_wait"], QUEUE, COHORT, false),
    durations(&["queue_wait"], &["outcome", "team"], COHORT, false),
    durations(&["talk_time", "hold_time", "wrapup_time", "handle_time"], QUEUE, EVENT, false),
    family(&["handle_time_apportioned"], &["team", "agent", "channel"], OWN),
    family(&["non_responses", "callbacks", "voicemails", "overflows"], QUEUE, EVENT),
    family(&["csat_score", "csat_mean", "nps", "ces_mean", "ces_easy_rate"], CONVERSATION, OWN),
    family(&["survey_response_rate", "negative_feedback_rate", "engagement_mean", "enps"], CONVERSATION, OWN),
    family(&["positive_review_rate"], &["platform", "team", "channel"], OWN),
    family(&["bot_containment_rate", "handoff_rate"], BOT, COHORT),
    family(&["deflection_rate", "churn_rate", "skewed_events"], &[], OWN),
    family(&["tasks_assigned", "tasks_completed", "task_completion_rate"], &["agent"], OWN),
    family(&["online_time", "available_time", "handling_time"], &["agent", "team", "state"], OWN),
    family(&["occupancy", "utilization"], &["agent", "team"], OWN),
    family(&["occupancy", "adherence", "shrinkage", "throughput"], &["agent"], OWN),
    family(&["agents"], &["state", "agent", "team"], AS_OF),
    family(&["attrition_rate"], &[], OWN),
    family(&["renewal_rate", "repeat_purchase_rate", "cross_sell_rate", "up_sell_rate"], &["channel", "topic"], OWN),
    family(&["adoption_rate"], &[], COHORT),
    family(&["cost_total", "cost_per_conversation"], &["channel", "team", "topic"], OWN),
];

/// A question; mostly one with something in its answer.
pub(super) fn question(random: &mut Random, base: i64, events: &[Event], model: &Model) -> QueryMetricsRequest {
    for _ in 0..4 {
        let question = any_question(random, base, events);
        if model.answer(&question).values().flatten().any(|figure| !figure.is_empty()) {
            return question;
        }
    }
    any_question(random, base, events)
}

fn any_question(random: &mut Random, base: i64, events: &[Event]) -> QueryMetricsRequest {
    let family = &FAMILIES[random.below(FAMILIES.len())];
    // A custom dimension is known once an event has it.
    let knows_plan = events.iter().any(|event| {
        let has = event.attributes.get("plan").is_some_and(|plan| !plan.is_empty());
        has && subject_of(event).0 == "conversation"
    });
    let dimensions: Vec<&str> =
        family.dimensions.iter().copied().filter(|name| *name != "attributes.plan" || knows_plan).collect();
    let mut metrics = Vec::new();
    for _ in 0..=random.below(2) {
        metrics.push(selection(random, family));
    }
    let mut request = QueryMetricsRequest { tenant: TENANT.to_owned(), ..Default::default() };
    if random.below(2) == 0 && !dimensions.is_empty() {
        for _ in 0..=random.below(2) {
            let name = pick(random, &dimensions).to_owned();
            if !request.group_by.contains(&name) {
                request.group_by.push(name);
            }
        }
    }
    let filtered: Vec<&str> = dimensions.into_iter().filter(|name| !matches!(*name, "weekday" | "hour")).collect();
    if random.below(3) == 0 && !filtered.is_empty() {
        request.filter = filter(random, &filtered);
    }
    let zones = ["", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"];
    pick(random, &zones).clone_into(&mut request.time_zone);
    request.basis = pick(random, family.bases).into();
    let clocks = [Clock::Unspecified, Clock::Calendar, Clock::Business, Clock::Business];
    request.clock = if family.business_clock { pick(random, &clocks) } else { Clock::Unspecified }.into();
    // At instants at which something happens, or beside them.
    let mut instant = |beside: &[i64]| {
        let event = &events[random.below(events.len())];
        milliseconds(event.time.as_ref()).min(base + 21 * DAY) + pick(random, beside)
    };
    let start = instant(&[-DAY, -HOUR, 0, 0, 1]);
    let mut end = instant(&[0, 0, 1, 1, HOUR, DAY, 20 * DAY]);
    if end <= start {
        end = start + pick(random, &[1, HOUR, DAY, 20 * DAY]);
    }
    let end = end.min(latest() + DAY);
    let length = end - start;
    request.end_time = Some(timestamp(end));
    let needs_start = metrics.iter().any(|metric| metric.name == "attrition_rate")
        || request.group_by.iter().any(|name| matches!(name.as_str(), "weekday" | "hour"));
    if needs_start || random.below(3) > 0 {
        request.start_time = Some(timestamp(start));
        let intervals: &[&str] = match length / HOUR {
            0..6 => &["5m", "15m", "30m", "1h", "1d"],
            6..24 => &["30m", "1h", "1d", "1w"],
            24..72 => &["1h", "1d", "1w", "1mo"],
            _ => &["1d", "1d", "1w", "1mo", "1q", "1y"],
        };
        if random.below(2) == 0 {
            pick(random, intervals).clone_into(&mut request.interval);
        }
    }
    request.metrics = metrics;
    request
}

fn selection(random: &mut Random, family: &Family) -> MetricSelection {
    let seconds = |seconds: i64| prost_types::Duration { seconds, nanos: 0 };
    let name = pick(random, family.metrics);
    let mut selection = MetricSelection { name: name.to_owned(), ..Default::default() };
    let variants: &[&str] = match name {
        "abandonment_rate" => &["", "excluding_short"],
        "service_level" => &[
            "",
            "of_offered",
            "answered_of_answered",
            "with_abandons_met",
            "without_early_abandons",
            "without_short_abandons",
        ],
        "handle_time" => &["", "per_conversation"],
        "occupancy" if family.dimensions == ["agent"] => &["", "concurrency_weighted"],
        _ => &[""],
    };
    pick(random, variants).clone_into(&mut selection.variant);
    if family.distribution && selection.variant.is_empty() && random.below(2) == 0 {
        selection.percentiles = vec![0.0, 50.0, pick(random, &[33.3, 90.0, 95.0, 99.9]), 100.0];
        selection.at_most = [0, 20, 3_600].map(seconds).to_vec();
    }
    match name {
        "response_rate" => selection.within = pick(random, &[None, Some(60), Some(3_600), Some(86_400)]).map(seconds),
        "service_level" => selection.within = pick(random, &[None, Some(1), Some(20), Some(60)]).map(seconds),
        "cost_total" | "cost_per_conversation" => {
            pick(random, &["EUR", "USD"]).clone_into(&mut selection.currency);
        }
        "adoption_rate" => pick(random, &["", "f1", "f2"]).clone_into(&mut selection.feature),
        _ => {}
    }
    if matches!(name, "short_abandons" | "abandonment_rate")
        || name == "service_level" && selection.variant == "without_short_abandons"
    {
        selection.short_abandon = pick(random, &[None, Some(1), Some(21)]).map(seconds);
    }
    selection
}

/// One, two with AND or OR, or none of it.
fn filter(random: &mut Random, dimensions: &[&str]) -> String {
    let mut one = || {
        let name = pick(random, dimensions);
        let value = pick(random, values(name));
        let is_number = value.parse::<u32>().is_ok();
        match random.below(5) {
            0 | 1 if is_number => format!("{name} {} {value}", pick(random, &["<", "<=", ">", ">="])),
            0 => format!("{name}:*"),
            1 => format!("{name} != \"{value}\""),
            2 => format!("NOT {name} = \"{value}\""),
            _ => format!("{name} = \"{value}\""),
        }
    };
    let (first, second) = (one(), one());
    match random.below(4) {
        0 => format!("{first} AND {second}"),
        1 => format!("{first} OR {second}"),
        _ => first,
    }
}

fn values(dimension: &str) -> &'static [&'static str] {
    match dimension {
        "channel" => &["email", "voice"],
        "team" => &["t1", "t2", "t3"],
        "agent" => &["A", "B", "C"],
        "priority" => &["high", "low"],
        "topic" => &["bill", "move"],
        "language" => &["de"],
        "direction" => &["inbound", "outbound"],
        "tag" => &["x", "y"],
        "attributes.plan" => &["gold", "9", "10"],
        "quick_reply" => &["QR1"],
        "outcome" => &["answered", "abandoned"],
        "state" => &["available", "busy", "offline"],
        "sla_policy" => &["p1", "p2"],
        "sla_target" => &["first_response", "resolution"],
        "platform" => &["store", "maps"],
        other => panic!("{other} has no values"),
    }
}
