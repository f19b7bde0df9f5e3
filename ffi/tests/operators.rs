//! Every operator crosses the ABI and comes back as it was; what is not an operator is refused with what was seen.

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert,
    SwiGlu, SwiGluForm, SwiGluVariant, WeightPosition,
};
use mxhal_core::{Error, Format, Op, OpKind, Quantization, ScaleRule, Status};
use mxhal_ffi::convert::{RawOp, op_from_c};
use mxhal_ffi::sys;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![0..5_usize, Just(i32::MAX as usize), Just(i64::MAX as usize)]
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![-1e30f32..1e30, Just(0.0), Just(f32::INFINITY)]
}

prop_compose! {
    fn quantization()(format in format(), rule in prop::sample::select(ScaleRule::ALL.to_vec()), amax_floor in number())
        -> Quantization
    {
        // A plain float has no scales, and `nearest` is no rule of any format but nvfp4.
        let rule = if format.is_plain_float() && rule == ScaleRule::Nearest { ScaleRule::Ceil } else { rule };
        Quantization { format, rule, amax_floor }
    }
}

prop_compose! {
    fn quantize()(rows in extent(), k in extent(), input in format(), to in quantization()) -> Quantize {
        Quantize { rows, k, input, to }
    }
}

prop_compose! {
    fn dequantize()(rows in extent(), k in extent(), from in format(), output in format()) -> Dequantize {
        Dequantize { rows, k, from, output }
    }
}

prop_compose! {
    fn matmul()(
        (m, n, k) in (extent(), extent(), extent()),
        (input, weight, output) in (format(), format(), format()),
        bias: bool,
        activation in quantization(),
    ) -> Matmul {
        Matmul { m, n, k, input, weight, output, bias, activation }
    }
}

prop_compose! {
    fn grouped_matmul()(each in matmul(), groups in extent()) -> GroupedMatmul {
        GroupedMatmul { each, groups }
    }
}

prop_compose! {
    fn form()(
        variant in prop::sample::select(vec![SwiGluVariant::Silu, SwiGluVariant::GptOss]),
        limit in number(),
        alpha in number(),
        interleaved: bool,
    ) -> SwiGluForm {
        SwiGluForm { variant, limit, alpha, interleaved }
    }
}

prop_compose! {
    fn swiglu()(
        rows in extent(), n in extent(), form in form(), input in format(), row_weights: bool, to in quantization(),
    ) -> SwiGlu {
        SwiGlu { rows, n, form, input, row_weights, to }
    }
}

prop_compose! {
    fn route()(
        (tokens, experts, top_k) in (extent(), extent(), extent()),
        score in prop::sample::select(vec![
            Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen,
        ]),
        (bias, ids_given, renormalize) in any::<(bool, bool, bool)>(),
        scale in number(),
    ) -> Route {
        Route { tokens, experts, top_k, score, bias, ids_given, renormalize, scale }
    }
}

prop_compose! {
    fn permute()(
        (tokens, columns, experts, top_k) in (extent(), extent(), extent(), extent()),
        format in format(),
        weights: bool,
        mapped in prop::option::of(1..9_usize),
    ) -> Permute {
        Permute { tokens, columns, experts, top_k, format, weights, mapped }
    }
}

prop_compose! {
    fn combine()(
        (tokens, columns, top_k) in (extent(), extent(), extent()),
        (input, output) in (format(), format()),
        weighted: bool,
        addend in prop::option::of(format()),
    ) -> Combine {
        Combine { tokens, columns, top_k, input, output, weighted, addend }
    }
}

prop_compose! {
    fn shared()(inner in 1..9_usize, weight in format(), clamped: bool) -> SharedExpert {
        SharedExpert { inner, weight, clamped }
    }
}

