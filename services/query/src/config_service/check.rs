//! Checking configuration, field by field.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;

use deskpulse_core::dimension::Dimension;
use deskpulse_core::filter::{Filter, FilterError};
use deskpulse_core::subject::ALL_TENANTS;
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault::{Fault, Reason};
use deskpulse_proto::v1::{
    Calendar, Clock, OneOffOpening, OpenBlock, Scale, SlaPolicy, SlaTarget, SlaTargetKind, SurveyKind, SurveyScale,
    Tenant,
};
use jiff::tz::TimeZone;

use super::Version;

/// The longest id of a tenant, calendar or policy, in bytes.
const ID: usize = 64;
/// The longest name of a team, in bytes.
const TEAM: usize = 128;
const TEAM_CALENDARS: usize = 1_000;
/// The most open blocks of a week.
const BLOCKS: usize = 100;
/// The most holidays of a version, and the most openings.
const DAYS: usize = 1_000;
/// The most blocks, holidays and openings in all versions of all calendars of a tenant, so that they fit into one message.
const ENTRIES: usize = 200_000;
/// The most calendars of a tenant, and the most policies.
const IDS: usize = 100;
/// The most versions of a calendar or policy.
const VERSIONS: usize = 100;
/// The minutes of a day.
const DAY: u32 = 24 * 60;
/// The longest an SLA target may allow, in days.
const TARGET_DAYS: i64 = 10_000;
/// What a score may be.
const SCORES: RangeInclusive<i32> = -1_000..=1_000;

fn missing(field: &str, request: &str) -> Fault {
    Fault::in_field(Reason::FieldRequired, field, format!("{field} is required: {request}"))
}

fn invalid<T>(field: &str, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::in_field(Reason::FieldInvalid, field, message))
}

fn text(field: &str, value: &str, limit: usize) -> Result<(), Fault> {
    if value.is_empty() {
        return Err(missing(field, &format!("send 1 to {limit} bytes")));
    }
    if value.len() > limit {
        let message = format!("{field} has {} bytes, the limit is {limit}: shorten it", value.len());
        return Err(Fault::in_field(Reason::FieldTooLong, field, message));
    }
    Ok(())
}

fn entries(field: &str, count: usize, limit: usize) -> Result<(), Fault> {
    if count <= limit {
        return Ok(());
    }
    let message = format!("{field} has {count} entries, the limit is {limit}: send fewer");
    Err(Fault::in_field(Reason::FieldTooLong, field, message))
}

/// An enum's value, which must be one this version knows.
fn known<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Fault> {
    T::try_from(number)
        .or_else(|_| invalid(field, format!("{field} has the value {number}, which this version does not know")))
}

/// An enum's value, which must be one this version knows and not unspecified.
fn specified<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Fault> {
    if number == 0 {
        return Err(missing(field, "it may not be unspecified"));
    }
    known(field, number)
}

/// A tenant's id.
pub(super) fn tenant(field: &str, id: &str) -> Result<(), Fault> {
    if id == ALL_TENANTS {
        return invalid(field, format!("{field} is -, which stands for all tenants in questions: name one"));
    }
    text(field, id, ID)
}

fn zone(field: &str, name: &str) -> Result<(), Fault> {
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(()),
        Ok(_) | Err(_) => {
            let shown: String = name.chars().take(64).collect();
            let message = format!("there is no IANA time zone {shown:?}: give one such as Europe/Berlin");
            Err(Fault::in_field(Reason::UnknownTimeZone, field, message))
        }
    }
}

/// A required instant, as it is kept: in whole milliseconds.
fn instant(field: &str, time: Option<prost_types::Timestamp>) -> Result<prost_types::Timestamp, Fault> {
    let time = time.ok_or_else(|| missing(field, "say from when on this version holds"))?;
    let exists = (0..1_000_000_000).contains(&time.nanos) && Timestamp::from_millis(kept_ms(Some(&time))).is_some();
    if !exists {
        let message = format!("{field} is no instant of the years 1 to 9999 with nanos from 0 to 999,999,999");
        return invalid(field, message);
    }
    Ok(prost_types::Timestamp { nanos: time.nanos / 1_000_000 * 1_000_000, ..time })
}

/// Milliseconds since 1970.
pub(super) fn kept_ms(time: Option<&prost_types::Timestamp>) -> i64 {
    let whole_ms = |time: &prost_types::Timestamp| {
        time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000)
    };
    time.map(whole_ms).unwrap_or_default()
}

