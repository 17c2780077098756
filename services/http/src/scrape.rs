//! `/metrics`: how the service does, and what its customers' figures are, as Prometheus reads it.

use std::time::Duration;

use deskpulse_edge::upstream::Upstream;
use deskpulse_proto::v1::{MetricSelection, QueryMetricsRequest, QueryMetricsResponse, Unit};
use http::{Response, StatusCode};
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};
use prost_reflect::DynamicMessage;
use tonic::Code;
use tonic::body::Body;

use crate::call::{self, call};
use crate::text;

/// The figures of all tenants together that are given, and which percentiles of them.
const FIGURES: [(&str, &[f64]); 7] = [
    ("conversations_opened", &[]),
    ("messages_received", &[]),
    ("resolutions", &[]),
    ("sla_breaches", &[]),
    ("backlog", &[]),
    ("unanswered_conversations", &[]),
    ("first_response_time", &[50.0, 90.0]),
];
/// The range of those that are no levels.
const LAST: prost_types::Duration = prost_types::Duration { seconds: 3_600, nanos: 0 };

/// What is counted of the service itself.
pub(crate) struct Scrape {
    registry: Registry,
    calls: IntCounterVec,
    seconds: HistogramVec,
    figures: GaugeVec,
    applied: GaugeVec,
    up: Gauge,
    answers: bool,
}

impl Scrape {
    /// Counts nothing yet; `services` are those that stand behind it.
    pub(crate) fn new(services: &[&str]) -> Self {
        let calls = Opts::new(
            "deskpulse_rpc_responses_total",
            "Calls answered, by what the first headers said; of streams, those begun.",
        );
        let seconds =
            HistogramOpts::new("deskpulse_rpc_response_seconds", "Time until the first headers of an answer.")
                .buckets(vec![0.0001, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]);
        let figures =
            Opts::new("deskpulse_kpi", "Figures of all tenants: of the last hour, or as of now; times in seconds.");
        let applied =
            Opts::new("deskpulse_applied_position", "The block of the log up to which a partition is counted.");
        let made = "names and labels are as Prometheus wants them";
        let scrape = Self {
            registry: Registry::new(),
            calls: IntCounterVec::new(calls, &["service", "method", "code"]).expect(made),
            seconds: HistogramVec::new(seconds, &["service", "method"]).expect(made),
            figures: GaugeVec::new(figures, &["metric", "figure"]).expect(made),
            applied: GaugeVec::new(applied, &["partition"]).expect(made),
            up: Gauge::new("deskpulse_answers", "Whether questions are answered: 1 or 0.").expect(made),
            answers: services.contains(&"deskpulse.v1.QueryService"),
        };
        let mut collectors: Vec<Box<dyn Collector>> =
            vec![Box::new(scrape.calls.clone()), Box::new(scrape.seconds.clone())];
        if scrape.answers {
            collectors.push(Box::new(scrape.figures.clone()));
            collectors.push(Box::new(scrape.applied.clone()));
            collectors.push(Box::new(scrape.up.clone()));
        }
        for collector in collectors {
            scrape.registry.register(collector).expect("each is registered once");
        }
        scrape
    }

    /// A call of a method was answered. Of methods that are not there no count is made: anybody may call anything.
    pub(crate) fn observe(&self, path: &str, code: Code, elapsed: Duration) {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else { return };
        if call::method(path).is_none() {
            return;
        }
        let code = format!("{code:?}");
        self.calls.with_label_values(&[service, method, &code]).inc();
        self.seconds.with_label_values(&[service, method]).observe(elapsed.as_secs_f64());
    }

    /// Everything there is to say now.
    pub(crate) async fn answer(&self, grpc: Upstream) -> Response<Body> {
        if self.answers {
            let answer = ask(grpc).await;
            self.up.set(if answer.is_some() { 1.0 } else { 0.0 });
            self.figures.reset();
            self.applied.reset();
            if let Some(answer) = answer {
                self.show(&answer);
            }
        }
        let mut written = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut written) {
            Ok(()) => text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", written),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string()),
        }
    }

    fn show(&self, answer: &QueryMetricsResponse) {
        for value in answer.rows.iter().flat_map(|row| &row.values) {
            let scale = if value.unit() == Unit::Milliseconds { 1e-3 } else { 1.0 };
            let set = |figure: &str, number: f64| {
                self.figures.with_label_values(&[value.metric.as_str(), figure]).set(number * scale);
            };
            // A count of nothing is 0; a mean of nothing is not there.
            let is_count = value.unit() == Unit::Count;
            value.value.or(is_count.then_some(0.0)).into_iter().for_each(|number| set("value", number));
            value.percentiles.iter().for_each(|it| set(&format!("p{}", it.percentile), it.value));
        }
        for position in answer.freshness.iter().flat_map(|freshness| &freshness.positions) {
            let partition = position.partition.to_string();
            self.applied.with_label_values(&[partition.as_str()]).set(position.position as f64);
        }
    }
}

/// The figures of all tenants; `None` when there is no answer.
async fn ask(grpc: Upstream) -> Option<QueryMetricsResponse> {
    let metric = |(name, percentiles): &(&str, &[f64])| MetricSelection {
        name: (*name).to_owned(),
        percentiles: percentiles.to_vec(),
        ..MetricSelection::default()
    };
    let question = QueryMetricsRequest {
        tenant: "-".to_owned(),
        metrics: FIGURES.iter().map(metric).collect(),
        last: Some(LAST),
        ..QueryMetricsRequest::default()
    };
    let method = call::method("/deskpulse.v1.QueryService/QueryMetrics")?;
    let mut asked = DynamicMessage::new(method.input());
    asked.transcode_from(&question).ok()?;
    call(&method, &asked, grpc).await.ok()?.next().await.ok()??.transcode_to().ok()
}
