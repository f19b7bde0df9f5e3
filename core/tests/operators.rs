//! The operators' rules, seen from outside: what validates, what is refused and in which words, what a run takes and
//! costs.

use mxhal_core::format::{Format, Quantization, ScaleRule};
use mxhal_core::op::{
    Combine, Dequantize, Extent, GroupedMatmul, MAX_ARGUMENTS, MAX_WEIGHTS, Matmul, MoeFfn, Permute,
    Quantize, Role, Route, Score, SharedExpert, SwiGlu, SwiGluForm, WeightPosition,
};
use mxhal_core::{Layout, Op, OpKind, Span, Status, Tensor, WeightsDesc};

fn flash(tokens: usize) -> MoeFfn {
    MoeFfn {
        tokens,
        hidden: 4096,
        inner: 2048,
        experts: 256,
        top_k: 6,
        weight: Format::Mxfp4,
        activation: Quantization::deepseek(),
        form: SwiGluForm::silu(10.0),
        weight_position: WeightPosition::BeforeDown,
        bias: false,
        output: Format::F32,
        mapped: None,
        shared: None,
    }
}

/// One of each operator, with every optional tensor that goes with the others.
fn one_of_each() -> Vec<Op> {
    let mxfp4 = Quantization::new(Format::Mxfp4);
    let each = Matmul { bias: true, ..Matmul::mxfp4(7, 48, 96, Quantization::new(Format::Mxfp8)) };
    let combine = Combine {
        tokens: 5,
        columns: 48,
        top_k: 3,
        input: Format::Bf16,
        output: Format::F32,
        weighted: true,
        addend: Some(Format::Bf16),
    };
    vec![
        Quantize { rows: 4, k: 96, input: Format::Bf16, to: mxfp4 }.into(),
        Dequantize { rows: 4, k: 96, from: Format::Mxfp8G128, output: Format::F16 }.into(),
        each.into(),
        GroupedMatmul { each, groups: 3 }.into(),
        SwiGlu {
            rows: 4,
            n: 64,
            form: SwiGluForm::gpt_oss(7.0),
            input: Format::Bf16,
            row_weights: true,
            to: mxfp4,
        }
        .into(),
        Route {
            tokens: 5,
            experts: 8,
            top_k: 3,
            score: Score::SqrtSoftplus,
            bias: true,
            ids_given: false,
            renormalize: true,
            scale: 1.5,
        }
        .into(),
        Permute {
            tokens: 5,
            columns: 96,
            experts: 8,
            top_k: 3,
            format: Format::Mxfp8,
            weights: true,
            mapped: Some(16),
        }
        .into(),
        combine.into(),
        MoeFfn {
            bias: true,
            mapped: Some(512),
            shared: Some(SharedExpert { inner: 2048, weight: Format::Fp8Tile128, clamped: true }),
            ..flash(5)
        }
        .into(),
    ]
}

#[test]
fn one_of_each_operator_validates_and_has_layouts() {
    let ops = one_of_each();
    assert_eq!(ops.iter().map(Op::kind).collect::<Vec<_>>(), OpKind::ALL);
    for op in &ops {
        op.validate().unwrap();
        let signature = op.signature();
        assert!(signature.arguments().len() <= MAX_ARGUMENTS && signature.weights().len() <= MAX_WEIGHTS);
        assert!(signature.arguments().iter().any(|a| a.role == Role::Output), "{op:?}");
        for rows in [0, 1, op.max_rows()] {
            for argument in signature.arguments() {
                argument.layout(rows).unwrap();
            }
        }
        for weights in signature.weights() {
            weights.layout().unwrap();
        }
    }
}

