//! Allocation, copies and fills.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Mutex;

use super::{current_context, settings, stream_of};
use crate::memory::{self, Span};
use crate::refusal::{Answer, Refusal, acl, code, give};
use crate::rules;

/// Sizes of what `aclrtMallocHost` gave.
static HOST: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
const HOST_ALIGNMENT: usize = 64;

/// One end of a copy.
#[derive(Clone)]
enum Place {
    Device(Span),
    Host(usize),
}

/// A checked copy of rows.
struct Copy {
    to: Place,
    from: Place,
    to_pitch: usize,
    from_pitch: usize,
    width: usize,
    height: usize,
}

impl Place {
    /// `bytes` at an address, of the host's or the device's memory.
    fn at(address: *const c_void, bytes: usize, device: i32, argument: &str) -> Answer<Self> {
        let address = address as usize;
        if !memory::is_device_address(address) {
            if address == 0 {
                return Err(Refusal::new(code::RT_PARAM_INVALID, rules::NULL, format!("{argument} is null")));
            }
            return Ok(Self::Host(address));
        }
        // Copies may go from device to device.
        let owner = memory::device_of(address).unwrap_or(device);
        Ok(Self::Device(memory::span(owner, address, bytes, argument, code::RT_PARAM_INVALID)?))
    }

    fn address(&self) -> usize {
        match self {
            Self::Device(span) => span.shadow() as usize,
            Self::Host(address) => *address,
        }
    }
}

impl Copy {
    fn run(&self) {
        for row in 0..self.height {
            let to = (self.to.address() + row * self.to_pitch) as *mut u8;
            let from = (self.from.address() + row * self.from_pitch) as *const u8;
            // SAFETY: device ends were checked against their allocations; host ends are the caller's promise.
            unsafe { std::ptr::copy(from, to, self.width) };
        }
    }
}

/// Checks a copy; the arguments are those of `aclrtMemcpy2d`.
fn copy(
    to: *mut c_void,
    to_pitch: usize,
    from: *const c_void,
    from_pitch: usize,
    (width, height): (usize, usize),
    kind: i32,
) -> Answer<Copy> {
    let (_, context) = current_context()?;
    if width > to_pitch || width > from_pitch {
        let what = format!("rows of {width} bytes in pitches of {to_pitch} and {from_pitch}");
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::COPY_SIZE, what));
    }
    let reach = |pitch: usize| height.saturating_sub(1) * pitch + width;
    let to = Place::at(to, reach(to_pitch), context.device, "dst")?;
    let from = Place::at(from, reach(from_pitch), context.device, "src")?;
    let on_device = |place: &Place| matches!(place, Place::Device(_));
    let expected = match kind {
        0 => Some((false, false)),
        1 | 5 => Some((true, false)),
        2 => Some((false, true)),
        3 | 6 | 7 => Some((true, true)),
        4 => None,
        _ => {
            return Err(Refusal::new(
                code::RT_PARAM_INVALID,
                rules::COPY_KIND,
                format!("kind {kind}, expected 0 to 7"),
            ));
        }
    };
    if let Some((wants_to, wants_from)) = expected {
        for (argument, place, wanted) in [("dst", &to, wants_to), ("src", &from, wants_from)] {
            if on_device(place) != wanted {
                let name = |device| if device { "the device's" } else { "the host's" };
                let what = format!(
                    "kind {kind} with {argument} in {} memory, expected {}",
                    name(!wanted),
                    name(wanted)
                );
                return Err(Refusal::new(code::RT_PARAM_INVALID, rules::COPY_KIND, what));
            }
        }
    }
    Ok(Copy { to, from, to_pitch, from_pitch, width, height })
}

fn copy_row(to: *mut c_void, max: usize, from: *const c_void, count: usize, kind: i32) -> Answer<Copy> {
    if count > max {
        let what = format!("count {count} with destMax {max}");
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::COPY_SIZE, what));
    }
    copy(to, count, from, count, (count, 1), kind)
}

fn fill(address: *mut c_void, max: usize, count: usize) -> Answer<Span> {
    let (_, context) = current_context()?;
    if count > max {
        let what = format!("count {count} with maxCount {max}");
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::COPY_SIZE, what));
    }
    memory::span(context.device, address as usize, count, "devPtr", code::RT_PARAM_INVALID)
}

fn allocate(pointer: *mut *mut c_void, size: usize, policy: i32) -> Answer {
    let (_, context) = current_context()?;
    // A page policy, with the kind of memory in the bits above.
    if policy < 0 || policy & !0x10_1107 != 0 {
        let what = format!("policy {policy:#x}, expected 0 to 7 with the documented flags");
        return Err(Refusal::new(code::RT_INVALID_MALLOC_TYPE, rules::MEMORY_TYPE, what));
    }
    if pointer.is_null() {
        return Err(Refusal::new(code::RT_PARAM_INVALID, rules::NULL, "devPtr is null"));
    }
    let address = memory::allocate(context.device, size, settings()?.memory)?;
    give(pointer, "devPtr", address as *mut c_void)
}

