//! Quantizing a row of float32 along K, and back.
//!
//! The MX formats follow OCP MX 1.0: a block's scale is a power of two ([`Quantization::scale_byte`]), its elements
//! are rounded to nearest, ties to even, and saturate.
//!
//! NVFP4 has a scale with a mantissa and a factor for the whole row, and implementations differ in where they round.
//! Here, with every operation rounded to float32 and amax the largest magnitude of what it names:
//!
//! - factor: `s = max(amax_row / 2688, 2^−126)`, over the row's finite values; 2688 = 6 · 448;
//! - scale of a block: `e4m3(min(448, max(2^−9, (amax_block / 6) / s)))`, or 0 where the block is all zero;
//! - element: `e2m1(x / (scale · s))`.
//!
//! Every loop here is over plain slices; nothing is allocated.

use super::{Format, Quantization, e2m1, e4m3, e8m0};

/// Quantizes one row of K float32 values and returns the row's NVFP4 factor, 1 for the other formats.
///
/// - `x`: K values, K a multiple of [`Format::column_multiple`]; the last group of `mxfp8-g128` may be short.
/// - `data`: [`Format::row_bytes`] of K; E2M1 codes two a byte, the even index low, others one a byte.
/// - `scales`: [`Format::row_scales`] of K; E8M0 bytes, E4M3 codes for NVFP4.
///
/// A block that holds a NaN or an infinity gets the NaN scale (255, 0x7f for NVFP4) and codes 0. An all-zero block
/// gets scale byte 0, or the floor's where there is a floor on amax. Zeros keep their sign where the element has one.
///
/// # Panics
///
/// If `to` does not [validate](Quantization::validate) or is a plain float, or a length is not the above: the
/// operators check both long before.
///
/// ```
/// use mxhal_core::format::{Format, Quantization, dequantize_row, quantize_row};
///
/// let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
/// let (mut data, mut scales, mut back) = ([0; 16], [0; 1], [0.0; 32]);
/// let factor = quantize_row(&Quantization::new(Format::Mxfp4), &x, &mut data, &mut scales);
/// dequantize_row(Format::Mxfp4, &data, &scales, factor, &mut back);
/// assert_eq!(scales, [130], "31 needs a scale of 8");
/// assert_eq!(back[24], 24.0);
/// ```
pub fn quantize_row(to: &Quantization, x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    if let Err(error) = to.validate() {
        panic!("quantize_row: {error}");
    }
    check("quantize_row", to.format, x.len(), data.len(), scales.len());
    match to.format {
        Format::Mxfp4 => quantize_blocks(to, x, data, scales, |x, reciprocal, data| {
            for (pair, byte) in x.as_chunks::<2>().0.iter().zip(data) {
                *byte = e2m1::pack(e2m1::encode(pair[0] * reciprocal), e2m1::encode(pair[1] * reciprocal));
            }
        }),
        Format::Mxint8 => quantize_blocks(to, x, data, scales, |x, reciprocal, data| {
            for (x, code) in x.iter().zip(data) {
                *code = encode_int8(x * reciprocal);
            }
        }),
        Format::Nvfp4 => return quantize_nvfp4(x, data, scales),
        _ => quantize_blocks(to, x, data, scales, |x, reciprocal, data| {
            for (x, code) in x.iter().zip(data) {
                *code = e4m3::encode(x * reciprocal);
            }
        }),
    }
    1.0
}

