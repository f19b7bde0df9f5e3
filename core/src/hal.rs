//! The traits that a backend implements and a host calls: [`Backend`], [`Device`], [`Stream`], [`Event`], [`Plan`] and
//! [`Weights`].
//!
//! They stand on both sides of the plugin ABI. A backend written in Rust implements them and exports them with one
//! macro of `mxhal-ffi`; the loader of `mxhal-ffi` implements them over the C table. So whoever calls them does not
//! know on which side of the ABI, and in which language, the work is done.
//!
//! # Who validates what
//!
//! Shapes and attributes are validated once, in this crate: an operator by [`Op::validate`](crate::Op::validate), the
//! tensors of a run by [`Op::check`](crate::Op::check). The typed [`Operators`](crate::op::Operators), the loader and
//! the export macro all call them, so that a backend checks only what it alone knows.
//!
//! # Memory and time
//!
//! Device memory is an address. Nothing here dereferences one, and nothing here keeps memory alive: that an address is
//! valid, and stays so until the stream has passed the work that uses it, is the caller's business. [`Buffer`](crate::Buffer)
//! helps. Work is enqueued on a stream and runs in order there; what fails later is reported by whoever synchronises.
//!
//! # Threads
//!
//! The functions of a device may be called from any thread. One stream is used by one thread at a time. Plans and
//! weights are immutable and may be shared.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::op::{Op, WeightsDesc};
use crate::tensor::{HostBuffer, HostTensor, Span, Tensor};

/// Who a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name that `config.toml` uses: `cpu`, `cuda`, `ascend`.
    pub name: String,
    /// Who made it.
    pub vendor: String,
    /// Its own version.
    pub version: String,
}

/// A loaded backend.
pub trait Backend: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &Identity;

    /// How many devices it has; 0 is an answer, not an error.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`](crate::Status::Unavailable) when the driver or library that knows is absent: the message
    /// lists the names that were tried.
    fn device_count(&self) -> Result<u32>;

    /// Opens the device with this index, below [`Self::device_count`].
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for an index beyond the last,
    /// [`Status::Unavailable`](crate::Status::Unavailable) when the device cannot be used, saying why.
    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>>;

    /// The address of the table of an extension, such as `mxhal.ext.graph`; `None` where it is not offered.
    fn extension(&self, _name: &str) -> Option<u64> {
        None
    }
}

/// What a device says about itself; reports print it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The product's name.
    pub name: String,
    /// What kernels are chosen by: `avx512-vnni`, `sm_120`, `Ascend950PR_9599`.
    pub architecture: String,
    /// The driver's version, or the operating system's for a CPU.
    pub driver: String,
    /// All memory, in bytes.
    pub memory_bytes: u64,
    /// What addresses of tensors must be a multiple of, in bytes; a power of two. Allocations keep it.
    pub alignment: u64,
    /// Multiprocessors, cores or threads that work in parallel.
    pub units: u32,
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What can still be allocated, as far as is known.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// An opened device.
pub trait Device: Any + Send + Sync {
    /// What it is.
    ///
    /// # Errors
    ///
    /// [`Status::DeviceLost`](crate::Status::DeviceLost) as every method; not repeated below.
    fn info(&self) -> Result<DeviceInfo>;

    /// How full its memory is.
    fn memory(&self) -> Result<MemoryInfo>;

    /// Allocates device memory, aligned to [`DeviceInfo::alignment`]. Zero bytes give an address that may be freed.
    ///
    /// # Errors
    ///
    /// [`Status::OutOfMemory`](crate::Status::OutOfMemory), saying how much was wanted and is free.
    fn allocate(&self, bytes: u64) -> Result<u64>;

    /// Frees what [`Self::allocate`] gave; address 0 is nothing.
    fn free(&self, address: u64) -> Result<()>;

    /// Allocates host memory that copies are fastest with (pinned, where there is such a thing).
    ///
    /// # Errors
    ///
    /// As [`Self::allocate`].
    fn allocate_host(&self, bytes: u64) -> Result<u64>;

