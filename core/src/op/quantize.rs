//! Quantize: rows of floats to rows of blocks.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::{ensure, ensure_positive};
use crate::error::{Error, Result};
use crate::format::{Format, Quantization};

/// Rounds each block of a row to a scale and elements.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `x` | input | `input` | `[rows, k]` |
/// | `y` | output | `to.format` | `[rows, k]`, with scales, and for NVFP4 a factor a row |
///
/// One right answer: see [`quantize_row`](crate::format::quantize_row) for the rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantize {
    /// The most rows of a run.
    pub rows: usize,
    /// Columns: a multiple of the format's block (32, or 16 for NVFP4).
    pub k: usize,
    /// F32, BF16 or F16.
    pub input: Format,
    /// Format, scale rule and floor on amax.
    pub to: Quantization,
}

impl Quantize {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("rows", self.rows), ("k", self.k)])?;
        ensure_plain("input", self.input)?;
        self.to.validate().map_err(|error| Error::invalid(error.to_string()))?;
        ensure(!self.to.is_none(), || {
            format!("to.format is {}; it is one that has scales by row, such as mxfp4", self.to.format)
        })?;
        ensure_blocks("k", self.k, self.to.format)
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.rows
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let shape = [Extent::PerRow(1), Extent::Fixed(self.k)];
        vec![Argument::input("x", self.input, &shape), Argument::output("y", self.to.format, &shape)]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows).with_flops(rows * self.k)
    }
}

pub(super) fn ensure_plain(name: &str, format: Format) -> Result<()> {
    ensure(format.is_plain_float(), || format!("{name} is {format}; it is f32, bf16 or f16"))
}

pub(super) fn ensure_blocks(name: &str, columns: usize, format: Format) -> Result<()> {
    let multiple = format.column_multiple();
    ensure(columns.is_multiple_of(multiple), || {
        format!("{name} is {columns}; {format} wants a multiple of {multiple}")
    })
}
