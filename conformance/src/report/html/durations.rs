//! Where the time went: by suite, and the slowest cases.

use maud::html;

use super::{Section, class, count, scrolled, seconds};
use crate::report::{CaseReport, Report, StateKind};
use crate::suite::SuiteKind;

/// Cases that are shown of the slowest.
const SLOWEST: usize = 15;

pub(super) fn section(report: &Report) -> Option<Section> {
    let suites: Vec<(SuiteKind, Vec<CaseReport>)> = SuiteKind::ALL
        .into_iter()
        .map(|suite| (suite, report.cases.iter().filter(|case| case.suite == suite).cloned().collect()))
        .filter(|(_, cases): &(_, Vec<_>)| !cases.is_empty())
        .collect();
    let columns: Vec<StateKind> = StateKind::ALL
        .into_iter()
        .filter(|kind| {
            matches!(kind, StateKind::Pass | StateKind::Fail) || count(&report.cases, |k| k == *kind) > 0
        })
        .collect();
    let by_suite = html! {
        table {
            thead {
                tr {
                    th scope="col" { "suite" }
                    @for kind in &columns { th.number scope="col" { (kind.name()) } }
                    th.number scope="col" { "time" }
                }
            }
            tbody {
                @for (suite, cases) in &suites {
                    tr {
                        th scope="row" { (suite) }
                        @for kind in &columns {
                            @let count = count(cases, |other| other == *kind);
                            td.number.(if count == 0 { "zero" } else { class(*kind) }) { (count) }
                        }
                        td.number { (seconds(cases.iter().map(|case| case.seconds).sum())) }
                    }
                }
            }
        }
    };
    let mut slowest: Vec<&CaseReport> = report.cases.iter().collect();
    slowest.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    slowest.truncate(SLOWEST);
    let slowest = html! {
        table {
            thead { tr { th scope="col" { "slowest cases" } th.number scope="col" { "time" } } }
            tbody {
                @for case in slowest {
                    tr { th.name scope="row" { code { (case.name) } } td.number { (seconds(case.seconds)) } }
                }
            }
        }
    };
    let content = html! {
        p { "Times are those of the cases, the oracle’s share included: they are no benchmark." }
        (scrolled("Suites", by_suite))
        (scrolled("Slowest cases", slowest))
    };
    Section::new("durations", "Suites and durations", content)
}
