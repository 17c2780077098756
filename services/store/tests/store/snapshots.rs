//! Snapshot files.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, RealDisk};
use deskpulse_store::{MemoryStore, Store, StoreError, snapshot};

use super::start::read;
use super::{all, key, open, put, simulated, value};

/// What the golden file holds: it was written by the first version of the format and must load for ever.
fn golden() -> MemoryStore {
    let store = MemoryStore::default();
    let many = (0..4_000).map(|number| put(key(number), value(number)));
    store.commit(many.chain([put("", "an empty key"), put("nothing", "")]).collect()).expect("small changes");
    store
}

const GOLDEN_HEADER: &[u8] = b"partition 0 at 17\0\xff";

#[test]
fn the_first_versions_snapshot_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let found = snapshot::newest_sound(&RealDisk, &folder).expect("a readable file");
    let info = found.sound.unwrap_or_else(|| panic!("{:?}", found.refused));
    assert_eq!((info.pairs, info.header.as_slice(), info.file.number), (4_002, GOLDEN_HEADER, 1));
    let store = MemoryStore::default();
    snapshot::load_into(&RealDisk, &folder, &info.file, &store).expect("a sound snapshot");
    assert_eq!(all(&store), all(&golden()));
}

#[test]
fn the_two_newest_snapshots_stay() {
    let (_, disk, folder) = simulated(1);
    disk.create_folder(&folder).expect("sound");
    let store = MemoryStore::default();
    for number in 1..=5_u64 {
        store.commit(vec![put("number", number.to_string())]).expect("small");
        let info = snapshot::write(&store, &disk, &folder, &number.to_le_bytes()).expect("sound");
        assert_eq!((info.file.number, info.pairs), (number, 1));
    }
    let numbers: Vec<u64> =
        snapshot::list(disk.as_ref(), &folder).expect("sound").into_iter().map(|file| file.number).collect();
    assert_eq!(numbers, [5, 4]);
    let newest = snapshot::newest_sound(disk.as_ref(), &folder).expect("sound").sound.expect("one is sound");
    assert_eq!(newest.header, 5_u64.to_le_bytes());
}

#[test]
fn a_snapshot_is_of_one_state_while_commits_go_on() {
    #[derive(Debug)]
    struct Busy(deskpulse_store::RedbStore);
    impl Store for Busy {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.get(key)
        }
        fn scan(&self, from: &[u8], to: &[u8], see: &mut deskpulse_store::See<'_>) -> Result<(), StoreError> {
            self.0.scan(from, to, see)
        }
        /// Changes every key after the first was seen.
        fn scan_all(&self, see: &mut deskpulse_store::See<'_>) -> Result<(), StoreError> {
            let mut seen = 0;
            self.0.scan_all(&mut |key, value| {
                if seen == 0 {
                    self.commit(numbers(1)).expect("sound");
                }
                seen += 1;
                see(key, value)
            })
        }
        fn commit(&self, changes: Vec<deskpulse_store::Change>) -> Result<(), StoreError> {
            self.0.commit(changes)
        }
    }
    fn numbers(round: usize) -> Vec<deskpulse_store::Change> {
        (0..3_000).map(|number| put(key(number), value(number + round))).collect()
    }
    let (_, disk, folder) = simulated(2);
    let store = Busy(open(&disk, &folder).expect("a new store").store);
    store.commit(numbers(0)).expect("sound");
    let before = all(&store.0);
    let info = snapshot::write(&store, &disk, &folder, b"").expect("sound");
    let loaded = MemoryStore::default();
    snapshot::load_into(disk.as_ref(), &folder, &info.file, &loaded).expect("sound");
    assert_eq!(all(&loaded), before);
    assert_ne!(all(&store.0), before);
}

/// Two snapshots, the older with the key `old`.
fn two(seed: u64) -> (deskpulse_disk::SimulatedDisk, Arc<dyn Disk>, std::path::PathBuf) {
    let (world, disk, folder) = simulated(seed);
    disk.create_folder(&folder).expect("sound");
    let store = MemoryStore::default();
    let many = (0..8_000).map(|number| put(key(number), value(number)));
    store.commit(many.chain([put("old", "")]).collect()).expect("small");
    snapshot::write(&store, &disk, &folder, b"older").expect("sound");
    store.commit(vec![super::remove("old")]).expect("small");
    snapshot::write(&store, &disk, &folder, b"newer").expect("sound");
    (world, disk, folder)
}

const NEWER: &str = "snapshot-00000000000000000002";
const OLDER: &str = "snapshot-00000000000000000001";

/// What is said of the newer one; the older one must be found instead.
fn refusal(disk: &Arc<dyn Disk>, folder: &Path) -> StoreError {
    let found = snapshot::newest_sound(disk.as_ref(), folder).expect("a readable disk");
    assert_eq!(found.sound.expect("the older one is sound").header, b"older");
    let [refused] = <[StoreError; 1]>::try_from(found.refused).expect("one is refused");
    assert!(refused.to_string().starts_with(&format!("/data/{NEWER}: ")), "{refused}");
    refused
}

