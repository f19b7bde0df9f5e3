//! Failures on demand: `MXHAL_SIM_FAIL=function:nth:code,…`.
//!
//! The nth call (from 1) of the function is refused with the code, and does nothing else. Two names are not functions:
//! `kernel:nth:code` is the nth piece of work that a device executes, which fails there and is reported by whoever
//! synchronises; `stall:nth:milliseconds` lets the nth take that long.

use std::sync::Mutex;

use crate::refusal::{Answer, Refusal, code};
use crate::rules;

struct Demand {
    function: String,
    nth: u64,
    value: u64,
    seen: u64,
}

static DEMANDS: Mutex<Vec<Demand>> = Mutex::new(Vec::new());

/// Reads the variable; counting begins anew.
pub(crate) fn read(text: &str) -> Answer {
    let mut demands = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts: Vec<_> = entry.split(':').collect();
        let demand = match parts[..] {
            [function, nth, value] => nth.parse().ok().zip(value.parse().ok()).map(|(nth, value)| Demand {
                function: function.into(),
                nth,
                value,
                seen: 0,
            }),
            _ => None,
        };
        demands.push(demand.ok_or_else(|| {
            let what = format!("MXHAL_SIM_FAIL has `{entry}`, expected function:nth:code");
            Refusal::new(code::INVALID_PARAM, rules::CONFIGURATION, what)
        })?);
    }
    *lock() = demands;
    Ok(())
}

/// Counts a call of the function, and refuses it if it is the one.
pub(crate) fn failure_of(function: &str) -> Answer {
    match value_of(function) {
        None => Ok(()),
        Some((nth, value)) => Err(Refusal::new(
            i32::try_from(value).unwrap_or(code::INTERNAL_ERROR),
            rules::DEMANDED,
            format!("call {nth} of {function} fails"),
        )),
    }
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

fn lock() -> std::sync::MutexGuard<'static, Vec<Demand>> {
    DEMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
