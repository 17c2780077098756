//! Starting, killing and asking a real suite.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{
    BatchOutcome, ConversationUpdated, Event, IngestEventsRequest, MetricRow, MetricSelection, MetricValue,
    QueryMetricsRequest,
};
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_deskpulse");

/// What takes longer hangs: its test fails, and the others go on.
const PATIENCE: Duration = Duration::from_mins(10);

/// The program whose processes are tested: this build's, or another one, to measure.
fn program() -> String {
    std::env::var("DESKPULSE_PROGRAM").unwrap_or_else(|_| PROGRAM.to_owned())
}

/// A `deskpulse serve` process; killed with SIGKILL when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Process {
    /// Starts a process and waits until it listens.
    pub(crate) fn serve(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("DESKPULSE_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut child);
        let url = line.trim().rsplit(' ').next().expect("an address").to_owned();
        assert!(url.starts_with("http://"), "{line:?}");
        Self { child, url }
    }

    /// Starts a process that must refuse to run; returns its exit code and what it says.
    pub(crate) fn refused(arguments: &[&str]) -> (Option<i32>, String) {
        let mut child = Command::new(PROGRAM)
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let line = first_line(&mut child);
        let refused = line.is_empty();
        if !refused {
            child.kill().expect("it runs");
        }
        let output = output_of(child);
        assert!(refused, "it was to be refused: {line}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a process that must end by itself, though it may have begun to listen; returns its exit code and what it says.
    pub(crate) fn ended(arguments: &[&str]) -> (Option<i32>, String) {
        let output = output(Command::new(PROGRAM).arg("serve").args(arguments));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The number the system gave it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, as `--listen` takes it.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to go down and waits for it; returns its exit code.
    pub(crate) fn terminate(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        ended(&mut self.child).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line a process prints; empty where it ends without one.
fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let (said, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = said.send(lines.read_line(&mut line).map(|_| line));
    });
    match line.recv_timeout(PATIENCE) {
        Ok(line) => line.expect("readable"),
        Err(_) => gives_up(child),
    }
}

/// Waits for a process to end.
fn ended(child: &mut Child) -> ExitStatus {
    let patience = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => return status,
            None if Instant::now() > patience => gives_up(child),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn gives_up(child: &mut Child) -> ! {
    let _ = child.kill();
    let _ = child.wait();
    panic!("process {} hangs", child.id());
}

/// Runs a program with no input to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    try_output(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The same of a program that may not be there.
pub(crate) fn try_output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(output_of)
}

/// What a process prints to its end, as far as that is not taken already.
pub(crate) fn output_of(mut child: Child) -> Output {
    fn all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).expect("readable");
            bytes
        })
    }
    let (stdout, stderr) = (child.stdout.take().map(all), child.stderr.take().map(all));
    let status = ended(&mut child);
    let bytes =
        |reading: Option<thread::JoinHandle<_>>| reading.map_or_else(Vec::new, |it| it.join().expect("no panic"));
    Output { status, stdout: bytes(stdout), stderr: bytes(stderr) }
}

/// All services in one process, with a data folder of their own.
pub(crate) struct Suite {
    folder: tempfile::TempDir,
    process: Process,
}

impl Suite {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Self::serve(folder.path(), "127.0.0.1:0");
        Self { folder, process }
    }

    fn serve(folder: &Path, listen: &str) -> Process {
        let folder = folder.to_string_lossy();
        // So often that most tests meet a checkpoint, and those that start again go on from one.
        let often = ["--checkpoint-every", "0.2", "--snapshot-every", "1"];
        Process::serve(&[&["--listen", listen, "--data-dir", &folder, "--partitions", "3"], &often[..]].concat())
    }

    pub(crate) fn url(&self) -> &str {
        &self.process.url
    }

    /// SIGKILL, then the same port and folder again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill();
        let listen = self.process.address();
        self.process = Self::serve(self.folder.path(), &listen);
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.process.url)
    }
}

/// A client of the public services.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) ingest: IngestServiceClient<Channel>,
    pub(crate) query: QueryServiceClient<Channel>,
}

impl Client {
    pub(crate) fn connect(url: &str) -> Self {
        Self::apart(url, url)
    }

    /// Ingest and query at different addresses.
    pub(crate) fn apart(ingest: &str, query: &str) -> Self {
        let channel = |url| channel(url).expect("an address");
        Self {
            ingest: IngestServiceClient::new(channel(ingest)),
            query: QueryServiceClient::new(channel(query)).max_decoding_message_size(64 << 20),
        }
    }

    /// Waits until aggregation reports on every partition, so that ingest can tell duplicates and conflicts.
    pub(crate) async fn settle(&self) {
        let probe = |number: u32| Event {
            id: "probe".to_owned(),
            source: "probe".to_owned(),
            tenant: "probe".to_owned(),
            time: Some(timestamp("2026-01-01T00:00:00Z")),
            payload: Some(Payload::ConversationUpdated(ConversationUpdated {
                conversation: format!("probe-{number}"),
                ..Default::default()
            })),
            ..Default::default()
        };
        let patience = Instant::now() + Duration::from_mins(1);
        while self.send((0..64).map(probe).collect()).await.unverified > 0 {
            assert!(Instant::now() < patience, "aggregation does not report");
        }
    }

