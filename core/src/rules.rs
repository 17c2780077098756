//! A tenant's rules: business hours, SLA policies and scales of surveys, as configured.

use std::collections::{BTreeMap, HashMap};

use crate::calendar::{Calendar, Hours};
use crate::event::{Scale, SurveyKind};
use crate::fact::{Clock, Lasted};
use crate::filter::Filter;
use crate::series::{DimensionValues, Names, Symbol};
use crate::time::Timestamp;

/// What an SLA target measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// The conversation's first wait.
    FirstResponse,
    /// Each further wait.
    NextResponse,
    /// Each episode; pauses while pending.
    Resolution,
}

impl TargetKind {
    /// The value of the dimension `sla_target`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstResponse => "first_response",
            Self::NextResponse => "next_response",
            Self::Resolution => "resolution",
        }
    }
}

/// A target of an SLA policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// What it measures.
    pub kind: TargetKind,
    /// The most it may take.
    pub at_most_ms: i64,
    /// On which clock.
    pub clock: Clock,
    /// With how much left it counts as at risk.
    pub lead_ms: Option<i64>,
}

/// A version of an SLA policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The conversations it is for.
    pub filter: Filter,
    /// Its targets.
    pub targets: Vec<Target>,
}

/// The scale of a kind of survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurveyRule {
    /// Its scale, where events carry none.
    pub scale: Option<Scale>,
    /// Scores from here on are good.
    pub good_from: Option<i32>,
}

/// What holds for a tenant as a whole, in no versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The calendar of teams that have none of their own.
    pub calendar: Option<Box<str>>,
    /// The calendars of teams.
    pub team_calendars: BTreeMap<Symbol, Box<str>>,
    /// The scales of surveys.
    pub surveys: BTreeMap<SurveyKind, SurveyRule>,
}

/// A change of a tenant's rules.
#[derive(Debug, Clone)]
pub enum RuleChange {
    /// All settings anew.
    Settings(Settings),
    /// A version of a calendar.
    Calendar {
        /// The calendar.
        id: Box<str>,
        /// From when on.
        effective_from: Timestamp,
        /// Its hours.
        hours: Hours,
    },
    /// A version of an SLA policy.
    Policy {
        /// The policy.
        id: Symbol,
        /// From when on.
        effective_from: Timestamp,
        /// What it says.
        policy: Policy,
    },
}

/// Every version of a tenant's rules. The last change of a version holds, so changes must come in one order everywhere.
#[derive(Debug, Default)]
pub struct RuleBook {
    settings: Settings,
    calendars: BTreeMap<Box<str>, BTreeMap<Timestamp, Hours>>,
    policies: BTreeMap<Symbol, BTreeMap<Timestamp, Policy>>,
}

impl RuleBook {
    /// Puts a change in; says whose figures it can change.
    pub fn change(&mut self, change: RuleChange) -> Touched {
        match change {
            RuleChange::Settings(settings) => {
                let hours = (&self.settings.calendar, &self.settings.team_calendars);
                let touched = Touched {
                    conversations: hours != (&settings.calendar, &settings.team_calendars),
                    surveys: self.settings.surveys != settings.surveys,
                };
                self.settings = settings;
                touched
            }
            RuleChange::Calendar { id, effective_from, hours } => {
                let used = self.settings.calendar.iter().chain(self.settings.team_calendars.values());
                let is_used = used.into_iter().any(|used| *used == id);
                let versions = self.calendars.entry(id).or_default();
                let changes = versions.get(&effective_from) != Some(&hours);
                versions.insert(effective_from, hours);
                Touched { conversations: is_used && changes, surveys: false }
            }
            RuleChange::Policy { id, effective_from, policy } => {
                let versions = self.policies.entry(id).or_default();
                let changes = versions.get(&effective_from) != Some(&policy);
                versions.insert(effective_from, policy);
                Touched { conversations: changes, surveys: false }
            }
        }
    }

    /// The rules as they follow from all versions.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let used = || self.settings.calendar.iter().chain(self.settings.team_calendars.values());
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut calendars = Vec::new();
        for id in used() {
            if let Some(versions) = self.calendars.get(id)
                && !numbers.contains_key(&**id)
            {
                numbers.insert(id, calendars.len());
                calendars.push(Calendar::new(versions.iter().map(|(from, hours)| (*from, hours.clone())).collect()));
            }
        }
        let number = |id: &str| numbers.get(id).copied();
        Rules {
            general: self.settings.calendar.as_deref().and_then(number),
            of_team: self.settings.team_calendars.iter().filter_map(|(team, id)| Some((*team, number(id)?))).collect(),
            calendars,
            policies: self.policies.clone(),
            surveys: self.settings.surveys.clone(),
        }
    }
}

/// Whose figures a change of rules can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// Those of conversations.
    pub conversations: bool,
    /// Those of surveys.
    pub surveys: bool,
}

/// A tenant's rules, ready to use. By default there are none.
#[derive(Debug, Default)]
pub struct Rules {
    calendars: Vec<Calendar>,
    general: Option<usize>,
    of_team: HashMap<Symbol, usize>,
    policies: BTreeMap<Symbol, BTreeMap<Timestamp, Policy>>,
    surveys: BTreeMap<SurveyKind, SurveyRule>,
}

impl Rules {
    /// Whether the tenant or any of its teams has business hours.
    #[must_use]
    pub fn has_calendars(&self) -> bool {
        !self.calendars.is_empty()
    }

    /// The calendar of a team, else the tenant's; `None` where all time is business time.
    #[must_use]
    pub fn calendar(&self, team: Option<Symbol>) -> Option<&Calendar> {
        let number = team.and_then(|team| self.of_team.get(&team)).or(self.general.as_ref())?;
        self.calendars.get(*number)
    }

    /// Milliseconds from one instant to another on both clocks; 0 when they stand the other way round.
    #[must_use]
    pub fn lasted(&self, from: Timestamp, to: Timestamp, team: Option<Symbol>) -> Lasted {
        let calendar_ms = to.millis_since(from).max(0);
        let business_ms = self.calendar(team).map_or(calendar_ms, |calendar| calendar.between(from, to));
        Lasted { calendar_ms, business_ms }
    }

    /// Whether there is any SLA policy.
    #[must_use]
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// The targets of a kind that start at an instant for a conversation with these dimension values, and their policies.
    pub fn targets(
        &self,
        kind: TargetKind,
        at: Timestamp,
        values: &DimensionValues,
        names: &Names,
    ) -> impl Iterator<Item = (Symbol, Target)> {
        self.policies
            .iter()
            .filter_map(move |(id, versions)| Some((id, versions.range(..=at).next_back()?.1)))
            .filter(|(_, policy)| values.pass(&policy.filter, names))
            .flat_map(move |(id, policy)| {
                policy.targets.iter().filter(move |target| target.kind == kind).map(|target| (*id, *target))
            })
    }

    /// What is configured for a kind of survey.
    #[must_use]
    pub fn survey(&self, kind: SurveyKind) -> SurveyRule {
        self.surveys.get(&kind).copied().unwrap_or(SurveyRule { scale: None, good_from: None })
    }
}
