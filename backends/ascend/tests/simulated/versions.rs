//! Older CANNs: what they have works, and what they lack is refused with what was found.

use mxhal_ascend::Options;
use mxhal_core::op::{GroupedMatmul, Matmul, Quantize, Route, Score};
use mxhal_core::{Format, Op, Quantization, Reason, ScaleRule, Support};
use mxhal_simulated_cann_install::{Libraries, Variant};

use crate::numbers;
use crate::rig::Rig;

fn refusal(rig: &Rig, op: impl Into<Op>) -> Option<(Reason, String)> {
    let op = op.into();
    match rig.device.supports(&op).unwrap() {
        Support::Yes(_) => None,
        Support::No(refusal) => {
            let error = rig.device.prepare(&op).err().expect("what is refused is not prepared");
            assert_eq!((error.message(), error.vendor_code()), (&*refusal.text, refusal.reason as i64));
            Some((refusal.reason, refusal.text))
        }
    }
}

/// No kernels of ours: a file that is not there.
fn without_kernels(options: &mut Options) {
    options.kernels = Some("/nowhere/mxhal_kernels.o".into());
}

fn quantize_to(to: Quantization) -> Quantize {
    Quantize { rows: 5, k: 96, input: Format::Bf16, to }
}

#[test]
fn with_the_first_versions_the_rest_is_refused_by_name_or_done_by_kernels() {
    let bare = Rig::with(Variant::V1Only, Libraries::Legacy, without_kernels);
    let rig = Rig::with(Variant::V1Only, Libraries::Legacy, |_| {});
    let mxfp4 = Quantization::new(Format::Mxfp4);
    numbers::quantize(&bare, quantize_to(Quantization::new(Format::Mxfp8)), 3);
    let (reason, text) = refusal(&bare, quantize_to(mxfp4)).unwrap();
    assert!(reason == Reason::Library && text.contains("aclnnDynamicMxQuant, in "), "{text}");
    assert!(text.contains("/nowhere/mxhal_kernels.o") && text.contains("cmake"), "{text}");
    for rule in [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even] {
        assert!(refusal(&bare, quantize_to(mxfp4.with_rule(rule))).is_some());
        numbers::quantize(&rig, quantize_to(mxfp4.with_rule(rule)), 3);
    }

    let each = Matmul::mxfp4(4, 8, 64, Quantization::new(Format::Mxfp8));
    assert_eq!(refusal(&bare, each), None);
    let (reason, text) = refusal(&bare, GroupedMatmul { each, groups: 2 }).unwrap();
    assert!(reason == Reason::Library && text.contains("MoeInitRouting"), "{text}");

    let (score, renormalize, scale) = (Score::Sigmoid, true, 1.0);
    let route =
        Route { tokens: 3, experts: 8, top_k: 2, score, bias: true, ids_given: false, renormalize, scale };
    assert_eq!(refusal(&bare, route), None);
    let given = Route { bias: false, ids_given: true, ..route };
    assert_eq!(refusal(&bare, given).unwrap().0, Reason::Library);
    assert_eq!(refusal(&rig, given), None);
}

#[test]
fn the_second_and_the_newest_versions_alone_give_the_same_bits() {
    for variant in [Variant::V2Only, Variant::NewestOnly] {
        let rig = Rig::with(variant, Libraries::Split, without_kernels);
        for rule in [ScaleRule::Ceil, ScaleRule::Even] {
            numbers::quantize(&rig, quantize_to(Quantization::new(Format::Mxfp4).with_rule(rule)), 5);
        }
        let floored = quantize_to(Quantization::new(Format::Mxfp8).with_amax_floor(1e-4));
        match variant {
            Variant::V2Only => assert_eq!(refusal(&rig, floored).unwrap().0, Reason::Library),
            _ => numbers::quantize(&rig, floored, 5),
        }
    }
}
