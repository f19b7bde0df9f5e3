//! The report as JUnit, as continuous integration reads it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::{CaseReport, Report, State};
use crate::suite::SuiteKind;

/// One test suite for each of ours, one test case for each case.
///
/// Wrong results are failures; a crash, a timeout or a lost device is an error. What is not supported, waived or does
/// not apply is skipped, with its reason, unless the profile that is claimed requires it: then it is a failure.
pub fn document(report: &Report) -> quick_junit::Report {
    let mut document = quick_junit::Report::new(format!("mxhal conform {}", report.plugin.name));
    document.set_time(duration(report.run.seconds));
    for kind in SuiteKind::ALL {
        let cases: Vec<&CaseReport> = report.cases.iter().filter(|case| case.suite == kind).collect();
        if cases.is_empty() {
            continue;
        }
        let mut suite = TestSuite::new(kind.name());
        suite.set_time(duration(cases.iter().map(|case| case.seconds).sum()));
        suite.add_property(Property::new("seed", report.run.seed.to_string()));
        suite.add_property(Property::new("plugin", plugin(report)));
        if let Some(device) = &report.device {
            suite.add_property(Property::new("device", format!("{} ({})", device.name, device.architecture)));
        }
        if let Some(simulator) = &report.run.simulated {
            suite.add_property(Property::new("simulated", simulator.as_str()));
        }
        suite.add_test_cases(cases.into_iter().map(|case| test_case(report, case)));
        document.add_test_suite(suite);
    }
    document
}

fn plugin(report: &Report) -> String {
    let plugin = &report.plugin;
    let source = plugin.path.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string());
    format!("{} {} of {}, {source}", plugin.name, plugin.version, plugin.vendor)
}

fn test_case(report: &Report, case: &CaseReport) -> TestCase {
    let status = match &case.state {
        State::Pass(_) => TestCaseStatus::success(),
        State::Fail(_) | State::UnexpectedPass { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
        State::NotSupported { .. } if report.run.profile.is_some_and(|p| p.contains(case.profile)) => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        State::NotSupported { .. } | State::Waived { .. } | State::Skipped { .. } => {
            TestCaseStatus::skipped()
        }
        State::Crash { .. } | State::Timeout { .. } | State::DeviceLost { .. } => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    let mut test = TestCase::new(case.name.clone(), status);
    test.set_classname(format!("mxhal.{}.{}", case.suite, case.profile));
    test.set_time(duration(case.seconds));
    match &case.state {
        State::Pass(measures) => {
            if let Some(error) = measures.error_over_bound {
                test.add_property(Property::new("error-over-bound", error.to_string()));
            }
            for (name, value) in &measures.properties {
                test.add_property(Property::new(name.as_str(), value.as_str()));
            }
        }
        state => {
            test.status.set_message(state.message()).set_type(state.kind().name());
            if let Some(command) = &case.reproduce {
                test.status.set_description(format!("{}\n{command}", super::text::details(state)));
            }
            if let State::Crash { output, .. } = state {
                test.set_system_out_lossy(output);
            }
        }
    }
    test
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
