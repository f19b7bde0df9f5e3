//! Number formats: what an element is, what a scale is, and how many bytes a row of them takes.
//!
//! | format | element | scale | value |
//! | --- | --- | --- | --- |
//! | [`Format::Mxfp4`] | E2M1, two a byte, the even index in the low nibble | E8M0 per 32 along K | `e2m1 · 2^(b−127)` |
//! | [`Format::Mxfp8`], [`Format::Mxfp8G128`] | E4M3 | E8M0 per 32, or per 128 | `e4m3 · 2^(b−127)` |
//! | [`Format::Mxint8`] | int8 / 64 | E8M0 per 32 | `i/64 · 2^(b−127)` |
//! | [`Format::Nvfp4`] | E2M1 | E4M3 per 16, and one float32 per tensor or row | `f32(f32(e2m1 · e4m3) · s)` |
//! | [`Format::Fp8Tile128`] | E4M3 | E8M0 per tile of 128×128 | `e4m3 · 2^(b−127)` |
//! | [`Format::Bf16`], [`Format::F16`], [`Format::F32`] | themselves | none | |
//!
//! Sources: OCP Microscaling Formats (MX) specification 1.0 for E2M1, E4M3, E8M0 and the MX blocks; DeepSeek V4's
//! published checkpoints for the nibble order, the 128-wide activation groups and the 128×128 tiles; NVIDIA's
//! NVFP4 for the last but one.
//!
//! The modules below encode and decode one element at a time, or one row; they are plain, portable code that a
//! backend may use, and that its fast paths are compared with.

pub mod bf16;
pub mod e2m1;
pub mod e4m3;
pub mod e8m0;
pub mod f16;
mod quantization;
mod row;
pub mod tile;

pub use quantization::{Quantization, QuantizationError, ScaleRule, UnknownScaleRule};
pub use row::{dequantize_row, quantize_row};

use core::fmt;
use core::str::FromStr;

/// The format of a tensor's elements, with that of its scales.
///
/// The numbers are those of `mxhal_format` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u32)]
pub enum Format {
    /// IEEE 754 binary32.
    F32 = 1,
    /// bfloat16: the upper half of a binary32.
    Bf16 = 2,
    /// IEEE 754 binary16.
    F16 = 3,
    /// 32-bit signed integers: expert ids and counts.
    I32 = 4,
    /// 64-bit signed integers.
    I64 = 5,
    /// Bytes.
    U8 = 6,
    /// E2M1 with an E8M0 scale per 32.
    Mxfp4 = 16,
    /// E4M3 with an E8M0 scale per 32.
    Mxfp8 = 17,
    /// E4M3 with an E8M0 scale per 128: DeepSeek's activations.
    Mxfp8G128 = 18,
    /// int8 / 64 with an E8M0 scale per 32.
    Mxint8 = 19,
    /// E2M1 with an E4M3 scale per 16 and a float32 factor per tensor or row.
    Nvfp4 = 20,
    /// E4M3 with an E8M0 scale per tile of 128 rows × 128 columns: DeepSeek's shared experts.
    Fp8Tile128 = 21,
}

/// How a block-scaled format keeps its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Rows that share a scale: 1, or 128 for tiles.
    pub rows: usize,
    /// Consecutive columns (along K) that share a scale.
    pub columns: usize,
}

impl Format {
    /// Every format, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::F32,
        Self::Bf16,
        Self::F16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::Mxfp4,
        Self::Mxfp8,
        Self::Mxfp8G128,
        Self::Mxint8,
        Self::Nvfp4,
        Self::Fp8Tile128,
    ];

    /// The format with this number in the C header, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| *format as u32 == number)
    }

    /// The name used in `config.toml`, on the command line and in reports: `mxfp8-g128`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8 => "mxfp8",
            Self::Mxfp8G128 => "mxfp8-g128",
            Self::Mxint8 => "mxint8",
            Self::Nvfp4 => "nvfp4",
            Self::Fp8Tile128 => "fp8-tile128",
        }
    }

    /// Bits of one element, its share of a scale not counted.
    pub const fn bits(self) -> usize {
        match self {
            Self::I64 => 64,
            Self::F32 | Self::I32 => 32,
            Self::Bf16 | Self::F16 => 16,
            Self::U8 | Self::Mxfp8 | Self::Mxfp8G128 | Self::Mxint8 | Self::Fp8Tile128 => 8,
            Self::Mxfp4 | Self::Nvfp4 => 4,
        }
    }

    /// Which elements share a scale; `None` for formats without scales.
    pub const fn blocks(self) -> Option<Blocks> {
        match self {
            Self::Mxfp4 | Self::Mxfp8 | Self::Mxint8 => Some(Blocks { rows: 1, columns: 32 }),
            Self::Mxfp8G128 => Some(Blocks { rows: 1, columns: 128 }),
            Self::Nvfp4 => Some(Blocks { rows: 1, columns: 16 }),
            Self::Fp8Tile128 => Some(Blocks { rows: 128, columns: 128 }),
            _ => None,
        }
    }

    /// Whether elements carry scales beside them.
    pub const fn is_block_scaled(self) -> bool {
        self.blocks().is_some()
    }

    /// Whether this is F32, BF16 or F16.
    pub const fn is_plain_float(self) -> bool {
        matches!(self, Self::F32 | Self::Bf16 | Self::F16)
    }

    /// Whether [`quantize_row`] can make it, and an activation may be quantized to it: the MX formats and NVFP4.
    pub const fn is_row_quantized(self) -> bool {
        matches!(self, Self::Mxfp4 | Self::Mxfp8 | Self::Mxfp8G128 | Self::Mxint8 | Self::Nvfp4)
    }

    /// What the number of columns must be a multiple of: 32 for the MX formats (also `mxfp8-g128`, whose last group
    /// of a row may be short), 16 for NVFP4, 1 elsewhere.
    pub const fn column_multiple(self) -> usize {
        match self {
            Self::Mxfp4 | Self::Mxfp8 | Self::Mxfp8G128 | Self::Mxint8 => 32,
            Self::Nvfp4 => 16,
            _ => 1,
        }
    }

    /// Bytes of the elements of one row of `columns`, which is a multiple of [`Self::column_multiple`].
    pub const fn row_bytes(self, columns: usize) -> usize {
        (columns * self.bits()).div_ceil(8)
    }

    /// Scales of one row of `columns` (of one row of tiles for [`Format::Fp8Tile128`]); 0 where there are none. A
    /// scale is one byte.
    pub const fn row_scales(self, columns: usize) -> usize {
        match self.blocks() {
            Some(blocks) => columns.div_ceil(blocks.columns),
            None => 0,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(
    /// What was given.
    pub String,
);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a format; the formats are ", self.0)?;
        for (index, format) in Format::ALL.into_iter().enumerate() {
            write!(f, "{}{format}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for format in Format::ALL {
            assert_eq!(Format::from_number(format as u32), Some(format));
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!(Format::from_number(7), None);
        assert!("mxfp5".parse::<Format>().unwrap_err().to_string().contains("mxfp8-g128"));
    }

    #[test]
    fn a_row_of_mxfp4_takes_four_and_a_quarter_bits_an_element() {
        assert_eq!(Format::Mxfp4.row_bytes(4096) + Format::Mxfp4.row_scales(4096), 4096 / 32 * 17);
        assert_eq!(Format::Mxfp8G128.row_scales(96), 1);
        assert_eq!(Format::Fp8Tile128.row_scales(300), 3);
    }
}