/// A tenant's settings, but for whether the calendars they name exist.
pub(super) fn settings(settings: Option<Tenant>) -> Result<Tenant, Fault> {
    let settings = settings.ok_or_else(|| missing("tenant", "send the settings"))?;
    tenant("tenant.tenant", &settings.tenant)?;
    if !settings.time_zone.is_empty() {
        zone("tenant.time_zone", &settings.time_zone)?;
    }
    if !settings.calendar.is_empty() {
        text("tenant.calendar", &settings.calendar, ID)?;
    }
    entries("tenant.team_calendars", settings.team_calendars.len(), TEAM_CALENDARS)?;
    let mut teams = HashSet::new();
    for (index, of) in settings.team_calendars.iter().enumerate() {
        let at = |part: &str| format!("tenant.team_calendars[{index}].{part}");
        text(&at("team"), &of.team, TEAM)?;
        text(&at("calendar"), &of.calendar, ID)?;
        if !teams.insert(&of.team) {
            invalid(&at("team"), format!("the team {:?} stands twice: give it one calendar", of.team))?;
        }
    }
    let mut kinds = BTreeSet::new();
    for (index, scale) in settings.survey_scales.iter().enumerate() {
        survey_scale(&format!("tenant.survey_scales[{index}]"), scale)?;
        if !kinds.insert(scale.kind) {
            let field = format!("tenant.survey_scales[{index}].kind");
            invalid(&field, format!("{} stands twice: give it one scale", scale.kind().as_str_name()))?;
        }
    }
    Ok(settings)
}

fn survey_scale(field: &str, SurveyScale { kind, scale, good_from }: &SurveyScale) -> Result<(), Fault> {
    let at = |part: &str| format!("{field}.{part}");
    let kind: SurveyKind = specified(&at("kind"), *kind)?;
    let scale = scale.map(|scale| scores(&at("scale"), scale)).transpose()?;
    let usual = match kind {
        SurveyKind::Nps => 0..=10,
        SurveyKind::Ces => 1..=7,
        SurveyKind::Unspecified | SurveyKind::Csat | SurveyKind::Engagement => 1..=5,
    };
    if kind == SurveyKind::Nps {
        if scale.is_some_and(|scale| scale != usual) {
            invalid(&at("scale"), "the scale of a net promoter score is 0 to 10: leave it out")?;
        }
        if good_from.is_some() {
            invalid(&at("good_from"), "promoters give 9 or 10: leave good_from out for a net promoter score")?;
        }
        return Ok(());
    }
    let scale = scale.unwrap_or(usual);
    if let Some(score) = good_from.filter(|score| !scale.contains(score)) {
        let message = format!("good_from is {score}, it must be on the scale, {} to {}", scale.start(), scale.end());
        invalid(&at("good_from"), message)?;
    }
    Ok(())
}

/// The scores of a scale.
fn scores(field: &str, Scale { lowest, highest }: Scale) -> Result<RangeInclusive<i32>, Fault> {
    for (end, score) in [("lowest", lowest), ("highest", highest)] {
        if !SCORES.contains(&score) {
            invalid(&format!("{field}.{end}"), format!("{end} is {score}, it must be from -1,000 to 1,000"))?;
        }
    }
    if highest <= lowest {
        let message = format!("highest is {highest}, it must be above lowest, which is {lowest}");
        invalid(&format!("{field}.highest"), message)?;
    }
    Ok(lowest..=highest)
}

/// The calendars that settings name must have been set before. Calendars never go, so that they stay.
pub(super) fn calendars_exist(settings: &Tenant, kept: &[Calendar]) -> Result<(), Fault> {
    let exists: HashSet<&str> = kept.iter().map(Version::id).collect();
    let check = |field: &str, id: &str| {
        if exists.contains(id) {
            return Ok(());
        }
        invalid(field, format!("the tenant has no calendar {id:?}: set the calendar first"))
    };
    if !settings.calendar.is_empty() {
        check("tenant.calendar", &settings.calendar)?;
    }
    for (index, of) in settings.team_calendars.iter().enumerate() {
        check(&format!("tenant.team_calendars[{index}].calendar"), &of.calendar)?;
    }
    Ok(())
}

