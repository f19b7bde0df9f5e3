//! The function of a SwiGLU, twice: in float64 as the contract has it, and in float32 where that is near enough.
//!
//! [`Gate::value`] is rounded once from float64, and takes an exponential and a division of it. The contract leaves a
//! relative error of 2^−20, so [`activate`] does nearly every value in float32, in operations that vectorise, with an
//! error below 2^−21, and leaves to the other what is out of the ordinary. Which of both a value gets depends on its
//! gate and up alone. It needs a machine that multiplies and adds at once.

use mxhal_core::format::bf16;

/// The function of a SwiGLU: `(clamp(u, −limit, limit) + plus) · g · σ(slope · g)` with `g` at most the limit; and what
/// becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// Infinite for none.
    pub(crate) limit: f32,
    pub(crate) slope: f32,
    pub(crate) plus: f32,
    /// Whether gates and ups alternate; else all gates come first.
    pub(crate) interleaved: bool,
    /// What a value, rounded to float32, is multiplied with.
    pub(crate) weight: f32,
    /// Whether it is then rounded to BF16.
    pub(crate) to_bf16: bool,
}

/// A row of gates and ups, twice as many as there will be values.
#[derive(Clone, Copy)]
pub(crate) enum GateUp<'a> {
    F32(&'a [f32]),
    /// Two bytes each, in this machine's order.
    Bf16(&'a [u8]),
}

impl GateUp<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len() / 2,
        }
    }

    fn value(&self, column: usize) -> f32 {
        match self {
            Self::F32(x) => x[column],
            Self::Bf16(x) => bf16::to_f32(u16::from_ne_bytes(x.as_chunks().0[column])),
        }
    }
}

impl Gate {
    /// In float64, and rounded to float32 once. A NaN stays one, which `f64::min` would lose.
    pub(crate) fn value(&self, gate: f32, up: f32) -> f32 {
        let limit = f64::from(self.limit);
        let (gate, up) = (f64::from(gate), f64::from(up).clamp(-limit, limit));
        let gate = if gate > limit { limit } else { gate };
        let sigmoid = 1.0 / (1.0 + (-f64::from(self.slope) * gate).exp());
        self.finished(((up + f64::from(self.plus)) * gate * sigmoid) as f32)
    }

    /// Weighted and rounded.
    fn finished(&self, value: f32) -> f32 {
        let value = value * self.weight;
        if self.to_bf16 { bf16::to_f32(bf16::from_f32(value)) } else { value }
    }

    /// The gate and the up of a column.
    pub(crate) fn operands(&self, x: GateUp<'_>, column: usize) -> [f32; 2] {
        let places =
            if self.interleaved { [2 * column, 2 * column + 1] } else { [column, x.len() / 2 + column] };
        places.map(|place| x.value(place))
    }

    /// [`Self::value`] of each column of a row.
    pub(crate) fn values(&self, x: GateUp<'_>, values: &mut [f32]) {
        assert!(x.len() == 2 * values.len(), "a gate and an up for each value");
        for (column, value) in values.iter_mut().enumerate() {
            let [gate, up] = self.operands(x, column);
            *value = self.value(gate, up);
        }
    }
}

/// Columns after which what is out of the ordinary is looked for.
const AT_ONCE: usize = 256;

/// [`Gate::values`], nearly: see above. To be called from functions that are compiled for machines with vectors and fused
/// multiplication and addition.
#[inline(always)]
pub(crate) fn activate(gate: &Gate, x: GateUp<'_>, values: &mut [f32]) {
    let n = values.len();
    assert!(x.len() == 2 * n, "a gate and an up for each value");
    let Some(fast) = Fast::new(gate) else { return gate.values(x, values) };
    for (i, values) in values.chunks_mut(AT_ONCE).enumerate() {
        let first = i * AT_ONCE;
        let are_ordinary = match (x, gate.interleaved) {
            (GateUp::F32(x), false) => {
                let pairs = x[first..].iter().zip(&x[n + first..]);
                fast.values(pairs.map(|(gate, up)| [*gate, *up]), values)
            }
            (GateUp::F32(x), true) => fast.values(x[2 * first..].as_chunks().0.iter().copied(), values),
            (GateUp::Bf16(x), false) => {
                let pairs = x[2 * first..].as_chunks().0.iter().zip(x[2 * (n + first)..].as_chunks().0);
                fast.values(pairs.map(|(gate, up)| [*gate, *up].map(widened)), values)
            }
            (GateUp::Bf16(x), true) => {
                let pairs = x[4 * first..].as_chunks::<4>().0.iter();
                fast.values(pairs.map(|[a, b, c, d]| [[*a, *b], [*c, *d]].map(widened)), values)
            }
        };
        if !are_ordinary {
            for (column, value) in (first..).zip(values) {
                let [g, u] = gate.operands(x, column);
                if !fast.value(g, u).1 {
                    *value = gate.value(g, u);
                }
            }
        }
    }
}

