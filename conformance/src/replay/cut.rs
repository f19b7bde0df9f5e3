//! A trial cut down along one of its axes: fewer rows, columns, experts, with the data of those that stay.
//!
//! What refers to what was cut is made to fit: counts lose the rows that are gone, ids of experts that are gone become
//! −1, positions follow their rows.

use std::ops::Range;

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Op, Permute, Quantize, Route, SwiGlu,
};
use mxhal_core::{Format, HostBuffer};

use super::trial::Trial;
use crate::opcase::tensor::{integers, layout, read_integers};

/// What an operator's extents are called here, whatever the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Rows, or tokens.
    Rows,
    /// K, columns, or hidden.
    Columns,
    /// N, or inner.
    Outer,
    /// Groups, or experts.
    Groups,
    /// Experts of a token.
    TopK,
    /// Inner columns of the shared expert.
    SharedInner,
}

impl Axis {
    /// Every axis, in the order in which they are cut.
    pub(super) const ALL: [Self; 6] =
        [Self::Rows, Self::Columns, Self::Outer, Self::Groups, Self::TopK, Self::SharedInner];

    /// How long a trial is along it; `None` where its operator has no such axis.
    pub(super) fn extent(self, trial: &Trial) -> Option<usize> {
        let mut op = trial.case.op;
        match self {
            Self::Rows => Some(trial.case.rows),
            _ => self.of(&mut op).copied(),
        }
    }

    /// What cuts along it are multiples of: the least extent with which the operator validates.
    pub(super) fn step(self, op: &Op) -> usize {
        [1, 2, 16, 32, 64, 128].into_iter().find(|&step| self.resized(op, step).is_some()).unwrap_or(128)
    }

    /// The operator with another extent along it, if that validates.
    fn resized(self, op: &Op, extent: usize) -> Option<Op> {
        let mut op = *op;
        *self.of(&mut op)? = extent;
        op.validate().is_ok().then_some(op)
    }

    /// The attribute that says how long the operator is along it.
    fn of(self, op: &mut Op) -> Option<&mut usize> {
        match (self, op) {
            (Self::Rows, Op::Quantize(Quantize { rows, .. }) | Op::Dequantize(Dequantize { rows, .. }))
            | (Self::Rows, Op::SwiGlu(SwiGlu { rows, .. })) => Some(rows),
            (Self::Rows, Op::Matmul(each) | Op::GroupedMatmul(GroupedMatmul { each, .. })) => {
                Some(&mut each.m)
            }
            (
                Self::Rows,
                Op::Route(Route { tokens, .. })
                | Op::Permute(Permute { tokens, .. })
                | Op::Combine(Combine { tokens, .. })
                | Op::MoeFfn(MoeFfn { tokens, .. }),
            ) => Some(tokens),
            (Self::Columns, Op::Quantize(Quantize { k, .. }) | Op::Dequantize(Dequantize { k, .. }))
            | (
                Self::Columns,
                Op::Matmul(Matmul { k, .. })
                | Op::GroupedMatmul(GroupedMatmul { each: Matmul { k, .. }, .. }),
            ) => Some(k),
            (Self::Columns, Op::Permute(Permute { columns, .. }) | Op::Combine(Combine { columns, .. })) => {
                Some(columns)
            }
            (Self::Columns, Op::MoeFfn(op)) => Some(&mut op.hidden),
            (
                Self::Outer,
                Op::Matmul(Matmul { n, .. })
                | Op::GroupedMatmul(GroupedMatmul { each: Matmul { n, .. }, .. })
                | Op::SwiGlu(SwiGlu { n, .. }),
            ) => Some(n),
            (Self::Outer, Op::MoeFfn(op)) => Some(&mut op.inner),
            (Self::Groups, Op::GroupedMatmul(op)) => Some(&mut op.groups),
            (
                Self::Groups,
                Op::Route(Route { experts, .. })
                | Op::Permute(Permute { experts, .. })
                | Op::MoeFfn(MoeFfn { experts, .. }),
            ) => Some(experts),
            (
                Self::TopK,
                Op::Route(Route { top_k, .. })
                | Op::Permute(Permute { top_k, .. })
                | Op::Combine(Combine { top_k, .. })
                | Op::MoeFfn(MoeFfn { top_k, .. }),
            ) => Some(top_k),
            (Self::SharedInner, Op::MoeFfn(op)) => op.shared.as_mut().map(|shared| &mut shared.inner),
            _ => None,
        }
    }
}