acl! {
    fn aclrtMalloc(pointer: *mut *mut c_void, size: usize, policy: i32) {
        allocate(pointer, size, policy)
    }

    fn aclrtMallocAlign32(pointer: *mut *mut c_void, size: usize, policy: i32) {
        allocate(pointer, size, policy)
    }

    fn aclrtMallocCached(pointer: *mut *mut c_void, size: usize, policy: i32) {
        allocate(pointer, size, policy)
    }

    fn aclrtMallocWithCfg(pointer: *mut *mut c_void, size: usize, policy: i32, config: *mut c_void) {
        if !config.is_null() {
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::NOT_SIMULATED, "cfg is not null"));
        }
        allocate(pointer, size, policy)
    }

    fn aclrtFree(pointer: *mut c_void) {
        current_context()?;
        memory::free(pointer as usize)
    }

    fn aclrtMallocHost(pointer: *mut *mut c_void, size: usize) {
        current_context()?;
        let layout = Layout::from_size_align(size.max(1), HOST_ALIGNMENT);
        let layout = layout.map_err(|error| Refusal::new(code::RT_MEMORY_ALLOCATION, rules::OUT_OF_MEMORY, error.to_string()))?;
        // SAFETY: not of size 0.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            return Err(Refusal::new(code::RT_MEMORY_ALLOCATION, rules::OUT_OF_MEMORY, format!("size {size} of the host's")));
        }
        HOST.lock().expect("nothing panics with it held").insert(memory as usize, size.max(1));
        give(pointer, "hostPtr", memory.cast())
    }

    fn aclrtFreeHost(pointer: *mut c_void) {
        settings()?;
        let Some(size) = HOST.lock().expect("nothing panics with it held").remove(&(pointer as usize)) else {
            let what = format!("hostPtr {pointer:p} is not of aclrtMallocHost, or is freed already");
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::HOST_MEMORY, what));
        };
        let layout = Layout::from_size_align(size, HOST_ALIGNMENT).expect("it was one when it was allocated");
        // SAFETY: allocated above with this layout, and forgotten since.
        unsafe { dealloc(pointer.cast(), layout) };
        Ok(())
    }

    /// Not ordered with any stream.
    fn aclrtMemcpy(to: *mut c_void, max: usize, from: *const c_void, count: usize, kind: i32) {
        copy_row(to, max, from, count, kind)?.run();
        Ok(())
    }

    fn aclrtMemcpyAsync(to: *mut c_void, max: usize, from: *const c_void, count: usize, kind: i32, stream: *mut c_void) {
        let (stream, copy) = (stream_of(stream)?, copy_row(to, max, from, count, kind)?);
        stream.enqueue("aclrtMemcpyAsync", move || {
            copy.run();
            Ok(())
        });
        Ok(())
    }

    fn aclrtMemcpy2d(
        to: *mut c_void, to_pitch: usize, from: *const c_void, from_pitch: usize, width: usize, height: usize, kind: i32,
    ) {
        copy(to, to_pitch, from, from_pitch, (width, height), kind)?.run();
        Ok(())
    }

    fn aclrtMemcpy2dAsync(
        to: *mut c_void, to_pitch: usize, from: *const c_void, from_pitch: usize, width: usize, height: usize, kind: i32,
        stream: *mut c_void,
    ) {
        let (stream, copy) = (stream_of(stream)?, copy(to, to_pitch, from, from_pitch, (width, height), kind)?);
        stream.enqueue("aclrtMemcpy2dAsync", move || {
            copy.run();
            Ok(())
        });
        Ok(())
    }

    fn aclrtMemset(pointer: *mut c_void, max: usize, value: i32, count: usize) {
        fill(pointer, max, count)?.fill(value.to_le_bytes()[0]);
        Ok(())
    }

    fn aclrtMemsetAsync(pointer: *mut c_void, max: usize, value: i32, count: usize, stream: *mut c_void) {
        let (stream, span) = (stream_of(stream)?, fill(pointer, max, count)?);
        stream.enqueue("aclrtMemsetAsync", move || {
            span.fill(value.to_le_bytes()[0]);
            Ok(())
        });
        Ok(())
    }

    /// `{ u32 id, i32 type, u32 pageSize, u32 reserved[4] }`; type 0 is the host's, 1 the device's.
    fn aclrtPointerGetAttributes(pointer: *const c_void, attributes: *mut [u32; 7]) {
        settings()?;
        let device = memory::device_of(pointer as usize);
        let id = device.map_or(0, |device| u32::try_from(device).expect("devices count from 0"));
        give(attributes, "attributes", [id, u32::from(device.is_some()), 4096, 0, 0, 0, 0])
    }
}
