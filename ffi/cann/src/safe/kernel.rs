//! Kernels of one's own.

use core::ffi::c_void;
use core::{fmt, ptr};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{Context, Stream, report};
use crate::error::{Error, Result};
use crate::sys;

/// A loaded kernel binary; clones are the same one.
#[derive(Clone)]
pub struct Binary(Arc<Loaded>);

struct Loaded {
    context: Context,
    handle: sys::aclrtBinHandle,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Loaded {}
// SAFETY: as for `Stream`.
unsafe impl Sync for Loaded {}

impl Binary {
    /// Loads a kernel binary from this file.
    ///
    /// # Errors
    ///
    /// What `aclrtBinaryLoadFromFile` answers: there is no such file, or it was made for another SoC.
    ///
    /// # Safety
    ///
    /// Its code runs on the device with all rights that this process has there.
    pub unsafe fn from_file(context: &Context, path: &Path) -> Result<Self> {
        let name = c_string(path.as_os_str().as_bytes())?;
        let _current = context.enter()?;
        // SAFETY: the name lives through the call; null stands for no options.
        let handle =
            unsafe { context.library().aclrt_binary_load_from_file(name.as_ptr(), ptr::null_mut()) }?;
        Ok(Self(Arc::new(Loaded { context: context.clone(), handle })))
    }

    /// The kernel of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn function(&self, name: &str) -> Result<Function> {
        let name = c_string(name.as_bytes())?;
        let _current = self.0.context.enter()?;
        // SAFETY: the binary is loaded, and the name lives through the call.
        let handle =
            unsafe { self.0.context.library().aclrt_binary_get_function(self.0.handle, name.as_ptr()) }?;
        Ok(Function { binary: self.clone(), name, handle })
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binary").field("context", &self.0.context).finish_non_exhaustive()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let outcome = self.context.enter().and_then(|_current| {
            // SAFETY: made by `from_file`, unloaded once; its functions held on to it.
            unsafe { self.context.library().aclrt_binary_un_load(self.handle) }
        });
        report(outcome);
    }
}

/// A kernel of a [`Binary`].
#[derive(Clone)]
pub struct Function {
    binary: Binary,
    name: CString,
    handle: sys::aclrtFuncHandle,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Function {}
// SAFETY: as for `Stream`.
unsafe impl Sync for Function {}

impl Function {
    /// Enqueues it on so many cores.
    ///
    /// The arguments lie one after another as the kernel's parameters do, addresses and numbers of 8 bytes each.
    ///
    /// # Errors
    ///
    /// What `aclrtLaunchKernelWithHostArgs` answers.
    ///
    /// # Safety
    ///
    /// The arguments are those of the kernel; the memory that they name stays alive until the stream has done it.
    pub unsafe fn launch(&self, stream: &Stream, cores: u32, arguments: &[u64]) -> Result<()> {
        let _current = stream.context().enter()?;
        // The parameter is not declared const.
        let mut arguments = arguments.to_vec();
        // SAFETY: the list lives through the call, which copies it; the rest is the caller's promise.
        unsafe {
            self.binary.0.context.library().aclrt_launch_kernel_with_host_args(
                self.handle,
                cores,
                stream.handle(),
                ptr::null_mut(),
                arguments.as_mut_ptr().cast::<c_void>(),
                size_of_val(arguments.as_slice()),
                ptr::null_mut(),
                0,
            )
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

fn c_string(text: &[u8]) -> Result<CString> {
    CString::new(text).map_err(|_| {
        let text = String::from_utf8_lossy(text);
        Error::InvalidArgument(format!("{text:?} has a zero byte in it, which CANN would take for its end"))
    })
}
