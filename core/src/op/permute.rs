//! Permute: tokens to rows in order of expert.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::quantize::ensure_blocks;
use super::{ensure, ensure_positive};
use crate::error::Result;
use crate::format::Format;

/// Copies each token once for each of its experts, so that the rows of an expert lie together.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `x` | input | `format` | `[tokens, columns]` |
/// | `ids` | input | I32 | `[tokens, top_k]`; −1 for an expert that is not here |
/// | `weights` | input, if `weights` | F32 | `[tokens, top_k]` |
/// | `expert_map` | input, if `mapped` | I32 | `[mapped]`: from ids to local experts, −1 for none |
/// | `rows` | output | `format` | `[tokens · top_k, columns]` |
/// | `row_weights` | output, if `weights` | F32 | `[tokens · top_k]` |
/// | `counts` | output | I32 | `[experts]`: rows of each expert |
/// | `source` | output | I32 | `[tokens · top_k]`: the token · top_k + slot that a row came from; −1 past the last |
/// | `positions` | output | I32 | `[tokens, top_k]`: the row that a slot went to; −1 where it was skipped |
///
/// Rows are in order of expert, and within an expert in order of (token, slot). Rows and row weights past the last
/// are left as they were. An id outside `[−1, experts)` (or `[−1, mapped)`) is the caller's fault: it is skipped like
/// −1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Permute {
    /// The most tokens of a run.
    pub tokens: usize,
    /// Columns of a row.
    pub columns: usize,
    /// Experts here.
    pub experts: usize,
    /// Slots of a token.
    pub top_k: usize,
    /// F32, BF16, F16, or a format with scales by row, whose scales move with their rows.
    pub format: Format,
    /// Whether routing weights are permuted too.
    pub weights: bool,
    /// How many ids an expert map translates, if there is one.
    pub mapped: Option<usize>,
}

impl Permute {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[
            ("tokens", self.tokens),
            ("columns", self.columns),
            ("experts", self.experts),
            ("top_k", self.top_k),
            ("mapped", self.mapped.unwrap_or(1)),
        ])?;
        ensure_positive(&[("tokens · top_k", self.tokens.saturating_mul(self.top_k))])?;
        ensure(self.format.is_plain_float() || self.format.is_row_quantized(), || {
            format!("format is {}; it is f32, bf16, f16, or one with scales by row", self.format)
        })?;
        ensure_blocks("columns", self.columns, self.format)
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.tokens
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let slots = [Extent::PerRow(1), Extent::Fixed(self.top_k)];
        let rows = Extent::PerRow(self.top_k);
        vec![
            Argument::input("x", self.format, &[Extent::PerRow(1), Extent::Fixed(self.columns)]),
            Argument::input("ids", Format::I32, &slots),
            Argument::input("weights", Format::F32, &slots).when(self.weights),
            Argument::input("expert_map", Format::I32, &[Extent::Fixed(self.mapped.unwrap_or(1))])
                .when(self.mapped.is_some()),
            Argument::output("rows", self.format, &[rows, Extent::Fixed(self.columns)]),
            Argument::output("row_weights", Format::F32, &[rows]).when(self.weights),
            Argument::output("counts", Format::I32, &[Extent::Fixed(self.experts)]),
            Argument::output("source", Format::I32, &[rows]),
            Argument::output("positions", Format::I32, &slots),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows)
    }
}
