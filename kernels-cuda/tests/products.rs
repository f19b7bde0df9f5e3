//! Emulated: every product kernel, against sums in float64 and the golden files.

mod emulated;
mod golden;
mod reference;

use std::time::Instant;

use emulated::{Device, Random};
use golden::Golden;
use mxhal_cuda_emulation::Checks;
use mxhal_kernels_cuda::format::{BF16, F16, F32, FP8_TILE128, MXFP4, MXFP8, MXFP8_G128, MXINT8, NVFP4};
use mxhal_kernels_cuda::parameters::ProductParameters;
use mxhal_kernels_cuda::{NibbleOrder, Product, Target, code_row_multiple};

/// Rows of one operand: bytes as in a checkpoint, scales, factors, and what they stand for.
struct Operand {
    format: u32,
    data: Vec<u8>,
    scales: Vec<u8>,
    factors: Vec<f32>,
    values: Vec<f64>,
}

impl Operand {
    /// From codes; `groups` matters for tiles alone, whose rows of scales begin anew with each.
    fn new(format: u32, groups: usize, k: usize, data: Vec<u8>, scales: Vec<u8>, factors: Vec<f32>) -> Self {
        let row_bytes = row_bytes(format, k);
        let rows = data.len() / row_bytes;
        let row_scales = if format == BF16 { 0 } else { k.div_ceil(reference::block(format)) };
        let values = (0..rows)
            .flat_map(|row| {
                let data = &data[row * row_bytes..][..row_bytes];
                if format == BF16 {
                    let bits = data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
                    return bits.map(|bits| f64::from(reference::bf16(bits))).collect::<Vec<_>>();
                }
                let n = rows / groups;
                let scales_row =
                    if format == FP8_TILE128 { row / n * n.div_ceil(128) + row % n / 128 } else { row };
                let scales = &scales[scales_row * row_scales..][..row_scales];
                // The factor's rounding is left out here: it is one of those that the bound is for.
                let factor = factors.get(row).copied().unwrap_or(1.0);
                let unscaled = if format == NVFP4 { 1.0 } else { factor };
                let mut values = reference::dequantize(format, data, scales, unscaled);
                if format == NVFP4 {
                    values.iter_mut().for_each(|value| *value *= f64::from(factor));
                }
                values
            })
            .collect();
        Self { format, data, scales, factors, values }
    }

    /// Random codes under scales around `center` over `range` powers of two.
    fn random(random: &mut Random, format: u32, groups: usize, rows: usize, k: usize, range: usize) -> Self {
        let bytes = groups * rows * row_bytes(format, k);
        let data: Vec<u8> = match format {
            BF16 => (0..bytes / 2)
                .flat_map(|_| reference::to_bf16(random.value(range as i32)).to_le_bytes())
                .collect(),
            // No NaN among the codes.
            MXFP8 | MXFP8_G128 | FP8_TILE128 => (0..bytes)
                .map(|_| random.next() as u8)
                .map(|code| if code & 0x7f == 0x7f { 0 } else { code })
                .collect(),
            _ => (0..bytes).map(|_| random.next() as u8).collect(),
        };
        let row_scales = if format == BF16 { 0 } else { k.div_ceil(reference::block(format)) };
        let scale_rows = if format == FP8_TILE128 { rows.div_ceil(128) } else { rows };
        let scales = (0..groups * scale_rows * row_scales)
            .map(|_| match format {
                NVFP4 => random.within(0x20, 0x50) as u8,
                _ => (120 + random.within(0, range)) as u8,
            })
            .collect();
        let factors = if format == NVFP4 {
            (0..groups * rows).map(|_| 1.0 + random.unit() / 2.0).collect()
        } else {
            Vec::new()
        };
        Self::new(format, groups, k, data, scales, factors)
    }
}

fn row_bytes(format: u32, k: usize) -> usize {
    match format {
        BF16 => 2 * k,
        _ if reference::is_four_bits(format) => k / 2,
        _ => k,
    }
}

/// One product: its operands and what is asked of it.
struct Case {
    a: Operand,
    w: Operand,
    counts: Option<Vec<i32>>,
    bias: Option<Vec<f32>>,
    m: usize,
    n: usize,
    k: usize,
    output: u32,
}

impl Case {
    fn groups(&self) -> usize {
        self.counts.as_ref().map_or(1, Vec::len)
    }

    /// What is stored, as float32 bits or those of the output; the poison where nothing was.
    fn run(&self, device: &mut Device, product: Product) -> Vec<u32> {
        // A target whose weights lie as this product reads them.
        let target =
            if matches!(product, Product::TensorW4A8(_)) { Target::Blackwell100 } else { Target::Hopper };
        self.run_on(device, product, target)
    }

