//! Option `executors = "repeat"`: plans that enqueue again what an earlier run enqueued, at other addresses.

use std::fs;
use std::sync::Arc;

use mxhal_core::op::{GroupedMatmul, Matmul, Quantize};
use mxhal_core::{
    Buffer, Format, HostBuffer, HostTensor, Layout, Op, Plan, Quantization, Result, Stream, Tensor, Weights,
    buffer,
};
use mxhal_simulated_cann_install::{Libraries, Variant};

use crate::rig::{Rig, in_a_child, noise};

fn repeating() -> Rig {
    Rig::with(Variant::All, Libraries::Split, |options| options.repeats_executors = true)
}

/// Tensors of a run: small numbers, other ones for each seed, and outputs of zeros.
fn inputs(op: &Op, rows: usize, seed: u32) -> Vec<Option<HostBuffer>> {
    let one = |argument: &mxhal_core::op::Argument| {
        let mut tensor = HostBuffer::zeroed(argument.layout(rows).unwrap());
        match tensor.layout.format() {
            Format::Bf16 => {
                let bits = noise(seed).map(|bits| ((bits & 0x80ff) | 0x3f00) as u16);
                tensor.data = bits.take(tensor.data.len() / 2).flat_map(u16::to_le_bytes).collect();
            }
            Format::Mxfp4 => {
                tensor.data = noise(seed).take(tensor.data.len()).map(|bits| bits as u8).collect();
                tensor.scales.fill(127);
            }
            Format::I32 => tensor.data[4 * (seed as usize % 2)] = rows as u8,
            _ => {}
        }
        argument.present.then_some(tensor)
    };
    op.arguments().iter().map(one).collect()
}

fn weights(rig: &Rig, op: &Op, seed: u32) -> Vec<Arc<dyn Weights>> {
    let one = |desc: &mxhal_core::WeightsDesc| {
        let mut values = HostBuffer::zeroed(Layout::contiguous(Format::Mxfp4, &[desc.n, desc.k]).unwrap());
        values.data = noise(seed).take(values.data.len()).map(|bits| bits as u8).collect();
        values.scales.fill(127);
        let part = HostTensor::new(values.layout, &values.data, &values.scales, &[]).unwrap();
        rig.device.prepare_weights(desc, &vec![part; desc.groups]).unwrap()
    };
    op.weights().iter().map(one).collect()
}

/// A run that is enqueued and not waited for.
struct Enqueued {
    tensors: Vec<Option<HostBuffer>>,
    views: Vec<Option<Tensor>>,
    _held: Vec<Buffer>,
    _weights: Vec<Arc<dyn Weights>>,
}

fn enqueue(
    rig: &Rig,
    stream: &dyn Stream,
    plan: &dyn Plan,
    op: &Op,
    rows: usize,
    seed: u32,
) -> Result<Enqueued> {
    let (tensors, weights) = (inputs(op, rows, seed), weights(rig, op, seed));
    let (mut held, mut views) = (Vec::new(), Vec::new());
    for tensor in &tensors {
        let view = tensor.as_ref().map(|tensor| {
            let (buffer, view) = Buffer::tensor(&rig.device, tensor.layout).unwrap();
            buffer::write(stream, view.data(), &tensor.data).unwrap();
            buffer::write(stream, view.scales(), &tensor.scales).unwrap();
            held.push(buffer);
            view
        });
        views.push(view);
    }
    let workspace = Buffer::new(&rig.device, plan.info().workspace_bytes)?;
    let references: Vec<&dyn Weights> = weights.iter().map(|weights| &**weights).collect();
    plan.run(stream, &views, &references, workspace.span())?;
    held.push(workspace);
    Ok(Enqueued { tensors, views, _held: held, _weights: weights })
}

impl Enqueued {
    /// The outputs' bytes.
    fn outputs(mut self, stream: &dyn Stream) -> Vec<Vec<u8>> {
        stream.synchronize(None).unwrap();
        for (tensor, view) in self.tensors.iter_mut().zip(&self.views) {
            let (Some(tensor), Some(view)) = (tensor, view) else { continue };
            buffer::read(stream, view.data(), &mut tensor.data).unwrap();
            buffer::read(stream, view.scales(), &mut tensor.scales).unwrap();
        }
        self.tensors.into_iter().flatten().flat_map(|tensor| [tensor.data, tensor.scales]).collect()
    }
}

