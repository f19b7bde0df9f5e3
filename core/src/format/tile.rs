//! FP8 tiles: E4M3 elements with one E8M0 scale per tile of 128 rows × 128 columns, as in DeepSeek's shared experts
//! and dense layers.
//!
//! A matrix of N × K has N·K bytes of elements and ⌈N/128⌉ × ⌈K/128⌉ scales, both row-major. Tiles at the lower and
//! right edge may be cut short. There is no quantizer: the format is read from checkpoints only.

use super::{e4m3, e8m0};

/// Rows of a tile, and columns.
pub const SIDE: usize = 128;

/// The float32 values of a matrix of `rows` × `columns`, row-major.
///
/// - `data`: rows · columns E4M3 codes.
/// - `scales`: ⌈rows/128⌉ · ⌈columns/128⌉ E8M0 bytes.
/// - `out`: rows · columns.
///
/// Each value is rounded once, to nearest; a NaN scale makes its tile NaN.
///
/// # Panics
///
/// If a length is not the above.
///
/// ```
/// use mxhal_core::format::tile;
///
/// let mut out = [0.0; 4];
/// tile::dequantize(2, 2, &[0x38, 0x40, 0xb8, 0x00], &[128], &mut out);
/// assert_eq!(out, [2.0, 4.0, -2.0, 0.0]);
/// ```
pub fn dequantize(rows: usize, columns: usize, data: &[u8], scales: &[u8], out: &mut [f32]) {
    let tiles = columns.div_ceil(SIDE);
    expect("codes", data.len(), rows * columns, rows, columns);
    expect("scales", scales.len(), rows.div_ceil(SIDE) * tiles, rows, columns);
    expect("values", out.len(), rows * columns, rows, columns);
    if columns == 0 {
        return;
    }
    for (row, (data, out)) in data.chunks(columns).zip(out.chunks_mut(columns)).enumerate() {
        let first = row / SIDE * tiles;
        dequantize_row(data, &scales[first..first + tiles], out);
    }
}

/// The float32 values of one row of K columns.
///
/// - `data`: K E4M3 codes.
/// - `scales`: the ⌈K/128⌉ E8M0 bytes of the tiles that the row lies in: with `r` its index, row `r / 128` of the
///   matrix of scales.
/// - `out`: K.
///
/// # Panics
///
/// If a length is not the above.
pub fn dequantize_row(data: &[u8], scales: &[u8], out: &mut [f32]) {
    let columns = data.len();
    expect("scales", scales.len(), columns.div_ceil(SIDE), 1, columns);
    expect("values", out.len(), columns, 1, columns);
    for ((data, out), scale) in data.chunks(SIDE).zip(out.chunks_mut(SIDE)).zip(scales) {
        let scale = e8m0::decode(*scale);
        for (code, out) in data.iter().zip(out) {
            *out = e4m3::decode(*code) * scale;
        }
    }
}

#[track_caller]
fn expect(what: &str, seen: usize, expected: usize, rows: usize, columns: usize) {
    assert!(
        seen == expected,
        "{seen} {what} for {rows} rows and {columns} columns of fp8-tile128, expected {expected}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn each_element_has_the_scale_of_its_tile(rows in 1usize..300, columns in 1usize..300, seed: u8) {
            let tiles = columns.div_ceil(SIDE);
            let data: Vec<u8> = (0..rows * columns).map(|i| (i * 7 + usize::from(seed)) as u8).collect();
            let scales: Vec<u8> = (0..rows.div_ceil(SIDE) * tiles).map(|i| 120 + i as u8).collect();
            let mut out = vec![0.0; rows * columns];
            dequantize(rows, columns, &data, &scales, &mut out);
            for row in 0..rows {
                for column in 0..columns {
                    let exponent = i32::from(scales[row / 128 * tiles + column / 128]) - 127;
                    let expected = e4m3::decode(data[row * columns + column]) * 2f32.powi(exponent);
                    let got = out[row * columns + column];
                    prop_assert!(got == expected || got.is_nan() && expected.is_nan(), "{got} {expected}");
                }
            }
        }
    }

    #[test]
    fn ends_of_the_range_are_rounded_once() {
        let mut out = [0.0; 3];
        // The largest scale: 2^128 is infinite, 1.75 · 2^127 is not; the least: 2^−9 · 2^−127 is subnormal.
        dequantize_row(&[0x40, 0x3e, 0xfe], &[254], &mut out);
        assert_eq!(out, [f32::INFINITY, 1.75 * 2f32.powi(127), f32::NEG_INFINITY]);
        dequantize_row(&[0x01, 0x81, 0x80], &[0], &mut out);
        assert_eq!(out.map(f32::to_bits), [1 << 13, 1 << 13 | 1 << 31, 1 << 31]);
        dequantize_row(&[0x00, 0x38, 0x7f], &[255], &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
    }

    #[test]
    #[should_panic(expected = "2 scales for 129 rows and 129 columns of fp8-tile128, expected 4")]
    fn missing_scales_are_named() {
        dequantize(129, 129, &[0; 129 * 129], &[127; 2], &mut [0.0; 129 * 129]);
    }

    #[test]
    fn an_empty_matrix_is_no_mistake() {
        dequantize(5, 0, &[], &[], &mut []);
        dequantize(0, 5, &[], &[], &mut []);
    }
}
