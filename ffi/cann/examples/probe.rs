//! Asks a device what no document answers: behaviour, error texts and speeds, a line for each question.
//!
//! ```sh
//! cargo run --release -p mxhal-cann --example probe -- [CANN_FOLDER] [--small]
//! ```
//!
//! A question that fails is answered with its error, and the next one is asked. With `--small` products are small enough
//! for a simulation. Nothing here harms a device, but faults on purpose are among it: run it where nobody else works.

use std::error::Error;
use std::path::PathBuf;

use mxhal_cann::library::Search;
use mxhal_cann::safe::op::{DynamicMxQuant, QuantMatmul, storage_for};
use mxhal_cann::safe::{
    Context, DataType, DeviceBuffer, Event, Format, Runtime, Stream, TensorSpec, TensorView,
};

type Answer = Result<String, Box<dyn Error>>;

/// Asks a question.
type Ask = fn(&Bench) -> Answer;

const QUESTIONS: &[(&str, Ask)] = &[
    ("versions", versions),
    ("attributes of the device", attributes),
    ("first phase with tensors at address 0", first_phase_without_addresses),
    ("an executor that never ran, made repeatable and destroyed", unused_executor),
    ("a repeatable executor at other addresses, counted among inputs and outputs", |bench| {
        repeated(bench, false)
    }),
    ("a repeatable executor at other addresses, counted among all", |bench| repeated(bench, true)),
    ("FRACTAL_NZ storage of FP4 [130, 288]", |bench| tiles(bench, DataType::Float4E2m1)),
    ("FRACTAL_NZ storage of E4M3 [130, 288]", |bench| tiles(bench, DataType::Float8E4m3fn)),
    ("1 by 1 under the scale bytes 0, 126, 254 and 255, summed over 64", scales),
    ("error text: scales that are not in pairs", |bench| refused(bench, [1, 64], &[1, 2], DataType::Bf16)),
    ("error text: FP4 with an odd number of columns", |bench| {
        refused(bench, [1, 63], &[1, 1, 2], DataType::Bf16)
    }),
    ("error text: I32 to be quantized", |bench| refused(bench, [1, 64], &[1, 1, 2], DataType::Int32)),
    ("error text: a device that is not there", absent_device),
    ("error text: more memory than there is", too_much_memory),
    ("copies from the host, 64 MiB", copies),
    ("W4A4, m = 1", |bench| speed(bench, DataType::Float4E2m1, 1)),
    ("W4A4, m = 4096", |bench| speed(bench, DataType::Float4E2m1, 4096)),
    ("W8A8, m = 1", |bench| speed(bench, DataType::Float8E4m3fn, 1)),
    ("W8A8, m = 4096", |bench| speed(bench, DataType::Float8E4m3fn, 4096)),
];

