//! Writing a safetensors file bit by bit: sizes first, then the bytes as they come.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use safetensors::Dtype;
use serde_json::{Map, json};
use tempfile::NamedTempFile;

use crate::checkpoint::{CheckpointError, Result};

/// A tensor that will be written: everything but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents in elements, outermost first.
    pub shape: Vec<usize>,
}

/// A safetensors file under way. The bytes of each tensor come in order, those of different tensors in any; what is
/// held in memory is what the caller holds.
///
/// Until [`Self::finish`] there is nothing under the file's name but what was there before: the bytes go to a file
/// without a name, which ends with the process, however that ends. (On file systems that have no such thing, to a
/// hidden one beside it, which a killed process leaves.)
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    output: Output,
    tensors: BTreeMap<String, Region>,
}

/// Where the bytes of a tensor go.
#[derive(Debug)]
struct Region {
    next: u64,
    end: u64,
}

impl TensorWriter {
    /// Begins a file of these tensors, with this metadata (`__metadata__` in its header).
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], and [`ErrorKind::InvalidInput`] in it for a name given twice, or a tensor that is no
    /// whole number of bytes.
    pub fn create(
        path: impl AsRef<Path>,
        tensors: &[TensorSpec],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let path = path.as_ref();
        Self::begin(path, tensors, metadata).map_err(CheckpointError::io(path, "write it"))
    }

    /// Writes the next bytes of a tensor.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], and [`ErrorKind::InvalidInput`] in it for a tensor that is not in the file, and for
    /// more bytes than it takes.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_next(name, bytes).map_err(CheckpointError::io(&self.path, "write it"))
    }

    /// Flushes the file to the disk and gives it its name, in place of what was there.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], and [`ErrorKind::InvalidInput`] in it where bytes of a tensor are missing. There is
    /// then under the name what was there before.
    pub fn finish(self) -> Result<()> {
        let Self { path, output, tensors } = self;
        let missing = tensors.iter().find(|(_, region)| region.next < region.end);
        let result = match missing {
            Some((name, region)) => {
                Err(invalid(format!("{} bytes of tensor `{name}` are missing", region.end - region.next)))
            }
            None => output.persist(&path),
        };
        result.map_err(CheckpointError::io(&path, "write it"))
    }

    fn begin(path: &Path, tensors: &[TensorSpec], metadata: &BTreeMap<String, String>) -> io::Result<Self> {
        // The widest elements first, so that each tensor is aligned to its elements, as the format's own library does.
        let mut tensors: Vec<&TensorSpec> = tensors.iter().collect();
        tensors.sort_by_key(|tensor| (core::cmp::Reverse(tensor.dtype.bitsize()), &tensor.name));

        let mut entries = Map::new();
        if !metadata.is_empty() {
            entries.insert(METADATA.to_owned(), json!(metadata));
        }
        let mut regions = BTreeMap::new();
        let mut begin = 0;
        for tensor in tensors {
            let bytes = byte_count(tensor)?;
            let end = begin + bytes;
            let TensorSpec { name, dtype, shape } = tensor;
            let entry = json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": [begin, end] });
            if name == METADATA || entries.insert(name.clone(), entry).is_some() {
                return Err(invalid(format!("the name `{name}` is taken")));
            }
            regions.insert(name.clone(), Region { next: begin, end });
            begin = end;
        }
        let mut header = serde_json::to_vec(&entries)?;
        // The data begin at a multiple of 8.
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len() as u64;
        for region in regions.values_mut() {
            *region = Region { next: region.next + start, end: region.end + start };
        }

        let output = Output::create(path)?;
        output.file().write_all_at(&(header.len() as u64).to_le_bytes(), 0)?;
        output.file().write_all_at(&header, 8)?;
        Ok(Self { path: path.to_owned(), output, tensors: regions })
    }

    fn write_next(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(region) = self.tensors.get_mut(name) else {
            return Err(invalid(format!("there is no tensor `{name}` in the file that was begun")));
        };
        let (room, count) = (region.end - region.next, bytes.len() as u64);
        if count > room {
            return Err(invalid(format!("tensor `{name}` takes {room} more bytes, and {count} were given")));
        }
        self.output.file().write_all_at(bytes, region.next)?;
        region.next += count;
        Ok(())
    }
}

/// The key of the metadata among the tensors of a header.
const METADATA: &str = "__metadata__";

