//! The service one would ordinarily write for the same contract: tonic with its generated messages, maps of strings in `DashMap`s,
//! histograms in mutexes, `SQLite` for what has to last.
//!
//! It takes what the bench sends (a stream of batches), keeps each event once, synced before the answer, and counts openings and first
//! responses by channel. No facts that are taken back, no late events, no other metrics: it does much less.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use deskpulse_proto::v1::event::Payload;
use deskpulse_proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use deskpulse_proto::v1::query_service_server::{QueryService, QueryServiceServer};
use deskpulse_proto::v1::{
    ActorKind, BatchOutcome, BatchQueryMetricsRequest, BatchQueryMetricsResponse, Event, GroupValue,
    IngestEventsRequest, IngestEventsResponse, ListConversationsRequest, ListConversationsResponse, ListMetricsRequest,
    ListMetricsResponse, MetricRow, MetricValue, PercentileValue, QueryMetricsRequest, QueryMetricsResponse,
    StreamEventsRequest, StreamEventsResponse, StreamQueryMetricsRequest, StreamQueryMetricsResponse, Visibility,
    WatchAlertsRequest, WatchAlertsResponse, WatchMetricsRequest, WatchMetricsResponse,
};
use hdrhistogram::Histogram;
use prost::Message;
use rusqlite::Connection;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const SLOT_MS: i64 = 900_000;

/// A tenant's quarter hour of a channel.
type Slot = (String, String, i64);

/// What is known of a conversation.
#[derive(Debug, Default)]
struct Conversation {
    channel: String,
    /// Since when the customer has waited for the first response.
    since_ms: Option<i64>,
    is_answered: bool,
}

#[derive(Debug)]
struct State {
    events: Mutex<Connection>,
    conversations: DashMap<(String, String), Conversation>,
    openings: DashMap<Slot, u64>,
    first_responses: DashMap<Slot, Mutex<Histogram<u64>>>,
}

#[derive(Debug, Clone)]
struct Ordinary(Arc<State>);

