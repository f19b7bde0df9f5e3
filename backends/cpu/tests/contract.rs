//! What the traits promise besides numbers: memory, streams, events, and errors for what cannot be.

mod harness;

use std::time::Duration;

use harness::{Host, Rows};
use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Operators, Permute, Quantize, QuantizeTensors, Route,
    Score, SharedExpert, SwiGlu, SwiGluForm, WeightPosition,
};
use mxhal_core::{
    Buffer, Error, Event, Format, Op, OpKind, Quantization, Result, Span, Status, Stream, Support, Tensor,
};

/// One of each operator, as large as the core lets them be.
fn largest() -> Vec<Op> {
    let most = i32::MAX as usize / 128 * 128;
    let each = Matmul { bias: true, ..Matmul::mxfp4(most, most, most, Quantization::deepseek()) };
    vec![
        Quantize { rows: most, k: most, input: Format::F32, to: Quantization::new(Format::Nvfp4) }.into(),
        Dequantize { rows: most, k: most, from: Format::Fp8Tile128, output: Format::F16 }.into(),
        each.into(),
        GroupedMatmul { each, groups: most }.into(),
        SwiGlu {
            rows: most,
            n: most,
            form: SwiGluForm::gpt_oss(7.0),
            input: Format::F16,
            row_weights: true,
            to: Quantization::new(Format::Mxint8),
        }
        .into(),
        Route {
            tokens: most,
            experts: most,
            top_k: most,
            score: Score::SoftmaxOfChosen,
            bias: true,
            ids_given: false,
            renormalize: false,
            scale: 1.0,
        }
        .into(),
        Permute {
            tokens: most,
            columns: most,
            experts: most,
            top_k: 1,
            format: Format::Mxfp4,
            weights: true,
            mapped: Some(most),
        }
        .into(),
        Combine {
            tokens: 1,
            columns: most,
            top_k: most,
            input: Format::Bf16,
            output: Format::Bf16,
            weighted: false,
            addend: Some(Format::F32),
        }
        .into(),
        MoeFfn {
            tokens: most,
            hidden: most,
            inner: most,
            experts: most,
            top_k: 1,
            weight: Format::Mxfp4,
            activation: Quantization::new(Format::Mxfp4),
            form: SwiGluForm::silu(10.0),
            weight_position: WeightPosition::AfterDown,
            bias: true,
            output: Format::Bf16,
            mapped: Some(most),
            shared: Some(SharedExpert { inner: most, weight: Format::Fp8Tile128, clamped: true }),
        }
        .into(),
    ]
}

#[test]
fn every_operator_that_validates_is_supported_and_prepared_however_large() {
    let host = Host::new(3);
    let ops = largest();
    assert_eq!(ops.iter().map(Op::kind).collect::<Vec<_>>(), OpKind::ALL);
    for op in ops {
        let Support::Yes(properties) = host.device.supports(&op).unwrap() else { panic!("{op:?}") };
        assert!(properties.run_to_run && properties.batch_invariant && properties.thread_invariant);
        let plan = host.device.prepare(&op).unwrap();
        assert!(plan.info().workspace_bytes > 0);
        if plan.info().workspace_bytes > 1 << 45 {
            let error = host.device.allocate(plan.info().workspace_bytes).unwrap_err();
            assert_eq!(error.status(), Status::OutOfMemory);
        }
    }
}

#[test]
fn what_does_not_validate_is_refused_by_supports_and_prepare() {
    let host = Host::new(1);
    let op = Op::from(Matmul::mxfp4(1, 1, 33, Quantization::none()));
    assert_eq!(host.device.supports(&op).unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(host.device.prepare(&op).err().unwrap().status(), Status::InvalidArgument);
}

#[test]
fn memory_is_given_back_once_and_its_end_is_an_error() {
    let host = Host::new(1);
    let device = &host.device;
    let info = device.info().unwrap();
    assert!(!info.name.is_empty() && info.units == 1 && info.alignment == 64);
    let address = device.allocate(100).unwrap();
    assert!(address.is_multiple_of(info.alignment));
    assert_eq!(device.free_host(address).unwrap_err().status(), Status::InvalidArgument);
    device.free(address).unwrap();
    assert_eq!(device.free(address).unwrap_err().status(), Status::InvalidArgument);

    let memory = device.memory().unwrap();
    assert!(memory.free > 0 && memory.free <= memory.total);
    let error = device.allocate(memory.total + 1).unwrap_err();
    assert_eq!(error.status(), Status::OutOfMemory);
    assert!(error.message().contains(&(memory.total + 1).to_string()), "{error}");
    let after = device.allocate_host(1 << 21).unwrap();
    device.free_host(after).unwrap();
}

#[test]
fn copies_and_fills_reach_the_bytes_they_name() {
    let host = Host::new(1);
    let buffer = Buffer::new(&host.device, 8).unwrap();
    buffer.write(&*host.stream, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    host.stream.copy_on_device(buffer.span().address + 4, buffer.span().part(0, 2).unwrap()).unwrap();
    host.stream.fill(buffer.span().part(6, 1).unwrap(), 9).unwrap();
    let mut back = [0; 8];
    buffer.read(&*host.stream, &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 4, 1, 2, 9, 8]);
    assert_eq!(
        host.stream.fill(Span { address: 0, bytes: 1 }, 0).unwrap_err().status(),
        Status::InvalidArgument
    );
}

#[test]
fn events_measure_time_between_marks() {
    let host = Host::new(1);
    let (start, end) = (host.device.create_event().unwrap(), host.device.create_event().unwrap());
    start.synchronize(Some(Duration::ZERO)).unwrap();
    assert_eq!(end.elapsed_since(&*start).unwrap_err().status(), Status::InvalidArgument);
    host.stream.record(&*start).unwrap();
    std::thread::sleep(Duration::from_millis(3));
    host.stream.record(&*end).unwrap();
    host.stream.wait(&*end).unwrap();
    host.stream.synchronize(Some(Duration::ZERO)).unwrap();
    assert!(end.elapsed_since(&*start).unwrap() >= Duration::from_millis(3));
    assert_eq!(start.elapsed_since(&*end).unwrap(), Duration::ZERO);
}

/// A stream and an event of nobody's.
struct Foreign;

impl Stream for Foreign {
    fn copy_to_device(&self, _to: u64, _from: Span) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn copy_to_host(&self, _to: u64, _from: Span) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn copy_on_device(&self, _to: u64, _from: Span) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn fill(&self, _to: Span, _value: u8) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn record(&self, _event: &dyn Event) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn wait(&self, _event: &dyn Event) -> Result<()> {
        Err(Error::unsupported("foreign"))
    }
    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }
}

