//! Collecting from an aggregation service elsewhere: plans and partial figures as messages.

use std::sync::Arc;

use deskpulse_core::fact::{Anchor, Clock};
use deskpulse_core::snapshot::{Collected, Collection, Group, More, Only, Part, Partial, Plan, Reduction, Row};
use deskpulse_core::time::Timestamp;
use deskpulse_edge::fault;
use deskpulse_proto::v1::{
    self, CollectPart, CollectPlan, CollectRequest, CollectResponse, CollectedPlan, GroupKey, GroupSelection,
    GroupValue, PartialRow, PartitionPosition,
};
use prost::encoding::decode_varint;
use tonic::Status;

/// What to collect, of the moment with this number.
pub(crate) fn request(collections: &[Collection], moment: u64) -> CollectRequest {
    let collection = |collection: &Collection| v1::Collection {
        tenant: collection.tenant.clone(),
        plans: collection.plans.iter().map(plan).collect(),
        pin_from_rows: collection.pin_from_rows,
    };
    CollectRequest { moment, collections: collections.iter().map(collection).collect() }
}

/// How many rows it came to.
pub(crate) fn rows(response: &CollectResponse) -> usize {
    response.collected.iter().flat_map(|collected| &collected.plans).map(|plan| plan.rows.len()).sum()
}

/// What it came to, and what is made of that.
pub(crate) fn collected<T>(
    response: CollectResponse,
    then: impl Fn(usize, usize, Vec<Row>) -> T,
) -> Collected<PartitionPosition, T, Status> {
    let of_plan = |number, (plan, rows): (usize, CollectedPlan)| {
        vec![then(number, plan, rows.rows.into_iter().map(row).collect())]
    };
    let made = response.collected.into_iter().enumerate().map(|(number, collected)| match collected.error {
        Some(error) => Err(fault::status(&error)),
        None => Ok(collected.plans.into_iter().enumerate().map(|plan| of_plan(number, plan)).collect()),
    });
    Collected {
        made: made.collect(),
        positions: response.positions,
        moment: response.moment,
        asked_at: Timestamp::clamped(response.asked_at_ms),
    }
}

fn plan(plan: &Plan) -> CollectPlan {
    CollectPlan {
        parts: plan.parts.iter().map(part).collect(),
        filter: plan.filter.to_string(),
        group_by: plan.group_by.iter().map(ToString::to_string).collect(),
        bounds_ms: plan.cut.bounds().to_vec(),
        buckets: plan.cut.buckets().to_vec(),
        now_ms: plan.now.millis(),
        only: plan.only.as_ref().map(selection),
        rows_a_group: u32::try_from(plan.rows_a_group).unwrap_or(u32::MAX),
    }
}

fn selection(only: &Only) -> GroupSelection {
    let value = |value: &Option<Arc<str>>| GroupValue { value: value.as_deref().map(str::to_owned) };
    let key = |group: &Group| GroupKey { values: group.iter().map(value).collect() };
    GroupSelection { groups: only.groups.iter().map(key).collect(), others: only.others }
}

/// A part as it travels.
pub(crate) fn part(part: &Part) -> CollectPart {
    let reduction = match part.reduction {
        Reduction::Count => v1::Reduction::Count,
        Reduction::Distribution => v1::Reduction::Distribution,
        Reduction::Distinct => v1::Reduction::Distinct,
        Reduction::DistinctValues => v1::Reduction::DistinctValues,
        Reduction::Repeated => v1::Reduction::Repeated,
        Reduction::NotFollowed => v1::Reduction::NotFollowed,
        Reduction::Level => v1::Reduction::Level,
        Reduction::LevelAtStart => v1::Reduction::LevelAtStart,
        Reduction::LevelChange => v1::Reduction::LevelChange,
        Reduction::LevelAge => v1::Reduction::LevelAge,
        Reduction::LevelNext => v1::Reduction::LevelNext,
        Reduction::Time => v1::Reduction::Time,
    };
    CollectPart {
        measures: part.measures.iter().map(|measure| measure.name().to_owned()).collect(),
        reduction: reduction.into(),
        at_most: part.at_most.clone(),
        at_start: part.anchor == Anchor::Start,
        business: part.clock == Clock::Business,
        filter: part.filter.to_string(),
    }
}

fn row(row: PartialRow) -> Row {
    let group: Group = row.group.into_iter().map(|value| value.value.map(Arc::from)).collect();
    ((group, row.bucket), row.partials.into_iter().map(partial).collect())
}

fn partial(partial: v1::Partial) -> Partial {
    let more = More {
        at_most: partial.at_most,
        oldest: (!partial.oldest.is_empty()).then(|| partial.oldest.into()),
        distinct: partial.distinct.into_iter().collect(),
        next: partial.next.into_iter().map(|next| (next.value, next.subject.into())).collect(),
    };
    let more = (more != More::default()).then(|| Box::new(more));
    let mut decoded = Partial { count: partial.count, more, ..Partial::default() };
    let mut bytes = partial.histogram.as_slice();
    let mut bucket = 0u32;
    let buckets = std::iter::from_fn(|| {
        let delta = decode_varint(&mut bytes).ok()?;
        let count = decode_varint(&mut bytes).ok()?;
        bucket = bucket.saturating_add(u32::try_from(delta).unwrap_or(u32::MAX));
        Some((bucket, count))
    });
    let buckets: Vec<(u32, u64)> = buckets.collect();
    let values = buckets.iter().map(|(_, count)| count).sum();
    let range = partial.min.zip(partial.max);
    let sum = (i128::from(partial.sum_high) << 62) + i128::from(partial.sum);
    decoded.distribution.merge_parts(values, sum, range, buckets);
    decoded
}
