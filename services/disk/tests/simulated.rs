//! The simulated disk: what it keeps, what it may lose, and how it fails.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, DiskFile, Fault, Gradual, SimulatedDisk};

const ROOM: u64 = 1 << 20;

fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed, ROOM);
    disk.create_folder(Path::new("/d")).expect("makes a folder");
    disk
}

fn create(disk: &SimulatedDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), Access::Create).expect("creates")
}

fn durable(disk: &SimulatedDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = create(disk, path);
    file.write_all_at(bytes, 0).expect("writes");
    file.sync().expect("syncs");
    disk.sync_folder(Path::new("/d")).expect("syncs");
    file
}

fn read(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), Access::Read).ok()?;
    let length = file.len().expect("has a length");
    let mut bytes = vec![0; usize::try_from(length).expect("is small")];
    file.read_exact_at(&mut bytes, 0).expect("reads");
    Some(bytes)
}

#[test]
fn what_was_synced_survives_every_loss_of_power() {
    for seed in 0..100 {
        let disk = disk(seed);
        durable(&disk, "/d/a", b"kept");
        disk.crash();
        assert!(disk.open(Path::new("/d/a"), Access::Read).is_err());
        disk.restart();
        assert_eq!(read(&disk, "/d/a").expect("is there"), b"kept");
    }
}

#[test]
fn what_was_not_synced_is_lost_kept_or_torn_in_sectors_and_in_the_last_write_at_any_byte() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..400 {
        let disk = disk(seed);
        let file = durable(&disk, "/d/a", &[0; 2048]);
        file.write_all_at(&[1; 1024], 0).expect("writes");
        file.write_all_at(&[2; 1024], 1024).expect("writes");
        disk.restart();
        let bytes = read(&disk, "/d/a").expect("is there");
        assert_eq!(bytes.len(), 2048);
        for sector in bytes[..1024].chunks(512) {
            assert!(sector == [0; 512] || sector == [1; 512], "a sector inside is whole");
        }
        assert!(bytes[1024..].iter().all(|byte| [0, 2].contains(byte)));
        outcomes.insert(bytes);
    }
    assert!(outcomes.contains(&vec![0; 2048]), "all lost");
    assert!(outcomes.iter().any(|bytes| bytes[..1024] == [1; 1024] && bytes[1024..] == [2; 1024]), "all kept");
    assert!(outcomes.iter().any(|bytes| bytes[0] == 0 && bytes[512] == 1), "an earlier sector lost, a later one kept");
    assert!(outcomes.iter().any(|bytes| bytes[1024..].windows(2).any(|pair| pair == [2, 0])), "torn inside");
    assert!(outcomes.len() > 50, "{}", outcomes.len());
}

#[test]
fn the_same_seed_loses_the_same() {
    let outcome = |seed| {
        let disk = disk(seed);
        let file = durable(&disk, "/d/a", &[0; 4096]);
        file.write_all_at(&[1; 4096], 0).expect("writes");
        disk.restart();
        read(&disk, "/d/a")
    };
    for seed in 0..20 {
        assert_eq!(outcome(seed), outcome(seed));
    }
}

#[test]
fn names_not_synced_with_their_folder_may_be_lost_and_a_rename_never_loses_both() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        durable(&disk, "/d/old", b"old");
        durable(&disk, "/d/gone", b"gone");
        create(&disk, "/d/new").sync().expect("syncs");
        disk.rename(Path::new("/d/old"), Path::new("/d/renamed")).expect("renames");
        disk.remove(Path::new("/d/gone")).expect("removes");
        assert_eq!(disk.list(Path::new("/d")).expect("lists"), ["new", "renamed"]);
        disk.restart();
        let names = disk.list(Path::new("/d")).expect("lists");
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(has("old") != has("renamed"), "{names:?}");
        outcomes.insert(names);
    }
    assert_eq!(outcomes.len(), 8, "{outcomes:?}");
}

#[test]
fn a_synced_folder_keeps_its_names() {
    for seed in 0..50 {
        let disk = disk(seed);
        durable(&disk, "/d/a", b"a");
        durable(&disk, "/d/b", b"b");
        disk.rename(Path::new("/d/a"), Path::new("/d/b")).expect("renames");
        disk.sync_folder(Path::new("/d")).expect("syncs");
        disk.restart();
        assert_eq!(disk.list(Path::new("/d")).expect("lists"), ["b"]);
        assert_eq!(read(&disk, "/d/b").expect("is there"), b"a");
    }
}

#[test]
fn after_a_failed_sync_a_later_one_succeeds_and_saves_nothing() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = disk(seed);
        let file = durable(&disk, "/d/a", b"first");
        file.write_all_at(b"later", 0).expect("writes");
        let next = disk.operations();
        disk.fail(next..next + 1, Fault::Device);
        assert_eq!(file.sync().expect_err("fails").raw_os_error(), Some(5));
        file.sync().expect("says that all is well");
        assert_eq!(read(&disk, "/d/a").expect("is there"), b"later");
        disk.restart();
        lost += u32::from(read(&disk, "/d/a").expect("is there") != b"later");
    }
    assert!((10..100).contains(&lost), "{lost}");
}

