//! What customers say when asked, and when not.

use super::check;

#[test]
fn a_survey_has_one_answer_the_latest_revision() {
    check(
        "
        09:00 survey:s1 sent csat
        09:10 survey:s1 answered csat 5
        09:20 survey:s1 answered csat 1 revision=2
        09:30 survey:s1 answered csat 4 revision=1
        09:00 survey:s2 sent csat
        09:10 survey:s2 answered csat 2
        09:20 survey:s2 answered csat 4
        09:00 survey:s3 sent csat
        09:10 survey:s3 answered csat 3
        09:00 survey:s4 sent csat
        09:10 survey:s5 answered csat 5
        = csat_score numerator 2 denominator 4 value 50.00%
        = csat_mean count 4 value 3.25
        = survey_response_rate numerator 3 denominator 4
        ",
    );
}

#[test]
fn an_answer_counts_when_it_was_given_and_a_response_rate_when_it_was_asked() {
    check(
        "
        2026-06-01T23:00 survey:s1 sent csat
        2026-06-02T09:00 survey:s1 answered csat 5
        2026-06-03T09:00 survey:s1 answered csat 1 revision=1
        2026-06-01T23:00 survey:s2 sent nps
        from 2026-06-01
        to 2026-06-04
        = csat_score interval=1d
        | 2026-06-03 numerator 0 denominator 1
        = survey_response_rate interval=1d
        | 2026-06-01 numerator 1 denominator 2
        ",
    );
}

#[test]
fn a_survey_is_credited_to_who_owned_the_conversation_when_it_was_sent() {
    check(
        "
        09:00 c1 opened team=first channel=chat
        09:01 c1 assigned ann
        09:30 survey:s1 sent csat conversation=c1
        09:40 c1 assigned ben team=second
        10:00 survey:s1 answered csat 5
        09:30 survey:s2 sent csat conversation=c1 agent=cas
        10:00 survey:s2 answered csat 1
        09:50 survey:s3 answered csat 4 conversation=c1
        09:30 survey:s4 sent csat agent=ann
        09:50 survey:s4 answered csat 4
        09:00 gone opened team=first
        09:01 gone assigned ann
        09:10 survey:s5 sent csat conversation=gone
        09:20 survey:s5 answered csat 2
        09:30 gone status deleted
        = csat_score group=agent,team
        | ann - numerator 1 denominator 1
        | ann first numerator 1 denominator 2
        | ben second numerator 1 denominator 1
        | cas first numerator 0 denominator 1
        = survey_response_rate group=agent
        | ann numerator 3 denominator 3
        | cas numerator 1 denominator 1
        = conversations_opened count 1
        ",
    );
}

#[test]
fn the_top_of_a_scale_is_good_and_its_bottom_bad_in_the_usual_proportion() {
    check(
        "
        09:00 survey:s1 answered csat 6 scale=1..10
        09:00 survey:s2 answered csat 7 scale=1..10
        09:00 survey:s3 answered csat 4 scale=1..10
        09:00 survey:s4 answered csat 5 scale=1..10
        09:00 survey:s5 answered csat 2 scale=1..3
        09:00 survey:s6 answered csat 3 scale=1..3
        09:00 survey:s7 answered csat 1 scale=0..1
        09:00 survey:s8 answered csat 0 scale=0..1
        = csat_score numerator 3 denominator 8
        = negative_feedback_rate numerator 2 denominator 8
        ",
    );
}

#[test]
fn the_scale_is_the_one_asked_with_else_the_answers_else_the_tenants() {
    check(
        "
        scale csat 0..10
        scale ces 1..5 good_from=5
        09:00 survey:asked sent csat scale=1..5
        09:10 survey:asked answered csat 9
        09:00 survey:answered sent csat
        09:10 survey:answered answered csat 4 scale=1..5
        09:00 survey:tenants sent csat
        09:10 survey:tenants answered csat 6
        09:10 survey:easy answered ces 5
        09:10 survey:hard answered ces 4
        = csat_mean count 3 value 5
        = csat_score numerator 2 denominator 3
        = ces_mean count 2 value 4.5
        = ces_easy_rate numerator 1 denominator 2
        ",
    );
}

#[test]
fn effort_is_easy_in_the_top_three_of_seven() {
    check(
        "
        09:00 survey:s1 answered ces 4
        09:00 survey:s2 answered ces 5
        09:00 survey:s3 answered ces 7
        09:00 survey:s4 answered ces 3 scale=1..5
        09:00 survey:s5 answered ces 4 scale=1..5
        = ces_easy_rate numerator 3 denominator 5 value 60.00%
        = ces_mean count 5 value 4.6
        = csat_score absent
        ",
    );
}

#[test]
fn promoters_less_detractors_run_from_minus_100_to_100() {
    check(
        "
        09:00 survey:s1 answered nps 10
        09:00 survey:s2 answered nps 9
        09:00 survey:s3 answered nps 9
        09:00 survey:s4 answered nps 8
        09:00 survey:s5 answered nps 7
        09:00 survey:s6 answered nps 6
        10:00 survey:s7 answered nps 0
        10:00 survey:s8 answered nps 6
        10:00 survey:s9 answered nps 8
        11:00 survey:s10 answered nps 7
        = nps numerator 0 denominator 10 value 0
        = nps interval=1h from=09:00 to=13:00
        | 09:00 numerator 2 denominator 6
        | 10:00 numerator -2 denominator 3
        | 11:00 numerator 0 denominator 1 value 0
        = nps from=10:00 to=10:01 numerator -2 denominator 3
        = nps from=12:00 to=13:00 absent
        = nps from=09:00 to=12:00 count 10
        ",
    );
}

#[test]
fn reviews_are_ratings_nobody_asked_for() {
    check(
        "
        09:00 c1 opened team=first channel=email
        09:30 review:r1 posted 5 platform=play conversation=c1
        09:40 c1 updated team=second
        09:50 review:r1 posted 1 platform=play conversation=c1 revision=1
        09:00 review:r2 posted 4 platform=store
        09:00 review:r3 posted 3 platform=store
        09:00 review:r4 posted 7 scale=1..10 platform=store
        09:00 review:r5 posted 4 scale=1..10 platform=store
        09:00 survey:s1 answered csat 2
        09:00 survey:s2 answered csat 5
        09:00 survey:s3 answered nps 0
        = positive_review_rate numerator 2 denominator 5
        = positive_review_rate group=platform
        | play numerator 0 denominator 1
        | store numerator 2 denominator 4
        = positive_review_rate filter=team=second numerator 0 denominator 1
        = negative_feedback_rate numerator 3 denominator 7
        = negative_feedback_rate filter=team=first absent
        ",
    );
}
