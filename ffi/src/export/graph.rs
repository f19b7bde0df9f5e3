//! The functions of `mxhal.ext.graph`, over core's traits.

use std::sync::Arc;

use mxhal_core::{Graph, Stream};

use super::guard;
use super::handle::{Kind, create, get, take};
use super::shim::{functions, put};
use crate::graph::{mxhal_graph, mxhal_graph_table};
use crate::sys::{mxhal_error, mxhal_stream};

impl Kind for Arc<dyn Graph> {
    type Raw = mxhal_graph;
    const NAME: &'static str = "graph";
    const TAG: [u8; 8] = *b"mxhal/gr";
}

static TABLE: mxhal_graph_table = mxhal_graph_table {
    struct_size: size_of::<mxhal_graph_table>() as u32,
    reserved: 0,
    capture_begin: Some(capture_begin),
    capture_end: Some(capture_end),
    graph_launch: Some(graph_launch),
    graph_destroy: Some(graph_destroy),
};

/// The address of the table of [`graph::NAME`](crate::graph::NAME), for a backend whose streams can be captured: what its
/// [`Backend::extension`](mxhal_core::Backend::extension) gives.
pub fn graph_table() -> u64 {
    crate::convert::address(&raw const TABLE)
}

functions! {
    fn capture_begin(stream: *mut mxhal_stream) {
        get::<Box<dyn Stream>>(stream)?.begin_capture()
    }

    fn capture_end(stream: *mut mxhal_stream, graph: *mut *mut mxhal_graph) {
        let stream = get::<Box<dyn Stream>>(stream)?;
        put("graph", graph, || stream.end_capture().map(create))
    }

    fn graph_launch(graph: *const mxhal_graph, stream: *mut mxhal_stream) {
        let graph = get::<Arc<dyn Graph>>(graph)?;
        graph.launch(&**get::<Box<dyn Stream>>(stream)?)
    }

    fn graph_destroy(graph: *mut mxhal_graph) {
        take::<Arc<dyn Graph>>(graph).map(drop)
    }
}
