//! `mxhal new-backend`: in each language the project builds as it is, and passes what it should on its first day.

#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mxhal_conformance::report::{Report, State, StateKind};
use tempfile::TempDir;

const FIRST_DAY: &str = "^(abi|memory|support)/";

/// A project in a folder of its own.
struct Project {
    folder: TempDir,
    name: &'static str,
}

impl Project {
    fn new(language: &str, name: &'static str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder to work in");
        let made = run(mxhal()
            .current_dir(folder.path())
            .args(["new-backend", "--lang", language])
            .args(more)
            .arg(name));
        assert!(made.status.success(), "{}", said(&made));
        assert!(said(&made).contains("README.md says how to go on"), "{}", said(&made));
        Self { folder, name }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Asks the suite: nothing may be wrong, the three suites must have passed something, and the worked example too.
    fn passes_its_first_day(&self, library: &Path) {
        let inspection = mxhal_ffi::inspect::inspect(library).expect("it is a plugin");
        let mut exported = inspection.exported;
        exported.sort();
        assert_eq!(exported, ["mxhal_identity", "mxhal_plugin_open"]);

        let first_day = self.conform(library, FIRST_DAY);
        for suite in ["abi/", "memory/", "support/"] {
            let passed = |name: &str, kind| name.starts_with(suite) && kind == StateKind::Pass;
            assert!(
                first_day.cases.iter().any(|case| passed(&case.name, case.state.kind())),
                "nothing of {suite} passed"
            );
        }
        let dequantize = self.conform(library, "^exact/dequantize/.*/mxfp4_f32$");
        assert!(dequantize.cases.iter().all(|case| case.state.kind() == StateKind::Pass), "{dequantize:#?}");
        let refused = first_day.cases.iter().any(|case| match &case.state {
            State::NotSupported { text, .. } => text == "quantize is not written yet",
            _ => false,
        });
        assert!(refused, "quantize is refused with a sentence");
    }

    /// With the list of expected failures that the project has.
    fn conform(&self, library: &Path, filter: &str) -> Report {
        let json = self.folder.path().join("report.json");
        let conform = run(mxhal()
            .args(["conform", "--filter", filter, "--plugin"])
            .arg(library)
            .arg("--waivers")
            .arg(self.path().join("expected-failures.toml"))
            .arg("--json")
            .arg(&json));
        let report = fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}: {}", said(&conform)));
        let report: Report = serde_json::from_str(&report).expect("a report can be read again");
        let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(conform.status.code(), Some(0), "{}", said(&conform));
        report
    }

    /// The project's own config.toml leads to the library that was built.
    fn is_shown_by_its_configuration(&self) {
        let devices = run(mxhal().arg("devices").arg("--config").arg(self.path().join("config.toml")));
        assert!(devices.status.success(), "{}", said(&devices));
        assert!(said(&devices).contains(self.name), "{}", said(&devices));
    }
}

fn mxhal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mxhal"))
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Builds with make, without a warning, and with CMake where there is one.
fn a_native_project_passes(language: &str, flags: &str) {
    let project = Project::new(language, "first-day", &[]);
    let library = project.path().join("build/libmxhal_first-day.so");
    let strict = format!("{flags}=-O2 -Wall -Wextra -Wshadow -pedantic -Werror");
    let make = run(Command::new("make").arg("-C").arg(project.path()).arg(strict));
    assert!(make.status.success(), "{}", said(&make));
    project.passes_its_first_day(&library);
    project.is_shown_by_its_configuration();

    if Command::new("cmake").arg("--version").output().is_err() {
        eprintln!("there is no cmake here: the CMakeLists.txt was not tried");
        return;
    }
    fs::remove_file(&library).expect("make built it");
    for arguments in [["-B", "build"], ["--build", "build"]] {
        let cmake = run(Command::new("cmake").args(arguments).current_dir(project.path()));
        assert!(cmake.status.success(), "{}", said(&cmake));
    }
    project.passes_its_first_day(&library);
}

#[test]
fn a_project_in_c_builds_and_passes() {
    a_native_project_passes("c", "CFLAGS");
}

#[test]
fn a_project_in_cpp_builds_and_passes() {
    a_native_project_passes("cpp", "CXXFLAGS");
}

#[test]
fn a_project_in_rust_builds_and_passes() {
    let root = env!("CARGO_MANIFEST_DIR");
    let project = Project::new("rust", "first-day", &["--mxhal", root]);
    // The versions of the workspace, which are here: nothing is asked of a registry.
    fs::copy(Path::new(root).join("Cargo.lock"), project.path().join("Cargo.lock")).expect("it is there");
    let target = Path::new(env!("CARGO_BIN_EXE_mxhal"))
        .ancestors()
        .nth(2)
        .expect("target/PROFILE/mxhal")
        .join("new-backend");
    let build = run(Command::new(env!("CARGO"))
        .current_dir(project.path())
        .args(["build", "--release", "--offline", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-D warnings"));
    assert!(build.status.success(), "{}", said(&build));
    let library = target.join("release/libmxhal_first_day.so");
    project.passes_its_first_day(&library);

    let expected = project.path().join("target/release/libmxhal_first_day.so");
    fs::create_dir_all(expected.parent().expect("it lies in a folder")).expect("the folder is ours");
    fs::copy(library, expected).expect("the folder is ours");
    project.is_shown_by_its_configuration();
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder to work in");
    for (arguments, expected) in [
        (&["--lang", "c", "MyChip"][..], "lower-case letters"),
        (&["--lang", "fortran", "mychip"], "possible values: c, cpp, rust"),
        (&["--lang", "c", "mychip", "."], "the folder that you are in"),
        (&["--lang", "c", "mychip", "no/such/folder"], "make that first"),
        (&["--lang", "c", "--mxhal", ".", "mychip"], "needs the header alone"),
        (&["--lang", "rust", "--mxhal", ".", "mychip"], "is no checkout of mxhal"),
    ] {
        let refused = run(mxhal().current_dir(folder.path()).arg("new-backend").args(arguments));
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", said(&refused));
        assert!(said(&refused).contains(expected), "{arguments:?}: {}", said(&refused));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("it is ours").count(), 0);
}
