//! `QueryService`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deskpulse_core::interval::TimePart;
use deskpulse_core::kpi::{Basis, CATALOGUE};
use deskpulse_core::snapshot::{Collected, Collection, MAX_ROWS, Only, Row};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{self, Fault, Reason};
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_edge::upstream::{Upstream, answered};
use deskpulse_proto::raw::query_service_server::{QueryService, QueryServiceServer};
use deskpulse_proto::raw::{
    BatchQueryMetricsResponse, Outcome, QueryMetricsResponse, QueryOutcome, StreamQueryMetricsResponse,
};
use deskpulse_proto::v1::aggregation_service_client::AggregationServiceClient;
use deskpulse_proto::v1::{
    self, BatchQueryMetricsRequest, ListConversationsRequest, ListConversationsResponse, ListMetricsRequest,
    ListMetricsResponse, ListSubjectsRequest, ListSubjectsResponse, Metric, MetricVariant, PartitionPosition,
    QueryMetricsRequest, ReadConfigRequest, StreamQueryMetricsRequest, WatchAlertsRequest, WatchMetricsRequest,
    WatchRequest, WatchResponse,
};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tokio::runtime::Handle;
use tonic::codec::CompressionEncoding;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::alerts::{self, Alerts};
use crate::answer::{Moment, Piece, answer, top, unit, work_out};
use crate::conversations::Wanted;
use crate::question::{self, Page, Question, RowsWanted};
use crate::watch::{Answers, Watches};
use crate::wire;

/// How long aggregation may take, catching up with the log included.
const PATIENCE: Duration = Duration::from_secs(30);

/// From how many rows on an answer is worked out where nobody else waits.
const MANY_ROWS: usize = 500;
/// The same where they have been put on the wire.
const MANY_READY_ROWS: usize = 5_000;
/// The most questions of a batch.
const BATCH: usize = 100;
/// The most batches of a stream that are worked on at once.
const AT_ONCE: usize = 64;

/// The gRPC side of queries.
#[derive(Debug)]
pub struct QueryApi {
    asker: Asker,
    watches: Watches,
    drain: Drain,
}

/// Collects in this process, where nothing has to become a message: collections, the number of a moment, and what is to be made of their rows.
pub type Collect = dyn Fn(Vec<Collection>, u64, Arc<WorkOut>) -> Collecting + Send + Sync;
/// What that comes to.
pub type Collecting = Pin<Box<dyn Future<Output = Result<Collected<PartitionPosition, Piece, Status>, Status>> + Send>>;
/// Makes something of some rows of a plan of a collection, by their numbers: on the thread that collected them, which has them at hand.
pub type WorkOut = dyn Fn(usize, usize, Vec<Row>) -> Piece + Send + Sync;

/// Answers questions, asking aggregation.
#[derive(Clone)]
pub(crate) struct Asker {
    aggregation: AggregationServiceClient<Upstream>,
    here: Option<Arc<Collect>>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("is_here", &self.here.is_some()).finish_non_exhaustive()
    }
}

impl QueryApi {
    /// The service, with its limits and compressions set, asking `aggregation`, which may be `here`; its watches end when `drain` says so.
    ///
    /// Call within a tokio runtime, where watches are going to be evaluated.
    #[must_use]
    pub fn server(aggregation: Upstream, here: Option<Arc<Collect>>, drain: Drain) -> QueryServiceServer<Self> {
        let aggregation = AggregationServiceClient::new(aggregation).max_decoding_message_size(4 * MAX_MESSAGE);
        let asker = Asker { aggregation, here };
        QueryServiceServer::new(Self { asker, watches: Watches::new(Handle::current()), drain })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(4 * MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }
}

impl Asker {
    /// Tells when a tenant's figures may have changed.
    pub(crate) async fn changes(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
        from_aggregation(self.aggregation.clone().watch(request)).await
    }

    /// Lists what was counted.
    pub(crate) async fn list(&self, request: ListSubjectsRequest) -> Result<ListSubjectsResponse, Status> {
        from_aggregation(self.aggregation.clone().list_subjects(request)).await
    }

    /// Answers a question.
    pub(crate) async fn answer(&self, request: QueryMetricsRequest) -> Result<QueryMetricsResponse, Status> {
        let question = self.question(request, now(), &mut HashMap::new()).await?;
        self.of_one_moment(vec![question]).await.pop().expect("there is one for each question")
    }

