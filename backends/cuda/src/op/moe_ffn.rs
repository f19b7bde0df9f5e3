//! MoeFfn: a layer of experts, composed, or for few tokens in two kernels.
//!
//! | step | kernels | between |
//! | --- | --- | --- |
//! | the tokens, in the scheme's format | `quantize` | once for a token, not for each of its experts |
//! | to rows in order of expert | `permute_*` | |
//! | gate and up | a grouped product | BF16 |
//! | SwiGLU, weighted by row where that comes before down | `swiglu` | the scheme's format |
//! | down | a grouped product | BF16 |
//! | the shared expert | two products of one group, and `swiglu` | BF16 |
//! | the sum | `combine` | float32, in order of slot, the shared expert last |
//!
//! Which kernels do a layer:
//!
//! | tokens | scheme | target | kernels |
//! | --- | --- | --- | --- |
//! | up to 8, and 128 slots | MXFP4 weights, all but NVFP4 activations | any | `moe_gate_up`, `moe_down`: the same bits |
//! | any other | any | any | those above |
//!
//! A shared expert goes by those above in any case.

use mxhal_core::op::{Matmul, MoeFfn, SwiGluForm, WeightPosition};
use mxhal_core::{Format, Refusal, Result};
use mxhal_kernels_cuda::parameters::{CombineParameters, MoeParameters};

use super::permute::{self, Place};
use super::product::{self, Multiply};
use super::quantize::{self, Rows};
use super::swiglu::Gate;
use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;
use crate::weights::Operands;

impl Execute for MoeFfn {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        products(self).try_for_each(|(product, groups)| product::check(offer, &product, groups))
    }

    /// The kernels for few tokens are for formats whose products have a kernel for few rows as well.
    fn is_batch_invariant(&self, offer: &Offer) -> bool {
        products(self).all(|(product, groups)| product::is_batch_invariant(offer, &product, groups))
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        if is_for_few_tokens(self, run)? {
            return enqueue_few_tokens(self, session, run);
        }
        let (tokens, slots) = (run.rows, run.rows * self.top_k);
        let routing = session.input(run.operand(2)?)?;
        let x = quantized_input(self, session, run)?;
        let place = place(self, session, run, slots)?;

        let is_before = self.weight_position == WeightPosition::BeforeDown;
        let row_weights = if is_before { session.scratch(slots, 4)? } else { 0 };
        let weights = if is_before { routing } else { 0 };
        let rows = Rows::scratch(session, x.format, slots, self.hidden)?;
        permute::copy_rows(session, &place, self.top_k, (&x, &rows), (weights, row_weights))?;
        let experts = FeedForward {
            x: rows,
            rows: slots,
            inner: self.inner,
            form: self.form,
            row_weights,
            counts: place.counts,
            groups: self.experts,
            weights: [run.weights(0)?, run.weights(1)?],
            biases: [run.input_or_none(session, 4)?, run.input_or_none(session, 5)?],
        };
        let down = experts.enqueue(session, self)?;

        let addend = self.shared.map_or(Ok(0), |_| shared_expert(self, session, run, x))?;
        let sum = CombineParameters {
            rows: down,
            positions: place.positions,
            weights: if is_before { 0 } else { routing },
            addend,
            y: session.output(run.operand(6)?)?,
            tokens: small(tokens)?,
            columns: small(self.hidden)?,
            top_k: small(self.top_k)?,
            input: Format::Bf16 as u32,
            addend_format: Format::Bf16 as u32,
            output: self.output as u32,
        };
        session.launch(&sum.launch(), sum)
    }
}

/// The products of the experts and of the shared expert, each with its groups.
fn products(op: &MoeFfn) -> impl Iterator<Item = (Matmul, usize)> {
    let MoeFfn { tokens, hidden, activation, .. } = *op;
    let both = move |weight, rows, inner: usize, groups| {
        let product = move |n, k| (Matmul { weight, ..Matmul::mxfp4(rows, n, k, activation) }, groups);
        [product(inner.saturating_mul(2), hidden), product(hidden, inner)]
    };
    let experts = both(op.weight, tokens * op.top_k, op.inner, op.experts);
    let shared = op.shared.map(|shared| both(shared.weight, tokens, shared.inner, 1));
    experts.into_iter().chain(shared.into_iter().flatten())
}

/// The tokens in the format that is multiplied.
fn quantized_input(op: &MoeFfn, session: &mut Session<'_>, run: &Run<'_>) -> Result<Rows> {
    let x = run.operand(0)?;
    let data = session.input(x)?;
    if op.activation.is_none() {
        return Ok(Rows { data, ..Rows::of(x, Format::Bf16, op.hidden) });
    }
    let rows = Rows::scratch(session, op.activation.format, run.rows, op.hidden)?;
    quantize::rows(session, (data, Format::Bf16), run.rows, op.hidden, &op.activation, &rows)?;
    Ok(rows)
}

/// What the expert gives that every token passes: BF16 `[tokens, hidden]`.
fn shared_expert(op: &MoeFfn, session: &mut Session<'_>, run: &Run<'_>, x: Rows) -> Result<u64> {
    let shared = op.shared.expect("whoever calls has looked");
    let limit = if shared.clamped { op.form.limit } else { 0.0 };
    let every_token = FeedForward {
        x,
        rows: run.rows,
        inner: shared.inner,
        form: SwiGluForm { limit, ..op.form },
        row_weights: 0,
        counts: 0,
        groups: 1,
        weights: [run.weights(2)?, run.weights(3)?],
        biases: [0, 0],
    };
    every_token.enqueue(session, op)
}