#[test]
fn what_breaks_a_rule_is_refused_in_words() {
    let matmul = Matmul::mxfp4(4, 48, 96, Quantization::none());
    let refused: Vec<(Op, &str)> = vec![
        (Matmul { k: 33, ..matmul }.into(), "k is 33"),
        (Matmul { m: 0, ..matmul }.into(), "m is 0"),
        (Matmul { input: Format::F32, ..matmul }.into(), "input is f32"),
        (Matmul { weight: Format::F32, ..matmul }.into(), "weight is f32"),
        (Matmul { output: Format::Mxfp4, ..matmul }.into(), "output is mxfp4"),
        (Matmul { activation: Quantization::new(Format::F32), ..matmul }.into(), "activation.format is f32"),
        (
            Matmul { activation: Quantization::new(Format::Nvfp4).with_rule(ScaleRule::Ceil), ..matmul }
                .into(),
            "activation",
        ),
        (GroupedMatmul { each: matmul, groups: 0 }.into(), "groups is 0"),
        (
            Quantize { rows: 1, k: 32, input: Format::Mxfp4, to: Quantization::new(Format::Mxfp4) }.into(),
            "input is mxfp4",
        ),
        (
            Quantize { rows: 1, k: 32, input: Format::F32, to: Quantization::none() }.into(),
            "to.format is bf16",
        ),
        (Dequantize { rows: 1, k: 32, from: Format::Bf16, output: Format::F32 }.into(), "from is bf16"),
        (
            Route {
                tokens: 1,
                experts: 4,
                top_k: 5,
                score: Score::Softmax,
                bias: false,
                ids_given: false,
                renormalize: false,
                scale: 1.0,
            }
            .into(),
            "top_k is 5; there are 4 experts",
        ),
        (MoeFfn { inner: 2040, ..flash(1) }.into(), "inner is 2040"),
        (MoeFfn { form: SwiGluForm::silu(-1.0), ..flash(1) }.into(), "limit is -1"),
        (
            MoeFfn {
                form: SwiGluForm::gpt_oss(7.0),
                shared: Some(SharedExpert { inner: 128, weight: Format::Mxfp4, clamped: true }),
                ..flash(1)
            }
            .into(),
            "alternating",
        ),
    ];
    for (op, words) in refused {
        let error = op.validate().unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument, "{op:?}");
        assert!(error.message().starts_with(op.kind().name()), "{error}");
        assert!(error.message().contains(words), "{error} should say `{words}`");
    }
}

fn view(layout: Layout) -> Tensor {
    let at = |bytes: usize| Span { address: 4096, bytes: bytes as u64 };
    Tensor::new(layout, at(layout.data_bytes()))
        .and_then(|tensor| tensor.with_scales(at(layout.scales_bytes())))
        .and_then(|tensor| tensor.with_factors(at(layout.factors_bytes())))
        .unwrap()
}

#[test]
fn a_run_has_as_many_rows_as_its_tensors_and_at_most_the_plans() {
    for op in one_of_each() {
        let signature = op.signature();
        let tensors = |rows| -> Vec<Option<Tensor>> {
            signature.arguments().iter().map(|a| a.present.then(|| view(a.layout(rows).unwrap()))).collect()
        };
        for rows in [0, 1, op.max_rows()] {
            assert_eq!(op.check(&tensors(rows)), Ok(rows), "{op:?}");
        }
        let error = op.check(&tensors(op.max_rows() + 1)).unwrap_err();
        assert!(error.message().contains("at most"), "{error}");

        let mut missing = tensors(1);
        missing[0] = None;
        let name = signature.arguments()[0].name;
        let error = op.check(&missing).unwrap_err();
        assert!(error.message().contains(&format!("`{name}` is missing")), "{error}");
        assert!(op.check(&missing[1..]).unwrap_err().message().contains("it takes"));
    }
}

#[test]
fn tensors_of_one_run_agree_on_its_rows() {
    let op = Op::from(Quantize { rows: 8, k: 64, input: Format::F32, to: Quantization::new(Format::Mxfp4) });
    let x = view(Layout::contiguous(Format::F32, &[3, 64]).unwrap());
    let y = |rows| view(Layout::contiguous(Format::Mxfp4, &[rows, 64]).unwrap());
    assert_eq!(op.check(&[Some(x), Some(y(3))]), Ok(3));
    assert!(op.check(&[Some(x), Some(y(4))]).unwrap_err().message().contains("3 rows"));

    let without_scales = Tensor::new(*y(3).layout(), y(3).data()).unwrap();
    let error = op.check(&[Some(x), Some(without_scales)]).unwrap_err();
    assert!(error.message().contains("scales"), "{error}");
}

#[test]
fn a_token_of_deepseek_v4_flash_costs_what_is_published() {
    // 80.2 MB and 0.302 GFLOP per token and layer, six experts of 13,369,344 bytes.
    let work = Op::from(flash(4096)).work(1);
    assert_eq!(work.weight_bytes, 6 * 13_369_344);
    assert_eq!(work.flops, 6 * 6 * 4096 * 2048);
    let all = Op::from(flash(4096)).work(4096);
    assert_eq!(all.weight_bytes, 256 * 13_369_344);
}

