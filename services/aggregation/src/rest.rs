//! What is kept, looked at while nobody has it open.

use std::path::Path;
use std::sync::Arc;

use deskpulse_core::archive::Unreadable;
use deskpulse_core::series::Names;
use deskpulse_disk::Disk;
use deskpulse_proto::v1::ConfigChange;
use deskpulse_store::snapshot::SnapshotInfo;
use deskpulse_store::{Report, StoreError, inspect_with};

use crate::decode;
use crate::keep::{self, StoreAtRest};
use crate::snapshots;

/// A folder that [`folder_of`](crate::folder_of) names, of this version or another.
#[derive(Debug)]
pub struct AtRest {
    /// The store, its snapshots and what lies beside them.
    pub report: Report,
    /// What the store follows; `None` when it is empty, missing or not sound.
    pub follows: Option<Result<Follows, Unreadable>>,
}

/// Which log a store follows, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follows {
    /// The log's number.
    pub log_id: u64,
    /// The position each partition was put away at, by its number.
    pub positions: Vec<u64>,
}

/// Reads all of a folder without changing a byte. Refused while the store is open.
pub fn look_at(disk: &Arc<dyn Disk>, folder: &Path) -> Result<AtRest, StoreError> {
    let mut follows = None;
    let report = inspect_with(disk, folder, &mut |store| {
        let found = keep::positions_in(&StoreAtRest(store));
        follows = found.map(|found| found.map(|(log_id, positions)| Follows { log_id, positions })).transpose();
    })?;
    Ok(AtRest { report, follows })
}

/// The position of each partition that a snapshot holds at least.
#[must_use]
pub fn positions_in(snapshot: &SnapshotInfo) -> Vec<u64> {
    snapshots::positions_of(&snapshot.header)
}

/// Whether a change of configuration has a meaning for this version: all else in the log is passed over.
#[must_use]
pub fn has_meaning(change: &ConfigChange) -> bool {
    decode::change(change.clone(), &Names::default()).is_some()
}
