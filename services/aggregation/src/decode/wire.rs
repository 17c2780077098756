//! Messages as they lie on the wire: every text is lent by the bytes, nothing is copied.
//!
//! What is accepted, and what it comes to, is exactly what `prost` would say of the same bytes: unknown fields are skipped,
//! fields may come in any order, the last one of a scalar holds, repeated messages are merged.

mod messages;

use std::str::Utf8Error;

pub(super) use messages::*;

/// How deep messages and groups may be nested, as in `prost`.
const MAX_DEPTH: u32 = 100;

/// Why bytes are no block.
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
    Text(#[from] Utf8Error),
    /// The change of configuration in the block.
    #[error("the change of configuration cannot be decoded")]
    Config(#[source] prost::DecodeError),
}

/// How the value of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    SixtyFourBit,
    LengthDelimited,
    StartGroup,
    EndGroup,
    ThirtyTwoBit,
}

/// A field's number and how its value is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) tag: u32,
    wire_type: WireType,
}

impl Key {
    /// The key as if a text or a message followed, whatever it says.
    fn delimited(self) -> Self {
        Self { wire_type: WireType::LengthDelimited, ..self }
    }

    fn expect(self, wire_type: WireType) -> Result<(), Malformed> {
        if self.wire_type == wire_type { Ok(()) } else { Err(Malformed::WireType { tag: self.tag }) }
    }
}

/// Bytes still to be read.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    /// How much deeper it may go.
    depth: u32,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: MAX_DEPTH }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The key of the next field; `None` at the end.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Option<Key>, Malformed> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let Ok(key) = u32::try_from(key) else { return Err(Malformed::Key(key)) };
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::SixtyFourBit,
            2 => WireType::LengthDelimited,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::ThirtyTwoBit,
            _ => return Err(Malformed::Key(key.into())),
        };
        match key >> 3 {
            0 => Err(Malformed::Key(key.into())),
            tag => Ok(Some(Key { tag, wire_type })),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*first & 0x7f) | u64::from(*second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        // Seven bits a byte, up to eight bytes at once.
        if let Some((eight, _)) = self.bytes.split_first_chunk() {
            let word = u64::from_le_bytes(*eight);
            let last = (!word & 0x8080_8080_8080_8080).trailing_zeros();
            if last < u64::BITS {
                let word = word & (u64::MAX >> (u64::BITS - 1 - last)) & 0x7f7f_7f7f_7f7f_7f7f;
                let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
                let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
                let word = (word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4;
                self.bytes = self.bytes.get(last as usize / 8 + 1..).unwrap_or_default();
                return Ok(word);
            }
        }
        self.any_varint()
    }

    #[cold]
    fn any_varint(&mut self) -> Result<u64, Malformed> {
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
    fn delimited(&mut self, key: Key) -> Result<&'a [u8], Malformed> {
        key.expect(WireType::LengthDelimited)?;
        let length = self.varint()?;
        self.take(length)
    }

    /// The inside of a message.
    #[inline]
    pub(super) fn message(&mut self, key: Key) -> Result<Self, Malformed> {
        let depth = self.depth;
        let bytes = self.delimited(key)?;
        Ok(Self { bytes, depth: depth.checked_sub(1).ok_or(Malformed::Depth)? })
    }

    /// Passes over a field that is not known.
    #[cold]
    pub(super) fn skip(&mut self, key: Key) -> Result<(), Malformed> {
        self.skip_within(key, self.depth)
    }

    fn skip_within(&mut self, key: Key, depth: u32) -> Result<(), Malformed> {
        let deeper = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        match key.wire_type {
            WireType::Varint => drop(self.varint()?),
            WireType::SixtyFourBit => drop(self.take(8)?),
            WireType::ThirtyTwoBit => drop(self.take(4)?),
            WireType::LengthDelimited => drop(self.delimited(key)?),
            WireType::StartGroup => loop {
                let inner = self.key()?.ok_or(Malformed::Truncated)?;
                match inner.wire_type {
                    WireType::EndGroup if inner.tag == key.tag => break,
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
pub(super) trait Field<'a>: Default {
    /// Takes in one more occurrence of the field.
    fn merge(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed>;
}

impl<'a> Field<'a> for &'a str {
    #[inline]
    fn merge(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed> {
        *self = std::str::from_utf8(input.delimited(key)?)?;
        Ok(())
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Field<'_> for $number {
            #[expect(clippy::allow_attributes, reason = "not every one of these casts can do it")]
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as protobuf has it")]
            #[inline]
            fn merge(&mut self, key: Key, input: &mut Input) -> Result<(), Malformed> {
                key.expect(WireType::Varint)?;
                *self = input.varint()? as $number;
                Ok(())
            }
        }
    )+};
}

numbers!(i32, i64, u32, u64);

impl Field<'_> for bool {
    #[inline]
    fn merge(&mut self, key: Key, input: &mut Input) -> Result<(), Malformed> {
        key.expect(WireType::Varint)?;
        *self = input.varint()? != 0;
        Ok(())
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    #[inline]
    fn merge(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed> {
        self.get_or_insert_default().merge(key, input)
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn merge(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed> {
        let mut value = T::default();
        value.merge(key, input)?;
        self.push(value);
        Ok(())
    }
}

/// The entries of a map, in the order they were written; of equal names the last one holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attributes<'a>(pub(super) Vec<Attribute<'a>>);

impl<'a> Field<'a> for Attributes<'a> {
    fn merge(&mut self, key: Key, input: &mut Input<'a>) -> Result<(), Malformed> {
        // `prost` asks no map for its wire type.
        self.0.merge(key.delimited(), input)
    }
}
