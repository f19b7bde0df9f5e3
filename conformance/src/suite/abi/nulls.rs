//! Null: as a handle, as the place of a result, as the error.

use mxhal_core::Status::{InvalidArgument, Unsupported};
use mxhal_ffi::{convert, sys};

use super::Questions;
use super::answer::Finding;
use super::raw::{Address, Device, ErrorMode, Event, Plan, Raw, Stream, Weights};
use super::session::{FOREVER, Planned, Session};
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("null/device", device),
    ("null/stream", stream),
    ("null/event", event),
    ("null/plan", plan),
    ("null/weights", weights),
    ("null/destroy", destroy),
    ("null/result", result),
    ("null/arguments", arguments),
    ("error/null", error_null),
    ("error/short", error_short),
    ("error/left-alone", error_left_alone),
];

fn device(subject: &Subject) -> Finding {
    null_device(&Raw::new(subject.plugin()), &Planned::any(subject)?)
}

/// Every function of a device, with none.
fn null_device(raw: &Raw<'_>, planned: &Planned<'_>) -> Finding {
    let why = "a null device";
    let (mut at, mut stream, mut event, mut plan) = (Address::NULL, Stream::NULL, Event::NULL, Plan::NULL);
    let (mut free, mut total) = (0, 0);
    let mut info: sys::mxhal_device_info = convert::empty();
    let mut answer: sys::mxhal_answer = convert::empty();
    let op = Some(&planned.bytes);
    for answer in [
        raw.device_info(Device::NULL, Some(&mut info)),
        raw.memory_alloc(Device::NULL, 64, Some(&mut at)),
        raw.memory_info(Device::NULL, Some(&mut free), Some(&mut total)),
        raw.memory_host_alloc(Device::NULL, 64, Some(&mut at)),
        raw.stream_create(Device::NULL, Some(&mut stream)),
        raw.event_create(Device::NULL, Some(&mut event)),
        raw.op_supports(Device::NULL, op, Some(&mut answer)),
        raw.plan_create(Device::NULL, op, Some(&mut plan)),
    ] {
        answer.refused(InvalidArgument, why)?;
    }
    let mut weights = Weights::NULL;
    let desc: sys::mxhal_weights_desc = convert::empty();
    raw.weights_prepare(Device::NULL, Some(&desc), &[], Some(&mut weights)).refused(InvalidArgument, why)?;
    Ok(())
}

fn stream(subject: &Subject) -> Finding {
    let mut session = Session::open(subject)?;
    let (raw, at) = (session.raw, session.allocate(64)?);
    let why = "a null stream";
    let mut event = Event::NULL;
    raw.event_create(session.device, Some(&mut event)).ok()?;
    let mut bytes = [0; 16];
    let answers = [
        raw.stream_synchronize(Stream::NULL, FOREVER),
        raw.event_record(event, Stream::NULL),
        raw.event_wait(event, Stream::NULL),
        raw.copy_to_device(Stream::NULL, at, &bytes),
        raw.copy_to_host(Stream::NULL, &mut bytes, at),
        raw.copy_on_device(Stream::NULL, at.plus(32), at, 16),
        raw.fill(Stream::NULL, at, 0, 16),
    ];
    raw.event_destroy(event).ok()?;
    for answer in answers {
        answer.refused(InvalidArgument, why)?;
    }
    let planned = Planned::any(subject)?;
    planned
        .raw
        .plan_run(planned.plan, Stream::NULL, &planned.passed(), &planned.weights, planned.workspace)
        .refused(InvalidArgument, why)?;
    Ok(())
}

fn event(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let (raw, why) = (session.raw, "a null event");
    let mut seconds = 0.0;
    for answer in [
        raw.event_record(Event::NULL, session.stream),
        raw.event_wait(Event::NULL, session.stream),
        raw.event_synchronize(Event::NULL, 0),
        raw.event_elapsed(Event::NULL, Event::NULL, Some(&mut seconds)),
    ] {
        answer.refused(InvalidArgument, why)?;
    }
    Ok(())
}

