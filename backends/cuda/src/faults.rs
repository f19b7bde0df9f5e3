//! Which kernels may have failed, and that the device is lost since.
//!
//! The driver says that a kernel failed when something waits for it or is enqueued later, and not which. So the kernels
//! that were enqueued and not yet waited for are remembered, the latest of each device.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use mxhal_core::{Error, Result, Status};

/// How many kernels are remembered: as many as a message has room for.
const REMEMBERED: usize = 10;

/// What a device knows of failures.
#[derive(Debug)]
pub(crate) struct Faults {
    lost: OnceLock<Error>,
    enqueued: Mutex<Enqueued>,
}

#[derive(Debug)]
struct Enqueued {
    /// The latest, with the handles of their streams.
    latest: VecDeque<(usize, &'static str)>,
    /// Whether there were more than are remembered.
    has_more: bool,
}

impl Default for Faults {
    fn default() -> Self {
        let latest = VecDeque::with_capacity(REMEMBERED);
        Self { lost: OnceLock::new(), enqueued: Mutex::new(Enqueued { latest, has_more: false }) }
    }
}

impl Faults {
    /// Remembers that a kernel was enqueued on a stream.
    pub(crate) fn enqueued(&self, stream: usize, kernel: &'static str) {
        let mut enqueued = self.lock();
        if enqueued.latest.len() == REMEMBERED {
            enqueued.latest.pop_front();
            enqueued.has_more = true;
        }
        enqueued.latest.push_back((stream, kernel));
    }

    /// Forgets what was enqueued on a stream: all of it is done.
    pub(crate) fn passed(&self, stream: usize) {
        let mut enqueued = self.lock();
        enqueued.latest.retain(|(of, _)| *of != stream);
        if enqueued.latest.is_empty() {
            enqueued.has_more = false;
        }
    }

    /// Loses the device by an error, and gives it with the kernels that may have caused it.
    pub(crate) fn lose(&self, error: Error) -> Error {
        self.lost
            .get_or_init(|| {
                let text = format!("{}; {}", error.message(), self.suspects());
                Error::new(error.status(), text).with_vendor_code(error.vendor_code())
            })
            .clone()
    }

    /// # Errors
    ///
    /// [`Status::DeviceLost`] once the device was lost, with what it was lost by.
    pub(crate) fn ensure_alive(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(error) => {
                let text = format!("the device was lost: {}", error.message());
                Err(Error::new(Status::DeviceLost, text).with_vendor_code(error.vendor_code()))
            }
        }
    }

    fn suspects(&self) -> String {
        let enqueued = self.lock();
        let names: Vec<&str> = enqueued.latest.iter().map(|(_, name)| *name).collect();
        match (names.as_slice(), enqueued.has_more) {
            ([], _) => "no kernel of this backend was under way".to_owned(),
            ([one], false) => format!("the kernel was `{one}`"),
            (several, has_more) => format!(
                "the kernels under way were, in order, {}`{}`; option `launches = \"synchronous\"` tells which",
                if has_more { "others and " } else { "" },
                several.join("`, `")
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Enqueued> {
        self.enqueued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Error {
        Error::new(Status::DeviceLost, "it failed").with_vendor_code(719)
    }

    #[test]
    fn the_only_kernel_under_way_is_named() {
        let faults = Faults::default();
        faults.enqueued(1, "quantize");
        faults.passed(1);
        faults.enqueued(2, "combine");
        let error = faults.lose(failed());
        assert!(error.message().ends_with("the kernel was `combine`"), "{error}");
        let again = faults.ensure_alive().unwrap_err();
        assert_eq!((again.status(), again.vendor_code()), (Status::DeviceLost, 719));
        assert!(again.message().contains("was lost") && again.message().contains("combine"), "{again}");
    }

    #[test]
    fn of_several_kernels_the_latest_are_named_in_order() {
        let faults = Faults::default();
        for _ in 0..REMEMBERED {
            faults.enqueued(1, "quantize");
        }
        faults.enqueued(2, "route");
        let error = faults.lose(failed());
        assert!(error.message().contains("others and `quantize`"), "{error}");
        assert!(error.message().contains("`route`; option `launches"), "{error}");
    }

    #[test]
    fn a_device_that_works_says_nothing() {
        let faults = Faults::default();
        faults.enqueued(1, "quantize");
        assert_eq!(faults.ensure_alive(), Ok(()));
    }
}
