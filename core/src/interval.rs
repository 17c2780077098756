//! Cutting time into the intervals of a time zone.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan, Zoned};

use crate::grid::{DAY_MS, Range};
use crate::snapshot::MAX_ROWS;
use crate::time::Timestamp;

/// The length of an interval, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// 1, 5, 15, 30 or 60 minutes, from local midnight on.
    Minutes(i64),
    /// A local day, of 23, 24 or 25 hours.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A month.
    Month,
    /// A quarter of a year.
    Quarter,
    /// A year.
    Year,
}

impl Interval {
    /// The spellings allowed.
    pub const SPELLINGS: [&'static str; 10] = ["1m", "5m", "15m", "30m", "1h", "1d", "1w", "1mo", "1q", "1y"];

    /// The interval so spelt.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1m" => Some(Self::Minutes(1)),
            "5m" => Some(Self::Minutes(5)),
            "15m" => Some(Self::Minutes(15)),
            "30m" => Some(Self::Minutes(30)),
            "1h" => Some(Self::Minutes(60)),
            "1d" => Some(Self::Day),
            "1w" => Some(Self::Week),
            "1mo" => Some(Self::Month),
            "1q" => Some(Self::Quarter),
            "1y" => Some(Self::Year),
            _ => None,
        }
    }

    /// The first boundary after an instant.
    fn next(self, at: &Zoned) -> Result<Zoned, jiff::Error> {
        let date = at.date();
        let first_of = |date: Date| date.to_zoned(at.time_zone().clone());
        match self {
            Self::Minutes(minutes) => {
                // Counted from midnight in elapsed time; a day's last interval ends with the day.
                let midnight = at.start_of_day()?;
                let step_ms = minutes * 60_000;
                let steps = at.timestamp().duration_since(midnight.timestamp()).as_millis() / i128::from(step_ms) + 1;
                let steps = i64::try_from(steps).unwrap_or(i64::MAX);
                let next = midnight.checked_add(SignedDuration::from_millis(steps.saturating_mul(step_ms)))?;
                Ok(next.min(first_of(date.tomorrow()?)?))
            }
            Self::Day => first_of(date.tomorrow()?),
            Self::Week => first_of(date.nth_weekday(1, Weekday::Monday)?),
            Self::Month => first_of(date.first_of_month().checked_add(1.month())?),
            Self::Quarter => {
                let months_in = (date.month() - 1) % 3;
                first_of(date.first_of_month().checked_add((3 - months_in).months())?)
            }
            Self::Year => first_of(date.first_of_year().checked_add(1.year())?),
        }
    }
}

/// How much earlier a period is that another is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// As long, and just before.
    Previous,
    /// The same local times so much earlier.
    By(Interval),
}

impl Shift {
    /// The spellings allowed.
    pub const SPELLINGS: [&'static str; 6] = ["previous", "1d", "1w", "1mo", "1q", "1y"];

    /// The shift so spelt.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "previous" => Some(Self::Previous),
            _ => Interval::parse(text).filter(|interval| !matches!(interval, Interval::Minutes(_))).map(Self::By),
        }
    }

    /// The earlier period of a range. A local time that a day does not have is the next one it has, and the last day of a month stands
    /// for those a shorter month lacks.
    pub fn earlier(
        self,
        start: Timestamp,
        end: Timestamp,
        zone: &TimeZone,
    ) -> Result<(Timestamp, Timestamp), CutError> {
        let out_of_calendar = || CutError::Calendar("the earlier period begins before the year 1".to_owned());
        let span = match self {
            Self::Previous => {
                let from = start.millis().checked_sub(end.millis() - start.millis());
                let from = from.and_then(Timestamp::from_millis).ok_or_else(out_of_calendar)?;
                return Ok((from, start));
            }
            Self::By(Interval::Minutes(minutes)) => minutes.minutes(),
            Self::By(Interval::Day) => 1.day(),
            Self::By(Interval::Week) => 1.week(),
            Self::By(Interval::Month) => 1.month(),
            Self::By(Interval::Quarter) => 3.months(),
            Self::By(Interval::Year) => 1.year(),
        };
        let shifted = |at: Timestamp| {
            let shifted = local(at, zone)?.checked_sub(span).map_err(|error| CutError::Calendar(error.to_string()))?;
            Timestamp::from_millis(shifted.timestamp().as_millisecond()).ok_or_else(out_of_calendar)
        };
        Ok((shifted(start)?, shifted(end)?))
    }
}

