//! `QueryService`.

use std::time::{Duration, SystemTime};

use deskpulse_core::interval::TimePart;
use deskpulse_core::kpi::{Basis, CATALOGUE};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::Reason;
use deskpulse_edge::server::{Drain, MAX_MESSAGE};
use deskpulse_edge::upstream::{Upstream, answered};
use deskpulse_proto::v1::aggregation_service_client::AggregationServiceClient;
use deskpulse_proto::v1::query_service_server::{QueryService, QueryServiceServer};
use deskpulse_proto::v1::{
    self, CollectPlan, CollectRequest, CollectResponse, ListConversationsRequest, ListConversationsResponse,
    ListMetricsRequest, ListMetricsResponse, ListSubjectsRequest, ListSubjectsResponse, Metric, MetricVariant,
    QueryMetricsRequest, QueryMetricsResponse, ReadConfigRequest, WatchAlertsRequest, WatchMetricsRequest,
    WatchRequest, WatchResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::alerts::{self, Alerts};
use crate::answer::{answer, top, unit};
use crate::conversations::Wanted;
use crate::question::{Page, Question, Sheets};
use crate::watch::{Answers, Watches};

/// How long aggregation may take, catching up with the log included.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gRPC side of queries.
#[derive(Debug)]
pub struct QueryApi {
    asker: Asker,
    watches: Watches,
    drain: Drain,
}

/// Answers questions, asking aggregation.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    aggregation: AggregationServiceClient<Upstream>,
}

impl QueryApi {
    /// The service, with its limits and compressions set, asking `aggregation`; its watches end when `drain` says so.
    #[must_use]
    pub fn server(aggregation: Upstream, drain: Drain) -> QueryServiceServer<Self> {
        let aggregation = AggregationServiceClient::new(aggregation).max_decoding_message_size(4 * MAX_MESSAGE);
        let asker = Asker { aggregation };
        QueryServiceServer::new(Self { asker, watches: Watches::default(), drain })
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
    pub(crate) async fn answer(&self, mut request: QueryMetricsRequest) -> Result<QueryMetricsResponse, Status> {
        let page = Page::parse(&request)?;
        request.time_zone = self.time_zone(&request, &page).await?;
        let now = page.after.as_ref().map_or_else(now, |after| after.now);
        let question = Question::parse(request, page, now)?;
        let mut moment = question.page.after.as_ref().map_or(0, |after| after.moment);
        let mut only = None;
        if let Some(ranking) = &question.ranking {
            let plans = vec![question.plan(ranking, None)];
            let collected = self.collect(&question, moment, plans, Some(0)).await?;
            moment = collected.moment;
            let ranked = collected.plans.into_iter().next().unwrap_or_default();
            only = Some(top(&question, ranking, ranked)?);
        }
        let sheets = question.sheets.iter().chain(question.earlier.iter().flat_map(Sheets::iter));
        let plans = sheets.map(|sheet| question.plan(sheet, only.as_deref())).collect();
        let more_rows = question.page.size.map(|size| u32::try_from(size + 1).unwrap_or(u32::MAX));
        let pin_from_rows = if question.page.after.is_some() { Some(0) } else { more_rows };
        let collected = self.collect(&question, moment, plans, pin_from_rows).await?;
        Ok(answer(&question, collected)?)
    }

    async fn collect(
        &self,
        question: &Question,
        moment: u64,
        plans: Vec<CollectPlan>,
        pin_from_rows: Option<u32>,
    ) -> Result<CollectResponse, Status> {
        let request = CollectRequest { tenant: question.tenant.clone(), plans, moment, pin_from_rows };
        from_aggregation(self.aggregation.clone().collect(request)).await
    }

    /// The time zone a question means: that of its first page, its own, else the tenant's.
    async fn time_zone(&self, request: &QueryMetricsRequest, page: &Page) -> Result<String, Status> {
        if let Some(after) = &page.after {
            return Ok(after.time_zone.clone());
        }
        let cuts_time = !request.interval.is_empty()
            || !request.compare_to.is_empty()
            || request.group_by.iter().any(|name| TimePart::parse(name).is_some());
        if !request.time_zone.is_empty() || !cuts_time || request.tenant == ALL_TENANTS {
            return Ok(request.time_zone.clone());
        }
        let read = ReadConfigRequest { tenant: request.tenant.clone() };
        let config = from_aggregation(self.aggregation.clone().read_config(read)).await?;
        Ok(config.settings.map(|settings| settings.time_zone).unwrap_or_default())
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
