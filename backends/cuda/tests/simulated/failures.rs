//! What goes wrong, and what is said of it.

use std::time::{Duration, Instant};

use mxhal_core::op::Quantize;
use mxhal_core::{Backend, Buffer, Format, Layout, Op, Quantization, Status, Tensor};

use crate::rig::{Rig, cuda, under};
use crate::work::{exact_product, quantized};

const QUANTIZE: Quantize =
    Quantize { rows: 3, k: 64, input: Format::Bf16, to: Quantization::new(Format::Mxfp4) };

/// The input of a quantization in memory that was freed.
fn gone(rig: &Rig) -> Tensor {
    let layout = Layout::contiguous(Format::Bf16, &[3, 64]).unwrap();
    let (memory, tensor) = Buffer::tensor(&rig.device, layout).unwrap();
    drop(memory);
    // An allocation waits until what was freed before is.
    drop(Buffer::new(&rig.device, 16).unwrap());
    tensor
}

#[test]
fn an_older_driver_is_unavailable() {
    let name = "failures::an_older_driver_is_unavailable";
    if under("sm_120", name, &[("MXHAL_SIM_DRIVER", "12090")]) {
        let error = cuda(|_| {}).device_count().unwrap_err();
        assert_eq!(error.status(), Status::Unavailable);
        assert!(error.message().contains("12.9") && error.message().contains("580"), "{error}");
    }
}

#[test]
fn device_code_for_another_architecture_is_refused_with_where_it_is_from() {
    let name = "failures::device_code_for_another_architecture_is_refused_with_where_it_is_from";
    if under("sm_120", name, &[("MXHAL_SIM_ARCH", "sm_90")]) {
        let error = cuda(|_| {}).open_device(0).err().unwrap();
        assert_eq!((error.status(), error.vendor_code()), (Status::Unavailable, 209));
        for part in ["stand-in", "sm_90a", "CUDA_ERROR_NO_BINARY_FOR_GPU"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}

#[test]
fn a_device_that_another_process_has_for_itself_is_unavailable_with_what_to_do() {
    let name = "failures::a_device_that_another_process_has_for_itself_is_unavailable_with_what_to_do";
    if under("sm_90", name, &[("MXHAL_SIM_FAIL", "cuDevicePrimaryCtxRetain:1:46")]) {
        let cuda = cuda(|_| {});
        let error = cuda.open_device(0).err().unwrap();
        assert_eq!((error.status(), error.vendor_code()), (Status::Unavailable, 46));
        for part in ["device 0", "CUDA_ERROR_DEVICE_UNAVAILABLE", "another process", "nvidia-smi"] {
            assert!(error.message().contains(part), "{error}");
        }
        // When that process is gone.
        cuda.open_device(0).unwrap();
    }
}

#[test]
fn a_kernel_that_fails_is_named_by_whoever_waits_and_the_device_is_lost() {
    let name = "failures::a_kernel_that_fails_is_named_by_whoever_waits_and_the_device_is_lost";
    if under("sm_120", name, &[("MXHAL_SIM_FAIL", "cuLaunchKernel:2:719")]) {
        let rig = Rig::new();
        let mut tensors = quantized(&QUANTIZE);
        rig.run(QUANTIZE, &mut tensors, &[]);
        let bound = rig.bind(QUANTIZE, &tensors);
        let error = bound.run(&*rig.stream, &[]).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::DeviceLost, 719));
        for part in ["CUDA_ERROR_LAUNCH_FAILED (719)", "the kernel was `quantize`", "process anew"] {
            assert!(error.message().contains(part), "{error}");
        }
        for error in [
            rig.device.allocate(16).unwrap_err(),
            rig.stream.synchronize(None).unwrap_err(),
            rig.device.create_stream().err().unwrap(),
            bound.run(&*rig.stream, &[]).unwrap_err(),
        ] {
            assert_eq!(error.status(), Status::DeviceLost);
            assert!(error.message().contains("the device was lost"), "{error}");
        }
    }
}

#[test]
fn a_fault_on_the_device_comes_out_when_it_is_waited_for() {
    let name = "failures::a_fault_on_the_device_comes_out_when_it_is_waited_for";
    if under("sm_120", name, &[]) {
        let rig = Rig::new();
        let mut bound = rig.bind(QUANTIZE, &quantized(&QUANTIZE));
        // Where a tensor was.
        bound.views[0] = Some(gone(&rig));
        bound.run(&*rig.stream, &[]).unwrap();
        let error = rig.stream.synchronize(None).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::DeviceLost, 700));
        assert!(error.message().contains("the kernel was `quantize`"), "{error}");
    }
}

