//! Graphs over a plugin's `mxhal.ext.graph`.

use std::ptr::NonNull;
use std::sync::Arc;

use mxhal_core::{Error, Graph, Result, Stream};

use super::Loaded;
use super::device::OpenDevice;
use super::stream::PluginStream;
use crate::convert::{empty, pointer, taken};
use crate::graph::{NAME, mxhal_graph, mxhal_graph_table};
use crate::sys::{mxhal_error, mxhal_stream};

/// The extension's functions, each known to be there.
#[derive(Clone, Copy)]
pub(super) struct GraphTable {
    capture_begin: unsafe extern "C" fn(*mut mxhal_stream, *mut mxhal_error) -> i32,
    capture_end: unsafe extern "C" fn(*mut mxhal_stream, *mut *mut mxhal_graph, *mut mxhal_error) -> i32,
    graph_launch: unsafe extern "C" fn(*const mxhal_graph, *mut mxhal_stream, *mut mxhal_error) -> i32,
    graph_destroy: unsafe extern "C" fn(*mut mxhal_graph, *mut mxhal_error) -> i32,
}

impl GraphTable {
    /// # Errors
    ///
    /// [`Status::Unsupported`](mxhal_core::Status::Unsupported) where the plugin does not offer it.
    pub(super) fn of(loaded: &Loaded) -> Result<Self> {
        let Some(table) = loaded.extension(NAME) else {
            return Err(Error::unsupported(format!("the backend has no graphs: it does not offer {NAME}")));
        };
        let table = pointer::<mxhal_graph_table>(table);
        // SAFETY: a table begins with its size, and lives as long as the plugin.
        let bytes = unsafe { (&raw const (*table).struct_size).read() } as usize;
        let wanted = size_of::<mxhal_graph_table>();
        let incomplete =
            || Error::internal(format!("the backend's {NAME} has {bytes} bytes or a null, not {wanted}"));
        if bytes < wanted {
            return Err(incomplete());
        }
        // SAFETY: it has as many bytes.
        let table = unsafe { table.read() };
        Ok(Self {
            capture_begin: table.capture_begin.ok_or_else(incomplete)?,
            capture_end: table.capture_end.ok_or_else(incomplete)?,
            graph_launch: table.graph_launch.ok_or_else(incomplete)?,
            graph_destroy: table.graph_destroy.ok_or_else(incomplete)?,
        })
    }

    pub(super) fn begin(&self, stream: *mut mxhal_stream) -> Result<()> {
        // SAFETY: the stream lives.
        call("capture_begin", |error| unsafe { (self.capture_begin)(stream, error) })
    }

    pub(super) fn end(&self, device: &Arc<OpenDevice>, stream: *mut mxhal_stream) -> Result<PluginGraph> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the stream lives, and the handle's place is ours.
        call("capture_end", |error| unsafe { (self.capture_end)(stream, &raw mut handle, error) })?;
        match NonNull::new(handle) {
            Some(handle) => Ok(PluginGraph { device: Arc::clone(device), table: *self, handle }),
            None => Err(Error::internal("capture_end returned success and a null handle")),
        }
    }
}

/// A graph that a plugin captured.
pub(super) struct PluginGraph {
    device: Arc<OpenDevice>,
    table: GraphTable,
    handle: NonNull<mxhal_graph>,
}

// SAFETY: by R7 the functions of a device may be called from any thread; who launches a graph does so one at a time.
unsafe impl Send for PluginGraph {}
// SAFETY: as above.
unsafe impl Sync for PluginGraph {}

impl Graph for PluginGraph {
    fn launch(&self, stream: &dyn Stream) -> Result<()> {
        let stream = PluginStream::of(stream, &self.device)?;
        // SAFETY: both live, and the same device made them.
        call("graph_launch", |error| unsafe {
            (self.table.graph_launch)(self.handle.as_ptr(), stream, error)
        })
    }
}

impl Drop for PluginGraph {
    fn drop(&mut self) {
        // SAFETY: the graph was created and not destroyed before.
        let destroyed =
            call("graph_destroy", |error| unsafe { (self.table.graph_destroy)(self.handle.as_ptr(), error) });
        if let Err(error) = destroyed {
            tracing::warn!(target: "mxhal::plugin", "graph_destroy: {error}");
        }
    }
}

/// Calls a function of the table with an error of ours.
fn call(function: &str, call: impl FnOnce(*mut mxhal_error) -> i32) -> Result<()> {
    let mut error: mxhal_error = empty();
    let status = call(&raw mut error);
    taken(function, status, &error)
}
