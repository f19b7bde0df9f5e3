//! The CPU backend's device and plans, with a fault put between them and their caller.

use std::sync::Arc;

use mxhal_core::{
    Device, DeviceInfo, Event, HostTensor, MemoryInfo, Op, Plan, PlanInfo, Result, Span, Stream, Support,
    Tensor, Weights, WeightsDesc,
};

use crate::fault::{Fault, Wrong};

/// A device whose plans have a fault; everything else is the device's own.
pub(crate) struct Tampered {
    device: Arc<dyn Device>,
    fault: &'static Fault,
}

impl Tampered {
    pub(crate) fn new(device: Arc<dyn Device>, fault: &'static Fault) -> Self {
        Self { device, fault }
    }
}

impl Device for Tampered {
    fn info(&self) -> Result<DeviceInfo> {
        self.device.info()
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.device.memory()
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.device.allocate(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.device.free(address)
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.device.allocate_host(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.device.free_host(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        self.device.create_stream()
    }

    fn wrap_stream(&self, native: u64) -> Result<Box<dyn Stream>> {
        self.device.wrap_stream(native)
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        self.device.create_event()
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        self.device.supports(op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        let planned = match self.fault.wrong {
            Wrong::Operator(change) => change(*op),
            _ => *op,
        };
        Ok(Box::new(TamperedPlan { op: *op, plan: self.device.prepare(&planned)?, fault: self.fault }))
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        self.device.prepare_weights(desc, parts)
    }
}

struct TamperedPlan {
    op: Op,
    plan: Box<dyn Plan>,
    fault: &'static Fault,
}

impl Plan for TamperedPlan {
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
        let run = Run { op: &self.op, tensors, plan: &*self.plan, stream, weights, workspace };
        match self.fault.wrong {
            Wrong::Run(tamper) => tamper(&run),
            Wrong::Nothing | Wrong::Operator(_) => run.go(),
        }
    }
}

/// A run as it was asked for. The CPU backend has done it when [`Self::go`] returns, so that a fault may look at
/// tensors, and change them, before and after.
pub(crate) struct Run<'a> {
    /// What the plan is for.
    pub(crate) op: &'a Op,
    tensors: &'a [Option<Tensor>],
    plan: &'a dyn Plan,
    stream: &'a dyn Stream,
    weights: &'a [&'a dyn Weights],
    workspace: Span,
}

impl Run<'_> {
    /// The tensor in this place of the operator's table, if it was passed.
    pub(crate) fn tensor(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index).and_then(Option::as_ref)
    }

    /// Does it as asked.
    pub(crate) fn go(&self) -> Result<()> {
        self.plan.run(self.stream, self.tensors, self.weights, self.workspace)
    }

    /// Does it with another tensor in this place.
    pub(crate) fn go_with(&self, index: usize, tensor: Tensor) -> Result<()> {
        let mut tensors = self.tensors.to_vec();
        tensors[index] = Some(tensor);
        self.plan.run(self.stream, &tensors, self.weights, self.workspace)
    }
}
