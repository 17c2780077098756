//! `AggregationService`.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::{Anchor, Clock, Measure};
use deskpulse_core::filter::Filter;
use deskpulse_core::grid::View;
use deskpulse_core::interval::Cut;
use deskpulse_core::snapshot::{Gathered, NotCollected, Part, Partial, Plan, Reduction, Rows, collect};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_edge::upstream::answered;
use deskpulse_proto::v1::aggregation_service_server::{AggregationService, AggregationServiceServer};
use deskpulse_proto::v1::{
    self, AppendConfigRequest, CollectRequest, CollectResponse, ConfigureRequest, ConfigureResponse,
    DescribeLogRequest, DescribeLogResponse, GroupValue, PartialRow, PartitionPosition, ReadConfigRequest,
    ReadConfigResponse, WatchRequest, WatchResponse,
};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::follow::{Aggregation, FollowedLog, now};

/// How long to wait for the log to say how far it reaches.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait until everything acknowledged before the question is counted.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);

/// The gRPC side of an [`Aggregation`].
#[derive(Debug)]
pub struct AggregationApi {
    aggregation: Aggregation,
}

impl AggregationApi {
    /// The service, with its limits and compressions set.
    pub fn server(aggregation: Aggregation) -> AggregationServiceServer<Self> {
        AggregationServiceServer::new(Self { aggregation })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(4 * MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    /// The log that is followed; just after the start, once it has been reached.
    async fn followed(&self) -> Result<&FollowedLog, Fault> {
        timeout(HEAD_PATIENCE, self.aggregation.followed.wait()).await.map_err(|_| {
            let message = "aggregation has not reached the log yet: is ingest up?";
            Fault::new(Reason::UpstreamUnreachable, message)
        })
    }

    /// Waits until every event acknowledged before now is counted, with every message that moved because of one and every
    /// timer due before now; returns how far each partition is.
    async fn catch_up(&self) -> Result<Vec<PartitionPosition>, Fault> {
        let followed = self.followed().await?;
        let asked_at = now();
        let before: Vec<u64> = followed.partitions.iter().map(|partition| *partition.applied.borrow()).collect();
        let mut log = self.aggregation.log.clone();
        let heads = timeout(HEAD_PATIENCE, log.describe_log(DescribeLogRequest {})).await;
        let described = heads.ok().and_then(Result::ok).map(Response::into_inner);
        // A log that ends before what was applied already has lost blocks: it is not the one they came from.
        let is_other = |log: &DescribeLogResponse| {
            log.log_id != followed.log_id || log.heads.iter().zip(&before).any(|(head, applied)| head < applied)
        };
        if described.as_ref().is_some_and(is_other) {
            return Err(other_log());
        }
        let heads = described.map(|described| described.heads);
        let deadline = Instant::now() + CATCH_UP_PATIENCE;
        let behind =
            |what: &str| Fault::new(Reason::AggregationBehind, format!("aggregation is still busy with {what}"));
        let mut positions = Vec::with_capacity(followed.partitions.len());
        for (number, partition) in followed.partitions.iter().enumerate() {
            let mut applied = partition.applied.clone();
            if let Some(head) = heads.as_ref().and_then(|heads| heads.get(number)) {
                let there = timeout_at(deadline, applied.wait_for(|applied| applied >= head)).await;
                if !matches!(there, Ok(Ok(_))) {
                    let message = format!(
                        "partition {number} is at position {} of {head}: aggregation is still catching up with the log",
                        *partition.applied.borrow()
                    );
                    return Err(Fault::new(Reason::AggregationBehind, message));
                }
            }
            positions.push(PartitionPosition {
                partition: u32::try_from(number).unwrap_or(u32::MAX),
                position: *partition.applied.borrow(),
                may_be_behind: heads.is_none(),
            });
        }
        timeout_at(deadline, followed.post.settled()).await.map_err(|_| behind("merged conversations"))?;
        for partition in &followed.partitions {
            let mut next_due = partition.next_due.clone();
            let fired = timeout_at(deadline, next_due.wait_for(|due| *due > asked_at)).await;
            fired.map_err(|_| behind("its timers"))?.map_err(|_| behind("going down"))?;
        }
        Ok(positions)
    }

    /// Waits until changes at these positions are applied.
    async fn applied(&self, positions: &[u64]) -> Result<(), Fault> {
        let deadline = Instant::now() + CATCH_UP_PATIENCE;
        for (partition, position) in self.followed().await?.partitions.iter().zip(positions) {
            let mut applied = partition.applied.clone();
            let there = timeout_at(deadline, applied.wait_for(|applied| applied >= position)).await;
            if !matches!(there, Ok(Ok(_))) {
                let message = "the change is durable, but aggregation is still catching up with the log";
                return Err(Fault::new(Reason::AggregationBehind, message));
            }
        }
        Ok(())
    }

    /// Collects from all partitions, each on a thread of its own.
    async fn collect_all(&self, tenant: &str, plan: Plan) -> Result<Rows, Fault> {
        let Some(tenant) = self.aggregation.names.find_symbol(tenant) else { return Ok(Rows::new()) };
        let followed = self.aggregation.followed.get().map_or(&[][..], |followed| &followed.partitions);
        let views: Vec<View> = followed.iter().map(|partition| partition.reader.view()).collect();
        let plan = Arc::new(plan);
        let gathered = {
            let (views, plan) = (views.clone(), Arc::clone(&plan));
            tokio::task::spawn_blocking(move || Gathered::gather(views.iter(), tenant, &plan)).await
        };
        let gathered = gathered.map_err(|error| not_finished(&error))?;
        let gathered = Arc::new(gathered.map_err(|error| not_collected(&error.into()))?);
        let tasks: Vec<_> = views
            .into_iter()
            .map(|view| {
                let (names, plan, gathered) =
                    (Arc::clone(&self.aggregation.names), Arc::clone(&plan), Arc::clone(&gathered));
                tokio::task::spawn_blocking(move || collect(&view, &names, tenant, &plan, &gathered))
            })
            .collect();
        let mut merged = Rows::new();
        for task in tasks {
            let rows = task.await.map_err(|error| not_finished(&error))?.map_err(|error| not_collected(&error))?;
            for (key, partials) in rows {
                match merged.entry(key) {
                    Entry::Occupied(mut known) => {
                        known.get_mut().iter_mut().zip(&partials).for_each(|(ours, theirs)| ours.merge(theirs));
                    }
                    Entry::Vacant(place) => drop(place.insert(partials)),
                }
            }
        }
        Ok(merged)
    }
}

fn other_log() -> Fault {
    let message = "aggregation holds the figures of another log than the one ingest has now: start aggregation again";
    Fault::new(Reason::OtherLog, message)
}

fn not_finished(error: &JoinError) -> Fault {
    Fault::new(Reason::Internal, format!("a partition was not collected: {error}"))
}

fn not_collected(error: &NotCollected) -> Fault {
    let reason = match error {
        NotCollected::TooManyRows(_) => Reason::TooManyRows,
        NotCollected::Unreadable(_) => Reason::Internal,
    };
    Fault::new(reason, error.to_string())
}

#[tonic::async_trait]
impl AggregationService for AggregationApi {
    async fn collect(&self, request: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        let request = request.into_inner();
        let plan = plan(&request)?;
        let positions = self.catch_up().await?;
        let rows = self.collect_all(&request.tenant, plan).await?;
        let rows = rows
            .into_iter()
            .map(|((group, bucket), partials)| PartialRow {
                group: group.into_iter().map(|value| GroupValue { value }).collect(),
                bucket,
                partials: partials.iter().map(encode).collect(),
            })
            .collect();
        Ok(Response::new(CollectResponse { positions, rows }))
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Fault::new(Reason::NotImplemented, "this version cannot watch yet: call Collect again").into())
    }

    async fn configure(&self, request: Request<ConfigureRequest>) -> Result<Response<ConfigureResponse>, Status> {
        let mut log = self.aggregation.log.clone();
        let append = AppendConfigRequest { change: request.into_inner().change };
        let written = answered("ingest", CATCH_UP_PATIENCE, Reason::UpstreamUnreachable, log.append_config(append));
        let positions = written.await?.positions;
        self.applied(&positions).await?;
        Ok(Response::new(ConfigureResponse {}))
    }

    async fn read_config(&self, request: Request<ReadConfigRequest>) -> Result<Response<ReadConfigResponse>, Status> {
        self.catch_up().await?;
        Ok(Response::new(self.followed().await?.config.read(&request.into_inner().tenant)))
    }
}

fn plan(request: &CollectRequest) -> Result<Plan, Fault> {
    let parts = request.parts.iter().map(part).collect::<Result<_, _>>()?;
    let filter = filter("filter", &request.filter)?;
    let group_by = request
        .group_by
        .iter()
        .map(|name| {
            let unknown = || Fault::in_field(Reason::UnknownDimension, "group_by", format!("no dimension {name:?}"));
            Dimension::parse(name).ok_or_else(unknown)
        })
        .collect::<Result<_, _>>()?;
    let cut = Cut::new(request.bounds_ms.clone(), request.buckets.clone())
        .map_err(|error| Fault::in_field(Reason::InvalidRange, "bounds_ms", error.to_string()))?;
    Ok(Plan { parts, filter, group_by, cut, now: Timestamp::clamped(request.now_ms) })
}

fn filter(field: &str, text: &str) -> Result<Filter, Fault> {
    Filter::parse(text).map_err(|error| Fault::in_field(Reason::MalformedFilter, field, error.to_string()))
}

fn part(part: &v1::CollectPart) -> Result<Part, Fault> {
    let reduction = match part.reduction() {
        v1::Reduction::Unspecified => {
            return Err(Fault::in_field(Reason::FieldRequired, "parts.reduction", "reduction is required"));
        }
        v1::Reduction::Count => Reduction::Count,
        v1::Reduction::Distribution => Reduction::Distribution,
        v1::Reduction::Distinct => Reduction::Distinct,
        v1::Reduction::Level => Reduction::Level,
        v1::Reduction::LevelAge => Reduction::LevelAge,
        v1::Reduction::NotFollowed => Reduction::NotFollowed,
        v1::Reduction::LevelChange => Reduction::LevelChange,
        v1::Reduction::Time => Reduction::Time,
        v1::Reduction::LevelAtStart => Reduction::LevelAtStart,
        v1::Reduction::DistinctValues => Reduction::DistinctValues,
        v1::Reduction::Repeated => Reduction::Repeated,
        v1::Reduction::LevelNext => Reduction::LevelNext,
    };
    let measures = part
        .measures
        .iter()
        .map(|name| {
            let unknown = || Fault::in_field(Reason::UnknownMetric, "parts.measures", format!("no measure {name:?}"));
            Measure::parse(name).ok_or_else(unknown)
        })
        .collect::<Result<_, _>>()?;
    Ok(Part {
        measures,
        anchor: if part.at_start { Anchor::Start } else { Anchor::Completion },
        clock: if part.business { Clock::Business } else { Clock::Calendar },
        reduction,
        at_most: part.at_most.clone(),
        filter: filter("parts.filter", &part.filter)?,
    })
}

/// A partial figure as it travels.
#[must_use]
pub fn encode(partial: &Partial) -> v1::Partial {
    let mut last = 0;
    let (histogram_index_deltas, histogram_counts) = partial
        .distribution
        .filled_buckets()
        .map(|(bucket, count)| {
            let delta = bucket - last;
            last = bucket;
            (delta, count)
        })
        .unzip();
    let (sum_high, sum) = halves(partial.distribution.sum());
    v1::Partial {
        count: partial.count,
        sum,
        sum_high,
        min: partial.distribution.min(),
        max: partial.distribution.max(),
        at_most: partial.at_most.clone(),
        histogram_index_deltas,
        histogram_counts,
        oldest: partial.oldest.as_deref().unwrap_or_default().to_owned(),
        distinct: partial.distinct.iter().copied().collect(),
        next: partial
            .next
            .iter()
            .map(|(value, subject)| v1::NextSubject { value: *value, subject: subject.to_string() })
            .collect(),
    }
}

/// A sum as 2^62 times the first number, plus the second.
fn halves(sum: i128) -> (i64, i64) {
    let part = |part: i128| i64::try_from(part).unwrap_or(i64::MAX);
    (part(sum >> 62), part(sum & ((1 << 62) - 1)))
}
