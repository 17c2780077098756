//! A damaged store is set aside and built again, and damage is never an answer.

use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, Fault};
use deskpulse_store::{MemoryStore, Store, StoreError, StoreState, WhatHappened, inspect, snapshot};

use super::start::read;
use super::{Pair, all, key, open, put, simulated, value};

const KEYS: usize = 2_000;

/// A closed store and a snapshot of all of it; its pairs.
fn prepared(disk: &Arc<dyn Disk>, folder: &Path) -> Vec<Pair> {
    let store = open(disk, folder).expect("a new store").store;
    store.commit((0..KEYS).map(|number| put(key(number), value(number))).collect()).expect("sound");
    snapshot::write(&store, disk, folder, b"here").expect("sound");
    all(&store)
}

#[test]
fn a_damaged_store_is_set_aside_and_built_again_from_the_snapshot() {
    let (_, disk, folder) = simulated(1);
    let pairs = prepared(&disk, &folder);
    let path = folder.join("store.redb");
    let length = read(&disk, &path).len() as u64;
    for (round, cut) in [0, 1, 319, 4_096, length / 2].into_iter().enumerate() {
        disk.open(&path, Access::Write).and_then(|file| file.set_len(cut)).expect("sound");
        let cut_file = read(&disk, &path);
        if round == 4 {
            assert!(matches!(open(&disk, &folder), Err(StoreError::TooManySetAside { kept: 4, .. })));
            assert_eq!(read(&disk, &path), cut_file, "refused without a change");
            break;
        }
        let opened = open(&disk, &folder).expect("rebuilt");
        let WhatHappened::Rebuilt { damage: Some(damage), set_aside: Some(aside), from: Some(from), refused } =
            opened.what_happened
        else {
            panic!("{:?}", opened.what_happened)
        };
        assert!(matches!(damage, StoreError::Damaged { .. }), "{damage}");
        assert_eq!((from.header.as_slice(), refused.len()), (b"here".as_slice(), 0));
        assert_eq!(all(&opened.store), pairs);
        assert_eq!(aside, format!("store.damaged-{}", round + 1));
        assert_eq!(read(&disk, &folder.join(aside)), cut_file, "kept as it was");
    }
}

#[test]
fn a_store_that_is_gone_is_built_again() {
    let (_, disk, folder) = simulated(2);
    let pairs = prepared(&disk, &folder);
    disk.remove(&folder.join("store.redb")).expect("a file");
    let opened = open(&disk, &folder).expect("rebuilt");
    assert!(matches!(opened.what_happened, WhatHappened::Rebuilt { damage: None, from: Some(_), .. }));
    assert_eq!(all(&opened.store), pairs);
}

#[test]
fn without_a_sound_snapshot_the_new_store_is_empty_and_the_start_says_so() {
    let (world, disk, folder) = simulated(3);
    prepared(&disk, &folder);
    world.flip(&folder.join("snapshot-00000000000000000001"), 100, 1).expect("a byte");
    disk.open(&folder.join("store.redb"), Access::Write).and_then(|file| file.set_len(0)).expect("sound");
    let opened = open(&disk, &folder).expect("rebuilt");
    let WhatHappened::Rebuilt { from: None, refused, .. } = opened.what_happened else {
        panic!("{:?}", opened.what_happened)
    };
    assert!(matches!(refused.as_slice(), [StoreError::Damaged { .. }]), "{refused:?}");
    assert_eq!(all(&opened.store), []);
}

#[test]
fn a_disk_that_fails_while_the_store_is_opened_sets_nothing_aside() {
    let (world, disk, folder) = simulated(4);
    let pairs = prepared(&disk, &folder);
    let before = world.operations();
    drop(open(&disk, &folder).expect("sound"));
    for at in 0..world.operations() - before {
        let now = world.operations();
        world.fail(now + at..now + at + 1, Fault::Device);
        let opened = open(&disk, &folder);
        assert!(!matches!(&opened, Err(StoreError::Damaged { .. })), "{opened:?}");
        drop(opened);
        world.end_process();
        let names = disk.list(&folder).expect("sound");
        assert!(!names.iter().any(|name| name.starts_with("store.damaged-")), "at {at}: {names:?}");
    }
    assert_eq!(all(&open(&disk, &folder).expect("sound").store), pairs);
}

