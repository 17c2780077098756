//! A disk in memory that loses power, runs full and fails, as a test asks it to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Access, Disk, DiskFile};

/// What a disk writes as a whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// What goes wrong at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: the operation may have been done, in part or not at all, and every later one fails until
    /// [`SimulatedDisk::restart`].
    Crash,
    /// The device fails (`EIO`). A write may have been done in part. After a failed sync the system counts what had been written
    /// as clean: later syncs succeed and yet some of it may not be on the disk.
    Device,
    /// There is no room (`ENOSPC`). A write may have been done in part; a sync fails as with [`Fault::Device`]; what changes nothing
    /// succeeds.
    Full,
}

/// A disk in memory, deterministic from a seed. Clones are the same disk.
///
/// What was not synced when the power goes is lost, kept or torn: in sectors of 512 bytes in any order, the last write of a
/// file at any byte. Names, removals and renames whose folder was not synced are each lost or kept, a rename always as one.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

/// Files are told apart by number, so that a name and what it names can be lost apart.
#[derive(Debug)]
struct World {
    random: Random,
    capacity: u64,
    read_only: bool,
    operations: u64,
    faults: Vec<(Range<u64>, Fault)>,
    crashed: bool,
    /// Counts restarts: handles and locks of earlier ones are dead.
    life: u64,
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    renamings: Vec<Renaming>,
    contents: BTreeMap<u64, Content>,
    next_content: u64,
    locks: BTreeSet<PathBuf>,
}

/// A change of names that no sync of its folder has made durable.
#[derive(Debug, Clone)]
enum Renaming {
    Create { path: PathBuf, content: u64 },
    Rename { from: PathBuf, to: PathBuf, content: u64 },
    Remove { path: PathBuf },
}

