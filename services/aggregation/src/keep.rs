//! Keeping what partitions have come to: checkpoints into the store, snapshots of the store.
//!
//! One thread does all writing, so that no partition waits for the disk; it ends when the last partition does. What is kept here is never
//! the only copy: the log, from the position of a checkpoint on, gives the rest.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deskpulse_core::archive::{Archive, Change, Identity, Unreadable};
use deskpulse_core::grid::{Merge, Merged};
use deskpulse_core::partition::{Checkpoint, Kept, Partition};
use deskpulse_core::series::{Names, NamesKept};
use deskpulse_core::time::Timestamp;
use deskpulse_disk::Disk;
use deskpulse_store::{Store, StoreError, StoreOptions, WhatHappened, open_or_rebuild, snapshot};
use tokio::sync::{SetOnce, oneshot};
use tracing::{debug, info, warn};

use crate::follow::{EndsTheProcess, now};
use crate::snapshots::{self, Snapshots};

/// Jobs that may wait: one for each partition there can be, mostly none. No partition's thread waits to ask, also while the keeper
/// waits for room.
const JOBS: usize = 1024;
/// A checkpoint leaves at least so much room on the disk.
const RESERVE_BYTES: u64 = 64 << 20;
/// How often a full disk is looked at again.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// How partitions are kept.
#[derive(Debug, Clone)]
pub struct KeepOptions {
    /// Where.
    pub disk: Arc<dyn Disk>,
    /// In which folder.
    pub folder: PathBuf,
    /// About how much memory the process may take, in bytes; 128 MiB and more. The names of dimension values, and what an answer needs for a
    /// moment, may come on top.
    pub memory_bytes: usize,
    /// The least time between two checkpoints of a partition. Longer where writing one takes long.
    pub checkpoint_every: Duration,
    /// The least time between two snapshots of the store.
    pub snapshot_every: Duration,
    /// How long blocks of the log are kept that nothing here needs any more; `None`: for ever.
    pub log_retention: Option<Duration>,
}

impl KeepOptions {
    /// How much of the memory is the store's cache.
    fn cache_bytes(&self) -> usize {
        (self.memory_bytes / 8).clamp(16 << 20, 1 << 30)
    }

    /// How much memory a partition may take of so many, by its own reckoning.
    pub(crate) fn partition_bytes(&self, partitions: usize) -> usize {
        let for_partitions = self.memory_bytes.saturating_sub(self.cache_bytes() + OTHER_BYTES).max(LEAST_BYTES);
        // What an allocator takes beside what it was asked for, and what answers take now and then.
        for_partitions / 2 / partitions.max(1)
    }
}

/// What a process takes beside partitions and the cache: what is on its way to the log, the log's own buffers, checkpoints on their
/// way to the store, the program itself.
const OTHER_BYTES: usize = 96 << 20;
/// What partitions may take in any case: a block's subjects and some to choose from.
const LEAST_BYTES: usize = 8 << 20;

/// What stands beside a partition in the store: the first byte of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Beside {
    /// A change of configuration.
    Config = 1,
    /// Where the partition was when.
    Retention = 2,
    /// When the last whole snapshot was begun, or the store made; beside partition 0.
    Snapshot = 3,
}

/// Why aggregation cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeepError {
    /// The store failed or is damaged beyond what can be made good from the log.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// Something in the store does not make sense.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The store follows from another log.
    #[error(
        "the store in {} follows another log than the one there is now: it follows log {follows:016x}, and this is log {found:016x}; \
         have ingest serve that log again, or move the store's folder elsewhere: the next start makes a new store from this log",
        folder.display()
    )]
    OtherLog {
        /// The store's folder.
        folder: PathBuf,
        /// The number of the log it follows.
        follows: u64,
        /// The number of the log there is.
        found: u64,
    },
    /// The log answers with a block that cannot be applied, however often it is read.
    #[error(
        "block {position} of partition {partition} cannot be applied, also when read {reads} times: {reason}; stop ingest and look its \
         folder over with `deskpulse check`, and where that finds all sound, start the version of deskpulse that wrote the block"
    )]
    Senseless {
        /// The partition.
        partition: u32,
        /// The position it cannot get past.
        position: u64,
        /// How often that was read.
        reads: u32,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The system does not give a partition what it runs on.
    #[error(
        "partition {partition} has no {what}: see to the limits on threads, memory and open files, or start with fewer partitions"
    )]
    NotRunning {
        /// The partition.
        partition: u32,
        /// A thread, or its runtime.
        what: &'static str,
        /// What the system answered.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log is damaged where it has to be read.
    #[error("the log is damaged: {reason}")]
    LogDamaged {
        /// What the log answered: the file, the offset and what to do.
        reason: String,
    },
    /// The log no longer has what comes after the store's last checkpoint.
    #[error("the log was cut: partition {partition} needs block {needed}, and the log says: {reason}")]
    LogCut {
        /// The partition.
        partition: u32,
        /// The position it has to go on from.
        needed: u64,
        /// What the log answered.
        reason: String,
    },
}

