use deskpulse_log::{BlockReader, EmbeddedLog, EventLog, LogError, LogOptions, Position};

use crate::{P0, P1, append, blocks, bytes_of, folder, open, overwrite, refused, segment, written};

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let original = folder();
    let file = segment(original.path(), 1);
    let log = open(original.path());
    append(&log, P0, "first").await;
    append(&log, P1, "second").await;
    let whole_frames = written(&file);
    append(&log, P0, "torn away").await;
    log.close().await.expect("closes");
    let mut all = bytes_of(&file);
    let capacity = all.len();
    all.truncate(written(&file));
    assert_eq!(all.len(), whole_frames + 44 + 9);
    for cut in whole_frames..all.len() {
        // What the disk did not get is missing, zero, or something else.
        for filler in [None, Some(0), Some(0xA5)] {
            let mut torn = all[..cut].to_vec();
            if let Some(filler) = filler {
                torn.resize(all.len() + 100, filler);
                torn.resize(capacity, 0);
            }
            let dir = folder();
            let file = segment(dir.path(), 1);
            overwrite(&dir.path().join("log.meta"), &bytes_of(&original.path().join("log.meta")));
            overwrite(&file, &torn);
            let torn_bytes = written(&file) - whole_frames;
            let log = open(dir.path());
            assert_eq!(log.stats().cut_bytes, torn_bytes as u64);
            assert_eq!(bytes_of(&file).len(), torn.len());
            assert_eq!(bytes_of(&file)[..whole_frames], all[..whole_frames]);
            assert_eq!(written(&file), whole_frames);
            assert_eq!(append(&log, P0, "again").await, 2);
            log.close().await.expect("closes");
            let log = open(dir.path());
            assert_eq!(blocks(&log, P0, 1).await, [b"first", b"again"]);
            assert_eq!(blocks(&log, P1, 1).await, [b"second"]);
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_an_acknowledged_frame_is_refused_and_the_file_stays_as_it_is() {
    let dir = folder();
    let file = segment(dir.path(), 1);
    let log = open(dir.path());
    append(&log, P0, "zero").await;
    let start = written(&file);
    append(&log, P0, vec![3; 100]).await;
    let end = written(&file);
    assert_eq!(end, start + 144);
    append(&log, P1, "a witness").await;
    log.close().await.expect("closes");
    let sound = bytes_of(&file);
    for at in (start..end).step_by(7) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        overwrite(&file, &damaged);
        let error = refused(dir.path());
        let told = error.to_string();
        assert!(told.contains("00000000000000000001.log"), "{told}");
        assert!(told.contains("was not changed"), "{told}");
        let expected = start as u64;
        assert!(matches!(error, LogError::Corrupt { offset, .. } if offset == expected));
        assert_eq!(bytes_of(&file), damaged);
    }
    overwrite(&file, &sound);
    assert_eq!(blocks(&open(dir.path()), P0, 1).await.len(), 2);
}

#[tokio::test]
async fn a_reader_refuses_a_block_that_was_damaged_while_the_log_is_open() {
    let dir = folder();
    let file = segment(dir.path(), 1);
    let log = open(dir.path());
    append(&log, P1, "other").await;
    append(&log, P0, "damaged").await;
    let sound = bytes_of(&file);
    // First the payload, then the header of the other partition's frame before it.
    for (at, named) in [(written(&file) - 1, 64 + 44 + 5), (64 + 8, 64)] {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        overwrite(&file, &damaged);
        let mut reader = log.read(P0, Position(1)).expect("readable");
        let error = reader.next().await.expect_err("is refused");
        assert!(matches!(error, LogError::Corrupt { offset, .. } if offset == named));
    }
}

#[tokio::test]
async fn a_group_that_was_torn_in_its_middle_is_cut_from_there() {
    let dir = folder();
    let file = segment(dir.path(), 1);
    let log = open(dir.path());
    let group = vec![(P0, b"one".to_vec()), (P0, b"two".to_vec()), (P1, vec![9])];
    log.append(group).await.expect("is appended");
    log.close().await.expect("closes");
    let mut bytes = bytes_of(&file);
    // The second frame; the third is whole but was never synced apart from it.
    bytes[64 + 44 + 3 + 44] ^= 1;
    overwrite(&file, &bytes);
    let log = open(dir.path());
    assert_eq!(blocks(&log, P0, 1).await, [b"one"]);
    assert_eq!(log.head(P1).expect("exists"), Position::START);
}

#[tokio::test]
async fn damage_in_an_earlier_segment_is_refused_even_at_its_very_end() {
    let dir = folder();
    let options = LogOptions { segment_bytes: 1, compress: false, ..LogOptions::new(2) };
    let log = EmbeddedLog::open(dir.path(), options).expect("opens");
    for payload in ["one", "two", "three"] {
        append(&log, P0, payload).await;
    }
    log.close().await.expect("closes");
    let file = segment(dir.path(), 2);
    let sound = bytes_of(&file);
    overwrite(&file, &sound[..sound.len() - 1]);
    let error = refused(dir.path());
    assert!(matches!(&error, LogError::Corrupt { file: named, offset: 64, .. } if *named == file));

    std::fs::remove_file(&file).expect("removes");
    let error = refused(dir.path()).to_string();
    assert!(error.contains("the segment is missing"), "{error}");

    // A whole segment of the same log in another one's place.
    overwrite(&file, &bytes_of(&segment(dir.path(), 1)));
    let error = refused(dir.path()).to_string();
    assert!(error.contains("the segment header is bad"), "{error}");
}

#[tokio::test]
async fn a_segment_whose_creation_was_cut_short_is_made_again() {
    let dir = folder();
    let log = open(dir.path());
    append(&log, P0, "one").await;
    log.close().await.expect("closes");
    let header = bytes_of(&segment(dir.path(), 1))[..64].to_vec();
    for left in [0, 1, 63] {
        overwrite(&segment(dir.path(), 2), &header[..left]);
        let log = open(dir.path());
        assert_eq!(blocks(&log, P0, 1).await, [b"one"]);
        log.close().await.expect("closes");
    }
    let log = open(dir.path());
    assert_eq!(append(&log, P0, "two").await, 2);
    log.close().await.expect("closes");
    assert!(!segment(dir.path(), 2).exists());
    assert_eq!(blocks(&open(dir.path()), P0, 1).await, [b"one", b"two"]);
}

#[tokio::test]
async fn a_log_whose_creation_was_cut_short_is_made_again() {
    let dir = folder();
    open(dir.path()).close().await.expect("closes");
    let meta = dir.path().join("log.meta");
    std::fs::rename(&meta, dir.path().join("log.meta.tmp")).expect("renames");
    let log = open(dir.path());
    append(&log, P0, "one").await;
    log.close().await.expect("closes");

    std::fs::remove_file(&meta).expect("removes");
    let error = refused(dir.path()).to_string();
    assert!(error.contains("it is missing, segments exist"), "{error}");
}

#[tokio::test]
async fn a_lost_first_segment_is_not_taken_for_a_new_log() {
    let dir = folder();
    open(dir.path()).close().await.expect("closes");
    overwrite(&segment(dir.path(), 1), b"");
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
    std::fs::remove_file(segment(dir.path(), 1)).expect("removes");
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
}

#[tokio::test]
async fn a_second_opening_of_the_same_folder_is_refused() {
    let dir = folder();
    let log = open(dir.path());
    assert!(matches!(refused(dir.path()), LogError::InUse { path } if path == dir.path()));
    log.close().await.expect("closes");
    drop(open(dir.path()));
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_the_stored_one() {
    let dir = folder();
    open(dir.path()).close().await.expect("closes");
    let error = EmbeddedLog::open(dir.path(), LogOptions::new(8)).expect_err("is refused");
    assert_eq!(error.to_string(), "the log has 2 partitions, not 8: start with 2 partitions");
    let none = EmbeddedLog::open(dir.path(), LogOptions::new(0));
    assert!(matches!(none, Err(LogError::InvalidOptions { .. })));
}

#[tokio::test]
async fn files_of_a_newer_version_or_of_something_else_are_refused() {
    let dir = folder();
    open(dir.path()).close().await.expect("closes");
    for file in [dir.path().join("log.meta"), segment(dir.path(), 1)] {
        let sound = bytes_of(&file);
        let mut newer = sound.clone();
        newer[8] = 3;
        overwrite(&file, &newer);
        let error = refused(dir.path());
        assert!(matches!(error, LogError::NewerVersion { found: 3, known: 2, .. }));
        overwrite(&file, &sound);
    }
    let meta = dir.path().join("log.meta");
    let mut damaged = bytes_of(&meta);
    damaged[20] ^= 1;
    overwrite(&meta, &damaged);
    assert!(matches!(refused(dir.path()), LogError::Corrupt { .. }));
    overwrite(&meta, b"a shopping list");
    assert!(matches!(refused(dir.path()), LogError::NotALog { .. }));
}
