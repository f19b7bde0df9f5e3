//! Waivers: failures that are known, with an owner, a reason and an end.
//!
//! A file of waivers is TOML, one `[[waiver]]` for each:
//!
//! ```toml
//! [[waiver]]
//! cases = "exact/quantize/ties/.*_mxfp8"   # a regular expression that matches the whole name
//! backend = "mychip"                       # optional: the same, for the plugin's name
//! device = "MyChip [12]00"                 # optional: the same, for the device's name
//! driver = ">=570.10, <580"                # optional: driver versions, compared number by number
//! owner = "kernels@mychip.example"
//! reason = "ties round away from zero; mended in the driver 580"
//! expected = "fail"                        # fail, crash, timeout, device-lost or not-supported
//! expires = 2027-01-31                     # the last day on which it holds, in UTC
//! ```
//!
//! A case that ends as expected is waived and fails no run. One that passes is an unexpected pass, which fails the run:
//! the waiver is to be removed. One that ends otherwise is what it is. A waiver that has expired waives nothing, and
//! fails the run by itself where it is for this backend, device and driver; one that matches no case of the suite is
//! noted. Where several waivers are for one case, the first that expects what came is taken.

mod driver;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::{Deserialize, Serialize};
use toml::{Spanned, Value};

use crate::report::date::Date;
use crate::report::{CaseReport, DeviceReport, State, StateKind, WaiverReport, WaiverStanding};
use driver::DriverRange;

/// The waivers of a file.
#[derive(Clone, Debug, Default)]
pub struct Waivers {
    waivers: Vec<Waiver>,
}

#[derive(Clone, Debug)]
struct Waiver {
    /// `FILE:LINE`.
    place: String,
    cases: Pattern,
    backend: Option<Pattern>,
    device: Option<Pattern>,
    driver: Option<DriverRange>,
    owner: String,
    reason: String,
    expected: Expected,
    expires: Date,
}

/// How a waived case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// A wrong answer.
    Fail,
    /// The worker dies.
    Crash,
    /// It takes too long.
    Timeout,
    /// The device fails.
    DeviceLost,
    /// The backend refuses it.
    NotSupported,
}

impl Expected {
    /// The state of such a case.
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Fail => StateKind::Fail,
            Self::Crash => StateKind::Crash,
            Self::Timeout => StateKind::Timeout,
            Self::DeviceLost => StateKind::DeviceLost,
            Self::NotSupported => StateKind::NotSupported,
        }
    }
}

/// What is wrong with a file of waivers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaiverError {
    /// The file could not be read.
    #[error("the waivers could not be read from {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not say what it must.
    #[error("{}:{line}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was seen, and what was expected.
        problem: String,
    },
}

impl Waivers {
    /// Reads a file of waivers.
    ///
    /// # Errors
    ///
    /// [`WaiverError`]. Keys that do not exist are errors.
    pub fn read(path: &Path) -> Result<Self, WaiverError> {
        let text =
            fs::read_to_string(path).map_err(|source| WaiverError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// The waivers of a text; `path` is what errors and reports call it.
    ///
    /// # Errors
    ///
    /// [`WaiverError::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, WaiverError> {
        let invalid = |start: usize, problem: String| {
            let line =
                text.as_bytes()[..start.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
            WaiverError::Invalid { path: path.to_owned(), line, problem }
        };
        let tables: Tables = toml::from_str(text).map_err(|error| {
            // The parser's sentence may go over lines; a message is one.
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            invalid(error.span().map_or(0, |span| span.start), message)
        })?;
        let waivers = tables.waiver.into_iter().map(|table| {
            let start = table.span().start;
            let line = text[..start].matches('\n').count() + 1;
            Waiver::new(table.into_inner(), format!("{}:{line}", path.display()))
                .map_err(|(start, problem)| invalid(start, problem))
        });
        Ok(Self { waivers: waivers.collect::<Result<_, _>>()? })
    }

    /// The waivers as they stand in a run of this backend, on this device, on this day.
    pub(crate) fn in_run(&self, backend: &str, device: Option<&DeviceReport>, today: Date) -> InRun<'_> {
        let with_standing = |waiver: &Waiver| {
            if !waiver.is_for(backend, device) {
                WaiverStanding::Elsewhere
            } else if today > waiver.expires {
                WaiverStanding::Expired
            } else {
                WaiverStanding::InForce
            }
        };
        let waivers = self.waivers.iter();
        InRun { waivers: waivers.map(|waiver| (waiver, with_standing(waiver), Vec::new())).collect() }
    }
}

/// Waivers in a run: each with how it stands, and the names of the cases that it was applied to.
#[derive(Default)]
pub(crate) struct InRun<'a> {
    waivers: Vec<(&'a Waiver, WaiverStanding, Vec<String>)>,
}

impl InRun<'_> {
    /// The case as it counts. `reproduce` gives the command that asks it again.
    pub(crate) fn apply(&mut self, mut case: CaseReport, reproduce: impl FnOnce() -> String) -> CaseReport {
        let kind = case.state.kind();
        let mut of_case: Vec<_> = self
            .waivers
            .iter_mut()
            .filter(|(waiver, standing, _)| {
                *standing == WaiverStanding::InForce && waiver.cases.is_match(&case.name)
            })
            .collect();
        let chosen = match kind {
            StateKind::Pass => of_case.first_mut(),
            _ => of_case.iter_mut().find(|(waiver, ..)| waiver.expected.kind() == kind),
        };
        let Some((waiver, _, applied)) = chosen else { return case };
        applied.push(case.name.clone());
        let reason = waiver.reason.clone();
        case.state = match kind {
            StateKind::Pass => State::UnexpectedPass { reason },
            _ => State::Waived { reason, message: case.state.message() },
        };
        case.reproduce.get_or_insert_with(reproduce);
        case
    }

