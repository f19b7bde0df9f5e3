//! A plugin's file, looked at from outside: nothing of it runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use mxhal_ffi::identity::{IDENTITY_SYMBOL, Identity, OPEN_SYMBOL};
use mxhal_ffi::inspect::{self, Inspection};
use mxhal_ffi::loader::{self, Examination, Policy, WritablePolicy};
use mxhal_ffi::{layout, sys};

use super::finding::{Layer, Severity, Subject};

/// How many names a finding lists.
const SHOWN: usize = 12;

/// Adds the layers of a file, and says whether it may be loaded.
pub(super) fn examine(subject: &mut Subject, path: &Path, policy: &Policy) -> bool {
    let examination = match loader::examine(path, policy) {
        Ok(examination) => examination,
        Err(refusal) => {
            subject.refusal(&refusal, Severity::Error);
            return false;
        }
    };
    subject.sha256 = Some(examination.sha256.clone());
    for refusal in &examination.refusals {
        let allowed = refusal.is_about_permissions() && policy.writable == WritablePolicy::Warn;
        subject.refusal(refusal, if allowed { Severity::Warning } else { Severity::Error });
    }
    file(subject, &examination);
    if let Some(inspection) = &examination.inspection
        && !subject.has_error(Layer::File)
    {
        exports(subject, inspection);
        libraries(subject, inspection, &examination.path);
        if let Some(identity) = &inspection.identity {
            self::identity(subject, identity);
        }
    }
    // In the order in which a reader goes from the file inwards; the sort keeps the order within a layer.
    subject.findings.sort_by_key(|finding| finding.layer as u8);
    subject.severity() != Severity::Error
}

fn file(subject: &mut Subject, examination: &Examination) {
    let Examination { path, owner, mode, bytes, inspection, .. } = examination;
    let kind = inspection.as_ref().map_or("no ELF file".to_owned(), |inspection| {
        let order = if inspection.little_endian { "little" } else { "big" };
        let kind = if inspection.is_shared_object { "shared library" } else { "program or object file" };
        format!("{} {kind} for {} ({order}-endian)", inspection.class, inspection.machine)
    });
    let seen = format!("{}: {kind}, {bytes} bytes, user {owner}, mode {mode:04o}", path.display());
    subject.ok(Layer::File, seen);
}

fn exports(subject: &mut Subject, inspection: &Inspection) {
    let needless = |name: &&String| *name != IDENTITY_SYMBOL && *name != OPEN_SYMBOL;
    let more: Vec<&str> = inspection.exported.iter().filter(needless).map(String::as_str).collect();
    if more.is_empty() {
        if !subject.has_error(Layer::Symbols) {
            subject
                .ok(Layer::Symbols, format!("exports {IDENTITY_SYMBOL} and {OPEN_SYMBOL}, and nothing else"));
        }
        return;
    }
    subject.add(
        Layer::Symbols,
        Severity::Warning,
        format!("exports {} that no host asks for: {}", symbols(more.len()), some(&more)),
        Some("compile with -fvisibility=hidden, or link with a version script that has `local: *`"),
    );
}

fn libraries(subject: &mut Subject, inspection: &Inspection, plugin: &Path) {
    glibc(subject, inspection);
    let mut definitions = Definitions::new(inspection, plugin);
    let undefined = definitions.undefined();
    let (hosts, undefined): (Vec<_>, Vec<_>) = undefined.into_iter().partition(|undefined| undefined.by_host);
    for Undefined { who, names, .. } in &hosts {
        subject.add(
            Layer::Symbols,
            Severity::Warning,
            format!("{} wants {} that only this program's libraries define: {}", who.display(), symbols(names.len()), some(names)),
            Some("link the library that defines them: another host may not have it (for functions of math.h, -lm)"),
        );
    }
    let own_folder = plugin.parent().unwrap_or(Path::new("/"));
    for needed in inspection.needed.iter().filter(|needed| needed.needed_by == plugin) {
        let Ok(path) = &needed.found else { continue };
        let used = definitions.used.get(path).copied().unwrap_or_default();
        let used = if used == 0 { String::new() } else { format!(", {} taken", symbols(used)) };
        let seen = format!("{} is {}{used}", needed.name, path.display());
        if is_of_c_library(&needed.name) || path.starts_with(own_folder) {
            subject.ok(Layer::Libraries, seen);
        } else {
            subject.add(
                Layer::Libraries,
                Severity::Note,
                format!("{seen}; neither the C library's nor beside the plugin"),
                Some("whoever gets the plugin has to have it too: say so, bring it along, or open it with dlopen"),
            );
        }
    }
    let further = inspection.needed.iter().filter(|needed| needed.needed_by != plugin).count();
    if further > 0 && !subject.has_error(Layer::Libraries) {
        subject.ok(Layer::Libraries, format!("libraries that those need in turn: {further}, all found"));
    }
    for Undefined { who, names, .. } in &undefined {
        subject.error(
            Layer::Symbols,
            format!("{} wants {} that nothing defines: {}", who.display(), symbols(names.len()), some(names)),
            "link the library that defines them; where it is linked, another version of it is installed here",
        );
    }
    if inspection.undefined.is_empty() {
        subject.ok(Layer::Symbols, "needs no symbol of another library");
    } else if undefined.is_empty() && hosts.is_empty() && !subject.has_error(Layer::Libraries) {
        subject.ok(
            Layer::Symbols,
            format!("needs {}, each defined by a library", symbols(inspection.undefined.len())),
        );
    }
}

