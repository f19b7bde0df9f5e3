//! Descriptors at random: every operator, format and attribute, usual and odd, small enough to run.

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert,
    SwiGlu, SwiGluForm, SwiGluVariant, WeightPosition,
};
use mxhal_core::{Format, Op, OpKind, Quantization, ScaleRule};

use crate::opcase::random::Random;

const PLAIN: [Format; 3] = [Format::F32, Format::Bf16, Format::F16];
const ROWS: [usize; 8] = [1, 2, 3, 7, 16, 33, 64, 100];
/// Columns in blocks and not; 2880 is gpt-oss's.
const COLUMNS: [usize; 12] = [1, 16, 32, 48, 64, 96, 128, 130, 160, 256, 288, 2880];
const EXPERTS: [usize; 6] = [1, 2, 3, 8, 17, 32];
const TOP_K: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// A descriptor that validates.
pub(super) fn valid(kind: OpKind, random: &mut Random) -> Op {
    loop {
        // At least one in some hundred validates, whatever the kind.
        let op = any(kind, random);
        if op.validate().is_ok() {
            return op;
        }
    }
}

fn any(kind: OpKind, random: &mut Random) -> Op {
    match kind {
        OpKind::Quantize => Quantize {
            rows: random.pick(&ROWS),
            k: random.pick(&COLUMNS),
            input: plain(random),
            to: quantization(random),
        }
        .into(),
        OpKind::Dequantize => Dequantize {
            rows: random.pick(&ROWS),
            k: random.pick(&COLUMNS),
            from: random.pick(&Format::ALL),
            output: plain(random),
        }
        .into(),
        OpKind::Matmul => matmul(random).into(),
        OpKind::GroupedMatmul => GroupedMatmul { each: matmul(random), groups: random.pick(&EXPERTS) }.into(),
        OpKind::SwiGlu => SwiGlu {
            rows: random.pick(&ROWS),
            n: random.pick(&COLUMNS),
            form: form(random),
            input: plain(random),
            row_weights: random.one_in(2),
            to: quantization(random),
        }
        .into(),
        OpKind::Route => Route {
            tokens: random.pick(&ROWS),
            experts: random.pick(&[1, 2, 3, 8, 17, 128, 256, 384]),
            top_k: random.pick(&TOP_K),
            score: random.pick(&[
                Score::Softmax,
                Score::Sigmoid,
                Score::SqrtSoftplus,
                Score::SoftmaxOfChosen,
            ]),
            bias: random.one_in(2),
            ids_given: random.one_in(4),
            renormalize: random.one_in(2),
            scale: random.pick(&[1.0, 2.5, 0.0, -1.5]),
        }
        .into(),
        OpKind::Permute => Permute {
            tokens: random.pick(&ROWS),
            columns: random.pick(&COLUMNS),
            experts: random.pick(&EXPERTS),
            top_k: random.pick(&TOP_K),
            format: random.pick(&Format::ALL),
            weights: random.one_in(2),
            mapped: mapped(random),
        }
        .into(),
        OpKind::Combine => Combine {
            tokens: random.pick(&ROWS),
            columns: random.pick(&COLUMNS),
            top_k: random.pick(&TOP_K),
            input: plain(random),
            output: plain(random),
            weighted: random.one_in(2),
            addend: random.one_in(2).then(|| plain(random)),
        }
        .into(),
        _ => moe_ffn(random).into(),
    }
}

fn matmul(random: &mut Random) -> Matmul {
    let activation = scheme(random);
    Matmul {
        m: random.pick(&ROWS),
        n: random.pick(&COLUMNS),
        k: random.pick(&COLUMNS),
        input: random.pick(&[Format::Bf16, activation.format]),
        weight: weight(random),
        output: plain(random),
        bias: random.one_in(2),
        activation,
    }
}

fn moe_ffn(random: &mut Random) -> MoeFfn {
    MoeFfn {
        tokens: random.pick(&[1, 2, 3, 7, 16]),
        hidden: random.pick(&[32, 64, 96, 128, 256]),
        inner: random.pick(&[32, 64, 96, 128, 160]),
        experts: random.pick(&EXPERTS),
        top_k: random.pick(&TOP_K),
        weight: weight(random),
        activation: scheme(random),
        form: form(random),
        weight_position: random.pick(&[WeightPosition::BeforeDown, WeightPosition::AfterDown]),
        bias: random.one_in(3),
        output: plain(random),
        mapped: mapped(random),
        shared: random.one_in(3).then(|| SharedExpert {
            inner: random.pick(&[32, 64, 128, 192]),
            weight: weight(random),
            clamped: random.one_in(2),
        }),
    }
}

fn plain(random: &mut Random) -> Format {
    random.pick(&PLAIN)
}

/// A format of weights, MXFP4 half the time.
fn weight(random: &mut Random) -> Format {
    if random.one_in(2) { Format::Mxfp4 } else { random.pick(&Format::ALL) }
}

/// An activation scheme: none, or a quantization.
fn scheme(random: &mut Random) -> Quantization {
    if random.one_in(3) { Quantization::none() } else { quantization(random) }
}

fn quantization(random: &mut Random) -> Quantization {
    let usual = Quantization::new(random.pick(&Format::ALL));
    let rule = if random.one_in(3) { random.pick(&ScaleRule::ALL) } else { usual.rule };
    usual.with_rule(rule).with_amax_floor(random.pick(&[0.0, 0.0, 1e-4, 2.0]))
}

fn form(random: &mut Random) -> SwiGluForm {
    let limit = random.pick(&[0.0, 7.0, 10.0, 0.5]);
    match random.below(4) {
        0 => SwiGluForm::gpt_oss(limit),
        1 => SwiGluForm { variant: SwiGluVariant::Silu, limit, alpha: 0.0, interleaved: true },
        2 => SwiGluForm { alpha: -0.5, interleaved: false, ..SwiGluForm::gpt_oss(limit) },
        _ => SwiGluForm::silu(limit),
    }
}

fn mapped(random: &mut Random) -> Option<usize> {
    random.one_in(3).then(|| random.pick(&[1, 8, 40]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kind_is_drawn_valid_and_with_every_format_that_it_takes() {
        let mut random = Random::new(1, "draw");
        for kind in OpKind::ALL {
            let mut formats = HashSet::new();
            for _ in 0..400 {
                let op = valid(kind, &mut random);
                assert_eq!(op.kind(), kind);
                op.validate().unwrap();
                formats.extend(op.arguments().iter().filter(|a| a.present).map(|argument| argument.format));
                formats.extend(op.weights().iter().map(|desc| desc.format));
            }
            assert!(formats.len() >= 2, "{kind}: {formats:?}");
            if matches!(kind, OpKind::Dequantize | OpKind::Matmul | OpKind::MoeFfn) {
                assert!(
                    formats.contains(&Format::Fp8Tile128) && formats.contains(&Format::Nvfp4),
                    "{kind}: {formats:?}"
                );
            }
        }
    }
}
