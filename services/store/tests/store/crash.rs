//! Whatever is under way when the power goes or the disk fails: what a commit that returned wrote is there, and every commit is
//! wholly in or wholly out.

use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Disk, Fault, SimulatedDisk};
use deskpulse_store::{Change, Store, StoreError, StoreOptions, WhatHappened, inspect, open_or_rebuild, snapshot};

use super::{Pair, all, key, put, remove, simulated, value};

const COMMITS: usize = 6;
const CHANGES: usize = 40;

/// Commit `number` of a run: some keys new, some changed, some removed, and one that says which commit it was.
fn changes(number: usize) -> Vec<Change> {
    let mut changes: Vec<Change> =
        (0..CHANGES).map(|index| put(key(number * 20 + index), value(number + index))).collect();
    changes.extend((0..10).map(|index| remove(key(number * 13 + index * 3))));
    changes.push(put("commit", number.to_string()));
    changes
}

/// The pairs after every number of commits.
fn states() -> Vec<Vec<Pair>> {
    let twin = deskpulse_store::MemoryStore::default();
    let mut states = vec![all(&twin)];
    for number in 0..COMMITS {
        twin.commit(changes(number)).expect("small changes");
        states.push(all(&twin));
    }
    states
}

/// What a run did before it ended.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    /// How many commits the store had when it was opened, and then returned.
    returned: usize,
    /// How many a snapshot that returned holds.
    in_snapshot: usize,
}

/// Commits what is missing, with snapshots between, a few pages of cache at a time; ends with the first error.
fn run(disk: &Arc<dyn Disk>, folder: &Path, from: usize, done: &mut Done) -> Result<(), StoreError> {
    let opened = open_or_rebuild(disk, folder, StoreOptions { cache_bytes: 32 << 10 })?;
    assert!(matches!(opened.what_happened, WhatHappened::Created | WhatHappened::Opened), "{:?}", opened.what_happened);
    for number in from..COMMITS {
        opened.store.commit(changes(number))?;
        done.returned = number + 1;
        if number % 3 == 2 {
            snapshot::write(&opened.store, disk, folder, &[])?;
            done.in_snapshot = number + 1;
        }
    }
    Ok(())
}

/// How many commits the store holds, whole: `returned` or one more, which was under way.
fn whole_commits(store: &dyn Store, states: &[Vec<Pair>], returned: usize) -> usize {
    let pairs = all(store);
    let found = states.iter().position(|state| *state == pairs).expect("commits are wholly in or wholly out");
    assert!((returned..=returned + 1).contains(&found), "{found} commits found, {returned} returned");
    found
}

/// A run whose operation `at` fails, the start after it, and what must hold then. Whether the fault came to pass.
fn survives(seed: u64, at: u64, fault: Fault, states: &[Vec<Pair>]) -> bool {
    let (world, disk, folder) = simulated(seed);
    world.fail(at..at + 1, fault);
    let mut done = Done::default();
    let ended = run(&disk, &folder, 0, &mut done);
    let happened = world.operations() > at;
    assert_eq!(ended.is_err() || done.returned == COMMITS, happened || ended.is_ok());
    // A process whose disk failed ends, and so may the machine.
    if fault == Fault::Crash || at % 4 < 2 {
        world.restart();
    } else {
        world.end_process();
    }
    let opened = open_or_rebuild(&disk, &folder, StoreOptions::default()).expect("a store after any crash");
    let found = whole_commits(&opened.store, states, done.returned);
    assert!(!matches!(opened.what_happened, WhatHappened::Rebuilt { .. }), "no crash damages a store");
    let newest = snapshot::newest_sound(disk.as_ref(), &folder).expect("the disk is sound again");
    assert!(newest.refused.is_empty(), "half a snapshot never gets a name: {:?}", newest.refused);
    assert!(done.in_snapshot == 0 || newest.sound.is_some());
    drop(opened);
    // Takes as long as all the rest.
    if at.is_multiple_of(8) {
        let mut rest = Done { returned: found, ..done };
        run(&disk, &folder, found, &mut rest).expect("the disk is sound again");
        let report = inspect(&disk, &folder).expect("nobody has it open");
        assert!(matches!(report.store, deskpulse_store::StoreState::Sound(_)), "{:?}", report.store);
    }
    happened
}

#[test]
fn a_crash_at_any_operation_loses_no_commit_that_returned() {
    let states = states();
    let (world, disk, folder) = simulated(0);
    run(&disk, &folder, 0, &mut Done::default()).expect("a sound disk");
    let operations = world.operations();
    assert!(operations >= 300, "{operations} operations are too few to say much");
    let crashes = (0..operations).filter(|at| survives(*at, *at, Fault::Crash, &states)).count();
    assert!(crashes >= 300, "{crashes} crashes");
}

#[test]
fn a_disk_that_fails_or_is_full_at_any_operation_loses_no_commit_that_returned() {
    let states = states();
    let (world, disk, folder) = simulated(0);
    run(&disk, &folder, 0, &mut Done::default()).expect("a sound disk");
    for at in (0..world.operations()).step_by(3) {
        let fault = if at % 2 == 0 { Fault::Full } else { Fault::Device };
        survives(at, at, fault, &states);
    }
}

#[test]
fn after_a_failed_commit_no_other_is_taken() {
    let (world, disk, folder) = simulated(7);
    let opened = super::open(&disk, &folder).expect("a new store");
    opened.store.commit(vec![put("a", "1")]).expect("a sound disk");
    let now = world.operations();
    world.fail(now..u64::MAX, Fault::Device);
    assert!(matches!(opened.store.commit(vec![put("a", "2")]), Err(StoreError::Disk { .. })));
    world.heal();
    assert!(matches!(opened.store.commit(vec![put("a", "3")]), Err(StoreError::Failed { .. })));
    assert_eq!(
        opened.store.get(b"a").ok().flatten(),
        Some(b"1".to_vec()),
        "what is durable stays readable where it is known"
    );
}

#[test]
fn a_rebuild_interrupted_anywhere_is_done_again() {
    let prepare = |seed| {
        let (world, disk, folder) = simulated(seed);
        run(&disk, &folder, 0, &mut Done::default()).expect("a sound disk");
        let path = folder.join("store.redb");
        world
            .flip(&path, 4_096 + 64 + 10, 0xff)
            .and_then(|()| world.flip(&path, 4_096 + 192 + 10, 0xff))
            .expect("both roots");
        (world, disk, folder)
    };
    let states = states();
    let (world, disk, folder): (SimulatedDisk, _, _) = prepare(0);
    let before = world.operations();
    super::open(&disk, &folder).expect("rebuilt");
    for at in 0..world.operations() - before {
        let (world, disk, folder) = prepare(at);
        let now = world.operations();
        world.fail(now + at..now + at + 1, Fault::Crash);
        let interrupted = super::open(&disk, &folder).map(drop);
        world.restart();
        let opened = super::open(&disk, &folder).unwrap_or_else(|error| panic!("{at}: {error}, after {interrupted:?}"));
        assert_eq!(all(&opened.store), states[6], "the newest snapshot was written after 6 commits");
        let names = disk.list(&folder).expect("a folder");
        assert_eq!(names.iter().filter(|name| name.starts_with("store.damaged-")).count(), 1, "{names:?}");
        assert!(!names.iter().any(|name| name.contains("unfinished") || name.contains("suspect")), "{names:?}");
    }
}
