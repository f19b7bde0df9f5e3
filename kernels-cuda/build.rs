//! Makes one fatbin of the kernels where there is an nvcc, and an empty file where there is none. Nothing is downloaded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What device code is made for: Hopper, and the two families of Blackwell.
const ARCHITECTURES: [&str; 3] = ["90a", "100f", "120f"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for folder in ["kernels", "ptx"] {
        println!("cargo::rerun-if-changed={}", here.join(folder).display());
    }
    for variable in ["MXHAL_NVCC", "CUDA_HOME", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let fatbin = out.join("kernels.fatbin");
    match nvcc(&out) {
        Some(nvcc) => compile(&nvcc, &here, &fatbin),
        None => {
            println!(
                "cargo::warning=no nvcc: the CUDA kernels are left out; kernels-cuda/toolchain.sh installs one"
            );
            std::fs::write(&fatbin, []).expect("cargo's output folder can be written");
        }
    }
    println!("cargo::rustc-env=MXHAL_FATBIN={}", fatbin.display());
}

/// `MXHAL_NVCC`; that of `CUDA_HOME`; the first of `PATH`; the one that `toolchain.sh` put beside the build.
fn nvcc(out: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os("MXHAL_NVCC") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "MXHAL_NVCC is {}, and there is no such file", named.display());
        return Some(named);
    }
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    // OUT_DIR is <target>/<profile>/build/<package>/out, with a target's triple in between when it is given.
    let beside = out.ancestors().skip(4).take(2).map(|target| {
        println!("cargo::rerun-if-changed={}", target.join("cuda-toolchain").display());
        target.join("cuda-toolchain/nvidia/cu13/bin")
    });
    let folders: Vec<PathBuf> = home.into_iter().chain(env::split_paths(&path)).chain(beside).collect();
    folders.into_iter().map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())
}

fn compile(nvcc: &Path, here: &Path, fatbin: &Path) {
    let mut command = Command::new(nvcc);
    // Multiplications and additions are fused only where a kernel says so: every other build rounds as the sources say.
    command.args(["-fatbin", "-O3", "-std=c++17", "-fmad=false", "-lineinfo", "--threads", "2"]);
    for name in ARCHITECTURES {
        command.arg("-gencode").arg(format!("arch=compute_{name},code=sm_{name}"));
    }
    command.arg("-I").arg(here.join("kernels")).arg("-I").arg(here.join("ptx"));
    command.arg(here.join("kernels/all.cu")).arg("-o").arg(fatbin);
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", nvcc.display()));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
