//! Reading a question from the command line.

use anyhow::Context as _;
use deskpulse_proto::v1::{Basis, Clock, QueryMetricsRequest};
use deskpulse_text::Failure;
use deskpulse_text::ask::{duration, instant, metric, wire_time};
use jiff::{Timestamp, tz::TimeZone};

use super::{BasisArg, ClockArg, QueryArgs};

pub(super) fn request(args: &QueryArgs, zone: &TimeZone, now: Timestamp) -> anyhow::Result<QueryMetricsRequest> {
    Ok(QueryMetricsRequest {
        tenant: args.tenant.clone(),
        metrics: args.metrics.iter().map(|text| metric(text)).collect::<Result<_, _>>()?,
        filter: args.filter.clone(),
        group_by: args.group_by.clone(),
        start_time: time("from", args.from.as_ref(), zone, now)?,
        end_time: time("to", args.to.as_ref(), zone, now)?,
        interval: args.interval.clone(),
        // A zone without a name is none the server could know.
        time_zone: zone.iana_name().unwrap_or_default().to_owned(),
        basis: basis(args.basis).into(),
        clock: clock(args.clock).into(),
        order_by: args.order_by.clone(),
        limit: args.limit,
        totals: args.totals,
        fill_gaps: args.fill_gaps,
        top: args.top,
        others: args.others,
        compare_to: args.compare_to.clone(),
        page_size: 0,
        page_token: String::new(),
        last: args.last.as_deref().map(last).transpose()?,
    })
}

fn last(text: &str) -> Result<prost_types::Duration, Failure> {
    duration(text).ok_or_else(|| {
        Failure::new(format!("--last: \"{text}\" is no length of time"), "write one such as 5m, 12h or 7d")
    })
}

/// The instant an argument gives, if any.
pub(crate) fn time(
    name: &str,
    text: Option<&String>,
    zone: &TimeZone,
    now: Timestamp,
) -> anyhow::Result<Option<prost_types::Timestamp>> {
    let read = |text: &String| instant(text, zone, now).with_context(|| format!("--{name}"));
    Ok(text.map(read).transpose()?.map(wire_time))
}

pub(crate) fn basis(given: Option<BasisArg>) -> Basis {
    match given {
        None => Basis::Unspecified,
        Some(BasisArg::Event) => Basis::Event,
        Some(BasisArg::Cohort) => Basis::Cohort,
        Some(BasisArg::AsOf) => Basis::AsOf,
    }
}

pub(crate) fn clock(given: Option<ClockArg>) -> Clock {
    match given {
        None => Clock::Unspecified,
        Some(ClockArg::Calendar) => Clock::Calendar,
        Some(ClockArg::Business) => Clock::Business,
    }
}
