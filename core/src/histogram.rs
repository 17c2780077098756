//! Distributions: HDR buckets for percentiles, and beside them the exact count, sum, least and greatest value.

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
const SORTED: usize = 512;

/// The bucket a value falls in: the layout of `HdrHistogram` with 2 significant digits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "2^49 has 5,632 buckets")]
pub(crate) fn bucket_of(value: i64) -> u32 {
    let value = value.clamp(0, GREATEST).cast_unsigned();
    // No shift below twice the half: those values have a bucket each.
    let shift = u64::from((value | HALF).ilog2() - HALF.ilog2());
    (shift * HALF + (value >> shift)) as u32
}

/// The greatest value of a bucket.
fn greatest_in(bucket: u32) -> i64 {
    let bucket = u64::from(bucket);
    let value = if bucket < EXACT_BELOW {
        bucket
    } else {
        let shift = bucket / HALF - 1;
        ((HALF + bucket % HALF + 1) << shift) - 1
    };
    i64::try_from(value).expect("below 2^49")
}

/// How many values are in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its number, from 0 for the least values.
    pub number: u32,
    /// How many values.
    pub count: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Buckets {
    /// The bucket of each value, in no order.
    Few(Vec<u32>),
    /// The filled buckets, ascending.
    Sorted(Vec<Bucket>),
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
            && let Some(count) = counts.0.get_mut(bucket as usize)
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
            Buckets::Few(list) => list.capacity() * size_of::<u32>(),
            Buckets::Sorted(list) => list.capacity() * size_of::<Bucket>(),
            Buckets::Many(counts) => counts.0.capacity() * size_of::<u64>(),
        };
        size_of::<Self>() + buckets
    }

    /// Adds to the sum alone, for areas under a level, which are no distribution.
    pub fn add_to_sum(&mut self, more: i128) {
        self.sum += more;
    }

    fn add_to_bucket(&mut self, bucket: u32) {
        match &mut self.buckets {
            Buckets::Few(list) if list.len() < FEW => list.push(bucket),
            Buckets::Few(_) => self.many().add_at(bucket, 1),
            Buckets::Sorted(list) => match list.binary_search_by_key(&bucket, |known| known.number) {
                Ok(place) if list[place].count < u32::MAX => list[place].count += 1,
                Err(place) if list.len() < SORTED => list.insert(place, Bucket { number: bucket, count: 1 }),
                Ok(_) | Err(_) => self.many().add_at(bucket, 1),
            },
            Buckets::Many(counts) => counts.add_at(bucket, 1),
        }
    }

    /// Adds to many buckets, ascending, each once.
    fn add_sorted(&mut self, others: &[Bucket]) {
        debug_assert!(others.is_sorted_by(|a, b| a.number < b.number), "ascending, each once");
        if others.is_empty() {
            return;
        }
        if let Buckets::Few(list) = &self.buckets {
            self.buckets = Buckets::Sorted(counted(list));
        }
        if let Buckets::Sorted(list) = &mut self.buckets {
            let merged = if list.is_empty() { Some(others.to_vec()) } else { merged(list, others) };
            if let Some(merged) = merged.filter(|merged| merged.len() <= SORTED) {
                *list = merged;
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
            Buckets::Sorted(list) => self.add_sorted(list),
            Buckets::Many(counts) => self.many().add(counts, bucket_of(other.min) as usize),
        }
    }

    /// The counts, in a list from now on.
    fn many(&mut self) -> &mut Counts {
        let mut counts = Counts::default();
        match &self.buckets {
            Buckets::Few(list) => list.iter().for_each(|known| counts.add_at(*known, 1)),
            // The greatest first, so that there is room for all.
            Buckets::Sorted(list) => {
                list.iter().rev().for_each(|known| counts.add_at(known.number, known.count.into()));
            }
            Buckets::Many(_) => {}
        }
        if !matches!(self.buckets, Buckets::Many(_)) {
            self.buckets = Buckets::Many(counts);
        }
        match &mut self.buckets {
            Buckets::Many(counts) => counts,
            Buckets::Few(_) | Buckets::Sorted(_) => unreachable!("it was made one above"),
        }
    }

    /// Adds values that are summed up: their count, sum, least and greatest, and the buckets they fill, ascending, each once and none
    /// beyond that of [`GREATEST`].
    pub fn merge_summed(&mut self, count: u64, sum: i128, range: Option<(i64, i64)>, buckets: &[Bucket]) {
        self.count += count;
        self.sum += sum;
        if let Some((min, max)) = range {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
        }
        self.add_sorted(buckets);
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
        let mut sorted: Vec<Bucket> = Vec::new();
        for (number, count) in buckets {
            let number = number.min(last);
            match u32::try_from(count) {
                Ok(count) if sorted.last().is_none_or(|before| before.number < number) => {
                    sorted.push(Bucket { number, count });
                }
                _ => self.many().add_at(number, count),
            }
        }
        self.add_sorted(&sorted);
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
    pub fn filled_buckets(&self) -> impl Iterator<Item = (u32, u64)> {
        let (few, many) = match &self.buckets {
            Buckets::Few(list) => (counted(list), &[][..]),
            Buckets::Sorted(list) => (list.clone(), &[][..]),
            Buckets::Many(counts) => (Vec::new(), counts.0.as_slice()),
        };
        // None is before that of the least value.
        let first = bucket_of(self.min).min(u32::try_from(many.len()).unwrap_or(u32::MAX));
        let many = (first..).zip(&many[first as usize..]).filter(|(_, count)| **count > 0);
        let few = few.into_iter().map(|bucket| (bucket.number, bucket.count.into()));
        few.chain(many.map(|(bucket, count)| (bucket, *count)))
    }

    /// The value at the nearest rank, `ceil(percent / 100 × count)` and at least 1; `None` when there is no value.
    ///
    /// Never below the exact one, and above it by at most [`RELATIVE_ERROR`].
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<i64> {
        let rank = percentile.rank(self.count)?;
        let bucket = match &self.buckets {
            Buckets::Few(list) => {
                let mut few = [0; FEW];
                let few = &mut few[..list.len()];
                few.copy_from_slice(list);
                let place = usize::try_from(rank - 1).ok().filter(|place| *place < few.len());
                place.map(|place| *few.select_nth_unstable(place).1)
            }
            Buckets::Sorted(list) => {
                let mut before = 0;
                let reaches = |bucket: &&Bucket| {
                    before += u64::from(bucket.count);
                    before >= rank
                };
                list.iter().find(reaches).map(|bucket| bucket.number)
            }
            Buckets::Many(counts) => counts.bucket_at(bucket_of(self.min), rank),
        };
        Some(bucket.map_or(self.max, |bucket| greatest_in(bucket).max(self.min).min(self.max)))
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

/// The buckets in a short list and how often each stands there, ascending.
fn counted(list: &[u32]) -> Vec<Bucket> {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let count = |same: &[u32]| u32::try_from(same.len()).expect("a short list");
    sorted.chunk_by(u32::eq).map(|same| Bucket { number: same[0], count: count(same) }).collect()
}

/// Two ascending lists as one; `None` where a bucket has more values than a list can say.
fn merged(ours: &[Bucket], theirs: &[Bucket]) -> Option<Vec<Bucket>> {
    let mut merged = Vec::with_capacity(ours.len() + theirs.len());
    let (mut our, mut their, mut is_too_much) = (0, 0, false);
    // Which list the next is from cannot be foretold: nothing here depends on it but numbers.
    while let (Some(a), Some(b)) = (ours.get(our), theirs.get(their)) {
        let (is_ours, is_theirs) = (a.number <= b.number, b.number <= a.number);
        let (count, has_too_many) = (a.count * u32::from(is_ours)).overflowing_add(b.count * u32::from(is_theirs));
        merged.push(Bucket { number: a.number.min(b.number), count });
        is_too_much |= has_too_many;
        our += usize::from(is_ours);
        their += usize::from(is_theirs);
    }
    merged.extend_from_slice(&ours[our..]);
    merged.extend_from_slice(&theirs[their..]);
    (!is_too_much).then_some(merged)
}

/// How many values are in each bucket, from the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Counts(Vec<u64>);

impl Counts {
    #[inline]
    fn add_at(&mut self, bucket: u32, count: u64) {
        let bucket = bucket as usize;
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

    /// The bucket of the value with a rank, where none is in a bucket before `first`.
    fn bucket_at(&self, first: u32, rank: u64) -> Option<u32> {
        // Added up many at a time, as the machine does it best.
        const TOGETHER: usize = 64;
        let mut before = 0;
        for (number, together) in self.0.chunks(TOGETHER).enumerate().skip(first as usize / TOGETHER) {
            let upto = before + together.iter().sum::<u64>();
            if upto >= rank {
                let reaches = |count: &u64| {
                    before += count;
                    before >= rank
                };
                return together
                    .iter()
                    .position(reaches)
                    .and_then(|place| u32::try_from(number * TOGETHER + place).ok());
            }
            before = upto;
        }
        None
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
        // 99.9 / 100 × 1,000 is a little more than 999 in binary: round such dust off before rounding up.
        let exact = self.0 * count as f64 / 100.0;
        let rank = if (exact - exact.round()).abs() < 1e-9 * exact.max(1.0) { exact.round() } else { exact.ceil() };
        (count > 0).then(|| (rank as u64).clamp(1, count))
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
                let buckets = it.filled_buckets().map(|(bucket, count)| (bucket, count * times));
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
