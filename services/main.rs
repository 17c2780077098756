//! `deskpulse`: ingest, aggregation and query of customer-service events, and the command line to use them.

mod check;
mod demo;
mod export;
mod load;
mod metrics;
mod serve;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deskpulse_cli::conversations::ConversationsArgs;
use deskpulse_cli::import::ImportArgs;
use deskpulse_cli::query::QueryCommand;
use deskpulse_cli::watch::WatchArgs;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::check::CheckArgs;
use crate::demo::DemoArgs;
use crate::export::ExportArgs;
use crate::load::LoadCommand;
use crate::serve::ServeArgs;

/// Events are small things that come and go on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Live, exact customer-service metrics from event streams.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  deskpulse demo --once
  deskpulse serve --data-dir ./data
  deskpulse import events.jsonl.gz --tenant acme
  deskpulse query first_response_time:p50,p90 --tenant acme --group-by channel --from -7d
  deskpulse watch backlog first_response_time:p90 --tenant acme --last 1h --group-by team
  deskpulse conversations first_response_time --tenant acme --from -1d --limit 20
  deskpulse metrics
  deskpulse check --data-dir ./data
  deskpulse export --data-dir ./data events.jsonl.zst
  deskpulse load --events 1000000 --queries 10 --freshness"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the services.
    Serve(ServeArgs),
    /// Run the services on a contact centre's week and show its metrics.
    Demo(DemoArgs),
    /// Send the events of files to a server.
    Import(ImportArgs),
    /// Ask a server for metrics.
    Query(QueryCommand),
    /// Show metrics and keep them up to date.
    Watch(WatchArgs),
    /// List the conversations behind a metric.
    Conversations(ConversationsArgs),
    /// List the metrics there are.
    Metrics(metrics::MetricsArgs),
    /// Look a data folder over while no server has it open, and put a damaged log in order.
    Check(CheckArgs),
    /// Write the events of a data folder as JSON lines, which import reads.
    Export(ExportArgs),
    /// Send a server a load, and measure what it makes of it.
    Load(LoadCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let quiet = !matches!(arguments.command, Command::Serve(_));
    let default = if quiet {
        "warn"
    } else {
        "warn,deskpulse=info,deskpulse_aggregation=info,deskpulse_ingest=info,deskpulse_query=info"
    };
    let wanted = std::env::var("DESKPULSE_LOG").unwrap_or_else(|_| default.to_owned());
    let Ok(filter) = wanted.parse::<Targets>() else {
        eprintln!("error: DESKPULSE_LOG is {wanted:?}\nhint: write it as debug or warn,deskpulse_ingest=debug");
        return ExitCode::from(2);
    };
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Serve(args) => serve::serve(args).await?,
            Command::Demo(args) => demo::demo(args).await?,
            Command::Import(args) => deskpulse_cli::import::import(args).await.map(drop)?,
            Command::Query(args) => return deskpulse_cli::query::query(args).await,
            Command::Watch(args) => deskpulse_cli::watch::watch(args).await?,
            Command::Conversations(args) => deskpulse_cli::conversations::conversations(args).await?,
            Command::Metrics(args) => metrics::metrics(&args)?,
            Command::Check(args) => return check::check(&args),
            Command::Export(args) => export::export(&args)?,
            Command::Load(args) => return load::load(&args).await,
        }
        Ok(ExitCode::SUCCESS)
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", deskpulse_cli::failure::report(&error));
            // Not a return: a reader of a silent standard input would hold the runtime up.
            std::process::exit(1)
        }
    }
}
