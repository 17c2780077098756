//! Server streams as server-sent events.

use bytes::Bytes;
use deskpulse_edge::upstream::Upstream;
use http::{HeaderValue, Response, header};
use prost_reflect::{DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};
use tonic::Status;
use tonic::body::Body;

use crate::call::{self, Answer, call};
use crate::connect;

/// How often something is sent, so that what lies between does not take the connection for dead.
const STILL_THERE: Duration = Duration::from_secs(15);
/// Where a stream goes on.
const TOKEN: &str = "resume_token";

/// Lets a stream go on after the event a browser has seen last.
pub(crate) fn resume(message: &mut DynamicMessage, last_event: &str) {
    if !last_event.is_empty() && message.descriptor().get_field_by_name(TOKEN).is_some() {
        message.set_field_by_name(TOKEN, Value::String(last_event.to_owned()));
    }
}

/// Answers with an event for each message. What is refused before there are any is refused with a status of its own.
pub(crate) async fn stream(
    method: &MethodDescriptor,
    message: &DynamicMessage,
    grpc: Upstream,
) -> Result<Response<Body>, Status> {
    let answer = call(method, message, grpc).await?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { forward(answer, sender).await });
    let mut response = Response::new(call::streamed(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn forward(mut answer: Answer, sender: mpsc::Sender<Bytes>) {
    const COMMENT: Bytes = Bytes::from_static(b": still there\n\n");
    // At once, so that a browser knows that it is connected.
    if sender.send(COMMENT).await.is_err() {
        return;
    }
    loop {
        let message = tokio::select! {
            message = timeout(STILL_THERE, answer.next()) => match message {
                Ok(message) => message,
                Err(_) if sender.send(COMMENT).await.is_err() => return,
                Err(_) => continue,
            },
            () = sender.closed() => return,
        };
        let event = match message.and_then(|message| message.map(|message| event(&message)).transpose()) {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(status) => {
                let event = format!("event: error\ndata: {}\n\n", connect::error(&status));
                let _ = sender.send(event.into()).await;
                return;
            }
        };
        if sender.send(event.into()).await.is_err() {
            return;
        }
    }
}

fn event(message: &DynamicMessage) -> Result<String, Status> {
    let json = call::to_json(message)?;
    let token = message.get_field_by_name(TOKEN).and_then(|token| token.as_str().map(ToOwned::to_owned));
    let id = token.filter(|token| !token.is_empty()).map(|token| format!("id: {token}\n")).unwrap_or_default();
    Ok(format!("{id}data: {json}\n\n"))
}
