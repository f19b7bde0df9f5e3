//! Route: scores, the best of them, and their weights, in float64.
//!
//! A NaN ranks above every number, and a lower id above a higher one with the same score. Given ids that are no
//! expert's get weight 0 and count for nothing.

use mxhal_core::Result;
use mxhal_core::op::{Route, Score};

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::score::number;
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for Route {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        Scratch::<i64>::room(&shared.pool, scratch_numbers(self))
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
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_numbers(self))?;
        let bias = bias.as_ref().map(|bias| bias.row(0).data());
        let kernels = &shared.kernels.rows;
        shared.pool.rows(
            logits.rows(),
            8 * self.experts,
            [&mut ids, &mut weights],
            &mut scratch,
            |scratch, token, [mut ids, mut weights]| {
                let (scores, rest) = scratch.split_at_mut(self.experts);
                let (keys, rest) = rest.split_at_mut(self.experts);
                let chosen = &mut rest[..self.top_k];
                (kernels.score)(self.score, logits.row(token).data(), scores);
                match &given {
                    None => (kernels.choose)(scores, bias, keys, chosen),
                    Some(given) => {
                        for (chosen, id) in chosen.iter_mut().zip(given.row(token).integers()) {
                            *chosen = id.into();
                        }
                    }
                }
                let score = |id: i64| usize::try_from(id).ok().and_then(|id| scores.get(id));
                let weigh = Weigh::new(self, chosen.iter().map(|id| score(*id).copied()));
                for (slot, id) in chosen.iter().enumerate() {
                    // It was an i32, or is below the number of experts, as many as the ids of the output can tell apart.
                    ids.set_integer(slot, *id as i32);
                    weights.set_float(slot, score(*id).map_or(0.0, |score| weigh.weight(*score)));
                }
            },
        );
        Ok(())
    }
}

/// The scores of all experts, what they are ordered by, and the chosen ones.
fn scratch_numbers(op: &Route) -> usize {
    op.experts.saturating_mul(2).saturating_add(op.top_k)
}

/// From the scores of a token's experts to their weights.
struct Weigh {
    /// For [`Score::SoftmaxOfChosen`] the greatest logit, and the sum of the exponentials.
    softmax: Option<[f64; 2]>,
    sum: f64,
    scale: f64,
}

impl Weigh {
    /// Of the chosen; `None` for one that is no expert, which adds nothing to a sum.
    fn new(op: &Route, chosen: impl Iterator<Item = Option<i64>> + Clone) -> Self {
        let mut weigh = Self { softmax: None, sum: 1.0, scale: op.scale.into() };
        let chosen = chosen.flatten().map(number);
        if op.score == Score::SoftmaxOfChosen {
            let max = chosen.clone().fold(f64::NEG_INFINITY, f64::max);
            weigh.softmax = Some([max, chosen.clone().map(|logit| (logit - max).exp()).sum()]);
        }
        if op.renormalize {
            weigh.sum = chosen.map(|score| weigh.score(score)).sum();
        }
        weigh
    }

    fn score(&self, score: f64) -> f64 {
        self.softmax.map_or(score, |[max, sum]| (score - max).exp() / sum)
    }

    fn weight(&self, score: i64) -> f32 {
        (self.score(number(score)) / self.sum * self.scale) as f32
    }
}
