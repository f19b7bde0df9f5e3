//! GroupedMatmul: rows sorted by expert, each expert's by its own weight matrix.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::ensure_positive;
use super::matmul::Matmul;
use crate::error::Result;
use crate::format::Format;

/// As [`Matmul`] for each group's rows: `y[r, n] = round(Σ_k a[r, k] · w[g(r), n, k] + bias[g(r), n])`.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `a` | input | `each.input` | `[m, k]`, sorted by group |
/// | `counts` | input | I32 | `[groups]`: rows of each group, some of them 0 |
/// | `bias` | input, if `each.bias` | F32 | `[groups, n]` |
/// | `y` | output | `each.output` | `[m, n]` |
///
/// Weights: one, `[groups, n, k]`. The counts are on the device and not cumulative; none is negative, and they sum to
/// at most `m`. Rows beyond the last group are left as they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupedMatmul {
    /// The product of each group; `m` is the most rows of all groups together.
    pub each: Matmul,
    /// How many groups.
    pub groups: usize,
}

impl GroupedMatmul {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("groups", self.groups)])?;
        self.each.validate()
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.each.m
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let Matmul { n, k, input, output, bias, .. } = self.each;
        vec![
            Argument::input("a", input, &[Extent::PerRow(1), Extent::Fixed(k)]),
            Argument::input("counts", Format::I32, &[Extent::Fixed(self.groups)]),
            Argument::input("bias", Format::F32, &[Extent::Fixed(self.groups), Extent::Fixed(n)]).when(bias),
            Argument::output("y", output, &[Extent::PerRow(1), Extent::Fixed(n)]),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        self.each.weights().into_iter().map(|one| WeightsDesc { groups: self.groups, ..one }).collect()
    }

    pub(super) fn work(&self, rows: usize, touched: usize) -> Work {
        let touched = touched.min(self.groups).min(rows);
        let unused_bias = if self.each.bias { 4 * (self.groups - touched) * self.each.n } else { 0 };
        Work::of(&self.arguments(), rows)
            .without_read(unused_bias)
            .with_flops(2 * rows * self.each.n * self.each.k)
            .with_weights(self.weights()[0].bytes(touched))
    }
}
