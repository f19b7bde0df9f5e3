//! NaN scales, the ends of the scales' range, overflow, signed zeros, saturated blocks, ids of nobody.

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, SwiGlu, SwiGluForm,
};
use mxhal_core::{Format, Quantization, ScaleRule};

use super::SuiteKind;
use super::bounded::layer;
use super::exact::quantizations;
use crate::case::Case;
use crate::opcase::listing::Listing;
use crate::opcase::{Load, OpCase, Tier, Values};

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut listing = Listing::new(SuiteKind::Special, seed);
    quantize(&mut listing);
    nan_scales(&mut listing);
    ends_of_the_range(&mut listing);
    non_finite(&mut listing);
    nobody(&mut listing);
    listing.into_cases()
}

fn quantize(listing: &mut Listing) {
    for to in quantizations() {
        let op = Quantize { rows: 24, k: 160, input: Format::F32, to };
        for values in [Values::NonFinite, Values::SignedZeros, Values::Tiny] {
            listing.add(values.name(), OpCase::new(op, values, Tier::Exact));
        }
        if to.rule == ScaleRule::Ceil {
            listing.add("boundary", OpCase::new(op, Values::Boundary, Tier::Exact));
        }
        if to.amax_floor > 0.0 {
            let op = Quantize { input: Format::Bf16, ..op };
            listing.add("tiny", OpCase::new(op, Values::Tiny, Tier::Exact));
        }
    }
}

/// What products take with MXFP4 weights.
const SCHEMES: [Format; 5] = [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4];

fn product(m: usize, n: usize, k: usize, scheme: Format, values: Values) -> OpCase {
    let each = Matmul { input: scheme, ..Matmul::mxfp4(m, n, k, Quantization::new(scheme)) };
    OpCase::new(each, values, Tier::Exact)
}

fn nan_scales(listing: &mut Listing) {
    for scheme in SCHEMES {
        // As many rows of weights as it takes for each block to have its turn, and again.
        listing.add("nan-weight-scales", product(3, 16, 224, scheme, Values::NanWeightScales));
        let each = Matmul { input: scheme, ..Matmul::mxfp4(9, 16, 96, Quantization::new(scheme)) };
        let op = GroupedMatmul { each, groups: 3 };
        listing.add("nan-weight-scales", OpCase::new(op, Values::NanWeightScales, Tier::Exact));
        if scheme != Format::Bf16 {
            listing.add("nan-input-scales", product(12, 9, 224, scheme, Values::NanInputScales));
        }
    }
    for weight in [Format::Fp8Tile128, Format::Nvfp4] {
        let each = Matmul { weight, ..Matmul::mxfp4(3, 160, 288, Quantization::none()) };
        listing.add("nan-weight-scales", OpCase::new(each, Values::NanWeightScales, Tier::Exact));
    }
    for from in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4] {
        let op = Dequantize { rows: 12, k: 288, from, output: Format::Bf16 };
        listing.add("nan-input-scales", OpCase::new(op, Values::NanInputScales, Tier::Exact));
    }
}

fn ends_of_the_range(listing: &mut Listing) {
    for scheme in SCHEMES {
        for values in [Values::LowWeightScales, Values::HighWeightScales] {
            listing.add(values.name(), product(5, 17, 96, scheme, values));
        }
        for output in [Format::F32, Format::Bf16] {
            let each =
                Matmul { input: scheme, output, ..Matmul::mxfp4(3, 9, 160, Quantization::new(scheme)) };
            listing.add("overflow", OpCase::new(each, Values::Overflow, Tier::Exact));
        }
        let each = Matmul { output: Format::F16, ..Matmul::mxfp4(3, 9, 64, Quantization::new(scheme)) };
        listing.add("overflow-f16", OpCase::new(each, Values::OverflowF16, Tier::Exact));
    }
}

fn non_finite(listing: &mut Listing) {
    for scheme in SCHEMES {
        let each = Matmul { bias: true, ..Matmul::mxfp4(6, 17, 96, Quantization::new(scheme)) };
        listing.add("non-finite", OpCase::new(each, Values::NonFinite, Tier::Bounded));
        let op = GroupedMatmul { each, groups: 3 };
        listing.add("non-finite", OpCase::new(op, Values::NonFinite, Tier::Bounded));
    }
    for form in [SwiGluForm::silu(0.0), SwiGluForm::silu(10.0), SwiGluForm::gpt_oss(7.0)] {
        let plain =
            [Format::F32, Format::Bf16, Format::F16].map(|format| (format, Quantization::new(format)));
        let quantized = quantizations().into_iter().filter(|to| to.rule == Quantization::new(to.format).rule);
        for (input, to) in plain.into_iter().chain(quantized.map(|to| (Format::Bf16, to))) {
            let row_weights = input == Format::Bf16;
            let op = SwiGlu { rows: 12, n: 160, form, input, row_weights, to };
            listing.add("non-finite", OpCase::new(op, Values::NonFinite, Tier::Bounded));
        }
    }
    let op = Combine {
        tokens: 8,
        columns: 24,
        top_k: 2,
        input: Format::F32,
        output: Format::Bf16,
        weighted: true,
        addend: None,
    };
    listing.add("non-finite", OpCase::new(op, Values::NonFinite, Tier::Bounded));
}

/// Ids of −1, of nobody at all, and beyond the last expert.
fn nobody(listing: &mut Listing) {
    let permute = Permute {
        tokens: 11,
        columns: 64,
        experts: 5,
        top_k: 3,
        format: Format::Bf16,
        weights: true,
        mapped: None,
    };
    let combine = Combine {
        tokens: 11,
        columns: 64,
        top_k: 3,
        input: Format::Bf16,
        output: Format::F32,
        weighted: true,
        addend: Some(Format::Bf16),
    };
    for load in [Load::Missing, Load::Nobody, Load::OutOfRange] {
        for mapped in [None, Some(9)] {
            let mut case = OpCase::new(Permute { mapped, ..permute }, Values::Ordinary, Tier::Exact);
            case.data.load = load;
            listing.add(load.name(), case);
        }
        if load == Load::OutOfRange {
            continue;
        }
        for addend in [None, combine.addend] {
            let mut case =
                OpCase::new(Combine { addend, ..combine }, Values::Exact { spread: 0 }, Tier::Exact);
            case.data.load = load;
            listing.add(load.name(), case);
        }
        let mut case = OpCase::new(MoeFfn { tokens: 6, ..layer() }, Values::Ordinary, Tier::Bounded);
        case.data.load = load;
        listing.add(load.name(), case);
    }
}
