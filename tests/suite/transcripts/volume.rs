//! What came and went.

use super::check;

#[test]
fn sentiment_is_that_of_the_latest_score() {
    check(
        "
        2026-06-01T09:00 c1 customer mood=negative #m1
        2026-06-01T09:01 c1 customer #m2
        2026-06-01T09:02 c1 customer mood=neutral #m3
        2026-06-01T09:03 c1 customer #m4
        2026-06-01T09:04 c1 reply A mood=negative
        2026-06-01T10:00 c1 scored m1 neutral
        2026-06-01T10:01 c1 scored m1 positive
        2026-06-01T10:02 c1 scored m2 negative
        = sentiment_positive_rate numerator 1 denominator 3
        = sentiment_negative_rate numerator 1 denominator 3
        ",
    );
}

#[test]
fn the_heat_map_counts_openings_by_local_weekday_and_hour() {
    check(
        "
        # Three Mondays, the last in winter time; 23:30 UTC on a Sunday is Monday in Berlin.
        2025-10-20T07:15 c1 opened
        2025-10-19T23:30 c2 opened
        2025-10-20T07:59 c3 opened
        2025-10-27T08:15 c4 opened
        from 2025-10-01
        to 2025-11-01
        zone Europe/Berlin
        = conversations_opened group=weekday,hour
        | 1 1 count 1
        | 1 9 count 3
        ",
    );
}

#[test]
fn a_top_list_is_a_count_by_group_in_order() {
    check(
        "
        09:00 c1 opened topic=bill subtopic=late
        09:00 c2 opened topic=bill subtopic=wrong
        09:00 c3 opened topic=move subtopic=late
        09:00 c4 opened topic=bill subtopic=late
        09:00 c5 opened topic=move subtopic=early
        09:00 c6 opened
        09:01 c1 updated +vip +angry
        09:01 c3 updated +vip
        09:05 c1 reply A quick=hello
        09:05 c2 reply A quick=bye
        09:06 c2 reply A quick=hello
        = conversations_opened group=topic order=-count limit=2
        | bill count 3
        | move count 2
        = conversations_opened group=topic,subtopic order=-value limit=1
        | bill late count 2
        = messages_sent group=quick_reply order=-count
        | hello count 2
        | bye count 1
        = tags_added group=tag order=-count
        | vip count 2
        | angry count 1
        = backlog group=tag filter=tag:* order=-count
        | vip count 2
        | angry count 1
        ",
    );
}

#[test]
fn messages_count_by_who_wrote_them_and_who_may_read_them() {
    check(
        "
        09:00 c1 opened
        09:01 c1 customer
        09:02 c1 bot
        09:03 c1 bot private
        09:04 c1 automation
        09:05 c1 campaign
        09:06 c1 system
        09:07 c1 note A
        09:08 c1 reply A
        09:09 c1 customer private
        09:00 c2 opened
        09:07 c2 note A
        = messages_received count 1
        = messages_sent count 1
        = bot_messages count 1
        = automated_messages count 3
        = private_notes count 4
        = conversations_active count 1
        = private_notes filter=agent=A count 2
        ",
    );
}

#[test]
fn intervals_are_half_open_and_cut_in_the_tenants_zone_unless_another_is_named() {
    check(
        "
        zone America/Sao_Paulo
        tenant zone=America/Sao_Paulo
        2026-06-01T23:59:59.999 c1 opened
        2026-06-02T00:00 c2 opened
        2026-06-02T23:59:59.999 c3 opened
        from 2026-06-01
        to 2026-06-03
        = conversations_opened interval=1d
        | 2026-06-01 count 1
        | 2026-06-02 count 2
        = conversations_opened interval=1d zone=tenant
        | 2026-06-01 count 1
        | 2026-06-02 count 2
        zone UTC
        = conversations_opened interval=1d
        | 2026-06-02 count 2
        | 2026-06-03 count 1
        ",
    );
}

#[test]
fn distinct_customers_are_served_however_many_conversations_they_have() {
    check(
        "
        09:00 c1 opened customer=kim
        09:10 c1 reply A
        09:00 c2 opened customer=kim
        09:10 c2 reply B
        09:00 c3 opened customer=lee
        09:10 c3 bot
        09:00 c4 opened customer=max
        09:20 c4 leg L connected agent=B
        09:25 c4 leg L ended reason=completed
        09:00 c5 opened
        09:10 c5 reply A
        = customers_served count 2
        = customers_served group=agent
        | A count 1
        | B count 2
        = customers_served to=09:15 count 1
        = conversations_handled count 4
        ",
    );
}

#[test]
fn custom_dimensions_filter_and_group_as_any_other() {
    check(
        "
        09:00 c1 opened attr.site=bonn attr.plan=pro attr.seats=10
        09:00 c2 opened attr.site=bonn attr.seats=9
        09:00 c3 opened attr.site=kiel attr.seats=many
        09:10 c3 updated attr.site=bonn
        09:20 c3 reply A
        = conversations_opened group=attributes.site
        | bonn count 2
        | kiel count 1
        = conversations_opened filter=attributes.plan=pro count 1
        = conversations_opened filter=attributes.seats>9 count 1
        = conversations_opened filter=attributes.seats<=10 count 2
        = messages_sent group=attributes.site
        | bonn count 1
        ",
    );
}