#[test]
fn a_fault_happens_at_the_operation_it_was_asked_for() {
    let disk = disk(1);
    let file = durable(&disk, "/d/a", b"");
    let next = disk.operations();
    disk.fail(next + 1..next + 3, Fault::Full);
    file.write_all_at(b"fine", 0).expect("writes");
    assert_eq!(file.write_all_at(&[7; 100], 4).expect_err("is full").kind(), ErrorKind::StorageFull);
    assert_eq!(file.sync().expect_err("is full").kind(), ErrorKind::StorageFull);
    file.sync().expect("works again");
    let next = disk.operations();
    disk.fail(next + 1..next + 2, Fault::Crash);
    assert_eq!(disk.list(Path::new("/d")).expect("lists"), ["a"]);
    assert!(disk.sync_folder(Path::new("/d")).is_err());
    assert!(disk.has_crashed());
    assert!(file.len().is_err());
    disk.restart();
    assert!(file.len().is_err(), "a file opened before a restart is dead");
    assert!(read(&disk, "/d/a").expect("is there").starts_with(b"fine"));
}

#[test]
fn a_full_disk_takes_what_there_is_room_for() {
    let disk = disk(1);
    disk.set_capacity(100);
    let file = create(&disk, "/d/a");
    assert_eq!(file.write_all_at(&[1; 150], 0).expect_err("is full").kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().expect("has a length"), 100);
    file.write_all_at(&[2; 100], 0).expect("what is there can be overwritten");
    assert_eq!(disk.free_bytes(Path::new("/d")).expect("answers"), 0);
    assert!(file.set_len(101).is_err());
    file.set_len(40).expect("cuts");
    assert_eq!(disk.free_bytes(Path::new("/d")).expect("answers"), 60);
    disk.remove(Path::new("/d/a")).expect("removes");
    assert_eq!(disk.free_bytes(Path::new("/d")).expect("answers"), 100);
}

#[test]
fn an_ended_process_loses_nothing_until_the_power_goes() {
    let mut lost = false;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable(&disk, "/d/a", b"");
        let lock = disk.try_lock(Path::new("/d/lock")).expect("works").expect("is free");
        assert!(disk.try_lock(Path::new("/d/lock")).expect("works").is_none());
        file.write_all_at(b"written", 0).expect("writes");
        disk.end_process();
        let again = disk.try_lock(Path::new("/d/lock")).expect("works").expect("is free");
        drop(lock);
        assert!(disk.try_lock(Path::new("/d/lock")).expect("works").is_none(), "an old holder frees nothing");
        drop(again);
        assert_eq!(read(&disk, "/d/a").expect("is there"), b"written");
        disk.restart();
        lost |= read(&disk, "/d/a").expect("is there") != b"written";
    }
    assert!(lost);
}

#[test]
fn a_read_only_disk_refuses_changes_and_can_be_read() {
    let disk = disk(1);
    let file = durable(&disk, "/d/a", b"x");
    disk.set_read_only(true);
    assert_eq!(file.write_all_at(b"y", 0).expect_err("refuses").kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(disk.remove(Path::new("/d/a")).is_err());
    assert_eq!(read(&disk, "/d/a").expect("is there"), b"x");
    disk.set_read_only(false);
    disk.flip(Path::new("/d/a"), 0, 1).expect("flips");
    disk.restart();
    assert_eq!(read(&disk, "/d/a").expect("is there"), b"y");
}

#[test]
fn a_gradual_file_leaves_no_more_than_a_stride_to_be_synced() {
    let (stride, chunk) = (Gradual::STRIDE, Gradual::STRIDE / 8);
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed, 8 * stride as u64);
        disk.create_folder(Path::new("/d")).expect("makes a folder");
        let file = Gradual::new(durable(&disk, "/d/a", b""));
        // In small pieces, then at once.
        for at in (0..2 * stride).step_by(chunk) {
            file.write_all_at(&vec![7; chunk], at as u64).expect("writes");
        }
        file.write_all_at(&vec![7; 2 * stride + 1], 2 * stride as u64).expect("writes");
        disk.crash();
        disk.restart();
        let kept = read(&disk, "/d/a").expect("is there");
        let kept = kept.iter().take_while(|byte| **byte == 7).count();
        assert!(kept >= 3 * stride, "{kept} bytes were synced");
        lost += 4 * stride + 1 - kept;
    }
    assert!(lost > 0, "the last stride is the caller's to sync");
}

#[test]
fn a_gradual_file_whose_sync_failed_takes_nothing_more() {
    let disk = SimulatedDisk::new(1, 8 * Gradual::STRIDE as u64);
    disk.create_folder(Path::new("/d")).expect("makes a folder");
    let file = Gradual::new(durable(&disk, "/d/a", b""));
    file.write_all_at(&vec![7; Gradual::STRIDE], 0).expect("writes");
    // The sync before the next write; whoever writes may not look at its error.
    let next = disk.operations();
    disk.fail(next..next + 1, Fault::Device);
    file.write_all_at(b"x", 0).expect_err("its sync fails");
    file.sync().expect_err("the system would say that all is well");
    file.write_all_at(b"x", 0).expect_err("it takes nothing more");
}
