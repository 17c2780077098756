//! Random events of every type, before their names are interned.

use deskpulse_core::dimension::Dimension;
use deskpulse_core::event::{
    Actor, AgentState, Assignee, AssignmentReason, CreditKey, DimensionChanges, Event, EventId, Initiator, LegChange,
    LegEnd, LegState, LifecycleKind, Opened, Payload, Scale, Schedule, Sentiment, SessionOutcome, Status,
    SurveyContext, SurveyKind, TaskStatus, Visibility,
};
use deskpulse_core::series::{DimensionValues, Names};
use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_core::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;

const SUBJECTS: usize = 3;
pub(super) const START_MS: i64 = 1_780_315_200_000;
/// Few instants, so that many events share one; some lie days apart.
pub(super) const INSTANTS: [i64; 9] = [0, 1, 1_000, 1_000, 60_000, 900_000, 901_000, 86_400_000, 90_000_000];

/// An event before its names are interned: what `names` gives symbols for differs from run to run.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    subject: usize,
    instant: usize,
    sequence: Option<u64>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Opened { initiator: usize, team: usize, customer: Option<usize> },
    Status { status: usize, agent: Option<usize>, into: usize },
    Assigned { to: usize, handoff: bool },
    Updated { team: Option<usize>, tag: usize, remove: bool },
    Message { actor: usize, private: bool, quick: bool, mood: usize },
    Scored { message: Index, mood: usize },
    Leg { leg: usize, state: usize, queue: Option<usize>, agent: Option<usize>, reason: Option<usize> },
    Cost { amount: i64 },
    AgentState { state: usize, team: Option<usize>, slots: Option<u32> },
    Schedule { from: usize, length: i64, activity: usize, productive: bool, paid: bool },
    Employed { hired: bool },
    SurveySent { kind: usize, about: Option<usize>, agent: Option<usize> },
    SurveyAnswered { kind: usize, about: Option<usize>, score: i32, revision: u32 },
    Review { rating: i32, about: Option<usize>, revision: u32 },
    Task { status: usize, agent: Option<usize> },
    Lifecycle { kind: usize, about: Option<usize>, reference: usize },
    Session { customer: Option<usize>, outcome: usize },
    TeamCost { amount: i64 },
    Retracted { event: Index },
}

fn what() -> impl Strategy<Value = What> {
    let some = |n: usize| prop::option::of(0..n);
    let of_conversations = prop_oneof![
        1 => (0..3usize, 0..3usize, some(2))
            .prop_map(|(initiator, team, customer)| What::Opened { initiator, team, customer }),
        4 => (0..11usize, some(3), 0..SUBJECTS)
            .prop_map(|(status, agent, into)| What::Status { status, agent, into }),
        3 => (0..6usize, any::<bool>()).prop_map(|(to, handoff)| What::Assigned { to, handoff }),
        2 => (some(3), 0..3usize, any::<bool>()).prop_map(|(team, tag, remove)| What::Updated { team, tag, remove }),
        8 => (0..6usize, any::<bool>(), any::<bool>(), 0..4usize)
            .prop_map(|(actor, private, quick, mood)| What::Message { actor, private, quick, mood }),
        1 => (any::<Index>(), 0..3usize).prop_map(|(message, mood)| What::Scored { message, mood }),
        5 => (0..2usize, 0..7usize, some(2), some(3), some(9))
            .prop_map(|(leg, state, queue, agent, reason)| What::Leg { leg, state, queue, agent, reason }),
        1 => (0..1_000i64).prop_map(|amount| What::Cost { amount }),
    ];
    let of_agents = prop_oneof![
        4 => (0..8usize, some(2), prop::option::of(1..4u32))
            .prop_map(|(state, team, slots)| What::AgentState { state, team, slots }),
        2 => (0..9usize, 1..100_000_000i64, 0..8usize, any::<bool>(), any::<bool>()).prop_map(
            |(from, length, activity, productive, paid)| What::Schedule { from, length, activity, productive, paid }
        ),
        1 => any::<bool>().prop_map(|hired| What::Employed { hired }),
    ];
    let of_others = prop_oneof![
        2 => (0..4usize, some(SUBJECTS), some(3))
            .prop_map(|(kind, about, agent)| What::SurveySent { kind, about, agent }),
        3 => (0..4usize, some(SUBJECTS), 0..11i32, 0..3u32)
            .prop_map(|(kind, about, score, revision)| What::SurveyAnswered { kind, about, score, revision }),
        2 => (1..6i32, some(SUBJECTS), 0..3u32)
            .prop_map(|(rating, about, revision)| What::Review { rating, about, revision }),
        2 => (0..3usize, some(3)).prop_map(|(status, agent)| What::Task { status, agent }),
        4 => (0..10usize, some(SUBJECTS), 0..2usize)
            .prop_map(|(kind, about, reference)| What::Lifecycle { kind, about, reference }),
        1 => (some(2), 0..4usize).prop_map(|(customer, outcome)| What::Session { customer, outcome }),
        1 => (0..1_000i64).prop_map(|amount| What::TeamCost { amount }),
    ];
    prop_oneof![
        8 => of_conversations,
        3 => of_agents,
        3 => of_others,
        2 => any::<Index>().prop_map(|event| What::Retracted { event }),
    ]
}

