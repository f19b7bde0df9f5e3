//! Equality of bits: where one answer is right, whatever the order of a sum, the tiles or the threads.

use mxhal_core::op::{Combine, Dequantize, GroupedMatmul, Matmul, Permute, Quantize, Route, Score};
use mxhal_core::{Format, Quantization, ScaleRule};

use super::{SuiteKind, accumulator};
use crate::case::Case;
use crate::opcase::listing::Listing;
use crate::opcase::{DataRecipe, Load, OpCase, Question, Tier, Values};

/// The plain float formats.
pub(super) const PLAIN: [Format; 3] = [Format::F32, Format::Bf16, Format::F16];

/// Formats that rows are quantized to.
pub(super) const QUANTIZED: [Format; 5] =
    [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4];

/// Weights and the activations that they are multiplied with: the experts' of published models first, then the
/// shared experts' and the routers', then the rest.
pub(super) const SCHEMES: [(Format, Format); 17] = [
    (Format::Mxfp4, Format::Bf16),
    (Format::Mxfp4, Format::Mxfp8),
    (Format::Mxfp4, Format::Mxfp8G128),
    (Format::Mxfp4, Format::Mxint8),
    (Format::Mxfp4, Format::Mxfp4),
    (Format::Fp8Tile128, Format::Bf16),
    (Format::Fp8Tile128, Format::Mxfp8),
    (Format::Fp8Tile128, Format::Mxfp8G128),
    (Format::Fp8Tile128, Format::Mxint8),
    (Format::Fp8Tile128, Format::Mxfp4),
    (Format::Bf16, Format::Bf16),
    (Format::Nvfp4, Format::Bf16),
    (Format::Nvfp4, Format::Nvfp4),
    (Format::Mxfp8, Format::Bf16),
    (Format::Mxfp8, Format::Mxfp8),
    (Format::Mxint8, Format::Bf16),
    (Format::Mxint8, Format::Mxint8),
];

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut listing = Listing::new(SuiteKind::Exact, seed);
    quantize(&mut listing);
    dequantize(&mut listing);
    permute(&mut listing);
    route(&mut listing);
    export(&mut listing);
    matmul(&mut listing);
    grouped_matmul(&mut listing);
    combine(&mut listing);
    let mut cases = listing.into_cases();
    cases.extend(accumulator::cases(seed));
    cases
}

/// Each format with each of its rules, and DeepSeek's floor.
pub(super) fn quantizations() -> Vec<Quantization> {
    let mut all = Vec::new();
    for format in QUANTIZED {
        let usual = Quantization::new(format);
        all.push(usual);
        if format == Format::Nvfp4 {
            continue;
        }
        all.extend([ScaleRule::Floor, ScaleRule::Even].map(|rule| usual.with_rule(rule)));
        if matches!(format, Format::Mxfp8 | Format::Mxfp8G128) {
            all.push(usual.with_amax_floor(1e-4));
        }
    }
    all
}

fn quantize(listing: &mut Listing) {
    for to in quantizations() {
        for input in PLAIN {
            listing.add(
                "ties",
                OpCase::new(Quantize { rows: 40, k: 160, input, to }, Values::Ties, Tier::Exact),
            );
        }
    }
}

fn dequantize(listing: &mut Listing) {
    for output in PLAIN {
        for (from, rows) in [
            (Format::Mxfp4, 64),
            (Format::Mxfp8, 512),
            (Format::Mxfp8G128, 512),
            (Format::Mxint8, 512),
            (Format::Nvfp4, 32),
        ] {
            let op = Dequantize { rows, k: 128, from, output };
            listing.add("every-code", OpCase::new(op, Values::EveryCode, Tier::Exact));
        }
        for from in QUANTIZED.into_iter().chain([Format::Fp8Tile128]) {
            let op = Dequantize { rows: 130, k: 288, from, output };
            listing.add("ordinary", OpCase::new(op, Values::Ordinary, Tier::Exact));
        }
        // Tiles that no vector of elements fills.
        let op = Dequantize { rows: 130, k: 131, from: Format::Fp8Tile128, output };
        listing.add("ordinary", OpCase::new(op, Values::Ordinary, Tier::Exact));
    }
}

fn permute(listing: &mut Listing) {
    let op = Permute {
        tokens: 19,
        columns: 160,
        experts: 8,
        top_k: 3,
        format: Format::Bf16,
        weights: true,
        mapped: None,
    };
    for format in PLAIN.into_iter().chain(QUANTIZED) {
        listing.add("even", OpCase::new(Permute { format, ..op }, Values::Ordinary, Tier::Exact));
    }
    for mapped in [None, Some(24)] {
        for load in [Load::Missing, Load::Sparse, Load::OneExpert] {
            let op = Permute { mapped, weights: mapped.is_none(), ..op };
            let mut case = OpCase::new(op, Values::Ordinary, Tier::Exact);
            case.data = DataRecipe::new(Values::Ordinary).with_load(load);
            listing.add(load.name(), case);
        }
    }
}

