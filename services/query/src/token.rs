//! Tokens: where an answer goes on from, and a digest of the question that all its parts share.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use deskpulse_edge::fault::{Fault, Reason};
use prost::Message;

/// Hexadecimal digits of a number in a token.
const DIGITS: usize = 16;

/// A digest of a request, those fields left out that may differ from page to page.
pub(crate) fn digest(request: &impl Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

/// A token of these numbers and a text.
pub(crate) fn write(question: u64, numbers: &[u64], text: &str) -> String {
    let mut token = format!("{question:016x}");
    for number in numbers {
        let _ = write!(token, "{number:016x}");
    }
    token + text
}

/// The numbers and the text of a token for this question.
pub(crate) fn read<'a, const N: usize>(
    field: &str,
    question: u64,
    token: &'a str,
) -> Result<([u64; N], &'a str), Fault> {
    let refused = |what: &str| Fault::in_field(Reason::FieldInvalid, field, format!("{field} is {what}"));
    let number = |place: usize| {
        let digits = token.get(place * DIGITS..(place + 1) * DIGITS)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let numbers: Option<Vec<u64>> = (0..=N).map(number).collect();
    let read = numbers.and_then(|numbers| {
        let (of, numbers) = numbers.split_first()?;
        Some((*of, <[u64; N]>::try_from(numbers).ok()?, token.get((N + 1) * DIGITS..)?))
    });
    let (of, numbers, text) =
        read.ok_or_else(|| refused("not one of ours: send the one of the answer before, or nothing"))?;
    if of != question {
        return Err(refused("of another question: everything else has to stay as it was"));
    }
    Ok((numbers, text))
}
