//! Distributions: HDR buckets for percentiles, and beside them the exact count, sum, least and greatest value.

use std::iter::Sum;
use std::ops::AddAssign;

use hdrhistogram::Histogram as HdrHistogram;

/// Values below this have a bucket each; above, a bucket is at most 1/128 of its values wide.
const EXACT_BELOW: u64 = 256;
/// Buckets in the upper half of an octave's 256.
const HALF: u64 = 128;
/// The greatest value with a bucket: 2^49 - 1 ms, about 17,800 years, longer than from the year 1 to 9999.
pub const GREATEST: i64 = (1 << 49) - 1;
/// The greatest relative error of a percentile: the width of a bucket.
pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;
/// Up to how many values a histogram is a list.
const FEW: usize = 64;
/// Up to how many filled buckets a histogram that is made of others is a list.
const LISTED: usize = 512;
/// From how many values on a bucket is not in a list any more.
const MANY: u64 = 8 * u16::MAX as u64;

/// The bucket a value falls in: the layout of `HdrHistogram` with 2 significant digits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "2^49 has 5,632 buckets")]
pub(crate) fn bucket_of(value: i64) -> u16 {
    let value = value.clamp(0, GREATEST).cast_unsigned();
    // No shift below twice the half: those values have a bucket each.
    let shift = u64::from((value | HALF).ilog2() - HALF.ilog2());
    (shift * HALF + (value >> shift)) as u16
}

/// The greatest value of a bucket.
fn greatest_in(bucket: u16) -> i64 {
    let bucket = u64::from(bucket);
    let value = if bucket < EXACT_BELOW {
        bucket
    } else {
        let shift = bucket / HALF - 1;
        ((HALF + bucket % HALF + 1) << shift) - 1
    };
    i64::try_from(value).expect("below 2^49")
}

/// How many values are in a bucket; where they are more than it can say there is another one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its number, from 0 for the least values.
    pub number: u16,
    /// How many values.
    pub count: u16,
}

impl Bucket {
    /// As many buckets of a number as it takes to say a count.
    pub fn many(number: u16, count: u64) -> impl Iterator<Item = Self> {
        let most = u64::from(u16::MAX);
        let whole = (0..count / most).map(move |_| u16::MAX);
        let rest = u16::try_from(count % most).ok().filter(|rest| *rest > 0);
        whole.chain(rest).map(move |count| Self { number, count })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Buckets {
    /// The bucket of each value, in no order.
    Few(Vec<u16>),
    /// Filled buckets, in no order, and the same one perhaps several times.
    Listed(Vec<Bucket>),
    /// How many values are in each bucket.
    Many(Counts),
}

/// A distribution of milliseconds (or other numbers from 0 to [`GREATEST`]).
///
/// Count, sum, least and greatest are exact; a percentile's relative error is at most [`RELATIVE_ERROR`]. Two
/// distributions merge exactly.
#[derive(Debug, Clone)]
pub struct Distribution {
    count: u64,
    sum: i128,
    min: i64,
    max: i64,
    buckets: Buckets,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX, max: i64::MIN, buckets: Buckets::Few(Vec::new()) }
    }
}

/// Equal when they hold the same values, as far as buckets tell them apart.
impl PartialEq for Distribution {
    fn eq(&self, other: &Self) -> bool {
        (self.count, self.sum, self.min, self.max) == (other.count, other.sum, other.min, other.max)
            && self.filled_buckets().eq(other.filled_buckets())
    }
}

