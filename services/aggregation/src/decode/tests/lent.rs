//! What `prost` decoded, lent as this decoder lends what it reads.

use deskpulse_proto::v1::{self, event, subject};

use deskpulse_proto::lent;

/// A field as it is lent.
trait Lend<'a, T> {
    fn lend(&'a self) -> T;
}

impl<'a> Lend<'a, &'a str> for String {
    fn lend(&'a self) -> &'a str {
        self
    }
}

impl<'a> Lend<'a, Vec<&'a str>> for Vec<String> {
    fn lend(&'a self) -> Vec<&'a str> {
        self.iter().map(String::as_str).collect()
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Lend<'_, $number> for $number {
            fn lend(&self) -> $number {
                *self
            }
        }
    )+};
}

numbers!(i32, i64, u32, bool, Option<i32>, Option<u32>);

macro_rules! messages {
    ($($name:ident $(<$lent:lifetime>)? from $from:path { $($field:ident),+ })+) => {$(
        impl<'a> Lend<'a, lent::$name $(<$lent>)?> for $from {
            fn lend(&'a self) -> lent::$name $(<$lent>)? {
                lent::$name { $($field: self.$field.lend()),+ }
            }
        }

        impl<'a> Lend<'a, Option<lent::$name $(<$lent>)?>> for Option<$from> {
            fn lend(&'a self) -> Option<lent::$name $(<$lent>)?> {
                self.as_ref().map(Lend::lend)
            }
        }
    )+};
}

messages! {
    Timestamp from prost_types::Timestamp { seconds, nanos }
    Actor<'a> from v1::Actor { kind, id }
    Dimensions<'a> from v1::Dimensions {
        channel, team, agent, priority, topic, subtopic, language, country, customer_segment
    }
    Scale from v1::Scale { lowest, highest }
    Money<'a> from v1::Money { currency, amount_micros }
    ConversationOpened<'a> from v1::ConversationOpened { conversation, customer, direction, initiator, dimensions }
    ConversationStatusChanged<'a> from v1::ConversationStatusChanged { conversation, status, merged_into, actor }
    ConversationAssigned<'a> from v1::ConversationAssigned { conversation, to, assignee, team, reason }
    ConversationUpdated<'a> from v1::ConversationUpdated { conversation, set, clear, add_tags, remove_tags }
    MessageCreated<'a> from v1::MessageCreated { conversation, actor, visibility, quick_reply, sentiment }
    MessageSentimentScored<'a> from v1::MessageSentimentScored { conversation, message_event_id, sentiment }
    LegStateChanged<'a> from v1::LegStateChanged { conversation, leg, queue, agent, state, end_reason }
    AgentStateChanged<'a> from v1::AgentStateChanged { agent, team, state, slots }
    AgentScheduleSet<'a> from v1::AgentScheduleSet { agent, from, to, activity, productive, paid }
    AgentEmploymentChanged<'a> from v1::AgentEmploymentChanged { agent, employment }
    SurveySent<'a> from v1::SurveySent { survey, kind, scale, conversation, agent }
    SurveyAnswered<'a> from v1::SurveyAnswered { survey, kind, scale, conversation, agent, score, revision }
    ReviewPosted<'a> from v1::ReviewPosted { review, platform, rating, scale, customer, conversation, revision }
    TaskStatusChanged<'a> from v1::TaskStatusChanged { task, assignee, status }
    CustomerLifecycle<'a> from v1::CustomerLifecycle { customer, kind, reference, amount, conversation }
    SelfserviceEnded<'a> from v1::SelfserviceEnded { session, customer, kind, outcome }
    CostRecorded<'a> from v1::CostRecorded { amount, conversation, team }
    EventRetracted<'a> from v1::EventRetracted { subject, retracted_source, retracted_id }
    Subject<'a> from v1::Subject { kind }
}

macro_rules! one_of {
    ($name:ident from $from:path { $($variant:ident),+ }) => {
        impl<'a> Lend<'a, Option<lent::$name<'a>>> for Option<$from> {
            fn lend(&'a self) -> Option<lent::$name<'a>> {
                use $from as From;
                Some(match self.as_ref()? { $(From::$variant(of) => lent::$name::$variant(of.lend())),+ })
            }
        }
    };
}

one_of!(SubjectKind from subject::Kind {
    Conversation, Agent, Customer, Survey, Review, Task, SelfserviceSession, Team
});

one_of!(Payload from event::Payload {
    ConversationOpened, ConversationStatusChanged, ConversationAssigned, ConversationUpdated, MessageCreated,
    MessageSentimentScored, LegStateChanged, AgentStateChanged, AgentScheduleSet, AgentEmploymentChanged, SurveySent,
    SurveyAnswered, ReviewPosted, TaskStatusChanged, CustomerLifecycle, SelfserviceEnded, CostRecorded, EventRetracted
});

pub(super) fn event(event: &v1::Event) -> lent::Event<'_> {
    let entries = event.attributes.iter();
    lent::Event {
        id: event.id.lend(),
        source: event.source.lend(),
        tenant: event.tenant.lend(),
        time: event.time.lend(),
        sequence: event.sequence,
        attributes: lent::Attributes(entries.map(|(name, value)| lent::Attribute { name, value }).collect()),
        payload: event.payload.lend(),
    }
}
