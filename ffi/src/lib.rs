//! The plugin C ABI of mxhal: one header, and both of its sides.
//!
//! The contract is `include/mxhal.h`, made to be copied; the rules R1 to R9 that the documentation here speaks of are
//! at its beginning.
//!
//! | module | holds |
//! | --- | --- |
//! | [`sys`] | the header in Rust, generated |
//! | [`layout`] | sizes and offsets of what crosses, and their hash |
//! | [`identity`] | the constant data by which a plugin says who it is |
//! | [`convert`] | between core's values and the header's structs |
//! | [`inspect`] | a plugin's file, read without running it |
//! | [`loader`] | the gate: every reason to refuse a file, then `dlopen` |
//! | [`host`] | core's traits over a plugin's table |
//! | [`export`] | a Rust backend behind the table |
//! | [`graph`] | the extension `mxhal.ext.graph` |
//!
//! A host calls [`loader::load`] with a path, or [`embedded`] with a type, and gets a [`Plugin`] either way: an
//! [`mxhal_core::Backend`] that calls through the table. A backend in Rust implements
//! [`export::PluginBackend`] and calls [`export_backend!`]; a backend in C fills the table by hand. Neither knows what
//! is on the other side.
//!
//! Checks of a plugin's file are checks of integrity. They are no sandbox: a plugin that is loaded can do whatever the
//! process can.

#[cfg(not(all(target_pointer_width = "64", unix)))]
compile_error!("the plugin ABI is for 64-bit Unix platforms");

mod checks;
pub mod convert;
pub mod export;
pub mod graph;
pub mod host;
pub mod identity;
pub mod inspect;
pub mod layout;
pub mod loader;
pub mod sys;

pub use export::PluginBackend;
pub use host::{
    AbiVersions, HostOptions, HostTable, LogLevel, LogSink, OpenFunction, Opening, Plugin, Source, embedded,
};
pub use loader::LoadError;
