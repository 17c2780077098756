//! Instants.

use std::fmt;
use std::num::NonZeroU64;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
///
/// One that may be missing takes no more room: milliseconds are counted from the earliest instant, which is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// The first and the last instant, in milliseconds since 1970.
const FIRST_MS: i64 = -62_135_596_800_000;
const LAST_MS: i64 = 253_402_128_000_000;

impl Timestamp {
    /// 0001-01-01T00:00:00Z, the earliest instant.
    pub const MIN: Self = Self::kept(FIRST_MS);
    /// 9999-12-30T00:00:00Z, the latest instant; a day short of the year's end, so that it exists in every time zone.
    pub const MAX: Self = Self::kept(LAST_MS);

    const fn kept(ms: i64) -> Self {
        Self(NonZeroU64::new((ms - FIRST_MS + 1).cast_unsigned()).expect("no instant is before the first"))
    }

    /// The instant `ms` milliseconds after 1970; `None` outside of the years 1 to 9999.
    #[must_use]
    pub fn from_millis(ms: i64) -> Option<Self> {
        (FIRST_MS..=LAST_MS).contains(&ms).then(|| Self::kept(ms))
    }

    /// The instant `ms` milliseconds after 1970, moved to the nearest one there is.
    #[must_use]
    pub fn clamped(ms: i64) -> Self {
        Self::kept(ms.clamp(FIRST_MS, LAST_MS))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.get().cast_signed() - 1 + FIRST_MS
    }

    /// Milliseconds from `earlier` to this instant; negative when `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.millis() - earlier.millis()
    }
}

/// As its milliseconds since 1970.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.millis().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = i64::deserialize(deserializer)?;
        Self::from_millis(ms)
            .ok_or_else(|| D::Error::custom(format_args!("{ms} ms since 1970 are outside of the years 1 to 9999")))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.millis()).finish()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.millis()) {
            Ok(instant) => instant.fmt(f),
            Err(_) => write!(f, "{} ms", self.millis()),
        }
    }
}
