//! CANN without the rest of mxhal: which operators are installed, and rows of BF16 quantized to MXFP4 on device 0.
//!
//! ```sh
//! cargo run -p mxhal-cann --example quantize -- [CANN_FOLDER]
//! ```

use std::path::PathBuf;

use mxhal_cann::library::Search;
use mxhal_cann::safe::op::DynamicMxQuant;
use mxhal_cann::safe::{Context, DataType, DeviceBuffer, Runtime, Stream, TensorSpec, TensorView};

fn main() {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    if let Err(error) = run(&Search::from_environment(path.as_deref())) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(search: &Search) -> mxhal_cann::Result<()> {
    let runtime = Runtime::open(search)?;
    let library = runtime.library();
    println!("CANN at {}", library.root().display());
    for operator in library.operators() {
        println!("  {operator}");
    }
    println!("{}, {} devices", runtime.soc_name()?, runtime.device_count()?);

    let context = Context::new(&runtime, 0)?;
    let stream = Stream::new(&context)?;
    // Two rows of 64: ones, and twos.
    let (rows, k) = (2, 64);
    let values = [0x3f80_u16, 0x4000].map(|bf16| bf16.to_le_bytes().repeat(64)).concat();
    let x = DeviceBuffer::from_host(&context, &values)?;
    let x = TensorView::new(TensorSpec::contiguous(DataType::Bf16, &[rows, k]), &x, 0)?;
    let (y, y_memory) = output(&context, DataType::Float4E2m1, &[rows, k])?;
    // Scales come in pairs, for 64 columns.
    let (scale, scale_memory) = output(&context, DataType::Float8E8m0, &[rows, k / 64, 2])?;
    DynamicMxQuant::new(&x, &y, &scale).prepare(&context)?.run_and_wait(&stream)?;

    let (elements, scales) = (y_memory.to_host()?, scale_memory.to_host()?);
    for (elements, scales) in elements.chunks(32).zip(scales.chunks(2)) {
        println!("elements {:02x?} …, scales {scales:?}", &elements[..4]);
    }
    Ok(())
}

/// A tensor with memory of its own.
fn output(
    context: &Context,
    data_type: DataType,
    dims: &[i64],
) -> mxhal_cann::Result<(TensorView, DeviceBuffer)> {
    let spec = TensorSpec::contiguous(data_type, dims);
    let memory = DeviceBuffer::new(context, spec.bytes()?)?;
    Ok((TensorView::new(spec, &memory, 0)?, memory))
}
