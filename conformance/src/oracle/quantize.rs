//! Quantize: the one right answer for a block, or the few.
//!
//! For each block the contract leaves at most these freedoms, and [`check_quantized`] grants no others:
//!
//! - a block with a NaN or an infinity: a NaN scale, any codes;
//! - a block whose scale byte clamps to 0: each element its code, or zero;
//! - `ceil` with the largest magnitude within 2^−22 above a boundary: the byte or the one below, each with its codes;
//! - a block of zeros: zero codes of either sign.
//!
//! NVFP4 has no rule and no floor. All its arithmetic is float32, rounded once a step: the factor of a row is
//! `max(amax / 2688, 2^−126)` over the row's finite values; the scale of a block that is not zero is
//! `(amax / 6) / factor`, at least 2^−9 and at most 448, rounded to E4M3; an element is `x / (scale · factor)`.

use std::ops::RangeInclusive;

use super::decode::{Block, Encoded, element, nvfp4, pack};
use super::format::{
    E2M1, E4M3, Float, e4m3, e8m0, exponent, nearest_e2m1, nearest_e4m3, nearest_int8, power_of_two,
};
use super::{Error, Format, Matrix, Mismatch, Quantization, ScaleRule, expect_size};
use crate::outcome::number;

/// A tensor that was quantized, in the canonical layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The elements; two E2M1 codes a byte.
    pub data: Vec<u8>,
    /// One byte a block.
    pub scales: Vec<u8>,
    /// NVFP4: one factor a row. Empty elsewhere.
    pub factors: Vec<f32>,
}

/// The canonical result: where the contract allows several, the one that its first sentence gives.
///
/// `x` holds numbers of float32.
///
/// # Errors
/// [`Error::Format`] where the format is not one of blocks within a row.
pub fn quantize_reference(x: &Matrix, to: Quantization) -> Result<Quantized, Error> {
    let blocks = Blocks::of(to)?;
    let mut quantized = Quantized { data: Vec::new(), scales: Vec::new(), factors: Vec::new() };
    for row in 0..x.rows {
        let factor = factor_of(x.row(row));
        let mut codes = Vec::with_capacity(x.columns);
        for block in x.row(row).chunks(blocks.columns) {
            let answer = blocks.allowed(block, factor).swap_remove(0);
            quantized.scales.push(answer.scale);
            codes.extend(answer.codes);
        }
        quantized.data.extend(pack(to.format, &codes));
        if to.format == Format::Nvfp4 {
            quantized.factors.push(factor);
        }
    }
    Ok(quantized)
}

/// What a product sees of `x`: [`quantize_reference`], decoded.
///
/// # Errors
/// As [`quantize_reference`].
pub fn quantize_dequantize(x: &Matrix, to: Quantization) -> Result<Matrix, Error> {
    let blocks = Blocks::of(to)?;
    let mut values = Vec::with_capacity(x.values.len());
    for row in 0..x.rows {
        let factor = factor_of(x.row(row));
        for block in x.row(row).chunks(blocks.columns) {
            let answer = blocks.allowed(block, factor).swap_remove(0);
            values.extend(answer.codes.iter().map(|&code| blocks.value(code, answer.scale, factor)));
        }
    }
    Matrix::new(x.rows, x.columns, values)
}

