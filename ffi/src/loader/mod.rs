//! The gate: a plugin's file is inspected, then loaded, then opened.
//!
//! | before any of its code runs | refused as |
//! | --- | --- |
//! | a regular file, by its canonical path | [`LoadError::File`] |
//! | owned by this user or root, and not writable by others; its folder neither, unless sticky | [`LoadError::Owner`], [`LoadError::Writable`] |
//! | the pinned sha256, if one is | [`LoadError::Sha256`] |
//! | a 64-bit shared library for this processor | [`LoadError::Class`], [`LoadError::Machine`], [`LoadError::NotShared`] |
//! | exports `mxhal_identity` and `mxhal_plugin_open` | [`LoadError::Symbol`] |
//! | an identity that is well-formed | [`LoadError::Identity`] |
//! | versions that go together, and the same layout | [`LoadError::AbiMajor`] and its neighbours |
//! | no sanitizer that this process lacks | [`LoadError::Sanitizer`] |
//! | every library that it needs, all the way down | [`LoadError::MissingLibraries`] |
//!
//! Then it is loaded with `RTLD_NOW | RTLD_LOCAL`: everything is resolved at once, and its symbols are nobody else's. A
//! constructor in it runs now, so the file is compared once more with what was inspected before its own entry is called.

mod error;

pub use error::LoadError;

use std::ffi::c_void;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use crate::host::{HostOptions, OpenFunction, Opening, Plugin, Source};
use crate::identity::{IDENTITY_SYMBOL, Identity, OPEN_SYMBOL};
use crate::inspect::{self, Class, InspectError, Inspection, Machine};
use crate::layout;
use crate::sys::{self, mxhal_plugin_identity};

/// How strict the loader is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What to do about a file that others may change.
    pub writable: WritablePolicy,
    /// The digest that the file must have.
    pub sha256: Option<[u8; 32]>,
}

/// What to do about a file that others than its owner may change: `security.policy` in `config.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WritablePolicy {
    /// Refuse it: `strict`.
    #[default]
    Deny,
    /// Say so in the log, and load it: `warn`.
    Warn,
}

/// Loads a plugin.
///
/// `path` is taken as it is, by way of the file system: a bare name is a file of the working directory and is never
/// searched for.
///
/// # Errors
///
/// Every [`LoadError`]. Until it is [`LoadError::Dlopen`] or a later one, nothing of the file has run.
pub fn load(path: &Path, policy: &Policy, options: &HostOptions) -> Result<Plugin, LoadError> {
    let (path, bytes, stat) = read(path)?;
    let (inspection, refusals) = judge(&path, &bytes, &stat, policy.sha256.as_ref());
    drop(bytes);
    for refusal in refusals {
        if policy.writable == WritablePolicy::Deny || !refusal.is_about_permissions() {
            return Err(refusal);
        }
        tracing::warn!(target: "mxhal::loader", "{refusal}");
    }
    let identity = inspection.and_then(|inspection| inspection.identity);
    let identity = identity.expect("a file without an identity is refused");
    open(path, &stat, identity, options)
}

/// A file as the loader sees it before any code in it runs, and everything for which it would be refused.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The canonical path.
    pub path: PathBuf,
    /// The user whose file it is.
    pub owner: u32,
    /// The permissions, as `chmod` takes them.
    pub mode: u32,
    /// The file's length, in bytes.
    pub bytes: u64,
    /// Its SHA-256 digest, in hexadecimal.
    pub sha256: String,
    /// What it was found to be; `None` where that is no ELF file, of which [`Self::refusals`] tells.
    pub inspection: Option<Inspection>,
    /// Why [`load`] would refuse it, in the order in which it asks; empty where it would be loaded. Those of which
    /// [`LoadError::is_about_permissions`] are warnings under [`WritablePolicy::Warn`].
    pub refusals: Vec<LoadError>,
}

/// Asks of a file what [`load`] asks before any of its code runs, and goes on after a refusal.
///
/// # Errors
///
/// [`LoadError::File`], where there is no file that could be read.
pub fn examine(path: &Path, policy: &Policy) -> Result<Examination, LoadError> {
    let (path, bytes, stat) = read(path)?;
    let (inspection, refusals) = judge(&path, &bytes, &stat, policy.sha256.as_ref());
    Ok(Examination {
        path,
        owner: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(&bytes)),
        inspection,
        refusals,
    })
}

