//! Numbers: exact ones equal, bit for bit.

use std::sync::Arc;

use mxhal_ascend::{W4a8, WeightLayout};
use mxhal_core::format::{bf16, dequantize_row, e4m3, f16, quantize_row};
use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm,
};
use mxhal_core::{Format, HostBuffer, Layout, Op, Quantization, ScaleRule, Weights, WeightsDesc};
use mxhal_simulated_cann_install::{Libraries, Variant};

use crate::rig::{Rig, noise};

const POISON: u8 = 0xa5;

fn tensor(format: Format, shape: &[usize]) -> HostBuffer {
    let mut buffer = HostBuffer::zeroed(Layout::contiguous(format, shape).unwrap());
    buffer.data.fill(POISON);
    buffer.scales.fill(POISON);
    buffer
}

/// A plain tensor of these values, which the format holds.
fn plain(format: Format, shape: &[usize], values: &[f32]) -> HostBuffer {
    let mut buffer = tensor(format, shape);
    buffer.data = match format {
        Format::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        Format::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    assert_eq!(buffer.data.len(), buffer.layout.data_bytes());
    buffer
}

fn integers(shape: &[usize], values: &[i32]) -> HostBuffer {
    let mut buffer = tensor(Format::I32, shape);
    buffer.data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    buffer
}

fn floats(buffer: &HostBuffer) -> Vec<f32> {
    match buffer.layout.format() {
        Format::F32 => buffer.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Format::Bf16 => {
            buffer.data.as_chunks().0.iter().map(|bytes| bf16::to_f32(u16::from_le_bytes(*bytes))).collect()
        }
        _ => buffer.data.as_chunks().0.iter().map(|bytes| f16::to_f32(u16::from_le_bytes(*bytes))).collect(),
    }
}

fn numbers(buffer: &HostBuffer) -> Vec<i32> {
    buffer.data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

/// Values of many magnitudes that BF16 and F16 hold, some of them at the edges of the scale rules.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let edges = [0.0, -0.0, 6.0, 6.031_25, 7.0, 6.968_75, 448.0, -3.5, 0.75, 4.0];
    noise(seed)
        .take(count)
        .map(|bits| match bits % 5 {
            0 => edges[(bits >> 8) as usize % edges.len()],
            _ => {
                let value = ((bits >> 8) as i32 % 255) as f32 * 2.0_f32.powi((bits >> 20) as i32 % 12 - 8);
                if bits & 0x80 == 0 { value } else { -value }
            }
        })
        .collect()
}

/// A quantized tensor, rows of blocks, by core's codec.
fn quantized(to: &Quantization, shape: &[usize], values: &[f32]) -> HostBuffer {
    let mut buffer = HostBuffer::zeroed(Layout::contiguous(to.format, shape).unwrap());
    let k = buffer.layout.columns();
    let (data, scales) = (to.format.row_bytes(k), to.format.row_scales(k));
    let rows = buffer.data.chunks_mut(data).zip(buffer.scales.chunks_mut(scales));
    for ((data, scales), values) in rows.zip(values.chunks(k)) {
        quantize_row(to, values, data, scales);
    }
    buffer
}

fn dequantized(buffer: &HostBuffer) -> Vec<f32> {
    let (format, k) = (buffer.layout.format(), buffer.layout.columns());
    let mut values = vec![0.0; buffer.layout.elements()];
    let rows = buffer.data.chunks(format.row_bytes(k)).zip(buffer.scales.chunks(format.row_scales(k)));
    for ((data, scales), values) in rows.zip(values.chunks_mut(k)) {
        dequantize_row(format, data, scales, 1.0, values);
    }
    values
}

/// Quantizes on the device and compares with core's codec.
pub(crate) fn quantize(rig: &Rig, op: Quantize, rows: usize) {
    let values = values(rows * op.k, 3);
    let wanted = quantized(&op.to, &[rows, op.k], &values);
    let mut tensors =
        [Some(plain(op.input, &[rows, op.k], &values)), Some(tensor(op.to.format, &[rows, op.k]))];
    rig.run(op, rows, &mut tensors, &[]);
    assert_eq!(tensors[1].as_ref(), Some(&wanted), "{op:?}");
}

#[test]
fn rows_are_quantized_to_the_only_right_bytes() {
    let rig = Rig::new();
    let rules = |format, rules: &[ScaleRule]| -> Vec<Quantization> {
        rules.iter().map(|rule| Quantization::new(format).with_rule(*rule)).collect()
    };
    let mut all = rules(Format::Mxfp4, &[ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::Even]);
    all.extend(rules(Format::Mxfp8, &[ScaleRule::Floor, ScaleRule::Ceil]));
    all.extend(rules(Format::Mxfp8G128, &[ScaleRule::Floor, ScaleRule::Ceil]));
    all.push(Quantization::deepseek());
    for to in all {
        for input in [Format::Bf16, Format::F16] {
            // Scales in pairs; one left over in an even and an odd number of rows; a short last block.
            for (rows, k) in [(3, 128), (4, 96), (3, 96), (1, 32), (5, 160), (2, 384)] {
                quantize(&rig, Quantize { rows: rows + 2, k, input, to }, rows);
            }
        }
    }
    let to = Quantization::new(Format::Mxfp4);
    quantize(&rig, Quantize { rows: 3, k: 96, input: Format::F32, to }, 3);
}

#[test]
fn blocks_are_dequantized_to_the_only_right_values() {
    let rig = Rig::new();
    for from in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128] {
        for output in [Format::F32, Format::Bf16, Format::F16] {
            for (rows, k) in [(3, 64), (4, 96), (3, 96)] {
                let x = quantized(&Quantization::new(from), &[rows, k], &values(rows * k, 5));
                let wanted = plain(output, &[rows, k], &dequantized(&x));
                let mut tensors = [Some(x), Some(tensor(output, &[rows, k]))];
                rig.run(Dequantize { rows, k, from, output }, rows, &mut tensors, &[]);
                assert_eq!(tensors[1].as_ref(), Some(&wanted), "{from} to {output}, {rows}x{k}");
            }
        }
    }
}

