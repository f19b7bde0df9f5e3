//! Certificates: what a run found, in a form that can be handed on, checked, and compared with another's.
//!
//! | module | holds |
//! | --- | --- |
//! | `canonical` | JSON in one form only |
//! | `file` | a certificate as a file, in which no byte can be another |
//! | [`signature`] | keys, and the detached signature beside that file |
//! | `verdict` | whether what it claims follows from its results |
//! | [`agreement`] | whether two backends gave the same bits |
//!
//! A certificate is given for a run that passed on a real device. Its SHA-256 shows that it is whole, and not who wrote
//! it: that is what a signature is for.

pub mod agreement;
mod canonical;
mod file;
pub mod signature;
mod verdict;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::report::{
    AbiReport, DeviceReport, Environment, ProfileVerdict, Report, State, StateKind, SuiteReport, WaiverReport,
};
use crate::runner;

pub use file::{read, write};

/// The shape of the file.
pub const SCHEMA: &str = "mxhal-certificate/1";

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`SCHEMA`].
    pub schema: String,
    /// What asked, with the hash of its list of cases.
    pub suite: SuiteReport,
    /// The hash of the layout table of the ABI's structs that the suite was built with, in hexadecimal.
    pub layout_hash: String,
    /// What was asked.
    pub plugin: CertifiedPlugin,
    /// On which device, with which driver.
    pub device: DeviceReport,
    /// On which machine.
    pub environment: Environment,
    /// What random data were drawn from.
    pub seed: u64,
    /// The pattern that chose cases, if there was one.
    pub filter: Option<String>,
    /// The profile that was claimed, if there was one.
    pub profile: Option<String>,
    /// When the run began, in seconds since 1970.
    pub started: u64,
    /// Every profile, met or not.
    pub profiles: Vec<ProfileVerdict>,
    /// Each waiver, and how it stood.
    pub waivers: Vec<WaiverReport>,
    /// Each case, in the order of the suites.
    pub results: Vec<CertifiedCase>,
}

/// The plugin that was asked. Where its file lay is nobody's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedPlugin {
    /// Its name in `config.toml`.
    pub name: String,
    /// Who made it.
    pub vendor: String,
    /// Its own version.
    pub version: String,
    /// The ABI versions that it and the suite speak.
    pub abi: Option<AbiReport>,
    /// SHA-256 of its file, or, where it is part of a program, of that program.
    pub sha256: String,
    /// Whether it is part of a program.
    pub embedded: bool,
}

/// A case, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedCase {
    /// Its name.
    pub name: String,
    /// What came of it, as reports say it: `passed`, `not supported`, `waived`, `skipped`.
    pub state: String,
    /// Why it was refused, waived or skipped.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// SHA-256 of the outputs, where every backend must give the same bits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// The worst error over its bound, elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_over_bound: Option<f64>,
}

/// Why there is no certificate, or why one is not to be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The driver was a simulator.
    #[error("there is no certificate of a simulated run ({0}): it says nothing of a product")]
    Simulated(String),
    /// The run did not pass.
    #[error("there is no certificate of a run that did not pass")]
    NotPassed,
    /// The hash of the plugin, or of the program that it is part of, is not known.
    #[error("the plugin has no hash: its file, or this program's, could not be read")]
    NoHash,
    /// A file could not be written.
    #[error("{} could not be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("{} could not be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else, or was changed to something that is no certificate any more.
    #[error("{} is no certificate of the schema {SCHEMA}: {problem}", path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// Its contents are not those that were hashed.
    #[error("{} was changed: its sha256 is {said}, and that of its contents is {found}", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
        /// The hash that it gives.
        said: String,
        /// The hash of what it says.
        found: String,
    },
    /// What it claims does not follow from its own results, whoever signed it.
    #[error("the certificate contradicts itself: {0}")]
    Contradiction(String),
    /// The plugin is another one.
    #[error("the certificate is of a plugin with sha256 {certified}, and {} has {found}", path.display())]
    OtherPlugin {
        /// The file that was to be looked at.
        path: PathBuf,
        /// The hash in the certificate.
        certified: String,
        /// The file's.
        found: String,
    },
    /// A key that is none, or that others can read.
    #[error("{}: {problem}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A signature that is none, or of something else, or by somebody else.
    #[error("{}: {problem}", path.display())]
    Signature {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Two certificates that answer different questions.
    #[error("the certificates cannot be compared: {what} is {one} in the first and {other} in the second")]
    Incomparable {
        /// In what they differ.
        what: &'static str,
        /// In the first.
        one: String,
        /// In the second.
        other: String,
    },
}

