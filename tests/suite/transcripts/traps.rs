//! The mistakes other tools make.

use super::check;

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
fn an_average_is_no_average_of_averages() {
    check(
        "
        09:00 c1 opened team=x
        09:01 c1 reply A
        09:00 c2 opened team=x
        09:01 c2 reply A
        09:00 c3 opened team=x
        09:01 c3 reply A
        10:00 c4 opened team=y
        11:01 c4 reply B
        = reply_time count 4 mean 16m
        = reply_time group=agent
        | A count 3 mean 1m
        | B count 1 mean 61m
        = reply_time interval=1h from=09:00 to=12:00
        | 09:00 mean 1m
        | 11:00 mean 61m
        09:00 survey:s1 answered csat 5 agent=A
        09:00 survey:s2 answered csat 5 agent=A
        09:00 survey:s3 answered csat 5 agent=A
        09:00 survey:s4 answered csat 1 agent=B
        = csat_mean value 4
        ",
    );
}

#[test]
fn a_percentile_is_no_percentile_of_percentiles() {
    check(
        "
        09:00 c1 opened team=x
        09:01 c1 reply A
        09:00 c2 opened team=x
        09:02 c2 reply A
        09:00 c3 opened team=x
        09:03 c3 reply A
        09:00 c4 opened team=x
        09:04 c4 reply A
        09:00 c5 opened team=x
        09:05 c5 reply A
        10:00 c6 opened team=y
        11:40 c6 reply B
        = first_response_time count 6 p0 1m p50 3m p83 5m p84 100m p100 100m
        = first_response_time group=team
        | x p50 3m p100 5m
        | y p50 100m
        ",
    );
}

#[test]
fn a_bots_or_a_private_reply_is_no_response() {
    check(
        "
        09:00 c1 opened
        09:01 c1 bot
        09:02 c1 note A
        09:03 c1 automation
        09:04 c1 campaign
        09:05 c1 system
        09:30 c1 reply A
        = first_response_time count 1 sum 30m
        = response_rate numerator 1 denominator 1
        = conversations_handled to=09:30 absent
        ",
    );
}

#[test]
fn a_wait_does_not_reach_across_a_resolve() {
    check(
        "
        09:00 c1 opened
        09:10 c1 reply A
        09:20 c1 customer
        09:30 c1 status resolved by=A
        15:00 c1 customer
        15:00 c1 status open
        15:20 c1 reply A
        = next_reply_time count 1 sum 20m
        = waits_started count 3
        = waits_answered count 2
        ",
    );
}

#[test]
fn a_second_resolve_is_measured_from_the_reopening() {
    check(
        "
        2026-06-01T09:00 c1 opened
        2026-06-01T10:00 c1 status resolved by=A
        2026-06-08T09:00 c1 status open
        2026-06-08T09:30 c1 status resolved by=A
        = resolution_time count 2 min 30m max 1h
        = first_resolution_time count 1 sum 1h
        = full_resolution_time count 1 sum 168h30m
        ",
    );
}

#[test]
fn days_have_23_and_25_hours_where_the_clocks_change() {
    check(
        "
        zone Europe/Berlin
        calendar always zone=Europe/Berlin mon-sun 00:00-24:00
        calendar nights zone=Europe/Berlin mon-sun 01:00-04:00
        team always calendar=always
        team nights calendar=nights
        2026-03-29T00:00 spring opened team=always
        2026-03-30T00:00 spring reply A
        2025-10-26T00:00 autumn opened team=always
        2025-10-27T00:00 autumn reply A
        2026-03-29T00:00 spring-night opened team=nights
        2026-03-30T00:00 spring-night reply A
        2025-10-26T00:00 autumn-night opened team=nights
        2025-10-27T00:00 autumn-night reply A
        2025-10-25T00:00 agent:ann state available
        2025-10-28T00:00 agent:ann state offline
        2026-03-28T00:00 agent:ann state available
        2026-03-31T00:00 agent:ann state offline
        filter team=always
        = first_response_time count 2 min 23h max 25h
        = first_response_time clock=business count 2 min 23h max 25h
        filter team=nights
        = first_response_time clock=business count 2 min 2h max 4h
        filter
        = online_time interval=1d from=2025-10-25 to=2025-10-28
        | 2025-10-25 value 24h
        | 2025-10-26 value 25h
        | 2025-10-27 value 24h
        = online_time interval=1d from=2026-03-28 to=2026-03-31
        | 2026-03-28 value 24h
        | 2026-03-29 value 23h
        | 2026-03-30 value 24h
        = conversations_opened interval=1h from=2026-03-29 to=2026-03-29T04:00
        | 2026-03-29T00:00 count 2
        ",
    );
}

