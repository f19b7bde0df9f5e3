//! A backend as small as one can be: it quantizes float32 rows, in host memory, and misbehaves where a test asks for it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mxhal_core::format::quantize_row;
use mxhal_core::op::Quantize;
use mxhal_core::{
    Backend, Device, DeviceInfo, Error, Event, Format, Graph, HostBuffer, HostTensor, Identity, MemoryInfo,
    Op, Plan, PlanInfo, Properties, Reason, Refusal, Result, Span, Status, Stream, Support, Tensor, Weights,
    WeightsDesc,
};
use mxhal_ffi::export::{Host, Logger, PluginBackend};
use mxhal_ffi::{LogLevel, convert};

/// What is alive, over all tests of a process.
pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Rows for which a plan panics when it runs.
pub(crate) const PANICS: usize = 13;

/// Rows for which a plan panics when it is dropped.
pub(crate) const PANICS_WHEN_DROPPED: usize = 14;

/// What each run needs besides its tensors.
pub(crate) const WORKSPACE: u64 = 64;

/// Counts what is alive.
struct Alive;

impl Alive {
    fn new() -> Self {
        LIVE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Small {
    identity: Identity,
    logger: Logger,
    _alive: Alive,
}

impl PluginBackend for Small {
    const NAME: &'static str = "small";
    const VENDOR: &'static str = "the tests of mxhal-ffi";
    const VERSION: &'static str = "0.0.1";

    fn open(host: &Host<'_>) -> Result<Self> {
        for (key, value) in host.options() {
            match key.as_str() {
                "fail" => return Err(Error::new(Status::Unavailable, value.clone()).with_vendor_code(-3)),
                "panic" => panic!("asked to panic: {value}"),
                _ => host.logger().log(LogLevel::Debug, "open", &format!("{key}={value}")),
            }
        }
        let identity =
            Identity { name: Self::NAME.into(), vendor: Self::VENDOR.into(), version: Self::VERSION.into() };
        Ok(Self { identity, logger: host.logger(), _alive: Alive::new() })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.logger.log(LogLevel::Info, "shutdown", "bye\0bye");
    }
}

impl Backend for Small {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn device_count(&self) -> Result<u32> {
        Ok(2)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        if index >= 2 {
            return Err(Error::invalid(format!("device {index} was asked for, and there are 2")));
        }
        Ok(Arc::new(SmallDevice { memory: Mutex::default(), _alive: Alive::new() }))
    }

    fn extension(&self, name: &str) -> Option<u64> {
        match name {
            "mxhal.ext.test" => Some(0x1234),
            "mxhal.ext.panic" => panic!("asked to panic"),
            mxhal_ffi::graph::NAME => Some(mxhal_ffi::export::graph_table()),
            _ => None,
        }
    }
}

struct SmallDevice {
    memory: Mutex<HashMap<u64, Vec<u64>>>,
    _alive: Alive,
}

impl Device for SmallDevice {
    fn info(&self) -> Result<DeviceInfo> {
        Ok(DeviceInfo {
            name: "small".into(),
            alignment: 8,
            units: 1,
            memory_bytes: 1 << 20,
            ..DeviceInfo::default()
        })
    }

    fn memory(&self) -> Result<MemoryInfo> {
        Ok(MemoryInfo { free: 1000, total: 1 << 20 })
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        if bytes > 1 << 20 {
            return Err(Error::new(
                Status::OutOfMemory,
                format!("{bytes} bytes are wanted, and 1048576 are there"),
            ));
        }
        let mut words = vec![0; (bytes as usize).div_ceil(8).max(1)];
        let address = convert::address::<u64>(words.as_mut_ptr());
        self.memory.lock().unwrap().insert(address, words);
        Ok(address)
    }

    fn free(&self, address: u64) -> Result<()> {
        match self.memory.lock().unwrap().remove(&address) {
            None if address != 0 => Err(Error::invalid(format!("{address:#x} was not allocated here"))),
            _ => Ok(()),
        }
    }

    fn allocate_host(&self, bytes: u64) -> Result<u64> {
        self.allocate(bytes)
    }

    fn free_host(&self, address: u64) -> Result<()> {
        self.free(address)
    }

    fn create_stream(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(SmallStream { captured: Mutex::new(None), _alive: Alive::new() }))
    }

    fn create_event(&self) -> Result<Arc<dyn Event>> {
        Ok(Arc::new(SmallEvent { mark: Mutex::new(None), _alive: Alive::new() }))
    }

    fn supports(&self, op: &Op) -> Result<Support> {
        Ok(match op {
            Op::Quantize(Quantize { input: Format::F32, .. }) => {
                Support::Yes(Properties { run_to_run: true, ..Properties::default() })
            }
            Op::Quantize(op) => Support::no(Reason::Format, format!("{} is not read here; f32 is", op.input)),
            other => Support::no(Reason::Operator, format!("{} is not offered here", other.kind())),
        })
    }

    fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
        match (self.supports(op)?, op) {
            (Support::Yes(_), Op::Quantize(op)) => Ok(Box::new(SmallPlan {
                op: *op,
                info: PlanInfo { workspace_bytes: WORKSPACE, kernel: "a loop".into() },
                _alive: Alive::new(),
            })),
            (Support::No(refusal), _) => Err(refusal.to_error()),
            (Support::Yes(_), _) => unreachable!("only quantize is supported"),
        }
    }

