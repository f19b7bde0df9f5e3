//! The backend behind the C table: embedded, or as `libmxhal_cpu.so`.

use mxhal_core::Result;
use mxhal_ffi::export::{Host, PluginBackend};

use crate::Cpu;

impl PluginBackend for Cpu {
    const NAME: &'static str = "cpu";
    const VENDOR: &'static str = "mxhal";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn open(host: &Host<'_>) -> Result<Self> {
        Self::new(host.options())
    }
}
