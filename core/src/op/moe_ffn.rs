//! MoeFfn: a whole feed-forward layer of experts.

use core::fmt;

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::matmul::{ensure_scheme, ensure_weight};
use super::quantize::{ensure_blocks, ensure_plain};
use super::swiglu::SwiGluForm;
use super::{ensure, ensure_positive};
use crate::error::Result;
use crate::format::{Format, Quantization};

/// Where the routing weight multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum WeightPosition {
    /// The SwiGLU's output, in float32, before it is rounded for the down projection: DeepSeek's own code.
    BeforeDown = 1,
    /// The down projection's output, in float32, when experts are summed: gpt-oss, and most engines.
    AfterDown = 2,
}

impl WeightPosition {
    /// The position with this number in the C header, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::BeforeDown),
            2 => Some(Self::AfterDown),
            _ => None,
        }
    }
}

impl fmt::Display for WeightPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BeforeDown => "before",
            Self::AfterDown => "after",
        })
    }
}

/// An expert that every token passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedExpert {
    /// Its inner columns.
    pub inner: usize,
    /// The format of its weights: FP8 tiles in DeepSeek V4.
    pub weight: Format,
    /// Whether its SwiGLU is clamped like the routed experts'. Implementations disagree; see
    /// `DeepSeek-V4-Flash/inference/model.py` (not) and `DeepSeek-V4-Pro` of July 2026, vLLM, SGLang (clamped).
    pub clamped: bool,
}

/// Gate and up, SwiGLU, down, for the chosen experts of each token, summed by weight; and a shared expert.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `x` | input | BF16 | `[tokens, hidden]` |
/// | `ids` | input | I32 | `[tokens, top_k]`; −1 for an expert that is not here |
/// | `weights` | input | F32 | `[tokens, top_k]` |
/// | `expert_map` | input, if `mapped` | I32 | `[mapped]`: from ids to local experts, −1 for none |
/// | `gate_up_bias` | input, if `bias` | F32 | `[experts, 2 · inner]` |
/// | `down_bias` | input, if `bias` | F32 | `[experts, hidden]` |
/// | `y` | output | `output` | `[tokens, hidden]` |
///
/// Weights: `gate_up` `[experts, 2 · inner, hidden]` and `down` `[experts, hidden, inner]` of format `weight`, and
/// with a shared expert `[1, 2 · shared.inner, hidden]` and `[1, hidden, shared.inner]` of its format. Gate rows come
/// before up rows, or alternate with them, as [`SwiGluForm::interleaved`] says.
///
/// The chain is that of DeepSeek's own inference code: the input quantized by `activation`; gate and up to BF16 (or
/// better: a fused backend may keep float32); SwiGLU and the routing weight in float32; BF16, quantized by
/// `activation` again; down to BF16 (or better); experts summed in float32 in order of slot; the shared expert added;
/// one rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoeFfn {
    /// The most tokens of a run.
    pub tokens: usize,
    /// Columns of a token.
    pub hidden: usize,
    /// Inner columns of an expert.
    pub inner: usize,
    /// Experts here.
    pub experts: usize,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// The format of the experts' weights.
    pub weight: Format,
    /// What is multiplied: the scheme, of both products.
    pub activation: Quantization,
    /// The gated activation.
    pub form: SwiGluForm,
    /// Where the routing weight multiplies.
    pub weight_position: WeightPosition,
    /// Whether both products have biases.
    pub bias: bool,
    /// F32, BF16 or F16.
    pub output: Format,
    /// How many ids an expert map translates, if there is one.
    pub mapped: Option<usize>,
    /// The expert that every token passes, if there is one.
    pub shared: Option<SharedExpert>,
}

impl MoeFfn {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[
            ("tokens", self.tokens),
            ("hidden", self.hidden),
            ("inner", self.inner),
            ("experts", self.experts),
            ("top_k", self.top_k),
            ("mapped", self.mapped.unwrap_or(1)),
            ("shared.inner", self.shared.map_or(1, |shared| shared.inner)),
        ])?;
        ensure_positive(&[("tokens · top_k", self.tokens.saturating_mul(self.top_k))])?;
        ensure_scheme("activation", &self.activation)?;
        ensure_weight("weight", self.weight)?;
        ensure_plain("output", self.output)?;
        self.form.validate()?;
        for format in [self.activation.format, self.weight] {
            ensure_blocks("hidden", self.hidden, format)?;
            ensure_blocks("inner", self.inner, format)?;
        }
        let Some(shared) = self.shared else { return Ok(()) };
        ensure_weight("shared.weight", shared.weight)?;
        ensure(!self.form.interleaved, || {
            "a shared expert goes with gate rows before up rows, not with alternating ones".to_owned()
        })?;
        for format in [self.activation.format, shared.weight] {
            ensure_blocks("shared.inner", shared.inner, format)?;
            ensure_blocks("hidden", self.hidden, format)?;
        }
        Ok(())
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.tokens
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let tokens = [Extent::PerRow(1), Extent::Fixed(self.hidden)];
        let slots = [Extent::PerRow(1), Extent::Fixed(self.top_k)];
        let of_experts = |columns| [Extent::Fixed(self.experts), Extent::Fixed(columns)];
        vec![
            Argument::input("x", Format::Bf16, &tokens),
            Argument::input("ids", Format::I32, &slots),
            Argument::input("weights", Format::F32, &slots),
            Argument::input("expert_map", Format::I32, &[Extent::Fixed(self.mapped.unwrap_or(1))])
                .when(self.mapped.is_some()),
            Argument::input("gate_up_bias", Format::F32, &of_experts(2 * self.inner)).when(self.bias),
            Argument::input("down_bias", Format::F32, &of_experts(self.hidden)).when(self.bias),
            Argument::output("y", self.output, &tokens),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        let pair = |format, groups, inner| {
            let activation = self.activation.format;
            [
                WeightsDesc { format, groups, n: 2 * inner, k: self.hidden, activation },
                WeightsDesc { format, groups, n: self.hidden, k: inner, activation },
            ]
        };
        let mut weights = pair(self.weight, self.experts, self.inner).to_vec();
        if let Some(shared) = self.shared {
            weights.extend(pair(shared.weight, 1, shared.inner));
        }
        weights
    }

    pub(super) fn work(&self, rows: usize, touched: usize) -> Work {
        let touched = touched.min(self.experts).min(rows * self.top_k);
        let weight_bytes = self
            .weights()
            .iter()
            .enumerate()
            .map(|(place, weights)| weights.bytes(if place < 2 { touched } else { usize::from(rows > 0) }))
            .sum();
        let inner = self.top_k * self.inner + self.shared.map_or(0, |shared| shared.inner);
        let unused_bias =
            if self.bias { 4 * (self.experts - touched) * (2 * self.inner + self.hidden) } else { 0 };
        Work::of(&self.arguments(), rows)
            .without_read(unused_bias)
            .with_flops(6 * rows * inner * self.hidden)
            .with_weights(weight_bytes)
    }
}
