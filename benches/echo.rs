//! The least a call can be: tonic, its prost codec, and an answer that is there already.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use deskpulse_proto::v1::{QueryMetricsRequest, QueryMetricsResponse};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Takes a question and returns the same answer each time.
#[derive(Debug, Clone)]
struct Echo(QueryMetricsResponse);

/// Its only method.
#[derive(Debug)]
struct Answer(QueryMetricsResponse);

impl NamedService for Echo {
    const NAME: &'static str = "deskpulse.v1.QueryService";
}

impl UnaryService<QueryMetricsRequest> for Answer {
    type Response = QueryMetricsResponse;
    type Future = Ready<Result<Response<QueryMetricsResponse>, Status>>;

    fn call(&mut self, _: Request<QueryMetricsRequest>) -> Self::Future {
        ready(Ok(Response::new(std::mem::take(&mut self.0))))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Answer(self.0.clone());
        Box::pin(async move {
            let codec = ProstCodec::<QueryMetricsResponse, QueryMetricsRequest>::default();
            Ok(Grpc::new(codec).unary(answer, request).await)
        })
    }
}

/// Serves an answer until it is killed, on an address it prints.
pub(crate) fn serve(answer: QueryMetricsResponse) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        println!("listening on http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder().add_service(Echo(answer));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        server.serve_with_incoming(incoming).await.expect("it serves");
    });
}