fn local(at: Timestamp, zone: &TimeZone) -> Result<Zoned, CutError> {
    let instant = jiff::Timestamp::from_millisecond(at.millis());
    Ok(instant.map_err(|error| CutError::Calendar(error.to_string()))?.to_zoned(zone.clone()))
}

/// Parts of the week that figures can be grouped by, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePart {
    /// 1 for Monday to 7 for Sunday.
    Weekday,
    /// The hour that the instant's local clock shows, 0 to 23.
    Hour,
}

impl TimePart {
    /// The time part with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "weekday" => Some(Self::Weekday),
            "hour" => Some(Self::Hour),
            _ => None,
        }
    }

    fn of(self, at: &Zoned) -> u8 {
        match self {
            Self::Weekday => at.weekday().to_monday_one_offset().unsigned_abs(),
            Self::Hour => at.hour().unsigned_abs(),
        }
    }
}

/// Adjacent half-open intervals, each of which adds to a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Ascending; one more than there are intervals.
    bounds: Vec<i64>,
    /// The bucket of each interval.
    buckets: Vec<u32>,
}

/// The bounds of a cut are not ascending, or do not fit its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bounds must ascend and be one more than the buckets")]
pub struct NotACut;

impl Cut {
    /// A cut with these bounds and buckets.
    pub fn new(bounds: Vec<i64>, buckets: Vec<u32>) -> Result<Self, NotACut> {
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if buckets.is_empty() || bounds.len() != buckets.len() + 1 || !ascending {
            return Err(NotACut);
        }
        Ok(Self { bounds, buckets })
    }

    /// The bounds, ascending.
    #[must_use]
    pub fn bounds(&self) -> &[i64] {
        &self.bounds
    }

    /// The bucket of each interval.
    #[must_use]
    pub fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    /// From the first bound to the last.
    #[must_use]
    pub fn range(&self) -> Range {
        let bound = |bound: Option<&i64>| bound.copied().unwrap_or_default();
        Range { from_inclusive: bound(self.bounds.first()), to_exclusive: bound(self.bounds.last()) }
    }

    /// The bucket of the interval an instant lies in.
    #[must_use]
    pub fn bucket_of(&self, at_ms: i64) -> Option<u32> {
        self.finder().bucket_of(at_ms)
    }

    /// Finds the buckets of many instants.
    #[must_use]
    pub fn finder(&self) -> Finder<'_> {
        Finder { cut: self, from_ms: 0, to_ms: 0, bucket: 0 }
    }

    /// The same intervals in so many cuts, one after the other, whose part of `held` is about equally long: a day at least, parted at the begin of one
    /// where an interval begins there, so that few days are read for two cuts. `None` where that cannot be, there are few intervals or several add to one
    /// bucket.
    #[must_use]
    pub fn in_parts(&self, count: usize, held: impl FnOnce() -> Option<Range>) -> Option<Vec<Self>> {
        const FEW: usize = 8;
        const LEAST_DAYS: i64 = 1;
        if self.buckets.len() < FEW * count || !self.buckets.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let (held, Range { from_inclusive, to_exclusive }) = (held()?, self.range());
        let from_ms = from_inclusive.max(held.from_inclusive);
        let part = to_exclusive.min(held.to_exclusive).saturating_sub(from_ms) / i64::try_from(count).ok()?;
        if part < LEAST_DAYS * DAY_MS {
            return None;
        }
        let mut first = 0;
        let parts = (1..=count).filter_map(|number| {
            let until_ms = (from_ms + part * i64::try_from(number).ok()?).div_euclid(DAY_MS) * DAY_MS;
            let end =
                if number == count { self.buckets.len() } else { self.bounds.partition_point(|at| *at < until_ms) };
            let end = end.clamp(first, self.buckets.len());
            let cut = Self::new(self.bounds[first..=end].to_vec(), self.buckets[first..end].to_vec()).ok();
            first = end;
            cut
        });
        Some(parts.collect())
    }

    /// The start of each interval and its bucket.
    pub fn starts(&self) -> impl Iterator<Item = (i64, u32)> {
        self.bounds.iter().copied().zip(self.buckets.iter().copied())
    }

    /// The end of each interval and its bucket.
    pub fn ends(&self) -> impl Iterator<Item = (i64, u32)> {
        self.bounds.iter().skip(1).copied().zip(self.buckets.iter().copied())
    }
}

/// Finds the buckets of instants that often lie in the interval of the one before.
#[derive(Debug, Clone)]
pub struct Finder<'a> {
    cut: &'a Cut,
    /// The last one's interval.
    from_ms: i64,
    to_ms: i64,
    bucket: u32,
}

