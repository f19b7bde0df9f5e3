//! Compiles mxhal's kernels for the CPU, with checks and without, and puts both libraries into the driver.

use std::env;
use std::path::{Path, PathBuf};

use mxhal_cuda_emulation::{Checks, compile, kernel_sources};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let crate_of_kernels = here.join("../../../kernels-cuda");
    for folder in ["kernels", "ptx"] {
        println!("cargo::rerun-if-changed={}", crate_of_kernels.join(folder).display());
    }
    for folder in ["include", "src"] {
        println!("cargo::rerun-if-changed={}", here.join("shim").join(folder).display());
    }
    for variable in ["CXX", "CXXFLAGS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for (checks, variable) in [(Checks::Off, "MXHAL_KERNELS_FAST"), (Checks::On, "MXHAL_KERNELS_CHECKED")] {
        let library = library(&crate_of_kernels, checks, &out).unwrap_or_else(|error| panic!("{error}"));
        println!("cargo::rustc-env={variable}={}", library.display());
    }
}

fn library(kernels: &Path, checks: Checks, out: &Path) -> Result<PathBuf, mxhal_cuda_emulation::Error> {
    let sources = kernel_sources(&kernels.join("kernels"))?;
    compile(&sources, &[kernels.join("kernels"), kernels.join("ptx")], checks, out)
}
