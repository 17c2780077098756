//! What all benches share: one seed, and how much work a run does.

/// The seed of every workload.
pub(crate) const SEED: u64 = 0x6465_736b_7075_6c73;

/// `full` under `cargo bench`, `quick` under `cargo test`, which only asks whether a bench still runs.
pub(crate) fn sized<T>(full: T, quick: T) -> T {
    if std::env::args().any(|argument| argument == "--bench") { full } else { quick }
}

/// A small generator of pseudo-random numbers (splitmix64), so that every run has the same workload.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(SEED)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).expect("below a u32")
    }
}
