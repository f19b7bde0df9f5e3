//! The suite in a vendor's own tests: a function for each suite, in this process or in workers.
//!
//! ```
//! use mxhal_conformance::check;
//! use mxhal_cpu::Cpu;
//! # fn main() -> Result<(), check::CheckError> {
//! // A backend in Rust, linked into its own test. A file is opened by `mxhal_ffi::loader::load`.
//! let cpu = || mxhal_ffi::embedded::<Cpu>(&Default::default());
//!
//! let summary = check::abi(&cpu)?;
//! assert!(summary.passed > 0);
//! # Ok(())
//! # }
//! ```
//!
//! Each `#[test]` of a backend's crate calls one of them and returns its result, or unwraps it: the error names each case
//! that is wrong, what was seen and expected, and the command that asks it again.
//!
//! | | in this process: [`suite`] and its short names, [`profile`] | in workers: [`isolated`] |
//! | --- | --- | --- |
//! | a debugger, a sanitizer, a profiler sees it | yes | no |
//! | a crash or a call of `exit` | ends the test program | costs one case |
//! | a hang | hangs | costs one case, after its time |
//! | `abi/load`, `abi/silence`, `abi/shutdown` | skipped | asked |
//! | needs | a function that opens the plugin | an executable that serves as worker |
//!
//! All random data are drawn from seed 0; [`isolated`] takes another in its options.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use mxhal_core::{Backend, Error};
use mxhal_ffi::Plugin;
use mxhal_ffi::loader::LoadError;
use regex::Regex;

use crate::case::Case;
use crate::outcome::{Failure, Outcome};
use crate::profile::Profile;
use crate::report::{CaseReport, Report, State, StateKind, text, verdict};
use crate::runner::{self, RunError, RunOptions};
use crate::subject::Subject;
use crate::suite::SuiteKind;

/// Opens the backend: called at the start, and again after a case in which the device was lost.
pub type Open<'a> = &'a dyn Fn() -> Result<Plugin, LoadError>;

/// What came of cases of which none was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that the backend refused, each with its reason.
    pub not_supported: usize,
    /// Cases that do not apply here.
    pub skipped: usize,
}

/// Why a check did not pass. It prints whole with `{:?}`, as a test does that returns it.
#[non_exhaustive]
pub enum CheckError {
    /// The plugin could not be opened.
    NotLoaded(Box<LoadError>),
    /// Its first device could not be opened.
    NoDevice(Error),
    /// The runner could not run; only of [`isolated`].
    Run(RunError),
    /// Cases that are wrong, or, where a profile is asked for, refused.
    Wrong(Vec<CaseReport>),
    /// Not one case was executed: all of so many were refused or skipped.
    NothingExecuted(usize),
}

/// Asks a suite in this process, on device 0.
///
/// # Errors
///
/// Every [`CheckError`] but [`CheckError::Run`]. What the backend refuses with a reason is no error.
pub fn suite(suite: SuiteKind, open: Open<'_>) -> Result<Summary, CheckError> {
    conclude(ask(&suite.cases(SEED), open)?, None)
}

/// Asks every case of a profile and of Core in this process, on device 0. A refusal is wrong.
///
/// # Errors
///
/// Every [`CheckError`] but [`CheckError::Run`].
pub fn profile(profile: Profile, open: Open<'_>) -> Result<Summary, CheckError> {
    let all = SuiteKind::ALL.into_iter().flat_map(|suite| suite.cases(SEED));
    let cases: Vec<Case> = all.filter(|case| profile.contains(case.profile)).collect();
    conclude(ask(&cases, open)?, Some(profile))
}

/// Asks a suite in worker processes. `options` say of which plugin, device and seed, and which executable is the worker;
/// their filter is replaced by the suite's.
///
/// ```no_run
/// use mxhal_conformance::check;
/// use mxhal_conformance::runner::{RunOptions, Target, WorkerCommand};
/// use mxhal_conformance::suite::SuiteKind;
/// use mxhal_ffi::loader::Policy;
///
/// let target = Target::File { path: "build/libmxhal_mychip.so".into(), policy: Policy::default() };
/// let mut options = RunOptions::new(target)?;
/// // Any program whose `main` calls `mxhal_conformance::worker::main`; `mxhal` is one.
/// let arguments = vec!["conform-worker".into()];
/// options.worker = WorkerCommand { program: "mxhal".into(), arguments, environment: Vec::new() };
/// check::isolated(SuiteKind::Abi, &options)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`CheckError::Run`], [`CheckError::Wrong`] and [`CheckError::NothingExecuted`].
pub fn isolated(suite: SuiteKind, options: &RunOptions) -> Result<Summary, CheckError> {
    let filter = Regex::new(&format!("^{suite}/")).expect("the name of a suite is plain letters");
    let options = RunOptions { filter: Some(filter), ..options.clone() };
    let Report { cases, .. } = runner::run(&options, &mut |_| {}).map_err(CheckError::Run)?;
    conclude(cases, options.profile)
}

