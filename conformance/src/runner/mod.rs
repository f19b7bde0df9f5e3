//! Running the suite: a parent that schedules and reports, and workers in which the plugin runs.
//!
//! [`run`] makes the list of cases, chooses among them, starts workers and hands each one case after another. A worker
//! that dies or is killed costs the case that it was on: the case is recorded, another worker starts, and the run goes
//! on. What happens is told by [`Event`]s as it happens; what came of it is the [`Report`].
//!
//! Three cases are about a worker as a whole, and the parent answers them: `abi/load` (it loads and opens in time, each
//! time), `abi/silence` (nothing is written to stdout or stderr) and `abi/shutdown` (it lets go and exits in time). They
//! are recorded when they are chosen, and also when they were not and went wrong.
//!
//! ```no_run
//! use mxhal_conformance::runner::{self, Event, RunOptions, Target};
//! use mxhal_ffi::loader::Policy;
//!
//! let target = Target::File { path: "/opt/mychip/libmxhal_mychip.so".into(), policy: Policy::default() };
//! let mut options = RunOptions::new(target)?;
//! options.filter = Some(regex::Regex::new("^exact/")?);
//! let report = runner::run(&options, &mut |event| {
//!     if let Event::Done { case, .. } = event {
//!         println!("{} {}", case.name, case.state.kind().name());
//!     }
//! })?;
//! print!("{}", mxhal_conformance::report::text::summary(&report));
//! std::process::exit(report.exit_code());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod lane;
pub(crate) mod process;
pub(crate) mod protocol;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Instant, SystemTime};

use mxhal_core::Identity;
use mxhal_ffi::loader::Policy;
use regex::Regex;
use sha2::{Digest, Sha256};

use crate::case::Case;
use crate::filter;
use crate::profile::Profile;
use crate::report::date::Date;
use crate::report::{
    self, CaseReport, DeviceReport, Environment, PluginReport, Report, RunReport, SCHEMA, State, SuiteReport,
    WaiverStanding,
};
use crate::suite::SuiteKind;
use crate::suite::abi::ProcessQuestion;
use crate::waiver::{InRun, Waivers};
use lane::{Lane, Note};
pub use process::WorkerCommand;
use protocol::{Load, PluginFile};

/// What is judged.
#[derive(Clone, Debug)]
pub enum Target {
    /// A plugin's file.
    File {
        /// Where it is.
        path: PathBuf,
        /// What the loader demands of it.
        policy: Policy,
    },
    /// The backend that is linked into the worker.
    Embedded {
        /// Its name, for reports in case it cannot be loaded.
        name: String,
    },
}

/// How the suite is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What is judged.
    pub target: Target,
    /// The backend's options, as in `[backend.options]` of `config.toml`.
    pub host_options: Vec<(String, String)>,
    /// Which of the plugin's devices.
    pub device: u32,
    /// The profile that is claimed: only its cases and Core's are asked, and a refusal among them is a failure.
    pub profile: Option<Profile>,
    /// Cases whose names it matches are asked.
    pub filter: Option<Regex>,
    /// What all random data are drawn from.
    pub seed: u64,
    /// Failures that are known.
    pub waivers: Waivers,
    /// What the device is simulated by, where it is; reports say so.
    pub simulated: Option<String>,
    /// Workers at once. More than one share the device: not for timings, and not where memory is short.
    pub jobs: NonZeroUsize,
    /// What each time limit is multiplied by: more than 1 for a simulator or a loaded machine.
    pub time_factor: f64,
    /// The program that is run as a worker.
    pub worker: WorkerCommand,
    /// The command that runs this target again, without filter and seed: `mxhal conform --plugin x.so`.
    pub reproduce_prefix: String,
}

