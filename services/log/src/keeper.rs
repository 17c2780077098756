//! The thread that keeps finished segments: indexes, compresses, removes and checks them, without the writer noticing.
//!
//! What it fails at is told and left as it is until the next start; nothing is lost by that. While appends are written, it
//! works a quarter of the time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use deskpulse_disk::Access;
use tokio::sync::oneshot;

use crate::catalog::{Entry, Form};
use crate::folder::{Kind, names_are_uncertain};
use crate::index::Summary;
use crate::meta::First;
use crate::preparer::full;
use crate::reader::Window;
use crate::sealed::{Sealed, SealedWriter};
use crate::segment::{FRAME_HEADER, FrameHeader, SEGMENT_HEADER};
use crate::writer::{Shared, State};
use crate::{LogError, Position};

/// How many errands may wait.
pub(crate) const ERRANDS: usize = 64;

/// While appends are written, a pause of this many times the work follows each piece of it.
const BUSY_PAUSE: u32 = 3;

/// How long nothing is done where nothing is asked for.
const IDLE: Duration = Duration::from_hours(1);

/// How long compressing waits for room on a full disk.
const FULL_PAUSE: Duration = Duration::from_secs(10);

/// The zstd level: on events, higher ones take several times as long for a few percent.
const LEVEL: i32 = 3;

/// What the keeper is asked to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A segment is finished.
    Keep(Summary),
    /// Nothing before these positions, one for each partition, is needed any more.
    Truncate(Truncation),
}

#[derive(Debug)]
pub(crate) struct Truncation {
    /// The first position needed of each partition.
    pub(crate) needed: Vec<Position>,
    /// Told once it is durable.
    pub(crate) answer: oneshot::Sender<Result<(), LogError>>,
}

