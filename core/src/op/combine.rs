//! Combine: rows in order of expert back to tokens, weighted and summed.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::ensure_positive;
use super::quantize::ensure_plain;
use crate::error::Result;
use crate::format::Format;

/// `y[t] = round(Σ_slot weights[t, slot] · rows[positions[t, slot]] + addend[t])`, summed in float32.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `rows` | input | `input` | `[tokens · top_k, columns]` |
/// | `positions` | input | I32 | `[tokens, top_k]`, as [`Permute`](crate::op::Permute) gives; −1 is skipped |
/// | `weights` | input, if `weighted` | F32 | `[tokens, top_k]`; else every weight is 1 |
/// | `addend` | input, if `addend` | that | `[tokens, columns]`: the shared expert's output |
/// | `y` | output | `output` | `[tokens, columns]` |
///
/// Bounded tier with K = `top_k`, one more with an addend. A backend that declares
/// [`Properties::slot_order`](crate::Properties) multiplies and adds in float32 in order of slot, the addend last, and
/// is held to those bits. A token all of whose slots are skipped gets the addend, or zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combine {
    /// The most tokens of a run.
    pub tokens: usize,
    /// Columns of a row.
    pub columns: usize,
    /// Slots of a token.
    pub top_k: usize,
    /// F32, BF16 or F16.
    pub input: Format,
    /// F32, BF16 or F16.
    pub output: Format,
    /// Whether rows are multiplied by routing weights.
    pub weighted: bool,
    /// The format of what is added, if anything: F32, BF16 or F16.
    pub addend: Option<Format>,
}

impl Combine {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("tokens", self.tokens), ("columns", self.columns), ("top_k", self.top_k)])?;
        ensure_positive(&[("tokens · top_k", self.tokens.saturating_mul(self.top_k))])?;
        ensure_plain("input", self.input)?;
        ensure_plain("output", self.output)?;
        ensure_plain("addend", self.addend.unwrap_or(Format::F32))
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.tokens
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let slots = [Extent::PerRow(1), Extent::Fixed(self.top_k)];
        let tokens = [Extent::PerRow(1), Extent::Fixed(self.columns)];
        vec![
            Argument::input("rows", self.input, &[Extent::PerRow(self.top_k), Extent::Fixed(self.columns)]),
            Argument::input("positions", Format::I32, &slots),
            Argument::input("weights", Format::F32, &slots).when(self.weighted),
            Argument::input("addend", self.addend.unwrap_or(Format::F32), &tokens)
                .when(self.addend.is_some()),
            Argument::output("y", self.output, &tokens),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows).with_flops(2 * rows * self.top_k * self.columns)
    }
}
