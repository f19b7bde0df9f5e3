//! Memory: nothing written outside the outputs, everything written inside, inputs unchanged, the least alignment, no
//! rows at all, and out of memory and then fine again.
//!
//! Every numeric case of the suite runs between red zones and over poison. The ones here are those in which a kernel
//! is most likely to step over: columns that fill no tile, rows that fill no block of rows, a last row alone.

use mxhal_core::op::{
    Argument, Combine, Dequantize, GroupedMatmul, Matmul, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm,
};
use mxhal_core::{Format, Op, Quantization};

use super::SuiteKind;
use super::bounded::layer;
use crate::case::Case;
use crate::opcase::listing::Listing;
use crate::opcase::{Load, OpCase, Question, Tier, Values};

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut listing = Listing::new(SuiteKind::Memory, seed);
    for (op, values, tier) in operators() {
        let case = OpCase::new(op, values, tier);
        listing.add("red-zones", case.clone());
        listing.add("one-row", OpCase { rows: 1, ..case.clone() });
        listing.add("no-rows", OpCase { rows: 0, ..case.clone() });
        let has_plain_rows =
            |argument: &Argument| !argument.format.is_block_scaled() && argument.shape.len() == 2;
        if op.arguments().iter().any(has_plain_rows) {
            listing.add("gaps", OpCase { row_gap: 7, ..case.clone() });
        }
        if matches!(op, Op::Matmul(_) | Op::Permute(_)) {
            listing.add("out-of-memory", OpCase { question: Question::AfterOutOfMemory, ..case });
        }
    }
    for load in [Load::Missing, Load::Nobody] {
        let each = Matmul::mxfp4(11, 19, 64, Quantization::none());
        let mut case =
            OpCase::new(GroupedMatmul { each, groups: 3 }, Values::Exact { spread: 2 }, Tier::Exact);
        case.data.load = load;
        listing.add(&format!("left-alone-{}", load.name()), case);
    }
    listing.into_cases()
}

/// One of each, with odd extents.
fn operators() -> Vec<(Op, Values, Tier)> {
    let exact = Values::Exact { spread: 2 };
    let mut all = Vec::new();
    for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128] {
        let op = Quantize { rows: 7, k: 160, input: Format::Bf16, to: Quantization::new(format) };
        all.push((op.into(), Values::Ties, Tier::Exact));
        let op = Dequantize { rows: 7, k: 160, from: format, output: Format::Bf16 };
        all.push((op.into(), Values::Ordinary, Tier::Exact));
    }
    // What a new backend begins with.
    let op = Dequantize { rows: 7, k: 160, from: Format::Mxfp4, output: Format::F32 };
    all.push((op.into(), Values::Ordinary, Tier::Exact));
    for scheme in [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4] {
        let each = Matmul { output: Format::Bf16, ..Matmul::mxfp4(7, 35, 96, Quantization::new(scheme)) };
        all.push((each.into(), exact, Tier::Exact));
        all.push((GroupedMatmul { each, groups: 3 }.into(), exact, Tier::Exact));
    }
    let (form, to) = (SwiGluForm::silu(10.0), Quantization::none());
    let swiglu = SwiGlu { rows: 7, n: 37, form, input: Format::Bf16, row_weights: true, to };
    all.push((swiglu.into(), Values::Ordinary, Tier::Bounded));
    let route = Route {
        tokens: 7,
        experts: 19,
        top_k: 3,
        score: Score::SqrtSoftplus,
        bias: true,
        ids_given: false,
        renormalize: true,
        scale: 1.5,
    };
    all.push((route.into(), Values::Ordinary, Tier::Bounded));
    let permute = Permute {
        tokens: 7,
        columns: 37,
        experts: 5,
        top_k: 3,
        format: Format::Bf16,
        weights: true,
        mapped: Some(11),
    };
    all.push((permute.into(), Values::Ordinary, Tier::Exact));
    let combine = Combine {
        tokens: 7,
        columns: 37,
        top_k: 3,
        input: Format::Bf16,
        output: Format::Bf16,
        weighted: true,
        addend: Some(Format::F32),
    };
    all.push((combine.into(), Values::Exact { spread: 0 }, Tier::Exact));
    all.push((layer().into(), Values::Ordinary, Tier::Bounded));
    all
}