impl Distribution {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let bucket = bucket_of(value);
        if let Buckets::Many(counts) = &mut self.buckets
            && let Some(count) = counts.0.get_mut(usize::from(bucket))
        {
            *count += 1;
        } else {
            self.add_to_bucket(bucket);
        }
    }

    /// The memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let buckets = match &self.buckets {
            Buckets::Few(list) => list.capacity() * size_of::<u16>(),
            Buckets::Listed(list) => list.capacity() * size_of::<Bucket>(),
            Buckets::Many(counts) => counts.0.capacity() * size_of::<u64>(),
        };
        size_of::<Self>() + buckets
    }

    /// Adds to the sum alone, for areas under a level, which are no distribution.
    pub fn add_to_sum(&mut self, more: i128) {
        self.sum += more;
    }

    fn add_to_bucket(&mut self, bucket: u16) {
        match &mut self.buckets {
            Buckets::Few(list) if list.len() < FEW => list.push(bucket),
            Buckets::Listed(list) if list.len() < LISTED => list.push(Bucket { number: bucket, count: 1 }),
            Buckets::Few(_) | Buckets::Listed(_) => self.many().add_at(bucket, 1),
            Buckets::Many(counts) => counts.add_at(bucket, 1),
        }
    }

    /// Adds to many buckets.
    fn add_listed(&mut self, others: &[Bucket]) {
        if others.is_empty() {
            return;
        }
        if let Buckets::Few(list) = &self.buckets {
            // Others mostly bring as many.
            let mut listed = Vec::with_capacity(list.len() + 2 * others.len());
            listed.extend(list.iter().map(|number| Bucket { number: *number, count: 1 }));
            self.buckets = Buckets::Listed(listed);
        }
        if let Buckets::Listed(list) = &mut self.buckets {
            if list.len() + others.len() > LISTED {
                let (first, counts) = summed::<u32>(list);
                *list = filled(first, &counts).flat_map(|(number, count)| Bucket::many(number, count)).collect();
            }
            if list.len() + others.len() <= LISTED {
                list.extend_from_slice(others);
                return;
            }
        }
        let counts = self.many();
        others.iter().rev().for_each(|bucket| counts.add_at(bucket.number, bucket.count.into()));
    }

    /// Adds the values of another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.merge_summed(other.count, other.sum, other.min().zip(other.max()), &[]);
        match &other.buckets {
            Buckets::Few(list) => list.iter().for_each(|bucket| self.add_to_bucket(*bucket)),
            Buckets::Listed(list) => self.add_listed(list),
            Buckets::Many(counts) => self.many().add(counts, bucket_of(other.min).into()),
        }
    }

    /// The counts, in a list from now on.
    fn many(&mut self) -> &mut Counts {
        let mut counts = Counts::default();
        match &self.buckets {
            Buckets::Few(list) => list.iter().for_each(|known| counts.add_at(*known, 1)),
            Buckets::Listed(list) => {
                list.iter().rev().for_each(|known| counts.add_at(known.number, known.count.into()));
            }
            Buckets::Many(_) => {}
        }
        if !matches!(self.buckets, Buckets::Many(_)) {
            self.buckets = Buckets::Many(counts);
        }
        match &mut self.buckets {
            Buckets::Many(counts) => counts,
            Buckets::Few(_) | Buckets::Listed(_) => unreachable!("it was made one above"),
        }
    }

    /// Adds values that are summed up: their count, sum, least and greatest, and the buckets they fill, none beyond that of [`GREATEST`].
    pub fn merge_summed(&mut self, count: u64, sum: i128, range: Option<(i64, i64)>, buckets: &[Bucket]) {
        self.count += count;
        self.sum += sum;
        if let Some((min, max)) = range {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
        }
        self.add_listed(buckets);
    }

    /// The same of a distribution as it travels, which may be anything.
    pub fn merge_parts(
        &mut self,
        count: u64,
        sum: i128,
        range: Option<(i64, i64)>,
        buckets: impl IntoIterator<Item = (u32, u64)>,
    ) {
        self.merge_summed(count, sum, range, &[]);
        let last = bucket_of(GREATEST);
        let mut listed: Vec<Bucket> = Vec::new();
        for (number, count) in buckets {
            let number = u16::try_from(number).map_or(last, |number| number.min(last));
            if count <= MANY { listed.extend(Bucket::many(number, count)) } else { self.many().add_at(number, count) }
        }
        self.add_listed(&listed);
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact sum.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// The exact least value; `None` when there is none.
    #[must_use]
    pub fn min(&self) -> Option<i64> {
        (self.count > 0).then_some(self.min)
    }

    /// The exact greatest value; `None` when there is none.
    #[must_use]
    pub fn max(&self) -> Option<i64> {
        (self.count > 0).then_some(self.max)
    }

    /// Sum over count, exact up to the last digit of an `f64`; `None` when there is no value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Buckets with anything in them and how much, ascending.
    pub fn filled_buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        let few = match &self.buckets {
            Buckets::Few(list) => counted(list),
            Buckets::Listed(list) => {
                let (first, counts) = summed::<u32>(list);
                filled(first, &counts).collect()
            }
            Buckets::Many(_) => Vec::new(),
        };
        let (first, many) = match &self.buckets {
            Buckets::Many(counts) => counts.from(self.min),
            Buckets::Few(_) | Buckets::Listed(_) => (0, &[][..]),
        };
        few.into_iter().chain(filled(first, many))
    }

    /// The value at the nearest rank, `ceil(percent / 100 × count)` and at least 1; `None` when there is no value.
    ///
    /// Never below the exact one, and above it by at most [`RELATIVE_ERROR`].
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<i64> {
        self.ranked().percentile(percentile)
    }

    /// The same distribution, for several percentiles.
    #[must_use]
    pub fn ranked(&self) -> Ranked<'_> {
        let ascending = match &self.buckets {
            Buckets::Few(list) => {
                let mut few = list.clone();
                few.sort_unstable();
                Ascending::Few(few)
            }
            Buckets::Listed(list) if self.count <= u16::MAX.into() => {
                let (first, counts) = summed(list);
                Ascending::Listed(first, counts)
            }
            Buckets::Listed(list) => {
                let (first, counts) = summed(list);
                Ascending::ListedMany(first, counts)
            }
            Buckets::Many(counts) => {
                let (first, counts) = counts.from(self.min);
                Ascending::Many(first, counts)
            }
        };
        Ranked { of: self, ascending, before: Before::default() }
    }

    /// The same distribution for any other `HdrHistogram` library: 0 to [`GREATEST`], 2 significant digits.
    #[must_use]
    pub fn to_hdrhistogram(&self) -> HdrHistogram<u64> {
        let greatest = u64::try_from(GREATEST).expect("positive");
        let mut histogram =
            HdrHistogram::new_with_bounds(1, greatest, 2).expect("these bounds are allowed: 1, more than 2, 2 digits");
        for (bucket, count) in self.filled_buckets() {
            let value = u64::try_from(greatest_in(bucket)).expect("positive");
            histogram.record_n(value, count).expect("within the bounds");
        }
        histogram
    }
}

