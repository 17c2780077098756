//! `LogService`: the log's own door, through which aggregation reads, and writes configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_log::verdicts::Verdict;
use deskpulse_log::{BlockReader, EventLog, LogError, PartitionId, Position};
use deskpulse_proto::v1::log_service_server::{LogService, LogServiceServer};
use deskpulse_proto::v1::{
    AppendConfigRequest, AppendConfigResponse, DescribeLogRequest, DescribeLogResponse, ReadRequest, ReadResponse,
    ReportAppliedRequest, ReportAppliedResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use crate::batch::{Intake, fault};

/// Blocks read ahead of a reader.
const BLOCKS_AHEAD: usize = 16;

/// The gRPC side of the log an [`Intake`] writes.
#[derive(Debug)]
pub struct LogApi<L> {
    intake: Arc<Intake<L>>,
}

impl<L: EventLog> Intake<L> {
    /// How far the log reaches.
    pub fn describe_log(&self) -> Result<DescribeLogResponse, Status> {
        let log = &self.log;
        let head = |partition| log.head(PartitionId(partition)).map(|head| head.0);
        let heads = (0..log.partitions()).map(head).collect::<Result<_, _>>().map_err(fault)?;
        Ok(DescribeLogResponse { heads, log_id: log.identity() })
    }
}

impl<L: EventLog> LogApi<L> {
    /// The service, with its limits and compressions set.
    pub fn server(intake: Arc<Intake<L>>) -> LogServiceServer<Self> {
        // A block holds at most one message's events, and a frame around them.
        LogServiceServer::new(Self { intake })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(2 * MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }
}

impl<L: EventLog> LogApi<L> {
    /// Nobody needs a partition's blocks up to a position any more: has what no partition needs removed, on a task of its own, so that
    /// verdicts go on. What is not removed now, as the disk fails or others are removed just then, is tried with the next report.
    fn give_up(&self, partition: u32, unneeded_up_to: u64) {
        let all = &self.intake.unneeded;
        let Some(known) = all.get(partition as usize).filter(|_| self.intake.limits.removes_unneeded) else { return };
        known.fetch_max(unneeded_up_to, Ordering::Relaxed);
        if unneeded_up_to == 0 {
            return;
        }
        let Ok(mut removed) = Arc::clone(&self.intake.removed).try_lock_owned() else { return };
        let intake = Arc::clone(&self.intake);
        tokio::spawn(async move {
            let first_needed = |up_to: &AtomicU64| Position(up_to.load(Ordering::Relaxed)).next();
            let needed: Vec<_> = (0..).map(PartitionId).zip(intake.unneeded.iter().map(first_needed)).collect();
            if *removed == needed {
                return;
            }
            match intake.log.truncate_below(needed.clone()).await {
                Ok(()) => *removed = needed,
                Err(LogError::Closed) => {}
                Err(error) => warn!(%error, "old blocks of the log are not removed yet"),
            }
        });
    }
}

#[tonic::async_trait]
impl<L: EventLog> LogService for LogApi<L> {
    async fn describe_log(
        &self,
        _request: Request<DescribeLogRequest>,
    ) -> Result<Response<DescribeLogResponse>, Status> {
        Ok(Response::new(self.intake.describe_log()?))
    }

    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let ReadRequest { partition, from_position_inclusive, log_id } = request.into_inner();
        if log_id != 0 && log_id != self.intake.log.identity() {
            return Err(Fault::in_field(Reason::OtherLog, "log_id", "this is another log than the one meant").into());
        }
        let mut reader =
            self.intake.log.read(PartitionId(partition), Position(from_position_inclusive)).map_err(fault)?;
        let drain = self.intake.drain.clone();
        let (blocks, stream) = mpsc::channel(BLOCKS_AHEAD);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = reader.next() => next,
                    () = drain.streams_end() => Ok(None),
                    () = blocks.closed() => return,
                };
                let response = match next {
                    Ok(Some(block)) => Ok(ReadResponse { position: block.position.0, block: block.payload.to_vec() }),
                    Ok(None) => Err(Fault::new(Reason::Draining, "the log is closing").into()),
                    Err(error) => Err(fault(error).into()),
                };
                let ended = response.is_err();
                if blocks.send(response).await.is_err() || ended {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn report_applied(
        &self,
        request: Request<Streaming<ReportAppliedRequest>>,
    ) -> Result<Response<ReportAppliedResponse>, Status> {
        let mut reports = request.into_inner();
        let Some(first) = reports.message().await? else { return Ok(Response::new(ReportAppliedResponse {})) };
        let partitions = self.intake.log.partitions();
        if first.partition >= partitions {
            let message = format!("there are {partitions} partitions, from 0");
            return Err(Fault::in_field(Reason::NoSuchPosition, "partition", message).into());
        }
        let attached = self.intake.verdicts.attach(PartitionId(first.partition), Position(first.position));
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = self.intake.drain.streams_end() => None,
            };
            let Some(report) = report else { return Ok(Response::new(ReportAppliedResponse {})) };
            let verdict = Verdict { duplicates: report.duplicates, conflicts: report.conflicts };
            attached.report(Position(report.position), verdict);
            self.give_up(first.partition, report.unneeded_up_to);
        }
    }

    async fn append_config(
        &self,
        request: Request<AppendConfigRequest>,
    ) -> Result<Response<AppendConfigResponse>, Status> {
        let intake = Arc::clone(&self.intake);
        let change = request.into_inner().change;
        // On a task of its own, so that a caller who leaves does not stop a change half-way.
        let positions = tokio::spawn(async move { intake.append_config(change).await }).await;
        let positions = positions.unwrap_or_else(|error| {
            Err(Fault::new(Reason::Internal, format!("the change was not finished: {error}")))
        })?;
        Ok(Response::new(AppendConfigResponse {
            positions: positions.into_iter().map(|position| position.0).collect(),
        }))
    }
}
