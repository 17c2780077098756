//! Business hours: how much of a span is open, and when so much open time will have passed.
//!
//! An instant is open when the time of day that its local clock shows lies within a block of its local date. So an
//! hour that the clocks repeat is open both times, an hour they skip does not exist, and a calendar open around the
//! clock counts the 23 and 25 hours that such days have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// A quarter of the 400 years after which the Gregorian calendar repeats itself.
const CENTURY_MS: i64 = 36_524 * DAY_MS + DAY_MS / 4;
/// As many as there are between the first instant and the last.
const CENTURIES: u8 = 100;

/// The opening hours of one version of a calendar.
///
/// Overlapping blocks and openings count once. Without either, it is never open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The zone whose clock the hours are read from.
    pub zone: TimeZone,
    /// The blocks of each week, in any order.
    pub blocks: Vec<Block>,
    /// The local dates whose blocks are closed, in any order.
    pub holidays: Vec<Date>,
    /// What is open besides, on holidays too, in any order.
    pub openings: Vec<Opening>,
}

impl Hours {
    /// Open at every instant.
    fn always() -> Self {
        let minutes = Minutes { from_inclusive: 0, to_exclusive: 1_440 };
        let blocks = Weekday::Monday.cycle_forward().take(7).map(|weekday| Block { weekday, minutes }).collect();
        Self { zone: TimeZone::UTC, blocks, holidays: Vec::new(), openings: Vec::new() }
    }

    /// The pattern of every week.
    fn week(&self) -> Pattern {
        let from_monday = |block: &Block| {
            let monday_ms = i64::from(block.weekday.to_monday_zero_offset()) * DAY_MS;
            let open = block.minutes.as_millis();
            monday_ms + open.start..monday_ms + open.end
        };
        Pattern::new(WEEK_MS, self.blocks.iter().map(from_monday).collect())
    }

    /// The patterns of the dates that may differ from their weekday: holidays and dates with openings.
    fn exceptions(&self) -> impl Iterator<Item = (Date, Pattern)> {
        let mut days: BTreeMap<Date, Vec<Range<i64>>> =
            self.holidays.iter().map(|holiday| (*holiday, Vec::new())).collect();
        for opening in &self.openings {
            let weekday = opening.date.weekday();
            let blocks = || self.blocks.iter().filter(|block| block.weekday == weekday);
            days.entry(opening.date)
                .or_insert_with(|| blocks().map(|block| block.minutes.as_millis()).collect())
                .push(opening.minutes.as_millis());
        }
        days.into_iter().map(|(date, open)| (date, Pattern::new(DAY_MS, open)))
    }
}

/// A block of a weekday, open every week. What goes over midnight takes two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    weekday: Weekday,
    minutes: Minutes,
}

impl Block {
    /// The block of a weekday, 1 for Monday to 7 for Sunday, between two minutes of the local day.
    ///
    /// `from_minute` is inclusive, 0 to 1,439; `to_minute` is exclusive, up to 1,440, the start of the next day.
    pub fn new(weekday: u32, from_minute: u32, to_minute: u32) -> Result<Self, CalendarError> {
        let minutes = Minutes::new(from_minute, to_minute)?;
        let number = i8::try_from(weekday).map_err(|_| CalendarError::Weekday(weekday))?;
        let weekday = Weekday::from_monday_one_offset(number).map_err(|_| CalendarError::Weekday(weekday))?;
        Ok(Self { weekday, minutes })
    }
}

/// A block of one local date, open on top of what the week says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    date: Date,
    minutes: Minutes,
}

impl Opening {
    /// The block of a date between two minutes of the local day, with the limits of [`Block::new`].
    pub fn new(date: Date, from_minute: u32, to_minute: u32) -> Result<Self, CalendarError> {
        Ok(Self { date, minutes: Minutes::new(from_minute, to_minute)? })
    }
}

/// Why a block or an opening is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// There is no such weekday.
    #[error("weekday must be 1 (Monday) to 7 (Sunday), not {0}")]
    Weekday(u32),
    /// The block would begin after the day.
    #[error("from_minute must be 0 to 1439, not {0}")]
    FromMinute(u32),
    /// The block would end after the day.
    #[error("to_minute must be 1 to 1440, not {0}")]
    ToMinute(u32),
    /// The block would be empty, or go over midnight.
    #[error("to_minute {to_minute} must be after from_minute {from_minute}: split a block that goes over midnight")]
    Order {
        /// Where it would begin.
        from_minute: u32,
        /// Where it would end.
        to_minute: u32,
    },
}

/// Part of a local day, in the minutes that its clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Minutes {
    from_inclusive: u32,
    to_exclusive: u32,
}

impl Minutes {
    fn new(from_minute: u32, to_minute: u32) -> Result<Self, CalendarError> {
        if from_minute > 1_439 {
            return Err(CalendarError::FromMinute(from_minute));
        }
        if !(1..=1_440).contains(&to_minute) {
            return Err(CalendarError::ToMinute(to_minute));
        }
        if to_minute <= from_minute {
            return Err(CalendarError::Order { from_minute, to_minute });
        }
        Ok(Self { from_inclusive: from_minute, to_exclusive: to_minute })
    }

