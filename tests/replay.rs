//! A failure becomes a small file that fails again in the same way where it was found, and passes on a correct backend.

#![cfg(feature = "cli")]

mod cargo_build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use mxhal_conformance::replay::Replay;
use mxhal_conformance::report::StateKind;
use mxhal_core::Op;
use serde_json::Value;

/// A folder with a configuration whose backend `mutants` has this fault.
struct Faulty(tempfile::TempDir);

impl Faulty {
    fn new(fault: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = PLUGIN.display().to_string();
        let config = format!(
            "[backend]\nname = \"mutants\"\nlibrary = {library:?}\n\n[backend.options]\nfault = {fault:?}\nthreads = 1\n"
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxhal"));
        command.current_dir(self.0.path()).args(arguments).output().unwrap()
    }

    /// Judges it; gives each replay file that was written.
    fn fail(&self, filter: &str, more: &[&str]) -> Vec<PathBuf> {
        let arguments = ["conform", "--filter", filter, "--replay-dir", "failures"];
        let output = self.run(&[&arguments[..], more].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let files = fs::read_dir(self.0.path().join("failures")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{output:?}");
        files
    }

    /// That a file fails here as it did, and passes on the embedded backend.
    fn expect_faithful(&self, file: &Path, more: &[&str]) {
        let file = file.to_str().unwrap();
        let again = self.run(&[&["replay", file, "--json"], more].concat());
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        let answer: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(answer["as_recorded"], Value::Bool(true), "{answer:#}");
        let right = self.run(&["replay", file, "--backend", "cpu"]);
        assert_eq!(right.status.code(), Some(0), "{right:?}");
        let text = String::from_utf8(right.stdout).unwrap();
        assert!(text.contains("now       cpu") && text.contains(": passed"), "{text}");
    }
}

#[test]
fn a_dropped_block_is_left_with_one_row_one_column_and_one_block() {
    let faulty = Faulty::new("last-block-dropped");
    for file in faulty.fail("^exact/matmul/exact/7x33x96/mxfp4_(bf16|mxfp8)_f32$", &[]) {
        let replay = Replay::read(&file).unwrap();
        let Op::Matmul(each) = replay.trial.case.op else { panic!("{:?}", replay.trial.case.op) };
        assert_eq!((each.m, each.n, each.k), (1, 1, 32), "{}", replay.question());
        let shrunk = replay.shrunk.as_ref().expect("it was shrunk");
        assert!(replay.trial.bytes() * 10 < shrunk.bytes, "{shrunk:?} to {}", replay.trial.bytes());
        faulty.expect_faithful(&file, &[]);
    }
}

#[test]
fn faults_of_other_operators_shrink_too() {
    for (fault, filter) in [
        ("nibbles-swapped", "^exact/quantize/ties/40x160/bf16_mxfp4$"),
        ("ties-away", "^exact/quantize/ties/40x160/f32_mxfp4$"),
        ("nan-scale-ignored", "^special/dequantize/nan-input-scales/.*/mxfp4"),
        ("counts-cumulative", "^exact/grouped-matmul/even/.*/mxfp4_bf16_bf16"),
    ] {
        let faulty = Faulty::new(fault);
        for file in faulty.fail(filter, &[]) {
            let replay = Replay::read(&file).unwrap();
            assert_eq!(replay.verdict.kind(), StateKind::Fail, "{fault}");
            assert!(replay.trial.case.rows <= 2, "{fault}: {}", replay.question());
            faulty.expect_faithful(&file, &[]);
        }
    }
}

#[test]
fn an_exit_costs_workers_and_ends_in_one_row() {
    let faulty = Faulty::new("exit-in-run");
    for file in faulty.fail("^exact/dequantize/every-code/64x128/mxfp4_f16$", &[]) {
        let replay = Replay::read(&file).unwrap();
        assert_eq!(replay.verdict.kind(), StateKind::Crash);
        assert_eq!(replay.question(), "dequantize 1x32 mxfp4_f16");
        faulty.expect_faithful(&file, &[]);
    }
}

#[test]
fn a_hang_is_a_verdict_and_no_shrink_keeps_the_case_whole() {
    let faulty = Faulty::new("hang-in-run");
    let limit = ["--time-factor", "0.02"];
    let more = [&limit[..], &["--no-shrink"]].concat();
    for file in faulty.fail("^exact/dequantize/every-code/64x128/mxfp4_f16$", &more) {
        let replay = Replay::read(&file).unwrap();
        assert_eq!(replay.verdict.kind(), StateKind::Timeout);
        assert_eq!(replay.question(), "dequantize 64x128 mxfp4_f16");
        assert!(replay.shrunk.is_none());
        faulty.expect_faithful(&file, &limit);
    }
}

#[test]
fn what_the_time_for_shrinking_leaves_is_counted() {
    let faulty = Faulty::new("nibbles-swapped");
    let filter = "^exact/quantize/ties/40x160/(bf16|f32)_mxfp4$";
    let arguments = ["conform", "--filter", filter, "--replay-dir", "failures", "--shrink-time", "0"];
    let output = faulty.run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("2 more failures are not in failures"),
        "{output:?}"
    );
    assert_eq!(fs::read_dir(faulty.0.path().join("failures")).unwrap().count(), 0);
}

#[test]
fn failures_name_the_option_and_files_that_are_wrong_are_matters_of_usage() {
    let faulty = Faulty::new("nibbles-swapped");
    let filter = "^exact/quantize/ties/40x160/bf16_mxfp4$";
    let said = faulty.run(&["conform", "--filter", filter]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("--replay-dir"), "{said:?}");
    let file = faulty.fail(filter, &[]).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let name = file.to_str().unwrap();
    let elements = text.find("\"elements\": \"").expect("an input") + "\"elements\": \"".len();
    let mut changed = text.clone();
    changed.replace_range(elements..=elements, if text[elements..].starts_with('0') { "1" } else { "0" });
    for (contents, said) in [
        (changed, "inputs_sha256"),
        (text.replace("mxhal-replay/1", "mxhal-replay/2"), "mxhal-replay/2"),
        (text[..text.len() - 20].to_owned(), "line"),
    ] {
        fs::write(&file, contents).unwrap();
        let refused = faulty.run(&["replay", name]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said), "{refused:?}");
    }
    fs::write(&file, text).unwrap();
    assert_eq!(faulty.run(&["replay", name, "--plugin", "absent.so"]).status.code(), Some(3));
    assert_eq!(faulty.run(&["replay", name, "--device", "9"]).status.code(), Some(4));
    assert_eq!(faulty.run(&["replay", "absent.json"]).status.code(), Some(2));
}

/// The mutants' library, built once.
static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| cargo_build::library("mxhal-mutants", "mxhal_mutants"));