/// A version of a calendar, as it is kept.
pub(super) fn calendar(calendar: Option<Calendar>) -> Result<Calendar, Fault> {
    let mut calendar = calendar.ok_or_else(|| missing("calendar", "send the version"))?;
    text("calendar.calendar", &calendar.calendar, ID)?;
    calendar.effective_from = Some(instant("calendar.effective_from", calendar.effective_from)?);
    if calendar.time_zone.is_empty() {
        return Err(missing("calendar.time_zone", "send an IANA name such as Europe/Berlin"));
    }
    zone("calendar.time_zone", &calendar.time_zone)?;
    entries("calendar.blocks", calendar.blocks.len(), BLOCKS)?;
    for (index, OpenBlock { weekday, from_minute, to_minute }) in calendar.blocks.iter().enumerate() {
        let field = format!("calendar.blocks[{index}]");
        if !(1..=7).contains(weekday) {
            let message = format!("weekday is {weekday}, it must be from 1, Monday, to 7, Sunday");
            invalid(&format!("{field}.weekday"), message)?;
        }
        minutes(&field, *from_minute, *to_minute)?;
    }
    entries("calendar.holidays", calendar.holidays.len(), DAYS)?;
    for (index, holiday) in calendar.holidays.iter().enumerate() {
        date(&format!("calendar.holidays[{index}]"), holiday)?;
    }
    entries("calendar.openings", calendar.openings.len(), DAYS)?;
    for (index, OneOffOpening { date: day, from_minute, to_minute }) in calendar.openings.iter().enumerate() {
        let field = format!("calendar.openings[{index}]");
        date(&format!("{field}.date"), day)?;
        minutes(&field, *from_minute, *to_minute)?;
    }
    Ok(calendar)
}

/// A block of a day, from a minute to a later one.
fn minutes(field: &str, from: u32, to: u32) -> Result<(), Fault> {
    if from >= DAY {
        let message = format!("from_minute is {from}, it must be from 0 to {}", DAY - 1);
        invalid(&format!("{field}.from_minute"), message)?;
    }
    if to <= from || to > DAY {
        let message = format!("to_minute is {to}, it must be above from_minute, which is {from}, and at most {DAY}");
        invalid(&format!("{field}.to_minute"), message)?;
    }
    Ok(())
}

/// A day, spelled `2026-12-25` and no other way.
fn date(field: &str, day: &str) -> Result<(), Fault> {
    if day.is_empty() {
        return Err(missing(field, "send a day such as 2026-12-25"));
    }
    let digits = |at: usize, byte: u8| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    let is_spelled = day.len() == 10 && day.bytes().enumerate().all(|(at, byte)| digits(at, byte));
    let is_day = |day: &str| day.parse::<jiff::civil::Date>().is_ok_and(|day| day.year() > 0);
    if is_spelled && is_day(day) {
        return Ok(());
    }
    let shown: String = day.chars().take(16).collect();
    invalid(field, format!("there is no day {shown:?}: give one such as 2026-12-25"))
}

/// A version of an SLA policy, as it is kept.
pub(super) fn policy(policy: Option<SlaPolicy>) -> Result<SlaPolicy, Fault> {
    let mut policy = policy.ok_or_else(|| missing("policy", "send the version"))?;
    text("policy.policy", &policy.policy, ID)?;
    policy.effective_from = Some(instant("policy.effective_from", policy.effective_from)?);
    filter("policy.filter", &policy.filter)?;
    let mut kinds = BTreeSet::new();
    for (index, target) in policy.targets.iter_mut().enumerate() {
        let field = format!("policy.targets[{index}]");
        check_target(&field, target)?;
        if !kinds.insert(target.kind) {
            let message = format!("{} stands twice: give it one target", target.kind().as_str_name());
            invalid(&format!("{field}.kind"), message)?;
        }
        if target.clock() == Clock::Unspecified {
            target.set_clock(Clock::Calendar);
        }
    }
    Ok(policy)
}

/// A filter over what conversations have.
fn filter(field: &str, text: &str) -> Result<(), Fault> {
    let filter = Filter::parse(text).map_err(|error| {
        let reason = match &error {
            FilterError::UnknownDimension { .. } => Reason::UnknownDimension,
            _ => Reason::MalformedFilter,
        };
        Fault::in_field(reason, field, error.to_string())
    })?;
    let Some(other) = of_no_conversation(&filter) else { return Ok(()) };
    let message = format!("{} is no dimension of conversations: no target would ever match", other.name());
    Err(Fault::in_field(Reason::UnknownDimension, field, message))
}

/// A dimension that belongs to something else than conversations: to messages, agents, costs.
fn of_no_conversation(filter: &Filter) -> Option<&Dimension> {
    let dimension = match filter {
        Filter::Everything => return None,
        Filter::And(filters) | Filter::Or(filters) => return filters.iter().find_map(of_no_conversation),
        Filter::Not(filter) => return of_no_conversation(filter),
        Filter::Equals { dimension, .. }
        | Filter::Prefix { dimension, .. }
        | Filter::OneOf { dimension, .. }
        | Filter::Ordered { dimension, .. }
        | Filter::IsSet(dimension) => dimension,
    };
    let is_known = matches!(
        dimension,
        Dimension::Channel
            | Dimension::Direction
            | Dimension::Team
            | Dimension::Agent
            | Dimension::Priority
            | Dimension::Topic
            | Dimension::Subtopic
            | Dimension::Language
            | Dimension::Country
            | Dimension::CustomerSegment
            | Dimension::Tag
            | Dimension::Custom(_)
    );
    (!is_known).then_some(dimension)
}