/// Serves until it is killed, on an address it prints, with its data in a folder.
pub(crate) fn serve(folder: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let events = Connection::open(folder.join("events.sqlite")).expect("a database");
        events
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE events (tenant TEXT, source TEXT, id TEXT, body BLOB, PRIMARY KEY (tenant, source, id)) WITHOUT ROWID;",
            )
            .expect("a table");
        let ordinary = Ordinary(Arc::new(State {
            events: Mutex::new(events),
            conversations: DashMap::new(),
            openings: DashMap::new(),
            first_responses: DashMap::new(),
        }));
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        println!("listening on http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder()
            .add_service(IngestServiceServer::new(ordinary.clone()).max_decoding_message_size(64 << 20))
            .add_service(QueryServiceServer::new(ordinary));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        server.serve_with_incoming(incoming).await.expect("it serves");
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Keeps the events that are new, then counts them.
    fn take(&self, events: Vec<Event>) -> rusqlite::Result<BatchOutcome> {
        let mut outcome = BatchOutcome::default();
        let mut connection = locked(&self.events);
        let transaction = connection.transaction()?;
        let mut new = Vec::with_capacity(events.len());
        {
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO events VALUES (?1, ?2, ?3, ?4)")?;
            for event in events {
                if insert.execute((&event.tenant, &event.source, &event.id, event.encode_to_vec()))? == 1 {
                    new.push(event);
                } else {
                    outcome.duplicates += 1;
                }
            }
        }
        transaction.commit()?;
        outcome.accepted = u32::try_from(new.len()).unwrap_or(u32::MAX);
        for event in new {
            self.count(event);
        }
        Ok(outcome)
    }

    fn count(&self, event: Event) {
        let at_ms = event.time.map_or(0, |time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000);
        match event.payload {
            Some(Payload::ConversationOpened(opened)) => {
                let channel = opened.dimensions.map(|dimensions| dimensions.channel).unwrap_or_default();
                *self.openings.entry((event.tenant.clone(), channel.clone(), at_ms / SLOT_MS)).or_default() += 1;
                let by_customer =
                    !matches!(ActorKind::try_from(opened.initiator), Ok(ActorKind::Agent | ActorKind::Bot));
                let since_ms = by_customer.then_some(at_ms);
                let conversation = Conversation { channel, since_ms, is_answered: false };
                self.conversations.insert((event.tenant, opened.conversation), conversation);
            }
            Some(Payload::MessageCreated(message)) if message.visibility() != Visibility::Private => {
                let key = (event.tenant.clone(), message.conversation.clone());
                let mut conversation = self.conversations.entry(key).or_default();
                match message.actor.map(|actor| actor.kind()) {
                    Some(ActorKind::Customer) => drop(conversation.since_ms.get_or_insert(at_ms)),
                    Some(ActorKind::Agent) if !conversation.is_answered => {
                        let Some(since_ms) = conversation.since_ms else { return };
                        conversation.is_answered = true;
                        let slot = (event.tenant, conversation.channel.clone(), at_ms / SLOT_MS);
                        let histogram = self.first_responses.entry(slot).or_insert_with(|| Mutex::new(empty()));
                        let lasted_ms = u64::try_from(at_ms - since_ms).unwrap_or(0).max(1);
                        locked(&histogram).record(lasted_ms).expect("within the bounds");
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn rows(&self, question: &QueryMetricsRequest) -> Vec<MetricRow> {
        let slot = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds * 1_000 / SLOT_MS);
        let slots = slot(question.start_time)..slot(question.end_time);
        let is_asked_for = |(tenant, _, slot): &Slot| *tenant == question.tenant && slots.contains(slot);
        let Some(metric) = question.metrics.first() else { return Vec::new() };
        let mut channels: std::collections::BTreeMap<String, (u64, Histogram<u64>)> = std::collections::BTreeMap::new();
        if metric.name == "conversations_opened" {
            for entry in self.openings.iter().filter(|entry| is_asked_for(entry.key())) {
                channels.entry(entry.key().1.clone()).or_insert_with(|| (0, empty())).0 += *entry.value();
            }
        } else {
            for entry in self.first_responses.iter().filter(|entry| is_asked_for(entry.key())) {
                let (count, all) = channels.entry(entry.key().1.clone()).or_insert_with(|| (0, empty()));
                let histogram = locked(entry.value());
                *count += histogram.len();
                all.add(&*histogram).expect("of the same bounds");
            }
        }
        let value_of = |count: u64, all: &Histogram<u64>| MetricValue {
            metric: metric.name.clone(),
            count,
            percentiles: metric
                .percentiles
                .iter()
                .map(|percentile| PercentileValue {
                    percentile: *percentile,
                    value: all.value_at_percentile(*percentile) as f64,
                })
                .collect(),
            ..MetricValue::default()
        };
        let row = |(channel, (count, all)): (String, (u64, Histogram<u64>))| MetricRow {
            group: vec![GroupValue { value: Some(channel) }],
            values: vec![value_of(count, &all)],
            ..MetricRow::default()
        };
        channels.into_iter().map(row).collect()
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 49, 2).expect("these bounds are allowed")
}

#[tonic::async_trait]
impl IngestService for Ordinary {
    type StreamEventsStream = ReceiverStream<Result<StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let (answers, receiver) = tokio::sync::mpsc::channel(16);
        let (mut batches, state) = (request.into_inner(), Arc::clone(&self.0));
        tokio::spawn(async move {
            while let Some(Ok(StreamEventsRequest { sequence, events })) = batches.next().await {
                let state = Arc::clone(&state);
                let taken = tokio::task::spawn_blocking(move || state.take(events)).await.expect("no panic");
                let answer = taken
                    .map(|outcome| StreamEventsResponse { acknowledged_sequence: sequence, outcome: Some(outcome) })
                    .map_err(|error| Status::internal(error.to_string()));
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn ingest_events(
        &self,
        request: Request<IngestEventsRequest>,
    ) -> Result<Response<IngestEventsResponse>, Status> {
        let (state, events) = (Arc::clone(&self.0), request.into_inner().events);
        let taken = tokio::task::spawn_blocking(move || state.take(events)).await.expect("no panic");
        let outcome = taken.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(IngestEventsResponse { outcome: Some(outcome) }))
    }
}

#[tonic::async_trait]
impl QueryService for Ordinary {
    type WatchMetricsStream = ReceiverStream<Result<WatchMetricsResponse, Status>>;
    type WatchAlertsStream = ReceiverStream<Result<WatchAlertsResponse, Status>>;
    type StreamQueryMetricsStream = ReceiverStream<Result<StreamQueryMetricsResponse, Status>>;

    async fn query_metrics(
        &self,
        request: Request<QueryMetricsRequest>,
    ) -> Result<Response<QueryMetricsResponse>, Status> {
        let rows = self.0.rows(request.get_ref());
        Ok(Response::new(QueryMetricsResponse { rows, ..QueryMetricsResponse::default() }))
    }

    async fn batch_query_metrics(
        &self,
        _: Request<BatchQueryMetricsRequest>,
    ) -> Result<Response<BatchQueryMetricsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn stream_query_metrics(
        &self,
        _: Request<Streaming<StreamQueryMetricsRequest>>,
    ) -> Result<Response<Self::StreamQueryMetricsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_metrics(
        &self,
        _: Request<WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_metrics(&self, _: Request<ListMetricsRequest>) -> Result<Response<ListMetricsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_conversations(
        &self,
        _: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_alerts(&self, _: Request<WatchAlertsRequest>) -> Result<Response<Self::WatchAlertsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