impl From<StoreError> for KeepError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// The store, as partitions read it.
#[derive(Debug)]
struct StoreArchive(Arc<dyn Store>);

impl Archive for StoreArchive {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        StoreAtRest(&*self.0).get(key)
    }

    fn scan(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
        StoreAtRest(&*self.0).scan(prefix, see)
    }
}

/// A store somebody else holds, as partitions read it.
#[derive(Debug)]
pub(crate) struct StoreAtRest<'a>(pub(crate) &'a dyn Store);

impl Archive for StoreAtRest<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        self.0.get(key).map_err(|error| unreadable(&error))
    }

    fn scan(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
        let end = after(prefix);
        let scanned = self.0.scan(prefix, &end, &mut |key, value| {
            see(key, value);
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| unreadable(&error))
    }
}

/// The log an archive follows and up to where, by partition; `None` for an empty one.
pub(crate) fn positions_in(archive: &dyn Archive) -> Result<Option<(u64, Vec<u64>)>, Unreadable> {
    let Some(Identity { log_id, partitions, .. }) = Identity::of(archive)? else { return Ok(None) };
    let positions = (0..partitions).map(|number| Partition::position_in(archive, number));
    Ok(Some((log_id, positions.collect::<Result<_, _>>()?)))
}

fn unreadable(error: &StoreError) -> Unreadable {
    Unreadable(error.to_string())
}

/// The first key after all that begin with a prefix; every prefix has a byte below 255.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// What the thread is asked to do.
enum Job {
    /// Make a checkpoint durable, with what stands beside it.
    Checkpoint(Box<Checkpoint>, Vec<Change>, oneshot::Sender<Kept>),
    /// Make several chunks of facts one.
    Merge(Merge, oneshot::Sender<Merged>),
}

/// Says why aggregation cannot go on, once.
pub(crate) type Failure = Arc<SetOnce<KeepError>>;

/// The door to the thread.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    jobs: SyncSender<Job>,
    store: Arc<dyn Store>,
    pub(crate) options: KeepOptions,
    pub(crate) failure: Failure,
    /// Up to where each partition is in the snapshots: all that may be needed of the log lies above.
    snapshots: Arc<Mutex<Snapshots>>,
}

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    pub(crate) keeper: Keeper,
    pub(crate) names: Arc<Names>,
}

impl Opened {
    /// Opens the store of a folder, or makes one. It is built again from a snapshot where it is damaged.
    pub fn open(options: KeepOptions) -> Result<Self, KeepError> {
        Keeper::open(options)
    }

    /// The log the store follows and up to where, by partition; `None` for an empty store. A log of that number that ends before is damaged.
    pub fn positions(&self) -> Result<Option<(u64, Vec<u64>)>, KeepError> {
        Ok(positions_in(&*self.keeper.archive())?)
    }
}

