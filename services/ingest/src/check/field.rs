//! What fields of many events have in common. A field's name is spelled out only when it is at fault.

use std::fmt::Display;
use std::ops::RangeInclusive;

use deskpulse_core::subject::{SubjectKind, SubjectRef};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::lent::{self, Money, Scale};

/// The longest of every id, name and value but the tenant's, in bytes.
pub(super) const TEXT: usize = 128;
/// What a score may be where nothing narrower holds.
const SCORES: RangeInclusive<i32> = -1_000..=1_000;

pub(super) fn missing(field: impl Display, question: &str) -> Fault {
    Fault::in_field(Reason::FieldRequired, field.to_string(), format!("{field} is required: {question}"))
}

pub(super) fn invalid<T>(field: impl Display, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::in_field(Reason::FieldInvalid, field.to_string(), message))
}

/// A text of 1 to `limit` bytes.
pub(super) fn required(field: impl Display, value: &str, limit: usize) -> Result<(), Fault> {
    if value.is_empty() {
        let message = format!("{field} is required: send 1 to {limit} bytes");
        return Err(Fault::in_field(Reason::FieldRequired, field.to_string(), message));
    }
    optional(field, value, limit)
}

/// A text of at most `limit` bytes.
pub(super) fn optional(field: impl Display, value: &str, limit: usize) -> Result<(), Fault> {
    if value.len() <= limit {
        return Ok(());
    }
    let message = format!("{field} has {} bytes, the limit is {limit}: shorten it", value.len());
    Err(Fault::in_field(Reason::FieldTooLong, field.to_string(), message))
}

/// A list of at most `limit` entries.
pub(super) fn entries(field: impl Display, count: usize, limit: usize) -> Result<(), Fault> {
    if count <= limit {
        return Ok(());
    }
    let message = format!("{field} has {count} entries, the limit is {limit}: send fewer");
    Err(Fault::in_field(Reason::FieldTooLong, field.to_string(), message))
}

/// The subject of an event, by its id.
pub(super) fn subject(field: impl Display, kind: SubjectKind, id: &str) -> Result<SubjectRef<'_>, Fault> {
    required(field, id, TEXT)?;
    Ok(SubjectRef { kind, id })
}

/// An enum's value, which must be one this version knows; unspecified will do.
pub(super) fn known<T: TryFrom<i32>>(field: impl Display, number: i32) -> Result<T, Fault> {
    T::try_from(number)
        .or_else(|_| invalid(&field, format!("{field} has the value {number}, which this version does not know")))
}

/// An enum's value, which must be one this version knows and not unspecified.
pub(super) fn specified<T: TryFrom<i32>>(field: impl Display, number: i32) -> Result<T, Fault> {
    if number == 0 {
        let message = format!("{field} is required and may not be unspecified");
        return Err(Fault::in_field(Reason::FieldRequired, field.to_string(), message));
    }
    known(field, number)
}

/// A required instant, in whole milliseconds; `question` says what it is for.
pub(super) fn instant(field: impl Display, time: Option<&lent::Timestamp>, question: &str) -> Result<Timestamp, Fault> {
    let time = time.ok_or_else(|| missing(&field, question))?;
    let whole_ms = || {
        let nanos = Some(time.nanos).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
        Timestamp::from_millis(time.seconds.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)?)
    };
    let message = || format!("{field} is no instant of the years 1 to 9999 with nanos from 0 to 999,999,999");
    whole_ms().map_or_else(|| invalid(&field, message()), Ok)
}

/// The scores a scale allows; `None` when it is absent.
pub(super) fn scale(field: impl Display, scale: Option<&Scale>) -> Result<Option<RangeInclusive<i32>>, Fault> {
    let Some(&Scale { lowest, highest }) = scale else { return Ok(None) };
    for (end, score) in [("lowest", lowest), ("highest", highest)] {
        if !SCORES.contains(&score) {
            return invalid(
                format_args!("{field}.{end}"),
                format!("{field}.{end} is {score}, it must be from -1,000 to 1,000"),
            );
        }
    }
    if highest <= lowest {
        let message = format!("{field}.highest is {highest}, it must be above {field}.lowest, which is {lowest}");
        return invalid(format_args!("{field}.highest"), message);
    }
    Ok(Some(lowest..=highest))
}

/// A required score, within the scores allowed; without any said, from -1,000 to 1,000.
pub(super) fn score(field: &str, score: Option<i32>, allowed: Option<RangeInclusive<i32>>) -> Result<(), Fault> {
    let score = score.ok_or_else(|| missing(field, "send the number given, 0 included"))?;
    let allowed = allowed.unwrap_or(SCORES);
    if allowed.contains(&score) {
        return Ok(());
    }
    let message = format!(
        "{field} is {score}, it must be from {} to {}: name the scale if it is another",
        allowed.start(),
        allowed.end()
    );
    invalid(field, message)
}

/// An amount of money in a currency that could be one.
pub(super) fn money(field: &str, money: &Money) -> Result<(), Fault> {
    let currency = format_args!("{field}.currency");
    if money.currency.is_empty() {
        return Err(missing(currency, "send an ISO 4217 code such as EUR"));
    }
    if money.currency.len() != 3 || !money.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let message = format!("{currency} must be an ISO 4217 code of three capital letters, such as EUR");
        return invalid(currency, message);
    }
    Ok(())
}
