//! MoeFfn in intervals: everything that a correct backend may give.
//!
//! Where a chain quantizes an intermediate, a value at a rounding edge falls to either side when a sum differs in its
//! last bits, and then moves by a whole step. So each value is carried as a range: a product's is widened by its
//! bound, both ends are rounded, and where a block's largest magnitude is at an edge both scales are taken. What
//! rounding does is monotone, so that the ends tell all. The result is safe and not sharp: it supposes that every
//! freedom is used to the same side at once. Where an end is infinite, nothing is demanded of what follows from it.

use std::ops::RangeInclusive;

use super::decode::nvfp4;
use super::format::{E4M3, Float, e4m3, nearest_e2m1, nearest_e4m3, power_of_two};
use super::matmul::{UNIT, gamma};
use super::moe::{Expert, Moe};
use super::permute::permute;
use super::quantize::{Blocks, factor_of};
use super::swiglu::{SwiGlu, Variant, error_before_rounding};
use super::{Error, Format, Matrix, Mismatch, Quantization, expect_size};

/// The numbers from `low` to `high`; both are NaN where NaN is the only answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// What the products of a chain are rounded to, and what goes into the second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intermediates {
    /// BF16, as in DeepSeek's own code.
    Bf16,
    /// BF16, or left in float32 as a fused kernel does: each as the backend likes.
    Bf16OrBetter,
}

/// A matrix of ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// Rows: tokens.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// `rows × columns` ranges, row-major.
    pub values: Vec<Range>,
}

impl Moe {
    /// The range of each `y`, not rounded; the arguments are those of [`Moe::apply`].
    ///
    /// # Errors
    /// As [`Moe::apply`].
    pub fn ranges(
        &self,
        x: &Matrix,
        ids: &[i32],
        weights: &[f64],
        intermediates: Intermediates,
    ) -> Result<Ranges, Error> {
        let chain = Chain { moe: self, intermediates };
        let top_k = self.top_k(x, ids, weights)?;
        let permutation = permute(ids, top_k, self.experts.len())?;
        let x = Ranges::from(x);
        let mut routed = Vec::new();
        for (expert, &count) in self.experts.iter().zip(&permutation.counts) {
            let first = routed.len() / x.columns.max(1);
            for &route in &permutation.source[first..][..count] {
                let route = route as usize;
                let weight = self.weight_before_down.then(|| Float::F32.round(weights[route]));
                routed.extend(chain.expert(x.row(route / top_k), expert, self.swiglu, weight)?);
            }
        }
        let after = self.weights_after(weights);
        let mut y = Ranges { rows: x.rows, columns: x.columns, values: Vec::with_capacity(x.values.len()) };
        for token in 0..x.rows {
            let shared = match &self.shared {
                Some(shared) => {
                    Some(chain.expert(x.row(token), &shared.expert, self.shared_swiglu(shared), None)?)
                }
                None => None,
            };
            for column in 0..x.columns {
                let mut sum = RangeSum::default();
                let slots = token * top_k..(token + 1) * top_k;
                for (&position, &weight) in permutation.positions[slots.clone()].iter().zip(&after[slots]) {
                    if let Ok(row) = usize::try_from(position) {
                        sum.add(routed[row * x.columns + column], weight);
                    }
                }
                if let Some(shared) = &shared {
                    sum.add(shared[column], 1.0);
                }
                y.values.push(sum.range(top_k + usize::from(shared.is_some())));
            }
        }
        Ok(y)
    }
}

impl Ranges {
    /// Whether every output, in the format `output`, is the rounding of a number in its range.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first that is not; [`Error::Shape`], [`Error::Format`].
    pub fn check(&self, got: &Matrix, output: Format) -> Result<(), Error> {
        let float = Float::of(output)?;
        expect_size("the result's column", self.rows, got.rows)?;
        expect_size("the result's row", self.columns, got.columns)?;
        for (index, (range, &got)) in self.values.iter().zip(&got.values).enumerate() {
            let rounded = range.map(|end| float.round(end));
            if !rounded.contains(got) {
                let (row, element) = (index / self.columns, Some(index % self.columns));
                let expected = format!("a value from {:e} to {:e}", rounded.low, rounded.high);
                return Err(Mismatch { row, block: None, element, expected, got: format!("{got:e}") }.into());
            }
        }
        Ok(())
    }

    fn row(&self, index: usize) -> &[Range] {
        &self.values[index * self.columns..][..self.columns]
    }
}

impl From<&Matrix> for Ranges {
    fn from(matrix: &Matrix) -> Self {
        let values = matrix.values.iter().map(|&value| Range { low: value, high: value }).collect();
        Self { rows: matrix.rows, columns: matrix.columns, values }
    }
}

