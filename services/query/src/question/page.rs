//! Pages of an answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use deskpulse_core::snapshot::MAX_ROWS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::QueryMetricsRequest;
use prost::Message as _;

/// Hexadecimal digits of a number in a token.
const DIGITS: usize = 16;

/// Which part of an answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The most rows; `None` for all.
    pub(crate) size: Option<usize>,
    /// What it goes on from; `None` on the first page.
    pub(crate) after: Option<After>,
    /// A digest of the question that all pages share.
    question: u64,
}

/// What a page goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct After {
    /// The moment that all pages are of.
    pub(crate) moment: u64,
    /// When the first page was asked for.
    pub(crate) now: Timestamp,
    /// How many rows came before.
    pub(crate) rows: usize,
    /// The time zone of the first page.
    pub(crate) time_zone: String,
}

impl Page {
    /// The page a request asks for.
    pub(crate) fn parse(request: &QueryMetricsRequest) -> Result<Self, Fault> {
        let size = usize::try_from(request.page_size).ok().filter(|size| *size <= MAX_ROWS);
        let Some(size) = size else {
            let message =
                format!("page_size is {}, it must be from 0 to {MAX_ROWS}: 0 means all rows", request.page_size);
            return Err(Fault::in_field(Reason::FieldInvalid, "page_size", message));
        };
        let same = QueryMetricsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let mut hasher = DefaultHasher::new();
        same.encode_to_vec().hash(&mut hasher);
        let question = hasher.finish();
        let page = Self { size: (size > 0).then_some(size), after: None, question };
        if request.page_token.is_empty() {
            return Ok(page);
        }
        let refused = |message: &str| Fault::in_field(Reason::FieldInvalid, "page_token", message);
        let (of, after) = parse(&request.page_token).ok_or_else(|| {
            refused("page_token is not one of ours: send next_page_token of the page before, or nothing")
        })?;
        if of != question {
            return Err(refused("page_token is of another question: every field but page_size has to stay as it was"));
        }
        Ok(Self { after: Some(after), ..page })
    }

    /// The token of the page that goes on from here.
    pub(crate) fn token(&self, after: &After) -> String {
        let now = after.now.millis().cast_unsigned();
        format!("{:016x}{:016x}{now:016x}{:016x}{}", self.question, after.moment, after.rows, after.time_zone)
    }

    /// How many rows came before.
    pub(crate) fn from(&self) -> usize {
        self.after.as_ref().map_or(0, |after| after.rows)
    }
}

fn parse(token: &str) -> Option<(u64, After)> {
    let number = |place: usize| {
        let digits = token.get(place * DIGITS..(place + 1) * DIGITS)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let after = After {
        moment: number(1)?,
        now: Timestamp::from_millis(number(2)?.cast_signed())?,
        rows: usize::try_from(number(3)?).ok()?,
        time_zone: token.get(4 * DIGITS..)?.to_owned(),
    };
    Some((number(0)?, after))
}
