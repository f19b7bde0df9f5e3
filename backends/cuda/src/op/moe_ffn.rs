//! MoeFfn: a layer of experts, composed.
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
//! | any | any | any | those above |
//!
//! A kernel that does a whole layer for few tokens is one more row of this table, above the one that always applies.

use mxhal_core::op::{Matmul, MoeFfn, SharedExpert, SwiGluForm, WeightPosition};
use mxhal_core::{Format, Refusal, Result};
use mxhal_kernels_cuda::parameters::CombineParameters;

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
        let (slots, tokens) = (self.tokens * self.top_k, self.tokens);
        check_products(self, offer, self.weight, slots, self.inner, self.experts)?;
        self.shared
            .map_or(Ok(()), |shared| check_products(self, offer, shared.weight, tokens, shared.inner, 1))
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let inputs = Inputs::of(session, run)?;
        let x = quantized(self, session, inputs.x, run.rows)?;
        let place = inputs.place(self, session, run.rows)?;
        let down = experts(self, session, run, &inputs, &place, &x)?;
        let addend = match self.shared {
            Some(shared) => every_token(self, session, run, &shared, x)?,
            None => 0,
        };
        let is_before = self.weight_position == WeightPosition::BeforeDown;
        let sum = CombineParameters {
            rows: down,
            positions: place.positions,
            weights: if is_before { 0 } else { inputs.weights },
            addend,
            y: session.output(run.operand(6)?)?,
            tokens: small(run.rows)?,
            columns: small(self.hidden)?,
            top_k: small(self.top_k)?,
            input: Format::Bf16 as u32,
            addend_format: Format::Bf16 as u32,
            output: self.output as u32,
        };
        session.launch(&sum.launch(), sum)
    }
}

/// Where the tensors that a layer reads lie, without gaps; 0 for those that are absent.
struct Inputs {
    x: u64,
    ids: u64,
    weights: u64,
    expert_map: u64,
    biases: [u64; 2],
}

impl Inputs {
    fn of(session: &mut Session<'_>, run: &Run<'_>) -> Result<Self> {
        Ok(Self {
            x: session.input(run.operand(0)?)?,
            ids: session.input(run.operand(1)?)?,
            weights: session.input(run.operand(2)?)?,
            expert_map: run.input_or_none(session, 3)?,
            biases: [run.input_or_none(session, 4)?, run.input_or_none(session, 5)?],
        })
    }

    /// Which slot goes to which row.
    fn place(&self, op: &MoeFfn, session: &mut Session<'_>, tokens: usize) -> Result<Place> {
        let slots = tokens * op.top_k;
        let place = Place {
            ids: self.ids,
            expert_map: self.expert_map,
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
}

/// Tokens in the format that is multiplied.
fn quantized(op: &MoeFfn, session: &mut Session<'_>, x: u64, tokens: usize) -> Result<Rows> {
    if op.activation.is_none() {
        return Ok(Rows { data: x, ..Rows::nowhere(Format::Bf16, op.hidden) });
    }
    let rows = Rows::scratch(session, op.activation.format, tokens, op.hidden)?;
    quantize::rows(session, (x, Format::Bf16), tokens, op.hidden, &op.activation, &rows)?;
    Ok(rows)
}

/// Where what the experts give lies, BF16 `[slots, hidden]`.
fn experts(
    op: &MoeFfn,
    session: &mut Session<'_>,
    run: &Run<'_>,
    inputs: &Inputs,
    place: &Place,
    x: &Rows,
) -> Result<u64> {
    let rows = Rows::scratch(session, x.format, place.slots, op.hidden)?;
    let (weights, row_weights) = match op.weight_position {
        WeightPosition::BeforeDown => (inputs.weights, session.scratch(place.slots, 4)?),
        _ => (0, 0),
    };
    permute::copy_rows(session, place, op.top_k, (x, &rows), (weights, row_weights))?;
    let experts = FeedForward {
        x: rows,
        rows: place.slots,
        inner: op.inner,
        form: op.form,
        row_weights,
        counts: place.counts,
        groups: op.experts,
        weights: [run.weights(0)?, run.weights(1)?],
        biases: inputs.biases,
    };
    experts.enqueue(session, op)
}

/// Where what the shared expert gives lies, BF16 `[tokens, hidden]`.
fn every_token(
    op: &MoeFfn,
    session: &mut Session<'_>,
    run: &Run<'_>,
    shared: &SharedExpert,
    x: Rows,
) -> Result<u64> {
    let limit = if shared.clamped { op.form.limit } else { 0.0 };
    let expert = FeedForward {
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
    expert.enqueue(session, op)
}

/// Both products of a feed-forward layer.
fn check_products(
    op: &MoeFfn,
    offer: &Offer,
    weight: Format,
    rows: usize,
    inner: usize,
    groups: usize,
) -> Result<(), Refusal> {
    let product = |n, k| Matmul { weight, ..Matmul::mxfp4(rows, n, k, op.activation) };
    product::check(offer, &product(inner.saturating_mul(2), op.hidden), groups)?;
    product::check(offer, &product(op.hidden, inner), groups)
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
