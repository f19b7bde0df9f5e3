//! What `config.json` says about a model, as far as its Mixture of Experts goes.

use std::path::{Path, PathBuf};

use mxhal_core::op::{Score, SwiGluForm, WeightPosition};
use serde_json::{Map, Value};

use super::error::{CheckpointError, Result};
use super::header::{byte_of, shortened, without_position};

/// The families of models whose checkpoints can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// DeepSeek V4: `model_type` `deepseek_v4`.
    DeepSeekV4,
    /// gpt-oss: `model_type` `gpt_oss`.
    GptOss,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 2] = [Self::DeepSeekV4, Self::GptOss];

    /// Its `model_type` in `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::DeepSeekV4 => "deepseek_v4",
            Self::GptOss => "gpt_oss",
        }
    }
}

/// The Mixture of Experts of a model: its shapes and constants, the same in every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What wrote it.
    pub family: Family,
    /// Columns of a token.
    pub hidden: usize,
    /// Inner columns of an expert.
    pub inner: usize,
    /// Layers; each has a Mixture of Experts.
    pub layers: usize,
    /// The first so many layers choose experts by token id, from a table.
    pub hash_layers: usize,
    /// Experts that are routed to.
    pub experts: usize,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// Inner columns of the shared expert; `None` where there is none.
    pub shared_inner: Option<usize>,
    /// How logits become scores.
    pub score: Score,
    /// Whether the weights of a token are divided by their sum.
    pub renormalize: bool,
    /// What routing weights are multiplied by.
    pub scale: f32,
    /// The gated activation, with its limit.
    pub form: SwiGluForm,
    /// Where the family's own code multiplies by the routing weight.
    pub weight_position: WeightPosition,
    /// Token ids; `None` where the config does not say.
    pub vocabulary: Option<usize>,
}

impl ModelConfig {
    /// Reads `config.json`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let keys = Keys { path, family: Family::DeepSeekV4, values: read_object(path)? };
        let found = keys.text("model_type")?.map_or_else(|| "(absent)".to_owned(), str::to_owned);
        let Some(family) = Family::ALL.into_iter().find(|family| family.model_type() == found) else {
            let supported = Family::ALL.map(Family::model_type).join(", ");
            return Err(CheckpointError::UnknownModel { path: path.to_owned(), found, supported });
        };
        let keys = Keys { family, ..keys };
        match family {
            Family::DeepSeekV4 => deepseek_v4(&keys),
            Family::GptOss => gpt_oss(&keys),
        }
    }
}

fn deepseek_v4(keys: &Keys<'_>) -> Result<ModelConfig> {
    keys.only("hidden_act", &["silu"])?;
    keys.only("topk_method", &["noaux_tc"])?;
    if keys.size("n_group", 0..=EXTENT)?.is_some_and(|groups| groups > 1) {
        return Err(keys.wrong("n_group", "absent or 1: routing limited to groups is not supported"));
    }
    if let Some(block) = keys.values.get("quantization_config").and_then(|of| of.get("weight_block_size"))
        && *block != serde_json::json!([128, 128])
    {
        return Err(CheckpointError::WrongValue {
            path: keys.path.to_owned(),
            key: "quantization_config.weight_block_size",
            found: shortened(block),
            expected: "[128, 128], the tiles of DeepSeek V4".to_owned(),
        });
    }
    let score = match keys.only("scoring_func", &["sqrtsoftplus", "sigmoid", "softmax"])? {
        Some("sigmoid") => Score::Sigmoid,
        Some("softmax") => Score::Softmax,
        _ => Score::SqrtSoftplus,
    };
    let layers = keys.need_size("num_hidden_layers", 1..=EXTENT)?;
    let experts = keys.need_size("n_routed_experts", 1..=EXTENT)?;
    let inner = keys.need_size("moe_intermediate_size", 32..=EXTENT)?;
    let shared = keys.size("n_shared_experts", 0..=64)?.unwrap_or(1);
    let hash_layers = keys.need_size("num_hash_layers", 0..=layers)?;
    let vocabulary = match hash_layers {
        0 => keys.size("vocab_size", 1..=EXTENT)?,
        _ => Some(keys.need_size("vocab_size", 1..=EXTENT)?),
    };
    Ok(ModelConfig {
        family: keys.family,
        hidden: keys.multiple_of_32("hidden_size")?,
        inner: keys.multiple_of_32("moe_intermediate_size")?,
        layers,
        hash_layers,
        experts,
        top_k: keys.need_size("num_experts_per_tok", 1..=experts)?,
        shared_inner: (shared > 0).then_some(shared * inner),
        score,
        renormalize: keys.flag("norm_topk_prob")?.unwrap_or(true),
        scale: keys.need_number("routed_scaling_factor")?,
        form: SwiGluForm::silu(keys.need_limit("swiglu_limit")?),
        weight_position: WeightPosition::BeforeDown,
        vocabulary,
    })
}

