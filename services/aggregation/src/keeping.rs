//! When a partition is put away, and what it gives up in memory: its owner's side of [`crate::keep`].

use std::sync::Arc;
use std::time::Duration;

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
/// How long nothing is written down after that while no block comes: others need the processor too.
const BREATH: Duration = Duration::from_millis(1);
/// How much memory is given up after a block at most, in bytes, as long as there is some left: the work of less than a millisecond.
const GIVEN_UP_AT_ONCE: usize = 1 << 20;
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
    /// Whether memory is being given up bit by bit.
    is_easing: bool,
    under_way: UnderWay,
    next_at: Instant,
    /// What is put away beside the partition with its next checkpoint.
    beside: Vec<Change>,
    /// Letters that stand in the store, or will with the next checkpoint, until their receivers have kept them.
    sent: Vec<Sent>,
    pub(crate) letters_taken: u64,
    /// Nothing more can be given up below this.
    least: usize,
    retention: Arc<Retention>,
}

/// How much of the log a partition does not need any more.
#[derive(Debug)]
pub(crate) struct Unneeded {
    keeper: Keeper,
    number: u32,
    retention: Arc<Retention>,
}

impl Unneeded {
    /// The last position that is not needed; 0 while all are.
    pub(crate) fn up_to(&self) -> u64 {
        self.keeper.held_twice(self.number).min(self.retention.over_up_to(now()))
    }

    /// The pause between two looks; `None` when everything is kept for ever.
    pub(crate) fn look_every(&self) -> Option<Duration> {
        self.retention.look_every()
    }
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
            is_easing: false,
            under_way: UnderWay::Nothing,
            next_at,
            beside: Vec::new(),
            sent,
            letters_taken,
            least: 0,
            retention: Arc::new(retention),
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

    /// What says how much of the log is not needed any more, also while the partition waits for the disk.
    pub(crate) fn unneeded(&self) -> Unneeded {
        Unneeded { keeper: self.keeper.clone(), number: self.number, retention: Arc::clone(&self.retention) }
    }

    /// Resolves when there is something to do. Dropping the future loses nothing.
    pub(crate) async fn wanted(&mut self) -> Next {
        loop {
            match &mut self.under_way {
                UnderWay::Nothing => {
                    tokio::time::sleep_until(self.next_at).await;
                    return Next::Begin;
                }
                UnderWay::Writing(..) => {
                    tokio::time::sleep(BREATH).await;
                    return Next::Write;
                }
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
                if partition.has_changed() || !self.beside.is_empty() || self.retention.is_due(at.0, now()) {
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
            self.ease(partition, at);
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

    /// Gives up memory bit by bit before the budget is used up, so that the partition need not wait for the disk then.
    fn ease(&mut self, partition: &mut Partition, at: At<'_>) {
        let eighth = self.budget / 8;
        let bytes = partition.bytes();
        self.is_easing = bytes > if self.is_easing { 6 * eighth } else { 7 * eighth };
        // Where everything is needed, that was seen before.
        if !self.is_easing || self.least > 0 {
            return;
        }
        partition.shrink(bytes - GIVEN_UP_AT_ONCE.min(eighth));
        if partition.bytes() > self.budget - eighth / 2 && matches!(self.under_way, UnderWay::Nothing) {
            self.begin(partition, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deskpulse_core::partition::{Block, Place};
    use deskpulse_core::series::Names;
    use deskpulse_core::time::Timestamp;
    use deskpulse_disk::SimulatedDisk;
    use deskpulse_proto::v1::config_change::Change as What;
    use deskpulse_proto::v1::event::Payload;
    use deskpulse_proto::v1::{Calendar, ConfigChange, ConversationUpdated, Event, EventBlock};
    use prost::Message;

    use super::*;
    use crate::keep::{KeepOptions, Opened};
    use crate::{config, decode};

    /// More subjects than are written down at once.
    const SUBJECTS: usize = 3 * SUBJECTS_AT_ONCE;

    fn subjects() -> EventBlock {
        let event = |number: usize| Event {
            id: number.to_string(),
            source: "test".to_owned(),
            tenant: "acme".to_owned(),
            payload: Some(Payload::ConversationUpdated(ConversationUpdated {
                conversation: number.to_string(),
                ..Default::default()
            })),
            ..Default::default()
        };
        EventBlock { events: (0..SUBJECTS).map(event).collect(), ..Default::default() }
    }

    fn calendar() -> ConfigChange {
        let calendar = Calendar { calendar: "office".to_owned(), time_zone: "UTC".to_owned(), ..Default::default() };
        ConfigChange { tenant: "acme".to_owned(), change: Some(What::Calendar(calendar)) }
    }

    fn decoded(block: &EventBlock, names: &Names) -> Block {
        decode::block(&block.encode_to_vec(), names).expect("it is a block").block
    }

    /// Goes on until a checkpoint is durable, and says how often subjects were written down for it.
    async fn checkpoint(keeping: &mut Keeping, partition: &mut Partition, at: At<'_>) -> usize {
        let mut writes = 0;
        loop {
            let next = keeping.wanted().await;
            let is_kept = matches!(next, Next::Kept(_));
            writes += usize::from(matches!(next, Next::Write));
            keeping.go_on(next, partition, at);
            if is_kept {
                return writes;
            }
        }
    }

    #[tokio::test]
    async fn a_checkpoint_holds_no_configuration_of_a_block_after_the_one_it_was_begun_at() {
        let options = KeepOptions {
            disk: Arc::new(SimulatedDisk::new(1, 1 << 30)),
            folder: "/data".into(),
            memory_bytes: 128 << 20,
            checkpoint_every: std::time::Duration::from_millis(1),
            snapshot_every: std::time::Duration::from_hours(1),
            log_retention: None,
        };
        let Opened { keeper, names } = Opened::open(options).expect("it opens");
        let archive = keeper.archive();
        let place = Place { number: 0, of: 1 };
        let mut partition = Partition::open(Arc::clone(&names), place, Arc::clone(&archive)).expect("it is empty");
        let post = Post::new(Arc::clone(&names), &[0]);
        let retention = Retention::open(&*archive, 0, None).expect("nothing to read");
        let mut keeping = Keeping::new(keeper, (0, retention), usize::MAX, (Vec::new(), 0));
        let in_store = || {
            let position = Partition::position_in(&*archive, 0).expect("readable");
            (position, config::kept(&*archive, 0).expect("readable"))
        };

        partition.apply(decoded(&subjects(), &names), Timestamp::MIN).expect("it is applied");
        let begin = keeping.wanted().await;
        keeping.go_on(begin, &mut partition, (1, &post));
        let write = keeping.wanted().await;
        keeping.go_on(write, &mut partition, (1, &post));
        assert!(matches!(keeping.under_way, UnderWay::Writing(..)), "there is more to write down");

        // Meanwhile comes the next block, with a change of configuration.
        keeping.beside(config::keep(0, &calendar()));
        let block = EventBlock { config: Some(calendar()), ..Default::default() };
        partition.apply(decoded(&block, &names), Timestamp::MIN).expect("it is applied");
        let writes = checkpoint(&mut keeping, &mut partition, (2, &post)).await;
        assert!(writes > 0, "it was finished after that block");
        assert_eq!(in_store(), (1, Vec::new()), "after a crash now, block 2 is applied, and changes the rules then");

        checkpoint(&mut keeping, &mut partition, (2, &post)).await;
        assert_eq!(in_store(), (2, vec![calendar()]));
    }
}
