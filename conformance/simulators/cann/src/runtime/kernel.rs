//! Kernels of the user: a shared library compiled for the host in place of a binary for the device.
//!
//! `aclrtBinaryLoadFromFile` opens a library in which each kernel `NAME` has an entry
//! `int NAME_on_host(const struct launch *)`, see `Launch`. A launch calls it once for all blocks, with a copy of the
//! arguments in which every aligned word that is a device address is replaced by the address at which the host finds the
//! same bytes. What it gives is 0, or else the text that it wrote is the reason of a vector core exception.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use libloading::Library;
use mxhal_kernels_ascend_host::KERNELS;

use super::{current_context, settings, stream_of};
use crate::memory::{self, Span};
use crate::refusal::{Answer, Refusal, acl, code, give};
use crate::registry::Registry;
use crate::rules;

/// The kernels of mxhal's own, for whoever lays the simulator out as an installation.
#[unsafe(no_mangle)]
static MXHAL_SIMULATED_CANN_KERNELS: [u8; KERNELS.len()] = {
    let mut bytes = [0; KERNELS.len()];
    bytes.copy_from_slice(KERNELS);
    bytes
};

type Entry = unsafe extern "C" fn(*const Launch) -> i32;

/// What a kernel's entry is given.
#[repr(C)]
struct Launch {
    /// The kernel's parameters one after another, eight bytes each.
    arguments: *const u64,
    argument_count: u64,
    blocks: u32,
    /// The allocations that arguments point into.
    memory: *const Range,
    memory_count: u64,
    /// Room for a text that ends in a zero byte.
    fault: *mut c_char,
    fault_bytes: u64,
}

/// A part of an allocation.
#[repr(C)]
struct Range {
    start: *mut u8,
    bytes: u64,
}

struct Function {
    name: &'static str,
    entry: Entry,
    /// Its code stays loaded as long as it can be launched.
    binary: usize,
}

static BINARIES: Registry<Library> = Registry::new("a binary", 8);
static FUNCTIONS: Registry<Function> = Registry::new("a kernel function", 9);

fn binary_of(handle: *const c_void) -> Answer<Arc<Library>> {
    BINARIES
        .get(handle)
        .map_err(|what| Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("binHandle is {what}")))
}

fn text(pointer: *const c_char, argument: &str) -> Answer<String> {
    if pointer.is_null() {
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::NULL, format!("{argument} is null")));
    }
    // SAFETY: a C string by the function's declaration.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

