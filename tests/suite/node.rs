//! A whole node in this process: the real services over real gRPC, on a simulated disk, and what can come between them.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deskpulse_aggregation::{Aggregation, AggregationApi, KeepOptions, Opened};
use deskpulse_disk::{Disk, SimulatedDisk};
use deskpulse_edge::server::{self, Drain};
use deskpulse_edge::upstream::{self, Upstream};
use deskpulse_ingest::{IngestApi, Intake, Limits, LogApi};
use deskpulse_log::{EmbeddedLog, LogOptions, Position, Surroundings};
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::log_service_server::{LogService, LogServiceServer};
use deskpulse_proto::v1::{
    AppendConfigRequest, AppendConfigResponse, DescribeLogRequest, DescribeLogResponse, ReadRequest, ReadResponse,
    ReportAppliedRequest, ReportAppliedResponse,
};
use deskpulse_query::{ConfigApi, QueryApi};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::harness::Client;

pub(crate) const PARTITIONS: u32 = 2;
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) checkpoint_every: Duration,
    pub(crate) snapshot_every: Duration,
    pub(crate) log_retention: Option<Duration>,
    /// Room on the disk that the log leaves free.
    pub(crate) log_reserve: u64,
    /// What comes between ingest and aggregation.
    pub(crate) trouble: Option<Arc<Trouble>>,
}

impl Setup {
    pub(crate) const DEFAULT: Self = Self {
        checkpoint_every: Duration::from_millis(20),
        snapshot_every: Duration::from_millis(100),
        log_retention: None,
        log_reserve: 256 << 20,
        trouble: None,
    };
}

/// A node in this process.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) config: ConfigServiceClient<tonic::transport::Channel>,
    drain: Drain,
    pub(crate) log: EmbeddedLog,
    pub(crate) aggregation: Aggregation,
    server: JoinHandle<()>,
    /// Gone when no thread of the node can reach the disk any more.
    disk: Weak<dyn Disk>,
}

impl Node {
    /// Starts on what the disk holds; why not, when that fails.
    pub(crate) async fn start(disk: &SimulatedDisk, setup: &Setup) -> Result<Self, String> {
        let on: Arc<dyn Disk> = Arc::new(disk.clone());
        let held = Arc::downgrade(&on);
        let keep = KeepOptions {
            disk: Arc::clone(&on),
            folder: "/data/aggregation".into(),
            memory_bytes: 128 << 20,
            checkpoint_every: setup.checkpoint_every,
            snapshot_every: setup.snapshot_every,
            log_retention: setup.log_retention,
        };
        let store = Opened::open(keep).map_err(|error| said(&error))?;
        let positions = store.positions().map_err(|error| said(&error))?;
        let identity = positions.as_ref().map(|(log_id, _)| *log_id);
        let durable = positions.into_iter().flat_map(|(_, positions)| positions).map(Position).collect();
        let surroundings = Surroundings { disk: on, identity, durable, ..Surroundings::default() };
        let options = LogOptions {
            segment_bytes: 8 << 10,
            scrub_pause: None,
            reserve_bytes: setup.log_reserve,
            ..LogOptions::new(PARTITIONS)
        };
        let log = EmbeddedLog::open_on(Path::new("/data/log"), options, surroundings).map_err(|error| said(&error))?;
        let drain = Drain::default();
        let limits = Limits { removes_unneeded: true, ..Limits::default() };
        let intake = Intake::new(log.clone(), limits, drain.clone());
        let log_service = LogApi::server(Arc::clone(&intake));
        let door = upstream::local(log_service);
        let door = setup.trouble.as_ref().map_or_else(|| door.clone(), |trouble| Troubled::door(&door, trouble));
        let aggregation = Aggregation::follow(door, None, drain.clone(), store);
        let api = AggregationApi::new(aggregation.clone()).server();
        let aggregation_upstream = upstream::local(api);
        let routes = Routes::default()
            .add_service(IngestApi::server(intake))
            .add_service(QueryApi::server(aggregation_upstream.clone(), None, drain.clone()))
            .add_service(ConfigApi::server(aggregation_upstream));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = server::serve(listener, routes, Vec::new(), drain.clone(), deskpulse_http::front(&[]));
        let server = tokio::spawn(async move { serving.await.expect("it serves") });
        let client = Client::connect(&url);
        let config = ConfigServiceClient::new(upstream::channel(&url).expect("an address"));
        Ok(Self { client, config, drain, log, aggregation, server, disk: held })
    }

