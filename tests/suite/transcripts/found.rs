//! What random scenarios and sceptical readers found, each a story of its own.

use super::check;

#[test]
fn a_leg_counts_for_its_queue_even_where_it_was_connected_before_it_was_queued() {
    check(
        "
        09:00 c1 leg L connected agent=A
        09:05 c1 leg L queued queue=Q
        = answered group=team
        | Q count 1
        = queue_wait group=team
        | Q count 1 sum 0s
        = skewed_events count 1
        ",
    );
}

#[test]
fn a_call_in_hand_moves_with_its_conversation_before_the_opening_is_told() {
    check(
        "
        09:00 c1 leg L connected agent=A
        10:00 c1 updated channel=voice
        12:00 c1 opened priority=high
        to 11:00
        = handle_time_apportioned group=channel,priority
        | - high value 1h
        | voice high value 1h
        ",
    );
}

#[test]
fn a_conversation_resolved_before_it_was_opened_is_no_second_contact_of_itself() {
    check(
        "
        09:00 c1 status resolved by=A
        09:10 c1 opened customer=kim topic=bill
        = first_contact_resolution_rate numerator 1 denominator 1
        ",
    );
}

#[test]
fn nobody_is_unanswered_before_the_conversation_was_opened() {
    check(
        "
        09:00 c1 customer
        10:00 c1 opened by=bot
        = unanswered_conversations to=09:30 absent
        = longest_wait to=09:30 absent
        = unanswered_conversations to=10:00 count 1
        = longest_wait to=10:30 value 90m conversation c1
        ",
    );
}

#[test]
fn a_target_that_can_no_longer_be_missed_stays_at_risk() {
    check(
        "
        day 2026-06-01
        calendar last zone=UTC opening=2026-06-01/09:00-10:00
        tenant calendar=last
        policy gold first_response=60m,business,lead=10m
        09:00 c1 opened
        = sla_at_risk to=09:49 absent
        = sla_at_risk to=12:00 count 1 conversation c1
        = sla_breaches absent
        ",
    );
}

#[test]
fn a_deadline_at_closing_time_lasts_until_the_next_opening() {
    check(
        "
        zone Europe/Berlin
        calendar office zone=Europe/Berlin mon-fri 09:00-17:00
        tenant calendar=office
        policy gold first_response=60m,business
        2026-03-27T16:00 in-time opened
        2026-03-28T12:00 in-time reply A
        2026-03-27T16:00 at-opening opened
        2026-03-30T09:00 at-opening reply A
        2026-03-27T16:00 late opened
        2026-03-30T09:00:00.001 late reply A
        = sla_compliance numerator 2 denominator 3
        = sla_breaches to=2026-03-30T09:00 absent
        = sla_breaches from=2026-03-30T09:00 to=2026-03-30T09:00:00.001 count 1
        = sla_overrun_time count 1 sum 0.001s
        ",
    );
}

#[test]
fn messages_of_a_conversation_merged_into_a_circle_come_to_rest_and_back() {
    let circle = "
        09:00 tail opened
        09:01 tail customer #t1
        09:02 tail reply A
        09:00 one opened
        09:05 one customer
        09:00 two opened
        10:00 tail status merged into=one
        10:01 one status merged into=two
        10:02 two status merged into=one
        ";
    check(&format!("{circle}= messages_received absent\n= conversations_opened absent"));
    check(&format!("{circle}11:00 tail retracted t1\n= messages_received absent"));
    check(&format!("{circle}11:00 one status open\n= messages_received count 2\n= conversations_opened count 1"));
    check(&format!(
        "{circle}10:30 tail retracted t1\n11:00 two status open\n= messages_received count 1\n= messages_sent count 1"
    ));
}

#[test]
fn a_second_contact_is_known_by_the_topic_it_comes_to_be_about() {
    check(
        "
        09:00 c1 opened customer=kim topic=refund
        09:05 c1 reply A
        09:10 c1 status resolved by=A
        10:00 c2 opened customer=kim
        10:01 c2 updated topic=refund
        09:00 c3 opened customer=ann topic=refund
        09:10 c3 status resolved by=A
        10:00 c4 opened customer=ann topic=refund
        10:01 c4 updated topic=address
        = first_contact_resolution_rate numerator 1 denominator 2
        ",
    );
}

#[test]
fn calls_in_a_queue_and_in_hand_move_with_every_change_of_their_conversation() {
    check(
        "
        09:00 c1 leg waiting queued queue=Q
        09:00 c1 leg talking connected agent=A
        09:10 c1 updated priority=high
        09:20 c1 updated priority=low
        09:30 c1 updated priority=high
        10:00 c1 leg talking ended reason=completed
        to 10:00
        = handle_time_apportioned group=priority
        | - value 10m
        | high value 40m
        | low value 10m
        = contacts_in_queue to=09:15 group=priority,team
        | high Q count 1
        = contacts_in_queue to=09:25 group=priority,team
        | low Q count 1
        ",
    );
}

#[test]
fn a_second_episode_has_a_handoff_of_its_own() {
    check(
        "
        09:00 c1 opened
        09:05 c1 handoff team:first
        09:10 c1 status resolved by=A
        09:30 c1 status open
        09:40 c1 assigned bot:max
        09:50 c1 handoff team:first
        10:00 c1 status resolved by=A
        11:00 c1 status open
        11:20 c1 status resolved by=A
        = human_resolution_time count 3 sum 35m min 5m max 20m
        = resolution_time count 3 sum 60m
        ",
    );
}
