//! Emulated: a layer of experts in two kernels, against the kernels that it is put together of: bit for bit.

mod emulated;
mod reference;

use emulated::{Device, Random};
use mxhal_cuda_emulation::Checks;
use mxhal_kernels_cuda::format::{BF16, F16, F32, MXFP4, MXFP8, MXFP8_G128, MXINT8};
use mxhal_kernels_cuda::parameters::{
    Address, CombineParameters, MoeParameters, PermuteParameters, PermuteRowsParameters, ProductParameters,
    QuantizeParameters, SwiGluParameters,
};
use mxhal_kernels_cuda::{NibbleOrder, Product, Target, code_row_multiple};

/// A layer with random weights, and the tokens and routes of a run.
#[derive(Clone, Debug)]
struct Layer {
    tokens: usize,
    hidden: usize,
    inner: usize,
    experts: usize,
    top_k: usize,
    x: Vec<u16>,
    ids: Vec<i32>,
    weights: Vec<f32>,
    expert_map: Option<Vec<i32>>,
    /// Codes in the order of the nibbles that products want, scales padded.
    gate_up: [Vec<u8>; 2],
    down: [Vec<u8>; 2],
    gate_up_bias: Option<Vec<f32>>,
    down_bias: Option<Vec<f32>>,
    addend: Option<Vec<u16>>,
    format: u32,
    rule: u32,
    amax_floor: f32,
    /// Variant, interleaved, limit, alpha.
    form: (u32, bool, f32, f32),
    weight_before: bool,
    order: NibbleOrder,
    output: u32,
}

/// Codes and padded scales of `rows` rows of `k`.
fn random_weights(random: &mut Random, rows: usize, k: usize) -> [Vec<u8>; 2] {
    let codes = (0..rows * k / 2).map(|_| random.next() as u8).collect();
    let padded = (k / 32).next_multiple_of(4);
    let scale = |random: &mut Random| 118 + random.within(0, 6) as u8;
    let scales = (0..rows * padded).map(|i| if i % padded < k / 32 { scale(random) } else { 127 }).collect();
    [codes, scales]
}

fn random_bf16(random: &mut Random, count: usize) -> Vec<u16> {
    (0..count).map(|_| reference::to_bf16(random.value(8))).collect()
}

impl Layer {
    fn random(random: &mut Random, format: u32, tokens: usize) -> Self {
        let (hidden, inner) = (32 * random.within(1, 75), 32 * random.within(1, 8));
        let (experts, top_k) = (random.within(3, 9), random.within(1, 4));
        let mapped = random.pick(&[None, Some(experts + 3)]);
        let bias = random.next().is_multiple_of(2);
        let mut some = |count: usize| bias.then(|| (0..count).map(|_| random.value(4)).collect::<Vec<f32>>());
        let (gate_up_bias, down_bias) = (some(experts * 2 * inner), some(experts * hidden));
        // Ids are given: an expert may come twice to a token, and some are nobody's.
        let ids =
            (0..tokens * top_k).map(|_| random.within(0, mapped.unwrap_or(experts)) as i32 - 1).collect();
        let is_silu = random.next().is_multiple_of(2);
        Self {
            tokens,
            hidden,
            inner,
            experts,
            top_k,
            x: random_bf16(random, tokens * hidden),
            ids,
            weights: (0..tokens * top_k).map(|_| random.unit()).collect(),
            expert_map: mapped
                .map(|mapped| (0..mapped).map(|_| random.within(0, experts) as i32 - 1).collect()),
            gate_up: random_weights(random, experts * 2 * inner, hidden),
            down: random_weights(random, experts * hidden, inner),
            gate_up_bias,
            down_bias,
            addend: random.next().is_multiple_of(2).then(|| random_bf16(random, tokens * hidden)),
            format,
            rule: random.pick(&[1, 2, 3]),
            amax_floor: random.pick(&[0.0, 1e-4]),
            form: if is_silu { (1, false, 10.0, 0.0) } else { (2, true, 7.0, 1.702) },
            weight_before: random.next().is_multiple_of(2),
            order: if format == MXFP4 {
                NibbleOrder::InOrder
            } else {
                random.pick(&[NibbleOrder::Halves, NibbleOrder::InOrder])
            },
            output: random.pick(&[F32, BF16, F16]),
        }
    }

    fn slots(&self) -> usize {
        self.tokens * self.top_k
    }

    /// Bytes from row to row of codes of `k` columns: in order, as they are padded on `sm_100f`.
    fn code_stride(&self, k: usize) -> usize {
        let multiple = match self.order {
            NibbleOrder::InOrder => code_row_multiple(Target::Blackwell100, self.format),
            NibbleOrder::Halves => 1,
        };
        (k / 2).next_multiple_of(multiple as usize)
    }