/// How a dimension of a tensor follows an axis.
#[derive(Clone, Copy)]
enum Dimension {
    /// It does not.
    Whole,
    Along(Axis),
    /// Gate and up: twice as long.
    Pair(Axis),
}

use Dimension::{Along, Pair, Whole};

/// The trial with only `kept` along an axis, which is within its extent; `None` where there is no such operator, or where
/// what stays cannot be said in its formats.
pub(super) fn cut(trial: &Trial, axis: Axis, kept: Range<usize>) -> Option<Trial> {
    if let (Axis::Groups, Op::GroupedMatmul(_)) = (axis, trial.case.op) {
        return cut_groups(trial, kept);
    }
    let mut new = trial.clone();
    new.case.op = axis.resized(&trial.case.op, kept.len())?;
    if axis == Axis::Rows {
        new.case.rows = kept.len();
        new.inputs.rows = kept.len();
    }
    select_all(trial, &mut new, axis, &kept)?;
    match new.case.op {
        Op::GroupedMatmul(_) if axis == Axis::Rows => {
            let counts = shared_with(&read_integers(trial.inputs.get(&trial.case.op, "counts")?), &kept);
            set(&mut new, "counts", &counts)?;
        }
        Op::Permute(_) | Op::MoeFfn(_) if axis == Axis::Groups => {
            let mapped = trial.inputs.get(&trial.case.op, "expert_map").is_some();
            renumber(&mut new, if mapped { "expert_map" } else { "ids" }, &kept)?;
        }
        Op::Route(route) if axis == Axis::Groups && route.ids_given => {
            renumber(&mut new, "ids_given", &kept)?;
            // Given ids are those of experts.
            if read_integers(new.inputs.get(&new.case.op, "ids_given")?).contains(&-1) {
                return None;
            }
        }
        Op::Combine(op) if matches!(axis, Axis::Rows | Axis::TopK) => follow_rows(trial, &mut new, op.top_k)?,
        _ => {}
    }
    Some(new)
}

/// Groups of a product, with their rows.
fn cut_groups(trial: &Trial, kept: Range<usize>) -> Option<Trial> {
    let counts = read_integers(trial.inputs.get(&trial.case.op, "counts")?);
    let before = |groups: &[i32]| groups.iter().map(|&count| count as usize).sum::<usize>();
    let rows = before(&counts[..kept.start])..before(&counts[..kept.end]);
    let mut cut_to_rows =
        cut(trial, Axis::Rows, if rows.is_empty() { 0..1.min(trial.case.rows) } else { rows })?;
    let old = cut_to_rows.clone();
    cut_to_rows.case.op = Axis::Groups.resized(&old.case.op, kept.len())?;
    select_all(&old, &mut cut_to_rows, Axis::Groups, &kept)?;
    Some(cut_to_rows)
}

/// Each tensor's and weight's part.
fn select_all(old: &Trial, new: &mut Trial, axis: Axis, kept: &Range<usize>) -> Option<()> {
    let op = &old.case.op;
    let follows = |dimension: Dimension| match dimension {
        Along(of) | Pair(of) => of == axis,
        Whole => false,
    };
    let select_one = |buffer: &HostBuffer, dimensions: &[Dimension]| {
        if !dimensions.iter().copied().any(follows) {
            return Some(buffer.clone());
        }
        let shape = buffer.layout.shape();
        let kept: Vec<Vec<usize>> = dimensions
            .iter()
            .zip(shape)
            .map(|(&dimension, &extent)| match dimension {
                Along(of) if of == axis => kept.clone().collect(),
                Pair(of) if of == axis && is_interleaved(op) => (2 * kept.start..2 * kept.end).collect(),
                Pair(of) if of == axis => {
                    kept.clone().chain(kept.clone().map(|place| extent / 2 + place)).collect()
                }
                _ => (0..extent).collect(),
            })
            .collect();
        select(buffer, &kept)
    };
    for ((argument, from), to) in op.arguments().iter().zip(&old.inputs.tensors).zip(&mut new.inputs.tensors)
    {
        if let Some(from) = from {
            *to = Some(select_one(from, &dimensions(op, argument.name))?);
        }
    }
    for (place, (from, to)) in old.inputs.weights.iter().zip(&mut new.inputs.weights).enumerate() {
        *to = select_one(from, &dimensions_of_weights(op, place))?;
    }
    Some(())
}

