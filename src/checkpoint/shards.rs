//! Which file of a checkpoint holds which tensor.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::error::{CheckpointError, Result};
use super::header::shortened;
use super::model::read_object;
use super::shard::{FileTensor, Shard};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// The files of a checkpoint, each opened when a tensor of it is first wanted.
#[derive(Debug)]
pub(super) struct Shards {
    /// The index, or the only file.
    path: PathBuf,
    /// The file of each tensor; `None` where there is one file and no index.
    file_of: Option<HashMap<String, usize>>,
    files: Vec<ShardFile>,
}

#[derive(Debug)]
struct ShardFile {
    name: String,
    path: PathBuf,
    shard: OnceLock<Shard>,
}

impl ShardFile {
    fn new(directory: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), path: directory.join(name), shard: OnceLock::new() }
    }

    fn opened(&self) -> Result<&Shard> {
        if let Some(shard) = self.shard.get() {
            return Ok(shard);
        }
        let shard = Shard::open(&self.path)?;
        // Another thread may have been faster; then its mapping is used, and this one dropped.
        Ok(self.shard.get_or_init(|| shard))
    }
}

impl Shards {
    /// Reads the index of a folder, and no shard.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(INDEX);
        if path.exists() {
            return Self::from_index(directory, path);
        }
        let path = directory.join(SINGLE);
        if path.exists() {
            return Ok(Self { path, file_of: None, files: vec![ShardFile::new(directory, SINGLE)] });
        }
        Err(CheckpointError::NotACheckpoint {
            path: directory.to_owned(),
            problem: format!("it holds neither {INDEX} nor {SINGLE}"),
        })
    }

    fn from_index(directory: &Path, path: PathBuf) -> Result<Self> {
        let index = read_object(&path)?;
        let wrong = |problem| CheckpointError::Index { path: path.clone(), problem };
        let map = match index.get("weight_map") {
            Some(Value::Object(map)) => map,
            Some(other) => return Err(wrong(format!("\"weight_map\" is {}", shortened(other)))),
            None => return Err(wrong("there is no \"weight_map\"".to_owned())),
        };
        let mut files: Vec<ShardFile> = Vec::new();
        let mut place_of: HashMap<&str, usize> = HashMap::new();
        let mut file_of = HashMap::with_capacity(map.len());
        for (tensor, file) in map {
            // A file elsewhere would let an index make us read whatever it likes.
            let Some(name) = file.as_str().filter(|name| is_plain_name(name)) else {
                return Err(wrong(format!(
                    "tensor `{tensor}` is in {}, which is no file name",
                    shortened(file)
                )));
            };
            let place = *place_of.entry(name).or_insert_with(|| {
                files.push(ShardFile::new(directory, name));
                files.len() - 1
            });
            file_of.insert(tensor.clone(), place);
        }
        Ok(Self { path, file_of: Some(file_of), files })
    }

    /// The tensor of exactly this name; `None` where none is said to have it.
    pub(super) fn find(&self, name: &str) -> Result<Option<FileTensor<'_>>> {
        let Some(file_of) = &self.file_of else { return Ok(self.files[0].opened()?.tensor(name)) };
        let Some(&place) = file_of.get(name) else { return Ok(None) };
        let file = &self.files[place];
        let shard = file.opened().map_err(|error| match error {
            CheckpointError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                CheckpointError::ShardMissing {
                    index: self.path.clone(),
                    tensor: name.to_owned(),
                    shard: file.name.clone(),
                }
            }
            other => other,
        })?;
        match shard.tensor(name) {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(CheckpointError::NotInShard {
                path: file.path.clone(),
                tensor: name.to_owned(),
                index: self.path.clone(),
            }),
        }
    }

    /// The index, or the only file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
}
