//! The runner against a plugin that crashes, hangs, exits, prints and loses its device.
//!
//! This executable is the test and the worker that it starts: with the argument `conform-worker` it serves.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use mxhal_conformance::check::{self, CheckError};
use mxhal_conformance::report::{CaseReport, Report, Standing, State, StateKind, WaiverStanding, file, text};
use mxhal_conformance::runner::{Event, RunError, RunOptions, Target, run};
use mxhal_conformance::suite::SuiteKind;
use mxhal_conformance::waiver::Waivers;
use mxhal_conformance::worker;
use mxhal_ffi::loader::Policy;
use regex::Regex;

/// `event_elapsed`, where most of the faults are, is called by those of `event/`; the others frame them in the list.
const FRAMED: &str = "^abi/(identity/texts|event/|plan/info|load|silence|shutdown)";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("conform-worker") {
        return worker::main(None);
    }
    if let [_, role, plugin, marker] = &std::env::args().collect::<Vec<_>>()[..]
        && role == "hanging-run"
    {
        return hanging_run(Path::new(plugin), marker);
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let bench = Bench { plugin: compile(folder.path()), folder: folder.path().to_owned() };
    let tests: &[Test] = &[
        ("a_good_plugin_passes", a_good_plugin_passes),
        ("a_crash_costs_one_case", a_crash_costs_one_case),
        ("a_checked_suite_survives_a_crash_and_names_it", a_checked_suite_survives_a_crash_and_names_it),
        ("an_exit_is_named", an_exit_is_named),
        ("an_exception_costs_one_case", an_exception_costs_one_case),
        ("last_words_are_kept_with_the_crash", last_words_are_kept_with_the_crash),
        ("a_hang_is_killed", a_hang_is_killed),
        ("a_lost_device_gets_a_new_worker", a_lost_device_gets_a_new_worker),
        ("what_a_worker_leaves_behind_delays_nobody", what_a_worker_leaves_behind_delays_nobody),
        ("what_is_printed_is_a_failure", what_is_printed_is_a_failure),
        ("a_crash_that_is_known_fails_no_run", a_crash_that_is_known_fails_no_run),
        ("a_shutdown_that_crashes_or_hangs_is_a_failure", a_shutdown_that_crashes_or_hangs_is_a_failure),
        ("loading_that_crashes_or_hangs_has_a_report", loading_that_crashes_or_hangs_has_a_report),
        ("a_plugin_that_loads_once_is_given_up", a_plugin_that_loads_once_is_given_up),
        ("a_plugin_that_refuses_is_not_loaded", a_plugin_that_refuses_is_not_loaded),
        ("no_device_is_no_report", no_device_is_no_report),
        ("a_claimed_profile_needs_what_the_plugin_refuses", a_claimed_profile_needs_what_the_plugin_refuses),
        ("jobs_change_nothing_but_time", jobs_change_nothing_but_time),
        ("each_broken_rule_is_seen_by_its_case", each_broken_rule_is_seen_by_its_case),
        ("a_worker_ends_when_its_parent_is_gone", a_worker_ends_when_its_parent_is_gone),
        ("a_hanging_worker_ends_with_its_killed_parent", a_hanging_worker_ends_with_its_killed_parent),
        (
            "a_worker_says_what_it_is_when_it_is_called_by_hand",
            a_worker_says_what_it_is_when_it_is_called_by_hand,
        ),
    ];
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = tests.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| name.contains(wanted)));
    for (name, test) in chosen {
        let start = Instant::now();
        test(&bench);
        println!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// Its name, and what it does.
type Test = (&'static str, fn(&Bench));

/// The plugin, and a folder for files.
struct Bench {
    plugin: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn options(&self, fault: &str, filter: &str) -> RunOptions {
        let target = Target::File { path: self.plugin.clone(), policy: Policy::default() };
        let mut options = RunOptions::new(target).expect("this executable has a path");
        options.host_options = vec![("fault".to_owned(), fault.to_owned())];
        options.filter = Some(Regex::new(filter).expect("the pattern is ours"));
        options
    }

    fn report(&self, fault: &str) -> Report {
        run(&self.options(fault, FRAMED), &mut |_| {}).expect("the plugin loads")
    }
}

fn a_good_plugin_passes(bench: &Bench) {
    let mut events = Vec::new();
    let report = run(&bench.options("none", FRAMED), &mut |event| events.push(event)).unwrap();
    assert!(report.passed, "{}", text::summary(&report));
    assert_eq!(report.exit_code(), 0);
    assert!(report.cases.iter().all(|case| case.state.kind() == StateKind::Pass), "{:?}", report.cases);
    for name in ["abi/load", "abi/silence", "abi/shutdown", "abi/identity/texts", "abi/plan/info"] {
        assert_eq!(case(&report, name).reproduce, None);
    }
    assert!(matches!(events[0], Event::Planned { cases } if cases == report.cases.len()));
    assert!(matches!(&events[1], Event::Ready { plugin, .. } if plugin.name == report.plugin.name));
    let done = events.iter().filter(|event| matches!(event, Event::Done { .. })).count();
    assert_eq!(done, report.cases.len());

    assert_eq!(report.plugin.sha256.as_ref().map(String::len), Some(64));
    assert!(report.device.is_some());
    assert!(report.suite.cases > report.cases.len());
    assert!(report.profiles.iter().all(|verdict| verdict.standing == Standing::NotJudged));

    let path = bench.folder.join("report.json");
    file::write_json(&report, &path).unwrap();
    let back = file::read_json(&path).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let schema = mxhal_conformance::report::schema::json();
    jsonschema::draft202012::validate(&schema, &written).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(&report).unwrap());
}

fn a_crash_costs_one_case(bench: &Bench) {
    let report = bench.report("segv");
    for name in ["abi/event/never-recorded", "abi/event/record-and-wait"] {
        let crashed = case(&report, name);
        assert!(matches!(&crashed.state, State::Crash { how, .. } if how.contains("SIGSEGV")), "{crashed:?}");
        let command = crashed.reproduce.as_ref().expect("what is wrong can be seen again");
        assert!(command.contains("--filter '^abi/event/") && command.ends_with("--seed 0"), "{command}");
    }
    assert_passed(
        &report,
        &["abi/identity/texts", "abi/plan/info", "abi/load", "abi/shutdown", "abi/silence"],
    );
    assert_eq!(report.exit_code(), 1);
    let summary = text::summary(&report);
    assert!(
        summary.contains("SIGSEGV") && summary.ends_with("FAILED: 2 of 7 cases are wrong\n"),
        "{summary}"
    );
}

fn a_checked_suite_survives_a_crash_and_names_it(bench: &Bench) {
    let summary = check::isolated(SuiteKind::Abi, &bench.options("none", "")).expect("nothing is wrong");
    assert!(summary.passed > 0, "{summary:?}");
    let error = check::isolated(SuiteKind::Abi, &bench.options("segv", "")).expect_err("it crashes");
    let CheckError::Wrong(cases) = &error else { panic!("{error}") };
    assert!(cases.iter().all(|case| case.suite == SuiteKind::Abi), "{error}");
    assert!(cases.iter().any(|case| case.state.kind() == StateKind::Crash), "{error}");
    assert!(error.to_string().contains("SIGSEGV"), "{error}");
}

fn a_crash_that_is_known_fails_no_run(bench: &Bench) {
    let waiver = "[[waiver]]\ncases = 'abi/event/.*'\nowner = 'someone'\nreason = 'events are new'\n\
                  expected = 'crash'\nexpires = 9999-12-31\n";
    let waivers = Waivers::parse(waiver, Path::new("known.toml")).unwrap();
    let options = RunOptions { waivers, ..bench.options("segv", FRAMED) };
    let mut told = Vec::new();
    let report = run(&options, &mut |event| {
        if let Event::Done { case, .. } = event {
            told.push(case.state.kind());
        }
    })
    .unwrap();
    assert!(report.passed, "{}", text::summary(&report));
    assert!(told.contains(&StateKind::Waived) && !told.contains(&StateKind::Crash), "{told:?}");
    assert_eq!(report.waivers[0].standing, WaiverStanding::InForce);
    assert_eq!(report.waivers[0].applied, ["abi/event/never-recorded", "abi/event/record-and-wait"]);
}

fn an_exit_is_named(bench: &Bench) {
    let report = bench.report("exit");
    let state = &case(&report, "abi/event/record-and-wait").state;
    assert!(matches!(state, State::Crash { how, .. } if how == "exit(7) was called"), "{state:?}");
    assert_passed(&report, &["abi/plan/info"]);
}

/// One of C++, through the C ABI and into the host.
fn an_exception_costs_one_case(bench: &Bench) {
    let report = bench.report("throw");
    for name in ["abi/event/never-recorded", "abi/event/record-and-wait"] {
        let state = &case(&report, name).state;
        assert!(matches!(state, State::Crash { how, .. } if how.contains("SIGABRT")), "{state:?}");
    }
    assert_passed(&report, &["abi/identity/texts", "abi/plan/info", "abi/load", "abi/shutdown"]);
    assert_eq!(report.exit_code(), 1);
}

fn last_words_are_kept_with_the_crash(bench: &Bench) {
    let report = bench.report("abort");
    let state = &case(&report, "abi/event/never-recorded").state;
    assert!(
        matches!(state, State::Crash { how, output } if how.contains("SIGABRT") && output.contains("last words")),
        "{state:?}"
    );
    assert_passed(&report, &["abi/silence"]);
}

fn a_hang_is_killed(bench: &Bench) {
    let mut options = bench.options("hang", FRAMED);
    options.time_factor = 0.02;
    let start = Instant::now();
    let report = run(&options, &mut |_| {}).unwrap();
    let state = &case(&report, "abi/event/never-recorded").state;
    assert!(matches!(state, State::Timeout { limit } if *limit < 5.0), "{state:?}");
    assert_passed(&report, &["abi/plan/info", "abi/shutdown"]);
    assert!(start.elapsed() < Duration::from_secs(60));
}

fn a_lost_device_gets_a_new_worker(bench: &Bench) {
    let report = bench.report("lost");
    let state = &case(&report, "abi/event/record-and-wait").state;
    assert!(matches!(state, State::DeviceLost { text } if text.contains("fell off the bus")), "{state:?}");
    assert_passed(&report, &["abi/plan/info", "abi/load"]);
    assert_eq!(report.exit_code(), 1);
}

fn what_a_worker_leaves_behind_delays_nobody(bench: &Bench) {
    let start = Instant::now();
    let report = bench.report("leave-a-child");
    let state = &case(&report, "abi/event/never-recorded").state;
    assert!(matches!(state, State::Crash { how, .. } if how == "exit(3) was called"), "{state:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn what_is_printed_is_a_failure(bench: &Bench) {
    // Chosen or not.
    let report = run(&bench.options("print", "^abi/memory/host$"), &mut |_| {}).unwrap();
    let silence = case(&report, "abi/silence");
    let State::Fail(failure) = &silence.state else { panic!("{silence:?}") };
    assert!(failure.got.as_ref().is_some_and(|got| got.contains("allocating 65536 bytes")), "{failure:?}");
    assert_passed(&report, &["abi/memory/host"]);
    assert_eq!(report.exit_code(), 1);
}

fn a_shutdown_that_crashes_or_hangs_is_a_failure(bench: &Bench) {
    let report = run(&bench.options("crash-in-shutdown", "^abi/plan/info$"), &mut |_| {}).unwrap();
    let state = &case(&report, "abi/shutdown").state;
    assert!(matches!(state, State::Crash { how, .. } if how.contains("SIGSEGV")), "{state:?}");
    assert_passed(&report, &["abi/plan/info"]);

    let mut options = bench.options("hang-in-shutdown", "^abi/plan/info$");
    options.time_factor = 0.02;
    let report = run(&options, &mut |_| {}).unwrap();
    assert_eq!(case(&report, "abi/shutdown").state.kind(), StateKind::Timeout);
    assert_eq!(report.exit_code(), 1);
}

fn loading_that_crashes_or_hangs_has_a_report(bench: &Bench) {
    for (fault, kind) in [("crash-in-open", StateKind::Crash), ("hang-in-open", StateKind::Timeout)] {
        let mut options = bench.options(fault, "^abi/plan/info$");
        options.time_factor = 0.02;
        let report = run(&options, &mut |_| {}).unwrap();
        assert_eq!(case(&report, "abi/load").state.kind(), kind);
        assert_eq!(case(&report, "abi/plan/info").state.kind(), StateKind::Skipped);
        assert!(report.device.is_none());
        assert_eq!(report.exit_code(), 1);
        assert!(text::summary(&report).contains("none was reached"));
    }
}

fn a_plugin_that_loads_once_is_given_up(bench: &Bench) {
    let mut options = bench.options("loads-once", FRAMED);
    let marker = bench.folder.join("was-loaded").to_string_lossy().into_owned();
    options.host_options.push(("marker".to_owned(), marker));
    let report = run(&options, &mut |_| {}).unwrap();
    let load = case(&report, "abi/load");
    assert!(
        matches!(&load.state, State::Fail(failure) if failure.message.contains("once is enough")),
        "{load:?}"
    );
    assert_eq!(case(&report, "abi/event/never-recorded").state.kind(), StateKind::Crash);
    assert_eq!(case(&report, "abi/plan/info").state.kind(), StateKind::Skipped);
}

fn a_plugin_that_refuses_is_not_loaded(bench: &Bench) {
    let error = run(&bench.options("refuse-to-open", FRAMED), &mut |_| {}).unwrap_err();
    assert!(matches!(error, RunError::NotLoaded(_)) && error.exit_code() == 3, "{error:?}");
    assert!(error.to_string().contains("tried libchip.so.2"), "{error}");

    let mut options = bench.options("none", FRAMED);
    options.target = Target::File { path: bench.folder.join("absent.so"), policy: Policy::default() };
    let error = run(&options, &mut |_| {}).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("absent.so"), "{error}");

    options.target = Target::Embedded { name: "cpu".to_owned() };
    let error = run(&options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("no backend is linked into this worker"), "{error}");
}

fn no_device_is_no_report(bench: &Bench) {
    let error = run(&bench.options("no-device", FRAMED), &mut |_| {}).unwrap_err();
    assert!(matches!(error, RunError::NoDevice(_)) && error.exit_code() == 4, "{error:?}");
    let mut options = bench.options("none", FRAMED);
    options.device = 5;
    let error = run(&options, &mut |_| {}).unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("device 5 was asked for"), "{error}");
}