    fn prepare_weights(&self, desc: &WeightsDesc, parts: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
        if !desc.format.is_block_scaled() {
            return Err(
                Refusal { reason: Reason::Format, text: "weights have scales here".into() }.to_error()
            );
        }
        let mut buffer = HostBuffer::zeroed(desc.layout()?);
        buffer.data = parts.iter().flat_map(|part| part.data().to_vec()).collect();
        buffer.scales = parts.iter().flat_map(|part| part.scales().to_vec()).collect();
        Ok(Arc::new(SmallWeights { desc: *desc, buffer, _alive: Alive::new() }))
    }
}

struct SmallStream {
    /// The fills of the graph that is being captured; nothing else is.
    captured: Mutex<Option<Vec<(Span, u8)>>>,
    _alive: Alive,
}

struct SmallGraph {
    fills: Vec<(Span, u8)>,
    _alive: Alive,
}

impl Graph for SmallGraph {
    fn launch(&self, stream: &dyn Stream) -> Result<()> {
        self.fills.iter().try_for_each(|(to, value)| stream.fill(*to, *value))
    }
}

/// # Safety
///
/// The span is host memory of this process, which is true of everything that `SmallDevice` allocates.
unsafe fn slice<'a>(span: Span) -> &'a mut [u8] {
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts_mut(convert::pointer(span.address), span.bytes as usize) }
}

impl Stream for SmallStream {
    fn copy_to_device(&self, to: u64, from: Span) -> Result<()> {
        if from.bytes > 0 {
            // SAFETY: addresses of this device and of the host are both of this process.
            unsafe { slice(Span { address: to, ..from }).copy_from_slice(slice(from)) };
        }
        Ok(())
    }

    fn copy_to_host(&self, to: u64, from: Span) -> Result<()> {
        self.copy_to_device(to, from)
    }

    fn copy_on_device(&self, to: u64, from: Span) -> Result<()> {
        self.copy_to_device(to, from)
    }

    fn fill(&self, to: Span, value: u8) -> Result<()> {
        if let Some(captured) = &mut *self.captured.lock().unwrap() {
            captured.push((to, value));
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { slice(to).fill(value) };
        Ok(())
    }

    fn record(&self, event: &dyn Event) -> Result<()> {
        let event = (event as &dyn Any).downcast_ref::<SmallEvent>().expect("events are made here");
        *event.mark.lock().unwrap() = Some(Instant::now());
        Ok(())
    }

    fn wait(&self, _: &dyn Event) -> Result<()> {
        Ok(())
    }

    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        match timeout {
            Some(time) if time < Duration::from_nanos(2) => {
                Err(Error::new(Status::Timeout, format!("not in {time:?}")))
            }
            _ => Ok(()),
        }
    }

    fn begin_capture(&self) -> Result<()> {
        match self.captured.lock().unwrap().replace(Vec::new()) {
            None => Ok(()),
            Some(_) => Err(Error::invalid("the stream is being captured already")),
        }
    }

    fn end_capture(&self) -> Result<Arc<dyn Graph>> {
        match self.captured.lock().unwrap().take() {
            Some(fills) => Ok(Arc::new(SmallGraph { fills, _alive: Alive::new() })),
            None => Err(Error::invalid("nothing is being captured")),
        }
    }
}

struct SmallEvent {
    mark: Mutex<Option<Instant>>,
    _alive: Alive,
}

impl Event for SmallEvent {
    fn synchronize(&self, timeout: Option<Duration>) -> Result<()> {
        match timeout {
            Some(Duration::ZERO) => Err(Error::new(Status::NotReady, "it takes its time")),
            _ => Ok(()),
        }
    }

    fn elapsed_since(&self, earlier: &dyn Event) -> Result<Duration> {
        let earlier = (earlier as &dyn Any).downcast_ref::<Self>().expect("events are made here");
        match (*earlier.mark.lock().unwrap(), *self.mark.lock().unwrap()) {
            (Some(from), Some(to)) => Ok(to.duration_since(from)),
            _ => Err(Error::invalid("an event was never recorded")),
        }
    }
}

struct SmallPlan {
    op: Quantize,
    info: PlanInfo,
    _alive: Alive,
}

impl Drop for SmallPlan {
    fn drop(&mut self) {
        assert!(self.op.rows != PANICS_WHEN_DROPPED, "asked to panic when dropped");
    }
}

impl Plan for SmallPlan {
    fn info(&self) -> &PlanInfo {
        &self.info
    }

    fn run(
        &self,
        _: &dyn Stream,
        tensors: &[Option<Tensor>],
        _: &[&dyn Weights],
        workspace: Span,
    ) -> Result<()> {
        assert!(workspace.bytes >= WORKSPACE, "the shim checks it");
        let [Some(x), Some(y)] = tensors else { panic!("the shim checks it") };
        let (rows, k) = (x.layout().rows(), x.layout().columns());
        assert!(rows != PANICS, "asked to panic with {rows} rows");
        let format = self.op.to.format;
        // SAFETY: the tensors lie in memory of this device, which is this process's.
        let (x, data, scales) = unsafe { (slice(x.data()), slice(y.data()), slice(y.scales())) };
        for row in 0..rows {
            let x: Vec<f32> =
                x[row * k * 4..][..k * 4].as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect();
            let (bytes, count) = (format.row_bytes(k), format.row_scales(k));
            quantize_row(
                &self.op.to,
                &x,
                &mut data[row * bytes..][..bytes],
                &mut scales[row * count..][..count],
            );
        }
        Ok(())
    }
}

struct SmallWeights {
    desc: WeightsDesc,
    buffer: HostBuffer,
    _alive: Alive,
}

impl Weights for SmallWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        (self.buffer.data.len() + self.buffer.scales.len()) as u64
    }

    fn export(&self) -> Result<HostBuffer> {
        Ok(self.buffer.clone())
    }
}