fn gpt_oss(keys: &Keys<'_>) -> Result<ModelConfig> {
    keys.only("hidden_act", &["silu"])?;
    if let Some(method) = keys.values.get("quantization_config").and_then(|of| of.get("quant_method"))
        && method != "mxfp4"
    {
        return Err(CheckpointError::WrongValue {
            path: keys.path.to_owned(),
            key: "quantization_config.quant_method",
            found: shortened(method),
            expected: "\"mxfp4\"".to_owned(),
        });
    }
    let experts = keys.need_size("num_local_experts", 1..=EXTENT)?;
    Ok(ModelConfig {
        family: keys.family,
        hidden: keys.multiple_of_32("hidden_size")?,
        inner: keys.multiple_of_32("intermediate_size")?,
        layers: keys.need_size("num_hidden_layers", 1..=EXTENT)?,
        hash_layers: 0,
        experts,
        top_k: keys.need_size("num_experts_per_tok", 1..=experts)?,
        shared_inner: None,
        score: Score::SoftmaxOfChosen,
        // Softmax over the chosen sums to 1 already.
        renormalize: false,
        scale: 1.0,
        form: SwiGluForm::gpt_oss(keys.need_limit("swiglu_limit")?),
        weight_position: WeightPosition::AfterDown,
        vocabulary: keys.size("vocab_size", 1..=EXTENT)?,
    })
}

/// The largest extent: what the operators of the core take, and twice of it fits their layouts.
const EXTENT: usize = i32::MAX as usize / 2;

/// A config whose keys are asked for one by one.
struct Keys<'a> {
    path: &'a Path,
    family: Family,
    values: Map<String, Value>,
}

impl Keys<'_> {
    /// A key that may be absent and else holds an integer in `range`; null is absent, as Python writes it.
    fn size(&self, key: &'static str, range: std::ops::RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size.filter(|size| range.contains(size)) {
            Some(size) => Ok(Some(size)),
            None => Err(self.wrong(key, &format!("an integer from {} to {}", range.start(), range.end()))),
        }
    }

    fn need_size(&self, key: &'static str, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
        self.size(key, range.clone())?.ok_or_else(|| {
            self.missing(key, &format!("an integer from {} to {}", range.start(), range.end()))
        })
    }

    fn multiple_of_32(&self, key: &'static str) -> Result<usize> {
        let size = self.need_size(key, 32..=EXTENT)?;
        if size.is_multiple_of(32) {
            return Ok(size);
        }
        Err(self.wrong(key, "a multiple of 32, the block of MXFP4"))
    }

    fn need_number(&self, key: &'static str) -> Result<f32> {
        let Some(value) = self.value(key) else { return Err(self.missing(key, "a number")) };
        match value.as_f64().map(|number| number as f32).filter(|number| number.is_finite()) {
            Some(number) => Ok(number),
            None => Err(self.wrong(key, "a number that float32 holds")),
        }
    }

    /// A clamp: 0 is none.
    fn need_limit(&self, key: &'static str) -> Result<f32> {
        let limit = self.need_number(key)?;
        if limit >= 0.0 { Ok(limit) } else { Err(self.wrong(key, "a number from 0 up (0 for no clamp)")) }
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false"))
    }

    fn text(&self, key: &'static str) -> Result<Option<&str>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a string"))
    }

    /// A key that may be absent, and else holds one of these words.
    fn only(&self, key: &'static str, words: &[&str]) -> Result<Option<&str>> {
        let found = self.text(key)?;
        if found.is_none_or(|found| words.contains(&found)) {
            return Ok(found);
        }
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        Err(self.wrong(key, &words.join(" or ")))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn missing(&self, key: &'static str, expected: &str) -> CheckpointError {
        CheckpointError::MissingKey {
            path: self.path.to_owned(),
            key,
            model_type: self.family.model_type(),
            expected: expected.to_owned(),
        }
    }

    fn wrong(&self, key: &'static str, expected: &str) -> CheckpointError {
        CheckpointError::WrongValue {
            path: self.path.to_owned(),
            key,
            found: self.value(key).map_or_else(|| "absent".to_owned(), shortened),
            expected: expected.to_owned(),
        }
    }
}

/// A file that holds one JSON object.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let bytes = std::fs::read(path).map_err(CheckpointError::io(path, "read it"))?;
    let wrong = |offset, problem| CheckpointError::Json { path: PathBuf::from(path), offset, problem };
    let text = core::str::from_utf8(&bytes)
        .map_err(|error| wrong(error.valid_up_to() as u64, "not UTF-8 from here".to_owned()))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(wrong(0, format!("an object was expected, not {}", shortened(&other)))),
        Err(error) => Err(wrong(byte_of(text, &error), without_position(&error))),
    }
}