    /// With weights that are prepared for this target.
    fn run_on(&self, device: &mut Device, product: Product, target: Target) -> Vec<u32> {
        let order = NibbleOrder::for_activation(target, self.a.format);
        let own_bytes = row_bytes(self.w.format, self.k);
        let (w, w_stride) = if self.w.format == MXFP4 {
            let blocks = self.w.data.as_chunks().0.iter();
            let codes: Vec<u8> = blocks.flat_map(|block| order.from_order(*block)).collect();
            let stride = own_bytes.next_multiple_of(code_row_multiple(target, self.a.format) as usize);
            let rows = codes.chunks(own_bytes);
            let padded =
                rows.flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, stride - own_bytes)));
            (padded.collect(), stride)
        } else {
            (self.w.data.clone(), own_bytes)
        };
        // Rows of the weights' scales are padded to a multiple of four, with what is no NaN.
        let padding = if self.w.format == NVFP4 { 0 } else { 127 };
        let row_scales =
            if self.w.format == BF16 { 0 } else { self.k.div_ceil(reference::block(self.w.format)) };
        let padded = row_scales.next_multiple_of(4);
        let w_scales: Vec<u8> = self
            .w
            .scales
            .chunks(row_scales.max(1))
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(padding, padded - row.len())))
            .collect();
        let a_row_scales =
            if self.a.format == BF16 { 0 } else { self.k.div_ceil(reference::block(self.a.format)) };
        // Rows of the activations' scales may lie apart, and what is between them may be a NaN.
        let a_scales_stride = if self.k % 64 == 32 { a_row_scales.next_multiple_of(4) } else { a_row_scales };
        let a_scales: Vec<u8> = self
            .a
            .scales
            .chunks(a_row_scales.max(1))
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(255, a_scales_stride - row.len())))
            .collect();
        let bytes = if self.output == F32 { 4 } else { 2 };
        let parameters = ProductParameters {
            a: device.copy(&self.a.data),
            a_scales: device.copy(&a_scales),
            a_factors: if self.a.factors.is_empty() { 0 } else { device.copy(&self.a.factors) },
            w: device.copy(&w),
            w_scales: device.copy(&w_scales),
            w_factors: if self.w.factors.is_empty() { 0 } else { device.copy(&self.w.factors) },
            bias: self.bias.as_ref().map_or(0, |bias| device.copy(bias)),
            counts: self.counts.as_ref().map_or(0, |counts| device.copy(counts)),
            y: device.alloc(self.m * self.n * bytes),
            a_stride: row_bytes(self.a.format, self.k) as u64,
            a_scales_stride: a_scales_stride as u64,
            w_stride: w_stride as u64,
            w_scales_stride: padded as u64,
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            groups: self.groups() as u32,
            a_format: self.a.format,
            w_format: self.w.format,
            output: self.output,
            a_factor_per_row: 1,
            w_halves: u32::from(order == NibbleOrder::Halves),
            w_factor_per_row: 1,
        };
        device.multiply(product, parameters);
        if bytes == 4 {
            device.read(parameters.y, self.m * self.n)
        } else {
            device.read::<u16>(parameters.y, self.m * self.n).into_iter().map(u32::from).collect()
        }
    }

    /// The group of a row; none past the last.
    fn group_of(&self, row: usize) -> Option<usize> {
        let Some(counts) = &self.counts else { return Some(0) };
        let mut end = 0;
        counts.iter().position(|count| {
            end += *count as usize;
            row < end
        })
    }

    /// Runs it and compares each element with the sum in float64, as numerics.md bounds it. Gives the largest share of
    /// the bound.
    fn check(&self, device: &mut Device, product: Product) -> f64 {
        self.check_stored(product, self.run(device, product))
    }

    fn check_stored(&self, product: Product, got: Vec<u32>) -> f64 {
        let mut worst = 0f64;
        let u = 2f64.powi(-23);
        let gamma = self.k as f64 * u / (1.0 - self.k as f64 * u);
        for (i, bits) in got.into_iter().enumerate() {
            let (row, column) = (i / self.n, i % self.n);
            let Some(group) = self.group_of(row) else {
                assert_eq!(
                    bits,
                    if self.output == F32 { 0xa5a5_a5a5 } else { 0xa5a5 },
                    "row {row} is nobody's"
                );
                continue;
            };
            let at = group * self.n + column;
            let products =
                (0..self.k).map(|k| self.a.values[row * self.k + k] * self.w.values[at * self.k + k]);
            let (mut sum, mut magnitude) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + f64::abs(p)));
            if let Some(bias) = &self.bias {
                sum += f64::from(bias[at]);
                magnitude += f64::from(bias[at].abs());
            }
            let (value, half_ulp) = match self.output {
                F32 => (f32::from_bits(bits), 2f64.powi(-24)),
                BF16 => (reference::bf16(bits as u16), 2f64.powi(-9)),
                _ => (reference::f16(bits as u16), 2f64.powi(-12)),
            };
            let bound = gamma * magnitude + half_ulp * 2.0 * sum.abs() + 2f64.powi(-149);
            let error = (f64::from(value) - sum).abs();
            worst = worst.max(error / bound);
            assert!(
                error <= bound,
                "{product:?} row {row} column {column}: {value} for {sum}, bound {bound:e}"
            );
        }
        worst
    }
}

