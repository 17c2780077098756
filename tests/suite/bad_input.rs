//! What is refused, with which code and details; and that what stands beside it is not.

#[path = "bad_input/batches.rs"]
mod batches;
#[path = "bad_input/conversations.rs"]
mod conversations;
#[path = "bad_input/doors.rs"]
mod doors;
#[path = "bad_input/limits.rs"]
mod limits;
#[path = "bad_input/questions.rs"]
mod questions;
#[path = "bad_input/subjects.rs"]
mod subjects;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AgentEmploymentChanged, AgentScheduleSet, AgentState, AgentStateChanged, AssigneeKind,
    ConversationAssigned, ConversationOpened, ConversationStatus, ConversationStatusChanged, ConversationUpdated,
    CostRecorded, CustomerLifecycle, Dimensions, Employment, Event, EventExceptionKind, EventRetracted, LegState,
    LegStateChanged, LifecycleKind, MessageCreated, MessageSentimentScored, Money, ReviewPosted, SelfserviceEnded,
    Sentiment, Subject, SurveyAnswered, SurveyKind, SurveySent, TaskStatus, TaskStatusChanged, subject,
};

use crate::harness::{Suite, ask, run, timestamp};

const AT: &str = "2026-06-01T09:00:00Z";

// Events, each good but for what a case changes.

fn event(payload: Payload) -> Event {
    Event {
        id: "case".to_owned(),
        source: "test".to_owned(),
        tenant: "acme".to_owned(),
        time: Some(timestamp(AT)),
        payload: Some(payload),
        ..Default::default()
    }
}

fn opened(change: impl FnOnce(&mut ConversationOpened)) -> Event {
    let mut opened = ConversationOpened { conversation: "case".to_owned(), ..Default::default() };
    change(&mut opened);
    event(Payload::ConversationOpened(opened))
}

/// Any event, for what is common to all.
fn any(change: impl FnOnce(&mut Event)) -> Event {
    let mut event = opened(|_| ());
    change(&mut event);
    event
}

fn status(change: impl FnOnce(&mut ConversationStatusChanged)) -> Event {
    let mut changed = ConversationStatusChanged {
        conversation: "case".to_owned(),
        status: ConversationStatus::Open.into(),
        ..Default::default()
    };
    change(&mut changed);
    event(Payload::ConversationStatusChanged(changed))
}

fn merged(into: &str) -> Event {
    status(|it| {
        it.status = ConversationStatus::Merged.into();
        into.clone_into(&mut it.merged_into);
    })
}

fn assigned(change: impl FnOnce(&mut ConversationAssigned)) -> Event {
    let mut assigned = ConversationAssigned {
        conversation: "case".to_owned(),
        to: AssigneeKind::Agent.into(),
        assignee: "ana".to_owned(),
        ..Default::default()
    };
    change(&mut assigned);
    event(Payload::ConversationAssigned(assigned))
}

fn updated(change: impl FnOnce(&mut ConversationUpdated)) -> Event {
    let mut updated = ConversationUpdated { conversation: "case".to_owned(), ..Default::default() };
    change(&mut updated);
    event(Payload::ConversationUpdated(updated))
}

fn message(change: impl FnOnce(&mut MessageCreated)) -> Event {
    let mut message = MessageCreated {
        conversation: "case".to_owned(),
        actor: Some(Actor { kind: ActorKind::Customer.into(), id: String::new() }),
        ..Default::default()
    };
    change(&mut message);
    event(Payload::MessageCreated(message))
}

fn scored(change: impl FnOnce(&mut MessageSentimentScored)) -> Event {
    let mut scored = MessageSentimentScored {
        conversation: "case".to_owned(),
        message_event_id: "message".to_owned(),
        sentiment: Sentiment::Positive.into(),
    };
    change(&mut scored);
    event(Payload::MessageSentimentScored(scored))
}

fn retracted(change: impl FnOnce(&mut EventRetracted)) -> Event {
    let mut retracted = EventRetracted {
        subject: Some(Subject { kind: Some(subject::Kind::Conversation("case".to_owned())) }),
        retracted_source: "test".to_owned(),
        retracted_id: "gone".to_owned(),
    };
    change(&mut retracted);
    event(Payload::EventRetracted(retracted))
}

fn leg(change: impl FnOnce(&mut LegStateChanged)) -> Event {
    let mut changed = LegStateChanged {
        conversation: "case".to_owned(),
        leg: "leg".to_owned(),
        state: LegState::Queued.into(),
        ..Default::default()
    };
    change(&mut changed);
    event(Payload::LegStateChanged(changed))
}

fn agent_state(change: impl FnOnce(&mut AgentStateChanged)) -> Event {
    let mut changed =
        AgentStateChanged { agent: "ana".to_owned(), state: AgentState::Available.into(), ..Default::default() };
    change(&mut changed);
    event(Payload::AgentStateChanged(changed))
}

fn schedule(change: impl FnOnce(&mut AgentScheduleSet)) -> Event {
    let mut set = AgentScheduleSet {
        agent: "ana".to_owned(),
        from: Some(timestamp("2026-06-01T09:00:00Z")),
        to: Some(timestamp("2026-06-01T17:00:00Z")),
        activity: AgentState::Available.into(),
        ..Default::default()
    };
    change(&mut set);
    event(Payload::AgentScheduleSet(set))
}

