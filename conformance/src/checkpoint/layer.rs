//! A layer of a golden checkpoint: router, experts and shared expert, composed of operators, and the experts again in
//! one operator.

use mxhal_core::op::{
    Combine, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Role, Route, Score, SharedExpert, SwiGlu,
    SwiGluForm, WeightPosition,
};
use mxhal_core::{Format, HostBuffer, Op, Quantization};

use super::golden::{Golden, GoldenFile};
use crate::opcase::judge::layer::Distance;
use crate::opcase::listing::profile_of;
use crate::opcase::rig::{Poison, Rig, Stop};
use crate::opcase::tensor::{floats, layout, read, read_integers};
use crate::opcase::{Inputs, supported};
use crate::oracle::{Matrix, route};
use crate::outcome::{Failure, Measures};
use crate::profile::Profile;
use crate::subject::Subject;

/// A golden checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// `deepseek_v4_tiny`: layer 0 routes by token id, layer 1 by score.
    DeepSeekV4,
    /// `gpt_oss_tiny`: one layer, biases, gate and up rows alternating.
    GptOss,
}

/// A layer of it under a scheme.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCase {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The layer's number.
    pub layer: usize,
    /// The scheme's name in `expected.safetensors`.
    pub scheme: String,
    /// What activations are quantized to.
    pub activation: Quantization,
    /// Whether the experts are one MoeFfn, given the file's routing, or a chain of operators from the router on.
    pub fused: bool,
}

/// Every layer under every scheme, composed and fused.
pub(crate) fn all() -> Vec<LayerCase> {
    let floor = 1e-4;
    let schemes = [
        ("w4a16", Quantization::none()),
        ("w4a8_g128", Quantization::new(Format::Mxfp8G128).with_amax_floor(floor)),
        ("w4a8_g32", Quantization::new(Format::Mxfp8).with_amax_floor(floor)),
        ("w4a8i", Quantization::new(Format::Mxint8)),
        ("w4a4", Quantization::new(Format::Mxfp4)),
    ];
    let mut all = Vec::new();
    for fused in [false, true] {
        let mut add = |checkpoint, layer, (scheme, activation): (&str, Quantization)| {
            all.push(LayerCase { checkpoint, layer, scheme: scheme.to_owned(), activation, fused });
        };
        for layer in 0..2 {
            schemes.into_iter().for_each(|scheme| add(Checkpoint::DeepSeekV4, layer, scheme));
        }
        add(Checkpoint::GptOss, 0, schemes[0]);
    }
    all
}

impl LayerCase {
    pub(crate) fn name(&self) -> String {
        let checkpoint = match self.checkpoint {
            Checkpoint::DeepSeekV4 => "deepseek-v4",
            Checkpoint::GptOss => "gpt-oss",
        };
        let form = if self.fused { "fused" } else { "composed" };
        format!("layer/{checkpoint}/{}/{}/{form}", self.layer, self.scheme)
    }

    pub(crate) fn profile(&self) -> Profile {
        let layer = self.open();
        if self.fused {
            profile_of(&self.fused(&layer).into())
        } else {
            profile_of(&self.gate_up(&layer).into())
        }
    }

    pub(crate) fn run(&self, subject: &Subject) -> Result<Measures, Stop> {
        let layer = self.open();
        let y =
            if self.fused { self.run_fused(subject, &layer)? } else { self.run_composed(subject, &layer)? };
        let limits = match self.fused {
            true => Distance::of_fused(self.activation.format),
            false => Distance::of_chain(self.activation.format),
        };
        let distance = limits.check(&layer.y, &read(&y))?;
        let elements = layer.y.values.len() as u64;
        Ok(Measures { elements, error_over_bound: Some(distance), ..Measures::default() })
    }

    fn open(&self) -> Layer {
        match self.checkpoint {
            Checkpoint::DeepSeekV4 => deepseek_v4(self.layer, &self.scheme),
            Checkpoint::GptOss => gpt_oss(&self.scheme),
        }
    }

