//! A question, checked.

mod asked;
mod order;
mod page;

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::Clock;
use deskpulse_core::filter::{Filter, FilterError};
use deskpulse_core::interval::{Bucket, Cut, CutError, Interval, Shift, TimePart, cut};
use deskpulse_core::kpi::Basis;
use deskpulse_core::snapshot::{Collection, Only, Plan};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::{self, QueryMetricsRequest};
use jiff::tz::TimeZone;

pub(crate) use asked::Asked;
use asked::check_currency;
pub(crate) use order::{Key as OrderKey, Order, What};
pub(crate) use page::{After, Page};

const TENANT: usize = 64;
const METRICS: usize = 20;
const GROUP_BY: usize = 8;
/// The longest range that ends now: ten years.
const LAST_MS: i64 = 3_660 * 24 * 60 * 60 * 1_000;
/// The most groups that can be told from the others.
const TOP: usize = 1_000;

/// A question that can be asked.
pub(crate) struct Question {
    pub(crate) tenant: String,
    pub(crate) metrics: Vec<Asked>,
    pub(crate) filter: Filter,
    pub(crate) group_by: Vec<GroupBy>,
    /// What is asked about the range itself.
    pub(crate) sheets: Sheets,
    /// The same of an earlier period.
    pub(crate) earlier: Option<Sheets>,
    /// Every dimension's groups over the whole range, where only the first of them are wanted and rows do not tell which these are.
    pub(crate) ranking: Option<Sheet>,
    pub(crate) top: usize,
    pub(crate) others: bool,
    pub(crate) fill_gaps: bool,
    pub(crate) has_start: bool,
    /// The zone that time was cut in; empty where it was not.
    pub(crate) time_zone: String,
    pub(crate) order: Order,
    /// The most rows there are, as each is one of the first groups; `None` for all.
    pub(crate) most: Option<usize>,
    /// The most rows to answer with; `None` for all.
    pub(crate) limit: Option<usize>,
    pub(crate) page: Page,
    pub(crate) now: Timestamp,
}

/// A table of figures: groups by intervals.
pub(crate) struct Sheet {
    pub(crate) cut: Cut,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) has_groups: bool,
    /// Neither groups nor intervals: there is exactly one row.
    pub(crate) is_one_row: bool,
}

/// Which rows of a table come into the answer, in the order of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsWanted {
    /// Perhaps any, perhaps with something beside it.
    All,
    /// Each, as it is.
    AsTheyAre,
    /// None but so many, the first ones.
    First(usize),
}

/// The tables a question asks for, of one period.
pub(crate) struct Sheets {
    pub(crate) rows: Sheet,
    /// Every group over the whole range, where `rows` are of shorter intervals.
    pub(crate) group_totals: Option<Sheet>,
    /// Everything.
    pub(crate) total: Option<Sheet>,
}

impl Sheets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sheet> {
        [Some(&self.rows), self.group_totals.as_ref(), self.total.as_ref()].into_iter().flatten()
    }
}

/// What to group by.
#[derive(PartialEq, Eq)]
pub(crate) enum GroupBy {
    Dimension(Dimension),
    Time(TimePart),
}