prop_compose! {
    fn moe_ffn()(
        (tokens, hidden, inner, experts, top_k) in (extent(), extent(), extent(), extent(), extent()),
        (weight, output) in (format(), format()),
        activation in quantization(),
        form in form(),
        weight_position in prop::sample::select(vec![WeightPosition::BeforeDown, WeightPosition::AfterDown]),
        bias: bool,
        mapped in prop::option::of(1..9_usize),
        shared in prop::option::of(shared()),
    ) -> MoeFfn {
        MoeFfn {
            tokens, hidden, inner, experts, top_k, weight, activation, form, weight_position, bias, output, mapped,
            shared,
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        quantize().prop_map(Op::from),
        dequantize().prop_map(Op::from),
        matmul().prop_map(Op::from),
        grouped_matmul().prop_map(Op::from),
        swiglu().prop_map(Op::from),
        route().prop_map(Op::from),
        permute().prop_map(Op::from),
        combine().prop_map(Op::from),
        moe_ffn().prop_map(Op::from),
    ]
}

/// The bytes of an operator, with others behind them.
fn bytes(op: &Op, behind: usize) -> Vec<u64> {
    let raw = RawOp::new(op).unwrap();
    // SAFETY: the head says how large the whole is.
    let size = unsafe { *raw.as_ptr() }.struct_size as usize;
    let mut words = vec![u64::MAX; size.div_ceil(8) + behind];
    let (from, to) = (raw.as_ptr().cast::<u8>(), words.as_mut_ptr().cast::<u8>());
    // SAFETY: both have as many bytes.
    unsafe { std::ptr::copy_nonoverlapping(from, to, size) };
    words
}

fn read(words: &[u64]) -> Result<Op, Error> {
    // SAFETY: the tests below say no more bytes in the head than there are.
    unsafe { op_from_c(words.as_ptr().cast()) }
}

fn set_head(words: &mut [u64], struct_size: u32, kind: u32) {
    let head = sys::mxhal_op { struct_size, kind };
    // SAFETY: there are eight bytes, and they are aligned.
    unsafe { words.as_mut_ptr().cast::<sys::mxhal_op>().write(head) };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn operators_lead_back(op in any_op()) {
        prop_assert_eq!(read(&bytes(&op, 0)), Ok(op));
    }

    #[test]
    fn a_longer_struct_is_read_as_far_as_it_is_known(op in any_op(), behind in 1..9_usize) {
        let mut words = bytes(&op, behind);
        let size = words.len() as u32 * 8;
        set_head(&mut words, size, op.kind() as u32);
        prop_assert_eq!(read(&words), Ok(op));
    }

    #[test]
    fn a_shorter_struct_is_refused(op in any_op(), cut in 1..48_u32) {
        let mut words = bytes(&op, 0);
        let size = words.len() as u32 * 8 - cut.min(words.len() as u32 * 8 - 4);
        set_head(&mut words, size, op.kind() as u32);
        let error = read(&words).unwrap_err();
        prop_assert_eq!(error.status(), Status::InvalidArgument);
        prop_assert!(error.message().contains(&format!("is {size}")), "{}", error);
    }

    #[test]
    fn any_bytes_are_read_without_harm(kind in 0..12_u32, mut words in prop::collection::vec(any::<u64>(), 40)) {
        set_head(&mut words, 320, kind);
        match read(&words) {
            Ok(op) => prop_assert_eq!(op.kind() as u32, kind),
            Err(error) => {
                prop_assert!([Status::InvalidArgument, Status::Unsupported].contains(&error.status()), "{}", error);
            }
        }
    }
}

#[test]
fn every_kind_has_a_struct() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let op = any_op().new_tree(&mut runner).unwrap().current();
        assert_eq!(read(&bytes(&op, 0)).unwrap().kind(), op.kind());
        seen.insert(op.kind());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), OpKind::ALL);
}

#[test]
fn what_is_not_known_is_refused_with_its_value() {
    let op = RawOp::new(&Op::from(Matmul::mxfp4(4, 64, 64, Quantization::none()))).unwrap();
    let RawOp::Matmul(good) = op else { panic!("a matmul is a matmul") };
    let refused = |change: fn(&mut sys::mxhal_op_matmul)| {
        let mut op = good;
        change(&mut op);
        // SAFETY: it is a whole struct.
        let error = unsafe { op_from_c((&raw const op).cast()) }.unwrap_err();
        (error.status(), error.message().to_owned())
    };
    let unsupported = |text: &str| (Status::Unsupported, text.to_owned());
    let invalid = |text: &str| (Status::InvalidArgument, text.to_owned());
    assert_eq!(refused(|op| op.op.kind = 77), unsupported("operator kind 77 is not known here"));
    assert_eq!(
        refused(|op| op.weight_format = 7),
        unsupported("matmul: weight_format is 7, which is no format that is known here")
    );
    assert_eq!(
        refused(|op| {
            op.activation.format = sys::MXHAL_MXFP8;
            op.activation.scale_rule = 9;
        }),
        unsupported("matmul: activation.scale_rule is 9, which is not known here")
    );
    assert_eq!(refused(|op| op.k = -32), invalid("matmul: k is -32; it is 0 or more"));
    assert_eq!(refused(|op| op.has_bias = 2), invalid("matmul: has_bias is 2; it is 0 or 1"));
    // SAFETY: null is allowed.
    assert_eq!(unsafe { op_from_c(std::ptr::null()) }.unwrap_err().message(), "op is null");
}

#[test]
fn a_rule_that_does_not_matter_is_ignored() {
    let wanted = Op::from(Matmul::mxfp4(4, 64, 64, Quantization::none()));
    let RawOp::Matmul(mut op) = RawOp::new(&wanted).unwrap() else { panic!("a matmul is a matmul") };
    for rule in [0, 9, sys::MXHAL_SCALE_NEAREST] {
        op.activation.scale_rule = rule;
        // SAFETY: it is a whole struct.
        assert_eq!(unsafe { op_from_c((&raw const op).cast()) }, Ok(wanted));
    }
}
