//! Scaled products: what the dense and the grouped matmul share.
//!
//! # Chosen
//!
//! The order within a block of 32 and the width of the accumulator are not documented: products are exact in float32, a
//! block's are summed in eight partial sums in float32, scaled in float64 and added to a float32 accumulator.

use super::scales::BLOCK;
use crate::element::Element;

/// A line along K: values, and a scale for each 32 of them.
pub(crate) struct Line {
    pub(crate) values: Vec<f32>,
    pub(crate) scales: Vec<f64>,
}

/// The sum of products of two lines of one length.
pub(crate) fn dot(a: &Line, b: &Line) -> f32 {
    let mut sum = 0.0_f32;
    let blocks = a.values.chunks(BLOCK).zip(b.values.chunks(BLOCK));
    for ((x, y), (p, q)) in blocks.zip(a.scales.iter().zip(&b.scales)) {
        // Exponents of up to ±254 meet here, more than float32 has.
        sum += (f64::from(unscaled(x, y)) * p * q) as f32;
    }
    sum
}

/// The sum of products without scales.
pub(crate) fn unscaled(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (x_eights, y_eights) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f32 = x_eights.remainder().iter().zip(y_eights.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in x_eights.zip(y_eights) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// What a product may be rounded to.
pub(crate) const OUTPUTS: [Element; 3] = [Element::F16, Element::Bf16, Element::F32];
