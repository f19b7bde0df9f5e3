//! The driver: found, looked at, and only then called.
//!
//! cudarc looks for the library when it is first wanted, and panics where it is absent. So nothing of it is called before
//! [`Driver::open`] has seen the library and every function of [`sys`].

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::OnceLock;

use mxhal_core::{Error, Result, Status};
use mxhal_kernels_cuda::DEVICE_CODE;

use crate::error::check;
use crate::sys::{self, Answer, FUNCTIONS};

/// The oldest driver that loads what nvcc 13.0 compiles, as `cuDriverGetVersion` counts: CUDA 13.0, release 580.
const LEAST_VERSION: i32 = 13_000;

/// The driver, initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    version: i32,
    /// Without a device it does not start, and works no further than this.
    has_devices: bool,
}

impl Driver {
    /// Looks for the driver, and initialises it. What failed is tried again by the next call.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`]: without a driver with the names that were tried, with an older one with its version.
    pub(crate) fn open() -> Result<Self> {
        static OPENED: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = OPENED.get() {
            return Ok(*driver);
        }
        // SAFETY: opening libcuda runs its constructors, which is what whoever asks for this backend wants.
        if !unsafe { sys::is_culib_present() } {
            return Err(absent());
        }
        // The version first: an older driver lacks functions, and its version says more than their names.
        ensure_present(&["cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString"])?;
        let mut version = 0;
        // SAFETY: the function is there, and wants no initialisation.
        check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
        if version < LEAST_VERSION {
            return Err(too_old(version));
        }
        ensure_present(FUNCTIONS)?;
        // SAFETY: the function is there.
        let started = unsafe { sys::cuInit(0) };
        if started == Answer::NO_DEVICE {
            return Ok(Self { version, has_devices: false });
        }
        check("cuInit", started).map_err(|error| unavailable("the driver does not start", &error))?;
        Ok(*OPENED.get_or_init(|| Self { version, has_devices: true }))
    }

    /// How many devices there are, of whatever architecture.
    pub(crate) fn device_count(self) -> Result<u32> {
        if !self.has_devices {
            return Ok(0);
        }
        let mut count = 0;
        // SAFETY: the driver is initialised, and the number is ours.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })
            .map_err(|error| unavailable("the devices could not be counted", &error))?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// The version of CUDA that it knows: `13.0`.
    pub(crate) fn version(self) -> String {
        dotted(self.version)
    }
}

/// Whatever the driver says, nothing can be done with the device.
pub(crate) fn unavailable(what: &str, error: &Error) -> Error {
    let status = if error.status() == Status::OutOfMemory { error.status() } else { Status::Unavailable };
    Error::new(status, format!("{what}: {}", error.message())).with_vendor_code(error.vendor_code())
}

fn dotted(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// What to do comes first: a message that crosses the ABI has an end, and the names are many.
fn absent() -> Error {
    let mut names = cudarc::get_lib_name_candidates("cuda");
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let code = match DEVICE_CODE {
        Ok(_) => "",
        Err(_) => " (nor does this build hold device code: see kernels-cuda/toolchain.sh)",
    };
    Error::new(
        Status::Unavailable,
        format!(
            "there is no NVIDIA driver{code}: install release 580 or newer; in a container, start it with the GPUs \
             (--gpus all); or add the folder of libcuda.so.1 to LD_LIBRARY_PATH. Tried {}",
            names.join(", ")
        ),
    )
}

fn too_old(version: i32) -> Error {
    Error::new(
        Status::Unavailable,
        format!(
            "the NVIDIA driver knows CUDA {}, and the kernels are compiled with CUDA {}: install release 580 of the driver, \
             or a newer one",
            dotted(version),
            dotted(LEAST_VERSION)
        ),
    )
}

/// Whether the loaded library has each of these functions.
fn ensure_present(names: &[&str]) -> Result<()> {
    // SAFETY: the library was found above, so that it is opened again and not missed.
    let library = unsafe { sys::culib() };
    // SAFETY: nothing is called through the pointers; that the symbols are there is all that is asked.
    let is_absent = |name: &&&str| unsafe { library.get::<*mut c_void>(name.as_bytes()) }.is_err();
    let missing: Vec<&str> = names.iter().filter(is_absent).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Status::Unavailable,
        format!(
            "the libcuda that was found lacks {}: install release 580 of NVIDIA's driver, or a newer one",
            missing.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_nvidia_writes_them() {
        assert_eq!(dotted(13_000), "13.0");
        assert_eq!(dotted(12_090), "12.9");
        let error = too_old(12_040);
        assert!(error.message().contains("12.4") && error.message().contains("580"), "{error}");
    }

    #[test]
    fn an_absent_driver_is_told_with_the_names_that_were_tried() {
        let error = absent();
        assert_eq!(error.status(), Status::Unavailable);
        for part in ["libcuda.so,", "libcuda.so.1", "580", "--gpus all"] {
            assert!(error.message().contains(part), "{error}");
        }
        // What crosses the ABI in one piece.
        assert!(error.message().len() < 496, "{error}");
    }
}
