//! Pages of an answer.

use deskpulse_core::snapshot::MAX_ROWS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::QueryMetricsRequest;

use crate::token;

/// Which part of an answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The most rows; `None` for all.
    pub(crate) size: Option<usize>,
    /// What it goes on from; `None` on the first page.
    pub(crate) after: Option<After>,
    /// A digest of the question that all pages share, where there are any.
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
        if size == 0 && request.page_token.is_empty() {
            return Ok(Self { size: None, after: None, question: 0 });
        }
        let same = QueryMetricsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let question = token::digest(&same);
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                let ([moment, now, rows], time_zone) = token::read("page_token", question, token)?;
                let now = Timestamp::clamped(now.cast_signed());
                let rows = usize::try_from(rows).unwrap_or(usize::MAX);
                Some(After { moment, now, rows, time_zone: time_zone.to_owned() })
            }
        };
        Ok(Self { size: (size > 0).then_some(size), after, question })
    }

    /// The token of the page that goes on from here.
    pub(crate) fn token(&self, after: &After) -> String {
        let now = after.now.millis().cast_unsigned();
        token::write(self.question, &[after.moment, now, after.rows as u64], &after.time_zone)
    }

    /// How many rows came before.
    pub(crate) fn from(&self) -> usize {
        self.after.as_ref().map_or(0, |after| after.rows)
    }
}