fn route(listing: &mut Listing) {
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        for bias in [false, true] {
            let op = Route {
                tokens: 16,
                experts: 32,
                top_k: 6,
                score,
                bias,
                ids_given: false,
                renormalize: true,
                scale: 1.0,
            };
            // Of four values among 32 experts many are equal: the lower id comes first.
            listing.add("ties", OpCase::new(op, Values::Ties, Tier::Exact));
        }
    }
}

fn export(listing: &mut Listing) {
    for weight in [
        Format::Mxfp4,
        Format::Fp8Tile128,
        Format::Bf16,
        Format::Nvfp4,
        Format::Mxfp8,
        Format::Mxfp8G128,
        Format::Mxint8,
    ] {
        let activation = if weight == Format::Nvfp4 { Format::Nvfp4 } else { Format::Bf16 };
        let activation = Quantization::new(activation);
        for (groups, n, k, parts) in [(1, 33, 96, 1), (1, 256, 160, 2), (5, 128, 96, 1), (3, 384, 64, 3)] {
            let each = Matmul { weight, ..Matmul::mxfp4(1, n, k, activation) };
            let mut case = if groups == 1 {
                OpCase::new(each, Values::Ordinary, Tier::Exact)
            } else {
                OpCase::new(GroupedMatmul { each, groups }, Values::Ordinary, Tier::Exact)
            };
            case.question = Question::ExportWeights { parts };
            listing.add(&format!("export-{parts}"), case);
        }
    }
    // Each scheme may keep the same weights in another layout.
    for scheme in [Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4] {
        let each = Matmul::mxfp4(1, 70, 288, Quantization::new(scheme));
        let mut case = OpCase::new(GroupedMatmul { each, groups: 2 }, Values::Ordinary, Tier::Exact);
        case.question = Question::ExportWeights { parts: 2 };
        listing.add("export-2", case);
    }
}

fn matmul(listing: &mut Listing) {
    for (weight, scheme) in SCHEMES {
        let activation = Quantization::new(scheme);
        for output in PLAIN {
            let each = Matmul { weight, output, input: scheme, ..Matmul::mxfp4(7, 33, 96, activation) };
            listing.add("exact", exact(each));
        }
        let each = Matmul { weight, input: scheme, ..Matmul::mxfp4(18, 40, 288, activation) };
        listing.add("exact", exact(Matmul { bias: true, ..each }));
        // NVFP4's scales are no powers of two: what it is quantized to has no exact tier.
        if scheme != Format::Bf16 && scheme != Format::Nvfp4 {
            let each = Matmul { input: Format::Bf16, output: Format::Bf16, ..each };
            for rule in [ScaleRule::Ceil, ScaleRule::Floor] {
                listing.add("exact", exact(Matmul { activation: activation.with_rule(rule), ..each }));
            }
        }
    }
}

fn exact(each: Matmul) -> OpCase {
    OpCase::new(each, Values::Exact { spread: 6 }, Tier::Exact)
}

fn grouped_matmul(listing: &mut Listing) {
    for (weight, scheme) in SCHEMES {
        let input = if scheme == Format::Nvfp4 { scheme } else { Format::Bf16 };
        let activation = Quantization::new(scheme);
        for (load, input) in [(Load::Even, input), (Load::Sparse, scheme), (Load::Missing, scheme)] {
            let each = Matmul {
                weight,
                input,
                output: if load == Load::Even { Format::Bf16 } else { Format::F32 },
                bias: load == Load::Sparse,
                ..Matmul::mxfp4(21, 34, 160, activation)
            };
            let op = GroupedMatmul { each, groups: 6 };
            let mut case = OpCase::new(op, Values::Exact { spread: 5 }, Tier::Exact);
            case.data.load = load;
            listing.add(load.name(), case);
        }
    }
}

fn combine(listing: &mut Listing) {
    for (input, output) in [
        (Format::Bf16, Format::Bf16),
        (Format::Bf16, Format::F32),
        (Format::F32, Format::F32),
        (Format::F16, Format::F16),
    ] {
        for (weighted, addend) in [(true, None), (true, Some(Format::Bf16)), (false, Some(Format::F32))] {
            let op = Combine { tokens: 13, columns: 96, top_k: 6, input, output, weighted, addend };
            listing.add("exact", OpCase::new(op, Values::Exact { spread: 0 }, Tier::Exact));
        }
    }
}
