//! After a failure: the smallest case that still fails, in one file, asked again anywhere.
//!
//! A failing case of an operator becomes a [`Trial`], which holds the bytes of all inputs. It is shrunk, along its shape
//! first, then in its attributes and values, for as long as it fails in the same way, and written as a [`Replay`].
//! [`ask`] asks it again, of any backend, against the oracle. Whatever is asked here is asked in a worker: a crash and a
//! hang are answers too.
//!
//! | module | holds |
//! | --- | --- |
//! | `descriptor` | operators as JSON |
//! | `trial` | a case with its data |
//! | `cut` | a trial with fewer rows, columns, experts |
//! | `shrink` | the search for the smallest |
//! | `file` | the replay file |
//!
//! ```no_run
//! use mxhal_conformance::replay::{self, Replay};
//! use mxhal_conformance::runner::{RunOptions, Target};
//! use mxhal_ffi::loader::Policy;
//!
//! let replay = Replay::read("exact.matmul.json".as_ref())?;
//! let target = Target::File { path: "/opt/mychip/libmxhal_mychip.so".into(), policy: Policy::default() };
//! let answer = replay::ask(&RunOptions::new(target)?, &replay)?;
//! println!("{} {}", answer.state.kind().name(), answer.state.message());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod cut;
mod descriptor;
mod file;
mod shrink;
mod trial;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mxhal_core::Identity;
use serde::Serialize;

use crate::case::{Body, Case};
use crate::opcase::{OpCase, listing};
use crate::report::{CaseReport, DeviceReport, Environment, PluginReport, Report, State, StateKind};
use crate::runner::lane::Lane;
use crate::runner::{self, RunError, RunOptions};

pub use file::{Replay, ReplayError, SCHEMA, ShrunkFrom};
pub use shrink::{Budget, Kind};
pub use trial::Trial;
pub(crate) use trial::TrialRecord;

/// How long each trial is waited for while a hang is made smaller: whole time limits would leave time for few.
const HANG_LIMIT: Duration = Duration::from_secs(2);

/// What came of asking a trial again.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Who was asked.
    pub plugin: PluginReport,
    /// On which device; absent when it was never reached.
    pub device: Option<DeviceReport>,
    /// What came of it.
    #[serde(flatten)]
    pub state: State,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Answer {
    /// 0 where it passes, else 1: what was refused was not executed, and has not passed.
    pub const fn exit_code(&self) -> i32 {
        if matches!(self.state.kind(), StateKind::Pass) { 0 } else { 1 }
    }

    /// Whether it is wrong in the same way as when the file was written.
    pub fn is_as_recorded(&self, replay: &Replay) -> bool {
        Kind::of(&self.state) == Kind::of(&replay.verdict)
    }
}

impl Replay {
    /// The operator, its shape and its formats, as names of cases have them.
    pub fn question(&self) -> String {
        describe(&self.trial.case)
    }
}

/// Asks a replayed trial of a target, in a worker. Of the options, those that choose cases are of no matter.
///
/// # Errors
///
/// [`RunError`], where the plugin cannot be loaded or has no device. That it crashes or hangs is an answer.
pub fn ask(options: &RunOptions, replay: &Replay) -> Result<Answer, RunError> {
    runner::check_time_factor(options)?;
    let load = runner::load_order(options);
    let mut plugin = runner::plugin_report(&options.target);
    let (mut lane, ready) = match Lane::start(options, &load)? {
        Ok(started) => started,
        Err(state) => return Ok(Answer { plugin, device: None, state, seconds: 0.0 }),
    };
    let identity = Identity { name: ready.name, vendor: ready.vendor, version: ready.version };
    plugin.identify(&identity, ready.abi);
    let (state, seconds) = lane.try_trial(&replay.trial, Duration::from_secs_f64(replay.time_limit.min(1e6)));
    Ok(Answer { plugin, device: Some(ready.device), state, seconds })
}

/// How failures are recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The folder; it is made if it is not there.
    pub folder: PathBuf,
    /// How much shrinking may cost; `None` to write every case as it is.
    pub shrink: Option<Shrinking>,
}

/// What shrinking may cost.
#[derive(Clone, Copy, Debug)]
pub struct Shrinking {
    /// One case.
    pub each: Budget,
    /// All of them: after this time, those that are left are not recorded.
    pub total: Duration,
}

impl Default for Shrinking {
    /// Two minutes for all.
    fn default() -> Self {
        Self { each: Budget::default(), total: Duration::from_secs(120) }
    }
}