fn glibc(subject: &mut Subject, inspection: &Inspection) {
    let Some(needed) = inspection.glibc_needed else { return };
    let words = |(major, minor)| format!("{major}.{minor}");
    match inspect::glibc_here() {
        Some(here) if here >= needed => subject.ok(
            Layer::Libraries,
            format!("needs glibc {} or later, and here is {}", words(needed), words(here)),
        ),
        Some(here) => subject.error(
            Layer::Libraries,
            format!("needs glibc {} or later, and here is {}", words(needed), words(here)),
            "build it on a system as old as the oldest it is for, or run it on a newer one",
        ),
        None => subject.error(
            Layer::Libraries,
            format!("needs glibc {} or later, and this program runs with another C library", words(needed)),
            "take a build of mxhal for glibc, or build the plugin for this C library",
        ),
    }
}

fn identity(subject: &mut Subject, identity: &Identity) {
    let Identity { name, vendor, version, abi_major, abi_minor_least, abi_minor_built, .. } = identity;
    let (major, minor) = (sys::MXHAL_ABI_MAJOR, sys::MXHAL_ABI_MINOR);
    let sanitizer =
        if identity.sanitizer == sys::MXHAL_SANITIZER_NONE { "no sanitizer" } else { "a sanitizer" };
    subject.ok(Layer::Identity, format!("{name} {version} of {vendor}, built with {sanitizer}"));
    if subject.has_error(Layer::Identity) {
        return;
    }
    subject.ok(
        Layer::Identity,
        format!("ABI {abi_major}.{abi_minor_least} to {abi_major}.{abi_minor_built}; this host has {major}.{minor}"),
    );
    let which =
        if identity.layout_hash == layout::HASH { "as this host's" } else { "of another minor version" };
    subject.ok(Layer::Identity, format!("layout hash {:#018x}, {which}", identity.layout_hash));
}

/// What libraries define, and who takes it.
struct Definitions<'a> {
    /// The plugin and those of its libraries that could be read, with what they want, in the order of the search.
    objects: Vec<(PathBuf, Vec<String>)>,
    /// The first that exports a name.
    exporters: HashMap<String, PathBuf>,
    /// Whether a library could not be looked into, so that nothing can be said to be undefined.
    incomplete: bool,
    /// How many symbols the plugin takes of each.
    used: BTreeMap<PathBuf, usize>,
    plugin: &'a Path,
}

impl<'a> Definitions<'a> {
    fn new(inspection: &Inspection, plugin: &'a Path) -> Self {
        let mut this = Self {
            objects: Vec::new(),
            exporters: HashMap::new(),
            incomplete: false,
            used: BTreeMap::new(),
            plugin,
        };
        this.add(plugin.to_owned(), inspection.exported.clone(), inspection.undefined.clone());
        let mut seen = HashSet::new();
        for needed in &inspection.needed {
            let Ok(path) = &needed.found else {
                this.incomplete = true;
                continue;
            };
            if !seen.insert(path) {
                continue;
            }
            match inspect::inspect(path) {
                Ok(library) => this.add(path.clone(), library.exported, library.undefined),
                Err(_) => this.incomplete = true,
            }
        }
        this
    }

    fn add(&mut self, path: PathBuf, exported: Vec<String>, undefined: Vec<String>) {
        for name in exported {
            self.exporters.entry(name).or_insert_with(|| path.clone());
        }
        self.objects.push((path, undefined));
    }

    /// What none of them defines, by who wants it: all of it, where the dynamic linker names the first only.
    fn undefined(&mut self) -> Vec<Undefined> {
        let mut undefined = Vec::new();
        for (path, wanted) in &self.objects {
            let mut absent = Vec::new();
            for name in wanted {
                match self.exporters.get(name) {
                    Some(library) if path == self.plugin => {
                        *self.used.entry(library.clone()).or_default() += 1;
                    }
                    Some(_) => {}
                    None => absent.push(name.clone()),
                }
            }
            if absent.is_empty() || self.incomplete {
                continue;
            }
            let host = host_symbols();
            let (host, nobody): (Vec<_>, Vec<_>) = absent.into_iter().partition(|name| host.contains(name));
            for (names, by_host) in [(host, true), (nobody, false)] {
                if !names.is_empty() {
                    undefined.push(Undefined { who: path.clone(), names, by_host });
                }
            }
        }
        undefined
    }
}

/// What a file wants and none of the libraries that the plugin needs defines.
struct Undefined {
    who: PathBuf,
    names: Vec<String>,
    /// Whether it is found all the same, because this program has it.
    by_host: bool,
}

/// What this program's own libraries define: the dynamic linker looks there first.
fn host_symbols() -> HashSet<String> {
    let program = std::env::current_exe().ok().and_then(|program| inspect::inspect(&program).ok());
    let libraries = program.iter().flat_map(|program| &program.needed);
    let libraries = libraries.filter_map(|needed| inspect::inspect(needed.found.as_ref().ok()?).ok());
    let libraries: Vec<Inspection> = libraries.collect();
    program.into_iter().chain(libraries).flat_map(|object| object.exported).collect()
}

/// The parts of the C library and of the compiler's run-time library, which are wherever there are programs.
fn is_of_c_library(name: &str) -> bool {
    const NAMES: [&str; 8] =
        ["libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libgcc_s.so", "ld-linux", "ld-musl"];
    NAMES.iter().any(|library| name.starts_with(library)) || name.starts_with("libc.musl")
}

fn symbols(number: usize) -> String {
    if number == 1 { "1 symbol".to_owned() } else { format!("{number} symbols") }
}

fn some(names: &[impl AsRef<str>]) -> String {
    let shown = names.iter().take(SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
