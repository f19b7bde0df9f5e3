//! A temporary folder that does not outlive this process, however that ends.
//!
//! A process that is interrupted or killed runs none of its destructors. So another process waits at a pipe that this one
//! alone holds open, and removes the folder when the pipe ends. It is in a process group of its own, where Ctrl-C does not
//! reach it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::{env, fs};

use anyhow::Context;
use tempfile::TempDir;

use super::failure::USAGE;

/// With what its name begins; nothing else is ever removed.
const PREFIX: &str = "mxhal-simulator-";

/// The hidden command that [`keeper`] serves.
const KEEPER: &str = "folder-keeper";

/// An empty folder, which is removed when this is dropped, and when the process ends without that.
pub(super) struct ScratchFolder {
    folder: TempDir,
    keeper: Child,
}

impl ScratchFolder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let program = env::current_exe()?;
        let mut keeper = Command::new(&program)
            .arg(KEEPER)
            .stdin(Stdio::piped())
            // Whoever reads what this process writes must not wait for the keeper.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} {KEEPER} could not be started", program.display()))?;
        let pipe = keeper.stdin.as_mut().expect("it was asked for above");
        pipe.write_all(folder.path().as_os_str().as_bytes())
            .with_context(|| format!("{} {KEEPER} ended at once", program.display()))?;
        Ok(Self { folder, keeper })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // It removes the folder, or else the folder's own drop does; neither has anyone left to complain to.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The keeper: reads a folder's path, which ends when the process that holds the pipe does, and removes the folder.
pub(super) fn keeper() -> ExitCode {
    let mut path = Vec::new();
    let read = io::stdin().read_to_end(&mut path);
    let path = PathBuf::from(OsString::from_vec(path));
    let is_scratch = path.file_name().is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
    if read.is_err() || !is_scratch {
        eprintln!("mxhal {KEEPER} is started by commands that need a temporary folder, and removes no other");
        return ExitCode::from(USAGE);
    }
    match fs::remove_dir_all(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_keeper_is_a_command_and_nobody_is_told() {
        let cli = super::super::Cli::command();
        let keeper = cli.find_subcommand(KEEPER).expect("it is a command");
        assert!(keeper.is_hide_set());
    }
}