    fn run_composed(&self, subject: &Subject, layer: &Layer) -> Result<HostBuffer, Stop> {
        let router = Matmul {
            weight: Format::Bf16,
            bias: layer.router_bias.is_some(),
            ..Matmul::mxfp4(layer.tokens, layer.experts, layer.hidden, Quantization::none())
        };
        let [logits] =
            step(subject, router, vec![Some(layer.x.clone()), layer.router_bias.clone()], [&layer.router])?;

        let routing = vec![Some(logits), layer.choice_bias.clone(), layer.ids_given.clone()];
        let [ids, weights] = step(subject, layer.route, routing, [])?;
        layer.check_routing(&ids, &weights)?;

        let x = self.quantized(subject, layer, &layer.x, layer.hidden)?;
        let permute = Permute {
            tokens: layer.tokens,
            columns: layer.hidden,
            experts: layer.experts,
            top_k: layer.route.top_k,
            format: self.activation.format,
            weights: true,
            mapped: None,
        };
        let [rows, row_weights, counts, _source, positions] =
            step(subject, permute, vec![Some(x.clone()), Some(ids), Some(weights.clone()), None], [])?;

        let gate_up = self.gate_up(layer);
        let [h] = step(
            subject,
            gate_up,
            vec![Some(rows), Some(counts.clone()), layer.gate_up_bias.clone()],
            [&layer.gate_up],
        )?;
        let before = layer.weight_position == WeightPosition::BeforeDown;
        let swiglu = SwiGlu {
            rows: gate_up.each.m,
            n: layer.inner,
            form: layer.form,
            input: Format::Bf16,
            row_weights: before,
            to: self.activation,
        };
        let [h] = step(subject, swiglu, vec![Some(h), before.then_some(row_weights)], [])?;
        let down =
            GroupedMatmul { each: Matmul { n: layer.hidden, k: layer.inner, ..gate_up.each }, ..gate_up };
        let [routed] =
            step(subject, down, vec![Some(h), Some(counts), layer.down_bias.clone()], [&layer.down])?;

        let shared = self.run_shared(subject, layer, x)?;
        let combine = Combine {
            tokens: layer.tokens,
            columns: layer.hidden,
            top_k: layer.route.top_k,
            input: Format::Bf16,
            output: Format::F32,
            weighted: !before,
            addend: shared.is_some().then_some(Format::Bf16),
        };
        let tensors = vec![Some(routed), Some(positions), (!before).then_some(weights), shared];
        let [y] = step(subject, combine, tensors, [])?;
        Ok(y)
    }

    /// The input as the products take it.
    fn quantized(
        &self,
        subject: &Subject,
        layer: &Layer,
        x: &HostBuffer,
        k: usize,
    ) -> Result<HostBuffer, Stop> {
        if self.activation.is_none() {
            return Ok(x.clone());
        }
        let op = Quantize { rows: layer.tokens, k, input: Format::Bf16, to: self.activation };
        let [x] = step(subject, op, vec![Some(x.clone())], [])?;
        Ok(x)
    }

    fn gate_up(&self, layer: &Layer) -> GroupedMatmul {
        let m = layer.tokens * layer.route.top_k;
        let each = Matmul {
            input: self.activation.format,
            output: Format::Bf16,
            bias: layer.gate_up_bias.is_some(),
            ..Matmul::mxfp4(m, 2 * layer.inner, layer.hidden, self.activation)
        };
        GroupedMatmul { each, groups: layer.experts }
    }

    /// The shared expert's output, where there is one; `x` as the products take it.
    fn run_shared(
        &self,
        subject: &Subject,
        layer: &Layer,
        x: HostBuffer,
    ) -> Result<Option<HostBuffer>, Stop> {
        let Some((gate_up, down)) = &layer.shared else { return Ok(None) };
        let each =
            Matmul { m: layer.tokens, weight: Format::Fp8Tile128, bias: false, ..self.gate_up(layer).each };
        let [h] = step(subject, each, vec![Some(x), None], [gate_up])?;
        let swiglu = SwiGlu {
            rows: layer.tokens,
            n: layer.inner,
            form: layer.form,
            input: Format::Bf16,
            row_weights: false,
            to: self.activation,
        };
        let [h] = step(subject, swiglu, vec![Some(h), None], [])?;
        let each = Matmul { n: layer.hidden, k: layer.inner, ..each };
        let [shared] = step(subject, each, vec![Some(h), None], [down])?;
        Ok(Some(shared))
    }

    fn fused(&self, layer: &Layer) -> MoeFfn {
        let shared = SharedExpert { inner: layer.inner, weight: Format::Fp8Tile128, clamped: true };
        MoeFfn {
            tokens: layer.tokens,
            hidden: layer.hidden,
            inner: layer.inner,
            experts: layer.experts,
            top_k: layer.route.top_k,
            weight: Format::Mxfp4,
            activation: self.activation,
            form: layer.form,
            weight_position: layer.weight_position,
            bias: layer.gate_up_bias.is_some(),
            output: Format::F32,
            mapped: None,
            shared: layer.shared.is_some().then_some(shared),
        }
    }

