//! Streams and events: the driver's.

use std::any::Any;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mxhal_core::{Error, Event, Graph, Result, Span, Status, Stream};
use mxhal_kernels_cuda::Launch;

use crate::context::Context;
use crate::device::Shared;
use crate::graphs::CudaGraph;
use crate::sys::{self, CUDA_MEMCPY2D, CUevent, CUfunction, CUmemorytype, CUstream};

/// Between which memories bytes are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    ToDevice,
    ToHost,
    OnDevice,
}

/// A native stream: made here, or an engine's.
pub(crate) struct Queue {
    context: Arc<Context>,
    raw: CUstream,
    is_ours: bool,
}

// SAFETY: the functions of the driver may be called from any thread, with any stream.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A stream that does not wait for the default one.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        context.call("cuStreamCreate", || {
            let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
            // SAFETY: the handle is ours; it is destroyed when this is dropped.
            unsafe { sys::cuStreamCreate(&raw mut raw, flags) }
        })?;
        Ok(Self { context: Arc::clone(context), raw, is_ours: true })
    }

    /// An engine's, which stays the engine's; 0 is the default stream.
    fn borrowed(context: &Arc<Context>, native: u64) -> Self {
        Self { context: Arc::clone(context), raw: pointer(native).cast(), is_ours: false }
    }

    /// The driver's handle.
    pub(crate) fn raw(&self) -> CUstream {
        self.raw
    }

    /// By what its kernels are remembered.
    fn id(&self) -> usize {
        self.raw.addr()
    }

    /// Enqueues a copy. Between host and device it is asynchronous for page-locked memory; else the driver returns when
    /// the bytes are on their way, or have moved.
    pub(crate) fn copy(&self, copy: Copy, to: u64, from: Span) -> Result<()> {
        let count = length(from.bytes)?;
        if count == 0 {
            return Ok(());
        }
        let (context, raw) = (&self.context, self.raw);
        // Whoever calls the trait's method says that both ranges are valid until the stream has passed the copy.
        match copy {
            Copy::ToDevice => context.call("cuMemcpyHtoDAsync", || {
                // SAFETY: as said above.
                unsafe { sys::cuMemcpyHtoDAsync_v2(to, pointer(from.address), count, raw) }
            }),
            Copy::ToHost => context.call("cuMemcpyDtoHAsync", || {
                // SAFETY: as said above.
                unsafe { sys::cuMemcpyDtoHAsync_v2(pointer(to), from.address, count, raw) }
            }),
            Copy::OnDevice => context.call("cuMemcpyDtoDAsync", || {
                // SAFETY: as said above.
                unsafe { sys::cuMemcpyDtoDAsync_v2(to, from.address, count, raw) }
            }),
        }
    }

    /// Enqueues a copy of rows of `width` bytes on the device, each address with the bytes from one row to the next.
    pub(crate) fn copy_rows(
        &self,
        (to, to_pitch): (u64, u64),
        (from, from_pitch): (u64, u64),
        rows: usize,
        width: u64,
    ) -> Result<()> {
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let copy = CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
            srcHost: std::ptr::null(),
            srcDevice: from,
            srcArray: std::ptr::null_mut(),
            srcPitch: length(from_pitch)?,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: to,
            dstArray: std::ptr::null_mut(),
            dstPitch: length(to_pitch)?,
            WidthInBytes: length(width)?,
            Height: rows,
        };
        self.context.call("cuMemcpy2DAsync", || {
            // SAFETY: as for `copy`; the description is read before the call returns.
            unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.raw) }
        })
    }

    /// Enqueues that bytes get a value.
    pub(crate) fn fill(&self, to: Span, value: u8) -> Result<()> {
        let count = length(to.bytes)?;
        if count == 0 {
            return Ok(());
        }
        self.context.call("cuMemsetD8Async", || {
            // SAFETY: as for `copy`.
            unsafe { sys::cuMemsetD8Async(to.address, value, count, self.raw) }
        })
    }

    /// Waits for everything enqueued.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.context.call("cuStreamSynchronize", || {
            // SAFETY: the stream lives.
            unsafe { sys::cuStreamSynchronize(self.raw) }
        })?;
        self.context.faults.passed(self.id());
        Ok(())
    }

    /// Whether everything enqueued is done.
    fn is_idle(&self) -> Result<bool> {
        // SAFETY: the stream lives.
        is_done(self.context.call("cuStreamQuery", || unsafe { sys::cuStreamQuery(self.raw) }))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.is_ours {
            // What is enqueued still runs. Nobody can be told of a failure.
            let _ = self.context.call("cuStreamDestroy", || {
                // SAFETY: created here, and destroyed once.
                unsafe { sys::cuStreamDestroy_v2(self.raw) }
            });
        }
    }
}

