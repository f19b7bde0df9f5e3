//! A library of emulated kernels, opened.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::Error;

/// Grid, block and shared memory of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Shape {
    /// Blocks along x, y and z. Along x a multiple of the blocks of a cluster.
    pub grid: [u32; 3],
    /// Threads along x, y and z: together whole warps of 32, at most 1024.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    reserved: u32,
    /// 0 runs threads in order; any other number chooses among the orders that the barriers leave open.
    pub seed: u64,
}

impl Shape {
    /// Without dynamic shared memory, threads in order.
    pub const fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        Self { grid, block, shared_bytes: 0, reserved: 0, seed: 0 }
    }

    /// With so many bytes of dynamic shared memory.
    #[must_use]
    pub const fn with_shared_bytes(self, shared_bytes: u32) -> Self {
        Self { shared_bytes, ..self }
    }

    /// With threads in an order that `seed` chooses.
    #[must_use]
    pub const fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

type Cluster = unsafe extern "C" fn() -> c_uint;
type Parameters = unsafe extern "C" fn(*mut u32, usize) -> usize;
type Entry = unsafe extern "C" fn(*const *mut c_void, *const Shape, *mut c_char, usize) -> c_int;

/// The kernels of one library.
///
/// Launches from several threads run at the same time, each block or cluster of a launch one after the other.
#[derive(Debug)]
pub struct Kernels {
    library: Library,
    path: PathBuf,
    announce: unsafe extern "C" fn(*const c_void, usize),
    withdraw: unsafe extern "C" fn(*const c_void),
    guard: unsafe extern "C" fn(*const c_void, usize),
}

impl Kernels {
    /// Opens what [`compile`](crate::compile) made.
    ///
    /// # Errors
    ///
    /// [`Error::Library`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let at = |error| Error::Library(path.to_owned(), error);
        // SAFETY: a library that `compile` made: its initialisers set up vectors and nothing else.
        let library = unsafe { Library::new(path) }.map_err(at)?;
        // SAFETY: src/memory.cpp and src/guard.cpp define them with these types.
        let (announce, withdraw, guard) = unsafe {
            (
                *library.get(b"emulation_announce\0").map_err(at)?,
                *library.get(b"emulation_withdraw\0").map_err(at)?,
                *library.get(b"emulation_guard\0").map_err(at)?,
            )
        };
        Ok(Self { library, path: path.to_owned(), announce, withdraw, guard })
    }

    /// Whether there is a kernel of this name.
    pub fn contains(&self, kernel: &str) -> bool {
        self.entry(kernel).is_ok()
    }

    /// Bytes of each of the kernel's parameters; `None` where there is no such kernel.
    pub fn parameters(&self, kernel: &str) -> Option<Vec<u32>> {
        let name = format!("parameters_{kernel}\0");
        // SAFETY: `MXHAL_CLUSTER_KERNEL` defines every symbol of this prefix, with the type `Parameters`.
        let parameters = unsafe { self.library.get::<Parameters>(name.as_bytes()) }.ok()?;
        let mut sizes = [0; 64];
        // SAFETY: it writes up to the room that it is told of.
        let count = unsafe { parameters(sizes.as_mut_ptr(), sizes.len()) };
        Some(sizes[..count.min(sizes.len())].to_vec())
    }

    /// Blocks along x of the clusters that the kernel is compiled for, 1 without; `None` where there is no such kernel.
    pub fn cluster(&self, kernel: &str) -> Option<u32> {
        let name = format!("cluster_{kernel}\0");
        // SAFETY: `MXHAL_CLUSTER_KERNEL` defines every symbol of this prefix, with the type `Cluster`.
        let cluster = unsafe { self.library.get::<Cluster>(name.as_bytes()) }.ok()?;
        // SAFETY: it gives a constant.
        Some(unsafe { cluster() })
    }

    /// Takes over what these addresses do to a kernel: a SIGSEGV there, while a kernel runs on the thread, is a fault of
    /// the kernel. Elsewhere, and from anybody else, it stays what it was.
    pub fn guard(&self, memory: *const u8, bytes: usize) {
        // SAFETY: it keeps the two numbers and looks at nothing behind them; the handler that it sets leads on to
        // the one before.
        unsafe { (self.guard)(memory.cast(), bytes) }
    }

    /// Says that kernels may touch these bytes: device memory. Without checks nobody asks.
    pub fn announce(&self, memory: *const u8, bytes: usize) {
        // SAFETY: it keeps the two numbers and looks at nothing behind them.
        unsafe { (self.announce)(memory.cast(), bytes) }
    }

    /// Takes back what was announced with this beginning.
    pub fn withdraw(&self, memory: *const u8) {
        // SAFETY: as above.
        unsafe { (self.withdraw)(memory.cast()) }
    }

    /// Runs a kernel to its end. `arguments` are the addresses of its parameters, as for `cuLaunchKernel`.
    ///
    /// # Errors
    ///
    /// [`Error::Library`] where there is no such kernel; [`Error::Fault`] with kernel, block, thread and what it did.
    /// What the kernel had written until then stays.
    ///
    /// # Safety
    ///
    /// The arguments are what the kernel takes, and the memory that they point to is there and is nobody else's; a
    /// pointer that a kernel computes wrongly is caught only with [`Checks::On`](crate::Checks::On).
    pub unsafe fn launch(&self, kernel: &str, arguments: &[*mut c_void], shape: &Shape) -> Result<(), Error> {
        let entry = self.entry(kernel)?;
        let mut message = [0 as c_char; 640];
        // SAFETY: `MXHAL_CLUSTER_KERNEL` defines the entry with this type; the rest is the caller's promise.
        let status = unsafe { entry(arguments.as_ptr(), shape, message.as_mut_ptr(), message.len()) };
        if status == 0 {
            return Ok(());
        }
        // SAFETY: snprintf ended it with a zero.
        let words = unsafe { CStr::from_ptr(message.as_ptr()) };
        Err(Error::Fault(words.to_string_lossy().into_owned()))
    }

    fn entry(&self, kernel: &str) -> Result<Entry, Error> {
        let name = format!("emulated_{kernel}\0");
        // SAFETY: `MXHAL_CLUSTER_KERNEL` defines every symbol of this prefix, with the type `Entry`.
        let symbol = unsafe { self.library.get::<Entry>(name.as_bytes()) };
        symbol.map(|entry| *entry).map_err(|error| Error::Library(self.path.clone(), error))
    }
}
