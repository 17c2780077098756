//! Events taken back.

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_edge::fault::Fault;
use deskpulse_proto::lent::{EventRetracted, SubjectKind as Kind};

use super::field::{TEXT, missing, required, subject};

pub(super) fn retracted<'a>(retracted: &EventRetracted<'a>) -> Result<SubjectRef<'a>, Fault> {
    required("event_retracted.retracted_source", retracted.retracted_source, TEXT)?;
    required("event_retracted.retracted_id", retracted.retracted_id, TEXT)?;
    let Some(of) = retracted.subject.as_ref().and_then(|subject| subject.kind.as_ref()) else {
        return Err(missing("event_retracted.subject", "whose event is taken back"));
    };
    let (name, kind, id) = match of {
        Kind::Conversation(id) => ("conversation", SubjectKind::Conversation, id),
        Kind::Agent(id) => ("agent", SubjectKind::Agent, id),
        Kind::Customer(id) => ("customer", SubjectKind::Customer, id),
        Kind::Survey(id) => ("survey", SubjectKind::Survey, id),
        Kind::Review(id) => ("review", SubjectKind::Review, id),
        Kind::Task(id) => ("task", SubjectKind::Task, id),
        Kind::SelfserviceSession(id) => ("selfservice_session", SubjectKind::Session, id),
        Kind::Team(id) => ("team", SubjectKind::Team, id),
    };
    subject(format_args!("event_retracted.subject.{name}"), kind, id)
}
