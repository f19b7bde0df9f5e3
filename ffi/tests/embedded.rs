//! The whole table, with a Rust backend on one side and core's traits on the other.

mod backend;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use backend::{LIVE, PANICS, PANICS_WHEN_DROPPED, Small, WORKSPACE};
use mxhal_core::format::quantize_row;
use mxhal_core::op::{Dequantize, Operators, Quantize, QuantizeTensors};
use mxhal_core::{
    Backend, Buffer, Device, Format, HostTensor, Layout, Op, Quantization, Reason, Result, Span, Status,
    Stream, Support, Tensor, Weights, WeightsDesc,
};
use mxhal_ffi::{HostOptions, LogLevel, Plugin, Source, embedded};

/// What is alive is counted over the process, so tests that count come one after another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn open() -> Plugin {
    embedded::<Small>(&HostOptions::default()).unwrap()
}

fn device() -> Arc<dyn Device> {
    open().open_device(0).unwrap()
}

fn quantize(rows: usize) -> Quantize {
    Quantize { rows, k: 64, input: Format::F32, to: Quantization::new(Format::Mxfp4) }
}

fn failure<T>(result: Result<T>) -> (Status, String) {
    let error = result.err().expect("it fails");
    (error.status(), error.message().to_owned())
}

fn invalid(text: &str) -> (Status, String) {
    (Status::InvalidArgument, text.to_owned())
}

/// Input, output and workspace of a run.
struct Run {
    device: Arc<dyn Device>,
    stream: Box<dyn Stream>,
    input: Buffer,
    output: Buffer,
    tensors: QuantizeTensors,
    workspace: Buffer,
}

impl Run {
    fn new(device: &Arc<dyn Device>, rows: usize) -> Self {
        let (input, x) =
            Buffer::tensor(device, Layout::contiguous(Format::F32, &[rows, 64]).unwrap()).unwrap();
        let (output, y) =
            Buffer::tensor(device, Layout::contiguous(Format::Mxfp4, &[rows, 64]).unwrap()).unwrap();
        let tensors = QuantizeTensors { x, y };
        let workspace = Buffer::new(device, WORKSPACE).unwrap();
        Self {
            device: Arc::clone(device),
            stream: device.create_stream().unwrap(),
            input,
            output,
            tensors,
            workspace,
        }
    }

    fn run(&self, rows: usize) -> Result<()> {
        let plan = self.device.quantize(quantize(rows))?;
        plan.run(&*self.stream, self.tensors, [], self.workspace.span())
    }
}

#[test]
fn a_row_is_quantized_through_the_table() {
    let _alone = alone();
    let plugin = open();
    assert_eq!(*plugin.source(), Source::Embedded);
    assert_eq!(plugin.identity().name, "small");
    assert_eq!(plugin.device_count(), Ok(2));
    let device = plugin.open_device(1).unwrap();
    assert_eq!(device.info().unwrap().alignment, 8);
    assert_eq!(device.memory().unwrap().free, 1000);
    assert!(Plugin::native_device(&*device).is_some());

    let run = Run::new(&device, 3);
    let x: Vec<f32> = (0..3 * 64).map(|i| i as f32 * 0.37 - 11.0).collect();
    let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_ne_bytes()).collect();
    run.input.write(&*run.stream, &bytes).unwrap();
    run.run(8).unwrap();
    let mut got = vec![0; 3 * 32 + 3 * 2];
    run.output.read(&*run.stream, &mut got).unwrap();
    for (row, x) in x.chunks(64).enumerate() {
        let (mut data, mut scales) = ([0; 32], [0; 2]);
        quantize_row(&Quantization::new(Format::Mxfp4), x, &mut data, &mut scales);
        assert_eq!(got[row * 32..][..32], data);
        assert_eq!(got[96 + row * 2..][..2], scales);
    }

    let plan = device.prepare(&quantize(8).into()).unwrap();
    assert_eq!((plan.info().workspace_bytes, &*plan.info().kernel), (WORKSPACE, "a loop"));
}

