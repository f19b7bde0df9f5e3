//! Faults that take the process with them. One rare kernel has them, so that other cases show whether the run goes on.

use std::process;
use std::thread;
use std::time::Duration;

use mxhal_core::op::Dequantize;
use mxhal_core::{Format, Op, Result};

use crate::device::Run;

/// The status with which [`exit_in_run`] ends the process.
const EXIT_STATUS: i32 = 7;

/// Ends the process, as a library does that calls `exit` where it should return an error.
pub(super) fn exit_in_run(run: &Run<'_>) -> Result<()> {
    if is_rare(run.op) { process::exit(EXIT_STATUS) } else { run.go() }
}

/// Never returns. It sleeps in its loop, to leave the processors to the suite.
pub(super) fn hang_in_run(run: &Run<'_>) -> Result<()> {
    if !is_rare(run.op) {
        return run.go();
    }
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Ends the process by a signal, as a broken invariant does in a library of C.
pub(super) fn abort_in_run(run: &Run<'_>) -> Result<()> {
    if is_rare(run.op) { process::abort() } else { run.go() }
}

/// Panics: the export shim makes an error of it, and no answer.
pub(super) fn panic_in_run(run: &Run<'_>) -> Result<()> {
    assert!(!is_rare(run.op), "a mutant panics");
    run.go()
}

/// Writes to standard output, which is the host's.
pub(super) fn talk() {
    println!("a mutant says hello");
}

/// A thread that nobody ends.
pub(super) fn leave_a_thread() {
    let left = thread::Builder::new().name("left-behind".to_owned());
    left.spawn(|| {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    })
    .expect("the machine has room for a thread");
}

/// Ends the process by a signal when everything should be made, or let go of.
pub(super) fn crash() {
    process::abort();
}

/// Never comes back.
pub(super) fn hang() {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn is_rare(op: &Op) -> bool {
    matches!(op, Op::Dequantize(Dequantize { output: Format::F16, .. }))
}
