//! Lines that configure a tenant.
//!
//! ```text
//! calendar office zone=Europe/Berlin mon-fri 09:00-12:00 13:00-17:00 sat 10:00-12:00 holiday=2026-06-04
//! calendar office from=2026-07-01 zone=Europe/Berlin opening=2026-07-05/10:00-12:00
//! tenant calendar=office zone=Europe/Berlin
//! team night calendar=always
//! scale csat 1..10 good_from=9
//! policy gold first_response=60m,business,lead=10m resolution=8h where priority=high AND channel=email
//! ```
//!
//! A version of a calendar or policy holds from the start of 2020 unless it says `from`.

use deskpulse_edge::upstream::channel;
use deskpulse_proto::v1::config_service_client::ConfigServiceClient;
use deskpulse_proto::v1::{
    Calendar, Clock, OneOffOpening, OpenBlock, SetCalendarRequest, SetSlaPolicyRequest, SetTenantRequest, SlaPolicy,
    SlaTarget, SlaTargetKind, SurveyScale, TeamCalendar, Tenant,
};

use super::event::{Words, scale, survey_kind};
use super::script::{Local, duration};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a transcript configures.
pub(super) struct Config {
    tenant: Tenant,
    has_tenant: bool,
    calendars: Vec<Calendar>,
    policies: Vec<SlaPolicy>,
}

impl Config {
    pub(super) fn new(tenant: &str) -> Self {
        let tenant = Tenant { tenant: tenant.to_owned(), ..Tenant::default() };
        Self { tenant, has_tenant: false, calendars: Vec::new(), policies: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_tenant && self.calendars.is_empty() && self.policies.is_empty()
    }

    pub(super) fn read(&mut self, words: &[&str], local: &Local) {
        let arguments = Words(&words[1..]);
        let from = local
            .time(&Some(arguments.named("from")).filter(|from| !from.is_empty()).unwrap_or("2020-01-01".to_owned()));
        match words[0] {
            "calendar" => self.calendars.push(Calendar {
                calendar: arguments.at(0),
                effective_from: Some(from),
                time_zone: arguments.named("zone"),
                blocks: blocks(&words[2..]),
                holidays: arguments.all_named("holiday"),
                openings: arguments.all_named("opening").iter().map(|text| opening(text)).collect(),
            }),
            "policy" => {
                let (targets, filter) = match words.iter().position(|word| *word == "where") {
                    Some(at) => (&words[2..at], words[at + 1..].join(" ")),
                    None => (&words[2..], String::new()),
                };
                let targets = targets.iter().filter_map(|word| word.split_once('='));
                let targets =
                    targets.filter(|(key, _)| *key != "from").map(|(key, value)| target(key, value)).collect();
                self.policies.push(SlaPolicy { policy: arguments.at(0), effective_from: Some(from), filter, targets });
            }
            "tenant" => {
                self.has_tenant = true;
                self.tenant.time_zone = arguments.named("zone");
                self.tenant.calendar = arguments.named("calendar");
            }
            "team" => {
                self.has_tenant = true;
                let of_team = TeamCalendar { team: arguments.at(0), calendar: arguments.named("calendar") };
                self.tenant.team_calendars.push(of_team);
            }
            "scale" => {
                self.has_tenant = true;
                let good_from = arguments.named("good_from").parse().ok();
                let scale = scale(&arguments.at(1));
                self.tenant.survey_scales.push(SurveyScale { kind: survey_kind(&arguments.at(0)), scale, good_from });
            }
            other => panic!("{other} configures nothing"),
        }
    }

    /// Sets everything: calendars first, because tenants name them.
    pub(super) async fn send(&self, url: &str) {
        let mut client = ConfigServiceClient::new(channel(url).expect("an address"));
        let tenant = self.tenant.tenant.clone();
        for calendar in self.calendars.clone() {
            let request = SetCalendarRequest { tenant: tenant.clone(), calendar: Some(calendar) };
            client.set_calendar(request).await.expect("the calendar is taken");
        }
        if self.has_tenant {
            let request = SetTenantRequest { tenant: Some(self.tenant.clone()) };
            client.set_tenant(request).await.expect("the tenant is taken");
        }
        for policy in self.policies.clone() {
            let request = SetSlaPolicyRequest { tenant: tenant.clone(), policy: Some(policy) };
            client.set_sla_policy(request).await.expect("the policy is taken");
        }
    }
}

/// Words such as `mon-fri 09:00-12:00 13:00-17:00 sat 10:00-12:00`; others are passed over.
fn blocks(words: &[&str]) -> Vec<OpenBlock> {
    let mut weekdays = 0..0;
    let mut blocks = Vec::new();
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    for word in words.iter().filter(|word| !word.contains('=')) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        if let (Some(first), Some(last)) = (day(first), day(last)) {
            weekdays = first..last + 1;
        } else {
            let (from_minute, to_minute) = minutes(word);
            blocks.extend(weekdays.clone().map(|weekday| OpenBlock {
                weekday: u32::try_from(weekday).expect("below 7") + 1,
                from_minute,
                to_minute,
            }));
        }
    }
    blocks
}

/// Minutes from midnight of `09:00-17:00`.
fn minutes(text: &str) -> (u32, u32) {
    let minute = |text: &str| -> Option<u32> {
        let (hour, minute) = text.split_once(':')?;
        Some(hour.parse::<u32>().ok()? * 60 + minute.parse::<u32>().ok()?)
    };
    let found = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    found.unwrap_or_else(|| panic!("{text} is no block of a day"))
}

/// `2026-07-05/10:00-12:00`.
fn opening(text: &str) -> OneOffOpening {
    let (date, block) = text.split_once('/').unwrap_or_else(|| panic!("{text} is no opening"));
    let (from_minute, to_minute) = minutes(block);
    OneOffOpening { date: date.to_owned(), from_minute, to_minute }
}

/// `first_response` and `60m,business,lead=10m`.
fn target(kind: &str, text: &str) -> SlaTarget {
    let kind = SlaTargetKind::from_str_name(&format!("SLA_TARGET_KIND_{}", kind.to_uppercase())).expect("a target");
    let mut parts = text.split(',');
    let at_most = parts.next().map(duration);
    let mut target = SlaTarget { kind: kind.into(), at_most, clock: Clock::Calendar.into(), warning_lead: None };
    for part in parts {
        match part.split_once('=') {
            None if part == "business" => target.clock = Clock::Business.into(),
            Some(("lead", lead)) => target.warning_lead = Some(duration(lead)),
            _ => panic!("{part} is nothing a target has"),
        }
    }
    target
}