    fn as_millis(self) -> Range<i64> {
        i64::from(self.from_inclusive) * MINUTE_MS..i64::from(self.to_exclusive) * MINUTE_MS
    }
}

/// A business-hours calendar: versions, each in force from an instant on until the next one begins.
///
/// Before its first version all time is open. Either question costs a few binary searches, and an addition for each
/// century in between. Threads share it as it is; where several ask for a new century at once, one cuts it.
///
/// A century is cut into pieces of 40 bytes when it is first asked for, and kept: one for each time the clocks move
/// (at most twice a year in almost every zone), two for each holiday or date with openings. So a century takes 8 kB
/// and all of history 800 kB, plus 80 bytes for each such date, whatever is asked.
#[derive(Debug)]
pub struct Calendar {
    /// Ascending; the first from the first instant on.
    versions: Vec<Version>,
    patterns: Vec<Pattern>,
    centuries: Vec<OnceLock<Century>>,
}

impl Calendar {
    /// The calendar of these versions, each with the instant from which on it is in force, in any order.
    ///
    /// Of versions from the same instant on, the later one in the list holds. Without any, all time is open.
    #[must_use]
    pub fn new(mut versions: Vec<(Timestamp, Hours)>) -> Self {
        versions.insert(0, (Timestamp::MIN, Hours::always()));
        versions.sort_by_key(|(effective_from, _)| *effective_from);
        versions.dedup_by(|later, earlier| {
            let replaces = later.0 == earlier.0;
            if replaces {
                std::mem::swap(later, earlier);
            }
            replaces
        });
        let mut patterns = vec![Pattern::closed()];
        let versions = versions
            .into_iter()
            .map(|(effective_from, hours)| Version::new(effective_from, hours, &mut patterns))
            .collect();
        Self { versions, patterns, centuries: (0..CENTURIES).map(|_| OnceLock::new()).collect() }
    }

    /// Open milliseconds in `[from, to)`; 0 when `to` is not after `from`.
    #[must_use]
    pub fn between(&self, from: Timestamp, to: Timestamp) -> i64 {
        if to <= from {
            return 0;
        }
        let (first, last) = (century_of(from), century_of(to));
        let centuries_ms: i64 = (first..last).map(|number| self.century(number).open_ms).sum();
        centuries_ms + self.open_before(last, to) - self.open_before(first, from)
    }

    /// The first instant by which `ms` open milliseconds have passed since `from`; `from` itself when that is none.
    ///
    /// `None` when that is not so by the latest instant there is.
    #[must_use]
    pub fn after(&self, from: Timestamp, ms: i64) -> Option<Timestamp> {
        if ms <= 0 {
            return Some(from);
        }
        if ms > Timestamp::MAX.millis_since(from) {
            return None;
        }
        let first = century_of(from);
        let mut target_ms = self.open_before(first, from) + ms;
        for number in first..CENTURIES {
            let century = self.century(number);
            if target_ms <= century.open_ms {
                return Some(Timestamp::clamped(century.reach(target_ms, &self.patterns)));
            }
            target_ms -= century.open_ms;
        }
        None
    }

    /// Open milliseconds from the beginning of a century to an instant of it.
    fn open_before(&self, number: u8, at: Timestamp) -> i64 {
        self.century(number).open_before(at.millis(), &self.patterns)
    }

    fn century(&self, number: u8) -> &Century {
        self.centuries[usize::from(number)].get_or_init(|| self.cut(number))
    }

    fn cut(&self, number: u8) -> Century {
        let start_ms = Timestamp::MIN.millis() + i64::from(number) * CENTURY_MS;
        let end_ms = (start_ms + CENTURY_MS).min(Timestamp::MAX.millis());
        let mut century = Century::default();
        let replaced_ms = self.versions.iter().skip(1).map(|version| version.from_ms).chain([end_ms]);
        for (version, replaced_ms) in self.versions.iter().zip(replaced_ms) {
            let stretch = version.from_ms.max(start_ms)..replaced_ms.min(end_ms);
            if !stretch.is_empty() {
                version.cut_into(&mut century, stretch, &self.patterns);
            }
        }
        century.pieces.shrink_to_fit();
        century
    }
}

/// The century an instant lies in, counted from the first instant.
fn century_of(at: Timestamp) -> u8 {
    u8::try_from(at.millis_since(Timestamp::MIN) / CENTURY_MS).expect("instants span less than a hundred centuries")
}

/// One version, with the indices of its patterns.
#[derive(Debug)]
struct Version {
    from_ms: i64,
    zone: TimeZone,
    week: usize,
    /// The local days that have a pattern of their own, ascending.
    exceptions: Vec<Exception>,
}

#[derive(Debug)]
struct Exception {
    /// Local midnight, in milliseconds since that of 1970-01-01.
    midnight_ms: i64,
    pattern: usize,
}

