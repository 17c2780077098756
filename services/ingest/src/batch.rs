//! From a batch of events to a durable, acknowledged one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use deskpulse_core::subject::{SubjectKind, SubjectRef, route};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_log::verdicts::Verdicts;
use deskpulse_log::{Appended, EventLog, LogError, PartitionId, Position};
use deskpulse_proto::lent::Event;
use deskpulse_proto::v1::{BatchOutcome, EventException, EventExceptionKind};
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::Limits;
use crate::check::{Checked, check};

/// The fields of an `EventBlock`.
const EVENT: u32 = 1;
const MENTION: u32 = 2;

/// Takes batches: shared by all calls.
#[derive(Debug)]
pub struct Intake<L> {
    pub(crate) log: L,
    pub(crate) verdicts: Verdicts,
    pub(crate) drain: Drain,
    pub(crate) limits: Limits,
    in_flight: Arc<Semaphore>,
    /// Up to which position each partition's reader needs nothing any more.
    pub(crate) unneeded: Vec<AtomicU64>,
    /// The first position of each partition that was needed when blocks were removed last; locked while some are.
    pub(crate) removed: Arc<Mutex<Vec<(PartitionId, Position)>>>,
}

/// Room for the events of a batch among those in flight, given back when dropped.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// A batch on its way to stable storage.
#[derive(Debug)]
pub struct Submitted {
    count: usize,
    /// The events refused at the door.
    refusals: Vec<EventException>,
    /// For each block, the index in the batch of each of its events; none for a block that holds only mentions.
    shares: Vec<(PartitionId, Vec<u32>)>,
    appended: Appended,
    _room: Room,
}

/// The events of a batch for one partition: fields of an `EventBlock`, as they came.
#[derive(Default)]
struct Share {
    events: Vec<u8>,
    /// Copies of events of other subjects, which mention a conversation of this partition.
    mentions: Vec<u8>,
    /// The index in the batch of each event, the mentions left out.
    indices: Vec<u32>,
}

impl Share {
    /// The blocks to write, with the indices of their events: mostly one, none when there is nothing to write.
    ///
    /// The events of a batch fit into one block, as they came in one message, and so do its mentions; both together may not,
    /// and then the mentions get a block of their own.
    fn into_blocks(self) -> impl Iterator<Item = (Vec<u8>, Vec<u32>)> {
        let Self { events: mut block, mut mentions, indices } = self;
        if block.len() + mentions.len() <= MAX_MESSAGE {
            block.append(&mut mentions);
        }
        [(block, indices), (mentions, Vec::new())].into_iter().filter(|(block, _)| !block.is_empty())
    }
}

/// Adds a field that holds a message to an `EventBlock`.
fn put(field: u32, message: &[u8], block: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, block);
    encode_varint(message.len() as u64, block);
    block.extend_from_slice(message);
}

