//! Where the dynamic linker would find the libraries that a file needs.
//!
//! The order is that of glibc's `ld.so(8)`: `DT_RPATH` of the file and of those that needed it, unless there is a
//! `DT_RUNPATH`; `LD_LIBRARY_PATH`, unless the process is privileged; `DT_RUNPATH`; the cache; the default folders. What
//! is loaded in this process already is found too, wherever it came from.

use std::collections::{HashMap, HashSet, VecDeque};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use object::read::ReadCache;

use super::elf::Elf;
use super::{Needed, cache};

/// Every library that the file at `path` needs, directly or by way of others, breadth first.
pub(super) fn needed(path: &Path, elf: &Elf) -> Vec<Needed> {
    let search = Search::new(elf);
    let mut needed = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Rc::new(Object::new(path, elf, None))]);
    while let Some(object) = queue.pop_front() {
        for name in &object.needed {
            if !seen.insert(name.clone()) {
                continue;
            }
            let found = search.find(name, &object);
            if let Ok((path, Some(library))) = &found {
                queue.push_back(Rc::new(Object::new(path, library, Some(Rc::clone(&object)))));
            }
            let found = found.map(|(path, _)| path);
            needed.push(Needed { name: name.clone(), needed_by: object.path.clone(), found });
        }
    }
    needed
}

/// One library, as the file at `path` would find it.
pub(super) fn find(name: &str, path: &Path, elf: &Elf) -> Result<PathBuf, Vec<PathBuf>> {
    Search::new(elf).find(name, &Object::new(path, elf, None)).map(|(path, _)| path)
}

/// A file whose libraries are looked for.
struct Object {
    path: PathBuf,
    needed: Vec<String>,
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
    needed_by: Option<Rc<Self>>,
}

impl Object {
    fn new(path: &Path, elf: &Elf, needed_by: Option<Rc<Self>>) -> Self {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let origin = real.parent().unwrap_or(Path::new("/"));
        let folders = |texts: &[String]| texts.iter().flat_map(|text| expand(text, origin)).collect();
        Self {
            path: path.to_owned(),
            needed: elf.needed.clone(),
            rpath: folders(&elf.rpath),
            runpath: folders(&elf.runpath),
            needed_by,
        }
    }

    /// `DT_RPATH` of this file and of those that needed it; a file with a `DT_RUNPATH` has none that counts.
    fn rpaths(&self) -> Vec<&PathBuf> {
        if !self.runpath.is_empty() {
            return Vec::new();
        }
        let mut folders = Vec::new();
        let mut object = Some(self);
        while let Some(this) = object {
            if this.runpath.is_empty() {
                folders.extend(&this.rpath);
            }
            object = this.needed_by.as_deref();
        }
        folders
    }
}

/// `$ORIGIN` and `$LIB` in a search path. What `$LIB` stands for is the distribution's choice, so each is tried.
fn expand(text: &str, origin: &Path) -> Vec<PathBuf> {
    let origin = origin.to_string_lossy();
    let text = text.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).replace("${LIB}", "$LIB");
    match text.as_str() {
        // The dynamic linker takes an empty entry for the working directory.
        "" => vec![PathBuf::from(".")],
        text if text.contains("$LIB") => {
            let multiarch = format!("lib/{MULTIARCH}");
            ["lib64", "lib", &multiarch].iter().map(|lib| PathBuf::from(text.replace("$LIB", lib))).collect()
        }
        text => vec![PathBuf::from(text)],
    }
}

/// The folder names of Debian and its kin.
const MULTIARCH: &str = if cfg!(target_arch = "x86_64") {
    "x86_64-linux-gnu"
} else if cfg!(target_arch = "aarch64") {
    "aarch64-linux-gnu"
} else if cfg!(target_arch = "riscv64") {
    "riscv64-linux-gnu"
} else if cfg!(target_arch = "powerpc64") {
    "powerpc64le-linux-gnu"
} else {
    "s390x-linux-gnu"
};

struct Search<'a> {
    plugin: &'a Elf,
    environment: Vec<PathBuf>,
    cache: HashMap<String, Vec<PathBuf>>,
    defaults: Vec<PathBuf>,
}

/// Where a library was found, and what was read of it; nothing of one that is loaded already. Else all that was tried.
type Found = Result<(PathBuf, Option<Elf>), Vec<PathBuf>>;

