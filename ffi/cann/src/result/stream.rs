//! Streams and events.

use core::ffi::c_void;

use super::calls;
use crate::error::Result;
use crate::library::Library;
use crate::sys;

calls! { runtime_table;
    /// A stream in the current context.
    safe aclrt_create_stream() = aclrtCreateStream(&mut stream) -> stream: sys::aclrtStream;
    /// The same with a priority and flags.
    safe aclrt_create_stream_with_config(priority: u32, flags: u32)
        = aclrtCreateStreamWithConfig(&mut stream, priority, flags) -> stream: sys::aclrtStream;
    /// Destroys a stream once its work is done.
    unsafe aclrt_destroy_stream(stream: sys::aclrtStream) = aclrtDestroyStream(stream);
    /// Destroys a stream and drops its work.
    unsafe aclrt_destroy_stream_force(stream: sys::aclrtStream) = aclrtDestroyStreamForce(stream);
    /// Waits for all work of a stream.
    unsafe aclrt_synchronize_stream(stream: sys::aclrtStream) = aclrtSynchronizeStream(stream);
    /// The same, for at most so many milliseconds.
    unsafe aclrt_synchronize_stream_with_timeout(stream: sys::aclrtStream, milliseconds: i32)
        = aclrtSynchronizeStreamWithTimeout(stream, milliseconds);
    /// Whether a stream has done all its work.
    unsafe aclrt_stream_query(stream: sys::aclrtStream) = aclrtStreamQuery(stream, &mut status)
        -> status: sys::aclrtStreamStatus;
    /// Work enqueued later on the stream waits for the event.
    unsafe aclrt_stream_wait_event(stream: sys::aclrtStream, event: sys::aclrtEvent)
        = aclrtStreamWaitEvent(stream, event);
    /// Calls a function on the host in the order of the stream.
    unsafe aclrt_launch_host_func(stream: sys::aclrtStream, function: sys::aclrtHostFunc, argument: *mut c_void)
        = aclrtLaunchHostFunc(stream, function, argument);
    /// The older form, which needs a thread that processes reports.
    unsafe aclrt_launch_callback(
        function: sys::aclrtCallback,
        argument: *mut c_void,
        block: sys::aclrtCallbackBlockType,
        stream: sys::aclrtStream
    ) = aclrtLaunchCallback(function, argument, block, stream);
    /// Names the thread that runs the callbacks of a stream.
    unsafe aclrt_subscribe_report(thread: u64, stream: sys::aclrtStream) = aclrtSubscribeReport(thread, stream);
    /// Runs pending callbacks on the calling thread.
    unsafe aclrt_process_report(milliseconds: i32) = aclrtProcessReport(milliseconds);

    /// An event.
    safe aclrt_create_event() = aclrtCreateEvent(&mut event) -> event: sys::aclrtEvent;
    /// An event with flags.
    safe aclrt_create_event_with_flag(flags: u32) = aclrtCreateEventWithFlag(&mut event, flags)
        -> event: sys::aclrtEvent;
    /// An event of the extended kind with flags.
    safe aclrt_create_event_ex_with_flag(flags: u32) = aclrtCreateEventExWithFlag(&mut event, flags)
        -> event: sys::aclrtEvent;
    /// Destroys an event.
    unsafe aclrt_destroy_event(event: sys::aclrtEvent) = aclrtDestroyEvent(event);
    /// Records an event after the work enqueued so far.
    unsafe aclrt_record_event(event: sys::aclrtEvent, stream: sys::aclrtStream) = aclrtRecordEvent(event, stream);
    /// Makes an event as if it had not been recorded.
    unsafe aclrt_reset_event(event: sys::aclrtEvent, stream: sys::aclrtStream) = aclrtResetEvent(event, stream);
    /// Whether what was recorded has been reached.
    unsafe aclrt_query_event_status(event: sys::aclrtEvent) = aclrtQueryEventStatus(event, &mut status)
        -> status: sys::aclrtEventRecordedStatus;
    /// Whether the streams that wait for the event have got it.
    unsafe aclrt_query_event_wait_status(event: sys::aclrtEvent) = aclrtQueryEventWaitStatus(event, &mut status)
        -> status: sys::aclrtEventWaitStatus;
    /// Waits for an event.
    unsafe aclrt_synchronize_event(event: sys::aclrtEvent) = aclrtSynchronizeEvent(event);
    /// The same, for at most so many milliseconds.
    unsafe aclrt_synchronize_event_with_timeout(event: sys::aclrtEvent, milliseconds: i32)
        = aclrtSynchronizeEventWithTimeout(event, milliseconds);
    /// Milliseconds between two events.
    unsafe aclrt_event_elapsed_time(start: sys::aclrtEvent, end: sys::aclrtEvent)
        = aclrtEventElapsedTime(&mut milliseconds, start, end) -> milliseconds: f32;
}