/// Small whole numbers: every sum of their products is exact in any order.
fn whole(count: usize, seed: u32) -> Vec<f32> {
    noise(seed)
        .take(count)
        .map(|bits| [0.0, 1.0, -1.0, 2.0, -3.0, 4.0, 6.0, -6.0][bits as usize >> 8 & 7])
        .collect()
}

/// `[m, n]` of `[m, k]` by `[n, k]`.
fn product(a: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize) -> Vec<f32> {
    let n = w.len() / k;
    let dot = |a: &[f32], w: &[f32]| a.iter().zip(w).map(|(a, w)| a * w).sum::<f32>();
    a.chunks(k)
        .flat_map(|a| (0..n).map(move |column| (a, column)))
        .map(|(a, column)| dot(a, &w[column * k..][..k]) + bias.map_or(0.0, |bias| bias[column]))
        .collect()
}

/// Weights of whole numbers, `[groups, n, k]`, and their values.
fn weights(rig: &Rig, desc: WeightsDesc) -> (Arc<dyn Weights>, Vec<f32>) {
    let values = whole(desc.groups * desc.n * desc.k, 11);
    let shape = [desc.groups, desc.n, desc.k];
    let canonical = match desc.format {
        Format::Fp8Tile128 => {
            // The numbers themselves, with scales of 1.
            let mut tiles = HostBuffer::zeroed(Layout::contiguous(desc.format, &shape).unwrap());
            tiles.data = values.iter().map(|value| e4m3::encode(*value)).collect();
            tiles.scales.fill(127);
            tiles
        }
        format => quantized(&Quantization::new(format), &shape, &values),
    };
    let prepared = rig.weights(desc, &canonical);
    assert_eq!(prepared.export().unwrap(), canonical, "{desc:?}");
    assert!(prepared.bytes() >= canonical.data.len() as u64);
    (prepared, values)
}

/// A product on the device, compared with one of whole numbers.
pub(crate) fn matmul(rig: &Rig, each: Matmul, rows: usize) {
    let (w, w_values) = weights(rig, Op::from(each).weights()[0]);
    let a_values = whole(rows * each.k, 7);
    let bias_values = whole(each.n, 13);
    let bias = each.bias.then_some(&*bias_values);
    let a = match each.input == each.activation.format && each.input != Format::Bf16 {
        true => quantized(&each.activation, &[rows, each.k], &a_values),
        false => plain(each.input, &[rows, each.k], &a_values),
    };
    let wanted = plain(each.output, &[rows, each.n], &product(&a_values, &w_values, bias, each.k));
    let mut tensors = [
        Some(a),
        bias.map(|bias| plain(Format::F32, &[each.n], bias)),
        Some(tensor(each.output, &[rows, each.n])),
    ];
    rig.run(each, rows, &mut tensors, &[&*w]);
    assert_eq!(tensors[2].as_ref(), Some(&wanted), "{each:?}");
}