/// The file at the canonical path, with what it was when it was opened.
fn read(path: &Path) -> Result<(PathBuf, Vec<u8>, Stat), LoadError> {
    let file = |path: &Path, error| LoadError::File { path: path.to_owned(), error };
    let canonical = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => file(path, InspectError::NotFound),
        _ => file(path, InspectError::Unreadable(error)),
    })?;
    let (bytes, stat) = inspect::read(&canonical).map_err(|error| file(&canonical, error))?;
    Ok((canonical, bytes, stat))
}

/// Every refusal, in the order of the table above.
fn judge(
    path: &Path,
    bytes: &[u8],
    stat: &Stat,
    pinned: Option<&[u8; 32]>,
) -> (Option<Inspection>, Vec<LoadError>) {
    let mut refusals = Vec::new();
    refusals.extend(check_permissions(path, stat).err());
    refusals.extend(check_digest(path, bytes, pinned).err());
    match inspect::inspect_read(path, bytes) {
        Ok(inspection) => {
            refusals.extend(check(path, &inspection));
            (Some(inspection), refusals)
        }
        Err(error) => {
            refusals.push(LoadError::File { path: path.to_owned(), error });
            (None, refusals)
        }
    }
}

fn check_permissions(path: &Path, stat: &Stat) -> Result<(), LoadError> {
    const GROUP: u32 = 0o020;
    const OTHERS: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder_mode = rustix::fs::stat(folder).map_or(0, |stat| stat.st_mode);
    let user = rustix::process::geteuid().as_raw();
    // A group of the owner's own, as many systems make one for each user, is nobody else.
    let private_group = stat.st_gid == stat.st_uid && stat.st_uid != 0;
    let writable = |what: &Path, by, mode: u32, chmod| LoadError::Writable {
        path: path.to_owned(),
        what: what.to_owned(),
        by,
        mode: mode & 0o7777,
        chmod,
    };
    Err(match stat.st_mode {
        _ if stat.st_uid != 0 && stat.st_uid != user => {
            LoadError::Owner { path: path.to_owned(), owner: stat.st_uid, user }
        }
        mode if mode & OTHERS != 0 => writable(path, "everybody", mode, "go-w"),
        mode if mode & GROUP != 0 && !private_group => writable(path, "its group", mode, "g-w"),
        // In a sticky folder, such as /tmp, only the owner may replace a file.
        _ if folder_mode & OTHERS != 0 && folder_mode & STICKY == 0 => {
            writable(folder, "everybody", folder_mode, "o-w")
        }
        _ => return Ok(()),
    })
}

fn check_digest(path: &Path, bytes: &[u8], pinned: Option<&[u8; 32]>) -> Result<(), LoadError> {
    let Some(wanted) = pinned else { return Ok(()) };
    let found = Sha256::digest(bytes);
    if found[..] == wanted[..] {
        return Ok(());
    }
    Err(LoadError::Sha256 { path: path.to_owned(), wanted: hex(wanted), found: hex(&found) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes whatever is written to it");
        text
    })
}

/// What speaks against a library, in the order of the table above. Of a file for another machine nothing else is said.
fn check(path: &Path, inspection: &Inspection) -> Vec<LoadError> {
    let path = path.to_owned();
    let Inspection { class, machine, little_endian, ref exported, .. } = *inspection;
    if class != Class::Elf64 {
        return vec![LoadError::Class { path, class }];
    }
    if machine != Machine::HERE || little_endian != cfg!(target_endian = "little") {
        return vec![LoadError::Machine { path, machine, little_endian }];
    }
    if !inspection.is_shared_object {
        return vec![LoadError::NotShared { path }];
    }
    let mut refusals = Vec::new();
    for symbol in [IDENTITY_SYMBOL, OPEN_SYMBOL] {
        if !exported.iter().any(|name| name == symbol) {
            refusals.push(LoadError::Symbol { path: path.clone(), symbol, exported: exported.clone() });
        }
    }
    if let Some(error) = inspection.identity_fault.clone() {
        refusals.push(LoadError::Identity { plugin: Source::File(path.clone()), error });
    }
    if let Some(identity) = &inspection.identity {
        refusals.extend(check_versions(&path, identity).err());
        refusals.extend(check_sanitizer(&path, identity.sanitizer).err());
    }
    let missing: Vec<_> = inspection.needed.iter().filter(|needed| needed.found.is_err()).cloned().collect();
    if !missing.is_empty() {
        refusals.push(LoadError::MissingLibraries { path, missing });
    }
    refusals
}

