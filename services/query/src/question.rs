//! A question, checked.

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::{Anchor, Clock};
use deskpulse_core::filter::{Filter, FilterError};
use deskpulse_core::histogram::Percentile;
use deskpulse_core::interval::{Bucket, Cut, CutError, Interval, TimePart, cut};
use deskpulse_core::kpi::{self, Basis, Formula, Metric, Options, SHORT_ABANDON_MS};
use deskpulse_core::snapshot::{Part, Reduction};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::{self, CollectPart, CollectRequest, MetricSelection, QueryMetricsRequest};
use jiff::tz::TimeZone;

const TENANT: usize = 64;
const METRICS: usize = 20;
const GROUP_BY: usize = 8;
const PERCENTILES: usize = 100;
const FEATURE: usize = 128;

/// A question that can be asked.
pub(crate) struct Question {
    pub(crate) tenant: String,
    pub(crate) metrics: Vec<Asked>,
    pub(crate) filter: String,
    pub(crate) group_by: Vec<GroupBy>,
    pub(crate) cut: Cut,
    pub(crate) buckets: Vec<Bucket>,
    /// Whether rows are cut by time at all.
    pub(crate) has_intervals: bool,
    pub(crate) has_start: bool,
    pub(crate) order: Order,
    /// The most rows to answer with; `None` for all.
    pub(crate) limit: Option<usize>,
    pub(crate) now: Timestamp,
}

/// A metric asked for.
pub(crate) struct Asked {
    pub(crate) metric: &'static Metric,
    pub(crate) basis: Basis,
    pub(crate) formula: Formula,
    pub(crate) options: Options,
    /// The variant's name; empty for the metric as such.
    pub(crate) variant: String,
}

/// What to group by.
#[derive(PartialEq, Eq)]
pub(crate) enum GroupBy {
    Dimension(Dimension),
    Time(TimePart),
}

/// How rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    GroupThenTime,
    Value { descending: bool },
    Count { descending: bool },
}

impl Question {
    /// Checks a question; `now` is when it arrived.
    pub(crate) fn parse(request: QueryMetricsRequest, now: Timestamp) -> Result<Self, Fault> {
        check_tenant(&request.tenant)?;
        known_enum::<v1::Basis>("basis", request.basis)?;
        known_enum::<v1::Clock>("clock", request.clock)?;
        let basis = match request.basis() {
            v1::Basis::Unspecified => None,
            v1::Basis::Event => Some(Basis::Event),
            v1::Basis::Cohort => Some(Basis::Cohort),
            v1::Basis::AsOf => Some(Basis::AsOf),
        };
        let clock = match request.clock() {
            v1::Clock::Unspecified | v1::Clock::Calendar => Clock::Calendar,
            v1::Clock::Business => Clock::Business,
        };
        check_count("metrics", request.metrics.len(), METRICS)?;
        if request.metrics.is_empty() {
            return Err(Fault::in_field(Reason::FieldRequired, "metrics", "metrics is required: name at least one"));
        }
        let metrics = (0..)
            .zip(&request.metrics)
            .map(|(index, selection)| Asked::parse(&format!("metrics[{index}]"), selection, basis, clock, now))
            .collect::<Result<Vec<_>, _>>()?;
        Filter::parse(&request.filter).map_err(|error| {
            let reason = match &error {
                FilterError::UnknownDimension { .. } => Reason::UnknownDimension,
                _ => Reason::MalformedFilter,
            };
            Fault::in_field(reason, "filter", error.to_string())
        })?;
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
        let has_intervals = interval.is_some() || !time_parts.is_empty();
        let start = instant("start_time", request.start_time.as_ref())?;
        if start.is_none() && has_intervals {
            let message = "start_time is required with an interval, weekday or hour";
            return Err(Fault::in_field(Reason::FieldRequired, "start_time", message));
        }
        if let Some(asked) = metrics.iter().find(|asked| asked.formula.needs_start()).filter(|_| start.is_none()) {
            let message = format!("start_time is required for {}", asked.metric.name);
            return Err(Fault::in_field(Reason::FieldRequired, "start_time", message));
        }
        let has_start = start.is_some();
        let start = start.unwrap_or(Timestamp::MIN);
        let end = instant("end_time", request.end_time.as_ref())?.unwrap_or(now);
        let (cut, buckets) = cut(start, end, interval, &time_parts, &zone).map_err(|error| match error {
            CutError::Empty | CutError::Calendar(_) => {
                Fault::in_field(Reason::InvalidRange, "end_time", error.to_string())
            }
            CutError::TooManyIntervals => Fault::in_field(Reason::TooManyRows, "interval", error.to_string()),
        })?;
        Ok(Self {
            tenant: request.tenant,
            metrics,
            filter: request.filter,
            group_by,
            cut,
            buckets,
            has_intervals,
            has_start,
            order: order(&request.order_by)?,
            limit: (request.limit > 0).then_some(request.limit as usize),
            now,
        })
    }

