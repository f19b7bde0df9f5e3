//! `mxhal completions`: what a shell needs to complete the arguments.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

const EXAMPLES: &str = "\
Examples:
  mxhal completions bash > ~/.local/share/bash-completion/completions/mxhal
  mxhal completions zsh > ~/.zfunc/_mxhal
  mxhal completions fish > ~/.config/fish/completions/mxhal.fish";

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mxhal", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
