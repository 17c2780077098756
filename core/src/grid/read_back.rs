//! Facts that were put away and are asked for again: after a start, all of the last days' are.
//!
//! What a day has in the archive of a measure is read as a whole, however little of it is asked for. Who does so a second time for a
//! short range leaves it here for the readers after it, by time, as long as there is room. It never changes: a day with other chunks
//! begins anew.

use std::ops;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;

use super::cells::{Room, Taken};
use super::{Range, StoredFact};

/// What readers left of a day's measures, by their numbers: at most one for each.
#[derive(Debug, Default)]
pub(super) struct ReadBack(ArcSwap<Vec<(usize, Found)>>);

#[derive(Debug, Clone)]
enum Found {
    /// It was read once.
    Read,
    Kept(Arc<Kept>),
}

/// The facts of a measure in a day's archive.
#[derive(Debug)]
pub(super) struct Kept {
    by_time: Box<[StoredFact]>,
    /// Whether anybody read it since the last sweep.
    is_used: AtomicBool,
    _taken: Taken,
}

/// Facts of a range that were put away, or more.
#[derive(Debug)]
pub(super) enum Facts {
    Read(Vec<StoredFact>),
    Kept(Arc<Kept>, ops::Range<usize>),
}

impl Facts {
    pub(super) fn as_slice(&self) -> &[StoredFact] {
        match self {
            Self::Read(facts) => facts,
            Self::Kept(kept, places) => &kept.by_time[places.clone()],
        }
    }
}

impl Kept {
    fn within(self: Arc<Self>, range: Range) -> Facts {
        // Mostly it is set.
        if !self.is_used.load(Relaxed) {
            self.is_used.store(true, Relaxed);
        }
        let place = |at_ms: i64| self.by_time.partition_point(|fact| fact.at_ms < at_ms);
        let places = place(range.from_inclusive)..place(range.to_exclusive);
        Facts::Kept(self, places)
    }
}

impl ReadBack {
    /// What is kept of a measure in a range.
    pub(super) fn get(&self, measure: usize, range: Range) -> Option<Facts> {
        self.found(measure)?.kept().map(|kept| kept.within(range))
    }

    fn found(&self, measure: usize) -> Option<Found> {
        self.0.load().iter().find(|(known, _)| *known == measure).map(|(_, found)| found.clone())
    }

    /// Leaves all facts of a measure, as they were read, where somebody has read them before and there is room.
    pub(super) fn leave(&self, measure: usize, mut facts: Vec<StoredFact>, range: Range, room: &Arc<Room>) -> Facts {
        if self.found(measure).is_none() {
            self.put(measure, &Found::Read);
            return Facts::Read(facts);
        }
        let bytes = size_of_val(facts.as_slice()) + size_of::<Kept>();
        let Some(taken) = room.take(bytes) else {
            room.refuse(bytes);
            return Facts::Read(facts);
        };
        facts.sort_unstable_by_key(|fact| fact.at_ms);
        let kept = Arc::new(Kept { by_time: facts.into(), is_used: AtomicBool::new(true), _taken: taken });
        self.put(measure, &Found::Kept(Arc::clone(&kept)));
        kept.within(range)
    }

    fn put(&self, measure: usize, found: &Found) {
        self.0.rcu(|known| {
            let others = known.iter().filter(|(known, _)| *known != measure).cloned();
            others.chain([(measure, found.clone())]).collect::<Vec<_>>()
        });
    }

    /// Gives up what nobody has read since the last time.
    pub(super) fn sweep(&self) {
        let is_used =
            |(_, found): &&(usize, Found)| found.clone().kept().is_none_or(|kept| kept.is_used.swap(false, Relaxed));
        let known = self.0.load();
        let used: Vec<(usize, Found)> = known.iter().filter(is_used).cloned().collect();
        if used.len() < known.len() {
            self.0.store(Arc::new(used));
        }
    }

    /// Gives all up.
    pub(super) fn clear(&self) {
        self.0.store(Arc::default());
    }
}

