//! The subjects that are in memory. All others are in the archive, or have never been heard of.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::archive::{Archive, Change, Key, Kind, Unreadable, decode, encode};
use crate::event::Id;
use crate::grid::{Recorder, SubjectNumber};
use crate::rules::Rules;
use crate::series::{Names, Symbol};
use crate::state::Subject;
use crate::subject::SubjectKind;

/// What a subject takes in memory beside itself, in the maps and lists it stands in.
const BESIDE: usize = 120;

/// A subject, named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) tenant: Symbol,
    pub(super) kind: SubjectKind,
    pub(super) id: &'a str,
}

/// Where a subject is among those in memory; another may be there once it has been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// The subjects of a tenant, each kind by the hash of its id; the ids stand with the subjects.
type Places = [HashTable<Place>; SubjectKind::COUNT];

/// Subjects in one piece of [`List`].
const PIECE: usize = 1_024;

/// Subjects in pieces, so that none ever moves.
#[derive(Debug, Default)]
struct List {
    pieces: Vec<Vec<Option<Resident>>>,
    len: u32,
}

impl List {
    fn get(&self, place: Place) -> Option<&Resident> {
        let place = place.0 as usize;
        self.pieces.get(place / PIECE)?.get(place % PIECE)?.as_ref()
    }

    fn taken(&mut self, place: Place) -> Option<&mut Option<Resident>> {
        let place = place.0 as usize;
        self.pieces.get_mut(place / PIECE)?.get_mut(place % PIECE)
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Resident> {
        self.taken(place)?.as_mut()
    }

    fn push(&mut self, resident: Resident) -> Place {
        if self.len as usize == self.pieces.len() * PIECE {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.push(Some(resident));
        }
        let place = Place(self.len);
        self.len = self.len.checked_add(1).expect("fewer than 2^32 subjects in memory");
        place
    }
}

/// The subjects that are in memory.
#[derive(Debug, Default)]
pub(super) struct Residents {
    tenants: HashMap<Symbol, Places, RandomState>,
    hasher: RandomState,
    list: List,
    free: Vec<Place>,
    /// Whether there may be subjects in the archive that are not here.
    are_elsewhere: bool,
    /// All of them, each once; those in front were touched, at the latest, at the block beside them, unless they were touched again.
    by_age: VecDeque<(u64, Place)>,
    /// Those that have changed since the last checkpoint.
    unsaved: Vec<Place>,
    /// Those of the checkpoint under way that are still to be written down, and what was written down and not handed out yet.
    saving: Vec<Place>,
    saved: Vec<Change>,
    checkpoint: u64,
    block: u64,
    bytes: usize,
}

/// A subject in memory.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) tenant: Symbol,
    pub(super) kind: SubjectKind,
    pub(super) number: SubjectNumber,
    pub(super) subject: Subject,
    is_unsaved: bool,
    /// Whether the checkpoint under way still has to write it down, as it was when that began.
    is_saving: bool,
    /// Whether its number and its id are in the archive, or in a checkpoint under way.
    is_known: bool,
    /// The last checkpoint that holds it.
    saved_in: u64,
    touched: u64,
    bytes: usize,
}

impl Residents {
    /// None in memory yet; `are_elsewhere` says whether there are any in the archive.
    pub(super) fn new(are_elsewhere: bool) -> Self {
        Self { are_elsewhere, ..Self::default() }
    }

    /// Another block begins.
    pub(super) fn next_block(&mut self) {
        self.block += 1;
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether any has changed since the last checkpoint.
    pub(super) fn have_changed(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Where a subject is, if it is here.
    pub(super) fn find(&self, Whose { tenant, kind, id }: Whose) -> Option<Place> {
        let is_it = |place: &Place| self.get(*place).is_some_and(|resident| resident.subject.id() == id);
        self.tenants.get(&tenant)?[kind as usize].find(self.hasher.hash_one(id), is_it).copied()
    }

    /// A subject that is here.
    pub(super) fn get(&self, place: Place) -> Option<&Resident> {
        self.list.get(place)
    }

    /// A subject that is here, to be changed.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Resident> {
        self.list.get_mut(place)
    }

    /// The subjects of a kind that are here.
    pub(super) fn of(&self, tenant: Symbol, kind: SubjectKind) -> Vec<Place> {
        self.tenants.get(&tenant).map(|places| places[kind as usize].iter().copied().collect()).unwrap_or_default()
    }

    /// The subjects of a kind that are in the archive and not here.
    pub(super) fn others(
        &self,
        partition: u32,
        archive: &dyn Archive,
        tenant: Symbol,
        kind: SubjectKind,
    ) -> Result<Vec<SubjectNumber>, Unreadable> {
        let prefix = number_key(partition, tenant, kind).done();
        let mut others = Vec::new();
        let mut damage = Ok(());
        archive.scan(&prefix, &mut |key, number| {
            let id = key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok());
            if id.is_some_and(|id| self.find(Whose { tenant, kind, id }).is_some()) {
                return;
            }
            match decode(number) {
                Ok(number) => others.push(number),
                Err(error) => damage = Err(error),
            }
        })?;
        damage.map(|()| others)
    }

    /// The place of a subject: of the one that is here, or else from the archive, or of a new one.
    pub(super) fn bring(
        &mut self,
        whose: Whose,
        (partition, archive): (u32, &dyn Archive),
        rules: (&Names, &Rules),
        recorder: &mut Recorder,
    ) -> Result<Place, Unreadable> {
        match self.find(whose) {
            Some(place) => Ok(place),
            None => self.take_in(whose, (partition, archive), rules, recorder),
        }
    }

