//! CUDA kernels on the CPU: compiled by the host's C++ compiler from the source that nvcc compiles, and run.
//!
//! [`compile`] makes a shared library of kernels written in CUDA C++ (the dialect of `include/emulation.h`), and
//! [`Kernels`] opens it and launches them by name. Every GPU thread is a fiber; see the folder's `README.md` for what
//! is emulated, what is checked and what is not.
//!
//! ```no_run
//! use mxhal_cuda_emulation::{Checks, Kernels, Shape, compile};
//!
//! let library = compile(&["kernels/add.cu".into()], &["kernels".into()], Checks::On, "target/emulated".as_ref())?;
//! let kernels = Kernels::open(&library)?;
//! let mut rows = 3u32;
//! let arguments = [(&raw mut rows).cast()];
//! // SAFETY: the kernel takes one 32-bit number.
//! unsafe { kernels.launch("add", &arguments, &Shape::new([1, 1, 1], [32, 1, 1]))? };
//! # Ok::<(), mxhal_cuda_emulation::Error>(())
//! ```

mod build;
mod kernels;
mod tensor_map;

use core::fmt;
use std::path::PathBuf;

pub use build::{compile, kernel_sources};
pub use kernels::{Kernels, Shape};
pub use tensor_map::{Tiled, encode_tensor_map};

/// Whether memory accesses are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checks {
    /// Every access, at some ten times the time: bounds, uninitialised shared memory, races.
    On,
    /// Those of barriers, warp operations and wrapped instructions alone.
    Off,
}

/// Why kernels were not compiled, not opened, or did not run to their end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    File(PathBuf, std::io::Error),
    /// There is no C++ compiler, or it refused; what it said.
    Compiler(String),
    /// The library could not be opened, or holds no such kernel.
    Library(PathBuf, libloading::Error),
    /// The kernel did what the hardware forbids or leaves undefined.
    Fault(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Compiler(words) => write!(f, "compiling kernels for the CPU: {words}"),
            // libloading's own words are in the source of its error.
            Self::Library(path, error) => match std::error::Error::source(error) {
                Some(reason) => write!(f, "{}: {error}: {reason}", path.display()),
                None => write!(f, "{}: {error}", path.display()),
            },
            Self::Fault(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, error) => Some(error),
            Self::Library(_, error) => Some(error),
            Self::Compiler(_) | Self::Fault(_) => None,
        }
    }
}