    fn run_fused(&self, subject: &Subject, layer: &Layer) -> Result<HostBuffer, Stop> {
        let shape = [layer.tokens, layer.route.top_k];
        let ids = crate::opcase::tensor::integers(&shape, &layer.ids);
        let weights = floats(Format::F32, &shape, layer.weights.iter().copied());
        let (gate_up_bias, down_bias) = (layer.gate_up_bias.clone(), layer.down_bias.clone());
        let tensors = vec![Some(layer.x.clone()), Some(ids), Some(weights), None, gate_up_bias, down_bias];
        let mut prepared = vec![&layer.gate_up, &layer.down];
        if let Some((gate_up, down)) = &layer.shared {
            prepared.extend([gate_up, down]);
        }
        let [y] = step(subject, self.fused(layer), tensors, prepared)?;
        Ok(y)
    }
}

/// Runs one operator on these inputs (in the order of its arguments), and gives its outputs that are there.
fn step<'a, const OUTPUTS: usize>(
    subject: &Subject,
    op: impl Into<Op>,
    mut tensors: Vec<Option<HostBuffer>>,
    weights: impl IntoIterator<Item = &'a HostBuffer>,
) -> Result<[HostBuffer; OUTPUTS], Stop> {
    let op = op.into();
    supported(subject, &op)?;
    let arguments = op.arguments();
    tensors.resize(arguments.len(), None);
    for (argument, tensor) in arguments.iter().zip(&mut tensors) {
        if argument.role == Role::Output || !argument.present {
            *tensor = None;
        }
    }
    let inputs = Inputs { rows: op.max_rows(), tensors, weights: weights.into_iter().cloned().collect() };
    let rig = Rig::new(subject.device(), subject.stream(), &op, &inputs, 0)?;
    let outputs: Vec<HostBuffer> = rig.run(Poison::BOTH[0])?.into_iter().flatten().collect();
    Ok(outputs.try_into().expect("each step names as many outputs as its operator has"))
}

/// A layer, read.
struct Layer {
    tokens: usize,
    hidden: usize,
    inner: usize,
    experts: usize,
    x: HostBuffer,
    router: HostBuffer,
    /// What is added to the logits.
    router_bias: Option<HostBuffer>,
    route: Route,
    /// What steers the choice.
    choice_bias: Option<HostBuffer>,
    ids_given: Option<HostBuffer>,
    gate_up: HostBuffer,
    gate_up_bias: Option<HostBuffer>,
    down: HostBuffer,
    down_bias: Option<HostBuffer>,
    shared: Option<(HostBuffer, HostBuffer)>,
    form: SwiGluForm,
    weight_position: WeightPosition,
    /// The routing that is right.
    ids: Vec<i32>,
    weights: Vec<f64>,
    /// The output that is right.
    y: Matrix,
}

impl Layer {
    fn check_routing(&self, ids: &HostBuffer, weights: &HostBuffer) -> Result<(), Failure> {
        let (ids, weights) = (read_integers(ids), read(weights).values);
        let top_k = self.route.top_k;
        for (place, (&expected, &got)) in self.ids.iter().zip(&ids).enumerate() {
            if expected != got {
                return Err(Failure {
                    tensor: Some("ids".to_owned()),
                    index: vec![place / top_k, place % top_k],
                    expected: Some(expected.to_string()),
                    got: Some(got.to_string()),
                    ..Failure::new("a token goes to another expert than in the golden file")
                });
            }
        }
        for (place, (&expected, &got)) in self.weights.iter().zip(&weights).enumerate() {
            let bound = route::weight_bound(expected);
            if (got - expected).abs() <= bound {
                continue;
            }
            return Err(Failure {
                tensor: Some("weights".to_owned()),
                index: vec![place / top_k, place % top_k],
                expected: Some(format!("{expected:e}")),
                got: Some(format!("{got:e}")),
                bound: Some(bound),
                ..Failure::new("a routing weight is not that of the golden file")
            });
        }
        Ok(())
    }
}