impl Renaming {
    fn is_in(&self, folder: &Path) -> bool {
        let inside = |path: &Path| path.parent() == Some(folder);
        match self {
            Self::Create { path, .. } | Self::Remove { path } => inside(path),
            Self::Rename { from, to, .. } => inside(from) || inside(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create { path, content } => {
                names.insert(path.clone(), *content);
            }
            Self::Rename { from, to, content } => {
                if names.get(from) == Some(content) {
                    names.remove(from);
                }
                names.insert(to.clone(), *content);
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    /// What whoever reads it sees.
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What made `now` of `durable`, in order.
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write { at: usize, bytes: Vec<u8> },
}

impl Content {
    fn apply(durable: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Length(bytes) => durable.resize(*bytes, 0),
            Change::Write { at, bytes } => put(durable, *at, bytes),
        }
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            Self::apply(&mut self.durable, &change);
        }
    }

    /// Some of what was not synced reaches the disk, the rest never will.
    fn lose(&mut self, random: &mut Random) {
        let fate = random.below(3);
        let last = self.changes.len().saturating_sub(1);
        for (index, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            match (fate, change) {
                (0, _) => {}
                (1, change) => Self::apply(&mut self.durable, &change),
                (_, Change::Length(bytes)) => {
                    if random.below(2) == 0 {
                        self.durable.resize(bytes, 0);
                    }
                }
                (_, Change::Write { at, mut bytes }) => {
                    let length = self.durable.len().max(at + bytes.len());
                    if index == last {
                        bytes.truncate(random.below(bytes.len() + 1));
                    }
                    let mut from = 0;
                    while from < bytes.len() {
                        // Sectors are those of the file, not of the write.
                        let to = bytes.len().min(from + SECTOR_BYTES - (at + from) % SECTOR_BYTES);
                        if random.below(2) == 0 {
                            put(&mut self.durable, at + from, bytes.get(from..to).unwrap_or_default());
                        }
                        from = to;
                    }
                    // A file may have got its new length and not what belongs there.
                    if random.below(4) == 0 {
                        self.durable.resize(length, 0);
                    }
                }
            }
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

impl SimulatedDisk {
    /// An empty disk with room for this many bytes.
    #[must_use]
    pub fn new(seed: u64, capacity: u64) -> Self {
        let world = World {
            random: Random(seed),
            capacity,
            read_only: false,
            operations: 0,
            faults: Vec::new(),
            crashed: false,
            life: 0,
            folders: BTreeSet::from([PathBuf::from("/")]),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamings: Vec::new(),
            contents: BTreeMap::new(),
            next_content: 0,
            locks: BTreeSet::new(),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// How many operations were asked for, the failed ones included. Opening, reading, writing, syncing, renaming, removing, listing
    /// and making folders count; asking for a length, for room or for a lock does not.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Lets every operation whose number is in the range fail, counted from 0 over the disk's life; a crash happens at the first.
    /// Faults asked for earlier stay.
    pub fn fail(&self, operations: Range<u64>, fault: Fault) {
        self.world().faults.push((operations, fault));
    }

    /// Forgets the faults that were asked for and have not happened.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// Gives the disk room for this many bytes in all.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Refuses every change (`EROFS`) from now on, or no more.
    pub fn set_read_only(&self, read_only: bool) {
        self.world().read_only = read_only;
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.world().crashed
    }

    /// Takes the power away now: every later operation fails until [`restart`](Self::restart).
    pub fn crash(&self) {
        self.world().crashed = true;
    }

    /// Starts the machine again after a loss of power: what was not durable may be lost or torn, files that were open are
    /// dead, locks are free, and the faults asked for are forgotten.
    pub fn restart(&self) {
        let world = &mut *self.world();
        world.new_life();
        for content in world.contents.values_mut() {
            content.lose(&mut world.random);
            content.now.clone_from(&content.durable);
        }
        let fate = world.random.below(3);
        for renaming in std::mem::take(&mut world.renamings) {
            if fate == 1 || (fate == 2 && world.random.below(2) == 0) {
                renaming.apply(&mut world.durable_names);
            }
        }
        world.names.clone_from(&world.durable_names);
        let World { names, contents, .. } = world;
        let named: BTreeSet<u64> = names.values().copied().collect();
        contents.retain(|number, _| named.contains(number));
    }

    /// Ends the process and not the machine: nothing written is lost yet, files that were open are dead, locks are free, and
    /// the faults asked for are forgotten.
    pub fn end_process(&self) {
        self.world().new_life();
    }

    /// Changes a byte behind everyone's back, as a failing device does.
    pub fn flip(&self, path: &Path, at: usize, bits: u8) -> io::Result<()> {
        let world = &mut *self.world();
        let content = world.names.get(path).and_then(|number| world.contents.get_mut(number));
        let content = content.ok_or(ErrorKind::NotFound)?;
        content.sync();
        for bytes in [&mut content.now, &mut content.durable] {
            *bytes.get_mut(at).ok_or(ErrorKind::UnexpectedEof)? ^= bits;
        }
        Ok(())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operate<T>(&self, changes: bool, operation: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let world = &mut *self.world();
        world.refuse(changes)?;
        match world.next_fault() {
            None => operation(world),
            Some(Fault::Full) if !changes => operation(world),
            Some(Fault::Crash) => {
                if changes && world.random.below(2) == 0 {
                    let _ = operation(world);
                }
                world.crashed = true;
                Err(no_power())
            }
            Some(fault) => Err(fault.error()),
        }
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("SimulatedDisk")
            .field("operations", &world.operations)
            .field("files", &world.names.keys())
            .finish_non_exhaustive()
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Crash => no_power(),
            // What the operating system calls EIO; the standard library has no kind of its own for it.
            Self::Device => io::Error::from_raw_os_error(5),
            Self::Full => ErrorKind::StorageFull.into(),
        }
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

impl World {
    fn new_life(&mut self) {
        self.life += 1;
        self.crashed = false;
        self.faults.clear();
        self.locks.clear();
    }

    fn refuse(&self, changes: bool) -> io::Result<()> {
        if self.crashed {
            return Err(no_power());
        }
        if changes && self.read_only { Err(ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn next_fault(&mut self) -> Option<Fault> {
        let number = self.operations;
        self.operations += 1;
        self.faults.iter().find(|(range, _)| range.contains(&number)).map(|(_, fault)| *fault)
    }

    fn used_bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|number| self.contents.get(number));
        named.map(|content| content.now.len() as u64).sum()
    }

    fn free_bytes(&self) -> u64 {
        self.capacity.saturating_sub(self.used_bytes())
    }

    fn rename_now(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    fn content(&mut self, number: u64) -> io::Result<&mut Content> {
        self.contents.get_mut(&number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Writes what there is room for, and says whether that was all.
    fn write(&mut self, number: u64, bytes: &[u8], at: usize) -> io::Result<()> {
        let free = usize::try_from(self.free_bytes()).unwrap_or(usize::MAX);
        let content = self.content(number)?;
        let room = content.now.len().saturating_add(free).saturating_sub(at).min(bytes.len());
        let fits = bytes.get(..room).unwrap_or_default();
        if !fits.is_empty() {
            put(&mut content.now, at, fits);
            content.changes.push(Change::Write { at, bytes: fits.to_vec() });
        }
        if room == bytes.len() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.operate(true, |world| {
            world.folders.extend(folder.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.operate(false, |world| {
            if !world.folders.contains(folder) {
                return Err(ErrorKind::NotFound.into());
            }
            let inside = world.names.keys().filter(|path| path.parent() == Some(folder));
            Ok(inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
        })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let changes = match access {
            Access::Read => false,
            Access::Write | Access::Create => true,
        };
        let (content, life) = self.operate(changes, |world| {
            let found = world.names.get(path).copied();
            let content = match (access, found) {
                (Access::Read | Access::Write, Some(content)) => content,
                (Access::Read | Access::Write, None) => return Err(ErrorKind::NotFound.into()),
                (Access::Create, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
                (Access::Create, None) => {
                    if !path.parent().is_some_and(|folder| world.folders.contains(folder)) {
                        return Err(ErrorKind::NotFound.into());
                    }
                    let content = world.next_content;
                    world.next_content += 1;
                    world.contents.insert(content, Content::default());
                    world.rename_now(Renaming::Create { path: path.to_owned(), content });
                    content
                }
            };
            Ok((content, world.life))
        })?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), content, life, writable: changes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(true, |world| {
            let content = *world.names.get(from).ok_or(ErrorKind::NotFound)?;
            world.rename_now(Renaming::Rename { from: from.to_owned(), to: to.to_owned(), content });
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(true, |world| {
            if !world.names.contains_key(path) {
                return Err(ErrorKind::NotFound.into());
            }
            world.rename_now(Renaming::Remove { path: path.to_owned() });
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.operate(true, |world| {
            let (synced, left) =
                std::mem::take(&mut world.renamings).into_iter().partition::<Vec<_>, _>(|change| change.is_in(folder));
            world.renamings = left;
            for change in synced {
                change.apply(&mut world.durable_names);
            }
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let world = self.world();
        world.refuse(false)?;
        Ok(world.free_bytes())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let world = &mut *self.world();
        world.refuse(false)?;
        if !world.names.contains_key(path) {
            world.refuse(true)?;
            let content = world.next_content;
            world.next_content += 1;
            world.contents.insert(content, Content::default());
            world.rename_now(Renaming::Create { path: path.to_owned(), content });
        }
        if !world.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock { disk: self.clone(), path: path.to_owned(), life: world.life })))
    }
}

struct Lock {
    disk: SimulatedDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    content: u64,
    life: u64,
    writable: bool,
}

impl SimulatedFile {
    fn alive(&self, world: &World) -> io::Result<()> {
        if world.life == self.life { Ok(()) } else { Err(io::Error::other("the file was opened before a restart")) }
    }

    fn change(&self, change: impl FnOnce(&mut World) -> io::Result<()>) -> io::Result<()> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.disk.operate(true, |world| {
            self.alive(world)?;
            change(world)
        })
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let world = &mut *self.disk.world();
        world.refuse(false)?;
        self.alive(world)?;
        Ok(world.content(self.content)?.now.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.change(|world| {
            let free = world.free_bytes();
            let content = world.content(self.content)?;
            if bytes > content.now.len() as u64 + free {
                return Err(ErrorKind::StorageFull.into());
            }
            let bytes = usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge)?;
            content.now.resize(bytes, 0);
            content.changes.push(Change::Length(bytes));
            Ok(())
        })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.operate(false, |world| {
            self.alive(world)?;
            let content = world.content(self.content)?;
            let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
            let end = start.checked_add(buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(content.now.get(start..end).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let at = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let world = &mut *self.disk.world();
        world.refuse(true)?;
        self.alive(world)?;
        let Some(fault) = world.next_fault() else { return world.write(self.content, bytes, at) };
        let done = world.random.below(bytes.len() + 1);
        world.write(self.content, bytes.get(..done).unwrap_or_default(), at)?;
        world.crashed |= fault == Fault::Crash;
        Err(fault.error())
    }

    fn sync(&self) -> io::Result<()> {
        let world = &mut *self.disk.world();
        world.refuse(false)?;
        self.alive(world)?;
        match world.next_fault() {
            None => {
                world.content(self.content)?.sync();
                Ok(())
            }
            Some(Fault::Crash) => {
                world.crashed = true;
                Err(no_power())
            }
            Some(fault @ (Fault::Device | Fault::Full)) => {
                let World { contents, random, .. } = world;
                if let Some(content) = contents.get_mut(&self.content) {
                    content.lose(random);
                }
                Err(fault.error())
            }
        }
    }
}

/// Splitmix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap_or_default()
    }
}
