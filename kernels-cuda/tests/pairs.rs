//! Emulated: a product by the tensor cores of a pair of blocks, in whole numbers of a small unit, so that every sum is
//! exact. And what is wrong with one is found.

mod emulated;

use core::ffi::c_void;
use std::path::{Path, PathBuf};

use emulated::Random;
use mxhal_cuda_emulation::{Checks, Error, Kernels, Shape, compile};

/// Bytes of K in a row, of either operand.
const ROW: usize = 128;
const ROWS: usize = 256;
const MOST_COLUMNS: usize = 256;

const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
/// Some E4M3, with their values.
const E4M3: [(u8, f64); 6] = [(0x00, 0.0), (0x30, 0.5), (0x38, 1.0), (0xb8, -1.0), (0x40, 2.0), (0xc4, -3.0)];
/// Some of both kinds of scales.
const E8M0: [(u8, f64); 3] = [(126, 0.5), (127, 1.0), (128, 2.0)];
const UE4M3: [(u8, f64); 3] = [(0x30, 0.5), (0x38, 1.0), (0x44, 3.0)];

struct Kind {
    name: &'static str,
    kernel: &'static str,
    /// Elements of a row, and how many share a scale.
    depth: usize,
    block: usize,
    scales: [(u8, f64); 3],
}

const KINDS: [Kind; 3] = [
    Kind { name: "MXF8F6F4", kernel: "pair_mxf8f6f4", depth: 128, block: 32, scales: E8M0 },
    Kind { name: "MXF4", kernel: "pair_mxf4", depth: 256, block: 32, scales: E8M0 },
    Kind { name: "NVFP4", kernel: "pair_nvfp4", depth: 256, block: 16, scales: UE4M3 },
];

/// Rows of codes with their scales, and the values that they are.
struct Operand {
    codes: Vec<u8>,
    scales: Vec<u8>,
    values: Vec<f64>,
}

impl Operand {
    /// Of E2M1, in rows of 64 codes or 128; `is_padded` leaves 8 bytes free after each 8. Or of E4M3.
    fn new(kind: &Kind, rows: usize, is_wide: bool, random: &mut Random) -> Self {
        let is_padded = kind.depth == ROW && !is_wide;
        // A gap holds what would be noticed.
        let mut codes = vec![0xff; rows * ROW];
        let (mut scales, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for k in 0..kind.depth {
                if k % kind.block == 0 {
                    scales.push(random.pick(&kind.scales));
                }
                let scale = scales.last().expect("pushed at the first element").1;
                let value = if is_wide {
                    let (code, value) = random.pick(&E4M3);
                    codes[row * ROW + k] = code;
                    value
                } else {
                    let code = random.within(0, 15);
                    let at = row * ROW + if is_padded { k / 16 * 16 + k % 16 / 2 } else { k / 2 };
                    let nibble = 4 * (k % 2);
                    codes[at] = codes[at] & !(15 << nibble) | (code as u8) << nibble;
                    E2M1[code % 8] * if code < 8 { 1.0 } else { -1.0 }
                };
                values.push(value * scale);
            }
        }
        Self { codes, scales: scales.iter().map(|(code, _)| *code).collect(), values }
    }
}

/// 16 bytes each, in an order of their own where a kernel reads 16 at a time.
fn aligned(bytes: &[u8]) -> Vec<u128> {
    bytes.as_chunks().0.iter().map(|chunk| u128::from_ne_bytes(*chunk)).collect()
}

/// What the kernel makes of the operands, and what they are.
fn multiply(
    kernels: &Kernels,
    kind: &Kind,
    columns: usize,
    seed: u64,
) -> Result<(Vec<f32>, Vec<f32>), Error> {
    let mut random = Random(seed);
    let a = Operand::new(kind, ROWS, false, &mut random);
    let b = Operand::new(kind, columns, kind.depth == ROW, &mut random);
    let operands = [&a.codes, &b.codes, &a.scales, &b.scales].map(|bytes| aligned(bytes));
    let mut d = vec![0f32; ROWS * columns];
    for operand in &operands {
        kernels.announce(operand.as_ptr().cast(), size_of_val(&operand[..]));
    }
    kernels.announce(d.as_ptr().cast(), size_of_val(&d[..]));
    let mut pointers = operands.each_ref().map(|operand| operand.as_ptr());
    let (mut sink, mut count) = (d.as_mut_ptr(), columns as u32);
    let mut arguments: Vec<*mut c_void> =
        pointers.iter_mut().map(|pointer| (&raw mut *pointer).cast()).collect();
    arguments.extend([(&raw mut sink).cast::<c_void>(), (&raw mut count).cast()]);
    let shape = Shape::new([2, 1, 1], [128, 1, 1]).with_shared_bytes(64 << 10).with_seed(seed);
    // SAFETY: the kernels of pairs.cu take four operands of these rows, the sums, and the columns.
    let result = unsafe { kernels.launch(kind.kernel, &arguments, &shape) };
    for operand in &operands {
        kernels.withdraw(operand.as_ptr().cast());
    }
    kernels.withdraw(d.as_ptr().cast());
    result?;
    let rows =
        |of: &Operand| -> Vec<Vec<f64>> { of.values.chunks(kind.depth).map(<[f64]>::to_vec).collect() };
    let (a, b) = (rows(&a), rows(&b));
    let expected =
        a.iter().flat_map(|a| b.iter().map(move |b| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() as f32));
    Ok((d, expected.collect()))
}

