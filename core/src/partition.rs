//! A partition: the subjects whose events are routed to it, their grid and their timers. One writer owns it.
//!
//! What it has come to can be put away in an [archive](crate::archive) at any block boundary, in one [`Checkpoint`] that holds what
//! has changed since the last one. What was put away may be given up in memory; it comes back when it is needed.

mod residents;
mod timers;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, Change, EmptyArchive, Key, Kind, Parts, Unreadable, decode, encode};
use crate::event::{Event, Id};
use crate::fact::{Fact, Facts, Measure};
use crate::grid::{Merge, Merged, NewSubjects, Reader, Recorder, SubjectNumber, Unwritten, Written, grid};
use crate::rules::{RuleBook, RuleChange, Rules, Touched};
use crate::series::{DimensionValues, Names, Symbol};
use crate::state::{Mention, Moved, Subject};
use crate::subject::{SubjectKind, SubjectRef, route};
use crate::time::Timestamp;
use crate::timeline::Added;

use residents::{Resident, Residents, Whose};
use timers::Timers;

/// A partition. What it shows is a function of the set of events applied to it, of its tenants' rules, of the messages
/// moved to it and of the instant its timers have fired up to.
///
/// After [`Unreadable`] it may be half changed and must not be used any more.
#[derive(Debug)]
pub struct Partition {
    names: Arc<Names>,
    place: Place,
    archive: Arc<dyn Archive>,
    recorder: Recorder,
    reader: Reader,
    tenants: HashMap<Symbol, Tenant, RandomState>,
    residents: Residents,
    timers: Timers,
    /// Empty; lent to one event after the other.
    facts: Vec<Fact>,
    /// Where it was when it was put away last.
    position: u64,
    letters_taken: u64,
    under_way: Option<Checkpoint>,
    /// The number of the last checkpoint, and of the last one that is in the archive.
    checkpoint: u64,
    archived: u64,
}

/// What a partition is as a whole, as it stands in the archive.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Head {
    position: u64,
    letters_taken: u64,
    fired_until: Option<Timestamp>,
    next_subject: u32,
    next_chunk: u32,
    /// The subjects that stand for tenants themselves.
    themselves: Vec<(Symbol, SubjectNumber)>,
}

impl Head {
    fn of(archive: &dyn Archive, partition: u32) -> Result<Self, Unreadable> {
        let head = archive.get(&Key::new(partition, Kind::Head).done())?;
        head.map_or_else(|| Ok(Self::default()), |bytes| decode(&bytes))
    }
}

/// What a partition has come to since the last checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// In pieces: a list that grows is copied, and the larger it is, the longer a block waits for that.
    changes: Vec<Vec<Change>>,
    facts: Vec<Unwritten>,
    subjects: NewSubjects,
    kept: Kept,
}

impl Checkpoint {
    /// Writes down what is left to write, on any thread: what has to be made durable, all or nothing.
    #[must_use]
    pub fn work_out(self) -> (Vec<Change>, WorkedOut) {
        let Self { changes: pieces, facts, subjects, mut kept } = self;
        let mut changes = Vec::with_capacity(pieces.iter().map(Vec::len).sum());
        changes.extend(pieces.into_iter().flatten());
        kept.facts = facts.iter().map(|facts| facts.write(&mut changes)).collect();
        (changes, WorkedOut { subjects, kept })
    }
}

/// A checkpoint that has to be made durable.
#[derive(Debug)]
pub struct WorkedOut {
    subjects: NewSubjects,
    kept: Kept,
}

impl WorkedOut {
    /// It is durable, says any thread: what the partition has to be told.
    #[must_use]
    pub fn durable(self) -> Kept {
        self.subjects.forget();
        self.kept
    }
}

/// What a partition has to be told once a checkpoint is durable.
#[derive(Debug)]
pub struct Kept {
    number: u64,
    /// The position the checkpoint was taken at.
    pub position: u64,
    /// How many letters had been taken in then.
    pub letters_taken: u64,
    facts: Vec<Written>,
}

/// Which partition of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