fn check_versions(path: &Path, identity: &Identity) -> Result<(), LoadError> {
    let Identity { abi_major, abi_minor_least, abi_minor_built, layout_hash, .. } = *identity;
    let path = path.to_owned();
    if abi_major != sys::MXHAL_ABI_MAJOR {
        Err(LoadError::AbiMajor { path, plugin: abi_major })
    } else if abi_minor_least > sys::MXHAL_ABI_MINOR {
        Err(LoadError::AbiTooNew { path, least: abi_minor_least })
    } else if abi_minor_built == sys::MXHAL_ABI_MINOR && layout_hash != layout::HASH {
        Err(LoadError::Layout { path, plugin: layout_hash, host: layout::HASH })
    } else {
        Ok(())
    }
}

/// A sanitizer's run-time library must come first in a process, so that it cannot be brought by a plugin.
fn check_sanitizer(path: &Path, sanitizer: u32) -> Result<(), LoadError> {
    let (name, symbol) = match sanitizer {
        sys::MXHAL_SANITIZER_NONE => return Ok(()),
        sys::MXHAL_SANITIZER_ADDRESS => ("AddressSanitizer", "__asan_init"),
        sys::MXHAL_SANITIZER_THREAD => ("ThreadSanitizer", "__tsan_init"),
        sys::MXHAL_SANITIZER_MEMORY => ("MemorySanitizer", "__msan_init"),
        other => {
            let sanitizer = format!("a sanitizer that is not known here (number {other})");
            return Err(LoadError::Sanitizer { path: path.to_owned(), sanitizer });
        }
    };
    // SAFETY: the address is only asked for, never called.
    if unsafe { Library::this().get::<*const c_void>(symbol) }.is_ok() {
        return Ok(());
    }
    Err(LoadError::Sanitizer { path: path.to_owned(), sanitizer: name.to_owned() })
}

fn open(
    path: PathBuf,
    inspected: &Stat,
    identity: Identity,
    options: &HostOptions,
) -> Result<Plugin, LoadError> {
    let dlopen = |error: libloading::Error| LoadError::Dlopen { path: path.clone(), text: words(&error) };
    // SAFETY: its constructors run now. That they keep rule R9 of the header is what a plugin promises; who may write the
    // file was checked as far as can be.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map_err(dlopen)?;
    let changed = |library: Library, what| {
        // What has run may have left something behind that points into it.
        std::mem::forget(library);
        LoadError::Changed { path: path.clone(), what }
    };
    match rustix::fs::stat(&path) {
        Ok(now) if is_same_file(inspected, &now) => {}
        _ => return Err(changed(library, "the file was changed")),
    }
    // SAFETY: only the address is taken.
    let data = unsafe { library.get::<*const mxhal_plugin_identity>(IDENTITY_SYMBOL).map(|symbol| *symbol) };
    // SAFETY: by the header the symbol is this function.
    let function = unsafe { library.get::<OpenFunction>(OPEN_SYMBOL).map(|symbol| *symbol) };
    let (data, function) = match (data, function) {
        (Ok(data), Ok(function)) => (data, function),
        (Err(error), _) | (_, Err(error)) => {
            std::mem::forget(library);
            return Err(dlopen(error));
        }
    };
    if is_deleted(data.addr()) {
        std::mem::forget(library);
        return Err(LoadError::Stale { path });
    }
    // SAFETY: the symbol is data by the header, and was found to be as large as an identity in the same file.
    let data = unsafe { data.read_unaligned() };
    if Identity::of_data(&data).as_ref() != Ok(&identity) {
        return Err(changed(library, "its identity in memory is not the one in the file"));
    }
    // SAFETY: the function is the plugin's own, which by its identity keeps the contract, and lies in the library.
    unsafe { Opening::new(Source::File(path), Some(library), data, identity, function, options) }.open()
}

fn is_same_file(one: &Stat, other: &Stat) -> bool {
    let key = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    key(one) == key(other)
}

/// Whether what is mapped at an address is of a file that has since been replaced: the dynamic linker knows libraries by
/// their paths, and gives what it has loaded before. Nothing can be told without /proc.
fn is_deleted(address: usize) -> bool {
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let bounds = line.split(' ').next().and_then(|range| range.split_once('-'));
        let contains = bounds.is_some_and(|(start, end)| {
            let number = |text| usize::from_str_radix(text, 16);
            matches!((number(start), number(end)), (Ok(start), Ok(end)) if (start..end).contains(&address))
        });
        contains && line.ends_with(" (deleted)")
    })
}

/// An error with its causes, of which libloading keeps the dynamic linker's text in one.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
