//! The plugin's table, function by function, with handles and memory that Rust keeps track of.
//!
//! Everything unsafe of this suite is here. The questions call these functions with null, with what they made, and
//! with references; they cannot make up a pointer, because a wild one is undefined behaviour and no question.
//! What they may do, as the questions they are: use a handle of the wrong device, in the wrong order, or with sizes
//! that lie, as far as the header defines the answer.

#![allow(unsafe_code, reason = "calls through a table of C functions")]

use std::ffi::{CStr, c_void};
use std::{mem, ptr};

use mxhal_ffi::{Opening, Plugin, sys};

use super::answer::{Answer, ErrorArea};
use super::bytes::OpBytes;
use super::tables::{HostMemory, TableMemory};

/// A device's handle.
pub(super) type Device = Handle<sys::mxhal_device>;
/// A stream's handle.
pub(super) type Stream = Handle<sys::mxhal_stream>;
/// An event's handle.
pub(super) type Event = Handle<sys::mxhal_event>;
/// A plan's handle.
pub(super) type Plan = Handle<sys::mxhal_plan>;
/// Prepared weights' handle.
pub(super) type Weights = Handle<sys::mxhal_weights>;

/// Null, or what the plugin gave.
#[repr(transparent)]
pub(super) struct Handle<T>(*mut T);

impl<T> Handle<T> {
    pub(super) const NULL: Self = Self(ptr::null_mut());

    pub(super) const fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The handle, of which null is left behind: for whoever destroys it.
    pub(super) const fn take(&mut self) -> Self {
        mem::replace(self, Self::NULL)
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

// SAFETY: the header promises (R7) that functions of a device may be called from any thread, and that a stream may be
// handed from one to another.
unsafe impl<T> Send for Handle<T> {}

/// An address of device memory, or of host memory that the plugin allocated; null, or within what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(u64);

impl Address {
    pub(super) const NULL: Self = Self(0);

    pub(super) const fn is_null(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }

    /// So many bytes further, within the same allocation.
    pub(super) const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    pub(super) const fn pointer(self) -> *mut c_void {
        self.0 as *mut c_void
    }
}

/// How an error is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorMode {
    /// A whole `mxhal_error`.
    Whole,
    /// One that ends before its message, as a host would have it that knows no message.
    Short,
    /// One of a later host, with members behind those that are known.
    Longer,
    /// A null pointer.
    Null,
}

/// A plugin's table.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    table: &'a sys::mxhal_plugin,
    mode: ErrorMode,
}

// SAFETY: it is read only, and by R7 of the header its functions may be called from any thread with its `self`.
unsafe impl Send for Raw<'_> {}
// SAFETY: as above.
unsafe impl Sync for Raw<'_> {}

impl<'a> Raw<'a> {
    pub(super) fn new(plugin: &'a Plugin) -> Self {
        Self::of(plugin.table())
    }

    /// A table that was not given to the loader.
    pub(super) const fn of(table: &'a sys::mxhal_plugin) -> Self {
        Self { table, mode: ErrorMode::Whole }
    }

    /// The same, receiving errors in another way.
    pub(super) const fn with_errors(self, mode: ErrorMode) -> Self {
        Self { mode, ..self }
    }

