//! The durable, append-only event log: what is acknowledged is here.
//!
//! A log has a fixed number of partitions, each a sequence of [`Block`]s numbered from 1. Everything
//! else in Deskpulse is a deterministic function of it.
//!
//! **What survives.** A block whose [`append`](EventLog::append) resolved with a position was written
//! and synced: it survives the end of the process and of the machine, and every later
//! [`read`](EventLog::read) returns it.
//!
//! **What does not.** Blocks of an append that has not resolved may be there after a crash, all, some
//! or none of them; a producer that got no answer sends them again. Losing the disk loses the embedded
//! log; a replicated log is another implementor of [`EventLog`].

mod catalog;
mod check;
mod embedded;
mod error;
mod folder;
mod index;
mod keeper;
mod meta;
mod preparer;
mod reader;
mod recovery;
mod sealed;
mod segment;
pub mod verdicts;
mod writer;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use check::{
    Damage, Lost, PartitionReport, Repair, Report, See, Seen, SegmentForm, SegmentReport, inspect, inspect_on, repair,
    repair_on, walk_on,
};
pub use embedded::{EmbeddedLog, LogOptions, Stats, Surroundings};
pub use error::LogError;
pub use reader::EmbeddedReader;

/// The number of a partition, from 0 to [`EventLog::partitions`] - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl PartitionId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a block inside its partition: the first block is 1, and 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before the first block: the head of an empty partition.
    pub const START: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The events of one batch that belong to one partition, as bytes the log does not look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where the block stands in its partition.
    pub position: Position,
    /// What was appended, byte for byte. May be empty.
    pub payload: Arc<[u8]>,
}

/// A partitioned, durable sequence of blocks, of which the oldest may have been removed.
pub trait EventLog: Send + Sync + 'static {
    /// What [`read`](Self::read) returns.
    type Reader: BlockReader;

    /// How many partitions the log has. Never changes for one log.
    fn partitions(&self) -> u32;

    /// A number of this log and no other.
    fn identity(&self) -> u64;

    /// Appends blocks and resolves when every one is written and synced, with their positions in the
    /// order given: [`queue`](Self::queue) and [`Appended::durable`] in one.
    fn append(
        &self,
        blocks: Vec<(PartitionId, Vec<u8>)>,
    ) -> impl Future<Output = Result<Vec<Position>, LogError>> + Send {
        async move { self.queue(blocks).await?.durable().await }
    }

    /// Queues blocks to be appended and resolves when they stand in the queue, not yet durable. Appends are written in the
    /// order they were queued.
    ///
    /// Blocks of one partition keep their order and get consecutive positions: no other append comes
    /// between them. Either all are refused ([`LogError::NoSuchPartition`],
    /// [`LogError::BlockTooLarge`], and [`LogError::DiskFull`], also when the blocks are waited for) or none. After a crash before the answer some of them may remain.
    /// An append of no blocks resolves at once.
    ///
    /// A future dropped while it waits for room in the queue has appended nothing; dropped later, its
    /// blocks are still written, and nobody learns their positions.
    fn queue(&self, blocks: Vec<(PartitionId, Vec<u8>)>) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// The highest durable position of a partition; [`Position::START`] when it has no block.
    fn head(&self, partition: PartitionId) -> Result<Position, LogError>;

    /// The first position of a partition that was not removed; `head + 1` when none is left.
    fn first(&self, partition: PartitionId) -> Result<Position, LogError>;

    /// Says that of these partitions nothing before these positions is needed any more, of others everything.
    ///
    /// Removes whole segments of the log, those of which nothing is needed in any partition, so that some unneeded blocks
    /// stay. Removed blocks are gone for readers too ([`LogError::Removed`]). Resolves when that is durable; a crash before leaves the
    /// log as it was or as asked.
    fn truncate_below(&self, needed: Vec<(PartitionId, Position)>)
    -> impl Future<Output = Result<(), LogError>> + Send;

    /// A reader whose first block is the one at `from_inclusive`; positions 0 and 1 both mean block 1. Blocks that were removed
    /// are refused ([`LogError::Removed`]).
    ///
    /// `head + 1` waits for the next append. Anything further is refused ([`LogError::PastHead`]):
    /// whoever asks has seen blocks that this log does not have.
    fn read(&self, partition: PartitionId, from_inclusive: Position) -> Result<Self::Reader, LogError>;
}

/// The durable blocks of one partition, in order and without gaps.
pub trait BlockReader: Send + 'static {
    /// The next durable block, waiting for one to be appended; `None` once the log is closed and every
    /// block was returned.
    ///
    /// Never returns a block that is not yet synced. Dropping the future loses nothing: the next call
    /// returns the same block.
    fn next(&mut self) -> impl Future<Output = Result<Option<Block>, LogError>> + Send;
}

/// Blocks on their way to stable storage.
pub struct Appended(Pin<Box<dyn Future<Output = Result<Vec<Position>, LogError>> + Send>>);

impl Appended {
    /// Blocks whose positions this future gives once they are durable.
    pub fn new(durable: impl Future<Output = Result<Vec<Position>, LogError>> + Send + 'static) -> Self {
        Self(Box::pin(durable))
    }

    /// Resolves when every block is written and synced, with their positions in the order given.
    pub async fn durable(self) -> Result<Vec<Position>, LogError> {
        self.0.await
    }
}

impl std::fmt::Debug for Appended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Appended")
    }
}
