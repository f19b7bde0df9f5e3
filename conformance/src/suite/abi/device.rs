//! Devices: indices, opening and closing, destruction in any order, many threads.

use std::thread;

use mxhal_core::Status::InvalidArgument;

use super::Questions;
use super::answer::{Finding, ensure, wrong};
use super::raw::{Device, Event, Plan, Raw, Stream};
use super::session::{FOREVER, Planned, Session, Shared};
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("device/index-beyond-the-last", index_beyond_the_last),
    ("device/open-a-hundred-times", open_a_hundred_times),
    ("device/twice-at-once", twice_at_once),
    ("device/destroy-parents-first", destroy_parents_first),
    ("device/destroy-streams-first", destroy_streams_first),
    ("device/two-and-four-threads", two_and_four_threads),
];

fn index_beyond_the_last(subject: &Subject) -> Finding {
    let raw = Raw::new(subject.plugin());
    let mut count = 0;
    raw.device_count(Some(&mut count)).ok_and_silent()?;
    for index in [count, u32::MAX] {
        let mut device = Device::NULL;
        let why = format!("index {index} of {count} devices");
        raw.device_open(index, Some(&mut device)).refused(InvalidArgument, &why)?;
        ensure(device.is_null(), || format!("device_open with {why} failed, and gave a device"))?;
    }
    Ok(())
}

fn open_a_hundred_times(subject: &Subject) -> Finding {
    let raw = Raw::new(subject.plugin());
    for _ in 0..100 {
        let (mut device, mut stream) = (Device::NULL, Stream::NULL);
        raw.device_open(subject.device_index(), Some(&mut device)).ok()?;
        raw.stream_create(device, Some(&mut stream)).ok()?;
        raw.stream_synchronize(stream, FOREVER).ok()?;
        raw.stream_destroy(stream).ok()?;
        raw.device_close(device).ok()?;
    }
    Planned::any(subject)?.run()
}

/// Closing one handle of a device leaves the other alive.
fn twice_at_once(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let other = Session::open(subject)?;
    drop(other);
    planned.run()
}

/// R3: whoever made handles destroys them, children and parents in any order.
fn destroy_parents_first(subject: &Subject) -> Finding {
    let mut handles = Handles::make(subject)?;
    let raw = handles.raw;
    raw.stream_synchronize(handles.stream, FOREVER).ok()?;
    raw.device_close(handles.device.take()).ok()?;
    raw.stream_destroy(handles.stream.take()).ok()?;
    raw.event_destroy(handles.event.take()).ok()?;
    raw.plan_destroy(handles.plan.take()).ok()?;
    Planned::any(subject)?.run()
}

fn destroy_streams_first(subject: &Subject) -> Finding {
    let mut handles = Handles::make(subject)?;
    let raw = handles.raw;
    raw.stream_synchronize(handles.stream, FOREVER).ok()?;
    raw.stream_destroy(handles.stream.take()).ok()?;
    // The event outlives the stream that it was recorded in, and its mark was passed.
    raw.event_synchronize(handles.event, FOREVER).ok()?;
    raw.plan_destroy(handles.plan.take()).ok()?;
    raw.event_destroy(handles.event.take()).ok()?;
    raw.device_close(handles.device.take()).ok()
}

/// R7: functions of a device are called from any thread, and plans and weights are used by many at once.
fn two_and_four_threads(subject: &Subject) -> Finding {
    const THREADS: usize = 4;
    const RUNS: usize = 25;
    let shared = [Planned::any(subject)?, Planned::any(subject)?];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let shared = shared[index % shared.len()].shared();
                scope.spawn(move || run_often(shared, RUNS))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(wrong("a thread of the suite panicked")))
        })
    })?;
    shared.iter().try_for_each(Planned::run)
}

/// One thread of them: its own stream, tensors and workspace, and everybody's device, plan and weights.
fn run_often(shared: Shared<'_>, runs: usize) -> Finding {
    let own = Planned::beside(shared)?;
    for _ in 0..runs {
        own.run_on(own.stream)?;
        let mut event = Event::NULL;
        own.raw.event_create(own.device, Some(&mut event)).ok()?;
        let recorded = own.raw.event_record(event, own.stream).ok();
        let waited = own.raw.event_synchronize(event, FOREVER).ok();
        own.raw.event_destroy(event).ok()?;
        recorded.and(waited)?;
    }
    own.wait()
}

/// One handle of each kind, the event recorded in the stream; destroyed at the end as far as a question has not.
struct Handles<'a> {
    raw: Raw<'a>,
    device: Device,
    stream: Stream,
    event: Event,
    plan: Plan,
}

impl<'a> Handles<'a> {
    fn make(subject: &'a Subject) -> Finding<Self> {
        let op = Planned::any(subject)?.bytes.clone();
        let raw = Raw::new(subject.plugin());
        let mut handles =
            Self { raw, device: Device::NULL, stream: Stream::NULL, event: Event::NULL, plan: Plan::NULL };
        raw.device_open(subject.device_index(), Some(&mut handles.device)).ok()?;
        raw.stream_create(handles.device, Some(&mut handles.stream)).ok()?;
        raw.event_create(handles.device, Some(&mut handles.event)).ok()?;
        raw.plan_create(handles.device, Some(&op), Some(&mut handles.plan)).ok()?;
        raw.event_record(handles.event, handles.stream).ok()?;
        Ok(handles)
    }
}

impl Drop for Handles<'_> {
    fn drop(&mut self) {
        // Null where a question destroyed it; what fails here was said before.
        let _ = self.raw.stream_destroy(self.stream.take());
        let _ = self.raw.event_destroy(self.event.take());
        let _ = self.raw.plan_destroy(self.plan.take());
        let _ = self.raw.device_close(self.device.take());
    }
}
