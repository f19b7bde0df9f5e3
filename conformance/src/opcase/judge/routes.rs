//! Routing and permutation.

use mxhal_core::op::{Permute, Route, Score};

use super::compare::{equal, equal_integers, in_tensor, same_value, wrong_answer};
use super::{Evidence, Verdict, local_ids};
use crate::opcase::tensor::{bytes_of_first, read, read_integers};
use crate::oracle::{self, Matrix};
use crate::outcome::Failure;

pub(super) fn judge_route(evidence: &Evidence<'_>, op: &Route) -> Result<Verdict, Failure> {
    let logits = read(evidence.input("logits"));
    let bias = evidence.optional("bias").map(|bias| read(bias).values);
    let given = evidence.optional("ids_given").map(read_integers);
    let (ids, weights) = (read_integers(evidence.output("ids")), read(evidence.output("weights")).values);
    let route = oracle_route(op);
    let checked = route.check(&logits, bias.as_deref(), given.as_deref(), &ids, &weights);
    checked.map_err(wrong_answer).map_err(in_tensor("ids, weights"))?;
    let right = route.apply(&logits, bias.as_deref(), Some(&ids)).map_err(wrong_answer)?.weights;
    let ratios = right.iter().zip(&weights).map(|(&right, &got)| {
        let error = (got - right).abs() / oracle::route::weight_bound(right);
        if error.is_nan() { 0.0 } else { error }
    });
    Ok(Verdict { elements: 2 * ids.len() as u64, error_over_bound: ratios.fold(0.0, f64::max) })
}

/// The oracle's routing of this operator.
pub(crate) fn oracle_route(op: &Route) -> oracle::Route {
    let score = match op.score {
        Score::Sigmoid => oracle::Score::Sigmoid,
        Score::SqrtSoftplus => oracle::Score::SqrtSoftplus,
        Score::SoftmaxOfChosen => oracle::Score::SoftmaxOfChosen,
        _ => oracle::Score::Softmax,
    };
    oracle::Route { score, top_k: op.top_k, renormalize: op.renormalize, scale: f64::from(op.scale) }
}

pub(super) fn judge_permute(evidence: &Evidence<'_>, op: &Permute) -> Result<Verdict, Failure> {
    let ids = local_ids(evidence.op, evidence.inputs);
    let right = oracle::permute(&ids, op.top_k, op.experts).map_err(wrong_answer)?;
    let counts: Vec<i32> = right.counts.iter().map(|&count| count as i32).collect();
    for (name, expected, columns) in [
        ("counts", &counts, op.experts),
        ("source", &right.source, right.source.len()),
        ("positions", &right.positions, op.top_k),
    ] {
        equal_integers(name, expected, &read_integers(evidence.output(name)), columns)?;
    }
    let taken = right.source.iter().take_while(|&&route| route >= 0).count();
    let (x, rows) = (evidence.input("x"), evidence.output("rows"));
    let [data, scales, factors] = bytes_of_first(x);
    let per_tensor = x.factors.len() == 4 && evidence.inputs.rows > 1;
    for (row, &route) in right.source[..taken].iter().enumerate() {
        let token = route as usize / op.top_k;
        let pairs = [
            ("elements", &x.data[token * data..][..data], &rows.data[row * data..][..data]),
            ("scales", &x.scales[token * scales..][..scales], &rows.scales[row * scales..][..scales]),
        ];
        for (part, expected, got) in pairs {
            if expected != got {
                let message = format!("the {part} of row {row} of rows are not those of token {token}");
                return Err(Failure {
                    tensor: Some("rows".to_owned()),
                    index: vec![row],
                    ..Failure::new(message)
                });
            }
        }
        let from = if per_tensor { 0 } else { token * factors };
        let size = factors.max(if per_tensor { 4 } else { 0 });
        if x.factors[from..][..size] != rows.factors[row * size..][..size] {
            let message = format!("the factor of row {row} of rows is not that of token {token}");
            return Err(Failure {
                tensor: Some("rows".to_owned()),
                index: vec![row],
                ..Failure::new(message)
            });
        }
    }
    if let Some(weights) = evidence.optional("weights") {
        let (weights, got) = (read(weights).values, read(evidence.output("row_weights")));
        let expected: Vec<f64> = right.source[..taken].iter().map(|&route| weights[route as usize]).collect();
        let expected = Matrix { rows: taken, columns: 1, values: expected };
        let got = Matrix { rows: taken, columns: 1, values: got.values[..taken].to_vec() };
        equal("row_weights", &expected, &got, same_value)?;
    }
    let elements = taken * op.columns + counts.len() + 2 * ids.len();
    Ok(Verdict { elements: elements as u64, error_over_bound: 0.0 })
}