    pub(super) fn table(&self) -> &'a sys::mxhal_plugin {
        self.table
    }

    fn answer(&self, function: &'static str, call: impl FnOnce(*mut sys::mxhal_error) -> i32) -> Answer {
        let mut area = ErrorArea::new(self.mode);
        let status = call(area.pointer());
        Answer { function, status, area }
    }

    /// The table of an extension.
    pub(super) fn extension(&self, name: &CStr) -> Option<*const c_void> {
        let table = self.table();
        // SAFETY: the table's own `self`, and a string that ends in 0 and lives during the call.
        table.extension.map(|extension| unsafe { extension(table.self_, name.as_ptr()) })
    }

    /// Runs a plan. `tensors` and `weights` are passed as they are, and `counts` say how many there are of them, which
    /// may be fewer than there are, and never more.
    #[allow(clippy::too_many_arguments, reason = "those of the C function")]
    pub(super) fn plan_run(
        &self,
        plan: Plan,
        stream: Stream,
        tensors: &[Option<&sys::mxhal_tensor>],
        weights: &[Weights],
        workspace: (Address, u64),
    ) -> Answer {
        let tensors: Vec<*const sys::mxhal_tensor> =
            tensors.iter().map(|tensor| tensor.map_or(ptr::null(), ptr::from_ref)).collect();
        let weights: Vec<*const sys::mxhal_weights> =
            weights.iter().map(|weights| weights.0.cast_const()).collect();
        let run = self.table().plan_run.expect(LOADER);
        self.answer("plan_run", |error| {
            // SAFETY: as for the functions below; both arrays are as long as is said.
            unsafe {
                run(
                    plan.0,
                    stream.0,
                    tensors.as_ptr(),
                    tensors.len() as u32,
                    weights.as_ptr(),
                    weights.len() as u32,
                    workspace.0.pointer(),
                    workspace.1,
                    error,
                )
            }
        })
    }

    /// Prepares weights of host tensors.
    pub(super) fn weights_prepare(
        &self,
        device: Device,
        desc: Option<&sys::mxhal_weights_desc>,
        parts: &[&sys::mxhal_tensor],
        weights: Option<&mut Weights>,
    ) -> Answer {
        let parts: Vec<*const sys::mxhal_tensor> = parts.iter().map(|part| ptr::from_ref(*part)).collect();
        let prepare = self.table().weights_prepare.expect(LOADER);
        self.answer("weights_prepare", |error| {
            // SAFETY: as for the functions below; the array is as long as is said.
            unsafe {
                prepare(device.0, read(desc), parts.as_ptr(), parts.len() as u32, handle(weights), error)
            }
        })
    }

    /// Copies host bytes to the device. The bytes live until the stream is synchronised.
    pub(super) fn copy_to_device(&self, stream: Stream, to: Address, from: &[u8]) -> Answer {
        let copy = self.table().copy_to_device.expect(LOADER);
        self.answer("copy_to_device", |error| {
            // SAFETY: as for the functions below.
            unsafe { copy(stream.0, to.pointer(), from.as_ptr().cast(), from.len() as u64, error) }
        })
    }

    /// Copies device bytes to the host. The bytes live until the stream is synchronised.
    pub(super) fn copy_to_host(&self, stream: Stream, to: &mut [u8], from: Address) -> Answer {
        let copy = self.table().copy_to_host.expect(LOADER);
        self.answer("copy_to_host", |error| {
            // SAFETY: as for the functions below.
            unsafe { copy(stream.0, to.as_mut_ptr().cast(), from.pointer(), to.len() as u64, error) }
        })
    }
}

/// Why a function of the table is there.
const LOADER: &str = "the loader refuses a table without it, and `host` looks before it calls";

fn write<T>(place: Option<&mut T>) -> *mut T {
    place.map_or(ptr::null_mut(), ptr::from_mut)
}

fn read<T>(place: Option<&T>) -> *const T {
    place.map_or(ptr::null(), ptr::from_ref)
}

fn handle<T>(place: Option<&mut Handle<T>>) -> *mut *mut T {
    // A handle is transparent over its pointer.
    write(place).cast()
}

fn address(place: Option<&mut Address>) -> *mut *mut c_void {
    // 64-bit platforms alone are spoken to, where an address and a pointer are alike; see `Address::pointer`.
    const { assert!(size_of::<Address>() == size_of::<*mut c_void>()) };
    write(place).cast()
}

fn op(op: Option<&OpBytes>) -> *const sys::mxhal_op {
    op.map_or(ptr::null(), OpBytes::pointer)
}

/// Functions of the table that differ in nothing but what they take: `name(arguments) => (what is passed)`.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) => ($($passed:expr),*);)*) => {
        impl Raw<'_> {
            $(pub(super) fn $name(&self, $($argument: $type),*) -> Answer {
                let function = self.table().$name.expect(LOADER);
                self.answer(stringify!($name), |error| {
                    // SAFETY: the function is the plugin's, and its signature the header's, which the loader agreed on.
                    // Handles and addresses are null or its own, other pointers null or to memory that lives and is
                    // as large as its `struct_size` says, and `error` is null or such a one.
                    unsafe { function($($passed,)* error) }
                })
            })*
        }
    };
}

