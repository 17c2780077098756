//! Servers that leave parts of their messages encoded: `IngestService` the events of a batch as they lie in its message, `QueryService` the
//! rows of an answer, and an answer that many listen to.

use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, bytes};

use crate::v1::{Freshness, MetricRow, QueryError};

/// An `IngestEventsRequest` whose events have not been looked into.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IngestEventsRequest {
    /// Each an [`Event`](crate::v1::Event).
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
}

/// A `StreamEventsRequest` whose events have not been looked into.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamEventsRequest {
    /// The client's number of the batch.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Each an [`Event`](crate::v1::Event).
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub events: Vec<Bytes>,
}

/// A `WatchMetricsResponse` whose answer was encoded once for all who listen to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchMetricsResponse {
    /// A [`QueryMetricsResponse`].
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub answer: Option<Bytes>,
    /// Where to go on after a reconnect.
    #[prost(string, tag = "2")]
    pub resume_token: String,
}

/// A `QueryMetricsResponse` whose rows were encoded by those who worked them out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryMetricsResponse {
    /// Each some [`MetricRow`]s as they lie in the message, one after the other: with their tags and lengths, as [`put_row`] puts them.
    pub rows: Vec<Bytes>,
    /// All the rest.
    pub rest: BesideRows,
}

/// The tag of a [`MetricRow`] in an answer.
const ROW: u32 = 1;

/// Puts a row where others of an answer are; `make_room` makes room for so many bytes, and says where.
pub fn put_row<'a>(row: &MetricRow, make_room: impl FnOnce(usize) -> &'a mut [u8]) {
    let len = row.encoded_len();
    let mut place = make_room(prost::encoding::key_len(ROW) + prost::length_delimiter_len(len) + len);
    // A slice takes its bytes faster than what may have to grow.
    prost::encoding::encode_key(ROW, WireType::LengthDelimited, &mut place);
    prost::encoding::encode_varint(len as u64, &mut place);
    row.encode_raw(&mut place);
}

impl Message for QueryMetricsResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.rows.iter().for_each(|rows| buf.put_slice(rows));
        self.rest.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != ROW {
            return self.rest.merge_field(tag, wire_type, buf, ctx);
        }
        let mut row = Bytes::new();
        bytes::merge(wire_type, &mut row, buf, ctx)?;
        let mut tagged = Vec::new();
        bytes::encode(ROW, &row, &mut tagged);
        self.rows.push(tagged.into());
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.rows.iter().map(Bytes::len).sum::<usize>() + self.rest.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What there is in an answer beside its rows.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "as in the contract")]
pub struct BesideRows {
    #[prost(message, optional, tag = "2")]
    pub freshness: Option<Freshness>,
    #[prost(uint32, tag = "3")]
    pub total_rows: u32,
    #[prost(message, repeated, tag = "4")]
    pub group_totals: Vec<MetricRow>,
    #[prost(message, optional, tag = "5")]
    pub total: Option<MetricRow>,
    #[prost(string, tag = "6")]
    pub next_page_token: String,
    #[prost(string, tag = "7")]
    pub time_zone: String,
}

/// A `QueryOutcome` with such an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryOutcome {
    /// One of the two.
    #[prost(oneof = "Outcome", tags = "1, 2")]
    pub outcome: Option<Outcome>,
}

/// What a question came to.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Outcome {
    /// The answer.
    #[prost(message, boxed, tag = "1")]
    Answer(Box<QueryMetricsResponse>),
    /// Why there is none.
    #[prost(message, tag = "2")]
    Error(QueryError),
}

/// A `BatchQueryMetricsResponse` of such outcomes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchQueryMetricsResponse {
    /// One for each question, in their order.
    #[prost(message, repeated, tag = "1")]
    pub outcomes: Vec<QueryOutcome>,
}

/// A `StreamQueryMetricsResponse` of such outcomes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamQueryMetricsResponse {
    /// The number of the request.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// One for each question, in their order.
    #[prost(message, repeated, tag = "2")]
    pub outcomes: Vec<QueryOutcome>,
}

/// As for the whole contract: `UPDATE_GENERATED=1 cargo test -p deskpulse-proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod generated {
    include!("generated/raw.rs");
}

pub use generated::{ingest_service_server, query_service_server};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    /// The bytes of a message once they were read as another.
    fn as_ours<T: Message + Default>(theirs: &impl Message) -> Vec<u8> {
        T::decode(theirs.encode_to_vec().as_slice()).expect("it is the same on the wire").encode_to_vec()
    }

    #[test]
    fn answers_with_encoded_rows_are_those_of_the_contract_on_the_wire() {
        let row = |others| MetricRow { others, ..MetricRow::default() };
        // Every field, so that one more in the contract has to be named here.
        let answer = v1::QueryMetricsResponse {
            rows: vec![row(true), row(false), row(true)],
            freshness: Some(Freshness::default()),
            total_rows: 3,
            group_totals: vec![row(true), row(false)],
            total: Some(row(true)),
            next_page_token: "token".to_owned(),
            time_zone: "UTC".to_owned(),
        };
        assert_eq!(as_ours::<QueryMetricsResponse>(&answer), answer.encode_to_vec());
        let error = QueryError { code: 8, message: "too much".to_owned(), details: Vec::new() };
        let outcomes = vec![
            v1::QueryOutcome { outcome: Some(v1::query_outcome::Outcome::Answer(answer)) },
            v1::QueryOutcome { outcome: Some(v1::query_outcome::Outcome::Error(error)) },
        ];
        let batch = v1::BatchQueryMetricsResponse { outcomes: outcomes.clone() };
        assert_eq!(as_ours::<BatchQueryMetricsResponse>(&batch), batch.encode_to_vec());
        let on_stream = v1::StreamQueryMetricsResponse { sequence: 7, outcomes };
        assert_eq!(as_ours::<StreamQueryMetricsResponse>(&on_stream), on_stream.encode_to_vec());
    }
}