impl Finder<'_> {
    /// The bucket of the interval an instant lies in.
    #[inline]
    pub fn bucket_of(&mut self, at_ms: i64) -> Option<u32> {
        if !(self.from_ms..self.to_ms).contains(&at_ms) {
            let Cut { bounds, buckets } = self.cut;
            let after = bounds.partition_point(|bound| *bound <= at_ms);
            let before = after.checked_sub(1)?;
            (self.from_ms, self.to_ms, self.bucket) =
                (*bounds.get(before)?, *bounds.get(after)?, *buckets.get(before)?);
        }
        Some(self.bucket)
    }
}

/// What a bucket stands for in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Start of the interval, in milliseconds since 1970.
    pub start_ms: i64,
    /// End of the interval.
    pub end_ms: i64,
    /// The time parts grouped by, in the order asked for.
    pub parts: Vec<u8>,
}

/// Why a range cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The range is empty.
    #[error("the range ends at or before its start")]
    Empty,
    /// There would be too many intervals.
    #[error("the range has more than {MAX_ROWS} intervals: ask for longer intervals or a shorter range")]
    TooManyIntervals,
    /// The calendar does not reach so far.
    #[error("the range leaves the calendar of the years 1 to 9999: {0}")]
    Calendar(String),
}

/// Cuts a range into the intervals and time parts of a zone.
///
/// Without either there is one bucket. The first and the last interval are cut off at the range's ends.
pub fn cut(
    start: Timestamp,
    end: Timestamp,
    interval: Option<Interval>,
    parts: &[TimePart],
    zone: &TimeZone,
) -> Result<(Cut, Vec<Bucket>), CutError> {
    if start >= end {
        return Err(CutError::Empty);
    }
    let step = if parts.is_empty() { interval } else { Some(finest(interval)) };
    if let Some(Interval::Minutes(minutes)) = step
        && ((end.millis() - start.millis()) / (minutes * 60_000)).unsigned_abs() > MAX_ROWS as u64
    {
        // No interval is longer.
        return Err(CutError::TooManyIntervals);
    }
    match interval {
        Some(Interval::Minutes(minutes)) if parts.is_empty() => cut_minutes(start, end, minutes, zone),
        _ => cut_step_by_step(start, end, interval, parts, zone),
    }
}

/// Intervals of minutes: the calendar is asked once a day.
fn cut_minutes(
    start: Timestamp,
    end: Timestamp,
    minutes: i64,
    zone: &TimeZone,
) -> Result<(Cut, Vec<Bucket>), CutError> {
    let (step_ms, end_ms) = (minutes * 60_000, end.millis());
    let (mut bounds, mut buckets) = (vec![start.millis()], Vec::<Bucket>::new());
    let mut at_ms = start.millis();
    while at_ms < end_ms {
        let here = local(Timestamp::clamped(at_ms), zone)?;
        let midnight_ms = here.start_of_day().map_or(at_ms, |midnight| midnight.timestamp().as_millisecond());
        // At the calendar's end there is no next day.
        let day_ends_ms = following(Interval::Day, &here, end_ms)?;
        while at_ms < day_ends_ms {
            if bounds.len() > MAX_ROWS {
                return Err(CutError::TooManyIntervals);
            }
            let next_ms = midnight_ms + ((at_ms - midnight_ms) / step_ms + 1) * step_ms;
            let next_ms = next_ms.min(day_ends_ms);
            buckets.push(Bucket { start_ms: at_ms, end_ms: next_ms, parts: Vec::new() });
            bounds.push(next_ms);
            at_ms = next_ms;
        }
    }
    let numbers = (0..).take(buckets.len()).collect();
    let cut = Cut::new(bounds, numbers).map_err(|_| CutError::Empty)?;
    Ok((cut, buckets))
}

