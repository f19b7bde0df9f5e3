//! SwiGLU, plain or quantized.

use mxhal_core::op::{SwiGlu, SwiGluForm, SwiGluVariant};
use mxhal_core::{HostBuffer, Quantization};

use super::compare::{in_row, in_tensor, within_bounds, wrong_answer};
use super::formats::judge_quantized;
use super::{Evidence, Verdict};
use crate::opcase::tensor::{bytes_of_first, layout, read};
use crate::oracle::format::Float;
use crate::oracle::{self, Matrix, interval, swiglu};
use crate::outcome::{Failure, number};

pub(super) fn judge_swiglu(evidence: &Evidence<'_>, op: &SwiGlu) -> Result<Verdict, Failure> {
    let weights = evidence.optional("row_weights").map(|weights| read(weights).values);
    let h = oracle_swiglu(&op.form)
        .apply(&read(evidence.input("x")), weights.as_deref())
        .map_err(wrong_answer)?;
    let got = evidence.output("y");
    if !op.to.is_none() {
        return judge_quantized_swiglu(&h, op.to, got).map_err(in_tensor("y"));
    }
    let (float, got) = (Float::of(op.to.format).map_err(wrong_answer)?, read(got));
    let bound = |index: usize| swiglu::bound(h.values[index], float);
    let ratio = |index: usize| {
        let (value, got) = (h.values[index], got.values[index]);
        if value.is_nan() || got.is_nan() {
            return if value.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if got.is_infinite() {
            let furthest = value + swiglu::error_before_rounding(value).copysign(got);
            return if float.round(furthest) == got { 0.0 } else { f64::INFINITY };
        }
        (got - value).abs() / bound(index)
    };
    within_bounds("y", &got, ratio, |index| (h.values[index], bound(index)))
}

/// The oracle's SwiGLU of this form.
pub(super) fn oracle_swiglu(form: &SwiGluForm) -> oracle::SwiGlu {
    let variant = match form.variant {
        SwiGluVariant::GptOss => oracle::Variant::GptOss { alpha: f64::from(form.alpha) },
        _ => oracle::Variant::Plain,
    };
    oracle::SwiGlu { variant, limit: f64::from(form.limit), interleaved: form.interleaved }
}

/// Values within their error, rounded to BF16, then quantized. A block whose BF16 values are certain has one answer;
/// in others each element lies in its range.
fn judge_quantized_swiglu(h: &Matrix, to: Quantization, got: &HostBuffer) -> Result<Verdict, Failure> {
    let ranges: Vec<interval::Range> = h
        .values
        .iter()
        .map(|&value| {
            if !value.is_finite() {
                return interval::Range { low: value, high: value };
            }
            let error = swiglu::error_before_rounding(value);
            let bf16 = |end: f64| Float::BF16.round(end);
            interval::Range { low: bf16(value - error), high: bf16(value + error) }
        })
        .collect();
    let is_certain = |ranges: &[interval::Range]| {
        ranges.iter().all(|range| range.low == range.high || (range.low.is_nan() && range.high.is_nan()))
    };
    let values = read(got);
    let columns = h.columns.max(1);
    for (row, ranges) in ranges.chunks(columns).enumerate() {
        if is_certain(ranges) {
            let x = Matrix { rows: 1, columns, values: ranges.iter().map(|range| range.low).collect() };
            let [data, scales, factors] = bytes_of_first(got);
            let one = HostBuffer {
                layout: layout(to.format, &[1, columns]),
                data: got.data[row * data..][..data].to_vec(),
                scales: got.scales[row * scales..][..scales].to_vec(),
                factors: got.factors[row * factors..][..factors].to_vec(),
            };
            judge_quantized(&x, to, &one).map_err(|failure| in_row(failure, row))?;
        }
        let allowed = interval::quantize_row(ranges, to).map_err(wrong_answer)?;
        for (column, (range, &got)) in allowed.iter().zip(values.row(row)).enumerate() {
            if !range.contains(got) {
                return Err(Failure {
                    index: vec![row, column],
                    expected: Some(format!("a value from {} to {}", number(range.low), number(range.high))),
                    got: Some(number(got)),
                    ..Failure::new("y is not what any value within the error is quantized to")
                });
            }
        }
    }
    Ok(Verdict { elements: h.values.len() as u64, error_over_bound: 0.0 })
}
