//! The part of a random scenario that is not about conversations: agents, surveys, reviews, tasks, customers.

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    AgentEmploymentChanged, AgentScheduleSet, AgentState, AgentStateChanged, CostRecorded, CustomerLifecycle,
    Employment, LifecycleKind, ReviewPosted, Scale, SelfserviceEnded, SelfserviceKind, SelfserviceOutcome,
    SurveyAnswered, SurveyKind, SurveySent, TaskStatus, TaskStatusChanged,
};

use super::scenario::{AGENTS, CUSTOMERS, Script, TEAMS, timestamp};
use super::{DAY, HOUR};

/// Each kind of subject in half of the scenarios.
pub(super) fn write(script: &mut Script<'_>) {
    let kinds: [fn(&mut Script<'_>); 7] = [
        |script| some(script, &AGENTS, agent_events),
        |script| some(script, &["s1", "s2", "s3"], survey_events),
        |script| some(script, &["r1", "r2"], review_events),
        |script| some(script, &["k1", "k2", "k3"], task_events),
        |script| some(script, &["x1", "x2", "x3"], session_events),
        |script| (0..2 + script.random.below(12)).for_each(|_| lifecycle_event(script)),
        |script| some(script, &TEAMS, cost_event),
    ];
    for write in kinds {
        if script.one_in(2) {
            write(script);
        }
    }
}

fn some(script: &mut Script<'_>, of: &[&str], write: fn(&mut Script<'_>, &str)) {
    let count = 1 + script.random.below(of.len());
    of[..count].iter().for_each(|one| write(script, one));
}

fn task_events(script: &mut Script<'_>, task: &str) {
    use TaskStatus::{Assigned, Cancelled, Completed};
    for _ in 0..=script.random.below(4) {
        let status = script.pick(&[Assigned, Assigned, Completed, Completed, Cancelled]).into();
        let (assignee, at) = (script.name(&AGENTS), script.instant());
        script.push(at, Payload::TaskStatusChanged(TaskStatusChanged { task: task.to_owned(), assignee, status }));
    }
}

fn cost_event(script: &mut Script<'_>, team: &str) {
    let (amount, at) = (Some(script.money()), script.instant());
    let (conversation, team) = (String::new(), team.to_owned());
    script.push(at, Payload::CostRecorded(CostRecorded { amount, conversation, team }));
}

fn agent_events(script: &mut Script<'_>, agent: &str) {
    use AgentState::{Available, Break, Busy, Meal, Meeting, Offline, Training, Wrapup};
    const STATES: [AgentState; 10] =
        [Available, Available, Busy, Busy, Wrapup, Offline, Break, Meal, Training, Meeting];
    let mut at = script.base - script.pick(&[0, HOUR]);
    for _ in 0..2 + script.random.below(6) {
        at += script.gap();
        let change = AgentStateChanged {
            agent: agent.to_owned(),
            team: script.name(&TEAMS[..2]),
            state: script.pick(&STATES).into(),
            slots: script.pick(&[None, None, Some(2), Some(3)]),
        };
        script.push(at, Payload::AgentStateChanged(change));
    }
    for _ in 0..script.random.below(4) {
        let from = script.instant();
        let to = from + script.pick(&[1, HOUR, 8 * HOUR, 2 * DAY]);
        let set = AgentScheduleSet {
            agent: agent.to_owned(),
            from: Some(timestamp(from)),
            to: Some(timestamp(to)),
            activity: script.pick(&STATES).into(),
            productive: script.one_in(2),
            paid: !script.one_in(3),
        };
        let at = script.instant();
        script.push(at, Payload::AgentScheduleSet(set));
    }
    for _ in 0..script.random.below(3) {
        let (employment, at) = (script.pick(&[Employment::Hired, Employment::Left]).into(), script.instant());
        script
            .push(at, Payload::AgentEmploymentChanged(AgentEmploymentChanged { agent: agent.to_owned(), employment }));
    }
}