fn a_claimed_profile_needs_what_the_plugin_refuses(bench: &Bench) {
    // The example has no combine, and says so.
    let mut options = bench.options("none", "^(abi/plan/info|exact/.*(combine|permute|route))");
    let report = run(&options, &mut |_| {}).unwrap();
    assert!(report.passed, "{}", text::summary(&report));
    assert_eq!(report.profiles[0].standing, Standing::NotMet);
    options.profile = Some(mxhal_conformance::profile::Profile::Core);
    let report = run(&options, &mut |_| {}).unwrap();
    assert_eq!(report.exit_code(), 1, "{}", text::summary(&report));

    // A run in which nothing was executed has not passed.
    options.profile = None;
    options.filter = Some(Regex::new("^exact/.*(combine|permute|route)").unwrap());
    let report = run(&options, &mut |_| {}).unwrap();
    assert_eq!(report.exit_code(), 1, "{}", text::summary(&report));
    assert!(text::summary(&report).ends_with("FAILED: nothing was executed\n"));
}

fn jobs_change_nothing_but_time(bench: &Bench) {
    let states = |jobs: usize| {
        let mut options = bench.options("segv", "^abi/");
        options.jobs = jobs.try_into().unwrap();
        let report = run(&options, &mut |_| {}).unwrap();
        report.cases.into_iter().map(|case| (case.name, case.state.kind())).collect::<Vec<_>>()
    };
    assert_eq!(states(1), states(3));
}