/// A random product with groups, bias and outputs of all kinds.
fn random_case(random: &mut Random, a_format: u32, w_format: u32, m: usize, n: usize, k: usize) -> Case {
    let groups = random.pick(&[0, 0, 3, 40]);
    let counts = (groups != 0).then(|| {
        let mut counts = vec![0; groups];
        for _ in 0..m - m / 5 {
            counts[random.within(0, groups - 1)] += 1;
        }
        counts
    });
    let groups = groups.max(1);
    Case {
        a: Operand::random(random, a_format, 1, m, k, 10),
        w: Operand::random(random, w_format, groups, n, k, 10),
        bias: random.next().is_multiple_of(2).then(|| (0..groups * n).map(|_| random.value(10)).collect()),
        counts,
        m,
        n,
        k,
        output: random.pick(&[F32, F32, BF16]),
    }
}

#[test]
fn decode_is_within_its_bound() {
    let mut random = Random::printed();
    for format in [BF16, MXFP8, MXFP8_G128, MXINT8, MXFP4] {
        for m in [1, 5, 8, 19] {
            let (n, k) = (random.within(1, 41), 32 * random.within(1, 140));
            let case = random_case(&mut random, format, MXFP4, m, n, k);
            let mut device = Device::new(Checks::On, random.next() % 3);
            case.check(&mut device, Product::Decode);
        }
    }
}

#[test]
fn decode_takes_weights_as_any_target_has_them_and_rows_in_any_company() {
    let mut random = Random::printed();
    for format in [BF16, MXFP8, MXINT8, MXFP4] {
        let (n, k) = (random.within(1, 41), 32 * random.within(1, 140));
        let mut case = random_case(&mut random, format, MXFP4, 7, n, k);
        case.counts = None;
        case.w = Operand::random(&mut random, MXFP4, 1, n, k, 10);
        case.bias = None;
        let mut device = Device::new(Checks::On, random.next() % 3);
        let targets = [Target::Hopper, Target::Blackwell100];
        let together = targets.map(|target| case.run_on(&mut device, Product::Decode, target));
        together.iter().for_each(|stored| _ = case.check_stored(Product::Decode, stored.clone()));
        // The last row alone.
        let row = |bytes: &[u8]| bytes[bytes.len() / 7 * 6..].to_vec();
        case.a = Operand::new(format, 1, k, row(&case.a.data), row(&case.a.scales), Vec::new());
        case.m = 1;
        for (target, together) in targets.into_iter().zip(together) {
            assert_eq!(case.run_on(&mut device, Product::Decode, target), together[6 * n..]);
        }
    }
}

#[test]
fn wide_takes_any_formats() {
    let mut random = Random::printed();
    for (a_format, w_format, k) in [
        (BF16, MXFP4, 96),
        (MXFP4, MXFP4, 160),
        (MXFP8_G128, MXFP4, 288),
        (MXFP8, MXFP8, 64),
        (MXINT8, MXINT8, 96),
        (MXINT8, MXFP4, 32),
        (NVFP4, NVFP4, 112),
        (BF16, NVFP4, 48),
        (BF16, FP8_TILE128, 200),
        (BF16, BF16, 77),
        (MXFP8_G128, FP8_TILE128, 256),
    ] {
        let (m, n) = (random.within(1, 100), random.within(1, 140));
        let case = random_case(&mut random, a_format, w_format, m, n, k);
        let mut device = Device::new(Checks::On, random.next() % 3);
        case.check(&mut device, Product::Wide);
    }
}

