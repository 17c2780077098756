//! Calls of this process's gRPC methods, by their descriptors.

use std::convert::Infallible;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use deskpulse_edge::fault::{Fault, Reason, explained};
use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_edge::upstream::Upstream;
use deskpulse_text::json::CONTRACT;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::ServiceExt as _;

/// Flags and length before each message.
pub(crate) const PREFIX: usize = 5;

/// The method at a path such as `/deskpulse.v1.QueryService/QueryMetrics`.
pub(crate) fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    CONTRACT.get_service_by_name(service)?.methods().find(|known| known.name() == method)
}

/// A message from its JSON.
pub(crate) fn parse(descriptor: MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, Status> {
    let name = descriptor.full_name().to_owned();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new();
    let parsed = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options);
    let parsed = parsed.and_then(|message| deserializer.end().map(|()| message));
    parsed.map_err(|error| {
        let message = format!("the body is no JSON of {name}: {error}");
        Fault::new(Reason::MessageMalformed, message).into()
    })
}

/// A message as JSON. Numbers at their defaults are left out, as proto3 JSON has it.
pub(crate) fn to_json(message: &DynamicMessage) -> Result<serde_json::Value, Status> {
    let written = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    written.map_err(|error| Fault::new(Reason::Internal, error.to_string()).into())
}

/// What a method answers, message by message.
pub(crate) struct Answer {
    body: Body,
    read: BytesMut,
    output: MessageDescriptor,
    trailers: Option<HeaderMap>,
}

/// Calls a method with one message. A refusal before the first message is an error.
pub(crate) async fn call(
    method: &MethodDescriptor,
    message: &DynamicMessage,
    grpc: Upstream,
) -> Result<Answer, Status> {
    let mut framed = BytesMut::with_capacity(PREFIX + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let request = Request::post(path)
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::new(Full::new(framed.freeze())));
    let request = request.map_err(|error| Status::from(Fault::new(Reason::Internal, error.to_string())))?;
    let response: Response<Body> = grpc
        .oneshot(request)
        .await
        .map_err(|error| Status::from(Fault::new(Reason::UpstreamUnreachable, error.to_string())))?;
    let (head, body) = response.into_parts();
    match Status::from_header_map(&head.headers) {
        Some(status) if status.code() != Code::Ok => Err(explained(status)),
        _ => Ok(Answer { body, read: BytesMut::new(), output: method.output(), trailers: None }),
    }
}

impl Answer {
    /// The next message; `None` at a good end.
    pub(crate) async fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(status)) => return Err(explained(status)),
                None => {
                    let ended = self.trailers.take().and_then(|trailers| Status::from_header_map(&trailers));
                    return match ended {
                        Some(status) if status.code() != Code::Ok => Err(explained(status)),
                        _ => Ok(None),
                    };
                }
            }
        }
    }

    fn message(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let mut head = self.read.as_ref();
        if head.len() < PREFIX {
            return Ok(None);
        }
        head.advance(1);
        let length = head.get_u32() as usize;
        if self.read.len() < PREFIX + length {
            return Ok(None);
        }
        self.read.advance(PREFIX);
        let bytes: Bytes = self.read.split_to(length).freeze();
        let decoded = DynamicMessage::decode(self.output.clone(), bytes);
        decoded.map(Some).map_err(|error| Fault::new(Reason::Internal, error.to_string()).into())
    }
}

/// The whole of a body, up to the largest message there is.
pub(crate) async fn whole(body: Body) -> Result<Bytes, Status> {
    let limited = http_body_util::Limited::new(body, MAX_MESSAGE);
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body has more than {MAX_MESSAGE} bytes: send less at once");
            Err(Fault::new(Reason::MessageTooLarge, message).into())
        }
        Err(error) => Err(Fault::new(Reason::MessageMalformed, format!("the body cannot be read: {error}")).into()),
    }
}

/// A body that is made piece by piece, as long as somebody takes it.
pub(crate) fn streamed(pieces: tokio::sync::mpsc::Receiver<Bytes>) -> Body {
    let frames = ReceiverStream::new(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    Body::new(StreamBody::new(frames))
}

/// Whether the services here are ready, as their health says.
pub(crate) async fn ready(grpc: Upstream) -> Response<Body> {
    let request = Request::post("/grpc.health.v1.Health/Check")
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::new(Full::new(Bytes::from_static(&[0; PREFIX]))));
    let serving = async {
        let mut body = grpc.oneshot(request.ok()?).await.ok()?.into_body();
        let data = body.frame().await?.ok()?.into_data().ok()?;
        // A message with the field 1, the status, at 1: serving.
        (data.get(PREFIX..) == Some(&[8, 1])).then_some(())
    };
    match serving.await {
        Some(()) => crate::text(StatusCode::OK, "text/plain; charset=utf-8", "ready\n"),
        None => crate::text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "not ready\n"),
    }
}
