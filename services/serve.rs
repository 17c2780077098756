//! `deskpulse serve`: the start-up story.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use deskpulse_aggregation::{Aggregation, AggregationApi, Describe, KeepOptions, Opened, folder_of};
use deskpulse_cli::failure::Failure;
use deskpulse_disk::RealDisk;
use deskpulse_edge::server::{self, Drain, ServeError};
use deskpulse_edge::upstream;
use deskpulse_ingest::{IngestApi, Intake, Limits, LogApi};
use deskpulse_log::{EmbeddedLog, LogError, LogOptions, Position, Surroundings};
use deskpulse_query::{Collect, ConfigApi, QueryApi};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tracing::{info, warn};

/// What to run, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse serve
  deskpulse serve --listen 0.0.0.0:7400 --data-dir /var/lib/deskpulse --partitions 8
  deskpulse serve --role ingest --listen 127.0.0.1:7401 --data-dir ./data
  deskpulse serve --role aggregation --listen 127.0.0.1:7402 --data-dir ./data --ingest http://127.0.0.1:7401
  deskpulse serve --role query --listen 127.0.0.1:7403 --aggregation http://127.0.0.1:7402")]
pub(crate) struct ServeArgs {
    /// Which services to run.
    #[arg(long, value_enum, default_value = "all")]
    role: Role,
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:7400", env = "DESKPULSE_LISTEN")]
    listen: SocketAddr,
    /// Where ingest keeps the log, and aggregation what it makes of it.
    #[arg(long, default_value = "deskpulse-data", env = "DESKPULSE_DATA_DIR")]
    data_dir: PathBuf,
    /// Into how many partitions a new log is cut [default: the number of cores]. A log keeps its number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: Option<u32>,
    /// About how much memory the process may take; what does not fit is on disk. The least is 128MiB. What an answer needs for
    /// a moment, and the names of dimension values, may come on top.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = size, env = "DESKPULSE_MEMORY_BUDGET")]
    memory_budget: usize,
    /// The least time between two checkpoints of a partition, from which a start goes on.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    checkpoint_every: Duration,
    /// The least time between two full snapshots of the store, from which it can be built again; two are kept.
    #[arg(long, value_name = "SECONDS", default_value = "21600", value_parser = seconds)]
    snapshot_every: Duration,
    /// How long the log keeps blocks that no checkpoint and no snapshot needs any more; ingest and aggregation, where apart, both
    /// have to be told [default: for ever].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    log_retention: Option<Duration>,
    /// For the role aggregation: where ingest is.
    #[arg(long, value_name = "URL", required_if_eq("role", "aggregation"))]
    ingest: Option<String>,
    /// For the role query: where aggregation is.
    #[arg(long, value_name = "URL", required_if_eq("role", "query"))]
    aggregation: Option<String>,
}

/// Which of the services a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Ingest, aggregation and query on one port.
    All,
    /// Ingest and the log.
    Ingest,
    /// Aggregation, reading the log of an ingest elsewhere.
    Aggregation,
    /// Query, asking an aggregation elsewhere.
    Query,
}

const INGEST: [&str; 2] = ["deskpulse.v1.IngestService", "deskpulse.v1.LogService"];
const AGGREGATION: [&str; 1] = ["deskpulse.v1.AggregationService"];
const QUERY: [&str; 2] = ["deskpulse.v1.QueryService", "deskpulse.v1.ConfigService"];

/// Runs the services until SIGINT or SIGTERM, or until the log fails.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let running = start(args).await?;
    // Before anybody is told that it is there, and may end it.
    let asked_to_stop = asked_to_stop();
    println!("deskpulse: listening on http://{}", running.address);
    std::io::stdout().flush()?;
    tokio::select! {
        () = asked_to_stop => info!("going down"),
        failure = running.failure() => return Err(failure),
    }
    running.stop().await
}