    /// Answers questions, all of one moment but those that go on with a page, which are of their own.
    pub(crate) async fn answer_each(
        &self,
        requests: Vec<QueryMetricsRequest>,
    ) -> Vec<Result<QueryMetricsResponse, Status>> {
        let mut outcomes: Vec<_> = requests.iter().map(|_| None).collect();
        let (mut places, mut together) = (Vec::new(), Vec::new());
        let (now, mut zones, mut intervals) = (now(), HashMap::new(), 0);
        for (place, request) in requests.into_iter().enumerate() {
            let question = self.question(request, now, &mut zones).await.and_then(|question| {
                // Who is refused leaves room for those after it.
                let with_it = intervals + question.intervals();
                if with_it > MAX_ROWS {
                    return Err(too_much_together(&format!("{MAX_ROWS} intervals")).into());
                }
                intervals = with_it;
                Ok(question)
            });
            match question {
                Ok(question) if question.page.after.is_none() => {
                    places.push(place);
                    together.push(question);
                }
                Ok(question) => outcomes[place] = self.of_one_moment(vec![question]).await.pop(),
                Err(status) => outcomes[place] = Some(Err(status)),
            }
        }
        let answers = if together.is_empty() { Vec::new() } else { self.of_one_moment(together).await };
        places.into_iter().zip(answers).for_each(|(place, answer)| outcomes[place] = Some(answer));
        outcomes.into_iter().flatten().collect()
    }

    /// The same, with errors in the place of answers.
    async fn outcomes(&self, queries: Vec<QueryMetricsRequest>) -> Result<Vec<QueryOutcome>, Fault> {
        if queries.is_empty() {
            return Err(Fault::in_field(
                Reason::FieldRequired,
                "queries",
                "queries is required: ask at least one question",
            ));
        }
        question::check_count("queries", queries.len(), BATCH)?;
        let outcome = |answer: Result<QueryMetricsResponse, Status>| match answer {
            Ok(answer) => Outcome::Answer(answer.into()),
            Err(status) => Outcome::Error(fault::in_band(&status)),
        };
        let outcome = |answer| QueryOutcome { outcome: Some(outcome(answer)) };
        Ok(self.answer_each(queries).await.into_iter().map(outcome).collect())
    }

    /// Checks a question.
    async fn question(
        &self,
        mut request: QueryMetricsRequest,
        now: Timestamp,
        zones: &mut HashMap<String, String>,
    ) -> Result<Question, Status> {
        let page = Page::parse(&request)?;
        request.time_zone = self.time_zone(&request, &page, zones).await?;
        let now = page.after.as_ref().map_or(now, |after| after.now);
        Ok(Question::parse(request, page, now)?)
    }

    /// Answers questions of one moment: that of their page, or the present.
    async fn of_one_moment(&self, questions: Vec<Question>) -> Vec<Result<QueryMetricsResponse, Status>> {
        let asked = questions.len();
        let failed = |status: Status| vec![Err(status); asked];
        let after = questions.iter().find_map(|question| question.page.after.as_ref());
        let mut number = after.map_or(0, |after| after.moment);
        let questions: Arc<[Question]> = questions.into();
        let of = |numbers: Vec<usize>, work_out: fn(&Question, usize, Vec<Row>) -> Piece| {
            let questions = Arc::clone(&questions);
            Arc::new(move |collection: usize, plan, rows| work_out(&questions[numbers[collection]], plan, rows))
        };
        let (rankings, whose) = questions
            .iter()
            .zip(0..)
            .filter_map(|(question, number)| {
                let plan = question.plan(question.ranking.as_ref()?, None);
                Some((question.collection(vec![plan], Some(0)), number))
            })
            .unzip::<_, _, Vec<Collection>, Vec<usize>>();
        let mut ranked = Vec::new().into_iter();
        if !rankings.is_empty() {
            let work_out = of(whose, |question, _, rows| {
                let ranking = question.ranking.as_ref().expect("only these are collected");
                work_out(question, ranking, RowsWanted::First(question.top), rows)
            });
            match self.collect(rankings, number, work_out).await {
                Ok((moment, pieces)) => (number, ranked) = (moment.number, pieces.into_iter()),
                Err(status) => return failed(status),
            }
        }
        // Which groups come first, where only these are wanted.
        let many = count(ranked.as_slice()) > MANY_ROWS;
        let asked = Arc::clone(&questions);
        let worked_out = apart(many, move || {
            let only = asked.iter().map(|question| {
                let Some(ranking) = &question.ranking else { return Ok(None) };
                let pieces = ranked.next().expect("every ranking was collected")?;
                Ok(Some(top(question, ranking, pieces.into_iter().next().unwrap_or_default())?))
            });
            only.collect::<Vec<Result<Option<Only>, Status>>>()
        });
        let only = match worked_out.await {
            Ok(worked_out) => worked_out,
            Err(status) => return failed(status),
        };
        let (collections, whose) = questions
            .iter()
            .zip(&only)
            .zip(0..)
            .filter_map(|((question, only), number)| {
                let only = only.as_ref().ok()?;
                Some((question.collection(question.plans(only.as_ref()), question.pin_from_rows()), number))
            })
            .unzip::<_, _, Vec<Collection>, Vec<usize>>();
        if collections.is_empty() {
            return only.into_iter().filter_map(Result::err).map(Err).collect();
        }
        let work_out = of(whose, |question, plan, rows| {
            let (sheet, wanted) = question.sheet(plan);
            work_out(question, sheet, wanted, rows)
        });
        let (moment, pieces) = match self.collect(collections, number, work_out).await {
            Ok(collected) => collected,
            Err(status) => return failed(status),
        };
        let intervals = questions.iter().filter(|question| question.fill_gaps).map(Question::intervals).max();
        // Filled, each group has a row in each interval.
        let many = if intervals.is_none() && are_on_the_wire(&pieces) { MANY_READY_ROWS } else { MANY_ROWS };
        let many = count(&pieces).max(1).saturating_mul(intervals.unwrap_or(1).max(1)) > many;
        let mut pieces = pieces.into_iter();
        let answers = move || {
            let (mut rows_before, mut bytes_before) = (0, 0);
            let answers = questions.iter().zip(only).map(|(question, only)| {
                only?;
                let pieces = pieces.next().expect("what can be asked was collected")?;
                let (answer, rows) = answer(question, pieces, &moment)?;
                let (rows, bytes) = (rows_before + rows, bytes_before + answer.encoded_len());
                if rows_before > 0 && rows > MAX_ROWS {
                    return Err(too_much_together(&format!("{MAX_ROWS} rows")).into());
                }
                if bytes > MAX_ANSWER {
                    return Err(too_long(bytes).into());
                }
                (rows_before, bytes_before) = (rows, bytes);
                Ok(answer)
            });
            answers.collect()
        };
        apart(many, answers).await.unwrap_or_else(failed)
    }

