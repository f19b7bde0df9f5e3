//! Who was asked, where and how, and the verdict.

use maud::{Markup, html};

use super::{Section, count, scrolled, seconds};
use crate::report::{Report, Standing, StateKind, date, text};

/// The top of the page: name, verdict, counts. What is simulated is said first.
pub(super) fn banner(report: &Report) -> Markup {
    let of = |kind| count(&report.cases, |other| other == kind);
    let figures = [
        ("passed", of(StateKind::Pass)),
        ("wrong", count(&report.cases, StateKind::is_wrong)),
        ("waived", of(StateKind::Waived)),
        ("not supported", of(StateKind::NotSupported)),
        ("skipped", of(StateKind::Skipped)),
    ];
    let plugin = &report.plugin;
    html! {
        header {
            @if let Some(simulator) = &report.run.simulated {
                p.simulated role="note" {
                    strong { "Simulated" } " by " (simulator) ". What follows says nothing of a product."
                }
            }
            p.eyebrow { "mxhal conformance report" }
            h1 { (plugin.name) @if !plugin.version.is_empty() { " " small { (plugin.version) } } }
            p.lead {
                @if !plugin.vendor.is_empty() { "by " (plugin.vendor) }
                @if let Some(device) = &report.device { " on " (device.name) }
                @else { " · no device was reached" }
            }
            p.verdict.(if report.passed { "good" } else { "bad" }) { (text::conclusion(report)) }
            dl.figures {
                @for (name, figure) in figures {
                    div { dt { (name) } dd { (figure) } }
                }
                div { dt { "duration" } dd { (seconds(report.run.seconds)) } }
            }
        }
    }
}

/// What one needs in order to ask the same again.
pub(super) fn environment(report: &Report) -> Option<Section> {
    let (plugin, machine, run) = (&report.plugin, &report.environment, &report.run);
    let mut facts: Vec<(&str, String)> = Vec::new();
    let file =
        plugin.path.as_ref().map_or("embedded in the program".to_owned(), |path| path.display().to_string());
    facts.push(("Plugin", format!("{} {}", plugin.name, plugin.version).trim().to_owned()));
    if !plugin.vendor.is_empty() {
        facts.push(("Vendor", plugin.vendor.clone()));
    }
    facts.push(("File", file));
    if let Some(hash) = &plugin.sha256 {
        facts.push(("SHA-256 of the file", hash.clone()));
    }
    if let Some(abi) = plugin.abi {
        let versions = format!(
            "{0}.{1} spoken; the plugin takes {0}.{2} and later, and was built for {0}.{3}",
            abi.major, abi.minor_used, abi.minor_least, abi.minor_built
        );
        facts.push(("ABI", versions));
    }
    if let Some(device) = &report.device {
        let memory = device.memory_bytes as f64 / f64::from(1 << 30);
        facts.push(("Device", format!("{}: {} ({})", device.index, device.name, device.architecture)));
        facts.push(("Driver", device.driver.clone()));
        facts.push(("Memory", format!("{memory:.1} GiB, tensors aligned to {} bytes", device.alignment)));
        facts.push(("Units", device.units.to_string()));
    }
    facts.push((
        "Machine",
        format!("{} {}, {}, {} threads", machine.os, machine.kernel, machine.machine, machine.parallelism),
    ));
    facts.push(("Began", date::moment(run.started)));
    facts.push(("Seed", run.seed.to_string()));
    facts.push(("Jobs", run.jobs.to_string()));
    let chosen = match report.cases.len() {
        asked if asked < report.suite.cases => format!("{asked} of {}", report.suite.cases),
        asked => format!("all {asked}"),
    };
    facts.push(("Cases", chosen));
    if let Some(filter) = &run.filter {
        facts.push(("Filter", filter.clone()));
    }
    if let Some(profile) = run.profile {
        facts.push(("Claimed profile", profile.to_string()));
    }
    facts.push(("Suite", report.suite.version.clone()));
    facts.push(("SHA-256 of the list of cases", report.suite.cases_sha256.clone()));
    let content = html! {
        dl.facts { @for (name, fact) in facts { div { dt { (name) } dd { (fact) } } } }
    };
    Section::new("environment", "Environment", content)
}

/// Each profile, met or not.
pub(super) fn profiles(report: &Report) -> Option<Section> {
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { "profile" }
                    th scope="col" { "standing" }
                    th.number scope="col" { "required" }
                    th.number scope="col" { "satisfied" }
                    th.number scope="col" { "not supported" }
                    th.number scope="col" { "wrong" }
                }
            }
            tbody {
                @for verdict in &report.profiles {
                    @let (class, words) = match verdict.standing {
                        Standing::Met => ("good", "met"),
                        Standing::NotMet => ("bad", "not met"),
                        Standing::NotJudged => ("quiet", "not judged"),
                    };
                    tr {
                        th scope="row" {
                            (verdict.profile) @if report.run.profile == Some(verdict.profile) { " (claimed)" }
                        }
                        td { span.state.(class) { (words) } }
                        td.number { (verdict.required) }
                        td.number { (verdict.satisfied) }
                        td.number { (verdict.not_supported.len()) }
                        td.number { (verdict.wrong.len()) }
                    }
                }
            }
        }
    };
    let content = html! {
        p {
            "A profile is a list of cases that must all pass, its own and those of " em { "core" } ". It is not judged "
            "where only some of its cases were asked. Waived cases count as satisfied."
        }
        (scrolled("Profiles", table))
    };
    Section::new("profiles", "Profiles", content)
}
