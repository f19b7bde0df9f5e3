//! Route: router logits to expert ids and weights.

use core::fmt;

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::{ensure, ensure_positive};
use crate::error::Result;
use crate::format::Format;

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Score {
    /// `exp(z) / Σ exp(z)` over all experts.
    Softmax = 1,
    /// `1 / (1 + exp(−z))`.
    Sigmoid = 2,
    /// `sqrt(ln(1 + exp(z)))`: DeepSeek V4.
    SqrtSoftplus = 3,
    /// Experts are chosen by their logits, and softmax runs over the chosen: gpt-oss.
    SoftmaxOfChosen = 4,
}

impl Score {
    /// The function with this number in the C header, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Softmax),
            2 => Some(Self::Sigmoid),
            3 => Some(Self::SqrtSoftplus),
            4 => Some(Self::SoftmaxOfChosen),
            _ => None,
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::SqrtSoftplus => "sqrt-softplus",
            Self::SoftmaxOfChosen => "softmax-of-chosen",
        })
    }
}

/// Scores every expert, chooses `top_k` of them and weighs those.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `logits` | input | F32 | `[tokens, experts]` |
/// | `bias` | input, if `bias` | F32 | `[experts]`: added to the score for the choice alone |
/// | `ids_given` | input, if `ids_given` | I32 | `[tokens, top_k]`: the choice is made already |
/// | `ids` | output | I32 | `[tokens, top_k]`, by descending score, the lower id first on a tie |
/// | `weights` | output | F32 | `[tokens, top_k]` |
///
/// The weights are the scores without bias, divided by their sum if `renormalize`, times `scale`. With `ids_given`
/// the ids are copied to the output in their order. For [`Score::SoftmaxOfChosen`] the choice is by logit (plus bias)
/// and the weights are the softmax over the chosen logits. Relative error of a weight at most 2^-18.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// The most tokens of a run.
    pub tokens: usize,
    /// Experts that are scored.
    pub experts: usize,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// The score.
    pub score: Score,
    /// Whether a bias steers the choice.
    pub bias: bool,
    /// Whether the ids are given.
    pub ids_given: bool,
    /// Whether the weights of a token are divided by their sum.
    pub renormalize: bool,
    /// What the weights are multiplied by in the end: DeepSeek's `routed_scaling_factor`, else 1.
    pub scale: f32,
}

impl Route {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("tokens", self.tokens), ("experts", self.experts), ("top_k", self.top_k)])?;
        ensure(self.top_k <= self.experts, || {
            format!("top_k is {}; there are {} experts", self.top_k, self.experts)
        })?;
        ensure(self.scale.is_finite(), || format!("scale is {}; it is finite", self.scale))?;
        ensure(!(self.bias && self.ids_given), || {
            "bias and ids_given exclude each other: a bias steers the choice, and the choice is given"
                .to_owned()
        })
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.tokens
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let chosen = [Extent::PerRow(1), Extent::Fixed(self.top_k)];
        vec![
            Argument::input("logits", Format::F32, &[Extent::PerRow(1), Extent::Fixed(self.experts)]),
            Argument::input("bias", Format::F32, &[Extent::Fixed(self.experts)]).when(self.bias),
            Argument::input("ids_given", Format::I32, &chosen).when(self.ids_given),
            Argument::output("ids", Format::I32, &chosen),
            Argument::output("weights", Format::F32, &chosen),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows).with_flops(4 * rows * self.experts)
    }
}