fn deepseek_v4(layer: usize, scheme: &str) -> Layer {
    let (model, expected) = (GoldenFile::DeepSeekModel.open(), GoldenFile::DeepSeekExpected.open());
    let (hidden, inner, experts, top_k) = (256, 128, 16, 4);
    let base = format!("layers.{layer}.ffn");
    let x = expected.floats("x", Format::Bf16);
    let tokens = x.layout.rows();
    let routed = |expert: usize, name: &str| {
        let base = format!("{base}.experts.{expert}.{name}");
        (model.bytes(&format!("{base}.weight")), model.bytes(&format!("{base}.scale")))
    };
    let shared = |name: &str| {
        let base = format!("{base}.shared_experts.{name}");
        (model.bytes(&format!("{base}.weight")), model.bytes(&format!("{base}.scale")))
    };
    let all = 0..experts;
    let gate_up = all.clone().flat_map(|expert| [routed(expert, "w1"), routed(expert, "w3")]);
    let down = all.map(|expert| routed(expert, "w2"));
    // The first layer's experts are looked up by token id.
    let ids_given = (layer == 0).then(|| {
        let (table, token_ids) =
            (model.integers(&format!("{base}.gate.tid2eid")), expected.integers("token_ids"));
        let of_token = |&id: &i32| table[id as usize * top_k..][..top_k].to_vec();
        let ids: Vec<i32> = token_ids.iter().flat_map(of_token).collect();
        crate::opcase::tensor::integers(&[tokens, top_k], &ids)
    });
    let bias = format!("{base}.gate.bias");
    let choice_bias = (layer == 1).then(|| floats(Format::F32, &[experts], model.matrix(&bias).values));
    Layer {
        tokens,
        hidden,
        inner,
        experts,
        x,
        router: as_weights(&model, &format!("{base}.gate.weight"), experts, hidden),
        router_bias: None,
        route: Route {
            tokens,
            experts,
            top_k,
            score: Score::SqrtSoftplus,
            bias: choice_bias.is_some(),
            ids_given: ids_given.is_some(),
            renormalize: true,
            scale: 1.5,
        },
        choice_bias,
        ids_given,
        gate_up: stacked(Format::Mxfp4, &[experts, 2 * inner, hidden], gate_up),
        gate_up_bias: None,
        down: stacked(Format::Mxfp4, &[experts, hidden, inner], down),
        down_bias: None,
        shared: Some((
            stacked(Format::Fp8Tile128, &[1, 2 * inner, hidden], [shared("w1"), shared("w3")]),
            stacked(Format::Fp8Tile128, &[1, hidden, inner], [shared("w2")]),
        )),
        form: SwiGluForm::silu(10.0),
        weight_position: WeightPosition::BeforeDown,
        ids: expected.integers(&format!("layers.{layer}.ids")),
        weights: expected.matrix(&format!("layers.{layer}.weights")).values,
        y: expected.matrix(&format!("layers.{layer}.{scheme}.y")),
    }
}

fn gpt_oss(scheme: &str) -> Layer {
    let (model, expected) = (GoldenFile::GptOssModel.open(), GoldenFile::GptOssExpected.open());
    let (hidden, inner, experts, top_k) = (96, 96, 8, 4);
    let base = "model.layers.0.mlp";
    let x = expected.floats("x", Format::Bf16);
    let tokens = x.layout.rows();
    let blocks = |name: &str, shape: &[usize]| {
        let base = format!("{base}.experts.{name}");
        model.blocks(Format::Mxfp4, shape, &format!("{base}_blocks"), &format!("{base}_scales"))
    };
    let bias = |name: &str| Some(model.floats(&format!("{base}.{name}"), Format::F32));
    Layer {
        tokens,
        hidden,
        inner,
        experts,
        x,
        router: as_weights(&model, &format!("{base}.router.weight"), experts, hidden),
        router_bias: bias("router.bias"),
        route: Route {
            tokens,
            experts,
            top_k,
            score: Score::SoftmaxOfChosen,
            bias: false,
            ids_given: false,
            renormalize: false,
            scale: 1.0,
        },
        choice_bias: None,
        ids_given: None,
        gate_up: blocks("gate_up_proj", &[experts, 2 * inner, hidden]),
        gate_up_bias: bias("experts.gate_up_proj_bias"),
        down: blocks("down_proj", &[experts, hidden, inner]),
        down_bias: bias("experts.down_proj_bias"),
        shared: None,
        form: SwiGluForm::gpt_oss(7.0),
        weight_position: WeightPosition::AfterDown,
        ids: expected.integers("ids"),
        weights: expected.matrix("weights").values,
        y: expected.matrix(&format!("{scheme}.y")),
    }
}

/// A matrix of BF16 as weights of one group.
fn as_weights(golden: &Golden, name: &str, n: usize, k: usize) -> HostBuffer {
    HostBuffer { layout: layout(Format::Bf16, &[1, n, k]), ..golden.floats(name, Format::Bf16) }
}

/// Matrices one below the other.
fn stacked(
    format: Format,
    shape: &[usize],
    parts: impl IntoIterator<Item = (&'static [u8], &'static [u8])>,
) -> HostBuffer {
    let (mut data, mut scales) = (Vec::new(), Vec::new());
    for (part, part_scales) in parts {
        data.extend_from_slice(part);
        scales.extend_from_slice(part_scales);
    }
    HostBuffer { layout: layout(format, shape), data, scales, factors: Vec::new() }
}