#[test]
fn whole_numbers_are_multiplied_exactly_by_every_scheme() {
    products(&Rig::new());
}

#[test]
fn tiles_of_weights_are_multiplied_and_exported_as_rows_are() {
    let rig = Rig::with(Variant::All, Libraries::Split, |options| options.weights = WeightLayout::Nz);
    products(&rig);
    grouped_products(&rig);
    let each = Matmul::mxfp4(3, 5, 96, Quantization::new(Format::Mxfp4));
    for (op, kernel) in [
        (Op::from(each), "aclnnQuantMatmulWeightNz"),
        (GroupedMatmul { each, groups: 2 }.into(), "aclnnGroupedMatmulWeightNz"),
    ] {
        let plan = rig.device.prepare(&op).unwrap();
        assert!(plan.info().kernel.contains(kernel), "{:?}", plan.info());
    }
    let (prepared, _) = weights(&rig, Op::from(each).weights()[0]);
    // Two columns of a tile of 16 rows of 32 bytes, and the scales.
    assert_eq!(prepared.bytes(), 2 * 16 * 32 + 5 * 4);
}

fn products(rig: &Rig) {
    let mxfp4 = Quantization::new(Format::Mxfp4);
    let schemes = [
        mxfp4,
        mxfp4.with_rule(ScaleRule::Floor),
        Quantization::new(Format::Mxfp8),
        Quantization::deepseek(),
    ];
    for activation in schemes {
        for (rows, n, k) in [(1, 1, 32), (3, 5, 96), (4, 33, 128), (2, 6, 160), (3, 7, 288)] {
            for input in [Format::Bf16, activation.format] {
                let each = Matmul { input, bias: n > 1, ..Matmul::mxfp4(rows + 3, n, k, activation) };
                matmul(rig, each, rows);
            }
            matmul(rig, Matmul { output: Format::Bf16, ..Matmul::mxfp4(rows, n, k, activation) }, rows);
        }
    }
    for weight in [Format::Mxfp8, Format::Mxfp8G128, Format::Fp8Tile128] {
        let activation = Quantization::new(Format::Mxfp8);
        matmul(rig, Matmul { weight, ..Matmul::mxfp4(3, 130, 288, activation) }, 3);
    }
    let bf16 = Matmul { output: Format::Bf16, ..Matmul::mxfp4(3, 6, 96, Quantization::none()) };
    matmul(rig, bf16, 3);
}

#[test]
fn native_weights_are_multiplied_by_mxfp8_as_they_lie() {
    let rig = Rig::with(Variant::All, Libraries::Split, |options| options.w4a8 = W4a8::Native);
    for activation in [Quantization::new(Format::Mxfp8), Quantization::deepseek()] {
        let each = Matmul { output: Format::Bf16, ..Matmul::mxfp4(3, 5, 96, activation) };
        matmul(&rig, each, 3);
        let desc = Op::from(each).weights()[0];
        let (prepared, _) = weights(&rig, desc);
        // Half a byte an element, and a pair of scales for 64.
        assert_eq!(prepared.bytes(), 5 * 48 + 5 * 4);
    }
}

#[test]
fn groups_are_multiplied_each_by_its_own_and_rows_after_them_stay_as_they_were() {
    grouped_products(&Rig::new());
}

fn grouped_products(rig: &Rig) {
    for activation in
        [Quantization::new(Format::Mxfp4), Quantization::new(Format::Mxfp8), Quantization::deepseek()]
    {
        for counts in [[2, 0, 3, 1], [0, 0, 0, 0], [0, 7, 0, 0]] {
            let (m, n, k, groups) = (8, 5, 96, 4);
            let each = Matmul { bias: true, ..Matmul::mxfp4(m, n, k, activation) };
            let op = GroupedMatmul { each, groups };
            let (w, w_values) = weights(rig, Op::from(op).weights()[0]);
            let (a_values, bias) = (whole(m * k, 7), whole(groups * n, 13));
            let mut wanted = tensor(each.output, &[m, n]);
            let mut first = 0;
            for (group, count) in counts.into_iter().enumerate() {
                let rows = first..first + count as usize;
                let w = &w_values[group * n * k..][..n * k];
                let values =
                    product(&a_values[rows.start * k..rows.end * k], w, Some(&bias[group * n..][..n]), k);
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                wanted.data[4 * rows.start * n..4 * rows.end * n].copy_from_slice(&bytes);
                first = rows.end;
            }
            let mut tensors = [
                Some(plain(Format::Bf16, &[m, k], &a_values)),
                Some(integers(&[groups], &counts)),
                Some(plain(Format::F32, &[groups, n], &bias)),
                Some(tensor(each.output, &[m, n])),
            ];
            rig.run(op, m, &mut tensors, &[&*w]);
            assert_eq!(tensors[3].as_ref(), Some(&wanted), "{op:?} {counts:?}");
        }
    }
}