const fn is_interleaved(op: &Op) -> bool {
    match op {
        Op::SwiGlu(op) => op.form.interleaved,
        Op::MoeFfn(op) => op.form.interleaved,
        _ => false,
    }
}

fn dimensions(op: &Op, name: &str) -> Vec<Dimension> {
    let (rows, columns, groups) = (Along(Axis::Rows), Along(Axis::Columns), Along(Axis::Groups));
    match (op, name) {
        (Op::Matmul(_), "bias") => vec![Along(Axis::Outer)],
        (Op::GroupedMatmul(_), "bias") => vec![groups, Along(Axis::Outer)],
        (Op::GroupedMatmul(_), "counts") | (Op::Route(_), "bias") => vec![groups],
        (Op::SwiGlu(_), "x") => vec![rows, Pair(Axis::Outer)],
        (_, "row_weights") => vec![rows],
        (Op::Route(_), "logits") => vec![rows, groups],
        (_, "ids_given" | "ids" | "weights" | "positions") => vec![rows, Along(Axis::TopK)],
        (_, "expert_map") => vec![Whole],
        // Those that stay follow their positions.
        (Op::Combine(_), "rows") => vec![Whole, columns],
        (_, "gate_up_bias") => vec![groups, Pair(Axis::Outer)],
        (_, "down_bias") => vec![groups, columns],
        _ => vec![rows, columns],
    }
}

fn dimensions_of_weights(op: &Op, place: usize) -> Vec<Dimension> {
    let (columns, outer) = (Along(Axis::Columns), Axis::Outer);
    match (op, place) {
        (Op::MoeFfn(_), 0) => vec![Along(Axis::Groups), Pair(outer), columns],
        (Op::MoeFfn(_), 1) => vec![Along(Axis::Groups), columns, Along(outer)],
        (Op::MoeFfn(_), 2) => vec![Whole, Pair(Axis::SharedInner), columns],
        (Op::MoeFfn(_), _) => vec![Whole, columns, Along(Axis::SharedInner)],
        _ => vec![Along(Axis::Groups), Along(outer), columns],
    }
}

/// The elements at these places of each dimension, with their scales; `None` where elements that would share a scale had
/// different ones.
fn select(buffer: &HostBuffer, kept: &[Vec<usize>]) -> Option<HostBuffer> {
    let format = buffer.layout.format();
    let shape: Vec<usize> = kept.iter().map(Vec::len).collect();
    let mut new = HostBuffer::zeroed(layout(format, &shape));
    let only = vec![0];
    let (matrices, rows, columns) = match kept {
        [columns] => (&only, &only, columns),
        [rows, columns] => (&only, rows, columns),
        [matrices, rows, columns] => (matrices, rows, columns),
        _ => return None,
    };
    let old_shape = buffer.layout.shape();
    let old_columns = old_shape[old_shape.len() - 1];
    let old_rows = if old_shape.len() < 2 { 1 } else { old_shape[old_shape.len() - 2] };
    let (old_bytes, bytes) = (format.row_bytes(old_columns), format.row_bytes(columns.len()));
    let mut to = 0;
    for &matrix in matrices {
        for &row in rows {
            let from = &buffer.data[(matrix * old_rows + row) * old_bytes..][..old_bytes];
            copy_elements(format, &mut new.data[to * bytes..][..bytes], from, columns);
            to += 1;
        }
    }
    if let Some(blocks) = format.blocks() {
        let (rows, columns) = (in_blocks(rows, blocks.rows)?, in_blocks(columns, blocks.columns)?);
        let (old_across, old_down) = (format.row_scales(old_columns), old_rows.div_ceil(blocks.rows));
        let places = matrices.iter().flat_map(|matrix| {
            let columns = &columns;
            rows.iter().flat_map(move |row| {
                columns.iter().map(move |column| (matrix * old_down + row) * old_across + column)
            })
        });
        for (to, from) in new.scales.iter_mut().zip(places) {
            *to = buffer.scales[from];
        }
    }
    let rows_of_all = matrices.iter().flat_map(|matrix| rows.iter().map(move |row| matrix * old_rows + row));
    for (to, row) in new.factors.chunks_exact_mut(4).zip(rows_of_all) {
        let one = buffer.factors.len() == 4;
        to.copy_from_slice(&buffer.factors[if one { 0 } else { 4 * row }..][..4]);
    }
    Some(new)
}

