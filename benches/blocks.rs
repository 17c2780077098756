//! A generated week as the log holds it.

use deskpulse_cli::generate::Week;
use deskpulse_core::subject::{SubjectKind, SubjectRef, route};
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::{Event, EventBlock};
use prost::Message;

use crate::workload::SEED;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WEEK_START: jiff::Timestamp = jiff::Timestamp::constant(1_767_571_200, 0);
/// The events of a batch.
pub(crate) const BATCH: usize = 1_000;
pub(crate) const PARTITIONS: u32 = 2;

/// The blocks of each partition.
pub(crate) type Log = [Vec<Vec<u8>>; PARTITIONS as usize];

/// A week of so many conversations, or of as many as `DESKPULSE_CONVERSATIONS` says.
pub(crate) fn week(conversations: u32) -> Vec<Event> {
    let set = std::env::var("DESKPULSE_CONVERSATIONS").ok().and_then(|count| count.parse().ok());
    Week { seed: SEED, start: WEEK_START, conversations: set.unwrap_or(conversations) }.events().collect()
}

/// The blocks that ingest would write of batches of [`BATCH`] events.
pub(crate) fn log(events: &[Event]) -> Log {
    let mut log = Log::default();
    for batch in events.chunks(BATCH) {
        let mut blocks: [EventBlock; PARTITIONS as usize] = Default::default();
        for event in batch {
            let id = conversation(event);
            let subject = SubjectRef { kind: SubjectKind::Conversation, id };
            blocks[route(&event.tenant, subject, PARTITIONS) as usize].events.push(event.clone());
        }
        for (partition, block) in log.iter_mut().zip(blocks).filter(|(_, block)| !block.events.is_empty()) {
            partition.push(block.encode_to_vec());
        }
    }
    log
}

/// The conversation an event is of.
pub(crate) fn conversation(event: &Event) -> &str {
    match event.payload.as_ref().expect("a payload") {
        Payload::ConversationOpened(opened) => &opened.conversation,
        Payload::ConversationStatusChanged(changed) => &changed.conversation,
        Payload::ConversationAssigned(assigned) => &assigned.conversation,
        Payload::ConversationUpdated(updated) => &updated.conversation,
        Payload::MessageCreated(message) => &message.conversation,
        Payload::MessageSentimentScored(scored) => &scored.conversation,
        _ => unreachable!("the week tells of conversations only"),
    }
}

/// User and system time of this process so far; 0 where there is no `/proc`.
pub(crate) fn cpu_seconds() -> f64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0.0 };
    // The second field is a name in parentheses; after it, utime and stime are the 12th and 13th, in 1/100 s.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |field: usize| fields.split(' ').nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    ticks(11).zip(ticks(12)).map_or(0.0, |(user, system)| (user + system) / 100.0)
}
