//! The messages of `deskpulse.v1` that events are made of. Enumerations are numbers here: what they stand for is for those
//! to say who give them a meaning.

use super::{Attributes, Field, Input, Key, Malformed, WireType};

/// A message: its fields and their numbers, as in the contract, and one set of fields of which only one holds.
macro_rules! message {
    (
        $name:ident $(<$lent:lifetime>)? {
            $($field:ident: $of:ty = $tag:literal),* $(,)?
            $(; $one:ident: $one_of:ident)?
        }
    ) => {
        #[doc = concat!("`", stringify!($name), "` of the contract.")]
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name $(<$lent>)? {
            $(#[doc = concat!("Field ", $tag, ".")] pub $field: $of,)*
            $(#[doc = "The one of its fields that is set."] pub $one: Option<$one_of<'a>>,)?
        }

        impl<'a> Field<'a> for $name $(<$lent>)? {
            const WIRE_TYPE: WireType = WireType::LengthDelimited;

            #[inline]
            fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed> {
                self.merge_inside(input.message()?)
            }
        }

        impl<'a> $name $(<$lent>)? {
            #[inline]
            fn merge_inside(&mut self, mut input: Input<'a>) -> Result<(), Malformed> {
                while !input.is_empty() {
                    match input.key()? {
                        $(key if key == const { Key::of::<$of>($tag) } => self.$field.merge(&mut input)?,)*
                        key => {
                            $(if $one_of::merge(&mut self.$one, key, &mut input)? { continue })?
                            match key.tag() {
                                $($tag => self.$field.merge_otherwise(key, &mut input)?,)*
                                _ => input.skip(key)?,
                            }
                        }
                    }
                }
                Ok(())
            }
        }
    };
}

/// Fields of which the last one holds; one that repeats is merged.
macro_rules! one_of {
    ($name:ident<'a> { $($variant:ident($of:ty) = $tag:literal),+ $(,)? }) => {
        #[doc = concat!("`", stringify!($name), "` of the contract.")]
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name<'a> { $(#[doc = concat!("Field ", $tag, ".")] $variant($of)),+ }

        impl<'a> $name<'a> {
            /// Takes a field in; false when it is none of these.
            #[inline]
            fn merge(known: &mut Option<Self>, key: Key, input: &mut Input<'a>) -> Result<bool, Malformed> {
                match key {
                    $(key if key == const { Key::of::<$of>($tag) } => {
                        if !matches!(known, Some(Self::$variant(_))) {
                            *known = Some(Self::$variant(Default::default()));
                        }
                        if let Some(Self::$variant(value)) = known {
                            value.merge(input)?;
                        }
                        Ok(true)
                    })+
                    key => match key.tag() {
                        $($tag => Err(Malformed::WireType { tag: $tag }),)+
                        _ => Ok(false),
                    },
                }
            }
        }
    };
}

message!(Event<'a> {
    id: &'a str = 1,
    source: &'a str = 2,
    tenant: &'a str = 3,
    time: Option<Timestamp> = 4,
    sequence: Option<u64> = 5,
    attributes: Attributes<'a> = 6;
    payload: Payload
});

