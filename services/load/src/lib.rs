//! `deskpulse load`: a load on any target over real gRPC, and what became of it.
//!
//! Rows, of the canonical workload or of a file, are encoded into batches before the clock starts (up to 1 GiB of them;
//! the others while sending) and go out on one stream a connection. A conversation keeps to one connection, so that its
//! events arrive in their order.
//!
//! Closed loop: each connection has so many batches in flight, and latency counts from the sending of a batch. Open loop:
//! a rate says when each batch is to be sent, and latency counts from that instant, whenever it was really sent: a server
//! that stalls is charged for what had to wait.

mod batches;
mod connection;
mod encode;
mod error;
mod file;
mod freshness;
mod latency;
mod questions;
mod random;
mod report;
pub mod row;
mod usage;
mod watchers;
mod wire;
pub mod workload;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{MetricSelection, QueryMetricsRequest};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;
use tonic::transport::Channel;

use batches::Batch;
use connection::{Sent, Terms, connect};
use file::Rows;
use usage::Usage;
use workload::{Workload, generate};

pub use encode::tenant;
pub use error::LoadError;
pub use freshness::FreshnessReport;
pub use latency::LatencySummary;
pub use questions::QuestionsReport;
pub use report::{LoadReport, Report, UsageReport};
pub use watchers::WatchersReport;

/// How many events are made where nobody says.
const EVENTS: u32 = 1_000_000;
/// Batches in flight a connection where nobody says.
const IN_FLIGHT: u32 = 16;
/// The same where a rate is what bounds the load.
const IN_FLIGHT_BY_RATE: u32 = 4_096;
/// How long to wait at the end until everything acknowledged is counted.
const COUNTED_WITHIN: Duration = Duration::from_mins(5);

/// What to send where, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "DESKPULSE_SERVER", default_value = "http://127.0.0.1:7400")]
    pub target: String,
    /// The server of questions, where that is another
    #[arg(long, value_name = "URL")]
    pub query_target: Option<String>,
    /// How many events to send, 1 % of them second deliveries [default: 1000000, or the whole file]. A million takes 20 MB here
    /// until it is encoded, and 120 MB then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub events: Option<u32>,
    /// What all chance in the canonical workload comes from
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Send the rows of a file instead: 56 bytes each, as the canonical workload's `.bin`
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    pub bin: Option<PathBuf>,
    /// Events a batch
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Connections, each with a stream; a conversation keeps to one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub connections: u32,
    /// Closed loop: batches sent and not yet acknowledged, on each connection [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_096), conflicts_with = "rate")]
    pub in_flight: Option<u32>,
    /// Open loop: events a second on all connections, whether the server keeps up or not
    #[arg(long, value_name = "EVENTS_PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Send nothing more after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Ask so many questions a second meanwhile: the first response of the largest tenant's week, median and p90 by channel
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queries: Option<u32>,
    /// Measure how long after its acknowledgement an event is in an answer, with events of the tenant `load-probe`
    #[arg(long)]
    pub freshness: bool,
    /// Have so many listen meanwhile to what becomes of the figures of 50 tenants: 200 different questions, answered every half second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub watchers: Option<u32>,
    /// The server's process on this machine, to say what it used
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|it| *it < Duration::from_hours(8_760))
        .ok_or_else(|| "write a number of seconds above 0".to_owned())
}

/// The rows to send.
enum Source {
    Canonical(Workload),
    File(Rows),
}

impl Source {
    /// Opens the file, or makes the canonical workload; also says how many rows are to be sent.
    async fn new(args: &LoadArgs, file: Option<Rows>) -> Result<(Self, u64), LoadError> {
        if let Some(rows) = file {
            let count = args.events.map_or(rows.count, |events| rows.count.min(events.into()));
            return Ok((Self::File(rows), count));
        }
        let (events, seed) = (args.events.unwrap_or(EVENTS), args.seed);
        let workload = tokio::task::spawn_blocking(move || generate(events, seed)).await?;
        Ok((Self::Canonical(workload), events.into()))
    }

