//! Messages as they lie on the wire: every text is lent by the bytes, nothing is copied.
//!
//! What is accepted, and what it comes to, is exactly what `prost` would say of the same bytes: unknown fields are skipped,
//! fields may come in any order, the last one of a scalar holds, repeated messages are merged.

mod messages;

use ascii::AsciiStr;

pub use messages::*;

/// How deep messages and groups may be nested, as in `prost`.
const MAX_DEPTH: u32 = 100;

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The bytes end, or the message around it does, inside of a field.
    #[error("a field is cut off")]
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    #[error("a number is longer than 64 bits")]
    Number,
    /// No such field or wire type can be.
    #[error("{0} is no key of a field")]
    Key(u64),
    /// A known field has the wire type of another kind of field.
    #[error("field {tag} has the wire type of another kind")]
    WireType {
        /// The number of the field.
        tag: u32,
    },
    /// Groups end that did not begin, or the other way round.
    #[error("groups are not nested")]
    Group,
    /// Nested deeper than any message of ours.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

/// How the value of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in the encoding of protobuf")]
pub enum WireType {
    Varint,
    SixtyFourBit,
    LengthDelimited,
    StartGroup,
    EndGroup,
    ThirtyTwoBit,
}

/// A field's number and how its value is written, in one number as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The key that a field of a message has.
    #[must_use]
    pub const fn of<'a, F: Field<'a>>(tag: u32) -> Self {
        Self(tag << 3 | F::WIRE_TYPE as u32)
    }

    /// The number of the field. That no field can have this key shows only when it is [skipped](Input::skip).
    #[must_use]
    pub fn tag(self) -> u32 {
        self.0 >> 3
    }

    fn wire_type(self) -> Result<WireType, Malformed> {
        match (self.tag(), self.0 & 7) {
            (0, _) => Err(Malformed::Key(self.0.into())),
            (_, 0) => Ok(WireType::Varint),
            (_, 1) => Ok(WireType::SixtyFourBit),
            (_, 2) => Ok(WireType::LengthDelimited),
            (_, 3) => Ok(WireType::StartGroup),
            (_, 4) => Ok(WireType::EndGroup),
            (_, 5) => Ok(WireType::ThirtyTwoBit),
            _ => Err(Malformed::Key(self.0.into())),
        }
    }
}

/// Bytes still to be read.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    bytes: &'a [u8],
    /// How much deeper it may go.
    depth: u32,
}