impl CertificateError {
    /// 1 for a certificate that is not given or not to be believed, 2 for what the caller must change.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Write { .. } | Self::Read { .. } | Self::Key { .. } | Self::Incomparable { .. } => 2,
            _ => 1,
        }
    }
}

impl Certificate {
    /// Certifies a run.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Simulated`], [`CertificateError::NotPassed`] and [`CertificateError::NoHash`].
    pub fn of(report: &Report) -> Result<Self, CertificateError> {
        if let Some(simulator) = &report.run.simulated {
            return Err(CertificateError::Simulated(simulator.clone()));
        }
        let device = report.device.clone().filter(|_| report.passed).ok_or(CertificateError::NotPassed)?;
        let embedded = report.plugin.path.is_none();
        let program = || runner::sha256_of(&std::env::current_exe().ok()?);
        let hash = if embedded { program() } else { report.plugin.sha256.clone() };
        let plugin = CertifiedPlugin {
            name: report.plugin.name.clone(),
            vendor: report.plugin.vendor.clone(),
            version: report.plugin.version.clone(),
            abi: report.plugin.abi,
            sha256: hash.ok_or(CertificateError::NoHash)?,
            embedded,
        };
        Ok(Self {
            schema: SCHEMA.to_owned(),
            suite: report.suite.clone(),
            layout_hash: format!("{:016x}", mxhal_ffi::layout::HASH),
            plugin,
            device,
            environment: report.environment.clone(),
            seed: report.run.seed,
            filter: report.run.filter.clone(),
            profile: report.run.profile.map(|profile| profile.to_string()),
            started: report.run.started,
            profiles: report.profiles.clone(),
            waivers: report.waivers.clone(),
            results: report.cases.iter().map(|case| CertifiedCase::new(&case.name, &case.state)).collect(),
        })
    }

    /// Whether the suite of this program asks the same list of cases.
    pub fn is_of_this_suite(&self) -> bool {
        runner::suite_report(&runner::all_cases(self.seed)).cases_sha256 == self.suite.cases_sha256
    }

    /// Whether the plugin in a file is the one that was certified.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NoHash`] where the file cannot be read, and [`CertificateError::OtherPlugin`].
    pub fn expect_plugin(&self, path: &Path) -> Result<(), CertificateError> {
        let found = runner::sha256_of(path).ok_or(CertificateError::NoHash)?;
        if found == self.plugin.sha256 && !self.plugin.embedded {
            return Ok(());
        }
        let certified = self.plugin.sha256.clone();
        Err(CertificateError::OtherPlugin { path: path.to_owned(), certified, found })
    }

    /// How many cases ended so.
    pub fn count(&self, kind: StateKind) -> usize {
        self.results.iter().filter(|case| case.state == kind.name()).count()
    }
}

impl CertifiedCase {
    fn new(name: &str, state: &State) -> Self {
        let (digest, error_over_bound) = match state {
            State::Pass(measures) => (measures.digest.clone(), measures.error_over_bound),
            _ => (None, None),
        };
        let (name, reason) = (name.to_owned(), state.message());
        Self { name, state: state.kind().name().to_owned(), reason, digest, error_over_bound }
    }
}

#[cfg(test)]
mod tests;
