//! From a [`Config`] to an opened device.
//!
//! A backend is never chosen silently: if the one that `[backend]` names cannot be used, that is an error, unless there
//! is a `fallback`; and if one of those is taken, a warning says so, and [`Runtime::report`] says why.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mxhal_core::{Backend, Device};
use mxhal_ffi::loader::{self, LoadError, Policy, WritablePolicy};
use mxhal_ffi::{HostOptions, Plugin};

use crate::config::{BackendConfig, Config, ConfigError, InvalidName, Library, SecurityPolicy};

/// A loaded backend and its opened device.
///
/// ```
/// use mxhal::Runtime;
///
/// let runtime = Runtime::embedded_cpu()?;
/// assert_eq!(runtime.backend().identity().name, "cpu");
/// assert!(runtime.device().info()?.units > 0);
/// assert!(!runtime.report().is_fallback());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    // Dropped in this order: the device before its backend.
    device: Arc<dyn Device>,
    backend: Arc<dyn Backend>,
    report: Report,
}

impl Runtime {
    /// Loads what a `config.toml` says.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Config`], and those of [`Self::from_config_value`].
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::from_config_value(&Config::load(path.as_ref())?)
    }

    /// Loads the backend of a configuration and opens its device; if it cannot be used, tries the fallbacks in order.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::NoBackend`] with everything that was tried.
    pub fn from_config_value(config: &Config) -> Result<Self, RuntimeError> {
        let mut refused = Vec::new();
        for name in std::iter::once(&config.backend.name).chain(&config.fallback) {
            let (library, error) = match config.backend_named(name) {
                Ok(backend) => match open(config, &backend) {
                    Ok((plugin, device)) => {
                        return Ok(Self::taken(config, &backend, plugin, device, refused));
                    }
                    Err(error) => (library_path(config, &backend).ok().flatten(), error),
                },
                Err(error) => (None, BackendError::Name(error)),
            };
            refused.push(Refused { name: name.clone(), library, error });
        }
        Err(RuntimeError::NoBackend(refused))
    }

    /// The CPU backend that is part of this program, with as many threads as the machine runs at once.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::NoBackend`], when its threads cannot be started.
    pub fn embedded_cpu() -> Result<Self, RuntimeError> {
        Self::from_config_value(&Config::default())
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The device that was opened. The operators are methods of it, by
    /// [`Operators`](mxhal_core::op::Operators).
    pub const fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// What was tried, and what was taken.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    fn taken(
        config: &Config,
        backend: &BackendConfig,
        plugin: Plugin,
        device: Arc<dyn Device>,
        refused: Vec<Refused>,
    ) -> Self {
        for refused in &refused {
            tracing::warn!("{refused}");
        }
        if !refused.is_empty() {
            tracing::warn!("fallback: backend `{}` is used", backend.name);
        }
        let library = library_path(config, backend).ok().flatten();
        let report = Report { name: backend.name.clone(), library, device: backend.device, refused };
        tracing::info!("{report}");
        Self { device, backend: Arc::new(plugin), report }
    }
}

/// What was tried, and what was taken.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The name of the backend that was taken, as in the configuration.
    pub name: String,
    /// Its file; `None` for the embedded one.
    pub library: Option<PathBuf>,
    /// Which of its devices was opened.
    pub device: u32,
    /// The backends that were to be used rather, in the order in which they were tried.
    pub refused: Vec<Refused>,
}

impl Report {
    /// Whether what was taken is not what `[backend]` names.
    pub fn is_fallback(&self) -> bool {
        !self.refused.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refused in &self.refused {
            writeln!(f, "{refused}")?;
        }
        let fallback = if self.is_fallback() { ", a fallback" } else { "" };
        write!(f, "backend {}, device {}{fallback}", Named(&self.name, self.library.as_deref()), self.device)
    }
}

/// A backend that could not be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Its file; `None` for the embedded one, and where none could be named.
    pub library: Option<PathBuf>,
    /// Why.
    pub error: BackendError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the loader says names the file already.
        let library = self.library.as_deref().filter(|_| !matches!(self.error, BackendError::Load(_)));
        write!(f, "backend {} cannot be used: {}", Named(&self.name, library), self.error)
    }
}

/// A backend's name with its file.
struct Named<'a>(&'a str, Option<&'a Path>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(library) => write!(f, "`{}` ({})", self.0, library.display()),
            None => write!(f, "`{}`", self.0),
        }
    }
}

