//! Each kernel against its portable twin, on random input, for every instruction set that this machine has.

use mxhal_core::format::{bf16, e2m1, e4m3, e8m0};
use mxhal_core::op::Score;
use mxhal_core::{Format, Quantization, ScaleRule};

use crate::gate::{Gate, GateUp};
use crate::isa::Isa;
use crate::kernel::{Kernels, Operands, PanelKernels, RowKernels, WeightedRow};
use crate::packed::{self, FLOAT_ORDER, INTEGER_ORDER, Numbers};
use crate::panel::{self, BLOCK, COLUMNS, Column, Kind};
use crate::score;

/// Numbers from a seed (xorshift), which is printed, so that a failing test can be repeated with `MXHAL_SEED`.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("MXHAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
        });
        println!("MXHAL_SEED={seed}");
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }

    /// Of any exponent, now and then a special one.
    fn value(&mut self) -> f32 {
        match self.below(40) {
            0 => 0.0,
            1 => f32::from_bits(self.bits() as u32),
            2 => -0.0,
            _ => ((self.bits() & 0xffff) as f32 / 32768.0 - 1.0) * 2f32.powi(self.below(20) as i32 - 10),
        }
    }
}

const KINDS: [(Kind, Format); 4] = [
    (Kind::Mxfp4, Format::Mxfp4),
    (Kind::Nvfp4, Format::Nvfp4),
    (Kind::Fp8Tile128, Format::Fp8Tile128),
    (Kind::Bf16, Format::Bf16),
];

fn all() -> impl Iterator<Item = Kernels> {
    Isa::available().skip(1).filter_map(Kernels::of)
}

fn with_panels() -> impl Iterator<Item = (Kernels, PanelKernels)> {
    all().filter_map(|kernels| Some((kernels, kernels.panels?)))
}

#[test]
fn panels_are_packed_alike() {
    let mut random = Random::new();
    for kernels in all() {
        for (columns, blocks) in [(16, 4), (16, 12), (16, 7), (16, 1), (3, 8), (1, 5)] {
            for (kind, format) in KINDS {
                let data: Vec<_> = (0..columns)
                    .map(|_| {
                        let k = blocks * BLOCK;
                        (random.bytes(format.row_bytes(k)), random.bytes(format.row_scales(k)))
                    })
                    .collect();
                let views: Vec<_> = data.iter().map(|(codes, scales)| Column { codes, scales }).collect();
                let (mut got, mut expected) = (vec![1; kind.bytes(blocks)], vec![2; kind.bytes(blocks)]);
                (kernels.pack_panel)(kind, &views, &mut got);
                panel::pack(kind, &views, &mut expected);
                assert_eq!(got, expected, "{:?} {kind:?}", kernels.isa);
            }
        }
    }
}

#[test]
fn rows_are_packed_alike_and_the_same_ones_are_ordinary() {
    let mut random = Random::new();
    let formats =
        [Format::Mxint8, Format::Mxfp4, Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Nvfp4];
    for (kernels, panels) in with_panels() {
        let mut ordinary = [0; 2];
        for turn in 0..600 {
            let (format, blocks) = (formats[turn % formats.len()], 1 + random.below(12));
            let k = blocks * BLOCK;
            let mut data = random.bytes(format.row_bytes(k));
            let mut scales = random.bytes(format.row_scales(k));
            if random.below(2) == 0 {
                let most = if format == Format::Nvfp4 { 57 } else { 120 };
                scales.iter_mut().for_each(|scale| *scale = 70 + *scale % most);
            }
            if random.below(4) > 0 {
                // Mostly numbers, mostly of the usual size.
                match format {
                    Format::Bf16 => data.as_chunks_mut::<2>().0.iter_mut().for_each(|half| {
                        *half = bf16::from_f32(random.below(99) as f32 - 50.0).to_ne_bytes();
                    }),
                    _ => data.iter_mut().for_each(|byte| *byte &= 0xbf),
                }
            }
            if random.below(3) == 0 {
                let each = data.len() / blocks;
                data[..each].fill(0);
            }
            let kind = match format {
                Format::Nvfp4 => [Kind::Nvfp4, Kind::Mxfp4][random.below(2)],
                _ => [Kind::Mxfp4, Kind::Fp8Tile128][random.below(2)],
            };
            let numbers = Numbers::of(format, kind).unwrap();
            let (mut got, mut expected) = (vec![7; numbers.stride(k)], vec![7; numbers.stride(k)]);
            let got_ordinary = (panels.pack)(numbers, format, &data, &scales, &mut got);
            let is_ordinary = packed::pack(numbers, format, &data, &scales, &mut expected);
            assert_eq!(got_ordinary, is_ordinary, "{:?} {format} {data:?} {scales:?}", kernels.isa);
            ordinary[usize::from(is_ordinary)] += 1;
            if is_ordinary {
                assert_eq!(got, expected, "{:?} {format}", kernels.isa);
            }
        }
        assert!(ordinary.iter().all(|count| *count > 50), "{ordinary:?}");
    }
}

