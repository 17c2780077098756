//! Which snapshots of the store there are, what of the log they hold, and when the last was begun.

use deskpulse_core::archive::{Archive, Change, Unreadable, beside};
use deskpulse_core::time::Timestamp;
use deskpulse_store::{StoreError, WhatHappened, snapshot};
use tracing::warn;

use crate::keep::{Beside, KeepOptions};

/// The positions of the two newest snapshots, by partition, and those of the store itself.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pub(crate) store: Vec<u64>,
    pub(crate) newest: Option<Vec<u64>>,
    pub(crate) older: Option<Vec<u64>>,
}

impl Snapshots {
    /// What the two newest files say. The next snapshot replaces the older one, whatever is in it: so one that is not sound counts, as
    /// one that holds nothing.
    pub(crate) fn found(options: &KeepOptions, what_happened: &WhatHappened) -> Result<Self, StoreError> {
        let disk = &*options.disk;
        let files = snapshot::list(disk, &options.folder)?;
        let is_refused = |number: u64| match what_happened {
            WhatHappened::Opened | WhatHappened::Created => false,
            WhatHappened::Rebuilt { from, .. } => from.as_ref().is_none_or(|from| number > from.file.number),
        };
        let positions = |index: usize| {
            let file = files.get(index).filter(|file| !is_refused(file.number))?;
            let header = snapshot::header(disk, &options.folder, file);
            header.inspect_err(|error| warn!(%error, "a snapshot does not count")).ok()
        };
        let [newest, older] = [0, 1].map(|index| positions(index).map(|header| positions_of(&header)));
        Ok(Self { store: Vec::new(), newest, older })
    }

    /// The position of a partition that both snapshots hold; 0 when there are no two.
    pub(crate) fn held_twice(&self, partition: usize) -> u64 {
        let both = self.newest.as_ref().zip(self.older.as_ref());
        let of = |positions: &Vec<u64>| positions.get(partition).copied().unwrap_or(0);
        both.map_or(0, |(newest, older)| of(newest).min(of(older)))
    }

    /// Whether the store holds something of the log that the snapshots do not both hold.
    pub(crate) fn are_behind(&self) -> bool {
        self.store.iter().enumerate().any(|(partition, position)| self.held_twice(partition) < *position)
    }
}

/// The positions a snapshot's header states, by partition.
pub(crate) fn positions_of(header: &[u8]) -> Vec<u64> {
    header.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

/// When the last snapshot was begun; `None` for a store that does not say so yet.
pub(crate) fn begun(archive: &dyn Archive) -> Result<Option<Timestamp>, Unreadable> {
    let damaged = |_| Unreadable("when the last snapshot was begun".to_owned());
    let millis = archive.get(&key())?.map(|bytes| bytes.try_into().map(i64::from_be_bytes).map_err(damaged));
    Ok(millis.transpose()?.map(Timestamp::clamped))
}

/// What says so from now on.
pub(crate) fn begun_change(begun: Timestamp) -> Change {
    Change { key: key(), value: Some(begun.millis().to_be_bytes().to_vec()) }
}

fn key() -> Vec<u8> {
    beside(0, &[Beside::Snapshot as u8])
}
