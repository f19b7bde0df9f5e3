//! A plugin's file, read without running it: what it is built for, what it exports and needs, and who it says it is.
//!
//! Nothing is judged here: a library for another machine is inspected as far as it can be. What is refused, and why, is
//! the business of the [`loader`](crate::loader).

mod cache;
mod elf;
mod search;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::identity::{IDENTITY_SYMBOL, Identity, IdentityError};
use elf::Elf;

/// What a file was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// 32 or 64 bits.
    pub class: Class,
    /// Whether numbers in it have their lowest byte first.
    pub little_endian: bool,
    /// The processor that it is built for.
    pub machine: Machine,
    /// Whether it is a shared library, and not a program or an object file. (A position-independent program looks the
    /// same.)
    pub is_shared_object: bool,
    /// Every library that it needs, directly or by way of others, once. With [`inspect_bytes`] those are its own, and
    /// none of them was looked for.
    pub needed: Vec<Needed>,
    /// Names of the symbols that it exports, sorted.
    pub exported: Vec<String>,
    /// Names of the symbols that others have to define, sorted; those that may be absent are left out.
    pub undefined: Vec<String>,
    /// Who it says it is; `None` where it does not say, or says it wrongly: see [`Self::identity_fault`].
    pub identity: Option<Identity>,
    /// What is wrong with its identity, if it has one and that is not well-formed.
    pub identity_fault: Option<IdentityError>,
    /// The least glibc with all symbol versions that it wants, as major and minor.
    pub glibc_needed: Option<(u32, u32)>,
    /// Where it says its libraries are to be looked for (`DT_RUNPATH`), as written.
    pub runpath: Vec<String>,
    /// The same in the older form (`DT_RPATH`).
    pub rpath: Vec<String>,
}

/// A library that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Its name (`DT_NEEDED`).
    pub name: String,
    /// The file that needs it; empty where a file's bytes were inspected alone.
    pub needed_by: PathBuf,
    /// Where it was found, or everywhere that it was looked for.
    pub found: Result<PathBuf, Vec<PathBuf>>,
}

/// How wide addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Elf32,
    /// 64 bits.
    Elf64,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Elf32 => "32-bit",
            Self::Elf64 => "64-bit",
        })
    }
}

/// A processor architecture by its number in ELF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine(
    /// `e_machine`.
    pub u16,
);

impl Machine {
    /// Numbers and names of those that a plugin may be built for.
    const NAMES: [(u16, &'static str); 9] = [
        (3, "x86"),
        (21, "powerpc64"),
        (22, "s390x"),
        (40, "arm"),
        (62, "x86-64"),
        (183, "aarch64"),
        (224, "amdgpu"),
        (243, "riscv64"),
        (258, "loongarch64"),
    ];

    /// The one that this process runs on.
    pub const HERE: Self = Self(if cfg!(target_arch = "x86_64") {
        62
    } else if cfg!(target_arch = "aarch64") {
        183
    } else if cfg!(target_arch = "riscv64") {
        243
    } else if cfg!(target_arch = "powerpc64") {
        21
    } else if cfg!(target_arch = "s390x") {
        22
    } else if cfg!(target_arch = "loongarch64") {
        258
    } else {
        0
    });
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "machine {}", self.0),
        }
    }
}

/// Why a file cannot be inspected. It does not name the file; whoever asked knows it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Nothing is there.
    #[error("there is no such file")]
    NotFound,
    /// A directory is there.
    #[error("it is a directory; name the library in it")]
    Directory,
    /// A device, a pipe or a socket is there.
    #[error("it is {0} and not a regular file")]
    Special(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// It is something else than a library.
    #[error("it is no ELF file: {0}")]
    NotElf(String),
    /// It begins like an ELF file and goes on otherwise.
    #[error("it is a damaged or truncated ELF file: {0}")]
    Damaged(String),
}

/// Inspects a file, and looks for the libraries that it needs.
///
/// # Errors
///
/// Every [`InspectError`].
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let (bytes, _) = read(path)?;
    inspect_read(path, &bytes)
}

/// Inspects the bytes of a file. Nothing else is touched, so that it can be fuzzed.
///
/// # Errors
///
/// [`InspectError::NotElf`] and [`InspectError::Damaged`].
pub fn inspect_bytes(bytes: &[u8]) -> Result<Inspection, InspectError> {
    Elf::parse(bytes).map(|elf| of_elf(&elf))
}

/// Where the dynamic linker would find a library that this program opens by its name, or everywhere that it would look.
/// Nothing is loaded.
///
/// # Errors
///
/// The paths that were tried; none where this program's own file cannot be read.
pub fn find_library(name: &str) -> Result<PathBuf, Vec<PathBuf>> {
    let program = std::env::current_exe().map_err(|_| Vec::new())?;
    let (bytes, _) = read(&program).map_err(|_| Vec::new())?;
    let elf = Elf::parse_needs(&*bytes).map_err(|_| Vec::new())?;
    search::find(name, &program, &elf)
}

/// The version of glibc that this process runs with, as major and minor; `None` with another C library.
pub fn glibc_here() -> Option<(u32, u32)> {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::{CStr, c_char};
        unsafe extern "C" {
            safe fn gnu_get_libc_version() -> *const c_char;
        }
        // SAFETY: by glibc's manual it is a constant text that ends in a zero byte.
        let text = unsafe { CStr::from_ptr(gnu_get_libc_version()) }.to_str().ok()?;
        let mut numbers = text.split(['.', '-']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// Inspects what was [`read`] of a file, and looks for the libraries that it needs.
pub(crate) fn inspect_read(path: &Path, bytes: &[u8]) -> Result<Inspection, InspectError> {
    let elf = Elf::parse(bytes)?;
    let mut inspection = of_elf(&elf);
    inspection.needed = search::needed(path, &elf);
    Ok(inspection)
}

/// Reads a regular file, and says what it was when it was opened. Nothing is opened that opening could wait for or change.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, Stat), InspectError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOENT => InspectError::NotFound,
        error => InspectError::Unreadable(error.into()),
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| InspectError::Unreadable(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(InspectError::Directory),
        FileType::Fifo => return Err(InspectError::Special("a pipe")),
        FileType::Socket => return Err(InspectError::Special("a socket")),
        _ => return Err(InspectError::Special("a device")),
    }
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).map_err(InspectError::Unreadable)?;
    Ok((bytes, stat))
}

fn of_elf(elf: &Elf) -> Inspection {
    let identity = elf.identity.as_deref().map(Identity::parse);
    Inspection {
        class: elf.class,
        little_endian: elf.little_endian,
        machine: elf.machine,
        is_shared_object: elf.is_shared_object,
        needed: elf
            .needed
            .iter()
            .map(|name| Needed { name: name.clone(), needed_by: PathBuf::new(), found: Err(Vec::new()) })
            .collect(),
        exported: elf.exported.clone(),
        undefined: elf.undefined.clone(),
        identity_fault: identity.as_ref().and_then(|identity| identity.as_ref().err().cloned()),
        identity: identity.and_then(Result::ok),
        glibc_needed: elf.glibc_needed,
        runpath: elf.runpath.clone(),
        rpath: elf.rpath.clone(),
    }
}