fn copy_elements(format: Format, to: &mut [u8], from: &[u8], columns: &[usize]) {
    if format.bits() == 4 {
        for (place, column) in columns.iter().enumerate() {
            let code = from[column / 2] >> (4 * (column % 2)) & 15;
            to[place / 2] |= code << (4 * (place % 2));
        }
        return;
    }
    let size = format.bits() / 8;
    for (to, column) in to.chunks_exact_mut(size).zip(columns) {
        to.copy_from_slice(&from[column * size..][..size]);
    }
}

/// The block from which each new block of so many places comes, if it is one.
fn in_blocks(kept: &[usize], width: usize) -> Option<Vec<usize>> {
    let one = |chunk: &[usize]| {
        let block = chunk[0] / width;
        chunk.iter().all(|place| place / width == block).then_some(block)
    };
    kept.chunks(width).map(one).collect()
}

/// How many of each group's consecutive rows lie in a range of all rows.
fn shared_with(counts: &[i32], kept: &Range<usize>) -> Vec<i32> {
    let mut first = 0;
    let mut shared = Vec::with_capacity(counts.len());
    for &count in counts {
        let end = first + count as usize;
        shared.push(end.min(kept.end).saturating_sub(first.max(kept.start)) as i32);
        first = end;
    }
    shared
}

/// Numbers experts from the first that stays; those that are gone become −1.
fn renumber(trial: &mut Trial, name: &str, kept: &Range<usize>) -> Option<()> {
    let ids = read_integers(trial.inputs.get(&trial.case.op, name)?);
    let one = |id: i32| match usize::try_from(id) {
        Ok(id) if kept.contains(&id) => (id - kept.start) as i32,
        _ => -1,
    };
    set(trial, name, &ids.into_iter().map(one).collect::<Vec<_>>())
}

/// Gives Combine the rows that its remaining positions name, in their order, and as many others as it takes.
fn follow_rows(old: &Trial, new: &mut Trial, top_k: usize) -> Option<()> {
    let positions = read_integers(new.inputs.get(&new.case.op, "positions")?);
    let rows = old.inputs.get(&old.case.op, "rows")?;
    let [total, columns] = *rows.layout.shape() else { return None };
    let mut named: Vec<usize> =
        positions.iter().filter_map(|&position| usize::try_from(position).ok()).collect();
    named.sort_unstable();
    named.dedup();
    let others: Vec<usize> = (0..total).filter(|row| named.binary_search(row).is_err()).collect();
    let wanted = new.case.rows * top_k;
    let kept: Vec<usize> = named.iter().copied().chain(others).take(wanted).collect();
    let selected = select(rows, &[kept, (0..columns).collect()])?;
    let renumbered: Vec<i32> = positions
        .iter()
        .map(|&position| {
            usize::try_from(position).map_or(-1, |row| named.partition_point(|&other| other < row) as i32)
        })
        .collect();
    set(new, "positions", &renumbered)?;
    let place = place_of(new, "rows")?;
    new.inputs.tensors[place] = Some(selected);
    Some(())
}

/// Puts integers in place of an input's, with its shape.
pub(super) fn set(trial: &mut Trial, name: &str, values: &[i32]) -> Option<()> {
    let place = place_of(trial, name)?;
    let tensor = trial.inputs.tensors[place].as_mut()?;
    *tensor = integers(tensor.layout.shape(), values);
    Some(())
}

