//! The store on redb: one file, one table of keys and values.
//!
//! **Commits** are redb's with quick repair: the pages are written and synced, then the byte that says which of two roots counts,
//! synced too; with the data goes the map of free pages. So a start after a crash reads this map and goes on, where redb's
//! default, one sync a commit, makes it read the whole file thrice to find out what the last commit was.
//!
//! **Damage.** redb does not check a page when it reads it, and may panic over one that makes no sense. So every value carries a
//! checksum of itself and its key, panics from within redb count as damage, and whoever meets damage leaves a file behind,
//! [`SUSPECT`], for the next start to check the whole store.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use deskpulse_disk::{Access, Disk, DiskFile};
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, TableError};

use crate::backend::{OnDisk, Overlay};
use crate::{Change, See, Store, StoreError, in_order};

/// Its presence says that damage was met.
pub(crate) const SUSPECT: &str = "store.suspect";

/// The version of what this program writes into redb's tables.
const FORMAT_VERSION: u32 = 1;
/// The version of redb's own format.
const REDB_VERSION: u8 = 3;
const REDB_MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
const REDB_HEADER: usize = 320;
/// Where the two roots' records begin in redb's header; the first byte of each is the version.
const REDB_ROOTS: [usize; 2] = [64, 192];

const CHECKSUM: usize = 4;

/// Keys and, each followed by its checksum, values.
const PAIRS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pairs");
/// What the file is.
const ABOUT: TableDefinition<'static, &str, u32> = TableDefinition::new("about");
const ABOUT_FORMAT: &str = "format";

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
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: PathBuf,
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
        let database = guarded(&path, || {
            let database = redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(OnDisk(file))?;
            let transaction = begin(&database)?;
            transaction.open_table(PAIRS)?;
            transaction.open_table(ABOUT)?.insert(ABOUT_FORMAT, FORMAT_VERSION)?;
            transaction.commit()?;
            Ok(database)
        })?;
        Self::new(disk, folder, path, database)
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
        let open = |trust| {
            let file = disk.open(&path, Access::Write).map_err(|error| StoreError::disk(&path, error))?;
            let database = open_database(&path, &file, OnDisk(Arc::clone(&file)), cache_bytes, trust)?;
            let store = Self::new(disk, folder, path.clone(), database)?;
            if trust == Trust::Nothing {
                store.scan_all(&mut |_, _| ControlFlow::Continue(()))?;
            }
            Ok(store)
        };
        match open(trust) {
            // Damage may look like something strange, not the other way round.
            Err(StoreError::NotOurs { .. }) if trust == Trust::Ours => open(Trust::Nothing),
            other => other,
        }
    }

    fn new(disk: &Arc<dyn Disk>, folder: &Path, file: PathBuf, database: Database) -> Result<Self, StoreError> {
        let view = guarded(&file, || newest(&database))?;
        Ok(Self {
            view: RwLock::new(Some(view)),
            database: Some(database),
            failed: Mutex::new(false),
            disk: Arc::clone(disk),
            folder: folder.to_path_buf(),
            file,
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
        guarded(&self.file, work).inspect_err(|error| self.suspect(error))
    }

    /// The value of what stands under a key, when it is what was put there.
    fn value<'a>(&self, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
        value(&self.file, key, stored).inspect_err(|error| self.suspect(error))
    }

    /// Has the next start check the whole store.
    fn suspect(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged { .. }) {
            let path = self.folder.join(SUSPECT);
            // Without it, the next start meets the damage where this one did. The damage itself is what the caller hears of.
            let _ = self.disk.open(&path, Access::Create).and_then(|file| file.sync());
            let _ = self.disk.sync_folder(&self.folder);
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
        while let Some((key, stored)) = self.guarded(|| Ok(pairs.next().transpose()?))? {
            let (key, stored): (AccessGuard<'_, &[u8]>, AccessGuard<'_, &[u8]>) = (key, stored);
            if see(key.value(), self.value(key.value(), stored.value())?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.view();
        let stored = self.guarded(|| Ok(view.get(key)?))?;
        stored.map(|stored| self.value(key, stored.value()).map(<[u8]>::to_vec)).transpose()
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
            Some(mut value) => {
                value.extend_from_slice(&checksum(&key, &value).to_le_bytes());
                pairs.insert(key.as_slice(), value.as_slice())?;
            }
            None => {
                pairs.remove(key.as_slice())?;
            }
        }
    }
    drop(pairs);
    Ok(transaction.commit()?)
}

fn newest(database: &Database) -> Result<Arc<Pairs>, redb::Error> {
    Ok(Arc::new(database.begin_read()?.open_table(PAIRS)?))
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

fn value<'a>(file: &Path, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match stored.split_last_chunk::<CHECKSUM>() {
        Some((value, sum)) if u32::from_le_bytes(*sum) == checksum(key, value) => Ok(value),
        _ => {
            Err(StoreError::damaged_somewhere(file, format!("the value of key {} is not what was put there", Hex(key))))
        }
    }
}

