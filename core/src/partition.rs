//! A partition: the subjects whose events are routed to it, their grid and their timers. One writer owns it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::Event;
use crate::fact::{Fact, Facts, Measure, Weight};
use crate::grid::{Reader, Recorder, SubjectNumber, grid};
use crate::rules::{RuleBook, RuleChange, Rules};
use crate::series::{DimensionValues, Names, Symbol};
use crate::state::{Mention, Moved, Subject};
use crate::subject::{SubjectKind, SubjectRef, route};
use crate::time::Timestamp;
use crate::timeline::Added;

/// A partition. What it shows is a function of the set of events applied to it, of its tenants' rules, of the messages
/// moved to it and of the instant its timers have fired up to.
#[derive(Debug)]
pub struct Partition {
    names: Arc<Names>,
    place: Place,
    recorder: Recorder,
    reader: Reader,
    tenants: HashMap<Symbol, Tenant>,
    timers: Timers,
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
#[derive(Debug, Default)]
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
    pub subject: Box<str>,
    /// The event.
    pub event: Event,
}

/// Messages for a conversation of another partition: all that one conversation merged into it has to give.
///
/// A later letter from the same conversation takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The tenant.
    pub tenant: Symbol,
    /// The conversation that was merged.
    pub from: Arc<str>,
    /// The conversation it was merged into.
    pub to: Box<str>,
    /// Its messages.
    pub messages: Vec<Moved>,
}

#[derive(Debug, Default)]
struct Tenant {
    subjects: [HashMap<Arc<str>, (SubjectNumber, Subject)>; SubjectKind::COUNT],
    book: RuleBook,
    rules: Rules,
    /// The subject that facts about the tenant itself are recorded for.
    itself: Option<SubjectNumber>,
}

/// Facts whose instant has not come yet, by that instant, each with how often it stands.
#[derive(Debug)]
struct Timers {
    waiting: BTreeMap<Timestamp, HashMap<(Symbol, SubjectNumber, Fact), i64>>,
    fired_until: Timestamp,
}

impl Partition {
    /// An empty partition that interns with `names`.
    #[must_use]
    pub fn new(names: Arc<Names>, place: Place) -> Self {
        let (recorder, reader) = grid();
        let timers = Timers { waiting: BTreeMap::new(), fired_until: Timestamp::MIN };
        Self { names, place, recorder, reader, tenants: HashMap::new(), timers }
    }

    /// A reader of the partition's grid, for other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Applies a block of the log, all of it at once to readers, and fires the timers up to `now`. Returns what each of its
    /// events did, and letters for other partitions.
    pub fn apply(&mut self, block: Block, now: Timestamp) -> (Vec<Added>, Vec<Letter>) {
        self.timers.advance(now, &mut self.recorder);
        let mut unsettled = Unsettled::default();
        if let Some((tenant, change)) = block.change {
            self.change_rules(tenant, change, &mut unsettled);
        }
        let mut added = Vec::with_capacity(block.arrivals.len());
        for Arrival { tenant, kind, subject, event } in block.arrivals {
            self.with_subject(tenant, kind, &subject, &mut unsettled, |subject, facts| {
                added.push(subject.add(event, facts));
            });
        }
        for (tenant, conversation, mention) in block.mentions {
            self.with_subject(tenant, SubjectKind::Conversation, &conversation, &mut unsettled, |subject, facts| {
                subject.mention(mention, facts);
            });
        }
        let letters = self.settle(unsettled);
        self.recorder.publish();
        (added, letters)
    }

    /// Takes in letters from other partitions. Returns letters that follow from them.
    pub fn receive(&mut self, letters: Vec<Letter>, now: Timestamp) -> Vec<Letter> {
        self.timers.advance(now, &mut self.recorder);
        let mut unsettled = Unsettled::default();
        self.deliver(letters, &mut unsettled);
        let letters = self.settle(unsettled);
        self.recorder.publish();
        letters
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
        self.timers.waiting.keys().next().copied()
    }

    fn change_rules(&mut self, tenant_name: Symbol, change: RuleChange, unsettled: &mut Unsettled) {
        let tenant = self.tenants.entry(tenant_name).or_default();
        let touched = tenant.book.change(change);
        // What it touches is folded with the old rules first, and with the new ones when it is settled.
        for (kind, is_touched) in
            [(SubjectKind::Conversation, touched.conversations), (SubjectKind::Survey, touched.surveys)]
        {
            for (id, (_, subject)) in tenant.subjects[kind as usize].iter_mut().filter(|_| is_touched) {
                subject.unsettle(&self.names, &tenant.rules);
                unsettled.0.push((tenant_name, kind, Arc::clone(id)));
            }
        }
        let had_calendars = tenant.rules.has_calendars();
        tenant.rules = tenant.book.rules();
        if had_calendars != tenant.rules.has_calendars() {
            let itself = *tenant.itself.get_or_insert_with(|| self.recorder.add_subject("".into()));
            let mut facts = Facts::new(&self.names, &tenant.rules);
            let series = facts.series(&DimensionValues::default());
            let fact = facts.state(Measure::BusinessHours, Timestamp::MIN, series, 0);
            let fact = if had_calendars { fact.inverse() } else { fact };
            self.recorder.record(tenant_name, itself, &fact);
        }
    }

