//! Formats as their specifications have them, slowly and in float64: what kernels are compared with.

#![allow(dead_code, reason = "each test file uses a part")]

use mxhal_kernels_cuda::format;

const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

pub(crate) fn e2m1(code: u8) -> f64 {
    let value = E2M1[usize::from(code & 7)];
    if code & 8 == 0 { value } else { -value }
}

pub(crate) fn e4m3(code: u8) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f64::NAN,
        (0, _) => fraction / 8.0 * 2f64.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2f64.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

pub(crate) fn e8m0(byte: u8) -> f64 {
    if byte == 255 { f64::NAN } else { 2f64.powi(i32::from(byte) - 127) }
}

pub(crate) fn bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To nearest even; of a finite value.
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// A finite F16.
pub(crate) fn f16(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff) / 1024.0);
    let magnitude =
        if exponent == 0 { fraction * 2f32.powi(-14) } else { (1.0 + fraction) * 2f32.powi(exponent - 15) };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// The value of a code before its scale.
pub(crate) fn code_value(format: u32, code: u8) -> f64 {
    match format {
        format::MXFP4 | format::NVFP4 => e2m1(code),
        format::MXINT8 => f64::from(code as i8) / 64.0,
        _ => e4m3(code),
    }
}

pub(crate) fn block(format: u32) -> usize {
    match format {
        format::NVFP4 => 16,
        format::MXFP8_G128 | format::FP8_TILE128 => 128,
        _ => 32,
    }
}

pub(crate) fn is_four_bits(format: u32) -> bool {
    matches!(format, format::MXFP4 | format::NVFP4)
}

/// Codes of a row, one a byte.
pub(crate) fn unpack(format: u32, data: &[u8]) -> Vec<u8> {
    if is_four_bits(format) {
        data.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect()
    } else {
        data.to_vec()
    }
}

/// A row's values; `factor` is NVFP4's.
pub(crate) fn dequantize(format: u32, data: &[u8], scales: &[u8], factor: f32) -> Vec<f64> {
    let codes = unpack(format, data);
    let value = |(k, code): (usize, &u8)| {
        let scale = scales[k / block(format)];
        if format == format::NVFP4 {
            f64::from((e2m1(*code) * e4m3(scale)) as f32 * factor)
        } else {
            code_value(format, *code) * e8m0(scale)
        }
    };
    codes.iter().enumerate().map(value).collect()
}

/// The byte of the scale rule, by search: `ceil` is the least at which amax does not saturate; `floor` and `even` follow
/// their definitions.
pub(crate) fn scale_byte(format: u32, rule: u32, amax: f64) -> u8 {
    let (max, emax, mantissa) = match format {
        format::MXFP4 => (6.0, 2, 1),
        format::MXINT8 => (127.0 / 64.0, 0, 6),
        _ => (448.0, 8, 3),
    };
    if !amax.is_finite() {
        return 255;
    }
    if amax == 0.0 {
        return 0;
    }
    if rule == 1 {
        return (0..=254).find(|byte| amax <= max * e8m0(*byte)).unwrap_or(254);
    }
    let mut exponent = (-1100..1100).rev().find(|e| 2f64.powi(*e) <= amax).unwrap();
    if rule == 3 {
        // Rounded half up to the element's mantissa, 1.f may become 2.
        let unit = 2f64.powi(exponent - mantissa);
        if (amax / unit + 0.5).floor() * unit >= 2f64.powi(exponent + 1) {
            exponent += 1;
        }
    }
    (exponent - emax + 127).clamp(0, 254) as u8
}

/// The code nearest to a value, ties to the even one, by search; the sign of a zero stays.
pub(crate) fn nearest_code(format: u32, value: f64) -> u8 {
    let sign: u8 = u8::from(value.is_sign_negative());
    let codes: Vec<u8> = match format {
        format::MXFP4 | format::NVFP4 => (0..8).map(|code| code | sign << 3).collect(),
        format::MXINT8 => (-127i8..=127).map(|code| code as u8).collect(),
        _ => (0..0x7f).map(|code| code | sign << 7).collect(),
    };
    let distance = |code: &u8| (code_value(format, *code) - value).abs();
    *codes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)).then((*a & 1).cmp(&(*b & 1)))).unwrap()
}

/// A row to one code a byte, and scales; MX formats alone.
pub(crate) fn quantize(format: u32, rule: u32, amax_floor: f32, row: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for values in row.chunks(block(format)) {
        let lost = values.iter().any(|value| !value.is_finite());
        let amax = values.iter().fold(amax_floor, |amax, value| amax.max(value.abs()));
        let byte = if lost { 255 } else { scale_byte(format, rule, f64::from(amax)) };
        scales.push(byte);
        codes.extend(
            values.iter().map(
                |value| {
                    if lost { 0 } else { nearest_code(format, f64::from(*value) / e8m0(byte)) }
                },
            ),
        );
    }
    (codes, scales)
}
