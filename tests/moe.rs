//! A layer of experts on the CPU backend, against the golden checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mxhal::checkpoint::{Dtype, TokenTable};
use mxhal::moe::{Fusion, MoePath, scheme};
use mxhal::{Checkpoint, MoeLayer, MoeOptions, TensorFile};
use mxhal_core::format::bf16;
use mxhal_core::op::WeightPosition;
use mxhal_core::{
    Backend, Buffer, Device, Format, HostTensor, Layout, Quantization, Status, Stream, Tensor, buffer,
};
use mxhal_cpu::Cpu;

/// Relative L2 of all tokens, and of the worst one, by `conformance/golden/README.md`, "the chain as above".
const LIMITS: [(&str, &str, f64, f64); 5] = [
    ("w4a16", "bf16", 0.002, 0.005),
    ("w4a8i", "mxint8", 0.006, 0.02),
    ("w4a8_g32", "mxfp8", 0.008, 0.04),
    ("w4a8_g128", "mxfp8-g128", 0.008, 0.04),
    ("w4a4", "mxfp4", 0.03, 0.12),
];

const PATHS: [Fusion; 2] = [Fusion::Never, Fusion::Always];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/golden").join(name)
}

fn v4() -> Checkpoint {
    Checkpoint::open(golden("deepseek_v4_tiny")).unwrap()
}

fn gpt_oss() -> Checkpoint {
    Checkpoint::open(golden("gpt_oss_tiny")).unwrap()
}

fn device() -> (Arc<dyn Device>, Box<dyn Stream>) {
    let device = Cpu::new(&[]).unwrap().open_device(0).unwrap();
    let stream = device.create_stream().unwrap();
    (device, stream)
}

/// The golden inputs and outputs of a checkpoint.
struct Expected(TensorFile);

impl Expected {
    fn of(name: &str) -> Self {
        Self(TensorFile::open(golden(name).join("expected.safetensors")).unwrap())
    }

    /// `x`, the first so many tokens of it.
    fn x(&self, tokens: usize) -> HostTensor<'_> {
        let x = self.0.tensor_of("x", Dtype::BF16).unwrap();
        let hidden = x.shape()[1];
        let layout = Layout::contiguous(Format::Bf16, &[tokens, hidden]).unwrap();
        HostTensor::new(layout, &x.bytes()[..tokens * hidden * 2], &[], &[]).unwrap()
    }

    fn all_x(&self) -> HostTensor<'_> {
        self.x(self.0.tensor("x").unwrap().shape()[0])
    }

    fn token_ids(&self) -> Vec<i64> {
        let ids = self.0.tensor_of("token_ids", Dtype::I64).unwrap();
        ids.bytes().as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect()
    }

    fn ints(&self, name: &str) -> Vec<i32> {
        let ids = self.0.tensor_of(name, Dtype::I32).unwrap();
        ids.bytes().as_chunks().0.iter().map(|id| i32::from_le_bytes(*id)).collect()
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        let tensor = self.0.tensor(name).unwrap();
        match tensor.dtype() {
            Dtype::F32 => {
                tensor.bytes().as_chunks().0.iter().map(|v| f64::from(f32::from_le_bytes(*v))).collect()
            }
            Dtype::F64 => tensor.bytes().as_chunks().0.iter().map(|v| f64::from_le_bytes(*v)).collect(),
            other => panic!("`{name}` is {other}"),
        }
    }
}

/// Relative L2 of everything, and of the worst row.
fn distance(got: &[f32], expected: &[f64], columns: usize) -> (f64, f64) {
    assert_eq!(got.len(), expected.len());
    let relative = |got: &[f32], expected: &[f64]| {
        let error: f64 = got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).powi(2)).sum();
        let norm: f64 = expected.iter().map(|e| e * e).sum();
        (error / norm).sqrt()
    };
    let rows = got.chunks(columns).zip(expected.chunks(columns));
    (relative(got, expected), rows.map(|(g, e)| relative(g, e)).fold(0.0, f64::max))
}

#[track_caller]
fn assert_weights(got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let error = (f64::from(*got) - expected).abs() / expected.abs();
        assert!(error <= 2f64.powi(-18), "a routing weight is {got}, and {expected} was expected");
    }
}

#[track_caller]
fn assert_bits(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()), "the bits differ");
}