/// A distribution whose values are in order, for several percentiles: best asked for the least first.
#[derive(Debug)]
pub struct Ranked<'a> {
    of: &'a Distribution,
    ascending: Ascending<'a>,
    before: Before,
}

/// Values by their buckets, ascending: the bucket of each, or how many values are in each bucket from one on.
#[derive(Debug)]
enum Ascending<'a> {
    Few(Vec<u16>),
    /// No more values than one count can say: half the memory, and added up in half the time.
    Listed(u16, Vec<u16>),
    ListedMany(u16, Vec<u32>),
    Many(u16, &'a [u64]),
}

/// Up to where counts were added up, and to what.
#[derive(Debug, Default)]
struct Before {
    place: usize,
    count: u64,
}

impl Ranked<'_> {
    /// The same as [`Distribution::percentile`].
    pub fn percentile(&mut self, percentile: Percentile) -> Option<i64> {
        let rank = percentile.rank(self.of.count)?;
        let from = |first: &u16, place| u16::try_from(usize::from(*first) + place).ok();
        let bucket = match &self.ascending {
            Ascending::Few(few) => usize::try_from(rank - 1).ok().and_then(|place| few.get(place).copied()),
            Ascending::Listed(first, counts) => self.before.reach(rank, counts).and_then(|place| from(first, place)),
            Ascending::ListedMany(first, counts) => {
                self.before.reach(rank, counts).and_then(|place| from(first, place))
            }
            Ascending::Many(first, counts) => self.before.reach(rank, counts).and_then(|place| from(first, place)),
        };
        let (min, max) = (self.of.min, self.of.max);
        Some(bucket.map_or(max, |bucket| greatest_in(bucket).max(min).min(max)))
    }
}

