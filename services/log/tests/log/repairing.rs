use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, RealDisk, SimulatedDisk};
use deskpulse_log::{
    EmbeddedLog, EventLog, LogError, LogOptions, Lost, PartitionId, Position, Surroundings, inspect, inspect_on,
    repair, repair_on,
};

use crate::{P0, P1, append, blocks, bytes_of, folder, overwrite};

const OPTIONS: LogOptions = LogOptions { segment_bytes: 2_000, scrub_pause: None, ..LogOptions::new(2) };

fn payload(number: u64) -> Vec<u8> {
    let mut payload = format!("block {number} ").into_bytes();
    payload.resize(200, b'.');
    payload
}

/// A log of 40 blocks in each of two partitions, in several segments, compressed or not.
async fn filled(dir: &Path, compress: bool) {
    let log = EmbeddedLog::open(dir, LogOptions { compress, ..OPTIONS }).expect("opens");
    for number in 1..=40 {
        append(&log, P0, payload(number)).await;
        append(&log, P1, payload(number)).await;
    }
    // Answered between two pieces of work, so that these are done then.
    for _ in 0..40 {
        log.truncate_below(Vec::new()).await.expect("nothing to do");
    }
    log.close().await.expect("closes");
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = dir.read_dir().expect("readable").map(|entry| entry.expect("readable").path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), bytes_of(&path))).collect()
}

fn file(dir: &Path, number: u64, ending: &str) -> PathBuf {
    dir.join(format!("{number:020}.{ending}"))
}

#[tokio::test]
async fn a_sound_log_is_reported_whole_and_neither_inspection_nor_repair_changes_a_byte() {
    for compress in [false, true] {
        let dir = folder();
        filled(dir.path(), compress).await;
        let before = contents(dir.path());
        let report = inspect(dir.path()).expect("readable");
        assert_eq!(report.damage, []);
        for partition in &report.partitions {
            assert_eq!((partition.first, partition.head, partition.lost), (Position(1), Position(40), 0));
        }
        assert_eq!(report.segments.iter().map(|segment| segment.blocks).sum::<u64>(), 80);
        assert_eq!(report.segments.iter().map(|segment| segment.payload_bytes).sum::<u64>(), 80 * 200);
        let repaired = repair(dir.path()).expect("nothing to do");
        assert_eq!((repaired.quarantined, repaired.lost), (Vec::new(), Vec::new()));
        assert_eq!(contents(dir.path()), before);
    }
}

#[tokio::test]
async fn an_open_log_is_neither_inspected_nor_repaired() {
    let dir = folder();
    let log = EmbeddedLog::open(dir.path(), OPTIONS).expect("opens");
    assert!(matches!(inspect(dir.path()), Err(LogError::InUse { .. })));
    assert!(matches!(repair(dir.path()), Err(LogError::InUse { .. })));
    log.close().await.expect("closes");
    inspect(dir.path()).expect("readable");
}

/// Repairs, and checks that what is not listed as lost is there, and what is listed is empty.
async fn repaired(dir: &Path) -> Vec<Lost> {
    let damaged = contents(dir);
    let report = inspect(dir).expect("readable");
    assert!(!report.damage.is_empty());
    assert_eq!(contents(dir), damaged, "an inspection changes nothing");
    let repair = repair(dir).expect("can be repaired");
    for path in &repair.quarantined {
        assert!(damaged.values().any(|bytes| *bytes == bytes_of(path)), "what was damaged is kept as it was");
    }
    assert_eq!(inspect(dir).expect("readable").damage, []);
    for _ in 0..2 {
        let log = EmbeddedLog::open(dir, OPTIONS).expect("opens again");
        for partition in [P0, P1] {
            let is_lost = |number: u64| {
                let position = Position(number);
                repair
                    .lost
                    .iter()
                    .any(|lost| lost.partition == partition && lost.first <= position && position <= lost.last)
            };
            let expected = (1..=40).map(|number| if is_lost(number) { Vec::new() } else { payload(number) });
            let found = blocks(&log, partition, 1).await;
            assert_eq!(found[..40], expected.collect::<Vec<_>>());
            append(&log, partition, "and on").await;
        }
        log.close().await.expect("closes");
    }
    repair.lost
}

