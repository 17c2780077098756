//! Events of agents, surveys, reviews, tasks, customers, sessions and teams.

use deskpulse_core::event::{
    AgentState, CreditKey, LifecycleKind, Payload, Scale, Schedule, SessionOutcome, SurveyContext, SurveyKind,
    TaskStatus,
};
use deskpulse_core::series::Names;
use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_proto::v1;

use super::{Decoded, Identity, instant, known, lent};

/// The key of a subject's event that names a conversation; `None` when it names none.
fn about(kind: SubjectKind, subject: &str, event: Identity, conversation: &str) -> Option<CreditKey> {
    let subject = SubjectRef { kind, id: subject };
    (!conversation.is_empty()).then(|| CreditKey::new(subject, event.source, event.id, event.time, conversation))
}

pub(super) fn agent_state_changed<'a>(changed: &lent::AgentStateChanged<'a>, names: &Names) -> Option<Decoded<'a>> {
    let payload = Payload::AgentStateChanged {
        team: names.symbol_if_set(changed.team),
        state: agent_state(known(changed.state))?,
        slots: changed.slots,
    };
    Some((SubjectKind::Agent, changed.agent, payload))
}

pub(super) fn schedule_set<'a>(set: &lent::AgentScheduleSet<'a>) -> Option<Decoded<'a>> {
    let schedule = Schedule {
        from: instant(set.from.as_ref()?),
        to: instant(set.to.as_ref()?),
        activity: agent_state(known(set.activity))?,
        productive: set.productive,
        paid: set.paid,
    };
    Some((SubjectKind::Agent, set.agent, Payload::Scheduled(schedule)))
}

pub(super) fn employment_changed<'a>(changed: &lent::AgentEmploymentChanged<'a>) -> Option<Decoded<'a>> {
    let hired = match known(changed.employment) {
        v1::Employment::Unspecified => return None,
        v1::Employment::Hired => true,
        v1::Employment::Left => false,
    };
    Some((SubjectKind::Agent, changed.agent, Payload::Employed(hired)))
}

pub(super) fn survey_sent<'a>(sent: &lent::SurveySent<'a>, event: Identity, names: &Names) -> Option<Decoded<'a>> {
    let context = SurveyContext {
        kind: survey_kind(known(sent.kind))?,
        scale: sent.scale.as_ref().map(scale),
        about: about(SubjectKind::Survey, sent.survey, event, sent.conversation),
        agent: names.symbol_if_set(sent.agent),
    };
    Some((SubjectKind::Survey, sent.survey, Payload::SurveySent(Box::new(context))))
}

pub(super) fn survey_answered<'a>(
    answered: &lent::SurveyAnswered<'a>,
    event: Identity,
    names: &Names,
) -> Option<Decoded<'a>> {
    let context = SurveyContext {
        kind: survey_kind(known(answered.kind))?,
        scale: answered.scale.as_ref().map(scale),
        about: about(SubjectKind::Survey, answered.survey, event, answered.conversation),
        agent: names.symbol_if_set(answered.agent),
    };
    let payload =
        Payload::SurveyAnswered { context: Box::new(context), score: answered.score?, revision: answered.revision };
    Some((SubjectKind::Survey, answered.survey, payload))
}

pub(super) fn review_posted<'a>(
    review: &lent::ReviewPosted<'a>,
    event: Identity,
    names: &Names,
) -> Option<Decoded<'a>> {
    let payload = Payload::ReviewPosted {
        platform: names.symbol_if_set(review.platform),
        rating: review.rating?,
        scale: review.scale.as_ref().map_or(Scale { lowest: 1, highest: 5 }, scale),
        about: about(SubjectKind::Review, review.review, event, review.conversation),
        revision: review.revision,
    };
    Some((SubjectKind::Review, review.review, payload))
}

pub(super) fn task_changed<'a>(changed: &lent::TaskStatusChanged<'a>, names: &Names) -> Option<Decoded<'a>> {
    let status = match known(changed.status) {
        v1::TaskStatus::Unspecified => return None,
        v1::TaskStatus::Assigned => TaskStatus::Assigned,
        v1::TaskStatus::Completed => TaskStatus::Completed,
        v1::TaskStatus::Cancelled => TaskStatus::Cancelled,
    };
    let payload = Payload::TaskChanged { assignee: names.symbol_if_set(changed.assignee), status };
    Some((SubjectKind::Task, changed.task, payload))
}

