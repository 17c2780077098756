//! From the wire to the core: blocks as ingest wrote them.

mod config;
mod conversation;
mod others;
#[cfg(test)]
mod tests;

use deskpulse_core::dimension::AttributeName;
use deskpulse_core::event::{CreditKey, Event, EventId, Payload};
use deskpulse_core::partition::{Arrival, Block};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::state::Mention;
use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_core::time::Timestamp;
use deskpulse_proto::lent::{self, Field as _, Input, Key};
use deskpulse_proto::v1;
use prost::Message;

pub(crate) use config::change;

/// Why bytes are no block.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// They are no message, or one of its events is not.
    #[error(transparent)]
    Block(#[from] lent::Malformed),
    /// The change of configuration in the block.
    #[error("the change of configuration cannot be decoded")]
    Config(#[source] prost::DecodeError),
}

/// A block of the log.
#[derive(Debug, Default)]
pub struct DecodedBlock {
    /// What it holds for its partition.
    pub block: Block,
    /// For each of its arrivals, the event's index among the events of the block. The others are of types this version has
    /// no meaning for: ingest refuses those, but the log may have been written by a newer version.
    pub indices: Vec<u32>,
    /// How many events it holds, those without meaning included.
    pub events: u32,
    /// The change of configuration in it, as it was written.
    pub config: Option<v1::ConfigChange>,
}

/// About how many bytes an event has.
const EVENT_BYTES: usize = 80;

/// The fields of an `EventBlock`.
const EVENT: Key = Key::of::<lent::Event>(1);
const MENTION: Key = Key::of::<lent::Event>(2);
const CONFIG: u32 = 3;

/// Decodes the bytes of an `EventBlock`.
pub fn block(bytes: &[u8], names: &Names) -> Result<DecodedBlock, Malformed> {
    let mut decoded = DecodedBlock::default();
    let about = bytes.len() / EVENT_BYTES;
    decoded.block.arrivals.reserve(about);
    decoded.indices.reserve(about);
    let mut configs = Vec::new();
    let mut recent = Recent { names, tenant: None, source: None };
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        let before = input.rest();
        match input.key()? {
            key if key == EVENT => {
                let mut event = lent::Event::default();
                event.merge(&mut input)?;
                if let Some(arrival) = arrival(&event, &mut recent) {
                    decoded.indices.push(decoded.events);
                    decoded.block.arrivals.push(arrival);
                }
                decoded.events += 1;
            }
            key if key == MENTION => {
                let mut event = lent::Event::default();
                event.merge(&mut input)?;
                decoded.block.mentions.extend(mention(&event, &mut recent));
            }
            key if [EVENT.tag(), MENTION.tag()].contains(&key.tag()) => {
                return Err(lent::Malformed::WireType { tag: key.tag() }.into());
            }
            key => {
                input.skip(key)?;
                if key.tag() == CONFIG {
                    let length = before.len() - input.rest().len();
                    configs.extend_from_slice(before.get(..length).unwrap_or_default());
                }
            }
        }
    }
    if !configs.is_empty() {
        // Changes of configuration are few, and one would be a message in many pieces: `prost` puts it together.
        let config = v1::EventBlock::decode(configs.as_slice()).map_err(Malformed::Config)?.config;
        decoded.block.change = config.clone().and_then(|config| change(config, names));
        decoded.config = config;
    }
    Ok(decoded)
}

/// The names that were asked for last: events next to each other are of one tenant and one source.
struct Recent<'a> {
    names: &'a Names,
    tenant: Option<(&'a str, Symbol)>,
    source: Option<(&'a str, Symbol)>,
}

/// The symbol of a text, where it is not the same as last time.
fn symbol_after<'a>(last: &mut Option<(&'a str, Symbol)>, text: &str, names: &'a Names) -> Symbol {
    match last {
        Some((known, symbol)) if *known == text => *symbol,
        Some(_) | None => {
            let symbol = names.symbol(text);
            *last = Some((names.text(symbol), symbol));
            symbol
        }
    }
}

/// Which event is decoded.
#[derive(Debug, Clone, Copy)]
struct Identity<'a> {
    source: &'a str,
    id: &'a str,
    time: Timestamp,
}

/// What an event is about.
type Decoded<'a> = (SubjectKind, &'a str, Payload);

/// Decodes an event. `None` for a type this version has no meaning for.
fn arrival(event: &lent::Event, recent: &mut Recent) -> Option<Arrival> {
    let names = recent.names;
    let source = symbol_after(&mut recent.source, event.source, names);
    let time = event.time.as_ref().map_or(Timestamp::MIN, instant);
    let attributes = attributes(&event.attributes.0, names);
    let identity = Identity { source: event.source, id: event.id, time };
    let (kind, subject, payload) = payload(event.payload.as_ref()?, identity, source, names)?;
    Some(Arrival {
        tenant: symbol_after(&mut recent.tenant, event.tenant, names),
        kind,
        subject: subject.into(),
        event: Event {
            id: EventId { source, id: event.id.into() },
            time,
            sequence: event.sequence,
            attributes,
            payload,
        },
    })
}

