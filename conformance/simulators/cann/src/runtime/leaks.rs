//! What is left over when a device is reset and when the process finalizes.

use std::ffi::c_void;

use super::CONTEXTS;
use super::event::EVENTS;
use super::stream::STREAMS;
use crate::executor::EXECUTORS;
use crate::memory;
use crate::refusal::{Answer, Refusal, code};
use crate::rules;
use crate::tensor::{LISTS, TENSORS};

/// Takes down all of a device; gives what its user forgot.
pub(crate) fn of_device(device: i32) -> Vec<String> {
    let mut left = Vec::new();
    for (handle, context) in CONTEXTS.all() {
        if context.device != device {
            continue;
        }
        let default = *context.default_stream.lock().expect("nothing panics with it held");
        for (stream, object) in STREAMS.all() {
            if object.context == handle {
                object.stop(true);
                let _ = STREAMS.remove(stream as *const c_void);
                if stream != default {
                    left.push(format!("stream {stream:#x} of device {device}"));
                }
            }
        }
        for (event, object) in EVENTS.all() {
            if object.context == handle {
                let _ = EVENTS.remove(event as *const c_void);
                left.push(format!("event {event:#x} of device {device}"));
            }
        }
        if !context.is_default {
            left.push(format!("context {handle:#x} of device {device}"));
        }
        let _ = CONTEXTS.remove(handle as *const c_void);
    }
    for (handle, executor) in EXECUTORS.all() {
        if executor.device == device {
            left.push(format!("executor {handle:#x} of {}", executor.operator));
            let _ = EXECUTORS.remove(handle as *const c_void);
        }
    }
    for allocation in memory::take_all(device) {
        left.push(format!("{} bytes at {:#x} of device {device}", allocation.size, allocation.start));
    }
    left
}

/// Tensors, which belong to no device.
pub(crate) fn of_process() -> Vec<String> {
    let mut left = Vec::new();
    for (handle, _) in LISTS.all() {
        left.push(format!("tensor list {handle:#x}"));
        let _ = LISTS.remove(handle as *const c_void);
    }
    for (handle, tensor) in TENSORS.all() {
        left.push(format!("tensor {handle:#x} of {tensor}"));
        let _ = TENSORS.remove(handle as *const c_void);
    }
    left
}

/// Refuses if something was left over; it is taken down all the same.
pub(crate) fn refuse(left: &[String]) -> Answer {
    if left.is_empty() {
        return Ok(());
    }
    let more = if left.len() > 8 { format!(" and {} more", left.len() - 8) } else { String::new() };
    let what = format!("not destroyed: {}{more}", left[..left.len().min(8)].join(", "));
    Err(Refusal::new(code::INTERNAL_ERROR, rules::LEAK, what))
}
