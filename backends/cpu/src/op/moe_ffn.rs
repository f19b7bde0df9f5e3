//! MoeFfn: the chain of products, SwiGLU and sum over the workspace, without the copies of a composition.
//!
//! The input is quantized once for each token, not for each of its experts, and the first product reads the tokens
//! where they are. Apart from that it is Permute, GroupedMatmul, SwiGlu, GroupedMatmul and Combine, with gate, up and
//! down in BF16 between them, and gives the same bits.
//!
//! The SwiGLU goes over all rows of gate and up, and quantizes and packs while it does. That it was done by the tasks of
//! the product instead, for the columns that each had just multiplied, cost more than it saved: gate and up of the same
//! columns lie far apart, and weights are read best from one end to the other (`docs/performance.md`).

use std::iter;

use mxhal_core::op::{MoeFfn, SharedExpert, SwiGluForm, WeightPosition};
use mxhal_core::{Format, Quantization, Result};

use super::activations::{Activations, Memory, Scheme};
use super::combine::{self, Sum};
use super::permute::Sorted;
use super::product::{self, Chunk, Gather, Product};
use super::{Execute, Tensors, swiglu};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::view::Input;
use crate::weights::CpuWeights;
use crate::workspace::{RowMemory, Workspace, room};

impl Execute for MoeFfn {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        let slots = self.tokens.saturating_mul(self.top_k);
        let mut bytes = Scratch::<f32>::room(&shared.pool, scratch_values(self))
            .saturating_add(Sorted::room(self.experts, slots))
            .saturating_add(input_scheme(self).room(shared, [self.tokens, self.hidden]))
            .saturating_add(Intermediates::room(shared, self, &Extents::of_experts(self, slots)));
        if let Some(expert) = &self.shared {
            let extents = Extents::of_shared(expert, self.tokens);
            bytes = bytes
                .saturating_add(shared_input_scheme(self, expert).room(shared, [self.tokens, self.hidden]))
                .saturating_add(Intermediates::room(shared, self, &extents));
        }
        bytes
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let x = tensors.input(0, "x")?;
        let ids = tensors.input(1, "ids")?;
        let routing = tensors.input(2, "weights")?;
        let expert_map = tensors.optional_input(3, "expert_map")?;
        let (gate_up_bias, down_bias) =
            (tensors.optional_input(4, "gate_up_bias")?, tensors.optional_input(5, "down_bias")?);
        let mut y = tensors.output(6, "y")?;
        let (tokens, top_k) = (x.rows(), self.top_k);

        let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_values(self))?;
        let sorted = Sorted::new(&mut workspace, &ids, expert_map.as_ref(), self.experts)?;
        let mut input = input_scheme(self).take(shared, &mut workspace, [tokens, self.hidden])?;
        let input = input.fill(shared, x, &mut scratch);

        let weight_of = |token: usize, slot: usize| routing.row(token).float(slot);
        let (before, after) = match self.weight_position {
            WeightPosition::BeforeDown => (true, false),
            _ => (false, true),
        };
        let routed = FeedForward {
            x: input,
            gather: Gather::Tokens { source: sorted.source, top_k },
            gate_up: (weights[0], gate_up_bias),
            down: (weights[1], down_bias),
            form: self.form,
            activation: self.activation,
            inner: self.inner,
        };
        let extents = Extents::of_experts(self, sorted.rows);
        let mut memory = Intermediates::take(shared, &mut workspace, self, &extents)?;
        let row_weight = |row: usize| {
            // A row that there is has a source, and that is not negative.
            let slot = sorted.source[row] as usize;
            before.then(|| weight_of(slot / top_k, slot % top_k))
        };
        let rows = routed.run(shared, sorted.counts.iter().copied(), row_weight, &mut memory, &mut scratch);

        let (mut shared_input, mut shared_memory);
        let mut addend = None;
        if let Some(expert) = &self.shared {
            let scheme = shared_input_scheme(self, expert);
            shared_input = scheme.take(shared, &mut workspace, [tokens, self.hidden])?;
            let limit = if expert.clamped { self.form.limit } else { 0.0 };
            let every_token = FeedForward {
                x: shared_input.fill(shared, x, &mut scratch),
                gather: Gather::None,
                gate_up: (weights[2], None),
                down: (weights[3], None),
                form: SwiGluForm { limit, ..self.form },
                activation: self.activation,
                inner: expert.inner,
            };
            let extents = Extents::of_shared(expert, tokens);
            shared_memory = Intermediates::take(shared, &mut workspace, self, &extents)?;
            let counts = iter::once(tokens as i32);
            addend = Some(every_token.run(shared, counts, |_| None, &mut shared_memory, &mut scratch));
        }

        let sum = Sum {
            rows,
            top_k,
            position: |token, slot| sorted.positions[token * top_k + slot],
            weight: |token, slot| after.then(|| weight_of(token, slot)),
            addend,
        };
        combine::combine(shared, &sum, &mut y, &mut scratch);
        Ok(())
    }
}

