//! The conformance suite under the simulated CUDA driver is held to its purpose: each kernel that is wrong in one place is
//! caught, and the kernels as they are pass what catches the others.
//!
//! A mutant is the source of a kernel with one text changed, which must be there exactly once; it is compiled for the CPU
//! and runs under the unmodified backend. The products in tensor memory have mutants of their own in
//! `kernels-cuda/tests/mutants.rs`, which are caught by the emulation alone.

#![cfg(feature = "cli")]

mod cargo_build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mxhal_conformance::report::{Report, StateKind};
use mxhal_cuda_emulation::{Checks, compile, kernel_sources};

/// A kernel that is wrong, and what is asked of it.
struct Mutant {
    name: &'static str,
    /// The file of `kernels-cuda/kernels`.
    file: &'static str,
    from: &'static str,
    to: &'static str,
    product: &'static str,
    /// Cases that are asked.
    filter: &'static str,
    /// Whether it takes the checks of memory to see it.
    checks: Checks,
}

const fn mutant(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    filter: &'static str,
) -> Mutant {
    Mutant { name, file, from, to, product: "sm_120", filter, checks: Checks::Off }
}

const fn on(product: &'static str, mutant: Mutant) -> Mutant {
    Mutant { product, ..mutant }
}

const fn checked(mutant: Mutant) -> Mutant {
    Mutant { checks: Checks::On, ..mutant }
}

/// W4A8 and W4A4 of 18 rows, which are products on tensor cores; few rows, which are not; and groups.
const W4A8: &str = "^exact/matmul/exact/18x40x288/mxfp4_mxfp8_";
const W4A4: &str = "^exact/matmul/exact/18x40x288/mxfp4_mxfp4_";
const FEW: &str = "^exact/matmul/exact/7x33x96/mxfp4_(bf16|mxint8)_";
const GROUPS: &str = "^exact/grouped-matmul/.*/21x34x160x6/nvfp4_nvfp4_";
const WIDE: &str = "^exact/matmul/exact/18x40x288/fp8-tile128_bf16_";
/// Rows and columns that pairs of blocks multiply.
const PAIRS: &str = "^shapes/grouped-matmul/many-rows/300x136x288x2/mxfp4_mxfp8_";

const MUTANTS: [Mutant; 22] = [
    mutant(
        "wrong-fragment-lane",
        "block_scaled.cu",
        "swizzled<128>(row + 16 * i + lane % 16, 2 * step + lane / 16)",
        "swizzled<128>(row + 16 * i + lane % 16, 2 * step + 1 - lane / 16)",
        W4A8,
    ),
    mutant("wrong-scale-selector", "block_scaled.cu", "mma_mxf8f4<step>(", "mma_mxf8f4<0>(", W4A8),
    mutant("second-scales-are-the-first", "block_scaled.cu", "mma_mxf4<2>(", "mma_mxf4<0>(", W4A4),
    mutant(
        "scale-of-the-neighbour-row",
        "block_scaled.cu",
        "lane / 4];\n    load_matrices(w[j]",
        "(lane / 4 ^ 1)];\n    load_matrices(w[j]",
        W4A8,
    ),
    mutant(
        "copies-not-waited-for",
        "block_scaled.cu",
        "copy_async_wait<Scheme::stages - 2>();",
        "copy_async_wait<Scheme::stages - 1>();",
        W4A8,
    ),
    checked(mutant(
        "stage-barrier-missing",
        "block_scaled.cu",
        "the stage that is filled next was read by all.\n    __syncthreads();",
        "the stage that is filled next was read by all.",
        W4A8,
    )),
    mutant(
        "weights-not-swizzled",
        "block_scaled.cu",
        "copy_async_16(stage.w + swizzled<64>(column, chunk)",
        "copy_async_16(stage.w + (column * 64 + chunk * 16)",
        W4A4,
    ),
    mutant(
        "group-offset-off-by-one",
        "block_scaled.cu",
        "uint64_t first = uint64_t(tile.group) * p.n",
        "uint64_t first = uint64_t(tile.group - (tile.group != 0)) * p.n",
        GROUPS,
    ),
    mutant(
        "rows-of-the-first-tile",
        "block_scaled.cu",
        "p.a + (tile.row + row) * p.a_stride",
        "p.a + row * p.a_stride",
        GROUPS,
    ),
    mutant(
        "last-span-of-k-dropped",
        "decode.cu",
        "uint32_t spans = (p.k + few_span - 1) / few_span;",
        "uint32_t spans = p.k / few_span;",
        FEW,
    ),
    mutant(
        "one-row-past-the-tile",
        "decode.cu",
        "if (row >= tile.rows ||",
        "if (row > tile.rows ||",
        "^memory/matmul/.*mxfp4_bf16",
    ),
    checked(mutant(
        "sums-read-before-the-barrier",
        "decode.cu",
        "few_put(shared.sums[threadIdx.x / 32], d[0]);\n  __syncthreads();",
        "few_put(shared.sums[threadIdx.x / 32], d[0]);",
        FEW,
    )),
    mutant(
        "accumulator-not-cleared",
        "wide.cu",
        "float d[2][4][4] = {};",
        "float d[2][4][4] = {{{1.0f}}};",
        WIDE,
    ),
    checked(mutant(
        "tile-overwritten-while-it-is-read",
        "wide.cu",
        "    __syncthreads();\n  }\n#pragma unroll",
        "  }\n#pragma unroll",
        WIDE,
    )),
    mutant(
        "permutation-unstable",
        "permute.cu",
        "ballot & ((1u << lane) - 1)",
        "ballot & ~((2u << lane) - 1)",
        "^exact/permute/",
    ),
    mutant(
        "clamp-missing",
        "swiglu.cu",
        "swiglu_value({p.variant, p.limit, p.alpha}",
        "swiglu_value({p.variant, 0.0f, p.alpha}",
        "^bounded/swiglu/",
    ),
    checked(mutant(
        "factor-before-the-barrier",
        "quantize.cu",
        "shared.amax[threadIdx.x / 32] = amax;\n  __syncthreads();",
        "shared.amax[threadIdx.x / 32] = amax;",
        "^exact/quantize/.*nvfp4",
    )),
    on("sm_100", mutant("stale-tensor-memory", "tensor_product.cuh", "wait_at(&shared.done, 0);", "", W4A8)),
    checked(on(
        "sm_100",
        mutant(
            "mbarrier-not-waited-for",
            "tensor_product.cuh",
            "wait_at(&shared.filled[i % count], i / count % 2);\n    if constexpr",
            "if constexpr",
            W4A8,
        ),
    )),
    on(
        "sm_100",
        mutant(
            "tensor-operands-not-swizzled",
            "tensor_product.cuh",
            "shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_128B",
            "shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_NONE",
            W4A4,
        ),
    ),
    checked(on(
        "sm_100",
        mutant(
            "tile-bytes-not-counted",
            "tensor_product.cuh",
            "expect_bytes(barrier, w_bytes + copies",
            "expect_bytes(barrier, 0 * w_bytes + 0 * copies",
            W4A8,
        ),
    )),
    on(
        "sm_100",
        mutant(
            "halves-of-a-pair-exchanged",
            "tensor_product.cuh",
            "work.rank * own_rows",
            "(1 - work.rank) * own_rows",
            PAIRS,
        ),
    ),
];

