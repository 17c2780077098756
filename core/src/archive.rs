//! What a partition puts away and takes back: a store, seen from here.
//!
//! Everything a partition keeps stands under keys that begin with its number, so that partitions share a store. A partition
//! changes nothing there itself: it hands out [`Change`]s, which somebody makes durable all at once, and is told so.

mod key;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// The bytes of a value.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("writing to memory cannot fail, and every length is known")
}

/// The value of bytes written by [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    postcard::from_bytes(bytes).map_err(|error| Unreadable(format!("a value of {} bytes: {error}", bytes.len())))
}
