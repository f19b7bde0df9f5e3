//! Every reason for which a plugin is refused.

use std::fmt;
use std::path::{Path, PathBuf};

use mxhal_core::Error;

use crate::host::Source;
use crate::identity::IdentityError;
use crate::inspect::{Class, InspectError, Machine, Needed};
use crate::sys;

/// Why a plugin was not loaded: what was seen, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no file that could be a library.
    #[error("{}: {error}", path.display())]
    File {
        /// As it was given, or canonical as far as it could be made so.
        path: PathBuf,
        /// What is there instead.
        error: InspectError,
    },
    /// Somebody else owns it, and whatever they write would run here.
    #[error(
        "{}: it belongs to user {owner}, and only a file of root or of this user ({user}) is loaded; \
         copy it, or set `security.policy = \"warn\"`",
        path.display()
    )]
    Owner {
        /// The plugin.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose process this is.
        user: u32,
    },
    /// Others than its owner may change it, and whatever they write would run here.
    #[error(
        "{}: {} is writable by {by} (mode {mode:04o}), so that others could change what is loaded; \
         `chmod {chmod} {}`, or set `security.policy = \"warn\"`",
        path.display(), what.display(), what.display()
    )]
    Writable {
        /// The plugin.
        path: PathBuf,
        /// The file, or the folder that it is in.
        what: PathBuf,
        /// Who may write.
        by: &'static str,
        /// The permissions.
        mode: u32,
        /// What takes them away.
        chmod: &'static str,
    },
    /// It is not the file that was pinned.
    #[error(
        "{}: its sha256 is {found}, and {wanted} is pinned; if the new file is the one that is wanted, pin that",
        path.display()
    )]
    Sha256 {
        /// The plugin.
        path: PathBuf,
        /// As pinned, in hexadecimal.
        wanted: String,
        /// As found, in hexadecimal.
        found: String,
    },
    /// Its addresses are not 64 bits wide.
    #[error("{}: it is a {class} library, and this process is 64-bit; a build for this machine is needed", path.display())]
    Class {
        /// The plugin.
        path: PathBuf,
        /// What it is.
        class: Class,
    },
    /// It is built for another processor.
    #[error(
        "{}: it is built for {}, and this process is {}; a build for this machine is needed",
        path.display(), in_words(*machine, *little_endian), Machine::HERE
    )]
    Machine {
        /// The plugin.
        path: PathBuf,
        /// What it is built for.
        machine: Machine,
        /// Its byte order.
        little_endian: bool,
    },
    /// It is an ELF file, and no shared library.
    #[error("{}: it is a program or an object file and not a shared library; link it with -shared", path.display())]
    NotShared {
        /// The plugin.
        path: PathBuf,
    },
    /// It does not export what makes a plugin.
    #[error("{}: it exports no {symbol}, so it is no mxhal plugin{}", path.display(), exports(exported))]
    Symbol {
        /// The plugin, or what should be one.
        path: PathBuf,
        /// What is missing.
        symbol: &'static str,
        /// What it exports.
        exported: Vec<String>,
    },
    /// Its identity is not well-formed.
    #[error("{plugin}: its mxhal_identity is not one: {error}")]
    Identity {
        /// The plugin.
        plugin: Source,
        /// What is wrong.
        error: IdentityError,
    },
    /// It was built for another major version of the ABI.
    #[error(
        "{}: it was built for major version {plugin} of the plugin ABI, and this host has {}; \
         build it with this host's mxhal.h", path.display(), sys::MXHAL_ABI_MAJOR
    )]
    AbiMajor {
        /// The plugin.
        path: PathBuf,
        /// Its major version.
        plugin: u32,
    },
    /// It needs a later minor version than this host has.
    #[error(
        "{}: it needs a host of version {major}.{least} of the plugin ABI or later, and this one has {major}.{}; \
         update mxhal, or take an older build of the plugin",
        path.display(), sys::MXHAL_ABI_MINOR, major = sys::MXHAL_ABI_MAJOR
    )]
    AbiTooNew {
        /// The plugin.
        path: PathBuf,
        /// The least minor version of a host that it runs on.
        least: u32,
    },
    /// The same version of the ABI, and other sizes or offsets.
    #[error(
        "{}: its structs are laid out otherwise (layout hash {plugin:#018x}, and this host's is {host:#018x}) though it \
         says the same version of the ABI; its mxhal.h was changed: build it with this host's", path.display()
    )]
    Layout {
        /// The plugin.
        path: PathBuf,
        /// Its hash.
        plugin: u64,
        /// This host's.
        host: u64,
    },
    /// It was built with a sanitizer that this process does not run under.
    #[error(
        "{}: it was built with {sanitizer}, which this process does not run under; \
         build it without, or run a host that is built with it", path.display()
    )]
    Sanitizer {
        /// The plugin.
        path: PathBuf,
        /// Which.
        sanitizer: String,
    },
    /// Libraries that it needs are not there.
    #[error("{}: {}", path.display(), Missing(missing))]
    MissingLibraries {
        /// The plugin.
        path: PathBuf,
        /// All of them: who needs each, and where it was looked for.
        missing: Vec<Needed>,
    },
    /// The dynamic linker refused it.
    #[error("{}: the dynamic linker refuses it: {text}", path.display())]
    Dlopen {
        /// The plugin.
        path: PathBuf,
        /// What it says.
        text: String,
    },
    /// What was loaded is not what was inspected.
    #[error("{}: {what} while it was being loaded; load it again when nobody changes it", path.display())]
    Changed {
        /// The plugin.
        path: PathBuf,
        /// What is not the same.
        what: &'static str,
    },
    /// The dynamic linker gave an earlier version of the file, which stays loaded.
    #[error(
        "{}: an earlier version of the file is loaded in this process and stays so; \
         start the process anew to load this one", path.display()
    )]
    Stale {
        /// The plugin.
        path: PathBuf,
    },
    /// It refused to open, in its own words.
    #[error("{plugin} does not open: {error}")]
    Open {
        /// The plugin.
        plugin: Source,
        /// Its error.
        error: Error,
    },
    /// It opened, and its table of functions cannot be used.
    #[error("{plugin}: {why}")]
    Table {
        /// The plugin.
        plugin: Source,
        /// Which function, and why.
        why: String,
    },
}

