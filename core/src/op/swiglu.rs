//! SwiGlu: the gated activation between an expert's matrices.

use core::fmt;

use super::argument::{Argument, Extent, WeightsDesc, Work};
use super::quantize::{ensure_blocks, ensure_plain};
use super::{ensure, ensure_positive};
use crate::error::{Error, Result};
use crate::format::{Format, Quantization};

/// Which function gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum SwiGluVariant {
    /// DeepSeek: `silu(min(g, L)) · clamp(u, −L, L)`.
    Silu = 1,
    /// gpt-oss: `(clamp(u, −L, L) + 1) · g · σ(α g)` with `g` at most L.
    GptOss = 2,
}

impl SwiGluVariant {
    /// The variant with this number in the C header, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Silu),
            2 => Some(Self::GptOss),
            _ => None,
        }
    }
}

impl fmt::Display for SwiGluVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Silu => "silu",
            Self::GptOss => "gpt-oss",
        })
    }
}

/// The function with its constants, and where gate and up lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwiGluForm {
    /// Which function.
    pub variant: SwiGluVariant,
    /// L; 0 for no clamp.
    pub limit: f32,
    /// α of the gpt-oss variant; 0 for the other.
    pub alpha: f32,
    /// Whether columns alternate gate, up, gate, up; else all gates come before all ups.
    pub interleaved: bool,
}

impl SwiGluForm {
    /// DeepSeek's, gate before up.
    pub const fn silu(limit: f32) -> Self {
        Self { variant: SwiGluVariant::Silu, limit, alpha: 0.0, interleaved: false }
    }

    /// gpt-oss's, gate and up alternating: α is 1.702.
    pub const fn gpt_oss(limit: f32) -> Self {
        Self { variant: SwiGluVariant::GptOss, limit, alpha: 1.702, interleaved: true }
    }

    pub(super) fn validate(&self) -> Result<()> {
        ensure(self.limit.is_finite() && self.limit >= 0.0, || {
            format!("limit is {}; it is finite and at least 0 (0 for no clamp)", self.limit)
        })?;
        match self.variant {
            SwiGluVariant::Silu => {
                ensure(self.alpha == 0.0, || format!("alpha is {}; the silu variant has none: 0", self.alpha))
            }
            SwiGluVariant::GptOss => ensure(self.alpha.is_finite(), || {
                format!("alpha is {}; it is finite (gpt-oss: 1.702)", self.alpha)
            }),
        }
    }
}

/// Gate and up to one row, in float32, weighted if asked, then rounded.
///
/// | tensor | role | format | shape |
/// | --- | --- | --- | --- |
/// | `x` | input | `input` | `[rows, 2n]`: gate and up, see [`SwiGluForm::interleaved`] |
/// | `row_weights` | input, if `row_weights` | F32 | `[rows]`: multiplies the row before rounding |
/// | `y` | output | `to.format` | `[rows, n]` |
///
/// With a block-scaled `to` the value is rounded to BF16 first and then quantized, as DeepSeek's inference code does.
/// Relative error at most 2^-20 before rounding, or 2^-126 absolute. A NaN among gate and up stays one, with a limit
/// too. Of a gate of -infinity, where the formula gives NaN and its limit is 0, nothing is demanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwiGlu {
    /// The most rows of a run.
    pub rows: usize,
    /// Output columns.
    pub n: usize,
    /// The function.
    pub form: SwiGluForm,
    /// F32, BF16 or F16.
    pub input: Format,
    /// Whether each row is multiplied by a weight.
    pub row_weights: bool,
    /// F32, BF16, F16, or a quantization.
    pub to: Quantization,
}

impl SwiGlu {
    pub(super) fn validate(&self) -> Result<()> {
        ensure_positive(&[("rows", self.rows), ("n", self.n)])?;
        self.form.validate()?;
        ensure_plain("input", self.input)?;
        self.to.validate().map_err(|error| Error::invalid(format!("to: {error}")))?;
        ensure_blocks("n", self.n, self.to.format)
    }

    pub(super) const fn max_rows(&self) -> usize {
        self.rows
    }

    pub(super) fn arguments(&self) -> Vec<Argument> {
        vec![
            Argument::input("x", self.input, &[Extent::PerRow(1), Extent::Fixed(2 * self.n)]),
            Argument::input("row_weights", Format::F32, &[Extent::PerRow(1)]).when(self.row_weights),
            Argument::output("y", self.to.format, &[Extent::PerRow(1), Extent::Fixed(self.n)]),
        ]
    }

    pub(super) fn weights(&self) -> Vec<WeightsDesc> {
        Vec::new()
    }

    pub(super) fn work(&self, rows: usize) -> Work {
        Work::of(&self.arguments(), rows).with_flops(4 * rows * self.n)
    }
}
