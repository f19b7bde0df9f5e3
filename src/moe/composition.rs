//! A layer's experts as a composition of operators, with the roundings of the fused one.
//!
//! ```text
//! x ─ quantize ─┬─ permute ─ gate & up ─ SwiGLU ─ down ─ combine ─ y
//!               └─ gate & up ─ SwiGLU ─ down ──────────────┘        (the shared expert)
//! ```
//!
//! Gate, up and down are rounded to BF16. The input is quantized once, before it is copied for each expert; SwiGLU's
//! output as it is written.

use std::sync::Arc;

use mxhal_core::op::{
    Combine, CombinePlan, CombineTensors, Extent, GroupedMatmul, GroupedMatmulPlan, GroupedMatmulTensors,
    Matmul, MatmulPlan, MatmulTensors, MoeFfn, Operators, Permute, PermutePlan, PermuteTensors, Quantize,
    QuantizePlan, QuantizeTensors, SharedExpert, SwiGlu, SwiGluForm, SwiGluPlan, SwiGluTensors,
    WeightPosition,
};
use mxhal_core::{Device, Format, PlanInfo, Result, Span, Stream, Tensor, Weights};

use super::experts::{ExpertTensors, ExpertWeights};
use super::memory::Rows;

/// Plans and intermediates for at most `op.tokens` tokens.
pub(super) struct Composition {
    quantize: Option<(QuantizePlan, Rows)>,
    permute: PermutePlan,
    permuted: Permuted,
    gate_up: GroupedMatmulPlan,
    gated: Rows,
    swiglu: SwiGluPlan,
    activated: Rows,
    down: GroupedMatmulPlan,
    expert_rows: Rows,
    combine: CombinePlan,
    shared: Option<SharedComposition>,
}

/// What permute writes.
struct Permuted {
    rows: Rows,
    /// The routing weights in order of rows, where they multiply before the down projection.
    row_weights: Option<Rows>,
    counts: Rows,
    source: Rows,
    positions: Rows,
}

impl Composition {
    pub(super) fn prepare(device: &Arc<dyn Device>, op: &MoeFfn) -> Result<Self> {
        let MoeFfn { tokens, hidden, inner, experts, top_k, activation, .. } = *op;
        let before = op.weight_position == WeightPosition::BeforeDown;
        let slots = tokens * top_k;
        let rows = |format, columns| {
            Rows::new(device, format, &[Extent::PerRow(top_k), Extent::Fixed(columns)], tokens)
        };
        let of_slots = |format| Rows::new(device, format, &[Extent::PerRow(top_k)], tokens);

        let quantize = match activation.is_none() {
            true => None,
            false => {
                let plan = device.quantize(Quantize {
                    rows: tokens,
                    k: hidden,
                    input: Format::Bf16,
                    to: activation,
                })?;
                let shape = [Extent::PerRow(1), Extent::Fixed(hidden)];
                Some((plan, Rows::new(device, activation.format, &shape, tokens)?))
            }
        };
        let product =
            |n, k| GroupedMatmul { each: product(op, op.weight, op.bias, [slots, n, k]), groups: experts };
        Ok(Self {
            quantize,
            permute: device.permute(Permute {
                tokens,
                columns: hidden,
                experts,
                top_k,
                format: activation.format,
                weights: before,
                mapped: None,
            })?,
            permuted: Permuted {
                rows: rows(activation.format, hidden)?,
                row_weights: before.then(|| of_slots(Format::F32)).transpose()?,
                counts: Rows::new(device, Format::I32, &[Extent::Fixed(experts)], tokens)?,
                source: of_slots(Format::I32)?,
                positions: Rows::new(
                    device,
                    Format::I32,
                    &[Extent::PerRow(1), Extent::Fixed(top_k)],
                    tokens,
                )?,
            },
            gate_up: device.grouped_matmul(product(2 * inner, hidden))?,
            gated: rows(Format::Bf16, 2 * inner)?,
            swiglu: device.swiglu(SwiGlu {
                rows: slots,
                n: inner,
                form: op.form,
                input: Format::Bf16,
                row_weights: before,
                to: activation,
            })?,
            activated: rows(activation.format, inner)?,
            down: device.grouped_matmul(product(hidden, inner))?,
            expert_rows: rows(Format::Bf16, hidden)?,
            combine: device.combine(Combine {
                tokens,
                columns: hidden,
                top_k,
                input: Format::Bf16,
                output: op.output,
                weighted: !before,
                addend: op.shared.map(|_| Format::Bf16),
            })?,
            shared: op.shared.map(|shared| SharedComposition::prepare(device, op, shared)).transpose()?,
        })
    }

