//! What is wrong, what is near its bound, what is refused, what is waived.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{Section, scrolled, state};
use crate::report::{CaseReport, Report, State, WaiverStanding, text};

/// Cases that are shown of those that passed nearest to their bounds.
const NEAREST: usize = 15;
/// Wrong cases that are shown in full. What fails by the thousand fails for few reasons.
const IN_FULL: usize = 200;

/// Each wrong case with its worst element and the command that asks it again.
pub(super) fn wrong(report: &Report) -> Option<Section> {
    let wrong: Vec<&CaseReport> = report.cases.iter().filter(|case| case.state.is_wrong()).collect();
    let elements: Vec<&CaseReport> = wrong.iter().copied().filter(|case| has_element(case)).collect();
    let content = html! {
        @if wrong.is_empty() { p { "No case is wrong." } }
        @if !elements.is_empty() { (worst_elements(&elements)) }
        @for case in wrong.iter().take(IN_FULL) {
            article.wrong {
                h3 { code { (case.name) } " " (state(case.state.kind())) }
                p { (case.state.message()) }
                @for detail in text::details(&case.state).lines() { p.detail { (detail) } }
                @if let Some(command) = &case.reproduce { pre { code { (command) } } }
            }
        }
        @if wrong.len() > IN_FULL {
            details {
                summary { (wrong.len() - IN_FULL) " more cases are wrong" }
                (names(wrong[IN_FULL..].iter().map(|case| case.name.as_str())))
            }
        }
    };
    Section::new("wrong", "Failures", content)
}

fn has_element(case: &CaseReport) -> bool {
    matches!(&case.state, State::Fail(failure) if failure.expected.is_some() && failure.tensor.is_some())
}

fn worst_elements(cases: &[&CaseReport]) -> Markup {
    let table = html! {
        table {
            caption { "The worst element of each" }
            thead {
                tr {
                    th scope="col" { "case" }
                    th scope="col" { "element" }
                    th.number scope="col" { "expected" }
                    th.number scope="col" { "got" }
                    th.number scope="col" { "bound" }
                    th.number scope="col" { "wrong elements" }
                }
            }
            tbody {
                @for case in cases.iter().take(IN_FULL) {
                    @if let State::Fail(failure) = &case.state {
                        tr {
                            th.name scope="row" { code { (case.name) } }
                            td { (failure.place()) }
                            td.number { (failure.expected.as_deref().unwrap_or_default()) }
                            td.number { (failure.got.as_deref().unwrap_or_default()) }
                            td.number { @if let Some(bound) = failure.bound { (format!("{bound:.3e}")) } @else { "exact" } }
                            td.number { @if let Some(count) = failure.wrong_elements { (count) } }
                        }
                    }
                }
            }
        }
    };
    scrolled("Worst elements", table)
}

/// Cases that passed, nearest to their bounds first; absent where nothing was measured against one.
pub(super) fn nearest(report: &Report) -> Option<Section> {
    let mut cases: Vec<(f64, u64, &CaseReport)> = report
        .cases
        .iter()
        .filter_map(|case| match &case.state {
            State::Pass(measures) => Some((measures.error_over_bound?, measures.elements, case)),
            _ => None,
        })
        .collect();
    cases.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    if cases.is_empty() {
        return None;
    }
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { "case" }
                    th.number scope="col" { "worst element’s error over bound" }
                    th.number scope="col" { "elements compared" }
                }
            }
            tbody {
                @for (error, elements, case) in cases.into_iter().take(NEAREST) {
                    tr {
                        th.name scope="row" { code { (case.name) } }
                        td.number { (format!("{error:.4}")) }
                        td.number { (elements) }
                    }
                }
            }
        }
    };
    let content = html! {
        p { "Of the cases that passed, those whose worst element is nearest to its bound." }
        (scrolled("Cases nearest to their bounds", table))
    };
    Section::new("nearest", "Nearest to the bound", content)
}

/// What the backend refuses, by the words that it used.
pub(super) fn refused(report: &Report) -> Option<Section> {
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for case in &report.cases {
        if let State::NotSupported { reason, text } = &case.state {
            reasons.entry((reason, text)).or_default().push(&case.name);
        }
    }
    let content = html! {
        @if reasons.is_empty() {
            p { "Nothing that was asked was refused." }
        } @else {
            p { "The backend’s own words. A refusal fails a run only within a profile that is claimed." }
            @for ((reason, text), cases) in &reasons {
                details {
                    summary { (text) " " span.muted { "(" (reason) ", " (cases.len()) " cases)" } }
                    (names(cases.iter().copied()))
                }
            }
        }
    };
    Section::new("refused", "Not supported", content)
}

/// The waivers that the run was given; absent where there was none.
pub(super) fn waivers(report: &Report) -> Option<Section> {
    if report.waivers.is_empty() {
        return None;
    }
    let content = html! {
        p { "Failures that are known. Their cases fail no run until the waiver expires; one that passes does." }
        @for waiver in &report.waivers {
            article {
                h3 {
                    code { (waiver.cases) } " "
                    span.state.(match waiver.standing {
                        WaiverStanding::Expired => "bad",
                        WaiverStanding::InForce => "known",
                        _ => "quiet",
                    }) { (waiver.standing.name()) }
                }
                p { (waiver.reason) }
                p.muted {
                    (waiver.owner) ", until " (waiver.expires) ", from " (waiver.place)
                    @for (what, pattern) in
                        [("backend", &waiver.backend), ("device", &waiver.device), ("driver", &waiver.driver)]
                    {
                        @if let Some(pattern) = pattern { ", " (what) " " code { (pattern) } }
                    }
                }
                @if !waiver.applied.is_empty() {
                    details {
                        summary { (waiver.applied.len()) " cases" }
                        (names(waiver.applied.iter().map(String::as_str)))
                    }
                }
            }
        }
    };
    Section::new("waivers", "Waivers", content)
}

/// What is worth saying and is nobody's failure; absent where there is nothing.
pub(super) fn notes(report: &Report) -> Option<Section> {
    if report.notes.is_empty() {
        return None;
    }
    Section::new("notes", "Notes", html! { ul { @for note in &report.notes { li { (note) } } } })
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Markup {
    html! { ul.names { @for name in names { li { code { (name) } } } } }
}