/// A stream of a device.
pub(crate) struct CudaStream {
    shared: Arc<Shared>,
    pub(crate) queue: Queue,
    /// The kernels of the graph that is being captured, if one is.
    captured: Mutex<Option<Vec<&'static str>>>,
}

impl CudaStream {
    pub(crate) fn new(shared: &Arc<Shared>) -> Result<Self> {
        Ok(Self::of_queue(shared, Queue::new(&shared.context)?))
    }

    /// An engine's `CUstream` (a `cudaStream_t` is one), which outlives the wrapper.
    pub(crate) fn wrap(shared: &Arc<Shared>, native: u64) -> Self {
        Self::of_queue(shared, Queue::borrowed(&shared.context, native))
    }

    fn of_queue(shared: &Arc<Shared>, queue: Queue) -> Self {
        Self { shared: Arc::clone(shared), queue, captured: Mutex::new(None) }
    }

    /// The stream behind a trait object, if it is of the device that `shared` belongs to.
    pub(crate) fn of<'a>(stream: &'a dyn Stream, shared: &Arc<Shared>) -> Result<&'a Self> {
        let stream: &dyn Any = stream;
        match stream.downcast_ref::<Self>() {
            Some(stream) if Arc::ptr_eq(&stream.shared, shared) => Ok(stream),
            Some(_) => Err(Error::invalid("the stream is of another device than the plan")),
            None => Err(Error::invalid("the stream is not of the CUDA backend, and the plan is")),
        }
    }

    /// Enqueues a kernel with its one parameter.
    ///
    /// # Safety
    ///
    /// `parameter` points to what the kernel takes, and the addresses in it are valid until the stream has passed it.
    pub(crate) unsafe fn launch(
        &self,
        function: CUfunction,
        launch: &Launch,
        parameter: *mut c_void,
    ) -> Result<()> {
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block());
        let mut parameters = [parameter];
        let context = &self.shared.context;
        let name = launch.kernel.name;
        self.remember(name);
        let enqueued = context.call("cuLaunchKernel", || {
            // SAFETY: the parameter is read before the call returns; the rest is the caller's promise.
            unsafe {
                sys::cuLaunchKernel(
                    function,
                    gx,
                    gy,
                    gz,
                    bx,
                    by,
                    bz,
                    launch.shared_bytes,
                    self.queue.raw(),
                    parameters.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            }
        });
        enqueued.map_err(|error| error.within(format_args!("kernel `{name}`")))?;
        match self.shared.options.launches_synchronously {
            true => self.queue.synchronize(),
            false => Ok(()),
        }
    }

    /// Enqueues kernels that a graph has, as one.
    pub(crate) fn launch_graph(&self, graph: sys::CUgraphExec, kernels: &[&'static str]) -> Result<()> {
        for kernel in kernels {
            self.remember(kernel);
        }
        self.shared.context.call("cuGraphLaunch", || {
            // SAFETY: the graph lives; that its addresses are valid until the stream has passed it is the promise of
            // whoever launches.
            unsafe { sys::cuGraphLaunch(graph, self.queue.raw()) }
        })
    }

    /// A captured kernel does not run.
    fn remember(&self, kernel: &'static str) {
        match &mut *self.captured() {
            Some(captured) => captured.push(kernel),
            None => self.shared.context.faults.enqueued(self.queue.id(), kernel),
        }
    }

    fn captured(&self) -> impl std::ops::DerefMut<Target = Option<Vec<&'static str>>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for CudaStream {
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()> {
        self.queue.copy(Copy::ToDevice, to, from)
    }

    fn copy_to_host(&self, to: u64, from: Span) -> Result<()> {
        self.queue.copy(Copy::ToHost, to, from)
    }

    fn copy_on_device(&self, to: u64, from: Span) -> Result<()> {
        self.queue.copy(Copy::OnDevice, to, from)
    }

    fn fill(&self, to: Span, value: u8) -> Result<()> {
        self.queue.fill(to, value)
    }

    fn record(&self, event: &dyn Event) -> Result<()> {
        let event = CudaEvent::of(event)?;
        self.shared.context.call("cuEventRecord", || {
            // SAFETY: both live.
            unsafe { sys::cuEventRecord(event.raw, self.queue.raw()) }
        })?;
        event.recorded.store(true, Ordering::Release);
        Ok(())
    }

    fn wait(&self, event: &dyn Event) -> Result<()> {
        let event = CudaEvent::of(event)?;
        self.shared.context.call("cuStreamWaitEvent", || {
            // SAFETY: both live; an event that was never recorded is passed already.
            unsafe { sys::cuStreamWaitEvent(self.queue.raw(), event.raw, 0) }
        })
    }

    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        if let Some(timeout) = timeout
            && !wait_until(timeout, || self.queue.is_idle())?
        {
            return Err(Error::new(
                Status::Timeout,
                format!("the stream is not done after {timeout:?}; it goes on"),
            ));
        }
        self.queue.synchronize()
    }

    fn begin_capture(&self) -> Result<()> {
        if self.shared.options.launches_synchronously {
            return Err(Error::unsupported(
                "kernels are waited for, as option `launches` says, so that none can be captured in a graph",
            ));
        }
        self.shared.context.call("cuStreamBeginCapture", || {
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
            // SAFETY: the stream lives.
            unsafe { sys::cuStreamBeginCapture_v2(self.queue.raw(), mode) }
        })?;
        *self.captured() = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&self) -> Result<Arc<dyn Graph>> {
        let Some(kernels) = self.captured().take() else {
            return Err(Error::invalid("nothing is being captured on this stream"));
        };
        let mut graph = std::ptr::null_mut();
        self.shared.context.call("cuStreamEndCapture", || {
            // SAFETY: the stream lives, and the handle is ours.
            unsafe { sys::cuStreamEndCapture(self.queue.raw(), &raw mut graph) }
        })?;
        Ok(Arc::new(CudaGraph::new(&self.shared, graph, kernels)?))
    }
}

