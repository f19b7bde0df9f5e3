//! A run allocates nothing, on any thread, with any instruction set, directly or through the C table. A file of its own, for it replaces the allocator.

mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Host, Random, Rows};
use mxhal_core::op::{
    Matmul, MatmulTensors, MoeFfn, MoeFfnTensors, MoeFfnWeights, Operators, SwiGluForm, WeightPosition,
};
use mxhal_core::{Format, Quantization};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(run: impl Fn()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_run_allocates_nothing() {
    let mut random = Random::new();
    for host in Host::each(3).into_iter().chain([Host::behind_the_table(3)]) {
        for activation in [Format::Bf16, Format::Mxint8, Format::Mxfp8G128, Format::Nvfp4] {
            let (tokens, hidden, inner, experts, top_k) = (40, 128, 96, 5, 3);
            let to = Quantization::new(activation);
            let values = random.values(tokens * hidden);
            let x = host.upload(&Rows::of(&Quantization::none(), &[tokens, hidden], &values));
            let y = host.poisoned(Format::F32, &[tokens, hidden]);
            let mut matrices =
                |n, k| -> Vec<Rows> { (0..experts).map(|_| random.matrix(Format::Mxfp4, n, k)).collect() };
            let (gate_up, down) = (matrices(2 * inner, hidden), matrices(hidden, inner));
            let square = matrices(hidden, hidden);

            let plan = host.device.matmul(Matmul::mxfp4(tokens, hidden, hidden, to)).unwrap();
            let workspace = host.workspace(plan.info());
            let weights = host.weights(&square[..1], activation);
            let tensors = MatmulTensors { a: x.view, bias: None, y: y.view };
            let count = allocations_of(|| {
                plan.run(&*host.stream, tensors, [&*weights], workspace.span()).unwrap();
            });
            assert_eq!(count, 0, "matmul with {activation}");

            let op = MoeFfn {
                tokens,
                hidden,
                inner,
                experts,
                top_k,
                weight: Format::Mxfp4,
                activation: to,
                form: SwiGluForm::silu(10.0),
                weight_position: WeightPosition::BeforeDown,
                bias: false,
                output: Format::F32,
                mapped: None,
                shared: None,
            };
            let plan = host.device.moe_ffn(op).unwrap();
            let workspace = host.workspace(plan.info());
            let ids: Vec<i32> = (0..tokens * top_k).map(|slot| (slot % experts) as i32).collect();
            let ids = host.upload(&Rows::integers(&[tokens, top_k], &ids));
            let routing = host.upload(&Rows::floats(&[tokens, top_k], &vec![0.25; tokens * top_k]));
            let weights = [host.weights(&gate_up, activation), host.weights(&down, activation)];
            let tensors = MoeFfnTensors {
                x: x.view,
                ids: ids.view,
                weights: routing.view,
                expert_map: None,
                gate_up_bias: None,
                down_bias: None,
                y: y.view,
            };
            let count = allocations_of(|| {
                let weights = MoeFfnWeights { gate_up: &*weights[0], down: &*weights[1], shared: None };
                plan.run(&*host.stream, tensors, weights, workspace.span()).unwrap();
            });
            assert_eq!(count, 0, "a layer with {activation}");
        }
    }
}
