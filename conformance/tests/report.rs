//! Reports made by hand: what comes back from a file, and what other programs read.

use mxhal_conformance::outcome::{Failure, Measures};
use mxhal_conformance::profile::Profile;
use mxhal_conformance::report::{
    CaseReport, DeviceReport, Environment, PluginReport, Report, RunReport, SCHEMA, State, SuiteReport,
    WaiverReport, WaiverStanding, file, html, junit, schema, text, verdict,
};
use mxhal_conformance::suite::SuiteKind;
use mxhal_conformance::waiver::Expected;

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
        waivers: vec![WaiverReport {
            place: "known.toml:3".into(),
            cases: "exact/.*/3".into(),
            backend: None,
            device: Some("Chip [12]".into()),
            driver: None,
            owner: "someone".into(),
            reason: "driver 9".into(),
            expected: Expected::Fail,
            expires: "2030-01-31".into(),
            standing: WaiverStanding::InForce,
            applied: vec!["exact/mxfp4×bf16/3".into()],
        }],
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

/// Whether a value has the shape of the schema; the error says where it has not.
fn validate(value: &serde_json::Value) -> Result<(), String> {
    let validator = jsonschema::draft202012::new(&schema::json()).expect("the schema is one");
    validator.validate(value).map_err(|error| format!("{}: {error}", error.instance_path))
}

#[test]
fn the_published_schema_is_that_of_the_model() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
    let current = format!("{:#}\n", schema::json());
    if std::env::var_os("MXHAL_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(
        published == current,
        "docs/report.schema.json is not that of the model; write it with `MXHAL_WRITE_SCHEMA=1 cargo test -p \
         mxhal-conformance --test report`, and change SCHEMA where old reports no longer fit"
    );
}

#[test]
fn a_report_with_every_state_has_the_shape_of_the_schema() {
    let mut report = report(Some(Profile::Core));
    validate(&serde_json::to_value(&report).unwrap()).unwrap();
    // A plugin that was never loaded leaves most of it out.
    report.device = None;
    report.waivers.clear();
    report.run.simulated = Some("a simulator".into());
    validate(&serde_json::to_value(&report).unwrap()).unwrap();
}

#[test]
fn another_shape_is_refused_by_the_schema() {
    let value = serde_json::to_value(report(None)).unwrap();
    for (pointer, wrong) in [
        ("/schema", "mxhal-conformance-report/9".into()),
        ("/cases/0/state", "fine".into()),
        ("/cases/0/seconds", "long".into()),
        ("/cases/1/message", serde_json::Value::Null),
        ("/profiles/0/standing", 1.into()),
        ("/waivers/0/expected", "pass".into()),
    ] {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert!(validate(&value).is_err(), "{pointer}");
    }
}

#[test]
fn the_page_stands_alone_and_says_what_the_report_says() {
    let page = html::page(&report(None));
    for alien in ["<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(alien), "{alien}");
    }
    for words in [
        "Chip &amp; Co",
        "FAILED: 5 of 9 cases are wrong",
        "y[3, 70]",
        "1.000e-7",
        "a product is &quot;far&quot; off &amp; beyond &lt;its&gt; bound",
        "mxhal conform --filter '^exact/5$' --seed 9",
        "k is odd",
        "Chip [12]",
        "known.toml:3",
        "2 threads run on",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(!page.contains('\u{1b}'), "a stranger's escapes are made visible");
    assert!(!page.contains("Simulated"));
}

#[test]
fn what_is_simulated_is_said_before_the_verdict() {
    let mut report = report(None);
    report.run.simulated = Some("a <driver>".into());
    let page = html::page(&report);
    let said = page.find("<strong>Simulated</strong> by a &lt;driver&gt;").unwrap();
    assert!(said < page.find("FAILED").unwrap());
    assert!(text::summary(&report).contains("SIMULATED by a <driver>"));
}

#[test]
fn an_empty_report_is_a_page_too() {
    let mut report = report(None);
    report.cases.clear();
    report.device = None;
    report.profiles = verdict::profiles(&report.cases, |_| 9);
    let page = html::page(&report);
    assert!(page.contains("no device was reached") && page.contains("No case is wrong."), "{page}");
}

#[test]
fn an_expired_waiver_is_why_a_run_failed() {
    let mut report = report(None);
    report.cases.truncate(1);
    report.waivers[0].standing = WaiverStanding::Expired;
    assert!(!verdict::waivers_hold(&report.waivers));
    report.passed = false;
    let summary = text::summary(&report);
    assert!(summary.contains("known.toml:3 (someone): expired on 2030-01-31"), "{summary}");
    assert!(summary.ends_with("FAILED: a waiver has expired\n"), "{summary}");
}
