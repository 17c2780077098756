//! Configuration: what is kept and listed, what survives, and what is refused.

#[path = "config/refused.rs"]
mod refused;

use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::log_service_client::LogServiceClient;
use deskpulse_proto::v1::{
    Calendar, Clock, ConfigChange, DescribeLogRequest, EventBlock, GetTenantRequest, ListCalendarsRequest,
    ListSlaPoliciesRequest, OneOffOpening, OpenBlock, ReadRequest, Scale, SetCalendarRequest, SetSlaPolicyRequest,
    SetTenantRequest, SlaPolicy, SlaTarget, SlaTargetKind, SurveyKind, SurveyScale, TeamCalendar, Tenant,
};
use prost::Message as _;
use tonic::Status;
use tonic::transport::Channel;

use crate::harness::{Suite, run, timestamp};

/// A client of the configuration of the tenant `acme`.
#[derive(Clone)]
struct Config(ConfigServiceClient<Channel>);

impl Config {
    fn of(suite: &Suite) -> Self {
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        Self(ConfigServiceClient::new(channel).max_decoding_message_size(64 << 20))
    }

    async fn set_tenant(&mut self, tenant: Option<Tenant>) -> Result<Tenant, Status> {
        let response = self.0.set_tenant(SetTenantRequest { tenant }).await?.into_inner();
        Ok(response.tenant.expect("the settings as kept"))
    }

    async fn tenant(&mut self, tenant: &str) -> Result<Tenant, Status> {
        let response = self.0.get_tenant(GetTenantRequest { tenant: tenant.to_owned() }).await?.into_inner();
        Ok(response.tenant.expect("settings"))
    }

    async fn set_calendar(&mut self, calendar: Option<Calendar>) -> Result<Calendar, Status> {
        let request = SetCalendarRequest { tenant: "acme".to_owned(), calendar };
        Ok(self.0.set_calendar(request).await?.into_inner().calendar.expect("the version as kept"))
    }

    async fn set_policy(&mut self, policy: Option<SlaPolicy>) -> Result<SlaPolicy, Status> {
        let request = SetSlaPolicyRequest { tenant: "acme".to_owned(), policy };
        Ok(self.0.set_sla_policy(request).await?.into_inner().policy.expect("the version as kept"))
    }

    /// All calendars, read in pages of a size.
    async fn calendars(&mut self, page_size: i32) -> Vec<Calendar> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListCalendarsRequest { tenant: "acme".to_owned(), page_size, page_token };
            let page = self.0.list_calendars(request).await.expect("a page").into_inner();
            assert!(page_size == 0 || page.calendars.len() <= usize::try_from(page_size).expect("positive"));
            all.extend(page.calendars);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// All policies, read in pages of a size.
    async fn policies(&mut self, page_size: i32) -> Vec<SlaPolicy> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListSlaPoliciesRequest { tenant: "acme".to_owned(), page_size, page_token };
            let page = self.0.list_sla_policies(request).await.expect("a page").into_inner();
            assert!(page_size == 0 || page.policies.len() <= usize::try_from(page_size).expect("positive"));
            all.extend(page.policies);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }
}

// Configuration, each good but for what a case changes.

fn settings(change: impl FnOnce(&mut Tenant)) -> Tenant {
    let mut tenant = Tenant { tenant: "acme".to_owned(), ..Default::default() };
    change(&mut tenant);
    tenant
}

fn block(weekday: u32, from_minute: u32, to_minute: u32) -> OpenBlock {
    OpenBlock { weekday, from_minute, to_minute }
}

fn opening(date: &str, from_minute: u32, to_minute: u32) -> OneOffOpening {
    OneOffOpening { date: date.to_owned(), from_minute, to_minute }
}

fn calendar(change: impl FnOnce(&mut Calendar)) -> Calendar {
    let mut calendar = Calendar {
        calendar: "office".to_owned(),
        effective_from: Some(timestamp("2026-01-01T00:00:00Z")),
        time_zone: "Europe/Berlin".to_owned(),
        blocks: (1..=5).map(|weekday| block(weekday, 540, 1_020)).collect(),
        holidays: vec!["2026-12-25".to_owned()],
        openings: vec![opening("2026-12-27", 600, 720)],
    };
    change(&mut calendar);
    calendar
}

