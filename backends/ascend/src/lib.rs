//! The Ascend 950 backend of mxhal: the operators on Huawei's Ascend 950PR and 950DT, by the CANN C API.
//!
//! Nothing of CANN is needed to build it: `mxhal-cann` looks its libraries up when the backend opens. No call of this
//! backend has run on an NPU yet; it is exercised against the simulation of CANN in `conformance/simulators/cann`,
//! which says "simulated" in the device's name. See `docs/ascend.md`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`Ascend`], [`Options`] | the backend and its options |
//! | [`mapping`] | which operator of CANN's does what, and what is refused why |
//! | `soc` | which chip it is |
//! | `device` | a device: information, memory, what makes plans, weights and streams |
//! | `memory` | allocations by address |
//! | `stream` | streams and events |
//! | `support` | what runs here: which functions there are, and which rules they have |
//! | `session` | the two phases of CANN's operators: measured when a plan is made, enqueued when it runs |
//! | `program` | what a run enqueued, enqueued again at other addresses |
//! | `constants`, `integers` | arrays that operators read; 32-bit integers to 64 bits and back |
//! | `kernels` | the kernels of our own: found, loaded, launched |
//! | `weights` | weights in the layouts that CANN's products take |
//! | `fractal` | tiles of weights, and their rows |
//! | `op` | a file for each operator |
//! | `error` | CANN's errors as core's |
//! | `export` | the backend behind the C table |
//!
//! # Time
//!
//! Work is enqueued on CANN's streams and returns at once, but for copies between the device and host memory that is
//! not page-locked: CANN returns from those when the bytes have moved. A run makes CANN's executors anew, on the host,
//! unless option `executors` is `repeat`; it allocates no device memory. Each call makes the device's context current on its thread and puts back what was
//! there.
//!
//! # Numbers
//!
//! They are CANN's, and of it nothing is declared: it promises neither the same bits from run to run nor any order of sums.
//! What a kernel of ours does alone is declared to be the same from run to run, for any batch, and in order of slot.

mod constants;
mod device;
mod error;
mod export;
mod fractal;
mod integers;
mod kernels;
mod memory;
mod op;
mod options;
mod program;
mod session;
mod soc;
mod stream;
mod support;
mod weights;

/// Tabulated: which operator of CANN's does what, and what is refused why.
pub mod mapping {
    #![doc = include_str!("mapping.md")]
}

pub use options::{Options, W4a8, W4a16, WeightLayout};

use std::sync::{Arc, Mutex, PoisonError};

use mxhal_cann::Search;
use mxhal_cann::library::Library;
use mxhal_cann::safe::{Context, Runtime};
use mxhal_core::{Backend, Device, Error, Identity, Result, Status};
use mxhal_ffi::export::Logger;
use mxhal_ffi::host::LogLevel;

use crate::device::AscendDevice;
use crate::error::from_cann;
use crate::kernels::Kernels;
use crate::soc::Soc;
use crate::support::Offer;

/// The Ascend 950 backend.
///
/// It opens without CANN, so that it can say what is missing:
///
/// ```
/// use mxhal_ascend::{Ascend, Options};
/// use mxhal_core::{Backend, Status};
///
/// let mut options = Options::default();
/// options.cann_path = Some("/nowhere/cann".into());
/// let error = Ascend::new(options).device_count().unwrap_err();
/// assert_eq!(error.status(), Status::Unavailable);
/// assert!(error.message().contains("/nowhere/cann/lib64/libacl_rt.so"));
/// ```
pub struct Ascend {
    identity: Identity,
    options: Options,
    logger: Option<Logger>,
    /// Opened by the first call that needs it; tried again by the next one if that failed.
    runtime: Mutex<Option<Runtime>>,
}

impl Ascend {
    /// The backend. CANN is looked for when devices are counted.
    pub fn new(options: Options) -> Self {
        let identity = Identity {
            name: "ascend".to_owned(),
            vendor: "mxhal".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { identity, options, logger: None, runtime: Mutex::new(None) }
    }

    /// The same with somebody who is told which functions of CANN were found.
    #[must_use]
    pub fn with_logger(mut self, logger: Logger) -> Self {
        self.logger = Some(logger);
        self
    }

    fn runtime(&self) -> Result<Runtime> {
        let mut opened = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*opened {
            return Ok(runtime.clone());
        }
        let search = Search::from_environment(self.options.cann_path.as_deref());
        let library = Library::open(&search).map_err(|error| from_cann(error.into()))?;
        let runtime =
            Runtime::new(library).map_err(|error| unavailable("AscendCL could not be initialised", error))?;
        self.tell(&runtime);
        *opened = Some(runtime.clone());
        Ok(runtime)
    }

    fn tell(&self, runtime: &Runtime) {
        let Some(logger) = &self.logger else { return };
        let library = runtime.library();
        logger.log(LogLevel::Info, "cann", &format!("CANN at {}", library.root().display()));
        for operator in library.operators() {
            logger.log(LogLevel::Debug, "cann", &operator.to_string());
        }
    }
}

impl Backend for Ascend {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        let runtime = self.runtime()?;
        let count = match runtime.device_count() {
            Ok(count) => count,
            Err(error) if error.code() == Some(NO_DEVICE) => 0,
            Err(error) => return Err(unavailable("the NPUs could not be counted", error)),
        };
        if count > 0 {
            soc(&runtime)?;
        }
        Ok(count)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        let count = self.device_count()?;
        if index >= count {
            return Err(Error::invalid(format!(
                "device {index} was asked for; the Ascend backend has {count} device{}, counted from 0",
                if count == 1 { "" } else { "s" }
            )));
        }
        let runtime = self.runtime()?;
        let soc = soc(&runtime)?;
        let context = Context::new(&runtime, index)
            .map_err(|error| unavailable(&format!("device {index} could not be opened"), error))?;
        let kernels = Kernels::load(&context, &self.options);
        if let (Err(why), Some(logger)) = (&kernels, &self.logger) {
            logger.log(LogLevel::Info, "kernels", why);
        }
        let missing = kernels.as_ref().err().cloned();
        let offer = Offer::of(runtime.library(), &self.options, missing);
        Ok(Arc::new(AscendDevice::new(context, offer, kernels.ok(), soc)))
    }
}

/// `ACL_ERROR_RT_NO_DEVICE`.
const NO_DEVICE: i32 = 207_004;

fn soc(runtime: &Runtime) -> Result<Soc> {
    let name = runtime.soc_name().map_err(|error| unavailable("CANN does not name the NPU", error))?;
    Soc::new(name, runtime.library())
}

/// Whatever CANN says, the device cannot be used; what most often is wrong stands beside it.
fn unavailable(what: &str, error: mxhal_cann::Error) -> Error {
    let error = from_cann(error);
    if error.status() == Status::OutOfMemory {
        return error;
    }
    let text = format!(
        "{what}: {}; compare the versions of driver and CANN (`npu-smi info`, and `version.info` in the CANN folder), \
         and see that this user may open /dev/davinci*",
        error.message()
    );
    Error::new(Status::Unavailable, text).with_vendor_code(error.vendor_code())
}