/// Whether `got` is an allowed result of quantizing `x`.
///
/// # Errors
/// [`Error::Mismatch`] with the first block or element that is wrong; [`Error::Shape`] and [`Error::Format`] where the
/// two cannot be compared.
pub fn check_quantized(x: &Matrix, to: Quantization, got: &Encoded<'_>) -> Result<(), Error> {
    let blocks = Blocks::of(to)?;
    if got.format != to.format {
        return Err(Error::Format { format: got.format, role: "the result", expected: to.format.name() });
    }
    got.validate()?;
    expect_size("the result's column", x.rows, got.rows)?;
    expect_size("the result's row", x.columns, got.columns)?;
    if to.format == Format::Nvfp4 {
        expect_size("the factors", x.rows, got.factors.len())?;
    }
    let scales_of_row = x.columns.div_ceil(blocks.columns);
    for row in 0..x.rows {
        let factor = factor_of(x.row(row));
        if to.format == Format::Nvfp4 && got.factors[row].to_bits() != factor.to_bits() {
            let (expected, got) = (format!("the factor {factor:e}"), format!("{:e}", got.factors[row]));
            return Err(Mismatch { row, block: None, element: None, expected, got }.into());
        }
        for (index, block) in x.row(row).chunks(blocks.columns).enumerate() {
            let first = index * blocks.columns;
            let codes: Vec<u8> = (first..first + block.len()).map(|column| got.code(row, column)).collect();
            let allowed = blocks.allowed(block, factor);
            blocks.check(&allowed, got.scales[row * scales_of_row + index], &codes).map_err(|wrong| {
                Mismatch {
                    row,
                    block: Some(index),
                    element: wrong.element.map(|element| first + element),
                    expected: wrong.expected,
                    got: wrong.got,
                }
            })?;
        }
    }
    Ok(())
}

/// One allowed result for a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The scale byte.
    pub(crate) scale: u8,
    /// One code a byte.
    pub(crate) codes: Vec<u8>,
    freedom: Freedom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freedom {
    /// These codes.
    None,
    /// Each of these codes, or zero of either sign.
    Flush,
    /// Any codes.
    Codes,
}

impl Answer {
    fn has_scale(&self, scale: u8) -> bool {
        // The NaN of an E4M3 scale may have its sign set.
        self.scale == scale || (self.freedom == Freedom::Codes && self.scale == 0x7f && scale == 0xff)
    }
}

/// What is wrong with a block.
struct WrongBlock {
    element: Option<usize>,
    expected: String,
    got: String,
}

/// How a quantization treats its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    to: Quantization,
    /// Elements of a block; the last one of a row may have fewer.
    pub(crate) columns: usize,
    /// The largest magnitude of an element.
    largest: f64,
}

impl Blocks {
    pub(crate) fn of(to: Quantization) -> Result<Self, Error> {
        let largest = match to.format {
            Format::Mxfp4 | Format::Nvfp4 => E2M1[7],
            Format::Mxfp8 | Format::Mxfp8G128 => E4M3[126],
            Format::Mxint8 => 127.0 / 64.0,
            format => {
                let expected = "mxfp4, mxfp8, mxfp8-g128, mxint8, nvfp4";
                return Err(Error::Format { format, role: "quantized to", expected });
            }
        };
        if (to.format == Format::Nvfp4) != (to.rule == ScaleRule::Nearest) {
            return Err(Error::Rule { format: to.format, rule: to.rule });
        }
        let columns = Block::of(to.format)?.map_or(1, |block| block.columns);
        Ok(Self { to, columns, largest })
    }

    /// The allowed results, the canonical one first. `factor` counts for NVFP4 only.
    pub(crate) fn allowed(&self, x: &[f64], factor: f32) -> Vec<Answer> {
        let nvfp4 = self.to.format == Format::Nvfp4;
        if x.iter().any(|value| !value.is_finite()) {
            let scale = if nvfp4 { 0x7f } else { 255 };
            return vec![Answer { scale, codes: vec![0; x.len()], freedom: Freedom::Codes }];
        }
        let largest = x.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        if nvfp4 {
            return vec![self.nvfp4_answer(x, largest, factor)];
        }
        let amax = largest.max(f64::from(self.to.amax_floor));
        if amax == 0.0 {
            return vec![Answer { scale: 0, codes: self.codes(x, |_| 0.0), freedom: Freedom::Flush }];
        }
        let exponents = scale_exponents(self.to.rule, amax, self.largest);
        exponents.map(|exponent| self.mx_answer(x, exponent)).collect()
    }

