//! How long a layer of experts takes: the shape of DeepSeek V4 Flash by default, with random MXFP4 weights.
//!
//! `cargo run --release -p mxhal-cpu --example moe_layer -- [tokens [experts [threads]]]`

use std::error::Error;
use std::time::{Duration, Instant};

use mxhal_core::op::{MoeFfn, MoeFfnTensors, MoeFfnWeights, Operators, SwiGluForm, WeightPosition};
use mxhal_core::{Backend, Buffer, Format, HostTensor, Layout, Op, Quantization, WeightsDesc, buffer};
use mxhal_cpu::Cpu;

const HIDDEN: usize = 4096;
const INNER: usize = 2048;
const TOP_K: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (tokens, experts) = (number(8)?, number(32)?);
    let threads = number(std::thread::available_parallelism()?.get())?;

    let device = Cpu::new(&[("threads".to_owned(), threads.to_string())])?.open_device(0)?;
    let stream = device.create_stream()?;
    println!("{}, {threads} threads; {tokens} tokens, {experts} experts, top-{TOP_K}", device.info()?.name);

    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for activation in [Quantization::none(), Quantization::deepseek(), Quantization::new(Format::Mxint8)] {
        let mut weights = |n: usize, k: usize| {
            let layout = Layout::contiguous(Format::Mxfp4, &[n, k])?;
            let data: Vec<u8> = (0..layout.data_bytes()).map(|_| random() as u8).collect();
            let scales = vec![121; layout.scales_bytes()];
            let part = HostTensor::new(layout, &data, &scales, &[])?;
            let desc =
                WeightsDesc { format: Format::Mxfp4, groups: experts, n, k, activation: activation.format };
            device.prepare_weights(&desc, &vec![part; experts])
        };
        let (gate_up, down) = (weights(2 * INNER, HIDDEN)?, weights(HIDDEN, INNER)?);

        let op = MoeFfn {
            tokens,
            hidden: HIDDEN,
            inner: INNER,
            experts,
            top_k: TOP_K,
            weight: Format::Mxfp4,
            activation,
            form: SwiGluForm::silu(10.0),
            weight_position: WeightPosition::BeforeDown,
            bias: false,
            output: Format::Bf16,
            mapped: None,
            shared: None,
        };
        let plan = device.moe_ffn(op)?;
        let tensor =
            |format, columns| Buffer::tensor(&device, Layout::contiguous(format, &[tokens, columns])?);
        let (_x, x) = tensor(Format::Bf16, HIDDEN)?;
        let (_ids, ids) = tensor(Format::I32, TOP_K)?;
        let (_weights, routing) = tensor(Format::F32, TOP_K)?;
        let (_y, y) = tensor(Format::Bf16, HIDDEN)?;
        let workspace = Buffer::new(&device, plan.info().workspace_bytes)?;

        // Numbers of some 1/128, either sign.
        let input: Vec<u8> =
            (0..tokens * HIDDEN).flat_map(|_| (0x3c00 | random() as u16 & 0x80ff).to_ne_bytes()).collect();
        buffer::write(&*stream, x.data(), &input)?;
        let mut chosen = Vec::new();
        for _ in 0..tokens {
            let first = random();
            chosen.extend((0..TOP_K).flat_map(|slot| (((first + 5 * slot) % experts) as i32).to_ne_bytes()));
        }
        buffer::write(&*stream, ids.data(), &chosen)?;
        buffer::write(&*stream, routing.data(), &[0.25f32.to_ne_bytes(); TOP_K].concat().repeat(tokens))?;

        let tensors = MoeFfnTensors {
            x,
            ids,
            weights: routing,
            expert_map: None,
            gate_up_bias: None,
            down_bias: None,
            y,
        };
        let weights = MoeFfnWeights { gate_up: &*gate_up, down: &*down, shared: None };
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            plan.run(&*stream, tensors, weights, workspace.span())?;
            stream.synchronize(None)?;
            best = best.min(start.elapsed());
        }
        let work = Op::from(op).work(tokens);
        println!(
            "{:>10}: {:8.1} ms, {:6.1} GFLOP/s, {:6.2} GB/s of weights, {:.1} MB of workspace",
            activation.format,
            best.as_secs_f64() * 1e3,
            work.flops as f64 / best.as_secs_f64() / 1e9,
            work.weight_bytes as f64 / best.as_secs_f64() / 1e9,
            plan.info().workspace_bytes as f64 / 1e6,
        );
    }
    Ok(())
}
