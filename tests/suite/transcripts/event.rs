//! Lines that tell what happened: a time, a subject, what it did.
//!
//! | subject | what it did |
//! |---|---|
//! | `c1` (a conversation) | `opened by=agent customer=kim team=x…`, `customer`, `reply ann quick=Q`, `note ann`, `bot`, `automation`, `campaign`, `system` (each may be `private`, or have a `mood=positive`), `scored MESSAGE negative`, `assigned ann team=x`, `assigned team:x`, `assigned bot:b`, `assigned nobody`, `handoff team:x`, `transferred ben`, `status resolved by=ann`, `status merged into=c2`, `updated topic=x !team +tag -tag`, `leg L queued queue=Q`, `leg L alerting agent=ann reason=expired`, `leg L connected agent=ann`, `leg L held`, `leg L wrapup`, `leg L ended reason=abandoned`, `cost 2.50 EUR` |
//! | `agent:ann` | `state available team=x slots=3`, `schedule 09:00..12:00 available productive paid`, `hired`, `left` |
//! | `survey:s1` | `sent csat conversation=c1 agent=ann scale=1..10`, `answered csat 2 revision=1` |
//! | `review:r1` | `posted 4 platform=p scale=1..10 revision=1 conversation=c1 customer=kim` |
//! | `task:t1` | `assigned ann`, `completed`, `cancelled` |
//! | `customer:kim` | `order ref=o1 amount=9.99EUR conversation=c1`, and so on: a kind of the contract |
//! | `session:x1` | `ended resolved customer=kim kind=article` |
//! | `team:x` | `cost 10 EUR` |
//! | any | `retracted ID` |

use std::collections::BTreeMap;

use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{
    Actor, ActorKind, AgentEmploymentChanged, AgentScheduleSet, AgentState, AgentStateChanged, AssigneeKind,
    AssignmentReason, ConversationAssigned, ConversationOpened, ConversationStatus, ConversationStatusChanged,
    ConversationUpdated, CostRecorded, CustomerLifecycle, Dimensions, Direction, Employment, Event, EventRetracted,
    LegEndReason, LegState, LegStateChanged, LifecycleKind, MessageCreated, MessageSentimentScored, Money,
    ReviewPosted, Scale, SelfserviceEnded, SelfserviceKind, SelfserviceOutcome, Sentiment, Subject, SurveyAnswered,
    SurveyKind, SurveySent, TaskStatus, TaskStatusChanged, Visibility, subject,
};

use super::script::Local;