#[test]
fn memory_streams_and_events_cross() {
    let _alone = alone();
    let device = device();
    for bytes in [0, 1, 100] {
        let address = device.allocate(bytes).unwrap();
        assert_ne!(address, 0);
        device.free(address).unwrap();
        let address = device.allocate_host(bytes).unwrap();
        device.free_host(address).unwrap();
    }
    device.free(0).unwrap();
    device.free_host(0).unwrap();
    assert_eq!(failure(device.allocate(1 << 30)).0, Status::OutOfMemory);
    assert_eq!(failure(device.free(8)), invalid("0x8 was not allocated here"));

    let stream = device.create_stream().unwrap();
    let (one, two) = (Buffer::new(&device, 64).unwrap(), Buffer::new(&device, 64).unwrap());
    stream.fill(one.span(), 0x5a).unwrap();
    stream.copy_on_device(two.span().address, one.span()).unwrap();
    let mut bytes = [0; 64];
    two.read(&*stream, &mut bytes).unwrap();
    assert_eq!(bytes, [0x5a; 64]);
    stream.copy_to_device(0, Span::NONE).unwrap();
    assert_eq!(
        failure(stream.fill(Span { address: 0, bytes: 8 }, 1)),
        invalid("to is null, and 8 bytes are wanted of it")
    );
    assert_eq!(stream.synchronize(None), Ok(()));
    assert_eq!(
        failure(stream.synchronize(Some(Duration::from_nanos(1)))),
        (Status::Timeout, "not in 1ns".into())
    );
    assert_eq!(failure(device.wrap_stream(0x77)).0, Status::Unsupported);

    let (first, second) = (device.create_event().unwrap(), device.create_event().unwrap());
    assert_eq!(failure(second.elapsed_since(&*first)), invalid("an event was never recorded"));
    stream.record(&*first).unwrap();
    stream.wait(&*first).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    stream.record(&*second).unwrap();
    let elapsed = second.elapsed_since(&*first).unwrap();
    assert!(elapsed >= Duration::from_millis(2) && elapsed < Duration::from_secs(60), "{elapsed:?}");
    assert_eq!(failure(second.synchronize(Some(Duration::ZERO))).0, Status::NotReady);
    assert_eq!(second.synchronize(None), Ok(()));
}

#[test]
fn answers_and_refusals_are_the_backends() {
    let _alone = alone();
    let device = device();
    let Support::Yes(properties) = device.supports(&quantize(4).into()).unwrap() else {
        panic!("it is offered")
    };
    assert!(properties.run_to_run && !properties.capturable);
    let dequantize = Op::from(Dequantize { rows: 1, k: 32, from: Format::Mxfp4, output: Format::F32 });
    let no = Support::no(Reason::Operator, "dequantize is not offered here");
    assert_eq!(device.supports(&dequantize), Ok(no));
    let refused = device.prepare(&dequantize).err().unwrap();
    assert_eq!(refused.status(), Status::Unsupported);
    assert_eq!(refused.message(), "dequantize is not offered here");
    assert_eq!(refused.vendor_code(), Reason::Operator as i64);
    let half = Op::from(Quantize { input: Format::Bf16, ..quantize(4) });
    assert_eq!(device.prepare(&half).err().unwrap().vendor_code(), Reason::Format as i64);
    // What core refuses never reaches the table.
    let odd = Op::from(Quantize { k: 33, ..quantize(4) });
    assert_eq!(failure(device.supports(&odd)), failure(odd.validate()));
    assert_eq!(failure(device.prepare(&odd)), failure(odd.validate()));
}

#[test]
fn runs_are_checked_before_the_table() {
    let _alone = alone();
    let device = device();
    let run = Run::new(&device, 4);
    let plan = device.prepare(&quantize(4).into()).unwrap();
    let both = [Some(run.tensors.x), Some(run.tensors.y)];
    let go = |tensors: &[Option<Tensor>], workspace| plan.run(&*run.stream, tensors, &[], workspace);
    assert_eq!(go(&both, run.workspace.span()), Ok(()));
    assert!(
        failure(go(&both[..1], run.workspace.span())).1.contains("1 tensors were passed, and it takes 2")
    );
    assert!(failure(go(&[both[0], None], run.workspace.span())).1.contains("tensor `y` is missing"));
    assert_eq!(
        failure(go(&both, Span { bytes: 8, ..run.workspace.span() })),
        invalid("quantize: the workspace has 8 bytes, and the plan wants 64")
    );
    assert_eq!(
        failure(go(&both, Span { address: 0, bytes: 64 })),
        invalid("quantize: the workspace is at address 0, and the plan wants 64 bytes")
    );
    assert!(failure(run.run(3)).1.contains("4 rows were passed to a plan for at most 3"));
}