    /// Whether a scale byte and codes are among the answers.
    fn check(&self, allowed: &[Answer], scale: u8, codes: &[u8]) -> Result<(), WrongBlock> {
        let mut wrong = None;
        for answer in allowed.iter().filter(|answer| answer.has_scale(scale)) {
            match self.first_wrong(answer, codes) {
                None => return Ok(()),
                Some(element) => wrong = Some((element, answer)),
            }
        }
        Err(match wrong {
            Some((place, answer)) => {
                let code = |code| shown(code, element(self.to.format, code));
                WrongBlock {
                    element: Some(place),
                    expected: format!(
                        "{} under the scale byte {}",
                        code(answer.codes[place]),
                        self.shown_scale(scale)
                    ),
                    got: code(codes[place]),
                }
            }
            None => {
                let scales: Vec<String> =
                    allowed.iter().map(|answer| self.shown_scale(answer.scale)).collect();
                let expected = format!("the scale byte {}", scales.join(" or "));
                WrongBlock { element: None, expected, got: self.shown_scale(scale) }
            }
        })
    }

    fn shown_scale(&self, scale: u8) -> String {
        shown(scale, if self.to.format == Format::Nvfp4 { e4m3(scale) } else { e8m0(scale) })
    }

    fn first_wrong(&self, answer: &Answer, codes: &[u8]) -> Option<usize> {
        codes.iter().zip(&answer.codes).position(|(&code, &right)| match answer.freedom {
            Freedom::None => code != right,
            Freedom::Flush => code != right && element(self.to.format, code) != 0.0,
            Freedom::Codes => false,
        })
    }

    /// What is quantized to.
    pub(crate) fn format(&self) -> Format {
        self.to.format
    }

    /// The scale bytes of blocks whose largest magnitude lies between two finite ones, and whether elements may be
    /// flushed. Not for NVFP4.
    pub(crate) fn scale_bytes(&self, least: f64, largest: f64) -> (RangeInclusive<u8>, bool) {
        let exponents = |amax: f64| {
            let amax = amax.max(f64::from(self.to.amax_floor));
            (amax != 0.0).then(|| scale_exponents(self.to.rule, amax, self.largest))
        };
        let byte = |exponent: i32| (exponent + 127).clamp(0, 254) as u8;
        let first = exponents(least).and_then(Iterator::min).unwrap_or(-127);
        let last = exponents(largest).and_then(Iterator::max).unwrap_or(-127);
        (byte(first)..=byte(last), first < -127)
    }

    /// What becomes of a finite `x` in a block with this scale byte. Not for NVFP4.
    pub(crate) fn at_scale(&self, x: f64, scale: u8) -> f64 {
        self.value(self.codes(&[x], |value| value / e8m0(scale))[0], scale, 1.0)
    }

    /// The value of an element.
    pub(crate) fn value(&self, code: u8, scale: u8, factor: f32) -> f64 {
        if self.to.format == Format::Nvfp4 {
            nvfp4(code, scale, factor)
        } else {
            Float::F32.round(element(self.to.format, code) * e8m0(scale))
        }
    }

    fn mx_answer(&self, x: &[f64], exponent: i32) -> Answer {
        let biased = exponent + 127;
        let scale = biased.clamp(0, 254) as u8;
        let codes = self.codes(x, |value| value / e8m0(scale));
        let zeros = x.iter().all(|&value| value == 0.0);
        Answer { scale, codes, freedom: if biased < 0 || zeros { Freedom::Flush } else { Freedom::None } }
    }

    fn nvfp4_answer(&self, x: &[f64], amax: f64, factor: f32) -> Answer {
        if amax == 0.0 {
            return Answer { scale: 0, codes: self.codes(x, |_| 0.0), freedom: Freedom::Flush };
        }
        let (round, factor) = (|value| Float::F32.round(value), f64::from(factor));
        let scale = nearest_e4m3(round(round(amax / 6.0) / factor).clamp(power_of_two(-9), 448.0));
        let unit = round(e4m3(scale) * factor);
        Answer { scale, codes: self.codes(x, |value| round(value / unit)), freedom: Freedom::None }
    }

    fn codes(&self, x: &[f64], scaled: impl Fn(f64) -> f64) -> Vec<u8> {
        let nearest = match self.to.format {
            Format::Mxfp4 | Format::Nvfp4 => nearest_e2m1,
            Format::Mxint8 => nearest_int8,
            _ => nearest_e4m3,
        };
        x.iter().map(|&value| nearest(scaled(value).abs().copysign(value))).collect()
    }
}

