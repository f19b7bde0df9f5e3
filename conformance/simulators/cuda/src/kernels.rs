//! The emulated kernels: one library, opened by `cuInit`.

use core::ffi::c_void;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use mxhal_cuda_emulation::{Checks, Error, Kernels, Shape};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::memory;
use crate::refusal::{Answer, Refusal, code};
use crate::settings::{Settings, settings};

/// What the build script compiled: without checks of memory accesses, and with them.
static FAST: &[u8] = include_bytes!(env!("MXHAL_KERNELS_FAST"));
static CHECKED: &[u8] = include_bytes!(env!("MXHAL_KERNELS_CHECKED"));

static KERNELS: OnceLock<Kernels> = OnceLock::new();

/// Opens the library. The first time counts.
pub(crate) fn load() -> Answer {
    if KERNELS.get().is_some() {
        return Ok(());
    }
    let settings = settings()?;
    let opened = open(settings)
        .map_err(|error| Refusal::new(code::SYSTEM_NOT_READY, format!("the emulated kernels: {error}")))?;
    KERNELS.get_or_init(|| opened);
    memory::announce_all();
    Ok(())
}

fn open(settings: &Settings) -> Result<Kernels, Error> {
    if let Some(path) = &settings.kernels {
        return Kernels::open(path);
    }
    let embedded = if settings.checks == Checks::On { CHECKED } else { FAST };
    let at = |error: std::io::Error| Error::File(PathBuf::from("a file in memory"), error);
    let mut file: File =
        memfd_create("emulated-kernels", MemfdFlags::CLOEXEC).map_err(|error| at(error.into()))?.into();
    file.write_all(embedded).map_err(at)?;
    Kernels::open(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}

/// Whether there is an emulated kernel of this name, and the bytes of each of its parameters.
pub(crate) fn parameters(kernel: &str) -> Option<Vec<u32>> {
    KERNELS.get()?.parameters(kernel)
}

/// Blocks along x of the emulated kernel's clusters, 1 without.
pub(crate) fn cluster(kernel: &str) -> Option<u32> {
    KERNELS.get()?.cluster(kernel)
}

/// Says where kernels that go astray get SIGSEGV.
pub(crate) fn guard(start: usize, bytes: usize) {
    if let Some(kernels) = KERNELS.get() {
        kernels.guard(start as *const u8, bytes);
    }
}

/// Says that kernels may touch these bytes.
pub(crate) fn announce(start: *const u8, bytes: usize) {
    if let Some(kernels) = KERNELS.get() {
        kernels.announce(start, bytes);
    }
}

/// Takes back what was announced with this beginning.
pub(crate) fn withdraw(start: *const u8) {
    if let Some(kernels) = KERNELS.get() {
        kernels.withdraw(start);
    }
}

/// Runs a kernel to its end, on the calling thread. `values` holds the bytes of its parameters one after the other, each
/// beginning at a multiple of 16 and with addresses of the device in it; `places` says where each begins.
pub(crate) fn run(kernel: &str, values: &[u128], places: &[usize], shape: &Shape) -> Answer {
    let kernels = KERNELS.get().ok_or_else(|| Refusal::new(code::NOT_INITIALIZED, "no kernels are open"))?;
    let mut words: Vec<u64> =
        values.iter().flat_map(|value| [*value as u64, (*value >> 64) as u64]).collect();
    memory::translate(&mut words);
    let mut values: Vec<u128> =
        words.chunks_exact(2).map(|pair| u128::from(pair[0]) | u128::from(pair[1]) << 64).collect();
    let bytes: *mut u8 = values.as_mut_ptr().cast();
    let arguments: Vec<*mut c_void> = places
        .iter()
        // SAFETY: places are within the values: the launch that made both counted the bytes.
        .map(|place| unsafe { bytes.add(*place) }.cast())
        .collect();
    // SAFETY: the module compared the kernel's parameters with the launch's; an address that leads elsewhere faults in
    // the guarded reservation, or is one of the host's, which only a wrong kernel follows.
    let outcome = unsafe { kernels.launch(kernel, &arguments, shape) };
    outcome.map_err(|error| {
        let what = memory::device_words(&error.to_string());
        Refusal::new(code_of(&what), what)
    })
}

/// What the driver would say of a fault.
fn code_of(fault: &str) -> i32 {
    if fault.contains("misaligned address") {
        code::MISALIGNED_ADDRESS
    } else if fault.contains("out of bounds") || fault.contains("illegal address") {
        code::ILLEGAL_ADDRESS
    } else {
        code::LAUNCH_FAILED
    }
}