impl Keeper {
    /// Opens the store and starts the thread.
    fn open(mut options: KeepOptions) -> Result<Opened, KeepError> {
        options.folder = folder_of(&options.folder);
        let (store, what_happened) = open_store(&options)?;
        let snapshots = Arc::new(Mutex::new(Snapshots::found(&options, &what_happened)?));
        let archive = StoreArchive(Arc::clone(&store));
        let (names, kept) = Names::open(&archive)?;
        let names = Arc::new(names);
        let (jobs, received) = sync_channel(JOBS);
        let keeper =
            Self { jobs, store: Arc::clone(&store), options: options.clone(), failure: Arc::default(), snapshots };
        let known = snapshots::begun(&archive)?;
        let snapshot_begun = known.unwrap_or_else(now);
        if known.is_none() {
            store.commit(vec![store_change(snapshots::begun_change(snapshot_begun))])?;
        }
        let since = Duration::from_millis(u64::try_from(now().millis_since(snapshot_begun)).unwrap_or(0));
        let work = Work {
            store,
            names: Arc::clone(&names),
            kept,
            options,
            snapshots: Arc::clone(&keeper.snapshots),
            // Restarts do not begin the time anew.
            snapshot_at: Instant::now().checked_sub(since).unwrap_or_else(Instant::now),
            snapshot_begun,
            snapshot: None,
            committed: false,
        };
        let failure = Arc::clone(&keeper.failure);
        let run = move || {
            let _guard = EndsTheProcess;
            if let Err(error) = work.run(&received) {
                let _ = failure.set(error);
            }
        };
        let spawned = thread::Builder::new().name("keeper".to_owned()).spawn(run);
        spawned.map_err(|error| Unreadable(format!("no thread to keep it with: {error}")))?;
        Ok(Opened { keeper, names })
    }

    /// The store, as partitions read it.
    pub(crate) fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(StoreArchive(Arc::clone(&self.store)))
    }

    /// Makes sure that the store follows this log; an empty one does from now on.
    pub(crate) fn identify(&self, log_id: u64, partitions: usize) -> Result<(), KeepError> {
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        let identity = Identity { log_id, partitions, meaning: Identity::meaning() };
        match Identity::of(&StoreArchive(Arc::clone(&self.store)))? {
            Some(known) if known == identity => Ok(()),
            Some(known) => {
                let folder = self.options.folder.clone();
                Err(KeepError::OtherLog { folder, follows: known.log_id, found: log_id })
            }
            None => Ok(self.store.commit(vec![store_change(identity.change())])?),
        }
    }

    /// Makes a checkpoint durable; resolves when it is. Never resolves after a failure.
    pub(crate) fn keep(&self, checkpoint: Checkpoint, beside: Vec<Change>) -> oneshot::Receiver<Kept> {
        let (done, kept) = oneshot::channel();
        self.ask(Job::Checkpoint(Box::new(checkpoint), beside, done));
        kept
    }

    /// Makes several chunks of facts one; resolves when that is durable.
    pub(crate) fn merge(&self, merge: Merge) -> oneshot::Receiver<Merged> {
        let (done, merged) = oneshot::channel();
        self.ask(Job::Merge(merge, done));
        merged
    }

    fn ask(&self, job: Job) {
        // Refused only when the thread has ended, and then it has said why.
        let _ = self.jobs.send(job);
    }

    /// A partition's position in the store, for the headers of snapshots.
    pub(crate) fn is_at(&self, partition: u32, position: u64) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = partition as usize;
        if snapshots.store.len() <= index {
            snapshots.store.resize(index + 1, 0);
        }
        if let Some(known) = snapshots.store.get_mut(index) {
            *known = position;
        }
    }

    /// The position of a partition up to which the log is not needed any more: two snapshots hold it.
    pub(crate) fn held_twice(&self, partition: u32) -> u64 {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).held_twice(partition as usize)
    }
}

/// Opens the store. Each meaning has a folder of its own: a version that makes other facts of events finds none and has the log
/// tell everything again, and the version before it still finds its own.
fn open_store(options: &KeepOptions) -> Result<(Arc<dyn Store>, WhatHappened), KeepError> {
    let opened = open_or_rebuild(&options.disk, &options.folder, StoreOptions { cache_bytes: options.cache_bytes() })?;
    match &opened.what_happened {
        WhatHappened::Opened | WhatHappened::Created => {}
        WhatHappened::Rebuilt { damage, set_aside, from, .. } => {
            let (set_aside, from) =
                (set_aside.as_deref().unwrap_or_default(), from.as_ref().map(|from| &from.file.name));
            warn!(?damage, set_aside, ?from, "the store was built again; the log tells the rest");
        }
    }
    Ok((Arc::new(opened.store), opened.what_happened))
}

/// The folder of this version's store.
#[must_use]
pub fn folder_of(folder: &Path) -> PathBuf {
    folder.join(format!("meaning-{:016x}", Identity::meaning()))
}

fn store_change(change: Change) -> deskpulse_store::Change {
    deskpulse_store::Change { key: change.key, value: change.value }
}

