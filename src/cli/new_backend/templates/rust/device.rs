//! The device: the host's memory and the caller's thread.

use std::sync::Arc;

use mxhal_core::{
    Device, DeviceInfo, Event, HostTensor, MemoryInfo, Op, Plan, Result, Stream, Support, Weights,
    WeightsDesc,
};

use crate::memory::{ALIGNMENT, Ledger};
use crate::stream::{HostEvent, HostStream};
use crate::{memory, op, support};

/// An opened device.
pub(crate) struct HostDevice {
    allocations: Ledger,
}

impl HostDevice {
    pub(crate) fn new() -> Self {
        Self { allocations: Ledger::default() }
    }
}

impl Device for HostDevice {
    fn info(&self) -> Result<DeviceInfo> {
        Ok(DeviceInfo {
            name: "host memory and the calling thread".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            driver: "none".to_owned(),
            memory_bytes: memory::info().total,
            alignment: ALIGNMENT,
            units: 1,
        })
    }

    fn memory(&self) -> Result<MemoryInfo> {
        Ok(memory::info())
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.allocations.allocate(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.allocations.free(address)
    }

    // Memory that copies are fastest with; here all of it is.
    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.allocations.allocate(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.allocations.free(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(HostStream))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        Ok(Arc::new(HostEvent::default()))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        support::supports(op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        op::prepare(op)
    }

    fn prepare_weights(&self, desc: &WeightsDesc, _parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        Err(support::no_weights(desc).to_error())
    }
}
