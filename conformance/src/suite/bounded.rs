//! Error over computed bound, on ordinary data.

use mxhal_core::op::{
    Combine, GroupedMatmul, Matmul, MoeFfn, Route, Score, SharedExpert, SwiGlu, SwiGluForm, SwiGluVariant,
    WeightPosition,
};
use mxhal_core::{Format, Quantization, ScaleRule};

use super::SuiteKind;
use super::exact::{PLAIN, QUANTIZED, SCHEMES};
use crate::case::Case;
use crate::opcase::listing::Listing;
use crate::opcase::{Load, OpCase, Tier, Values};

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut listing = Listing::new(SuiteKind::Bounded, seed);
    matmul(&mut listing);
    swiglu(&mut listing);
    route(&mut listing);
    combine(&mut listing);
    moe_ffn(&mut listing);
    listing.into_cases()
}

fn ordinary(op: impl Into<mxhal_core::Op>) -> OpCase {
    OpCase::new(op, Values::Ordinary, Tier::Bounded)
}

fn matmul(listing: &mut Listing) {
    for (weight, scheme) in SCHEMES {
        let each = Matmul { weight, ..Matmul::mxfp4(5, 48, 1024, Quantization::new(scheme)) };
        for output in PLAIN {
            listing.add("ordinary", ordinary(Matmul { output, ..each }));
        }
        if scheme != Format::Bf16 {
            listing.add("ordinary", ordinary(Matmul { input: scheme, bias: true, ..each }));
        }
        let grouped = Matmul { m: 24, n: 40, k: 320, output: Format::Bf16, bias: true, ..each };
        listing.add("ordinary", ordinary(GroupedMatmul { each: grouped, groups: 5 }));
        if weight == Format::Mxfp4 {
            let many = Matmul { m: 270, ..grouped };
            listing.add("many-rows", ordinary(GroupedMatmul { each: many, groups: 2 }));
        }
    }
    let deepseek = Quantization::deepseek();
    for activation in [deepseek, Quantization::new(Format::Mxfp4).with_rule(ScaleRule::Even)] {
        listing.add("ordinary", ordinary(Matmul::mxfp4(9, 65, 352, activation)));
    }
}

/// Every form of SwiGLU, with the order of gate and up that is not its usual one too.
fn forms() -> [SwiGluForm; 5] {
    let interleaved = SwiGluForm { interleaved: true, ..SwiGluForm::silu(10.0) };
    let concatenated = SwiGluForm { interleaved: false, ..SwiGluForm::gpt_oss(7.0) };
    [SwiGluForm::silu(0.0), SwiGluForm::silu(10.0), interleaved, SwiGluForm::gpt_oss(7.0), concatenated]
}

fn swiglu(listing: &mut Listing) {
    for form in forms() {
        for row_weights in [false, true] {
            for to in [Format::F32, Format::Bf16] {
                let to = Quantization::new(to);
                let op = SwiGlu { rows: 9, n: 160, form, input: Format::Bf16, row_weights, to };
                listing.add("ordinary", ordinary(op));
            }
        }
    }
    let form = SwiGluForm::silu(10.0);
    for format in QUANTIZED {
        let to = Quantization::new(format);
        for input in [Format::F32, Format::Bf16] {
            listing.add("ordinary", ordinary(SwiGlu { rows: 9, n: 160, form, input, row_weights: true, to }));
        }
    }
    for (input, to) in
        [(Format::F32, Quantization::deepseek()), (Format::F16, Quantization::new(Format::F16))]
    {
        listing.add("ordinary", ordinary(SwiGlu { rows: 9, n: 160, form, input, row_weights: false, to }));
    }
}

fn route(listing: &mut Listing) {
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        for (bias, ids_given, renormalize, scale) in [
            (false, false, false, 1.0),
            (false, false, true, 2.5),
            (true, false, true, 1.5),
            (false, true, true, 1.5),
        ] {
            let op = Route { tokens: 24, experts: 64, top_k: 6, score, bias, ids_given, renormalize, scale };
            listing.add("ordinary", ordinary(op));
        }
        let op = Route {
            tokens: 3,
            experts: 384,
            top_k: 8,
            score,
            bias: false,
            ids_given: false,
            renormalize: true,
            scale: 1.0,
        };
        listing.add("ordinary", ordinary(op));
    }
}

fn combine(listing: &mut Listing) {
    for (input, output) in
        [(Format::Bf16, Format::Bf16), (Format::Bf16, Format::F32), (Format::F32, Format::F16)]
    {
        for (addend, load) in [(None, Load::Even), (Some(Format::Bf16), Load::Missing)] {
            let op = Combine { tokens: 17, columns: 100, top_k: 8, input, output, weighted: true, addend };
            let mut case = ordinary(op);
            case.data.load = load;
            listing.add(load.name(), case);
        }
    }
}

/// A small layer of experts in BF16, as DeepSeek has them.
pub(super) fn layer() -> MoeFfn {
    MoeFfn {
        tokens: 12,
        hidden: 256,
        inner: 128,
        experts: 8,
        top_k: 3,
        weight: Format::Mxfp4,
        activation: Quantization::none(),
        form: SwiGluForm::silu(10.0),
        weight_position: WeightPosition::BeforeDown,
        bias: false,
        output: Format::F32,
        mapped: None,
        shared: None,
    }
}

fn moe_ffn(listing: &mut Listing) {
    for scheme in
        [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4, Format::Nvfp4]
    {
        let activation = match scheme {
            Format::Mxfp8 | Format::Mxfp8G128 => Quantization::new(scheme).with_amax_floor(1e-4),
            _ => Quantization::new(scheme),
        };
        let weight = if scheme == Format::Nvfp4 { Format::Nvfp4 } else { Format::Mxfp4 };
        for weight_position in [WeightPosition::BeforeDown, WeightPosition::AfterDown] {
            let op = MoeFfn { weight, activation, weight_position, ..layer() };
            listing.add("ordinary", ordinary(op));
            let shared = SharedExpert { inner: 128, weight: Format::Fp8Tile128, clamped: false };
            let with_shared = MoeFfn { shared: Some(shared), output: Format::Bf16, ..op };
            listing.add("ordinary", ordinary(with_shared));
            let form = SwiGluForm { variant: SwiGluVariant::GptOss, ..SwiGluForm::gpt_oss(7.0) };
            listing.add("ordinary", ordinary(MoeFfn { form, bias: true, ..op }));
        }
        let shared = SharedExpert { inner: 256, weight: Format::Fp8Tile128, clamped: true };
        let op = MoeFfn { weight, activation, shared: Some(shared), mapped: Some(20), ..layer() };
        let mut case = ordinary(op);
        case.data.load = Load::Missing;
        listing.add("missing", case);
    }
}
