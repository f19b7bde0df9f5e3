//! Faults of quantize and dequantize.

use mxhal_core::format::{e2m1, e4m3, e8m0};
use mxhal_core::op::{Dequantize, Quantize};
use mxhal_core::{Format, Op, Result, ScaleRule, Span, Tensor};

use crate::device::Run;
use crate::memory::{copy, read, row, row_scales, view, write};
use crate::numbers::{float_bytes, floats};

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

/// Every scale is twice what it should be.
pub(super) fn scale_off_by_one(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Some((_, y)) = mxfp4_quantized(run) else { return Ok(()) };
    let scales: Vec<u8> = read(y.scales()).iter().map(|scale| scale.saturating_add(1)).collect();
    write(y.scales().address, &scales);
    Ok(())
}

/// What is larger than the largest E4M3 becomes NaN, as it does where conversion does not saturate.
pub(super) fn saturation_dropped(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Quantize(quantize), Some(x), Some(y)) = (run.op, run.tensor(0), run.tensor(1)) else {
        return Ok(());
    };
    if quantize.to.format != Format::Mxfp8 {
        return Ok(());
    }
    for at in 0..y.layout().rows() {
        let values = floats(x.layout().format(), &read(row(x, at)));
        let scales = read(row_scales(y, at));
        let mut codes = read(row(y, at));
        for (column, (code, value)) in codes.iter_mut().zip(values).enumerate() {
            // Halfway to the next number, were there one, is where rounding would leave the range.
            if value.abs() > 464.0 * e8m0::decode(scales[column / 32]) {
                *code |= 0x7f;
            }
        }
        write(row(y, at).address, &codes);
    }
    Ok(())
}

/// The rule `even` is taken for `floor`.
pub(super) fn floor_for_even(op: Op) -> Op {
    match op {
        Op::Quantize(quantize) if quantize.to.rule == ScaleRule::Even => {
            Op::Quantize(Quantize { to: quantize.to.with_rule(ScaleRule::Floor), ..quantize })
        }
        other => other,
    }
}

/// DeepSeek's floor on the largest magnitude is not known.
pub(super) fn amax_floor_ignored(op: Op) -> Op {
    match op {
        Op::Quantize(quantize) => Op::Quantize(Quantize { to: quantize.to.with_amax_floor(0.0), ..quantize }),
        other => other,
    }
}

/// Zeros lose their sign.
pub(super) fn negative_zero_lost(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Some((_, y)) = mxfp4_quantized(run) else { return Ok(()) };
    for at in 0..y.layout().rows() {
        let unsigned = |code: u8| if code == 8 { 0 } else { code };
        let codes: Vec<u8> = read(row(y, at))
            .iter()
            .map(|byte| {
                let (low, high) = e2m1::unpack(*byte);
                e2m1::pack(unsigned(low), unsigned(high))
            })
            .collect();
        write(row(y, at).address, &codes);
    }
    Ok(())
}

/// A block with a NaN in it gets an ordinary scale.
pub(super) fn nan_block_finite(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let Some((_, y)) = mxfp4_quantized(run) else { return Ok(()) };
    let finite = |scale: &u8| if *scale == e8m0::NAN { e8m0::BIAS as u8 } else { *scale };
    let scales: Vec<u8> = read(y.scales()).iter().map(finite).collect();
    write(y.scales().address, &scales);
    Ok(())
}

/// Scale byte 0, which is 2^-127, is read as zero.
pub(super) fn least_scale_zero(run: &Run<'_>) -> Result<()> {
    dequantized(run, |from, scales, column| match from {
        Format::Mxfp4 if scales[column / 32] == 0 => 0.0,
        _ => 1.0,
    })
}

/// The scales of 128 columns each are taken as those of 32.
pub(super) fn g128_as_g32(run: &Run<'_>) -> Result<()> {
    dequantized(run, |from, scales, column| {
        if from != Format::Mxfp8G128 {
            return 1.0;
        }
        let (read, right) = (scales[(column / 32).min(scales.len() - 1)], scales[column / 128]);
        2f32.powi(i32::from(read) - i32::from(right))
    })
}

/// The float32 factor of NVFP4 is forgotten.
pub(super) fn nvfp4_factor_dropped(run: &Run<'_>) -> Result<()> {
    let (Op::Dequantize(Dequantize { from: Format::Nvfp4, .. }), Some(x)) = (run.op, run.tensor(0)) else {
        return run.go();
    };
    let mut plain = copy(x)?;
    plain.factors = float_bytes(Format::F32, &vec![1.0; plain.factors.len() / 4]);
    run.go_with(0, view(&plain)?)
}

/// Negative numbers in E4M3 lose their sign.
pub(super) fn e4m3_sign_lost(run: &Run<'_>) -> Result<()> {
    let (Op::Dequantize(Dequantize { from: Format::Mxfp8, .. }), Some(x)) = (run.op, run.tensor(0)) else {
        return run.go();
    };
    let mut unsigned = copy(x)?;
    for code in unsigned.data.iter_mut().filter(|code| e4m3::decode(**code) < 0.0) {
        *code &= 0x7f;
    }
    run.go_with(0, view(&unsigned)?)
}

/// Multiplies what dequantize gave in F32 by a factor for each column, of the source's format and the row's scales.
fn dequantized(run: &Run<'_>, factor: fn(Format, &[u8], usize) -> f32) -> Result<()> {
    run.go()?;
    let Op::Dequantize(Dequantize { from, output: Format::F32, .. }) = run.op else { return Ok(()) };
    let (Some(x), Some(y)) = (run.tensor(0), run.tensor(1)) else { return Ok(()) };
    for at in 0..y.layout().rows() {
        let scales = read(row_scales(x, at));
        let mut values = floats(Format::F32, &read(row(y, at)));
        for (column, value) in values.iter_mut().enumerate() {
            *value *= factor(*from, &scales, column);
        }
        write(row(y, at).address, &float_bytes(Format::F32, &values));
    }
    Ok(())
}
