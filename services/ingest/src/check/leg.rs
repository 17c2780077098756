//! Events of calls and routed chats.

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_edge::fault::Fault;
use deskpulse_proto::lent::LegStateChanged;
use deskpulse_proto::v1::{LegEndReason, LegState};

use super::field::{TEXT, invalid, known, optional, required, specified, subject};

pub(super) fn state<'a>(changed: &LegStateChanged<'a>) -> Result<SubjectRef<'a>, Fault> {
    required("leg_state_changed.leg", changed.leg, TEXT)?;
    optional("leg_state_changed.queue", changed.queue, TEXT)?;
    optional("leg_state_changed.agent", changed.agent, TEXT)?;
    let state = specified("leg_state_changed.state", changed.state)?;
    end_reason(state, known("leg_state_changed.end_reason", changed.end_reason)?)?;
    subject("leg_state_changed.conversation", SubjectKind::Conversation, changed.conversation)
}

/// A leg that ended has any reason; an alert that was not taken leaves the leg alerting or back in its queue.
fn end_reason(state: LegState, reason: LegEndReason) -> Result<(), Fault> {
    const FIELD: &str = "leg_state_changed.end_reason";
    match (state, reason) {
        (LegState::Ended, _)
        | (_, LegEndReason::Unspecified)
        | (LegState::Alerting | LegState::Queued, LegEndReason::Declined | LegEndReason::Expired) => Ok(()),
        (LegState::Alerting | LegState::Queued, _) => {
            let message = format!("{FIELD} of a leg that is alerting or queued may be declined or expired only");
            invalid(FIELD, message)
        }
        (
            LegState::Unspecified | LegState::Ivr | LegState::Connected | LegState::Held | LegState::Wrapup,
            LegEndReason::Completed
            | LegEndReason::Abandoned
            | LegEndReason::Transferred
            | LegEndReason::Callback
            | LegEndReason::Voicemail
            | LegEndReason::Overflow
            | LegEndReason::Declined
            | LegEndReason::Expired
            | LegEndReason::Closed,
        ) => {
            let message =
                format!("{FIELD} goes with the state ended, or with an alert that was not taken: leave it out");
            invalid(FIELD, message)
        }
    }
}
