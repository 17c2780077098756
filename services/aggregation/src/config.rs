//! The configuration as it was written: what is given back to those who ask for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::{Calendar, ConfigChange, ReadConfigResponse, SlaPolicy, Tenant};

/// Every version of every tenant's configuration.
#[derive(Debug, Default)]
pub(crate) struct ConfigShelf(Mutex<HashMap<String, Versions>>);

#[derive(Debug, Default)]
struct Versions {
    settings: Option<Tenant>,
    calendars: BTreeMap<(String, i64, i32), Calendar>,
    policies: BTreeMap<(String, i64, i32), SlaPolicy>,
}

impl ConfigShelf {
    /// Puts a change in; a version with the same start takes the place of the older one.
    pub(crate) fn put(&self, change: ConfigChange) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = tenants.entry(change.tenant).or_default();
        let from = |time: Option<&prost_types::Timestamp>| time.map_or((0, 0), |time| (time.seconds, time.nanos));
        match change.change {
            Some(Change::Settings(settings)) => versions.settings = Some(settings),
            Some(Change::Calendar(calendar)) => {
                let (seconds, nanos) = from(calendar.effective_from.as_ref());
                versions.calendars.insert((calendar.calendar.clone(), seconds, nanos), calendar);
            }
            Some(Change::SlaPolicy(policy)) => {
                let (seconds, nanos) = from(policy.effective_from.as_ref());
                versions.policies.insert((policy.policy.clone(), seconds, nanos), policy);
            }
            None => {}
        }
    }

    /// A tenant's configuration.
    pub(crate) fn read(&self, tenant: &str) -> ReadConfigResponse {
        let tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(versions) = tenants.get(tenant) else { return ReadConfigResponse::default() };
        ReadConfigResponse {
            settings: versions.settings.clone(),
            calendars: versions.calendars.values().cloned().collect(),
            sla_policies: versions.policies.values().cloned().collect(),
        }
    }
}
