//! Faults of matmul and grouped matmul.

use mxhal_core::format::f16;
use mxhal_core::op::{GroupedMatmul, Matmul};
use mxhal_core::{Format, HostBuffer, Layout, Op, Result, Span, Tensor};

use crate::device::Run;
use crate::memory::{copy, read, row, view, write};
use crate::numbers::{float_bytes, floats, integer_bytes, integers};

/// The loop over K ends one block early: the last 32 columns of the activations count as zeros.
pub(super) fn last_block_dropped(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(_) | Op::GroupedMatmul(_), Some(a)) = (run.op, run.tensor(0)) else { return run.go() };
    let format = a.layout().format();
    let last = format.row_bytes(32.min(a.layout().columns()));
    let mut data = Vec::new();
    for at in 0..a.layout().rows() {
        data.extend(read(row(a, at)));
        let end = data.len();
        data[end - last..].fill(0);
    }
    let mut shorter = Tensor::new(Layout::contiguous(format, a.layout().shape())?, Span::of(&data))?;
    if a.layout().scales_bytes() > 0 {
        shorter = shorter.with_scales(a.scales())?;
    }
    if a.layout().factors_bytes() > 0 {
        shorter = shorter.with_factors(a.factors())?;
    }
    run.go_with(0, shorter)
}

/// The bias is added in two places.
pub(super) fn bias_twice(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(_) | Op::GroupedMatmul(_), Some(bias)) = (run.op, bias(run)) else { return run.go() };
    let mut twice = copy(bias)?;
    let doubled: Vec<f32> = floats(Format::F32, &twice.data).iter().map(|bias| bias + bias).collect();
    twice.data = float_bytes(Format::F32, &doubled);
    run.go_with(run.place("bias"), view(&twice)?)
}

/// Every group has the bias of the first.
pub(super) fn bias_of_first_group(run: &Run<'_>) -> Result<()> {
    let (Op::GroupedMatmul(grouped), Some(bias)) = (run.op, bias(run)) else { return run.go() };
    let mut same = copy(bias)?;
    let (first, others) = same.data.split_at_mut(grouped.each.n * 4);
    for other in others.chunks_mut(first.len()) {
        other.copy_from_slice(first);
    }
    run.go_with(run.place("bias"), view(&same)?)
}

/// Rows of a group are multiplied with the weights of the one after it.
pub(super) fn weights_of_next_group(run: &Run<'_>) -> Result<()> {
    let (Op::GroupedMatmul(_), Some(counts)) = (run.op, run.tensor(1)) else { return run.go() };
    let mut shifted = copy(counts)?;
    let mut rows = integers(&shifted.data);
    rows.rotate_right(1);
    shifted.data = integer_bytes(rows);
    run.go_with(1, view(&shifted)?)
}

/// Partial sums of 32 columns are added in half precision.
pub(super) fn half_precision_sum(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(Matmul { output: Format::F32, bias: false, k, .. }), Some(a), Some(y)) =
        (run.op, run.tensor(0), run.named("y"))
    else {
        return run.go();
    };
    if a.layout().format() != Format::Bf16 {
        return run.go();
    }
    let whole = copy(a)?;
    let mut sums = vec![0.0; y.layout().elements()];
    let mut partial = HostBuffer::zeroed(Layout::contiguous(Format::F32, y.layout().shape())?);
    for block in 0..k / 32 {
        let mut part = whole.clone();
        for (place, byte) in part.data.iter_mut().enumerate() {
            if place / 2 % k / 32 != block {
                *byte = 0;
            }
        }
        let to = Tensor::new(partial.layout, Span::of_mut(&mut partial.data))?;
        run.go_with_all(&[(0, view(&part)?), (run.place("y"), to)])?;
        for (sum, more) in sums.iter_mut().zip(floats(Format::F32, &partial.data)) {
            *sum = f16::to_f32(f16::from_f32(*sum + more));
        }
    }
    give(y, &sums);
    Ok(())
}

/// BF16 is made by cutting float32 off.
pub(super) fn truncated(run: &Run<'_>) -> Result<()> {
    rounded(run, |value| f32::from_bits(value.to_bits() & 0xffff_0000))
}

/// BF16 is made by way of F16.
pub(super) fn rounded_twice(run: &Run<'_>) -> Result<()> {
    rounded(run, |value| f16::to_f32(f16::from_f32(value)))
}

/// A sum too large for float32 is the largest number there is.
pub(super) fn infinity_clamped(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Matmul(Matmul { output: Format::F32, .. }), Some(y)) = (run.op, run.named("y")) else {
        return Ok(());
    };
    let values = floats(Format::F32, &copy(y)?.data);
    let finite = |value: f32| if value.is_nan() { value } else { value.clamp(f32::MIN, f32::MAX) };
    give(y, &values.into_iter().map(finite).collect::<Vec<_>>());
    Ok(())
}

/// Rows that belong to no group are set to zero.
pub(super) fn rows_of_nobody_written(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::GroupedMatmul(GroupedMatmul { .. }), Some(counts), Some(y)) =
        (run.op, run.tensor(1), run.named("y"))
    else {
        return Ok(());
    };
    let used: i32 = integers(&copy(counts)?.data).iter().sum();
    for at in used as usize..y.layout().rows() {
        let span = row(y, at);
        write(span.address, &vec![0; span.bytes as usize]);
    }
    Ok(())
}

fn bias<'a>(run: &'a Run<'_>) -> Option<&'a Tensor> {
    match run.op {
        Op::Matmul(_) | Op::GroupedMatmul(_) => run.named("bias"),
        _ => None,
    }
}

/// A product in BF16, made of one in float32 that is rounded in this way first.
fn rounded(run: &Run<'_>, round: fn(f32) -> f32) -> Result<()> {
    let (Op::Matmul(each @ Matmul { output: Format::Bf16, .. }), Some(y)) = (run.op, run.tensor(2)) else {
        return run.go();
    };
    let mut wide = HostBuffer::zeroed(Layout::contiguous(Format::F32, y.layout().shape())?);
    let to = Tensor::new(wide.layout, Span::of_mut(&mut wide.data))?;
    run.go_as(&Matmul { output: Format::F32, ..*each }.into(), &[(2, to)])?;
    give(y, &floats(Format::F32, &wide.data).into_iter().map(round).collect::<Vec<_>>());
    Ok(())
}

/// Writes values to a tensor of floats with two dimensions.
fn give(y: &Tensor, values: &[f32]) {
    for at in 0..y.layout().rows() {
        let columns = y.layout().columns();
        write(row(y, at).address, &float_bytes(y.layout().format(), &values[at * columns..][..columns]));
    }
}