    /// A subject that is about to change; [`Self::end_change`] when it has.
    pub(super) fn begin_change(&mut self, place: Place, partition: u32) -> &mut Resident {
        let Some(resident) = self.list.get_mut(place) else { unreachable!("a place in the table is taken") };
        resident.touched = self.block;
        if resident.is_saving {
            let before = resident.bytes;
            resident.save(partition, self.checkpoint, &mut self.saved);
            self.bytes = self.bytes + resident.bytes - before;
        }
        if !resident.is_unsaved {
            resident.is_unsaved = true;
            self.unsaved.push(place);
        }
        resident
    }

    /// Counts a subject's memory anew.
    pub(super) fn end_change(&mut self, place: Place) {
        if let Some(resident) = self.list.get_mut(place) {
            let before = resident.bytes;
            resident.bytes = resident.subject.bytes() + BESIDE;
            self.bytes = self.bytes + resident.bytes - before;
        }
    }

    #[cold]
    fn take_in(
        &mut self,
        Whose { tenant, kind, id }: Whose,
        (partition, archive): (u32, &dyn Archive),
        rules: (&Names, &Rules),
        recorder: &mut Recorder,
    ) -> Result<Place, Unreadable> {
        let known: Option<SubjectNumber> = if self.are_elsewhere {
            let key = number_key(partition, tenant, kind).bytes(id.as_bytes()).done();
            archive.get(&key)?.map(|number| decode(&number)).transpose()?
        } else {
            None
        };
        let id: Id = id.into();
        let (number, subject) = match known {
            Some(number) => (number, Subject::load(archive, partition, number, kind, rules)?),
            None => (recorder.add_subject(id.clone()), Subject::new(kind, id.clone())),
        };
        let resident = Resident {
            tenant,
            kind,
            number,
            subject,
            is_unsaved: false,
            is_saving: false,
            is_known: known.is_some(),
            saved_in: 0,
            touched: self.block,
            bytes: 0,
        };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(taken) = self.list.taken(place) {
                    *taken = Some(resident);
                }
                place
            }
            None => self.list.push(resident),
        };
        self.by_age.push_back((self.block, place));
        let hash_of = |id: &str| self.hasher.hash_one(id);
        let hash_at = |place: &Place| self.list.get(*place).map_or(0, |resident| hash_of(resident.subject.id()));
        self.tenants.entry(tenant).or_default()[kind as usize].insert_unique(hash_of(&id), place, hash_at);
        Ok(place)
    }

    /// Begins to write down those that have changed since the last time, as they are now.
    pub(super) fn begin_to_save(&mut self, checkpoint: u64) {
        self.checkpoint = checkpoint;
        self.saving = std::mem::take(&mut self.unsaved);
        for place in &self.saving {
            if let Some(resident) = self.list.get_mut(*place) {
                (resident.is_unsaved, resident.is_saving) = (false, true);
            }
        }
    }

    /// Writes down some more; beside what was written down since the last time, whether those were the last.
    pub(super) fn save(&mut self, partition: u32, at_most: usize) -> (Vec<Change>, bool) {
        for place in self.saving.split_off(self.saving.len().saturating_sub(at_most)) {
            let resident = self.list.get_mut(place);
            if let Some(resident) = resident.filter(|resident| resident.is_saving) {
                let before = resident.bytes;
                resident.save(partition, self.checkpoint, &mut self.saved);
                self.bytes = self.bytes + resident.bytes - before;
            }
        }
        (std::mem::take(&mut self.saved), self.saving.is_empty())
    }

    /// Gives up subjects that are in the archive, the longest untouched first, until all take at most so many bytes. Looks at no
    /// more of them than those bytes would be if none took more than it takes beside itself.
    pub(super) fn shrink(&mut self, to_bytes: usize, archived: u64) {
        // Each is looked at twice at most: once to see that it was touched again, once to give it up.
        for _ in 0..2 * (self.bytes.saturating_sub(to_bytes) / BESIDE + 1) {
            if self.bytes <= to_bytes {
                return;
            }
            let Some((as_of, place)) = self.by_age.pop_front() else { return };
            let Some(taken) = self.list.taken(place) else { continue };
            let is_archived =
                |resident: &Resident| !resident.is_unsaved && !resident.is_saving && resident.saved_in <= archived;
            let may_go = |resident: &mut Resident| resident.touched <= as_of && is_archived(resident);
            if let Some(resident) = taken.take_if(may_go) {
                self.bytes -= resident.bytes;
                self.are_elsewhere = true;
                self.free.push(place);
                let hash = self.hasher.hash_one(resident.subject.id().as_str());
                if let Some(places) = self.tenants.get_mut(&resident.tenant)
                    && let Ok(entry) = places[resident.kind as usize].find_entry(hash, |known| *known == place)
                {
                    entry.remove();
                }
            } else if let Some(resident) = taken {
                self.by_age.push_back((resident.touched, place));
            }
        }
    }
}

impl Resident {
    fn save(&mut self, partition: u32, checkpoint: u64, changes: &mut Vec<Change>) {
        self.bytes = self.subject.bytes() + BESIDE;
        self.is_saving = false;
        self.saved_in = checkpoint;
        if !self.is_known {
            self.is_known = true;
            let key = number_key(partition, self.tenant, self.kind).bytes(self.subject.id().as_bytes()).done();
            changes.push(Change { key, value: Some(encode(&self.number)) });
        }
        self.subject.save(partition, self.number, self.tenant, changes);
    }
}

fn number_key(partition: u32, tenant: Symbol, kind: SubjectKind) -> Key {
    Key::new(partition, Kind::SubjectNumber).u32(tenant.number()).u8(kind as u8)
}