/// A byte and what it stands for: `0x0d (-3)`.
fn shown(byte: u8, value: f64) -> String {
    format!("{byte:#04x} ({})", number(value))
}

/// The factor of an NVFP4 row.
pub(crate) fn factor_of(row: &[f64]) -> f32 {
    let finite = row.iter().filter(|value| value.is_finite());
    let amax = finite.fold(0.0f64, |amax, value| amax.max(value.abs()));
    Float::F32.round(amax / 2688.0).max(power_of_two(-126)) as f32
}

/// The exponents that a scale may have for a block whose largest magnitude is `amax`, not zero: the right one, and,
/// where there is a choice, the one below.
fn scale_exponents(rule: ScaleRule, amax: f64, largest: f64) -> impl Iterator<Item = i32> {
    let power = exponent(amax);
    let mantissa = amax / power_of_two(power);
    let element_power = exponent(largest);
    let limit = largest / power_of_two(element_power);
    let at_power = power - element_power;
    let (first, second) = match rule {
        ScaleRule::Floor => (at_power, None),
        // The least scale at which `amax` does not saturate.
        ScaleRule::Ceil if mantissa <= limit => (at_power, None),
        // Who forms amax / largest in float32 may not see how little lies above the boundary.
        ScaleRule::Ceil if mantissa <= limit * (1.0 + power_of_two(-22)) => (at_power + 1, Some(at_power)),
        ScaleRule::Ceil => (at_power + 1, None),
        ScaleRule::Even => (at_power + i32::from(mantissa >= carries_from(largest)), None),
        _ => unreachable!("Blocks::of refuses rules that choose no power of two"),
    };
    [Some(first), second].into_iter().flatten()
}

