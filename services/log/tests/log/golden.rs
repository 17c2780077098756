//! Folders written by earlier versions, which open for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use deskpulse_log::{EmbeddedLog, EventLog, LogOptions, PartitionId, inspect};
use tempfile::TempDir;

use crate::{append, blocks, bytes_of, folder, overwrite};

const OPTIONS: LogOptions = LogOptions { segment_bytes: 1_500, ..LogOptions::new(3) };

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn copy_of(version: &str) -> TempDir {
    let dir = folder();
    for entry in golden(version).read_dir().expect("there is such a version") {
        let entry = entry.expect("readable");
        overwrite(&dir.path().join(entry.file_name()), &bytes_of(&entry.path()));
    }
    dir
}

/// What every golden folder holds, or held before its first segments were removed: 40 appends to two of three partitions.
fn expected() -> [Vec<Vec<u8>>; 3] {
    let mut expected = [const { Vec::new() }; 3];
    for number in 0..40 {
        for (partition, blocks) in expected.iter_mut().enumerate() {
            if (number + partition) % 3 != 0 {
                let text = format!("block {number} of partition {partition} ");
                blocks.push(text.repeat(1 + number % 4).into_bytes());
            }
        }
    }
    expected
}

#[tokio::test]
async fn folders_of_every_version_open_and_go_on() {
    for (version, removes) in [("version-1", false), ("version-2", true)] {
        let dir = copy_of(version);
        assert_eq!(inspect(dir.path()).expect("readable").damage, []);
        let mut expected = expected();
        for round in 0..3 {
            let log = EmbeddedLog::open(dir.path(), OPTIONS).expect("opens");
            assert_eq!(log.stats().cut_bytes, 0);
            for (partition, expected) in (0..).map(PartitionId).zip(&mut expected) {
                let first = log.first(partition).expect("exists").0;
                assert_eq!(first > 1, removes, "{version}");
                let left = &expected[usize::try_from(first).expect("is small") - 1..];
                assert_eq!(blocks(&log, partition, first).await, left, "{version}, round {round}");
                let next = format!("new in round {round}").into_bytes();
                assert_eq!(append(&log, partition, next.clone()).await, expected.len() as u64 + 1);
                expected.push(next);
            }
            log.close().await.expect("closes");
        }
        assert_eq!(inspect(dir.path()).expect("readable").damage, []);
    }
}

#[test]
fn the_folder_of_version_2_has_every_kind_of_file() {
    let files = golden("version-2").read_dir().expect("it is there");
    let endings: BTreeSet<_> = files
        .map(|entry| entry.expect("readable").path().extension().expect("every file has one").to_owned())
        .collect();
    assert_eq!(endings.into_iter().collect::<Vec<_>>(), ["first", "index", "log", "meta", "sealed"]);
}
