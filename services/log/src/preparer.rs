//! The thread that makes the next segment file ready while the writer fills the one before, so that the writer never waits for
//! the file system's journal.

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::folder::{Folder, Kind, names_are_uncertain};
use crate::segment::{Identity, Segment};
use crate::writer::Shared;
use crate::{LogError, LogOptions};

/// How many old segment files are kept to be written again.
pub(crate) const SPARES: usize = 2;

/// The size of the first segment; each is four times the one before, up to the option's.
const FIRST_CAPACITY: u64 = 1 << 20;

/// The size with which a segment is made, so that a small log is small.
pub(crate) fn capacity(number: u64, options: &LogOptions) -> u64 {
    let doublings = 2 * number.saturating_sub(1).min(20);
    options.segment_bytes.min(FIRST_CAPACITY << doublings)
}

/// The old segment files that may be written again.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<u64>>);

impl Spares {
    pub(crate) fn new(spares: Vec<u64>) -> Self {
        Self(Mutex::new(spares))
    }

    fn numbers(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more is wanted.
    pub(crate) fn wanted(&self) -> bool {
        self.numbers().len() < SPARES
    }

    pub(crate) fn put(&self, number: u64) {
        self.numbers().push(number);
    }

    fn take(&self) -> Option<u64> {
        self.numbers().pop()
    }
}

/// Makes the segments it is asked for until nobody can ask any more.
pub(crate) fn run(
    shared: &Shared,
    requests: &Receiver<u64>,
    answers: &SyncSender<Result<Segment, LogError>>,
    lock: Arc<dyn Send + Sync>,
) {
    while let Ok(number) = requests.recv() {
        if answers.send(prepare(shared, number)).is_err() {
            break;
        }
    }
    drop(lock);
}

fn prepare(shared: &Shared, number: u64) -> Result<Segment, LogError> {
    let folder = &shared.folder;
    let capacity = capacity(number, &shared.options);
    let make = |needed_bytes: u64, spare: Option<u64>| {
        let free_bytes = folder.free_bytes()?;
        let needed_bytes = needed_bytes.saturating_add(shared.options.reserve_bytes);
        if free_bytes < needed_bytes {
            // It stays, for when there is room again.
            if let Some(spare) = spare {
                shared.spares.put(spare);
            }
            return Err(LogError::DiskFull { path: folder.path.clone(), free_bytes, needed_bytes });
        }
        match spare {
            Some(spare) => Segment::recycle(folder, shared.identity, number, spare),
            None => create(folder, shared.identity, number, capacity),
        }
    };
    match shared.spares.take() {
        // Nothing more is taken of the disk, but what follows from a full segment is: its compressed form.
        Some(spare) => make(0, Some(spare)),
        None => make(capacity, None),
    }
}

fn create(folder: &Folder, identity: Identity, number: u64, capacity: u64) -> Result<Segment, LogError> {
    Segment::create(folder, identity, number, capacity).map_err(|error| {
        let error = full(folder, error);
        if let LogError::DiskFull { .. } = error {
            // Gives back the room that the attempt took; if that fails too, the next start does it.
            let _ = folder.temporary(&folder.file(Kind::Raw, number));
        }
        error
    })
}

/// Tells a full disk from other failures.
pub(crate) fn full(folder: &Folder, error: LogError) -> LogError {
    match error {
        LogError::Io { ref source, .. } if source.kind() == ErrorKind::StorageFull && !names_are_uncertain(&error) => {
            LogError::DiskFull {
                path: folder.path.clone(),
                free_bytes: folder.free_bytes().unwrap_or_default(),
                needed_bytes: 0,
            }
        }
        other => other,
    }
}