fn check_target(field: &str, target: &SlaTarget) -> Result<(), Fault> {
    let at = |part: &str| format!("{field}.{part}");
    specified::<SlaTargetKind>(&at("kind"), target.kind)?;
    known::<Clock>(&at("clock"), target.clock)?;
    let Some(at_most) = &target.at_most else {
        return Err(missing(&at("at_most"), "say how long it may take"));
    };
    let limit_ms = TARGET_DAYS * i64::from(DAY) * 60_000;
    let Some(at_most_ms) = whole_ms(at_most).filter(|ms| (1..=limit_ms).contains(ms)) else {
        let message = format!("at_most must be whole milliseconds, more than 0 and at most {TARGET_DAYS} days");
        return invalid(&at("at_most"), message);
    };
    if let Some(lead) = &target.warning_lead
        && whole_ms(lead).is_none_or(|lead_ms| lead_ms >= at_most_ms)
    {
        let message = "warning_lead must be whole milliseconds, 0 or more and less than at_most";
        return invalid(&at("warning_lead"), message);
    }
    Ok(())
}

/// A duration of whole milliseconds that is not negative.
fn whole_ms(duration: &prost_types::Duration) -> Option<i64> {
    let is_whole = duration.seconds >= 0 && (0..1_000_000_000).contains(&duration.nanos);
    let nanos = Some(duration.nanos).filter(|nanos| is_whole && nanos % 1_000_000 == 0)?;
    duration.seconds.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)
}

/// Whether a version may be added beside those kept; replacing one is always possible. `id` is the path of its id.
///
/// Versions set at the same moment may pass a limit together.
pub(super) fn room<V: Version>(what: &str, id: &str, kept: &[V], version: &V) -> Result<(), Fault> {
    let others = kept.iter().filter(|other| other.id() == version.id()).count();
    if kept.iter().any(|other| other.key() == version.key()) {
        return Ok(());
    }
    if others >= VERSIONS {
        let message =
            format!("there are {others} versions, the limit is {VERSIONS}: replace one by its effective_from");
        return Err(Fault::in_field(Reason::FieldTooLong, format!("{what}.effective_from"), message));
    }
    let ids = kept.iter().map(Version::id).collect::<BTreeSet<_>>().len();
    if others == 0 && ids >= IDS {
        let message = format!("the tenant has {ids} others, the limit is {IDS}: add a version to one of them");
        return Err(Fault::in_field(Reason::FieldTooLong, id, message));
    }
    Ok(())
}

/// Whether the blocks, holidays and openings of a version may be kept beside those of the others.
pub(super) fn room_for_entries(kept: &[Calendar], version: &Calendar) -> Result<(), Fault> {
    let of = |calendar: &Calendar| calendar.blocks.len() + calendar.holidays.len() + calendar.openings.len();
    let others: usize = kept.iter().filter(|other| other.key() != version.key()).map(of).sum();
    if others + of(version) <= ENTRIES {
        return Ok(());
    }
    let message = format!(
        "all versions of all calendars would have {} blocks, holidays and openings, the limit is {ENTRIES}: send fewer",
        others + of(version)
    );
    Err(Fault::in_field(Reason::FieldTooLong, "calendar", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_calendars_together_have_room_for_200_000_entries() {
        let version = |seconds: i64, holidays: usize, openings: usize| Calendar {
            calendar: "office".to_owned(),
            effective_from: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            blocks: vec![OpenBlock::default(); 100],
            holidays: vec![String::new(); holidays],
            openings: vec![OneOffOpening::default(); openings],
            ..Calendar::default()
        };
        let kept: Vec<Calendar> = (0..100).map(|seconds| version(seconds, 900, 990)).collect();
        assert_eq!(room_for_entries(&kept, &version(100, 900, 0)), Ok(()));
        let fault = room_for_entries(&kept, &version(100, 901, 0)).expect_err("one too many");
        assert_eq!((fault.reason, fault.field.as_str()), (Reason::FieldTooLong, "calendar"));
        assert_eq!(room_for_entries(&kept, &version(99, 1_000, 1_000)), Ok(()), "it takes the place of another");
    }
}
