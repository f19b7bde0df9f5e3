//! Makes one shared library of the kernels, compiled by the host's C++ compiler under the shim.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let kernels = here.parent().expect("the shim lies within kernels-ascend").join("kernels");
    library(&here, &sources(&kernels), &out.join("kernels.so"));
    library(&here, &sources(&here.join("tests")), &out.join("faults.so"));
    for folder in [kernels, here.join("include"), here.join("src"), here.join("tests")] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}

/// The C++ files of a folder, in the order of their names.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut sources: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder of this repository can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
        .collect();
    sources.sort();
    sources
}

fn library(here: &Path, sources: &[PathBuf], library: &Path) {
    let mut build = cc::Build::new();
    // Multiplications and additions are two instructions with two roundings, as AscendC has them.
    build.cpp(true).pic(true).opt_level(2).std("c++17").warnings(true).extra_warnings(true);
    build
        .flag("-ffp-contract=off")
        .flag("-fvisibility=hidden")
        .include(here.join("include"))
        .cargo_metadata(false);
    build.file(here.join("src/machine.cpp")).files(sources);
    let objects = build.compile_intermediates();
    let mut link = build.get_compiler().to_command();
    link.args(["-shared", "-s", "-Wl,--no-undefined", "-o"]).arg(library).args(objects).arg("-lm");
    let output = link.output().unwrap_or_else(|error| panic!("{link:?}: {error}; install a C++ compiler"));
    assert!(output.status.success(), "{link:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
