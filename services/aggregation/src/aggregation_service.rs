//! `AggregationService`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::{Anchor, Clock, Measure};
use deskpulse_core::filter::Filter;
use deskpulse_core::grid::{Effort, View};
use deskpulse_core::interval::Cut;
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::snapshot::{
    Collected, Collection, Gathered, List, Listed, Listing, MAX_READ, MAX_ROWS, More, NotCollected, Only, Part,
    Partial, Place, Plan, Reduction, Row, Rows, list, merge,
};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{self, Fault, Reason};
use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_edge::upstream::answered;
use deskpulse_proto::v1::aggregation_service_server::{AggregationService, AggregationServiceServer};
use deskpulse_proto::v1::{
    self, AppendConfigRequest, CollectPlan, CollectRequest, CollectResponse, CollectedPlan, ConfigureRequest,
    ConfigureResponse, DescribeLogResponse, GroupValue, ListPlace, ListSubjectsRequest, ListSubjectsResponse,
    PartialRow, PartitionPosition, ReadConfigRequest, ReadConfigResponse, SubjectFigure, WatchRequest, WatchResponse,
};
use futures_util::future::try_join_all;
use prost::encoding::encode_varint;
use tokio::sync::mpsc;
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::follow::{Aggregation, FollowedLog, now};
use crate::pinned::{Moment, Pinned};
use crate::work::{Share, Work};

/// How long to wait for the log to say how far it reaches.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait until everything acknowledged before the question is counted.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);

/// The gRPC side of an [`Aggregation`].
#[derive(Debug)]
pub struct AggregationApi {
    aggregation: Aggregation,
    pinned: Pinned,
    /// When it was last made room for what questions leave for others.
    swept: Mutex<Option<Instant>>,
}

impl AggregationApi {
    /// What can be asked of `aggregation`.
    #[must_use]
    pub fn new(aggregation: Aggregation) -> Arc<Self> {
        Arc::new(Self { aggregation, pinned: Pinned::default(), swept: Mutex::default() })
    }