impl RunOptions {
    /// The usual way: device 0, everything, seed 0, one worker (as many as run at once for the embedded backend), this
    /// executable as the worker.
    ///
    /// # Errors
    ///
    /// Those of [`WorkerCommand::current`].
    pub fn new(target: Target) -> io::Result<Self> {
        let jobs = match &target {
            Target::File { .. } => NonZeroUsize::MIN,
            Target::Embedded { .. } => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let reproduce_prefix = match &target {
            Target::File { path, .. } => {
                format!("mxhal conform --plugin {}", quoted(&path.to_string_lossy()))
            }
            Target::Embedded { name } => format!("mxhal conform --backend {}", quoted(name)),
        };
        Ok(Self {
            target,
            host_options: Vec::new(),
            device: 0,
            profile: None,
            filter: None,
            seed: 0,
            waivers: Waivers::default(),
            simulated: None,
            jobs,
            time_factor: 1.0,
            worker: WorkerCommand::current()?,
            reproduce_prefix,
        })
    }

    /// The command that asks one case again.
    pub fn reproduce(&self, case: &str) -> String {
        let pattern = quoted(&format!("^{}$", regex::escape(case)));
        format!("{} --filter {pattern} --seed {}", self.reproduce_prefix, self.seed)
    }

    fn chooses(&self, case: &Case) -> bool {
        self.profile.is_none_or(|profile| profile.contains(case.profile))
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(&case.name))
    }
}

/// What happens, as it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The list is made and the first worker starts.
    Planned {
        /// Cases that were chosen.
        cases: usize,
    },
    /// The first worker has loaded the plugin and opened the device.
    Ready {
        /// Who was loaded.
        plugin: Box<PluginReport>,
        /// Which device was opened.
        device: Box<DeviceReport>,
    },
    /// A case was handed to a worker.
    Started {
        /// Its name.
        name: String,
    },
    /// A case is done. Those of the runner itself (`abi/load`, …) come last.
    Done {
        /// The case and what came of it, with the command that reproduces it where it is wrong.
        case: Box<CaseReport>,
        /// Cases done so far.
        done: usize,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No case was chosen.
    #[error("{what} chooses none of the {cases} cases; {hint}")]
    NothingChosen {
        /// The filter, the profile, or both.
        what: String,
        /// How many there are.
        cases: usize,
        /// What would choose some.
        hint: String,
    },
    /// A time factor that is no positive number.
    #[error("the time factor is {0}; it is a positive number")]
    TimeFactor(f64),
    /// The worker could not be started, or the plugin's file could not be read.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The plugin could not be loaded.
    #[error("the plugin could not be loaded: {0}")]
    NotLoaded(String),
    /// The plugin has no such device, or it cannot be opened.
    #[error("there is no device to judge the plugin on: {0}")]
    NoDevice(String),
}

impl RunError {
    /// 2 for what the caller must change, 3 for a plugin that could not be loaded, 4 for no device.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::NothingChosen { .. } | Self::TimeFactor(_) | Self::Io { .. } => 2,
            Self::NotLoaded(_) => 3,
            Self::NoDevice(_) => 4,
        }
    }
}

impl Report {
    /// 0 where all that was required passed, else 1.
    pub const fn exit_code(&self) -> i32 {
        if self.passed { 0 } else { 1 }
    }
}

/// The cases that a run with these options asks, in their order.
///
/// # Errors
///
/// [`RunError::NothingChosen`].
pub fn list(options: &RunOptions) -> Result<Vec<Case>, RunError> {
    choose(options, all_cases(options.seed))
}

