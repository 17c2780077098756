//! A look at a folder that changes nothing in it.

use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::{Access, Disk};

use crate::open::{LOCK, SET_ASIDE, STORE, UNFINISHED};
use crate::redb_store;
use crate::snapshot::{self, SnapshotFile, SnapshotInfo};
use crate::{Store, StoreError, StoreOptions};

/// What a folder holds.
#[derive(Debug)]
pub struct Report {
    /// The store.
    pub store: StoreState,
    /// Every snapshot, newest first, and what it holds or why it is not sound.
    pub snapshots: Vec<(SnapshotFile, Result<SnapshotInfo, StoreError>)>,
    /// Damaged stores set aside: their names and bytes.
    pub set_aside: Vec<(String, u64)>,
    /// Whether a start was interrupted while it built a store; the next one does it again.
    pub unfinished: bool,
}

/// The state of the store.
#[derive(Debug)]
pub enum StoreState {
    /// There is none.
    Missing,
    /// Every page and every value was read and is as it was written.
    Sound(Figures),
    /// It cannot be used, or is not what was written.
    Unsound(StoreError),
}

/// How large a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// The file's length, free pages included.
    pub file_bytes: u64,
    /// How many keys.
    pub keys: u64,
    /// The keys' bytes.
    pub key_bytes: u64,
    /// The values' bytes.
    pub value_bytes: u64,
}

/// Reads all of a folder's store and snapshots, and says what state they are in. Changes no byte.
///
/// A store in use is not read: it would change meanwhile. While this runs, nobody else can open it, unless the folder does not
/// let us lock it.
pub fn inspect(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Report, StoreError> {
    inspect_with(disk, folder, &mut |_| {})
}

/// Does as [`inspect`] does, and shows the store when it is sound, to be read: what is committed to it is forgotten.
pub fn inspect_with(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    look: &mut dyn FnMut(&dyn Store),
) -> Result<Report, StoreError> {
    let names = disk.list(folder).map_err(|error| StoreError::disk(folder, error))?;
    let there = |name: &str| names.iter().any(|other| other == name);
    let lock_path = folder.join(LOCK);
    // Whoever opens the store makes this file first.
    let held = if there(LOCK) {
        match disk.try_lock(&lock_path).map_err(|error| StoreError::disk(&lock_path, error)) {
            Ok(free) => Some(free.ok_or(StoreError::InUse { file: lock_path })?),
            Err(StoreError::ReadOnly { .. }) => None,
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    let store = if there(STORE) { look_at_store(disk, folder, look) } else { StoreState::Missing };
    drop(held);
    let snapshots = snapshot::list(disk.as_ref(), folder)?.into_iter().map(|file| {
        let found = snapshot::verify(disk.as_ref(), folder, &file);
        (file, found)
    });
    let set_aside = names.iter().filter(|name| name.starts_with(SET_ASIDE)).map(|name| {
        let path = folder.join(name);
        let bytes = disk.open(&path, Access::Read).and_then(|file| file.len());
        bytes.map(|bytes| (name.clone(), bytes)).map_err(|error| StoreError::disk(&path, error))
    });
    Ok(Report {
        store,
        snapshots: snapshots.collect(),
        set_aside: set_aside.collect::<Result<_, _>>()?,
        unfinished: there(UNFINISHED),
    })
}

fn look_at_store(disk: &Arc<dyn Disk>, folder: &Path, look: &mut dyn FnMut(&dyn Store)) -> StoreState {
    let path = &folder.join(STORE);
    let at = |error| StoreError::disk(path, error);
    let figures = disk.open(path, Access::Read).map_err(at).and_then(|file| {
        let file_bytes = file.len().map_err(at)?;
        let counted = redb_store::check(folder, path, file, StoreOptions::default().cache_bytes, look)?;
        let redb_store::Counted { keys, key_bytes, value_bytes } = counted;
        Ok(Figures { file_bytes, keys, key_bytes, value_bytes })
    });
    figures.map_or_else(StoreState::Unsound, StoreState::Sound)
}