    /// Frees what [`Self::allocate_host`] gave; address 0 is nothing.
    fn free_host(&self, address: u64) -> Result<()>;

    /// Makes a stream.
    fn create_stream(&self) -> Result<Box<dyn Stream>>;

    /// Makes a stream of an engine's own native one (a `cudaStream_t`, an `aclrtStream`), which stays its owner's.
    ///
    /// # Errors
    ///
    /// [`Status::Unsupported`](crate::Status::Unsupported) where there are no native streams.
    fn wrap_stream(&self, native: u64) -> Result<Box<dyn Stream>> {
        Err(Error::unsupported(format!("this device has no native streams, so {native:#x} cannot be one")))
    }

    /// Makes an event.
    fn create_event(&self) -> Result<Arc<dyn Event>>;

    /// Whether an operator can run here. Yes obliges [`Self::prepare`] to succeed (memory permitting) and its plan to
    /// run; no obliges it to refuse with the same reason.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for an operator that does not validate.
    fn supports(&self, op: &Op) -> Result<Support>;

    /// Makes a plan of an operator. Plans are made once and run often.
    ///
    /// # Errors
    ///
    /// [`Status::Unsupported`](crate::Status::Unsupported) with the reason of [`Self::supports`], and
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for an operator that does not validate.
    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>>;

    /// Brings weights into the backend's own layout. `parts` are in host memory and may be freed when the call
    /// returns; how they stack is said at [`WeightsDesc::check_parts`].
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for parts that do not stack,
    /// [`Status::Unsupported`](crate::Status::Unsupported) for weights that no operator here takes, and
    /// [`Status::OutOfMemory`](crate::Status::OutOfMemory).
    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>>;
}

/// A queue of work; what is enqueued runs in order.
///
/// Host memory handed to a copy stays the caller's, and lives until the stream has passed the copy.
pub trait Stream: Any + Send {
    /// Enqueues a copy of `from` (host) to the device address `to`.
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()>;

    /// Enqueues a copy of `from` (device) to the host address `to`.
    fn copy_to_host(&self, to: u64, from: Span) -> Result<()>;

    /// Enqueues a copy within the device; the ranges do not overlap.
    fn copy_on_device(&self, to: u64, from: Span) -> Result<()>;

    /// Enqueues that every byte of `to` become `value`.
    fn fill(&self, to: Span, value: u8) -> Result<()>;

    /// Enqueues the mark that `event` stands for from now on.
    fn record(&self, event: &dyn Event) -> Result<()>;

    /// Enqueues a wait until `event`'s last mark has been passed; nothing if it has none.
    fn wait(&self, event: &dyn Event) -> Result<()>;

    /// Waits until everything enqueued so far is done; for ever where `timeout` is `None`.
    ///
    /// # Errors
    ///
    /// [`Status::Timeout`](crate::Status::Timeout), and whatever failed among the work before: a failure is reported
    /// once, with what failed.
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()>;

    /// Begins to capture: what is enqueued from now on does not run, but becomes part of a graph.
    ///
    /// # Errors
    ///
    /// [`Status::Unsupported`](crate::Status::Unsupported) where there are no graphs,
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) on a stream that is captured already.
    fn begin_capture(&self) -> Result<()> {
        Err(Error::unsupported("this device has no graphs, so nothing can be captured"))
    }

    /// Ends what [`Self::begin_capture`] began, and gives what was captured.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) where nothing is captured, or something was done that
    /// cannot be; the stream works on either way.
    fn end_capture(&self) -> Result<Arc<dyn Graph>> {
        Err(Error::unsupported("this device has no graphs, so nothing is being captured"))
    }
}

/// Work that was captured on a stream, with the addresses that it was captured with; see
/// [`Properties::capturable`] for which plans' runs may be part of it.
pub trait Graph: Any + Send + Sync {
    /// Enqueues all of it and returns at once. A graph is launched by one thread at a time.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for a stream of another device.
    fn launch(&self, stream: &dyn Stream) -> Result<()>;
}

