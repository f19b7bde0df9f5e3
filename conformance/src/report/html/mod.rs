//! The report as one HTML page, to be shown to others: no script, no font and no picture from elsewhere.
//!
//! | module | draws |
//! | --- | --- |
//! | `head` | who was asked, where and how, and the verdict |
//! | `matrix` | operator × scheme × shape class |
//! | `histogram` | error over bound |
//! | `findings` | what is wrong, near its bound, refused, waived |
//! | `durations` | where the time went |
//!
//! What is said by colour is said in words too. The page follows the reader's choice of light or dark.

mod durations;
mod findings;
mod head;
mod histogram;
mod matrix;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{CaseReport, Report, StateKind, text};

const STYLE: &str = include_str!("style.css");

/// A picture that the page shows besides, made by whoever knows what is on it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its heading.
    pub title: String,
    /// What it shows, in a sentence or two.
    pub words: String,
    /// An `svg` element, which needs nothing from elsewhere. It is put into the page as it is.
    pub svg: String,
}

/// The page.
pub fn page(report: &Report) -> String {
    page_with(report, &[])
}

/// The page with pictures.
pub fn page_with(report: &Report, pictures: &[Picture]) -> String {
    let title = format!("{} {}: conformance to mxhal", report.plugin.name, report.plugin.version);
    let sections: Vec<Section> = [
        head::environment(report),
        head::profiles(report),
        matrix::section(report),
        histogram::section(report),
        findings::wrong(report),
        findings::nearest(report),
        findings::refused(report),
        findings::waivers(report),
        findings::notes(report),
        section_of(pictures),
        durations::section(report),
    ]
    .into_iter()
    .flatten()
    .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head::banner(report))
                nav aria-label="Sections" {
                    ul { @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } } }
                }
                main {
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.content)
                        }
                    }
                }
                footer {
                    p {
                        "Made by mxhal-conformance " (report.suite.version) ", from a report of the schema "
                        code { (report.schema) } "."
                    }
                }
            }
        }
    };
    text::printable(page.into_string())
}

/// Pictures in the light, for which they are drawn; absent where there are none.
fn section_of(pictures: &[Picture]) -> Option<Section> {
    if pictures.is_empty() {
        return None;
    }
    let content = html! {
        @for picture in pictures {
            figure.picture {
                figcaption { strong { (picture.title) } " " span.muted { (picture.words) } }
                (PreEscaped(&picture.svg))
            }
        }
    };
    Section::new("speed", "Speed", content)
}

/// A part of the page.
struct Section {
    id: &'static str,
    title: &'static str,
    content: Markup,
}

impl Section {
    const fn new(id: &'static str, title: &'static str, content: Markup) -> Option<Self> {
        Some(Self { id, title, content })
    }
}

/// A table that scrolls by itself where the page is narrower than it is; `label` says what it shows.
fn scrolled(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="region" tabindex="0" aria-label=(label) { (table) } }
}

/// A state in words, with its colour.
fn state(kind: StateKind) -> Markup {
    html! { span.state.(class(kind)) { (kind.name()) } }
}

const fn class(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Pass => "good",
        StateKind::NotSupported | StateKind::Skipped => "quiet",
        StateKind::Waived => "known",
        _ => "bad",
    }
}

fn count(cases: &[CaseReport], wanted: impl Fn(StateKind) -> bool) -> usize {
    cases.iter().filter(|case| wanted(case.state.kind())).count()
}

/// A time in the unit that suits it.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
