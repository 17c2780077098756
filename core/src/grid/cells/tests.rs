//! Cells, beside the facts they stand for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Lens, QUARTER_HOUR_MS, STRETCHES};
use crate::archive::EmptyArchive;
use crate::dimension::Dimension;
use crate::fact::{Anchor, Clock, Fact, Measure, Weight};
use crate::grid::{CELLS_SHARE, ColumnKey, DAY_MS, Effort, Range, Reader, Recorder, Seen, SubjectNumber, View, grid};
use crate::histogram::Distribution;
use crate::series::{DimensionValues, Names, SeriesId, Symbol};
use crate::time::Timestamp;

const KEY: ColumnKey =
    ColumnKey { measure: Measure::FirstResponse, anchor: Anchor::Completion, clock: Clock::Calendar };

struct World {
    tenant: Symbol,
    series: Vec<SeriesId>,
    subject: SubjectNumber,
    recorder: Recorder,
    reader: Reader,
    recorded: Vec<Fact>,
}

impl World {
    fn new() -> Self {
        let names = Names::default();
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let of_team = |number: u32| {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Team, Some(names.symbol(&number.to_string())));
            names.series(&values)
        };
        let (tenant, series) = (names.symbol("t"), (0..3).map(of_team).collect());
        let subject = recorder.add_subject("c".into());
        Self { tenant, series, subject, recorder, reader, recorded: Vec::new() }
    }

    fn state(&mut self, at_ms: i64, series: usize, value: i64) {
        let fact = Fact {
            measure: KEY.measure,
            anchor: KEY.anchor,
            clock: KEY.clock,
            at: Timestamp::clamped(at_ms),
            series: self.series[series % self.series.len()],
            value,
            weight: Weight::Plus,
        };
        self.recorder.record(self.tenant, self.subject, std::slice::from_ref(&fact));
        self.recorded.push(fact);
    }

    /// Takes back one of those that stand.
    fn take_back(&mut self, which: usize) {
        if !self.recorded.is_empty() {
            let fact = self.recorded.swap_remove(which % self.recorded.len());
            self.recorder.record(self.tenant, self.subject, &[fact.inverse()]);
        }
    }

    /// The figures of each interval and series, with how many cells they were taken from.
    fn summed(&self, view: &View, bounds: &[i64]) -> (Figures, usize) {
        let (mut figures, mut count) = (Figures::new(), 0);
        let mut see = |seen: Seen<'_>| match seen {
            Seen::Fact(fact) => add(&mut figures, bounds, fact.at_ms, fact.series, |it| it.record(fact.value)),
            Seen::Cell(cell) => {
                count += 1;
                add(&mut figures, bounds, cell.at_ms, cell.series, |it| {
                    it.merge_summed(cell.count, cell.sum, Some((cell.min, cell.max)), cell.buckets);
                });
            }
        };
        view.summed(self.tenant, KEY, bounds, None, &mut see).expect("readable");
        (figures, count)
    }

    fn each(&self, view: &View, bounds: &[i64]) -> Figures {
        let mut figures = Figures::new();
        let range = Range { from_inclusive: bounds[0], to_exclusive: bounds[bounds.len() - 1] };
        view.standing(self.tenant, KEY, range, |fact| {
            add(&mut figures, bounds, fact.at_ms, fact.series, |it| it.record(fact.value));
        })
        .expect("readable");
        figures
    }
}

type Figures = BTreeMap<(usize, SeriesId), Distribution>;

fn add(figures: &mut Figures, bounds: &[i64], at_ms: i64, series: SeriesId, to: impl FnOnce(&mut Distribution)) {
    let interval = bounds.partition_point(|bound| *bound <= at_ms);
    to(figures.entry((interval, series)).or_default());
}

