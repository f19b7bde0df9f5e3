//! What is left over when a context is released, and when the process ends.

use core::ffi::c_void;

use super::capture;
use super::context::{Context, retained};
use super::event::EVENTS;
use super::module::MODULES;
use super::pool;
use super::stream::{STREAMS, streams_of};
use crate::memory;
use crate::refusal::report;

/// Takes down all of a context; gives what its user forgot.
pub(crate) fn of_context(context: &Context) -> Vec<String> {
    let mut left = Vec::new();
    let legacy = *context.default_stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for stream in streams_of(context) {
        stream.stop();
        let _ = STREAMS.remove(stream.handle as *const c_void);
        if stream.handle != legacy {
            left.push(format!("stream {:#x}", stream.handle));
        }
    }
    for (handle, event) in EVENTS.all() {
        if event.context == context.handle {
            let _ = EVENTS.remove(handle as *const c_void);
            left.push(format!("event {handle:#x}"));
        }
    }
    for (handle, module) in MODULES.all() {
        if module.context == context.handle {
            let _ = MODULES.remove(handle as *const c_void);
            left.push(format!("module {handle:#x}"));
        }
    }
    left.extend(capture::take_all(context.handle));
    left.extend(memory::take_all(context.device));
    left.extend(pool::take_all(context.device));
    left
}

/// Says at the end of the process what nobody released.
extern "C" fn at_exit() {
    for device in retained() {
        report(&format!("leak: the context of device {device} is retained at the end of the process"));
    }
    for what in memory::all_pinned() {
        report(&format!("leak: {what} at the end of the process"));
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
