//! How findings are shown: to a person, to a program, and in a bug report.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::environment::Environment;
use super::finding::{Finding, Severity, Subject};

/// Everything that was found, where.
pub(super) struct Diagnosis {
    pub(super) environment: Environment,
    pub(super) subjects: Vec<Subject>,
    pub(super) exit_code: u8,
}

impl Diagnosis {
    /// For a person. `all` shows what is as it should be, too.
    pub(super) fn text(&self, all: bool, colours: bool) -> String {
        let mut text = String::new();
        for subject in &self.subjects {
            text.push_str(&paint(colours, "1", &subject.name));
            text.push('\n');
            for finding in shown(subject, all) {
                let severity = finding.severity;
                let mark = paint(colours, colour(severity), &format!("{:<7}", severity.name()));
                add(
                    &mut text,
                    &format!("  {mark}  {:<9}  {}", finding.layer.name(), indented(&finding.seen)),
                );
                if let Some(advice) = &finding.advice {
                    add(&mut text, &format!("  {:<7}  {:<9}  → {}", "", "", indented(advice)));
                }
            }
            text.push('\n');
        }
        add(&mut text, &self.summary());
        text
    }

    /// For a bug report: Markdown, without colours.
    pub(super) fn report(&self) -> String {
        let mut text = String::from("```text\n");
        for (name, value) in self.environment.lines() {
            add(&mut text, &format!("{name:<12} {value}"));
        }
        for subject in &self.subjects {
            if let Some(sha256) = &subject.sha256 {
                add(&mut text, &format!("{:<12} {sha256}  {}", "sha256", subject.name));
            }
        }
        text.push('\n');
        text.push_str(&self.text(true, false));
        text.push_str("```\n");
        text
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "environment": self.environment,
            "subjects": self.subjects,
            "severity": self.severity(),
            "exit_code": self.exit_code,
        })
    }

    fn severity(&self) -> Severity {
        self.subjects.iter().map(Subject::severity).max().unwrap_or(Severity::Ok)
    }

    fn summary(&self) -> String {
        let count = |severity| {
            let findings = self.subjects.iter().flat_map(|subject| &subject.findings);
            findings.filter(|finding| finding.severity == severity).count()
        };
        let counted = |severity: Severity| match count(severity) {
            1 => format!("1 {}", severity.name()),
            number => format!("{number} {}s", severity.name()),
        };
        match self.severity() {
            Severity::Ok => "Nothing is wrong.".to_owned(),
            _ => [Severity::Error, Severity::Warning, Severity::Note].map(counted).join(", "),
        }
    }
}

fn shown(subject: &Subject, all: bool) -> impl Iterator<Item = &Finding> {
    let nothing_else = subject.severity() == Severity::Ok;
    let is_shown = move |finding: &&Finding| all || nothing_else || finding.severity > Severity::Ok;
    subject.findings.iter().filter(is_shown)
}

/// Further lines stand below the first one's text.
fn indented(text: &str) -> String {
    text.replace('\n', &format!("\n{:22}", ""))
}

const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "32",
        Severity::Note => "36",
        Severity::Warning => "33",
        Severity::Error => "1;31",
    }
}

fn paint(colours: bool, code: &str, text: &str) -> String {
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a string takes whatever is written to it");
}
