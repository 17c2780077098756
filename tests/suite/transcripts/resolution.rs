//! Episodes, from opened or reopened to resolved.

use super::check;

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

#[test]
fn every_part_of_an_episode_is_measured_on_the_business_clock() {
    check(
        "
        calendar office zone=UTC mon-fri 09:00-17:00
        tenant calendar=office
        # Opened on a Friday, handed over after an hour, pending over the weekend, on hold for an hour of Monday.
        2026-06-05T14:00 c1 opened
        2026-06-05T14:10 c1 bot
        2026-06-05T15:00 c1 handoff team:first
        2026-06-05T16:00 c1 status pending
        2026-06-08T10:00 c1 status open
        2026-06-08T11:00 c1 status on_hold
        2026-06-08T12:00 c1 status open
        2026-06-08T13:00 c1 reply A
        2026-06-08T13:00 c1 status resolved by=A
        clock business
        = first_resolution_time count 1 sum 7h
        = full_resolution_time count 1 sum 7h
        = resolution_time count 1 sum 7h
        = net_resolution_time count 1 sum 4h
        = requester_wait_time count 1 sum 5h
        = human_resolution_time count 1 sum 6h
        = resolution_time basis=cohort count 1 sum 7h
        clock calendar
        = resolution_time count 1 sum 71h
        = net_resolution_time count 1 sum 4h
        = requester_wait_time count 1 sum 5h
        = human_resolution_time count 1 sum 70h
        ",
    );
}

#[test]
fn a_call_is_a_first_contact_when_one_leg_was_connected() {
    check(
        "
        10:00 one leg L1 connected agent=A
        10:05 one leg L1 ended reason=completed
        10:06 one status resolved by=A
        10:00 two leg L1 connected agent=A
        10:05 two leg L1 ended reason=completed
        11:00 two leg L2 connected agent=A
        11:05 two leg L2 ended reason=completed
        11:06 two status resolved by=A
        10:00 passed-on leg L1 connected agent=A
        10:05 passed-on leg L1 ended reason=transferred
        10:05 passed-on leg L2 connected agent=B
        10:15 passed-on leg L2 ended reason=completed
        10:16 passed-on status resolved by=B
        10:00 called-and-written leg L1 connected agent=A
        10:05 called-and-written leg L1 ended reason=completed
        10:10 called-and-written reply A
        10:16 called-and-written status resolved by=A
        = first_contact_resolution_rate numerator 2 denominator 4
        = conversations_handled count 4
        = conversations_handled group=agent
        | A count 4
        | B count 1
        = transfers count 1
        = human_resolution_time count 4
        = messages_sent count 1
        = waits_started absent
        ",
    );
}

#[test]
fn first_contact_is_provisional_until_a_week_has_passed() {
    check(
        "
        09:00 c1 opened customer=ann
        09:10 c1 reply A
        09:20 c1 status resolved by=A
        = first_contact_resolution_rate numerator 1 denominator 1 provisional yes
        = first_contact_resolution_rate to=2026-06-02 numerator 1 denominator 1 provisional no
        ",
    );
}

#[test]
fn a_touch_is_a_reply_and_no_note() {
    check(
        "
        09:00 one opened
        09:05 one note A
        09:10 one reply A
        09:20 one status resolved by=A
        09:00 none opened
        09:20 none status resolved by=A
        09:00 three opened
        09:10 three reply A
        09:11 three reply A
        09:12 three reply B
        09:20 three status resolved by=A
        = one_touch_rate numerator 1 denominator 3
        = replies_per_resolution numerator 4 denominator 3
        = resolutions count 3
        ",
    );
}

#[test]
fn a_rate_of_resolution_is_of_what_was_opened_and_a_ratio_is_a_flow() {
    check(
        "
        2026-06-01T09:00 monday opened
        2026-06-02T09:00 tuesday opened
        2026-06-02T10:00 monday status resolved by=A
        2026-06-02T11:00 tuesday status resolved by=A
        2026-06-03T11:00 tuesday status open
        from 2026-06-01
        to 2026-06-02
        = resolution_rate numerator 1 denominator 1
        = resolution_ratio numerator 0 denominator 1
        from 2026-06-02
        to 2026-06-03
        = resolution_rate numerator 0 denominator 1
        = resolution_ratio numerator 2 denominator 1 value 2
        = reopens absent
        = reopen_rate numerator 1 denominator 2
        = conversations_resolved count 1
        from 2026-06-03
        to 2026-06-04
        = reopens count 1
        = reopen_rate absent
        ",
    );
}
