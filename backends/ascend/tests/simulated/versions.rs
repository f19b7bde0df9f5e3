//! Older CANNs: what they have works, and what they lack is refused with what was found.

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

#[test]
fn with_the_first_versions_floor_is_offered_and_the_rest_is_refused_by_name() {
    let rig = Rig::with(Variant::V1Only, Libraries::Legacy, |_| {});
    let quantize = |to| Quantize { rows: 3, k: 96, input: Format::Bf16, to };
    let mxfp4 = Quantization::new(Format::Mxfp4);
    numbers::quantize(&rig, quantize(mxfp4.with_rule(ScaleRule::Floor)), 3);
    numbers::quantize(&rig, quantize(Quantization::new(Format::Mxfp8)), 3);
    let (reason, text) = refusal(&rig, quantize(mxfp4)).unwrap();
    assert!(reason == Reason::Library && text.contains("aclnnDynamicMxQuant, in "), "{text}");

    let each = Matmul::mxfp4(4, 8, 64, Quantization::new(Format::Mxfp8));
    assert_eq!(refusal(&rig, each), None);
    let (reason, text) = refusal(&rig, GroupedMatmul { each, groups: 2 }).unwrap();
    assert!(reason == Reason::Library && text.contains("MoeInitRouting"), "{text}");

    let (score, renormalize, scale) = (Score::Sigmoid, true, 1.0);
    let route =
        Route { tokens: 3, experts: 8, top_k: 2, score, bias: true, ids_given: false, renormalize, scale };
    assert_eq!(refusal(&rig, route), None);
    let given = Route { bias: false, ids_given: true, ..route };
    assert_eq!(refusal(&rig, given).unwrap().0, Reason::Library);
}

#[test]
fn the_second_and_the_newest_versions_alone_give_the_same_bits() {
    for variant in [Variant::V2Only, Variant::NewestOnly] {
        let rig = Rig::with(variant, Libraries::Split, |_| {});
        for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
            let to = Quantization::new(Format::Mxfp4).with_rule(rule);
            numbers::quantize(&rig, Quantize { rows: 5, k: 96, input: Format::Bf16, to }, 5);
        }
        let floored = Quantization::new(Format::Mxfp8).with_amax_floor(1e-4);
        let op = Quantize { rows: 5, k: 96, input: Format::Bf16, to: floored };
        match variant {
            Variant::V2Only => assert_eq!(refusal(&rig, op).unwrap().0, Reason::Library),
            _ => numbers::quantize(&rig, op, 5),
        }
    }
}
