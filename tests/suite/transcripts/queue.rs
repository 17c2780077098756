//! Queues and calls, leg by leg.

use super::check;

#[test]
fn a_leg_in_a_queue_is_answered_abandoned_or_ends_otherwise() {
    check(
        "
        10:00:00 answered leg L queued queue=Q
        10:00:30 answered leg L connected agent=A
        10:05:30 answered leg L ended reason=completed
        10:00:00 short leg L queued queue=Q
        10:00:04.999 short leg L ended reason=abandoned
        10:00:00 abandoned leg L queued queue=Q
        10:00:05 abandoned leg L ended reason=abandoned
        10:00:00 callback leg L queued queue=Q
        10:01:00 callback leg L ended reason=callback
        10:00:00 voicemail leg L queued queue=Q
        10:02:00 voicemail leg L ended reason=voicemail
        10:00:00 overflow leg L queued queue=Q
        10:03:00 overflow leg L ended reason=overflow
        10:00:00 closed leg L queued queue=Q
        10:03:30 closed leg L ended reason=closed
        10:00:00 unsaid leg L queued queue=Q
        10:04:00 unsaid leg L ended
        10:00:00 in-menu leg L ivr
        10:00:20 in-menu leg L ended reason=abandoned
        10:00:00 outbound leg L connected agent=A
        10:01:00 outbound leg L ended reason=completed
        10:00:00 waiting leg L queued queue=Q
        = offered count 9
        = answered count 1
        = abandoned count 2
        = short_abandons count 1
        = short_abandons short=6s count 2
        = abandonment_rate numerator 2 denominator 9
        = abandonment_rate variant=excluding_short numerator 1 denominator 8
        = abandonment_rate variant=excluding_short short=6s numerator 0 denominator 7
        = queue_wait count 8
        = queue_wait group=outcome
        | abandoned count 2 sum 9.999s min 4.999s max 5s
        | answered count 1 sum 30s
        | callback count 1 sum 1m
        | closed count 1 sum 3m30s
        | other count 1 sum 4m
        | overflow count 1 sum 3m
        | voicemail count 1 sum 2m
        = asa count 1 mean 30s
        = callbacks count 1
        = voicemails count 1
        = overflows count 1
        = talk_time count 2 sum 6m
        = contacts_in_queue count 1
        = contacts_in_queue to=10:00:00 count 9
        = contacts_in_queue to=10:00:05 count 7
        filter team=Q
        = handle_time count 1
        = offered count 9
        ",
    );
}

#[test]
fn a_wait_counts_when_it_ended_and_for_the_cohort_when_it_began() {
    check(
        "
        10:14:50 c1 leg L queued queue=Q
        10:15:20 c1 leg L connected agent=A
        10:16:00 c1 leg L ended reason=completed
        10:14:55 c2 leg L queued queue=Q
        10:15:30 c2 leg L ended reason=abandoned
        from 10:00
        to 10:15
        = offered count 2
        = answered absent
        = abandoned absent
        = abandonment_rate numerator 0 denominator 2
        basis cohort
        = answered count 1
        = abandoned count 1
        = abandonment_rate numerator 1 denominator 2
        = queue_wait count 2 sum 65s
        = service_level within=30s numerator 1 denominator 2
        from 10:15
        to 10:30
        = abandonment_rate absent
        basis event
        = answered count 1
        = abandoned count 1
        = service_level within=30s numerator 1 denominator 2
        = service_level within=29s numerator 0 denominator 2
        ",
    );
}

#[test]
fn a_leg_counts_in_its_queue_and_for_the_agent_who_took_it() {
    check(
        "
        10:00:00 c1 opened team=sales agent=owner channel=voice priority=high
        10:00:00 c1 leg L queued queue=Q1
        10:00:30 c1 leg L connected agent=A
        10:01:00 c1 updated priority=low
        10:02:00 c1 leg L ended reason=completed
        10:03:00 c1 leg M queued
        10:03:10 c1 leg M connected agent=A
        10:04:00 c1 leg M ended reason=completed
        10:05:00 c1 leg N queued queue=Q2
        10:05:30 c1 leg N ended reason=abandoned
        = offered group=team,priority
        | Q1 high count 1
        | Q2 low count 1
        | sales low count 1
        = answered group=team,agent,priority
        | Q1 A high count 1
        | sales A low count 1
        = abandoned group=team,channel
        | Q2 voice count 1
        = talk_time group=team,agent,priority
        | Q1 A low count 1 sum 90s
        | sales A low count 1 sum 50s
        ",
    );
}