fn survey_events(script: &mut Script<'_>, survey: &str) {
    use SurveyKind::{Ces, Csat, Engagement, Nps};
    let kind = script.pick(&[Csat, Csat, Nps, Ces, Engagement]);
    let scales = match kind {
        Nps => [None, Some(Scale { lowest: 0, highest: 10 })],
        Engagement => [Some(Scale { lowest: 0, highest: 10 }), None],
        _ => [None, Some(Scale { lowest: 1, highest: script.pick(&[3, 5, 7, 10]) })],
    };
    let sent = !script.one_in(4);
    if sent {
        let (conversation, at) = script.mention();
        let agent = if script.one_in(3) { script.name(&AGENTS) } else { String::new() };
        let scale = script.pick(&scales);
        let survey = survey.to_owned();
        script.push(at, Payload::SurveySent(SurveySent { survey, kind: kind.into(), scale, conversation, agent }));
    }
    for _ in 0..=script.random.below(3) {
        let (conversation, at) = script.mention();
        // Before the sending, after it, or without.
        let scale = script.pick(&scales);
        let score = match scale {
            Some(scale) => scale.lowest + script.pick(&[0, 1, 2, 4, 6, 7, 8, 9, 10]).min(scale.highest - scale.lowest),
            None if kind == SurveyKind::Nps => script.pick(&[0, 3, 6, 7, 8, 9, 10]),
            None => script.pick(&[-3, 0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 40]),
        };
        let answered = SurveyAnswered {
            survey: survey.to_owned(),
            kind: kind.into(),
            scale,
            conversation: if script.one_in(2) { String::new() } else { conversation },
            agent: if script.one_in(4) { script.name(&AGENTS) } else { String::new() },
            score: Some(score),
            revision: script.pick(&[0, 0, 1, 2]),
        };
        script.push(at, Payload::SurveyAnswered(answered));
    }
}

fn review_events(script: &mut Script<'_>, review: &str) {
    for _ in 0..=script.random.below(3) {
        let (conversation, at) = script.mention();
        let scale = script.pick(&[None, Some(Scale { lowest: 1, highest: 10 })]);
        let highest = scale.map_or(5, |scale| scale.highest);
        let posted = ReviewPosted {
            review: review.to_owned(),
            platform: script.pick(&["store", "maps"]).to_owned(),
            rating: Some(script.pick(&[1, 2, 3, 4, 5, 7, 10]).min(highest)),
            scale,
            customer: script.name(&CUSTOMERS),
            conversation,
            revision: script.pick(&[0, 0, 1]),
        };
        script.push(at, Payload::ReviewPosted(posted));
    }
}

fn session_events(script: &mut Script<'_>, session: &str) {
    use SelfserviceOutcome::{Abandoned, Escalated, Resolved, Unknown, Unspecified};
    for _ in 0..=script.random.below(2) {
        let outcome = script.pick(&[Resolved, Resolved, Resolved, Escalated, Abandoned, Unknown, Unspecified]);
        let ended = SelfserviceEnded {
            session: session.to_owned(),
            customer: script.name(&CUSTOMERS),
            kind: SelfserviceKind::Bot.into(),
            outcome: outcome.into(),
        };
        // Some before the conversations begin.
        let at = script.instant() - script.pick(&[0, HOUR, 6 * DAY, 7 * DAY]);
        script.push(at, Payload::SelfserviceEnded(ended));
    }
}

fn lifecycle_event(script: &mut Script<'_>) {
    use LifecycleKind::{
        Activated, Churned, CrossSellAccepted, CrossSellOffered, FeatureUsed, Order, RenewalDue, Renewed,
        UpSellAccepted, UpSellOffered,
    };
    let kind = script.pick(&[
        Order,
        Order,
        Order,
        CrossSellOffered,
        CrossSellAccepted,
        UpSellOffered,
        UpSellAccepted,
        RenewalDue,
        RenewalDue,
        Renewed,
        Renewed,
        Churned,
        Activated,
        Activated,
        FeatureUsed,
        FeatureUsed,
    ]);
    let (conversation, at) = script.mention();
    let reference = match kind {
        FeatureUsed => script.pick(&["f1", "f2"]),
        RenewalDue | Renewed => script.pick(&["k1", "k1", "k2"]),
        _ => "",
    };
    let fact = CustomerLifecycle {
        customer: script.pick(&CUSTOMERS).to_owned(),
        kind: kind.into(),
        reference: reference.to_owned(),
        amount: Some(script.money()),
        conversation,
    };
    script.push(at, Payload::CustomerLifecycle(fact));
}