#[test]
fn deepseek_v4_gives_the_golden_numbers_in_each_scheme_fused_and_composed() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    for layer in 0..2 {
        let tensors = checkpoint.moe_layer(layer).unwrap();
        for (golden, name, limit, worst_limit) in LIMITS {
            for (fusion, shared_clamped) in PATHS.map(|path| [(path, true), (path, false)]).concat() {
                let activation = scheme(name).unwrap();
                let options = MoeOptions { activation, shared_clamped, fusion, ..MoeOptions::default() };
                let mut prepared = MoeLayer::prepare(&device, &tensors, &options).unwrap();
                assert_eq!(prepared.needs_token_ids(), layer == 0);
                let output =
                    prepared.forward(&*stream, expected.all_x(), Some(&expected.token_ids())).unwrap();

                assert_eq!(output.expert_ids, expected.ints(&format!("layers.{layer}.ids")));
                assert_weights(&output.expert_weights, &expected.floats(&format!("layers.{layer}.weights")));
                let y = if shared_clamped { "y" } else { "y_shared_unclamped" };
                let wanted = expected.floats(&format!("layers.{layer}.{golden}.{y}"));
                let (all, worst) = distance(&output.y, &wanted, 256);
                assert!(
                    all <= limit && worst <= worst_limit,
                    "layer {layer}, {golden}, {fusion:?}, {y}: {all} (at most {limit}), worst token {worst} (at \
                     most {worst_limit})"
                );
            }
        }
    }
}

#[test]
fn the_numbers_of_a_scheme_are_nearest_to_its_own() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let tensors = checkpoint.moe_layer(1).unwrap();
    for (golden, name, ..) in LIMITS {
        let options = MoeOptions { activation: scheme(name).unwrap(), ..MoeOptions::default() };
        let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
        let y = layer.forward(&*stream, expected.all_x(), None).unwrap().y;
        let nearest = LIMITS.map(|(golden, ..)| {
            let (all, _) = distance(&y, &expected.floats(&format!("layers.1.{golden}.y")), 256);
            (all, golden)
        });
        let nearest = nearest.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
        assert_eq!(nearest.1, golden);
    }
}

#[test]
fn gpt_oss_gives_the_golden_numbers_fused_and_composed() {
    let (device, stream) = device();
    let (checkpoint, expected) = (gpt_oss(), Expected::of("gpt_oss_tiny"));
    let tensors = checkpoint.moe_layer(0).unwrap();
    for fusion in PATHS {
        let options = MoeOptions { fusion, ..MoeOptions::default() };
        let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
        let output = layer.forward(&*stream, expected.all_x(), None).unwrap();
        assert_eq!(output.expert_ids, expected.ints("ids"));
        assert_weights(&output.expert_weights, &expected.floats("weights"));
        let (all, worst) = distance(&output.y, &expected.floats("w4a16.y"), 96);
        assert!(all <= 0.002 && worst <= 0.005, "{fusion:?}: {all}, worst token {worst}");
    }
}

#[test]
fn the_position_of_the_weight_changes_roundings_and_no_more() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let tensors = checkpoint.moe_layer(1).unwrap();
    for (golden, name, limit, apart) in [("w4a16", "bf16", 0.002, 0.006), ("w4a8_g32", "mxfp8", 0.008, 0.06)]
    {
        for fusion in PATHS {
            let y = |weight_position| {
                let activation = scheme(name).unwrap();
                let options = MoeOptions { activation, weight_position, fusion, ..MoeOptions::default() };
                let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
                layer.forward(&*stream, expected.all_x(), None).unwrap().y
            };
            let own = y(None);
            let before = y(Some(WeightPosition::BeforeDown));
            let after = y(Some(WeightPosition::AfterDown));
            assert_bits(&own, &before);
            let wanted = expected.floats(&format!("layers.1.{golden}.y"));
            let (nearer, _) = distance(&before, &wanted, 256);
            let (farther, _) = distance(&after, &wanted, 256);
            assert!(nearer < farther, "{golden}, {fusion:?}: {nearer} before, {farther} after");
            assert!(nearer <= limit && farther <= apart, "{golden}, {fusion:?}: {nearer}, {farther}");
        }
    }
}

#[test]
fn a_weight_before_a_biased_projection_is_refused() {
    let (device, _) = device();
    let checkpoint = gpt_oss();
    let tensors = checkpoint.moe_layer(0).unwrap();
    let weight_position = Some(WeightPosition::BeforeDown);
    let options = MoeOptions { weight_position, ..MoeOptions::default() };
    let error = MoeLayer::prepare(&device, &tensors, &options).err().unwrap();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("layer 0: a routing weight before the down projection"), "{error}");
}

