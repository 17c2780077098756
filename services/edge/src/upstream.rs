//! Other services, in this process or over the network: the same calls either way.

use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::fault::{Fault, Reason};
use crate::server::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW};

/// How often the other side is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(10);

/// A service to call.
pub type Upstream = BoxCloneSyncService<Request<Body>, Response<Body>, Unreachable>;

/// A call did not get through.
#[derive(Debug, thiserror::Error)]
#[error("the service cannot be reached: {0}")]
pub struct Unreachable(#[source] StdError);

/// A service of this process: calls pass no socket.
pub fn local<S>(service: S) -> Upstream
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<StdError>,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service.map_err(|error| Unreachable(error.into())))
}

/// A service at an address such as `http://10.0.0.7:7400`. It is connected to when first called, and again whenever the
/// connection was lost.
pub fn remote(address: &str) -> Result<Upstream, tonic::transport::Error> {
    Ok(BoxCloneSyncService::new(channel(address)?.map_err(|error| Unreachable(error.into()))))
}

/// A channel with the transport settings of the services, connected when first used.
pub fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(address)?.connect_lazy())
}

/// A channel that is connected.
///
/// Boxed, so that the transport's generic code is compiled here and not again wherever this is awaited.
#[must_use]
pub fn connected(endpoint: Endpoint) -> Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>> {
    Box::pin(async move { endpoint.connect().await })
}

/// An address such as `http://10.0.0.7:7400`, with the transport settings of the services.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .tcp_nodelay(true);
    Ok(endpoint)
}

/// What another service answered, within `patience`. Its own faults pass as they are; that it cannot be reached, or is late
/// (with the reason for that), is said here.
pub async fn answered<T>(
    service: &str,
    patience: Duration,
    late: Reason,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if !status.details().is_empty() || status.code() == Code::Cancelled => Err(status),
        Ok(Err(status)) => {
            let message = format!("{service} cannot be reached: {}", status.message());
            Err(Fault::new(Reason::UpstreamUnreachable, message).into())
        }
        Err(_) => {
            let message = format!("{service} took longer than {} s", patience.as_secs());
            Err(Fault::new(late, message).into())
        }
    }
}