/// Faults of `plugin.c`, and a case that is meant to see each.
const BROKEN_RULES: [(&str, &str); 26] = [
    ("every-extension", "abi/table/unknown-extension"),
    ("null-accepted", "abi/null/event"),
    ("null-not-destroyed", "abi/null/destroy"),
    ("error-overrun", "abi/error/short"),
    ("error-empty", "abi/null/device"),
    ("error-endless", "abi/null/device"),
    ("error-of-another-status", "abi/null/device"),
    ("error-on-success", "abi/error/left-alone"),
    ("index-ignored", "abi/device/index-beyond-the-last"),
    ("unknown-value-unnamed", "abi/values/unknown-operator"),
    ("unknown-value-unnamed", "abi/values/unknown-enumeration"),
    ("size-must-be-equal", "abi/sizes/operator-larger"),
    ("result-overrun", "abi/sizes/result-shorter"),
    ("misaligned", "abi/memory/allocate"),
    ("copy-in-words", "abi/copies/round-trip"),
    ("fill-signed", "abi/copies/round-trip"),
    ("zero-bytes-refused", "abi/copies/zero-bytes"),
    ("bytes-not-checked", "abi/plan/tensor-bytes"),
    ("always-yes", "support/dequantize/walk-0"),
    ("yes-and-no-run", "support/quantize/walk-0"),
    ("no-and-a-plan", "support/quantize/walk-0"),
    ("no-without-words", "support/moe-ffn/walk-0"),
    ("other-words", "support/route/walk-0"),
    ("other-reason", "support/route/walk-0"),
    ("other-status", "support/route/walk-0"),
    ("changes-its-mind", "support/matmul/walk-0"),
];