impl LoadError {
    /// Whether it is that others could change the file, which [`WritablePolicy::Warn`](super::WritablePolicy::Warn)
    /// allows.
    pub const fn is_about_permissions(&self) -> bool {
        matches!(self, Self::Owner { .. } | Self::Writable { .. })
    }

    /// The plugin's file; `None` for an embedded backend.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. }
            | Self::Owner { path, .. }
            | Self::Writable { path, .. }
            | Self::Sha256 { path, .. }
            | Self::Class { path, .. }
            | Self::Machine { path, .. }
            | Self::NotShared { path }
            | Self::Symbol { path, .. }
            | Self::AbiMajor { path, .. }
            | Self::AbiTooNew { path, .. }
            | Self::Layout { path, .. }
            | Self::Sanitizer { path, .. }
            | Self::MissingLibraries { path, .. }
            | Self::Dlopen { path, .. }
            | Self::Changed { path, .. }
            | Self::Stale { path } => Some(path),
            Self::Identity { plugin, .. } | Self::Open { plugin, .. } | Self::Table { plugin, .. } => {
                plugin.path()
            }
        }
    }
}

fn in_words(machine: Machine, little_endian: bool) -> String {
    if little_endian == cfg!(target_endian = "little") {
        machine.to_string()
    } else {
        format!("{machine} ({}-endian)", if little_endian { "little" } else { "big" })
    }
}

fn exports(exported: &[String]) -> String {
    const SHOWN: usize = 8;
    let names = exported.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match exported.len() {
        0 => "; it exports nothing at all".to_owned(),
        count if count > SHOWN => format!("; it exports {names} and {} more", count - SHOWN),
        _ => format!("; it exports {names}"),
    }
}

struct Missing<'a>(&'a [Needed]);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "a library that it needs is not there:")?,
            count => write!(f, "{count} libraries that it needs are not there:")?,
        }
        for Needed { name, needed_by, found } in self.0 {
            write!(f, "\n  {name}, needed by {}", needed_by.display())?;
            for (index, place) in found.as_ref().err().into_iter().flatten().enumerate() {
                write!(f, "{}{}", if index == 0 { "; tried " } else { ", " }, place.display())?;
            }
        }
        write!(f, "\ninstall them, or name their folders in LD_LIBRARY_PATH")
    }
}
