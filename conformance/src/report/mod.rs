//! What came of a run: the model that every output is made from.
//!
//! | module | gives |
//! | --- | --- |
//! | [`file`](mod@file) | JSON, JUnit and HTML files, written whole or not at all |
//! | [`html`] | the page |
//! | [`junit`] | the JUnit document |
//! | [`text`] | the summary for a terminal |
//! | [`schema`] | the JSON Schema of the report |
//! | [`verdict`] | which profiles are met, and whether the run passed |
//!
//! A [`Report`] serialises to JSON and back without loss; [`SCHEMA`] names the shape of it and changes with it.

pub(crate) mod date;
pub mod file;
pub mod html;
pub mod junit;
pub mod schema;
pub mod text;
pub mod verdict;

use std::path::PathBuf;

use mxhal_core::{DeviceInfo, Identity};
use mxhal_ffi::AbiVersions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::outcome::{Failure, Measures, Outcome};
use crate::profile::Profile;
use crate::suite::SuiteKind;
use crate::waiver::Expected;

pub use verdict::{ProfileVerdict, Standing};

/// The shape of the JSON report.
pub const SCHEMA: &str = "mxhal-conformance-report/1";

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA`], as of the program that wrote it.
    pub schema: String,
    /// What asked.
    pub suite: SuiteReport,
    /// What was asked.
    pub plugin: PluginReport,
    /// On which device; absent when it was never reached.
    pub device: Option<DeviceReport>,
    /// On which machine.
    pub environment: Environment,
    /// How.
    pub run: RunReport,
    /// Each case, in the order of the suites.
    pub cases: Vec<CaseReport>,
    /// Each waiver that the run was given, and how it stood.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waivers: Vec<WaiverReport>,
    /// What is worth saying and is nobody's failure.
    pub notes: Vec<String>,
    /// Every profile, met or not.
    pub profiles: Vec<ProfileVerdict>,
    /// Whether all that was required passed; see [`verdict`].
    pub passed: bool,
}

/// The suite that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteReport {
    /// The version of this crate.
    pub version: String,
    /// Cases of the whole list, before any was chosen.
    pub cases: usize,
    /// SHA-256 of the whole list's names and profiles: equal hashes ask the same questions.
    pub cases_sha256: String,
}

/// The plugin that was asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PluginReport {
    /// Its file; absent for the embedded one.
    pub path: Option<PathBuf>,
    /// SHA-256 of that file.
    pub sha256: Option<String>,
    /// Its name in `config.toml`.
    pub name: String,
    /// Who made it; empty when it was never loaded.
    pub vendor: String,
    /// Its own version; empty when it was never loaded.
    pub version: String,
    /// The ABI versions that it and this host speak; absent when it was never loaded.
    pub abi: Option<AbiReport>,
}

impl PluginReport {
    pub(crate) fn identify(&mut self, identity: &Identity, abi: AbiReport) {
        self.name.clone_from(&identity.name);
        self.vendor.clone_from(&identity.vendor);
        self.version.clone_from(&identity.version);
        self.abi = Some(abi);
    }
}

/// The ABI versions of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AbiReport {
    /// Major version.
    pub major: u32,
    /// The least minor version of a host that it runs on.
    pub minor_least: u32,
    /// The minor version that it was built for.
    pub minor_built: u32,
    /// The minor version that was spoken.
    pub minor_used: u32,
}

impl From<AbiVersions> for AbiReport {
    fn from(versions: AbiVersions) -> Self {
        let AbiVersions { major, minor_least, minor_built, minor_used } = versions;
        Self { major, minor_least, minor_built, minor_used }
    }
}

/// The device that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceReport {
    /// Which of the plugin's devices.
    pub index: u32,
    /// The product.
    pub name: String,
    /// What kernels are chosen by.
    pub architecture: String,
    /// The driver's version.
    pub driver: String,
    /// All memory, in bytes.
    pub memory_bytes: u64,
    /// The alignment of tensors, in bytes.
    pub alignment: u64,
    /// Multiprocessors, cores or threads.
    pub units: u32,
}

impl DeviceReport {
    pub(crate) fn new(index: u32, info: DeviceInfo) -> Self {
        let DeviceInfo { name, architecture, driver, memory_bytes, alignment, units } = info;
        Self { index, name, architecture, driver, memory_bytes, alignment, units }
    }
}

/// The machine that asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// `linux`.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// `x86_64`, `aarch64`.
    pub machine: String,
    /// Threads that can run at once.
    pub parallelism: usize,
}

impl Environment {
    /// This machine.
    pub fn here() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            os: std::env::consts::OS.to_owned(),
            kernel: kernel.trim().to_owned(),
            machine: std::env::consts::ARCH.to_owned(),
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// How it was asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// What all random data were drawn from.
    pub seed: u64,
    /// The pattern that chose cases, if there was one.
    pub filter: Option<String>,
    /// The profile that was claimed, if there was one.
    pub profile: Option<Profile>,
    /// What the device is simulated by; absent where it is not. What is simulated says nothing of a product.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub simulated: Option<String>,
    /// Workers at once.
    pub jobs: usize,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// How long it took.
    pub seconds: f64,
}

/// One case and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// The suite that asked.
    pub suite: SuiteKind,
    /// The profile that requires it.
    pub profile: Profile,
    /// How long it took.
    pub seconds: f64,
    /// What came of it.
    #[serde(flatten)]
    pub state: State,
    /// The command that asks it again; present where it is wrong, or would be without its waiver.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reproduce: Option<String>,
}

impl CaseReport {
    pub(crate) fn new(case: &Case, seconds: f64, state: State, reproduce: impl FnOnce() -> String) -> Self {
        Self {
            name: case.name.clone(),
            suite: case.suite,
            profile: case.profile,
            seconds,
            reproduce: state.is_wrong().then(reproduce),
            state,
        }
    }
}

/// A waiver and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaiverReport {
    /// Where it is written, as `FILE:LINE`.
    pub place: String,
    /// The regular expression for the names of its cases.
    pub cases: String,
    /// That for the plugin's name; absent where it is for any.
    pub backend: Option<String>,
    /// That for the device's name; absent where it is for any.
    pub device: Option<String>,
    /// The range of driver versions; absent where it is for any.
    pub driver: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// How its cases end.
    pub expected: Expected,
    /// The last day on which it holds: `2027-01-31`.
    pub expires: String,
    /// How it stood.
    pub standing: WaiverStanding,
    /// Names of the cases that it was applied to: those waived, and those that passed unexpectedly.
    pub applied: Vec<String>,
}

/// How a waiver stood in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaiverStanding {
    /// It was applied where it matched.
    InForce,
    /// It matches no case of the suite.
    Unused,
    /// It is for another backend, device or driver.
    Elsewhere,
    /// Its last day is over, which fails the run.
    Expired,
}

impl WaiverStanding {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Unused => "matches no case",
            Self::Elsewhere => "for another backend, device or driver",
            Self::Expired => "expired",
        }
    }
}

/// What came of a case.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Pass(Measures),
    /// Not as it should be.
    Fail(Failure),
    /// The backend says that it cannot, and why.
    NotSupported {
        /// The name of a `mxhal_reason`.
        reason: String,
        /// The backend's words.
        text: String,
    },
    /// It failed, and a waiver that has not expired says that this is known.
    Waived {
        /// The waiver's reason.
        reason: String,
        /// What was seen.
        message: String,
    },
    /// It passed, though a waiver says that it does not.
    UnexpectedPass {
        /// The waiver's reason.
        reason: String,
    },
    /// The worker died of it.
    Crash {
        /// How: `SIGSEGV (signal 11)`, `exit(7) was called`.
        how: String,
        /// The last that was written to stdout and stderr.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        output: String,
    },
    /// The worker was killed, because it took too long.
    Timeout {
        /// How long it had, in seconds.
        limit: f64,
    },
    /// The device failed under it.
    DeviceLost {
        /// The backend's words.
        text: String,
    },
    /// It did not apply, and why.
    Skipped {
        /// Why.
        text: String,
    },
}

/// The kind of a [`State`], without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is documented at the variant of State with its name")]
pub enum StateKind {
    Pass,
    Fail,
    NotSupported,
    Waived,
    UnexpectedPass,
    Crash,
    Timeout,
    DeviceLost,
    Skipped,
}

impl StateKind {
    /// Every kind, in the order in which summaries count them.
    pub const ALL: [Self; 9] = [
        Self::Pass,
        Self::Fail,
        Self::Crash,
        Self::Timeout,
        Self::DeviceLost,
        Self::UnexpectedPass,
        Self::Waived,
        Self::NotSupported,
        Self::Skipped,
    ];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Fail => "failed",
            Self::NotSupported => "not supported",
            Self::Waived => "waived",
            Self::UnexpectedPass => "unexpected pass",
            Self::Crash => "crashed",
            Self::Timeout => "timed out",
            Self::DeviceLost => "device lost",
            Self::Skipped => "skipped",
        }
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether no run with such a case passes.
    pub const fn is_wrong(self) -> bool {
        matches!(self, Self::Fail | Self::UnexpectedPass | Self::Crash | Self::Timeout | Self::DeviceLost)
    }
}

impl State {
    /// Which it is.
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Pass(_) => StateKind::Pass,
            Self::Fail(_) => StateKind::Fail,
            Self::NotSupported { .. } => StateKind::NotSupported,
            Self::Waived { .. } => StateKind::Waived,
            Self::UnexpectedPass { .. } => StateKind::UnexpectedPass,
            Self::Crash { .. } => StateKind::Crash,
            Self::Timeout { .. } => StateKind::Timeout,
            Self::DeviceLost { .. } => StateKind::DeviceLost,
            Self::Skipped { .. } => StateKind::Skipped,
        }
    }

    /// Whether no run with such a case passes.
    pub const fn is_wrong(&self) -> bool {
        self.kind().is_wrong()
    }

    /// What there is to say about it, in one line; empty for a pass.
    pub fn message(&self) -> String {
        match self {
            Self::Pass(_) => String::new(),
            Self::Fail(failure) => failure.message.clone(),
            Self::NotSupported { reason, text } => format!("{text} ({reason})"),
            Self::Waived { reason, message } => format!("{message} (waived: {reason})"),
            Self::UnexpectedPass { reason } => format!("it passed; remove its waiver ({reason})"),
            Self::Crash { how, .. } => how.clone(),
            Self::Timeout { limit } => format!("not done after {limit} s, and killed"),
            Self::DeviceLost { text } | Self::Skipped { text } => text.clone(),
        }
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass(measures) => Self::Pass(measures),
            Outcome::Fail(failure) => Self::Fail(failure),
            Outcome::NotSupported { reason, text } => Self::NotSupported { reason, text },
            Outcome::DeviceLost { text } => Self::DeviceLost { text },
            Outcome::Skipped { text } => Self::Skipped { text },
        }
    }
}