/// Runs the suite. `events` is called in this thread.
///
/// # Errors
///
/// [`RunError`], whose [`exit_code`](RunError::exit_code) is the program's. A plugin that crashes or hangs while it is
/// loaded is not such an error: there is a report, with `abi/load` as its failure.
pub fn run(options: &RunOptions, events: &mut dyn FnMut(Event)) -> Result<Report, RunError> {
    check_time_factor(options)?;
    let all = all_cases(options.seed);
    let required = required(&all);
    let suite = suite_report(&all);
    let names: Vec<String> = all.iter().map(|case| case.name.clone()).collect();
    let chosen = choose(options, all)?;
    let mut plugin = plugin_report(&options.target);
    let load = load_order(options);
    let start = Instant::now();
    let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    events(Event::Planned { cases: chosen.len() });

    let mut device = None;
    let mut results = Results::new(options);
    let queue: VecDeque<Case> =
        chosen.iter().filter(|case| ProcessQuestion::of(case).is_none()).cloned().collect();
    let first = Lane::start(options, &load)?;
    match first {
        Ok((first, ready)) => {
            let identity = Identity { name: ready.name, vendor: ready.vendor, version: ready.version };
            plugin.identify(&identity, ready.abi);
            events(Event::Ready { plugin: Box::new(plugin.clone()), device: Box::new(ready.device.clone()) });
            results.waivers = options.waivers.in_run(&plugin.name, Some(&ready.device), Date::of(started));
            device = Some(ready.device);
            work(options, &load, first, queue, &mut results, events);
        }
        Err(state) => {
            results.waivers = options.waivers.in_run(&plugin.name, None, Date::of(started));
            results.answer(ProcessQuestion::Load, state);
            for case in queue {
                let state = State::Skipped { text: "the plugin could not be loaded".to_owned() };
                results.record(CaseReport::new(&case, 0.0, state, String::new), events);
            }
        }
    }

    let cases = results.conclude(&chosen, events);
    let waivers = results.waivers.conclude(&names);
    let mut notes = results.notes;
    notes.extend(waivers.iter().filter(|waiver| waiver.standing == WaiverStanding::Unused).map(|waiver| {
        format!("the waiver of {} matches no case of the suite: `{}`", waiver.place, waiver.cases)
    }));
    let profiles = report::verdict::profiles(&cases, required);
    Ok(Report {
        schema: SCHEMA.to_owned(),
        suite,
        plugin,
        device,
        environment: Environment::here(),
        run: RunReport {
            seed: options.seed,
            filter: options.filter.as_ref().map(|filter| filter.as_str().to_owned()),
            profile: options.profile,
            simulated: options.simulated.clone(),
            jobs: options.jobs.get(),
            started,
            seconds: start.elapsed().as_secs_f64(),
        },
        passed: report::verdict::passed(&cases, options.profile) && report::verdict::waivers_hold(&waivers),
        profiles,
        cases,
        waivers,
        notes,
    })
}

pub(crate) fn check_time_factor(options: &RunOptions) -> Result<(), RunError> {
    if options.time_factor.is_finite() && options.time_factor > 0.0 {
        return Ok(());
    }
    Err(RunError::TimeFactor(options.time_factor))
}

/// Runs the queue in as many lanes as there are jobs, the first of which has its worker already.
fn work(
    options: &RunOptions,
    load: &Load,
    first: Lane<'_>,
    queue: VecDeque<Case>,
    results: &mut Results<'_>,
    events: &mut dyn FnMut(Event),
) {
    let more = options.jobs.get().min(queue.len().max(1)) - 1;
    let queue = &Mutex::new(queue);
    let (sender, notes) = mpsc::channel();
    // The first worker belongs to this thread: it is killed when the thread that started it ends, so its lane is run
    // by a thread that only borrows it, and this one stays.
    thread::scope(|scope| {
        let lanes = std::iter::once(first).chain((0..more).map(|_| Lane::new(options, load)));
        for lane in lanes {
            let sender = sender.clone();
            scope.spawn(move || lane.run(queue, &sender));
        }
        drop(sender);
        for note in notes {
            match note {
                Note::Started(name) => events(Event::Started { name }),
                Note::Done(case) => results.record(*case, events),
                Note::Answer(question, state) => results.answer(question, state),
                Note::Remark(text) => {
                    if !results.notes.contains(&text) {
                        results.notes.push(text);
                    }
                }
            }
        }
    });
}

