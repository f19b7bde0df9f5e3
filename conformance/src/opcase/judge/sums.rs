//! Products, and the sum over experts.

use mxhal_core::Format;
use mxhal_core::op::{Combine, Op};

use super::compare::{equal, in_column, same_value, within_bounds, wrong_answer};
use super::{Evidence, Verdict};
use crate::opcase::Tier;
use crate::opcase::tensor::{read, read_integers, read_rows};
use crate::oracle::format::Float;
use crate::oracle::{self, Matrix, Product};
use crate::outcome::Failure;

pub(super) fn judge_product(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    let (each, groups, counts) = match evidence.op {
        Op::Matmul(each) => (each, 1, vec![evidence.inputs.rows]),
        Op::GroupedMatmul(grouped) => {
            let counts = read_integers(evidence.input("counts"));
            (&grouped.each, grouped.groups, counts.iter().map(|&count| count as usize).collect())
        }
        _ => return Err(Failure::new("only products are judged as products")),
    };
    let columns = evidence.columns.clone().unwrap_or_else(|| (0..each.n).collect());
    let a = read(evidence.input("a"));
    let a = if each.input == each.activation.format || each.activation.is_none() {
        a
    } else {
        oracle::quantize_dequantize(&a, each.activation).map_err(wrong_answer)?
    };
    // A group without rows has nothing to be judged by.
    let weights: Vec<Matrix> = (0..groups)
        .map(|group| match counts[group] {
            0 => Matrix::zeros(columns.len(), each.k),
            _ => read_rows(&evidence.inputs.weights[0], group, &columns),
        })
        .collect();
    let biases = evidence.optional("bias").map(|bias| {
        let bias = read(bias);
        let of_group = |group: usize| columns.iter().map(|&n| bias.values[group * each.n + n]).collect();
        (0..groups).map(of_group).collect::<Vec<Vec<f64>>>()
    });
    let product = oracle::grouped_matmul(&a, &weights, &counts, biases.as_deref()).map_err(wrong_answer)?;

    let y = read(evidence.output("y"));
    let picked = (0..product.rows).flat_map(|row| columns.iter().map(move |&n| (row, n)));
    let got = Matrix {
        rows: product.rows,
        columns: columns.len(),
        values: picked.map(|(row, n)| y.row(row)[n]).collect(),
    };
    judge_sums("y", &product, &got, each.output, evidence.tier)
        .map_err(|failure| in_column(failure, &columns))
}

pub(super) fn judge_combine(evidence: &Evidence<'_>, op: &Combine) -> Result<Verdict, Failure> {
    let rows = read(evidence.input("rows"));
    let positions = read_integers(evidence.input("positions"));
    let weights = match evidence.optional("weights") {
        Some(weights) => read(weights).values,
        None => vec![1.0; positions.len()],
    };
    let addend = evidence.optional("addend").map(read);
    let got = read(evidence.output("y"));
    let arguments = (&rows, &weights[..], &positions[..], op.top_k, addend.as_ref());
    let (rows, weights, positions, top_k, addend) = arguments;
    let product = oracle::combine(rows, weights, positions, top_k, addend).map_err(wrong_answer)?;
    let verdict = judge_sums("y", &product, &got, op.output, evidence.tier)?;
    if evidence.properties.slot_order {
        let bits = oracle::combine_in_slot_order(rows, weights, positions, top_k, addend, op.output)
            .map_err(wrong_answer)?;
        equal("y", &bits, &got, same_value).map_err(|failure| Failure {
            message: "y is not the sum in order of slot that was declared".to_owned(),
            ..failure
        })?;
    }
    Ok(verdict)
}

/// Sums against their oracle, exactly or within their bound.
fn judge_sums(
    tensor: &str,
    product: &Product,
    got: &Matrix,
    output: Format,
    tier: Tier,
) -> Result<Verdict, Failure> {
    if tier == Tier::Exact {
        return equal(tensor, &product.rounded(output).map_err(wrong_answer)?, got, same_value);
    }
    let float = Float::of(output).map_err(wrong_answer)?;
    let ratio = |index: usize| product.ratio(index, got.values[index], float, true);
    within_bounds(tensor, got, ratio, |index| {
        (product.sums[index].value(), product.bound(index, float, true))
    })
}
