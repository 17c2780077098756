//! `deskpulse demo`: the whole suite on a contact centre's week, and then live.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use deskpulse_cli::generate::{Week, live};
use deskpulse_cli::import::send;
use deskpulse_cli::output::{OutputFormat, number};
use deskpulse_cli::query::{TableStyle, fetch, render_csv, render_json, render_table};
use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::ingest_service_client::IngestServiceClient;
use deskpulse_proto::v1::{IngestEventsRequest, MetricSelection, QueryMetricsRequest, QueryMetricsResponse};
use indicatif::{ProgressBar, ProgressFinish, ProgressState, ProgressStyle};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::serve::{self, ServeArgs};

/// How the demonstration goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse demo
  deskpulse demo --once
  deskpulse demo --conversations 100000 --once
  deskpulse demo --once --output json | jq '.[0].rows[].values[0]'")]
pub(crate) struct DemoArgs {
    /// Print the week's metrics and end, without the live stream.
    #[arg(long)]
    once: bool,
    /// How many conversations the week has; each has about twelve events.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    conversations: u32,
    /// With which number the week is drawn; the same number gives the same week.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to print the week's metrics; with json (a list of three answers) and csv, all else goes to standard error.
    #[arg(long, value_enum, default_value_t)]
    output: OutputFormat,
}

impl DemoArgs {
    /// Tells the user something that is not a metric.
    fn say(&self, text: &str) {
        match self.output {
            OutputFormat::Table => println!("{text}"),
            OutputFormat::Json | OutputFormat::Csv => eprintln!("{text}"),
        }
    }
}

const TENANT: &str = "demo";
/// Roughly; only the progress bar goes by it.
const EVENTS_A_CONVERSATION: u64 = 12;
const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 16;
/// New conversations of the live stream.
const CONVERSATIONS_A_MINUTE: f64 = 120.0;
const TICK: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_secs(2);

/// Runs the demonstration, until SIGINT or SIGTERM unless it is `--once`.
pub(crate) async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let running = serve::start(ServeArgs::on_loopback(folder.path().to_owned())?).await?;
    let server = format!("http://{}", running.address);
    let data = folder.path().display();
    args.say(&format!("deskpulse: ingest, aggregation and query listening on {server}, data in {data}"));
    let shown = tokio::select! {
        shown = show(&args, &server) => shown,
        () = serve::asked_to_stop() => Ok(()),
    };
    running.stop().await?;
    shown
}

/// A week, and then what happens now.
async fn show(args: &DemoArgs, server: &str) -> anyhow::Result<()> {
    let start = Timestamp::now() - SignedDuration::from_hours(7 * 24);
    let week = Week { seed: args.seed, start, conversations: args.conversations };
    let bar = progress_bar(u64::from(args.conversations) * EVENTS_A_CONVERSATION);
    let sent = send(server, bar.wrap_iter(week.events()), BATCH, IN_FLIGHT).await?;
    args.say(&format!(
        "streamed a week of {} conversations: {} events accepted and durable in {:.1} s, {} events/s\n",
        number(f64::from(args.conversations)),
        number(sent.accepted as f64),
        sent.seconds,
        number(sent.events_per_second.round()),
    ));
    print!("{}", report(server, start, "the week", args.output).await?);
    if args.once {
        return Ok(());
    }
    args.say(&format!(
        "\nlive: {CONVERSATIONS_A_MINUTE} new conversations a minute; ask along with\n  deskpulse query \
         first_response_time:p50,p90 --tenant demo --group-by channel --from -1h --server {server}\nCtrl-C ends."
    ));
    stream_live(&week, server, args.output).await
}

/// A bar on standard error, hidden unless that is a terminal.
fn progress_bar(events: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} events, {rate}");
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        let _ = write!(text, "{}/s", number(state.per_sec().round()));
    };
    ProgressBar::new(events)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate))
        .with_finish(ProgressFinish::AndClear)
}

/// Sends what happens as it happens; on a terminal, redraws the table of the last hour's metrics.
async fn stream_live(week: &Week, server: &str, output: OutputFormat) -> anyhow::Result<()> {
    let mut live = live(week, CONVERSATIONS_A_MINUTE);
    let mut ingest = IngestServiceClient::new(channel(server)?);
    let redraws = output == OutputFormat::Table && std::io::stdout().is_terminal();
    let mut drawn = tokio::time::Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        let mut events = live.due(Timestamp::now());
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(BATCH));
            ingest.ingest_events(IngestEventsRequest { events }).await.context("the live stream broke")?;
            events = rest;
        }
        if redraws && drawn.elapsed() >= REDRAW {
            drawn = tokio::time::Instant::now();
            let hour = Timestamp::now() - SignedDuration::from_hours(1);
            print!("\x1b[2J\x1b[H{}\nCtrl-C ends.\n", report(server, hour, "the last hour", output).await?);
        }
    }
}

/// The metrics since an instant, by channel.
async fn report(server: &str, since: Timestamp, title: &str, output: OutputFormat) -> anyhow::Result<String> {
    let group_by = ["channel".to_owned()];
    let mut answers = Vec::new();
    for (heading, metrics) in [
        ("Response", vec![("first_response_time", vec![50.0, 90.0, 99.0])]),
        (
            "Resolution",
            vec![("first_resolution_time", vec![50.0, 90.0]), ("resolutions", vec![]), ("reopen_rate", vec![])],
        ),
        (
            "Volume",
            vec![
                ("conversations_opened", vec![]),
                ("messages_received", vec![]),
                ("messages_sent", vec![]),
                ("bot_messages", vec![]),
                ("backlog", vec![]),
                ("unanswered_conversations", vec![]),
            ],
        ),
    ] {
        let metrics = metrics
            .into_iter()
            .map(|(name, percentiles)| MetricSelection { name: name.to_owned(), percentiles, ..Default::default() })
            .collect();
        let request = QueryMetricsRequest {
            tenant: TENANT.to_owned(),
            metrics,
            group_by: group_by.to_vec(),
            start_time: Some(prost_types::Timestamp { seconds: since.as_second(), nanos: since.subsec_nanosecond() }),
            ..Default::default()
        };
        answers.push((heading, fetch(server, request).await?));
    }
    Ok(match output {
        OutputFormat::Table => {
            let style = TableStyle { group_by: &group_by, zone: &TimeZone::UTC, intervals: false };
            let tables = answers
                .iter()
                .map(|(heading, answer)| format!("{heading} by channel, {title}\n{}\n", render_table(answer, style)));
            tables.collect()
        }
        OutputFormat::Json => {
            let texts = answers.iter().map(|(_, answer)| render_json(answer));
            format!("[\n{}]\n", texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        // One header over all of them.
        OutputFormat::Csv => {
            let rows = answers.into_iter().flat_map(|(_, answer)| answer.rows).collect();
            render_csv(&QueryMetricsResponse { rows, ..Default::default() }, &group_by)?
        }
    })
}
