//! Shapes at the edge, and those of real models.

use mxhal_core::op::{
    Combine, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm,
};
use mxhal_core::{Format, Quantization};

use super::SuiteKind;
use super::bounded::layer;
use crate::case::Case;
use crate::opcase::listing::Listing;
use crate::opcase::{Load, OpCase, Tier, Values};

/// The schemes of Core and those that backends are most often claimed for.
const SCHEMES: [Format; 5] = [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4];

/// Names, hidden and inner columns of published models.
const MODELS: [(&str, usize, usize); 3] =
    [("deepseek-v4-flash", 4096, 2048), ("deepseek-v4-pro", 7168, 3072), ("gpt-oss", 2880, 2880)];

/// How many columns of a large product the oracle works out.
const SAMPLED: usize = 48;

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut listing = Listing::new(SuiteKind::Shapes, seed);
    edges(&mut listing);
    experts(&mut listing);
    strides(&mut listing);
    models(&mut listing);
    listing.into_cases()
}

fn exact(each: Matmul) -> OpCase {
    OpCase::new(each, Values::Exact { spread: 4 }, Tier::Exact)
}

fn edges(listing: &mut Listing) {
    for scheme in SCHEMES {
        let activation = Quantization::new(scheme);
        // One row, one column, one block; odd N; K/32 odd, and K/128 not whole; many rows; few rows of a large plan.
        for (m, n, k) in [(1, 1, 32), (2, 31, 224), (1, 129, 160), (131, 17, 96), (1, 24, 2880)] {
            let each = Matmul::mxfp4(m, n, k, activation);
            listing.add("edge", exact(Matmul { input: if m == 1 { scheme } else { Format::Bf16 }, ..each }));
        }
        let mut few = exact(Matmul::mxfp4(64, 40, 192, activation));
        few.rows = 3;
        listing.add("few-rows", few);
    }
    for (rows, k) in [(1, 32), (1, 2880), (131, 96)] {
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128] {
            let op = Quantize { rows, k, input: Format::Bf16, to: Quantization::new(format) };
            listing.add("edge", OpCase::new(op, Values::Ties, Tier::Exact));
        }
    }
    for (rows, n) in [(1, 1), (1, 33), (67, 2880)] {
        let (form, to) = (SwiGluForm::gpt_oss(7.0), Quantization::none());
        let op = SwiGlu { rows, n, form, input: Format::Bf16, row_weights: false, to };
        listing.add("edge", OpCase::new(op, Values::Ordinary, Tier::Bounded));
    }
    for (tokens, experts, top_k) in [(1, 1, 1), (1, 256, 6), (5, 7, 7), (70, 128, 4)] {
        let score = Score::SqrtSoftplus;
        let op = Route {
            tokens,
            experts,
            top_k,
            score,
            bias: false,
            ids_given: false,
            renormalize: true,
            scale: 1.5,
        };
        listing.add("edge", OpCase::new(op, Values::Ordinary, Tier::Bounded));
    }
}

fn experts(listing: &mut Listing) {
    for scheme in SCHEMES {
        // More experts than rows; all on one; most without any.
        for (m, groups, load) in [
            (1, 1, Load::Even),
            (3, 40, Load::Even),
            (37, 7, Load::OneExpert),
            (33, 12, Load::Sparse),
            (8, 5, Load::Nobody),
        ] {
            let each = Matmul::mxfp4(m, 33, 96, Quantization::new(scheme));
            let mut case =
                OpCase::new(GroupedMatmul { each, groups }, Values::Exact { spread: 4 }, Tier::Exact);
            case.data.load = load;
            listing.add(load.name(), case);
        }
    }
    many_rows(listing);
    for (tokens, experts, top_k, load) in [
        (1, 1, 1, Load::Even),
        (1, 256, 8, Load::Even),
        (3, 100, 2, Load::Even),
        (65, 5, 2, Load::OneExpert),
        (70, 384, 6, Load::Sparse),
    ] {
        let op = Permute {
            tokens,
            columns: 32,
            experts,
            top_k,
            format: Format::Bf16,
            weights: true,
            mapped: None,
        };
        let mut case = OpCase::new(op, Values::Ordinary, Tier::Exact);
        case.data.load = load;
        listing.add(load.name(), case);
        let op = Combine {
            tokens,
            columns: 33,
            top_k,
            input: Format::Bf16,
            output: Format::Bf16,
            weighted: true,
            addend: None,
        };
        let mut case = OpCase::new(op, Values::Exact { spread: 0 }, Tier::Exact);
        case.data.load = load;
        listing.add(load.name(), case);
    }
    for (tokens, experts, top_k, load) in
        [(1, 1, 1, Load::Even), (1, 64, 6, Load::Even), (20, 6, 2, Load::OneExpert), (6, 48, 3, Load::Sparse)]
    {
        let op = MoeFfn { tokens, experts, top_k, hidden: 160, inner: 96, ..layer() };
        let mut case = OpCase::new(op, Values::Ordinary, Tier::Bounded);
        case.data.load = load;
        listing.add(load.name(), case);
    }
}