impl Range {
    /// Nothing is demanded; NaN is right as well.
    const ANYTHING: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };
    const NAN: Self = Self { low: f64::NAN, high: f64::NAN };

    /// The smallest range that holds `values`; NaN if one of them is.
    fn hull(values: impl IntoIterator<Item = f64>) -> Self {
        let mut hull = Self { low: f64::INFINITY, high: f64::NEG_INFINITY };
        for value in values {
            if value.is_nan() {
                return Self::NAN;
            }
            hull = Self { low: hull.low.min(value), high: hull.high.max(value) };
        }
        hull
    }

    /// Whether `value` is in it.
    pub fn contains(self, value: f64) -> bool {
        (self.low <= value && value <= self.high)
            || (value.is_nan() && (self.low.is_nan() || self == Self::ANYTHING))
    }

    fn is_finite(self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }

    fn is_nan(self) -> bool {
        self.low.is_nan()
    }

    fn is_surely_infinite(self) -> bool {
        self.low.is_infinite() && self.low == self.high
    }

    fn map(self, monotone: impl Fn(f64) -> f64) -> Self {
        Self { low: monotone(self.low), high: monotone(self.high) }
    }

    fn widened(self, by: f64) -> Self {
        Self { low: self.low - by, high: self.high + by }
    }

    fn scaled(self, by: f64) -> Self {
        Self::hull([self.low * by, self.high * by])
    }

    fn largest_magnitude(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    fn least_magnitude(self) -> f64 {
        if self.low <= 0.0 && self.high >= 0.0 { 0.0 } else { self.low.abs().min(self.high.abs()) }
    }
}

/// A sum of ranges times exact weights.
#[derive(Default)]
struct RangeSum {
    low: f64,
    high: f64,
    magnitude: f64,
    is_nan: bool,
}

impl RangeSum {
    fn add(&mut self, range: Range, weight: f64) {
        let term = if range.is_finite() { range.scaled(weight) } else { range };
        self.is_nan |= term.is_nan();
        self.low += term.low;
        self.high += term.high;
        self.magnitude += term.largest_magnitude();
    }

    /// The sum as an accumulator of 24 bits may have it.
    fn range(&self, terms: usize) -> Range {
        if self.is_nan {
            return Range::NAN;
        }
        if !self.magnitude.is_finite() {
            return Range::ANYTHING;
        }
        // The float64 sums here are not compensated; one more unit is far more than they lose.
        let bound = (gamma(terms) + power_of_two(-30)) * self.magnitude;
        Range { low: self.low, high: self.high }.widened(bound)
    }
}

struct Chain<'a> {
    moe: &'a Moe,
    intermediates: Intermediates,
}

impl Chain<'_> {
    fn expert(
        &self,
        x: &[Range],
        expert: &Expert,
        swiglu: SwiGlu,
        weight: Option<f64>,
    ) -> Result<Vec<Range>, Error> {
        let gate_up = self.project(x, &expert.gate_up, expert.gate_up_bias.as_deref())?;
        let lows: Vec<f64> = gate_up.iter().map(|range| range.low).collect();
        let highs: Vec<f64> = gate_up.iter().map(|range| range.high).collect();
        let hidden = (0..gate_up.len() / 2).map(|column| {
            let ((gate_low, up_low), (gate_high, up_high)) =
                (swiglu.operands(&lows, column), swiglu.operands(&highs, column));
            let gate = Range { low: gate_low, high: gate_high };
            let h = swiglu_range(swiglu, gate, Range { low: up_low, high: up_high });
            // The weight's product is rounded to float32 once more.
            self.rounded(match weight {
                Some(weight) if h.is_finite() => {
                    let weighted = h.scaled(weight);
                    weighted.widened(weighted.largest_magnitude() * UNIT + power_of_two(-149))
                }
                _ => h,
            })
        });
        self.project(&hidden.collect::<Vec<_>>(), &expert.down, expert.down_bias.as_deref())
    }

    fn project(&self, x: &[Range], w: &Matrix, bias: Option<&[f64]>) -> Result<Vec<Range>, Error> {
        expect_size("a row of the weights", x.len(), w.columns)?;
        expect_size("the bias", w.rows, bias.map_or(w.rows, <[_]>::len))?;
        let quantized;
        let x = if self.moe.activation.is_none() {
            x
        } else {
            quantized = quantize_ranges(x, Blocks::of(self.moe.activation)?);
            &quantized
        };
        let outputs = (0..w.rows).map(|n| {
            let mut sum = RangeSum::default();
            x.iter().zip(w.row(n)).for_each(|(&x, &weight)| sum.add(x, weight));
            if let Some(bias) = bias {
                sum.add(Range { low: bias[n], high: bias[n] }, 1.0);
            }
            self.rounded(sum.range(w.columns))
        });
        Ok(outputs.collect())
    }

    fn rounded(&self, range: Range) -> Range {
        let bf16 = range.map(|end| Float::BF16.round(end));
        match self.intermediates {
            Intermediates::Bf16 => bf16,
            Intermediates::Bf16OrBetter => Range::hull([range.low, range.high, bf16.low, bf16.high]),
        }
    }
}

