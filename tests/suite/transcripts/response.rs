//! Waits and what ends them.

use deskpulse_proto::v1::Basis;

use super::check;
use super::script::Script;
use crate::harness::{Suite, ask, run};

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
fn bots_automations_and_notes_never_end_a_wait() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T09:01 c1 bot
        2026-06-01T09:02 c1 automation
        2026-06-01T09:03 c1 note A
        = first_response_time absent
        = bot_response_time count 1 sum 1m
        = bot_response_time group=bot
        | bot count 1 sum 1m
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
fn a_share_answered_within_a_time_is_counted_exactly() {
    check(
        "
        09:00 c1 opened
        09:20 c1 reply A
        09:00 c2 opened
        09:20:00.001 c2 reply A
        09:00 c3 opened
        = response_rate within=20m numerator 1 denominator 3
        = response_rate numerator 2 denominator 3
        = reply_time count 2 <=20m 1 <=21m 2
        basis cohort
        = response_rate within=20m numerator 1 denominator 3 pending 0
        ",
    );
}

#[test]
fn business_time_is_that_of_the_team_in_charge_when_the_wait_ends() {
    check(
        "
        calendar day zone=UTC mon-fri 09:00-17:00
        calendar night zone=UTC mon-fri 20:00-24:00 sat-sun 00:00-24:00
        tenant calendar=day
        team night calendar=night
        16:00 by-tenant opened team=day
        2026-06-02T10:00 by-tenant reply A
        16:00 by-team opened team=night
        21:00 by-team reply A
        16:00 moved opened team=day
        18:00 moved updated team=night
        21:30 moved reply A
        clock business
        = first_response_time count 3 sum 4h30m
        = first_response_time group=team
        | day count 1 sum 2h
        | night count 2 sum 2h30m min 1h max 1h30m
        = first_response_time basis=cohort count 3 sum 4h30m
        = reply_time count 3 sum 4h30m
        clock calendar
        = first_response_time count 3 sum 28h30m
        ",
    );
}

#[test]
fn a_calendar_has_blocks_holidays_openings_and_versions() {
    check(
        "
        calendar blocks zone=UTC mon-fri 09:00-12:00 13:00-17:00 sat 10:00-11:00
        calendar holidays zone=UTC mon-fri 09:00-17:00 holiday=2026-06-04 opening=2026-06-06/10:00-12:00
        calendar opened-holidays zone=UTC mon-fri 09:00-17:00 holiday=2026-06-04 opening=2026-06-04/10:00-11:00
        calendar overlapping zone=UTC mon-fri 09:00-13:00 12:00-17:00
        calendar versions zone=UTC mon-fri 09:00-17:00
        calendar versions from=2026-06-04 zone=UTC mon-fri 08:00-10:00
        calendar young from=2026-06-04 zone=UTC mon-fri 09:00-17:00
        team blocks calendar=blocks
        team holidays calendar=holidays
        team opened-holidays calendar=opened-holidays
        team overlapping calendar=overlapping
        team versions calendar=versions
        team young calendar=young
        # From a Wednesday to the Monday after.
        2026-06-03T16:00 c1 opened team=blocks
        2026-06-08T10:00 c1 reply A
        2026-06-03T16:00 c2 opened team=holidays
        2026-06-08T10:00 c2 reply A
        2026-06-03T16:00 c3 opened team=opened-holidays
        2026-06-08T10:00 c3 reply A
        2026-06-03T16:00 c4 opened team=overlapping
        2026-06-08T10:00 c4 reply A
        2026-06-03T16:00 c5 opened team=versions
        2026-06-08T10:00 c5 reply A
        2026-06-03T16:00 c6 opened team=young
        2026-06-08T10:00 c6 reply A
        2026-06-03T16:00 c7 opened team=without
        2026-06-08T10:00 c7 reply A
        = first_response_time clock=business group=team
        | blocks sum 17h
        | holidays sum 12h
        | opened-holidays sum 11h
        | overlapping sum 18h
        | versions sum 7h
        | without sum 114h
        | young sum 25h
        ",
    );
}

#[test]
fn an_assignment_a_handoff_and_a_bot_are_timed_on_both_clocks() {
    check(
        "
        calendar office zone=UTC mon-fri 09:00-17:00
        tenant calendar=office
        2026-06-05T16:50 c1 opened
        2026-06-05T16:51 c1 bot
        2026-06-05T16:55 c1 handoff team:first
        2026-06-08T09:10 c1 assigned A
        2026-06-08T09:30 c1 reply A
        = time_to_assignment count 1 sum 64h20m
        = handoff_response_time count 1 sum 64h35m
        = agent_first_response_time count 1 sum 20m
        = bot_response_time count 1 sum 1m
        clock business
        = time_to_assignment count 1 sum 20m
        = handoff_response_time count 1 sum 35m
        = agent_first_response_time count 1 sum 20m
        = bot_response_time count 1 sum 1m
        ",
    );
}
