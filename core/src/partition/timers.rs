//! Facts whose instant has not come.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::archive::{Archive, Change, Key, Kind, Unreadable, decode, encode};
use crate::fact::{Fact, Weight};
use crate::grid::{Recorder, SubjectNumber};
use crate::series::Symbol;
use crate::time::Timestamp;

/// A fact of a tenant's subject, stated.
type Waiting = (Symbol, SubjectNumber, Fact);

/// Facts whose instant has not come yet, by that instant, each with how often it stands.
#[derive(Debug)]
pub(super) struct Timers {
    waiting: BTreeMap<Timestamp, HashMap<Waiting, i64, RandomState>>,
    count: usize,
    fired_until: Timestamp,
    /// Those that have changed since the last checkpoint.
    changed: HashSet<Waiting, RandomState>,
    /// Those of the checkpoint under way that are still to be written down, and what was written down and not handed out yet.
    saving: HashSet<Waiting, RandomState>,
    saved: Vec<Change>,
    partition: u32,
}

impl Timers {
    /// The timers in an archive.
    pub(super) fn open(partition: u32, archive: &dyn Archive, fired_until: Timestamp) -> Result<Self, Unreadable> {
        let mut timers = Self {
            waiting: BTreeMap::new(),
            count: 0,
            fired_until,
            changed: HashSet::default(),
            saving: HashSet::default(),
            saved: Vec::new(),
            partition,
        };
        let mut damage = Ok(());
        archive.scan(
            &Key::new(partition, Kind::Timer).done(),
            &mut |_, value| match decode::<(Waiting, i64)>(value) {
                Ok((waiting, count)) => {
                    timers.waiting.entry(waiting.2.at).or_default().insert(waiting, count);
                    timers.count += 1;
                }
                Err(error) => damage = Err(error),
            },
        )?;
        damage.map(|()| timers)
    }

    /// Up to which instant they have fired.
    pub(super) fn fired_until(&self) -> Timestamp {
        self.fired_until
    }

    /// Whether any has changed since the last checkpoint.
    pub(super) fn have_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The instant of the next one.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.keys().next().copied()
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        (self.count + self.changed.len() + self.saving.len()) * 2 * size_of::<(Waiting, i64)>()
    }

    /// Records facts about a subject, each now or when its instant has come.
    pub(super) fn record(&mut self, tenant: Symbol, subject: SubjectNumber, facts: &[Fact], recorder: &mut Recorder) {
        let mut rest = facts;
        while !rest.is_empty() {
            let (now, after) = rest.split_at(rest.iter().take_while(|fact| !self.has_to_wait(fact)).count());
            recorder.record(tenant, subject, now);
            rest = after;
            if let [waiting, after @ ..] = rest {
                self.wait(tenant, subject, *waiting);
                rest = after;
            }
        }
    }

    fn has_to_wait(&self, fact: &Fact) -> bool {
        fact.measure.is_timed() && fact.at > self.fired_until
    }

    fn wait(&mut self, tenant: Symbol, subject: SubjectNumber, fact: Fact) {
        let waiting = (tenant, subject, Fact { weight: Weight::Plus, ..fact });
        self.save_before_a_change(&waiting);
        let due = self.waiting.entry(fact.at).or_default();
        let before = due.len();
        let count = due.entry(waiting).or_default();
        *count += fact.weight.sign();
        if *count == 0 {
            due.remove(&waiting);
        }
        self.count = self.count + due.len() - before;
        self.changed.insert(waiting);
        if due.is_empty() {
            self.waiting.remove(&fact.at);
        }
    }

    /// Records what has come due; false when nothing has.
    pub(super) fn advance(&mut self, now: Timestamp, recorder: &mut Recorder) -> bool {
        self.fired_until = self.fired_until.max(now);
        let mut any = false;
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= self.fired_until) {
            any = true;
            for (waiting, count) in first.remove() {
                if self.saving.remove(&waiting) {
                    self.saved.push(saved(self.partition, &waiting, Some(count)));
                }
                self.count -= 1;
                self.changed.insert(waiting);
                let (tenant, subject, fact) = waiting;
                let fact = if count < 0 { fact.inverse() } else { fact };
                (0..count.unsigned_abs()).for_each(|_| recorder.record(tenant, subject, &[fact]));
            }
        }
        any
    }

    /// Begins to write down those that have changed since the last time, as they are now.
    pub(super) fn begin_to_save(&mut self) {
        self.saving = std::mem::take(&mut self.changed);
    }

    /// Writes down some more; beside what was written down since the last time, whether those were the last.
    pub(super) fn save(&mut self, at_most: usize) -> (Vec<Change>, bool) {
        let some: Vec<Waiting> = self.saving.iter().take(at_most).copied().collect();
        for waiting in &some {
            self.save_before_a_change(waiting);
        }
        (std::mem::take(&mut self.saved), self.saving.is_empty())
    }

    fn save_before_a_change(&mut self, waiting: &Waiting) {
        if self.saving.remove(waiting) {
            let count = self.waiting.get(&waiting.2.at).and_then(|due| due.get(waiting)).copied();
            self.saved.push(saved(self.partition, waiting, count));
        }
    }
}

