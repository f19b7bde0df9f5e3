//! What can be wrong with a `config.toml`, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

/// What is wrong with a `config.toml`.
///
/// Its text begins `FILE:LINE:COLUMN: `, says what is wrong and what was expected, and shows the line.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    place: Option<Box<Place>>,
    problem: Problem,
}

/// Where something is in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bytes, from the beginning of the text.
    pub span: Range<usize>,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The line itself.
    pub excerpt: String,
}

/// The kind of a [`ConfigError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system did not give the file.
    Read(io::Error),
    /// The file is not UTF-8, from this byte on.
    NotUtf8 {
        /// Bytes from the beginning of the file.
        offset: usize,
    },
    /// The text is not TOML.
    Syntax(String),
    /// A key that does not exist.
    UnknownKey {
        /// The table that it is in, as `[backend]`.
        table: String,
        /// The key.
        key: String,
        /// The keys that this table has.
        known: &'static [&'static str],
    },
    /// A value of another type.
    WrongType {
        /// The key, with its table: `backend.device`.
        key: String,
        /// The type that was found.
        found: &'static str,
        /// The type that was expected.
        expected: &'static str,
    },
    /// A key that must be there.
    MissingKey {
        /// The table that it is missing from.
        table: String,
        /// The key.
        key: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A value that cannot be.
    BadValue {
        /// The key, with its table.
        key: String,
        /// What is wrong with the value, and what was expected.
        problem: String,
    },
    /// A second backend of the same name.
    SameName {
        /// The name.
        name: String,
        /// The line of the first.
        first: usize,
    },
}

impl ConfigError {
    pub(super) fn without_place(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), place: None, problem }
    }

    pub(super) fn at(file: &Path, text: &str, span: Range<usize>, problem: Problem) -> Self {
        Self { file: file.to_owned(), place: Some(Box::new(Place::new(text, span))), problem }
    }

    pub(super) fn not_utf8(file: &Path, bytes: &[u8], error: Utf8Error) -> Self {
        let offset = error.valid_up_to();
        let text = String::from_utf8_lossy(bytes);
        // Up to there the lossy text has the same bytes; there it has a replacement character.
        Self::at(
            file,
            &text,
            offset..offset + char::REPLACEMENT_CHARACTER.len_utf8(),
            Problem::NotUtf8 { offset },
        )
    }

    pub(super) fn in_file(self, file: &Path) -> Self {
        Self { file: file.to_owned(), ..self }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where in the file; `None` where the file could not be read.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_deref()
    }

    /// What is wrong.
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else { return write!(f, "{}: {}", self.file.display(), self.problem) };
        write!(f, "{}:{}:{}: {}", self.file.display(), place.line, place.column, self.problem)?;
        if let Some(help) = self.problem.help() {
            write!(f, "; {help}")?;
        }
        place.show(f)
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

impl Place {
    fn new(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        Self {
            span: start..end,
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt: text[line_start..line_end].trim_end().to_owned(),
        }
    }

    /// The line, with carets below what is meant.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A longer line would not be read, and wrapped, carets point nowhere.
        if self.excerpt.chars().count() > 160 {
            return Ok(());
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let before = " ".repeat(self.column - 1);
        let rest = (self.excerpt.chars().count() + 1).saturating_sub(self.column).max(1);
        let carets = "^".repeat(self.span.len().clamp(1, rest));
        let line: String = self.excerpt.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, "\n{margin} |\n{number} | {line}\n{margin} | {before}{carets}")
    }
}

impl Problem {
    /// What to do about it, where that is more than the message says.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known, .. } => Some(match nearest(key, known) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("the keys are {}", list(known)),
            }),
            Self::MissingKey { expected, .. } => Some(format!("add {expected}")),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read the configuration: {error}"),
            Self::NotUtf8 { offset } => {
                write!(f, "not UTF-8 at byte {offset}; TOML is UTF-8, save the file in that encoding")
            }
            Self::Syntax(message) => write!(f, "not TOML: {message}"),
            Self::UnknownKey { table, key, .. } => write!(f, "unknown key `{key}` in {table}"),
            Self::WrongType { key, found, expected } => write!(f, "`{key}` is {found}; expected {expected}"),
            Self::MissingKey { table, key, .. } => write!(f, "`{key}` is missing in {table}"),
            Self::BadValue { key, problem } => write!(f, "`{key}`: {problem}"),
            Self::SameName { name, first } => write!(
                f,
                "a second backend named `{name}`, after that of line {first}; names are how backends are chosen, \
                 give each its own"
            ),
        }
    }
}

/// The known key that `key` was probably meant to be.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |known: &&&'static str| strsim::damerau_levenshtein(key, known);
    // A third of the letters wrong is a slip; more is another word.
    let allowed = (key.chars().count() / 3).max(1);
    // Longer than any key by far, it is none of them, and the distance would take long.
    if key.len() > 64 {
        return None;
    }
    known.iter().min_by_key(distance).filter(|found| distance(found) <= allowed).copied()
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
