//! Reports as files: whole, or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::html::Picture;
use super::{Report, SCHEMA, html, junit};

/// A report that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file, or the one beside it that is renamed in the end, could not be written.
    #[error("the report could not be written to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("the report could not be read from {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not a report: it is not JSON of the schema {SCHEMA}", path.display())]
    Parse {
        /// Where.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A report of another program's version.
    #[error("{} has the schema `{schema}`, and this program reads {SCHEMA}", path.display())]
    Schema {
        /// Where.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
}

/// Writes the JSON report.
///
/// # Errors
///
/// [`FileError::Write`].
pub fn write_json(report: &Report, path: &Path) -> Result<(), FileError> {
    write(path, |file| {
        serde_json::to_writer_pretty(&mut *file, report)?;
        file.write_all(b"\n")
    })
}

/// Writes the JUnit report.
///
/// # Errors
///
/// [`FileError::Write`].
pub fn write_junit(report: &Report, path: &Path) -> Result<(), FileError> {
    write(path, |file| junit::document(report).serialize(file).map_err(io::Error::other))
}

/// Writes the HTML page.
///
/// # Errors
///
/// [`FileError::Write`].
pub fn write_html(report: &Report, path: &Path) -> Result<(), FileError> {
    write_html_with(report, &[], path)
}

/// Writes the HTML page with pictures.
///
/// # Errors
///
/// [`FileError::Write`].
pub fn write_html_with(report: &Report, pictures: &[Picture], path: &Path) -> Result<(), FileError> {
    write(path, |file| file.write_all(html::page_with(report, pictures).as_bytes()))
}

/// Reads a JSON report.
///
/// # Errors
///
/// [`FileError::Read`], [`FileError::Parse`], and [`FileError::Schema`] for one of another shape.
pub fn read_json(path: &Path) -> Result<Report, FileError> {
    let text = fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let parse = |source| FileError::Parse { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(parse)?;
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(schema) if schema != SCHEMA => {
            Err(FileError::Schema { path: path.to_owned(), schema: schema.to_owned() })
        }
        _ => serde_json::from_value(value).map_err(parse),
    }
}

fn write(
    path: &Path,
    contents: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FileError> {
    write_whole(path, contents).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Writes a file beside `path`, and renames it when it is whole.
pub(crate) fn write_whole(
    path: &Path,
    contents: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|file| {
        let mut file = BufWriter::new(file);
        contents(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        // What is left of a write that failed is of use to nobody, and may not be there at all.
        let _ = fs::remove_file(&part);
    }
    written
}
