//! Emulated: what is wrong with a product in tensor memory, or by warpgroups, is found.
//!
//! Each mutant is the source of such a product with one thing changed. It must end with the fault that names it, or store
//! other bits than the kernel does.

mod emulated;

use std::path::{Path, PathBuf};

use emulated::{Device, Random};
use mxhal_cuda_emulation::{Checks, Kernels, compile};
use mxhal_kernels_cuda::format::{BF16, F32, MXFP4, MXFP8, MXFP8_G128};
use mxhal_kernels_cuda::parameters::ProductParameters;
use mxhal_kernels_cuda::{Kernel, Launch, Product, Target, code_row_multiple};

/// What finds a mutant.
enum Found {
    /// A fault with one of these words, whichever thread runs first.
    Fault(&'static [&'static str]),
    /// Other bits.
    Bits,
}
use Found::{Bits, Fault};

/// A kernel whose source is changed.
struct Subject {
    /// The kernel's, after what it includes of its own, and of these those that are changed.
    files: &'static [&'static str],
    changed: &'static [&'static str],
    kernel: &'static str,
    /// What the file's kernels begin with, of which one is kept.
    kernels: &'static str,
    product: Product,
    target: Target,
    w_halves: u32,
    /// Rows of each group.
    counts: [u32; 3],
    /// Formats of activations, each with a K of more stages than there is room for.
    cases: [(u32, usize); 2],
    /// What is changed, from what to what; the first changes nothing.
    mutants: &'static [(&'static str, &'static str, &'static str, Found)],
}

const TENSOR_MEMORY: Subject = Subject {
    files: &["tensor_product.cuh", "tensor_scales.cuh", "tensor_widening.cuh", "tensor_memory.cu"],
    changed: &["tensor_product.cuh", "tensor_scales.cuh"],
    kernel: "product_tensor_w4a8_32",
    kernels: "\nTENSOR(",
    product: Product::TensorW4A8(32),
    target: Target::Blackwell100,
    w_halves: 0,
    counts: [5, 0, 12],
    cases: [(MXFP8, 1216), (MXFP8_G128, 1536)],
    mutants: TENSOR_MEMORY_MUTANTS,
};

const WIDENING: Subject = Subject {
    files: &["tensor_product.cuh", "tensor_scales.cuh", "tensor_widening.cuh", "tensor_memory.cu"],
    changed: &["tensor_widening.cuh"],
    kernel: "product_tensor_w4a16_32",
    kernels: "\nTENSOR(",
    product: Product::TensorW4A16(32),
    target: Target::Blackwell100,
    w_halves: 1,
    counts: [5, 0, 12],
    cases: [(BF16, 608), (BF16, 768)],
    mutants: WIDENING_MUTANTS,
};

const PAIR: Subject = Subject {
    files: &["tensor_product.cuh", "tensor_scales.cuh", "tensor_widening.cuh", "tensor_pair.cu"],
    changed: &["tensor_product.cuh"],
    kernel: "product_tensor_w4a8_256",
    kernels: "\nTENSOR_PAIR(",
    product: Product::TensorW4A8(256),
    target: Target::Blackwell100,
    w_halves: 0,
    counts: [5, 0, 50],
    cases: [(MXFP8, 864), (MXFP8_G128, 1024)],
    mutants: PAIR_MUTANTS,
};

const WARPGROUPS: Subject = Subject {
    files: &["wgmma.cu"],
    changed: &["wgmma.cu"],
    kernel: "product_wgmma_mx_32",
    kernels: "\nWGMMA(",
    product: Product::Wgmma(32),
    target: Target::Hopper,
    w_halves: 1,
    counts: [5, 0, 12],
    cases: [(MXFP8, 1216), (MXFP8_G128, 1536)],
    mutants: WARPGROUPS_MUTANTS,
};

