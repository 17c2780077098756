//! `GET /api/v1/query` and `/api/v1/watch`: a question in the words of the command line.

use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::{
    Basis, Clock, GetTenantRequest, GetTenantResponse, QueryMetricsRequest, QueryMetricsResponse, WatchMetricsRequest,
};
use deskpulse_text::{Failure, ask, json::message, sheet};
use http::request::Parts;
use http::{Response, StatusCode, header};
use jiff::{Timestamp, tz::TimeZone};
use prost::Message;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};
use tonic::Status;
use tonic::body::Body;

use crate::call::{self, call};
use crate::openapi::{EVERY, PARAMETERS};
use crate::{connect, events, header_text, text};

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Rows as flat objects.
    Json,
    Csv,
}

/// Answers a question as JSON or CSV.
pub(crate) async fn query(request: &Parts, grpc: Upstream) -> Response<Body> {
    answered(request, grpc).await.unwrap_or_else(|status| connect::refusal(&status))
}

async fn answered(request: &Parts, grpc: Upstream) -> Result<Response<Body>, Status> {
    let (question, format) = question(request, "format", &grpc).await?;
    let answer: QueryMetricsResponse = unary("/deskpulse.v1.QueryService/QueryMetrics", &question, grpc).await?;
    let internal = |error: String| Status::from(Fault::new(Reason::Internal, error));
    let csv = sheet::csv(&answer, &question.group_by).map_err(|error| internal(error.to_string()))?;
    Ok(match format {
        Format::Csv => text(StatusCode::OK, "text/csv; charset=utf-8", csv),
        Format::Json => {
            let rows = flat(&csv).map_err(|error| internal(error.to_string()))?;
            let complete = answer.freshness.and_then(|freshness| freshness.complete_until);
            let body = json!({
                "rows": rows,
                "totalRows": answer.total_rows,
                "completeUntil": sheet::instant(complete.as_ref()),
            });
            text(StatusCode::OK, "application/json", body.to_string())
        }
    })
}

/// Calls a method of the contract that answers once.
async fn unary<A: Message + Default>(path: &str, request: &impl Message, grpc: Upstream) -> Result<A, Status> {
    let internal = |error: String| Status::from(Fault::new(Reason::Internal, error));
    let method = call::method(path).ok_or_else(|| internal(format!("the contract has no {path}")))?;
    let mut asked = DynamicMessage::new(method.input());
    asked.transcode_from(request).map_err(|error| internal(error.to_string()))?;
    let mut answer = call(&method, &asked, grpc).await?;
    let first = answer.next().await?;
    answer.next().await?;
    let answer = first.and_then(|first| first.transcode_to().ok());
    answer.ok_or_else(|| internal("the method ended without an answer".to_owned()))
}

/// The same figures as the CSV has, an object a line: numbers as numbers, what is empty left out.
fn flat(csv: &str) -> Result<Vec<Value>, csv::Error> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers()?.clone();
    // Ids and names stay texts, though they may look like numbers; so do the groups, which come first.
    let groups = header.iter().position(|name| name == "interval_start").unwrap_or(0);
    let texts = ["metric", "basis", "unit", "conversation", "clock", "variant", "row", "histogram"];
    let object = |record: csv::StringRecord| {
        let fields = header.iter().zip(&record).enumerate().filter(|(_, (_, text))| !text.is_empty());
        let value = |place: usize, name: &str, text: &str| match text.parse::<f64>() {
            Ok(_) if place >= groups && !texts.contains(&name) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
            _ if matches!(text, "true" | "false") && name == "provisional" => Value::from(text == "true"),
            _ => Value::from(text),
        };
        let fields = fields.map(|(place, (name, text))| (name.to_owned(), value(place, name, text)));
        Value::Object(fields.collect::<Map<_, _>>())
    };
    reader.records().map(|record| record.map(object)).collect()
}

/// Answers a question as events, now and whenever the answer has changed.
pub(crate) async fn watch(request: &Parts, grpc: Upstream) -> Response<Body> {
    watched(request, grpc).await.unwrap_or_else(|status| connect::refusal(&status))
}

async fn watched(request: &Parts, grpc: Upstream) -> Result<Response<Body>, Status> {
    let (question, _) = question(request, EVERY.0, &grpc).await?;
    let every = parameters(request).find(|(name, _)| name == EVERY.0).map(|(_, text)| text);
    let every = every.map(|text| ask::duration(&text).ok_or_else(|| malformed(EVERY.0, &text, "a length such as 1s")));
    let every = every.transpose()?;
    let watch = WatchMetricsRequest {
        query: Some(question),
        min_interval: every,
        resume_token: header_text(&request.headers, "last-event-id").to_owned(),
    };
    let method = call::method("/deskpulse.v1.QueryService/WatchMetrics");
    let method =
        method.ok_or_else(|| Status::from(Fault::new(Reason::Internal, "the contract has no WatchMetrics")))?;
    let mut asked = DynamicMessage::new(message("deskpulse.v1.WatchMetricsRequest"));
    asked.transcode_from(&watch).map_err(|error| Fault::new(Reason::Internal, error.to_string()))?;
    events::stream(&method, &asked, grpc).await
}

