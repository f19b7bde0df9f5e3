//! Faults of memory and of determinism, each put into the CPU backend, and found by the rig.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mxhal_conformance::opcase::{OpCase, Tier, Values};
use mxhal_conformance::outcome::{Failure, Outcome};
use mxhal_conformance::subject::Subject;
use mxhal_core::op::Matmul;
use mxhal_core::{
    Backend, Device, DeviceInfo, Error, Event, Format, HostTensor, Identity, MemoryInfo, Op, Plan, PlanInfo,
    Quantization, Result, Span, Status, Stream, Support, Tensor, Weights, WeightsDesc,
};
use mxhal_cpu::Cpu;
use mxhal_ffi::export::Host;
use mxhal_ffi::{HostOptions, PluginBackend};

#[test]
fn without_a_fault_it_passes() {
    assert!(matches!(ask("none", 0), Outcome::Pass(_)));
}

#[test]
fn a_byte_behind_the_output_and_one_before_the_input() {
    let failure = failure_of("past-end", 0);
    assert_eq!(failure.message, "red zone: a byte 1 past the end of y was written");
    let failure = failure_of("before-input", 0);
    assert_eq!(failure.message, "red zone: a byte 1 before the beginning of a was written");
}

#[test]
fn a_byte_between_two_rows() {
    let failure = failure_of("past-row", 8);
    assert_eq!(failure.message, "red zone: a byte 1 past the end of row 0 of y was written, before the next");
}

#[test]
fn a_byte_behind_the_workspace() {
    let failure = failure_of("past-workspace", 0);
    assert_eq!(failure.message, "red zone: a byte 1 past the end of the workspace was written");
}

#[test]
fn an_input_that_was_changed() {
    let failure = failure_of("input-changed", 0);
    assert_eq!(failure.message, "the input a was changed: byte 3 of its elements");
}

#[test]
fn an_output_that_nobody_wrote() {
    let failure = failure_of("does-nothing", 0);
    assert_eq!(
        (failure.message.as_str(), failure.index),
        ("element 0 of y was written by nobody", vec![0, 0])
    );
}

#[test]
fn bits_that_differ_from_run_to_run_though_the_same_were_declared() {
    let failure = failure_of("last-bit-drifts", 0);
    let expected = "y differs between two runs, and the same bits from run to run were declared";
    assert_eq!(failure.message, expected);
}

#[test]
fn an_error_of_a_run_is_told_in_the_backends_words() {
    let failure = failure_of("run-fails", 0);
    assert_eq!(failure.message, "internal error: run: as asked");
}

#[test]
fn a_lost_device_is_no_failure_of_the_case() {
    assert!(matches!(ask("device-lost", 0), Outcome::DeviceLost { .. }));
}

fn failure_of(fault: &str, row_gap: usize) -> Failure {
    match ask(fault, row_gap) {
        Outcome::Fail(failure) => failure,
        other => panic!("{fault}: {other:?}"),
    }
}

/// A small product on a backend with this fault.
fn ask(fault: &str, row_gap: usize) -> Outcome {
    let options = vec![("fault".to_owned(), fault.to_owned())];
    let plugin = mxhal_ffi::embedded::<Faulty>(&HostOptions { options, log: None }).unwrap();
    let subject = Subject::new(plugin, 0).unwrap();
    let tier = if fault == "last-bit-drifts" { Tier::Bounded } else { Tier::Exact };
    let op = Matmul::mxfp4(3, 5, 64, Quantization::new(Format::Mxfp8));
    OpCase { row_gap, ..OpCase::new(op, Values::Exact { spread: 2 }, tier) }.run(&subject, 1)
}

/// The CPU backend, with something done to memory after each run.
struct Faulty {
    cpu: Cpu,
    fault: String,
}

impl PluginBackend for Faulty {
    const NAME: &'static str = "faulty";
    const VENDOR: &'static str = "mxhal";
    const VERSION: &'static str = "0";

    fn open(host: &Host<'_>) -> Result<Self> {
        let fault = host.options().iter().find(|(key, _)| key == "fault").map(|(_, fault)| fault.clone());
        Ok(Self { cpu: Cpu::new(&[])?, fault: fault.unwrap_or_default() })
    }
}

impl Backend for Faulty {
    fn identity(&self) -> &Identity {
        self.cpu.identity()
    }

    fn device_count(&self) -> Result<u32> {
        self.cpu.device_count()
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        Ok(Arc::new(FaultyDevice { cpu: self.cpu.open_device(index)?, fault: self.fault.clone() }))
    }
}

struct FaultyDevice {
    cpu: Arc<dyn Device>,
    fault: String,
}

impl Device for FaultyDevice {
    fn info(&self) -> Result<DeviceInfo> {
        self.cpu.info()
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.cpu.memory()
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.cpu.allocate(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.cpu.free(address)
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.cpu.allocate_host(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.cpu.free_host(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        self.cpu.create_stream()
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        self.cpu.create_event()
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        self.cpu.supports(op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        let plan = self.cpu.prepare(op)?;
        Ok(Box::new(FaultyPlan { plan, fault: self.fault.clone(), runs: AtomicU8::new(0) }))
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        self.cpu.prepare_weights(desc, parts)
    }
}

struct FaultyPlan {
    plan: Box<dyn Plan>,
    fault: String,
    runs: AtomicU8,
}

impl Plan for FaultyPlan {
    fn info(&self) -> &PlanInfo {
        self.plan.info()
    }

    fn run(
        &self,
        stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        weights: &[&dyn Weights],
        workspace: Span,
    ) -> Result<()> {
        match self.fault.as_str() {
            "does-nothing" => return Ok(()),
            "run-fails" => return Err(Error::internal("as asked")),
            "device-lost" => return Err(Error::new(Status::DeviceLost, "as asked")),
            _ => self.plan.run(stream, tensors, weights, workspace)?,
        }
        let (a, y) = (tensors[0].expect("a is passed").data(), tensors[2].expect("y is passed"));
        let row = y.layout().columns() as u64 * 4;
        let one_byte = |address: u64, value: u8| stream.fill(Span { address, bytes: 1 }, value);
        match self.fault.as_str() {
            "past-end" => one_byte(y.data().address + y.data().bytes, 1),
            "before-input" => one_byte(a.address - 1, 1),
            "past-row" => one_byte(y.data().address + row, 1),
            "past-workspace" => one_byte(workspace.address + workspace.bytes, 1),
            "input-changed" => one_byte(a.address + 3, 0x7e),
            "last-bit-drifts" => one_byte(y.data().address, self.runs.fetch_add(1, Ordering::Relaxed)),
            _ => Ok(()),
        }
    }
}
