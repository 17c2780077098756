//! An archive in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use deskpulse_core::archive::{Archive, Change, Unreadable};

/// An archive in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryArchive(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryArchive {
    pub(super) fn commit(&self, changes: Vec<Change>) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { key, value } in changes {
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(&key)),
            }
        }
    }
}

impl Archive for MemoryArchive {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .for_each(|(key, value)| see(key, value));
        Ok(())
    }
}
