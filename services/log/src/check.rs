//! Looking a log over while nobody has it open, and putting a damaged one in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deskpulse_disk::{Access, Disk, RealDisk};

use crate::embedded::lock;
use crate::folder::{Folder, Kind};
use crate::index::Summary;
use crate::meta::{self, First};
use crate::sealed::{self, Sealed, SealedWriter};
use crate::segment::{
    FRAME_HEADER, Identity, SEGMENT_HEADER, SEGMENT_HEADER_BYTES, Salt, SegmentHeader, frame_at, headers_in,
};
use crate::{LogError, PartitionId, Position};

/// What a log holds, found by reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's number.
    pub identity: u64,
    /// Every partition, from 0 on.
    pub partitions: Vec<PartitionReport>,
    /// Every segment, oldest first; without those that are missing.
    pub segments: Vec<SegmentReport>,
    /// What is wrong. A torn tail, which was never acknowledged, is not.
    pub damage: Vec<Damage>,
}

/// The blocks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionReport {
    /// The first block that is there, or the next one when there is none.
    pub first: Position,
    /// The last block that is there; one before the first when there is none.
    pub head: Position,
    /// Blocks between the two that are not sound or were lost before an earlier repair.
    pub lost: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// The file.
    pub file: PathBuf,
    /// In which form it is.
    pub form: SegmentForm,
    /// How large the file is.
    pub file_bytes: u64,
    /// How many sound blocks it has.
    pub blocks: u64,
    /// How many bytes their payloads have.
    pub payload_bytes: u64,
}

/// In which form a segment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentForm {
    /// As it was written.
    Raw,
    /// Compressed.
    Sealed,
}

/// A stretch of a file that is not what was written there, or a file that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the stretch begins.
    pub offset: u64,
    /// How long it is; 0 when something is missing.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
}

/// Blocks that a repair gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Their partition.
    pub partition: PartitionId,
    /// The first of them.
    pub first: Position,
    /// The last of them.
    pub last: Position,
}

/// A sound block of a log that is read as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The file it stands in.
    pub file: &'a Path,
    /// In which form that is.
    pub form: SegmentForm,
    /// Its partition.
    pub partition: PartitionId,
    /// Where it stands in its partition.
    pub position: Position,
    /// What was appended, byte for byte.
    pub payload: &'a [u8],
}

/// What [`walk_on`] calls for every block.
pub type See<'a> = dyn FnMut(Seen<'_>) -> ControlFlow<()> + 'a;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repair {
    /// The damaged files as they were, each in `quarantine/` and named with the damaged bytes.
    pub quarantined: Vec<PathBuf>,
    /// The blocks that are lost. Readers get them empty.
    pub lost: Vec<Lost>,
}

/// Reads a whole log in a folder of the file system, as [`inspect_on`] does.
pub fn inspect(dir: &Path) -> Result<Report, LogError> {
    inspect_on(Arc::new(RealDisk), dir)
}

/// Reads a whole log and says what is there and what is wrong, without changing a byte. Refused while the log is open.
pub fn inspect_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, LogError> {
    let folder = Folder { disk, path: dir.to_owned() };
    let _lock = lock_if_possible(&folder)?;
    Ok(Survey::of(&folder)?.report())
}

/// Reads a whole log as [`inspect_on`] does and shows every sound block on the way; `None` when `see` broke it off.
///
/// Segment by segment, and in each one partition after the other, so that the blocks of every partition come in their order. Blocks
/// that are lost are left out. What was damaged is known only at the end. One segment is held in memory at a time.
pub fn walk_on(disk: Arc<dyn Disk>, dir: &Path, see: &mut See<'_>) -> Result<Option<Report>, LogError> {
    let folder = Folder { disk, path: dir.to_owned() };
    let _lock = lock_if_possible(&folder)?;
    Ok(Survey::seeing(&folder, Some(see))?.map(|survey| survey.report()))
}

/// Repairs a log in a folder of the file system, as [`repair_on`] does.
pub fn repair(dir: &Path) -> Result<Repair, LogError> {
    repair_on(Arc::new(RealDisk), dir, &[])
}