#[test]
fn handles_of_others_are_refused() {
    let _alone = alone();
    let (device, other) = (device(), device());
    let run = Run::new(&device, 4);
    let stream = other.create_stream().unwrap();
    let event = other.create_event().unwrap();
    let plan = device.quantize(quantize(4)).unwrap();
    let said = failure(plan.run(&*stream, run.tensors, [], run.workspace.span()));
    assert_eq!(said, invalid("quantize: the stream is of another device, and devices do not share them"));
    let of_event = invalid("the event is of another device, and devices do not share them");
    assert_eq!(failure(run.stream.record(&*event)), of_event);
    assert_eq!(failure(run.stream.wait(&*event)), of_event);
    assert_eq!(failure(device.create_event().unwrap().elapsed_since(&*event)), of_event);
    // A stream of another making altogether.
    struct Foreign;
    impl Stream for Foreign {
        fn copy_to_device(&self, _: u64, _: Span) -> Result<()> {
            Ok(())
        }
        fn copy_to_host(&self, _: u64, _: Span) -> Result<()> {
            Ok(())
        }
        fn copy_on_device(&self, _: u64, _: Span) -> Result<()> {
            Ok(())
        }
        fn fill(&self, _: Span, _: u8) -> Result<()> {
            Ok(())
        }
        fn record(&self, _: &dyn mxhal_core::Event) -> Result<()> {
            Ok(())
        }
        fn wait(&self, _: &dyn mxhal_core::Event) -> Result<()> {
            Ok(())
        }
        fn synchronize(&self, _: Option<Duration>) -> Result<()> {
            Ok(())
        }
    }
    assert_eq!(failure(plan.run(&Foreign, run.tensors, [], run.workspace.span())).0, Status::InvalidArgument);
}

#[test]
fn weights_come_back_bit_for_bit() {
    let _alone = alone();
    let device = device();
    let desc = WeightsDesc { format: Format::Mxfp4, groups: 2, n: 3, k: 64, activation: Format::Bf16 };
    let layout = |rows| Layout::contiguous(Format::Mxfp4, &[rows, 64]).unwrap();
    let data: Vec<u8> = (0..192).collect();
    let scales: Vec<u8> = (100..112).collect();
    // Each group of one part with two rows and one with one.
    let mut parts = Vec::new();
    for (rows, first) in [(2, 0), (1, 2), (2, 3), (1, 5)] {
        let (data, scales) = (&data[first * 32..][..rows * 32], &scales[first * 2..][..rows * 2]);
        parts.push(HostTensor::new(layout(rows), data, scales, &[]).unwrap());
    }
    let weights = device.prepare_weights(&desc, &parts).unwrap();
    assert_eq!((*weights.desc(), weights.bytes()), (desc, 204));
    let exported = weights.export().unwrap();
    assert_eq!((&exported.data, &exported.scales), (&data, &scales));

    assert!(failure(device.prepare_weights(&desc, &parts[..3])).1.contains("as many parts for each"));
    let plain = WeightsDesc { format: Format::Bf16, ..desc };
    let bytes = vec![0; 3 * 64 * 2];
    let matrix = Layout::contiguous(Format::Bf16, &[3, 64]).unwrap();
    let part = HostTensor::new(matrix, &bytes, &[], &[]).unwrap();
    let refused = failure(device.prepare_weights(&plain, &[part, part]));
    assert_eq!(refused, (Status::Unsupported, "weights have scales here".into()));

    let run = Run::new(&device, 1);
    let plan = device.prepare(&quantize(1).into()).unwrap();
    let tensors = [Some(run.tensors.x), Some(run.tensors.y)];
    let said = failure(plan.run(&*run.stream, &tensors, &[&*weights], run.workspace.span()));
    assert_eq!(said, invalid("quantize: 1 prepared weights were passed, and it takes 0"));
}