/// Any intervals and time parts: the calendar is asked at each step.
fn cut_step_by_step(
    start: Timestamp,
    end: Timestamp,
    interval: Option<Interval>,
    parts: &[TimePart],
    zone: &TimeZone,
) -> Result<(Cut, Vec<Bucket>), CutError> {
    let local = |at: Timestamp| local(at, zone);
    let end_ms = end.millis();
    let step = if parts.is_empty() { interval } else { Some(finest(interval)) };
    let (mut bounds, mut numbers, mut buckets) = (vec![start.millis()], Vec::new(), Vec::<Bucket>::new());
    let mut bucket_numbers = std::collections::HashMap::new();
    let mut at = start;
    // The outer interval: the one asked for, or the whole range.
    let (mut outer_start_ms, mut outer_end_ms) = (start.millis(), end_ms);
    if let Some(interval) = interval {
        outer_end_ms = following(interval, &local(start)?, end_ms)?;
    }
    while at < end {
        if bounds.len() > MAX_ROWS {
            return Err(CutError::TooManyIntervals);
        }
        let here = step.map(|_| local(at)).transpose()?;
        if let (Some(interval), Some(here)) = (interval, &here)
            && at.millis() >= outer_end_ms
        {
            outer_start_ms = at.millis();
            outer_end_ms = following(interval, here, end_ms)?;
        }
        let next_ms = match (step, &here) {
            (Some(step), Some(here)) => following(step, here, end_ms)?,
            _ => end_ms,
        };
        let values: Vec<u8> = here.iter().flat_map(|here| parts.iter().map(|part| part.of(here))).collect();
        let next_number = u32::try_from(buckets.len()).map_err(|_| CutError::TooManyIntervals)?;
        let number = *bucket_numbers.entry((outer_start_ms, values.clone())).or_insert_with(|| {
            buckets.push(Bucket { start_ms: outer_start_ms, end_ms: outer_end_ms, parts: values });
            next_number
        });
        numbers.push(number);
        bounds.push(next_ms);
        at = Timestamp::clamped(next_ms);
    }
    let cut = Cut::new(bounds, numbers).map_err(|_| CutError::Empty)?;
    Ok((cut, buckets))
}

/// The next boundary after `at`, in milliseconds since 1970, or the end of the range if that comes first.
fn following(interval: Interval, at: &Zoned, end_ms: i64) -> Result<i64, CutError> {
    // At the calendar's end there is no next boundary.
    let next_ms = interval.next(at).map_or(end_ms, |next| next.timestamp().as_millisecond());
    if next_ms <= at.timestamp().as_millisecond() {
        return Err(CutError::Calendar(format!("no boundary after {at}")));
    }
    Ok(next_ms.min(end_ms))
}

