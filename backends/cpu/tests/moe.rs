//! The fused Mixture-of-Experts layer against its composition and against float64.

mod harness;

use std::sync::Arc;

use harness::{Host, POISON, Permuted, Random, Resident, Rows};
use mxhal_core::format::bf16;
use mxhal_core::op::{
    Combine, CombineTensors, GroupedMatmul, GroupedMatmulTensors, Matmul, MoeFfn, MoeFfnTensors,
    MoeFfnWeights, Operators, Permute, SharedExpert, SwiGlu, SwiGluForm, SwiGluTensors, SwiGluVariant,
    WeightPosition,
};
use mxhal_core::{Format, Layout, Quantization, Span, Tensor, Weights};

/// A layer with everything that it takes.
struct Layer {
    op: MoeFfn,
    x: Rows,
    ids: Vec<i32>,
    routing: Vec<f32>,
    map: Option<Vec<i32>>,
    gate_up: Vec<Rows>,
    down: Vec<Rows>,
    shared: Option<[Rows; 2]>,
    biases: Option<[Vec<f32>; 2]>,
}

impl Layer {
    fn random(random: &mut Random) -> Self {
        let activation = Quantization::new(random.choose(&[
            Format::Bf16,
            Format::Mxfp8,
            Format::Mxfp8G128,
            Format::Mxint8,
            Format::Mxfp4,
            Format::Nvfp4,
        ]));
        let weight = random.choose(&[Format::Mxfp4, Format::Mxint8, Format::Nvfp4, Format::Bf16]);
        let interleaved = random.below(2) == 1;
        let shared = (!interleaved && random.below(2) == 1).then(|| SharedExpert {
            inner: 32 * (1 + random.below(3)),
            weight: random.choose(&[Format::Fp8Tile128, Format::Mxfp8]),
            clamped: random.below(2) == 1,
        });
        let (tokens, top_k, experts) = (1 + random.below(30), 1 + random.below(4), 1 + random.below(9));
        let (hidden, inner) = (32 * (1 + random.below(5)), 32 * (1 + random.below(4)));
        let (limit, bias) = (random.choose(&[0.0, 0.75]), random.below(2) == 1);
        let variant = random.choose(&[SwiGluVariant::Silu, SwiGluVariant::GptOss]);
        let alpha = if variant == SwiGluVariant::GptOss { 1.702 } else { 0.0 };
        let mapped = (random.below(2) == 1).then(|| experts + random.below(5));
        let id = |random: &mut Random, end: usize| random.below(end + 2) as i32 - 1;
        Self {
            op: MoeFfn {
                tokens,
                hidden,
                inner,
                experts,
                top_k,
                weight,
                activation,
                form: SwiGluForm { variant, limit, alpha, interleaved },
                weight_position: random.choose(&[WeightPosition::BeforeDown, WeightPosition::AfterDown]),
                bias,
                output: random.choose(&[Format::F32, Format::Bf16, Format::F16]),
                mapped,
                shared,
            },
            x: Rows::of(&Quantization::none(), &[tokens, hidden], &random.values(tokens * hidden)),
            // −1 and one beyond the last among them: both are skipped.
            ids: (0..tokens * top_k).map(|_| id(random, mapped.unwrap_or(experts))).collect(),
            routing: random.values(tokens * top_k),
            map: mapped.map(|mapped| (0..mapped).map(|_| id(random, experts)).collect()),
            gate_up: (0..experts).map(|_| random.matrix(weight, 2 * inner, hidden)).collect(),
            down: (0..experts).map(|_| random.matrix(weight, hidden, inner)).collect(),
            shared: shared.map(|shared| {
                [
                    random.matrix(shared.weight, 2 * shared.inner, hidden),
                    random.matrix(shared.weight, hidden, shared.inner),
                ]
            }),
            biases: bias.then(|| [random.values(experts * 2 * inner), random.values(experts * hidden)]),
        }
    }