    async fn collect(
        &self,
        collections: Vec<Collection>,
        moment: u64,
        work_out: Arc<WorkOut>,
    ) -> Result<(Moment, Vec<Result<Vec<Vec<Piece>>, Status>>), Status> {
        let Collected { positions, made, moment, asked_at } = if let Some(collect) = &self.here {
            from_aggregation(async { collect(collections, moment, work_out).await.map(Response::new) }).await?
        } else {
            let request = wire::request(&collections, moment);
            let collected = from_aggregation(self.aggregation.clone().collect(request)).await?;
            let many = wire::rows(&collected) > MANY_ROWS;
            apart(many, move || wire::collected(collected, &*work_out)).await?
        };
        Ok((Moment { number: moment, positions, asked_at }, made))
    }

    /// The time zone a question means: that of its first page, its own, else the tenant's, which may be known already.
    async fn time_zone(
        &self,
        request: &QueryMetricsRequest,
        page: &Page,
        zones: &mut HashMap<String, String>,
    ) -> Result<String, Status> {
        if let Some(after) = &page.after {
            return Ok(after.time_zone.clone());
        }
        let cuts_time = !request.interval.is_empty()
            || !request.compare_to.is_empty()
            || request.group_by.iter().any(|name| TimePart::parse(name).is_some());
        if !request.time_zone.is_empty() || !cuts_time || request.tenant == ALL_TENANTS {
            return Ok(request.time_zone.clone());
        }
        if let Some(known) = zones.get(&request.tenant) {
            return Ok(known.clone());
        }
        let read = ReadConfigRequest { tenant: request.tenant.clone() };
        let config = from_aggregation(self.aggregation.clone().read_config(read)).await?;
        let zone = config.settings.map(|settings| settings.time_zone).unwrap_or_default();
        zones.insert(request.tenant.clone(), zone.clone());
        Ok(zone)
    }
}

#[tonic::async_trait]
impl QueryService for QueryApi {
    async fn query_metrics(
        &self,
        request: Request<QueryMetricsRequest>,
    ) -> Result<Response<QueryMetricsResponse>, Status> {
        Ok(Response::new(self.asker.answer(request.into_inner()).await?))
    }

    async fn batch_query_metrics(
        &self,
        request: Request<BatchQueryMetricsRequest>,
    ) -> Result<Response<BatchQueryMetricsResponse>, Status> {
        let outcomes = self.asker.outcomes(request.into_inner().queries).await?;
        Ok(Response::new(BatchQueryMetricsResponse { outcomes }))
    }

    type StreamQueryMetricsStream = BoxStream<StreamQueryMetricsResponse>;

