//! Memory of the device and of the host, by address.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use mxhal_cann::safe::Context;
use mxhal_cann::sys;
use mxhal_core::{Error, Result, Status};

use crate::error::from_cann;
use crate::stream::pointer;

/// What tensors are aligned to: `aclrtMalloc` gives 64, tensors want 32, and copies on the device were documented to
/// want 64 before CANN 8.5.
pub(crate) const ALIGNMENT: u64 = 64;

/// Where memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Device,
    Host,
}

/// Allocations of one place, so that an address that is none is an error and not CANN's undefined behaviour.
pub(crate) struct Ledger {
    place: Place,
    live: Mutex<HashSet<u64>>,
}

impl Ledger {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, live: Mutex::new(HashSet::new()) }
    }

    /// # Errors
    ///
    /// [`Status::OutOfMemory`], with what was wanted and what is free.
    pub(crate) fn allocate(&self, context: &Context, bytes: u64) -> Result<u64> {
        let place = self.place;
        let count = usize::try_from(bytes.max(1)).map_err(|_| out_of_memory(context, place, bytes, None))?;
        let allocate = || {
            let _current = context.enter()?;
            match place {
                Place::Device => context.library().aclrt_malloc(count, POLICY),
                Place::Host => context.library().aclrt_malloc_host(count),
            }
        };
        let address = allocate().map_err(|error| {
            let error = from_cann(error);
            match error.status() {
                Status::OutOfMemory => out_of_memory(context, place, bytes, Some(&error)),
                _ => error,
            }
        })?;
        let address = address.expose_provenance() as u64;
        self.live().insert(address);
        Ok(address)
    }

    /// # Errors
    ///
    /// [`Status::InvalidArgument`] for an address that [`Self::allocate`] did not give, or that was freed.
    pub(crate) fn free(&self, context: &Context, address: u64) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        if !self.live().remove(&address) {
            return Err(Error::invalid(format!(
                "{address:#x} is not an address that `allocate{}` of this device gave, or it was freed already",
                if self.place == Place::Host { "_host" } else { "" }
            )));
        }
        let free = || {
            let _current = context.enter()?;
            // SAFETY: allocated above and forgotten since; nobody uses it any more, by the contract of `free`.
            unsafe {
                match self.place {
                    Place::Device => context.library().aclrt_free(pointer(address)),
                    Place::Host => context.library().aclrt_free_host(pointer(address)),
                }
            }
        };
        free().map_err(from_cann)
    }

    fn live(&self) -> impl std::ops::DerefMut<Target = HashSet<u64>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Huge pages while there are some.
const POLICY: sys::aclrtMemMallocPolicy = sys::ACL_MEM_MALLOC_HUGE_FIRST;

fn out_of_memory(context: &Context, place: Place, bytes: u64, cause: Option<&Error>) -> Error {
    let free = match (place, context.memory()) {
        (Place::Device, Ok((free, total))) => format!(", and {free} of {total} are free"),
        _ => String::new(),
    };
    let whose = if place == Place::Device { "the device's memory" } else { "page-locked memory" };
    let said = cause.map(|cause| format!(": {}", cause.message())).unwrap_or_default();
    Error::new(Status::OutOfMemory, format!("{bytes} bytes of {whose} were wanted{free}{said}"))
        .with_vendor_code(cause.map_or(0, Error::vendor_code))
}
