//! Two reports: which differences are more than noise.
//!
//! What is compared is a case's time in each round, over the time that the machine's limit allowed in that round, where
//! both reports know it: a machine that is slower today is slower at both. Elsewhere it is the time itself. A case is
//! slower or faster only where the middle nine tenths of its rounds do not overlap with those of then, and the medians
//! are further apart than [`SAME`].

use std::collections::HashMap;

use super::report::{CaseReport, Report};
use super::sample::Spread;

/// What medians may differ by without meaning anything: code that is laid out anew in memory does as much.
const SAME: f64 = 0.03;

/// The fewest rounds that say anything about noise.
const FEWEST_ROUNDS: usize = 3;

/// A case in both reports.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// The case.
    pub(crate) name: String,
    pub(crate) threads: Option<usize>,
    /// The median of now over that of then: above 1 is slower.
    pub(crate) ratio: f64,
    /// Whether times were compared over the machine's limits.
    pub(crate) over_limit: bool,
    pub(crate) verdict: Verdict,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Less time, beyond the noise.
    Faster,
    /// More time, beyond the noise.
    Slower,
    /// No more apart than noise is.
    Same,
    /// Too few rounds to know the noise.
    Unknown,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Unknown => "unknown",
        }
    }
}

/// The cases that both reports have.
pub(crate) fn compare(then: &Report, now: &Report) -> Vec<Comparison> {
    let of_then: HashMap<(Option<usize>, &str), &CaseReport> = then
        .runs
        .iter()
        .flat_map(|run| run.cases.iter().map(|case| ((run.threads, case.name.as_str()), case)))
        .collect();
    let mut comparisons = Vec::new();
    for run in &now.runs {
        for case in &run.cases {
            let Some(then) = of_then.get(&(run.threads, case.name.as_str())) else { continue };
            if then.seconds.is_none() || case.seconds.is_none() {
                continue;
            }
            let over_limit = relative(then).is_some() && relative(case).is_some();
            let values = |case: &CaseReport| match relative(case).filter(|_| over_limit) {
                Some(values) => values,
                None => case.rounds.iter().map(|round| round.seconds).collect(),
            };
            let (then, now) = (values(then), values(case));
            comparisons.push(Comparison {
                name: case.name.clone(),
                threads: run.threads,
                over_limit,
                ratio: Spread::of(now.clone()).median / Spread::of(then.clone()).median,
                verdict: judge(then, now),
            });
        }
    }
    comparisons
}

/// The times of all rounds over what the limit allowed in each.
fn relative(case: &CaseReport) -> Option<Vec<f64>> {
    case.rounds
        .iter()
        .map(|round| round.fraction.filter(|f| *f > 0.0).map(|fraction| 1.0 / fraction))
        .collect()
}

fn judge(then: Vec<f64>, now: Vec<f64>) -> Verdict {
    if then.len().min(now.len()) < FEWEST_ROUNDS {
        return Verdict::Unknown;
    }
    let (then, now) = (Spread::of(then), Spread::of(now));
    if now.p5 > then.p95 && now.median > then.median * (1.0 + SAME) {
        return Verdict::Slower;
    }
    if now.p95 < then.p5 && then.median > now.median * (1.0 + SAME) {
        return Verdict::Faster;
    }
    Verdict::Same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Times with noise of so many parts in a hundred.
    fn rounds(seconds: f64, noise: f64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..9).map(|_| seconds * (1.0 + noise / 100.0 * f64::from(random.normal()))).collect()
    }

    #[test]
    fn noise_is_no_difference_and_a_difference_shows_where_noise_is_less() {
        for seed in 0..50 {
            let (a, b) = (2 * seed, 2 * seed + 1);
            assert_eq!(judge(rounds(1.0, 0.5, a), rounds(1.0, 0.5, b)), Verdict::Same);
            assert_eq!(judge(rounds(1.0, 0.5, a), rounds(1.1, 0.5, b)), Verdict::Slower);
            assert_eq!(judge(rounds(1.1, 0.5, a), rounds(1.0, 0.5, b)), Verdict::Faster);
            assert_eq!(judge(rounds(1.0, 30.0, a), rounds(1.1, 30.0, b)), Verdict::Same);
            // Apart, but by nothing that matters.
            assert_eq!(judge(rounds(1.0, 0.01, a), rounds(1.01, 0.01, b)), Verdict::Same);
        }
        assert_eq!(judge(vec![1.0, 1.0], vec![9.0, 9.0, 9.0]), Verdict::Unknown);
    }
}
