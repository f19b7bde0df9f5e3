//! Drawing what Quantize is asked to round: every case that its rules tell apart.

use mxhal_core::Format;
use mxhal_core::op::Quantize;

use super::random::Random;
use super::recipe::Values;
use crate::oracle::format::{E2M1, E4M3, Float, power_of_two};

/// How many columns are drawn together: the least that any format but NVFP4 shares a scale by.
const CHUNK: usize = 32;

/// `[rows, k]` values, numbers of the input's format.
pub(crate) fn values(random: &mut Random, quantize: &Quantize, rows: usize, values: Values) -> Vec<f64> {
    let float = Float::of(quantize.input).expect("Quantize takes plain floats");
    let mut all = Vec::with_capacity(rows * quantize.k);
    for _ in 0..rows {
        for first in (0..quantize.k).step_by(CHUNK) {
            let block = block(random, quantize, (quantize.k - first).min(CHUNK), values);
            all.extend(block.into_iter().map(|value| float.round(value)));
        }
    }
    all
}

fn block(random: &mut Random, quantize: &Quantize, width: usize, values: Values) -> Vec<f64> {
    let magnitudes = magnitudes(quantize.to.format);
    let limit = magnitudes[magnitudes.len() - 1];
    let scale = power_of_two(power(random, quantize));
    match values {
        Values::Ties => match random.below(4) {
            0 => normal(random, width, scale),
            1 => spread(random, width, scale),
            2 => ties(random, width, &magnitudes, limit, scale),
            _ => around_a_boundary(random, width, limit, scale),
        },
        Values::Boundary => {
            // One or two units of float32 above the largest magnitude that does not saturate.
            let top = limit * (1.0 + power_of_two(-23)) * scale;
            with_top(random, (0..width).map(|place| top * (place as f64 / 64.0)).collect(), top)
        }
        Values::Tiny => match random.below(4) {
            0 => vec![0.0; width],
            1 => {
                let top = power_of_two(random.between(-149, -120));
                let block = (0..width).map(|_| random.normal() / 4.0 * top).collect();
                with_top(random, block, top)
            }
            // The least scales that are not clamped, and the last that are.
            2 => {
                let scale = power_of_two(random.between(-128, -116));
                normal(random, width, scale)
            }
            _ => {
                let mut block = vec![0.0; width];
                block[random.below(width)] = power_of_two(-149);
                block
            }
        },
        Values::SignedZeros => {
            let mut block: Vec<f64> =
                (0..width).map(|_| random.pick(&[0.0, -0.0, -0.0, 1.0, -0.01]) * scale).collect();
            // Without another number, which zero's code comes is free.
            block[random.below(width)] = -limit * scale;
            block
        }
        Values::NonFinite => {
            let mut block = normal(random, width, scale);
            if random.one_in(2) {
                let place = random.below(width);
                block[place] = random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::NAN]);
            }
            block
        }
        _ => normal(random, width, scale),
    }
}

/// The exponent of a block's scale: mostly near zero, sometimes anywhere that the input's range allows.
fn power(random: &mut Random, quantize: &Quantize) -> i32 {
    match (quantize.input, random.one_in(4)) {
        (Format::F16, _) => random.between(-6, 6),
        (_, true) => random.between(-90, 90),
        (_, false) => random.between(-16, 16),
    }
}

fn magnitudes(format: Format) -> Vec<f64> {
    match format {
        Format::Mxfp4 | Format::Nvfp4 => E2M1.to_vec(),
        Format::Mxint8 => (0..128).map(|steps| f64::from(steps) / 64.0).collect(),
        _ => E4M3.to_vec(),
    }
}

fn normal(random: &mut Random, width: usize, scale: f64) -> Vec<f64> {
    (0..width).map(|_| random.normal() * scale).collect()
}

/// Numbers of very different sizes.
fn spread(random: &mut Random, width: usize, scale: f64) -> Vec<f64> {
    (0..width).map(|_| random.normal() * power_of_two(random.between(-8, 0)) * scale).collect()
}

/// Middles between neighbouring codes, and what lies just beside them, under a largest magnitude that makes every
/// rule choose this very scale.
fn ties(random: &mut Random, width: usize, magnitudes: &[f64], limit: f64, scale: f64) -> Vec<f64> {
    let one = |random: &mut Random| {
        let below = random.below(magnitudes.len() - 1);
        let middle = (magnitudes[below] + magnitudes[below + 1]) / 2.0;
        let beside = random.pick(&[0.0, 0.0, power_of_two(-20), -power_of_two(-20), power_of_two(-7)]);
        let sign = random.pick(&[1.0, -1.0]);
        sign * middle * (1.0 + beside) * scale
    };
    let block = (0..width).map(|_| one(random)).collect();
    with_top(random, block, limit * scale)
}

/// A largest magnitude at or beside one of the mantissas at which a rule's scale changes, and numbers below it; never
/// so near above the limit that `ceil` leaves a choice.
fn around_a_boundary(random: &mut Random, width: usize, limit: f64, scale: f64) -> Vec<f64> {
    let step = power_of_two(-20);
    let mantissa = random.pick(&[1.0, 1.25, 1.5, 1.75, 1.875, 1.9375, 1.984_375, 1.992_187_5]);
    let beside = random.pick(&[0.0, step, -step, power_of_two(-7), -power_of_two(-7)]);
    let top = mantissa * (1.0 + beside) * scale * if limit > 2.0 { limit / 2.0 } else { 1.0 };
    let block = (0..width).map(|_| (random.uniform() * 2.0 - 1.0) * top).collect();
    with_top(random, block, top)
}

/// The block with its largest magnitude put somewhere, with any sign.
fn with_top(random: &mut Random, mut block: Vec<f64>, top: f64) -> Vec<f64> {
    let place = random.below(block.len());
    block[place] = top * random.pick(&[1.0, -1.0]);
    block
}

#[cfg(test)]
mod tests {
    use mxhal_core::{Quantization, ScaleRule};

    use super::*;
    use crate::oracle::{Matrix, quantize_reference};

    fn quantize(format: Format, input: Format) -> Quantize {
        Quantize { rows: 64, k: 128, input, to: Quantization::new(format) }
    }

    #[test]
    fn ties_are_met_and_leave_no_choice() {
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8] {
            for input in [Format::F32, Format::Bf16, Format::F16] {
                let quantize = quantize(format, input);
                let drawn = values(&mut Random::new(5, "x"), &quantize, 64, Values::Ties);
                let x = Matrix::new(64, 128, drawn).unwrap();
                for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                    let to = quantize.to.with_rule(rule);
                    let scales = quantize_reference(&x, to).unwrap().scales;
                    assert!(!scales.contains(&255) && !scales.contains(&0), "{format} {rule} {input}");
                }
                let columns = format.blocks().unwrap().columns;
                let scale = quantize_reference(&x, quantize.to).unwrap().scales;
                let magnitudes = magnitudes(format);
                let is_tie = |(place, value): (usize, &f64)| {
                    let scaled = value.abs() / crate::oracle::format::e8m0(scale[place / columns]);
                    magnitudes.windows(2).any(|pair| scaled == (pair[0] + pair[1]) / 2.0)
                };
                let found = x.values.iter().enumerate().filter(|&pair| is_tie(pair)).count();
                assert!(found > 200, "{format} of {input}: {found} ties");
            }
        }
    }
}
