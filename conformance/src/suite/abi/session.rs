//! What a question works with: a device opened through the table, memory, a stream, and an operator that the plugin
//! supports with everything that its run takes.

use std::ops::Deref;

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm,
};
use mxhal_core::{
    Format, HostBuffer, Layout, Op, Quantization, Reason, Refusal, Support, Tensor, WeightsDesc,
};
use mxhal_ffi::convert;
use mxhal_ffi::sys::{self, mxhal_tensor};

use super::answer::{Finding, wrong};
use super::bytes::OpBytes;
use super::raw::{Address, Device, Plan, Raw, Stream, Weights};
use crate::outcome::Outcome;
use crate::subject::Subject;

/// For ever, for functions that wait.
pub(super) const FOREVER: u64 = u64::MAX;

/// A device that a question opened, with a stream and memory; all of it is let go at the end.
pub(super) struct Session<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) device: Device,
    pub(super) stream: Stream,
    memory: Vec<Address>,
    /// Whether the device is closed with it.
    owner: bool,
}

impl<'a> Session<'a> {
    pub(super) fn open(subject: &'a Subject) -> Finding<Self> {
        Self::at(Raw::new(subject.plugin()), subject.device_index())
    }

    /// The same through a table that was not given to the loader.
    pub(super) fn at(raw: Raw<'a>, index: u32) -> Finding<Self> {
        let mut device = Device::NULL;
        raw.device_open(index, Some(&mut device)).ok()?;
        Self::on(raw, device, true)
    }

    fn on(raw: Raw<'a>, device: Device, owner: bool) -> Finding<Self> {
        let mut session = Self { raw, device, stream: Stream::NULL, memory: Vec::new(), owner };
        raw.stream_create(device, Some(&mut session.stream)).ok()?;
        Ok(session)
    }

    /// Device memory, freed with the session.
    pub(super) fn allocate(&mut self, bytes: u64) -> Finding<Address> {
        let mut at = Address::NULL;
        self.raw.memory_alloc(self.device, bytes, Some(&mut at)).ok()?;
        self.memory.push(at);
        Ok(at)
    }

    /// Device memory for a tensor, every byte of it zero.
    fn tensor(&mut self, layout: Layout) -> Finding<mxhal_tensor> {
        let mut spans = [mxhal_core::Span::NONE; 3];
        let sizes = [layout.data_bytes(), layout.scales_bytes(), layout.factors_bytes()];
        for (span, bytes) in spans.iter_mut().zip(sizes.map(|bytes| bytes as u64)) {
            if bytes > 0 {
                let at = self.allocate(bytes)?;
                self.raw.fill(self.stream, at, 0, bytes).ok()?;
                *span = mxhal_core::Span { address: at.number(), bytes };
            }
        }
        let tensor = Tensor::new(layout, spans[0])
            .and_then(|tensor| tensor.with_scales(spans[1]))
            .and_then(|tensor| tensor.with_factors(spans[2]))
            .map_err(|error| wrong(format!("memory_alloc gave no place for {layout}: {error}")))?;
        Ok(convert::tensor_to_c(&tensor))
    }

    pub(super) fn wait(&self) -> Finding {
        self.raw.stream_synchronize(self.stream, FOREVER).ok()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // A question that failed has said so; what else goes wrong here is of no interest.
        let raw = self.raw;
        if !self.stream.is_null() {
            let _ = raw.stream_synchronize(self.stream, FOREVER);
        }
        for at in self.memory.drain(..) {
            let _ = raw.memory_free(self.device, at);
        }
        let _ = raw.stream_destroy(self.stream.take());
        if self.owner {
            let _ = raw.device_close(self.device.take());
        }
    }
}

/// A session with a plan of an operator that the plugin supports, and all that a run of it takes, of zeroes.
pub(super) struct Planned<'a> {
    session: Session<'a>,
    pub(super) op: Op,
    pub(super) bytes: OpBytes,
    pub(super) plan: Plan,
    pub(super) tensors: Vec<Option<mxhal_tensor>>,
    pub(super) weights: Vec<Weights>,
    pub(super) workspace: (Address, u64),
}

impl<'a> Planned<'a> {
    /// Any small operator that the plugin supports; the first of a list.
    pub(super) fn any(subject: &'a Subject) -> Finding<Self> {
        let op = supported(subject, &small_operators())?;
        Self::new(Session::open(subject)?, op)
    }

