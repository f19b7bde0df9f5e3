//! What the tests share: a device with a stream, tensors made of values, values made of tensors, random numbers.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use mxhal_core::format::{bf16, dequantize_row, f16, quantize_row, tile};
use mxhal_core::op::{Operators, Permute, PermuteTensors};
use mxhal_core::{
    Backend, Buffer, Device, Format, HostTensor, Layout, PlanInfo, Quantization, Span, Stream, Tensor,
    Weights, WeightsDesc, buffer,
};
use mxhal_cpu::Cpu;
use mxhal_ffi::HostOptions;

/// A device and a stream of it.
pub(crate) struct Host {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) stream: Box<dyn Stream>,
}

impl Host {
    pub(crate) fn new(threads: usize) -> Self {
        Self::of(&[("threads", &threads.to_string())])
    }

    /// With each instruction set that this machine runs.
    pub(crate) fn each(threads: usize) -> Vec<Self> {
        let threads = threads.to_string();
        let isas = ["portable", "avx2", "avx512"].into_iter();
        let runs = isas.filter(|isa| Cpu::new(&[("isa".to_owned(), (*isa).to_owned())]).is_ok());
        runs.map(|isa| Self::of(&[("threads", &threads), ("isa", isa)])).collect()
    }

    /// As an engine has it, which calls through the C table.
    pub(crate) fn behind_the_table(threads: usize) -> Self {
        let options = vec![("threads".to_owned(), threads.to_string())];
        let options = HostOptions { options, ..HostOptions::default() };
        Self::on(&mxhal_ffi::embedded::<Cpu>(&options).unwrap())
    }

    fn of(options: &[(&str, &str)]) -> Self {
        let options: Vec<(String, String)> =
            options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::on(&Cpu::new(&options).unwrap())
    }

    fn on(backend: &dyn Backend) -> Self {
        let device = backend.open_device(0).unwrap();
        let stream = device.create_stream().unwrap();
        Self { device, stream }
    }

    /// A tensor with these contents.
    pub(crate) fn upload(&self, rows: &Rows) -> Resident {
        let resident = self.poisoned(rows.format, &rows.shape);
        let view = resident.view;
        buffer::write(&*self.stream, view.data(), &rows.data).unwrap();
        buffer::write(&*self.stream, view.scales(), &rows.scales).unwrap();
        buffer::write(&*self.stream, view.factors(), &rows.factors).unwrap();
        resident
    }

    /// A tensor every byte of which is [`POISON`].
    pub(crate) fn poisoned(&self, format: Format, shape: &[usize]) -> Resident {
        let layout = Layout::contiguous(format, shape).unwrap();
        let (buffer, view) = Buffer::tensor(&self.device, layout).unwrap();
        self.stream.fill(buffer.span(), POISON).unwrap();
        Resident { _buffer: buffer, view }
    }

    /// What is in a tensor.
    pub(crate) fn download(&self, resident: &Resident) -> Rows {
        let view = resident.view;
        let bytes = |span: Span| {
            let mut bytes = vec![0; span.bytes as usize];
            buffer::read(&*self.stream, span, &mut bytes).unwrap();
            bytes
        };
        Rows {
            format: view.layout().format(),
            shape: view.layout().shape().to_vec(),
            data: bytes(view.data()),
            scales: bytes(view.scales()),
            factors: bytes(view.factors()),
        }
    }

    pub(crate) fn workspace(&self, info: &PlanInfo) -> Buffer {
        Buffer::new(&self.device, info.workspace_bytes).unwrap()
    }

    /// Tokens in order of their experts, in tensors that were poisoned before.
    pub(crate) fn permute(
        &self,
        op: Permute,
        [x, ids]: [&Resident; 2],
        [weights, expert_map]: [Option<&Resident>; 2],
    ) -> Permuted {
        let plan = self.device.permute(op).unwrap();
        let workspace = self.workspace(plan.info());
        let slots = op.tokens * op.top_k;
        let permuted = Permuted {
            rows: self.poisoned(op.format, &[slots, op.columns]),
            row_weights: op.weights.then(|| self.poisoned(Format::F32, &[slots])),
            counts: self.poisoned(Format::I32, &[op.experts]),
            source: self.poisoned(Format::I32, &[slots]),
            positions: self.poisoned(Format::I32, &[op.tokens, op.top_k]),
        };
        let view = |resident: Option<&Resident>| resident.map(|resident| resident.view);
        let tensors = PermuteTensors {
            x: x.view,
            ids: ids.view,
            weights: view(weights),
            expert_map: view(expert_map),
            rows: permuted.rows.view,
            row_weights: view(permuted.row_weights.as_ref()),
            counts: permuted.counts.view,
            source: permuted.source.view,
            positions: permuted.positions.view,
        };
        plan.run(&*self.stream, tensors, [], workspace.span()).unwrap();
        permuted
    }

    /// Weights of matrices, one for each group.
    pub(crate) fn weights(&self, matrices: &[Rows], activation: Format) -> Arc<dyn Weights> {
        let [n, k] = matrices[0].shape[..] else { panic!("a matrix has two extents") };
        let desc = WeightsDesc { format: matrices[0].format, groups: matrices.len(), n, k, activation };
        let parts: Vec<HostTensor<'_>> = matrices.iter().map(Rows::host).collect();
        self.device.prepare_weights(&desc, &parts).unwrap()
    }
}

pub(crate) const POISON: u8 = 0xa5;

/// A tensor on the device.
pub(crate) struct Resident {
    _buffer: Buffer,
    pub(crate) view: Tensor,
}

