//! The configuration as it was written: what is given back to those who ask for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use deskpulse_core::archive::{Archive, Unreadable, beside};
use deskpulse_proto::v1::config_change::Change;
use deskpulse_proto::v1::{Calendar, ConfigChange, ReadConfigResponse, SlaPolicy, Tenant};
use prost::Message;

use crate::keep::Beside;

/// What puts a change away beside a partition; a version with the same start takes the place of the older one.
pub(crate) fn keep(partition: u32, change: &ConfigChange) -> deskpulse_core::archive::Change {
    let from = |time: Option<&prost_types::Timestamp>| time.map_or((0, 0), |time| (time.seconds, time.nanos));
    let (kind, id, (seconds, nanos)) = match &change.change {
        Some(Change::Calendar(calendar)) => (1, calendar.calendar.as_str(), from(calendar.effective_from.as_ref())),
        Some(Change::SlaPolicy(policy)) => (2, policy.policy.as_str(), from(policy.effective_from.as_ref())),
        Some(Change::Settings(_)) | None => (0, "", (0, 0)),
    };
    let mut what = vec![Beside::Config as u8];
    // Each text after its length, so that two never run together.
    for text in [change.tenant.as_str(), id] {
        what.extend_from_slice(&(text.len() as u64).to_be_bytes());
        what.extend_from_slice(text.as_bytes());
    }
    what.push(kind);
    what.extend_from_slice(&seconds.to_be_bytes());
    what.extend_from_slice(&nanos.to_be_bytes());
    deskpulse_core::archive::Change { key: beside(partition, &what), value: Some(change.encode_to_vec()) }
}

/// The changes that were put away beside a partition.
pub(crate) fn kept(archive: &dyn Archive, partition: u32) -> Result<Vec<ConfigChange>, Unreadable> {
    let mut changes = Vec::new();
    archive
        .scan(&beside(partition, &[Beside::Config as u8]), &mut |_, value| changes.push(ConfigChange::decode(value)))?;
    changes
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| Unreadable(format!("a change of configuration: {error}")))
}

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