/// What one block of the log holds for a partition.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// A change of a tenant's rules; it comes first.
    pub change: Option<(Symbol, RuleChange)>,
    /// Events of subjects of this partition.
    pub arrivals: Vec<Arrival>,
    /// Events of any subjects that name a conversation of this partition: tenant, conversation, mention.
    pub mentions: Vec<(Symbol, Box<str>, Mention)>,
}

/// An event and whom it is about.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The tenant.
    pub tenant: Symbol,
    /// The kind of subject.
    pub kind: SubjectKind,
    /// The subject.
    pub subject: Id,
    /// The event.
    pub event: Event,
}

/// Messages for a conversation of another partition: all that one conversation merged into it has to give.
///
/// A later letter from the same conversation takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The tenant.
    pub tenant: Symbol,
    /// The conversation that was merged.
    pub from: Id,
    /// The conversation it was merged into.
    pub to: Box<str>,
    /// Its messages.
    pub messages: Vec<Moved>,
}

impl Letter {
    /// What makes a letter outlive its sender: it stands in the archive until its receiver has kept it.
    #[must_use]
    pub fn kept(&self, sender: u32, receiver: u32, number: u64) -> Change {
        Change { key: letter_key(sender, receiver, number), value: Some(encode(self)) }
    }

    /// The receiver has kept it.
    #[must_use]
    pub fn done(sender: u32, receiver: u32, number: u64) -> Change {
        Change { key: letter_key(sender, receiver, number), value: None }
    }

    /// The letters a sender has in the archive, with receivers and numbers.
    pub fn of(archive: &dyn Archive, sender: u32) -> Result<Vec<(u32, u64, Self)>, Unreadable> {
        let mut letters = Vec::new();
        archive.scan(&Key::new(sender, Kind::Letter).done(), &mut |key, value| {
            let mut parts = Parts::of(key);
            letters.push(parts.u32().and_then(|to| Ok((to, parts.i64()?.cast_unsigned(), decode(value)?))));
        })?;
        letters.into_iter().collect()
    }
}

fn letter_key(sender: u32, receiver: u32, number: u64) -> Vec<u8> {
    Key::new(sender, Kind::Letter).u32(receiver).i64(number.cast_signed()).done()
}

#[derive(Debug, Default)]
struct Tenant {
    book: RuleBook,
    rules: Rules,
    /// The subject that facts about the tenant itself are recorded for.
    itself: Option<SubjectNumber>,
}

impl Partition {
    /// An empty partition that interns with `names` and never puts anything away.
    ///
    /// # Panics
    /// Never: there is nothing to read.
    #[must_use]
    pub fn new(names: Arc<Names>, place: Place) -> Self {
        Self::open(names, place, Arc::new(EmptyArchive)).expect("nothing to read")
    }

    /// The partition as it stands in an archive; an empty one where nothing does. `names` are those it was put away with.
    ///
    /// Its rules are not there: [`Self::recall`] them before anything is applied.
    pub fn open(names: Arc<Names>, place: Place, archive: Arc<dyn Archive>) -> Result<Self, Unreadable> {
        let head = Head::of(&*archive, place.number)?;
        let (mut recorder, reader) = grid(place.number, Arc::clone(&archive))?;
        recorder.go_on_from(head.next_subject, head.next_chunk);
        let timers = Timers::open(place.number, &*archive, head.fired_until.unwrap_or(Timestamp::MIN))?;
        let itself = |(tenant, itself): &(Symbol, SubjectNumber)| {
            (*tenant, Tenant { itself: Some(*itself), ..Tenant::default() })
        };
        let tenants = head.themselves.iter().map(itself).collect();
        let residents = Residents::new(head.next_subject > 0);
        let Head { position, letters_taken, .. } = head;
        Ok(Self {
            names,
            place,
            archive,
            recorder,
            reader,
            tenants,
            residents,
            timers,
            facts: Vec::new(),
            position,
            letters_taken,
            under_way: None,
            checkpoint: 0,
            archived: 0,
        })
    }