/// What stands for a timer in the archive.
fn saved(partition: u32, waiting: &Waiting, count: Option<i64>) -> Change {
    let key = Key::new(partition, Kind::Timer).i64(waiting.2.at.millis()).bytes(&encode(waiting)).done();
    Change { key, value: count.map(|count| encode(&(waiting, count))) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::archive::EmptyArchive;
    use crate::fact::{Anchor, Clock, Measure};
    use crate::grid::grid;
    use crate::series::{DimensionValues, Names};

    #[test]
    fn what_is_written_down_bit_by_bit_is_what_there_was_at_the_begin_whatever_changes_meanwhile() {
        let names = Names::default();
        let (tenant, series) = (names.symbol("t"), names.series(&DimensionValues::default()));
        let breach = |ms: i64| Fact {
            measure: Measure::SlaBreached,
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            at: Timestamp::clamped(ms),
            series,
            value: 0,
            weight: Weight::Plus,
        };
        let (mut recorder, _) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let subject = recorder.add_subject("c1".into());
        let mut timers = Timers::open(0, &EmptyArchive, Timestamp::clamped(0)).expect("nothing to read");
        let mut one_after_the_other = |at_once: bool| {
            timers.record(tenant, subject, &[1, 2, 3, 4, 5].map(|n| breach(n * 1_000)), &mut recorder);
            timers.record(tenant, subject, &[breach(4_000).inverse()], &mut recorder);
            timers.begin_to_save();
            let (mut changes, are_all) = timers.save(if at_once { usize::MAX } else { 1 });
            assert_eq!(are_all, at_once);
            // One fires, one more is stated twice, one is taken back, one is new, and one comes back.
            timers.advance(Timestamp::clamped(1_000), &mut recorder);
            let facts = [breach(2_000), breach(3_000).inverse(), breach(6_000), breach(4_000)];
            timers.record(tenant, subject, &facts, &mut recorder);
            let mut save = || {
                let (more, are_all) = timers.save(1);
                changes.extend(more);
                are_all
            };
            assert!((0..5).any(|_| save()), "no more than five are left");
            timers.begin_to_save();
            let (after, are_all) = timers.save(usize::MAX);
            assert!(are_all, "all is written");
            let archive: BTreeMap<_, _> = changes.into_iter().map(|change| (change.key, change.value)).collect();
            let left = after.iter().filter(|change| change.value.is_some()).count();
            // As it was before, for the next.
            timers = Timers::open(0, &EmptyArchive, Timestamp::clamped(0)).expect("nothing to read");
            (archive, left)
        };
        let at_once = one_after_the_other(true);
        assert_eq!(at_once.0.values().filter(|value| value.is_some()).count(), 4);
        assert_eq!((at_once.0.len(), at_once.1), (5, 3));
        assert_eq!(one_after_the_other(false), at_once);
    }
}