/// Services that are running.
pub(crate) struct Running {
    /// Where they listen.
    pub(crate) address: SocketAddr,
    drain: Drain,
    server: JoinHandle<Result<(), ServeError>>,
    log: Option<EmbeddedLog>,
    aggregation: Option<Aggregation>,
}

impl Running {
    /// Resolves when the log has failed, or aggregation cannot go on.
    async fn failure(&self) -> anyhow::Error {
        let log = async {
            match &self.log {
                Some(log) => log.failed().await,
                None => std::future::pending().await,
            }
        };
        let aggregation = async {
            match &self.aggregation {
                Some(aggregation) => aggregation.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A failed write or sync is never tried again: what was not acknowledged must be taken for lost.
            error = log => anyhow::Error::new(error).context("the log failed, so the process ends"),
            error = aggregation => anyhow::Error::new(error).context("aggregation cannot go on, so the process ends"),
        }
    }

    /// Lets calls end, then closes the log.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.drain.begin();
        self.server.await.context("the server did not end")??;
        if let Some(log) = self.log {
            log.close().await.context("the log did not close")?;
        }
        Ok(())
    }
}

/// Starts the services of one process, on one port, in the order of the data.
pub(crate) async fn start(args: ServeArgs) -> anyhow::Result<Running> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let drain = Drain::default();
    let remote = |url: Option<&str>| {
        let url = url.context("the address of the service to call is missing")?;
        upstream::remote(url).with_context(|| format!("{url} is no address such as http://127.0.0.1:7400"))
    };
    let mut routes = Routes::default();
    let mut services: Vec<&'static str> = Vec::new();
    let mut log = None;
    let mut ingest = None;
    let mut describe: Option<Arc<Describe>> = None;
    let mut aggregation = None;
    let mut collect: Option<Arc<Collect>> = None;
    let mut following = None;

    let keep = matches!(args.role, Role::All | Role::Aggregation).then(|| args.keep());
    let store = keep.map(Opened::open).transpose().context("cannot open what aggregation keeps")?;
    if matches!(args.role, Role::All | Role::Ingest) {
        let opened = open_log(&args.data_dir, args.partitions, store.as_ref())?;
        let limits = Limits { removes_unneeded: args.log_retention.is_some(), ..Limits::default() };
        let intake = Intake::new(opened.clone(), limits, drain.clone());
        let log_service = LogApi::server(Arc::clone(&intake));
        ingest = Some(upstream::local(log_service.clone()));
        let described = Arc::clone(&intake);
        describe = Some(Arc::new(move || described.describe_log()));
        routes = routes.add_service(IngestApi::server(intake)).add_service(log_service);
        services.extend(INGEST);
        log = Some(opened);
    }
    if let Some(store) = store {
        let log = ingest.map_or_else(|| remote(args.ingest.as_deref()), Ok)?;
        let followed = Aggregation::follow(log, describe, drain.clone(), store);
        following = Some(followed.clone());
        let api = AggregationApi::new(followed);
        let service = Arc::clone(&api).server();
        collect = Some(Arc::new(move |collections, moment, work_out| {
            let api = Arc::clone(&api);
            Box::pin(async move { api.collect(collections, moment, work_out).await })
        }));
        aggregation = Some(upstream::local(service.clone()));
        routes = routes.add_service(service);
        services.extend(AGGREGATION);
    }
    if matches!(args.role, Role::All | Role::Query) {
        let aggregation = aggregation.map_or_else(|| remote(args.aggregation.as_deref()), Ok)?;
        routes = routes
            .add_service(QueryApi::server(aggregation.clone(), collect, drain.clone()))
            .add_service(ConfigApi::server(aggregation));
        services.extend(QUERY);
    }
    let serving = drain.clone();
    let front = deskpulse_http::front(&services);
    let server = tokio::spawn(server::serve(listener, routes, services, serving, front));
    Ok(Running { address, drain, server, log, aggregation: following })
}

