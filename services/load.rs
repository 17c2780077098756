//! `deskpulse load`: a load, and the report of it.

use std::process::ExitCode;

use clap::ValueEnum;
use deskpulse_cli::failure::Failure;
use deskpulse_cli::output::{ABSENT, number, table};
use deskpulse_load::{LatencySummary, LoadArgs, Report, UsageReport};

/// What to send where, and how to print the report.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse load --events 1000000 --server-pid 4242
  deskpulse load --rate 200000 --duration 60 --connections 4 --queries 20 --freshness
  deskpulse load --bin events_1M.bin --output json

Latency counts from the instant a batch was to be sent to its acknowledgement, which is durable. CPU seconds count from the first batch until
all events are in answers. Exit code 1 where an event was rejected.")]
pub(crate) struct LoadCommand {
    #[command(flatten)]
    load: LoadArgs,
    /// How to print the report
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// Tables for people.
    Table,
    /// JSON with exact numbers.
    Json,
}

/// Makes a load and prints the report of it.
pub(crate) async fn load(args: &LoadCommand) -> anyhow::Result<ExitCode> {
    let report = deskpulse_load::load(&args.load).await.map_err(|error| {
        let hint = error.hint();
        // The causes stand in the message: a failure is the last of its chain.
        Failure::new(format!("{:#}", anyhow::Error::new(error)), hint)
    })?;
    match args.output {
        Output::Table => print!("{}", tables(&report)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    if report.rejected == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let (rejected, events) = (number(report.rejected as f64), number(report.events as f64));
    eprintln!("error: {rejected} of {events} events were rejected");
    for reason in &report.rejections {
        eprintln!("cause: {reason}");
    }
    Ok(ExitCode::FAILURE)
}

fn tables(report: &Report) -> String {
    let mut figures = table();
    figures.set_header(["", "figure"]);
    let mut row = |name: &str, figure: String| {
        figures.add_row([name, &figure]);
    };
    let count = |count: u64| number(count as f64);
    row("events acknowledged, durable", count(report.events));
    row("accepted", count(report.accepted));
    row("duplicates", count(report.duplicates));
    row("rejected", count(report.rejected));
    row("unverified", count(report.unverified));
    row("batches", count(report.batches));
    row("bytes an event", format!("{:.1}", report.bytes_per_event));
    row("seconds", format!("{:.3}", report.seconds));
    row("events/s", number(report.events_per_second.round()));
    if report.reconnects > 0 {
        row("streams opened again", count(report.reconnects));
        row("batches sent again", count(report.resent_batches));
    }
    row(
        "last acknowledgement to all counted",
        report.counted_after_ms.map_or(ABSENT.to_owned(), |ms| format!("{ms:.1} ms")),
    );
    let mut used = |who: &str, usage: Option<UsageReport>| {
        let Some(usage) = usage else { return };
        row(&format!("{who} CPU s"), format!("{:.2}", usage.cpu_seconds));
        row(&format!("{who} CPU s a million events"), format!("{:.3}", usage.cpu_seconds_per_million));
        row(&format!("{who} peak memory"), format!("{} MiB", number((usage.peak_bytes >> 20) as f64)));
    };
    used("client", report.client);
    used("server", report.server);
    if let Some(queries) = &report.queries {
        row("questions answered", count(queries.answered));
        row("questions failed", count(queries.errors));
        queries.first_error.iter().for_each(|error| row("the first failure", error.clone()));
    }
    if let Some(freshness) = &report.freshness {
        row("probes seen", count(freshness.probes));
        row("probes not in the first answer", count(freshness.not_in_first_answer));
        row("probes failed", count(freshness.errors));
        freshness.first_error.iter().for_each(|error| row("the first failure", error.clone()));
    }
    if let Some(watchers) = &report.watchers {
        row("watchers", count(watchers.watchers));
        row("answers to them", count(watchers.updates));
        row("watchers lost", count(watchers.errors));
        watchers.first_error.iter().for_each(|error| row("the first failure", error.clone()));
    }

    let mut latencies = table();
    latencies.set_header(["ms", "count", "p50", "p90", "p99", "p99.9", "max"]);
    let mut row = |name: &str, latency: LatencySummary| {
        let ms = |microseconds: u64| format!("{:.2}", microseconds as f64 / 1_000.0);
        let LatencySummary { count, p50_us, p90_us, p99_us, p99_9_us, max_us } = latency;
        let times = [p50_us, p90_us, p99_us, p99_9_us, max_us].map(ms);
        latencies.add_row([name.to_owned(), number(count as f64)].into_iter().chain(times));
    };
    row("batch acknowledged", report.latency);
    report.queries.iter().for_each(|queries| row("question answered", queries.latency));
    report.watchers.iter().for_each(|watchers| row("answer to the next", watchers.between_answers));
    report.freshness.iter().for_each(|freshness| row("acknowledged to visible", freshness.ack_to_visible));
    for table in [&mut figures, &mut latencies] {
        table.column_iter_mut().skip(1).for_each(|column| {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        });
    }
    format!("{figures}\n\n{latencies}\n")
}
