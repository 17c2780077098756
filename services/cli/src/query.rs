//! `deskpulse query`: asks a question and prints the answer.

mod ask;
mod render;

use deskpulse_edge::upstream::connected;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{QueryMetricsRequest, QueryMetricsResponse};
use jiff::{Timestamp, tz::TimeZone};

use crate::failure;
use crate::output::OutputFormat;
pub use render::{TableStyle, render_csv, render_json, render_table};

const EXAMPLES: &str = "\
Examples:
  deskpulse query conversations_opened --tenant demo
  deskpulse query first_response_time:p50,p90,p99 resolutions --tenant demo --group-by channel --from -7d
  deskpulse query 'first_resolution_time:<=24h' --tenant acme --filter 'priority = \"1 - Critical\"'
  deskpulse query conversations_opened --tenant acme --from 2016-03-01 --to 2016-04-01 --interval 1d \\
      --zone America/Sao_Paulo --output csv
  deskpulse query response_rate:within=1h --tenant acme --basis cohort --order-by=-value --limit 10 --group-by agent

After a metric's name and a colon, separated by commas: percentiles (p50, p99.9), shares of values up to a bound
(<=20s, <=24h, <=1h30m), and for response_rate `within=1h`.

Times are RFC 3339 instants, local times or dates in --zone (2016-03-01, 2016-03-01T08:30), `now`, or a span before
now (-7d, -90m, -2w). The range is [from, to).";

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

/// Asks for metrics and prints them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct QueryArgs {
    /// Metrics, with options after a colon: `first_response_time:p50,p90,<=20s`
    #[arg(required = true, value_name = "METRIC")]
    pub metrics: Vec<String>,
    /// The tenant
    #[arg(long, env = "DESKPULSE_TENANT")]
    pub tenant: String,
    /// An AIP-160 filter over dimensions: `channel = "email" AND priority != "low"`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Dimensions to group by, separated by commas; also `tag`, `weekday`, `hour`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub group_by: Vec<String>,
    /// Start of the range, inclusive [default: the beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// End of the range, exclusive [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Cut the range into intervals: 1m, 5m, 15m, 30m, 1h, 1d, 1w, 1mo, 1q, 1y
    #[arg(long, default_value = "", hide_default_value = true)]
    pub interval: String,
    /// IANA time zone of the intervals and of local times
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// At which instant figures are counted [default: each metric's own]
    #[arg(long, value_enum)]
    pub basis: Option<BasisArg>,
    /// `value` or `count` of the first metric, descending with a `-` before it
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub order_by: String,
    /// Only the first rows; 0 for all
    #[arg(long, default_value_t = 0)]
    pub limit: u32,
    /// The server
    #[arg(long, value_name = "URL", env = "DESKPULSE_SERVER", default_value = "http://127.0.0.1:7400")]
    pub server: String,
    /// How to print the answer; JSON and CSV hold exact numbers, durations in milliseconds
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

impl QueryArgs {
    /// The question in the contract's form. `now` is what `now` and `-7d` refer to.
    pub fn request(&self, now: Timestamp) -> anyhow::Result<QueryMetricsRequest> {
        ask::request(self, now)
    }
}

/// Asks a question and prints the answer on standard output.
pub async fn query(args: QueryArgs) -> anyhow::Result<()> {
    let request = args.request(Timestamp::now())?;
    let answer = fetch(&args.server, request).await?;
    let text = match args.output {
        OutputFormat::Table => {
            let zone = TimeZone::get(&args.zone)?;
            let style = TableStyle { group_by: &args.group_by, zone: &zone, intervals: !args.interval.is_empty() };
            render_table(&answer, style)
        }
        OutputFormat::Json => render_json(&answer)?,
        OutputFormat::Csv => render_csv(&answer, &args.group_by)?,
    };
    print!("{text}");
    Ok(())
}

/// Asks a server. A refusal is an error that names the fields at fault.
pub async fn fetch(server: &str, request: QueryMetricsRequest) -> anyhow::Result<QueryMetricsResponse> {
    let endpoint = failure::endpoint(server)?;
    let channel = connected(endpoint).await.map_err(|error| failure::unreachable(server, &error))?;
    let mut client = QueryServiceClient::new(channel).max_decoding_message_size(256 * 1024 * 1024);
    let answer = client.query_metrics(request).await.map_err(|status| failure::refused(server, &status))?;
    Ok(answer.into_inner())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: QueryArgs,
    }

    #[test]
    fn a_whole_question_can_be_written_on_one_line() {
        let line = "query first_response_time:p50 resolutions --tenant t --group-by channel,team --from -7d --to now \
                    --interval 1d --basis as-of --order-by -value --limit 3 --output csv";
        let args = Command::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string()).unwrap().args;
        let request = args.request("2026-03-30T10:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(request.metrics.len(), 2);
        assert_eq!(request.group_by, ["channel", "team"]);
        assert_eq!((request.order_by.as_str(), request.limit), ("-value", 3));
        assert_eq!(request.basis(), deskpulse_proto::v1::Basis::AsOf);
        assert_eq!(request.end_time.unwrap().seconds - request.start_time.unwrap().seconds, 7 * 86_400);
        let mistake = QueryArgs { zone: "Mars".to_owned(), ..args };
        assert!(crate::failure::report(&mistake.request(Timestamp::UNIX_EPOCH).unwrap_err()).contains("hint: "));
    }
}