impl Question {
    /// Checks a question; `now` is when it arrived, or when its first page was asked for.
    pub(crate) fn parse(request: QueryMetricsRequest, page: Page, now: Timestamp) -> Result<Self, Fault> {
        check_tenant(&request.tenant)?;
        let (basis, clock) = basis_and_clock(request.basis, request.clock)?;
        check_count("metrics", request.metrics.len(), METRICS)?;
        if request.metrics.is_empty() {
            return Err(Fault::in_field(Reason::FieldRequired, "metrics", "metrics is required: name at least one"));
        }
        let metrics = (0..)
            .zip(&request.metrics)
            .map(|(index, selection)| Asked::parse(&format!("metrics[{index}]"), selection, basis, clock, now))
            .collect::<Result<Vec<_>, _>>()?;
        let filter = parse_filter(&request.filter)?;
        let group_by = group_by(&request.group_by)?;
        let time_parts: Vec<TimePart> = group_by.iter().filter_map(GroupBy::time_part).collect();
        let whole = |asked: &&Asked| asked.formula.needs_whole_intervals();
        if let Some(asked) = metrics.iter().find(whole).filter(|_| !time_parts.is_empty()) {
            let message =
                format!("{} is about whole intervals: it cannot be grouped by weekday or hour", asked.metric.name);
            return Err(Fault::in_field(Reason::NotApplicable, "group_by", message));
        }
        for (index, asked) in metrics.iter().enumerate() {
            check_currency(index, asked, &group_by)?;
        }
        let interval = parse_interval(&request.interval)?;
        let zone = zone(&request.time_zone)?;
        let order = Order::parse(&request.order_by, &metrics)?;
        let has_dimensions = group_by.iter().any(|grouping| grouping.dimension().is_some());
        let top = check_top(&request, &order, has_dimensions)?;
        let shift = shift(&request.compare_to)?;
        let end = instant("end_time", request.end_time.as_ref())?.unwrap_or(now);
        let start = match (&request.start_time, &request.last) {
            (Some(_), Some(_)) => {
                let message = "last and start_time both say where the range begins: give one of them";
                return Err(Fault::in_field(Reason::NotApplicable, "last", message));
            }
            (None, Some(last)) => {
                let last_ms = duration("last", last)?;
                if !(1..=LAST_MS).contains(&last_ms) {
                    let message = format!("last is {last_ms} ms, it must be from 1 ms to 10 years");
                    return Err(Fault::in_field(Reason::FieldInvalid, "last", message));
                }
                Some(Timestamp::clamped(end.millis() - last_ms))
            }
            (start, None) => instant("start_time", start.as_ref())?,
        };
        let needs_start = [
            ("an interval, weekday or hour", interval.is_some() || !time_parts.is_empty()),
            ("compare_to", shift.is_some()),
        ];
        if let Some((what, _)) = needs_start.iter().find(|(_, needs)| *needs && start.is_none()) {
            let message = format!("start_time is required with {what}");
            return Err(Fault::in_field(Reason::FieldRequired, "start_time", message));
        }
        if let Some(asked) = metrics.iter().find(|asked| asked.formula.needs_start()).filter(|_| start.is_none()) {
            let message = format!("start_time is required for {}", asked.metric.name);
            return Err(Fault::in_field(Reason::FieldRequired, "start_time", message));
        }
        let range = (start.unwrap_or(Timestamp::MIN), end);
        let plan = Periods { interval, time_parts, totals: request.totals, has_groups: !group_by.is_empty(), zone };
        let sheets = plan.sheets(range)?;
        let earlier = shift.map(|shift| plan.sheets(plan.shifted(range, shift)?)).transpose()?;
        let is_cut = plan.interval.is_some() || !plan.time_parts.is_empty() || earlier.is_some();
        let most = (top > 0 && !is_cut && !request.others).then_some(top);
        let ranking = (top > 0 && most.is_none()).then(|| plan.sheet(range, None, &[], true)).transpose()?;
        let zone_name = plan.zone.iana_name().unwrap_or("UTC");
        Ok(Self {
            tenant: request.tenant,
            metrics,
            filter,
            group_by,
            sheets,
            earlier,
            ranking,
            top,
            others: request.others,
            fill_gaps: request.fill_gaps,
            has_start: start.is_some(),
            time_zone: if is_cut { zone_name.to_owned() } else { String::new() },
            order,
            most,
            limit: (request.limit > 0).then_some(request.limit as usize),
            page,
            now,
        })
    }

    /// What to collect, of the tenant asked about.
    pub(crate) fn collection(&self, plans: Vec<Plan>, pin_from_rows: Option<u32>) -> Collection {
        Collection { tenant: self.tenant.clone(), plans, pin_from_rows }
    }

    /// From how many rows on the moment is needed again.
    pub(crate) fn pin_from_rows(&self) -> Option<u32> {
        // An answer may have more rows than were collected.
        let grows = self.fill_gaps || self.earlier.is_some();
        let more_rows = self.page.size.map(|size| if grows { 0 } else { u32::try_from(size + 1).unwrap_or(u32::MAX) });
        if self.page.after.is_some() { Some(0) } else { more_rows }
    }

    /// All tables, of the range itself and of the earlier period.
    fn all_sheets(&self) -> impl Iterator<Item = &Sheet> {
        self.sheets.iter().chain(self.earlier.iter().flat_map(Sheets::iter))
    }

    /// The sheet that a plan of [`Self::plans`] is for, and which of the rows collected for it come into the answer.
    pub(crate) fn sheet(&self, plan: usize) -> (&Sheet, RowsWanted) {
        let sheet = self.all_sheets().nth(plan).expect("every plan is for a sheet");
        if plan != 0 || self.earlier.is_some() {
            return (sheet, RowsWanted::All);
        }
        let is_one_page = self.page.size.is_none() && self.page.after.is_none();
        let wanted = match self.limit.into_iter().chain(self.most).min() {
            // What is missing is told by all that is there.
            Some(first) if !self.fill_gaps => RowsWanted::First(first),
            None if is_one_page => RowsWanted::AsTheyAre,
            _ => RowsWanted::All,
        };
        (sheet, wanted)
    }