    /// A small operator with weights.
    pub(super) fn with_weights(subject: &'a Subject) -> Finding<Self> {
        let mut operators = small_operators();
        operators.retain(|op| !op.weights().is_empty());
        let op = supported(subject, &operators)?;
        Self::new(Session::open(subject)?, op)
    }

    /// Any small operator that the plugin supports, if it supports one, through a table that was not given to the loader.
    pub(super) fn at(raw: Raw<'a>, index: u32) -> Finding<Option<Self>> {
        for op in small_operators() {
            if let Some(planned) = Self::of(Session::at(raw, index)?, op)? {
                return Ok(Some(planned));
            }
        }
        Ok(None)
    }

    /// This operator, if the plugin supports it.
    pub(super) fn of(session: Session<'a>, op: Op) -> Finding<Option<Self>> {
        let mut answer: sys::mxhal_answer = convert::empty();
        session.raw.op_supports(session.device, Some(&OpBytes::new(&op)?), Some(&mut answer)).ok()?;
        if answer.yes == 0 { Ok(None) } else { Self::new(session, op).map(Some) }
    }

    /// The same device, plan and weights with a stream, tensors and a workspace of its own: for another thread. What
    /// is shared lives as long as its owner.
    pub(super) fn beside(shared: Shared<'a>) -> Finding<Self> {
        let Shared { raw, device, op, bytes, plan, weights } = shared;
        let session = Session::on(raw, device, false)?;
        let planned =
            Self { session, op, bytes, plan, weights, tensors: Vec::new(), workspace: (Address::NULL, 0) };
        planned.with_memory()
    }

    /// What other threads may use at the same time.
    pub(super) fn shared(&self) -> Shared<'a> {
        Shared {
            raw: self.raw,
            device: self.device,
            op: self.op,
            bytes: self.bytes.clone(),
            plan: self.plan,
            weights: self.weights.clone(),
        }
    }

    fn new(session: Session<'a>, op: Op) -> Finding<Self> {
        let raw = session.raw;
        let mut planned = Self {
            bytes: OpBytes::new(&op)?,
            session,
            op,
            plan: Plan::NULL,
            tensors: Vec::new(),
            weights: Vec::new(),
            workspace: (Address::NULL, 0),
        };
        raw.plan_create(planned.device, Some(&planned.bytes), Some(&mut planned.plan)).ok()?;
        for desc in op.weights() {
            let weights = prepare_zeroes(&planned.session, &desc)?;
            planned.weights.push(weights);
        }
        planned.with_memory()
    }

    fn with_memory(mut self) -> Finding<Self> {
        for argument in self.op.arguments() {
            let tensor = if argument.present {
                let layout = argument.layout(self.op.max_rows()).map_err(Outcome::from)?;
                Some(self.session.tensor(layout)?)
            } else {
                None
            };
            self.tensors.push(tensor);
        }
        let mut info: sys::mxhal_plan_info = convert::empty();
        self.raw.plan_info(self.plan, Some(&mut info)).ok()?;
        if info.workspace_bytes > 0 {
            self.workspace = (self.session.allocate(info.workspace_bytes)?, info.workspace_bytes);
        }
        self.wait()?;
        Ok(self)
    }

    /// Memory for one more tensor, every byte of it zero.
    pub(super) fn tensor(&mut self, layout: Layout) -> Finding<mxhal_tensor> {
        self.session.tensor(layout)
    }

    /// Runs it as it should be run, and waits.
    pub(super) fn run(&self) -> Finding {
        self.run_on(self.stream)?;
        self.wait()
    }

    /// Enqueues a run on a stream of the same device.
    pub(super) fn run_on(&self, stream: Stream) -> Finding {
        self.raw.plan_run(self.plan, stream, &self.passed(), &self.weights, self.workspace).ok()
    }

    /// The tensors as they are passed.
    pub(super) fn passed(&self) -> Vec<Option<&mxhal_tensor>> {
        self.tensors.iter().map(Option::as_ref).collect()
    }
}

impl<'a> Deref for Planned<'a> {
    type Target = Session<'a>;

    fn deref(&self) -> &Session<'a> {
        &self.session
    }
}

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        // The run may still be under way where a question gave up; see the session's own drop for the rest.
        let _ = self.wait();
        if !self.session.owner {
            return;
        }
        for weights in self.weights.drain(..) {
            let _ = self.session.raw.weights_destroy(weights);
        }
        let _ = self.session.raw.plan_destroy(self.plan.take());
    }
}

