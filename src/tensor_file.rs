//! Plain safetensors files: the inputs and outputs of the command line.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, json};

use crate::checkpoint::{CheckpointError, FileTensor, Result, Shard};

/// A safetensors file whose tensors are read by name.
#[derive(Debug)]
pub struct TensorFile {
    shard: Shard,
}

impl TensorFile {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] and [`CheckpointError::Header`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { shard: Shard::open(path.as_ref())? })
    }

    /// The names of its tensors, in the order of their bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shard.header().tensors().iter().map(|tensor| tensor.name.as_str())
    }

    /// The tensor of this name.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchTensor`], with the names that there are.
    pub fn tensor(&self, name: &str) -> Result<FileTensor<'_>> {
        self.shard.tensor(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            CheckpointError::NoSuchTensor {
                path: self.shard.path().to_owned(),
                tensor: name.to_owned(),
                names: listed(&names),
            }
        })
    }

    /// The tensor of this name, if it is of this type.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor`], and [`CheckpointError::WrongDtype`].
    pub fn tensor_of(&self, name: &str, dtype: Dtype) -> Result<FileTensor<'_>> {
        self.tensor(name)?.of_dtype(&[dtype], "what is read here")
    }

    /// Writes a file of these tensors, or leaves what was there: the bytes go to a file beside it, are flushed to the
    /// disk, and only then take its name.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], and [`io::ErrorKind::InvalidInput`] in it for a tensor whose bytes are not as many as
    /// type and shape take, or a name given twice.
    pub fn write(path: impl AsRef<Path>, tensors: &[NewTensor<'_>]) -> Result<()> {
        let path = path.as_ref();
        write_atomically(path, tensors).map_err(CheckpointError::io(path, "write it"))
    }
}

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents in elements, outermost first.
    pub shape: &'a [usize],
    /// Its bytes, little-endian.
    pub bytes: &'a [u8],
}

impl NewTensor<'_> {
    fn check(&self) -> io::Result<()> {
        let bits = self.shape.iter().try_fold(self.dtype.bitsize(), |bits, &extent| bits.checked_mul(extent));
        if bits.is_some_and(|bits| bits.is_multiple_of(8) && bits / 8 == self.bytes.len()) {
            return Ok(());
        }
        Err(invalid(format!(
            "tensor `{}` is {} {:?}, which {} bytes do not make",
            self.name,
            self.dtype,
            self.shape,
            self.bytes.len()
        )))
    }
}

fn write_atomically(path: &Path, tensors: &[NewTensor<'_>]) -> io::Result<()> {
    // The widest elements first, so that each tensor is aligned to its elements, as the format's own library does.
    let mut tensors: Vec<&NewTensor<'_>> = tensors.iter().collect();
    tensors.sort_by_key(|tensor| (core::cmp::Reverse(tensor.dtype.bitsize()), tensor.name));
    let header = header(&tensors)?;

    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any file is made; the process's umask takes its share away.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(directory)?;
    let mut writer = BufWriter::new(temporary.as_file());
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(&header)?;
    for tensor in tensors {
        writer.write_all(tensor.bytes)?;
    }
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    // The name is in the folder, and lasts once that is on the disk too.
    File::open(directory)?.sync_all()
}

/// The JSON of a header, padded so that the data begin at a multiple of 8.
fn header(tensors: &[&NewTensor<'_>]) -> io::Result<Vec<u8>> {
    let mut entries = Map::new();
    let mut begin = 0;
    for tensor in tensors {
        tensor.check()?;
        let end = begin + tensor.bytes.len();
        let entry =
            json!({ "dtype": tensor.dtype.to_string(), "shape": tensor.shape, "data_offsets": [begin, end] });
        if tensor.name == "__metadata__" || entries.insert(tensor.name.to_owned(), entry).is_some() {
            return Err(invalid(format!("the name `{}` is taken", tensor.name)));
        }
        begin = end;
    }
    let mut bytes = serde_json::to_vec(&entries)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Names as they stand in a message: not more than fit it.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    match names.len() {
        0 => "no tensor".to_owned(),
        many if many > MOST => format!("{}, … ({many} in all)", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> [NewTensor<'static>; 2] {
        [
            NewTensor { name: "codes", dtype: Dtype::F4, shape: &[2, 4], bytes: &[1, 2, 3, 4] },
            NewTensor { name: "y", dtype: Dtype::F32, shape: &[1, 1], bytes: &[0, 0, 0x80, 0x3f] },
        ]
    }

    #[test]
    fn what_is_written_is_read_here_and_by_the_formats_own_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.safetensors");
        TensorFile::write(&path, &tensors()).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["y", "codes"]);
        assert_eq!(file.tensor_of("y", Dtype::F32).unwrap().floats(), [1.0]);
        assert_eq!(file.tensor("codes").unwrap().bytes(), [1, 2, 3, 4]);

        let bytes = std::fs::read(&path).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("codes").unwrap().shape(), [2, 4]);

        let error = file.tensor("z").unwrap_err().to_string();
        assert!(
            error.contains("y.safetensors") && error.contains("`z`") && error.contains("y, codes"),
            "{error}"
        );
        let error = file.tensor_of("y", Dtype::BF16).unwrap_err().to_string();
        assert!(error.contains("is F32; expected BF16"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.safetensors");
        TensorFile::write(&path, &tensors()).unwrap();
        let before = std::fs::read(&path).unwrap();

        let short = NewTensor { bytes: &[0; 3], ..tensors()[1] };
        let error = TensorFile::write(&path, &[short]).unwrap_err().to_string();
        assert!(error.contains("tensor `y` is F32 [1, 1], which 3 bytes do not make"), "{error}");
        let error = TensorFile::write(&path, &[tensors()[0], tensors()[0]]).unwrap_err().to_string();
        assert!(error.contains("the name `codes` is taken"), "{error}");

        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(TensorFile::write(folder.path().join("absent/y.safetensors"), &tensors()).is_err());
    }
}
