//! How a command ends that did not do what it should: what is printed, and the exit code.

use std::fmt;
use std::fs;
use std::io;
use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use mxhal::config::{ConfigError, InvalidName};
use mxhal::runtime::{BackendError, RuntimeError};
use mxhal_conformance::certificate::CertificateError;
use mxhal_conformance::replay::ReplayError;
use mxhal_conformance::runner::RunError;
use mxhal_conformance::waiver::WaiverError;

use super::terminal::Terminal;

/// Done, but what was judged or done is not good.
pub(super) const FAILED: u8 = 1;
/// The arguments or the configuration are wrong.
pub(super) const USAGE: u8 = 2;
/// A backend could not be loaded.
pub(super) const NOT_LOADED: u8 = 3;
/// A backend was loaded, but there is no device.
pub(super) const NO_DEVICE: u8 = 4;

/// Arguments that do not go together, or not with the files that they name.
#[derive(Debug)]
pub(super) struct Usage(pub(super) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints an error with its causes, and gives the exit code.
pub(super) fn report(error: &anyhow::Error, terminal: &Terminal) -> ExitCode {
    let colours = terminal.colours(&io::stderr());
    if let Some(excerpt) = error.downcast_ref::<ConfigError>().and_then(|error| in_source(error, colours)) {
        eprint!("{excerpt}");
        return ExitCode::from(USAGE);
    }
    let heading = if colours { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    eprintln!("{heading} {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        // An error that quotes its cause has said it.
        let cause = cause.to_string();
        if !said.contains(&cause) {
            eprintln!("  caused by: {cause}");
            said = cause;
        }
    }
    ExitCode::from(code(error))
}

/// The exit code of an error.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| {
            if cause.is::<Usage>()
                || cause.is::<ConfigError>()
                || cause.is::<InvalidName>()
                || cause.is::<WaiverError>()
                || cause.is::<ReplayError>()
            {
                return Some(USAGE);
            }
            if let Some(error) = cause.downcast_ref::<BackendError>() {
                return Some(backend_code(error));
            }
            if let Some(error) = cause.downcast_ref::<CertificateError>() {
                return u8::try_from(error.exit_code()).ok();
            }
            if let Some(error) = cause.downcast_ref::<RunError>() {
                return u8::try_from(error.exit_code()).ok();
            }
            match cause.downcast_ref::<RuntimeError>()? {
                RuntimeError::Config(_) => Some(USAGE),
                // What the user asked for is the first; the others are what else was tried.
                RuntimeError::NoBackend(refused) => {
                    refused.first().map(|refused| backend_code(&refused.error))
                }
                _ => None,
            }
        })
        .unwrap_or(FAILED)
}

const fn backend_code(error: &BackendError) -> u8 {
    match error {
        BackendError::Name(_) => USAGE,
        error if error.is_about_device() => NO_DEVICE,
        _ => NOT_LOADED,
    }
}

/// The error with the lines of the file that it is about; `None` where it is about no place.
fn in_source(error: &ConfigError, colours: bool) -> Option<String> {
    let place = error.place()?;
    let text = String::from_utf8_lossy(&fs::read(error.file()).ok()?).into_owned();
    let diagnostic = ConfigDiagnostic {
        message: error.problem().to_string(),
        help: error.problem().help(),
        source: NamedSource::new(error.file().to_string_lossy(), text),
        label: LabeledSpan::new_with_span(None, place.span.clone()),
    };
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut report = String::new();
    GraphicalReportHandler::new_themed(theme)
        .with_width(110)
        .with_links(false)
        .render_report(&mut report, &diagnostic)
        .ok()?;
    Some(report)
}

#[derive(Debug)]
struct ConfigDiagnostic {
    message: String,
    help: Option<String>,
    source: NamedSource<String>,
    label: LabeledSpan,
}

impl fmt::Display for ConfigDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigDiagnostic {}

impl Diagnostic for ConfigDiagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}
