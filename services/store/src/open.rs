//! Opening the store of a folder, and building it again when it is damaged.

use std::io;
use std::path::Path;
use std::sync::Arc;

use deskpulse_disk::Disk;

use crate::redb_store::{SUSPECT, Trust};
use crate::snapshot::{self, SnapshotInfo};
use crate::{RedbStore, StoreError};

pub(crate) const STORE: &str = "store.redb";
/// A store that is not whole yet. Nothing in it was ever promised to anybody.
pub(crate) const UNFINISHED: &str = "store.unfinished";
pub(crate) const LOCK: &str = "store.lock";
pub(crate) const SET_ASIDE: &str = "store.damaged-";
/// How many damaged stores are kept before the next is refused.
pub const SET_ASIDE_MAX: usize = 4;

/// How the store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// How many bytes of pages may be kept in memory. Up to half of it holds what a commit is about to write.
    pub cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// An open store, and how it came to be.
#[derive(Debug)]
pub struct Opened {
    /// The store; nobody else has it open.
    pub store: RedbStore,
    /// What was found and done.
    pub what_happened: WhatHappened,
}

/// What [`open_or_rebuild`] found and did.
#[derive(Debug)]
pub enum WhatHappened {
    /// The store was there. Every commit that returned is in it.
    Opened,
    /// There was nothing, and there is an empty store now.
    Created,
    /// The store was missing or damaged, and was built again: commits after the snapshot are not in it.
    Rebuilt {
        /// What was wrong with the store; `None` when there was none.
        damage: Option<StoreError>,
        /// The name under which the damaged store now lies in the folder.
        set_aside: Option<String>,
        /// The snapshot it was built from; `None` when there is no sound one, and the store is empty.
        from: Option<SnapshotInfo>,
        /// Why newer snapshots were not used, newest first.
        refused: Vec<StoreError>,
    },
}

/// Opens the store of a folder, makes one where there is none, and builds it again from the newest sound snapshot where it is
/// damaged; the damaged one is renamed, never removed.
///
/// A store that is in use, of a newer version or of another program is refused, and so is one the disk does not let us read: those
/// are for people to decide. A start interrupted at any moment is done again by the next.
pub fn open_or_rebuild(disk: &Arc<dyn Disk>, folder: &Path, options: StoreOptions) -> Result<Opened, StoreError> {
    let in_folder = |error| StoreError::disk(folder, error);
    disk.create_folder(folder).map_err(in_folder)?;
    let lock = disk.try_lock(&folder.join(LOCK)).map_err(|error| StoreError::disk(&folder.join(LOCK), error))?;
    let lock = lock.ok_or_else(|| StoreError::InUse { file: folder.join(LOCK) })?;
    let names = disk.list(folder).map_err(in_folder)?;
    let there = |name: &str| names.iter().any(|other| other == name);

    let mut damage = None;
    let mut set_aside = None;
    if there(STORE) {
        let trust = if there(SUSPECT) { Trust::Nothing } else { Trust::Ours };
        match RedbStore::open(disk, folder, STORE, options.cache_bytes, trust) {
            Ok(store) => {
                forget(disk, folder, SUSPECT)?;
                return Ok(Opened { store: store.hold(lock), what_happened: WhatHappened::Opened });
            }
            Err(error @ StoreError::Damaged { .. }) => {
                set_aside = Some(put_aside(disk, folder, &names)?);
                damage = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    forget(disk, folder, SUSPECT)?;
    forget(disk, folder, UNFINISHED)?;
    let newest = snapshot::newest_sound(disk.as_ref(), folder)?;
    let store = RedbStore::create(disk, folder, UNFINISHED, options.cache_bytes)?;
    if let Some(from) = &newest.sound {
        snapshot::load_into(disk.as_ref(), folder, &from.file, &store)?;
    }
    drop(store);
    let path = folder.join(STORE);
    disk.rename(&folder.join(UNFINISHED), &path).map_err(|error| StoreError::disk(&path, error))?;
    disk.sync_folder(folder).map_err(in_folder)?;
    let store = RedbStore::open(disk, folder, STORE, options.cache_bytes, Trust::Ours)?.hold(lock);

    let first = !names.iter().any(|name| name.starts_with(SET_ASIDE)) && damage.is_none();
    let what_happened = if first && newest.sound.is_none() && newest.refused.is_empty() {
        WhatHappened::Created
    } else {
        WhatHappened::Rebuilt { damage, set_aside, from: newest.sound, refused: newest.refused }
    };
    Ok(Opened { store, what_happened })
}

/// Gives the damaged store a name of its own, and says which.
fn put_aside(disk: &Arc<dyn Disk>, folder: &Path, names: &[String]) -> Result<String, StoreError> {
    let taken = names.iter().filter_map(|name| name.strip_prefix(SET_ASIDE));
    let kept = taken.clone().count();
    if kept >= SET_ASIDE_MAX {
        return Err(StoreError::TooManySetAside { folder: folder.to_path_buf(), kept });
    }
    let highest = taken.filter_map(|number| number.parse::<u32>().ok()).max().unwrap_or(0);
    let name = format!("{SET_ASIDE}{}", highest.saturating_add(1));
    disk.rename(&folder.join(STORE), &folder.join(&name))
        .map_err(|error| StoreError::disk(&folder.join(STORE), error))?;
    disk.sync_folder(folder).map_err(|error| StoreError::disk(folder, error))?;
    Ok(name)
}

/// Removes a file that need not be there.
fn forget(disk: &Arc<dyn Disk>, folder: &Path, name: &str) -> Result<(), StoreError> {
    let path = folder.join(name);
    match disk.remove(&path) {
        Ok(()) => disk.sync_folder(folder).map_err(|error| StoreError::disk(folder, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::disk(&path, error)),
    }
}
