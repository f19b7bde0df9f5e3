//! The CPU backend as a file and the CPU backend that is embedded are one: byte for byte the same results.

#![cfg(feature = "cli")]

mod cargo_build;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use mxhal_conformance::report::{Report, State};

static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| cargo_build::library("mxhal-cpu-plugin", "mxhal_cpu"));

fn mxhal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mxhal"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The digest of every case whose bits are the same everywhere.
fn digests(target: &[&str], folder: &Path) -> BTreeMap<String, String> {
    let json = folder.join("report.json");
    let output =
        mxhal().arg("conform").args(target).args(["--seed", "77", "--json"]).arg(&json).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Report = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let digest = |state| match state {
        State::Pass(measures) => measures.digest,
        _ => None,
    };
    report.cases.into_iter().filter_map(|case| Some((case.name, digest(case.state)?))).collect()
}

#[test]
fn the_suite_passes_with_the_same_bits_through_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = digests(&["--backend", "cpu"], folder.path());
    let library = digests(&["--plugin", PLUGIN.to_str().unwrap()], folder.path());
    assert!(embedded.len() > 50, "only {} cases have a digest", embedded.len());
    assert_eq!(embedded, library);
}

#[test]
fn a_layer_gives_the_same_file_through_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, format!("[backend]\nname = \"cpu-file\"\nlibrary = {:?}\n", *PLUGIN)).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/golden/deepseek_v4_tiny");

    for (layer, scheme) in [("0", "mxfp8-g128"), ("1", "bf16")] {
        let run = |name: &str, choice: &[&std::ffi::OsStr]| {
            let y = folder.path().join(name);
            let output = mxhal()
                .args(["moe", "--layer", layer, "--activation", scheme, "--checkpoint"])
                .arg(&golden)
                .arg("--input")
                .arg(golden.join("expected.safetensors"))
                .arg("--output")
                .arg(&y)
                .args(choice)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", said(&output));
            fs::read(y).unwrap()
        };
        let embedded = run("embedded.safetensors", &["--backend".as_ref(), "cpu".as_ref()]);
        let library = run("library.safetensors", &["--config".as_ref(), config.as_os_str()]);
        assert_eq!(embedded, library, "layer {layer}, {scheme}");
    }
}