/// What a kernel multiplies: records and a panel, in plain Rust. The sum of magnitudes comes with it.
fn product(
    (numbers, kind): (Numbers, Kind),
    record: &[u8],
    panel: &[u8],
    column: usize,
    blocks: usize,
) -> (f64, f64) {
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for block in 0..blocks {
        let record = &record[block * numbers.record()..][..numbers.record()];
        let (scales, codes) = kind.block(panel, block);
        let word = |at: usize| i32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
        for element in 0..BLOCK {
            let half = element / 16;
            let of_row = match numbers {
                Numbers::Integers => 2f64.powi(word(32) >> 23),
                Numbers::Floats => 2f64.powi(word(64) >> 23),
                Numbers::Halves => f64::from(f32::from_bits(word(32 + 4 * half).cast_unsigned())),
            };
            let of_column = match kind {
                Kind::Mxfp4 | Kind::Fp8Tile128 => f64::from(e8m0::decode(scales[column])),
                Kind::Bf16 => 1.0,
                Kind::Nvfp4 => f64::from(e4m3::decode(scales[half * COLUMNS + column])),
            };
            let scale = of_row * of_column;
            let (eight, i) = (element / 8, element % 8);
            let weight = if kind == Kind::Fp8Tile128 {
                let at = (2 * eight + i % 4 / 2) * 64 + 4 * column + i / 4 * 2 + i % 2;
                f64::from(e4m3::decode(codes[at]))
            } else if kind == Kind::Bf16 {
                let at = (4 * eight + i % 4) * 64 + 4 * column + i / 4 * 2;
                f64::from(bf16::to_f32(u16::from_ne_bytes([codes[at], codes[at + 1]])))
            } else {
                let (low, high) = e2m1::unpack(codes[eight * 64 + 4 * column + i / 2]);
                f64::from(e2m1::decode(if i % 2 == 0 { low } else { high }))
            };
            let place =
                |order: &[usize; 8]| element / 8 * 8 + order.iter().position(|i| *i == element % 8).unwrap();
            let product = match numbers {
                Numbers::Integers | Numbers::Halves => {
                    2.0 * weight * f64::from(record[place(&INTEGER_ORDER)].cast_signed())
                }
                Numbers::Floats => {
                    let at = 2 * place(&FLOAT_ORDER);
                    weight * f64::from(bf16::to_f32(u16::from_ne_bytes([record[at], record[at + 1]])))
                }
            };
            sum += product * scale;
            magnitude += (product * scale).abs();
        }
    }
    (sum, magnitude)
}