/// Why a piece of work was given up.
enum Stop {
    /// The log is being closed.
    Closed,
    Failed(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error)
    }
}

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    errands: Receiver<Errand>,
    /// Finished segments that are not compressed, oldest first.
    backlog: VecDeque<Summary>,
    truncations: VecDeque<Truncation>,
    /// Segments that were found damaged, so that each is told once.
    damaged: BTreeSet<u64>,
    scrubbed: u64,
    scrub_at: Instant,
    seal_at: Instant,
    syncs: u64,
    _lock: Arc<dyn Send + Sync>,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        errands: Receiver<Errand>,
        backlog: VecDeque<Summary>,
        lock: Arc<dyn Send + Sync>,
    ) -> Self {
        let scrub_at = Instant::now() + shared.options.scrub_pause.unwrap_or(IDLE);
        let seal_at = Instant::now();
        let (truncations, damaged) = (VecDeque::new(), BTreeSet::new());
        Self { shared, errands, backlog, truncations, damaged, scrubbed: 0, scrub_at, seal_at, syncs: 0, _lock: lock }
    }

    pub(crate) fn run(mut self) {
        for summary in self.backlog.clone() {
            let stored = self.index(&summary);
            self.tell(summary.number, stored);
        }
        if !self.shared.options.compress {
            self.backlog.clear();
        }
        while let Ok(()) = self.work() {}
    }

    /// Does what is most urgent; waits when nothing is.
    fn work(&mut self) -> Result<(), Stop> {
        self.answer_truncations()?;
        if let Some(summary) = self.next_to_seal() {
            let number = summary.number;
            match self.seal(&summary) {
                Err(Stop::Closed) => return Err(Stop::Closed),
                Err(Stop::Failed(error)) => {
                    let error = full(&self.shared.folder, error);
                    // Its room is needed by others; if it cannot be removed, the next start does it.
                    let _ = self.shared.folder.temporary(&self.shared.folder.file(Kind::Sealed, number));
                    if let LogError::DiskFull { .. } = error {
                        self.backlog.push_front(summary);
                        self.seal_at = Instant::now() + FULL_PAUSE;
                    }
                    let uncertain = names_are_uncertain(&error);
                    self.tell(number, Err(error));
                    if uncertain {
                        return Err(Stop::Closed);
                    }
                }
                Ok(()) => {}
            }
        } else if self.scrub_at <= Instant::now() {
            self.scrub()?;
            self.scrub_at = Instant::now() + self.shared.options.scrub_pause.unwrap_or(IDLE);
        } else {
            let until = if self.backlog.is_empty() { self.scrub_at } else { self.scrub_at.min(self.seal_at) };
            return self.wait(until);
        }
        self.wait(Instant::now())
    }

    fn answer_truncations(&mut self) -> Result<(), Stop> {
        while let Some(Truncation { needed, answer }) = self.truncations.pop_front() {
            let truncated = self.truncate(&needed);
            let uncertain = truncated.as_ref().is_err_and(names_are_uncertain);
            // Whoever asked may have gone.
            let _ = answer.send(truncated);
            if uncertain {
                return Err(self.fail());
            }
        }
        Ok(())
    }

    fn next_to_seal(&mut self) -> Option<Summary> {
        if self.seal_at <= Instant::now() { self.backlog.pop_front() } else { None }
    }

    /// Takes errands in until the instant, and those that are there already.
    fn wait(&mut self, until: Instant) -> Result<(), Stop> {
        loop {
            match self.errands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Errand::Keep(summary)) => {
                    // The index is for a start that comes before the segment's turn.
                    if !self.shared.options.compress || !self.backlog.is_empty() {
                        let stored = self.index(&summary);
                        self.tell(summary.number, stored);
                    }
                    if self.shared.options.compress {
                        self.backlog.push_back(summary);
                    }
                }
                Ok(Errand::Truncate(truncation)) => self.truncations.push_back(truncation),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(Stop::Closed),
            }
            if !self.truncations.is_empty() || !self.backlog.is_empty() {
                return Ok(());
            }
        }
    }

    /// Leaves the machine to others for a while when others want it.
    fn pause(&mut self, since: Instant) -> Result<Instant, Stop> {
        let syncs = self.shared.counters.syncs.load(Ordering::Relaxed);
        let worked = since.elapsed();
        let pause = if syncs == self.syncs { Duration::ZERO } else { worked * BUSY_PAUSE };
        self.syncs = syncs;
        let until = Instant::now() + pause;
        loop {
            // Ends early when an errand came. Room is given back at once, the rest is done later.
            self.wait(until)?;
            self.answer_truncations()?;
            let now = Instant::now();
            if now >= until {
                return Ok(now);
            }
        }
    }

    /// Lets the process end: a failed sync is never tried again.
    fn fail(&self) -> Stop {
        let error = LogError::Io {
            action: "go on keeping",
            path: self.shared.folder.path.clone(),
            source: std::io::Error::other("a sync of its names failed"),
        };
        self.shared.state.send_if_modified(|state| {
            let open = matches!(state, State::Open);
            if open {
                *state = State::Failed(Arc::new(error));
            }
            open
        });
        Stop::Closed
    }

    fn tell(&mut self, number: u64, result: Result<(), LogError>) {
        let Err(error) = result else { return };
        if names_are_uncertain(&error) {
            self.fail();
        }
        if let LogError::Corrupt { .. } = error {
            if !self.damaged.insert(number) {
                return;
            }
            self.shared.counters.damaged.fetch_add(1, Ordering::Relaxed);
        }
        (self.shared.warn.0)(&error);
    }

    fn index(&self, summary: &Summary) -> Result<(), LogError> {
        if Summary::load(&self.shared.folder, self.shared.identity, summary.number)?.as_ref() == Some(summary) {
            return Ok(());
        }
        summary.store(&self.shared.folder, self.shared.identity)
    }

    /// Compresses a finished segment, then lets its file be written again.
    fn seal(&mut self, summary: &Summary) -> Result<(), Stop> {
        let shared = Arc::clone(&self.shared);
        let folder = &shared.folder;
        let Some(entry) = shared.catalog.get(summary.number).filter(|entry| entry.form == Form::Raw) else {
            return Ok(());
        };
        let mut window = Window::open(&shared, &entry)?;
        // Only this thread lets the file be written again, and looks after each pause whether it did.
        drop(entry);
        let mut frames = Vec::new();
        let mut offset = SEGMENT_HEADER;
        while offset < summary.end {
            let header = window.header(offset, summary.end)?;
            frames.push((header, offset));
            offset += header.frame_bytes();
        }
        frames.sort_by_key(|(header, _)| (header.partition, header.position));
        let mut sealed = SealedWriter::create(folder, shared.identity, summary.clone(), LEVEL)?;
        let mut since = Instant::now();
        for (header, offset) in frames {
            let payload = window.payload(offset, &header)?;
            if sealed.add(header.partition, header.position, Some(&payload))? {
                since = self.pause(since)?;
                if shared.catalog.get(summary.number).is_none() {
                    // It was removed meanwhile.
                    folder.temporary(&folder.file(Kind::Sealed, summary.number))?;
                    return Ok(());
                }
            }
        }
        sealed.finish()?;
        drop(window);
        let number = summary.number;
        let old = shared.catalog.replace(Entry::finished(Form::Sealed, summary));
        folder.remove_if_there(&folder.file(Kind::Index, number))?;
        if let Some(old) = old {
            self.recycle(old)?;
        }
        Ok(())
    }

    /// Lets the file of a segment that is not needed be written again, unless somebody reads it.
    fn recycle(&self, entry: Arc<Entry>) -> Result<(), LogError> {
        let shared = &self.shared;
        let folder = &shared.folder;
        let number = entry.number;
        let path = folder.file(Kind::Raw, number);
        let file = folder.open(&path, Access::Read)?;
        let bytes = file.len().map_err(LogError::io("inspect", &path))?;
        let wanted = shared.options.segment_bytes;
        let right_size = (wanted..=wanted.saturating_mul(2)).contains(&bytes);
        // Nobody can find the entry any more, so whoever does not hold it never will.
        if right_size && shared.spares.wanted() && Arc::into_inner(entry).is_some() {
            folder.rename(&path, &folder.file(Kind::Spare, number))?;
            // Before anything of it is overwritten: the name decides whether its bytes count.
            folder.sync()?;
            shared.spares.put(number);
            Ok(())
        } else {
            folder.remove_if_there(&path)
        }
    }

    fn truncate(&mut self, needed: &[Position]) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let folder = &shared.folder;
        let first = shared.catalog.first_needed(needed);
        if first.number == shared.catalog.first().number {
            return Ok(());
        }
        let begin = First { segment: first.number, sequence: first.first_sequence, starts: first.starts.clone() };
        begin.store(folder, shared.identity)?;
        self.backlog.retain(|summary| summary.number >= begin.segment);
        for entry in shared.catalog.remove_before(begin.segment) {
            match entry.form {
                Form::Sealed => folder.remove_if_there(&folder.file(Kind::Sealed, entry.number))?,
                Form::Raw => {
                    folder.remove_if_there(&folder.file(Kind::Index, entry.number))?;
                    self.recycle(entry)?;
                }
            }
        }
        Ok(())
    }

    /// Checks the finished segment after the one checked last.
    fn scrub(&mut self) -> Result<(), Stop> {
        let shared = Arc::clone(&self.shared);
        if shared.options.scrub_pause.is_none() {
            return Ok(());
        }
        let finished = |entry: &Arc<Entry>| entry.end() != u64::MAX;
        let next = shared.catalog.get(self.scrubbed + 1).filter(finished);
        let Some(entry) = next.or_else(|| Some(shared.catalog.first()).filter(finished)) else { return Ok(()) };
        self.scrubbed = entry.number;
        match self.verify(&shared, &entry) {
            Err(Stop::Closed) => return Err(Stop::Closed),
            Err(Stop::Failed(error)) => self.tell(entry.number, Err(error)),
            Ok(()) => {}
        }
        shared.counters.scrubbed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn verify(&mut self, shared: &Shared, entry: &Entry) -> Result<(), Stop> {
        let mut since = Instant::now();
        match entry.form {
            Form::Sealed => {
                let sealed = Sealed::open(&shared.folder, shared.identity, entry.number)?;
                for chunk in &sealed.chunks {
                    sealed.verify(chunk)?;
                    since = self.pause(since)?;
                }
            }
            Form::Raw => {
                let mut window = Window::open(shared, entry)?;
                let (mut offset, mut paused_at) = (SEGMENT_HEADER, 0);
                while offset < entry.end() {
                    let header = window.header(offset, entry.end())?;
                    window.payload(offset, &header)?;
                    offset += header.frame_bytes();
                    if offset - paused_at > crate::sealed::CHUNK_BYTES as u64 {
                        paused_at = offset;
                        since = self.pause(since)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Window {
    fn header(&mut self, offset: u64, end: u64) -> Result<FrameHeader, LogError> {
        let salt = self.salt;
        let header = self.bytes(offset, FRAME_HEADER, end)?.and_then(|bytes| FrameHeader::decode(bytes, salt));
        header.ok_or_else(|| self.corrupt(offset, "the frame header is bad"))
    }

    /// A payload without what lies around it, which belongs to other partitions.
    fn payload(&self, offset: u64, header: &FrameHeader) -> Result<Vec<u8>, LogError> {
        let payload = self.read(offset + FRAME_HEADER as u64, header.length as usize)?;
        if header.matches(&payload) {
            return Ok(payload);
        }
        Err(self.corrupt(offset, "the payload does not match its checksum"))
    }
}
