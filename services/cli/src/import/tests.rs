use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use deskpulse_proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use deskpulse_proto::v1::{
    BatchOutcome, Event, EventException, EventExceptionKind, IngestEventsRequest, IngestEventsResponse,
    StreamEventsRequest, StreamEventsResponse,
};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// An ingest that keeps events by id, refuses those without a conversation, and breaks its stream once.
#[derive(Clone, Default)]
struct Fake {
    events: Arc<Mutex<BTreeMap<String, Event>>>,
    /// Keep this batch, then break the stream without acknowledging it.
    breaks_at: Arc<Mutex<Option<u64>>>,
    broken: Arc<Notify>,
}

impl Fake {
    fn take(&self, request: StreamEventsRequest) -> BatchOutcome {
        let mut known = self.events.lock().unwrap();
        let mut outcome = BatchOutcome::default();
        for (index, event) in (0..).zip(request.events) {
            let exception =
                |kind: EventExceptionKind| EventException { index, kind: kind.into(), ..Default::default() };
            if event.payload.is_none() {
                outcome.rejected += 1;
                outcome.exceptions.push(EventException {
                    field: "payload".to_owned(),
                    reason: "FIELD_REQUIRED".to_owned(),
                    message: "set one".to_owned(),
                    ..exception(EventExceptionKind::Rejected)
                });
            } else if known.insert(event.id.clone(), event).is_some() {
                outcome.duplicates += 1;
                outcome.exceptions.push(exception(EventExceptionKind::Duplicate));
            } else {
                outcome.accepted += 1;
            }
        }
        outcome
    }
}

