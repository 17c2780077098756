//! Random settings of a tenant: calendars, policies, scales.

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::{
    Calendar, Clock, ConfigChange, OneOffOpening, OpenBlock, Scale, SlaPolicy, SlaTarget, SlaTargetKind, SurveyKind,
    SurveyScale, TeamCalendar, Tenant,
};

use super::scenario::{TENANT, pick, timestamp};
use super::{DAY, HOUR};
use crate::harness::Random;

/// Changes in the order in which they are to be made: what names a calendar comes after it.
pub(super) fn config(random: &mut Random, base: i64) -> Vec<ConfigChange> {
    let mut changes = Vec::new();
    for (id, versions) in [("office", 2), ("night", 1), ("seldom", 1)] {
        for version in 0..=random.below(versions + 1) {
            let calendar = calendar(random, id, base + [-30 * DAY, DAY + HOUR / 2, 3 * DAY][version]);
            changes.push(Change::Calendar(calendar));
        }
    }
    for policy in &["p1", "p2", "p3"][..random.below(4)] {
        for _ in 0..=random.below(2) {
            changes.push(Change::SlaPolicy(policy_version(random, policy, base)));
        }
    }
    if random.below(5) > 0 {
        changes.push(Change::Settings(settings(random)));
    }
    changes.into_iter().map(|change| ConfigChange { tenant: TENANT.to_owned(), change: Some(change) }).collect()
}

fn calendar(random: &mut Random, id: &str, effective_from: i64) -> Calendar {
    let block = |weekday, from_minute, to_minute| OpenBlock { weekday, from_minute, to_minute };
    let (time_zone, blocks) = match id {
        "office" => {
            let closes = pick(random, &[1_020, 1_080]);
            ("Europe/Berlin", (1..=5).map(|day| block(day, 540, closes)).collect())
        }
        // Over midnight, over the hour that is left out or comes twice, and twice at the same time.
        "night" => {
            let zone = pick(random, &["Europe/Berlin", "America/New_York"]);
            (
                zone,
                (1..=7).flat_map(|day| [block(day, 1_320, 1_440), block(day, 0, 150), block(day, 60, 200)]).collect(),
            )
        }
        _ => ("Asia/Kolkata", Vec::new()),
    };
    let opening = |date: &str, from_minute, to_minute| OneOffOpening { date: date.to_owned(), from_minute, to_minute };
    Calendar {
        calendar: id.to_owned(),
        effective_from: Some(timestamp(effective_from)),
        time_zone: time_zone.to_owned(),
        blocks,
        holidays: if random.below(2) == 0 {
            Vec::new()
        } else {
            ["2026-03-30", "2026-06-02", "2026-10-26"].map(str::to_owned).to_vec()
        },
        openings: vec![
            opening("2026-03-29", 100, 260),
            opening("2026-03-30", 600, 660),
            opening("2026-06-02", 600, 601),
            opening("2026-10-25", 60, 300),
        ],
    }
}

fn settings(random: &mut Random) -> Tenant {
    let zones = ["", "Europe/Berlin", "America/New_York"];
    let calendars = ["", "office", "night", "seldom"];
    let scale = |kind: SurveyKind, highest, good_from| SurveyScale {
        kind: kind.into(),
        scale: Some(Scale { lowest: 1, highest }),
        good_from,
    };
    let mut team_calendars: Vec<TeamCalendar> = Vec::new();
    for team in ["t1", "t2"] {
        let calendar = pick(random, &calendars);
        if !calendar.is_empty() {
            team_calendars.push(TeamCalendar { team: team.to_owned(), calendar: calendar.to_owned() });
        }
    }
    let mut survey_scales = Vec::new();
    if random.below(3) == 0 {
        survey_scales.push(scale(SurveyKind::Csat, pick(random, &[5, 7]), pick(random, &[None, Some(3)])));
    }
    if random.below(3) == 0 {
        survey_scales.push(scale(SurveyKind::Ces, 5, pick(random, &[None, Some(5)])));
    }
    Tenant {
        tenant: TENANT.to_owned(),
        time_zone: pick(random, &zones).to_owned(),
        calendar: pick(random, &calendars).to_owned(),
        team_calendars,
        survey_scales,
    }
}

fn policy_version(random: &mut Random, policy: &str, base: i64) -> SlaPolicy {
    let filters =
        ["", "", "channel = \"email\"", "NOT team = \"t1\"", "priority:* OR topic = \"bill\"", "language != \"de\""];
    let kinds = [SlaTargetKind::FirstResponse, SlaTargetKind::NextResponse, SlaTargetKind::Resolution];
    let duration = |seconds: i64| prost_types::Duration { seconds, nanos: 0 };
    let mut targets = Vec::new();
    for kind in kinds {
        if random.below(4) == 0 {
            continue;
        }
        let at_most = pick(random, &[20, 60, 1_800, 3_600, 3_600, 14_400, 86_400]);
        let lead = pick(random, &[None, Some(at_most / 2), Some(at_most / 20)]);
        targets.push(SlaTarget {
            kind: kind.into(),
            at_most: Some(duration(at_most)),
            clock: pick(random, &[Clock::Unspecified, Clock::Calendar, Clock::Business, Clock::Business]).into(),
            warning_lead: lead.map(duration),
        });
    }
    SlaPolicy {
        policy: policy.to_owned(),
        effective_from: Some(timestamp(base + pick(random, &[-7 * DAY, -7 * DAY, 0, HOUR, 2 * DAY]))),
        filter: pick(random, &filters).to_owned(),
        targets: if random.below(8) == 0 { Vec::new() } else { targets },
    }
}
