//! The conformance suite is held to its own purpose: each deliberately wrong backend of `conformance/mutants` is caught,
//! by the suite that is meant to catch it, and their correct twin passes.

#![cfg(feature = "cli")]

mod cargo_build;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use mxhal_conformance::report::{Report, StateKind};
use mxhal_conformance::suite::SuiteKind;

/// A mutant, and how it is caught.
struct Mutant {
    fault: &'static str,
    /// The suite that is meant to catch it.
    suite: SuiteKind,
    /// Cases that are asked: some that meet the fault, and some that do not.
    filter: &'static str,
    /// What time limits are multiplied by: little where a case is going to hang.
    time_factor: &'static str,
    /// What comes of a case that meets it.
    caught_as: StateKind,
}

const fn fails(fault: &'static str, suite: SuiteKind, filter: &'static str) -> Mutant {
    Mutant { fault, suite, filter, time_factor: "1", caught_as: StateKind::Fail }
}

const MUTANTS: [Mutant; 10] = [
    fails("nibbles-swapped", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("ties-away", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("floor-for-ceil", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("nan-scale-ignored", SuiteKind::Special, "^special/"),
    fails("last-block-dropped", SuiteKind::Exact, "^exact/(dequantize|matmul)/"),
    fails("write-past-end", SuiteKind::Memory, "^memory/"),
    fails("expert-off-by-one", SuiteKind::Exact, "^exact/(route|permute)/"),
    fails("counts-cumulative", SuiteKind::Exact, "^exact/(grouped-matmul|matmul)/"),
    Mutant {
        fault: "exit-in-run",
        suite: SuiteKind::Exact,
        filter: "^exact/(dequantize/every-code/64x128|permute)/",
        time_factor: "1",
        caught_as: StateKind::Crash,
    },
    Mutant {
        fault: "hang-in-run",
        suite: SuiteKind::Exact,
        filter: "^exact/(dequantize/every-code/64x128|permute)/",
        time_factor: "0.05",
        caught_as: StateKind::Timeout,
    },
];

#[test]
fn the_correct_twin_passes_everything() {
    let (status, report) = conform("none", "", "1");
    let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(status, 0);
    assert!(report.passed, "{:#?}", report.notes);
    let passed = report.cases.iter().filter(|case| case.state.kind() == StateKind::Pass).count();
    assert!(passed > 0, "nothing was executed");
}

#[test]
fn each_mutant_is_caught_by_the_suite_meant_for_it_and_the_run_goes_on() {
    for mutant in &MUTANTS {
        let Mutant { fault, suite, filter, time_factor, caught_as } = mutant;
        let (status, report) = conform(fault, filter, time_factor);
        let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
        assert!(
            wrong.iter().any(|case| case.suite == *suite && case.state.kind() == *caught_as),
            "no case of `{suite}` {} for {fault}; wrong are {wrong:#?}",
            caught_as.name()
        );
        assert_eq!(status, 1, "{fault}");
        assert!(!report.passed, "{fault}");
        // What is right is not condemned along with it, and a worker that is gone costs one case.
        let first_lost = report
            .cases
            .iter()
            .position(|case| case.state.kind() != StateKind::Fail && case.state.is_wrong());
        let after = &report.cases[first_lost.map_or(0, |first| first + 1)..];
        assert!(
            after.iter().any(|case| case.state.kind() == StateKind::Pass),
            "nothing passed for {fault}: {after:#?}"
        );
    }
}

#[test]
fn the_table_of_the_readme_is_the_table_of_this_test() {
    let readme = include_str!("../conformance/mutants/README.md");
    let rows: Vec<(&str, &str)> = readme
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let [_, fault, _, suite, _] = cells[..] else { return None };
            (!matches!(fault, "fault" | "---" | "none")).then_some((fault, suite))
        })
        .collect();
    let ours: Vec<_> = MUTANTS.iter().map(|mutant| (mutant.fault, mutant.suite.name())).collect();
    assert_eq!(rows, ours);
}

/// Judges the backend with this fault; gives the exit status and the report. An empty filter asks everything.
fn conform(fault: &str, filter: &str, time_factor: &str) -> (i32, Report) {
    let folder = tempfile::tempdir().expect("a folder for the configuration and the report");
    let (config, json) = (folder.path().join("config.toml"), folder.path().join("report.json"));
    let library = PLUGIN.display().to_string();
    fs::write(
        &config,
        format!(
            "[backend]\nname = \"mutants\"\nlibrary = {library:?}\n\n[backend.options]\nfault = {fault:?}\nthreads = 1\n"
        ),
    )
    .expect("the folder is ours");

    let mut command = Command::new(env!("CARGO_BIN_EXE_mxhal"));
    command.arg("conform").arg("--config").arg(&config).args(["--backend", "mutants"]);
    command.args(["--time-factor", time_factor, "--json"]).arg(&json);
    if !filter.is_empty() {
        command.args(["--filter", filter]);
    }
    let output = command.output().expect("the binary was built with this test");
    let text = fs::read_to_string(&json).unwrap_or_else(|error| {
        panic!(
            "no report for {fault}: {error}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let report = serde_json::from_str(&text).expect("a report can be read again");
    (output.status.code().expect("the parent survives what its workers do not"), report)
}

/// The mutants' library, built once.
static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| cargo_build::library("mxhal-mutants", "mxhal_mutants"));
