//! Failures on demand: `MXHAL_SIM_FAIL=function:nth:code,…`.
//!
//! The nth call (from 1) of the function is refused with the code, and does nothing else. Two names are not functions:
//! `kernel:nth:code` is the nth piece of work that a device executes, which fails there, so that the context is lost;
//! `stall:nth:milliseconds` lets the nth take that long.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::refusal::{Answer, Refusal, code};

struct Demand {
    function: String,
    nth: u64,
    value: u64,
    seen: u64,
}

static DEMANDS: Mutex<Vec<Demand>> = Mutex::new(Vec::new());

/// Takes the variable's text.
pub(crate) fn read(text: &str) -> Answer {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let demands: Answer<Vec<Demand>> = entries.map(demand).collect();
    *lock() = demands?;
    Ok(())
}

/// Counts a call of the function, and refuses it if it is the one.
pub(crate) fn failure_of(function: &str) -> Answer {
    let Some((nth, value)) = value_of(function) else { return Ok(()) };
    let code = i32::try_from(value).unwrap_or(code::UNKNOWN);
    Err(Refusal::new(code, format!("call {nth} of {function} fails, as MXHAL_SIM_FAIL demands")))
}

/// Counts a call, and gives its number and the value that is asked for it.
pub(crate) fn value_of(function: &str) -> Option<(u64, u64)> {
    let mut found = None;
    for demand in lock().iter_mut().filter(|demand| demand.function == function) {
        demand.seen += 1;
        if demand.seen == demand.nth {
            found = Some((demand.nth, demand.value));
        }
    }
    found
}

fn demand(entry: &str) -> Answer<Demand> {
    let parts: Vec<_> = entry.split(':').collect();
    let [function, nth, value] = parts[..] else { return Err(wrong(entry)) };
    let (Ok(nth), Ok(value)) = (nth.parse(), value.parse()) else { return Err(wrong(entry)) };
    Ok(Demand { function: function.to_owned(), nth, value, seen: 0 })
}

fn wrong(entry: &str) -> Refusal {
    let what = format!("MXHAL_SIM_FAIL has `{entry}`, expected function:nth:code");
    Refusal::new(code::SYSTEM_NOT_READY, what)
}

fn lock() -> MutexGuard<'static, Vec<Demand>> {
    DEMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}
