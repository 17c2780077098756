//! Ids of events, packed: most platforms number events at random, and such a number takes half as many bytes as its digits.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::Id;

/// An event's id as its source gave it. 128 bits in lower case hexadecimal digits, with the hyphens of a UUID or without, take 16 bytes;
/// anything else is kept as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedId(Repr);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Repr {
    Digits([u8; 16]),
    Uuid([u8; 16]),
    /// Neither of these.
    Text(Id),
}

/// How an id is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 32 digits.
    Digits,
    /// 32 digits with four hyphens.
    Uuid,
    /// Bytes of UTF-8.
    Text,
}

/// An id where it lies, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    pub(crate) form: Form,
    pub(crate) bytes: &'a [u8],
}

/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl From<&str> for PackedId {
    fn from(text: &str) -> Self {
        let bytes = text.as_bytes();
        Self(
            match bytes.len() {
                32 => number(bytes).map(Repr::Digits),
                36 => without_hyphens(bytes).and_then(|digits| number(&digits)).map(Repr::Uuid),
                _ => None,
            }
            .unwrap_or_else(|| Repr::Text(text.into())),
        )
    }
}

impl From<String> for PackedId {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// The number that 32 lower case hexadecimal digits stand for.
fn number(digits: &[u8]) -> Option<[u8; 16]> {
    let (eights, []) = digits.as_chunks() else { return None };
    let mut number = [0; 16];
    for (bytes, eight) in number.as_chunks_mut().0.iter_mut().zip(eights) {
        *bytes = four_bytes(*eight)?;
    }
    Some(number)
}

/// The bytes that eight digits stand for, all worked out at once, a byte of a word each.
fn four_bytes(digits: [u8; 8]) -> Option<[u8; 4]> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(digits);
    // Letters have a bit that decimals have not, and are nine less in their low half than what they stand for. What is neither gives a half
    // that is written as another digit.
    let letters = digits >> 6 & ONES;
    let halves = (digits & (ONES * 0xf)).wrapping_add(letters * 9);
    let from_ten = (halves & (ONES * 0xf)).wrapping_add(ONES * 6) >> 4 & ONES;
    let again = halves.wrapping_add(ONES * u64::from(b'0')).wrapping_add(from_ten * u64::from(b'a' - b'0' - 10));
    if again != digits {
        return None;
    }
    // The first of two digits is the upper half.
    let mut bytes = (halves << 4 | halves >> 8) & 0x00ff_00ff_00ff_00ff;
    bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    bytes |= bytes >> 16;
    let [a, b, c, d, ..] = bytes.to_le_bytes();
    Some([a, b, c, d])
}

fn without_hyphens(uuid: &[u8]) -> Option<[u8; 32]> {
    let mut digits = [0; 32];
    let (mut rest, mut from) = (digits.as_mut_slice(), 0);
    for to in HYPHENS.into_iter().chain([uuid.len()]) {
        let (part, after) = rest.split_at_mut_checked(to - from)?;
        part.copy_from_slice(uuid.get(from..to)?);
        if uuid.get(to).is_some_and(|byte| *byte != b'-') {
            return None;
        }
        (rest, from) = (after, to + 1);
    }
    Some(digits)
}

impl PackedId {
    pub(crate) fn packed(&self) -> Packed<'_> {
        match &self.0 {
            Repr::Digits(bytes) => Packed { form: Form::Digits, bytes },
            Repr::Uuid(bytes) => Packed { form: Form::Uuid, bytes },
            Repr::Text(text) => Packed { form: Form::Text, bytes: text.as_bytes() },
        }
    }

    /// `None` for what [`Self::packed`] never gives.
    pub(crate) fn unpacked(Packed { form, bytes }: Packed) -> Option<Self> {
        Some(Self(match form {
            Form::Digits => Repr::Digits(bytes.try_into().ok()?),
            Form::Uuid => Repr::Uuid(bytes.try_into().ok()?),
            Form::Text => Repr::Text(std::str::from_utf8(bytes).ok()?.into()),
        }))
    }
}

impl<'a> Packed<'a> {
    /// The bytes of the id as its source gave it.
    fn text(self) -> Cow<'a, [u8]> {
        let hyphens: &[usize] = match self.form {
            Form::Text => return Cow::Borrowed(self.bytes),
            Form::Digits => &[],
            Form::Uuid => &HYPHENS,
        };
        let mut text = Vec::with_capacity(36);
        for byte in self.bytes {
            if hyphens.contains(&text.len()) {
                text.push(b'-');
            }
            text.extend([byte >> 4, byte & 0xf].map(|half| b"0123456789abcdef"[usize::from(half)]));
        }
        Cow::Owned(text)
    }
}

/// In the order of the texts: digits are ordered as what they stand for.
impl Ord for Packed<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.form == other.form { self.bytes.cmp(other.bytes) } else { self.text().cmp(&other.text()) }
    }
}

impl PartialOrd for Packed<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PackedId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.packed().cmp(&other.packed())
    }
}

impl PartialOrd for PackedId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PackedId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Digits(bytes) | Repr::Uuid(bytes) => state.write_u128(u128::from_le_bytes(*bytes)),
            Repr::Text(text) => text.hash(state),
        }
    }
}

impl fmt::Display for PackedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.packed().text()))
    }
}

impl fmt::Debug for PackedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids of both packed forms, and what is nearly one.
    fn ids() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9a-f]{32}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{16}-",
            "[0-9a-fA-F]{32}",
            "[0-9a-g:/`]{32}",
            "[0-9a-f-]{36}",
            "[0-9a-f]{31}é",
            "[0-9a-f]{0,40}",
            ".{0,40}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_packed_id_is_its_text_and_is_ordered_as_its_text(a in ids(), b in ids()) {
            let (one, other) = (PackedId::from(a.as_str()), PackedId::from(b.as_str()));
            prop_assert_eq!(one.to_string(), a.as_str());
            prop_assert_eq!(PackedId::unpacked(one.packed()), Some(one.clone()));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(one == other, a == b);
            let written = crate::archive::encode(&one);
            prop_assert_eq!(crate::archive::decode::<PackedId>(&written), Ok(one));
        }
    }

    #[test]
    fn numbers_take_sixteen_bytes_and_what_only_looks_like_one_stays_a_text() {
        let form = |text: &str| PackedId::from(text).packed().form;
        assert_eq!(form("00ff5c1e9a3b4d7f8e6a2b1c0d9f8e7a"), Form::Digits);
        assert_eq!(form("00ff5c1e-9a3b-4d7f-8e6a-2b1c0d9f8e7a"), Form::Uuid);
        for text in [
            "00FF5C1E9A3B4D7F8E6A2B1C0D9F8E7A",
            "00ff5c1e9-a3b-4d7f-8e6a-2b1c0d9f8e7a",
            "00ff5c1e-9a3b-4d7f-8e6a-2b1c0d9f8e7g",
            "00ff5c1e_9a3b-4d7f-8e6a-2b1c0d9f8e7a",
            "00ff5c1e9a3b4d7f8e6a2b1c0d9f8e7",
            "",
        ] {
            assert_eq!(form(text), Form::Text, "{text}");
        }
        assert_eq!(size_of::<PackedId>(), size_of::<Id>());
    }
}
