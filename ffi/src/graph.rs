//! The extension `mxhal.ext.graph`, as `include/mxhal_graph.h` has it.
//!
//! Through core's traits it is [`Stream::begin_capture`](mxhal_core::Stream::begin_capture),
//! [`Stream::end_capture`](mxhal_core::Stream::end_capture) and [`Graph::launch`](mxhal_core::Graph::launch), on both
//! sides: a backend implements them and gives the address of [`export::graph_table`](crate::export::graph_table) for
//! [`NAME`], and a loaded plugin's streams call its table.

#![allow(non_camel_case_types, reason = "the names are those of the header")]

use crate::sys::{mxhal_error, mxhal_stream};

/// What [`Backend::extension`](mxhal_core::Backend::extension) is asked for.
pub const NAME: &str = "mxhal.ext.graph";

/// The handle of a graph.
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_graph {
    _unused: [u8; 0],
}

/// The functions of the extension; each is documented in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each name is documented in the header")]
pub struct mxhal_graph_table {
    pub struct_size: u32,
    pub reserved: u32,
    pub capture_begin: Option<unsafe extern "C" fn(*mut mxhal_stream, *mut mxhal_error) -> i32>,
    pub capture_end:
        Option<unsafe extern "C" fn(*mut mxhal_stream, *mut *mut mxhal_graph, *mut mxhal_error) -> i32>,
    pub graph_launch:
        Option<unsafe extern "C" fn(*const mxhal_graph, *mut mxhal_stream, *mut mxhal_error) -> i32>,
    pub graph_destroy: Option<unsafe extern "C" fn(*mut mxhal_graph, *mut mxhal_error) -> i32>,
}
