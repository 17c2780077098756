//! What the segments hold when a log is opened.
//!
//! A bad frame is either a *torn tail*, which was never acknowledged and is cut, or *corruption* of
//! something that had been durable, which is refused. It is corruption when anything later proves that
//! the log had gone on: a later segment, or a later frame header written when this frame was
//! already synced. Damage in the very last group of frames has no later witness and is taken for a
//! torn tail; whoever had seen those blocks notices by [`LogError::PastHead`].
//!
//! Nothing is changed until every segment was checked. One segment at a time is held in memory.

use std::fs;
use std::path::Path;

use crate::meta::Meta;
use crate::segment::{
    self, FORMAT_VERSION, FRAME_HEADER, FRAME_MAGIC, FrameHeader, Place, SEGMENT_HEADER, Salt, Segment, SegmentHeader,
};
use crate::{LogError, Position};

/// The index has a mark at least every this many bytes of a segment.
pub(crate) const MARK_BYTES: u64 = 1 << 20;

/// An entry of the sparse index: what every partition's next block was at this place.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) place: Place,
    pub(crate) next: Box<[Position]>,
}

/// The newest block of a partition, and the place where its frame ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) end: Place,
}

/// Every partition's head and the newest sequence: all that the next frame depends on.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) partitions: Vec<Head>,
    pub(crate) sequence: u64,
    last_mark: Place,
}

impl Heads {
    fn new(partitions: u32) -> Self {
        let none = Head { position: Position::START, end: Place::start_of(1) };
        Self { partitions: vec![none; partitions as usize], sequence: 0, last_mark: Place { segment: 0, offset: 0 } }
    }

    /// The mark for a frame that begins at `place`, when one is due there.
    pub(crate) fn mark_due(&mut self, place: Place) -> Option<Mark> {
        if place.segment == self.last_mark.segment && place.offset - self.last_mark.offset < MARK_BYTES {
            return None;
        }
        self.last_mark = place;
        let next = self.partitions.iter().map(|head| head.position.next());
        Some(Mark { place, next: next.collect() })
    }

    /// Takes a frame that was found at `place`; refuses one that does not continue the log.
    fn accept(&mut self, header: &FrameHeader, place: Place) -> Result<(), String> {
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
}

/// A log that was checked and is ready for the next frame.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) heads: Heads,
    pub(crate) marks: Vec<Mark>,
    pub(crate) segment: Segment,
    /// How many bytes of torn tail were cut.
    pub(crate) cut_bytes: u64,
}

/// Checks every segment, then cuts a torn tail and syncs what is left.
pub(crate) fn recover(dir: &Path, meta: Meta) -> Result<Recovered, LogError> {
    let numbers = segment::list(dir)?;
    let last = numbers.last().copied().unwrap_or(1);
    if let Some(missing) = (1..=last).find(|number| numbers.binary_search(number).is_err()) {
        let file = segment::path(dir, missing);
        return Err(LogError::corrupt(&file, 0, "the segment is missing"));
    }

    let mut heads = Heads::new(meta.partitions);
    let mut marks = Vec::new();
    for number in 1..last {
        let scan = scan(dir, meta, number, false, &mut heads, &mut marks)?;
        debug_assert!(matches!(scan, Scan::Frames { .. }));
    }
    let (segment, cut_bytes) = match scan(dir, meta, last, true, &mut heads, &mut marks)? {
        Scan::Frames { suspect, end, total } => {
            let segment = Segment::resume(dir, meta.log_id, last, end, &suspect)?;
            (segment, total - end)
        }
        Scan::NeverFinished { total } => {
            let file = segment::path(dir, last);
            fs::remove_file(&file).map_err(LogError::io("remove", &file))?;
            let segment = Segment::create(dir, meta.log_id, last)?;
            marks.extend(heads.mark_due(Place::start_of(last)));
            (segment, total)
        }
    };
    Ok(Recovered { heads, marks, segment, cut_bytes })
}

/// What one segment holds.
enum Scan {
    /// Sound frames up to `end`; `suspect` are the bytes before `end` that no later frame proves durable.
    Frames { suspect: Vec<u8>, end: u64, total: u64 },
    /// The process ended while it made the file: nothing was ever appended.
    NeverFinished { total: u64 },
}

fn scan(
    dir: &Path,
    meta: Meta,
    number: u64,
    is_last: bool,
    heads: &mut Heads,
    marks: &mut Vec<Mark>,
) -> Result<Scan, LogError> {
    let file = segment::path(dir, number);
    let bytes = fs::read(&file).map_err(LogError::io("read", &file))?;
    let total = bytes.len() as u64;
    match SegmentHeader::check(&bytes, meta.log_id, number) {
        SegmentHeader::Sound => {}
        SegmentHeader::Newer(found) => {
            return Err(LogError::NewerVersion { file, found, known: FORMAT_VERSION });
        }
        // Segment 1 was durable before `log.meta` was written, so a torn one is damage.
        SegmentHeader::Bad if is_last && number > 1 && total <= SEGMENT_HEADER => {
            return Ok(Scan::NeverFinished { total });
        }
        SegmentHeader::Bad => {
            return Err(LogError::corrupt(&file, 0, "the segment header is bad"));
        }
    }

    let salt = Salt::new(meta.log_id, number);
    let mut place = Place::start_of(number);
    let mut suspect_from = place.offset;
    marks.extend(heads.mark_due(place));
    let mut rest = SegmentHeader::strip(&bytes);
    while !rest.is_empty() {
        let header = match frame_at(rest, salt) {
            Ok(header) => header,
            Err(reason) if !is_last => {
                return Err(LogError::corrupt(&file, place.offset, reason));
            }
            Err(reason) => {
                if let Some(witness) = later_witness(rest, salt, heads.sequence + 1) {
                    let witness = place.offset + witness;
                    let reason = format!("{reason}, yet it was durable when byte {witness} was written");
                    return Err(LogError::corrupt(&file, place.offset, reason));
                }
                break;
            }
        };
        marks.extend(heads.mark_due(place));
        heads.accept(&header, place).map_err(|reason| LogError::corrupt(&file, place.offset, reason))?;
        if header.durable_upto + 1 == header.sequence {
            suspect_from = place.offset;
        }
        place.offset += header.frame_bytes();
        rest = rest.get(FRAME_HEADER + header.length as usize..).expect("the whole frame was checked");
    }
    let mut suspect = bytes;
    suspect.truncate(usize::try_from(place.offset).expect("an offset into bytes in memory"));
    suspect.drain(..usize::try_from(suspect_from).expect("an offset into bytes in memory"));
    Ok(Scan::Frames { suspect, end: place.offset, total })
}

fn frame_at(bytes: &[u8], salt: Salt) -> Result<FrameHeader, &'static str> {
    let header = FrameHeader::decode(bytes, salt).ok_or("the frame header is bad")?;
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + header.length as usize).ok_or("the frame is cut short")?;
    if header.matches(payload) { Ok(header) } else { Err("the payload does not match its checksum") }
}

/// Looks behind a bad frame for a frame header that was written when `sequence` was already synced.
/// One pass: a header is recognised by its own checksum, whatever its payload.
fn later_witness(bytes: &[u8], salt: Salt, sequence: u64) -> Option<u64> {
    bytes
        .windows(FRAME_HEADER)
        .enumerate()
        .skip(1)
        .filter(|(_, window)| window.starts_with(&FRAME_MAGIC))
        .find(|(_, window)| FrameHeader::decode(window, salt).is_some_and(|header| header.durable_upto >= sequence))
        .map(|(at, _)| at as u64)
}
