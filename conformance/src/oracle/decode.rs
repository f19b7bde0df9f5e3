//! Whole tensors: from the bytes of the canonical layout to values.
//!
//! The canonical layout is that of the checkpoints: elements row-major, two E2M1 codes a byte with the even column in
//! the low nibble, floats little-endian; scales row-major, one byte a block.

use super::format::{Float, bf16, e2m1, e4m3, e8m0, f16, f32_bits, int8};
use super::{Error, Format, Matrix, expect_size};

/// A tensor of two dimensions as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The format of the elements, with that of the scales.
    pub format: Format,
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// The elements.
    pub data: &'a [u8],
    /// The scales; empty where the format has none.
    pub scales: &'a [u8],
    /// NVFP4: one factor for the tensor, or one for each row. Empty elsewhere.
    pub factors: &'a [f32],
}

impl Encoded<'_> {
    /// Whether the slices have the sizes that the format asks for.
    ///
    /// # Errors
    /// [`Error::Shape`] or, for integers, [`Error::Format`].
    pub fn validate(&self) -> Result<(), Error> {
        let block = Block::of(self.format)?;
        let bytes = match self.format {
            Format::F32 => self.columns * 4,
            Format::Bf16 | Format::F16 => self.columns * 2,
            Format::Mxfp4 | Format::Nvfp4 => self.columns.div_ceil(2),
            _ => self.columns,
        };
        expect_size("the data (in bytes)", self.rows * bytes, self.data.len())?;
        let scales = block.map_or(0, |block| block.count(self.rows, self.columns));
        expect_size("the scales (in bytes)", scales, self.scales.len())?;
        match self.format {
            Format::Nvfp4 if self.factors.len() == 1 => Ok(()),
            Format::Nvfp4 => expect_size("the factors", self.rows, self.factors.len()),
            _ => expect_size("the factors", 0, self.factors.len()),
        }
    }

    /// The code of one element, for formats of at most a byte; E2M1 in the low four bits.
    pub(crate) fn code(&self, row: usize, column: usize) -> u8 {
        if matches!(self.format, Format::Mxfp4 | Format::Nvfp4) {
            let byte = self.data[row * self.columns.div_ceil(2) + column / 2];
            byte >> (4 * (column % 2)) & 15
        } else {
            self.data[row * self.columns + column]
        }
    }
}

/// Which elements share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Block {
    /// The blocks of a format; `None` for plain floats.
    pub(crate) fn of(format: Format) -> Result<Option<Self>, Error> {
        match format {
            Format::F32 | Format::Bf16 | Format::F16 => Ok(None),
            Format::Mxfp4 | Format::Mxfp8 | Format::Mxint8 => Ok(Some(Self { rows: 1, columns: 32 })),
            Format::Mxfp8G128 => Ok(Some(Self { rows: 1, columns: 128 })),
            Format::Nvfp4 => Ok(Some(Self { rows: 1, columns: 16 })),
            Format::Fp8Tile128 => Ok(Some(Self { rows: 128, columns: 128 })),
            _ => Err(Error::Format {
                format,
                role: "decoded to real numbers",
                expected: "f32, bf16, f16, mxfp4, mxfp8, mxfp8-g128, mxint8, nvfp4, fp8-tile128",
            }),
        }
    }

    fn count(self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }
}

/// The values of a tensor, each a number of float32: a NaN scale makes its block NaN, and what is too large for
/// float32 is infinite.
///
/// # Errors
/// [`Error::Shape`] where a slice is too long or too short, [`Error::Format`] for integers.
pub fn decode(tensor: &Encoded<'_>) -> Result<Matrix, Error> {
    tensor.validate()?;
    let block = Block::of(tensor.format)?;
    let mut matrix = Matrix::zeros(tensor.rows, tensor.columns);
    for row in 0..tensor.rows {
        for column in 0..tensor.columns {
            let index = row * tensor.columns + column;
            let scale = block.map_or(0, |block| {
                tensor.scales
                    [row / block.rows * tensor.columns.div_ceil(block.columns) + column / block.columns]
            });
            matrix.values[index] = match tensor.format {
                Format::F32 => f32_bits(u32::from_le_bytes(bytes_at(tensor.data, index))),
                Format::Bf16 => bf16(u16::from_le_bytes(bytes_at(tensor.data, index))),
                Format::F16 => f16(u16::from_le_bytes(bytes_at(tensor.data, index))),
                Format::Nvfp4 => {
                    let factor =
                        if tensor.factors.len() == 1 { tensor.factors[0] } else { tensor.factors[row] };
                    nvfp4(tensor.code(row, column), scale, factor)
                }
                format => Float::F32.round(element(format, tensor.code(row, column)) * e8m0(scale)),
            };
        }
    }
    Ok(matrix)
}

/// The value of an element's code, not scaled. `format` is block-scaled.
pub(crate) fn element(format: Format, code: u8) -> f64 {
    match format {
        Format::Mxfp4 | Format::Nvfp4 => e2m1(code),
        Format::Mxint8 => int8(code),
        _ => e4m3(code),
    }
}

/// NVFP4 rounds twice: `f32(f32(e2m1 · e4m3) · factor)`. The first rounding changes nothing.
pub(crate) fn nvfp4(code: u8, scale: u8, factor: f32) -> f64 {
    Float::F32.round(Float::F32.round(e2m1(code) * e4m3(scale)) * f64::from(factor))
}

/// Codes of one row as they lie in memory: two E2M1 codes a byte, others one.
pub(crate) fn pack(format: Format, codes: &[u8]) -> Vec<u8> {
    if matches!(format, Format::Mxfp4 | Format::Nvfp4) {
        codes.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)).collect()
    } else {
        codes.to_vec()
    }
}

fn bytes_at<const N: usize>(data: &[u8], index: usize) -> [u8; N] {
    data[index * N..][..N].try_into().expect("the slice was cut to N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_scale_and_an_overflow_reach_the_values() {
        let data = [0x77u8; 48];
        let tensor = Encoded {
            format: Format::Mxfp4,
            rows: 1,
            columns: 96,
            data: &data,
            scales: &[255, 254, 0],
            factors: &[],
        };
        let values = decode(&tensor).unwrap().values;
        assert!(values[..32].iter().all(|value| value.is_nan()));
        assert!(values[32..64].iter().all(|&value| value == f64::INFINITY));
        assert!(values[64..].iter().all(|&value| value == 6.0 * 2f64.powi(-127)));
    }

    #[test]
    fn groups_of_128_and_tiles_may_be_short_at_the_end() {
        let data = [0x38u8; 2 * 160];
        let g128 = Encoded {
            format: Format::Mxfp8G128,
            rows: 2,
            columns: 160,
            data: &data,
            scales: &[127, 128, 129, 130],
            factors: &[],
        };
        let values = decode(&g128).unwrap();
        assert_eq!(
            (values.row(0)[127], values.row(0)[128], values.row(1)[0], values.row(1)[159]),
            (1.0, 2.0, 4.0, 8.0)
        );
        let tiles = Encoded { format: Format::Fp8Tile128, scales: &[127, 128], ..g128 };
        let values = decode(&tiles).unwrap();
        assert_eq!((values.row(0)[0], values.row(1)[127], values.row(1)[128]), (1.0, 1.0, 2.0));
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let tensor = Encoded {
            format: Format::Mxfp4,
            rows: 1,
            columns: 32,
            data: &[0; 16],
            scales: &[],
            factors: &[],
        };
        let error = decode(&tensor).unwrap_err();
        assert_eq!(error.to_string(), "the scales (in bytes) has 0 elements where 1 are needed");
    }
}
