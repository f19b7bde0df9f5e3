//! The models whose checkpoints can be made up: their shapes and constants, and the `config.json` that says them.
//!
//! Sources: `config.json` of deepseek-ai/DeepSeek-V4-Flash and -Pro; transformers,
//! `models/gpt_oss/configuration_gpt_oss.py` and the config of gpt-oss-120b.

use clap::ValueEnum;
use mxhal::checkpoint::Family;
use serde_json::{Value, json};

/// A published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Model {
    /// 43 layers of 256 experts, hidden 4096
    #[value(name = "deepseek-v4-flash")]
    DeepSeekV4Flash,
    /// 61 layers of 384 experts, hidden 7168
    #[value(name = "deepseek-v4-pro")]
    DeepSeekV4Pro,
    /// 36 layers of 128 experts, hidden 2880
    #[value(name = "gpt-oss-120b")]
    GptOss120b,
}

/// What the tensors of a layer depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    /// The first so many layers look experts up by token.
    pub(super) hash_layers: usize,
    pub(super) experts: usize,
    pub(super) top_k: usize,
    pub(super) vocabulary: usize,
}

impl Model {
    pub(super) const fn shape(self) -> Shape {
        let deepseek = Shape {
            family: Family::DeepSeekV4,
            hidden: 4096,
            inner: 2048,
            layers: 43,
            hash_layers: 3,
            experts: 256,
            top_k: 6,
            vocabulary: 129_280,
        };
        match self {
            Self::DeepSeekV4Flash => deepseek,
            Self::DeepSeekV4Pro => Shape { hidden: 7168, inner: 3072, layers: 61, experts: 384, ..deepseek },
            Self::GptOss120b => Shape {
                family: Family::GptOss,
                hidden: 2880,
                inner: 2880,
                layers: 36,
                hash_layers: 0,
                experts: 128,
                top_k: 4,
                vocabulary: 201_088,
            },
        }
    }

    /// Its `config.json`, as far as a Mixture of Experts goes; `shape` may have fewer experts.
    pub(super) fn config(self, shape: &Shape) -> Value {
        let Shape { family, hidden, inner, layers, hash_layers, experts, top_k, vocabulary } = *shape;
        if self == Self::GptOss120b {
            return json!({
                "model_type": family.model_type(),
                "hidden_act": "silu",
                "hidden_size": hidden,
                "intermediate_size": inner,
                "num_hidden_layers": layers,
                "num_local_experts": experts,
                "num_experts_per_tok": top_k,
                "swiglu_limit": 7.0,
                "vocab_size": vocabulary,
                "quantization_config": { "quant_method": "mxfp4" },
            });
        }
        json!({
            "model_type": family.model_type(),
            "hidden_act": "silu",
            "hidden_size": hidden,
            "moe_intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_hash_layers": hash_layers,
            "n_routed_experts": experts,
            "n_shared_experts": 1,
            "num_experts_per_tok": top_k,
            "scoring_func": "sqrtsoftplus",
            "topk_method": "noaux_tc",
            "norm_topk_prob": true,
            "routed_scaling_factor": if self == Self::DeepSeekV4Pro { 2.5 } else { 1.5 },
            "swiglu_limit": 10.0,
            "vocab_size": vocabulary,
            "expert_dtype": "fp4",
            "quantization_config": { "quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128] },
        })
    }
}
