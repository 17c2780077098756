//! Moments kept for later calls, so that several answers are of one instant of the data.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deskpulse_core::grid::View;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::PartitionPosition;
use tokio::time::{Instant, sleep_until};

/// For how long a moment is kept after it was last used.
const PINNED_FOR: Duration = Duration::from_mins(1);
/// The most moments kept. When there are more, the longest unused goes. What they see cannot be given up for a minute, which one does as well as many.
const MOST: usize = 4_096;

/// The partitions as they were once.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) views: Vec<View>,
    /// How far each partition was applied at least.
    pub(crate) positions: Vec<PartitionPosition>,
    /// Everything acknowledged before is counted.
    pub(crate) asked_at: Timestamp,
}

/// Moments kept for later calls; the longest unused comes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pinned(Arc<Mutex<VecDeque<Entry>>>);

#[derive(Debug)]
struct Entry {
    number: u64,
    moment: Arc<Moment>,
    until: Instant,
}

impl Pinned {
    fn list(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // No step leaves the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a moment; returns its number, which no other has had, also not before a restart.
    pub(crate) fn pin(&self, moment: Arc<Moment>) -> u64 {
        // Every state of this kind hashes otherwise.
        let number = RandomState::new().hash_one(0).max(1);
        let until = Instant::now() + PINNED_FOR;
        let mut list = self.list();
        if list.len() >= MOST {
            list.pop_front();
        }
        list.push_back(Entry { number, moment, until });
        drop(list);
        let pinned = self.clone();
        tokio::spawn(async move {
            let mut until = Some(until);
            while let Some(instant) = until {
                sleep_until(instant).await;
                until = pinned.expire(number);
            }
        });
        number
    }

    /// Lets go of a moment, if it is there; returns the number of none.
    pub(crate) fn let_go(&self, number: u64) -> u64 {
        self.list().retain(|entry| entry.number != number);
        0
    }

    /// Lets go of a moment that was not used for long; otherwise returns when to look again, if it is still there.
    fn expire(&self, number: u64) -> Option<Instant> {
        let mut list = self.list();
        let place = list.iter().position(|entry| entry.number == number)?;
        let until = list.get(place)?.until;
        if until > Instant::now() {
            return Some(until);
        }
        list.remove(place);
        None
    }

    /// A moment that was kept; it is kept for longer now.
    pub(crate) fn get(&self, number: u64) -> Result<Arc<Moment>, Fault> {
        let mut list = self.list();
        let place = list.iter().position(|entry| entry.number == number);
        let Some(mut entry) = place.and_then(|place| list.remove(place)) else {
            let message = "what this page is of is not kept any more: ask again from the first page";
            return Err(Fault::new(Reason::PageExpired, message));
        };
        entry.until = Instant::now() + PINNED_FOR;
        let moment = Arc::clone(&entry.moment);
        list.push_back(entry);
        Ok(moment)
    }
}
