//! What a run must write, and what it must leave as it was.
//!
//! Two runs over two poisons tell: what holds both afterwards was written by neither.

use mxhal_core::HostBuffer;
use mxhal_core::op::{Argument, Op, Role};

use super::local_ids;
use crate::opcase::recipe::Inputs;
use crate::opcase::rig::Poison;
use crate::opcase::tensor::{bytes_of_first, read_integers};
use crate::outcome::Failure;

/// Whether everything that must be written was, and nothing that must be left as it was.
pub(crate) fn expect_written(
    op: &Op,
    inputs: &Inputs,
    runs: &[Vec<Option<HostBuffer>>; 2],
) -> Result<(), Failure> {
    let [first, second] = Poison::BOTH;
    for (place, argument) in outputs(op) {
        let [Some(one), Some(other)] = [&runs[0][place], &runs[1][place]] else { continue };
        let kept = |one: &[u8], other: &[u8]| {
            one.iter().all(|&byte| byte == first.0) && other.iter().all(|&byte| byte == second.0)
        };
        let left_alone = left_alone_from(op, inputs, argument.name);
        let element = (argument.format.bits() / 8).max(1);
        let row_bytes = bytes_of_first(one);
        for ((part, row_bytes), size) in parts(one, other).into_iter().zip(row_bytes).zip([element, 1, 4]) {
            let (one, other, what) = part;
            for (index, (one, other)) in one.chunks(size).zip(other.chunks(size)).enumerate() {
                let row = (index * size).checked_div(row_bytes).unwrap_or(0);
                let wrong = match (row >= left_alone, kept(one, other)) {
                    (true, false) => "was written, and it must be left as it was",
                    (false, true) => "was written by nobody",
                    _ => continue,
                };
                return Err(Failure {
                    tensor: Some(argument.name.to_owned()),
                    index: vec![row, (index * size - row * row_bytes) / size],
                    ..Failure::new(format!("{what} {index} of {} {wrong}", argument.name))
                });
            }
        }
    }
    Ok(())
}

/// The first output that two runs do not have in common, what they leave alone not counted.
pub(crate) fn first_difference(
    op: &Op,
    inputs: &Inputs,
    runs: &[Vec<Option<HostBuffer>>; 2],
) -> Option<&'static str> {
    let differs = |(place, argument): &(usize, Argument)| {
        let [Some(one), Some(other)] = [&runs[0][*place], &runs[1][*place]] else { return false };
        let rows = left_alone_from(op, inputs, argument.name);
        let row_bytes = bytes_of_first(one);
        parts(one, other).into_iter().zip(row_bytes).any(|((one, other, _), row_bytes)| {
            let end = rows.saturating_mul(row_bytes).min(one.len());
            one[..end] != other[..end]
        })
    };
    outputs(op).into_iter().find(differs).map(|(_, argument)| argument.name)
}

fn outputs(op: &Op) -> Vec<(usize, Argument)> {
    let arguments = op.arguments().into_iter().enumerate();
    arguments.filter(|(_, argument)| argument.role == Role::Output).collect()
}

/// The parts of the same output of two runs, with what they are called.
fn parts<'a>(one: &'a HostBuffer, other: &'a HostBuffer) -> [(&'a [u8], &'a [u8], &'static str); 3] {
    [
        (&one.data, &other.data, "element"),
        (&one.scales, &other.scales, "scale"),
        (&one.factors, &other.factors, "factor"),
    ]
}

/// From which row on an output is left as it was.
fn left_alone_from(op: &Op, inputs: &Inputs, name: &str) -> usize {
    let given = |name| inputs.get(op, name).map(read_integers).unwrap_or_default();
    match (op, name) {
        (Op::GroupedMatmul(_), "y") => given("counts").iter().sum::<i32>() as usize,
        (Op::Permute(_), "rows" | "row_weights") => {
            local_ids(op, inputs).iter().filter(|&&id| id >= 0).count()
        }
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use mxhal_core::op::{GroupedMatmul, Matmul};
    use mxhal_core::{Format, Quantization};

    use super::*;
    use crate::opcase::tensor::{floats, integers};

    /// Three rows, two of them in groups; what a run leaves where it writes nothing is the poison.
    fn grouped() -> (Op, Inputs) {
        let each = Matmul { output: Format::Bf16, ..Matmul::mxfp4(3, 2, 32, Quantization::none()) };
        let a = floats(Format::Bf16, &[3, 32], std::iter::repeat(1.0));
        let tensors = vec![Some(a), Some(integers(&[2], &[1, 1])), None, None];
        (GroupedMatmul { each, groups: 2 }.into(), Inputs { rows: 3, tensors, weights: Vec::new() })
    }

    /// Runs that wrote 1 to these places of y.
    fn runs(written: &[usize]) -> [Vec<Option<HostBuffer>>; 2] {
        Poison::BOTH.map(|poison| {
            let mut y = floats(Format::Bf16, &[3, 2], std::iter::repeat(1.0));
            for (place, element) in y.data.chunks_mut(2).enumerate() {
                if !written.contains(&place) {
                    element.fill(poison.0);
                }
            }
            vec![None, None, None, Some(y)]
        })
    }

    #[test]
    fn what_nobody_wrote_is_named_and_so_is_what_must_be_left_alone() {
        let (op, inputs) = grouped();
        assert!(expect_written(&op, &inputs, &runs(&[0, 1, 2, 3])).is_ok());
        let failure = expect_written(&op, &inputs, &runs(&[0, 1, 3])).unwrap_err();
        assert_eq!(failure.message, "element 2 of y was written by nobody");
        assert_eq!(failure.index, [1, 0]);
        let failure = expect_written(&op, &inputs, &runs(&[0, 1, 2, 3, 5])).unwrap_err();
        assert_eq!(failure.message, "element 5 of y was written, and it must be left as it was");
        assert_eq!(failure.index, [2, 1]);
    }

    #[test]
    fn two_runs_may_differ_only_in_what_they_leave_alone() {
        let (op, inputs) = grouped();
        let mut runs = runs(&[0, 1, 2, 3]);
        assert_eq!(first_difference(&op, &inputs, &runs), None);
        runs[1][3].as_mut().unwrap().data[2] ^= 1;
        assert_eq!(first_difference(&op, &inputs, &runs), Some("y"));
    }
}