#[tonic::async_trait]
impl IngestService for Fake {
    async fn ingest_events(&self, _: Request<IngestEventsRequest>) -> Result<Response<IngestEventsResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        let fake = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let acknowledged_sequence = request.sequence;
                let outcome = Some(fake.take(request));
                if fake.breaks_at.lock().unwrap().take_if(|at| *at <= acknowledged_sequence).is_some() {
                    fake.broken.notify_one();
                    let _ = answers.send(Err(Status::unavailable("killed"))).await;
                    return;
                }
                let _ = answers.send(Ok(StreamEventsResponse { acknowledged_sequence, outcome })).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn serve(fake: Fake) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = tonic::transport::Server::builder().add_service(IngestServiceServer::new(fake));
    tokio::spawn(service.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

fn arguments(server: String, files: Vec<PathBuf>, rejects: PathBuf) -> ImportArgs {
    ImportArgs {
        files,
        mapping: None,
        server,
        tenant: Some("t".to_owned()),
        source: None,
        rejects: Some(rejects),
        batch: 10,
        in_flight: 4,
        output: OutputFormat::Csv,
    }
}

fn line(id: u32) -> String {
    format!(r#"{{"id":"{id}","source":"s","time":"2026-01-05T10:00:00Z","messageCreated":{{"conversation":"c"}}}}"#)
}

#[tokio::test]
async fn everything_arrives_once_although_the_connection_breaks() {
    let fake = Fake { breaks_at: Arc::new(Mutex::new(Some(7))), ..Fake::default() };
    let server = serve(fake.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl");
    std::fs::write(&file, (0..1_005).map(|id| line(id) + "\n").collect::<String>()).unwrap();
    let rejects = folder.path().join("rejects.csv");
    let summary = import(arguments(server, vec![file], rejects.clone())).await.unwrap();
    assert_eq!((summary.rows, summary.events, summary.rejected), (1_005, 1_005, 0));
    assert_eq!(summary.accepted + summary.duplicate, 1_005);
    assert!(summary.duplicate >= 10, "what was kept before the break counts as known: {summary:?}");
    assert_eq!(fake.events.lock().unwrap().len(), 1_005);
    assert!(fake.events.lock().unwrap().values().all(|event| event.tenant == "t"));
    assert!(!rejects.exists());
}

#[tokio::test]
async fn everything_arrives_once_although_the_server_is_away_for_a_while() {
    let fake = Fake { breaks_at: Arc::new(Mutex::new(Some(7))), ..Fake::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = |fake| tonic::transport::Server::builder().add_service(IngestServiceServer::new(fake));
    let first = tokio::spawn(service(fake.clone()).serve_with_incoming(TcpListenerStream::new(listener)));
    let again = fake.clone();
    tokio::spawn(async move {
        again.broken.notified().await;
        first.abort();
        let _ = first.await;
        // Nobody listens until the client had time to be refused.
        tokio::time::timeout(Duration::from_millis(400), std::future::pending::<()>()).await.unwrap_err();
        let listener = TcpListener::bind(address).await.unwrap();
        service(again).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    let events = (0..2_000).map(|id| source::parse(&line(id)).unwrap());
    let summary = send(&format!("http://{address}"), events, 10, 16).await.unwrap();
    assert_eq!((summary.events, summary.accepted + summary.duplicate), (2_000, 2_000));
    assert_eq!(fake.events.lock().unwrap().len(), 2_000);
}

#[tokio::test]
async fn rejects_are_traced_to_their_file_and_line_whoever_refuses_them() {
    let server = serve(Fake::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl");
    let text = [line(1), "not JSON".to_owned(), line(2), r#"{"id":"3"}"#.to_owned(), line(1)].join("\n");
    std::fs::write(&file, text).unwrap();
    let rejects = folder.path().join("rejects.csv");
    let summary = import(arguments(server, vec![file.clone()], rejects.clone())).await.unwrap();
    assert_eq!((summary.rows, summary.events), (5, 4));
    assert_eq!((summary.accepted, summary.duplicate, summary.rejected), (2, 1, 2));
    assert_eq!(summary.rejects_file.as_ref(), Some(&rejects));
    let mut reader = csv::Reader::from_path(rejects).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0][0], &rows[0][1], &rows[0][4]), (file.to_str().unwrap(), "2", "not JSON"));
    assert_eq!((&rows[1][1], &rows[1][2], &rows[1][3]), ("4", "payload", "FIELD_REQUIRED: set one"));
    assert_eq!(&rows[1][4], r#"{"id":"3"}"#);
}

#[tokio::test]
async fn a_server_that_was_never_there_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = send(&server, std::iter::once(Event::default()), 1, 1).await.unwrap_err();
    assert!(crate::failure::report(&error).contains("hint: start it with `deskpulse serve`"));
}

#[tokio::test]
async fn files_that_cannot_be_imported_are_errors_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("a.csv");
    std::fs::write(&table, "a,b\n1,2\n").unwrap();
    let rejects = folder.path().join("rejects.csv");
    for (file, part) in [(table, "needs a mapping"), (folder.path().join("none.jsonl"), "cannot open")] {
        let server = serve(Fake::default()).await;
        let error = import(arguments(server, vec![file], rejects.clone())).await.unwrap_err();
        let text = crate::failure::report(&error);
        assert!(text.contains(part) && text.contains("hint: "), "{text}");
    }
}

#[tokio::test]
async fn what_stands_before_a_broken_part_of_a_file_is_imported() {
    let fake = Fake::default();
    let server = serve(fake.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl.zst");
    let mut bytes = zstd::stream::encode_all((line(1) + "\n").as_bytes(), 1).unwrap();
    let broken = zstd::stream::encode_all((line(2) + "\n").repeat(100).as_bytes(), 1).unwrap();
    bytes.extend_from_slice(&broken[..broken.len() - 5]);
    std::fs::write(&file, bytes).unwrap();
    let error = import(arguments(server, vec![file], folder.path().join("r.csv"))).await.unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
    assert!(fake.events.lock().unwrap().contains_key("1"));
}

#[test]
fn the_mapping_and_the_event_in_the_help_are_valid() {
    let indented = |after: &str| {
        let lines = EXAMPLES.lines().skip_while(|line| !line.starts_with(after)).skip(1);
        lines.map_while(|line| line.strip_prefix("  ")).collect::<Vec<_>>().join("\n")
    };
    Mapping::parse(&indented("A mapping")).unwrap();
    assert_eq!(source::parse(&indented("A line of JSON")).unwrap().tenant, "acme");
}

#[test]
fn the_summary_reads_alike_in_every_format() {
    let summary = ImportSummary { rows: 1_000, events: 2_000, accepted: 2_000, ..ImportSummary::default() };
    assert!(summary.render(OutputFormat::Table).unwrap().contains("2,000"));
    assert!(summary.render(OutputFormat::Csv).unwrap().starts_with("rows,events,accepted,"));
    let json: serde_json::Value = serde_json::from_str(&summary.render(OutputFormat::Json).unwrap()).unwrap();
    assert_eq!(json["accepted"], 2_000);
}