    async fn stream_query_metrics(
        &self,
        request: Request<Streaming<StreamQueryMetricsRequest>>,
    ) -> Result<Response<Self::StreamQueryMetricsStream>, Status> {
        let (asker, drain) = (self.asker.clone(), self.drain.clone());
        let batches = request.into_inner().take_until(async move { drain.streams_end().await });
        let answered = batches.map(move |batch| {
            let asker = asker.clone();
            async move {
                let StreamQueryMetricsRequest { sequence, queries } = batch?;
                Ok(StreamQueryMetricsResponse { sequence, outcomes: asker.outcomes(queries).await? })
            }
        });
        let drain = self.drain.clone();
        let end = stream::once(async move {
            drain
                .streams_ended()
                .then(|| Err(Fault::new(Reason::Draining, "the service is going down: go on elsewhere").into()))
        });
        let end = end.filter_map(std::future::ready);
        Ok(Response::new(Box::pin(answered.buffer_unordered(AT_ONCE).chain(end))))
    }

    async fn list_metrics(
        &self,
        _request: Request<ListMetricsRequest>,
    ) -> Result<Response<ListMetricsResponse>, Status> {
        let metrics = CATALOGUE
            .iter()
            .flat_map(|family| family.metrics.iter().map(move |metric| (family.name, metric)))
            .map(|(family, metric)| Metric {
                name: metric.name.to_owned(),
                family: family.to_owned(),
                unit: unit(metric.unit).into(),
                description: metric.description.to_owned(),
                formula: metric.formula.to_owned(),
                bases: metric.bases.iter().map(|(basis, _)| basis_on_the_wire(*basis).into()).collect(),
                credited_to: metric.credited_to.to_owned(),
                has_distribution: metric.has_distribution(),
                definition_source: metric.source.to_owned(),
                variants: metric
                    .variants
                    .iter()
                    .map(|variant| MetricVariant { name: variant.name.to_owned(), formula: variant.formula.to_owned() })
                    .collect(),
                has_business_clock: metric.has_business_clock(),
            })
            .collect();
        Ok(Response::new(ListMetricsResponse { metrics }))
    }

    type WatchMetricsStream = Answers;

    async fn watch_metrics(
        &self,
        request: Request<WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        Ok(Response::new(self.watches.watch(&self.asker, &self.drain, request.into_inner()).await?))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let wanted = Wanted::parse(request.into_inner(), now())?;
        let listed = self.asker.list(wanted.to_list.clone()).await?;
        Ok(Response::new(wanted.answer(listed)))
    }

    type WatchAlertsStream = Alerts;

    async fn watch_alerts(
        &self,
        request: Request<WatchAlertsRequest>,
    ) -> Result<Response<Self::WatchAlertsStream>, Status> {
        Ok(Response::new(alerts::watch(&self.asker, &self.drain, request.into_inner()).await?))
    }
}

/// Whether rows need only be put in order.
fn are_on_the_wire(worked_out: &[Result<Vec<Vec<Piece>>, Status>]) -> bool {
    worked_out.iter().flatten().flatten().flatten().all(Piece::is_on_the_wire)
}

/// How many rows were worked out.
fn count(worked_out: &[Result<Vec<Vec<Piece>>, Status>]) -> usize {
    worked_out.iter().flatten().flatten().flatten().map(Piece::count).sum()
}

/// Works something out: where there is much to do, on a thread of its own, so that it holds nobody up.
async fn apart<T: Send + 'static>(is_much: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    if !is_much {
        return Ok(work());
    }
    let ended = |error| Fault::new(Reason::Internal, format!("an answer was not worked out: {error}")).into();
    tokio::task::spawn_blocking(work).await.map_err(ended)
}

/// Why a question of a batch is not answered, though it might be alone.
fn too_much_together(what: &str) -> Fault {
    let message = format!("the questions of this batch up to this one have more than {what}: ask fewer at once");
    Fault::new(Reason::TooManyRows, message)
}

/// The most bytes of an answer, and of those of a batch together: a little is left for what is around them.
pub(crate) const MAX_ANSWER: usize = 4 * MAX_MESSAGE - (1 << 16);

/// Why an answer is not given that has so many bytes or more.
pub(crate) fn too_long(bytes: usize) -> Fault {
    let message = format!(
        "the answer, or those of the batch up to this one, has {bytes} bytes or more, the limit is {MAX_ANSWER}: ask for fewer rows, \
         metrics, percentiles or histograms at once, or for pages"
    );
    Fault::new(Reason::MessageTooLarge, message)
}

/// What aggregation answers.
pub(crate) async fn from_aggregation<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    answered("aggregation", PATIENCE, Reason::AggregationBehind, call).await
}

/// The wire's word for a basis.
pub(crate) fn basis_on_the_wire(basis: Basis) -> v1::Basis {
    match basis {
        Basis::Event => v1::Basis::Event,
        Basis::Cohort => v1::Basis::Cohort,
        Basis::AsOf => v1::Basis::AsOf,
    }
}

/// The clock on the wall.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
