//! Launches: what may be launched, and the values that the kernel is given.

use core::ffi::{c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use mxhal_cuda_emulation::Shape;

use super::module::{Kernel, kernel_of};
use super::stream::stream_of;
use crate::image::Function;
use crate::kernels;
use crate::product::REGISTERS;
use crate::refusal::{Answer, Refusal, code, cu};
use crate::settings::settings;

/// `CUlaunchConfig`.
#[repr(C)]
struct Configuration {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: *mut c_void,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`.
#[repr(C)]
struct Attribute {
    id: c_uint,
    _padding: c_uint,
    value: [c_uint; 16],
}

/// Attributes of `CUlaunchAttributeID`: ignored; and the blocks of a cluster.
const IGNORED: c_uint = 0;
const CLUSTER: c_uint = 4;

/// What `extra` may hold.
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// The values of the parameters, each beginning at a multiple of 16, and where each begins.
struct Values {
    bytes: Vec<u128>,
    places: Vec<usize>,
}

impl Values {
    /// Copies each parameter from where `source` says that it is.
    fn copy(function: &Function, source: impl Fn(usize, u32) -> Answer<*const u8>) -> Answer<Self> {
        let mut values = Self { bytes: Vec::new(), places: Vec::new() };
        for (ordinal, (offset, len)) in function.parameters.iter().enumerate() {
            let from = source(ordinal, *offset)?;
            let len = usize::try_from(*len).expect("32 bits");
            let first = values.bytes.len();
            values.bytes.resize(first + len.div_ceil(16), 0);
            // SAFETY: room for `len` bytes was just made; the caller of the launch has as many there.
            unsafe { ptr::copy_nonoverlapping(from, values.bytes[first..].as_mut_ptr().cast(), len) };
            values.places.push(16 * first);
        }
        Ok(values)
    }
}

fn values(function: &Function, parameters: *mut *mut c_void, extra: *mut *mut c_void) -> Answer<Values> {
    let count = function.parameters.len();
    if !parameters.is_null() && !extra.is_null() {
        return Err(Refusal::invalid("kernelParams and extra are both given"));
    }
    if !extra.is_null() {
        let (buffer, size) = packed(extra)?;
        let wanted = function.parameters.last().map_or(0, |(offset, len)| offset + len);
        if size != usize::try_from(wanted).expect("32 bits") {
            return Err(Refusal::invalid(format!(
                "extra has {size} bytes of parameters, {} takes {wanted}",
                function.name
            )));
        }
        // SAFETY: the offset is within the bytes that were just compared.
        return Values::copy(function, |_, offset| Ok(unsafe { buffer.add(offset as usize) }));
    }
    if parameters.is_null() && count > 0 {
        return Err(Refusal::invalid(format!("kernelParams is null, {} takes {count}", function.name)));
    }
    Values::copy(function, |ordinal, _| {
        // SAFETY: the caller has one address for each parameter there.
        let parameter = unsafe { *parameters.add(ordinal) };
        match parameter.is_null() {
            true => Err(Refusal::invalid(format!(
                "kernelParams[{ordinal}] is null, {} takes {count} parameters",
                function.name
            ))),
            false => Ok(parameter.cast_const().cast()),
        }
    })
}

/// The buffer and its size, of a list of pairs that ends with null.
fn packed(extra: *mut *mut c_void) -> Answer<(*const u8, usize)> {
    let (mut buffer, mut size) = (ptr::null::<u8>(), None);
    for pair in 0..2 {
        // SAFETY: the list goes on until a null.
        let (key, value) = unsafe { (*extra.add(2 * pair) as usize, *extra.add(2 * pair + 1)) };
        match key {
            0 => break,
            BUFFER_POINTER => buffer = value.cast_const().cast(),
            // SAFETY: the value is the address of a size, as the documentation of cuLaunchKernel has it.
            BUFFER_SIZE if !value.is_null() => size = Some(unsafe { value.cast::<usize>().read() }),
            _ => return Err(Refusal::invalid(format!("extra has the key {key}"))),
        }
    }
    match size {
        Some(size) if !buffer.is_null() => Ok((buffer, size)),
        _ => Err(Refusal::invalid("extra lacks the buffer or its size")),
    }
}

/// That a device would begin the launch.
fn expect_possible(
    kernel: &Kernel,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    cluster: [u32; 3],
) -> Answer {
    let product = settings()?.product;
    let function = &kernel.function;
    let invalid = |what: String| Err(Refusal::invalid(format!("{}: {what}", function.name)));
    let exhausted =
        |what: String| Err(Refusal::new(code::LAUNCH_OUT_OF_RESOURCES, format!("{}: {what}", function.name)));
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1].max(grid[2]) > 65535 {
        return invalid(format!("a grid of {grid:?}, possible is up to [2147483647, 65535, 65535]"));
    }
    let threads: u64 = block.iter().map(|extent| u64::from(*extent)).product();
    if !(1..=1024).contains(&threads) || block[2] > 64 {
        return invalid(format!("a block of {block:?}, possible are 1 to 1024 threads, 64 along z"));
    }
    if let Some(exact) = function.exact_threads.filter(|exact| *exact != block) {
        return invalid(format!("a block of {block:?}, it was compiled for {exact:?}"));
    }
    if let Some(most) = function.most_threads.filter(|most| threads > u64::from(*most)) {
        return invalid(format!("a block of {threads} threads, it was compiled for at most {most}"));
    }
    let registers = u64::from(function.registers.next_multiple_of(8)) * threads.next_multiple_of(32);
    if registers > u64::from(REGISTERS) {
        return exhausted(format!("{registers} registers, a block has {REGISTERS}"));
    }
    let allowed = kernel.chosen().dynamic_shared_bytes;
    if shared_bytes > allowed {
        return invalid(format!(
            "{shared_bytes} bytes of dynamic shared memory, {allowed} are allowed; \
             cuFuncSetAttribute allows up to {} with its own {}",
            product.most_shared_bytes, function.shared_bytes
        ));
    }
    if let Some(compiled) = function.cluster.filter(|compiled| *compiled != cluster) {
        return invalid(format!("a cluster of {cluster:?}, it was compiled for {compiled:?}"));
    }
    let most = if kernel.chosen().non_portable_cluster { 16 } else { 8 };
    let blocks: u64 = cluster.iter().map(|extent| u64::from(*extent)).product();
    let divides = grid.iter().zip(cluster).all(|(grid, cluster)| cluster != 0 && grid % cluster == 0);
    if !divides || blocks > most {
        return invalid(format!(
            "a cluster of {cluster:?} in a grid of {grid:?}: it divides the grid, and has at most {most} blocks"
        ));
    }
    Ok(())
}

struct Wanted {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    cluster: Option<[u32; 3]>,
}

fn launch(
    name: &'static str,
    kernel: *mut c_void,
    wanted: &Wanted,
    stream: *mut c_void,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Answer {
    let (kernel, stream) = (kernel_of(kernel)?, stream_of(stream)?);
    let &Wanted { grid, block, shared_bytes, cluster } = wanted;
    let cluster = cluster.or(kernel.function.cluster).unwrap_or([1; 3]);
    expect_possible(&kernel, grid, block, shared_bytes, cluster)?;
    let values = values(&kernel.function, parameters, extra)?;
    static LAUNCHES: AtomicU64 = AtomicU64::new(1);
    let seed = match settings()?.seed {
        0 => 0,
        seed => {
            LAUNCHES.fetch_add(1, Ordering::Relaxed).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                | 1
        }
    };
    let shape = Shape::new(grid, block).with_shared_bytes(shared_bytes).with_seed(seed);
    stream.enqueue(name, move || kernels::run(&kernel.function.name, &values.bytes, &values.places, &shape))
}

cu! {
    fn cuLaunchKernel(
        kernel: *mut c_void,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared_bytes: c_uint,
        stream: *mut c_void,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let wanted = Wanted { grid, block, shared_bytes, cluster: None };
        launch("cuLaunchKernel", kernel, &wanted, stream, parameters, extra)
    }

    /// Of the attributes, clusters.
    fn cuLaunchKernelEx(configuration: *const Configuration, kernel: *mut c_void, parameters: *mut *mut c_void, extra: *mut *mut c_void) {
        if configuration.is_null() {
            return Err(Refusal::invalid("config is null"));
        }
        // SAFETY: not null; a CUlaunchConfig, as the C declaration asks.
        let configuration = unsafe { &*configuration };
        let &Configuration { grid, block, shared_bytes, stream, attributes, count } = configuration;
        let mut wanted = Wanted { grid, block, shared_bytes, cluster: None };
        for place in 0..count as usize {
            // SAFETY: there are `count` attributes.
            let attribute = unsafe { &*attributes.add(place) };
            match attribute.id {
                IGNORED => {}
                CLUSTER => wanted.cluster = Some([attribute.value[0], attribute.value[1], attribute.value[2]]),
                other => {
                    let what = format!("attribute {other} of a launch is not simulated");
                    return Err(Refusal::new(code::NOT_SUPPORTED, what));
                }
            }
        }
        launch("cuLaunchKernelEx", kernel, &wanted, stream, parameters, extra)
    }
}