    /// How many intervals its tables have.
    pub(crate) fn intervals(&self) -> usize {
        self.all_sheets().map(|sheet| sheet.cut.buckets().len()).sum()
    }

    /// What aggregation has to collect for all sheets, of certain groups only where these are given.
    pub(crate) fn plans(&self, only: Option<&Only>) -> Vec<Plan> {
        let mut plans: Vec<Plan> = self.all_sheets().map(|sheet| self.plan(sheet, only)).collect();
        if let Some(rows) = plans.first_mut().filter(|_| self.fill_gaps) {
            rows.rows_a_group = self.sheets.rows.buckets.len();
        }
        plans
    }

    /// What aggregation has to collect for a sheet: the parts of all metrics, one after the other.
    pub(crate) fn plan(&self, sheet: &Sheet, only: Option<&Only>) -> Plan {
        let dimensions = self.group_by.iter().filter_map(GroupBy::dimension).filter(|_| sheet.has_groups);
        Plan {
            parts: self.metrics.iter().flat_map(|asked| asked.formula.parts(&asked.options)).collect(),
            filter: self.filter.clone(),
            group_by: dimensions.cloned().collect(),
            only: only.filter(|_| sheet.has_groups).cloned(),
            cut: sheet.cut.clone(),
            now: self.now,
            rows_a_group: 1,
        }
    }
}

/// How time is cut, and into which tables.
struct Periods {
    interval: Option<Interval>,
    time_parts: Vec<TimePart>,
    totals: bool,
    has_groups: bool,
    zone: TimeZone,
}

impl Periods {
    fn sheets(&self, range: (Timestamp, Timestamp)) -> Result<Sheets, Fault> {
        let has_totals = self.totals && self.interval.is_some() && self.has_groups;
        let group_totals = has_totals.then(|| self.sheet(range, None, &self.time_parts, true)).transpose()?;
        let total = self.totals.then(|| self.sheet(range, None, &[], false)).transpose()?;
        let rows = self.sheet(range, self.interval, &self.time_parts, self.has_groups)?;
        Ok(Sheets { rows, group_totals, total })
    }

    fn sheet(
        &self,
        (start, end): (Timestamp, Timestamp),
        interval: Option<Interval>,
        time_parts: &[TimePart],
        has_groups: bool,
    ) -> Result<Sheet, Fault> {
        let (cut, buckets) = cut(start, end, interval, time_parts, &self.zone).map_err(|error| match error {
            CutError::Empty | CutError::Calendar(_) => {
                Fault::in_field(Reason::InvalidRange, "end_time", error.to_string())
            }
            CutError::TooManyIntervals => Fault::in_field(Reason::TooManyRows, "interval", error.to_string()),
        })?;
        Ok(Sheet { cut, buckets, has_groups, is_one_row: !has_groups && interval.is_none() })
    }

    fn shifted(&self, (start, end): (Timestamp, Timestamp), shift: Shift) -> Result<(Timestamp, Timestamp), Fault> {
        shift
            .earlier(start, end, &self.zone)
            .map_err(|error| Fault::in_field(Reason::InvalidRange, "compare_to", error.to_string()))
    }
}

/// The basis asked for, if any, and the clock.
pub(crate) fn basis_and_clock(basis: i32, clock: i32) -> Result<(Option<Basis>, Clock), Fault> {
    let basis = match known_enum::<v1::Basis>("basis", basis)? {
        v1::Basis::Unspecified => None,
        v1::Basis::Event => Some(Basis::Event),
        v1::Basis::Cohort => Some(Basis::Cohort),
        v1::Basis::AsOf => Some(Basis::AsOf),
    };
    let clock = match known_enum::<v1::Clock>("clock", clock)? {
        v1::Clock::Unspecified | v1::Clock::Calendar => Clock::Calendar,
        v1::Clock::Business => Clock::Business,
    };
    Ok((basis, clock))
}

pub(crate) fn parse_filter(filter: &str) -> Result<Filter, Fault> {
    Filter::parse(filter).map_err(|error| {
        let reason = match &error {
            FilterError::UnknownDimension { .. } => Reason::UnknownDimension,
            _ => Reason::MalformedFilter,
        };
        Fault::in_field(reason, "filter", error.to_string())
    })
}

fn check_top(request: &QueryMetricsRequest, order: &Order, has_dimensions: bool) -> Result<usize, Fault> {
    let top = request.top as usize;
    if top > TOP {
        let message = format!("top is {top}, the limit is {TOP}: use limit for more rows");
        return Err(Fault::in_field(Reason::FieldInvalid, "top", message));
    }
    if top == 0 && request.others {
        let message = "others are those that are not among the top: give top, too";
        return Err(Fault::in_field(Reason::NotApplicable, "others", message));
    }
    if top > 0 && !has_dimensions {
        let message = "top is about groups: group by a dimension";
        return Err(Fault::in_field(Reason::NotApplicable, "top", message));
    }
    if top > 0 && !order.has_figures() {
        let message = "top needs figures in order_by to say what comes first, such as -value";
        return Err(Fault::in_field(Reason::NotApplicable, "top", message));
    }
    Ok(top)
}

