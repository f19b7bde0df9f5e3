//! Runs of plans captured in a graph.

use mxhal_core::{Buffer, Format, Op, Quantization, Status};

use crate::rig::{Rig, under};
use crate::work::{exact_product, set_bf16};

#[test]
fn a_sequence_of_runs_is_captured_and_launched_as_often_as_wanted() {
    let name = "graphs::a_sequence_of_runs_is_captured_and_launched_as_often_as_wanted";
    // On sm_100 the tensor maps of so many rows are captured with the launch.
    for product in ["sm_100", "sm_120"] {
        if under(product, name, &[]) {
            let rig = Rig::new();
            // Each run quantizes, and multiplies what it quantized; the second takes what the first gave.
            let (op, mut tensors, values) = exact_product(20, Quantization::new(Format::Mxfp8));
            let weights = rig.weights(Op::from(op).weights()[0], &values);
            rig.run(op, &mut tensors, &[&*weights]);
            let expected = tensors[2].clone().unwrap();

            let (_, fresh, _) = exact_product(20, op.activation);
            let bound = rig.bind(op, &fresh);
            rig.stream.begin_capture().unwrap();
            bound.run(&*rig.stream, &[&*weights]).unwrap();
            let graph = rig.stream.end_capture().unwrap();
            assert!(
                rig.read(&bound, 2).data.iter().all(|byte| *byte == 0),
                "it does not run while it is captured"
            );
            graph.launch(&*rig.stream).unwrap();
            assert_eq!(rig.read(&bound, 2), expected);

            // Other numbers in the same place.
            let mut other = fresh[0].clone().unwrap();
            set_bf16(&mut other, std::iter::repeat(0.0));
            mxhal_core::buffer::write(&*rig.stream, bound.views[0].unwrap().data(), &other.data).unwrap();
            let second = rig.device.create_stream().unwrap();
            graph.launch(&*second).unwrap();
            second.synchronize(None).unwrap();
            assert!(rig.read(&bound, 2).data.iter().all(|byte| *byte & 0x7f == 0));
            return;
        }
    }
}

#[test]
fn what_cannot_be_captured_says_so_and_the_stream_works_on() {
    if under("sm_120", "graphs::what_cannot_be_captured_says_so_and_the_stream_works_on", &[]) {
        let rig = Rig::new();
        assert_eq!(rig.stream.end_capture().err().unwrap().status(), Status::InvalidArgument);
        rig.stream.begin_capture().unwrap();
        assert!(rig.stream.begin_capture().is_err());
        let error = rig.stream.synchronize(None).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        // Waiting spoiled what was captured.
        assert!(rig.stream.end_capture().is_err());
        rig.stream.synchronize(None).unwrap();
    }
}

#[test]
fn a_fault_in_a_graph_names_the_kernels_that_it_has() {
    let name = "graphs::a_fault_in_a_graph_names_the_kernels_that_it_has";
    if under("sm_120", name, &[]) {
        let rig = Rig::new();
        let (op, tensors, values) = exact_product(5, Quantization::new(Format::Mxfp8));
        let weights = rig.weights(Op::from(op).weights()[0], &values);
        let bound = rig.bind(op, &tensors);
        rig.stream.begin_capture().unwrap();
        bound.run(&*rig.stream, &[&*weights]).unwrap();
        let graph = rig.stream.end_capture().unwrap();
        drop(bound);
        // An allocation waits until what was freed before is.
        drop(Buffer::new(&rig.device, 16).unwrap());
        graph.launch(&*rig.stream).unwrap();
        let error = rig.stream.synchronize(None).unwrap_err();
        assert_eq!(error.status(), Status::DeviceLost);
        assert!(error.message().contains("in order, `quantize`, `decode_mxfp8`"), "{error}");
    }
}
