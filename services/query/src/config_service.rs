//! `ConfigService`: checks what is set and what is asked; aggregation writes and reads it.

mod check;
mod page;

use deskpulse_edge::server::MAX_MESSAGE;
use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::aggregation_service_client::AggregationServiceClient;
use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::config_service_server::{ConfigService, ConfigServiceServer};
use deskpulse_proto::v1::{
    Calendar, ConfigChange, ConfigureRequest, GetTenantRequest, GetTenantResponse, ListCalendarsRequest,
    ListCalendarsResponse, ListSlaPoliciesRequest, ListSlaPoliciesResponse, ReadConfigRequest, ReadConfigResponse,
    SetCalendarRequest, SetCalendarResponse, SetSlaPolicyRequest, SetSlaPolicyResponse, SetTenantRequest,
    SetTenantResponse, SlaPolicy, Tenant,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::query_service::from_aggregation;
use page::page;

/// The gRPC side of configuration.
#[derive(Debug)]
pub struct ConfigApi {
    aggregation: AggregationServiceClient<Upstream>,
}

/// A version of something that a tenant has several of.
trait Version {
    /// The id of what it is a version of.
    fn id(&self) -> &str;

    /// From when on it holds, in milliseconds since 1970.
    fn effective_from_ms(&self) -> i64;

    /// Versions are listed by id and time; there is one for each.
    fn key(&self) -> (&str, i64) {
        (self.id(), self.effective_from_ms())
    }
}

impl Version for Calendar {
    fn id(&self) -> &str {
        &self.calendar
    }

    fn effective_from_ms(&self) -> i64 {
        check::kept_ms(self.effective_from.as_ref())
    }
}

impl Version for SlaPolicy {
    fn id(&self) -> &str {
        &self.policy
    }

    fn effective_from_ms(&self) -> i64 {
        check::kept_ms(self.effective_from.as_ref())
    }
}

impl ConfigApi {
    /// The service, with its limits and compressions set, keeping everything in `aggregation`.
    #[must_use]
    pub fn server(aggregation: Upstream) -> ConfigServiceServer<Self> {
        let aggregation = AggregationServiceClient::new(aggregation).max_decoding_message_size(4 * MAX_MESSAGE);
        ConfigServiceServer::new(Self { aggregation })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(4 * MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    /// A tenant's configuration: every change acknowledged before.
    async fn read(&self, tenant: &str) -> Result<ReadConfigResponse, Status> {
        let request = ReadConfigRequest { tenant: tenant.to_owned() };
        from_aggregation(self.aggregation.clone().read_config(request)).await
    }

    /// Writes a change that was checked; it is durable and applied afterwards.
    async fn write(&self, tenant: String, change: Change) -> Result<(), Status> {
        let request = ConfigureRequest { change: Some(ConfigChange { tenant, change: Some(change) }) };
        from_aggregation(self.aggregation.clone().configure(request)).await.map(drop)
    }
}

#[tonic::async_trait]
impl ConfigService for ConfigApi {
    async fn set_tenant(&self, request: Request<SetTenantRequest>) -> Result<Response<SetTenantResponse>, Status> {
        let settings = check::settings(request.into_inner().tenant)?;
        let kept = self.read(&settings.tenant).await?;
        check::calendars_exist(&settings, &kept.calendars)?;
        self.write(settings.tenant.clone(), Change::Settings(settings.clone())).await?;
        Ok(Response::new(SetTenantResponse { tenant: Some(settings) }))
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        let tenant = request.into_inner().tenant;
        check::tenant("tenant", &tenant)?;
        let settings = self.read(&tenant).await?.settings.unwrap_or_default();
        Ok(Response::new(GetTenantResponse { tenant: Some(Tenant { tenant, ..settings }) }))
    }

    async fn set_calendar(
        &self,
        request: Request<SetCalendarRequest>,
    ) -> Result<Response<SetCalendarResponse>, Status> {
        let SetCalendarRequest { tenant, calendar } = request.into_inner();
        check::tenant("tenant", &tenant)?;
        let calendar = check::calendar(calendar)?;
        let kept = self.read(&tenant).await?;
        check::room("calendar", "calendar.calendar", &kept.calendars, &calendar)?;
        check::room_for_entries(&kept.calendars, &calendar)?;
        self.write(tenant, Change::Calendar(calendar.clone())).await?;
        Ok(Response::new(SetCalendarResponse { calendar: Some(calendar) }))
    }

    async fn list_calendars(
        &self,
        request: Request<ListCalendarsRequest>,
    ) -> Result<Response<ListCalendarsResponse>, Status> {
        let ListCalendarsRequest { tenant, page_size, page_token } = request.into_inner();
        check::tenant("tenant", &tenant)?;
        let page = page(page_size, &page_token)?;
        let (calendars, next_page_token) = page.of(self.read(&tenant).await?.calendars);
        Ok(Response::new(ListCalendarsResponse { calendars, next_page_token }))
    }

    async fn set_sla_policy(
        &self,
        request: Request<SetSlaPolicyRequest>,
    ) -> Result<Response<SetSlaPolicyResponse>, Status> {
        let SetSlaPolicyRequest { tenant, policy } = request.into_inner();
        check::tenant("tenant", &tenant)?;
        let policy = check::policy(policy)?;
        let kept = self.read(&tenant).await?;
        check::room("policy", "policy.policy", &kept.sla_policies, &policy)?;
        self.write(tenant, Change::SlaPolicy(policy.clone())).await?;
        Ok(Response::new(SetSlaPolicyResponse { policy: Some(policy) }))
    }

    async fn list_sla_policies(
        &self,
        request: Request<ListSlaPoliciesRequest>,
    ) -> Result<Response<ListSlaPoliciesResponse>, Status> {
        let ListSlaPoliciesRequest { tenant, page_size, page_token } = request.into_inner();
        check::tenant("tenant", &tenant)?;
        let page = page(page_size, &page_token)?;
        let (policies, next_page_token) = page.of(self.read(&tenant).await?.sla_policies);
        Ok(Response::new(ListSlaPoliciesResponse { policies, next_page_token }))
    }
}