    fn on<'a>(&'a self, host: &'a Host) -> Placed<'a> {
        let activation = self.op.activation.format;
        let pair = |[a, b]: &[Rows; 2]| [a, b].map(|m| host.weights(std::slice::from_ref(m), activation));
        Placed {
            host,
            layer: self,
            x: host.upload(&self.x),
            ids: host.upload(&Rows::integers(&[self.op.tokens, self.op.top_k], &self.ids)),
            routing: host.upload(&Rows::floats(&[self.op.tokens, self.op.top_k], &self.routing)),
            map: self.map.as_ref().map(|map| host.upload(&Rows::integers(&[map.len()], map))),
            weights: [host.weights(&self.gate_up, activation), host.weights(&self.down, activation)],
            shared: self.shared.as_ref().map(pair),
            biases: self.biases.as_ref().map(|biases| {
                biases.each_ref().map(|bias| {
                    let shape = [self.op.experts, bias.len() / self.op.experts];
                    host.upload(&Rows::floats(&shape, bias))
                })
            }),
        }
    }

    /// In float64 with the roundings of the chain, from the documentation alone.
    fn reference(&self) -> Vec<f64> {
        let MoeFfn { tokens, hidden, top_k, experts, activation, form, .. } = self.op;
        let round = |v: f64| f64::from(bf16::to_f32(bf16::from_f64(v)));
        let scheme = |values: &[f64]| -> Vec<f64> {
            let values: Vec<f32> = values.iter().map(|v| round(*v) as f32).collect();
            let rows = Rows::of(&activation, &[1, values.len()], &values);
            rows.values().iter().map(|v| f64::from(*v)).collect()
        };
        let product = |a: &[f64], w: &[f32], bias: Option<&[f32]>| -> Vec<f64> {
            let sum = |w: &[f32]| a.iter().zip(w).map(|(a, w)| a * f64::from(*w)).sum::<f64>();
            let bias = |column: usize| bias.map_or(0.0, |bias| f64::from(bias[column]));
            w.chunks(a.len()).enumerate().map(|(column, w)| round(sum(w) + bias(column))).collect()
        };
        let swiglu = |gate_up: &[f64], limit: f32, weight: f64| -> Vec<f64> {
            let n = gate_up.len() / 2;
            let limit = if limit == 0.0 { f64::INFINITY } else { f64::from(limit) };
            (0..n)
                .map(|i| match form.interleaved {
                    true => (gate_up[2 * i], gate_up[2 * i + 1]),
                    false => (gate_up[i], gate_up[n + i]),
                })
                .map(|(gate, up)| {
                    let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
                    let slope = if form.variant == SwiGluVariant::Silu { 1.0 } else { f64::from(form.alpha) };
                    let plus = if form.variant == SwiGluVariant::Silu { 0.0 } else { 1.0 };
                    (up + plus) * gate / (1.0 + (-slope * gate).exp()) * weight
                })
                .collect()
        };
        let decoded = |matrices: &[Rows]| matrices.iter().map(Rows::values).collect::<Vec<_>>();
        let (gate_up, down) = (decoded(&self.gate_up), decoded(&self.down));
        let bias = |place: usize, expert: usize| {
            let bias = &self.biases.as_ref()?[place];
            Some(&bias[expert * (bias.len() / experts)..][..bias.len() / experts])
        };
        let x: Vec<f64> = self.x.values().iter().map(|v| f64::from(*v)).collect();
        let before = self.op.weight_position == WeightPosition::BeforeDown;
        let mut y = vec![0.0; tokens * hidden];
        for (token, y) in y.chunks_mut(hidden).enumerate() {
            let a = scheme(&x[token * hidden..][..hidden]);
            for slot in token * top_k..(token + 1) * top_k {
                let id = match &self.map {
                    None => self.ids[slot],
                    Some(map) => {
                        usize::try_from(self.ids[slot]).ok().and_then(|id| map.get(id)).map_or(-1, |id| *id)
                    }
                };
                let Some(expert) = usize::try_from(id).ok().filter(|expert| *expert < experts) else {
                    continue;
                };
                let weight = f64::from(self.routing[slot]);
                let (inside, outside) = if before { (weight, 1.0) } else { (1.0, weight) };
                let h = swiglu(&product(&a, &gate_up[expert], bias(0, expert)), form.limit, inside);
                for (y, down) in y.iter_mut().zip(product(&scheme(&h), &down[expert], bias(1, expert))) {
                    *y += down * outside;
                }
            }
            if let (Some([gate_up, down]), Some(expert)) = (&self.shared, self.op.shared) {
                let limit = if expert.clamped { form.limit } else { 0.0 };
                let h = swiglu(&product(&a, &gate_up.values(), None), limit, 1.0);
                for (y, down) in y.iter_mut().zip(product(&scheme(&h), &down.values(), None)) {
                    *y += down;
                }
            }
        }
        y
    }
}

