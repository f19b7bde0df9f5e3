//! The command line: a file for each command, and what they share.
//!
//! | module | holds |
//! | --- | --- |
//! | `devices`, `doctor`, `conform`, `replay`, `moe`, `quantize`, `dequantize` | the commands |
//! | `bench` | the command that measures |
//! | `synth` | the command that makes checkpoints up |
//! | `config`, `new_backend`, `completions` | the commands about mxhal itself |
//! | `new_folder` | where a command may make a folder |
//! | `certificate` | what `conform` does with certificates |
//! | `selection` | which configuration, backend and device |
//! | `simulators` | what stands in for a vendor's driver |
//! | `scratch_folder` | a temporary folder that an interrupted command does not leave behind |
//! | `row_operator` | rows of a file through an operator, a chunk at a time |
//! | `terminal` | colour, progress, logs |
//! | `failure` | errors as they are printed, and exit codes |
//!
//! What is for machines goes to standard output; logs, progress and errors go to standard error.

mod bench;
mod certificate;
mod completions;
mod config;
mod conform;
mod dequantize;
mod devices;
mod doctor;
mod failure;
mod moe;
mod new_backend;
mod new_folder;
mod quantize;
mod replay;
mod row_operator;
mod scratch_folder;
mod selection;
mod simulators;
mod synth;
mod terminal;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use selection::Selection;
use terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  mxhal devices
  mxhal doctor ./libmxhal_mychip.so
  mxhal conform --plugin ./libmxhal_mychip.so
  mxhal moe --checkpoint DeepSeek-V4-Flash --layer 3 --input x.safetensors --output y.safetensors
  mxhal quantize --format mxfp4 --input weights.safetensors --output packed.safetensors

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 a backend could not be loaded, 4 no device.
Which backend is used is said by --config FILE, else by ./config.toml if there is one; else it is the embedded CPU's.";

/// One API over MXFP4 tensor and Mixture-of-Experts operators; the backend is a plugin chosen in config.toml.
#[derive(Debug, Parser)]
#[command(name = "mxhal", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    terminal: Terminal,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Devices(devices::Devices),
    Doctor(doctor::Doctor),
    Conform(Box<conform::Conform>),
    Replay(replay::Replay),
    Bench(Box<bench::Bench>),
    Moe(moe::Moe),
    Quantize(quantize::Quantize),
    Dequantize(dequantize::Dequantize),
    Synth(synth::Synth),
    Config(config::Config),
    NewBackend(new_backend::NewBackend),
    Completions(completions::Completions),
    /// A worker of `conform` and `replay`, which start it.
    #[command(hide = true)]
    ConformWorker,
    /// The process in which `doctor` loads a plugin.
    #[command(hide = true)]
    DoctorWorker,
    /// The process that removes a temporary folder when the command that made it is over.
    #[command(hide = true)]
    FolderKeeper,
}

/// Parses the arguments, runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    let Cli { selection, terminal, command } = Cli::parse();
    // Those that others start have no log, and end in their own ways.
    match command {
        Command::ConformWorker => return conform::worker(),
        Command::DoctorWorker => return doctor::worker(),
        Command::FolderKeeper => return scratch_folder::keeper(),
        _ => {}
    }
    terminal.start_logging();
    let result = match command {
        Command::Devices(command) => command.run(&selection, &terminal),
        Command::Doctor(command) => command.run(&selection, &terminal),
        Command::Conform(command) => command.run(&selection, &terminal),
        Command::Replay(command) => command.run(&selection),
        Command::Bench(command) => command.run(&selection, &terminal),
        Command::Moe(command) => command.run(&selection, &terminal),
        Command::Quantize(command) => command.run(&selection, &terminal),
        Command::Dequantize(command) => command.run(&selection, &terminal),
        Command::Synth(command) => command.run(&terminal),
        Command::Config(command) => command.run(&selection),
        Command::NewBackend(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::ConformWorker | Command::DoctorWorker | Command::FolderKeeper => {
            unreachable!("they were dealt with above")
        }
    };
    result.unwrap_or_else(|error| failure::report(&error, &terminal))
}

/// Writes to standard output. That nobody reads on, as after `| head`, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output cannot be written"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help =
                command.get_after_help().unwrap_or_else(|| panic!("{}", command.get_name())).to_string();
            assert!(help.contains(&format!("mxhal {}", command.get_name())), "{help}");
        }
    }
}
