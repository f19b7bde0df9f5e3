//! Some rows of a run, as a run of their own.

use mxhal_core::op::{Combine, Extent, GroupedMatmul, MoeFfn, Role, SwiGlu};
use mxhal_core::{HostBuffer, Op};

use crate::opcase::Inputs;
use crate::opcase::tensor::{bytes_of_first, integers, layout, read_integers};

/// Which rows are asked on their own: the first, one amid, the last, every second, and, where order is free, all of
/// them turned around.
pub(super) fn choices(op: &Op, inputs: &Inputs) -> Vec<Vec<usize>> {
    let last = match op {
        // Rows behind the last group are nobody's.
        Op::GroupedMatmul(_) => counts(op, inputs).iter().sum::<i32>() as usize,
        _ => inputs.rows,
    } - 1;
    let mut choices = vec![vec![0], vec![last / 2], vec![last], (1..=last).step_by(2).collect()];
    if !matches!(op, Op::GroupedMatmul(_)) {
        choices.push((0..=last).rev().collect());
    }
    choices
}

/// The inputs of a run with these rows (tokens), in this order; for a grouped product they ascend.
pub(super) fn rows(op: &Op, inputs: &Inputs, rows: &[usize]) -> Inputs {
    let arguments = op.arguments();
    let tensors = arguments.iter().zip(&inputs.tensors).map(|(argument, tensor)| {
        let tensor = tensor.as_ref()?;
        if argument.role == Role::Output {
            return None;
        }
        Some(match (op, argument.name, argument.shape.first()) {
            (Op::GroupedMatmul(_), "counts", _) => counts_of(op, inputs, rows),
            (Op::Combine(combine), "rows", _) => {
                let positions = read_integers(inputs.get(op, "positions").expect("combine takes positions"));
                let slots = rows.iter().flat_map(|token| token * combine.top_k..(token + 1) * combine.top_k);
                // A slot that is skipped has a row too, which nobody reads.
                let from: Vec<usize> = slots.map(|slot| positions[slot].max(0) as usize).collect();
                gather(tensor, &from)
            }
            (Op::Combine(combine), "positions", _) => {
                let positions = read_integers(tensor);
                let given =
                    rows.iter().flat_map(|&token| &positions[token * combine.top_k..][..combine.top_k]);
                let moved: Vec<i32> =
                    given.enumerate().map(|(slot, &at)| if at < 0 { -1 } else { slot as i32 }).collect();
                integers(&[rows.len(), combine.top_k], &moved)
            }
            (_, _, Some(Extent::PerRow(1))) => gather(tensor, rows),
            _ => tensor.clone(),
        })
    });
    Inputs { rows: rows.len(), tensors: tensors.collect(), weights: inputs.weights.clone() }
}

/// The same operator, planned for so many rows.
pub(super) fn with_rows(op: Op, count: usize) -> Op {
    match op {
        Op::Matmul(mut op) => {
            op.m = count;
            op.into()
        }
        Op::GroupedMatmul(mut op) => {
            op.each.m = count;
            op.into()
        }
        Op::SwiGlu(op) => SwiGlu { rows: count, ..op }.into(),
        Op::Combine(op) => Combine { tokens: count, ..op }.into(),
        Op::MoeFfn(op) => MoeFfn { tokens: count, ..op }.into(),
        Op::Route(mut op) => {
            op.tokens = count;
            op.into()
        }
        other => other,
    }
}

/// The bytes of a row of an output: elements, scales, factors.
pub(super) fn row(buffer: &HostBuffer, row: usize) -> [&[u8]; 3] {
    let [data, scales, factors] = bytes_of_first(buffer);
    [(&buffer.data, data), (&buffer.scales, scales), (&buffer.factors, factors)]
        .map(|(part, bytes)| &part[row * bytes..][..bytes])
}

/// Rows of a tensor whose first dimension is rows.
fn gather(tensor: &HostBuffer, rows: &[usize]) -> HostBuffer {
    let mut shape = tensor.layout.shape().to_vec();
    shape[0] = rows.len();
    let part = |from: fn([&[u8]; 3]) -> &[u8]| -> Vec<u8> {
        rows.iter().flat_map(|&at| from(row(tensor, at))).copied().collect()
    };
    let factors = match tensor.factors.len() {
        // One for the whole tensor.
        4 => tensor.factors.clone(),
        _ => part(|[_, _, factors]| factors),
    };
    HostBuffer {
        layout: layout(tensor.layout.format(), &shape),
        data: part(|[data, ..]| data),
        scales: part(|[_, scales, _]| scales),
        factors,
    }
}

fn counts(op: &Op, inputs: &Inputs) -> Vec<i32> {
    read_integers(inputs.get(op, "counts").expect("a grouped product takes counts"))
}

/// How many of these rows each group has.
fn counts_of(op: &Op, inputs: &Inputs, rows: &[usize]) -> HostBuffer {
    let mut end = 0;
    let chosen: Vec<i32> = counts(op, inputs)
        .into_iter()
        .map(|count| {
            let start = end;
            end += count as usize;
            rows.iter().filter(|&&row| (start..end).contains(&row)).count() as i32
        })
        .collect();
    let Op::GroupedMatmul(GroupedMatmul { groups, .. }) = op else { unreachable!("others have no counts") };
    integers(&[*groups], &chosen)
}

#[cfg(test)]
mod tests {
    use mxhal_core::op::Matmul;
    use mxhal_core::{Format, Quantization};

    use super::*;
    use crate::opcase::tensor::{floats, read};
    use crate::opcase::{DataRecipe, Values};

    #[test]
    fn a_row_of_a_grouped_product_keeps_its_group() {
        let each = Matmul::mxfp4(5, 8, 32, Quantization::none());
        let op = Op::from(GroupedMatmul { each, groups: 3 });
        let mut inputs = DataRecipe::new(Values::Ordinary).inputs(&op, 5, 1);
        inputs.tensors[1] = Some(integers(&[3], &[2, 0, 2]));
        assert_eq!(choices(&op, &inputs), [vec![0], vec![1], vec![3], vec![1, 3]]);
        let part = rows(&op, &inputs, &[1, 3]);
        assert_eq!(counts(&op, &part), [1, 0, 1]);
        let (all, some) = (read(inputs.get(&op, "a").unwrap()), read(part.get(&op, "a").unwrap()));
        assert_eq!((all.row(1), all.row(3)), (some.row(0), some.row(1)));
    }

    #[test]
    fn the_rows_of_combined_tokens_come_along() {
        let op = Op::from(Combine {
            tokens: 2,
            columns: 1,
            top_k: 2,
            input: Format::F32,
            output: Format::F32,
            weighted: false,
            addend: None,
        });
        let numbers = floats(Format::F32, &[4, 1], [10.0, 11.0, 12.0, 13.0]);
        let tensors = vec![Some(numbers), Some(integers(&[2, 2], &[3, 0, -1, 2])), None, None, None];
        let part = rows(&op, &Inputs { rows: 2, tensors, weights: Vec::new() }, &[1, 0]);
        assert_eq!(read_integers(part.get(&op, "positions").unwrap()), [-1, 1, 2, 3]);
        assert_eq!(read(part.get(&op, "rows").unwrap()).values[1..], [12.0, 13.0, 10.0]);
    }
}