fn each_broken_rule_is_seen_by_its_case(bench: &Bench) {
    for (fault, name) in BROKEN_RULES {
        let pattern = format!("^({name}|abi/identity/texts)$");
        let report = run(&bench.options(fault, &pattern), &mut |_| {}).unwrap();
        let kind = case(&report, name).state.kind();
        assert_eq!(kind, StateKind::Fail, "{fault} by {name}: {:?}", case(&report, name).state);
        assert_passed(&report, &["abi/identity/texts"]);
    }
}

fn a_worker_ends_when_its_parent_is_gone(_: &Bench) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .arg("conform-worker")
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    assert!(worker.try_wait().unwrap().is_none());
    drop(ours);
    let deadline = Instant::now() + Duration::from_secs(10);
    while worker.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on without anybody to answer to");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The parent of [`a_hanging_worker_ends_with_its_killed_parent`].
fn hanging_run(plugin: &Path, marker: &str) -> ExitCode {
    let bench = Bench { plugin: plugin.to_owned(), folder: PathBuf::new() };
    let mut options = bench.options("hang", "^abi/event/never-recorded$");
    options.host_options.push(("marker".to_owned(), marker.to_owned()));
    let _ = run(&options, &mut |_| {});
    ExitCode::SUCCESS
}

/// The parent is killed without a chance to do anything, while the plugin has the worker's only free thread.
fn a_hanging_worker_ends_with_its_killed_parent(bench: &Bench) {
    let marker = bench.folder.join("hanging-worker");
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg("hanging-run")
        .arg(&bench.plugin)
        .arg(&marker)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let wait = |what: &str| {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let worker = loop {
        let text = std::fs::read_to_string(&marker).unwrap_or_default();
        match text.strip_suffix('\n') {
            Some(number) => break number.to_owned(),
            None => wait("the worker does not get as far as to hang"),
        }
    };
    assert_ne!(worker, parent.id().to_string());
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Whoever inherits it may be slow to take notice that it ended.
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('Z'))
    };
    while !is_gone() {
        wait("the worker outlives its parent");
    }
}

