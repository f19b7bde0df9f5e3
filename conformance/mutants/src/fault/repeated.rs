//! Faults that one run alone does not show: what depends on the batch, the run before, or the run beside.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mxhal_core::op::Matmul;
use mxhal_core::{Format, Op, Result};

use crate::device::Run;
use crate::memory::{copy, read, row, view, write};

/// Sums of larger batches are made in another order, which is seen in their last bit.
pub(super) fn order_of_large_batches(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let rows = run.tensor(0).map_or(0, |a| a.layout().rows());
    if rows >= 16 { flip_last_bit(run) } else { Ok(()) }
}

/// Sums are made in the order in which threads come, which is seen in the last bit of every fifth run.
pub(super) fn order_of_arrival(run: &Run<'_>) -> Result<()> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    run.go()?;
    if RUNS.fetch_add(1, Ordering::Relaxed) % 5 == 4 { flip_last_bit(run) } else { Ok(()) }
}

/// Two runs at once use the same scratch memory.
pub(super) fn race(run: &Run<'_>) -> Result<()> {
    static AT_WORK: AtomicUsize = AtomicUsize::new(0);
    let alone = AT_WORK.fetch_add(1, Ordering::SeqCst) == 0;
    // Long enough for another thread to come in.
    thread::sleep(Duration::from_millis(2));
    let done = run.go();
    let still_alone = AT_WORK.fetch_sub(1, Ordering::SeqCst) == 1;
    done?;
    if alone && still_alone { Ok(()) } else { flip_last_bit(run) }
}

/// The input that lay at an address last time is taken for the one that lies there now.
pub(super) fn stale_input(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(_) | Op::GroupedMatmul(_) | Op::SwiGlu(_) | Op::Quantize(_), Some(a)) =
        (run.op, run.tensor(0))
    else {
        return run.go();
    };
    let mut kept = run.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let address = a.data().address;
    if kept.input.as_ref().is_none_or(|(at, old)| *at != address || old.layout.shape() != a.layout().shape())
    {
        kept.input = Some((address, copy(a)?));
    }
    let Some((_, old)) = &kept.input else { return run.go() };
    run.go_with(0, view(old)?)
}

/// A plan keeps the weights of its first run.
pub(super) fn stale_weights(run: &Run<'_>) -> Result<()> {
    let [weights] = run.weights else { return run.go() };
    let mut kept = run.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let first = match &kept.weights {
        Some(first) => first,
        None => {
            let exported = weights.export()?;
            let desc = weights.desc();
            let parts = split(&exported, desc.groups)?;
            let parts: Result<Vec<_>> = parts.iter().map(mxhal_core::HostBuffer::view).collect();
            kept.weights.insert(run.device.prepare_weights(desc, &parts?)?)
        }
    };
    run.go_with_weights(&[&**first])
}

/// The matrices of canonical weights, one a group.
fn split(whole: &mxhal_core::HostBuffer, groups: usize) -> Result<Vec<mxhal_core::HostBuffer>> {
    let format = whole.layout.format();
    let [_, n, k] = *whole.layout.shape() else { return Ok(vec![whole.clone()]) };
    let part =
        |bytes: &[u8], group: usize| bytes[group * bytes.len() / groups..][..bytes.len() / groups].to_vec();
    (0..groups)
        .map(|group| {
            Ok(mxhal_core::HostBuffer {
                layout: mxhal_core::Layout::contiguous(format, &[n, k])?,
                data: part(&whole.data, group),
                scales: part(&whole.scales, group),
                factors: part(&whole.factors, group),
            })
        })
        .collect()
}

/// The last bit of the first element of each row of a product in float32.
fn flip_last_bit(run: &Run<'_>) -> Result<()> {
    let (Op::Matmul(Matmul { output: Format::F32, .. }), Some(y)) = (run.op, run.tensor(2)) else {
        return Ok(());
    };
    for at in 0..y.layout().rows() {
        let span = row(y, at);
        let mut bytes = read(span);
        let bits = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) ^ 1;
        bytes[..4].copy_from_slice(&bits.to_ne_bytes());
        write(span.address, &bytes);
    }
    Ok(())
}