fn shift(text: &str) -> Result<Option<Shift>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    Shift::parse(text).map(Some).ok_or_else(|| {
        let message = format!("there is no earlier period {text:?}: give one of {}", Shift::SPELLINGS.join(", "));
        Fault::in_field(Reason::FieldInvalid, "compare_to", message)
    })
}

impl GroupBy {
    fn time_part(&self) -> Option<TimePart> {
        match self {
            Self::Time(part) => Some(*part),
            Self::Dimension(_) => None,
        }
    }

    pub(crate) fn dimension(&self) -> Option<&Dimension> {
        match self {
            Self::Dimension(dimension) => Some(dimension),
            Self::Time(_) => None,
        }
    }
}

pub(crate) fn check_tenant(tenant: &str) -> Result<(), Fault> {
    if tenant.is_empty() {
        return Err(Fault::in_field(Reason::FieldRequired, "tenant", "tenant is required"));
    }
    if tenant.len() > TENANT {
        let message = format!("tenant has {} bytes, the limit is {TENANT}", tenant.len());
        return Err(Fault::in_field(Reason::FieldTooLong, "tenant", message));
    }
    Ok(())
}

pub(crate) fn check_count(field: &str, count: usize, limit: usize) -> Result<(), Fault> {
    if count <= limit {
        return Ok(());
    }
    let message = format!("{field} has {count} entries, the limit is {limit}: ask for fewer");
    Err(Fault::in_field(Reason::FieldTooLong, field, message))
}

fn known_enum<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| {
        let message = format!("{field} has the value {number}, which this version does not know");
        Fault::in_field(Reason::FieldInvalid, field, message)
    })
}

fn group_by(names: &[String]) -> Result<Vec<GroupBy>, Fault> {
    check_count("group_by", names.len(), GROUP_BY)?;
    let mut list = Vec::new();
    for name in names {
        let grouping =
            TimePart::parse(name).map(GroupBy::Time).or_else(|| Dimension::parse(name).map(GroupBy::Dimension));
        let Some(grouping) = grouping else {
            let known: Vec<&str> = Dimension::STANDARD.iter().map(Dimension::name).collect();
            let message = format!(
                "there is no dimension {name:?}: group by {}, attributes.NAME, weekday or hour",
                known.join(", ")
            );
            return Err(Fault::in_field(Reason::UnknownDimension, "group_by", message));
        };
        if list.contains(&grouping) {
            return Err(Fault::in_field(Reason::FieldInvalid, "group_by", format!("{name} stands twice")));
        }
        list.push(grouping);
    }
    Ok(list)
}

fn parse_interval(text: &str) -> Result<Option<Interval>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    Interval::parse(text).map(Some).ok_or_else(|| {
        let message = format!("there is no interval {text:?}: give one of {}", Interval::SPELLINGS.join(", "));
        Fault::in_field(Reason::FieldInvalid, "interval", message)
    })
}

fn zone(name: &str) -> Result<TimeZone, Fault> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let shown: String = name.chars().take(64).collect();
        let message = format!("there is no IANA time zone {shown:?}: give one such as Europe/Berlin");
        Fault::in_field(Reason::UnknownTimeZone, "time_zone", message)
    })
}

pub(crate) fn instant(field: &str, time: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Fault> {
    let Some(time) = time else { return Ok(None) };
    whole_ms(time.seconds, time.nanos).and_then(Timestamp::from_millis).map(Some).ok_or_else(|| {
        let message = format!("{field} is no instant of the years 1 to 9999 with nanos from 0 to 999,999,999");
        Fault::in_field(Reason::FieldInvalid, field, message)
    })
}

pub(crate) fn duration(field: &str, duration: &prost_types::Duration) -> Result<i64, Fault> {
    whole_ms(duration.seconds, duration.nanos)
        .filter(|ms| (0..=deskpulse_core::histogram::GREATEST).contains(ms))
        .ok_or_else(|| Fault::in_field(Reason::FieldInvalid, field, format!("{field} must be from 0 to 10,000 years")))
}

/// Seconds and nanos in milliseconds, finer digits cut off; `None` when the nanos are not 0 to 999,999,999.
fn whole_ms(seconds: i64, nanos: i32) -> Option<i64> {
    let nanos = Some(nanos).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    seconds.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)
}
