//! The functions of the table, over core's traits.
//!
//! All of them are unsafe in the same way, which is the contract of the header: pointers are null or good for as many
//! bytes as their struct says, and handles are null or were made here and not destroyed.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use mxhal_core::op::{MAX_ARGUMENTS, MAX_WEIGHTS, Signature};
use mxhal_core::{Backend, Device, Error, Event, HostBuffer, Plan, Result, Span, Stream, Tensor, Weights};

use super::handle::{Kind, create, get, take};
use super::{Logger, guard};
use crate::checks::check_workspace;
use crate::convert::{
    address, device_info_to_c, empty, host_tensor_from_c, null, op_from_c, plan_info_to_c, pointer, read,
    support_to_c, tensor_from_c, timeout_from_c, weights_desc_from_c, weights_desc_to_c, write,
};
use crate::sys::{
    MXHAL_ABI_MINOR, mxhal_answer, mxhal_device, mxhal_device_info, mxhal_error, mxhal_event, mxhal_op,
    mxhal_plan, mxhal_plan_info, mxhal_plugin, mxhal_stream, mxhal_tensor, mxhal_weights, mxhal_weights_desc,
    mxhal_weights_info,
};

/// What `mxhal_plugin.self` points to.
pub(super) struct Instance {
    pub(super) backend: Box<dyn Backend>,
    pub(super) logger: Logger,
}

struct PreparedPlan {
    plan: Box<dyn Plan>,
    signature: Signature,
    /// How messages call each tensor.
    names: Vec<String>,
}

impl PreparedPlan {
    fn run(
        &self,
        stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        weights: &[&dyn Weights],
        workspace: *mut c_void,
        workspace_bytes: u64,
    ) -> Result<()> {
        let workspace = Span { address: address(workspace), bytes: workspace_bytes };
        check_workspace(self.plan.info().workspace_bytes, workspace)
            .map_err(|error| error.within(self.signature.kind()))?;
        self.plan.run(stream, tensors, weights, workspace)
    }
}

macro_rules! kinds {
    ($($type:ty: $raw:ty, $name:literal, $tag:literal;)*) => {
        $(impl Kind for $type {
            type Raw = $raw;
            const NAME: &'static str = $name;
            const TAG: [u8; 8] = *$tag;
        })*
    };
}

kinds! {
    Instance: c_void, "backend", b"mxhal/bk";
    Arc<dyn Device>: mxhal_device, "device", b"mxhal/dv";
    Box<dyn Stream>: mxhal_stream, "stream", b"mxhal/st";
    Arc<dyn Event>: mxhal_event, "event", b"mxhal/ev";
    PreparedPlan: mxhal_plan, "plan", b"mxhal/pl";
    Arc<dyn Weights>: mxhal_weights, "weights", b"mxhal/wt";
}

/// The table of an opened backend, with all of its functions.
pub(super) fn table(instance: Instance) -> mxhal_plugin {
    mxhal_plugin {
        abi_minor: MXHAL_ABI_MINOR,
        self_: create(instance),
        shutdown: Some(shutdown),
        device_count: Some(device_count),
        device_open: Some(device_open),
        device_close: Some(device_close),
        device_info: Some(device_info),
        memory_alloc: Some(memory_alloc),
        memory_free: Some(memory_free),
        memory_info: Some(memory_info),
        memory_host_alloc: Some(memory_host_alloc),
        memory_host_free: Some(memory_host_free),
        stream_create: Some(stream_create),
        stream_wrap: Some(stream_wrap),
        stream_destroy: Some(stream_destroy),
        stream_synchronize: Some(stream_synchronize),
        event_create: Some(event_create),
        event_destroy: Some(event_destroy),
        event_record: Some(event_record),
        event_wait: Some(event_wait),
        event_synchronize: Some(event_synchronize),
        event_elapsed: Some(event_elapsed),
        copy_to_device: Some(copy_to_device),
        copy_to_host: Some(copy_to_host),
        copy_on_device: Some(copy_on_device),
        fill: Some(fill),
        op_supports: Some(op_supports),
        plan_create: Some(plan_create),
        plan_info: Some(plan_info),
        plan_run: Some(plan_run),
        plan_destroy: Some(plan_destroy),
        weights_prepare: Some(weights_prepare),
        weights_export: Some(weights_export),
        weights_info: Some(weights_info),
        weights_destroy: Some(weights_destroy),
        extension: Some(extension),
        ..empty()
    }
}

/// Writes what a function gives, unless there is no place for it.
///
/// # Safety
///
/// `to` is null, or a `T` can be written there.
pub(super) unsafe fn put<T>(what: &str, to: *mut T, value: impl FnOnce() -> Result<T>) -> Result<()> {
    if to.is_null() {
        return Err(null(what));
    }
    let value = value()?;
    // SAFETY: not null, so the caller promises it.
    unsafe { to.write(value) };
    Ok(())
}

