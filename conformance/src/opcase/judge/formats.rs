//! Quantize and dequantize: one right answer, or the few that the oracle allows.

use mxhal_core::op::Quantize;
use mxhal_core::{HostBuffer, Quantization};

use super::compare::{equal, in_tensor, wrong_answer};
use super::{Evidence, Verdict};
use crate::opcase::tensor::{read, read_factors};
use crate::oracle::format::Float;
use crate::oracle::{self, Encoded, Matrix};
use crate::outcome::Failure;

pub(super) fn judge_quantize(evidence: &Evidence<'_>, op: &Quantize) -> Result<Verdict, Failure> {
    judge_quantized(&read(evidence.input("x")), op.to, evidence.output("y")).map_err(in_tensor("y"))
}

/// Whether `got` is what `x` may be quantized to.
pub(super) fn judge_quantized(x: &Matrix, to: Quantization, got: &HostBuffer) -> Result<Verdict, Failure> {
    let factors = read_factors(got);
    let encoded = Encoded {
        format: to.format,
        rows: x.rows,
        columns: x.columns,
        data: &got.data,
        scales: &got.scales,
        factors: &factors,
    };
    oracle::check_quantized(x, to, &encoded).map_err(wrong_answer)?;
    Ok(Verdict { elements: x.values.len() as u64, error_over_bound: 0.0 })
}

pub(super) fn judge_dequantize(evidence: &Evidence<'_>) -> Result<Verdict, Failure> {
    let (expected, got) = (read(evidence.input("x")), evidence.output("y"));
    let float = Float::of(got.layout.format()).map_err(wrong_answer)?;
    let same = |expected: f64, got: f64| {
        // Each element has a sign, also where it is zero.
        (expected == got && expected.is_sign_negative() == got.is_sign_negative())
            || (expected.is_nan() && got.is_nan())
    };
    equal("y", &expected.map(|value| float.round(value)), &read(got), same)
}