#[test]
fn a_leg_held_twice_is_one_sample_of_each_of_its_parts() {
    check(
        "
        10:00:00 c1 leg L ivr
        10:00:10 c1 leg L queued queue=Q
        10:00:20 c1 leg L connected agent=A
        10:01:00 c1 leg L connected agent=A
        10:02:20 c1 leg L held
        10:03:20 c1 leg L connected agent=A
        10:04:20 c1 leg L held
        10:04:50 c1 leg L held
        10:05:20 c1 leg L connected agent=A
        10:08:20 c1 leg L wrapup
        10:09:00 c1 leg L ended reason=completed
        10:00:00 c2 leg L connected agent=B
        10:02:00 c2 leg L ended reason=completed
        10:00:00 open leg L connected agent=C
        = talk_time count 2 sum 8m
        = hold_time count 1 sum 2m
        = wrapup_time count 1 sum 40s
        = handle_time count 2 sum 10m40s mean 5m20s
        = asa count 1 mean 10s
        filter agent=C
        = handle_time absent
        = handle_time_apportioned to=10:30 value 30m
        = handle_time_apportioned from=10:10 to=10:30 value 20m
        = handle_time_apportioned from=10:10 to=10:30 filter=agent=A absent
        ",
    );
}

#[test]
fn an_alert_that_was_not_taken_is_told_by_its_reason_and_credited_to_whom_it_rang_at() {
    check(
        "
        10:00:00 c1 leg L queued queue=Q
        10:00:05 c1 leg L alerting agent=A
        10:00:15 c1 leg L alerting reason=expired
        10:00:20 c1 leg L alerting agent=B
        10:00:25 c1 leg L queued reason=declined
        10:00:30 c1 leg L alerting agent=A
        10:00:40 c1 leg L alerting agent=A reason=expired
        10:00:50 c1 leg L alerting agent=C
        10:01:00 c1 leg L connected agent=C
        10:02:00 c1 leg L ended reason=completed
        10:00:00 c2 leg L queued queue=Q
        10:00:10 c2 leg L alerting agent=B
        10:00:30 c2 leg L ended reason=declined
        = non_responses count 4
        = non_responses group=agent,team
        | A Q count 2
        | B Q count 2
        = offered count 2
        = asa count 1 mean 1m
        = queue_wait group=outcome
        | answered count 1 sum 1m
        | declined count 1 sum 30s
        ",
    );
}

#[test]
fn a_call_whose_clocks_disagree_has_waits_and_talks_of_nothing() {
    check(
        "
        10:00:02 answered leg L queued queue=Q
        10:00:00 answered leg L connected agent=A
        10:05:00 answered leg L ended reason=completed
        10:00:02 abandoned leg L queued queue=Q
        10:00:00 abandoned leg L ended reason=abandoned
        10:00:00 talked leg L connected agent=A
        09:59:00 talked leg L ended reason=completed
        = asa count 1 mean 0s
        = queue_wait count 2 sum 0s max 0s
        = short_abandons count 1
        = talk_time count 2 sum 5m min 0s
        = handle_time count 2 sum 5m
        = skewed_events count 3
        = contacts_in_queue to=10:00:03 absent
        = service_level numerator 1 denominator 2
        ",
    );
}

#[test]
fn a_leg_taken_by_another_agent_is_a_transfer_by_the_last_one() {
    check(
        "
        10:00:00 c1 leg L connected agent=A
        10:01:00 c1 leg L ended reason=transferred
        10:01:00 c1 leg M queued queue=Q
        10:01:30 c1 leg M connected agent=B
        10:02:00 c1 leg M ended reason=completed
        10:10:00 c1 leg N connected agent=B
        10:11:00 c1 leg N ended reason=completed
        10:00:00 c2 assigned A
        10:00:30 c2 leg L connected agent=A
        10:01:00 c2 leg L ended reason=completed
        10:01:30 c2 assigned B
        10:01:40 c2 leg M connected agent=B
        10:02:00 c2 leg M ended reason=completed
        = transfers count 2
        = transfers filter=agent=A count 2
        = transfer_rate numerator 2 denominator 2
        = conversations_handled count 2
        ",
    );
}

#[test]
fn handling_per_conversation_sums_its_legs() {
    check(
        "
        10:00:00 c1 leg L connected agent=A
        10:10:00 c1 leg L ended reason=completed
        11:00:00 c1 leg M connected agent=A
        11:02:00 c1 leg M ended reason=completed
        10:00:00 c2 leg L connected agent=B
        10:03:00 c2 leg L ended reason=completed
        = handle_time count 3 mean 5m
        = handle_time variant=per_conversation value 7m30s
        = handle_time variant=per_conversation group=agent
        | A value 12m
        | B value 3m
        ",
    );
}
