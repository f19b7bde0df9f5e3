//! `mxhal doctor`: why a backend does not work on this machine, layer by layer.
//!
//! | module | holds |
//! | --- | --- |
//! | `finding` | what was found, how grave it is, what to do |
//! | `file` | the layers of a file, of which nothing runs |
//! | `child` | loaded, opened and asked for its devices, in a process of its own |
//! | `environment` | the machine, and vendors' drivers |
//! | `show` | text, JSON, and a block for a bug report |

mod child;
mod environment;
mod file;
mod finding;
mod show;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mxhal::config::{BackendConfig, Config, ConfigError};
use mxhal::runtime::{library_path, policy};
use mxhal_ffi::loader::{Policy, WritablePolicy};

use self::child::Order;
use self::environment::Environment;
use self::finding::{Layer, Severity, Subject};
use self::show::Diagnosis;
use super::devices;
use super::failure::{FAILED, NO_DEVICE, NOT_LOADED, USAGE};
use super::print;
use super::selection::Selection;
use super::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  mxhal doctor
  mxhal doctor ./libmxhal_mychip.so
  mxhal doctor --config /etc/mxhal/config.toml --report
  mxhal doctor ./libmxhal_mychip.so --json

A plugin's file is looked at from outside first; only if nothing there speaks against it is it loaded, in a process of
its own, so that a crash is a finding too.

Exit codes: 0 no error (notes and warnings may be there), 1 another error than those below, such as a crash at shutdown,
2 usage or a wrong configuration, 3 a backend cannot be loaded, 4 a backend was loaded, and has no device or one that
cannot be used. Where several hold, it is the first of 2, 3, 4, 1.";

/// Find out why a backend does not work here: the configuration, the drivers, the plugin's file, its devices
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// The plugin to look at, instead of the configuration, its backends and the drivers
    #[arg(value_name = "PLUGIN", conflicts_with = "backend")]
    plugin: Option<PathBuf>,

    /// Write JSON to standard output
    #[arg(long, conflicts_with = "report")]
    json: bool,

    /// Write a block for a bug report: versions, system, digests, and everything that was looked at
    #[arg(long)]
    report: bool,

    /// Show what is as it should be, too
    #[arg(long)]
    all: bool,

    /// How long a plugin may take to be opened, to describe its devices and to shut down
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    time_limit: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit <= Duration::from_hours(24) => Ok(limit),
        _ => Err("expected more than 0 seconds and no more than a day".to_owned()),
    }
}

/// Serves as the process in which a plugin is loaded.
pub(super) fn worker() -> ExitCode {
    child::worker()
}

impl Doctor {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let subjects = match &self.plugin {
            Some(plugin) => {
                let config = selection.configuration()?;
                let backend = BackendConfig::in_file("plugin", plugin)?;
                let policy = policy(&config, &backend);
                vec![self.backend(plugin.display().to_string(), Some(plugin), &policy, &[])?]
            }
            None => self.everything(selection)?,
        };
        let exit_code = exit_code(&subjects);
        let diagnosis = Diagnosis { environment: Environment::here(), subjects, exit_code };
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&diagnosis.json())?))?;
        } else if self.report {
            print(&diagnosis.report())?;
        } else {
            print(&diagnosis.text(self.all, terminal.colours(&io::stdout())))?;
        }
        Ok(ExitCode::from(exit_code))
    }

    /// The configuration, its backends, and the drivers.
    fn everything(&self, selection: &Selection) -> anyhow::Result<Vec<Subject>> {
        let (config, about) = configuration(selection)?;
        let backends = devices::wanted(&config, selection)?;
        let mut subjects = vec![about];
        for backend in &backends {
            let name = format!("backend {}", backend.name);
            match library_path(&config, backend) {
                Ok(library) => {
                    let policy = policy(&config, backend);
                    subjects.push(self.backend(name, library.as_deref(), &policy, &backend.options)?);
                }
                Err(error) => {
                    let mut subject = Subject::new(name);
                    subject.error(Layer::File, error.to_string(), "set `library` in its table");
                    subjects.push(subject);
                }
            }
        }
        subjects.push(environment::drivers(&backends));
        Ok(subjects)
    }

    fn backend(
        &self,
        name: String,
        library: Option<&Path>,
        policy: &Policy,
        options: &[(String, String)],
    ) -> anyhow::Result<Subject> {
        let mut subject = Subject::new(name);
        match library {
            Some(library) if !file::examine(&mut subject, library, policy) => return Ok(subject),
            Some(_) => {}
            None => subject.ok(Layer::File, "embedded: it is part of this program"),
        }
        let order = Order {
            library: library.map(Path::to_owned),
            options: options.to_vec(),
            sha256: policy.sha256,
            writable: policy.writable == WritablePolicy::Warn,
        };
        child::run(&mut subject, &order, self.time_limit)?;
        Ok(subject)
    }
}

/// The configuration and what there is to say of it; if it is wrong, the embedded backend's.
fn configuration(selection: &Selection) -> anyhow::Result<(Config, Subject)> {
    let mut subject = Subject::new("configuration".to_owned());
    let error = match selection.configuration() {
        Ok(config) => {
            let seen = match &config.file {
                Some(file) => format!("{} is read, and good", file.display()),
                None => "no config.toml here and none named: the embedded CPU backend is used".to_owned(),
            };
            subject.ok(Layer::Config, seen);
            return Ok((config, subject));
        }
        Err(error) => error,
    };
    let Some(wrong) = error.downcast_ref::<ConfigError>() else { return Err(error) };
    let help = wrong.problem().help();
    let advice = help.as_deref().unwrap_or("mend it; `mxhal config check` shows the line");
    subject.error(Layer::Config, wrong.to_string(), advice);
    Ok((Config::default(), subject))
}

fn exit_code(subjects: &[Subject]) -> u8 {
    let error = |layers: &[Layer]| {
        subjects.iter().any(|subject| layers.iter().any(|layer| subject.has_error(*layer)))
    };
    let before = [Layer::File, Layer::Symbols, Layer::Libraries, Layer::Identity];
    // What was opened got as far as its devices; what went wrong in the run after that is no failure to load.
    let opened = |subject: &Subject| subject.findings.iter().any(is_opened);
    let not_opened = subjects.iter().any(|subject| subject.has_error(Layer::Run) && !opened(subject));
    if error(&[Layer::Config]) {
        USAGE
    } else if error(&before) || not_opened {
        NOT_LOADED
    } else if error(&[Layer::Devices]) {
        NO_DEVICE
    } else if error(&[Layer::Run]) {
        FAILED
    } else {
        0
    }
}

fn is_opened(finding: &finding::Finding) -> bool {
    finding.layer == Layer::Run && finding.severity == Severity::Ok
}
