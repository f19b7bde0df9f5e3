//! Clusters of two blocks: what is allowed runs, and each fault is named.

mod compiled;

use core::ffi::c_void;

use mxhal_cuda_emulation::{Error, Kernels, Shape, Tiled, encode_tensor_map};

fn kernels() -> &'static Kernels {
    compiled::kernels("clusters.cu")
}

#[repr(align(64))]
struct Numbers([i32; 128]);

#[repr(align(64))]
struct Map([u64; 16]);

/// Runs with 128 numbers in and out, so many blocks of 32 threads.
fn run(kernel: &str, blocks: u32, seed: u64) -> Result<[i32; 128], Error> {
    with_numbers(|from, to| {
        let (mut source, mut sink) = (from.as_ptr(), to.as_mut_ptr());
        let arguments: [*mut c_void; 2] = [(&raw mut source).cast(), (&raw mut sink).cast()];
        let shape = Shape::new([blocks, 1, 1], [32, 1, 1]).with_seed(seed);
        // SAFETY: every kernel that is run so takes two pointers, and uses at most 32 numbers a block of each.
        unsafe { kernels().launch(kernel, &arguments, &shape) }
    })
}

/// Runs with a map of the numbers as 4 rows of 128 bytes.
fn run_with_map(kernel: &str, seed: u64) -> Result<[i32; 128], Error> {
    with_numbers(|from, to| {
        let tiled = Tiled {
            data_type: 0,
            address: from.as_ptr() as u64,
            extents: &[128, 4],
            strides: &[128],
            tile: &[128, 4],
            element_strides: &[1, 1],
            interleave: 0,
            swizzle: 0,
            l2_promotion: 0,
            fill: 0,
        };
        let mut map = Map(encode_tensor_map(&tiled).unwrap());
        let mut sink = to.as_mut_ptr();
        let arguments: [*mut c_void; 2] = [(&raw mut map.0).cast(), (&raw mut sink).cast()];
        let shape = Shape::new([2, 1, 1], [32, 1, 1]).with_seed(seed);
        // SAFETY: every kernel that is run so takes a map and a pointer to 128 numbers.
        unsafe { kernels().launch(kernel, &arguments, &shape) }
    })
}

fn with_numbers(
    launch: impl FnOnce(&[i32; 128], &mut [i32; 128]) -> Result<(), Error>,
) -> Result<[i32; 128], Error> {
    let from = Numbers(core::array::from_fn(|i| i as i32 + 1));
    let mut to = Numbers([0; 128]);
    let (source, sink) = (from.0.as_ptr(), to.0.as_ptr());
    kernels().announce(source.cast(), 512);
    kernels().announce(sink.cast(), 512);
    let result = launch(&from.0, &mut to.0);
    kernels().withdraw(source.cast());
    kernels().withdraw(sink.cast());
    result.map(|()| to.0)
}

fn fault(kernel: &str, seed: u64) -> String {
    match run(kernel, 2, seed) {
        Err(Error::Fault(words)) => words,
        other => panic!("{kernel}, seed {seed}: {other:?}"),
    }
}

#[test]
fn blocks_of_a_cluster_exchange_values_in_any_order() {
    for seed in 0..50 {
        let exchanged = run("exchanged", 2, seed).unwrap();
        assert_eq!(
            exchanged[..64],
            core::array::from_fn::<i32, 64, _>(|i| (i as i32 ^ 32) + 1),
            "seed {seed}"
        );
        let added = run("added", 2, seed).unwrap();
        assert_eq!(added[..64], core::array::from_fn::<i32, 64, _>(|i| 3 + i as i32 / 32), "seed {seed}");
        run("ended_after_operation", 2, seed).unwrap();
        assert_eq!(
            run_with_map("tile_for_both", seed).unwrap(),
            core::array::from_fn(|i| i as i32 + 1),
            "seed {seed}"
        );
    }
}

#[test]
fn every_cluster_of_a_grid_runs_and_has_its_indices() {
    let ranks = run("ranks", 4, 0).unwrap();
    assert_eq!(
        ranks,
        core::array::from_fn(|i| i as i32 + 1 + i as i32 / 32 % 2 * 100 + i as i32 / 32 * 1000)
    );
    assert_eq!(kernels().cluster("ranks"), Some(2));
    assert_eq!(kernels().cluster("group_without_pair"), Some(1));
    assert_eq!(kernels().cluster("nothing"), None);
    let refused = run("ranks", 3, 0).unwrap_err().to_string();
    assert!(refused.contains("a grid of 3 blocks along x, and 2 in a cluster"), "{refused}");
}

#[test]
fn each_fault_is_named_whichever_thread_runs_first() {
    // Which of two is found first follows from the order.
    for (kernel, words) in [
        ("arrived_unpublished", &["no barrier of the cluster after it was published"][..]),
        (
            "arrived_before_sync",
            &["no barrier of the cluster after it was published", "where there is no mbarrier"],
        ),
        ("waited_in_block", &["without the scope of the cluster"]),
        ("ended_unaware", &["arrived at an mbarrier of it: nothing waits for that", "which has ended"]),
        ("ended_before_sync", &["of which block (1, 0, 0) has ended", "waits at a barrier of the cluster"]),
        (
            "stuck",
            &[
                "block (1, 0, 0): divergent barrier: 31 of 32 threads at __syncthreads, 1 at that of the cluster",
            ],
        ),
        ("read_from_other", &["of the other block's shared memory"]),
        ("arrived_at_a_third", &["the block of rank 2: the cluster has 2 blocks"]),
        ("added_unseen", &["without a fence of the asynchronous proxy"]),
        (
            "added_not_handed_over",
            &["which thread 0 of block (1, 0, 0) wrote, and nothing waits", "which nobody wrote"],
        ),
        ("added_by_second", &["is begun by the second block of the pair"]),
        (
            "added_untold",
            &[
                "block (1, 0, 0): divergent barrier: 0 of 32 threads at __syncthreads, 0 at that of the cluster",
            ],
        ),
        ("added_not_waited", &["whose operation was not waited for", "which nobody wrote"]),
        (
            "freed_while_loaded",
            &["may still load from it", "which is not allocated", "is freed while operations"],
        ),
        ("allocated_by_one", &["of which there are 0"]),
        ("allocated_unequally", &["of tensor memory wanted for the pair, and by the other block"]),
        ("freed_by_one", &["32 columns of tensor memory not freed, in the second of the pair"]),
        ("mixed_groups", &["of cta_group::1, after instructions of cta_group::2"]),
        ("relinquished_by_one", &["given up by only one of the pair"]),
        (
            "ended_under_way",
            &["ended while operations that use its memory may be under way", "which has ended"],
        ),
        ("group_without_pair", &["cta_group::2: the cluster has 1 blocks"]),
    ] {
        for seed in 0..10 {
            let fault = fault(kernel, seed);
            let is_named = words.iter().any(|words| fault.contains(words));
            assert!(is_named && fault.starts_with(kernel), "{kernel}, seed {seed}: {fault}");
        }
        // And the fibers are good for another launch.
        assert!(run("exchanged", 2, 1).is_ok());
    }
}

#[test]
fn what_one_block_does_not_wait_for_the_other_does_not_know() {
    for seed in 0..10 {
        let fault = run_with_map("tile_nobody_awaits", seed).unwrap_err().to_string();
        // Before the copy was begun, or after.
        let words = ["which nobody wrote", "whose copy of a tile was not waited for"];
        assert!(words.iter().any(|words| fault.contains(words)), "seed {seed}: {fault}");
    }
}
