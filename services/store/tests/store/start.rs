//! What a start finds and says.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deskpulse_disk::{Access, Disk};
use deskpulse_store::{KEY_BYTES_MAX, Store, StoreError, StoreState, WhatHappened, inspect, snapshot};

use super::{all, key, open, put, real, simulated, value};

#[test]
fn what_was_committed_is_there_after_a_clean_end() {
    let (_kept, disk, folder) = real();
    let opened = open(&disk, &folder).expect("a new store");
    assert!(matches!(opened.what_happened, WhatHappened::Created));
    opened.store.commit((0..5_000).map(|number| put(key(number), value(number))).collect()).expect("a sound disk");
    let before = all(&opened.store);
    assert_eq!(before.len(), 5_000);
    drop(opened);
    let opened = open(&disk, &folder).expect("a sound store");
    assert!(matches!(opened.what_happened, WhatHappened::Opened));
    assert_eq!(all(&opened.store), before);
}

#[test]
fn the_last_of_several_changes_of_a_key_counts() {
    let (_, disk, folder) = simulated(1);
    let store = open(&disk, &folder).expect("a new store").store;
    store
        .commit(vec![put("b", "1"), put("a", "1"), super::remove("b"), put("a", "2"), put("", "empty")])
        .expect("sound");
    assert_eq!(all(&store), [(b"".to_vec(), b"empty".to_vec()), (b"a".to_vec(), b"2".to_vec())]);
    store.commit(vec![super::remove("a"), put("a", "3"), super::remove("nowhere")]).expect("sound");
    assert_eq!(store.get(b"a").expect("sound"), Some(b"3".to_vec()));
}

#[test]
fn a_key_that_is_too_long_is_refused_and_nothing_of_its_commit_is_written() {
    let (_, disk, folder) = simulated(1);
    let store = open(&disk, &folder).expect("a new store").store;
    let refused = store.commit(vec![put("a", "1"), put(vec![0; KEY_BYTES_MAX + 1], "")]);
    assert!(matches!(refused, Err(StoreError::TooLarge { what: "a key", .. })));
    assert_eq!(all(&store), []);
    store.commit(vec![put(vec![0; KEY_BYTES_MAX], "1")]).expect("as long as allowed");
    assert_eq!(all(&store).len(), 1);
}

#[test]
fn a_second_process_is_refused_until_the_first_ends() {
    let (_kept, disk, folder) = real();
    let first = open(&disk, &folder).expect("a new store");
    let refused = open(&disk, &folder).expect_err("in use");
    assert!(matches!(refused, StoreError::InUse { .. }));
    assert!(refused.to_string().ends_with("store.lock: in use by another process"), "{refused}");
    assert!(matches!(inspect(&disk, &folder), Err(StoreError::InUse { .. })));
    drop(first);
    open(&disk, &folder).expect("free again");
}

#[test]
fn a_read_only_disk_is_refused_and_a_look_at_it_is_not() {
    let (world, disk, folder) = simulated(3);
    let store = open(&disk, &folder).expect("a new store").store;
    store.commit(vec![put("a", "1")]).expect("sound");
    snapshot::write(&store, &disk, &folder, b"").expect("sound");
    drop(store);
    world.set_read_only(true);
    assert!(matches!(open(&disk, &folder), Err(StoreError::ReadOnly { .. })));
    let report = inspect(&disk, &folder).expect("reading is allowed");
    assert!(matches!(report.store, StoreState::Sound(figures) if figures.keys == 1), "{report:?}");
    assert!(matches!(report.snapshots.as_slice(), [(_, Ok(info))] if info.pairs == 1), "{report:?}");
}

#[test]
fn a_look_changes_no_byte_even_where_the_process_was_killed() {
    let (world, disk, folder) = simulated(4);
    let store = open(&disk, &folder).expect("a new store").store;
    store.commit((0..3_000).map(|number| put(key(number), value(number))).collect()).expect("sound");
    world.end_process();
    drop(store);
    let bytes = || {
        let names = disk.list(&folder).expect("a folder");
        names.into_iter().map(|name| (name.clone(), read(&disk, &folder.join(name)))).collect::<Vec<_>>()
    };
    let before = bytes();
    let report = inspect(&disk, &folder).expect("nobody has it open");
    let StoreState::Sound(figures) = report.store else { panic!("{report:?}") };
    assert_eq!(figures.keys, 3_000);
    assert_eq!(figures.key_bytes, 30_000);
    assert_eq!(figures.value_bytes, (0..3_000).map(|number| value(number).len() as u64).sum::<u64>());
    assert!(bytes() == before, "a byte changed");
}

#[test]
fn a_store_of_another_program_is_refused_and_left_alone() {
    let (_, disk, folder) = simulated(5);
    disk.create_folder(&folder).expect("sound");
    let path = folder.join("store.redb");
    let file = disk.open(&path, Access::Create).expect("sound");
    file.write_all_at(&b"SQLite format 3\0".repeat(100), 0).expect("sound");
    let refused = open(&disk, &folder).expect_err("another program's");
    assert!(matches!(refused, StoreError::NotOurs { .. }), "{refused}");
    assert_eq!(read(&disk, &path), b"SQLite format 3\0".repeat(100));
}

#[test]
fn a_store_of_a_later_version_is_refused_and_left_alone() {
    let (_, disk, folder) = simulated(6);
    drop(open(&disk, &folder).expect("a new store"));
    let path = folder.join("store.redb");
    let later = [b"DESKPSTR".as_slice(), &2_u32.to_le_bytes()].concat();
    let header = [later.as_slice(), &crc32c::crc32c(&later).to_le_bytes()].concat();
    disk.open(&path, Access::Write).and_then(|file| file.write_all_at(&header, 0)).expect("sound");
    let before = read(&disk, &path);
    assert!(matches!(open(&disk, &folder), Err(StoreError::Newer { version: 2, known: 1, .. })));
    assert_eq!(read(&disk, &path), before);
}

#[test]
fn reads_go_on_while_commits_do_and_see_whole_ones() {
    const KEYS: usize = 500;
    let (_kept, disk, folder) = real();
    let store = open(&disk, &folder).expect("a new store").store;
    let commit = |round: usize| store.commit((0..KEYS).map(|number| put(key(number), round.to_string())).collect());
    commit(0).expect("sound");
    let ended = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut scans = 0;
                    while !ended.load(Ordering::Acquire) || scans == 0 {
                        let mut rounds = std::collections::BTreeSet::new();
                        store
                            .scan_all(&mut |_, value| {
                                rounds.insert(value.to_vec());
                                ControlFlow::Continue(())
                            })
                            .expect("sound");
                        assert_eq!(rounds.len(), 1, "half a commit");
                        assert!(store.get(&key(scans % KEYS)).expect("sound").is_some());
                        scans += 1;
                    }
                    scans
                })
            })
            .collect();
        (1..40).for_each(|round| commit(round).expect("sound"));
        ended.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().expect("no reader panics")).min()
    });
    assert!(seen > Some(0));
    assert_eq!(store.get(&key(3)).expect("sound"), Some(b"39".to_vec()));
}

pub(super) fn read(disk: &Arc<dyn Disk>, path: &std::path::Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).expect("a file");
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("a small file")];
    file.read_exact_at(&mut bytes, 0).expect("a sound disk");
    bytes
}