const TENSOR_MEMORY_MUTANTS: &[(&str, &str, &str, Found)] = &[
    ("nothing", "// A tile of scales has a row", "// A tile of scales has a row", Bits),
    (
        "a stage is filled while it is multiplied",
        "if (i >= count) wait_at(&shared.emptied[i % count], (i / count - 1) % 2);",
        "",
        Fault(&[
            "which an asynchronous operation may still read",
            "copy of a tile at offset",
            "wait at the mbarrier",
        ]),
    ),
    (
        "a stage is multiplied before it is filled",
        "wait_at(&shared.filled[i % count], i / count % 2);\n    if constexpr",
        "if constexpr",
        Fault(&["which nobody wrote", "was not waited for", "nothing waits for it"]),
    ),
    (
        "the parity of a stage never changes",
        "wait_at(&shared.filled[i % count], i / count % 2);\n    if constexpr",
        "wait_at(&shared.filled[i % count], 0);\n    if constexpr",
        Fault(&["was not waited for", "nothing waits for it", "wait at the mbarrier"]),
    ),
    (
        "sums are read before they are there",
        "wait_at(&shared.done, 0);",
        "",
        Fault(&[
            "operation was not waited for",
            "which nobody wrote",
            "not allocated",
            "is freed while operations",
        ]),
    ),
    (
        "scales are not shown to the tensor core",
        "fence_for_asynchronous_reads();",
        "",
        Fault(&["without a fence of the asynchronous proxy"]),
    ),
    (
        "a stage is said to be there a copy too early",
        "copy_async_wait<lag>();",
        "copy_async_wait<lag + 1>();",
        Fault(&["whose asynchronous copy was not waited for"]),
    ),
    (
        "no bytes are expected",
        "expect_bytes(barrier, w_bytes + copies",
        "expect_bytes(barrier, 0 * w_bytes + 0 * copies",
        Fault(&["whose copy of a tile was not waited for", "bytes"]),
    ),
    (
        "fewer bytes are expected than come",
        "copies * tensor_copy_rows * tensor_row_bytes);",
        "0);",
        Fault(&["whose copy of a tile was not waited for", "-4096 bytes"]),
    ),
    (
        "the gaps between codes are counted",
        "w_bytes = 64;",
        "w_bytes = 128;",
        Fault(&["arrivals and 8192 bytes"]),
    ),
    (
        "copies tell another stage",
        "shared.stages[i % count], &shared.filled[i % count])",
        "shared.stages[i % count], &shared.filled[(i + 1) % count])",
        Fault(&["whose copy of a tile was not waited for", "wait at the mbarrier"]),
    ),
    (
        "products are not fenced",
        "&shared.peer_filled[i % count], i / count % 2);\n    fence_tensor_after();",
        "&shared.peer_filled[i % count], i / count % 2);",
        Fault(&["no tcgen05.fence::after_thread_sync"]),
    ),
    (
        "scales overwrite those of the stage before",
        "i % count * Shared::stage_columns",
        "0",
        Fault(&["tcgen05.cp writes column"]),
    ),
    (
        "the first product adds to what was there",
        "row_tiles,\n                                     i + step != 0)",
        "row_tiles, true)",
        Fault(&["of tensor memory, which nobody wrote"]),
    ),
    (
        "sums begin anew with each stage",
        "row_tiles,\n                                     i + step != 0)",
        "row_tiles, step != 0)",
        Fault(&["tcgen05.mma writes column"]),
    ),
    (
        "a warp reads another's lanes",
        "sums + row + (threadIdx.x / 32 * 32 << 16)",
        "sums + row",
        Fault(&[
            "this warp has lanes 32 to 63",
            "this warp has lanes 64 to 95",
            "this warp has lanes 96 to 127",
        ]),
    ),
    (
        "tensor memory is kept",
        "free_tensor_columns<Shared::columns, blocks>(sums);",
        "",
        Fault(&["64 columns of tensor memory not freed"]),
    ),
    (
        "weights are read as if they were not swizzled",
        "shared_address(stage.w), 8 * tensor_row_bytes, SWIZZLE_128B",
        "shared_address(stage.w), 8 * tensor_row_bytes, SWIZZLE_NONE",
        Bits,
    ),
    (
        "activations are read as if they were not swizzled",
        "shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_128B",
        "shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_NONE",
        Bits,
    ),
    ("scales lie in order of rows", "threadIdx.x % 32 * 4 + threadIdx.x / 32", "threadIdx.x", Bits),
    ("every step has the first scale", "byte = step * step_scales % 4", "byte = 0", Bits),
    ("a scale per 128 is one per 32", "has_one_scale ? depth / 128 % 4 : byte", "byte", Bits),
    ("K does not go on in a descriptor", "a + 2 * step", "a", Bits),
    ("K does not go on in copies", "x = i * tensor_row_elements", "x = 0", Bits),
    ("one row too many is stored", "min(tile.rows - row, 16u)", "min(tile.rows - row + 1, 16u)", Bits),
    ("rows of another group are taken", "first_row = work.tile.row + ", "first_row = ", Bits),
    (
        "the first group's weights are everybody's",
        "x, work.tile.group * work.p.n + work.first_column",
        "x, work.first_column",
        Bits,
    ),
];

