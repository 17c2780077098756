//! How much of the log is not needed any more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deskpulse_core::archive::{Archive, Change, Unreadable, beside};
use deskpulse_core::time::Timestamp;

use crate::keep::Beside;

/// Into how many parts the time of retention is cut: by one such part a block may be kept longer.
const PARTS: i64 = 100;
/// The bounds of the pause between two looks at what is over.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_mins(1)];
/// A record: an instant and a position, eight bytes each.
const RECORD: usize = 16;

/// Where a partition was when. Stands beside it in the store, so that a start does not begin the time anew.
#[derive(Debug)]
pub(crate) struct Retention {
    partition: u32,
    /// How long, in milliseconds; `None`: for ever.
    keep_ms: Option<i64>,
    /// Ascending; about [`PARTS`] of them. Read while the partition waits for the disk.
    positions: Mutex<Vec<(Timestamp, u64)>>,
}

impl Retention {
    pub(crate) fn open(archive: &dyn Archive, partition: u32, keep: Option<Duration>) -> Result<Self, Unreadable> {
        let keep_ms = keep.map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        let bytes = archive.get(&key(partition))?.unwrap_or_default();
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes);
        let record = |record: &[u8]| {
            let (at, position) = record.split_at_checked(RECORD / 2)?;
            Some((Timestamp::clamped(number(at).ok()?), number(position).ok()?.cast_unsigned()))
        };
        let positions = bytes.chunks(RECORD).map(record).collect::<Option<_>>();
        let damaged = || Unreadable(format!("where partition {partition} was when"));
        Ok(Self { partition, keep_ms, positions: Mutex::new(positions.ok_or_else(damaged)?) })
    }

    fn positions(&self) -> MutexGuard<'_, Vec<(Timestamp, u64)>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a checkpoint is to be taken for no other reason than to record this position: a partition that has nothing else
    /// to put away would keep the log of all from its last record on.
    pub(crate) fn is_due(&self, position: u64, now: Timestamp) -> bool {
        let positions = self.positions();
        let (at, known) = positions.last().copied().unwrap_or((Timestamp::MIN, 0));
        self.keep_ms.is_some_and(|keep_ms| position > known && now.millis_since(at) >= keep_ms / PARTS)
    }

    /// A checkpoint is about to be taken at a position: what has to stand beside it, when anything has to.
    pub(crate) fn is_at(&self, position: u64, now: Timestamp) -> Option<Change> {
        let keep_ms = self.keep_ms.filter(|_| self.is_due(position, now))?;
        let mut positions = self.positions();
        // The newest of those that are old enough is enough.
        let old = positions.partition_point(|(at, _)| now.millis_since(*at) >= keep_ms);
        positions.drain(..old.saturating_sub(1));
        positions.push((now, position));
        let record = |(at, position): &(Timestamp, u64)| [at.millis().to_be_bytes(), position.to_be_bytes()].concat();
        Some(Change { key: key(self.partition), value: Some(positions.iter().flat_map(record).collect()) })
    }

    /// The pause between two looks at [`Self::over_up_to`]; `None` when it never says anything.
    pub(crate) fn look_every(&self) -> Option<Duration> {
        let part = |keep_ms: i64| Duration::from_millis((keep_ms / PARTS).cast_unsigned());
        self.keep_ms.map(|keep_ms| part(keep_ms).clamp(LOOKS[0], LOOKS[1]))
    }

    /// The position up to which the time is over; 0 when it is for none.
    pub(crate) fn over_up_to(&self, now: Timestamp) -> u64 {
        let Some(keep_ms) = self.keep_ms else { return 0 };
        let positions = self.positions();
        let old = positions.iter().take_while(|(at, _)| now.millis_since(*at) >= keep_ms);
        old.last().map_or(0, |(_, position)| *position)
    }
}

fn key(partition: u32) -> Vec<u8> {
    beside(partition, &[Beside::Retention as u8])
}

#[cfg(test)]
mod tests {
    use deskpulse_core::archive::EmptyArchive;

    use super::*;

    #[test]
    fn blocks_are_given_up_once_their_time_is_over_and_never_more_than_were_kept_then() {
        let retention = Retention::open(&EmptyArchive, 0, Some(Duration::from_secs(100))).expect("nothing to read");
        let at = |seconds: i64| Timestamp::clamped(seconds * 1_000);
        assert_eq!(retention.over_up_to(at(0)), 0);
        for second in 0..1_000_i64 {
            retention.is_at(second.cast_unsigned() * 10, at(second));
            let over = retention.over_up_to(at(second));
            assert_eq!(over, second.saturating_sub(100).max(0).cast_unsigned() * 10, "after {second} s");
            assert!(retention.positions().len() <= 102, "{}", retention.positions().len());
        }
        let for_ever = Retention::open(&EmptyArchive, 0, None).expect("nothing to read");
        assert_eq!(for_ever.is_at(10, at(1)), None);
        assert_eq!(for_ever.over_up_to(at(1_000_000)), 0);
        assert_eq!((for_ever.is_due(10, at(1)), for_ever.look_every()), (false, None));
    }

    #[test]
    fn a_position_is_recorded_once_and_not_before_the_record_of_the_one_before_is_old() {
        let retention = Retention::open(&EmptyArchive, 0, Some(Duration::from_secs(100))).expect("nothing to read");
        let at = |seconds: i64| Timestamp::clamped(seconds * 1_000);
        assert!(!retention.is_due(0, at(5)), "nothing was applied");
        assert!(retention.is_at(10, at(5)).is_some());
        assert!(!retention.is_due(11, at(5)) && retention.is_at(11, at(5)).is_none());
        assert!(retention.is_due(11, at(6)) && retention.is_at(11, at(6)).is_some());
        assert!(!retention.is_due(11, at(600)) && retention.is_at(11, at(600)).is_none());
        assert_eq!((retention.over_up_to(at(105)), retention.over_up_to(at(106))), (10, 11));
    }
}