/// Why a backend cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),

    /// The plugin folder is that of the executable, which the operating system does not tell.
    #[error("the folder of the executable is not known ({0}); set `folder` in [plugins]")]
    NoPluginFolder(io::Error),

    /// The loader refused it.
    #[error(transparent)]
    Load(#[from] LoadError),

    /// It does not know its devices: a driver is absent, say.
    #[error("it cannot say which devices there are: {0}")]
    Count(mxhal_core::Error),

    /// It has no such device.
    #[error("{}", no_device(*.wanted, *.count))]
    NoDevice {
        /// The device that was asked for.
        wanted: u32,
        /// How many there are.
        count: u32,
    },

    /// The device cannot be opened.
    #[error("device {device} cannot be opened: {error}")]
    Open {
        /// Which.
        device: u32,
        /// Why.
        error: mxhal_core::Error,
    },
}

fn no_device(wanted: u32, count: u32) -> String {
    match count {
        0 => "it has no device".to_owned(),
        1 => format!("it has no device {wanted}; it has one, device 0"),
        _ => format!("it has no device {wanted}; it has {count}, devices 0 to {}", count - 1),
    }
}

impl BackendError {
    /// Whether the backend itself was loaded, and only a device is lacking.
    pub const fn is_about_device(&self) -> bool {
        matches!(self, Self::Count(_) | Self::NoDevice { .. } | Self::Open { .. })
    }
}

/// Why there is no [`Runtime`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// Nothing of what may be used can be.
    #[error("{}", tried(.0))]
    NoBackend(
        /// What was tried, in order.
        Vec<Refused>,
    ),
}

fn tried(refused: &[Refused]) -> String {
    match refused {
        [only] => only.to_string(),
        all => {
            let lines: Vec<String> = all
                .iter()
                .enumerate()
                .map(|(index, refused)| format!("\n  {}. {refused}", index + 1))
                .collect();
            format!("no backend can be used; tried, in this order:{}", lines.concat())
        }
    }
}

/// The file of a backend; `None` for the embedded one. Whether it exists is not looked at.
///
/// # Errors
///
/// [`BackendError::NoPluginFolder`].
pub fn library_path(config: &Config, backend: &BackendConfig) -> Result<Option<PathBuf>, BackendError> {
    match &backend.library {
        Library::Embedded => Ok(None),
        Library::File(path) => Ok(Some(path.clone())),
        Library::InPluginFolder => {
            let folder = match &config.plugin_folder {
                Some(folder) => folder.clone(),
                None => executable_folder().map_err(BackendError::NoPluginFolder)?,
            };
            Ok(Some(folder.join(format!("libmxhal_{}.so", backend.name))))
        }
    }
}

/// Loads one backend of a configuration, and opens nothing.
///
/// # Errors
///
/// [`BackendError::NoPluginFolder`] and [`BackendError::Load`].
pub fn load_backend(config: &Config, backend: &BackendConfig) -> Result<Plugin, BackendError> {
    let options = HostOptions { options: backend.options.clone(), ..HostOptions::default() };
    Ok(match library_path(config, backend)? {
        None => mxhal_ffi::embedded::<mxhal_cpu::Cpu>(&options)?,
        Some(library) => loader::load(&library, &policy(config, backend), &options)?,
    })
}

/// What the loader demands of a backend's file.
pub fn policy(config: &Config, backend: &BackendConfig) -> Policy {
    let writable = match config.security {
        SecurityPolicy::Strict => WritablePolicy::Deny,
        SecurityPolicy::Warn => WritablePolicy::Warn,
    };
    Policy { writable, sha256: backend.sha256 }
}

fn open(config: &Config, backend: &BackendConfig) -> Result<(Plugin, Arc<dyn Device>), BackendError> {
    let plugin = load_backend(config, backend)?;
    let (wanted, count) = (backend.device, plugin.device_count().map_err(BackendError::Count)?);
    if wanted >= count {
        return Err(BackendError::NoDevice { wanted, count });
    }
    let device = plugin.open_device(wanted).map_err(|error| BackendError::Open { device: wanted, error })?;
    Ok((plugin, device))
}

fn executable_folder() -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    executable.parent().map(Path::to_owned).ok_or_else(|| io::Error::other("it is in none"))
}