#[tokio::test]
async fn a_flipped_bit_costs_the_block_it_is_in_or_its_compressed_neighbours() {
    for (compress, ending) in [(false, "log"), (true, "sealed")] {
        let sound = folder();
        filled(sound.path(), compress).await;
        let damaged = file(sound.path(), 3, ending);
        let bytes = bytes_of(&damaged);
        for at in (0..bytes.len()).step_by(171) {
            let dir = folder();
            for (path, bytes) in contents(sound.path()) {
                overwrite(&dir.path().join(path.file_name().expect("has a name")), &bytes);
            }
            let mut flipped = bytes.clone();
            flipped[at] ^= 16;
            let damaged = file(dir.path(), 3, ending);
            overwrite(&damaged, &flipped);
            let report = inspect(dir.path()).expect("readable");
            // What follows the last frame was never written, and nothing reads it.
            if report.damage.is_empty() {
                assert!(!compress && at > 1_700, "{at}");
                continue;
            }
            assert_eq!(report.damage[0].file, damaged);
            let stretch = report.damage[0].offset..report.damage[0].offset + report.damage[0].bytes;
            assert!(stretch.contains(&(at as u64)), "{at} in {stretch:?}");
            let lost = repaired(dir.path()).await;
            let blocks: u64 = lost.iter().map(|lost| lost.last.0 - lost.first.0 + 1).sum();
            assert!(blocks <= if compress { 5 } else { 1 }, "{at}: {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_an_empty_a_cut_and_a_swapped_segment_cost_what_was_in_them() {
    for (compress, ending) in [(false, "log"), (true, "sealed")] {
        for damage in 0..4 {
            let dir = folder();
            filled(dir.path(), compress).await;
            let victim = file(dir.path(), 3, ending);
            let bytes = bytes_of(&victim);
            match damage {
                0 => std::fs::remove_file(&victim).expect("removes"),
                1 => overwrite(&victim, b""),
                2 => overwrite(&victim, &bytes[..bytes.len() / 2]),
                _ => overwrite(&victim, &bytes_of(&file(dir.path(), 2, ending))),
            }
            let refused = EmbeddedLog::open(dir.path(), OPTIONS).expect_err("is refused").to_string();
            assert!(refused.contains("00000000000000000003.") && refused.contains("check --repair"), "{refused}");
            let lost = repaired(dir.path()).await;
            let blocks: u64 = lost.iter().map(|lost| lost.last.0 - lost.first.0 + 1).sum();
            assert!((1..=8).contains(&blocks), "{damage}: {lost:?}");
        }
    }
}

#[tokio::test]
async fn damage_before_the_end_of_the_last_segment_costs_only_the_damaged_block() {
    let dir = folder();
    let log = EmbeddedLog::open(dir.path(), LogOptions::new(2)).expect("opens");
    for number in 1..=40 {
        append(&log, P0, payload(number)).await;
        append(&log, P1, payload(number)).await;
    }
    log.close().await.expect("closes");
    let file = file(dir.path(), 1, "log");
    let mut bytes = bytes_of(&file);
    bytes[64 + 244 * 7 + 100] ^= 1;
    overwrite(&file, &bytes);
    let refused = EmbeddedLog::open(dir.path(), LogOptions::new(2)).expect_err("is refused");
    assert!(matches!(refused, LogError::Corrupt { offset, .. } if offset == 64 + 244 * 7));
    let lost = repaired(dir.path()).await;
    assert_eq!(lost, [Lost { partition: P1, first: Position(4), last: Position(4) }]);
}

#[tokio::test]
async fn a_damaged_meta_or_first_file_is_written_again_from_the_segments() {
    for name in ["log.meta", "log.first"] {
        let dir = folder();
        filled(dir.path(), true).await;
        let log = EmbeddedLog::open(dir.path(), OPTIONS).expect("opens");
        let identity = log.identity();
        log.truncate_below(vec![(P0, Position(10)), (P1, Position(10))]).await.expect("removes");
        let first = log.first(P0).expect("exists");
        assert!(first > Position(1));
        log.close().await.expect("closes");
        let file = dir.path().join(name);
        let mut bytes = bytes_of(&file);
        bytes[17] ^= 1;
        overwrite(&file, &bytes);
        assert!(matches!(EmbeddedLog::open(dir.path(), OPTIONS), Err(LogError::Corrupt { .. })));
        assert_eq!(repair(dir.path()).expect("can be repaired").lost, []);
        let log = EmbeddedLog::open(dir.path(), OPTIONS).expect("opens again");
        assert_eq!((log.identity(), log.first(P0).expect("exists")), (identity, first));
        assert_eq!(blocks(&log, P1, log.first(P1).expect("exists").0).await.last(), Some(&payload(40)));
        log.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_log_that_ends_before_what_is_known_to_be_durable_is_refused_until_it_is_repaired() {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = folder();
    filled(dir.path(), false).await;
    let durable = vec![Position(40), Position(43)];
    let surroundings = Surroundings { durable: durable.clone(), ..Surroundings::default() };
    let refused = EmbeddedLog::open_on(dir.path(), OPTIONS, surroundings.clone()).expect_err("is refused");
    assert!(matches!(&refused, LogError::Corrupt { reason, .. } if reason.contains("block 43")), "{refused}");
    let repair = repair_on(disk, dir.path(), &durable).expect("can be repaired");
    assert_eq!(repair.lost, [Lost { partition: P1, first: Position(41), last: Position(43) }]);
    let log = EmbeddedLog::open_on(dir.path(), OPTIONS, surroundings).expect("opens");
    assert_eq!(append(&log, P1, "next").await, 44);
    assert_eq!(blocks(&log, P1, 40).await, [payload(40), vec![], vec![], vec![], b"next".to_vec()]);
}

#[tokio::test]
async fn a_read_only_folder_can_be_inspected_and_not_opened() {
    let disk = SimulatedDisk::new(1, 1 << 30);
    let surroundings = || Surroundings { disk: Arc::new(disk.clone()), ..Surroundings::default() };
    let dir = Path::new("/log");
    let log = EmbeddedLog::open_on(dir, OPTIONS, surroundings()).expect("opens");
    append(&log, P0, "kept").await;
    log.close().await.expect("closes");
    disk.set_read_only(true);
    let report = inspect_on(Arc::new(disk.clone()), dir).expect("readable");
    assert_eq!(report.partitions[0].head, Position(1));
    let refused = EmbeddedLog::open_on(dir, OPTIONS, surroundings()).expect_err("is refused");
    assert!(matches!(refused, LogError::Io { .. }), "{refused}");
    disk.set_read_only(false);
    let log = EmbeddedLog::open_on(dir, OPTIONS, surroundings()).expect("opens");
    assert_eq!(blocks(&log, PartitionId(0), 1).await, [b"kept"]);
    assert!(disk.open(Path::new("/log/log.meta"), Access::Read).is_ok());
}

#[tokio::test]
async fn a_scrub_finds_damage_and_the_log_goes_on() {
    let dir = folder();
    filled(dir.path(), true).await;
    let victim = file(dir.path(), 2, "sealed");
    let mut bytes = bytes_of(&victim);
    bytes[64 + 60] ^= 1;
    overwrite(&victim, &bytes);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let surroundings = Surroundings {
        warn: Arc::new(move |error| {
            let _ = told.send(error.to_string());
        }),
        ..Surroundings::default()
    };
    let options = LogOptions { scrub_pause: Some(std::time::Duration::ZERO), ..OPTIONS };
    let log = EmbeddedLog::open_on(dir.path(), options, surroundings).expect("opens: finished segments are not read");
    let told = heard.recv().await.expect("damage is told");
    assert!(told.contains("00000000000000000002.sealed is damaged at byte 64"), "{told}");
    assert_eq!(log.stats().damaged, 1);
    assert_eq!(append(&log, P0, "and on").await, 41);
    log.close().await.expect("nothing failed");
}
