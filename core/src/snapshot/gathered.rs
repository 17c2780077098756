//! What is looked up in all partitions before any of them is collected.

use std::collections::HashMap;

use super::{Part, Plan, Reduction};
use crate::archive::Unreadable;
use crate::conversation::FIRST_CONTACT_WINDOW_MS;
use crate::fact::Measure;
use crate::grid::{ColumnKey, GlobalSubject, Range, StoredFact, View};
use crate::series::{SeriesId, Symbol};
use crate::time::Timestamp;

/// What is looked up from all partitions: things that belong together may live apart.
///
/// A conversation and the customer's next one, a survey and its conversation have partitions of their own. Each partition
/// records its side, and a question gathers these from every partition before any of them is collected.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Which contact, and which customer, began which conversation when; sorted. One list, as most began one or two.
    contacts: Vec<Began>,
    customers: Vec<Began>,
    /// The dimension values of a conversation when another subject's event named it, by credit key.
    pub(super) credits: HashMap<i64, SeriesId>,
}

/// Who, when and which.
type Began = (i64, i64, GlobalSubject);

impl Gathered {
    /// Whether a plan needs anything to be gathered.
    #[must_use]
    pub fn is_needed(plan: &Plan) -> bool {
        plan.parts.iter().any(|part| part.reduction == Reduction::NotFollowed || is_credited(part))
    }

    /// Gathers what the plan needs, and nothing when it needs nothing.
    pub fn gather<'a>(
        views: impl Iterator<Item = &'a View> + Clone,
        tenant: Symbol,
        plan: &Plan,
    ) -> Result<Self, Unreadable> {
        let mut gathered = Self::default();
        let Range { from_inclusive, to_exclusive } = plan.cut.range();
        let window = Range { from_inclusive, to_exclusive: to_exclusive.saturating_add(FIRST_CONTACT_WINDOW_MS) };
        let asks =
            |by| plan.parts.iter().any(|part| part.reduction == Reduction::NotFollowed && followed_by(part) == by);
        for by in [Measure::Contact, Measure::CustomerContact] {
            if asks(by) {
                let began = if by == Measure::Contact { &mut gathered.contacts } else { &mut gathered.customers };
                for view in views.clone() {
                    view.standing(tenant, ColumnKey::of(by), window, |fact| {
                        began.push((fact.value, fact.at_ms, view.global(fact.subject)));
                    })?;
                }
                began.sort_unstable();
            }
        }
        if plan.parts.iter().any(is_credited) {
            for view in views {
                let all = Range::up_to_inclusive(Timestamp::MAX.millis());
                view.standing(tenant, ColumnKey::of(Measure::Credit), all, |fact| {
                    gathered.credits.insert(fact.value, fact.series);
                })?;
            }
        }
        Ok(gathered)
    }

    /// Whether the customer of a fact began another conversation after it, within the window.
    pub(super) fn followed(&self, by: Measure, fact: &StoredFact, itself: GlobalSubject) -> bool {
        let began = if by == Measure::Contact { &self.contacts } else { &self.customers };
        let next = began.partition_point(|(who, at_ms, _)| (*who, *at_ms) <= (fact.value, fact.at_ms));
        let last = (fact.value, fact.at_ms.saturating_add(FIRST_CONTACT_WINDOW_MS));
        let within = began[next..].iter().take_while(|(who, at_ms, _)| (*who, *at_ms) <= last);
        // With skewed clocks a conversation may be resolved before it was opened.
        within.into_iter().any(|(_, _, other)| *other != itself)
    }
}

/// What must not follow: a first contact no other contact on its topic, self-service no contact at all.
pub(super) fn followed_by(part: &Part) -> Measure {
    if part.measures.contains(&Measure::FirstContact) { Measure::Contact } else { Measure::CustomerContact }
}

/// Whether its facts count under the dimension values of another subject.
pub(super) fn is_credited(part: &Part) -> bool {
    part.measures.iter().any(|measure| measure.is_credited())
}
