//! Route: scores, the best of them, and their weights, in float64.
//!
//! A NaN ranks above every number, and a lower id above a higher one with the same score. Given ids that are no
//! expert's get weight 0 and count for nothing.

use std::cmp::Ordering;

use mxhal_core::Result;
use mxhal_core::op::{Route, Score};

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::weights::CpuWeights;
use crate::workspace::{Plain, Workspace};

impl Execute for Route {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        Scratch::<Candidate>::room(&shared.pool, scratch_candidates(self))
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        _weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let logits = tensors.input(0, "logits")?;
        let bias = tensors.optional_input(1, "bias")?;
        let given = tensors.optional_input(2, "ids_given")?;
        let (mut ids, mut weights) = (tensors.output(3, "ids")?, tensors.output(4, "weights")?);
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_candidates(self))?;
        let outputs = [&mut ids, &mut weights];
        shared.pool.rows(
            logits.rows(),
            32 * self.experts,
            outputs,
            &mut scratch,
            |scratch, token, [mut ids, mut weights]| {
                let (candidates, chosen) = scratch.split_at_mut(self.experts);
                let chosen = &mut chosen[..self.top_k];
                let logits = logits.row(token);
                for ((id, logit), candidate) in (0..).zip(logits.floats()).zip(&mut *candidates) {
                    *candidate = Candidate { id, logit, score: f64::from(logit), key: 0.0 };
                }
                score(self.score, candidates);
                match &given {
                    Some(given) => take_given(candidates, given.row(token).integers(), chosen),
                    None => {
                        let bias = bias.as_ref().map(|bias| bias.row(0));
                        for candidate in &mut *candidates {
                            let bias = bias.as_ref().map_or(0.0, |bias| bias.float(candidate.id as usize));
                            candidate.key = candidate.score + f64::from(bias);
                        }
                        take_best(candidates, chosen);
                    }
                }
                weigh(self, chosen);
                for (slot, chosen) in chosen.iter().enumerate() {
                    let is_expert = usize::try_from(chosen.id).is_ok_and(|id| id < self.experts);
                    ids.set_integer(slot, chosen.id);
                    weights.set_float(slot, if is_expert { chosen.score as f32 } else { 0.0 });
                }
            },
        );
        Ok(())
    }
}

/// An expert that a token may go to.
#[derive(Clone, Copy)]
#[repr(C)]
struct Candidate {
    id: i32,
    logit: f32,
    /// In the end the weight.
    score: f64,
    /// What it is chosen by.
    key: f64,
}

// SAFETY: numbers, two of which make up the size of each of the others, so that there is no padding.
unsafe impl Plain for Candidate {}

impl Candidate {
    /// For an id that is no expert's: it adds nothing to a sum.
    const NOBODY: Self = Self { id: -1, logit: f32::NEG_INFINITY, score: 0.0, key: 0.0 };

    /// The better one first.
    fn rank(a: &Self, b: &Self) -> Ordering {
        let by_key = match (a.key.is_nan(), b.key.is_nan()) {
            (false, false) => b.key.partial_cmp(&a.key).unwrap_or(Ordering::Equal),
            (a, b) => b.cmp(&a),
        };
        by_key.then(a.id.cmp(&b.id))
    }
}

/// All experts, and the chosen ones.
fn scratch_candidates(op: &Route) -> usize {
    op.experts.saturating_add(op.top_k)
}

/// From logits to scores.
fn score(function: Score, candidates: &mut [Candidate]) {
    match function {
        Score::Softmax => softmax(candidates),
        Score::Sigmoid => each(candidates, |logit| 1.0 / (1.0 + (-logit).exp())),
        // As PyTorch's softplus, which is the identity above 20.
        Score::SqrtSoftplus => {
            each(candidates, |logit| if logit > 20.0 { logit } else { logit.exp().ln_1p() }.sqrt());
        }
        // The logits themselves choose.
        _ => {}
    }
}

/// The candidates with these ids.
fn take_given(candidates: &[Candidate], ids: impl Iterator<Item = i32>, chosen: &mut [Candidate]) {
    for (id, chosen) in ids.zip(chosen) {
        let found = usize::try_from(id).ok().and_then(|id| candidates.get(id));
        *chosen = found.copied().unwrap_or(Candidate { id, ..Candidate::NOBODY });
    }
}

/// The candidates with the greatest keys, in order; `candidates` are shuffled.
fn take_best(candidates: &mut [Candidate], chosen: &mut [Candidate]) {
    let top_k = chosen.len();
    if top_k < candidates.len() {
        candidates.select_nth_unstable_by(top_k, Candidate::rank);
    }
    chosen.copy_from_slice(&candidates[..top_k]);
    chosen.sort_unstable_by(Candidate::rank);
}

/// From the scores of the chosen to their weights.
fn weigh(op: &Route, chosen: &mut [Candidate]) {
    if op.score == Score::SoftmaxOfChosen {
        softmax(chosen);
    }
    let sum: f64 = if op.renormalize { chosen.iter().map(|chosen| chosen.score).sum() } else { 1.0 };
    let scale = f64::from(op.scale);
    chosen.iter_mut().for_each(|chosen| chosen.score = chosen.score / sum * scale);
}

fn softmax(candidates: &mut [Candidate]) {
    let max = candidates.iter().fold(f64::NEG_INFINITY, |max, candidate| max.max(candidate.logit.into()));
    each(candidates, |logit| (logit - max).exp());
    let sum: f64 = candidates.iter().map(|candidate| candidate.score).sum();
    candidates.iter_mut().for_each(|candidate| candidate.score /= sum);
}

fn each(candidates: &mut [Candidate], function: impl Fn(f64) -> f64) {
    candidates.iter_mut().for_each(|candidate| candidate.score = function(candidate.logit.into()));
}