/// Whether [`record`] would write anything for a run's report.
///
/// # Errors
///
/// [`RunError`], where the list of cases cannot be made again.
pub fn has_recordable(options: &RunOptions, report: &Report) -> Result<bool, RunError> {
    let some_wrong = report.cases.iter().any(|case| case.state.is_wrong());
    Ok(some_wrong && !recordable(report, &runner::list(options)?).is_empty())
}

/// Cases of an operator on data that are wrong, and what was seen of each.
fn recordable<'a>(report: &'a Report, cases: &'a [Case]) -> Vec<(&'a CaseReport, &'a Case, &'a OpCase)> {
    let wrong = report.cases.iter().filter(|seen| seen.state.is_wrong());
    wrong
        .filter_map(|seen| {
            let case = cases.iter().find(|case| case.name == seen.name)?;
            match &case.body {
                Body::Op(op_case) => Some((seen, case, op_case)),
                _ => None,
            }
        })
        .collect()
}

/// Writes a file for each failing case of an operator in a run's report; `written` is called for each as it is written.
///
/// A case that does not fail when it is asked once more, alone, is written as it was seen in the run. Gives the number of
/// cases that were left out because the time for shrinking was over: whole, each may be as large as a layer.
///
/// # Errors
///
/// [`RecordError`], after which the cases before it have their files.
pub fn record(
    options: &RunOptions,
    report: &Report,
    recording: &Recording,
    written: &mut dyn FnMut(&Path, &Replay),
) -> Result<usize, RecordError> {
    let cases: Vec<Case> = runner::list(options)?;
    let wrong = recordable(report, &cases);
    let Some(device) = report.device.clone().filter(|_| !wrong.is_empty()) else { return Ok(0) };
    std::fs::create_dir_all(&recording.folder)
        .map_err(|source| ReplayError::Write { path: recording.folder.clone(), source })?;
    let load = runner::load_order(options);
    let mut lane = Lane::new(options, &load);
    let (start, count) = (Instant::now(), wrong.len());
    for (place, (seen, case, op_case)) in wrong.into_iter().enumerate() {
        let left = recording.shrink.map(|shrink| shrink.total.saturating_sub(start.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(count - place);
        }
        let trial = Trial::new(op_case, case.seed);
        let mut replay = Replay {
            case: seen.name.clone(),
            suite_version: report.suite.version.clone(),
            time_limit: case.time_limit.as_secs_f64(),
            reproduce: seen.reproduce.clone().unwrap_or_default(),
            verdict: seen.state.clone(),
            shrunk: None,
            plugin: report.plugin.clone(),
            device: device.clone(),
            environment: Environment::here(),
            trial,
        };
        if let (Some(shrink), Some(left)) = (recording.shrink, left) {
            let budget = Budget { time: shrink.each.time.min(left), ..shrink.each };
            make_small(&mut replay, budget, &mut lane, case.time_limit);
        }
        let path = recording.folder.join(file_name(&seen.name));
        replay.write(&path)?;
        written(&path, &replay);
    }
    Ok(0)
}

/// Shrinks a replay, if its trial fails alone as it did in the run.
fn make_small(replay: &mut Replay, budget: Budget, lane: &mut Lane<'_>, limit: Duration) {
    let hangs = replay.verdict.kind() == StateKind::Timeout;
    let short = limit.min(if hangs { HANG_LIMIT } else { budget.time });
    let mut ask = |trial: &Trial| lane.try_trial(trial, short).0;
    let alone = ask(&replay.trial);
    if Kind::of(&alone) != Kind::of(&replay.verdict) {
        return;
    }
    let small = shrink::shrink(&replay.trial, &alone, budget, &mut ask);
    // A hang was waited for only shortly; it is one if it lasts as long as a case may.
    let state = if hangs { lane.try_trial(&small.trial, limit).0 } else { small.state };
    if Kind::of(&state) == Kind::of(&replay.verdict) {
        replay.shrunk = Some(ShrunkFrom { bytes: replay.trial.bytes(), steps: small.steps });
        replay.trial = small.trial;
        replay.verdict = state;
    }
}

/// Why failures were not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file.
    #[error(transparent)]
    File(#[from] ReplayError),
    /// The list of cases could not be made again.
    #[error(transparent)]
    Run(#[from] RunError),
}

fn describe(case: &OpCase) -> String {
    format!("{} {} {}", case.op.kind(), listing::shape(case), listing::formats(&case.op))
}

/// The name of a case as that of a file.
fn file_name(case: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '.' };
    // Most file systems allow 255 bytes, and the file is written under a longer name first.
    let name: String = case.chars().map(plain).take(220).collect();
    format!("{name}.json")
}
