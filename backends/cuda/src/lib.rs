//! The CUDA backend of mxhal: the operators on NVIDIA's Hopper (`sm_90`) and Blackwell (`sm_100`, `sm_103`, `sm_120`,
//! `sm_121`), by the driver API.
//!
//! Nothing of CUDA is needed to build it. The driver is looked up when devices are counted; the kernels are those of
//! `mxhal-kernels-cuda`, which embeds what nvcc made of them, or says that there was none. What was run where is said in
//! `docs/cuda.md`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Cuda`], [`Options`] | the backend and its options |
//! | `driver` | the driver: found, looked at, and only then called |
//! | `sys` | its functions |
//! | `context` | a device's context, through which every call goes |
//! | `faults` | which kernels may have failed, and that the device is lost since |
//! | `code` | the kernels, loaded for a device |
//! | `device` | a device: information, memory, what makes plans, weights and streams |
//! | `memory` | the pool, and allocations by address |
//! | `stream`, `graphs` | streams and events, and what was captured of them |
//! | `support` | what runs here, and why the rest does not |
//! | `session` | a plan's launches: gone through once to measure its workspace, and at each run |
//! | `tensor_map` | what the products in tensor memory find their operands by, encoded by the driver |
//! | `weights` | weights in the layout that the products take |
//! | `op` | a file for each operator |
//! | `error` | the driver's errors as core's |
//! | `export` | the backend behind the C table |
//!
//! # Time
//!
//! Work is enqueued and returns at once. A run makes no call of the driver but launches, copies for tensors whose rows lie
//! apart, and tensor maps, which are encoded on the host: it may be captured in a graph. Events are recorded where the
//! caller says, and nowhere else.
//!
//! # Numbers
//!
//! No kernel adds in an order that depends on time: the same run gives the same bits. The kernel of a product with MXFP4
//! weights is chosen by the number of rows, so that a row's bits may differ between batches; other weights' are the same
//! in every batch, which is declared.

mod code;
mod context;
mod device;
mod driver;
mod error;
mod export;
mod faults;
mod graphs;
mod memory;
mod op;
mod options;
mod session;
mod stream;
mod support;
mod sys;
mod tensor_map;
mod weights;

pub use options::Options;

use std::sync::Arc;

use mxhal_core::{Backend, Device, Error, Identity, Result};
use mxhal_ffi::export::{Logger, graph_table};
use mxhal_ffi::graph;
use mxhal_ffi::host::LogLevel;
use mxhal_kernels_cuda::DEVICE_CODE;

use crate::context::Context;
use crate::device::CudaDevice;
use crate::driver::Driver;

/// The CUDA backend.
///
/// It opens without a driver, so that it can say what is missing:
///
/// ```
/// use mxhal_core::{Backend, Status};
/// use mxhal_cuda::{Cuda, Options};
///
/// match Cuda::new(Options::default()).device_count() {
///     Ok(devices) => println!("{devices} devices"),
///     Err(error) => {
///         assert_eq!(error.status(), Status::Unavailable);
///         assert!(error.message().contains("driver"), "{error}");
///     }
/// }
/// ```
pub struct Cuda {
    identity: Identity,
    options: Options,
    logger: Option<Logger>,
}

impl Cuda {
    /// The backend. The driver is looked for when devices are counted.
    pub fn new(options: Options) -> Self {
        let identity = Identity {
            name: "cuda".to_owned(),
            vendor: "mxhal".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { identity, options, logger: None }
    }

    /// The same with somebody who is told of the driver and of the device code.
    #[must_use]
    pub fn with_logger(mut self, logger: Logger) -> Self {
        self.logger = Some(logger);
        if let (Err(missing), None) = (DEVICE_CODE, &self.options.device_code) {
            self.tell(LogLevel::Warn, missing);
        }
        self
    }

    fn tell(&self, level: LogLevel, message: &str) {
        if let Some(logger) = &self.logger {
            logger.log(level, "cuda", message);
        }
    }
}

impl Backend for Cuda {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        let driver = Driver::open()?;
        self.tell(LogLevel::Debug, &format!("the driver knows CUDA {}", driver.version()));
        driver.device_count()
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        let count = self.device_count()?;
        if index >= count {
            return Err(Error::invalid(format!(
                "device {index} was asked for; the driver has {count} device{}, counted from 0",
                if count == 1 { "" } else { "s" }
            )));
        }
        let context = Arc::new(Context::open(Driver::open()?, index)?);
        Ok(Arc::new(CudaDevice::open(context, &self.options)?))
    }

    fn extension(&self, name: &str) -> Option<u64> {
        (name == graph::NAME).then(graph_table)
    }
}