fn main() {
    let (flags, paths): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
    if paths.len() > 1 || flags.iter().any(|flag| flag != "--small") {
        eprintln!("usage: probe [CANN_FOLDER] [--small]");
        std::process::exit(2);
    }
    let bench = match Bench::open(paths.first().map(PathBuf::from), !flags.is_empty()) {
        Ok(bench) => bench,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    for (question, ask) in QUESTIONS {
        let answer = ask(&bench).unwrap_or_else(|error| format!("NO ANSWER: {error}"));
        println!("{question}: {}", answer.replace('\n', " "));
    }
}

/// A device, and what questions are asked with.
struct Bench {
    context: Context,
    stream: Stream,
    small: bool,
}

impl Bench {
    fn open(cann: Option<PathBuf>, small: bool) -> mxhal_cann::Result<Self> {
        let runtime = Runtime::open(&Search::from_environment(cann.as_deref()))?;
        let context = Context::new(&runtime, 0)?;
        let stream = Stream::new(&context)?;
        Ok(Self { context, stream, small })
    }

    /// A tensor in memory of its own, all of it these bytes over and over.
    fn tensor(
        &self,
        data_type: DataType,
        dims: &[i64],
        bytes: &[u8],
    ) -> mxhal_cann::Result<(TensorView, DeviceBuffer)> {
        let spec = TensorSpec::contiguous(data_type, dims);
        let count = spec.bytes()?;
        let memory = DeviceBuffer::new(&self.context, count)?;
        memory.write(0, &bytes.iter().copied().cycle().take(count).collect::<Vec<_>>())?;
        Ok((TensorView::new(spec, &memory, 0)?, memory))
    }
}

fn versions(bench: &Bench) -> Answer {
    let runtime = bench.context.runtime();
    let (major, minor, patch) = runtime.library().aclrt_get_version()?;
    Ok(format!("AscendCL {major}.{minor}.{patch}, {}", runtime.soc_name()?))
}

fn attributes(bench: &Bench) -> Answer {
    use mxhal_cann::sys;
    let attributes = [
        ("cube cores", sys::ACL_DEV_ATTR_CUBE_CORE_NUM),
        ("vector cores", sys::ACL_DEV_ATTR_VECTOR_CORE_NUM),
        ("memory", sys::ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE),
        ("L2", sys::ACL_DEV_ATTR_L2_CACHE_SIZE),
        ("architecture", sys::ACL_DEV_ATTR_NPU_ARCH),
    ];
    let said = attributes.map(|(name, number)| match bench.context.runtime().device_attribute(0, number) {
        Ok(value) => format!("{name} {value}"),
        Err(error) => format!("{name} unknown ({error})"),
    });
    Ok(said.join(", "))
}

fn first_phase_without_addresses(bench: &Bench) -> Answer {
    let tensor = |data_type, dims: &[i64]| {
        let spec = TensorSpec::contiguous(data_type, dims);
        // SAFETY: nothing is run with it.
        unsafe { TensorView::from_raw(&bench.context, spec, std::ptr::null_mut()) }
    };
    let (x, y) = (tensor(DataType::Bf16, &[4, 128])?, tensor(DataType::Float4E2m1, &[4, 128])?);
    let scale = tensor(DataType::Float8E8m0, &[4, 2, 2])?;
    let executor = DynamicMxQuant::new(&x, &y, &scale).prepare(&bench.context)?;
    Ok(format!("taken, {} bytes of workspace", executor.workspace_bytes()))
}

fn unused_executor(bench: &Bench) -> Answer {
    let rows = Rows::new(bench, ONE)?;
    drop(rows.prepare(bench)?.into_repeatable()?);
    bench.stream.synchronize()?;
    Ok("taken".to_owned())
}

/// BF16.
const ONE: [u8; 2] = 0x3f80_u16.to_le_bytes();
const THREE: [u8; 2] = 0x4040_u16.to_le_bytes();

/// A row of one number, and where it is quantized to.
struct Rows {
    x: (TensorView, DeviceBuffer),
    y: (TensorView, DeviceBuffer),
    scale: (TensorView, DeviceBuffer),
}

impl Rows {
    fn new(bench: &Bench, number: [u8; 2]) -> mxhal_cann::Result<Self> {
        Ok(Self {
            x: bench.tensor(DataType::Bf16, &[1, 64], &number)?,
            y: bench.tensor(DataType::Float4E2m1, &[1, 64], &[0])?,
            scale: bench.tensor(DataType::Float8E8m0, &[1, 1, 2], &[0])?,
        })
    }

    fn prepare(&self, bench: &Bench) -> mxhal_cann::Result<mxhal_cann::safe::Executor> {
        DynamicMxQuant::new(&self.x.0, &self.y.0, &self.scale.0).prepare(&bench.context)
    }

    fn bytes(&self) -> mxhal_cann::Result<(Vec<u8>, Vec<u8>)> {
        Ok((self.y.1.to_host()?, self.scale.1.to_host()?))
    }
}

fn repeated(bench: &Bench, among_all: bool) -> Answer {
    let (first, second, wanted) =
        (Rows::new(bench, ONE)?, Rows::new(bench, THREE)?, Rows::new(bench, THREE)?);
    wanted.prepare(bench)?.run_and_wait(&bench.stream)?;
    let mut executor = first.prepare(bench)?.into_repeatable()?;
    executor.run_and_wait(&bench.stream)?;
    let [x, y, scale] = [&second.x, &second.y, &second.scale].map(|(_, memory)| memory.pointer());
    // SAFETY: they are memory of the device that is as large as the tensors', and alive until the run is over.
    unsafe {
        if among_all {
            executor.set_address(0, &first.x.0, x)?;
            executor.set_address(1, &first.y.0, y)?;
            executor.set_address(2, &first.scale.0, scale)?;
        } else {
            executor.set_input_address(0, &first.x.0, x)?;
            executor.set_output_address(0, &first.y.0, y)?;
            executor.set_output_address(1, &first.scale.0, scale)?;
        }
    }
    executor.run_and_wait(&bench.stream)?;
    let right = second.bytes()? == wanted.bytes()?;
    Ok(if right { "taken, and the right bytes" } else { "taken, and WRONG bytes" }.to_owned())
}

fn tiles(bench: &Bench, data_type: DataType) -> Answer {
    let (rows, _memory) = bench.tensor(data_type, &[130, 288], &[0])?;
    let storage = storage_for(&bench.context, &rows, Format::FRACTAL_NZ, data_type)?;
    Ok(format!("{:?}, format {}", storage.dims, storage.format.0))
}

fn scales(bench: &Bench) -> Answer {
    // 1 is the code 2.
    let ones = bench.tensor(DataType::Float4E2m1, &[1, 64], &[0x22])?.0;
    let weights = bench.tensor(DataType::Float4E2m1, &[4, 64], &[0x22])?.0;
    let under_one = bench.tensor(DataType::Float8E8m0, &[1, 1, 2], &[127])?.0;
    let under = bench.tensor(DataType::Float8E8m0, &[4, 1, 2], &[0, 0, 126, 126, 254, 254, 255, 255])?.0;
    let (out, memory) = bench.tensor(DataType::Float, &[1, 4], &[0])?;
    QuantMatmul::new(&ones, &under_one, &weights, &under, &out)
        .prepare(&bench.context)?
        .run_and_wait(&bench.stream)?;
    let sums: Vec<f32> =
        memory.to_host()?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(format!("{sums:?}"))
}

/// What is said of a quantization that breaks a rule.
fn refused(bench: &Bench, dims: [i64; 2], scale_dims: &[i64], input: DataType) -> Answer {
    // Storage for an even number of columns, so that FP4 fills its bytes.
    let even = [dims[0], 64];
    let view = |data_type| -> mxhal_cann::Result<TensorView> {
        let spec = TensorSpec::contiguous(data_type, &dims).with_storage(Format::ND, &even);
        let memory = DeviceBuffer::new(&bench.context, spec.bytes()?)?;
        TensorView::new(spec, &memory, 0)
    };
    let (x, y) = (view(input)?, view(DataType::Float4E2m1)?);
    let scale = bench.tensor(DataType::Float8E8m0, scale_dims, &[0])?.0;
    Ok(match DynamicMxQuant::new(&x, &y, &scale).prepare(&bench.context) {
        Ok(_) => "TAKEN".to_owned(),
        Err(error) => error.to_string(),
    })
}

fn absent_device(bench: &Bench) -> Answer {
    let absent = bench.context.runtime().device_count()? + 7;
    Ok(match Context::new(bench.context.runtime(), absent) {
        Ok(_) => "TAKEN".to_owned(),
        Err(error) => error.to_string(),
    })
}

fn too_much_memory(bench: &Bench) -> Answer {
    let (_, total) = bench.context.memory()?;
    Ok(match DeviceBuffer::new(&bench.context, 2 * total) {
        Ok(_) => "TAKEN".to_owned(),
        Err(error) => error.to_string(),
    })
}

fn copies(bench: &Bench) -> Answer {
    let bytes = vec![1; if bench.small { 1 << 12 } else { 64 << 20 }];
    let memory = DeviceBuffer::new(&bench.context, bytes.len())?;
    memory.write(0, &bytes)?;
    let start = std::time::Instant::now();
    memory.write(0, &bytes)?;
    Ok(format!("{:.2} GB/s", bytes.len() as f64 / start.elapsed().as_secs_f64() / 1e9))
}

/// The time of a product of `[m, 4096]` by `[4096, 4096]`, from the second run on.
fn speed(bench: &Bench, data_type: DataType, m: i64) -> Answer {
    let (m, n, k) = if bench.small { (m.min(2), 32, 64) } else { (m, 4096, 4096) };
    let runs = if bench.small { 2 } else { 20 };
    let a = bench.tensor(data_type, &[m, k], &[0])?.0;
    let w = bench.tensor(data_type, &[n, k], &[0])?.0;
    let a_scale = bench.tensor(DataType::Float8E8m0, &[m, k / 64, 2], &[127])?.0;
    let w_scale = bench.tensor(DataType::Float8E8m0, &[n, k / 64, 2], &[127])?.0;
    let out = bench.tensor(DataType::Bf16, &[m, n], &[0])?.0;
    let product = QuantMatmul::new(&a, &a_scale, &w, &w_scale, &out);
    let workspace_bytes = product.prepare(&bench.context)?.workspace_bytes();
    let workspace = DeviceBuffer::new(&bench.context, usize::try_from(workspace_bytes.max(1))?)?;
    let run = || -> mxhal_cann::Result<()> {
        let executor = product.prepare(&bench.context)?;
        // SAFETY: the workspace and the tensors live until the stream is waited for, below.
        unsafe { executor.run(&bench.stream, workspace.pointer(), workspace_bytes) }
    };
    let (start, end) = (Event::with_time(&bench.context)?, Event::with_time(&bench.context)?);
    run()?;
    start.record(&bench.stream)?;
    for _ in 0..runs {
        run()?;
    }
    end.record(&bench.stream)?;
    bench.stream.synchronize()?;
    let seconds = end.since(&start)?.as_secs_f64() / f64::from(runs);
    let operations = 2.0 * (m * n * k) as f64;
    let (microseconds, tera) = (seconds * 1e6, operations / seconds / 1e12);
    Ok(format!("{m}x{n}x{k} in {microseconds:.1} us, {tera:.1} TFLOP/s"))
}