const WIDENING_MUTANTS: &[(&str, &str, &str, Found)] = &[
    ("nothing", "// Nothing is under way at the end.", "// Nothing is under way at the end.", Bits),
    (
        "a stage is filled while it is multiplied",
        "if (i >= count) wait_at(&shared.emptied[i % count], (i / count - 1) % 2);",
        "",
        Fault(&["which an asynchronous operation may still read", "copy of a tile at offset"]),
    ),
    (
        "codes are widened before they are there",
        "copy_async_wait<ahead - 1>();",
        "copy_async_wait<ahead>();",
        Fault(&["whose asynchronous copy was not waited for"]),
    ),
    (
        "weights are not shown to the tensor core",
        "fence_for_asynchronous_reads();",
        "",
        Fault(&["without a fence of the asynchronous proxy"]),
    ),
    ("both blocks of a stage have one scale", "(16 * (i % 2) + 8 * block)", "(16 * (i % 2))", Bits),
    ("scales are those of an earlier stage", "if (i % 2 == 0) {", "if (i % 4 == 0) {", Bits),
    (
        "weights are stored in order and read exchanged",
        "w + swizzled<tensor_row_bytes>(row, first_chunk + c)",
        "w + row * 128 + (first_chunk + c) * 16",
        Bits,
    ),
    (
        "halves of a block are neighbours",
        "pairs[pair_of<true>(word, i)]",
        "pairs[pair_of<false>(word, i)]",
        Bits,
    ),
    (
        "the first group's weights are everybody's",
        "row = uint64_t(work.tile.group) * p.n + column",
        "row = column",
        Bits,
    ),
];

