//! How fast the kernels are, beside what this machine can do: `cargo run --release -p mxhal-cpu --example kernels`.
//!
//! Arguments, all optional: `threads=1,2 isa=avx512 schemes=mxint8,bf16 rows=1,8,512 k=4096 n=4096 moe=1,8,64,256`.
//!
//! Each line is the best of interleaved repeats, because a shared machine adds time and never takes any away;
//! one thread is measured by its own time on the processor. Up to 32
//! rows the weights are cycled over 256 MiB, so that they come from memory. The ceilings are measured in the same run:
//! reads of memory in GB/s, and `vpdpbusd` and `vdpbf16ps` in GFLOP/s, two operations for a product.

use std::env;
use std::hint::black_box;
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use mxhal_core::op::{
    Dequantize, DequantizeTensors, Matmul, MatmulTensors, MoeFfn, MoeFfnTensors, MoeFfnWeights, Operators,
    Quantize, QuantizeTensors, SwiGluForm, WeightPosition,
};
use mxhal_core::{
    Backend, Buffer, Device, Format, HostTensor, Layout, Quantization, Result, Span, Stream, Tensor, Weights,
    WeightsDesc, buffer,
};
use mxhal_cpu::Cpu;
use rustix::time::{ClockId, clock_gettime};

/// Weights that are cycled take at least this.
const CYCLED_BYTES: usize = 256 << 20;

/// Bytes that are read or copied at once when ceilings are measured: more than caches hold.
const SEGMENT: u64 = 64 << 20;

/// Repeats of everything, and seconds that they go on for.
const REPEATS: usize = 5;
const SECONDS: f64 = 0.4;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        let found = arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or(default).to_owned()
    };
    let numbers = |name: &str, default: &str| -> Vec<usize> {
        let text = option(name, default);
        text.split(',').filter(|t| !t.is_empty()).map(|t| t.parse().expect("a number")).collect()
    };
    let (k, n) = (numbers("k", "4096")[0], numbers("n", "4096")[0]);
    let schemes: Vec<Format> = option("schemes", "mxint8,bf16,mxfp8,mxfp4")
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().expect("a format"))
        .collect();
    for threads in numbers("threads", "1,2") {
        let bench = Bench::new(threads, &option("isa", ""))?;
        let ceilings = bench.ceilings()?;
        println!(
            "{} on {threads} threads: read {:.1} GB/s, copy {:.1} GB/s read and written, vpdpbusd {:.0} and \
             vdpbf16ps {:.0} GFLOP/s",
            bench.device.info()?.architecture,
            ceilings.read,
            ceilings.copy,
            ceilings.integers,
            ceilings.floats
        );
        for scheme in &schemes {
            for rows in numbers("rows", "1,2,4,8,16,64,512") {
                bench.dense(*scheme, [rows, n, k], &ceilings)?;
            }
        }
        for scheme in &schemes {
            for tokens in numbers("moe", "1,8,64,256") {
                bench.moe(*scheme, tokens, &ceilings)?;
            }
        }
        if !option("convert", "yes").is_empty() {
            bench.conversions(&ceilings)?;
        }
    }
    Ok(())
}

/// What this machine can do, in 10^9 bytes or operations a second.
struct Ceilings {
    read: f64,
    copy: f64,
    integers: f64,
    floats: f64,
}

/// Does the parts, each on a thread of its own.
fn each_part<T: Send>(threads: usize, parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    if threads == 1 {
        return parts.for_each(work);
    }
    std::thread::scope(|scope| {
        for part in parts {
            scope.spawn(|| work(part));
        }
    });
}

/// A sum over memory that the compiler turns into plain loads and additions.
fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in bytes.as_chunks::<256>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane ^= u64::from_ne_bytes(*word);
        }
    }
    lanes.iter().fold(0, |all, lane| all ^ lane)
}

/// An instruction that products are made of.
#[derive(Clone, Copy)]
enum Peak {
    Integers,
    Floats,
}

