//! Targets, deadlines and what became of them.

use super::check;
use super::script::Script;
use crate::harness::{Suite, run};

#[test]
fn a_target_is_met_up_to_its_deadline_and_breached_at_it() {
    check(
        "
        policy gold first_response=60m where priority=high
        09:00 met opened priority=high
        10:00 met reply A
        09:00 missed opened priority=high
        10:00:00.001 missed reply A
        09:00 late opened priority=high
        11:30 late reply B
        09:00 never opened priority=high
        09:00 other opened priority=low
        = sla_compliance numerator 1 denominator 4
        = sla_compliance group=sla_policy,sla_target,priority
        | gold first_response high numerator 1 denominator 4 value 25.00%
        = sla_breaches count 3
        = sla_overrun_time count 2 sum 5400.001s min 0.001s max 90m
        = sla_breaches interval=1h from=09:00 to=12:00
        | 10:00 count 3
        = sla_overrun_time interval=1h from=09:00 to=12:00
        | 10:00 count 1 sum 0.001s
        | 11:00 count 1 sum 90m
        = sla_compliance to=10:00 absent
        = sla_compliance filter=agent=A numerator 1 denominator 1
        = sla_overrun_time group=agent
        | A count 1
        | B count 1
        ",
    );
}

#[test]
fn a_resolution_target_pauses_while_pending_and_not_on_hold() {
    check(
        "
        policy gold resolution=2h
        09:00 resumed opened
        10:00 resumed status pending
        12:00 resumed status open
        13:00 resumed status resolved by=A
        09:00 late opened
        10:00 late status pending
        12:00 late status open
        13:30 late status resolved by=A
        09:00 paused opened
        10:00 paused status pending
        09:00 out-of-pending opened
        10:00 out-of-pending status pending
        20:00 out-of-pending status resolved by=A
        09:00 on-hold opened
        09:30 on-hold status on_hold
        12:00 on-hold status resolved by=B
        = sla_compliance numerator 2 denominator 4
        = sla_breaches interval=1h from=09:00 to=23:00
        | 11:00 count 1
        | 13:00 count 1
        = sla_overrun_time count 2 min 30m max 1h
        = sla_compliance interval=1h from=09:00 to=23:00
        | 11:00 numerator 0 denominator 1
        | 13:00 numerator 1 denominator 2
        | 20:00 numerator 1 denominator 1
        ",
    );
}

#[test]
fn a_wait_that_a_resolve_cancels_is_neither_met_nor_breached_unless_it_was_late_already() {
    check(
        "
        policy gold first_response=60m next_response=30m
        09:00 in-time opened
        09:30 in-time status resolved
        09:00 at-the-deadline opened
        10:00 at-the-deadline status resolved
        09:00 too-late opened
        10:30 too-late status resolved
        = sla_compliance numerator 0 denominator 1
        = sla_breaches from=10:00 to=10:01 count 1
        = sla_overrun_time absent
        ",
    );
}

#[test]
fn the_first_wait_has_the_first_target_and_each_further_one_the_next() {
    check(
        "
        policy gold first_response=60m next_response=30m resolution=10h
        09:00 c1 opened
        09:30 c1 reply A
        10:00 c1 customer
        10:20 c1 reply A
        11:00 c1 customer
        11:40 c1 reply B
        12:00 c1 status resolved by=B
        13:00 c1 status open
        14:00 c1 status resolved by=B
        09:00 cancelled opened
        09:10 cancelled status resolved by=A
        10:00 cancelled customer
        10:20 cancelled reply A
        = sla_compliance group=sla_target
        | first_response numerator 1 denominator 1
        | next_response numerator 2 denominator 3
        | resolution numerator 3 denominator 3
        = sla_overrun_time group=sla_target,agent
        | next_response B count 1 sum 10m
        ",
    );
}

#[test]
fn the_version_in_force_when_a_target_starts_is_pinned_to_it() {
    check(
        "
        policy gold first_response=60m
        policy gold from=2026-06-01T10:00 first_response=10m
        policy gold from=2026-06-01T12:00
        policy silver first_response=40m where channel=email
        09:59:59 c1 opened channel=email
        10:30:59 c1 reply A
        10:00 c2 opened channel=chat
        10:31 c2 reply A
        12:00 c3 opened channel=chat
        18:00 c3 reply A
        13:00 c4 opened channel=email
        14:00 c4 reply A
        = sla_compliance group=sla_policy
        | gold numerator 1 denominator 2
        | silver numerator 1 denominator 2
        = sla_compliance interval=1h from=10:00 to=11:00
        | 10:00 numerator 2 denominator 3
        ",
    );
}

#[test]
fn a_policy_matches_a_target_by_the_dimensions_at_its_start() {
    check(
        "
        policy gold first_response=10m next_response=10m where priority=high AND NOT team=other
        09:00 raised opened priority=low
        09:05 raised updated priority=high
        09:30 raised reply A
        10:00 raised customer
        10:30 raised reply A
        09:00 moved opened priority=high team=mine
        09:05 moved updated priority=low team=other
        09:30 moved reply A
        = sla_compliance group=sla_target
        | first_response numerator 0 denominator 1
        | next_response numerator 0 denominator 1
        = sla_breaches group=team,priority filter=sla_target=first_response
        | other low count 1
        ",
    );
}