impl Before {
    /// Where counts, none of which overflows when added up, reach a rank.
    fn reach<T: Copy + Sum + Into<u64>>(&mut self, rank: u64, counts: &[T]) -> Option<usize> {
        // Added up many at a time, as the machine does it best.
        const TOGETHER: usize = 32;
        if rank <= self.count {
            *self = Self::default();
        }
        while let Some(rest) = counts.get(self.place..).filter(|rest| !rest.is_empty()) {
            let together = &rest[..rest.len().min(TOGETHER)];
            let upto = self.count + together.iter().copied().sum::<T>().into();
            if upto >= rank {
                let mut before = self.count;
                let reaches = |count: &T| {
                    before += (*count).into();
                    before >= rank
                };
                return together.iter().position(reaches).map(|place| self.place + place);
            }
            *self = Self { place: self.place + together.len(), count: upto };
        }
        None
    }
}

/// The buckets in a short list and how often each stands there, ascending.
fn counted(list: &[u16]) -> Vec<(u16, u64)> {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(u16::eq).map(|same| (same[0], same.len() as u64)).collect()
}

/// How many values are in each bucket from the first that a list of up to [`LISTED`] has to the last; and which is the first.
fn summed<T: Clone + Default + AddAssign + From<u16>>(list: &[Bucket]) -> (u16, Vec<T>) {
    if list.is_empty() {
        return (0, Vec::new());
    }
    let range =
        |(least, greatest): (u16, u16), bucket: &Bucket| (least.min(bucket.number), greatest.max(bucket.number));
    let (first, greatest) = list.iter().fold((u16::MAX, 0), range);
    let mut counts = vec![T::default(); usize::from(greatest - first) + 1];
    for bucket in list {
        counts[usize::from(bucket.number - first)] += bucket.count.into();
    }
    (first, counts)
}

/// Those buckets, from one on, that there is anything in.
fn filled<T: Copy + Into<u64>>(first: u16, counts: &[T]) -> impl Iterator<Item = (u16, u64)> {
    (first..).zip(counts.iter().map(|count| (*count).into())).filter(|(_, count)| *count > 0)
}

/// How many values are in each bucket, from the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Counts(Vec<u64>);

impl Counts {
    #[inline]
    fn add_at(&mut self, bucket: u16, count: u64) {
        let bucket = usize::from(bucket);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] += count;
    }

    /// Adds others, of which none is before `first`.
    fn add(&mut self, Self(others): &Self, first: usize) {
        self.0.resize(self.0.len().max(others.len()), 0);
        let pairs = self.0.iter_mut().zip(others).skip(first.min(others.len()));
        pairs.for_each(|(ours, theirs)| *ours += theirs);
    }

    /// Those from the bucket of the least value on, and its number.
    fn from(&self, min: i64) -> (u16, &[u64]) {
        let first = bucket_of(min).min(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        (first, &self.0[usize::from(first)..])
    }
}