one_of!(Payload<'a> {
    ConversationOpened(ConversationOpened<'a>) = 10,
    ConversationStatusChanged(ConversationStatusChanged<'a>) = 11,
    ConversationAssigned(ConversationAssigned<'a>) = 12,
    ConversationUpdated(ConversationUpdated<'a>) = 13,
    MessageCreated(MessageCreated<'a>) = 14,
    MessageSentimentScored(MessageSentimentScored<'a>) = 15,
    LegStateChanged(LegStateChanged<'a>) = 16,
    AgentStateChanged(AgentStateChanged<'a>) = 17,
    AgentScheduleSet(AgentScheduleSet<'a>) = 18,
    AgentEmploymentChanged(AgentEmploymentChanged<'a>) = 19,
    SurveySent(SurveySent<'a>) = 20,
    SurveyAnswered(SurveyAnswered<'a>) = 21,
    ReviewPosted(ReviewPosted<'a>) = 22,
    TaskStatusChanged(TaskStatusChanged<'a>) = 23,
    CustomerLifecycle(CustomerLifecycle<'a>) = 24,
    SelfserviceEnded(SelfserviceEnded<'a>) = 25,
    CostRecorded(CostRecorded<'a>) = 26,
    EventRetracted(EventRetracted<'a>) = 27,
});

impl<'a> Event<'a> {
    /// The event that the bytes of one of a message's events hold.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut event = Self::default();
        event.merge_inside(Input::within(bytes))?;
        Ok(event)
    }
}

message!(Timestamp { seconds: i64 = 1, nanos: i32 = 2 });

// An entry of the map of attributes.
message!(Attribute<'a> { name: &'a str = 1, value: &'a str = 2 });

message!(Actor<'a> { kind: i32 = 1, id: &'a str = 2 });

message!(Dimensions<'a> {
    channel: &'a str = 1,
    team: &'a str = 2,
    agent: &'a str = 3,
    priority: &'a str = 4,
    topic: &'a str = 5,
    subtopic: &'a str = 6,
    language: &'a str = 7,
    country: &'a str = 8,
    customer_segment: &'a str = 9,
});

message!(ConversationOpened<'a> {
    conversation: &'a str = 1,
    customer: &'a str = 2,
    direction: i32 = 3,
    initiator: i32 = 4,
    dimensions: Option<Dimensions<'a>> = 5,
});

message!(ConversationStatusChanged<'a> {
    conversation: &'a str = 1,
    status: i32 = 2,
    merged_into: &'a str = 3,
    actor: Option<Actor<'a>> = 4,
});

message!(ConversationAssigned<'a> {
    conversation: &'a str = 1,
    to: i32 = 2,
    assignee: &'a str = 3,
    team: &'a str = 4,
    reason: i32 = 5,
});

message!(ConversationUpdated<'a> {
    conversation: &'a str = 1,
    set: Option<Dimensions<'a>> = 2,
    clear: Vec<&'a str> = 3,
    add_tags: Vec<&'a str> = 4,
    remove_tags: Vec<&'a str> = 5,
});

message!(MessageCreated<'a> {
    conversation: &'a str = 1,
    actor: Option<Actor<'a>> = 2,
    visibility: i32 = 3,
    quick_reply: &'a str = 4,
    sentiment: i32 = 5,
});

message!(MessageSentimentScored<'a> { conversation: &'a str = 1, message_event_id: &'a str = 2, sentiment: i32 = 3 });

message!(LegStateChanged<'a> {
    conversation: &'a str = 1,
    leg: &'a str = 2,
    queue: &'a str = 3,
    agent: &'a str = 4,
    state: i32 = 5,
    end_reason: i32 = 6,
});

message!(AgentStateChanged<'a> { agent: &'a str = 1, team: &'a str = 2, state: i32 = 3, slots: Option<u32> = 4 });

message!(AgentScheduleSet<'a> {
    agent: &'a str = 1,
    from: Option<Timestamp> = 2,
    to: Option<Timestamp> = 3,
    activity: i32 = 4,
    productive: bool = 5,
    paid: bool = 6,
});

message!(AgentEmploymentChanged<'a> { agent: &'a str = 1, employment: i32 = 2 });

message!(Scale { lowest: i32 = 1, highest: i32 = 2 });

message!(SurveySent<'a> {
    survey: &'a str = 1,
    kind: i32 = 2,
    scale: Option<Scale> = 3,
    conversation: &'a str = 4,
    agent: &'a str = 5,
});

message!(SurveyAnswered<'a> {
    survey: &'a str = 1,
    kind: i32 = 2,
    scale: Option<Scale> = 3,
    conversation: &'a str = 4,
    agent: &'a str = 5,
    score: Option<i32> = 6,
    revision: u32 = 7,
});

message!(ReviewPosted<'a> {
    review: &'a str = 1,
    platform: &'a str = 2,
    rating: Option<i32> = 3,
    scale: Option<Scale> = 4,
    customer: &'a str = 5,
    conversation: &'a str = 6,
    revision: u32 = 7,
});

message!(TaskStatusChanged<'a> { task: &'a str = 1, assignee: &'a str = 2, status: i32 = 3 });

message!(Money<'a> { currency: &'a str = 1, amount_micros: i64 = 2 });

message!(CustomerLifecycle<'a> {
    customer: &'a str = 1,
    kind: i32 = 2,
    reference: &'a str = 3,
    amount: Option<Money<'a>> = 4,
    conversation: &'a str = 5,
});

message!(SelfserviceEnded<'a> { session: &'a str = 1, customer: &'a str = 2, kind: i32 = 3, outcome: i32 = 4 });

message!(CostRecorded<'a> { amount: Option<Money<'a>> = 1, conversation: &'a str = 2, team: &'a str = 3 });

message!(Subject<'a> { ; kind: SubjectKind });

one_of!(SubjectKind<'a> {
    Conversation(&'a str) = 1,
    Agent(&'a str) = 2,
    Customer(&'a str) = 3,
    Survey(&'a str) = 4,
    Review(&'a str) = 5,
    Task(&'a str) = 6,
    SelfserviceSession(&'a str) = 7,
    Team(&'a str) = 8,
});

message!(EventRetracted<'a> {
    subject: Option<Subject<'a>> = 1,
    retracted_source: &'a str = 2,
    retracted_id: &'a str = 3,
});