pub(super) fn place_of(trial: &Trial, name: &str) -> Option<usize> {
    trial.case.op.arguments().iter().position(|argument| argument.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Body;
    use crate::opcase::tensor::{read, read_rows};
    use crate::opcase::{OpCase, Tier, Values};
    use crate::replay::trial::TrialRecord;
    use crate::suite::SuiteKind;
    use mxhal_core::Quantization;

    /// The sizes, the names and the operator fit together: what a replay file is held to.
    fn expect_whole(trial: &Trial) {
        trial.case.op.validate().unwrap();
        let text = serde_json::to_string(&TrialRecord::from(trial)).unwrap();
        let back = serde_json::from_str::<TrialRecord>(&text).unwrap().into_trial();
        assert_eq!(back.as_ref(), Ok(trial));
    }

    #[test]
    fn every_case_of_the_suites_can_be_cut_along_every_axis_that_it_has() {
        let mut cuts = 0;
        for case in SuiteKind::ALL.into_iter().flat_map(|suite| suite.cases(2)) {
            let Body::Op(op_case) = &case.body else { continue };
            if op_case.op.work(op_case.rows).bytes() > 1 << 18 {
                continue;
            }
            let trial = Trial::new(op_case, case.seed);
            for axis in Axis::ALL {
                let Some(extent) = axis.extent(&trial) else { continue };
                let (step, op) = (axis.step(&trial.case.op), &trial.case.op);
                for kept in [0..step, extent.saturating_sub(step)..extent] {
                    if kept.end > extent || kept.len() == extent {
                        continue;
                    }
                    if let Some(less) = cut(&trial, axis, kept.clone()) {
                        expect_whole(&less);
                        let got = axis.extent(&less);
                        assert!(got == Some(kept.len()), "{axis:?} of {op:?} cut to {kept:?} is {got:?}");
                        cuts += 1;
                    }
                }
            }
        }
        assert!(cuts > 1000, "{cuts} cuts");
    }

    #[test]
    fn what_stays_is_what_was_there() {
        let each = Matmul { weight: Format::Nvfp4, ..Matmul::mxfp4(6, 5, 64, Quantization::none()) };
        let op = GroupedMatmul { each, groups: 3 };
        let trial = Trial::new(&OpCase::new(op, Values::Ordinary, Tier::Bounded), 3);
        let counts = |trial: &Trial| read_integers(trial.inputs.get(&trial.case.op, "counts").unwrap());
        let before = counts(&trial);
        let last = cut(&trial, Axis::Groups, 2..3).unwrap();
        assert_eq!(counts(&last), before[2..]);
        let less = cut(&cut(&last, Axis::Columns, 16..48).unwrap(), Axis::Outer, 1..4).unwrap();
        let all = read_rows(&trial.inputs.weights[0], 2, &[1, 2, 3]);
        let kept = read_rows(&less.inputs.weights[0], 0, &[0, 1, 2]);
        for row in 0..3 {
            assert_eq!(kept.row(row), &all.row(row)[16..48]);
        }
    }

    #[test]
    fn combine_keeps_each_slots_row() {
        let op = Combine {
            tokens: 5,
            columns: 4,
            top_k: 3,
            input: Format::F32,
            output: Format::F32,
            weighted: false,
            addend: None,
        };
        let trial = Trial::new(&OpCase::new(op, Values::Ordinary, Tier::Bounded), 3);
        let row_of = |trial: &Trial, slot: usize| {
            let position = read_integers(trial.inputs.get(&trial.case.op, "positions").unwrap())[slot];
            read(trial.inputs.get(&trial.case.op, "rows").unwrap()).row(position as usize).to_vec()
        };
        let less = cut(&cut(&trial, Axis::Rows, 3..5).unwrap(), Axis::TopK, 1..3).unwrap();
        for (token, slot) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(row_of(&less, token * 2 + slot), row_of(&trial, (token + 3) * 3 + slot + 1));
        }
    }
}