fn plan(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let (raw, why) = (planned.raw, "a null plan");
    let mut info: sys::mxhal_plan_info = convert::empty();
    raw.plan_info(Plan::NULL, Some(&mut info)).refused(InvalidArgument, why)?;
    raw.plan_run(Plan::NULL, planned.stream, &planned.passed(), &planned.weights, planned.workspace)
        .refused(InvalidArgument, why)?;
    Ok(())
}

fn weights(subject: &Subject) -> Finding {
    let raw = Raw::new(subject.plugin());
    let why = "null weights";
    let mut info: sys::mxhal_weights_info = convert::empty();
    let tensor: sys::mxhal_tensor = convert::empty();
    raw.weights_info(Weights::NULL, Some(&mut info)).refused(InvalidArgument, why)?;
    raw.weights_export(Weights::NULL, Some(&tensor)).refused(InvalidArgument, why)?;
    let planned = Planned::with_weights(subject)?;
    let none = vec![Weights::NULL; planned.weights.len()];
    raw.plan_run(planned.plan, planned.stream, &planned.passed(), &none, planned.workspace)
        .refused(InvalidArgument, why)?;
    Ok(())
}

fn destroy(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let raw = session.raw;
    for answer in [
        raw.device_close(Device::NULL),
        raw.stream_destroy(Stream::NULL),
        raw.event_destroy(Event::NULL),
        raw.plan_destroy(Plan::NULL),
        raw.weights_destroy(Weights::NULL),
        raw.memory_free(session.device, Address::NULL),
        raw.memory_host_free(session.device, Address::NULL),
    ] {
        answer.ok_and_silent()?;
    }
    Ok(())
}

fn result(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let (raw, device) = (planned.raw, planned.device);
    let op = Some(&planned.bytes);
    let mut total = 0;
    for answer in [
        raw.device_count(None),
        raw.device_open(subject.device_index(), None),
        raw.device_info(device, None),
        raw.memory_alloc(device, 64, None),
        raw.memory_info(device, None, Some(&mut total)),
        raw.memory_host_alloc(device, 64, None),
        raw.stream_create(device, None),
        raw.event_create(device, None),
        raw.op_supports(device, op, None),
        raw.plan_create(device, op, None),
        raw.plan_info(planned.plan, None),
    ] {
        answer.refused(InvalidArgument, "a null place for its result")?;
    }
    Ok(())
}

fn arguments(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let (raw, device) = (planned.raw, planned.device);
    let mut answer: sys::mxhal_answer = convert::empty();
    let (mut plan, mut weights) = (Plan::NULL, Weights::NULL);
    for answer in [
        raw.op_supports(device, None, Some(&mut answer)),
        raw.plan_create(device, None, Some(&mut plan)),
        raw.weights_prepare(device, None, &[], Some(&mut weights)),
    ] {
        answer.refused(InvalidArgument, "a null description")?;
    }
    Ok(())
}

fn error_null(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let raw = planned.raw.with_errors(ErrorMode::Null);
    null_device(&raw, &planned)?;
    let mut device = Device::NULL;
    raw.device_open(u32::MAX, Some(&mut device)).refused(InvalidArgument, "an index beyond the last")?;
    let (bytes, mut plan) = (super::bytes::OpBytes::head(64, 0x7fff), Plan::NULL);
    raw.plan_create(planned.device, Some(&bytes), Some(&mut plan)).refused(Unsupported, "an unknown kind")?;
    Ok(())
}

fn error_short(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    null_device(&planned.raw.with_errors(ErrorMode::Short), &planned)
}

fn error_left_alone(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let raw = session.raw;
    let (mut count, mut at) = (0, Address::NULL);
    raw.device_count(Some(&mut count)).ok_and_silent()?;
    raw.memory_alloc(session.device, 64, Some(&mut at)).ok_and_silent()?;
    raw.fill(session.stream, at, 7, 64).ok_and_silent()?;
    raw.stream_synchronize(session.stream, FOREVER).ok_and_silent()?;
    raw.memory_free(session.device, at).ok_and_silent()
}