    /// Changes a subject, recording the facts that follow at once and noting it when it is unsettled after that.
    fn with_subject(
        &mut self,
        tenant_name: Symbol,
        kind: SubjectKind,
        id: &str,
        unsettled: &mut Unsettled,
        change: impl FnOnce(&mut Subject, &mut Facts),
    ) {
        let tenant = self.tenants.entry(tenant_name).or_default();
        let subjects = &mut tenant.subjects[kind as usize];
        if !subjects.contains_key(id) {
            let id: Arc<str> = id.into();
            let number = self.recorder.add_subject(Arc::clone(&id));
            subjects.insert(Arc::clone(&id), (number, Subject::new(kind, id)));
        }
        let Some((number, subject)) = subjects.get_mut(id) else { unreachable!("the subject has just been put there") };
        let was_settled = !subject.is_unsettled();
        let mut facts = Facts::new(&self.names, &tenant.rules);
        change(subject, &mut facts);
        for fact in facts.into_list() {
            self.timers.record(tenant_name, *number, fact, &mut self.recorder);
        }
        if was_settled && subject.is_unsettled() {
            unsettled.0.push((tenant_name, kind, id.into()));
        }
    }

    /// Settles subjects, delivers what that moves within the partition, and so on; returns what goes elsewhere.
    fn settle(&mut self, mut unsettled: Unsettled) -> Vec<Letter> {
        let mut elsewhere = Vec::new();
        // Each round passes messages on by one merge. A message never goes back to where it was written and stands once in
        // a letter, so letters stop changing even where conversations are merged in a circle.
        while !unsettled.0.is_empty() {
            let mut here = Vec::new();
            for (tenant_name, kind, id) in std::mem::take(&mut unsettled.0) {
                let Some(tenant) = self.tenants.get_mut(&tenant_name) else { continue };
                let Some((number, subject)) = tenant.subjects[kind as usize].get_mut(&id) else { continue };
                for fact in subject.settle(&self.names, &tenant.rules) {
                    self.timers.record(tenant_name, *number, fact, &mut self.recorder);
                }
                for (to, messages) in subject.outgoing(&self.names) {
                    let conversation = SubjectRef { kind: SubjectKind::Conversation, id: &to };
                    let partition = route(self.names.text(tenant_name), conversation, self.place.of);
                    let letters = if partition == self.place.number { &mut here } else { &mut elsewhere };
                    letters.push(Letter { tenant: tenant_name, from: Arc::clone(&id), to, messages });
                }
            }
            self.deliver(here, &mut unsettled);
        }
        elsewhere
    }

    fn deliver(&mut self, letters: Vec<Letter>, unsettled: &mut Unsettled) {
        for Letter { tenant, from, to, messages } in letters {
            self.with_subject(tenant, SubjectKind::Conversation, &to, unsettled, |subject, facts| {
                subject.receive(from, messages, facts.names(), facts.rules());
            });
        }
    }
}

/// Subjects that have to be settled before a block is shown.
#[derive(Debug, Default)]
struct Unsettled(Vec<(Symbol, SubjectKind, Arc<str>)>);

impl Timers {
    /// Records a fact, now or when its instant has come.
    fn record(&mut self, tenant: Symbol, subject: SubjectNumber, fact: Fact, recorder: &mut Recorder) {
        if !fact.measure.is_timed() || fact.at <= self.fired_until {
            recorder.record(tenant, subject, &fact);
            return;
        }
        let due = self.waiting.entry(fact.at).or_default();
        let key = (tenant, subject, Fact { weight: Weight::Plus, ..fact });
        let count = due.entry(key).or_default();
        *count += fact.weight.sign();
        if *count == 0 {
            due.remove(&key);
        }
        if due.is_empty() {
            self.waiting.remove(&fact.at);
        }
    }

    /// Records what has come due; false when nothing has.
    fn advance(&mut self, now: Timestamp, recorder: &mut Recorder) -> bool {
        self.fired_until = self.fired_until.max(now);
        let mut any = false;
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= self.fired_until) {
            any = true;
            for ((tenant, subject, fact), count) in first.remove() {
                let fact = if count < 0 { fact.inverse() } else { fact };
                (0..count.unsigned_abs()).for_each(|_| recorder.record(tenant, subject, &fact));
            }
        }
        any
    }
}
