//! Partitions that take in sketches, and all they have to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use deskpulse_core::calendar::{Block as OpenBlock, Hours};
use deskpulse_core::dimension::Dimension;
use deskpulse_core::event::CreditKey;
use deskpulse_core::fact::{Anchor, Clock, Measure};
use deskpulse_core::filter::Filter;
use deskpulse_core::grid::{ColumnKey, Range, StoredFact, View};
use deskpulse_core::interval::{Cut, Interval, cut};
use deskpulse_core::partition::{Arrival, Block, Letter, Partition, Place};
use deskpulse_core::rules::{Policy, RuleChange, Settings, Target, TargetKind};
use deskpulse_core::series::{DimensionValues, Names, Symbol};
use deskpulse_core::snapshot::{Gathered, Group, Part, Partial, Plan, Reduction, Rows, collect, merge};
use deskpulse_core::state::Mention;
use deskpulse_core::subject::{SubjectKind, SubjectRef, route};
use deskpulse_core::time::Timestamp;
use deskpulse_core::timeline::Added;

use super::archive::MemoryArchive;
use super::sketch::{START_MS, Sketch};
use crate::harness::Random;

/// Some partitions and what reached them.
pub(super) struct World {
    pub(super) partitions: Vec<Partition>,
    names: Arc<Names>,
    tenant: Symbol,
    pub(super) added: Vec<Added>,
    /// The instant of the clock on the wall.
    pub(super) now: Timestamp,
    pub(super) archive: Arc<MemoryArchive>,
    /// Every block of each partition.
    log: Vec<Vec<Block>>,
    /// The letters each partition has got.
    letters: Vec<Vec<Letter>>,
}

impl World {
    pub(super) fn new(partitions: u32, now: Timestamp) -> Self {
        let names = Arc::new(Names::default());
        let tenant = names.symbol("t");
        let place = |number| Place { number, of: partitions };
        let archive = Arc::new(MemoryArchive::default());
        let open = |number| Partition::open(Arc::clone(&names), place(number), Arc::<MemoryArchive>::clone(&archive));
        let opened = (0..partitions).map(|number| open(number).expect("nothing to read")).collect();
        let log = vec![Vec::new(); partitions as usize];
        let letters = vec![Vec::new(); partitions as usize];
        Self { partitions: opened, names, tenant, added: Vec::new(), now, archive, log, letters }
    }

    /// Puts away what a partition has come to, and gives all of it up in memory.
    pub(super) fn put_away(&mut self, number: usize) {
        if !self.partitions[number].is_checkpoint_under_way() {
            self.begin_to_put_away(number);
        }
        self.go_on_putting_away(number, usize::MAX);
    }

    fn begin_to_put_away(&mut self, number: usize) {
        let taken = self.letters[number].len() as u64;
        self.partitions[number].begin_checkpoint(self.log[number].len() as u64, taken);
        // What is in the archive already may go meanwhile.
        self.partitions[number].shrink(0);
    }

    fn go_on_putting_away(&mut self, number: usize, subjects: usize) {
        let partition = &mut self.partitions[number];
        let Some(checkpoint) = partition.go_on_with_checkpoint(subjects) else { return };
        let (changes, worked_out) = checkpoint.work_out();
        self.archive.commit(changes);
        partition.kept(&worked_out.durable());
        for merge in partition.merges(usize::MAX) {
            let (changes, merged) = merge.work_out(&*self.archive).expect("readable");
            self.archive.commit(changes);
            partition.merged(merged);
        }
        partition.shrink(0);
    }