/// Puts a damaged log in order, so that it opens again with every block that is sound.
///
/// A damaged segment is copied to `quarantine/` first, whole, under its name and the damaged bytes. Then a compressed segment takes
/// its place, with its sound blocks; where a block is lost, there is an empty one, so that positions keep their meaning and
/// have no gap. Nothing is deleted before its copy is durable, a sound log stays as it is, and a repair that
/// was cut short can be done again. `durable` are positions known to have been durable, of partition 0 on: up to them, blocks
/// that are missing at the end count as lost too. Refused while the log is open.
pub fn repair_on(disk: Arc<dyn Disk>, dir: &Path, durable: &[Position]) -> Result<Repair, LogError> {
    let folder = Folder { disk, path: dir.to_owned() };
    let _lock = lock(&folder)?;
    Survey::of(&folder)?.repair(durable)
}

/// Locks the folder unless that would need a change, which nobody can make then.
fn lock_if_possible(folder: &Folder) -> Result<Option<Arc<dyn Send + Sync>>, LogError> {
    let names = folder.disk.list(&folder.path).map_err(LogError::io("list", &folder.path))?;
    if !names.iter().any(|name| name == "log.lock") {
        return Ok(None);
    }
    match lock(folder) {
        Err(LogError::Io { source, .. })
            if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
        {
            Ok(None)
        }
        locked => locked.map(Some),
    }
}

type Blocks = BTreeMap<(PartitionId, Position), Option<Vec<u8>>>;

/// What could be read of a segment.
#[derive(Debug, Default)]
struct Found {
    /// The file it was read from; none when there is none.
    file: Option<(PathBuf, SegmentForm, u64)>,
    /// What the segment says of itself, when that is sound.
    summary: Option<Summary>,
    first_sequence: Option<u64>,
    next_sequence: Option<u64>,
    /// Each partition's first block and the one after its last.
    ranges: BTreeMap<PartitionId, (Position, Position)>,
    /// Where the frames of a segment as written end, as far as they are sound.
    end: u64,
    blocks: u64,
    payload_bytes: u64,
    lost: BTreeMap<PartitionId, u64>,
    /// What is damaged of it.
    damage: Vec<Damage>,
    /// Damaged files that are not needed, because another form of the segment is sound.
    unneeded: Vec<Damage>,
}

impl Found {
    fn add(&mut self, partition: PartitionId, position: Position, payload: Option<&[u8]>) {
        let range = self.ranges.entry(partition).or_insert((position, position));
        *range = (range.0.min(position), range.1.max(position.next()));
        match payload {
            Some(payload) => {
                self.blocks += 1;
                self.payload_bytes += payload.len() as u64;
            }
            None => *self.lost.entry(partition).or_default() += 1,
        }
    }
}

/// A whole log, read.
struct Survey<'a> {
    folder: &'a Folder,
    identity: Identity,
    meta_damage: Option<Damage>,
    first_damage: Option<Damage>,
    first: First,
    segments: BTreeMap<u64, Found>,
}

impl<'a> Survey<'a> {
    fn of(folder: &'a Folder) -> Result<Self, LogError> {
        Ok(Self::seeing(folder, None)?.expect("nobody is there to break it off"))
    }

    /// Reads all, and shows the blocks to whoever wants them; `None` when they had enough.
    fn seeing(folder: &'a Folder, mut see: Option<&mut See<'_>>) -> Result<Option<Self>, LogError> {
        let listing = folder.list()?;
        let numbers: BTreeSet<u64> = listing.raw.iter().chain(&listing.sealed).copied().collect();
        let (identity, meta_damage) = match meta::load(folder) {
            Ok(Some(identity)) => (identity, None),
            Err(error @ (LogError::NewerVersion { .. } | LogError::Io { .. })) => return Err(error),
            bad => {
                let reason = bad.err().map_or_else(|| "the file is missing".to_owned(), |error| error.to_string());
                let identity = identity_in(folder, &numbers)?;
                (identity, Some(Damage { file: meta::path(folder), offset: 0, bytes: 0, reason }))
            }
        };
        let mut survey = Self {
            folder,
            identity,
            meta_damage,
            first_damage: None,
            first: First::whole(identity.partitions),
            segments: BTreeMap::new(),
        };
        let first = match First::load(folder, identity) {
            Ok(first) => Some(first),
            Err(error @ (LogError::NewerVersion { .. } | LogError::Io { .. })) => return Err(error),
            Err(error) => {
                let file = First::path(folder);
                survey.first_damage = Some(Damage { file, offset: 0, bytes: 0, reason: error.to_string() });
                None
            }
        };
        let from = first.as_ref().map_or_else(|| numbers.first().copied().unwrap_or(1), |first| first.segment);
        let last = numbers.last().copied().unwrap_or(from).max(from);
        for number in from..=last {
            let mut blocks = Blocks::new();
            let found = survey.read(number, see.is_some().then_some(&mut blocks))?;
            if let (Some(see), Some((file, form, _))) = (&mut see, &found.file) {
                for ((partition, position), payload) in &blocks {
                    let Some(payload) = payload else { continue };
                    let seen = Seen { file, form: *form, partition: *partition, position: *position, payload };
                    if see(seen).is_break() {
                        return Ok(None);
                    }
                }
            }
            survey.segments.insert(number, found);
        }
        survey.first = first.unwrap_or_else(|| survey.guess_first(from));
        survey.check_sequence();
        Ok(Some(survey))
    }