/// SwiGLU is a function of the gate, with one minimum, times an increasing one of up: its extremes are at the ends,
/// or where that minimum is.
fn swiglu_range(swiglu: SwiGlu, gate: Range, up: Range) -> Range {
    /// Where `x · σ(x)` is least.
    const LEAST: f64 = -1.278_464_542_761_074;
    if gate.is_nan() || up.is_nan() {
        return Range::NAN;
    }
    if !gate.is_finite() || !up.is_finite() {
        return Range::ANYTHING;
    }
    let least = match swiglu.variant {
        Variant::Plain => LEAST,
        Variant::GptOss { alpha } => LEAST / alpha,
    };
    let gates = [gate.low, gate.high, least.clamp(gate.low, gate.high)];
    let range = Range::hull(gates.iter().flat_map(|&g| [swiglu.value(g, up.low), swiglu.value(g, up.high)]));
    range.widened(error_before_rounding(range.largest_magnitude()))
}

/// What the values of one row, each somewhere in its range, may be quantized to.
pub(crate) fn quantize_row(x: &[Range], to: Quantization) -> Result<Vec<Range>, Error> {
    Ok(quantize_ranges(x, Blocks::of(to)?))
}

fn quantize_ranges(x: &[Range], blocks: Blocks) -> Vec<Range> {
    let factors = {
        let ends = |end: fn(Range) -> f64| factor_of(&x.iter().map(|&range| end(range)).collect::<Vec<_>>());
        (ends(Range::least_magnitude), ends(Range::largest_magnitude))
    };
    // An end that is infinite may make its block NaN, or not; in NVFP4 it leaves the factor of the row open as well.
    let is_open = |ranges: &[Range]| ranges.iter().any(|range| !range.is_finite() && !range.is_nan());
    let row_is_open = blocks.format() == Format::Nvfp4 && is_open(x);
    let quantize = |block: &[Range]| {
        if block.iter().any(|range| range.is_nan() || range.is_surely_infinite()) {
            vec![Range::NAN; block.len()]
        } else if row_is_open || is_open(block) {
            vec![Range::ANYTHING; block.len()]
        } else {
            quantize_block(block, blocks, factors)
        }
    };
    x.chunks(blocks.columns).flat_map(quantize).collect()
}

/// Quantizes a block of finite ranges.
fn quantize_block(block: &[Range], blocks: Blocks, factors: (f32, f32)) -> Vec<Range> {
    let amax = Range {
        low: block.iter().fold(0.0, |amax, range| range.least_magnitude().max(amax)),
        high: block.iter().fold(0.0, |amax, range| range.largest_magnitude().max(amax)),
    };
    if blocks.format() == Format::Nvfp4 {
        return block.iter().map(|&range| nvfp4_range(range, amax, factors)).collect();
    }
    let (bytes, flushes): (RangeInclusive<u8>, bool) = blocks.scale_bytes(amax.low, amax.high);
    let value = |range: Range| {
        let ends = bytes
            .clone()
            .flat_map(|byte| [blocks.at_scale(range.low, byte), blocks.at_scale(range.high, byte)]);
        Range::hull(ends.chain(flushes.then_some(0.0)))
    };
    block.iter().map(|&range| value(range)).collect()
}

/// With the row's factor in a range, so is the block's scale, and the unit of its elements.
fn nvfp4_range(x: Range, amax: Range, factors: (f32, f32)) -> Range {
    let round = |value| Float::F32.round(value);
    let scale = |amax: f64, factor: f32| {
        let scale = round(round(amax / 6.0) / f64::from(factor)).clamp(E4M3[1], E4M3[126]);
        if amax == 0.0 { 0 } else { nearest_e4m3(scale) }
    };
    let (least, largest) = (scale(amax.low, factors.1), scale(amax.high, factors.0));
    if largest == 0 {
        return Range { low: 0.0, high: 0.0 };
    }
    let unit = |scale: u8, factor: f32| round(e4m3(scale) * f64::from(factor));
    let units = Range { low: unit(least.max(1), factors.0), high: unit(largest, factors.1) };
    // The code that is furthest from zero comes with the least unit, its value with the largest.
    let outward = |end: f64| nvfp4(nearest_e2m1(round(end / units.low)), largest, factors.1);
    let inward = |end: f64| nvfp4(nearest_e2m1(round(end / units.high)), least, factors.0);
    Range::hull([outward(x.low), inward(x.low), outward(x.high), inward(x.high)])
}