functions! {
    device_close(device: Device) => (device.0);
    device_info(device: Device, info: Option<&mut sys::mxhal_device_info>) => (device.0, write(info));
    memory_alloc(device: Device, bytes: u64, place: Option<&mut Address>) => (device.0, bytes, address(place));
    memory_free(device: Device, at: Address) => (device.0, at.pointer());
    memory_info(device: Device, free: Option<&mut u64>, total: Option<&mut u64>)
        => (device.0, write(free), write(total));
    memory_host_alloc(device: Device, bytes: u64, place: Option<&mut Address>)
        => (device.0, bytes, address(place));
    memory_host_free(device: Device, at: Address) => (device.0, at.pointer());
    stream_create(device: Device, stream: Option<&mut Stream>) => (device.0, handle(stream));
    stream_destroy(stream: Stream) => (stream.0);
    stream_synchronize(stream: Stream, timeout_ns: u64) => (stream.0, timeout_ns);
    event_create(device: Device, event: Option<&mut Event>) => (device.0, handle(event));
    event_destroy(event: Event) => (event.0);
    event_record(event: Event, stream: Stream) => (event.0, stream.0);
    event_wait(event: Event, stream: Stream) => (event.0, stream.0);
    event_synchronize(event: Event, timeout_ns: u64) => (event.0, timeout_ns);
    event_elapsed(from: Event, to: Event, seconds: Option<&mut f64>) => (from.0, to.0, write(seconds));
    copy_on_device(stream: Stream, to: Address, from: Address, bytes: u64)
        => (stream.0, to.pointer(), from.pointer().cast_const(), bytes);
    fill(stream: Stream, to: Address, value: u8, bytes: u64) => (stream.0, to.pointer(), value, bytes);
    op_supports(device: Device, what: Option<&OpBytes>, answer: Option<&mut sys::mxhal_answer>)
        => (device.0, op(what), write(answer));
    plan_create(device: Device, what: Option<&OpBytes>, plan: Option<&mut Plan>)
        => (device.0, op(what), handle(plan));
    plan_info(plan: Plan, info: Option<&mut sys::mxhal_plan_info>) => (plan.0, write(info));
    plan_destroy(plan: Plan) => (plan.0);
    weights_export(weights: Weights, to: Option<&sys::mxhal_tensor>) => (weights.0, read(to));
    weights_info(weights: Weights, info: Option<&mut sys::mxhal_weights_info>) => (weights.0, write(info));
    weights_destroy(weights: Weights) => (weights.0);
}

impl Raw<'_> {
    /// How many devices there are.
    pub(super) fn device_count(&self, count: Option<&mut u32>) -> Answer {
        let (table, function) = (self.table(), self.table().device_count.expect(LOADER));
        self.answer("device_count", |error| {
            // SAFETY: as for the functions above, with the table's own `self`.
            unsafe { function(table.self_, write(count), error) }
        })
    }

    /// Opens a device.
    pub(super) fn device_open(&self, index: u32, device: Option<&mut Device>) -> Answer {
        let (table, function) = (self.table(), self.table().device_open.expect(LOADER));
        self.answer("device_open", |error| {
            // SAFETY: as for the functions above, with the table's own `self`.
            unsafe { function(table.self_, index, handle(device), error) }
        })
    }

    /// Shuts the plugin down: the last call.
    pub(super) fn shutdown(&self) -> Answer {
        let (table, function) = (self.table(), self.table().shutdown.expect(LOADER));
        self.answer("shutdown", |error| {
            // SAFETY: as for the functions above, with the table's own `self`.
            unsafe { function(table.self_, error) }
        })
    }
}

/// Opens a plugin that was shut down, or never opened, with a host's table and memory for its own.
pub(super) fn open(opening: &Opening, host: &HostMemory, table: &mut TableMemory, mode: ErrorMode) -> Answer {
    let mut area = ErrorArea::new(mode);
    // SAFETY: the function is the plugin's. All three have as many bytes as they say, and what the host's table points
    // to outlives the plugin, which its caller shuts down before.
    let status = unsafe { opening.function()(host.pointer(), table.pointer(), area.pointer()) };
    Answer { function: "mxhal_plugin_open", status, area }
}