const PAIR_MUTANTS: &[(&str, &str, &str, Found)] = &[
    ("nothing", "// Both blocks of a pair have the same.", "// Both blocks of a pair have the same.", Bits),
    (
        "barriers are used before the other block has made them",
        "wait_for_all<blocks>();\n  fence_tensor_after();\n  uint32_t sums",
        "__syncthreads();\n  fence_tensor_after();\n  uint32_t sums",
        Fault(&["mbarrier", "cluster_sync", "tensor memory"]),
    ),
    (
        "a block ends while the other uses it",
        "wait_for_all<blocks>();\n  if (!is_filler)",
        "__syncthreads();\n  if (!is_filler)",
        Fault(&["ended", "cluster", "freed"]),
    ),
    (
        "the first block does not wait for the second",
        "wait_in_cluster(&shared.peer_filled[i % count], i / count % 2);",
        "{}",
        Fault(&["was not waited for", "nothing waits for it", "nobody wrote", "without a fence"]),
    ),
    (
        "the first block sees its own threads alone",
        "wait_in_cluster(&shared.peer_filled",
        "wait_at(&shared.peer_filled",
        Fault(&["nothing waits for it", "was not waited for", "cluster"]),
    ),
    (
        "the second block passes on what is not there",
        "wait_at(&shared.filled[i % count], i / count % 2);\n    arrive_at_rank",
        "arrive_at_rank",
        Fault(&["was not waited for", "nothing waits for it", "nobody wrote", "wait at the mbarrier"]),
    ),
    (
        "the second block tells itself",
        "arrive_at_rank(&shared.peer_filled[i % count], 0);",
        "arrive_at_rank(&shared.peer_filled[i % count], 1);",
        Fault(&["wait at the mbarrier"]),
    ),
    (
        "both blocks multiply",
        "if (work.rank == 0) {",
        "if (work.rank < 2) {",
        Fault(&["wait at the mbarrier"]),
    ),
    (
        "the second block is not told of emptied stages",
        "commit_pair_operations(barrier, 3);",
        "commit_pair_operations(barrier, 1);",
        Fault(&["wait at the mbarrier"]),
    ),
    (
        "operations of one block and of two",
        "copy_scales<blocks>(columns",
        "copy_scales<1>(columns",
        Fault(&["cta_group"]),
    ),
    (
        "the instruction is of one block's rows",
        "Scheme::template instruction<blocks>",
        "Scheme::template instruction<1>",
        Fault(&["instruction descriptor"]),
    ),
    ("both blocks have the same rows", "work.rank * own_rows", "0", Bits),
    ("rows of a pair are halved elsewhere", "own_rows = work.rows / blocks", "own_rows = 16", Bits),
    (
        "both blocks have the same columns",
        "first_column(blockIdx.x *",
        "first_column(blockIdx.x / 2 * 2 *",
        Bits,
    ),
];

const WARPGROUPS_MUTANTS: &[(&str, &str, &str, Found)] = &[
    ("nothing", "// Stages are not read any more.", "// Stages are not read any more.", Bits),
    ("a group has no fence", "wgmma_fence();", "", Fault(&["wgmma without wgmma.fence"])),
    ("no group is closed", "wgmma_commit();", "", Fault(&["under way, more than the model holds"])),
    (
        "operands are unpacked where they are still read",
        "wgmma_wait<1>();",
        "wgmma_wait<2>();",
        Fault(&["overwrote registers of A before the group was waited for"]),
    ),
    (
        "sums are read before they are there",
        "wgmma_wait<0>();",
        "",
        Fault(&["instructions of its warp under way"]),
    ),
    (
        "copies are not shown to the tensor core",
        "fence_for_asynchronous_reads();",
        "",
        Fault(&["without a fence of the asynchronous proxy"]),
    ),
    (
        "weights are unpacked before they are there",
        "copy_async_wait<1>();",
        "copy_async_wait<2>();",
        Fault(&["whose asynchronous copy was not waited for"]),
    ),
    (
        "a stage is multiplied before all have filled it",
        "__syncthreads();\n    fetch(i + 2);",
        "fetch(i + 2);",
        Fault(&["race: ", "which nobody wrote", "nothing waits for it", "without a fence"]),
    ),
    (
        "the next stage is widened where this one is",
        "stages[(i + 1) % hopper_stages]);\n        if",
        "stages[i % hopper_stages]);\n        if",
        Fault(&["was overwritten before the group was waited for", "race: ", "without a fence"]),
    ),
    (
        "the descriptor's groups of rows lie further apart",
        "(block % 2 * 2 + step) * 32);",
        "(block % 2 * 2 + step) * 32) + (uint64_t(1024 >> 4) << 32);",
        Bits,
    ),
    ("K does not go on in the descriptor", "(block % 2 * 2 + step) * 32);", "block % 2 * 2 * 32);", Bits),
    (
        "activations are not swizzled",
        "swizzled<128>(row, block % 2 * 4 + c)",
        "(row * 128 + (block % 2 * 4 + c) * 16)",
        Bits,
    ),
    (
        "weights are stored in order and read exchanged",
        "copy_async_16(stage.w + swizzled<64>(column, chunk)",
        "copy_async_16(stage.w + (column * 64 + chunk * 16)",
        Bits,
    ),
    ("a block has the scale of its neighbour", ">> (8 * block) & 255)", ">> (8 * (block ^ 1)) & 255)", Bits),
    ("the second eight columns have the scales of the first", "j / 2 * 64 + j % 2 * 8]", "j / 2 * 64]", Bits),
    (
        "the steps of a block are exchanged",
        "operands[tile][step][half] = pairs[halves ? step : 2 * step];",
        "operands[tile][step][half] = pairs[halves ? 1 - step : 2 * step];",
        Bits,
    ),
    ("accumulators are other rows", "threadIdx.x % 4 * 2 + j % 2;", "threadIdx.x % 4 + j % 2 * 4;", Bits),
    (
        "one row too many is stored",
        "i < tile.rows * (Shape::columns / 8)",
        "i < (tile.rows + 1) * (Shape::columns / 8)",
        Bits,
    ),
    (
        "the first group's weights are everybody's",
        "uint64_t(group) * p.n + first_column",
        "first_column",
        Bits,
    ),
];