#[test]
fn a_business_deadline_lies_within_the_hours_of_the_team_at_the_start() {
    check(
        "
        calendar office zone=UTC mon-fri 09:00-17:00
        calendar always zone=UTC mon-sun 00:00-24:00
        calendar never zone=UTC
        tenant calendar=office
        team always calendar=always
        team never calendar=never
        policy gold first_response=2h,business,lead=40m
        # A Friday; the deadline is Monday at 10:00.
        2026-06-05T16:00 met opened
        2026-06-08T10:00 met reply A
        2026-06-05T16:00 missed opened
        2026-06-08T11:30 missed reply A
        2026-06-05T16:00 next-day opened
        2026-06-09T09:30 next-day reply A
        2026-06-05T16:00 open opened
        2026-06-05T16:00 moved opened
        2026-06-05T16:30 moved updated team=always
        2026-06-08T09:45 moved reply A
        2026-06-05T16:00 always opened team=always
        2026-06-05T18:30 always reply A
        2026-06-05T16:00 never opened team=never
        2026-06-12T16:00 never reply A
        2026-06-05T16:00 risky opened topic=risk
        2026-06-08T09:50 risky reply A
        = sla_compliance numerator 4 denominator 8
        = sla_breaches interval=1h from=2026-06-05T16:00 to=2026-06-10
        | 2026-06-05T18:00 count 1
        | 2026-06-08T10:00 count 3
        = sla_overrun_time count 3 min 30m max 7h30m
        filter topic=risk
        = sla_at_risk to=2026-06-07T12:00 absent
        = sla_at_risk to=2026-06-08T09:19 absent
        = sla_at_risk to=2026-06-08T09:20 count 1 conversation risky deadline 2026-06-08T10:00
        = sla_at_risk to=2026-06-08T09:50 absent
        ",
    );
}

#[test]
fn a_target_on_the_business_clock_is_at_risk_over_the_weekend() {
    check(
        "
        calendar office zone=UTC mon-fri 09:00-17:00
        tenant calendar=office
        policy gold first_response=70m,business,lead=40m
        2026-06-05T16:00 c1 opened
        = sla_at_risk to=2026-06-05T16:29:59 absent
        = sla_at_risk to=2026-06-05T16:30 count 1 deadline 2026-06-08T09:10
        = sla_at_risk to=2026-06-07T12:00 count 1 deadline 2026-06-08T09:10
        = sla_at_risk to=2026-06-08T09:11 absent
        = sla_breaches from=2026-06-08T09:10 to=2026-06-08T09:11 count 1
        ",
    );
}

#[test]
fn a_target_is_at_risk_from_its_lead_until_it_is_over_or_paused() {
    check(
        "
        policy gold first_response=60m,lead=10m resolution=2h,lead=30m
        policy silver first_response=30m
        09:00 c1 opened
        09:55 c1 reply A
        09:05 c2 opened
        = sla_at_risk to=09:49:59 absent
        filter sla_target=first_response
        = sla_at_risk to=09:50 count 1 value 1 conversation c1 deadline 10:00
        = sla_at_risk to=09:54:59 count 1 conversation c1 deadline 10:00
        = sla_at_risk to=09:55 count 1 conversation c2 deadline 10:05
        = sla_at_risk to=10:06 absent
        = sla_at_risk to=09:55 group=sla_policy
        | gold count 1 conversation c2
        filter sla_target=resolution
        10:35 c1 status pending
        12:00 c1 status open
        12:20 c1 status resolved by=A
        = sla_at_risk to=10:29 absent
        = sla_at_risk to=10:30 count 1 conversation c1 deadline 11:00
        = sla_at_risk to=10:35 count 1 conversation c2 deadline 11:05
        = sla_at_risk to=12:00 count 1 conversation c1 deadline 12:25
        = sla_at_risk to=12:20 absent
        = sla_compliance numerator 1 denominator 2
        ",
    );
}

#[test]
fn a_running_target_is_neither_met_nor_missed_and_at_risk_as_of_now() {
    let suite = Suite::start();
    run(async {
        let now = jiff::Timestamp::now();
        let ago =
            |minutes: i64| (now - jiff::SignedDuration::from_mins(minutes)).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let mut script = Script::new("t");
        script.read("policy gold first_response=2h,lead=1h59m next_response=2h resolution=4h");
        script.read(&format!("{} c1 opened", ago(10)));
        script.read("= sla_compliance absent");
        script.read("= sla_breaches absent");
        script.read("= sla_at_risk count 1 conversation c1");
        script.config.send(suite.url()).await;
        let client = suite.client();
        client.send(script.events).await;
        for expectation in script.expectations {
            expectation.check(&client, "now").await;
        }
    });
}

#[test]
fn every_episode_has_a_resolution_target_of_its_own() {
    check(
        "
        policy gold resolution=1h
        09:00 c1 opened
        09:30 c1 status resolved by=A
        12:00 c1 status open
        13:30 c1 status resolved by=B
        20:00 c1 status open
        = sla_compliance numerator 1 denominator 3
        = sla_breaches interval=1h from=09:00 to=23:00
        | 13:00 count 1
        | 21:00 count 1
        = sla_overrun_time count 1 sum 30m
        ",
    );
}
