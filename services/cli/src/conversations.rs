//! `deskpulse conversations`: lists the conversations behind a metric.

use anyhow::Context as _;
use comfy_table::CellAlignment;
use deskpulse_proto::v1::query_service_client::QueryServiceClient;
use deskpulse_proto::v1::{ConversationFigure, ListConversationsRequest, ListConversationsResponse};
use deskpulse_text::json;
use deskpulse_text::sheet::{exact, instant, timestamp, union};
use jiff::{Timestamp, tz::TimeZone};

use crate::failure;
use crate::output::{self, ABSENT, OutputFormat};
use crate::query::figures::{in_unit, local};
use crate::query::{BasisArg, ClockArg, ask, channel, zone_of};

const EXAMPLES: &str = "\
Examples:
  deskpulse conversations first_response_time --tenant acme --from -1d
  deskpulse conversations sla_at_risk --tenant acme --filter 'team = \"billing\"'
  deskpulse conversations sla_breaches --tenant acme --from -7d --order-by 'time desc' --limit 200
  deskpulse conversations backlog_age --tenant acme --clock calendar --output csv
  deskpulse conversations response_rate:within=1h --tenant acme --from -1d

The slowest or oldest come first, of targets at risk the next. Times are given as for `deskpulse query`.";

/// The most conversations asked for at once.
const PAGE: u32 = 1_000;

/// Lists conversations.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConversationsArgs {
    /// The metric, with options after a colon: `service_level:within=20s`
    #[arg(value_name = "METRIC")]
    pub metric: String,
    /// The tenant
    #[arg(long, env = "DESKPULSE_TENANT")]
    pub tenant: String,
    /// An AIP-160 filter over dimensions: `channel = "email" AND priority != "low"`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Start of the range, inclusive [default: the beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// End of the range, exclusive; what is open is so as of then [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// `value` or `time`, with ` desc` behind it for the greatest first [default: the slowest, oldest or next first]
    #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub order_by: String,
    /// The most to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// IANA time zone of local times, given and shown [default: the tenant's, UTC where none is set]
    #[arg(long)]
    pub zone: Option<String>,
    /// At which instant figures are counted [default: the metric's own]
    #[arg(long, value_enum)]
    pub basis: Option<BasisArg>,
    /// How durations are measured [default: calendar]
    #[arg(long, value_enum)]
    pub clock: Option<ClockArg>,
    /// The server
    #[arg(long, value_name = "URL", env = "DESKPULSE_SERVER", default_value = "http://127.0.0.1:7400")]
    pub server: String,
    /// How to print them; JSON and CSV hold exact numbers, durations in milliseconds
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

impl ConversationsArgs {
    fn request(&self, zone: &TimeZone, now: Timestamp) -> anyhow::Result<ListConversationsRequest> {
        Ok(ListConversationsRequest {
            tenant: self.tenant.clone(),
            metric: Some(deskpulse_text::ask::metric(&self.metric)?),
            filter: self.filter.clone(),
            start_time: ask::time("from", self.from.as_ref(), zone, now)?,
            end_time: ask::time("to", self.to.as_ref(), zone, now)?,
            order_by: self.order_by.clone(),
            page_size: i32::try_from(self.limit.min(PAGE)).unwrap_or(i32::MAX),
            page_token: String::new(),
            basis: ask::basis(self.basis).into(),
            clock: ask::clock(self.clock).into(),
        })
    }
}

