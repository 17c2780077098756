//! What the segments hold when a log is opened.
//!
//! Sealed segments and those with an index are believed what they say in all; only the frames after them are read.
//!
//! A bad frame is either the *end* of what was written, perhaps a *torn tail*, which was never acknowledged and is cut, or
//! *corruption* of something that had been durable, which is refused. It is corruption when anything later proves that
//! the log had gone on: a later segment that begins further on, a later frame header written when this frame was
//! already synced, or a position the caller knows to be durable. Damage in the very last group of frames has no later witness
//! in the log and is taken for a torn tail.
//!
//! Nothing is changed until every segment was checked. One segment at a time is held in memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

use deskpulse_disk::Access;

use crate::catalog::{Entry, Form, Mark};
use crate::folder::{Folder, Kind, Listing};
use crate::index::Summary;
use crate::meta::First;
use crate::preparer::{self, SPARES};
use crate::sealed::Sealed;
use crate::segment::{
    FORMAT_VERSION, FRAME_HEADER, FrameHeader, Identity, Place, SEGMENT_HEADER, SEGMENT_HEADER_BYTES, Salt, Segment,
    SegmentHeader, frame_at, headers_in,
};
use crate::{LogError, LogOptions, PartitionId, Position};

/// A segment has a mark at least every this many bytes.
pub(crate) const MARK_BYTES: u64 = 1 << 20;

/// The newest block of a partition, and the place where its frame ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) end: Place,
}

/// Every partition's head and the newest sequence: all that the next frame depends on.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) partitions: Vec<Head>,
    pub(crate) sequence: u64,
    last_mark: Place,
}

impl Heads {
    pub(crate) fn new(first: &First) -> Self {
        let end = Place::start_of(first.segment);
        let head = |start: &Position| Head { position: Position(start.0.saturating_sub(1)), end };
        Self {
            partitions: first.starts.iter().map(head).collect(),
            sequence: first.sequence.saturating_sub(1),
            last_mark: Place { segment: 0, offset: 0 },
        }
    }

    /// Each partition's next position.
    pub(crate) fn next(&self) -> Box<[Position]> {
        self.partitions.iter().map(|head| head.position.next()).collect()
    }

    /// The mark for a frame that begins at `place`, when one is due there.
    pub(crate) fn mark_due(&mut self, place: Place) -> Option<Mark> {
        if place.segment == self.last_mark.segment && place.offset - self.last_mark.offset < MARK_BYTES {
            return None;
        }
        self.last_mark = place;
        Some(Mark { offset: place.offset, next: self.next() })
    }

    /// Takes a frame that was found at `place`; refuses one that does not continue the log.
    pub(crate) fn accept(&mut self, header: &FrameHeader, place: Place) -> Result<(), String> {
        if header.sequence != self.sequence + 1 {
            let expected = self.sequence + 1;
            return Err(format!("frame {expected} is missing, frame {} follows", header.sequence));
        }
        let partition = header.partition;
        let head =
            self.partitions.get_mut(partition.index()).ok_or_else(|| format!("there is no partition {partition}"))?;
        if header.position != head.position.next() {
            return Err(format!(
                "block {} of partition {partition} is missing, block {} follows",
                head.position.next(),
                header.position
            ));
        }
        self.sequence = header.sequence;
        *head = Head {
            position: header.position,
            end: Place { segment: place.segment, offset: place.offset + header.frame_bytes() },
        };
        Ok(())
    }

    /// Takes a whole segment; refuses one that does not continue the log.
    pub(crate) fn accept_segment(&mut self, summary: &Summary) -> Result<(), String> {
        if summary.first_sequence != self.sequence + 1 || summary.starts != self.next() {
            let expected = self.sequence + 1;
            return Err(format!("frame {expected} is missing, the segment begins with {}", summary.first_sequence));
        }
        self.sequence = summary.next_sequence - 1;
        let end = Place { segment: summary.number, offset: summary.end };
        for (head, next) in self.partitions.iter_mut().zip(&summary.ends) {
            if *next > head.position.next() {
                *head = Head { position: Position(next.0 - 1), end };
            }
        }
        Ok(())
    }