/// The float32 values of one quantized row: K of them, as many as `out` has room for.
///
/// - `data`, `scales`: as [`quantize_row`] writes them.
/// - `factor`: NVFP4's for the row or tensor; the other formats do not look at it.
///
/// Each value is rounded once (`f32(f32(e2m1 · e4m3) · factor)` twice for NVFP4, the inner one being exact): too
/// large a one is infinite, a subnormal one right. A NaN scale makes its whole block NaN.
///
/// # Panics
///
/// If `format` is none that [`quantize_row`] makes, or a length is not as it says.
pub fn dequantize_row(format: Format, data: &[u8], scales: &[u8], factor: f32, out: &mut [f32]) {
    check("dequantize_row", format, out.len(), data.len(), scales.len());
    match format {
        Format::Mxfp4 => dequantize_blocks(format, data, scales, out, |data, scale, out| {
            dequantize_e2m1(data, out, |value| value * e8m0::decode(scale));
        }),
        Format::Mxint8 => dequantize_blocks(format, data, scales, out, |data, scale, out| {
            let scale = e8m0::decode(scale);
            for (code, out) in data.iter().zip(out) {
                *out = f32::from(code.cast_signed()) / 64.0 * scale;
            }
        }),
        Format::Nvfp4 => dequantize_blocks(format, data, scales, out, |data, scale, out| {
            dequantize_e2m1(data, out, |value| value * e4m3::decode(scale) * factor);
        }),
        _ => dequantize_blocks(format, data, scales, out, |data, scale, out| {
            let scale = e8m0::decode(scale);
            for (code, out) in data.iter().zip(out) {
                *out = e4m3::decode(*code) * scale;
            }
        }),
    }
}

/// For the formats with E8M0 scales; `encode` is given the values of a block, one over its scale, and its bytes.
fn quantize_blocks(
    to: &Quantization,
    x: &[f32],
    data: &mut [u8],
    scales: &mut [u8],
    encode: impl Fn(&[f32], f32, &mut [u8]),
) {
    let columns = block_columns(to.format);
    let blocks = x.chunks(columns).zip(data.chunks_mut(to.format.row_bytes(columns)));
    for ((x, data), scale) in blocks.zip(scales) {
        *scale = to.scale_byte(amax(x)).expect("every format that comes here has E8M0 scales");
        if *scale == e8m0::NAN {
            data.fill(0);
        } else {
            encode(x, e8m0::reciprocal(*scale), data);
        }
    }
}

fn quantize_nvfp4(x: &[f32], data: &mut [u8], scales: &mut [u8]) -> f32 {
    let amax_row = x.iter().filter(|x| x.is_finite()).fold(0f32, |amax, x| amax.max(x.abs()));
    let factor = (amax_row / NVFP4_MAX).max(f32::MIN_POSITIVE);
    let columns = block_columns(Format::Nvfp4);
    let blocks = x.chunks(columns).zip(data.chunks_mut(Format::Nvfp4.row_bytes(columns)));
    for ((x, data), scale) in blocks.zip(scales) {
        let amax = amax(x);
        if !amax.is_finite() {
            *scale = e4m3::NAN;
            data.fill(0);
            continue;
        }
        // The least scale keeps a block of small values from losing its scale altogether.
        let wanted = (amax / e2m1::MAX / factor).clamp(e4m3::VALUES[1], e4m3::MAX);
        *scale = if amax == 0.0 { 0 } else { e4m3::encode(wanted) };
        // For an all-zero block anything but 0, which would make its zeros NaN.
        let divisor = if amax == 0.0 { 1.0 } else { e4m3::decode(*scale) * factor };
        for (pair, byte) in x.as_chunks::<2>().0.iter().zip(data) {
            *byte = e2m1::pack(e2m1::encode(pair[0] / divisor), e2m1::encode(pair[1] / divisor));
        }
    }
    factor
}

/// The largest number that an NVFP4 block can hold with a factor of 1.
const NVFP4_MAX: f32 = e2m1::MAX * e4m3::MAX;

/// The largest magnitude; infinite or NaN if any value is.
///
/// Magnitudes order like their bits, NaNs above infinity; and a maximum of integers is one that compilers vectorise.
fn amax(x: &[f32]) -> f32 {
    f32::from_bits(x.iter().fold(0, |amax, x| amax.max(x.to_bits() & 0x7fff_ffff)))
}

/// The int8 nearest to 64 · `value`, ties to even, between −127 and 127.
fn encode_int8(value: f32) -> u8 {
    // At 1.5 · 2^23 the last place of a float32 is 1: the addition rounds, and leaves the integer in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let clamped = (value * 64.0).clamp(-127.0, 127.0);
    (clamped + ROUNDER).to_bits() as u8
}