/// Some days by the day, by that of two zones, by the hour, by the quarter hour, by long and short stretches, and by what no quarter hours fit.
fn cuts() -> [Vec<i64>; 7] {
    let every =
        |from: i64, step: i64, to: i64| -> Vec<i64> { (0..=(to - from) / step).map(|n| from + n * step).collect() };
    [
        every(0, DAY_MS, 3 * DAY_MS),
        every(-2 * 4 * QUARTER_HOUR_MS, DAY_MS, 4 * DAY_MS),
        every(DAY_MS / 2, 4 * QUARTER_HOUR_MS, 3 * DAY_MS),
        every(QUARTER_HOUR_MS, QUARTER_HOUR_MS, 2 * DAY_MS),
        every(60_000, 7 * 60_000, 3 * DAY_MS),
        every(-23 * QUARTER_HOUR_MS - DAY_MS, DAY_MS, 3 * DAY_MS),
        [-30, 3, 4, 30, 31, 32, 60, 95, 96, 110, 200].map(|quarters| quarters * QUARTER_HOUR_MS).into(),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    /// At instants of so many quarter hours from one on.
    State {
        from: i64,
        quarters: i64,
        series: usize,
        values: Vec<i64>,
    },
    TakeBack(usize),
    /// Later questions are asked of the view there is now, too.
    Keep,
    Ask,
    Shrink,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let state = (-96..96 * 3i64, 1..12i64, any::<usize>(), proptest::collection::vec(0..10_000_000i64, 20..150));
    let act = prop_oneof![
        4 => state.prop_map(|(from, quarters, series, values)| Act::State { from, quarters, series, values }),
        2 => any::<usize>().prop_map(Act::TakeBack),
        1 => Just(Act::Keep),
        8 => Just(Act::Ask),
        1 => Just(Act::Shrink),
    ];
    proptest::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn cells_are_what_the_facts_come_to(acts in acts()) {
        let mut world = World::new();
        let mut views = Vec::new();
        for act in acts {
            match act {
                Act::State { from, quarters, series, values } => {
                    let end_ms = 3 * DAY_MS;
                    for value in values {
                        let at_ms = from * QUARTER_HOUR_MS + value % (quarters * QUARTER_HOUR_MS);
                        world.state(at_ms.min(end_ms - 1), series, value);
                    }
                }
                Act::TakeBack(which) => world.take_back(which),
                Act::Keep => views.push(world.reader.view()),
                Act::Shrink => {
                    world.recorder.shrink(0);
                    world.recorder.shrink(usize::MAX);
                }
                Act::Ask => {
                    let now = world.reader.view();
                    for view in views.iter().chain([&now]) {
                        for bounds in cuts() {
                            prop_assert_eq!(world.summed(view, &bounds).0, world.each(view, &bounds));
                        }
                    }
                    continue;
                }
            }
            // Every other change waits for the next one to be shown.
            if world.recorded.len().is_multiple_of(2) {
                world.recorder.publish();
            }
        }
    }
}

#[test]
fn cells_come_with_the_third_reader_and_go_with_the_next_fact() {
    let mut world = World::new();
    for value in 0..9_600 {
        world.state(value * DAY_MS / 9_600, 0, value);
    }
    world.recorder.publish();
    let [by_day, by_day_elsewhere, by_hour, _, by_seven_minutes, ..] = cuts();
    let cells = |world: &World, bounds: &[i64]| world.summed(&world.reader.view(), bounds).1;
    assert_eq!([0, 1, 2].map(|_| cells(&world, &by_day)), [0, 0, 1]);
    assert_eq!(cells(&world, &by_day_elsewhere), 2, "midnight elsewhere parts the day in two stretches");
    assert_eq!(cells(&world, &by_hour), 48, "half a day has 48 quarter hours");
    assert_eq!(cells(&world, &by_seven_minutes), 0, "seven minutes are no quarter hours");
    assert!(world.recorder.bytes() > 0);

    let before = world.reader.view();
    world.state(5, 0, 1);
    world.recorder.publish();
    assert_eq!([0, 1, 2].map(|_| cells(&world, &by_day)), [0, 0, 1]);
    // Its facts are not all of the cells'.
    assert_eq!(world.summed(&before, &by_day), (world.each(&before, &by_day), 0));

    world.recorder.shrink(0);
    assert_eq!(cells(&world, &by_day), 0, "there was no room for them");
}

#[test]
fn where_there_is_no_room_cells_that_nobody_reads_make_way() {
    const DAYS: i64 = 6;
    let mut world = World::new();
    for value in 0..960 * DAYS {
        world.state(value * DAY_MS / 960, 0, value % 960 * 1_000);
    }
    world.recorder.publish();
    let ask = |world: &World, day: i64| {
        let (view, bounds) = (world.reader.view(), [day * DAY_MS, (day + 1) * DAY_MS]);
        let (figures, cells) = world.summed(&view, &bounds);
        assert_eq!(figures, world.each(&view, &bounds));
        cells > 0
    };
    let facts = world.recorder.bytes();
    assert_eq!([0, 1, 2].map(|_| ask(&world, 0)), [false, false, true]);
    let of_a_day = world.recorder.bytes() - facts;
    let room = of_a_day * 7 / 2;
    world.recorder.limit_cells(room * CELLS_SHARE);
    for day in [0, 1, 2] {
        assert!([0, 1, 2].map(|_| ask(&world, day))[2], "day {day}");
    }
    assert!(!(0..5).any(|_| ask(&world, 3)), "there is no room for a fourth day");
    // The first day is read by everybody, the next two no more.
    let until_there_is_room = |day: i64| {
        (0..1_000).find(|_| {
            assert!(ask(&world, 0), "what is read stays");
            let view = world.reader.view();
            if view.is_short_of_room() {
                view.sweep();
                assert!(!view.is_short_of_room());
            }
            ask(&world, day)
        })
    };
    for day in [3, 4, 5] {
        assert!(until_there_is_room(day).is_some_and(|asked| asked > 0), "day {day}");
        assert!((1..=room).contains(&(world.recorder.bytes() - facts)));
    }
    let have_cells: Vec<i64> = (0..DAYS).filter(|day| ask(&world, *day)).collect();
    assert!(have_cells.len() <= 3 && have_cells.first() == Some(&0) && have_cells.last() == Some(&5), "{have_cells:?}");
}

#[test]
fn who_found_no_room_tries_again_when_there_is_some() {
    let mut world = World::new();
    for value in 0..960 * 2 {
        world.state(value * DAY_MS / 960, 0, value % 960 * 1_000);
    }
    world.recorder.publish();
    let ask = |world: &World, day: i64| world.summed(&world.reader.view(), &[day * DAY_MS, (day + 1) * DAY_MS]).1 > 0;
    let facts = world.recorder.bytes();
    assert_eq!([0, 1, 2].map(|_| ask(&world, 0)), [false, false, true]);
    let of_a_day = world.recorder.bytes() - facts;
    world.recorder.limit_cells(of_a_day * 3 / 2 * CELLS_SHARE);
    assert_eq!([0, 1, 2].map(|_| ask(&world, 0)), [true; 3]);
    assert_eq!([0, 1, 2, 3, 4].map(|_| ask(&world, 1)), [false; 5], "nobody has swept");
    // Its cells go with the next fact.
    world.state(5, 0, 1);
    world.recorder.publish();
    assert!(!ask(&world, 0));
    assert_eq!([0, 1, 2].map(|_| ask(&world, 1)), [false, true, true]);
}

#[test]
fn who_only_tries_to_read_little_has_not_asked() {
    let mut world = World::new();
    for value in 0..9_600 {
        world.state(value * DAY_MS / 9_600, 0, value);
    }
    world.recorder.publish();
    let try_to = || {
        let view = world.reader.view().within(&Arc::new(Effort::in_memory(u64::MAX)));
        world.summed(&view, &[0, DAY_MS]).1
    };
    let ask = || world.summed(&world.reader.view(), &[0, DAY_MS]).1;
    assert_eq!([0, 1, 2].map(|_| try_to()), [0; 3]);
    assert_eq!([0, 1, 2].map(|_| ask()), [0, 0, 1]);
    assert_eq!(try_to(), 1);
}

#[test]
fn a_day_keeps_so_many_stretches_and_no_more() {
    let mut world = World::new();
    for value in 0..9_600 {
        world.state(value * DAY_MS / 9_600, 0, value % 7);
    }
    world.recorder.publish();
    let facts = world.recorder.bytes();
    let stretch = |from: i64, quarters: i64| [from * QUARTER_HOUR_MS, (from + quarters) * QUARTER_HOUR_MS];
    let ask = |world: &World, bounds: &[i64]| {
        let view = world.reader.view();
        let (figures, cells) = world.summed(&view, bounds);
        assert_eq!(figures, world.each(&view, bounds));
        cells
    };
    let by_day = [0, DAY_MS];
    assert_eq!([0, 1, 2].map(|_| ask(&world, &by_day)), [0, 0, 1]);
    let before = world.recorder.bytes();
    assert_eq!(ask(&world, &stretch(1, 7)), 7, "a short stretch is read by the quarter hour");
    assert_eq!(world.recorder.bytes(), before);
    assert_eq!(ask(&world, &stretch(1, 8)), 1);
    let of_one = world.recorder.bytes() - before;
    for from in 0..80 {
        assert_eq!(ask(&world, &stretch(from, 9)), 1);
    }
    assert_eq!(world.recorder.bytes() - before, STRETCHES * of_one);
    world.recorder.limit_cells((world.recorder.bytes() - facts) * CELLS_SHARE);
    assert_eq!(ask(&world, &stretch(20, 20)), 20, "there is no room for another one");
}

#[test]
fn facts_that_share_nothing_have_no_cells() {
    let mut world = World::new();
    for value in 0..96 * 3 {
        world.state(value % 96 * QUARTER_HOUR_MS, usize::try_from(value / 96).expect("small"), value);
    }
    world.recorder.publish();
    let [by_day, _, by_hour, ..] = cuts();
    let ask = |bounds: &[i64]| world.summed(&world.reader.view(), bounds).1;
    // One in each quarter hour of each series; but 96 in a day.
    assert_eq!([0, 1, 2].map(|_| ask(&by_hour)), [0; 3]);
    assert_eq!(ask(&by_day), 3);
}

#[test]
fn readers_on_other_threads_see_whole_blocks_whether_in_facts_or_in_cells() {
    let mut world = World::new();
    let (tenant, reader, cells) = (world.tenant, world.reader.clone(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, cells) = (reader.clone(), &cells);
            scope.spawn(move || {
                let mut last = 0;
                while last < 100_000 {
                    let mut count = 0;
                    let view = reader.view();
                    view.summed(tenant, KEY, &[0, DAY_MS], None, |seen| match seen {
                        Seen::Fact(_) => count += 1,
                        Seen::Cell(cell) => {
                            count += cell.count;
                            cells.fetch_add(1, Relaxed);
                        }
                    })
                    .expect("readable");
                    assert!(count >= last && count.is_multiple_of(100), "{count} after {last}");
                    last = count;
                }
            });
        }
        let begun = Instant::now();
        for block in 0..1_000 {
            for value in 0..100 {
                world.state(value * QUARTER_HOUR_MS / 2, 0, block);
            }
            world.recorder.publish();
            let before = cells.load(Relaxed);
            while block % 50 == 0 && cells.load(Relaxed) == before {
                assert!(begun.elapsed() < Duration::from_mins(1), "nobody reads a cell");
                std::thread::yield_now();
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Through a lens, what agrees in its dimensions comes to the same as fact by fact, however often and through whatever else it was
    /// asked before, whatever came or was taken back in between.
    #[test]
    fn through_a_lens_figures_are_those_of_the_facts(
        facts in proptest::collection::vec((0i64..300, 0u32..4, 0u32..40, 0i64..5_000), 30..300),
        more in proptest::collection::vec((0i64..300, 0u32..4, 0u32..40, 0i64..5_000), 0..5),
        taken_back in proptest::collection::vec(0usize..1_000, 0..5),
    ) {
        let names = Names::default();
        let (mut recorder, reader) = grid(0, Arc::new(EmptyArchive)).expect("nothing to read");
        let subject = recorder.add_subject("c".into());
        let tenant = names.symbol("t");
        let team = |number: u32| Some(names.symbol(&format!("team {number}")));
        let fact = |&(quarter, of_team, agent, value): &(i64, u32, u32, i64)| {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Team, team(of_team));
            values.set(&Dimension::Agent, Some(names.symbol(&format!("agent {agent}"))));
            Fact {
                measure: KEY.measure,
                anchor: KEY.anchor,
                clock: KEY.clock,
                at: Timestamp::clamped(quarter * QUARTER_HOUR_MS + value),
                series: names.series(&values),
                value,
                weight: Weight::Plus,
            }
        };
        let mut standing: Vec<Fact> = facts.iter().map(fact).collect();
        recorder.record(tenant, subject, &standing);
        recorder.publish();
        let (by_team, by_agent): (Arc<[Dimension]>, Arc<[Dimension]>) =
            (Arc::new([Dimension::Team]), Arc::new([Dimension::Agent]));
        let of = |series: SeriesId, dimension: &Dimension| names.values(series).and_then(|values| values.get(dimension));
        let mut cells = 0;
        for round in 0..8 {
            if round == 4 {
                let more: Vec<Fact> = more.iter().map(fact).collect();
                recorder.record(tenant, subject, &more);
                standing.extend(more);
                for which in &taken_back {
                    let gone = standing.swap_remove(which % standing.len());
                    recorder.record(tenant, subject, &[gone.inverse()]);
                }
                recorder.publish();
            }
            let view = reader.view();
            for bounds in cuts() {
                for lens in [&by_team, &by_agent] {
                    let dimension = &lens[0];
                    let mut first: BTreeMap<Option<Symbol>, SeriesId> = BTreeMap::new();
                    let mut stand_in = |series| *first.entry(of(series, dimension)).or_insert(series);
                    let mut seen: BTreeMap<(usize, Option<Symbol>), Distribution> = BTreeMap::new();
                    let mut to = |at_ms: i64, series: SeriesId, add: &dyn Fn(&mut Distribution)| {
                        let interval = bounds.partition_point(|bound| *bound <= at_ms);
                        add(seen.entry((interval, of(series, dimension))).or_default());
                    };
                    let lens = Some(Lens { dimensions: lens, stand_in: &mut stand_in });
                    view.summed(tenant, KEY, &bounds, lens, |it| match it {
                        Seen::Fact(fact) => to(fact.at_ms, fact.series, &|it| it.record(fact.value)),
                        Seen::Cell(cell) => {
                            cells += 1;
                            let range = Some((cell.min, cell.max));
                            to(cell.at_ms, cell.series, &|it| it.merge_summed(cell.count, cell.sum, range, cell.buckets));
                        }
                    }).expect("readable");
                    let mut expected: BTreeMap<(usize, Option<Symbol>), Distribution> = BTreeMap::new();
                    let range = bounds[0]..bounds[bounds.len() - 1];
                    for fact in standing.iter().filter(|fact| range.contains(&fact.at.millis())) {
                        let interval = bounds.partition_point(|bound| *bound <= fact.at.millis());
                        expected.entry((interval, of(fact.series, dimension))).or_default().record(fact.value);
                    }
                    prop_assert_eq!(seen, expected);
                }
            }
        }
        prop_assert!(cells > 0 || facts.len() < 200, "nothing was read from cells");
    }
}