acl! {
    fn aclrtBinaryLoadFromFile(path: *const c_char, _options: *mut c_void, binary: *mut *mut c_void) {
        current_context()?;
        let path = text(path, "binPath")?;
        // SAFETY: the user's own kernels, built for this simulator; loading them is what was asked for.
        let library = unsafe { Library::new(&path) };
        let library = library
            .map_err(|error| Refusal::new(code::INVALID_FILE, rules::KERNEL, format!("binPath {path}: {error}")))?;
        give(binary, "binHandle", BINARIES.insert(library))
    }

    fn aclrtBinaryUnLoad(binary: *mut c_void) {
        settings()?;
        binary_of(binary)?;
        for (handle, function) in FUNCTIONS.all() {
            if function.binary == binary as usize {
                let _ = FUNCTIONS.remove(handle as *const c_void);
            }
        }
        let _ = BINARIES.remove(binary);
        Ok(())
    }

    fn aclrtBinaryGetFunction(binary: *mut c_void, name: *const c_char, function: *mut *mut c_void) {
        let (library, name) = (binary_of(binary)?, text(name, "kernelName")?);
        let symbol = format!("{name}_on_host");
        // SAFETY: this file's documentation says of which type the entries are.
        let entry = unsafe { library.get::<Entry>(symbol.as_bytes()) };
        let entry = *entry
            .map_err(|error| Refusal::new(code::RT_KERNEL_LOOKUP, rules::KERNEL, format!("kernelName {name}: {error}")))?;
        // Few and named once each.
        let name: &'static str = Box::leak(name.into_boxed_str());
        give(function, "funcHandle", FUNCTIONS.insert(Function { name, entry, binary: binary as usize }))
    }

    fn aclrtLaunchKernelWithHostArgs(
        function: *mut c_void, blocks: u32, stream: *mut c_void, _config: *mut c_void, arguments: *mut c_void, size: usize,
        _place_holders: *mut c_void, place_holder_count: usize,
    ) {
        let stream = stream_of(stream)?;
        let refuse = |rule, what: String| Refusal::new(code::RT_PARAM_INVALID, rule, what);
        let function = FUNCTIONS
            .get(function)
            .map_err(|what| Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("funcHandle is {what}")))?;
        let cores = u32::try_from(2 * settings()?.product.cube_cores).expect("few cores");
        if blocks == 0 || blocks > cores.max(65_535) {
            return Err(refuse(rules::PARAMETER, format!("numBlocks {blocks}, expected 1 to 65535")));
        }
        if place_holder_count > 0 {
            return Err(refuse(rules::NOT_SIMULATED, format!("placeHolderNum {place_holder_count}")));
        }
        if arguments.is_null() || memory::is_device_address(arguments as usize) {
            return Err(refuse(rules::HOST_MEMORY, format!("hostArgs {arguments:p} is not memory of the host")));
        }
        if !size.is_multiple_of(8) {
            return Err(refuse(rules::NOT_SIMULATED, format!("argsSize {size}: parameters of other than eight bytes")));
        }
        // SAFETY: `size` bytes of the caller's, as the function is declared.
        let bytes = unsafe { std::slice::from_raw_parts(arguments.cast::<u8>(), size) };
        let (words, spans) = translate(bytes, stream.device)?;
        // The library stays loaded while the work is pending.
        let library = binary_of(function.binary as *const c_void)?;
        stream.enqueue(function.name, move || {
            let outcome = run(&function, &words, blocks, &spans);
            drop((spans, library));
            outcome
        });
        Ok(())
    }
}

/// Runs all blocks of a launch.
fn run(function: &Function, words: &[u64], blocks: u32, spans: &[Span]) -> Answer {
    let ranges: Vec<Range> =
        spans.iter().map(|span| Range { start: span.shadow(), bytes: span.len as u64 }).collect();
    let mut fault = [0; 1024];
    let launch = Launch {
        arguments: words.as_ptr(),
        argument_count: words.len() as u64,
        blocks,
        memory: ranges.as_ptr(),
        memory_count: ranges.len() as u64,
        fault: fault.as_mut_ptr(),
        fault_bytes: fault.len() as u64,
    };
    // SAFETY: an entry of the documented type; what the launch names lives through the call.
    if unsafe { (function.entry)(&raw const launch) } == 0 {
        return Ok(());
    }
    let text: Vec<u8> = fault.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    let what = format!("{}: {}", function.name, String::from_utf8_lossy(&text));
    Err(Refusal::new(code::RT_VECTOR_CORE_EXCEPTION, rules::KERNEL_FAULT, what))
}

/// The arguments as words, device addresses replaced; and the memory that they point to, kept alive.
fn translate(bytes: &[u8], device: i32) -> Answer<(Vec<u64>, Vec<Span>)> {
    let mut spans = Vec::new();
    let mut words = Vec::with_capacity(bytes.len().div_ceil(8));
    for (index, chunk) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let value = u64::from_ne_bytes(word);
        let address = usize::try_from(value).expect("64 bits");
        if !memory::is_device_address(address) {
            words.push(value);
            continue;
        }
        let argument = format!("hostArgs word {index}");
        memory::span(device, address, 1, &argument, code::RT_PARAM_INVALID)?;
        let span = memory::rest_of(address).expect("a byte of it was found");
        words.push(span.shadow() as u64);
        spans.push(span);
    }
    Ok((words, spans))
}
