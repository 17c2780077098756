//! Events of tasks, customers, self-service and costs.

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::lent::{CostRecorded, CustomerLifecycle, SelfserviceEnded, TaskStatusChanged};
use deskpulse_proto::v1::{LifecycleKind, SelfserviceKind, SelfserviceOutcome, TaskStatus};

use super::Checked;
use super::field::{TEXT, invalid, known, missing, money, optional, required, specified, subject};

/// The greatest cost, or refund, of one event, in millionths: a thousand million of the currency's units.
const COST_MICROS: u64 = 1_000_000_000_000_000;

pub(super) fn task<'a>(changed: &TaskStatusChanged<'a>) -> Result<SubjectRef<'a>, Fault> {
    optional("task_status_changed.assignee", changed.assignee, TEXT)?;
    specified::<TaskStatus>("task_status_changed.status", changed.status)?;
    subject("task_status_changed.task", SubjectKind::Task, changed.task)
}

pub(super) fn lifecycle<'a>(lifecycle: &CustomerLifecycle<'a>) -> Result<Checked<'a>, Fault> {
    const REFERENCE: &str = "customer_lifecycle.reference";
    match specified("customer_lifecycle.kind", lifecycle.kind)? {
        // Without one, a renewal could not be told from another, nor a feature.
        LifecycleKind::RenewalDue | LifecycleKind::Renewed | LifecycleKind::FeatureUsed => {
            required(REFERENCE, lifecycle.reference, TEXT)?;
        }
        LifecycleKind::Unspecified
        | LifecycleKind::Order
        | LifecycleKind::CrossSellOffered
        | LifecycleKind::CrossSellAccepted
        | LifecycleKind::UpSellOffered
        | LifecycleKind::UpSellAccepted
        | LifecycleKind::Churned
        | LifecycleKind::Activated => optional(REFERENCE, lifecycle.reference, TEXT)?,
    }
    if let Some(amount) = &lifecycle.amount {
        money("customer_lifecycle.amount", amount)?;
    }
    optional("customer_lifecycle.conversation", lifecycle.conversation, TEXT)?;
    let customer = subject("customer_lifecycle.customer", SubjectKind::Customer, lifecycle.customer)?;
    Ok(Checked::mentioning(customer, lifecycle.conversation))
}

pub(super) fn selfservice<'a>(ended: &SelfserviceEnded<'a>) -> Result<SubjectRef<'a>, Fault> {
    optional("selfservice_ended.customer", ended.customer, TEXT)?;
    known::<SelfserviceKind>("selfservice_ended.kind", ended.kind)?;
    known::<SelfserviceOutcome>("selfservice_ended.outcome", ended.outcome)?;
    subject("selfservice_ended.session", SubjectKind::Session, ended.session)
}

pub(super) fn cost<'a>(recorded: &CostRecorded<'a>) -> Result<SubjectRef<'a>, Fault> {
    const MICROS: &str = "cost_recorded.amount.amount_micros";
    let Some(amount) = &recorded.amount else {
        return Err(missing("cost_recorded.amount", "how much was spent"));
    };
    money("cost_recorded.amount", amount)?;
    if amount.amount_micros.unsigned_abs() > COST_MICROS {
        let message = format!(
            "{MICROS} is {}, it must be from -10^15 to 10^15: check the unit, which is a millionth",
            amount.amount_micros
        );
        invalid(MICROS, message)?;
    }
    match (recorded.conversation, recorded.team) {
        ("", "") => {
            let message = "cost_recorded.conversation or cost_recorded.team is required: what was it spent on";
            Err(Fault::in_field(Reason::FieldRequired, "cost_recorded.conversation", message))
        }
        (conversation, "") => subject("cost_recorded.conversation", SubjectKind::Conversation, conversation),
        ("", team) => subject("cost_recorded.team", SubjectKind::Team, team),
        (_, _) => {
            let message = "cost_recorded.team must be empty where cost_recorded.conversation is named: a cost is of one \
                           of them";
            invalid("cost_recorded.team", message)
        }
    }
}