    /// Where the log begins, by its oldest segment.
    fn guess_first(&self, segment: u64) -> First {
        let partitions = (0..self.identity.partitions).map(PartitionId);
        let starts = partitions.map(|partition| self.start_of(partition, segment).unwrap_or(Position(1))).collect();
        let sequence = self.segments.values().find_map(|found| found.first_sequence).unwrap_or(1);
        First { segment, sequence, starts }
    }

    /// The first position of a partition in this segment or any later one.
    fn start_of(&self, partition: PartitionId, number: u64) -> Option<Position> {
        self.segments.range(number..).find_map(|(_, found)| match &found.summary {
            Some(summary) => summary.starts.get(partition.index()).copied(),
            None => found.ranges.get(&partition).map(|range| range.0),
        })
    }

    /// Reads a segment; its blocks are put into `blocks` when they are wanted.
    fn read(&self, number: u64, mut blocks: Option<&mut Blocks>) -> Result<Found, LogError> {
        let mut unneeded = Vec::new();
        if let Some(bytes) = self.folder.read(&self.folder.file(Kind::Sealed, number))? {
            let found = self.read_sealed(number, &bytes, blocks.as_deref_mut())?;
            let raw = self.folder.read(&self.folder.file(Kind::Raw, number))?;
            if found.damage.is_empty() || raw.is_none() {
                return Ok(found);
            }
            unneeded = found.damage;
            if let Some(blocks) = blocks.as_deref_mut() {
                blocks.clear();
            }
        }
        let mut found = match self.folder.read(&self.folder.file(Kind::Raw, number))? {
            Some(bytes) => self.read_raw(number, &bytes, blocks)?,
            None => Found::default(),
        };
        found.unneeded = unneeded;
        Ok(found)
    }

    fn read_sealed(&self, number: u64, bytes: &[u8], mut blocks: Option<&mut Blocks>) -> Result<Found, LogError> {
        let file = self.folder.file(Kind::Sealed, number);
        let salt = Salt::new(self.identity.log_id, number);
        let mut found = Found::default();
        let chunks = match Sealed::open(self.folder, self.identity, number) {
            Ok(sealed) => {
                found.first_sequence = Some(sealed.summary.first_sequence);
                found.next_sequence = Some(sealed.summary.next_sequence);
                found.summary = Some(sealed.summary);
                sealed.chunks
            }
            Err(LogError::Corrupt { offset, reason, .. }) => {
                let stretch = bytes.len() as u64 - offset.min(bytes.len() as u64);
                found.damage.push(Damage { file: file.clone(), offset, bytes: stretch, reason });
                sealed::chunks_in(bytes, salt)
            }
            Err(error) => return Err(error),
        };
        for chunk in chunks {
            let Some(mut unpacked) = sealed::unpack_from(bytes, &chunk, salt) else {
                let reason = "the chunk does not match its checksum".to_owned();
                found.damage.push(Damage { file: file.clone(), offset: chunk.at, bytes: chunk.bytes(), reason });
                continue;
            };
            while unpacked.position() < chunk.next() {
                let position = unpacked.position();
                let Ok(payload) = unpacked.next() else { break };
                found.add(chunk.partition, position, payload);
                if let Some(blocks) = &mut blocks {
                    blocks.insert((chunk.partition, position), payload.map(<[u8]>::to_vec));
                }
            }
        }
        found.file = Some((file, SegmentForm::Sealed, bytes.len() as u64));
        Ok(found)
    }

