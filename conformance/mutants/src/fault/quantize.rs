//! Faults of quantize and dequantize.

use mxhal_core::format::{bf16, e2m1, e8m0, f16};
use mxhal_core::op::{Dequantize, Quantize};
use mxhal_core::{Format, Op, Result, ScaleRule, Span, Tensor};

use crate::device::Run;
use crate::memory::{read, row, row_scales, write};

/// The even index goes into the high nibble.
pub(super) fn nibbles_swapped(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Some((_, y)) = mxfp4_quantized(run) else { return Ok(()) };
    for at in 0..y.layout().rows() {
        let codes: Vec<u8> = read(row(y, at)).iter().map(|byte| byte.rotate_left(4)).collect();
        write(row(y, at).address, &codes);
    }
    Ok(())
}

/// A value halfway between two elements becomes the larger one.
pub(super) fn ties_away(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Some((x, y)) = mxfp4_quantized(run) else { return Ok(()) };
    for at in 0..y.layout().rows() {
        let values = floats(x.layout().format(), &read(row(x, at)));
        let scales = read(row_scales(y, at));
        let mut codes = read(row(y, at));
        for (pair, (byte, values)) in codes.iter_mut().zip(values.as_chunks::<2>().0).enumerate() {
            // Two columns a byte, 32 a scale.
            let scale = scales[pair / 16];
            let (low, high) = e2m1::unpack(*byte);
            *byte = e2m1::pack(away(low, values[0], scale), away(high, values[1], scale));
        }
        write(row(y, at).address, &codes);
    }
    Ok(())
}

/// The code for a value whose nearest, ties to even, is `code`.
fn away(code: u8, value: f32, scale: u8) -> u8 {
    if scale == e8m0::NAN {
        return code;
    }
    let magnitude = f64::from(value.abs()) / f64::from(e8m0::decode(scale));
    let larger = code + 1;
    let is_largest = code & 7 == 7;
    let tie = !is_largest
        && magnitude == f64::midpoint(e2m1::decode(code & 7).into(), e2m1::decode(larger & 7).into());
    if tie { larger } else { code }
}

/// Scales are chosen by another rule than the one asked for.
pub(super) fn floor_for_ceil(op: Op) -> Op {
    match op {
        Op::Quantize(quantize) if quantize.to.rule == ScaleRule::Ceil => {
            Op::Quantize(Quantize { to: quantize.to.with_rule(ScaleRule::Floor), ..quantize })
        }
        other => other,
    }
}

/// Scale byte 255 is read as 127.
pub(super) fn nan_scale_ignored(run: &Run<'_>) -> Result<()> {
    let (Op::Dequantize(Dequantize { from, .. }), Some(x)) = (run.op, run.tensor(0)) else { return run.go() };
    if *from == Format::Nvfp4 {
        return run.go();
    }
    let mut scales = read(x.scales());
    for scale in scales.iter_mut().filter(|scale| **scale == e8m0::NAN) {
        *scale = e8m0::BIAS as u8;
    }
    run.go_with(0, Tensor::new(*x.layout(), x.data())?.with_scales(Span::of(&scales))?)
}

/// Input and output of a run of quantize to MXFP4.
fn mxfp4_quantized<'a>(run: &'a Run<'_>) -> Option<(&'a Tensor, &'a Tensor)> {
    match run.op {
        Op::Quantize(quantize) if quantize.to.format == Format::Mxfp4 => run.tensor(0).zip(run.tensor(1)),
        _ => None,
    }
}

/// The values of a row in F32, BF16 or F16.
fn floats(format: Format, bytes: &[u8]) -> Vec<f32> {
    let halves = |decode: fn(u16) -> f32| {
        bytes.as_chunks().0.iter().map(|bytes| decode(u16::from_ne_bytes(*bytes))).collect()
    };
    match format {
        Format::Bf16 => halves(bf16::to_f32),
        Format::F16 => halves(f16::to_f32),
        _ => bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect(),
    }
}
