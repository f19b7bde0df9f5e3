//! The backend behind the C table, as `libmxhal_cuda.so`.

use mxhal_core::Result;
use mxhal_ffi::export::{Host, PluginBackend};

use crate::{Cuda, Options};

impl PluginBackend for Cuda {
    const NAME: &'static str = "cuda";
    const VENDOR: &'static str = "mxhal";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn open(host: &Host<'_>) -> Result<Self> {
        Ok(Self::new(Options::parse(host.options())?).with_logger(host.logger()))
    }
}
