//! What the events of a customer mean: orders, offers, renewals, activation and churn.

use std::collections::{BTreeMap, BTreeSet};

use crate::conversation::set_attributes;
use crate::dimension::Dimension;
use crate::event::{CreditKey, Event, LifecycleKind, Payload};
use crate::fact::{Facts, Measure};
use crate::series::{DimensionValues, SeriesId, Symbol};
use crate::time::Timestamp;

/// What a customer has come to.
#[derive(Debug, Default)]
pub struct Customer {
    values: DimensionValues,
    is_active: bool,
    was_active: bool,
    /// The series the level of customers counts this one under.
    level_series: Option<SeriesId>,
    activations: Vec<(Timestamp, SeriesId)>,
    features: BTreeSet<Symbol>,
    contracts: BTreeMap<Box<str>, Contract>,
}

/// The renewals of a contract.
#[derive(Debug, Default)]
struct Contract {
    /// The last due date, as long as it is not met.
    open: Option<(Timestamp, SeriesId)>,
    /// How often it was renewed before it was due.
    early: u32,
}

impl Customer {
    /// Walks over the next event.
    pub(crate) fn step(&mut self, event: &Event, facts: &mut Facts) {
        let before = self.values.clone();
        set_attributes(&mut self.values, event);
        let Payload::Lifecycle { kind, reference, about } = &event.payload else { return };
        let at = event.time;
        let own = facts.series(&self.values);
        if self.values != before
            && let Some(old) = self.level_series.replace(own).filter(|old| self.is_active && *old != own)
        {
            facts.lower(Measure::Customers, at, old, 1);
            facts.state(Measure::Customers, at, own, 1);
        }
        if !self.was_active || *kind == LifecycleKind::Activated && !self.is_active {
            self.is_active = true;
            self.was_active = true;
            self.level_series = Some(own);
            facts.state(Measure::Customers, at, own, 1);
        }
        let series = facts.series(&self.values.clone().credited(*about));
        let mut count = |measure| {
            facts.state(measure, at, series, 0);
        };
        match kind {
            LifecycleKind::Order => count(Measure::Ordered),
            LifecycleKind::CrossSellOffered => count(Measure::CrossSellOffered),
            LifecycleKind::CrossSellAccepted => count(Measure::CrossSellAccepted),
            LifecycleKind::UpSellOffered => count(Measure::UpSellOffered),
            LifecycleKind::UpSellAccepted => count(Measure::UpSellAccepted),
            LifecycleKind::Churned => self.churn(at, series, facts),
            LifecycleKind::Activated => self.activate(at, series, facts),
            LifecycleKind::FeatureUsed => self.use_feature(reference.as_deref(), *about, at, facts),
            LifecycleKind::RenewalDue | LifecycleKind::Renewed => {
                if let Some(reference) = reference {
                    let contract = self.contracts.entry(reference.clone()).or_default();
                    contract.step(*kind == LifecycleKind::Renewed, at, series, facts);
                }
            }
        }
    }

    fn churn(&mut self, at: Timestamp, series: SeriesId, facts: &mut Facts) {
        if !std::mem::take(&mut self.is_active) {
            return;
        }
        facts.state(Measure::Churned, at, series, 0);
        if let Some(level) = self.level_series {
            facts.lower(Measure::Customers, at, level, 1);
        }
    }

    fn activate(&mut self, at: Timestamp, series: SeriesId, facts: &mut Facts) {
        facts.state(Measure::Activated, at, series, 0);
        self.activations.push((at, series));
        for feature in &self.features {
            state_adopted(*feature, at, series, facts);
        }
    }

    fn use_feature(&mut self, feature: Option<&str>, about: Option<CreditKey>, at: Timestamp, facts: &mut Facts) {
        let Some(feature) = feature.map(|feature| facts.names().symbol(feature)) else { return };
        let values = self.values.with(&Dimension::Feature, Some(feature)).credited(about);
        facts.state(Measure::FeatureUsed, at, facts.series(&values), 0);
        if self.features.insert(feature) {
            for (activated, series) in &self.activations {
                state_adopted(feature, *activated, *series, facts);
            }
        }
    }
}

/// Someone activated then has used a feature by now.
fn state_adopted(feature: Symbol, activated: Timestamp, series: SeriesId, facts: &mut Facts) {
    if let Some(values) = facts.names().values(series) {
        let series = facts.series(&values.with(&Dimension::Feature, Some(feature)));
        facts.state_at_start(Measure::FeatureUsed, activated, series, 0);
    }
}

impl Contract {
    fn step(&mut self, renewed: bool, at: Timestamp, series: SeriesId, facts: &mut Facts) {
        if renewed {
            match self.open.take() {
                Some((due, series)) => {
                    facts.state(Measure::Renewed, due, series, 0);
                }
                None => self.early += 1,
            }
            return;
        }
        facts.state(Measure::RenewalDue, at, series, 0);
        if self.early > 0 {
            self.early -= 1;
            facts.state(Measure::Renewed, at, series, 0);
            self.open = None;
        } else {
            self.open = Some((at, series));
        }
    }
}
