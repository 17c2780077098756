//! The folder of a log: its file names, and the disk it is on.
//!
//! - `log.meta`: what the log is, written once.
//! - `log.first`: where the log begins, once something was removed.
//! - `N.log`: the frames of segment N, as they were written.
//! - `N.index`: what the finished segment N holds, so that a start need not read it.
//! - `N.sealed`: the same blocks, compressed; takes the place of both.
//! - `N.spare`: an old segment file that will be written again.
//! - `*.tmp`: a file that was not finished.
//! - `log.lock`, and `quarantine/`, what a repair put aside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, DiskFile};

use crate::LogError;

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

const SYNC_NAMES: &str = "sync the names in";

/// Whether the log must stop, because what it would do next relies on names that may not be durable.
pub(crate) fn names_are_uncertain(error: &LogError) -> bool {
    matches!(error, LogError::Io { action: SYNC_NAMES, .. })
}

/// What a file of the folder is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Raw,
    Index,
    Sealed,
    Spare,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Raw, Self::Index, Self::Sealed, Self::Spare];

    const fn ending(self) -> &'static str {
        match self {
            Self::Raw => ".log",
            Self::Index => ".index",
            Self::Sealed => ".sealed",
            Self::Spare => ".spare",
        }
    }

    fn of(name: &str) -> Option<(Self, u64)> {
        Self::ALL.into_iter().find_map(|kind| {
            let digits = name.strip_suffix(kind.ending()).filter(|digits| digits.len() == 20)?;
            Some((kind, digits.parse().ok()?))
        })
    }
}

/// The numbered files of the folder, each kind in order, and what was not finished.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) raw: Vec<u64>,
    pub(crate) index: Vec<u64>,
    pub(crate) sealed: Vec<u64>,
    pub(crate) spare: Vec<u64>,
    pub(crate) unfinished: Vec<PathBuf>,
}

impl Folder {
    pub(crate) fn file(&self, kind: Kind, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}{}", kind.ending()))
    }

    pub(crate) fn list(&self) -> Result<Listing, LogError> {
        let mut listing = Listing::default();
        for name in self.disk.list(&self.path).map_err(LogError::io("list", &self.path))? {
            match Kind::of(&name) {
                Some((Kind::Raw, number)) => listing.raw.push(number),
                Some((Kind::Index, number)) => listing.index.push(number),
                Some((Kind::Sealed, number)) => listing.sealed.push(number),
                Some((Kind::Spare, number)) => listing.spare.push(number),
                None if Path::new(&name).extension().is_some_and(|ending| ending == "tmp") => {
                    listing.unfinished.push(self.path.join(name));
                }
                None => {}
            }
        }
        Ok(listing)
    }

    pub(crate) fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>, LogError> {
        let action = match access {
            Access::Read | Access::Write => "open",
            Access::Create => "create",
        };
        self.disk.open(path, access).map_err(LogError::io(action, path))
    }

    /// A whole file; `None` when there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
        let file = match self.disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io("open", path)(error)),
        };
        let length = file.len().map_err(LogError::io("inspect", path))?;
        let mut bytes = vec![0; usize::try_from(length).expect("a file of the log fits into memory")];
        file.read_exact_at(&mut bytes, 0).map_err(LogError::io("read", path))?;
        Ok(Some(bytes))
    }

    /// Writes a small file as a whole: after a crash it is as before or as asked. Durable when this returns.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let temporary = self.temporary(path)?;
        let file = self.open(&temporary, Access::Create)?;
        file.write_all_at(bytes, 0).map_err(LogError::io("write", &temporary))?;
        file.sync().map_err(LogError::io("sync", &temporary))?;
        self.rename(&temporary, path)?;
        self.sync()
    }

    /// The name under which a file is prepared; nothing has that name.
    pub(crate) fn temporary(&self, path: &Path) -> Result<PathBuf, LogError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        self.remove_if_there(&temporary)?;
        Ok(temporary)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), LogError> {
        self.disk.rename(from, to).map_err(LogError::io("rename", from))
    }

    pub(crate) fn remove_if_there(&self, path: &Path) -> Result<(), LogError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the names durable. After an error nobody knows which are: [`names_are_uncertain`].
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.disk.sync_folder(&self.path).map_err(LogError::io(SYNC_NAMES, &self.path))
    }

    pub(crate) fn free_bytes(&self) -> Result<u64, LogError> {
        self.disk.free_bytes(&self.path).map_err(LogError::io("inspect", &self.path))
    }
}

/// Takes fields off the front of bytes; `None` once they are used up.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