/// Groups of a matrix unit's tiles: of some 32 rows, of a tile that is not full, of more than one of 128, and all rows on
/// one expert. Columns and K end within a tile; K is several tiles, and once more than a pipeline has room for.
fn many_rows(listing: &mut Listing) {
    let mxfp4 = SCHEMES.map(|scheme| (Format::Mxfp4, scheme, Format::Bf16));
    for (weight, scheme, input) in mxfp4.into_iter().chain([(Format::Nvfp4, Format::Nvfp4, Format::Nvfp4)]) {
        for (m, k, groups, load) in [
            (58, 288, 2, Load::Even),
            (83, 288, 2, Load::Even),
            (300, 288, 2, Load::Even),
            (262, 1696, 2, Load::Even),
            (171, 288, 4, Load::OneExpert),
        ] {
            let each = Matmul::mxfp4(m, 136, k, Quantization::new(scheme));
            let each = Matmul { weight, input, output: Format::Bf16, ..each };
            let mut case =
                OpCase::new(GroupedMatmul { each, groups }, Values::Exact { spread: 4 }, Tier::Exact);
            case.data.load = load;
            listing.add("many-rows", case);
        }
    }
}

/// Rows further apart than they must be, of inputs and outputs.
fn strides(listing: &mut Listing) {
    let mut cases = Vec::new();
    for scheme in [Format::Bf16, Format::Mxfp8] {
        cases.push(exact(Matmul::mxfp4(5, 33, 96, Quantization::new(scheme))));
    }
    let each = Matmul::mxfp4(9, 34, 96, Quantization::none());
    cases.push(OpCase::new(GroupedMatmul { each, groups: 3 }, Values::Exact { spread: 4 }, Tier::Exact));
    for to in [Format::Mxfp4, Format::Mxfp8G128] {
        let op = Quantize { rows: 5, k: 160, input: Format::Bf16, to: Quantization::new(to) };
        cases.push(OpCase::new(op, Values::Ties, Tier::Exact));
    }
    let (form, to) = (SwiGluForm::silu(10.0), Quantization::none());
    let op = SwiGlu { rows: 5, n: 48, form, input: Format::F32, row_weights: true, to };
    cases.push(OpCase::new(op, Values::Ordinary, Tier::Bounded));
    let op = Permute {
        tokens: 6,
        columns: 40,
        experts: 4,
        top_k: 2,
        format: Format::Bf16,
        weights: true,
        mapped: None,
    };
    cases.push(OpCase::new(op, Values::Ordinary, Tier::Exact));
    let op = Combine {
        tokens: 6,
        columns: 40,
        top_k: 2,
        input: Format::Bf16,
        output: Format::F32,
        weighted: true,
        addend: Some(Format::Bf16),
    };
    cases.push(OpCase::new(op, Values::Exact { spread: 0 }, Tier::Exact));
    cases.push(OpCase::new(MoeFfn { tokens: 5, ..layer() }, Values::Ordinary, Tier::Bounded));
    for mut case in cases {
        case.row_gap = 24;
        listing.add("strided", case);
    }
}

/// The products of published models, with few experts and few tokens; of the outputs, a sample.
fn models(listing: &mut Listing) {
    for (model, hidden, inner) in MODELS {
        for (n, k) in [(2 * inner, hidden), (hidden, inner)] {
            for scheme in SCHEMES {
                let activation = Quantization::new(scheme);
                let each = Matmul { output: Format::Bf16, ..Matmul::mxfp4(3, n, k, activation) };
                let (values, tier) = if k == hidden {
                    (Values::Ordinary, Tier::Bounded)
                } else {
                    (Values::Exact { spread: 2 }, Tier::Exact)
                };
                let mut case = OpCase::new(GroupedMatmul { each, groups: 2 }, values, tier);
                case.sampled_columns = Some(SAMPLED);
                listing.add(model, case);
            }
        }
        // Both ends of a layer at their true size, the other small: the oracle works out every column between.
        for (hidden, inner) in [(hidden, 64), (64, inner)] {
            let op = MoeFfn { tokens: 2, hidden, inner, experts: 4, top_k: 2, ..layer() };
            listing.add(model, OpCase::new(op, Values::Ordinary, Tier::Bounded));
        }
    }
}
