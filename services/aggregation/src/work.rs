//! What a question has to collect, shared between threads.

use std::cmp::Reverse;
use std::ops;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use deskpulse_core::grid::{Range, View};
use deskpulse_core::series::{Names, Symbol};
use deskpulse_core::snapshot::{Allowance, Collecting, Gathered, MAX_ROWS, NotCollected, Plan, Row, collect_all};

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
    /// To each some partitions: rows have to be merged.
    Partitions,
    /// To each, while there is any left, some of its time, where intervals are many: no two have rows in common, and too many are noticed early.
    Times(Times),
}

/// A plan in parts of its time, each for the next one who has nothing to do.
#[derive(Debug)]
struct Times {
    parts: Vec<Plan>,
    next: AtomicUsize,
    left: Allowance,
}

/// What a share of a plan came to, or some of them.
#[derive(Debug)]
pub(crate) struct Share<T> {
    /// What was made of rows that nobody else has, and how many these were.
    pub(crate) made: Vec<T>,
    pub(crate) count: usize,
    /// Further such rows, of which nothing has been made: the plan may have too many.
    pub(crate) apart: Vec<Vec<Row>>,
    /// Rows that others may have, too.
    pub(crate) common: Vec<Vec<Row>>,
}

impl<T> Default for Share<T> {
    fn default() -> Self {
        Self { made: Vec::new(), count: 0, apart: Vec::new(), common: Vec::new() }
    }
}

/// Up to how many rows of a plan something is made of them before all have been collected.
const AT_ONCE: usize = MAX_ROWS / 8;
/// Into how many parts of time a thread's share is parted at most: what is worked on at once then stays near the processor.
const PARTS: usize = 4;

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
        let in_parts = |plan: &Plan| {
            let mut counts = (1..=PARTS).rev().map(|parts| parts * threads).filter(|_| threads > 1);
            counts.find_map(|count| plan.in_parts(count, || held(&views, &tenants)))
        };
        let shares = |plan: &Plan| match in_parts(plan) {
            Some(mut parts) => {
                // The longest first, so that all are done at about the same time.
                parts.sort_by_key(|part| Reverse(part.cut.buckets().len()));
                Shares::Times(Times { parts, next: AtomicUsize::new(0), left: Allowance::default() })
            }
            None => Shares::Partitions,
        };
        let shares = plans.iter().map(shares).collect();
        Ok(Self { views, names, tenants, plans, shares, gathered, threads })
    }

    /// The share of one of the threads: what it comes to for each plan. `then` makes something of rows that nobody else has.
    pub(crate) fn share<T>(
        &self,
        thread: usize,
        then: impl Fn(usize, Vec<Row>) -> T,
    ) -> Result<Vec<Share<T>>, NotCollected> {
        let of_plan = |(number, (plan, shares)): (usize, (&Plan, &Shares))| {
            let gathered = self.gathered.iter().skip(number).step_by(self.plans.len());
            let tenants = self.tenants.iter().copied().zip(gathered);
            let mut share = Share::default();
            match shares {
                Shares::Partitions => {
                    let views = &self.views[self.partitions(thread)];
                    share.common.push(collect_all(views, &self.names, tenants, plan, &Allowance::default())?);
                }
                Shares::Times(times) => {
                    let mut collecting = Collecting::new(&self.names, plan);
                    while let Some(part) = times.parts.get(times.next.fetch_add(1, Relaxed)) {
                        collecting.add(&self.views, tenants.clone(), part, &times.left)?;
                        if times.left.rows() <= AT_ONCE {
                            let rows = collecting.take();
                            share.count += rows.len();
                            share.made.push(then(number, rows));
                        }
                    }
                    share.apart.push(collecting.take());
                }
            }
            Ok(share)
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