/// A layer on a device.
struct Placed<'a> {
    host: &'a Host,
    layer: &'a Layer,
    x: Resident,
    ids: Resident,
    routing: Resident,
    map: Option<Resident>,
    weights: [Arc<dyn Weights>; 2],
    shared: Option<[Arc<dyn Weights>; 2]>,
    biases: Option<[Resident; 2]>,
}

impl Placed<'_> {
    fn fused(&self) -> Rows {
        let op = self.layer.op;
        let plan = self.host.device.moe_ffn(op).unwrap();
        let workspace = self.host.workspace(plan.info());
        // What is in it before must not matter.
        self.host.stream.fill(workspace.span(), POISON).unwrap();
        let y = self.host.poisoned(op.output, &[op.tokens, op.hidden]);
        let tensors = MoeFfnTensors {
            x: self.x.view,
            ids: self.ids.view,
            weights: self.routing.view,
            expert_map: self.map.as_ref().map(|map| map.view),
            gate_up_bias: self.biases.as_ref().map(|biases| biases[0].view),
            down_bias: self.biases.as_ref().map(|biases| biases[1].view),
            y: y.view,
        };
        let weights = MoeFfnWeights {
            gate_up: &*self.weights[0],
            down: &*self.weights[1],
            shared: self.shared.as_ref().map(|[gate_up, down]| (&**gate_up, &**down)),
        };
        plan.run(&*self.host.stream, tensors, weights, workspace.span()).unwrap();
        self.host.download(&y)
    }

    /// The same by the operators of which it consists.
    fn composed(&self) -> Rows {
        let (host, op) = (self.host, self.layer.op);
        let MoeFfn { tokens, hidden, inner, experts, top_k, mapped, .. } = op;
        let before = op.weight_position == WeightPosition::BeforeDown;

        let permute = Permute {
            tokens,
            columns: hidden,
            experts,
            top_k,
            format: Format::Bf16,
            weights: before,
            mapped,
        };
        let Permuted { rows, row_weights, counts, positions, .. } =
            host.permute(permute, [&self.x, &self.ids], [before.then_some(&self.routing), self.map.as_ref()]);

        let bias = |place: usize| self.biases.as_ref().map(|biases| &biases[place]);
        let sizes = [(2 * inner, hidden), (hidden, inner)];
        let routed = self.expert(
            &rows,
            (&counts, experts),
            sizes,
            op.weight,
            op.form.limit,
            (&self.weights, [bias(0), bias(1)]),
            row_weights.as_ref(),
        );
        let addend = self.shared.as_ref().zip(op.shared).map(|(weights, expert)| {
            let all = host.upload(&Rows::integers(&[1], &[tokens as i32]));
            let limit = if expert.clamped { op.form.limit } else { 0.0 };
            let sizes = [(2 * expert.inner, hidden), (hidden, expert.inner)];
            self.expert(&self.x, (&all, 1), sizes, expert.weight, limit, (weights, [None, None]), None)
        });

        let plan = host
            .device
            .combine(Combine {
                tokens,
                columns: hidden,
                top_k,
                input: Format::Bf16,
                output: op.output,
                weighted: !before,
                addend: addend.as_ref().map(|_| Format::Bf16),
            })
            .unwrap();
        let workspace = host.workspace(plan.info());
        let y = host.poisoned(op.output, &[tokens, hidden]);
        let tensors = CombineTensors {
            rows: routed.view,
            positions: positions.view,
            weights: (!before).then_some(self.routing.view),
            addend: addend.as_ref().map(|addend| addend.view),
            y: y.view,
        };
        plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
        host.download(&y)
    }

    #[allow(clippy::too_many_arguments, reason = "what differs between the experts and the shared one")]
    fn expert(
        &self,
        rows: &Resident,
        (counts, groups): (&Resident, usize),
        [gate_up, down]: [(usize, usize); 2],
        weight: Format,
        limit: f32,
        (weights, biases): (&[Arc<dyn Weights>; 2], [Option<&Resident>; 2]),
        row_weights: Option<&Resident>,
    ) -> Resident {
        let (host, op) = (self.host, self.layer.op);
        let m = rows.view.layout().rows();
        let product = |a: &Resident, (n, k): (usize, usize), place: usize| {
            let input = a.view.layout().format();
            let each = Matmul {
                m,
                n,
                k,
                input,
                weight,
                output: Format::Bf16,
                bias: biases[place].is_some(),
                activation: op.activation,
            };
            let plan = host.device.grouped_matmul(GroupedMatmul { each, groups }).unwrap();
            let workspace = host.workspace(plan.info());
            let y = host.poisoned(Format::Bf16, &[m, n]);
            let bias = biases[place].map(|bias| bias.view);
            let tensors = GroupedMatmulTensors { a: a.view, counts: counts.view, bias, y: y.view };
            plan.run(&*host.stream, tensors, [&*weights[place]], workspace.span()).unwrap();
            y
        };
        let gated = product(rows, gate_up, 0);
        let form = SwiGluForm { limit, ..op.form };
        let (n, to) = (down.1, op.activation);
        let plan = host
            .device
            .swiglu(SwiGlu { rows: m, n, form, input: Format::Bf16, row_weights: row_weights.is_some(), to })
            .unwrap();
        let workspace = host.workspace(plan.info());
        let h = host.poisoned(to.format, &[m, n]);
        let row_weights = row_weights.map(|weights| weights.view);
        let tensors = SwiGluTensors { x: gated.view, row_weights, y: h.view };
        plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
        product(&h, down, 1)
    }
}