/// What came in so far.
struct Results<'a> {
    options: &'a RunOptions,
    /// As they stand for this plugin and device; none before those are known.
    waivers: InRun<'a>,
    cases: HashMap<String, CaseReport>,
    notes: Vec<String>,
    /// What went wrong with a worker as a whole; the first time counts.
    questions: HashMap<ProcessQuestion, State>,
    done: usize,
}

impl<'a> Results<'a> {
    fn new(options: &'a RunOptions) -> Self {
        Self {
            options,
            waivers: InRun::default(),
            cases: HashMap::new(),
            notes: Vec::new(),
            questions: HashMap::new(),
            done: 0,
        }
    }

    fn record(&mut self, case: CaseReport, events: &mut dyn FnMut(Event)) {
        let options = self.options;
        let name = case.name.clone();
        let case = self.waivers.apply(case, || options.reproduce(&name));
        self.done += 1;
        events(Event::Done { case: Box::new(case.clone()), done: self.done });
        self.cases.insert(case.name.clone(), case);
    }

    fn answer(&mut self, question: ProcessQuestion, state: State) {
        self.questions.entry(question).or_insert(state);
    }

    /// Answers the runner's own cases and gives all of them in the order of the list.
    fn conclude(&mut self, chosen: &[Case], events: &mut dyn FnMut(Event)) -> Vec<CaseReport> {
        let options = self.options;
        let loaded = !self.questions.contains_key(&ProcessQuestion::Load) || !self.cases.is_empty();
        let mut cases = chosen.to_vec();
        for question in ProcessQuestion::ALL {
            let wrong = self.questions.remove(&question);
            let case = question.case(options.seed);
            let is_chosen = cases.iter().any(|chosen| chosen.name == case.name);
            if !is_chosen && wrong.is_none() {
                continue;
            }
            if !is_chosen {
                cases.push(case.clone());
            }
            let state = match wrong {
                Some(state) => state,
                None if loaded => State::Pass(Default::default()),
                None => State::Skipped { text: "the plugin could not be loaded".to_owned() },
            };
            let report = CaseReport::new(&case, 0.0, state, || options.reproduce(&case.name));
            self.record(report, events);
        }
        cases.iter().filter_map(|case| self.cases.remove(&case.name)).collect()
    }
}

pub(crate) fn all_cases(seed: u64) -> Vec<Case> {
    let cases: Vec<Case> = SuiteKind::ALL.into_iter().flat_map(|suite| suite.cases(seed)).collect();
    debug_assert_eq!(
        cases.iter().map(|case| &case.name).collect::<HashSet<_>>().len(),
        cases.len(),
        "names of cases are unique"
    );
    cases
}

fn choose(options: &RunOptions, all: Vec<Case>) -> Result<Vec<Case>, RunError> {
    let (chosen, others): (Vec<Case>, Vec<Case>) = all.into_iter().partition(|case| options.chooses(case));
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let filter = options.filter.as_ref().map(|filter| format!("the filter `{filter}`"));
    let profile = options.profile.map(|profile| format!("the profile `{profile}`"));
    let what: Vec<String> = filter.into_iter().chain(profile).collect();
    let hint = hint(options, &others);
    Err(RunError::NothingChosen { what: what.join(" within "), cases: others.len(), hint })
}

/// What would choose some of these cases, of which none were.
fn hint(options: &RunOptions, cases: &[Case]) -> String {
    const LIST: &str = "`mxhal conform --list` names them all";
    let Some(filter) = &options.filter else { return LIST.to_owned() };
    let mut elsewhere: Vec<&str> =
        cases.iter().filter(|case| filter.is_match(&case.name)).map(|case| case.profile.name()).collect();
    let matched = elsewhere.len();
    elsewhere.sort_unstable();
    elsewhere.dedup();
    if matched > 0 {
        return format!("the filter alone chooses {matched}, of the profile {}", elsewhere.join(" and "));
    }
    let names = cases.iter().map(|case| case.name.as_str());
    match &filter::nearest(filter, names, 3)[..] {
        [] => LIST.to_owned(),
        near => format!("the nearest are {}, and {LIST}", near.join(", ")),
    }
}

