//! The device: a GPU with its context, memory and kernels.

use std::sync::Arc;

use mxhal_core::{
    Device, DeviceInfo, Error, Event, HostTensor, MemoryInfo, Op, Plan, Result, Status, Stream, Support,
    Weights, WeightsDesc,
};
use mxhal_kernels_cuda::Target;

use crate::code::Code;
use crate::context::Context;
use crate::memory::{ALIGNMENT, Memory};
use crate::op;
use crate::options::Options;
use crate::stream::{CudaEvent, CudaStream};
use crate::support::{Offer, supports};
use crate::sys::CUdevice_attribute;
use crate::weights::CudaWeights;

/// What everything made by one device has in common. Handles with the same one belong together.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) offer: Offer,
    /// Memory and code go before the context does.
    pub(crate) memory: Arc<Memory>,
    pub(crate) code: Code,
    pub(crate) context: Arc<Context>,
}

/// An opened device.
pub(crate) struct CudaDevice {
    shared: Arc<Shared>,
    capability: (u32, u32),
}

impl CudaDevice {
    /// # Errors
    ///
    /// [`Status::Unavailable`] for an architecture without kernels, and where there is no device code for it.
    pub(crate) fn open(context: Arc<Context>, options: &Options) -> Result<Self> {
        let major = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let Some(target) = Target::of_compute_capability(major, minor) else {
            return Err(Error::new(
                Status::Unavailable,
                format!(
                    "{} has compute capability {major}.{minor}, and the kernels are for 9.0 (Hopper) and 10.0, 10.3, 12.0 \
                     and 12.1 (Blackwell)",
                    context.name()?
                ),
            ));
        };
        let code = Code::load(&context, target, options)?;
        let shared = Shared {
            options: options.clone(),
            offer: Offer { target, most_shared_bytes: code.most_shared_bytes },
            memory: Arc::new(Memory::new(&context, options.memory_reserve)?),
            code,
            context,
        };
        Ok(Self { shared: Arc::new(shared), capability: (major, minor) })
    }
}

impl Device for CudaDevice {
    fn info(&self) -> Result<DeviceInfo> {
        let Shared { context, code, .. } = &*self.shared;
        let (major, minor) = self.capability;
        Ok(DeviceInfo {
            name: context.name()?,
            architecture: format!("sm_{major}{minor}"),
            driver: format!("CUDA {}, device code {}", context.driver.version(), code.source()),
            memory_bytes: context.total_memory()?,
            alignment: ALIGNMENT,
            units: context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        })
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.shared.memory.info()
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        self.shared.memory.allocate(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.shared.memory.free(address)
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.shared.memory.allocate_host(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.shared.memory.free_host(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(CudaStream::new(&self.shared)?))
    }

    fn wrap_stream(&self, native: u64) -> Result<Box<dyn Stream>> {
        Ok(Box::new(CudaStream::wrap(&self.shared, native)))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        Ok(Arc::new(CudaEvent::new(&self.shared.context)?))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        supports(&self.shared.offer, op)
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        op::prepare(&self.shared, op)
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        Ok(Arc::new(CudaWeights::prepare(&self.shared, desc, parts)?))
    }
}
