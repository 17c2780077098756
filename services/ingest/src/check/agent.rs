//! Events of agents.

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_edge::fault::Fault;
use deskpulse_proto::lent::{AgentEmploymentChanged, AgentScheduleSet, AgentStateChanged};
use deskpulse_proto::v1::{AgentState, Employment};

use super::field::{TEXT, instant, invalid, optional, specified, subject};

/// The most contacts an agent may handle at once.
const SLOTS: u32 = 1_000;
/// The longest time one schedule covers, in days.
const SCHEDULE_DAYS: i64 = 366;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

pub(super) fn state<'a>(changed: &AgentStateChanged<'a>) -> Result<SubjectRef<'a>, Fault> {
    const FIELD: &str = "agent_state_changed.slots";
    optional("agent_state_changed.team", changed.team, TEXT)?;
    specified::<AgentState>("agent_state_changed.state", changed.state)?;
    if let Some(slots) = changed.slots.filter(|slots| *slots > SLOTS) {
        invalid(FIELD, format!("{FIELD} is {slots}, it must be from 0 to {SLOTS}"))?;
    }
    subject("agent_state_changed.agent", SubjectKind::Agent, changed.agent)
}

pub(super) fn schedule<'a>(set: &AgentScheduleSet<'a>) -> Result<SubjectRef<'a>, Fault> {
    const TO: &str = "agent_schedule_set.to";
    let from = instant("agent_schedule_set.from", set.from.as_ref(), "when does the scheduled time start")?;
    let to = instant(TO, set.to.as_ref(), "when does the scheduled time end")?;
    if to <= from {
        invalid(TO, format!("{TO} must be at least a millisecond after agent_schedule_set.from"))?;
    }
    if to.millis_since(from) > SCHEDULE_DAYS * DAY_MS {
        invalid(TO, format!("{TO} is more than {SCHEDULE_DAYS} days after agent_schedule_set.from: send several"))?;
    }
    specified::<AgentState>("agent_schedule_set.activity", set.activity)?;
    subject("agent_schedule_set.agent", SubjectKind::Agent, set.agent)
}

pub(super) fn employment<'a>(changed: &AgentEmploymentChanged<'a>) -> Result<SubjectRef<'a>, Fault> {
    specified::<Employment>("agent_employment_changed.employment", changed.employment)?;
    subject("agent_employment_changed.agent", SubjectKind::Agent, changed.agent)
}