impl<'a> Search<'a> {
    fn new(plugin: &'a Elf) -> Self {
        let environment = match env::var_os("LD_LIBRARY_PATH") {
            Some(folders) if !is_privileged() => split(&folders),
            _ => Vec::new(),
        };
        let cache = std::fs::read("/etc/ld.so.cache").map(|bytes| cache::parse(&bytes)).unwrap_or_default();
        let mut defaults: Vec<PathBuf> = ["/lib", "/usr/lib", "/usr/local/lib"]
            .iter()
            .map(|folder| Path::new(folder).join(MULTIARCH))
            .chain(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from))
            .collect();
        if cfg!(target_env = "musl") {
            defaults.push(PathBuf::from("/usr/local/lib"));
        }
        Self { plugin, environment, cache, defaults }
    }

    fn find(&self, name: &str, object: &Object) -> Found {
        let mut tried = Vec::new();
        if name.contains('/') {
            return self
                .open(Path::new(name))
                .map_or_else(|| Err(vec![PathBuf::from(name)]), |elf| Ok((name.into(), Some(elf))));
        }
        let folders = object.rpaths().into_iter().chain(&self.environment).chain(&object.runpath);
        let files = folders
            .map(|folder| folder.join(name))
            .chain(self.cache.get(name).into_iter().flatten().cloned())
            .chain(self.defaults.iter().map(|folder| folder.join(name)));
        for file in files {
            if tried.contains(&file) {
                continue;
            }
            if let Some(elf) = self.open(&file) {
                return Ok((file, Some(elf)));
            }
            tried.push(file);
        }
        if is_loaded(name) { Ok((PathBuf::from(name), None)) } else { Err(tried) }
    }

    /// A file of another kind or for another machine is passed over, as the dynamic linker does.
    fn open(&self, path: &Path) -> Option<Elf> {
        let file = File::open(path).ok()?;
        let cache = ReadCache::new(file);
        Elf::parse_needs(&cache).ok().filter(|elf| elf.goes_with(self.plugin))
    }
}

/// Entries are parted by colons, or semicolons.
fn split(folders: &OsStr) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let parts = folders.as_bytes().split(|byte| matches!(byte, b':' | b';'));
    parts
        .map(|part| PathBuf::from(if part.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(part) }))
        .collect()
}

/// Whether the process has rights that its caller has not (`AT_SECURE`): then the dynamic linker ignores the environment.
fn is_privileged() -> bool {
    const AT_SECURE: usize = 23;
    let vector = std::fs::read("/proc/self/auxv").unwrap_or_default();
    let mut words = vector
        .chunks_exact(size_of::<usize>())
        .map(|word| usize::from_ne_bytes(word.try_into().expect("chunks have the size of a word")));
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == AT_SECURE {
            return value != 0;
        }
    }
    // Without /proc the most common cause can still be seen.
    rustix::process::getuid() != rustix::process::geteuid()
        || rustix::process::getgid() != rustix::process::getegid()
}

/// Whether a library of this name is loaded in this process. Asking loads nothing and runs nothing.
fn is_loaded(name: &str) -> bool {
    use libloading::os::unix::{Library, RTLD_LAZY};
    /// `RTLD_NOLOAD` of glibc and musl on every architecture that is supported here.
    const NOLOAD: i32 = 4;
    // SAFETY: with RTLD_NOLOAD no library is loaded, so no code of one runs; and the handle that is given back, and closed
    // again, is of one that somebody else holds.
    unsafe { Library::open(Some(name), RTLD_LAZY | NOLOAD) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Machine;
    use super::*;

    #[test]
    fn variables_are_expanded() {
        let expanded = |text| expand(text, Path::new("/opt/chip"));
        assert_eq!(expanded("$ORIGIN/../lib"), [PathBuf::from("/opt/chip/../lib")]);
        assert_eq!(expanded("${ORIGIN}"), [PathBuf::from("/opt/chip")]);
        assert_eq!(expanded(""), [PathBuf::from(".")]);
        assert!(expanded("/usr/$LIB").contains(&PathBuf::from("/usr/lib64")));
        assert_eq!(split(OsStr::new("/a:/b;:/c")), ["/a", "/b", ".", "/c"].map(PathBuf::from));
    }

    #[test]
    fn an_ordinary_process_is_not_privileged() {
        assert!(!is_privileged());
    }

    #[test]
    fn the_machine_of_this_process_has_a_name() {
        assert!(!Machine::HERE.to_string().starts_with("machine"));
    }

    #[test]
    fn loaded_libraries_are_known() {
        assert!(is_loaded("libc.so.6") || cfg!(not(target_env = "gnu")));
        assert!(!is_loaded("libmxhal_that_nobody_loads.so"));
    }
}
