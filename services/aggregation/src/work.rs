//! What a question has to collect, shared between threads.

use std::ops;
use std::sync::Arc;

use deskpulse_core::grid::{Range, View};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::snapshot::{Allowance, Gathered, NotCollected, Plan, Rows, collect_all};

/// What is to be collected of some tenants together, at one moment and by so many threads.
#[derive(Debug)]
pub(crate) struct Work {
    views: Vec<View>,
    names: Arc<Names>,
    tenants: Vec<Symbol>,
    plans: Arc<[Plan]>,
    /// Whose is which share of each.
    shares: Vec<Shares>,
    /// What each plan needs of other partitions, for each tenant.
    gathered: Vec<Gathered>,
    threads: usize,
}

/// Which share of a plan is whose.
#[derive(Debug)]
enum Shares {
    /// To each some partitions: rows may have to be merged.
    Partitions,
    /// To each some of its time, where intervals are many: no two have rows in common, so that few are merged and too many are noticed early.
    Times(Vec<Plan>, Allowance),
}

impl Work {
    /// Reads what plans need of other partitions.
    pub(crate) fn begin(
        views: Vec<View>,
        names: Arc<Names>,
        tenants: Vec<Symbol>,
        plans: Arc<[Plan]>,
        threads: usize,
    ) -> Result<Self, NotCollected> {
        let each = tenants.iter().flat_map(|tenant| plans.iter().map(move |plan| (*tenant, plan)));
        let gathered = each.map(|(tenant, plan)| Ok(Gathered::gather(views.iter(), tenant, plan)?));
        let gathered = gathered.collect::<Result<_, NotCollected>>()?;
        let shares =
            |plan: &Plan| match (threads > 1).then(|| plan.in_parts(threads, || held(&views, &tenants))).flatten() {
                Some(parts) => Shares::Times(parts, Allowance::default()),
                None => Shares::Partitions,
            };
        let shares = plans.iter().map(shares).collect();
        Ok(Self { views, names, tenants, plans, shares, gathered, threads })
    }

    /// The share of one of the threads: what it comes to for each plan. Merged, they are what the plans come to.
    pub(crate) fn share(&self, thread: usize) -> Result<Vec<Rows>, NotCollected> {
        let of_plan = |(number, (plan, shares)): (usize, (&Plan, &Shares))| {
            let gathered = self.gathered.iter().skip(number).step_by(self.plans.len());
            let tenants = self.tenants.iter().copied().zip(gathered);
            match shares {
                Shares::Partitions => {
                    let views = &self.views[self.partitions(thread)];
                    collect_all(views, &self.names, tenants, plan, &Allowance::default())
                }
                Shares::Times(parts, left) => match parts.get(thread) {
                    Some(part) => collect_all(&self.views, &self.names, tenants, part, left),
                    None => Ok(Rows::default()),
                },
            }
        };
        self.plans.iter().zip(&self.shares).enumerate().map(of_plan).collect()
    }

    fn partitions(&self, thread: usize) -> ops::Range<usize> {
        let from = |thread: usize| self.views.len() * thread / self.threads;
        from(thread)..from(thread + 1)
    }
}

/// From where to where there is anything of these tenants.
fn held(views: &[View], tenants: &[Symbol]) -> Option<Range> {
    let each = tenants.iter().flat_map(|tenant| views.iter().filter_map(|view| view.held(*tenant)));
    each.reduce(|one, other| Range {
        from_inclusive: one.from_inclusive.min(other.from_inclusive),
        to_exclusive: one.to_exclusive.max(other.to_exclusive),
    })
}