    /// What a segment holds that began when the heads were `before` and ends here.
    pub(crate) fn summary(&self, number: u64, first_sequence: u64, starts: &[Position], end: u64) -> Summary {
        let next_sequence = self.sequence + 1;
        Summary { number, first_sequence, next_sequence, end, starts: starts.into(), ends: self.next() }
    }
}

/// A log that was checked and is ready for the next frame.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) heads: Heads,
    /// All segments; the last is the one to write to.
    pub(crate) entries: VecDeque<Arc<Entry>>,
    pub(crate) segment: Segment,
    /// The segment after it, when it is there already.
    pub(crate) prepared: Option<Segment>,
    pub(crate) spares: Vec<u64>,
    /// How many bytes of torn tail were cut.
    pub(crate) cut_bytes: u64,
}

/// The segment that ends the log, as found.
struct Tail {
    entry: Arc<Entry>,
    version: u32,
    end: u64,
    /// The bytes before `end` that no later frame proves durable.
    suspect: Vec<u8>,
    torn: u64,
}

/// A segment after the tail, that nothing sound was written to.
struct Unused {
    number: u64,
    version: u32,
    torn: u64,
}

struct Recovery<'a> {
    folder: &'a Folder,
    identity: Identity,
    raw: BTreeSet<u64>,
    sealed: BTreeSet<u64>,
    last: u64,
    heads: Heads,
    entries: VecDeque<Arc<Entry>>,
}

/// Checks what must be checked, then cuts a torn tail and syncs what is left.
///
/// `durable` are positions known to be durable, one for each partition or none at all: a log that ends before one is damaged.
pub(crate) fn recover(
    folder: &Folder,
    identity: Identity,
    options: &LogOptions,
    durable: &[Position],
) -> Result<Recovered, LogError> {
    let listing = folder.list()?;
    let first = First::load(folder, identity)?;
    let from = |numbers: &[u64]| numbers.iter().copied().filter(|number| *number >= first.segment).collect();
    let (raw, sealed): (BTreeSet<u64>, BTreeSet<u64>) = (from(&listing.raw), from(&listing.sealed));
    let last = raw.last().max(sealed.last()).copied().unwrap_or(first.segment);
    if let Some(missing) = (first.segment..=last).find(|number| !raw.contains(number) && !sealed.contains(number)) {
        return Err(LogError::corrupt(&folder.file(Kind::Raw, missing), 0, "the segment is missing"));
    }
    let heads = Heads::new(&first);
    let mut recovery = Recovery { folder, identity, raw, sealed, last, heads, entries: VecDeque::new() };
    let mut tail = None;
    for number in first.segment..=last {
        tail = recovery.take(number)?;
        if tail.is_some() {
            break;
        }
    }
    let unused = recovery.unused(tail.as_ref())?;
    recovery.check_durable(tail.as_ref(), durable)?;
    recovery.clean(&listing, &first)?;
    recovery.resume(tail, &unused, &listing, options)
}

