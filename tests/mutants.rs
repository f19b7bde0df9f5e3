//! The conformance suite is held to its own purpose: each deliberately wrong backend of `conformance/mutants` is caught,
//! by the suite that is meant to catch it, and their correct twin passes.

#![cfg(feature = "cli")]

mod cargo_build;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
    /// What comes of a case that meets it; where that is a pass, a note of the report names it.
    caught_as: StateKind,
}

const fn fails(fault: &'static str, suite: SuiteKind, filter: &'static str) -> Mutant {
    Mutant { fault, suite, filter, time_factor: "1", caught_as: StateKind::Fail }
}

const fn otherwise(mutant: Mutant, caught_as: StateKind, time_factor: &'static str) -> Mutant {
    Mutant { caught_as, time_factor, ..mutant }
}

const RARE: &str = "^exact/(dequantize/every-code/64x128|permute)/";

const MUTANTS: [Mutant; 90] = [
    fails("nibbles-swapped", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("ties-away", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("floor-for-ceil", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("floor-for-even", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("scale-off-by-one", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("saturation-dropped", SuiteKind::Exact, "^exact/(de)?quantize/"),
    fails("amax-floor-ignored", SuiteKind::Special, "^special/quantize/"),
    fails("negative-zero-lost", SuiteKind::Special, "^special/quantize/"),
    fails("nan-block-finite", SuiteKind::Special, "^special/quantize/"),
    fails("nan-scale-ignored", SuiteKind::Special, "^special/"),
    fails("least-scale-zero", SuiteKind::Exact, "^exact/dequantize/"),
    fails("g128-as-g32", SuiteKind::Exact, "^exact/dequantize/"),
    fails("nvfp4-factor-dropped", SuiteKind::Exact, "^exact/dequantize/"),
    fails("e4m3-sign-lost", SuiteKind::Exact, "^exact/dequantize/"),
    fails("last-block-dropped", SuiteKind::Exact, "^exact/(dequantize|matmul)/"),
    fails("half-precision-sum", SuiteKind::Exact, "^exact/(accumulator|permute)/"),
    fails("truncated", SuiteKind::Exact, "^exact/matmul/"),
    fails("rounded-twice", SuiteKind::Exact, "^exact/matmul/"),
    fails("infinity-clamped", SuiteKind::Special, "^special/matmul/"),
    fails("bias-twice", SuiteKind::Exact, "^exact/(grouped-)?matmul/"),
    fails("bias-of-first-group", SuiteKind::Exact, "^exact/grouped-matmul/"),
    fails("weights-of-next-group", SuiteKind::Exact, "^exact/(grouped-)?matmul/"),
    fails("counts-cumulative", SuiteKind::Exact, "^exact/(grouped-)?matmul/"),
    fails("clamp-missing", SuiteKind::Bounded, "^bounded/(swiglu|combine)/"),
    fails("nan-clamped-away", SuiteKind::Special, "^special/(swiglu|combine)/"),
    fails("alpha-ignored", SuiteKind::Bounded, "^bounded/swiglu/"),
    fails("interleaving-ignored", SuiteKind::Bounded, "^bounded/swiglu/"),
    fails("weight-on-the-other-side", SuiteKind::Bounded, "^bounded/(moe-ffn|swiglu)/"),
    fails("shared-expert-clamped", SuiteKind::Bounded, "^bounded/moe-ffn/"),
    fails("expert-off-by-one", SuiteKind::Exact, "^exact/(route|permute)/"),
    fails("higher-id-first", SuiteKind::Exact, "^exact/(route|permute)/"),
    fails("router-bias-ignored", SuiteKind::Bounded, "^bounded/route/"),
    fails("renormalize-dropped", SuiteKind::Bounded, "^bounded/route/"),
    fails("routing-scale-dropped", SuiteKind::Bounded, "^bounded/route/"),
    fails("nobody-is-first", SuiteKind::Special, "^special/(permute|combine)/"),
    fails("expert-map-ignored", SuiteKind::Exact, "^exact/permute/"),
    fails("unstable-order", SuiteKind::Exact, "^exact/(permute|route)/"),
    fails("last-slot-first", SuiteKind::Bounded, "^bounded/(combine|route)/"),
    fails("combine-weights-ignored", SuiteKind::Exact, "^exact/combine/"),
    fails("addend-dropped", SuiteKind::Exact, "^exact/combine/"),
    fails("write-past-end", SuiteKind::Memory, "^memory/"),
    fails("rows-of-nobody-written", SuiteKind::Memory, "^memory/(grouped-)?matmul/"),
    fails("input-written", SuiteKind::Memory, "^memory/(swiglu|combine)/"),
    fails("gap-written", SuiteKind::Memory, "^memory/(swiglu|combine)/"),
    fails("workspace-overrun", SuiteKind::Memory, "^memory/"),
    fails("last-element-unwritten", SuiteKind::Memory, "^memory/(swiglu|combine)/"),
    fails("alignment-assumed", SuiteKind::Memory, "^memory/(matmul|combine)/"),
    fails("no-rows-refused", SuiteKind::Memory, "^memory/(matmul|combine)/"),
    fails("out-of-memory-unnamed", SuiteKind::Memory, "^memory/(matmul|combine)/"),
    fails("export-without-signs", SuiteKind::Exact, "^exact/(grouped-)?matmul/"),
    fails("denies-what-it-can", SuiteKind::Support, "^support/"),
    fails("denies-in-silence", SuiteKind::Support, "^support/"),
    fails("wavers", SuiteKind::Support, "^support/"),
    fails("declares-too-much", SuiteKind::Support, "^support/"),
    fails("order-of-large-batches", SuiteKind::Determinism, "^determinism/"),
    fails("order-of-arrival", SuiteKind::Determinism, "^determinism/"),
    fails("race", SuiteKind::Determinism, "^determinism/matmul/"),
    fails("stale-input", SuiteKind::Sequence, "^(sequence|exact/route)/"),
    fails("stale-weights", SuiteKind::Sequence, "^(sequence|exact/route)/"),
    fails("panic-in-run", SuiteKind::Exact, RARE),
    fails("talks", SuiteKind::Abi, "^abi/(silence|identity)"),
    otherwise(fails("abort-at-shutdown", SuiteKind::Abi, "^abi/(shutdown|identity)"), StateKind::Crash, "1"),
    otherwise(
        fails("hang-at-shutdown", SuiteKind::Abi, "^abi/(shutdown|identity)"),
        StateKind::Timeout,
        "0.05",
    ),
    otherwise(fails("abort-in-run", SuiteKind::Exact, RARE), StateKind::Crash, "1"),
    otherwise(fails("exit-in-run", SuiteKind::Exact, RARE), StateKind::Crash, "1"),
    otherwise(fails("hang-in-run", SuiteKind::Exact, RARE), StateKind::Timeout, "0.05"),
    fails("leaks-a-buffer", SuiteKind::Abi, "^abi/(plan|device)/"),
    fails("allocates-in-run", SuiteKind::Abi, "^abi/plan/"),
    fails("leaks-plans", SuiteKind::Abi, "^abi/(plan|device)/"),
    fails("table-written-whole", SuiteKind::Abi, "^abi/(host|plan)/"),
    fails("table-size-of-the-host", SuiteKind::Abi, "^abi/(host|plan)/"),
    fails("host-size-equal", SuiteKind::Abi, "^abi/(host|plan)/"),
    fails("newer-minor-refused", SuiteKind::Abi, "^abi/(host|plan)/"),
    otherwise(fails("host-read-whole", SuiteKind::Abi, "^abi/(host|plan)/"), StateKind::Crash, "1"),
    otherwise(
        fails("opens-once", SuiteKind::Abi, "^(abi/host/opened|exact/permute/)"),
        StateKind::DeviceLost,
        "1",
    ),
    fails("operator-size-equal", SuiteKind::Abi, "^abi/(sizes|plan)/"),
    fails("enum-guessed", SuiteKind::Abi, "^abi/(values|plan)/"),
    fails("unknown-kind-unnamed", SuiteKind::Abi, "^abi/(values|plan)/"),
    fails("top-k-cut", SuiteKind::Abi, "^abi/(sense|plan)/"),
    fails("excluded-tensor-ignored", SuiteKind::Abi, "^abi/(sense|plan)/"),
    fails("error-without-message", SuiteKind::Abi, "^abi/(null|device|plan)/"),
    fails("error-overrun", SuiteKind::Abi, "^abi/(error|plan)/"),
    fails("result-overrun", SuiteKind::Abi, "^abi/(sizes|plan)/"),
    fails("index-ignored", SuiteKind::Abi, "^abi/(device|plan)/"),
    fails("null-accepted", SuiteKind::Abi, "^abi/(null|plan)/"),
    fails("every-extension", SuiteKind::Abi, "^abi/(table|plan)/"),
    otherwise(fails("unwinds", SuiteKind::Abi, "^abi/(event|plan)/"), StateKind::Crash, "1"),
    otherwise(fails("crash-in-open", SuiteKind::Abi, "^abi/(load|plan/)"), StateKind::Crash, "1"),
    otherwise(fails("hang-in-open", SuiteKind::Abi, "^abi/(load|plan/)"), StateKind::Timeout, "0.02"),
    otherwise(fails("thread-after-shutdown", SuiteKind::Abi, "^abi/(shutdown|plan/)"), StateKind::Pass, "1"),
];

#[test]
fn the_correct_twin_passes_everything() {
    for seed in seeds() {
        let (status, report) = conform("none", "", "1", seed);
        let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        assert_eq!(status, 0);
        assert!(report.passed && report.notes.is_empty(), "{:#?}", report.notes);
        let passed = report.cases.iter().filter(|case| case.state.kind() == StateKind::Pass).count();
        assert!(passed > 0, "nothing was executed");
    }
}

/// Seed 0, or those of `MXHAL_MUTANT_SEEDS`: with more of them, what is caught by luck is found.
fn seeds() -> Vec<u64> {
    let given = std::env::var("MXHAL_MUTANT_SEEDS").unwrap_or_else(|_| "0".to_owned());
    let seeds = given.split(',').map(|seed| seed.trim().parse().expect("numbers with commas between them"));
    seeds.collect()
}

#[test]
fn each_mutant_is_caught_by_the_suite_meant_for_it_and_the_run_goes_on() {
    seeds().into_iter().for_each(expect_all_caught);
}

fn expect_all_caught(seed: u64) {
    let next = AtomicUsize::new(0);
    // Each is a parent with a worker, and the runs that hang leave a processor to others.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    expect_caught(mutant, seed);
                }
            });
        }
    });
}