/// A percentile: a number from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// `None` unless `percent` is from 0 to 100.
    #[must_use]
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then_some(Self(percent))
    }

    /// The number, from 0 to 100.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }

    /// The nearest rank among `count` values, from 1; `None` when there is none.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and count")]
    pub fn rank(self, count: u64) -> Option<u64> {
        let exact = self.0 * count as f64 / 100.0;
        let below = exact as u64;
        // 99.9 / 100 × 1,000 is a little more than 999 in binary: such dust is not rounded up.
        let is_dust = exact - (below as f64) < 1e-9 * exact.max(1.0);
        (count > 0).then(|| (below + u64::from(!is_dust)).clamp(1, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_meet_without_gaps_and_are_at_most_a_128th_wide() {
        let last = bucket_of(GREATEST);
        for bucket in 0..=last {
            let greatest = greatest_in(bucket);
            assert_eq!(bucket_of(greatest), bucket);
            if bucket < last {
                assert_eq!(bucket_of(greatest + 1), bucket + 1);
                let width = greatest_in(bucket + 1) - greatest;
                assert!(width == 1 || (width as f64) <= (greatest + 1) as f64 * RELATIVE_ERROR);
            }
        }
        assert_eq!(greatest_in(last), GREATEST);
    }

    #[test]
    fn ranks_do_not_suffer_from_binary_fractions() {
        let rank = |percent, count| Percentile::new(percent).and_then(|p| p.rank(count));
        assert_eq!(rank(99.9, 1_000), Some(999));
        assert_eq!(rank(29.0, 100), Some(29));
        assert_eq!(rank(0.0, 7), Some(1));
        assert_eq!(rank(100.0, 7), Some(7));
        assert_eq!(rank(50.0, 7), Some(4));
        assert_eq!(rank(50.0, 0), None);
        assert!(Percentile::new(100.1).is_none() && Percentile::new(f64::NAN).is_none());
    }

    #[test]
    fn a_year_in_milliseconds_is_not_clamped() {
        let mut years = Distribution::default();
        years.record(194_839_724_000);
        assert_eq!(years.percentile(Percentile(50.0)), Some(194_839_724_000));
    }

    #[test]
    fn more_values_than_a_short_count_can_say_are_ranked_alike() {
        let most = u16::MAX;
        for (low, high) in [(most - 1, 1), (most, 1), (most, most), (1, most)] {
            let mut ours = Distribution::default();
            for (value, count) in [(5, low), (9, high), (5, low)] {
                let sum = i128::from(value) * i128::from(count);
                let bucket = Bucket { number: bucket_of(value), count };
                ours.merge_summed(count.into(), sum, Some((value, value)), &[bucket]);
            }
            let (low, all) = (2 * u64::from(low), 2 * u64::from(low) + u64::from(high));
            assert_eq!(ours.count(), all);
            let percentiles = [0.0, 10.0, 33.0, 50.0, 66.0, 67.0, 99.0, 100.0].map(Percentile);
            for percentile in percentiles {
                let exact = if percentile.rank(all).is_some_and(|rank| rank <= low) { 5 } else { 9 };
                assert_eq!(ours.percentile(percentile), Some(exact), "{percentile:?} of {low} and {high}");
            }
        }
    }

    fn values() -> impl Strategy<Value = Vec<i64>> {
        let magnitude = prop_oneof![0i64..300, 0i64..100_000, 0i64..10_000_000_000, 0..=GREATEST];
        prop::collection::vec(magnitude, 1..300)
    }

    fn distribution(values: &[i64]) -> Distribution {
        let mut distribution = Distribution::default();
        for value in values {
            distribution.record(*value);
        }
        distribution
    }

    proptest! {
        #[test]
        fn percentiles_are_within_the_bound_of_the_exact_nearest_rank(
            mut values in values(), percent in 0.0f64..=100.0
        ) {
            let ours = distribution(&values);
            values.sort_unstable();
            let percentile = Percentile(percent);
            let rank = percentile.rank(ours.count()).expect("not empty");
            let exact = values[usize::try_from(rank).expect("small") - 1];
            let answer = ours.percentile(percentile).expect("not empty");
            prop_assert!(answer >= exact && (answer - exact) as f64 <= exact as f64 * RELATIVE_ERROR);
            prop_assert_eq!(ours.sum(), values.iter().copied().map(i128::from).sum::<i128>());
            prop_assert_eq!((ours.min(), ours.max()), (values.first().copied(), values.last().copied()));
        }

        #[test]
        fn merging_is_recording_everything(a in values(), b in values()) {
            let mut merged = distribution(&a);
            merged.merge(&distribution(&b));
            prop_assert_eq!(merged, distribution(&[a, b].concat()));
        }

        #[test]
        fn a_distribution_that_travelled_is_the_same_and_adds_to_others(a in values(), b in values(), times in 1u64..10) {
            // Counts that some lists cannot say.
            const LARGE: u64 = 1 << 31;
            let travelled = |it: &Distribution, times: u64, to: &mut Distribution| {
                let buckets = it.filled_buckets().map(|(bucket, count)| (bucket.into(), count * times));
                to.merge_parts(it.count() * times, it.sum() * i128::from(times), it.min().zip(it.max()), buckets);
            };
            let (a, b) = (distribution(&a), distribution(&b));
            for times in [1, times * LARGE] {
                let mut both = Distribution::default();
                travelled(&a, times, &mut both);
                travelled(&b, 1, &mut both);
                prop_assert_eq!(both.count(), a.count() * times + b.count());
                prop_assert_eq!(both.filled_buckets().map(|(_, count)| count).sum::<u64>(), both.count());
                let count_in = |it: &Distribution, bucket| {
                    it.filled_buckets().find(|(known, _)| *known == bucket).map_or(0, |(_, count)| count)
                };
                for (bucket, count) in both.filled_buckets() {
                    prop_assert_eq!(count, count_in(&a, bucket) * times + count_in(&b, bucket));
                }
                let mut twice = both.clone();
                twice.merge(&both);
                prop_assert!(twice.filled_buckets().eq(both.filled_buckets().map(|(bucket, count)| (bucket, 2 * count))));
                let mut apart = both.clone();
                travelled(&both, 1, &mut apart);
                prop_assert_eq!(apart, twice);
            }
        }

        #[test]
        fn percentiles_asked_for_together_in_any_order_are_those_asked_for_alone(
            values in values(), more in values(), percents in prop::collection::vec(0.0f64..=100.0, 1..6)
        ) {
            let recorded = distribution(&[values.as_slice(), &more].concat());
            let mut listed = Distribution::default();
            for part in [&values, &more] {
                let part = distribution(part);
                let buckets = part.filled_buckets().map(|(bucket, count)| (bucket.into(), count));
                listed.merge_parts(part.count(), part.sum(), part.min().zip(part.max()), buckets);
            }
            let (mut ranked, mut ranked_listed) = (recorded.ranked(), listed.ranked());
            let mut sorted = [values, more].concat();
            sorted.sort_unstable();
            for percentile in percents.into_iter().map(Percentile) {
                let rank = percentile.rank(recorded.count()).expect("not empty");
                let exact = sorted[usize::try_from(rank).expect("small") - 1];
                let answer = ranked.percentile(percentile);
                prop_assert_eq!(answer.map(bucket_of), Some(bucket_of(exact)));
                prop_assert_eq!(ranked_listed.percentile(percentile), answer);
                prop_assert_eq!(recorded.percentile(percentile), answer);
            }
        }

        #[test]
        fn the_converted_histogram_holds_as_many_values_and_the_same_percentiles(values in values()) {
            let ours = distribution(&values);
            let theirs = ours.to_hdrhistogram();
            prop_assert_eq!(theirs.len(), ours.count());
            for percent in [0.0, 25.0, 50.0, 90.0, 99.0, 100.0] {
                let answer = ours.percentile(Percentile(percent)).expect("not empty");
                let theirs = i64::try_from(theirs.value_at_percentile(percent)).expect("small");
                prop_assert_eq!(bucket_of(answer), bucket_of(theirs), "at {}", percent);
            }
        }
    }
}