    /// The process ends and starts again: everything comes from the archive and, after that, from the log.
    pub(super) fn start_again(&mut self) {
        let of = u32::try_from(self.partitions.len()).expect("few");
        for number in 0..of {
            let (index, place) = (number as usize, Place { number, of });
            let opened = Partition::open(Arc::clone(&self.names), place, Arc::<MemoryArchive>::clone(&self.archive));
            let mut partition = opened.expect("readable");
            let position = usize::try_from(partition.position()).expect("few blocks");
            for block in &self.log[index][..position] {
                if let Some((tenant, change)) = block.change.clone() {
                    partition.recall(tenant, change);
                }
            }
            // What its senders have in the archive comes again; what they send while they replay comes, too.
            let taken = usize::try_from(partition.letters_taken()).expect("few");
            let lost = self.letters[index].split_off(taken);
            self.partitions[index] = partition;
            self.deliver(lost);
        }
        for index in 0..self.partitions.len() {
            let position = usize::try_from(self.partitions[index].position()).expect("few blocks");
            let blocks: Vec<Block> = self.log[index][position..].to_vec();
            for block in blocks {
                let (_, letters) = self.partitions[index].apply(block, self.now).expect("readable");
                self.deliver(letters);
            }
        }
    }

    /// Applies sketches in this order, in blocks of random sizes up to `most`; now and then partitions put everything away,
    /// or the process starts again.
    pub(super) fn apply_with_interruptions(&mut self, sketches: &[Sketch], order: &[usize], most: usize, seed: u64) {
        let mut random = Random(seed);
        let mut rest = order;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
            self.apply_batch(sketches, batch);
            rest = after;
            for number in 0..self.partitions.len() {
                match random.below(4) {
                    0 if self.partitions[number].is_checkpoint_under_way() => self.go_on_putting_away(number, 1),
                    0 => self.begin_to_put_away(number),
                    1 => self.put_away(number),
                    _ => {}
                }
            }
            if random.below(5) == 0 {
                self.start_again();
            }
        }
    }

    /// Applies sketches in this order, in blocks of random sizes up to `most`.
    pub(super) fn apply(&mut self, sketches: &[Sketch], order: &[usize], most: usize, seed: u64) {
        let mut random = Random(seed);
        let mut rest = order;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
            self.apply_batch(sketches, batch);
            rest = after;
        }
    }

    pub(super) fn apply_batch(&mut self, sketches: &[Sketch], batch: &[usize]) {
        let mut blocks: Vec<Block> = self.partitions.iter().map(|_| Block::default()).collect();
        let of = u32::try_from(blocks.len()).expect("few");
        let place = |kind, id: &str| route("t", SubjectRef { kind, id }, of) as usize;
        for number in batch {
            let sketch = &sketches[*number];
            let (kind, subject) = sketch.kind(sketches);
            let subject = format!("c{subject}");
            let event = sketch.event(*number, sketches, &self.names);
            let at = event.time;
            blocks[place(kind, &subject)].arrivals.push(Arrival {
                tenant: self.tenant,
                kind,
                subject: subject.into(),
                event,
            });
            if let (Some(conversation), Some(key)) = (sketch.mentions(), sketch.credit(*number, sketches)) {
                let conversation = format!("c{conversation}");
                let block = &mut blocks[place(SubjectKind::Conversation, &conversation)];
                block.mentions.push((self.tenant, conversation.into(), Mention { at, key }));
            }
        }
        let mut letters = Vec::new();
        for ((partition, log), block) in self.partitions.iter_mut().zip(&mut self.log).zip(blocks) {
            log.push(block.clone());
            let (added, more) = partition.apply(block, self.now).expect("readable");
            self.added.extend(added);
            letters.extend(more);
        }
        self.deliver(letters);
    }

    /// Letters arrive in the order they were written.
    fn deliver(&mut self, letters: Vec<Letter>) {
        let of = u32::try_from(self.partitions.len()).expect("few");
        let mut letters = VecDeque::from(letters);
        while let Some(letter) = letters.pop_front() {
            let to = route("t", SubjectRef { kind: SubjectKind::Conversation, id: &letter.to }, of);
            self.letters[to as usize].push(letter.clone());
            letters.extend(self.partitions[to as usize].receive(vec![letter], self.now).expect("readable"));
        }
    }

    /// Every partition reads every change.
    fn change(&mut self, change: &RuleChange) {
        let mut letters = Vec::new();
        for (partition, log) in self.partitions.iter_mut().zip(&mut self.log) {
            let block = Block { change: Some((self.tenant, change.clone())), ..Block::default() };
            log.push(block.clone());
            letters.extend(partition.apply(block, self.now).expect("readable").1);
        }
        self.deliver(letters);
    }

    /// Business hours in Berlin for the first team, and an SLA policy on each clock.
    pub(super) fn configure(&mut self) {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
        let blocks = (1..6).map(|weekday| OpenBlock::new(weekday, 540, 1_020).expect("a block")).collect();
        let hours = Hours { zone, blocks, holidays: Vec::new(), openings: Vec::new() };
        let team_calendars = [(self.names.symbol("first"), "office".into())].into();
        let target = |kind, at_most_ms, clock| Target { kind, at_most_ms, clock, lead_ms: Some(at_most_ms / 2) };
        let policy = Policy {
            filter: Filter::Everything,
            targets: vec![
                target(TargetKind::FirstResponse, 60_000, Clock::Calendar),
                target(TargetKind::NextResponse, 1_000, Clock::Business),
                target(TargetKind::Resolution, 901_000, Clock::Calendar),
            ],
        };
        let of_second = Policy { filter: Filter::parse("team = second").expect("a filter"), ..policy.clone() };
        let from = Timestamp::clamped(START_MS - 1);
        let later = Timestamp::clamped(START_MS + 900_000);
        let id = self.names.symbol("p");
        for change in [
            RuleChange::Calendar { id: "office".into(), effective_from: from, hours },
            RuleChange::Settings(Settings { team_calendars, ..Settings::default() }),
            RuleChange::Policy { id, effective_from: from, policy },
            RuleChange::Policy { id, effective_from: later, policy: of_second },
        ] {
            self.change(&change);
        }
    }

    fn views(&self) -> Vec<View> {
        self.partitions.iter().map(|partition| partition.reader().view()).collect()
    }

    /// A level, or its changes, quarter day by quarter day and by team.
    pub(super) fn levels(&self, measure: Measure, reduction: Reduction) -> BTreeMap<(u32, Group), Partial> {
        let bounds: Vec<i64> = (0..8).map(|step| START_MS - 1 + step * 21_600_000).collect();
        let cut = Cut::new(bounds, (0..7).collect()).expect("they ascend");
        let part = Part {
            measures: vec![measure],
            anchor: Anchor::Completion,
            clock: Clock::Calendar,
            reduction,
            at_most: Vec::new(),
            filter: Filter::Everything,
        };
        let group_by = vec![Dimension::Team];
        let plan = Plan {
            parts: vec![part],
            filter: Filter::Everything,
            group_by,
            only: None,
            cut,
            now: self.now,
            rows_a_group: 1,
        };
        let rows = self.collect(&plan).into_iter();
        rows.map(|((group, bucket), partials)| ((bucket, group), partials[0].clone())).collect()
    }

    /// What all partitions together have to say.
    fn collect(&self, plan: &Plan) -> Rows {
        let views = self.views();
        let gathered = Gathered::gather(views.iter(), self.tenant, plan).expect("readable");
        let mut rows = Rows::default();
        for view in &views {
            let more = collect(view, &self.names, self.tenant, plan, &gathered).expect("few rows");
            merge(&mut rows, more);
        }
        rows
    }

    /// Everything there is to say: every measure, every reduction, by team, agent and tag, day by day.
    pub(super) fn everything(&self) -> Rows {
        let start = Timestamp::clamped(START_MS - 3_600_000);
        let end = Timestamp::clamped(START_MS + 100_000_000);
        let (cut, _) = cut(start, end, Some(Interval::Day), &[], &jiff::tz::TimeZone::UTC).expect("cuts");
        let group_by = vec![Dimension::Team, Dimension::Agent, Dimension::Tag];
        let plan = Plan {
            parts: parts(),
            filter: Filter::Everything,
            group_by,
            only: None,
            cut,
            now: self.now,
            rows_a_group: 1,
        };
        let rows = self.collect(&plan);
        let is_something = |partials: &Vec<_>| partials.iter().any(|partial| *partial != Partial::default());
        rows.into_iter().filter(|(_, partials)| is_something(partials)).collect()
    }

    /// Sees every fact of every column.
    pub(super) fn facts(&self, mut see: impl FnMut(ColumnKey, StoredFact)) {
        for view in self.views() {
            // Each partition says for itself that there are business hours.
            for measure in Measure::ALL.iter().filter(|measure| **measure != Measure::BusinessHours) {
                for (anchor, clock) in [
                    (Anchor::Completion, Clock::Calendar),
                    (Anchor::Completion, Clock::Business),
                    (Anchor::Start, Clock::Calendar),
                    (Anchor::Start, Clock::Business),
                ] {
                    let key = ColumnKey { measure: *measure, anchor, clock };
                    let all = Range { from_inclusive: i64::MIN / 2, to_exclusive: i64::MAX / 2 };
                    view.facts(self.tenant, key, all, |fact| see(key, fact)).expect("readable");
                }
            }
        }
    }

    /// The facts that stand, by readable names.
    pub(super) fn standing(&self) -> BTreeMap<String, i64> {
        let mut facts = BTreeMap::new();
        self.facts(|key, fact| {
            let values = self.names.values(fact.series);
            *facts.entry(readable(key, fact.at_ms, values, fact.value, &self.names)).or_insert(0) += fact.weight.sign();
        });
        facts.retain(|_, count| *count != 0);
        facts
    }
}