impl Found {
    fn kept(self) -> Option<Arc<Kept>> {
        match self {
            Self::Read => None,
            Self::Kept(kept) => Some(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Mutex, PoisonError};

    use proptest::prelude::*;

    use super::*;
    use crate::archive::{Archive, Change, Unreadable};
    use crate::fact::{Anchor, Clock, Fact, Measure, Weight};
    use crate::grid::{CELLS_SHARE, ColumnKey, DAY_MS, Effort, Reader, Recorder, SubjectNumber, View, grid};
    use crate::series::{DimensionValues, Names, SeriesId, Symbol};
    use crate::time::Timestamp;

    /// An archive in memory, which counts what is read of it.
    #[derive(Debug, Default)]
    struct Counting {
        values: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
        reads: AtomicUsize,
    }

    impl Counting {
        fn commit(&self, changes: Vec<Change>) {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            for Change { key, value } in changes {
                match value {
                    Some(value) => drop(values.insert(key, value)),
                    None => drop(values.remove(&key)),
                }
            }
        }
    }

    impl Archive for Counting {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
            self.reads.fetch_add(1, Relaxed);
            Ok(self.values.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
        }

        fn scan(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
            Ok(())
        }
    }

    const KEY: ColumnKey =
        ColumnKey { measure: Measure::FirstResponse, anchor: Anchor::Completion, clock: Clock::Calendar };
    const HOUR_MS: i64 = DAY_MS / 24;

    struct World {
        archive: Arc<Counting>,
        tenant: Symbol,
        series: SeriesId,
        subject: SubjectNumber,
        recorder: Recorder,
        reader: Reader,
        /// Instant and value of those that stand.
        standing: Vec<(i64, i64)>,
    }

    impl World {
        fn new() -> Self {
            let names = Names::default();
            let archive = Arc::new(Counting::default());
            let (mut recorder, reader) = grid(0, archive.clone()).expect("nothing to read");
            let (tenant, series) = (names.symbol("t"), names.series(&DimensionValues::default()));
            let subject = recorder.add_subject("c".into());
            Self { archive, tenant, series, subject, recorder, reader, standing: Vec::new() }
        }

        /// With a fact in each minute of a day, all put away.
        fn with_a_day() -> Self {
            let mut world = Self::new();
            for minute in 0..24 * 60 {
                world.state(minute * 60_000, minute);
            }
            world.put_away();
            world
        }

        fn fact(&self, (at_ms, value): (i64, i64)) -> Fact {
            let (at, series) = (Timestamp::clamped(at_ms), self.series);
            let ColumnKey { measure, anchor, clock } = KEY;
            Fact { measure, anchor, clock, at, series, value, weight: Weight::Plus }
        }

        fn state(&mut self, at_ms: i64, value: i64) {
            let fact = self.fact((at_ms, value));
            self.recorder.record(self.tenant, self.subject, &[fact]);
            self.standing.push((at_ms, value));
        }

        fn take_back(&mut self, which: usize) {
            if !self.standing.is_empty() {
                let fact = self.standing.swap_remove(which % self.standing.len());
                let fact = self.fact(fact);
                self.recorder.record(self.tenant, self.subject, &[fact.inverse()]);
            }
        }

        /// Everything is put away and given up.
        fn put_away(&mut self) {
            self.recorder.publish();
            let mut changes = Vec::new();
            let written: Vec<_> = {
                let unwritten = self.recorder.put_away(&mut changes);
                unwritten.iter().map(|facts| facts.write(&mut changes)).collect()
            };
            self.archive.commit(changes);
            for written in &written {
                self.recorder.written(written);
            }
            for merge in self.recorder.merges(2) {
                let (changes, merged) = merge.work_out(&*self.archive).expect("readable");
                self.archive.commit(changes);
                self.recorder.merged(merged);
            }
            self.recorder.shrink(0);
            self.recorder.limit_cells(usize::MAX);
            self.recorder.publish();
        }

        /// Those that stand in a range, and how much was read of the archive for that.
        fn ask(&self, view: &View, range: Range) -> (Vec<(i64, i64)>, usize) {
            let before = self.archive.reads.load(Relaxed);
            let mut facts = Vec::new();
            view.standing(self.tenant, KEY, range, |fact| facts.push((fact.at_ms, fact.value))).expect("readable");
            facts.sort_unstable();
            (facts, self.archive.reads.load(Relaxed) - before)
        }
    }

    fn within(facts: &[(i64, i64)], range: Range) -> Vec<(i64, i64)> {
        let mut facts: Vec<(i64, i64)> = facts.iter().copied().filter(|(at_ms, _)| range.contains(*at_ms)).collect();
        facts.sort_unstable();
        facts
    }

    fn hours(from: i64, to: i64) -> Range {
        Range { from_inclusive: from * HOUR_MS, to_exclusive: to * HOUR_MS }
    }

    #[derive(Debug, Clone)]
    enum Act {
        State(Vec<(i64, i64)>),
        TakeBack(usize),
        PutAway,
        Keep,
        Sweep,
        Ask(i64, i64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let facts = prop::collection::vec((0..2 * DAY_MS, 0..5i64), 1..40);
        let act = prop_oneof![
            4 => facts.prop_map(Act::State),
            2 => any::<usize>().prop_map(Act::TakeBack),
            3 => Just(Act::PutAway),
            1 => Just(Act::Keep),
            1 => Just(Act::Sweep),
            8 => (0..48i64, 1..30i64).prop_map(|(from, hours)| Act::Ask(from, hours)),
        ];
        prop::collection::vec(act, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn what_is_read_back_is_what_stands(acts in acts()) {
            let mut world = World::new();
            let mut views = Vec::new();
            for act in acts {
                match act {
                    Act::State(facts) => facts.into_iter().for_each(|(at_ms, value)| world.state(at_ms, value)),
                    Act::TakeBack(which) => world.take_back(which),
                    Act::PutAway => world.put_away(),
                    Act::Keep => {
                        world.recorder.publish();
                        views.push((world.reader.view(), world.standing.clone()));
                    }
                    Act::Sweep => world.reader.view().sweep(),
                    Act::Ask(from, count) => {
                        world.recorder.publish();
                        let now = (world.reader.view(), world.standing.clone());
                        for (view, standing) in views.iter().chain([&now]) {
                            for range in [hours(from, from + count), hours(from, from + 1)] {
                                prop_assert_eq!(world.ask(view, range).0, within(standing, range));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_asked_for_the_third_time_is_not_read_again() {
        let mut world = World::with_a_day();
        let reads = |world: &World, range| {
            let (facts, reads) = world.ask(&world.reader.view(), range);
            assert_eq!(facts, within(&world.standing, range));
            reads
        };
        assert_eq!(
            [0, 1, 2].map(|_| reads(&world, hours(0, 24))),
            [1, 1, 1],
            "who asks for all of a day leaves nothing"
        );
        assert_eq!([0, 1, 2].map(|_| reads(&world, hours(23, 24))), [1, 1, 0]);
        assert_eq!([reads(&world, hours(3, 4)), reads(&world, hours(0, 24))], [0, 0], "it serves whatever is asked");
        let little = world.reader.view().within(&Arc::new(Effort::in_memory(1 << 20)));
        assert_eq!(world.ask(&little, hours(23, 24)).0.len(), 60);
        assert!(!little.effort().is_spent(), "it is in memory");

        // New facts stand beside it, and what others have taken back.
        world.state(23 * HOUR_MS + 1, 7);
        world.take_back(24 * 60 - 1);
        world.recorder.publish();
        assert_eq!(reads(&world, hours(23, 24)), 0);
        // Another chunk is another day.
        world.put_away();
        assert_eq!([0, 1, 2].map(|_| reads(&world, hours(23, 24)) > 0), [true, true, false]);

        // What nobody reads makes way.
        world.reader.view().sweep();
        assert_eq!(reads(&world, hours(23, 24)), 0, "it was read since it was left");
        world.reader.view().sweep();
        world.reader.view().sweep();
        assert!(reads(&world, hours(23, 24)) > 0);
    }

    #[test]
    fn where_there_is_no_room_nothing_is_left() {
        let mut world = World::with_a_day();
        world.recorder.limit_cells(1_000 * size_of::<StoredFact>() * CELLS_SHARE);
        let reads = |world: &World| world.ask(&world.reader.view(), hours(0, 1)).1;
        assert_eq!([0, 1, 2, 3].map(|_| reads(&world)), [1; 4]);
        world.recorder.limit_cells(1_500 * size_of::<StoredFact>() * CELLS_SHARE);
        let facts = world.recorder.bytes();
        assert_eq!([0, 1].map(|_| reads(&world)), [1, 0]);
        assert!(world.recorder.bytes() - facts >= 24 * 60 * size_of::<StoredFact>(), "it counts as memory");
        world.recorder.limit_cells(0);
        assert_eq!(reads(&world), 1);
    }
}
