//! The C example builds against the header alone, shows up as a device, and passes what it says it can do.

#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mxhal_conformance::report::{Report, State, StateKind};
use tempfile::TempDir;

/// A plugin, built from source into a folder of its own.
struct Built {
    folder: TempDir,
    library: PathBuf,
}

/// Builds the example, copied beside a copy of the header as a vendor would have it.
fn build() -> Built {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder to build in");
    for file in ["examples/c-plugin/mxhal_c.c", "examples/c-plugin/Makefile", "ffi/include/mxhal.h"] {
        let name = Path::new(file).file_name().expect("it is a file");
        fs::copy(root.join(file), folder.path().join(name)).expect("the folder is ours");
    }
    let library = folder.path().join("libmxhal_c.so");
    let make = run(Command::new("make")
        .arg("-C")
        .arg(folder.path())
        .arg("MXHAL_INCLUDE=.")
        .arg(format!("OUT={}", library.display())));
    assert!(make.status.success(), "{}", text(&make.stderr));
    Built { folder, library }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mxhal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mxhal"))
}

#[test]
fn exactly_the_two_symbols_are_exported() {
    let built = build();
    let inspection = mxhal_ffi::inspect::inspect(&built.library).expect("it is a plugin");
    let mut exported = inspection.exported;
    exported.sort();
    assert_eq!(exported, ["mxhal_identity", "mxhal_plugin_open"]);
}

#[test]
fn its_device_is_shown() {
    let built = build();
    let config = built.folder.path().join("config.toml");
    fs::write(&config, "[backend]\nname = \"c-example\"\nlibrary = \"libmxhal_c.so\"\n")
        .expect("the folder is ours");
    let devices = run(mxhal().arg("devices").arg("--config").arg(&config));
    let shown = text(&devices.stdout);
    assert!(devices.status.success(), "{shown}{}", text(&devices.stderr));
    assert!(shown.contains("c-example"), "{shown}");
    assert!(shown.contains("host memory and the calling thread"), "{shown}");
}

#[test]
fn an_option_that_it_does_not_have_is_an_error_that_names_it() {
    let built = build();
    let config = built.folder.path().join("config.toml");
    fs::write(
        &config,
        "[backend]\nname = \"c-example\"\nlibrary = \"libmxhal_c.so\"\n\n[backend.options]\nthreads = 4\n",
    )
    .expect("the folder is ours");
    let conform = run(mxhal().args(["conform", "--backend", "c-example", "--config"]).arg(&config));
    let said = text(&conform.stdout) + &text(&conform.stderr);
    assert_eq!(conform.status.code(), Some(3), "{said}");
    assert!(said.contains("unknown option `threads`"), "{said}");
}

#[test]
fn it_passes_what_it_claims_and_gives_its_reasons_for_the_rest() {
    let built = build();
    let json = built.folder.path().join("report.json");
    let conform = run(mxhal().arg("conform").arg("--plugin").arg(&built.library).arg("--json").arg(&json));
    let said = text(&conform.stdout) + &text(&conform.stderr);
    let report = fs::read_to_string(&json).unwrap_or_else(|error| panic!("no report: {error}\n{said}"));
    let report: Report = serde_json::from_str(&report).expect("a report can be read again");

    let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(conform.status.code(), Some(0), "{said}");
    for operator in ["quantize", "dequantize", "matmul"] {
        let name = format!("exact/{operator}/");
        let passed = |case: &&mxhal_conformance::report::CaseReport| case.state.kind() == StateKind::Pass;
        assert!(
            report.cases.iter().filter(|case| case.name.starts_with(&name)).any(|case| passed(&case)),
            "no case of {name} passed"
        );
    }
    let reasons: Vec<_> = report
        .cases
        .iter()
        .filter_map(|case| match &case.state {
            State::NotSupported { reason, text } => Some((reason.as_str(), text.as_str())),
            _ => None,
        })
        .collect();
    assert!(
        reasons.contains(&(
            "operator",
            "route is not offered; this example has quantize, dequantize and matmul"
        ))
    );
    assert!(
        reasons.iter().any(|(reason, text)| *reason == "format" && text.contains("activations in mxfp8"))
    );
}