#[test]
fn chunks_give_the_same_bits_as_the_whole() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let ids = expected.token_ids();
    for index in 0..2 {
        let tensors = checkpoint.moe_layer(index).unwrap();
        for fusion in PATHS {
            let run = |max_tokens| {
                let activation = Quantization::deepseek();
                let options = MoeOptions { activation, fusion, max_tokens, ..MoeOptions::default() };
                let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
                layer.forward(&*stream, expected.all_x(), Some(&ids)).unwrap()
            };
            let whole = run(24);
            for max_tokens in [1, 7, 23, 100] {
                let chunks = run(max_tokens);
                assert_bits(&chunks.y, &whole.y);
                assert_bits(&chunks.expert_weights, &whole.expert_weights);
                assert_eq!(chunks.expert_ids, whole.expert_ids);
                assert!(chunks.traffic.experts >= whole.traffic.experts);
            }
        }
    }
}

#[test]
fn one_layer_runs_again_and_again_with_other_numbers_of_tokens() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let ids = expected.token_ids();
    let tensors = checkpoint.moe_layer(0).unwrap();
    for fusion in PATHS {
        let options = MoeOptions { fusion, activation: scheme("mxint8").unwrap(), ..MoeOptions::default() };
        let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
        let whole = layer.forward(&*stream, expected.all_x(), Some(&ids)).unwrap();
        for tokens in [3, 0, 24, 1] {
            let output = layer.forward(&*stream, expected.x(tokens), Some(&ids[..tokens])).unwrap();
            assert_bits(&output.y, &whole.y[..tokens * 256]);
            assert_eq!(output.expert_ids, whole.expert_ids[..tokens * 4]);
            if tokens == 0 {
                assert_eq!(output, mxhal::moe::MoeOutput::default());
            }
        }
    }
}

#[test]
fn what_was_read_is_counted_by_expert() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let tensors = checkpoint.moe_layer(1).unwrap();
    let mut layer = MoeLayer::prepare(&device, &tensors, &MoeOptions::default()).unwrap();
    let one = layer.forward(&*stream, expected.x(1), None).unwrap();
    let shared_and_router = 3 * 128 * 256 + 2 + 2 + 2 + 16 * 256 * 2;
    assert_eq!(one.traffic.experts, 4);
    assert_eq!(one.traffic.weight_bytes, 4 * tensors.expert_bytes() + shared_and_router);
    let all = layer.forward(&*stream, expected.all_x(), None).unwrap();
    let mut chosen = all.expert_ids.clone();
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(all.traffic.experts, chosen.len());
    assert!(layer.weight_bytes() >= tensors.matrix_bytes());
}

#[test]
fn a_layer_says_how_it_is_run() {
    let (device, _) = device();
    let checkpoint = v4();
    let tensors = checkpoint.moe_layer(0).unwrap();
    let path = |fusion| {
        let options = MoeOptions { fusion, ..MoeOptions::default() };
        MoeLayer::prepare(&device, &tensors, &options).unwrap().path()
    };
    assert!(matches!(path(Fusion::Auto), MoePath::Fused { .. }));
    assert_eq!(path(Fusion::Never), MoePath::Composed { reason: "the options ask for it".to_owned() });
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let ids = expected.token_ids();
    let tensors = checkpoint.moe_layer(0).unwrap();
    let mut layer = MoeLayer::prepare(&device, &tensors, &MoeOptions::default()).unwrap();
    let mut error = |x: HostTensor<'_>, ids: Option<&[i64]>| {
        let error = layer.forward(&*stream, x, ids).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        error.message().to_owned()
    };
    let says = |error: String, words: &str| {
        assert!(error.starts_with("layer 0: ") && error.contains(words), "{error}");
    };
    says(error(expected.all_x(), None), "pass the ids of the tokens");
    says(error(expected.all_x(), Some(&ids[1..])), "23 token ids for 24 tokens");
    for beyond in [64, -1, i64::MIN] {
        let mut ids = ids.clone();
        ids[5] = beyond;
        let words = format!("token 5 has id {beyond}, and the vocabulary has 0 to 63");
        says(error(expected.all_x(), Some(&ids)), &words);
    }
    let bytes = [0; 2 * 128 * 2];
    let narrow = Layout::contiguous(Format::Bf16, &[2, 128]).unwrap();
    let narrow = HostTensor::new(narrow, &bytes, &[], &[]).unwrap();
    says(error(narrow, Some(&ids)), "x is bf16[2, 128], and it should be bf16[tokens, 256]");
}