pub(super) fn lifecycle<'a>(lifecycle: &lent::CustomerLifecycle<'a>, event: Identity) -> Option<Decoded<'a>> {
    let payload = Payload::Lifecycle {
        kind: lifecycle_kind(known(lifecycle.kind))?,
        reference: (!lifecycle.reference.is_empty()).then(|| lifecycle.reference.into()),
        about: about(SubjectKind::Customer, lifecycle.customer, event, lifecycle.conversation),
    };
    Some((SubjectKind::Customer, lifecycle.customer, payload))
}

pub(super) fn session_ended<'a>(ended: &lent::SelfserviceEnded<'a>) -> Decoded<'a> {
    let outcome = match known(ended.outcome) {
        v1::SelfserviceOutcome::Unspecified | v1::SelfserviceOutcome::Unknown => SessionOutcome::Unknown,
        v1::SelfserviceOutcome::Resolved => SessionOutcome::Resolved,
        v1::SelfserviceOutcome::Escalated => SessionOutcome::Escalated,
        v1::SelfserviceOutcome::Abandoned => SessionOutcome::Abandoned,
    };
    let customer = (!ended.customer.is_empty()).then(|| ended.customer.into());
    (SubjectKind::Session, ended.session, Payload::SessionEnded { customer, outcome })
}

/// A cost is an event of the conversation, or of the team, it was spent on.
pub(super) fn cost<'a>(recorded: &lent::CostRecorded<'a>, names: &Names) -> Option<Decoded<'a>> {
    let amount = recorded.amount.as_ref()?;
    let payload = Payload::Cost { currency: names.symbol(amount.currency), micros: amount.amount_micros };
    Some(if recorded.conversation.is_empty() {
        (SubjectKind::Team, recorded.team, payload)
    } else {
        (SubjectKind::Conversation, recorded.conversation, payload)
    })
}

fn scale(scale: &lent::Scale) -> Scale {
    Scale { lowest: scale.lowest, highest: scale.highest }
}

pub(super) fn survey_kind(kind: v1::SurveyKind) -> Option<SurveyKind> {
    match kind {
        v1::SurveyKind::Unspecified => None,
        v1::SurveyKind::Csat => Some(SurveyKind::Csat),
        v1::SurveyKind::Nps => Some(SurveyKind::Nps),
        v1::SurveyKind::Ces => Some(SurveyKind::Ces),
        v1::SurveyKind::Engagement => Some(SurveyKind::Engagement),
    }
}

fn agent_state(state: v1::AgentState) -> Option<AgentState> {
    match state {
        v1::AgentState::Unspecified => None,
        v1::AgentState::Offline => Some(AgentState::Offline),
        v1::AgentState::Available => Some(AgentState::Available),
        v1::AgentState::Busy => Some(AgentState::Busy),
        v1::AgentState::Wrapup => Some(AgentState::Wrapup),
        v1::AgentState::Break => Some(AgentState::Break),
        v1::AgentState::Meal => Some(AgentState::Meal),
        v1::AgentState::Training => Some(AgentState::Training),
        v1::AgentState::Meeting => Some(AgentState::Meeting),
    }
}

fn lifecycle_kind(kind: v1::LifecycleKind) -> Option<LifecycleKind> {
    match kind {
        v1::LifecycleKind::Unspecified => None,
        v1::LifecycleKind::Order => Some(LifecycleKind::Order),
        v1::LifecycleKind::CrossSellOffered => Some(LifecycleKind::CrossSellOffered),
        v1::LifecycleKind::CrossSellAccepted => Some(LifecycleKind::CrossSellAccepted),
        v1::LifecycleKind::UpSellOffered => Some(LifecycleKind::UpSellOffered),
        v1::LifecycleKind::UpSellAccepted => Some(LifecycleKind::UpSellAccepted),
        v1::LifecycleKind::RenewalDue => Some(LifecycleKind::RenewalDue),
        v1::LifecycleKind::Renewed => Some(LifecycleKind::Renewed),
        v1::LifecycleKind::Churned => Some(LifecycleKind::Churned),
        v1::LifecycleKind::Activated => Some(LifecycleKind::Activated),
        v1::LifecycleKind::FeatureUsed => Some(LifecycleKind::FeatureUsed),
    }
}