fn operators() -> Vec<Op> {
    let mxfp4 = Quantization::new(Format::Mxfp4).with_rule(mxhal_core::ScaleRule::Floor);
    let each = Matmul::mxfp4(5, 6, 96, mxfp4);
    let to = Quantization::new(Format::Mxfp8);
    vec![
        Quantize { rows: 5, k: 96, input: Format::Bf16, to }.into(),
        // Without a kernel of ours, and with copies: the scales of a row are no pairs.
        Matmul { input: Format::Mxfp4, ..each }.into(),
        each.into(),
        Matmul::mxfp4(5, 6, 96, Quantization::new(Format::Mxfp8)).into(),
        GroupedMatmul { each, groups: 2 }.into(),
    ]
}

#[test]
fn runs_with_other_tensors_give_the_bits_of_runs_that_prepare_anew() {
    let (repeating, once) = (repeating(), Rig::new());
    for op in operators() {
        let plans = [&repeating, &once].map(|rig| rig.device.prepare(&op).unwrap());
        // Rows that come again, and rows that are new.
        for (seed, rows) in [(1, 5), (2, 5), (3, 3), (4, 5), (5, 3)] {
            let [again, anew] = [(&repeating, &plans[0]), (&once, &plans[1])].map(|(rig, plan)| {
                enqueue(rig, &*rig.stream, &**plan, &op, rows, seed).unwrap().outputs(&*rig.stream)
            });
            assert!(again == anew, "{op:?}, {rows} rows, seed {seed}");
            assert!(again.iter().flatten().any(|byte| *byte != 0));
        }
    }
}

#[test]
fn runs_that_wait_on_streams_do_not_share_executors() {
    let rig = repeating();
    let streams = [rig.device.create_stream().unwrap(), rig.device.create_stream().unwrap()];
    let op = operators().remove(1);
    let plan = rig.device.prepare(&op).unwrap();
    let alone = |seed| enqueue(&rig, &*rig.stream, &*plan, &op, 5, seed).unwrap().outputs(&*rig.stream);
    let wanted: Vec<_> = (1..5).map(alone).collect();
    let waiting: Vec<_> = (1..5)
        .map(|seed| {
            let stream = &*streams[seed % 2];
            (stream, enqueue(&rig, stream, &*plan, &op, 5, seed as u32).unwrap())
        })
        .collect();
    for ((stream, enqueued), wanted) in waiting.into_iter().zip(wanted) {
        assert!(enqueued.outputs(stream) == wanted);
    }
}

#[test]
fn the_first_phase_is_gone_through_once_more_and_then_never_again() {
    let name = "programs::the_first_phase_is_gone_through_once_more_and_then_never_again";
    // 1, 2, 4 and 5 rows are measured; the recording is the fifth call, and the sixth would fail.
    if in_a_child(name, &[("MXHAL_SIM_FAIL", "aclnnQuantMatmulV5GetWorkspaceSize:6:561000")]) {
        let rig = repeating();
        let op = operators().remove(1);
        let plan = rig.device.prepare(&op).unwrap();
        for seed in 1..6 {
            enqueue(&rig, &*rig.stream, &*plan, &op, 5, seed).unwrap().outputs(&*rig.stream);
        }
        let error = enqueue(&rig, &*rig.stream, &*plan, &op, 3, 1).err().unwrap();
        assert_eq!(error.vendor_code(), 561_000, "other rows are another recording");
    }
}

#[test]
fn what_cann_does_not_make_repeatable_runs_as_ever() {
    let name = "programs::what_cann_does_not_make_repeatable_runs_as_ever";
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("rules");
    // Those of four measurements are made repeatable to be destroyed; then comes the recording's.
    let refused = ("MXHAL_SIM_FAIL", "aclSetAclOpExecutorRepeatable:5:207000");
    if in_a_child(name, &[refused, ("MXHAL_SIM_REPORT", report.to_str().unwrap())]) {
        let rig = repeating();
        let op = operators().remove(1);
        let plan = rig.device.prepare(&op).unwrap();
        let run = |seed| enqueue(&rig, &*rig.stream, &*plan, &op, 5, seed).unwrap().outputs(&*rig.stream);
        let outputs: Vec<_> = [1, 2, 1].map(run).into();
        assert!(outputs[0] == outputs[2] && outputs[0] != outputs[1]);
        return;
    }
    let broken = fs::read_to_string(&report).unwrap();
    assert_eq!(
        broken.matches("aclSetAclOpExecutorRepeatable").count(),
        2,
        "refused once, in two words: {broken}"
    );
}
