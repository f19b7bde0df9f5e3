//! Memory, copies, streams and events.

use std::time::Duration;

use mxhal_core::Status::{InvalidArgument, NotReady, Timeout};
use mxhal_ffi::{convert, sys};

use super::Questions;
use super::answer::{Answer, Finding, ensure};
use super::raw::{Address, Event, Stream};
use super::session::{FOREVER, Planned, Session};
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("memory/allocate", allocate),
    ("memory/host", host_memory),
    ("copies/round-trip", round_trip),
    ("copies/zero-bytes", zero_bytes),
    ("stream/synchronize-at-once", synchronize_at_once),
    ("event/never-recorded", never_recorded),
    ("event/record-and-wait", record_and_wait),
];

/// Some bytes, no two neighbours of them alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn allocate(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let (raw, device) = (session.raw, session.device);
    let mut info: sys::mxhal_device_info = convert::empty();
    raw.device_info(device, Some(&mut info)).ok()?;
    let mut given: Vec<Address> = Vec::new();
    for bytes in [0, 1, 33, 4096, 1 << 20] {
        let mut at = Address::NULL;
        raw.memory_alloc(device, bytes, Some(&mut at)).ok()?;
        given.push(at);
        ensure(bytes == 0 || !at.is_null(), || format!("memory_alloc of {bytes} bytes gave null"))?;
        ensure(at.number().is_multiple_of(info.alignment), || {
            format!(
                "memory_alloc of {bytes} bytes gave {:#x}, which is no multiple of the device's alignment, {}",
                at.number(),
                info.alignment
            )
        })?;
    }
    let (mut free, mut total) = (0, 0);
    raw.memory_info(device, Some(&mut free), Some(&mut total)).ok_and_silent()?;
    ensure(free <= total && total > 0, || format!("memory_info says that {free} of {total} bytes are free"))?;
    given.into_iter().try_for_each(|at| raw.memory_free(device, at).ok_and_silent())
}

fn host_memory(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let (raw, device) = (session.raw, session.device);
    for bytes in [0, 1, 1 << 16] {
        let mut at = Address::NULL;
        raw.memory_host_alloc(device, bytes, Some(&mut at)).ok_and_silent()?;
        ensure(bytes == 0 || !at.is_null(), || format!("memory_host_alloc of {bytes} bytes gave null"))?;
        raw.memory_host_free(device, at).ok_and_silent()?;
    }
    Ok(())
}

fn round_trip(subject: &Subject) -> Finding {
    let mut session = Session::open(subject)?;
    let (raw, stream) = (session.raw, session.stream);
    // Neither this nor what is copied on the device, five less, is a multiple of a word, a page or a transfer.
    let given = pattern(70_002);
    let bytes = given.len() as u64;
    let (first, second) = (session.allocate(bytes)?, session.allocate(bytes)?);
    raw.copy_to_device(stream, first, &given).ok()?;
    raw.fill(stream, second, 0xee, bytes).ok()?;
    // All but the first three and the last two bytes, from an odd address to an odd one.
    raw.copy_on_device(stream, second.plus(3), first.plus(3), bytes - 5).ok()?;
    let mut got = vec![0; given.len()];
    raw.copy_to_host(stream, &mut got, second).ok()?;
    session.wait()?;
    let mut expected = given;
    let end = expected.len() - 2;
    expected[..3].fill(0xee);
    expected[end..].fill(0xee);
    let wrong = got.iter().zip(&expected).position(|(got, expected)| got != expected);
    ensure(wrong.is_none(), || {
        let at = wrong.unwrap_or(0);
        format!(
            "copied to the device, on it and back, after a fill with 0xee: byte {at} of {bytes} is {:#04x} and was {:#04x}",
            got[at], expected[at]
        )
    })
}

fn zero_bytes(subject: &Subject) -> Finding {
    let mut session = Session::open(subject)?;
    let (raw, stream, at) = (session.raw, session.stream, session.allocate(64)?);
    for at in [at, Address::NULL] {
        raw.copy_to_device(stream, at, &[]).ok()?;
        raw.copy_to_host(stream, &mut [], at).ok()?;
        raw.copy_on_device(stream, at, at, 0).ok()?;
        raw.fill(stream, at, 0xff, 0).ok()?;
    }
    session.wait()
}

fn synchronize_at_once(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    planned.run_on(planned.stream)?;
    done_or_under_way(planned.raw.stream_synchronize(planned.stream, 0))?;
    planned.wait()?;
    planned.raw.stream_synchronize(planned.stream, 0).ok()
}

fn done_or_under_way(answer: Answer) -> Finding {
    if answer.status == 0 {
        return answer.ok();
    }
    answer.refused_as(&[NotReady, Timeout], "a timeout of 0").map(drop)
}

fn never_recorded(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let events = Events::create(&session)?;
    let (raw, [first, second]) = (session.raw, events.events);
    raw.event_wait(first, session.stream).ok()?;
    raw.event_synchronize(first, FOREVER).ok()?;
    raw.event_synchronize(first, 0).ok()?;
    session.wait()?;
    let mut seconds = 0.0;
    raw.event_elapsed(first, second, Some(&mut seconds))
        .refused_as(&[InvalidArgument, NotReady], "events that were never recorded")?;
    Ok(())
}

fn record_and_wait(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let (raw, stream) = (planned.raw, planned.stream);
    let events = Events::create(&planned)?;
    let [before, after] = events.events;
    let mut other = Stream::NULL;
    raw.stream_create(planned.device, Some(&mut other)).ok()?;
    let asked = (|| {
        raw.event_record(before, stream).ok()?;
        planned.run_on(stream)?;
        raw.event_record(after, stream).ok()?;
        raw.event_wait(after, other).ok()?;
        let answer = raw.event_synchronize(after, 0);
        if answer.status == 0 {
            answer.ok()?;
        } else {
            answer.refused(NotReady, "a timeout of 0 before the mark was passed")?;
        }
        raw.event_synchronize(after, Duration::from_secs(30).as_nanos() as u64).ok()?;
        raw.event_synchronize(after, 0).ok()?;
        raw.stream_synchronize(other, FOREVER).ok()?;
        let mut seconds = -1.0;
        raw.event_elapsed(before, after, Some(&mut seconds)).ok_and_silent()?;
        ensure((0.0..30.0).contains(&seconds), || {
            format!("event_elapsed says {seconds} s for a small operator; it is 0 or more, and not 30")
        })?;
        // An event may be recorded again, and then stands for the later mark.
        raw.event_record(before, stream).ok()?;
        raw.event_synchronize(before, FOREVER).ok()
    })();
    let destroyed = raw.stream_destroy(other).ok();
    asked.and(destroyed)
}

/// Two events, destroyed at the end.
struct Events<'a> {
    session: &'a Session<'a>,
    events: [Event; 2],
}

impl<'a> Events<'a> {
    fn create(session: &'a Session<'a>) -> Finding<Self> {
        let mut events = Self { session, events: [Event::NULL; 2] };
        for event in &mut events.events {
            session.raw.event_create(session.device, Some(event)).ok()?;
        }
        Ok(events)
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        for event in self.events {
            let _ = self.session.raw.event_destroy(event);
        }
    }
}
