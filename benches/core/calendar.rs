//! Business time between two instants: office hours with holidays, where the clocks change twice a year.

use std::hint::black_box;

use criterion::{Bencher, Criterion, Throughput};
use deskpulse_core::calendar::{Block, Calendar, Hours, Opening};
use deskpulse_core::time::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use crate::workload::{Random, sized};

const MINUTE_MS: i64 = 60_000;
/// 2025-01-01T00:00:00Z, and how long two years are from there on.
const FROM_MS: i64 = 1_735_689_600_000;
const TWO_YEARS_S: u32 = 2 * 365 * 86_400;
/// Open from Monday to Friday, in minutes of the local day; on Saturdays the first only.
const OPEN: [(i64, i64); 2] = [(9 * 60, 12 * 60 + 30), (13 * 60, 17 * 60 + 30)];
const HOLIDAYS: [Date; 4] = [date(2025, 4, 21), date(2025, 12, 25), date(2025, 12, 26), date(2026, 1, 1)];
/// A Sunday, open as Saturdays are.
const OPENING: Date = date(2025, 12, 21);

pub(crate) fn between(criterion: &mut Criterion) {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let calendar = Calendar::new(vec![(Timestamp::MIN, hours(zone.clone()))]);
    let mut random = Random::new();
    let mut ms = || FROM_MS + i64::from(random.below(TWO_YEARS_S)) * 1_000 + i64::from(random.below(1_000));
    let mut span = || [ms(), ms()].map(Timestamp::clamped);
    let spans: Vec<_> = (0..sized(1_000, 50)).map(|_| span()).map(|[a, b]| (a.min(b), a.max(b))).collect();
    // The minutes of all of them would take too long.
    let few = &spans[..sized(10, 1)];
    for (from, to) in &spans {
        assert_eq!(calendar.between(*from, *to), day_by_day(&zone, *from, *to), "{from} to {to}");
    }
    for (from, to) in few {
        assert_eq!(calendar.between(*from, *to), minute_by_minute(&zone, *from, *to), "{from} to {to}");
    }

    let mut group = criterion.benchmark_group("business time of a span within two years");
    group.throughput(Throughput::Elements(spans.len() as u64));
    group.bench_function("floor: subtract two timestamps", |bencher| {
        each(bencher, &spans, |from, to| to.millis_since(from));
    });
    group.bench_function("ours", |bencher| each(bencher, &spans, |from, to| calendar.between(from, to)));
    group.bench_function("peer: jiff, day by day", |bencher| {
        each(bencher, &spans, |from, to| day_by_day(&zone, from, to));
    });
    group.throughput(Throughput::Elements(few.len() as u64));
    group.bench_function("control: jiff, minute by minute", |bencher| {
        each(bencher, few, |from, to| minute_by_minute(&zone, from, to));
    });
    group.finish();
}

fn each(bencher: &mut Bencher, spans: &[(Timestamp, Timestamp)], between: impl Fn(Timestamp, Timestamp) -> i64) {
    bencher.iter(|| {
        for (from, to) in spans {
            black_box(between(black_box(*from), black_box(*to)));
        }
    });
}

fn hours(zone: TimeZone) -> Hours {
    let minute = |minute: i64| u32::try_from(minute).expect("of a day");
    // The week from Monday, 2 June 2025, on has no exceptions.
    let week = (1..=7).flat_map(|day: i8| open_on(date(2025, 6, 1 + day)).iter().map(move |open| (day, *open)));
    let block = |(day, (from, to))| Block::new(i8::unsigned_abs(day).into(), minute(from), minute(to));
    let opening = Opening::new(OPENING, minute(OPEN[0].0), minute(OPEN[0].1));
    Hours {
        zone,
        blocks: week.map(block).collect::<Result<_, _>>().expect("within a day"),
        holidays: HOLIDAYS.to_vec(),
        openings: vec![opening.expect("within a day")],
    }
}

/// What is open on a local date, in minutes.
fn open_on(date: Date) -> &'static [(i64, i64)] {
    match date.weekday().to_monday_one_offset() {
        _ if HOLIDAYS.contains(&date) => &[],
        7 if date != OPENING => &[],
        6 | 7 => &OPEN[..1],
        _ => &OPEN,
    }
}

fn day_by_day(zone: &TimeZone, from: Timestamp, to: Timestamp) -> i64 {
    let mut date = local(zone, from.millis()).date();
    let (last, mut open_ms) = (local(zone, to.millis()).date(), 0);
    while date <= last {
        for (start, end) in open_on(date) {
            let instant = |minute: i64| {
                let [hour, minute] = [minute / 60, minute % 60].map(|number| i8::try_from(number).expect("of a day"));
                let shown = zone.to_timestamp(date.at(hour, minute, 0, 0)).expect("of these years");
                shown.as_millisecond().clamp(from.millis(), to.millis())
            };
            open_ms += instant(*end) - instant(*start);
        }
        date = date.tomorrow().expect("of these years");
    }
    open_ms
}

fn minute_by_minute(zone: &TimeZone, from: Timestamp, to: Timestamp) -> i64 {
    let (mut at_ms, mut open_ms) = (from.millis(), 0);
    while at_ms < to.millis() {
        let next_ms = ((at_ms / MINUTE_MS + 1) * MINUTE_MS).min(to.millis());
        let shown = local(zone, at_ms);
        let minute = i64::from(shown.hour()) * 60 + i64::from(shown.minute());
        let is_open = open_on(shown.date()).iter().any(|(start, end)| (*start..*end).contains(&minute));
        open_ms += if is_open { next_ms - at_ms } else { 0 };
        at_ms = next_ms;
    }
    open_ms
}

fn local(zone: &TimeZone, at_ms: i64) -> jiff::civil::DateTime {
    zone.to_datetime(jiff::Timestamp::from_millisecond(at_ms).expect("of these years"))
}
