//! When a partition is put away, and what it gives up in memory: its owner's side of [`crate::keep`].

use deskpulse_core::archive::Change;
use deskpulse_core::grid::{Merge, Merged};
use deskpulse_core::partition::{Kept, Letter, Partition};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use crate::follow::now;
use crate::keep::Keeper;
use crate::post::{Post, Sent};
use crate::retention::Retention;

/// How many subjects are written down between two blocks: less than a millisecond's work.
const SUBJECTS_AT_ONCE: usize = 500;
/// How many merges are asked for after a checkpoint.
const MERGES: usize = 32;
/// After a checkpoint, no other is begun for so many times as long as it took: the disk and the processor have other work.
const REST: u32 = 4;

/// How far keeping a partition has got.
#[derive(Debug)]
enum UnderWay {
    Nothing,
    /// Subjects are being written down; beside them stands what belongs to the block at which that began, and nothing later.
    Writing(Instant, Vec<Change>),
    /// The checkpoint is on its way to the disk.
    Committing(Instant, oneshot::Receiver<Kept>),
    /// Chunks of facts are being made one, and others are to be after that.
    Merging(oneshot::Receiver<Merged>, Vec<Merge>),
    /// The keeper cannot go on: it has said why, and the process is about to end.
    Failed,
}

/// What there is to do next.
pub(crate) enum Next {
    Begin,
    Write,
    Kept(Kept),
    Merged(Merged),
}

/// The keeping of one partition.
#[derive(Debug)]
pub(crate) struct Keeping {
    keeper: Keeper,
    number: u32,
    /// How much memory the partition may take.
    budget: usize,
    under_way: UnderWay,
    next_at: Instant,
    /// What is put away beside the partition with its next checkpoint.
    beside: Vec<Change>,
    /// Letters that stand in the store, or will with the next checkpoint, until their receivers have kept them.
    sent: Vec<Sent>,
    pub(crate) letters_taken: u64,
    /// Nothing more can be given up below this.
    least: usize,
    retention: Retention,
}

/// Where the partition is, and the letter boxes.
type At<'a> = (u64, &'a Post);

impl Keeping {
    pub(crate) fn new(
        keeper: Keeper,
        (number, retention): (u32, Retention),
        budget: usize,
        (sent, letters_taken): (Vec<Sent>, u64),
    ) -> Self {
        let next_at = Instant::now() + keeper.options.checkpoint_every;
        Self {
            keeper,
            number,
            budget,
            under_way: UnderWay::Nothing,
            next_at,
            beside: Vec::new(),
            sent,
            letters_taken,
            least: 0,
            retention,
        }
    }

    /// Something to be put away beside the partition with its next checkpoint.
    pub(crate) fn beside(&mut self, change: Change) {
        self.beside.push(change);
    }

    /// A letter was sent.
    pub(crate) fn sent(&mut self, (receiver, number): Sent, letter: &Letter) {
        self.beside.push(letter.kept(self.number, receiver, number));
        self.sent.push((receiver, number));
    }

    /// The position up to which the log is not needed any more.
    pub(crate) fn unneeded_up_to(&self) -> u64 {
        self.keeper.held_twice(self.number).min(self.retention.over_up_to(now()))
    }

    /// Resolves when there is something to do. Dropping the future loses nothing.
    pub(crate) async fn wanted(&mut self) -> Next {
        loop {
            match &mut self.under_way {
                UnderWay::Nothing => {
                    tokio::time::sleep_until(self.next_at).await;
                    return Next::Begin;
                }
                UnderWay::Writing(..) => return Next::Write,
                UnderWay::Committing(_, kept) => match kept.await {
                    Ok(kept) => return Next::Kept(kept),
                    Err(_) => self.under_way = UnderWay::Failed,
                },
                UnderWay::Merging(next, _) => match next.await {
                    Ok(merged) => return Next::Merged(merged),
                    Err(_) => self.under_way = UnderWay::Failed,
                },
                UnderWay::Failed => std::future::pending().await,
            }
        }
    }

