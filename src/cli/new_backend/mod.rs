//! `mxhal new-backend`: a project that builds as it is, for whoever writes a backend.

mod project;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::failure::Usage;
use super::new_folder::place;
use super::print;
use project::{Crates, Language, Project};

const EXAMPLES: &str = "\
Examples:
  mxhal new-backend --lang cpp mychip
  mxhal new-backend --lang c mychip src/mychip-mxhal
  mxhal new-backend --lang rust --mxhal ../mxhal mychip";

/// The most bytes of a name: the identity has room for these and a zero byte.
const NAME_BYTES: usize = 31;

/// Start a backend: a project that builds and passes the suites abi, memory and support as it is
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct NewBackend {
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,

    /// A checkout of mxhal whose crates a project in Rust depends on [default: mxhal's repository]
    #[arg(long, value_name = "FOLDER")]
    mxhal: Option<PathBuf>,

    /// The backend's name, as config.toml will have it: lower-case letters, digits, `-` and `_`
    #[arg(value_parser = name)]
    name: String,

    /// Where it goes: a folder that does not exist yet, or is empty [default: NAME]
    dir: Option<PathBuf>,
}

impl NewBackend {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let crates = match &self.mxhal {
            Some(_) if self.lang != Language::Rust => {
                let text =
                    "--mxhal is for --lang rust: a backend in C or C++ needs the header alone, and has it";
                return Err(Usage(text.to_owned()).into());
            }
            Some(folder) => checkout(folder)?,
            None => Crates::Repository,
        };
        let folder = self.dir.unwrap_or_else(|| PathBuf::from(&self.name));
        let project = Project { name: self.name, language: self.lang, crates };
        write(&project, &folder)?;
        print(&format!(
            "{folder}: a backend that is complete in all but its operators\n\n  cd {folder}\n  {build}\n  mxhal conform \
             --plugin {library} --filter '^(abi|memory|support)/'\n\n{folder}/README.md says how to go on.\n",
            folder = folder.display(),
            build = project.build_command(),
            library = project.library(),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err("a name is lower-case letters, digits, `-` and `_`, such as `mychip`".to_owned());
    }
    if name.len() > NAME_BYTES {
        return Err(format!("it has {} characters, and a name has at most {NAME_BYTES}", name.len()));
    }
    Ok(name.to_owned())
}

/// The absolute path of a checkout, which has the crates that are needed.
fn checkout(folder: &Path) -> anyhow::Result<Crates> {
    let path =
        fs::canonicalize(folder).map_err(|error| Usage(format!("--mxhal {}: {error}", folder.display())))?;
    for manifest in ["core/Cargo.toml", "ffi/Cargo.toml"] {
        if !path.join(manifest).is_file() {
            let path = path.display();
            return Err(
                Usage(format!("--mxhal: {path} is no checkout of mxhal: it has no {manifest}")).into()
            );
        }
    }
    match path.into_os_string().into_string() {
        Ok(path) => Ok(Crates::Checkout(path)),
        Err(path) => {
            let path = path.display();
            Err(Usage(format!("--mxhal: {path} is not UTF-8, and cannot stand in a Cargo.toml")).into())
        }
    }
}

/// Writes the files beside the folder and renames: the folder has all of them, or is as it was.
fn write(project: &Project, folder: &Path) -> anyhow::Result<()> {
    let place = place(folder)?;
    let parent = place.parent().expect("a folder that is no root has a parent");
    let failed = || format!("{} could not be written", folder.display());
    let staging =
        tempfile::Builder::new().prefix(".mxhal-new-backend-").tempdir_in(parent).with_context(failed)?;
    // A folder within: its mode is what the user's umask says, and not private as that of a temporary one.
    let staged = staging.path().join("project");
    for (path, text) in project.files() {
        let path = staged.join(path);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).with_context(failed)?;
    }
    // Over an empty folder this succeeds, and over one that has been filled since it fails.
    fs::rename(&staged, &place).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project { name: "mychip".to_owned(), language: Language::C, crates: Crates::Repository }
    }

    #[test]
    fn names_are_those_of_the_identity() {
        for good in ["a", "my-chip_2", "0", &"x".repeat(31)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "My", "a.b", "a/b", "é", &"x".repeat(32)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_folder_is_filled_and_nothing_is_left_beside_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("mychip");
        fs::create_dir(&folder).unwrap();
        write(&project(), &folder).unwrap();
        assert!(folder.join("src/backend.c").is_file());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("mychip");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mine"), "mine").unwrap();
        fs::write(parent.path().join("file"), "").unwrap();
        for (path, said) in [
            (folder.clone(), "is not empty"),
            (parent.path().join("file"), "cannot be a new folder"),
            (parent.path().join("no/such/folder"), "make that first"),
        ] {
            let error = write(&project(), &path).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains(said), "{error}");
        }
        assert_eq!(fs::read_to_string(folder.join("mine")).unwrap(), "mine");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
    }
}
