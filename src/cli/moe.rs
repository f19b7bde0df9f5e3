//! `mxhal moe`: one layer of a checkpoint on tensors of a file.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use mxhal::checkpoint::{Checkpoint, Dtype, FileTensor};
use mxhal::core::format::bf16;
use mxhal::core::op::WeightPosition;
use mxhal::core::{Format, HostTensor, Layout, Quantization};
use mxhal::moe::{Fusion, MoeLayer, MoeOptions, MoeOutput, MoePath, UnknownScheme, scheme};
use mxhal::{NewTensor, Runtime, TensorFile};
use serde_json::json;

use super::print;
use super::selection::Selection;
use super::terminal::Terminal;

const EXAMPLES: &str = "\
The input has `x` [T, hidden], BF16 or F32 (rounded to BF16), and for layers that look experts up by token,
`token_ids` [T], I64. The output has `y` [T, hidden] F32, `expert_ids` [T, k] I32 and `expert_weights` [T, k] F32.

Examples:
  mxhal moe --checkpoint DeepSeek-V4-Flash --layer 3 --input x.safetensors --output y.safetensors
  mxhal moe --checkpoint gpt-oss-20b --layer 0 --input x.safetensors --output y.safetensors --activation mxint8
  mxhal moe --checkpoint DeepSeek-V4-Flash --layer 3 --input x.safetensors --output y.safetensors --backend cuda --json";

/// Run one Mixture-of-Experts layer of a checkpoint
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Moe {
    /// The folder of the checkpoint: config.json and safetensors files
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// Which layer, from 0
    #[arg(long, value_name = "N")]
    layer: usize,

    /// The file with `x`, and `token_ids` for layers that look experts up
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// What activations are quantized to before each product: bf16 (not at all), mxfp8, mxfp8-g128, mxint8, mxfp4, nvfp4
    #[arg(long, value_name = "SCHEME", default_value = "bf16", value_parser = activation)]
    activation: Quantization,

    /// Where the routing weight multiplies, relative to the down projection [default: as the model's own code does]
    #[arg(long, value_enum, value_name = "PLACE")]
    weight: Option<Place>,

    /// Whether the shared expert's SwiGLU is clamped like the routed experts'
    #[arg(long, value_enum, value_name = "SWITCH", default_value = "on")]
    shared_clamp: Switch,

    /// Whether to use the backend's operator for the whole of the experts
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    fused: Fused,

    /// The most tokens of a run; more are run in chunks
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = max_tokens)]
    max_tokens: usize,

    /// Take scale bytes of 255 as the NaN that they are, and not as damage
    #[arg(long)]
    allow_nan_scales: bool,

    /// Write a summary as JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Fused {
    Auto,
    Never,
    Always,
}

fn activation(name: &str) -> Result<Quantization, UnknownScheme> {
    scheme(name)
}

fn max_tokens(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(tokens @ 1..) => Ok(tokens),
        _ => Err("expected an integer from 1".to_owned()),
    }
}

impl Moe {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let mut checkpoint = Checkpoint::open(&self.checkpoint)?;
        if self.allow_nan_scales {
            checkpoint = checkpoint.allow_nan_scales();
        }
        let file = TensorFile::open(&self.input)?;
        let x_tensor = file.tensor("x")?;
        let x_bytes = bf16_bytes(&x_tensor)?;
        let shape = [x_tensor.shape()[0], x_tensor.shape()[1]];
        let x = HostTensor::new(Layout::contiguous(Format::Bf16, &shape)?, &x_bytes, &[], &[])?;

        let spinner = terminal.spinner(format!("preparing layer {}", self.layer));
        let tensors = checkpoint.moe_layer(self.layer)?;
        let runtime = selection.runtime()?;
        let mut layer = MoeLayer::prepare(runtime.device(), &tensors, &self.options())?;
        let token_ids = if layer.needs_token_ids() { Some(token_ids(&file)?) } else { None };

        spinner.set_message(format!("{} tokens through layer {}", shape[0], self.layer));
        let stream = runtime.device().create_stream()?;
        let start = Instant::now();
        let output = layer.forward(&*stream, x, token_ids.as_deref())?;
        let seconds = start.elapsed().as_secs_f64();
        spinner.finish_and_clear();

