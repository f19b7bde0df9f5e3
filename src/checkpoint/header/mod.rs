//! The header of a safetensors file: which tensors there are, and where their bytes lie.
//!
//! A file is 8 bytes of length N (little-endian), N bytes of JSON, then the data. The JSON is an object from a
//! tensor's name to `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the first byte of the
//! data, and `__metadata__`, an object of strings. Tensors fill the data without overlap or gap. Source: the
//! `safetensors` repository, README, "Format".
//!
//! [`parse`] is a pure function of bytes, so that it can be fuzzed; whatever the bytes are, it neither panics nor
//! reads beyond them, and each thing that can be wrong is an error of its own.

mod error;

use core::fmt;
use std::collections::HashMap;

use safetensors::Dtype;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

pub use error::HeaderError;

/// The most bytes that the format lets a header take.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the length before the JSON.
const LENGTH_BYTES: u64 = 8;

/// A header whose every tensor lies within the file.
#[derive(Clone, Debug)]
pub struct Header {
    /// In the order of their bytes.
    tensors: Vec<TensorEntry>,
    by_name: HashMap<String, usize>,
    metadata: HashMap<String, String>,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, in elements (of F4 too), outermost first.
    pub shape: Vec<usize>,
    /// Its first byte, counted from the beginning of the file.
    pub begin: usize,
    /// One past its last byte, counted from the beginning of the file.
    pub end: usize,
}

impl Header {
    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    /// Every tensor, in the order of their bytes.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// What `__metadata__` holds.
    pub const fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }
}

/// Reads the header of a file of `file_bytes` bytes that begins with `bytes` (which reach at least to the end of the
/// header; more does no harm).
///
/// # Errors
///
/// A [`HeaderError`] for each way in which a header can be wrong; offsets in it count from the beginning of the file.
///
/// ```
/// use mxhal::checkpoint::header::{self, HeaderError};
///
/// let json = br#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend_from_slice(json);
/// file.extend_from_slice(&[1, 2]);
/// let header = header::parse(&file, file.len() as u64)?;
/// assert_eq!(header.tensor("w").unwrap().shape, [2]);
///
/// let cut = header::parse(&file, file.len() as u64 - 1);
/// assert!(matches!(cut, Err(HeaderError::BeyondFile { .. })));
/// # Ok::<_, HeaderError>(())
/// ```
pub fn parse(bytes: &[u8], file_bytes: u64) -> Result<Header, HeaderError> {
    let json = json(bytes, file_bytes)?;
    let data_begin = LENGTH_BYTES + json.len() as u64;
    let text = core::str::from_utf8(json)
        .map_err(|error| HeaderError::NotUtf8 { offset: LENGTH_BYTES + error.valid_up_to() as u64 })?;

    let mut entries = Entries::default();
    let mut parser = serde_json::Deserializer::from_str(text);
    (&mut entries).deserialize(&mut parser).and_then(|()| parser.end()).map_err(|error| {
        match entries.repeated.take() {
            Some(tensor) => HeaderError::Repeated { tensor },
            None => HeaderError::not_json(text, &error),
        }
    })?;

    let mut tensors = Vec::with_capacity(entries.tensors.len());
    for (name, value) in &entries.tensors {
        tensors.push(entry(name, value, data_begin, file_bytes)?);
    }
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    let data_end = without_overlap_or_gap(&tensors, data_begin)?;
    if data_end < file_bytes {
        return Err(HeaderError::Trailing { data_end, file_bytes });
    }
    let by_name = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
    Ok(Header { tensors, by_name, metadata: metadata(entries.metadata)? })
}

/// The bytes of the JSON, after the length before it was believed.
fn json(bytes: &[u8], file_bytes: u64) -> Result<&[u8], HeaderError> {
    let held = file_bytes.min(bytes.len() as u64);
    let Some(length) = bytes.first_chunk::<8>().filter(|_| held >= LENGTH_BYTES) else {
        return Err(HeaderError::TooShort { file_bytes: held });
    };
    let header_bytes = u64::from_le_bytes(*length);
    if header_bytes > held - LENGTH_BYTES {
        return Err(HeaderError::LengthBeyondFile { header_bytes, file_bytes: held });
    }
    if header_bytes > MAX_HEADER_BYTES {
        return Err(HeaderError::LengthBeyondLimit { header_bytes });
    }
    // Both ends lie within `bytes`, as was just compared, so they fit a usize.
    Ok(&bytes[LENGTH_BYTES as usize..(LENGTH_BYTES + header_bytes) as usize])
}

