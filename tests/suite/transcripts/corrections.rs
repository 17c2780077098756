//! What comes late, is taken back or was never to count.

use super::check;
use super::script::Script;
use crate::harness::{Suite, ask, run};

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
fn an_event_of_any_subject_can_be_taken_back() {
    check(
        "
        10:00:00 c1 leg L queued queue=Q
        10:00:30 c1 leg L connected agent=A #connected
        10:01:00 c1 leg L ended reason=abandoned
        12:00 c1 retracted connected
        10:00 c2 opened
        10:01 c2 cost 5 EUR #cost
        12:00 c2 retracted cost
        09:00 agent:ann state available
        10:00 agent:ann state offline #lunch
        11:00 agent:ann state offline
        12:00 agent:ann retracted lunch
        09:00 survey:s1 sent csat
        09:10 survey:s1 answered csat 1
        09:20 survey:s1 answered csat 5 revision=1 #revised
        12:00 survey:s1 retracted revised
        09:00 survey:s2 answered csat 5 #only
        12:00 survey:s2 retracted only
        09:00 review:r1 posted 1 #angry
        12:00 review:r1 retracted angry
        09:00 review:r2 posted 5
        09:00 task:t1 assigned ann
        09:30 task:t1 completed #done
        12:00 task:t1 retracted done
        09:00 customer:kim order
        09:10 customer:kim order #double
        12:00 customer:kim retracted double
        09:00 session:x1 ended escalated
        09:10 session:x1 ended resolved #resolved
        12:00 session:x1 retracted resolved
        09:00 team:T cost 7 EUR
        09:00 team:T cost 8 EUR #wrong
        12:00 team:T retracted wrong
        = answered absent
        = abandoned count 1
        = queue_wait count 1 sum 1m
        = online_time value 2h
        = csat_score numerator 0 denominator 1
        = survey_response_rate numerator 1 denominator 1
        = positive_review_rate numerator 1 denominator 1
        = task_completion_rate numerator 0 denominator 1
        = tasks_completed absent
        = repeat_purchase_rate numerator 0 denominator 1
        = deflection_rate numerator 0 denominator 1
        = cost_total currency=EUR value 7_000_000
        ",
    );
}

#[test]
fn a_reply_taken_back_breaches_what_it_had_met() {
    check(
        "
        policy gold first_response=60m
        09:00 c1 opened team=x
        09:30 c1 reply A #wrong
        11:00 c1 reply A
        12:00 c1 retracted wrong
        = sla_compliance numerator 0 denominator 1
        = sla_breaches from=10:00 to=10:01 count 1
        = sla_overrun_time count 1 sum 1h
        ",
    );
}

#[test]
fn messages_of_a_merged_conversation_count_in_the_one_it_went_into() {
    check(
        "
        09:00 kept opened team=first channel=email
        09:00 double opened team=second channel=chat
        09:05 double customer mood=negative #sad
        09:06 double assigned ann
        09:08 double reply ann quick=hello
        09:09 double note ann
        09:10 double status merged into=kept
        09:20 kept updated team=third
        09:30 double customer
        10:00 double scored sad positive
        10:30 kept reply ben
        = conversations_opened count 1
        = messages_received group=team,channel
        | first email count 1
        | third email count 1
        = messages_sent group=agent,team
        | ann first count 1
        | ben third count 1
        = private_notes count 1
        = messages_sent filter=quick_reply=hello count 1
        = sentiment_positive_rate numerator 1 denominator 1
        = first_response_time count 1 sum 8m
        = next_reply_time count 1 sum 1h
        = waits_started count 2
        = conversations_active count 1
        = time_to_assignment absent
        = conversations_handled group=agent
        | ann count 1
        | ben count 1
        ",
    );
}

#[test]
fn merges_pass_on_come_back_and_never_run_in_circles() {
    check(
        "
        09:00 a opened
        09:01 a customer
        09:10 a status merged into=b
        09:00 b opened
        09:02 b customer
        09:20 b status merged into=c
        09:00 c opened topic=c
        09:30 c reply A
        09:00 restored opened topic=restored
        09:01 restored customer
        09:10 restored status merged into=c
        09:40 restored status open
        09:00 x opened topic=x
        09:01 x customer
        09:10 x status merged into=y
        09:00 y opened topic=y
        09:01 y customer
        09:10 y status merged into=x
        = conversations_opened group=topic
        | c count 1
        | restored count 1
        = messages_received group=topic
        | c count 2
        | restored count 1
        ",
    );
}

#[test]
fn a_conversation_known_by_a_merge_only_exists_from_its_first_moved_message() {
    check(
        "
        09:00 lost opened
        09:05 lost customer
        09:10 lost status merged into=ghost
        = conversations_opened count 1
        = conversations_opened from=09:05 to=09:06 count 1
        = messages_received count 1
        = unanswered_conversations count 1
        = longest_wait to=10:05 value 1h conversation ghost
        ",
    );
}