/// Every measure with every reduction that fits it.
fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    for measure in Measure::ALL {
        let reductions: &[Reduction] = if is_level(*measure) {
            &[
                Reduction::Level,
                Reduction::LevelAtStart,
                Reduction::LevelAge,
                Reduction::LevelNext,
                Reduction::LevelChange,
                Reduction::Time,
            ]
        } else if matches!(measure, Measure::FirstContact | Measure::SessionResolved) {
            &[Reduction::NotFollowed]
        } else {
            &[Reduction::Distribution, Reduction::Distinct, Reduction::Repeated, Reduction::DistinctValues]
        };
        let anchors: &[Anchor] =
            if measure.has_start() { &[Anchor::Completion, Anchor::Start] } else { &[Anchor::Completion] };
        let clocks: &[Clock] =
            if measure.has_clocks() { &[Clock::Calendar, Clock::Business] } else { &[Clock::Calendar] };
        for reduction in reductions {
            for (anchor, clock) in anchors.iter().flat_map(|anchor| clocks.iter().map(move |clock| (*anchor, *clock))) {
                parts.push(Part {
                    measures: vec![*measure],
                    anchor,
                    clock,
                    reduction: *reduction,
                    at_most: vec![0, 60_000],
                    filter: Filter::Everything,
                });
            }
        }
    }
    parts
}

