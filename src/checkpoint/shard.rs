//! One safetensors file, memory-mapped.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use mxhal_core::format::bf16;
use safetensors::Dtype;

use super::error::{CheckpointError, Result};
use super::header::{self, Header, TensorEntry};

/// A mapped file with its header. Tensors are slices of the mapping, and nothing is read before it is looked at.
///
/// While it is mapped, the file must not be truncated: the operating system answers a read beyond the new end with a
/// signal. (To replace a file by another, as a download does, is harmless.)
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Shard {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] and [`CheckpointError::Header`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(CheckpointError::io(path, "open it"))?;
        if !file.metadata().map_err(CheckpointError::io(path, "ask for its size"))?.is_file() {
            let not_a_file =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(CheckpointError::io(path, "map it")(not_a_file));
        }
        // SAFETY: the mapping is read-only and private to this process's reading; that nobody truncates the file
        // under it is required in the documentation of this type. Contents that change are bytes all the same.
        let map = unsafe { Mmap::map(&file) }.map_err(CheckpointError::io(path, "map it"))?;
        let header = header::parse(&map, map.len() as u64)
            .map_err(|error| CheckpointError::Header { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), map, header })
    }

    /// Which tensors it holds.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor of exactly this name.
    pub fn tensor(&self, name: &str) -> Option<FileTensor<'_>> {
        let entry = self.header.tensor(name)?;
        // The parser checked that every tensor lies within the file, whose length is that of the mapping.
        Some(FileTensor { path: &self.path, entry, bytes: &self.map[entry.begin..entry.end] })
    }
}

/// A tensor of a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct FileTensor<'a> {
    path: &'a Path,
    entry: &'a TensorEntry,
    bytes: &'a [u8],
}

impl<'a> FileTensor<'a> {
    /// Its name in the file.
    pub fn name(&self) -> &'a str {
        &self.entry.name
    }

    /// The type of its elements.
    pub const fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// Its extents in elements, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        &self.entry.shape
    }

    /// Its bytes, little-endian; where they lie in memory, and how aligned, is the file's accident.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The file that it is in.
    pub const fn path(&self) -> &'a Path {
        self.path
    }

    /// Its first byte in the file.
    pub const fn offset(&self) -> usize {
        self.entry.begin
    }

    /// The same tensor, if its element type is one of these.
    pub(crate) fn of_dtype(self, expected: &[Dtype], meaning: &str) -> Result<Self> {
        if expected.contains(&self.dtype()) {
            return Ok(self);
        }
        let names: Vec<String> = expected.iter().map(Dtype::to_string).collect();
        Err(CheckpointError::WrongDtype {
            path: self.path.to_owned(),
            tensor: self.name().to_owned(),
            offset: self.offset(),
            found: self.dtype(),
            expected: format!("{} ({meaning})", names.join(" or ")),
        })
    }

    /// The same tensor, if it has this shape.
    pub(crate) fn of_shape(self, expected: &[usize], why: &'static str) -> Result<Self> {
        if self.shape() == expected {
            return Ok(self);
        }
        Err(CheckpointError::WrongShape {
            path: self.path.to_owned(),
            tensor: self.name().to_owned(),
            offset: self.offset(),
            dtype: self.dtype(),
            found: self.shape().to_vec(),
            expected: expected.to_vec(),
            why,
        })
    }

    /// The values of a tensor of F32 or BF16; empty for any other type.
    pub(crate) fn floats(&self) -> Vec<f32> {
        match self.dtype() {
            Dtype::F32 => self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::BF16 => {
                let values = self.bytes.as_chunks().0.iter();
                values.map(|bytes| bf16::to_f32(u16::from_le_bytes(*bytes))).collect()
            }
            _ => Vec::new(),
        }
    }
}
