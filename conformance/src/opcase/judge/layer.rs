//! Judging MoeFfn, whose chain quantizes on the way.
//!
//! The contract is the interval: every output is the rounding of a number that a correct chain may reach
//! ([`Moe::ranges`]). It is safe and not sharp, so that a small mistake (a scale shared by 128 columns and not by 32)
//! can hide in it. Ordinary data are therefore also held to a distance from the chain with DeepSeek's own roundings.

use mxhal_core::op::{MoeFfn, WeightPosition};
use mxhal_core::{Format, HostBuffer};

use super::compare::{in_tensor, wrong_answer};
use super::gates::oracle_swiglu;
use super::{Evidence, Verdict, local_ids};
use crate::opcase::tensor::{read, read_rows};
use crate::oracle::interval::Intermediates;
use crate::oracle::{Expert, Matrix, Moe, Shared};
use crate::outcome::Failure;

/// How far a layer may be from the oracle's chain: relative L2 of all outputs, and of the worst token.
///
/// They are the measured effect of noise of 1e-6 in each sum, with room: `conformance/golden/README.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Distance {
    pub(crate) all: f64,
    pub(crate) token: f64,
}

impl Distance {
    /// For a chain that rounds gate, up and down to BF16.
    pub(crate) const fn of_chain(activation: Format) -> Self {
        match activation {
            Format::Mxfp4 | Format::Nvfp4 => Self { all: 0.03, token: 0.12 },
            Format::Mxfp8 | Format::Mxfp8G128 => Self { all: 0.008, token: 0.04 },
            Format::Mxint8 => Self { all: 0.006, token: 0.02 },
            _ => Self { all: 0.002, token: 0.005 },
        }
    }

    /// For a fused chain, which may keep them in float32.
    pub(crate) const fn of_fused(activation: Format) -> Self {
        match activation {
            Format::Mxfp4 | Format::Nvfp4 => Self { all: 0.06, token: 0.2 },
            Format::Mxfp8 | Format::Mxfp8G128 => Self { all: 0.025, token: 0.08 },
            Format::Mxint8 => Self { all: 0.015, token: 0.03 },
            _ => Self { all: 0.006, token: 0.01 },
        }
    }

    /// Whether `got` is so near to `expected`. Gives the distance of all outputs over its limit. Of fewer than eight
    /// tokens each counts as the worst, for their mean says little.
    pub(crate) fn check(self, expected: &Matrix, got: &Matrix) -> Result<f64, Failure> {
        let squares = |row: usize| {
            let pairs = expected.row(row).iter().zip(got.row(row));
            pairs.fold((0.0, 0.0), |(error, norm), (expected, got)| {
                (error + (got - expected).powi(2), norm + expected.powi(2))
            })
        };
        let rows: Vec<(f64, f64)> = (0..expected.rows).map(squares).collect();
        let (error, norm) = rows.iter().fold((0.0, 0.0), |(e, n), (error, norm)| (e + error, n + norm));
        let limit = if rows.len() < 8 { self.token } else { self.all };
        let all = relative(error, norm);
        // A token that is all but zero beside the others has no relative error worth the name.
        let least = 1e-4 * norm / rows.len().max(1) as f64;
        let worst = rows.iter().map(|&(error, norm)| relative(error, norm.max(least))).enumerate();
        let (token, worst) = worst.fold((0, 0.0), |most, row| if row.1 <= most.1 { most } else { row });
        if all <= limit && worst <= self.token {
            return Ok(all / limit);
        }
        let message = format!(
            "y is {:.3} % (relative L2) from the chain where {:.1} % are allowed, the worst token {:.3} % where {:.1} % are",
            100.0 * all,
            100.0 * limit,
            100.0 * worst,
            100.0 * self.token
        );
        Err(Failure { index: vec![token], bound: Some(limit), ..Failure::new(message) })
    }
}

fn relative(error: f64, norm: f64) -> f64 {
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

pub(super) fn judge(evidence: &Evidence<'_>, op: &MoeFfn) -> Result<Verdict, Failure> {
    let x = read(evidence.input("x"));
    let weights = read(evidence.input("weights")).values;
    let ids = local_ids(evidence.op, evidence.inputs);
    let got = read(evidence.output("y"));
    if x.rows == 0 {
        return Ok(Verdict::default());
    }
    let moe = oracle_layer(evidence, op, &ids);
    let ranges = moe.ranges(&x, &ids, &weights, Intermediates::Bf16OrBetter).map_err(wrong_answer)?;
    ranges.check(&got, op.output).map_err(wrong_answer).map_err(in_tensor("y"))?;
    let expected = moe.apply(&x, &ids, &weights).map_err(wrong_answer)?;
    let error_over_bound = if expected.values.iter().all(|value| value.is_finite()) {
        Distance::of_fused(op.activation.format).check(&expected, &got).map_err(in_tensor("y"))?
    } else {
        0.0
    };
    Ok(Verdict { elements: got.values.len() as u64, error_over_bound })
}

/// The layer, decoded. Experts that no token goes to stay zero.
pub(super) fn oracle_layer(evidence: &Evidence<'_>, op: &MoeFfn, ids: &[i32]) -> Moe {
    let decoded = |place: usize, group: usize, rows: usize| {
        read_rows(&evidence.inputs.weights[place], group, &(0..rows).collect::<Vec<_>>())
    };
    let bias = |name: &str, expert: usize| {
        let row = |bias: &HostBuffer| read(bias).row(expert).to_vec();
        evidence.optional(name).map(row)
    };
    let expert = |index: usize| {
        let taken = ids.contains(&(index as i32));
        let matrix = |place, rows, columns| {
            if taken { decoded(place, index, rows) } else { Matrix::zeros(rows, columns) }
        };
        Expert {
            gate_up: matrix(0, 2 * op.inner, op.hidden),
            gate_up_bias: bias("gate_up_bias", index),
            down: matrix(1, op.hidden, op.inner),
            down_bias: bias("down_bias", index),
        }
    };
    let shared = op.shared.map(|shared| Shared {
        expert: Expert {
            gate_up: decoded(2, 0, 2 * shared.inner),
            gate_up_bias: None,
            down: decoded(3, 0, op.hidden),
            down_bias: None,
        },
        clamped: shared.clamped,
    });
    Moe {
        experts: (0..op.experts).map(expert).collect(),
        shared,
        activation: op.activation,
        swiglu: oracle_swiglu(&op.form),
        weight_before_down: op.weight_position == WeightPosition::BeforeDown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_kept_by_all_and_by_the_worst_token() {
        let expected = Matrix { rows: 8, columns: 2, values: vec![1.0; 16] };
        let limits = Distance { all: 0.02, token: 0.05 };
        let with = |value: f64| {
            let mut got = expected.clone();
            (got.values[4], got.values[5]) = (value, value);
            got
        };
        assert_eq!(limits.check(&expected, &expected).unwrap(), 0.0);
        assert!(limits.check(&expected, &with(1.04)).is_ok());
        let failure = limits.check(&expected, &with(1.06)).unwrap_err();
        assert_eq!(failure.index, [2]);
        assert!(limits.check(&expected, &expected.map(|value| value * 1.03)).is_err());
        assert!(limits.check(&expected, &with(f64::NAN)).is_err());
    }
}
