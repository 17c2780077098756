//! `ConfigService`: not implemented yet, and says so.

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::config_service_server::{ConfigService, ConfigServiceServer};
use deskpulse_proto::v1::{
    GetTenantRequest, GetTenantResponse, ListCalendarsRequest, ListCalendarsResponse, ListSlaPoliciesRequest,
    ListSlaPoliciesResponse, SetCalendarRequest, SetCalendarResponse, SetSlaPolicyRequest, SetSlaPolicyResponse,
    SetTenantRequest, SetTenantResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

/// The gRPC side of configuration.
#[derive(Debug)]
pub struct ConfigApi;

impl ConfigApi {
    /// The service.
    #[must_use]
    pub fn server() -> ConfigServiceServer<Self> {
        ConfigServiceServer::new(Self)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
    }
}

fn not_implemented<T>() -> Result<Response<T>, Status> {
    Err(Fault::new(Reason::NotImplemented, "this version keeps no configuration yet").into())
}

#[tonic::async_trait]
impl ConfigService for ConfigApi {
    async fn set_tenant(&self, _: Request<SetTenantRequest>) -> Result<Response<SetTenantResponse>, Status> {
        not_implemented()
    }

    async fn get_tenant(&self, _: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        not_implemented()
    }

    async fn set_calendar(&self, _: Request<SetCalendarRequest>) -> Result<Response<SetCalendarResponse>, Status> {
        not_implemented()
    }

    async fn list_calendars(
        &self,
        _: Request<ListCalendarsRequest>,
    ) -> Result<Response<ListCalendarsResponse>, Status> {
        not_implemented()
    }

    async fn set_sla_policy(&self, _: Request<SetSlaPolicyRequest>) -> Result<Response<SetSlaPolicyResponse>, Status> {
        not_implemented()
    }

    async fn list_sla_policies(
        &self,
        _: Request<ListSlaPoliciesRequest>,
    ) -> Result<Response<ListSlaPoliciesResponse>, Status> {
        not_implemented()
    }
}
