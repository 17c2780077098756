//! Changes of configuration.

use std::collections::BTreeMap;

use deskpulse_core::calendar::{Block, Hours, Opening};
use deskpulse_core::event::Scale;
use deskpulse_core::fact::Clock;
use deskpulse_core::filter::Filter;
use deskpulse_core::rules::{Policy, RuleChange, Settings, SurveyRule, Target, TargetKind};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::time::Timestamp;
use deskpulse_proto::v1::{self, config_change};
use jiff::tz::TimeZone;

use super::lent;
use super::others::survey_kind;

/// Decodes a change, checked when it was made. `None` for one this version has no meaning for.
pub(crate) fn change(change: v1::ConfigChange, names: &Names) -> Option<(Symbol, RuleChange)> {
    let decoded = match change.change? {
        config_change::Change::Settings(tenant) => RuleChange::Settings(settings(tenant, names)),
        config_change::Change::Calendar(calendar) => RuleChange::Calendar {
            effective_from: instant(calendar.effective_from.as_ref()?),
            hours: hours(&calendar)?,
            id: calendar.calendar.into(),
        },
        config_change::Change::SlaPolicy(policy) => RuleChange::Policy {
            id: names.symbol(&policy.policy),
            effective_from: instant(policy.effective_from.as_ref()?),
            policy: Policy {
                filter: Filter::parse(&policy.filter).ok()?,
                targets: policy.targets.iter().map(target).collect::<Option<_>>()?,
            },
        },
    };
    Some((names.symbol(&change.tenant), decoded))
}

fn instant(time: &prost_types::Timestamp) -> Timestamp {
    super::instant(&lent::Timestamp { seconds: time.seconds, nanos: time.nanos })
}

fn settings(tenant: v1::Tenant, names: &Names) -> Settings {
    let surveys: BTreeMap<_, _> = tenant
        .survey_scales
        .iter()
        .filter_map(|survey| {
            let rule = SurveyRule {
                scale: survey.scale.map(|scale| Scale { lowest: scale.lowest, highest: scale.highest }),
                good_from: survey.good_from,
            };
            Some((survey_kind(survey.kind())?, rule))
        })
        .collect();
    let teams = tenant.team_calendars.into_iter();
    Settings {
        calendar: (!tenant.calendar.is_empty()).then(|| tenant.calendar.into()),
        team_calendars: teams.map(|team| (names.symbol(&team.team), team.calendar.into())).collect(),
        surveys,
    }
}

fn hours(calendar: &v1::Calendar) -> Option<Hours> {
    Some(Hours {
        zone: TimeZone::get(&calendar.time_zone).ok()?,
        blocks: calendar
            .blocks
            .iter()
            .map(|block| Block::new(block.weekday, block.from_minute, block.to_minute).ok())
            .collect::<Option<_>>()?,
        holidays: calendar.holidays.iter().map(|day| day.parse().ok()).collect::<Option<_>>()?,
        openings: calendar
            .openings
            .iter()
            .map(|opening| Opening::new(opening.date.parse().ok()?, opening.from_minute, opening.to_minute).ok())
            .collect::<Option<_>>()?,
    })
}

fn target(target: &v1::SlaTarget) -> Option<Target> {
    let ms = |duration: &prost_types::Duration| {
        duration.seconds.checked_mul(1_000)?.checked_add(i64::from(duration.nanos) / 1_000_000)
    };
    Some(Target {
        kind: match target.kind() {
            v1::SlaTargetKind::Unspecified => return None,
            v1::SlaTargetKind::FirstResponse => TargetKind::FirstResponse,
            v1::SlaTargetKind::NextResponse => TargetKind::NextResponse,
            v1::SlaTargetKind::Resolution => TargetKind::Resolution,
        },
        at_most_ms: ms(target.at_most.as_ref()?)?,
        clock: match target.clock() {
            v1::Clock::Unspecified | v1::Clock::Calendar => Clock::Calendar,
            v1::Clock::Business => Clock::Business,
        },
        lead_ms: target.warning_lead.as_ref().and_then(ms),
    })
}