pub(super) fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let sketch = (0..SUBJECTS, 0..INSTANTS.len(), prop::option::weighted(0.3, 0..4u64), what())
        .prop_map(|(subject, instant, sequence, what)| Sketch { subject, instant, sequence, what });
    prop::collection::vec(sketch, 1..30)
}

const AGENT_STATES: [AgentState; 8] = [
    AgentState::Offline,
    AgentState::Available,
    AgentState::Busy,
    AgentState::Wrapup,
    AgentState::Break,
    AgentState::Meal,
    AgentState::Training,
    AgentState::Meeting,
];

const LIFECYCLE: [LifecycleKind; 10] = [
    LifecycleKind::Order,
    LifecycleKind::CrossSellOffered,
    LifecycleKind::CrossSellAccepted,
    LifecycleKind::UpSellOffered,
    LifecycleKind::UpSellAccepted,
    LifecycleKind::RenewalDue,
    LifecycleKind::Renewed,
    LifecycleKind::Churned,
    LifecycleKind::Activated,
    LifecycleKind::FeatureUsed,
];

const MOODS: [Option<Sentiment>; 4] =
    [Some(Sentiment::Negative), Some(Sentiment::Neutral), Some(Sentiment::Positive), None];

impl Sketch {
    /// The kind of subject it is about; a retraction is about that of the event it takes back.
    pub(super) fn kind(&self, all: &[Self]) -> (SubjectKind, usize) {
        let kind = match &self.what {
            What::Opened { .. }
            | What::Status { .. }
            | What::Assigned { .. }
            | What::Updated { .. }
            | What::Message { .. }
            | What::Scored { .. }
            | What::Leg { .. }
            | What::Cost { .. } => SubjectKind::Conversation,
            What::AgentState { .. } | What::Schedule { .. } | What::Employed { .. } => SubjectKind::Agent,
            What::SurveySent { .. } | What::SurveyAnswered { .. } => SubjectKind::Survey,
            What::Review { .. } => SubjectKind::Review,
            What::Task { .. } => SubjectKind::Task,
            What::Lifecycle { .. } => SubjectKind::Customer,
            What::Session { .. } => SubjectKind::Session,
            What::TeamCost { .. } => SubjectKind::Team,
            What::Retracted { event } => {
                let target = &all[event.index(all.len())];
                return match target.what {
                    What::Retracted { .. } => (SubjectKind::Conversation, self.subject),
                    _ => target.kind(all),
                };
            }
        };
        (kind, self.subject)
    }

    /// The conversation it names, for an event of another subject.
    pub(super) fn mentions(&self) -> Option<usize> {
        match self.what {
            What::SurveySent { about, .. }
            | What::SurveyAnswered { about, .. }
            | What::Review { about, .. }
            | What::Lifecycle { about, .. } => about,
            _ => None,
        }
    }

