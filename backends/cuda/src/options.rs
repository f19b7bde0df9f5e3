//! What `config.toml` may say.

use std::path::PathBuf;

use mxhal_core::{Error, Result};

/// `[backend.options]` of `config.toml`.
///
/// | key | value | default |
/// | --- | --- | --- |
/// | `device_code` | a file with the kernels, a fatbin or a cubin, which is loaded instead of what this build holds | what this build holds |
/// | `launches` | `asynchronous`, or `synchronous`: each kernel is waited for, so that a fault is that of the kernel that is named. For looking for faults: it is slow, and nothing can be captured | `asynchronous` |
/// | `memory_reserve` | how many bytes of freed memory are kept for the next allocation when a stream is waited for, or `all` | `all` |
/// | `strided_rows` | what becomes of plain tensors whose rows lie apart: `copy`, through the workspace, which plans then ask for; or `refuse`, when a plan is run | `copy` |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `device_code`.
    pub device_code: Option<PathBuf>,
    /// Whether `launches` is `synchronous`.
    pub launches_synchronously: bool,
    /// `memory_reserve`; `u64::MAX` for all.
    pub memory_reserve: u64,
    /// Whether `strided_rows` is `refuse`.
    pub refuses_strided_rows: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device_code: None,
            launches_synchronously: false,
            memory_reserve: u64::MAX,
            refuses_strided_rows: false,
        }
    }
}

impl Options {
    /// The keys.
    pub const KEYS: [&str; 4] = ["device_code", "launches", "memory_reserve", "strided_rows"];

    /// Reads keys and values.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a key or a value that is none of the table's.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "device_code" if value.is_empty() => {
                    return Err(Error::invalid("option `device_code` is empty; it is a file, or left out"));
                }
                "device_code" => options.device_code = Some(PathBuf::from(value)),
                "launches" => {
                    options.launches_synchronously = is_second(key, value, ["asynchronous", "synchronous"])?;
                }
                "memory_reserve" => options.memory_reserve = reserve(value.trim())?,
                "strided_rows" => options.refuses_strided_rows = is_second(key, value, ["copy", "refuse"])?,
                _ => {
                    return Err(Error::invalid(format!(
                        "`{key}` is not an option of the CUDA backend; its options are `{}`",
                        Self::KEYS.join("`, `")
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn is_second(key: &str, value: &str, words: [&str; 2]) -> Result<bool> {
    match words.iter().position(|word| *word == value.trim()) {
        Some(place) => Ok(place == 1),
        None => Err(Error::invalid(format!(
            "option `{key}` is `{value}`; it is `{}` or `{}`",
            words[0], words[1]
        ))),
    }
}

fn reserve(value: &str) -> Result<u64> {
    if value == "all" {
        return Ok(u64::MAX);
    }
    value.parse().map_err(|_| {
        Error::invalid(format!("option `memory_reserve` is `{value}`; it is a number of bytes, or `all`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::parse(&pairs)
    }

    #[test]
    fn each_option_is_read() {
        let options = parse(&[
            ("device_code", "kernels.fatbin"),
            ("launches", "synchronous"),
            ("memory_reserve", "1048576"),
            ("strided_rows", "refuse"),
        ])
        .unwrap();
        assert_eq!(options.device_code.as_deref(), Some(std::path::Path::new("kernels.fatbin")));
        assert!(options.launches_synchronously && options.refuses_strided_rows);
        assert_eq!(options.memory_reserve, 1 << 20);
        assert_eq!(parse(&[]).unwrap(), Options::default());
        assert_eq!(parse(&[("memory_reserve", "all")]).unwrap(), Options::default());
    }

    #[test]
    fn what_is_no_option_is_named_with_those_that_are() {
        for (key, value, wanted) in [
            ("code", "kernels.fatbin", "`device_code`"),
            ("device_code", "", "a file"),
            ("launches", "slow", "`asynchronous` or `synchronous`"),
            ("memory_reserve", "-1", "a number of bytes"),
            ("strided_rows", "yes", "`copy` or `refuse`"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(error.message().contains(wanted) && error.message().contains(key), "{error}");
        }
    }
}
