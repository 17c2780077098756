//! Configuration that is refused, and which field is named.

use deskpulse_proto::v1::{
    ListCalendarsRequest, ListSlaPoliciesRequest, OneOffOpening, OpenBlock, SetCalendarRequest, SetSlaPolicyRequest,
    SlaTarget, SlaTargetKind, SurveyScale, TeamCalendar, Tenant,
};
use tonic::Code;

use super::{
    CES, CSAT, Config, NPS, block, calendar, duration, letters, minutes, opening, policy, scale, settings, target,
};
use crate::harness::{Suite, assert_refused, run};

const REQUIRED: &str = "FIELD_REQUIRED";
const LONG: &str = "FIELD_TOO_LONG";
const INVALID: &str = "FIELD_INVALID";

fn instants() -> [(&'static str, Option<prost_types::Timestamp>, &'static str); 5] {
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    [
        ("no effective_from", None, REQUIRED),
        ("an effective_from with negative nanos", time(0, -1), INVALID),
        ("an effective_from with a second of nanos", time(0, 1_000_000_000), INVALID),
        ("an effective_from in the year 0", time(-62_135_596_801, 999_999_999), INVALID),
        ("an effective_from after all time", time(i64::MAX, 999_999_999), INVALID),
    ]
}

#[test]
fn settings_that_cannot_be_are_refused_and_name_the_field_at_fault() {
    let of_team = |team: &str, calendar: &str| TeamCalendar { team: team.to_owned(), calendar: calendar.to_owned() };
    let teams = |list: &[(&str, &str)]| {
        settings(|it| it.team_calendars = list.iter().map(|(team, calendar)| of_team(team, calendar)).collect())
    };
    let scales = |list: &[SurveyScale]| settings(|it| it.survey_scales = list.to_vec());
    let (long, longer) = (letters(65), letters(129));
    let many: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|team| (team.as_str(), "office")).collect();
    let kind = "tenant.survey_scales[0].kind";
    let good_from = "tenant.survey_scales[0].good_from";
    let cases = [
        ("no settings", None, REQUIRED, "tenant"),
        ("no tenant", Some(settings(|it| it.tenant.clear())), REQUIRED, "tenant.tenant"),
        ("a tenant of 65 bytes", Some(settings(|it| it.tenant = long.clone())), LONG, "tenant.tenant"),
        (
            "a zone that is not",
            Some(settings(|it| it.time_zone = "Europe/Atlantis".to_owned())),
            "UNKNOWN_TIME_ZONE",
            "tenant.time_zone",
        ),
        ("a calendar of 65 bytes", Some(settings(|it| it.calendar = long.clone())), LONG, "tenant.calendar"),
        ("a calendar that is not", Some(settings(|it| it.calendar = "shop".to_owned())), INVALID, "tenant.calendar"),
        ("1,001 teams", Some(teams(&many)), LONG, "tenant.team_calendars"),
        ("a team without a name", Some(teams(&[("", "office")])), REQUIRED, "tenant.team_calendars[0].team"),
        ("a team of 129 bytes", Some(teams(&[(&longer, "office")])), LONG, "tenant.team_calendars[0].team"),
        ("a team of no calendar", Some(teams(&[("a", "")])), REQUIRED, "tenant.team_calendars[0].calendar"),
        (
            "a team's calendar of 65 bytes",
            Some(teams(&[("a", "office"), ("b", &long)])),
            LONG,
            "tenant.team_calendars[1].calendar",
        ),
        (
            "a team's calendar that is not",
            Some(teams(&[("a", "office"), ("b", "shop")])),
            INVALID,
            "tenant.team_calendars[1].calendar",
        ),
        (
            "a team twice",
            Some(teams(&[("a", "office"), ("b", "office"), ("a", "office")])),
            INVALID,
            "tenant.team_calendars[2].team",
        ),
        ("a scale of no kind", Some(scales(&[scale(0, Some((1, 5)), None)])), REQUIRED, kind),
        ("a scale of kind 5", Some(scales(&[scale(5, None, None)])), INVALID, kind),
        (
            "a kind twice",
            Some(scales(&[scale(CSAT, None, None), scale(CES, None, None), scale(CSAT, Some((1, 7)), None)])),
            INVALID,
            "tenant.survey_scales[2].kind",
        ),
        (
            "a scale that falls",
            Some(scales(&[scale(CSAT, Some((5, 1)), None)])),
            INVALID,
            "tenant.survey_scales[0].scale.highest",
        ),
        (
            "a scale of one score",
            Some(scales(&[scale(CSAT, Some((3, 3)), None)])),
            INVALID,
            "tenant.survey_scales[0].scale.highest",
        ),
        (
            "a scale that ends too high",
            Some(scales(&[scale(CSAT, Some((0, 1_001)), None)])),
            INVALID,
            "tenant.survey_scales[0].scale.highest",
        ),
        (
            "a scale that begins too low",
            Some(scales(&[scale(CSAT, Some((-1_001, 0)), None)])),
            INVALID,
            "tenant.survey_scales[0].scale.lowest",
        ),
        ("NPS to 9", Some(scales(&[scale(NPS, Some((0, 9)), None)])), INVALID, "tenant.survey_scales[0].scale"),
        ("promoters from 8", Some(scales(&[scale(NPS, None, Some(8))])), INVALID, good_from),
        ("good above the scale", Some(scales(&[scale(CSAT, Some((0, 10)), Some(11))])), INVALID, good_from),
        ("good above the usual scale", Some(scales(&[scale(CSAT, None, Some(6))])), INVALID, good_from),
        ("easy above the usual scale", Some(scales(&[scale(CES, None, Some(8))])), INVALID, good_from),
        ("good below the usual scale", Some(scales(&[scale(CSAT, None, Some(0))])), INVALID, good_from),
    ];
    let suite = Suite::start();
    run(async {
        let mut config = Config::of(&suite);
        config.set_calendar(Some(calendar(|_| ()))).await.expect("a calendar");
        for (what, bad, reason, field) in cases {
            let status = config.set_tenant(bad).await.err().unwrap_or_else(|| panic!("{what} is kept"));
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        let another = Tenant { tenant: "another".to_owned(), ..settings(|it| it.calendar = "office".to_owned()) };
        let status = config.set_tenant(Some(another)).await.expect_err("another's calendar");
        assert_refused(&status, Code::InvalidArgument, INVALID, "tenant.calendar", "another's calendar");
        assert_eq!(config.tenant("acme").await.expect("settings"), settings(|_| ()), "nothing of them is kept");

        for (what, tenant, reason) in [("no tenant", "", REQUIRED), ("a tenant of 65 bytes", &*long, LONG)] {
            let status = config.tenant(tenant).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, "tenant", what);
        }
    });
}