/// The tokens, for the experts.
fn input_scheme(op: &MoeFfn) -> Scheme {
    Scheme { input: Format::Bf16, activation: op.activation, weight: op.weight }
}

/// The tokens once more, for the shared expert, whose weights may be of another kind.
fn shared_input_scheme(op: &MoeFfn, expert: &SharedExpert) -> Scheme {
    Scheme { weight: expert.weight, ..input_scheme(op) }
}

/// Float32 values of scratch that each thread needs for the hungriest step.
fn scratch_values(op: &MoeFfn) -> usize {
    let inner = op.inner.max(op.shared.map_or(0, |expert| expert.inner));
    product::scratch_values(op.hidden.max(inner))
        .max(swiglu::scratch_values(inner))
        .max(combine::scratch_values(op.hidden))
}

/// How large the experts are together, or the shared one.
struct Extents {
    rows: usize,
    inner: usize,
    groups: usize,
    weight: Format,
}

impl Extents {
    fn of_experts(op: &MoeFfn, rows: usize) -> Self {
        Self { rows, inner: op.inner, groups: op.experts, weight: op.weight }
    }

    fn of_shared(expert: &SharedExpert, tokens: usize) -> Self {
        Self { rows: tokens, inner: expert.inner, groups: 1, weight: expert.weight }
    }
}

/// What lies between the steps, for the experts or the shared one.
struct Intermediates<'a> {
    /// Gate and up in BF16; when they have been used, down.
    wide: RowMemory<'a>,
    /// The SwiGLU's output, as it is multiplied.
    narrow: Memory<'a>,
    chunks: &'a mut [Chunk],
    rows: usize,
}

impl<'a> Intermediates<'a> {
    fn room(shared: &Shared, op: &MoeFfn, extents: &Extents) -> u64 {
        let Extents { rows, inner, groups, .. } = *extents;
        RowMemory::room(Format::Bf16, [rows, Self::width(op, inner)])
            .saturating_add(Self::scheme(op, extents).room(shared, [rows, inner]))
            .saturating_add(room::<Chunk>(Chunk::most(rows, groups)))
    }

    fn take(shared: &Shared, workspace: &mut Workspace<'a>, op: &MoeFfn, extents: &Extents) -> Result<Self> {
        let Extents { rows, inner, groups, .. } = *extents;
        Ok(Self {
            wide: RowMemory::take(workspace, Format::Bf16, [rows, Self::width(op, inner)])?,
            narrow: Self::scheme(op, extents).take(shared, workspace, [rows, inner])?,
            chunks: workspace.take(Chunk::most(rows, groups))?,
            rows,
        })
    }

    fn width(op: &MoeFfn, inner: usize) -> usize {
        op.hidden.max(inner.saturating_mul(2))
    }

    /// From the SwiGLU's float32.
    fn scheme(op: &MoeFfn, extents: &Extents) -> Scheme {
        Scheme { input: Format::F32, activation: op.activation, weight: extents.weight }
    }
}

/// Gate and up, SwiGLU, down.
struct FeedForward<'a> {
    x: Activations<'a>,
    gather: Gather<'a>,
    gate_up: (&'a CpuWeights, Option<Input<'a>>),
    down: (&'a CpuWeights, Option<Input<'a>>),
    form: SwiGluForm,
    activation: Quantization,
    inner: usize,
}

impl FeedForward<'_> {
    /// The rows of down, `[rows, hidden]` in BF16.
    fn run<'m>(
        self,
        shared: &Shared,
        counts: impl Iterator<Item = i32>,
        row_weight: impl Fn(usize) -> Option<f32> + Sync,
        memory: &'m mut Intermediates<'_>,
        scratch: &mut Scratch<'_, f32>,
    ) -> Input<'m> {
        let Intermediates { wide, narrow, chunks, rows } = memory;
        let (rows, inner, hidden) = (*rows, self.inner, self.x.rows.columns());
        let chunks = Chunk::divide(counts, chunks);

        let mut gate_up = wide.reshaped([rows, 2 * inner]);
        let (weights, bias) = self.gate_up;
        let product = Product { a: self.x, gather: self.gather, weights, bias };
        product::multiply(shared, &product, chunks, &mut gate_up.output(), scratch);

        let (form, to, gate_up) = (&self.form, &self.activation, gate_up.input());
        let a = narrow.make(shared, 32 * inner, scratch, |values, row, y| {
            swiglu::row(
                &shared.kernels.rows,
                form,
                &gate_up.row(row),
                row_weight(row),
                to,
                &mut values[..3 * inner],
                y,
            );
        });

        let mut down = wide.reshaped([rows, hidden]);
        let (weights, bias) = self.down;
        let product = Product { a, gather: Gather::None, weights, bias };
        product::multiply(shared, &product, chunks, &mut down.output(), scratch);
        down.into_input()
    }
}
