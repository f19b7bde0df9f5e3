//! What can be wrong with a header.

use safetensors::Dtype;

use super::MAX_HEADER_BYTES;

/// What is wrong with a header. Offsets count bytes from the beginning of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file ends before the length of the header does.
    #[error(
        "the file has {file_bytes} bytes, and a safetensors file begins with 8 bytes of header length; \
         fetch it again, or check that it is one"
    )]
    TooShort {
        /// Bytes of the file.
        file_bytes: u64,
    },

    /// The header is said to be longer than the file.
    #[error(
        "bytes 0 to 7 say that the header takes {header_bytes} bytes, and the file has {file_bytes} bytes in all; \
         it was cut short (fetch it again) or is no safetensors file"
    )]
    LengthBeyondFile {
        /// What the first eight bytes say.
        header_bytes: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },

    /// The header is said to be longer than the format allows.
    #[error(
        "bytes 0 to 7 say that the header takes {header_bytes} bytes, and the format allows {MAX_HEADER_BYTES}; \
         this is no safetensors file"
    )]
    LengthBeyondLimit {
        /// What the first eight bytes say.
        header_bytes: u64,
    },

    /// The header is not text.
    #[error(
        "byte {offset} of the header is not UTF-8; the file is damaged (fetch it again) or no safetensors file"
    )]
    NotUtf8 {
        /// Where the text breaks off.
        offset: u64,
    },

    /// The header is not a JSON object.
    #[error(
        "the header is not a JSON object of tensors: {problem}, at byte {offset}; the file is damaged (fetch it \
         again) or no safetensors file"
    )]
    NotJson {
        /// Where reading stopped.
        offset: u64,
        /// What was wrong there.
        problem: String,
    },

    /// Two tensors have one name.
    #[error("the header lists tensor `{tensor}` twice; names are unique, so write the file again")]
    Repeated {
        /// The name.
        tensor: String,
    },

    /// A field of a tensor's entry is absent or not what it should be.
    #[error("tensor `{tensor}`: `{field}` is {found}; expected {expected}")]
    Entry {
        /// The tensor.
        tensor: String,
        /// The field.
        field: &'static str,
        /// What stands there, shortened.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },

    /// A tensor has more elements than can be counted.
    #[error("tensor `{tensor}`: {dtype} {shape:?} is larger than this machine's address space")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
        /// Its extents.
        shape: Vec<usize>,
    },

    /// Offsets and shape disagree.
    #[error(
        "tensor `{tensor}`: `data_offsets` give it {found} bytes from byte {begin} of the file, and {dtype} {shape:?} \
         takes {}",
        .wanted.map_or_else(|| "no whole number of bytes".to_owned(), |bytes| format!("{bytes} bytes"))
    )]
    SizeMismatch {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: Dtype,
        /// Its extents.
        shape: Vec<usize>,
        /// Bytes that type and shape take; `None` where elements of 4 or 6 bits do not fill whole bytes.
        wanted: Option<u64>,
        /// Bytes between its offsets.
        found: u64,
        /// Its first byte in the file.
        begin: u64,
    },

    /// A tensor lies beyond the end of the file.
    #[error(
        "tensor `{tensor}` ends at byte {end}, and the file has {file_bytes} bytes: it was cut short by at least {}; \
         fetch it again",
        end - file_bytes
    )]
    BeyondFile {
        /// The tensor.
        tensor: String,
        /// One past its last byte.
        end: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },

    /// Two tensors share bytes.
    #[error(
        "tensor `{tensor}` begins at byte {begin}, and tensor `{other}` before it ends at byte {other_end}: they overlap"
    )]
    Overlap {
        /// The tensor that begins later.
        tensor: String,
        /// Its first byte.
        begin: u64,
        /// The tensor that begins earlier.
        other: String,
        /// One past that one's last byte.
        other_end: u64,
    },

    /// Bytes between tensors belong to none.
    #[error(
        "tensor `{tensor}` begins at byte {begin}, and what comes before it ends at byte {end_before}: the format allows no gap"
    )]
    Gap {
        /// The tensor after the gap.
        tensor: String,
        /// Its first byte.
        begin: u64,
        /// One past the last byte before the gap.
        end_before: u64,
    },

    /// The file goes on after the last tensor.
    #[error(
        "the last tensor ends at byte {data_end}, and the file has {file_bytes} bytes: {} belong to none; \
         the header is of another file",
        file_bytes - data_end
    )]
    Trailing {
        /// One past the last tensor's last byte.
        data_end: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },

    /// `__metadata__` is not an object of strings.
    #[error("`__metadata__` is not an object of strings: {problem}")]
    Metadata {
        /// What was wrong.
        problem: String,
    },
}
