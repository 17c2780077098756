//! Reading a question's parts.

use deskpulse_proto::v1::MetricSelection;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, tz::TimeZone};

use crate::Failure;

/// The time zone with this name.
pub fn zone(name: &str) -> Result<TimeZone, Failure> {
    TimeZone::get(name)
        .map_err(|_| Failure::new(format!("\"{name}\" is no IANA time zone"), "write one such as Europe/Lisbon or UTC"))
}

/// Reads `name` or `name:p50,<=24h,within=1h,variant=of_offered`.
pub fn metric(text: &str) -> Result<MetricSelection, Failure> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let mut selection = MetricSelection { name: name.trim().to_owned(), ..MetricSelection::default() };
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        add_option(&mut selection, option).ok_or_else(|| {
            let message = format!("\"{option}\" in \"{text}\" is no option of a metric");
            let hint = "write a percentile (p50, p99.9), a share (<=24h), histogram, within=1h, short=5s, variant=NAME, \
                        currency=EUR or feature=NAME, separated by commas";
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
    } else if option == "histogram" {
        selection.histogram = true;
    } else {
        let percentile = option.strip_prefix('p')?.parse().ok()?;
        selection.percentiles.push(Some(percentile).filter(|percentile| (0.0..=100.0).contains(percentile))?);
    }
    Some(())
}

/// Reads a length of time such as `1h30m`; `None` when it is none, or negative.
#[must_use]
pub fn duration(text: &str) -> Option<prost_types::Duration> {
    let duration = text.trim().parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let positive = duration >= SignedDuration::ZERO;
    positive.then(|| prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() })
}

/// Reads an RFC 3339 instant, a local time or date, `now` or a span before now.
pub fn instant(text: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, Failure> {
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
        Failure::new(message, "write 2016-03-01, 2016-03-01T08:30, 2016-03-01T08:30:00Z, -7d or now")
    })
}

/// A time as the contract carries it.
#[must_use]
pub fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    let mut seconds = time.as_second();
    let mut nanos = time.subsec_nanosecond();
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
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
        assert!(metric("x:p50,histogram").unwrap().histogram && !metric("histogram:p50").unwrap().histogram);
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
