//! Agents: what they do, what they were to do, and who they are.

use super::check;

/// A morning of Ann's: on from 9 to 12, with a break.
const MORNING: &str = "
    09:00 agent:ann state available team=T slots=2
    10:00 agent:ann state busy
    10:30 agent:ann state wrapup
    11:00 agent:ann state break
    11:15 agent:ann state available
    12:00 agent:ann state offline
    ";

#[test]
fn time_in_a_state_belongs_to_the_intervals_it_covers() {
    check(&format!(
        "{MORNING}
        = online_time value 3h
        = available_time value 1h45m
        = handling_time value 1h
        = occupancy numerator 1h denominator 2h45m
        = online_time group=agent,team,state
        | ann T available value 1h45m
        | ann T break value 15m
        | ann T busy value 30m
        | ann T wrapup value 30m
        from 09:30
        to 11:10
        = online_time value 1h40m
        = available_time value 30m
        = handling_time value 1h
        = occupancy numerator 1h denominator 90m
        = handling_time interval=15m
        | 10:00 value 15m
        | 10:15 value 15m
        | 10:30 value 15m
        | 10:45 value 15m
        from 12:00
        to 13:00
        = online_time absent
        = occupancy absent
        "
    ));
}

#[test]
fn a_state_lasts_until_the_next_one_over_midnights_and_until_now() {
    check(
        "
        2026-06-01T22:00 agent:ann state available
        2026-06-02T06:00 agent:ann state offline
        2026-06-02T20:00 agent:ann state available
        2026-06-02T20:00 agent:ben state available
        = online_time interval=1d from=2026-06-01 to=2026-06-04
        | 2026-06-01 value 2h
        | 2026-06-02 value 14h
        | 2026-06-03 value 48h
        = online_time group=agent from=2026-06-02 to=2026-06-02T21:00
        | ann value 7h
        | ben value 1h
        = online_time filter=agent=ben from=2026-06-02 to=2026-06-04 value 28h
        ",
    );
}

#[test]
fn agents_are_counted_by_their_state_as_of_an_instant() {
    check(&format!(
        "{MORNING}
        10:10 agent:ben state available team=U
        = agents to=08:59 absent
        = agents to=09:30 count 1 value 1
        = agents to=10:15 group=state,team
        | available U count 1
        | busy T count 1
        = agents to=12:30 group=state
        | available count 1
        | offline count 1
        "
    ));
}

#[test]
fn occupancy_weighted_by_concurrency_is_contact_time_over_slots() {
    check(&format!(
        "{MORNING}
        10:00 c1 leg L connected agent=ann
        10:30 c1 leg L ended reason=completed
        10:00 c2 leg L connected agent=ann
        10:45 c2 leg L ended reason=completed
        = occupancy variant=concurrency_weighted group=agent
        | ann numerator 75m denominator 6h
        = occupancy variant=concurrency_weighted from=10:00 to=10:30 numerator 1h denominator 1h value 1
        "
    ));
}

#[test]
fn adherence_is_to_the_kind_of_state_and_a_later_schedule_overrides() {
    check(&format!(
        "{MORNING}
        07:00 agent:ann schedule 08:30..11:00 available productive paid
        07:00 agent:ann schedule 11:00..11:30 break paid
        07:00 agent:ann schedule 11:30..12:00 available paid
        07:00 agent:ben schedule 09:00..10:00 available paid
        09:00 agent:ben state available
        09:00 agent:ben schedule 09:30..10:00 training
        10:00 agent:ben state offline
        = adherence group=agent
        | ann numerator 2h45m denominator 3h30m
        | ben numerator 30m denominator 1h
        = utilization group=agent
        | ann numerator 2h denominator 3h
        | ben numerator 0 denominator 1h
        = shrinkage group=agent
        | ann numerator 45m denominator 3h30m
        | ben numerator 0 denominator 30m
        = adherence filter=agent=ann from=09:00 to=11:15 numerator 2h15m denominator 2h15m value 1
        = shrinkage filter=agent=ann from=11:00 to=11:30 value 50.00%
        "
    ));
}

#[test]
fn throughput_is_conversations_handled_an_hour_online() {
    check(
        "
        09:00 agent:ann state available
        11:00 agent:ann state offline
        09:00 agent:ben state available
        10:00 agent:ben state offline
        09:10 c1 reply ann
        09:20 c1 reply ann
        09:30 c2 reply ann
        10:10 c3 leg L connected agent=ann
        10:15 c3 leg L ended reason=completed
        09:40 c1 reply ben
        = throughput group=agent
        | ann numerator 3 denominator 2h value 1.5
        | ben numerator 1 denominator 1h value 1
        = throughput numerator 3 denominator 3h value 1
        = throughput from=10:00 to=11:00 filter=agent=ann numerator 1 denominator 1h
        ",
    );
}

#[test]
fn a_task_is_completed_when_its_last_status_says_so() {
    check(
        "
        09:00 task:done assigned ann
        10:00 task:done completed
        11:00 task:done completed
        09:00 task:cancelled assigned ann
        10:00 task:cancelled cancelled
        09:00 task:open assigned ben
        09:00 task:unassigned completed cas
        09:00 task:again assigned ann
        10:00 task:again completed
        10:30 task:again assigned ann
        09:00 task:passed-on assigned ann
        09:30 task:passed-on assigned ben
        10:00 task:passed-on completed
        09:00 task:cancelled-late assigned ann
        10:00 task:cancelled-late completed
        11:00 task:cancelled-late cancelled
        = tasks_assigned count 6
        = tasks_assigned group=agent
        | ann count 5
        | ben count 1
        = tasks_completed count 3
        = tasks_completed group=agent
        | ann count 1
        | ben count 1
        | cas count 1
        = tasks_completed from=10:00 to=11:00 count 2
        = task_completion_rate numerator 2 denominator 6
        = task_completion_rate from=10:00 to=11:00 absent
        ",
    );
}

#[test]
fn attrition_is_of_the_mean_headcount() {
    check(
        "
        2026-01-01 agent:ann hired
        2026-01-01 agent:ben hired
        2026-06-06 agent:ben left
        2026-01-01 agent:never-hired state offline
        2026-06-11 agent:never-hired left
        2026-06-01 agent:cas state offline
        2026-07-01 agent:ann left
        2026-07-11 agent:ann hired
        from 2026-06-01
        to 2026-06-11
        = attrition_rate value 40.00%
        from 2026-06-02
        to 2026-06-06
        = attrition_rate value 0
        from 2026-07-01
        to 2026-07-21
        = attrition_rate value 2
        from 2025-01-01
        to 2025-02-01
        = attrition_rate absent
        ",
    );
}

#[test]
fn employees_are_asked_too() {
    check(
        "
        09:00 survey:s1 sent engagement agent=ann
        09:10 survey:s1 answered engagement 4
        09:00 survey:s2 sent engagement agent=ben
        09:10 survey:s2 answered engagement 2
        09:00 survey:s3 answered nps 0
        10:00 survey:e1 answered engagement 10 scale=0..10 agent=ann
        10:00 survey:e2 answered engagement 9 scale=0..10 agent=ann
        10:00 survey:e3 answered engagement 8 scale=0..10 agent=ben
        10:00 survey:e4 answered engagement 6 scale=0..10 agent=ben
        = enps numerator 1 denominator 4 value 25
        = enps filter=agent=ann numerator 2 denominator 2 value 100
        = nps numerator -1 denominator 1 value -100
        to 09:30
        = engagement_mean count 2 value 3
        = engagement_mean group=agent
        | ann count 1 value 4
        | ben count 1 value 2
        = enps absent
        ",
    );
}