    pub(super) fn run(
        &self,
        stream: &dyn Stream,
        tensors: ExpertTensors,
        weights: &ExpertWeights,
        workspace: Span,
    ) -> Result<()> {
        let ExpertTensors { x, routing, biases, y } = tensors;
        let tokens = x.layout().rows();
        let x = match &self.quantize {
            None => x,
            Some((plan, quantized)) => {
                let quantized = quantized.view(tokens)?;
                plan.run(stream, QuantizeTensors { x, y: quantized }, [], workspace)?;
                quantized
            }
        };

        let rows = self.permuted.rows.view(tokens)?;
        let row_weights = self.permuted.row_weights.as_ref().map(|rows| rows.view(tokens)).transpose()?;
        let counts = self.permuted.counts.view(tokens)?;
        let positions = self.permuted.positions.view(tokens)?;
        let permuted = PermuteTensors {
            x,
            ids: routing.ids,
            weights: row_weights.map(|_| routing.weights),
            expert_map: None,
            rows,
            row_weights,
            counts,
            source: self.permuted.source.view(tokens)?,
            positions,
        };
        self.permute.run(stream, permuted, [], workspace)?;

        let gated = self.gated.view(tokens)?;
        let bias = biases.map(|(gate_up, _)| gate_up);
        let product = GroupedMatmulTensors { a: rows, counts, bias, y: gated };
        self.gate_up.run(stream, product, [&*weights.gate_up], workspace)?;

        let activated = self.activated.view(tokens)?;
        self.swiglu.run(stream, SwiGluTensors { x: gated, row_weights, y: activated }, [], workspace)?;

        let expert_rows = self.expert_rows.view(tokens)?;
        let bias = biases.map(|(_, down)| down);
        let product = GroupedMatmulTensors { a: activated, counts, bias, y: expert_rows };
        self.down.run(stream, product, [&*weights.down], workspace)?;

        let addend = match (&self.shared, &weights.shared) {
            (Some(shared), Some((gate_up, down))) => {
                Some(shared.run(stream, x, [&**gate_up, &**down], workspace)?)
            }
            _ => None,
        };
        let weights = row_weights.is_none().then_some(routing.weights);
        let combined = CombineTensors { rows: expert_rows, positions, weights, addend, y };
        self.combine.run(stream, combined, [], workspace)
    }

    pub(super) fn workspace_bytes(&self) -> u64 {
        let infos = [
            self.permute.info(),
            self.gate_up.info(),
            self.swiglu.info(),
            self.down.info(),
            self.combine.info(),
        ];
        let quantize = self.quantize.iter().map(|(plan, _)| plan.info());
        let shared = self.shared.iter().flat_map(SharedComposition::infos);
        infos.into_iter().chain(quantize).chain(shared).map(|info| info.workspace_bytes).max().unwrap_or(0)
    }
}

/// The shared expert.
struct SharedComposition {
    gate_up: MatmulPlan,
    gated: Rows,
    swiglu: SwiGluPlan,
    activated: Rows,
    down: MatmulPlan,
    y: Rows,
}

impl SharedComposition {
    fn prepare(device: &Arc<dyn Device>, op: &MoeFfn, shared: SharedExpert) -> Result<Self> {
        let MoeFfn { tokens, hidden, activation, form, .. } = *op;
        let SharedExpert { inner, weight, clamped } = shared;
        let limit = if clamped { form.limit } else { 0.0 };
        let rows =
            |format, columns| Rows::new(device, format, &[Extent::PerRow(1), Extent::Fixed(columns)], tokens);
        Ok(Self {
            gate_up: device.matmul(product(op, weight, false, [tokens, 2 * inner, hidden]))?,
            gated: rows(Format::Bf16, 2 * inner)?,
            swiglu: device.swiglu(SwiGlu {
                rows: tokens,
                n: inner,
                form: SwiGluForm { limit, ..form },
                input: Format::Bf16,
                row_weights: false,
                to: activation,
            })?,
            activated: rows(activation.format, inner)?,
            down: device.matmul(product(op, weight, false, [tokens, hidden, inner]))?,
            y: rows(Format::Bf16, hidden)?,
        })
    }

    /// Gives its output, before it is added.
    fn run(
        &self,
        stream: &dyn Stream,
        x: Tensor,
        [gate_up, down]: [&dyn Weights; 2],
        workspace: Span,
    ) -> Result<Tensor> {
        let tokens = x.layout().rows();
        let (gated, activated) = (self.gated.view(tokens)?, self.activated.view(tokens)?);
        let y = self.y.view(tokens)?;
        self.gate_up.run(stream, MatmulTensors { a: x, bias: None, y: gated }, [gate_up], workspace)?;
        let activation = SwiGluTensors { x: gated, row_weights: None, y: activated };
        self.swiglu.run(stream, activation, [], workspace)?;
        self.down.run(stream, MatmulTensors { a: activated, bias: None, y }, [down], workspace)?;
        Ok(y)
    }

    fn infos(&self) -> [&PlanInfo; 3] {
        [self.gate_up.info(), self.swiglu.info(), self.down.info()]
    }
}

/// A product `[m, n, k]` of the layer: activations arrive in its scheme, and BF16 comes out.
const fn product(op: &MoeFfn, weight: Format, bias: bool, [m, n, k]: [usize; 3]) -> Matmul {
    Matmul {
        m,
        n,
        k,
        input: op.activation.format,
        weight,
        output: Format::Bf16,
        bias,
        activation: op.activation,
    }
}
