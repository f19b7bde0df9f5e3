//! What can be wrong with a checkpoint.

use std::io;
use std::path::PathBuf;

use safetensors::Dtype;

use super::header::HeaderError;

/// The result of reading a checkpoint.
pub type Result<T, E = CheckpointError> = core::result::Result<T, E>;

/// What is wrong with a checkpoint. A message names the file, the tensor and the byte where there is one, what was
/// seen, what was expected and what to do. Bytes count from the beginning of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The path is no folder with a `config.json` and safetensors files.
    #[error(
        "{path}: no checkpoint: {problem}; give the folder that holds config.json and model.safetensors.index.json \
         (or model.safetensors)"
    )]
    NotACheckpoint {
        /// What was opened.
        path: PathBuf,
        /// What it is or lacks.
        problem: String,
    },

    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },

    /// `config.json` or the index is not JSON.
    #[error("{path}: not JSON: {problem}, at byte {offset}; fetch it again")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where reading stopped.
        offset: u64,
        /// What was wrong there.
        problem: String,
    },

    /// `config.json` is of a model that is not known here.
    #[error("{path}: `model_type` is \"{found}\"; supported are {supported}")]
    UnknownModel {
        /// The config.
        path: PathBuf,
        /// Its `model_type`.
        found: String,
        /// Every known one.
        supported: String,
    },

    /// `config.json` lacks a key.
    #[error("{path}: `{key}` is missing; {model_type} needs it: {expected}")]
    MissingKey {
        /// The config.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The model that needs it.
        model_type: &'static str,
        /// What it should hold.
        expected: String,
    },

    /// A key of `config.json` holds something else than it may.
    #[error("{path}: `{key}` is {found}; expected {expected}")]
    WrongValue {
        /// The config.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },

    /// The index is JSON, but no index.
    #[error(
        "{path}: {problem}; expected \"weight_map\": an object from tensor names to file names in the same folder"
    )]
    Index {
        /// The index.
        path: PathBuf,
        /// What was seen.
        problem: String,
    },

    /// The index names a shard that is not there.
    #[error(
        "{index}: tensor `{tensor}` is said to be in `{shard}`, and there is no such file; fetch that shard"
    )]
    ShardMissing {
        /// The index.
        index: PathBuf,
        /// The tensor that was wanted.
        tensor: String,
        /// The absent file.
        shard: String,
    },

    /// The header of a shard is wrong, or the shard is cut short.
    #[error("{path}: {error}")]
    Header {
        /// The shard.
        path: PathBuf,
        /// What is wrong.
        error: HeaderError,
    },

    /// No shard is said to hold a tensor.
    #[error(
        "{path}: tensor `{tensor}` is missing, with and without the prefix `model.`; the checkpoint is incomplete"
    )]
    TensorMissing {
        /// The index, or the only file.
        path: PathBuf,
        /// The tensor, without prefix.
        tensor: String,
    },

    /// A shard lacks a tensor that the index says it has.
    #[error(
        "{path}: tensor `{tensor}` is missing, and {index} says that it is here; shard and index are not of one checkpoint"
    )]
    NotInShard {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The index.
        index: PathBuf,
    },

    /// A file that is no checkpoint lacks a tensor.
    #[error("{path}: there is no tensor `{tensor}`; the file holds {names}")]
    NoSuchTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Those that it holds.
        names: String,
    },

    /// A tensor has another element type than its use allows.
    #[error("{path}: tensor `{tensor}` at byte {offset} is {found}; expected {expected}")]
    WrongDtype {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its first byte.
        offset: usize,
        /// Its element type.
        found: Dtype,
        /// What it may be.
        expected: String,
    },

    /// A tensor has another shape than `config.json` says.
    #[error("{path}: tensor `{tensor}` at byte {offset} is {dtype} {found:?}; expected {expected:?} ({why})")]
    WrongShape {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its first byte.
        offset: usize,
        /// Its element type.
        dtype: Dtype,
        /// Its shape.
        found: Vec<usize>,
        /// What its shape should be.
        expected: Vec<usize>,
        /// What the expected extents stand for.
        why: &'static str,
    },

    /// The scales of a weight are not as many as its blocks.
    #[error(
        "{path}: scales `{tensor}` at byte {offset} are {found:?}, and its weight has blocks {expected:?}: {why}"
    )]
    ScaleCount {
        /// The shard.
        path: PathBuf,
        /// The scale tensor.
        tensor: String,
        /// Its first byte.
        offset: usize,
        /// Its shape.
        found: Vec<usize>,
        /// One scale for each block.
        expected: Vec<usize>,
        /// How blocks are counted.
        why: &'static str,
    },

    /// A scale byte is 255, which is NaN: the block and every sum that it enters would be NaN.
    #[error(
        "{path}: scales `{tensor}`, row {row}, block {block} (byte {offset}) is 255, which is NaN; the checkpoint is \
         damaged (fetch the shard again), or allow NaN scales"
    )]
    NanScale {
        /// The shard.
        path: PathBuf,
        /// The scale tensor.
        tensor: String,
        /// Row of the scale tensor, all leading extents counted through.
        row: usize,
        /// Column of the scale tensor.
        block: usize,
        /// The byte in the file.
        offset: usize,
    },

    /// The table of a hash layer names an expert that there is not.
    #[error(
        "{path}: tensor `{tensor}`, row {row}, slot {slot} (byte {offset}) names expert {found}; there are {experts} \
         experts, 0 to {}",
        experts - 1
    )]
    ExpertOutOfRange {
        /// The shard.
        path: PathBuf,
        /// The table.
        tensor: String,
        /// The token id.
        row: usize,
        /// The place in the row.
        slot: usize,
        /// The byte in the file.
        offset: usize,
        /// The expert's id as it stands there.
        found: i64,
        /// How many experts there are.
        experts: usize,
    },

    /// A float32 router weight that BF16, with which logits are computed, does not hold exactly.
    #[error(
        "{path}: tensor `{tensor}`, row {row}, column {column} (byte {offset}) is {found:e}, which is no bfloat16; \
         routers are multiplied as bfloat16, so store this one rounded to BF16 if its routing allows that"
    )]
    RouterNotBf16 {
        /// The shard.
        path: PathBuf,
        /// The router.
        tensor: String,
        /// The expert.
        row: usize,
        /// The input column.
        column: usize,
        /// The byte in the file.
        offset: usize,
        /// The value.
        found: f32,
    },

    /// A layer beyond the last.
    #[error("{path}: there is no layer {layer}; `num_hidden_layers` is {layers}: 0 to {}", layers - 1)]
    NoSuchLayer {
        /// The config.
        path: PathBuf,
        /// The layer that was asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }
}
