//! Serving: transport settings, health, reflection, and going down in good order.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use http::Response;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tower::util::MapResponseLayer;

use crate::fault::explained;
use crate::front::{Front, FrontLayer};
use crate::upstream;
use crate::workers::{Worker, accept};

/// HTTP/2 flow control: what one stream may have in flight.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// What one connection may have in flight.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest HTTP/2 frame.
pub const FRAME: u32 = 1 << 20;
/// The largest message a service takes or sends, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// How long a service reports `NOT_SERVING` before it ends its streams, so that balancers look elsewhere.
const NOTICE: Duration = Duration::from_millis(100);
/// How long running calls may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The two steps of going down.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    asked: CancellationToken,
    streams: CancellationToken,
}

impl Drain {
    /// Begins to go down.
    pub fn begin(&self) {
        self.asked.cancel();
    }

    /// Resolves when streams are to end: each sends what it still owes and then `UNAVAILABLE`.
    pub async fn streams_end(&self) {
        self.streams.cancelled().await;
    }

    /// Whether streams are to end.
    #[must_use]
    pub fn streams_ended(&self) -> bool {
        self.streams.is_cancelled()
    }
}

/// Why a server ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the transport failed")]
    Transport(#[from] tonic::transport::Error),
    /// There are no threads or connections to be had.
    #[error("connections cannot be served")]
    Connections(#[from] io::Error),
    /// Reflection could not be set up.
    #[error("the descriptors for reflection cannot be read")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves `routes` with health (of the services named and of the whole) and reflection v1 and v1alpha, until the drain
/// has begun and every call has ended, or ten seconds have passed since. What is not gRPC, by HTTP/1.1 or HTTP/2, is the front's.
///
/// Boxed, so that the transport's generic code is compiled here and not again wherever this is awaited.
#[must_use]
pub fn serve(
    listener: TcpListener,
    routes: Routes,
    services: Vec<&'static str>,
    drain: Drain,
    front: Front,
) -> Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>> {
    Box::pin(async move { serve_until_drained(listener, routes, &services, drain, front).await })
}

async fn serve_until_drained(
    listener: TcpListener,
    routes: Routes,
    services: &[&str],
    drain: Drain,
    front: Front,
) -> Result<(), ServeError> {
    let (mut health, health_service) = tonic_health::server::health_reporter();
    for service in services {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(deskpulse_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let (gzip, zstd) = (CompressionEncoding::Gzip, CompressionEncoding::Zstd);
    let routes = routes
        .add_service(health_service.accept_compressed(gzip).accept_compressed(zstd))
        .add_service(reflection().build_v1()?.accept_compressed(gzip).accept_compressed(zstd))
        .add_service(reflection().build_v1alpha()?.accept_compressed(gzip).accept_compressed(zstd))
        .prepare();
    let grpc = upstream::local(routes.clone());
    let server = Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .layer(FrontLayer { front, grpc })
        .layer(MapResponseLayer::new(explain))
        .add_routes(routes);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = |number| {
        let (server, streams) = (server.clone(), drain.streams.clone());
        Worker::start(number, move |connections| async move {
            Ok(server.serve_with_incoming_shutdown(connections, streams.cancelled_owned()).await?)
        })
    };
    let workers: Vec<Worker<ServeError>> = (0..cores).map(worker).collect::<io::Result<_>>()?;
    let going_down = async {
        drain.asked.cancelled().await;
        health.set_service_status("", ServingStatus::NotServing).await;
        for service in services {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        tokio::time::sleep(NOTICE).await;
        // Ends the calls of those who watch health: they would hold the server up for as long as it is patient.
        for service in services.iter().chain(&[""]) {
            health.clear_service_status(service).await;
        }
        drain.streams.cancel();
    };
    let hard_stop = async {
        drain.asked.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = accept(&listener, &workers) => {}
        () = going_down => {}
    }
    drop(listener);
    let all_ended = async {
        for worker in workers {
            worker.ended().await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = all_ended => ended,
        () = hard_stop => Ok(()),
    }
}

/// Replaces a bare status that the transport made by one with our code and details.
fn explain(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => explained(status).into_http(),
        _ => response,
    }
}