fn a_worker_says_what_it_is_when_it_is_called_by_hand(_: &Bench) {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("conform-worker")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("started by `mxhal conform`"), "{words}");
}

fn case<'a>(report: &'a Report, name: &str) -> &'a CaseReport {
    report
        .cases
        .iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("there is no {name} in the report"))
}

fn assert_passed(report: &Report, names: &[&str]) {
    for name in names {
        let case = case(report, name);
        assert_eq!(case.state.kind(), StateKind::Pass, "{case:?}");
    }
}

/// The example plugin of C, with faults, one of which is in C++.
fn compile(folder: &Path) -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let library = folder.join("libmxhal_faulty.so");
    let status = cc::Build::new()
        .cpp(true)
        .target(&target)
        .host(&target)
        .opt_level(1)
        .debug(false)
        .cargo_metadata(false)
        .get_compiler()
        .to_command()
        .args(["-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wl,-z,defs"])
        .arg("-I")
        .arg(crate_folder.join("../ffi/include"))
        .arg("-o")
        .arg(&library)
        .args(["-x", "c"])
        .arg(crate_folder.join("tests/runner/plugin.c"))
        .args(["-x", "c++"])
        .arg(crate_folder.join("tests/runner/throws.cpp"))
        .status()
        .expect("there is a C++ compiler");
    assert!(status.success(), "the plugin compiles");
    library
}