fn dequantize_blocks(
    format: Format,
    data: &[u8],
    scales: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8], u8, &mut [f32]),
) {
    let columns = block_columns(format);
    let blocks = data.chunks(format.row_bytes(columns)).zip(out.chunks_mut(columns));
    for ((data, out), scale) in blocks.zip(scales) {
        decode(data, *scale, out);
    }
}

/// What each byte of a block stands for; `scaled` gives a code's value its scale.
fn dequantize_e2m1(data: &[u8], out: &mut [f32], scaled: impl Fn(f32) -> f32) {
    let table = e2m1::VALUES.map(scaled);
    for (byte, pair) in data.iter().zip(out.as_chunks_mut::<2>().0) {
        let (low, high) = e2m1::unpack(*byte);
        *pair = [table[usize::from(low)], table[usize::from(high)]];
    }
}

fn block_columns(format: Format) -> usize {
    format.blocks().expect("every row-quantized format has blocks").columns
}

#[track_caller]
fn check(function: &str, format: Format, columns: usize, data: usize, scales: usize) {
    assert!(format.is_row_quantized(), "{function}: {format} is not quantized row by row");
    let multiple = format.column_multiple();
    assert!(
        columns.is_multiple_of(multiple),
        "{function}: {columns} columns; {format} takes a multiple of {multiple}"
    );
    let expected = format.row_bytes(columns);
    assert!(
        data == expected,
        "{function}: {data} bytes for {columns} columns of {format}, expected {expected}"
    );
    let expected = format.row_scales(columns);
    assert!(
        scales == expected,
        "{function}: {scales} scales for {columns} columns of {format}, expected {expected}"
    );
}

#[cfg(test)]
mod tests {
    use super::super::ScaleRule;
    use super::*;
    use proptest::prelude::*;

    const MX: [Format; 4] = [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8];

    struct Row {
        data: Vec<u8>,
        scales: Vec<u8>,
        factor: f32,
    }

    fn quantize(to: &Quantization, x: &[f32]) -> Row {
        let mut data = vec![0xaa; to.format.row_bytes(x.len())];
        let mut scales = vec![0xaa; to.format.row_scales(x.len())];
        let factor = quantize_row(to, x, &mut data, &mut scales);
        Row { data, scales, factor }
    }

    fn dequantize(format: Format, row: &Row) -> Vec<f32> {
        let mut out = vec![f32::NAN; row.data.len() * 8 / format.bits()];
        dequantize_row(format, &row.data, &row.scales, row.factor, &mut out);
        out
    }

    /// A row of every code that is a number and has one way to be written, its blocks padded with the largest.
    fn every_code(format: Format) -> Vec<u8> {
        match format {
            Format::Mxfp4 => (0..16).map(|i| e2m1::pack(2 * i, 2 * i + 1)).collect(),
            Format::Mxint8 => (0..=255u8).map(|i| if i % 32 == 0 || i == 128 { 127 } else { i }).collect(),
            _ => (0..=255u8).map(|i| if i % 32 == 1 || i & 0x7f == 0x7f { 0x7e } else { i }).collect(),
        }
    }

    #[test]
    fn every_code_leads_back_under_every_scale() {
        for (format, largest_scale) in MX.into_iter().zip([252, 246, 246, 254]) {
            for byte in 0..=largest_scale {
                let data = every_code(format);
                let columns = data.len() * 8 / format.bits();
                let row = Row { data, scales: vec![byte; format.row_scales(columns)], factor: 1.0 };
                let back = quantize(&Quantization::new(format), &dequantize(format, &row));
                assert_eq!((back.data, back.scales), (row.data, row.scales), "{format} {byte}");
            }
        }
    }

    #[test]
    fn values_beyond_float32_are_infinite_and_nan_scales_spread() {
        let value = |format, code: u8, scale| {
            let mut out = [0.0; 32];
            dequantize_row(format, &vec![code; format.row_bytes(32)], &[scale], 1.0, &mut out);
            out[0]
        };
        assert_eq!(value(Format::Mxfp4, 0x77, 253), f32::INFINITY);
        assert_eq!(value(Format::Mxfp4, 0xff, 254), f32::NEG_INFINITY);
        assert_eq!(value(Format::Mxint8, 0x80, 254), f32::NEG_INFINITY);
        assert_eq!(value(Format::Mxint8, 0x80, 127), -2.0);
        assert_eq!(value(Format::Mxfp4, 0x11, 0), f32::from_bits(1 << 21), "2^-128");
        for format in MX {
            assert!(value(format, 0, e8m0::NAN).is_nan(), "{format}");
        }
    }

