//! The canonical workload: response times as contact centres have them, and facts of them.

use deskpulse_core::dimension::Dimension;
use deskpulse_core::fact::{Anchor, Clock, Fact, Measure, Weight};
use deskpulse_core::series::{DimensionValues, Names};
use deskpulse_core::time::Timestamp;

use crate::workload::Random;

pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const TEAMS: usize = 8;

/// Milliseconds, lognormal around 90 s with a sigma of 1.5, from 1 ms to 30 days.
pub(crate) fn response_times(count: usize) -> Vec<i64> {
    let mut random = Random::new();
    let mut unit = move || (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut time = || {
        // Box and Muller: two even numbers make a normal one.
        let (radius, angle) = ((-2.0 * (1.0 - unit()).ln()).sqrt(), std::f64::consts::TAU * unit());
        let ms = 90_000.0 * (1.5 * radius * angle.cos()).exp();
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 30 days")]
        let ms = ms.clamp(1.0, 30.0 * DAY_MS as f64) as i64;
        ms
    };
    (0..count).map(|_| time()).collect()
}

/// First responses in the order of time, spread over days and over the series of channels and [`TEAMS`] teams.
pub(crate) fn facts(names: &Names, count: usize, days: u32, series_count: usize) -> Vec<Fact> {
    let series: Vec<_> = (0..series_count)
        .map(|n| {
            let mut values = DimensionValues::default();
            values.set(&Dimension::Channel, Some(names.symbol(&format!("channel {}", n / TEAMS))));
            values.set(&Dimension::Team, Some(names.symbol(&format!("team {}", n % TEAMS))));
            names.series(&values)
        })
        .collect();
    let mut random = Random::new();
    let mut fact = |value| Fact {
        measure: Measure::FirstResponse,
        anchor: Anchor::Completion,
        clock: Clock::Calendar,
        at: Timestamp::clamped(i64::from(random.below(days)) * DAY_MS + i64::from(random.below(86_400_000))),
        series: series[random.below(u32::try_from(series_count).expect("few")) as usize],
        value,
        weight: Weight::Plus,
    };
    let mut facts: Vec<Fact> = response_times(count).into_iter().map(&mut fact).collect();
    facts.sort_by_key(|fact| fact.at);
    facts
}