#[test]
fn products_are_near_the_exact_ones_and_the_same_for_any_rows() {
    let mut random = Random::new();
    for (kernels, panels) in with_panels() {
        for turn in 0..225 {
            let (format, kind) = [
                (Format::Mxint8, Kind::Mxfp4),
                (Format::Mxfp4, Kind::Mxfp4),
                (Format::Bf16, Kind::Mxfp4),
                (Format::Mxfp8, Kind::Mxfp4),
                (Format::Nvfp4, Kind::Nvfp4),
                (Format::Bf16, Kind::Nvfp4),
                (Format::Mxfp8G128, Kind::Nvfp4),
                (Format::Mxint8, Kind::Nvfp4),
                (Format::Bf16, Kind::Fp8Tile128),
                (Format::Mxint8, Kind::Fp8Tile128),
                (Format::Mxfp4, Kind::Fp8Tile128),
                (Format::Nvfp4, Kind::Mxfp4),
                (Format::Nvfp4, Kind::Fp8Tile128),
                (Format::Bf16, Kind::Bf16),
                (Format::Mxfp8, Kind::Bf16),
            ][turn % 15];
            let numbers = Numbers::of(format, kind).unwrap();
            let (count, blocks, rows) = (1 + random.below(2), 1 + random.below(40), 1 + random.below(30));
            let blocks = if format == Format::Mxfp8G128 { blocks.next_multiple_of(4) } else { blocks };
            let k = blocks * BLOCK;
            let weights = random.bytes(count * kind.bytes(blocks));
            let weights: Vec<u8> = weights
                .chunks(kind.bytes(blocks))
                .flat_map(|panel| {
                    let mut panel = panel.to_vec();
                    for group in panel.chunks_mut(kind.group_bytes()) {
                        let scales = group[..kind.scales_bytes()].iter_mut();
                        match kind {
                            Kind::Mxfp4 | Kind::Fp8Tile128 => {
                                scales.for_each(|scale| *scale = 120 + *scale % 16);
                            }
                            Kind::Nvfp4 => scales.for_each(|scale| *scale %= 0x7f),
                            // The upper byte of each number, whose lowest bits are the exponent's.
                            Kind::Bf16 => group.iter_mut().skip(1).step_by(2).for_each(|byte| {
                                *byte = *byte & 0x80 | 0x3c | *byte & 3;
                            }),
                        }
                        if kind == Kind::Fp8Tile128 {
                            let codes = group[kind.scales_bytes()..].iter_mut();
                            codes.filter(|code| **code & 0x7f == 0x7f).for_each(|code| *code ^= 1);
                        }
                    }
                    panel
                })
                .collect();
            let stride = numbers.stride(k);
            let mut records = vec![0; rows * stride];
            let to = Quantization::new(format);
            for record in records.chunks_mut(stride) {
                let values: Vec<f32> = (0..k).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
                let (mut data, mut scales) = (vec![0; format.row_bytes(k)], vec![0; format.row_scales(k)]);
                match format {
                    Format::Bf16 => (RowKernels::PORTABLE.round_bf16)(&values, &mut data),
                    _ => drop((RowKernels::PORTABLE.quantize)(&to, &values, &mut data, &mut scales)),
                }
                assert!(packed::pack(numbers, format, &data, &scales, record));
            }
            let multiply = |picks: &[u32]| {
                let mut sums = vec![f32::NAN; picks.len() * count * COLUMNS];
                let operands = Operands {
                    numbers,
                    kind,
                    blocks,
                    panels: &weights,
                    rows: &records,
                    stride,
                    picks,
                    next: weights.as_ptr(),
                    results: (sums.as_ptr().cast(), 0),
                };
                (panels.multiply)(&operands, &mut sums);
                sums
            };
            let picks: Vec<u32> = (0..rows).map(|_| random.below(rows) as u32).collect();
            let sums = multiply(&picks);
            for (pick, sums) in picks.iter().zip(sums.chunks(count * COLUMNS)) {
                assert_eq!(multiply(&[*pick]), sums, "{:?}: alone", kernels.isa);
                let record = &records[*pick as usize * stride..];
                for (column, sum) in sums.iter().enumerate() {
                    let panel = &weights[column / COLUMNS * kind.bytes(blocks)..];
                    let (exact, magnitude) =
                        product((numbers, kind), record, panel, column % COLUMNS, blocks);
                    let bound = k as f64 * 2f64.powi(-24) * magnitude;
                    assert!(
                        (f64::from(*sum) - exact).abs() <= bound,
                        "{:?} {format}: {sum}, {exact} ± {bound}",
                        kernels.isa
                    );
                }
            }
        }
    }
}