#[inline(always)]
fn widened(bytes: [u8; 2]) -> f32 {
    bf16::to_f32(u16::from_ne_bytes(bytes))
}

/// To BF16 and back, of what is no NaN.
#[inline(always)]
fn rounded_to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// The function with its constants, in float32.
struct Fast {
    limit: f32,
    plus: f32,
    /// The weight, over [`SCALE`].
    weight: f32,
    to_bf16: bool,
    /// −slope · log2 e, and what float32 leaves of it.
    factor: [f32; 2],
    /// Gates below and above are taken to be this in the exponent: σ is as good as 0 and 1 there.
    least: f32,
    most: f32,
}

impl Fast {
    /// `None` for a slope or a weight far from 1, which nobody has.
    fn new(gate: &Gate) -> Option<Self> {
        let factor = -f64::from(gate.slope) * std::f64::consts::LOG2_E;
        let high = factor as f32;
        let has_weight = gate.weight == 0.0 || (HEAVIEST.recip()..HEAVIEST).contains(&gate.weight.abs());
        (has_weight && (0.1..10.0).contains(&gate.slope)).then(|| Self {
            limit: gate.limit,
            plus: gate.plus,
            weight: gate.weight / SCALE,
            to_bf16: gate.to_bf16,
            factor: [high, (factor - f64::from(high)) as f32],
            least: (LARGEST / factor) as f32,
            most: (SMALLEST / factor) as f32,
        })
    }

    /// The values of some columns, and whether all are near enough.
    #[inline(always)]
    fn values(&self, operands: impl Iterator<Item = [f32; 2]>, values: &mut [f32]) -> bool {
        let mut are_ordinary = true;
        if self.to_bf16 {
            for (value, [gate, up]) in values.iter_mut().zip(operands) {
                let (near, is_ordinary) = self.value(gate, up);
                *value = rounded_to_bf16(near);
                are_ordinary &= is_ordinary;
            }
        } else {
            for (value, [gate, up]) in values.iter_mut().zip(operands) {
                let is_ordinary;
                (*value, is_ordinary) = self.value(gate, up);
                are_ordinary &= is_ordinary;
            }
        }
        are_ordinary
    }

    /// The value before it is rounded to BF16, and whether it is near enough.
    ///
    /// With `−slope · g · log2 e = n + r`, `n` the nearest integer, σ = 1 / (1 + 2^n · 2^r). That may be less than float32
    /// holds where up is so large that their product is not; so all of it is done with σ · [`SCALE`].
    #[inline(always)]
    fn value(&self, gate: f32, up: f32) -> (f32, bool) {
        let g = if gate > self.limit { self.limit } else { gate };
        let u = if up > self.limit { self.limit } else { up };
        let u = if u < -self.limit { -self.limit } else { u };
        let x = if g < self.least { self.least } else { g };
        let x = if x > self.most { self.most } else { x };
        // The last place of the sum is 1: it has n, less the scale's exponent, in its lowest bits.
        let sum = x.mul_add(self.factor[0], INTEGERS - SCALE_EXPONENT);
        let n = sum - (INTEGERS - SCALE_EXPONENT);
        let r = x.mul_add(self.factor[1], x.mul_add(self.factor[0], -n));
        let power = EXP2[1..].iter().fold(EXP2[0], |sum, factor| sum.mul_add(r, *factor));
        let power = f32::from_bits(power.to_bits().wrapping_add(sum.to_bits() << 23));
        let product = g / (SCALE.recip() + power) * (u + self.plus);
        // Where σ is as good as 0 the value must be, too. For a NaN no comparison holds.
        let most = if g < self.least { (SCALE * HEAVIEST).recip() } else { f32::MAX };
        (product * self.weight, product.abs() < most)
    }
}

/// 2^63.
const SCALE: f32 = (1_u64 << 63) as f32;
const SCALE_EXPONENT: f32 = 63.0;

/// The largest weight: 2^20.
const HEAVIEST: f32 = (1 << 20) as f32;

/// Exponents of two, the powers of which are as good as 0 and infinite beside 1; less 63 they are float32's.
const SMALLEST: f64 = -60.0;
const LARGEST: f64 = 189.0;

/// From here on float32 has integers.
const INTEGERS: f32 = 12_582_912.0;

/// 2^r for |r| ≤ ½ with a relative error below 2^−22.8: the minimax polynomial, from its highest power on (by Remez'
/// algorithm), in float32.
const EXP2: [f32; 6] = [0.001_327_647_6, 0.009_675_541, 0.055_507_13, 0.240_221_2, 0.693_146_94, 1.000_000_1];