/// What threads share of a [`Planned`].
pub(super) struct Shared<'a> {
    raw: Raw<'a>,
    device: Device,
    op: Op,
    bytes: OpBytes,
    plan: Plan,
    weights: Vec<Weights>,
}

/// Host memory of zeroes for each part of weights: one a group.
pub(super) fn zero_parts(desc: &WeightsDesc) -> Finding<Vec<HostBuffer>> {
    zero_parts_of(desc, &vec![desc.n; desc.groups])
}

/// The same for parts of so many rows each.
pub(super) fn zero_parts_of(desc: &WeightsDesc, rows: &[usize]) -> Finding<Vec<HostBuffer>> {
    let part = |&rows: &usize| {
        let layout = Layout::contiguous(desc.format, &[rows, desc.k]).map_err(Outcome::from)?;
        Ok(HostBuffer::zeroed(layout))
    };
    rows.iter().map(part).collect()
}

/// The parts as they are passed. They live as long as the buffers.
pub(super) fn parts_to_c(parts: &[HostBuffer]) -> Finding<Vec<mxhal_tensor>> {
    let to_c = |part: &HostBuffer| Ok(convert::host_tensor_to_c(&part.view().map_err(Outcome::from)?));
    parts.iter().map(to_c).collect()
}

/// Weights of zeroes.
fn prepare_zeroes(session: &Session<'_>, desc: &WeightsDesc) -> Finding<Weights> {
    let buffers = zero_parts(desc)?;
    let parts = parts_to_c(&buffers)?;
    let parts: Vec<&mxhal_tensor> = parts.iter().collect();
    let desc = convert::weights_desc_to_c(desc).map_err(Outcome::from)?;
    let mut weights = Weights::NULL;
    session.raw.weights_prepare(session.device, Some(&desc), &parts, Some(&mut weights)).ok()?;
    Ok(weights)
}

/// The first of these that the plugin supports.
fn supported(subject: &Subject, operators: &[Op]) -> Finding<Op> {
    let mut refusal = Refusal { reason: Reason::Operator, text: "nothing was tried".to_owned() };
    for op in operators {
        match subject.device().supports(op).map_err(Outcome::from)? {
            Support::Yes(_) => return Ok(*op),
            Support::No(no) => refusal = no,
        }
    }
    let text =
        format!("none of {} small operators is supported; the last: {}", operators.len(), refusal.text);
    Err(Box::new(Outcome::NotSupported { reason: refusal.reason.name().to_owned(), text }))
}

/// One small operator of each kind that a plugin is likely to have, those without weights first.
pub(super) fn small_operators() -> Vec<Op> {
    let mxfp4 = Quantization::new(Format::Mxfp4);
    let mut operators: Vec<Op> = Vec::new();
    for output in [Format::F32, Format::Bf16] {
        operators.push(Dequantize { rows: 4, k: 64, from: Format::Mxfp4, output }.into());
        operators.push(Quantize { rows: 4, k: 64, input: output, to: mxfp4 }.into());
        operators.push(
            SwiGlu {
                rows: 4,
                n: 64,
                form: SwiGluForm::silu(0.0),
                input: output,
                row_weights: false,
                to: Quantization::new(output),
            }
            .into(),
        );
        operators.push(
            Combine { tokens: 4, columns: 64, top_k: 2, input: output, output, weighted: true, addend: None }
                .into(),
        );
    }
    operators.push(
        Permute {
            tokens: 4,
            columns: 64,
            experts: 4,
            top_k: 2,
            format: Format::Bf16,
            weights: true,
            mapped: None,
        }
        .into(),
    );
    operators.push(
        Route {
            tokens: 4,
            experts: 8,
            top_k: 2,
            score: Score::Softmax,
            bias: false,
            ids_given: false,
            renormalize: true,
            scale: 1.0,
        }
        .into(),
    );
    for activation in [
        Quantization::none(),
        Quantization::deepseek(),
        Quantization::new(Format::Mxfp8),
        Quantization::new(Format::Mxint8),
        mxfp4,
    ] {
        let each = Matmul::mxfp4(4, 64, 128, activation);
        operators.push(each.into());
        operators.push(Matmul { output: Format::Bf16, ..each }.into());
        operators.push(GroupedMatmul { each, groups: 2 }.into());
    }
    operators
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_operators_are_valid() {
        for op in small_operators() {
            op.validate().unwrap();
        }
    }
}
