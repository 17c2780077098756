//! Facts whose instant has not come.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    waiting: BTreeMap<Timestamp, HashMap<Waiting, i64>>,
    count: usize,
    fired_until: Timestamp,
    /// Those that have changed since the last checkpoint.
    changed: HashSet<Waiting>,
}

impl Timers {
    /// The timers in an archive.
    pub(super) fn open(partition: u32, archive: &dyn Archive, fired_until: Timestamp) -> Result<Self, Unreadable> {
        let mut timers = Self { waiting: BTreeMap::new(), count: 0, fired_until, changed: HashSet::new() };
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
        (self.count + self.changed.len()) * 2 * size_of::<(Waiting, i64)>()
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
        let due = self.waiting.entry(fact.at).or_default();
        let waiting = (tenant, subject, Fact { weight: Weight::Plus, ..fact });
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
                self.count -= 1;
                self.changed.insert(waiting);
                let (tenant, subject, fact) = waiting;
                let fact = if count < 0 { fact.inverse() } else { fact };
                (0..count.unsigned_abs()).for_each(|_| recorder.record(tenant, subject, &[fact]));
            }
        }
        any
    }

    /// Writes down those that have changed since the last time.
    pub(super) fn save(&mut self, partition: u32, changes: &mut Vec<Change>) {
        for waiting in self.changed.drain() {
            let at = waiting.2.at;
            let count = self.waiting.get(&at).and_then(|due| due.get(&waiting)).copied();
            let key = Key::new(partition, Kind::Timer).i64(at.millis()).bytes(&encode(&waiting)).done();
            changes.push(Change { key, value: count.map(|count| encode(&(waiting, count))) });
        }
    }
}
