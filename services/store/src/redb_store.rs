//! The store on redb: one file, one table of keys and values.
//!
//! **Commits** are redb's with quick repair: the pages are written and synced, then the byte that says which of two roots counts,
//! synced too; with the data goes the map of free pages. So a start after a crash reads this map and goes on, where redb's
//! default, one sync a commit, makes it read the whole file thrice to find out what the last commit was.
//!
//! **Damage.** Every page is checked when it is read (`backend.rs`). Panics from within redb count as damage all the same, and
//! whoever meets damage leaves a file behind, [`SUSPECT`], for the next start to check the whole store.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use deskpulse_disk::{Access, Disk, DiskFile, Gradual};
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::backend::{CheckedFile, FirstDamage, Overlay};
use crate::{Change, See, Store, StoreError, in_order};

/// Its presence says that damage was met.
pub(crate) const SUSPECT: &str = "store.suspect";

const PAIRS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pairs");

type Pairs = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// How thoroughly a file is looked at before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As a file that a process of ours wrote, closed or not.
    Ours,
    /// All of it is read and checked.
    Nothing,
}

/// The embedded store. [`open_or_rebuild`](crate::open_or_rebuild) opens one.
///
/// Its memory is the cache's bytes, what a commit hands over, and some 100 bytes a page changed by a commit.
pub struct RedbStore {
    /// The newest state, replaced by every commit. Goes before the database, which would otherwise close under it.
    view: RwLock<Option<Arc<Pairs>>>,
    database: Option<Database>,
    /// Whether a commit failed. Held while one is under way.
    failed: Mutex<bool>,
    /// `None` when it is only looked at, and nothing is to be left behind.
    disk: Option<Arc<dyn Disk>>,
    folder: PathBuf,
    file: PathBuf,
    damage: FirstDamage,
    /// Kept until the database is closed.
    lock: Option<Box<dyn Send + Sync>>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Makes a store in a file that must not exist yet. A crash may leave half of one: give it its name afterwards.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: &str,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let path = folder.join(name);
        let file = disk.open(&path, Access::Create).map_err(|error| StoreError::disk(&path, error))?;
        let file = CheckedFile::create(Arc::new(Gradual::new(file)));
        let damage = file.damage();
        let database = guarded(&path, &damage, || {
            let database = redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(file)?;
            let transaction = begin(&database)?;
            transaction.open_table(PAIRS)?;
            transaction.commit()?;
            Ok(database)
        })?;
        Self::new(Some(disk), folder, path, database, damage)
    }

    /// Opens the store in a file.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: &str,
        cache_bytes: usize,
        trust: Trust,
    ) -> Result<Self, StoreError> {
        let path = folder.join(name);
        let file = disk.open(&path, Access::Write).map_err(|error| StoreError::disk(&path, error))?;
        let (database, damage) = open_database(&path, Arc::new(Gradual::new(file)), cache_bytes, trust)?;
        Self::new(Some(disk), folder, path, database, damage)
    }

    fn new(
        disk: Option<&Arc<dyn Disk>>,
        folder: &Path,
        file: PathBuf,
        database: Database,
        damage: FirstDamage,
    ) -> Result<Self, StoreError> {
        let view = guarded(&file, &damage, || newest(&database))?;
        Ok(Self {
            view: RwLock::new(Some(view)),
            database: Some(database),
            failed: Mutex::new(false),
            disk: disk.map(Arc::clone),
            folder: folder.to_path_buf(),
            file,
            damage,
            lock: None,
        })
    }

    /// Keeps what shuts others out as long as the store is open.
    pub(crate) fn hold(mut self, lock: Box<dyn Send + Sync>) -> Self {
        self.lock = Some(lock);
        self
    }

    fn view(&self) -> Arc<Pairs> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(view.as_ref().expect("taken when the store is dropped only"))
    }

    /// Does something with redb, and remembers the damage it meets.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        guarded(&self.file, &self.damage, work).inspect_err(|error| self.suspect(error))
    }

    /// Has the next start check the whole store.
    fn suspect(&self, error: &StoreError) {
        if let (StoreError::Damaged { .. }, Some(disk)) = (error, &self.disk) {
            let path = self.folder.join(SUSPECT);
            // Without it, the next start meets the damage where this one did. The damage itself is what the caller hears of.
            let _ = disk.open(&path, Access::Create).and_then(|file| file.sync());
            let _ = disk.sync_folder(&self.folder);
        }
    }

    fn see_all(
        &self,
        range: impl FnOnce(&Pairs) -> Result<redb::Range<'_, &'static [u8], &'static [u8]>, redb::StorageError>,
        see: &mut See<'_>,
    ) -> Result<(), StoreError> {
        let view = self.view();
        let mut pairs = self.guarded(|| Ok(range(&view)?))?;
        // As many rounds as there are keys.
        while let Some((key, value)) = self.guarded(|| Ok(pairs.next().transpose()?))? {
            let (key, value): (AccessGuard<'_, &[u8]>, AccessGuard<'_, &[u8]>) = (key, value);
            if see(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.view();
        self.guarded(|| Ok(view.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(&self, from_inclusive: &[u8], to_exclusive: &[u8], see: &mut See<'_>) -> Result<(), StoreError> {
        if from_inclusive >= to_exclusive {
            return Ok(());
        }
        self.see_all(|pairs| pairs.range(from_inclusive..to_exclusive), see)
    }

    fn scan_all(&self, see: &mut See<'_>) -> Result<(), StoreError> {
        self.see_all(|pairs| pairs.range::<&[u8]>(..), see)
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let changes = in_order(changes)?;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(StoreError::Failed { file: self.file.clone() });
        }
        if changes.is_empty() {
            return Ok(());
        }
        *failed = true;
        let database = self.database.as_ref().expect("taken when the store is dropped only");
        let view = self.guarded(|| {
            apply(database, changes)?;
            newest(database)
        })?;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(view);
        *failed = false;
        Ok(())
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        *self.view.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let database = self.database.take();
        // Whatever cannot be put in order now is put in order by the next start.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(database)));
        drop(self.lock.take());
    }
}

/// A transaction whose commit is durable when it returns, and after which a crash costs no scan.
fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(redb::Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn apply(database: &Database, changes: Vec<Change>) -> Result<(), redb::Error> {
    let transaction = begin(database)?;
    let mut pairs = transaction.open_table(PAIRS)?;
    for Change { key, value } in changes {
        match value {
            Some(value) => pairs.insert(key.as_slice(), value.as_slice())?,
            None => pairs.remove(key.as_slice())?,
        };
    }
    drop(pairs);
    Ok(transaction.commit()?)
}

fn newest(database: &Database) -> Result<Arc<Pairs>, redb::Error> {
    Ok(Arc::new(database.begin_read()?.open_table(PAIRS)?))
}

/// Opens redb's database in a file that exists and makes sure that it is a store of this version.
fn open_database(
    path: &Path,
    file: Arc<dyn DiskFile>,
    cache_bytes: usize,
    trust: Trust,
) -> Result<(Database, FirstDamage), StoreError> {
    let file = CheckedFile::open(path, file)?;
    file.check_first_page(path)?;
    let damage = file.damage();
    let database = guarded(path, &damage, || {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(trust == Trust::Nothing);
        Ok(builder.create_with_backend(file)?)
    })?;
    Ok((database, damage))
}

/// What a check of all of a store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) keys: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
}

/// Reads and checks all of a store without changing its file, then lets `look` read in it.
pub(crate) fn check(
    folder: &Path,
    path: &Path,
    file: Arc<dyn DiskFile>,
    cache_bytes: usize,
    look: &mut dyn FnMut(&dyn Store),
) -> Result<Counted, StoreError> {
    let overlay = Overlay::new(file).map_err(|error| StoreError::disk(path, error))?;
    let (mut database, damage) = open_database(path, Arc::new(overlay), cache_bytes, Trust::Ours)?;
    if !guarded(path, &damage, || Ok(database.check_integrity()?))? {
        return Err(StoreError::damaged_somewhere(path, "its map of free pages is wrong"));
    }
    let counted = guarded(path, &damage, || {
        let mut counted = Counted { keys: 0, key_bytes: 0, value_bytes: 0 };
        for pair in database.begin_read()?.open_table(PAIRS)?.range::<&[u8]>(..)? {
            let (key, value) = pair?;
            counted.keys += 1;
            counted.key_bytes += key.value().len() as u64;
            counted.value_bytes += value.value().len() as u64;
        }
        Ok(counted)
    })?;
    look(&RedbStore::new(None, folder, path.to_path_buf(), database, damage)?);
    Ok(counted)
}

/// Does something with redb; a panic in it is damage it did not expect.
fn guarded<T>(
    file: &Path,
    damage: &FirstDamage,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => meaning(file, error),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
            StoreError::damaged_somewhere(file, format!("its pages contradict each other ({said})"))
        }
    };
    // redb reports the first damaged page as a failed disk, and refuses everything after it.
    Err(damage.get().map_or(error, |at| StoreError::damaged(file, *at, "a page is not what was written")))
}

fn meaning(file: &Path, error: redb::Error) -> StoreError {
    use redb::Error;
    match error {
        Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::damaged_somewhere(file, source.to_string())
        }
        Error::Io(source) => StoreError::disk(file, source),
        Error::Corrupted(what) => StoreError::damaged_somewhere(file, what),
        // A panic of another thread, which met damage.
        Error::LockPoisoned(_) | Error::TransactionPoisoned => {
            StoreError::damaged_somewhere(file, "its pages contradicted each other before")
        }
        Error::PreviousIo => StoreError::Failed { file: file.to_path_buf() },
        error @ (Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TableIsNotMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_)) => StoreError::damaged_somewhere(file, error.to_string()),
        // redb may add to its list. None of the rest has to do with what the file holds.
        other => StoreError::Disk { file: file.to_path_buf(), source: std::io::Error::other(other) },
    }
}
