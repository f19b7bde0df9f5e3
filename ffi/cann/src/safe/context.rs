//! The context of a device, and making it current.

use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::sync::Arc;

use super::{Runtime, report};
use crate::error::{Error, Result};
use crate::library::Library;
use crate::sys;

/// The default context of a device; clones are the same context.
///
/// The last clone takes back the binding to the device, after everything that was made in the context is gone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    device: i32,
    handle: sys::aclrtContext,
}

// SAFETY: a context may be made current on any thread, on several at once; the handle is only passed on.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Context {
    /// The default context of this device. The calling thread is bound to it, as CANN has it.
    ///
    /// # Errors
    ///
    /// There is no such device, or it cannot be opened.
    pub fn new(runtime: &Runtime, device: u32) -> Result<Self> {
        let number = i32::try_from(device)
            .map_err(|_| Error::InvalidArgument(format!("device {device} is more than CANN can count to")))?;
        let library = runtime.library();
        library.aclrt_set_device(number)?;
        let context = library.aclrt_get_current_context().and_then(|handle| {
            if handle.is_null() {
                return Err(Error::Null { function: "aclrtGetCurrentContext", recent_message: None });
            }
            Ok(Self(Arc::new(Inner { runtime: runtime.clone(), device: number, handle })))
        });
        if context.is_err() {
            // SAFETY: nothing was made on the device since it was bound above.
            report(unsafe { library.aclrt_reset_device(number) });
        }
        context
    }

    /// The device.
    pub fn device(&self) -> u32 {
        self.0.device.cast_unsigned()
    }

    /// AscendCL.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// CANN's libraries.
    pub fn library(&self) -> &Library {
        self.0.runtime.library()
    }

    /// Makes the context current on the calling thread until the guard is dropped.
    ///
    /// # Errors
    ///
    /// What `aclrtSetCurrentContext` answers.
    pub fn enter(&self) -> Result<Current<'_>> {
        let previous = current(self.library());
        if previous != self.0.handle {
            // SAFETY: the context is alive.
            unsafe { self.library().aclrt_set_current_context(self.0.handle) }?;
        }
        Ok(Current { context: self, previous, on_this_thread: PhantomData })
    }

    /// Waits for everything on the device.
    ///
    /// # Errors
    ///
    /// What `aclrtSynchronizeDevice` answers: the failure of earlier work too.
    pub fn synchronize(&self) -> Result<()> {
        let _current = self.enter()?;
        self.library().aclrt_synchronize_device()
    }

    /// Free and total bytes of the device's memory.
    ///
    /// # Errors
    ///
    /// What `aclrtGetMemInfo` answers.
    pub fn memory(&self) -> Result<(usize, usize)> {
        let _current = self.enter()?;
        self.library().aclrt_get_mem_info(sys::ACL_HBM_MEM)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("device", &self.0.device).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: everything made in the context held on to it, and is gone.
        report(unsafe { self.runtime.library().aclrt_reset_device(self.device) });
    }
}

/// The context is current on this thread while this lives; afterwards it is the one from before.
#[must_use = "the context is current only while the guard lives"]
pub struct Current<'a> {
    context: &'a Context,
    previous: sys::aclrtContext,
    /// What is current is a matter of the thread, so the guard stays on it.
    on_this_thread: PhantomData<*const ()>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        // There is no way to have none again; so a thread without one keeps ours.
        if !self.previous.is_null() && self.previous != self.context.0.handle {
            // SAFETY: it was current when the guard was made.
            report(unsafe { self.context.library().aclrt_set_current_context(self.previous) });
        }
    }
}

/// The current context of the calling thread; null for none, which CANN calls an error.
fn current(library: &Library) -> sys::aclrtContext {
    let mut handle = ptr::null_mut();
    let Some(function) = library.runtime_table().aclrtGetCurrentContext else { return handle };
    // SAFETY: the handle is written to.
    let code = unsafe { function(&mut handle) };
    if code == sys::ACL_SUCCESS as i32 {
        return handle;
    }
    // Its message is not to be taken for that of the next failure.
    library.acl_get_recent_err_msg();
    ptr::null_mut()
}