#[test]
fn a_snapshot_with_any_byte_changed_is_refused_and_the_older_one_used() {
    let (world, disk, folder) = two(3);
    let path = folder.join(NEWER);
    let length = read(&disk, &path).len();
    assert!(length > 100_000, "{length}");
    // All of the header and the end, and some of what is between.
    let places = (0..64).chain((64..length - 64).step_by(length / 100)).chain(length - 64..length);
    for at in places {
        world.flip(&path, at, 1 << (at % 8)).expect("a byte");
        let refused = refusal(&disk, &folder);
        match &refused {
            StoreError::Damaged { offset: Some(offset), .. } => {
                assert!(usize::try_from(*offset).expect("small") <= at + 1, "{refused}, changed at {at}");
            }
            // The version is read before anything can be checked: a later one may be laid out otherwise.
            StoreError::Newer { .. } => assert!((8..12).contains(&at), "{refused}, changed at {at}"),
            other => panic!("{other}"),
        }
        world.flip(&path, at, 1 << (at % 8)).expect("a byte");
    }
    assert!(snapshot::newest_sound(disk.as_ref(), &folder).expect("readable").refused.is_empty());
}

#[test]
fn a_header_is_read_without_what_lies_between_it_and_the_end() {
    let (world, disk, folder) = two(7);
    let [newer, older] = <[_; 2]>::try_from(snapshot::list(disk.as_ref(), &folder).expect("readable")).expect("two");
    let header = |file| snapshot::header(disk.as_ref(), &folder, file);
    assert_eq!((header(&newer).expect("sound"), header(&older).expect("sound")), (b"newer".into(), b"older".into()));
    let path = folder.join(NEWER);
    let whole = read(&disk, &path);
    world.flip(&path, whole.len() / 2, 1).expect("a byte");
    assert_eq!(header(&newer).expect("what is changed is not read"), b"newer");
    for at in (0..24 + b"newer".len() + 4).chain(whole.len() - 32..whole.len()) {
        world.flip(&path, at, 1 << (at % 8)).expect("a byte");
        header(&newer).expect_err("it is changed");
        world.flip(&path, at, 1 << (at % 8)).expect("a byte");
    }
    let file = disk.open(&path, Access::Write).expect("a file");
    for length in (0..80).chain((80..whole.len()).step_by(whole.len() / 60)) {
        file.set_len(length as u64).expect("sound");
        header(&newer).expect_err("it is cut");
        file.write_all_at(&whole, 0).expect("sound");
    }
}

#[test]
fn a_snapshot_cut_anywhere_is_refused_and_the_older_one_used() {
    let (_, disk, folder) = two(4);
    let whole = read(&disk, &folder.join(NEWER));
    let file = disk.open(&folder.join(NEWER), Access::Write).expect("a file");
    for length in (0..80).chain((80..whole.len()).step_by(whole.len() / 60)).chain(whole.len() - 40..whole.len()) {
        file.set_len(length as u64).expect("sound");
        assert!(matches!(refusal(&disk, &folder), StoreError::Damaged { offset: Some(_), .. }));
        file.write_all_at(&whole, 0).expect("sound");
    }
    file.write_all_at(b"more", whole.len() as u64).expect("sound");
    let refused = refusal(&disk, &folder);
    assert!(
        refused.to_string().ends_with(&format!("damaged at byte {}: it goes on behind its end", whole.len())),
        "{refused}"
    );
}

#[test]
fn a_snapshot_under_anothers_name_is_refused() {
    let (_, disk, folder) = two(5);
    let older = read(&disk, &folder.join(OLDER));
    disk.remove(&folder.join(NEWER)).expect("a file");
    disk.open(&folder.join(NEWER), Access::Create).and_then(|file| file.write_all_at(&older, 0)).expect("sound");
    assert!(refusal(&disk, &folder).to_string().ends_with("damaged at byte 16: it is snapshot 1 under another's name"));
}

#[test]
fn two_chunks_that_changed_places_are_refused() {
    let (_, disk, folder) = two(6);
    let path = folder.join(NEWER);
    let mut bytes = read(&disk, &path);
    let starts: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, tag)| tag == b"CHNK").map(|(at, _)| at).collect();
    let [first, second, third, ..] = starts.as_slice() else { panic!("{starts:?}") };
    bytes[*first..*third].rotate_left(second - first);
    disk.open(&path, Access::Write).and_then(|file| file.write_all_at(&bytes, 0)).expect("sound");
    let refused = refusal(&disk, &folder);
    assert!(
        matches!(refused, StoreError::Damaged { offset: Some(offset), .. } if offset == *first as u64),
        "{refused}"
    );
}

#[test]
fn a_store_damaged_while_a_snapshot_is_written_leaves_no_snapshot() {
    #[derive(Debug)]
    struct Breaks;
    impl Store for Breaks {
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
        fn scan(&self, _: &[u8], _: &[u8], _: &mut deskpulse_store::See<'_>) -> Result<(), StoreError> {
            Ok(())
        }
        fn scan_all(&self, see: &mut deskpulse_store::See<'_>) -> Result<(), StoreError> {
            assert_eq!(see(b"a", b"1"), ControlFlow::Continue(()));
            Err(StoreError::Damaged { file: "store".into(), offset: None, what: "a page".to_owned() })
        }
        fn commit(&self, _: Vec<deskpulse_store::Change>) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let (_, disk, folder) = simulated(8);
    disk.create_folder(&folder).expect("sound");
    assert!(matches!(snapshot::write(&Breaks, &disk, &folder, b""), Err(StoreError::Damaged { .. })));
    assert_eq!(disk.list(&folder).expect("sound"), [""; 0]);
}

#[test]
fn a_full_disk_leaves_no_half_snapshot_and_the_older_ones_stay() {
    let (world, disk, folder) = two(7);
    world.set_capacity(0);
    let store = golden();
    assert!(matches!(snapshot::write(&store, &disk, &folder, b""), Err(StoreError::Disk { .. })));
    assert_eq!(disk.list(&folder).expect("sound"), [OLDER, NEWER]);
    world.set_capacity(1 << 30);
    assert_eq!(snapshot::write(&store, &disk, &folder, b"").expect("room again").file.number, 3);
}