impl Recovery<'_> {
    /// Takes the segment of this number into account; the tail when the log ends in it.
    fn take(&mut self, number: u64) -> Result<Option<Tail>, LogError> {
        if self.sealed.contains(&number) {
            let path = self.folder.file(Kind::Sealed, number);
            match Sealed::open(self.folder, self.identity, number) {
                Ok(sealed) => {
                    let accepted = self.heads.accept_segment(&sealed.summary);
                    accepted.map_err(|reason| LogError::corrupt(&path, 0, reason))?;
                    self.entries.push_back(Entry::finished(Form::Sealed, &sealed.summary));
                    return Ok(None);
                }
                // The segment it was made of may still be there.
                Err(LogError::Corrupt { .. }) if self.raw.contains(&number) => {}
                Err(error) => return Err(error),
            }
        }
        let path = self.folder.file(Kind::Raw, number);
        if let Some(summary) = Summary::load(self.folder, self.identity, number)? {
            let file = self.folder.open(&path, Access::Read)?;
            let length = file.len().map_err(LogError::io("inspect", &path))?;
            let sound = length >= summary.end && {
                let mut header = [0; SEGMENT_HEADER_BYTES];
                file.read_exact_at(&mut header, 0).map_err(LogError::io("read", &path))?;
                let header = SegmentHeader::check(&header, self.identity.log_id, number);
                matches!(header, SegmentHeader::Sound { .. })
            };
            if sound && self.heads.accept_segment(&summary).is_ok() {
                self.entries.push_back(Entry::finished(Form::Raw, &summary));
                return Ok(None);
            }
        }
        self.scan(number)
    }

    /// Reads a segment frame by frame.
    fn scan(&mut self, number: u64) -> Result<Option<Tail>, LogError> {
        let file = self.folder.file(Kind::Raw, number);
        let bytes = self.folder.read(&file)?.unwrap_or_default();
        let header = SegmentHeader::check(&bytes, self.identity.log_id, number);
        let (version, recycled) = match header {
            SegmentHeader::Sound { version, recycled } => (version, recycled),
            SegmentHeader::Newer(found) => {
                return Err(LogError::NewerVersion { file, found, known: FORMAT_VERSION });
            }
            // Version 1 made a file under its own name. Its segment 1 was durable before `log.meta` was written.
            SegmentHeader::Bad if number == self.last && number > 1 && bytes.len() as u64 <= SEGMENT_HEADER => {
                self.raw.remove(&number);
                return Ok(None);
            }
            SegmentHeader::Bad => return Err(LogError::corrupt(&file, 0, "the segment header is bad")),
        };

        let salt = Salt::new(self.identity.log_id, number);
        let starts = self.heads.next();
        let first_sequence = self.heads.sequence + 1;
        let mut place = Place::start_of(number);
        let mut suspect_from = place.offset;
        let mut marks: Vec<_> = self.heads.mark_due(place).into_iter().collect();
        let reason = loop {
            let rest = from_offset(&bytes, place.offset);
            let header = match frame_at(rest, salt) {
                Ok(header) => header,
                Err(reason) => break reason,
            };
            marks.extend(self.heads.mark_due(place));
            self.heads.accept(&header, place).map_err(|reason| LogError::corrupt(&file, place.offset, reason))?;
            if header.durable_upto + 1 == header.sequence {
                suspect_from = place.offset;
            }
            place.offset += header.frame_bytes();
        };
        let end = place.offset;

        let entry = Entry::open(number, first_sequence, starts.clone());
        entry.marks.write().unwrap_or_else(PoisonError::into_inner).append(&mut marks);
        self.entries.push_back(Arc::clone(&entry));
        match self.sequence_after(number)? {
            // The next segment goes on from here, so this one is complete.
            Some(sequence) if sequence == self.heads.sequence + 1 => {
                entry.finish(end);
                return Ok(None);
            }
            Some(sequence) => {
                let reason = format!("{reason}, yet frame {sequence} begins the next segment");
                return Err(LogError::corrupt(&file, end, reason));
            }
            None => {}
        }
        self.refuse_witness(&file, number, &bytes, end, reason)?;
        let torn = torn_bytes(&bytes, end, recycled, salt);
        let mut suspect = bytes;
        suspect.truncate(usize::try_from(end).expect("an offset into bytes in memory"));
        suspect.drain(..usize::try_from(suspect_from).expect("an offset into bytes in memory"));
        Ok(Some(Tail { entry, version, end, suspect, torn }))
    }

    /// The sequence with which the next segment begins; `None` when there is none or it has no sound first frame.
    fn sequence_after(&self, number: u64) -> Result<Option<u64>, LogError> {
        let next = number + 1;
        if self.sealed.contains(&next)
            && let Ok(sealed) = Sealed::open(self.folder, self.identity, next)
        {
            return Ok(Some(sealed.summary.first_sequence));
        }
        if !self.raw.contains(&next) {
            return Ok(None);
        }
        if let Some(summary) = Summary::load(self.folder, self.identity, next)? {
            return Ok(Some(summary.first_sequence));
        }
        let path = self.folder.file(Kind::Raw, next);
        let file = self.folder.open(&path, Access::Read)?;
        let length = file.len().map_err(LogError::io("inspect", &path))?;
        let salt = Salt::new(self.identity.log_id, next);
        if length < SEGMENT_HEADER + FRAME_HEADER as u64 {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME_HEADER];
        file.read_exact_at(&mut frame, SEGMENT_HEADER).map_err(LogError::io("read", &path))?;
        let Some(header) = FrameHeader::decode(&frame, salt) else { return Ok(None) };
        if length < SEGMENT_HEADER + header.frame_bytes() {
            return Ok(None);
        }
        frame.resize(FRAME_HEADER + header.length as usize, 0);
        file.read_exact_at(&mut frame, SEGMENT_HEADER).map_err(LogError::io("read", &path))?;
        Ok(frame_at(&frame, salt).ok().map(|header| header.sequence))
    }

    /// Refuses when anything behind a bad frame was written when that frame was already synced.
    fn refuse_witness(
        &self,
        file: &std::path::Path,
        number: u64,
        bytes: &[u8],
        end: u64,
        reason: &str,
    ) -> Result<(), LogError> {
        let missing = self.heads.sequence + 1;
        let is_witness = |(_, header): &(usize, FrameHeader)| header.durable_upto >= missing;
        let salt = |number| Salt::new(self.identity.log_id, number);
        if let Some((at, _)) = headers_in(from_offset(bytes, end), salt(number)).find(is_witness) {
            let witness = end + at as u64;
            let reason = format!("{reason}, yet it was durable when byte {witness} was written");
            return Err(LogError::corrupt(file, end, reason));
        }
        for later in number + 1..=self.last {
            let sealed = self.sealed.contains(&later);
            let later_file = self.folder.file(Kind::Raw, later);
            let bytes = self.folder.read(&later_file)?.unwrap_or_default();
            if sealed || headers_in(&bytes, salt(later)).any(|found| is_witness(&found)) {
                let reason = format!("{reason}, yet it was durable when segment {later} was written");
                return Err(LogError::corrupt(file, end, reason));
            }
        }
        Ok(())
    }

    /// The segments after the tail.
    fn unused(&self, tail: Option<&Tail>) -> Result<Vec<Unused>, LogError> {
        let mut unused = Vec::new();
        let Some(tail) = tail else { return Ok(unused) };
        for number in tail.entry.number + 1..=self.last {
            let file = self.folder.file(Kind::Raw, number);
            let bytes = self.folder.read(&file)?.unwrap_or_default();
            match SegmentHeader::check(&bytes, self.identity.log_id, number) {
                SegmentHeader::Sound { version, recycled } => {
                    let salt = Salt::new(self.identity.log_id, number);
                    unused.push(Unused { number, version, torn: torn_bytes(&bytes, SEGMENT_HEADER, recycled, salt) });
                }
                SegmentHeader::Newer(found) => {
                    return Err(LogError::NewerVersion { file, found, known: FORMAT_VERSION });
                }
                SegmentHeader::Bad if number == self.last && bytes.len() as u64 <= SEGMENT_HEADER => {
                    unused.push(Unused { number, version: 0, torn: bytes.len() as u64 });
                }
                SegmentHeader::Bad => return Err(LogError::corrupt(&file, 0, "the segment header is bad")),
            }
        }
        Ok(unused)
    }

    fn check_durable(&self, tail: Option<&Tail>, durable: &[Position]) -> Result<(), LogError> {
        let heads = (0..).map(PartitionId).zip(&self.heads.partitions);
        for ((partition, head), durable) in heads.zip(durable) {
            if head.position < *durable {
                let (number, end) = tail.map_or((self.last, 0), |tail| (tail.entry.number, tail.end));
                let kind = if tail.is_some() { Kind::Raw } else { Kind::Sealed };
                let reason = format!(
                    "partition {partition} ends at block {}, yet block {durable} is known to have been durable",
                    head.position
                );
                return Err(LogError::corrupt(&self.folder.file(kind, number), end, reason));
            }
        }
        Ok(())
    }

    /// Removes what a crash left behind.
    fn clean(&self, listing: &Listing, first: &First) -> Result<(), LogError> {
        let mut removed = listing.unfinished.clone();
        let file = |kind| move |number: &u64| self.folder.file(kind, *number);
        let is_sealed =
            |number: &u64| self.entries.iter().any(|entry| entry.number == *number && entry.form == Form::Sealed);
        let old = |number: &&u64| **number < first.segment;
        removed.extend(listing.raw.iter().filter(|number| old(number) || is_sealed(number)).map(file(Kind::Raw)));
        removed.extend(listing.sealed.iter().filter(old).map(file(Kind::Sealed)));
        let unindexed = |number: &&u64| old(number) || is_sealed(number) || !self.raw.contains(number);
        removed.extend(listing.index.iter().filter(unindexed).map(file(Kind::Index)));
        removed.extend(listing.spare.iter().skip(SPARES).map(file(Kind::Spare)));
        if removed.is_empty() {
            return Ok(());
        }
        // What makes them unneeded may itself be a name that is not durable yet.
        self.folder.sync()?;
        removed.iter().try_for_each(|path| self.folder.remove_if_there(path))?;
        self.folder.sync()
    }

    fn resume(
        mut self,
        tail: Option<Tail>,
        unused: &[Unused],
        listing: &Listing,
        options: &LogOptions,
    ) -> Result<Recovered, LogError> {
        let (folder, identity) = (self.folder, self.identity);
        let mut cut_bytes = unused.iter().map(|unused| unused.torn).sum();
        let mut segment = None;
        let mut prepared = None;
        if let Some(tail) = tail {
            cut_bytes += tail.torn;
            let number = tail.entry.number;
            let mut resumed = Segment::resume(folder, identity, number, tail.end, &tail.suspect, tail.torn)?;
            // A file of version 1 grew with every frame: the next frame goes into a new one.
            if tail.version < FORMAT_VERSION {
                resumed.cut()?;
                tail.entry.finish(tail.end);
            } else {
                segment = Some(resumed);
            }
            for unused in unused {
                if unused.version == FORMAT_VERSION && segment.is_some() && unused.number == number + 1 {
                    let resume = Segment::resume(folder, identity, unused.number, SEGMENT_HEADER, &[], unused.torn);
                    prepared = Some(resume?);
                } else {
                    folder.remove_if_there(&folder.file(Kind::Raw, unused.number))?;
                }
            }
        }
        let segment = if let Some(segment) = segment {
            segment
        } else {
            let number = self.entries.back().map_or(self.last, |entry| entry.number + 1);
            // What may stand under that name was never finished.
            folder.remove_if_there(&folder.file(Kind::Raw, number))?;
            let segment = Segment::create(folder, identity, number, preparer::capacity(number, options));
            let segment = segment.map_err(|error| preparer::full(folder, error))?;
            let entry = Entry::open(number, self.heads.sequence + 1, self.heads.next());
            entry
                .marks
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(self.heads.mark_due(Place::start_of(number)));
            self.entries.push_back(entry);
            segment
        };
        // Names a process that ended did not make durable are what the log now relies on.
        folder.sync()?;
        let spares = listing.spare.iter().copied().take(SPARES).collect();
        Ok(Recovered { heads: self.heads, entries: self.entries, segment, prepared, spares, cut_bytes })
    }
}

fn from_offset(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
}

/// How many bytes after the end of the frames were written and do not count.
///
/// Where another segment was before, its bytes cannot be told from torn ones, unless these are sound frame headers.
pub(crate) fn torn_bytes(bytes: &[u8], end: u64, recycled: bool, salt: Salt) -> u64 {
    let rest = from_offset(bytes, end);
    if !recycled {
        return rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    }
    let ends = headers_in(rest, salt).map(|(at, header)| at as u64 + header.frame_bytes());
    ends.max().unwrap_or_default().min(rest.len() as u64)
}
