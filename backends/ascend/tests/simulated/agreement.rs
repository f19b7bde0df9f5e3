//! The CPU backend and this one: the same bits wherever there is one right answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mxhal_ascend::Ascend;
use mxhal_conformance::check;
use mxhal_conformance::outcome::Outcome;
use mxhal_conformance::subject::Subject;
use mxhal_conformance::suite::SuiteKind;
use mxhal_core::op::{GroupedMatmul, Matmul};
use mxhal_core::{Device, Format, HostBuffer, HostTensor, Layout, Quantization, WeightsDesc};
use mxhal_cpu::Cpu;
use mxhal_ffi::HostOptions;
use mxhal_simulated_cann_install::{Libraries, Variant};
use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::rig::{LIBRARY, run_on};

/// An installation of a simulated CANN, and the options that lead to it.
fn simulated() -> (HostOptions, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    mxhal_simulated_cann_install::install(folder.path(), &LIBRARY, Variant::All, Libraries::Split).unwrap();
    let cann = ("cann_path".to_owned(), folder.path().display().to_string());
    (HostOptions { options: vec![cann], log: None }, folder)
}

/// Both, this backend on a simulated CANN.
fn both() -> (Subject, Subject, TempDir) {
    let (options, folder) = simulated();
    let ascend = mxhal_ffi::embedded::<Ascend>(&options).unwrap();
    let cpu = mxhal_ffi::embedded::<Cpu>(&HostOptions::default()).unwrap();
    (Subject::new(cpu, 0).unwrap(), Subject::new(ascend, 0).unwrap(), folder)
}

#[test]
fn what_has_one_right_answer_is_the_same_bits_on_both() {
    let (mut cpu, mut ascend, _folder) = both();
    let mut agreed = BTreeMap::new();
    for suite in [SuiteKind::Exact, SuiteKind::Special] {
        for case in suite.cases(0) {
            let digest = |subject: &mut Subject| match case.run(subject) {
                Outcome::Pass(measures) => measures.digest,
                Outcome::NotSupported { .. } | Outcome::Skipped { .. } => None,
                wrong => panic!("{}: {wrong:?}", case.name),
            };
            if let Some(here) = digest(&mut ascend) {
                assert_eq!(digest(&mut cpu), Some(here), "{}", case.name);
                *agreed.entry(suite.name()).or_insert(0) += 1;
            }
        }
    }
    // Of each suite, and not a few.
    assert!(agreed.len() == 2 && agreed.values().sum::<i32>() > 150, "{agreed:?}");
}

#[test]
fn what_may_err_stays_within_its_bounds_and_what_is_declared_of_bits_holds() {
    let (options, _folder) = simulated();
    let ascend = || mxhal_ffi::embedded::<Ascend>(&options);
    for suite in [check::bounded, check::determinism] {
        let summary = suite(&ascend).unwrap();
        assert!(summary.passed > 20, "{summary:?}");
    }
}

/// A stack of experts' matrices as a golden checkpoint has them.
struct Stack {
    format: Format,
    n: usize,
    k: usize,
    /// Elements and scales of each.
    parts: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Every stack of the golden checkpoints of DeepSeek V4 and gpt-oss.
fn golden_stacks() -> Vec<(String, Stack)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/golden");
    let read = |file: &str| fs::read(golden.join(file)).unwrap();
    let mut stacks = Vec::new();

    let file = read("deepseek_v4_tiny/model-00001-of-00001.safetensors");
    let deepseek = SafeTensors::deserialize(&file).unwrap();
    for layer in 0..2 {
        for matrix in ["w1", "w2", "w3"] {
            let stack = |format, experts: &[String]| {
                let parts = experts.iter().map(|expert| {
                    let tensor = |part: &str| {
                        deepseek.tensor(&format!("layers.{layer}.ffn.{expert}.{matrix}.{part}")).unwrap()
                    };
                    (tensor("weight").data().to_vec(), tensor("scale").data().to_vec())
                });
                let name = format!("layers.{layer}.ffn.{}.{matrix}.weight", experts[0]);
                let [n, bytes] = deepseek.tensor(&name).unwrap().shape()[..] else {
                    panic!("{name} is a matrix")
                };
                (name, Stack { format, n, k: bytes * 8 / format.bits(), parts: parts.collect() })
            };
            let experts: Vec<String> = (0..16).map(|expert| format!("experts.{expert}")).collect();
            stacks.push(stack(Format::Mxfp4, &experts));
            stacks.push(stack(Format::Fp8Tile128, &["shared_experts".to_owned()]));
        }
    }

