//! From the tables of a `config.toml` to a [`Config`]: which keys there are, and what they may hold.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Problem};
use super::table::{Source, Table, Text};
use super::{BackendConfig, Config, EMBEDDED, Library, SecurityPolicy};

const ROOT: &[&str] = &["backend", "backends", "plugins", "security"];
const BACKEND: &[&str] = &["name", "library", "device", "sha256", "fallback", "options"];
const FURTHER_BACKEND: &[&str] = &["name", "library", "device", "sha256", "options"];
const PLUGINS: &[&str] = &["folder"];
const SECURITY: &[&str] = &["policy"];

pub(super) fn config(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let source = Source { text, file };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut root = Table::root(source)?;
    let backend = root.table("backend")?;
    let further = root.tables("backends")?;
    let plugins = root.table("plugins")?;
    let security = root.table("security")?;
    root.finish(ROOT)?;

    let mut config = Config { file: Some(file.to_owned()), ..Config::default() };
    let mut names = Names { source, seen: Vec::new() };
    if let Some(mut table) = backend {
        let fallback = table.strings("fallback")?;
        config.backend = self::backend(&mut table, folder, &mut names)?;
        config.fallback = fallback_names(&table, fallback, &config.backend.name)?;
        table.finish(BACKEND)?;
    }
    for mut table in further {
        if let Some(fallback) = table.strings("fallback")?.first() {
            let problem = "only [backend] has a fallback: it is the one that is used";
            return Err(table.bad_value("fallback", fallback.span.clone(), problem));
        }
        config.others.push(self::backend(&mut table, folder, &mut names)?);
        table.finish(FURTHER_BACKEND)?;
    }
    if let Some(mut table) = plugins {
        config.plugin_folder = path(&mut table, "folder", folder)?.map(|(path, _)| path);
        table.finish(PLUGINS)?;
    }
    if let Some(mut table) = security {
        config.security = policy(&mut table)?;
        table.finish(SECURITY)?;
    }
    Ok(config)
}

/// What `[backend]` and `[[backends]]` share.
fn backend(
    table: &mut Table<'_>,
    folder: &Path,
    names: &mut Names<'_>,
) -> Result<BackendConfig, ConfigError> {
    let name = table.string("name")?;
    let library = path(table, "library", folder)?;
    let device = table.integer("device")?.unwrap_or(0);
    let sha256 = table.string("sha256")?;
    let options = match table.table("options")? {
        Some(options) => options.scalars()?,
        None => Vec::new(),
    };

    let mut backend = match &name {
        Some(name) => BackendConfig::new(&name.text)
            .map_err(|error| table.bad_value("name", name.span.clone(), error.to_string()))?,
        // Options without a name are for the backend that needs none.
        None if library.is_none() && table.heading == "[backend]" => BackendConfig::default(),
        None => return Err(table.missing("name", "`name = \"…\"`, such as \"cuda\"")),
    };
    names.add(&backend.name, name.map_or_else(|| table.span.clone(), |name| name.span))?;

    if let Some((path, _)) = library {
        backend.library = Library::File(path);
    }
    if let Some(pin) = sha256 {
        if backend.library == Library::Embedded {
            let problem = format!(
                "it pins a file, and `{EMBEDDED}` without `library` is part of the program; remove it, or add \
                 `library`"
            );
            return Err(table.bad_value("sha256", pin.span, problem));
        }
        backend.sha256 = Some(digest(table, &pin)?);
    }
    Ok(BackendConfig { device, options, ..backend })
}

/// The names in use, so that none is used twice.
struct Names<'t> {
    source: Source<'t>,
    seen: Vec<(String, usize)>,
}

impl Names<'_> {
    fn add(&mut self, name: &str, span: Range<usize>) -> Result<(), ConfigError> {
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| seen == name) {
            let problem = Problem::SameName { name: name.to_owned(), first: *first };
            return Err(self.source.error(span, problem));
        }
        let line = self.source.text[..span.start].matches('\n').count() + 1;
        self.seen.push((name.to_owned(), line));
        Ok(())
    }
}

fn fallback_names(table: &Table<'_>, names: Vec<Text>, own: &str) -> Result<Vec<String>, ConfigError> {
    let mut fallback: Vec<String> = Vec::with_capacity(names.len());
    for Text { text: name, span } in names {
        if let Err(error) = BackendConfig::new(&name) {
            return Err(table.bad_value("fallback", span, error.to_string()));
        }
        if name == own {
            let problem = format!("`{name}` is the backend that this is the fallback of");
            return Err(table.bad_value("fallback", span, problem));
        }
        if fallback.contains(&name) {
            return Err(table.bad_value("fallback", span, format!("`{name}` is there twice")));
        }
        fallback.push(name);
    }
    Ok(fallback)
}

/// A path, absolute or relative to the folder of the configuration, and where it is in the text.
fn path(
    table: &mut Table<'_>,
    key: &'static str,
    folder: &Path,
) -> Result<Option<(PathBuf, Range<usize>)>, ConfigError> {
    let Some(Text { text, span }) = table.string(key)? else { return Ok(None) };
    if text.is_empty() {
        let problem = "it is empty; expected a path, absolute or relative to the folder of this file";
        return Err(table.bad_value(key, span, problem));
    }
    if text.contains('\0') {
        return Err(table.bad_value(key, span, "it holds a zero byte; no path does"));
    }
    Ok(Some((folder.join(text), span)))
}

fn digest(table: &Table<'_>, pin: &Text) -> Result<[u8; 32], ConfigError> {
    let expected = "expected 64 hexadecimal digits, as `sha256sum FILE` prints them";
    let bad = |problem: String| table.bad_value("sha256", pin.span.clone(), format!("{problem}; {expected}"));
    if let Some(wrong) = pin.text.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(bad(format!("{wrong:?} is no hexadecimal digit")));
    }
    if pin.text.len() != 64 {
        return Err(bad(format!("it has {} digits", pin.text.len())));
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(pin.text.as_bytes().as_chunks::<2>().0) {
        let [high, low] =
            digits.map(|digit| char::from(digit).to_digit(16).expect("every digit was looked at"));
        *byte = (high << 4 | low) as u8;
    }
    Ok(bytes)
}

fn policy(table: &mut Table<'_>) -> Result<SecurityPolicy, ConfigError> {
    let Some(policy) = table.string("policy")? else { return Ok(SecurityPolicy::default()) };
    match policy.text.as_str() {
        "strict" => Ok(SecurityPolicy::Strict),
        "warn" => Ok(SecurityPolicy::Warn),
        other => {
            let problem = format!("`{other}` is no policy; expected \"strict\" or \"warn\"");
            Err(table.bad_value("policy", policy.span, problem))
        }
    }
}
