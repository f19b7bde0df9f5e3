//! Checkpoints: the experts of a model as they were published, memory-mapped.
//!
//! A checkpoint is a folder with `config.json` and safetensors files. To open one reads the config and the index;
//! shards are mapped when a tensor of theirs is first wanted, and tensors are slices of the mappings, which nothing
//! copies before a backend brings them into its own layout.
//!
//! ```no_run
//! use mxhal::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("DeepSeek-V4-Flash")?;
//! let layer = checkpoint.moe_layer(3)?;
//! println!("{} experts of {} bytes", layer.experts, layer.expert_bytes());
//! # Ok::<_, mxhal::CheckpointError>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`header`] | the header of a safetensors file, a pure function of bytes |
//! | `shard`, `shards` | mapped files, and which tensor is in which |
//! | `model` | what `config.json` says: [`ModelConfig`] |
//! | `deepseek_v4`, `gpt_oss` | how a family names and shapes its tensors |
//! | `layer` | what comes out: [`MoeLayerTensors`] |
//! | `error` | what can be wrong: [`CheckpointError`] |
//!
//! Another family is a variant of [`Family`] and a file beside `gpt_oss.rs`.

mod deepseek_v4;
mod error;
mod gpt_oss;
pub mod header;
mod layer;
mod model;
mod shard;
mod shards;

use std::path::{Path, PathBuf};

pub use error::{CheckpointError, Result};
pub use layer::{MoeLayerTensors, Router, Shared, TokenTable};
pub use model::{Family, ModelConfig};
pub use safetensors::Dtype;
pub use shard::{FileTensor, Shard};

use shards::Shards;

/// An opened checkpoint. It may be shared between threads.
#[derive(Debug)]
pub struct Checkpoint {
    config: PathBuf,
    model: ModelConfig,
    shards: Shards,
    allow_nan_scales: bool,
}

impl Checkpoint {
    /// Opens the checkpoint in a folder: reads `config.json` and `model.safetensors.index.json`, or sees that there
    /// is a single `model.safetensors`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotACheckpoint`], and what can be wrong with the config and the index.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let no_checkpoint = |problem: &str| CheckpointError::NotACheckpoint {
            path: directory.to_owned(),
            problem: problem.to_owned(),
        };
        if !directory.exists() {
            return Err(no_checkpoint("there is nothing of that name"));
        }
        if !directory.is_dir() {
            return Err(no_checkpoint("it is not a folder"));
        }
        let config = directory.join("config.json");
        if !config.exists() {
            return Err(no_checkpoint("it holds no config.json"));
        }
        let model = ModelConfig::read(&config)?;
        Ok(Self { config, model, shards: Shards::open(directory)?, allow_nan_scales: false })
    }

    /// The same, with scale bytes of 255 taken as the NaN that they are, and not as damage.
    #[must_use]
    pub fn allow_nan_scales(self) -> Self {
        Self { allow_nan_scales: true, ..self }
    }

    /// What the config says.
    pub const fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// The tensors of a layer's Mixture of Experts, their types, shapes, scales and expert ids checked.
    ///
    /// All scales of the layer are read for that; the other bytes are not looked at.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchLayer`], and what can be wrong with the shards and the tensors in them.
    pub fn moe_layer(&self, layer: usize) -> Result<MoeLayerTensors<'_>> {
        if layer >= self.model.layers {
            let layers = self.model.layers;
            return Err(CheckpointError::NoSuchLayer { path: self.config.clone(), layer, layers });
        }
        match self.model.family {
            Family::DeepSeekV4 => deepseek_v4::moe_layer(self, layer),
            Family::GptOss => gpt_oss::moe_layer(self, layer),
        }
    }

    /// The tensor of this name, with or without the prefix `model.`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::TensorMissing`], and what can be wrong with the shard that has it.
    pub fn tensor(&self, name: &str) -> Result<FileTensor<'_>> {
        let (bare, prefixed) = match name.strip_prefix("model.") {
            Some(bare) => (bare, name.to_owned()),
            None => (name, format!("model.{name}")),
        };
        if let Some(tensor) = self.shards.find(bare)? {
            return Ok(tensor);
        }
        self.shards.find(&prefixed)?.ok_or_else(|| CheckpointError::TensorMissing {
            path: self.shards.path().to_owned(),
            tensor: bare.to_owned(),
        })
    }
}
