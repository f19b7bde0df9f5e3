//! MoeFfn: the chain of products, SwiGLU and sum over the workspace, without the copies of a composition.
//!
//! The input is quantized once for each token, not for each of its experts, and the first product reads the tokens
//! where they are. Apart from that it is Permute, GroupedMatmul, SwiGlu, GroupedMatmul and Combine, with gate, up and
//! down in BF16 between them, and gives the same bits.

use std::iter;

use mxhal_core::op::{MoeFfn, SwiGluForm, WeightPosition};
use mxhal_core::{Format, Quantization, Result};

use super::combine::{self, Sum};
use super::permute::Sorted;
use super::product::{self, Chunk, Gather, Product};
use super::{Execute, Tensors, quantize, swiglu};
use crate::device::Shared;
use crate::pool::{Pool, Scratch};
use crate::view::Input;
use crate::weights::CpuWeights;
use crate::workspace::{RowMemory, Workspace, room};

impl Execute for MoeFfn {
    fn workspace_bytes(&self, pool: &Pool) -> u64 {
        let slots = self.tokens.saturating_mul(self.top_k);
        let mut bytes = Scratch::<f32>::room(pool, scratch_values(self))
            .saturating_add(Sorted::room(self.experts, slots))
            .saturating_add(Intermediates::room(self, slots, self.inner, self.experts));
        if quantizes(self) {
            let input = RowMemory::room(self.activation.format, [self.tokens, self.hidden]);
            bytes = bytes.saturating_add(input);
        }
        if let Some(expert) = self.shared {
            bytes = bytes.saturating_add(Intermediates::room(self, self.tokens, expert.inner, 1));
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
        let mut quantized;
        let mut input = x;
        if quantizes(self) {
            quantized = RowMemory::take(&mut workspace, self.activation.format, [tokens, self.hidden])?;
            quantize::rows(&shared.pool, &x, &self.activation, &mut quantized.output(), &mut scratch);
            input = quantized.input();
        }

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
        let mut memory = Intermediates::take(&mut workspace, self, sorted.rows, self.inner, self.experts)?;
        let row_weight = |row: usize| {
            // A row that there is has a source, and that is not negative.
            let slot = sorted.source[row] as usize;
            before.then(|| weight_of(slot / top_k, slot % top_k))
        };
        let rows = routed.run(shared, sorted.counts.iter().copied(), row_weight, &mut memory, &mut scratch);

        let mut shared_memory;
        let mut addend = None;
        if let Some(expert) = self.shared {
            let limit = if expert.clamped { self.form.limit } else { 0.0 };
            let every_token = FeedForward {
                x: input,
                gather: Gather::None,
                gate_up: (weights[2], None),
                down: (weights[3], None),
                form: SwiGluForm { limit, ..self.form },
                activation: self.activation,
                inner: expert.inner,
            };
            shared_memory = Intermediates::take(&mut workspace, self, tokens, expert.inner, 1)?;
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
        combine::combine(&shared.pool, &sum, &mut y, &mut scratch);
        Ok(())
    }
}

/// Whether the input, which is BF16, is quantized before it is multiplied.
fn quantizes(op: &MoeFfn) -> bool {
    product::quantizes(Format::Bf16, &op.activation)
}

/// Float32 values of scratch that each thread needs for the hungriest step.
fn scratch_values(op: &MoeFfn) -> usize {
    let inner = op.inner.max(op.shared.map_or(0, |expert| expert.inner));
    product::scratch_values(op.hidden.max(inner))
        .max(swiglu::scratch_values(inner))
        .max(combine::scratch_values(op.hidden))
}

/// What lies between the steps, for the experts or the shared one.
struct Intermediates<'a> {
    /// Gate and up in BF16; when they have been used, down.
    wide: RowMemory<'a>,
    /// The SwiGLU's output, as it is multiplied.
    narrow: RowMemory<'a>,
    chunks: &'a mut [Chunk],
    rows: usize,
}

impl<'a> Intermediates<'a> {
    fn room(op: &MoeFfn, rows: usize, inner: usize, groups: usize) -> u64 {
        RowMemory::room(Format::Bf16, [rows, Self::width(op, inner)])
            .saturating_add(RowMemory::room(op.activation.format, [rows, inner]))
            .saturating_add(room::<Chunk>(Chunk::most(rows, groups)))
    }

    fn take(
        workspace: &mut Workspace<'a>,
        op: &MoeFfn,
        rows: usize,
        inner: usize,
        groups: usize,
    ) -> Result<Self> {
        Ok(Self {
            wide: RowMemory::take(workspace, Format::Bf16, [rows, Self::width(op, inner)])?,
            narrow: RowMemory::take(workspace, op.activation.format, [rows, inner])?,
            chunks: workspace.take(Chunk::most(rows, groups))?,
            rows,
        })
    }

    fn width(op: &MoeFfn, inner: usize) -> usize {
        op.hidden.max(inner.saturating_mul(2))
    }
}

/// Gate and up, SwiGLU, down.
struct FeedForward<'a> {
    x: Input<'a>,
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
        &self,
        shared: &Shared,
        counts: impl Iterator<Item = i32>,
        row_weight: impl Fn(usize) -> Option<f32> + Sync,
        memory: &'m mut Intermediates<'_>,
        scratch: &mut Scratch<'_, f32>,
    ) -> Input<'m> {
        let Intermediates { wide, narrow, chunks, rows } = memory;
        let (rows, hidden) = (*rows, self.x.columns());
        let chunks = Chunk::divide(counts, chunks);

        let mut gate_up = wide.reshaped([rows, 2 * self.inner]);
        let (weights, bias) = self.gate_up;
        let product = Product { a: self.x, gather: self.gather, weights, bias };
        product::multiply(shared, &product, chunks, &mut gate_up.output(), scratch);

        let (form, to) = (&self.form, &self.activation);
        swiglu::rows(&shared.pool, form, &gate_up.input(), row_weight, to, &mut narrow.output(), scratch);

        let mut down = wide.reshaped([rows, hidden]);
        let (weights, bias) = self.down;
        let product = Product { a: narrow.input(), gather: Gather::None, weights, bias };
        product::multiply(shared, &product, chunks, &mut down.output(), scratch);
        down.into_input()
    }
}
