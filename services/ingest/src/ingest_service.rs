//! `IngestService`.

use std::sync::Arc;

use deskpulse_edge::fault::{Fault, Reason, explained};
use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_log::EventLog;
use deskpulse_proto::raw::ingest_service_server::{IngestService, IngestServiceServer};
use deskpulse_proto::raw::{IngestEventsRequest, StreamEventsRequest};
use deskpulse_proto::v1::{BatchOutcome, IngestEventsResponse, StreamEventsResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::batch::Intake;

/// Batches of one stream that may be between arrival and acknowledgement; more wait in the transport.
const STREAM_BATCHES: usize = 32;

/// The gRPC side of an [`Intake`].
#[derive(Debug)]
pub struct IngestApi<L> {
    intake: Arc<Intake<L>>,
}

impl<L: EventLog> IngestApi<L> {
    /// The service, with its limits and compressions set.
    pub fn server(intake: Arc<Intake<L>>) -> IngestServiceServer<Self> {
        IngestServiceServer::new(Self { intake })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }
}

#[tonic::async_trait]
impl<L: EventLog> IngestService for IngestApi<L> {
    async fn ingest_events(
        &self,
        request: Request<IngestEventsRequest>,
    ) -> Result<Response<IngestEventsResponse>, Status> {
        let intake = Arc::clone(&self.intake);
        let events = request.into_inner().events;
        let room = intake.room_now(events.len())?;
        // On a task of its own, so that a caller who leaves does not stop a batch half-way.
        let outcome = tokio::spawn(async move { intake.outcome(intake.submit(events, room).await?).await }).await;
        Ok(Response::new(IngestEventsResponse { outcome: Some(joined(outcome)?) }))
    }

    type StreamEventsStream = ReceiverStream<Result<StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let (answers, stream) = mpsc::channel(STREAM_BATCHES);
        let (pending, acknowledge) = mpsc::channel(STREAM_BATCHES);
        tokio::spawn(receive(Arc::clone(&self.intake), request.into_inner(), pending));
        tokio::spawn(answer(acknowledge, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A batch on its way, or why the stream ends.
type Pending = Result<(u64, JoinHandle<Result<BatchOutcome, Fault>>), Status>;

/// Submits each batch as it arrives; passes them on in their order.
async fn receive<L: EventLog>(
    intake: Arc<Intake<L>>,
    mut batches: Streaming<StreamEventsRequest>,
    pending: mpsc::Sender<Pending>,
) {
    let mut last = None;
    loop {
        let received = tokio::select! {
            received = batches.message() => received,
            () = intake.drain.streams_end() => {
                Err(Fault::new(Reason::Draining, "ingest is shutting down: connect to another, or later").into())
            }
        };
        let next = match received {
            Ok(None) => return,
            Ok(Some(batch)) if last.is_some_and(|last| batch.sequence <= last) => {
                let message = format!("sequence {} does not follow {}", batch.sequence, last.unwrap_or_default());
                Err(Fault::in_field(Reason::SequenceNotAscending, "sequence", message).into())
            }
            Ok(Some(batch)) => {
                last = Some(batch.sequence);
                // Submitted here, in the stream's order; only the waiting is left to a task of its own.
                let submitted = match intake.room(batch.events.len()).await {
                    Ok(room) => intake.submit(batch.events, room).await,
                    Err(fault) => Err(fault),
                };
                let intake = Arc::clone(&intake);
                let outcome = |submitted| tokio::spawn(async move { intake.outcome(submitted).await });
                submitted.map(|submitted| (batch.sequence, outcome(submitted))).map_err(Status::from)
            }
            Err(status) => Err(explained(status)),
        };
        let ended = next.is_err();
        if pending.send(next).await.is_err() || ended {
            return;
        }
    }
}

/// Acknowledges batches in their order; the first that fails ends the stream.
async fn answer(mut pending: mpsc::Receiver<Pending>, answers: mpsc::Sender<Result<StreamEventsResponse, Status>>) {
    while let Some(next) = pending.recv().await {
        let response = match next {
            Ok((sequence, outcome)) => joined(outcome.await)
                .map(|outcome| StreamEventsResponse { acknowledged_sequence: sequence, outcome: Some(outcome) }),
            Err(status) => Err(status),
        };
        let ended = response.is_err();
        if answers.send(response).await.is_err() || ended {
            return;
        }
    }
}

fn joined(outcome: Result<Result<BatchOutcome, Fault>, tokio::task::JoinError>) -> Result<BatchOutcome, Status> {
    match outcome {
        Ok(outcome) => outcome.map_err(Status::from),
        Err(error) => Err(Fault::new(Reason::Internal, format!("the batch was not finished: {error}")).into()),
    }
}
