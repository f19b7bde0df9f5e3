//! What routing does with a token's logits: scores in float64, and the choice of the best.
//!
//! Scores are computed twice: by the functions of the standard library ([`exactly`]), and in operations that vectorise
//! ([`nearly`]), with a relative error below 2^−48, for machines that multiply and add at once. Numbers of float64 are held
//! as their bits, beside the integers that they are ordered by.

use mxhal_core::op::Score;

/// The scores of all logits, which are float32 in this machine's order. [`Score::SoftmaxOfChosen`] has none yet: the logits
/// themselves choose.
pub(crate) fn exactly(function: Score, logits: &[u8], scores: &mut [i64]) {
    match function {
        Score::Softmax => softmax(logits, scores, f64::exp),
        Score::Sigmoid => each(logits, scores, |logit| 1.0 / (1.0 + (-logit).exp())),
        Score::SqrtSoftplus => each(logits, scores, |logit| sqrt_softplus(logit, logit.exp().ln_1p())),
        _ => each(logits, scores, |logit| logit),
    }
}

/// [`exactly`], nearly. To be called from functions that are compiled for machines with vectors and fused multiplication and
/// addition.
#[inline(always)]
pub(crate) fn nearly(function: Score, logits: &[u8], scores: &mut [i64]) {
    match function {
        Score::Softmax => softmax(logits, scores, exp),
        Score::Sigmoid => each(logits, scores, |logit| 1.0 / (1.0 + exp(-logit))),
        Score::SqrtSoftplus => each(logits, scores, |logit| sqrt_softplus(logit, ln_1p(exp(logit)))),
        _ => each(logits, scores, |logit| logit),
    }
}

/// As PyTorch's softplus, which is the identity above 20.
#[inline(always)]
fn sqrt_softplus(logit: f64, softplus: f64) -> f64 {
    if logit > 20.0 { logit } else { softplus }.sqrt()
}

#[inline(always)]
fn each(logits: &[u8], scores: &mut [i64], function: impl Fn(f64) -> f64) {
    for (logit, score) in logits.as_chunks().0.iter().zip(scores) {
        *score = function(f64::from(f32::from_ne_bytes(*logit))).to_bits().cast_signed();
    }
}

#[inline(always)]
fn softmax(logits: &[u8], scores: &mut [i64], exp: impl Fn(f64) -> f64) {
    // Side by side, so that a lane waits for itself alone.
    const LANES: usize = 8;
    let (whole, rest) = logits.as_chunks::<{ 4 * LANES }>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for bytes in whole.iter().map(|bytes| bytes.as_chunks().0).chain([rest.as_chunks().0]) {
        for (largest, logit) in largest.iter_mut().zip(bytes) {
            let logit = f32::from_ne_bytes(*logit);
            *largest = if logit > *largest { logit } else { *largest };
        }
    }
    let largest = f64::from(largest.into_iter().fold(f32::NEG_INFINITY, f32::max));
    each(logits, scores, |logit| exp(logit - largest));
    let mut sums = [0.0; LANES];
    for scores in scores.chunks(LANES) {
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += number(*score);
        }
    }
    let sum: f64 = sums.into_iter().sum();
    for score in scores {
        *score = (number(*score) / sum).to_bits().cast_signed();
    }
}

/// The number whose bits these are.
#[inline(always)]
pub(crate) fn number(bits: i64) -> f64 {
    f64::from_bits(bits.cast_unsigned())
}

/// Chooses the experts with the greatest sums of score and bias (float32 in this machine's order), the best one first. A
/// NaN is greater than every number; of equal ones the lower id is better. `keys` are as many as `scores`, and of no use
/// afterwards; no more are chosen than there are.
#[inline(always)]
pub(crate) fn choose(scores: &[i64], bias: Option<&[u8]>, keys: &mut [i64], chosen: &mut [i64]) {
    match bias {
        None => {
            for (key, score) in keys.iter_mut().zip(scores) {
                *key = order(number(*score));
            }
        }
        Some(bias) => {
            for ((key, score), bias) in keys.iter_mut().zip(scores).zip(bias.as_chunks().0) {
                *key = order(number(*score) + f64::from(f32::from_ne_bytes(*bias)));
            }
        }
    }
    let mut last = -1;
    for chosen in chosen {
        let mut best = TAKEN;
        for (id, key) in keys.iter_mut().enumerate() {
            // Here rather than where it was found: the loads of a register would wait for the store of one number.
            *key = if id as i64 == last { TAKEN } else { *key };
            best = best.max(*key);
        }
        last = keys.iter().enumerate().fold(i64::MAX, |first, (id, key)| {
            let id = if *key == best { id as i64 } else { i64::MAX };
            first.min(id)
        });
        *chosen = last;
    }
}

/// Below every key.
const TAKEN: i64 = i64::MIN;

/// An integer that is greater for a greater number, and greatest for a NaN; zeros have the same.
#[inline(always)]
fn order(number: f64) -> i64 {
    if number.is_nan() {
        return i64::MAX;
    }
    let bits = (number + 0.0).to_bits().cast_signed();
    bits ^ (bits >> 63) & i64::MAX
}

/// e^x; for x below −707 or above 709 as if it were that.
///
/// With x = n · ln 2 + r that is 2^n · e^r, and e^r its series to the 13th power.
#[inline(always)]
fn exp(x: f64) -> f64 {
    let x = if x < -707.0 { -707.0 } else { x };
    let x = if x > 709.0 { 709.0 } else { x };
    let sum = x.mul_add(std::f64::consts::LOG2_E, INTEGERS);
    let n = sum - INTEGERS;
    let r = (-n).mul_add(LN_2[1], (-n).mul_add(LN_2[0], x));
    let power = EXP[1..].iter().fold(EXP[0], |sum, factor| sum.mul_add(r, *factor));
    f64::from_bits(power.to_bits().wrapping_add(sum.to_bits() << 52))
}

/// ln(1 + e) for 0 ≤ e.
///
/// What is lost of `e` in `u = 1 + e` is nearly the same in ln u and in u − 1 (Kahan). With u = 2^k · m and m near 1, ln m is
/// the series of 2 · artanh s, s = (m − 1) / (m + 1).
#[inline(always)]
fn ln_1p(e: f64) -> f64 {
    let u = 1.0 + e;
    let above = u.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = above & !((1 << 52) - 1);
    let m = f64::from_bits(u.to_bits().wrapping_sub(exponent));
    let k = f64::from_bits(INTEGERS.to_bits().wrapping_add(exponent >> 52)) - INTEGERS;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = ARTANH[1..].iter().fold(ARTANH[0], |sum, factor| sum.mul_add(z, *factor));
    let ln = k.mul_add(std::f64::consts::LN_2, 2.0 * s * series);
    if u == 1.0 { e } else { ln * (e / (u - 1.0)) }
}

/// From here on float64 has integers, in its lowest bits.
const INTEGERS: f64 = 6_755_399_441_055_744.0;

/// ln 2, and what float64 leaves of it.
const LN_2: [f64; 2] = [std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17];

/// 1/13! to 1/0!.
const EXP: [f64; 14] = {
    let mut factors = [1.0; 14];
    let mut i = 13;
    while i > 0 {
        factors[i - 1] = factors[i] / (14 - i) as f64;
        i -= 1;
    }
    factors
};

/// 1/21, 1/19 and so on to 1.
const ARTANH: [f64; 11] = {
    let mut factors = [1.0; 11];
    let mut i = 0;
    while i < 11 {
        factors[i] = 1.0 / (21 - 2 * i) as f64;
        i += 1;
    }
    factors
};