/// Lists conversations on standard output.
pub async fn conversations(args: ConversationsArgs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let zone = if let Some(name) = &args.zone {
        deskpulse_text::ask::zone(name).context("--zone")?
    } else {
        args.request(&TimeZone::UTC, now)?;
        zone_of(&args.server, &args.tenant).await?
    };
    let mut client = QueryServiceClient::new(channel(&args.server).await?).max_decoding_message_size(256 * 1024 * 1024);
    let mut request = args.request(&zone, now)?;
    let mut all: Option<ListConversationsResponse> = None;
    loop {
        let answer = client.list_conversations(request.clone()).await;
        let page = answer.map_err(|status| failure::refused(&args.server, &status))?.into_inner();
        let next = page.next_page_token.clone();
        let listed = match &mut all {
            None => all.insert(page),
            Some(all) => {
                all.conversations.extend(page.conversations);
                all.next_page_token = page.next_page_token;
                all
            }
        };
        let left = (args.limit as usize).saturating_sub(listed.conversations.len());
        if left == 0 || next.is_empty() {
            break;
        }
        request.page_token = next;
        request.page_size = i32::try_from(left.min(PAGE as usize)).unwrap_or(i32::MAX);
    }
    let listed = all.unwrap_or_default();
    let text = match args.output {
        OutputFormat::Table => render_table(&listed, &zone),
        OutputFormat::Json => json::pretty(&listed, "deskpulse.v1.ListConversationsResponse")?,
        OutputFormat::Csv => render_csv(&listed)?,
    };
    print!("{text}");
    Ok(())
}

/// The names of the dimensions that any of them has, in alphabetical order.
fn dimensions(listed: &ListConversationsResponse) -> Vec<String> {
    let names = |figure: &ConversationFigure| figure.dimensions.keys().cloned().collect();
    let mut names = union(listed.conversations.iter().map(names));
    names.sort_unstable();
    names
}

/// As a table for people, with its final line break.
fn render_table(listed: &ListConversationsResponse, zone: &TimeZone) -> String {
    if listed.conversations.is_empty() {
        return "no conversations\n".to_owned();
    }
    let has = |test: fn(&ConversationFigure) -> bool| listed.conversations.iter().any(test);
    let (values, deadlines) = (has(|it| it.value.is_some()), has(|it| it.deadline.is_some()));
    let (tags, subjects) = (has(|it| !it.tags.is_empty()), has(|it| !it.subject.is_empty()));
    let names = dimensions(listed);
    let mut table = output::table();
    let mut header = vec!["conversation".to_owned()];
    for (is_shown, title) in [(values, "value"), (true, "time"), (deadlines, "deadline"), (subjects, "about")] {
        header.extend(is_shown.then(|| title.to_owned()));
    }
    header.extend(names.iter().cloned());
    header.extend(tags.then(|| "tags".to_owned()));
    table.set_header(header);
    let absent = || ABSENT.to_owned();
    let time = |time: Option<&prost_types::Timestamp>| {
        time.and_then(timestamp).map_or_else(absent, |time| local(time, zone, "%Y-%m-%d %H:%M:%S"))
    };
    let text = |text: &str| Some(text).filter(|text| !text.is_empty()).unwrap_or(ABSENT).to_owned();
    for it in &listed.conversations {
        let mut cells = vec![text(&it.conversation)];
        let value = it.value.map_or_else(absent, |value| in_unit(listed.unit(), value as f64));
        cells.extend(values.then_some(value));
        cells.push(time(it.time.as_ref()));
        cells.extend(deadlines.then(|| time(it.deadline.as_ref())));
        cells.extend(subjects.then(|| text(&it.subject)));
        cells.extend(names.iter().map(|name| text(it.dimensions.get(name).map_or("", String::as_str))));
        cells.extend(tags.then(|| text(&it.tags.join(", "))));
        table.add_row(cells);
    }
    if values && let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let more = listed.total_size.saturating_sub(listed.conversations.len() as u64);
    let more = if more > 0 { format!("{} more\n", output::number(more as f64)) } else { String::new() };
    format!("{table}\n{more}")
}

/// As CSV: a line each, with exact numbers; tags are separated by spaces.
fn render_csv(listed: &ListConversationsResponse) -> anyhow::Result<String> {
    let names = dimensions(listed);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fixed = ["conversation", "value", "time", "start_time", "deadline", "subject"];
    writer.write_record(fixed.into_iter().chain(names.iter().map(String::as_str)).chain(["tags"]))?;
    for it in &listed.conversations {
        let mut cells = vec![it.conversation.clone(), exact(it.value), instant(it.time.as_ref())];
        cells.extend([instant(it.start_time.as_ref()), instant(it.deadline.as_ref()), it.subject.clone()]);
        cells.extend(names.iter().map(|name| it.dimensions.get(name).cloned().unwrap_or_default()));
        cells.push(it.tags.join(" "));
        writer.write_record(&cells)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