/// One library with a kernel `mutant_I` for each of the subject's table.
fn library(subject: &Subject) -> &'static Kernels {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &&str| std::fs::read_to_string(here.join("kernels").join(file)).unwrap();
    let originals: Vec<String> = subject.files.iter().map(read).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants").join(subject.kernel);
    std::fs::create_dir_all(&folder).unwrap();
    let sources: Vec<PathBuf> = subject
        .mutants
        .iter()
        .enumerate()
        .map(|(i, (name, from, to, _))| {
            let mut found = 0;
            let mut source = String::new();
            for (file, original) in subject.files.iter().zip(&originals) {
                if subject.changed.contains(file) {
                    found += original.matches(from).count();
                    source += &original.replace(from, to);
                } else {
                    source += original;
                }
            }
            assert_eq!(found, 1, "{name}: the source has `{from}` otherwise than once");
            let path = folder.join(format!("mutant_{i}.cu"));
            std::fs::write(&path, mutant(subject, &source, i)).unwrap();
            path
        })
        .collect();
    let includes = ["kernels", "ptx"].map(|name| here.join(name));
    let library = compile(&sources, &includes, Checks::On, &folder).unwrap_or_else(|error| panic!("{error}"));
    Box::leak(Box::new(Kernels::open(&library).unwrap_or_else(|error| panic!("{error}"))))
}

/// The source of a mutant, in a namespace of its own. Headers stay outside of it, and of the kernels one is kept.
fn mutant(subject: &Subject, source: &str, number: usize) -> String {
    let is_own = |line: &str| subject.files.iter().any(|file| line == format!("#include \"{file}\""));
    let (headers, rest): (Vec<&str>, Vec<&str>) = source
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("#pragma once") && !is_own(line.trim_end()))
        .partition(|line| line.starts_with("#include"));
    let (headers, rest) = (headers.concat(), rest.concat());
    let (body, kernels) = rest.split_at(rest.find(subject.kernels).unwrap());
    let kernel = kernels.split(subject.kernels).find(|kernel| kernel.contains(subject.kernel)).unwrap();
    let kernel = kernel.replace(subject.kernel, &format!("mutant_{number}"));
    format!("{headers}namespace mutant{number} {{\n{body}\n{}{kernel}\n}}\n", subject.kernels)
}

