//! The web beside gRPC, on the same port.
//!
//! Every method as JSON by POST (the Connect protocol), server streams also as server-sent events, gRPC-Web, `GET /api/v1/query` and
//! `/api/v1/watch` for spreadsheets and dashboards, `/metrics` for Prometheus, `/openapi.json` and a page of it at `/docs`. All of these make the same gRPC call in
//! this process as any other client would, so that checks, limits and errors are the same.

mod api;
mod call;
mod connect;
mod events;
mod openapi;
mod scrape;
mod streams;

use std::sync::Arc;

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::front::Front;
use deskpulse_edge::upstream::Upstream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tonic::body::Body;
use tower::Layer as _;
use tower::ServiceExt as _;

use crate::scrape::Scrape;

/// What answers everything that is not gRPC; `services` are those that stand behind it.
#[must_use]
pub fn front(services: &[&'static str]) -> Front {
    let scrape = Arc::new(Scrape::new(services));
    Front {
        answer: {
            let scrape = Arc::clone(&scrape);
            Arc::new(move |request, grpc| Box::pin(answer(request, grpc, Arc::clone(&scrape))))
        },
        observe: Arc::new(move |path, code, elapsed| scrape.observe(path, code, elapsed)),
    }
}

async fn answer(request: Request<Body>, grpc: Upstream, scrape: Arc<Scrape>) -> Response<Body> {
    let content_type = header_text(request.headers(), header::CONTENT_TYPE);
    if content_type.starts_with("application/grpc-web") {
        let web = tonic_web::GrpcWebLayer::new().layer(grpc);
        return web.oneshot(request).await.unwrap_or_else(|error| {
            let status = Fault::new(Reason::UpstreamUnreachable, error.to_string()).into();
            connect::refusal(&status)
        });
    }
    if let Some(codec) = streams::codec(content_type) {
        return streams::answer(request, codec, grpc).await;
    }
    let is_get = request.method() == Method::GET;
    match request.uri().path() {
        "/metrics" if is_get => scrape.answer(grpc).await,
        "/livez" if is_get => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        "/readyz" if is_get => call::ready(grpc).await,
        "/openapi.json" if is_get => text(StatusCode::OK, "application/json", openapi::DOCUMENT.as_str()),
        "/docs" if is_get => text(StatusCode::OK, "text/html; charset=utf-8", openapi::PAGE.as_str()),
        "/api/v1/query" if is_get => api::query(&request.into_parts().0, grpc).await,
        "/api/v1/watch" if is_get => api::watch(&request.into_parts().0, grpc).await,
        _ => connect::answer(request, grpc).await,
    }
}

/// A header as text; empty where there is none.
fn header_text(headers: &HeaderMap, name: impl header::AsHeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn text(status: StatusCode, content_type: &'static str, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