#[test]
fn block_scaled_products_are_within_their_bound() {
    let mut random = Random::printed();
    for a_format in [MXFP4, MXFP8, MXFP8_G128, NVFP4] {
        for (rows, m) in [(32, 5), (32, 70), (128, 140)] {
            let (n, k) = (random.within(1, 200), 32 * random.within(1, 24));
            let w_format = if a_format == NVFP4 { NVFP4 } else { MXFP4 };
            let case = random_case(&mut random, a_format, w_format, m, n, k);
            let mut device = Device::new(Checks::On, random.next() % 3);
            let product = match a_format {
                MXFP4 => Product::W4A4(rows),
                NVFP4 => Product::Nvfp4(rows),
                _ => Product::W4A8(rows),
            };
            case.check(&mut device, product);
        }
    }
}

#[test]
fn products_of_warpgroups_are_within_their_bound() {
    let mut random = Random::printed();
    for a_format in [BF16, MXFP8, MXFP8_G128, MXINT8, MXFP4] {
        for (rows, m) in [(32, random.within(1, 70)), (128, 130)] {
            let (n, k) = (random.within(1, 270), 32 * random.within(1, 20));
            let n = if random.next().is_multiple_of(2) { n.next_multiple_of(8) } else { n };
            let case = random_case(&mut random, a_format, MXFP4, m, n, k);
            let mut device = Device::new(Checks::On, random.next() % 3);
            case.check(&mut device, Product::Wgmma(rows));
        }
    }
}

#[test]
fn products_in_tensor_memory_are_within_their_bound() {
    let mut random = Random::printed();
    for a_format in [MXFP4, MXFP8, MXFP8_G128, NVFP4, BF16] {
        for (rows, m) in [(32, 5), (32, 70), (128, 140), (256, 90), (256, 300)] {
            let (n, k) = if rows == 256 {
                (random.within(1, 400), 32 * random.within(1, 16))
            } else {
                (random.within(1, 200), 32 * random.within(1, 40))
            };
            let w_format = if a_format == NVFP4 { NVFP4 } else { MXFP4 };
            let case = random_case(&mut random, a_format, w_format, m, n, k);
            let mut device = Device::new(Checks::On, random.next() % 3);
            let product = match a_format {
                MXFP4 => Product::TensorW4A4(rows),
                NVFP4 => Product::TensorNvfp4(rows),
                BF16 => Product::TensorW4A16(rows),
                _ => Product::TensorW4A8(rows),
            };
            case.check(&mut device, product);
        }
    }
}

/// The products that a scheme of the golden files may be computed by.
fn products(a_format: u32) -> Vec<Product> {
    let mut products = vec![Product::Wide, Product::Decode];
    match a_format {
        MXFP4 => products.extend([
            Product::W4A4(32),
            Product::W4A4(128),
            Product::TensorW4A4(32),
            Product::TensorW4A4(128),
            Product::TensorW4A4(256),
        ]),
        MXFP8 => products.extend([
            Product::W4A8(32),
            Product::W4A8(128),
            Product::TensorW4A8(32),
            Product::TensorW4A8(128),
            Product::TensorW4A8(256),
        ]),
        BF16 => products.extend([32, 128, 256].map(Product::TensorW4A16)),
        _ => {}
    }
    products.extend([Product::Wgmma(32), Product::Wgmma(128)]);
    products
}

fn golden_case(golden: &Golden, name: &str, output: u32) -> Case {
    let (a, a_format) = ["a_packed", "a_codes", "a_bf16"]
        .into_iter()
        .zip([MXFP4, MXFP8, BF16])
        .find_map(|(part, format)| Some((golden.find(&format!("{name}.{part}"))?, format)))
        .unwrap();
    let a_format = if name.starts_with("w4a8i") { MXINT8 } else { a_format };
    let (m, n) = (golden.shape(&format!("{name}.y_f32"))[0], golden.shape(&format!("{name}.y_f32"))[1]);
    let k = 2 * golden.shape(&format!("{name}.w_packed"))[1];
    let a_scales = golden.find(&format!("{name}.a_scale")).unwrap_or_default();
    let (w, w_scales) = (golden.bytes(&format!("{name}.w_packed")), golden.bytes(&format!("{name}.w_scale")));
    Case {
        a: Operand::new(a_format, 1, k, a, a_scales, Vec::new()),
        w: Operand::new(MXFP4, 1, k, w, w_scales, Vec::new()),
        counts: None,
        bias: None,
        m,
        n,
        k,
        output,
    }
}