impl Event for Foreign {
    fn synchronize(&self, _timeout: Option<Duration>) -> Result<()> {
        Ok(())
    }
    fn elapsed_since(&self, _earlier: &dyn Event) -> Result<Duration> {
        Ok(Duration::ZERO)
    }
}

#[test]
fn handles_of_others_and_addresses_between_elements_are_refused() {
    let host = Host::new(2);
    let op = Quantize { rows: 2, k: 32, input: Format::F32, to: Quantization::new(Format::Mxfp4) };
    let plan = host.device.quantize(op).unwrap();
    let workspace = host.workspace(plan.info());
    let x = host.upload(&Rows::floats(&[3, 32], &[1.0; 96]));
    let y = host.poisoned(Format::Mxfp4, &[2, 32]);
    let layout = mxhal_core::Layout::contiguous(Format::F32, &[2, 32]).unwrap();
    let at = |offset| Tensor::new(layout, x.view.data().part(offset, 256).unwrap()).unwrap();
    let tensors = |x| QuantizeTensors { x, y: y.view };
    let refused = |result: Result<()>| assert_eq!(result.unwrap_err().status(), Status::InvalidArgument);

    refused(plan.run(&Foreign, tensors(at(0)), [], workspace.span()));
    refused(host.stream.record(&Foreign));
    refused(host.stream.wait(&Foreign));
    let event = host.device.create_event().unwrap();
    host.stream.record(&*event).unwrap();
    refused(event.elapsed_since(&Foreign).map(drop));
    refused(plan.run(&*host.stream, tensors(at(2)), [], workspace.span()));
    let shifted = Span { address: workspace.span().address + 4, ..workspace.span() };
    refused(plan.run(&*host.stream, tensors(at(0)), [], shifted));
    // An element's size is enough for a tensor.
    plan.run(&*host.stream, tensors(at(4)), [], workspace.span()).unwrap();
}

#[test]
fn threads_may_share_a_device_and_a_plan() {
    let host = Host::new(2);
    let (rows, k) = (50, 256);
    let op = Quantize { rows, k, input: Format::F32, to: Quantization::new(Format::Mxfp8) };
    let plan = host.device.quantize(op).unwrap();
    let device = &host.device;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let plan = &plan;
            scope.spawn(move || {
                let host = Host { device: device.clone(), stream: device.create_stream().unwrap() };
                let values: Vec<f32> =
                    (0..rows * k).map(|i| (i * (thread + 3) % 251) as f32 - 99.0).collect();
                let x = host.upload(&Rows::floats(&[rows, k], &values));
                let y = host.poisoned(Format::Mxfp8, &[rows, k]);
                let workspace = host.workspace(plan.info());
                for _ in 0..20 {
                    let tensors = QuantizeTensors { x: x.view, y: y.view };
                    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
                    let expected = Rows::of(&Quantization::new(Format::Mxfp8), &[rows, k], &values);
                    assert_eq!(host.download(&y), expected);
                }
            });
        }
    });
}

#[test]
fn one_factor_for_many_quantized_rows_is_refused() {
    let host = Host::new(1);
    let to = Quantization::new(Format::Nvfp4);
    let plan = host.device.quantize(Quantize { rows: 2, k: 16, input: Format::F32, to }).unwrap();
    let workspace = host.workspace(plan.info());
    let (x, y) = (host.upload(&Rows::floats(&[2, 16], &[1.0; 32])), host.poisoned(Format::Nvfp4, &[2, 16]));
    let factor = y.view.factors().part(0, 4).unwrap();
    let tensors = QuantizeTensors { x: x.view, y: y.view.with_factors(factor).unwrap() };
    let error = plan.run(&*host.stream, tensors, [], workspace.span()).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("one factor for 2 rows"), "{error}");
}