#[test]
fn tokens_go_to_their_experts_and_come_back() {
    let rig = Rig::new();
    let (tokens, columns, experts, top_k) = (3, 64, 4, 2);
    let ids = [3, 0, 0, 2, 3, 2];
    // Slots in order of expert, stable.
    let source = [1, 2, 3, 5, 0, 4];
    let positions = [4, 0, 1, 2, 5, 3];
    let weight_values = [0.5, 1.5, 2.0, -1.0, 0.25, 3.0];
    for format in [Format::Bf16, Format::F32, Format::Mxfp4, Format::Mxfp8, Format::Mxint8] {
        let values = whole(tokens * columns, 9);
        let x = match format.is_block_scaled() {
            true => quantized(&Quantization::new(format), &[tokens, columns], &values),
            false => plain(format, &[tokens, columns], &values),
        };
        let op = Permute { tokens, columns, experts, top_k, format, weights: true, mapped: None };
        let slots = tokens * top_k;
        let mut tensors = [
            Some(x.clone()),
            Some(integers(&[tokens, top_k], &ids)),
            Some(plain(Format::F32, &[tokens, top_k], &weight_values)),
            None,
            Some(tensor(format, &[slots, columns])),
            Some(tensor(Format::F32, &[slots])),
            Some(tensor(Format::I32, &[experts])),
            Some(tensor(Format::I32, &[slots])),
            Some(tensor(Format::I32, &[tokens, top_k])),
        ];
        rig.run(op, tokens, &mut tensors, &[]);
        let [_, _, _, _, Some(rows), Some(weights), Some(counts), Some(from), Some(to)] = tensors else {
            panic!("nine tensors")
        };
        let row = |bytes: &[u8], token: usize| {
            bytes[token * bytes.len() / tokens..][..bytes.len() / tokens].to_vec()
        };
        let wanted: Vec<u8> = source.iter().flat_map(|slot| row(&x.data, slot / top_k)).collect();
        assert_eq!(rows.data, wanted, "{format}");
        let wanted: Vec<u8> = source.iter().flat_map(|slot| row(&x.scales, slot / top_k)).collect();
        assert_eq!(rows.scales, wanted, "{format}");
        assert_eq!(floats(&weights), source.map(|slot| weight_values[slot]));
        assert_eq!(numbers(&counts), [2, 0, 2, 2]);
        assert_eq!(numbers(&from), source.map(|slot| slot as i32));
        assert_eq!(numbers(&to), positions);
    }

    let rows = whole(tokens * top_k * columns, 21);
    let addend = whole(tokens * columns, 22);
    for (weighted, added) in [(true, true), (false, false)] {
        let format = Format::Bf16;
        let op = Combine {
            tokens,
            columns,
            top_k,
            input: format,
            output: format,
            weighted,
            addend: added.then_some(format),
        };
        let mut tensors = [
            Some(plain(format, &[tokens * top_k, columns], &rows)),
            Some(integers(&[tokens, top_k], &[4, -1, 1, 2, 5, 3])),
            weighted.then(|| plain(Format::F32, &[tokens, top_k], &weight_values)),
            added.then(|| plain(format, &[tokens, columns], &addend)),
            Some(tensor(format, &[tokens, columns])),
        ];
        rig.run(op, tokens, &mut tensors, &[]);
        let sum = |index: usize| {
            let (token, column) = (index / columns, index % columns);
            let slots = [[4, -1], [1, 2], [5, 3]][token].into_iter().enumerate().filter(|(_, row)| *row >= 0);
            let sum: f32 = slots
                .map(|(slot, row)| {
                    let weight = if weighted { weight_values[token * top_k + slot] } else { 1.0 };
                    weight * rows[row as usize * columns + column]
                })
                .sum();
            sum + if added { addend[index] } else { 0.0 }
        };
        let wanted: Vec<f32> = (0..tokens * columns).map(sum).collect();
        assert_eq!(tensors[4], Some(plain(format, &[tokens, columns], &wanted)));
    }
}

