//! A table of a TOML text whose values are taken out one by one, each with its type checked, until none is left.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};

/// The text that values come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    pub(super) file: &'t Path,
}

impl Source<'_> {
    pub(super) fn error(&self, span: Range<usize>, problem: Problem) -> ConfigError {
        ConfigError::at(self.file, self.text, span, problem)
    }
}

/// A table, with what it is called in messages.
pub(super) struct Table<'t> {
    source: Source<'t>,
    /// As in the file: `[backend]`.
    pub(super) heading: String,
    /// What keys are prefixed with: `backend.`.
    prefix: String,
    pub(super) span: Range<usize>,
    entries: DeTable<'t>,
}

impl<'t> Table<'t> {
    /// The whole text.
    pub(super) fn root(source: Source<'t>) -> Result<Self, ConfigError> {
        let table = DeTable::parse(source.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            // The parser's sentence may go over lines; a message is one.
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            source.error(span, Problem::Syntax(message))
        })?;
        let span = table.span();
        let entries = table.into_inner();
        Ok(Self { source, heading: "the file".to_owned(), prefix: String::new(), span, entries })
    }

    /// Takes the value of a key.
    fn take(&mut self, key: &str) -> Option<Value<'t>> {
        let value = self.entries.remove(key)?;
        Some(Value { source: self.source, key: format!("{}{key}", self.prefix), value })
    }

    /// Takes a table.
    pub(super) fn table(&mut self, key: &str) -> Result<Option<Self>, ConfigError> {
        self.take(key).map(Value::table).transpose()
    }

    /// Takes an array of tables.
    pub(super) fn tables(&mut self, key: &str) -> Result<Vec<Self>, ConfigError> {
        let expected = "an array of tables: write [[backends]], once for each";
        let Some(values) = self.take(key) else { return Ok(Vec::new()) };
        values.elements(expected)?.into_iter().map(Value::table).collect()
    }

    /// Takes a string.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<Text>, ConfigError> {
        self.take(key).map(Value::string).transpose()
    }

    /// Takes an array of strings.
    pub(super) fn strings(&mut self, key: &str) -> Result<Vec<Text>, ConfigError> {
        let Some(values) = self.take(key) else { return Ok(Vec::new()) };
        values.elements("an array of strings")?.into_iter().map(Value::string).collect()
    }

    /// Takes an integer from 0 to 2^32 − 1.
    pub(super) fn integer(&mut self, key: &str) -> Result<Option<u32>, ConfigError> {
        self.take(key).map(Value::integer).transpose()
    }

    /// Takes everything that is left, strings, numbers and booleans, as strings in order of key.
    pub(super) fn scalars(mut self) -> Result<Vec<(String, String)>, ConfigError> {
        let keys: Vec<String> = self.entries.keys().map(|key| key.get_ref().to_string()).collect();
        let mut scalars = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.take(&key).expect("it is one of the table's own keys").scalar()?;
            scalars.push((key, value));
        }
        scalars.sort();
        Ok(scalars)
    }

    /// That nothing is left; `known` are the keys that were looked for.
    pub(super) fn finish(self, known: &'static [&'static str]) -> Result<(), ConfigError> {
        let first = self.entries.keys().min_by_key(|key| key.span().start);
        let Some(key) = first else { return Ok(()) };
        let problem = Problem::UnknownKey { table: self.heading, key: key.get_ref().to_string(), known };
        Err(self.source.error(key.span(), problem))
    }

    /// An error about the value of a key.
    pub(super) fn bad_value(&self, key: &str, span: Range<usize>, problem: impl Into<String>) -> ConfigError {
        let key = format!("{}{key}", self.prefix);
        self.source.error(span, Problem::BadValue { key, problem: problem.into() })
    }

    /// An error about a key that is not there.
    pub(super) fn missing(&self, key: &'static str, expected: &'static str) -> ConfigError {
        let problem = Problem::MissingKey { table: self.heading.clone(), key, expected };
        self.source.error(self.span.clone(), problem)
    }
}

/// A string, and where it is.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// A value on its way out.
struct Value<'t> {
    source: Source<'t>,
    /// With its table: `backend.device`.
    key: String,
    value: Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    fn table(self) -> Result<Table<'t>, ConfigError> {
        let Self { source, key, value } = self;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => {
                let heading = match key.strip_suffix("[]") {
                    Some(array) => format!("[[{array}]]"),
                    None => format!("[{}]", key.replace("[]", "")),
                };
                let prefix = format!("{}.", key.replace("[]", ""));
                Ok(Table { source, heading, prefix, span, entries })
            }
            other => Err(wrong_type(source, key, span, &other, "a table")),
        }
    }

    /// The elements of an array, whose keys end in `[]`.
    fn elements(self, expected: &'static str) -> Result<Vec<Self>, ConfigError> {
        let Self { source, key, value } = self;
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(values) => {
                let element = |value| Self { source, key: format!("{key}[]"), value };
                Ok(values.into_iter().map(element).collect())
            }
            other => Err(wrong_type(source, key, span, &other, expected)),
        }
    }

    fn string(self) -> Result<Text, ConfigError> {
        let span = self.value.span();
        match self.value.into_inner() {
            DeValue::String(text) => Ok(Text { text: text.into_owned(), span }),
            other => Err(wrong_type(self.source, self.key, span, &other, "a string")),
        }
    }

    fn integer(self) -> Result<u32, ConfigError> {
        let span = self.value.span();
        match self.value.into_inner() {
            DeValue::Integer(integer) => {
                u32::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| {
                    let written = &self.source.text[span.clone()];
                    let problem =
                        format!("{written} is out of range; expected an integer from 0 to {}", u32::MAX);
                    self.source.error(span, Problem::BadValue { key: self.key, problem })
                })
            }
            other => Err(wrong_type(self.source, self.key, span, &other, "an integer")),
        }
    }

    fn scalar(self) -> Result<String, ConfigError> {
        let span = self.value.span();
        match self.value.into_inner() {
            DeValue::String(text) => Ok(text.into_owned()),
            DeValue::Boolean(value) => Ok(value.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(value) => Ok(value.to_string()),
                Err(_) => {
                    let problem = "does not fit 64 bits; write it as a string".to_owned();
                    Err(self.source.error(span, Problem::BadValue { key: self.key, problem }))
                }
            },
            DeValue::Float(float) => Ok(float.as_str().to_owned()),
            other => {
                let expected = "a string, a number or a boolean: what a backend understands is text";
                Err(wrong_type(self.source, self.key, span, &other, expected))
            }
        }
    }
}

fn wrong_type(
    source: Source<'_>,
    key: String,
    span: Range<usize>,
    found: &DeValue<'_>,
    expected: &'static str,
) -> ConfigError {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    source.error(span, Problem::WrongType { key: key.replace("[]", ""), found, expected })
}
