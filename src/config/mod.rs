//! `config.toml`: which backend does the work, and how it is loaded.
//!
//! [`Config::parse`] is a pure function from text to a [`Config`]: it opens no file and reads no environment
//! variable. What is wrong with a text is a [`ConfigError`] that points at the line and column. Whether the named
//! library exists, and is what it should be, is seen when a [`Runtime`](crate::Runtime) loads it.
//!
//! ```
//! use mxhal::config::{Config, Library};
//!
//! let text = r#"
//!     [backend]
//!     name = "cuda"
//!     library = "lib/libmxhal_cuda.so"
//!     fallback = ["cpu"]
//! "#;
//! let config = Config::parse(text, "/opt/engine/config.toml".as_ref())?;
//! assert_eq!(config.backend.library, Library::File("/opt/engine/lib/libmxhal_cuda.so".into()));
//! assert_eq!(config.fallback, ["cpu"]);
//!
//! let error = Config::parse("[backend]\nnmae = \"cuda\"", "config.toml".as_ref()).unwrap_err();
//! assert!(error.to_string().starts_with("config.toml:2:1: unknown key `nmae` in [backend]"));
//! # Ok::<_, mxhal::ConfigError>(())
//! ```
//!
//! Every key is described in `docs/config.md`.

mod error;
mod parse;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::{ConfigError, Place, Problem};

/// The name of the backend that is part of the program.
pub const EMBEDDED: &str = "cpu";

/// What `config.toml` says. The default is the embedded CPU backend and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The file that it was read from, for messages.
    pub file: Option<PathBuf>,
    /// The backend to use: `[backend]`.
    pub backend: BackendConfig,
    /// Names of the backends to try, in this order, when [`Self::backend`] cannot be used: `backend.fallback`.
    pub fallback: Vec<String>,
    /// Further backends, found by name: `[[backends]]`.
    pub others: Vec<BackendConfig>,
    /// Where `libmxhal_NAME.so` is looked for; `None` for the folder of the executable: `plugins.folder`.
    pub plugin_folder: Option<PathBuf>,
    /// What becomes of a library that others could have written to: `security.policy`.
    pub security: SecurityPolicy,
}

/// One backend: a table `[backend]` or `[[backends]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendConfig {
    /// What it is called here, in `fallback` and on the command line: letters, digits, `-` and `_`.
    pub name: String,
    /// Where its code is.
    pub library: Library,
    /// Which of its devices to open, from 0.
    pub device: u32,
    /// What the SHA-256 digest of the library must be, if that is pinned.
    pub sha256: Option<[u8; 32]>,
    /// Passed to the backend as they are: `[backend.options]`, in order of name.
    pub options: Vec<(String, String)>,
}

/// Where the code of a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Library {
    /// In this program: the CPU backend.
    Embedded,
    /// In `libmxhal_NAME.so` in the plugin folder.
    InPluginFolder,
    /// In this file.
    File(PathBuf),
}

/// What becomes of a library that others than its owner could have written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityPolicy {
    /// It is refused.
    #[default]
    Strict,
    /// It is loaded, with a warning.
    Warn,
}

impl Config {
    /// Reads and parses a file. Relative paths in it are relative to its folder, wherever the process is.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] and [`Problem::NotUtf8`], and those of [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let cannot_read = |source| ConfigError::without_place(path, Problem::Read(source));
        let bytes = fs::read(path).map_err(cannot_read)?;
        let folder_known = std::path::absolute(path).map_err(cannot_read)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| ConfigError::not_utf8(path, &bytes, error))?;
        let config = Self::parse(text, &folder_known).map_err(|error| error.in_file(path))?;
        Ok(Self { file: Some(path.to_owned()), ..config })
    }

    /// Parses a text. `path` is the file that it came from: for messages, and because relative paths in it are
    /// relative to that file's folder. Nothing is read.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        parse::config(text, path)
    }

    /// The backend of this name: the one configured so, else the embedded one for [`EMBEDDED`], else the one in the
    /// plugin folder.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn backend_named(&self, name: &str) -> Result<BackendConfig, InvalidName> {
        match self.configured().find(|backend| backend.name == name) {
            Some(backend) => Ok(backend.clone()),
            None => BackendConfig::new(name),
        }
    }

    /// Every backend that is configured, [`Self::backend`] first.
    pub fn configured(&self) -> impl Iterator<Item = &BackendConfig> {
        std::iter::once(&self.backend).chain(&self.others)
    }
}

impl BackendConfig {
    /// The backend of this name: the embedded one for [`EMBEDDED`], any other in the plugin folder.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return Err(InvalidName(name.to_owned()));
        }
        let library = if name == EMBEDDED { Library::Embedded } else { Library::InPluginFolder };
        Ok(Self { name: name.to_owned(), library, device: 0, sha256: None, options: Vec::new() })
    }

    /// The backend in this file, under this name.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn in_file(name: &str, library: impl Into<PathBuf>) -> Result<Self, InvalidName> {
        Ok(Self { library: Library::File(library.into()), ..Self::new(name)? })
    }
}

impl Default for BackendConfig {
    /// The embedded CPU backend.
    fn default() -> Self {
        Self::new(EMBEDDED).expect("the name of the embedded backend is a name")
    }
}

/// A name that no backend can have, since it could not be part of a file's name: empty, or with something else than
/// letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a backend's name: expected ASCII letters, digits, `-` and `_`, such as `cuda`; the path of a \
     library goes into `library`"
)]
pub struct InvalidName(
    /// What was given.
    pub String,
);