    /// Rows of codes with their padding.
    fn codes(&self, w: &[Vec<u8>; 2], k: usize) -> Vec<u8> {
        let mut codes = Vec::new();
        for row in w[0].chunks(k / 2) {
            codes.extend_from_slice(row);
            codes.resize(codes.len().next_multiple_of(self.code_stride(k)), 0);
        }
        codes
    }

    fn output_bytes(&self) -> usize {
        self.tokens * self.hidden * if self.output == F32 { 4 } else { 2 }
    }

    fn fused(&self, device: &mut Device) -> Vec<u8> {
        let [variant, interleaved] = [self.form.0, u32::from(self.form.1)];
        let p = MoeParameters {
            x: device.copy(&self.x),
            ids: device.copy(&self.ids),
            weights: device.copy(&self.weights),
            expert_map: self.expert_map.as_ref().map_or(0, |map| device.copy(map)),
            gate_up: device.copy(&self.codes(&self.gate_up, self.hidden)),
            gate_up_scales: device.copy(&self.gate_up[1]),
            gate_up_bias: self.gate_up_bias.as_ref().map_or(0, |bias| device.copy(bias)),
            down: device.copy(&self.codes(&self.down, self.inner)),
            down_scales: device.copy(&self.down[1]),
            down_bias: self.down_bias.as_ref().map_or(0, |bias| device.copy(bias)),
            addend: self.addend.as_ref().map_or(0, |addend| device.copy(addend)),
            activated: device.alloc(self.slots() * self.inner * 2),
            y: device.alloc(self.output_bytes()),
            gate_up_stride: self.code_stride(self.hidden) as u64,
            gate_up_scales_stride: (self.hidden / 32).next_multiple_of(4) as u64,
            down_stride: self.code_stride(self.inner) as u64,
            down_scales_stride: (self.inner / 32).next_multiple_of(4) as u64,
            tokens: self.tokens as u32,
            hidden: self.hidden as u32,
            inner: self.inner as u32,
            experts: self.experts as u32,
            mapped: self.expert_map.as_ref().map_or(0, Vec::len) as u32,
            top_k: self.top_k as u32,
            format: self.format,
            rule: self.rule,
            amax_floor: self.amax_floor,
            variant,
            interleaved,
            limit: self.form.2,
            alpha: self.form.3,
            weight_before: self.weight_before.into(),
            w_halves: u32::from(self.order == NibbleOrder::Halves),
            addend_format: BF16,
            output: self.output,
            reserved: 0,
        };
        assert!(MoeParameters::is_for(p.tokens, p.top_k, p.format));
        for launch in p.launches() {
            device.launch(&launch, p);
        }
        device.read(p.y, self.output_bytes())
    }

    /// Quantize, permute, decode, swiglu, decode, combine.
    fn composed(&self, device: &mut Device) -> Vec<u8> {
        let slots = self.slots();
        let x = device.copy(&self.x);
        let x = self.quantized(device, x, self.tokens, self.hidden);
        let place = PermuteParameters {
            ids: device.copy(&self.ids),
            expert_map: self.expert_map.as_ref().map_or(0, |map| device.copy(map)),
            counts: device.alloc(4 * self.experts),
            source: device.alloc(4 * slots),
            positions: device.alloc(4 * slots),
            slots: slots as u32,
            experts: self.experts as u32,
            mapped: self.expert_map.as_ref().map_or(0, Vec::len) as u32,
            reserved: 0,
        };
        for launch in place.launches() {
            device.launch(&launch, place);
        }
        let weights = device.copy(&self.weights);
        let bytes = self.row_bytes(self.hidden);
        let rows = PermuteRowsParameters {
            source: place.source,
            from: [x[0], x[1], 0],
            to: bytes
                .map(|bytes| device.alloc(slots * bytes.max(1)))
                .into_iter()
                .chain([0])
                .collect::<Vec<_>>()[..3]
                .try_into()
                .unwrap(),
            weights: if self.weight_before { weights } else { 0 },
            row_weights: if self.weight_before { device.alloc(4 * slots) } else { 0 },
            bytes: [bytes[0] as u64, bytes[1] as u64, 0],
            rows: slots as u32,
            top_k: self.top_k as u32,
        };
        device.launch(&rows.launch(), rows);
        let gate_up = self.product(
            device,
            [rows.to[0], rows.to[1]],
            &self.gate_up,
            &self.gate_up_bias,
            place.counts,
            [2 * self.inner, self.hidden],
        );
        let activated_bytes = self.row_bytes(self.inner);
        let activated = activated_bytes.map(|bytes| device.alloc(slots * bytes.max(1)));
        let swiglu = SwiGluParameters {
            x: gate_up,
            row_weights: rows.row_weights,
            y: activated[0],
            scales: activated[1],
            rows_on_device: 0,
            data_stride: activated_bytes[0] as u64,
            scales_stride: activated_bytes[1] as u64,
            rows: slots as u32,
            columns: self.inner as u32,
            input: BF16,
            format: self.format,
            rule: self.rule,
            amax_floor: self.amax_floor,
            variant: self.form.0,
            interleaved: self.form.1.into(),
            limit: self.form.2,
            alpha: self.form.3,
        };
        device.launch(&swiglu.launch(), swiglu);
        let down = self.product(
            device,
            activated,
            &self.down,
            &self.down_bias,
            place.counts,
            [self.hidden, self.inner],
        );
        let combine = CombineParameters {
            rows: down,
            positions: place.positions,
            weights: if self.weight_before { 0 } else { weights },
            addend: self.addend.as_ref().map_or(0, |addend| device.copy(addend)),
            y: device.alloc(self.output_bytes()),
            tokens: self.tokens as u32,
            columns: self.hidden as u32,
            top_k: self.top_k as u32,
            input: BF16,
            addend_format: BF16,
            output: self.output,
        };
        device.launch(&combine.launch(), combine);
        device.read(combine.y, self.output_bytes())
    }

