//! The device: an NPU with its context.

use std::sync::Arc;

use mxhal_cann::safe::Context;
use mxhal_cann::sys;
use mxhal_core::{
    Device, DeviceInfo, Event, HostTensor, MemoryInfo, Op, Plan, Result, Stream, Support, Weights,
    WeightsDesc,
};

use crate::constants::Constants;
use crate::error::from_cann;
use crate::fractal::Storages;
use crate::kernels::Kernels;
use crate::memory::{ALIGNMENT, Ledger, Place};
use crate::op;
use crate::soc::Soc;
use crate::stream::{AscendEvent, AscendStream};
use crate::support::{Offer, supports};
use crate::weights::AscendWeights;

/// What everything made by one device has in common. Handles with the same one belong together.
pub(crate) struct Shared {
    pub(crate) offer: Offer,
    /// None where the offer says why.
    pub(crate) kernels: Option<Kernels>,
    /// Memory that is held here goes before the context does.
    pub(crate) constants: Constants,
    pub(crate) storages: Storages,
    device_memory: Ledger,
    host_memory: Ledger,
    soc: Soc,
    pub(crate) context: Context,
}

/// An opened device.
pub(crate) struct AscendDevice {
    shared: Arc<Shared>,
}

impl AscendDevice {
    pub(crate) fn new(context: Context, offer: Offer, kernels: Option<Kernels>, soc: Soc) -> Self {
        let shared = Shared {
            offer,
            kernels,
            constants: Constants::default(),
            storages: Storages::default(),
            device_memory: Ledger::new(Place::Device),
            host_memory: Ledger::new(Place::Host),
            soc,
            context,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Device for AscendDevice {
    fn info(&self) -> Result<DeviceInfo> {
        let Shared { context, soc, .. } = &*self.shared;
        let runtime = context.runtime();
        let (_, total) = context.memory().map_err(from_cann)?;
        let version = runtime.library().aclrt_get_version();
        let version = version.map_or_else(
            |_| String::new(),
            |(major, minor, patch)| format!("AscendCL {major}.{minor}.{patch}{}, ", soc.remark()),
        );
        // A number that an older CANN does not know is left at 0.
        let cores = runtime.device_attribute(context.device(), sys::ACL_DEV_ATTR_CUBE_CORE_NUM).unwrap_or(0);
        Ok(DeviceInfo {
            name: soc.product(),
            architecture: soc.name().to_owned(),
            driver: format!("{version}CANN at {}", runtime.library().root().display()),
            memory_bytes: total as u64,
            alignment: ALIGNMENT,
            units: u32::try_from(cores).unwrap_or(0),
        })
    }

    fn memory(&self) -> Result<MemoryInfo> {
        let (free, total) = self.shared.context.memory().map_err(from_cann)?;
        Ok(MemoryInfo { free: free as u64, total: total as u64 })
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.shared.device_memory.allocate(&self.shared.context, bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.shared.device_memory.free(&self.shared.context, address)
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.shared.host_memory.allocate(&self.shared.context, bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.shared.host_memory.free(&self.shared.context, address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(AscendStream::new(Arc::clone(&self.shared))?))
    }

    fn wrap_stream(&self, native: u64) -> Result<Box<dyn Stream>> {
        Ok(Box::new(AscendStream::wrap(Arc::clone(&self.shared), native)))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        Ok(Arc::new(AscendEvent::new(&self.shared)?))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        supports(&self.shared.offer, op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        op::prepare(&self.shared, op)
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        Ok(Arc::new(AscendWeights::prepare(&self.shared, desc, parts)?))
    }
}
