//! Plain safetensors files: the inputs and outputs of the command line.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::Dtype;

use crate::checkpoint::{CheckpointError, FileTensor, Result, Shard};
use crate::tensor_writer::{TensorSpec, TensorWriter};

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

    /// Its metadata: `__metadata__` in the header.
    pub const fn metadata(&self) -> &HashMap<String, String> {
        self.shard.header().metadata()
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

    /// Writes a file of these tensors, or leaves what was there; see [`TensorWriter`].
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], and [`std::io::ErrorKind::InvalidInput`] in it for a tensor whose bytes are not as many as
    /// type and shape take, or a name given twice.
    pub fn write(path: impl AsRef<Path>, tensors: &[NewTensor<'_>]) -> Result<()> {
        let specs: Vec<TensorSpec> = tensors.iter().map(NewTensor::spec).collect();
        let mut writer = TensorWriter::create(path, &specs, &BTreeMap::new())?;
        for tensor in tensors {
            writer.write(tensor.name, tensor.bytes)?;
        }
        writer.finish()
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
    fn spec(&self) -> TensorSpec {
        TensorSpec { name: self.name.to_owned(), dtype: self.dtype, shape: self.shape.to_vec() }
    }
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
        assert!(error.contains("1 bytes of tensor `y` are missing"), "{error}");
        let error = TensorFile::write(&path, &[tensors()[0], tensors()[0]]).unwrap_err().to_string();
        assert!(error.contains("the name `codes` is taken"), "{error}");

        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(TensorFile::write(folder.path().join("absent/y.safetensors"), &tensors()).is_err());
    }
}