    /// Whether the log or the store has failed.
    pub(crate) async fn has_failed(&self) -> bool {
        tokio::select! {
            biased;
            _ = self.log.failed() => true,
            _ = self.aggregation.failed() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// The process ends; resolves when no thread of it is left that could still change the disk.
    pub(crate) async fn end(self) {
        let Self { client, config, drain, log, aggregation, server, disk } = self;
        drop((client, config, aggregation));
        drain.begin();
        let _ = server.await;
        let _ = log.close().await;
        drop(log);
        let patience = Instant::now() + PATIENCE;
        while disk.strong_count() > 0 {
            assert!(Instant::now() < patience, "a thread does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is wrong with the way between ingest and aggregation.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// So many streams of reports are taken and never read.
    pub(crate) deaf: AtomicU32,
    /// How many streams of reports were begun.
    pub(crate) streams: AtomicU32,
    /// The block of partition 0 that something is wrong with.
    pub(crate) position: u64,
    /// What is.
    pub(crate) spoiling: Option<Spoiling>,
    /// How often that happens.
    pub(crate) times: AtomicU32,
}

/// What happens to a block on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoiling {
    /// Its bytes are no block.
    Garbled,
    /// It is left out.
    LeftOut,
}

impl Trouble {
    fn happens(count: &AtomicU32) -> bool {
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn spoil(&self, partition: u32, mut block: ReadResponse) -> Option<ReadResponse> {
        let spoiling = self.spoiling.filter(|_| (partition, block.position) == (0, self.position));
        match spoiling.filter(|_| Self::happens(&self.times)) {
            None => {}
            Some(Spoiling::Garbled) => block.block = vec![0x0f],
            Some(Spoiling::LeftOut) => return None,
        }
        Some(block)
    }
}

/// The log's door, with trouble on the way.
struct Troubled {
    log: LogServiceClient<Upstream>,
    trouble: Arc<Trouble>,
}

impl Troubled {
    fn door(log: &Upstream, trouble: &Arc<Trouble>) -> Upstream {
        let log = LogServiceClient::new(log.clone());
        upstream::local(LogServiceServer::new(Self { log, trouble: Arc::clone(trouble) }))
    }
}

#[tonic::async_trait]
impl LogService for Troubled {
    async fn describe_log(
        &self,
        request: Request<DescribeLogRequest>,
    ) -> Result<Response<DescribeLogResponse>, Status> {
        self.log.clone().describe_log(request).await
    }

    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let partition = request.get_ref().partition;
        let blocks = self.log.clone().read(request).await?.into_inner();
        let trouble = Arc::clone(&self.trouble);
        let blocks = blocks.filter_map(move |block| match block {
            Ok(block) => trouble.spoil(partition, block).map(Ok),
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(Box::pin(blocks)))
    }

    async fn report_applied(
        &self,
        request: Request<Streaming<ReportAppliedRequest>>,
    ) -> Result<Response<ReportAppliedResponse>, Status> {
        self.trouble.streams.fetch_add(1, Ordering::Relaxed);
        let reports = request.into_inner();
        if Trouble::happens(&self.trouble.deaf) {
            std::future::pending::<()>().await;
        }
        self.log.clone().report_applied(reports.map_while(Result::ok)).await
    }

    async fn append_config(
        &self,
        request: Request<AppendConfigRequest>,
    ) -> Result<Response<AppendConfigResponse>, Status> {
        self.log.clone().append_config(request).await
    }
}