impl<'a> Input<'a> {
    /// The inside of a message that stands alone.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: MAX_DEPTH }
    }

    /// The inside of a message that is a field of another.
    fn within(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: MAX_DEPTH - 1 }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The key of the next field. It is one that a field can have if it is [that of a field](Key::of), or can be [skipped](Self::skip).
    #[inline]
    pub fn key(&mut self) -> Result<Key, Malformed> {
        let key = self.varint()?;
        u32::try_from(key).map(Key).map_err(|_| Malformed::Key(key))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        if let Some(bytes) = self.bytes.first_chunk() {
            let bytes = u64::from_le_bytes(*bytes);
            // The bits that say which bytes are the last of a number. Of the bytes up to the first of these, the other seven bits are
            // pushed together.
            let lasts = !bytes & 0x8080_8080_8080_8080;
            if lasts != 0 {
                let mut value = bytes & (lasts ^ (lasts - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
                value = (value & 0x7f00_7f00_7f00_7f00) >> 1 | value & 0x007f_007f_007f_007f;
                value = (value & 0x3fff_0000_3fff_0000) >> 2 | value & 0x0000_3fff_0000_3fff;
                value = (value & 0x0fff_ffff_0000_0000) >> 4 | value & 0x0000_0000_0fff_ffff;
                self.bytes = self.bytes.get(lasts.trailing_zeros() as usize / 8 + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        let mut value = 0;
        for (place, byte) in self.bytes.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (place * 7);
            if *byte < 0x80 {
                if place == 9 && *byte > 1 {
                    return Err(Malformed::Number);
                }
                self.bytes = self.bytes.get(place + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.bytes.len() < 10 { Malformed::Truncated } else { Malformed::Number })
    }

    #[inline]
    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(count).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The bytes of a text or a message.
    #[inline]
    fn delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(length)
    }

    /// The inside of a message.
    #[inline]
    pub fn message(&mut self) -> Result<Self, Malformed> {
        let bytes = self.delimited()?;
        Ok(Self { bytes, depth: self.depth.checked_sub(1).ok_or(Malformed::Depth)? })
    }

    /// Passes over a field that is not known.
    #[cold]
    pub fn skip(&mut self, key: Key) -> Result<(), Malformed> {
        self.skip_within(key, self.depth)
    }

    fn skip_within(&mut self, key: Key, depth: u32) -> Result<(), Malformed> {
        let deeper = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        match key.wire_type()? {
            WireType::Varint => drop(self.varint()?),
            WireType::SixtyFourBit => drop(self.take(8)?),
            WireType::ThirtyTwoBit => drop(self.take(4)?),
            WireType::LengthDelimited => drop(self.delimited()?),
            WireType::StartGroup => loop {
                if self.is_empty() {
                    return Err(Malformed::Truncated);
                }
                let inner = self.key()?;
                match inner.wire_type()? {
                    WireType::EndGroup if inner.tag() == key.tag() => break,
                    WireType::EndGroup => return Err(Malformed::Group),
                    WireType::Varint
                    | WireType::SixtyFourBit
                    | WireType::LengthDelimited
                    | WireType::StartGroup
                    | WireType::ThirtyTwoBit => self.skip_within(inner, deeper)?,
                }
            },
            WireType::EndGroup => return Err(Malformed::Group),
        }
        Ok(())
    }
}

/// What a field of a message can hold.
pub trait Field<'a>: Default {
    /// How it is written.
    const WIRE_TYPE: WireType;

    /// Takes in one more occurrence of the field.
    fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed>;

    /// Takes in the field under another wire type.
    #[cold]
    fn merge_otherwise(&mut self, key: Key, _: &mut Input<'a>) -> Result<(), Malformed> {
        Err(Malformed::WireType { tag: key.tag() })
    }
}

impl<'a> Field<'a> for &'a str {
    const WIRE_TYPE: WireType = WireType::LengthDelimited;

    #[inline]
    fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed> {
        *self = text(input.delimited()?)?;
        Ok(())
    }
}

/// Bytes as a text. Nearly all are short and ASCII, which is seen in half the time it takes to see that they are UTF-8.
#[inline]
fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    match AsciiStr::from_ascii(bytes) {
        Ok(ascii) => Ok(ascii.as_str()),
        Err(_) => std::str::from_utf8(bytes).map_err(|_| Malformed::Text),
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Field<'_> for $number {
            const WIRE_TYPE: WireType = WireType::Varint;

            #[expect(clippy::allow_attributes, reason = "not every one of these casts can do it")]
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as protobuf has it")]
            #[inline]
            fn merge(&mut self, input: &mut Input) -> Result<(), Malformed> {
                *self = input.varint()? as $number;
                Ok(())
            }
        }
    )+};
}

numbers!(i32, i64, u32, u64);

impl Field<'_> for bool {
    const WIRE_TYPE: WireType = WireType::Varint;

    #[inline]
    fn merge(&mut self, input: &mut Input) -> Result<(), Malformed> {
        *self = input.varint()? != 0;
        Ok(())
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    const WIRE_TYPE: WireType = T::WIRE_TYPE;

    #[inline]
    fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed> {
        self.get_or_insert_default().merge(input)
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    const WIRE_TYPE: WireType = T::WIRE_TYPE;

    fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed> {
        let mut value = T::default();
        value.merge(input)?;
        self.push(value);
        Ok(())
    }
}

/// The entries of a map, in the order they were written; of equal names the last one holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes<'a>(pub Vec<Attribute<'a>>);

impl<'a> Field<'a> for Attributes<'a> {
    const WIRE_TYPE: WireType = WireType::LengthDelimited;

    fn merge(&mut self, input: &mut Input<'a>) -> Result<(), Malformed> {
        self.0.merge(input)
    }

    /// `prost` asks no map for its wire type.
    fn merge_otherwise(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed> {
        key.wire_type()?;
        self.merge(input)
    }
}