#[test]
fn products_of_values_have_the_same_bits() {
    let mut random = Random::new();
    let portable = Kernels::of(Isa::Portable).unwrap();
    for kernels in all() {
        for (rows, columns, k) in [(1, 1, 8), (5, 7, 40), (8, 32, 512)] {
            let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| random.value()).collect() };
            let (a, w) = (values(rows * k), values(columns * k));
            let sums = |kernels: &Kernels| {
                let mut sums = vec![f32::NAN; rows * columns];
                (kernels.products)(k, &a, &w, &mut sums);
                sums.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>()
            };
            assert_eq!(sums(&kernels), sums(&portable), "{:?}", kernels.isa);
        }
    }
}

#[test]
fn rows_are_quantized_and_decoded_to_the_same_bits() {
    let mut random = Random::new();
    let formats = [Format::Mxfp4, Format::Mxint8, Format::Mxfp8, Format::Mxfp8G128, Format::Nvfp4];
    for kernels in all() {
        for turn in 0..2000 {
            let format = formats[turn % formats.len()];
            let mut to = Quantization::new(format);
            if format != Format::Nvfp4 {
                to = to.with_rule([ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even][random.below(3)]);
                to = to.with_amax_floor([0.0, 1e-4][random.below(2)]);
            }
            let blocks = if random.below(3) == 0 { 150 } else { 9 };
            let k = if format == Format::Nvfp4 { BLOCK / 2 } else { BLOCK } * (1 + random.below(blocks));
            let shift = 2f32.powi([0, 0, -60, -126, 100][random.below(5)]);
            // Small integers too, which are often halfway between two codes.
            let halves = random.below(2) == 0;
            let numbers_only = random.below(2) == 0;
            let values: Vec<f32> = (0..k)
                .map(|_| if halves { random.below(49) as f32 / 4.0 - 6.0 } else { random.value() * shift })
                .map(|value| if numbers_only && !value.is_normal() { 0.0 } else { value })
                .map(|value| if numbers_only { value.clamp(-1e30, 1e30) } else { value })
                .collect();
            let quantized = |rows: &RowKernels| {
                let (mut data, mut scales) = (vec![0; format.row_bytes(k)], vec![0; format.row_scales(k)]);
                let factor = (rows.quantize)(&to, &values, &mut data, &mut scales);
                (data, scales, factor.to_bits())
            };
            let expected = quantized(&RowKernels::PORTABLE);
            assert_eq!(quantized(&kernels.rows), expected, "{:?} {to:?} {values:?}", kernels.isa);

            let data = if random.below(2) == 0 { expected.0 } else { random.bytes(format.row_bytes(k)) };
            let scales = if random.below(2) == 0 { expected.1 } else { random.bytes(format.row_scales(k)) };
            let decoded = |rows: &RowKernels| {
                let mut out = vec![0.0; k];
                (rows.decode)(format, &data, &scales, [0.3, 1e-38, 3e37][turn % 3], &mut out);
                // A NaN's sign and payload are nobody's business.
                out.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>()
            };
            assert_eq!(decoded(&kernels.rows), decoded(&RowKernels::PORTABLE), "{:?} {format}", kernels.isa);
        }
    }
}

#[test]
fn bf16_is_rounded_to_and_decoded_from_with_the_same_bits() {
    let mut random = Random::new();
    for kernels in all() {
        for count in (0..70).chain([1000]) {
            let values: Vec<f32> = (0..count)
                .map(|i| if i % 3 == 0 { f32::from_bits(random.bits() as u32) } else { random.value() })
                .collect();
            let (mut got, mut expected) = (vec![0; 2 * count], vec![1; 2 * count]);
            (kernels.rows.round_bf16)(&values, &mut got);
            (RowKernels::PORTABLE.round_bf16)(&values, &mut expected);
            assert_eq!(got, expected);
            let (mut back, mut expected) = (vec![0.0; count], vec![0.0; count]);
            (kernels.rows.decode)(Format::Bf16, &got, &[], 1.0, &mut back);
            (RowKernels::PORTABLE.decode)(Format::Bf16, &got, &[], 1.0, &mut expected);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(&expected));
        }
    }
}

