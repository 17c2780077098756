//! `deskpulse query`: asks a question and prints the answer.

pub(crate) mod ask;
mod condition;
pub(crate) mod figures;
pub(crate) mod render;

use std::process::ExitCode;

use anyhow::Context as _;
use deskpulse_edge::upstream::connected;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{GetTenantRequest, QueryMetricsRequest, QueryMetricsResponse};
use jiff::{Timestamp, tz::TimeZone};
use tonic::transport::Channel;

use condition::Condition;

use crate::failure;
use crate::output::OutputFormat;
pub use deskpulse_text::json::answer as render_json;
pub use deskpulse_text::sheet::csv as render_csv;
pub use render::{TableStyle, render_table};

const EXAMPLES: &str = "\
Examples:
  deskpulse query conversations_opened --tenant demo
  deskpulse query first_response_time:p50,p90,p99 resolutions --tenant demo --group-by channel --from -7d
  deskpulse query 'first_resolution_time:<=24h' --tenant acme --filter 'priority = \"1 - Critical\"'
  deskpulse query conversations_opened --tenant acme --from 2016-03-01 --to 2016-04-01 --interval 1d \\
      --zone America/Sao_Paulo --output csv
  deskpulse query response_rate:within=1h --tenant acme --basis cohort --order-by=-value --limit 10 --group-by agent
  deskpulse query service_level:within=20s,variant=of_offered --tenant bank --group-by team --from -1d --interval 1h
  deskpulse query first_response_time:p90 resolution_time --tenant acme --clock business --from -30d
  deskpulse query messages_received --tenant acme --group-by topic --top 10 --others --order-by=-value --totals \\
      --from -7d --compare-to previous
  deskpulse query backlog --tenant acme --last 1h --fail-if 'p90 first_response_time > 1h' --fail-if 'sla_compliance < 95%'
  deskpulse query cost_total:currency=EUR cost_per_conversation:currency=EUR --tenant acme --group-by team

After a metric's name and a colon, separated by commas, where the metric knows them:
  p50, p99.9           percentiles
  <=20s, <=1h30m       shares of values up to a bound
  histogram            HdrHistogram's V2 encoding, in base64, with --output json or csv
  within=1h            response_rate: answered within; service_level: its bound, 20s unless given
  short=3s             abandons shorter than this are short, 5s unless given
  variant=of_offered   counted another way: `deskpulse metrics` lists the variants
  currency=EUR         costs of this currency
  feature=NAME         adoption_rate: use of this feature

A condition of --fail-if is a figure (p90, count, min, max, sum, or none for the value), a metric, one of > >= < <= = != and a
time (1h30m), a share (95%) or a number. Figures without samples hold no condition.

Times are RFC 3339 instants, local times or dates (2016-03-01, 2016-03-01T08:30), `now`, or a span before now (-7d,
-90m, -2w). The range is [from, to). Local times, intervals and the times in tables are those of one zone: --zone,
else the tenant's, else UTC. JSON and CSV hold instants in UTC.";

/// At which instant figures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BasisArg {
    /// When the measured thing completed
    Event,
    /// When the conversation or wait began
    Cohort,
    /// As of the end of each interval
    AsOf,
}

/// How durations are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClockArg {
    /// Elapsed time
    Calendar,
    /// Time inside business hours only
    Business,
}

/// Asks for metrics and prints them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct QueryCommand {
    /// The question.
    #[command(flatten)]
    pub query: QueryArgs,
    /// End with exit code 3 when this holds in any row, such as `p90 first_response_time > 1h`; may be given several times
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<String>,
}

/// A question.
#[derive(Clone, Debug, clap::Args)]
pub struct QueryArgs {
    /// Metrics, with options after a colon: `first_response_time:p50,p90,<=20s`
    #[arg(required = true, value_name = "METRIC")]
    pub metrics: Vec<String>,
    /// The tenant; `-` for all of them
    #[arg(long, env = "DESKPULSE_TENANT")]
    pub tenant: String,
    /// An AIP-160 filter over dimensions: `channel = "email" AND priority != "low"`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Dimensions to group by, separated by commas; also `tag`, `weekday`, `hour`, and those of single metrics such as
    /// `outcome`, `state`, `sla_target` or `currency`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// Start of the range, inclusive [default: the beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// In place of --from: the range begins so long before its end, as 5m or 7d
    #[arg(long, value_name = "LENGTH", conflicts_with = "from")]
    pub last: Option<String>,
    /// End of the range, exclusive [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Cut the range into intervals: 1m, 5m, 15m, 30m, 1h, 1d, 1w, 1mo, 1q, 1y
    #[arg(long, default_value = "", hide_default_value = true)]
    pub interval: String,
    /// IANA time zone of intervals and of local times, given and shown [default: the tenant's, UTC where none is set]
    #[arg(long)]
    pub zone: Option<String>,
    /// At which instant figures are counted [default: each metric's own]
    #[arg(long, value_enum)]
    pub basis: Option<BasisArg>,
    /// How durations are measured [default: calendar]
    #[arg(long, value_enum)]
    pub clock: Option<ClockArg>,
    /// Sort keys, separated by commas, ` desc` behind those that descend: `value` or `count` of the first metric, `METRIC`, `METRIC.p90`,
    /// `METRIC.count`, `group`, `time`
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub order_by: String,
    /// Only the first rows; 0 for all
    #[arg(long, default_value_t = 0)]
    pub limit: u32,
    /// Only the first groups in the order of `--order-by`, each taken over the whole range; 0 for all
    #[arg(long, value_name = "GROUPS", default_value_t = 0)]
    pub top: u32,
    /// With `--top`: all other groups as one
    #[arg(long)]
    pub others: bool,
    /// Totals of each group over all intervals, and of everything
    #[arg(long)]
    pub totals: bool,
    /// A row for every group and interval, also where nothing happened
    #[arg(long)]
    pub fill_gaps: bool,
    /// Show an earlier period beside: `previous`, or the same 1d, 1w, 1mo, 1q or 1y ago
    #[arg(long, value_name = "PERIOD", default_value = "", hide_default_value = true)]
    pub compare_to: String,
    /// The server
    #[arg(long, value_name = "URL", env = "DESKPULSE_SERVER", default_value = "http://127.0.0.1:7400")]
    pub server: String,
    /// How to print the answer; JSON and CSV hold exact numbers, durations in milliseconds
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

impl QueryArgs {
    /// The question in the contract's form. Local times are those of `zone`; `now` is what `now` and `-7d` refer to.
    pub fn request(&self, zone: &TimeZone, now: Timestamp) -> anyhow::Result<QueryMetricsRequest> {
        ask::request(self, zone, now)
    }