/// What a mutant stores of a product of three groups, one of them empty, over more stages than there is room for.
fn run(
    subject: &Subject,
    kernels: &'static Kernels,
    mutant: usize,
    a_format: u32,
    k: usize,
    seed: u64,
) -> Result<Vec<u32>, String> {
    let mut random = Random(11);
    let (m, n, groups) = (subject.counts.iter().sum::<u32>() as usize + 3, 130, 3);
    let block = if a_format == MXFP8 { 32 } else { 128 };
    let mut bytes = |count: usize, modulus: u64, least: u64| -> Vec<u8> {
        (0..count).map(|_| (random.next() % modulus + least) as u8).collect()
    };
    // No NaN among codes and scales; BF16 near 1.
    let a_bytes = if a_format == BF16 { 2 * k } else { k };
    let a = if a_format == BF16 { bytes(m * a_bytes, 8, 0x3c) } else { bytes(m * a_bytes, 0x7f, 0) };
    let a_scales = bytes(m * k / block, 9, 124);
    let (codes, w_scales) =
        (bytes(groups * n * k / 2, 256, 0), bytes(groups * n * (k / 32).next_multiple_of(4), 9, 124));
    let w_stride = (k / 2).next_multiple_of(code_row_multiple(subject.target, a_format) as usize);
    let mut w = vec![0; groups * n * w_stride];
    for (row, codes) in w.chunks_mut(w_stride).zip(codes.chunks(k / 2)) {
        row[..k / 2].copy_from_slice(codes);
    }
    let mut device = Device::on(kernels, seed);
    let parameters = ProductParameters {
        a: device.copy(&a),
        a_scales: device.copy(&a_scales),
        w: device.copy(&w),
        w_scales: device.copy(&w_scales),
        counts: device.copy(&subject.counts),
        y: device.alloc(m * n * 4),
        a_stride: a_bytes as u64,
        a_scales_stride: (k / block) as u64,
        w_stride: w_stride as u64,
        w_scales_stride: (k / 32).next_multiple_of(4) as u64,
        m: m as u32,
        n: n as u32,
        k: k as u32,
        groups: groups as u32,
        a_format,
        w_format: MXFP4,
        w_halves: subject.w_halves,
        output: F32,
        ..Default::default()
    };
    let launch = subject.product.launch(&parameters);
    let kernel = Kernel { name: format!("mutant_{mutant}").leak(), ..*launch.kernel };
    let launch = Launch { kernel: Box::leak(Box::new(kernel)), ..launch };
    device.try_multiply(subject.product, &launch, parameters).map_err(|error| error.to_string())?;
    Ok(device.read(parameters.y, m * n))
}

#[test]
fn every_mutant_of_a_product_in_tensor_memory_is_found() {
    expect_found(&TENSOR_MEMORY);
}

#[test]
fn every_mutant_of_a_product_with_widened_weights_is_found() {
    expect_found(&WIDENING);
}

#[test]
fn every_mutant_of_a_product_by_a_pair_is_found() {
    expect_found(&PAIR);
}

#[test]
fn every_mutant_of_a_product_by_warpgroups_is_found() {
    expect_found(&WARPGROUPS);
}

fn expect_found(subject: &Subject) {
    let kernels = library(subject);
    let cases = subject.cases;
    let right = cases.map(|(a_format, k)| run(subject, kernels, 0, a_format, k, 0).unwrap());
    let mut missed = Vec::new();
    for (i, (name, _, _, found)) in subject.mutants.iter().enumerate() {
        for seed in [0, 1, 2] {
            let got = cases.map(|(a_format, k)| run(subject, kernels, i, a_format, k, seed));
            let is_found = match found {
                Fault(words) => got.iter().all(|got| {
                    got.as_ref().is_err_and(|fault| words.iter().any(|words| fault.contains(words)))
                }),
                Bits => got.iter().zip(&right).any(|(got, right)| got.as_ref().is_ok_and(|got| got != right)),
            };
            // The first is no mutant.
            if is_found == (i == 0) {
                missed.push(format!("{name}, seed {seed}: {:?}", got.map(|got| got.err())));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
