//! What a partition puts away and takes back: a store, seen from here.
//!
//! Everything a partition keeps stands under keys that begin with its number, so that partitions share a store. A partition
//! changes nothing there itself: it hands out [`Change`]s, which somebody makes durable all at once, and is told so.

mod key;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fact::Measure;
use crate::subject::number_of;

pub(crate) use key::{Key, Kind, Parts};

/// Something put away cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was put away cannot be read: {0}")]
pub struct Unreadable(pub String);

/// A value put under a key, or a key removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// Where things are put away. Reads see every commit that was completed before.
pub trait Archive: fmt::Debug + Send + Sync {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable>;

    /// Calls `see` with every key that begins with `prefix` and its value, in order.
    fn scan(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable>;
}

/// An archive with nothing in it, for partitions that never put anything away.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyArchive;

impl Archive for EmptyArchive {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unreadable> {
        Ok(())
    }
}

/// What everything in an archive depends on. An archive of another identity cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The log it follows from.
    pub log_id: u64,
    /// How many partitions that has.
    pub partitions: u32,
    /// The number of [`meaning`](Self::meaning) it was made with.
    pub meaning: u64,
}

/// Raised when events come to mean other facts, or the same are kept in another form: archives are then made anew.
const MEANING: &str = "4";

impl Identity {
    /// A number for what this program makes of events and how it keeps it: the version and the measures, in their order.
    #[must_use]
    pub fn meaning() -> u64 {
        let measures: Vec<&str> =
            [MEANING].into_iter().chain(Measure::ALL.iter().map(|measure| measure.name())).collect();
        number_of(&measures).cast_unsigned()
    }

    /// The identity of an archive; `None` for an empty one.
    pub fn of(archive: &dyn Archive) -> Result<Option<Self>, Unreadable> {
        archive.get(&Key::new(SHARED, Kind::Head).done())?.map(|bytes| decode(&bytes)).transpose()
    }

    /// What gives an archive this identity.
    #[must_use]
    pub fn change(&self) -> Change {
        Change { key: Key::new(SHARED, Kind::Head).done(), value: Some(encode(self)) }
    }
}

/// The key of something that a partition's owner keeps beside it, and puts away with its checkpoints.
#[must_use]
pub fn beside(partition: u32, what: &[u8]) -> Vec<u8> {
    Key::new(partition, Kind::Beside).bytes(what).done()
}

/// What stands in the place of a partition's number in the keys of what all partitions share.
pub(crate) const SHARED: u32 = u32::MAX;

/// The bytes of a value.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("writing to memory cannot fail, and every length is known")
}

/// The value of bytes written by [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    postcard::from_bytes(bytes).map_err(|error| Unreadable(format!("a value of {} bytes: {error}", bytes.len())))
}
