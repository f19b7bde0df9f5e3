//! Which tensors a layer has, and which of them go into which file.
//!
//! Names, types and shapes are those that `mxhal::checkpoint` documents for each family.

use mxhal::TensorSpec;
use mxhal::checkpoint::{Dtype, Family};

use super::models::Shape;
use crate::random::{Content, E2M1_MEAN_SQUARE, E4M3_MEAN_SQUARE};

/// A tensor that is to be made up.
#[derive(Clone, Debug)]
pub(super) struct NewTensor {
    pub(super) spec: TensorSpec,
    pub(super) content: Content,
}

impl NewTensor {
    fn new(name: String, dtype: Dtype, shape: &[usize], content: Content) -> Self {
        Self { spec: TensorSpec { name, dtype, shape: shape.to_vec() }, content }
    }

    pub(super) fn bytes(&self) -> u64 {
        let elements: usize = self.spec.shape.iter().product();
        (elements * self.spec.dtype.bitsize() / 8) as u64
    }
}

/// The tensors of one layer's Mixture of Experts.
pub(super) fn of_layer(shape: &Shape, layer: usize) -> Vec<NewTensor> {
    match shape.family {
        Family::GptOss => gpt_oss(shape, layer),
        _ => deepseek_v4(shape, layer),
    }
}

fn deepseek_v4(shape: &Shape, layer: usize) -> Vec<NewTensor> {
    let Shape { hidden, inner, hash_layers, experts, top_k, vocabulary, .. } = *shape;
    let base = format!("layers.{layer}.ffn");
    let mut tensors = vec![router(format!("{base}.gate.weight"), shape)];
    tensors.push(if layer < hash_layers {
        let name = format!("{base}.gate.tid2eid");
        NewTensor::new(name, Dtype::I64, &[vocabulary, top_k], Content::Experts(top_k, experts))
    } else {
        NewTensor::new(format!("{base}.gate.bias"), Dtype::F32, &[experts], Content::F32(0.05))
    });
    let matrices = [("w1", [inner, hidden]), ("w2", [hidden, inner]), ("w3", [inner, hidden])];
    for expert in 0..experts {
        for (which, [n, k]) in matrices {
            let name = format!("{base}.experts.{expert}.{which}");
            tensors.push(NewTensor::new(format!("{name}.weight"), Dtype::I8, &[n, k / 2], Content::Bits));
            let scales = Content::e8m0(E2M1_MEAN_SQUARE, k);
            tensors.push(NewTensor::new(format!("{name}.scale"), Dtype::F8_E8M0, &[n, k / 32], scales));
        }
    }
    for (which, [n, k]) in matrices {
        let name = format!("{base}.shared_experts.{which}");
        tensors.push(NewTensor::new(format!("{name}.weight"), Dtype::F8_E4M3, &[n, k], Content::E4m3));
        let tiles = [n.div_ceil(128), k.div_ceil(128)];
        let scales = Content::e8m0(E4M3_MEAN_SQUARE, k);
        tensors.push(NewTensor::new(format!("{name}.scale"), Dtype::F8_E8M0, &tiles, scales));
    }
    tensors
}

fn gpt_oss(shape: &Shape, layer: usize) -> Vec<NewTensor> {
    let Shape { hidden, inner, experts, .. } = *shape;
    let base = format!("model.layers.{layer}.mlp");
    let bias = |name, shape: &[usize]| NewTensor::new(name, Dtype::BF16, shape, Content::Bf16(0.1));
    let mut tensors =
        vec![router(format!("{base}.router.weight"), shape), bias(format!("{base}.router.bias"), &[experts])];
    for (which, [n, k]) in [("gate_up", [2 * inner, hidden]), ("down", [hidden, inner])] {
        let name = |part| format!("{base}.experts.{which}_proj_{part}");
        let blocks = [experts, n, k / 32, 16];
        tensors.push(NewTensor::new(name("blocks"), Dtype::U8, &blocks, Content::Bits));
        let scales = Content::e8m0(E2M1_MEAN_SQUARE, k);
        tensors.push(NewTensor::new(name("scales"), Dtype::U8, &blocks[..3], scales));
        tensors.push(bias(name("bias"), &[experts, n]));
    }
    tensors
}

/// Logits about the size of what comes in.
fn router(name: String, shape: &Shape) -> NewTensor {
    let deviation = 1.0 / (shape.hidden as f32).sqrt();
    NewTensor::new(name, Dtype::BF16, &[shape.experts, shape.hidden], Content::Bf16(deviation))
}

/// Divides tensors, in their order, among files of at most so many bytes; one that is larger has a file of its own.
pub(super) fn into_files(tensors: Vec<NewTensor>, most: u64) -> Vec<Vec<NewTensor>> {
    let mut files: Vec<Vec<NewTensor>> = Vec::new();
    let mut room = 0;
    for tensor in tensors {
        let bytes = tensor.bytes();
        match files.last_mut() {
            Some(file) if bytes <= room => file.push(tensor),
            _ => {
                room = most;
                files.push(vec![tensor]);
            }
        }
        room = room.saturating_sub(bytes);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::super::models::Model;
    use super::*;

    fn bytes(tensors: &[NewTensor], part: &str) -> u64 {
        tensors.iter().filter(|tensor| tensor.spec.name.contains(part)).map(NewTensor::bytes).sum()
    }

    #[test]
    fn experts_take_what_those_of_the_published_checkpoints_do() {
        let flash = of_layer(&Model::DeepSeekV4Flash.shape(), 3);
        assert_eq!(bytes(&flash, ".experts.255."), 13_369_344);
        assert_eq!(bytes(&flash, ".experts."), 256 * 13_369_344);
        let pro = of_layer(&Model::DeepSeekV4Pro.shape(), 60);
        assert_eq!(bytes(&pro, ".experts.0."), 35_094_528);
        assert_eq!(bytes(&pro, ".experts."), 384 * 35_094_528);
        let oss = of_layer(&Model::GptOss120b.shape(), 0);
        assert_eq!(bytes(&oss, "gate_up_proj_blocks"), 128 * 5760 * 90 * 16);
        assert_eq!(bytes(&oss, "down_proj_scales"), 128 * 2880 * 90);
    }

    #[test]
    fn the_first_layers_look_experts_up_and_the_others_have_a_bias() {
        let shape = Model::DeepSeekV4Flash.shape();
        for (layer, table) in [(0, true), (2, true), (3, false)] {
            let tensors = of_layer(&shape, layer);
            assert_eq!(bytes(&tensors, "tid2eid"), if table { 129_280 * 6 * 8 } else { 0 });
            assert_eq!(bytes(&tensors, "gate.bias"), if table { 0 } else { 4 * 256 });
        }
    }

    #[test]
    fn files_are_no_larger_than_they_may_be_and_hold_every_tensor_in_order() {
        let tensors = of_layer(&Model::DeepSeekV4Flash.shape(), 3);
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.spec.name.clone()).collect();
        let files = into_files(tensors, 1 << 30);
        assert_eq!(files.len(), 4);
        assert!(files.iter().all(|file| file.iter().map(NewTensor::bytes).sum::<u64>() <= 1 << 30));
        let again: Vec<_> = files.iter().flatten().map(|tensor| tensor.spec.name.clone()).collect();
        assert_eq!(again, names);
        assert_eq!(into_files(of_layer(&Model::GptOss120b.shape(), 0), 1).len(), 8);
    }
}