/// From which mantissa on an amax, rounded to the element's mantissa (half up), reaches the next power of two.
fn carries_from(largest: f64) -> f64 {
    let mantissa_bits = match largest {
        6.0 => 1,
        448.0 => 3,
        _ => 6,
    };
    2.0 - power_of_two(-(mantissa_bits + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mxfp4(rule: ScaleRule) -> Quantization {
        Quantization { format: Format::Mxfp4, rule, amax_floor: 0.0 }
    }

    fn check(x: &[f64], to: Quantization, scales: &[u8], codes: &[u8], factors: &[f32]) -> Result<(), Error> {
        let data = pack(to.format, codes);
        let matrix = Matrix::new(1, x.len(), x.to_vec()).unwrap();
        let got = Encoded { format: to.format, rows: 1, columns: x.len(), data: &data, scales, factors };
        check_quantized(&matrix, to, &got)
    }

    #[test]
    fn one_wrong_code_is_named() {
        let mut x = [0.0; 64];
        (x[0], x[32], x[40]) = (1.0, 6.0, -3.0);
        let mut codes = [0; 64];
        (codes[0], codes[32], codes[40]) = (6, 7, 13);
        // 1 = 4 / 4
        assert_eq!(check(&x, mxfp4(ScaleRule::Floor), &[125, 127], &codes, &[]), Ok(()));
        codes[40] = 12;
        let error = check(&x, mxfp4(ScaleRule::Floor), &[125, 127], &codes, &[]).unwrap_err();
        let expected =
            "row 0, block 1, element 40: expected 0x0d (-3) under the scale byte 0x7f (1), got 0x0c (-2)";
        assert_eq!(error.to_string(), expected);
        let error = check(&x, mxfp4(ScaleRule::Floor), &[124, 127], &codes, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 0, block 0: expected the scale byte 0x7d (0.25), got 0x7c (0.125)"
        );
    }

    #[test]
    fn just_above_a_boundary_ceil_has_two_answers_each_with_its_codes() {
        let mut x = [0.0; 32];
        (x[0], x[1]) = (6.0 + f64::from(f32::EPSILON) * 4.0, 3.0);
        let codes = |first, second| {
            let mut codes = [0; 32];
            (codes[0], codes[1]) = (first, second);
            codes
        };
        let ceil = mxfp4(ScaleRule::Ceil);
        assert_eq!(check(&x, ceil, &[128], &codes(5, 3), &[]), Ok(()));
        assert_eq!(check(&x, ceil, &[127], &codes(7, 5), &[]), Ok(()));
        assert!(check(&x, ceil, &[127], &codes(5, 3), &[]).is_err());
        x[0] = 6.0 + f64::from(f32::EPSILON) * 16.0;
        assert!(check(&x, ceil, &[127], &codes(7, 5), &[]).is_err());
        x[0] = 6.0;
        assert!(check(&x, ceil, &[128], &codes(5, 3), &[]).is_err());
    }

    #[test]
    fn what_is_not_a_number_frees_the_codes_and_not_the_scale() {
        let mut x = [1.0; 32];
        x[7] = f64::NEG_INFINITY;
        assert_eq!(check(&x, mxfp4(ScaleRule::Even), &[255], &[3; 32], &[]), Ok(()));
        assert!(check(&x, mxfp4(ScaleRule::Even), &[127], &[3; 32], &[]).is_err());
    }

    #[test]
    fn elements_are_flushed_only_where_the_byte_clamps() {
        let to = Quantization { format: Format::Mxint8, rule: ScaleRule::Floor, amax_floor: 0.0 };
        let mut codes = [0; 32];
        let mut x = [0.0; 32];
        x[0] = power_of_two(-128);
        assert_eq!(check(&x, to, &[0], &codes, &[]), Ok(()));
        codes[0] = 32;
        assert_eq!(check(&x, to, &[0], &codes, &[]), Ok(()));
        codes[0] = 0x80;
        assert!(check(&x, to, &[0], &codes, &[]).is_err(), "-128 is no zero of int8");
        x[0] = power_of_two(-127);
        codes[0] = 0;
        assert!(check(&x, to, &[0], &codes, &[]).is_err());
    }

    #[test]
    fn zeros_have_byte_zero_or_that_of_the_floor() {
        let to = Quantization { format: Format::Mxfp8G128, rule: ScaleRule::Ceil, amax_floor: 1e-4 };
        let x = Matrix::zeros(1, 160);
        assert_eq!(quantize_reference(&x, to).unwrap().scales, [105, 105]);
        let to = Quantization { amax_floor: 0.0, ..to };
        let quantized = quantize_reference(&x, to).unwrap();
        assert_eq!((quantized.scales, quantized.data), (vec![0, 0], vec![0; 160]));
    }

    #[test]
    fn nvfp4_reaches_its_largest_value_and_keeps_zero_blocks_zero() {
        let to = Quantization { format: Format::Nvfp4, rule: ScaleRule::Nearest, amax_floor: 0.0 };
        let mut x = Matrix::zeros(2, 32);
        x.values[3] = -2688.0;
        x.values[4] = 1344.0;
        let quantized = quantize_reference(&x, to).unwrap();
        assert_eq!(quantized.factors, [1.0, f32::MIN_POSITIVE]);
        assert_eq!(quantized.scales, [0x7e, 0, 0, 0]);
        assert_eq!(quantized.data[..3], [0, 0xf0, 0x05]);
        let mut codes = [0; 32];
        codes[3] = 15;
        codes[4] = 5;
        assert_eq!(check(x.row(0), to, &[0x7e, 0], &codes, &[1.0]), Ok(()));
        let error = check(x.row(0), to, &[0x7e, 0], &codes, &[2.0]).unwrap_err();
        assert_eq!(error.to_string(), "row 0: expected the factor 1e0, got 2e0");
    }

    #[test]
    fn rules_and_formats_that_do_not_meet_are_refused() {
        let x = Matrix::zeros(1, 32);
        assert!(matches!(quantize_reference(&x, mxfp4(ScaleRule::Nearest)), Err(Error::Rule { .. })));
        let to = Quantization { format: Format::Bf16, rule: ScaleRule::Ceil, amax_floor: 0.0 };
        assert!(matches!(quantize_reference(&x, to), Err(Error::Format { .. })));
    }
}
