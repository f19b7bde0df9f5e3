//! Matmul: activations by one weight matrix.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::quantize::{ensure_blocks, ensure_plain};
use super::{ensure, ensure_positive};
use crate::error::{Error, Result};
use crate::format::{Format, Quantization};

/// `y[m, n] = round(Σ_k a[m, k] · w[n, k] + bias[n])`.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `a` | input | `input` | `[m, k]` |
/// | `bias` | input, if `bias` | F32 | `[n]` |
/// | `y` | output | `output` | `[m, n]` |
///
/// Weights: one, `[n, k]` of format `weight`.
///
/// The activation scheme is part of the operator, because schemes give different numbers: with `activation.format`
/// BF16 it is W4A16 (for MXFP4 weights), with MXFP8 or MXINT8 W4A8, with MXFP4 W4A4. Activations arrive as BF16 and
/// are quantized as `activation` says before they are multiplied, or arrive in `activation.format` already. The sum
/// is rounded once, to nearest even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matmul {
    /// The most rows of a run.
    pub m: usize,
    /// Output columns.
    pub n: usize,
    /// Columns along which is summed.
    pub k: usize,
    /// BF16, or `activation.format`.
    pub input: Format,
    /// The weights' format: a block-scaled one, or BF16.
    pub weight: Format,
    /// F32, BF16 or F16.
    pub output: Format,
    /// Whether a bias is added.
    pub bias: bool,
    /// What is multiplied: the scheme.
    pub activation: Quantization,
}

impl Matmul {
    /// A product with MXFP4 weights, BF16 input, F32 output and no bias.
    pub fn mxfp4(m: usize, n: usize, k: usize, activation: Quantization) -> Self {
        Self {
            m,
            n,
            k,
            input: Format::Bf16,
            weight: Format::Mxfp4,
            output: Format::F32,
            bias: false,
            activation,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("m", self.m), ("n", self.n), ("k", self.k)])?;
        ensure_scheme("activation", &self.activation)?;
        ensure(self.input == Format::Bf16 || self.input == self.activation.format, || {
            format!("input is {}; it is bf16, or {} as the activation", self.input, self.activation.format)
        })?;
        ensure_weight("weight", self.weight)?;
        ensure_plain("output", self.output)?;
        ensure_blocks("k", self.k, self.activation.format)?;
        ensure_blocks("k", self.k, self.weight)
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.m
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        vec![
            Argument::input("a", self.input, &[Extent::PerRow(1), Extent::Fixed(self.k)]),
            Argument::input("bias", Format::F32, &[Extent::Fixed(self.n)]).when(self.bias),
            Argument::output("y", self.output, &[Extent::PerRow(1), Extent::Fixed(self.n)]),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        vec![WeightsDesc {
            format: self.weight,
            groups: 1,
            n: self.n,
            k: self.k,
            activation: self.activation.format,
        }]
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows)
            .with_flops(2 * rows * self.n * self.k)
            .with_weights(self.weights()[0].bytes(1))
    }
}

/// An activation scheme: a row quantization, or BF16 for none.
pub(super) fn ensure_scheme(name: &str, activation: &Quantization) -> Result<()> {
    activation.validate().map_err(|error| Error::invalid(format!("{name}: {error}")))?;
    ensure(activation.format == Format::Bf16 || activation.format.is_row_quantized(), || {
        format!(
            "{name}.format is {}; it is bf16, mxfp8, mxfp8-g128, mxint8, mxfp4 or nvfp4",
            activation.format
        )
    })
}

pub(super) fn ensure_weight(name: &str, format: Format) -> Result<()> {
    ensure(format.is_block_scaled() || format == Format::Bf16, || {
        format!("{name} is {format}; it is a format with scales, such as mxfp4, or bf16")
    })
}