#[test]
fn what_was_captured_runs_when_it_is_launched() {
    let _alone = alone();
    let before = LIVE.load(Ordering::SeqCst);
    let device = device();
    let stream = device.create_stream().unwrap();
    let buffer = Buffer::new(&device, 16).unwrap();
    let read = || {
        let mut bytes = [0; 16];
        buffer.read(&*stream, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(failure(stream.end_capture()), invalid("nothing is being captured"));
    stream.begin_capture().unwrap();
    assert_eq!(failure(stream.begin_capture()), invalid("the stream is being captured already"));
    stream.fill(buffer.span(), 7).unwrap();
    stream.fill(buffer.span().part(0, 8).unwrap(), 9).unwrap();
    let graph = stream.end_capture().unwrap();
    assert_eq!(read(), [0; 16], "it does not run while it is captured");
    graph.launch(&*stream).unwrap();
    assert_eq!(read(), [9, 9, 9, 9, 9, 9, 9, 9, 7, 7, 7, 7, 7, 7, 7, 7]);
    stream.fill(buffer.span(), 1).unwrap();
    graph.launch(&*stream).unwrap();
    assert_eq!(read()[8], 7);

    let other = open().open_device(1).unwrap();
    let foreign = failure(graph.launch(&*other.create_stream().unwrap()));
    assert_eq!(foreign.0, Status::InvalidArgument);
    drop((graph, buffer, stream, device, other));
    assert_eq!(LIVE.load(Ordering::SeqCst), before, "the graph was destroyed");
}

#[test]
fn a_panic_is_an_error_and_no_more() {
    let _alone = alone();
    let device = device();
    let run = Run::new(&device, PANICS);
    let said = failure(run.run(PANICS));
    assert_eq!(said, (Status::Internal, "the backend panicked: asked to panic with 13 rows".into()));
    assert_eq!(Run::new(&device, 2).run(PANICS), Ok(()), "the device goes on");

    // A panic in a destructor goes to the log, and does not leave it either.
    drop(device.prepare(&quantize(PANICS_WHEN_DROPPED).into()).unwrap());
    let plugin = open();
    assert_eq!(plugin.extension("mxhal.ext.test"), Some(0x1234));
    assert_eq!(plugin.extension("mxhal.ext.panic"), None);
    assert_eq!(plugin.extension("mxhal.ext.other"), None);
    assert_eq!(plugin.extension("a zero \0 byte"), None);
}

#[test]
fn a_backend_that_does_not_open_says_why() {
    let _alone = alone();
    let open = |key: &str| {
        let options = HostOptions { options: vec![(key.into(), "because".into())], log: None };
        embedded::<Small>(&options).unwrap_err().to_string()
    };
    assert_eq!(open("fail"), "embedded does not open: unavailable: because (vendor code -3)");
    assert_eq!(
        open("panic"),
        "embedded does not open: internal error: the backend panicked: asked to panic: because"
    );
}

#[test]
fn messages_arrive_until_the_end() {
    let _alone = alone();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&messages);
    let log = move |level: LogLevel, target: &str, message: &str| {
        sink.lock().unwrap().push(format!("{level} {target}: {message}"));
        assert!(target != "shutdown", "a sink that panics harms nobody");
    };
    let options = HostOptions { options: vec![("a".into(), "é".into())], log: Some(Arc::new(log)) };
    drop(embedded::<Small>(&options).unwrap());
    assert_eq!(*messages.lock().unwrap(), ["debug open: a=é", "info shutdown: bye\u{fffd}bye"]);
}

#[test]
fn everything_is_destroyed_once_in_any_order() {
    let _alone = alone();
    let before = LIVE.load(Ordering::SeqCst);
    let plugin = open();
    let device = plugin.open_device(0).unwrap();
    let stream = device.create_stream().unwrap();
    let event = device.create_event().unwrap();
    let plan = device.prepare(&quantize(4).into()).unwrap();
    let desc = WeightsDesc { format: Format::Mxfp4, groups: 1, n: 1, k: 32, activation: Format::Bf16 };
    let layout = Layout::contiguous(Format::Mxfp4, &[1, 32]).unwrap();
    let weights: Arc<dyn Weights> =
        device.prepare_weights(&desc, &[HostTensor::new(layout, &[0; 16], &[0], &[]).unwrap()]).unwrap();
    assert_eq!(LIVE.load(Ordering::SeqCst), before + 6);
    // Parents before children: the children keep what they need.
    drop(plugin);
    drop(device);
    assert_eq!(LIVE.load(Ordering::SeqCst), before + 6);
    stream.record(&*event).unwrap();
    drop(stream);
    drop(plan);
    drop(weights);
    assert_eq!(LIVE.load(Ordering::SeqCst), before + 3, "event, device and backend");
    drop(event);
    assert_eq!(LIVE.load(Ordering::SeqCst), before);
}
