//! Operators, weights, streams.

use mxhal_core::format::{bf16, quantize_row};
use mxhal_core::op::{Matmul, Quantize};
use mxhal_core::{
    Buffer, Format, HostBuffer, Layout, Op, Quantization, ScaleRule, Tensor, WeightsDesc, buffer,
};

use crate::rig::{Rig, noise, under};

/// The tensors of a quantization: noise to be quantized, and room for what comes of it.
pub(crate) fn quantized(op: &Quantize) -> Vec<Option<HostBuffer>> {
    let mut tensors = zeroed(*op);
    let values = noise(7).map(|bits| (bits as f32 / 2f32.powi(31) - 1.0) * 2f32.powi((bits % 9) as i32));
    set_bf16(tensors[0].as_mut().unwrap(), values);
    tensors
}

/// Tensors of the most rows, zero.
pub(crate) fn zeroed(op: impl Into<Op>) -> Vec<Option<HostBuffer>> {
    let op = op.into();
    let zeroed = |argument: &mxhal_core::op::Argument| {
        argument.present.then(|| HostBuffer::zeroed(argument.layout(op.max_rows()).unwrap()))
    };
    op.arguments().iter().map(zeroed).collect()
}

pub(crate) fn set_bf16(tensor: &mut HostBuffer, values: impl Iterator<Item = f32>) {
    for (bytes, value) in tensor.data.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *bytes = bf16::from_f32(value).to_le_bytes();
    }
}

/// Any bytes, but no scale that makes a NaN.
pub(crate) fn noisy(layout: Layout) -> HostBuffer {
    let mut tensor = HostBuffer::zeroed(layout);
    tensor.data.iter_mut().zip(noise(3)).for_each(|(byte, bits)| *byte = (bits >> 9) as u8);
    tensor.scales.iter_mut().zip(noise(4)).for_each(|(byte, bits)| *byte = 120 + (bits >> 9) as u8 % 8);
    tensor.factors.iter_mut().zip(noise(5)).for_each(|(byte, bits)| *byte = (bits >> 9) as u8);
    tensor
}

#[test]
fn quantize_gives_the_bits_of_the_core_by_every_rule() {
    if under("sm_100", "work::quantize_gives_the_bits_of_the_core_by_every_rule", &[]) {
        let rig = Rig::new();
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8] {
            for rule in [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even] {
                let to = Quantization::new(format).with_rule(rule).with_amax_floor(1e-4);
                let op = Quantize { rows: 5, k: 160, input: Format::Bf16, to };
                let mut tensors = quantized(&op);
                rig.run(op, &mut tensors, &[]);
                let (x, y) = (tensors[0].as_ref().unwrap(), tensors[1].as_ref().unwrap());
                for row in 0..op.rows {
                    let values: Vec<f32> = x.data[row * 320..][..320]
                        .as_chunks()
                        .0
                        .iter()
                        .map(|bytes| bf16::to_f32(u16::from_le_bytes(*bytes)))
                        .collect();
                    let (mut data, mut scales) =
                        (vec![0; format.row_bytes(160)], vec![0; format.row_scales(160)]);
                    quantize_row(&to, &values, &mut data, &mut scales);
                    assert_eq!(y.data[row * data.len()..][..data.len()], data, "{to:?}");
                    assert_eq!(y.scales[row * scales.len()..][..scales.len()], scales, "{to:?}");
                }
            }
        }
    }
}

#[test]
fn weights_are_exported_bit_for_bit() {
    for product in ["sm_90", "sm_100"] {
        if under(product, "work::weights_are_exported_bit_for_bit", &[]) {
            let rig = Rig::new();
            for format in [Format::Mxfp4, Format::Mxfp8, Format::Nvfp4, Format::Fp8Tile128, Format::Bf16] {
                for activation in [Format::Bf16, Format::Mxfp4, Format::Mxfp8G128] {
                    let desc = WeightsDesc { format, groups: 3, n: 130, k: 160, activation };
                    let values = noisy(desc.layout().unwrap());
                    let weights = rig.weights(desc, &values);
                    assert_eq!(weights.desc(), &desc);
                    assert!(weights.bytes() >= (values.data.len() + values.scales.len()) as u64);
                    assert_eq!(weights.export().unwrap(), values, "{desc}");
                }
            }
            return;
        }
    }
}