macro_rules! suites {
    ($($name:ident: $kind:ident, $asks:literal;)*) => {$(
        #[doc = concat!("Asks the suite `", stringify!($name), "`: ", $asks, ".")]
        ///
        /// # Errors
        ///
        /// Those of [`suite`].
        pub fn $name(open: Open<'_>) -> Result<Summary, CheckError> {
            suite(SuiteKind::$kind, open)
        }
    )*};
}

suites! {
    abi: Abi, "identity, negotiation, handles, errors";
    memory: Memory, "red zones, poison, inputs unchanged";
    exact: Exact, "equality of bits";
    bounded: Bounded, "error over computed bound";
    shapes: Shapes, "shapes at the edge, and those of real models";
    special: Special, "NaN scales, range ends, signed zero";
    sequence: Sequence, "random programs over shared streams and a shared workspace";
    determinism: Determinism, "what was declared of the bits";
    support: Support, "yes means it runs, no means it refuses";
    checkpoint: Checkpoint, "golden checkpoints, end to end";
}

const SEED: u64 = 0;

/// Runs cases one after the other.
fn ask(cases: &[Case], open: Open<'_>) -> Result<Vec<CaseReport>, CheckError> {
    let mut subject = subject(open)?;
    let target = target(subject.plugin());
    let mut reports = Vec::with_capacity(cases.len());
    for case in cases {
        let start = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| case.run(&mut subject))).unwrap_or_else(|_| {
            // The message went to standard error, as in any test.
            Outcome::Fail(Failure::new("the suite panicked; its message is above"))
        });
        let is_lost = matches!(outcome, Outcome::DeviceLost { .. });
        let reproduce = || format!("mxhal conform {target} {}", selecting(case));
        reports.push(CaseReport::new(case, start.elapsed().as_secs_f64(), State::from(outcome), reproduce));
        if is_lost {
            subject = self::subject(open)?;
        }
    }
    Ok(reports)
}

fn subject(open: Open<'_>) -> Result<Subject, CheckError> {
    let plugin = open().map_err(|error| CheckError::NotLoaded(Box::new(error)))?;
    Subject::new(plugin, 0).map_err(CheckError::NoDevice)
}

/// The arguments with which a plugin is asked again.
fn target(plugin: &Plugin) -> String {
    match plugin.source().path() {
        Some(path) => format!("--plugin {}", runner::quoted(&path.to_string_lossy())),
        None => format!("--backend {}", runner::quoted(&plugin.identity().name)),
    }
}

/// The arguments with which one case is asked again.
fn selecting(case: &Case) -> String {
    let pattern = runner::quoted(&format!("^{}$", regex::escape(&case.name)));
    format!("--filter {pattern} --seed {}", case.seed)
}

fn conclude(cases: Vec<CaseReport>, claimed: Option<Profile>) -> Result<Summary, CheckError> {
    let count = |wanted| cases.iter().filter(|case| case.state.kind() == wanted).count();
    let summary = Summary {
        passed: count(StateKind::Pass) + count(StateKind::Waived),
        not_supported: count(StateKind::NotSupported),
        skipped: count(StateKind::Skipped),
    };
    if verdict::passed(&cases, claimed) {
        return Ok(summary);
    }
    let total = cases.len();
    let is_wrong = |case: &CaseReport| {
        case.state.is_wrong()
            || claimed.is_some_and(|profile| {
                profile.contains(case.profile) && case.state.kind() == StateKind::NotSupported
            })
    };
    let wrong: Vec<CaseReport> = cases.into_iter().filter(is_wrong).collect();
    Err(if wrong.is_empty() { CheckError::NothingExecuted(total) } else { CheckError::Wrong(wrong) })
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded(error) => write!(f, "the plugin could not be loaded: {error}"),
            Self::NoDevice(error) => write!(f, "device 0 could not be opened: {error}"),
            Self::Run(error) => write!(f, "{error}"),
            Self::Wrong(cases) => {
                write!(f, "{} cases are wrong:", cases.len())?;
                cases.iter().try_for_each(|case| write!(f, "\n{}", text::failure(case)))
            }
            Self::NothingExecuted(cases) => {
                write!(f, "none of {cases} cases was executed: the backend refuses them all, or none applies")
            }
        }
    }
}

impl fmt::Debug for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for CheckError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotLoaded(error) => Some(error.as_ref()),
            Self::NoDevice(error) => Some(error),
            Self::Run(error) => Some(error),
            Self::Wrong(_) | Self::NothingExecuted(_) => None,
        }
    }
}