/// The start of a key, for people.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(32).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Opens redb's database in a file that exists and makes sure that it is a store of this version.
fn open_database(
    path: &Path,
    file: &Arc<dyn DiskFile>,
    backend: impl StorageBackend,
    cache_bytes: usize,
    trust: Trust,
) -> Result<Database, StoreError> {
    check_header(path, file)?;
    let database = guarded(path, || {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(trust == Trust::Nothing);
        Ok(builder.create_with_backend(backend)?)
    })?;
    let version = guarded(path, || {
        let about = match database.begin_read()?.open_table(ABOUT) {
            Ok(about) => about,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(about.get(ABOUT_FORMAT)?.map(|version| version.value()))
    })?;
    match version {
        Some(FORMAT_VERSION) => Ok(database),
        Some(version) if version > FORMAT_VERSION => {
            Err(StoreError::Newer { file: path.to_path_buf(), version, known: FORMAT_VERSION })
        }
        Some(version) => Err(not_ours(path, format!("it has format version {version}"))),
        None => Err(not_ours(path, "it is a database of another program")),
    }
}

fn not_ours(file: &Path, what: impl Into<String>) -> StoreError {
    StoreError::NotOurs { file: file.to_path_buf(), what: what.into() }
}

/// Tells what redb reports as one: files of others, of later versions, and damaged ones.
fn check_header(path: &Path, file: &Arc<dyn DiskFile>) -> Result<(), StoreError> {
    let mut header = [0; REDB_HEADER];
    file.read_exact_at(&mut header, 0).map_err(|error| StoreError::disk(path, error))?;
    let right = header.iter().zip(&REDB_MAGIC).filter(|(byte, expected)| byte == expected).count();
    if right < REDB_MAGIC.len() {
        return Err(if right > REDB_MAGIC.len() / 2 || header == [0; REDB_HEADER] {
            StoreError::damaged(path, 0, "its first bytes are not those of a store")
        } else {
            not_ours(path, "its first bytes are those of something else")
        });
    }
    let [one, other] = REDB_ROOTS.map(|at| header[at]);
    if one != other {
        return Err(StoreError::damaged(path, REDB_ROOTS[0] as u64, "its two roots have different versions"));
    }
    if one > REDB_VERSION {
        let (version, known) = (u32::from(one), u32::from(REDB_VERSION));
        return Err(StoreError::Newer { file: path.to_path_buf(), version, known });
    }
    Ok(())
}

/// What a check of all of a store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) keys: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
}

/// Reads and checks all of a store without changing its file.
pub(crate) fn check(path: &Path, file: &Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Counted, StoreError> {
    let overlay = Overlay::new(Arc::clone(file)).map_err(|error| StoreError::disk(path, error))?;
    let mut database = open_database(path, file, overlay, cache_bytes, Trust::Ours)?;
    if !guarded(path, || Ok(database.check_integrity()?))? {
        return Err(StoreError::damaged_somewhere(path, "its map of free pages is wrong"));
    }
    let mut counted = Counted { keys: 0, key_bytes: 0, value_bytes: 0 };
    guarded(path, || {
        let pairs = database.begin_read()?.open_table(PAIRS)?;
        for pair in pairs.range::<&[u8]>(..)? {
            let (key, stored) = pair?;
            match value(path, key.value(), stored.value()) {
                Ok(value) => {
                    counted.keys += 1;
                    counted.key_bytes += key.value().len() as u64;
                    counted.value_bytes += value.len() as u64;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(counted))
    })?
}

/// Does something with redb; a panic in it is damage it did not expect.
fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(meaning(file, error)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
            Err(StoreError::damaged_somewhere(file, format!("its pages contradict each other ({said})")))
        }
    }
}

fn meaning(file: &Path, error: redb::Error) -> StoreError {
    use redb::Error;
    match error {
        Error::Io(source) => StoreError::disk(file, source),
        Error::Corrupted(what) => StoreError::damaged_somewhere(file, what),
        // A panic of another thread, which met damage.
        Error::LockPoisoned(_) | Error::TransactionPoisoned => {
            StoreError::damaged_somewhere(file, "its pages contradicted each other before")
        }
        Error::PreviousIo => StoreError::Failed { file: file.to_path_buf() },
        Error::DatabaseAlreadyOpen => StoreError::InUse { file: file.to_path_buf() },
        error @ (Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TableIsNotMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_)) => not_ours(file, error.to_string()),
        // redb may add to its list. None of the rest has to do with what the file holds.
        other => StoreError::Disk { file: file.to_path_buf(), source: std::io::Error::other(other) },
    }
}