impl Version {
    fn new(effective_from: Timestamp, hours: Hours, patterns: &mut Vec<Pattern>) -> Self {
        let mut keep = |pattern: Pattern| {
            if pattern.open_ms == 0 {
                return CLOSED;
            }
            patterns.push(pattern);
            patterns.len() - 1
        };
        let week = keep(hours.week());
        let exceptions = hours
            .exceptions()
            .map(|(date, pattern)| {
                let days = date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
                Exception { midnight_ms: days * DAY_MS, pattern: keep(pattern) }
            })
            .collect();
        Self { from_ms: effective_from.millis(), zone: hours.zone, week, exceptions }
    }

    /// Adds a stretch of this version to a century.
    fn cut_into(&self, century: &mut Century, stretch: Range<i64>, patterns: &[Pattern]) {
        let week = &patterns[self.week];
        if (week.open_ms == 0 || week.open_ms == week.period_ms) && !self.has_exceptions_about(&stretch) {
            // All of it is open or none is, however the clocks move.
            century.push(stretch, 0, self.week, patterns);
            return;
        }
        let mut from_ms = stretch.start;
        for transition in self.zone.following(instant(from_ms)) {
            let moved = transition.timestamp();
            // A POSIX rule may move the clocks a nanosecond before a year ends: from the next millisecond on.
            let to_ms = moved.as_millisecond() + i64::from(moved.subsec_nanosecond() % 1_000_000 > 0);
            if to_ms >= stretch.end {
                break;
            }
            self.cut_steady_into(century, from_ms..to_ms, patterns);
            from_ms = to_ms;
        }
        self.cut_steady_into(century, from_ms..stretch.end, patterns);
    }

    /// Adds a stretch in which the clocks do not move.
    fn cut_steady_into(&self, century: &mut Century, stretch: Range<i64>, patterns: &[Pattern]) {
        let offset_ms = i64::from(self.zone.to_offset(instant(stretch.start)).seconds()) * 1_000;
        let utc = |exception: &Exception| exception.midnight_ms - offset_ms;
        let first = self.exceptions.partition_point(|exception| utc(exception) + DAY_MS <= stretch.start);
        let mut from_ms = stretch.start;
        for exception in self.exceptions.iter().skip(first).take_while(|exception| utc(exception) < stretch.end) {
            let start_ms = utc(exception).max(stretch.start);
            let end_ms = (utc(exception) + DAY_MS).min(stretch.end);
            century.push(from_ms..start_ms, offset_ms, self.week, patterns);
            century.push(start_ms..end_ms, offset_ms, exception.pattern, patterns);
            from_ms = end_ms;
        }
        century.push(from_ms..stretch.end, offset_ms, self.week, patterns);
    }

    /// Whether a date with a pattern of its own may touch a stretch, wherever on Earth.
    fn has_exceptions_about(&self, stretch: &Range<i64>) -> bool {
        // No clock is two days from UTC.
        let first = self.exceptions.partition_point(|exception| exception.midnight_ms < stretch.start - 3 * DAY_MS);
        self.exceptions.get(first).is_some_and(|exception| exception.midnight_ms < stretch.end + 2 * DAY_MS)
    }
}

/// An instant as the time-zone database takes it.
fn instant(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).expect("an instant between the years 1 and 9999")
}

/// A century, cut where the clocks move or another pattern begins to hold.
#[derive(Debug, Default)]
struct Century {
    /// Adjacent, from the century's beginning to its end.
    pieces: Vec<Piece>,
    open_ms: i64,
}

/// From its start to the next one's, local time differs from UTC by the offset and the pattern holds.
#[derive(Debug)]
struct Piece {
    start_ms: i64,
    offset_ms: i64,
    pattern: usize,
    /// Open time from the beginning of the century to the piece's start.
    open_before_ms: i64,
    /// Open time from the pattern's origin to the piece's start.
    pattern_open_before_ms: i64,
}

impl Century {
    /// Adds the piece that follows.
    fn push(&mut self, stretch: Range<i64>, offset_ms: i64, pattern: usize, patterns: &[Pattern]) {
        if stretch.is_empty() {
            return;
        }
        let pattern_open_before_ms = patterns[pattern].open_before(stretch.start + offset_ms);
        let open_before_ms = self.open_ms;
        self.open_ms += patterns[pattern].open_before(stretch.end + offset_ms) - pattern_open_before_ms;
        self.pieces.push(Piece { start_ms: stretch.start, offset_ms, pattern, open_before_ms, pattern_open_before_ms });
    }

    /// Open milliseconds from the beginning of the century to an instant of it.
    fn open_before(&self, at_ms: i64, patterns: &[Pattern]) -> i64 {
        let piece = last_of(&self.pieces, |piece| piece.start_ms <= at_ms);
        let pattern_open_ms = patterns[piece.pattern].open_before(at_ms + piece.offset_ms);
        piece.open_before_ms + pattern_open_ms - piece.pattern_open_before_ms
    }