    /// The service, with its limits and compressions set.
    pub fn server(self: Arc<Self>) -> AggregationServiceServer<Self> {
        AggregationServiceServer::from_arc(self)
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
        let described = timeout(HEAD_PATIENCE, self.aggregation.log.describe()).await.ok().and_then(Result::ok);
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
            let head = heads.as_ref().and_then(|heads| heads.get(number));
            if let Some(head) = head.filter(|head| *partition.applied.borrow() < **head) {
                let mut applied = partition.applied.clone();
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
        if !followed.post.is_settled() {
            timeout_at(deadline, followed.post.settled()).await.map_err(|_| behind("merged conversations"))?;
        }
        for partition in &followed.partitions {
            if *partition.next_due.borrow() > asked_at {
                continue;
            }
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

    /// Collects from all partitions, all of one moment: that with a number, or the present. `then` makes something of some rows of a plan of a
    /// collection, by their numbers, where nobody waits for the thread if they are many.
    pub async fn collect<T: Send + 'static>(
        &self,
        collections: Vec<Collection>,
        moment: u64,
        then: Arc<dyn Fn(usize, usize, Vec<Row>) -> T + Send + Sync>,
    ) -> Result<Collected<PartitionPosition, T, Status>, Status> {
        let (number, moment) = self.moment(moment).await?;
        let mut made = Vec::with_capacity(collections.len());
        let (mut is_to_be_pinned, mut left) = (false, TOGETHER);
        let deadline = Instant::now() + COLLECT_PATIENCE;
        for (collection, Collection { tenant, plans, pin_from_rows }) in collections.into_iter().enumerate() {
            let then = Arc::clone(&then);
            let then = Arc::new(move |plan, rows: Vec<Row>| then(collection, plan, rows));
            let collected = match timeout_at(deadline, self.collect_all(&moment, &tenant, plans, then)).await {
                _ if left == 0 => Err(too_many_together()),
                Ok(collected) => collected,
                Err(_) => Err(not_in_time()),
            };
            let count: usize = collected.iter().flatten().map(|made| made.rows).sum();
            left = left.saturating_sub(count);
            let most = collected.iter().flatten().map(|made| made.rows).max().unwrap_or(0);
            is_to_be_pinned |= collected.is_ok() && pin_from_rows.is_some_and(|least| most >= least as usize);
            let of_plans = |plans: Vec<Made<T>>| plans.into_iter().map(|made| made.parts).collect();
            made.push(collected.map(of_plans).map_err(Status::from));
            // Others share this thread.
            yield_now().await;
        }
        let number = match number {
            0 if is_to_be_pinned => self.pinned.pin(Arc::clone(&moment)),
            pinned if is_to_be_pinned => pinned,
            pinned => self.pinned.let_go(pinned),
        };
        Ok(Collected { positions: moment.positions.clone(), made, moment: number, asked_at: moment.asked_at })
    }

    /// What is made of every plan at one moment: where it is little at once, else shared between as many threads as partitions.
    async fn collect_all<T: Send + 'static>(
        &self,
        moment: &Moment,
        tenant: &str,
        plans: Vec<Plan>,
        then: Arc<impl Fn(usize, Vec<Row>) -> T + Send + Sync + 'static>,
    ) -> Result<Vec<Made<T>>, Fault> {
        let tenants: Vec<Symbol> = if tenant == ALL_TENANTS {
            let all: BTreeSet<Symbol> = moment.views.iter().flat_map(View::tenants).collect();
            all.into_iter().collect()
        } else {
            self.aggregation.names.find_symbol(tenant).into_iter().collect()
        };
        let (names, plans): (_, Arc<[Plan]>) = (&self.aggregation.names, plans.into());
        if let Some(shares) = little(&moment.views, names, &tenants, &plans, &*then) {
            return Made::of_all(vec![shares.map_err(|error| not_collected(&error))?], then, 1).await;
        }
        let effort = Arc::new(Effort::of(MAX_READ));
        let _called_off = CalledOff(Arc::clone(&effort));
        let views: Vec<View> = moment.views.iter().map(|view| view.within(&effort)).collect();
        let threads = views.len();
        let is_large = |plan: &Plan| Gathered::is_needed(plan) || plan.cut.buckets().len() > MANY_INTERVALS;
        let is_long = plans.iter().any(is_large) || tenants.len() > MANY_TENANTS;
        let begin = {
            let names = Arc::clone(names);
            move || Work::begin(views, names, tenants, plans, threads)
        };
        let work = if is_long { on_a_thread(begin).await? } else { begin() };
        let work = Arc::new(work.map_err(|error| not_collected(&error))?);
        let share = |thread| {
            let (work, then) = (Arc::clone(&work), Arc::clone(&then));
            tokio::task::spawn_blocking(move || work.share(thread, &*then))
        };
        let tasks: Vec<_> = (0..threads).map(share).collect();
        self.sweep_if_due(&moment.views);
        let mut shares: Vec<Vec<Share<T>>> = Vec::with_capacity(tasks.len());
        let mut failed = None;
        for task in tasks {
            match task.await.map_err(|error| not_finished(&error))? {
                Ok(share) => shares.push(share),
                // One that fails calls off the others.
                Err(error) => {
                    effort.call_off();
                    if matches!(failed, None | Some(NotCollected::CalledOff)) {
                        failed = Some(error);
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(not_collected(&error)),
            None => Made::of_all(shares, then, threads).await,
        }
    }

    /// Makes room for what questions leave for others, where much of that found none: what nobody has read since the last time goes.
    fn sweep_if_due(&self, views: &[View]) {
        let short: Vec<View> = views.iter().filter(|view| view.is_short_of_room()).cloned().collect();
        if short.is_empty() {
            return;
        }
        // What panicked while it held the lock had set it or not.
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            *swept = Some(Instant::now());
            tokio::task::spawn_blocking(move || short.iter().for_each(View::sweep));
        }
    }

    /// The first facts of a list, and one more where there are more.
    async fn list(&self, moment: &Moment, tenant: &str, listing: Listing) -> Result<List, Fault> {
        let effort = Arc::new(Effort::of(MAX_READ));
        let _called_off = CalledOff(Arc::clone(&effort));
        let Some(tenant) = self.aggregation.names.find_symbol(tenant) else { return Ok(List::default()) };
        let views: Arc<[View]> = moment.views.iter().map(|view| view.within(&effort)).collect();
        let listing = Arc::new(Listing { most: listing.most + 1, ..listing });
        let gathered = {
            let (views, listing) = (Arc::clone(&views), Arc::clone(&listing));
            on_a_thread(move || Gathered::gather(views.iter(), tenant, &listing.plan)).await?
        };
        let gathered = Arc::new(gathered.map_err(|error| not_collected(&error.into()))?);
        let of_partition = |number: usize| {
            let names = Arc::clone(&self.aggregation.names);
            let (views, listing, gathered) = (Arc::clone(&views), Arc::clone(&listing), Arc::clone(&gathered));
            tokio::task::spawn_blocking(move || match views.get(number) {
                Some(view) => list(view, &views, &names, tenant, &listing, &gathered),
                None => Ok(List::default()),
            })
        };
        let tasks: Vec<_> = (0..views.len()).map(of_partition).collect();
        let mut all = List::default();
        for task in tasks {
            let list = task.await.map_err(|error| not_finished(&error))?.map_err(|error| not_collected(&error))?;
            all.facts.extend(list.facts);
            all.total += list.total;
        }
        all.facts.sort_unstable_by_key(|fact| fact.place);
        all.facts.truncate(listing.most);
        Ok(all)
    }

    /// A moment that was pinned, or the present, which has no number.
    async fn moment(&self, number: u64) -> Result<(u64, Arc<Moment>), Fault> {
        match number {
            0 => Ok((0, Arc::new(self.present().await?))),
            number => Ok((number, self.pinned.get(number)?)),
        }
    }

    /// The partitions as they are now: everything acknowledged before is counted.
    async fn present(&self) -> Result<Moment, Fault> {
        let asked_at = now();
        let positions = self.catch_up().await?;
        let followed = self.aggregation.followed.get().map_or(&[][..], |followed| &followed.partitions);
        let views = followed.iter().map(|partition| partition.reader.view()).collect();
        Ok(Moment { views, positions, asked_at })
    }
}

/// From how many rows on they are merged where nobody else waits.
const MANY_ROWS: usize = 500;
/// From how many intervals on plans are parted where nobody else waits.
const MANY_INTERVALS: usize = 5_000;
/// What nobody has read for so long makes way where there is no room.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// From how many tenants on looking at each takes long.
const MANY_TENANTS: usize = 100;
/// What a question of one tenant may read where others wait for the thread, in bytes: mostly a fifth of a millisecond's work, at most three times that.
const LITTLE: u64 = 64 << 10;

/// What every plan comes to, where that can be said without reading much or from a disk.
fn little<T>(
    views: &[View],
    names: &Arc<Names>,
    tenants: &[Symbol],
    plans: &Arc<[Plan]>,
    then: impl Fn(usize, Vec<Row>) -> T,
) -> Option<Result<Vec<Share<T>>, NotCollected>> {
    // Levels cost something for each interval, too.
    if tenants.len() > 1 || plans.iter().any(|plan| plan.cut.buckets().len() > MANY_ROWS) {
        return None;
    }
    let effort = Arc::new(Effort::in_memory(LITTLE));
    let views: Vec<View> = views.iter().map(|view| view.within(&effort)).collect();
    let work = Work::begin(views, Arc::clone(names), tenants.to_vec(), Arc::clone(plans), 1);
    let collected = work.and_then(|work| work.share(0, then));
    (!effort.is_spent()).then_some(collected)
}

/// What was made of all rows of a plan, and how many these are.
struct Made<T> {
    parts: Vec<T>,
    rows: usize,
}

impl<T: Send + 'static> Made<T> {
    /// Puts together what shares of some plans came to. As many threads as collected rows make something of those that are left, of which those that
    /// may be in common are merged first.
    async fn of_all(
        shares: Vec<Vec<Share<T>>>,
        then: Arc<impl Fn(usize, Vec<Row>) -> T + Send + Sync + 'static>,
        threads: usize,
    ) -> Result<Vec<Self>, Fault> {
        let mut of_plans: Vec<Share<T>> = Vec::new();
        for (plan, share) in shares.into_iter().flat_map(|shares| shares.into_iter().enumerate()) {
            of_plans.resize_with(of_plans.len().max(plan + 1), Share::default);
            let all = &mut of_plans[plan];
            all.made.extend(share.made);
            all.count += share.count;
            all.apart.extend(share.apart);
            all.common.extend(share.common);
        }
        let mut all = Vec::with_capacity(of_plans.len());
        for (plan, Share { made: mut parts, count, mut apart, common }) in of_plans.into_iter().enumerate() {
            let are_many = |lists: &[Vec<Row>]| lists.iter().map(Vec::len).sum::<usize>() > MANY_ROWS;
            if !common.is_empty() {
                let mut merged = if are_many(&common) { on_a_thread(|| merged(common)).await? } else { merged(common) };
                let each = merged.len().div_ceil(threads).max(MANY_ROWS);
                while merged.len() > each {
                    apart.push(merged.split_off(merged.len() - each));
                }
                apart.push(merged);
            }
            let rows = count + apart.iter().map(Vec::len).sum::<usize>();
            if are_many(&apart) {
                let mut shares: Vec<Vec<Vec<Row>>> = (0..threads).map(|_| Vec::new()).collect();
                for (number, list) in apart.into_iter().enumerate() {
                    shares[number % threads].push(list);
                }
                let made = shares.into_iter().map(|share| {
                    let then = Arc::clone(&then);
                    on_a_thread(move || share.into_iter().map(|rows| then(plan, rows)).collect::<Vec<T>>())
                });
                parts.extend(try_join_all(made).await?.into_iter().flatten());
            } else {
                parts.extend(apart.into_iter().map(|rows| then(plan, rows)));
            }
            all.push(Self { parts, rows });
        }
        Ok(all)
    }
}

/// Rows of several lists in one, each once.
fn merged(lists: Vec<Vec<Row>>) -> Vec<Row> {
    let mut lists = lists.into_iter();
    let first = lists.next().unwrap_or_default();
    if lists.as_slice().iter().all(Vec::is_empty) {
        return first;
    }
    let mut rows: Rows = first.into_iter().collect();
    lists.for_each(|list| merge(&mut rows, list));
    rows.into_iter().collect()
}

/// Works something out where it holds nobody up.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| not_finished(&error))
}

/// How often a watch looks for changes.
const LOOK: Duration = Duration::from_millis(50);
/// The most facts listed at once.
const LISTED: usize = 1_000;
/// The most collections of a request.
const COLLECTIONS: usize = 100;
/// The most rows of all collections of a request but the last one.
const TOGETHER: usize = 10 * MAX_ROWS;
/// How long all collections of a request may take: callers wait a little longer.
const COLLECT_PATIENCE: Duration = Duration::from_secs(28);
/// The most plans of a collection.
const PLANS: usize = 16;

fn check_number(field: &'static str, number: usize, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    let message = format!("{field} has {number} entries, it must have 1 to {most}");
    Err(Fault::in_field(Reason::FieldInvalid, field, message))
}

/// Calls a question off when its caller does not wait any more.
struct CalledOff(Arc<Effort>);

impl Drop for CalledOff {
    fn drop(&mut self) {
        self.0.call_off();
    }
}

fn too_many_together() -> Fault {
    let message = format!("the questions before this one have {TOGETHER} rows and more to work out: ask fewer at once");
    Fault::new(Reason::TooManyRows, message)
}

fn not_in_time() -> Fault {
    let message =
        format!("the question, or those before it, took longer than {} s: ask for less", COLLECT_PATIENCE.as_secs());
    Fault::new(Reason::TooMuchToRead, message)
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
        NotCollected::TooMuchToRead => Reason::TooMuchToRead,
        NotCollected::CalledOff => Reason::CalledOff,
        NotCollected::Unreadable(_) => Reason::Internal,
    };
    Fault::new(reason, error.to_string())
}