/// The name of a tenant's zone; empty where none is set.
async fn zone_of(tenant: &str, grpc: &Upstream) -> Result<String, Status> {
    let request = GetTenantRequest { tenant: tenant.to_owned() };
    let settings: GetTenantResponse = unary("/deskpulse.v1.ConfigService/GetTenant", &request, grpc.clone()).await?;
    Ok(settings.tenant.unwrap_or_default().time_zone)
}

fn parameters(request: &Parts) -> impl Iterator<Item = (String, String)> {
    let query = request.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

fn malformed(name: &str, text: &str, wanted: &str) -> Status {
    Fault::in_field(Reason::FieldInvalid, name, format!("{name} is {text:?}: give {wanted}")).into()
}

fn unreadable(name: &str, failure: &Failure) -> Status {
    Fault::in_field(Reason::FieldInvalid, name, format!("{name}: {failure}: {}", failure.hint())).into()
}

/// The question that a request's parameters ask; `own` is the parameter that is none of a question's.
async fn question(request: &Parts, own: &str, grpc: &Upstream) -> Result<(QueryMetricsRequest, Format), Status> {
    let accepts_csv = header_text(&request.headers, header::ACCEPT).starts_with("text/csv");
    let mut format = if accepts_csv { Format::Csv } else { Format::Json };
    let mut question = QueryMetricsRequest::default();
    let (mut from, mut to) = (None, None);
    for (name, text) in parameters(request) {
        let number = || text.parse::<u32>().map_err(|_| malformed(&name, &text, "a whole number from 0 on"));
        let is_set = || match text.as_str() {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(malformed(&name, &text, "1 or true, 0 or false")),
        };
        match name.as_str() {
            "tenant" => question.tenant = text,
            "metric" => {
                question.metrics.push(ask::metric(&text).map_err(|failure| unreadable("metric", &failure))?);
            }
            "filter" => question.filter = text,
            "group_by" => question.group_by.extend(text.split(',').map(|name| name.trim().to_owned())),
            "from" => from = Some(text),
            "to" => to = Some(text),
            "last" => {
                let last = ask::duration(&text);
                question.last = Some(last.ok_or_else(|| malformed("last", &text, "a length such as 5m or 7d"))?);
            }
            "interval" => question.interval = text,
            "zone" => question.time_zone = text,
            "basis" => {
                let basis = Basis::from_str_name(&format!("BASIS_{}", text.to_uppercase().replace('-', "_")));
                question.basis = basis.ok_or_else(|| malformed("basis", &text, "event, cohort or as-of"))?.into();
            }
            "clock" => {
                let clock = Clock::from_str_name(&format!("CLOCK_{}", text.to_uppercase()));
                question.clock = clock.ok_or_else(|| malformed("clock", &text, "calendar or business"))?.into();
            }
            "order_by" => question.order_by = text,
            "limit" => question.limit = number()?,
            "top" => question.top = number()?,
            "others" => question.others = is_set()?,
            "totals" => question.totals = is_set()?,
            "fill_gaps" => question.fill_gaps = is_set()?,
            "compare_to" => question.compare_to = text,
            "format" if own == "format" => {
                format = match text.as_str() {
                    "json" => Format::Json,
                    "csv" => Format::Csv,
                    _ => return Err(malformed("format", &text, "json or csv")),
                }
            }
            name if name == own => {}
            unknown => {
                let known: Vec<&str> = PARAMETERS.iter().map(|(name, ..)| *name).chain([own]).collect();
                let message = format!("there is no parameter {unknown:?}: give {}", known.join(", "));
                return Err(Fault::in_field(Reason::FieldInvalid, unknown, message).into());
            }
        }
    }
    // Local times are those of the zone asked for; without one, of the tenant's, as intervals are.
    let has_times = from.is_some() || to.is_some();
    let zone = match question.time_zone.as_str() {
        "" if has_times && !matches!(question.tenant.as_str(), "" | "-") => zone_of(&question.tenant, grpc).await?,
        name => name.to_owned(),
    };
    let zone = match zone.as_str() {
        "" => TimeZone::UTC,
        name => ask::zone(name).map_err(|failure| unreadable("zone", &failure))?,
    };
    let now = Timestamp::now();
    let instant = |name: &str, text: Option<String>| {
        let read = |text: String| ask::instant(&text, &zone, now).map_err(|failure| unreadable(name, &failure));
        text.map(read).transpose()
    };
    question.start_time = instant("from", from)?.map(ask::wire_time);
    question.end_time = instant("to", to)?.map(ask::wire_time);
    Ok((question, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_csv_to_the_last_digit() {
        let numbers = [5.0 / 11.0, 0.1 + 0.2, 1.0 / 3.0, 1e15 + 0.3, 92.008_643_493_272_19];
        let lines: Vec<String> = numbers.iter().map(|number| format!("blue,2026-06-01T00:00:00Z,{number}")).collect();
        let csv = format!("team,interval_start,value\n{}\n", lines.join("\n"));
        let rows = flat(&csv).expect("it is CSV");
        let read: Vec<Option<f64>> = rows.iter().map(|row| row["value"].as_f64()).collect();
        assert_eq!(read, numbers.map(Some));
    }
}
