//! What is judged: a loaded plugin with a device opened and a stream made.

use std::sync::Arc;

use mxhal_core::{Backend, Device, Result, Stream};
use mxhal_ffi::Plugin;

/// A loaded plugin, one of its devices and a stream.
pub struct Subject {
    // Dropped in this order: the stream before its device, the device before its plugin.
    stream: Box<dyn Stream>,
    device: Arc<dyn Device>,
    plugin: Plugin,
    index: u32,
}

impl Subject {
    /// Opens a device of a plugin.
    ///
    /// # Errors
    ///
    /// Those of [`Backend::open_device`] and [`Device::create_stream`].
    pub fn new(plugin: Plugin, index: u32) -> Result<Self> {
        let device = plugin.open_device(index)?;
        let stream = device.create_stream()?;
        Ok(Self { stream, device, plugin, index })
    }

    /// The plugin, for suites that test the ABI itself.
    pub const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The device.
    pub const fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Which of the plugin's devices it is.
    pub const fn device_index(&self) -> u32 {
        self.index
    }

    /// The stream.
    pub fn stream(&self) -> &dyn Stream {
        &*self.stream
    }
}
