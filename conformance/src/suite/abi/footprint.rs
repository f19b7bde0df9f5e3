//! What a plugin keeps: memory that grows from call to call, and memory that a run asks for.
//!
//! Where device memory is the host's own, as on a CPU, nothing tells it from other memory of the process; then the
//! process is looked at, and a run has to do with the address space that there is. Elsewhere `memory_info` is asked.

#![allow(unsafe_code, reason = "sets limits of the C library's allocator")]

use std::ffi::c_int;
use std::fs;
use std::hint::black_box;

use mxhal_core::op::{GroupedMatmul, Matmul, Quantize, SwiGlu, SwiGluForm};
use mxhal_core::{Format, Op, Quantization};
use mxhal_ffi::sys;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Questions;
use super::answer::{Finding, ensure, wrong};
use super::raw::{Address, Device, Event, Plan, Raw, Stream};
use super::session::{Planned, Session};
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("plan/runs-leave-nothing", runs_leave_nothing),
    ("plan/run-allocates-nothing", run_allocates_nothing),
    ("device/handles-leave-nothing", handles_leave_nothing),
];

/// Rounds in each of which something has to be left behind, before it is said: others use memory too.
const ROUNDS: usize = 4;
/// Calls in a round.
const CALLS: u64 = 256;
/// What is noticed, in bytes a call.
const NOTICED: u64 = 512;

fn runs_leave_nothing(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let left = left_behind(&planned, || {
        planned.run_on(planned.stream)?;
        planned.wait()
    })?;
    none_left(left, "plan_run")
}

/// Handles of every kind, made and destroyed.
fn handles_leave_nothing(subject: &Subject) -> Finding {
    let planned = Planned::any(subject)?;
    let raw = planned.raw;
    let left = left_behind(&planned, || {
        let (mut stream, mut event, mut plan) = (Stream::NULL, Event::NULL, Plan::NULL);
        raw.stream_create(planned.device, Some(&mut stream)).ok()?;
        raw.event_create(planned.device, Some(&mut event)).ok()?;
        raw.plan_create(planned.device, Some(&planned.bytes), Some(&mut plan)).ok()?;
        raw.event_record(event, stream).ok()?;
        raw.stream_synchronize(stream, u64::MAX).ok()?;
        raw.plan_destroy(plan).ok()?;
        raw.event_destroy(event).ok()?;
        raw.stream_destroy(stream).ok()
    })?;
    none_left(left, "a stream, an event and a plan, made and destroyed,")
}

fn none_left(bytes: u64, who: &str) -> Finding {
    ensure(bytes < NOTICED * CALLS, || {
        format!(
            "{who} leaves memory behind: {} bytes a call, in {} calls",
            bytes / CALLS,
            CALLS * ROUNDS as u64
        )
    })
}

/// The least by which memory in use grew in a round, by the count by which that is most.
fn left_behind(session: &Session<'_>, mut call: impl FnMut() -> Finding) -> Finding<u64> {
    let place = MemoryPlace::of(session)?;
    // What is made at the first time, and kept, is no leak.
    (0..CALLS).try_for_each(|_| call())?;
    let mut before = place.used(session.raw, session.device)?;
    let mut least = [u64::MAX; 2];
    for _ in 0..ROUNDS {
        (0..CALLS).try_for_each(|_| call())?;
        let now = place.used(session.raw, session.device)?;
        for ((least, now), before) in least.iter_mut().zip(now).zip(before) {
            *least = (*least).min(now.saturating_sub(before));
        }
        before = now;
    }
    Ok(least.into_iter().max().unwrap_or(0))
}

/// The header, at `plan_run`: it allocates nothing.
fn run_allocates_nothing(subject: &Subject) -> Finding {
    let skipped = |text: &str| Err(Box::new(Outcome::Skipped { text: text.to_owned() }));
    if !subject.is_alone() {
        return skipped("it changes limits of its process, and is asked in a worker");
    }
    if subject.plugin().identity_data().sanitizer != sys::MXHAL_SANITIZER_NONE {
        return skipped("a sanitizer allocates when it likes");
    }
    let raw = Raw::new(subject.plugin());
    let mut asked = 0;
    for op in operators() {
        let Some(planned) = Planned::of(Session::at(raw, subject.device_index())?, op)? else { continue };
        asked += 1;
        match MemoryPlace::of(&planned)? {
            MemoryPlace::Host => without_more_memory(&planned)?,
            MemoryPlace::Device => device_memory_stays(&planned)?,
        }
    }
    if asked == 0 { skipped("none of the operators that are tried is supported") } else { Ok(()) }
}

/// Operators large enough that scratch memory of their size is no small matter.
fn operators() -> Vec<Op> {
    let mxfp4 = Quantization::new(Format::Mxfp4);
    let mut operators: Vec<Op> = vec![
        mxhal_core::op::Dequantize { rows: 64, k: 4096, from: Format::Mxfp4, output: Format::F32 }.into(),
        Quantize { rows: 64, k: 4096, input: Format::Bf16, to: mxfp4 }.into(),
    ];
    let (form, to) = (SwiGluForm::silu(10.0), Quantization::none());
    operators.push(SwiGlu { rows: 64, n: 4096, form, input: Format::Bf16, row_weights: false, to }.into());
    for activation in [Quantization::none(), Quantization::deepseek(), Quantization::new(Format::Mxint8)] {
        let each = Matmul { output: Format::Bf16, ..Matmul::mxfp4(64, 512, 1024, activation) };
        operators.push(each.into());
        operators.push(GroupedMatmul { each, groups: 2 }.into());
    }
    operators
}

