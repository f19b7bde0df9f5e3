//! A layer of gpt-oss.
//!
//! | tensor, after `model.layers.{L}.mlp.` | type | shape |
//! | --- | --- | --- |
//! | `router.weight`, `router.bias` | BF16 | `[experts, hidden]`, `[experts]` |
//! | `experts.gate_up_proj_blocks` | U8 | `[experts, 2 · inner, hidden/32, 16]`, gate and up rows alternating |
//! | `experts.down_proj_blocks` | U8 | `[experts, hidden, inner/32, 16]` |
//! | `experts.{gate_up,down}_proj_scales` | U8 or F8_E8M0 | the same without the 16 |
//! | `experts.{gate_up,down}_proj_bias` | BF16 or F32 | `[experts, rows]` |
//!
//! The experts of a layer are one tensor, of which each is a slice. Source: transformers, `integrations/mxfp4.py` and
//! `models/gpt_oss/modeling_gpt_oss.py`.

use mxhal_core::{Format, HostTensor};
use safetensors::Dtype;

use super::Checkpoint;
use super::error::Result;
use super::layer::{MoeLayerTensors, Router, matrix, router_weight, scales};

pub(super) fn moe_layer(checkpoint: &Checkpoint, layer: usize) -> Result<MoeLayerTensors<'_>> {
    let model = checkpoint.model();
    let base = format!("layers.{layer}.mlp");
    let weight = checkpoint
        .tensor(&format!("{base}.router.weight"))?
        .of_dtype(&[Dtype::BF16, Dtype::F32], "a router")?
        .of_shape(&[model.experts, model.hidden], "num_local_experts × hidden_size")?;
    let gate_up = [2 * model.inner, model.hidden];
    let down = [model.hidden, model.inner];
    Ok(MoeLayerTensors {
        layer,
        hidden: model.hidden,
        inner: model.inner,
        experts: model.experts,
        top_k: model.top_k,
        router: Router {
            weight: router_weight(&weight)?,
            logit_bias: Some(floats(checkpoint, &format!("{base}.router.bias"), &[model.experts])?),
            choice_bias: None,
            by_token: None,
            score: model.score,
            renormalize: model.renormalize,
            scale: model.scale,
        },
        weight: Format::Mxfp4,
        gate_up: experts(checkpoint, &format!("{base}.experts.gate_up_proj"), gate_up)?,
        down: experts(checkpoint, &format!("{base}.experts.down_proj"), down)?,
        biases: Some((
            floats(checkpoint, &format!("{base}.experts.gate_up_proj_bias"), &[model.experts, gate_up[0]])?,
            floats(checkpoint, &format!("{base}.experts.down_proj_bias"), &[model.experts, down[0]])?,
        )),
        shared: None,
        form: model.form,
        weight_position: model.weight_position,
    })
}

/// The matrices `[n, k]` of every expert.
fn experts<'a>(checkpoint: &'a Checkpoint, name: &str, [n, k]: [usize; 2]) -> Result<Vec<HostTensor<'a>>> {
    let experts = checkpoint.model().experts;
    let blocks = checkpoint
        .tensor(&format!("{name}_blocks"))?
        .of_dtype(&[Dtype::U8], "two MXFP4 codes a byte")?
        .of_shape(&[experts, n, k / 32, 16], "experts × rows × blocks × 16 bytes")?;
    let name = format!("{name}_scales");
    let scales = scales(checkpoint, &name, &[experts, n, k / 32], "one for each 32 columns of a row")?;
    let (data, scales) = (blocks.bytes().chunks_exact(n * k / 2), scales.bytes().chunks_exact(n * k / 32));
    Ok(data.zip(scales).map(|(data, scales)| matrix(Format::Mxfp4, [n, k], data, scales)).collect())
}

fn floats(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let tensor = checkpoint
        .tensor(name)?
        .of_dtype(&[Dtype::BF16, Dtype::F32], "a bias")?
        .of_shape(shape, "a bias for each expert and row")?;
    Ok(tensor.floats())
}