fn employed(change: impl FnOnce(&mut AgentEmploymentChanged)) -> Event {
    let mut changed = AgentEmploymentChanged { agent: "ana".to_owned(), employment: Employment::Hired.into() };
    change(&mut changed);
    event(Payload::AgentEmploymentChanged(changed))
}

fn sent(change: impl FnOnce(&mut SurveySent)) -> Event {
    let mut sent = SurveySent { survey: "survey".to_owned(), kind: SurveyKind::Csat.into(), ..Default::default() };
    change(&mut sent);
    event(Payload::SurveySent(sent))
}

fn answered(change: impl FnOnce(&mut SurveyAnswered)) -> Event {
    let mut answered = SurveyAnswered {
        survey: "survey".to_owned(),
        kind: SurveyKind::Csat.into(),
        score: Some(4),
        ..Default::default()
    };
    change(&mut answered);
    event(Payload::SurveyAnswered(answered))
}

fn review(change: impl FnOnce(&mut ReviewPosted)) -> Event {
    let mut posted = ReviewPosted { review: "review".to_owned(), rating: Some(4), ..Default::default() };
    change(&mut posted);
    event(Payload::ReviewPosted(posted))
}

fn task(change: impl FnOnce(&mut TaskStatusChanged)) -> Event {
    let mut changed =
        TaskStatusChanged { task: "task".to_owned(), status: TaskStatus::Assigned.into(), ..Default::default() };
    change(&mut changed);
    event(Payload::TaskStatusChanged(changed))
}

fn lifecycle(change: impl FnOnce(&mut CustomerLifecycle)) -> Event {
    let mut lifecycle =
        CustomerLifecycle { customer: "case".to_owned(), kind: LifecycleKind::Order.into(), ..Default::default() };
    change(&mut lifecycle);
    event(Payload::CustomerLifecycle(lifecycle))
}

fn session(change: impl FnOnce(&mut SelfserviceEnded)) -> Event {
    let mut ended = SelfserviceEnded { session: "session".to_owned(), ..Default::default() };
    change(&mut ended);
    event(Payload::SelfserviceEnded(ended))
}

fn cost(change: impl FnOnce(&mut CostRecorded)) -> Event {
    let mut recorded = CostRecorded {
        amount: Some(Money { currency: "EUR".to_owned(), amount_micros: 1_500_000 }),
        conversation: "case".to_owned(),
        team: String::new(),
    };
    change(&mut recorded);
    event(Payload::CostRecorded(recorded))
}

fn dimensioned(change: impl FnOnce(&mut Dimensions)) -> Event {
    let mut dimensions = Dimensions::default();
    change(&mut dimensions);
    opened(|it| it.dimensions = Some(dimensions))
}

fn letters(count: usize) -> String {
    "x".repeat(count)
}

fn attributes(count: usize, name: usize, value: usize) -> Event {
    let named = |number: usize| (format!("{number:0name$}"), letters(value));
    any(|it| it.attributes = (0..count).map(named).collect())
}

fn attribute(name: &str, value: &str) -> Event {
    any(|it| it.attributes = [(name.to_owned(), value.to_owned())].into())
}

fn in_minutes(minutes: i64) -> prost_types::Timestamp {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
    prost_types::Timestamp { seconds: then.as_second(), nanos: then.subsec_nanosecond() }
}

fn instant(seconds: i64, nanos: i32) -> Event {
    any(|it| it.time = Some(prost_types::Timestamp { seconds, nanos }))
}

const YEAR_1: i64 = -62_135_596_800;
const YEAR_10000: i64 = 253_402_300_800;

/// What is refused, the field named and the reason given.
type Case = (&'static str, Event, &'static str, &'static str);

/// Sends each case between two good neighbours: it alone is refused, they are counted.
fn check_events(cases: Vec<Case>) {
    let suite = Suite::start();
    run(async {
        let client = suite.client();
        let count = cases.len() as u64;
        for (number, (what, bad, field, reason)) in cases.into_iter().enumerate() {
            let neighbour = |side: &str| {
                let mut neighbour = opened(|it| it.conversation = format!("{number}-{side}"));
                neighbour.id = format!("{number}-{side}");
                neighbour
            };
            let outcome = client.send(vec![neighbour("left"), bad, neighbour("right")]).await;
            assert_eq!((outcome.accepted, outcome.duplicates, outcome.rejected), (2, 0, 1), "{what}: {outcome:?}");
            let [exception] = outcome.exceptions.as_slice() else { panic!("{what}: {outcome:?}") };
            assert_eq!((exception.index, exception.kind()), (1, EventExceptionKind::Rejected), "{what}");
            assert_eq!((exception.field.as_str(), exception.reason.as_str()), (field, reason), "{what}: {exception:?}");
            assert!(!exception.message.is_empty(), "{what} is refused without a word");
        }
        assert_eq!(client.figure(ask("acme", "conversations_opened")).await.count, 2 * count);
    });
}