/// A product whose every partial sum is exact: whole numbers by numbers of E2M1 with scale 1.
pub(crate) fn exact_product(
    m: usize,
    activation: Quantization,
) -> (Matmul, Vec<Option<HostBuffer>>, HostBuffer) {
    let op = Matmul::mxfp4(m, 24, 96, activation);
    let mut tensors = zeroed(op);
    set_bf16(tensors[0].as_mut().unwrap(), noise(1).map(|bits| (bits >> 9) as f32 % 5.0 - 2.0));
    let mut weights = noisy(op.weights_layout());
    weights.scales.fill(127);
    (op, tensors, weights)
}

/// The canonical layout of a product's weights.
trait WeightsLayout {
    fn weights_layout(&self) -> Layout;
}

impl WeightsLayout for Matmul {
    fn weights_layout(&self) -> Layout {
        Op::from(*self).weights()[0].layout().unwrap()
    }
}

#[test]
fn plans_for_few_rows_and_for_many_take_the_same_weights() {
    for product in ["sm_90", "sm_100", "sm_120"] {
        if under(product, "work::plans_for_few_rows_and_for_many_take_the_same_weights", &[]) {
            let rig = Rig::new();
            for format in [Format::Bf16, Format::Mxfp8, Format::Mxfp4] {
                let activation = Quantization::new(format);
                let (many, mut of_many, values) = exact_product(70, activation);
                let (one, mut of_one, _) = exact_product(1, activation);
                let weights = rig.weights(Op::from(many).weights()[0], &values);
                rig.run(many, &mut of_many, &[&*weights]);
                rig.run(one, &mut of_one, &[&*weights]);
                let row = &of_one[2].as_ref().unwrap().data;
                assert_eq!(of_many[2].as_ref().unwrap().data[..row.len()], **row, "{format}");
                assert!(row.iter().any(|byte| *byte != 0));
            }
            return;
        }
    }
}

#[test]
fn rows_that_lie_apart_are_copied_and_what_lies_between_them_is_left() {
    if under("sm_120", "work::rows_that_lie_apart_are_copied_and_what_lies_between_them_is_left", &[]) {
        let rig = Rig::new();
        let (op, mut tensors, values) = exact_product(3, Quantization::none());
        let weights = rig.weights(Op::from(op).weights()[0], &values);
        rig.run(op, &mut tensors, &[&*weights]);

        let mut bound = rig.bind(op, &tensors);
        let apart = Layout::strided(Format::F32, &[3, 24], &[27, 1]).unwrap();
        let memory = Buffer::new(&rig.device, 3 * 27 * 4).unwrap();
        rig.stream.fill(memory.span(), 0xa5).unwrap();
        bound.views[2] = Some(Tensor::new(apart, memory.span()).unwrap());
        bound.run(&*rig.stream, &[&*weights]).unwrap();
        let mut bytes = vec![0; 3 * 27 * 4];
        buffer::read(&*rig.stream, memory.span(), &mut bytes).unwrap();
        let dense = &tensors[2].as_ref().unwrap().data;
        for (row, wanted) in bytes.chunks(27 * 4).zip(dense.chunks(24 * 4)) {
            assert_eq!(row[..24 * 4], *wanted);
            assert_eq!(row[24 * 4..], [0xa5; 12]);
        }
    }
}

#[test]
fn an_engine_s_stream_stays_the_engine_s() {
    if under("sm_120", "work::an_engine_s_stream_stays_the_engine_s", &[]) {
        let rig = Rig::new();
        let op = Quantize { rows: 3, k: 64, input: Format::Bf16, to: Quantization::new(Format::Mxfp4) };
        let mut tensors = quantized(&op);
        rig.run(op, &mut tensors, &[]);
        // The default stream is one that everybody has.
        let bound = rig.bind(op, &quantized(&op));
        let wrapped = rig.device.wrap_stream(0).unwrap();
        let (before, after) = (rig.device.create_event().unwrap(), rig.device.create_event().unwrap());
        wrapped.record(&*before).unwrap();
        bound.run(&*wrapped, &[]).unwrap();
        wrapped.record(&*after).unwrap();
        rig.stream.wait(&*after).unwrap();
        wrapped.synchronize(None).unwrap();
        assert_eq!(rig.read(&bound, 1), *tensors[1].as_ref().unwrap());
        after.elapsed_since(&*before).unwrap();
        drop(wrapped);
        let again = rig.device.wrap_stream(0).unwrap();
        again.synchronize(None).unwrap();
    }
}