#[test]
fn a_kernel_that_is_waited_for_is_the_one_that_failed() {
    let name = "failures::a_kernel_that_is_waited_for_is_the_one_that_failed";
    if under("sm_120", name, &[]) {
        let rig = Rig::with(|options| options.launches_synchronously = true);
        let op = Quantize { to: Quantization::new(Format::Nvfp4), ..QUANTIZE };
        let mut bound = rig.bind(op, &quantized(&op));
        bound.views[0] = Some(gone(&rig));
        let error = bound.run(&*rig.stream, &[]).unwrap_err();
        assert_eq!(error.status(), Status::DeviceLost);
        assert!(error.message().contains("the kernel was `nvfp4_factors`"), "{error}");
        assert!(rig.stream.begin_capture().is_err());
    }
}

#[test]
fn a_tensor_map_that_the_driver_refuses_is_named_with_what_it_was_told() {
    let name = "failures::a_tensor_map_that_the_driver_refuses_is_named_with_what_it_was_told";
    if under("sm_100", name, &[("MXHAL_SIM_FAIL", "cuTensorMapEncodeTiled:2:1")]) {
        let rig = Rig::new();
        let (op, tensors, values) = exact_product(70, Quantization::new(Format::Mxfp8));
        let weights = rig.weights(Op::from(op).weights()[0], &values);
        let bound = rig.bind(op, &tensors);
        let error = bound.run(&*rig.stream, &[&*weights]).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::InvalidArgument, 1));
        for part in ["tensor map of the activations", "70 rows of 96 bytes", "cuTensorMapEncodeTiled"] {
            assert!(error.message().contains(part), "{error}");
        }
        bound.run(&*rig.stream, &[&*weights]).unwrap();
        rig.stream.synchronize(None).unwrap();
    }
}

#[test]
fn a_wait_ends_with_its_time_and_the_work_goes_on() {
    let name = "failures::a_wait_ends_with_its_time_and_the_work_goes_on";
    // The first piece of work is the allocation.
    if under("sm_120", name, &[("MXHAL_SIM_FAIL", "stall:2:500")]) {
        let rig = Rig::new();
        let buffer = Buffer::new(&rig.device, 64).unwrap();
        let event = rig.device.create_event().unwrap();
        rig.stream.fill(buffer.span(), 1).unwrap();
        rig.stream.record(&*event).unwrap();
        let start = Instant::now();
        let short = Some(Duration::from_millis(20));
        assert_eq!(rig.stream.synchronize(short).unwrap_err().status(), Status::Timeout);
        assert_eq!(rig.stream.synchronize(Some(Duration::ZERO)).unwrap_err().status(), Status::Timeout);
        assert_eq!(event.synchronize(Some(Duration::ZERO)).unwrap_err().status(), Status::NotReady);
        assert_eq!(event.synchronize(short).unwrap_err().status(), Status::Timeout);
        assert!(start.elapsed() < Duration::from_millis(400), "it does not wait longer than it is told");
        rig.stream.synchronize(Some(Duration::from_secs(20))).unwrap();
        event.synchronize(Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn misaligned_tensors_and_rows_that_lie_apart_are_refused_before_the_device_is_lost() {
    let name = "failures::misaligned_tensors_and_rows_that_lie_apart_are_refused_before_the_device_is_lost";
    if under("sm_120", name, &[]) {
        let rig = Rig::with(|options| options.refuses_strided_rows = true);
        let mut bound = rig.bind(QUANTIZE, &quantized(&QUANTIZE));
        let (buffer, x) =
            Buffer::tensor(&rig.device, Layout::contiguous(Format::Bf16, &[3, 80]).unwrap()).unwrap();
        let good = bound.views[0];
        bound.views[0] = Some(buffer.view(*good.unwrap().layout(), [2, 0, 0]).unwrap());
        let error = bound.run(&*rig.stream, &[]).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(
            error.message().contains("tensor `x`") && error.message().contains("multiple of 16"),
            "{error}"
        );
        let apart = Layout::strided(Format::Bf16, &[3, 64], &[80, 1]).unwrap();
        bound.views[0] = Some(Tensor::new(apart, x.data()).unwrap());
        let error = bound.run(&*rig.stream, &[]).unwrap_err();
        assert!(error.message().contains("strided_rows"), "{error}");
        bound.views[0] = good;
        bound.run(&*rig.stream, &[]).unwrap();
        rig.stream.synchronize(None).unwrap();
    }
}