impl Peak {
    /// Operations of a run; 0 where this machine lacks the instruction.
    fn operations(self) -> f64 {
        #[cfg(target_arch = "x86_64")]
        if x86::available() {
            return (x86::INSTRUCTIONS * if matches!(self, Self::Integers) { 128 } else { 64 }) as f64;
        }
        0.0
    }

    /// Runs it.
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if x86::available() {
            // SAFETY: this machine has the instructions.
            unsafe {
                match self {
                    Self::Integers => x86::integers(),
                    Self::Floats => x86::floats(),
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    const TURNS: usize = 400_000;
    pub(super) const INSTRUCTIONS: usize = 12 * TURNS;

    pub(super) fn available() -> bool {
        is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bf16")
    }

    macro_rules! twelve {
        ($name:literal) => {
            asm!(
                "2:",
                concat!($name, " zmm0, zmm14, zmm15"), concat!($name, " zmm1, zmm14, zmm15"),
                concat!($name, " zmm2, zmm14, zmm15"), concat!($name, " zmm3, zmm14, zmm15"),
                concat!($name, " zmm4, zmm14, zmm15"), concat!($name, " zmm5, zmm14, zmm15"),
                concat!($name, " zmm6, zmm14, zmm15"), concat!($name, " zmm7, zmm14, zmm15"),
                concat!($name, " zmm8, zmm14, zmm15"), concat!($name, " zmm9, zmm14, zmm15"),
                concat!($name, " zmm10, zmm14, zmm15"), concat!($name, " zmm11, zmm14, zmm15"),
                "dec {turns}",
                "jnz 2b",
                turns = inout(reg) TURNS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                options(nomem, nostack),
            )
        };
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn integers() {
        // SAFETY: it changes the registers that it says it does.
        unsafe { twelve!("vpdpbusd") };
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn floats() {
        // SAFETY: it changes the registers that it says it does.
        unsafe { twelve!("vdpbf16ps") };
    }
}

/// A device with a stream.
struct Bench {
    threads: usize,
    clock: Clock,
    device: Arc<dyn Device>,
    stream: Box<dyn Stream>,
}

impl Bench {
    fn new(threads: usize, isa: &str) -> Result<Self> {
        let mut options = vec![("threads".to_owned(), threads.to_string())];
        if !isa.is_empty() {
            options.push(("isa".to_owned(), isa.to_owned()));
        }
        let device = Cpu::new(&options)?.open_device(0)?;
        let clock = if threads == 1 { Clock::Thread } else { Clock::Wall };
        Ok(Self { threads, clock, stream: device.create_stream()?, device })
    }

    fn ceilings(&self) -> Result<Ceilings> {
        let (from, to) = (Buffer::new(&self.device, 8 * SEGMENT)?, Buffer::new(&self.device, 2 * SEGMENT)?);
        self.stream.fill(from.span(), 1)?;
        self.stream.fill(to.span(), 2)?;
        // SAFETY: both are memory of this process, which the buffers own and nothing else uses meanwhile.
        let (from, to) = unsafe {
            (
                slice::from_raw_parts(from.span().address as *const u8, from.span().bytes as usize),
                slice::from_raw_parts_mut(to.span().address as *mut u8, to.span().bytes as usize),
            )
        };
        let threads = self.threads;
        let mut best = Ceilings { read: 0.0, copy: 0.0, integers: 0.0, floats: 0.0 };
        for _ in 0..8 * REPEATS {
            let measure = |rate: &mut f64, work: f64, run: &mut dyn FnMut()| {
                let start = self.clock.now();
                run();
                *rate = rate.max(work / (self.clock.now() - start) / 1e9);
            };
            // Pieces, each of which may be the one that nothing interrupts.
            for from in from.chunks(SEGMENT as usize) {
                measure(&mut best.read, from.len() as f64, &mut || {
                    each_part(threads, from.chunks(from.len() / threads), |part| {
                        black_box(sum(part));
                    });
                });
            }
            let bytes = to.len();
            measure(&mut best.copy, 2.0 * bytes as f64, &mut || {
                let parts = to.chunks_mut(bytes / threads).zip(from.chunks(bytes / threads));
                each_part(threads, parts, |(to, from)| to.copy_from_slice(from));
            });
            let work = |kind: Peak| kind.operations() * threads as f64;
            measure(&mut best.integers, work(Peak::Integers), &mut || {
                each_part(threads, 0..threads, |_| Peak::Integers.run());
            });
            measure(&mut best.floats, work(Peak::Floats), &mut || {
                each_part(threads, 0..threads, |_| Peak::Floats.run());
            });
        }
        Ok(best)
    }

    fn dense(&self, scheme: Format, [m, n, k]: [usize; 3], ceilings: &Ceilings) -> Result<()> {
        let activation = Quantization::new(scheme);
        let op = Matmul { output: Format::Bf16, ..Matmul::mxfp4(m, n, k, activation) };
        let plan = self.device.matmul(op)?;
        let bytes = n * k / 32 * 17;
        let count = if m <= 32 { CYCLED_BYTES / bytes + 1 } else { 1 };
        let desc = WeightsDesc { format: Format::Mxfp4, groups: 1, n, k, activation: scheme };
        let weights =
            (0..count).map(|seed| self.weights(&desc, seed)).collect::<Result<Vec<Arc<dyn Weights>>>>()?;
        let (_x, a) = self.bf16(&[m, k])?;
        let (_y, y) = self.tensor(Format::Bf16, &[m, n])?;
        let workspace = Buffer::new(&self.device, plan.info().workspace_bytes)?;
        let seconds = best(self.clock, count, |index| {
            let tensors = MatmulTensors { a, bias: None, y };
            plan.run(&*self.stream, tensors, [&*weights[index]], workspace.span())
        })?;
        self.report(&format!("dense {n}x{k}"), scheme, m, 2 * m * n * k, bytes, seconds, ceilings);
        Ok(())
    }

    fn moe(&self, scheme: Format, tokens: usize, ceilings: &Ceilings) -> Result<()> {
        let (hidden, inner, experts, top_k) = (4096, 2048, 32, 6);
        let op = MoeFfn {
            tokens,
            hidden,
            inner,
            experts,
            top_k,
            weight: Format::Mxfp4,
            activation: Quantization::new(scheme),
            form: SwiGluForm::silu(10.0),
            weight_position: WeightPosition::BeforeDown,
            bias: false,
            output: Format::Bf16,
            mapped: None,
            shared: None,
        };
        let plan = self.device.moe_ffn(op)?;
        let desc = |n, k| WeightsDesc { format: Format::Mxfp4, groups: experts, n, k, activation: scheme };
        let gate_up = self.weights(&desc(2 * inner, hidden), 1)?;
        let down = self.weights(&desc(hidden, inner), 2)?;
        let (_x, x) = self.bf16(&[tokens, hidden])?;
        let (_y, y) = self.tensor(Format::Bf16, &[tokens, hidden])?;
        let (_weights, weights) = self.tensor(Format::F32, &[tokens, top_k])?;
        self.write(weights.data(), &vec![0.25f32.to_ne_bytes(); tokens * top_k].concat())?;
        let workspace = Buffer::new(&self.device, plan.info().workspace_bytes)?;
        // Routing is drawn anew each time, so that experts come from memory.
        let turns = if tokens < 64 { 8 } else { 1 };
        let mut random = Random(77);
        let mut routes = Vec::new();
        let mut touched = 0;
        for _ in 0..turns {
            let mut used = vec![false; experts];
            let mut ids = Vec::new();
            for _ in 0..tokens {
                let mut all: Vec<i32> = (0..experts as i32).collect();
                for slot in 0..top_k {
                    let other = slot + random.below(experts - slot);
                    all.swap(slot, other);
                    used[all[slot] as usize] = true;
                    ids.extend(all[slot].to_ne_bytes());
                }
            }
            touched += used.iter().filter(|used| **used).count();
            let (buffer, view) = self.tensor(Format::I32, &[tokens, top_k])?;
            self.write(view.data(), &ids)?;
            routes.push((buffer, view));
        }
        let seconds = best(self.clock, turns, |turn| {
            let tensors = MoeFfnTensors {
                x,
                ids: routes[turn].1,
                weights,
                expert_map: None,
                gate_up_bias: None,
                down_bias: None,
                y,
            };
            let weights = MoeFfnWeights { gate_up: &*gate_up, down: &*down, shared: None };
            plan.run(&*self.stream, tensors, weights, workspace.span())
        })?;
        let flops = 6 * tokens * top_k * hidden * inner;
        let bytes = touched * 3 * hidden * inner / 32 * 17 / turns;
        self.report("moe", scheme, tokens, flops, bytes, seconds, ceilings);
        Ok(())
    }

    /// Quantize, dequantize and the preparation of weights: bytes read and written, against a copy.
    fn conversions(&self, ceilings: &Ceilings) -> Result<()> {
        let (rows, k) = (4096, 4096);
        for to in [Format::Mxfp4, Format::Mxint8, Format::Mxfp8] {
            let (_wide, wide) = self.tensor(Format::F32, &[rows, k])?;
            let values: Vec<u8> = Random(5).normal(rows * k).iter().flat_map(|v| v.to_ne_bytes()).collect();
            self.write(wide.data(), &values)?;
            let (_narrow, narrow) = self.tensor(to, &[rows, k])?;
            let plan =
                self.device.quantize(Quantize { rows, k, input: Format::F32, to: Quantization::new(to) })?;
            let workspace = Buffer::new(&self.device, plan.info().workspace_bytes)?;
            let tensors = QuantizeTensors { x: wide, y: narrow };
            let seconds = best(self.clock, 1, |_| plan.run(&*self.stream, tensors, [], workspace.span()))?;
            let bytes = to.row_bytes(k) + to.row_scales(k);
            self.report_bytes(&format!("quantize f32 to {to}"), rows * (4 * k + bytes), seconds, ceilings);
            for output in [Format::F32, Format::Bf16] {
                let (_out, out) = self.tensor(output, &[rows, k])?;
                let plan = self.device.dequantize(Dequantize { rows, k, from: to, output })?;
                let workspace = Buffer::new(&self.device, plan.info().workspace_bytes)?;
                let tensors = DequantizeTensors { x: narrow, y: out };
                let seconds =
                    best(self.clock, 1, |_| plan.run(&*self.stream, tensors, [], workspace.span()))?;
                let moved = rows * (output.row_bytes(k) + bytes);
                self.report_bytes(&format!("dequantize {to} to {output}"), moved, seconds, ceilings);
            }
        }
        let (groups, n) = (16, 4096);
        let desc = WeightsDesc { format: Format::Mxfp4, groups, n, k, activation: Format::Bf16 };
        let (data, scales) = (vec![0x35; n * k / 2], vec![120; n * k / 32]);
        let layout = Layout::contiguous(Format::Mxfp4, &[n, k])?;
        let part = HostTensor::new(layout, &data, &scales, &[])?;
        let parts = vec![part; groups];
        let mut held = 0;
        let seconds = best(self.clock, 1, |_| {
            held = self.device.prepare_weights(&desc, &parts)?.bytes();
            Ok(())
        })?;
        let bytes = groups * (data.len() + scales.len());
        self.report_bytes("prepare mxfp4 weights", 2 * bytes, seconds, ceilings);
        println!("prepared weights hold {:.4} of the checkpoint's bytes", held as f64 / bytes as f64);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the columns of a table")]
    fn report(
        &self,
        what: &str,
        scheme: Format,
        rows: usize,
        flops: usize,
        bytes: usize,
        seconds: f64,
        ceilings: &Ceilings,
    ) {
        let (flops, bytes) = (flops as f64 / seconds / 1e9, bytes as f64 / seconds / 1e9);
        let peak = match scheme {
            Format::Mxint8 | Format::Mxfp4 => ceilings.integers,
            _ => ceilings.floats,
        };
        println!(
            "{what:<16} {scheme:<7} rows {rows:<4} threads {}  {:>9.1} us {flops:>7.1} GFLOP/s ({:>3.0} % of peak) \
             {bytes:>6.2} GB/s ({:>3.0} % of reads)",
            self.threads,
            seconds * 1e6,
            100.0 * flops / peak,
            100.0 * bytes / ceilings.read
        );
    }

    fn report_bytes(&self, what: &str, bytes: usize, seconds: f64, ceilings: &Ceilings) {
        let rate = bytes as f64 / seconds / 1e9;
        let percent = 100.0 * rate / ceilings.copy;
        println!("{what:<28} threads {}  {rate:>6.2} GB/s ({percent:>3.0} % of a copy)", self.threads);
    }

    fn weights(&self, desc: &WeightsDesc, seed: usize) -> Result<Arc<dyn Weights>> {
        let mut random = Random(seed as u64 * 2 + 1);
        let data: Vec<u8> = (0..desc.n * desc.k / 16).flat_map(|_| random.bits().to_ne_bytes()).collect();
        let scales: Vec<u8> = (0..desc.n * desc.k / 32).map(|_| 118 + random.below(5) as u8).collect();
        let layout = Layout::contiguous(desc.format, &[desc.n, desc.k])?;
        let part = HostTensor::new(layout, &data, &scales, &[])?;
        self.device.prepare_weights(desc, &vec![part; desc.groups])
    }

    /// A tensor of normally distributed numbers.
    fn bf16(&self, shape: &[usize; 2]) -> Result<(Buffer, Tensor)> {
        let (buffer, view) = self.tensor(Format::Bf16, shape)?;
        let values = Random(3).normal(shape[0] * shape[1]);
        let bytes: Vec<u8> =
            values.iter().flat_map(|v| mxhal_core::format::bf16::from_f32(*v).to_ne_bytes()).collect();
        self.write(view.data(), &bytes)?;
        Ok((buffer, view))
    }

    fn tensor(&self, format: Format, shape: &[usize]) -> Result<(Buffer, Tensor)> {
        let (buffer, view) = Buffer::tensor(&self.device, Layout::contiguous(format, shape)?)?;
        self.stream.fill(buffer.span(), 0)?;
        Ok((buffer, view))
    }

    fn write(&self, to: Span, bytes: &[u8]) -> Result<()> {
        buffer::write(&*self.stream, to, bytes)
    }
}

/// Seconds of a run: of each of `count` different ones the fastest, and their mean. So a run that the machine took
/// time away from counts only if all like it were interrupted.
fn best(clock: Clock, count: usize, mut run: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut best = vec![f64::INFINITY; count];
    let start = Instant::now();
    let mut turns = 0;
    while turns < REPEATS || (start.elapsed().as_secs_f64() < SECONDS && turns < 100) {
        for (index, best) in best.iter_mut().enumerate() {
            let start = clock.now();
            run(index)?;
            *best = best.min(clock.now() - start);
        }
        turns += 1;
    }
    Ok(best.iter().sum::<f64>() / count as f64)
}

/// What time is measured by.
#[derive(Clone, Copy)]
enum Clock {
    /// That of the calling thread on its processor: what a single thread needs, whoever else is there.
    Thread,
    Wall,
}

impl Clock {
    /// Seconds since some point in the past.
    fn now(self) -> f64 {
        let time = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        });
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
}

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.bits() >> 32) % end as u64) as usize
    }

    /// Sums of twelve uniform numbers.
    fn normal(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| (0..12).map(|_| (self.bits() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0)
            .collect()
    }
}
