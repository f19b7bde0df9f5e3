//! Faults about which row belongs to which expert.

use mxhal_core::op::{Permute, Route};
use mxhal_core::{Format, Op, Result, Span, Tensor};

use crate::device::Run;
use crate::memory::{copy, read, row, view, write};
use crate::numbers::{float_bytes, integer_bytes, integers};

/// Ids are one more than they should be, and the last expert's is 0.
pub(super) fn expert_off_by_one(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Route(route), Some(ids)) = (run.op, run.tensor(3)) else { return Ok(()) };
    for token in 0..ids.layout().rows() {
        let span = row(ids, token);
        let next = integers(&read(span)).into_iter().map(|id| (id + 1).rem_euclid(route.experts as i32));
        write(span.address, &integer_bytes(next));
    }
    Ok(())
}

/// The count of each group is taken for the row at which it ends, so that a group has what is beyond those before it.
pub(super) fn counts_cumulative(run: &Run<'_>) -> Result<()> {
    let (Op::GroupedMatmul(_), Some(counts)) = (run.op, run.tensor(1)) else { return run.go() };
    let mut end = 0;
    let misread = integers(&read(Span { bytes: counts.layout().data_bytes() as u64, ..counts.data() }))
        .into_iter()
        .map(|count| {
            let rows = (count - end).max(0);
            end += rows;
            rows
        });
    let misread = integer_bytes(misread);
    run.go_with(1, Tensor::new(*counts.layout(), Span::of(&misread))?)
}

/// Of equal scores the one of the higher id comes first.
pub(super) fn higher_id_first(run: &Run<'_>) -> Result<()> {
    let (Op::Route(Route { experts, ids_given: false, .. }), Some(logits), Some(ids)) =
        (run.op, run.tensor(0), run.named("ids"))
    else {
        return run.go();
    };
    // All experts turned around, and back.
    let mut turned = Vec::new();
    for (place, given) in [(0, Some(logits)), (1, run.tensor(1))] {
        let Some(given) = given else { continue };
        let mut given = copy(given)?;
        for row in given.data.chunks_mut(experts * 4) {
            row.as_chunks_mut::<4>().0.reverse();
        }
        turned.push((place, given));
    }
    let views: Result<Vec<_>> = turned.iter().map(|(place, buffer)| Ok((*place, view(buffer)?))).collect();
    run.go_with_all(&views?)?;
    for token in 0..ids.layout().rows() {
        let span = row(ids, token);
        let back = integers(&read(span)).into_iter().map(|id| *experts as i32 - 1 - id);
        write(span.address, &integer_bytes(back));
    }
    Ok(())
}

/// The bias that steers the choice is not known.
pub(super) fn router_bias_ignored(run: &Run<'_>) -> Result<()> {
    match run.op {
        Op::Route(_) => zeroed(run, "bias"),
        _ => run.go(),
    }
}

/// Weights are not made to sum to one.
pub(super) fn renormalize_dropped(op: Op) -> Op {
    match op {
        Op::Route(route) => Op::Route(Route { renormalize: false, ..route }),
        other => other,
    }
}

/// The factor on all routing weights is not known.
pub(super) fn routing_scale_dropped(op: Op) -> Op {
    match op {
        Op::Route(route) => Op::Route(Route { scale: 1.0, ..route }),
        other => other,
    }
}

/// An id of -1 is taken for the first expert's.
pub(super) fn nobody_is_first(run: &Run<'_>) -> Result<()> {
    let (Op::Permute(_), Some(ids)) = (run.op, run.tensor(1)) else { return run.go() };
    let mut misread = copy(ids)?;
    misread.data = integer_bytes(integers(&misread.data).into_iter().map(|id| id.max(0)));
    run.go_with(1, view(&misread)?)
}

/// Ids are taken for this device's own, whatever the map says.
pub(super) fn expert_map_ignored(run: &Run<'_>) -> Result<()> {
    let Op::Permute(Permute { experts, .. }) = run.op else { return run.go() };
    let Some(map) = run.named("expert_map") else { return run.go() };
    let mut same = copy(map)?;
    let local = |id: i32| if id < *experts as i32 { id } else { -1 };
    same.data = integer_bytes((0..integers(&same.data).len() as i32).map(local));
    run.go_with(run.place("expert_map"), view(&same)?)
}

/// The first two rows of each expert change places.
pub(super) fn unstable_order(run: &Run<'_>) -> Result<()> {
    run.go()?;
    let (Op::Permute(Permute { format, .. }), Some(counts)) = (run.op, run.tensor(6)) else { return Ok(()) };
    let (Some(rows), Some(source), Some(positions)) =
        (run.named("rows"), run.named("source"), run.named("positions"))
    else {
        return Ok(());
    };
    if format.is_block_scaled() {
        return Ok(());
    }
    let (mut sources, mut places) = (integers(&copy(source)?.data), integers(&copy(positions)?.data));
    let mut first = 0;
    for count in integers(&copy(counts)?.data) {
        if count >= 2 {
            swap(row(rows, first), row(rows, first + 1));
            if let Some(weights) = run.named("row_weights") {
                let at = |row: usize| Span { address: weights.data().address + 4 * row as u64, bytes: 4 };
                swap(at(first), at(first + 1));
            }
            sources.swap(first, first + 1);
            places[sources[first] as usize] = first as i32;
            places[sources[first + 1] as usize] = first as i32 + 1;
        }
        first += count as usize;
    }
    write(source.data().address, &integer_bytes(sources));
    write(positions.data().address, &integer_bytes(places));
    Ok(())
}

fn swap(one: Span, other: Span) {
    let (first, second) = (read(one), read(other));
    write(one.address, &second);
    write(other.address, &first);
}

/// Slots are summed from the last to the first.
pub(super) fn last_slot_first(run: &Run<'_>) -> Result<()> {
    let Op::Combine(combine) = run.op else { return run.go() };
    let mut turned = Vec::new();
    for name in ["positions", "weights"] {
        let Some(given) = run.named(name) else { continue };
        let mut given = copy(given)?;
        for token in given.data.chunks_mut(combine.top_k * 4) {
            token.as_chunks_mut::<4>().0.reverse();
        }
        turned.push((run.place(name), given));
    }
    let views: Result<Vec<_>> = turned.iter().map(|(place, buffer)| Ok((*place, view(buffer)?))).collect();
    run.go_with_all(&views?)
}

/// Experts are summed without their weights.
pub(super) fn combine_weights_ignored(run: &Run<'_>) -> Result<()> {
    let (Op::Combine(combine), Some(weights)) = (run.op, run.tensor(2)) else { return run.go() };
    if !combine.weighted {
        return run.go();
    }
    let mut ones = copy(weights)?;
    ones.data = float_bytes(Format::F32, &vec![1.0; ones.data.len() / 4]);
    run.go_with(2, view(&ones)?)
}

/// The shared expert's output is not added.
pub(super) fn addend_dropped(run: &Run<'_>) -> Result<()> {
    match run.op {
        Op::Combine(_) => zeroed(run, "addend"),
        _ => run.go(),
    }
}

/// The input of this name, if there is one, counts as zeros.
fn zeroed(run: &Run<'_>, name: &str) -> Result<()> {
    let Some(given) = run.named(name) else { return run.go() };
    let mut zeros = copy(given)?;
    zeros.data.fill(0);
    run.go_with(run.place(name), view(&zeros)?)
}
