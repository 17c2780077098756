//! What aggregation keeps between starts: an embedded key-value store and full snapshots of it.
//!
//! [`open_or_rebuild`] opens the store of a folder; [`snapshot`] writes all of it into one file of our own format, from which a
//! store that does not open any more is built again; [`inspect`] says what state both are in without changing a byte.
//!
//! **What survives.** A commit that returned is on the disk, whole: every later [`Store::get`] and [`Store::scan`] shows it, after
//! any end of the process or of the machine. A snapshot whose [`snapshot::write`] returned likewise.
//!
//! **What does not.** A commit that has not returned, or returned an error, is wholly there after the next start or not at all.
//! The store is never the only copy: what it lost since the newest snapshot has to come from the log.

mod backend;
mod error;
mod inspect;
#[cfg(feature = "twin")]
mod memory;
mod open;
mod redb_store;
pub mod snapshot;

use std::fmt;
use std::ops::ControlFlow;

pub use error::StoreError;
pub use inspect::{Figures, Report, StoreState, inspect, inspect_with};
#[cfg(feature = "twin")]
pub use memory::MemoryStore;
pub use open::{Opened, SET_ASIDE_MAX, StoreOptions, WhatHappened, open_or_rebuild};
pub use redb_store::RedbStore;

/// How long a key may be, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// How long a value may be, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// One change of a commit: a value put under a key, or the key removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// At most [`KEY_BYTES_MAX`]; may be empty.
    pub key: Vec<u8>,
    /// What stands under the key from now on, at most [`VALUE_BYTES_MAX`]; `None` removes it, and a key that is not there is fine.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Whether it keeps to the bounds.
    fn check(&self) -> Result<(), StoreError> {
        let value_bytes = self.value.as_ref().map_or(0, Vec::len);
        if self.key.len() > KEY_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a key", bytes: self.key.len(), limit: KEY_BYTES_MAX });
        }
        if value_bytes > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "a value", bytes: value_bytes, limit: VALUE_BYTES_MAX });
        }
        Ok(())
    }
}

/// What [`Store::scan`] calls for a key and its value.
pub type See<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Keys and values, both bytes, in the order of the keys.
///
/// Reads see whole commits only and do not wait for one that is under way. After an error other than [`StoreError::TooLarge`]
/// nobody knows what was written: the process ends, and the next start finds out.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What stands under a key; `None` when nothing does.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `see` for every key from one to before another in order, until it says `Break`. All is of one state of the store,
    /// the newest when the call began; nothing is seen when the second key is not above the first.
    fn scan(&self, from_inclusive: &[u8], to_exclusive: &[u8], see: &mut See<'_>) -> Result<(), StoreError>;

    /// Like [`scan`](Self::scan), for every key there is.
    fn scan_all(&self, see: &mut See<'_>) -> Result<(), StoreError>;

    /// Makes all changes durable, at once and together, or none. Where several name one key, the last counts. Commits of several
    /// threads are done one after the other. No changes, no work.
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;
}

/// Sorted by key, the last change of each key alone: pages are then touched once, in order.
fn in_order(mut changes: Vec<Change>) -> Result<Vec<Change>, StoreError> {
    changes.iter().try_for_each(Change::check)?;
    changes.reverse();
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    changes.dedup_by(|later, kept| later.key == kept.key);
    Ok(changes)
}