/// How many cases each profile requires, its own and Core's, asked or not.
pub(crate) fn required(all: &[Case]) -> impl Fn(Profile) -> usize + use<> {
    let profiles: Vec<Profile> = all.iter().map(|case| case.profile).collect();
    move |profile| profiles.iter().filter(|other| profile.contains(**other)).count()
}

pub(crate) fn suite_report(all: &[Case]) -> SuiteReport {
    let mut hash = Sha256::new();
    for case in all {
        hash.update(format!("{} {}\n", case.profile, case.name));
    }
    SuiteReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cases: all.len(),
        cases_sha256: hexadecimal(&hash.finalize()),
    }
}

pub(crate) fn plugin_report(target: &Target) -> PluginReport {
    match target {
        Target::Embedded { name } => PluginReport { name: name.clone(), ..PluginReport::default() },
        Target::File { path, .. } => PluginReport {
            sha256: sha256_of(path),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: Some(path.clone()),
            ..PluginReport::default()
        },
    }
}

/// The hash of a file; `None` where it cannot be read, which the loader then says better.
pub(crate) fn sha256_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|data| data.is_file()))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(hexadecimal(&hash.finalize())),
            count => hash.update(&chunk[..count]),
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn load_order(options: &RunOptions) -> Load {
    let file = match &options.target {
        Target::File { path, policy } => Some(PluginFile::new(path.clone(), policy)),
        Target::Embedded { .. } => None,
    };
    Load { file, options: options.host_options.clone(), device: options.device, seed: options.seed }
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded() -> RunOptions {
        RunOptions::new(Target::Embedded { name: "cpu".into() }).unwrap()
    }

    #[test]
    fn names_of_cases_are_unique_and_begin_with_their_suite() {
        let cases = all_cases(7);
        let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        for case in &cases {
            assert!(case.name.starts_with(&format!("{}/", case.suite)), "{}", case.name);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_list() {
        let names = |seed| all_cases(seed).into_iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names(11), names(11));
    }

    #[test]
    fn a_filter_that_matches_nothing_is_an_error() {
        let options = RunOptions { filter: Some(Regex::new("^no/such/case$").unwrap()), ..embedded() };
        let error = list(&options).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("^no/such/case$"), "{error}");
        assert!(error.to_string().contains("--list"), "{error}");
    }

    #[test]
    fn a_filter_that_matches_nothing_is_answered_with_what_would() {
        let refused = |filter: &str, profile| {
            let options = RunOptions { filter: Some(Regex::new(filter).unwrap()), profile, ..embedded() };
            list(&options).unwrap_err().to_string()
        };
        let misspelt = refused("^abi/plan/inof$", None);
        assert!(misspelt.contains("nearest are abi/plan/info, "), "{misspelt}");
        let elsewhere = refused("^exact/quantize/.*nvfp4", Some(Profile::Core));
        assert!(elsewhere.contains("`core`") && elsewhere.ends_with(", of the profile nvfp4"), "{elsewhere}");
    }

    #[test]
    fn a_claimed_profile_asks_its_own_cases_and_those_of_core() {
        let options = RunOptions { profile: Some(Profile::Core), ..embedded() };
        assert!(list(&options).unwrap().iter().all(|case| case.profile == Profile::Core));
    }

    #[test]
    fn the_command_that_reproduces_a_case_survives_a_shell() {
        let target = Target::File { path: "/opt/it's/x.so".into(), policy: Policy::default() };
        let options = RunOptions { seed: 3, ..RunOptions::new(target).unwrap() };
        assert_eq!(
            options.reproduce("abi/load"),
            r"mxhal conform --plugin '/opt/it'\''s/x.so' --filter '^abi/load$' --seed 3"
        );
    }
}