impl<L: EventLog> Intake<L> {
    /// An intake that writes to `log`.
    pub fn new(log: L, limits: Limits, drain: Drain) -> Arc<Self> {
        let verdicts = Verdicts::new(log.partitions());
        let in_flight = Arc::new(Semaphore::new(limits.events_in_flight));
        let unneeded = (0..log.partitions()).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { log, verdicts, drain, limits, in_flight, unneeded, removed: Arc::default() })
    }

    /// Room for a batch, or a refusal when there is none now.
    pub(crate) fn room_now(&self, events: usize) -> Result<Room, Fault> {
        Arc::clone(&self.in_flight)
            .try_acquire_many_owned(self.permits(events))
            .map(Room)
            .map_err(|_| self.overloaded())
    }

    /// Room for a batch, once there is some: the sender of a stream waits meanwhile.
    pub async fn room(&self, events: usize) -> Result<Room, Fault> {
        let room = Arc::clone(&self.in_flight).acquire_many_owned(self.permits(events)).await;
        room.map(Room).map_err(|_| self.overloaded())
    }

    /// A batch over the limit is refused in any case, so it needs no more room than one at the limit.
    fn permits(&self, events: usize) -> u32 {
        let events = events.min(self.limits.batch_events).min(self.limits.events_in_flight);
        u32::try_from(events).unwrap_or(u32::MAX)
    }

    fn overloaded(&self) -> Fault {
        let message = format!("{} events are being written already: come back later", self.limits.events_in_flight);
        Fault::new(Reason::Overloaded, message)
    }

    /// Checks a batch, routes it and queues it to be written; batches are written in the order they are submitted.
    pub async fn submit(&self, events: Vec<Bytes>, room: Room) -> Result<Submitted, Fault> {
        let count = events.len();
        if self.drain.streams_ended() {
            return Err(Fault::new(Reason::Draining, "ingest is shutting down: send the batch to another, or later"));
        }
        if count == 0 {
            return Err(Fault::in_field(Reason::BatchEmpty, "events", "events is empty: send at least one"));
        }
        if count > self.limits.batch_events {
            let message = format!("events has {count} entries, the limit is {}: split it", self.limits.batch_events);
            return Err(Fault::in_field(Reason::BatchTooLarge, "events", message));
        }
        let (shares, refusals) = self.sort(&events)?;
        self.hold(&shares).await?;
        let (blocks, shares) = (0..)
            .map(PartitionId)
            .zip(shares)
            .flat_map(|(partition, share)| share.into_blocks().map(move |(block, indices)| (partition, block, indices)))
            .map(|(partition, block, indices)| ((partition, block), (partition, indices)))
            .unzip();
        let appended = self.log.queue(blocks).await.map_err(fault)?;
        Ok(Submitted { count, refusals, shares, appended, _room: room })
    }

    /// Holds a batch back until aggregation keeps up with what was written before: else it would be acknowledged unverified, and the
    /// next ones, too.
    async fn hold(&self, shares: &[Share]) -> Result<(), Fault> {
        let deadline = Instant::now() + self.limits.verdict_wait;
        for (partition, _) in (0..).map(PartitionId).zip(shares).filter(|(_, share)| !share.indices.is_empty()) {
            let head = self.log.head(partition).map_err(fault)?;
            self.verdicts.hold(partition, head, deadline.saturating_duration_since(Instant::now())).await;
        }
        Ok(())
    }

    /// What became of a batch, once its valid events are on stable storage.
    pub async fn outcome(&self, submitted: Submitted) -> Result<BatchOutcome, Fault> {
        let Submitted { count, refusals: mut exceptions, shares, appended, _room } = submitted;
        let positions = appended.durable().await.map_err(fault)?;
        let deadline = Instant::now() + self.limits.verdict_wait;
        let (mut duplicates, mut unverified) = (0, 0);
        for ((partition, indices), position) in shares.into_iter().zip(positions) {
            if indices.is_empty() {
                continue;
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            let Some(verdict) = self.verdicts.wait(partition, position, patience).await else {
                unverified += indices.len();
                continue;
            };
            duplicates += verdict.duplicates.len();
            let original = |within: &u32| indices.get(*within as usize).copied();
            exceptions.extend(verdict.duplicates.iter().filter_map(original).map(duplicate));
            exceptions.extend(verdict.conflicts.iter().filter_map(original).map(conflict));
        }
        exceptions.sort_by_key(|exception| exception.index);
        let rejected = exceptions.len() - duplicates;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(BatchOutcome {
            accepted: number(count - duplicates - rejected),
            duplicates: number(duplicates),
            rejected: number(rejected),
            unverified: number(unverified),
            exceptions,
        })
    }

    /// Valid events by partition, with copies where they are mentioned; the others with their faults. Bytes that are no event
    /// refuse the whole batch, as the message is malformed.
    fn sort(&self, events: &[Bytes]) -> Result<(Vec<Share>, Vec<EventException>), Fault> {
        let now = now();
        let partitions = self.log.partitions();
        let about = events.iter().map(Bytes::len).sum::<usize>() / partitions as usize;
        let share = || Share { events: Vec::with_capacity(about), ..Share::default() };
        let mut shares: Vec<Share> = std::iter::repeat_with(share).take(partitions as usize).collect();
        let mut exceptions = Vec::new();
        for (index, bytes) in (0..).zip(events) {
            let malformed =
                |error| Fault::new(Reason::MessageMalformed, format!("events[{index}] is no event: {error}"));
            let event = Event::decode(bytes).map_err(malformed)?;
            let Checked { subject, mentions } = match check(&event, now, self.limits.future) {
                Ok(checked) => checked,
                Err(fault) => {
                    exceptions.push(refusal(index, EventExceptionKind::Rejected, fault));
                    continue;
                }
            };
            if let Some(id) = mentions {
                let conversation = SubjectRef { kind: SubjectKind::Conversation, id };
                let share = &mut shares[route(event.tenant, conversation, partitions) as usize];
                put(MENTION, bytes, &mut share.mentions);
            }
            let share = &mut shares[route(event.tenant, subject, partitions) as usize];
            put(EVENT, bytes, &mut share.events);
            share.indices.push(index);
        }
        Ok((shares, exceptions))
    }
}

fn refusal(index: u32, kind: EventExceptionKind, fault: Fault) -> EventException {
    EventException {
        index,
        kind: kind.into(),
        field: fault.field,
        reason: fault.reason.name().to_owned(),
        message: fault.message,
    }
}

fn duplicate(index: u32) -> EventException {
    EventException { index, kind: EventExceptionKind::Duplicate.into(), ..EventException::default() }
}

fn conflict(index: u32) -> EventException {
    let message = "another event of this source and id came before with other content; that one stays: give this one an \
                   id of its own";
    refusal(index, EventExceptionKind::Conflict, Fault::in_field(Reason::ConflictingId, "id", message))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// What a log's error means to a sender.
#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
pub(crate) fn fault(error: LogError) -> Fault {
    match error {
        LogError::BlockTooLarge { .. } => Fault::in_field(Reason::BatchTooLarge, "events", error.to_string()),
        LogError::DiskFull { .. } => {
            Fault::new(Reason::DiskFull, format!("{error}: make room, then send the batch again"))
        }
        LogError::NoSuchPartition { .. } | LogError::PastHead { .. } | LogError::Removed { .. } => {
            Fault::new(Reason::NoSuchPosition, error.to_string())
        }
        LogError::Corrupt { .. } => {
            Fault::new(Reason::LogDamaged, format!("{error}: stop the server, then deskpulse check --repair"))
        }
        LogError::Closed => Fault::new(Reason::Draining, "the log is closed"),
        LogError::InUse { .. }
        | LogError::OtherLog { .. }
        | LogError::PartitionsChanged { .. }
        | LogError::NewerVersion { .. }
        | LogError::NotALog { .. }
        | LogError::InvalidOptions { .. }
        | LogError::Io { .. }
        | LogError::Failed { .. } => Fault::new(Reason::LogFailed, error.to_string()),
    }
}
