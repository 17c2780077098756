//! Chance that a seed repeats.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// One number of the sequence, by its place.
pub(crate) fn mixed(place: u64) -> u64 {
    let mut z = place.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The generator of one of a seed's streams.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mixed(seed) ^ mixed(stream.wrapping_mul(STEP)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let next = mixed(self.0);
        self.0 = self.0.wrapping_add(STEP);
        next
    }

    /// From 0, inclusive, to 1, exclusive.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True as often as the share says.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A whole number, `from` included, `to` not.
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        from + whole(self.unit() * (to - from) as f64)
    }

    /// A real number.
    pub(crate) fn real(&mut self, from: f64, to: f64) -> f64 {
        from + self.unit() * (to - from)
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// Lognormal with the given median; sigma is that of the logarithm.
    pub(crate) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box and Muller.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        median * (sigma * radius * (std::f64::consts::TAU * self.unit()).cos()).exp()
    }

    /// Failures before the first success.
    pub(crate) fn geometric(&mut self, success: f64) -> i64 {
        whole((1.0 - self.unit()).ln() / (1.0 - success).ln())
    }
}

/// Cut off to a whole number.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and nothing here is that large")]
pub(crate) fn whole(value: f64) -> i64 {
    value as i64
}

/// Numbers from 0 on by their weights.
#[derive(Debug, Clone)]
pub(crate) struct Weights(Vec<f64>);

impl Weights {
    pub(crate) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        Self(weights.into_iter().map(|weight| (sum += weight, sum).1).collect())
    }

    /// `n` numbers, of which the k-th weighs k to the power of minus `exponent`.
    pub(crate) fn zipf(n: u16, exponent: f64) -> Self {
        Self::new((1..=n).map(|rank| f64::from(rank).powf(-exponent)))
    }

    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}