/// A range that is null only where it is empty.
fn range(what: &str, at: *const c_void, bytes: u64) -> Result<Span> {
    if at.is_null() && bytes > 0 {
        return Err(Error::invalid(format!("{what} is null, and {bytes} bytes are wanted of it")));
    }
    Ok(Span { address: address(at), bytes })
}

/// Entries of a list that the caller passes.
///
/// # Safety
///
/// `list` is null, or has `count` entries that live during `'a`.
unsafe fn entries<'a, T>(what: &str, list: *const *const T, count: u32) -> Result<&'a [*const T]> {
    match (list.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null(what)),
        // SAFETY: not null, so the caller promises as many entries.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(list, count as usize) }),
    }
}

/// Defines functions of the table. The body of each is unsafe by the contract of the header, and guarded.
macro_rules! functions {
    ($($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            $visibility unsafe extern "C" fn $name($($argument: $type,)* error: *mut mxhal_error) -> i32 {
                // SAFETY: the caller keeps the contract of the header; what can be checked of it is checked.
                guard(error, || unsafe { $body })
            }
        )*
    };
}

pub(super) use functions;

functions! {
    pub(super) fn shutdown(this: *mut c_void) {
        if let Some(Instance { backend, logger }) = take::<Instance>(this)? {
            drop(backend);
            logger.close();
        }
        Ok(())
    }

    fn device_count(this: *mut c_void, count: *mut u32) {
        let instance = get::<Instance>(this)?;
        put("count", count, || instance.backend.device_count())
    }

    fn device_open(this: *mut c_void, index: u32, device: *mut *mut mxhal_device) {
        let instance = get::<Instance>(this)?;
        put("device", device, || instance.backend.open_device(index).map(create))
    }

    fn device_close(device: *mut mxhal_device) {
        take::<Arc<dyn Device>>(device).map(drop)
    }

    fn device_info(device: *mut mxhal_device, info: *mut mxhal_device_info) {
        let device = get::<Arc<dyn Device>>(device)?;
        write("info", info, &device_info_to_c(&device.info()?))
    }

    fn memory_alloc(device: *mut mxhal_device, bytes: u64, at: *mut *mut c_void) {
        let device = get::<Arc<dyn Device>>(device)?;
        put("address", at, || device.allocate(bytes).map(pointer))
    }

    fn memory_free(device: *mut mxhal_device, at: *mut c_void) {
        get::<Arc<dyn Device>>(device)?.free(address(at))
    }

    fn memory_info(device: *mut mxhal_device, free: *mut u64, total: *mut u64) {
        let memory = get::<Arc<dyn Device>>(device)?.memory()?;
        if total.is_null() {
            return Err(null("total_bytes"));
        }
        put("free_bytes", free, || Ok(memory.free))?;
        put("total_bytes", total, || Ok(memory.total))
    }

    fn memory_host_alloc(device: *mut mxhal_device, bytes: u64, at: *mut *mut c_void) {
        let device = get::<Arc<dyn Device>>(device)?;
        put("address", at, || device.allocate_host(bytes).map(pointer))
    }

    fn memory_host_free(device: *mut mxhal_device, at: *mut c_void) {
        get::<Arc<dyn Device>>(device)?.free_host(address(at))
    }

    fn stream_create(device: *mut mxhal_device, stream: *mut *mut mxhal_stream) {
        let device = get::<Arc<dyn Device>>(device)?;
        put("stream", stream, || device.create_stream().map(create))
    }

    fn stream_wrap(device: *mut mxhal_device, native: *mut c_void, stream: *mut *mut mxhal_stream) {
        let device = get::<Arc<dyn Device>>(device)?;
        put("stream", stream, || device.wrap_stream(address(native)).map(create))
    }

    fn stream_destroy(stream: *mut mxhal_stream) {
        take::<Box<dyn Stream>>(stream).map(drop)
    }

    fn stream_synchronize(stream: *mut mxhal_stream, timeout_ns: u64) {
        get::<Box<dyn Stream>>(stream)?.synchronize(timeout_from_c(timeout_ns))
    }

    fn event_create(device: *mut mxhal_device, event: *mut *mut mxhal_event) {
        let device = get::<Arc<dyn Device>>(device)?;
        put("event", event, || device.create_event().map(create))
    }

    fn event_destroy(event: *mut mxhal_event) {
        take::<Arc<dyn Event>>(event).map(drop)
    }

    fn event_record(event: *mut mxhal_event, stream: *mut mxhal_stream) {
        let event = get::<Arc<dyn Event>>(event)?;
        get::<Box<dyn Stream>>(stream)?.record(&**event)
    }

    fn event_wait(event: *mut mxhal_event, stream: *mut mxhal_stream) {
        let event = get::<Arc<dyn Event>>(event)?;
        get::<Box<dyn Stream>>(stream)?.wait(&**event)
    }

    fn event_synchronize(event: *mut mxhal_event, timeout_ns: u64) {
        get::<Arc<dyn Event>>(event)?.synchronize(timeout_from_c(timeout_ns))
    }

    fn event_elapsed(from: *mut mxhal_event, to: *mut mxhal_event, seconds: *mut f64) {
        let from = get::<Arc<dyn Event>>(from)?;
        let to = get::<Arc<dyn Event>>(to)?;
        put("seconds", seconds, || to.elapsed_since(&**from).map(|time| time.as_secs_f64()))
    }

    fn copy_to_device(stream: *mut mxhal_stream, to: *mut c_void, from: *const c_void, bytes: u64) {
        let stream = get::<Box<dyn Stream>>(stream)?;
        stream.copy_to_device(range("to", to, bytes)?.address, range("from", from, bytes)?)
    }

    fn copy_to_host(stream: *mut mxhal_stream, to: *mut c_void, from: *const c_void, bytes: u64) {
        let stream = get::<Box<dyn Stream>>(stream)?;
        stream.copy_to_host(range("to", to, bytes)?.address, range("from", from, bytes)?)
    }

    fn copy_on_device(stream: *mut mxhal_stream, to: *mut c_void, from: *const c_void, bytes: u64) {
        let stream = get::<Box<dyn Stream>>(stream)?;
        stream.copy_on_device(range("to", to, bytes)?.address, range("from", from, bytes)?)
    }

    fn fill(stream: *mut mxhal_stream, to: *mut c_void, value: u8, bytes: u64) {
        get::<Box<dyn Stream>>(stream)?.fill(range("to", to, bytes)?, value)
    }

    fn op_supports(device: *mut mxhal_device, op: *const mxhal_op, answer: *mut mxhal_answer) {
        let device = get::<Arc<dyn Device>>(device)?;
        let op = op_from_c(op)?;
        op.validate()?;
        write("answer", answer, &support_to_c(&device.supports(&op)?))
    }

    fn plan_create(device: *mut mxhal_device, op: *const mxhal_op, plan: *mut *mut mxhal_plan) {
        let device = get::<Arc<dyn Device>>(device)?;
        let op = op_from_c(op)?;
        op.validate()?;
        put("plan", plan, || {
            let plan = device.prepare(&op)?;
            let signature = op.signature();
            let names = signature.arguments().iter().map(|tensor| format!("tensor `{}`", tensor.name)).collect();
            Ok(create(PreparedPlan { plan, signature, names }))
        })
    }

    fn plan_info(plan: *const mxhal_plan, info: *mut mxhal_plan_info) {
        write("info", info, &plan_info_to_c(get::<PreparedPlan>(plan)?.plan.info()))
    }

    fn plan_run(
        plan: *const mxhal_plan,
        stream: *mut mxhal_stream,
        tensors: *const *const mxhal_tensor,
        tensor_count: u32,
        weights: *const *const mxhal_weights,
        weights_count: u32,
        workspace: *mut c_void,
        workspace_bytes: u64,
    ) {
        let plan = get::<PreparedPlan>(plan)?;
        let stream = get::<Box<dyn Stream>>(stream)?;
        // On the stack: a run allocates nothing.
        let entries_of_tensors = entries("tensors", tensors, tensor_count)?;
        let mut tensors = [None; MAX_ARGUMENTS];
        let tensors = read_tensors(plan, entries_of_tensors, &mut tensors)?;
        plan.signature.check(tensors)?;
        let given = entries("weights", weights, weights_count)?;
        let Some(first) = given.first() else {
            plan.signature.check_weights([].into_iter())?;
            return plan.run(&**stream, tensors, &[], workspace, workspace_bytes);
        };
        let mut prepared: [&dyn Weights; MAX_WEIGHTS] = [&**get::<Arc<dyn Weights>>(*first)?; MAX_WEIGHTS];
        let prepared = room_for("weights", &mut prepared, given.len())?;
        for (place, weights) in prepared.iter_mut().zip(given) {
            *place = &**get::<Arc<dyn Weights>>(*weights)?;
        }
        plan.signature.check_weights(prepared.iter().map(|weights| weights.desc()))?;
        plan.run(&**stream, tensors, prepared, workspace, workspace_bytes)
    }

    fn plan_destroy(plan: *mut mxhal_plan) {
        take::<PreparedPlan>(plan).map(drop)
    }

    fn weights_prepare(
        device: *mut mxhal_device,
        desc: *const mxhal_weights_desc,
        parts: *const *const mxhal_tensor,
        part_count: u32,
        weights: *mut *mut mxhal_weights,
    ) {
        let device = get::<Arc<dyn Device>>(device)?;
        let desc = weights_desc_from_c(&read("desc", desc)?)?;
        let mut tensors = Vec::new();
        for (index, part) in entries("parts", parts, part_count)?.iter().enumerate() {
            tensors.push(host_tensor_from_c(&format!("part {index}"), *part)?);
        }
        let layouts: Vec<_> = tensors.iter().map(|part| *part.layout()).collect();
        desc.check_parts(&layouts)?;
        put("weights", weights, || device.prepare_weights(&desc, &tensors).map(create))
    }

    fn weights_export(weights: *const mxhal_weights, to: *const mxhal_tensor) {
        let weights = get::<Arc<dyn Weights>>(weights)?;
        let to = tensor_from_c("to", to)?;
        let wanted = weights.desc().layout()?;
        let shape_fits = to.layout().format() == wanted.format() && to.layout().shape() == wanted.shape();
        if !shape_fits || !to.layout().is_contiguous() || !to.has_factor_per_row() {
            return Err(Error::invalid(format!(
                "to is {}, and it should be {wanted}, contiguous{}",
                to.layout(),
                if wanted.factors_bytes() > 0 { ", with a factor for each row" } else { "" }
            )));
        }
        copy_out(&weights.export()?, &to)
    }

    fn weights_info(weights: *const mxhal_weights, info: *mut mxhal_weights_info) {
        let weights = get::<Arc<dyn Weights>>(weights)?;
        let mut value: mxhal_weights_info = empty();
        value.bytes = weights.bytes();
        value.desc = weights_desc_to_c(weights.desc())?;
        write("info", info, &value)
    }

    fn weights_destroy(weights: *mut mxhal_weights) {
        take::<Arc<dyn Weights>>(weights).map(drop)
    }
}