fn byte_count(tensor: &TensorSpec) -> io::Result<u64> {
    let TensorSpec { name, dtype, shape } = tensor;
    let bits = shape.iter().try_fold(dtype.bitsize(), |bits, &extent| bits.checked_mul(extent));
    match bits {
        Some(bits) if bits.is_multiple_of(8) => Ok(bits as u64 / 8),
        _ => Err(invalid(format!("tensor `{name}` is {dtype} {shape:?}, which is no whole number of bytes"))),
    }
}

/// A file that has no name yet.
#[derive(Debug)]
enum Output {
    Nameless(File),
    Hidden(NamedTempFile),
}

impl Output {
    fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder"));
        }
        let folder = folder_of(path);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // As any file is made; the process's umask takes its share away.
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
            // To be given a name it must be found under /proc, which may not be there.
            Ok(file) if fs::exists(descriptor_path(&file)).unwrap_or(false) => {
                Ok(Self::Nameless(file.into()))
            }
            _ => {
                let mut builder = tempfile::Builder::new();
                builder.prefix(".").suffix(".partial").permissions(fs::Permissions::from_mode(0o666));
                builder.tempfile_in(folder).map(Self::Hidden)
            }
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Hidden(file) => file.as_file(),
        }
    }

    fn persist(self, path: &Path) -> io::Result<()> {
        self.file().sync_all()?;
        match self {
            Self::Hidden(file) => drop(file.persist(path).map_err(|error| error.error)?),
            Self::Nameless(file) => {
                // A name can be given only where there is none, so it is another's, and then renamed.
                let mut hidden = path.file_name().unwrap_or_default().to_owned();
                hidden.push(format!(".{}.partial", std::process::id()));
                let hidden = folder_of(path).join(hidden);
                // Of a process with this id that was killed between the two.
                let _ = fs::remove_file(&hidden);
                rustix::fs::linkat(CWD, descriptor_path(&file), CWD, &hidden, AtFlags::SYMLINK_FOLLOW)?;
                if let Err(error) = fs::rename(&hidden, path) {
                    let _ = fs::remove_file(&hidden);
                    return Err(error);
                }
            }
        }
        // The name is in the folder, and lasts once that is on the disk too.
        File::open(folder_of(path))?.sync_all()
    }
}

fn descriptor_path(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn tensors_may_be_written_by_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        fs::write(&path, "what was there").unwrap();
        let metadata = BTreeMap::from([("format".to_owned(), "mxfp4".to_owned())]);
        let specs = [spec("a", Dtype::U8, &[4]), spec("b", Dtype::F32, &[1]), spec("c", Dtype::U8, &[0])];
        let mut writer = TensorWriter::create(&path, &specs, &metadata).unwrap();
        writer.write("a", &[1, 2]).unwrap();
        writer.write("b", &1.5_f32.to_le_bytes()).unwrap();
        writer.write("a", &[3, 4]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"what was there");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a file without a name");
        writer.finish().unwrap();

        let bytes = fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "mxfp4");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("a").unwrap().data(), [1, 2, 3, 4]);
        assert_eq!(tensors.tensor("b").unwrap().data(), 1.5_f32.to_le_bytes());
        assert_eq!(tensors.tensor("c").unwrap().shape(), [0]);
    }

    #[test]
    fn too_many_bytes_and_too_few_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let create = |specs: &[TensorSpec]| TensorWriter::create(&path, specs, &BTreeMap::new());
        let mut writer = create(&[spec("a", Dtype::BF16, &[2])]).unwrap();
        writer.write("a", &[1, 2, 3]).unwrap();
        let error = writer.write("a", &[4, 5]).unwrap_err().to_string();
        assert!(error.contains("tensor `a` takes 1 more bytes, and 2 were given"), "{error}");
        let error = writer.write("b", &[4]).unwrap_err().to_string();
        assert!(error.contains("there is no tensor `b`"), "{error}");
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("1 bytes of tensor `a` are missing"), "{error}");
        let error = create(&[spec("a", Dtype::F4, &[3])]).unwrap_err().to_string();
        assert!(error.contains("tensor `a` is F4 [3], which is no whole number of bytes"), "{error}");
        let error = TensorWriter::create(folder.path(), &[], &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_without_nameless_files_has_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let hidden = Output::Hidden(NamedTempFile::new_in(folder.path()).unwrap());
        hidden.file().write_all_at(b"bytes", 0).unwrap();
        hidden.persist(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