    /// The position at which a partition was put away; 0 where none was.
    pub fn position_in(archive: &dyn Archive, number: u32) -> Result<u64, Unreadable> {
        Ok(Head::of(archive, number)?.position)
    }

    /// The position it was put away at.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many letters it had taken in when it was put away.
    #[must_use]
    pub fn letters_taken(&self) -> u64 {
        self.letters_taken
    }

    /// A change of rules from before it was put away.
    pub fn recall(&mut self, tenant: Symbol, change: RuleChange) {
        let tenant = self.tenants.entry(tenant).or_default();
        tenant.book.change(change);
        tenant.rules = tenant.book.rules();
    }

    /// A reader of the partition's grid, for other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Applies a block of the log, all of it at once to readers, and fires the timers up to `now`. Returns what each of its
    /// events did, and letters for other partitions.
    pub fn apply(&mut self, block: Block, now: Timestamp) -> Result<(Vec<Added>, Vec<Letter>), Unreadable> {
        self.residents.next_block();
        let mut unsettled = Unsettled::default();
        if let Some((tenant, change)) = block.change {
            self.change_rules(tenant, change, &mut unsettled)?;
        }
        let mut added = Vec::with_capacity(block.arrivals.len());
        for Arrival { tenant, kind, subject, event } in &block.arrivals {
            let place = self.bring(Whose { tenant: *tenant, kind: *kind, id: subject })?;
            self.change(place, &mut unsettled, |subject, facts| added.push(subject.add(event, facts)));
        }
        for (tenant, conversation, mention) in block.mentions {
            let whose = Whose { tenant, kind: SubjectKind::Conversation, id: &conversation };
            let place = self.bring(whose)?;
            self.change(place, &mut unsettled, |subject, facts| subject.mention(mention, facts));
        }
        let letters = self.settle(unsettled)?;
        // After what the events took back of it.
        self.timers.advance(now, &mut self.recorder);
        self.recorder.publish();
        Ok((added, letters))
    }

    /// Takes in letters from other partitions. Returns letters that follow from them.
    pub fn receive(&mut self, letters: Vec<Letter>, now: Timestamp) -> Result<Vec<Letter>, Unreadable> {
        self.timers.advance(now, &mut self.recorder);
        self.residents.next_block();
        let mut unsettled = Unsettled::default();
        self.deliver(letters, &mut unsettled)?;
        let letters = self.settle(unsettled)?;
        self.recorder.publish();
        Ok(letters)
    }

    /// Fires the timers up to an instant: their facts count from now on, each at its own instant.
    pub fn fire(&mut self, now: Timestamp) {
        if self.timers.advance(now, &mut self.recorder) {
            self.recorder.publish();
        }
    }

