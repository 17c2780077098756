//! Server streams as the Connect protocol has them: enveloped messages, and an end that says how it ended.

use bytes::{BufMut as _, Bytes, BytesMut};
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::upstream::Upstream;
use http::{HeaderValue, Method, Request, Response, header};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};
use tonic::Status;
use tonic::body::Body;

use crate::call::{self, Answer, PREFIX, call};
use crate::{connect, header_text};

const JSON: &str = "application/connect+json";
const PROTO: &str = "application/connect+proto";
/// The flag of the last envelope, which holds no message.
const END: u8 = 2;

/// How messages are written, where a request is one of this protocol.
pub(crate) fn codec(content_type: &str) -> Option<&'static str> {
    [JSON, PROTO].into_iter().find(|known| content_type.split(';').next().map(str::trim) == Some(*known))
}

/// Answers a call. What is refused at once is the end of an empty stream.
pub(crate) async fn answer(request: Request<Body>, codec: &'static str, grpc: Upstream) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    let called = async {
        // From here on the call's time runs, to its end.
        let over = Over::after(connect::patience(&request)?);
        tokio::select! {
            answer = called(request, codec, grpc) => Ok((answer?, over)),
            status = over.status() => Err(status),
        }
    };
    match called.await {
        Ok((answer, over)) => drop(tokio::spawn(forward(answer, over, codec, sender))),
        // There is room for one.
        Err(status) => drop(sender.try_send(end(Some(&status)))),
    }
    let mut response = Response::new(call::streamed(receiver));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(codec));
    response
}

/// When the time a caller gave is over.
#[derive(Debug, Clone, Copy)]
struct Over(Option<(Duration, Instant)>);

impl Over {
    fn after(patience: Option<Duration>) -> Self {
        // What is too far off never comes.
        Self(patience.and_then(|patience| Some((patience, Instant::now().checked_add(patience)?))))
    }

    /// Resolves when it is.
    async fn status(&self) -> Status {
        let Some((patience, at)) = self.0 else { return std::future::pending().await };
        sleep_until(at).await;
        connect::overdue(patience)
    }
}

async fn called(request: Request<Body>, codec: &str, grpc: Upstream) -> Result<Answer, Status> {
    let path = request.uri().path().to_owned();
    let unknown = |message: String| Status::from(Fault::new(Reason::UnknownMethod, message));
    let method = call::method(&path).filter(|_| request.method() == Method::POST);
    let method = method.ok_or_else(|| unknown(format!("there is no method at {path} to POST to")))?;
    if method.is_client_streaming() || !method.is_server_streaming() {
        return Err(unknown(format!("{} is no stream of answers: call it by gRPC, or as one request", method.name())));
    }
    if !matches!(header_text(request.headers(), "connect-content-encoding"), "" | "identity") {
        return Err(
            Fault::new(Reason::ContentType, "messages of a stream are taken as they are, not compressed").into()
        );
    }
    let malformed = |what: String| Status::from(Fault::new(Reason::MessageMalformed, what));
    let body = call::whole(request.into_body()).await?;
    let (head, message) =
        body.split_at_checked(PREFIX).ok_or_else(|| malformed("the body has no envelope".to_owned()))?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || message.len() != length {
        let what =
            format!("the body is to be one envelope: flags 0, {length} bytes, and these; there are {}", message.len());
        return Err(malformed(what));
    }
    let message = if codec == JSON {
        call::parse(method.input(), message)?
    } else {
        let decoded = DynamicMessage::decode(method.input(), message);
        decoded.map_err(|error| malformed(format!("the body is no {}: {error}", method.input().full_name())))?
    };
    call(&method, &message, grpc).await
}

async fn forward(mut answer: Answer, over: Over, codec: &str, sender: mpsc::Sender<Bytes>) {
    loop {
        let message = tokio::select! {
            message = answer.next() => message,
            status = over.status() => Err(status),
            () = sender.closed() => return,
        };
        let written = |message: DynamicMessage| match codec {
            JSON => call::to_json(&message).map(|json| json.to_string().into_bytes()),
            _ => Ok(message.encode_to_vec()),
        };
        let envelope = match message.and_then(|message| message.map(written).transpose()) {
            Ok(Some(bytes)) => enveloped(0, &bytes),
            Ok(None) => end(None),
            Err(status) => end(Some(&status)),
        };
        let is_last = envelope.first() == Some(&END);
        let sent = tokio::select! {
            biased;
            sent = sender.send(envelope) => sent.is_ok(),
            // Who does not read is not told.
            _ = over.status() => false,
        };
        if !sent || is_last {
            return;
        }
    }
}

fn end(status: Option<&Status>) -> Bytes {
    let said = status.map_or_else(|| json!({}), |status| json!({ "error": connect::error(status) }));
    enveloped(END, said.to_string().as_bytes())
}

fn enveloped(flags: u8, bytes: &[u8]) -> Bytes {
    let mut envelope = BytesMut::with_capacity(PREFIX + bytes.len());
    envelope.put_u8(flags);
    envelope.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    envelope.put_slice(bytes);
    envelope.freeze()
}