#[test]
fn gates_are_as_near_as_half_the_contract_asks() {
    let mut random = Random::new();
    for kernels in all() {
        let mut furthest = 0f64;
        for turn in 0..400 {
            let gate = Gate {
                limit: [f32::INFINITY, 7.0, 10.0][random.below(3)],
                slope: [1.0, 1.702, 0.3, 8.0, 0.01, 0.0, -1.0]
                    [if turn % 4 > 0 { random.below(2) } else { random.below(7) }],
                plus: [0.0, 1.0][random.below(2)],
                interleaved: random.below(2) == 0,
                weight: [1.0, 0.3, -1.0, 0.0, 1e6, 3e6, 1e-7, f32::NAN]
                    [if turn % 3 > 0 { random.below(2) } else { random.below(8) }],
                to_bf16: random.below(4) == 0,
            };
            let most = [3, 40, 700][random.below(3)];
            let count = 1 + random.below(most);
            let special = [
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                -2000.0,
                -87.5,
                -174.0,
                -120.0,
                90.0,
                1e30,
                -1e30,
                0.0,
                -0.0,
                1e-40,
                -1e-44,
                f32::MAX,
                f32::MIN,
            ];
            let wide = [0.05, 1.0, 40.0][random.below(3)];
            let unusual = random.below(3) == 0;
            let x: Vec<f32> = (0..2 * count)
                .map(|_| match random.below(6) {
                    0 if unusual => special[random.below(special.len())],
                    1 if unusual => f32::from_bits(random.bits() as u32),
                    _ => random.value() * wide,
                })
                .collect();
            let mut halves = vec![0; 4 * count];
            (RowKernels::PORTABLE.round_bf16)(&x, &mut halves);
            let x = if random.below(2) == 0 { GateUp::Bf16(&halves) } else { GateUp::F32(&x) };
            let (mut got, mut expected) = (vec![0.5; count], vec![1.5; count]);
            (kernels.rows.activate)(&gate, x, &mut got);
            (RowKernels::PORTABLE.activate)(&gate, x, &mut expected);
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let (g, e) = (f64::from(*got), f64::from(*expected));
                let unit = if gate.to_bf16 { 2f64.powi(-7) } else { 2f64.powi(-21) };
                let same = got == expected || got.is_nan() && expected.is_nan();
                let near = (g - e).abs() <= (e.abs() * unit).max(2f64.powi(-126));
                assert!(
                    same || near,
                    "{:?} {gate:?} {:?}: {got:e} {expected:e}",
                    kernels.isa,
                    gate.operands(x, i)
                );
                if !same && !gate.to_bf16 && e.abs() > 2f64.powi(-100) {
                    furthest = furthest.max((g - e).abs() / e.abs());
                }
            }
            // Each value is that of its gate and up, wherever they are.
            let rows = kernels.rows;
            for (i, got) in got.iter().enumerate().take(40) {
                let mut alone = [f32::NAN];
                (rows.activate)(
                    &Gate { interleaved: false, ..gate },
                    GateUp::F32(&gate.operands(x, i)),
                    &mut alone,
                );
                assert!(alone[0].to_bits() == got.to_bits() || alone[0].is_nan() && got.is_nan());
            }
        }
        println!("{:?}: furthest {:.3} of 2^-21", kernels.isa, furthest * 2f64.powi(21));
    }
}

