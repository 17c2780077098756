//! `deskpulse metrics`: the catalogue, as this version knows it.

use deskpulse_cli::output::{OutputFormat, table};
use deskpulse_core::kpi::{CATALOGUE, Metric, markdown};

/// How to print the catalogue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deskpulse metrics
  deskpulse metrics --output json
  deskpulse metrics --markdown")]
pub(crate) struct MetricsArgs {
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    output: OutputFormat,
    /// Print the tables of the README.
    #[arg(long, conflicts_with = "output")]
    markdown: bool,
}

const COLUMNS: [&str; 6] = ["family", "metric", "unit", "basis", "credited to", "formula"];

/// Prints the catalogue.
pub(crate) fn metrics(args: &MetricsArgs) -> anyhow::Result<()> {
    if args.markdown {
        print!("{}", markdown());
        return Ok(());
    }
    let rows = CATALOGUE.iter().flat_map(|family| family.metrics.iter().map(|metric| row(family.name, metric)));
    match args.output {
        OutputFormat::Table => {
            let mut table = table();
            table.set_header(COLUMNS);
            table.add_rows(rows);
            println!("{table}");
        }
        OutputFormat::Json => {
            let rows: Vec<_> = rows
                .map(|row| {
                    COLUMNS.iter().map(ToString::to_string).zip(row).collect::<std::collections::BTreeMap<_, _>>()
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        OutputFormat::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(COLUMNS)?;
            for row in rows {
                writer.write_record(row)?;
            }
            writer.flush()?;
        }
    }
    Ok(())
}

fn row(family: &str, metric: &Metric) -> [String; 6] {
    let bases: Vec<&str> = metric.bases.iter().map(|(basis, _)| basis.name()).collect();
    [
        family.to_owned(),
        metric.name.to_owned(),
        metric.unit.name().to_owned(),
        bases.join(", "),
        metric.credited_to.to_owned(),
        metric.formula.to_owned(),
    ]
}
