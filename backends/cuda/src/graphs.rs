//! Graphs: what was enqueued on a stream while it was captured, to be launched at once and often.

use std::sync::Arc;

use mxhal_core::{Graph, Result, Stream};

use crate::device::Shared;
use crate::stream::CudaStream;
use crate::sys::{self, CUgraph, CUgraphExec};

/// A graph that was captured and made ready.
pub(crate) struct CudaGraph {
    shared: Arc<Shared>,
    raw: CUgraphExec,
    /// For whoever asks which kernel failed.
    kernels: Vec<&'static str>,
}

// SAFETY: the functions of the driver may be called from any thread; a graph is launched by one at a time, as its stream is.
unsafe impl Send for CudaGraph {}
// SAFETY: as above; the driver orders launches of one graph.
unsafe impl Sync for CudaGraph {}

impl CudaGraph {
    /// Makes a captured graph ready; the graph is taken.
    pub(crate) fn new(shared: &Arc<Shared>, captured: CUgraph, kernels: Vec<&'static str>) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        let made = shared.context.call("cuGraphInstantiate", || {
            // SAFETY: the graph was captured, and the handle is ours.
            unsafe { sys::cuGraphInstantiateWithFlags(&raw mut raw, captured, 0) }
        });
        let destroyed = shared.context.call("cuGraphDestroy", || {
            // SAFETY: what was made of it does not need it any more.
            unsafe { sys::cuGraphDestroy(captured) }
        });
        made?;
        let graph = Self { shared: Arc::clone(shared), raw, kernels };
        destroyed.map(|()| graph)
    }
}

impl Graph for CudaGraph {
    fn launch(&self, stream: &dyn Stream) -> Result<()> {
        CudaStream::of(stream, &self.shared)?.launch_graph(self.raw, &self.kernels)
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        let _ = self.shared.context.call("cuGraphExecDestroy", || {
            // SAFETY: made once, and destroyed once; launches under way keep what they need.
            unsafe { sys::cuGraphExecDestroy(self.raw) }
        });
    }
}