fn expect_caught(mutant: &Mutant, seed: u64) {
    let Mutant { fault, suite, filter, time_factor, caught_as } = mutant;
    let (status, report) = conform(fault, filter, time_factor, seed);
    let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
    if *caught_as == StateKind::Pass {
        assert!(report.passed && wrong.is_empty(), "{fault}, seed {seed}: {wrong:#?}");
        assert!(
            report.notes.iter().any(|note| note.contains("`left-behind`")),
            "{fault}: {:?}",
            report.notes
        );
        return;
    }
    assert!(
        wrong.iter().any(|case| case.suite == *suite && case.state.kind() == *caught_as),
        "no case of `{suite}` {} for {fault}, seed {seed}; wrong are {wrong:#?}",
        caught_as.name()
    );
    assert_eq!(status, 1, "{fault}");
    assert!(!report.passed, "{fault}");
    if fault.ends_with("-in-open") {
        // Nothing can be asked; every case is there all the same, with why it was not.
        assert!(report.cases.len() > 1, "{fault}: {:#?}", report.cases);
        let others = report.cases.iter().filter(|case| case.name != "abi/load");
        assert!(others.into_iter().all(|case| case.state.kind() == StateKind::Skipped), "{fault}");
        return;
    }
    // What is right is not condemned along with it, and a worker that is gone costs one case.
    let first_lost =
        report.cases.iter().position(|case| case.state.kind() != StateKind::Fail && case.state.is_wrong());
    let after = &report.cases[first_lost.map_or(0, |first| first + 1)..];
    assert!(
        after.iter().any(|case| case.state.kind() == StateKind::Pass),
        "nothing passed for {fault}, seed {seed}: {after:#?}"
    );
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
fn conform(fault: &str, filter: &str, time_factor: &str, seed: u64) -> (i32, Report) {
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
    command.args(["--time-factor", time_factor, "--seed", &seed.to_string(), "--json"]).arg(&json);
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
