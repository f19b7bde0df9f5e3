//! What is judged: a loaded plugin with a device opened and a stream made.

use std::sync::Arc;

use mxhal_core::{Backend, Device, Error, Result, Status, Stream};
use mxhal_ffi::{Opening, Plugin};

/// A loaded plugin, one of its devices and a stream.
pub struct Subject {
    /// None while it is closed, and after it could not be opened again.
    open: Option<Open>,
    index: u32,
    alone: bool,
}

struct Open {
    // Dropped in this order: the stream before its device, the device before its plugin.
    stream: Box<dyn Stream>,
    device: Arc<dyn Device>,
    plugin: Plugin,
}

impl Open {
    fn new(plugin: Plugin, index: u32) -> Result<Self> {
        let device = plugin.open_device(index)?;
        let stream = device.create_stream()?;
        Ok(Self { stream, device, plugin })
    }
}

impl Subject {
    /// Opens a device of a plugin.
    ///
    /// # Errors
    ///
    /// Those of [`Backend::open_device`] and [`Device::create_stream`].
    pub fn new(plugin: Plugin, index: u32) -> Result<Self> {
        Ok(Self { open: Some(Open::new(plugin, index)?), index, alone: false })
    }

    /// The same in a process that runs nothing else, whose limits may be changed for a while: a worker.
    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    pub(crate) const fn is_alone(&self) -> bool {
        self.alone
    }

    /// Shuts the plugin down, has it opened and shut down in another way, and opens it again as it was.
    ///
    /// # Errors
    ///
    /// [`Status::DeviceLost`] where it cannot be opened again; then this subject is not to be used any more.
    pub(crate) fn while_closed<T>(&mut self, ask: impl FnOnce(&Opening) -> T) -> Result<T> {
        let Open { plugin, .. } = self.open.take().expect(OPEN);
        let opening = plugin.close().map_err(|plugin| {
            let error = Error::internal("a handle of the plugin is still alive, so that it is not shut down");
            self.open = Open::new(plugin, self.index).ok();
            error
        })?;
        let asked = ask(&opening);
        let lost = |error: &dyn std::fmt::Display| {
            Error::new(
                Status::DeviceLost,
                format!("after it was shut down it cannot be opened again: {error}"),
            )
        };
        let plugin = opening.open().map_err(|error| lost(&error))?;
        self.open = Some(Open::new(plugin, self.index).map_err(|error| lost(&error))?);
        Ok(asked)
    }

    /// The plugin, for suites that test the ABI itself.
    pub fn plugin(&self) -> &Plugin {
        &self.open().plugin
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.open().device
    }

    /// Which of the plugin's devices it is.
    pub const fn device_index(&self) -> u32 {
        self.index
    }

    /// The stream.
    pub fn stream(&self) -> &dyn Stream {
        &*self.open().stream
    }

    fn open(&self) -> &Open {
        self.open.as_ref().expect(OPEN)
    }
}

/// Why a subject is open when it is asked something.
const OPEN: &str = "whoever was told that it cannot be opened again asks nothing more";
