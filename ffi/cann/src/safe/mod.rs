//! CANN with ownership: what is made is destroyed once, in an order that CANN allows, by `Drop`.
//!
//! | type | is | holds on to |
//! | --- | --- | --- |
//! | [`Runtime`] | AscendCL, initialised | the [`Library`] |
//! | [`Context`] | a device's default context | the runtime |
//! | [`Stream`], [`Event`] | as CANN has them | the context |
//! | [`DeviceBuffer`], [`HostBuffer`] | memory of the device, page-locked memory of the host | the context |
//! | [`TensorView`], [`TensorList`], [`IntArray`] | what operators take | the library, the memory, the tensors |
//! | [`Executor`] | an operator with its arguments, to be run once | what the operator takes |
//! | [`RepeatableExecutor`] | the same, to be run often, with other memory each time | the same |
//! | [`Binary`], [`Function`] | kernels of one's own | the context, the binary |
//!
//! **Threads.** CANN keeps the current context per thread. Each call here that needs one sets it for its duration and
//! puts back what was there ([`Context::enter`]), so that any of these may be used from any thread.
//!
//! **Operators** are structs with public fields in [`op`]; `new` takes what must be given and fills in the rest.
//! `prepare` checks nothing that CANN checks: its errors carry CANN's message.
//!
//! **What is enqueued** is done later. Running an executor is `unsafe` where the memory could go away before that; with
//! [`Executor::run_and_wait`] it cannot.

mod context;
mod executor;
mod kernel;
mod memory;
pub mod op;
mod runtime;
mod stream;
mod tensor;

pub use context::{Context, Current};
pub use executor::{Executor, RepeatableExecutor};
pub use kernel::{Binary, Function};
pub use memory::{DeviceBuffer, HostBuffer, Policy};
pub use runtime::Runtime;
pub use stream::{Event, Stream};
pub use tensor::{DataType, Format, IntArray, TensorList, TensorSpec, TensorView};

#[cfg(doc)]
use crate::library::Library;

/// Says that something could not be destroyed; there is nobody to return the error to.
fn report(outcome: crate::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "CANN could not destroy what is no longer used");
    }
}