#[test]
fn every_product_gives_the_bits_of_the_exact_golden_file() {
    let golden = Golden::open("matmul_exact");
    let mut checked = 0;
    for name in golden.names().iter().filter_map(|name| name.strip_suffix(".y_f32")) {
        for (output, part) in [(F32, "y_f32"), (BF16, "y_bf16")] {
            let case = golden_case(&golden, name, output);
            let wanted: Vec<u32> = if output == F32 {
                golden.floats(&format!("{name}.{part}")).into_iter().map(f32::to_bits).collect()
            } else {
                golden.halves(&format!("{name}.{part}")).into_iter().map(u32::from).collect()
            };
            for product in products(case.a.format) {
                let got = case.run(&mut Device::new(Checks::Off, 0), product);
                // A zero has either sign.
                let same = |(a, b): (&u32, &u32)| {
                    a == b || (a | b) & !(1 << (if output == F32 { 31 } else { 15 })) == 0
                };
                assert!(got.iter().zip(&wanted).all(same), "{name} {part} by {product:?}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 28 * 2, "{checked}");
}

#[test]
fn special_scales_come_out_as_they_should() {
    let (m, n, k) = (3, 5, 64);
    let mut a_data = vec![0x22u8; m * 32];
    a_data[0] = 0x62;
    let mut w_scales = vec![127u8; n * 2];
    w_scales[2] = 255;
    w_scales[4] = 254;
    w_scales[6] = 0;
    let a = |format| {
        let (data, scales) = match format {
            BF16 => (0x3f80u16.to_le_bytes().repeat(m * k), vec![]),
            MXFP4 => (a_data.clone(), [127u8, 127].repeat(m)),
            MXFP8 => (vec![0x38; m * k], [127u8, 127].repeat(m)),
            _ => (vec![64; m * k], [127u8, 127].repeat(m)),
        };
        Operand::new(format, 1, k, data, scales, vec![])
    };
    for format in [BF16, MXFP4, MXFP8, MXINT8] {
        let w = Operand::new(MXFP4, 1, k, vec![0x22; n * 32], w_scales.clone(), vec![]);
        let case = Case { a: a(format), w, counts: None, bias: None, m, n, k, output: F32 };
        for product in products(format) {
            let got = case.run(&mut Device::new(Checks::On, 0), product);
            let value = |row: usize, column: usize| f32::from_bits(got[row * n + column]);
            let what = format!("{product:?} of {format}");
            assert!(value(1, 1).is_nan(), "a NaN scale, {what}: {}", value(1, 1));
            assert_eq!(value(1, 2), f32::INFINITY, "32 times 2^127, {what}");
            assert_eq!(value(1, 3), 32.0, "2^-127 is lost beside it, {what}");
            assert_eq!(value(1, 4), 64.0, "{what}");
        }
    }
}

/// Not a limit: what the emulation does in a second, printed.
#[test]
fn speed_of_the_emulation() {
    let mut random = Random(1);
    for (name, product, a_format, m) in [
        ("decode, BF16, one row", Product::Decode, BF16, 1),
        ("decode, MXFP8, eight rows", Product::Decode, MXFP8, 8),
        ("wide, BF16 by MXFP4", Product::Wide, BF16, 64),
        ("W4A4 block-scaled", Product::W4A4(128), MXFP4, 128),
        ("W4A8 block-scaled", Product::W4A8(128), MXFP8, 128),
        ("W4A16 by warpgroups", Product::Wgmma(128), BF16, 128),
        ("W4A8 by warpgroups", Product::Wgmma(128), MXFP8, 128),
        ("W4A4 in tensor memory", Product::TensorW4A4(128), MXFP4, 128),
        ("W4A8 in tensor memory", Product::TensorW4A8(128), MXFP8, 128),
        ("W4A8 by a pair", Product::TensorW4A8(256), MXFP8, 256),
        ("W4A16 in tensor memory", Product::TensorW4A16(128), BF16, 128),
    ] {
        for checks in [Checks::Off, Checks::On] {
            let (n, k) = (128, 512);
            let case = Case {
                a: Operand::random(&mut random, a_format, 1, m, k, 4),
                w: Operand::random(&mut random, MXFP4, 1, n, k, 4),
                counts: None,
                bias: None,
                m,
                n,
                k,
                output: F16,
            };
            let mut device = Device::new(checks, 0);
            let start = Instant::now();
            let stored = case.run(&mut device, product).len();
            let rate = (m * n * k) as f64 / start.elapsed().as_secs_f64() / 1e6;
            println!("{name}, checks {checks:?}: {rate:.1} million products a second");
            assert_eq!(stored, m * n);
        }
    }
}