/// Whether the two kernels for few tokens do this run.
fn is_for_few_tokens(op: &MoeFfn, run: &Run<'_>) -> Result<bool> {
    // Within an expert offsets have 32 bits.
    let is_small = [run.weights(0)?, run.weights(1)?]
        .into_iter()
        .all(|weights| u32::try_from(weights.matrix.data_bytes()).is_ok());
    Ok(op.weight == Format::Mxfp4
        && is_small
        && MoeParameters::is_for(small(run.rows)?, small(op.top_k)?, op.activation.format as u32))
}

/// Gate, up and SwiGLU; down and the sum.
fn enqueue_few_tokens(op: &MoeFfn, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
    let addend = match op.shared {
        Some(_) => {
            let x = quantized_input(op, session, run)?;
            shared_expert(op, session, run, x)?
        }
        None => 0,
    };
    let [gate_up, down] = [run.weights(0)?, run.weights(1)?];
    let parameters = MoeParameters {
        x: session.input(run.operand(0)?)?,
        ids: session.input(run.operand(1)?)?,
        weights: session.input(run.operand(2)?)?,
        expert_map: run.input_or_none(session, 3)?,
        gate_up: gate_up.data,
        gate_up_scales: gate_up.scales,
        gate_up_bias: run.input_or_none(session, 4)?,
        down: down.data,
        down_scales: down.scales,
        down_bias: run.input_or_none(session, 5)?,
        addend,
        activated: session.scratch(run.rows * op.top_k, Format::Bf16.row_bytes(op.inner))?,
        y: session.output(run.operand(6)?)?,
        gate_up_stride: gate_up.matrix.row_bytes() as u64,
        gate_up_scales_stride: gate_up.matrix.row_scales() as u64,
        down_stride: down.matrix.row_bytes() as u64,
        down_scales_stride: down.matrix.row_scales() as u64,
        tokens: small(run.rows)?,
        hidden: small(op.hidden)?,
        inner: small(op.inner)?,
        experts: small(op.experts)?,
        mapped: small(op.mapped.unwrap_or(0))?,
        top_k: small(op.top_k)?,
        format: op.activation.format as u32,
        rule: op.activation.rule as u32,
        amax_floor: op.activation.amax_floor,
        variant: op.form.variant as u32,
        interleaved: op.form.interleaved.into(),
        limit: op.form.limit,
        alpha: op.form.alpha,
        weight_before: (op.weight_position == WeightPosition::BeforeDown).into(),
        w_halves: gate_up.matrix.is_in_halves().into(),
        addend_format: Format::Bf16 as u32,
        output: op.output as u32,
        reserved: 0,
    };
    for launch in parameters.launches() {
        session.launch(&launch, parameters)?;
    }
    Ok(())
}

/// Where each slot's row is.
fn place(op: &MoeFfn, session: &mut Session<'_>, run: &Run<'_>, slots: usize) -> Result<Place> {
    let place = Place {
        ids: session.input(run.operand(1)?)?,
        expert_map: run.input_or_none(session, 3)?,
        mapped: op.mapped.unwrap_or(0),
        experts: op.experts,
        slots,
        counts: session.scratch(op.experts, 4)?,
        source: session.scratch(slots, 4)?,
        positions: session.scratch(slots, 4)?,
    };
    place.enqueue(session)?;
    Ok(place)
}

/// Gate and up, SwiGLU, down: of the experts, or of the one that every token passes.
struct FeedForward<'a> {
    x: Rows,
    rows: usize,
    inner: usize,
    form: SwiGluForm,
    /// F32 by row; 0 for none.
    row_weights: u64,
    /// I32 by group; 0 for one group.
    counts: u64,
    groups: usize,
    weights: [&'a Operands; 2],
    /// F32 `[groups, n]`; 0 for none.
    biases: [u64; 2],
}

impl FeedForward<'_> {
    /// Where the rows of down are, BF16 `[rows, hidden]`.
    fn enqueue(&self, session: &mut Session<'_>, op: &MoeFfn) -> Result<u64> {
        let (rows, inner) = (self.rows, self.inner);
        let gate_up = self.product(session, 0, self.x, 2 * inner, op.hidden)?;
        let gate = Gate {
            x: gate_up,
            input: Format::Bf16,
            row_weights: self.row_weights,
            rows,
            columns: inner,
            form: self.form,
        };
        let gated = Rows::scratch(session, op.activation.format, rows, inner)?;
        gate.enqueue(session, &op.activation, &gated)?;
        self.product(session, 1, gated, op.hidden, inner)
    }

    /// Where one of the two products is, BF16 `[rows, n]`.
    fn product(&self, session: &mut Session<'_>, which: usize, a: Rows, n: usize, k: usize) -> Result<u64> {
        let y = session.scratch(self.rows, Format::Bf16.row_bytes(n))?;
        let product = Multiply {
            a: a.into(),
            weights: self.weights[which],
            bias: self.biases[which],
            counts: self.counts,
            y,
            output: Format::Bf16,
            m: self.rows,
            n,
            k,
            groups: self.groups,
        };
        product.enqueue(session)?;
        Ok(y)
    }
}