    fn encode(
        self,
        count: u64,
        batch: u32,
        queues: Vec<mpsc::Sender<Batch>>,
        ready: oneshot::Sender<()>,
    ) -> Result<(), LoadError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match self {
            Self::Canonical(workload) => batches::encode(workload.rows().map(Ok), batch, queues, ready),
            Self::File(rows) => batches::encode(rows.take(count), batch, queues, ready),
        }
    }
}

/// What is measured beside the sending.
struct Beside {
    counted: Option<Instant>,
    queries: Option<QuestionsReport>,
    freshness: Option<FreshnessReport>,
    watchers: Option<WatchersReport>,
    client: Option<(Usage, Usage)>,
    server: Option<(Usage, Usage)>,
}

/// Makes a load and waits until everything acknowledged is counted.
///
/// Fails where nothing can be sent, or the server stays away for 30 seconds; events the server refuses are counted.
///
/// Boxed, so that the transport's generic code is compiled here and not again where this is awaited.
#[must_use]
pub fn load(args: &LoadArgs) -> Pin<Box<dyn Future<Output = Result<Report, LoadError>> + Send + '_>> {
    Box::pin(make(args))
}

async fn make(args: &LoadArgs) -> Result<Report, LoadError> {
    let file = args.bin.as_deref().map(Rows::open).transpose()?;
    args.server_pid.map(usage::of).transpose()?;
    // A target that is not there is found before anything is made for it.
    let mut channels = Vec::new();
    for _ in 0..args.connections {
        channels.push(connect(&args.target).await?);
    }
    let asking = questions::client(connect(args.query_target.as_ref().unwrap_or(&args.target)).await?);
    let probing = if args.freshness { Some(connect(&args.target).await?) } else { None };

    let (source, count) = Source::new(args, file).await?;
    let length = batches::queue_length(args.batch, args.connections);
    let (queues, batches): (Vec<_>, Vec<_>) = channels.iter().map(|_| mpsc::channel(length)).unzip();
    let (ready, is_ready) = oneshot::channel();
    let batch = args.batch;
    let encoding = tokio::task::spawn_blocking(move || source.encode(count, batch, queues, ready));
    let encoding = match is_ready.await {
        Ok(()) => Some(encoding),
        // It failed before anything was to be sent.
        Err(_) => encoding.await?.map(|()| None)?,
    };

    let (begun, (end, over)) = (Arc::new(OnceLock::new()), watch::channel(false));
    let questions = args.query_target.as_ref().unwrap_or(&args.target);
    let watchers = match args.watchers {
        Some(count) => Some(watchers::open(questions, count, &begun, &over).await?),
        None => None,
    };
    let client_before = usage::own();
    let server_before = args.server_pid.map(usage::of).transpose()?;
    let start = *begun.get_or_init(Instant::now);
    let ticks = args.queries.map(|rate| batches::ticks(rate, start));
    let queries = ticks.map(|ticks| tokio::spawn(questions::ask(asking.clone(), ticks, over.clone())));
    let freshness = probing.map(|channel| tokio::spawn(freshness::probe(channel, asking.clone(), over)));
    let sent = send(args, start, count, channels.into_iter().zip(batches)).await?;
    if let Some(encoding) = encoding {
        encoding.await??;
    }
    // Nobody listens where nobody asks.
    let _ = end.send(true);
    let (counted, queries, freshness) = tokio::join!(counted(asking), answer(queries), answer(freshness));
    let (queries, freshness) = (queries?, freshness?);
    let watchers = match watchers {
        Some(watchers) => Some(watchers.report().await),
        None => None,
    };
    let client = client_before.zip(usage::own());
    let server = server_before.zip(args.server_pid.map(usage::of).transpose()?);
    Ok(report(args, start, sent, Beside { counted, queries, freshness, watchers, client, server }))
}

