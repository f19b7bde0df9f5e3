//! The device: the machine's processors together.

use std::fs;
use std::sync::Arc;

use mxhal_core::{
    Device, DeviceInfo, Event, HostTensor, MemoryInfo, Op, Plan, Result, Stream, Support, Weights,
    WeightsDesc,
};

use crate::kernel::Kernels;
use crate::memory::{self, ALIGNMENT, Ledger};
use crate::op;
use crate::pool::Pool;
use crate::stream::{CpuEvent, CpuStream};
use crate::support;
use crate::weights::CpuWeights;

/// What everything made by one [`Cpu`](crate::Cpu) has in common. Handles with the same one belong together.
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) kernels: Kernels,
    device_memory: Ledger,
    host_memory: Ledger,
}

impl Shared {
    pub(crate) fn new(pool: Pool, kernels: Kernels) -> Self {
        Self {
            pool,
            kernels,
            device_memory: Ledger::new("allocate"),
            host_memory: Ledger::new("allocate_host"),
        }
    }
}

/// An opened device.
pub(crate) struct CpuDevice {
    shared: Arc<Shared>,
}

impl CpuDevice {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Device for CpuDevice {
    fn info(&self) -> Result<DeviceInfo> {
        Ok(DeviceInfo {
            name: model_name().unwrap_or_else(|| format!("CPU ({})", std::env::consts::ARCH)),
            architecture: self.shared.kernels.isa.name().to_owned(),
            driver: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| String::new(), |release| format!("Linux {}", release.trim())),
            memory_bytes: memory::info().total,
            alignment: ALIGNMENT,
            units: u32::try_from(self.shared.pool.threads()).unwrap_or(u32::MAX),
        })
    }

    fn memory(&self) -> Result<MemoryInfo> {
        Ok(memory::info())
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.shared.device_memory.allocate(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.shared.device_memory.free(address)
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.shared.host_memory.allocate(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.shared.host_memory.free(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(CpuStream::new(Arc::clone(&self.shared))))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        Ok(Arc::new(CpuEvent::new()))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        support::supports(op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        op::prepare(&self.shared, op)
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        Ok(Arc::new(CpuWeights::prepare(&self.shared, desc, parts)?))
    }
}

/// The processor's name, where the kernel knows it: on x86 it does, on ARM it does not.
fn model_name() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