    fn read_raw(&self, number: u64, bytes: &[u8], mut blocks: Option<&mut Blocks>) -> Result<Found, LogError> {
        let file = self.folder.file(Kind::Raw, number);
        let salt = Salt::new(self.identity.log_id, number);
        let mut found = Found { file: Some((file.clone(), SegmentForm::Raw, bytes.len() as u64)), ..Found::default() };
        match SegmentHeader::check(bytes, self.identity.log_id, number) {
            SegmentHeader::Sound { .. } => {}
            SegmentHeader::Newer(version) => {
                let known = crate::segment::FORMAT_VERSION;
                return Err(LogError::NewerVersion { file, found: version, known });
            }
            SegmentHeader::Bad => {
                let reason = "the segment header is bad".to_owned();
                found.damage.push(Damage { file: file.clone(), offset: 0, bytes: SEGMENT_HEADER, reason });
            }
        }
        let later = self.anything_after(number)?;
        let mut offset = SEGMENT_HEADER_BYTES;
        loop {
            let rest = bytes.get(offset..).unwrap_or_default();
            let reason = match frame_at(rest, salt) {
                Ok(header) => {
                    let payload = rest.get(FRAME_HEADER..FRAME_HEADER + header.length as usize);
                    found.first_sequence.get_or_insert(header.sequence);
                    found.next_sequence = Some(header.sequence + 1);
                    found.add(header.partition, header.position, payload);
                    if let Some(blocks) = &mut blocks {
                        blocks.insert((header.partition, header.position), payload.map(<[u8]>::to_vec));
                    }
                    offset += FRAME_HEADER + header.length as usize;
                    continue;
                }
                Err(reason) => reason,
            };
            let missing = found.next_sequence.unwrap_or_else(|| self.sequence_before(number) + 1);
            let witnessed = headers_in(rest, salt).any(|(_, header)| header.durable_upto >= missing);
            let next = headers_in(rest, salt).find(|(at, header)| {
                header.sequence >= missing && rest.get(*at..).is_some_and(|rest| frame_at(rest, salt).is_ok())
            });
            let Some((at, _)) = next.filter(|_| witnessed || later) else {
                if witnessed {
                    let bytes = rest.len() as u64;
                    found.damage.push(Damage { file, offset: offset as u64, bytes, reason: reason.to_owned() });
                }
                break;
            };
            let reason = reason.to_owned();
            found.damage.push(Damage { file: file.clone(), offset: offset as u64, bytes: at as u64, reason });
            offset += at;
        }
        found.end = offset as u64;
        Ok(found)
    }

    /// The newest sequence before this segment.
    fn sequence_before(&self, number: u64) -> u64 {
        let before = self.segments.range(..number).rev().find_map(|(_, found)| found.next_sequence);
        before.unwrap_or(self.first.sequence).saturating_sub(1)
    }

