//! Dequantize: rows of blocks to rows of floats.

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::quantize::{ensure_blocks, ensure_plain};
use super::{ensure, ensure_positive};
use crate::error::Result;
use crate::format::Format;

/// Multiplies each element by its scale, and rounds once to the output's format.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `x` | input | `from` | `[rows, k]`, with scales, and for NVFP4 one factor or one a row |
/// | `y` | output | `output` | `[rows, k]` |
///
/// A NaN scale makes its elements NaN; a value too large for the output is infinite. The value of an NVFP4 element
/// is `f32(f32(e2m1 · e4m3) · s)` before the last rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dequantize {
    /// The most rows of a run.
    pub rows: usize,
    /// Columns: a multiple of the format's block (32, or 16 for NVFP4; any number for tiles).
    pub k: usize,
    /// A block-scaled format.
    pub from: Format,
    /// F32, BF16 or F16.
    pub output: Format,
}

impl Dequantize {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("rows", self.rows), ("k", self.k)])?;
        ensure(self.from.is_block_scaled(), || {
            format!("from is {}; it is a format with scales, such as mxfp4", self.from)
        })?;
        ensure_plain("output", self.output)?;
        ensure_blocks("k", self.k, self.from)
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.rows
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        let shape = [Extent::PerRow(1), Extent::Fixed(self.k)];
        vec![Argument::input("x", self.from, &shape), Argument::output("y", self.output, &shape)]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows).with_flops(rows * self.k)
    }
}
