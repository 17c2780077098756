//! The store's twin in memory, which tests compare with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::{Change, See, Store, StoreError, in_order};

/// A store that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Shared with the scans under way, which keep the state they began with.
    pairs: RwLock<Arc<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl MemoryStore {
    fn pairs(&self) -> Arc<BTreeMap<Vec<u8>, Vec<u8>>> {
        Arc::clone(&self.pairs.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pairs().get(key).cloned())
    }

    fn scan(&self, from_inclusive: &[u8], to_exclusive: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        if from_inclusive < to_exclusive {
            let range = (Bound::Included(from_inclusive), Bound::Excluded(to_exclusive));
            // Whether `see` ended it makes no difference here.
            let _ = self.pairs().range::<[u8], _>(range).try_for_each(|(key, value)| see(key, value));
        }
        Ok(())
    }

    fn scan_all(&self, see: &mut See<'_>) -> Result<(), StoreError> {
        let _ = self.pairs().iter().try_for_each(|(key, value)| see(key, value));
        Ok(())
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let changes = in_order(changes)?;
        let mut pairs = self.pairs.write().unwrap_or_else(PoisonError::into_inner);
        let pairs = Arc::make_mut(&mut pairs);
        for change in changes {
            match change.value {
                Some(value) => pairs.insert(change.key, value),
                None => pairs.remove(&change.key),
            };
        }
        Ok(())
    }
}
