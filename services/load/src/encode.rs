//! From a row to the bytes of its event, written by hand: what a generator spends on its client, the server lacks.
//!
//! | row | event |
//! |---|---|
//! | created | `conversation_opened` with channel, team, priority and topic, and the agent where there is one |
//! | message | `message_created` by the customer, or the agent; public |
//! | assigned | `conversation_assigned` to the agent, with the team |
//! | resolved, reopened | `conversation_status_changed` to resolved by the agent, to open |
//! | survey answer | `survey_answered`, CSAT, naming its conversation; the survey has the conversation's id |

use deskpulse_proto::v1::{ActorKind, AssigneeKind, ConversationStatus, SurveyKind, Visibility};

use crate::row::{Kind, Row};

/// The `source` of all events.
pub(crate) const SOURCE: &str = "load-desk/eu";

/// The name of a tenant.
#[must_use]
pub fn tenant(number: u16) -> String {
    format!("tenant-{number}")
}

/// Appends the `events` entry of a `StreamEventsRequest`.
pub(crate) fn event(row: &Row, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    scratch.clear();
    let mut event = Message(scratch);
    event.bytes(1, &hex::<16, 32>(row.event_id));
    event.bytes(2, SOURCE.as_bytes());
    event.name(3, b"tenant-", row.tenant);
    event.nested(4, |time| {
        time.number(1, row.time_ms.div_euclid(1_000));
        time.number(2, row.time_ms.rem_euclid(1_000) * 1_000_000);
    });
    let conversation = hex::<8, 16>(row.conversation.to_be_bytes());
    let actor = |to: &mut Message<'_>, field, kind: ActorKind| {
        to.nested(field, |actor| {
            actor.number(1, (kind as i32).into());
            if kind == ActorKind::Agent && row.agent > 0 {
                actor.name(2, b"agent-", row.agent);
            }
        });
    };
    let message = |to: &mut Message<'_>, by: ActorKind| {
        to.nested(14, |message| {
            message.bytes(1, &conversation);
            actor(message, 2, by);
            message.number(3, (Visibility::Public as i32).into());
        });
    };
    match row.kind {
        Kind::Created => event.nested(10, |opened| {
            opened.bytes(1, &conversation);
            opened.nested(5, |dimensions| {
                dimensions.bytes(1, row.channel.name().as_bytes());
                dimensions.name(2, b"team-", row.team);
                if row.agent > 0 {
                    dimensions.name(3, b"agent-", row.agent);
                }
                dimensions.name(4, b"", row.priority.into());
                dimensions.name(5, b"topic-", row.topic);
            });
        }),
        Kind::CustomerMessage => message(&mut event, ActorKind::Customer),
        Kind::AgentMessage => message(&mut event, ActorKind::Agent),
        Kind::Assigned => event.nested(12, |assigned| {
            assigned.bytes(1, &conversation);
            assigned.number(2, (AssigneeKind::Agent as i32).into());
            assigned.name(3, b"agent-", row.agent);
            assigned.name(4, b"team-", row.team);
        }),
        Kind::Resolved => event.nested(11, |changed| {
            changed.bytes(1, &conversation);
            changed.number(2, (ConversationStatus::Resolved as i32).into());
            actor(changed, 4, ActorKind::Agent);
        }),
        Kind::Reopened => event.nested(11, |changed| {
            changed.bytes(1, &conversation);
            changed.number(2, (ConversationStatus::Open as i32).into());
        }),
        Kind::SurveyAnswered => event.nested(21, |answered| {
            answered.bytes(1, &conversation);
            answered.number(2, (SurveyKind::Csat as i32).into());
            answered.bytes(4, &conversation);
            answered.set_number(6, row.value.into());
        }),
    }
    Message(out).bytes(2, scratch);
}

/// The beginning of a `StreamEventsRequest`.
pub(crate) fn sequence(number: u64, out: &mut Vec<u8>) {
    Message(out).number(1, i64::try_from(number).unwrap_or(i64::MAX));
}

/// A message being written.
struct Message<'a>(&'a mut Vec<u8>);