    /// The zone of local times: that asked for, else the tenant's.
    pub(crate) async fn zone(&self) -> anyhow::Result<TimeZone> {
        if let Some(name) = &self.zone {
            return deskpulse_text::ask::zone(name).context("--zone");
        }
        // A mistake is told before anybody is asked for anything.
        self.request(&TimeZone::UTC, Timestamp::now())?;
        zone_of(&self.server, &self.tenant).await
    }

    /// An answer as it was asked for.
    pub(crate) fn rendered(&self, answer: &QueryMetricsResponse, zone: &TimeZone) -> anyhow::Result<String> {
        Ok(match self.output {
            OutputFormat::Table => {
                let style = TableStyle { group_by: &self.group_by, zone, intervals: !self.interval.is_empty() };
                render_table(answer, style)
            }
            OutputFormat::Json => render_json(answer)?,
            OutputFormat::Csv => render_csv(answer, &self.group_by)?,
        })
    }
}

/// The exit code when a condition of `--fail-if` holds.
const CONDITION_HOLDS: u8 = 3;

/// Asks a question and prints the answer on standard output; what of `--fail-if` holds is told on standard error.
pub async fn query(args: QueryCommand) -> anyhow::Result<ExitCode> {
    let QueryCommand { query: args, fail_if } = args;
    let now = Timestamp::now();
    let conditions: Vec<Condition> = fail_if.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?;
    let zone = args.zone().await?;
    let mut request = args.request(&zone, now)?;
    for condition in &conditions {
        condition.ask(&mut request);
    }
    let answer = fetch(&args.server, request).await?;
    print!("{}", args.rendered(&answer, &zone)?);
    let mut holds = false;
    for condition in &conditions {
        for row in condition.held(&answer, &args.group_by)? {
            holds = true;
            eprintln!("{row}");
        }
    }
    Ok(if holds { ExitCode::from(CONDITION_HOLDS) } else { ExitCode::SUCCESS })
}

/// Asks a server. A refusal is an error that names the fields at fault.
pub async fn fetch(server: &str, request: QueryMetricsRequest) -> anyhow::Result<QueryMetricsResponse> {
    let mut client = QueryServiceClient::new(channel(server).await?).max_decoding_message_size(256 * 1024 * 1024);
    let answer = client.query_metrics(request).await.map_err(|status| failure::refused(server, &status))?;
    Ok(answer.into_inner())
}

/// The zone of a tenant.
pub(crate) async fn zone_of(server: &str, tenant: &str) -> anyhow::Result<TimeZone> {
    if tenant == "-" {
        return Ok(TimeZone::UTC);
    }
    let mut client = ConfigServiceClient::new(channel(server).await?);
    let request = GetTenantRequest { tenant: tenant.to_owned() };
    let settings = client.get_tenant(request).await.map_err(|status| failure::refused(server, &status))?;
    let name = settings.into_inner().tenant.map(|tenant| tenant.time_zone).filter(|name| !name.is_empty());
    name.map_or(Ok(TimeZone::UTC), |name| deskpulse_text::ask::zone(&name).context("the tenant's time zone"))
}

pub(crate) async fn channel(server: &str) -> anyhow::Result<Channel> {
    let endpoint = failure::endpoint(server)?;
    connected(endpoint).await.map_err(|error| failure::unreachable(server, &error))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use deskpulse_proto::v1::{Basis, Clock};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: QueryArgs,
    }

    #[test]
    fn a_whole_question_can_be_written_on_one_line() {
        let line = "query first_response_time:p50 resolutions --tenant t --group-by channel,team --from -7d --to now \
                    --interval 1d --basis as-of --clock business --order-by -value --limit 3 --output csv";
        let args = Command::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string()).unwrap().args;
        let berlin = TimeZone::get("europe/berlin").unwrap();
        let request = args.request(&berlin, "2026-04-30T10:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(request.metrics.len(), 2);
        assert_eq!(request.group_by, ["channel", "team"]);
        assert_eq!((request.order_by.as_str(), request.limit), ("-value", 3));
        assert_eq!((request.basis(), request.clock()), (Basis::AsOf, Clock::Business));
        assert_eq!(request.time_zone, "Europe/Berlin");
        assert_eq!(request.end_time.unwrap().seconds - request.start_time.unwrap().seconds, 7 * 86_400);
        assert!(crate::failure::report(&deskpulse_text::ask::zone("Mars").unwrap_err().into()).contains("hint: "));
    }
}