        self.write(&output, shape, tensors.top_k)?;
        self.summarize(&Run { runtime: &runtime, path: layer.path(), output: &output, shape, seconds })?;
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> MoeOptions {
        MoeOptions {
            activation: self.activation,
            weight_position: self.weight.map(|place| match place {
                Place::Before => WeightPosition::BeforeDown,
                Place::After => WeightPosition::AfterDown,
            }),
            shared_clamped: self.shared_clamp == Switch::On,
            max_tokens: self.max_tokens,
            fusion: match self.fused {
                Fused::Auto => Fusion::Auto,
                Fused::Never => Fusion::Never,
                Fused::Always => Fusion::Always,
            },
        }
    }

    fn write(&self, output: &MoeOutput, shape: [usize; 2], top_k: usize) -> anyhow::Result<()> {
        let y: Vec<u8> = output.y.iter().flat_map(|value| value.to_le_bytes()).collect();
        let ids: Vec<u8> = output.expert_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let weights: Vec<u8> = output.expert_weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let slots = [shape[0], top_k];
        Ok(TensorFile::write(
            &self.output,
            &[
                NewTensor { name: "y", dtype: Dtype::F32, shape: &shape, bytes: &y },
                NewTensor { name: "expert_ids", dtype: Dtype::I32, shape: &slots, bytes: &ids },
                NewTensor { name: "expert_weights", dtype: Dtype::F32, shape: &slots, bytes: &weights },
            ],
        )?)
    }

    fn summarize(&self, run: &Run<'_>) -> anyhow::Result<()> {
        let Run { runtime, output, seconds, .. } = run;
        let tokens = run.shape[0];
        // The least time that a clock tells apart, so that an empty input divides by something.
        let seconds_or_tick = seconds.max(1e-9);
        let tokens_per_second = tokens as f64 / seconds_or_tick;
        let gigabytes_per_second = output.traffic.weight_bytes as f64 / 1e9 / seconds_or_tick;
        let (path, detail) = match &run.path {
            MoePath::Fused { kernel } => ("fused", kernel),
            MoePath::Composed { reason } => ("composed", reason),
        };
        eprintln!(
            "layer {}: {tokens} tokens in {:.3} ms, {tokens_per_second:.1} tokens/s, {gigabytes_per_second:.2} GB/s of \
             weights; {path} ({detail})",
            self.layer,
            seconds * 1e3
        );
        if !self.json {
            return Ok(());
        }
        let device = runtime.device().info()?;
        let summary = json!({
            "backend": runtime.report().name,
            "device": device.name,
            "architecture": device.architecture,
            "layer": self.layer,
            "activation": self.activation.format.name(),
            "path": path,
            "path_detail": detail,
            "tokens": tokens,
            "hidden": run.shape[1],
            "experts_read": output.traffic.experts,
            "weight_bytes_read": output.traffic.weight_bytes,
            "seconds": seconds,
            "tokens_per_second": tokens_per_second,
            "gigabytes_per_second": gigabytes_per_second,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&summary)?))
    }
}

/// A run, for the summary.
struct Run<'a> {
    runtime: &'a Runtime,
    path: MoePath,
    output: &'a MoeOutput,
    shape: [usize; 2],
    seconds: f64,
}

/// `x` as BF16; F32 is rounded.
fn bf16_bytes<'a>(x: &FileTensor<'a>) -> anyhow::Result<Cow<'a, [u8]>> {
    let (path, shape, dtype) = (x.path().display(), x.shape(), x.dtype());
    if shape.len() != 2 {
        bail!("{path}: `x` is {dtype} {shape:?}; expected [tokens, hidden]");
    }
    match dtype {
        Dtype::BF16 => Ok(Cow::Borrowed(x.bytes())),
        Dtype::F32 => {
            let values = x.bytes().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            Ok(Cow::Owned(values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect()))
        }
        _ => bail!("{path}: `x` is {dtype} {shape:?}; expected BF16, or F32, which is rounded to it"),
    }
}

fn token_ids(file: &TensorFile) -> anyhow::Result<Vec<i64>> {
    let tensor = file.tensor_of("token_ids", Dtype::I64)?;
    Ok(tensor.bytes().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}