    #[test]
    fn a_block_with_a_nan_or_an_infinity_is_lost_alone() {
        for format in MX.into_iter().chain([Format::Nvfp4]) {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = vec![1.0; 256];
                x[3] = bad;
                let row = quantize(&Quantization::new(format), &x);
                let block = block_columns(format);
                assert_eq!(row.scales[0], if format == Format::Nvfp4 { 0x7f } else { 255 });
                assert!(row.data[..format.row_bytes(block)].iter().all(|byte| *byte == 0));
                let back = dequantize(format, &row);
                assert!(back[..block].iter().all(|value| value.is_nan()), "{format}");
                assert!(back[block..].iter().all(|value| (value - 1.0).abs() < 1e-6), "{format}");
            }
        }
    }

    #[test]
    fn zeros_have_scale_byte_0_or_the_floors_and_keep_their_sign() {
        for format in MX.into_iter().chain([Format::Nvfp4]) {
            let row = quantize(&Quantization::new(format), &[0.0; 128]);
            assert!(row.scales.iter().chain(&row.data).all(|byte| *byte == 0), "{format}");
        }
        let row = quantize(&Quantization::deepseek(), &[0.0; 128]);
        assert_eq!(row.scales, [105]);
        for (format, code) in [(Format::Mxfp4, 0x88), (Format::Nvfp4, 0x88), (Format::Mxfp8, 0x80)] {
            let row = quantize(&Quantization::new(format), &[-0.0; 32]);
            assert!(row.data.iter().all(|byte| *byte == code), "{format}");
            assert!(row.scales.iter().all(|byte| *byte == 0), "{format}");
        }
    }

    #[test]
    fn the_last_group_of_128_may_be_short() {
        let mut x = vec![1.0; 160];
        x[128..].fill(448.0);
        let row = quantize(&Quantization::new(Format::Mxfp8G128), &x);
        assert_eq!(row.scales, [119, 127]);
        assert_eq!(dequantize(Format::Mxfp8G128, &row), x);
    }

    #[test]
    fn floor_saturates_and_ceil_does_not() {
        let mut x = [0.0; 32];
        x[..4].copy_from_slice(&[7.9, -7.9, 2.5, 5.0]);
        let ceil = quantize(&Quantization::new(Format::Mxfp4), &x);
        assert_eq!((ceil.scales[0], &ceil.data[..2]), (128, &[0xe6, 0x42][..]), "4 -4 1 2, times 2");
        let floor = quantize(&Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Floor), &x);
        assert_eq!((floor.scales[0], &floor.data[..2]), (127, &[0xf7, 0x64][..]), "6 -6 2 4");
    }

    #[test]
    fn int8_rounds_ties_to_even_and_never_gives_minus_128() {
        for (value, code) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.5, 126), (-200.0, -127)]
        {
            assert_eq!(encode_int8(value / 64.0).cast_signed(), code, "{value}");
        }
        assert_eq!(encode_int8(f32::INFINITY), 127);
    }

    #[test]
    fn nvfp4_of_values_it_can_hold_is_exact() {
        let x: Vec<f32> =
            (0..64).map(|i| e2m1::decode(i % 16) * [448.0, 1.0, 0.5, 26.0][usize::from(i / 16)]).collect();
        let row = quantize(&Quantization::new(Format::Nvfp4), &x);
        assert_eq!(row.factor, 1.0);
        assert_eq!(row.scales, [0x7e, 0x38, 0x30, e4m3::encode(26.0)]);
        assert_eq!(dequantize(Format::Nvfp4, &row), x);
    }

    #[test]
    fn nvfp4_stands_the_ends_of_the_range() {
        for x in [[f32::from_bits(1); 16], [f32::MIN_POSITIVE; 16], [f32::MAX; 16]] {
            let row = quantize(&Quantization::new(Format::Nvfp4), &x);
            assert!(row.factor >= f32::MIN_POSITIVE && row.factor.is_finite());
            assert!((0x01..0x7f).contains(&row.scales[0]));
            assert!(dequantize(Format::Nvfp4, &row).iter().all(|value| !value.is_nan()));
        }
    }

    #[test]
    #[should_panic(expected = "quantize_row: 3 scales for 64 columns of mxfp4, expected 2")]
    fn wrong_lengths_are_named() {
        quantize_row(&Quantization::new(Format::Mxfp4), &[0.0; 64], &mut [0; 32], &mut [0; 3]);
    }

    #[test]
    #[should_panic(expected = "dequantize_row: bf16 is not quantized row by row")]
    fn plain_floats_are_refused() {
        dequantize_row(Format::Bf16, &[], &[], 1.0, &mut []);
    }

    /// Values over some powers of two, zeros among them.
    fn values(columns: usize) -> impl Strategy<Value = Vec<f32>> {
        let value =
            prop_oneof![9 => (-1f32..1.0, -12i32..12).prop_map(|(m, e)| m * 2f32.powi(e)), 1 => Just(0.0)];
        prop::collection::vec(value, columns)
    }

    proptest! {
        #[test]
        fn each_code_is_the_nearest_under_its_scale(x in values(256)) {
            for format in MX {
                for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                    let row = quantize(&Quantization::new(format).with_rule(rule), &x);
                    let back = dequantize(format, &row);
                    for (column, (x, back)) in x.iter().zip(&back).enumerate() {
                        let scale = f64::from(e8m0::decode(row.scales[column / block_columns(format)]));
                        let error = (f64::from(*x) - f64::from(*back)).abs() / scale;
                        let nearest = (0..=255u8)
                            .map(|code| match format {
                                Format::Mxfp4 => e2m1::decode(code),
                                Format::Mxint8 => f32::from(code.cast_signed().max(-127)) / 64.0,
                                _ => e4m3::decode(code),
                            })
                            .map(|value| (f64::from(*x) / scale - f64::from(value)).abs())
                            .fold(f64::INFINITY, f64::min);
                        prop_assert_eq!(error, nearest);
                    }
                }
            }
        }

        #[test]
        fn a_power_of_two_goes_through(x in values(128), exponent in -60i32..60) {
            let power = 2f32.powi(exponent);
            let moved: Vec<f32> = x.iter().map(|x| x * power).collect();
            for format in MX.into_iter().chain([Format::Nvfp4]) {
                let to = Quantization::new(format);
                let (one, two) = (quantize(&to, &x), quantize(&to, &moved));
                prop_assert_eq!(&one.data, &two.data);
                let expected: Vec<f32> = dequantize(format, &one).iter().map(|value| value * power).collect();
                prop_assert_eq!(dequantize(format, &two), expected);
            }
        }

        /// The definition at the head of this file, each operation in float64 and then rounded: for quotients of
        /// float32 that is one rounding.
        #[test]
        fn nvfp4_is_as_defined(x in values(64)) {
            let row = quantize(&Quantization::new(Format::Nvfp4), &x);
            let divide = |a: f32, b: f32| (f64::from(a) / f64::from(b)) as f32;
            let amax = |x: &[f32]| x.iter().fold(0f32, |amax, x| amax.max(x.abs()));
            let factor = divide(amax(&x), 2688.0).max(2f32.powi(-126));
            prop_assert_eq!(row.factor, factor);
            for (block, x) in x.chunks(16).enumerate() {
                let scale = divide(divide(amax(x), 6.0), factor).max(2f32.powi(-9)).min(448.0);
                let scale = if amax(x) == 0.0 { 0 } else { e4m3::encode(scale) };
                prop_assert_eq!(row.scales[block], scale);
                for (i, x) in x.iter().enumerate().filter(|_| scale != 0) {
                    let code = row.data[block * 8 + i / 2] >> (i % 2 * 4) & 15;
                    let unit = (f64::from(e4m3::decode(scale)) * f64::from(factor)) as f32;
                    prop_assert_eq!(code, e2m1::encode(divide(*x, unit)));
                }
            }
        }
    }
}