#[tonic::async_trait]
impl AggregationService for AggregationApi {
    async fn collect(&self, request: Request<CollectRequest>) -> Result<Response<CollectResponse>, Status> {
        let CollectRequest { moment, collections } = request.into_inner();
        check_number("collections", collections.len(), COLLECTIONS)?;
        let collections = collections.into_iter().map(collection).collect::<Result<_, _>>()?;
        let encoded = |_, _, rows: Vec<Row>| rows.into_iter().map(partial_row).collect::<Vec<PartialRow>>();
        let Collected { positions, made, moment, asked_at } =
            AggregationApi::collect(self, collections, moment, Arc::new(encoded)).await?;
        Ok(Response::new(CollectResponse {
            positions,
            collected: made.into_iter().map(collected).collect(),
            moment,
            asked_at_ms: asked_at.millis(),
        }))
    }

    async fn list_subjects(
        &self,
        request: Request<ListSubjectsRequest>,
    ) -> Result<Response<ListSubjectsResponse>, Status> {
        let request = request.into_inner();
        let Some(plan) = request.plan.as_ref().map(plan).transpose()? else {
            return Err(Fault::in_field(Reason::FieldRequired, "plan", "plan is required").into());
        };
        let most = usize::try_from(request.limit).unwrap_or(usize::MAX);
        if !(1..=LISTED).contains(&most) {
            let message = format!("limit is {most}, it must be from 1 to {LISTED}");
            return Err(Fault::in_field(Reason::FieldInvalid, "limit", message).into());
        }
        let after = request.after.map(|at| Place {
            first: at.first,
            second: at.second,
            partition: at.partition,
            subject: at.subject,
            series: at.series,
            nth: at.nth,
        });
        let (by_time, descending) = (request.by_time, request.descending);
        let listing = Listing { plan, by_time, descending, after, most };
        let (number, moment) = self.moment(request.moment).await?;
        let mut list = self.list(&moment, &request.tenant, listing).await?;
        let is_more = list.facts.len() > most;
        list.facts.truncate(most);
        let number = match number {
            0 if is_more => self.pinned.pin(Arc::clone(&moment)),
            pinned if is_more => pinned,
            pinned => self.pinned.let_go(pinned),
        };
        Ok(Response::new(ListSubjectsResponse {
            figures: list.facts.into_iter().map(listed).collect(),
            total: list.total,
            moment: number,
            positions: moment.positions.clone(),
            asked_at_ms: moment.asked_at.millis(),
        }))
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.followed().await?;
        let interval = Duration::from_millis(request.min_interval_ms.into()).max(LOOK);
        let (tell, told) = mpsc::channel(1);
        let aggregation = self.aggregation.clone();
        tokio::spawn(async move {
            let mut seen: Option<Vec<u64>> = None;
            loop {
                let followed = aggregation.followed.get().map_or(&[][..], |followed| &followed.partitions);
                let views: Vec<View> = followed.iter().map(|partition| partition.reader.view()).collect();
                let tenant = aggregation.names.find_symbol(&request.tenant);
                let has_changed = |view: &View, seen: u64| match tenant {
                    _ if request.tenant == ALL_TENANTS => view.epoch() > seen,
                    Some(tenant) => view.last_change(tenant) > seen,
                    None => false,
                };
                let is_news = seen
                    .as_ref()
                    .is_none_or(|seen| views.iter().zip(seen).any(|(view, seen)| has_changed(view, *seen)));
                let pause = if is_news {
                    // What was published up to here is seen by whoever asks from now on.
                    seen = Some(views.iter().map(View::epoch).collect());
                    if tell.send(Ok(WatchResponse {})).await.is_err() {
                        return;
                    }
                    interval
                } else {
                    LOOK
                };
                drop(views);
                tokio::select! {
                    () = sleep(pause) => {}
                    () = tell.closed() => return,
                    () = aggregation.drain.streams_end() => {
                        let _ = tell.send(Err(Fault::new(Reason::Draining, "aggregation is going down").into())).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn configure(&self, request: Request<ConfigureRequest>) -> Result<Response<ConfigureResponse>, Status> {
        let mut log = self.aggregation.log.calls.clone();
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

fn collection(collection: v1::Collection) -> Result<Collection, Fault> {
    let v1::Collection { tenant, plans, pin_from_rows } = collection;
    check_number("plans", plans.len(), PLANS)?;
    let plans = plans.iter().map(plan).collect::<Result<_, _>>()?;
    Ok(Collection { tenant, plans, pin_from_rows })
}

fn partial_row(((group, bucket), partials): Row) -> PartialRow {
    PartialRow {
        group: group.iter().map(|value| GroupValue { value: value.as_deref().map(str::to_owned) }).collect(),
        bucket,
        partials: partials.iter().map(encode).collect(),
    }
}

fn collected(plans: Result<Vec<Vec<Vec<PartialRow>>>, Status>) -> v1::Collected {
    let plan = |rows: Vec<Vec<PartialRow>>| CollectedPlan { rows: rows.into_iter().flatten().collect() };
    match plans {
        Ok(plans) => v1::Collected { plans: plans.into_iter().map(plan).collect(), error: None },
        Err(status) => v1::Collected { plans: Vec::new(), error: Some(fault::in_band(&status)) },
    }
}

fn plan(request: &CollectPlan) -> Result<Plan, Fault> {
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
    let only = request.only.as_ref().map(only);
    if only.is_some() && request.group_by.is_empty() {
        return Err(Fault::in_field(Reason::FieldInvalid, "only", "only certain groups need something to group by"));
    }
    let rows_a_group = usize::try_from(request.rows_a_group).unwrap_or(usize::MAX);
    Ok(Plan { parts, filter, group_by, only, cut, now: Timestamp::clamped(request.now_ms), rows_a_group })
}

fn only(selection: &v1::GroupSelection) -> Only {
    let group = |key: &v1::GroupKey| key.values.iter().map(|value| value.value.as_deref().map(Arc::from)).collect();
    Only { groups: selection.groups.iter().map(group).collect(), others: selection.others }
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

fn listed(fact: Listed) -> SubjectFigure {
    let Place { first, second, partition, subject, series, nth } = fact.place;
    SubjectFigure {
        place: Some(ListPlace { first, second, partition, subject, series, nth }),
        subject: fact.subject.to_string(),
        conversation: fact.conversation.as_deref().unwrap_or_default().to_owned(),
        at_ms: fact.at_ms,
        value: fact.value,
        start_ms: fact.start_ms,
        deadline_ms: fact.deadline_ms,
        dimensions: fact.dimensions.into_iter().collect(),
        tags: fact.tags,
        measure: fact.measure.name().to_owned(),
    }
}

/// A partial figure as it travels.
#[must_use]
pub fn encode(partial: &Partial) -> v1::Partial {
    let (mut last, mut histogram) = (0, Vec::new());
    for (bucket, count) in partial.distribution.filled_buckets() {
        encode_varint(u64::from(bucket - last), &mut histogram);
        encode_varint(count, &mut histogram);
        last = bucket;
    }
    let (sum_high, sum) = halves(partial.distribution.sum());
    let More { at_most, oldest, distinct, next } = partial.more();
    v1::Partial {
        count: partial.count,
        sum,
        sum_high,
        min: partial.distribution.min(),
        max: partial.distribution.max(),
        at_most: at_most.clone(),
        histogram,
        oldest: oldest.as_deref().unwrap_or_default().to_owned(),
        distinct: distinct.iter().copied().collect(),
        next: next
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
