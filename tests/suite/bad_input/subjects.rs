//! Events of calls, agents, surveys, reviews, tasks, customers, self-service and costs, and retractions.

use deskpulse_proto::v1::{LegEndReason, LegState, LifecycleKind, Money, Scale, Subject, SurveyKind, subject};

use super::{
    Case, YEAR_1, YEAR_10000, agent_state, answered, check_events, cost, employed, leg, letters, lifecycle, retracted,
    review, schedule, sent, session, task,
};

const REQUIRED: &str = "FIELD_REQUIRED";
const LONG: &str = "FIELD_TOO_LONG";
const INVALID: &str = "FIELD_INVALID";

#[expect(clippy::unnecessary_wraps, reason = "as the fields take it")]
fn scale(lowest: i32, highest: i32) -> Option<Scale> {
    Some(Scale { lowest, highest })
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields take it")]
fn time(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

#[test]
fn a_leg_that_cannot_be_is_refused_alone() {
    const REASON: &str = "leg_state_changed.end_reason";
    let mut cases: Vec<Case> = vec![
        ("no conversation", leg(|it| it.conversation.clear()), "leg_state_changed.conversation", REQUIRED),
        (
            "a conversation of 129 bytes",
            leg(|it| it.conversation = letters(129)),
            "leg_state_changed.conversation",
            LONG,
        ),
        ("no leg", leg(|it| it.leg.clear()), "leg_state_changed.leg", REQUIRED),
        ("a leg of 129 bytes", leg(|it| it.leg = letters(129)), "leg_state_changed.leg", LONG),
        ("a queue of 129 bytes", leg(|it| it.queue = letters(129)), "leg_state_changed.queue", LONG),
        ("an agent of 129 bytes", leg(|it| it.agent = letters(129)), "leg_state_changed.agent", LONG),
        ("no state", leg(|it| it.state = 0), "leg_state_changed.state", REQUIRED),
        ("state 8", leg(|it| it.state = 8), "leg_state_changed.state", INVALID),
        ("state -1", leg(|it| it.state = -1), "leg_state_changed.state", INVALID),
        ("reason 10", leg(|it| it.end_reason = 10), REASON, INVALID),
    ];
    let ended_so = |state: LegState, reason: LegEndReason| {
        leg(|it| {
            it.state = state.into();
            it.end_reason = reason.into();
        })
    };
    for state in [LegState::Ivr, LegState::Connected, LegState::Held, LegState::Wrapup] {
        for reason in [LegEndReason::Completed, LegEndReason::Declined, LegEndReason::Closed] {
            cases.push((state.as_str_name(), ended_so(state, reason), REASON, INVALID));
        }
    }
    for state in [LegState::Queued, LegState::Alerting] {
        for reason in [
            LegEndReason::Completed,
            LegEndReason::Abandoned,
            LegEndReason::Transferred,
            LegEndReason::Callback,
            LegEndReason::Voicemail,
            LegEndReason::Overflow,
            LegEndReason::Closed,
        ] {
            cases.push((reason.as_str_name(), ended_so(state, reason), REASON, INVALID));
        }
    }
    check_events(cases);
}

#[test]
fn what_an_agent_cannot_do_is_refused_alone() {
    const FROM: &str = "agent_schedule_set.from";
    const TO: &str = "agent_schedule_set.to";
    const LEAP_YEAR: i64 = 366 * 86_400;
    let span = |to: Option<prost_types::Timestamp>| {
        schedule(|it| {
            it.from = time(0, 5_000_000);
            it.to = to;
        })
    };
    check_events(vec![
        ("no agent", agent_state(|it| it.agent.clear()), "agent_state_changed.agent", REQUIRED),
        ("an agent of 129 bytes", agent_state(|it| it.agent = letters(129)), "agent_state_changed.agent", LONG),
        ("a team of 129 bytes", agent_state(|it| it.team = letters(129)), "agent_state_changed.team", LONG),
        ("no state", agent_state(|it| it.state = 0), "agent_state_changed.state", REQUIRED),
        ("state 9", agent_state(|it| it.state = 9), "agent_state_changed.state", INVALID),
        ("1,001 slots", agent_state(|it| it.slots = Some(1_001)), "agent_state_changed.slots", INVALID),
        ("all slots there are", agent_state(|it| it.slots = Some(u32::MAX)), "agent_state_changed.slots", INVALID),
        ("nobody's schedule", schedule(|it| it.agent.clear()), "agent_schedule_set.agent", REQUIRED),
        ("a schedule of 129 bytes", schedule(|it| it.agent = letters(129)), "agent_schedule_set.agent", LONG),
        ("a schedule without a start", schedule(|it| it.from = None), FROM, REQUIRED),
        ("a start with negative nanos", schedule(|it| it.from = time(0, -1)), FROM, INVALID),
        ("a start in the year 0", schedule(|it| it.from = time(YEAR_1 - 1, 0)), FROM, INVALID),
        ("a schedule without an end", schedule(|it| it.to = None), TO, REQUIRED),
        ("an end with a second of nanos", schedule(|it| it.to = time(0, 1_000_000_000)), TO, INVALID),
        ("an end in the year 10000", schedule(|it| it.to = time(YEAR_10000, 0)), TO, INVALID),
        ("an end after all time", schedule(|it| it.to = time(i64::MAX, 0)), TO, INVALID),
        ("an end at the start", span(time(0, 5_000_000)), TO, INVALID),
        ("an end in the millisecond of the start", span(time(0, 5_999_999)), TO, INVALID),
        ("an end before the start", span(time(0, 4_000_000)), TO, INVALID),
        ("a schedule of 366 days and a millisecond", span(time(LEAP_YEAR, 6_000_000)), TO, INVALID),
        ("no activity", schedule(|it| it.activity = 0), "agent_schedule_set.activity", REQUIRED),
        ("activity 9", schedule(|it| it.activity = 9), "agent_schedule_set.activity", INVALID),
        ("nobody hired", employed(|it| it.agent.clear()), "agent_employment_changed.agent", REQUIRED),
        ("129 bytes hired", employed(|it| it.agent = letters(129)), "agent_employment_changed.agent", LONG),
        ("neither hired nor left", employed(|it| it.employment = 0), "agent_employment_changed.employment", REQUIRED),
        ("employment 3", employed(|it| it.employment = 3), "agent_employment_changed.employment", INVALID),
    ]);
}

#[test]
fn a_survey_or_review_that_cannot_be_is_refused_alone() {
    const SCORE: &str = "survey_answered.score";
    const RATING: &str = "review_posted.rating";
    let nps = i32::from(SurveyKind::Nps);
    let scored = |kind: i32, on: Option<Scale>, score: i32| {
        answered(|it| {
            it.kind = kind;
            it.scale = on;
            it.score = Some(score);
        })
    };
    let rated = |on: Option<Scale>, rating: i32| {
        review(|it| {
            it.scale = on;
            it.rating = Some(rating);
        })
    };
    let mut cases: Vec<Case> = vec![
        ("no survey", sent(|it| it.survey.clear()), "survey_sent.survey", REQUIRED),
        ("a survey of 129 bytes", sent(|it| it.survey = letters(129)), "survey_sent.survey", LONG),
        ("no kind", sent(|it| it.kind = 0), "survey_sent.kind", REQUIRED),
        ("kind 5", sent(|it| it.kind = 5), "survey_sent.kind", INVALID),
        ("a conversation of 129 bytes", sent(|it| it.conversation = letters(129)), "survey_sent.conversation", LONG),
        ("an agent of 129 bytes", sent(|it| it.agent = letters(129)), "survey_sent.agent", LONG),
        ("no survey answered", answered(|it| it.survey.clear()), "survey_answered.survey", REQUIRED),
        ("129 bytes answered", answered(|it| it.survey = letters(129)), "survey_answered.survey", LONG),
        ("an answer of no kind", answered(|it| it.kind = 0), "survey_answered.kind", REQUIRED),
        ("an answer of kind 5", answered(|it| it.kind = 5), "survey_answered.kind", INVALID),
        ("about 129 bytes", answered(|it| it.conversation = letters(129)), "survey_answered.conversation", LONG),
        ("of 129 bytes", answered(|it| it.agent = letters(129)), "survey_answered.agent", LONG),
        ("no score", answered(|it| it.score = None), SCORE, REQUIRED),
        ("a score above every scale", scored(1, None, 1_001), SCORE, INVALID),
        ("a score below every scale", scored(1, None, -1_001), SCORE, INVALID),
        ("a score above its scale", scored(1, scale(1, 5), 6), SCORE, INVALID),
        ("a score below its scale", scored(1, scale(1, 5), 0), SCORE, INVALID),
        ("11 of 10", scored(nps, None, 11), SCORE, INVALID),
        ("-1 of 10", scored(nps, None, -1), SCORE, INVALID),
        ("11 of 10, with the scale said", scored(nps, scale(0, 10), 11), SCORE, INVALID),
        ("NPS from 1", scored(nps, scale(1, 10), 5), "survey_answered.scale", INVALID),
        (
            "NPS to 100",
            sent(|it| {
                it.kind = nps;
                it.scale = scale(0, 100);
            }),
            "survey_sent.scale",
            INVALID,
        ),
        ("no review", review(|it| it.review.clear()), "review_posted.review", REQUIRED),
        ("a review of 129 bytes", review(|it| it.review = letters(129)), "review_posted.review", LONG),
        ("a platform of 129 bytes", review(|it| it.platform = letters(129)), "review_posted.platform", LONG),
        ("a customer of 129 bytes", review(|it| it.customer = letters(129)), "review_posted.customer", LONG),
        ("a review about 129 bytes", review(|it| it.conversation = letters(129)), "review_posted.conversation", LONG),
        ("no rating", review(|it| it.rating = None), RATING, REQUIRED),
        ("6 stars", rated(None, 6), RATING, INVALID),
        ("no stars", rated(None, 0), RATING, INVALID),
        ("11 of 10 stars", rated(scale(0, 10), 11), RATING, INVALID),
    ];
    for (what, lowest, highest, end) in [
        ("a scale of one score", 1, 1, "highest"),
        ("a scale that falls", 5, 1, "highest"),
        ("a scale of zeros", 0, 0, "highest"),
        ("a scale that ends too high", 0, 1_001, "highest"),
        ("a scale that begins too low", -1_001, 0, "lowest"),
        ("a scale of all numbers", i32::MIN, i32::MAX, "lowest"),
    ] {
        let on = scale(lowest, highest);
        let field = |event: &str| String::leak(format!("{event}.scale.{end}"));
        cases.push((what, sent(|it| it.scale = on), field("survey_sent"), INVALID));
        cases.push((what, scored(1, on, 1), field("survey_answered"), INVALID));
        cases.push((what, rated(on, 1), field("review_posted"), INVALID));
    }
    check_events(cases);
}

#[test]
fn a_task_or_session_that_cannot_be_is_refused_alone() {
    check_events(vec![
        ("no task", task(|it| it.task.clear()), "task_status_changed.task", REQUIRED),
        ("a task of 129 bytes", task(|it| it.task = letters(129)), "task_status_changed.task", LONG),
        ("an assignee of 129 bytes", task(|it| it.assignee = letters(129)), "task_status_changed.assignee", LONG),
        ("no status", task(|it| it.status = 0), "task_status_changed.status", REQUIRED),
        ("status 4", task(|it| it.status = 4), "task_status_changed.status", INVALID),
        ("no session", session(|it| it.session.clear()), "selfservice_ended.session", REQUIRED),
        ("a session of 129 bytes", session(|it| it.session = letters(129)), "selfservice_ended.session", LONG),
        ("a customer of 129 bytes", session(|it| it.customer = letters(129)), "selfservice_ended.customer", LONG),
        ("kind 4", session(|it| it.kind = 4), "selfservice_ended.kind", INVALID),
        ("outcome 5", session(|it| it.outcome = 5), "selfservice_ended.outcome", INVALID),
    ]);
}

#[test]
fn business_that_cannot_be_is_refused_alone() {
    const REFERENCE: &str = "customer_lifecycle.reference";
    const PAID: &str = "customer_lifecycle.amount.currency";
    const CURRENCY: &str = "cost_recorded.amount.currency";
    const MICROS: &str = "cost_recorded.amount.amount_micros";
    const MOST: i64 = 1_000_000_000_000_000;
    let money = |currency: &str, amount_micros| Some(Money { currency: currency.to_owned(), amount_micros });
    let paid = |currency: &str| lifecycle(|it| it.amount = money(currency, 1));
    let cost_of = |currency: &str, micros| cost(|it| it.amount = money(currency, micros));
    let spent_on = |conversation: &str, team: &str| {
        cost(|it| {
            conversation.clone_into(&mut it.conversation);
            team.clone_into(&mut it.team);
        })
    };
    let mut cases: Vec<Case> = vec![
        ("no customer", lifecycle(|it| it.customer.clear()), "customer_lifecycle.customer", REQUIRED),
        ("a customer of 129 bytes", lifecycle(|it| it.customer = letters(129)), "customer_lifecycle.customer", LONG),
        ("no kind", lifecycle(|it| it.kind = 0), "customer_lifecycle.kind", REQUIRED),
        ("kind 11", lifecycle(|it| it.kind = 11), "customer_lifecycle.kind", INVALID),
        ("a reference of 129 bytes", lifecycle(|it| it.reference = letters(129)), REFERENCE, LONG),
        (
            "a conversation of 129 bytes",
            lifecycle(|it| it.conversation = letters(129)),
            "customer_lifecycle.conversation",
            LONG,
        ),
        ("an amount of no currency", paid(""), PAID, REQUIRED),
        ("an amount in small letters", paid("eur"), PAID, INVALID),
        ("an amount in two letters", paid("EU"), PAID, INVALID),
        ("an amount in four letters", paid("EURO"), PAID, INVALID),
        ("an amount in a sign", paid("€"), PAID, INVALID),
        ("no cost", cost(|it| it.amount = None), "cost_recorded.amount", REQUIRED),
        ("a cost of no currency", cost_of("", 1), CURRENCY, REQUIRED),
        ("a cost in digits", cost_of("978", 1), CURRENCY, INVALID),
        ("a cost in small letters", cost_of("Eur", 1), CURRENCY, INVALID),
        ("a cost above 10^15", cost_of("EUR", MOST + 1), MICROS, INVALID),
        ("a cost below -10^15", cost_of("EUR", -MOST - 1), MICROS, INVALID),
        ("the lowest cost there is", cost_of("EUR", i64::MIN), MICROS, INVALID),
        ("a cost of nobody", spent_on("", ""), "cost_recorded.conversation", REQUIRED),
        ("a cost of two", spent_on("case", "blue"), "cost_recorded.team", INVALID),
        ("a cost of 129 bytes", spent_on(&letters(129), ""), "cost_recorded.conversation", LONG),
        ("a cost of a team of 129 bytes", spent_on("", &letters(129)), "cost_recorded.team", LONG),
    ];
    for kind in [LifecycleKind::RenewalDue, LifecycleKind::Renewed, LifecycleKind::FeatureUsed] {
        let unnamed = |reference: String| {
            lifecycle(|it| {
                it.kind = kind.into();
                it.reference = reference;
            })
        };
        cases.push((kind.as_str_name(), unnamed(String::new()), REFERENCE, REQUIRED));
        cases.push((kind.as_str_name(), unnamed(letters(129)), REFERENCE, LONG));
    }
    check_events(cases);
}

#[test]
fn a_retraction_of_nothing_in_particular_is_refused_alone() {
    type Named = fn(String) -> subject::Kind;
    const SUBJECT: &str = "event_retracted.subject";
    let of = |kind: subject::Kind| retracted(|it| it.subject = Some(Subject { kind: Some(kind) }));
    let mut cases = vec![
        ("no subject", retracted(|it| it.subject = None), SUBJECT, "FIELD_REQUIRED"),
        ("a subject of no kind", retracted(|it| it.subject = Some(Subject { kind: None })), SUBJECT, "FIELD_REQUIRED"),
        (
            "a conversation without id",
            of(subject::Kind::Conversation(String::new())),
            "event_retracted.subject.conversation",
            "FIELD_REQUIRED",
        ),
        (
            "a conversation of 129 bytes",
            of(subject::Kind::Conversation(letters(129))),
            "event_retracted.subject.conversation",
            "FIELD_TOO_LONG",
        ),
        (
            "no source",
            retracted(|it| it.retracted_source.clear()),
            "event_retracted.retracted_source",
            "FIELD_REQUIRED",
        ),
        (
            "a source of 129 bytes",
            retracted(|it| it.retracted_source = letters(129)),
            "event_retracted.retracted_source",
            "FIELD_TOO_LONG",
        ),
        ("no id", retracted(|it| it.retracted_id.clear()), "event_retracted.retracted_id", "FIELD_REQUIRED"),
        (
            "an id of 129 bytes",
            retracted(|it| it.retracted_id = letters(129)),
            "event_retracted.retracted_id",
            "FIELD_TOO_LONG",
        ),
    ];
    let kinds: [(&str, Named); 7] = [
        ("event_retracted.subject.agent", subject::Kind::Agent),
        ("event_retracted.subject.customer", subject::Kind::Customer),
        ("event_retracted.subject.survey", subject::Kind::Survey),
        ("event_retracted.subject.review", subject::Kind::Review),
        ("event_retracted.subject.task", subject::Kind::Task),
        ("event_retracted.subject.selfservice_session", subject::Kind::SelfserviceSession),
        ("event_retracted.subject.team", subject::Kind::Team),
    ];
    for (field, kind) in kinds {
        cases.push((field, of(kind(String::new())), field, "FIELD_REQUIRED"));
        cases.push((field, of(kind(letters(129))), field, "FIELD_TOO_LONG"));
    }
    check_events(cases);
}