    /// What aggregation has to collect: the parts of all metrics, one after the other.
    pub(crate) fn to_collect(&self) -> CollectRequest {
        let parts = self.metrics.iter().flat_map(|asked| asked.formula.parts(&asked.options));
        CollectRequest {
            tenant: self.tenant.clone(),
            parts: parts.map(collect_part).collect(),
            filter: self.filter.clone(),
            group_by: self.group_by.iter().filter_map(GroupBy::dimension).map(ToString::to_string).collect(),
            bounds_ms: self.cut.bounds().to_vec(),
            buckets: self.cut.buckets().to_vec(),
            now_ms: self.now.millis(),
        }
    }
}

fn collect_part(part: Part) -> CollectPart {
    let reduction = match part.reduction {
        Reduction::Count => v1::Reduction::Count,
        Reduction::Distribution => v1::Reduction::Distribution,
        Reduction::Distinct => v1::Reduction::Distinct,
        Reduction::DistinctValues => v1::Reduction::DistinctValues,
        Reduction::Repeated => v1::Reduction::Repeated,
        Reduction::NotFollowed => v1::Reduction::NotFollowed,
        Reduction::Level => v1::Reduction::Level,
        Reduction::LevelAtStart => v1::Reduction::LevelAtStart,
        Reduction::LevelChange => v1::Reduction::LevelChange,
        Reduction::LevelAge => v1::Reduction::LevelAge,
        Reduction::LevelNext => v1::Reduction::LevelNext,
        Reduction::Time => v1::Reduction::Time,
    };
    CollectPart {
        measures: part.measures.iter().map(|measure| measure.name().to_owned()).collect(),
        reduction: reduction.into(),
        at_most: part.at_most,
        at_start: part.anchor == Anchor::Start,
        business: part.clock == Clock::Business,
        filter: part.filter.to_string(),
    }
}

/// Amounts of different currencies are never added.
fn check_currency(index: usize, asked: &Asked, group_by: &[GroupBy]) -> Result<(), Fault> {
    if !asked.metric.has_currency() {
        return Ok(());
    }
    let name = asked.metric.name;
    let grouped = group_by.contains(&GroupBy::Dimension(Dimension::Currency));
    let is_sum = matches!(asked.formula, Formula::SumInCurrency(_));
    if grouped && !is_sum {
        let message = format!("{name} cannot be grouped by currency: name one in metrics[{index}].currency");
        return Err(Fault::in_field(Reason::NotApplicable, "group_by", message));
    }
    if asked.options.currency.is_none() && !grouped {
        let or = if is_sum { ", or group by currency" } else { "" };
        let field = format!("metrics[{index}].currency");
        let message = format!("{field} is required for {name}, such as EUR{or}");
        return Err(Fault::in_field(Reason::FieldRequired, field, message));
    }
    Ok(())
}