#[test]
fn the_kernels_as_they_are_pass_what_catches_the_mutants() {
    let filter = [W4A8, W4A4, FEW, GROUPS, WIDE, PAIRS].join("|");
    for product in ["sm_120", "sm_100", "sm_90"] {
        let report = conform(None, product, &filter, Checks::On);
        let wrong: Vec<_> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
        assert!(wrong.is_empty() && report.passed, "{product}: {wrong:#?}");
        let passed = report.cases.iter().filter(|case| case.state.kind() == StateKind::Pass).count();
        assert!(passed > 5, "{product}: {passed} cases were executed");
    }
}

#[test]
fn each_mutant_is_caught() {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    expect_caught(mutant);
                }
            });
        }
    });
}

fn expect_caught(mutant: &Mutant) {
    let library = library(mutant);
    let report = conform(Some(&library), mutant.product, mutant.filter, mutant.checks);
    let caught = report.cases.iter().filter(|case| case.state.is_wrong()).count();
    assert!(caught > 0 && !report.passed, "{} is not caught by {}", mutant.name, mutant.filter);
}

#[test]
fn the_table_of_the_readme_is_the_table_of_this_test() {
    let readme = include_str!("../conformance/simulators/cuda/README.md");
    let rows: Vec<(&str, &str)> = readme
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let [_, name, file, _, _] = cells[..] else { return None };
            (file.ends_with(".cu") || file.ends_with(".cuh")).then_some((name, file))
        })
        .collect();
    let ours: Vec<_> = MUTANTS.iter().map(|mutant| (mutant.name, mutant.file)).collect();
    assert_eq!(rows, ours);
}

/// The kernels with one text changed, compiled for the CPU.
fn library(mutant: &Mutant) -> PathBuf {
    let Mutant { name, file, from, to, checks, .. } = mutant;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-cuda");
    let kernels = sources.join("kernels");
    let text = fs::read_to_string(kernels.join(file)).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{name}: {file} has `{from}` otherwise than once");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel-mutants");
    let own = folder.join(name);
    // What an earlier run left may be of other sources.
    let _ = fs::remove_dir_all(&own);
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join(file), text.replace(from, to)).unwrap();
    copy_including(file, &kernels, &own);
    let mut all = kernel_sources(&kernels).unwrap();
    for source in &mut all {
        let copy = own.join(source.file_name().expect("a file"));
        if copy.is_file() {
            *source = copy;
        }
    }
    let includes = [kernels, sources.join("ptx")];
    compile(&all, &includes, *checks, &folder).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Copies what includes a file of `from`, directly or not, to where its copy is: there it finds that.
fn copy_including(file: &str, from: &Path, to: &Path) {
    let include = format!("#include \"{file}\"");
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = fs::read_to_string(from.join(&name)).unwrap();
        if text.contains(&include) && !to.join(&name).exists() {
            fs::write(to.join(&name), text).unwrap();
            copy_including(&name, from, to);
        }
    }
}

/// Judges the CUDA backend on a simulated product, with these kernels or the simulator's own.
fn conform(kernels: Option<&Path>, product: &str, filter: &str, checks: Checks) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxhal"));
    command.args(["conform", "--simulate", product, "--time-factor", "10", "--plugin"]).arg(&*PLUGIN);
    command.args(["--filter", filter, "--json"]).arg(&json);
    command.env("MXHAL_SIM_CHECKS", if checks == Checks::On { "on" } else { "off" });
    command.env("MXHAL_SIM_REPORT", folder.path().join("refusals"));
    if let Some(kernels) = kernels {
        command.env("MXHAL_SIM_KERNELS", kernels);
    }
    let output = command.output().unwrap();
    let text = fs::read_to_string(&json).unwrap_or_else(|error| {
        panic!("no report: {error}\n{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
    });
    serde_json::from_str(&text).unwrap()
}

/// The backend, with the simulator of its driver beside it.
static PLUGIN: LazyLock<PathBuf> = LazyLock::new(|| {
    cargo_build::library("mxhal-simulated-cuda", "mxhal_simulated_cuda");
    cargo_build::library("mxhal-cuda-plugin", "mxhal_cuda")
});
