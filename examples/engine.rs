//! What an engine does with mxhal: weights are quantized to MXFP4, prepared for the device and multiplied by activations
//! in BF16; the result is checked against plain loops.
//!
//! ```sh
//! cargo run --release --example engine                  # on the embedded CPU backend
//! cargo run --release --example engine -- config.toml   # on the backend that the file names
//! ```

use std::error::Error;
use std::sync::Arc;

use mxhal::Runtime;
use mxhal::core::format::{bf16, dequantize_row};
use mxhal::core::op::{Matmul, MatmulTensors, Operators, Quantize, QuantizeTensors};
use mxhal::core::{Buffer, Device, Format, HostBuffer, Layout, Quantization, Stream, WeightsDesc, buffer};

const M: usize = 4;
const N: usize = 48;
const K: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = match std::env::args_os().nth(1) {
        Some(config) => Runtime::from_config(config)?,
        None => Runtime::embedded_cpu()?,
    };
    let device = runtime.device();
    let stream = device.create_stream()?;
    println!("device: {}", device.info()?.name);

    // A checkpoint would give MXFP4 at once; see `mxhal::checkpoint`.
    let w = wave(N * K, 0.7);
    let w = quantize(device, &*stream, &w)?;

    // Prepared once, in whatever layout the device likes, and used by every plan that wants them.
    let desc = WeightsDesc { format: Format::Mxfp4, groups: 1, n: N, k: K, activation: Format::Bf16 };
    let weights = device.prepare_weights(&desc, &[w.view()?])?;

    // Planned once, for at most M rows, and run often.
    let plan = device.matmul(Matmul::mxfp4(M, N, K, Quantization::none()))?;
    let workspace = Buffer::new(device, plan.info().workspace_bytes)?;
    let (input, a) = Buffer::tensor(device, Layout::contiguous(Format::Bf16, &[M, K])?)?;
    let (output, y) = Buffer::tensor(device, Layout::contiguous(Format::F32, &[M, N])?)?;

    let activations: Vec<u16> = wave(M * K, 1.3).into_iter().map(bf16::from_f32).collect();
    input.write(&*stream, &activations.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<_>>())?;
    plan.run(&*stream, MatmulTensors { a, bias: None, y }, [&*weights], workspace.span())?;
    let mut bytes = vec![0; M * N * 4];
    output.read(&*stream, &mut bytes)?;

    let y: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let worst = worst_error_over_bound(&w, &activations, &y);
    println!("y[0, 0..4] = {:?}", &y[..4]);
    println!("worst error: {:.2} % of what rounding in float32 may cost", worst * 100.0);
    if worst <= 1.0 { Ok(()) } else { Err("the product is wrong".into()) }
}

/// Quantizes `[N, K]` on the device, and brings the MXFP4 bytes back to the host.
fn quantize(device: &Arc<dyn Device>, stream: &dyn Stream, w: &[f32]) -> mxhal::core::Result<HostBuffer> {
    let to = Layout::contiguous(Format::Mxfp4, &[N, K])?;
    let plan = device.quantize(Quantize {
        rows: N,
        k: K,
        input: Format::F32,
        to: Quantization::new(Format::Mxfp4),
    })?;
    let workspace = Buffer::new(device, plan.info().workspace_bytes)?;
    let (input, x) = Buffer::tensor(device, Layout::contiguous(Format::F32, &[N, K])?)?;
    let (_output, y) = Buffer::tensor(device, to)?;
    input.write(stream, &w.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?;
    plan.run(stream, QuantizeTensors { x, y }, [], workspace.span())?;

    let mut quantized = HostBuffer::zeroed(to);
    buffer::read(stream, y.data(), &mut quantized.data)?;
    buffer::read(stream, y.scales(), &mut quantized.scales)?;
    Ok(quantized)
}

/// The largest error of `y = a · wᵀ`, in units of what K roundings of float32 may cost.
fn worst_error_over_bound(w: &HostBuffer, a: &[u16], y: &[f32]) -> f64 {
    let mut row = [0.0; K];
    let mut worst = 0f64;
    for n in 0..N {
        let (data, scales) = (Format::Mxfp4.row_bytes(K), Format::Mxfp4.row_scales(K));
        dequantize_row(
            Format::Mxfp4,
            &w.data[n * data..][..data],
            &w.scales[n * scales..][..scales],
            1.0,
            &mut row,
        );
        for m in 0..M {
            let terms = || (0..K).map(|k| f64::from(bf16::to_f32(a[m * K + k])) * f64::from(row[k]));
            let bound = K as f64 * f64::from(f32::EPSILON) * terms().map(f64::abs).sum::<f64>();
            worst = worst.max((f64::from(y[m * N + n]) - terms().sum::<f64>()).abs() / bound);
        }
    }
    worst
}

/// Numbers of different sizes and signs.
fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin() * (1.0 + (i % 7) as f32)).collect()
}