impl Asked {
    fn parse(
        field: &str,
        selection: &MetricSelection,
        basis: Option<Basis>,
        clock: Clock,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let at = |part: &str| format!("{field}.{part}");
        let Some(metric) = kpi::metric(&selection.name) else {
            let message = format!("there is no metric {:?}: ListMetrics lists them", selection.name);
            return Err(Fault::in_field(Reason::UnknownMetric, at("name"), message));
        };
        let Some((basis, formula)) = metric.on(basis) else {
            let known: Vec<&str> = metric.bases.iter().map(|(basis, _)| basis.name()).collect();
            let message = format!("{} can be asked on the basis {} only", metric.name, known.join(" or "));
            return Err(Fault::in_field(Reason::NotApplicable, "basis", message));
        };
        let formula = match (metric.variant(&selection.variant), selection.variant.as_str()) {
            (_, "") => formula,
            (Some(variant), _) => variant.computed,
            (None, unknown) => {
                let known: Vec<&str> = metric.variants.iter().map(|variant| variant.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("{} has no variant {unknown:?}: it has {known}", metric.name);
                return Err(Fault::in_field(Reason::NotApplicable, at("variant"), message));
            }
        };
        if clock == Clock::Business && !metric.has_business_clock() {
            let message = format!("{} is not kept on the business clock", metric.name);
            return Err(Fault::in_field(Reason::NotApplicable, "clock", message));
        }
        let applicable = |part: &str, given: bool, has: bool| {
            if !given || has {
                return Ok(());
            }
            let message = format!("{} knows no {part}", metric.name);
            Err(Fault::in_field(Reason::NotApplicable, at(part), message))
        };
        applicable("percentiles", !selection.percentiles.is_empty(), metric.has_distribution())?;
        applicable("at_most", !selection.at_most.is_empty(), metric.has_distribution())?;
        applicable("within", selection.within.is_some(), metric.has_within())?;
        applicable("short_abandon", selection.short_abandon.is_some(), metric.has_short())?;
        applicable("currency", !selection.currency.is_empty(), metric.has_currency())?;
        applicable("feature", !selection.feature.is_empty(), metric.has_feature())?;
        let is_code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if !selection.currency.is_empty() && !is_code(&selection.currency) {
            let message = format!("{} must be three capital letters, such as EUR", at("currency"));
            return Err(Fault::in_field(Reason::FieldInvalid, at("currency"), message));
        }
        if selection.feature.len() > FEATURE {
            let message = format!("{} has {} bytes, the limit is {FEATURE}", at("feature"), selection.feature.len());
            return Err(Fault::in_field(Reason::FieldTooLong, at("feature"), message));
        }
        check_count(&at("percentiles"), selection.percentiles.len(), PERCENTILES)?;
        check_count(&at("at_most"), selection.at_most.len(), PERCENTILES)?;
        let percentiles = selection
            .percentiles
            .iter()
            .map(|percent| {
                let message = || format!("{percent} is no percentile: give a number from 0 to 100");
                Percentile::new(*percent)
                    .ok_or_else(|| Fault::in_field(Reason::FieldInvalid, at("percentiles"), message()))
            })
            .collect::<Result<_, _>>()?;
        let at_most =
            selection.at_most.iter().map(|bound| duration(&at("at_most"), bound)).collect::<Result<_, _>>()?;
        let within_ms = selection.within.as_ref().map(|within| duration(&at("within"), within)).transpose()?;
        let short = selection.short_abandon.as_ref();
        let short_ms = short.map(|short| duration(&at("short_abandon"), short)).transpose()?;
        let given = |text: &str| (!text.is_empty()).then(|| text.into());
        let options = Options {
            basis,
            clock,
            percentiles,
            at_most,
            within_ms,
            short_ms: short_ms.unwrap_or(SHORT_ABANDON_MS),
            currency: given(&selection.currency),
            feature: given(&selection.feature),
            now_ms: now.millis(),
        };
        Ok(Self { metric, basis, formula, options, variant: selection.variant.clone() })
    }
}

impl GroupBy {
    fn time_part(&self) -> Option<TimePart> {
        match self {
            Self::Time(part) => Some(*part),
            Self::Dimension(_) => None,
        }
    }

    fn dimension(&self) -> Option<&Dimension> {
        match self {
            Self::Dimension(dimension) => Some(dimension),
            Self::Time(_) => None,
        }
    }
}

fn check_tenant(tenant: &str) -> Result<(), Fault> {
    if tenant.is_empty() {
        return Err(Fault::in_field(Reason::FieldRequired, "tenant", "tenant is required"));
    }
    if tenant.len() > TENANT {
        let message = format!("tenant has {} bytes, the limit is {TENANT}", tenant.len());
        return Err(Fault::in_field(Reason::FieldTooLong, "tenant", message));
    }
    Ok(())
}

fn check_count(field: &str, count: usize, limit: usize) -> Result<(), Fault> {
    if count <= limit {
        return Ok(());
    }
    let message = format!("{field} has {count} entries, the limit is {limit}: ask for fewer");
    Err(Fault::in_field(Reason::FieldTooLong, field, message))
}

fn known_enum<T: TryFrom<i32>>(field: &str, number: i32) -> Result<(), Fault> {
    T::try_from(number).map(drop).map_err(|_| {
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

fn instant(field: &str, time: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Fault> {
    let Some(time) = time else { return Ok(None) };
    whole_ms(time.seconds, time.nanos).and_then(Timestamp::from_millis).map(Some).ok_or_else(|| {
        let message = format!("{field} is no instant of the years 1 to 9999 with nanos from 0 to 999,999,999");
        Fault::in_field(Reason::FieldInvalid, field, message)
    })
}

fn duration(field: &str, duration: &prost_types::Duration) -> Result<i64, Fault> {
    whole_ms(duration.seconds, duration.nanos)
        .filter(|ms| (0..=deskpulse_core::histogram::GREATEST).contains(ms))
        .ok_or_else(|| Fault::in_field(Reason::FieldInvalid, field, format!("{field} must be from 0 to 10,000 years")))
}

/// Seconds and nanos in milliseconds, finer digits cut off; `None` when the nanos are not 0 to 999,999,999.
fn whole_ms(seconds: i64, nanos: i32) -> Option<i64> {
    let nanos = Some(nanos).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    seconds.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)
}

fn order(text: &str) -> Result<Order, Fault> {
    match text {
        "" => Ok(Order::GroupThenTime),
        "value" => Ok(Order::Value { descending: false }),
        "-value" => Ok(Order::Value { descending: true }),
        "count" => Ok(Order::Count { descending: false }),
        "-count" => Ok(Order::Count { descending: true }),
        _ => {
            let message = "order_by is value, count, -value or -count".to_owned();
            Err(Fault::in_field(Reason::FieldInvalid, "order_by", message))
        }
    }
}