#[test]
fn the_fused_layer_has_the_bits_of_its_composition_with_any_threads() {
    let (mut random, [one, three]) = (Random::new(), [1, 3].map(Host::each));
    for _ in 0..60 {
        let layer = Layer::random(&mut random);
        for (one, three) in one.iter().zip(&three) {
            let fused = layer.on(one).fused();
            assert_eq!(fused, layer.on(one).composed(), "{:?}", layer.op);
            assert_eq!(fused, layer.on(three).fused(), "{:?}", layer.op);
        }
    }
}

#[test]
fn the_fused_layer_is_near_the_chain_in_float64() {
    let (hosts, mut random) = (Host::each(2), Random::new());
    for turn in 0..90 {
        let layer = Layer::random(&mut random);
        let (got, expected) = (layer.on(&hosts[turn % hosts.len()]).fused().values(), layer.reference());
        let error: f64 = got.iter().zip(&expected).map(|(got, e)| (f64::from(*got) - e).powi(2)).sum();
        let norm: f64 = expected.iter().map(|e| e * e).sum();
        // What intermediates at a rounding edge do (see the golden files' README), in layers far smaller than
        // those, so that one of them weighs more; a wrong scheme or position is off by several times that.
        let limit = match layer.op.activation.format {
            Format::Bf16 => 0.006,
            Format::Mxfp4 | Format::Nvfp4 => 0.06,
            _ => 0.02,
        };
        assert!(error.sqrt() <= limit * norm.sqrt(), "{:?}: {} of {}", layer.op, error.sqrt(), norm.sqrt());
    }
}

#[test]
fn a_layer_without_tokens_does_nothing() {
    let (host, mut random) = (Host::new(2), Random::new());
    let layer = Layer::random(&mut random);
    let placed = layer.on(&host);
    let op = layer.op;
    let plan = host.device.moe_ffn(op).unwrap();
    let workspace = host.workspace(plan.info());
    let empty = |format, columns| {
        Tensor::new(Layout::contiguous(format, &[0, columns]).unwrap(), Span::NONE).unwrap()
    };
    let tensors = MoeFfnTensors {
        x: empty(Format::Bf16, op.hidden),
        ids: empty(Format::I32, op.top_k),
        weights: empty(Format::F32, op.top_k),
        expert_map: placed.map.as_ref().map(|map| map.view),
        gate_up_bias: placed.biases.as_ref().map(|biases| biases[0].view),
        down_bias: placed.biases.as_ref().map(|biases| biases[1].view),
        y: empty(op.output, op.hidden),
    };
    let weights = MoeFfnWeights {
        gate_up: &*placed.weights[0],
        down: &*placed.weights[1],
        shared: placed.shared.as_ref().map(|[gate_up, down]| (&**gate_up, &**down)),
    };
    plan.run(&*host.stream, tensors, weights, workspace.span()).unwrap();
}