/// The attributes of an event, sorted; of those of one name the last one.
fn attributes(entries: &[lent::Attribute], names: &Names) -> Box<[(Symbol, Option<Symbol>)]> {
    let mut attributes: Vec<(Symbol, Option<Symbol>)> = entries
        .iter()
        .filter(|entry| AttributeName::is_valid(entry.name))
        .map(|entry| (names.symbol(entry.name), names.symbol_if_set(entry.value)))
        .rev()
        .collect();
    attributes.sort_by_key(|(name, _)| *name);
    attributes.dedup_by_key(|(name, _)| *name);
    attributes.into()
}

/// Decodes what an event of another subject says to the conversation it names: tenant, conversation, mention.
fn mention(event: &lent::Event, recent: &mut Recent) -> Option<(Symbol, Box<str>, Mention)> {
    use lent::Payload as Wire;
    let (kind, id, conversation) = match event.payload.as_ref()? {
        Wire::SurveySent(sent) => (SubjectKind::Survey, sent.survey, sent.conversation),
        Wire::SurveyAnswered(answered) => (SubjectKind::Survey, answered.survey, answered.conversation),
        Wire::ReviewPosted(review) => (SubjectKind::Review, review.review, review.conversation),
        Wire::CustomerLifecycle(lifecycle) => (SubjectKind::Customer, lifecycle.customer, lifecycle.conversation),
        _ => return None,
    };
    let at = event.time.as_ref().map_or(Timestamp::MIN, instant);
    let key = CreditKey::new(SubjectRef { kind, id }, event.source, event.id, at, conversation);
    let tenant = symbol_after(&mut recent.tenant, event.tenant, recent.names);
    Some((tenant, conversation.into(), Mention { at, key }))
}

/// Milliseconds since 1970; finer digits are cut off.
fn instant(time: &lent::Timestamp) -> Timestamp {
    Timestamp::clamped(time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000))
}

/// What a number of an enumeration stands for; unspecified where this version does not know it.
fn known<E: TryFrom<i32> + Default>(number: i32) -> E {
    E::try_from(number).unwrap_or_default()
}

fn payload<'a>(payload: &lent::Payload<'a>, event: Identity, source: Symbol, names: &Names) -> Option<Decoded<'a>> {
    use lent::Payload as Wire;
    let of_conversation = |(conversation, payload)| (SubjectKind::Conversation, conversation, payload);
    Some(match payload {
        Wire::ConversationOpened(opened) => of_conversation(conversation::opened(opened, names)),
        Wire::ConversationStatusChanged(changed) => of_conversation(conversation::status_changed(changed, names)?),
        Wire::ConversationAssigned(assigned) => of_conversation(conversation::assigned(assigned, names)?),
        Wire::ConversationUpdated(updated) => of_conversation(conversation::updated(updated, names)),
        Wire::MessageCreated(message) => of_conversation(conversation::message(message, names)),
        Wire::MessageSentimentScored(scored) => of_conversation(conversation::scored(scored)?),
        Wire::LegStateChanged(changed) => of_conversation(conversation::leg(changed, names)?),
        Wire::AgentStateChanged(changed) => others::agent_state_changed(changed, names)?,
        Wire::AgentScheduleSet(set) => others::schedule_set(set)?,
        Wire::AgentEmploymentChanged(changed) => others::employment_changed(changed)?,
        Wire::SurveySent(sent) => others::survey_sent(sent, event, names)?,
        Wire::SurveyAnswered(answered) => others::survey_answered(answered, event, names)?,
        Wire::ReviewPosted(review) => others::review_posted(review, event, names)?,
        Wire::TaskStatusChanged(changed) => others::task_changed(changed, names)?,
        Wire::CustomerLifecycle(lifecycle) => others::lifecycle(lifecycle, event)?,
        Wire::SelfserviceEnded(ended) => others::session_ended(ended),
        Wire::CostRecorded(recorded) => others::cost(recorded, names)?,
        Wire::EventRetracted(retracted) => {
            let same = retracted.retracted_source == event.source;
            let source = if same { source } else { names.symbol(retracted.retracted_source) };
            let (kind, subject) = subject_of(retracted.subject.as_ref()?.kind.as_ref()?);
            (kind, subject, Payload::Retracted(Box::new(EventId { source, id: retracted.retracted_id.into() })))
        }
    })
}

fn subject_of<'a>(kind: &lent::SubjectKind<'a>) -> (SubjectKind, &'a str) {
    match kind {
        lent::SubjectKind::Conversation(id) => (SubjectKind::Conversation, id),
        lent::SubjectKind::Agent(id) => (SubjectKind::Agent, id),
        lent::SubjectKind::Customer(id) => (SubjectKind::Customer, id),
        lent::SubjectKind::Survey(id) => (SubjectKind::Survey, id),
        lent::SubjectKind::Review(id) => (SubjectKind::Review, id),
        lent::SubjectKind::Task(id) => (SubjectKind::Task, id),
        lent::SubjectKind::SelfserviceSession(id) => (SubjectKind::Session, id),
        lent::SubjectKind::Team(id) => (SubjectKind::Team, id),
    }
}
