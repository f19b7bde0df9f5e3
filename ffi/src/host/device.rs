//! A device over the table.

use std::ptr::NonNull;
use std::sync::Arc;

use mxhal_core::{
    Device, DeviceInfo, Error, Event, HostTensor, MemoryInfo, Op, Plan, Reason, Result, Status, Stream,
    Support, Weights, WeightsDesc,
};

use super::plan::{PluginPlan, PluginWeights};
use super::stream::{PluginEvent, PluginStream};
use super::{Loaded, Table};
use crate::convert::{RawOp, address, device_info_from_c, empty, pointer, support_from_c};
use crate::sys::{mxhal_answer, mxhal_device, mxhal_device_info, mxhal_error};

/// A device that a plugin opened.
pub(super) struct PluginDevice {
    opened: Arc<OpenDevice>,
}

/// The handle, which what is made on the device keeps alive.
pub(super) struct OpenDevice {
    pub(super) loaded: Arc<Loaded>,
    pub(super) handle: NonNull<mxhal_device>,
}

// SAFETY: by R7 the functions of a device may be called from any thread at any time.
unsafe impl Send for OpenDevice {}
// SAFETY: as above.
unsafe impl Sync for OpenDevice {}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        // SAFETY: whatever was made on the device held an `Arc` of this and is gone.
        self.loaded
            .destroy("device_close", |f, error| unsafe { (f.device_close)(self.handle.as_ptr(), error) });
    }
}

impl OpenDevice {
    /// Calls a function of the table that takes the device first.
    pub(super) fn call(
        &self,
        function: &str,
        call: impl FnOnce(&Table, *mut mxhal_device, *mut mxhal_error) -> i32,
    ) -> Result<()> {
        self.loaded.call(function, |table, error| call(table, self.handle.as_ptr(), error))
    }

    /// The same for a function that gives a handle.
    pub(super) fn create<T>(
        &self,
        function: &str,
        call: impl FnOnce(&Table, *mut mxhal_device, *mut *mut T, *mut mxhal_error) -> i32,
    ) -> Result<NonNull<T>> {
        self.loaded.create(function, |table, handle, error| call(table, self.handle.as_ptr(), handle, error))
    }
}

impl PluginDevice {
    pub(super) fn open(loaded: &Arc<Loaded>, index: u32) -> Result<Self> {
        let handle = loaded.create("device_open", |f, handle, error| {
            // SAFETY: `self` is the plugin's own, and the rest is ours.
            unsafe { (f.device_open)(loaded.raw.self_, index, handle, error) }
        })?;
        Ok(Self { opened: Arc::new(OpenDevice { loaded: Arc::clone(loaded), handle }) })
    }

    pub(super) fn handle(&self) -> *mut mxhal_device {
        self.opened.handle.as_ptr()
    }

    fn allocated(&self, function: &str, bytes: u64, at: *mut std::ffi::c_void) -> Result<u64> {
        if at.is_null() && bytes > 0 {
            return Err(Error::internal(format!("{function} returned success and null for {bytes} bytes")));
        }
        Ok(address(at))
    }
}

impl Device for PluginDevice {
    fn info(&self) -> Result<DeviceInfo> {
        let mut info: mxhal_device_info = empty();
        self.opened.call("device_info", |f, device, error| {
            // SAFETY: the device is open, and the struct knows its size.
            unsafe { (f.device_info)(device, &raw mut info, error) }
        })?;
        device_info_from_c(&info)
    }

    fn memory(&self) -> Result<MemoryInfo> {
        let (mut free, mut total) = (0, 0);
        self.opened.call("memory_info", |f, device, error| {
            // SAFETY: the device is open, and the numbers are ours.
            unsafe { (f.memory_info)(device, &raw mut free, &raw mut total, error) }
        })?;
        Ok(MemoryInfo { free, total })
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        let mut at = std::ptr::null_mut();
        self.opened.call("memory_alloc", |f, device, error| {
            // SAFETY: the device is open, and the address is ours.
            unsafe { (f.memory_alloc)(device, bytes, &raw mut at, error) }
        })?;
        self.allocated("memory_alloc", bytes, at)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.opened.call("memory_free", |f, device, error| {
            // SAFETY: the device is open; that the address was allocated is the caller's business.
            unsafe { (f.memory_free)(device, pointer(address), error) }
        })
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        let mut at = std::ptr::null_mut();
        self.opened.call("memory_host_alloc", |f, device, error| {
            // SAFETY: the device is open, and the address is ours.
            unsafe { (f.memory_host_alloc)(device, bytes, &raw mut at, error) }
        })?;
        self.allocated("memory_host_alloc", bytes, at)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.opened.call("memory_host_free", |f, device, error| {
            // SAFETY: the device is open; that the address was allocated is the caller's business.
            unsafe { (f.memory_host_free)(device, pointer(address), error) }
        })
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        let handle = self.opened.create("stream_create", |f, device, stream, error| {
            // SAFETY: the device is open, and the handle's place is ours.
            unsafe { (f.stream_create)(device, stream, error) }
        })?;
        Ok(Box::new(PluginStream::new(&self.opened, handle)))
    }

    fn wrap_stream(&self, native: u64) -> Result<Box<dyn Stream>> {
        let Some(wrap) = self.opened.loaded.table.stream_wrap else {
            return Err(Error::unsupported(format!(
                "backend {} has no stream_wrap, so the native stream {native:#x} cannot be used with it",
                self.opened.loaded.who.name
            )));
        };
        let handle = self.opened.create("stream_wrap", |_, device, stream, error| {
            // SAFETY: the device is open; that the native stream is one is the caller's business.
            unsafe { wrap(device, pointer(native), stream, error) }
        })?;
        Ok(Box::new(PluginStream::new(&self.opened, handle)))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        let handle = self.opened.create("event_create", |f, device, event, error| {
            // SAFETY: the device is open, and the handle's place is ours.
            unsafe { (f.event_create)(device, event, error) }
        })?;
        Ok(Arc::new(PluginEvent::new(&self.opened, handle)))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        op.validate()?;
        let raw = RawOp::new(op)?;
        let mut answer: mxhal_answer = empty();
        let asked = self.opened.call("op_supports", |f, device, error| {
            // SAFETY: the device is open, and both structs know their sizes.
            unsafe { (f.op_supports)(device, raw.as_ptr(), &raw mut answer, error) }
        });
        match asked {
            Ok(()) => support_from_c(&answer),
            // A plugin that is older than the operator does not know its kind.
            Err(error) if error.status() == Status::Unsupported => {
                Ok(Support::no(Reason::Operator, error.message()))
            }
            Err(error) => Err(error),
        }
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        op.validate()?;
        Ok(Box::new(PluginPlan::new(&self.opened, op)?))
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        let layouts: Vec<_> = parts.iter().map(|part| *part.layout()).collect();
        desc.check_parts(&layouts)?;
        Ok(Arc::new(PluginWeights::prepare(&self.opened, desc, parts)?))
    }
}
