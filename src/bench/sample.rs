//! Clocks, and what many samples come to.

use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What time is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Clock {
    /// The one on the wall
    Wall,
    /// The time that the calling thread has spent on a processor: what other programs take of it does not count
    Thread,
}

impl Clock {
    /// Seconds since some point in the past.
    pub(super) fn now(self) -> f64 {
        let time = clock_gettime(match self {
            Self::Wall => ClockId::Monotonic,
            Self::Thread => ClockId::ThreadCPUTime,
        });
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
}

/// A median with its neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Spread {
    /// Half of the samples are below.
    pub(crate) median: f64,
    /// The 5th percentile.
    pub(crate) p5: f64,
    /// The 95th percentile.
    pub(crate) p95: f64,
}

impl Spread {
    /// Of at least one sample.
    pub(super) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        Self {
            median: percentile(&samples, 0.5),
            p5: percentile(&samples, 0.05),
            p95: percentile(&samples, 0.95),
        }
    }
}

/// The median of at least one sample.
pub(super) fn median(samples: &[f64]) -> f64 {
    Spread::of(samples.to_vec()).median
}

/// Between the two samples that are nearest, in proportion; NaN where there is none.
fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = fraction * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_samples() {
        let spread = Spread::of((0..=100).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { median: 50.0, p5: 5.0, p95: 95.0 });
        assert_eq!(Spread::of(vec![1.0, 3.0]).median, 2.0);
        assert_eq!(Spread::of(vec![7.0]), Spread { median: 7.0, p5: 7.0, p95: 7.0 });
    }

    #[test]
    fn clocks_go_on() {
        for clock in [Clock::Wall, Clock::Thread] {
            let start = clock.now();
            let mut turns = 0_u64;
            while clock.now() <= start {
                turns += 1;
            }
            assert!(clock.now() > start, "{turns}");
        }
    }
}