/// Opens the log; an existing one keeps its number of partitions unless another was asked for. What is in the store had been
/// durable in the log.
fn open_log(data_dir: &Path, partitions: Option<u32>, store: Option<&Opened>) -> anyhow::Result<EmbeddedLog> {
    let folder = data_dir.join("log");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let new = partitions.unwrap_or_else(|| u32::try_from(cores).unwrap_or(1));
    let followed = store.map(Opened::positions).transpose()?.flatten();
    let identity = followed.as_ref().map(|(log_id, _)| *log_id);
    let durable: Vec<Position> = followed.into_iter().flat_map(|(_, positions)| positions).map(Position).collect();
    let open = |partitions| {
        let warn = |error: &LogError| warn!(error = error as &dyn std::error::Error, "the log");
        let durable = durable.clone();
        let surroundings = Surroundings { identity, durable, warn: Arc::new(warn), ..Surroundings::default() };
        EmbeddedLog::open_on(&folder, LogOptions::new(partitions), surroundings)
    };
    let opened = match (open(new), partitions) {
        (Err(LogError::PartitionsChanged { stored, .. }), None) => open(stored),
        (opened, _) => opened,
    };
    if let Err(LogError::OtherLog { path, found, meant }) = &opened {
        return Err(other_log(path, *found, &folder_of(&data_dir.join("aggregation")), *meant).into());
    }
    let log = opened.with_context(|| format!("cannot open the log in {}", folder.display()))?;
    let cut = log.stats().cut_bytes;
    if cut > 0 {
        warn!(bytes = cut, "the log ended in a torn write that was never acknowledged; it was cut off");
    }
    Ok(log)
}

/// The log is not the one the store beside it follows.
fn other_log(log: &Path, found: Option<u64>, store: &Path, follows: u64) -> Failure {
    let (log, store) = (log.display(), store.display());
    let found = found.map_or_else(|| "no log".to_owned(), |found| format!("log {found:016x}"));
    let message = format!("the store in {store} follows log {follows:016x}, and {log} holds {found}");
    let hint = format!(
        "put that log back into {log}, or move {store} elsewhere: the next start makes a new store from the log there is"
    );
    Failure::new(message, hint)
}

/// Resolves on a SIGINT or SIGTERM from now on, whenever it is first polled.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

impl ServeArgs {
    fn keep(&self) -> KeepOptions {
        KeepOptions {
            disk: Arc::new(RealDisk),
            folder: self.data_dir.join("aggregation"),
            memory_bytes: self.memory_budget,
            checkpoint_every: self.checkpoint_every,
            snapshot_every: self.snapshot_every,
            log_retention: self.log_retention,
        }
    }

    /// Everything in one process on any free port of the loopback.
    pub(crate) fn on_loopback(data_dir: PathBuf) -> anyhow::Result<Self> {
        let Ok(listen) = "127.0.0.1:0".parse() else { bail!("127.0.0.1:0 is an address") };
        Ok(Self {
            role: Role::All,
            listen,
            data_dir,
            partitions: None,
            memory_budget: 4 << 30,
            checkpoint_every: Duration::from_secs(5),
            snapshot_every: Duration::from_hours(6),
            log_retention: None,
            ingest: None,
            aggregation: None,
        })
    }
}

/// A number of bytes, as `536870912`, `512MiB` or `4GiB`.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: usize = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("{other:?} is no unit: B, KiB, MiB or GiB")),
    };
    let number: usize = digits.trim().parse().map_err(|_| format!("{digits:?} is no whole number"))?;
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes >= LEAST_BUDGET)
        .ok_or_else(|| format!("the least is {} MiB", LEAST_BUDGET >> 20))
}

/// The least memory budget: what the process needs in any case.
const LEAST_BUDGET: usize = 128 << 20;

/// A number of seconds, at least a tenth of one.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if number >= 0.1 {
        Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
    } else {
        Err("the least is 0.1".to_owned())
    }
}
