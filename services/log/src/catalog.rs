//! Which segments the log has, and which blocks each begins with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::index::Summary;
use crate::{PartitionId, Position};

/// In which form the blocks of a segment are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they were written.
    Raw,
    /// Compressed.
    Sealed,
}

/// A segment of the log. Whoever reads its file holds on to it, so that the file is not written again meanwhile.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) form: Form,
    pub(crate) first_sequence: u64,
    /// Each partition's next position where the segment begins.
    pub(crate) starts: Box<[Position]>,
    /// Where the frames end; `u64::MAX` while more may follow.
    end: AtomicU64,
    /// Frame boundaries, ordered by place; only of frames that are durable. None for segments of before the start.
    pub(crate) marks: RwLock<Vec<Mark>>,
}

/// What every partition's next block was at this frame boundary.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) next: Box<[Position]>,
}

impl Entry {
    /// A segment that more may be written to.
    pub(crate) fn open(number: u64, first_sequence: u64, starts: Box<[Position]>) -> Arc<Self> {
        Arc::new(Self {
            number,
            form: Form::Raw,
            first_sequence,
            starts,
            end: AtomicU64::new(u64::MAX),
            marks: RwLock::default(),
        })
    }

    /// A segment that is finished.
    pub(crate) fn finished(form: Form, summary: &Summary) -> Arc<Self> {
        Arc::new(Self {
            number: summary.number,
            form,
            first_sequence: summary.first_sequence,
            starts: summary.starts.clone(),
            end: AtomicU64::new(summary.end),
            marks: RwLock::default(),
        })
    }

    pub(crate) fn finish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// A frame boundary at or before the block, as far on as is known.
    pub(crate) fn mark(&self, partition: PartitionId, position: Position) -> Option<u64> {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        let index = partition.index();
        let at_or_before = marks.partition_point(|mark| mark.next.get(index).is_some_and(|next| *next <= position));
        Some(marks.get(at_or_before.checked_sub(1)?)?.offset)
    }
}

/// The segments in order; their numbers have no gap. Never empty.
#[derive(Debug)]
pub(crate) struct Catalog(RwLock<VecDeque<Arc<Entry>>>);

impl Catalog {
    pub(crate) fn new(entries: VecDeque<Arc<Entry>>) -> Self {
        Self(RwLock::new(entries))
    }

    fn read<T>(&self, read: impl FnOnce(&VecDeque<Arc<Entry>>) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut VecDeque<Arc<Entry>>) -> T) -> T {
        write(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last segment that begins at or before the block: where it is, or will be. `None` when it was removed.
    pub(crate) fn with(&self, partition: PartitionId, position: Position) -> Option<Arc<Entry>> {
        let index = partition.index();
        let begins = |entry: &Arc<Entry>| entry.starts.get(index).is_some_and(|start| *start <= position);
        self.read(|entries| entries.get(entries.partition_point(begins).checked_sub(1)?).cloned())
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Entry>> {
        self.read(|entries| {
            let first = entries.front()?.number;
            entries.get(usize::try_from(number.checked_sub(first)?).ok()?).cloned()
        })
    }

    pub(crate) fn first(&self) -> Arc<Entry> {
        self.read(|entries| entries.front().cloned()).expect("a log has a segment")
    }

    /// How many segments there are, and how many of them are compressed.
    pub(crate) fn count(&self) -> (u64, u64) {
        self.read(|entries| {
            let sealed = entries.iter().filter(|entry| entry.form == Form::Sealed);
            (entries.len() as u64, sealed.count() as u64)
        })
    }

    pub(crate) fn push(&self, entry: Arc<Entry>) {
        self.write(|entries| entries.push_back(entry));
    }

    /// Puts a segment in the place of one of the same number, which is handed back.
    pub(crate) fn replace(&self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.write(|entries| {
            let first = entries.front()?.number;
            let index = usize::try_from(entry.number.checked_sub(first)?).ok()?;
            entries.get_mut(index).map(|old| std::mem::replace(old, entry))
        })
    }

    /// The first segment that still holds a block at or after these positions, one for each partition; the newest at the
    /// latest.
    pub(crate) fn first_needed(&self, needed: &[Position]) -> Arc<Entry> {
        self.read(|entries| {
            let unneeded = |entry: &Arc<Entry>| entry.starts.iter().zip(needed).all(|(start, needed)| start <= needed);
            // A segment may go when the one after it begins with nothing but what is needed, or later.
            let index = entries.partition_point(unneeded).saturating_sub(1);
            entries.get(index).cloned()
        })
        .expect("a log has a segment")
    }

    /// Takes the segments before this number out.
    pub(crate) fn remove_before(&self, number: u64) -> Vec<Arc<Entry>> {
        self.write(|entries| {
            let count = entries.partition_point(|entry| entry.number < number).min(entries.len().saturating_sub(1));
            entries.drain(..count).collect()
        })
    }
}