    /// Bytes of a row of the scheme's codes, and of scales.
    fn row_bytes(&self, columns: usize) -> [usize; 2] {
        match self.format {
            BF16 => [2 * columns, 0],
            MXFP4 => [columns / 2, columns / 32],
            MXFP8_G128 => [columns, columns.div_ceil(128)],
            _ => [columns, columns / 32],
        }
    }

    fn quantized(&self, device: &mut Device, x: Address, rows: usize, columns: usize) -> [Address; 2] {
        if self.format == BF16 {
            return [x, 0];
        }
        let bytes = self.row_bytes(columns);
        let p = QuantizeParameters {
            x,
            data: device.alloc(rows * bytes[0]),
            scales: device.alloc(rows * bytes[1]),
            factors: 0,
            data_stride: bytes[0] as u64,
            scales_stride: bytes[1] as u64,
            rows: rows as u32,
            columns: columns as u32,
            input: BF16,
            format: self.format,
            rule: self.rule,
            amax_floor: self.amax_floor,
        };
        for launch in p.launches() {
            device.launch(&launch, p);
        }
        [p.data, p.scales]
    }

    fn product(
        &self,
        device: &mut Device,
        a: [Address; 2],
        w: &[Vec<u8>; 2],
        bias: &Option<Vec<f32>>,
        counts: Address,
        [n, k]: [usize; 2],
    ) -> Address {
        let bytes = self.row_bytes(k);
        let p = ProductParameters {
            a: a[0],
            a_scales: a[1],
            w: device.copy(&self.codes(w, k)),
            w_scales: device.copy(&w[1]),
            bias: bias.as_ref().map_or(0, |bias| device.copy(bias)),
            counts,
            y: device.alloc(self.slots() * n * 2),
            a_stride: bytes[0] as u64,
            a_scales_stride: bytes[1] as u64,
            w_stride: self.code_stride(k) as u64,
            w_scales_stride: (k / 32).next_multiple_of(4) as u64,
            m: self.slots() as u32,
            n: n as u32,
            k: k as u32,
            groups: self.experts as u32,
            a_format: self.format,
            w_format: MXFP4,
            output: BF16,
            w_halves: u32::from(self.order == NibbleOrder::Halves),
            ..Default::default()
        };
        device.launch(&Product::Decode.launch(&p), p);
        p.y
    }
}

#[test]
fn two_kernels_give_the_bits_of_the_whole_chain() {
    let mut random = Random::printed();
    let mut zeros = 0;
    for format in [BF16, MXFP8, MXFP8_G128, MXINT8, MXFP4] {
        for tokens in [1, random.within(2, 8)] {
            let layer = Layer::random(&mut random, format, tokens);
            let mut device = Device::new(Checks::On, random.next() % 3);
            let (fused, composed) = (layer.fused(&mut device), layer.composed(&mut device));
            assert!(
                fused == composed,
                "{:?}",
                (
                    tokens,
                    layer.hidden,
                    layer.inner,
                    layer.experts,
                    layer.top_k,
                    format,
                    layer.form,
                    layer.order
                )
            );
            // So is the only token of a layer whose experts are all of another device.
            zeros += usize::from(fused.iter().all(|byte| *byte == 0));
        }
    }
    assert!(zeros < 5, "{zeros} of 10 layers gave zeros");
}

#[test]
fn more_slots_of_an_expert_than_go_together_are_all_done() {
    let mut random = Random::printed();
    let mut layer = Layer::random(&mut random, MXFP8, 3);
    (layer.experts, layer.expert_map) = (layer.experts.max(3), None);
    // Every slot has the same expert: twelve of them, three together; the last one has none.
    layer.top_k = 4;
    layer.ids = vec![2; 12];
    layer.ids[11] = -1;
    layer.weights = (0..12).map(|_| random.unit()).collect();
    let mut device = Device::new(Checks::On, 1);
    assert!(layer.fused(&mut device) == layer.composed(&mut device));
}