    pub(crate) async fn send(&self, events: Vec<Event>) -> BatchOutcome {
        self.try_send(events).await.expect("the batch is accepted")
    }

    pub(crate) async fn try_send(&self, events: Vec<Event>) -> Result<BatchOutcome, Status> {
        let response = self.ingest.clone().ingest_events(IngestEventsRequest { events }).await?;
        Ok(response.into_inner().outcome.expect("every answer has an outcome"))
    }

    /// The rows of an answer.
    pub(crate) async fn rows(&self, question: Question) -> Vec<MetricRow> {
        self.ask(question).await.expect("the question is answered")
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<Vec<MetricRow>, Status> {
        Ok(self.query.clone().query_metrics(question.0).await?.into_inner().rows)
    }

    /// The only figure of an answer.
    pub(crate) async fn figure(&self, question: Question) -> MetricValue {
        let rows = self.rows(question).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].values[0].clone()
    }
}

/// A question in the making.
#[derive(Clone)]
pub(crate) struct Question(pub(crate) QueryMetricsRequest);

pub(crate) fn ask(tenant: &str, metric: &str) -> Question {
    let metrics = vec![MetricSelection { name: metric.to_owned(), ..Default::default() }];
    Question(QueryMetricsRequest { tenant: tenant.to_owned(), metrics, ..Default::default() })
}

impl Question {
    pub(crate) fn percentiles(mut self, percentiles: &[f64]) -> Self {
        self.0.metrics[0].percentiles = percentiles.to_vec();
        self
    }

    pub(crate) fn at_most(mut self, seconds: i64) -> Self {
        self.0.metrics[0].at_most.push(prost_types::Duration { seconds, nanos: 0 });
        self
    }

    pub(crate) fn group_by(mut self, names: &[&str]) -> Self {
        self.0.group_by = names.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn filter(mut self, filter: &str) -> Self {
        filter.clone_into(&mut self.0.filter);
        self
    }

    pub(crate) fn from(mut self, time: &str) -> Self {
        self.0.start_time = Some(timestamp(time));
        self
    }

    pub(crate) fn to(mut self, time: &str) -> Self {
        self.0.end_time = Some(timestamp(time));
        self
    }

    pub(crate) fn every(mut self, interval: &str, zone: &str) -> Self {
        interval.clone_into(&mut self.0.interval);
        zone.clone_into(&mut self.0.time_zone);
        self
    }

    pub(crate) fn basis(mut self, basis: deskpulse_proto::v1::Basis) -> Self {
        self.0.basis = basis.into();
        self
    }

    pub(crate) fn top(mut self, order_by: &str, limit: u32) -> Self {
        order_by.clone_into(&mut self.0.order_by);
        self.0.limit = limit;
        self
    }
}

/// An instant such as `2026-03-27T15:30:00Z`.
pub(crate) fn timestamp(text: &str) -> prost_types::Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    prost_types::Timestamp { seconds: instant.as_second(), nanos: instant.subsec_nanosecond() }
}

/// Checks a refusal: its code, one of our reasons, the field at fault (none when empty), and when to come back, which is
/// said where that helps and nowhere else.
pub(crate) fn assert_refused(status: &Status, code: Code, reason: &str, field: &str, what: &str) {
    let details = status.get_error_details();
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert!(!status.message().is_empty(), "{what} is refused without a word");
    let info = details.error_info().unwrap_or_else(|| panic!("{what}: no ErrorInfo: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "deskpulse"), "{what}: {status:?}");
    let fields: Vec<&str> = details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|violation| violation.field.as_str()).collect())
        .unwrap_or_default();
    assert_eq!(fields, if field.is_empty() { Vec::new() } else { vec![field] }, "{what}: {status:?}");
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    assert_eq!(retry.is_some(), code == Code::Unavailable, "{what}: {status:?}");
}

/// The values of a row's group, `-` where not set.
pub(crate) fn group(row: &MetricRow) -> Vec<String> {
    row.group.iter().map(|value| value.value.clone().unwrap_or_else(|| "-".to_owned())).collect()
}

/// A file of the real records kept beside the project; says so and gives `None` where it is absent.
pub(crate) fn shared(test: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {test}: ../shared/data/{name} is absent");
    None
}

/// Runs a test, or a part of it, on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    /// Does not wait for ever for what was begun, not even when the test fails.
    struct Ending(Option<Runtime>);

    impl Drop for Ending {
        fn drop(&mut self) {
            if let Some(runtime) = self.0.take() {
                runtime.shutdown_timeout(PATIENCE);
            }
        }
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = Ending(Some(runtime.expect("a runtime")));
    let done = async { tokio::time::timeout(PATIENCE, future).await.expect("it hangs") };
    runtime.0.as_ref().expect("not ended yet").block_on(done)
}

/// A small generator of pseudo-random numbers (splitmix64), so that failures repeat.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for n in (1..list.len()).rev() {
            list.swap(n, self.below(n + 1));
        }
    }
}