/// Reads all keys; whether any damage was met. Nothing but damage or what was put there may come back.
fn met_damage(store: &dyn Store, pairs: &[Pair]) -> bool {
    let mut met = false;
    for (key, value) in pairs {
        let found = store.get(key);
        let damaged = matches!(found, Err(StoreError::Damaged { .. }));
        assert!(damaged || matches!(&found, Ok(Some(found)) if found == value), "{found:?}");
        met |= damaged;
    }
    met
}

#[test]
fn damage_met_while_the_store_is_open_is_an_error_and_the_next_start_rebuilds() {
    let (world, disk, folder) = simulated(5);
    let pairs = prepared(&disk, &folder);
    let path = folder.join("store.redb");
    let opened = open(&disk, &folder).expect("a sound store");
    // The checksums of all pages stand before them; a few pages are in memory.
    let length = read(&disk, &path).len();
    for at in (8_192..length).step_by(4_096) {
        world.flip(&path, at + 50, 0x10).expect("a byte");
    }
    assert!(met_damage(&opened.store, &pairs));
    let scanned = opened.store.scan_all(&mut |_, _| std::ops::ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(StoreError::Damaged { offset: Some(8_192..), .. })), "{scanned:?}");
    assert!(matches!(snapshot::write(&opened.store, &disk, &folder, b""), Err(StoreError::Damaged { .. })));
    assert!(matches!(opened.store.commit(vec![put("a", "1")]), Err(StoreError::Damaged { .. })));
    drop(opened);

    assert!(disk.list(&folder).expect("sound").contains(&"store.suspect".to_owned()), "the next start checks all");
    assert!(matches!(inspect(&disk, &folder).expect("free").store, StoreState::Unsound(StoreError::Damaged { .. })));
    let opened = open(&disk, &folder).expect("rebuilt");
    assert!(matches!(opened.what_happened, WhatHappened::Rebuilt { damage: Some(_), from: Some(_), .. }));
    assert_eq!(all(&opened.store), pairs);
    drop(opened);
    assert!(matches!(open(&disk, &folder).expect("sound").what_happened, WhatHappened::Opened));
}

#[test]
fn a_byte_changed_anywhere_never_makes_a_wrong_answer() {
    let (world, disk, folder) = simulated(6);
    let pairs = prepared(&disk, &folder);
    let path = folder.join("store.redb");
    let whole = read(&disk, &path);
    // What is not read at the start is met later, or lies in a page that nothing uses.
    let (mut rebuilt, mut met, mut unseen) = (0, 0, 0);
    // Our header, redb's, and some of the rest.
    for at in (0..16).chain((4_096..4_416).step_by(7)).chain((16..whole.len()).step_by(whole.len() / 60)) {
        world.flip(&path, at, 1 << (at % 8)).expect("a byte");
        match open(&disk, &folder) {
            Ok(opened) => {
                if matches!(opened.what_happened, WhatHappened::Rebuilt { .. }) {
                    rebuilt += 1;
                    assert_eq!(all(&opened.store), pairs);
                } else if met_damage(&opened.store, &pairs) {
                    met += 1;
                    drop(opened);
                    let again = open(&disk, &folder).expect("rebuilt, or mended");
                    assert_eq!(all(&again.store), pairs, "changed at {at}");
                } else {
                    unseen += 1;
                }
            }
            Err(error) => panic!("changed at {at}: {error}"),
        }
        for name in disk.list(&folder).expect("sound").iter().filter(|name| name.starts_with("store.")) {
            disk.remove(&folder.join(name)).expect("a file");
        }
        disk.open(&path, Access::Create).and_then(|file| file.write_all_at(&whole, 0)).expect("sound");
    }
    assert!(rebuilt + met > 50 && unseen > 5, "{rebuilt} rebuilt, {met} met, {unseen} in free pages");
}

#[test]
fn a_store_full_of_nonsense_is_not_loaded_from_a_snapshot_of_nothing() {
    let (_, disk, folder) = simulated(8);
    drop(open(&disk, &folder).expect("a new store"));
    snapshot::write(&MemoryStore::default(), &disk, &folder, b"empty").expect("sound");
    let file = disk.open(&folder.join("store.redb"), Access::Write).expect("a file");
    file.write_all_at(&vec![0; 1_000], 0).expect("sound");
    drop(file);
    let opened = open(&disk, &folder).expect("rebuilt");
    assert!(
        matches!(&opened.what_happened, WhatHappened::Rebuilt { from: Some(from), .. } if from.header == b"empty"),
        "{:?}",
        opened.what_happened
    );
    assert_eq!(all(&opened.store), []);
}