fn entry(name: &str, value: &Value, data_begin: u64, file_bytes: u64) -> Result<TensorEntry, HeaderError> {
    let wrong = |field: &'static str, expected: &'static str| HeaderError::Entry {
        tensor: name.to_owned(),
        field,
        found: value.get(field).map_or_else(|| "absent".to_owned(), shortened),
        expected,
    };
    let wrong_dtype = || wrong("dtype", "the name of a safetensors type, such as \"U8\"");
    let wrong_shape = || wrong("shape", "an array of integers from 0 up");
    let wrong_offsets = || wrong("data_offsets", "two integers from 0 up, the first not above the second");

    let dtype = value.get("dtype").ok_or_else(wrong_dtype)?;
    let dtype: Dtype = serde_json::from_value(dtype.clone()).map_err(|_| wrong_dtype())?;

    let extents = value.get("shape").and_then(Value::as_array).ok_or_else(wrong_shape)?;
    let mut shape = Vec::with_capacity(extents.len());
    for extent in extents {
        let extent = extent.as_u64().and_then(|extent| usize::try_from(extent).ok());
        shape.push(extent.ok_or_else(wrong_shape)?);
    }

    let offsets = value.get("data_offsets").and_then(Value::as_array).ok_or_else(wrong_offsets)?;
    let offsets: Option<Vec<u64>> = offsets.iter().map(Value::as_u64).collect();
    let (begin, end) = match offsets.as_deref() {
        Some(&[begin, end]) if begin <= end => (begin, end),
        _ => return Err(wrong_offsets()),
    };

    let Some(wanted) = tensor_bytes(dtype, &shape) else {
        return Err(HeaderError::TooLarge { tensor: name.to_owned(), dtype, shape });
    };
    if wanted != Some(end - begin) {
        return Err(HeaderError::SizeMismatch {
            tensor: name.to_owned(),
            dtype,
            shape,
            wanted,
            found: end - begin,
            begin: data_begin.saturating_add(begin),
        });
    }
    let (begin, end) = (data_begin.saturating_add(begin), data_begin.saturating_add(end));
    if end > file_bytes {
        return Err(HeaderError::BeyondFile { tensor: name.to_owned(), end, file_bytes });
    }
    let (Ok(begin), Ok(end)) = (usize::try_from(begin), usize::try_from(end)) else {
        return Err(HeaderError::TooLarge { tensor: name.to_owned(), dtype, shape });
    };
    Ok(TensorEntry { name: name.to_owned(), dtype, shape, begin, end })
}

/// Bytes of a tensor: `None` where they cannot be counted, `Some(None)` where they are no whole number.
fn tensor_bytes(dtype: Dtype, shape: &[usize]) -> Option<Option<u64>> {
    // However large the other extents are, a zero makes it empty.
    if shape.contains(&0) {
        return Some(Some(0));
    }
    let bits =
        shape.iter().try_fold(dtype.bitsize() as u64, |bits, &extent| bits.checked_mul(extent as u64))?;
    Some(bits.is_multiple_of(8).then_some(bits / 8))
}

/// The end of the data, once tensors in order of their bytes are known to follow each other.
fn without_overlap_or_gap(tensors: &[TensorEntry], data_begin: u64) -> Result<u64, HeaderError> {
    let mut end = data_begin;
    let mut before: Option<&TensorEntry> = None;
    let mut gap = None;
    for tensor in tensors {
        let begin = tensor.begin as u64;
        if let Some(other) = before.filter(|_| begin < end) {
            return Err(HeaderError::Overlap {
                tensor: tensor.name.clone(),
                begin,
                other: other.name.clone(),
                other_end: end,
            });
        }
        if begin > end && gap.is_none() {
            gap = Some(HeaderError::Gap { tensor: tensor.name.clone(), begin, end_before: end });
        }
        (end, before) = (tensor.end as u64, Some(tensor));
    }
    // A tensor with another's offsets leaves a gap too; the overlap says more.
    gap.map_or(Ok(end), Err)
}

fn metadata(value: Option<Value>) -> Result<HashMap<String, String>, HeaderError> {
    let Some(value) = value else { return Ok(HashMap::new()) };
    serde_json::from_value(value).map_err(|error| HeaderError::Metadata { problem: error.to_string() })
}

impl HeaderError {
    fn not_json(text: &str, error: &serde_json::Error) -> Self {
        let offset = LENGTH_BYTES + byte_of(text, error);
        Self::NotJson { offset, problem: without_position(error) }
    }
}

/// The byte of `text` at which a JSON error was noticed.
pub(in crate::checkpoint) fn byte_of(text: &str, error: &serde_json::Error) -> u64 {
    let lines: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    (lines + error.column().saturating_sub(1)) as u64
}

/// The words of a JSON error without "at line 1 column 7", which a byte offset replaces.
pub(in crate::checkpoint) fn without_position(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rfind(" at line ") {
        Some(position) => words[..position].to_owned(),
        None => words,
    }
}

