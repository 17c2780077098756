//! The worked cases of the contract, figure by figure.

use std::fmt::Write as _;

use super::{check, until};

/// A ticket over a weekend on which the clocks go forward.
const CASE_A: &str = "
    zone Europe/Berlin
    calendar office zone=Europe/Berlin mon-fri 09:00-17:00
    tenant calendar=office zone=Europe/Berlin
    policy gold first_response=60m,business
    2026-03-27T16:30:00 c1 opened channel=email
    2026-03-27T16:30:00 c1 customer
    2026-03-27T16:30:05 c1 bot
    2026-03-27T16:32:00 c1 handoff team:first
    2026-03-27T16:40:00 c1 assigned A
    2026-03-27T16:45:00 c1 note A
    2026-03-30T09:30:00 c1 reply A
    2026-03-30T09:40:00 c1 customer
    2026-03-30T09:50:00 c1 customer
    2026-03-30T10:00:00 c1 reply A
    2026-03-30T10:05:00 c1 status pending
    2026-03-30T11:05:00 c1 customer
    2026-03-30T11:05:00 c1 status open
    2026-03-30T11:15:00 c1 transferred B
    2026-03-30T11:20:00 c1 reply B quick=QR1
    2026-03-30T11:25:00 c1 status resolved by=B
    2026-03-30T11:30:00 survey:s1 sent csat conversation=c1
    2026-03-30T12:00:00 survey:s1 answered csat 2
    2026-03-30T12:10:00 survey:s1 answered csat 5 revision=1
    2026-03-30T13:00:00 c1 customer
    2026-03-30T13:00:00 c1 status open
    2026-03-30T13:30:00 c1 reply B
    2026-03-30T14:00:00 c1 status resolved by=B
    ";

/// A call that waits in two queues.
const CASE_B: &str = "
    10:00:00 call leg L1 queued queue=Q1
    10:00:15 call leg L1 alerting agent=A
    10:00:35 call leg L1 alerting agent=A reason=expired
    10:00:40 call leg L1 alerting agent=B
    10:00:50 call leg L1 connected agent=B
    10:05:00 call leg L1 held agent=B
    10:06:00 call leg L1 connected agent=B
    10:08:00 call leg L1 wrapup agent=B
    10:09:30 call leg L1 ended reason=transferred
    10:08:00 call leg L2 queued queue=Q2
    10:08:30 call leg L2 connected agent=C
    10:20:00 call leg L2 wrapup agent=C
    10:22:00 call leg L2 ended reason=completed
    ";

#[test]
fn worked_case_a_on_the_calendar_clock() {
    check(&format!(
        "{CASE_A}
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
        "
    ));
}

#[test]
fn worked_case_a_on_the_business_clock() {
    check(&format!(
        "{CASE_A}
        clock business
        = first_response_time count 1 sum 60m
        = handoff_response_time count 1 sum 58m
        = agent_first_response_time filter=agent=A count 1 sum 50m
        = agent_first_response_time count 2 min 5m max 50m
        = time_to_assignment count 1 sum 10m
        = bot_response_time count 1 sum 5s
        = next_reply_time count 3 mean 21m40s p50 20m max 30m
        = reply_time count 4 min 15m max 60m mean 31m15s p50 20m p95 60m
        = first_resolution_time count 1 sum 2h55m
        = full_resolution_time count 1 sum 5h30m
        = resolution_time count 2 min 1h max 2h55m
        = net_resolution_time count 2 min 1h max 1h55m
        = requester_wait_time count 2 min 1h max 1h55m
        = human_resolution_time count 2 min 1h max 2h53m
        to 2026-03-30T13:00
        = resolution_time count 1 sum 2h55m
        from 2026-03-30T13:00
        to 2026-03-30T15:00
        = resolution_time count 1 sum 1h
        "
    ));
}

#[test]
fn worked_case_a_meets_its_sla_exactly_at_the_deadline() {
    check(&format!(
        "{CASE_A}
        = sla_compliance group=sla_policy,sla_target
        | gold first_response numerator 1 denominator 1 value 100.00%
        = sla_compliance filter=agent=A numerator 1 denominator 1
        = sla_breaches absent
        = sla_overrun_time absent
        = sla_at_risk absent
        "
    ));
}

#[test]
fn worked_case_a_counted() {
    check(&format!(
        "{CASE_A}
        = conversations_opened count 1
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
        "
    ));
}

#[test]
fn worked_case_a_asks_a_customer_who_revises_the_answer() {
    check(&format!(
        "{CASE_A}
        = csat_score numerator 1 denominator 1 value 1
        = csat_mean count 1 value 5
        = survey_response_rate numerator 1 denominator 1
        = csat_score group=agent,channel
        | B email numerator 1 denominator 1
        = csat_score filter=agent=A absent
        = negative_feedback_rate numerator 0 denominator 1
        "
    ));
    let before_the_answer = until(CASE_A, "2026-03-30T11:59:59");
    check(&format!("{before_the_answer}= csat_score absent\n= survey_response_rate numerator 0 denominator 1"));
    let before_the_revision = until(CASE_A, "2026-03-30T12:09:59");
    check(&format!(
        "{before_the_revision}= csat_score numerator 0 denominator 1
        = csat_mean value 2
        = negative_feedback_rate numerator 1 denominator 1"
    ));
}

