//! What a run enqueued, to be enqueued again at other addresses, without CANN's first phases.
//!
//! With option `executors = "repeat"` a plan's first run with tensors of some layouts is recorded: copies, fills, and CANN's
//! executors, made repeatable. A later run with tensors of the same layouts moves each address to where the tensor or the
//! workspace is now that it lay in, and enqueues it all again. Executors belong to one run at a time: a program is used
//! again when the device has passed an event behind its last run, and destroyed no earlier.
//!
//! What cannot be recorded runs as it does without the option: an operator whose executors CANN does not make
//! repeatable, or that takes a kernel of ours, and tensors that lie in one another, whose addresses would mean two things.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mxhal_cann::safe::{Event, RepeatableExecutor, Stream};
use mxhal_cann::sys;
use mxhal_core::{Layout, Result, Span};

use crate::error::from_cann;
use crate::stream::{copy, fill, pointer};

/// The programs of a plan.
#[derive(Default)]
pub(crate) struct Programs {
    idle: Mutex<Vec<Program>>,
    /// Set once a run could not be recorded.
    cannot: AtomicBool,
}

/// Tensors of how many layouts, and runs that wait on streams, a plan keeps programs for.
const MOST: usize = 8;

impl Programs {
    /// Enqueues a program for these layouts, if there is one that is not on its way.
    pub(crate) fn run(&self, stream: &Stream, layouts: &[Option<Layout>], spans: &[Span]) -> Result<bool> {
        let Some(mut program) = self.take(layouts)? else { return Ok(false) };
        program.run(stream, spans)?;
        self.keep(program);
        Ok(true)
    }

    /// Whether a run with such tensors is worth a recording.
    pub(crate) fn wants(&self, spans: &[Span]) -> bool {
        !self.cannot.load(Ordering::Relaxed) && are_apart(spans)
    }

    /// Keeps what was recorded of a run that was just enqueued.
    pub(crate) fn add(
        &self,
        recording: Recording,
        stream: &Stream,
        layouts: Vec<Option<Layout>>,
        spans: Vec<Span>,
    ) -> Result<()> {
        let Recording { steps, is_whole } = recording;
        let program = Program { steps, layouts, spans, passed: behind(stream)? };
        match is_whole {
            true => self.keep(program),
            // Its executors go when the device has passed them.
            false => self.cannot.store(true, Ordering::Relaxed),
        }
        Ok(())
    }

    fn take(&self, layouts: &[Option<Layout>]) -> Result<Option<Program>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, program) in idle.iter().enumerate() {
            if program.layouts == layouts && program.passed.is_complete().map_err(from_cann)? {
                return Ok(Some(idle.remove(place)));
            }
        }
        Ok(None)
    }

    fn keep(&self, program: Program) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(program);
        if idle.len() > MOST {
            let oldest = idle.remove(0);
            drop(idle);
            drop(oldest);
        }
    }
}

/// What a session has enqueued.
pub(crate) struct Recording {
    pub(crate) steps: Vec<Step>,
    /// Whether that is everything.
    pub(crate) is_whole: bool,
}

/// Something that was enqueued, at the addresses of the recording.
pub(crate) enum Step {
    Copy { to: u64, from: Span },
    Fill { to: Span, value: u8 },
    Execute { executor: RepeatableExecutor, workspace: u64 },
}

struct Program {
    steps: Vec<Step>,
    layouts: Vec<Option<Layout>>,
    /// Where tensors, weights and workspace were at the recording.
    spans: Vec<Span>,
    /// Behind the last run.
    passed: Event,
}

impl Program {
    fn run(&mut self, stream: &Stream, spans: &[Span]) -> Result<()> {
        let outcome = self.enqueue(stream, spans);
        self.passed = behind(stream)?;
        outcome
    }

    fn enqueue(&mut self, stream: &Stream, spans: &[Span]) -> Result<()> {
        let old = &self.spans;
        let place = |address| relocated(address, old, spans);
        for step in &mut self.steps {
            match step {
                Step::Copy { to, from } => {
                    let from = Span { address: place(from.address), ..*from };
                    copy(stream, place(*to), from, sys::ACL_MEMCPY_DEVICE_TO_DEVICE)?;
                }
                Step::Fill { to, value } => fill(stream, Span { address: place(to.address), ..*to }, *value)?,
                Step::Execute { executor, workspace } => {
                    let moved = |old: *mut std::ffi::c_void| pointer(place(old.expose_provenance() as u64));
                    let (workspace, bytes) = (pointer(place(*workspace)), executor.workspace_bytes());
                    // SAFETY: whoever runs the plan says that its tensors and workspace are memory of the device that
                    // lives until the stream has passed the run, and they have the layouts of the recording. The
                    // executor lives until the device has passed the event behind it.
                    unsafe { executor.relocate(moved).and_then(|()| executor.run(stream, workspace, bytes)) }
                        .map_err(from_cann)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What failed on the stream is reported by whoever waits for the run.
        let _ = self.passed.synchronize();
    }
}

/// An event behind everything on a stream so far.
fn behind(stream: &Stream) -> Result<Event> {
    let event = Event::new(stream.context()).map_err(from_cann)?;
    event.record(stream).map_err(from_cann)?;
    Ok(event)
}

/// Whether no span lies in another.
fn are_apart(spans: &[Span]) -> bool {
    let mut spans: Vec<&Span> = spans.iter().filter(|span| span.bytes > 0).collect();
    spans.sort_unstable_by_key(|span| span.address);
    spans.windows(2).all(|pair| pair[0].address + pair[0].bytes <= pair[1].address)
}

/// Where an address is now; what lies in none of the spans, as constants do, has stayed where it was.
fn relocated(address: u64, old: &[Span], new: &[Span]) -> u64 {
    let holds = |span: &Span| (span.address..span.address + span.bytes).contains(&address);
    match old.iter().position(holds) {
        Some(place) => new[place].address + (address - old[place].address),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(address: u64, bytes: u64) -> Span {
        Span { address, bytes }
    }

    #[test]
    fn addresses_move_with_what_they_lie_in_and_others_stay() {
        let old = [span(100, 10), span(110, 5), span(0, 0)];
        let new = [span(1000, 10), span(500, 5), span(0, 0)];
        let moved = [99, 100, 109, 110, 114, 115, 0].map(|address| relocated(address, &old, &new));
        assert_eq!(moved, [99, 1000, 1009, 500, 504, 115, 0]);
    }

    #[test]
    fn spans_that_touch_are_apart_and_those_that_share_bytes_are_not() {
        assert!(are_apart(&[span(20, 4), span(0, 0), span(10, 10)]));
        assert!(!are_apart(&[span(20, 4), span(10, 11)]));
        assert!(!are_apart(&[span(20, 4), span(20, 4)]));
    }
}