fn minutes(minutes: i64) -> Option<prost_types::Duration> {
    duration(minutes * 60, 0)
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields take it")]
fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

fn target(change: impl FnOnce(&mut SlaTarget)) -> SlaTarget {
    let mut target = SlaTarget {
        kind: SlaTargetKind::FirstResponse.into(),
        at_most: minutes(60),
        clock: Clock::Business.into(),
        warning_lead: minutes(10),
    };
    change(&mut target);
    target
}

fn policy(change: impl FnOnce(&mut SlaPolicy)) -> SlaPolicy {
    let mut policy = SlaPolicy {
        policy: "gold".to_owned(),
        effective_from: Some(timestamp("2026-01-01T00:00:00Z")),
        filter: "channel = chat AND priority:*".to_owned(),
        targets: vec![target(|_| ())],
    };
    change(&mut policy);
    policy
}

fn letters(count: usize) -> String {
    "x".repeat(count)
}

fn scale(kind: i32, scale: Option<(i32, i32)>, good_from: Option<i32>) -> SurveyScale {
    SurveyScale { kind, scale: scale.map(|(lowest, highest)| Scale { lowest, highest }), good_from }
}

const CSAT: i32 = SurveyKind::Csat as i32;
const NPS: i32 = SurveyKind::Nps as i32;
const CES: i32 = SurveyKind::Ces as i32;

/// Everything at its limit.
fn largest() -> (Calendar, SlaPolicy, Tenant) {
    let days = |year: i32| (0..500).map(move |n| format!("{year:04}-{:02}-{:02}", n % 12 + 1, n % 28 + 1));
    let largest = calendar(|it| {
        it.calendar = letters(64);
        it.effective_from = Some(timestamp("0001-01-01T00:00:00Z"));
        "America/Argentina/ComodRivadavia".clone_into(&mut it.time_zone);
        it.blocks = (0..100).map(|n| block(n % 7 + 1, n, 1_440 - n)).collect();
        it.holidays = days(1).chain(days(9_999)).collect();
        it.openings = days(2_025).chain(days(2_024)).map(|day| opening(&day, 0, 1_440)).collect();
    });
    let all = policy(|it| {
        it.policy = letters(64);
        it.effective_from = Some(timestamp("9999-12-29T23:59:59.999Z"));
        it.filter = format!("topic = {}", letters(4_088));
        it.targets = vec![
            target(|it| it.at_most = duration(864_000_000, 0)),
            target(|it| {
                it.kind = SlaTargetKind::NextResponse.into();
                it.at_most = duration(0, 1_000_000);
                it.warning_lead = duration(0, 0);
            }),
            target(|it| {
                it.kind = SlaTargetKind::Resolution.into();
                it.clock = Clock::Calendar.into();
                it.warning_lead = None;
            }),
        ];
    });
    let full = settings(|it| {
        "UTC".clone_into(&mut it.time_zone);
        it.calendar = letters(64);
        let of = |n| TeamCalendar { team: format!("{n:0128}"), calendar: letters(64) };
        it.team_calendars = (0..1_000).map(of).collect();
        it.survey_scales = vec![
            scale(CSAT, Some((-1_000, 1_000)), Some(-1_000)),
            scale(NPS, Some((0, 10)), None),
            scale(CES, None, Some(7)),
            scale(SurveyKind::Engagement.into(), Some((0, 10)), None),
        ];
    });
    (largest, all, full)
}

#[test]
fn what_is_set_is_listed_in_pages_and_survives_a_kill() {
    let mut suite = Suite::start();
    let (largest, all, full) = largest();
    let years = [2_026, 1_970, 2_030];
    let since = |year: i32| Some(timestamp(&format!("{year}-07-01T12:00:00.250Z")));
    let closed = calendar(|it| {
        it.calendar = "closed".to_owned();
        it.blocks.clear();
        it.holidays.clear();
        it.openings.clear();
    });
    let ended = policy(|it| {
        it.policy = "ended".to_owned();
        it.filter.clear();
        it.targets.clear();
    });
    let mut calendars: Vec<Calendar> = ["office", "Büro", "a"]
        .iter()
        .flat_map(|id| years.map(|year| (id, year)))
        .map(|(id, year)| {
            calendar(|it| {
                it.calendar = (*id).to_owned();
                it.effective_from = since(year);
            })
        })
        .chain([largest, closed])
        .collect();
    let mut policies: Vec<SlaPolicy> = ["silver", "gold"]
        .iter()
        .flat_map(|id| years.map(|year| (id, year)))
        .map(|(id, year)| {
            policy(|it| {
                it.policy = (*id).to_owned();
                it.effective_from = since(year);
            })
        })
        .chain([all, ended])
        .collect();
    run(async {
        let mut config = Config::of(&suite);
        assert_eq!(config.tenant("acme").await.expect("settings"), settings(|_| ()), "nothing was set");
        for calendar in &calendars {
            assert_eq!(&config.set_calendar(Some(calendar.clone())).await.expect("kept"), calendar);
        }
        for policy in &policies {
            assert_eq!(&config.set_policy(Some(policy.clone())).await.expect("kept"), policy);
        }
        assert_eq!(config.set_tenant(Some(full.clone())).await.expect("kept"), full);
    });
    let seconds = |time: Option<prost_types::Timestamp>| time.map(|time| time.seconds);
    calendars.sort_by_key(|it| (it.calendar.clone(), seconds(it.effective_from)));
    policies.sort_by_key(|it| (it.policy.clone(), seconds(it.effective_from)));
    for restarted in [false, true] {
        if restarted {
            suite.kill_and_restart();
        }
        run(async {
            let mut config = Config::of(&suite);
            for size in [1, 2, 4, 11, 1_000, 0, i32::MAX] {
                assert_eq!(config.calendars(size).await, calendars, "{size}");
                assert_eq!(config.policies(size).await, policies, "{size}");
            }
            assert_eq!(config.tenant("acme").await.expect("settings"), full);
            let another = Tenant { tenant: "another".to_owned(), ..Default::default() };
            assert_eq!(config.tenant("another").await.expect("settings"), another, "of acme alone");
        });
    }
}

#[test]
fn a_version_set_again_replaces_the_one_of_the_same_millisecond() {
    let mut suite = Suite::start();
    let at = |nanos: i32| Some(prost_types::Timestamp { seconds: 1_780_000_000, nanos });
    let closed = |nanos: i32| {
        calendar(|it| {
            it.effective_from = at(nanos);
            it.blocks.clear();
        })
    };
    let ended = |nanos: i32| {
        policy(|it| {
            it.effective_from = at(nanos);
            it.targets.clear();
        })
    };
    run(async {
        let mut config = Config::of(&suite);
        config.set_calendar(Some(calendar(|it| it.effective_from = at(7_000_000)))).await.expect("kept");
        config.set_policy(Some(policy(|it| it.effective_from = at(7_000_000)))).await.expect("kept");
        let kept = config.set_calendar(Some(closed(7_999_999))).await.expect("kept");
        assert_eq!(kept, closed(7_000_000), "finer digits are cut off");
        assert_eq!(config.set_policy(Some(ended(7_999_999))).await.expect("kept"), ended(7_000_000));
        config.set_calendar(Some(closed(8_000_000))).await.expect("kept");
        config.set_policy(Some(ended(6_999_999))).await.expect("kept");
        // A target that names no clock runs on the calendar's, and says so.
        let unsaid = policy(|it| {
            it.policy = "unsaid".to_owned();
            it.targets = vec![target(|it| it.clock = 0)];
        });
        let kept = config.set_policy(Some(unsaid)).await.expect("kept");
        assert_eq!(kept.targets, [target(|it| it.set_clock(Clock::Calendar))]);

        let twice = settings(|it| it.calendar = "office".to_owned());
        config.set_tenant(Some(settings(|it| it.time_zone = "Asia/Kathmandu".to_owned()))).await.expect("kept");
        config.set_tenant(Some(twice)).await.expect("kept");
    });
    suite.kill_and_restart();
    run(async {
        let mut config = Config::of(&suite);
        assert_eq!(config.calendars(0).await, [closed(7_000_000), closed(8_000_000)]);
        assert_eq!(config.policies(2).await[..2], [ended(6_000_000), ended(7_000_000)]);
        let last = settings(|it| it.calendar = "office".to_owned());
        assert_eq!(config.tenant("acme").await.expect("settings"), last, "all settings are set at once");
    });
}

/// The changes that a partition's blocks hold, in order.
async fn changes(suite: &Suite, partition: u32, head: u64) -> Vec<ConfigChange> {
    let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
    let mut log = LogServiceClient::new(channel);
    let request = ReadRequest { partition, from_position_inclusive: 1, log_id: 0 };
    let mut blocks = log.read(request).await.expect("a reader").into_inner();
    let mut changes = Vec::new();
    for _ in 0..head {
        let block = blocks.message().await.expect("a block").expect("as many as said").block;
        changes.extend(EventBlock::decode(block.as_slice()).expect("a block").config);
    }
    changes
}

#[test]
fn changes_made_at_once_come_in_the_same_order_in_every_partition_and_the_last_holds() {
    let suite = Suite::start();
    run(async {
        let config = Config::of(&suite);
        let zones = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"];
        let racing: Vec<_> = (0..24)
            .map(|number: usize| {
                let mut config = config.clone();
                let zone = zones[number % zones.len()].to_owned();
                let version = calendar(|it| {
                    it.time_zone = zone;
                    it.holidays = vec![format!("2026-12-{:02}", number + 1)];
                });
                tokio::spawn(async move { config.set_calendar(Some(version)).await.map(drop) })
            })
            .collect();
        for each in racing {
            each.await.expect("no panic").expect("kept");
        }
        let channel = deskpulse_edge::upstream::channel(suite.url()).expect("an address");
        let heads = LogServiceClient::new(channel).describe_log(DescribeLogRequest {}).await.expect("heads");
        let heads = heads.into_inner().heads;
        let first = changes(&suite, 0, heads[0]).await;
        assert_eq!(first.len(), 24);
        assert_eq!(changes(&suite, 1, heads[1]).await, first);
        assert_eq!(changes(&suite, 2, heads[2]).await, first);
        let last = first.last().and_then(|change| change.change.clone()).expect("a change");
        let deskpulse_proto::v1::config_change::Change::Calendar(last) = last else { panic!("{last:?}") };
        assert_eq!(config.clone().calendars(0).await, [last]);
    });
}
