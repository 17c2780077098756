//! Customers, money, and what became of both.

use super::check;

#[test]
fn churn_is_of_those_who_were_customers_just_before_the_start() {
    check(
        "
        2026-01-01 customer:ann activated
        2026-01-01 customer:ben activated
        2026-01-15 customer:cas order ref=o1
        2026-06-01 customer:dan activated
        2026-06-10 customer:ann churned
        2026-06-11 customer:ann churned
        2026-06-20 customer:dan churned
        2026-07-05 customer:ann activated
        2026-08-20 customer:ann churned
        2026-08-21 customer:eve churned
        from 2026-06-01
        to 2026-07-01
        = churn_rate numerator 2 denominator 3
        from 2026-07-01
        to 2026-08-01
        = churn_rate numerator 0 denominator 2
        from 2026-08-01
        to 2026-09-01
        = churn_rate numerator 2 denominator 3
        from 2025-01-01
        to 2026-01-01
        = churn_rate absent
        ",
    );
}

#[test]
fn a_renewal_counts_at_its_due_date_however_early_or_late_it_came() {
    check(
        "
        2026-06-01 customer:ann renewal_due ref=a
        2026-07-03 customer:ann renewed ref=a
        2026-06-02 customer:ann renewal_due ref=b
        2026-05-20 customer:ben renewed ref=a
        2026-06-05 customer:ben renewal_due ref=a
        2026-07-05 customer:ben renewal_due ref=a
        2026-06-06 customer:cas renewal_due ref=a
        2026-07-06 customer:cas renewal_due ref=a
        2026-07-07 customer:cas renewed ref=a
        = renewal_rate numerator 3 denominator 6
        from 2026-06-01
        to 2026-08-01
        = renewal_rate interval=1mo
        | 2026-06-01 numerator 2 denominator 4
        | 2026-07-01 numerator 1 denominator 2
        ",
    );
}

#[test]
fn adoption_is_of_customers_and_of_a_feature_or_any() {
    check(
        "
        2026-05-01 customer:ann activated
        2026-05-01 customer:ben activated
        2026-05-01 customer:cas activated
        2026-06-03 customer:ann feature_used ref=export
        2026-06-04 customer:ann feature_used ref=export
        2026-06-04 customer:ann feature_used ref=search
        2026-06-05 customer:ben feature_used ref=search
        2026-06-20 customer:cas churned
        2026-07-05 customer:ben feature_used ref=export
        from 2026-06-01
        to 2026-06-15
        = adoption_rate feature=export numerator 1 denominator 3
        = adoption_rate numerator 2 denominator 3
        = adoption_rate feature=import numerator 0 denominator 3
        to 2026-07-01
        = adoption_rate feature=export numerator 1 denominator 2
        basis cohort
        from 2026-05-01
        to 2026-06-01
        = adoption_rate feature=export numerator 2 denominator 3
        = adoption_rate numerator 2 denominator 3
        from 2026-06-01
        to 2026-07-01
        = adoption_rate absent
        ",
    );
}

#[test]
fn who_orders_twice_in_an_interval_repeats() {
    check(
        "
        2026-05-01 customer:ann order ref=o1
        2026-06-01 customer:ann order ref=o2
        2026-06-02 customer:ben order ref=o3 amount=9.99EUR
        2026-06-03 customer:ben order ref=o4 amount=1EUR
        2026-06-03 customer:ben order ref=o5
        2026-06-03 customer:cas activated
        = repeat_purchase_rate numerator 2 denominator 2
        from 2026-06-01
        to 2026-07-01
        = repeat_purchase_rate numerator 1 denominator 2
        from 2026-07-01
        to 2026-08-01
        = repeat_purchase_rate absent
        ",
    );
}

#[test]
fn what_is_offered_is_accepted_or_not() {
    check(
        "
        08:00 c1 opened team=sales
        08:00 c1 assigned ann
        09:00 customer:kim cross_sell_offered conversation=c1
        09:00 customer:lee cross_sell_offered
        09:00 customer:max cross_sell_offered
        09:30 customer:kim cross_sell_accepted conversation=c1
        10:00 customer:kim up_sell_offered ref=x
        10:00 customer:kim up_sell_offered ref=y
        11:00 customer:kim up_sell_accepted ref=y
        = cross_sell_rate numerator 1 denominator 3
        = cross_sell_rate filter=team=sales numerator 1 denominator 1
        = cross_sell_rate group=agent
        | - numerator 0 denominator 2
        | ann numerator 1 denominator 1
        = up_sell_rate numerator 1 denominator 2
        = up_sell_rate from=10:00 to=11:00 numerator 0 denominator 2
        ",
    );
}

#[test]
fn costs_are_kept_apart_by_currency_and_belong_to_a_conversation_or_a_team() {
    check(
        "
        09:00 c1 opened team=T channel=voice
        09:05 c1 reply A
        09:06 c1 cost 2.50 EUR
        09:07 c1 cost 0.000001 EUR
        09:00 c2 opened team=T channel=email
        09:05 c2 reply A
        09:06 c2 cost 3 USD
        09:00 spam opened team=T
        09:05 spam cost 100 EUR
        09:10 spam status spam
        09:30 team:T cost 10 EUR
        09:30 team:U cost 1 EUR
        = cost_total currency=EUR value 13_500_001
        = cost_total group=currency
        | EUR value 13_500_001
        | USD value 3_000_000
        = cost_total currency=GBP absent
        = cost_total currency=EUR group=team
        | T value 12_500_001
        | U value 1_000_000
        = cost_total currency=EUR filter=channel=voice value 2_500_001
        = cost_per_conversation currency=USD numerator 3_000_000 denominator 2 value 1_500_000
        = cost_per_conversation currency=EUR filter=team=T numerator 12_500_001 denominator 2
        = cost_per_conversation currency=EUR filter=channel=voice numerator 2_500_001 denominator 1
        = cost_total currency=EUR from=09:06 to=09:07 value 2_500_000
        ",
    );
}