/// The arguments of a line.
pub(super) struct Words<'a>(pub(super) &'a [&'a str]);

impl Words<'_> {
    /// The argument at a place, not counting those with a name; empty when there is none.
    pub(super) fn at(&self, index: usize) -> String {
        (*self.0.iter().filter(|word| !word.contains('=')).nth(index).unwrap_or(&"")).to_owned()
    }

    /// Every `name=value` of a name.
    pub(super) fn all_named(&self, name: &str) -> Vec<String> {
        let value = |word: &&str| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        self.0.iter().filter_map(value).collect()
    }

    /// The value of `name=value`; empty when there is none.
    pub(super) fn named(&self, name: &str) -> String {
        self.all_named(name).pop().unwrap_or_default()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.named(name).parse().ok()
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn with_sign(&self, sign: char) -> Vec<String> {
        self.0.iter().filter_map(|word| word.strip_prefix(sign)).map(str::to_owned).collect()
    }
}

/// Reads a line; without a name of its own, the event is called by its number.
pub(super) fn read(words: &[&str], tenant: &str, number: usize, local: &Local) -> Event {
    let mut arguments: Vec<&str> = words[3..].to_vec();
    let id = arguments.iter().position(|word| word.starts_with('#')).map(|at| arguments.remove(at)[1..].to_owned());
    let arguments = Words(&arguments);
    let attribute =
        |word: &&str| word.strip_prefix("attr.")?.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    Event {
        id: id.unwrap_or_else(|| format!("e{number:05}")),
        source: SOURCE.to_owned(),
        tenant: tenant.to_owned(),
        time: Some(local.time(words[0])),
        sequence: arguments.number("seq"),
        attributes: arguments.0.iter().filter_map(attribute).collect::<BTreeMap<_, _>>().into_iter().collect(),
        payload: Some(payload(words[1], words[2], &arguments, local)),
    }
}

const SOURCE: &str = "transcript";

fn payload(subject: &str, what: &str, arguments: &Words<'_>, local: &Local) -> Payload {
    let (kind, id) = subject.split_once(':').unwrap_or(("conversation", subject));
    let id = id.to_owned();
    if what == "retracted" {
        let subject = match kind {
            "conversation" => subject::Kind::Conversation(id),
            "agent" => subject::Kind::Agent(id),
            "customer" => subject::Kind::Customer(id),
            "survey" => subject::Kind::Survey(id),
            "review" => subject::Kind::Review(id),
            "task" => subject::Kind::Task(id),
            "session" => subject::Kind::SelfserviceSession(id),
            "team" => subject::Kind::Team(id),
            other => panic!("{other} is no kind of subject"),
        };
        return Payload::EventRetracted(EventRetracted {
            subject: Some(Subject { kind: Some(subject) }),
            retracted_source: SOURCE.to_owned(),
            retracted_id: arguments.at(0),
        });
    }
    match kind {
        "conversation" => of_conversation(id, what, arguments),
        "agent" => of_agent(id, what, arguments, local),
        "survey" => of_survey(id, what, arguments),
        "review" => Payload::ReviewPosted(ReviewPosted {
            review: id,
            platform: arguments.named("platform"),
            rating: Some(arguments.at(0).parse().expect("a rating")),
            scale: scale(&arguments.named("scale")),
            customer: arguments.named("customer"),
            conversation: arguments.named("conversation"),
            revision: arguments.number("revision").unwrap_or_default(),
        }),
        "task" => Payload::TaskStatusChanged(TaskStatusChanged {
            task: id,
            assignee: arguments.at(0),
            status: constant("TASK_STATUS", what, TaskStatus::from_str_name),
        }),
        "customer" => Payload::CustomerLifecycle(CustomerLifecycle {
            customer: id,
            kind: constant("LIFECYCLE_KIND", what, LifecycleKind::from_str_name),
            reference: arguments.named("ref"),
            amount: amount(&arguments.named("amount")),
            conversation: arguments.named("conversation"),
        }),
        "session" => Payload::SelfserviceEnded(SelfserviceEnded {
            session: id,
            customer: arguments.named("customer"),
            kind: constant("SELFSERVICE_KIND", &arguments.named("kind"), SelfserviceKind::from_str_name),
            outcome: constant("SELFSERVICE_OUTCOME", &arguments.at(0), SelfserviceOutcome::from_str_name),
        }),
        "team" => Payload::CostRecorded(CostRecorded {
            amount: amount(&format!("{}{}", arguments.at(0), arguments.at(1))),
            team: id,
            conversation: String::new(),
        }),
        other => panic!("{other} is no kind of subject"),
    }
}

fn of_conversation(conversation: String, what: &str, arguments: &Words<'_>) -> Payload {
    match what {
        "opened" => Payload::ConversationOpened(ConversationOpened {
            conversation,
            customer: arguments.named("customer"),
            direction: constant("DIRECTION", &arguments.named("direction"), Direction::from_str_name),
            initiator: match arguments.named("by").as_str() {
                "agent" => ActorKind::Agent,
                "bot" => ActorKind::Bot,
                _ => ActorKind::Customer,
            }
            .into(),
            dimensions: Some(dimensions(arguments)),
        }),
        "customer" => message(conversation, ActorKind::Customer, "", arguments),
        "bot" => message(conversation, ActorKind::Bot, "bot", arguments),
        "automation" => message(conversation, ActorKind::Automation, "", arguments),
        "campaign" => message(conversation, ActorKind::Campaign, "", arguments),
        "system" => message(conversation, ActorKind::System, "", arguments),
        "reply" => message(conversation, ActorKind::Agent, &arguments.at(0), arguments),
        "note" => {
            message(conversation, ActorKind::Agent, &arguments.at(0), &Words(&[arguments.0, &["private"]].concat()))
        }
        "scored" => Payload::MessageSentimentScored(MessageSentimentScored {
            conversation,
            message_event_id: arguments.at(0),
            sentiment: constant("SENTIMENT", &arguments.at(1), Sentiment::from_str_name),
        }),
        "assigned" | "handoff" | "transferred" => {
            let to = arguments.at(0);
            let (kind, name) = match to.split_once(':') {
                Some(("team", team)) => (AssigneeKind::Team, team.to_owned()),
                Some(("bot", bot)) => (AssigneeKind::Bot, bot.to_owned()),
                _ if to == "nobody" => (AssigneeKind::Nobody, String::new()),
                _ => (AssigneeKind::Agent, to.clone()),
            };
            let reason = match what {
                "handoff" => AssignmentReason::Handoff,
                "transferred" => AssignmentReason::Transfer,
                _ => AssignmentReason::Unspecified,
            };
            Payload::ConversationAssigned(ConversationAssigned {
                conversation,
                to: kind.into(),
                assignee: name,
                team: arguments.named("team"),
                reason: reason.into(),
            })
        }
        "status" => {
            let agent = arguments.named("by");
            Payload::ConversationStatusChanged(ConversationStatusChanged {
                conversation,
                status: constant("CONVERSATION_STATUS", &arguments.at(0), ConversationStatus::from_str_name),
                merged_into: arguments.named("into"),
                actor: (!agent.is_empty()).then(|| Actor { kind: ActorKind::Agent.into(), id: agent }),
            })
        }
        "updated" => Payload::ConversationUpdated(ConversationUpdated {
            conversation,
            set: Some(dimensions(arguments)),
            clear: arguments.with_sign('!'),
            add_tags: arguments.with_sign('+'),
            remove_tags: arguments.with_sign('-'),
        }),
        "leg" => Payload::LegStateChanged(LegStateChanged {
            conversation,
            leg: arguments.at(0),
            queue: arguments.named("queue"),
            agent: arguments.named("agent"),
            state: constant("LEG_STATE", &arguments.at(1), LegState::from_str_name),
            end_reason: constant("LEG_END_REASON", &arguments.named("reason"), LegEndReason::from_str_name),
        }),
        "cost" => Payload::CostRecorded(CostRecorded {
            amount: amount(&format!("{}{}", arguments.at(0), arguments.at(1))),
            conversation,
            team: String::new(),
        }),
        other => panic!("{other} is nothing a conversation does"),
    }
}

fn of_agent(agent: String, what: &str, arguments: &Words<'_>, local: &Local) -> Payload {
    match what {
        "state" => Payload::AgentStateChanged(AgentStateChanged {
            agent,
            team: arguments.named("team"),
            state: constant("AGENT_STATE", &arguments.at(0), AgentState::from_str_name),
            slots: arguments.number("slots"),
        }),
        "schedule" => {
            let span = arguments.at(0);
            let (from, to) = span.split_once("..").unwrap_or_else(|| panic!("{span} is no span of time"));
            Payload::AgentScheduleSet(AgentScheduleSet {
                agent,
                from: Some(local.time(from)),
                to: Some(local.time(to)),
                activity: constant("AGENT_STATE", &arguments.at(1), AgentState::from_str_name),
                productive: arguments.has("productive"),
                paid: arguments.has("paid"),
            })
        }
        "hired" | "left" => Payload::AgentEmploymentChanged(AgentEmploymentChanged {
            agent,
            employment: constant("EMPLOYMENT", what, Employment::from_str_name),
        }),
        other => panic!("{other} is nothing an agent does"),
    }
}

fn of_survey(survey: String, what: &str, arguments: &Words<'_>) -> Payload {
    let kind = survey_kind(&arguments.at(0));
    let scale = scale(&arguments.named("scale"));
    let (conversation, agent) = (arguments.named("conversation"), arguments.named("agent"));
    match what {
        "sent" => Payload::SurveySent(SurveySent { survey, kind, scale, conversation, agent }),
        "answered" => Payload::SurveyAnswered(SurveyAnswered {
            survey,
            kind,
            scale,
            conversation,
            agent,
            score: Some(arguments.at(1).parse().expect("a score")),
            revision: arguments.number("revision").unwrap_or_default(),
        }),
        other => panic!("{other} is nothing a survey does"),
    }
}

fn message(conversation: String, kind: ActorKind, id: &str, arguments: &Words<'_>) -> Payload {
    Payload::MessageCreated(MessageCreated {
        conversation,
        actor: Some(Actor { kind: kind.into(), id: id.to_owned() }),
        visibility: if arguments.has("private") { Visibility::Private } else { Visibility::Public }.into(),
        quick_reply: arguments.named("quick"),
        sentiment: constant("SENTIMENT", &arguments.named("mood"), Sentiment::from_str_name),
    })
}

fn dimensions(arguments: &Words<'_>) -> Dimensions {
    Dimensions {
        channel: arguments.named("channel"),
        team: arguments.named("team"),
        agent: arguments.named("agent"),
        priority: arguments.named("priority"),
        topic: arguments.named("topic"),
        subtopic: arguments.named("subtopic"),
        language: arguments.named("language"),
        country: arguments.named("country"),
        customer_segment: arguments.named("segment"),
    }
}

/// The number of a constant by its short name; no word is the unspecified one.
fn constant<T: Into<i32>>(prefix: &str, word: &str, read: fn(&str) -> Option<T>) -> i32 {
    let word = if word.is_empty() { "unspecified" } else { word };
    let name = format!("{prefix}_{}", word.to_uppercase());
    read(&name).unwrap_or_else(|| panic!("{name} is nothing the contract knows")).into()
}

pub(super) fn survey_kind(word: &str) -> i32 {
    constant("SURVEY_KIND", word, SurveyKind::from_str_name)
}

/// `1..10`; none when empty.
pub(super) fn scale(text: &str) -> Option<Scale> {
    let (lowest, highest) = text.split_once("..")?;
    Some(Scale { lowest: lowest.parse().expect("a score"), highest: highest.parse().expect("a score") })
}

/// `2.50EUR`; none when empty.
fn amount(text: &str) -> Option<Money> {
    let (number, currency) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic())?);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let micros = format!("{whole}{fraction:0<6}").parse().expect("an amount");
    Some(Money { currency: currency.to_owned(), amount_micros: micros })
}
