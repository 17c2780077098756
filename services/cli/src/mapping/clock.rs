//! Reading times.

use anyhow::{Context as _, bail};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::{Timestamp, tz::TimeZone};

#[derive(Debug)]
enum Format {
    UnixSeconds,
    UnixMilliseconds,
    Rfc3339,
    Pattern(String),
}

/// The ways in which a file writes times.
#[derive(Debug)]
pub(crate) struct Clock {
    names: Vec<String>,
    formats: Vec<Format>,
    zone: TimeZone,
}

impl Clock {
    /// Checks the formats and the name of the zone.
    pub(crate) fn new(names: Vec<String>, zone: &str) -> anyhow::Result<Self> {
        if names.is_empty() {
            bail!("time.formats: is empty");
        }
        let zone = TimeZone::get(zone).with_context(|| format!("time.zone: \"{zone}\" is no IANA time zone"))?;
        let formats = names
            .iter()
            .map(|name| match name.as_str() {
                "unix_s" => Ok(Format::UnixSeconds),
                "unix_ms" => Ok(Format::UnixMilliseconds),
                "rfc3339" => Ok(Format::Rfc3339),
                pattern if pattern.contains('%') => {
                    strtime::format(pattern, &Timestamp::UNIX_EPOCH.to_zoned(zone.clone()))
                        .with_context(|| format!("time.formats: \"{pattern}\""))?;
                    Ok(Format::Pattern(pattern.to_owned()))
                }
                other => bail!("time.formats: \"{other}\" is none of unix_s, unix_ms, rfc3339 or a strptime pattern"),
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { names, formats, zone })
    }

    /// The instant a text names, by the first format that fits it. A local time that a change of the clocks skips or
    /// repeats is taken as jiff's `compatible` has it: later where skipped, the first where repeated.
    pub(crate) fn read(&self, text: &str) -> Result<Timestamp, String> {
        let text = text.trim();
        self.formats
            .iter()
            .find_map(|format| self.read_as(format, text))
            .ok_or_else(|| format!("\"{text}\" is not a time of the form {}", self.names.join(" or ")))
    }

    fn read_as(&self, format: &Format, text: &str) -> Option<Timestamp> {
        match format {
            Format::UnixSeconds => scaled(text, 3),
            Format::UnixMilliseconds => scaled(text, 0),
            Format::Rfc3339 => text.parse().ok(),
            Format::Pattern(pattern) => {
                let parts = BrokenDownTime::parse(pattern, text).ok()?;
                if parts.offset().is_some() || parts.timestamp().is_some() {
                    return parts.to_timestamp().ok();
                }
                if parts.iana_time_zone().is_some() {
                    return parts.to_zoned().ok().map(|zoned| zoned.timestamp());
                }
                self.zone.to_ambiguous_timestamp(parts.to_datetime().ok()?).compatible().ok()
            }
        }
    }
}

/// A decimal number times a power of ten, in milliseconds since 1970; digits beyond are cut off.
fn scaled(text: &str, decimals: usize) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(decimals).collect();
    Timestamp::from_millisecond(format!("{whole}{fraction}").parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, zone: &str, text: &str) -> String {
        let clock = Clock::new(vec![format.to_owned()], zone).unwrap();
        clock.read(text).map_or_else(|error| error, |time| time.to_string())
    }

    #[test]
    fn times_are_read_in_every_form_and_zone() {
        for (format, zone, text, expected) in [
            ("%d/%m/%Y %H:%M", "UTC", "5/3/2016 1:06", "2016-03-05T01:06:00Z"),
            ("%a %b %d %H:%M:%S %z %Y", "UTC", "Tue Oct 31 22:10:47 +0000 2017", "2017-10-31T22:10:47Z"),
            ("%y%m%d %H:%M:%S", "Asia/Jerusalem", "990201 7:02:47", "1999-02-01T05:02:47Z"),
            ("%Y-%m-%d", "Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"),
            ("%Y-%m-%d %H:%M", "Europe/Berlin", "2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("%Y-%m-%d %H:%M", "Europe/Berlin", "2026-10-25 02:30", "2026-10-25T00:30:00Z"),
            ("unix_s", "UTC", "1456708560.2509", "2016-02-29T01:16:00.25Z"),
            ("unix_ms", "UTC", "1456708560250", "2016-02-29T01:16:00.25Z"),
            ("rfc3339", "UTC", "2016-02-29T01:16:00+01:00", "2016-02-29T00:16:00Z"),
        ] {
            assert_eq!(read(format, zone, text), expected, "{format} {text}");
        }
    }

    #[test]
    fn what_is_no_time_says_which_forms_were_tried() {
        assert_eq!(read("%d/%m/%Y", "UTC", "31/2/2016"), "\"31/2/2016\" is not a time of the form %d/%m/%Y");
        assert!(Clock::new(vec!["%d".to_owned()], "Mars/Olympus").unwrap_err().to_string().contains("time.zone"));
        assert!(Clock::new(vec!["iso".to_owned()], "UTC").unwrap_err().to_string().contains("time.formats"));
    }
}