    /// The instant of the next timer.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.next_due()
    }

    /// About how many bytes of memory its subjects, facts and timers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.residents.bytes() + self.recorder.bytes() + self.timers.bytes()
    }

    /// About how many of those bytes facts take.
    #[must_use]
    pub fn fact_bytes(&self) -> usize {
        self.recorder.bytes()
    }

    /// Begins to write down what has changed since the last checkpoint, as it is now; [`Self::go_on_with_checkpoint`] until it
    /// is done. There must be no other under way.
    ///
    /// `position` is that of the last block applied, `letters_taken` counts the letters received so far.
    pub fn begin_checkpoint(&mut self, position: u64, letters_taken: u64) {
        debug_assert!(!self.is_checkpoint_under_way(), "one checkpoint at a time");
        self.checkpoint += 1;
        // Whatever was recorded is shown, so that nothing is in the archive that a reader may not see.
        self.recorder.publish();
        let mut changes = Vec::new();
        self.residents.begin_to_save(self.checkpoint);
        self.timers.begin_to_save();
        let facts = self.recorder.put_away(&mut changes);
        let head = Head {
            position,
            letters_taken,
            fired_until: Some(self.timers.fired_until()),
            next_subject: self.recorder.next_subject(),
            next_chunk: self.recorder.next_chunk(),
            themselves: self.tenants.iter().filter_map(|(name, tenant)| Some((*name, tenant.itself?))).collect(),
        };
        changes.push(Change { key: Key::new(self.place.number, Kind::Head).done(), value: Some(encode(&head)) });
        let kept = Kept { number: self.checkpoint, position, letters_taken, facts: Vec::new() };
        self.under_way =
            Some(Checkpoint { changes: vec![changes], facts, subjects: self.recorder.new_subjects(), kept });
    }

    /// Writes down some more subjects and timers, at most so many of each; the checkpoint when those were the last. Blocks may be
    /// applied in between: what they change is written down before.
    pub fn go_on_with_checkpoint(&mut self, at_most: usize) -> Option<Checkpoint> {
        let checkpoint = self.under_way.as_mut()?;
        let (subjects, subjects_are_done) = self.residents.save(self.place.number, at_most);
        let (timers, timers_are_done) = self.timers.save(at_most);
        checkpoint.changes.extend([subjects, timers]);
        if subjects_are_done && timers_are_done { self.under_way.take() } else { None }
    }

    /// Whether anything has changed since the last checkpoint was begun.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.residents.have_changed() || self.recorder.has_unsaved() || self.timers.have_changed()
    }

    /// Whether a checkpoint was begun that is not in the archive yet.
    #[must_use]
    pub fn is_checkpoint_under_way(&self) -> bool {
        self.archived != self.checkpoint
    }

    /// The last checkpoint is in the archive: what it holds may be given up in memory.
    pub fn kept(&mut self, kept: &Kept) {
        self.archived = kept.number;
        self.position = kept.position;
        kept.facts.iter().for_each(|facts| self.recorder.written(facts));
    }

    /// Chunks of facts in the archive to be made into one, at most so many times; none while a checkpoint or other merges are
    /// under way.
    pub fn merges(&mut self, at_most: usize) -> Vec<Merge> {
        if self.is_checkpoint_under_way() { Vec::new() } else { self.recorder.merges(at_most) }
    }

    /// A merge has been made durable.
    pub fn merged(&mut self, merged: Merged) {
        self.recorder.merged(merged);
        self.recorder.publish();
    }

    /// Gives up in memory what is in the archive, until about so many bytes are taken: facts until they take at most half of
    /// that or all that subjects leave, though none while a checkpoint is under way, then subjects, those first that were not
    /// touched for longest.
    pub fn shrink(&mut self, to_bytes: usize) {
        let to_bytes = to_bytes.saturating_sub(self.timers.bytes());
        let for_facts = to_bytes.saturating_sub(self.residents.bytes()).max(to_bytes / 2);
        if self.is_checkpoint_under_way() {
            self.recorder.limit_cells(for_facts);
        } else {
            self.recorder.shrink(for_facts);
            self.recorder.publish();
        }
        self.residents.shrink(to_bytes.saturating_sub(self.recorder.bytes()), self.archived);
    }

    fn change_rules(
        &mut self,
        tenant_name: Symbol,
        change: RuleChange,
        unsettled: &mut Unsettled,
    ) -> Result<(), Unreadable> {
        let tenant = self.tenants.entry(tenant_name).or_default();
        let Touched { conversations, surveys } = tenant.book.change(change);
        let new = tenant.book.rules();
        for (kind, is_touched) in [(SubjectKind::Conversation, conversations), (SubjectKind::Survey, surveys)] {
            if !is_touched {
                continue;
            }
            // Those that are here are folded with the old rules now, and with the new ones when they are settled.
            for place in self.residents.of(tenant_name, kind) {
                if let Some(resident) = self.residents.get_mut(place) {
                    resident.subject.unsettle(&self.names, &tenant.rules);
                    unsettled.0.push(place);
                }
            }
            // The others one by one, so that they need not all be here at once.
            for number in self.residents.others(self.place.number, &*self.archive, tenant_name, kind)? {
                let rules = (&*self.names, &tenant.rules);
                let subject = Subject::load(&*self.archive, self.place.number, number, kind, rules)?;
                let facts = subject.under_other_rules(&self.names, &tenant.rules, &new);
                self.timers.record(tenant_name, number, &facts, &mut self.recorder);
            }
        }
        let had_calendars = tenant.rules.has_calendars();
        tenant.rules = new;
        if had_calendars != tenant.rules.has_calendars() {
            let itself = *tenant.itself.get_or_insert_with(|| self.recorder.add_subject("".into()));
            let mut facts = Facts::new(&self.names, &tenant.rules);
            let series = facts.series(&DimensionValues::default());
            let fact = facts.state(Measure::BusinessHours, Timestamp::MIN, series, 0);
            let fact = if had_calendars { fact.inverse() } else { fact };
            self.recorder.record(tenant_name, itself, &[fact]);
        }
        Ok(())
    }

    /// The place of a subject that is to be changed: it is here from now on.
    fn bring(&mut self, whose: Whose) -> Result<residents::Place, Unreadable> {
        let tenant = self.tenants.entry(whose.tenant).or_default();
        let rules = (&*self.names, &tenant.rules);
        self.residents.bring(whose, (self.place.number, &*self.archive), rules, &mut self.recorder)
    }

    /// Changes a subject, recording the facts that follow at once and noting it when it is unsettled after that.
    fn change(
        &mut self,
        place: residents::Place,
        unsettled: &mut Unsettled,
        change: impl FnOnce(&mut Subject, &mut Facts),
    ) {
        let Resident { tenant: tenant_name, number, subject, .. } =
            self.residents.begin_change(place, self.place.number);
        let Some(tenant) = self.tenants.get(tenant_name) else { unreachable!("a subject's tenant is known") };
        let was_settled = !subject.is_unsettled();
        let mut facts = Facts::reusing(std::mem::take(&mut self.facts), &self.names, &tenant.rules);
        change(subject, &mut facts);
        self.facts = facts.into_list();
        self.timers.record(*tenant_name, *number, &self.facts, &mut self.recorder);
        if was_settled && subject.is_unsettled() {
            unsettled.0.push(place);
        }
        self.residents.end_change(place);
    }

    /// Settles subjects, delivers what that moves within the partition, and so on; returns what goes elsewhere.
    fn settle(&mut self, mut unsettled: Unsettled) -> Result<Vec<Letter>, Unreadable> {
        let mut elsewhere = Vec::new();
        // Each round passes messages on by one merge. A message never goes back to where it was written and stands once in
        // a letter, so letters stop changing even where conversations are merged in a circle.
        while !unsettled.0.is_empty() {
            let mut here = Vec::new();
            for place in std::mem::take(&mut unsettled.0) {
                let Some(Resident { tenant: tenant_name, number, subject, .. }) = self.residents.get_mut(place) else {
                    continue;
                };
                let Some(tenant) = self.tenants.get(tenant_name) else { continue };
                let facts = subject.settle(&self.names, &tenant.rules);
                self.timers.record(*tenant_name, *number, &facts, &mut self.recorder);
                for (to, messages) in subject.outgoing(&self.names) {
                    let conversation = SubjectRef { kind: SubjectKind::Conversation, id: &to };
                    let partition = route(self.names.text(*tenant_name), conversation, self.place.of);
                    let letters = if partition == self.place.number { &mut here } else { &mut elsewhere };
                    letters.push(Letter { tenant: *tenant_name, from: subject.id().clone(), to, messages });
                }
            }
            self.deliver(here, &mut unsettled)?;
        }
        Ok(elsewhere)
    }

    fn deliver(&mut self, letters: Vec<Letter>, unsettled: &mut Unsettled) -> Result<(), Unreadable> {
        for Letter { tenant, from, to, messages } in letters {
            let whose = Whose { tenant, kind: SubjectKind::Conversation, id: &to };
            let place = self.bring(whose)?;
            self.change(place, unsettled, |subject, facts| {
                subject.receive(from, messages, facts.names(), facts.rules());
            });
        }
        Ok(())
    }
}

/// Subjects that have to be settled before a block is shown.
#[derive(Debug, Default)]
struct Unsettled(Vec<residents::Place>);