    /// What became of each; `names` are those of all cases of the suite.
    pub(crate) fn conclude(self, names: &[String]) -> Vec<WaiverReport> {
        let report = |(waiver, standing, applied): (&Waiver, WaiverStanding, Vec<String>)| {
            let unused =
                standing == WaiverStanding::InForce && !names.iter().any(|name| waiver.cases.is_match(name));
            WaiverReport {
                place: waiver.place.clone(),
                cases: waiver.cases.text.clone(),
                backend: waiver.backend.as_ref().map(|pattern| pattern.text.clone()),
                device: waiver.device.as_ref().map(|pattern| pattern.text.clone()),
                driver: waiver.driver.as_ref().map(DriverRange::to_string),
                owner: waiver.owner.clone(),
                reason: waiver.reason.clone(),
                expected: waiver.expected,
                expires: waiver.expires.to_string(),
                standing: if unused { WaiverStanding::Unused } else { standing },
                applied,
            }
        };
        self.waivers.into_iter().map(report).collect()
    }
}

impl Waiver {
    /// A waiver of the file, or where it is wrong and how.
    fn new(table: WaiverTable, place: String) -> Result<Self, (usize, String)> {
        let pattern = |pattern: Spanned<String>| Pattern::new(&pattern);
        let said = |key: &str, text: Spanned<String>| match text.get_ref().trim().is_empty() {
            true => Err((text.span().start, format!("`{key}` is empty; say it in words"))),
            false => Ok(text.into_inner()),
        };
        Ok(Self {
            place,
            cases: pattern(table.cases)?,
            backend: table.backend.map(pattern).transpose()?,
            device: table.device.map(pattern).transpose()?,
            driver: table
                .driver
                .map(|range| range.get_ref().parse().map_err(|problem| (range.span().start, problem)))
                .transpose()?,
            owner: said("owner", table.owner)?,
            reason: said("reason", table.reason)?,
            expected: table.expected,
            expires: day(&table.expires)?,
        })
    }

    fn is_for(&self, backend: &str, device: Option<&DeviceReport>) -> bool {
        let of_device = |holds: &dyn Fn(&DeviceReport) -> bool| device.is_some_and(holds);
        self.backend.as_ref().is_none_or(|pattern| pattern.is_match(backend))
            && self.device.as_ref().is_none_or(|pattern| of_device(&|device| pattern.is_match(&device.name)))
            && self.driver.as_ref().is_none_or(|range| of_device(&|device| range.contains(&device.driver)))
    }
}

/// A regular expression for a whole name.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    whole: Regex,
}

impl Pattern {
    fn new(text: &Spanned<String>) -> Result<Self, (usize, String)> {
        let wrong = |error: regex::Error| {
            let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            (text.span().start, format!("`{}` is not a regular expression: {message}", text.get_ref()))
        };
        // By itself first: `a)(b` would be an expression within the group.
        Regex::new(text.get_ref()).map_err(wrong)?;
        let whole = Regex::new(&format!("^(?:{})$", text.get_ref())).map_err(wrong)?;
        Ok(Self { text: text.get_ref().clone(), whole })
    }

    fn is_match(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }
}

/// A day, as TOML's own or in quotes.
fn day(value: &Spanned<Value>) -> Result<Date, (usize, String)> {
    let moment = match value.get_ref() {
        Value::Datetime(moment) => Some(*moment),
        Value::String(text) => text.parse::<toml::value::Datetime>().ok(),
        _ => None,
    };
    match moment {
        Some(toml::value::Datetime { date: Some(date), time: None, offset: None }) => {
            Ok(Date { year: date.year, month: date.month, day: date.day })
        }
        _ => {
            let problem = format!("`expires` is {}; expected a day, as 2027-01-31", value.get_ref());
            Err((value.span().start, problem))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    waiver: Vec<Spanned<WaiverTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaiverTable {
    cases: Spanned<String>,
    backend: Option<Spanned<String>>,
    device: Option<Spanned<String>>,
    driver: Option<Spanned<String>>,
    owner: Spanned<String>,
    reason: Spanned<String>,
    expected: Expected,
    expires: Spanned<Value>,
}

#[cfg(test)]
mod tests;
