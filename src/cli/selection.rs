//! Which configuration, which backend and which device a command works with.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mxhal::{Config, Runtime};

/// The file that is read if none is named.
const DEFAULT_CONFIG: &str = "config.toml";

/// What of the configuration to use.
#[derive(Args, Debug)]
pub(super) struct Selection {
    /// The configuration [default: ./config.toml if there is one, else the embedded CPU backend]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Backend")]
    pub(super) config: Option<PathBuf>,

    /// A backend by name: a configured one, `cpu` (embedded), or libmxhal_NAME.so in the plugin folder; no fallback
    #[arg(long, value_name = "NAME", global = true, help_heading = "Backend")]
    pub(super) backend: Option<String>,

    /// Which of the backend's devices, from 0
    #[arg(long, value_name = "N", global = true, help_heading = "Backend")]
    pub(super) device: Option<u32>,
}

impl Selection {
    /// The configuration, with what the arguments change of it.
    pub(super) fn configuration(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(file) => Config::load(file)?,
            // A link to nothing is there too, and an error rather than another backend.
            None if fs::symlink_metadata(DEFAULT_CONFIG).is_ok() => Config::load(Path::new(DEFAULT_CONFIG))?,
            None => Config::default(),
        };
        if let Some(name) = &self.backend {
            config.backend = config.backend_named(name)?;
            config.fallback.clear();
        }
        if let Some(device) = self.device {
            config.backend.device = device;
        }
        Ok(config)
    }

    /// The chosen backend, loaded, with its device opened.
    pub(super) fn runtime(&self) -> anyhow::Result<Runtime> {
        Ok(Runtime::from_config_value(&self.configuration()?)?)
    }
}