#[test]
fn a_calendar_that_cannot_be_is_refused_and_names_the_field_at_fault() {
    let zone = |name: &str| calendar(|it| name.clone_into(&mut it.time_zone));
    let fourth = |bad: OpenBlock| calendar(|it| it.blocks[3] = bad);
    let holiday = |day: &str| calendar(|it| it.holidays.push(day.to_owned()));
    let open = |bad: OneOffOpening| calendar(|it| it.openings.push(bad));
    let unknown = "UNKNOWN_TIME_ZONE";
    let mut cases = vec![
        ("no id", calendar(|it| it.calendar.clear()), REQUIRED, "calendar.calendar"),
        ("an id of 65 bytes", calendar(|it| it.calendar = letters(65)), LONG, "calendar.calendar"),
        ("no zone", zone(""), REQUIRED, "calendar.time_zone"),
        ("a zone that is not", zone("Europe/Atlantis"), unknown, "calendar.time_zone"),
        ("a zone by its offset", zone("+02:00"), unknown, "calendar.time_zone"),
        ("a zone as a path", zone("../etc/passwd"), unknown, "calendar.time_zone"),
        ("a zone nobody knows", zone("Etc/Unknown"), unknown, "calendar.time_zone"),
        ("101 blocks", calendar(|it| it.blocks = vec![block(1, 0, 1); 101]), LONG, "calendar.blocks"),
        ("weekday 0", fourth(block(0, 0, 1)), INVALID, "calendar.blocks[3].weekday"),
        ("weekday 8", fourth(block(8, 0, 1)), INVALID, "calendar.blocks[3].weekday"),
        ("from minute 1,440", fourth(block(7, 1_440, 1_440)), INVALID, "calendar.blocks[3].from_minute"),
        ("to minute 1,441", fourth(block(7, 0, 1_441)), INVALID, "calendar.blocks[3].to_minute"),
        ("to no minute", fourth(block(7, 0, 0)), INVALID, "calendar.blocks[3].to_minute"),
        ("an empty block", fourth(block(7, 60, 60)), INVALID, "calendar.blocks[3].to_minute"),
        ("a block over midnight", fourth(block(5, 1_320, 120)), INVALID, "calendar.blocks[3].to_minute"),
        (
            "1,001 holidays",
            calendar(|it| it.holidays = vec!["2026-12-25".to_owned(); 1_001]),
            LONG,
            "calendar.holidays",
        ),
        ("a holiday of no day", holiday(""), REQUIRED, "calendar.holidays[1]"),
        (
            "1,001 openings",
            calendar(|it| it.openings = vec![opening("2026-12-27", 0, 1); 1_001]),
            LONG,
            "calendar.openings",
        ),
        ("an opening of no day", open(opening("", 0, 1)), REQUIRED, "calendar.openings[1].date"),
        ("an opening on no day", open(opening("2027-02-29", 0, 1)), INVALID, "calendar.openings[1].date"),
        ("an opening that ends at once", open(opening("2026-12-27", 9, 9)), INVALID, "calendar.openings[1].to_minute"),
        (
            "an opening that begins too late",
            open(opening("2026-12-27", 1_440, 1_441)),
            INVALID,
            "calendar.openings[1].from_minute",
        ),
    ];
    for day in [
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-12-32",
        "2026-1-1",
        "20261225",
        "25.12.2026",
        "2026-12-25T00:00",
        "26-12-25",
        "0000-01-01",
        "-001-01-01",
        "２026-12-2",
    ] {
        cases.push((day, holiday(day), INVALID, "calendar.holidays[1]"));
    }
    for (what, effective_from, reason) in instants() {
        cases.push((what, calendar(|it| it.effective_from = effective_from), reason, "calendar.effective_from"));
    }
    let suite = Suite::start();
    run(async {
        let mut config = Config::of(&suite);
        for (what, bad, reason, field) in cases {
            let status = config.set_calendar(Some(bad)).await.err().unwrap_or_else(|| panic!("{what} is kept"));
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        let status = config.set_calendar(None).await.expect_err("no calendar");
        assert_refused(&status, Code::InvalidArgument, REQUIRED, "calendar", "no calendar");
        for (what, tenant, reason) in [("no tenant", String::new(), REQUIRED), ("65 bytes", letters(65), LONG)] {
            let request = SetCalendarRequest { tenant, calendar: Some(calendar(|_| ())) };
            let status = config.0.set_calendar(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, "tenant", what);
        }
        assert_eq!(config.calendars(0).await, [], "nothing of them is kept");
    });
}

#[test]
fn a_policy_that_cannot_be_is_refused_and_names_the_field_at_fault() {
    const AT_MOST: &str = "policy.targets[1].at_most";
    const LEAD: &str = "policy.targets[1].warning_lead";
    let filter = |text: &str| policy(|it| text.clone_into(&mut it.filter));
    let second = |change: fn(&mut SlaTarget)| {
        policy(|it| {
            it.targets.push(target(|it| {
                it.kind = SlaTargetKind::Resolution.into();
                change(it);
            }));
        })
    };
    let twice = policy(|it| it.targets = vec![target(|it| it.kind = 2), target(|_| ()), target(|it| it.kind = 2)]);
    let mut cases = vec![
        ("no id", policy(|it| it.policy.clear()), REQUIRED, "policy.policy"),
        ("an id of 65 bytes", policy(|it| it.policy = letters(65)), LONG, "policy.policy"),
        ("a filter that is none", filter("channel ="), "MALFORMED_FILTER", "policy.filter"),
        ("a filter of 4,097 bytes", filter(&letters(4_097)), "MALFORMED_FILTER", "policy.filter"),
        ("a filter over nothing known", filter("colour = red"), "UNKNOWN_DIMENSION", "policy.filter"),
        ("a filter over replies", filter("team:* AND NOT quick_reply = x"), "UNKNOWN_DIMENSION", "policy.filter"),
        ("a target of no kind", second(|it| it.kind = 0), REQUIRED, "policy.targets[1].kind"),
        ("a target of kind 4", second(|it| it.kind = 4), INVALID, "policy.targets[1].kind"),
        ("two targets of a kind", twice, INVALID, "policy.targets[2].kind"),
        ("clock 3", second(|it| it.clock = 3), INVALID, "policy.targets[1].clock"),
        ("no limit", second(|it| it.at_most = None), REQUIRED, AT_MOST),
        ("no time at all", second(|it| it.at_most = duration(0, 0)), INVALID, AT_MOST),
        ("less than no time", second(|it| it.at_most = duration(-1, 0)), INVALID, AT_MOST),
        ("half a millisecond", second(|it| it.at_most = duration(0, 500_000)), INVALID, AT_MOST),
        ("a minute and a nanosecond", second(|it| it.at_most = duration(60, 1)), INVALID, AT_MOST),
        ("a minute less a second", second(|it| it.at_most = duration(60, -1_000_000_000)), INVALID, AT_MOST),
        ("10,000 days and a millisecond", second(|it| it.at_most = duration(864_000_000, 1_000_000)), INVALID, AT_MOST),
        ("all seconds there are", second(|it| it.at_most = duration(i64::MAX, 0)), INVALID, AT_MOST),
        ("a warning at the start", second(|it| it.warning_lead = minutes(60)), INVALID, LEAD),
        ("a warning after the deadline", second(|it| it.warning_lead = duration(-1, 0)), INVALID, LEAD),
        ("a warning by a microsecond", second(|it| it.warning_lead = duration(0, 1_000)), INVALID, LEAD),
        ("a warning before all time", second(|it| it.warning_lead = duration(i64::MAX, 0)), INVALID, LEAD),
    ];
    for (what, effective_from, reason) in instants() {
        cases.push((what, policy(|it| it.effective_from = effective_from), reason, "policy.effective_from"));
    }
    let suite = Suite::start();
    run(async {
        let mut config = Config::of(&suite);
        for (what, bad, reason, field) in cases {
            let status = config.set_policy(Some(bad)).await.err().unwrap_or_else(|| panic!("{what} is kept"));
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
        let status = config.set_policy(None).await.expect_err("no policy");
        assert_refused(&status, Code::InvalidArgument, REQUIRED, "policy", "no policy");
        for (what, tenant, reason) in [("no tenant", String::new(), REQUIRED), ("65 bytes", letters(65), LONG)] {
            let request = SetSlaPolicyRequest { tenant, policy: Some(policy(|_| ())) };
            let status = config.0.set_sla_policy(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, "tenant", what);
        }
        assert_eq!(config.policies(0).await, [], "nothing of them is kept");
    });
}

#[test]
fn a_page_that_cannot_be_is_refused() {
    let suite = Suite::start();
    run(async {
        let mut config = Config::of(&suite);
        for (what, tenant, page_size, page_token, reason, field) in [
            ("no tenant", "", 0, "", REQUIRED, "tenant"),
            ("a negative size", "acme", -1, "", INVALID, "page_size"),
            ("a token that is none", "acme", 0, "next", INVALID, "page_token"),
            ("half a token", "acme", 0, "0000000000000000f", INVALID, "page_token"),
            ("a token in no letters", "acme", 0, "é0000000000000000", INVALID, "page_token"),
        ] {
            let (tenant, page_token) = (tenant.to_owned(), page_token.to_owned());
            let request = ListCalendarsRequest { tenant: tenant.clone(), page_size, page_token: page_token.clone() };
            let status = config.0.list_calendars(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
            let request = ListSlaPoliciesRequest { tenant, page_size, page_token };
            let status = config.0.list_sla_policies(request).await.expect_err(what);
            assert_refused(&status, Code::InvalidArgument, reason, field, what);
        }
    });
}

#[test]
fn a_tenant_has_at_most_100_calendars_and_policies_of_100_versions() {
    let suite = Suite::start();
    run(async {
        let mut config = Config::of(&suite);
        let at = |number: usize| {
            let seconds = i64::try_from(number).expect("small");
            Some(prost_types::Timestamp { seconds, nanos: 0 })
        };
        let of = |id: usize, version: usize| {
            let calendar = calendar(|it| {
                it.calendar = id.to_string();
                it.effective_from = at(version);
            });
            let policy = policy(|it| {
                it.policy = id.to_string();
                it.effective_from = at(version);
            });
            (calendar, policy)
        };
        for number in 0..100 {
            for (calendar, policy) in [of(number, 0), of(7, number)] {
                config.set_calendar(Some(calendar)).await.expect("within the limits");
                config.set_policy(Some(policy)).await.expect("within the limits");
            }
        }
        for ((id, version), calendar_field, policy_field) in [
            ((7, 100), "calendar.effective_from", "policy.effective_from"),
            ((100, 0), "calendar.calendar", "policy.policy"),
        ] {
            let (calendar, policy) = of(id, version);
            let status = config.set_calendar(Some(calendar)).await.expect_err("one too many");
            assert_refused(&status, Code::InvalidArgument, LONG, calendar_field, "one too many");
            let status = config.set_policy(Some(policy)).await.expect_err("one too many");
            assert_refused(&status, Code::InvalidArgument, LONG, policy_field, "one too many");
        }
        // What replaces another, or goes to one that has room, is taken still.
        for (calendar, policy) in [of(7, 99), of(99, 0), of(8, 1)] {
            config.set_calendar(Some(calendar)).await.expect("within the limits");
            config.set_policy(Some(policy)).await.expect("within the limits");
        }
        assert_eq!((config.calendars(0).await.len(), config.policies(150).await.len()), (200, 200));
        let another = SetCalendarRequest { tenant: "another".to_owned(), calendar: Some(of(100, 0).0) };
        config.0.set_calendar(another).await.expect("another tenant has limits of its own");
    });
}
