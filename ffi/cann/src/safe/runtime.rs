//! AscendCL, initialised.

use core::ptr;
use std::sync::Arc;

use crate::error::Result;
use crate::library::{Library, Search};
use crate::sys;

/// AscendCL, initialised for this process.
///
/// It is never ended by this crate: others in the process may be using it, and the end of the process ends it.
#[derive(Clone, Debug)]
pub struct Runtime {
    library: Arc<Library>,
}

impl Runtime {
    /// Opens CANN's libraries and initialises AscendCL.
    ///
    /// # Errors
    ///
    /// The libraries are not found, or `aclInit` fails.
    pub fn open(search: &Search) -> Result<Self> {
        Self::new(Library::open(search)?)
    }

    /// Initialises AscendCL, if nobody in this process has done so.
    ///
    /// # Errors
    ///
    /// What `aclInit` answers, unless it is that it was called before.
    pub fn new(library: Arc<Library>) -> Result<Self> {
        // SAFETY: a null path stands for the defaults.
        match unsafe { library.acl_init(ptr::null()) } {
            Ok(()) => {}
            Err(error) if error.code() == Some(sys::ACL_ERROR_REPEAT_INITIALIZE as i32) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { library })
    }

    /// CANN's libraries.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// How many devices there are.
    ///
    /// # Errors
    ///
    /// What `aclrtGetDeviceCount` answers.
    pub fn device_count(&self) -> Result<u32> {
        self.library.aclrt_get_device_count()
    }

    /// The name of the SoC, such as `Ascend950PR_9599`; that of device 0, also where there are several.
    ///
    /// # Errors
    ///
    /// `aclrtGetSocName` has none.
    pub fn soc_name(&self) -> Result<String> {
        self.library.aclrt_get_soc_name()
    }

    /// One attribute of a device, by a number of `ACL_DEV_ATTR_`, such as
    /// [`ACL_DEV_ATTR_CUBE_CORE_NUM`](sys::ACL_DEV_ATTR_CUBE_CORE_NUM).
    ///
    /// # Errors
    ///
    /// What `aclrtGetDeviceInfo` answers.
    pub fn device_attribute(&self, device: u32, attribute: sys::aclrtDevAttr) -> Result<i64> {
        self.library.aclrt_get_device_info(device, attribute)
    }
}