#[test]
fn scores_are_nearly_the_same_and_so_are_chosen_the_same_experts() {
    let mut random = Random::new();
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        20.0,
        20.1,
        88.8,
        -750.0,
        1e30,
        1e-30,
        f32::MAX,
        f32::MIN,
    ];
    for kernels in all() {
        for turn in 0..800 {
            let function =
                [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen][turn % 4];
            let (experts, wide) =
                (1 + random.below([8, 40, 400][turn / 4 % 3]), [1.0, 0.03, 0.3][random.below(3)]);
            let (specials, few) = (random.below(3) == 0, random.below(3) == 0);
            let mut floats = || -> Vec<u8> {
                let value = |random: &mut Random| match random.below(6) {
                    0 if specials => special[random.below(special.len())],
                    _ if few => random.below(5) as f32 - 2.0,
                    _ => random.value() * wide,
                };
                (0..experts).flat_map(|_| value(&mut random).to_ne_bytes()).collect()
            };
            let (logits, bias) = (floats(), floats());
            let bias = (turn / 12 % 2 == 0).then_some(&bias[..]);
            let (mut got, mut expected) = (vec![1; experts], vec![2; experts]);
            (kernels.rows.score)(function, &logits, &mut got);
            (RowKernels::PORTABLE.score)(function, &logits, &mut expected);
            for (got, expected) in got.iter().zip(&expected) {
                let (got, expected) = (score::number(*got), score::number(*expected));
                let near = (got - expected).abs() <= (expected.abs() * 2f64.powi(-48)).max(2f64.powi(-500));
                assert!(
                    near || got == expected || got.is_nan() && expected.is_nan(),
                    "{:?} {function:?}: {got:e} {expected:e}",
                    kernels.isa
                );
            }
            // By sorting.
            let key = |id: i64| {
                let bias = bias.map_or(0.0, |bias| f32::from_ne_bytes(bias.as_chunks().0[id as usize]));
                score::number(got[id as usize]) + f64::from(bias)
            };
            let mut sorted: Vec<i64> = (0..experts as i64).collect();
            sorted.sort_by(|a, b| match (key(*a), key(*b)) {
                (a, b) if a.is_nan() || b.is_nan() => b.is_nan().cmp(&a.is_nan()),
                (a, b) => b.partial_cmp(&a).unwrap(),
            });
            for kernels in [RowKernels::PORTABLE, kernels.rows] {
                let mut chosen = vec![-1; 1 + random.below(experts)];
                (kernels.choose)(&got, bias, &mut vec![0; experts], &mut chosen);
                assert_eq!(chosen, sorted[..chosen.len()]);
            }
        }
    }
}

#[test]
fn sums_have_the_same_bits() {
    let mut random = Random::new();
    for kernels in all() {
        for count in [1, 7, 8, 32, 100, 500] {
            let mut values = || -> Vec<f32> { (0..count).map(|_| random.value()).collect() };
            let (terms, start) = (values(), values());
            let mut sums = [start.clone(), start];
            (kernels.rows.accumulate)(&terms, 0.3, &mut sums[0]);
            (RowKernels::PORTABLE.accumulate)(&terms, 0.3, &mut sums[1]);
            let rows: Vec<Vec<u8>> = (0..random.below(9)).map(|_| random.bytes(2 * count)).collect();
            let rows: Vec<WeightedRow<'_>> = rows.iter().map(|row| (&row[..], random.value())).collect();
            (kernels.rows.accumulate_bf16)(&rows, &mut sums[0]);
            (RowKernels::PORTABLE.accumulate_bf16)(&rows, &mut sums[1]);
            for (a, b) in sums[0].iter().zip(&sums[1]) {
                assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            }
            let (mut got, mut expected) = (vec![1; 2 * count], vec![2; 2 * count]);
            let soon: Vec<&[u8]> = rows.iter().map(|(row, _)| *row).chain([&[][..]]).collect();
            (kernels.rows.sum_bf16)(&rows, &soon, &mut got);
            let mut sums = vec![0.0; count];
            (RowKernels::PORTABLE.accumulate_bf16)(&rows, &mut sums);
            (RowKernels::PORTABLE.round_bf16)(&sums, &mut expected);
            let number = |bytes: &[u8; 2]| bf16::to_f32(u16::from_ne_bytes(*bytes));
            for (a, b) in got.as_chunks().0.iter().zip(expected.as_chunks().0) {
                assert!(a == b || number(a).is_nan() && number(b).is_nan(), "{:?}", kernels.isa);
            }
        }
    }
}

#[test]
fn copies_past_the_caches_are_whole_wherever_they_lie() {
    let mut random = Random::new();
    for kernels in all() {
        for _ in 0..300 {
            let (first, count) = (random.below(70), random.below(500));
            let from = random.bytes(600);
            let mut to = vec![7; 600];
            (kernels.rows.copy_past_caches)(&from[first..][..count], &mut to[70..][..count]);
            (kernels.rows.settle)();
            assert_eq!(to[70..][..count], from[first..][..count]);
            assert!(to[..70].iter().chain(&to[70 + count..]).all(|byte| *byte == 7));
        }
    }
}