#[test]
fn work_is_what_the_tables_of_arguments_add_up_to() {
    // Flops, and bytes of tensors read, tensors written and weights, of a run with two rows.
    let (mxfp4, mxfp8) = (17, 33);
    let shared = 3 * 2048 * 4096 + 3 * 16 * 32;
    let expected = [
        (2 * 96, 2 * 96 * 2, 2 * 3 * mxfp4, 0),
        (2 * 96, 2 * (96 + 1), 2 * 96 * 2, 0),
        (2 * 2 * 48 * 96, 2 * 96 * 2 + 48 * 4, 2 * 48 * 4, 48 * 3 * mxfp4),
        (2 * 2 * 48 * 96, 2 * 96 * 2 + 3 * 4 + 2 * 48 * 4, 2 * 48 * 4, 2 * 48 * 3 * mxfp4),
        (4 * 2 * 64, 2 * 128 * 2 + 2 * 4, 2 * 2 * mxfp4, 0),
        (4 * 2 * 8, 2 * 8 * 4 + 8 * 4, 2 * 3 * 8, 0),
        (0, 2 * 3 * mxfp8 + 2 * 3 * 8 + 16 * 4, 6 * 3 * mxfp8 + 6 * 4 + 8 * 4 + 6 * 4 + 6 * 4, 0),
        (2 * 2 * 3 * 48, 6 * 48 * 2 + 6 * 4 + 6 * 4 + 2 * 48 * 2, 2 * 48 * 4, 0),
        (
            6 * 2 * (6 * 2048 + 2048) * 4096,
            2 * 4096 * 2 + 2 * 6 * 8 + 512 * 4 + 12 * 2 * 4096 * 4,
            2 * 4096 * 4,
            12 * 13_369_344 + shared,
        ),
    ];
    for (op, (flops, read, written, weights)) in one_of_each().iter().zip(expected) {
        let work = op.work(2);
        let got = (work.flops, work.read_bytes, work.written_bytes, work.weight_bytes);
        assert_eq!(got, (flops, read, written, weights), "{op:?}");
        assert_eq!(work.bytes(), read + written + weights);
        assert_eq!(op.work_touching(2, usize::MAX), work);
    }
}

#[test]
fn only_experts_that_are_touched_are_read() {
    let [.., moe] = &one_of_each()[..] else { panic!("there are operators") };
    let (all, three) = (moe.work(2), moe.work_touching(2, 3));
    assert_eq!(all.flops, three.flops);
    assert_eq!(all.weight_bytes - three.weight_bytes, 9 * 13_369_344);
    assert_eq!(all.read_bytes - three.read_bytes, 9 * 2 * 4096 * 4);
    let grouped = one_of_each()[3];
    let (all, one) = (grouped.work(7), grouped.work_touching(7, 1));
    assert_eq!(all.weight_bytes, 3 * one.weight_bytes);
    assert_eq!(all.read_bytes - one.read_bytes, 2 * 48 * 4);
    assert_eq!(grouped.work_touching(0, 3).weight_bytes, 0);
}

#[test]
fn permuted_rows_are_as_many_as_slots() {
    let op = one_of_each().into_iter().find(|op| op.kind() == OpKind::Permute).unwrap();
    let rows = op.arguments().into_iter().find(|a| a.name == "rows").unwrap();
    assert_eq!(rows.shape, [Extent::PerRow(3), Extent::Fixed(96)]);
    assert_eq!(rows.layout(4).unwrap().scales_bytes(), 12 * 3);
}

#[test]
fn weights_of_another_description_are_refused_in_words() {
    let op = Op::from(Matmul::mxfp4(4, 64, 32, Quantization::none()));
    let signature = op.signature();
    let [wanted] = signature.weights() else { panic!("a product has one weight") };
    let given = WeightsDesc { n: 128, ..*wanted };
    assert_eq!(signature.check_weights([wanted].into_iter()), Ok(()));
    assert_eq!(
        signature.check_weights([&given].into_iter()).unwrap_err().message(),
        "matmul: weights 0 were prepared as mxfp4[1, 128, 32] for bf16 activations, \
         and it takes mxfp4[1, 64, 32] for bf16 activations"
    );
    let none: [&WeightsDesc; 0] = [];
    assert!(signature.check_weights(none.into_iter()).unwrap_err().message().contains("it takes 1"));
}

#[test]
fn parts_of_weights_stack() {
    let desc = WeightsDesc { format: Format::Mxfp4, groups: 2, n: 48, k: 64, activation: Format::Bf16 };
    let part = |n, k| Layout::contiguous(Format::Mxfp4, &[n, k]).unwrap();
    assert_eq!(desc.check_parts(&[part(48, 64), part(48, 64)]), Ok(1));
    assert_eq!(desc.check_parts(&[part(16, 64), part(32, 64), part(40, 64), part(8, 64)]), Ok(2));
    for (parts, words) in [
        (vec![], "at least one"),
        (vec![part(48, 64)], "2 groups"),
        (vec![part(48, 64), part(47, 64)], "group 1 stack to 47 rows"),
        (vec![part(48, 64), part(48, 32)], "part 0 of group 1"),
    ] {
        let error = desc.check_parts(&parts).unwrap_err();
        assert!(error.message().contains(words), "{error} should say `{words}`");
    }

    let tiles = WeightsDesc { format: Format::Fp8Tile128, n: 200, groups: 1, ..desc };
    let part = |n| Layout::contiguous(Format::Fp8Tile128, &[n, 64]).unwrap();
    assert_eq!(tiles.check_parts(&[part(128), part(72)]), Ok(2));
    assert!(tiles.check_parts(&[part(100), part(100)]).unwrap_err().message().contains("multiple of 128"));
}
