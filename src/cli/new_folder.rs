//! A folder that a command is to make.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::Usage;

/// The absolute path of a folder that does not exist, or is empty. It has a parent, and that exists.
pub(super) fn place(folder: &Path) -> Result<PathBuf, Usage> {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Usage(format!("{shown} is not empty; name a folder that is, or a new one")));
            }
            let place = fs::canonicalize(folder).map_err(|error| Usage(format!("{shown}: {error}")))?;
            if std::env::current_dir().is_ok_and(|here| here == place) || place.parent().is_none() {
                let text = format!("{shown} is the folder that you are in; go one up and name it from there");
                return Err(Usage(text));
            }
            Ok(place)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(folder).is_err() => {
            let parent = match folder.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            let last = folder.file_name().ok_or_else(|| Usage(format!("{shown} names no folder")))?;
            let parent = fs::canonicalize(parent).map_err(|error| {
                Usage(format!("{shown} cannot be made: {}: {error}; make that first", parent.display()))
            })?;
            Ok(parent.join(last))
        }
        Err(error) => Err(Usage(format!("{shown} cannot be a new folder: {error}"))),
    }
}
