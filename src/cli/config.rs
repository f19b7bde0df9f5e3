//! `mxhal config`: looking at a configuration without loading anything.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mxhal::config::{BackendConfig, SecurityPolicy};
use mxhal::runtime::library_path;

use super::print;
use super::selection::Selection;

const EXAMPLES: &str = "\
Examples:
  mxhal config check
  mxhal config check /etc/mxhal/config.toml";

/// Look at a configuration
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read a configuration and say what it means; nothing is loaded
    Check {
        /// The file [default: that of --config, else ./config.toml]
        file: Option<PathBuf>,
    },
}

impl Config {
    pub(super) fn run(self, selection: &Selection) -> anyhow::Result<ExitCode> {
        let Action::Check { file } = self.action;
        let config = match file {
            Some(file) => mxhal::Config::load(&file)?,
            None => selection.configuration()?,
        };
        let file =
            config.file.as_ref().map_or("no config.toml".to_owned(), |file| file.display().to_string());
        let mut text = format!("{file}: good\n");
        describe(&mut text, "backend", &config, &config.backend)?;
        for name in &config.fallback {
            describe(&mut text, "fallback", &config, &config.backend_named(name)?)?;
        }
        for other in config.others.iter().filter(|other| !config.fallback.contains(&other.name)) {
            describe(&mut text, "further", &config, other)?;
        }
        let policy = match config.security {
            SecurityPolicy::Strict => "strict",
            SecurityPolicy::Warn => "warn",
        };
        writeln!(text, "security  {policy}")?;
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(
    text: &mut String,
    role: &str,
    config: &mxhal::Config,
    backend: &BackendConfig,
) -> anyhow::Result<()> {
    let source = match library_path(config, backend)? {
        Some(library) if library.is_file() => library.display().to_string(),
        Some(library) => format!("{} (which is not there)", library.display()),
        None => "embedded".to_owned(),
    };
    write!(text, "{role:<9} {}, device {}, {source}", backend.name, backend.device)?;
    if backend.sha256.is_some() {
        text.push_str(", pinned");
    }
    for (key, value) in &backend.options {
        write!(text, ", {key} = {value:?}")?;
    }
    text.push('\n');
    Ok(())
}