    /// The first instant by which so much of the century was open; more than nothing and no more than there is.
    fn reach(&self, open_ms: i64, patterns: &[Pattern]) -> i64 {
        let piece = last_of(&self.pieces, |piece| piece.open_before_ms < open_ms);
        let pattern_open_ms = piece.pattern_open_before_ms + open_ms - piece.open_before_ms;
        patterns[piece.pattern].reach(pattern_open_ms) - piece.offset_ms
    }
}

/// The pattern that is never open.
const CLOSED: usize = 0;

/// What is open of a local day or week, over and over.
#[derive(Debug)]
struct Pattern {
    period_ms: i64,
    /// Disjoint and ascending.
    spans: Vec<OpenSpan>,
    /// Open time of a period.
    open_ms: i64,
}

#[derive(Debug)]
struct OpenSpan {
    /// From the start of the period.
    millis: Range<i64>,
    /// Open time of the period before this span.
    open_before_ms: i64,
}

impl Pattern {
    /// A local Monday at midnight, 1969-12-29, where both days and weeks begin.
    const ORIGIN_MS: i64 = -3 * DAY_MS;

    fn new(period_ms: i64, mut open: Vec<Range<i64>>) -> Self {
        open.sort_by_key(|open| open.start);
        let mut pattern = Self { period_ms, spans: Vec::new(), open_ms: 0 };
        for open in open {
            match pattern.spans.last_mut() {
                Some(last) if open.start <= last.millis.end => {
                    pattern.open_ms += (open.end - last.millis.end).max(0);
                    last.millis.end = last.millis.end.max(open.end);
                }
                Some(_) | None => {
                    let open_before_ms = pattern.open_ms;
                    pattern.open_ms += open.end - open.start;
                    pattern.spans.push(OpenSpan { millis: open, open_before_ms });
                }
            }
        }
        pattern
    }

    fn closed() -> Self {
        Self::new(DAY_MS, Vec::new())
    }

    /// Open milliseconds from the origin to a local instant; negative before the origin.
    fn open_before(&self, local_ms: i64) -> i64 {
        let since_ms = local_ms - Self::ORIGIN_MS;
        let (periods, at_ms) = (since_ms.div_euclid(self.period_ms), since_ms.rem_euclid(self.period_ms));
        let begun = self.spans.partition_point(|span| span.millis.start <= at_ms);
        let last = begun.checked_sub(1).and_then(|last| self.spans.get(last));
        let open_ms = last.map_or(0, |span| span.open_before_ms + at_ms.min(span.millis.end) - span.millis.start);
        periods * self.open_ms + open_ms
    }

    /// The first local instant by which so much was open since the origin; of a pattern that is ever open.
    fn reach(&self, open_ms: i64) -> i64 {
        let periods = (open_ms - 1).div_euclid(self.open_ms);
        let rest_ms = open_ms - periods * self.open_ms;
        let span = last_of(&self.spans, |span| span.open_before_ms < rest_ms);
        Self::ORIGIN_MS + periods * self.period_ms + span.millis.start + rest_ms - span.open_before_ms
    }
}