    /// Whether anything was written to a later segment.
    fn anything_after(&self, number: u64) -> Result<bool, LogError> {
        let listing = self.folder.list()?;
        if listing.sealed.iter().any(|later| *later > number) {
            return Ok(true);
        }
        for later in listing.raw.into_iter().filter(|later| *later > number) {
            let bytes = self.folder.read(&self.folder.file(Kind::Raw, later))?.unwrap_or_default();
            let rest = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
            if frame_at(rest, Salt::new(self.identity.log_id, later)).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds what is missing between segments that are sound in themselves.
    fn check_sequence(&mut self) {
        let mut sequence = self.first.sequence;
        let last_used = self.last_used();
        let mut before: Option<&mut Found> = None;
        for (number, found) in &mut self.segments {
            let used = last_used.is_some_and(|last| *number <= last);
            let file = self.folder.file(Kind::Raw, *number);
            if found.file.is_none() {
                let reason = "the segment is missing".to_owned();
                found.damage.push(Damage { file, offset: 0, bytes: 0, reason });
            } else if let Some(first) =
                found.first_sequence.filter(|first| *first != sequence && found.damage.is_empty())
            {
                let reason = format!("frame {sequence} is missing, segment {number} begins with {first}");
                match before.as_deref_mut() {
                    // What is missing stood at its end.
                    Some(Found { file: Some((file, SegmentForm::Raw, bytes)), end, damage, .. })
                        if first > sequence =>
                    {
                        let bytes = bytes.saturating_sub(*end);
                        damage.push(Damage { file: file.clone(), offset: *end, bytes, reason });
                    }
                    // It is put in order up to where this one begins.
                    Some(Found { damage, .. }) if !damage.is_empty() => {}
                    Some(_) | None => found.damage.push(Damage { file, offset: SEGMENT_HEADER, bytes: 0, reason }),
                }
            } else if used && found.first_sequence.is_none() && found.damage.is_empty() {
                let reason = "it has no sound frame, yet a later segment has".to_owned();
                let bytes = found.file.as_ref().map_or(0, |(_, _, bytes)| *bytes);
                found.damage.push(Damage {
                    file,
                    offset: SEGMENT_HEADER,
                    bytes: bytes - SEGMENT_HEADER.min(bytes),
                    reason,
                });
            }
            sequence = found.next_sequence.unwrap_or(sequence);
            before = Some(found);
        }
    }

    /// The newest segment that anything was written to.
    fn last_used(&self) -> Option<u64> {
        let used = |found: &Found| found.next_sequence.is_some() || !found.damage.is_empty();
        self.segments.iter().rev().find(|(_, found)| used(found)).map(|(number, _)| *number)
    }

    fn report(&self) -> Report {
        let mut partitions: Vec<_> = self
            .first
            .starts
            .iter()
            .map(|start| PartitionReport { first: *start, head: Position(start.0.saturating_sub(1)), lost: 0 })
            .collect();
        let mut there = vec![0; partitions.len()];
        let mut segments = Vec::new();
        for (number, found) in &self.segments {
            for (partition, (_, next)) in &found.ranges {
                if let Some(report) = partitions.get_mut(partition.index()) {
                    report.head = report.head.max(Position(next.0 - 1));
                }
            }
            for (partition, (from, to)) in &found.ranges {
                if let Some(there) = there.get_mut(partition.index()) {
                    *there += to.0 - from.0 - found.lost.get(partition).copied().unwrap_or_default();
                }
            }
            if let Some((file, form, file_bytes)) = &found.file {
                segments.push(SegmentReport {
                    number: *number,
                    file: file.clone(),
                    form: *form,
                    file_bytes: *file_bytes,
                    blocks: found.blocks,
                    payload_bytes: found.payload_bytes,
                });
            }
        }
        for (report, there) in partitions.iter_mut().zip(there) {
            report.lost = (report.head.next().0 - report.first.0).saturating_sub(there);
        }
        let of_segments = self.segments.values().flat_map(|found| found.unneeded.iter().chain(&found.damage));
        let damage = self.meta_damage.iter().chain(&self.first_damage).chain(of_segments).cloned().collect();
        Report { identity: self.identity.log_id, partitions, segments, damage }
    }

    fn repair(self, durable: &[Position]) -> Result<Repair, LogError> {
        let mut repair = Repair::default();
        let mut next: Vec<Position> = self.first.starts.to_vec();
        let mut sequence = self.first.sequence;
        // A log that ends too early is as if its last segment were damaged.
        let mut last = self.last_used();
        let ends = |partition: PartitionId| {
            let ranges = self.segments.values().filter_map(|found| found.ranges.get(&partition));
            ranges.map(|range| range.1).max().unwrap_or_default()
        };
        let short = (0..).map(PartitionId).zip(durable).any(|(partition, durable)| ends(partition) <= *durable);
        if short {
            last = last.or_else(|| self.segments.keys().next().copied());
        }
        for (number, found) in &self.segments {
            for damage in &found.unneeded {
                self.quarantine(damage, &mut repair)?;
                self.folder.remove_if_there(&damage.file)?;
            }
            let is_last = last == Some(*number);
            if found.damage.is_empty() && !(is_last && short) {
                sequence = found.next_sequence.unwrap_or(sequence);
                for (partition, range) in &found.ranges {
                    if let Some(next) = next.get_mut(partition.index()) {
                        *next = range.1.max(*next);
                    }
                }
                continue;
            }
            let wanted = if is_last || last.is_none_or(|last| *number > last) { durable } else { &[] };
            (next, sequence) = self.replace(*number, found, &next, sequence, wanted, &mut repair)?;
        }
        if let Some(damage) = &self.first_damage {
            self.quarantine(damage, &mut repair)?;
            self.first.store(self.folder, self.identity)?;
        }
        if let Some(damage) = &self.meta_damage {
            self.quarantine(damage, &mut repair)?;
            self.folder.replace(&meta::path(self.folder), &meta::encode(self.identity))?;
        }
        Ok(repair)
    }

    /// Puts a compressed segment in the place of a damaged one; gives what the next segment begins with.
    fn replace(
        &self,
        number: u64,
        found: &Found,
        starts: &[Position],
        sequence: u64,
        durable: &[Position],
        repair: &mut Repair,
    ) -> Result<(Vec<Position>, u64), LogError> {
        let mut blocks = Blocks::new();
        self.read(number, Some(&mut blocks))?;
        let end_of = |(index, start): (usize, &Position)| {
            let partition = PartitionId(u32::try_from(index).expect("partitions are counted in a u32"));
            let own = found.ranges.get(&partition).map_or(*start, |range| range.1);
            let said = found.summary.as_ref().and_then(|summary| summary.ends.get(index)).copied().unwrap_or_default();
            let known = durable.get(index).map_or(Position::START, |durable| durable.next());
            let end = self.start_of(partition, number + 1).unwrap_or_else(|| own.max(said).max(known));
            end.max(*start)
        };
        let ends: Vec<_> = starts.iter().enumerate().map(end_of).collect();
        let following = self.segments.range(number + 1..).find_map(|(_, found)| found.first_sequence);
        let own = found.next_sequence.unwrap_or(sequence);
        let next_sequence = following.unwrap_or(own).max(sequence);
        let summary = Summary {
            number,
            first_sequence: sequence,
            next_sequence,
            end: SEGMENT_HEADER,
            starts: starts.into(),
            ends: ends.clone().into(),
        };
        let mut writer = SealedWriter::create(self.folder, self.identity, summary, 3)?;
        for (partition, (start, end)) in (0..).map(PartitionId).zip(starts.iter().zip(&ends)) {
            for position in (start.0..end.0).map(Position) {
                let payload = blocks.get(&(partition, position)).and_then(Option::as_deref);
                writer.add(partition, position, payload)?;
                if payload.is_none() {
                    note_lost(&mut repair.lost, partition, position);
                }
            }
        }
        if let Some((file, form, _)) = &found.file {
            // What was found wrong last says at least where; what is only too short has nothing wrong in it.
            let whole = Damage { file: file.clone(), offset: 0, bytes: 0, reason: String::new() };
            self.quarantine(found.damage.first().unwrap_or(&whole), repair)?;
            writer.finish()?;
            match form {
                SegmentForm::Raw => self.folder.remove_if_there(file)?,
                SegmentForm::Sealed => {}
            }
        } else {
            writer.finish()?;
        }
        self.folder.remove_if_there(&self.folder.file(Kind::Index, number))?;
        self.folder.sync()?;
        Ok((ends, next_sequence))
    }

    /// Copies a damaged file, durably, to where nothing reads it.
    fn quarantine(&self, damage: &Damage, repair: &mut Repair) -> Result<(), LogError> {
        let Some(bytes) = self.folder.read(&damage.file)? else { return Ok(()) };
        let folder = self.folder.path.join("quarantine");
        let quarantine = Folder { disk: Arc::clone(&self.folder.disk), path: folder };
        let created = quarantine.disk.create_folder(&quarantine.path);
        created.map_err(LogError::io("create", &quarantine.path))?;
        let name = damage.file.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}.bytes-{}-{}", damage.offset, damage.offset + damage.bytes);
        let mut path = quarantine.path.join(&name);
        let mut copies = 1;
        let file = loop {
            match quarantine.open(&path, Access::Create) {
                Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists && copies < 1_000 => {
                    copies += 1;
                    path = quarantine.path.join(format!("{name}.{copies}"));
                }
                opened => break opened?,
            }
        };
        file.write_all_at(&bytes, 0).map_err(LogError::io("write", &path))?;
        file.sync().map_err(LogError::io("sync", &path))?;
        quarantine.sync()?;
        repair.quarantined.push(path);
        Ok(())
    }
}

fn note_lost(lost: &mut Vec<Lost>, partition: PartitionId, position: Position) {
    match lost.last_mut() {
        Some(run) if run.partition == partition && run.last.next() == position => run.last = position,
        Some(_) | None => lost.push(Lost { partition, first: position, last: position }),
    }
}

/// Which log it is, by any segment that says so; segments of version 1 do not.
fn identity_in(folder: &Folder, numbers: &BTreeSet<u64>) -> Result<Identity, LogError> {
    for number in numbers {
        for (kind, partitions_at, log_id_at) in [(Kind::Raw, 32, 16), (Kind::Sealed, 12, 16)] {
            let bytes = folder.read(&folder.file(kind, *number))?.unwrap_or_default();
            let Some((body, crc)) = bytes.get(..SEGMENT_HEADER_BYTES).and_then(<[u8]>::split_last_chunk::<4>) else {
                continue;
            };
            let partitions = crate::segment::u32_at(body, partitions_at).unwrap_or_default();
            if partitions > 0 && *crc == crc32c::crc32c(body).to_le_bytes() {
                let log_id = crate::segment::u64_at(body, log_id_at).unwrap_or_default();
                return Ok(Identity { log_id, partitions });
            }
        }
    }
    Err(LogError::NotALog { file: meta::path(folder) })
}
