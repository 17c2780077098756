//! What answers on the same port beside gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, header};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};
use tower::Layer;

use crate::upstream::Upstream;

/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
/// Answers a request; the gRPC services beside it can be called.
pub type Answer = dyn Fn(Request<Body>, Upstream) -> Answering + Send + Sync;
/// Is told a call's path, the code of its first headers, and how long these took.
pub type Observe = dyn Fn(&str, Code, Duration) + Send + Sync;

/// Answers every request that is not gRPC, and is told of every answer to one that is.
#[derive(Clone)]
pub struct Front {
    /// For what is not gRPC.
    pub answer: Arc<Answer>,
    /// For what is.
    pub observe: Arc<Observe>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

/// Puts a front before gRPC services.
#[derive(Debug, Clone)]
pub(crate) struct FrontLayer {
    pub(crate) front: Front,
    pub(crate) grpc: Upstream,
}

impl<S> Layer<S> for FrontLayer {
    type Service = FrontService<S>;

    fn layer(&self, inner: S) -> FrontService<S> {
        FrontService { front: self.front.clone(), grpc: self.grpc.clone(), inner }
    }
}

/// gRPC services with a front.
#[derive(Debug, Clone)]
pub(crate) struct FrontService<S> {
    front: Front,
    grpc: Upstream,
    inner: S,
}

impl<S> Service<Request<Body>> for FrontService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !is_grpc(&request) {
            let answering = (self.front.answer)(request, self.grpc.clone());
            return Box::pin(async move { Ok(answering.await) });
        }
        let (observe, begun) = (Arc::clone(&self.front.observe), Instant::now());
        let path = request.uri().path().to_owned();
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = answering.await?;
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            observe(&path, code, begun.elapsed());
            Ok(response)
        })
    }
}

/// `application/grpc` and its kinds, but not gRPC-Web.
fn is_grpc(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| !rest.starts_with(b"-web"))
}
