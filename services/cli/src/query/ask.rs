//! Reading a question from the command line.

use anyhow::Context as _;
use deskpulse_proto::v1::{Basis, MetricSelection, QueryMetricsRequest};
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, tz::TimeZone};

use super::{BasisArg, QueryArgs};
use crate::failure::Failure;
use crate::mapping::wire_time;

pub(super) fn request(args: &QueryArgs, now: Timestamp) -> anyhow::Result<QueryMetricsRequest> {
    let zone = TimeZone::get(&args.zone).map_err(|_| {
        Failure::new(format!("--zone {} is no IANA time zone", args.zone), "write one such as Europe/Lisbon or UTC")
    })?;
    let time = |name: &str, text: &Option<String>| -> anyhow::Result<Option<prost_types::Timestamp>> {
        let read = |text: &String| instant(text, &zone, now).with_context(|| format!("--{name}"));
        Ok(text.as_ref().map(read).transpose()?.map(wire_time))
    };
    let basis = match args.basis {
        None => Basis::Unspecified,
        Some(BasisArg::Event) => Basis::Event,
        Some(BasisArg::Cohort) => Basis::Cohort,
        Some(BasisArg::AsOf) => Basis::AsOf,
    };
    Ok(QueryMetricsRequest {
        tenant: args.tenant.clone(),
        metrics: args.metrics.iter().map(|text| metric(text)).collect::<anyhow::Result<_>>()?,
        filter: args.filter.clone(),
        group_by: args.group_by.clone(),
        start_time: time("from", &args.from)?,
        end_time: time("to", &args.to)?,
        interval: args.interval.clone(),
        time_zone: args.zone.clone(),
        basis: basis.into(),
        clock: 0,
        order_by: args.order_by.clone(),
        limit: args.limit,
    })
}

/// Reads `name` or `name:p50,<=24h,within=1h`.
fn metric(text: &str) -> anyhow::Result<MetricSelection> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let mut selection = MetricSelection { name: name.trim().to_owned(), ..MetricSelection::default() };
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let read = if let Some(bound) = option.strip_prefix("<=") {
            duration(bound).map(|bound| selection.at_most.push(bound))
        } else if let Some(bound) = option.strip_prefix("within=") {
            duration(bound).map(|bound| selection.within = Some(bound))
        } else {
            let percentile = option.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
            percentile.filter(|percentile| (0.0..=100.0).contains(percentile)).map(|p| selection.percentiles.push(p))
        };
        read.ok_or_else(|| {
            let message = format!("\"{option}\" in \"{text}\" is no option of a metric");
            Failure::new(message, "write a percentile (p50, p99.9), a share (<=24h) or within=1h, separated by commas")
        })?;
    }
    Ok(selection)
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
        for wrong in ["x:p101", "x:50", "x:<=soon", "x:pNaN", "x:<=-1h"] {
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
