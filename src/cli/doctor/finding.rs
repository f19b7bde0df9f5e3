//! What was found, how grave it is, and what to do about it.

use std::path::PathBuf;

use mxhal_ffi::LoadError;
use mxhal_ffi::inspect::Needed;
use serde::Serialize;

/// How grave a finding is. In order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works, and may not elsewhere or tomorrow.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was looked at, in order. Up to [`Layer::Run`] none of a plugin's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layer {
    /// `config.toml`.
    Config,
    /// What vendors' drivers bring.
    Drivers,
    /// The file, its owner and its permissions, and what it is built for.
    File,
    /// What it exports, and what others have to define.
    Symbols,
    /// The libraries that it needs, and glibc.
    Libraries,
    /// Who it says it is, and the versions of the ABI.
    Identity,
    /// Loaded and opened, in a process of its own.
    Run,
    /// The devices that it then has.
    Devices,
    /// What it told the host's log meanwhile.
    Log,
}

impl Layer {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Drivers => "drivers",
            Self::File => "file",
            Self::Symbols => "symbols",
            Self::Libraries => "libraries",
            Self::Identity => "identity",
            Self::Run => "run",
            Self::Devices => "devices",
            Self::Log => "log",
        }
    }
}

/// Something that was found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) layer: Layer,
    pub(super) severity: Severity,
    /// What was seen, and where needed what was expected.
    pub(super) seen: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

/// What findings are about: the configuration, the drivers, or a backend.
#[derive(Debug, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
    /// The digest of its file.
    pub(super) sha256: Option<String>,
    pub(super) findings: Vec<Finding>,
}

impl Subject {
    pub(super) const fn new(name: String) -> Self {
        Self { name, sha256: None, findings: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        layer: Layer,
        severity: Severity,
        seen: impl Into<String>,
        advice: Option<&str>,
    ) {
        let advice = advice.map(str::to_owned);
        self.findings.push(Finding { layer, severity, seen: seen.into(), advice });
    }

    pub(super) fn ok(&mut self, layer: Layer, seen: impl Into<String>) {
        self.add(layer, Severity::Ok, seen, None);
    }

    pub(super) fn error(&mut self, layer: Layer, seen: impl Into<String>, advice: &str) {
        self.add(layer, Severity::Error, seen, Some(advice));
    }

    /// Whether something in this layer is an error.
    pub(super) fn has_error(&self, layer: Layer) -> bool {
        self.findings.iter().any(|finding| finding.layer == layer && finding.severity == Severity::Error)
    }

    pub(super) fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// A reason of the loader's.
    pub(super) fn refusal(&mut self, refusal: &LoadError, severity: Severity) {
        let text = refusal.to_string();
        // Where there is no file, the path is what has to be seen; elsewhere the layer of the file shows it.
        let path = refusal.path().filter(|_| !matches!(refusal, LoadError::File { .. }));
        let seen = path.and_then(|path| text.strip_prefix(&format!("{}: ", path.display())));
        let seen = seen.unwrap_or(&text);
        match refusal {
            LoadError::MissingLibraries { missing, .. } => {
                for needed in missing {
                    self.error(Layer::Libraries, absent(needed), INSTALL);
                }
            }
            refusal => match known_advice(refusal) {
                Some(advice) => self.add(layer(refusal), severity, seen, Some(advice)),
                // The loader's words end with what to do, after the last semicolon.
                None => match seen.rsplit_once("; ") {
                    Some((seen, advice)) => self.add(layer(refusal), severity, seen, Some(advice)),
                    None => self.add(layer(refusal), severity, seen, None),
                },
            },
        }
    }
}

const INSTALL: &str = "install the package that has it, or name its folder in LD_LIBRARY_PATH";

fn absent(Needed { name, needed_by, found }: &Needed) -> String {
    let tried = found.as_ref().err().map_or(String::new(), |paths| tried(paths));
    format!("{name}, needed by {}, is not there; {tried}", needed_by.display())
}

/// Every path that was tried, each in a line of its own.
pub(super) fn tried(paths: &[PathBuf]) -> String {
    let lines: Vec<String> = paths.iter().map(|path| format!("\n  {}", path.display())).collect();
    if lines.is_empty() { "nowhere to look was known".to_owned() } else { format!("tried{}", lines.concat()) }
}

const fn layer(refusal: &LoadError) -> Layer {
    match refusal {
        LoadError::Symbol { .. } => Layer::Symbols,
        LoadError::MissingLibraries { .. } => Layer::Libraries,
        LoadError::Identity { .. }
        | LoadError::AbiMajor { .. }
        | LoadError::AbiTooNew { .. }
        | LoadError::Layout { .. }
        | LoadError::Sanitizer { .. } => Layer::Identity,
        LoadError::Dlopen { .. }
        | LoadError::Changed { .. }
        | LoadError::Stale { .. }
        | LoadError::Open { .. }
        | LoadError::Table { .. } => Layer::Run,
        _ => Layer::File,
    }
}

/// What to do where the loader's words do not end with it.
const fn known_advice(refusal: &LoadError) -> Option<&'static str> {
    Some(match refusal {
        LoadError::File { .. } => "name the plugin's shared library, as the linker wrote it",
        LoadError::Symbol { .. } => {
            "export it: define MXHAL_BUILDING_PLUGIN before including mxhal.h, and keep it out of `local:` in a \
             version script"
        }
        LoadError::Identity { .. } => {
            "define mxhal_identity as the header shows, with MXHAL_IDENTITY_MAGIC and its own size"
        }
        LoadError::Dlopen { .. } => "see the libraries and symbols above",
        LoadError::Open { .. } => {
            "do what the plugin's own message asks for; most often its driver is absent"
        }
        LoadError::Table { .. } => "fill the table that mxhal_plugin_open is given, up to its struct_size",
        _ => return None,
    })
}