pub(super) fn is_level(measure: Measure) -> bool {
    matches!(
        measure,
        Measure::Backlog
            | Measure::Unanswered
            | Measure::InQueue
            | Measure::Handling
            | Measure::SlaAtRisk
            | Measure::Customers
            | Measure::AgentAvailable
            | Measure::AgentHandling
            | Measure::AgentAway
            | Measure::AgentOffline
            | Measure::AgentSlots
            | Measure::Scheduled
            | Measure::Adherent
            | Measure::Paid
            | Measure::PaidWorking
            | Measure::Productive
            | Measure::Headcount
    )
}

fn readable(key: ColumnKey, at_ms: i64, values: Option<&DimensionValues>, value: i64, names: &Names) -> String {
    let values = values.expect("a series has values");
    let dimensions: Vec<String> = Dimension::STANDARD
        .iter()
        .filter_map(|dimension| Some(format!("{dimension}={}", names.text(values.get(dimension)?))))
        .collect();
    let mut tags: Vec<&str> = values.tags().iter().map(|tag| names.text(*tag)).collect();
    tags.sort_unstable();
    tags.extend(values.custom(names.symbol("plan")).map(|plan| names.text(plan)));
    let credit = values.credit().map_or(0, CreditKey::get);
    let ColumnKey { measure, anchor, clock } = key;
    let (name, dimensions, tags) = (measure.name(), dimensions.join(" "), tags.join("+"));
    format!("{name} {anchor:?} {clock:?} at {at_ms} {dimensions} {tags} {credit} = {value}")
}