/// Enqueued runs use no more device memory than there was in use.
fn device_memory_stays(planned: &Planned<'_>) -> Finding {
    planned.run()?;
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let [before, _] = MemoryPlace::Device.used(planned.raw, planned.device)?;
        planned.run_on(planned.stream)?;
        let [now, _] = MemoryPlace::Device.used(planned.raw, planned.device)?;
        planned.wait()?;
        least = least.min(now.saturating_sub(before));
    }
    ensure(least == 0, || {
        format!("a run of {} takes {least} bytes of device memory beside its workspace", planned.op.kind())
    })
}

/// A run does with the address space that the process has.
fn without_more_memory(planned: &Planned<'_>) -> Finding {
    let limits = Tight::prepare();
    planned.run()?;
    let limited = limits.set()?;
    let ran = planned.run();
    drop(limited);
    ran.map_err(|outcome| match *outcome {
        Outcome::Fail(failure) => wrong(format!(
            "{} runs, and does not when the process may have no more memory than it has: a run allocates nothing ({})",
            planned.op.kind(),
            failure.message
        )),
        other => Box::new(other),
    })
}

/// Where device memory lies.
#[derive(Clone, Copy)]
enum MemoryPlace {
    /// In this process's memory.
    Host,
    /// Elsewhere.
    Device,
}

impl MemoryPlace {
    fn of(session: &Session<'_>) -> Finding<Self> {
        let mut at = Address::NULL;
        session.raw.memory_alloc(session.device, 4096, Some(&mut at)).ok()?;
        let place = if is_readable_here(at.number()) { Self::Host } else { Self::Device };
        session.raw.memory_free(session.device, at).ok()?;
        Ok(place)
    }

    /// Bytes in use: on a host what was mapped, and what was taken of that; elsewhere one count of the device's.
    fn used(self, raw: Raw<'_>, device: Device) -> Finding<[u64; 2]> {
        match self {
            Self::Host => Ok([kibibytes("VmData:")? << 10, in_use_of_the_allocator()]),
            Self::Device => {
                let (mut free, mut total) = (0, 0);
                raw.memory_info(device, Some(&mut free), Some(&mut total)).ok()?;
                Ok([total.saturating_sub(free), 0])
            }
        }
    }
}

/// Whether an address lies in memory that this process may read and write.
fn is_readable_here(address: u64) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().any(|line| {
        let mut words = line.split(' ');
        let bounds = words.next().and_then(|range| range.split_once('-'));
        let contains = bounds.is_some_and(|(start, end)| {
            let number = |text| u64::from_str_radix(text, 16);
            matches!((number(start), number(end)), (Ok(start), Ok(end)) if (start..end).contains(&address))
        });
        contains && words.next().is_some_and(|access| access.starts_with("rw"))
    })
}

/// A line of what the kernel says of this process.
fn kibibytes(name: &str) -> Finding<u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| wrong(format!("/proc/self/status does not say `{name}`")))
}

/// The process's limit on its address space, brought down to what it has; lifted when it is dropped.
struct Tight {
    before: Rlimit,
    lowered: bool,
}

impl Tight {
    /// Sees to it that what a run may do, a deep stack and small allocations of this suite's, needs no more memory, and
    /// that whatever is large does.
    fn prepare() -> Self {
        limit_of_the_allocator(M_TRIM_THRESHOLD, 64 << 20);
        limit_of_the_allocator(M_MMAP_THRESHOLD, 64 << 10);
        deepen_stack();
        let small: Vec<Vec<u8>> = (0..256).map(|_| vec![1; 4 << 10]).collect();
        drop(black_box(small));
        Self { before: getrlimit(Resource::As), lowered: false }
    }

    fn set(mut self) -> Finding<Self> {
        let current = Some(kibibytes("VmSize:")? << 10);
        self.lowered = setrlimit(Resource::As, Rlimit { current, ..self.before }).is_ok();
        ensure(self.lowered, || "the limit on this process's address space could not be lowered".to_owned())?;
        Ok(self)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        if self.lowered {
            // It was this before, so it is allowed.
            let _ = setrlimit(Resource::As, self.before);
        }
        // As far as glibc's own adapting goes, which ended when a limit was set.
        limit_of_the_allocator(M_MMAP_THRESHOLD, 32 << 20);
    }
}

/// A stack's pages are counted when they are first used.
#[inline(never)]
fn deepen_stack() {
    black_box([1_u8; 1 << 20]);
}

/// As `malloc.h` of glibc has them.
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;

/// Sets a parameter of glibc's `malloc`; other C libraries have no such.
fn limit_of_the_allocator(parameter: c_int, bytes: c_int) {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: it may be called at any time from any thread; a value that it does not take changes nothing.
        unsafe { mallopt(parameter, bytes) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (parameter, bytes);
}

/// Bytes that `malloc` gave and `free` did not get back; 0 for another C library than glibc, which does not say.
fn in_use_of_the_allocator() -> u64 {
    #[cfg(target_env = "gnu")]
    {
        /// `struct mallinfo` of `malloc.h`.
        #[repr(C)]
        struct Mallinfo {
            arena: c_int,
            ordblks: c_int,
            smblks: c_int,
            hblks: c_int,
            hblkhd: c_int,
            usmblks: c_int,
            fsmblks: c_int,
            uordblks: c_int,
            fordblks: c_int,
            keepcost: c_int,
        }
        unsafe extern "C" {
            fn mallinfo() -> Mallinfo;
        }
        // SAFETY: it takes nothing, and may be called at any time from any thread.
        let Mallinfo { hblkhd, uordblks, .. } = unsafe { mallinfo() };
        // Each wraps at 4 GiB; a round that goes past that is taken for none, and the next ones are not.
        u64::from(hblkhd.cast_unsigned()) + u64::from(uordblks.cast_unsigned())
    }
    #[cfg(not(target_env = "gnu"))]
    0
}