/// Time parts need half hours at least.
fn finest(interval: Option<Interval>) -> Interval {
    match interval {
        Some(Interval::Minutes(minutes)) => Interval::Minutes(minutes.min(30)),
        // Half hours, because some zones move their clocks by so much.
        Some(_) | None => Interval::Minutes(30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect("a valid instant");
        Timestamp::clamped(instant.as_millisecond())
    }

    proptest::proptest! {
        #[test]
        fn minutes_are_cut_a_day_at_a_time_as_step_by_step(
            start_s in -3_000_000_000i64..4_000_000_000, length_ms in 1i64..400_000_000, which in 0usize..5, zone in 0usize..6
        ) {
            let zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Scoresbysund"];
            let zone = TimeZone::get(zones[zone]).expect("a zone");
            let start = Timestamp::clamped(start_s * 1_000 + length_ms % 1_000);
            let end = Timestamp::clamped(start.millis() + length_ms);
            let minutes = [1, 5, 15, 30, 60][which];
            let interval = Some(Interval::Minutes(minutes));
            proptest::prop_assert_eq!(cut(start, end, interval, &[], &zone), cut_step_by_step(start, end, interval, &[], &zone));
        }
    }

    fn bounds(start: &str, end: &str, interval: &str, zone: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).expect("a zone");
        let (cut, _) = cut(at(start), at(end), Interval::parse(interval), &[], &zone).expect("cuts");
        cut.bounds().iter().map(|ms| Timestamp::clamped(*ms).to_string()).collect()
    }

    #[test]
    fn days_have_23_and_25_hours_where_the_clocks_change() {
        assert_eq!(
            bounds("2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z", "1d", "Europe/Berlin"),
            ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"]
        );
        assert_eq!(bounds("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "1h", "Europe/Berlin").len(), 26);
        assert_eq!(bounds("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "1h", "Europe/Berlin").len(), 24);
    }

    #[test]
    fn a_day_without_midnight_begins_when_it_begins() {
        // In São Paulo the clocks went from 23:59:59 to 01:00 on 16 October 2016.
        assert_eq!(
            bounds("2016-10-15T03:00:00Z", "2016-10-17T02:00:00Z", "1d", "America/Sao_Paulo"),
            ["2016-10-15T03:00:00Z", "2016-10-16T03:00:00Z", "2016-10-17T02:00:00Z"]
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_quarters_with_their_month() {
        assert_eq!(
            bounds("2026-06-03T12:00:00Z", "2026-06-16T00:00:00Z", "1w", "UTC"),
            ["2026-06-03T12:00:00Z", "2026-06-08T00:00:00Z", "2026-06-15T00:00:00Z", "2026-06-16T00:00:00Z"]
        );
        assert_eq!(
            bounds("2026-02-03T00:00:00Z", "2026-08-01T00:00:00Z", "1q", "UTC"),
            ["2026-02-03T00:00:00Z", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"]
        );
        assert_eq!(bounds("2024-01-31T00:00:00Z", "2026-01-01T00:00:00Z", "1mo", "Asia/Kathmandu").len(), 26);
        assert_eq!(bounds("2024-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "1y", "UTC").len(), 4);
    }

    #[test]
    fn time_parts_fold_the_week_within_each_interval() {
        let (start, end) = (at("2026-06-01T00:00:00Z"), at("2026-06-15T00:00:00Z"));
        let parts = [TimePart::Weekday, TimePart::Hour];
        let (all, buckets) = cut(start, end, None, &parts, &TimeZone::UTC).expect("cuts");
        assert_eq!((all.buckets().len(), buckets.len()), (14 * 48, 7 * 24));
        assert_eq!(buckets[0], Bucket { start_ms: start.millis(), end_ms: end.millis(), parts: vec![1, 0] });
        let (_, weekly) = cut(start, end, Some(Interval::Week), &parts, &TimeZone::UTC).expect("cuts");
        assert_eq!(weekly.len(), 2 * 7 * 24);
    }

    #[test]
    fn hours_are_those_of_the_local_clock_where_clocks_move_by_half_an_hour() {
        // On Lord Howe Island the clocks went back from 02:00 to 01:30 on 5 April 2026.
        let zone = TimeZone::get("Australia/Lord_Howe").expect("a zone");
        let (start, end) = (at("2026-04-04T13:00:00Z"), at("2026-04-05T13:30:00Z"));
        let (cut, buckets) = cut(start, end, None, &[TimePart::Hour], &zone).expect("cuts");
        let half_hours =
            |hour: u8| cut.buckets().iter().filter(|bucket| buckets[**bucket as usize].parts == [hour]).count();
        assert_eq!([0, 1, 2, 22, 23].map(half_hours), [2, 3, 2, 2, 2]);
    }

    #[test]
    fn an_earlier_period_has_the_same_local_times() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let earlier = |start: &str, end: &str, shift: &str| {
            let shift = Shift::parse(shift).expect("a shift");
            let (start, end) = shift.earlier(at(start), at(end), &zone).expect("within the calendar");
            [start.to_string(), end.to_string()]
        };
        // Local midnight is an hour later in UTC before the clocks go forward.
        let (start, end) = ("2026-03-29T22:00:00Z", "2026-04-05T22:00:00Z");
        assert_eq!(earlier(start, end, "1w"), ["2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"]);
        assert_eq!(earlier(start, end, "previous"), ["2026-03-22T22:00:00Z", "2026-03-29T22:00:00Z"]);
        assert_eq!(earlier(start, end, "1d"), ["2026-03-28T23:00:00Z", "2026-04-04T22:00:00Z"]);
        let (start, end) = ("2024-02-29T11:00:00Z", "2024-03-31T10:00:00Z");
        assert_eq!(earlier(start, end, "1mo"), ["2024-01-29T11:00:00Z", "2024-02-29T11:00:00Z"]);
        assert_eq!(earlier(start, end, "1q"), ["2023-11-29T11:00:00Z", "2023-12-31T11:00:00Z"]);
        assert_eq!(earlier(start, end, "1y"), ["2023-02-28T11:00:00Z", "2023-03-31T10:00:00Z"]);
        assert_eq!([Shift::parse("1h"), Shift::parse("2w"), Shift::parse("")], [None; 3]);
        let first = Timestamp::MIN;
        assert!(Shift::Previous.earlier(first, at("2024-01-01T00:00:00Z"), &zone).is_err());
    }

    #[test]
    fn ranges_that_cannot_be_cut_say_why() {
        let (start, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(cut(end, start, None, &[], &TimeZone::UTC), Err(CutError::Empty));
        assert_eq!(cut(start, end, Interval::parse("1m"), &[], &TimeZone::UTC), Err(CutError::TooManyIntervals));
        assert!(cut(Timestamp::MIN, Timestamp::MAX, Some(Interval::Year), &[], &TimeZone::UTC).is_ok());
    }
}
