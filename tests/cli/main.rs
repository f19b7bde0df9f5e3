//! The command line, from outside: what it prints where, which files it writes, and how it ends.

#![cfg(feature = "cli")]

#[path = "../cargo_build/mod.rs"]
mod cargo_build;

mod ascend;
mod backends;
mod bench;
mod conform;
mod conversions;
mod doctor;
mod help;
mod interruption;
mod moe;
mod simulators;
mod synth;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

/// How a command ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// An empty folder, in which commands are run and find no configuration but what a test writes there.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The names of what is in it.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxhal"));
        command.current_dir(self.0.path()).env_remove("NO_COLOR").timeout(Duration::from_secs(120));
        command
    }

    /// Runs `mxhal` with these arguments, here.
    fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        let output = self.command().args(arguments).output().unwrap();
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// That it ended so.
    #[track_caller]
    fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// That each of these is said on standard error.
    #[track_caller]
    fn saying(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in\n{}", self.err);
        }
        self
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/golden").join(name)
}