impl Message<'_> {
    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.0.push(low_byte(value));
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A number, left out where it is 0, as proto3 has it.
    fn number(&mut self, field: u64, value: i64) {
        if value != 0 {
            self.set_number(field, value);
        }
    }

    fn set_number(&mut self, field: u64, value: i64) {
        self.key(field, 0);
        self.varint(value.cast_unsigned());
    }

    /// Text that is a word and a number.
    fn name(&mut self, field: u64, word: &[u8], number: u16) {
        self.nested(field, |text| {
            text.0.extend_from_slice(word);
            let mut place = 10_000;
            while place > 1 && number < place {
                place /= 10;
            }
            while place > 0 {
                text.0.push(b'0' + low_byte(u64::from(number / place % 10)));
                place /= 10;
            }
        });
    }

    /// A message within this one. All of ours are shorter than 128 bytes, so that their length is one byte.
    fn nested(&mut self, field: u64, write: impl FnOnce(&mut Message<'_>)) {
        self.key(field, 2);
        let at = self.0.len();
        self.0.push(0);
        write(&mut Message(self.0));
        let length = self.0.len() - at - 1;
        debug_assert!(length < 0x80, "{length} bytes have no length of one byte");
        if let Some(place) = self.0.get_mut(at) {
            *place = low_byte(length as u64);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Bytes as twice as many digits.
fn hex<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    const { assert!(DIGITS == 2 * BYTES) };
    let mut digits = [0; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use deskpulse_proto::v1::event::Payload;
    use deskpulse_proto::v1::{
        Actor, ConversationAssigned, ConversationOpened, ConversationStatusChanged, Dimensions, Event, MessageCreated,
        StreamEventsRequest, SurveyAnswered,
    };
    use prost::Message as _;

    use super::*;
    use crate::row::Channel;
    use crate::workload::generate;

    fn written(sequence_number: u64, rows: &[Row]) -> Vec<u8> {
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        sequence(sequence_number, &mut out);
        for row in rows {
            event(row, &mut scratch, &mut out);
        }
        out
    }

    /// The same with the generated types.
    fn expected(row: &Row) -> Event {
        let conversation = format!("{:016x}", row.conversation);
        let agent = || format!("agent-{}", row.agent);
        let (team, topic) = (format!("team-{}", row.team), format!("topic-{}", row.topic));
        let by_agent = || Some(Actor { kind: ActorKind::Agent.into(), id: agent() });
        let message = |actor| {
            Payload::MessageCreated(MessageCreated {
                conversation: conversation.clone(),
                actor,
                visibility: Visibility::Public.into(),
                ..Default::default()
            })
        };
        let status = |status: ConversationStatus, actor| {
            Payload::ConversationStatusChanged(ConversationStatusChanged {
                conversation: conversation.clone(),
                status: status.into(),
                actor,
                ..Default::default()
            })
        };
        let payload = match row.kind {
            Kind::Created => Payload::ConversationOpened(ConversationOpened {
                conversation,
                dimensions: Some(Dimensions {
                    channel: row.channel.name().to_owned(),
                    team,
                    priority: row.priority.to_string(),
                    topic,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            Kind::CustomerMessage => message(Some(Actor { kind: ActorKind::Customer.into(), id: String::new() })),
            Kind::AgentMessage => message(by_agent()),
            Kind::Assigned => Payload::ConversationAssigned(ConversationAssigned {
                conversation,
                to: AssigneeKind::Agent.into(),
                assignee: agent(),
                team,
                ..Default::default()
            }),
            Kind::Resolved => status(ConversationStatus::Resolved, by_agent()),
            Kind::Reopened => status(ConversationStatus::Open, None),
            Kind::SurveyAnswered => Payload::SurveyAnswered(SurveyAnswered {
                survey: conversation.clone(),
                kind: SurveyKind::Csat.into(),
                conversation,
                score: Some(row.value),
                ..Default::default()
            }),
        };
        let nanos = i32::try_from(row.time_ms.rem_euclid(1_000)).unwrap() * 1_000_000;
        Event {
            id: format!("{:032x}", u128::from_be_bytes(row.event_id)),
            source: SOURCE.to_owned(),
            tenant: tenant(row.tenant),
            time: Some(prost_types::Timestamp { seconds: row.time_ms.div_euclid(1_000), nanos }),
            payload: Some(payload),
            ..Default::default()
        }
    }

    #[test]
    fn the_bytes_are_those_the_generated_types_write() {
        let rows: Vec<Row> = generate(30_000, 5).rows().collect();
        assert!(Kind::ALL.iter().all(|kind| rows.iter().any(|row| row.kind == *kind)));
        for (sequence, rows) in (1..).zip(rows.chunks(1_000)) {
            let request = StreamEventsRequest { sequence, events: rows.iter().map(expected).collect() };
            assert!(written(sequence, rows) == request.encode_to_vec());
        }
    }

    #[test]
    fn a_file_may_hold_the_widest_numbers_and_times_before_1970() {
        for kind in Kind::ALL {
            let row = Row {
                event_id: [0xff; 16],
                conversation: u64::MAX,
                time_ms: -1,
                received_ms: 0,
                value: i32::MIN,
                tenant: u16::MAX,
                team: u16::MAX,
                agent: u16::MAX,
                topic: u16::MAX,
                kind,
                channel: Channel::Social,
                priority: u8::MAX,
            };
            let mut want = expected(&row);
            if let Some(Payload::ConversationOpened(opened)) = &mut want.payload {
                opened.dimensions.as_mut().unwrap().agent = "agent-65535".to_owned();
            }
            let have = StreamEventsRequest::decode(written(7, &[row]).as_slice()).unwrap();
            assert_eq!(have, StreamEventsRequest { sequence: 7, events: vec![want] });
        }
    }

    #[test]
    fn an_event_takes_about_109_bytes() {
        let rows: Vec<Row> = generate(100_000, 6).rows().collect();
        let each = written(1, &rows).len() as f64 / rows.len() as f64;
        assert!((107.0..111.0).contains(&each), "{each}");
    }
}
