//! The way back from aggregation to ingest: which events of a block turned out to be known already.
//!
//! Only in memory, and only advice for the answer to a producer: what is counted does not depend on it.
//! Nothing here survives the process, and an answer that is not there in time is simply not given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::{PartitionId, Position};

/// An aggregator further than this many blocks behind a position is not waited for.
pub const MAX_LAG: u64 = 64;

/// Where an aggregator is further behind than this, new blocks are held back until it is not: it has to keep up, so that blocks are
/// verified.
pub const HOLD_LAG: u64 = MAX_LAG / 2;

/// An aggregator further behind than this reads what came before it started, or stands still: new blocks are not held back for it.
pub const FAR_LAG: u64 = 1_024;

/// For how many of a partition's newest applied blocks verdicts are kept.
pub const KEPT_BLOCKS: u64 = 4096;

/// What aggregation found about the events of one block. Indices count the block's events from 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Events that were already known, with the same content.
    pub duplicates: Vec<u32>,
    /// Events whose id was already known with other content.
    pub conflicts: Vec<u32>,
}

impl Verdict {
    /// True when every event was new.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.duplicates.is_empty() && self.conflicts.is_empty()
    }
}

/// The verdicts of all partitions of a log. Clones share them.
#[derive(Debug, Clone)]
pub struct Verdicts {
    boards: Arc<[watch::Sender<Board>]>,
}

impl Verdicts {
    /// For partitions 0 to `partitions` - 1, with nobody attached.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let boards = (0..partitions).map(|_| watch::Sender::new(Board::default()));
        Self { boards: boards.collect() }
    }

    /// Says that an aggregator applies this partition and has applied every block up to `applied`; it
    /// is attached until the answer is dropped.
    ///
    /// Verdicts of blocks applied before are unknown. Attaching again replaces whoever was attached: what that
    /// one reports afterwards is left out. Attaching to a partition that does not exist has no effect.
    #[must_use = "dropping it detaches the aggregator"]
    pub fn attach(&self, partition: PartitionId, applied: Position) -> Attached {
        let mut attachment = 0;
        if let Some(board) = self.boards.get(partition.index()) {
            board.send_modify(|board| {
                board.attachment += 1;
                attachment = board.attachment;
                board.attached = true;
                board.applied = applied;
                board.unknown_upto = applied;
                board.ring.clear();
            });
        }
        Attached { verdicts: self.clone(), partition, attachment }
    }

    /// The verdict on a block, waiting until it was applied, at most `timeout`.
    ///
    /// `None` at once when nobody is attached, the aggregator is more than [`MAX_LAG`] blocks behind
    /// `position`, or the block was applied before it attached or more than [`KEPT_BLOCKS`] blocks ago;
    /// `None` later when it detaches or the time is up. An empty verdict means that every event
    /// was new.
    pub async fn wait(&self, partition: PartitionId, position: Position, timeout: Duration) -> Option<Verdict> {
        let mut board = self.boards.get(partition.index())?.subscribe();
        {
            let board = board.borrow();
            if position.0.saturating_sub(board.applied.0) > MAX_LAG {
                return None;
            }
        }
        let applied = board.wait_for(|board| !board.attached || board.applied >= position);
        let board = tokio::time::timeout(timeout, applied).await.ok()?.ok()?;
        board.verdict(position)
    }

    /// Waits, before another block is appended to a partition, until its aggregator is at most [`HOLD_LAG`] blocks behind `head`, at most
    /// `timeout`. Not at all when nobody is attached or the aggregator is more than [`FAR_LAG`] blocks behind.
    pub async fn hold(&self, partition: PartitionId, head: Position, timeout: Duration) {
        let Some(board) = self.boards.get(partition.index()) else { return };
        let lag = |board: &Board| head.0.saturating_sub(board.applied.0);
        let has_to_wait = |board: &Board| board.attached && (HOLD_LAG + 1..=FAR_LAG).contains(&lag(board));
        if !has_to_wait(&board.borrow()) {
            return;
        }
        // Whether it caught up, went away or the time is up: the block is appended now.
        let _ = tokio::time::timeout(timeout, board.subscribe().wait_for(|board| !has_to_wait(board))).await;
    }

    /// Up to which block the attached aggregator has applied a partition; `None` when nobody is
    /// attached.
    #[must_use]
    pub fn applied(&self, partition: PartitionId) -> Option<Position> {
        let board = self.boards.get(partition.index())?.borrow();
        board.attached.then_some(board.applied)
    }
}

/// An aggregator that applies one partition. Dropping it detaches the aggregator.
#[derive(Debug)]
pub struct Attached {
    verdicts: Verdicts,
    partition: PartitionId,
    attachment: u64,
}

impl Attached {
    /// Says that the block at `position` was applied, and what was found.
    ///
    /// Positions must increase; blocks passed over count as applied with every event new. A position
    /// that does not increase is left out.
    pub fn report(&self, position: Position, verdict: Verdict) {
        self.modify(|board| board.report(position, verdict));
    }

    fn modify(&self, change: impl FnOnce(&mut Board)) {
        if let Some(board) = self.verdicts.boards.get(self.partition.index()) {
            board.send_if_modified(|board| {
                let current = board.attached && board.attachment == self.attachment;
                if current {
                    change(board);
                }
                current
            });
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.modify(|board| board.attached = false);
    }
}

#[derive(Debug, Default)]
struct Board {
    attached: bool,
    /// Counts the aggregators that were ever attached; the last one is heard.
    attachment: u64,
    applied: Position,
    /// Blocks up to this one have no verdict here any more, or never had one.
    unknown_upto: Position,
    /// The verdicts that are not empty, by position, all after `unknown_upto`.
    ring: VecDeque<(Position, Verdict)>,
}

impl Board {
    fn report(&mut self, position: Position, verdict: Verdict) {
        if position <= self.applied {
            return;
        }
        self.applied = position;
        let forgotten = Position(position.0.saturating_sub(KEPT_BLOCKS));
        self.unknown_upto = self.unknown_upto.max(forgotten);
        while self.ring.front().is_some_and(|(position, _)| *position <= self.unknown_upto) {
            self.ring.pop_front();
        }
        if !verdict.is_empty() {
            self.ring.push_back((position, verdict));
        }
    }

    fn verdict(&self, position: Position) -> Option<Verdict> {
        if !self.attached || position > self.applied || position <= self.unknown_upto {
            return None;
        }
        let found = self.ring.binary_search_by_key(&position, |(at, _)| *at);
        let verdict = found.ok().and_then(|index| self.ring.get(index));
        Some(verdict.map_or_else(Verdict::default, |(_, verdict)| verdict.clone()))
    }
}