/// The thread.
struct Work {
    store: Arc<dyn Store>,
    names: Arc<Names>,
    /// The names that are in the store.
    kept: NamesKept,
    options: KeepOptions,
    snapshots: Arc<Mutex<Snapshots>>,
    /// When the last snapshot was begun; and the same by the clock on the wall.
    snapshot_at: Instant,
    snapshot_begun: Timestamp,
    snapshot: Option<thread::JoinHandle<Result<(), StoreError>>>,
    /// Whether anything was committed since.
    committed: bool,
}

impl Work {
    fn run(mut self, jobs: &Receiver<Job>) -> Result<(), KeepError> {
        loop {
            match jobs.recv_timeout(self.options.snapshot_every.min(Duration::from_mins(1))) {
                Ok(Job::Checkpoint(checkpoint, beside, done)) => {
                    let (mut changes, worked_out) = checkpoint.work_out();
                    changes.extend(beside);
                    self.commit(changes)?;
                    let _ = done.send(worked_out.durable());
                }
                Ok(Job::Merge(merge, done)) => {
                    let (changes, merged) = merge.work_out(&StoreArchive(Arc::clone(&self.store)))?;
                    self.commit(changes)?;
                    let _ = done.send(merged);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.snapshot_if_due()?;
        }
    }

    fn commit(&mut self, mut changes: Vec<Change>) -> Result<(), KeepError> {
        let kept = self.names.put_away(self.kept, &mut changes);
        let bytes = |change: &Change| (change.key.len() + change.value.as_ref().map_or(0, Vec::len)) as u64;
        let (count, bytes) = (changes.len(), changes.iter().map(bytes).sum());
        self.wait_for_room(bytes);
        let begun = Instant::now();
        self.store.commit(changes.into_iter().map(store_change).collect())?;
        debug!(count, bytes, took = ?begun.elapsed(), "committed");
        self.kept = kept;
        self.committed = true;
        Ok(())
    }

    /// Waits until there is room on the disk. Events go on being applied, as far as memory allows; nothing is lost.
    fn wait_for_room(&self, bytes: u64) {
        let mut warned = false;
        // A tree's pages are written anew, with those above them.
        let needed = RESERVE_BYTES.saturating_add(bytes.saturating_mul(3));
        while self.options.disk.free_bytes(&self.options.folder).is_ok_and(|free| free < needed) {
            if !std::mem::replace(&mut warned, true) {
                warn!(needed, "the disk is full: checkpoints wait for room");
            }
            thread::sleep(ROOM_PAUSE);
        }
    }

    fn snapshot_if_due(&mut self) -> Result<(), KeepError> {
        if let Some(running) = self.snapshot.take_if(|running| running.is_finished()) {
            match running.join() {
                Ok(Ok(())) => {
                    let committed = self.committed;
                    self.commit(vec![snapshots::begun_change(self.snapshot_begun)])?;
                    self.committed = committed;
                }
                Ok(Err(error)) => warn!(%error, "a snapshot failed; the next one is tried in its time"),
                Err(_) => warn!("a snapshot panicked"),
            }
        }
        if self.snapshot.is_some() || self.snapshot_at.elapsed() < self.options.snapshot_every {
            return Ok(());
        }
        // Where nothing happens any more, one more lets go of the log that the older one still needs.
        let are_behind = || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).are_behind();
        let is_wanted = self.committed || (self.options.log_retention.is_some() && are_behind());
        if !is_wanted {
            return Ok(());
        }
        (self.snapshot_at, self.snapshot_begun, self.committed) = (Instant::now(), now(), false);
        let (store, disk, folder) =
            (Arc::clone(&self.store), Arc::clone(&self.options.disk), self.options.folder.clone());
        let snapshots = Arc::clone(&self.snapshots);
        let write = move || {
            let positions = snapshots.lock().unwrap_or_else(PoisonError::into_inner).store.clone();
            let header: Vec<u8> = positions.iter().flat_map(|position| position.to_le_bytes()).collect();
            let written = snapshot::write(&*store, &disk, &folder, &header)?;
            info!(file = written.file.name, bytes = written.file_bytes, "snapshot");
            let mut snapshots = snapshots.lock().unwrap_or_else(PoisonError::into_inner);
            snapshots.older = snapshots.newest.replace(positions);
            Ok(())
        };
        match thread::Builder::new().name("snapshot".to_owned()).spawn(write) {
            Ok(running) => self.snapshot = Some(running),
            Err(error) => warn!(%error, "no thread for a snapshot"),
        }
        Ok(())
    }
}
