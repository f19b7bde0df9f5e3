//! The examples, run as their user runs them: on a simulated CANN, and where there is none.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output};

use mxhal_simulated_cann_install::{LIBRARY, Libraries, link};
use tempfile::TempDir;

/// A run of cargo in the profile and target folder of this test.
fn cargo(arguments: &[&str]) -> Command {
    let test = env::current_exe().unwrap();
    // target/PROFILE/deps/test
    let folder = test.ancestors().nth(2).unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    cargo.args(["--quiet", "--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
    cargo
}

fn example(name: &str, arguments: &[&OsStr]) -> Output {
    let run = &["run", "--package", "mxhal-cann", "--example", name];
    cargo(run).arg("--").args(arguments).output().unwrap()
}

/// A simulated installation, which each test has for itself.
fn installation() -> TempDir {
    assert!(cargo(&["build", "--package", "mxhal-simulated-cann"]).status().unwrap().success());
    let simulator = env::current_exe().unwrap().ancestors().nth(2).unwrap().join(LIBRARY);
    let folder = tempfile::tempdir().unwrap();
    link(folder.path(), &simulator, Libraries::Split).unwrap();
    folder
}

#[test]
fn the_example_quantizes_rows_on_a_simulated_device() {
    let folder = installation();
    let output = example("quantize", &[folder.path().as_os_str()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("DynamicMxQuant: aclnnDynamicMxQuantV3, in "), "{text}");
    // 4 under 2^-2, and 4 under 2^-1.
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    assert_eq!(
        last,
        ["elements [66, 66, 66, 66] …, scales [126, 126]", "elements [66, 66, 66, 66] …, scales [125, 125]"]
    );
}

#[test]
fn without_cann_the_example_says_where_it_looked() {
    let output = example("quantize", &[OsStr::new("/nowhere")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/lib64/libacl_rt.so") && said.contains("libascendcl.so"), "{said}");
}

#[test]
fn every_question_is_answered_by_a_simulated_device() {
    let folder = installation();
    let output = example("probe", &[folder.path().as_os_str(), OsStr::new("--small")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && !text.contains("NO ANSWER"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for answer in [
        "at address 0: taken, ",
        "counted among inputs and outputs: taken, and the right bytes",
        "counted among all: taken, and the right bytes",
        "E4M3 [130, 288]: [9, 9, 16, 32], format 29",
        "[3.761582e-37, 32.0, inf, NaN]",
        "[scale-pairs]",
        "[fp4-even]",
        "[out-of-memory]",
        "W8A8, m = 4096: 2x32x64 in ",
    ] {
        assert!(text.contains(answer), "{answer:?} is not in\n{text}");
    }
}
