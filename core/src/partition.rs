//! A partition: the subjects whose events are routed to it, and their grid. One writer owns it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::conversation::Subject;
use crate::event::Event;
use crate::fact::Facts;
use crate::grid::{Reader, Recorder, SubjectNumber, grid};
use crate::series::{Names, Symbol};
use crate::timeline::Added;

/// A partition. It is a function of the set of events applied to it.
#[derive(Debug)]
pub struct Partition {
    names: Arc<Names>,
    recorder: Recorder,
    reader: Reader,
    subjects: HashMap<Symbol, HashMap<Arc<str>, (SubjectNumber, Subject)>>,
}

impl Partition {
    /// An empty partition that interns with `names`.
    #[must_use]
    pub fn new(names: Arc<Names>) -> Self {
        let (recorder, reader) = grid();
        Self { names, recorder, reader, subjects: HashMap::new() }
    }

    /// A reader of the partition's grid, for other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Applies a block of the log, all of it at once to readers; returns what each of its events did.
    pub fn apply(&mut self, block: Vec<Arrival>) -> Vec<Added> {
        let mut added = Vec::with_capacity(block.len());
        let mut unsettled: Vec<(Symbol, Box<str>)> = Vec::new();
        for Arrival { tenant, conversation, event } in block {
            let subjects = self.subjects.entry(tenant).or_default();
            if !subjects.contains_key(&*conversation) {
                let id: Arc<str> = conversation.as_ref().into();
                let number = self.recorder.add_subject(Arc::clone(&id));
                subjects.insert(id, (number, Subject::default()));
            }
            let Some((number, subject)) = subjects.get_mut(&*conversation) else {
                unreachable!("the subject has just been put there")
            };
            let was_settled = !subject.is_unsettled();
            let mut facts = Facts::new(&self.names);
            added.push(subject.add(event, &mut facts));
            for fact in facts.into_list() {
                self.recorder.record(tenant, *number, &fact);
            }
            if was_settled && subject.is_unsettled() {
                unsettled.push((tenant, conversation));
            }
        }
        for (tenant, conversation) in unsettled {
            let known = self.subjects.get_mut(&tenant).and_then(|subjects| subjects.get_mut(&*conversation));
            if let Some((number, subject)) = known {
                for fact in subject.settle(&self.names) {
                    self.recorder.record(tenant, *number, &fact);
                }
            }
        }
        self.recorder.publish();
        added
    }
}

/// An event and whom it is about.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The tenant.
    pub tenant: Symbol,
    /// The conversation.
    pub conversation: Box<str>,
    /// The event.
    pub event: Event,
}

/// The partition a conversation belongs to: 64-bit FNV-1a of tenant and conversation, mixed as `splitmix64` ends, modulo
/// the number of partitions.
///
/// Part of the log's format: a log is only ever read with the number of partitions it was written with.
#[must_use]
pub fn route(tenant: &str, conversation: &str, partitions: u32) -> u32 {
    let bytes = tenant.bytes().chain([0]).chain(conversation.bytes());
    let hash = fnv1a(bytes);
    // FNV-1a alone spreads short, similar ids badly.
    let mixed = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ mixed >> 31;
    u32::try_from(mixed % u64::from(partitions.max(1))).unwrap_or(0)
}

/// 64-bit FNV-1a.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_is_even_and_never_changes() {
        let mut shares = [0; 4];
        for n in 0..4_000 {
            shares[route("acme", &format!("c{n}"), 4) as usize] += 1;
        }
        assert!(shares.iter().all(|share| (900..1_100).contains(share)), "{shares:?}");
        assert_eq!([route("acme", "c1", 64), route("acme", "c2", 64), route("b", "c1", 64)], [62, 24, 17]);
    }
}