/// An event, which keeps the time.
pub(crate) struct CudaEvent {
    context: Arc<Context>,
    raw: CUevent,
    recorded: AtomicBool,
}

// SAFETY: the functions of the driver may be called from any thread, with any event.
unsafe impl Send for CudaEvent {}
// SAFETY: as above.
unsafe impl Sync for CudaEvent {}

impl CudaEvent {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        context.call("cuEventCreate", || {
            let flags = sys::CUevent_flags::CU_EVENT_DEFAULT as u32;
            // SAFETY: the handle is ours; it is destroyed when this is dropped.
            unsafe { sys::cuEventCreate(&raw mut raw, flags) }
        })?;
        Ok(Self { context: Arc::clone(context), raw, recorded: AtomicBool::new(false) })
    }

    fn of(event: &dyn Event) -> Result<&Self> {
        let event: &dyn Any = event;
        event.downcast_ref().ok_or_else(|| Error::invalid("the event is not of the CUDA backend"))
    }

    fn is_complete(&self) -> Result<bool> {
        // SAFETY: the event lives.
        is_done(self.context.call("cuEventQuery", || unsafe { sys::cuEventQuery(self.raw) }))
    }

    /// The event, once it was recorded and passed.
    fn passed(&self, which: &str) -> Result<CUevent> {
        if !self.recorded.load(Ordering::Acquire) {
            return Err(Error::invalid(format!("the {which} event was never recorded")));
        }
        match self.is_complete()? {
            true => Ok(self.raw),
            false => Err(Error::new(Status::NotReady, format!("the {which} event has not been passed yet"))),
        }
    }
}

impl Event for CudaEvent {
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        match timeout {
            Some(Duration::ZERO) if !self.is_complete()? => {
                return Err(Error::new(Status::NotReady, "the event has not been passed yet"));
            }
            Some(timeout) if !wait_until(timeout, || self.is_complete())? => {
                let text = format!("the event was not passed within {timeout:?}; the work goes on");
                return Err(Error::new(Status::Timeout, text));
            }
            _ => {}
        }
        // SAFETY: the event lives; one that was never recorded is passed already.
        self.context.call("cuEventSynchronize", || unsafe { sys::cuEventSynchronize(self.raw) })
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let (start, end) = (Self::of(earlier)?.passed("earlier")?, self.passed("later")?);
        let mut milliseconds = 0.0_f32;
        self.context.call("cuEventElapsedTime", || {
            // SAFETY: both live, and the number is ours.
            unsafe { sys::cuEventElapsedTime_v2(&raw mut milliseconds, start, end) }
        })?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3))
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        let _ = self.context.call("cuEventDestroy", || {
            // SAFETY: created once, and destroyed once. Nobody can be told of a failure.
            unsafe { sys::cuEventDestroy_v2(self.raw) }
        });
    }
}

/// An address of the host as the driver takes it.
fn pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

fn length(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error::invalid(format!("{bytes} bytes are more than memory has")))
}

/// The answer of a query.
fn is_done(answer: Result<()>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.status() == Status::NotReady => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks until it is so, or the time is over: the driver waits without end, or not at all.
fn wait_until(timeout: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(5);
    loop {
        if is_so()? {
            return Ok(true);
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}
