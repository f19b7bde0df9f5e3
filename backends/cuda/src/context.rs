//! The context of a device: the only place that calls the driver with it.

use mxhal_core::{Error, Result, Status};

use crate::driver::{Driver, unavailable};
use crate::error::check;
use crate::faults::Faults;
use crate::sys::{self, Answer, CUcontext, CUdevice, CUdevice_attribute};

/// The primary context of a device, which engines in the same process share.
///
/// Each call makes it current on its thread and puts back what was there, so that a thread may be an engine's.
pub(crate) struct Context {
    device: CUdevice,
    raw: CUcontext,
    pub(crate) faults: Faults,
    pub(crate) driver: Driver,
}

// SAFETY: a context may be current on several threads, and the functions of the driver may be called from any.
unsafe impl Send for Context {}
// SAFETY: as above; what is in here does not change.
unsafe impl Sync for Context {}

impl Context {
    /// The context of the device with this index.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`] with what the driver says.
    pub(crate) fn open(driver: Driver, index: u32) -> Result<Self> {
        let open = || {
            let ordinal = i32::try_from(index).unwrap_or(i32::MAX);
            let (mut device, mut raw) = (0, std::ptr::null_mut());
            // SAFETY: the driver is initialised, and the handles are ours.
            check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, ordinal) })?;
            // SAFETY: as above; it is released when this is dropped.
            check("cuDevicePrimaryCtxRetain", unsafe {
                sys::cuDevicePrimaryCtxRetain(&raw mut raw, device)
            })?;
            Ok(Self { device, raw, faults: Faults::default(), driver })
        };
        open().map_err(|error: Error| unavailable(&format!("device {index} cannot be used"), &error))
    }

    /// The device's number for the driver.
    pub(crate) fn device(&self) -> CUdevice {
        self.device
    }

    /// The product's name.
    pub(crate) fn name(&self) -> Result<String> {
        let mut name = [0_u8; 256];
        self.call("cuDeviceGetName", || {
            // SAFETY: as many bytes as there are.
            unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, self.device) }
        })?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    /// A number that the driver knows of the device.
    pub(crate) fn attribute(&self, attribute: CUdevice_attribute) -> Result<u32> {
        let mut value = 0;
        self.call("cuDeviceGetAttribute", || {
            // SAFETY: the number is ours.
            unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, self.device) }
        })?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// All memory of the device, in bytes.
    pub(crate) fn total_memory(&self) -> Result<u64> {
        let mut bytes = 0;
        self.call("cuDeviceTotalMem_v2", || {
            // SAFETY: the number is ours.
            unsafe { sys::cuDeviceTotalMem_v2(&raw mut bytes, self.device) }
        })?;
        Ok(bytes as u64)
    }

    /// Calls the driver with this context. An error that ends the context is kept: every later call gives it again.
    pub(crate) fn call(&self, function: &str, call: impl FnOnce() -> Answer) -> Result<()> {
        self.faults.ensure_alive()?;
        // SAFETY: the context was retained, and lives as long as this.
        self.judge("cuCtxPushCurrent", unsafe { sys::cuCtxPushCurrent_v2(self.raw) })?;
        let answer = self.judge(function, call());
        let mut popped = std::ptr::null_mut();
        // SAFETY: it was pushed above, on this thread.
        let restored = self.judge("cuCtxPopCurrent", unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) });
        answer.and(restored)
    }

    fn judge(&self, function: &str, result: Answer) -> Result<()> {
        check(function, result).map_err(|error| match error.status() {
            Status::DeviceLost => self.faults.lose(error),
            _ => error,
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, and released once. Nobody is left who could be told of a failure.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
