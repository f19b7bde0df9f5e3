//! A layer of DeepSeek V4.
//!
//! | tensor, after `layers.{L}.ffn.` | type | shape |
//! | --- | --- | --- |
//! | `gate.weight` | BF16, or F32 that BF16 holds | `[experts, hidden]` |
//! | `gate.bias`, layers that choose by score | F32 | `[experts]` |
//! | `gate.tid2eid`, the first `num_hash_layers` | I64 or I32 | `[vocabulary, top_k]` |
//! | `experts.{E}.w1.weight` (gate), `w3` (up) | I8 or U8 `[inner, hidden/2]`, or F4 `[inner, hidden]` | |
//! | `experts.{E}.w2.weight` (down) | the same | `[hidden, inner/2]` |
//! | `experts.{E}.w*.scale` | F8_E8M0 or U8 | `[n, k/32]` |
//! | `shared_experts.w*.weight` | F8_E4M3 | `[n, k]` |
//! | `shared_experts.w*.scale` | F8_E8M0 or U8 | `[⌈n/128⌉, ⌈k/128⌉]` |
//!
//! The experts of a `-Base` checkpoint are like shared experts; which of both they are is seen at the first. Source:
//! the repositories deepseek-ai/DeepSeek-V4-Flash and -Pro, `inference/model.py` and `inference/convert.py`, and the
//! headers of their shards.

use mxhal_core::{Format, HostTensor};
use safetensors::Dtype;

use super::Checkpoint;
use super::error::{CheckpointError, Result};
use super::layer::{MoeLayerTensors, Router, Shared, TokenTable, matrix, router_weight, scales};

const PACKED: [Dtype; 3] = [Dtype::I8, Dtype::U8, Dtype::F4];

pub(super) fn moe_layer(checkpoint: &Checkpoint, layer: usize) -> Result<MoeLayerTensors<'_>> {
    let model = checkpoint.model();
    let base = format!("layers.{layer}.ffn");
    let router = router(checkpoint, &base, layer < model.hash_layers)?;

    let first = checkpoint.tensor(&format!("{base}.experts.0.w1.weight"))?;
    let weight = if first.dtype() == Dtype::F8_E4M3 { Format::Fp8Tile128 } else { Format::Mxfp4 };
    let (mut gate_up, mut down) = (Vec::new(), Vec::new());
    for expert in 0..model.experts {
        let name = |which| format!("{base}.experts.{expert}.{which}");
        for which in ["w1", "w3"] {
            gate_up.push(expert_matrix(checkpoint, &name(which), weight, [model.inner, model.hidden])?);
        }
        down.push(expert_matrix(checkpoint, &name("w2"), weight, [model.hidden, model.inner])?);
    }

    let shared = match model.shared_inner {
        None => None,
        Some(inner) => {
            let matrix = |which: &str, shape| {
                expert_matrix(
                    checkpoint,
                    &format!("{base}.shared_experts.{which}"),
                    Format::Fp8Tile128,
                    shape,
                )
            };
            Some(Shared {
                inner,
                weight: Format::Fp8Tile128,
                gate_up: vec![matrix("w1", [inner, model.hidden])?, matrix("w3", [inner, model.hidden])?],
                down: vec![matrix("w2", [model.hidden, inner])?],
            })
        }
    };
    Ok(MoeLayerTensors {
        layer,
        hidden: model.hidden,
        inner: model.inner,
        experts: model.experts,
        top_k: model.top_k,
        router,
        weight,
        gate_up,
        down,
        biases: None,
        shared,
        form: model.form,
        weight_position: model.weight_position,
    })
}

fn router<'a>(checkpoint: &'a Checkpoint, base: &str, hash: bool) -> Result<Router<'a>> {
    let model = checkpoint.model();
    let weight = checkpoint
        .tensor(&format!("{base}.gate.weight"))?
        .of_dtype(&[Dtype::BF16, Dtype::F32], "a router")?
        .of_shape(&[model.experts, model.hidden], "n_routed_experts × hidden_size")?;
    let mut router = Router {
        weight: router_weight(&weight)?,
        logit_bias: None,
        choice_bias: None,
        by_token: None,
        score: model.score,
        renormalize: model.renormalize,
        scale: model.scale,
    };
    if hash {
        router.by_token = Some(token_table(checkpoint, &format!("{base}.gate.tid2eid"))?);
    } else {
        let bias = checkpoint
            .tensor(&format!("{base}.gate.bias"))?
            .of_dtype(&[Dtype::F32], "a bias of scores")?
            .of_shape(&[model.experts], "n_routed_experts")?;
        router.choice_bias = Some(bias.floats());
    }
    Ok(router)
}

fn token_table(checkpoint: &Checkpoint, name: &str) -> Result<TokenTable> {
    let model = checkpoint.model();
    let top_k = model.top_k;
    let vocabulary =
        model.vocabulary.expect("the config is read with vocab_size where there are hash layers");
    let table = checkpoint
        .tensor(name)?
        .of_dtype(&[Dtype::I64, Dtype::I32], "expert ids by token id")?
        .of_shape(&[vocabulary, top_k], "vocab_size × num_experts_per_tok")?;
    let bytes = table.bytes();
    let (width, values): (usize, Vec<i64>) = if table.dtype() == Dtype::I64 {
        (8, bytes.as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect())
    } else {
        (4, bytes.as_chunks().0.iter().map(|id| i64::from(i32::from_le_bytes(*id))).collect())
    };
    // An id that no i32 holds is no expert either, and -1 never is one.
    let ids = values.iter().map(|&id| i32::try_from(id).unwrap_or(-1)).collect();
    TokenTable::new(ids, top_k, model.experts).map_err(|place| CheckpointError::ExpertOutOfRange {
        path: table.path().to_owned(),
        tensor: table.name().to_owned(),
        row: place / top_k,
        slot: place % top_k,
        offset: table.offset() + place * width,
        // The shape has whole rows, so the place is that of an id.
        found: values.get(place).copied().unwrap_or(-1),
        experts: model.experts,
    })
}

/// A weight with its scales, `[n, k]`.
fn expert_matrix<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    format: Format,
    [n, k]: [usize; 2],
) -> Result<HostTensor<'a>> {
    let weight = checkpoint.tensor(&format!("{name}.weight"))?;
    let (weight, blocks, why) = if format == Format::Mxfp4 {
        let weight = weight.of_dtype(&PACKED, "two MXFP4 codes a byte")?;
        let weight = match weight.dtype() {
            Dtype::F4 => weight.of_shape(&[n, k], "rows × columns of MXFP4")?,
            _ => weight.of_shape(&[n, k / 2], "rows × bytes of two MXFP4 codes")?,
        };
        (weight, [n, k / 32], "one for each 32 columns of a row")
    } else {
        let weight = weight
            .of_dtype(&[Dtype::F8_E4M3], "E4M3 with a scale for each tile")?
            .of_shape(&[n, k], "rows × columns")?;
        (weight, [n.div_ceil(128), k.div_ceil(128)], "one for each tile of 128 rows × 128 columns")
    };
    let scale = scales(checkpoint, &format!("{name}.scale"), &blocks, why)?;
    Ok(matrix(format, [n, k], weight.bytes(), scale.bytes()))
}
