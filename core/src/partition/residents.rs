//! The subjects that are in memory. All others are in the archive, or have never been heard of.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::archive::{Archive, Change, Key, Kind, Unreadable, decode, encode};
use crate::grid::{Recorder, SubjectNumber};
use crate::rules::Rules;
use crate::series::{Names, Symbol};
use crate::state::Subject;
use crate::subject::SubjectKind;

/// What a subject takes in memory beside itself, in the maps and lists it stands in.
const BESIDE: usize = 160;

/// A subject, named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) tenant: Symbol,
    pub(super) kind: SubjectKind,
    pub(super) id: &'a str,
}

type OfTenant = [HashMap<Arc<str>, Resident>; SubjectKind::COUNT];
type Place = (Symbol, SubjectKind, Arc<str>);

/// The subjects that are in memory.
#[derive(Debug, Default)]
pub(super) struct Residents {
    tenants: HashMap<Symbol, OfTenant>,
    /// All of them, each once; those in front were touched, at the latest, at the block beside them, unless they were touched again.
    by_age: VecDeque<(u64, Place)>,
    /// Those that have changed since the last checkpoint.
    unsaved: Vec<Place>,
    /// Those of the checkpoint under way that are still to be written down, and what has been written down of it.
    saving: Vec<Place>,
    saved: Vec<Change>,
    checkpoint: u64,
    block: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Resident {
    number: SubjectNumber,
    subject: Subject,
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
    /// Another block begins.
    pub(super) fn next_block(&mut self) {
        self.block += 1;
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many have changed since the last checkpoint.
    pub(super) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// A subject that is here.
    pub(super) fn get(&mut self, whose: Whose) -> Option<(SubjectNumber, &mut Subject)> {
        let resident = self.tenants.get_mut(&whose.tenant)?[whose.kind as usize].get_mut(whose.id)?;
        Some((resident.number, &mut resident.subject))
    }

    /// The subjects of a kind that are here.
    pub(super) fn of(&mut self, tenant: Symbol, kind: SubjectKind) -> impl Iterator<Item = (&Arc<str>, &mut Subject)> {
        let subjects =
            self.tenants.get_mut(&tenant).into_iter().flat_map(move |tenant| tenant[kind as usize].iter_mut());
        subjects.map(|(id, resident)| (id, &mut resident.subject))
    }

    /// The subjects of a kind that are in the archive and not here.
    pub(super) fn others(
        &self,
        partition: u32,
        archive: &dyn Archive,
        tenant: Symbol,
        kind: SubjectKind,
    ) -> Result<Vec<SubjectNumber>, Unreadable> {
        let here = self.tenants.get(&tenant).map(|tenant| &tenant[kind as usize]);
        let prefix = number_key(partition, tenant, kind).done();
        let mut others = Vec::new();
        let mut damage = Ok(());
        archive.scan(&prefix, &mut |key, number| {
            let id = key.get(prefix.len()..).and_then(|id| std::str::from_utf8(id).ok());
            if id.is_some_and(|id| here.is_some_and(|here| here.contains_key(id))) {
                return;
            }
            match decode(number) {
                Ok(number) => others.push(number),
                Err(error) => damage = Err(error),
            }
        })?;
        damage.map(|()| others)
    }

    /// A subject to be changed: the one that is here, or from the archive, or a new one.
    pub(super) fn bring(
        &mut self,
        whose: Whose,
        (partition, archive): (u32, &dyn Archive),
        rules: (&Names, &Rules),
        recorder: &mut Recorder,
    ) -> Result<(SubjectNumber, &mut Subject), Unreadable> {
        let Whose { tenant, kind, id } = whose;
        let subjects = &mut self.tenants.entry(tenant).or_default()[kind as usize];
        if !subjects.contains_key(id) {
            let key = number_key(partition, tenant, kind).bytes(id.as_bytes()).done();
            let known: Option<SubjectNumber> = archive.get(&key)?.map(|number| decode(&number)).transpose()?;
            let id: Arc<str> = id.into();
            let (number, subject) = match known {
                Some(number) => (number, Subject::load(archive, partition, number, kind, rules)?),
                None => (recorder.add_subject(Arc::clone(&id)), Subject::new(kind, Arc::clone(&id))),
            };
            let resident = Resident {
                number,
                subject,
                is_unsaved: false,
                is_saving: false,
                is_known: known.is_some(),
                saved_in: 0,
                touched: self.block,
                bytes: 0,
            };
            self.by_age.push_back((self.block, (tenant, kind, Arc::clone(&id))));
            subjects.insert(id, resident);
        }
        let Some((id, _)) = subjects.get_key_value(id) else { unreachable!("it has just been put there") };
        let id = Arc::clone(id);
        let Some(resident) = subjects.get_mut(&id) else { unreachable!("it has just been found") };
        resident.touched = self.block;
        let before = resident.bytes;
        if resident.is_saving {
            resident.save(partition, (tenant, kind, &id), self.checkpoint, &mut self.saved);
        }
        if !resident.is_unsaved {
            resident.is_unsaved = true;
            self.unsaved.push((tenant, kind, id));
        }
        // As it was after the last change: what this one adds is counted with the next, or when it is saved.
        resident.bytes = resident.subject.bytes() + BESIDE;
        self.bytes = self.bytes + resident.bytes - before;
        Ok((resident.number, &mut resident.subject))
    }

    /// Begins to write down those that have changed since the last time, as they are now.
    pub(super) fn begin_to_save(&mut self, checkpoint: u64) {
        self.checkpoint = checkpoint;
        self.saving = std::mem::take(&mut self.unsaved);
        for (tenant, kind, id) in &self.saving {
            let subjects = self.tenants.get_mut(tenant).map(|tenant| &mut tenant[*kind as usize]);
            if let Some(resident) = subjects.and_then(|subjects| subjects.get_mut(id)) {
                (resident.is_unsaved, resident.is_saving) = (false, true);
            }
        }
    }

    /// Writes down some more; what was written when that was the last.
    pub(super) fn save(&mut self, partition: u32, at_most: usize) -> Option<Vec<Change>> {
        for (tenant, kind, id) in self.saving.split_off(self.saving.len().saturating_sub(at_most)) {
            let subjects = self.tenants.get_mut(&tenant).map(|tenant| &mut tenant[kind as usize]);
            let resident = subjects.and_then(|subjects| subjects.get_mut(&id));
            if let Some(resident) = resident.filter(|resident| resident.is_saving) {
                let before = resident.bytes;
                resident.save(partition, (tenant, kind, &id), self.checkpoint, &mut self.saved);
                self.bytes = self.bytes + resident.bytes - before;
            }
        }
        self.saving.is_empty().then(|| std::mem::take(&mut self.saved))
    }

    /// Gives up subjects that are in the archive, the longest untouched first, until all take at most so many bytes.
    pub(super) fn shrink(&mut self, to_bytes: usize, archived: u64) {
        // Each is looked at twice at most: once to see that it was touched again, once to give it up.
        for _ in 0..2 * self.by_age.len() {
            if self.bytes <= to_bytes {
                return;
            }
            let Some((as_of, place)) = self.by_age.pop_front() else { return };
            let (tenant, kind, id) = &place;
            let Some(subjects) = self.tenants.get_mut(tenant).map(|tenant| &mut tenant[*kind as usize]) else {
                continue;
            };
            let Some(resident) = subjects.get(id) else { continue };
            if resident.is_unsaved || resident.is_saving || resident.saved_in > archived || resident.touched > as_of {
                self.by_age.push_back((resident.touched, place));
            } else if let Some(resident) = subjects.remove(id) {
                self.bytes -= resident.bytes;
                if subjects.is_empty() {
                    subjects.shrink_to_fit();
                }
            }
        }
    }
}

impl Resident {
    fn save(
        &mut self,
        partition: u32,
        (tenant, kind, id): (Symbol, SubjectKind, &str),
        checkpoint: u64,
        changes: &mut Vec<Change>,
    ) {
        self.bytes = self.subject.bytes() + BESIDE;
        self.is_saving = false;
        self.saved_in = checkpoint;
        if !self.is_known {
            self.is_known = true;
            let key = number_key(partition, tenant, kind).bytes(id.as_bytes()).done();
            changes.push(Change { key, value: Some(encode(&self.number)) });
        }
        self.subject.save(partition, self.number, tenant, changes);
    }
}

fn number_key(partition: u32, tenant: Symbol, kind: SubjectKind) -> Key {
    Key::new(partition, Kind::SubjectNumber).u32(tenant.number()).u8(kind as u8)
}