/// What a permutation writes.
pub(crate) struct Permuted {
    pub(crate) rows: Resident,
    /// Where the operator has weights.
    pub(crate) row_weights: Option<Resident>,
    pub(crate) counts: Resident,
    pub(crate) source: Resident,
    pub(crate) positions: Resident,
}

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) format: Format,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
    pub(crate) scales: Vec<u8>,
    pub(crate) factors: Vec<u8>,
}

impl Rows {
    /// Values rounded or quantized by the core.
    pub(crate) fn of(to: &Quantization, shape: &[usize], values: &[f32]) -> Self {
        let format = to.format;
        let columns = *shape.last().unwrap();
        let mut rows = Self::plain(format, shape, Vec::new());
        for values in values.chunks(columns) {
            match format {
                Format::F32 => {
                    rows.data.extend(values.iter().flat_map(|v| v.to_ne_bytes()));
                }
                Format::Bf16 => {
                    rows.data.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_ne_bytes()));
                }
                Format::F16 => {
                    rows.data.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_ne_bytes()));
                }
                _ => {
                    let mut data = vec![0; format.row_bytes(columns)];
                    let mut scales = vec![0; format.row_scales(columns)];
                    let factor = quantize_row(to, values, &mut data, &mut scales);
                    rows.data.extend(data);
                    rows.scales.extend(scales);
                    if format == Format::Nvfp4 {
                        rows.factors.extend(factor.to_ne_bytes());
                    }
                }
            }
        }
        rows
    }

    pub(crate) fn plain(format: Format, shape: &[usize], data: Vec<u8>) -> Self {
        Self { format, shape: shape.to_vec(), data, scales: Vec::new(), factors: Vec::new() }
    }

    pub(crate) fn integers(shape: &[usize], values: &[i32]) -> Self {
        Self::plain(Format::I32, shape, values.iter().flat_map(|v| v.to_ne_bytes()).collect())
    }

    pub(crate) fn floats(shape: &[usize], values: &[f32]) -> Self {
        Self::of(&Quantization::new(Format::F32), shape, values)
    }

    pub(crate) fn host(&self) -> HostTensor<'_> {
        let layout = Layout::contiguous(self.format, &self.shape).unwrap();
        HostTensor::new(layout, &self.data, &self.scales, &self.factors).unwrap()
    }

    pub(crate) fn to_integers(&self) -> Vec<i32> {
        self.data.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect()
    }

    /// All values, by the core's codecs.
    pub(crate) fn values(&self) -> Vec<f32> {
        let columns = *self.shape.last().unwrap();
        let rows: usize = self.shape[..self.shape.len() - 1].iter().product();
        let mut out = vec![0.0; rows * columns];
        if out.is_empty() {
            return out;
        }
        let pairs = || self.data.as_chunks::<2>().0.iter().map(|bytes| u16::from_ne_bytes(*bytes));
        match self.format {
            Format::F32 => {
                return self.data.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
            }
            Format::Bf16 => return pairs().map(bf16::to_f32).collect(),
            Format::F16 => return pairs().map(f16::to_f32).collect(),
            Format::Fp8Tile128 => tile::dequantize(rows, columns, &self.data, &self.scales, &mut out),
            format => {
                let (bytes, scales) = (format.row_bytes(columns), format.row_scales(columns));
                for (row, out) in out.chunks_mut(columns).enumerate() {
                    let factor = match self.factors.as_chunks().0 {
                        [] => 1.0,
                        [one] => f32::from_ne_bytes(*one),
                        many => f32::from_ne_bytes(many[row]),
                    };
                    let (data, scales) =
                        (&self.data[row * bytes..][..bytes], &self.scales[row * scales..][..scales]);
                    dequantize_row(format, data, scales, factor, out);
                }
            }
        }
        out
    }
}

/// Numbers from a seed (xorshift), which is printed, so that a failing test can be repeated with `MXHAL_SEED`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("MXHAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
        });
        println!("MXHAL_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between −1 and 1, over some powers of two.
    pub(crate) fn value(&mut self) -> f32 {
        let mantissa = (self.bits() & 0xff_ffff) as f32 / (1 << 23) as f32 - 1.0;
        mantissa * 0.5f32.powi(self.below(5) as i32)
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// A matrix of any format that weights have.
    pub(crate) fn matrix(&mut self, format: Format, n: usize, k: usize) -> Rows {
        if format != Format::Fp8Tile128 {
            return Rows::of(&Quantization::new(format), &[n, k], &self.values(n * k));
        }
        let mut rows = Rows::plain(format, &[n, k], Vec::new());
        let code = |bits: u64| if bits & 0x7f > 0x40 { bits as u8 & 0xbf } else { bits as u8 };
        rows.data = (0..n * k).map(|_| code(self.bits())).collect();
        rows.scales = (0..n.div_ceil(128) * k.div_ceil(128)).map(|_| 122 + self.below(6) as u8).collect();
        rows
    }
}

/// Half a unit in the last place of a number of this format.
pub(crate) fn half_ulp(format: Format, value: f64) -> f64 {
    let (bits, least) = match format {
        Format::F32 => (24, -126),
        Format::Bf16 => (8, -126),
        _ => (11, -14),
    };
    let exponent = if value == 0.0 { least } else { (value.abs().log2().floor() as i32).max(least) };
    2f64.powi(exponent - bits)
}

/// What a sum of `k` products may differ by: `γ · Σ|a||w| + ½ ulp(y)`.
pub(crate) fn sum_bound(format: Format, k: usize, value: f64, magnitude: f64) -> f64 {
    let ku = k as f64 * 2f64.powi(-23);
    let error = ku / (1.0 - ku) * magnitude;
    error + half_ulp(format, value.abs() + error)
}