/// Sends each connection's batches on it, all at once.
async fn send(
    args: &LoadArgs,
    start: Instant,
    count: u64,
    connections: impl Iterator<Item = (Channel, mpsc::Receiver<Batch>)>,
) -> Result<Sent, LoadError> {
    let bar = progress_bar(count);
    let until = args.duration.map(|duration| start + duration);
    let terms = Terms { target: args.target.clone(), in_flight: in_flight(args) as usize, until, bar: bar.clone() };
    let mut sending = JoinSet::new();
    for (channel, queue) in connections {
        let queue = match args.rate {
            Some(rate) => batches::paced(queue, rate, start),
            None => queue,
        };
        sending.spawn(connection::send(terms.clone(), channel, queue));
    }
    let mut sent = Sent::new();
    while let Some(connection) = sending.join_next().await {
        sent.add(connection??);
    }
    bar.finish_and_clear();
    Ok(sent)
}

/// What a task says, where there is one.
async fn answer<T>(task: Option<JoinHandle<T>>) -> Result<Option<T>, LoadError> {
    match task {
        Some(task) => Ok(Some(task.await?)),
        None => Ok(None),
    }
}

fn report(args: &LoadArgs, start: Instant, sent: Sent, beside: Beside) -> Report {
    let acknowledged = sent.last.unwrap_or(start);
    let seconds = (acknowledged - start).as_secs_f64();
    let events = sent.events.max(1) as f64;
    let used = |(before, after): (Usage, Usage)| {
        let cpu_seconds = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        UsageReport { cpu_seconds, cpu_seconds_per_million: cpu_seconds / events * 1e6, peak_bytes: after.peak_bytes }
    };
    Report {
        load: LoadReport {
            target: args.target.clone(),
            seed: args.bin.is_none().then_some(args.seed),
            file: args.bin.clone(),
            batch: args.batch,
            connections: args.connections,
            in_flight: args.rate.is_none().then(|| in_flight(args)),
            rate: args.rate,
        },
        events: sent.events,
        accepted: sent.accepted,
        duplicates: sent.duplicates,
        rejected: sent.rejected,
        unverified: sent.unverified,
        rejections: sent.reasons,
        batches: sent.batches,
        bytes_per_event: sent.bytes as f64 / events,
        seconds,
        events_per_second: if seconds > 0.0 { sent.events as f64 / seconds } else { 0.0 },
        latency: sent.latencies.summary(),
        reconnects: sent.reconnects,
        resent_batches: sent.resent,
        counted_after_ms: beside.counted.map(|at| at.saturating_duration_since(acknowledged).as_secs_f64() * 1_000.0),
        client: beside.client.map(used),
        server: beside.server.map(used),
        queries: beside.queries,
        freshness: beside.freshness,
        watchers: beside.watchers,
    }
}

fn in_flight(args: &LoadArgs) -> u32 {
    args.in_flight.unwrap_or(if args.rate.is_some() { IN_FLIGHT_BY_RATE } else { IN_FLIGHT })
}

/// Waits until a question is answered: an answer counts everything acknowledged before. `None` where none is answered.
async fn counted(mut client: QueryServiceClient<Channel>) -> Option<Instant> {
    let patience = Instant::now() + COUNTED_WITHIN;
    let metric = MetricSelection { name: "conversations_opened".to_owned(), ..MetricSelection::default() };
    // The cheapest to answer: the probes' tenant has few events.
    let question = QueryMetricsRequest {
        tenant: freshness::TENANT.to_owned(),
        metrics: vec![metric],
        ..QueryMetricsRequest::default()
    };
    while Instant::now() < patience {
        match client.query_metrics(question.clone()).await {
            Ok(_) => return Some(Instant::now()),
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => return None,
        }
    }
    None
}

fn progress_bar(events: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {human_pos}/{human_len} events acknowledged, {per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(events).with_style(style)
}
