//! `/etc/ld.so.cache`: which libraries the system knows.
//!
//! The format is that of glibc's `sysdeps/generic/dl-cache.h`, version 1.1: a header of 48 bytes, entries of 24, and
//! strings, all addressed from the header on. Older files have another header of an older format before it.

use std::collections::HashMap;
use std::path::PathBuf;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Paths of each library by its name, in the cache's order. What cannot be read is left out: an entry that is missing here
/// is looked for in folders next.
pub(super) fn parse(bytes: &[u8]) -> HashMap<String, Vec<PathBuf>> {
    let mut libraries: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else { return libraries };
    let cache = &bytes[start..];
    let Some(count) = number(cache, MAGIC.len()) else { return libraries };
    for entry in cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).take(count) {
        let text = |at| number(entry, at).and_then(|offset| string(cache, offset));
        if let (Some(name), Some(path)) = (text(4), text(8)) {
            libraries.entry(name).or_default().push(PathBuf::from(path));
        }
    }
    libraries
}

/// The file has this machine's byte order.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_ne_bytes(*bytes)).ok()
}

fn string(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let strings_at = HEADER + ENTRY * entries.len();
        for (name, path) in entries {
            let mut place = |text: &str| {
                let at = (strings_at + strings.len()) as u32;
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
                at
            };
            let (name, path) = (place(name), place(path));
            for number in [0x0303, name, path, 0, 0, 0] {
                table.extend_from_slice(&u32::to_ne_bytes(number));
            }
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(entries.len() as u32).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(table);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn names_lead_to_paths() {
        let file =
            cache(&[("liba.so.1", "/lib/liba.so.1"), ("libb.so", "/b"), ("liba.so.1", "/lib32/liba.so.1")]);
        for before in [&b""[..], b"ld.so-1.7.0 and what an old header holds"] {
            let libraries = parse(&[before, &file].concat());
            assert_eq!(
                libraries["liba.so.1"],
                [PathBuf::from("/lib/liba.so.1"), PathBuf::from("/lib32/liba.so.1")]
            );
            assert_eq!(libraries["libb.so"], [PathBuf::from("/b")]);
        }
    }

    #[test]
    fn damage_loses_entries_and_nothing_else() {
        let file = cache(&[("liba.so.1", "/lib/liba.so.1"), ("libb.so", "/b")]);
        for end in 0..file.len() {
            assert!(parse(&file[..end]).len() <= 2);
        }
        assert!(parse(b"something else").is_empty());
    }
}