#[test]
fn options_and_tensors_that_do_not_fit_are_named() {
    let (device, _) = device();
    let checkpoint = v4();
    let tensors = checkpoint.moe_layer(0).unwrap();
    let error = |tensors: &mxhal::checkpoint::MoeLayerTensors<'_>, options: MoeOptions| {
        let error = MoeLayer::prepare(&device, tensors, &options).err().unwrap();
        assert_eq!(error.status(), Status::InvalidArgument);
        error.message().to_owned()
    };
    let says = |error: String, words: &str| {
        assert!(error.starts_with("layer 0: ") && error.contains(words), "{error}");
    };
    let options = MoeOptions::default();
    says(error(&tensors, MoeOptions { max_tokens: 0, ..options }), "tokens is 0");
    let tiles = Quantization::new(Format::Fp8Tile128);
    says(
        error(&tensors, MoeOptions { activation: tiles, ..options }),
        "nothing can be quantized to fp8-tile128",
    );

    let mut wrong = tensors.clone();
    wrong.gate_up.pop();
    says(error(&wrong, options), "gate and up of the experts: weights of 16 groups");
    let mut wrong = tensors.clone();
    wrong.router.weight.to_mut().pop();
    says(error(&wrong, options), "take 8192 bytes, not 8191");
    let mut wrong = tensors.clone();
    wrong.router.by_token = None;
    wrong.router.choice_bias = Some(vec![0.0; 15]);
    says(error(&wrong, options), "the bias of scores: 64 bytes on the device and 60 on the host");
    let mut wrong = tensors.clone();
    wrong.router.by_token = Some(TokenTable::new(vec![0, 1, 2], 3, 16).unwrap());
    says(error(&wrong, options), "has 3 for each, and top_k is 4");
    assert_eq!(TokenTable::new(vec![0, 16], 2, 16), Err(1));
    assert_eq!(TokenTable::new(vec![0, 1, 2], 2, 16), Err(3));
}

#[test]
fn tensors_on_the_device_give_the_same_bits() {
    let (device, stream) = device();
    let (checkpoint, expected) = (v4(), Expected::of("deepseek_v4_tiny"));
    let tensors = checkpoint.moe_layer(1).unwrap();
    let options = MoeOptions { max_tokens: 24, ..MoeOptions::default() };
    let mut layer = MoeLayer::prepare(&device, &tensors, &options).unwrap();
    let whole = layer.forward(&*stream, expected.all_x(), None).unwrap();

    let x = expected.all_x();
    let (_input, x_view) = Buffer::tensor(&device, *x.layout()).unwrap();
    let (_output, y_view) =
        Buffer::tensor(&device, Layout::contiguous(Format::F32, &[24, 256]).unwrap()).unwrap();
    buffer::write(&*stream, x_view.data(), x.data()).unwrap();
    let routing = layer.run(&*stream, x_view, None, y_view).unwrap();
    let read = |tensor: Tensor| {
        let mut bytes = vec![0; tensor.layout().data_bytes()];
        buffer::read(&*stream, tensor.data(), &mut bytes).unwrap();
        bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect::<Vec<_>>()
    };
    assert_bits(&read(y_view), &whole.y);
    assert_bits(&read(routing.weights), &whole.expert_weights);

    let none =
        |format| Tensor::new(Layout::contiguous(format, &[0, 256]).unwrap(), mxhal_core::Span::NONE).unwrap();
    let routing_of_none = layer.run(&*stream, none(Format::Bf16), None, none(Format::F32)).unwrap();
    assert_eq!(routing_of_none.ids.layout().shape(), [0, 4]);

    // This layer chooses by score, so that ids are an error and not ignored; as are too many tokens.
    let error = layer.run(&*stream, x_view, Some(routing.ids), y_view).unwrap_err();
    assert!(error.message().contains("ids_given"), "{error}");
    let options = MoeOptions { max_tokens: 23, ..options };
    let mut small = MoeLayer::prepare(&device, &tensors, &options).unwrap();
    let error = small.run(&*stream, x_view, None, y_view).unwrap_err();
    assert!(
        error.message().contains("layer 1: x has 24 tokens, and the layer was prepared for at most 23"),
        "{error}"
    );
}

#[test]
fn a_router_of_zeros_weighs_all_experts_alike() {
    let (device, stream) = device();
    let checkpoint = gpt_oss();
    let mut tensors = checkpoint.moe_layer(0).unwrap();
    tensors.router.weight.to_mut().fill(0);
    tensors.router.logit_bias = None;
    let mut layer = MoeLayer::prepare(&device, &tensors, &MoeOptions::default()).unwrap();
    let one = bf16::from_f32(1.0).to_le_bytes().repeat(96);
    let layout = Layout::contiguous(Format::Bf16, &[1, 96]).unwrap();
    let output = layer.forward(&*stream, HostTensor::new(layout, &one, &[], &[]).unwrap(), None).unwrap();
    assert_eq!(output.expert_ids, [0, 1, 2, 3], "the lower id first on a tie");
    assert_eq!(output.expert_weights, [0.25; 4]);
}
