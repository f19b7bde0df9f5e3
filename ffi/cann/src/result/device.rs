//! The process, devices and contexts.

use core::ffi::{CStr, c_char};
use core::ptr;

use super::{calls, text};
use crate::error::{Error, Result};
use crate::library::Library;
use crate::sys;

calls! { runtime_table;
    /// Starts AscendCL with this configuration file, or without one for null.
    unsafe acl_init(config_path: *const c_char) = aclInit(config_path);
    /// Ends AscendCL for the whole process.
    ///
    /// It takes the devices away from whoever else uses CANN in this process.
    unsafe acl_finalize() = aclFinalize();
    /// Takes one initialisation back; how many are left.
    unsafe acl_finalize_reference() = aclFinalizeReference(&mut count) -> count: u64;
    /// Major, minor and patch version of the runtime's interface.
    safe aclrt_get_version() = aclrtGetVersion(&mut major, &mut minor, &mut patch)
        -> major: i32, minor: i32, patch: i32;
    /// The last error of this level, which this clears.
    safe aclrt_get_last_error(level: sys::aclrtLastErrLevel) = aclrtGetLastError(level);
    /// The last error of this level.
    safe aclrt_peek_at_last_error(level: sys::aclrtLastErrLevel) = aclrtPeekAtLastError(level);

    /// How many devices there are.
    safe aclrt_get_device_count() = aclrtGetDeviceCount(&mut count) -> count: u32;
    /// Binds the calling thread to a device.
    safe aclrt_set_device(device: i32) = aclrtSetDevice(device);
    /// Takes one binding back; the last one frees what the default context of the device holds.
    unsafe aclrt_reset_device(device: i32) = aclrtResetDevice(device);
    /// Resets a device whatever the count of bindings is.
    unsafe aclrt_reset_device_force(device: i32) = aclrtResetDeviceForce(device);
    /// The device of the calling thread.
    safe aclrt_get_device() = aclrtGetDevice(&mut device) -> device: i32;
    /// One attribute of a device.
    safe aclrt_get_device_info(device: u32, attribute: sys::aclrtDevAttr)
        = aclrtGetDeviceInfo(device, attribute, &mut value) -> value: i64;
    /// One number about a device, by the older enumeration.
    safe acl_get_device_capability(device: u32, info: sys::aclDeviceInfo)
        = aclGetDeviceCapability(device, info, &mut value) -> value: i64;
    /// Whether the process runs on the host or on the device.
    safe aclrt_get_run_mode() = aclrtGetRunMode(&mut mode) -> mode: sys::aclrtRunMode;
    /// Waits for everything on the device of the current context.
    safe aclrt_synchronize_device() = aclrtSynchronizeDevice();
    /// The same, for at most so many milliseconds.
    safe aclrt_synchronize_device_with_timeout(milliseconds: i32) = aclrtSynchronizeDeviceWithTimeout(milliseconds);
    /// Whether a device is in order.
    safe aclrt_query_device_status(device: i32) = aclrtQueryDeviceStatus(device, &mut status)
        -> status: sys::aclrtDeviceStatus;

    /// A context on a device, which becomes current.
    safe aclrt_create_context(device: i32) = aclrtCreateContext(&mut context, device) -> context: sys::aclrtContext;
    /// Destroys a context.
    unsafe aclrt_destroy_context(context: sys::aclrtContext) = aclrtDestroyContext(context);
    /// Makes a context current on the calling thread.
    unsafe aclrt_set_current_context(context: sys::aclrtContext) = aclrtSetCurrentContext(context);
    /// The current context of the calling thread.
    safe aclrt_get_current_context() = aclrtGetCurrentContext(&mut context) -> context: sys::aclrtContext;
}

impl Library {
    /// The name of the SoC, such as `Ascend950PR_9599`; of device 0, also where there are several.
    ///
    /// # Errors
    ///
    /// `aclrtGetSocName` answers null.
    pub fn aclrt_get_soc_name(&self) -> Result<String> {
        let function = self.runtime_table().aclrtGetSocName.ok_or_else(|| self.missing("aclrtGetSocName"))?;
        // SAFETY: it takes nothing, and answers with a text or null.
        unsafe { text(function()) }.ok_or_else(|| Error::Null {
            function: "aclrtGetSocName",
            recent_message: self.acl_get_recent_err_msg(),
        })
    }

    /// The number of the version of an installed package, such as `runtime`.
    ///
    /// # Errors
    ///
    /// What `aclsysGetVersionNum` answers.
    pub fn aclsys_get_version_num(&self, package: &CStr) -> Result<i32> {
        let function =
            self.runtime_table().aclsysGetVersionNum.ok_or_else(|| self.missing("aclsysGetVersionNum"))?;
        // The name is not declared const; a copy may be written to.
        let mut name = package.to_bytes_with_nul().to_vec();
        let mut number = 0;
        // SAFETY: both live through the call.
        let code = unsafe { function(name.as_mut_ptr().cast(), ptr::from_mut(&mut number)) };
        self.check("aclsysGetVersionNum", code)?;
        Ok(number)
    }
}
