//! `deskpulse watch`: an answer as it is now, and again whenever it changes.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{QueryMetricsRequest, QueryMetricsResponse, WatchMetricsRequest};
use jiff::{Timestamp, tz::TimeZone};
use tonic::{Code, Status};

use crate::failure;
use crate::output::OutputFormat;
use crate::query::{QueryArgs, channel};

/// How long to wait before a server that went away is called again.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears a terminal and begins at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Asks a question and prints its answer whenever it has changed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse watch conversations_opened backlog first_response_time:p50,p90 --tenant acme --group-by team --last 1h
  deskpulse watch unanswered_conversations longest_wait --tenant acme --every 5
  deskpulse watch messages_received --tenant acme --last 5m --output json

On a terminal the table stays in place; elsewhere each answer follows the one before, as JSON one a line. When the server goes away
it is called again once a second, and nothing is printed twice. Ctrl-C ends.")]
pub struct WatchArgs {
    /// The question.
    #[command(flatten)]
    pub query: QueryArgs,
    /// The least time between two answers, in seconds, from 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub every: f64,
    /// End after so many answers
    #[arg(long, value_name = "ANSWERS")]
    pub count: Option<u32>,
}

/// Prints answers until Ctrl-C, or until there were enough.
pub async fn watch(args: WatchArgs) -> anyhow::Result<()> {
    let zone = args.query.zone().await?;
    let query = args.query.request(&zone, Timestamp::now())?;
    let mut resume_token = String::new();
    let mut left = args.count;
    let is_screen = std::io::stdout().is_terminal() && args.query.output == OutputFormat::Table;
    let server = &args.query.server;
    while left != Some(0) {
        let ended = answers(&args, &query, &zone, is_screen, &mut resume_token, &mut left).await?;
        match ended {
            None => return Ok(()),
            // Only once there was an answer: a server that is not there at all is no server. A refusal of ours has details, a broken connection
            // has none.
            Some(status)
                if !resume_token.is_empty() && (status.code() == Code::Unavailable || status.details().is_empty()) =>
            {
                eprintln!("{server} went away: {}", status.message());
                tokio::time::sleep(PAUSE).await;
            }
            Some(status) => return Err(failure::refused(server, &status)),
        }
    }
    Ok(())
}

/// Prints answers until the stream ends; returns why it did, or nothing when there were enough.
async fn answers(
    args: &WatchArgs,
    query: &QueryMetricsRequest,
    zone: &TimeZone,
    is_screen: bool,
    resume_token: &mut String,
    left: &mut Option<u32>,
) -> anyhow::Result<Option<Status>> {
    let channel = match channel(&args.query.server).await {
        Ok(channel) => channel,
        Err(error) if resume_token.is_empty() => return Err(error),
        Err(error) => return Ok(Some(Status::unavailable(error.to_string()))),
    };
    let mut client = QueryServiceClient::new(channel).max_decoding_message_size(256 * 1024 * 1024);
    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is refused by the server")]
    let (seconds, nanos) = (args.every as i64, (args.every.fract() * 1e9) as i32);
    let request = WatchMetricsRequest {
        query: Some(query.clone()),
        min_interval: Some(prost_types::Duration { seconds, nanos }),
        resume_token: resume_token.clone(),
    };
    let mut stream = match client.watch_metrics(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Some(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                resume_token.clone_from(&message.resume_token);
                print(args, &message.answer.unwrap_or_default(), zone, is_screen)?;
                if let Some(left) = left {
                    *left -= 1;
                    if *left == 0 {
                        return Ok(None);
                    }
                }
            }
            Ok(None) => return Ok(Some(Status::unavailable("the stream ended"))),
            Err(status) => return Ok(Some(status)),
        }
    }
}

fn print(args: &WatchArgs, answer: &QueryMetricsResponse, zone: &TimeZone, is_screen: bool) -> anyhow::Result<()> {
    let text = match args.query.output {
        OutputFormat::Json => deskpulse_text::json::line(answer, "deskpulse.v1.QueryMetricsResponse")?,
        OutputFormat::Table | OutputFormat::Csv => args.query.rendered(answer, zone)?,
    };
    let head = if is_screen {
        let now = Timestamp::now().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
        format!("{CLEAR}{now}\n\n")
    } else {
        String::new()
    };
    let mut out = std::io::stdout().lock();
    write!(out, "{head}{text}")?;
    out.flush()?;
    Ok(())
}
