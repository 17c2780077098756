//! Reading a question from the command line.

use anyhow::Context as _;
use deskpulse_proto::v1::{Basis, Clock, MetricSelection, QueryMetricsRequest};
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, tz::TimeZone};

use super::{BasisArg, ClockArg, QueryArgs};
use crate::failure::Failure;
use crate::mapping::wire_time;

pub(super) fn request(args: &QueryArgs, zone: &TimeZone, now: Timestamp) -> anyhow::Result<QueryMetricsRequest> {
    Ok(QueryMetricsRequest {
        tenant: args.tenant.clone(),
        metrics: args.metrics.iter().map(|text| metric(text)).collect::<anyhow::Result<_>>()?,
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
        last: None,
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

/// The time zone with this name.
pub(crate) fn zone(name: &str) -> anyhow::Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Failure::new(format!("\"{name}\" is no IANA time zone"), "write one such as Europe/Lisbon or UTC").into()
    })
}

/// Reads `name` or `name:p50,<=24h,within=1h,variant=of_offered`.
pub(crate) fn metric(text: &str) -> anyhow::Result<MetricSelection> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let mut selection = MetricSelection { name: name.trim().to_owned(), ..MetricSelection::default() };
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        add_option(&mut selection, option).ok_or_else(|| {
            let message = format!("\"{option}\" in \"{text}\" is no option of a metric");
            let hint = "write a percentile (p50, p99.9), a share (<=24h), within=1h, short=5s, variant=NAME, currency=EUR \
                        or feature=NAME, separated by commas";
            Failure::new(message, hint)
        })?;
    }
    Ok(selection)
}

/// Puts one option into a selection; `None` when it is none.
fn add_option(selection: &mut MetricSelection, option: &str) -> Option<()> {
    if let Some(bound) = option.strip_prefix("<=") {
        selection.at_most.push(duration(bound)?);
    } else if let Some((name, value)) = option.split_once('=') {
        let value = value.trim();
        let text = Some(value.to_owned()).filter(|text| !text.is_empty());
        match name.trim() {
            "within" => selection.within = Some(duration(value)?),
            "short" => selection.short_abandon = Some(duration(value)?),
            "variant" => selection.variant = text?,
            "currency" => selection.currency = text?,
            "feature" => selection.feature = text?,
            _ => return None,
        }
    } else {
        let percentile = option.strip_prefix('p')?.parse().ok()?;
        selection.percentiles.push(Some(percentile).filter(|percentile| (0.0..=100.0).contains(percentile))?);
    }
    Some(())
}

fn duration(text: &str) -> Option<prost_types::Duration> {
    let duration = text.trim().parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let positive = duration >= SignedDuration::ZERO;
    positive.then(|| prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() })
}

/// Reads an RFC 3339 instant, a local time or date, `now` or a span before now.
fn instant(text: &str, zone: &TimeZone, now: Timestamp) -> anyhow::Result<Timestamp> {
    let text = text.trim();
    let local = |time: DateTime| zone.to_ambiguous_timestamp(time).compatible().ok();
    let read = if text == "now" {
        Some(now)
    } else if let Some(span) = text.strip_prefix('-') {
        let span = span.parse::<Span>().ok();
        span.and_then(|span| now.to_zoned(zone.clone()).checked_sub(span).ok()).map(|time| time.timestamp())
    } else {
        let date = || text.parse::<Date>().ok().filter(|_| !text.contains(['T', ':']));
        let instant = text.parse::<Timestamp>().ok();
        instant.or_else(|| date().and_then(|date| local(date.into()))).or_else(|| local(text.parse().ok()?))
    };
    read.ok_or_else(|| {
        let message = format!("\"{text}\" is no time");
        Failure::new(message, "write 2016-03-01, 2016-03-01T08:30, 2016-03-01T08:30:00Z, -7d or now").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_a_metrics_name() {
        let selection = metric("first_response_time:p50,p99.9,<=24h,<= 1h30m,within=20s").unwrap();
        assert_eq!(selection.name, "first_response_time");
        assert_eq!(selection.percentiles, [50.0, 99.9]);
        assert_eq!(selection.at_most.iter().map(|bound| bound.seconds).collect::<Vec<_>>(), [86_400, 5_400]);
        assert_eq!(selection.within.unwrap().seconds, 20);
        assert!(metric("resolutions").unwrap().percentiles.is_empty());
        assert_eq!(metric("x:<=500ms").unwrap().at_most[0].nanos, 500_000_000);
        let selection = metric("x:short=3s, variant = of_offered,currency=EUR,feature=dark mode: a=b").unwrap();
        assert_eq!(selection.short_abandon.unwrap().seconds, 3);
        assert_eq!((selection.variant.as_str(), selection.currency.as_str()), ("of_offered", "EUR"));
        assert_eq!(selection.feature, "dark mode: a=b");
        for wrong in
            ["x:p101", "x:50", "x:<=soon", "x:pNaN", "x:<=-1h", "x:within=", "x:short=5", "x:variant=", "x:other=1"]
        {
            assert!(metric(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_instants_local_times_dates_or_spans_before_now() {
        let now: Timestamp = "2026-03-30T10:00:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expected) in [
            ("now", "2026-03-30T10:00:00Z"),
            // The clocks went forward in between: two local days are 47 hours.
            ("-2d", "2026-03-28T11:00:00Z"),
            ("-90m", "2026-03-30T08:30:00Z"),
            ("-1w", "2026-03-23T11:00:00Z"),
            ("2026-03-01", "2026-02-28T23:00:00Z"),
            ("2026-03-01T08:30", "2026-03-01T07:30:00Z"),
            ("2026-03-01T08:30:00+05:00", "2026-03-01T03:30:00Z"),
        ] {
            assert_eq!(instant(text, &zone, now).unwrap().to_string(), expected, "{text}");
        }
        assert!(["yesterday", "", "-", "2026-13-01"].iter().all(|text| instant(text, &zone, now).is_err()));
    }
}
