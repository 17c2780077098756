//! The embedded log on real files: what comes back, what is refused, what survives.

mod appending;
mod faults;
mod golden;
mod recovery;
mod repairing;
mod replay;
mod verdicts;

use std::path::{Path, PathBuf};

use deskpulse_log::{Block, BlockReader, EmbeddedLog, EventLog, LogError, LogOptions, PartitionId, Position};
use tempfile::TempDir;

const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, LogOptions::new(2)).expect("opens")
}

fn refused(dir: &Path) -> LogError {
    EmbeddedLog::open(dir, LogOptions::new(2)).expect_err("is refused")
}

async fn append(log: &EmbeddedLog, partition: PartitionId, payload: impl Into<Vec<u8>>) -> u64 {
    let positions = log.append(vec![(partition, payload.into())]).await;
    positions.expect("is appended")[0].0
}

/// Every block from the position on, up to the head; checks that positions have no gap.
async fn blocks(log: &EmbeddedLog, partition: PartitionId, from: u64) -> Vec<Vec<u8>> {
    let head = log.head(partition).expect("exists").0;
    let mut reader = log.read(partition, Position(from)).expect("readable");
    let mut payloads = Vec::new();
    for position in from..=head {
        let Block { position: found, payload } = reader.next().await.expect("sound").expect("below the head");
        assert_eq!(found, Position(position));
        payloads.push(payload.to_vec());
    }
    payloads
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

/// How many bytes of a file that was made of zeros are written.
fn written(path: &Path) -> usize {
    let bytes = bytes_of(path);
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("writable");
}
