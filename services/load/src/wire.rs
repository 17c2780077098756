//! The stream of batches: encoded bytes pass through as they are.

use deskpulse_proto::v1::StreamEventsResponse;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

const STREAM_EVENTS: PathAndQuery = PathAndQuery::from_static("/deskpulse.v1.IngestService/StreamEvents");

/// Room for a batch of usual size, so that a buffer grows seldom and a batch is a frame.
const BUFFER: usize = 160 << 10;

/// An open stream: batches go in on the left, acknowledgements come out on the right.
pub(crate) type Stream = (mpsc::Sender<Bytes>, Streaming<StreamEventsResponse>);

/// Opens a stream that takes `in_flight` batches without waiting.
pub(crate) async fn open(channel: Channel, in_flight: usize) -> Result<Stream, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (batches, requests) = mpsc::channel(in_flight);
    let request = Request::new(ReceiverStream::new(requests));
    let answers = client.streaming(request, STREAM_EVENTS, Raw).await?;
    Ok((batches, answers.into_inner()))
}

struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = StreamEventsResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, batch: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(batch);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, BUFFER)
    }
}

impl Decoder for Raw {
    type Item = StreamEventsResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<StreamEventsResponse>, Status> {
        StreamEventsResponse::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