/// Null for what is not offered, and also for a name that is no text and a backend that panics: there is no error to
/// put it in.
unsafe extern "C" fn extension(this: *mut c_void, name: *const c_char) -> *const c_void {
    let mut table = 0;
    guard(std::ptr::null_mut(), || {
        if name.is_null() {
            return Err(null("name"));
        }
        // SAFETY: the caller keeps the contract of the header: `this` is the backend's, the name ends in a zero byte.
        let (instance, name) = unsafe { (get::<Instance>(this)?, CStr::from_ptr(name)) };
        if let Ok(name) = name.to_str() {
            table = instance.backend.extension(name).unwrap_or(0);
        }
        Ok(())
    });
    pointer::<c_void>(table)
}

/// The tensors of a run. A null entry is one that the operator's attributes exclude; whether they do is checked next.
///
/// # Safety
///
/// Each entry is null or a tensor that has as many bytes as it says.
unsafe fn read_tensors<'a>(
    plan: &PreparedPlan,
    entries: &[*const mxhal_tensor],
    tensors: &'a mut [Option<Tensor>; MAX_ARGUMENTS],
) -> Result<&'a [Option<Tensor>]> {
    let tensors = room_for("tensors", tensors, entries.len())?;
    for (index, (tensor, entry)) in tensors.iter_mut().zip(entries).enumerate() {
        if !entry.is_null() {
            let name = plan.names.get(index).map_or("a tensor beyond the last", String::as_str);
            // SAFETY: not null, so the caller promises a tensor.
            *tensor = Some(unsafe { tensor_from_c(name, *entry) }?);
        }
    }
    Ok(tensors)
}

/// The first so many places, if there are as many.
fn room_for<'a, T>(what: &str, places: &'a mut [T], count: usize) -> Result<&'a mut [T]> {
    let most = places.len();
    places.get_mut(..count).ok_or_else(|| {
        Error::invalid(format!("{count} {what} were passed, and no operator takes more than {most}"))
    })
}

/// Copies a host tensor's bytes to where a caller wants them.
///
/// # Safety
///
/// The memory that `to` describes is on the host and can be written.
unsafe fn copy_out(from: &HostBuffer, to: &Tensor) -> Result<()> {
    for (what, bytes, place) in [
        ("data", &from.data, to.data()),
        ("scales", &from.scales, to.scales()),
        ("factors", &from.factors, to.factors()),
    ] {
        if bytes.len() as u64 > place.bytes {
            return Err(Error::internal(format!(
                "the export has {} bytes of {what}, and its layout takes {}",
                bytes.len(),
                place.bytes
            )));
        }
        if !bytes.is_empty() {
            // SAFETY: there is room for as many bytes, by the check above and the caller's promise. The two do not overlap,
            // because the buffer was allocated during this call.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer::<u8>(place.address), bytes.len());
            }
        }
    }
    Ok(())
}