/// The kernels of pairs.cu with the second put in place of the first, which stands there once.
fn library(name: &str, changes: &[(&str, &str)]) -> Kernels {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = std::fs::read_to_string(here.join("tests/pairs.cu")).unwrap();
    for (from, to) in changes {
        assert_eq!(source.matches(from).count(), 1, "{name}: the source has `{from}` otherwise than once");
        source = source.replace(from, to);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pairs");
    std::fs::create_dir_all(&folder).unwrap();
    let path: PathBuf = folder.join(format!("{name}.cu"));
    std::fs::write(&path, source).unwrap();
    let includes = ["kernels", "ptx"].map(|name| here.join(name));
    let library = compile(&[path], &includes, Checks::On, &folder).unwrap_or_else(|error| panic!("{error}"));
    Kernels::open(&library).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_pair_multiplies_exactly_whatever_the_order() {
    let kernels = library("right", &[]);
    for (i, kind) in KINDS.iter().enumerate() {
        for (columns, seed) in [(MOST_COLUMNS, 0), (16, 1), (144, 2 + i as u64)] {
            let (got, expected) =
                multiply(&kernels, kind, columns, seed).unwrap_or_else(|error| panic!("{error}"));
            let wrong = got.iter().zip(&expected).position(|(got, expected)| got != expected);
            if let Some(at) = wrong {
                let (row, column) = (at / columns, at % columns);
                panic!(
                    "{}, {columns} columns, seed {seed}: {} and not {} in row {row}, column {column}",
                    kind.kernel, got[at], expected[at]
                );
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_pair_is_found() {
    // With the words of its fault, one of which whichever thread runs first; without any, other numbers are stored.
    let mutants: [(&str, &str, &str, &[&str]); 10] = [
        ("both_have_the_first_half_of_b", "b + (rank * share + thread) * 8", "b + thread * 8", &[]),
        ("later_steps_have_the_first_scales", "+ word * 2 * tile_columns, step", ", step", &[]),
        (
            "a_block_lacks_scales_of_b",
            "row < columns ? b_scales",
            "row < columns && rank == row / 64 % 2 ? b_scales",
            &[],
        ),
        (
            "the_second_block_is_not_fenced",
            "fence_for_asynchronous_reads();",
            "if (rank == 0) fence_for_asynchronous_reads();",
            &["of block (1, 0, 0) wrote without a fence of the asynchronous proxy"],
        ),
        (
            "one_thread_is_not_waited_for",
            "init_barrier(&shared.filled, 256);",
            "init_barrier(&shared.filled, 255);",
            &["nothing waits for it", "which nobody wrote", "nothing waits for that"],
        ),
        (
            "the_wait_is_of_the_block",
            "wait_in_cluster(&shared.filled, 0)",
            "wait_at(&shared.filled, 0)",
            &["the scope of the cluster"],
        ),
        (
            "the_second_block_is_not_told",
            "commit_pair_operations(&shared.done, 3)",
            "commit_pair_operations(&shared.done, 1)",
            &["block (1, 0, 0): divergent barrier"],
        ),
        (
            "nobody_waits_before_freeing",
            "cluster_sync();\n  fence_tensor_after();\n  if",
            "__syncthreads();\n  fence_tensor_after();\n  if",
            &["may still load from it", "which is not allocated", "tensor memory is freed while"],
        ),
        (
            "nobody_waits_for_the_barriers",
            "cluster_sync();\n  fence_tensor_after();\n  uint32_t sums",
            "__syncthreads();\n  fence_tensor_after();\n  uint32_t sums",
            &["no barrier of the cluster after it was published", "where there is no mbarrier"],
        ),
        (
            "the_commit_is_of_one_block",
            "commit_pair_operations(&shared.done, 3)",
            "commit_tensor_operations(&shared.done)",
            &["cta_group::1, after instructions of cta_group::2"],
        ),
    ];
    // One kernel is enough, and compiles faster.
    let other = |kind: &Kind| format!("PAIR({}, Kind::{})", kind.kernel, kind.name);
    for (name, from, to, words) in mutants {
        let kernels = library(name, &[(from, to), (&other(&KINDS[0]), ""), (&other(&KINDS[2]), "")]);
        for seed in 0..3 {
            match multiply(&kernels, &KINDS[1], 128, seed) {
                Ok((got, expected)) => assert!(words.is_empty() && got != expected, "{name}, seed {seed}"),
                Err(error) => {
                    let fault = error.to_string();
                    assert!(words.iter().any(|words| fault.contains(words)), "{name}, seed {seed}: {fault}");
                }
            }
        }
    }
}
