//! Reports made by hand: what comes back from a file, and what other programs read.

use mxhal_conformance::outcome::{Failure, Measures};
use mxhal_conformance::profile::Profile;
use mxhal_conformance::report::{
    CaseReport, DeviceReport, Environment, PluginReport, Report, RunReport, SCHEMA, State, SuiteReport, file,
    junit, text, verdict,
};
use mxhal_conformance::suite::SuiteKind;

/// One case in each state.
fn report(profile: Option<Profile>) -> Report {
    let states = [
        State::Pass(Measures {
            elements: 1 << 40,
            error_over_bound: Some(0.125),
            digest: Some("00ff".into()),
            properties: [("kernel".to_owned(), "mma <4>".to_owned())].into(),
        }),
        State::Fail(Failure {
            tensor: Some("y".into()),
            index: vec![3, 70],
            expected: Some("1.5".into()),
            got: Some("-0".into()),
            bound: Some(1.0e-7),
            wrong_elements: Some(12),
            ..Failure::new("a product is \"far\" off & beyond <its> bound")
        }),
        State::NotSupported { reason: "shape".into(), text: "k is odd".into() },
        State::Waived { reason: "driver 9".into(), message: "bits differ".into() },
        State::UnexpectedPass { reason: "driver 9".into() },
        State::Crash { how: "SIGSEGV (signal 11)".into(), output: "last words\u{1b}[31m\n".into() },
        State::Timeout { limit: 1.5 },
        State::DeviceLost { text: "gone".into() },
        State::Skipped { text: "one device".into() },
    ];
    let cases: Vec<CaseReport> = states
        .into_iter()
        .enumerate()
        .map(|(index, state)| CaseReport {
            name: format!("exact/mxfp4×bf16/{index}"),
            suite: SuiteKind::Exact,
            profile: Profile::Core,
            seconds: 0.25,
            reproduce: state.is_wrong().then(|| format!("mxhal conform --filter '^exact/{index}$' --seed 9")),
            state,
        })
        .collect();
    Report {
        schema: SCHEMA.to_owned(),
        suite: SuiteReport { version: "0.1.0".into(), cases: 9, cases_sha256: "ab".into() },
        plugin: PluginReport { name: "chip".into(), vendor: "Chip & Co".into(), ..PluginReport::default() },
        device: Some(DeviceReport {
            index: 0,
            name: "Chip 1".into(),
            architecture: "c1".into(),
            driver: "9".into(),
            memory_bytes: 1 << 40,
            alignment: 64,
            units: 8,
        }),
        environment: Environment::here(),
        run: RunReport { seed: u64::MAX, profile, jobs: 1, seconds: 2.25, ..RunReport::default() },
        passed: verdict::passed(&cases, profile),
        profiles: verdict::profiles(&cases, |_| 9),
        cases,
        notes: vec!["2 threads run on".into()],
    }
}

#[test]
fn a_report_comes_back_from_its_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let report = report(None);
    file::write_json(&report, &path).unwrap();
    let back = file::read_json(&path).unwrap();
    assert_eq!(format!("{back:?}"), format!("{report:?}"));
    // Written beside and renamed: nothing else is left, and an old report is replaced.
    file::write_json(&back, &path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_state_is_a_word_in_the_json() {
    let value = serde_json::to_value(report(None)).unwrap();
    let states: Vec<&str> =
        value["cases"].as_array().unwrap().iter().map(|case| case["state"].as_str().unwrap()).collect();
    let expected = [
        "pass",
        "fail",
        "not-supported",
        "waived",
        "unexpected-pass",
        "crash",
        "timeout",
        "device-lost",
        "skipped",
    ];
    assert_eq!(states, expected);
    assert_eq!(value["cases"][0]["error_over_bound"], 0.125);
    assert_eq!(value["cases"][1]["index"][1], 70);
    assert_eq!(value["schema"], SCHEMA);
}

#[test]
fn a_file_that_is_no_report_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let reading = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = file::read_json(&path).unwrap_err().to_string();
        assert!(error.contains("report.json"), "{error}");
        error
    };
    assert!(reading("{\"schema\": \"mxhal-conformance-report/9\"}").contains("report/9"));
    assert!(reading("{}").contains("is not a report"));
    assert!(reading("hello").contains("is not a report"));
    let error = file::write_json(&report(None), &folder.path().join("no/such/folder.json")).unwrap_err();
    assert!(error.to_string().contains("could not be written to"), "{error}");
}

#[test]
fn junit_counts_failures_errors_and_what_was_skipped() {
    let xml = junit::document(&report(None)).to_string().unwrap();
    let suite = xml.lines().find(|line| line.contains("<testsuite ")).unwrap();
    for count in ["tests=\"9\"", "disabled=\"3\"", "errors=\"3\"", "failures=\"2\""] {
        let skipped = count.replace("disabled", "skipped");
        assert!(suite.contains(count) || suite.contains(&skipped), "{count}: {suite}");
    }
    assert!(xml.contains("mxhal conform --filter") && xml.contains("--seed 9"), "{xml}");
    assert!(xml.contains("&lt;its&gt; bound") && xml.contains("last words"), "{xml}");
    assert!(!xml.contains('\u{1b}'), "XML has no escapes of a terminal");
}

#[test]
fn junit_fails_what_a_claimed_profile_lacks() {
    let xml = junit::document(&report(Some(Profile::Core))).to_string().unwrap();
    let suite = xml.lines().find(|line| line.contains("<testsuite ")).unwrap();
    assert!(suite.contains("failures=\"3\""), "{suite}");
}

#[test]
fn the_summary_says_what_is_wrong_and_how_to_see_it_again() {
    let summary = text::summary(&report(None));
    for words in [
        "at y[3, 70], expected 1.5, got -0, bound 1e-7, 12 elements wrong",
        "mxhal conform --filter '^exact/5$' --seed 9",
        "it wrote: last words",
        "k is odd (shape)",
        "core     not met: 3 of 9, 1 not supported, 5 wrong",
        "2 threads run on",
        "FAILED: 5 of 9 cases are wrong",
    ] {
        assert!(summary.contains(words), "no `{words}` in:\n{summary}");
    }
    assert!(!summary.contains('\u{1b}'), "{summary}");
}
