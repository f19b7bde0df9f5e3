//! The small backend of the tests as a library of its own.

#[path = "../backend/mod.rs"]
#[allow(dead_code, reason = "its constants are for the tests")]
mod backend;

mxhal_ffi::export_backend!(backend::Small);