/// The last of a list for which the condition holds; it holds for the first, and for none after the last.
fn last_of<T>(list: &[T], holds: impl Fn(&T) -> bool) -> &T {
    let count = list.partition_point(holds);
    list.get(count.saturating_sub(1)).expect("it holds for the first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect("a valid instant");
        Timestamp::clamped(instant.as_millisecond())
    }

    /// The instant at which the clock of a zone shows this, the first such.
    fn local(text: &str, zone: &str) -> Timestamp {
        let shown: jiff::civil::DateTime = text.parse().expect("a valid time");
        let zoned = shown.to_zoned(TimeZone::get(zone).expect("a zone")).expect("in range");
        Timestamp::clamped(zoned.timestamp().as_millisecond())
    }

    fn berlin(text: &str) -> Timestamp {
        local(text, "Europe/Berlin")
    }

    fn hours(zone: &str, blocks: &[(u32, u32, u32)]) -> Hours {
        let block = |(weekday, from, to): &(u32, u32, u32)| Block::new(*weekday, *from, *to).expect("a block");
        let zone = TimeZone::get(zone).expect("a zone");
        Hours { zone, blocks: blocks.iter().map(block).collect(), holidays: Vec::new(), openings: Vec::new() }
    }

    /// From Monday to Friday between two hours of the day.
    fn weekdays(from_hour: u32, to_hour: u32) -> Hours {
        let blocks: Vec<_> = (1..=5).map(|weekday| (weekday, from_hour * 60, to_hour * 60)).collect();
        hours("Europe/Berlin", &blocks)
    }

    fn around_the_clock(zone: &str) -> Hours {
        let blocks: Vec<_> = (1..=7).map(|weekday| (weekday, 0, 1_440)).collect();
        hours(zone, &blocks)
    }

    /// A calendar of one version, in force from the first instant on.
    fn calendar(hours: Hours) -> Calendar {
        Calendar::new(vec![(Timestamp::MIN, hours)])
    }

    fn minutes(minutes: i64) -> i64 {
        minutes * MINUTE_MS
    }

    #[test]
    fn the_weekend_on_which_the_clocks_go_forward_is_closed() {
        let calendar = calendar(weekdays(9, 17));
        let (friday, monday) = (berlin("2026-03-27T16:30"), berlin("2026-03-30T09:30"));
        assert_eq!(monday.millis_since(friday), minutes(64 * 60));
        assert_eq!(calendar.between(friday, monday), minutes(60));
        assert_eq!(calendar.after(friday, minutes(60)), Some(monday));
        // What ends with a block ends on that day, what goes beyond it on the next.
        assert_eq!(calendar.after(friday, minutes(30)), Some(berlin("2026-03-27T17:00")));
        assert_eq!(calendar.after(friday, minutes(30) + 1).map(Timestamp::millis), {
            Some(berlin("2026-03-30T09:00").millis() + 1)
        });
    }

    #[test]
    fn several_blocks_a_day_count_once_where_they_overlap() {
        let blocks = [(1, 840, 1_080), (1, 480, 720), (1, 600, 660), (1, 1_020, 1_140), (2, 0, 60), (1, 1_380, 1_440)];
        let calendar = calendar(hours("Europe/Berlin", &blocks));
        let (monday, tuesday) = (berlin("2026-06-01T00:00"), berlin("2026-06-02T00:00"));
        assert_eq!(calendar.between(monday, tuesday), minutes(240 + 300 + 60));
        assert_eq!(calendar.between(berlin("2026-06-01T11:30"), berlin("2026-06-01T14:15")), minutes(45));
        assert_eq!(calendar.between(berlin("2026-06-01T22:00"), berlin("2026-06-02T12:00")), minutes(120));
        assert_eq!(calendar.between(monday, berlin("2026-06-15T00:00")), 2 * minutes(660));
    }

    #[test]
    fn nothing_passes_in_a_span_that_does_not_go_forward() {
        let calendar = calendar(around_the_clock("UTC"));
        let (earlier, later) = (at("2026-06-01T09:00:00Z"), at("2026-06-01T09:00:00.001Z"));
        assert_eq!([calendar.between(later, earlier), calendar.between(later, later)], [0, 0]);
        assert_eq!(calendar.between(earlier, later), 1);
        assert_eq!([calendar.after(later, 0), calendar.after(later, -5)], [Some(later); 2]);
    }

    #[test]
    fn holidays_are_closed_but_for_their_openings() {
        let mut hours = weekdays(9, 17);
        hours.holidays = vec![date(2026, 12, 25), date(2026, 12, 24), date(2026, 12, 25)];
        hours.openings = vec![
            Opening::new(date(2026, 12, 27), 720, 780).expect("a Sunday"),
            Opening::new(date(2026, 12, 24), 600, 720).expect("a holiday"),
            Opening::new(date(2026, 12, 28), 960, 1_080).expect("overlaps the block"),
        ];
        let calendar = calendar(hours);
        let day =
            |day: i8| calendar.between(berlin(&format!("2026-12-{day}")), berlin(&format!("2026-12-{}", day + 1)));
        assert_eq!([23, 24, 25, 26, 27, 28, 29].map(day), [480, 120, 0, 0, 60, 540, 480].map(minutes));
        assert_eq!(calendar.after(berlin("2026-12-24T12:00"), minutes(60)), Some(berlin("2026-12-27T13:00")));
    }

    #[test]
    fn each_version_holds_until_the_next_and_all_time_before_the_first_is_open() {
        let (first, second) = (berlin("2026-06-01T12:00"), berlin("2026-06-02T12:00"));
        let calendar = Calendar::new(vec![
            (second, hours("UTC", &[])),
            (first, around_the_clock("UTC")),
            (second, weekdays(10, 14)),
            (first, weekdays(9, 17)),
        ]);
        assert_eq!(calendar.between(berlin("2026-05-30T00:00"), berlin("2026-06-01T00:00")), minutes(48 * 60));
        assert_eq!(calendar.between(berlin("2026-06-01T00:00"), first), minutes(12 * 60));
        assert_eq!(calendar.between(first, second), minutes((5 + 3) * 60));
        assert_eq!(calendar.between(second, berlin("2026-06-04T00:00")), minutes((2 + 4) * 60));
        assert_eq!(calendar.after(berlin("2026-06-01T11:00"), minutes(9 * 60)), Some(second));
        assert_eq!(calendar.between(Timestamp::MIN, first), first.millis_since(Timestamp::MIN));
        let without = Calendar::new(Vec::new());
        assert_eq!(without.between(Timestamp::MIN, Timestamp::MAX), Timestamp::MAX.millis_since(Timestamp::MIN));
    }

    #[test]
    fn around_the_clock_is_elapsed_time_on_days_of_23_and_25_hours() {
        let mut always = around_the_clock("Europe/Berlin");
        // An opening that adds nothing, so that these days are looked at one by one.
        always.openings = vec![Opening::new(date(2026, 3, 29), 60, 240).expect("an opening")];
        for calendar in [calendar(around_the_clock("Europe/Berlin")), calendar(always)] {
            for (from, to, length) in [("2026-03-29", "2026-03-30", 23), ("2026-10-25", "2026-10-26", 25)] {
                assert_eq!(calendar.between(berlin(from), berlin(to)), minutes(length * 60));
                assert_eq!(calendar.after(berlin(from), minutes(length * 60)), Some(berlin(to)));
            }
            let (from, to) = (Timestamp::MIN, Timestamp::MAX);
            assert_eq!(calendar.between(from, to), to.millis_since(from));
            assert_eq!(calendar.after(from, to.millis_since(from)), Some(to));
        }
    }

    #[test]
    fn a_repeated_hour_is_open_twice_and_a_skipped_one_never() {
        let calendar = calendar(hours("Europe/Berlin", &[(7, 120, 180)]));
        let sunday = |from: &str, to: &str| calendar.between(berlin(from), berlin(to));
        assert_eq!(sunday("2026-10-25", "2026-10-26"), minutes(120));
        assert_eq!(sunday("2026-03-29", "2026-03-30"), 0);
        assert_eq!(sunday("2026-11-01", "2026-11-02"), minutes(60));
    }

    #[test]
    fn days_without_a_midnight_or_missing_altogether_are_open_as_far_as_they_exist() {
        // In São Paulo the clocks went from 23:59:59 to 01:00 on Sunday 16 October 2016.
        let brazil = calendar(hours("America/Sao_Paulo", &[(7, 0, 120)]));
        assert_eq!(brazil.between(at("2016-10-16T00:00:00Z"), at("2016-10-17T00:00:00Z")), minutes(60));
        // Samoa went from Thursday 29 to Saturday 31 December 2011.
        let samoa = calendar(hours("Pacific/Apia", &[(4, 1_380, 1_440), (5, 0, 1_440), (6, 0, 60)]));
        assert_eq!(samoa.between(at("2011-12-29T12:00:00Z"), at("2011-12-31T00:00:00Z")), minutes(120));
        // In Newfoundland the clocks went from 00:01 back to 23:01, so that the 6th has two ends.
        let canada = calendar(hours("America/St_Johns", &[(6, 1_430, 1_440), (7, 0, 1)]));
        assert_eq!(canada.between(at("2010-11-06T12:00:00Z"), at("2010-11-07T12:00:00Z")), minutes(22));
    }

    #[test]
    fn clocks_moved_a_nanosecond_before_the_year_ends_are_moved_from_the_next_millisecond_on() {
        let mut hours = weekdays(9, 17);
        hours.zone = TimeZone::posix("AAA0BBB-1,J60/0,J365/26").expect("a rule");
        let versions = [(Timestamp::MIN, hours)];
        let (from, to) = (at("2025-12-29T00:00:00Z"), at("2026-01-02T12:00:00Z"));
        assert_eq!(
            Calendar::new(versions.to_vec()).between(from, to),
            between_by_definition(&versions, from, to, MINUTE_MS)
        );
    }

    #[test]
    fn what_is_never_open_again_is_never_reached() {
        let (from, far) = (at("2026-06-01T00:00:00Z"), at("9000-01-01T00:00:00Z"));
        let never = calendar(hours("Europe/Berlin", &[]));
        assert_eq!((never.between(Timestamp::MIN, far), never.after(from, 1)), (0, None));
        let mut once = hours("Europe/Berlin", &[]);
        once.openings = vec![Opening::new(date(2026, 7, 1), 540, 600).expect("an opening")];
        let once = calendar(once);
        assert_eq!(once.after(from, minutes(60)), Some(berlin("2026-07-01T10:00")));
        assert_eq!(once.after(from, minutes(60) + 1), None);
        assert_eq!(once.after(berlin("2026-07-01T10:00"), 1), None);
        let always = calendar(around_the_clock("UTC"));
        assert_eq!([always.after(far, i64::MAX), always.after(Timestamp::MAX, 1)], [None; 2]);
    }

    #[test]
    fn ten_years_of_business_time_are_reached_an_hour_a_week() {
        let calendar = calendar(hours("Europe/Berlin", &[(3, 600, 660)]));
        let from = berlin("2026-06-01T00:00");
        let hours_in_ten_years = 10 * 365 * 24;
        let reached = calendar.after(from, minutes(hours_in_ten_years * 60)).expect("before the year 9999");
        // A week is an hour, in every year to come: the last Wednesday is as many weeks after the first, less one.
        assert_eq!(reached, berlin("3705-04-15T11:00"));
        assert_eq!(calendar.between(from, reached), minutes(hours_in_ten_years * 60));
        assert_eq!(calendar.after(from, minutes(7_973 * 52 * 60 * 2)), None);
    }

    #[test]
    fn the_last_century_holds_the_last_instant() {
        assert_eq!((century_of(Timestamp::MIN), century_of(Timestamp::MAX)), (0, CENTURIES - 1));
    }

    #[test]
    fn blocks_outside_of_the_day_or_week_are_refused() {
        assert_eq!(Block::new(0, 0, 1), Err(CalendarError::Weekday(0)));
        assert_eq!(Block::new(8, 0, 1), Err(CalendarError::Weekday(8)));
        assert_eq!(Block::new(u32::MAX, 0, 1), Err(CalendarError::Weekday(u32::MAX)));
        assert_eq!(Block::new(1, 1_440, 1_440), Err(CalendarError::FromMinute(1_440)));
        assert_eq!(Block::new(1, 0, 0), Err(CalendarError::ToMinute(0)));
        assert_eq!(Block::new(1, 0, 1_441), Err(CalendarError::ToMinute(1_441)));
        let night = Opening::new(date(2026, 12, 31), 1_320, 120).expect_err("goes over midnight");
        assert_eq!(
            night.to_string(),
            "to_minute 120 must be after from_minute 1320: split a block that goes over midnight"
        );
        assert!(Block::new(7, 1_439, 1_440).is_ok());
    }

    /// The definition, word for word.
    fn is_open(versions: &[(Timestamp, Hours)], at_ms: i64) -> bool {
        let in_force = versions.iter().filter(|(effective_from, _)| effective_from.millis() <= at_ms);
        // Of equal ones the last.
        let Some((_, hours)) = in_force.max_by_key(|(effective_from, _)| *effective_from) else { return true };
        let shown = hours.zone.to_datetime(instant(at_ms));
        let minute = u32::try_from(i32::from(shown.hour()) * 60 + i32::from(shown.minute())).expect("a minute");
        let within = |minutes: Minutes| (minutes.from_inclusive..minutes.to_exclusive).contains(&minute);
        let is_block = |block: &Block| block.weekday == shown.date().weekday() && within(block.minutes);
        let is_opening = |opening: &Opening| opening.date == shown.date() && within(opening.minutes);
        let is_holiday = hours.holidays.contains(&shown.date());
        hours.openings.iter().any(is_opening) || (!is_holiday && hours.blocks.iter().any(is_block))
    }

    /// Open milliseconds, looked at step by step. Offsets are whole steps.
    fn between_by_definition(versions: &[(Timestamp, Hours)], from: Timestamp, to: Timestamp, step_ms: i64) -> i64 {
        let starts = || versions.iter().map(|(effective_from, _)| effective_from.millis());
        let (mut at_ms, mut open_ms) = (from.millis(), 0);
        while at_ms < to.millis() {
            let step_end_ms = (at_ms.div_euclid(step_ms) + 1) * step_ms;
            let next_ms = starts().filter(|start| *start > at_ms).chain([step_end_ms, to.millis()]).min();
            let next_ms = next_ms.expect("not empty");
            open_ms += if is_open(versions, at_ms) { next_ms - at_ms } else { 0 };
            at_ms = next_ms;
        }
        open_ms
    }

    /// Zones and when their clocks moved, by whole minutes; UTC's never do.
    const MOVES: [(&str, &str); 20] = [
        ("UTC", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("Europe/Berlin", "5026-03-26T01:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("America/Sao_Paulo", "2016-10-16T03:00:00Z"),
        ("America/Sao_Paulo", "2017-02-19T02:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Pacific/Kwajalein", "1993-08-21T12:00:00Z"),
        ("America/St_Johns", "2010-03-14T03:31:00Z"),
        ("America/St_Johns", "2010-11-07T02:31:00Z"),
        ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
        ("Africa/Casablanca", "2026-03-22T02:00:00Z"),
        ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
        ("Asia/Tehran", "2021-09-21T19:30:00Z"),
        ("Pacific/Chatham", "2026-04-04T14:00:00Z"),
        // No move, but two centuries of a calendar meet here.
        ("Europe/Berlin", "2001-01-01T00:00:00Z"),
    ];

    /// Zones and when they left offsets with seconds.
    const MOVES_BY_SECONDS: [(&str, &str); 5] = [
        ("Africa/Monrovia", "1972-01-07T00:44:30Z"),
        ("America/Juneau", "1867-10-19T00:31:13Z"),
        ("Europe/Paris", "1911-03-10T23:50:39Z"),
        ("Asia/Manila", "1844-12-31T15:56:08Z"),
        ("Europe/Dublin", "1916-10-01T02:25:21Z"),
    ];

    fn minutes_of_day() -> impl Strategy<Value = (u32, u32)> {
        (0u32..1_440, 1u32..=1_440).prop_filter_map("in order", |(a, b)| {
            let (from, to) = (a.min(b), a.max(b));
            (from < to && from < 1_440).then_some((from, to))
        })
    }

    /// Hours with exceptions within a week of a date.
    fn any_hours(zone: &'static str, about: Date) -> impl Strategy<Value = Hours> {
        let day = move || {
            (-6i64..=6)
                .prop_map(move |days| about.checked_add(jiff::SignedDuration::from_hours(days * 24)).expect("near"))
        };
        let block = (1u32..=7, minutes_of_day())
            .prop_map(|(weekday, (from, to))| Block::new(weekday, from, to).expect("in order"));
        let opening =
            (day(), minutes_of_day()).prop_map(|(date, (from, to))| Opening::new(date, from, to).expect("in order"));
        let always = around_the_clock(zone).blocks;
        let blocks = prop_oneof![
            8 => proptest::collection::vec(block, 0..24),
            1 => Just(always),
        ];
        (blocks, proptest::collection::vec(day(), 0..4), proptest::collection::vec(opening, 0..5)).prop_map(
            move |(blocks, holidays, openings)| Hours {
                zone: TimeZone::get(zone).expect("a zone"),
                blocks,
                holidays,
                openings,
            },
        )
    }

    /// Versions and a span about one of these moves, all of it within so many milliseconds.
    fn scene(
        places: &'static [(&'static str, &'static str)],
        within_ms: i64,
    ) -> impl Strategy<Value = (Vec<(Timestamp, Hours)>, Timestamp, Timestamp)> {
        proptest::sample::select(places).prop_flat_map(move |(zone, moved)| {
            let moved = at(moved);
            let near = move || (-within_ms..=within_ms).prop_map(move |ms| Timestamp::clamped(moved.millis() + ms));
            let effective_from = prop_oneof![
                2 => near(),
                1 => Just(moved),
                3 => Just(Timestamp::MIN),
            ];
            let about = TimeZone::get(zone).expect("a zone").to_datetime(instant(moved.millis())).date();
            let versions = proptest::collection::vec((effective_from, any_hours(zone, about)), 0..4);
            (versions, near(), near()).prop_map(|(versions, a, b)| (versions, a.min(b), a.max(b)))
        })
    }

    fn check(
        versions: &[(Timestamp, Hours)],
        from: Timestamp,
        to: Timestamp,
        step_ms: i64,
        part: f64,
    ) -> Result<(), TestCaseError> {
        let calendar = Calendar::new(versions.to_vec());
        let open_ms = calendar.between(from, to);
        prop_assert_eq!(open_ms, between_by_definition(versions, from, to, step_ms));
        // `after` turns it round.
        #[expect(clippy::cast_possible_truncation, reason = "a part of a few days")]
        for ms in [1, (open_ms as f64 * part) as i64, open_ms] {
            if (1..=open_ms).contains(&ms) {
                let reached = calendar.after(from, ms).expect("it is reached by the end of the span");
                let just_before = Timestamp::clamped(reached.millis() - 1);
                prop_assert!(reached <= to);
                prop_assert_eq!((calendar.between(from, reached), calendar.between(from, just_before)), (ms, ms - 1));
            }
        }
        prop_assert!(calendar.after(from, open_ms + 1).is_none_or(|reached| reached > to));
        // The parts of a span add up, also where it starts long ago.
        let long_ago = at("0044-03-15T00:00:00Z");
        prop_assert_eq!(calendar.between(long_ago, to), calendar.between(long_ago, from) + open_ms);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 384, rng_seed: RngSeed::Fixed(29), ..ProptestConfig::default() })]

        #[test]
        fn business_time_is_what_the_local_clock_shows(
            (versions, from, to) in scene(&MOVES, 3 * DAY_MS), part in 0.0f64..1.0
        ) {
            check(&versions, from, to, MINUTE_MS, part)?;
        }

        #[test]
        fn business_time_is_what_the_local_clock_shows_where_offsets_have_seconds(
            (versions, from, to) in scene(&MOVES_BY_SECONDS, 90 * MINUTE_MS), part in 0.0f64..1.0
        ) {
            check(&versions, from, to, 1_000, part)?;
        }
    }

    #[test]
    fn every_millisecond_at_which_clocks_moved_is_open_as_the_local_clock_shows() {
        let blocks: Vec<_> =
            (1..=7).flat_map(|day| (0..24).map(move |hour| (day, hour * 60 + day, hour * 60 + 30))).collect();
        for (zone, _) in MOVES.iter().chain(&MOVES_BY_SECONDS) {
            let versions = [(Timestamp::MIN, hours(zone, &blocks))];
            let calendar = Calendar::new(versions.to_vec());
            let moves = versions[0].1.zone.following(instant(Timestamp::MIN.millis()));
            for moved in moves.take_while(|moved| moved.timestamp().as_second() < 4_000_000_000) {
                let moved_ms = moved.timestamp().as_millisecond();
                for minute in [-60, -30, -1, 0, 1, 30, 60] {
                    for ms in [moved_ms + minutes(minute), moved_ms + minutes(minute) - 1] {
                        let open_ms = calendar.between(Timestamp::clamped(ms), Timestamp::clamped(ms + 1));
                        assert_eq!(open_ms, i64::from(is_open(&versions, ms)), "{zone} at {}", instant(ms));
                    }
                }
            }
        }
    }
}