    let file = read("gpt_oss_tiny/model.safetensors");
    let gpt_oss = SafeTensors::deserialize(&file).unwrap();
    for matrix in ["gate_up_proj", "down_proj"] {
        let tensor = |part| gpt_oss.tensor(&format!("model.layers.0.mlp.experts.{matrix}_{part}")).unwrap();
        let (blocks, scales) = (tensor("blocks"), tensor("scales"));
        let [experts, n, of_row, bytes] = blocks.shape()[..] else { panic!("{matrix} has four dimensions") };
        let parts = blocks.data().chunks(n * of_row * bytes).zip(scales.data().chunks(n * of_row));
        let parts: Vec<_> = parts.map(|(data, scales)| (data.to_vec(), scales.to_vec())).collect();
        assert_eq!(parts.len(), experts);
        stacks.push((matrix.to_owned(), Stack { format: Format::Mxfp4, n, k: of_row * bytes * 2, parts }));
    }
    stacks
}

/// Rows of BF16, each with four small whole numbers in one block of 32: their products with one row of weights are of one
/// scale, and exact in any order, whatever the scales of the others.
fn rows_of_one_block(rows: usize, k: usize) -> HostBuffer {
    let mut x = HostBuffer::zeroed(Layout::contiguous(Format::Bf16, &[rows, k]).unwrap());
    for row in 0..rows {
        let block = row % (k / 32) * 32;
        for (place, value) in [(0, 0x3f80_u16), (7, 0xbf80), (12, 0x4000), (25, 0xc000)] {
            let column = block + (place + row) % 32;
            let at = 2 * (row * k + column);
            x.data[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    x
}

#[test]
fn the_bytes_of_the_golden_checkpoints_give_the_same_bits_on_both() {
    let (cpu, ascend, _folder) = both();
    let schemes = [
        Quantization::none(),
        Quantization::new(Format::Mxfp8),
        Quantization::deepseek(),
        Quantization::new(Format::Mxfp4),
    ];
    let mut compared = 0;
    for (name, stack) in golden_stacks() {
        let Stack { format, n, k, parts } = stack;
        let groups = parts.len();
        let rows = 3 * groups + 1;
        // Of some experts one row more, and of the last none.
        let counts: Vec<i32> = (0..groups).map(|group| 3 - (group as i32 % 2)).collect();
        let mut count_tensor = HostBuffer::zeroed(Layout::contiguous(Format::I32, &[groups]).unwrap());
        count_tensor.data = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        for activation in schemes {
            // Nobody has a product of MXFP4 activations and tiles.
            if format == Format::Fp8Tile128 && activation.format == Format::Mxfp4 {
                continue;
            }
            let each = Matmul { weight: format, ..Matmul::mxfp4(rows, n, k, activation) };
            let run = |device: &Arc<dyn Device>, stream: &Subject| {
                let desc = WeightsDesc { format, groups, n, k, activation: activation.format };
                let layout = Layout::contiguous(format, &[n, k]).unwrap();
                let tensors: Vec<_> = parts
                    .iter()
                    .map(|(data, scales)| HostTensor::new(layout, data, scales, &[]).unwrap())
                    .collect();
                let weights = device.prepare_weights(&desc, &tensors).unwrap();
                let exported = weights.export().unwrap();
                assert!(exported.data == parts.iter().flat_map(|(data, _)| data.clone()).collect::<Vec<_>>());
                assert!(
                    exported.scales
                        == parts.iter().flat_map(|(_, scales)| scales.clone()).collect::<Vec<_>>()
                );
                let y = HostBuffer::zeroed(Layout::contiguous(Format::F32, &[rows, n]).unwrap());
                let mut tensors =
                    [Some(rows_of_one_block(rows, k)), Some(count_tensor.clone()), None, Some(y)];
                let op = GroupedMatmul { each, groups };
                run_on(device, stream.stream(), op.into(), rows, &mut tensors, &[&*weights]).unwrap();
                tensors[3].take().unwrap().data
            };
            let (expected, got) = (run(cpu.device(), &cpu), run(ascend.device(), &ascend));
            assert!(expected.iter().any(|byte| *byte != 0), "{name}: the products are not all zero");
            assert!(expected == got, "{name} by {}", activation.format);
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * 3 * (4 + 3) + 2 * 4);
}