/// A mark in a stream.
pub trait Event: Any + Send + Sync {
    /// Waits until the last mark has been passed; returns at once if there is none.
    ///
    /// # Errors
    ///
    /// [`Status::Timeout`](crate::Status::Timeout); a `timeout` of zero is a query, answered
    /// [`Status::NotReady`](crate::Status::NotReady).
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()>;

    /// Time on the device from the mark of `earlier` to this one.
    ///
    /// # Errors
    ///
    /// [`Status::NotReady`](crate::Status::NotReady) before both are passed, and
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) where one was never recorded.
    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration>;
}

/// What a plan wants and will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanInfo {
    /// The workspace that each run under way needs for itself, in bytes.
    pub workspace_bytes: u64,
    /// The kernel that was chosen, for reports; may be empty.
    pub kernel: String,
}

/// An operator made ready for a device. Immutable: shared between threads and streams.
pub trait Plan: Any + Send + Sync {
    /// What it wants.
    fn info(&self) -> &PlanInfo;

    /// Enqueues a run and returns at once. It allocates nothing. `tensors` are as
    /// [`Op::arguments`](crate::Op::arguments) lists them and were checked by [`Op::check`](crate::Op::check), `weights` as [`Op::weights`](crate::Op::weights).
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for a workspace that is too small, weights of
    /// another description, or handles of another device.
    fn run(
        &self,
        stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        weights: &[&dyn Weights],
        workspace: Span,
    ) -> Result<()>;
}

/// Weights in a backend's own layout. Immutable.
pub trait Weights: Any + Send + Sync {
    /// What they were prepared as.
    fn desc(&self) -> &WeightsDesc;

    /// Memory that they hold, on the device and the host together, in bytes.
    fn bytes(&self) -> u64;

    /// The canonical bytes again, `[groups, n, k]`, bit for bit as they were given.
    fn export(&self) -> Result<HostBuffer>;
}

/// Whether an operator can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Yes(Properties),
    /// It cannot.
    No(Refusal),
}

impl Support {
    /// A no in the vendor's words.
    pub fn no(reason: Reason, text: impl Into<String>) -> Self {
        Self::No(Refusal { reason, text: text.into() })
    }

    /// Whether it is yes.
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

/// What a backend promises of an operator that it runs; the suite holds it to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// A run may be captured in a graph.
    pub capturable: bool,
    /// The same bits from run to run.
    pub run_to_run: bool,
    /// A row gives the same bits in whatever batch it appears.
    pub batch_invariant: bool,
    /// The same bits with any number of threads or streams.
    pub thread_invariant: bool,
    /// [`Combine`](crate::op::Combine) and [`MoeFfn`](crate::op::MoeFfn) sum in order of slot, in float32.
    pub slot_order: bool,
}

/// Why an operator cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub reason: Reason,
    /// A sentence.
    pub text: String,
}

impl Refusal {
    /// The error with which [`Device::prepare`] refuses.
    pub fn to_error(&self) -> Error {
        Error::unsupported(self.text.clone()).with_vendor_code(self.reason as i64)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.reason)
    }
}

/// The kind of a [`Refusal`]; the numbers are those of `mxhal_reason` in the C header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u32)]
pub enum Reason {
    /// The operator itself is not offered.
    Operator = 1,
    /// A format, or a combination of formats.
    Format = 2,
    /// An extent.
    Shape = 3,
    /// An attribute.
    Attribute = 4,
    /// This device's architecture lacks what it takes.
    Architecture = 5,
    /// A library or driver lacks what it takes.
    Library = 6,
    /// Anything else.
    Other = 7,
}

impl Reason {
    /// The reason with this number in the C header; unknown numbers are [`Self::Other`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Operator,
            2 => Self::Format,
            3 => Self::Shape,
            4 => Self::Attribute,
            5 => Self::Architecture,
            6 => Self::Library,
            _ => Self::Other,
        }
    }

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Format => "format",
            Self::Shape => "shape",
            Self::Attribute => "attribute",
            Self::Architecture => "architecture",
            Self::Library => "library",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