    pub(super) fn credit(&self, number: usize, all: &[Self]) -> Option<CreditKey> {
        let (kind, subject) = self.kind(all);
        let conversation = format!("c{}", self.mentions()?);
        let subject = format!("c{subject}");
        Some(CreditKey::new(
            SubjectRef { kind, id: &subject },
            "law",
            &format!("e{number}"),
            self.time(),
            &conversation,
        ))
    }

    fn time(&self) -> Timestamp {
        Timestamp::clamped(START_MS + INSTANTS[self.instant])
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each type of event")]
    pub(super) fn event(&self, number: usize, all: &[Self], names: &Names) -> Event {
        let source = names.symbol("law");
        let id = |number: usize| EventId { source, id: format!("e{number}").into() };
        let agent = |n: usize| names.symbol(["A", "B", "C"][n % 3]);
        let team = |n: usize| names.symbol(["first", "second", "third"][n % 3]);
        // A message of the same conversation, where there is one.
        let message_of_conversation = |index: &Index| {
            let is_one = |(_, other): &(usize, &Self)| {
                other.subject == self.subject && matches!(other.what, What::Message { .. })
            };
            let numbers: Vec<usize> = all.iter().enumerate().filter(is_one).map(|(number, _)| number).collect();
            if numbers.is_empty() { number } else { *index.get(&numbers) }
        };
        let context = |kind: usize, agent_named: Option<usize>| SurveyContext {
            kind: [SurveyKind::Csat, SurveyKind::Nps, SurveyKind::Ces, SurveyKind::Engagement][kind],
            scale: (kind == 3).then_some(Scale { lowest: 0, highest: 10 }),
            about: self.credit(number, all),
            agent: agent_named.map(agent),
        };
        let payload = match &self.what {
            What::Opened { initiator, team: t, customer } => {
                let mut dimensions = DimensionValues::default();
                dimensions.set(&Dimension::Team, Some(team(*t)));
                let customer = customer.map(|customer| ["ann", "bob"][customer].into());
                let initiator = [Initiator::Customer, Initiator::Agent, Initiator::Bot][*initiator];
                Payload::Opened(Box::new(Opened { customer, initiator, dimensions }))
            }
            What::Status { status, agent: by, into } => Payload::StatusChanged {
                status: [
                    Status::Open,
                    Status::Pending,
                    Status::OnHold,
                    Status::Resolved,
                    Status::Resolved,
                    Status::Closed,
                    Status::Spam,
                    Status::Open,
                    Status::Deleted,
                    Status::Merged,
                    Status::Merged,
                ][*status],
                // Merged into itself counts as merged into the next one.
                merged_into: (*status > 8).then(|| {
                    let into = if *into == self.subject { (into + 1) % SUBJECTS } else { *into };
                    format!("c{into}").into()
                }),
                actor: by.map_or(Actor::Unnamed, |by| Actor::Agent(Some(agent(by)))),
            },
            What::Assigned { to, handoff } => Payload::Assigned {
                to: match to {
                    0 => Assignee::Nobody,
                    1 => Assignee::Bot(names.symbol("bot")),
                    2 => Assignee::Team(team(1)),
                    n => Assignee::Agent { agent: agent(*n), team: (*n == 4).then(|| team(2)) },
                },
                reason: if *handoff { AssignmentReason::Handoff } else { AssignmentReason::Unsaid },
            },
            What::Updated { team: t, tag, remove } => {
                let tag = vec![names.symbol(["x", "y", "z"][*tag])];
                let (add_tags, remove_tags) = if *remove { (Vec::new(), tag) } else { (tag, Vec::new()) };
                let set = vec![(Dimension::Team, t.map(team))];
                Payload::Updated(Box::new(DimensionChanges { set, add_tags, remove_tags }))
            }
            What::Message { actor, private, quick, mood } => Payload::MessageCreated {
                actor: match actor {
                    0 | 1 => Actor::Customer,
                    2 => Actor::Agent(Some(agent(0))),
                    3 => Actor::Agent(None),
                    4 => Actor::Bot(None),
                    _ => Actor::System,
                },
                visibility: if *private && *actor > 1 { Visibility::Private } else { Visibility::Public },
                quick_reply: quick.then(|| names.symbol("QR")),
                sentiment: MOODS[*mood],
            },
            What::Scored { message, mood } => Payload::SentimentScored {
                message: id(message_of_conversation(message)).id,
                sentiment: MOODS[*mood].expect("the first three are set"),
            },
            What::Leg { leg, state, queue, agent: who, reason } => {
                let state = [
                    LegState::Ivr,
                    LegState::Queued,
                    LegState::Alerting,
                    LegState::Connected,
                    LegState::Held,
                    LegState::Wrapup,
                    LegState::Ended,
                ][*state];
                Payload::LegChanged(Box::new(LegChange {
                    leg: format!("l{leg}").into(),
                    queue: queue.map(team),
                    agent: who.map(agent),
                    state,
                    reason: reason.map(|reason| {
                        [
                            LegEnd::Completed,
                            LegEnd::Abandoned,
                            LegEnd::Transferred,
                            LegEnd::Callback,
                            LegEnd::Voicemail,
                            LegEnd::Overflow,
                            LegEnd::Declined,
                            LegEnd::Expired,
                            LegEnd::Closed,
                        ][reason]
                    }),
                }))
            }
            What::Cost { amount } | What::TeamCost { amount } => {
                Payload::Cost { currency: names.symbol("EUR"), micros: *amount }
            }
            What::AgentState { state, team: t, slots } => {
                Payload::AgentStateChanged { team: t.map(team), state: AGENT_STATES[*state], slots: *slots }
            }
            What::Schedule { from, length, activity, productive, paid } => {
                let from = Timestamp::clamped(START_MS + INSTANTS[*from]);
                let to = Timestamp::clamped(from.millis() + length);
                let (productive, paid) = (*productive, *paid);
                Payload::Scheduled(Schedule { from, to, activity: AGENT_STATES[*activity], productive, paid })
            }
            What::Employed { hired } => Payload::Employed(*hired),
            What::SurveySent { kind, agent: of, .. } => Payload::SurveySent(Box::new(context(*kind, *of))),
            What::SurveyAnswered { kind, score, revision, .. } => {
                Payload::SurveyAnswered { context: Box::new(context(*kind, None)), score: *score, revision: *revision }
            }
            What::Review { rating, revision, .. } => Payload::ReviewPosted {
                platform: Some(names.symbol("shop")),
                rating: *rating,
                scale: Scale { lowest: 1, highest: 5 },
                about: self.credit(number, all),
                revision: *revision,
            },
            What::Task { status, agent: who } => Payload::TaskChanged {
                assignee: who.map(agent),
                status: [TaskStatus::Assigned, TaskStatus::Completed, TaskStatus::Cancelled][*status],
            },
            What::Lifecycle { kind, reference, .. } => Payload::Lifecycle {
                kind: LIFECYCLE[*kind],
                reference: Some(["r", "q"][*reference].into()),
                about: self.credit(number, all),
            },
            What::Session { customer, outcome } => Payload::SessionEnded {
                customer: customer.map(|customer| ["ann", "bob"][customer].into()),
                outcome: [
                    SessionOutcome::Resolved,
                    SessionOutcome::Escalated,
                    SessionOutcome::Abandoned,
                    SessionOutcome::Unknown,
                ][*outcome],
            },
            What::Retracted { event } => Payload::Retracted(Box::new(id(event.index(all.len())))),
        };
        // Every fifth event sets a custom attribute or clears it.
        let attribute = (names.symbol("plan"), number.is_multiple_of(10).then(|| names.symbol("gold")));
        let attributes = if number.is_multiple_of(5) { vec![attribute] } else { Vec::new() };
        Event { id: id(number), time: self.time(), sequence: self.sequence, attributes: attributes.into(), payload }
    }
}