#[test]
fn without_rows_there_are_no_counts_and_nothing_else_is_touched() {
    let rig = Rig::new();
    let (columns, experts, top_k, format) = (64, 4, 2, Format::Bf16);
    let op = Permute { tokens: 3, columns, experts, top_k, format, weights: false, mapped: None };
    let mut tensors = [
        Some(tensor(format, &[0, columns])),
        Some(tensor(Format::I32, &[0, top_k])),
        None,
        None,
        Some(tensor(format, &[0, columns])),
        None,
        Some(tensor(Format::I32, &[experts])),
        Some(tensor(Format::I32, &[0])),
        Some(tensor(Format::I32, &[0, top_k])),
    ];
    rig.run(op, 0, &mut tensors, &[]);
    assert_eq!(tensors[6].as_ref().map(numbers), Some(vec![0; experts]));
}

#[test]
fn experts_are_chosen_by_score_and_bias_or_as_they_are_given() {
    let rig = Rig::new();
    let (tokens, experts, top_k) = (2, 4, 2);
    let logits = [0.5, 2.0, -1.0, 1.0, 3.0, -2.0, 0.0, 1.5];
    let score = |z: f64| (1.0 + z.exp()).ln().sqrt();
    for (bias, given, ids) in [
        (None, None, [1, 3, 0, 3]),
        (Some([0.0, -9.0, 9.0, 0.0]), None, [2, 3, 2, 0]),
        (None, Some([3, 0, 1, 2]), [3, 0, 1, 2]),
    ] {
        let op = Route {
            tokens: 5,
            experts,
            top_k,
            score: Score::SqrtSoftplus,
            bias: bias.is_some(),
            ids_given: given.is_some(),
            renormalize: true,
            scale: 1.5,
        };
        let mut tensors = [
            Some(plain(Format::F32, &[tokens, experts], &logits)),
            bias.map(|bias| plain(Format::F32, &[experts], &bias)),
            given.map(|given| integers(&[tokens, top_k], &given)),
            Some(tensor(Format::I32, &[tokens, top_k])),
            Some(tensor(Format::F32, &[tokens, top_k])),
        ];
        rig.run(op, tokens, &mut tensors, &[]);
        let [_, _, _, Some(chosen), Some(weights)] = tensors else { panic!("five tensors") };
        assert_eq!(numbers(&chosen), ids);
        for (token, ids) in ids.chunks(top_k).enumerate() {
            let scores: Vec<f64> =
                ids.iter().map(|id| score(logits[token * experts + *id as usize].into())).collect();
            for (slot, wanted) in scores.iter().enumerate() {
                let wanted = 1.5 * wanted / scores.iter().sum::<f64>();
                let got = f64::from(floats(&weights)[token * top_k + slot]);
                assert!((got / wanted - 1.0).abs() < 0.5_f64.powi(18), "{got} is not {wanted}");
            }
        }
    }
}

#[test]
fn gates_are_rounded_to_bf16_before_they_are_quantized() {
    let rig = Rig::new();
    let (rows, n) = (3, 96);
    // Without zeros: the sign of a product with one is free.
    let x: Vec<f32> = values(rows * 2 * n, 31)
        .into_iter()
        .map(|value| if value == 0.0 { 1.0 } else { value.clamp(-30.0, 30.0) })
        .collect();
    let form = SwiGluForm::silu(0.0);
    let gated: Vec<f32> = (0..rows * n)
        .map(|index| {
            let (row, column) = (index / n, index % n);
            let (gate, up) = (f64::from(x[row * 2 * n + column]), f64::from(x[row * 2 * n + n + column]));
            bf16::to_f32(bf16::from_f64(gate / (1.0 + (-gate).exp()) * up))
        })
        .collect();
    for to in [Quantization::none(), Quantization::new(Format::Mxfp8), Quantization::deepseek()] {
        let op = SwiGlu { rows, n, form, input: Format::Bf16, row_weights: false, to };
        let wanted = match to.is_none() {
            true => plain(Format::Bf16, &[rows, n], &gated),
            false => quantized(&to, &[rows, n], &gated),
        };
        let mut tensors =
            [Some(plain(Format::Bf16, &[rows, 2 * n], &x)), None, Some(tensor(to.format, &[rows, n]))];
        rig.run(op, rows, &mut tensors, &[]);
        assert_eq!(tensors[2].as_ref(), Some(&wanted), "{to:?}");
    }
}
