//! The CPU backend's device and plans, with a fault put between them and their caller.

use std::any::Any;
use std::sync::{Arc, Mutex};

use mxhal_core::{
    Buffer, Device, DeviceInfo, Event, HostBuffer, HostTensor, MemoryInfo, Op, Plan, PlanInfo, Result, Span,
    Stream, Support, Tensor, Weights, WeightsDesc,
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
        let allocated = self.device.allocate(bytes);
        match self.fault.wrong {
            Wrong::Allocation(tamper) => tamper(allocated),
            _ => allocated,
        }
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
        let truth = self.device.supports(op)?;
        Ok(match self.fault.wrong {
            Wrong::Support(tamper) => tamper(op, truth),
            _ => truth,
        })
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        let planned = match self.fault.wrong {
            Wrong::Operator(change) => change(*op),
            _ => *op,
        };
        Ok(Box::new(TamperedPlan {
            op: *op,
            plan: self.device.prepare(&planned)?,
            device: Arc::clone(&self.device),
            kept: Mutex::default(),
            fault: self.fault,
        }))
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        let weights = self.device.prepare_weights(desc, parts)?;
        Ok(match self.fault.wrong {
            Wrong::Export(tamper) => Arc::new(TamperedWeights { weights, tamper }),
            _ => weights,
        })
    }
}

/// Weights that come back otherwise than they were given.
struct TamperedWeights {
    weights: Arc<dyn Weights>,
    tamper: fn(&mut HostBuffer),
}

impl Weights for TamperedWeights {
    fn desc(&self) -> &WeightsDesc {
        self.weights.desc()
    }

    fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    fn export(&self) -> Result<HostBuffer> {
        let mut exported = self.weights.export()?;
        (self.tamper)(&mut exported);
        Ok(exported)
    }
}

struct TamperedPlan {
    op: Op,
    plan: Box<dyn Plan>,
    device: Arc<dyn Device>,
    kept: Mutex<Kept>,
    fault: &'static Fault,
}

/// What a plan should not keep from one run to the next.
#[derive(Default)]
pub(crate) struct Kept {
    /// An input, and where it lay.
    pub(crate) input: Option<(u64, HostBuffer)>,
    /// Weights.
    pub(crate) weights: Option<Arc<dyn Weights>>,
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
        let weights: Vec<&dyn Weights> = weights.iter().map(|weights| untampered(*weights)).collect();
        let (op, plan, device, kept) = (&self.op, &*self.plan, &self.device, &self.kept);
        let run = Run { op, tensors, weights: &weights, workspace, device, kept, plan, stream };
        match self.fault.wrong {
            Wrong::Run(tamper) => tamper(&run),
            _ => run.go(),
        }
    }
}

/// The CPU backend's own weights.
fn untampered(weights: &dyn Weights) -> &dyn Weights {
    match (weights as &dyn Any).downcast_ref::<TamperedWeights>() {
        Some(tampered) => &*tampered.weights,
        None => weights,
    }
}

/// A run as it was asked for. The CPU backend has done it when [`Self::go`] returns, so that a fault may look at
/// tensors, and change them, before and after.
pub(crate) struct Run<'a> {
    /// What the plan is for.
    pub(crate) op: &'a Op,
    /// What was passed.
    pub(crate) tensors: &'a [Option<Tensor>],
    /// What was passed.
    pub(crate) weights: &'a [&'a dyn Weights],
    /// What was passed.
    pub(crate) workspace: Span,
    /// The CPU backend's.
    pub(crate) device: &'a Arc<dyn Device>,
    /// What the plan keeps.
    pub(crate) kept: &'a Mutex<Kept>,
    plan: &'a dyn Plan,
    stream: &'a dyn Stream,
}

impl Run<'_> {
    /// The tensor in this place of the operator's table, if it was passed.
    pub(crate) fn tensor(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index).and_then(Option::as_ref)
    }

    /// Its place in the operator's table.
    pub(crate) fn place(&self, name: &str) -> usize {
        let place = self.op.arguments().iter().position(|argument| argument.name == name);
        place.expect("faults ask for what the operator's table has")
    }

    /// The tensor of this name, if the operator has one and it was passed.
    pub(crate) fn named(&self, name: &str) -> Option<&Tensor> {
        self.op.arguments().iter().position(|argument| argument.name == name).and_then(|at| self.tensor(at))
    }

    /// Does it as asked.
    pub(crate) fn go(&self) -> Result<()> {
        self.plan.run(self.stream, self.tensors, self.weights, self.workspace)
    }

    /// Does it with another tensor in this place.
    pub(crate) fn go_with(&self, index: usize, tensor: Tensor) -> Result<()> {
        self.go_with_all(&[(index, tensor)])
    }

    /// Does it with other tensors in these places.
    pub(crate) fn go_with_all(&self, others: &[(usize, Tensor)]) -> Result<()> {
        self.plan.run(self.stream, &self.replaced(others), self.weights, self.workspace)
    }

    /// Does it with other weights.
    pub(crate) fn go_with_weights(&self, weights: &[&dyn Weights]) -> Result<()> {
        self.plan.run(self.stream, self.tensors, weights, self.workspace)
    }

    /// Does another operator with the same weights, and other tensors in these places.
    pub(crate) fn go_as(&self, op: &Op, others: &[(usize, Tensor)]) -> Result<()> {
        let plan = self.device.prepare(op)?;
        let workspace = Buffer::new(self.device, plan.info().workspace_bytes.max(1))?;
        plan.run(self.stream, &self.replaced(others), self.weights, workspace.span())
    }

    fn replaced(&self, others: &[(usize, Tensor)]) -> Vec<Option<Tensor>> {
        let mut tensors = self.tensors.to_vec();
        for (index, tensor) in others {
            tensors[*index] = Some(*tensor);
        }
        tensors
    }
}
