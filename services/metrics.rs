//! `deskpulse metrics`: the catalogue, as this version knows it.

use deskpulse_cli::output::{OutputFormat, table};
use deskpulse_core::kpi::{CATALOGUE, Metric, Variant, markdown};

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

const COLUMNS: [&str; 7] = ["family", "metric", "unit", "basis", "business clock", "credited to", "formula"];

/// Prints the catalogue.
pub(crate) fn metrics(args: &MetricsArgs) -> anyhow::Result<()> {
    if args.markdown {
        print!("{}", markdown());
        return Ok(());
    }
    let metrics = || CATALOGUE.iter().flat_map(|family| family.metrics.iter().map(|metric| (family.name, metric)));
    match args.output {
        OutputFormat::Table => {
            let mut table = table();
            table.set_header(COLUMNS);
            for (family, metric) in metrics() {
                table.add_row(row(family, metric));
                for variant in metric.variants {
                    let name = format!("· {}", variant.name);
                    table.add_row(["", &name, "", "", "", "", variant.formula]);
                }
            }
            println!("{table}");
        }
        OutputFormat::Json => {
            let entries: Vec<_> = metrics().map(|(family, metric)| entry(family, metric)).collect();
            println!("{}", serde_json::to_string_pretty(&entries)?);
        }
        OutputFormat::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(COLUMNS.iter().chain(&["variants"]))?;
            for (family, metric) in metrics() {
                let variants: Vec<&str> = metric.variants.iter().map(|variant| variant.name).collect();
                writer.write_record(row(family, metric).iter().chain(&[variants.join(" ")]))?;
            }
            writer.flush()?;
        }
    }
    Ok(())
}

fn row(family: &str, metric: &Metric) -> [String; 7] {
    let bases: Vec<&str> = metric.bases.iter().map(|(basis, _)| basis.name()).collect();
    [
        family.to_owned(),
        metric.name.to_owned(),
        metric.unit.name().to_owned(),
        bases.join(", "),
        if metric.has_business_clock() { "yes" } else { "no" }.to_owned(),
        metric.credited_to.to_owned(),
        metric.formula.to_owned(),
    ]
}

/// A metric as JSON: its row by column, and its variants.
fn entry(family: &str, metric: &Metric) -> serde_json::Map<String, serde_json::Value> {
    let variant = |variant: &Variant| serde_json::json!({ "name": variant.name, "formula": variant.formula });
    let columns = COLUMNS.iter().map(ToString::to_string);
    let mut entry: serde_json::Map<_, _> = columns.zip(row(family, metric).map(serde_json::Value::from)).collect();
    entry.insert("variants".to_owned(), metric.variants.iter().map(variant).collect());
    entry
}