#[test]
fn a_calendar_may_be_always_open_or_never() {
    check(
        "
        calendar always zone=Asia/Tokyo mon-sun 00:00-24:00
        calendar never zone=Asia/Tokyo
        team always calendar=always
        team never calendar=never
        policy gold first_response=1h,business
        2026-06-01T09:00 open opened team=always
        2026-06-14T09:00 open reply A
        2026-06-01T09:00 closed opened team=never
        2026-06-14T09:00 closed reply A
        2026-06-01T09:00 without opened team=without
        2026-06-14T09:00 without reply A
        2026-06-01T09:00 still-closed opened team=never
        = first_response_time clock=business group=team
        | always count 1 sum 312h
        | never count 1 sum 0s
        | without count 1 sum 312h
        = skewed_events absent
        = sla_compliance group=team
        | always numerator 0 denominator 1
        | never numerator 1 denominator 1
        | without numerator 0 denominator 1
        ",
    );
}

#[test]
fn the_team_of_today_does_not_rewrite_the_past() {
    check(
        "
        policy gold first_response=10m resolution=10m
        09:00 c1 opened team=first customer=kim
        09:01 c1 assigned ann
        09:05 c1 customer
        09:30 c1 reply ann
        09:40 c1 status resolved by=ann
        09:45 survey:s1 sent csat conversation=c1
        09:30 c1 leg L queued queue=Q
        09:31 c1 leg L ended reason=abandoned
        10:00 c1 assigned ben team=second
        10:10 survey:s1 answered csat 5
        filter team=second
        = conversations_opened absent
        = first_response_time absent
        = resolutions absent
        = conversations_resolved absent
        = resolution_rate absent
        = sla_breaches absent
        = csat_score absent
        = abandoned absent
        filter team=first
        = first_response_time count 1
        = conversations_resolved count 1
        = resolution_rate numerator 1 denominator 1
        = sla_breaches count 2
        = csat_score numerator 1 denominator 1
        = csat_score filter=agent=ben absent
        filter team=Q
        = abandoned count 1
        ",
    );
}

#[test]
fn a_filter_holds_for_both_sides_of_a_ratio() {
    check(
        "
        policy gold first_response=5m
        09:00 c1 opened team=x
        09:10 c1 reply A
        09:20 c1 status resolved by=A
        09:00 c2 opened team=x
        09:10 c2 bot
        09:00 c3 opened team=y
        09:02 c3 reply B
        09:20 c3 status resolved by=B
        09:40 c3 status open
        09:00:00 c4 leg L queued queue=x
        09:00:10 c4 leg L connected agent=A
        09:05:00 c4 leg L ended reason=completed
        09:00:00 c5 leg L queued queue=y
        09:00:10 c5 leg L ended reason=abandoned
        09:30 survey:s1 sent csat conversation=c1
        09:31 survey:s1 answered csat 5
        09:30 survey:s2 sent csat conversation=c3
        09:00 customer:kim cross_sell_offered conversation=c1
        09:00 customer:lee cross_sell_offered conversation=c3
        09:01 customer:lee cross_sell_accepted conversation=c3
        filter team=x
        = response_rate numerator 1 denominator 2
        = resolution_rate numerator 1 denominator 2
        = resolution_ratio numerator 1 denominator 2
        = reopen_rate numerator 0 denominator 1
        = sla_compliance numerator 0 denominator 2
        = bot_containment_rate numerator 0 denominator 1
        = abandonment_rate numerator 0 denominator 1
        = service_level numerator 1 denominator 1
        = survey_response_rate numerator 1 denominator 1
        = cross_sell_rate numerator 0 denominator 1
        = transfer_rate numerator 0 denominator 2
        filter NOT team=x
        = response_rate numerator 1 denominator 1
        = reopen_rate numerator 1 denominator 1
        = sla_compliance numerator 1 denominator 1
        = bot_containment_rate absent
        = abandonment_rate numerator 1 denominator 1
        = service_level numerator 0 denominator 1
        = survey_response_rate numerator 0 denominator 1
        = cross_sell_rate numerator 1 denominator 1
        ",
    );
}

#[test]
fn a_transfer_counts_once_whichever_way_it_is_told() {
    check(
        "
        09:00 c1 opened
        09:01 c1 assigned A
        09:02 c1 assigned A
        09:10 c1 transferred team:second
        09:20 c1 assigned B
        09:21 c1 assigned B
        09:22 c1 leg L connected agent=B
        09:25 c1 leg L ended reason=transferred
        09:30 c1 leg M connected agent=C
        09:31 c1 transferred C
        09:40 c1 leg M ended reason=completed
        09:50 c1 transferred nobody
        = transfers count 2
        = transfers group=agent
        | A count 1
        | B count 1
        ",
    );
}

#[test]
fn a_survey_answered_twice_has_one_answer() {
    check(
        "
        09:00 survey:s1 sent nps
        09:10 survey:s1 answered nps 10
        09:10 survey:s1 answered nps 10
        09:20 survey:s1 answered nps 3 revision=1
        09:30 survey:s1 answered nps 10
        = nps numerator -1 denominator 1 value -100
        = nps from=09:20 to=09:21 numerator -1 denominator 1
        = survey_response_rate numerator 1 denominator 1
        ",
    );
}
