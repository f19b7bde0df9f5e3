//! The summary for a terminal or a log: plain text, no colours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::verdict::waivers_hold;
use super::{CaseReport, Report, State, StateKind, WaiverStanding};
use crate::suite::SuiteKind;

/// The summary of a run: who was asked, counts, what is wrong and how to see it again, what is refused and why, the
/// profiles, and the verdict as the last line.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    counts(&mut text, report);
    wrong(&mut text, report);
    refused(&mut text, report);
    waivers(&mut text, report);
    if !report.notes.is_empty() {
        text.push_str("\nnotes\n");
        for note in &report.notes {
            line(&mut text, format_args!("  {note}"));
        }
    }
    text.push_str("\nprofiles\n");
    for verdict in &report.profiles {
        line(&mut text, format_args!("  {:<8} {}", verdict.profile, verdict.words()));
    }
    text.push('\n');
    text.push_str(&conclusion(report));
    text.push('\n');
    printable(text)
}

/// One case that is wrong: its name and message, where it was seen, and the command that asks it again.
pub fn failure(case: &CaseReport) -> String {
    let mut text = format!("{} {}: {}", case.name, case.state.kind().name(), case.state.message());
    for detail in details(&case.state).lines() {
        let _ = write!(text, "\n    {detail}");
    }
    if let Some(command) = &case.reproduce {
        let _ = write!(text, "\n    {command}");
    }
    printable(text)
}

/// What is known beyond the message, a line each; empty where there is nothing.
pub fn details(state: &State) -> String {
    match state {
        State::Fail(failure) => {
            let mut parts = Vec::new();
            if failure.tensor.is_some() {
                parts.push(format!("at {}", failure.place()));
            }
            if let Some(expected) = &failure.expected {
                parts.push(format!("expected {expected}"));
            }
            if let Some(got) = &failure.got {
                parts.push(format!("got {got}"));
            }
            if let Some(bound) = failure.bound {
                parts.push(format!("bound {bound:e}"));
            }
            if let Some(count) = failure.wrong_elements {
                parts.push(format!("{count} elements wrong"));
            }
            parts.join(", ")
        }
        State::Crash { output, .. } if !output.is_empty() => format!("it wrote: {}", output.trim_end()),
        _ => String::new(),
    }
}

fn head(text: &mut String, report: &Report) {
    let plugin = &report.plugin;
    let source = plugin.path.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string());
    line(text, format_args!("plugin   {} {} by {}, {source}", plugin.name, plugin.version, plugin.vendor));
    match &report.device {
        Some(device) => line(
            text,
            format_args!(
                "device   {}: {} ({}), driver {}",
                device.index, device.name, device.architecture, device.driver
            ),
        ),
        None => line(text, format_args!("device   none was reached")),
    }
    if let Some(simulator) = &report.run.simulated {
        line(text, format_args!("         SIMULATED by {simulator}"));
    }
    let run = &report.run;
    let chosen = if report.cases.len() < report.suite.cases {
        format!("{} of {}", report.cases.len(), report.suite.cases)
    } else {
        report.cases.len().to_string()
    };
    line(text, format_args!("cases    {chosen}, seed {}, {:.1} s", run.seed, run.seconds));
}

/// A table of suites by states; states that did not occur have no column.
fn counts(text: &mut String, report: &Report) {
    let count = |suite: Option<SuiteKind>, kind: StateKind| {
        let of_suite = report.cases.iter().filter(|case| suite.is_none_or(|suite| case.suite == suite));
        of_suite.filter(|case| case.state.kind() == kind).count()
    };
    let columns: Vec<StateKind> = StateKind::ALL
        .into_iter()
        .filter(|kind| matches!(kind, StateKind::Pass | StateKind::Fail) || count(None, *kind) > 0)
        .collect();
    let mut row = |name: &str, cell: &dyn Fn(StateKind) -> String| {
        let cells: String =
            columns.iter().map(|kind| format!("  {:>1$}", cell(*kind), kind.name().len())).collect();
        line(text, format_args!("{name:<10}{cells}"));
    };
    row("\nsuite", &|kind| kind.name().to_owned());
    for suite in SuiteKind::ALL {
        if report.cases.iter().any(|case| case.suite == suite) {
            row(suite.name(), &|kind| count(Some(suite), kind).to_string());
        }
    }
    row("all", &|kind| count(None, kind).to_string());
}

fn wrong(text: &mut String, report: &Report) {
    let mut cases = report.cases.iter().filter(|case| case.state.is_wrong()).peekable();
    if cases.peek().is_some() {
        text.push_str("\nwrong\n");
    }
    for case in cases {
        line(text, format_args!("  {}", failure(case).replace('\n', "\n  ")));
    }
}

/// Refusals by the words that were used: a backend says the same of many cases.
fn refused(text: &mut String, report: &Report) {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for case in &report.cases {
        if let State::NotSupported { .. } = case.state {
            *reasons.entry(case.state.message()).or_default() += 1;
        }
    }
    if !reasons.is_empty() {
        text.push_str("\nnot supported\n");
    }
    for (reason, count) in reasons {
        line(text, format_args!("  {count:>5}  {reason}"));
    }
}

/// Waivers that had a part in the run.
fn waivers(text: &mut String, report: &Report) {
    let mut waivers = report
        .waivers
        .iter()
        .filter(|waiver| waiver.standing == WaiverStanding::Expired || !waiver.applied.is_empty())
        .peekable();
    if waivers.peek().is_some() {
        text.push_str("\nwaivers\n");
    }
    for waiver in waivers {
        let what = match waiver.standing {
            WaiverStanding::Expired => format!("expired on {}, mend it or renew it", waiver.expires),
            _ => format!("until {}, applied to {} cases", waiver.expires, waiver.applied.len()),
        };
        line(text, format_args!("  {} ({}): {what}: {}", waiver.place, waiver.owner, waiver.reason));
    }
}

/// The verdict in one line, which begins with PASSED or FAILED.
pub(super) fn conclusion(report: &Report) -> String {
    let wrong = report.cases.iter().filter(|case| case.state.is_wrong()).count();
    let executed = report
        .cases
        .iter()
        .any(|case| !matches!(case.state.kind(), StateKind::NotSupported | StateKind::Skipped));
    match report.run.profile {
        _ if wrong > 0 => format!("FAILED: {wrong} of {} cases are wrong", report.cases.len()),
        _ if !executed => "FAILED: nothing was executed".to_owned(),
        _ if !waivers_hold(&report.waivers) => "FAILED: a waiver has expired".to_owned(),
        Some(profile) if !report.passed => {
            format!("FAILED: {profile} is claimed, and not all of it is supported")
        }
        _ => {
            let simulated = if report.run.simulated.is_some() { " (simulated)" } else { "" };
            let part = match report.run.filter {
                Some(_) => format!(", {} of {} cases asked", report.cases.len(), report.suite.cases),
                None => String::new(),
            };
            format!("PASSED{simulated}{part}")
        }
    }
}

/// The words are a stranger's in part: what a terminal would obey is made visible.
pub fn printable(text: String) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.push_str(words.to_string().trim_end());
    text.push('\n');
}