/// A JSON value as it stands in a message.
pub(in crate::checkpoint) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The JSON object as it comes, so that a repeated name is seen.
#[derive(Default)]
struct Entries {
    tensors: Vec<(String, Value)>,
    metadata: Option<Value>,
    repeated: Option<String>,
}

impl<'de> DeserializeSeed<'de> for &mut Entries {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Entries {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                self.repeated = Some(name);
                return Err(A::Error::custom("a name is repeated"));
            }
            let value = map.next_value()?;
            if name == "__metadata__" {
                self.metadata = Some(value);
            } else {
                self.tensors.push((name, value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn error(json: &str, data: usize) -> HeaderError {
        let bytes = file(json, data);
        parse(&bytes, bytes.len() as u64).unwrap_err()
    }

    fn tensor(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    }

    #[test]
    fn tensors_come_in_the_order_of_their_bytes_with_offsets_in_the_file() {
        let json = format!(
            r#"{{{},{},"__metadata__":{{"format":"pt"}}}}"#,
            tensor("b", "F4", "[3,4]", "[4,10]"),
            tensor("a", "F32", "[]", "[0,4]")
        );
        let bytes = file(&json, 10);
        let header = parse(&bytes, bytes.len() as u64).unwrap();
        let names: Vec<&str> = header.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let b = header.tensor("b").unwrap();
        assert_eq!((b.dtype, b.begin, b.end), (Dtype::F4, bytes.len() - 6, bytes.len()));
        assert_eq!(header.metadata()["format"], "pt");
        assert!(header.tensor("__metadata__").is_none());
    }

    #[test]
    fn shapes_that_overflow_are_refused_unless_a_zero_makes_them_empty() {
        let huge = tensor("w", "U8", "[9223372036854775807,9223372036854775807]", "[0,1]");
        assert!(matches!(error(&format!("{{{huge}}}"), 1), HeaderError::TooLarge { .. }));
        let beyond_usize = tensor("w", "U8", "[18446744073709551616]", "[0,1]");
        assert!(matches!(
            error(&format!("{{{beyond_usize}}}"), 1),
            HeaderError::Entry { field: "shape", .. }
        ));
        let empty = file(&format!("{{{}}}", tensor("w", "U8", "[9223372036854775807,4,0]", "[0,0]")), 0);
        assert!(parse(&empty, empty.len() as u64).is_ok());
        let far = tensor("w", "U8", "[2]", "[18446744073709551613,18446744073709551615]");
        assert!(matches!(error(&format!("{{{far}}}"), 1), HeaderError::BeyondFile { .. }));
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (json, field) in [
            (r#"{"w":{"shape":[1],"data_offsets":[0,1]}}"#, "dtype"),
            (r#"{"w":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}}"#, "dtype"),
            (r#"{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, "shape"),
            (r#"{"w":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}"#, "shape"),
            (r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, "data_offsets"),
            (r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#, "data_offsets"),
            (r#"{"w":7}"#, "dtype"),
        ] {
            let error = error(json, 1);
            assert!(
                matches!(&error, HeaderError::Entry { tensor, field: f, .. } if tensor == "w" && *f == field),
                "{json}: {error}"
            );
        }
        assert!(matches!(error("[]", 0), HeaderError::NotJson { .. }));
        assert!(matches!(error("{} x", 0), HeaderError::NotJson { offset: 11, .. }));
        assert!(matches!(error(r#"{"__metadata__":{"a":1}}"#, 0), HeaderError::Metadata { .. }));
        let twice = format!("{{{0},{0}}}", tensor("w", "U8", "[1]", "[0,1]"));
        assert_eq!(error(&twice, 1), HeaderError::Repeated { tensor: "w".to_owned() });
        let odd = format!("{{{}}}", tensor("w", "F4", "[3]", "[0,2]"));
        assert!(matches!(error(&odd, 2), HeaderError::SizeMismatch { wanted: None, found: 2, .. }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), more in 0u64..99) {
            let _ = parse(&bytes, bytes.len() as u64 + more);
        }

        #[test]
        fn a_damaged_header_is_an_error_or_still_within_the_file(at in 0usize..200, byte in any::<u8>()) {
            let json = format!(
                "{{{},{}}}",
                tensor("layers.0.a", "I64", "[2,3]", "[0,48]"),
                tensor("layers.0.b", "BF16", "[4]", "[48,56]")
            );
            let mut bytes = file(&json, 56);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(header) = parse(&bytes, bytes.len() as u64) {
                for tensor in header.tensors() {
                    prop_assert!(tensor.begin <= tensor.end && tensor.end <= bytes.len());
                }
            }
        }
    }
}