    /// Does what [`Self::wanted`] said.
    pub(crate) fn go_on(&mut self, next: Next, partition: &mut Partition, at: At) {
        match next {
            Next::Begin => {
                self.next_at = Instant::now() + self.keeper.options.checkpoint_every;
                if partition.has_changed() || !self.beside.is_empty() {
                    self.begin(partition, at);
                }
            }
            Next::Write => self.write(partition, SUBJECTS_AT_ONCE),
            Next::Kept(kept) => self.kept(&kept, partition, at),
            Next::Merged(merged) => {
                partition.merged(merged);
                if let UnderWay::Merging(_, rest) = &mut self.under_way {
                    let rest = std::mem::take(rest);
                    self.merge(rest);
                }
            }
        }
    }

    fn begin(&mut self, partition: &mut Partition, (position, post): At) {
        let number = self.number;
        let beside = &mut self.beside;
        self.sent.retain(|sent| {
            let has_kept = post.has_kept(*sent);
            if has_kept {
                beside.push(Letter::done(number, sent.0, sent.1));
            }
            !has_kept
        });
        self.beside.extend(self.retention.is_at(position, now()));
        partition.begin_checkpoint(position, self.letters_taken);
        self.under_way = UnderWay::Writing(Instant::now(), std::mem::take(&mut self.beside));
    }

    fn write(&mut self, partition: &mut Partition, subjects: usize) {
        if let UnderWay::Writing(since, beside) = &mut self.under_way
            && let Some(checkpoint) = partition.go_on_with_checkpoint(subjects)
        {
            let kept = self.keeper.keep(checkpoint, std::mem::take(beside));
            self.under_way = UnderWay::Committing(*since, kept);
        }
    }

    fn kept(&mut self, kept: &Kept, partition: &mut Partition, (_, post): At) {
        if let UnderWay::Committing(since, _) = self.under_way {
            self.next_at = Instant::now() + self.keeper.options.checkpoint_every.max(since.elapsed() * REST);
        }
        partition.kept(kept);
        post.is_kept(self.number, kept.letters_taken);
        self.keeper.is_at(self.number, kept.position);
        debug!(
            partition = self.number,
            position = kept.position,
            bytes = partition.bytes(),
            budget = self.budget,
            "kept"
        );
        self.merge(partition.merges(MERGES));
        self.least = 0;
    }

    /// Has the first of some merges made, one after the other; nothing is under way when there are none.
    fn merge(&mut self, mut merges: Vec<Merge>) {
        let next = merges.pop().map(|merge| self.keeper.merge(merge));
        self.under_way = next.map_or(UnderWay::Nothing, |next| UnderWay::Merging(next, merges));
    }

    /// After each block: writes some more of a checkpoint, and sees to it that the partition does not take more memory than
    /// it may, even if that means to wait for the disk.
    pub(crate) async fn after_a_block(&mut self, partition: &mut Partition, at: At<'_>, replaying: bool) {
        self.write(partition, SUBJECTS_AT_ONCE);
        if replaying && matches!(self.under_way, UnderWay::Nothing) {
            self.next_at = self.next_at.max(Instant::now() + self.keeper.options.checkpoint_every);
        }
        if partition.bytes() <= self.budget.max(self.least) {
            return;
        }
        // A fifth less, so that this is not to be done again soon.
        let target = self.budget - self.budget / 5;
        partition.shrink(target);
        if partition.bytes() <= self.budget {
            return;
        }
        // What has changed has to be put away first; and what is under way may not hold all of it.
        for _ in 0..2 {
            if matches!(self.under_way, UnderWay::Nothing) {
                self.begin(partition, at);
            }
            while !matches!(self.under_way, UnderWay::Nothing) {
                match self.wanted().await {
                    Next::Begin => break,
                    Next::Write => self.write(partition, usize::MAX),
                    next => self.go_on(next, partition, at),
                }
            }
            partition.shrink(target);
            if partition.bytes() <= self.budget {
                return;
            }
        }
        // All that is left is needed: it is not worth trying again before there is a good deal more.
        self.least = partition.bytes() + self.budget / 10;
    }
}