#[test]
fn worked_case_a_as_seen_before_and_after_the_reopening() {
    let at_half_past_twelve = until(CASE_A, "2026-03-30T12:30:00");
    check(&format!(
        "{at_half_past_twelve}= conversations_resolved count 1
        = full_resolution_time sum 65h55m
        = full_resolution_time clock=business sum 2h55m
        = reopen_rate numerator 0 denominator 1"
    ));
    let reopened = until(CASE_A, "2026-03-30T13:10:00");
    check(&format!(
        "{reopened}= conversations_resolved absent
        = full_resolution_time absent
        = first_resolution_time sum 65h55m
        = resolution_rate numerator 0 denominator 1
        = reopen_rate numerator 1 denominator 1
        = one_touch_rate absent"
    ));
    let resolved_again = until(CASE_A, "2026-03-30T14:01:00");
    check(&format!(
        "{resolved_again}= conversations_resolved count 1
        = full_resolution_time sum 68h30m
        from 2026-03-30T11:00
        to 2026-03-30T12:00
        = conversations_resolved absent
        = resolutions count 1
        = one_touch_rate absent"
    ));
}

#[test]
fn worked_case_b_a_call_that_waits_in_two_queues() {
    check(&format!(
        "{CASE_B}
        = offered count 2
        = offered group=team
        | Q1 count 1
        | Q2 count 1
        = conversations_opened count 1
        = answered count 2
        = answered group=team,agent
        | Q1 B count 1
        | Q2 C count 1
        = abandoned absent
        = abandonment_rate numerator 0 denominator 2
        = queue_wait group=outcome
        | answered count 2 sum 80s min 30s max 50s
        = asa count 2 mean 40s
        = non_responses count 1
        = non_responses group=agent,team
        | A Q1 count 1
        = service_level within=20s numerator 0 denominator 2
        = service_level within=60s numerator 2 denominator 2
        = skewed_events absent
        "
    ));
}

#[test]
fn worked_case_b_is_handled_twice() {
    check(&format!(
        "{CASE_B}
        = handle_time count 2 sum 22m10s mean 11m5s
        = handle_time variant=per_conversation value 22m10s
        = talk_time count 2 sum 17m40s
        = hold_time count 1 sum 1m
        = wrapup_time count 2 sum 3m30s
        = conversations_handled count 1
        = conversations_handled group=agent
        | B count 1
        | C count 1
        filter agent=B
        = handle_time count 1 sum 8m40s
        = talk_time sum 6m10s
        = hold_time sum 1m
        = wrapup_time sum 1m30s
        = transfers count 1
        filter agent=C
        = handle_time count 1 sum 13m30s
        = talk_time sum 11m30s
        = hold_time absent
        = wrapup_time sum 2m
        = transfers absent
        filter
        = handle_time_apportioned value 22m10s
        from 10:00
        to 11:00
        = handle_time_apportioned interval=15m
        | 10:00 value 15m10s
        | 10:15 value 7m
        = handle_time_apportioned interval=15m filter=agent=B
        | 10:00 value 8m40s
        = handle_time interval=15m
        | 10:00 count 1 sum 8m40s
        | 10:15 count 1 sum 13m30s
        "
    ));
}

#[test]
fn worked_case_b_as_of_an_instant_in_between() {
    check(&format!(
        "{CASE_B}
        to 10:00:15
        = contacts_in_queue count 1
        to 10:00:50
        = contacts_in_queue absent
        to 10:08:10
        = contacts_in_queue group=team
        | Q2 count 1
        = handle_time absent
        = handle_time_apportioned value 7m20s
        "
    ));
}

#[test]
fn worked_case_c_has_five_service_levels() {
    let mut story = String::new();
    let mut leg = |number: u32, wait: u32, end: &str| {
        let at = |second: u32| format!("{:02}:{:02}:{:02}", 10 + second / 3_600, second / 60 % 60, second % 60);
        let _ = writeln!(story, "{} c{number} leg L queued queue=Q", at(number));
        if end == "abandoned" {
            let _ = writeln!(story, "{} c{number} leg L ended reason=abandoned", at(number + wait));
        } else {
            let _ = writeln!(story, "{} c{number} leg L connected agent=A{}", at(number + wait), number % 7);
            let _ = writeln!(story, "{} c{number} leg L ended reason=completed", at(number + wait + 100));
        }
    };
    for number in 0..1_000 {
        // Up to exactly 20 seconds, and from 21 on.
        leg(number, if number < 860 { number % 21 } else { 21 + number % 300 }, "completed");
    }
    for number in 0..60 {
        let wait = match number {
            0..10 => number % 5,
            10..20 => 5 + (number - 10) * 15 / 9,
            _ => 21 + number,
        };
        leg(1_000 + number, wait, "abandoned");
    }
    check(&format!(
        "{story}
        = offered count 1060
        = answered count 1000
        = abandoned count 60
        = short_abandons count 10
        = abandonment_rate numerator 60 denominator 1060
        = abandonment_rate variant=excluding_short numerator 50 denominator 1050
        = queue_wait group=outcome
        | abandoned count 60 <=20s 20
        | answered count 1000 <=20s 860
        within 20s
        = service_level variant=answered_of_answered numerator 860 denominator 1000 value 86.00%
        = service_level variant=with_abandons_met numerator 880 denominator 1060 value 83.02%
        = service_level variant=without_early_abandons numerator 860 denominator 1040 value 82.69%
        = service_level variant=without_short_abandons numerator 860 denominator 1050 value 81.90%
        = service_level variant=of_offered numerator 860 denominator 1060 value 81.13%
        = service_level numerator 860 denominator 1060 value 81.13%
        within
        = service_level numerator 860 denominator 1060
        filter team=other
        = service_level absent
        "
    ));
}
