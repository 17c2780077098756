//! Settings, business hours and policies.

use std::collections::BTreeMap;

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::{Calendar, ConfigChange, SlaPolicy, Tenant};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{DAY, milliseconds};

const MINUTE: i64 = 60_000;

/// The stretches of time a calendar is open, ascending and apart.
type OpenSpans = Vec<(i64, i64)>;

/// How time is measured: elapsed, or inside these stretches only.
pub(crate) type Measure<'a> = Option<&'a [(i64, i64)]>;

/// What a tenant has set.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) settings: Tenant,
    /// Versions of policies by id and `effective_from`.
    pub(crate) policies: BTreeMap<String, BTreeMap<i64, SlaPolicy>>,
    open: BTreeMap<String, OpenSpans>,
}

impl Config {
    pub(crate) fn new(changes: &[ConfigChange], now: i64) -> Self {
        let mut config = Self::default();
        let mut calendars: BTreeMap<String, BTreeMap<i64, Calendar>> = BTreeMap::new();
        for change in changes {
            match change.change.clone().expect("a change") {
                Change::Settings(settings) => config.settings = settings,
                Change::Calendar(calendar) => {
                    let from = milliseconds(calendar.effective_from.as_ref());
                    calendars.entry(calendar.calendar.clone()).or_default().insert(from, calendar);
                }
                Change::SlaPolicy(policy) => {
                    let from = milliseconds(policy.effective_from.as_ref());
                    config.policies.entry(policy.policy.clone()).or_default().insert(from, policy);
                }
            }
        }
        config.open = calendars.into_iter().map(|(id, versions)| (id, open_spans(&versions, now))).collect();
        config
    }

    /// The business clock of a team: its calendar, else the tenant's, else elapsed time.
    pub(crate) fn business(&self, team: Option<&str>) -> Measure<'_> {
        let of_team = self.settings.team_calendars.iter().find(|entry| Some(entry.team.as_str()) == team);
        let calendar = of_team.map_or(&self.settings.calendar, |entry| &entry.calendar);
        self.open.get(calendar).map(Vec::as_slice)
    }
}

/// How much time there is from one instant to another; none when they run backwards.
pub(crate) fn length(measure: Measure<'_>, from: i64, to: i64) -> i64 {
    match measure {
        None => (to - from).max(0),
        Some(open) => open.iter().map(|&(opens, closes)| (closes.min(to) - opens.max(from)).max(0)).sum(),
    }
}

/// The earliest instant at which `amount` has passed since `from`; none when it never comes.
pub(crate) fn after(measure: Measure<'_>, from: i64, amount: i64) -> Option<i64> {
    let Some(open) = measure else { return Some(from + amount) };
    if amount == 0 {
        return Some(from);
    }
    let mut left = amount;
    for &(opens, closes) in open {
        let opens = opens.max(from);
        if closes <= opens {
            continue;
        }
        if closes - opens >= left {
            return Some(opens + left);
        }
        left -= closes - opens;
    }
    None
}

fn open_spans(versions: &BTreeMap<i64, Calendar>, now: i64) -> OpenSpans {
    let mut spans = Vec::new();
    let Some((&first, _)) = versions.iter().next() else { return spans };
    // Before its first version a calendar counts all time as open.
    spans.push((i64::MIN / 4, first));
    let ends = versions.keys().skip(1).copied().chain([now + 2 * DAY]);
    for ((&from, calendar), to) in versions.iter().zip(ends) {
        let zone = TimeZone::get(&calendar.time_zone).expect("a time zone");
        let date = |instant: i64| zone.to_datetime(Timestamp::from_millisecond(instant).expect("in range")).date();
        let mut day = date(from).yesterday().expect("not the first day");
        while day <= date(to) {
            for (opens, closes) in day_spans(calendar, day, &zone) {
                if opens.max(from) < closes.min(to) {
                    spans.push((opens.max(from), closes.min(to)));
                }
            }
            day = day.tomorrow().expect("not the last day");
        }
    }
    spans
}

/// The open stretches of one local day: those of its instants whose local time is in a block.
fn day_spans(calendar: &Calendar, day: Date, zone: &TimeZone) -> OpenSpans {
    let blocks = blocks(calendar, day);
    if blocks.is_empty() {
        return Vec::new();
    }
    let midnight = |day: Date| {
        let midnight = day.to_zoned(zone.clone()).expect("a day").start_of_day().expect("a midnight");
        midnight.timestamp().as_millisecond()
    };
    let (starts, ends) = (midnight(day), midnight(day.tomorrow().expect("not the last day")));
    if ends - starts == DAY {
        let instant = |minute: u32| starts + i64::from(minute) * MINUTE;
        return merged(blocks.into_iter().map(|(from, to)| (instant(from), instant(to))).collect());
    }
    // A day of 23 or 25 hours: minute by minute.
    let minutes = (starts..ends).step_by(60_000).filter(|&instant| {
        let time = zone.to_datetime(Timestamp::from_millisecond(instant).expect("in range")).time();
        let minute = u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs());
        blocks.iter().any(|&(from, to)| from <= minute && minute < to)
    });
    merged(minutes.map(|instant| (instant, instant + MINUTE)).collect())
}

/// The blocks of a day, in minutes of the wall clock; they may overlap.
fn blocks(calendar: &Calendar, day: Date) -> Vec<(u32, u32)> {
    let text = day.to_string();
    let weekday = u32::from(day.weekday().to_monday_one_offset().unsigned_abs());
    let of_week = calendar.blocks.iter().filter(|block| block.weekday == weekday);
    let of_week = of_week.filter(|_| !calendar.holidays.contains(&text));
    let openings = calendar.openings.iter().filter(|opening| opening.date == text);
    of_week
        .map(|block| (block.from_minute, block.to_minute))
        .chain(openings.map(|opening| (opening.from_minute, opening.to_minute)))
        .collect()
}

/// Stretches that touch or overlap as one.
fn merged(mut spans: OpenSpans) -> OpenSpans {
    spans.sort_unstable();
    let mut merged: OpenSpans = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}
